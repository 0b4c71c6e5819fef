import BPFISA
import BPFLinux

// Loads and stores: every access of memory by an instruction.

extension Verification {
  /// Checks an access at `register + offset`, and what a load leaves in `valueRegister`.
  ///
  /// A store with `valueRegister` -1 stores something unknown; a load with it is only asked whether it is allowed.
  func checkMemoryAccess(
    at index: Int, register number: Int, offset fixedOffset: Int32, size code: UInt8, type: AccessType,
    valueRegister: Int, strictAlignmentOnce: Bool, signExtending: Bool
  ) throws(Refusal) {
    let register = register(number)
    let size: Int32 =
      switch code {
      case Size.b: 1
      case Size.h: 2
      case Size.w: 4
      default: 8
      }
    try checkPointerAlignment(register, offset: fixedOffset, size: size, strictOnce: strictAlignmentOnce)
    let offset = fixedOffset &+ register.pointee.offset
    let isLoad = type == .read && valueRegister >= 0
    let pointer = register.pointee.type

    if pointer == .stack {
      try checkStackAccessWithinBounds(register: number, offset: offset, size: size, type: type)
      if type == .read {
        try checkStackRead(pointer: number, offset: offset, size: size, destination: valueRegister)
      } else {
        try checkStackWrite(pointer: number, offset: offset, size: size, valueRegister: valueRegister, at: index)
      }
    } else if pointer == .mapValue {
      try checkMapValueAccess(
        at: index, register: number, offset: offset, size: size, type: type, valueRegister: valueRegister,
        signExtending: signExtending)
    } else if pointer == .mapKey {
      if type == .write {
        throw refuse(.EACCES, .readOnly, "write to change key R\(number) not allowed\n")
      }
      try checkMemoryRegion(
        register: number, offset: offset, size: size,
        regionSize: maps[register.pointee.map].definition.keySize, zeroSizeAllowed: false)
      if valueRegister >= 0 { markUnknown(in: registers, valueRegister) }
    } else if pointer.base == .memory {
      let isReadOnly = pointer.has(.readOnly)
      if pointer.mayBeNull { throw invalidAccess(number, pointer, .nullDereference) }
      if type == .write, isReadOnly { throw readOnly(number, pointer) }
      try checkNoLeak(valueRegister, type, into: "mem")
      // Untrusted memory is read by loads that cannot fault.
      if !(isReadOnly && pointer.has(.untrusted)) {
        try checkMemoryRegion(
          register: number, offset: offset, size: size, regionSize: register.pointee.memorySize,
          zeroSizeAllowed: false)
      }
      if valueRegister >= 0, type == .read || isReadOnly { markUnknown(in: registers, valueRegister) }
    } else if pointer == .context {
      try checkNoLeak(valueRegister, type, into: "ctx")
      try checkPointerOffset(register, register: number, fixedOffsetOK: false)
      try checkContextAccess(
        at: index, offset: offset, size: size, type: type, signExtending: signExtending,
        valueRegister: valueRegister)
    } else if pointer.isPacketPointer {
      if type == .write, !mayAccessPacket(.write) {
        throw refuse(.EACCES, .readOnly, "cannot write into packet\n")
      }
      try checkNoLeak(valueRegister, type, into: "packet")
      try checkPacketAccess(register: number, offset: offset, size: size, zeroSizeAllowed: false)
      if isLoad { markUnknown(in: registers, valueRegister) }
    } else if pointer == .flowKeys {
      try checkNoLeak(valueRegister, type, into: "flow keys")
      try checkFlowKeysAccess(offset: offset, size: size)
      if isLoad { markUnknown(in: registers, valueRegister) }
    } else if pointer.isSocketPointer {
      if type == .write { throw readOnly(number, pointer) }
      try checkSocketAccess(at: index, register: number, offset: offset, size: size, type: type)
      if valueRegister >= 0 { markUnknown(in: registers, valueRegister) }
    } else if pointer == .tracepointBuffer {
      try checkTracepointBufferAccess(register, register: number, offset: offset, size: size)
      if isLoad { markUnknown(in: registers, valueRegister) }
    } else if pointer.base == .btfID, !pointer.mayBeNull {
      try checkBTFAccess(
        in: registers, register: number, offset: offset, size: size, type: type, valueRegister: valueRegister)
    } else if pointer == .mapPointer {
      try checkMapPointerAccess(
        in: registers, register: number, offset: offset, size: size, type: type, valueRegister: valueRegister)
    } else if pointer.base == .buffer, !pointer.mayBeNull {
      let isReadOnly = pointer.has(.readOnly)
      if isReadOnly, type == .write { throw readOnly(number, pointer) }
      try checkBufferAccess(register, register: number, offset: offset, size: size)
      if valueRegister >= 0, isReadOnly || type == .read { markUnknown(in: registers, valueRegister) }
    } else if pointer == .arena {
      if isLoad { markUnknown(in: registers, valueRegister) }
    } else {
      throw invalidAccess(number, pointer, pointer.mayBeNull ? .nullDereference : .typeMismatch)
    }

    if size < registerSize, isLoad {
      let value = self.register(valueRegister)
      if value.pointee.isScalar {
        if signExtending {
          value.pointee.signExtend64(fromSize: Int(size))
        } else {
          value.pointee.coerce(toSize: Int(size))
        }
      }
    }
  }

