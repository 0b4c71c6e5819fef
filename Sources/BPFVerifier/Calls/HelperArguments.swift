import BPFISA
import BPFLinux
import BTF

// The arguments of helper calls, one by one.

extension Verification {
  /// Checks argument `argument` (0 … 4) of a call to the helper, and notes in `meta` what the call needs of it.
  func checkHelperArgument(
    _ argument: Int, meta: UnsafeMutablePointer<HelperCallMeta>, prototype: UnsafePointer<HelperPrototype>
  ) throws(Refusal) {
    let number = 1 + argument
    let r = register(number)
    var argumentType = prototype.pointee.arguments[argument]
    if argumentType == .none { return }
    try checkRegisterRead(number)

    if argumentType == .anything {
      if isPointerValue(number) {
        throw refuse(.EACCES, .pointerLeak, "R\(number) leaks addr into helper function\n")
      }
      return
    }
    if r.pointee.type.isPacketPointer
      && !mayAccessPacket(.read, helperPacketAccess: meta.pointee.packetAccess)
    {
      throw refuse(.EACCES, .packetBounds, "helper access to the packet is not allowed\n")
    }
    if argumentType.base == .mapValue { argumentType = try resolveMapArgument(argumentType, meta) }

    let isNull = r.pointee.isNull
    if !(isNull && argumentType.mayBeNull) {
      var wanted: TypeID?
      if r.pointee.type.base == .btfID && (argumentType.base == .btfID || argumentType.base == .spinLock),
        let name = prototype.pointee.argumentTypeNames[argument]
      {
        wanted = kernelType(name) ?? 0
      }
      try checkRegisterType(register: number, argumentType: argumentType, btfID: wanted, meta: meta)
      try checkArgumentOffset(r, register: number, argumentType: argumentType)
    }

    if argumentType.has(.release) { try checkReleasedArgument(r, number, argumentType, meta) }

    if r.pointee.referenceID != 0 && argumentType.base != .kptrExchangeDestination {
      if meta.pointee.referenceID != 0 {
        throw refuse(
          .EACCES, .invalidArgument,
          "more than one arg with ref_obj_id R\(number) \(r.pointee.referenceID) \(meta.pointee.referenceID)")
      }
      meta.pointee.referenceID = r.pointee.referenceID
    }

    switch argumentType.base {
    case .constMapPointer:
      try noteMapArgument(r, meta)
    case .mapKey:
      try checkMapKeyArgument(r, number, meta)
    case .mapValue:
      if argumentType.mayBeNull && isNull { return }
      guard meta.pointee.hasMap else {
        throw refuse(.EFAULT, .invariant, "verifier bug: invalid map_ptr to access map->value\n")
      }
      meta.pointee.rawMode = argumentType.has(.uninitialized)
      try checkHelperMemoryAccess(
        register: number, size: Int32(bitPattern: maps[meta.pointee.map].definition.valueSize),
        type: argumentType.has(.write) ? .write : .read, zeroSizeAllowed: false, meta: meta)
    case .percpuBTFID:
      if r.pointee.btfID == 0 {
        throw refuse(.EACCES, .invalidArgument, "Helper has invalid btf_id in R\(number)\n")
      }
      meta.pointee.returnBTF = r.pointee.btf
      meta.pointee.returnBTFID = r.pointee.btfID
    case .spinLock:
      if inRBTreeLockRequiredCallback {
        throw refuse(.EACCES, .lock, "can't spin_{lock,unlock} in rbtree cb\n")
      }
      switch meta.pointee.functionID {
      case .spinLock: try processSpinLock(register: number, flags: .lock)
      case .spinUnlock: try processSpinLock(register: number, flags: [])
      default: throw refuse(.EFAULT, .invariant, "verifier bug: spin lock arg on unexpected helper\n")
      }
    case .timer:
      try processTimer(register: number, meta: meta)
    case .function:
      meta.pointee.subprogram = r.pointee.subprogram
    case .memory:
      // Without a fixed size, the size argument that follows says what is accessed.
      meta.pointee.rawMode = argumentType.has(.uninitialized)
      guard argumentType.has(.fixedSize) else { break }
      let size = Int32(bitPattern: prototype.pointee.argumentSizes[argument])
      try checkHelperMemoryAccess(
        register: number, size: size, type: argumentType.has(.write) ? .write : .read, zeroSizeAllowed: false,
        meta: meta)
      if argumentType.has(.aligned) { try checkPointerAlignment(r, offset: 0, size: size, strictOnce: true) }
    case .constSize, .constSizeOrZero:
      let writes = argument > 0 && prototype.pointee.arguments[argument - 1].has(.write)
      try checkMemorySize(
        register: number, type: writes ? .write : .read,
        zeroSizeAllowed: argumentType.base == .constSizeOrZero, meta: meta)
    case .dynptr:
      try processDynptr(
        register: number, instruction: instruction, argumentType: argumentType, cloneReferenceID: 0)
    case .constAllocSizeOrZero:
      guard r.pointee.bits.isConstant else {
        throw refuse(.EACCES, .unboundedSize, "R\(number) is not a known constant'\n")
      }
      meta.pointee.memorySize = Int32(truncatingIfNeeded: r.pointee.bits.value)
      try markChainPrecise(number)
    case .constString:
      try checkConstantString(r, register: number)
    case .kptrExchangeDestination:
      try processKptr(register: number, meta: meta)
    default:
      break
    }
  }

