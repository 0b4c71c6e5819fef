import BPFLinux
import BTF

/// A kernel struct of function pointers that programs can implement (`struct_ops`).
///
/// A member can be implemented where the kernel has a stub function for it; the names of the stub's parameters say
/// which arguments may be null (`__nullable`) and which the program owns (`__ref`).
struct StructOperations: Sendable {
  var name: String
  /// The stub of each member that can be implemented.
  var stubs: [String: String]
  /// Members that sleepable programs may implement; nil where all.
  var sleepable: Set<String>?

  static func named(_ name: String) -> StructOperations? { all.first { $0.name == name } }

  private init(_ name: String, stubs: [String: String], sleepable: Set<String>? = nil) {
    self.name = name
    self.stubs = stubs
    self.sleepable = sleepable
  }

  /// Stubs that are all called `prefix` and the member.
  private init(_ name: String, prefix: String, _ members: [String], sleepable: Set<String>? = nil) {
    self.init(
      name, stubs: Dictionary(uniqueKeysWithValues: members.map { ($0, prefix + $0) }), sleepable: sleepable)
  }

  private static let all: [StructOperations] = [
    StructOperations(
      "tcp_congestion_ops",
      stubs: [
        "ssthresh": "bpf_tcp_ca_ssthresh", "cong_avoid": "bpf_tcp_ca_cong_avoid",
        "set_state": "bpf_tcp_ca_set_state", "cwnd_event": "bpf_tcp_ca_cwnd_event",
        "in_ack_event": "bpf_tcp_ca_in_ack_event", "pkts_acked": "bpf_tcp_ca_pkts_acked",
        "min_tso_segs": "bpf_tcp_ca_min_tso_segs", "cong_control": "bpf_tcp_ca_cong_control",
        "undo_cwnd": "bpf_tcp_ca_undo_cwnd", "sndbuf_expand": "bpf_tcp_ca_sndbuf_expand",
        "init": "__bpf_tcp_ca_init", "release": "__bpf_tcp_ca_release",
      ]),
    StructOperations(
      "bpf_dummy_ops",
      stubs: [
        "test_1": "bpf_dummy_ops__test_1", "test_2": "bpf_dummy_test_2",
        "test_sleepable": "bpf_dummy_test_sleepable",
      ], sleepable: ["test_sleepable"]),
    StructOperations(
      "sched_ext_ops", prefix: "sched_ext_ops__",
      [
        "select_cpu", "enqueue", "dequeue", "dispatch", "tick", "runnable", "running", "stopping", "quiescent",
        "yield", "core_sched_before", "set_weight", "set_cpumask", "update_idle", "cpu_acquire", "cpu_release",
        "init_task", "exit_task", "enable", "disable", "cgroup_init", "cgroup_exit", "cgroup_prep_move",
        "cgroup_move", "cgroup_cancel_move", "cgroup_set_weight", "cgroup_set_bandwidth", "cpu_online",
        "cpu_offline", "init", "exit", "dump", "dump_cpu", "dump_task",
      ],
      sleepable: [
        "init_task", "cgroup_init", "cgroup_exit", "cgroup_prep_move", "cpu_online", "cpu_offline", "init", "exit",
      ]),
    StructOperations(
      "Qdisc_ops", prefix: "Qdisc_ops__", ["enqueue", "dequeue", "init", "reset", "destroy"]),
    StructOperations(
      "hid_bpf_ops",
      stubs: [
        "hid_device_event": "__hid_bpf_device_event", "hid_rdesc_fixup": "__hid_bpf_rdesc_fixup",
        "hid_hw_request": "__hid_bpf_hw_request", "hid_hw_output_report": "__hid_bpf_hw_output_report",
      ], sleepable: ["hid_rdesc_fixup", "hid_hw_request", "hid_hw_output_report"]),
  ]
}

extension BTF {
  /// The prototype that a function pointer points to; nil for other types.
  func functionPrototype(pointedToBy id: TypeID) -> TypeID? {
    let pointer = type(skipModifiers(id))
    guard pointer.kind == .pointer else { return nil }
    let target = skipModifiers(pointer.target)
    return kind(target) == .functionPrototype ? target : nil
  }

  /// Arguments of a struct_ops member that its stub's parameter names say more about.
  func stubArguments(prototype: TypeID, stub: String, btf: BTFIndex) -> [ContextArgument] {
    guard let function = find(stub, kind: .function) else { return [] }
    let named = parameters(type(function).target)
    let typed = parameters(prototype)
    guard named.count == typed.count else { return [] }
    var arguments: [ContextArgument] = []
    for number in 0..<named.count {
      let isNullable = parameterHasSuffix(named[number], "__nullable")
      let isOwned = !isNullable && parameterHasSuffix(named[number], "__ref")
      guard isNullable || isOwned else { continue }
      let pointer = type(skipModifiers(typed[number].typeID))
      let target = skipModifiers(pointer.target)
      guard pointer.kind == .pointer, kind(target).isComposite,
        let offset = contextOffset(prototype: prototype, argument: number)
      else { return [] }
      let type = RegisterType.btfID | .trusted
      arguments.append(
        ContextArgument(
          offset: offset, type: isNullable ? type | .mayBeNull : type, btf: btf, btfID: target,
          refcounted: isOwned))
    }
    return arguments
  }
}
