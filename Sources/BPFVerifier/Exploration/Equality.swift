import BPFLinux

/// How closely two states are compared.
enum ExactLevel: BitwiseCopyable {
  /// What was never relied on may differ: for checkpoints whose every path is explored.
  case notExact
  /// Equal in all that is tracked: for telling infinite loops.
  case exact
  /// As `notExact`, but marks of reliance are not complete yet, so all ranges count.
  case rangeWithin
}

/// Stands for a slot whose bytes hold nothing but misc data: a load from it yields any number.
nonisolated(unsafe) private let unboundRegister: RegisterRef = {
  let register = RegisterRef.allocate(capacity: 1)
  var state = RegisterState()
  state.type = .scalar
  state.bits = .unknown
  state.smin = .min
  state.smax = .max
  state.umax = .max
  state.s32min = .min
  state.s32max = .max
  state.u32max = .max
  register.initialize(to: state)
  return register
}()

extension RegisterState {
  /// Every value that `current` may have, this register may have, as far as ranges tell.
  @inline(__always) fileprivate static func rangeCovers(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    old.pointee.umin <= current.pointee.umin && old.pointee.umax >= current.pointee.umax
      && old.pointee.smin <= current.pointee.smin && old.pointee.smax >= current.pointee.smax
      && old.pointee.u32min <= current.pointee.u32min && old.pointee.u32max >= current.pointee.u32max
      && old.pointee.s32min <= current.pointee.s32min && old.pointee.s32max >= current.pointee.s32max
  }

  /// The same, as far as known bits tell.
  @inline(__always) fileprivate static func bitsCover(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    let mask = old.pointee.bits.mask
    return current.pointee.bits.mask & ~mask == 0 && old.pointee.bits.value == current.pointee.bits.value & ~mask
  }
}

/// One comparison of two states: what it needs, in registers.
private struct Comparison: BitwiseCopyable {
  let ids: UnsafeMutablePointer<IDMap>
  let exact: ExactLevel
  let allScalarsStrict: Bool
  let allowUninitializedStack: Bool

  /// Type, offset and payload: everything before the value. Types that name a BTF must name the same one.
  @inline(__always) static func sameHead(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    let a = UnsafeRawPointer(old).assumingMemoryBound(to: UInt64.self)
    let b = UnsafeRawPointer(current).assumingMemoryBound(to: UInt64.self)
    guard (a[0] ^ b[0]) | (a[1] ^ b[1]) == 0 else { return false }
    return old.pointee.type.base != .btfID || old.pointee.btf == current.pointee.btf
  }

