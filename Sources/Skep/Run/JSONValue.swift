/// A JSON document, with integers of all 64 bits kept exact.
public indirect enum JSONValue: Sendable, Hashable {
  case null
  case bool(Bool)
  case integer(Int64)
  /// What an `Int64` does not hold.
  case unsigned(UInt64)
  case real(Double)
  case string(String)
  case array([JSONValue])
  /// In the order of the text.
  case object([Member])

  public struct Member: Sendable, Hashable {
    public var name: String
    public var value: JSONValue

    public init(_ name: String, _ value: JSONValue) {
      self.name = name
      self.value = value
    }
  }

  /// A number as whichever case holds it.
  public static func number(_ value: UInt64) -> JSONValue {
    Int64(exactly: value).map { .integer($0) } ?? .unsigned(value)
  }

  /// The member of that name; nil where there is none or the value is no object.
  public subscript(_ name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.last { $0.name == name }?.value
  }
}

/// Why a text is no JSON, and where.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
  public let line: Int
  public let column: Int
  /// What was expected there.
  public let rule: String

  public var description: String { "not JSON: line \(line), column \(column): \(rule)" }
}

// MARK: Reading

extension JSONValue {
  /// Reads a document (RFC 8259). Integers may also be written in hexadecimal (`0x1f`).
  public init(parsing text: String) throws(JSONError) {
    var parser = JSONParser(Array(text.utf8))
    self = try parser.document()
  }
}

private struct JSONParser {
  /// Deeper documents are refused.
  private static let deepest = 256
  private let bytes: [UInt8]
  private var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func document() throws(JSONError) -> JSONValue {
    let value = try value(depth: 0)
    skipSpace()
    guard position == bytes.count else { throw failure("nothing more may follow") }
    return value
  }

  private func failure(_ rule: String, at place: Int? = nil) -> JSONError {
    let before = bytes[..<min(place ?? position, bytes.count)]
    let newline = UInt8(ascii: "\n")
    let column = before.count - (before.lastIndex(of: newline).map { $0 + 1 } ?? 0)
    return JSONError(line: before.count { $0 == newline } + 1, column: column + 1, rule: rule)
  }

  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard next == byte else { return false }
    position += 1
    return true
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    skipSpace()
    guard depth < Self.deepest else { throw failure("too deep") }
    switch next {
    case UInt8(ascii: "{"): return try object(depth)
    case UInt8(ascii: "["): return try array(depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try word("true", .bool(true))
    case UInt8(ascii: "f"): return try word("false", .bool(false))
    case UInt8(ascii: "n"): return try word("null", .null)
    case UInt8(ascii: "-"): return try number()
    case let digit? where (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit): return try number()
    case nil: throw failure("the text ends where a value is expected")
    default: throw failure("a value is expected")
    }
  }