  @inline(never)
  private func invalidAccess(_ number: Int, _ type: RegisterType, _ category: RefusalCategory) -> Refusal {
    refuse(.EACCES, category, "R\(number) invalid mem access '\(registerTypeText(type))'\n")
  }

  @inline(never) private func readOnly(_ number: Int, _ type: RegisterType) -> Refusal {
    refuse(.EACCES, .readOnly, "R\(number) cannot write into \(registerTypeText(type))\n")
  }

  /// A pointer may not be stored where unprivileged readers could see it.
  @inline(__always)
  private func checkNoLeak(_ valueRegister: Int, _ type: AccessType, into place: StaticString) throws(Refusal) {
    if type == .write, valueRegister >= 0, isPointerValue(valueRegister) {
      throw refuse(.EACCES, .pointerLeak, "R\(valueRegister) leaks addr into \(place)\n")
    }
  }

  private func checkMapValueAccess(
    at index: Int, register number: Int, offset: Int32, size: Int32, type: AccessType, valueRegister: Int,
    signExtending: Bool
  ) throws(Refusal) {
    let register = register(number)
    let map = register.pointee.map
    try checkNoLeak(valueRegister, type, into: "map")
    try checkMapAccessType(register: number, offset: offset, size: size, type: type)
    try checkMapAccess(register: number, offset: offset, size: size, zeroSizeAllowed: false, byHelper: false)
    let isConstant = register.pointee.isConstant
    let position = offset &+ Int32(truncatingIfNeeded: register.pointee.bits.value)
    if isConstant, let record = maps[map].record,
      let field = record.find(offset: UInt32(bitPattern: position), kinds: BTFField.Kind.pointers)
    {
      try checkMapKptrAccess(field: field, valueRegister: valueRegister, at: index)
    } else if type == .read, valueRegister >= 0 {
      if isConstant, mapIsReadOnly(map), mapHasDirectValues(map) {
        let value = try readMapConstant(map, offset: position, size: size, signed: signExtending)
        let target = self.register(valueRegister)
        target.pointee.type = .scalar
        target.pointee.markKnown(value)
      } else {
        markUnknown(in: registers, valueRegister)
      }
    }
  }

  // MARK: instructions

  /// A load, plain or acquiring. `context` names it in messages about broken bounds.
  func checkLoad(
    _ insn: Instruction, strictAlignmentOnce: Bool, isLDSX: Bool, allowTrustMismatch: Bool, context: StaticString
  ) throws(Refusal) {
    try checkRegisterRead(insn.src)
    try checkRegisterWrite(insn.dst, mark: false)
    let pointer = register(insn.src).pointee.type
    try checkMemoryAccess(
      at: instruction, register: insn.src, offset: Int32(insn.offset), size: insn.sizeCode, type: .read,
      valueRegister: insn.dst, strictAlignmentOnce: strictAlignmentOnce, signExtending: isLDSX)
    try saveLoadPointerType(pointer, allowTrustMismatch: allowTrustMismatch)
    try checkInvariants(register(insn.dst), context)
  }

  /// A store of a register.
  func checkStoreRegister(_ insn: Instruction, strictAlignmentOnce: Bool) throws(Refusal) {
    try checkRegisterRead(insn.src)
    try checkRegisterRead(insn.dst)
    let pointer = register(insn.dst).pointee.type
    try checkMemoryAccess(
      at: instruction, register: insn.dst, offset: Int32(insn.offset), size: insn.sizeCode, type: .write,
      valueRegister: insn.src, strictAlignmentOnce: strictAlignmentOnce, signExtending: false)
    try saveLoadPointerType(pointer, allowTrustMismatch: false)
  }

  /// A store of an immediate, whose reserved fields were checked.
  func checkStoreImmediate(_ insn: Instruction) throws(Refusal) {
    try checkRegisterRead(insn.dst)
    let pointer = register(insn.dst).pointee.type
    try checkMemoryAccess(
      at: instruction, register: insn.dst, offset: Int32(insn.offset), size: insn.sizeCode, type: .write,
      valueRegister: -1, strictAlignmentOnce: false, signExtending: false)
    try saveLoadPointerType(pointer, allowTrustMismatch: false)
  }

  // MARK: one instruction, one kind of pointer

  /// Loads and stores are compiled by the type of their pointer, so all paths must agree on it where that matters.
  func saveLoadPointerType(_ type: RegisterType, allowTrustMismatch: Bool) throws(Refusal) {
    let previous = fact.pointee.pointerType
    if previous == type { return }
    if previous == .notInitialized {
      fact.pointee.pointerType = type
      return
    }
    if mayDifferByPath(type), mayDifferByPath(previous) { return }
    guard allowTrustMismatch, isMemoryOrObject(type), isMemoryOrObject(previous) else {
      throw refuse(.EINVAL, .typeMismatch, "same insn cannot be used with different pointers\n")
    }
    // The weaker of the two: compiled as a load that cannot fault.
    let both = type.flags.union(previous.flags)
    let base: RegisterType = type.base == .memory || previous.base == .memory ? .memory : .btfID
    fact.pointee.pointerType = base | both.intersection([.untrusted, .readOnly])
  }

  private func mayDifferByPath(_ type: RegisterType) -> Bool {
    switch type.base {
    case .context, .socket, .sockCommon, .tcpSock, .xdpSock, .btfID, .arena: false
    default: true
    }
  }

  private func isMemoryOrObject(_ type: RegisterType) -> Bool { type.base == .memory || type.base == .btfID }
}
