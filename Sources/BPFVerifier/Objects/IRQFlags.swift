import BPFLinux

// Saved interrupt flags on the stack.

extension Verification {
  /// `IRQ_NATIVE_KFUNC` and `IRQ_LOCK_KFUNC`: which family of kfuncs saved the flags.
  static let nativeIRQClass: UInt32 = 0
  static let lockIRQClass: UInt32 = 1

  private func irqFlagPlace(_ r: RegisterRef) -> StackObjectPlace {
    stackObjectPlace(r, "irq_flag", .irq, count: 1)
  }

  private func irqFlagSlot(_ r: RegisterRef) throws(Refusal) -> Int {
    try stackObjectSlot(r, "irq_flag", .irq, count: 1)
  }

  /// Interrupts are disabled, and their state is saved where `r` points.
  func markStackSlotIRQFlag(_ r: RegisterRef, instruction index: Int, kfuncClass: UInt32) throws(Refusal) {
    let frame = objectFrame(r)
    let slot = try irqFlagSlot(r)
    let id = try acquireIRQ(instruction: index)
    let flag = frame.spilled(slot)
    markStackWrite(frame: Int(r.pointee.frame), mask: 1 << UInt64(slot))
    resetObjectRegister(flag, type: .stack)
    flag.pointee.referenceID = id
    flag.pointee.irqClass = kfuncClass
    frame.pointee.stack[slot].types = StackSlot.all(SlotType.irqFlag)
    markSlotScratched(slot)
  }

  /// Interrupts are restored to the state that `r` points to: the last that was saved, by the same family of kfuncs.
  func unmarkStackSlotIRQFlag(_ r: RegisterRef, kfuncClass: UInt32) throws(Refusal) {
    let frame = objectFrame(r)
    let slot = try irqFlagSlot(r)
    let flag = frame.spilled(slot)
    if flag.pointee.irqClass != kfuncClass {
      let family = { (number: UInt32) in number == Self.nativeIRQClass ? "native" : "lock" }
      throw refuse(
        .EINVAL, .irq,
        "irq flag acquired by \(family(flag.pointee.irqClass)) kfuncs cannot be restored with "
          + "\(family(kfuncClass)) kfuncs\n")
    }
    if let errno = releaseIRQ(state, id: flag.pointee.referenceID) {
      var acquired: Int32 = 0
      if let references = state.pointee.references {
        for index in 0..<Int(state.pointee.referenceCount)
        where UInt32(bitPattern: references[index].id) == state.pointee.activeIRQID {
          acquired = references[index].instruction
          break
        }
      }
      throw refuse(
        errno, .irq,
        "cannot restore irq state out of order, expected id=\(state.pointee.activeIRQID) acquired at "
          + "insn_idx=\(acquired)\n")
    }
    markNotInitialized(flag)
    markStackWrite(frame: Int(r.pointee.frame), mask: 1 << UInt64(slot))
    frame.pointee.stack[slot].types = StackSlot.all(SlotType.invalid)
    markSlotScratched(slot)
  }

  /// Whether flags may be saved where `r` points.
  func isIRQFlagValidUninitialized(_ r: RegisterRef) -> Bool {
    switch irqFlagPlace(r) {
    case .unused: return true
    case .misplaced: return false
    case .slot(let slot):
      for index in 0..<8 where objectFrame(r).pointee.stack[slot][index] == SlotType.irqFlag { return false }
      return true
    }
  }

  /// Whether `r` points to saved flags.
  func isIRQFlagValidInitialized(_ r: RegisterRef) -> Bool {
    guard case .slot(let slot) = irqFlagPlace(r) else { return false }
    let frame = objectFrame(r)
    return frame.spilled(slot).pointee.referenceID != 0
      && frame.pointee.stack[slot].types == StackSlot.all(SlotType.irqFlag)
  }

  /// Notes that the saved flags that `r` points to are read.
  func markIRQFlagRead(_ r: RegisterRef) throws(Refusal) {
    try markObjectRead(r, slot: try irqFlagSlot(r), count: 1)
  }
}
