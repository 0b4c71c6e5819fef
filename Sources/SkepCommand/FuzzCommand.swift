import BPFFuzz
import BPFKernel
import BPFLinux
import GoldenCases

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// `skep fuzz`: random programs, held against the running kernel.
enum FuzzCommand: Command {
  static let name = "fuzz"
  static let summary = "Hold Skep against the running kernel on random programs"
  static let operands = ""
  static let options = [
    Option(name: "--seed", value: "N", help: "the run: same seed, same programs (default 1)"),
    Option(name: "--start", value: "N", help: "the first program of the run (default 0)"),
    Option(name: "--count", value: "N", help: "programs (default 10000)"),
    Option(name: "--seconds", value: "N", help: "stop after that time, however many there are left"),
    Option(name: "--type", value: "TYPE", help: "only programs of this type (xdp)"),
    Option(name: "--jobs", value: "N", help: "programs at the same time (default: all processors)"),
    Option(name: "--min-insns", value: "N", help: "instructions that each program has at least (default 30)"),
    Option(name: "--log-sample", value: "N", help: "compare logs of one program in N, levels 1 and 2 (default 4)"),
    Option(name: "--log-level", value: "N", help: "compare all logs, at level 0, 1 or 2"),
    Option(
      name: "--long-sample", value: "N",
      help: "ask the kernel about one in N programs of over 50,000 instructions (default 10)"),
    Option(name: "--engine", value: "ENGINE", help: "both (default), or user: only Skep, for crashes and times"),
    Option(name: "--out", value: "DIR", help: "write each difference, made small, to DIR as a golden case"),
    Option(name: "--print", value: nil, help: "print program --start of the run and nothing else"),
    Option(name: "--format", value: "FORMAT", help: "text (default) or json"),
  ]
  static let examples = [
    (
      command: "skep fuzz --count 100000 --seed 7",
      meaning: "100,000 programs against this machine's kernel (needs root)"
    ),
    (command: "skep fuzz --seconds 3600 --out differences", meaning: "an hour, golden cases of what differs"),
    (command: "skep fuzz --engine user --type xdp", meaning: "no kernel: find crashes and measure"),
  ]
  static let notes = """
    Verdict, errno, instructions, states and the messages of a refusal are compared for every program, whole logs for
    a sample. Programs that process more than 50,000 instructions count as compared only where the kernel was asked
    about them, one in ten. Needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN unless
    --engine is user.

    Exit code: 0 no difference; 1 something differs; 2 wrong usage or no kernel to ask.
    """

  private static func number(_ name: String, _ arguments: Arguments) throws(UsageError) -> Int? {
    guard let word = arguments.value(name) else { return nil }
    guard let number = Int(word), number >= 0 else { throw UsageError(message: "\(name) is a number") }
    return number
  }

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    var plan = FuzzCampaign.Plan()
    if let seed = try number("--seed", arguments) { plan.seed = UInt64(seed) }
    if let start = try number("--start", arguments) { plan.start = start }
    if let seconds = try number("--seconds", arguments) {
      plan.seconds = Double(seconds)
      plan.count = Int.max / 2
    }
    if let count = try number("--count", arguments) { plan.count = count }
    plan.jobs = max(1, try number("--jobs", arguments) ?? sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    if let level = try number("--log-level", arguments) {
      guard level < 3 else { throw UsageError(message: "--log-level is 0, 1 or 2") }
      plan.logLevel = UInt32(level)
    }
    if let sample = try number("--log-sample", arguments) { plan.logSample = sample }
    if let sample = try number("--long-sample", arguments) { plan.longSample = sample }
    if let least = try number("--min-insns", arguments) {
      guard least < 5000 else { throw UsageError(message: "--min-insns is less than 5000") }
      plan.minimumInstructions = least
    }
    let engine = arguments.value("--engine") ?? "both"
    guard engine == "both" || engine == "user" else { throw UsageError(message: "--engine is both or user") }
    plan.usesKernel = engine == "both"
    let format = arguments.value("--format") ?? "text"
    guard format == "text" || format == "json" else { throw UsageError(message: "--format is text or json") }
    var type: ProgramType?
    if let name = arguments.value("--type") {
      guard let found = FuzzSurroundings.programTypes.first(where: { $0.name == name }) else {
        throw UsageError(message: "--type: no random programs are made of type '\(name)'")
      }
      type = found
    }
    let folder = arguments.value("--out")
    if let folder, !Terminal.makeDirectory(folder) {
      throw UsageError(message: "--out: \(folder) is no directory and cannot be made one")
    }
    guard let linux = try? Linux.running(), let surroundings = FuzzSurroundings(linux: linux, type: type) else {
      Terminal.complain("the kernel's types cannot be read")
      return 2
    }
    if arguments.has("--print") {
      let seed = RandomSource.seed(of: plan.start, run: plan.seed)
      let fuzzCase = FuzzCase(
        seed: seed, in: surroundings, logLevel: plan.logLevel, minimumInstructions: plan.minimumInstructions)
      Terminal.output.write(fuzzCase.goldenText)
      return 0
    }
    let isText = format == "text"
    let settled = plan
    let campaign = FuzzCampaign(settled, in: surroundings) { finding in
      tell(finding, settled, folder: folder, isText: isText)
    }
    let isTerminal = Terminal.error.isTerminal
    let watcher = isTerminal && isText ? Watcher(campaign) : nil
    defer { watcher?.stop() }
    let summary: FuzzCampaign.Summary
    do {
      summary = try campaign.run()
    } catch {
      Terminal.complain("\(error)")
      return 2
    }
    watcher?.stop()
    Terminal.output.write(isText ? text(summary, plan) : json(summary, plan).text)
    return summary.differing == 0 ? 0 : 1
  }

