import Foundation
import Testing

@testable import SkepCommand

/// What the built command prints and with which code it ends.
@Suite struct CommandTests {
  struct Run {
    let code: Int32
    let output: String
    let errors: String
    var lines: [String] { output.split(separator: "\n").map(String.init) }
  }

  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  static let examples = root.appendingPathComponent("Examples").path
  static let header = "file,prog,verdict,errno,insns,total_states,peak_states,usec,prog_type"

  /// The command that is built beside the tests.
  static let binary: URL = {
    var folder = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
    while folder.path != "/" {
      let candidate = folder.appendingPathComponent("skep")
      if FileManager.default.isExecutableFile(atPath: candidate.path) { return candidate }
      folder.deleteLastPathComponent()
    }
    return root.appendingPathComponent(".build/debug/skep")
  }()

  static func skep(_ arguments: String..., in folder: String? = nil) throws -> Run {
    try run(arguments, in: folder)
  }

  static func run(_ arguments: [String], in folder: String? = nil) throws -> Run {
    let process = Process()
    process.executableURL = binary
    process.arguments = arguments
    if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("skep-test-\(UUID())")
    try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: scratch) }
    // Files, not pipes: nothing to drain while it runs.
    let paths = ["out", "err"].map { scratch.appendingPathComponent($0) }
    for path in paths { try Data().write(to: path) }
    process.standardOutput = try FileHandle(forWritingTo: paths[0])
    process.standardError = try FileHandle(forWritingTo: paths[1])
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit)
    return Run(
      code: process.terminationStatus, output: try String(contentsOf: paths[0], encoding: .utf8),
      errors: try String(contentsOf: paths[1], encoding: .utf8))
  }

  static func temporaryFile(_ bytes: [UInt8], _ name: String = "input.o") throws -> String {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skep-test-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let path = folder.appendingPathComponent(name)
    try Data(bytes).write(to: path)
    return path.path
  }

  static func example(_ name: String) -> String { "\(examples)/\(name)" }

  // MARK: Verdicts

  @Test func acceptedIsZeroRefusedIsOne() throws {
    let good = try Self.skep("check", Self.example("xdp_good.bpf.o"))
    #expect(good.code == 0)
    #expect(good.output.contains("accepted"))
    #expect(good.errors.isEmpty)
    let bad = try Self.skep("check", Self.example("xdp_bad.bpf.o"))
    #expect(bad.code == 1)
    #expect(bad.output.contains("refused (EACCES)"))
    #expect(bad.output.contains("xdp_bad.bpf.c:9:"))
    #expect(bad.output.contains("error[packet-bounds]: read of 1 byte at packet offset 0 is not proven in bounds\n"))
    #expect(bad.output.contains("= linux: EACCES: R1 offset is outside of the packet\n"))
    #expect(!bad.output.contains("\u{1b}"))
  }

  @Test func rowsHaveTheColumnsOfTheContract() throws {
    let run = try Self.skep(
      "check", "--format", "csv", Self.example("xdp_good.bpf.o"), Self.example("xdp_bad.bpf.o"))
    #expect(run.code == 1)
    #expect(run.lines.first == Self.header)
    let rows = run.lines.dropFirst().map { $0.split(separator: ",", omittingEmptySubsequences: false) }
    #expect(rows.map(\.count) == [9, 9])
    #expect(rows.map { $0[0] } == ["xdp_good.bpf.o", "xdp_bad.bpf.o"])
    #expect(rows.map { $0[1] } == ["xdp_good", "xdp_bad"])
    #expect(rows.map { $0[2] } == ["success", "failure"])
    #expect(rows.map { $0[3] } == ["0", "13"])
    #expect(rows.map { $0[4] } == ["12", "2"])
    #expect(rows.map { $0[8] } == ["xdp", "xdp"])
  }

  @Test func jsonIsJSON() throws {
    let run = try Self.skep("check", "--format=json", "--log-level", "1", Self.example("xdp_bad.bpf.o"))
    let rows = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [[String: Any]])
    #expect(rows.count == 1)
    #expect(rows[0]["verdict"] as? String == "failure")
    #expect(rows[0]["errno"] as? Int == 13)
    #expect((rows[0]["source"] as? [String: Any])?["line"] as? Int == 9)
    #expect((rows[0]["log"] as? String)?.contains("invalid access to packet") == true)
  }

  @Test func sarifIsSARIF() throws {
    let run = try Self.skep(
      "check", "--format", "sarif", Self.example("xdp_bad.bpf.o"), Self.example("xdp_good.bpf.o"))
    let log = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    #expect(log["version"] as? String == "2.1.0")
    let first = try #require((log["runs"] as? [[String: Any]])?.first)
    let results = try #require(first["results"] as? [[String: Any]])
    #expect(results.count == 1)
    #expect(results[0]["ruleId"] as? String == "packet-bounds")
  }

  @Test func logsGoToTheirFolder() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skep-logs-\(UUID())")
    defer { try? FileManager.default.removeItem(at: folder) }
    let run = try Self.skep(
      "check", "--format", "csv", "--log-level", "1", "--log-dir", folder.path, Self.example("xdp_bad.bpf.o"))
    #expect(run.code == 1)
    let path = folder.appendingPathComponent("xdp_bad.bpf.o__xdp_bad.log")
    let log = try String(contentsOf: path, encoding: .utf8)
    #expect(log.contains("R1 offset is outside of the packet\n"))
    #expect(log.split(separator: "\n").last?.hasPrefix("processed 2 insns") == true)
  }

  @Test func onlyTheProgramsAskedFor() throws {
    let one = try Self.skep(
      "check", "--format", "csv", "--prog", "xdp_bad", Self.example("xdp_bad.bpf.o"),
      Self.example("xdp_good.bpf.o"))
    #expect(one.lines.count == 2)
    let none = try Self.skep("check", "--prog", "nobody", Self.example("xdp_bad.bpf.o"))
    #expect(none.code == 2)
    #expect(none.errors == "skep: there is no program 'nobody' in what was given\n")
  }

  @Test func bareInstructions() throws {
    // r0 = 0; exit
    let path = try Self.temporaryFile([0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0], "zero.bin")
    let run = try Self.skep("check", "--raw", "--type", "xdp", "--format", "csv", path)
    #expect(run.code == 0)
    #expect(run.lines.last?.hasPrefix("zero.bin,zero,success,0,2,") == true)
    #expect(try Self.skep("check", "--raw", path).code == 2)
    #expect(try Self.skep("check", "--raw", "--type", "nothing", path).code == 2)
    let odd = try Self.temporaryFile([0xb7, 0, 0], "odd.bin")
    #expect(try Self.skep("check", "--raw", "--type", "xdp", odd).code == 2)
  }

  // MARK: Bad input

  @Test(arguments: [
    ["check"], ["check", "--nonsense", "x.o"], ["check", "--format", "xml", "x.o"],
    ["check", "--log-level", "8", "x.o"], ["check", "--log-level", "many", "x.o"], ["check", "--kernel", "6.12", "x.o"],
    ["check", "--caps", "everything", "x.o"], ["check", "--jobs", "0", "x.o"], ["check", "--engine", "steam", "x.o"],
    ["check", "--format"], ["check", "--raw=1", "x"], ["nonsense"], ["help", "nonsense"], ["dump"], ["btf"],
    ["btf", "dump"], ["completions"], ["completions", "tcsh"], [],
  ])
  func wrongUsageIsTwo(words: [String]) throws {
    let process = Process()
    process.executableURL = Self.binary
    process.arguments = words
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit)
    #expect(process.terminationStatus == 2)
  }

  @Test func unreadableInputIsTwoAndNamed() throws {
    let missing = try Self.skep("check", "/nowhere/x.o")
    #expect(missing.code == 2)
    #expect(missing.errors == "skep: /nowhere/x.o: No such file or directory\n")
    let empty = try Self.temporaryFile([])
    let run = try Self.skep("check", "--format", "csv", empty, Self.example("xdp_good.bpf.o"))
    #expect(run.code == 2)
    #expect(run.errors.hasPrefix("skep: \(empty): at byte 0: "))
    // The others are checked all the same.
    #expect(run.lines.count == 2)
  }

  @Test func truncatedObjectsAreRefused() throws {
    let whole = [UInt8](try Data(contentsOf: URL(fileURLWithPath: Self.example("xdp_packet_len.bpf.o"))))
    for length in stride(from: 1, to: whole.count - 1, by: 97) {
      let path = try Self.temporaryFile(Array(whole[..<length]))
      let run = try Self.skep("check", path)
      #expect(run.code == 2, "\(length) bytes")
      #expect(run.errors.hasPrefix("skep: \(path): "))
      try FileManager.default.removeItem(atPath: (path as NSString).deletingLastPathComponent)
    }
  }

  // MARK: C

  @Test func sourcesAreCompiled() throws {
    let run = try Self.skep("check", "--format", "csv", "xdp_bad.bpf.c", in: Self.examples)
    guard !run.errors.contains("no clang found") else { return }
    #expect(run.code == 1)
    #expect(run.lines.last?.hasPrefix("xdp_bad.bpf.c,xdp_bad,failure,13,2,") == true)
  }

  @Test func theCompilersWordsArePassedOn() throws {
    let path = try Self.temporaryFile(Array("int broken(;\n".utf8), "broken.bpf.c")
    let run = try Self.skep("check", path)
    guard !run.errors.contains("no clang found") else { return }
    #expect(run.code == 2)
    #expect(run.errors.contains("error: "))
    #expect(run.errors.hasSuffix("skep: \(path): does not compile\n"))
    #expect(run.output.isEmpty)
  }

  // MARK: Other commands

  @Test func helpIsThereForEachCommand() throws {
    let help = try Self.skep("--help")
    #expect(help.code == 0)
    for command in CommandLineTool.commands {
      #expect(help.output.contains("\n  \(command.name) "))
      let own = try Self.skep("help", command.name)
      #expect(own.code == 0)
      #expect(own.output.contains("Usage: skep \(command.name)"))
      for option in command.options { #expect(own.output.contains("\n  \(option.name)")) }
      #expect(try Self.skep(command.name, "--help").output == own.output)
    }
    #expect(try Self.skep("--version").output == "skep \(CommandLineTool.version)\n")
  }

  @Test func everyOptionIsInTheManualPage() throws {
    let page = try String(contentsOf: Self.root.appendingPathComponent("Documentation/skep.1"), encoding: .utf8)
    for command in CommandLineTool.commands {
      #expect(page.contains(".Ss skep \(command.name)"))
      for option in command.options { #expect(page.contains("Fl -\(option.name.dropFirst(2))"), "\(option.name)") }
    }
  }

  @Test func completionsNameCommandsAndOptions() throws {
    for shell in ["bash", "zsh", "fish"] {
      let run = try Self.skep("completions", shell)
      #expect(run.code == 0)
      for command in CommandLineTool.commands { #expect(run.output.contains(command.name)) }
      #expect(run.output.contains("log-level"))
    }
  }

  @Test func dumpsPrograms() throws {
    let listing = try Self.skep("dump", Self.example("xdp_good.bpf.o"))
    #expect(listing.code == 0)
    #expect(listing.output.contains("exit\n"))
    let graph = try Self.skep("dump", "--format", "dot", Self.example("xdp_good.bpf.o"))
    #expect(graph.output.hasPrefix("digraph"))
    #expect(try Self.skep("dump", "--format", "png", Self.example("xdp_good.bpf.o")).code == 2)
    #expect(try Self.skep("dump", "--prog", "nobody", Self.example("xdp_good.bpf.o")).code == 2)
  }

  @Test func dumpsTypes() throws {
    let raw = try Self.skep("btf", "dump", Self.example("xdp_packet_len.bpf.o"))
    #expect(raw.code == 0)
    #expect(raw.lines.contains { $0.contains("] STRUCT 'xdp_md' size=24") })
    let c = try Self.skep("btf", "dump", Self.example("xdp_packet_len.bpf.o"), "format", "c")
    #expect(c.output.contains("struct xdp_md {"))
    #expect(try Self.skep("btf", "dump", "/nowhere").code == 2)
    let truncated = try Self.temporaryFile([0x7f, 0x45, 0x4c, 0x46, 2, 1])
    #expect(try Self.skep("btf", "dump", truncated).code == 2)
  }
}

/// The parts of the command that need no process.
@Suite struct CommandPartTests {
  private let options = [
    Option(name: "--level", value: "N", help: ""), Option(name: "--quiet", value: nil, help: ""),
  ]

  @Test func wordsAreTakenApart() throws {
    let arguments = try Arguments(["a", "--level=2", "--quiet", "--level", "3", "-", "--", "--quiet"], options: options)
    #expect(arguments.operands == ["a", "-", "--quiet"])
    #expect(arguments.all("--level") == ["2", "3"])
    #expect(arguments.value("--level") == "3")
    #expect(arguments.has("--quiet"))
  }

  @Test func fieldsAreQuotedWhereTheyMustBe() {
    #expect(CSVReport.field("plain") == "plain")
    #expect(CSVReport.field("a,b") == "\"a,b\"")
    #expect(CSVReport.field("say \"so\"") == "\"say \"\"so\"\"\"")
  }

  @Test func jsonEscapes() throws {
    let text = JSON.object([("k\"", .string("a\\\n\t\u{1}\u{e9}")), ("list", .array([])), ("n", .number(-1))]).text
    let back = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect(back["k\""] as? String == "a\\\n\t\u{1}\u{e9}")
    #expect(back["n"] as? Int == -1)
  }

  @Test func pathsAreShortened() {
    #expect(SourcePath.shown("/nowhere/./a/../b.c") == "/nowhere/b.c")
    #expect(SourcePath.shown("./b.c") == "b.c")
    #expect(SourcePath.shown("../b.c") == "../b.c")
  }
}
