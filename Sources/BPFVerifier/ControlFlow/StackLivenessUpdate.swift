import BPFLinux

/// Working out which slots are live, from the marks.
extension Verification {
  /// Brings live slots up to date for every function on the current state's stack. Due when a path ends and when a
  /// function returns: states that are explored to the end may be asked about from then on.
  func updateStackLiveness() throws(Refusal) {
    guard let store = liveness?.store else { return }
    store.pointee.current = nil
    var depth = Int(state.pointee.currentFrame)
    while depth >= 0 {
      let instance = functionInstance(store, of: state, depth: depth)
      if instance.pointee.isUpdated {
        update(store, instance)
        instance.pointee.isUpdated = false
        instance.pointee.lostWrites = false
        instance.pointee.updatedFrom = .max
      }
      depth -= 1
    }
  }

  private func update(_ store: UnsafeMutablePointer<LivenessStore>, _ instance: FunctionInstanceRef) {
    let depth = instance.pointee.chain.depth
    if instance.pointee.lostWrites { forgetOnwardWrites(instance) }
    let subprogram = instance.pointee.subprogram
    let start = subprograms[subprogram].postorderStart
    let steps = UnsafeBufferPointer(
      start: store.pointee.steps + start, count: subprograms[subprogram].postorderEnd - start)
    if logLevel & 2 != 0 {
      var passes = 0
      var changed: Bool
      repeat {
        passes += 1
        changed = false
        for frame in 0...depth {
          guard let marks = instance.pointee.frames[frame] else { continue }
          if propagateLogging(steps, instance, frame, marks) { changed = true }
        }
      } while changed
      putChain(instance.pointee.chain)
      print(" live stack update done in \(passes) iterations\n")
    } else {
      let from =
        instance.pointee.lostWrites ? 0 : max(0, Int(instance.pointee.updatedFrom) - start)
      for frame in 0...depth {
        guard let marks = instance.pointee.frames[frame] else { continue }
        settle(steps, from, marks - instance.pointee.chain.start, start: start)
      }
    }
    if depth > 0 { carryOut(store, instance) }
  }

  private func forgetOnwardWrites(_ instance: FunctionInstanceRef) {
    for frame in 0...instance.pointee.chain.depth {
      guard let marks = instance.pointee.frames[frame] else { continue }
      for index in 0..<instance.pointee.instructionCount { marks[index].writtenOnward = 0 }
    }
  }

  /// Propagates through a function, from a place in its post-order on, until nothing changes: once, and again from the
  /// first back-edge on where there is one.
  private func settle(
    _ steps: UnsafeBufferPointer<LivenessStep>, _ from: Int, _ marks: UnsafeMutablePointer<SlotMarks>, start: Int
  ) {
    guard propagate(steps, from, marks) else { return }
    guard let backEdge = firstBackEdge(steps, start: start) else { return }
    while propagate(steps, backEdge, marks) {}
  }

  /// The first place in post-order that is followed by itself or a later one.
  private func firstBackEdge(_ steps: UnsafeBufferPointer<LivenessStep>, start: Int) -> Int? {
    guard let places = liveness?.store.pointee.places else { return nil }
    return steps.indices.first { index in
      let step = steps[index]
      return step.first >= 0 && Int(places[Int(step.first)]) - start >= index
        || step.second >= 0 && Int(places[Int(step.second)]) - start >= index
    }
  }

  /// One pass over a function. `marks` is offset so that indices of the program find their place.
  private func propagate(
    _ steps: UnsafeBufferPointer<LivenessStep>, _ from: Int, _ marks: UnsafeMutablePointer<SlotMarks>
  ) -> Bool {
    var changed: UInt64 = 0
    for index in from..<max(from, steps.count) {
      let step = steps[index]
      guard step.first >= 0 else { continue }
      let here = marks + Int(step.instruction)
      let (live, written) = flow(step, marks, here)
      changed |= live ^ here.pointee.liveBefore
      changed |= written ^ here.pointee.writtenOnward
      here.pointee.liveBefore = live
      here.pointee.writtenOnward = written
    }
    return changed != 0
  }