  /// The head and all that is known of the value: everything before `id`.
  @inline(__always) static func sameValue(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    guard sameHead(old, current) else { return false }
    let a = UnsafeRawPointer(old).assumingMemoryBound(to: UInt64.self)
    let b = UnsafeRawPointer(current).assumingMemoryBound(to: UInt64.self)
    guard (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0 else { return false }
    return (a[4] ^ b[4]) | (a[5] ^ b[5]) | (a[6] ^ b[6]) | (a[7] ^ b[7]) | (a[8] ^ b[8]) | (a[9] ^ b[9]) == 0
  }

  @inline(__always) func same(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    Self.sameValue(old, current) && ids.agree(old.pointee.id, current.pointee.id)
      && ids.agree(old.pointee.referenceID, current.pointee.referenceID)
  }

  /// Whether what was safe with `old` is safe with `current`.
  @inline(__always) func covers(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    if exact == .exact { return same(old, current) }
    let type = old.pointee.type
    if type == .notInitialized && exact == .notExact { return true }
    guard type == current.pointee.type else { return false }
    if type == .scalar {
      if !allScalarsStrict && !old.pointee.precise && exact == .notExact { return true }
      return scalarCovers(old, current)
    }
    return pointerCovers(old, current)
  }

  @inline(__always) private func scalarCovers(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    let oldID = old.pointee.id
    let currentID = current.pointee.id
    if allScalarsStrict {
      return Self.sameValue(old, current) && ids.agreeOnScalars(oldID, currentID)
    }
    if oldID != 0 && (oldID ^ currentID) & RegisterState.addConst != 0 { return false }
    if oldID & RegisterState.addConst != 0 && old.pointee.offset != current.pointee.offset { return false }
    return RegisterState.rangeCovers(old, current) && RegisterState.bitsCover(old, current)
      && ids.agreeOnScalars(oldID, currentID)
  }

  private func pointerCovers(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    switch old.pointee.type.base {
    case .notInitialized:
      return true
    case .scalar:
      // A scalar with flags does not exist; were there one, it would count as a scalar.
      if !allScalarsStrict && !old.pointee.precise && exact == .notExact { return true }
      return scalarCovers(old, current)
    case .mapKey, .mapValue, .memory, .buffer, .tracepointBuffer:
      return Self.sameHead(old, current) && RegisterState.rangeCovers(old, current)
        && RegisterState.bitsCover(old, current) && ids.agree(old.pointee.id, current.pointee.id)
        && ids.agree(old.pointee.referenceID, current.pointee.referenceID)
    case .packet, .packetMeta:
      // A check that proved more of the packet covers one that proved less; ranges past the end are markers.
      let oldRange = old.pointee.range
      let range = current.pointee.range
      if oldRange < 0 || range < 0 ? oldRange != range : oldRange > range { return false }
      return old.pointee.offset == current.pointee.offset && RegisterState.rangeCovers(old, current)
        && RegisterState.bitsCover(old, current) && ids.agree(old.pointee.id, current.pointee.id)
    case .stack:
      return old.pointee.frame == current.pointee.frame && same(old, current)
    case .arena:
      return true
    default:
      return same(old, current)
    }
  }

  /// The scalar that a load of the whole slot yields; nil where the slot does not hold one.
  @inline(__always) private func scalar(in slot: UnsafeMutablePointer<StackSlot>) -> RegisterRef? {
    let types = slot.pointee.types
    if UInt8(truncatingIfNeeded: types) == SlotType.spill {
      let register = UnsafeMutableRawPointer(slot).assumingMemoryBound(to: RegisterState.self)
      if register.pointee.type == .scalar { return register }
      return nil
    }
    let misc = StackSlot.all(SlotType.misc)
    if types == misc || (allowUninitializedStack && types & ~misc == 0) { return unboundRegister }
    return nil
  }

  /// Whether the stack of `old` covers that of `current`. Slots that `old` does not have do not matter.
  func stackCovers(_ old: FrameRef, _ current: FrameRef) -> Bool {
    let count = Int(old.pointee.slotCount)
    let currentCount = Int(current.pointee.slotCount)
    let misc = StackSlot.all(SlotType.misc)
    var index = 0
    while index < count {
      let oldSlot = old.pointee.stack + index
      let types = oldSlot.pointee.types
      if exact != .notExact {
        guard index < currentCount, types == current.pointee.stack[index].types else { return false }
      }
      // `invalid` is 0 and `misc` one bit, so one mask tells slots that nothing reads.
      if types == 0 || (allowUninitializedStack && types & ~misc == 0) {
        index &+= 1
        continue
      }
      guard index < currentCount else { return false }
      let currentSlot = current.pointee.stack + index
      index &+= 1
      if let oldScalar = scalar(in: oldSlot), let currentScalar = scalar(in: currentSlot) {
        guard covers(oldScalar, currentScalar) else { return false }
        continue
      }
      let currentTypes = currentSlot.pointee.types
      if types != currentTypes && !bytesCover(types, currentTypes) { return false }
      let kind = UInt8(truncatingIfNeeded: types >> 56)
      guard kind == UInt8(truncatingIfNeeded: currentTypes >> 56) else { continue }
      let oldRegister = UnsafeMutableRawPointer(oldSlot).assumingMemoryBound(to: RegisterState.self)
      let register = UnsafeMutableRawPointer(currentSlot).assumingMemoryBound(to: RegisterState.self)
      switch kind {
      case SlotType.invalid, SlotType.misc, SlotType.zero:
        break
      case SlotType.spill:
        guard covers(oldRegister, register) else { return false }
      case SlotType.dynptr:
        guard oldRegister.pointee.dynptrType == register.pointee.dynptrType,
          oldRegister.pointee.isFirstDynptrSlot == register.pointee.isFirstDynptrSlot,
          ids.agree(oldRegister.pointee.referenceID, register.pointee.referenceID)
        else { return false }
      case SlotType.iterator:
        // How often the iterator went on does not matter here, or loops would never converge.
        guard oldRegister.pointee.btf == register.pointee.btf, oldRegister.pointee.btfID == register.pointee.btfID,
          oldRegister.pointee.iteratorState == register.pointee.iteratorState,
          ids.agree(oldRegister.pointee.referenceID, register.pointee.referenceID)
        else { return false }
      case SlotType.irqFlag:
        guard ids.agree(oldRegister.pointee.referenceID, register.pointee.referenceID),
          oldRegister.pointee.irqClass == register.pointee.irqClass
        else { return false }
      default:
        return false
      }
    }
    return true
  }

  /// Byte by byte: what was not read may differ, and zeros may stand for misc data.
  private func bytesCover(_ old: UInt64, _ current: UInt64) -> Bool {
    var old = old
    var current = current
    for _ in 0..<8 {
      let a = UInt8(truncatingIfNeeded: old)
      let b = UInt8(truncatingIfNeeded: current)
      old >>= 8
      current >>= 8
      if a == b || a == SlotType.invalid { continue }
      if a == SlotType.misc && (allowUninitializedStack || b == SlotType.zero) { continue }
      return false
    }
    return true
  }

  /// Whether the same things are held.
  @inline(__always) func sameHoldings(_ old: StateRef, _ current: StateRef) -> Bool {
    guard old.pointee.referenceCount == current.pointee.referenceCount,
      old.pointee.activeLocks == current.pointee.activeLocks,
      old.pointee.activePreemptLocks == current.pointee.activePreemptLocks,
      old.pointee.activeRCULock == current.pointee.activeRCULock,
      old.pointee.activeLockObject == current.pointee.activeLockObject,
      ids.agree(old.pointee.activeIRQID, current.pointee.activeIRQID),
      ids.agree(old.pointee.activeLockID, current.pointee.activeLockID)
    else { return false }
    let count = Int(old.pointee.referenceCount)
    if count == 0 { return true }
    guard let a = old.pointee.references, let b = current.pointee.references else { return false }
    var index = 0
    while index < count {
      guard a[index].kind == b[index].kind,
        ids.agree(UInt32(bitPattern: a[index].id), UInt32(bitPattern: b[index].id))
      else { return false }
      if !a[index].kind.isDisjoint(with: .anyLock) && a[index].object != b[index].object { return false }
      index &+= 1
    }
    return true
  }
}

extension UnsafeMutablePointer where Pointee == State {
  /// Where frame `number` is: the next instruction of the innermost, the call of an outer one.
  @inline(__always) func instruction(ofFrame number: Int) -> Int {
    number == Int(pointee.currentFrame) ? Int(pointee.instruction) : Int(frame(number &+ 1).pointee.callSite)
  }

