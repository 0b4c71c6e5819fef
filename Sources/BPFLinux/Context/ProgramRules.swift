/// What holds for all programs of a type, whatever their instructions.
public enum ProgramRules {
  /// How a program type reaches packets through `data` pointers.
  public enum PacketAccess: Sendable, BitwiseCopyable {
    case none
    case readOnly
    case readWrite
    /// An option's buffer, which is always its program's own.
    case ownBuffer
  }

  public static func packetAccess(_ type: ProgramType) -> PacketAccess {
    switch type {
    case .lwtIn, .lwtOut, .lwtSeg6local, .skReuseport, .flowDissector, .cgroupSkb: .readOnly
    case .schedCls, .schedAct, .xdp, .lwtXmit, .skSkb, .skMsg: .readWrite
    case .cgroupSockopt: .ownBuffer
    default: .none
    }
  }

  /// Whether a packet pointer may be used, by an instruction or as a helper's argument.
  ///
  /// - Parameter helperTakesPackets: nil for an instruction; else whether the helper takes packet pointers.
  /// - Returns: `marksDirectWrite` says that the program counts as writing packets directly from here on. Reads count
  ///   too, as in the kernel.
  public static func mayAccessPacket(
    _ type: ProgramType, _ access: AccessType, helperTakesPackets: Bool? = nil
  ) -> (allowed: Bool, marksDirectWrite: Bool) {
    switch packetAccess(type) {
    case .none: return (false, false)
    case .ownBuffer: return (true, access == .write)
    case .readOnly where access == .write: return (false, false)
    case .readOnly, .readWrite:
      if let helperTakesPackets { return (helperTakesPackets, false) }
      return (true, true)
    }
  }

  /// Whether `BPF_LD_ABS` and `BPF_LD_IND` may be used.
  public static func mayUseLegacyPacketLoads(_ type: ProgramType) -> Bool {
    type == .socketFilter || type == .schedCls || type == .schedAct
  }

  /// Whether a program may be loaded as sleepable. Syscall programs have to be.
  public static func canSleep(_ type: ProgramType, _ attachType: AttachType) -> Bool {
    switch type {
    case .tracing:
      attachType == .traceFentry || attachType == .traceFexit || attachType == .modifyReturn
        || attachType == .traceIter
    case .lsm, .kprobe, .structOps, .syscall: true
    default: false
    }
  }

  /// The log line and errno EINVAL that the verifier answers where a program's sleepable flag does not suit its type;
  /// nil where it does. Checked after control flow, before the program is walked.
  public static func sleepableRefusal(
    _ type: ProgramType, _ attachType: AttachType, isSleepable: Bool
  ) -> StaticString? {
    if type == .syscall { return isSleepable ? nil : "Syscall programs can only be sleepable\n" }
    guard isSleepable, !canSleep(type, attachType) else { return nil }
    return "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable\n"
  }

  /// Whether loading takes `CAP_NET_ADMIN`.
  public static func needsNetAdmin(_ type: ProgramType) -> Bool {
    switch type {
    case .schedCls, .schedAct, .xdp, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .skSkb, .skMsg, .flowDissector,
      .cgroupDevice, .cgroupSock, .cgroupSockAddr, .cgroupSockopt, .cgroupSysctl, .sockOps, .ext, .netfilter:
      true
    default: false
    }
  }

  /// Whether loading takes `CAP_PERFMON`.
  public static func needsPerfmon(_ type: ProgramType) -> Bool {
    switch type {
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint, .rawTracepointWritable, .tracing, .lsm, .structOps, .ext:
      true
    default: false
    }
  }

  /// Whether loading takes no capability at all.
  public static func isOpenToAll(_ type: ProgramType) -> Bool { type == .socketFilter || type == .cgroupSkb }

  /// The attach type that stands in for 0, which old loaders give where there was none to give.
  public static func effectiveAttachType(_ type: ProgramType, _ attachType: AttachType) -> AttachType {
    guard attachType.rawValue == 0 else { return attachType }
    switch type {
    case .cgroupSock: return .cgroupInetSockCreate
    case .skReuseport: return .skReuseportSelect
    default: return attachType
    }
  }

  /// Whether a type takes an attach type at load. Types that settle it when attaching take any.
  public static func accepts(_ attachType: AttachType, for type: ProgramType) -> Bool {
    switch type {
    case .cgroupSock:
      switch attachType {
      case .cgroupInetSockCreate, .cgroupInetSockRelease, .cgroupInet4PostBind, .cgroupInet6PostBind: true
      default: false
      }
    case .cgroupSockAddr:
      switch attachType {
      case .cgroupInet4Bind, .cgroupInet6Bind, .cgroupInet4Connect, .cgroupInet6Connect, .cgroupUnixConnect,
        .cgroupInet4Getpeername, .cgroupInet6Getpeername, .cgroupUnixGetpeername, .cgroupInet4Getsockname,
        .cgroupInet6Getsockname, .cgroupUnixGetsockname, .cgroupUdp4Sendmsg, .cgroupUdp6Sendmsg,
        .cgroupUnixSendmsg, .cgroupUdp4Recvmsg, .cgroupUdp6Recvmsg, .cgroupUnixRecvmsg:
        true
      default: false
      }
    case .cgroupSkb: attachType == .cgroupInetIngress || attachType == .cgroupInetEgress
    case .cgroupSockopt: attachType == .cgroupSetsockopt || attachType == .cgroupGetsockopt
    case .skLookup: attachType == .skLookup
    case .skReuseport: attachType == .skReuseportSelect || attachType == .skReuseportSelectOrMigrate
    case .netfilter: attachType == .netfilter
    case .syscall, .ext: attachType.rawValue == 0
    default: true
    }
  }

  /// Whether a license lets a program call what is for GPL programs only.
  ///
  /// The kernel keeps the first 127 bytes and compares exactly.
  public static func isGPLCompatible(_ license: String) -> Bool {
    switch String(decoding: license.utf8.prefix(while: { $0 != 0 }).prefix(127), as: UTF8.self) {
    case "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL": true
    default: false
    }
  }

  /// Whether a kernel was built with a program type.
  public static func exists(_ type: ProgramType, on linux: Linux) -> Bool {
    switch type {
    case .socketFilter, .schedCls, .schedAct, .xdp, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .sockOps, .skSkb,
      .skMsg, .flowDissector:
      linux.isConfigured("CONFIG_NET")
    case .cgroupSkb, .cgroupSock, .cgroupSockAddr:
      linux.isConfigured("CONFIG_NET") && linux.isConfigured("CONFIG_CGROUP_BPF")
    case .cgroupDevice, .cgroupSysctl, .cgroupSockopt:
      linux.isConfigured("CONFIG_CGROUP_BPF")
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint, .rawTracepointWritable, .tracing:
      linux.isConfigured("CONFIG_BPF_EVENTS")
    case .lircMode2: linux.isConfigured("CONFIG_BPF_LIRC_MODE2")
    case .skReuseport, .skLookup: linux.isConfigured("CONFIG_INET")
    case .structOps, .ext: linux.isConfigured("CONFIG_BPF_JIT")
    case .lsm: linux.isConfigured("CONFIG_BPF_JIT") && linux.isConfigured("CONFIG_BPF_LSM")
    case .syscall: true
    case .netfilter: linux.version >= Linux.Version(6, 4) && linux.isConfigured("CONFIG_NETFILTER_BPF_LINK")
    default: false
    }
  }
}