  /// A map value argument is something else with some maps.
  private func resolveMapArgument(
    _ argumentType: ArgumentType, _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) -> ArgumentType {
    guard meta.pointee.hasMap else {
      throw refuse(.EFAULT, .invariant, "verifier bug: invalid map_ptr to access map->type\n")
    }
    switch maps[meta.pointee.map].definition.type {
    case .sockmap, .sockhash:
      guard argumentType == .mapValue else {
        throw refuse(.EINVAL, .mapUse, "invalid arg_type for sockmap/sockhash\n")
      }
      return .btfIDSockCommon
    case .bloomFilter where meta.pointee.functionID == .mapPeekElem:
      return .mapValue
    default:
      return argumentType
    }
  }

  private func checkReleasedArgument(
    _ r: RegisterRef, _ number: Int, _ argumentType: ArgumentType, _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    if argumentType.base == .dynptr {
      guard r.pointee.type == .stack else {
        throw refuse(.EINVAL, .invalidRelease, "cannot release unowned const bpf_dynptr\n")
      }
      var isAcquired = false
      if case .slot(let slot) = stackObjectPlace(r, "dynptr", .dynptr, count: 2) {
        isAcquired = objectFrame(r).spilled(slot).pointee.referenceID != 0
      }
      guard isAcquired else {
        throw refuse(.EINVAL, .invalidRelease, "arg \(number) is an unacquired reference\n")
      }
    } else if r.pointee.referenceID == 0 && !r.pointee.isNull {
      throw refuse(
        .EINVAL, .invalidRelease, "R\(number) must be referenced when passed to release function\n")
    }
    if meta.pointee.releaseRegister != 0 {
      throw refuse(.EFAULT, .invariant, "verifier bug: more than one release argument\n")
    }
    meta.pointee.releaseRegister = number
  }

  private func noteMapArgument(_ r: RegisterRef, _ meta: UnsafeMutablePointer<HelperCallMeta>) throws(Refusal) {
    // A timer's map comes before: it must be this one, and of inner maps the very one that was looked up.
    if meta.pointee.hasMap, meta.pointee.map != r.pointee.map || meta.pointee.mapUID != r.pointee.mapUID {
      throw refuse(
        .EINVAL, .mapUse,
        "timer pointer in R1 map_uid=\(Int32(bitPattern: meta.pointee.mapUID)) doesn't match map pointer in R2 "
          + "map_uid=\(Int32(bitPattern: r.pointee.mapUID))\n")
    }
    meta.pointee.map = r.pointee.map
    meta.pointee.mapUID = r.pointee.mapUID
  }

  // MARK: keys

