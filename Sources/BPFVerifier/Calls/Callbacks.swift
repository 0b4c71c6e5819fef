import BPFISA
import BPFLinux

/// Who calls a callback, and so what it is called with.
enum CallbackKind: BitwiseCopyable {
  /// `bpf_for_each_map_elem`: map, key, value, context.
  case mapElement
  /// `bpf_loop`: index, context.
  case loop
  /// `bpf_find_vma`: task, area, context.
  case findVMA
  /// `bpf_user_ringbuf_drain`: dynptr, context.
  case userRingbuf
  /// `bpf_rbtree_add`: two nodes, under the tree's lock.
  case rbtreeAdd
  /// `bpf_timer_set_callback`: map, key, value; later, on a stack of its own.
  case timer
  /// `bpf_wq_set_callback`: the same, and it may sleep.
  case workqueue
  /// `bpf_task_work_schedule_…`: the same, and it may return what it likes.
  case taskWork

  /// The callback runs after the call, not in it.
  @inline(__always) var isAsynchronous: Bool {
    switch self {
    case .timer, .workqueue, .taskWork: true
    default: false
    }
  }

  /// Asynchronous callbacks: whether they run where sleeping is allowed.
  @inline(__always) fileprivate var maySleep: Bool { self != .timer }
}

extension Verification {
  /// Puts aside the exploration of a callback that the call at `index` makes, or has made later.
  ///
  /// A synchronous callback returns to the call itself, which then is checked once more: zero, one and more rounds are
  /// all seen, until they converge.
  func pushCallback(
    _ insn: Instruction, at index: Int, subprogram: Int, kind: CallbackKind
  ) throws(Refusal) {
    let caller = state.current
    if let mismatch = checkSubprogramCallArguments(subprogram), mismatch.errno == .EFAULT { throw mismatch }
    subprograms[subprogram].isCallback = true
    let start = subprograms[subprogram].start

    if kind.isAsynchronous {
      subprograms[subprogram].isAsyncCallback = true
      guard
        let later = pushAsyncCallback(
          subprogram: subprogram, instruction: start, previous: index, sleepable: kind.maySleep)
      else { throw Refusal(errno: .EFAULT, category: .complexity) }
      let callee = later.frame(0)
      callee.pointee.asyncEntryCount = caller.pointee.asyncEntryCount &+ 1
      try passCallbackArguments(kind, from: caller, to: callee, callSite: index)
      return
    }

    guard let entered = pushPath(to: start, from: index, speculative: false) else {
      throw Refusal(errno: .ENOMEM, category: .complexity)
    }
    try setUpFunctionEntry(in: entered, subprogram: subprogram, callSite: index, callback: kind)
    entered.pointee.callbackUnrollDepth &+= 1
    entered.frame(Int(entered.pointee.currentFrame) - 1).pointee.callbackDepth &+= 1
    caller.pointee.callbackDepth = 0
  }

