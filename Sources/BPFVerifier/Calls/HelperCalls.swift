import BPFISA
import BPFLinux
import BTF

extension Verification {
  /// A call of a helper: whether the program may make it, whether the arguments are right, and what it leaves behind.
  func checkHelperCall(_ insn: Instruction) throws(Refusal) {
    let id = HelperID(rawValue: insn.immediate)
    guard id.rawValue >= 0, id.rawValue < HelperID.end else {
      throw refuse(.EINVAL, .helperNotAllowed, "invalid func \(helperName(id))#\(id.rawValue)\n")
    }
    guard let prototype = HelperTable.reference(id, for: traits) else {
      throw refuse(
        .EINVAL, .helperNotAllowed,
        "program of this type cannot use helper \(helperName(id))#\(id.rawValue)\n")
    }
    try checkHelperAllowed(id, prototype)

    var meta = HelperCallMeta()
    meta.packetAccess = prototype.pointee.packetAccess
    meta.functionID = id
    try withMeta(&meta) { (meta) throws(Refusal) in
      for argument in 0..<5 { try checkHelperArgument(argument, meta: meta, prototype: prototype) }
      try checkHelperEffects(insn, id, prototype, meta)
    }
  }

  private func checkHelperAllowed(_ id: HelperID, _ prototype: UnsafePointer<HelperPrototype>) throws(Refusal) {
    if !gplCompatible && prototype.pointee.gplOnly {
      throw refuse(
        .EINVAL, .licenseRequired, "cannot call GPL-restricted function from non-GPL compatible program\n")
    }
    if prototype.pointee.restriction != .none && !prototype.pointee.restriction.allows(traits) {
      throw refuse(.EINVAL, .helperNotAllowed, "helper call is not allowed in probe\n")
    }
    if prototype.pointee.mightSleep {
      if !inSleepable {
        throw refuse(.EINVAL, .sleep, "helper call might sleep in a non-sleepable prog\n")
      }
      let region: StaticString
      if state.pointee.activeRCULock {
        region = "rcu_read_lock"
      } else if state.pointee.activePreemptLocks != 0 {
        region = "non-preemptible"
      } else if state.pointee.activeIRQID != 0 {
        region = "IRQ-disabled"
      } else {
        return
      }
      throw refuse(.EINVAL, .sleep, "sleepable helper \(helperName(id))#\(id.rawValue) in \(region) region\n")
    }
    if id.getsStorage,
      !inSleepable || state.pointee.activeRCULock || state.pointee.activePreemptLocks != 0
        || state.pointee.activeIRQID != 0
    {
      fact.pointee.storageGetAtomic = true
    }
  }

  /// The call itself, once its arguments are known to be right.
  private func checkHelperEffects(
    _ insn: Instruction, _ id: HelperID, _ prototype: UnsafePointer<HelperPrototype>,
    _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    let index = instruction
    if id.recordsMap { try recordMap(id, meta) }
    if id == .tailCall { try recordTailCallKey(meta) }

    var byte: Int32 = 0
    while byte < meta.pointee.accessSize {
      try checkMemoryAccess(
        at: index, register: Int(meta.pointee.register), offset: byte, size: Size.b, type: .write, valueRegister: -1,
        strictAlignmentOnce: false, signExtending: false)
      byte &+= 1
    }
    if meta.pointee.releaseRegister != 0 { try releaseArgument(id, prototype, meta) }

    var changesPacket = HelperTable.changesPacketData(id)
    var returnsAllocated = false
    try checkHelperRules(
      insn, id, prototype, meta, changesPacket: &changesPacket, returnsAllocated: &returnsAllocated)

    clearCallerSavedRegisters(in: registers)
    register(0).pointee.subregisterDefinition = 0
    try setReturnValue(id, prototype, meta, returnsAllocated: returnsAllocated)
    if meta.pointee.hasMap { try checkMapCompatibility(meta.pointee.map, id) }

    switch id {
    case .getStack, .getTaskStack: try checkCallChains(id)
    case .getFuncIp: try checkFunctionIP(id)
    case .tailCall:
      if state.pointee.currentFrame > 0 {
        try returnFromTailCall()
      } else {
        changesPacket = false
      }
    default: break
    }
    if changesPacket { clearAllPacketPointers() }
  }

  // MARK: maps

  private func recordMap(_ id: HelperID, _ meta: UnsafeMutablePointer<HelperCallMeta>) throws(Refusal) {
    guard meta.pointee.hasMap else {
      throw refuse(.EFAULT, .invariant, "verifier bug: expected map for helper call\n")
    }
    let map = meta.pointee.map
    if id.writesMap && maps[map].definition.flags.contains(.readOnlyProgram) {
      throw refuse(.EACCES, .readOnly, "write into map forbidden\n")
    }
    let fact = self.fact
    let number = Int32(truncatingIfNeeded: map)
    if fact.pointee.mapPointer == .unseen {
      fact.pointee.mapPointer = .known
    } else if fact.pointee.mapIndex != number {
      fact.pointee.mapPointer = .poisoned
    } else {
      return
    }
    fact.pointee.mapIndex = number
    if !isSpeculationSafe(maps[map].definition.type) { fact.pointee.mapPointerUnprivileged = true }
  }

