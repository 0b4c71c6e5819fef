import BPFISA
import BPFLinux

// Accesses to regions of known size: memory, map values and keys, packets, buffers, sockets.

extension Verification {
  // MARK: regions

  /// Checks that `[offset, offset + size)` lies in a region of `regionSize` bytes that `register` points to.
  func checkMemoryBounds(
    register number: Int, offset: Int32, size: Int32, regionSize: UInt32, zeroSizeAllowed: Bool
  ) throws(Refusal) {
    let isSizeValid = size > 0 || (size == 0 && zeroSizeAllowed)
    if offset >= 0, isSizeValid, Int64(offset) &+ Int64(size) <= Int64(regionSize) { return }
    throw outOfRegion(register(number), number, offset, size, regionSize)
  }

  @inline(never)
  private func outOfRegion(
    _ register: RegisterRef, _ number: Int, _ offset: Int32, _ size: Int32, _ regionSize: UInt32
  ) -> Refusal {
    let signedSize = Int32(bitPattern: regionSize)
    switch register.pointee.type {
    case .mapKey:
      return refuse(
        .EACCES, .mapBounds,
        "invalid access to map key, key_size=\(signedSize) off=\(offset) size=\(size)\n")
    case .mapValue:
      return refuse(
        .EACCES, .mapBounds,
        "invalid access to map value, value_size=\(signedSize) off=\(offset) size=\(size)\n")
    case .packet, .packetMeta, .packetEnd:
      let id = Int32(bitPattern: register.pointee.id)
      return refuse(
        .EACCES, .packetBounds,
        "invalid access to packet, off=\(offset) size=\(size), "
          + "R\(number)(id=\(id),off=\(offset),r=\(signedSize))\n")
    default:
      return refuse(
        .EACCES, .memoryBounds,
        "invalid access to memory, mem_size=\(regionSize) off=\(offset) size=\(size)\n")
    }
  }

  /// As above with the register's variable offset: at its smallest and at its largest value.
  func checkMemoryRegion(
    register number: Int, offset: Int32, size: Int32, regionSize: UInt32, zeroSizeAllowed: Bool
  ) throws(Refusal) {
    let register = register(number)
    let category = regionCategory(register.pointee.type)
    let smin = register.pointee.smin
    let low = smin &+ Int64(offset)
    if smin < 0, smin == .min || low != Int64(Int32(truncatingIfNeeded: low)) || low < 0 {
      throw negativeMinimum(number, category)
    }
    let lowest = Int32(truncatingIfNeeded: low)
    let isSizeValid = size > 0 || (size == 0 && zeroSizeAllowed)
    if !(lowest >= 0 && isSizeValid && Int64(lowest) &+ Int64(size) <= Int64(regionSize)) {
      _ = outOfRegion(register, number, lowest, size, regionSize)
      throw refuse(.EACCES, category, "R\(number) min value is outside of the allowed memory range\n")
    }
    if register.pointee.umax >= maximumVariableOffset {
      throw refuse(
        .EACCES, .unboundedSize,
        "R\(number) unbounded memory access, make sure to bounds check any such access\n")
    }
    let highest = Int32(truncatingIfNeeded: register.pointee.umax &+ UInt64(bitPattern: Int64(offset)))
    if !(highest >= 0 && isSizeValid && Int64(highest) &+ Int64(size) <= Int64(regionSize)) {
      _ = outOfRegion(register, number, highest, size, regionSize)
      throw refuse(.EACCES, category, "R\(number) max value is outside of the allowed memory range\n")
    }
  }

  private func regionCategory(_ type: RegisterType) -> RefusalCategory {
    type == .mapValue || type == .mapKey ? .mapBounds : .memoryBounds
  }

  private func negativeMinimum(_ number: Int, _ category: RefusalCategory) -> Refusal {
    refuse(
      .EACCES, category,
      "R\(number) min value is negative, either use unsigned index or do a if (index >=0) check.\n")
  }

  /// Checks that a pointer which must be passed or dereferenced as it is was not moved.
  func checkPointerOffset(_ r: RegisterRef, register number: Int, fixedOffsetOK: Bool) throws(Refusal) {
    if r.pointee.offset < 0 {
      throw refuse(
        .EACCES, .pointerArithmetic,
        "negative offset \(registerTypeText(r.pointee.type)) ptr R\(number) off=\(r.pointee.offset) disallowed\n")
    }
    if !fixedOffsetOK, r.pointee.offset != 0 {
      throw refuse(
        .EACCES, .pointerArithmetic,
        "dereference of modified \(registerTypeText(r.pointee.type)) ptr R\(number) "
          + "off=\(r.pointee.offset) disallowed\n")
    }
    if !r.pointee.isConstant || r.pointee.bits.value != 0 {
      throw refuse(
        .EACCES, .pointerArithmetic,
        "variable \(registerTypeText(r.pointee.type)) access var_off=\(tnumText(r.pointee.bits)) disallowed\n")
    }
  }

