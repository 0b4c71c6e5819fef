import BPFISA
import BPFLinux

// Which bytes of stack an access may touch, and whether they must have been written before.

extension Verification {
  /// Checks that an access at `register + offset` stays within the stack, and makes that much of it usable.
  /// `offset` includes the register's fixed offset.
  func checkStackAccessWithinBounds(
    register number: Int, offset: Int32, size: Int32, type: AccessType
  ) throws(Refusal) {
    let register = register(number)
    let frame = stackFrame(of: register)
    let low: Int64
    let high: Int64
    if register.pointee.isConstant {
      low = Int64(bitPattern: register.pointee.bits.value) &+ Int64(offset)
      high = low &+ Int64(size)
    } else {
      let limit = Int64(maximumVariableOffset)
      if register.pointee.smax >= limit || register.pointee.smin <= -limit {
        throw refuse(
          .EACCES, .stackBounds,
          "invalid unbounded variable-offset\(stackDirection(type)) stack R\(number)\n")
      }
      low = register.pointee.smin &+ Int64(offset)
      high = register.pointee.smax &+ Int64(offset) &+ Int64(size)
    }

    let lowest =
      type == .write || allowUninitializedStack ? -Int64(maximumStackSize) : -Int64(frame.pointee.stackBytes)
    var error: Errno?
    if low < lowest || low > -1 {
      error = .EACCES
    } else if high > 0 {
      error = .EINVAL
    } else if size < 0 {
      error = .EFAULT
    }
    if let error {
      let message =
        register.pointee.isConstant
        ? "invalid\(stackDirection(type)) stack R\(number) off=\(offset) size=\(size)\n"
        : "invalid variable-offset\(stackDirection(type)) stack R\(number) "
          + "var_off=\(tnumText(register.pointee.bits)) off=\(offset) size=\(size)\n"
      throw refuse(error, .stackBounds, message)
    }
    try growStack(frame, to: Int32(truncatingIfNeeded: -low))
  }

  private func stackDirection(_ type: AccessType) -> String { type == .read ? " read from" : " write to" }

  /// Checks an access of a helper (or one at a variable offset) to the stack: all bytes must be readable, unless the
  /// helper promises to write them (`meta.rawMode`); then it is only noted how many.
  func checkStackRangeInitialized(
    register number: Int, offset: Int32, size: Int32, zeroSizeAllowed: Bool, type: AccessType,
    meta: UnsafeMutablePointer<HelperCallMeta>?
  ) throws(Refusal) {
    if size == 0, !zeroSizeAllowed {
      throw refuse(.EACCES, .stackBounds, "invalid zero-sized read\n")
    }
    try checkStackAccessWithinBounds(register: number, offset: offset, size: size, type: type)

    let register = register(number)
    let frame = stackFrame(of: register)
    let low: Int32
    let high: Int32
    var rawMeta = meta.flatMap { $0.pointee.rawMode ? $0 : nil }
    if register.pointee.isConstant {
      low = offset &+ Int32(truncatingIfNeeded: register.pointee.bits.value)
      high = low
    } else {
      if !bypassSpectreV1 {
        throw refuse(
          .EACCES, .stackBounds,
          "R\(number) variable offset stack access prohibited for !root, "
            + "var_off=\(tnumText(register.pointee.bits))\n")
      }
      // Which bytes the helper will have written is not known, so all of them must be written before.
      rawMeta = nil
      low = Int32(truncatingIfNeeded: register.pointee.smin &+ Int64(offset))
      high = Int32(truncatingIfNeeded: register.pointee.smax &+ Int64(offset))
    }
    let end = high &+ size

    if let rawMeta {
      try checkRawRange(frame, from: low, to: end)
      rawMeta.pointee.accessSize = size
      rawMeta.pointee.register = .init(truncatingIfNeeded: number)
      return
    }

    var byte = low
    var marked = -1
    while byte < end {
      let position = -1 &- byte
      let slotIndex = Int(position / registerSize)
      if frame.pointee.stackBytes <= position {
        throw refuse(.EFAULT, .invariant, "allocated_stack too small\n")
      }
      guard readStackByte(frame.slot(slotIndex), Int(position % registerSize), clobber: type == .write) else {
        let message =
          register.pointee.isConstant
          ? "invalid read from stack R\(number) off \(low)+\(byte &- low) size \(size)\n"
          : "invalid read from stack R\(number) var_off "
            + "\(tnumText(register.pointee.bits))+\(byte &- low) size \(size)\n"
        throw refuse(.EACCES, .uninitializedStack, message)
      }
      if slotIndex != marked {
        // Nothing is marked as written: the helper may leave any of it as it was.
        try markStackRead(
          frame: Int(register.pointee.frame), instruction: instruction, mask: 1 << UInt64(slotIndex))
        marked = slotIndex
      }
      byte &+= 1
    }
  }

  /// Whether a helper may read the byte. Where it writes it too, what was known of it is forgotten.
  @inline(__always)
  private func readStackByte(_ slot: UnsafeMutablePointer<StackSlot>, _ index: Int, clobber: Bool) -> Bool {
    let type = slot.pointee[index]
    if type == SlotType.misc { return true }
    if type == SlotType.zero || type == SlotType.invalid && allowUninitializedStack {
      if clobber { slot.pointee[index] = SlotType.misc }
      return true
    }
    if isSpilledRegister(slot), slot.pointee.spilled.isScalar || allowPointerLeaks {
      if clobber {
        markUnknown(UnsafeMutableRawPointer(slot).assumingMemoryBound(to: RegisterState.self))
        scrubSpilledSlot(slot)
      }
      return true
    }
    return false
  }

  /// Memory that a helper fills must not hold a dynptr, which the simulated writes would destroy.
  private func checkRawRange(_ frame: FrameRef, from low: Int32, to end: Int32) throws(Refusal) {
    var byte = low
    while byte < end {
      let position = -1 &- byte
      if frame.pointee.stackBytes > position,
        frame.slot(Int(position / registerSize)).pointee[Int(position % registerSize)] == SlotType.dynptr
      {
        throw refuse(.EACCES, .dynptr, "potential write to dynptr at off=\(byte) disallowed\n")
      }
      byte &+= 1
    }
  }
}
