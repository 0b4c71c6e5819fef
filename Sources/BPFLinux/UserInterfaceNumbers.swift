// Numbers and names of Linux's program, attach and map types (include/uapi/linux/bpf.h), as user space sees them.

/// `enum bpf_prog_type`.
public struct ProgramType: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  @inlinable public static var unspec: ProgramType { ProgramType(rawValue: 0) }
  @inlinable public static var socketFilter: ProgramType { ProgramType(rawValue: 1) }
  @inlinable public static var kprobe: ProgramType { ProgramType(rawValue: 2) }
  @inlinable public static var schedCls: ProgramType { ProgramType(rawValue: 3) }
  @inlinable public static var schedAct: ProgramType { ProgramType(rawValue: 4) }
  @inlinable public static var tracepoint: ProgramType { ProgramType(rawValue: 5) }
  @inlinable public static var xdp: ProgramType { ProgramType(rawValue: 6) }
  @inlinable public static var perfEvent: ProgramType { ProgramType(rawValue: 7) }
  @inlinable public static var cgroupSkb: ProgramType { ProgramType(rawValue: 8) }
  @inlinable public static var cgroupSock: ProgramType { ProgramType(rawValue: 9) }
  @inlinable public static var lwtIn: ProgramType { ProgramType(rawValue: 10) }
  @inlinable public static var lwtOut: ProgramType { ProgramType(rawValue: 11) }
  @inlinable public static var lwtXmit: ProgramType { ProgramType(rawValue: 12) }
  @inlinable public static var sockOps: ProgramType { ProgramType(rawValue: 13) }
  @inlinable public static var skSkb: ProgramType { ProgramType(rawValue: 14) }
  @inlinable public static var cgroupDevice: ProgramType { ProgramType(rawValue: 15) }
  @inlinable public static var skMsg: ProgramType { ProgramType(rawValue: 16) }
  @inlinable public static var rawTracepoint: ProgramType { ProgramType(rawValue: 17) }
  @inlinable public static var cgroupSockAddr: ProgramType { ProgramType(rawValue: 18) }
  @inlinable public static var lwtSeg6local: ProgramType { ProgramType(rawValue: 19) }
  @inlinable public static var lircMode2: ProgramType { ProgramType(rawValue: 20) }
  @inlinable public static var skReuseport: ProgramType { ProgramType(rawValue: 21) }
  @inlinable public static var flowDissector: ProgramType { ProgramType(rawValue: 22) }
  @inlinable public static var cgroupSysctl: ProgramType { ProgramType(rawValue: 23) }
  @inlinable public static var rawTracepointWritable: ProgramType { ProgramType(rawValue: 24) }
  @inlinable public static var cgroupSockopt: ProgramType { ProgramType(rawValue: 25) }
  @inlinable public static var tracing: ProgramType { ProgramType(rawValue: 26) }
  @inlinable public static var structOps: ProgramType { ProgramType(rawValue: 27) }
  @inlinable public static var ext: ProgramType { ProgramType(rawValue: 28) }
  @inlinable public static var lsm: ProgramType { ProgramType(rawValue: 29) }
  @inlinable public static var skLookup: ProgramType { ProgramType(rawValue: 30) }
  @inlinable public static var syscall: ProgramType { ProgramType(rawValue: 31) }
  @inlinable public static var netfilter: ProgramType { ProgramType(rawValue: 32) }

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

  @inlinable public static var cgroupInetIngress: AttachType { AttachType(rawValue: 0) }
  @inlinable public static var cgroupInetEgress: AttachType { AttachType(rawValue: 1) }
  @inlinable public static var cgroupInetSockCreate: AttachType { AttachType(rawValue: 2) }
  @inlinable public static var cgroupSockOps: AttachType { AttachType(rawValue: 3) }
  @inlinable public static var skSkbStreamParser: AttachType { AttachType(rawValue: 4) }
  @inlinable public static var skSkbStreamVerdict: AttachType { AttachType(rawValue: 5) }
  @inlinable public static var cgroupDevice: AttachType { AttachType(rawValue: 6) }
  @inlinable public static var skMsgVerdict: AttachType { AttachType(rawValue: 7) }
  @inlinable public static var cgroupInet4Bind: AttachType { AttachType(rawValue: 8) }
  @inlinable public static var cgroupInet6Bind: AttachType { AttachType(rawValue: 9) }
  @inlinable public static var cgroupInet4Connect: AttachType { AttachType(rawValue: 10) }
  @inlinable public static var cgroupInet6Connect: AttachType { AttachType(rawValue: 11) }
  @inlinable public static var cgroupInet4PostBind: AttachType { AttachType(rawValue: 12) }
  @inlinable public static var cgroupInet6PostBind: AttachType { AttachType(rawValue: 13) }
  @inlinable public static var cgroupUdp4Sendmsg: AttachType { AttachType(rawValue: 14) }
  @inlinable public static var cgroupUdp6Sendmsg: AttachType { AttachType(rawValue: 15) }
  @inlinable public static var lircMode2: AttachType { AttachType(rawValue: 16) }
  @inlinable public static var flowDissector: AttachType { AttachType(rawValue: 17) }
  @inlinable public static var cgroupSysctl: AttachType { AttachType(rawValue: 18) }
  @inlinable public static var cgroupUdp4Recvmsg: AttachType { AttachType(rawValue: 19) }
  @inlinable public static var cgroupUdp6Recvmsg: AttachType { AttachType(rawValue: 20) }
  @inlinable public static var cgroupGetsockopt: AttachType { AttachType(rawValue: 21) }
  @inlinable public static var cgroupSetsockopt: AttachType { AttachType(rawValue: 22) }
  @inlinable public static var traceRawTp: AttachType { AttachType(rawValue: 23) }
  @inlinable public static var traceFentry: AttachType { AttachType(rawValue: 24) }
  @inlinable public static var traceFexit: AttachType { AttachType(rawValue: 25) }
  @inlinable public static var modifyReturn: AttachType { AttachType(rawValue: 26) }
  @inlinable public static var lsmMac: AttachType { AttachType(rawValue: 27) }
  @inlinable public static var traceIter: AttachType { AttachType(rawValue: 28) }
  @inlinable public static var cgroupInet4Getpeername: AttachType { AttachType(rawValue: 29) }
  @inlinable public static var cgroupInet6Getpeername: AttachType { AttachType(rawValue: 30) }
  @inlinable public static var cgroupInet4Getsockname: AttachType { AttachType(rawValue: 31) }
  @inlinable public static var cgroupInet6Getsockname: AttachType { AttachType(rawValue: 32) }
  @inlinable public static var xdpDevmap: AttachType { AttachType(rawValue: 33) }
  @inlinable public static var cgroupInetSockRelease: AttachType { AttachType(rawValue: 34) }
  @inlinable public static var xdpCpumap: AttachType { AttachType(rawValue: 35) }
  @inlinable public static var skLookup: AttachType { AttachType(rawValue: 36) }
  @inlinable public static var xdp: AttachType { AttachType(rawValue: 37) }
  @inlinable public static var skSkbVerdict: AttachType { AttachType(rawValue: 38) }
  @inlinable public static var skReuseportSelect: AttachType { AttachType(rawValue: 39) }
  @inlinable public static var skReuseportSelectOrMigrate: AttachType { AttachType(rawValue: 40) }
  @inlinable public static var perfEvent: AttachType { AttachType(rawValue: 41) }
  @inlinable public static var traceKprobeMulti: AttachType { AttachType(rawValue: 42) }
  @inlinable public static var lsmCgroup: AttachType { AttachType(rawValue: 43) }
  @inlinable public static var structOps: AttachType { AttachType(rawValue: 44) }
  @inlinable public static var netfilter: AttachType { AttachType(rawValue: 45) }
  @inlinable public static var tcxIngress: AttachType { AttachType(rawValue: 46) }
  @inlinable public static var tcxEgress: AttachType { AttachType(rawValue: 47) }
  @inlinable public static var traceUprobeMulti: AttachType { AttachType(rawValue: 48) }
  @inlinable public static var cgroupUnixConnect: AttachType { AttachType(rawValue: 49) }
  @inlinable public static var cgroupUnixSendmsg: AttachType { AttachType(rawValue: 50) }
  @inlinable public static var cgroupUnixRecvmsg: AttachType { AttachType(rawValue: 51) }
  @inlinable public static var cgroupUnixGetpeername: AttachType { AttachType(rawValue: 52) }
  @inlinable public static var cgroupUnixGetsockname: AttachType { AttachType(rawValue: 53) }
  @inlinable public static var netkitPrimary: AttachType { AttachType(rawValue: 54) }
  @inlinable public static var netkitPeer: AttachType { AttachType(rawValue: 55) }
  @inlinable public static var traceKprobeSession: AttachType { AttachType(rawValue: 56) }
  @inlinable public static var traceUprobeSession: AttachType { AttachType(rawValue: 57) }

  /// What a program that names no attach type carries: 0.
  @inlinable public static var none: AttachType { AttachType(rawValue: 0) }

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

  @inlinable public static var unspec: MapType { MapType(rawValue: 0) }
  @inlinable public static var hash: MapType { MapType(rawValue: 1) }
  @inlinable public static var array: MapType { MapType(rawValue: 2) }
  @inlinable public static var progArray: MapType { MapType(rawValue: 3) }
  @inlinable public static var perfEventArray: MapType { MapType(rawValue: 4) }
  @inlinable public static var percpuHash: MapType { MapType(rawValue: 5) }
  @inlinable public static var percpuArray: MapType { MapType(rawValue: 6) }
  @inlinable public static var stackTrace: MapType { MapType(rawValue: 7) }
  @inlinable public static var cgroupArray: MapType { MapType(rawValue: 8) }
  @inlinable public static var lruHash: MapType { MapType(rawValue: 9) }
  @inlinable public static var lruPercpuHash: MapType { MapType(rawValue: 10) }
  @inlinable public static var lpmTrie: MapType { MapType(rawValue: 11) }
  @inlinable public static var arrayOfMaps: MapType { MapType(rawValue: 12) }
  @inlinable public static var hashOfMaps: MapType { MapType(rawValue: 13) }
  @inlinable public static var devmap: MapType { MapType(rawValue: 14) }
  @inlinable public static var sockmap: MapType { MapType(rawValue: 15) }
  @inlinable public static var cpumap: MapType { MapType(rawValue: 16) }
  @inlinable public static var xskmap: MapType { MapType(rawValue: 17) }
  @inlinable public static var sockhash: MapType { MapType(rawValue: 18) }
  @inlinable public static var cgroupStorage: MapType { MapType(rawValue: 19) }
  @inlinable public static var reuseportSockarray: MapType { MapType(rawValue: 20) }
  @inlinable public static var percpuCgroupStorage: MapType { MapType(rawValue: 21) }
  @inlinable public static var queue: MapType { MapType(rawValue: 22) }
  @inlinable public static var stack: MapType { MapType(rawValue: 23) }
  @inlinable public static var skStorage: MapType { MapType(rawValue: 24) }
  @inlinable public static var devmapHash: MapType { MapType(rawValue: 25) }
  @inlinable public static var structOps: MapType { MapType(rawValue: 26) }
  @inlinable public static var ringbuf: MapType { MapType(rawValue: 27) }
  @inlinable public static var inodeStorage: MapType { MapType(rawValue: 28) }
  @inlinable public static var taskStorage: MapType { MapType(rawValue: 29) }
  @inlinable public static var bloomFilter: MapType { MapType(rawValue: 30) }
  @inlinable public static var userRingbuf: MapType { MapType(rawValue: 31) }
  @inlinable public static var cgrpStorage: MapType { MapType(rawValue: 32) }
  @inlinable public static var arena: MapType { MapType(rawValue: 33) }

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
