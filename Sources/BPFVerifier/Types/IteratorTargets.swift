import BPFLinux
import BTF

/// What programs can iterate over (`bpf_iter_reg_target`), and which of their arguments are more than BTF says.
struct IteratorTarget: Sendable {
  struct Argument: Sendable {
    /// In the context, which holds whole words.
    var offset: UInt32
    var type: RegisterType
    /// Kernel struct pointed to; nil for a buffer.
    var structName: String?
  }

  var name: String
  var arguments: [Argument]

  /// Where the function's name begins that stands for the target.
  static let functionPrefix = "bpf_iter_"

  /// The target whose function is `bpf_iter_NAME`.
  static func named(_ name: Substring) -> IteratorTarget? { all.first { $0.name == name } }

  private static func object(_ offset: UInt32, _ name: String, trusted: Bool = false) -> Argument {
    let type = RegisterType.btfID | .mayBeNull
    return Argument(offset: offset, type: trusted ? type | .trusted : type, structName: name)
  }

  private static func buffer(_ offset: UInt32, readOnly: Bool = false) -> Argument {
    let type = RegisterType.buffer | .mayBeNull
    return Argument(offset: offset, type: readOnly ? type | .readOnly : type, structName: nil)
  }

  private static let all: [IteratorTarget] = [
    IteratorTarget(name: "bpf_link", arguments: [object(8, "bpf_link")]),
    IteratorTarget(name: "bpf_map", arguments: [object(8, "bpf_map", trusted: true)]),
    IteratorTarget(name: "bpf_map_elem", arguments: [buffer(16, readOnly: true), buffer(24)]),
    IteratorTarget(name: "bpf_prog", arguments: [object(8, "bpf_prog")]),
    IteratorTarget(name: "bpf_sk_storage_map", arguments: [object(16, "sock"), buffer(24)]),
    IteratorTarget(name: "cgroup", arguments: [object(8, "cgroup", trusted: true)]),
    IteratorTarget(name: "dmabuf", arguments: [object(8, "dma_buf")]),
    IteratorTarget(name: "ipv6_route", arguments: [object(8, "fib6_info")]),
    IteratorTarget(name: "kmem_cache", arguments: [object(8, "kmem_cache", trusted: true)]),
    IteratorTarget(name: "ksym", arguments: [object(8, "kallsym_iter")]),
    IteratorTarget(name: "netlink", arguments: [object(8, "netlink_sock")]),
    IteratorTarget(name: "sockmap", arguments: [buffer(16, readOnly: true), object(24, "sock")]),
    IteratorTarget(name: "task", arguments: [object(8, "task_struct", trusted: true)]),
    IteratorTarget(name: "task_file", arguments: [object(8, "task_struct"), object(24, "file")]),
    IteratorTarget(name: "task_vma", arguments: [object(8, "task_struct"), object(16, "vm_area_struct")]),
    IteratorTarget(name: "tcp", arguments: [object(8, "sock_common", trusted: true)]),
    IteratorTarget(name: "udp", arguments: [object(8, "udp_sock", trusted: true)]),
    IteratorTarget(name: "unix", arguments: [object(8, "unix_sock")]),
  ]
}
