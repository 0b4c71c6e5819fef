/// A tracked number: which bits of a 64-bit value are known, and what they are.
///
/// A bit set in `mask` is unknown; otherwise the bit of `value` is the value's.
struct Tnum: BitwiseCopyable, Equatable {
  var value: UInt64
  var mask: UInt64

  @inline(__always) init(value: UInt64, mask: UInt64) {
    self.value = value
    self.mask = mask
  }

  @inline(__always) init(constant: UInt64) {
    value = constant
    mask = 0
  }

  @inline(__always) static var unknown: Tnum { Tnum(value: 0, mask: .max) }
  @inline(__always) var isConstant: Bool { mask == 0 }
  @inline(__always) var isUnknown: Bool { value == 0 && mask == .max }
}
