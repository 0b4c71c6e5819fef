import BPFLinux

/// What the name of an ELF section says about the programs in it, as libbpf reads section names.
public struct SectionConvention: Sendable {
  /// The name; a trailing `+` also admits `name/anything`.
  public let pattern: String
  public let type: ProgramType
  public let attachType: AttachType
  public let flags: Flags

  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Kernels that do not know the attach type take the program without.
    public static let attachTypeOptional = Flags(rawValue: 1 << 0)
    public static let attachable = Flags(rawValue: 1 << 1)
    /// What follows the slash names a type in the kernel's BTF.
    public static let attachesToType = Flags(rawValue: 1 << 2)
    public static let sleepable = Flags(rawValue: 1 << 3)
    public static let xdpFragments = Flags(rawValue: 1 << 4)
    public static let usdt = Flags(rawValue: 1 << 5)
  }

  init(_ pattern: String, _ type: ProgramType, _ attachType: AttachType, _ flags: Flags = []) {
    self.pattern = pattern
    self.type = type
    self.attachType = attachType
    self.flags = flags
  }

  /// The convention for a section name without its leading `?`; nil where libbpf knows none.
  public static func find(_ section: String) -> SectionConvention? {
    all.first { $0.matches(section) }
  }

  func matches(_ section: String) -> Bool {
    guard pattern.hasSuffix("+") else { return section == pattern }
    let stem = pattern.dropLast()
    guard section.hasPrefix(stem) else { return false }
    let rest = section.dropFirst(stem.count)
    return rest.isEmpty || rest.first == "/"
  }

  /// Every convention, in the order in which they are tried.
  public static let all: [SectionConvention] = [
    SectionConvention("socket", .socketFilter, .none),
    SectionConvention("sk_reuseport/migrate", .skReuseport, .skReuseportSelectOrMigrate, [.attachable]),
    SectionConvention("sk_reuseport", .skReuseport, .skReuseportSelect, [.attachable]),
    SectionConvention("kprobe+", .kprobe, .none),
    SectionConvention("uprobe+", .kprobe, .none),
    SectionConvention("uprobe.s+", .kprobe, .none, [.sleepable]),
    SectionConvention("kretprobe+", .kprobe, .none),
    SectionConvention("uretprobe+", .kprobe, .none),
    SectionConvention("uretprobe.s+", .kprobe, .none, [.sleepable]),
    SectionConvention("kprobe.multi+", .kprobe, .traceKprobeMulti),
    SectionConvention("kretprobe.multi+", .kprobe, .traceKprobeMulti),
    SectionConvention("kprobe.session+", .kprobe, .traceKprobeSession),
    SectionConvention("uprobe.multi+", .kprobe, .traceUprobeMulti),
    SectionConvention("uretprobe.multi+", .kprobe, .traceUprobeMulti),
    SectionConvention("uprobe.session+", .kprobe, .traceUprobeSession),
    SectionConvention("uprobe.multi.s+", .kprobe, .traceUprobeMulti, [.sleepable]),
    SectionConvention("uretprobe.multi.s+", .kprobe, .traceUprobeMulti, [.sleepable]),
    SectionConvention("uprobe.session.s+", .kprobe, .traceUprobeSession, [.sleepable]),
    SectionConvention("ksyscall+", .kprobe, .none),
    SectionConvention("kretsyscall+", .kprobe, .none),
    SectionConvention("usdt+", .kprobe, .none, [.usdt]),
    SectionConvention("usdt.s+", .kprobe, .none, [.usdt, .sleepable]),
    SectionConvention("tc/ingress", .schedCls, .tcxIngress),
    SectionConvention("tc/egress", .schedCls, .tcxEgress),
    SectionConvention("tcx/ingress", .schedCls, .tcxIngress),
    SectionConvention("tcx/egress", .schedCls, .tcxEgress),
    SectionConvention("tc", .schedCls, .none),
    SectionConvention("classifier", .schedCls, .none),
    SectionConvention("action", .schedAct, .none),
    SectionConvention("netkit/primary", .schedCls, .netkitPrimary),
    SectionConvention("netkit/peer", .schedCls, .netkitPeer),
    SectionConvention("tracepoint+", .tracepoint, .none),
    SectionConvention("tp+", .tracepoint, .none),
    SectionConvention("raw_tracepoint+", .rawTracepoint, .none),
    SectionConvention("raw_tp+", .rawTracepoint, .none),
    SectionConvention("raw_tracepoint.w+", .rawTracepointWritable, .none),
    SectionConvention("raw_tp.w+", .rawTracepointWritable, .none),
    SectionConvention("tp_btf+", .tracing, .traceRawTp, [.attachesToType]),
    SectionConvention("fentry+", .tracing, .traceFentry, [.attachesToType]),
    SectionConvention("fmod_ret+", .tracing, .modifyReturn, [.attachesToType]),
    SectionConvention("fexit+", .tracing, .traceFexit, [.attachesToType]),
    SectionConvention("fentry.s+", .tracing, .traceFentry, [.attachesToType, .sleepable]),
    SectionConvention("fmod_ret.s+", .tracing, .modifyReturn, [.attachesToType, .sleepable]),
    SectionConvention("fexit.s+", .tracing, .traceFexit, [.attachesToType, .sleepable]),
    SectionConvention("freplace+", .ext, .none, [.attachesToType]),
    SectionConvention("lsm+", .lsm, .lsmMac, [.attachesToType]),
    SectionConvention("lsm.s+", .lsm, .lsmMac, [.attachesToType, .sleepable]),
    SectionConvention("lsm_cgroup+", .lsm, .lsmCgroup, [.attachesToType]),
    SectionConvention("iter+", .tracing, .traceIter, [.attachesToType]),
    SectionConvention("iter.s+", .tracing, .traceIter, [.attachesToType, .sleepable]),
    SectionConvention("syscall", .syscall, .none, [.sleepable]),
    SectionConvention("xdp.frags/devmap", .xdp, .xdpDevmap, [.xdpFragments]),
    SectionConvention("xdp/devmap", .xdp, .xdpDevmap, [.attachable]),
    SectionConvention("xdp.frags/cpumap", .xdp, .xdpCpumap, [.xdpFragments]),
    SectionConvention("xdp/cpumap", .xdp, .xdpCpumap, [.attachable]),
    SectionConvention("xdp.frags", .xdp, .xdp, [.xdpFragments]),
    SectionConvention("xdp", .xdp, .xdp, [.attachable, .attachTypeOptional]),
    SectionConvention("perf_event", .perfEvent, .none),
    SectionConvention("lwt_in", .lwtIn, .none),
    SectionConvention("lwt_out", .lwtOut, .none),
    SectionConvention("lwt_xmit", .lwtXmit, .none),
    SectionConvention("lwt_seg6local", .lwtSeg6local, .none),
    SectionConvention("sockops", .sockOps, .cgroupSockOps, [.attachable, .attachTypeOptional]),
    SectionConvention("sk_skb/stream_parser", .skSkb, .skSkbStreamParser, [.attachable, .attachTypeOptional]),
    SectionConvention("sk_skb/stream_verdict", .skSkb, .skSkbStreamVerdict, [.attachable, .attachTypeOptional]),
    SectionConvention("sk_skb/verdict", .skSkb, .skSkbVerdict, [.attachable, .attachTypeOptional]),
    SectionConvention("sk_skb", .skSkb, .none),
    SectionConvention("sk_msg", .skMsg, .skMsgVerdict, [.attachable, .attachTypeOptional]),
    SectionConvention("lirc_mode2", .lircMode2, .lircMode2, [.attachable, .attachTypeOptional]),
    SectionConvention("flow_dissector", .flowDissector, .flowDissector, [.attachable, .attachTypeOptional]),
    SectionConvention("cgroup_skb/ingress", .cgroupSkb, .cgroupInetIngress, [.attachable, .attachTypeOptional]),
    SectionConvention("cgroup_skb/egress", .cgroupSkb, .cgroupInetEgress, [.attachable, .attachTypeOptional]),
    SectionConvention("cgroup/skb", .cgroupSkb, .none),
    SectionConvention("cgroup/sock_create", .cgroupSock, .cgroupInetSockCreate, [.attachable]),
    SectionConvention("cgroup/sock_release", .cgroupSock, .cgroupInetSockRelease, [.attachable]),
    SectionConvention("cgroup/sock", .cgroupSock, .cgroupInetSockCreate, [.attachable, .attachTypeOptional]),
    SectionConvention("cgroup/post_bind4", .cgroupSock, .cgroupInet4PostBind, [.attachable]),
    SectionConvention("cgroup/post_bind6", .cgroupSock, .cgroupInet6PostBind, [.attachable]),
    SectionConvention("cgroup/bind4", .cgroupSockAddr, .cgroupInet4Bind, [.attachable]),
    SectionConvention("cgroup/bind6", .cgroupSockAddr, .cgroupInet6Bind, [.attachable]),
    SectionConvention("cgroup/connect4", .cgroupSockAddr, .cgroupInet4Connect, [.attachable]),
    SectionConvention("cgroup/connect6", .cgroupSockAddr, .cgroupInet6Connect, [.attachable]),
    SectionConvention("cgroup/connect_unix", .cgroupSockAddr, .cgroupUnixConnect, [.attachable]),
    SectionConvention("cgroup/sendmsg4", .cgroupSockAddr, .cgroupUdp4Sendmsg, [.attachable]),
    SectionConvention("cgroup/sendmsg6", .cgroupSockAddr, .cgroupUdp6Sendmsg, [.attachable]),
    SectionConvention("cgroup/sendmsg_unix", .cgroupSockAddr, .cgroupUnixSendmsg, [.attachable]),
    SectionConvention("cgroup/recvmsg4", .cgroupSockAddr, .cgroupUdp4Recvmsg, [.attachable]),
    SectionConvention("cgroup/recvmsg6", .cgroupSockAddr, .cgroupUdp6Recvmsg, [.attachable]),
    SectionConvention("cgroup/recvmsg_unix", .cgroupSockAddr, .cgroupUnixRecvmsg, [.attachable]),
    SectionConvention("cgroup/getpeername4", .cgroupSockAddr, .cgroupInet4Getpeername, [.attachable]),
    SectionConvention("cgroup/getpeername6", .cgroupSockAddr, .cgroupInet6Getpeername, [.attachable]),
    SectionConvention("cgroup/getpeername_unix", .cgroupSockAddr, .cgroupUnixGetpeername, [.attachable]),
    SectionConvention("cgroup/getsockname4", .cgroupSockAddr, .cgroupInet4Getsockname, [.attachable]),
    SectionConvention("cgroup/getsockname6", .cgroupSockAddr, .cgroupInet6Getsockname, [.attachable]),
    SectionConvention("cgroup/getsockname_unix", .cgroupSockAddr, .cgroupUnixGetsockname, [.attachable]),
    SectionConvention("cgroup/sysctl", .cgroupSysctl, .cgroupSysctl, [.attachable]),
    SectionConvention("cgroup/getsockopt", .cgroupSockopt, .cgroupGetsockopt, [.attachable]),
    SectionConvention("cgroup/setsockopt", .cgroupSockopt, .cgroupSetsockopt, [.attachable]),
    SectionConvention("cgroup/dev", .cgroupDevice, .cgroupDevice, [.attachable, .attachTypeOptional]),
    SectionConvention("struct_ops+", .structOps, .none),
    SectionConvention("struct_ops.s+", .structOps, .none, [.sleepable]),
    SectionConvention("sk_lookup", .skLookup, .skLookup, [.attachable]),
    SectionConvention("netfilter", .netfilter, .netfilter),
  ]
}
