/// The verifier's log: UTF-8 text of which the caller's buffer keeps a window.
///
/// Positions count every byte ever written, those that no longer fit included, so that a reset goes back to the same
/// place whatever the size of the buffer. As in Linux, one byte of the buffer belongs to the terminating zero. By
/// default the buffer keeps the end of the text; with level bit 8 it keeps the beginning.
struct VerifierLog {
  let level: UInt32
  private var limit: UInt64
  /// Level bit 8: what does not fit is dropped, and the beginning stays.
  private let keepsBeginning: Bool
  /// The text from `base` on. Only this module's log writers append to it.
  var bytes: [UInt8] = []
  /// Position of the first byte in `bytes`.
  private var base: UInt64 = 0
  /// Bytes that were written behind `bytes` and did not fit (`keepsBeginning`).
  private var dropped: UInt64 = 0
  /// Where the window begins.
  private var start: UInt64 = 0
  private var longest: UInt64 = 0

  /// How many bytes may pile up before the window is brought up to date.
  private static let slack = 1 << 16

  init(level: UInt32, limit: Int) {
    self.level = level
    self.limit = UInt64(max(0, limit))
    keepsBeginning = level & 8 != 0
  }

  /// One past the last byte written.
  @inline(__always) var endPosition: UInt64 { base &+ UInt64(bytes.count) &+ dropped }

  mutating func append(_ text: String) {
    var text = text
    text.withUTF8 { bytes.append(contentsOf: $0) }
    settleIfLong()
  }

  mutating func append(_ more: some Collection<UInt8>) {
    bytes.append(contentsOf: more)
    settleIfLong()
  }

  /// Forgets everything from `position` on.
  mutating func reset(to position: UInt64) {
    settle()
    guard position <= endPosition else { return }
    if position <= base {
      bytes.removeAll(keepingCapacity: true)
      base = position
      dropped = 0
    } else {
      let kept = position &- base
      if kept <= UInt64(bytes.count) {
        bytes.removeLast(bytes.count - Int(kept))
        dropped = 0
      } else {
        dropped = kept &- UInt64(bytes.count)
      }
    }
    start = min(start, position)
  }

  /// Gives up some of the window, where the text does not fit it anyway.
  mutating func leaveRoom(for count: Int) {
    guard count > 0, !keepsBeginning, endPosition &+ 1 > limit, limit > UInt64(count) else { return }
    limit -= UInt64(count)
  }

  /// What the caller's buffer would hold, without the terminating zero.
  var contents: [UInt8] {
    guard limit > 0 else { return [] }
    if keepsBeginning { return Array(bytes.prefix(Int(clamping: limit - 1))) }
    let first = windowStart
    if first <= base { return bytes }
    guard first < endPosition else { return [] }
    return Array(bytes[Int(first &- base)...])
  }

  /// Bytes of buffer, the terminating zero included, that would have held the log at its longest (`log_true_size`).
  var requiredSize: UInt32 { UInt32(clamping: max(longest, endPosition &+ 1)) }

  private var windowStart: UInt64 {
    let end = endPosition &+ 1
    return end &- start >= limit ? end &- limit : start
  }

  @inline(__always) mutating func settleIfLong() {
    if bytes.count > Self.slack { settleLong() }
  }

  @inline(never) private mutating func settleLong() {
    if UInt64(bytes.count) / 2 > limit { settle() }
  }

  /// Brings the window up to date and lets go of bytes that left it.
  private mutating func settle() {
    longest = max(longest, endPosition &+ 1)
    if keepsBeginning {
      let excess = UInt64(bytes.count) > limit ? bytes.count - Int(limit) : 0
      bytes.removeLast(excess)
      dropped &+= UInt64(excess)
      return
    }
    start = windowStart
    if start > base && UInt64(bytes.count) / 2 > limit {
      let gone = min(start &- base, UInt64(bytes.count))
      bytes.removeFirst(Int(gone))
      base &+= gone
    }
  }
}

// MARK: parts of text

extension VerifierLog {
  @inline(__always) mutating func put(_ text: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  @inline(__always) mutating func put(byte: UInt8) { bytes.append(byte) }

  mutating func put(_ text: String) {
    var text = text
    text.withUTF8 { bytes.append(contentsOf: $0) }
  }

  mutating func put(decimal value: UInt64) {
    var divisor: UInt64 = 1
    while value / divisor >= 10 { divisor &*= 10 }
    var rest = value
    while divisor > 0 {
      bytes.append(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest / divisor))
      rest %= divisor
      divisor /= 10
    }
  }

  mutating func put(decimal value: Int) {
    if value < 0 { bytes.append(UInt8(ascii: "-")) }
    put(decimal: UInt64(value.magnitude))
  }

  /// `%d` of a 32-bit number, whatever its declared sign.
  mutating func put(int32 value: UInt32) { put(decimal: Int(Int32(bitPattern: value))) }

  /// `%3d`.
  mutating func put(decimal value: Int, width: Int) {
    let text = "\(value)"
    for _ in 0..<max(0, width - text.utf8.count) { bytes.append(UInt8(ascii: " ")) }
    put(text)
  }

  /// `%#llx` as the kernel prints it: zero has its prefix too.
  mutating func put(hexadecimal value: UInt64) {
    put("0x")
    var shift = max(0, 63 - value.leadingZeroBitCount) & ~3
    while shift >= 0 {
      let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 0xf
      bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") - 10 + digit)
      shift -= 4
    }
  }

  /// Small numbers in decimal, others in hexadecimal.
  mutating func put(unsigned value: UInt64) {
    if value <= UInt64(UInt16.max) { put(decimal: value) } else { put(hexadecimal: value) }
  }

  mutating func put(signed value: Int64) {
    if value.isShort { put(decimal: Int(value)) } else { put(hexadecimal: UInt64(bitPattern: value)) }
  }

  mutating func put(_ bits: Tnum) {
    if bits.mask == 0 {
      put(unsigned: bits.value)
      return
    }
    put(byte: UInt8(ascii: "("))
    put(hexadecimal: bits.value)
    put("; ")
    put(hexadecimal: bits.mask)
    put(byte: UInt8(ascii: ")"))
  }
}

extension Int64 {
  /// Printed in decimal.
  @inline(__always) var isShort: Bool { self >= Int64(Int16.min) && self <= Int64(Int16.max) }
}
