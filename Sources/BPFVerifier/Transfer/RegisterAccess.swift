import BPFISA
import BPFLinux

/// Reads and writes of registers by instructions, and which of them are 32 bits wide.
extension Verification {
  /// Whether `insn` reads (or writes) all 64 bits of the register.
  private func isWide(_ insn: Instruction, reads: Bool, _ r: RegisterRef?) -> Bool {
    switch insn.instructionClass {
    case Class.jmp:
      if insn.operation == Jump.exit { return true }
      if insn.operation == Jump.call { return insn.isSubprogramCall ? false : reads }
      return true
    case Class.alu64:
      return !(insn.operation == ALU.end && (insn.immediate == 16 || insn.immediate == 32))
    case Class.alu:
      return insn.operation == ALU.end && insn.immediate == 64
    case Class.jmp32:
      return false
    case Class.ldx:
      return reads || insn.sizeCode == Size.dw || insn.mode == Mode.memsx
    case Class.stx:
      if reads, let r, r.pointee.type != .scalar { return true }
      return insn.sizeCode == Size.dw
    case Class.ld:
      return insn.mode == Mode.imm || reads
    default:
      return true
    }
  }

  /// The register that `insn` defines, nil where it defines none.
  func definedRegister(of insn: Instruction) -> Int? {
    switch insn.instructionClass {
    case Class.jmp, Class.jmp32, Class.st:
      return nil
    case Class.stx:
      guard insn.mode == Mode.atomic else { return nil }
      if insn.immediate == Atomic.cmpxchg { return 0 }
      if insn.immediate == Atomic.loadAcquire { return insn.dst }
      return insn.immediate & Atomic.fetch != 0 ? insn.src : nil
    default:
      return insn.dst
    }
  }

  /// Whether `insn` defines a register of which it writes 32 bits.
  func definesSubregister(_ insn: Instruction) -> Bool {
    definedRegister(of: insn) != nil && !isWide(insn, reads: false, nil)
  }

  /// The register's upper half is relied upon: the instruction that wrote its lower half must zero it.
  @inline(__always) func markZeroExtension(_ r: RegisterRef) {
    let definition = r.pointee.subregisterDefinition
    guard definition != 0 else { return }
    facts[Int(definition) - 1].zeroExtends = true
    r.pointee.subregisterDefinition = 0
  }

  func checkRegisterRead(_ number: Int) throws(Refusal) {
    try checkRegisterRead(in: registers, number)
  }

  func checkRegisterRead(in registers: RegisterRef, _ number: Int) throws(Refusal) {
    guard number < registerCount else { throw invalidRegister(number) }
    markRegisterScratched(number)
    let r = registers + number
    if r.pointee.type == .notInitialized {
      throw refuse(.EACCES, .uninitializedRegister, "R\(number) !read_ok\n")
    }
    if number != registerCount - 1 && isWide(instructions[instruction], reads: true, r) { markZeroExtension(r) }
  }

  /// The register is about to be written; `mark` makes it an unknown number.
  func checkRegisterWrite(_ number: Int, mark: Bool = true) throws(Refusal) {
    try checkRegisterWrite(in: registers, number, mark: mark)
  }

  func checkRegisterWrite(in registers: RegisterRef, _ number: Int, mark: Bool) throws(Refusal) {
    guard number < registerCount else { throw invalidRegister(number) }
    markRegisterScratched(number)
    if number == registerCount - 1 {
      throw refuse(.EACCES, .readOnly, "frame pointer is read only\n")
    }
    let r = registers + number
    r.pointee.subregisterDefinition =
      isWide(instructions[instruction], reads: false, r) ? 0 : Int32(truncatingIfNeeded: instruction + 1)
    if mark { markUnknown(r) }
  }

  private func invalidRegister(_ number: Int) -> Refusal {
    refuse(.EINVAL, .invalidInstruction, "R\(number) is invalid\n")
  }
}
