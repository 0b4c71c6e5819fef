import BTF

/// Why a JSON value is none of a type.
public struct TypedValueError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Where in the value: `.flow.ports[1]`; empty for the value itself.
  public var path: String
  public let rule: String

  init(_ rule: String, path: String = "") {
    self.rule = rule
    self.path = path
  }

  public var description: String { path.isEmpty ? rule : "\(path): \(rule)" }

  func inside(_ step: String) -> TypedValueError { TypedValueError(rule, path: step + path) }
}

/// How bytes of a program's memory are shown and given: by their type where it is known, as bytes otherwise.
///
/// Values look as `bpftool map dump` prints them: structures are objects, arrays lists, enumerations names, arrays of
/// `char` that hold text strings, pointers hexadecimal strings. Bytes without a type are a list of `"0xff"`. On the way
/// in, numbers may also be strings (`"0x1f"`), bytes a string of hexadecimal digits, and members that are left out
/// are zero.
public struct ValueType: Sendable {
  /// Bytes.
  public let size: Int
  private let btf: BTF?
  private let type: TypeID

  /// - Parameter type: 0 where the bytes have no known type.
  public init(size: Int, btf: BTF? = nil, type: TypeID = 0) {
    self.size = size
    // A type of another size describes something else.
    let isKnown = type != 0 && btf?.resolveSize(type).map(Int.init) == size
    self.btf = isKnown ? btf : nil
    self.type = isKnown ? type : 0
  }

  /// Whether values are shown by type.
  public var isKnown: Bool { type != 0 }

  /// Deeper types are shown as bytes.
  private static let deepest = 32

  // MARK: Bytes to JSON

  public func json(_ bytes: [UInt8]) -> JSONValue {
    guard bytes.count >= size else { return Self.hexadecimal(bytes[...]) }
    guard let btf else {
      // A word without a type is a number more often than not.
      return Self.hexadecimal(bytes[..<size])
    }
    return Self.json(btf, type, bytes[..<size], depth: 0)
  }

  static func hexadecimal(_ bytes: ArraySlice<UInt8>) -> JSONValue {
    .array(bytes.map { .string("0x" + Self.hexadecimal($0)) })
  }

  private static func hexadecimal(_ byte: UInt8) -> String {
    (byte < 16 ? "0" : "") + String(byte, radix: 16)
  }

