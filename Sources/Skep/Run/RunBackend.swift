import BPFISA
import BPFLinux
import BPFVerifier

/// What is known of a program before its maps are made.
struct PreparedProgram: Sendable {
  let verified: VerifiedProgram?
  let proof: Proof?

  /// By the program's own numbers of its maps. The verifier counts maps as instructions name them.
  var mapFields: [Int: [SpecialField]] {
    guard let proof else { return [:] }
    var order: [Int] = []
    var slot = 0
    while slot < proof.instructions.count {
      let instruction = proof.instructions[slot]
      slot += instruction.isLoadImmediate64 ? 2 : 1
      guard instruction.isLoadImmediate64 else { continue }
      switch UInt8(truncatingIfNeeded: instruction.src) {
      case PseudoSource.mapFD, PseudoSource.mapValue, PseudoSource.mapIndex, PseudoSource.mapIndexValue:
        let map = Int(instruction.immediate)
        if !order.contains(map) { order.append(map) }
      default: break
      }
    }
    var fields: [Int: [SpecialField]] = [:]
    for (place, map) in order.enumerated() where proof.mapFields.indices.contains(place) {
      fields[map] = proof.mapFields[place]
    }
    return fields
  }
}

/// Where maps are made and programs run.
protocol RunBackend: AnyObject, Sendable {
  /// Calls `body` with each line that programs print, where that can be seen.
  func followTrace(_ body: @escaping @Sendable (String) -> Void)
  /// Looks at all programs, in order, before anything is made.
  func prepare(_ units: [RunnableObject.Unit]) throws(RunError) -> [PreparedProgram]
  /// A new map with the contents that its definition names, and its id.
  func makeMap(_ definition: MapDefinition, fields: [SpecialField]) throws(RunError) -> (any MapStore, id: UInt32)
  /// - Parameter maps: those of the program, in its order.
  func load(
    _ unit: RunnableObject.Unit, _ prepared: PreparedProgram, maps: [any MapStore]
  ) throws(RunError) -> any ProgramRunner
  func put(_ inner: any MapStore, into map: any MapStore, at key: [UInt8]) throws(MapStoreError)
  func put(_ program: any ProgramRunner, into map: any MapStore, at key: [UInt8]) throws(MapStoreError)
}

/// One loaded program.
protocol ProgramRunner: AnyObject, Sendable {
  /// 0 where programs have none.
  var id: UInt32 { get }
  var engine: String { get }
  var remark: String? { get }
  /// How long it took to make it executable; nil where that is not known.
  var translation: Duration? { get }
  /// Values for packets that are run one after another, nothing else kept; nil of a packet that cannot be run.
  func values(of packets: [[UInt8]], cpu: Int) throws(RunError) -> [UInt32?]
  func run(_ input: RunInput) throws(RunError) -> RunResult
  /// Runs it once on a packet; nil where the packet is too short or too long for a test run.
  func run(packet: [UInt8], wantsPacket: Bool) throws(RunError) -> RunResult?
  /// Ends the run that is going on, from another thread.
  func stop()
}

extension ProgramRunner {
  func values(of packets: [[UInt8]], cpu: Int) throws(RunError) -> [UInt32?] {
    var values: [UInt32?] = []
    for packet in packets { values.append(try run(packet: packet, wantsPacket: false)?.returnValue) }
    return values
  }

  func run(packet: [UInt8], wantsPacket: Bool) throws(RunError) -> RunResult? {
    do throws(RunError) {
      return try run(RunInput(data: packet))
    } catch {
      guard error.errno == .EINVAL else { throw error }
      return nil
    }
  }
}

extension ProgramType {
  /// Whether a test run takes a packet and gives one back.
  public var givesPacket: Bool {
    switch self {
    case .xdp, .schedCls, .schedAct, .socketFilter, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .skSkb,
      .flowDissector:
      true
    default: false
    }
  }

  /// Whether a test run gives a context back.
  var givesContext: Bool {
    switch self {
    case .flowDissector: false
    case .syscall: true
    default: givesPacket
    }
  }
}

extension RunInput {
  /// The context to pass: an XDP program's says how long the packet is, so one that is asked for must be given too.
  func givenContext(of type: ProgramType) -> [UInt8] {
    guard type == .xdp, wantsContext, context.isEmpty else { return context }
    var made = [UInt8](repeating: 0, count: 24)
    for byte in 0..<4 { made[4 + byte] = UInt8(truncatingIfNeeded: data.count >> (8 * byte)) }
    return made
  }

  /// What `BPF_PROG_TEST_RUN` answers to input of impossible size, said in words.
  static func refusal(of type: ProgramType, _ input: RunInput, _ errno: Errno) -> RunError {
    let name = type.name
    var reason = "a test run answers \(errno)"
    switch errno {
    case .EINVAL where input.repeats > 1 && !type.givesPacket && type != .skLookup:
      reason = "programs of type \(name) run once, not \(input.repeats) times (EINVAL)"
    case .EINVAL where type.givesPacket && input.data.count < 14:
      reason = "a packet of \(input.data.count) bytes is too short: it has at least an Ethernet header of 14 (EINVAL)"
    case .EINVAL where type.givesPacket && input.data.count > 3000:
      reason = "a packet of \(input.data.count) bytes is too long, or the context does not fit it (EINVAL)"
    case .ENOMEM where type.givesPacket:
      reason = "a packet of \(input.data.count) bytes is too long (ENOMEM)"
    case .EINVAL where !type.givesPacket && !input.data.isEmpty:
      reason = "programs of type \(name) take no packet (EINVAL)"
    case .EINVAL where !input.context.isEmpty:
      reason = "a context of \(input.context.count) bytes is not one for programs of type \(name) (EINVAL)"
    case .EINVAL where type.givesPacket == false && input.context.isEmpty:
      reason = "programs of type \(name) need a context (EINVAL)"
    case .ENOTSUPP, .EOPNOTSUPP: reason = "programs of type \(name) have no test run (\(errno))"
    case .E2BIG:
      reason = "a context of \(input.context.count) bytes is longer than what programs of type \(name) have (E2BIG)"
    default: break
    }
    return RunError(.input, reason, errno: errno)
  }
}
