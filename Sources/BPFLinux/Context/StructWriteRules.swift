import BTF

/// Which fields of kernel structs programs may store to through typed pointers (`verifier_ops.btf_struct_access`).
///
/// Offsets come from the kernel's own BTF, so they hold for whatever kernel it describes.
public enum StructWriteRules: Sendable, BitwiseCopyable {
  /// tc and XDP: connection tracking entries.
  case connectionTracking
  case tcpCongestion
  case queueingDiscipline
  case inputDevice
  case schedulerExtension
  case dummyOperations

  public enum Verdict: Sendable, Hashable {
    case allowed
    /// `message` is the log line with its newline; empty where the kernel prints none.
    case refused(Errno, message: String)

    static func refused(_ message: String) -> Verdict { .refused(.EACCES, message: message) }
  }

  /// The rules for a program; nil where its type has none, so that only program-allocated objects are writable.
  ///
  /// - Parameter operations: the kernel struct that a `struct_ops` program implements a member of.
  public init?(program type: ProgramType, operations: String? = nil) {
    switch (type, operations) {
    case (.schedCls, _), (.schedAct, _), (.xdp, _): self = .connectionTracking
    case (.structOps, "tcp_congestion_ops"?): self = .tcpCongestion
    case (.structOps, "Qdisc_ops"?): self = .queueingDiscipline
    case (.structOps, "hid_bpf_ops"?): self = .inputDevice
    case (.structOps, "sched_ext_ops"?): self = .schedulerExtension
    case (.structOps, "bpf_dummy_ops"?): self = .dummyOperations
    default: return nil
    }
  }

  /// Judges a store of `size` bytes at `offset` of the struct `typeID` of `btf`, which is the kernel's or a module's.
  public func write(btf: BTF, typeID: TypeID, offset: Int32, size: Int32, linux: Linux) -> Verdict {
    let target = StructWriteTarget(btf: btf, typeID: typeID, offset: Int64(offset), size: Int64(size))
    switch self {
    case .connectionTracking:
      guard linux.hasConnectionTracking else { return .refused("") }
      return target.connectionTracking(hasMark: linux.isConfigured("CONFIG_NF_CONNTRACK_MARK"))
    case .tcpCongestion: return target.tcpCongestion()
    case .queueingDiscipline: return target.queueingDiscipline()
    case .inputDevice: return target.inputDevice()
    case .schedulerExtension: return target.schedulerExtension()
    case .dummyOperations: return target.dummyOperations()
    }
  }
}

/// A store to a kernel struct.
private struct StructWriteTarget {
  var btf: BTF
  var typeID: TypeID
  var offset: Int64
  var size: Int64

  typealias Verdict = StructWriteRules.Verdict
  /// A place a store may start: anywhere in it, or at its first byte only.
  typealias Window = (range: Range<Int64>, anywhere: Bool)

  func connectionTracking(hasMark: Bool) -> Verdict {
    guard isStruct("nf_conn") || isStruct("nf_conn___init") else { return .refused("only read is supported\n") }
    return judge(hasMark ? windows("nf_conn", ["mark"]) : [], "nf_conn")
  }

  func tcpCongestion() -> Verdict {
    guard isStruct("tcp_sock") else { return .refused("only read is supported\n") }
    var allowed = windows("sock", ["sk_pacing_rate", "sk_pacing_status"])
    allowed += windows("inet_connection_sock", ["icsk_ca_priv"], anywhere: true)
    allowed += windows("inet_connection_sock", ["icsk_ack.pending"])
    allowed += windows(
      "tcp_sock", ["snd_cwnd", "snd_cwnd_cnt", "snd_cwnd_stamp", "snd_ssthresh", "ecn_flags", "app_limited"])
    return judge(allowed, "tcp_sock")
  }

  func queueingDiscipline() -> Verdict {
    if isStruct("sk_buff") {
      var allowed = windows("sk_buff", ["tstamp"])
      if let block = member("sk_buff", "cb"), let data = member("qdisc_skb_cb", "data") {
        allowed.append((block.lowerBound + data.lowerBound..<block.lowerBound + data.upperBound, true))
      }
      return judge(allowed, "sk_buff")
    }
    guard isStruct("Qdisc") else { return .refused("only read is supported\n") }
    return judge(windows("Qdisc", ["limit", "q.qlen"]) + windows("Qdisc", ["qstats"], anywhere: true), "Qdisc")
  }

