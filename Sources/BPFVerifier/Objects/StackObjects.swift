import BPFLinux

// Objects that live in stack slots as a whole: dynptrs, iterators, saved interrupt flags. Common rules.

/// Where on a stack an object lies: the slot of its first eight bytes, or why it lies nowhere.
enum StackObjectPlace: BitwiseCopyable {
  case slot(Int)
  /// Not in the part of the stack that is in use so far, which is an error only to those who read it.
  case unused
  /// Misplaced; the log says how.
  case misplaced
}

extension Verification {
  /// The frame whose stack `r` points into.
  @inline(__always) func objectFrame(_ r: RegisterRef) -> FrameRef { state.frame(Int(r.pointee.frame)) }

  /// Where the object of `count` slots is that `r` points to.
  func stackObjectPlace(_ r: RegisterRef, _ kind: StaticString, _ category: RefusalCategory, count: Int)
    -> StackObjectPlace
  {
    guard r.pointee.bits.isConstant else {
      _ = refuse(.EINVAL, category, "\(kind) has to be at a constant offset\n")
      return .misplaced
    }
    let offset = Int(r.pointee.offset &+ Int32(truncatingIfNeeded: r.pointee.bits.value))
    let slot = (-offset - 1) / 8
    guard offset % 8 == 0, slot + 1 >= count else {
      _ = refuse(.EINVAL, category, "cannot pass in \(kind) at an offset=\(offset)\n")
      return .misplaced
    }
    guard slot - count + 1 >= 0, slot < Int(objectFrame(r).pointee.slotCount) else { return .unused }
    return .slot(slot)
  }

  /// The slot of the object, or the refusal.
  func stackObjectSlot(_ r: RegisterRef, _ kind: StaticString, _ category: RefusalCategory, count: Int)
    throws(Refusal) -> Int
  {
    switch stackObjectPlace(r, kind, category, count: count) {
    case .slot(let slot): return slot
    case .unused: throw Refusal(errno: .ERANGE, category: category)
    case .misplaced: throw Refusal(errno: .EINVAL, category: category)
    }
  }

  /// Whether a slot holds something that must be overwritten as a whole, if at all.
  @inline(__always) func isStackSlotSpecial(_ slot: UnsafeMutablePointer<StackSlot>) -> Bool {
    switch slot.pointee.kind {
    case SlotType.invalid, SlotType.misc, SlotType.zero: false
    default: true
    }
  }

  /// Notes that the slots `slot`, `slot - 1`, … of an object are read.
  func markObjectRead(_ r: RegisterRef, slot: Int, count: Int) throws(Refusal) {
    for index in 0..<count {
      try markStackRead(frame: Int(r.pointee.frame), instruction: instruction, mask: 1 << UInt64(slot - index))
      markSlotScratched(slot - index)
    }
  }

  /// The register of a stack object: a zero of type `type` that holds no id, reference or payload.
  func resetObjectRegister(_ r: RegisterRef, type: RegisterType) {
    r.pointee.markKnownZero()
    r.pointee.type = type
    r.pointee.payload0 = 0
    r.pointee.payload1 = 0
    r.pointee.btf = 0
    r.pointee.iteratorState = 0
  }
}