  /// Whether both call stacks came about by the same calls.
  @inline(__always) func hasSameCallSites(as other: StateRef) -> Bool {
    guard pointee.currentFrame == other.pointee.currentFrame else { return false }
    var index = Int(pointee.currentFrame)
    while index >= 0 {
      if frame(index).pointee.callSite != other.frame(index).pointee.callSite { return false }
      index &-= 1
    }
    return true
  }
}

extension Verification {
  /// Whether every way on from `current` is one that was found safe from `old`.
  func statesEqual(_ old: StateRef, _ current: StateRef, exact: ExactLevel) -> Bool {
    // What needs no ids comes first: it refuses most.
    guard old.hasSameCallSites(as: current) else { return false }
    if old.pointee.speculative && !current.pointee.speculative { return false }
    if old.pointee.inSleepable != current.pointee.inSleepable { return false }
    let last = Int(old.pointee.currentFrame)

    let ids = idMap
    ids.reset(lastID: lastID)
    let comparison = Comparison(
      ids: ids, exact: exact, allScalarsStrict: exploreALULimits, allowUninitializedStack: allowUninitializedStack)
    guard comparison.sameHoldings(old, current) else { return false }

    let facts = self.facts
    var number = 0
    while number <= last {
      let oldFrame = old.frame(number)
      let frame = current.frame(number)
      if oldFrame.pointee.callbackDepth > frame.pointee.callbackDepth { return false }
      let oldRegisters = oldFrame.pointee.registers
      let registers = frame.pointee.registers
      var live = UInt32(facts[old.instruction(ofFrame: number)].liveRegisters) & 0x7ff
      while live != 0 {
        let index = live.trailingZeroBitCount
        live &= live &- 1
        guard comparison.covers(oldRegisters + index, registers + index) else { return false }
      }
      guard comparison.stackCovers(oldFrame, frame) else { return false }
      number &+= 1
    }
    return true
  }

