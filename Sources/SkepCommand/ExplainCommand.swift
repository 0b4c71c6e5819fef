import BPFExplain
import BPFKernel
import BPFLinux
import BPFObject
import BPFVerifier
import Skep

/// `skep explain`: the handbook's page of a code, or what a log from elsewhere means.
enum ExplainCommand: Command {
  static let name = "explain"
  static let summary = "Explain a kind of refusal, or a verifier's log from elsewhere"
  static let operands = "CODE | --log FILE [OBJECT]"
  static let options = [
    Option(name: "--log", value: "FILE", help: "a log that a kernel printed (- for standard input)"),
    Option(name: "--prog", value: "NAME", help: "the program of OBJECT that the log is about"),
    Option(name: "--list", value: nil, help: "all codes, a line each"),
  ]
  static let examples = [
    (command: "skep explain packet-bounds", meaning: "what it means, and how it is done right"),
    (command: "skep explain --log ci.log", meaning: "diagnose a log that a kernel of 5.x to 6.18 printed"),
    (command: "skep explain --log ci.log prog.bpf.o", meaning: "the same, with the source lines of the object"),
  ]
  static let notes = """
    Lines of the log's file that are not the verifier's are skipped where they stand before or after it.

    Exit code: 0 explained; 2 wrong usage, unreadable input, or a log that tells of no refusal.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    if arguments.has("--list") {
      let width = Handbook.pages.map(\.code.count).max() ?? 0
      for page in Handbook.pages {
        Terminal.output.write(
          page.code + String(repeating: " ", count: width + 2 - page.code.count) + page.title + "\n")
      }
      return 0
    }
    if let path = arguments.value("--log") { return try explain(path, arguments) }
    guard let code = arguments.operands.first, arguments.operands.count == 1 else {
      throw UsageError(message: "say one CODE, or --log FILE")
    }
    guard let page = Handbook.page(of: code) else {
      throw UsageError(message: "there is no code '\(code)'; skep explain --list prints them")
    }
    Terminal.output.write(page.text)
    return 0
  }

  private static func explain(_ path: String, _ arguments: Arguments) throws(UsageError) -> Int32 {
    guard let log = readFile(path == "-" ? "/dev/stdin" : path) else {
      Terminal.complain("\(path): cannot be read")
      return 2
    }
    guard arguments.operands.count <= 1 else { throw UsageError(message: "one OBJECT at most") }
    var program: Program?
    if let object = arguments.operands.first {
      guard let found = try Self.program(of: object, arguments.value("--prog"), log: log) else { return 2 }
      program = found
    }
    guard let subject = Subject(log: log, program: program) else {
      Terminal.complain("\(path): no verifier's log with a refusal in it")
      return 2
    }
    let diagnosis = Diagnostician.diagnose(subject)
    Terminal.output.write(DiagnosisText(colour: Terminal.output.hasColour, shownPath: SourcePath.shown).text(diagnosis))
    Terminal.output.write("\nskep explain \(diagnosis.code) says more.\n")
    return 0
  }

  /// The program of an object that a log is about: the one named, or the only one.
  private static func program(of path: String, _ name: String?, log: [UInt8]) throws(UsageError) -> Program? {
    let linux = Linux()
    let inputs = Inputs([path], linux: linux)
    guard let object = inputs.objects.first, !inputs.failed else { return nil }
    let names = object.programs.map(\.name)
    guard let index = name.map({ names.firstIndex(of: $0) }) ?? (names.count == 1 ? 0 : nil) else {
      Terminal.complain("\(path): say --prog, one of \(names.joined(separator: ", "))")
      return nil
    }
    switch Linker(object, linux: linux, options: LinkOptions()).link(index).result {
    case .success(let program): return program
    case .failure(let error):
      Terminal.complain("\(path): \(error.message)")
      return nil
    }
  }
}
