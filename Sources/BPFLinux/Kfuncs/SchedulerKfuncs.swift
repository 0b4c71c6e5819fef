// Sets of sched_ext.

extension KfuncSet {
  static let schedulerSets: [KfuncSet] = [
    schedulerInsert, schedulerDispatch, schedulerRelease, schedulerUnlocked, scheduler, schedulerIdle,
  ]

  static let schedulerInsert = KfuncSet(
    hooks: .structOps,
    kfuncs: [
      Kfunc("scx_bpf_dsq_insert", .rcu),
      Kfunc("scx_bpf_dsq_insert_vtime", .rcu),
    ])

  static let schedulerDispatch = KfuncSet(
    hooks: .structOps,
    kfuncs: [
      Kfunc("scx_bpf_dispatch_nr_slots", []),
      Kfunc("scx_bpf_dispatch_cancel", []),
      Kfunc("scx_bpf_dsq_move_to_local", []),
      Kfunc("scx_bpf_dsq_move_set_slice", .rcu),
      Kfunc("scx_bpf_dsq_move_set_vtime", .rcu),
      Kfunc("scx_bpf_dsq_move", .rcu),
      Kfunc("scx_bpf_dsq_move_vtime", .rcu),
    ])

  static let schedulerRelease = KfuncSet(
    hooks: .structOps,
    kfuncs: [
      Kfunc("scx_bpf_reenqueue_local", []),
    ])

  static let schedulerUnlocked = KfuncSet(
    hooks: [.structOps, .syscall],
    kfuncs: [
      Kfunc("scx_bpf_create_dsq", .sleepable),
      Kfunc("scx_bpf_dsq_move_set_slice", .rcu),
      Kfunc("scx_bpf_dsq_move_set_vtime", .rcu),
      Kfunc("scx_bpf_dsq_move", .rcu),
      Kfunc("scx_bpf_dsq_move_vtime", .rcu),
    ])

  static let scheduler = KfuncSet(
    hooks: [.structOps, .tracing, .syscall],
    kfuncs: [
      Kfunc("scx_bpf_kick_cpu", []),
      Kfunc("scx_bpf_dsq_nr_queued", []),
      Kfunc("scx_bpf_destroy_dsq", []),
      Kfunc("bpf_iter_scx_dsq_new", [.iteratorNew, .rcuProtected]),
      Kfunc("bpf_iter_scx_dsq_next", [.iteratorNext, .returnsNull]),
      Kfunc("bpf_iter_scx_dsq_destroy", .iteratorDestroy),
      Kfunc("scx_bpf_exit_bstr", .trustedArguments),
      Kfunc("scx_bpf_error_bstr", .trustedArguments),
      Kfunc("scx_bpf_dump_bstr", .trustedArguments),
      Kfunc("scx_bpf_cpuperf_cap", []),
      Kfunc("scx_bpf_cpuperf_cur", []),
      Kfunc("scx_bpf_cpuperf_set", []),
      Kfunc("scx_bpf_nr_node_ids", []),
      Kfunc("scx_bpf_nr_cpu_ids", []),
      Kfunc("scx_bpf_get_possible_cpumask", .acquire),
      Kfunc("scx_bpf_get_online_cpumask", .acquire),
      Kfunc("scx_bpf_put_cpumask", .release),
      Kfunc("scx_bpf_task_running", .rcu),
      Kfunc("scx_bpf_task_cpu", .rcu),
      Kfunc("scx_bpf_cpu_rq", []),
      Kfunc("scx_bpf_locked_rq", .returnsNull),
      Kfunc("scx_bpf_cpu_curr", [.returnsNull, .rcuProtected]),
      Kfunc("scx_bpf_task_cgroup", [.rcu, .acquire]),
      Kfunc("scx_bpf_now", []),
      Kfunc("scx_bpf_events", .trustedArguments),
    ])

  static let schedulerIdle = KfuncSet(
    hooks: [.structOps, .tracing, .syscall],
    kfuncs: [
      Kfunc("scx_bpf_cpu_node", []),
      Kfunc("scx_bpf_get_idle_cpumask_node", .acquire),
      Kfunc("scx_bpf_get_idle_cpumask", .acquire),
      Kfunc("scx_bpf_get_idle_smtmask_node", .acquire),
      Kfunc("scx_bpf_get_idle_smtmask", .acquire),
      Kfunc("scx_bpf_put_idle_cpumask", .release),
      Kfunc("scx_bpf_test_and_clear_cpu_idle", []),
      Kfunc("scx_bpf_pick_idle_cpu_node", .rcu),
      Kfunc("scx_bpf_pick_idle_cpu", .rcu),
      Kfunc("scx_bpf_pick_any_cpu_node", .rcu),
      Kfunc("scx_bpf_pick_any_cpu", .rcu),
      Kfunc("scx_bpf_select_cpu_and", .rcu),
      Kfunc("scx_bpf_select_cpu_dfl", .rcu),
    ])
}
