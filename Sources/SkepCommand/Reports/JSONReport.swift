import BPFLinux
import Skep

/// `--format json`: an array with one object a program.
enum JSONReport {
  static func text(_ programs: [CheckedProgram], withLogs: Bool) -> String {
    JSON.array(programs.map { value($0, withLog: withLogs) }).text
  }

  private static func value(_ program: CheckedProgram, withLog: Bool) -> JSON {
    let counts = program.statistics
    var members: [(String, JSON)] = [
      ("file", .string(program.file)), ("prog", .string(program.name)), ("section", .string(program.section)),
      ("prog_type", .string(program.type.name)), ("verdict", .string(program.verdict)),
      ("errno", .number(Int(program.errno))), ("insns", .number(counts.instructions)),
      ("total_states", .number(counts.totalStates)), ("peak_states", .number(counts.peakStates)),
      ("usec", .number(counts.microseconds)),
    ]
    if !program.isAccepted { members.append(("message", .string(program.reason))) }
    if let category = program.category { members.append(("category", .string(category))) }
    if case .refused(let rejection) = program.outcome, let instruction = rejection.instruction {
      members.append(("instruction", .number(instruction)))
    }
    if let position = program.position {
      members.append(
        (
          "source",
          .object([
            ("file", .string(position.file)), ("line", .number(position.line)),
            ("column", .number(position.column)), ("text", .string(position.text)),
          ])
        ))
    }
    if withLog { members.append(("log", .string(String(decoding: program.log, as: UTF8.self)))) }
    return .object(members)
  }
}
