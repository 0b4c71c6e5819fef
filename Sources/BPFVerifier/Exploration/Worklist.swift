import BPFLinux

/// Most paths that may wait to be explored.
private let maximumPendingPaths = 8192

extension Verification {
  /// Puts a path aside that continues at `next` from what is known now; nil where too many wait (which is logged).
  ///
  /// The state belongs to the worklist; the caller may refine it.
  func pushPath(to next: Int, from previous: Int, speculative: Bool) -> StateRef? {
    let copy = pool.makeState()
    pool.copyState(from: state, to: copy)
    copy.pointee.speculative = copy.pointee.speculative || speculative
    putAside(copy, next, previous)
    if worklist.count > maximumPendingPaths {
      let count = worklist.count
      lastMessage = "The sequence of \(count) jumps is too complex.\n"
      print("The sequence of \(count) jumps is too complex.\n")
      return nil
    }
    if let parent = copy.pointee.parent { parent.pointee.branches += 1 }
    return copy
  }

  /// Puts aside the exploration of an asynchronous callback, which starts on a stack of its own.
  func pushAsyncCallback(subprogram: Int, instruction: Int, previous: Int, sleepable: Bool) -> StateRef? {
    let fresh = pool.makeState()
    putAside(fresh, instruction, previous)
    if worklist.count > maximumPendingPaths {
      let count = worklist.count
      lastMessage = "The sequence of \(count) jumps is too complex for async cb.\n"
      print("The sequence of \(count) jumps is too complex for async cb.\n")
      return nil
    }
    fresh.pointee.branches = 1
    fresh.pointee.inSleepable = sleepable
    let frame = pool.makeFrame()
    initializeFrame(frame, callSite: -1, number: 0, subprogram: subprogram)
    fresh.framesBase[0] = frame
    return fresh
  }

  @inline(__always) private func putAside(_ state: StateRef, _ next: Int, _ previous: Int) {
    let fork = numberFork()
    let path = PendingPath(
      state: state, instruction: Int32(truncatingIfNeeded: next), previous: Int32(truncatingIfNeeded: previous),
      logPosition: logLevel == 0 ? 0 : log.endPosition, number: fork.number, depth: fork.depth)
    worklist.append(path)
    leaveFollowedPath(at: path)
  }

  /// Takes up the path that was put aside last; false where none is left.
  func popPath(resettingLog: Bool) -> Bool {
    guard let path = worklist.popLast() else { return false }
    pool.freeState(state)
    state = path.state
    takeUp(path)
    if resettingLog && logLevel != 0 { log.reset(to: path.logPosition) }
    instruction = Int(path.instruction)
    previousInstruction = Int(path.previous)
    return true
  }

  /// A frame whose registers hold nothing but the frame pointer (`init_func_state`).
  func initializeFrame(_ frame: FrameRef, callSite: Int32, number: UInt32, subprogram: Int) {
    frame.pointee.slotCount = 0
    frame.pointee.callSite = callSite
    frame.pointee.number = number
    frame.pointee.subprogram = Int32(truncatingIfNeeded: subprogram)
    frame.pointee.asyncEntryCount = 0
    frame.pointee.callbackReturnRange = ReturnRange()
    frame.pointee.inCallback = false
    frame.pointee.inAsyncCallback = false
    frame.pointee.inExceptionCallback = false
    frame.pointee.callbackDepth = 0
    for index in 0..<registerCount {
      let register = frame.register(index)
      register.pointee = RegisterState()
      markNotInitialized(register)
      register.pointee.subregisterDefinition = 0
    }
    let pointer = frame.register(10)
    pointer.pointee.type = .stack
    pointer.pointee.markKnownZero()
    pointer.pointee.frame = UInt8(truncatingIfNeeded: number)
    markStateScratched()
  }

  /// One path from `state` ended: counts it at its checkpoints, as far up as no other path is open.
  func pathEnded() throws(Refusal) {
    var next: StateRef? = state
    var finished: StateRef?
    while let current = next {
      current.pointee.branches -= 1
      if current.pointee.branches > 0 { break }
      if current.pointee.branches < 0 {
        // As Linux does: a warning, and on with it.
        print("verifier bug: update_branch_counts:branches_to_explore=\(current.pointee.branches)\n")
      }
      try exitComponent(current)
      let parent = current.pointee.parent
      if let finished { freeIfUnused(finished) }
      finished = parent
      next = parent
    }
  }

  /// An evicted checkpoint is kept only as long as paths lead through it.
  func freeIfUnused(_ checkpoint: StateRef) {
    guard checkpoint.pointee.evicted, checkpoint.pointee.branches == 0, !marksAreIncomplete(checkpoint) else { return }
    explored.evictedCount -= 1
    pool.freeState(checkpoint)
  }

  @inline(__always) func updatePeakStates() {
    let now = explored.count + explored.evictedCount + backedgeCount
    if now > peakStates { peakStates = now }
  }
}
