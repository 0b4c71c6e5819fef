import BPFISA
import BPFLinux

/// Registers that an instruction reads and writes, and those that are alive before and after it; bits by number.
private struct RegisterUse: BitwiseCopyable {
  var uses: UInt16 = 0xffff
  var defines: UInt16 = 0
  var before: UInt16 = 0
  var after: UInt16 = 0
}

/// Which registers may still be read: the others need not be equal for states to be.
extension Verification {
  func computeLiveRegisters() throws(Refusal) {
    var uses = [RegisterUse](repeating: RegisterUse(), count: instructionCount)
    for index in 0..<instructionCount { uses[index] = registerUse(of: instructions[index]) }
    var changed = true
    while changed {
      changed = false
      for at in postorder {
        let index = Int(at)
        let successors = successors(of: index)
        var after: UInt16 = 0
        for position in 0..<successors.count { after |= uses[successors[position]].before }
        let before = (after & ~uses[index].defines) | uses[index].uses
        if after != uses[index].after || before != uses[index].before {
          uses[index].after = after
          uses[index].before = before
          changed = true
        }
      }
    }
    for index in 0..<instructionCount { facts[index].liveRegisters = uses[index].before }
    if logLevel & 2 != 0 { printLiveRegisters() }
  }

  private func printLiveRegisters() {
    log.put("Live regs before insn:\n")
    var index = 0
    while index < instructionCount {
      let component = facts[index].component
      if component != 0 {
        log.put(decimal: Int(component), width: 3)
        log.put(" ")
      } else {
        log.put("    ")
      }
      log.put(decimal: index, width: 3)
      log.put(": ")
      for number in 0..<10 {
        let isAlive = facts[index].liveRegisters & (1 << UInt16(number)) != 0
        log.put(byte: isAlive ? UInt8(ascii: "0") + UInt8(number) : UInt8(ascii: "."))
      }
      log.put(" ")
      printInstruction(index)
      index += instructions[index].isLoadImmediate64 ? 2 : 1
    }
  }

  /// What is not an instruction of the set reads everything.
  private func registerUse(of insn: Instruction) -> RegisterUse {
    let dst = UInt16(1) << UInt16(insn.dst)
    let src = UInt16(1) << UInt16(insn.src)
    switch insn.instructionClass {
    case Class.ld:
      if insn.isLoadImmediate64 { return RegisterUse(uses: 0, defines: dst) }
    case Class.ldx:
      if insn.mode == Mode.mem || insn.mode == Mode.memsx { return RegisterUse(uses: src, defines: dst) }
    case Class.st:
      if insn.mode == Mode.mem { return RegisterUse(uses: dst) }
    case Class.stx:
      if insn.mode == Mode.mem { return RegisterUse(uses: dst | src) }
      if insn.mode == Mode.atomic { return atomicUse(insn, dst, src) }
    case Class.alu, Class.alu64:
      let operand = insn.operandSource == Source.x ? src : 0
      switch insn.operation {
      case ALU.end: return RegisterUse(uses: dst, defines: dst)
      case ALU.mov: return RegisterUse(uses: operand, defines: dst)
      default: return RegisterUse(uses: dst | operand, defines: dst)
      }
    default:
      return jumpUse(insn, dst, src)
    }
    return RegisterUse()
  }

  private func atomicUse(_ insn: Instruction, _ dst: UInt16, _ src: UInt16) -> RegisterUse {
    switch insn.immediate {
    case Atomic.cmpxchg: RegisterUse(uses: 1 | dst | src, defines: 1)
    case Atomic.loadAcquire: RegisterUse(uses: src, defines: dst)
    case Atomic.storeRelease: RegisterUse(uses: dst | src)
    default: RegisterUse(uses: dst | src, defines: insn.immediate & Atomic.fetch != 0 ? src : 0)
    }
  }

  private func jumpUse(_ insn: Instruction, _ dst: UInt16, _ src: UInt16) -> RegisterUse {
    let usesRegister = insn.operandSource == Source.x
    switch insn.operation {
    case Jump.ja: return RegisterUse(uses: usesRegister ? dst : 0)
    case Jump.jcond: return RegisterUse(uses: 0)
    case Jump.exit: return RegisterUse(uses: 1)
    case Jump.call:
      let arguments = callSummary(insn)?.argumentRegisters ?? callerSavedRegisters & ~1
      return RegisterUse(
        uses: UInt16(truncatingIfNeeded: arguments), defines: UInt16(truncatingIfNeeded: callerSavedRegisters))
    default: return RegisterUse(uses: usesRegister ? dst | src : dst)
    }
  }
}
