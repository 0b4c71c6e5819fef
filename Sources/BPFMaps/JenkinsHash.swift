/// Bob Jenkins's lookup3 hash as Linux has it: what a bloom filter and the numbers of stack traces are made of.
enum JenkinsHash {
  private static let start: UInt32 = 0xdead_beef

  @inline(__always)
  private static func rotate(_ word: UInt32, _ by: UInt32) -> UInt32 { word << by | word >> (32 &- by) }

  @inline(__always)
  private static func mix(_ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32) {
    a = (a &- c) ^ rotate(c, 4)
    c = c &+ b
    b = (b &- a) ^ rotate(a, 6)
    a = a &+ c
    c = (c &- b) ^ rotate(b, 8)
    b = b &+ a
    a = (a &- c) ^ rotate(c, 16)
    c = c &+ b
    b = (b &- a) ^ rotate(a, 19)
    a = a &+ c
    c = (c &- b) ^ rotate(b, 4)
    b = b &+ a
  }

  @inline(__always)
  private static func finish(_ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32) {
    c = (c ^ b) &- rotate(b, 14)
    a = (a ^ c) &- rotate(c, 11)
    b = (b ^ a) &- rotate(a, 25)
    c = (c ^ b) &- rotate(b, 16)
    a = (a ^ c) &- rotate(c, 4)
    b = (b ^ a) &- rotate(a, 14)
    c = (c ^ b) &- rotate(b, 24)
  }

  /// Of whole words.
  static func words(_ key: UnsafeRawPointer, count: Int, seed: UInt32) -> UInt32 {
    let initial = start &+ UInt32(truncatingIfNeeded: count) << 2 &+ seed
    var (a, b, c) = (initial, initial, initial)
    var offset = 0
    var left = count
    func word(_ index: Int) -> UInt32 { key.loadUnaligned(fromByteOffset: offset &+ index &* 4, as: UInt32.self) }
    while left > 3 {
      a = a &+ word(0)
      b = b &+ word(1)
      c = c &+ word(2)
      mix(&a, &b, &c)
      left &-= 3
      offset &+= 12
    }
    if left == 0 { return c }
    if left >= 3 { c = c &+ word(2) }
    if left >= 2 { b = b &+ word(1) }
    a = a &+ word(0)
    finish(&a, &b, &c)
    return c
  }

  /// Of any bytes.
  static func bytes(_ key: UnsafeRawPointer, count: Int, seed: UInt32) -> UInt32 {
    let initial = start &+ UInt32(truncatingIfNeeded: count) &+ seed
    var (a, b, c) = (initial, initial, initial)
    var offset = 0
    var left = count
    while left > 12 {
      a = a &+ key.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      b = b &+ key.loadUnaligned(fromByteOffset: offset &+ 4, as: UInt32.self)
      c = c &+ key.loadUnaligned(fromByteOffset: offset &+ 8, as: UInt32.self)
      mix(&a, &b, &c)
      left &-= 12
      offset &+= 12
    }
    if left == 0 { return c }
    for index in 0..<left {
      let byte = UInt32(key.load(fromByteOffset: offset &+ index, as: UInt8.self)) << UInt32(8 &* (index & 3))
      switch index >> 2 {
      case 0: a = a &+ byte
      case 1: b = b &+ byte
      default: c = c &+ byte
      }
    }
    finish(&a, &b, &c)
    return c
  }

  /// As the map types choose between the two.
  static func value(_ value: UnsafeRawPointer, size: Int, seed: UInt32) -> UInt32 {
    size % 4 == 0 ? words(value, count: size / 4, seed: seed) : bytes(value, count: size, seed: seed)
  }
}