  /// Maps whose index needs no masking: arrays made by who may ignore speculation.
  private func isSpeculationSafe(_ type: MapType) -> Bool {
    switch type {
    case .array, .percpuArray, .progArray, .perfEventArray, .cgroupArray, .arrayOfMaps: bypassSpectreV1
    default: false
    }
  }

  /// The key of a tail call, where it is one constant on all paths.
  private func recordTailCallKey(_ meta: UnsafeMutablePointer<HelperCallMeta>) throws(Refusal) {
    guard meta.pointee.hasMap, maps[meta.pointee.map].definition.type == .progArray else {
      throw refuse(.EINVAL, .tailCall, "expected prog array map for tail call")
    }
    let r = register(3)
    let key = r.pointee.bits.value
    let fact = self.fact
    guard r.pointee.isConstant(subregister: false), key < UInt64(maps[meta.pointee.map].definition.maxEntries) else {
      fact.pointee.mapKeyState = MapKeyFact.poisoned | MapKeyFact.seen
      return
    }
    try markChainPrecise(3)
    let known = fact.pointee.mapKeyState
    if known & MapKeyFact.seen == 0 {
      fact.pointee.mapKeyState = key | MapKeyFact.seen | (known & MapKeyFact.poisoned)
    } else if known & MapKeyFact.poisoned == 0, known & ~MapKeyFact.seen != key {
      fact.pointee.mapKeyState = MapKeyFact.poisoned | MapKeyFact.seen
    }
  }

  // MARK: releases

  private func releaseArgument(
    _ id: HelperID, _ prototype: UnsafePointer<HelperPrototype>, _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    let number = meta.pointee.releaseRegister
    let r = register(number)
    let reference = meta.pointee.referenceID
    do throws(Refusal) {
      if prototype.pointee.arguments[number - 1].base == .dynptr {
        if r.pointee.type == .dynptr {
          throw refuse(.EFAULT, .invariant, "verifier bug: CONST_PTR_TO_DYNPTR cannot be released\n")
        }
        try unmarkStackSlotsDynptr(r)
      } else if id == .kptrXchg && reference != 0 {
        try exchangeReference(reference)
      } else if reference != 0 {
        try releaseReference(id: reference)
      } else if !r.pointee.isNull {
        throw Refusal(errno: .EINVAL, category: .invalidRelease)
      }
    } catch {
      if error.category == .invariant { throw error }
      throw refuse(
        error.errno, error.category,
        "func \(helperName(id))#\(id.rawValue) reference has not been acquired before\n")
    }
  }

  /// The pointer moves into the map. Per-CPU objects stay readable until the grace period ends.
  private func exchangeReference(_ reference: UInt32) throws(Refusal) {
    let inRCU = inRCUSection
    guard releaseReferenceNoMark(in: state, id: reference) else {
      throw Refusal(errno: .EINVAL, category: .invalidRelease)
    }
    state.forEachRegister { _, r in
      guard r.pointee.referenceID == reference else { return }
      if inRCU && r.pointee.type.has(.allocated) && r.pointee.type.has(.percpu) {
        r.pointee.referenceID = 0
        r.pointee.type = r.pointee.type.removing(.allocated) | .rcu
      } else {
        markInvalid(r)
      }
    }
  }

  // MARK: rules of single helpers

