/// A word, number or sign of assembly text.
struct AssemblyToken {
  enum Kind: Equatable {
    case word
    case number(UInt64)
    /// `1f`, `2b`: a jump to the next or last numeric label of that number.
    case localLabel(UInt64, forward: Bool)
    case sign(AssemblySign)
    /// `(b7)` at the start of a statement.
    case opcode(UInt8)
    /// `#1` right behind the name of a call.
    case callNumber
    /// A newline or `;`.
    case end
  }

  let kind: Kind
  let start: Int
  let end: Int
  let position: SourcePosition
}

/// The operators and punctuation, each by its text. Longer ones win over their prefixes.
enum AssemblySign: String, CaseIterable {
  case signedShiftRightAssign = "s>>="
  case shiftLeftAssign = "<<="
  case shiftRightAssign = ">>="
  case signedGreaterOrEqual = "s>="
  case signedLessOrEqual = "s<="
  case signedDivideAssign = "s/="
  case signedModuloAssign = "s%="
  case signedGreater = "s>"
  case signedLess = "s<"
  case addAssign = "+="
  case subtractAssign = "-="
  case multiplyAssign = "*="
  case divideAssign = "/="
  case moduloAssign = "%="
  case andAssign = "&="
  case orAssign = "|="
  case xorAssign = "^="
  case equal = "=="
  case notEqual = "!="
  case greaterOrEqual = ">="
  case lessOrEqual = "<="
  case greater = ">"
  case less = "<"
  case assign = "="
  case ampersand = "&"
  case star = "*"
  case openParenthesis = "("
  case closeParenthesis = ")"
  case openBracket = "["
  case closeBracket = "]"
  case plus = "+"
  case minus = "-"
  case comma = ","
  case colon = ":"

  /// The operation of `dst SIGN src`, and whether it is the signed one.
  var arithmetic: (operation: UInt8, signed: Bool)? {
    switch self {
    case .addAssign: (ALU.add, false)
    case .subtractAssign: (ALU.sub, false)
    case .multiplyAssign: (ALU.mul, false)
    case .divideAssign: (ALU.div, false)
    case .signedDivideAssign: (ALU.div, true)
    case .orAssign: (ALU.or, false)
    case .andAssign: (ALU.and, false)
    case .shiftLeftAssign: (ALU.lsh, false)
    case .shiftRightAssign: (ALU.rsh, false)
    case .moduloAssign: (ALU.mod, false)
    case .signedModuloAssign: (ALU.mod, true)
    case .xorAssign: (ALU.xor, false)
    case .signedShiftRightAssign: (ALU.arsh, false)
    default: nil
    }
  }

  /// The operation of `if dst SIGN src goto`.
  var comparison: UInt8? {
    switch self {
    case .equal: Jump.jeq
    case .notEqual: Jump.jne
    case .greater: Jump.jgt
    case .greaterOrEqual: Jump.jge
    case .less: Jump.jlt
    case .lessOrEqual: Jump.jle
    case .signedGreater: Jump.jsgt
    case .signedGreaterOrEqual: Jump.jsge
    case .signedLess: Jump.jslt
    case .signedLessOrEqual: Jump.jsle
    case .ampersand: Jump.jset
    default: nil
    }
  }

  fileprivate static let byFirstByte: [[(sign: AssemblySign, text: [UInt8])]] = {
    var table: [[(sign: AssemblySign, text: [UInt8])]] = Array(repeating: [], count: 128)
    for sign in allCases {
      let text = Array(sign.rawValue.utf8)
      table[Int(text[0])].append((sign, text))
    }
    return table
  }()
}

/// Splits assembly text into tokens.
///
/// Comments are those of C and `#`, to the end of the line; a line that starts with `;`; and, behind an instruction
/// that has its opcode in front (a line of the verifier's log), everything from `;`. Elsewhere `;` ends a statement.
struct AssemblyLexer {
  private let text: [UInt8]
  private var at = 0
  private var line = 1
  private var lineStart = 0
  /// Nothing of the current statement has been seen, labels aside.
  private var atStatementStart = true
  private var atLineStart = true
  private var statementHasOpcode = false
  private var tokens: [AssemblyToken] = []

