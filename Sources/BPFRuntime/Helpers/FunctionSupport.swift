import BPFLinux

/// Whether programs that run in user space can call a function of Linux 6.18.
public struct FunctionSupport: Sendable, Hashable {
  /// `bpf_map_lookup_elem` and so on.
  public let name: String
  /// The helper's number; 0 for kernel functions.
  public let number: UInt32
  /// Why it cannot be had; nil where it can.
  public let reason: String?
  public var isSupported: Bool { reason == nil }
}

extension RuntimeFunctions {
  /// All helpers, by number.
  public static let supportedHelpers: [FunctionSupport] = (1..<UInt32(HelperID.end)).compactMap { number in
    guard let name = HelperID(rawValue: Int32(number)).name else { return nil }
    let isThere =
      GeneralHelpers.table[number] != nil || NetworkHelpers.table[number] != nil || ofEngines.contains(number)
    return FunctionSupport(
      name: name, number: number, reason: isThere ? nil : missingHelpers[number] ?? "it needs the kernel")
  }

  /// The kernel functions that there are, by name.
  public static let supportedKfuncs: [FunctionSupport] = {
    var names = Set(GeneralKfuncs.table.keys).union(NetworkKfuncs.table.keys)
    names.insert("bpf_throw")
    let there = names.map { FunctionSupport(name: $0, number: 0, reason: nil) }
    let missing = missingKfuncs.flatMap { reason, names in
      names.map { FunctionSupport(name: $0, number: 0, reason: reason) }
    }
    return (there + missing).sorted { $0.name < $1.name }
  }()

  /// What engines do themselves: `bpf_tail_call`.
  private static let ofEngines: Set<UInt32> = [12]

  private static let missingHelpers: [UInt32: String] = [
    35: "there is no task_struct in user space",
    56: "there are no hardware counters in user space",
    58: "nothing is probed whose return could be overridden",
    59: "there are no TCP connections in user space",
    77: "there is no infrared receiver in user space",
    78: "there is no infrared receiver in user space",
    92: "there is no infrared receiver in user space",
    109: "programs do not send signals in user space",
    117: "programs do not send signals in user space",
    147: "there is no struct path in user space",
    149: "it prints the kernel's objects",
    150: "it prints the kernel's objects",
    159: "there is no struct linux_binprm in user space",
    161: "there is no struct inode in user space",
    162: "there is no struct file in user space",
    175: "there is no task_struct in user space",
    179: "there are no kernel symbols in user space",
    180: "there is no task_struct in user space",
    193: "there is no struct file in user space",
  ]

  private static let missingKfuncs: [String: [String]] = [
    "there is no task_struct in user space": [
      "bpf_task_from_pid", "bpf_task_from_vpid", "bpf_task_get_cgroup1", "bpf_task_under_cgroup", "bpf_iter_task_new",
      "bpf_iter_task_next", "bpf_iter_task_destroy", "bpf_iter_task_vma_new", "bpf_iter_task_vma_next",
      "bpf_iter_task_vma_destroy", "bpf_copy_from_user_task_dynptr", "bpf_copy_from_user_task_str_dynptr",
      "bpf_send_signal_task", "bpf_task_work_schedule_signal_impl", "bpf_task_work_schedule_resume_impl",
      "bpf_get_task_exe_file",
    ],
    "there is no struct cgroup in user space": [
      "bpf_cgroup_acquire", "bpf_cgroup_release", "bpf_cgroup_ancestor", "bpf_cgroup_from_id", "bpf_cgroup_read_xattr",
      "bpf_iter_css_new", "bpf_iter_css_next", "bpf_iter_css_destroy", "bpf_iter_css_task_new",
      "bpf_iter_css_task_next", "bpf_iter_css_task_destroy", "css_rstat_updated", "css_rstat_flush",
    ],
    "there are no file systems in user space": [
      "bpf_put_file", "bpf_path_d_path", "bpf_get_dentry_xattr", "bpf_get_file_xattr", "bpf_set_dentry_xattr",
      "bpf_remove_dentry_xattr", "bpf_get_fsverity_digest",
    ],
    "there is no key ring in user space": [
      "bpf_lookup_user_key", "bpf_lookup_system_key", "bpf_key_put", "bpf_verify_pkcs7_signature",
    ],
    "there are no ciphers of the kernel's in user space": [
      "bpf_crypto_ctx_create", "bpf_crypto_ctx_release", "bpf_crypto_ctx_acquire", "bpf_crypto_decrypt",
      "bpf_crypto_encrypt",
    ],
    "it works on the kernel's own objects": [
      "bpf_cast_to_kern_ctx", "bpf_get_kmem_cache", "bpf_iter_kmem_cache_new", "bpf_iter_kmem_cache_next",
      "bpf_iter_kmem_cache_destroy", "bpf_iter_dmabuf_new", "bpf_iter_dmabuf_next", "bpf_iter_dmabuf_destroy",
      "bpf_modify_return_test_tp", "crash_kexec", "bpf_session_is_return", "bpf_session_cookie",
    ],
    "there are no connections to track in user space": [
      "bpf_xdp_ct_alloc", "bpf_xdp_ct_lookup", "bpf_skb_ct_alloc", "bpf_skb_ct_lookup", "bpf_ct_insert_entry",
      "bpf_ct_release", "bpf_ct_set_timeout", "bpf_ct_change_timeout", "bpf_ct_set_status", "bpf_ct_change_status",
      "bpf_ct_set_nat_info", "bpf_xdp_flow_lookup", "bpf_xdp_get_xfrm_state", "bpf_xdp_xfrm_state_release",
      "bpf_skb_get_xfrm_info", "bpf_skb_set_xfrm_info", "bpf_skb_set_fou_encap", "bpf_skb_get_fou_encap",
      "bpf_sk_assign_tcp_reqsk", "bpf_sock_addr_set_sun_path", "bpf_sock_ops_enable_tx_tstamp", "bpf_sock_destroy",
    ],
  ]
}
