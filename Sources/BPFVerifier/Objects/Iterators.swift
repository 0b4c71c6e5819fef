import BPFISA
import BPFLinux
import BTF

/// What a kfunc does to the iterator it is given.
enum IteratorRole: BitwiseCopyable {
  case new
  case next
  case destroy
  /// A kfunc that is none of the three but takes an iterator (`__iter`).
  case other
}

/// An iterator that a kfunc was given.
struct IteratorUse: BitwiseCopyable {
  var slot = 0
  var frame = 0
  var referenceID: UInt32 = 0
}

private let iteratorPrefix = "bpf_iter_"

extension Verification {
  // MARK: slots

  private func iteratorSlot(_ r: RegisterRef, count: Int) throws(Refusal) -> Int {
    try stackObjectSlot(r, "iter", .iterator, count: count)
  }

  private func markStackSlotsIterator(
    _ r: RegisterRef, instruction index: Int, btf: BTFIndex, type: TypeID, count: Int, rcuProtected: Bool
  ) throws(Refusal) {
    let frame = objectFrame(r)
    let slot = try iteratorSlot(r, count: count)
    let reference = try acquireReference(instruction: index)
    for index in 0..<count {
      let part = frame.spilled(slot - index)
      var partType = RegisterType.stack
      if rcuProtected { partType |= inRCUSection ? .rcu : .untrusted }
      resetObjectRegister(part, type: partType)
      part.pointee.referenceID = index == 0 ? reference : 0
      part.pointee.btf = btf
      part.pointee.btfID = type
      part.pointee.iterator = .active
      part.pointee.iteratorDepth = 0
      frame.pointee.stack[slot - index].types = StackSlot.all(SlotType.iterator)
      markStackWrite(frame: Int(frame.pointee.number), mask: 1 << UInt64(slot - index))
      markSlotScratched(slot - index)
    }
  }

  private func unmarkStackSlotsIterator(_ r: RegisterRef, count: Int) throws(Refusal) {
    let frame = objectFrame(r)
    let slot = try iteratorSlot(r, count: count)
    for index in 0..<count {
      let part = frame.spilled(slot - index)
      if index == 0 {
        do { try releaseReference(id: part.pointee.referenceID) } catch {}
      }
      markNotInitialized(part)
      frame.pointee.stack[slot - index].types = StackSlot.all(SlotType.invalid)
      markStackWrite(frame: Int(frame.pointee.number), mask: 1 << UInt64(slot - index))
      markSlotScratched(slot - index)
    }
  }

  private func isIteratorValidUninitialized(_ r: RegisterRef, count: Int) -> Bool {
    switch stackObjectPlace(r, "iter", .iterator, count: count) {
    case .unused: return true
    case .misplaced: return false
    case .slot(let slot):
      let frame = objectFrame(r)
      for index in 0..<count where containsByte(frame.pointee.stack[slot - index].types, SlotType.iterator) {
        return false
      }
      return true
    }
  }

  private func containsByte(_ types: UInt64, _ type: UInt8) -> Bool {
    var rest = types
    for _ in 0..<8 {
      if UInt8(truncatingIfNeeded: rest) == type { return true }
      rest >>= 8
    }
    return false
  }

  private enum IteratorValidity {
    case valid
    case notInitialized
    case outsideRCU
  }

  private func iteratorValidity(_ r: RegisterRef, btf: BTFIndex, type: TypeID, count: Int) -> IteratorValidity {
    guard case .slot(let slot) = stackObjectPlace(r, "iter", .iterator, count: count) else { return .notInitialized }
    let frame = objectFrame(r)
    for index in 0..<count {
      let part = frame.spilled(slot - index)
      if part.pointee.type.has(.untrusted) { return .outsideRCU }
      // Only the first slot carries the reference.
      guard (index == 0) == (part.pointee.referenceID != 0), part.pointee.btf == btf, part.pointee.btfID == type,
        frame.pointee.stack[slot - index].types == StackSlot.all(SlotType.iterator)
      else { return .notInitialized }
    }
    return .valid
  }

  // MARK: arguments

  /// The iterator type (`struct bpf_iter_…`) that parameter `index` of a prototype points to; nil where it is none.
  func iteratorParameterType(btf: BTFIndex, prototype: TypeID, parameter index: Int) -> TypeID? {
    guard let types = btfs[Int(btf)] else { return nil }
    let parameters = types.parameters(prototype)
    guard index < parameters.count else { return nil }
    let pointer = types.type(types.skipModifiers(parameters[index].typeID))
    guard pointer.kind == .pointer else { return nil }
    let structure = types.type(types.skipModifiers(pointer.target))
    guard structure.kind == .structure, types.string(structure.nameOffset).hasPrefix(iteratorPrefix) else {
      return nil
    }
    return structure.id
  }

  private func iteratorName(_ btf: BTFIndex, _ type: TypeID) -> String {
    guard let types = btfs[Int(btf)], type != 0 else { return "<invalid>" }
    return String(types.name(type).dropFirst(iteratorPrefix.count))
  }

