/// What the verifier says that a register or stack slot holds, read from a log.
public struct TracedValue: Sendable, Hashable {
  /// The kind as logs name it: `scalar`, `ctx`, `fp`, `pkt`, `map_value_or_null`, …; what 5.x called `inv` is `scalar`.
  public var kind: String
  /// What stands in the parentheses, by name: `off`, `r`, `id`, `umax`, `var_off`, …, in today's names.
  public var attributes: [String: String]
  /// As it stood in the log.
  public var text: String

  public init(kind: String, attributes: [String: String] = [:], text: String) {
    self.kind = kind
    self.attributes = attributes
    self.text = text
  }
}

extension TracedValue {
  /// Older names of attributes, and today's.
  private static let names = [
    "smin_value": "smin", "smax_value": "smax", "umin_value": "umin", "umax_value": "umax", "s32_min_value": "smin32",
    "s32_max_value": "smax32", "u32_min_value": "umin32", "u32_max_value": "umax32",
  ]

  /// Reads what stands behind the equals sign.
  public init(parsing text: some StringProtocol) {
    self.init(kind: "", text: String(text))
    var head = text[...]
    if let open = head.firstIndex(of: "("), head.last == ")" {
      let inside = head[head.index(after: open)...].dropLast()
      head = head[..<open]
      for part in Self.parts(inside) {
        guard let equals = part.firstIndex(of: "=") else {
          // `non_own_ref`, the size of old: `map_ptr(ks=4,…)` have names, others stand alone.
          attributes[String(part)] = ""
          continue
        }
        let name = String(part[..<equals])
        // `smin=umin=1`: several names of one value.
        var value = part[part.index(after: equals)...]
        var all = [name]
        while let next = value.firstIndex(of: "="), !value.hasPrefix("("), !value.hasPrefix("0x") {
          all.append(String(value[..<next]))
          value = value[value.index(after: next)...]
        }
        for name in all { attributes[Self.names[name] ?? name] = String(value) }
      }
    }
    var word = head
    if word.first == "P", word.dropFirst().first.map({ $0.isNumber || $0 == "-" || $0 == "s" }) ?? false {
      attributes["precise"] = ""
      word = word.dropFirst()
    }
    if word.hasPrefix("inv") {
      word = word.dropFirst(3)
      if word.first == "P" {
        attributes["precise"] = ""
        word = word.dropFirst()
      }
      if word.isEmpty { word = "scalar" }
    }
    if TracedValue.number(word) != nil {
      kind = "scalar"
      attributes["value"] = String(word)
    } else if word.hasPrefix("fp"), let offset = Int(word.dropFirst(2)) {
      kind = "fp"
      if attributes["off"] == nil { attributes["off"] = String(offset) }
    } else {
      kind = String(word)
    }
  }

  /// Splits at commas outside of parentheses.
  private static func parts(_ text: some StringProtocol) -> [Substring] {
    var found: [Substring] = []
    let text = Substring(text)
    var depth = 0
    var start = text.startIndex
    for index in text.indices {
      switch text[index] {
      case "(", "{": depth += 1
      case ")", "}": depth -= 1
      case "," where depth == 0:
        found.append(text[start..<index])
        start = text.index(after: index)
      default: break
      }
    }
    if start < text.endIndex { found.append(text[start...]) }
    return found
  }

  /// A number as logs print one.
  static func number(_ text: some StringProtocol) -> Int64? {
    if text.hasPrefix("0x") { return UInt64(text.dropFirst(2), radix: 16).map(Int64.init(bitPattern:)) }
    return Int64(text) ?? UInt64(text).map(Int64.init(bitPattern:))
  }

  /// The number behind a name.
  public func number(_ name: String) -> Int64? { attributes[name].flatMap { Self.number($0) } }

  /// The value, where it is one known number.
  public var constant: Int64? { kind == "scalar" ? number("value") : nil }
  public var isScalar: Bool { kind == "scalar" }
  public var mayBeNull: Bool { kind.hasSuffix("_or_null") }
  /// The fixed part of a pointer's offset.
  public var offset: Int64 { number("off") ?? number("imm") ?? 0 }
  /// Bytes of the packet that a comparison has proved.
  public var packetRange: Int64? { number("r") }
  /// Bounds of the number, or of a pointer's variable offset.
  public var unsignedMinimum: UInt64 { constant.map(UInt64.init(bitPattern:)) ?? number("umin").map(UInt64.init(bitPattern:)) ?? 0 }
  public var unsignedMaximum: UInt64 {
    if let constant { return UInt64(bitPattern: constant) }
    return number("umax").map(UInt64.init(bitPattern:)) ?? .max
  }
  public var signedMinimum: Int64 { constant ?? number("smin") ?? (number("umax").map { $0 >= 0 } == true ? 0 : .min) }
  public var signedMaximum: Int64 { constant ?? number("smax") ?? number("umax").flatMap { $0 >= 0 ? $0 : nil } ?? .max }
  /// The object's reference, which has to be released.
  public var referenceID: Int64? { number("ref_obj_id") }
  /// The map that a pointer belongs to.
  public var mapName: String? { attributes["map"] }
}
