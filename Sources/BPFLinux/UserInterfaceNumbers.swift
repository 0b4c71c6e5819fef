// Numbers and names of Linux's program, attach and map types (include/uapi/linux/bpf.h), as user space sees them.

/// `enum bpf_prog_type`.
public struct ProgramType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let unspec = ProgramType(rawValue: 0)
  public static let socketFilter = ProgramType(rawValue: 1)
  public static let kprobe = ProgramType(rawValue: 2)
  public static let schedCls = ProgramType(rawValue: 3)
  public static let schedAct = ProgramType(rawValue: 4)
  public static let tracepoint = ProgramType(rawValue: 5)
  public static let xdp = ProgramType(rawValue: 6)
  public static let perfEvent = ProgramType(rawValue: 7)
  public static let cgroupSkb = ProgramType(rawValue: 8)
  public static let cgroupSock = ProgramType(rawValue: 9)
  public static let lwtIn = ProgramType(rawValue: 10)
  public static let lwtOut = ProgramType(rawValue: 11)
  public static let lwtXmit = ProgramType(rawValue: 12)
  public static let sockOps = ProgramType(rawValue: 13)
  public static let skSkb = ProgramType(rawValue: 14)
  public static let cgroupDevice = ProgramType(rawValue: 15)
  public static let skMsg = ProgramType(rawValue: 16)
  public static let rawTracepoint = ProgramType(rawValue: 17)
  public static let cgroupSockAddr = ProgramType(rawValue: 18)
  public static let lwtSeg6local = ProgramType(rawValue: 19)
  public static let lircMode2 = ProgramType(rawValue: 20)
  public static let skReuseport = ProgramType(rawValue: 21)
  public static let flowDissector = ProgramType(rawValue: 22)
  public static let cgroupSysctl = ProgramType(rawValue: 23)
  public static let rawTracepointWritable = ProgramType(rawValue: 24)
  public static let cgroupSockopt = ProgramType(rawValue: 25)
  public static let tracing = ProgramType(rawValue: 26)
  public static let structOps = ProgramType(rawValue: 27)
  public static let ext = ProgramType(rawValue: 28)
  public static let lsm = ProgramType(rawValue: 29)
  public static let skLookup = ProgramType(rawValue: 30)
  public static let syscall = ProgramType(rawValue: 31)
  public static let netfilter = ProgramType(rawValue: 32)

  /// The name libbpf and bpftool print.
  public var name: String {
    Self.names.indices.contains(Int(rawValue)) ? Self.names[Int(rawValue)] : "?"
  }

  /// The program type of that name, nil where there is none.
  public init?(name: String) {
    guard let index = Self.names.firstIndex(of: name) else { return nil }
    self.init(rawValue: UInt32(index))
  }

  private static let names = [
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
  ]
}

