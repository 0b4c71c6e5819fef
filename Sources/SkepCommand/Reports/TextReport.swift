import BPFExplain
import BPFLinux
import BPFVerifier
import Dispatch
import Skep
import Synchronization

/// `--format text`: a table of all programs, then what is to be said of each that was refused.
struct TextReport {
  let programs: [CheckedProgram]
  let checker: Checker
  /// 0: no log is shown; refused programs are explained.
  let logLevel: UInt32
  let colour: Bool

  func write(to terminal: Terminal) {
    terminal.write(table)
    let diagnoses = logLevel == 0 ? diagnoses() : []
    for (index, program) in programs.enumerated() {
      if logLevel != 0 {
        if program.isAccepted {
          guard !program.log.isEmpty else { continue }
          terminal.write("\n\(painted(.bold, "\(program.file): \(program.name)")): accepted\n")
        } else {
          terminal.write(explanation(program))
        }
        terminal.write(program.log)
      } else if !program.isAccepted {
        terminal.write(explanation(program))
        terminal.write(diagnoses[index])
      }
    }
    if programs.count > 1 { terminal.write("\n" + summary) }
  }

  // MARK: Table

  private var table: String {
    guard !programs.isEmpty else { return "no programs\n" }
    var rows = [["file", "program", "type", "verdict", "insns", "states", "time"]]
    for program in programs {
      let counts = program.statistics
      rows.append([
        program.file, program.name, program.type.name, verdict(program), "\(counts.instructions)",
        "\(counts.totalStates)", "\(counts.microseconds) us",
      ])
    }
    let isRight = [false, false, false, false, true, true, true]
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    var text = ""
    for (number, row) in rows.enumerated() {
      var line = ""
      for (column, cell) in row.enumerated() {
        let space = String(repeating: " ", count: widths[column] - cell.count)
        var shown = cell
        if number == 0 {
          shown = painted(.bold, cell)
        } else if column == 3 {
          shown = painted(colour(of: programs[number - 1]), cell)
        }
        line += (column == 0 ? "" : "  ") + (isRight[column] ? space + shown : shown + space)
      }
      text += line + "\n"
    }
    return text
  }

  private func verdict(_ program: CheckedProgram) -> String {
    switch program.outcome {
    case .accepted, .acceptedByKernel: "accepted"
    case .refused(let rejection): "refused (\(rejection.errno))"
    case .refusedByKernel(let errno): "refused (\(errno))"
    case .unloadable: "unloadable"
    }
  }

  private var summary: String {
    let accepted = programs.filter(\.isAccepted).count
    let unloadable = programs.filter { $0.verdict == "unloadable" }.count
    var text = "\(programs.count) programs: \(accepted) accepted, \(programs.count - accepted - unloadable) refused"
    if unloadable > 0 { text += ", \(unloadable) unloadable" }
    return text + "\n"
  }

  // MARK: Refusals

  private func explanation(_ program: CheckedProgram) -> String {
    var text = "\n" + painted(.bold, "\(program.file): \(program.name)") + ": "
    switch program.outcome {
    case .accepted, .acceptedByKernel: return ""
    case .unloadable(let errno, let reason):
      return text + "\(painted(.yellow, "unloadable")) (\(Errno(rawValue: errno))): \(reason)\n"
    case .refusedByKernel(let errno): text += "\(painted(.red, "refused")) by the running kernel (\(errno))\n"
    case .refused(let rejection):
      text += "\(painted(.red, "refused")) (\(rejection.errno)), \(rejection.category.rawValue)\n"
    }
    return text
  }

  /// By program; empty for those that are not refused. They are verified again, several at a time.
  private func diagnoses() -> [String] {
    let texts = Mutex<[String]>(Array(repeating: "", count: programs.count))
    let wanted = programs.indices.filter { programs[$0].verdict == "failure" }
    let next = Atomic<Int>(0)
    let writer = DiagnosisText(colour: colour, shownPath: SourcePath.shown)
    DispatchQueue.concurrentPerform(iterations: max(1, min(checker.parallelism, wanted.count))) { _ in
      while true {
        let at = next.add(1, ordering: .relaxed).oldValue
        guard at < wanted.count else { return }
        guard let diagnosis = checker.diagnosis(of: programs[wanted[at]]) else { continue }
        let text = writer.text(diagnosis)
        texts.withLock { $0[wanted[at]] = text }
      }
    }
    return texts.withLock { $0 }
  }

  // MARK: Colour

  private enum Paint: String {
    case bold = "1"
    case red = "31"
    case green = "32"
    case yellow = "33"
  }

  private func colour(of program: CheckedProgram) -> Paint {
    switch program.verdict {
    case "success": .green
    case "failure": .red
    default: .yellow
    }
  }

  private func painted(_ paint: Paint, _ text: String) -> String {
    colour ? "\u{1b}[\(paint.rawValue)m\(text)\u{1b}[0m" : text
  }
}
