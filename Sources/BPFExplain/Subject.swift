import BPFISA
import BPFLinux
import BPFVerifier
import BTF

/// A refusal that is to be explained: what is known of it, which may be a log and nothing else.
public struct Subject: Sendable {
  /// The program; nil where there is only a log.
  public var program: Program?
  /// What it was verified on; nil where there is only a log.
  public var linux: Linux?
  public var category: RefusalCategory
  public var errno: Int32
  /// Linux's own words, without the newline.
  public var message: String
  /// The refused instruction, where the refusal is about one.
  public var instruction: Int?
  public var trace: VerifierTrace

  /// A refusal of Skep's own.
  public init(_ rejection: Rejection, of program: Program, on linux: Linux) {
    self.program = program
    self.linux = linux
    category = rejection.category
    errno = rejection.errno.rawValue
    message = rejection.message
    instruction = rejection.instruction
    trace = VerifierTrace(log: Verifier.log(of: rejection, program, on: linux, limit: 16 << 20))
  }

  /// A log that a kernel printed; nil where it tells of no refusal.
  ///
  /// - Parameter errno: the error number of `bpf(2)`, where it is known.
  public init?(log: some Sequence<UInt8>, errno: Int32? = nil, program: Program? = nil, linux: Linux? = nil) {
    let trace = VerifierTrace(log: log)
    guard let last = trace.verdictMessage else { return nil }
    self.program = program
    self.linux = linux
    self.trace = trace
    message = last.text
    let known = MessageCatalog.classify(last.text)
    category = known.category
    self.errno = errno ?? known.errno
    instruction = trace.steps.last?.instruction
  }

  /// The step that was refused: the last.
  public var failingStep: Int? {
    guard let last = trace.steps.indices.last, instruction == nil || trace.steps[last].instruction == instruction else {
      return nil
    }
    return last
  }

  /// A label at a step.
  public func label(_ step: Int, _ text: String) -> Diagnosis.Label {
    label(instruction: trace.steps[step].instruction, code: trace.steps[step].text, step: step, text)
  }

  /// A label at an instruction that no step may have reached.
  public func label(instruction: Int, _ text: String) -> Diagnosis.Label {
    let step = trace.steps.lastIndex { $0.instruction == instruction }
    return label(instruction: instruction, code: step.map { trace.steps[$0].text } ?? "", step: step, text)
  }

  private func label(instruction: Int, code: String, step: Int?, _ text: String) -> Diagnosis.Label {
    var position = program?.position(of: instruction)
    if position == nil, let step, let source = source(of: step) {
      position = SourceLocation(file: source.file ?? "", line: source.line ?? 0, column: 0, text: source.text)
    }
    return Diagnosis.Label(
      instruction: instruction, code: code, position: position,
      length: position.map(SourceExpression.length) ?? 1, text: text)
  }

  /// The line of source that a step belongs to, by the log.
  private func source(of step: Int) -> VerifierTrace.SourceText? {
    trace.steps[...step].last { $0.source != nil }?.source
  }
}

/// Expressions in a line of C.
enum SourceExpression {
  /// How many characters the expression takes that begins at the position's column.
  static func length(at position: SourceLocation) -> Int {
    let characters = Array(position.text)
    let start = position.column - 1
    guard start >= 0, start < characters.count else { return 1 }
    var index = start
    var depth = 0
    scan: while index < characters.count {
      switch characters[index] {
      case "(", "[": depth += 1
      case ")", "]":
        if depth == 0 { break scan }
        depth -= 1
      case ";", ",", "{", "}":
        if depth == 0 { break scan }
      case " ":
        // An operator or the end of a keyword: the expression's first part is what the column points at.
        if depth == 0, index > start, !characters[start..<index].allSatisfy({ $0 == "*" || $0 == "&" }) { break scan }
      default: break
      }
      index += 1
    }
    return max(1, index - start)
  }
}