  static func word(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  private static func signed(_ word: UInt64, bits: Int) -> Int64 {
    guard bits > 0, bits < 64 else { return Int64(bitPattern: word) }
    return Int64(bitPattern: word << UInt64(64 - bits)) >> Int64(64 - bits)
  }

  private static func json(_ btf: BTF, _ id: TypeID, _ bytes: ArraySlice<UInt8>, depth: Int) -> JSONValue {
    guard depth < deepest else { return hexadecimal(bytes) }
    let id = btf.skipModifiers(id)
    let type = btf.type(id)
    switch type.kind {
    case .int: return integer(btf.intEncoding(id), bytes)
    case .pointer: return .string("0x" + String(word(bytes), radix: 16))
    case .enumeration, .enum64: return enumerator(btf, id, type, word(bytes), bits: bytes.count * 8)
    case .float:
      switch bytes.count {
      case 4: return .real(Double(Float(bitPattern: UInt32(truncatingIfNeeded: word(bytes)))))
      case 8: return .real(Double(bitPattern: word(bytes)))
      default: return hexadecimal(bytes)
      }
    case .array: return array(btf, id, bytes, depth)
    case .structure, .union:
      return .object(
        btf.members(id).map { member in
          JSONValue.Member(btf.string(member.nameOffset), self.member(btf, member, bytes, depth))
        })
    case .variable: return json(btf, type.target, bytes, depth: depth + 1)
    case .dataSection:
      let variables = btf.variables(id).map { variable in
        let start = bytes.startIndex + Int(variable.offset)
        let end = start + Int(variable.size)
        let value = end <= bytes.endIndex ? json(btf, variable.typeID, bytes[start..<end], depth: depth + 1) : .null
        return JSONValue.object([.init(btf.name(variable.typeID), value)])
      }
      return .object([.init(btf.name(id), .array(variables))])
    default: return hexadecimal(bytes)
    }
  }

  private static func integer(_ encoding: BTFIntEncoding, _ bytes: ArraySlice<UInt8>) -> JSONValue {
    let bits = Int(encoding.bits)
    guard bytes.count <= 8, bits <= 64 else {
      let digits = bytes.reversed().map { hexadecimal($0) }.joined().drop { $0 == "0" }
      return .string("0x" + (digits.isEmpty ? "0" : String(digits)))
    }
    var value = word(bytes) >> UInt64(encoding.bitOffset)
    if bits < 64 { value &= 1 << UInt64(bits) - 1 }
    if encoding.isBool { return .bool(value != 0) }
    return encoding.isSigned ? .integer(signed(value, bits: bits)) : .number(value)
  }

  private static func enumerator(_ btf: BTF, _ id: TypeID, _ type: BTFType, _ value: UInt64, bits: Int) -> JSONValue {
    let narrow = type.kindFlag ? UInt64(bitPattern: signed(value, bits: bits)) : value
    let mask = bits < 64 ? UInt64(1) << UInt64(bits) - 1 : .max
    for enumerator in btf.enumerators(id) where UInt64(bitPattern: enumerator.value) & mask == narrow & mask {
      return .string(btf.string(enumerator.nameOffset))
    }
    return type.kindFlag ? .integer(Int64(bitPattern: narrow)) : .number(value)
  }

  private static func member(_ btf: BTF, _ member: BTFMember, _ bytes: ArraySlice<UInt8>, _ depth: Int) -> JSONValue {
    let start = bytes.startIndex + Int(member.bitOffset / 8)
    if member.bitfieldSize != 0 {
      let bit = Int(member.bitOffset % 8)
      let end = start + (bit + Int(member.bitfieldSize) + 7) / 8
      guard end <= bytes.endIndex, end - start <= 8 else { return .null }
      var value = word(bytes[start..<end]) >> UInt64(bit)
      let bits = Int(member.bitfieldSize)
      if bits < 64 { value &= 1 << UInt64(bits) - 1 }
      let id = btf.skipModifiers(member.typeID)
      let type = btf.type(id)
      if type.kind.isEnumeration { return enumerator(btf, id, type, value, bits: bits) }
      let encoding = btf.intEncoding(id)
      if encoding.isBool { return .bool(value != 0) }
      return encoding.isSigned ? .integer(signed(value, bits: bits)) : .number(value)
    }
    guard let size = btf.resolveSize(member.typeID), start + Int(size) <= bytes.endIndex else { return .null }
    return json(btf, member.typeID, bytes[start..<(start + Int(size))], depth: depth + 1)
  }

  private static func array(_ btf: BTF, _ id: TypeID, _ bytes: ArraySlice<UInt8>, _ depth: Int) -> JSONValue {
    let array = btf.array(id)
    guard let size = btf.resolveSize(array.elementTypeID).map(Int.init), size > 0 else { return .array([]) }
    if isCharacter(btf, array.elementTypeID), let end = bytes.firstIndex(of: 0),
      bytes[..<end].allSatisfy({ $0 > 0x1f && $0 < 0x7f })
    {
      return .string(String(decoding: bytes[..<end], as: UTF8.self))
    }
    let count = min(Int(array.count), bytes.count / size)
    return .array(
      (0..<count).map { index in
        let start = bytes.startIndex + index * size
        return json(btf, array.elementTypeID, bytes[start..<(start + size)], depth: depth + 1)
      })
  }

  /// `char`, qualified or not, but not under another name.
  private static func isCharacter(_ btf: BTF, _ id: TypeID) -> Bool {
    let id = btf.skipQualifiers(id)
    guard btf.kind(id) == .int, btf.type(id).size == 1 else { return false }
    return btf.intEncoding(id).isChar || btf.nameEquals(id, "char")
  }

  // MARK: JSON to bytes

  /// The value's bytes, `size` of them.
  public func bytes(_ value: JSONValue) throws(TypedValueError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: size)
    guard let btf else {
      try Self.putBytes(value, &bytes, 0..<size)
      return bytes
    }
    try Self.put(value, btf, type, &bytes, 0..<size, depth: 0)
    return bytes
  }

