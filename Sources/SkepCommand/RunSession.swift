import BPFKernel
import BPFLinux
import Skep

/// One `skep run`: loads, runs, compares and prints.
struct RunSession {
  private let request: RunRequest
  private let object: RunnableObject
  private let program: RunnableObject.ProgramName

  init(_ request: RunRequest, _ object: RunnableObject) throws(RunError) {
    self.request = request
    var object = object
    program = try Self.program(request, object)
    for (name, contents) in request.maps where object.hasGlobal(name) { try object.set(name, to: contents) }
    self.object = object
  }

  private static func program(
    _ request: RunRequest, _ object: RunnableObject
  ) throws(RunError) -> RunnableObject.ProgramName {
    if let name = request.program {
      guard let found = object.programs.first(where: { $0.name == name }) else {
        throw RunError(.input, "there is no program '\(name)' in \(request.path)")
      }
      return found
    }
    guard let only = object.programs.first else { throw RunError(.input, "\(request.path) has no programs") }
    guard object.programs.count == 1 else {
      let names = object.programs.map(\.name).joined(separator: ", ")
      throw RunError(.input, "\(request.path) has several programs; name one with --prog: \(names)")
    }
    return only
  }

  // MARK: Loading

  /// An engine with the object in it.
  private struct Place {
    let label: String
    let loaded: LoadedObject
    let program: RunnableProgram
  }

  private func load(_ engine: RunEngine, _ label: String) throws(RunError) -> Place {
    let others = request.maps.filter { !object.hasGlobal($0.name) }
    for map in others where !object.hasMap(map.name) {
      throw RunError(.input, "there is no map or global variable '\(map.name)'")
    }
    // Programs that are only named as what an array of programs holds are loaded too.
    let loaded = try object.load([program.name] + callees(others), engine: engine, extraMaps: others.map(\.name))
    for (name, contents) in others { try loaded.fill(name, with: contents) }
    loaded.followTrace { Terminal.error.write($0 + "\n") }
    let program = try loaded.program(program.name)
    if let remark = program.remark, engine == .user(.automatic) {
      Terminal.complain("'\(program.name)' runs in the interpreter: \(remark)")
    }
    return Place(label: label, loaded: loaded, program: program)
  }

  /// Names of programs among map contents.
  private func callees(_ maps: [(name: String, contents: JSONValue)]) -> [String] {
    let names = Set(object.programs.map(\.name))
    var found: [String] = []
    func search(_ value: JSONValue) {
      switch value {
      case .string(let text) where names.contains(text) && text != program.name && !found.contains(text):
        found.append(text)
      case .array(let elements): for element in elements { search(element) }
      case .object(let members): for member in members { search(member.value) }
      default: break
      }
    }
    for map in maps where object.isProgramArray(map.name) { search(map.contents) }
    return found
  }

  private func places() throws(RunError) -> [Place] {
    switch request.engine {
    case .user: return [try load(.user(request.translation), "user")]
    case .kernel: return [try load(.kernel, "kernel")]
    case .both:
      // A program counts on its CPU; both are to count on the first.
      KernelTestBench.stayOnFirstCPU()
      return [try load(.user(request.translation), "user"), try load(.kernel, "kernel")]
    }
  }

  func run() throws(RunError) -> Int32 {
    let places = try places()
    if let capture = request.capture { return try run(capture: capture, places) }
    var outcomes: [Outcome] = []
    for place in places {
      let result = try place.program.run(request.input)
      outcomes.append(Outcome(place.label, place.program, result, maps: try maps(place.loaded)))
    }
    try writeOutput(outcomes)
    let differences = outcomes.count == 2 ? outcomes[0].differences(from: outcomes[1]) : []
    switch request.format {
    case .text: Terminal.output.write(text(outcomes, differences))
    case .json: Terminal.output.write(json(outcomes, differences).text() + "\n")
    }
    return differences.isEmpty ? 0 : 1
  }

  // MARK: One run

  private struct Outcome {
    let label: String
    let engine: String
    let type: ProgramType
    let result: RunResult
    let maps: [JSONValue.Member]

    init(_ label: String, _ program: RunnableProgram, _ result: RunResult, maps: [JSONValue.Member]) {
      self.label = label
      engine = program.engine
      type = program.type
      self.result = result
      self.maps = maps
    }

