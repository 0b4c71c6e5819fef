import BPFLinux

extension Verification {
  /// Records that the path went through the current instruction, and what is special about it.
  ///
  /// An instruction that is recorded twice keeps one entry with the flags of both.
  func pushHistory(_ state: StateRef, flags: UInt32, linked: UInt64) throws(Refusal) {
    if let entry = currentHistory {
      entry.pointee.flags |= flags
      entry.pointee.linked = linked
      return
    }
    pool.growHistory(state)
    guard let history = state.pointee.history else {
      throw Refusal(errno: .ENOMEM, category: .complexity)
    }
    let entry = history + Int(state.pointee.historyCount)
    entry.pointee = JumpHistoryEntry(
      instruction: UInt32(truncatingIfNeeded: instruction),
      previous: UInt32(truncatingIfNeeded: previousInstruction) & 0xf_ffff, flags: flags, linked: linked)
    state.pointee.historyCount += 1
    currentHistory = entry
  }

  /// The newest of the first `end` entries, if it is about `instruction`.
  @inline(__always)
  func historyEntry(_ state: StateRef, end: Int32, at instruction: Int) -> UnsafeMutablePointer<JumpHistoryEntry>? {
    guard end > 0, let history = state.pointee.history,
      history[Int(end) - 1].instruction == UInt32(truncatingIfNeeded: instruction)
    else { return nil }
    return history + Int(end) - 1
  }

  /// The instruction before `instruction` on the path of `state`, nil at its first; consumes entries from `end`.
  @inline(__always)
  func previousInstruction(in state: StateRef, before instruction: Int, end: inout Int32) -> Int? {
    let isRecorded = historyEntry(state, end: end, at: instruction)
    if instruction == Int(state.pointee.firstInstruction) {
      if end == 0 || (end == 1 && isRecorded != nil) { return nil }
    }
    if let entry = isRecorded {
      end -= 1
      return Int(entry.pointee.previous)
    }
    return instruction - 1
  }

  @inline(__always) func stackAccessFlags(frame: Int, slot: Int) -> UInt32 {
    HistoryFlags.stackAccess | UInt32(truncatingIfNeeded: slot) << HistoryFlags.slotShift
      | UInt32(truncatingIfNeeded: frame)
  }
}
