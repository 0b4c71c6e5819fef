/// The Internet checksum (RFC 1071), in the forms that packets and sums in registers have it.
///
/// Sums are of 32 bits with end-around carry, as the kernel keeps them; zero only where everything summed is zero.
enum InternetChecksum {
  /// The sum of `length` bytes, added to `sum`.
  static func partial(_ bytes: UnsafeRawPointer, _ length: Int, _ sum: UInt32) -> UInt32 {
    var total = UInt64(sum)
    var offset = 0
    while offset &+ 4 <= length {
      total &+= UInt64(bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      offset &+= 4
    }
    if offset < length {
      var rest: UInt32 = 0
      for place in offset..<length {
        rest |= UInt32(bytes.load(fromByteOffset: place, as: UInt8.self)) << UInt32((place &- offset) &* 8)
      }
      total &+= UInt64(rest)
    }
    total = (total & 0xffff_ffff) &+ (total >> 32)
    total = (total & 0xffff_ffff) &+ (total >> 32)
    return UInt32(truncatingIfNeeded: total)
  }

  @inline(__always) static func add(_ a: UInt32, _ b: UInt32) -> UInt32 {
    let sum = a &+ b
    return sum &+ (sum < b ? 1 : 0)
  }

  @inline(__always) static func subtract(_ a: UInt32, _ b: UInt32) -> UInt32 { add(a, ~b) }

  /// 16 bits, without the complement.
  @inline(__always) static func folded(_ sum: UInt32) -> UInt16 {
    UInt16(truncatingIfNeeded: (sum &+ (sum >> 16 | sum << 16)) >> 16)
  }

  /// What stands in a header: folded and complemented.
  @inline(__always) static func header(_ sum: UInt32) -> UInt16 {
    UInt16(truncatingIfNeeded: (~sum &- (sum >> 16 | sum << 16)) >> 16)
  }

  @inline(__always) static func add16(_ a: UInt16, _ b: UInt16) -> UInt16 {
    let sum = a &+ b
    return sum &+ (sum < b ? 1 : 0)
  }

  /// A sum of bytes that begin at an odd offset of what they are added to.
  @inline(__always) static func shifted(_ sum: UInt32, _ offset: Int) -> UInt32 {
    offset & 1 == 0 ? sum : sum >> 8 | sum << 24
  }

  /// A header's checksum after two bytes of what it covers changed (RFC 1624).
  static func replacing2(_ old: UInt16, _ from: UInt16, _ to: UInt16) -> UInt16 {
    ~add16(add16(~old, ~from), to)
  }

  /// The same after four bytes changed.
  static func replacing4(_ old: UInt16, _ from: UInt32, _ to: UInt32) -> UInt16 {
    header(add(subtract(~UInt32(old), from), to))
  }

  /// The same after what it covers changed by a sum.
  static func replacing(_ old: UInt16, by difference: UInt32) -> UInt16 {
    header(add(difference, ~UInt32(old)))
  }
}
