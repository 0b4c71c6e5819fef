import BPFISA
import BPFLinux

// What stack slots hold, and how registers are stored in them.

/// Index of the slot that holds the byte at `offset` from the frame pointer.
@inline(__always) func stackSlotIndex(_ offset: Int32) -> Int { Int((-1 &- offset) / registerSize) }

/// Whether the byte is the last of a spilled register.
@inline(__always) func isSpilledRegister(_ slot: UnsafeMutablePointer<StackSlot>) -> Bool {
  slot.pointee.kind == SlotType.spill
}

@inline(__always) func isSpilledScalar(_ slot: UnsafeMutablePointer<StackSlot>) -> Bool {
  slot.pointee.kind == SlotType.spill && slot.pointee.spilled.type == .scalar
}

/// Whether all eight bytes are one spilled scalar.
@inline(__always) func isSpilledScalar64(_ slot: UnsafeMutablePointer<StackSlot>) -> Bool {
  slot.pointee[0] == SlotType.spill && slot.pointee.spilled.type == .scalar
}

/// A byte that a narrower spill leaves over: known zeros stay known, and what was never written stays unwritten, so
/// that an unprivileged program cannot read it.
@inline(__always) func miscStackByte(_ type: UInt8) -> UInt8 {
  type == SlotType.zero || type == SlotType.invalid ? type : SlotType.misc
}

/// A byte of a spilled value that is overwritten.
@inline(__always) func scrubbedStackByte(_ type: UInt8) -> UInt8 {
  type == SlotType.invalid ? type : SlotType.misc
}

/// Turns every written byte of the slot into one of unknown contents.
func scrubSpilledSlot(_ slot: UnsafeMutablePointer<StackSlot>) {
  for index in 0..<8 { slot.pointee[index] = scrubbedStackByte(slot.pointee[index]) }
}

/// Whether registers of this type keep their knowledge when spilled.
func isSpillable(_ type: RegisterType) -> Bool {
  switch type.base {
  case .mapValue, .stack, .context, .packet, .packetMeta, .packetEnd, .flowKeys, .mapPointer, .socket, .sockCommon,
    .tcpSock, .xdpSock, .btfID, .buffer, .memory, .function, .mapKey, .arena:
    true
  default:
    false
  }
}

/// Bits needed for the register's largest unsigned value.
@inline(__always) func registerWidth(_ register: RegisterRef) -> Int {
  64 &- register.pointee.umax.leadingZeroBitCount
}

extension Instruction {
  /// A plain store of an immediate.
  @inline(__always) var isStoreImmediate: Bool { instructionClass == Class.st && mode == Mode.mem }
}

extension Verification {
  /// The frame whose stack `register` points into.
  @inline(__always) func stackFrame(of register: RegisterRef) -> FrameRef {
    state.frame(Int(register.pointee.frame))
  }

  /// Whether slots `slot - count + 1 … slot` are all in use.
  func areSlotsInUse(_ frame: FrameRef, slot: Int, count: Int) -> Bool {
    slot &- count &+ 1 >= 0 && slot < Int(frame.pointee.slotCount)
  }

  func markStackSlotMisc(_ slot: UnsafeMutablePointer<StackSlot>, byte: Int) {
    slot.pointee[byte] = miscStackByte(slot.pointee[byte])
  }

  /// Stores `register` into the upper `size` bytes of a slot: the ones at its lowest addresses are the rest.
  func saveRegister(to slot: UnsafeMutablePointer<StackSlot>, _ register: RegisterRef, size: Int32) {
    let types = slot.pointee.types
    slot.pointee.spilled = register.pointee
    if size == registerSize {
      slot.pointee.types = StackSlot.all(SlotType.spill)
      return
    }
    slot.pointee.types = types
    let rest = Int(registerSize &- size)
    for index in rest..<8 { slot.pointee[index] = SlotType.spill }
    for index in 0..<rest { markStackSlotMisc(slot, byte: index) }
  }

  /// Makes at least `bytes` of the frame's stack usable, and notes how deep the subprogram's stack is.
  func growStack(_ frame: FrameRef, to bytes: Int32) throws(Refusal) {
    let slots = (bytes &+ registerSize &- 1) / registerSize
    guard slots > frame.pointee.slotCount else { return }
    pool.growStack(frame, slots: slots)
    let subprogram = Int(frame.pointee.subprogram)
    let depth = slots &* registerSize
    if subprograms[subprogram].stackDepth < depth { subprograms[subprogram].stackDepth = depth }
  }

  /// Slots below `fastcallStackOffset` belong to the spills and fills around calls that keep registers. Any other
  /// access to them ends that arrangement for the whole subprogram.
  func checkFastcallStackContract(_ frame: FrameRef, instruction index: Int, offset: Int32) {
    let subprogram = Int(frame.pointee.subprogram)
    if subprograms[subprogram].fastcallStackOffset <= offset || facts[index].fastcallPattern { return }
    subprograms[subprogram].fastcallStackOffset = Int32(Int16.min)
    let end = subprogram &+ 1 < subprograms.count ? subprograms[subprogram &+ 1].start : instructionCount
    for inside in subprograms[subprogram].start..<end {
      facts[inside].fastcallSpills = 0
      facts[inside].fastcallPattern = false
    }
  }
}
