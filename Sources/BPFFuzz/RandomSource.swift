/// Pseudo-random numbers, the same for the same seed everywhere (xoshiro256**, seeded by SplitMix64).
public struct RandomSource: Sendable {
  private var a: UInt64
  private var b: UInt64
  private var c: UInt64
  private var d: UInt64

  public init(seed: UInt64) {
    var mixer = seed
    a = RandomSource.splitMix(&mixer)
    b = RandomSource.splitMix(&mixer)
    c = RandomSource.splitMix(&mixer)
    d = RandomSource.splitMix(&mixer)
  }

  /// The seed of program `index` of a run.
  public static func seed(of index: Int, run: UInt64) -> UInt64 {
    var mixer = run &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(truncatingIfNeeded: index)
    return splitMix(&mixer)
  }

  private static func splitMix(_ state: inout UInt64) -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }

  public mutating func next() -> UInt64 {
    let product = b &* 5
    let result = (product << 7 | product >> 57) &* 9
    let shifted = b << 17
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d = d << 45 | d >> 19
    return result
  }

  /// From 0 up to, and without, `bound`; 0 where there is nothing to choose from.
  mutating func below(_ bound: Int) -> Int {
    guard bound > 1 else { return 0 }
    return Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
  }

  mutating func within(_ range: ClosedRange<Int>) -> Int {
    range.lowerBound + below(range.upperBound - range.lowerBound + 1)
  }

  /// True `percent` times out of a hundred.
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

  mutating func pick<Element>(_ choices: [Element], or standard: Element) -> Element {
    choices.isEmpty ? standard : choices[below(choices.count)]
  }
}
