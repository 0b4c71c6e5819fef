// Writing text as UTF-8 bytes into a growing buffer, without `String` in between. Instruction text is the bulk of a
// log at level 2 (a million lines for one program is ordinary).

extension [UInt8] {
  @inline(__always)
  mutating func put(_ text: StaticString) {
    append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  @inline(__always)
  mutating func put(_ text: String) {
    var text = text
    text.withUTF8 { append(contentsOf: $0) }
  }

  mutating func put(decimal value: UInt64) {
    if value < 10 {
      append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value))
      return
    }
    var unit: UInt64 = 10
    while value / unit >= 10 { unit *= 10 }
    var rest = value
    while unit != 0 {
      let (digit, remainder) = rest.quotientAndRemainder(dividingBy: unit)
      append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit))
      rest = remainder
      unit /= 10
    }
  }

  mutating func put(decimal value: Int) {
    if value < 0 { append(UInt8(ascii: "-")) }
    put(decimal: UInt64(value.magnitude))
  }

  /// With a sign always, as `%+d` prints.
  mutating func put(signed value: Int) {
    append(value < 0 ? UInt8(ascii: "-") : UInt8(ascii: "+"))
    put(decimal: UInt64(value.magnitude))
  }

  /// With `0x` in front, without leading zeros, as `0x%llx` prints.
  mutating func put(hexadecimal value: UInt64) {
    put("0x")
    var shift = Swift.max(0, (63 - value.leadingZeroBitCount) & ~3)
    while shift >= 0 {
      append(hexDigit(UInt8(truncatingIfNeeded: value >> UInt64(shift)) & 0xf))
      shift -= 4
    }
  }

  /// Two digits, as `%02x` prints.
  mutating func put(hexByte value: UInt8) {
    append(hexDigit(value >> 4))
    append(hexDigit(value & 0xf))
  }
}

@inline(__always)
private func hexDigit(_ value: UInt8) -> UInt8 {
  value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") - 10 + value
}
