import BPFISA
import BPFLinux
import BPFVerifier
import BTF

/// A golden case: a program, and what Linux answered when it was asked.
///
/// One text file each. A line of `=== NAME` starts a part; what stands before the first is the header.
///
///     # One byte past the value.
///     type: socket_filter
///     map: counters array key=4 value=8 entries=1
///
///     === program
///       …
///       exit
///
///     === linux 6.18
///     verdict: refused EACCES 13
///     insns: 9
///     states: 1 total, 1 peak
///
///     === log 1
///     …
///
/// ## Header
/// * `#`: what the case is about.
/// * `type:` and `attach:` as libbpf names them; `license:` (GPL if not said); `flags:` of `ProgramFlags`;
///   `caps:` of `Capabilities` (all if not said; without `bpf`, `kernel.unprivileged_bpf_disabled` is supposed to be
///   0); `levels:` of the log (`1 2` if not said); `needs: kernel-types` where the answer takes the kernel's BTF and
///   neither a call nor a target says so.
/// * `category:` what kind of refusal it is (`RefusalCategory`); `skep golden record` puts it in.
/// * `target:` what a program of type tracing, lsm or struct_ops attaches to: `sched_switch`, `file_open`,
///   `tcp_congestion_ops.ssthresh`.
/// * `map: NAME TYPE key=N value=N entries=N [flags=N] [extra=N] [inner=MAP] [data=HEX] [frozen] [types=STRUCT]`.
///   A map that is another's `inner` is only its model, unless the program names it too.
/// * `struct: NAME { TYPE FIELD; TYPE FIELD[N]; }` and `func: LABEL static|global TYPE (TYPE NAME, …)`: types and
///   functions of the program's BTF (`GoldenTypes`).
///
/// ## Program
/// LLVM's assembler text. `call` takes names of helpers, kernel functions and labels, `rN = NAME ll` names of maps
/// (`NAME[8] ll` is byte 8 of the value), and `typeid_NAME` is the number of a declared struct. Lines between
/// `.repeat N` and `.end` stand N times, `%i` being the round. A line `;; TEXT` is the source line of the instruction
/// behind it.
public struct GoldenCase: Sendable {
  public var path: String
  public var header: [String]
  public var programText: [String]
  public var program: Program
  public var capabilities: Capabilities = .all
  public var levels: [UInt32] = [1, 2]
  /// The answer takes the kernel's BTF, though it is the same with that of any kernel.
  public var needsKernelTypes = false
  /// What kind of refusal this is, if it is one.
  public private(set) var category: RefusalCategory?
  /// It is loaded by somebody who may do so only where `kernel.unprivileged_bpf_disabled` is 0.
  public var supposesUnprivileged: Bool { !capabilities.allows(.bpf) }
  /// By version of Linux.
  public var answers: [GoldenAnswer] = []

  /// `bounds/off-by-one`: the folder and the file's name.
  public var name: String {
    let parts = path.split(separator: "/").suffix(2).joined(separator: "/")
    return parts.hasSuffix(Self.suffix) ? String(parts.dropLast(Self.suffix.count)) : parts
  }

  /// How files of cases end.
  public static let suffix = ".golden"

  /// What Linux `version` (`6.18`) answered.
  public func answer(of version: String) -> GoldenAnswer? { answers.first { $0.version == version } }

  /// Reads a case from the bytes of its file.
  ///
  /// - Parameter types: those of the kernel that is to answer; numbers of kernel functions are from there.
  public init(path: String, contents: [UInt8], types: BTF? = nil) throws(GoldenCaseError) {
    self.path = path
    var parts: [(title: String, line: Int, lines: [String])] = [("", 1, [])]
    for (index, bytes) in contents.split(separator: 10, omittingEmptySubsequences: false).enumerated() {
      let line = String(decoding: bytes, as: UTF8.self)
      if line.hasPrefix("=== ") {
        parts.append((String(line.dropFirst(4)), index + 2, []))
      } else {
        parts[parts.count - 1].lines.append(line)
      }
    }
    header = parts[0].lines
    guard let text = parts.first(where: { $0.title == "program" }) else {
      throw GoldenCaseError(path: path, line: contents.count(where: { $0 == 10 }), message: "there is no === program")
    }
    programText = text.lines
    var builder = GoldenProgramBuilder(path: path, kernelTypes: types)
    for (index, line) in header.enumerated() { try builder.read(line, number: index + 1) }
    try builder.assemble(text.lines, firstLine: text.line)
    program = try builder.finish()
    capabilities = builder.capabilities
    levels = builder.levels
    needsKernelTypes = builder.needsKernelTypes
    category = builder.category
    for part in parts.dropFirst() where part.title != "program" {
      let words = part.title.split(separator: " ")
      switch words.first {
      case "linux" where words.count == 2:
        answers.append(try GoldenAnswer(version: String(words[1]), part.lines, path: path, line: part.line))
      case "log" where words.count == 2 && !answers.isEmpty:
        guard let level = UInt32(words[1]) else { fallthrough }
        answers[answers.count - 1].logs[level] = part.lines.dropLast().map { $0 + "\n" }.joined()
      default:
        throw GoldenCaseError(path: path, line: part.line - 1, message: "unknown part '\(part.title)'")
      }
    }
  }