  // MARK: maps

  /// Checks the map's read-only and write-only flags.
  func checkMapAccessType(
    register number: Int, offset: Int32, size: Int32, type: AccessType
  ) throws(Refusal) {
    let map = register(number).pointee.map
    let flags = maps[map].definition.flags
    if type == .write {
      guard flags.contains(.readOnlyProgram) else { return }
    } else {
      guard flags.contains(.writeOnlyProgram), !flags.contains(.readOnlyProgram) else { return }
    }
    let verb = type == .write ? "write into" : "read from"
    let valueSize = Int32(bitPattern: maps[map].definition.valueSize)
    throw refuse(
      .EACCES, .readOnly, "\(verb) map forbidden, value_size=\(valueSize) off=\(offset) size=\(size)\n")
  }

  /// Checks an access to a map value: its bounds, and that it stays clear of special fields. Only a load or store by
  /// an instruction may touch a kptr, and only as a whole; a helper may not.
  func checkMapAccess(
    register number: Int, offset: Int32, size: Int32, zeroSizeAllowed: Bool, byHelper: Bool
  ) throws(Refusal) {
    let register = register(number)
    let map = register.pointee.map
    try checkMemoryRegion(
      register: number, offset: offset, size: size, regionSize: maps[map].definition.valueSize,
      zeroSizeAllowed: zeroSizeAllowed)
    guard let record = maps[map].record else { return }
    let low = register.pointee.smin &+ Int64(offset)
    let high = register.pointee.umax &+ UInt64(bitPattern: Int64(offset)) &+ UInt64(bitPattern: Int64(size))
    for field in record.fields where low < Int64(field.offset &+ field.size) && UInt64(field.offset) < high {
      guard BTFField.Kind.pointers.contains(field.kind) else {
        throw refuse(.EACCES, .mapUse, "\(field.kind.name) cannot be accessed directly by load/store\n")
      }
      if byHelper {
        throw refuse(.EACCES, .kptr, "\(field.kind.name) cannot be accessed indirectly by helper\n")
      }
      if !register.pointee.isConstant {
        throw refuse(.EACCES, .kptr, "\(field.kind.name) access cannot have variable offset\n")
      }
      let position = register.pointee.bits.value &+ UInt64(bitPattern: Int64(offset))
      if UInt64(field.offset) != position {
        throw refuse(
          .EACCES, .kptr,
          "\(field.kind.name) access misaligned expected=\(field.offset) off=\(position)\n")
      }
      if size != 8 {
        throw refuse(.EACCES, .kptr, "\(field.kind.name) access size must be BPF_DW\n")
      }
    }
  }

  /// Whether nobody can change the map's values any more, so that what they hold is a constant.
  func mapIsReadOnly(_ map: Int) -> Bool {
    maps[map].definition.flags.contains(.readOnlyProgram) && maps[map].definition.frozen
  }

  /// Whether the map's values have addresses that are known at load time.
  func mapHasDirectValues(_ map: Int) -> Bool {
    let type = maps[map].definition.type
    return type == .array || type == .arena
  }

  /// What a load from the value of a read-only map yields; nil for a size that is no load's.
  func mapDirectRead(_ map: Int, offset: Int32, size: Int32, signed: Bool) -> UInt64? {
    guard offset >= 0, size == 1 || size == 2 || size == 4 || size == 8 else { return nil }
    return maps[map].definition.initialValue.withUnsafeBufferPointer { bytes in
      var value: UInt64 = 0
      for index in 0..<Int(size) where Int(offset) &+ index < bytes.count {
        value |= UInt64(bytes[Int(offset) &+ index]) &<< UInt64(index &* 8)
      }
      guard signed, size < 8 else { return value }
      let shift = UInt64(64 &- 8 &* Int(size))
      return UInt64(bitPattern: Int64(bitPattern: value &<< shift) &>> Int64(shift))
    }
  }

