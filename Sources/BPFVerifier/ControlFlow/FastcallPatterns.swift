import BPFISA
import BPFLinux

/// Calls that clobber only what their prototype names (`bpf_fastcall`).
///
/// Compilers keep registers alive over such a call and, for the sake of older kernels, save and restore them around
/// it in the lowest slots of the stack, which serve nothing else. Where that holds for all of a function, the pairs
/// go, and with them those slots:
///
///     *(u64 *)(r10 - 8) = r1
///     call bpf_get_smp_processor_id
///     r1 = *(u64 *)(r10 - 8)
extension Verification {
  /// Finds the pairs. Whether their slots serve nothing else shows during exploration.
  func markFastcallPatterns() throws(Refusal) {
    for number in subprograms.indices {
      let range = subprograms[number].start..<subprograms[number].end
      var lowest = 0
      for index in range where isSpillToStack(instructions[index]) {
        lowest = min(lowest, Int(instructions[index].offset))
      }
      for index in range where instructions[index].opcode == Opcode.call {
        markFastcallPattern(of: index, subprogram: number, lowest: lowest)
      }
    }
  }

  private func isSpillToStack(_ insn: Instruction) -> Bool {
    insn.opcode == Class.stx | Mode.mem | Size.dw && insn.dst == 10
  }

  private func isFillFromStack(_ insn: Instruction) -> Bool {
    insn.opcode == Class.ldx | Mode.mem | Size.dw && insn.src == 10
  }

  private func markFastcallPattern(of call: Int, subprogram number: Int, lowest: Int) {
    guard let summary = callSummary(instructions[call]) else { return }
    var expected = callerSavedRegisters & ~summary.clobberedRegisters
    var pairs = 0
    var offset = lowest
    while pairs < 6 {
      let before = call - pairs - 1
      let after = call + pairs + 1
      guard before >= 0, after < instructionCount else { break }
      let spill = instructions[before]
      let fill = instructions[after]
      guard isSpillToStack(spill), isFillFromStack(fill), spill.src == fill.dst,
        expected & (1 << UInt32(spill.src)) != 0, Int(spill.offset) == offset, Int(fill.offset) == offset
      else { break }
      expected &= ~(1 << UInt32(spill.src))
      facts[before].fastcallPattern = true
      facts[after].fastcallPattern = true
      pairs += 1
      offset += Int(registerSize)
    }
    guard pairs > 0 else { return }
    // A call that will be inlined by a later kernel only does not stand in the way of the others.
    if summary.isFastcall {
      facts[call].fastcallSpills = UInt8(pairs)
    } else {
      subprograms[number].keepFastcallStack = true
    }
    subprograms[number].fastcallStackOffset = min(
      subprograms[number].fastcallStackOffset, Int32(truncatingIfNeeded: offset))
  }

  /// Removes the pairs of calls that are inlined, and the stack they took.
  func dropFastcallSpills() {
    for number in subprograms.indices {
      var dropped = false
      for call in subprograms[number].start..<subprograms[number].end where facts[call].fastcallSpills > 0 {
        for distance in 1...Int(facts[call].fastcallSpills) {
          instructions[call - distance] = Instruction(opcode: Opcode.ja)
          instructions[call + distance] = Instruction(opcode: Opcode.ja)
        }
        dropped = true
      }
      if dropped && !subprograms[number].keepFastcallStack {
        subprograms[number].stackDepth = -subprograms[number].fastcallStackOffset
      }
    }
  }
}