    func differences(from other: Outcome) -> [String] {
      var found: [String] = []
      func compare(_ what: String, _ ours: String, _ theirs: String) {
        if ours != theirs { found.append("\(what): \(label) \(ours), \(other.label) \(theirs)") }
      }
      compare(
        "return value", Verdict.text(result.returnValue, type), Verdict.text(other.result.returnValue, type))
      if result.data != other.result.data {
        compare("packet", Self.shown(result.data), Self.shown(other.result.data))
      }
      if result.context != other.result.context {
        compare("context", Self.shown(result.context), Self.shown(other.result.context))
      }
      for (ours, theirs) in zip(maps, other.maps) where ours.value != theirs.value {
        compare("map '\(ours.name)'", ours.value.compactText, theirs.value.compactText)
      }
      return found
    }

    private static func shown(_ bytes: [UInt8]) -> String {
      bytes.isEmpty ? "(none)" : HexDump.digits(bytes)
    }
  }

  /// Maps as they are afterwards, where they are to be printed or compared.
  private func maps(_ loaded: LoadedObject) throws(RunError) -> [JSONValue.Member] {
    guard request.dumpsMaps || request.engine == .both else { return [] }
    var members: [JSONValue.Member] = []
    for map in loaded.maps where map.isDumpable { members.append(.init(map.name, try map.dump())) }
    return members
  }

  private func writeOutput(_ outcomes: [Outcome]) throws(RunError) {
    guard let first = outcomes.first else { return }
    func write(_ bytes: [UInt8], _ path: String?, _ option: String) throws(RunError) {
      guard let path else { return }
      if path == "-" {
        Terminal.output.write(bytes)
      } else if !Terminal.writeFile(bytes, to: path) {
        throw RunError(.input, "\(option): \(path) cannot be written")
      }
    }
    try write(first.result.data, request.dataOut, "--data-out")
    try write(first.result.context, request.contextOut, "--ctx-out")
  }

  private func text(_ outcomes: [Outcome], _ differences: [String]) -> String {
    var text = ""
    let isAverage = request.input.repeats > 1
    for outcome in outcomes {
      if outcomes.count > 1 { text += "\(outcome.label) (\(outcome.engine)): " }
      text += "Return value: \(Verdict.text(outcome.result.returnValue, outcome.type)), "
      text += "duration\(isAverage ? " (average)" : ""): \(outcome.result.nanoseconds)ns\n"
    }
    if outcomes.count > 1 {
      text += differences.isEmpty ? "no difference\n" : "differences:\n"
      for difference in differences { text += "  \(difference)\n" }
    }
    if request.dumpsMaps, let first = outcomes.first {
      for map in first.maps { text += "\(map.name): \(map.value.text())\n" }
    }
    return text
  }

  private func json(_ outcomes: [Outcome], _ differences: [String]) -> JSONValue {
    func members(_ outcome: Outcome) -> [JSONValue.Member] {
      var members: [JSONValue.Member] = [
        .init("engine", .string(outcome.engine)), .init("retval", .integer(Int64(outcome.result.returnValue))),
      ]
      if let name = Verdict.name(outcome.result.returnValue, outcome.type) {
        members.append(.init("verdict", .string(name)))
      }
      members.append(.init("duration", .integer(Int64(outcome.result.nanoseconds))))
      if outcome.type.givesPacket { members.append(.init("data_out", .string(HexDump.digits(outcome.result.data)))) }
      if request.input.wantsContext {
        members.append(.init("ctx_out", .string(HexDump.digits(outcome.result.context))))
      }
      if request.dumpsMaps { members.append(.init("maps", .object(outcome.maps))) }
      return members
    }
    var all: [JSONValue.Member] = [
      .init("prog", .string(program.name)), .init("prog_type", .string(outcomes.first?.type.name ?? "")),
      .init("repeat", .integer(Int64(request.input.repeats))),
    ]
    if outcomes.count == 1 {
      all += members(outcomes[0])
    } else {
      for outcome in outcomes { all.append(.init(outcome.label, .object(members(outcome)))) }
      all.append(.init("differences", .array(differences.map { .string($0) })))
    }
    return .object(all)
  }

  // MARK: Captures

  private func run(capture path: String, _ places: [Place]) throws(RunError) -> Int32 {
    var run = try CaptureRun(places.map(\.program))
    run.timeout = request.input.timeout
    let bar = ProgressBar()
    let outcome = try run.run(path, output: request.captureOut) { bar.show($0) }
    bar.end()
    let summary = outcome.summary
    let maps = try places.first.map { place throws(RunError) in try self.maps(place.loaded) } ?? []
    switch request.format {
    case .text:
      Terminal.output.write(summary.text(places[0].program.type))
      if request.dumpsMaps {
        for map in maps { Terminal.output.write("\(map.name): \(map.value.text())\n") }
      }
    case .json:
      var members = summary.members(program.name, places[0].program)
      if request.dumpsMaps { members.append(.init("maps", .object(maps))) }
      Terminal.output.write(JSONValue.object(members).text() + "\n")
    }
    if let failure = outcome.failure { throw failure }
    return summary.differing == 0 ? 0 : 1
  }
}

