import BPFISA
import BPFLinux

/// Stack slots that a dynptr takes.
private let dynptrSlots = 2

extension ArgumentType {
  /// What kind of dynptr the flags ask for.
  var dynptrType: DynptrType {
    switch flags.intersection(.dynptrAny) {
    case .dynptrLocal: .local
    case .dynptrRingbuf: .ringbuf
    case .dynptrSKB: .skb
    case .dynptrXDP: .xdp
    case .dynptrSKBMeta: .skbMeta
    default: .invalid
    }
  }
}

extension DynptrType {
  /// The flag of types for slices of (and arguments that are) such a dynptr.
  var typeFlag: TypeFlags {
    switch self {
    case .local: .dynptrLocal
    case .ringbuf: .dynptrRingbuf
    case .skb: .dynptrSKB
    case .xdp: .dynptrXDP
    case .skbMeta: .dynptrSKBMeta
    case .invalid: []
    }
  }

  /// Whether the dynptr must be given back.
  @inline(__always) var isReferenced: Bool { self == .ringbuf }
}

extension Verification {
  // MARK: registers and slots of dynptrs

  /// Makes `r` one of the two halves of a dynptr. The type counts only where it is an argument of a callback.
  func markDynptrRegister(_ r: RegisterRef, type: DynptrType, first: Bool, id: UInt32) {
    resetObjectRegister(r, type: .dynptr)
    r.pointee.id = id
    r.pointee.dynptrType = type
    r.pointee.isFirstDynptrSlot = first
  }

  /// A callback's argument that is a dynptr.
  func markDynptrCallbackRegister(_ r: RegisterRef, type: DynptrType) {
    markDynptrRegister(r, type: type, first: true, id: newID())
  }

  /// The slot of the dynptr's first half; logs and throws where there cannot be one.
  func dynptrSlot(_ r: RegisterRef) throws(Refusal) -> Int {
    try stackObjectSlot(r, "dynptr", .dynptr, count: dynptrSlots)
  }

  private func dynptrPlace(_ r: RegisterRef) -> StackObjectPlace {
    stackObjectPlace(r, "dynptr", .dynptr, count: dynptrSlots)
  }

  private func setDynptrSlotTypes(_ frame: FrameRef, slot: Int, _ type: UInt8) {
    frame.pointee.stack[slot].types = StackSlot.all(type)
    frame.pointee.stack[slot - 1].types = StackSlot.all(type)
  }

  private func markDynptrWritten(_ frame: FrameRef, slot: Int) {
    markStackWrite(frame: Int(frame.pointee.number), mask: (1 << UInt64(slot - 1)) | (1 << UInt64(slot)))
  }

  /// A new dynptr where `r` points. `cloneReferenceID` is the reference of the dynptr that it is a clone of, else 0.
  func markStackSlotsDynptr(
    _ r: RegisterRef, argumentType: ArgumentType, instruction index: Int, cloneReferenceID: UInt32
  ) throws(Refusal) {
    let frame = objectFrame(r)
    let slot = try dynptrSlot(r)
    // The two slots may belong to two dynptrs that overlap the new one.
    try destroyIfDynptrStackSlot(frame, slot: slot)
    try destroyIfDynptrStackSlot(frame, slot: slot - 1)
    setDynptrSlotTypes(frame, slot: slot, SlotType.dynptr)

    let type = argumentType.dynptrType
    guard type != .invalid else { throw Refusal(errno: .EINVAL, category: .dynptr) }
    let id = newID()
    let first = frame.spilled(slot)
    let second = frame.spilled(slot - 1)
    markDynptrRegister(first, type: type, first: true, id: id)
    markDynptrRegister(second, type: type, first: false, id: id)
    if type.isReferenced {
      let reference = cloneReferenceID != 0 ? cloneReferenceID : try acquireReference(instruction: index)
      first.pointee.referenceID = reference
      second.pointee.referenceID = reference
    }
    markDynptrWritten(frame, slot: slot)
  }