  @inline(__always)
  private func flow(
    _ step: LivenessStep, _ marks: UnsafeMutablePointer<SlotMarks>, _ here: UnsafeMutablePointer<SlotMarks>
  ) -> (live: UInt64, written: UInt64) {
    let first = marks + Int(step.first)
    var after = first.pointee.liveBefore
    var written = first.pointee.writtenOnward
    if step.second >= 0 {
      let second = marks + Int(step.second)
      after |= second.pointee.liveBefore
      written &= second.pointee.writtenOnward
    }
    return (
      (after & ~here.pointee.alwaysWritten) | here.pointee.mayRead, written | here.pointee.alwaysWritten
    )
  }

  /// The marks on callers' frames at the function's entry are what its call does in the caller.
  private func carryOut(_ store: UnsafeMutablePointer<LivenessStore>, _ instance: FunctionInstanceRef) {
    var chain = instance.pointee.chain
    let entry = chain.start
    let depth = chain.depth
    let site = Int(chain.sites[depth - 1])
    chain.sites[depth] = 0
    chain.starts[depth] = 0
    chain.depth = depth - 1
    chain.sites[depth - 1] = chain.starts[depth - 1]
    let caller = functionInstance(store, chain)
    store.pointee.beginWrites(caller, site)
    for frame in 0..<depth {
      guard let marks = instance.pointee.marks(frame: frame, entry) else { continue }
      store.pointee.writes[frame] |= marks.pointee.writtenOnward
      store.pointee.noteRead(caller, frame: frame, instruction: site, mask: marks.pointee.liveBefore)
    }
    store.pointee.commitWrites(caller)
    store.pointee.writer = 0
  }

  // MARK: log

  private func propagateLogging(
    _ steps: UnsafeBufferPointer<LivenessStep>, _ instance: FunctionInstanceRef, _ frame: Int,
    _ frameMarks: UnsafeMutablePointer<SlotMarks>
  ) -> Bool {
    let start = instance.pointee.chain.start
    let marks = frameMarks - start
    var changed = false
    for step in steps where step.first >= 0 {
      let index = Int(step.instruction)
      let here = marks + index
      let (live, written) = flow(step, marks, here)
      if live != here.pointee.liveBefore || written != here.pointee.writtenOnward { changed = true }
      if here.pointee.mayRead != 0 || here.pointee.alwaysWritten != 0 || index == start || facts[index].prunePoint {
        putChange(instance, "live", frame, index, here.pointee.liveBefore, live)
        putChange(instance, "written", frame, index, here.pointee.writtenOnward, written)
      }
      here.pointee.liveBefore = live
      here.pointee.writtenOnward = written
    }
    return changed
  }

  private func putChange(
    _ instance: FunctionInstanceRef, _ what: StaticString, _ frame: Int, _ index: Int, _ old: UInt64, _ new: UInt64
  ) {
    guard old != new else { return }
    putChain(instance.pointee.chain)
    log.put(" frame ")
    log.put(decimal: frame)
    log.put(" insn ")
    log.put(decimal: index)
    log.put(" ")
    if new & ~old != 0 {
      log.put("+")
      log.put(what)
      log.put(" ")
      log.put(slotMaskText(new & ~old))
      log.put(" ")
    }
    if old & ~new != 0 {
      log.put("-")
      log.put(what)
      log.put(" ")
      log.put(slotMaskText(old & ~new))
    }
    log.append("\n")
  }

  private func putChain(_ chain: CallChain) {
    log.put("(")
    for frame in 0...chain.depth {
      if frame > 0 { log.put(",") }
      log.put(decimal: Int(chain.sites[frame]))
    }
    log.put(")")
  }
}