  /// What a callback finds in r1 … r5, and what it may return.
  func passCallbackArguments(
    _ kind: CallbackKind, from caller: FrameRef, to callee: FrameRef, callSite: Int
  ) throws(Refusal) {
    switch kind {
    case .mapElement:
      // Which of several maps it is does not matter here.
      let map = Int(facts[callSite].mapIndex)
      guard map >= 0, callsBackForElements(maps[map].definition.type) else {
        throw refuse(.ENOTSUPP, .callback, "callback function not allowed for map\n")
      }
      callee.register(1).pointee = caller.register(1).pointee
      passElement(of: caller.register(1).pointee.map, key: callee.register(2), value: callee.register(3))
      callee.register(4).pointee = caller.register(3).pointee
      markNotInitialized(callee.register(5))
      callee.pointee.callbackReturnRange = ReturnRange(minimum: 0, maximum: 1)
    case .loop:
      callee.register(1).pointee.type = .scalar
      callee.register(2).pointee = caller.register(3).pointee
      forgetArguments(callee, from: 3)
      callee.pointee.callbackReturnRange = ReturnRange(minimum: 0, maximum: 1)
    case .findVMA:
      callee.register(1).pointee = caller.register(1).pointee
      let area = callee.register(2)
      area.pointee.type = .btfID
      area.pointee.markKnownZero()
      area.pointee.btf = Self.kernelBTF
      area.pointee.btfID = kernelType("vm_area_struct") ?? 0
      callee.register(3).pointee = caller.register(4).pointee
      forgetArguments(callee, from: 4)
      callee.pointee.callbackReturnRange = ReturnRange(minimum: 0, maximum: 1)
    case .userRingbuf:
      markNotInitialized(callee.register(0))
      markDynptrCallbackRegister(callee.register(1), type: .local)
      callee.register(2).pointee = caller.register(3).pointee
      forgetArguments(callee, from: 3)
      callee.pointee.callbackReturnRange = ReturnRange(minimum: 0, maximum: 1)
    case .rbtreeAdd:
      // The node that is added was released by now; the root says what the tree holds.
      let root = caller.register(1)
      guard
        let field = btfRecord(of: root)?.find(
          offset: UInt32(bitPattern: root.pointee.offset), kinds: .rbRoot), field.btfID != 0
      else { throw Refusal(errno: .EFAULT, category: .graph) }
      for number in 1...2 {
        markGraphNode(
          in: callee.pointee.registers, number, btf: field.btf, type: field.btfID,
          offset: Int32(bitPattern: field.nodeOffset))
        passNonOwningReference(callee.register(number))
      }
      forgetArguments(callee, from: 3)
      callee.pointee.callbackReturnRange = ReturnRange(minimum: 0, maximum: 1)
    case .timer, .workqueue:
      passMapElement(of: caller.register(1).pointee.map, to: callee)
      callee.pointee.callbackReturnRange = ReturnRange(minimum: 0, maximum: 0)
    case .taskWork:
      passMapElement(of: caller.register(3).pointee.map, to: callee)
      callee.pointee.callbackReturnRange = ReturnRange(minimum: .min, maximum: .max)
    }
    if kind.isAsynchronous {
      callee.pointee.inAsyncCallback = true
    } else {
      callee.pointee.inCallback = true
    }
  }

  /// Maps whose elements `bpf_for_each_map_elem` goes through.
  private func callsBackForElements(_ type: MapType) -> Bool {
    switch type {
    case .hash, .percpuHash, .lruHash, .lruPercpuHash, .array, .percpuArray: true
    default: false
    }
  }

  private func passElement(of map: Int, key: RegisterRef, value: RegisterRef) {
    key.pointee.type = .mapKey
    key.pointee.markKnownZero()
    key.pointee.map = map
    value.pointee.type = .mapValue
    value.pointee.markKnownZero()
    value.pointee.map = map
  }

  /// Map, key and value, as callbacks of what lies in a map's value are called.
  private func passMapElement(of map: Int, to callee: FrameRef) {
    let first = callee.register(1)
    first.pointee.type = .mapPointer
    first.pointee.markKnownZero()
    first.pointee.map = map
    passElement(of: map, key: callee.register(2), value: callee.register(3))
    forgetArguments(callee, from: 4)
  }

  private func forgetArguments(_ callee: FrameRef, from first: Int) {
    for number in first...5 { markNotInitialized(callee.register(number)) }
  }

  /// The node belongs to the tree, whose lock is held.
  private func passNonOwningReference(_ r: RegisterRef) {
    if state.pointee.activeLocks == 0 {
      _ = refuse(.EFAULT, .invariant, "verifier bug: ref_set_non_owning w/o active lock\n")
      return
    }
    r.pointee.type |= .nonOwning
    if btfRecord(of: r)?.has(.refcount) ?? false { r.pointee.type |= .rcu }
  }

  /// The function being checked compares nodes of a tree: the lock is held all along, and is not to be touched.
  ///
  /// Adding to a tree is the only kfunc that calls back while it runs.
  var inRBTreeLockRequiredCallback: Bool {
    guard state.pointee.currentFrame > 0 else { return false }
    let callee = state.current
    return callee.pointee.inCallback && instructions[Int(callee.pointee.callSite)].isKfuncCall
  }
}