  private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
    let expected = text.withUTF8Buffer { Array($0) }
    guard bytes[position...].starts(with: expected) else { throw failure("a value is expected") }
    position += expected.count
    return value
  }

  private mutating func object(_ depth: Int) throws(JSONError) -> JSONValue {
    position += 1
    var members: [JSONValue.Member] = []
    if take(UInt8(ascii: "}")) { return .object(members) }
    while true {
      skipSpace()
      guard next == UInt8(ascii: "\"") else { throw failure("a name in quotation marks is expected") }
      let name = try string()
      guard take(UInt8(ascii: ":")) else { throw failure("':' is expected") }
      members.append(JSONValue.Member(name, try value(depth: depth + 1)))
      if take(UInt8(ascii: "}")) { return .object(members) }
      guard take(UInt8(ascii: ",")) else { throw failure("',' or '}' is expected") }
    }
  }

  private mutating func array(_ depth: Int) throws(JSONError) -> JSONValue {
    position += 1
    var elements: [JSONValue] = []
    if take(UInt8(ascii: "]")) { return .array(elements) }
    while true {
      elements.append(try value(depth: depth + 1))
      if take(UInt8(ascii: "]")) { return .array(elements) }
      guard take(UInt8(ascii: ",")) else { throw failure("',' or ']' is expected") }
    }
  }

  private mutating func number() throws(JSONError) -> JSONValue {
    let start = position
    var isInteger = true
    while let byte = next {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "+"): break
      case UInt8(ascii: "."): isInteger = false
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): break
      default:
        return try number(from: start, isInteger: isInteger)
      }
      position += 1
    }
    return try number(from: start, isInteger: isInteger)
  }

  private func number(from start: Int, isInteger: Bool) throws(JSONError) -> JSONValue {
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    let digits = text.drop { $0 == "-" }
    guard text.count - digits.count < 2 else { throw failure("a number is expected", at: start) }
    if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
      guard digits.count == text.count, let value = UInt64(digits.dropFirst(2), radix: 16) else {
        throw failure("a number is expected", at: start)
      }
      return .number(value)
    }
    guard digits.first?.isNumber == true, digits == "0" || digits.first != "0" || !isInteger else {
      throw failure("a number is expected", at: start)
    }
    if isInteger {
      if let value = Int64(text) { return .integer(value) }
      if let value = UInt64(text) { return .unsigned(value) }
      if !text.contains(where: { $0 == "e" || $0 == "E" }) { throw failure("the number is too large", at: start) }
    }
    guard let value = Double(text), value.isFinite else { throw failure("a number is expected", at: start) }
    return .real(value)
  }

  private mutating func string() throws(JSONError) -> String {
    position += 1
    var text: [UInt8] = []
    while let byte = next {
      position += 1
      switch byte {
      case UInt8(ascii: "\""): return String(decoding: text, as: UTF8.self)
      case UInt8(ascii: "\\"): text += try escape()
      case 0..<0x20: throw failure("a control character in a string", at: position - 1)
      default: text.append(byte)
      }
    }
    throw failure("the text ends inside of a string")
  }

  private mutating func escape() throws(JSONError) -> [UInt8] {
    guard let byte = next else { throw failure("the text ends inside of a string") }
    position += 1
    switch byte {
    case UInt8(ascii: "n"): return [0x0a]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "r"): return [0x0d]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0c]
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "u"):
      var unit = try unit()
      if unit & 0xfc00 == 0xd800, next == UInt8(ascii: "\\"), position + 1 < bytes.count,
        bytes[position + 1] == UInt8(ascii: "u")
      {
        let mark = position
        position += 2
        let low = try self.unit()
        if low & 0xfc00 == 0xdc00 {
          unit = 0x10000 + (unit & 0x3ff) << 10 + low & 0x3ff
        } else {
          position = mark
        }
      }
      return Array(String(Unicode.Scalar(unit).map(Character.init) ?? "\u{fffd}").utf8)
    default: throw failure("'\\' is followed by no known letter", at: position - 1)
    }
  }

  private mutating func unit() throws(JSONError) -> UInt32 {
    guard position + 4 <= bytes.count,
      let unit = UInt32(String(decoding: bytes[position..<(position + 4)], as: UTF8.self), radix: 16)
    else { throw failure("'\\u' is followed by four hexadecimal digits") }
    position += 4
    return unit
  }
}

// MARK: Writing

extension JSONValue {
  /// The document in one line.
  public var compactText: String {
    var out = ""
    write(to: &out, indent: nil)
    return out
  }

  /// The document over several lines, without a newline at the end. Lists of plain values stay in one line.
  public func text(indent: String = "") -> String {
    var out = ""
    write(to: &out, indent: indent)
    return out
  }

  private var isPlain: Bool {
    switch self {
    case .array, .object: false
    default: true
    }
  }

  private func write(to out: inout String, indent: String?) {
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .integer(let value): out += String(value)
    case .unsigned(let value): out += String(value)
    case .real(let value): out += value.isFinite ? "\(value)" : "null"
    case .string(let text): Self.write(text, to: &out)
    case .array(let elements):
      let plain = elements.allSatisfy(\.isPlain)
      Self.list(elements.count, "[", "]", to: &out, indent: plain ? nil : indent) { index, out, inner in
        elements[index].write(to: &out, indent: inner)
      }
    case .object(let members):
      Self.list(members.count, "{", "}", to: &out, indent: indent) { index, out, inner in
        Self.write(members[index].name, to: &out)
        out += inner == nil ? ":" : ": "
        members[index].value.write(to: &out, indent: inner)
      }
    }
  }

  private static func list(
    _ count: Int, _ open: String, _ close: String, to out: inout String, indent: String?,
    _ element: (Int, inout String, String?) -> Void
  ) {
    out += open
    let inner = indent.map { $0 + "  " }
    for index in 0..<count {
      if index > 0 { out += "," }
      if let inner { out += "\n" + inner }
      element(index, &out, inner)
    }
    if let indent, count > 0 { out += "\n" + indent }
    out += close
  }

  private static func write(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case let other where other.value < 0x20 || other.value == 0x7f:
        let hex = String(other.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
