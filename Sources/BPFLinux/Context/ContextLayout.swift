/// A struct that programs see through a context or socket pointer, as user space knows it.
public struct ContextLayout: Sendable {
  /// One field. Members of a union share an offset; unnamed padding is left out.
  public struct Field: Sendable {
    public let name: StaticString
    public let offset: Int32
    /// Bytes of one element.
    public let elementSize: Int32
    /// Elements; 1 where the field is no array.
    public let count: Int32
    public var size: Int32 { elementSize * count }
  }

  public let name: StaticString
  public let size: Int32
  public let fields: [Field]

  init(_ name: StaticString, size: Int32, _ fields: [(StaticString, Int32, Int32, Int32)]) {
    self.name = name
    self.size = size
    self.fields = fields.map { Field(name: $0.0, offset: $0.1, elementSize: $0.2, count: $0.3) }
  }

  /// The field that holds the byte at `offset`; the first of a union. Nil in padding.
  public func field(at offset: Int32) -> Field? {
    fields.first { $0.offset <= offset && offset < $0.offset + $0.size }
  }

  /// What programs of a type find at their context pointer; nil where that is no fixed struct.
  public static func of(_ type: ProgramType, on linux: Linux) -> ContextLayout? {
    switch type {
    case .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .skSkb,
      .flowDissector:
      skBuff
    case .xdp: xdpMetadata
    case .skMsg: skMsgMetadata
    case .skReuseport: skReuseportMetadata
    case .cgroupSock: socket
    case .cgroupSockAddr: socketAddress
    case .sockOps: socketOperations
    case .skLookup: socketLookup
    case .cgroupSockopt: socketOption
    case .cgroupSysctl: sysctl
    case .cgroupDevice: cgroupDevice
    case .netfilter: netfilter
    case .perfEvent: perfEvent(on: linux)
    case .kprobe: registers(on: linux)
    default: nil
    }
  }

  /// `bpf_user_pt_regs_t`: what user space may know of the registers at a probe.
  static func registers(on linux: Linux) -> ContextLayout {
    switch linux.architecture {
    case .x86_64:
      let names: [StaticString] = [
        "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
        "orig_rax", "rip", "cs", "eflags", "rsp", "ss",
      ]
      return ContextLayout(
        "pt_regs", size: 168, names.indices.map { (names[$0], Int32($0) * 8, 8, 1) })
    case .arm64:
      return ContextLayout(
        "user_pt_regs", size: 272, [("regs", 0, 8, 31), ("sp", 248, 8, 1), ("pc", 256, 8, 1), ("pstate", 264, 8, 1)])
    }
  }

  static func perfEvent(on linux: Linux) -> ContextLayout {
    let size = linux.userRegistersSize
    return ContextLayout(
      "bpf_perf_event_data", size: size + 16,
      [("regs", 0, 8, size / 8), ("sample_period", size, 8, 1), ("addr", size + 8, 8, 1)])
  }
}

/// The names of a program type's context in BTF (include/linux/bpf_types.h).
public struct ContextTypeNames: Sendable, Hashable {
  public enum Kind: Sendable {
    case structure
    case typedef
    case integer
    /// `void *`: the type has no context of its own name.
    case unnamed
  }
  /// Without `struct`: `__sk_buff`, `bpf_user_pt_regs_t`, …; empty for `.unnamed`.
  public var user: String
  public var userKind: Kind
  /// What the kernel passes: `sk_buff`, `xdp_buff`, …; empty for `.unnamed`.
  public var kernel: String
  public var kernelKind: Kind

  private static func structures(_ user: String, _ kernel: String) -> ContextTypeNames {
    ContextTypeNames(user: user, userKind: .structure, kernel: kernel, kernelKind: .structure)
  }

  /// Nil for types that Linux does not have.
  public static func of(_ type: ProgramType) -> ContextTypeNames? {
    switch type {
    case .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .skSkb:
      structures("__sk_buff", "sk_buff")
    case .flowDissector: structures("__sk_buff", "bpf_flow_dissector")
    case .xdp: structures("xdp_md", "xdp_buff")
    case .cgroupSock: structures("bpf_sock", "sock")
    case .cgroupSockAddr: structures("bpf_sock_addr", "bpf_sock_addr_kern")
    case .sockOps: structures("bpf_sock_ops", "bpf_sock_ops_kern")
    case .skMsg: structures("sk_msg_md", "sk_msg")
    case .kprobe:
      ContextTypeNames(user: "bpf_user_pt_regs_t", userKind: .typedef, kernel: "pt_regs", kernelKind: .structure)
    case .tracepoint: ContextTypeNames(user: "__u64", userKind: .typedef, kernel: "u64", kernelKind: .typedef)
    case .perfEvent: structures("bpf_perf_event_data", "bpf_perf_event_data_kern")
    case .rawTracepoint, .rawTracepointWritable:
      ContextTypeNames(user: "bpf_raw_tracepoint_args", userKind: .structure, kernel: "u64", kernelKind: .typedef)
    case .cgroupDevice: structures("bpf_cgroup_dev_ctx", "bpf_cgroup_dev_ctx")
    case .cgroupSysctl: structures("bpf_sysctl", "bpf_sysctl_kern")
    case .cgroupSockopt: structures("bpf_sockopt", "bpf_sockopt_kern")
    case .lircMode2: ContextTypeNames(user: "__u32", userKind: .typedef, kernel: "u32", kernelKind: .typedef)
    case .skReuseport: structures("sk_reuseport_md", "sk_reuseport_kern")
    case .skLookup: structures("bpf_sk_lookup", "bpf_sk_lookup_kern")
    case .netfilter: structures("bpf_nf_ctx", "bpf_nf_ctx")
    case .tracing, .lsm, .structOps, .ext, .syscall:
      ContextTypeNames(user: "", userKind: .unnamed, kernel: "", kernelKind: .unnamed)
    default: nil
    }
  }
}

extension ContextRules {
  /// The BTF name of the context as programs declare it (`__sk_buff`, `bpf_user_pt_regs_t`, …); nil where any pointer
  /// does or the type is unknown.
  public static func contextStructName(_ type: ProgramType) -> String? {
    ContextTypeNames.of(type).flatMap { $0.userKind == .unnamed ? nil : $0.user }
  }

  /// The BTF name of what the kernel passes (`sk_buff`, `xdp_buff`, …).
  public static func kernelStructName(_ type: ProgramType) -> String? {
    ContextTypeNames.of(type).flatMap { $0.kernelKind == .unnamed ? nil : $0.kernel }
  }
}
