import BPFLinux

extension RegisterState {
  /// The value is `value`; type, ids and the rest stay.
  @inline(__always) mutating func setKnownBounds(_ value: UInt64) {
    bits = Tnum(constant: value)
    smin = Int64(bitPattern: value)
    smax = smin
    umin = value
    umax = value
    u32min = UInt32(truncatingIfNeeded: value)
    u32max = u32min
    s32min = Int32(bitPattern: u32min)
    s32max = s32min
  }

  @inline(__always) private mutating func clearPayload() {
    offset = 0
    payload0 = 0
    payload1 = 0
    btf = 0
    iteratorState = 0
  }

  /// The value (or the variable part of the offset) is `value`, and nothing else is known of it but the type.
  @inline(__always) mutating func markKnown(_ value: UInt64) {
    clearPayload()
    id = 0
    referenceID = 0
    setKnownBounds(value)
  }

  @inline(__always) mutating func markKnownZero() { markKnown(0) }

  @inline(__always) mutating func markKnown32(_ value: UInt32) {
    bits = bits.withSubregister(constant: value)
    u32min = value
    u32max = value
    s32min = Int32(bitPattern: value)
    s32max = s32min
  }

  /// The value is linked to no other any more.
  @inline(__always) mutating func unlink() {
    id = 0
    offset = 0
  }

  /// A number of which nothing is known.
  @inline(__always) mutating func markUnknownImprecise() {
    clearPayload()
    type = .scalar
    id = 0
    referenceID = 0
    bits = .unknown
    frame = 0
    precise = false
    markUnbounded()
  }

  /// The constant zero.
  @inline(__always) var isNull: Bool { type == .scalar && bits.mask == 0 && bits.value == 0 }

  @inline(__always) func isConstant(subregister: Bool) -> Bool {
    type == .scalar && (subregister ? bits.isSubregisterConstant : bits.isConstant)
  }

  @inline(__always) func constantValue(subregister: Bool) -> UInt64 {
    subregister ? bits.value & 0xffff_ffff : bits.value
  }

  /// How many bits the largest value takes.
  @inline(__always) var width: Int { UInt64.bitWidth - umax.leadingZeroBitCount }

  @inline(__always) var isPacketPointer: Bool { type.base == .packet || type.base == .packetMeta }
}

extension Verification {
  @inline(__always) func markUnknown(_ r: RegisterRef) {
    r.pointee.markUnknownImprecise()
    r.pointee.precise = !hasBPFCapability
  }

  @inline(__always) func markUnknown(in registers: RegisterRef, _ number: Int) {
    markUnknown(registers + number)
  }

  @inline(__always) func markNotInitialized(_ r: RegisterRef) {
    markUnknown(r)
    r.pointee.type = .notInitialized
  }

  @inline(__always) func markConstantZero(_ r: RegisterRef) {
    r.pointee.markKnown(0)
    r.pointee.type = .scalar
    r.pointee.precise = !hasBPFCapability
  }

  @inline(__always) func markKnownZero(in registers: RegisterRef, _ number: Int) {
    registers[number].markKnownZero()
  }

  func markSigned32Range(in registers: RegisterRef, _ number: Int, min low: Int32, max high: Int32) throws(Refusal) {
    let r = registers + number
    r.pointee.s32min = max(r.pointee.s32min, low)
    r.pointee.s32max = min(r.pointee.s32max, high)
    r.pointee.smin = max(r.pointee.smin, Int64(low))
    r.pointee.smax = min(r.pointee.smax, Int64(high))
    r.pointee.sync()
    try checkInvariants(r, "s32_range")
  }

  /// Whether the value must not be shown to the program's author: a pointer, for who may not see them.
  @inline(__always) func isPointerValue(_ r: RegisterRef) -> Bool {
    !allowPointerLeaks && r.pointee.type != .scalar
  }

  @inline(__always) func isPointerValue(_ number: Int) -> Bool { isPointerValue(register(number)) }

  /// Before a copy: both sides get an id in common, so that what is learned of one is known of the other.
  @inline(__always) func assignScalarIDBeforeMove(_ r: RegisterRef) {
    guard r.pointee.type == .scalar else { return }
    if r.pointee.id & RegisterState.addConst != 0 { r.pointee.unlink() }
    if r.pointee.id == 0 && r.pointee.bits.mask != 0 { r.pointee.id = newID() }
  }

  /// Whether adding the value to a pointer (or the pointer itself) stays in what the verifier can reason about.
  func checkRegisterSaneOffset(_ r: RegisterRef, type: RegisterType) -> Bool {
    let limit = Int64(maximumVariableOffset)
    let value = Int64(bitPattern: r.pointee.bits.value)
    let smin = r.pointee.smin
    let message: String
    if r.pointee.bits.mask == 0 && (value >= limit || value <= -limit) {
      message = "math between \(registerTypeText(type)) pointer and \(value) is not allowed\n"
    } else if Int64(r.pointee.offset) >= limit || Int64(r.pointee.offset) <= -limit {
      message = "\(registerTypeText(type)) pointer offset \(r.pointee.offset) is not allowed\n"
    } else if smin == .min {
      message =
        "math between \(registerTypeText(type)) pointer and register with unbounded min value is not allowed\n"
    } else if smin >= limit || smin <= -limit {
      message = "value \(smin) makes \(registerTypeText(type)) pointer be out of bounds\n"
    } else {
      return true
    }
    _ = refuse(.EINVAL, .pointerArithmetic, message)
    return false
  }
}