  /// A load from a read-only map's value at a known offset.
  func readMapConstant(
    _ map: Int, offset: Int32, size: Int32, signed: Bool
  ) throws(Refusal) -> UInt64 {
    if maps[map].definition.maxEntries != 1 { throw refuse(.ENOTSUPP, .mapUse, "") }
    guard UInt32(bitPattern: offset) < maps[map].definition.valueSize,
      let value = mapDirectRead(map, offset: offset, size: size, signed: signed)
    else { throw refuse(.EINVAL, .mapUse, "") }
    return value
  }

  // MARK: packets

  /// Whether programs of this type may access packets through pointers. A helper's `packetAccess` decides for its
  /// arguments; nil asks for the program's own instructions, and a permitted one is noted.
  func mayAccessPacket(_ type: AccessType, helperPacketAccess: Bool? = nil) -> Bool {
    let answer = ProgramRules.mayAccessPacket(programType, type, helperTakesPackets: helperPacketAccess)
    if answer.marksDirectWrite { seenDirectWrite = true }
    return answer.allowed
  }

  func checkPacketAccess(
    register number: Int, offset: Int32, size: Int32, zeroSizeAllowed: Bool
  ) throws(Refusal) {
    let register = register(number)
    if register.pointee.smin < 0 { throw negativeMinimum(number, .packetBounds) }
    let range = register.pointee.range
    if range < 0 {
      throw refuse(.EINVAL, .packetBounds, "R\(number) offset is outside of the packet\n")
    }
    let isSizeValid = size > 0 || (size == 0 && zeroSizeAllowed)
    if offset >= 0, isSizeValid, Int64(offset) &+ Int64(size) <= Int64(range) { return }
    _ = outOfRegion(register, number, offset, size, UInt32(bitPattern: range))
    throw refuse(.EACCES, .packetBounds, "R\(number) offset is outside of the packet\n")
  }

  func checkFlowKeysAccess(offset: Int32, size: Int32) throws(Refusal) {
    if size < 0 || offset < 0 || Int64(offset) &+ Int64(size) > Int64(ContextRules.flowKeysSize) {
      throw refuse(
        .EACCES, .memoryBounds, "invalid access to flow keys off=\(offset) size=\(size)\n")
    }
  }

  // MARK: sockets

  func checkSocketAccess(
    at index: Int, register number: Int, offset: Int32, size: Int32, type: AccessType
  ) throws(Refusal) {
    let register = register(number)
    if register.pointee.smin < 0 { throw negativeMinimum(number, .memoryBounds) }
    guard
      let access = SocketRules.access(kind: register.pointee.type, offset: offset, size: size, type: type)
    else {
      throw refuse(
        .EACCES, .memoryBounds,
        "R\(number) invalid \(registerTypeText(register.pointee.type)) access off=\(offset) size=\(size)\n")
    }
    facts[index].contextFieldSize = access.fieldSize
    if access.failsConversion { facts[index].failsConversion = true }
  }

  // MARK: buffers

  private func checkBufferOffset(
    _ description: StaticString, _ r: RegisterRef, register number: Int, offset: Int32, size: Int32
  ) throws(Refusal) {
    if offset < 0 {
      throw refuse(
        .EACCES, .memoryBounds,
        "R\(number) invalid \(description) buffer access: off=\(offset), size=\(size)\n")
    }
    if !r.pointee.isConstant || r.pointee.bits.value != 0 {
      throw refuse(
        .EACCES, .memoryBounds,
        "R\(number) invalid variable buffer offset: off=\(offset), var_off=\(tnumText(r.pointee.bits))\n")
    }
  }

  /// The buffer of a writable tracepoint: its size is compared when the program is attached.
  func checkTracepointBufferAccess(
    _ r: RegisterRef, register number: Int, offset: Int32, size: Int32
  ) throws(Refusal) {
    try checkBufferOffset("tracepoint", r, register: number, offset: offset, size: size)
    let end = UInt32(bitPattern: offset &+ size)
    if end > attach.maximumTracepointAccess { attach.maximumTracepointAccess = end }
  }

  /// A buffer of an iterator or a call: its size is compared when the program is attached.
  func checkBufferAccess(
    _ r: RegisterRef, register number: Int, offset: Int32, size: Int32
  ) throws(Refusal) {
    let isReadOnly = r.pointee.type.has(.readOnly)
    try checkBufferOffset(
      isReadOnly ? "rdonly" : "rdwr", r, register: number, offset: offset, size: size)
    let end = UInt32(bitPattern: offset &+ size)
    if isReadOnly {
      if end > attach.maximumReadOnlyAccess { attach.maximumReadOnlyAccess = end }
    } else {
      if end > attach.maximumReadWriteAccess { attach.maximumReadWriteAccess = end }
    }
  }
}
