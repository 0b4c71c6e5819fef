import BPFLinux
import BPFVerifier
import Skep

/// `--format sarif`: refusals as SARIF 2.1.0, which code hosting services show beside the source.
enum SARIFReport {
  static func text(_ programs: [CheckedProgram], paths: [String]) -> String {
    let refused = programs.filter { !$0.isAccepted }
    let rules = Set(refused.compactMap(\.category)).sorted()
    let driver = JSON.object([
      ("name", .string("skep")), ("version", .string(CommandLineTool.version)),
      ("rules", .array(rules.map { .object([("id", .string($0))]) })),
    ])
    let run = JSON.object([
      ("tool", .object([("driver", driver)])), ("columnKind", .string("utf16CodeUnits")),
      ("results", .array(refused.map { result($0, rules: rules, paths: paths) })),
    ])
    return JSON.object([
      ("$schema", .string("https://json.schemastore.org/sarif-2.1.0.json")), ("version", .string("2.1.0")),
      ("runs", .array([run])),
    ]).text
  }

  private static func result(_ program: CheckedProgram, rules: [String], paths: [String]) -> JSON {
    let rule = program.category ?? "refused"
    var physical: [(String, JSON)] = []
    if let position = program.position {
      physical = [
        ("artifactLocation", .object([("uri", .string(SourcePath.shown(position.file)))])),
        (
          "region",
          .object([
            ("startLine", .number(max(1, position.line))), ("startColumn", .number(max(1, position.column))),
          ])
        ),
      ]
    } else {
      let path = paths.first { $0 == program.file || $0.hasSuffix("/" + program.file) } ?? program.file
      physical = [("artifactLocation", .object([("uri", .string(path))]))]
    }
    let logical = JSON.object([("name", .string(program.name)), ("kind", .string("function"))])
    return .object([
      ("ruleId", .string(rule)), ("ruleIndex", .number(rules.firstIndex(of: rule) ?? -1)),
      ("level", .string("error")),
      ("message", .object([("text", .string("\(program.name): \(program.reason)"))])),
      (
        "locations",
        .array([.object([("physicalLocation", .object(physical)), ("logicalLocations", .array([logical]))])])
      ),
    ])
  }
}
