import BPFLinux
import BPFObject
import Skep

/// `skep dump`: programs as they would be loaded, in words.
enum DumpCommand: Command {
  static let name = "dump"
  static let summary = "Print programs as they would be loaded: instructions, also rewritten, or the control flow graph"
  static let operands = "FILE..."
  static let options = [
    Option(
      name: "--format", value: "FORMAT",
      help: "insns (default): instructions; xlated: after verification and rewriting; dot: control flow for Graphviz"),
    Option(name: "--prog", value: "NAME", help: "only the program of this name (may be repeated)"),
  ] + LinuxOptions.all
  static let examples = [
    (command: "skep dump prog.bpf.o", meaning: "instructions with the source lines they came from"),
    (command: "skep dump --format dot --prog xdp_main prog.bpf.o | dot -Tsvg > xdp_main.svg", meaning: "a picture"),
  ]
  static let notes = """
    Maps, kernel symbols and relocations are resolved as skep check resolves them.

    xlated is what bpftool prog dump xlated prints of the loaded program, with names where that has addresses.

    Exit code: 0; 1 where a program could not be linked or, for xlated, is not accepted; 2 wrong usage or unreadable
    input.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    guard !arguments.operands.isEmpty else { throw UsageError(message: "no FILE given") }
    let format = arguments.value("--format") ?? "insns"
    guard ["insns", "xlated", "dot"].contains(format) else {
      throw UsageError(message: "--format is one of insns, xlated, dot")
    }
    guard let linux = try LinuxOptions.linux(arguments) else { return 2 }
    let names = Set(arguments.all("--prog"))
    let inputs = Inputs(arguments.operands, linux: linux)
    var code: Int32 = inputs.failed ? 2 : 0
    var isFirst = true
    var found: Set<String> = []
    for object in inputs.objects {
      let linker = Linker(object, linux: linux)
      for (index, section) in object.programs.enumerated() where names.isEmpty || names.contains(section.name) {
        found.insert(section.name)
        switch linker.link(index).result {
        case .failure(let error):
          Terminal.complain("\(object.path): \(section.name): \(error)")
          code = max(code, 1)
        case .success(let program):
          guard let text = text(program, format, linux, object.path) else {
            code = max(code, 1)
            continue
          }
          if !isFirst && format != "dot" { Terminal.output.write("\n") }
          isFirst = false
          Terminal.output.write(text)
        }
      }
    }
    for name in names.subtracting(found).sorted() where !inputs.failed {
      Terminal.complain("there is no program '\(name)' in what was given")
      code = 2
    }
    return code
  }

  /// Nil where there is none, which has been said then.
  private static func text(_ program: Program, _ format: String, _ linux: Linux, _ path: String) -> String? {
    switch format {
    case "dot": return ControlFlowText(program, linux: linux).text
    case "xlated": break
    default: return Listing(program, linux: linux).text
    }
    let checked = Checker(linux: linux).check(program, file: path)
    guard case .accepted(let verified) = checked.outcome else {
      Terminal.complain("\(path): \(program.name): not accepted, so never rewritten; skep check says why")
      return nil
    }
    do {
      return RewrittenListing(program, try verified.rewritten(on: linux)).text
    } catch {
      Terminal.complain("\(path): \(program.name): \(error.message)")
      return nil
    }
  }
}