  private init(_ text: [UInt8]) {
    self.text = text
  }

  /// All tokens of `text`, the last of them an end.
  static func tokens(of text: [UInt8]) throws(AssemblyError) -> [AssemblyToken] {
    var lexer = AssemblyLexer(text)
    while lexer.at < text.count { try lexer.step() }
    lexer.add(.end, length: 0)
    return lexer.tokens
  }

  private var position: SourcePosition { SourcePosition(line: line, column: at - lineStart + 1) }

  private func byte(_ distance: Int = 0) -> UInt8 {
    at + distance < text.count ? text[at + distance] : 0
  }

  private mutating func add(_ kind: AssemblyToken.Kind, length: Int) {
    tokens.append(AssemblyToken(kind: kind, start: at, end: at + length, position: position))
    at += length
    atLineStart = false
    switch kind {
    case .end:
      atStatementStart = true
      statementHasOpcode = false
    // A label leaves the start of the statement where it is.
    case .sign(.colon): atStatementStart = true
    case .opcode:
      atStatementStart = false
      statementHasOpcode = true
    default: atStatementStart = false
    }
  }

  private mutating func step() throws(AssemblyError) {
    let current = byte()
    switch current {
    case UInt8(ascii: "\n"):
      add(.end, length: 1)
      line += 1
      lineStart = at
      atLineStart = true
    case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"):
      at += 1
    case UInt8(ascii: ";"):
      if atLineStart || statementHasOpcode { skipLine() } else { add(.end, length: 1) }
    case UInt8(ascii: "#"):
      if numbersCall() { add(.callNumber, length: 1) } else { skipLine() }
    case UInt8(ascii: "/") where byte(1) == UInt8(ascii: "/"): skipLine()
    case UInt8(ascii: "/") where byte(1) == UInt8(ascii: "*"): try skipBlockComment()
    case UInt8(ascii: "0")...UInt8(ascii: "9"): try addNumber()
    case UInt8(ascii: "("):
      if atStatementStart, let opcode = opcodePrefix() {
        add(.opcode(opcode), length: 4)
      } else {
        add(.sign(.openParenthesis), length: 1)
      }
    case UInt8(ascii: "<") where takeObjdumpName(): break
    case UInt8(ascii: "%") where byte(1) == UInt8(ascii: "["): try addTemplateName()
    default:
      if let (sign, length) = sign() {
        add(.sign(sign), length: length)
      } else if current.startsWord {
        addWord()
      } else {
        throw AssemblyError(.unexpectedByte(current), at: position)
      }
    }
  }

  private func sign() -> (AssemblySign, Int)? {
    let current = byte()
    guard current < 128 else { return nil }
    for (sign, signText) in AssemblySign.byFirstByte[Int(current)]
    where text[at...].starts(with: signText) { return (sign, signText.count) }
    return nil
  }

  private mutating func skipLine() {
    while at < text.count, text[at] != UInt8(ascii: "\n") { at += 1 }
  }

  private mutating func skipBlockComment() throws(AssemblyError) {
    let opening = position
    at += 2
    while at < text.count {
      if text[at] == UInt8(ascii: "*"), byte(1) == UInt8(ascii: "/") {
        at += 2
        return
      }
      if text[at] == UInt8(ascii: "\n") {
        line += 1
        lineStart = at + 1
      }
      at += 1
    }
    throw AssemblyError(.unterminatedComment, at: opening)
  }

  /// Whether the `#` here is that of `call name#number` and not a comment.
  private func numbersCall() -> Bool {
    guard let last = tokens.last, last.kind == .word, last.end == at else { return false }
    return byte(1).isDigit || (byte(1) == UInt8(ascii: "-") && byte(2).isDigit)
  }

  private func opcodePrefix() -> UInt8? {
    guard let high = byte(1).hexValue, let low = byte(2).hexValue, byte(3) == UInt8(ascii: ")") else { return nil }
    return high << 4 | low
  }

