import BTF

/// What a permitted access to a program's context yields.
public struct ContextAccess: BitwiseCopyable, Sendable {
  /// What the destination of a load becomes.
  public var registerType: RegisterType
  /// Width in bytes of the field that narrower loads may be cut from; 0 where only whole loads are taken.
  public var fieldSize: UInt32
  /// Kernel struct that a `.btfID` result points to, in the kernel's own BTF.
  public var btfTypeName: StaticString?
  /// The value read is the attached function's return value.
  public var isReturnValue = false
  /// The access fixes how the program sees `__sk_buff.tstamp`: it knows about `tstamp_type`.
  public var usesTimestampType = false
  /// The verifier takes the access, and then has no instruction to put in its place: the program is refused at the
  /// end with EFAULT and `verifier bug: error during ctx access conversion (0)`.
  public var failsConversion = false

  @inlinable
  public init(_ registerType: RegisterType = .scalar, fieldSize: UInt32 = 0, btfTypeName: StaticString? = nil) {
    self.registerType = registerType
    self.fieldSize = fieldSize
    self.btfTypeName = btfTypeName
  }
}

/// Whether a program type lets a context access through.
///
/// No rule here prints anything: after `refused` the verifier prints its own line (`invalid bpf_context access …`).
public enum ContextAccessVerdict: BitwiseCopyable, Sendable {
  case allowed(ContextAccess)
  case refused
  /// The argument types of the attached function decide; what can be said without them has been checked.
  case btf
}

/// One access to a context, as its rule sees it.
struct ContextRequest {
  var offset: Int32
  /// Bytes; a power of two up to 8 for instructions.
  var size: Int32
  var type: AccessType
  var signExtending: Bool

  var isRead: Bool { type == .read }
  var isWrite: Bool { type == .write }
  var isAligned: Bool { offset % size == 0 }

  func lies(in size: Int32) -> Bool { offset >= 0 && offset < size }

  /// Loads of up to `width` bytes that lie within one aligned field of that width.
  func narrow(_ width: Int32, _ type: RegisterType = .scalar) -> ContextAccess? {
    size <= width && size & (size &- 1) == 0 ? ContextAccess(type, fieldSize: UInt32(width)) : nil
  }

  func exactly(_ width: Int32, _ type: RegisterType = .scalar) -> ContextAccess? {
    size == width ? ContextAccess(type) : nil
  }
}

/// What each program type may load from and store to its context (`verifier_ops.is_valid_access`).
public enum ContextRules {
  /// Number of eight-byte arguments that the context of a traced function holds.
  public static let maxFunctionArguments: Int32 = 12
  /// Bytes behind a `flowKeys` pointer (`struct bpf_flow_keys`).
  public static let flowKeysSize: Int32 = 56

