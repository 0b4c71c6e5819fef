/// The format strings of `bpf_trace_printk`, `bpf_snprintf` and their like: what they may say, and what becomes of the
/// arguments.
///
/// As in the kernel this is done twice over. First the string is checked and the arguments are packed one behind the
/// other, strings and addresses already as text; this is where errors come from, and where everything must fit into
/// 512 bytes. `FormatPrinter` then goes over the string again with what was packed.
struct FormatArguments {
  static let capacity = 512
  /// At most that many arguments.
  static let limit = 12

  private let format: UnsafePointer<UInt8>
  private let arguments: UnsafeRawPointer
  private let count: Int
  private let packed: UnsafeMutablePointer<UInt8>
  private var used = 0
  private var taken = 0

  /// - Parameters:
  ///   - format: ends with a 0 within `length` bytes, or there is an error.
  ///   - arguments: `count` values of 64 bits.
  ///   - packed: room for `capacity` bytes.
  init(
    _ format: UnsafePointer<UInt8>, arguments: UnsafeRawPointer, count: Int, into packed: UnsafeMutablePointer<UInt8>
  ) {
    self.format = format
    self.arguments = arguments
    self.count = count
    self.packed = packed
  }

  /// 0, or a negative error number.
  mutating func pack(length: Int) -> Int32 {
    var end = 0
    while end < length, format[end] != 0 { end &+= 1 }
    guard end < length else { return Failure.EINVAL }
    var at = 0
    while at < end {
      let byte = format[at]
      // Text may be UTF-8.
      guard byte.isPrintable || byte.isSpace || byte >= 0x80 else { return Failure.EINVAL }
      if byte == ASCII.percent {
        if format[at &+ 1] == ASCII.percent {
          at &+= 1
        } else {
          let error = packOne(&at)
          if error != 0 { return error }
        }
      }
      at &+= 1
    }
    return 0
  }

  private var argument: UInt64 { arguments.loadUnaligned(fromByteOffset: taken &* 8, as: UInt64.self) }
  private var room: Int { Self.capacity &- used }

  /// At the percent sign; afterwards at the last character of the conversion.
  private mutating func packOne(_ at: inout Int) -> Int32 {
    guard taken < count else { return Failure.EINVAL }
    at &+= 1
    while [ASCII.zero, ASCII.plus, ASCII.minus, ASCII.space].contains(format[at]) { at &+= 1 }
    if format[at] >= ASCII.one && format[at] <= ASCII.nine {
      while format[at].isDigit { at &+= 1 }
    }
    switch format[at] {
    case UInt8(ascii: "p"): return packPointer(&at)
    case UInt8(ascii: "s"): return packString(at, ofUser: false)
    case UInt8(ascii: "c"):
      guard room > 0 else { return Failure.ENOSPC }
      packed[used] = UInt8(truncatingIfNeeded: argument)
      used &+= 1
      taken &+= 1
      return 0
    default: return packNumber(&at)
    }
  }

  private mutating func packNumber(_ at: inout Int) -> Int32 {
    var size = 4
    for _ in 0..<2 where format[at] == UInt8(ascii: "l") {
      size = 8
      at &+= 1
    }
    switch format[at] {
    case UInt8(ascii: "i"), UInt8(ascii: "d"), UInt8(ascii: "u"), UInt8(ascii: "x"), UInt8(ascii: "X"):
      return packWord(size)
    default: return Failure.EINVAL
    }
  }

  private mutating func packWord(_ size: Int) -> Int32 {
    used = (used &+ 3) & ~3
    guard room >= size else { return Failure.ENOSPC }
    let place = UnsafeMutableRawPointer(packed + used)
    if size == 8 {
      place.copyMemory(from: arguments + taken &* 8, byteCount: 8)
    } else {
      place.copyMemory(from: arguments + taken &* 8, byteCount: 4)
    }
    used &+= size
    taken &+= 1
    return 0
  }

  private mutating func packPointer(_ at: inout Int) -> Int32 {
    let kind = format[at &+ 1]
    if kind == 0 || kind.isSpace || kind.isPunctuation { return packWord(8) }
    if kind == UInt8(ascii: "k") || kind == UInt8(ascii: "u"), format[at &+ 2] == UInt8(ascii: "s") {
      at &+= 2
      return packString(at, ofUser: kind == UInt8(ascii: "u"))
    }
    switch kind {
    case UInt8(ascii: "K"), UInt8(ascii: "x"), UInt8(ascii: "s"), UInt8(ascii: "S"):
      at &+= 1
      return packWord(8)
    case UInt8(ascii: "B"):
      at &+= 1
      let value = argument
      return packText { HexText.symbol($0, of: value) }
    case UInt8(ascii: "i"), UInt8(ascii: "I"):
      let version = format[at &+ 2]
      guard version == UInt8(ascii: "4") || version == UInt8(ascii: "6") else { return Failure.EINVAL }
      at &+= 2
      return packAddress(isIPv4: version == UInt8(ascii: "4"), isPlain: kind == UInt8(ascii: "i"))
    default: return Failure.EINVAL
    }
  }

