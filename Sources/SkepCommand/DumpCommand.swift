import BPFLinux
import BPFObject
import Skep

/// `skep dump`: programs as they would be loaded, in words.
enum DumpCommand: Command {
  static let name = "dump"
  static let summary = "Print programs as they would be loaded: instructions, or the control flow graph"
  static let operands = "FILE..."
  static let options = [
    Option(name: "--format", value: "FORMAT", help: "insns (default): instructions; dot: control flow for Graphviz"),
    Option(name: "--prog", value: "NAME", help: "only the program of this name (may be repeated)"),
  ] + LinuxOptions.all
  static let examples = [
    (command: "skep dump prog.bpf.o", meaning: "instructions with the source lines they came from"),
    (command: "skep dump --format dot --prog xdp_main prog.bpf.o | dot -Tsvg > xdp_main.svg", meaning: "a picture"),
  ]
  static let notes = """
    Maps, kernel symbols and relocations are resolved as skep check resolves them.

    Exit code: 0; 1 where a program could not be linked; 2 wrong usage or unreadable input.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    guard !arguments.operands.isEmpty else { throw UsageError(message: "no FILE given") }
    let format = arguments.value("--format") ?? "insns"
    guard format == "insns" || format == "dot" else { throw UsageError(message: "--format is one of insns, dot") }
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
          if !isFirst && format == "insns" { Terminal.output.write("\n") }
          isFirst = false
          Terminal.output.write(
            format == "dot"
              ? ControlFlowText(program, linux: linux).text : Listing(program, linux: linux).text)
        }
      }
    }
    for name in names.subtracting(found).sorted() where !inputs.failed {
      Terminal.complain("there is no program '\(name)' in what was given")
      code = 2
    }
    return code
  }
}
