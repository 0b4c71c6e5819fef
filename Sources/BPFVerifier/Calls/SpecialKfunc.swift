/// Kernel functions that the verifier knows by name, because their prototypes do not say all they do.
enum SpecialKfunc: UInt8, BitwiseCopyable {
  case none
  case objectNew
  case objectDrop
  case perCPUObjectNew
  case perCPUObjectDrop
  case refcountAcquire
  case listPushFront
  case listPushBack
  case listPopFront
  case listPopBack
  case listFront
  case listBack
  case rbtreeAdd
  case rbtreeRemove
  case rbtreeFirst
  case rbtreeRoot
  case rbtreeLeft
  case rbtreeRight
  case castToKernelContext
  case readOnlyCast
  case rcuReadLock
  case rcuReadUnlock
  case dynptrFromSKB
  case dynptrFromXDP
  case dynptrFromSKBMeta
  case dynptrSlice
  case dynptrSliceWritable
  case dynptrClone
  case xdpPullData
  case `throw`
  case workqueueSetCallback
  case taskWorkScheduleSignal
  case taskWorkScheduleResume
  case preemptDisable
  case preemptEnable
  case cssTaskIteratorNew
  case sessionCookie
  case getKmemCache
  case localIRQSave
  case localIRQRestore
  case numberIteratorNew
  case numberIteratorNext
  case numberIteratorDestroy
  case resilientLock
  case resilientUnlock
  case resilientLockIRQSave
  case resilientUnlockIRQRestore
  case trap

  /// By the name of a function of the kernel itself; modules have none.
  init(name: String) { self = Self.byName[name] ?? .none }

  private static let byName: [String: SpecialKfunc] = [
    "bpf_obj_new_impl": .objectNew,
    "bpf_obj_drop_impl": .objectDrop,
    "bpf_percpu_obj_new_impl": .perCPUObjectNew,
    "bpf_percpu_obj_drop_impl": .perCPUObjectDrop,
    "bpf_refcount_acquire_impl": .refcountAcquire,
    "bpf_list_push_front_impl": .listPushFront,
    "bpf_list_push_back_impl": .listPushBack,
    "bpf_list_pop_front": .listPopFront,
    "bpf_list_pop_back": .listPopBack,
    "bpf_list_front": .listFront,
    "bpf_list_back": .listBack,
    "bpf_rbtree_add_impl": .rbtreeAdd,
    "bpf_rbtree_remove": .rbtreeRemove,
    "bpf_rbtree_first": .rbtreeFirst,
    "bpf_rbtree_root": .rbtreeRoot,
    "bpf_rbtree_left": .rbtreeLeft,
    "bpf_rbtree_right": .rbtreeRight,
    "bpf_cast_to_kern_ctx": .castToKernelContext,
    "bpf_rdonly_cast": .readOnlyCast,
    "bpf_rcu_read_lock": .rcuReadLock,
    "bpf_rcu_read_unlock": .rcuReadUnlock,
    "bpf_dynptr_from_skb": .dynptrFromSKB,
    "bpf_dynptr_from_xdp": .dynptrFromXDP,
    "bpf_dynptr_from_skb_meta": .dynptrFromSKBMeta,
    "bpf_dynptr_slice": .dynptrSlice,
    "bpf_dynptr_slice_rdwr": .dynptrSliceWritable,
    "bpf_dynptr_clone": .dynptrClone,
    "bpf_xdp_pull_data": .xdpPullData,
    "bpf_throw": .throw,
    "bpf_wq_set_callback_impl": .workqueueSetCallback,
    "bpf_task_work_schedule_signal_impl": .taskWorkScheduleSignal,
    "bpf_task_work_schedule_resume_impl": .taskWorkScheduleResume,
    "bpf_preempt_disable": .preemptDisable,
    "bpf_preempt_enable": .preemptEnable,
    "bpf_iter_css_task_new": .cssTaskIteratorNew,
    "bpf_session_cookie": .sessionCookie,
    "bpf_get_kmem_cache": .getKmemCache,
    "bpf_local_irq_save": .localIRQSave,
    "bpf_local_irq_restore": .localIRQRestore,
    "bpf_iter_num_new": .numberIteratorNew,
    "bpf_iter_num_next": .numberIteratorNext,
    "bpf_iter_num_destroy": .numberIteratorDestroy,
    "bpf_res_spin_lock": .resilientLock,
    "bpf_res_spin_unlock": .resilientUnlock,
    "bpf_res_spin_lock_irqsave": .resilientLockIRQSave,
    "bpf_res_spin_unlock_irqrestore": .resilientUnlockIRQRestore,
    "__bpf_trap": .trap,
  ]

  // MARK: families

  var isListFunction: Bool {
    switch self {
    case .listPushFront, .listPushBack, .listPopFront, .listPopBack, .listFront, .listBack: true
    default: false
    }
  }

  var isRBTreeFunction: Bool {
    switch self {
    case .rbtreeAdd, .rbtreeRemove, .rbtreeFirst, .rbtreeRoot, .rbtreeLeft, .rbtreeRight: true
    default: false
    }
  }

  /// Puts a node into a collection, which owns it from then on.
  var insertsNode: Bool { self == .listPushFront || self == .listPushBack || self == .rbtreeAdd }

  var takesListNode: Bool { self == .listPushFront || self == .listPushBack }

  var takesRBTreeNode: Bool {
    switch self {
    case .rbtreeAdd, .rbtreeRemove, .rbtreeLeft, .rbtreeRight: true
    default: false
    }
  }

  var isResilientLockFunction: Bool {
    switch self {
    case .resilientLock, .resilientUnlock, .resilientLockIRQSave, .resilientUnlockIRQRestore: true
    default: false
    }
  }

  var takesResilientLock: Bool { self == .resilientLock || self == .resilientLockIRQSave }

  var isAllowedUnderLock: Bool {
    switch self {
    case .refcountAcquire, .numberIteratorNew, .numberIteratorNext, .numberIteratorDestroy: true
    default: isListFunction || isRBTreeFunction || isResilientLockFunction
    }
  }

  var schedulesTaskWork: Bool { self == .taskWorkScheduleSignal || self == .taskWorkScheduleResume }

  /// The callback that the function calls, or has called later; nil where it takes none.
  var callback: CallbackKind? {
    switch self {
    case .rbtreeAdd: .rbtreeAdd
    case .workqueueSetCallback: .workqueue
    case .taskWorkScheduleSignal, .taskWorkScheduleResume: .taskWork
    default: nil
    }
  }

  /// Returns memory of its own although its prototype says otherwise.
  var acquiresUntypedObject: Bool { self == .objectNew || self == .perCPUObjectNew || self == .refcountAcquire }
}