  private static func tell(_ finding: FuzzCampaign.Finding, _ plan: FuzzCampaign.Plan, folder: String?, isText: Bool) {
    let difference = finding.difference
    var lines = """
      --seed \(plan.seed) --start \(finding.index): \(difference.kind.rawValue), \
      \(finding.minimized.program.instructions.count) of \(finding.original.program.instructions.count) instructions
        skep:   \(difference.user)
        kernel: \(difference.kernel)

      """
    if let folder {
      let path = "\(folder)/\(difference.kind.rawValue)-\(plan.seed)-\(finding.index)\(GoldenCase.suffix)"
      if Terminal.writeFile(Array(golden(finding, path).utf8), to: path) { lines += "  \(path)\n" }
    }
    (isText ? Terminal.output : Terminal.error).write(lines)
  }

  /// With the kernel's answer, where the text can be read again.
  private static func golden(_ finding: FuzzCampaign.Finding, _ path: String) -> String {
    let text = finding.minimized.goldenText
    do {
      let recorder = try GoldenRecorder()
      let golden = try GoldenCase(path: path, contents: Array(text.utf8), types: recorder.types)
      return try recorder.recorded(golden).text
    } catch {
      Terminal.complain("\(error)")
      return text
    }
  }

  private static func share(_ part: Int, _ whole: Int) -> String {
    let thousandths = whole == 0 ? 0 : part * 1000 / whole
    return "\(thousandths / 10).\(thousandths % 10) %"
  }

  private static func text(_ summary: FuzzCampaign.Summary, _ plan: FuzzCampaign.Plan) -> String {
    var text = """
      seed \(plan.seed): \(summary.programs) programs, \
      \(summary.instructionsInPrograms / max(1, summary.programs)) instructions on average, \
      \(Int(summary.rate)) programs a second
      accepted: \(share(summary.accepted, summary.programs)); \
      instructions processed: \(summary.instructionsProcessed), \
      most by program \(summary.longest.index): \(summary.longest.instructions)
      verification time: Skep \(summary.userMicroseconds / 1000) ms\
      \(plan.usesKernel ? ", kernel \(summary.kernelMicroseconds / 1000) ms" : "")

      """
    let refusals = summary.refusals.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    let types = summary.types.sorted { ($1.value.programs, $0.key) < ($0.value.programs, $1.key) }
    text += "accepted by type: "
    text += types.map { "\($0.key) \($0.value.accepted)/\($0.value.programs)" }.joined(separator: ", ") + "\n"
    text += "refusals: " + refusals.map { "\($0.key) \($0.value)" }.joined(separator: ", ") + "\n"
    guard plan.usesKernel else { return text }
    text += "held against the kernel: \(summary.compared), with logs: \(summary.logs)"
    text += summary.long > 0 ? "; left out for their length: \(summary.long)\n" : "\n"
    if summary.unanswered > 0 { text += "the kernel could not be asked about \(summary.unanswered)\n" }
    text += "differences: \(summary.differing)"
    let kinds = FuzzDifference.Kind.allCases.compactMap { kind in
      summary.differences[kind].map { "\(kind.rawValue) \($0)" }
    }
    if !kinds.isEmpty { text += " (\(kinds.joined(separator: ", ")))" }
    return text + "\n"
  }

  private static func json(_ summary: FuzzCampaign.Summary, _ plan: FuzzCampaign.Plan) -> JSON {
    .object([
      ("seed", .string("\(plan.seed)")), ("start", .number(plan.start)), ("programs", .number(summary.programs)),
      ("accepted", .number(summary.accepted)), ("instructions", .number(summary.instructionsInPrograms)),
      ("processed", .number(summary.instructionsProcessed)), ("milliseconds", .number(Int(summary.seconds * 1000))),
      ("user_usec", .number(summary.userMicroseconds)), ("kernel_usec", .number(summary.kernelMicroseconds)),
      ("compared", .number(summary.compared)), ("logs", .number(summary.logs)), ("long", .number(summary.long)),
      ("unanswered", .number(summary.unanswered)),
      (
        "differences",
        .object(FuzzDifference.Kind.allCases.map { ($0.rawValue, .number(summary.differences[$0] ?? 0)) })
      ),
      ("refusals", .object(summary.refusals.sorted { $0.key < $1.key }.map { ($0.key, .number($0.value)) })),
    ])
  }
}

/// Shows how far a run is, once a second.
private final class Watcher: Sendable {
  private let task: Task<Void, Never>

  init(_ campaign: FuzzCampaign) {
    task = Task.detached {
      while !Task.isCancelled {
        try? await Task.sleep(for: .seconds(1))
        if Task.isCancelled { return }
        let summary = campaign.summary
        Terminal.error.write(
          "\r\(summary.programs) programs, \(Int(summary.rate)) a second, \(summary.differing) differ  ")
      }
    }
  }

  func stop() {
    guard !task.isCancelled else { return }
    task.cancel()
    Terminal.error.write("\r\u{1b}[K")
  }
}
