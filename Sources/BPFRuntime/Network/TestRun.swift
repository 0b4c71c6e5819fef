import BPFLinux
import BPFVerifier

/// A run of a program on given input, by the rules of `BPF_PROG_TEST_RUN`: which input Linux takes of each type of
/// program, what the program then finds, and what comes back.
///
///     let test = TestRun(type: .xdp, linux: linux)
///     var input = TestRun.Input(data: packet)
///     input.dataCapacity = 4096
///     let output = test.run(input) { loaded.run(on: worker, $0, repeat: $1) }
///
/// One object serves one thread, and keeps its contexts from run to run.
public final class TestRun {
  /// What is given. Empty data and contexts are not passed at all.
  public struct Input: Sendable, Hashable {
    public var data: [UInt8]
    public var context: [UInt8]
    /// Runs; 0 stands for 1, and is all that some types take.
    public var repeats: UInt32 = 0
    /// `BPF_F_TEST_…`.
    public var flags: UInt32 = 0
    public var cpu: UInt32 = 0
    public var batchSize: UInt32 = 0
    /// Room for the packet and the context that come out; 0 asks for none.
    public var dataCapacity = 0
    public var contextCapacity = 0

    public init(data: [UInt8] = [], context: [UInt8] = []) {
      self.data = data
      self.context = context
    }
  }

  /// What comes out.
  public struct Output: Sendable, Hashable {
    /// Why the run was refused, or that something did not fit (`ENOSPC`); nil where all went well.
    public var errno: Errno?
    public var returnValue: UInt32 = 0
    /// Nanoseconds of one run, on average.
    public var duration: UInt32 = 0
    /// As much as there was room for, and how much there is.
    public var data: [UInt8] = []
    public var dataSize = 0
    public var context: [UInt8] = []
    public var contextSize = 0

    static func refused(_ errno: Errno) -> Output {
      var output = Output()
      output.errno = errno
      return output
    }
  }

  /// Runs the program so many times on a context: the last value, and the time of one run.
  public typealias Body = (RunContext, Int) -> (value: UInt64, nanosecondsPerRun: UInt64)

  public enum Flag {
    public static let runOnCPU: UInt32 = 1 << 0
    public static let liveFrames: UInt32 = 1 << 1
    public static let checksumComplete: UInt32 = 1 << 2
  }

  public let type: ProgramType
  public let attachType: AttachType
  public let linux: Linux
  /// How far into its context the program reaches; `contextExtent(of:)` of its proof.
  public let contextExtent: Int
  public let interfaces: [NetworkInterface]
  public var cpuCount = 1
  /// Also run what Linux has no test run for, on the bytes of the context alone.
  public var runsEverything = false

  lazy var xdpContext = XDPContext(interfaces: interfaces)
  lazy var socketBufferContext = SocketBufferContext(type: type, interfaces: interfaces)
  lazy var flowContext = FlowDissectorContext()
  lazy var lookupContext = SocketLookupContext()
  lazy var netfilterContext = NetfilterContext(linux, interfaces: interfaces)

  static let pageSize = 4096
  static let ethernetHeader = 14

  public init(
    type: ProgramType, attachType: AttachType = .none, linux: Linux, contextExtent: Int = 0,
    interfaces: [NetworkInterface] = [.loopback]
  ) {
    self.type = type
    self.attachType = attachType
    self.linux = linux
    self.contextExtent = contextExtent
    self.interfaces = interfaces
  }

  /// For runs of a program that has been linked.
  public convenience init(
    _ program: LinkedProgram, linux: Linux, interfaces: [NetworkInterface] = [.loopback]
  ) {
    self.init(
      type: program.program.type, attachType: program.program.expectedAttachType, linux: linux,
      contextExtent: Self.contextExtent(of: program.proof), interfaces: interfaces)
  }

  /// How far into its context a program reaches (`max_ctx_offset`).
  public static func contextExtent(of proof: Proof) -> Int {
    var extent = 0
    for (index, fact) in proof.facts.enumerated() where fact.isReachable && fact.access == .context {
      let instruction = proof.instructions[index]
      switch instruction.opcode & 7 {
      case 1, 2, 3: extent = max(extent, Int(instruction.offset) + instruction.accessSize)
      default: break
      }
    }
    return extent
  }

