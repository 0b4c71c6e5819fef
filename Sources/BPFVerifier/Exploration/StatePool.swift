#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// The memory that one verification's states live in.
///
/// States, frames, stacks and lists are recycled through free lists, so that exploration settles on a working set and
/// the per-instruction path allocates nothing. Everything is released with the pool.
final class StatePool {
  private var blocks: [MemoryBlock] = []
  private var cursor = UnsafeMutableRawPointer(bitPattern: 16).unsafelyUnwrapped
  private var available = 0
  private var freeStates: [StateRef] = []
  private var freeFrames: [FrameRef] = []
  /// By capacity: 8, 16, … 64 slots.
  private var freeStacks = [[UnsafeMutablePointer<StackSlot>]](repeating: [], count: 8)
  private var allStates: [StateRef] = []
  /// Frames begin without slots; their `stack` points here and is never read or written.
  private let noStack = UnsafeMutablePointer<StackSlot>.allocate(capacity: 1)

  deinit {
    for state in allStates {
      free(state.pointee.references)
      free(state.pointee.history)
    }
    for block in blocks { block.release() }
    noStack.deallocate()
  }

  private func carve(_ bytes: Int) -> UnsafeMutableRawPointer {
    let size = (bytes + 15) & ~15
    if available < size {
      let block = MemoryBlock.take(isFirst: blocks.isEmpty)
      blocks.append(block)
      cursor = block.base
      available = block.size
    }
    defer {
      cursor += size
      available -= size
    }
    return cursor
  }

  // MARK: frames

  /// A frame with room for registers and no stack. Its contents are not initialised.
  func makeFrame() -> FrameRef {
    if let frame = freeFrames.popLast() {
      frame.pointee.slotCount = 0
      return frame
    }
    let raw = carve(MemoryLayout<Frame>.stride + registerCount * MemoryLayout<RegisterState>.stride)
    let frame = raw.assumingMemoryBound(to: Frame.self)
    let registers = (raw + MemoryLayout<Frame>.stride).assumingMemoryBound(to: RegisterState.self)
    frame.initialize(
      to: Frame(
        registers: registers, stack: noStack, slotCount: 0, slotCapacity: 0, callSite: 0, number: 0, subprogram: 0,
        asyncEntryCount: 0, callbackReturnRange: ReturnRange(), inCallback: false, inAsyncCallback: false,
        inExceptionCallback: false, callbackDepth: 0))
    return frame
  }

  func freeFrame(_ frame: FrameRef) {
    freeFrames.append(frame)
  }

  private static func stackClass(_ slots: Int32) -> Int { Int((slots &+ 7) / 8) &- 1 }

  /// Makes `frame` have `slots` slots in use; new ones are zero (nothing stored). Never shrinks.
  func growStack(_ frame: FrameRef, slots: Int32) {
    let old = frame.pointee.slotCount
    guard slots > old else { return }
    reserveStack(frame, slots)
    memset(frame.pointee.stack + Int(old), 0, Int(slots - old) * MemoryLayout<StackSlot>.stride)
    frame.pointee.slotCount = slots
  }

  private func reserveStack(_ frame: FrameRef, _ slots: Int32) {
    guard slots > frame.pointee.slotCapacity else { return }
    let kind = Self.stackClass(slots)
    let capacity = 8 * (kind + 1)
    let stack =
      freeStacks[kind].popLast()
      ?? carve(capacity * MemoryLayout<StackSlot>.stride).assumingMemoryBound(to: StackSlot.self)
    if frame.pointee.slotCapacity > 0 {
      memcpy(stack, frame.pointee.stack, Int(frame.pointee.slotCount) * MemoryLayout<StackSlot>.stride)
      freeStacks[Self.stackClass(frame.pointee.slotCapacity)].append(frame.pointee.stack)
    }
    frame.pointee.stack = stack
    frame.pointee.slotCapacity = Int32(capacity)
  }

  func copyFrame(from source: FrameRef, to target: FrameRef) {
    reserveStack(target, source.pointee.slotCount)
    let registers = target.pointee.registers
    let stack = target.pointee.stack
    let capacity = target.pointee.slotCapacity
    target.pointee = source.pointee
    target.pointee.registers = registers
    target.pointee.stack = stack
    target.pointee.slotCapacity = capacity
    memcpy(registers, source.pointee.registers, registerCount * MemoryLayout<RegisterState>.stride)
    if source.pointee.slotCount > 0 {
      memcpy(stack, source.pointee.stack, Int(source.pointee.slotCount) * MemoryLayout<StackSlot>.stride)
    }
  }