  /// Bytes without a type: a list, a string of hexadecimal digits, or a number.
  private static func putBytes(
    _ value: JSONValue, _ bytes: inout [UInt8], _ range: Range<Int>
  ) throws(TypedValueError) {
    var given: [UInt8] = []
    switch value {
    case .array(let elements):
      for (index, element) in elements.enumerated() {
        guard let number = number(element), number < 256 else {
          throw TypedValueError("a byte (0 to 255) is expected", path: "[\(index)]")
        }
        given.append(UInt8(truncatingIfNeeded: number))
      }
    case .string(let text):
      guard let read = hexadecimalBytes(text) else {
        throw TypedValueError("'\(text)' is no string of hexadecimal digits, two for each byte")
      }
      given = read
    case .integer, .unsigned, .bool:
      guard range.count <= 8 else {
        throw TypedValueError("a number does not say \(range.count) bytes; give a list or hexadecimal digits")
      }
      try putInteger(value, &bytes, range)
      return
    default: throw TypedValueError("\(range.count) bytes are expected: a list, hexadecimal digits, or a number")
    }
    guard given.count == range.count else {
      throw TypedValueError("\(given.count) bytes, where \(range.count) are expected")
    }
    bytes.replaceSubrange(range, with: given)
  }

  /// Bytes from hexadecimal digits, spaces between bytes apart; nil where they are none.
  public static func hexadecimalBytes(_ text: String) -> [UInt8]? {
    var digits: [UInt8] = []
    var rest = text[...]
    if rest.hasPrefix("0x") || rest.hasPrefix("0X") { rest = rest.dropFirst(2) }
    for character in rest {
      if character.isWhitespace || character == ":" {
        guard digits.count % 2 == 0 else { return nil }
        continue
      }
      guard character.isASCII, let digit = character.hexDigitValue else { return nil }
      digits.append(UInt8(truncatingIfNeeded: digit))
    }
    guard digits.count % 2 == 0 else { return nil }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
  }

  /// A number below 0; nil of everything else.
  private static func negative(_ value: JSONValue) -> Int64? {
    switch value {
    case .integer(let number) where number < 0: number
    case .string(let text) where text.hasPrefix("-"): Int64(text)
    default: nil
    }
  }

  /// A number that is not negative.
  private static func number(_ value: JSONValue) -> UInt64? {
    switch value {
    case .integer(let number): UInt64(exactly: number)
    case .unsigned(let number): number
    case .bool(let flag): flag ? 1 : 0
    case .string(let text):
      text.hasPrefix("0x") || text.hasPrefix("0X") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    default: nil
    }
  }

  private static func putInteger(
    _ value: JSONValue, _ bytes: inout [UInt8], _ range: Range<Int>, bits: Int? = nil, shift: Int = 0
  ) throws(TypedValueError) {
    let bits = bits ?? min(64, range.count * 8)
    let word: UInt64
    if let negative = negative(value) {
      guard bits == 64 || negative >= -(1 << Int64(bits - 1)) else {
        throw TypedValueError("\(negative) does not fit in \(bits) bits")
      }
      word = UInt64(bitPattern: negative)
    } else {
      guard let number = number(value) else { throw TypedValueError("a number is expected") }
      guard bits == 64 || number < 1 << UInt64(bits) else {
        throw TypedValueError("\(number) does not fit in \(bits) bits")
      }
      word = number
    }
    let mask = bits == 64 ? UInt64.max : 1 << UInt64(bits) - 1
    // Fields of bits share bytes with their neighbours; one may begin in the middle of the first of nine bytes.
    for index in range {
      let distance = (index - range.lowerBound) * 8 - shift
      func byte(_ word: UInt64) -> UInt8 {
        UInt8(truncatingIfNeeded: distance >= 0 ? word >> UInt64(distance) : word << UInt64(-distance))
      }
      bytes[index] = bytes[index] & ~byte(mask) | byte(word & mask)
    }
  }