  /// The names that `llvm-objdump` adds behind numbers: `goto +0x5 <f+0x48>`, where it is skipped, and the head of
  /// a function, `0000000000000000 <f>:`, where it replaces the number as the label.
  private mutating func takeObjdumpName() -> Bool {
    guard let last = tokens.last, case .number = last.kind, byte(1).startsWord else { return false }
    var length = 1
    while byte(length).continuesWord || byte(length) == UInt8(ascii: "+") { length += 1 }
    guard byte(length) == UInt8(ascii: ">") else { return false }
    if byte(length + 1) == UInt8(ascii: ":") {
      tokens.removeLast()
      at += 1
      add(.word, length: length - 1)
      at += 1
    } else {
      at += length + 1
    }
    return true
  }

  /// A number, a numeric label's reference (`1f`), or a number with the `ll` of a wide immediate on it.
  private mutating func addNumber() throws(AssemblyError) {
    var length = 0
    while byte(length).continuesWord { length += 1 }
    var digits = text[at..<at + length]
    let whole = digits
    if digits.count > 2, digits.suffix(2).elementsEqual("ll".utf8) { digits.removeLast(2) }
    if let value = Self.number(digits) {
      add(.number(value), length: digits.count)
      if digits.count < whole.count { add(.word, length: 2) }
      return
    }
    if let last = digits.last, last == UInt8(ascii: "f") || last == UInt8(ascii: "b"),
      let value = Self.parse(digits.dropLast(), radix: 10)
    {
      add(.localLabel(value, forward: last == UInt8(ascii: "f")), length: length)
      return
    }
    // The address in front of a function in the output of `llvm-objdump` has no `0x`.
    if length == 16, atLineStart, byte(length) == UInt8(ascii: " "), byte(length + 1) == UInt8(ascii: "<"),
      let value = Self.parse(whole, radix: 16)
    {
      add(.number(value), length: length)
      return
    }
    throw AssemblyError(.invalidNumber(String(decoding: whole, as: UTF8.self)), at: position)
  }

  private static func number(_ digits: ArraySlice<UInt8>) -> UInt64? {
    guard digits.first == UInt8(ascii: "0"), digits.count > 2 else { return parse(digits, radix: 10) }
    switch digits[digits.startIndex + 1] | 0x20 {
    case UInt8(ascii: "x"): return parse(digits.dropFirst(2), radix: 16)
    case UInt8(ascii: "b"): return parse(digits.dropFirst(2), radix: 2)
    default: return parse(digits, radix: 10)
    }
  }

  private static func parse(_ digits: ArraySlice<UInt8>, radix: UInt8) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for digit in digits {
      guard let number = digit.hexValue, number < radix else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: UInt64(radix))
      let (sum, carry) = product.addingReportingOverflow(UInt64(number))
      guard !overflow, !carry else { return nil }
      value = sum
    }
    return value
  }

  private mutating func addWord() {
    if text[at...].starts(with: "kernel-function".utf8), !byte(15).continuesWord {
      add(.word, length: 15)
      return
    }
    var length = 0
    while byte(length).continuesWord { length += 1 }
    // `l0_%=`: the compiler makes such a label unique to its `asm` statement.
    if byte(length - 1) == UInt8(ascii: "_"), byte(length) == UInt8(ascii: "%"), byte(length + 1) == UInt8(ascii: "=") {
      length += 2
    }
    add(.word, length: length)
  }

  /// `%[name]`: an operand of a C compiler's `asm` statement, taken as the name in it.
  private mutating func addTemplateName() throws(AssemblyError) {
    var length = 2
    while byte(length).continuesWord { length += 1 }
    guard length > 2, byte(length) == UInt8(ascii: "]") else {
      throw AssemblyError(.unexpectedByte(UInt8(ascii: "%")), at: position)
    }
    at += 2
    add(.word, length: length - 2)
    at += 1
  }
}

extension UInt8 {
  fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }

  fileprivate var startsWord: Bool {
    switch self {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
    case UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "$"): true
    default: self >= 0x80
    }
  }

  fileprivate var continuesWord: Bool { startsWord || isDigit }

  fileprivate var hexValue: UInt8? {
    switch self {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): self - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): self - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): self - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
