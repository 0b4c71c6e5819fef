import BPFLinux

/// Ranges of a value, 64 and 32 bits wide, signed and unsigned, and how they inform each other and the known bits.
extension RegisterState {
  @inline(__always) mutating func markUnbounded64() {
    smin = .min
    smax = .max
    umin = 0
    umax = .max
  }

  @inline(__always) mutating func markUnbounded32() {
    s32min = .min
    s32max = .max
    u32min = 0
    u32max = .max
  }

  @inline(__always) mutating func markUnbounded() {
    markUnbounded64()
    markUnbounded32()
  }

  /// Narrows the 32-bit ranges to what the known bits allow.
  @inline(__always) mutating func updateBounds32() {
    let low = UInt32(truncatingIfNeeded: bits.value)
    let unknown = UInt32(truncatingIfNeeded: bits.mask)
    s32min = max(s32min, Int32(bitPattern: low | (unknown & 0x8000_0000)))
    s32max = min(s32max, Int32(bitPattern: low | (unknown & 0x7fff_ffff)))
    u32min = max(u32min, low)
    u32max = min(u32max, low | unknown)
  }

  /// Narrows the 64-bit ranges to what the known bits allow.
  @inline(__always) mutating func updateBounds64() {
    let sign: UInt64 = 1 << 63
    smin = max(smin, Int64(bitPattern: bits.value | (bits.mask & sign)))
    smax = min(smax, Int64(bitPattern: bits.value | (bits.mask & ~sign)))
    umin = max(umin, bits.value)
    umax = min(umax, bits.value | bits.mask)

    // Where range and bits have a single value in common, that is the value.
    let next = bits.next(after: umin)
    let greatest = bits.value | bits.mask
    let minimumFits = umin & ~bits.mask == bits.value
    if minimumFits {
      if next > umax { setKnownBounds(umin) }
    } else if next == greatest {
      setKnownBounds(greatest)
    } else if next <= umax && bits.next(after: next) > umax {
      setKnownBounds(next)
    }
  }

  @inline(__always) mutating func updateBounds() {
    updateBounds32()
    updateBounds64()
  }

  @inline(__always) private mutating func narrowSigned32(_ low: Int32, _ high: Int32) {
    s32min = max(s32min, low)
    s32max = min(s32max, high)
  }

  @inline(__always) private mutating func narrowUnsigned32(_ low: UInt32, _ high: UInt32) {
    u32min = max(u32min, low)
    u32max = min(u32max, high)
  }

  /// 32-bit ranges from 64-bit ones, and from each other.
  @inline(__always) private mutating func deduceBounds32() {
    let ulow = UInt32(truncatingIfNeeded: umin)
    let uhigh = UInt32(truncatingIfNeeded: umax)
    let sulow = UInt32(truncatingIfNeeded: smin)
    let suhigh = UInt32(truncatingIfNeeded: smax)
    let uTopLow = UInt32(truncatingIfNeeded: umin &>> 32)
    let uTopHigh = UInt32(truncatingIfNeeded: umax &>> 32)
    let sTopLow = UInt32(truncatingIfNeeded: smin &>> 32)
    let sTopHigh = UInt32(truncatingIfNeeded: smax &>> 32)

    // The upper half is the same at both ends: the lower half has the range.
    if uTopLow == uTopHigh {
      narrowUnsigned32(ulow, uhigh)
      if Int32(bitPattern: ulow) <= Int32(bitPattern: uhigh) {
        narrowSigned32(Int32(bitPattern: ulow), Int32(bitPattern: uhigh))
      }
    }
    if sTopLow == sTopHigh {
      if sulow <= suhigh { narrowUnsigned32(sulow, suhigh) }
      if Int32(bitPattern: sulow) <= Int32(bitPattern: suhigh) {
        narrowSigned32(Int32(bitPattern: sulow), Int32(bitPattern: suhigh))
      }
    }
    // The upper half goes up by one and the lower one from negative to positive: a signed range around zero.
    if uTopLow &+ 1 == uTopHigh && Int32(bitPattern: ulow) < 0 && Int32(bitPattern: uhigh) >= 0 {
      narrowSigned32(Int32(bitPattern: ulow), Int32(bitPattern: uhigh))
    }
    if sTopLow &+ 1 == sTopHigh && Int32(bitPattern: sulow) < 0 && Int32(bitPattern: suhigh) >= 0 {
      narrowSigned32(Int32(bitPattern: sulow), Int32(bitPattern: suhigh))
    }
    if Int32(bitPattern: u32min) <= Int32(bitPattern: u32max) {
      narrowSigned32(Int32(bitPattern: u32min), Int32(bitPattern: u32max))
    }
    let low = UInt32(bitPattern: s32min)
    let high = UInt32(bitPattern: s32max)
    if low <= high {
      narrowUnsigned32(low, high)
    } else if u32max < low {
      // The unsigned range lies in the non-negative part of the signed one …
      s32min = Int32(bitPattern: u32min)
      u32max = min(u32max, high)
    } else if high < u32min {
      // … or in the negative part.
      s32max = Int32(bitPattern: u32max)
      u32min = max(u32min, low)
    }
  }

