/// Truncation and extension of values.
extension RegisterState {
  /// The upper half becomes zero.
  @inline(__always) mutating func zeroExtend32() {
    bits = bits.subregister
    assign32Into64()
  }

  /// Only the low `size` bytes stay, zero-extended.
  mutating func coerce(toSize size: Int) {
    bits = bits.cast(size: size)
    let keep: UInt64 = size >= 8 ? .max : (1 << UInt64(size * 8)) &- 1
    if umin & ~keep == umax & ~keep {
      umin &= keep
      umax &= keep
    } else {
      umin = 0
      umax = keep
    }
    smin = Int64(bitPattern: umin)
    smax = Int64(bitPattern: umax)
    if size < 4 { markUnbounded32() }
    sync()
  }

  @inline(__always) private static func extend(_ value: Int64, _ size: Int) -> Int64 {
    switch size {
    case 1: Int64(Int8(truncatingIfNeeded: value))
    case 2: Int64(Int16(truncatingIfNeeded: value))
    default: Int64(Int32(truncatingIfNeeded: value))
    }
  }

  @inline(__always) private static func signedLimits(_ size: Int) -> (Int64, Int64) {
    switch size {
    case 1: (Int64(Int8.min), Int64(Int8.max))
    case 2: (Int64(Int16.min), Int64(Int16.max))
    default: (Int64(Int32.min), Int64(Int32.max))
    }
  }

  /// The low `size` bytes, sign-extended to 64 bits.
  mutating func signExtend64(fromSize size: Int) {
    if bits.mask == 0 {
      let value = Self.extend(Int64(bitPattern: bits.value), size)
      setKnownBounds(UInt64(bitPattern: value))
      return
    }
    let width = UInt64(size * 8)
    if UInt64(bitPattern: smax) &>> width == UInt64(bitPattern: smin) &>> width {
      let first = Self.extend(smax, size)
      let second = Self.extend(smin, size)
      let high = max(first, second)
      let low = min(first, second)
      if (high >= 0) == (low >= 0) {
        smin = low
        smax = high
        s32min = Int32(truncatingIfNeeded: low)
        s32max = Int32(truncatingIfNeeded: high)
        umin = UInt64(bitPattern: low)
        umax = UInt64(bitPattern: high)
        u32min = UInt32(truncatingIfNeeded: low)
        u32max = UInt32(truncatingIfNeeded: high)
        bits = .range(umin, umax)
        return
      }
    }
    let (low, high) = Self.signedLimits(size)
    smin = low
    smax = high
    s32min = Int32(truncatingIfNeeded: low)
    s32max = Int32(truncatingIfNeeded: high)
    umin = 0
    u32min = 0
    umax = .max
    u32max = .max
    bits = .unknown
  }

  /// The low `size` bytes (one or two), sign-extended to 32 bits; the upper half is not touched.
  mutating func signExtend32(fromSize size: Int) {
    if bits.mask == 0 {
      let value = Self.extend(Int64(bitPattern: bits.value), size)
      bits = Tnum(constant: UInt64(bitPattern: value))
      s32min = Int32(truncatingIfNeeded: value)
      s32max = s32min
      u32min = UInt32(truncatingIfNeeded: value)
      u32max = u32min
      return
    }
    let width = UInt32(size * 8)
    if UInt32(bitPattern: s32max) &>> width == UInt32(bitPattern: s32min) &>> width {
      let first = Self.extend(Int64(s32max), size)
      let second = Self.extend(Int64(s32min), size)
      let high = max(first, second)
      let low = min(first, second)
      if (high >= 0) == (low >= 0) {
        s32min = Int32(truncatingIfNeeded: low)
        s32max = Int32(truncatingIfNeeded: high)
        u32min = UInt32(bitPattern: s32min)
        u32max = UInt32(bitPattern: s32max)
        bits = Tnum.range(UInt64(bitPattern: low), UInt64(bitPattern: high)).subregister
        return
      }
    }
    let (low, high) = Self.signedLimits(size)
    s32min = Int32(truncatingIfNeeded: low)
    s32max = Int32(truncatingIfNeeded: high)
    u32min = 0
    u32max = .max
    bits = Tnum.unknown.subregister
  }
}
