extension Tnum {
  /// The smallest tracked number that has every value from `minimum` to `maximum`.
  @inline(__always) static func range(_ minimum: UInt64, _ maximum: UInt64) -> Tnum {
    let differing = minimum ^ maximum
    let width = UInt64.bitWidth - differing.leadingZeroBitCount
    if width > 63 { return .unknown }
    let unknown = (UInt64(1) << UInt64(width)) &- 1
    return Tnum(value: minimum & ~unknown, mask: unknown)
  }

  @inline(__always) func shiftLeft(_ amount: UInt64) -> Tnum {
    Tnum(value: value &<< amount, mask: mask &<< amount)
  }

  @inline(__always) func shiftRight(_ amount: UInt64) -> Tnum {
    Tnum(value: value &>> amount, mask: mask &>> amount)
  }

  @inline(__always) func arithmeticShiftRight(_ amount: UInt64, bits: Int) -> Tnum {
    if bits == 32 {
      let low = Int32(truncatingIfNeeded: value) &>> Int32(truncatingIfNeeded: amount)
      let unknown = Int32(truncatingIfNeeded: mask) &>> Int32(truncatingIfNeeded: amount)
      return Tnum(value: UInt64(UInt32(bitPattern: low)), mask: UInt64(UInt32(bitPattern: unknown)))
    }
    return Tnum(
      value: UInt64(bitPattern: Int64(bitPattern: value) &>> Int64(bitPattern: amount)),
      mask: UInt64(bitPattern: Int64(bitPattern: mask) &>> Int64(bitPattern: amount)))
  }

  @inline(__always) static func + (a: Tnum, b: Tnum) -> Tnum {
    let sum = a.value &+ b.value
    let carried = (a.mask &+ b.mask &+ sum) ^ sum
    let unknown = carried | a.mask | b.mask
    return Tnum(value: sum & ~unknown, mask: unknown)
  }

  @inline(__always) static func - (a: Tnum, b: Tnum) -> Tnum {
    let difference = a.value &- b.value
    let borrowed = (difference &+ a.mask) ^ (difference &- b.mask)
    let unknown = borrowed | a.mask | b.mask
    return Tnum(value: difference & ~unknown, mask: unknown)
  }

  @inline(__always) var negated: Tnum { Tnum(constant: 0) - self }

  @inline(__always) static func & (a: Tnum, b: Tnum) -> Tnum {
    let ones = a.value & b.value
    let possible = (a.value | a.mask) & (b.value | b.mask)
    return Tnum(value: ones, mask: possible & ~ones)
  }

  @inline(__always) static func | (a: Tnum, b: Tnum) -> Tnum {
    let ones = a.value | b.value
    return Tnum(value: ones, mask: (a.mask | b.mask) & ~ones)
  }

  @inline(__always) static func ^ (a: Tnum, b: Tnum) -> Tnum {
    let unknown = a.mask | b.mask
    return Tnum(value: (a.value ^ b.value) & ~unknown, mask: unknown)
  }

  /// Long multiplication, one bit of `a` at a time; an unknown bit may add its part or not.
  static func * (a: Tnum, b: Tnum) -> Tnum {
    var a = a
    var b = b
    var sum = Tnum(constant: 0)
    while a.value | a.mask != 0 {
      if a.value & 1 != 0 {
        sum = sum + b
      } else if a.mask & 1 != 0 {
        sum = sum.union(sum + b)
      }
      a = a.shiftRight(1)
      b = b.shiftLeft(1)
    }
    return sum
  }

  /// Values in both. Where they disagree on a known bit the result is meaningless, as it is in Linux.
  @inline(__always) func intersect(_ other: Tnum) -> Tnum {
    let unknown = mask & other.mask
    return Tnum(value: (value | other.value) & ~unknown, mask: unknown)
  }

  /// Values in either.
  @inline(__always) func union(_ other: Tnum) -> Tnum {
    let unknown = (value ^ other.value) | mask | other.mask
    return Tnum(value: value & other.value & ~unknown, mask: unknown)
  }

  /// Whether some value is in both.
  @inline(__always) func overlaps(_ other: Tnum) -> Bool {
    let known = ~mask & ~other.mask
    return value & known == other.value & known
  }

  /// The low `size` bytes.
  @inline(__always) func cast(size: Int) -> Tnum {
    let keep = size >= 8 ? UInt64.max : (UInt64(1) << UInt64(size * 8)) &- 1
    return Tnum(value: value & keep, mask: mask & keep)
  }

  @inline(__always) var subregister: Tnum { Tnum(value: value & 0xffff_ffff, mask: mask & 0xffff_ffff) }
  @inline(__always) var withoutSubregister: Tnum { Tnum(value: value & ~0xffff_ffff, mask: mask & ~0xffff_ffff) }
  @inline(__always) func withSubregister(_ low: Tnum) -> Tnum { withoutSubregister | low.subregister }
  @inline(__always) func withSubregister(constant: UInt32) -> Tnum {
    withoutSubregister | Tnum(constant: UInt64(constant))
  }
  @inline(__always) var isSubregisterConstant: Bool { mask & 0xffff_ffff == 0 }

  /// Whether every value of `other` is one of this.
  @inline(__always) func contains(_ other: Tnum) -> Bool {
    other.mask & ~mask == 0 && value == other.value & ~mask
  }

  @inline(__always) func isAligned(to size: UInt64) -> Bool {
    size == 0 || (value | mask) & (size &- 1) == 0
  }

  var byteSwapped16: Tnum {
    Tnum(
      value: UInt64(UInt16(truncatingIfNeeded: value).byteSwapped),
      mask: UInt64(UInt16(truncatingIfNeeded: mask).byteSwapped))
  }
  var byteSwapped32: Tnum {
    Tnum(
      value: UInt64(UInt32(truncatingIfNeeded: value).byteSwapped),
      mask: UInt64(UInt32(truncatingIfNeeded: mask).byteSwapped))
  }
  var byteSwapped64: Tnum { Tnum(value: value.byteSwapped, mask: mask.byteSwapped) }

  /// The smallest value greater than `z`; the greatest value where none is.
  @inline(__always) func next(after z: UInt64) -> UInt64 {
    let greatest = value | mask
    if z >= greatest { return greatest }
    if z < value { return value }
    let candidate = value | (z & mask)
    if candidate > z {
      // A known one where z has a zero lifts the candidate over z: below it every unknown bit may be zero.
      let raised = ~z & value & ~mask
      let high = Self.maskAbove(raised)
      return (high & z) | (~high & value)
    }
    // z lies above every candidate of its prefix: step the unknown bits above the highest known zero.
    let lowered = z & ~value & ~mask
    let high = Self.maskAbove(lowered)
    let prefix = (high & mask & z) | (high & ~mask)
    return ((prefix &+ Self.bit(above: lowered)) & mask) | value
  }

  /// Bits above the highest one of `x`.
  @inline(__always) private static func maskAbove(_ x: UInt64) -> UInt64 {
    let width = UInt64.bitWidth - x.leadingZeroBitCount
    return width > 63 ? 0 : UInt64.max << UInt64(width)
  }

  @inline(__always) private static func bit(above x: UInt64) -> UInt64 {
    let width = UInt64.bitWidth - x.leadingZeroBitCount
    return width > 63 ? 0 : 1 << UInt64(width)
  }
}
