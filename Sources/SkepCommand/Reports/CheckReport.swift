import BPFLinux
import BPFVerifier
import Skep
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Prints what `skep check` finds, in the format that was asked for.
final class CheckReport: Sendable {
  private let request: CheckRequest
  private let total: Int
  private let done = Atomic<Int>(0)
  private let failed = Atomic<Bool>(false)
  private let start = ContinuousClock.now
  private let showsProgress: Bool
  private let hasShownProgress = Atomic<Bool>(false)

  init(request: CheckRequest, total: Int) {
    self.request = request
    self.total = total
    // Rows that scroll by are progress enough.
    showsProgress = Terminal.error.isTerminal && (request.format != .csv || !Terminal.output.isTerminal)
  }

  func begin() {
    if request.format == .csv { Terminal.output.write(CSVReport.header) }
  }

  /// The next program, in order.
  func add(_ program: CheckedProgram) {
    if let directory = request.logDirectory, !program.log.isEmpty {
      let path = "\(directory)/\(program.file)__\(program.name).log"
      if !Terminal.writeFile(program.log, to: path) {
        Terminal.complain("cannot write \(path)")
        failed.store(true, ordering: .relaxed)
      }
    }
    if request.format == .csv { Terminal.output.write(CSVReport.row(program)) }
    let count = done.add(1, ordering: .relaxed).newValue
    if showsProgress && start.duration(to: .now) > .seconds(1) {
      Terminal.error.write("\r\u{1b}[K\(count) of \(total) programs")
      hasShownProgress.store(true, ordering: .relaxed)
    }
  }

  /// All of them; false where something could not be written.
  func end(_ programs: [CheckedProgram], _ checker: Checker) -> Bool {
    if hasShownProgress.load(ordering: .relaxed) { Terminal.error.write("\r\u{1b}[K") }
    switch request.format {
    case .csv: break
    case .json: Terminal.output.write(JSONReport.text(programs, withLogs: request.logLevel != 0))
    case .sarif: Terminal.output.write(SARIFReport.text(programs, paths: request.paths))
    case .text:
      let report = TextReport(
        programs: programs, checker: checker, logLevel: request.logDirectory == nil ? request.logLevel : 0,
        colour: Terminal.output.hasColour)
      report.write(to: Terminal.output)
    }
    return !failed.load(ordering: .relaxed)
  }
}

/// `--format csv`: one row a program.
enum CSVReport {
  static let header = "file,prog,verdict,errno,insns,total_states,peak_states,usec,prog_type\n"

  static func row(_ program: CheckedProgram) -> String {
    let counts = program.statistics
    return "\(field(program.file)),\(field(program.name)),\(program.verdict),\(program.errno),"
      + "\(counts.instructions),\(counts.totalStates),\(counts.peakStates),\(counts.microseconds),"
      + "\(program.type.name)\n"
  }

  /// Quoted where it must be (RFC 4180).
  static func field(_ text: String) -> String {
    guard text.utf8.contains(where: { [0x22, 0x2c, 0x0a, 0x0d].contains($0) }) else { return text }
    return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }
}
