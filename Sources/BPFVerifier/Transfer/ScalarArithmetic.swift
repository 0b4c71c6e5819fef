/// Ranges of the results of arithmetic on numbers, 32 and 64 bits wide.
///
/// `bits` of the result is worked out by the caller before or after, as each operation needs.
extension RegisterState {
  mutating func addBounds(_ b: RegisterState) {
    let (low32, under32) = s32min.addingReportingOverflow(b.s32min)
    let (high32, over32) = s32max.addingReportingOverflow(b.s32max)
    s32min = under32 || over32 ? .min : low32
    s32max = under32 || over32 ? .max : high32
    // Both ends wrapping around keeps the range whole; only one of them loses it.
    let (ulow32, uunder32) = u32min.addingReportingOverflow(b.u32min)
    let (uhigh32, uover32) = u32max.addingReportingOverflow(b.u32max)
    u32min = !uunder32 && uover32 ? 0 : ulow32
    u32max = !uunder32 && uover32 ? .max : uhigh32

    let (low, under) = smin.addingReportingOverflow(b.smin)
    let (high, over) = smax.addingReportingOverflow(b.smax)
    smin = under || over ? .min : low
    smax = under || over ? .max : high
    let (ulow, uunder) = umin.addingReportingOverflow(b.umin)
    let (uhigh, uover) = umax.addingReportingOverflow(b.umax)
    umin = !uunder && uover ? 0 : ulow
    umax = !uunder && uover ? .max : uhigh
  }

  mutating func subtractBounds(_ b: RegisterState) {
    let (low32, under32) = s32min.subtractingReportingOverflow(b.s32max)
    let (high32, over32) = s32max.subtractingReportingOverflow(b.s32min)
    s32min = under32 || over32 ? .min : low32
    s32max = under32 || over32 ? .max : high32
    let (ulow32, uunder32) = u32min.subtractingReportingOverflow(b.u32max)
    let (uhigh32, uover32) = u32max.subtractingReportingOverflow(b.u32min)
    u32min = uunder32 && !uover32 ? 0 : ulow32
    u32max = uunder32 && !uover32 ? .max : uhigh32

    let (low, under) = smin.subtractingReportingOverflow(b.smax)
    let (high, over) = smax.subtractingReportingOverflow(b.smin)
    smin = under || over ? .min : low
    smax = under || over ? .max : high
    let (ulow, uunder) = umin.subtractingReportingOverflow(b.umax)
    let (uhigh, uover) = umax.subtractingReportingOverflow(b.umin)
    umin = uunder && !uover ? 0 : ulow
    umax = uunder && !uover ? .max : uhigh
  }

  mutating func multiplyBounds(_ b: RegisterState) {
    (u32min, u32max) = Self.unsignedProduct(u32min, u32max, b.u32min, b.u32max)
    (s32min, s32max) = Self.signedProduct(s32min, s32max, b.s32min, b.s32max)
    (umin, umax) = Self.unsignedProduct(umin, umax, b.umin, b.umax)
    (smin, smax) = Self.signedProduct(smin, smax, b.smin, b.smax)
  }

  @inline(__always)
  private static func unsignedProduct<T: FixedWidthInteger>(_ low: T, _ high: T, _ otherLow: T, _ otherHigh: T)
    -> (T, T)
  {
    let (least, under) = low.multipliedReportingOverflow(by: otherLow)
    let (most, over) = high.multipliedReportingOverflow(by: otherHigh)
    return under || over ? (0, .max) : (least, most)
  }

  @inline(__always)
  private static func signedProduct<T: FixedWidthInteger>(_ low: T, _ high: T, _ otherLow: T, _ otherHigh: T)
    -> (T, T)
  {
    let (a, o1) = low.multipliedReportingOverflow(by: otherLow)
    let (b, o2) = low.multipliedReportingOverflow(by: otherHigh)
    let (c, o3) = high.multipliedReportingOverflow(by: otherLow)
    let (d, o4) = high.multipliedReportingOverflow(by: otherHigh)
    if o1 || o2 || o3 || o4 { return (.min, .max) }
    return (min(min(a, b), min(c, d)), max(max(a, b), max(c, d)))
  }

  // MARK: bitwise; `bits` already has the result

  @inline(__always) private mutating func signedFromUnsigned32() {
    if Int32(bitPattern: u32min) <= Int32(bitPattern: u32max) {
      s32min = Int32(bitPattern: u32min)
      s32max = Int32(bitPattern: u32max)
    } else {
      s32min = .min
      s32max = .max
    }
  }

  @inline(__always) private mutating func signedFromUnsigned64() {
    if Int64(bitPattern: umin) <= Int64(bitPattern: umax) {
      smin = Int64(bitPattern: umin)
      smax = Int64(bitPattern: umax)
    } else {
      smin = .min
      smax = .max
    }
  }

