// Sets that the kernel and its test modules keep for testing.

extension KfuncSet {
  static let testSets: [KfuncSet] = [
    testModifiable, testReleases, testModuleCommon, testModule, testModuleOrderX, testModuleOrderY,
  ]

  /// Open to fmod_ret programs.
  static let testModifiable = KfuncSet(
    hooks: .modifyReturn,
    kfuncs: [
      Kfunc("bpf_modify_return_test", []),
      Kfunc("bpf_modify_return_test2", []),
      Kfunc("bpf_modify_return_test_tp", []),
      Kfunc("bpf_fentry_test1", .sleepable),
    ])

  static let testReleases = KfuncSet(
    hooks: [.trafficControl, .tracing, .syscall],
    kfuncs: [
      Kfunc("bpf_kfunc_call_test_release", .release),
      Kfunc("bpf_kfunc_call_memb_release", .release),
    ])

  static let testModuleCommon = KfuncSet(
    hooks: .common, owner: .testModule,
    kfuncs: [
      Kfunc("bpf_iter_testmod_seq_new", .iteratorNew),
      Kfunc("bpf_iter_testmod_seq_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_testmod_seq_destroy", .iteratorDestroy),
      Kfunc("bpf_iter_testmod_seq_value", []),
      Kfunc("bpf_kfunc_common_test", []),
      Kfunc("bpf_kfunc_dynptr_test", []),
      Kfunc("bpf_kfunc_nested_acquire_nonzero_offset_test", .acquire),
      Kfunc("bpf_kfunc_nested_acquire_zero_offset_test", .acquire),
      Kfunc("bpf_kfunc_nested_release_test", .release),
      Kfunc("bpf_kfunc_trusted_vma_test", .trustedArguments),
      Kfunc("bpf_kfunc_trusted_task_test", .trustedArguments),
      Kfunc("bpf_kfunc_trusted_num_test", .trustedArguments),
      Kfunc("bpf_kfunc_rcu_task_test", .rcu),
      Kfunc("bpf_kfunc_ret_rcu_test", [.returnsNull, .rcuProtected]),
      Kfunc("bpf_kfunc_ret_rcu_test_nostruct", [.returnsNull, .rcuProtected]),
      Kfunc("bpf_testmod_ctx_create", [.acquire, .returnsNull]),
      Kfunc("bpf_testmod_ctx_release", .release),
      Kfunc("bpf_testmod_ops3_call_test_1", []),
      Kfunc("bpf_testmod_ops3_call_test_2", []),
    ])

  static let testModule = KfuncSet(
    hooks: [.trafficControl, .tracing, .syscall, .structOps], owner: .testModule,
    kfuncs: [
      Kfunc("bpf_testmod_test_mod_kfunc", []),
      Kfunc("bpf_kfunc_call_test1", []),
      Kfunc("bpf_kfunc_call_test2", []),
      Kfunc("bpf_kfunc_call_test3", []),
      Kfunc("bpf_kfunc_call_test4", []),
      Kfunc("bpf_kfunc_call_test_mem_len_pass1", []),
      Kfunc("bpf_kfunc_call_test_mem_len_fail1", []),
      Kfunc("bpf_kfunc_call_test_mem_len_fail2", []),
      Kfunc("bpf_kfunc_call_test_acquire", [.acquire, .returnsNull]),
      Kfunc("bpf_kfunc_call_memb_acquire", [.acquire, .returnsNull]),
      Kfunc("bpf_kfunc_call_memb1_release", .release),
      Kfunc("bpf_kfunc_call_test_get_rdwr_mem", .returnsNull),
      Kfunc("bpf_kfunc_call_test_get_rdonly_mem", .returnsNull),
      Kfunc("bpf_kfunc_call_test_acq_rdonly_mem", [.acquire, .returnsNull]),
      Kfunc("bpf_kfunc_call_int_mem_release", .release),
      Kfunc("bpf_kfunc_call_test_pass_ctx", []),
      Kfunc("bpf_kfunc_call_test_pass1", []),
      Kfunc("bpf_kfunc_call_test_pass2", []),
      Kfunc("bpf_kfunc_call_test_fail1", []),
      Kfunc("bpf_kfunc_call_test_fail2", []),
      Kfunc("bpf_kfunc_call_test_fail3", []),
      Kfunc("bpf_kfunc_call_test_ref", [.trustedArguments, .rcu]),
      Kfunc("bpf_kfunc_call_test_destructive", .destructive),
      Kfunc("bpf_kfunc_call_test_static_unused_arg", []),
      Kfunc("bpf_kfunc_call_test_offset", []),
      Kfunc("bpf_kfunc_call_test_sleepable", .sleepable),
      Kfunc("bpf_kfunc_init_sock", .sleepable),
      Kfunc("bpf_kfunc_close_sock", .sleepable),
      Kfunc("bpf_kfunc_call_kernel_connect", .sleepable),
      Kfunc("bpf_kfunc_call_kernel_bind", .sleepable),
      Kfunc("bpf_kfunc_call_kernel_listen", .sleepable),
      Kfunc("bpf_kfunc_call_kernel_sendmsg", .sleepable),
      Kfunc("bpf_kfunc_call_sock_sendmsg", .sleepable),
      Kfunc("bpf_kfunc_call_kernel_getsockname", .sleepable),
      Kfunc("bpf_kfunc_call_kernel_getpeername", .sleepable),
      Kfunc("bpf_kfunc_st_ops_test_prologue", [.trustedArguments, .sleepable]),
      Kfunc("bpf_kfunc_st_ops_test_epilogue", [.trustedArguments, .sleepable]),
      Kfunc("bpf_kfunc_st_ops_test_pro_epilogue", [.trustedArguments, .sleepable]),
      Kfunc("bpf_kfunc_st_ops_inc10", .trustedArguments),
      Kfunc("bpf_kfunc_multi_st_ops_test_1", .trustedArguments),
    ])

  static let testModuleOrderX = KfuncSet(
    hooks: .trafficControl, owner: .testModule,
    kfuncs: [
      Kfunc("bpf_test_modorder_retx", []),
    ])

  static let testModuleOrderY = KfuncSet(
    hooks: .trafficControl, owner: .testModule,
    kfuncs: [
      Kfunc("bpf_test_modorder_rety", []),
    ])
}