  /// Puts a packet into the context that programs of this type run on, for those who run many: no input but the
  /// packet, no output but what the context then holds.
  ///
  /// - Returns: the context; nil where the packet is too short or too long for a test run.
  @inline(__always)
  public func context(of packet: UnsafeRawBufferPointer) -> RunContext? {
    guard packet.count >= Self.ethernetHeader else { return nil }
    switch type {
    case .xdp:
      let context = xdpContext
      if context.reset(packet) { return context }
      return context.reset(packet, metadata: 0, linear: packet.count) ? context : nil
    case .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit:
      guard packet.count <= Self.maximumSocketBuffer, hasNetworkHeader(packet) else { return nil }
      let context = socketBufferContext
      return context.reset(packet) ? context : nil
    default: return nil
    }
  }

  /// What of a packet in the context of `context(of:)` goes on: the bytes from its Ethernet header on.
  public func packet(in context: RunContext) -> [UInt8] {
    switch context {
    case let it as XDPContext: Array(it.bytes.dropFirst(it.metadataSize))
    case let it as SocketBufferContext where it.seesLinkHeader: Array(it.packet)
    case let it as SocketBufferContext: [UInt8](repeating: 0, count: Self.ethernetHeader) + Array(it.packet)
    default: []
    }
  }

  /// Runs a program.
  public func run(_ input: Input, _ body: Body) -> Output {
    switch type {
    case .xdp: return runXDP(input, body)
    case .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit:
      return runSocketBuffer(input, body)
    case .flowDissector: return runFlowDissector(input, body)
    case .skLookup: return runSocketLookup(input, body)
    case .netfilter: return runNetfilter(input, body)
    case .rawTracepoint: return runRawTracepoint(input, body)
    case .syscall: return runSyscall(input, body)
    case .tracing: return runsEverything ? runBytes(input, body) : runTracing(input)
    default: return runsEverything ? runBytes(input, body) : .refused(.ENOTSUPP)
    }
  }

  // MARK: What types share

  /// The context that user space gave or asks for, in `size` bytes; nil where it does neither.
  func givenContext(_ input: Input, size: Int) throws(Errno) -> [UInt8]? {
    guard !input.context.isEmpty || input.contextCapacity > 0 else { return nil }
    guard input.context.count <= max(size, Self.pageSize) else { throw .E2BIG }
    if input.context.count > size {
      guard input.context[size...].allSatisfy({ $0 == 0 }) else { throw .E2BIG }
    }
    var context = Array(input.context.prefix(size))
    context += [UInt8](repeating: 0, count: size - context.count)
    return context
  }

  /// Runs, and notes value and time.
  func measure(_ output: inout Output, _ input: Input, _ context: RunContext, _ body: Body) {
    let result = body(context, max(1, Int(input.repeats)))
    output.returnValue = UInt32(truncatingIfNeeded: result.value)
    output.duration = UInt32(clamping: result.nanosecondsPerRun)
  }

  /// Gives the packet back: where it does not fit, as much as does, and ENOSPC.
  ///
  /// - Parameter fragments: what of the packet does not lie with the rest; nil where it cannot have any.
  /// - Returns: whether all went well.
  func finish(_ output: inout Output, _ input: Input, _ linear: [UInt8], fragments: [[UInt8]]? = nil) -> Bool {
    let fragmented = fragments?.reduce(0) { $0 + $1.count } ?? 0
    let size = linear.count + fragmented
    var copied = size
    var isShort = false
    if input.dataCapacity > 0, copied > input.dataCapacity {
      copied = input.dataCapacity
      isShort = true
    }
    if input.dataCapacity > 0 {
      let length = copied - fragmented
      guard length >= 0 else {
        output.errno = .ENOSPC
        output.returnValue = 0
        output.duration = 0
        return false
      }
      output.data = Array(linear.prefix(length))
      for fragment in fragments ?? [] {
        guard output.data.count < copied else {
          isShort = true
          break
        }
        output.data += fragment.prefix(copied - output.data.count)
      }
    }
    output.dataSize = size
    if isShort { output.errno = .ENOSPC }
    return !isShort
  }

  func finishContext(_ output: inout Output, _ input: Input, _ context: [UInt8]?) {
    guard let context, input.contextCapacity > 0 else { return }
    output.context = Array(context.prefix(input.contextCapacity))
    output.contextSize = context.count
    if context.count > input.contextCapacity { output.errno = .ENOSPC }
  }

  func interface(_ index: UInt32) -> NetworkInterface? { interfaces.first { $0.index == index } }
}

extension [UInt8] {
  func word(_ offset: Int) -> UInt32 { withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) } }
  mutating func put<T: BitwiseCopyable>(_ value: T, at offset: Int) {
    withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: T.self) }
  }
  func isZero(_ range: Range<Int>) -> Bool { self[range].allSatisfy { $0 == 0 } }
}