  private mutating func packAddress(isIPv4: Bool, isPlain: Bool) -> Int32 {
    let size = isIPv4 ? 4 : 16
    guard room >= size else { return Failure.ENOSPC }
    let source = argument
    return packText { text in
      withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bytes in
        guard let base = bytes.baseAddress else { return 0 }
        if FaultSafeMemory.readKernel(base, source, size) != 0 { clear(base, size) }
        let octets = UnsafeRawPointer(base).assumingMemoryBound(to: UInt8.self)
        return isIPv4
          ? HexText.ipv4(text, octets, isPadded: isPlain) : HexText.ipv6(text, octets, hasColons: !isPlain)
      }
    }
  }

  /// Text of at most 64 bytes that `body` writes; what does not fit is cut off, and the 0 behind it counts.
  private mutating func packText(_ body: (UnsafeMutablePointer<UInt8>) -> Int) -> Int32 {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { text in
      guard let base = text.baseAddress else { return Failure.ENOMEM }
      let length = body(base)
      let fits = max(0, min(length, room &- 1))
      for index in 0..<fits { packed[used &+ index] = base[index] }
      if room > 0 { packed[used &+ fits] = 0 }
      // Past the end there is no room for anything that may follow.
      used = min(Self.capacity, used &+ length &+ 1)
      taken &+= 1
      return 0
    }
  }

  private mutating func packString(_ at: Int, ofUser: Bool) -> Int32 {
    let next = format[at &+ 1]
    guard next == 0 || next.isSpace || next.isPunctuation else { return Failure.EINVAL }
    guard room > 0 else { return Failure.ENOSPC }
    packed[used] = 0
    var length = ofUser
      ? FaultSafeMemory.readUserString(packed + used, argument, room)
      : FaultSafeMemory.readKernelString(packed + used, argument, room)
    if length < 0 {
      packed[used] = 0
      length = 1
    }
    used &+= Int(length)
    taken &+= 1
    return 0
  }
}

/// Names of characters that format strings are made of.
enum ASCII {
  static let percent = UInt8(ascii: "%")
  static let zero = UInt8(ascii: "0")
  static let one = UInt8(ascii: "1")
  static let nine = UInt8(ascii: "9")
  static let plus = UInt8(ascii: "+")
  static let minus = UInt8(ascii: "-")
  static let space = UInt8(ascii: " ")
}

/// Classes of characters as the kernel has them: of Latin-1.
extension UInt8 {
  @inline(__always) var isPrintable: Bool { self >= 0x20 && self < 0x7f }
  @inline(__always) var isSpace: Bool { self == 0x20 || (self >= 9 && self <= 13) || self == 0xa0 }
  @inline(__always) var isDigit: Bool { self >= 0x30 && self <= 0x39 }
  @inline(__always) var isLetter: Bool {
    if self < 0x80 { return (self | 0x20) >= 0x61 && (self | 0x20) <= 0x7a }
    return self >= 0xc0 && self != 0xd7 && self != 0xf7
  }
  @inline(__always) var isPunctuation: Bool {
    if self < 0x80 { return self > 0x20 && self < 0x7f && !isDigit && !isLetter }
    return self > 0xa0 && !isLetter
  }
  @inline(__always) var lowercased: UInt8 {
    (self >= 0x41 && self <= 0x5a) || (self >= 0xc0 && self <= 0xde && self != 0xd7) ? self | 0x20 : self
  }
}

/// Addresses as text.
enum HexText {
  private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 &+ value : 0x57 &+ value }

  /// Where the kernel would name a symbol: there is none, so the address itself.
  static func symbol(_ text: UnsafeMutablePointer<UInt8>, of address: UInt64) -> Int {
    text[0] = ASCII.zero
    text[1] = UInt8(ascii: "x")
    var length = 2
    var shift = 60
    while shift > 0, address >> UInt64(shift) & 0xf == 0 { shift -= 4 }
    while shift >= 0 {
      text[length] = digit(UInt8(truncatingIfNeeded: address >> UInt64(shift) & 0xf))
      length += 1
      shift -= 4
    }
    return length
  }

  static func ipv4(_ text: UnsafeMutablePointer<UInt8>, _ bytes: UnsafePointer<UInt8>, isPadded: Bool) -> Int {
    var length = 0
    for index in 0..<4 {
      if index > 0 {
        text[length] = UInt8(ascii: ".")
        length += 1
      }
      let value = bytes[index]
      if isPadded || value >= 100 {
        text[length] = 0x30 + value / 100
        length += 1
      }
      if isPadded || value >= 10 {
        text[length] = 0x30 + value / 10 % 10
        length += 1
      }
      text[length] = 0x30 + value % 10
      length += 1
    }
    return length
  }

  static func ipv6(_ text: UnsafeMutablePointer<UInt8>, _ bytes: UnsafePointer<UInt8>, hasColons: Bool) -> Int {
    var length = 0
    for index in 0..<16 {
      if hasColons && index > 0 && index % 2 == 0 {
        text[length] = UInt8(ascii: ":")
        length += 1
      }
      text[length] = digit(bytes[index] >> 4)
      text[length + 1] = digit(bytes[index] & 0xf)
      length += 2
    }
    return length
  }
}
