/// SipHash-2-4, word by word.
struct SipHash {
  struct Key: Sendable {
    let low: UInt64
    let high: UInt64

    static func random() -> Key {
      var generator = SystemRandomNumberGenerator()
      return Key(low: generator.next(), high: generator.next())
    }
  }

  private var v0: UInt64, v1: UInt64, v2: UInt64, v3: UInt64
  private let length: Int

  init(_ key: Key, length: Int) {
    v0 = 0x736f_6d65_7073_6575 ^ key.low
    v1 = 0x646f_7261_6e64_6f6d ^ key.high
    v2 = 0x6c79_6765_6e65_7261 ^ key.low
    v3 = 0x7465_6462_7974_6573 ^ key.high
    self.length = length
  }

  private mutating func round() {
    func rotate(_ value: UInt64, _ by: UInt64) -> UInt64 { value << by | value >> (64 &- by) }
    v0 = v0 &+ v1
    v1 = rotate(v1, 13) ^ v0
    v0 = rotate(v0, 32)
    v2 = v2 &+ v3
    v3 = rotate(v3, 16) ^ v2
    v0 = v0 &+ v3
    v3 = rotate(v3, 21) ^ v0
    v2 = v2 &+ v1
    v1 = rotate(v1, 17) ^ v2
    v2 = rotate(v2, 32)
  }

  mutating func add(_ word: UInt64) {
    v3 ^= word
    round()
    round()
    v0 ^= word
  }

  /// - Parameter rest: bytes behind the last whole word, low byte first.
  mutating func finish(_ rest: UInt64 = 0) -> UInt64 {
    add(UInt64(truncatingIfNeeded: length) << 56 | rest)
    v2 ^= 0xff
    for _ in 0..<4 { round() }
    return v0 ^ v1 ^ v2 ^ v3
  }
}
