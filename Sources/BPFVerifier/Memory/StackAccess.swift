import BPFISA
import BPFLinux

// Loads and stores of the stack by instructions. Bounds and alignment are checked before.

extension Verification {
  // MARK: stores

  /// A store through register `pointer`; `offset` includes the register's fixed offset.
  func checkStackWrite(
    pointer: Int, offset: Int32, size: Int32, valueRegister: Int, at index: Int
  ) throws(Refusal) {
    let register = register(pointer)
    let frame = stackFrame(of: register)
    if register.pointee.isConstant {
      let fixed = offset &+ Int32(truncatingIfNeeded: register.pointee.bits.value)
      try checkStackWriteFixed(frame, offset: fixed, size: size, valueRegister: valueRegister, at: index)
    } else {
      try checkStackWriteVariable(
        frame, pointer: register, offset: offset, size: size, valueRegister: valueRegister, at: index)
    }
  }

  private func checkStackWriteFixed(
    _ frame: FrameRef, offset: Int32, size: Int32, valueRegister: Int, at index: Int
  ) throws(Refusal) {
    let position = -1 &- offset
    let slotIndex = Int(position / registerSize)
    let slot = frame.slot(slotIndex)
    if !allowPointerLeaks, isSpilledRegister(slot), !isSpilledScalar(slot), size != registerSize {
      throw refuse(.EACCES, .pointerLeak, "attempt to corrupt spilled pointer on stack\n")
    }
    let value: RegisterRef? = valueRegister >= 0 ? register(valueRegister) : nil
    if !bypassSpectreV4 {
      noteStoreBypass(slot, position: position, value: value, size: size, at: index)
    }
    try destroyIfDynptrStackSlot(frame, slot: slotIndex)

    let isAligned = offset % registerSize == 0
    // Only a store of the whole slot ends the life of what it held.
    if isAligned, size == registerSize {
      markStackWrite(frame: Int(frame.pointee.number), mask: 1 << UInt64(slotIndex))
    }
    checkFastcallStackContract(frame, instruction: index, offset: offset)
    markSlotScratched(slotIndex)

    if let value, isAligned, value.pointee.isScalar, hasBPFCapability {
      let fits = registerWidth(value) <= 8 &* Int(size)
      // The id links the register with its copy, unless the store cuts bits off.
      if fits { assignScalarIDBeforeMove(value) }
      saveRegister(to: slot, value, size: size)
      if !fits { slot.pointee.spilled.unlink() }
    } else if value == nil, isAligned, instructions[index].isStoreImmediate, hasBPFCapability {
      let constant = scratchRegisters
      constant.pointee = RegisterState()
      constant.pointee.markKnown(UInt64(bitPattern: Int64(instructions[index].immediate)))
      constant.pointee.type = .scalar
      saveRegister(to: slot, constant, size: size)
    } else if let value, isSpillable(value.pointee.type) {
      if size != registerSize {
        printLineInfo(index, prefix: "; ")
        throw refuse(.EACCES, .pointerLeak, "invalid size of register spill\n")
      }
      if frame != state.current, value.pointee.type == .stack {
        throw refuse(
          .EINVAL, .pointerLeak, "cannot spill pointers to stack into stack frame of the caller\n")
      }
      saveRegister(to: slot, value, size: size)
    } else {
      try writeStackData(
        slot, position: position, size: size, value: value, valueRegister: valueRegister,
        instruction: instructions[index])
      return
    }
    try pushHistory(
      state, flags: stackAccessFlags(frame: Int(frame.pointee.number), slot: slotIndex), linked: 0)
  }

  /// Speculation may run past this store and load the slot's old value: pointers and values that were never written
  /// must not be reached that way.
  private func noteStoreBypass(
    _ slot: UnsafeMutablePointer<StackSlot>, position: Int32, value: RegisterRef?, size: Int32, at index: Int
  ) {
    var sanitize = value.map { isSpillable($0.pointee.type) } ?? false
    var byte: Int32 = 0
    while byte < size {
      let type = slot.pointee[Int((position &- byte) % registerSize)]
      if type != SlotType.misc, type != SlotType.zero {
        sanitize = true
        break
      }
      byte &+= 1
    }
    if sanitize { facts[index].noSpeculationResult = true }
  }

  /// A store that is no spill: bytes of unknown contents, or zeros.
  private func writeStackData(
    _ slot: UnsafeMutablePointer<StackSlot>, position: Int32, size: Int32, value: RegisterRef?, valueRegister: Int,
    instruction: Instruction
  ) throws(Refusal) {
    var type = SlotType.misc
    scrubSpecialSlot(slot)
    if isZeroStore(value, instruction) {
      // The zeros are relied on from now on, so the register that they came from must stay exact.
      if valueRegister >= 0 { try markChainPrecise(valueRegister) }
      type = SlotType.zero
    }
    for byte in 0..<size { slot.pointee[Int((position &- byte) % registerSize)] = type }
  }