  /// The case as one of `category`.
  public func categorised(_ category: RefusalCategory?) -> GoldenCase {
    var golden = self
    golden.category = category
    golden.header.removeAll { $0.hasPrefix("category:") }
    guard let category else { return golden }
    let type = golden.header.firstIndex { $0.hasPrefix("type:") }
    let place = type.map { $0 + 1 } ?? golden.header.firstIndex { !$0.hasPrefix("#") } ?? golden.header.count
    golden.header.insert("category: \(category.rawValue)", at: place)
    return golden
  }

  /// The text of the file.
  public var text: String {
    func trimmed(_ lines: [String]) -> [String] {
      var lines = lines
      while lines.last?.isEmpty == true { lines.removeLast() }
      return lines
    }
    var lines = trimmed(header) + ["", "=== program"] + trimmed(programText) + [""]
    for answer in answers {
      lines += ["=== linux \(answer.version)"] + answer.lines + [""]
      for (level, log) in answer.logs.sorted(by: { $0.key < $1.key }) {
        lines.append("=== log \(level)")
        lines += log.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
      }
    }
    while lines.last?.isEmpty == true { lines.removeLast() }
    return lines.joined(separator: "\n") + "\n"
  }
}

/// What a Linux answered to a golden case.
public struct GoldenAnswer: Sendable, Hashable {
  public var version: String
  public var verdict: Verdict
  public var errno: Int32
  public var instructions: Int
  public var totalStates: Int
  public var peakStates: Int
  /// By level; masked (`GoldenLog`).
  public var logs: [UInt32: String] = [:]

  public enum Verdict: String, Sendable, Hashable {
    case accepted
    case refused
    /// It never reached the verifier.
    case unloadable
  }

  public init(
    version: String, verdict: Verdict, errno: Int32, instructions: Int, totalStates: Int, peakStates: Int,
    logs: [UInt32: String]
  ) {
    self.version = version
    self.verdict = verdict
    self.errno = errno
    self.instructions = instructions
    self.totalStates = totalStates
    self.peakStates = peakStates
    self.logs = logs
  }

  var lines: [String] {
    let error = errno == 0 ? "" : " \(Errno(rawValue: errno)) \(errno)"
    return [
      "verdict: \(verdict.rawValue)\(error)", "insns: \(instructions)",
      "states: \(totalStates) total, \(peakStates) peak",
    ]
  }

  init(version: String, _ lines: [String], path: String, line: Int) throws(GoldenCaseError) {
    self.init(
      version: version, verdict: .accepted, errno: 0, instructions: 0, totalStates: 0, peakStates: 0, logs: [:])
    for (index, text) in lines.enumerated() where !text.isEmpty {
      let words = text.split(separator: " ").map(String.init)
      let numbers = words.compactMap { Int($0) }
      switch words[0] {
      case "verdict:" where words.count >= 2:
        guard let verdict = Verdict(rawValue: words[1]) else { fallthrough }
        self.verdict = verdict
        errno = numbers.first.map { Int32(truncatingIfNeeded: $0) } ?? 0
      case "insns:" where numbers.count == 1: instructions = numbers[0]
      case "states:" where numbers.count == 2:
        totalStates = numbers[0]
        peakStates = numbers[1]
      default: throw GoldenCaseError(path: path, line: line + index, message: "unknown answer '\(text)'")
      }
    }
  }