  // MARK: states

  /// A state without frames, references or history.
  func makeState() -> StateRef {
    let state: StateRef
    var references: UnsafeMutablePointer<Reference>?
    var referenceCapacity: Int32 = 0
    var history: UnsafeMutablePointer<JumpHistoryEntry>?
    var historyCapacity: Int32 = 0
    if let free = freeStates.popLast() {
      state = free
      references = free.pointee.references
      referenceCapacity = free.pointee.referenceCapacity
      history = free.pointee.history
      historyCapacity = free.pointee.historyCapacity
    } else {
      state = carve(MemoryLayout<State>.stride).assumingMemoryBound(to: State.self)
      allStates.append(state)
    }
    memset(state, 0, MemoryLayout<State>.stride)
    state.pointee.references = references
    state.pointee.referenceCapacity = referenceCapacity
    state.pointee.history = history
    state.pointee.historyCapacity = historyCapacity
    return state
  }

  func freeState(_ state: StateRef) {
    freeFrames(of: state, from: 0)
    freeStates.append(state)
  }

  private func freeFrames(of state: StateRef, from first: Int) {
    for index in first..<maximumFrames {
      guard let frame = state.framesBase[index] else { break }
      freeFrame(frame)
      state.framesBase[index] = nil
    }
  }

  /// Makes `target` know all that `source` knows, the path since its checkpoint included; it is in no list.
  func copyState(from source: StateRef, to target: StateRef) {
    let frames = target.pointee.frames
    let references = target.pointee.references
    let referenceCapacity = target.pointee.referenceCapacity
    let history = target.pointee.history
    let historyCapacity = target.pointee.historyCapacity
    target.pointee = source.pointee
    target.pointee.frames = frames
    target.pointee.references = references
    target.pointee.referenceCapacity = referenceCapacity
    target.pointee.history = history
    target.pointee.historyCapacity = historyCapacity
    target.pointee.next = nil
    target.pointee.misses = 0
    target.pointee.hits = 0
    target.pointee.evicted = false

    let referenceCount = source.pointee.referenceCount
    if referenceCount > 0 {
      reserveReferences(target, referenceCount)
      if let from = source.pointee.references, let to = target.pointee.references {
        memcpy(to, from, Int(referenceCount) * MemoryLayout<Reference>.stride)
      }
    }
    let historyCount = source.pointee.historyCount
    if historyCount > 0 {
      reserveHistory(target, historyCount)
      if let from = source.pointee.history, let to = target.pointee.history {
        memcpy(to, from, Int(historyCount) * MemoryLayout<JumpHistoryEntry>.stride)
      }
    }
    let depth = Int(source.pointee.currentFrame)
    freeFrames(of: target, from: depth + 1)
    var index = 0
    while index <= depth {
      let frame: FrameRef
      if let existing = target.framesBase[index] {
        frame = existing
      } else {
        frame = makeFrame()
        target.framesBase[index] = frame
      }
      copyFrame(from: source.frame(index), to: frame)
      index += 1
    }
  }

  // MARK: lists

  private func reserveReferences(_ state: StateRef, _ count: Int32) {
    guard count > state.pointee.referenceCapacity else { return }
    let capacity = max(count, state.pointee.referenceCapacity * 2, 4)
    state.pointee.references = realloc(state.pointee.references, Int(capacity) * MemoryLayout<Reference>.stride)?
      .assumingMemoryBound(to: Reference.self)
    state.pointee.referenceCapacity = capacity
  }

  /// Makes room for one more reference; the caller writes it and counts it.
  func growReferences(_ state: StateRef) {
    reserveReferences(state, state.pointee.referenceCount + 1)
  }

  private func reserveHistory(_ state: StateRef, _ count: Int32) {
    guard count > state.pointee.historyCapacity else { return }
    let capacity = max(count, state.pointee.historyCapacity * 2, 4)
    state.pointee.history = realloc(state.pointee.history, Int(capacity) * MemoryLayout<JumpHistoryEntry>.stride)?
      .assumingMemoryBound(to: JumpHistoryEntry.self)
    state.pointee.historyCapacity = capacity
  }

  /// Makes room for one more entry; the caller writes it and counts it.
  func growHistory(_ state: StateRef) {
    reserveHistory(state, state.pointee.historyCount + 1)
  }
}
