import BPFKernel
import BPFLinux
import GoldenCases

/// `skep golden`: what the running kernel says of the golden cases, for those who work on Skep.
enum GoldenCommand: Command {
  static let name = "golden"
  static let summary = "Record golden cases from the running kernel, or hold them against it"
  static let operands = "record|check|verify [FILE or FOLDER]..."
  static let options: [Option] = []
  static let examples = [
    (command: "skep golden record Tests/Golden/maps", meaning: "write what the kernel answers into these files"),
    (command: "skep golden check", meaning: "say where the kernel answers otherwise than they hold"),
    (command: "skep golden verify", meaning: "say where Skep does"),
  ]
  static let notes = """
    Without FILE, all below Tests/Golden. record and check need CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    guard let action = arguments.operands.first, ["record", "check", "verify"].contains(action) else {
      throw UsageError(message: "say record, check or verify")
    }
    let operands = arguments.operands.count > 1 ? Array(arguments.operands.dropFirst()) : ["Tests/Golden"]
    let files = operands.flatMap { $0.hasSuffix(GoldenCase.suffix) ? [$0] : GoldenFiles.all(in: $0) }
    guard !files.isEmpty else { throw UsageError(message: "there are no cases in \(operands.joined(separator: ", "))") }
    var differing = 0
    do {
      let recorder = action == "verify" ? nil : try GoldenRecorder()
      for file in files {
        guard try run(action, file, recorder) else {
          differing += 1
          continue
        }
      }
    } catch {
      Terminal.complain("\(error)")
      return 2
    }
    Terminal.output.write("\(files.count) cases, \(differing) \(action == "record" ? "changed" : "differ")\n")
    return action == "record" || differing == 0 ? 0 : 1
  }

  /// Whether the case holds what was answered.
  private static func run(_ action: String, _ file: String, _ recorder: GoldenRecorder?) throws -> Bool {
    let golden = try GoldenFiles.read(file)
    let linux = golden.needsKernelTypes ? Linux.goldenWithTypes ?? .golden : .golden
    let answer = if let recorder { try recorder.answer(golden) } else { golden.verified(on: linux) }
    let known = golden.answer(of: answer.version)
    if let known, known == answer { return true }
    if action == "record" {
      let text = try recorder?.recorded(golden).text ?? golden.text
      if !Terminal.writeFile(Array(text.utf8), to: file) { Terminal.complain("cannot write \(file)") }
      Terminal.output.write("\(golden.name): \(answer.verdict.rawValue)\n")
    } else {
      Terminal.output.write("\(golden.name):\n")
      let differences = known.map { answer.differences(from: $0) } ?? ["no answer of Linux \(answer.version) is held"]
      for difference in differences { Terminal.output.write("  \(difference)\n") }
    }
    return false
  }
}
