import BPFISA
import BPFLinux

/// Most rounds of `bpf_loop`.
private let maximumLoops: Int32 = 8 << 20

// Loops put in place of calls, and what is never reached taken away.

extension Rewriter {
  /// `bpf_loop` with one callback and no flags becomes a loop that calls it.
  func inlineLoops() throws(Refusal) {
    var current = 0
    var depth = subprograms[0].stackDepth
    var extra = 0
    var index = 0
    while index < slots.count {
      let insn = slots[index].instruction
      if insn.isHelperCall, insn.immediate == HelperID.loop.rawValue, let fact = facts(index),
        fact.pointee.loopInlinable
      {
        extra = 24 + ((depth + 7) & ~7) - depth
        index += try inlineLoop(index, stack: -(depth + extra), callback: Int(fact.pointee.loopSubprogram))
      }
      if end(of: current) == index + 1 {
        subprograms[current].stackDepth += extra
        current += 1
        guard current < subprograms.count else { return }
        depth = subprograms[current].stackDepth
        extra = 0
      }
      index += 1
    }
  }

  private func inlineLoop(_ index: Int, stack: Int, callback: Int) throws(Refusal) -> Int {
    let growth = try replace(
      index,
      [
        .jump(Jump.jle, 1, maximumLoops, to: 2),
        .alu32(ALU.mov, 0, -Errno.E2BIG.rawValue),
        .jump(to: 16),
        .store(Size.dw, 10, stack, register: 6),
        .store(Size.dw, 10, stack + 8, register: 7),
        .store(Size.dw, 10, stack + 16, register: 8),
        .alu64(ALU.mov, 6, register: 1),
        .alu32(ALU.mov, 7, 0),
        .alu64(ALU.mov, 8, register: 3),
        .jump(Jump.jge, 7, register: 6, to: 5),
        .alu64(ALU.mov, 1, register: 7),
        .alu64(ALU.mov, 2, register: 8),
        .callSubprogram(0),
        .alu64(ALU.add, 7, 1),
        .jump(Jump.jeq, 0, 0, to: -6),
        .alu64(ALU.mov, 0, register: 7),
        .load(Size.dw, 6, 10, stack),
        .load(Size.dw, 7, 10, stack + 8),
        .load(Size.dw, 8, 10, stack + 16),
      ])
    let call = index + 12
    slots[call].instruction.immediate = Int32(truncatingIfNeeded: subprograms[callback].start - call - 1)
    return growth
  }

  /// A branch of which one side was never reached becomes a jump to the other.
  func hardWireBranches() {
    for index in slots.indices {
      let insn = slots[index].instruction
      let conditional: Bool
      switch insn.instructionClass {
      case Class.jmp32: conditional = insn.operation != Jump.ja
      case Class.jmp:
        conditional = insn.operation != Jump.ja && insn.operation != Jump.exit && insn.operation != Jump.call
      default: conditional = false
      }
      guard conditional else { continue }
      let target = index + 1 + Int(insn.offset)
      if index + 1 < slots.count && !isSeen(index + 1) {
        slots[index].instruction = .jump(to: Int(insn.offset))
      } else if slots.indices.contains(target) && !isSeen(target) {
        slots[index].instruction = .jump(to: 0)
      }
    }
  }

  func removeDeadCode() {
    var index = 0
    while index < slots.count {
      var count = 0
      while index + count < slots.count && !isSeen(index + count) { count += 1 }
      if count > 0 { remove(index, count) }
      index += 1
    }
  }

  /// Takes out jumps that lead nowhere else.
  func removeNops() {
    var index = 0
    while index < slots.count {
      let insn = slots[index].instruction
      let isPlain = insn.registers == 0 && insn.offset == 0 && insn.immediate == 0
      guard isPlain, insn.opcode == Opcode.ja || insn.opcode == Opcode.mayGoto else {
        index += 1
        continue
      }
      remove(index, 1)
      // The one before may be a `may_goto` that leads nowhere else now.
      if insn.opcode == Opcode.mayGoto && index > 0 { index -= 1 }
    }
  }

  /// Without the privilege to have it removed, what is never reached becomes an endless loop.
  func trapDeadCode() {
    for index in slots.indices where !isSeen(index) {
      slots[index].instruction = .jump(to: -1)
      slots[index].reference = -1
    }
  }
}