  @inline(__always) private mutating func deduceBounds64() {
    if Int64(bitPattern: umin) <= Int64(bitPattern: umax) {
      smin = max(smin, Int64(bitPattern: umin))
      smax = min(smax, Int64(bitPattern: umax))
    }
    let low = UInt64(bitPattern: smin)
    let high = UInt64(bitPattern: smax)
    if low <= high {
      umin = max(umin, low)
      umax = min(umax, high)
    } else if umax < low {
      smin = Int64(bitPattern: umin)
      umax = min(umax, high)
    } else if high < umin {
      smax = Int64(bitPattern: umax)
      umin = max(umin, low)
    }
  }

  /// 64-bit ranges from 32-bit ones.
  @inline(__always) private mutating func deduceMixedBounds() {
    let top: UInt64 = ~0xffff_ffff
    umin = max(umin, (umin & top) | UInt64(u32min))
    umax = min(umax, (umax & top) | UInt64(u32max))
    smin = max(smin, Int64(bitPattern: (UInt64(bitPattern: smin) & top) | UInt64(u32min)))
    smax = min(smax, Int64(bitPattern: (UInt64(bitPattern: smax) & top) | UInt64(u32max)))
    // A 64-bit value that is a sign-extended, non-negative 32-bit one.
    if s32min >= 0 && smin >= Int64(Int32.min) && smax <= Int64(Int32.max) {
      smin = Int64(s32min)
      smax = Int64(s32max)
      umin = UInt64(bitPattern: smin)
      umax = UInt64(bitPattern: smax)
      bits = bits.intersect(.range(umin, umax))
    }
  }

  @inline(__always) private mutating func deduceBounds() {
    deduceBounds32()
    deduceBounds64()
    deduceMixedBounds()
  }

  /// Known bits from the ranges.
  @inline(__always) private mutating func boundBits() {
    let whole = bits.intersect(.range(umin, umax))
    let low = whole.subregister.intersect(.range(UInt64(u32min), UInt64(u32max)))
    bits = whole.withoutSubregister | low
  }

  /// Lets ranges and known bits inform each other until they agree (`reg_bounds_sync`).
  mutating func sync() {
    if isSettled { return }
    updateBounds()
    // Three rounds as Linux has; one that changes nothing makes the rest idle.
    for _ in 0..<3 {
      let before = self
      deduceBounds()
      if hasSameBounds(as: before) { break }
    }
    boundBits()
    updateBounds()
  }