  /// Whether two registers are equal but for a renaming of ids, which `idMap` goes on keeping.
  func registersExact(_ old: RegisterRef, _ current: RegisterRef) -> Bool {
    Comparison.sameValue(old, current) && idMap.agree(old.pointee.id, current.pointee.id)
      && idMap.agree(old.pointee.referenceID, current.pointee.referenceID)
  }

  /// Whether the registers of the innermost frames are bit for bit equal: a cheap sign of a loop that gets nowhere.
  func statesMaybeLooping(_ old: StateRef, _ current: StateRef) -> Bool {
    guard old.pointee.currentFrame == current.pointee.currentFrame else { return false }
    let oldRegisters = old.current.pointee.registers
    let registers = current.current.pointee.registers
    var index = 0
    while index < registerCount {
      let a = oldRegisters + index
      let b = registers + index
      guard Comparison.sameValue(a, b), a.pointee.id == b.pointee.id, a.pointee.referenceID == b.pointee.referenceID
      else { return false }
      index &+= 1
    }
    return true
  }

  /// Whether an iterator that still yields went on more often in one of the states: then a loop is not infinite.
  func iteratorDepthsDiffer(_ old: StateRef, _ current: StateRef) -> Bool {
    var number = Int(old.pointee.currentFrame)
    while number >= 0 {
      let oldFrame = old.frame(number)
      let frame = current.frame(number)
      var index = 0
      while index < Int(oldFrame.pointee.slotCount) {
        if oldFrame.pointee.stack[index][0] == SlotType.iterator {
          let iterator = oldFrame.spilled(index)
          if iterator.pointee.iterator == .active {
            guard index < Int(frame.pointee.slotCount),
              frame.spilled(index).pointee.iteratorDepth == iterator.pointee.iteratorDepth
            else { return true }
          }
        }
        index &+= 1
      }
      number &-= 1
    }
    return false
  }

  // MARK: forgetting what is never read

  /// Forgets dead registers and slots of the checkpoints at `instruction` that are explored to the end, so that more
  /// states equal them.
  func cleanLiveStates(at instruction: Int, current: StateRef) throws(Refusal) {
    var next = explored.list(for: instruction, callSite: state.current.pointee.callSite).pointee
    while let checkpoint = next {
      next = checkpoint.pointee.next
      if checkpoint.pointee.cleaned || checkpoint.pointee.branches != 0 { continue }
      guard Int(checkpoint.pointee.instruction) == instruction, checkpoint.hasSameCallSites(as: current),
        !marksAreIncomplete(checkpoint)
      else { continue }
      try cleanState(checkpoint)
    }
  }

  func cleanState(_ checkpoint: StateRef) throws(Refusal) {
    try livenessQuery(checkpoint)
    checkpoint.pointee.cleaned = true
    var number = 0
    while number <= Int(checkpoint.pointee.currentFrame) {
      let frame = checkpoint.frame(number)
      let live = UInt32(facts[checkpoint.instruction(ofFrame: number)].liveRegisters)
      var index = 0
      while index < registerCount - 1 {
        if live & (1 << UInt32(index)) == 0 { markNotInitialized(frame.register(index)) }
        index &+= 1
      }
      var slot = 0
      while slot < Int(frame.pointee.slotCount) {
        if !stackSlotAlive(frame: number, slot: slot) {
          markNotInitialized(frame.spilled(slot))
          frame.pointee.stack[slot].types = 0
        }
        slot &+= 1
      }
      number &+= 1
    }
  }
}
