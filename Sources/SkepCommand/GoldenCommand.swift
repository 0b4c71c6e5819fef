import BPFKernel
import BPFLinux
import BTF
import GoldenCases

/// `skep golden`: what the running kernel says of the golden cases, for those who work on Skep.
enum GoldenCommand: Command {
  static let name = "golden"
  static let summary = "Record golden cases from the running kernel, or hold them against it"
  static let operands = "record|check|verify|types [FILE or FOLDER]..."
  static let options: [Option] = []
  static let examples = [
    (command: "skep golden record Tests/Golden/maps", meaning: "write what the kernel answers into these files"),
    (command: "skep golden check", meaning: "say where the kernel answers otherwise than they hold"),
    (command: "skep golden verify", meaning: "say where Skep does"),
    (command: "skep golden types", meaning: "save what the cases need of the running kernel's types"),
  ]
  static let notes = """
    Cases that call kernel functions are verified with the types that types has saved in Tests/Golden.

    Without FILE, all below Tests/Golden. record and check need CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; cases without
    CAP_BPF are asked only where kernel.unprivileged_bpf_disabled is 0.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    guard let action = arguments.operands.first, ["record", "check", "verify", "types"].contains(action) else {
      throw UsageError(message: "say record, check, verify or types")
    }
    let operands = arguments.operands.count > 1 ? Array(arguments.operands.dropFirst()) : [folder]
    let files = operands.flatMap { $0.hasSuffix(GoldenCase.suffix) ? [$0] : GoldenFiles.all(in: $0) }
    guard !files.isEmpty else { throw UsageError(message: "there are no cases in \(operands.joined(separator: ", "))") }
    var differing = 0
    var notAsked = 0
    do {
      let recorder = action == "verify" ? nil : try GoldenRecorder()
      let types = recorder?.types ?? GoldenFiles.savedTypes(in: folder, version: Linux.golden.version.description)
        ?? Linux.goldenWithTypes?.btf
      if action == "types", let recorder { return try saveTypes(types, recorder.version) }
      for file in files {
        switch try run(action, file, recorder, types) {
        case .same: break
        case .different: differing += 1
        case .notAsked: notAsked += 1
        }
      }
    } catch {
      Terminal.complain("\(error)")
      return 2
    }
    Terminal.output.write("\(files.count) cases, \(differing) \(action == "record" ? "changed" : "differ")\n")
    if notAsked > 0 {
      Terminal.complain("\(notAsked) were not asked about, as kernel.unprivileged_bpf_disabled is not 0")
    }
    return action == "record" || differing == 0 ? 0 : 1
  }

  private static let folder = "Tests/Golden"

  /// What all cases need together.
  private static func saveTypes(_ types: BTF?, _ version: String) throws -> Int32 {
    guard let types else {
      Terminal.complain("the running kernel has no type information")
      return 2
    }
    let files = GoldenFiles.all(in: folder)
    let cases = try files.map { file throws(GoldenCaseError) in try GoldenFiles.read(file, types: types) }
    let path = GoldenFiles.typesPath(in: folder, version: version)
    let bytes = KernelTypesExtract.bytes(of: types, for: cases)
    guard Terminal.writeFile(bytes, to: path) else {
      Terminal.complain("cannot write \(path)")
      return 2
    }
    Terminal.output.write("\(path): \(bytes.count) bytes\n")
    return 0
  }

  private enum Outcome { case same, different, notAsked }

  /// Whether the case holds what was answered.
  private static func run(
    _ action: String, _ file: String, _ recorder: GoldenRecorder?, _ types: BTF?
  ) throws -> Outcome {
    let golden = try GoldenFiles.read(file, types: types)
    guard let recorder else {
      return say(golden.differences(on: .golden, types: types, from: Linux.golden.version.description), of: golden)
    }
    guard recorder.canAnswer(golden) else { return .notAsked }
    let answer = try recorder.answer(golden)
    let known = golden.answer(of: answer.version)
    guard action == "record" else {
      return say(
        known.map { answer.differences(from: $0) } ?? ["no answer of Linux \(answer.version) is held"], of: golden)
    }
    // What kind of refusal it is, the kernel does not say.
    let category = golden.judged(types: types).category
    if known == answer && golden.category == category { return .same }
    let text = try recorder.recorded(golden).categorised(category).text
    if !Terminal.writeFile(Array(text.utf8), to: file) { Terminal.complain("cannot write \(file)") }
    Terminal.output.write("\(golden.name): \(answer.verdict.rawValue) \(category?.rawValue ?? "")\n")
    return .different
  }

  private static func say(_ differences: [String], of golden: GoldenCase) -> Outcome {
    if differences.isEmpty { return .same }
    Terminal.output.write("\(golden.name):\n")
    for difference in differences { Terminal.output.write("  \(difference)\n") }
    return .different
  }
}
