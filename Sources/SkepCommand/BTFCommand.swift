import BTF
import Skep

/// `skep btf dump`: type information as text.
enum BTFCommand: Command {
  static let name = "btf"
  static let summary = "Print type information: of a kernel, a module, or an object"
  static let operands = "dump FILE [format c|raw]"
  static let options = [
    Option(name: "--base", value: "FILE", help: "the types that FILE's stand on (a module's: vmlinux)"),
    Option(name: "--format", value: "FORMAT", help: "raw (default): one type a line; c: a C header"),
  ]
  static let examples = [
    (command: "skep btf dump /sys/kernel/btf/vmlinux format c > vmlinux.h", meaning: "the running kernel's types in C"),
    (command: "skep btf dump prog.bpf.o", meaning: "the types in an object"),
  ]
  static let notes = """
    FILE is bare type information as in /sys/kernel/btf, or an ELF file with a .BTF section. The output is that
    of bpftool btf dump file.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    var words = arguments.operands[...]
    guard words.popFirst() == "dump" else { throw UsageError(message: "the one thing to do is dump") }
    if words.first == "file" { words = words.dropFirst() }
    guard let path = words.popFirst() else { throw UsageError(message: "no FILE given") }
    var format = arguments.value("--format") ?? "raw"
    if words.first == "format" {
      words = words.dropFirst()
      guard let word = words.popFirst() else { throw UsageError(message: "format is one of c, raw") }
      format = word
    }
    if let extra = words.first { throw UsageError(message: "'\(extra)' is one word too many") }
    guard format == "c" || format == "raw" else { throw UsageError(message: "format is one of c, raw") }
    do {
      let btf = try TypeInformationFile.open(path, base: arguments.value("--base"))
      Terminal.output.write(format == "c" ? try btf.cText(.linux6_18) : btf.rawText())
    } catch {
      Terminal.complain("\(error)")
      return 2
    }
    return 0
  }
}
