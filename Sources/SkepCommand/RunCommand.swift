import BPFISA
import BPFKernel
import BPFLinux
import BPFObject
import Skep

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// `skep run`: runs a program on data, on contexts, or on captured packets.
enum RunCommand: Command {
  static let name = "run"
  static let summary = "Run a program here, in the kernel, or in both, on given data or captured packets"
  static let operands = "FILE"
  static let options = [
    Option(name: "--prog", value: "NAME", help: "which program; not needed where FILE has one"),
    Option(name: "--data-in", value: "FILE", help: "the packet, as bytes (- for standard input)"),
    Option(name: "--data-hex", value: "HEX", help: "the packet, as hexadecimal digits"),
    Option(name: "--data-out", value: "FILE", help: "write the packet that comes out (- for standard output)"),
    Option(name: "--ctx-in", value: "FILE", help: "the context as user space has it (struct xdp_md, …)"),
    Option(name: "--ctx-out", value: "FILE", help: "write the context that comes out"),
    Option(name: "--repeat", value: "N", help: "run N times and say how long one run takes"),
    Option(
      name: "--map", value: "NAME=JSON",
      help: "contents of a map, or a global variable's value; JSON is text, @FILE or FILE (may be repeated)"),
    Option(name: "--dump-maps", value: nil, help: "print the maps afterwards"),
    Option(name: "--pcap", value: "FILE", help: "run every packet of a capture (xdp and tc programs; needs libpcap)"),
    Option(name: "--pcap-out", value: "FILE", help: "write packets that pass or are sent to a capture"),
    Option(name: "--engine", value: "ENGINE", help: "user (default), kernel (this machine's own), or both"),
    Option(name: "--jit", value: nil, help: "as machine code (fast; not right for every program yet)"),
    Option(name: "--interpret", value: nil, help: "in the interpreter (default)"),
    Option(name: "--timeout", value: "SECONDS", help: "stop after that time"),
    Option(name: "--type", value: "TYPE", help: "the program's type (xdp) or section name (cgroup/bind4)"),
    Option(name: "--raw", value: nil, help: "FILE holds bare instruction bytes; needs --type"),
    Option(name: "--format", value: "FORMAT", help: "text (default) or json"),
  ] + LinuxOptions.all
  static let examples = [
    (command: "skep run prog.bpf.c --data-hex 'ffffffffffff 020000000001 0800'", meaning: "one packet, one verdict"),
    (
      command: "skep run prog.bpf.o --prog xdp_main --data-in packet.bin --repeat 1000000",
      meaning: "how long a run takes"
    ),
    (
      command: "skep run filter.bpf.o --data-in packet.bin --map 'blocked={\"1\": 1}' --map limit=100 --dump-maps",
      meaning: "with contents of a map, a global variable set, and all maps printed afterwards"
    ),
    (command: "skep run prog.bpf.o --pcap in.pcap --pcap-out passed.pcap", meaning: "every packet of a capture"),
    (
      command: "skep run --engine both prog.bpf.o --data-in packet.bin",
      meaning: "hold Skep against the running kernel (needs root)"
    ),
    (command: "skep run --raw --type xdp prog.bin --data-in packet.bin", meaning: "bare instruction bytes"),
  ]
  static let notes = """
    FILE is a BPF object, or C source (by its name ending in .c), which is compiled first; see skep help check. The
    program is verified before it runs. It runs in the interpreter; --jit runs it as machine code, which is many times
    faster and not right for every program yet. What it prints with bpf_printk goes to standard error.

    Contents of a map are JSON: a list of {"key": …, "value": …} as --dump-maps prints it, an object by key, or for
    arrays a list by index. Keys and values are numbers, objects with members by name, lists, or strings of
    hexadecimal digits, as the map's types say. Maps in maps of maps and programs in arrays of programs are names.

    Exit code: 0 it ran (with --engine both: and nothing differs); 1 it is refused, cannot run here, or the engines
    differ; 2 wrong usage, wrong or unreadable input, or out of time.
    """

  enum Format: String, CaseIterable {
    case text
    case json
  }

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    let request = try RunRequest(arguments)
    guard let linux = try LinuxOptions.linux(arguments) else { return 2 }
    do throws(RunError) {
      let object = try open(request, linux)
      return try RunSession(request, object).run()
    } catch {
      Terminal.complain(error.message)
      switch error.kind {
      case .refused, .notSupported: return 1
      case .input, .timeout, .kernel: return 2
      }
    }
  }

  private static func open(_ request: RunRequest, _ linux: Linux) throws(RunError) -> RunnableObject {
    if request.isRaw { return RunnableObject(try rawProgram(request), linux: linux) }
    let inputs = Inputs([request.path], linux: linux)
    // What is wrong has been said.
    guard let object = inputs.objects.first, !inputs.failed else { throw RunError(.input, "nothing to run") }
    var runnable = RunnableObject(object, linux: linux)
    runnable.typeOverride = request.type
    return runnable
  }

  private static func rawProgram(_ request: RunRequest) throws(RunError) -> Program {
    guard let type = request.type else { throw RunError(.input, "--raw needs --type") }
    let bytes = try RunRequest.read(request.path)
    let file = request.path.split(separator: "/").last.map(String.init) ?? request.path
    do {
      return Program(
        name: String(file.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }.prefix(15)),
        type: type.type, expectedAttachType: type.attachType, instructions: try Instruction.decode(bytes))
    } catch {
      throw RunError(.input, "\(request.path): \(error)")
    }
  }
}

