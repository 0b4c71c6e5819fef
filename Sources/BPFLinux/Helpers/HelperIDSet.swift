/// A set of helpers: one bit a number.
public struct HelperIDSet: BitwiseCopyable, Hashable, Sendable, ExpressibleByArrayLiteral {
  private var low: UInt128 = 0
  private var high: UInt128 = 0

  public init(arrayLiteral helpers: HelperID...) {
    for helper in helpers { insert(helper) }
  }

  public func contains(_ helper: HelperID) -> Bool {
    guard helper.rawValue >= 0, helper.rawValue < HelperID.end else { return false }
    return helper.rawValue < 128
      ? low & (1 << UInt128(helper.rawValue)) != 0 : high & (1 << UInt128(helper.rawValue - 128)) != 0
  }

  public mutating func insert(_ helper: HelperID) {
    guard helper.rawValue >= 0, helper.rawValue < HelperID.end else { return }
    if helper.rawValue < 128 {
      low |= 1 << UInt128(helper.rawValue)
    } else {
      high |= 1 << UInt128(helper.rawValue - 128)
    }
  }

  public mutating func formUnion(_ other: HelperIDSet) {
    low |= other.low
    high |= other.high
  }

  public mutating func subtract(_ other: HelperIDSet) {
    low &= ~other.low
    high &= ~other.high
  }

  public func union(_ other: HelperIDSet) -> HelperIDSet {
    var result = self
    result.formUnion(other)
    return result
  }
}