/// `enum bpf_attach_type`.
public struct AttachType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let cgroupInetIngress = AttachType(rawValue: 0)
  public static let cgroupInetEgress = AttachType(rawValue: 1)
  public static let cgroupInetSockCreate = AttachType(rawValue: 2)
  public static let cgroupSockOps = AttachType(rawValue: 3)
  public static let skSkbStreamParser = AttachType(rawValue: 4)
  public static let skSkbStreamVerdict = AttachType(rawValue: 5)
  public static let cgroupDevice = AttachType(rawValue: 6)
  public static let skMsgVerdict = AttachType(rawValue: 7)
  public static let cgroupInet4Bind = AttachType(rawValue: 8)
  public static let cgroupInet6Bind = AttachType(rawValue: 9)
  public static let cgroupInet4Connect = AttachType(rawValue: 10)
  public static let cgroupInet6Connect = AttachType(rawValue: 11)
  public static let cgroupInet4PostBind = AttachType(rawValue: 12)
  public static let cgroupInet6PostBind = AttachType(rawValue: 13)
  public static let cgroupUdp4Sendmsg = AttachType(rawValue: 14)
  public static let cgroupUdp6Sendmsg = AttachType(rawValue: 15)
  public static let lircMode2 = AttachType(rawValue: 16)
  public static let flowDissector = AttachType(rawValue: 17)
  public static let cgroupSysctl = AttachType(rawValue: 18)
  public static let cgroupUdp4Recvmsg = AttachType(rawValue: 19)
  public static let cgroupUdp6Recvmsg = AttachType(rawValue: 20)
  public static let cgroupGetsockopt = AttachType(rawValue: 21)
  public static let cgroupSetsockopt = AttachType(rawValue: 22)
  public static let traceRawTp = AttachType(rawValue: 23)
  public static let traceFentry = AttachType(rawValue: 24)
  public static let traceFexit = AttachType(rawValue: 25)
  public static let modifyReturn = AttachType(rawValue: 26)
  public static let lsmMac = AttachType(rawValue: 27)
  public static let traceIter = AttachType(rawValue: 28)
  public static let cgroupInet4Getpeername = AttachType(rawValue: 29)
  public static let cgroupInet6Getpeername = AttachType(rawValue: 30)
  public static let cgroupInet4Getsockname = AttachType(rawValue: 31)
  public static let cgroupInet6Getsockname = AttachType(rawValue: 32)
  public static let xdpDevmap = AttachType(rawValue: 33)
  public static let cgroupInetSockRelease = AttachType(rawValue: 34)
  public static let xdpCpumap = AttachType(rawValue: 35)
  public static let skLookup = AttachType(rawValue: 36)
  public static let xdp = AttachType(rawValue: 37)
  public static let skSkbVerdict = AttachType(rawValue: 38)
  public static let skReuseportSelect = AttachType(rawValue: 39)
  public static let skReuseportSelectOrMigrate = AttachType(rawValue: 40)
  public static let perfEvent = AttachType(rawValue: 41)
  public static let traceKprobeMulti = AttachType(rawValue: 42)
  public static let lsmCgroup = AttachType(rawValue: 43)
  public static let structOps = AttachType(rawValue: 44)
  public static let netfilter = AttachType(rawValue: 45)
  public static let tcxIngress = AttachType(rawValue: 46)
  public static let tcxEgress = AttachType(rawValue: 47)
  public static let traceUprobeMulti = AttachType(rawValue: 48)
  public static let cgroupUnixConnect = AttachType(rawValue: 49)
  public static let cgroupUnixSendmsg = AttachType(rawValue: 50)
  public static let cgroupUnixRecvmsg = AttachType(rawValue: 51)
  public static let cgroupUnixGetpeername = AttachType(rawValue: 52)
  public static let cgroupUnixGetsockname = AttachType(rawValue: 53)
  public static let netkitPrimary = AttachType(rawValue: 54)
  public static let netkitPeer = AttachType(rawValue: 55)
  public static let traceKprobeSession = AttachType(rawValue: 56)
  public static let traceUprobeSession = AttachType(rawValue: 57)

  /// What a program that names no attach type carries: 0.
  public static let none = AttachType(rawValue: 0)

  /// The name libbpf and bpftool print.
  public var name: String {
    Self.names.indices.contains(Int(rawValue)) ? Self.names[Int(rawValue)] : "?"
  }

  private static let names = [
    "cgroup_inet_ingress",
    "cgroup_inet_egress",
    "cgroup_inet_sock_create",
    "cgroup_sock_ops",
    "sk_skb_stream_parser",
    "sk_skb_stream_verdict",
    "cgroup_device",
    "sk_msg_verdict",
    "cgroup_inet4_bind",
    "cgroup_inet6_bind",
    "cgroup_inet4_connect",
    "cgroup_inet6_connect",
    "cgroup_inet4_post_bind",
    "cgroup_inet6_post_bind",
    "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg",
    "lirc_mode2",
    "flow_dissector",
    "cgroup_sysctl",
    "cgroup_udp4_recvmsg",
    "cgroup_udp6_recvmsg",
    "cgroup_getsockopt",
    "cgroup_setsockopt",
    "trace_raw_tp",
    "trace_fentry",
    "trace_fexit",
    "modify_return",
    "lsm_mac",
    "trace_iter",
    "cgroup_inet4_getpeername",
    "cgroup_inet6_getpeername",
    "cgroup_inet4_getsockname",
    "cgroup_inet6_getsockname",
    "xdp_devmap",
    "cgroup_inet_sock_release",
    "xdp_cpumap",
    "sk_lookup",
    "xdp",
    "sk_skb_verdict",
    "sk_reuseport_select",
    "sk_reuseport_select_or_migrate",
    "perf_event",
    "trace_kprobe_multi",
    "lsm_cgroup",
    "struct_ops",
    "netfilter",
    "tcx_ingress",
    "tcx_egress",
    "trace_uprobe_multi",
    "cgroup_unix_connect",
    "cgroup_unix_sendmsg",
    "cgroup_unix_recvmsg",
    "cgroup_unix_getpeername",
    "cgroup_unix_getsockname",
    "netkit_primary",
    "netkit_peer",
    "trace_kprobe_session",
    "trace_uprobe_session",
  ]
}

/// `enum bpf_map_type`.
public struct MapType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let unspec = MapType(rawValue: 0)
  public static let hash = MapType(rawValue: 1)
  public static let array = MapType(rawValue: 2)
  public static let progArray = MapType(rawValue: 3)
  public static let perfEventArray = MapType(rawValue: 4)
  public static let percpuHash = MapType(rawValue: 5)
  public static let percpuArray = MapType(rawValue: 6)
  public static let stackTrace = MapType(rawValue: 7)
  public static let cgroupArray = MapType(rawValue: 8)
  public static let lruHash = MapType(rawValue: 9)
  public static let lruPercpuHash = MapType(rawValue: 10)
  public static let lpmTrie = MapType(rawValue: 11)
  public static let arrayOfMaps = MapType(rawValue: 12)
  public static let hashOfMaps = MapType(rawValue: 13)
  public static let devmap = MapType(rawValue: 14)
  public static let sockmap = MapType(rawValue: 15)
  public static let cpumap = MapType(rawValue: 16)
  public static let xskmap = MapType(rawValue: 17)
  public static let sockhash = MapType(rawValue: 18)
  public static let cgroupStorage = MapType(rawValue: 19)
  public static let reuseportSockarray = MapType(rawValue: 20)
  public static let percpuCgroupStorage = MapType(rawValue: 21)
  public static let queue = MapType(rawValue: 22)
  public static let stack = MapType(rawValue: 23)
  public static let skStorage = MapType(rawValue: 24)
  public static let devmapHash = MapType(rawValue: 25)
  public static let structOps = MapType(rawValue: 26)
  public static let ringbuf = MapType(rawValue: 27)
  public static let inodeStorage = MapType(rawValue: 28)
  public static let taskStorage = MapType(rawValue: 29)
  public static let bloomFilter = MapType(rawValue: 30)
  public static let userRingbuf = MapType(rawValue: 31)
  public static let cgrpStorage = MapType(rawValue: 32)
  public static let arena = MapType(rawValue: 33)

  /// The name libbpf and bpftool print.
  public var name: String {
    Self.names.indices.contains(Int(rawValue)) ? Self.names[Int(rawValue)] : "?"
  }

  private static let names = [
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
  ]
}