  /// A constant, or entirely unknown, with ranges that say so: there is nothing to learn.
  @inline(__always) private var isSettled: Bool {
    if bits.mask == 0 {
      let value = bits.value
      let low = UInt32(truncatingIfNeeded: value)
      let signed = (UInt64(bitPattern: smin) ^ value) | (UInt64(bitPattern: smax) ^ value)
      let signed32 = (UInt32(bitPattern: s32min) ^ low) | (UInt32(bitPattern: s32max) ^ low)
      return (umin ^ value) | (umax ^ value) | signed == 0 && (u32min ^ low) | (u32max ^ low) | signed32 == 0
    }
    return bits.mask == .max && umin == 0 && umax == .max && smin == .min && smax == .max && u32min == 0
      && u32max == .max && s32min == .min && s32max == .max
  }

  @inline(__always) private func hasSameBounds(as other: RegisterState) -> Bool {
    (umin ^ other.umin) | (umax ^ other.umax) | UInt64(bitPattern: smin ^ other.smin)
      | UInt64(bitPattern: smax ^ other.smax) | (bits.value ^ other.bits.value) | (bits.mask ^ other.bits.mask) == 0
      && (u32min ^ other.u32min) | (u32max ^ other.u32max) | UInt32(bitPattern: s32min ^ other.s32min)
        | UInt32(bitPattern: s32max ^ other.s32max) == 0
  }

  /// 64-bit ranges of a value whose upper half is zero.
  @inline(__always) mutating func assign32Into64() {
    umin = UInt64(u32min)
    umax = UInt64(u32max)
    if s32min >= 0 && s32max >= 0 {
      smin = Int64(s32min)
      smax = Int64(s32max)
    } else {
      smin = 0
      smax = Int64(UInt32.max)
    }
  }
}

extension Verification {
  /// Bounds that contradict each other are a fault of the verifier: Linux says so and goes on knowing nothing.
  func checkInvariants(_ r: RegisterRef, _ context: StaticString) throws(Refusal) {
    let what: String
    if r.pointee.umin > r.pointee.umax || r.pointee.smin > r.pointee.smax || r.pointee.u32min > r.pointee.u32max
      || r.pointee.s32min > r.pointee.s32max
    {
      what = "range bounds violation"
    } else if r.pointee.bits.mask == 0
      && (r.pointee.umin != r.pointee.bits.value || r.pointee.umax != r.pointee.bits.value
        || UInt64(bitPattern: r.pointee.smin) != r.pointee.bits.value
        || UInt64(bitPattern: r.pointee.smax) != r.pointee.bits.value)
    {
      what = "const tnum out of sync with range bounds"
    } else if r.pointee.bits.isSubregisterConstant {
      let low = UInt32(truncatingIfNeeded: r.pointee.bits.value)
      guard r.pointee.u32min != low || r.pointee.u32max != low || UInt32(bitPattern: r.pointee.s32min) != low
        || UInt32(bitPattern: r.pointee.s32max) != low
      else { return }
      what = "const subreg tnum out of sync with range bounds"
    } else {
      return
    }
    try invariantViolated(r, context, what)
  }

  @inline(never) private func invariantViolated(_ r: RegisterRef, _ context: StaticString, _ what: String)
    throws(Refusal)
  {
    func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
    func hex(_ value: Int64) -> String { hex(UInt64(bitPattern: value)) }
    func hex(_ value: UInt32) -> String { hex(UInt64(value)) }
    func hex(_ value: Int32) -> String { hex(UInt64(UInt32(bitPattern: value))) }
    let v = r.pointee
    let message =
      "verifier bug: REG INVARIANTS VIOLATION (\(context)): \(what) u64=[\(hex(v.umin)), \(hex(v.umax))] "
      + "s64=[\(hex(v.smin)), \(hex(v.smax))] u32=[\(hex(v.u32min)), \(hex(v.u32max))] "
      + "s32=[\(hex(v.s32min)), \(hex(v.s32max))] var_off=(\(hex(v.bits.value)), \(hex(v.bits.mask)))\n"
    if testRegisterInvariants { throw refuse(.EFAULT, .invariant, message) }
    print(message)
    r.pointee.markUnbounded()
  }
}