  private func checkHelperRules(
    _ insn: Instruction, _ id: HelperID, _ prototype: UnsafePointer<HelperPrototype>,
    _ meta: UnsafeMutablePointer<HelperCallMeta>, changesPacket: inout Bool, returnsAllocated: inout Bool
  ) throws(Refusal) {
    let index = instruction
    let callback = meta.pointee.subprogram
    switch id {
    case .tailCall:
      try checkResourceLeak(exceptionExit: false, checkLock: true, prefix: "tail_call")
    case .getLocalStorage:
      if !register(2).pointee.isNull {
        throw refuse(.EINVAL, .invalidArgument, "get_local_storage() doesn't support non-zero flags\n")
      }
    case .forEachMapElem:
      try pushCallback(insn, at: index, subprogram: callback, kind: .mapElement)
    case .timerSetCallback:
      try pushCallback(insn, at: index, subprogram: callback, kind: .timer)
    case .findVma:
      try pushCallback(insn, at: index, subprogram: callback, kind: .findVMA)
    case .userRingbufDrain:
      try pushCallback(insn, at: index, subprogram: callback, kind: .userRingbuf)
    case .snprintf:
      try checkFormattedPrint()
    case .loop:
      try checkLoopCall(insn, callback)
    case .dynptrFromMem:
      let type = register(1).pointee.type
      if type != .mapValue {
        throw refuse(
          .EACCES, .dynptr,
          "Unsupported reg type \(registerTypeText(type)) for bpf_dynptr_from_mem data\n")
      }
    case .setRetval:
      if programType == .lsm && expectedAttachType == .lsmCgroup && attachedHookReturnsNothing {
        throw refuse(
          .EINVAL, .returnValue,
          "BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!\n")
      }
    case .dynptrData:
      guard let r = dynptrArgument(prototype) else { throw Refusal(errno: .EFAULT, category: .dynptr) }
      if meta.pointee.dynptrID != 0 {
        throw refuse(.EFAULT, .invariant, "verifier bug: meta.dynptr_id already set\n")
      }
      if meta.pointee.referenceID != 0 {
        throw refuse(.EFAULT, .invariant, "verifier bug: meta.ref_obj_id already set\n")
      }
      meta.pointee.dynptrID = try dynptrID(r)
      meta.pointee.referenceID = try dynptrReferenceID(r)
    case .dynptrWrite:
      guard let r = dynptrArgument(prototype) else { throw Refusal(errno: .EFAULT, category: .dynptr) }
      switch dynptrType(r) {
      case .invalid: throw Refusal(errno: .EFAULT, category: .dynptr)
      case .skb, .skbMeta: changesPacket = true
      default: break
      }
    case .perCpuPtr, .thisCpuPtr:
      let r = register(1)
      if r.pointee.type.has(.rcu) {
        guard let types = btfs[Int(r.pointee.btf)], types.kind(r.pointee.btfID).isComposite else {
          throw refuse(.EFAULT, .btf, "Helper has invalid btf/btf_id in R1\n")
        }
        returnsAllocated = true
        fact.pointee.callWithPercpuPointer = true
      }
    default:
      break
    }
  }

  private var attachedHookReturnsNothing: Bool {
    guard attach.prototype != 0, let types = btfs[Int(attach.btf)] else { return false }
    return types.type(attach.prototype).target == 0
  }

  /// One more round of `bpf_loop`, unless as many were seen as there can be.
  private func checkLoopCall(_ insn: Instruction, _ callback: Int) throws(Refusal) {
    let fact = self.fact
    if !fact.pointee.loopInitialized {
      fact.pointee.loopInitialized = true
      fact.pointee.loopInlinable = loopFlagsAreZero()
      fact.pointee.loopSubprogram = Int32(truncatingIfNeeded: callback)
    } else if fact.pointee.loopInlinable {
      fact.pointee.loopInlinable = loopFlagsAreZero() && Int(fact.pointee.loopSubprogram) == callback
    }
    // The count decides whether the loop is done.
    try markChainPrecise(1)
    let frame = state.current
    if UInt64(frame.pointee.callbackDepth) < register(1).pointee.umax {
      try pushCallback(insn, at: instruction, subprogram: callback, kind: .loop)
      return
    }
    frame.pointee.callbackDepth = 0
    if logLevel & 2 != 0 {
      print("frame\(state.pointee.currentFrame) bpf_loop iteration limit reached\n")
    }
  }

  private func loopFlagsAreZero() -> Bool {
    guard register(4).pointee.isNull else { return false }
    do { try markChainPrecise(4) } catch {}
    return true
  }

  private func checkCallChains(_ id: HelperID) throws(Refusal) {
    guard !linux.config.isEmpty, linux.config["CONFIG_PERF_EVENTS"] != "y" else { return }
    throw refuse(
      .ENOTSUPP, .helperNotAllowed,
      "func \(helperName(id))#\(id.rawValue) not supported without CONFIG_PERF_EVENTS\n")
  }

  private func checkFunctionIP(_ id: HelperID) throws(Refusal) {
    if programType == .kprobe { return }
    guard programType == .tracing else {
      throw refuse(
        .ENOTSUPP, .helperNotAllowed,
        "func \(helperName(id))#\(id.rawValue) not supported for program type \(programType.rawValue)\n")
    }
    if !traits.hasTrampoline {
      throw refuse(
        .ENOTSUPP, .helperNotAllowed,
        "func \(helperName(id))#\(id.rawValue) supported only for fentry/fexit/fmod_ret programs\n")
    }
  }

  /// A tail call in a subprogram. Where it succeeds, the program called into returns in its place, having done with the
  /// packet what it liked; where it fails, the path goes on behind it.
  private func returnFromTailCall() throws(Refusal) {
    markRegisterScratched(0)
    _ = pushPath(to: instruction + 1, from: instruction, speculative: false)
    clearAllPacketPointers()
    markUnknown(register(0))
    try prepareFunctionExit()
    instruction -= 1
  }
}
