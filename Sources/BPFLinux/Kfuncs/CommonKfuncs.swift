// Sets that the core kernel, file systems and HID register.

extension KfuncSet {
  static let commonSets: [KfuncSet] = [
    common, objects, arena, maps, resilientLocks, cpumasks, cryptoContexts, crypto, cgroupStatistics, sessions, files,
    verity, hid, hidSyscall,
  ]

  /// For every program type.
  static let common = KfuncSet(
    hooks: .common,
    kfuncs: [
      Kfunc("bpf_cast_to_kern_ctx", .fastcall),
      Kfunc("bpf_rdonly_cast", .fastcall),
      Kfunc("bpf_rcu_read_lock", []),
      Kfunc("bpf_rcu_read_unlock", []),
      Kfunc("bpf_dynptr_slice", .returnsNull),
      Kfunc("bpf_dynptr_slice_rdwr", .returnsNull),
      Kfunc("bpf_iter_num_new", .iteratorNew),
      Kfunc("bpf_iter_num_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_num_destroy", .iteratorDestroy),
      Kfunc("bpf_iter_task_vma_new", [.iteratorNew, .rcu]),
      Kfunc("bpf_iter_task_vma_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_task_vma_destroy", .iteratorDestroy),
      Kfunc("bpf_iter_css_task_new", [.iteratorNew, .trustedArguments]),
      Kfunc("bpf_iter_css_task_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_css_task_destroy", .iteratorDestroy),
      Kfunc("bpf_iter_css_new", [.iteratorNew, .trustedArguments, .rcuProtected]),
      Kfunc("bpf_iter_css_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_css_destroy", .iteratorDestroy),
      Kfunc("bpf_iter_task_new", [.iteratorNew, .trustedArguments, .rcuProtected]),
      Kfunc("bpf_iter_task_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_task_destroy", .iteratorDestroy),
      Kfunc("bpf_dynptr_adjust", []),
      Kfunc("bpf_dynptr_is_null", []),
      Kfunc("bpf_dynptr_is_rdonly", []),
      Kfunc("bpf_dynptr_size", []),
      Kfunc("bpf_dynptr_clone", []),
      Kfunc("bpf_dynptr_copy", []),
      Kfunc("bpf_dynptr_memset", []),
      Kfunc("bpf_modify_return_test_tp", []),
      Kfunc("bpf_wq_init", []),
      Kfunc("bpf_wq_set_callback_impl", []),
      Kfunc("bpf_wq_start", []),
      Kfunc("bpf_preempt_disable", []),
      Kfunc("bpf_preempt_enable", []),
      Kfunc("bpf_iter_bits_new", .iteratorNew),
      Kfunc("bpf_iter_bits_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_bits_destroy", .iteratorDestroy),
      Kfunc("bpf_copy_from_user_str", .sleepable),
      Kfunc("bpf_copy_from_user_task_str", .sleepable),
      Kfunc("bpf_get_kmem_cache", []),
      Kfunc("bpf_iter_kmem_cache_new", [.iteratorNew, .sleepable]),
      Kfunc("bpf_iter_kmem_cache_next", [.iteratorNext, .returnsNull, .sleepable]),
      Kfunc("bpf_iter_kmem_cache_destroy", [.iteratorDestroy, .sleepable]),
      Kfunc("bpf_local_irq_save", []),
      Kfunc("bpf_local_irq_restore", []),
      Kfunc("bpf_probe_read_user_dynptr", []),
      Kfunc("bpf_probe_read_kernel_dynptr", []),
      Kfunc("bpf_probe_read_user_str_dynptr", []),
      Kfunc("bpf_probe_read_kernel_str_dynptr", []),
      Kfunc("bpf_copy_from_user_dynptr", .sleepable),
      Kfunc("bpf_copy_from_user_str_dynptr", .sleepable),
      Kfunc("bpf_copy_from_user_task_dynptr", [.sleepable, .trustedArguments]),
      Kfunc("bpf_copy_from_user_task_str_dynptr", [.sleepable, .trustedArguments]),
      Kfunc("bpf_iter_dmabuf_new", [.iteratorNew, .sleepable]),
      Kfunc("bpf_iter_dmabuf_next", [.iteratorNext, .returnsNull, .sleepable]),
      Kfunc("bpf_iter_dmabuf_destroy", [.iteratorDestroy, .sleepable]),
      Kfunc("__bpf_trap", []),
      Kfunc("bpf_strcmp", []),
      Kfunc("bpf_strcasecmp", []),
      Kfunc("bpf_strchr", []),
      Kfunc("bpf_strchrnul", []),
      Kfunc("bpf_strnchr", []),
      Kfunc("bpf_strrchr", []),
      Kfunc("bpf_strlen", []),
      Kfunc("bpf_strnlen", []),
      Kfunc("bpf_strspn", []),
      Kfunc("bpf_strcspn", []),
      Kfunc("bpf_strstr", []),
      Kfunc("bpf_strnstr", []),
      Kfunc("bpf_cgroup_read_xattr", .rcu),
      Kfunc("bpf_stream_vprintk_impl", .trustedArguments),
      Kfunc("bpf_task_work_schedule_signal_impl", .trustedArguments),
      Kfunc("bpf_task_work_schedule_resume_impl", .trustedArguments),
    ])