/// What `skep run` was asked for, taken from its options.
struct RunRequest {
  let path: String
  let program: String?
  let input: RunInput
  let dataOut: String?
  let contextOut: String?
  let maps: [(name: String, contents: JSONValue)]
  let dumpsMaps: Bool
  let capture: String?
  let captureOut: String?
  let engine: CheckCommand.Engine
  let translation: RunEngine.Translation
  let type: Checker.TypeOverride?
  let isRaw: Bool
  let format: RunCommand.Format

  init(_ arguments: Arguments) throws(UsageError) {
    guard arguments.operands.count == 1 else {
      throw UsageError(message: arguments.operands.isEmpty ? "no FILE given" : "one FILE at a time")
    }
    path = arguments.operands[0]
    program = arguments.value("--prog")
    dataOut = arguments.value("--data-out")
    contextOut = arguments.value("--ctx-out")
    dumpsMaps = arguments.has("--dump-maps")
    capture = arguments.value("--pcap")
    captureOut = arguments.value("--pcap-out")
    isRaw = arguments.has("--raw")
    engine = try Self.choice("--engine", arguments, .user)
    format = try Self.choice("--format", arguments, .text)
    type = try arguments.value("--type").map { (name) throws(UsageError) -> Checker.TypeOverride in
      guard let type = Checker.TypeOverride(name: name) else {
        throw UsageError(message: "--type: there is no program type '\(name)'")
      }
      return type
    }
    guard !isRaw || type != nil else { throw UsageError(message: "--raw needs --type") }
    guard !(arguments.has("--jit") && arguments.has("--interpret")) else {
      throw UsageError(message: "--jit and --interpret exclude each other")
    }
    translation = arguments.has("--jit") ? .machineCode : arguments.has("--interpret") ? .interpreter : .automatic
    if captureOut != nil && capture == nil { throw UsageError(message: "--pcap-out needs --pcap") }
    for option in ["--data-in", "--data-hex", "--data-out", "--ctx-in", "--ctx-out", "--repeat"]
    where capture != nil && arguments.has(option) {
      throw UsageError(message: "\(option) and --pcap exclude each other")
    }
    input = try Self.input(arguments)
    var maps: [(name: String, contents: JSONValue)] = []
    for word in arguments.all("--map") { maps.append(try Self.contents(word)) }
    self.maps = maps
  }

  private static func choice<Value: RawRepresentable & CaseIterable>(
    _ option: String, _ arguments: Arguments, _ standard: Value
  ) throws(UsageError) -> Value where Value.RawValue == String {
    guard let word = arguments.value(option) else { return standard }
    guard let value = Value(rawValue: word) else {
      let words = Value.allCases.map(\.rawValue).joined(separator: ", ")
      throw UsageError(message: "\(option) is one of \(words)")
    }
    return value
  }

  private static func input(_ arguments: Arguments) throws(UsageError) -> RunInput {
    var input = RunInput()
    guard !(arguments.has("--data-in") && arguments.has("--data-hex")) else {
      throw UsageError(message: "--data-in and --data-hex exclude each other")
    }
    if let digits = arguments.value("--data-hex") {
      guard let bytes = ValueType.hexadecimalBytes(digits) else {
        throw UsageError(message: "--data-hex: '\(digits)' is no even number of hexadecimal digits")
      }
      input.data = bytes
    }
    if let path = arguments.value("--data-in") { input.data = try bytes("--data-in", path) }
    if let path = arguments.value("--ctx-in") { input.context = try bytes("--ctx-in", path) }
    input.wantsContext = arguments.has("--ctx-out")
    if let word = arguments.value("--repeat") {
      guard let count = UInt32(word), count > 0, count <= UInt32(Int32.max) else {
        throw UsageError(message: "--repeat is a number from 1 to \(Int32.max)")
      }
      input.repeats = count
    }
    if let word = arguments.value("--timeout") {
      guard let seconds = Double(word), seconds > 0, seconds.isFinite else {
        throw UsageError(message: "--timeout is a number of seconds above 0")
      }
      input.timeout = seconds
    }
    return input
  }

  private static func bytes(_ option: String, _ path: String) throws(UsageError) -> [UInt8] {
    do {
      return try read(path)
    } catch {
      throw UsageError(message: "\(option): \(error.message)")
    }
  }

  /// A file's bytes; of standard input where the path is `-`.
  static func read(_ path: String) throws(RunError) -> [UInt8] {
    guard let bytes = readFile(path == "-" ? "/dev/stdin" : path) else {
      throw RunError(.input, "\(path): \(String(cString: strerror(errno)))")
    }
    return bytes
  }

  /// `NAME=JSON`, `NAME=@FILE` or `NAME=FILE`.
  private static func contents(_ word: String) throws(UsageError) -> (name: String, contents: JSONValue) {
    guard let equals = word.firstIndex(of: "="), equals != word.startIndex else {
      throw UsageError(message: "--map takes NAME=JSON, not '\(word)'")
    }
    let name = String(word[..<equals])
    let text = String(word[word.index(after: equals)...])
    if text.hasPrefix("@") { return (name, try file(String(text.dropFirst()), name)) }
    do {
      return (name, try JSONValue(parsing: text))
    } catch {
      if access(text, F_OK) == 0 { return (name, try file(text, name)) }
      throw UsageError(message: "--map \(name): \(error)")
    }
  }

  private static func file(_ path: String, _ name: String) throws(UsageError) -> JSONValue {
    let bytes = try bytes("--map \(name)", path)
    do {
      return try JSONValue(parsing: String(decoding: bytes, as: UTF8.self))
    } catch {
      throw UsageError(message: "--map \(name): \(path): \(error)")
    }
  }
}
