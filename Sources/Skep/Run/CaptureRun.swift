import BPFLinux
import Synchronization

/// How far a run over a capture is.
public struct CaptureProgress: Sendable, Hashable {
  public let packets: Int
  /// 0 to 1: how much of the file was read.
  public let fraction: Double
  public let packetsPerSecond: Double
}

/// What a run over a capture came to.
public struct CaptureSummary: Sendable, Hashable {
  /// Packets that were run.
  public var packets = 0
  /// How often the program returned each value.
  public var verdicts: [UInt32: Int] = [:]
  /// Packets that cannot be run: shorter than an Ethernet header, or longer than a test run takes.
  public var unfit = 0
  /// Packets written to the output; nil where there is none.
  public var written: Int?
  /// Seconds that the programs took.
  public var seconds = 0.0
  /// Packets on which the programs differ, and what differs of the first of them.
  public var differing = 0
  public var examples: [String] = []

  public var packetsPerSecond: Double { seconds > 0 ? Double(packets) / seconds : 0 }
}

/// Runs every packet of a capture through an XDP or tc program, or through two that are held against each other.
public struct CaptureRun {
  /// The first one decides what is written; the second one, if there is one, is compared.
  public let programs: [RunnableProgram]
  /// After how many seconds it is stopped.
  public var timeout: Double?

  private static let batch = 1024
  private static let shownExamples = 5

  public init(_ programs: [RunnableProgram]) throws(RunError) {
    for program in programs {
      switch program.type {
      case .xdp, .schedCls, .schedAct: break
      default:
        let type = program.type.name
        throw RunError(.input, "captures are for xdp and tc programs; '\(program.name)' is of type \(type)")
      }
    }
    self.programs = programs
  }

  /// What has been done, and what ended it early.
  public struct Outcome {
    public var summary: CaptureSummary
    public var failure: RunError?
  }

  /// Whether a packet goes on after this verdict: to the network stack, or out again.
  static func passes(_ value: UInt32, _ type: ProgramType) -> Bool {
    if type == .xdp { return (2...4).contains(value) }
    // TC_ACT_OK, RECLASSIFY, PIPE, REDIRECT and UNSPEC.
    return [0, 1, 3, 7, .max].contains(value)
  }

  /// Runs all packets of `path`, in order.
  ///
  /// - Parameters:
  ///   - output: where packets that pass or are sent go, changed as the program left them; a capture.
  ///   - report: called about ten times a second.
  /// - Returns: what was done. Of a capture that is cut short, all whole packets are run.
  public func run(
    _ path: String, output: String? = nil, report: (CaptureProgress) -> Void = { _ in }
  ) throws(RunError) -> Outcome {
    let capture: PacketCapture
    var writer: PacketCapture.Writer?
    do {
      capture = try PacketCapture(reading: path)
      if let output { writer = try PacketCapture.Writer(writing: output) }
    } catch {
      throw RunError(.input, error.description)
    }
    var outcome = Outcome(summary: CaptureSummary())
    if writer != nil { outcome.summary.written = 0 }
    let clock = ContinuousClock()
    let began = clock.now
    var reported = began
    var isAtEnd = false
    while !isAtEnd && outcome.failure == nil {
      var packets: [PacketCapture.Packet] = []
      do {
        while packets.count < Self.batch {
          guard let packet = try capture.next() else {
            isAtEnd = true
            break
          }
          packets.append(packet)
        }
      } catch {
        outcome.failure = RunError(.input, error.description)
      }
      do throws(RunError) {
        let left = timeout.map { $0 - began.duration(to: clock.now).inSeconds }
        if let left, left <= 0 { throw late() }
        try run(packets, left, &outcome.summary, writer)
      } catch {
        outcome.failure = error
      }
      if reported.duration(to: clock.now) > .milliseconds(100) {
        reported = clock.now
        let fraction = capture.size > 0 ? min(1, Double(capture.position) / Double(capture.size)) : 0
        report(
          CaptureProgress(
            packets: outcome.summary.packets, fraction: fraction,
            packetsPerSecond: outcome.summary.packetsPerSecond))
      }
    }
    do {
      try writer?.finish()
    } catch {
      outcome.failure = outcome.failure ?? RunError(.input, error.description)
    }
    return outcome
  }

  private func late() -> RunError {
    RunError(
      .timeout, "the capture was not through within \(timeout ?? 0) s; the rest of it was not run", errno: .ETIMEDOUT)
  }

  private func run(
    _ packets: [PacketCapture.Packet], _ seconds: Double?, _ summary: inout CaptureSummary,
    _ writer: PacketCapture.Writer?
  ) throws(RunError) {
    guard let first = programs.first, !packets.isEmpty else { return }
    let watch = seconds.map { seconds in Watchdog(seconds: seconds) { [runner = first.runner] in runner.stop() } }
    let clock = ContinuousClock()
    let began = clock.now
    var results: [RunResult?] = []
    results.reserveCapacity(packets.count)
    let wantsPacket = writer != nil || programs.count > 1
    for packet in packets { results.append(try first.runner.run(packet: packet.bytes, wantsPacket: wantsPacket)) }
    summary.seconds += began.duration(to: clock.now).inSeconds
    let isLate = watch?.end() ?? false
    for (packet, result) in zip(packets, results) {
      guard let result else {
        summary.unfit += 1
        continue
      }
      summary.packets += 1
      summary.verdicts[result.returnValue, default: 0] += 1
      if programs.count > 1 { try compare(packet, result, &summary) }
      if let writer, Self.passes(result.returnValue, first.type) {
        var changed = packet
        changed.originalLength += result.data.count - packet.bytes.count
        changed.bytes = result.data
        writer.write(changed)
        summary.written = (summary.written ?? 0) + 1
      }
    }
    if isLate { throw late() }
  }

  private func compare(
    _ packet: PacketCapture.Packet, _ result: RunResult, _ summary: inout CaptureSummary
  ) throws(RunError) {
    let other = try programs[1].runner.run(packet: packet.bytes, wantsPacket: true)
    if other?.returnValue == result.returnValue && other?.data == result.data { return }
    summary.differing += 1
    guard summary.examples.count < Self.shownExamples else { return }
    let ours = "\(programs[0].engine) \(result.returnValue)"
    let theirs = "\(programs[1].engine) \(other.map { "\($0.returnValue)" } ?? "none")"
    let what = other?.returnValue == result.returnValue ? "the packet that comes out" : "return value"
    summary.examples.append("packet \(summary.packets): \(what): \(ours), \(theirs)")
  }
}

extension Duration {
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