  /// Objects that a program allocates, owns and links; tasks and cgroups.
  static let objects = KfuncSet(
    hooks: [.tracing, .trafficControl, .xdp, .structOps, .syscall, .cgroup],
    kfuncs: [
      Kfunc("crash_kexec", .destructive),
      Kfunc("bpf_obj_new_impl", [.acquire, .returnsNull]),
      Kfunc("bpf_percpu_obj_new_impl", [.acquire, .returnsNull]),
      Kfunc("bpf_obj_drop_impl", .release),
      Kfunc("bpf_percpu_obj_drop_impl", .release),
      Kfunc("bpf_refcount_acquire_impl", [.acquire, .returnsNull, .rcu]),
      Kfunc("bpf_list_push_front_impl", []),
      Kfunc("bpf_list_push_back_impl", []),
      Kfunc("bpf_list_pop_front", [.acquire, .returnsNull]),
      Kfunc("bpf_list_pop_back", [.acquire, .returnsNull]),
      Kfunc("bpf_list_front", .returnsNull),
      Kfunc("bpf_list_back", .returnsNull),
      Kfunc("bpf_task_acquire", [.acquire, .rcu, .returnsNull]),
      Kfunc("bpf_task_release", .release),
      Kfunc("bpf_rbtree_remove", [.acquire, .returnsNull]),
      Kfunc("bpf_rbtree_add_impl", []),
      Kfunc("bpf_rbtree_first", .returnsNull),
      Kfunc("bpf_rbtree_root", .returnsNull),
      Kfunc("bpf_rbtree_left", .returnsNull),
      Kfunc("bpf_rbtree_right", .returnsNull),
      Kfunc("bpf_cgroup_acquire", [.acquire, .rcu, .returnsNull]),
      Kfunc("bpf_cgroup_release", .release),
      Kfunc("bpf_cgroup_ancestor", [.acquire, .rcu, .returnsNull]),
      Kfunc("bpf_cgroup_from_id", [.acquire, .returnsNull]),
      Kfunc("bpf_task_under_cgroup", .rcu),
      Kfunc("bpf_task_get_cgroup1", [.acquire, .rcu, .returnsNull]),
      Kfunc("bpf_task_from_pid", [.acquire, .returnsNull]),
      Kfunc("bpf_task_from_vpid", [.acquire, .returnsNull]),
      Kfunc("bpf_throw", []),
      Kfunc("bpf_send_signal_task", .trustedArguments),
      Kfunc("bpf_lookup_user_key", [.acquire, .returnsNull, .sleepable]),
      Kfunc("bpf_lookup_system_key", [.acquire, .returnsNull]),
      Kfunc("bpf_key_put", .release),
      Kfunc("bpf_verify_pkcs7_signature", .sleepable),
    ])

  /// Pages of an arena.
  static let arena = KfuncSet(
    hooks: .common,
    kfuncs: [
      Kfunc("bpf_arena_alloc_pages", [.trustedArguments, .sleepable, .arenaReturn, .arenaArgument2]),
      Kfunc("bpf_arena_free_pages", [.trustedArguments, .sleepable, .arenaArgument2]),
      Kfunc("bpf_arena_reserve_pages", [.trustedArguments, .sleepable, .arenaArgument2]),
    ])

  static let maps = KfuncSet(
    hooks: .common,
    kfuncs: [
      Kfunc("bpf_map_sum_elem_count", .trustedArguments),
    ])

  static let resilientLocks = KfuncSet(
    hooks: .common,
    kfuncs: [
      Kfunc("bpf_res_spin_lock", .returnsNull),
      Kfunc("bpf_res_spin_unlock", []),
      Kfunc("bpf_res_spin_lock_irqsave", .returnsNull),
      Kfunc("bpf_res_spin_unlock_irqrestore", []),
    ])

