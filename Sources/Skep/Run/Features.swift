import BPFLinux
import BPFRuntime

/// Something of Linux's BPF, and whether programs that use it run in user space.
public struct Feature: Sendable, Hashable {
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case programType = "program type"
    case mapType = "map type"
    case helper
    case kfunc
  }

  public let kind: Kind
  /// As Linux spells it: `xdp`, `lru_hash`, `bpf_ktime_get_ns`.
  public let name: String
  public let isSupported: Bool
  /// Why not, or what is different.
  public let remark: String

  /// All that Linux has, as of the version that `linux` describes, by kind and number.
  public static func all(on linux: Linux) -> [Feature] {
    programTypes() + mapTypes() + helpers(on: linux) + kfuncs()
  }

  // MARK: Program types

  private static func programTypes() -> [Feature] {
    types.map { type in
      let remark: String? =
        switch type {
        case .structOps: "its functions are called by the kernel's own objects; single functions run on raw arguments"
        case .ext: "replaces a function of another loaded program, which needs bpf(2)"
        case .lircMode2: "needs an infrared receiver"
        default: nil
        }
      let isSupported = type != .ext && type != .lircMode2
      return Feature(kind: .programType, name: type.name, isSupported: isSupported, remark: remark ?? "")
    }
  }

  private static var types: [ProgramType] {
    (1...ProgramType.netfilter.rawValue).map { ProgramType(rawValue: $0) }
  }

  // MARK: Map types

  private static func mapTypes() -> [Feature] {
    (1...MapType.arena.rawValue).map { number in
      let type = MapType(rawValue: number)
      let remark = missing(type)
      return Feature(kind: .mapType, name: type.name, isSupported: remark == nil, remark: remark ?? redirects(type))
    }
  }

  private static func missing(_ type: MapType) -> String? {
    switch type {
    case .sockmap, .sockhash, .reuseportSockarray: "holds the kernel's sockets"
    case .structOps: "registers with the kernel's own objects"
    default: nil
    }
  }

  private static func redirects(_ type: MapType) -> String {
    switch type {
    case .devmap, .devmapHash, .cpumap, .xskmap: "as a target of redirects, which runs report"
    case .skStorage, .inodeStorage, .cgrpStorage: "for the objects that a run's context has"
    default: ""
    }
  }

  // MARK: Functions

  private static func helpers(on linux: Linux) -> [Feature] {
    let traits = types.map { ProgramTraits(type: $0, on: linux) }
    return (1..<HelperID.end).compactMap { number in
      let id = HelperID(rawValue: number)
      guard let name = id.name else { return nil }
      let offered = traits.filter { $0.helpers.contains(id) }.map(\.type)
      let running = offered.filter { isRun(id, for: $0) }
      return feature(.helper, name, offered: offered, running: running)
    }
  }

  /// Tail calls are the engines' own.
  private static func isRun(_ id: HelperID, for type: ProgramType) -> Bool {
    id == .tailCall || RuntimeFunctions.helper(UInt32(bitPattern: id.rawValue), for: type) != nil
  }

  private static func kfuncs() -> [Feature] {
    KfuncTable.names.map { name in
      let offered = KfuncTable.types(of: name)
      let running = offered.filter { name == "bpf_throw" || RuntimeFunctions.kfunc(name, for: $0) != nil }
      return feature(.kfunc, name, offered: offered, running: running)
    }
  }

  private static func feature(
    _ kind: Kind, _ name: String, offered: [ProgramType], running: [ProgramType]
  ) -> Feature {
    guard !running.isEmpty else {
      return Feature(kind: kind, name: name, isSupported: false, remark: reason(name))
    }
    let missing = offered.filter { !running.contains($0) }
    let remark = missing.isEmpty ? "" : "not in \(missing.map(\.name).joined(separator: ", "))"
    return Feature(kind: kind, name: name, isSupported: true, remark: remark)
  }

  /// What a function works on that there is only in a kernel.
  private static func reason(_ name: String) -> String {
    let reasons: [(words: [String], reason: String)] = [
      (["cgroup", "cgrp", "css_", "_css"], "works on the kernel's cgroups"),
      (["scx_"], "works on the kernel's scheduler"),
      (["xfrm"], "works on the kernel's IPsec states"),
      (["_ct_", "conntrack"], "works on the kernel's connection tracking"),
      (["hid_"], "works on HID devices"),
      (["fou_", "_fou"], "works on the kernel's tunnels"),
      (["qdisc"], "works on the kernel's queueing disciplines"),
      (
        ["ima_", "fsverity", "lsm", "xattr", "dentry", "path_d", "file", "inode", "d_path"],
        "works on the kernel's files"
      ),
      (["seq_"], "writes to a file of the kernel's"),
      (["task", "vma", "signal", "bprm"], "works on the kernel's tasks"),
      (
        ["bpf_msg_", "bpf_sk_", "bpf_skc_", "sock", "tcp_", "mptcp", "unix", "hdr_opt", "bpf_bind"],
        "works on the kernel's sockets"
      ),
      (["skb_output", "xdp_output"], "writes a packet to the kernel's perf events"),
      (["func_arg", "func_ret", "get_retval", "set_retval"], "looks at a traced function's call"),
      (["sysctl"], "works on the kernel's settings"),
      (["perf_event", "read_branch", "perf_prog"], "reads the processor's counters"),
      (["rc_"], "works on an infrared receiver"),
      (["xdp_metadata"], "asks the network device"),
      (["override_return", "probe_write", "session"], "changes or follows a traced function in the kernel"),
      (["lwt_seg6"], "works on the kernel's segment routing"),
      (["sys_"], "calls the kernel's system calls"),
      (["btf", "kallsyms", "cast_to_kern", "rdonly_cast", "ksym"], "looks into the kernel's memory"),
      (["crypto"], "uses the kernel's ciphers"),
      (["bbr_", "cubictcp", "dctcp_"], "is part of the kernel's TCP"),
      (["dmabuf", "kmem"], "walks the kernel's memory"),
      (["_key", "pkcs7"], "works on the kernel's keyrings"),
      (["crash_kexec"], "ends the kernel"),
      (["call_test", "call_memb", "return_test"], "is for the kernel's own tests"),
      (["flow_lookup", "kfree_skb", "skb_get_hash"], "works on the kernel's network stack"),
    ]
    for (words, reason) in reasons where words.contains(where: { name.contains($0) }) { return reason }
    return "works on what only a kernel has"
  }
}
