import BPFISA
import BPFLinux

/// Which slots of the stack may still be read: the others need not be equal for states to be.
///
/// Exploration notes, for each instruction and each chain of calls that led to it, which slots of which frame it may
/// read and which it always writes. From these marks, live slots follow as live variables do in a compiler:
///
///     after(i)  = union of before(s) over the successors s of i
///     before(i) = (after(i) without what i always writes) and what i may read
///
/// Marks on frames of callers are carried to the call instruction in the caller. They accumulate: what may be read
/// only grows, what is always written only shrinks; results are brought up to date when a path ends.
final class StackLiveness {
  let store: UnsafeMutablePointer<LivenessStore>

  fileprivate init(steps: UnsafeMutablePointer<LivenessStep>, places: UnsafeMutablePointer<Int32>) {
    store = .allocate(capacity: 1)
    store.initialize(to: LivenessStore(steps: steps, places: places))
  }

  deinit {
    for bucket in 0..<LivenessStore.bucketCount {
      var next = store.pointee.buckets[bucket]
      while let instance = next {
        next = instance.pointee.next
        for frame in 0..<maximumFrames { instance.pointee.frames[frame]?.deallocate() }
        instance.pointee.writesKnown.deallocate()
        instance.pointee.frames.deallocate()
        instance.deallocate()
      }
    }
    store.pointee.deallocate()
    store.deallocate()
  }
}

typealias FunctionInstanceRef = UnsafeMutablePointer<FunctionInstance>

/// The calls that lead to a function: the call instruction of each frame, and last the function's own start.
struct CallChain: BitwiseCopyable, Equatable {
  var sites = SIMD8<UInt32>(repeating: 0)
  /// Where the function of each frame begins.
  var starts = SIMD8<UInt32>(repeating: 0)
  /// The innermost frame.
  var depth = 0

  @inline(__always) var start: Int { Int(starts[depth]) }

  @inline(__always) func leadsToSame(as other: CallChain) -> Bool { depth == other.depth && sites == other.sites }

  var bucket: Int {
    var hash: UInt32 = UInt32(truncatingIfNeeded: depth)
    for frame in 0...depth { hash = (hash ^ sites[frame]) &* 0x9e37_79b1 }
    return Int(hash >> 24)
  }
}

/// Marks of one instruction on the slots of one frame, bit by slot.
struct SlotMarks: BitwiseCopyable {
  var mayRead: UInt64
  var alwaysWritten: UInt64
  /// Written here or on every way on to the function's end.
  var writtenOnward: UInt64
  var liveBefore: UInt64
}

/// A function as one chain of calls reaches it.
struct FunctionInstance: BitwiseCopyable {
  var chain: CallChain
  var instructionCount: Int
  var subprogram: Int
  /// Marks changed since live slots were worked out.
  var isUpdated = false
  /// Something is no longer always written.
  var lostWrites = false
  /// The first place in post-order whose marks changed since: what comes before it depends on nothing that changed.
  var updatedFrom = Int32.max
  /// By frame, then by instruction; a frame's marks exist from the first one on.
  var frames: UnsafeMutablePointer<UnsafeMutablePointer<SlotMarks>?>
  /// By instruction: what it always writes was noted at least once.
  var writesKnown: UnsafeMutablePointer<Bool>
  var next: FunctionInstanceRef?

  @inline(__always) func marks(frame: Int, _ instruction: Int) -> UnsafeMutablePointer<SlotMarks>? {
    guard let marks = frames[frame] else { return nil }
    return marks + (instruction &- chain.start)
  }

  @inline(__always) func makeMarks(frame: Int, _ instruction: Int) -> UnsafeMutablePointer<SlotMarks> {
    if let marks = frames[frame] { return marks + (instruction &- chain.start) }
    return allocateMarks(frame) + (instruction &- chain.start)
  }

  @inline(never) private func allocateMarks(_ frame: Int) -> UnsafeMutablePointer<SlotMarks> {
    let marks = UnsafeMutablePointer<SlotMarks>.allocate(capacity: instructionCount)
    marks.initialize(
      repeating: SlotMarks(mayRead: 0, alwaysWritten: 0, writtenOnward: 0, liveBefore: 0), count: instructionCount)
    frames[frame] = marks
    return marks
  }
}

/// One step of the propagation: an instruction in post-order, and what follows it.
struct LivenessStep: BitwiseCopyable {
  var instruction: Int32
  /// -1 where there is none.
  var first: Int32
  var second: Int32
}

/// What `StackLiveness` owns, at a fixed address.
struct LivenessStore {
  static let bucketCount = 256