  private func invalidateDynptr(_ frame: FrameRef, slot: Int) {
    setDynptrSlotTypes(frame, slot: slot, SlotType.invalid)
    markNotInitialized(frame.spilled(slot))
    markNotInitialized(frame.spilled(slot - 1))
    markDynptrWritten(frame, slot: slot)
  }

  /// The dynptr that `r` points to is given back: it, its clones and all slices of them end.
  func unmarkStackSlotsDynptr(_ r: RegisterRef) throws(Refusal) {
    let frame = objectFrame(r)
    let slot = try dynptrSlot(r)
    let dynptr = frame.spilled(slot)
    guard dynptr.pointee.dynptrType.isReferenced else {
      invalidateDynptr(frame, slot: slot)
      return
    }
    let reference = dynptr.pointee.referenceID
    do { try releaseReference(id: reference) } catch {}
    var index = 1
    while index < Int(frame.pointee.slotCount) {
      let other = frame.spilled(index)
      if other.pointee.referenceID == reference {
        guard frame.pointee.stack[index][0] == SlotType.dynptr else {
          throw refuse(.EFAULT, .invariant, "verifier bug: misconfigured ref_obj_id\n")
        }
        if other.pointee.isFirstDynptrSlot { invalidateDynptr(frame, slot: index) }
      }
      index += 1
    }
  }

  /// Before slot `slot` is overwritten: a dynptr that lies there ends, with all its slices.
  func destroyIfDynptrStackSlot(_ frame: FrameRef, slot: Int) throws(Refusal) {
    guard frame.pointee.stack[slot][0] == SlotType.dynptr else { return }
    let slot = frame.spilled(slot).pointee.isFirstDynptrSlot ? slot : slot + 1
    let first = frame.spilled(slot)
    if first.pointee.dynptrType.isReferenced {
      throw refuse(.EINVAL, .dynptr, "cannot overwrite referenced dynptr\n")
    }
    markSlotScratched(slot)
    markSlotScratched(slot - 1)
    setDynptrSlotTypes(frame, slot: slot, SlotType.invalid)

    let id = first.pointee.id
    state.forEachRegister { _, register in
      guard register.pointee.type.removing(.mayBeNull) == .memory, register.pointee.dynptrID == id else { return }
      if allowPointerLeaks { markUnknown(register) } else { markNotInitialized(register) }
    }
    markNotInitialized(first)
    markNotInitialized(frame.spilled(slot - 1))
    markDynptrWritten(frame, slot: slot)
  }

  // MARK: what an argument may be

  /// Whether a dynptr may be made where `r` points. Slots need not be in use yet; dynptrs there are destroyed later.
  func isDynptrValidUninitialized(_ r: RegisterRef) -> Bool {
    if r.pointee.type == .dynptr { return false }
    if case .misplaced = dynptrPlace(r) { return false }
    return true
  }

  /// Whether `r` is (or points to the beginning of) a dynptr.
  func isDynptrValidInitialized(_ r: RegisterRef) -> Bool {
    if r.pointee.type == .dynptr { return true }
    guard case .slot(let slot) = dynptrPlace(r) else { return false }
    let frame = objectFrame(r)
    let all = StackSlot.all(SlotType.dynptr)
    return frame.spilled(slot).pointee.isFirstDynptrSlot && frame.pointee.stack[slot].types == all
      && frame.pointee.stack[slot - 1].types == all
  }

  private func isDynptrTypeExpected(_ r: RegisterRef, _ argumentType: ArgumentType) -> Bool {
    if argumentType == .dynptr { return true }
    let expected = argumentType.dynptrType
    if r.pointee.type == .dynptr { return r.pointee.dynptrType == expected }
    guard case .slot(let slot) = dynptrPlace(r) else { return false }
    return objectFrame(r).spilled(slot).pointee.dynptrType == expected
  }

