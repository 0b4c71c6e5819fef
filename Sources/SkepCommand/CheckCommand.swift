import BPFISA
import BPFKernel
import BPFLinux
import BPFObject
import BPFVerifier
import Skep

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// `skep check`: would Linux accept these programs, and if not, why.
enum CheckCommand: Command {
  static let name = "check"
  static let summary = "Say what Linux's verifier says of the programs in objects or C sources"
  static let operands = "FILE..."
  static let options = [
    Option(name: "--engine", value: "ENGINE", help: "user (default), kernel (this machine's own), or both"),
    Option(name: "--prog", value: "NAME", help: "only the program of this name (may be repeated)"),
    Option(name: "--type", value: "TYPE", help: "the programs' type (xdp) or section name (cgroup/bind4)"),
    Option(name: "--raw", value: nil, help: "FILE holds bare instruction bytes; needs --type"),
    Option(name: "--log-level", value: "N", help: "log as bpf(2) does; a sum: 1 failing path, 2 all paths, 4 counts"),
    Option(name: "--log-dir", value: "DIR", help: "write each program's log to DIR/FILE__PROG.log"),
    Option(name: "--format", value: "FORMAT", help: "text (default), csv, json or sarif"),
    Option(name: "--jobs", value: "N", help: "programs verified at the same time (default: all processors)"),
  ] + LinuxOptions.all
  static let examples = [
    (command: "skep check prog.bpf.c", meaning: "compile with clang and check every program in it"),
    (
      command: "skep check --log-level 2 --prog xdp_main prog.bpf.o",
      meaning: "one program of an object, with the log of every path"
    ),
    (command: "skep check --format csv build/*.bpf.o", meaning: "one row a program, for scripts"),
    (
      command: "skep check --engine both --log-level 1 prog.bpf.o",
      meaning: "hold Skep against the running kernel (needs root)"
    ),
    (command: "skep check --raw --type xdp prog.bin", meaning: "bare instruction bytes"),
  ]
  static let notes = """
    FILE is a BPF object, or C source (by its name ending in .c), which is compiled by the clang found on the
    search path; headers that the machine lacks come with skep, vmlinux.h included.

    Exit code: 0 all programs accepted; 1 some refused (with --engine both: or different); 2 wrong usage or
    unreadable input.
    """

  enum Format: String, CaseIterable {
    case text
    case csv
    case json
    case sarif
  }

  enum Engine: String, CaseIterable {
    case user
    case kernel
    case both
  }

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    let request = try CheckRequest(arguments)
    guard let linux = try LinuxOptions.linux(arguments) else { return 2 }
    var checker = Checker(linux: linux)
    checker.options.logLevel = request.logLevel
    checker.names = request.names
    checker.parallelism = request.parallelism
    checker.keepsLogs = request.engine == .both || (request.logLevel != 0 && request.format != .csv)
    checker.typeOverride = request.type

    var kernel: Checker?
    if request.engine != .user {
      do {
        var asking = checker
        asking.engine = .kernel(try KernelEngine(capabilities: linux.capabilities))
        kernel = asking
      } catch {
        Terminal.complain("\(error)")
        return 2
      }
    }
    guard let work = Work(request, linux: linux) else { return 2 }
    if request.engine == .kernel, let kernel { checker = kernel }
    if request.engine == .both, let kernel { return compare(work, checker, kernel, request) }

    if work.failed && work.isEmpty && request.format == .text { return 2 }
    let report = CheckReport(request: request, total: work.count)
    report.begin()
    let results = work.check(checker) { report.add($0) }
    let written = report.end(results, checker)
    if work.failed || !written { return 2 }
    return results.allSatisfy(\.isAccepted) ? 0 : 1
  }

  private static func compare(_ work: Work, _ user: Checker, _ kernel: Checker, _ request: CheckRequest) -> Int32 {
    let ours = work.check(user) { _ in }
    let theirs = work.check(kernel) { _ in }
    let differences = zip(ours, theirs).flatMap { EngineDifference.between(user: $0, kernel: $1) }
    Terminal.output.write(ComparisonReport.text(ours, theirs, differences, request.format))
    if work.failed { return 2 }
    return differences.isEmpty && ours.allSatisfy(\.isAccepted) ? 0 : 1
  }
}