  mutating func andBounds(_ b: RegisterState) {
    let low = UInt32(truncatingIfNeeded: bits.value)
    if b.bits.isSubregisterConstant && bits.isSubregisterConstant {
      markKnown32(low)
    } else {
      u32min = low
      u32max = min(u32max, b.u32max)
      signedFromUnsigned32()
    }
    if b.bits.isConstant && bits.isConstant {
      markKnown(bits.value)
    } else {
      umin = bits.value
      umax = min(umax, b.umax)
      signedFromUnsigned64()
      updateBounds()
    }
  }

  mutating func orBounds(_ b: RegisterState) {
    let low = UInt32(truncatingIfNeeded: bits.value)
    if b.bits.isSubregisterConstant && bits.isSubregisterConstant {
      markKnown32(low)
    } else {
      u32min = max(u32min, b.u32min)
      u32max = low | UInt32(truncatingIfNeeded: bits.mask)
      signedFromUnsigned32()
    }
    if b.bits.isConstant && bits.isConstant {
      markKnown(bits.value)
    } else {
      umin = max(umin, b.umin)
      umax = bits.value | bits.mask
      signedFromUnsigned64()
      updateBounds()
    }
  }

  mutating func xorBounds(_ b: RegisterState) {
    let low = UInt32(truncatingIfNeeded: bits.value)
    if b.bits.isSubregisterConstant && bits.isSubregisterConstant {
      markKnown32(low)
    } else {
      u32min = low
      u32max = low | UInt32(truncatingIfNeeded: bits.mask)
      signedFromUnsigned32()
    }
    if b.bits.isConstant && bits.isConstant {
      markKnown(bits.value)
    } else {
      umin = bits.value
      umax = bits.value | bits.mask
      signedFromUnsigned64()
      updateBounds()
    }
  }

  // MARK: shifts by a known amount

  @inline(__always) private mutating func shiftLeftBounds32(_ low: UInt64, _ high: UInt64) {
    s32min = .min
    s32max = .max
    if high > 31 || UInt64(u32max) > 1 << (31 - high) {
      u32min = 0
      u32max = .max
    } else {
      u32min = u32min &<< UInt32(truncatingIfNeeded: low)
      u32max = u32max &<< UInt32(truncatingIfNeeded: high)
    }
  }

  mutating func shiftLeft32(_ b: RegisterState) {
    let low = bits.subregister
    shiftLeftBounds32(UInt64(b.u32min), UInt64(b.u32max))
    bits = low.shiftLeft(UInt64(b.u32min)).subregister
    markUnbounded64()
    updateBounds32()
  }

  mutating func shiftLeft64(_ b: RegisterState) {
    if b.umin == 32 && b.umax == 32 {
      // What compilers begin a sign extension with.
      smax = Int64(s32max) << 32
      smin = Int64(s32min) << 32
    } else {
      smax = .max
      smin = .min
    }
    if umax > (1 as UInt64) &<< (63 &- b.umax) {
      umin = 0
      umax = .max
    } else {
      umin = umin &<< b.umin
      umax = umax &<< b.umax
    }
    shiftLeftBounds32(b.umin, b.umax)
    bits = bits.shiftLeft(b.umin)
    updateBounds()
  }

  mutating func shiftRight32(_ b: RegisterState) {
    let low = bits.subregister
    s32min = .min
    s32max = .max
    bits = low.shiftRight(UInt64(b.u32min))
    u32min = u32min &>> b.u32max
    u32max = u32max &>> b.u32min
    markUnbounded64()
    updateBounds32()
  }

  mutating func shiftRight64(_ b: RegisterState) {
    smin = .min
    smax = .max
    bits = bits.shiftRight(b.umin)
    umin = umin &>> b.umax
    umax = umax &>> b.umin
    markUnbounded32()
    updateBounds()
  }

  mutating func arithmeticShiftRight32(_ b: RegisterState) {
    let amount = Int32(truncatingIfNeeded: b.u32min)
    s32min = s32min &>> amount
    s32max = s32max &>> amount
    bits = bits.subregister.arithmeticShiftRight(UInt64(b.u32min), bits: 32)
    u32min = 0
    u32max = .max
    markUnbounded64()
    updateBounds32()
  }

  mutating func arithmeticShiftRight64(_ b: RegisterState) {
    let amount = Int64(truncatingIfNeeded: b.umin)
    smin = smin &>> amount
    smax = smax &>> amount
    bits = bits.arithmeticShiftRight(b.umin, bits: 64)
    umin = 0
    umax = .max
    markUnbounded32()
    updateBounds()
  }
}
