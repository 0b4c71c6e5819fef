import BPFISA
import BPFLinux

/// How many checkpoints an unprivileged program may have in one list.
private let maximumUnprivilegedCheckpoints = 64
/// A path that grew longer than this since its checkpoint gets a new one.
private let maximumHistory: Int32 = 40

extension Verification {
  /// At a place where paths meet: whether what is known now was explored before, so that this path can end.
  ///
  /// Otherwise a checkpoint may be made here, by rules that are Linux's own: they decide the counts it reports.
  func isStateVisited() throws(Refusal) -> Bool {
    let at = instruction
    let current = state
    let facts = self.facts + at
    let forceCheckpoint = facts.pointee.forceCheckpoint
    let forced = testStateFrequency || forceCheckpoint || current.pointee.historyCount > maximumHistory
    let jumpsSince = jumps &- previousJumps
    let processedSince = processed &- previousProcessed
    var add = forced || (jumpsSince >= 2 && processedSince >= 8)

    try cleanLiveStates(at: at, current: current)

    let callSite = current.current.pointee.callSite
    let head = explored.list(for: at, callSite: callSite)
    var compared = 0
    // Goes on to the next checkpoint, as in Linux: one whose marks are incomplete makes what equals a later one a
    // back-edge too.
    var closesLoop = false
    var link = head
    while let old = link.pointee {
      compared += 1
      if old.pointee.instruction != Int32(truncatingIfNeeded: at) {
        link = nextLink(old)
        continue
      }
      var hit = false
      if old.pointee.branches > 0 {
        switch try compareWithAncestor(old, current, at) {
        case .hit(let closes):
          hit = true
          closesLoop = closesLoop || closes
        case .missWhileLooping:
          if !forced && jumpsSince < 20 && processedSince < 100 { add = false }
        }
      } else {
        closesLoop = marksAreIncomplete(old)
        hit = statesEqual(old, current, exact: closesLoop ? .rangeWithin : .notExact)
      }
      if hit {
        old.pointee.hits &+= 1
        try prune(current, by: old, closesLoop: closesLoop, at: at)
        return true
      }
      if add { old.pointee.misses &+= 1 }
      let patience: UInt32 = forceCheckpoint && old.pointee.branches > 0 ? 64 : 3
      if old.pointee.misses > old.pointee.hits &* patience &+ patience {
        link.pointee = old.pointee.next
        old.pointee.evicted = true
        explored.evictedCount += 1
        explored.count -= 1
        freeIfUnused(old)
      } else {
        link = nextLink(old)
      }
    }

    if compared > maximumStatesPerInstruction { maximumStatesPerInstruction = compared }
    if !hasBPFCapability && compared > maximumUnprivilegedCheckpoints { return false }
    if add { makeCheckpoint(of: current, at: at, in: head) }
    return false
  }

  @inline(__always) private func nextLink(_ state: StateRef) -> UnsafeMutablePointer<StateRef?> {
    (UnsafeMutableRawPointer(state) + (MemoryLayout<State>.offset(of: \.next) ?? 0))
      .assumingMemoryBound(to: StateRef?.self)
  }

  private enum AncestorComparison {
    case hit(closesLoop: Bool)
    case missWhileLooping
  }

  /// Compares with a checkpoint that this path itself came through (or that is still being explored): a loop.
  private func compareWithAncestor(_ old: StateRef, _ current: StateRef, _ at: Int) throws(Refusal)
    -> AncestorComparison
  {
    let frame = old.current
    if frame.pointee.inAsyncCallback
      && frame.pointee.asyncEntryCount != current.current.pointee.asyncEntryCount
    {
      return .missWhileLooping
    }
    if facts[at].isIteratorNext {
      // Loops over iterators end by the iterator's contract: here equality proves convergence.
      if statesEqual(old, current, exact: .rangeWithin), iteratorIsActive(current) { return .hit(closesLoop: true) }
      return .missWhileLooping
    }
    if instructions[at].opcode == Opcode.mayGoto {
      if old.pointee.mayGotoDepth != current.pointee.mayGotoDepth
        && statesEqual(old, current, exact: .rangeWithin)
      {
        return .hit(closesLoop: true)
      }
    }
    if facts[at].callsCallback {
      return statesEqual(old, current, exact: .rangeWithin) ? .hit(closesLoop: false) : .missWhileLooping
    }
    if statesMaybeLooping(old, current) && statesEqual(old, current, exact: .exact)
      && !iteratorDepthsDiffer(old, current) && old.pointee.mayGotoDepth == current.pointee.mayGotoDepth
      && old.pointee.callbackUnrollDepth == current.pointee.callbackUnrollDepth
    {
      printLineInfo(at, prefix: "; ")
      let refusal = refuse(.EINVAL, .infiniteLoop, "infinite loop detected at insn \(at)\n")
      print("cur state:")
      if logLevel != 0 { printState(current, frame: Int(current.pointee.currentFrame), all: true) }
      print("old state:")
      if logLevel != 0 { printState(old, frame: Int(current.pointee.currentFrame), all: true) }
      throw refusal
    }
    return .missWhileLooping
  }

  /// Whether the iterator that r1 points to still yields.
  private func iteratorIsActive(_ state: StateRef) -> Bool {
    let pointer = state.current.register(1)
    let offset = Int(pointer.pointee.offset) &+ Int(truncatingIfNeeded: pointer.pointee.bits.value)
    let slot = (-offset - 1) / 8
    let frame = state.frame(Int(pointer.pointee.frame))
    guard slot >= 0, slot < Int(frame.pointee.slotCount) else { return false }
    return frame.spilled(slot).pointee.iterator == .active
  }

  /// Ends the current path at the checkpoint `old`, which covers it.
  private func prune(_ current: StateRef, by old: StateRef, closesLoop: Bool, at: Int) throws(Refusal) {
    if facts[at].jumpPoint { try pushHistory(current, flags: 0, linked: 0) }
    var changed = false
    try propagatePrecision(from: old, to: current, changed: &changed)
    guard closesLoop else { return }
    let backedge = pool.makeState()
    pool.copyState(from: current, to: backedge)
    backedge.pointee.equalState = old
    backedge.pointee.instruction = Int32(truncatingIfNeeded: at)
    do {
      try addBackedge(backedge, closingAt: old)
    } catch {
      pool.freeState(backedge)
      throw error
    }
  }

  private func makeCheckpoint(of current: StateRef, at: Int, in head: UnsafeMutablePointer<StateRef?>) {
    totalStates += 1
    explored.count += 1
    updatePeakStates()
    previousJumps = jumps
    previousProcessed = processed
    // Precision inherited from the checkpoint before does not bind what comes after this one.
    if hasBPFCapability { markAllScalarsImprecise(current) }
    let checkpoint = pool.makeState()
    pool.copyState(from: current, to: checkpoint)
    checkpoint.pointee.instruction = Int32(truncatingIfNeeded: at)
    enterComponent(checkpoint)
    current.pointee.parent = checkpoint
    current.pointee.firstInstruction = Int32(truncatingIfNeeded: at)
    current.pointee.depth = checkpoint.pointee.depth &+ 1
    current.pointee.historyCount = 0
    checkpoint.pointee.next = head.pointee
    head.pointee = checkpoint
  }
}