  let buckets: UnsafeMutablePointer<FunctionInstanceRef?>
  /// As `Verification.postorder`.
  let steps: UnsafeMutablePointer<LivenessStep>
  /// Where in `steps` an instruction is.
  let places: UnsafeMutablePointer<Int32>
  /// The instance that the current state is in; nil until it is asked for.
  var current: FunctionInstanceRef?
  /// Writes of the instruction being checked, by frame.
  let writes: UnsafeMutablePointer<UInt64>
  var writer = 0
  /// The state that questions are about: its instances by frame.
  let asked: UnsafeMutablePointer<FunctionInstanceRef?>
  var askedDepth = 0
  var askedInstruction = 0

  init(steps: UnsafeMutablePointer<LivenessStep>, places: UnsafeMutablePointer<Int32>) {
    self.steps = steps
    self.places = places
    buckets = .allocate(capacity: Self.bucketCount)
    buckets.initialize(repeating: nil, count: Self.bucketCount)
    writes = .allocate(capacity: maximumFrames)
    writes.initialize(repeating: 0, count: maximumFrames)
    asked = .allocate(capacity: maximumFrames)
    asked.initialize(repeating: nil, count: maximumFrames)
  }

  func deallocate() {
    buckets.deallocate()
    steps.deallocate()
    places.deallocate()
    writes.deallocate()
    asked.deallocate()
  }

  @inline(__always) mutating func beginWrites(_ instance: FunctionInstanceRef, _ instruction: Int) {
    writer = instruction
    var frame = 0
    while frame <= instance.pointee.chain.depth {
      writes[frame] = 0
      frame &+= 1
    }
  }

  /// Merges the writes of the instruction into what it is known to write always.
  @inline(__always) func commitWrites(_ instance: FunctionInstanceRef) {
    let index = writer &- instance.pointee.chain.start
    let known = instance.pointee.writesKnown[index]
    var frame = 0
    while frame <= instance.pointee.chain.depth {
      defer { frame &+= 1 }
      var mask = writes[frame]
      if mask == 0 && !known { continue }
      let marks = instance.pointee.makeMarks(frame: frame, writer)
      // Linux remembers 32 of the 64 slots in this comparison, and which states it finds equal follows from it.
      let old = marks.pointee.alwaysWritten & 0xffff_ffff
      if known { mask &= old }
      if old != mask {
        marks.pointee.alwaysWritten = mask
        noteUpdate(instance, writer)
      }
      if old & ~mask != 0 { instance.pointee.lostWrites = true }
    }
    instance.pointee.writesKnown[index] = true
  }

  @inline(__always)
  func noteRead(_ instance: FunctionInstanceRef, frame: Int, instruction: Int, mask: UInt64) {
    let marks = instance.pointee.makeMarks(frame: frame, instruction)
    let reads = marks.pointee.mayRead | mask
    guard reads != marks.pointee.mayRead else { return }
    if reads & ~marks.pointee.liveBefore != 0 { noteUpdate(instance, instruction) }
    marks.pointee.mayRead = reads
  }

  @inline(__always) private func noteUpdate(_ instance: FunctionInstanceRef, _ instruction: Int) {
    instance.pointee.isUpdated = true
    let place = places[instruction]
    if place < instance.pointee.updatedFrom { instance.pointee.updatedFrom = place }
  }
}

extension Verification {
  /// Prepares the analysis; functions and post-order are known by now.
  func initializeStackLiveness() throws(Refusal) {
    let steps = UnsafeMutablePointer<LivenessStep>.allocate(capacity: max(1, postorder.count))
    let places = UnsafeMutablePointer<Int32>.allocate(capacity: max(1, instructionCount))
    places.initialize(repeating: 0, count: max(1, instructionCount))
    for (position, index) in postorder.enumerated() {
      places[Int(index)] = Int32(truncatingIfNeeded: position)
      let successors = successors(of: Int(index))
      let first = successors.count > 0 ? Int32(truncatingIfNeeded: successors.first) : -1
      let second = successors.count > 1 ? Int32(truncatingIfNeeded: successors.second) : -1
      (steps + position).initialize(to: LivenessStep(instruction: index, first: first, second: second))
    }
    liveness = StackLiveness(steps: steps, places: places)
  }

  // MARK: instances

  private func callChain(of state: StateRef, depth: Int) -> CallChain {
    var chain = CallChain()
    chain.depth = depth
    let last = Int(state.pointee.currentFrame)
    var frame = 0
    while frame <= depth {
      let start = subprograms[Int(state.frame(frame).pointee.subprogram)].start
      chain.starts[frame] = UInt32(truncatingIfNeeded: start)
      if frame < last {
        chain.sites[frame] = UInt32(bitPattern: state.frame(frame + 1).pointee.callSite)
      }
      frame += 1
    }
    chain.sites[depth] = chain.starts[depth]
    return chain
  }