  private func checkMapKeyArgument(
    _ r: RegisterRef, _ number: Int, _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    guard meta.pointee.hasMap else {
      throw refuse(.EFAULT, .invariant, "verifier bug: invalid map_ptr to access map->key\n")
    }
    let map = meta.pointee.map
    let size = maps[map].definition.keySize
    try checkHelperMemoryAccess(
      register: number, size: Int32(bitPattern: size), type: .read, zeroSizeAllowed: false, meta: nil)
    if mapElementsAlwaysExist(map) {
      meta.pointee.constantMapKey = -1
      meta.pointee.constantMapKey = try constantMapKey(r, size: size) ?? -1
    }
  }

  /// Whether a look-up with a key in range never fails. The template of inner maps that may differ in size does not
  /// say what is in range.
  func mapElementsAlwaysExist(_ map: Int) -> Bool {
    let definition = maps[map].definition
    return (definition.type == .array || definition.type == .percpuArray) && !definition.flags.contains(.innerMap)
  }

  /// The key that lies where `r` points, where it is a constant; then the look-up relies on it.
  private func constantMapKey(_ r: RegisterRef, size: UInt32) throws(Refusal) -> Int64? {
    guard hasBPFCapability, r.pointee.type == .stack, r.pointee.bits.isConstant else { return nil }
    let offset = Int(r.pointee.offset &+ Int32(truncatingIfNeeded: r.pointee.bits.value))
    let position = -offset - 1
    let frame = objectFrame(r)
    let index = position / 8
    guard position >= 0, index < Int(frame.pointee.slotCount) else { return nil }
    let slot = frame.slot(index)

    func run(of type: UInt8) -> UInt32 {
      var length: UInt32 = 0
      var byte = position % 8
      while byte >= 0, slot.pointee[byte] == type {
        length += 1
        byte -= 1
      }
      return length
    }
    if run(of: SlotType.zero) >= size { return 0 }
    guard isSpilledScalar(slot), run(of: SlotType.spill) == size else { return nil }
    let value = frame.spilled(index)
    guard value.pointee.bits.isConstant else { return nil }
    backtrack.pointee.set(frame: Int(r.pointee.frame), slot: index)
    var changed = false
    try markChainPreciseBatch(from: state, changed: &changed)
    return Int64(bitPattern: value.pointee.bits.value)
  }

  // MARK: strings

  /// Checks that `r` points to a string in a map that nobody can change.
  func checkConstantString(_ r: RegisterRef, register number: Int) throws(Refusal) {
    guard r.pointee.type == .mapValue else { throw Refusal(errno: .EINVAL, category: .typeMismatch) }
    let map = r.pointee.map
    guard mapIsReadOnly(map) else {
      throw refuse(.EACCES, .invalidArgument, "R\(number) does not point to a readonly map'\n")
    }
    guard r.pointee.bits.isConstant else {
      throw refuse(.EACCES, .invalidArgument, "R\(number) is not a constant address'\n")
    }
    guard mapHasDirectValues(map) else {
      throw refuse(.EACCES, .mapUse, "no direct value access support for this map type\n")
    }
    let valueSize = maps[map].definition.valueSize
    try checkMapAccess(
      register: number, offset: r.pointee.offset, size: Int32(bitPattern: valueSize) &- r.pointee.offset,
      zeroSizeAllowed: false, byHelper: true)
    let offset = UInt32(truncatingIfNeeded: Int64(r.pointee.offset) &+ Int64(bitPattern: r.pointee.bits.value))
    if maps[map].definition.maxEntries != 1 {
      throw refuse(.ENOTSUPP, .mapUse, "direct value access on string failed\n")
    }
    if offset >= valueSize {
      throw refuse(.EINVAL, .mapBounds, "direct value access on string failed\n")
    }
    // What was not given as the value's contents is zero.
    let contents = maps[map].definition.initialValue
    if contents.count >= Int(valueSize) && !contents[Int(offset)..<Int(valueSize)].contains(0) {
      throw refuse(.EINVAL, .invalidArgument, "string is not zero-terminated\n")
    }
  }
}