  /// Plain data is written over a slot: what was spilled there, or what object it belonged to, is no more.
  private func scrubSpecialSlot(_ slot: UnsafeMutablePointer<StackSlot>) {
    slot.pointee.spilled.type = .notInitialized
    if isStackSlotSpecial(slot) { scrubSpilledSlot(slot) }
  }

  private func isZeroStore(_ value: RegisterRef?, _ instruction: Instruction) -> Bool {
    if let value { return value.pointee.isNull }
    return instruction.isStoreImmediate && instruction.immediate == 0
  }

  /// A store somewhere into `[smin + offset, smax + offset + size)`: every byte there may have been written.
  private func checkStackWriteVariable(
    _ frame: FrameRef, pointer: RegisterRef, offset: Int32, size: Int32, valueRegister: Int, at index: Int
  ) throws(Refusal) {
    let low = Int32(truncatingIfNeeded: pointer.pointee.smin &+ Int64(offset))
    let high = Int32(truncatingIfNeeded: pointer.pointee.smax &+ Int64(offset) &+ Int64(size))
    let value: RegisterRef? = valueRegister >= 0 ? register(valueRegister) : nil
    let writesZero = isZeroStore(value, instructions[index])
    var reliesOnZero = false

    var byte = low
    while byte < high {
      try destroyIfDynptrStackSlot(frame, slot: stackSlotIndex(byte))
      byte &+= 1
    }
    checkFastcallStackContract(frame, instruction: index, offset: low)

    byte = low
    while byte < high {
      defer { byte &+= 1 }
      let position = -1 &- byte
      let slotIndex = Int(position / registerSize)
      let inSlot = Int(position % registerSize)
      let slot = frame.slot(slotIndex)
      let old = slot.pointee[inSlot]
      markSlotScratched(slotIndex)
      if !allowPointerLeaks, old != SlotType.misc, old != SlotType.zero {
        throw refuse(
          .EINVAL, .pointerLeak,
          "spilled ptr in range of var-offset stack write; insn \(index), ptr off: \(byte)")
      }
      if writesZero, old == SlotType.spill, isSpilledScalar(slot), slot.pointee.spilled.isConstant,
        slot.pointee.spilled.bits.value == 0
      {
        reliesOnZero = true
        continue
      }
      scrubSpecialSlot(slot)
      let left = slot.pointee[inSlot]
      var new = SlotType.misc
      if writesZero, left == SlotType.zero {
        new = SlotType.zero
        reliesOnZero = true
      }
      if left == SlotType.invalid, !allowUninitializedStack {
        throw refuse(
          .EINVAL, .uninitializedStack,
          "uninit stack in range of var-offset write prohibited for !root; insn \(index), off: \(byte)")
      }
      slot.pointee[inSlot] = new
    }
    if reliesOnZero, valueRegister >= 0 { try markChainPrecise(valueRegister) }
  }

  // MARK: loads

  /// A load through register `pointer` into `destination`, which is -1 where the value goes to no register.
  func checkStackRead(pointer: Int, offset: Int32, size: Int32, destination: Int) throws(Refusal) {
    let register = register(pointer)
    let isVariable = !register.pointee.isConstant
    if destination < 0, isVariable {
      throw refuse(
        .EACCES, .stackBounds,
        "variable offset stack pointer cannot be passed into helper function; "
          + "var_off=\(tnumText(register.pointee.bits)) off=\(offset) size=\(size)\n")
    }
    let frame = stackFrame(of: register)
    if isVariable {
      try checkStackReadVariable(frame, pointer: pointer, offset: offset, size: size, destination: destination)
    } else {
      let fixed = offset &+ Int32(truncatingIfNeeded: register.pointee.bits.value)
      try checkStackReadFixed(frame, offset: fixed, size: size, destination: destination)
    }
  }

  private func checkStackReadVariable(
    _ frame: FrameRef, pointer: Int, offset: Int32, size: Int32, destination: Int
  ) throws(Refusal) {
    try checkStackRangeInitialized(
      register: pointer, offset: offset, size: size, zeroSizeAllowed: false, type: .read, meta: nil)
    let register = register(pointer)
    let low = Int32(truncatingIfNeeded: register.pointee.smin &+ Int64(offset))
    let high = Int32(truncatingIfNeeded: register.pointee.smax &+ Int64(offset))
    readMixedBytes(into: destination, frame, from: low, to: high &+ size)
    checkFastcallStackContract(frame, instruction: instruction, offset: low)
  }

