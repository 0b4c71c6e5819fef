import BPFISA
import BPFLinux
import BTF

/// What random programs of one type may reach.
struct FuzzProfile: Sendable {
  /// A field of the context.
  struct Field: Sendable {
    let offset: Int
    let size: Int
    let writable: Bool
  }

  /// Where the context has pointers to the packet.
  struct Packet: Sendable {
    let data: Int
    let end: Int
    let meta: Int?
    let size: Int
    let writable: Bool
  }

  let type: ProgramType
  let attachType: AttachType
  let fields: [Field]
  let packet: Packet?
  /// An exit code that is always taken.
  let exitCode: Int32
  /// Helpers that the kernel has for this type.
  var helpers: [HelperPrototype] = []
  var sleepable = false
  /// Where the context has tasks.
  var taskFields: [Int] = []
  /// What the program attaches to: `sched_switch`, and its type in the kernel.
  var target: (name: String, id: TypeID)?
  /// Allocated objects, tasks and exceptions are not for all types.
  var hasObjects: Bool {
    switch type {
    case .schedCls, .xdp, .cgroupSkb, .cgroupSock, .cgroupDevice, .cgroupSockAddr, .cgroupSockopt, .cgroupSysctl,
      .sockOps, .syscall, .tracing, .tracepoint, .perfEvent: true
    default: false
    }
  }
  /// Spin locks are not for programs that trace.
  var takesLocks: Bool {
    switch type {
    case .kprobe, .tracepoint, .rawTracepoint, .perfEvent, .socketFilter, .tracing: false
    default: true
    }
  }
  /// Where the context has a socket or null.
  var socketField: Int?

  private init(
    _ type: ProgramType, _ attachType: AttachType, _ fields: [Field], packet: Packet? = nil,
    exitCode: Int32 = 0
  ) {
    self.type = type
    self.attachType = attachType
    self.fields = fields
    self.packet = packet
    self.exitCode = exitCode
  }

  private static func words(_ offsets: [Int], writable: [Int] = []) -> [Field] {
    offsets.map { Field(offset: $0, size: 4, writable: writable.contains($0)) }
  }

  private static func longs(_ offsets: StrideTo<Int>) -> [Field] {
    offsets.map { Field(offset: $0, size: 8, writable: false) }
  }

  private static let packetWords = [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68]
  private static let marks = [8, 32, 48, 52, 56, 60, 64]

