import BPFLinux

/// The conversions that `bpf_snprintf` and its like understand.
enum FormatString {
  // As Linux classifies characters: the upper half is Latin-1.
  private static func isSpace(_ c: UInt8) -> Bool { c == 0x20 || (c >= 0x09 && c <= 0x0d) || c == 0xa0 }
  private static func isPrintable(_ c: UInt8) -> Bool { c >= 0x20 && c < 0x7f }
  private static func isDigit(_ c: UInt8) -> Bool { c >= UInt8(ascii: "0") && c <= UInt8(ascii: "9") }

  private static func isPunctuation(_ c: UInt8) -> Bool {
    switch c {
    case 0x21...0x2f, 0x3a...0x40, 0x5b...0x60, 0x7b...0x7e, 0xa1...0xbf, 0xd7, 0xf7: true
    default: false
    }
  }

  /// What may follow a conversion that takes no more characters.
  private static func endsConversion(_ c: UInt8) -> Bool { c == 0 || isSpace(c) || isPunctuation(c) }

  /// Whether `text`, which ends where the zero byte would be, is a format for `arguments` values or fewer.
  static func isValid(_ text: ArraySlice<UInt8>, arguments: UInt64) -> Bool {
    let end = text.endIndex
    func at(_ index: Int) -> UInt8 { index < end ? text[index] : 0 }
    var index = text.startIndex
    var conversions: UInt64 = 0
    while index < end {
      let c = at(index)
      guard c >= 0x80 || isPrintable(c) || isSpace(c) else { return false }
      guard c == UInt8(ascii: "%") else {
        index += 1
        continue
      }
      if at(index + 1) == UInt8(ascii: "%") {
        index += 2
        continue
      }
      guard conversions < arguments else { return false }
      index += 1
      skipWidth(&index, at)
      guard let last = conversionEnd(index, at) else { return false }
      conversions += 1
      index = last + 1
    }
    return true
  }

  private static func skipWidth(_ index: inout Int, _ at: (Int) -> UInt8) {
    while [UInt8(ascii: "0"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: " ")].contains(at(index)) {
      index += 1
    }
    while isDigit(at(index)) { index += 1 }
  }

  /// Index of the last character of the conversion that begins at `start`; nil where there is no such conversion.
  private static func conversionEnd(_ start: Int, _ at: (Int) -> UInt8) -> Int? {
    switch at(start) {
    case UInt8(ascii: "p"):
      return pointerEnd(start, at)
    case UInt8(ascii: "s"):
      return endsConversion(at(start + 1)) ? start : nil
    case UInt8(ascii: "c"):
      return start
    default:
      var index = start
      for _ in 0..<2 where at(index) == UInt8(ascii: "l") { index += 1 }
      switch at(index) {
      case UInt8(ascii: "i"), UInt8(ascii: "d"), UInt8(ascii: "u"), UInt8(ascii: "x"), UInt8(ascii: "X"): return index
      default: return nil
      }
    }
  }

  /// `%p` and its extensions: addresses, symbols, strings in the kernel or a process, network addresses.
  private static func pointerEnd(_ start: Int, _ at: (Int) -> UInt8) -> Int? {
    let first = at(start + 1)
    let second = at(start + 2)
    if endsConversion(first) { return start }
    if (first == UInt8(ascii: "k") || first == UInt8(ascii: "u")) && second == UInt8(ascii: "s") {
      return endsConversion(at(start + 3)) ? start + 2 : nil
    }
    switch first {
    case UInt8(ascii: "K"), UInt8(ascii: "x"), UInt8(ascii: "s"), UInt8(ascii: "S"), UInt8(ascii: "B"):
      return start + 1
    case UInt8(ascii: "i"), UInt8(ascii: "I"):
      return second == UInt8(ascii: "4") || second == UInt8(ascii: "6") ? start + 2 : nil
    default:
      return nil
    }
  }
}

extension Verification {
  /// `bpf_snprintf`: the format, in read-only memory, must be one for as many values as are passed.
  func checkFormattedPrint() throws(Refusal) {
    let format = register(3)
    let dataLength = register(5).pointee.bits.value
    guard dataLength % 8 == 0 else { throw Refusal(errno: .EINVAL, category: .invalidArgument) }
    let map = format.pointee.map
    let offset = Int(
      Int32(truncatingIfNeeded: Int64(format.pointee.offset) &+ Int64(bitPattern: format.pointee.bits.value)))
    guard offset >= 0, offset < Int(maps[map].definition.valueSize), maps[map].definition.maxEntries == 1 else {
      throw refuse(.EFAULT, .mapBounds, "failed to retrieve map value address\n")
    }
    // What was not given of the value is zero, and so the end of the text.
    let contents = maps[map].definition.initialValue
    let text: ArraySlice<UInt8> = offset < contents.count ? contents[offset...].prefix { $0 != 0 } : []
    guard FormatString.isValid(text, arguments: UInt64(UInt32(truncatingIfNeeded: dataLength / 8))) else {
      throw refuse(.EINVAL, .invalidArgument, "Invalid format string\n")
    }
  }
}