  /// An iterator argument of a kfunc: made by `new`, else checked, and given back by `destroy`.
  ///
  /// Nil is returned for `new`: there is nothing to remember.
  func processIteratorArgument(
    register number: Int, instruction index: Int, btf: BTFIndex, prototype: TypeID, role: IteratorRole,
    rcuProtected: Bool, functionName: String
  ) throws(Refusal) -> IteratorUse? {
    let r = register(number)
    if r.pointee.type != .stack {
      throw refuse(.EINVAL, .iterator, "arg#\(number - 1) expected pointer to an iterator on stack\n")
    }
    guard let type = iteratorParameterType(btf: btf, prototype: prototype, parameter: number - 1) else {
      throw refuse(.EINVAL, .iterator, "expected valid iter pointer as arg #\(number - 1)\n")
    }
    let count = Int((btfs[Int(btf)]?.type(type).size ?? 0) / 8)

    if role == .new {
      guard isIteratorValidUninitialized(r, count: count) else {
        throw refuse(
          .EINVAL, .iterator, "expected uninitialized iter_\(iteratorName(btf, type)) as arg #\(number - 1)\n")
      }
      for part in 0..<count {
        try checkMemoryAccess(
          at: index, register: number, offset: Int32(truncatingIfNeeded: part * 8), size: Size.dw, type: .write,
          valueRegister: -1, strictAlignmentOnce: false, signExtending: false)
      }
      try markStackSlotsIterator(
        r, instruction: index, btf: btf, type: type, count: count, rcuProtected: rcuProtected)
      return nil
    }

    switch iteratorValidity(r, btf: btf, type: type, count: count) {
    case .valid: break
    case .notInitialized:
      throw refuse(
        .EINVAL, .iterator, "expected an initialized iter_\(iteratorName(btf, type)) as arg #\(number - 1)\n")
    case .outsideRCU:
      throw refuse(.EPROTO, .rcu, "expected an RCU CS when using \(functionName)\n")
    }
    let slot = try iteratorSlot(r, count: count)
    try markObjectRead(r, slot: slot, count: count)
    let frame = Int(r.pointee.frame)
    let use = IteratorUse(
      slot: slot, frame: frame, referenceID: state.frame(frame).spilled(slot).pointee.referenceID)
    if role == .destroy { try unmarkStackSlotsIterator(r, count: count) }
    return use
  }

  // MARK: next

  /// The register that stands for the iterator in `state`.
  @inline(__always) func iteratorFromState(_ state: StateRef, _ use: IteratorUse) -> RegisterRef {
    state.frame(use.frame).spilled(use.slot)
  }

  /// The nearest checkpoint at `index` on the path to `current`, entered through the same calls.
  func previousEntry(before current: StateRef, at index: Int) -> StateRef? {
    var next = explored.list(for: index, callSite: state.current.pointee.callSite).pointee
    while let checkpoint = next {
      if Int(checkpoint.pointee.instruction) == index, checkpoint.pointee.branches != 0,
        checkpoint.hasSameCallSites(as: current), checkpoint.pointee.depth < current.pointee.depth
      {
        return checkpoint
      }
      next = checkpoint.pointee.next
    }
    return nil
  }

  /// A call of an iterator's `next`: the path goes on with the iterator at its end; another is put aside on which it
  /// yielded once more.
  ///
  /// The contract is that an iterator ends sooner or later. The paths on which it goes on converge, because what
  /// changes from one round to the next without being relied on is forgotten.
  func processIteratorNext(at index: Int, iterator use: IteratorUse) throws(Refusal) {
    let current = state
    let iterator = iteratorFromState(current, use)
    guard iterator.pointee.iterator != .invalid else {
      throw refuse(
        .EFAULT, .invariant,
        "verifier bug: unexpected iterator state \(iterator.pointee.iteratorState) (<invalid>)\n")
    }
    if iterator.pointee.iterator == .active {
      guard let parent = current.pointee.parent, Int(parent.pointee.instruction) == index,
        parent.hasSameCallSites(as: current)
      else {
        throw refuse(.EFAULT, .invariant, "verifier bug: bad parent state for iter next call\n")
      }
      let previous = previousEntry(before: parent, at: index)
      guard let queued = pushPath(to: index + 1, from: index, speculative: false) else {
        throw Refusal(errno: .ENOMEM, category: .complexity)
      }
      let goingOn = iteratorFromState(queued, use)
      goingOn.pointee.iterator = .active
      goingOn.pointee.iteratorDepth &+= 1
      if let previous { widenImpreciseScalars(from: previous, in: queued) }
      markNotNull(queued.current.register(0))
    }
    iterator.pointee.iterator = .drained
    markConstantZero(current.current.register(0))
  }

  /// Forgets the values of scalars in `current` that are not as they were in `old`, an earlier round of the loop, and
  /// that nothing relied on.
  func widenImpreciseScalars(from old: StateRef, in current: StateRef) {
    idMap.reset(lastID: lastID)
    var number = Int(old.pointee.currentFrame)
    while number >= 0 {
      let oldFrame = old.frame(number)
      let frame = current.frame(number)
      for index in 0..<registerCount { widen(oldFrame.register(index), frame.register(index)) }
      let slots = Int(min(oldFrame.pointee.slotCount, frame.pointee.slotCount))
      var slot = 0
      while slot < slots {
        if oldFrame.pointee.stack[slot].kind == SlotType.spill && frame.pointee.stack[slot].kind == SlotType.spill {
          widen(oldFrame.spilled(slot), frame.spilled(slot))
        }
        slot += 1
      }
      number -= 1
    }
  }

  private func widen(_ old: RegisterRef, _ current: RegisterRef) {
    guard old.pointee.type == .scalar, current.pointee.type == .scalar, !old.pointee.precise,
      !current.pointee.precise, !registersExact(old, current)
    else { return }
    markUnknown(current)
  }
}