  static let cpumasks = KfuncSet(
    hooks: [.tracing, .structOps, .syscall],
    kfuncs: [
      Kfunc("bpf_cpumask_create", [.acquire, .returnsNull]),
      Kfunc("bpf_cpumask_release", .release),
      Kfunc("bpf_cpumask_acquire", [.acquire, .trustedArguments]),
      Kfunc("bpf_cpumask_first", .rcu),
      Kfunc("bpf_cpumask_first_zero", .rcu),
      Kfunc("bpf_cpumask_first_and", .rcu),
      Kfunc("bpf_cpumask_set_cpu", .rcu),
      Kfunc("bpf_cpumask_clear_cpu", .rcu),
      Kfunc("bpf_cpumask_test_cpu", .rcu),
      Kfunc("bpf_cpumask_test_and_set_cpu", .rcu),
      Kfunc("bpf_cpumask_test_and_clear_cpu", .rcu),
      Kfunc("bpf_cpumask_setall", .rcu),
      Kfunc("bpf_cpumask_clear", .rcu),
      Kfunc("bpf_cpumask_and", .rcu),
      Kfunc("bpf_cpumask_or", .rcu),
      Kfunc("bpf_cpumask_xor", .rcu),
      Kfunc("bpf_cpumask_equal", .rcu),
      Kfunc("bpf_cpumask_intersects", .rcu),
      Kfunc("bpf_cpumask_subset", .rcu),
      Kfunc("bpf_cpumask_empty", .rcu),
      Kfunc("bpf_cpumask_full", .rcu),
      Kfunc("bpf_cpumask_copy", .rcu),
      Kfunc("bpf_cpumask_any_distribute", .rcu),
      Kfunc("bpf_cpumask_any_and_distribute", .rcu),
      Kfunc("bpf_cpumask_weight", .rcu),
      Kfunc("bpf_cpumask_populate", .rcu),
    ])

  static let cryptoContexts = KfuncSet(
    hooks: .syscall,
    kfuncs: [
      Kfunc("bpf_crypto_ctx_create", [.acquire, .returnsNull, .sleepable]),
      Kfunc("bpf_crypto_ctx_release", .release),
      Kfunc("bpf_crypto_ctx_acquire", [.acquire, .rcu, .returnsNull]),
    ])

  static let crypto = KfuncSet(
    hooks: [.trafficControl, .trafficAction, .xdp],
    kfuncs: [
      Kfunc("bpf_crypto_decrypt", .rcu),
      Kfunc("bpf_crypto_encrypt", .rcu),
    ])

  static let cgroupStatistics = KfuncSet(
    hooks: .tracing,
    kfuncs: [
      Kfunc("css_rstat_updated", []),
      Kfunc("css_rstat_flush", .sleepable),
    ])

  static let sessions = KfuncSet(
    hooks: .kprobe, filter: .sessions,
    kfuncs: [
      Kfunc("bpf_session_is_return", []),
      Kfunc("bpf_session_cookie", []),
    ])

  static let files = KfuncSet(
    hooks: .tracing, filter: .lsmPrograms,
    kfuncs: [
      Kfunc("bpf_get_task_exe_file", [.acquire, .trustedArguments, .returnsNull]),
      Kfunc("bpf_put_file", .release),
      Kfunc("bpf_path_d_path", .trustedArguments),
      Kfunc("bpf_get_dentry_xattr", [.sleepable, .trustedArguments]),
      Kfunc("bpf_get_file_xattr", [.sleepable, .trustedArguments]),
      Kfunc("bpf_set_dentry_xattr", [.sleepable, .trustedArguments]),
      Kfunc("bpf_remove_dentry_xattr", [.sleepable, .trustedArguments]),
    ])

  static let verity = KfuncSet(
    hooks: .tracing, filter: .lsmPrograms,
    kfuncs: [
      Kfunc("bpf_get_fsverity_digest", .trustedArguments),
    ])

  /// Within a device's event handlers.
  static let hid = KfuncSet(
    hooks: .structOps,
    kfuncs: [
      Kfunc("hid_bpf_get_data", .returnsNull),
      Kfunc("hid_bpf_allocate_context", [.acquire, .returnsNull, .sleepable]),
      Kfunc("hid_bpf_release_context", [.release, .sleepable]),
      Kfunc("hid_bpf_hw_request", .sleepable),
      Kfunc("hid_bpf_hw_output_report", .sleepable),
      Kfunc("hid_bpf_input_report", .sleepable),
      Kfunc("hid_bpf_try_input_report", []),
    ])

  /// The same from a system call: nothing to say about sleeping.
  static let hidSyscall = KfuncSet(
    hooks: .syscall,
    kfuncs: [
      Kfunc("hid_bpf_allocate_context", [.acquire, .returnsNull]),
      Kfunc("hid_bpf_release_context", .release),
      Kfunc("hid_bpf_hw_request", []),
      Kfunc("hid_bpf_hw_output_report", []),
      Kfunc("hid_bpf_input_report", []),
    ])
}
