/// What an instruction of a log does, by its text.
public enum TracedOperation: Sendable, Hashable {
  /// `r1 = r2`, `w1 = w2`, `r1 = (s8)r2`.
  case move(to: Int, from: Int)
  /// `r1 = 5`, `r1 = 0xffff888100000000`.
  case constant(to: Int, text: String)
  /// `r1 = *(u32 *)(r6 +4)`.
  case load(to: Int, base: Int, offset: Int, size: Int)
  /// `*(u32 *)(r10 -8) = r1`, or a number.
  case store(base: Int, offset: Int, size: Int, from: Int?)
  /// `r1 += r2`, `w1 &= 7`, `r1 = -r1`, byte swaps.
  case arithmetic(to: Int, operation: String, operand: String)
  /// `call bpf_map_lookup_elem#1`, `call pc+7`; the name without number, or nil for a subprogram.
  case call(name: String?)
  /// `if r1 > r2 goto pc+5`.
  case branch(left: String, comparison: String, right: String, target: String)
  case exit
  /// `goto`, atomics, and what else there is.
  case other

  public init(_ text: String) {
    self = Self.parse(text[...])
  }

  private static func parse(_ text: Substring) -> TracedOperation {
    if text.hasPrefix("call ") {
      let name = text.dropFirst(5).prefix { $0 != " " }
      if name.hasPrefix("pc") { return .call(name: nil) }
      return .call(name: String(name.prefix { $0 != "#" }))
    }
    if text.hasPrefix("exit") { return .exit }
    if text.hasPrefix("if ") {
      let words = text.split(separator: " ")
      guard words.count >= 6, words[4] == "goto" else { return .other }
      return .branch(
        left: String(words[1]), comparison: String(words[2]), right: String(words[3]), target: String(words[5]))
    }
    if text.hasPrefix("*(") {
      guard let memory = memory(text), let equals = text.range(of: " = ") else { return .other }
      return .store(
        base: memory.base, offset: memory.offset, size: memory.size, from: register(text[equals.upperBound...]))
    }
    guard let to = register(text.prefix { $0 != " " }) else { return .other }
    let rest = text.drop { $0 != " " }.dropFirst()
    let operation = rest.prefix { $0 != " " }
    let operand = rest.drop { $0 != " " }.dropFirst()
    guard operation == "=" else {
      return operation.hasSuffix("=") ? .arithmetic(to: to, operation: String(operation), operand: String(operand)) : .other
    }
    if let memory = memory(operand) { return .load(to: to, base: memory.base, offset: memory.offset, size: memory.size) }
    if let from = register(operand) { return .move(to: to, from: from) }
    if operand.hasPrefix("(s"), let close = operand.firstIndex(of: ")"),
      let from = register(operand[operand.index(after: close)...])
    {
      return .move(to: to, from: from)
    }
    if operand.first == "-" || operand.first?.isNumber ?? false, TracedValue.number(operand) != nil {
      return .constant(to: to, text: String(operand))
    }
    return .arithmetic(to: to, operation: "=", operand: String(operand))
  }

  /// `r1`, `w1`; nil for anything else.
  static func register(_ text: some StringProtocol) -> Int? {
    guard text.first == "r" || text.first == "w", let number = Int(text.dropFirst()), (0...11).contains(number) else {
      return nil
    }
    return number
  }

  /// `*(u32 *)(r6 +4)`.
  private static func memory(_ text: Substring) -> (base: Int, offset: Int, size: Int)? {
    guard text.hasPrefix("*("), let bits = Int(text.dropFirst(3).prefix { $0.isNumber }),
      let open = text.dropFirst(2).firstIndex(of: "("),
      let close = text[open...].firstIndex(of: ")")
    else { return nil }
    let inside = text[text.index(after: open)..<close].split(separator: " ")
    guard inside.count == 2, let base = register(inside[0]), let offset = Int(inside[1]) else { return nil }
    return (base, offset, bits / 8)
  }

  /// The register that it gives a new value.
  public var written: Int? {
    switch self {
    case .move(let to, _), .constant(let to, _), .load(let to, _, _, _), .arithmetic(let to, _, _): to
    case .call: 0
    default: nil
    }
  }
}

extension Substring {
  /// The first place of `words`.
  func range(of words: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(words) { return start..<index(start, offsetBy: words.count) }
      start = index(after: start)
    }
    return nil
  }
}
