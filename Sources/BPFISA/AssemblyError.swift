/// A place in assembly text. Both numbers count from 1; columns are bytes of UTF-8.
public struct SourcePosition: Hashable, Sendable, CustomStringConvertible {
  public var line: Int
  public var column: Int

  public init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  public var description: String { "\(line):\(column)" }
}

/// Why text is not a BPF program, and where.
public struct AssemblyError: Error, Hashable, CustomStringConvertible, Sendable {
  /// The rule that the text breaks.
  public enum Rule: Hashable, Sendable {
    /// A byte that starts no token.
    case unexpectedByte(UInt8)
    case unterminatedComment
    /// Digits that are no number, or a number past 64 bits.
    case invalidNumber(String)
    /// Something else stands where `expected` must.
    case expected(String, found: String)
    /// The first word of a statement names no instruction.
    case unknownInstruction(String)
    case unknownDirective(String)
    /// The word on the right side of an assignment names no operation.
    case unknownOperation(String)
    /// A register that the encoding has no number for.
    case invalidRegister(String)
    /// `r` where only `w` can be, or the other way round.
    case registerWidth(String)
    /// Two places of the instruction share one field, so they must name the same register.
    case registersDiffer(String, String)
    case immediateOutOfRange(String)
    case offsetOutOfRange(String)
    /// The distance to the label does not fit the field of the jump.
    case jumpOutOfRange(String)
    case undefinedLabel(String)
    case duplicateLabel(String)
    /// A name that neither the text nor the caller knows.
    case unknownSymbol(String)
    /// The opcode in front of the statement is not the one that the statement has.
    case opcodeMismatch(written: UInt8, assembled: UInt8)
  }

  public let position: SourcePosition
  public let rule: Rule

  public var line: Int { position.line }
  public var column: Int { position.column }

  public init(_ rule: Rule, at position: SourcePosition) {
    self.position = position
    self.rule = rule
  }

  public var description: String { "\(position): \(rule.text)" }
}

extension AssemblyError.Rule {
  fileprivate var text: String {
    switch self {
    case .unexpectedByte(let byte):
      (0x21...0x7e).contains(byte)
        ? "unexpected '\(Character(Unicode.Scalar(byte)))'" : "unexpected byte 0x\(String(byte, radix: 16))"
    case .unterminatedComment: "comment without an end"
    case .invalidNumber(let text): "'\(text)' is not a number"
    case .expected(let wanted, let found): "expected \(wanted), found \(found)"
    case .unknownInstruction(let name): "'\(name)' is not an instruction"
    case .unknownDirective(let name): "'\(name)' is not a directive"
    case .unknownOperation(let name): "'\(name)' is not an operation"
    case .invalidRegister(let name): "there is no register '\(name)'"
    case .registerWidth(let name): "register '\(name)' has the wrong width here"
    case .registersDiffer(let first, let second): "'\(second)' must be the same register as '\(first)'"
    case .immediateOutOfRange(let value): "\(value) does not fit the immediate"
    case .offsetOutOfRange(let value): "\(value) does not fit the 16-bit offset"
    case .jumpOutOfRange(let label): "label '\(label)' is too far away for this jump"
    case .undefinedLabel(let label): "label '\(label)' is not defined"
    case .duplicateLabel(let label): "label '\(label)' is defined twice"
    case .unknownSymbol(let name): "'\(name)' is not known"
    case .opcodeMismatch(let written, let assembled):
      "the opcode is written as 0x\(String(written, radix: 16)), that of the instruction is "
        + "0x\(String(assembled, radix: 16))"
    }
  }
}
