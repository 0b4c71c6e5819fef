/// Prints a format string with arguments that `FormatArguments` packed.
///
/// What does not fit is counted but not written; there is a 0 behind the text wherever there is any room.
struct FormatPrinter {
  private let output: UnsafeMutablePointer<UInt8>
  private let size: Int
  private var length = 0
  private var packed: UnsafePointer<UInt8>
  private let start: UnsafePointer<UInt8>

  private var isLeft = false
  private var isSigned = false
  private var plus = false
  private var blank = false
  private var zeros = false
  private var alternate = false
  private var width: Int32 = -1

  private init(_ output: UnsafeMutablePointer<UInt8>, _ size: Int, _ packed: UnsafePointer<UInt8>) {
    self.output = output
    self.size = size
    self.packed = packed
    start = packed
  }

  /// The length of the whole text, without its 0.
  static func print(
    _ format: UnsafePointer<UInt8>, _ packed: UnsafePointer<UInt8>, to output: UnsafeMutablePointer<UInt8>, size: Int
  ) -> Int {
    var printer = FormatPrinter(output, size, packed)
    printer.run(format)
    if size > 0 { output[min(printer.length, size &- 1)] = 0 }
    return printer.length
  }

  @inline(__always)
  private mutating func put(_ byte: UInt8) {
    if length < size { output[length] = byte }
    length &+= 1
  }

  /// Millions of blanks need not be written one by one.
  private mutating func pad(_ byte: UInt8, _ count: Int) {
    guard count > 0 else { return }
    for at in length..<max(length, min(size, length &+ count)) { output[at] = byte }
    length &+= count
  }

  private mutating func align(to unit: Int) {
    let used = packed - start
    packed = start + ((used &+ unit &- 1) & ~(unit &- 1))
  }

  private mutating func word() -> UInt32 {
    align(to: 4)
    defer { packed += 4 }
    return UnsafeRawPointer(packed).loadUnaligned(as: UInt32.self)
  }

  private mutating func doubleWord() -> UInt64 {
    align(to: 4)
    defer { packed += 8 }
    return UnsafeRawPointer(packed).loadUnaligned(as: UInt64.self)
  }

  private mutating func run(_ format: UnsafePointer<UInt8>) {
    var at = format
    while at.pointee != 0 {
      guard at.pointee == ASCII.percent else {
        put(at.pointee)
        at += 1
        continue
      }
      flags(&at)
      switch at.pointee {
      case ASCII.percent:
        put(ASCII.percent)
        at += 1
      case UInt8(ascii: "c"):
        character()
        at += 1
      case UInt8(ascii: "s"):
        string()
        at += 1
      case UInt8(ascii: "p"):
        at += 1
        pointer(at.pointee)
        while at.pointee.isDigit || at.pointee.isLetter { at += 1 }
      default:
        number(&at)
      }
    }
  }

  private mutating func flags(_ at: inout UnsafePointer<UInt8>) {
    isLeft = false
    isSigned = false
    plus = false
    blank = false
    zeros = false
    alternate = false
    while true {
      at += 1
      switch at.pointee {
      case ASCII.minus: isLeft = true
      case ASCII.plus: plus = true
      case ASCII.space: blank = true
      case ASCII.zero: zeros = true
      case UInt8(ascii: "#"): alternate = true
      default:
        width = -1
        if at.pointee.isDigit { width = 0 }
        while at.pointee.isDigit {
          width = width &* 10 &+ Int32(at.pointee &- 0x30)
          at += 1
        }
        return
      }
    }
  }

  private mutating func character() {
    if !isLeft { pad(ASCII.space, Int(width) &- 1) }
    put(packed.pointee)
    packed += 1
    if isLeft { pad(ASCII.space, Int(width) &- 1) }
  }