  private func checkStackReadFixed(
    _ frame: FrameRef, offset: Int32, size: Int32, destination: Int
  ) throws(Refusal) {
    let slotIndex = stackSlotIndex(offset)
    let slot = frame.slot(slotIndex)
    markSlotScratched(slotIndex)
    checkFastcallStackContract(state.current, instruction: instruction, offset: offset)
    try markStackRead(
      frame: Int(frame.pointee.number), instruction: instruction, mask: 1 << UInt64(slotIndex))

    if isSpilledRegister(slot) {
      let spillSize = spillSize(slot)
      if size != registerSize || spillSize != registerSize {
        guard slot.pointee.spilled.isScalar else {
          printLineInfo(instruction, prefix: "; ")
          throw refuse(.EACCES, .pointerLeak, "invalid size of register fill\n")
        }
        if destination < 0 { return }
        let isFill = try fillPart(
          of: slot, offset: offset, size: size, spillSize: spillSize, into: register(destination))
        if !isFill { return }
      } else if destination >= 0 {
        register(destination).pointee = slot.pointee.spilled
      } else if isPointerValue(frame.spilled(slotIndex)) {
        throw refuse(.EACCES, .pointerLeak, "leaking pointer from stack off \(offset)\n")
      }
    } else {
      for byte in 0..<size {
        let type = slot.pointee[Int((-1 &- offset &- byte) % registerSize)]
        if type == SlotType.misc || type == SlotType.zero { continue }
        if type == SlotType.invalid, allowUninitializedStack { continue }
        throw invalidStackRead(offset, byte, size)
      }
      if destination >= 0 { readMixedBytes(into: destination, frame, from: offset, to: offset &+ size) }
      return
    }
    try pushHistory(
      state, flags: stackAccessFlags(frame: Int(frame.pointee.number), slot: slotIndex), linked: 0)
  }

  /// How many bytes, from the highest address down, the spill in the slot has.
  private func spillSize(_ slot: UnsafeMutablePointer<StackSlot>) -> Int32 {
    if slot.pointee.types == StackSlot.all(SlotType.spill) { return registerSize }
    var size: Int32 = 1
    var byte = 6
    while byte >= 0, slot.pointee[byte] == SlotType.spill {
      size &+= 1
      byte &-= 1
    }
    return size
  }

  /// A load of a part of a slot that holds a spilled scalar, or of a scalar that fills part of the slot.
  /// Returns whether the register was restored from the spill.
  private func fillPart(
    of slot: UnsafeMutablePointer<StackSlot>, offset: Int32, size: Int32, spillSize: Int32,
    into destination: RegisterRef
  ) throws(Refusal) -> Bool {
    if size <= spillSize, offset % registerSize == 0 {
      let definition = destination.pointee.subregisterDefinition
      destination.pointee = slot.pointee.spilled
      destination.pointee.subregisterDefinition = definition
      // A load that cuts bits off is no longer equal to the spilled value.
      if 64 &- slot.pointee.spilled.umax.leadingZeroBitCount > 8 &* Int(size) { destination.pointee.unlink() }
      return true
    }
    var spills: Int32 = 0
    var zeros: Int32 = 0
    for byte in 0..<size {
      switch slot.pointee[Int((-1 &- offset &- byte) % registerSize)] {
      case SlotType.spill: spills &+= 1
      case SlotType.misc: break
      case SlotType.zero: zeros &+= 1
      case SlotType.invalid where allowUninitializedStack: break
      default: throw invalidStackRead(offset, byte, size)
      }
    }
    if spills == size, slot.pointee.spilled.isConstant, slot.pointee.spilled.bits.value == 0 {
      markConstantZero(destination)
      return true
    }
    if zeros == size {
      markConstantZero(destination)
    } else {
      markUnknown(destination)
    }
    return false
  }

  private func invalidStackRead(_ offset: Int32, _ byte: Int32, _ size: Int32) -> Refusal {
    refuse(
      .EACCES, .uninitializedStack, "invalid read from stack off \(offset)+\(byte) size \(size)\n")
  }

  /// What a register becomes that bytes `[low, high)` of the stack were loaded into: zero where all of them are.
  private func readMixedBytes(into destination: Int, _ frame: FrameRef, from low: Int32, to high: Int32) {
    var byte = low
    while byte < high {
      let position = -1 &- byte
      let slotIndex = Int(position / registerSize)
      markSlotScratched(slotIndex)
      if frame.slot(slotIndex).pointee[Int(position % registerSize)] != SlotType.zero { break }
      byte &+= 1
    }
    if byte >= high {
      markConstantZero(register(destination))
    } else {
      markUnknown(in: registers, destination)
    }
  }
}
