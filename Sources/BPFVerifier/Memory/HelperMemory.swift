import BPFISA
import BPFLinux

// Memory that is passed to helpers and kernel functions.

extension Verification {
  /// Checks that `size` bytes at register `number` may be accessed by the function that is called.
  func checkHelperMemoryAccess(
    register number: Int, size: Int32, type: AccessType, zeroSizeAllowed: Bool,
    meta: UnsafeMutablePointer<HelperCallMeta>?
  ) throws(Refusal) {
    let register = register(number)
    let pointer = register.pointee.type
    let offset = register.pointee.offset
    switch pointer.base {
    case .packet, .packetMeta:
      try checkPacketAccess(register: number, offset: offset, size: size, zeroSizeAllowed: zeroSizeAllowed)
    case .mapKey:
      if type == .write { throw cannotWrite(number, pointer) }
      try checkMemoryRegion(
        register: number, offset: offset, size: size,
        regionSize: maps[register.pointee.map].definition.keySize, zeroSizeAllowed: false)
    case .mapValue:
      try checkMapAccessType(register: number, offset: offset, size: size, type: type)
      try checkMapAccess(
        register: number, offset: offset, size: size, zeroSizeAllowed: zeroSizeAllowed, byHelper: true)
    case .memory:
      if pointer.has(.readOnly), type == .write { throw cannotWrite(number, pointer) }
      try checkMemoryRegion(
        register: number, offset: offset, size: size, regionSize: register.pointee.memorySize,
        zeroSizeAllowed: zeroSizeAllowed)
    case .buffer:
      if pointer.has(.readOnly), type == .write { throw cannotWrite(number, pointer) }
      try checkBufferAccess(register, register: number, offset: offset, size: size)
    case .stack:
      try checkStackRangeInitialized(
        register: number, offset: offset, size: size, zeroSizeAllowed: zeroSizeAllowed, type: type, meta: meta)
    case .btfID:
      try checkBTFAccess(
        in: registers, register: number, offset: offset, size: size, type: .read, valueRegister: -1)
    case .context where !ContextRules.convertsAccess(programType):
      // The context is plain memory: its last byte must be accessible.
      if size == 0 {
        if zeroSizeAllowed { return }
        throw refuse(.EACCES, .contextAccess, "")
      }
      try checkMemoryAccess(
        at: instruction, register: number, offset: size &- 1, size: Size.b, type: type, valueRegister: -1,
        strictAlignmentOnce: false, signExtending: false)
    default:
      if zeroSizeAllowed, size == 0, register.pointee.isNull { return }
      throw refuse(
        .EACCES, .typeMismatch,
        "R\(number) type=\(registerTypeText(pointer)) expected=\(registerTypeText(.stack))\n")
    }
  }

  private func cannotWrite(_ number: Int, _ type: RegisterType) -> Refusal {
    refuse(.EACCES, .readOnly, "R\(number) cannot write into \(registerTypeText(type))\n")
  }

  /// Checks a pair of arguments: memory in the register before `number`, its size in bytes in `number`.
  func checkMemorySize(
    register number: Int, type: AccessType, zeroSizeAllowed: Bool, meta: UnsafeMutablePointer<HelperCallMeta>?
  ) throws(Refusal) {
    let register = register(number)
    meta?.pointee.maximumSize = register.pointee.umax
    if register.pointee.smin < 0 {
      throw refuse(
        .EACCES, .unboundedSize,
        "R\(number) min value is negative, either use unsigned or 'var &= const'\n")
    }
    if register.pointee.umin == 0, !zeroSizeAllowed {
      throw refuse(
        .EACCES, .unboundedSize,
        "R\(number) invalid zero-sized read: u64=[\(Int64(bitPattern: register.pointee.umin)),"
          + "\(Int64(bitPattern: register.pointee.umax))]\n")
    }
    if register.pointee.umax >= maximumVariableSize {
      throw refuse(
        .EACCES, .unboundedSize,
        "R\(number) unbounded memory access, use 'var &= const' or 'if (var < const)'\n")
    }
    // Where the size varies, the function may leave a part of the memory as it was: all of it must be initialised.
    try checkHelperMemoryAccess(
      register: number - 1, size: Int32(truncatingIfNeeded: register.pointee.umax), type: type,
      zeroSizeAllowed: zeroSizeAllowed, meta: register.pointee.isConstant ? meta : nil)
    try markChainPrecise(number)
  }

  /// Checks that `size` bytes at `r` may be read and written, or that `r` is null.
  func checkMemory(_ r: RegisterRef, register number: Int, size: UInt32) throws(Refusal) {
    if r.pointee.isNull { return }
    let saved = r.pointee
    let mayBeNull = saved.type.mayBeNull
    if mayBeNull { markNotNull(r) }
    defer { if mayBeNull { r.pointee = saved } }
    let bytes = Int32(bitPattern: size)
    try checkHelperMemoryAccess(register: number, size: bytes, type: .read, zeroSizeAllowed: true, meta: nil)
    try checkHelperMemoryAccess(register: number, size: bytes, type: .write, zeroSizeAllowed: true, meta: nil)
  }

  /// Checks a pair of arguments of a kernel function: memory before, its size in `r`, which is register `number`.
  func checkKfuncMemorySize(_ r: RegisterRef, register number: Int) throws(Refusal) {
    let memory = register(number - 1)
    let saved = memory.pointee
    let mayBeNull = saved.type.mayBeNull
    if mayBeNull { markNotNull(memory) }
    defer { if mayBeNull { memory.pointee = saved } }
    try checkMemorySize(register: number, type: .read, zeroSizeAllowed: true, meta: nil)
    try checkMemorySize(register: number, type: .write, zeroSizeAllowed: true, meta: nil)
  }
}