  private static func put(
    _ value: JSONValue, _ btf: BTF, _ id: TypeID, _ bytes: inout [UInt8], _ range: Range<Int>, depth: Int
  ) throws(TypedValueError) {
    guard depth < deepest else { throw TypedValueError("the type is too deep") }
    let id = btf.skipModifiers(id)
    let type = btf.type(id)
    switch type.kind {
    case .int:
      if range.count > 8 {
        try putWide(value, &bytes, range)
      } else {
        let bits = Int(btf.intEncoding(id).bits)
        if !btf.intEncoding(id).isSigned, let number = negative(value) {
          throw TypedValueError("\(number) is negative, and the type has no sign")
        }
        try putInteger(value, &bytes, range, bits: btf.intEncoding(id).isBool ? range.count * 8 : min(bits, 64))
      }
    case .pointer: try putInteger(value, &bytes, range)
    case .enumeration, .enum64: try putInteger(try enumerated(value, btf, id), &bytes, range)
    case .float: try putFloat(value, &bytes, range)
    case .array: try putArray(value, btf, btf.array(id), &bytes, range, depth)
    case .structure, .union: try putMembers(value, btf, id, &bytes, range, depth)
    case .variable: try put(value, btf, type.target, &bytes, range, depth: depth + 1)
    case .dataSection: try putVariables(value, btf, id, &bytes, range, depth)
    default: try putBytes(value, &bytes, range)
    }
  }

  private static func putWide(_ value: JSONValue, _ bytes: inout [UInt8], _ range: Range<Int>) throws(TypedValueError) {
    if case .string(let text) = value, text.hasPrefix("0x"), text.count - 2 <= range.count * 2 {
      var digits = String(text.dropFirst(2))
      if digits.count % 2 != 0 { digits = "0" + digits }
      guard let read = hexadecimalBytes(digits) else { throw TypedValueError("a number is expected") }
      let padded = read.reversed() + [UInt8](repeating: 0, count: range.count - read.count)
      bytes.replaceSubrange(range, with: padded)
    } else {
      try putInteger(value, &bytes, range.lowerBound..<(range.lowerBound + 8))
      if case .integer(let number) = value, number < 0 {
        for index in range.dropFirst(8) { bytes[index] = 0xff }
      }
    }
  }

  private static func enumerated(_ value: JSONValue, _ btf: BTF, _ id: TypeID) throws(TypedValueError) -> JSONValue {
    guard case .string(let name) = value, number(value) == nil, !name.hasPrefix("-") else { return value }
    for enumerator in btf.enumerators(id) where btf.stringEquals(enumerator.nameOffset, name) {
      return .integer(enumerator.value)
    }
    throw TypedValueError("'\(name)' is no constant of the enumeration")
  }

  private static func putFloat(
    _ value: JSONValue, _ bytes: inout [UInt8], _ range: Range<Int>
  ) throws(TypedValueError) {
    let number: Double
    switch value {
    case .real(let value): number = value
    case .integer(let value): number = Double(value)
    case .unsigned(let value): number = Double(value)
    default: throw TypedValueError("a number is expected")
    }
    switch range.count {
    case 4: try putInteger(.integer(Int64(Float(number).bitPattern)), &bytes, range)
    case 8: try putInteger(.number(number.bitPattern), &bytes, range)
    default: throw TypedValueError("a floating-point type of \(range.count) bytes cannot be given")
    }
  }

  private static func putArray(
    _ value: JSONValue, _ btf: BTF, _ array: BTFArray, _ bytes: inout [UInt8], _ range: Range<Int>, _ depth: Int
  ) throws(TypedValueError) {
    let size = Int(btf.resolveSize(array.elementTypeID) ?? 0)
    switch value {
    case .string(let text) where isCharacter(btf, array.elementTypeID):
      let text = Array(text.utf8)
      guard text.count <= range.count else {
        throw TypedValueError("the text has \(text.count) bytes, where there is room for \(range.count)")
      }
      bytes.replaceSubrange(range.lowerBound..<(range.lowerBound + text.count), with: text)
      for index in range.dropFirst(text.count) { bytes[index] = 0 }
    case .string where size == 1: try putBytes(value, &bytes, range)
    case .array(let elements):
      guard elements.count <= Int(array.count) else {
        throw TypedValueError("\(elements.count) elements, where there are \(array.count)")
      }
      for (index, element) in elements.enumerated() {
        let start = range.lowerBound + index * size
        guard start + size <= range.upperBound else { break }
        do {
          try put(element, btf, array.elementTypeID, &bytes, start..<(start + size), depth: depth + 1)
        } catch {
          throw error.inside("[\(index)]")
        }
      }
    default: throw TypedValueError("a list of at most \(array.count) elements is expected")
    }
  }