  /// The function instance that `chain` leads to, made on first sight.
  @inline(never)
  func functionInstance(_ store: UnsafeMutablePointer<LivenessStore>, _ chain: CallChain) -> FunctionInstanceRef {
    let bucket = chain.bucket
    var next = store.pointee.buckets[bucket]
    while let instance = next {
      if instance.pointee.chain.leadsToSame(as: chain) { return instance }
      next = instance.pointee.next
    }
    let subprogram = containingSubprogram(chain.start)
    let count = subprograms[subprogram].end - subprograms[subprogram].start
    let frames = UnsafeMutablePointer<UnsafeMutablePointer<SlotMarks>?>.allocate(capacity: maximumFrames)
    frames.initialize(repeating: nil, count: maximumFrames)
    let known = UnsafeMutablePointer<Bool>.allocate(capacity: max(1, count))
    known.initialize(repeating: false, count: max(1, count))
    let instance = FunctionInstanceRef.allocate(capacity: 1)
    instance.initialize(
      to: FunctionInstance(
        chain: chain, instructionCount: count, subprogram: subprogram, frames: frames, writesKnown: known,
        next: store.pointee.buckets[bucket]))
    store.pointee.buckets[bucket] = instance
    return instance
  }

  func functionInstance(
    _ store: UnsafeMutablePointer<LivenessStore>, of state: StateRef, depth: Int
  ) -> FunctionInstanceRef {
    functionInstance(store, callChain(of: state, depth: depth))
  }

  @inline(__always)
  private func currentInstance(_ store: UnsafeMutablePointer<LivenessStore>) -> FunctionInstanceRef {
    if let current = store.pointee.current { return current }
    let instance = functionInstance(store, of: state, depth: Int(state.pointee.currentFrame))
    store.pointee.current = instance
    return instance
  }

  /// The call stack changed: the next mark looks its function instance up again.
  func resetLivenessCallChain() { liveness?.store.pointee.current = nil }

  // MARK: marks

  /// The instruction may read these slots of a frame.
  @inline(__always)
  func markStackRead(frame: Int, instruction: Int, mask: UInt64) throws(Refusal) {
    guard let store = liveness?.store else { return }
    store.pointee.noteRead(currentInstance(store), frame: frame, instruction: instruction, mask: mask)
  }

  /// The instruction being checked writes these slots of a frame, whole.
  @inline(__always)
  func markStackWrite(frame: Int, mask: UInt64) {
    guard let store = liveness?.store else { return }
    store.pointee.writes[frame] |= mask
  }

  /// Begins to note what an instruction writes.
  @inline(__always)
  func resetStackWriteMarks(instruction: Int) throws(Refusal) {
    guard let store = liveness?.store else { return }
    store.pointee.beginWrites(currentInstance(store), instruction)
  }

  /// Ends what `resetStackWriteMarks` began. Calls and returns have settled their marks themselves.
  @inline(__always)
  func commitStackWriteMarks() throws(Refusal) {
    guard let store = liveness?.store, let instance = store.pointee.current else { return }
    store.pointee.commitWrites(instance)
    store.pointee.writer = 0
  }

  // MARK: questions

  /// Makes `state` the one that the next questions are about.
  func livenessQuery(_ state: StateRef) throws(Refusal) {
    guard let store = liveness?.store else { return }
    let depth = Int(state.pointee.currentFrame)
    for frame in 0...depth { store.pointee.asked[frame] = functionInstance(store, of: state, depth: frame) }
    store.pointee.askedDepth = depth
    store.pointee.askedInstruction = Int(state.pointee.instruction)
  }

  /// Slots of a frame that may be read from the asked state on, bit by slot.
  func aliveStackSlots(frame: Int) -> UInt64 {
    guard let store = liveness?.store, let innermost = store.pointee.asked[store.pointee.askedDepth] else {
      return .max
    }
    var alive = innermost.pointee.marks(frame: frame, store.pointee.askedInstruction)?.pointee.liveBefore ?? 0
    var caller = frame
    while caller < store.pointee.askedDepth {
      let site = Int(innermost.pointee.chain.sites[caller])
      if let instance = store.pointee.asked[caller] {
        // A helper that calls back may do so again, and reads its arguments each time.
        let at = facts[site].callsCallback ? site : site + 1
        alive |= instance.pointee.marks(frame: frame, at)?.pointee.liveBefore ?? 0
      }
      caller += 1
    }
    return alive
  }

  func stackSlotAlive(frame: Int, slot: Int) -> Bool {
    aliveStackSlots(frame: frame) & (1 &<< UInt64(truncatingIfNeeded: slot)) != 0
  }
}
