import BPFISA
import BPFLinux

extension Verification {
  /// Applies what Linux's rewriting passes do to subprograms and their stacks, which the statistics show:
  /// functions that no path reaches disappear, inlined loops and `may_goto` take stack of their own.
  func settleRewrittenLayout() throws(Refusal) {
    reserveInlinedLoops()
    guard hasBPFCapability else { return }
    var alive = [Bool](repeating: false, count: instructionCount)
    for index in 0..<instructionCount { alive[index] = facts[index].seen != 0 }
    let strayAddress = try strayAddress(alive)
    hardWireBranches(alive)
    removeNops(&alive)
    for index in 0..<instructionCount where alive[index] && facts[index].failsConversion {
      throw refuse(.EFAULT, .invariant, "verifier bug: error during ctx access conversion (0)\n")
    }
    for index in 0..<instructionCount
    where alive[index] && instructions[index].isKfuncCall && instructions[index].immediate == 0 {
      throw refuse(
        .EINVAL, .kfuncNotAllowed, "invalid kernel function call not eliminated in verifier pass\n")
    }
    reserveMayGoto(alive)
    removeDeadSubprograms(alive)
    if seenException && exceptionCallback == 0 {
      subprograms.append(Subprogram(start: instructionCount, end: instructionCount))
    }
    if let strayAddress {
      throw refuse(
        .EFAULT, .invariant, "verifier bug: No program to jit at insn \(strayAddress) (subprog < 0)\n")
    }
  }

  /// The address of a function that no path enters names, once that function is removed, what then stands in its
  /// place, or something past it: Linux looks for a function there when it compiles the program.
  ///
  /// - Returns: the instruction of the rewritten program where it finds none.
  private func strayAddress(_ alive: [Bool]) throws(Refusal) -> Int? {
    let isPossible = (0..<instructionCount).contains { index in
      alive[index] && instructions[index].isSubprogramAddress
        && !alive[index + 1 + Int(instructions[index].immediate)]
    }
    guard isPossible else { return nil }
    let rewriter = Rewriter(self, RewriteOptions())
    _ = try rewriter.rewrite()
    return rewriter.strayAddress
  }

  /// An inlined `bpf_loop` keeps r6, r7 and r8 on the stack.
  private func reserveInlinedLoops() {
    for number in subprograms.indices {
      let depth = subprograms[number].stackDepth
      let padding = (depth + 7) & ~7 - depth
      for index in subprograms[number].start..<subprograms[number].end
      where instructions[index].isHelperCall && instructions[index].immediate == HelperID.loop.rawValue
        && facts[index].loopInlinable
      {
        subprograms[number].stackDepth = depth + padding + 24
      }
    }
  }

  /// `may_goto` counts in two slots of the stack.
  private func reserveMayGoto(_ alive: [Bool]) {
    for number in subprograms.indices {
      let range = subprograms[number].start..<subprograms[number].end
      if range.contains(where: { alive[$0] && instructions[$0].opcode == Opcode.mayGoto }) {
        subprograms[number].stackDepth += 16
      }
    }
  }

  /// A branch of which one side was never reached becomes a jump to the other.
  private func hardWireBranches(_ alive: [Bool]) {
    for index in 0..<instructionCount where isConditional(instructions[index]) {
      let target = index + 1 + Int(instructions[index].offset)
      if index + 1 < instructionCount && !alive[index + 1] {
        instructions[index] = Instruction(opcode: Opcode.ja, offset: instructions[index].offset)
      } else if target >= 0 && target < instructionCount && !alive[target] {
        instructions[index] = Instruction(opcode: Opcode.ja)
      }
    }
  }

  private func isConditional(_ insn: Instruction) -> Bool {
    switch insn.instructionClass {
    case Class.jmp32: insn.operation != Jump.ja
    case Class.jmp: insn.operation != Jump.ja && insn.operation != Jump.exit && insn.operation != Jump.call
    default: false
    }
  }

  /// Removes jumps to the next instruction, as one pass over the program that steps back after a `may_goto`.
  private func removeNops(_ alive: inout [Bool]) {
    var index = 0
    while index < instructionCount {
      let insn = instructions[index]
      let mayGoto = insn.opcode == Opcode.mayGoto && insn.registers == 0 && insn.immediate == 0
      let jump = insn.opcode == Opcode.ja && insn.registers == 0 && insn.immediate == 0
      guard alive[index], mayGoto || jump, goesToNext(index, alive) else {
        index += insn.isLoadImmediate64 ? 2 : 1
        continue
      }
      alive[index] = false
      if mayGoto, let before = alive[..<index].lastIndex(of: true) {
        index = before
      } else {
        index += 1
      }
    }
  }

  private func goesToNext(_ index: Int, _ alive: [Bool]) -> Bool {
    let offset = Int(instructions[index].offset)
    guard offset >= 0, index + 1 + offset <= instructionCount else { return false }
    return !alive[(index + 1)..<(index + 1 + offset)].contains(true)
  }

  private func removeDeadSubprograms(_ alive: [Bool]) {
    subprograms.removeAll { !alive[$0.start..<$0.end].contains(true) }
  }
}