  private mutating func string() {
    let text = packed
    var count = 0
    while text[count] != 0 { count &+= 1 }
    packed += count &+ 1
    // An address below the first page that the kernel would not follow cannot come out of the packed arguments.
    if !isLeft { pad(ASCII.space, Int(width) &- count) }
    for index in 0..<count { put(text[index]) }
    if isLeft { pad(ASCII.space, Int(width) &- count) }
  }

  private mutating func pointer(_ kind: UInt8) {
    switch kind {
    case UInt8(ascii: "x"): pointer(value: doubleWord())
    case UInt8(ascii: "S"), UInt8(ascii: "s"):
      let value = doubleWord()
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { text in
        guard let base = text.baseAddress else { return }
        let count = HexText.symbol(base, of: value)
        if !isLeft { pad(ASCII.space, Int(width) &- count) }
        for index in 0..<count { put(base[index]) }
        if isLeft { pad(ASCII.space, Int(width) &- count) }
      }
    case UInt8(ascii: "K"): pointer(value: PointerHash.hide(doubleWord()))
    default:
      guard kind.isDigit || kind.isLetter else { return pointer(value: PointerHash.hide(doubleWord())) }
      // Already text.
      guard length < size else { return }
      while packed.pointee != 0 {
        put(packed.pointee)
        packed += 1
      }
      packed += 1
    }
  }

  private mutating func pointer(value: UInt64) {
    if width == -1 {
      width = 16
      zeros = true
    }
    digits(value, base: 16, isUppercase: false)
  }

  private mutating func number(_ at: inout UnsafePointer<UInt8>) {
    var isLong = false
    while at.pointee == UInt8(ascii: "l") {
      isLong = true
      at += 1
    }
    let kind = at.pointee
    at += 1
    isSigned = kind == UInt8(ascii: "d") || kind == UInt8(ascii: "i")
    let value: UInt64
    if isLong {
      value = doubleWord()
    } else {
      let bits = word()
      value = isSigned ? UInt64(bitPattern: Int64(Int32(bitPattern: bits))) : UInt64(bits)
    }
    switch kind {
    case UInt8(ascii: "x"): digits(value, base: 16, isUppercase: false)
    case UInt8(ascii: "X"): digits(value, base: 16, isUppercase: true)
    default: digits(value, base: 10, isUppercase: false)
    }
  }

  private mutating func digits(_ number: UInt64, base: UInt64, isUppercase: Bool) {
    var value = number
    var room = Int(width)
    var sign: UInt8 = 0
    if isLeft { zeros = false }
    if isSigned {
      if Int64(bitPattern: value) < 0 {
        sign = ASCII.minus
        value = 0 &- value
      } else if plus {
        sign = ASCII.plus
      } else if blank {
        sign = ASCII.space
      }
      if sign != 0 { room &-= 1 }
    }
    let isPrefixed = alternate && base == 16
    if isPrefixed { room &-= 2 }
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 24) { text in
      var count = 0
      repeat {
        let digit = UInt8(truncatingIfNeeded: value % base)
        text[count] = digit < 10 ? 0x30 &+ digit : (isUppercase ? 0x37 : 0x57) &+ digit
        count += 1
        value /= base
      } while value != 0
      room &-= count
      if !zeros && !isLeft { pad(ASCII.space, room) }
      if sign != 0 { put(sign) }
      if isPrefixed {
        put(ASCII.zero)
        put(isUppercase ? UInt8(ascii: "X") : UInt8(ascii: "x"))
      }
      if zeros { pad(ASCII.zero, room) }
      while count > 0 {
        count -= 1
        put(text[count])
      }
      if isLeft { pad(ASCII.space, room) }
    }
  }
}

/// What `%p` prints instead of an address: the same number for the same address, but not the address.
enum PointerHash {
  private static let key = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max) | 1)

  static func hide(_ address: UInt64) -> UInt64 {
    // Null and error numbers are no addresses.
    guard address != 0, address < UInt64.max - 4094 else { return address }
    var z = (address ^ key.0) &* key.1
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return (z ^ (z >> 31)) & 0xffff_ffff
  }
}
