/// SplitMix64: the same numbers for the same seed, everywhere.
struct RandomNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// 0 ..< limit.
  mutating func below(_ limit: Int) -> Int { Int(truncatingIfNeeded: next() % UInt64(limit)) }
  mutating func chance(_ one: Int, in all: Int) -> Bool { below(all) < one }
  mutating func pick<T>(_ items: [T]) -> T { items[below(items.count)] }

  /// A value of the kind that breaks arithmetic: small, or near where a sign or a width changes, or anything.
  mutating func interesting() -> UInt64 {
    let near = UInt64(bitPattern: Int64(below(9) - 4))
    switch below(10) {
    case 0, 1: return near
    case 2: return UInt64(below(256))
    case 3: return 1 << 31 &+ near
    case 4: return 1 << 32 &+ near
    case 5: return 1 << 63 &+ near
    case 6: return (0xffff_ffff_8000_0000 as UInt64) &+ near
    case 7: return (1 << UInt64(below(64))) &+ near
    case 8: return next() >> UInt64(below(64))
    default: return next()
    }
  }
}
