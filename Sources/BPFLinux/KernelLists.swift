/// Names that the kernel's rules about attaching and trusting are written in: functions, hooks, structs.
///
/// Where a list names something that a kernel was built without, its BTF has no such name to ask about.
public enum KernelLists {
  /// Functions inside which a path may be printed (`bpf_d_path`).
  public static let pathFunctions: NameList = [
    "dentry_open", "filp_close", "security_file_open", "security_file_permission", "security_inode_getattr",
    "security_path_truncate", "vfs_fallocate", "vfs_getattr", "vfs_truncate",
  ]

  /// Functions that never return: nothing attaches to their end.
  public static let noReturnFunctions: NameList = [
    "__ia32_sys_exit", "__ia32_sys_exit_group", "__kunit_abort", "__module_put_and_kthread_exit", "__x64_sys_exit",
    "__x64_sys_exit_group", "do_exit", "do_group_exit", "kthread_complete_and_exit", "kunit_try_catch_throw",
    "make_task_dead",
  ]

  /// Open to error injection, and called where sleeping is not allowed.
  public static let nonSleepableInjectable: NameList = [
    "__filemap_add_folio", "should_fail_alloc_page", "should_failslab",
  ]

  /// Kernel structs that stay alive for a grace period after their last reference is gone.
  public static let rcuProtectedTypes: NameList = [
    "bpf_cpumask", "bpf_crypto_ctx", "cgroup", "prog_test_ref_kfunc", "task_struct",
  ]

  /// Functions that tracing programs may not attach to: the trampoline itself runs through them.
  public static func isTracingDenied(_ name: String, on linux: Linux) -> Bool {
    func has(_ option: String) -> Bool { linux.config["CONFIG_\(option)"] == "y" }
    switch name {
    case "___migrate_enable", "migrate_disable", "migrate_enable": return linux.isConfigured("CONFIG_SMP")
    case "rcu_read_unlock_strict": return !linux.isConfigured("CONFIG_PREEMPT_RCU") && !has("TINY_RCU")
    case "preempt_count_add", "preempt_count_sub": return has("DEBUG_PREEMPT") || has("TRACE_PREEMPT_TOGGLE")
    case "__rcu_read_lock", "__rcu_read_unlock": return linux.isConfigured("CONFIG_PREEMPT_RCU")
    default: return false
    }
  }

  /// Whether the kernel lets the function be made to fail, which is also what lets fmod_ret and sleepable programs
  /// attach to it. All system calls are.
  public static func isErrorInjectable(_ name: String, on linux: Linux) -> Bool {
    guard linux.isConfigured("CONFIG_FUNCTION_ERROR_INJECTION") else { return false }
    return injectable.contains(name) || systemCallPrefixes.contains { name.hasPrefix($0) }
  }

  /// Whether fmod_ret programs may change what the function returns.
  public static func isModifiable(_ name: String, module: String? = nil, on linux: Linux) -> Bool {
    KfuncTable.modifyReturnFlags(of: name, module: module) != nil || isErrorInjectable(name, on: linux)
      || name.hasPrefix("security_")
  }

  /// Whether a sleepable tracing program may attach to the function.
  public static func isSleepable(_ name: String, module: String? = nil, on linux: Linux) -> Bool {
    if !nonSleepableInjectable.contains(name) && isErrorInjectable(name, on: linux) { return true }
    return KfuncTable.modifyReturnFlags(of: name, module: module)?.contains(.sleepable) == true
  }

  private static let systemCallPrefixes = [
    "__x64_sys_", "__ia32_sys_", "__x64_compat_sys_", "__ia32_compat_sys_", "__arm64_sys_", "__arm64_compat_sys_",
  ]

  private static let injectable: NameList = [
    "__filemap_add_folio", "bpf_testmod_test_read", "bpf_testmod_test_write", "btrfs_check_leaf", "btrfs_check_node",
    "btrfs_cow_block", "btrfs_search_slot", "btrfs_should_cancel_balance", "guc_wait_ucode", "io_ctl_init",
    "mtd_block_markbad", "mtd_erase", "mtd_read", "mtd_write", "open_ctree", "page_pool_alloc_netmems",
    "should_fail_alloc_page", "should_fail_bio", "should_fail_net_realloc_skb", "should_failslab",
    "ssh_ptl_should_corrupt_rx_data", "ssh_ptl_should_corrupt_rx_syn", "ssh_ptl_should_corrupt_tx_data",
    "ssh_ptl_should_drop_ack_packet", "ssh_ptl_should_drop_dsq_packet", "ssh_ptl_should_drop_nak_packet",
    "ssh_ptl_should_fail_write", "ssh_rtl_should_drop_response", "vm_bind_ioctl_ops_create",
    "vm_bind_ioctl_ops_execute", "wait_for_lmem_ready", "xe_add_hw_engine_class_defaults", "xe_device_create",
    "xe_device_probe_early", "xe_exec_queue_create", "xe_exec_queue_create_bind", "xe_ggtt_init_early",
    "xe_guc_ads_init", "xe_guc_ct_init", "xe_guc_ct_init_noalloc", "xe_guc_ct_send_recv", "xe_guc_log_init",
    "xe_guc_mmio_send_recv", "xe_guc_relay_init", "xe_hw_engine_group_add_exec_queue", "xe_is_injection_active",
    "xe_mmio_probe_early", "xe_oa_alloc_regs", "xe_pcode_probe_early", "xe_pm_init_early", "xe_pt_create",
    "xe_pt_update_ops_prepare", "xe_pt_update_ops_run", "xe_pxp_exec_queue_add", "xe_sriov_init", "xe_sync_entry_parse",
    "xe_tile_init_early", "xe_tuning_init", "xe_uc_fw_init", "xe_vm_add_compute_exec_queue", "xe_vm_create_scratch",
    "xe_vma_ops_alloc", "xe_wa_gt_init", "xe_wopcm_init",
  ]
}