  static func all(linux: Linux) -> [FuzzProfile] {
    let packetFields = words(packetWords, writable: marks)
    let tc = packetFields + words([72, 164, 176], writable: [72])
      + [Field(offset: 152, size: 8, writable: true), Field(offset: 184, size: 8, writable: false)]
    let direct = Packet(data: 76, end: 80, meta: 140, size: 4, writable: true)
    let readOnly = Packet(data: 76, end: 80, meta: nil, size: 4, writable: false)
    var profiles = [
      FuzzProfile(.socketFilter, .none, words(packetWords, writable: [48, 52, 56, 60, 64])),
      FuzzProfile(.schedCls, .none, tc, packet: direct),
      FuzzProfile(
        .xdp, .none, words([12, 16]), packet: Packet(data: 0, end: 4, meta: 8, size: 4, writable: true), exitCode: 2),
      FuzzProfile(.cgroupSkb, .cgroupInetIngress, packetFields, packet: readOnly, exitCode: 1),
      FuzzProfile(.cgroupSkb, .cgroupInetEgress, packetFields, packet: readOnly, exitCode: 1),
      FuzzProfile(.cgroupSock, .cgroupInetSockCreate, words([0, 4, 8, 12, 16, 20], writable: [0, 16, 20]), exitCode: 1),
      FuzzProfile(
        .cgroupSockAddr, .cgroupInet4Connect, words([0, 4, 24, 28, 32, 36], writable: [4, 24]), exitCode: 1),
      FuzzProfile(
        .cgroupSockAddr, .cgroupInet6Bind, words([0, 8, 12, 16, 20, 24, 28, 32, 36], writable: [8, 24]),
        exitCode: 1),
      FuzzProfile(.cgroupDevice, .none, words([0, 4, 8]), exitCode: 1),
      FuzzProfile(.cgroupSysctl, .cgroupSysctl, words([0, 4], writable: [4]), exitCode: 1),
      FuzzProfile(
        .cgroupSockopt, .cgroupSetsockopt, words([24, 28, 32], writable: [24, 28, 32]),
        packet: Packet(data: 8, end: 16, meta: nil, size: 8, writable: true), exitCode: 1),
      FuzzProfile(.sockOps, .none, words([0, 4, 8, 12, 20, 28, 32, 68, 84, 88, 96], writable: [4, 8])),
      FuzzProfile(
        .skMsg, .skMsgVerdict, words([16, 20, 24, 60, 64, 68]),
        packet: Packet(data: 0, end: 8, meta: nil, size: 8, writable: true), exitCode: 1),
      FuzzProfile(.skSkb, .skSkbVerdict, words([0, 12, 16, 32, 36, 44], writable: [32, 44]), packet:
        Packet(data: 76, end: 80, meta: nil, size: 4, writable: true), exitCode: 1),
      FuzzProfile(
        .skReuseport, .skReuseportSelect, words([16, 20, 24, 28, 32]),
        packet: Packet(data: 0, end: 8, meta: nil, size: 8, writable: false), exitCode: 1),
      FuzzProfile(.skLookup, .skLookup, words([8, 12, 16, 20, 36, 40, 44, 60, 64]), exitCode: 1),
      FuzzProfile(.flowDissector, .flowDissector, [], packet: readOnly),
      FuzzProfile(.lwtXmit, .none, packetFields, packet: Packet(data: 76, end: 80, meta: nil, size: 4, writable: true)),
      FuzzProfile(.lwtIn, .none, packetFields, packet: readOnly),
      FuzzProfile(.kprobe, .none, longs(stride(from: 0, to: 168, by: 8))),
      FuzzProfile(.tracepoint, .none, longs(stride(from: 8, to: 64, by: 8)) + words([8, 12, 20])),
      FuzzProfile(.rawTracepoint, .none, longs(stride(from: 0, to: 80, by: 8))),
      FuzzProfile(.perfEvent, .none, longs(stride(from: 0, to: 184, by: 8))),
      FuzzProfile(.syscall, .none, longs(stride(from: 0, to: 64, by: 8))),
    ]
    if let switched = linux.btf?.find("btf_trace_sched_switch", kind: .typedef) {
      var profile = FuzzProfile(.tracing, .traceRawTp, [Field(offset: 0, size: 8, writable: false),
        Field(offset: 24, size: 8, writable: false)])
      profile.target = ("sched_switch", switched)
      profile.taskFields = [8, 16]
      profiles += [profile, profile]
    }
    if let iterator = linux.btf?.find("bpf_iter_task", kind: .function) {
      var profile = FuzzProfile(.tracing, .traceIter, [])
      profile.target = ("task", iterator)
      profile.taskFields = [8]
      profiles.append(profile)
    }
    return profiles.map { profile in
      var profile = profile
      profile.sleepable = profile.type == .syscall
      let program = Program(
        name: "probe", type: profile.type, expectedAttachType: profile.attachType, instructions: [])
      let traits = ProgramTraits(program, on: linux)
      profile.helpers = (1..<HelperID.end).compactMap {
        HelperTable.prototype(HelperID(rawValue: $0), for: traits)
      }.filter { $0.isCallable && ($0.mightSleep == false || profile.sleepable) }
      switch profile.type {
      case .schedCls, .cgroupSkb, .socketFilter, .skSkb, .lwtXmit: profile.socketField = 168
      case .cgroupSockAddr: profile.socketField = 64
      case .cgroupSockopt, .skLookup: profile.socketField = 0
      case .sockOps: profile.socketField = 184
      case .skMsg: profile.socketField = 72
      default: break
      }
      return profile
    }
  }
}

extension HelperPrototype {
  /// Whether all arguments are such as random programs have.
  fileprivate var isCallable: Bool {
    for index in 0..<5 {
      switch arguments[index].base {
      case .none, .constMapPointer, .mapKey, .mapValue, .memory, .constSize, .constSizeOrZero, .context, .anything,
        .stack, .constString, .constAllocSizeOrZero:
        continue
      case .function: if id != .loop && id != .forEachMapElem { return false }
      default: if arguments[index].base != .none { return false }
      }
    }
    return id != .copyFromUserTask && id != .getLocalStorage
  }
}