  /// Where `other` says something else, a line each; the first line that differs of each log.
  public func differences(from other: GoldenAnswer) -> [String] {
    var found: [String] = []
    if verdict != other.verdict || errno != other.errno {
      found.append("\(lines[0]); expected \(other.lines[0])")
    }
    if instructions != other.instructions { found.append("insns \(instructions), expected \(other.instructions)") }
    if totalStates != other.totalStates || peakStates != other.peakStates {
      found.append("\(lines[2]); expected \(other.lines[2])")
    }
    for (level, expected) in other.logs.sorted(by: { $0.key < $1.key }) {
      guard let log = logs[level], log != expected else { continue }
      let mine = log.split(separator: "\n", omittingEmptySubsequences: false)
      let theirs = expected.split(separator: "\n", omittingEmptySubsequences: false)
      let at = zip(mine, theirs).enumerated().first { $0.element.0 != $0.element.1 }?.offset
        ?? min(mine.count, theirs.count)
      found.append(
        """
        log at level \(level), line \(at + 1):
            got:      \(at < mine.count ? String(mine[at]) : "(no such line)")
            expected: \(at < theirs.count ? String(theirs[at]) : "(no such line)")
        """)
    }
    return found
  }
}

/// Why a file is no golden case.
public struct GoldenCaseError: Error, Hashable, Sendable, CustomStringConvertible {
  public let path: String
  public let line: Int
  public let message: String

  public var description: String { "\(path):\(line): \(message)" }
}

/// What differs from one run to the next in a log.
public enum GoldenLog {
  /// The log with what no two runs have in common replaced: the time, addresses of maps, and the numbers that the
  /// kernel's type information gives to kernel functions.
  public static func masked(_ log: [UInt8]) -> String {
    var text = ""
    let lines = String(decoding: log, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() {
      if index > 0 { text += "\n" }
      // Not all messages end their line.
      if let time = line.firstRange(of: "verification time "), line.hasSuffix(" usec") {
        text += line[..<time.upperBound] + "N usec"
      } else if let at = address(in: line) {
        text += line[..<at.lowerBound] + "ADDRESS" + line[at.upperBound...]
      } else if let at = functionNumber(in: line) ?? typeNumber(in: line) {
        // What follows is aligned.
        let rest = line[at.upperBound...]
        text += line[..<at.lowerBound] + "ID" + (rest.hasPrefix(" ") ? " " : "") + rest.drop { $0 == " " }
      } else {
        text += line
      }
    }
    return text
  }

  /// The number in `call bpf_task_acquire#71234`.
  private static func functionNumber(in line: Substring) -> Range<Substring.Index>? {
    var start = line.startIndex
    while let mark = line[start...].firstIndex(of: "#") {
      let digits = line[line.index(after: mark)...].prefix { $0.isNumber }
      let name = line[start..<mark].reversed().prefix { $0.isLetter || $0.isNumber || $0 == "_" }.reversed()
      if !digits.isEmpty, KfuncTable.isRegistered(String(name)) { return digits.startIndex..<digits.endIndex }
      start = digits.endIndex
    }
    return nil
  }

  /// The number in `attach_btf_id 95 is not a function` and `arg0 has btf_id 95 type STRUCT 'sock'`.
  private static func typeNumber(in line: Substring) -> Range<Substring.Index>? {
    guard let mark = line.firstRange(of: "attach_btf_id ") ?? line.firstRange(of: " has btf_id ") else { return nil }
    let digits = line[mark.upperBound...].prefix { $0.isNumber }
    return digits.isEmpty ? nil : digits.startIndex..<digits.endIndex
  }

  /// The pointer that `(18) r1 = 0xffff888104a3c000` loads; constants of programs lie elsewhere.
  private static func address(in line: Substring) -> Range<Substring.Index>? {
    guard let opcode = line.firstRange(of: "(18) r"), let start = line[opcode.upperBound...].firstRange(of: " = 0x")
    else { return nil }
    let digits = line[start.upperBound...].prefix { $0.isHexDigit }
    guard digits.count == 16, let value = UInt64(digits, radix: 16),
      (0xffff_8000_0000_0000..<0xffff_fe00_0000_0000).contains(value)
    else { return nil }
    return line.index(start.upperBound, offsetBy: -2)..<digits.endIndex
  }
}
