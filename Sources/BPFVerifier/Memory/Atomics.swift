import BPFISA
import BPFLinux

// Atomic instructions.

extension Verification {
  func checkAtomic(_ insn: Instruction) throws(Refusal) {
    switch insn.immediate {
    case Atomic.add, Atomic.add | Atomic.fetch, Atomic.and, Atomic.and | Atomic.fetch, Atomic.or,
      Atomic.or | Atomic.fetch, Atomic.xor, Atomic.xor | Atomic.fetch, Atomic.xchg, Atomic.cmpxchg:
      try checkAtomicModify(insn)
    case Atomic.loadAcquire where linux.version >= .firstWithLoadAcquire:
      try checkLoad(
        insn, strictAlignmentOnce: true, isLDSX: false, allowTrustMismatch: false, context: "atomic_load")
      if !allowsAtomics(insn.src, insn) { throw atomicNotAllowed("loads from", insn.src) }
    case Atomic.storeRelease where linux.version >= .firstWithLoadAcquire:
      try checkStoreRegister(insn, strictAlignmentOnce: true)
      if !allowsAtomics(insn.dst, insn) { throw atomicNotAllowed("stores into", insn.dst) }
    default:
      let code = String(UInt32(bitPattern: insn.immediate), radix: 16)
      throw refuse(
        .EINVAL, .atomics,
        "BPF_ATOMIC uses invalid atomic opcode \(code.utf8.count < 2 ? "0" + code : code)\n")
    }
  }

  /// A read-modify-write operation.
  private func checkAtomicModify(_ insn: Instruction) throws(Refusal) {
    if insn.sizeCode != Size.w, insn.sizeCode != Size.dw {
      throw refuse(.EINVAL, .atomics, "invalid atomic operand size\n")
    }
    try checkRegisterRead(insn.src)
    try checkRegisterRead(insn.dst)
    if insn.immediate == Atomic.cmpxchg {
      try checkRegisterRead(0)
      if isPointerValue(0) { throw atomicLeak(0) }
    }
    if isPointerValue(insn.src) { throw atomicLeak(insn.src) }
    if !allowsAtomics(insn.dst, insn) { throw atomicNotAllowed("stores into", insn.dst) }

    var target = -1
    if insn.immediate & Atomic.fetch != 0 {
      target = insn.immediate == Atomic.cmpxchg ? 0 : insn.src
      try checkRegisterWrite(target)
    }
    try checkAtomicAccess(insn, .read, -1)
    // Once more, for what the old value leaves in the register.
    if target >= 0 { try checkAtomicAccess(insn, .read, target) }
    if register(insn.dst).pointee.type == .arena {
      try saveLoadPointerType(.arena, allowTrustMismatch: false)
    }
    try checkAtomicAccess(insn, .write, -1)
  }

  private func checkAtomicAccess(
    _ insn: Instruction, _ type: AccessType, _ valueRegister: Int
  ) throws(Refusal) {
    try checkMemoryAccess(
      at: instruction, register: insn.dst, offset: Int32(insn.offset), size: insn.sizeCode, type: type,
      valueRegister: valueRegister, strictAlignmentOnce: true, signExtending: false)
  }

  private func atomicLeak(_ number: Int) -> Refusal {
    refuse(.EACCES, .pointerLeak, "R\(number) leaks addr into mem\n")
  }

  private func atomicNotAllowed(_ what: StaticString, _ number: Int) -> Refusal {
    refuse(
      .EACCES, .atomics,
      "BPF_ATOMIC \(what) R\(number) \(registerTypeText(register(number).pointee.type)) is not allowed\n")
  }

  /// Whether atomic operations work through the pointer in register `number`.
  private func allowsAtomics(_ number: Int, _ insn: Instruction) -> Bool {
    let type = register(number).pointee.type
    if type == .context || type.isPacketPointer || type == .flowKeys || type.isSocketPointer { return false }
    guard type == .arena, linux.architecture == .x86_64 else { return true }
    // These are compiled to a loop, which an access fault cannot be recovered from.
    guard insn.sizeCode == Size.w || insn.sizeCode == Size.dw else { return true }
    return insn.immediate != Atomic.and | Atomic.fetch && insn.immediate != Atomic.or | Atomic.fetch
      && insn.immediate != Atomic.xor | Atomic.fetch
  }
}

extension Linux.Version {
  /// Load-acquire and store-release instructions.
  fileprivate static let firstWithLoadAcquire = Linux.Version(6, 15)
}