  private static func putMembers(
    _ value: JSONValue, _ btf: BTF, _ id: TypeID, _ bytes: inout [UInt8], _ range: Range<Int>, _ depth: Int
  ) throws(TypedValueError) {
    guard case .object(let given) = value else {
      if case .string = value {
        try putBytes(value, &bytes, range)
        return
      }
      throw TypedValueError("an object is expected")
    }
    for entry in given {
      do throws(TypedValueError) {
        guard try putMember(entry, btf, id, &bytes, range, depth) else {
          throw TypedValueError("there is no such member")
        }
      } catch {
        throw error.inside(".\(entry.name)")
      }
    }
  }

  /// False where neither the type nor a nameless member has a member of that name.
  private static func putMember(
    _ entry: JSONValue.Member, _ btf: BTF, _ id: TypeID, _ bytes: inout [UInt8], _ range: Range<Int>, _ depth: Int
  ) throws(TypedValueError) -> Bool {
    guard depth < deepest else { return false }
    for member in btf.members(id) {
      let start = range.lowerBound + Int(member.bitOffset / 8)
      if member.bitfieldSize != 0 {
        guard btf.stringEquals(member.nameOffset, entry.name), !entry.name.isEmpty else { continue }
        let bit = Int(member.bitOffset % 8)
        let end = min(range.upperBound, start + (bit + Int(member.bitfieldSize) + 7) / 8)
        let inner = btf.skipModifiers(member.typeID)
        let value = btf.kind(inner).isEnumeration ? try enumerated(entry.value, btf, inner) : entry.value
        try putInteger(value, &bytes, start..<end, bits: Int(member.bitfieldSize), shift: bit)
        return true
      }
      guard let size = btf.resolveSize(member.typeID), start + Int(size) <= range.upperBound else { continue }
      let part = start..<(start + Int(size))
      if btf.stringEquals(member.nameOffset, entry.name) {
        if entry.name.isEmpty, case .object = entry.value {} else if entry.name.isEmpty { continue }
        try put(entry.value, btf, member.typeID, &bytes, part, depth: depth + 1)
        return true
      }
      if btf.isEmptyString(member.nameOffset) {
        let inner = btf.skipModifiers(member.typeID)
        if btf.kind(inner).isComposite, try putMember(entry, btf, inner, &bytes, part, depth + 1) { return true }
      }
    }
    return false
  }

  /// A data section: variables by name, or as it is printed.
  private static func putVariables(
    _ value: JSONValue, _ btf: BTF, _ id: TypeID, _ bytes: inout [UInt8], _ range: Range<Int>, _ depth: Int
  ) throws(TypedValueError) {
    var given: [JSONValue.Member] = []
    let section = btf.name(id)
    guard case .object(let members) = value else {
      throw TypedValueError("an object with variables by name is expected")
    }
    if members.count == 1, members[0].name == section, case .array(let elements) = members[0].value {
      for case .object(let variables) in elements { given += variables }
    } else {
      given = members
    }
    for entry in given {
      guard let variable = btf.variables(id).first(where: { btf.name($0.typeID) == entry.name }),
        Int(variable.offset) + Int(variable.size) <= range.count
      else { throw TypedValueError("there is no variable of that name in \(section)", path: entry.name) }
      let start = range.lowerBound + Int(variable.offset)
      do {
        try put(
          entry.value, btf, variable.typeID, &bytes, start..<(start + Int(variable.size)), depth: depth + 1)
      } catch {
        throw error.inside(entry.name)
      }
    }
  }
}