  func schedulerExtension() -> Verdict {
    guard isStruct("task_struct") else { return .refused("") }
    let fits = ["scx.slice", "scx.dsq_vtime", "scx.disallow"].contains { path in
      member("task_struct", path).map { contains($0) } ?? false
    }
    return fits ? .allowed : .refused("")
  }

  func dummyOperations() -> Verdict {
    guard let state = btf.find("bpf_dummy_ops_state", kind: .structure) else {
      return .refused(.EINVAL, message: "")
    }
    guard state == typeID else { return .refused("only access to bpf_dummy_ops_state is supported\n") }
    guard offset + size <= Int64(btf.type(state).size) else {
      return .refused("write access at off \(offset) with size \(size)\n")
    }
    return .allowed
  }

  func inputDevice() -> Verdict {
    // The strings keep their last byte, so that they stay terminated.
    let writable: [(name: String, fields: [(path: String, kept: Int64)])] = [
      ("hid_bpf_ctx", [("retval", 0)]), ("hid_device", [("name", 1), ("uniq", 1), ("phys", 1)]),
    ]
    for (name, fields) in writable {
      guard let id = btf.find(name, kind: .structure) else { return .refused(.EINVAL, message: "") }
      guard id == typeID else { continue }
      guard offset + size <= Int64(btf.type(id).size) else {
        return .refused("write access for struct \(name) at off \(offset) with size \(size)\n")
      }
      let fits = fields.contains { field in
        member(name, field.path).map { contains($0.lowerBound..<$0.upperBound - field.kept) } ?? false
      }
      return fits
        ? .allowed
        : .refused("write access at off \(offset) with size \(size) on read-only part of \(name)\n")
    }
    return .refused("write access to this struct is not supported\n")
  }

  private func judge(_ allowed: [Window], _ name: String) -> Verdict {
    let window = allowed.first { $0.anywhere ? $0.range.contains(offset) : $0.range.lowerBound == offset }
    guard let end = window?.range.upperBound else {
      return .refused("no write support to \(name) at off \(offset)\n")
    }
    guard offset + size <= end else {
      return .refused(
        "write access at off \(offset) with size \(size) beyond the member of \(name) ended at \(end)\n")
    }
    return .allowed
  }

  private func contains(_ range: Range<Int64>) -> Bool {
    offset >= range.lowerBound && offset + size <= range.upperBound
  }

  private func isStruct(_ name: String) -> Bool { btf.find(name, kind: .structure) == typeID }

  private func windows(_ name: String, _ paths: [String], anywhere: Bool = false) -> [Window] {
    paths.compactMap { path in member(name, path).map { ($0, anywhere) } }
  }

  /// The bytes of a member, given as a dotted path.
  private func member(_ structName: String, _ path: String) -> Range<Int64>? {
    guard var id = btf.find(structName, kind: .structure) else { return nil }
    var start: Int64 = 0
    for name in path.split(separator: ".") {
      guard let found = find(String(name), in: btf.skipModifiers(id), depth: 0) else { return nil }
      start += found.offset
      id = found.typeID
    }
    guard let size = btf.resolveSize(id) else { return nil }
    return start..<start + Int64(size)
  }

  /// Looks through unnamed structs and unions.
  private func find(_ name: String, in id: TypeID, depth: Int) -> (offset: Int64, typeID: TypeID)? {
    guard depth < 16 else { return nil }
    for member in btf.members(id) {
      let offset = Int64(member.bitOffset / 8)
      if member.nameOffset != 0 {
        if btf.string(member.nameOffset) == name { return (offset, member.typeID) }
      } else if let inner = find(name, in: btf.skipModifiers(member.typeID), depth: depth + 1) {
        return (offset + inner.offset, inner.typeID)
      }
    }
    return nil
  }
}

extension Linux {
  /// Whether an option is built in or a module; where the configuration is unknown, everything is.
  public func isConfigured(_ option: String) -> Bool {
    guard !config.isEmpty else { return true }
    return config[option] == "y" || config[option] == "m"
  }

  /// Whether connection tracking is there to say what may be written: built in, or its module loaded.
  var hasConnectionTracking: Bool {
    guard !config.isEmpty else { return true }
    switch config["CONFIG_NF_CONNTRACK"] {
    case "y": return true
    case "m": return symbols?["_nf_conntrack_btf_struct_access"] != nil
    default: return false
    }
  }
}