  /// A dynptr argument: one to be made (`.uninitialized`), or one that is used.
  func processDynptr(
    register number: Int, instruction index: Int, argumentType: ArgumentType, cloneReferenceID: UInt32
  ) throws(Refusal) {
    let r = register(number)
    if r.pointee.type != .stack && r.pointee.type != .dynptr {
      throw refuse(
        .EINVAL, .dynptr, "arg#\(number - 1) expected pointer to stack or const struct bpf_dynptr\n")
    }
    if argumentType.has(.uninitialized) && argumentType.has(.readOnly) {
      throw refuse(.EFAULT, .invariant, "verifier bug: misconfigured dynptr helper type flags\n")
    }
    if argumentType.has(.uninitialized) {
      guard isDynptrValidUninitialized(r) else {
        throw refuse(.EINVAL, .dynptr, "Dynptr has to be an uninitialized dynptr\n")
      }
      for offset: Int32 in [0, 8] {
        try checkMemoryAccess(
          at: index, register: number, offset: offset, size: Size.dw, type: .write, valueRegister: -1,
          strictAlignmentOnce: false, signExtending: false)
      }
      try markStackSlotsDynptr(
        r, argumentType: argumentType, instruction: index, cloneReferenceID: cloneReferenceID)
      return
    }
    if r.pointee.type == .dynptr && !argumentType.has(.readOnly) {
      throw refuse(.EINVAL, .dynptr, "cannot pass pointer to const bpf_dynptr, the helper mutates it\n")
    }
    guard isDynptrValidInitialized(r) else {
      throw refuse(.EINVAL, .dynptr, "Expected an initialized dynptr as arg #\(number - 1)\n")
    }
    guard isDynptrTypeExpected(r, argumentType.removing(.readOnly)) else {
      throw refuse(
        .EINVAL, .dynptr,
        "Expected a dynptr of type \(dynptrTypeText(argumentType.dynptrType)) as arg #\(number - 1)\n")
    }
    try markDynptrRead(r)
  }

  private func markDynptrRead(_ r: RegisterRef) throws(Refusal) {
    if r.pointee.type == .dynptr { return }
    try markObjectRead(r, slot: try dynptrSlot(r), count: dynptrSlots)
  }

  // MARK: questions about a checked dynptr

  /// The register of the helper's one dynptr argument.
  func dynptrArgument(_ prototype: UnsafePointer<HelperPrototype>) -> RegisterRef? {
    var found: RegisterRef?
    for index in 0..<5 where prototype.pointee.arguments[index].base == .dynptr {
      if found != nil {
        _ = refuse(.EFAULT, .invariant, "verifier internal error: multiple dynptr args\n")
        return nil
      }
      found = register(1 + index)
    }
    if found == nil { _ = refuse(.EFAULT, .invariant, "verifier internal error: no dynptr arg found\n") }
    return found
  }

  /// The id that ties slices to the dynptr that `r` is or points to.
  func dynptrID(_ r: RegisterRef) throws(Refusal) -> UInt32 {
    if r.pointee.type == .dynptr { return r.pointee.id }
    return objectFrame(r).spilled(try dynptrSlot(r)).pointee.id
  }

  /// The reference that the dynptr holds; 0 for none.
  func dynptrReferenceID(_ r: RegisterRef) throws(Refusal) -> UInt32 {
    if r.pointee.type == .dynptr { return r.pointee.referenceID }
    return objectFrame(r).spilled(try dynptrSlot(r)).pointee.referenceID
  }

  /// What kind of dynptr `r` is or points to; `.invalid` where it can be none.
  func dynptrType(_ r: RegisterRef) -> DynptrType {
    if r.pointee.type == .dynptr { return r.pointee.dynptrType }
    let slot = (-Int(r.pointee.offset) - 1) / 8
    let frame = objectFrame(r)
    guard slot >= 0, slot < Int(frame.pointee.slotCount) else {
      _ = refuse(.EFAULT, .invariant, "verifier internal error: invalid spi when querying dynptr type\n")
      return .invalid
    }
    return frame.spilled(slot).pointee.dynptrType
  }
}