/// What `skep check` was asked for, taken from its options.
struct CheckRequest: Sendable {
  let paths: [String]
  let engine: CheckCommand.Engine
  let format: CheckCommand.Format
  /// As it goes to the verifier.
  let logLevel: UInt32
  let logDirectory: String?
  let names: Set<String>
  let type: Checker.TypeOverride?
  let isRaw: Bool
  let parallelism: Int

  init(_ arguments: Arguments) throws(UsageError) {
    guard !arguments.operands.isEmpty else { throw UsageError(message: "no FILE given") }
    paths = arguments.operands
    engine = try Self.choice("--engine", arguments, .user)
    format = try Self.choice("--format", arguments, .text)
    guard let level = UInt32(arguments.value("--log-level") ?? "0"), level < 8 else {
      throw UsageError(message: "--log-level is a sum of 1, 2 and 4")
    }
    logDirectory = arguments.value("--log-dir")
    if level == 0 && logDirectory != nil {
      logLevel = 1 | 4
    } else {
      logLevel = level != 0 && logDirectory != nil ? level | 4 : level
    }
    names = Set(arguments.all("--prog"))
    isRaw = arguments.has("--raw")
    type = try arguments.value("--type").map { (name) throws(UsageError) -> Checker.TypeOverride in
      guard let type = Checker.TypeOverride(name: name) else {
        throw UsageError(message: "--type: there is no program type '\(name)'")
      }
      return type
    }
    guard !isRaw || type != nil else { throw UsageError(message: "--raw needs --type") }
    if let jobs = arguments.value("--jobs") {
      guard let number = Int(jobs), number > 0 else { throw UsageError(message: "--jobs is a number from 1") }
      parallelism = number
    } else {
      parallelism = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    }
    if let logDirectory, !Terminal.makeDirectory(logDirectory) {
      throw UsageError(message: "--log-dir: \(logDirectory) is no directory and cannot be made one")
    }
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
}

/// The programs that were named on the command line.
private struct Work {
  private var objects: [ObjectFile] = []
  private var raw: [(file: String, program: Program)] = []
  var failed = false

  /// Nil where a program that was asked for by name is nowhere; that has been said.
  init?(_ request: CheckRequest, linux: Linux) {
    if request.isRaw {
      guard let type = request.type else { return nil }
      for path in request.paths { read(path, type) }
    } else {
      let inputs = Inputs(request.paths, linux: linux)
      objects = inputs.objects
      failed = inputs.failed
    }
    let known = Set(objects.flatMap { $0.programs.map(\.name) } + raw.map(\.program.name))
    let missing = request.names.subtracting(known).sorted()
    guard missing.isEmpty || failed else {
      for name in missing { Terminal.complain("there is no program '\(name)' in what was given") }
      return nil
    }
  }

  private mutating func read(_ path: String, _ type: Checker.TypeOverride) {
    guard let bytes = readFile(path) else {
      Terminal.complain("\(path): \(String(cString: strerror(errno)))")
      failed = true
      return
    }
    do {
      let file = path.split(separator: "/").last.map(String.init) ?? path
      let name = String(file.prefix { $0 != "." })
      let program = Program(
        name: name, type: type.type, expectedAttachType: type.attachType,
        instructions: try Instruction.decode(bytes))
      raw.append((file, program))
    } catch {
      Terminal.complain("\(path): \(error)")
      failed = true
    }
  }

  var count: Int { raw.count + objects.reduce(0) { $0 + $1.programs.count } }

  var isEmpty: Bool { count == 0 }

  func check(_ checker: Checker, _ report: @Sendable (CheckedProgram) -> Void) -> [CheckedProgram] {
    let bare = raw.filter { checker.names.isEmpty || checker.names.contains($0.program.name) }
      .map { checker.check($0.program, file: $0.file) }
    for result in bare { report(result) }
    return bare + checker.check(objects, report: report)
  }
}
