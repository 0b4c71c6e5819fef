/// A JSON value, written out with sorted indentation and in the order of its making.
indirect enum JSON {
  case string(String)
  case number(Int)
  case bool(Bool)
  case array([JSON])
  case object([(String, JSON)])

  /// With a newline at the end.
  var text: String {
    var out = ""
    write(to: &out, indent: "")
    return out + "\n"
  }

  private func write(to out: inout String, indent: String) {
    switch self {
    case .string(let text): JSON.write(text, to: &out)
    case .number(let value): out += String(value)
    case .bool(let value): out += value ? "true" : "false"
    case .array(let elements):
      list(elements.map { ("", $0) }, "[", "]", to: &out, indent: indent)
    case .object(let members):
      list(members.map { (JSON.quoted($0.0) + ": ", $0.1) }, "{", "}", to: &out, indent: indent)
    }
  }

  private func list(
    _ elements: [(String, JSON)], _ open: String, _ close: String, to out: inout String, indent: String
  ) {
    out += open
    for (index, element) in elements.enumerated() {
      out += (index == 0 ? "\n" : ",\n") + indent + "  " + element.0
      element.1.write(to: &out, indent: indent + "  ")
    }
    if !elements.isEmpty { out += "\n" + indent }
    out += close
  }

  private static func quoted(_ text: String) -> String {
    var out = ""
    write(text, to: &out)
    return out
  }

  private static func write(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\t": out += "\\t"
      case let other where other.value < 0x20:
        let hex = String(other.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