  /// Judges one access at a constant offset.
  ///
  /// - Parameters:
  ///   - type: the program's type; for an extension the type of the program it extends.
  ///   - expectedAttachType: as loaded; for an extension that of the program it extends.
  ///   - structOps: the operations struct and member that a `struct_ops` program implements.
  public static func access(
    offset: Int32, size: Int32, type access: AccessType, signExtending: Bool = false,
    program type: ProgramType, expectedAttachType: AttachType, structOps: StructOpsMember? = nil, linux: Linux
  ) -> ContextAccessVerdict {
    let request = ContextRequest(offset: offset, size: size, type: access, signExtending: signExtending)
    guard size > 0 else { return .refused }
    let result: ContextAccess?
    switch type {
    case .socketFilter:
      result = SocketBufferRules.socketFilter(request)
    case .schedCls, .schedAct:
      result = SocketBufferRules.trafficControl(request)
    case .cgroupSkb:
      result = SocketBufferRules.cgroup(request, bpfCapable: linux.capabilities.allows(.bpf))
    case .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local:
      result = SocketBufferRules.lightweightTunnel(request)
    case .skSkb:
      result = SocketBufferRules.streamParser(request)
    case .flowDissector:
      result = SocketBufferRules.flowDissector(request)
    case .xdp:
      result = PacketContextRules.xdp(request, attachType: expectedAttachType)
    case .skMsg:
      result = PacketContextRules.socketMessage(request)
    case .skReuseport:
      result = PacketContextRules.reuseport(request)
    case .netfilter:
      result = PacketContextRules.netfilter(request, hasTypes: linux.btf != nil)
    case .cgroupSock:
      result = SocketContextRules.socketHook(request, attachType: expectedAttachType)
    case .cgroupSockAddr:
      result = SocketContextRules.address(request, attachType: expectedAttachType)
    case .sockOps:
      result = SocketContextRules.operations(request)
    case .skLookup:
      result = SocketContextRules.lookup(request)
    case .cgroupSockopt:
      result = SocketContextRules.option(request, attachType: expectedAttachType)
    case .cgroupSysctl:
      result = SystemContextRules.sysctl(request)
    case .cgroupDevice:
      result = SystemContextRules.device(request)
    case .lircMode2:
      result = request.isRead && offset == 0 ? request.exactly(4) : nil
    case .syscall:
      result = request.lies(in: 0xffff) && request.isAligned ? ContextAccess() : nil
    case .kprobe:
      result = SystemContextRules.probe(request, linux: linux)
    case .tracepoint:
      result = SystemContextRules.tracepoint(request)
    case .perfEvent:
      result = SystemContextRules.perfEvent(request, linux: linux)
    case .rawTracepoint:
      result = SystemContextRules.isFunctionArgument(request) ? ContextAccess() : nil
    case .rawTracepointWritable:
      result = SystemContextRules.writableTracepoint(request)
    case .tracing:
      return SystemContextRules.isFunctionArgument(request) ? .btf : .refused
    case .lsm:
      return .btf
    case .structOps:
      return structOpsAccess(request, structOps)
    default:
      return .refused
    }
    guard let result else { return .refused }
    return .allowed(result)
  }

  private static func structOpsAccess(
    _ request: ContextRequest, _ member: StructOpsMember?
  ) -> ContextAccessVerdict {
    // Qdisc_ops.enqueue's third argument, `struct sk_buff **to_free`, is shown as a struct that holds the pointer.
    if let member, member.operations == "Qdisc_ops", member.name == "enqueue", request.isRead,
      request.offset >= 16, request.offset < 24
    {
      return .allowed(ContextAccess(.btfID | .trusted, btfTypeName: "bpf_sk_buff_ptr"))
    }
    return SystemContextRules.isFunctionArgument(request) ? .btf : .refused
  }

  /// The struct that programs for these operations see in place of the one that the function's BTF names; nil where
  /// nothing is exchanged. Applies to `.btfID` results without flags other than trusted, allocated and non-owning.
  public static func promotion(operations: String) -> (from: StaticString, to: StaticString)? {
    operations == "tcp_congestion_ops" ? ("sock", "tcp_sock") : nil
  }

  /// Whether loads and stores of the context are rewritten to another layout. Where they are not, helpers may be
  /// given a context pointer as memory.
  public static func convertsAccess(_ type: ProgramType) -> Bool {
    switch type {
    case .socketFilter, .schedCls, .schedAct, .xdp, .cgroupSkb, .cgroupSock, .cgroupSockAddr, .cgroupSockopt,
      .cgroupSysctl, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .sockOps, .skSkb, .skMsg, .flowDissector,
      .skReuseport, .skLookup, .perfEvent:
      true
    default:
      false
    }
  }

  /// What the kernel puts in front of programs that write packets directly.
  public enum Prologue: Sendable, BitwiseCopyable {
    /// The program type knows no prologue.
    case none
    /// It has one, and it is empty.
    case empty
    /// The packet is made private first; the program ends with `dropVerdict` where that fails.
    case unclone(dropVerdict: Int32)
  }

  public static func prologue(_ type: ProgramType) -> Prologue {
    switch type {
    case .schedCls, .schedAct, .lwtXmit: .unclone(dropVerdict: 2)  // TC_ACT_SHOT
    case .skSkb: .unclone(dropVerdict: 0)  // SK_DROP
    case .xdp, .skMsg, .cgroupSockopt: .empty
    default: .none
    }
  }
}

/// A function pointer of a kernel struct that a `struct_ops` program implements.
public struct StructOpsMember: Sendable, Hashable {
  /// Such as `tcp_congestion_ops`.
  public var operations: String
  /// Such as `cong_avoid`.
  public var name: String
  public init(operations: String, name: String) {
    self.operations = operations
    self.name = name
  }
}