extension CaptureSummary {
  fileprivate func text(_ type: ProgramType) -> String {
    var text = "\(packets) packets, \(Self.rate(packetsPerSecond)) packets/s\n"
    let width = verdicts.map { Verdict.text($0.key, type).count }.max() ?? 0
    for (value, count) in verdicts.sorted(by: { $0.key < $1.key }) {
      let name = Verdict.text(value, type)
      let share = packets == 0 ? 0 : Double(count) * 100 / Double(packets)
      let tenths = Int((share * 10).rounded())
      let space = String(repeating: " ", count: width - name.count)
      text += "  \(name)\(space)  \(count)  (\(tenths / 10).\(tenths % 10) %)\n"
    }
    if unfit > 0 { text += "  not run, since too short or too long: \(unfit)\n" }
    if let written { text += "  written: \(written)\n" }
    if differing > 0 {
      text += "  user and kernel differ: \(differing)\n"
      for example in examples { text += "    \(example)\n" }
    }
    return text
  }

  fileprivate func members(_ name: String, _ program: RunnableProgram) -> [JSONValue.Member] {
    var members: [JSONValue.Member] = [
      .init("prog", .string(name)), .init("prog_type", .string(program.type.name)),
      .init("engine", .string(program.engine)), .init("packets", .integer(Int64(packets))),
      .init("packets_per_second", .integer(Int64(packetsPerSecond))),
      .init(
        "verdicts",
        .object(
          verdicts.sorted { $0.key < $1.key }.map { value, count in
            .init(Verdict.name(value, program.type) ?? "\(value)", .integer(Int64(count)))
          })),
      .init("not_run", .integer(Int64(unfit))),
    ]
    if let written { members.append(.init("written", .integer(Int64(written)))) }
    members.append(.init("differing", .integer(Int64(differing))))
    return members
  }

  /// `8.12 M`, `930 k`, `12`.
  static func rate(_ perSecond: Double) -> String {
    if perSecond >= 1e6 {
      let hundredths = Int((perSecond / 1e4).rounded())
      let rest = hundredths % 100
      return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest) M"
    }
    return perSecond >= 1e4 ? "\(Int((perSecond / 1e3).rounded())) k" : "\(Int(perSecond.rounded()))"
  }
}

/// How far a capture is, on a terminal.
private struct ProgressBar {
  private let isShown = Terminal.error.isTerminal

  func show(_ progress: CaptureProgress) {
    guard isShown else { return }
    let width = 30
    let done = Int((progress.fraction * Double(width)).rounded(.down))
    let bar = String(repeating: "#", count: done) + String(repeating: " ", count: width - done)
    let percent = Int(progress.fraction * 100)
    let rate = CaptureSummary.rate(progress.packetsPerSecond)
    Terminal.error.write("\r[\(bar)] \(percent) %  \(progress.packets) packets, \(rate)/s\u{1b}[K")
  }

  func end() {
    if isShown { Terminal.error.write("\r\u{1b}[K") }
  }
}

/// What return values mean.
private enum Verdict {
  private static let xdp = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"]
  private static let traffic = [
    "TC_ACT_OK", "TC_ACT_RECLASSIFY", "TC_ACT_SHOT", "TC_ACT_PIPE", "TC_ACT_STOLEN", "TC_ACT_QUEUED",
    "TC_ACT_REPEAT", "TC_ACT_REDIRECT", "TC_ACT_TRAP",
  ]

  static func name(_ value: UInt32, _ type: ProgramType) -> String? {
    switch type {
    case .xdp: return value < xdp.count ? xdp[Int(value)] : nil
    case .schedCls, .schedAct:
      if value == .max { return "TC_ACT_UNSPEC" }
      return value < traffic.count ? traffic[Int(value)] : nil
    default: return nil
    }
  }

  static func text(_ value: UInt32, _ type: ProgramType) -> String {
    if let name = name(value, type) { return "\(value) (\(name))" }
    let signed = Int32(bitPattern: value)
    return signed < 0 && signed >= -4095 ? "\(value) (\(signed))" : "\(value)"
  }
}

/// Bytes as digits.
private enum HexDump {
  static func digits(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
  }
}
