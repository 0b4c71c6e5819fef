import BTF

/// A place in a program's source.
public struct SourceLocation: Hashable, Sendable {
  /// As the compiler recorded it.
  public var file: String
  /// From 1.
  public var line: Int
  public var column: Int
  /// The whole line; empty where the compiler did not record it.
  public var text: String

  public init(file: String, line: Int, column: Int, text: String) {
    self.file = file
    self.line = line
    self.column = column
    self.text = text
  }
}

extension Program {
  /// Where the instruction at slot `index` came from, by the program's line information.
  public func position(of index: Int) -> SourceLocation? {
    guard let btf, let record = lineInfo.last(where: { Int($0.instructionOffset) <= index }) else { return nil }
    return SourceLocation(
      file: btf.string(record.fileNameOffset), line: Int(record.line), column: Int(record.column),
      text: btf.string(record.lineOffset))
  }
}
