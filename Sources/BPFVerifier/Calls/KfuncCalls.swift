import BPFISA
import BPFLinux
import BTF

/// Largest struct that can be allocated for each CPU.
private let maximumPerCPUObjectSize: UInt32 = 512
/// The highest errno that a function returns.
private let maximumErrno: Int32 = 4095

extension Verification {
  /// Checks a call of a kernel function and applies what it does.
  func checkKfuncCall(_ insn: Instruction) throws(Refusal) {
    // Refused once it is known to be reachable.
    if insn.immediate == 0 { return }
    guard let index = kfuncIndex(insn) else { throw Refusal(errno: .EINVAL, category: .invariant) }
    guard let flags = kfuncs[index].flags else {
      throw refuse(
        .EACCES, .kfuncNotAllowed, "calling kernel function \(kfuncs[index].name) is not allowed\n")
    }
    var call = KfuncCall(kfunc: index, kfuncs[index], flags: flags)
    fact.pointee.isIteratorNext = call.isIteratorNext

    if call.special.takesResilientLock {
      try pushFailedAcquisition()
    } else if call.special == .trap {
      throw refuse(
        .EFAULT, .uninitializedRegister, "unexpected __bpf_trap() due to uninitialized variable?\n")
    }
    if flags.contains(.destructive) && !linux.capabilities.contains(.sysAdmin) {
      throw refuse(
        .EACCES, .privilege, "destructive kfunc calls require CAP_SYS_BOOT capability\n")
    }
    let isSleepable = flags.contains(.sleepable)
    if isSleepable && !inSleepable {
      throw refuse(
        .EACCES, .sleep, "program must be sleepable to call sleepable kfunc \(kfuncName(call))\n")
    }

    let signature = kfuncSignature(index)
    try checkKfuncArguments(&call, signature)
    if let callback = call.special.callback {
      do throws(Refusal) {
        try pushCallback(insn, at: instruction, subprogram: call.subprogram, kind: callback)
      } catch {
        throw refuse(
          error.errno, error.category,
          "kfunc \(kfuncName(call))#\(Int32(bitPattern: call.id)) failed callback verification\n")
      }
    }
    if call.special == .sessionCookie {
      call.bufferSize = 8
      call.bufferIsReadOnly = false
    }

    try enterOrLeaveRCUSection(call, isSleepable: isSleepable)
    try enterOrLeavePreemptionSection(call, isSleepable: isSleepable)
    if state.pointee.activeIRQID != 0 && isSleepable {
      throw refuse(
        .EACCES, .sleep, "kernel func \(kfuncName(call)) is sleepable within IRQ-disabled region\n")
    }
    if call.isRCUProtected && !inRCUSection {
      throw refuse(
        .EACCES, .rcu, "kernel func \(kfuncName(call)) requires RCU critical section protection\n")
    }

    try releaseArguments(call)
    if call.special == .throw {
      guard linux.architecture != .x86_64 || linux.isConfigured("CONFIG_UNWINDER_ORC") else {
        throw refuse(
          .ENOTSUPP, .exceptions, "JIT does not support calling kfunc \(kfuncName(call))#\(call.id)\n")
      }
      seenException = true
      // Without a callback of the program's own, the value thrown is what the program returns.
      if exceptionCallback == 0 { try checkReturnCode(register: 1, name: "R1") }
    }

    for number in 0...5 { markNotInitialized(register(number)) }
    try setKfuncResult(&call, signature)
    if call.special == .xdpPullData { clearAllPacketPointers() }
    for argument in 0..<signature.parameterCount {
      let parameter = signature.parameters[argument]
      if parameter.form == .pointer || parameter.size == 8 { markZeroExtension(register(argument + 1)) }
    }
    if call.isIteratorNext { try processIteratorNext(at: instruction, iterator: call.iterator) }
  }

  /// A resilient lock may not be had: a path on which the call failed is put aside.
  private func pushFailedAcquisition() throws(Refusal) {
    guard let branch = pushPath(to: instruction + 1, from: instruction, speculative: false) else {
      throw refuse(
        .ENOMEM, .complexity, "failed to push state for failed lock acquisition\n")
    }
    let registers = branch.current.pointee.registers
    for number in 0...5 { markNotInitialized(registers + number) }
    markUnknown(in: registers, 0)
    do throws(Refusal) {
      try markSigned32Range(in: registers, 0, min: -maximumErrno, max: -1)
    } catch {
      throw refuse(
        error.errno, error.category, "failed to mark s32 range for retval in forked state for lock\n")
    }
    setResultWidth(registers, size: 4)
  }

  /// Notes how many bytes of r0 the call defines.
  private func setResultWidth(_ registers: RegisterRef, size: UInt32) {
    registers.pointee.subregisterDefinition = size == 8 ? 0 : Int32(truncatingIfNeeded: instruction + 1)
  }

  // MARK: sections

  private func enterOrLeaveRCUSection(_ call: KfuncCall, isSleepable: Bool) throws(Refusal) {
    let isLock = call.special == .rcuReadLock
    let isUnlock = call.special == .rcuReadUnlock
    guard state.pointee.activeRCULock else {
      if isLock {
        state.pointee.activeRCULock = true
      } else if isUnlock {
        throw refuse(
          .EINVAL, .rcu, "unmatched rcu read unlock (kernel function \(kfuncName(call)))\n")
      }
      return
    }
    if (isLock || isUnlock) && inRBTreeLockRequiredCallback {
      throw refuse(
        .EACCES, .rcu, "Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback\n")
    }
    if isLock {
      throw refuse(.EINVAL, .rcu, "nested rcu read lock (kernel function \(kfuncName(call)))\n")
    }
    if isUnlock {
      state.forEachRegister(mask: 1 << SlotType.spill | 1 << SlotType.iterator) { _, r in
        guard r.pointee.type.has(.rcu) else { return }
        r.pointee.type = r.pointee.type.removing([.rcu, .mayBeNull]) | .untrusted
      }
      state.pointee.activeRCULock = false
    } else if isSleepable {
      throw refuse(
        .EACCES, .sleep, "kernel func \(kfuncName(call)) is sleepable within rcu_read_lock region\n")
    }
  }

  private func enterOrLeavePreemptionSection(_ call: KfuncCall, isSleepable: Bool) throws(Refusal) {
    if call.special == .preemptDisable {
      state.pointee.activePreemptLocks &+= 1
    } else if call.special == .preemptEnable {
      if state.pointee.activePreemptLocks == 0 {
        throw refuse(
          .EINVAL, .lock,
          "unmatched attempt to enable preemption (kernel function \(kfuncName(call)))\n")
      }
      state.pointee.activePreemptLocks &-= 1
    } else if isSleepable && state.pointee.activePreemptLocks != 0 {
      throw refuse(
        .EACCES, .sleep, "kernel func \(kfuncName(call)) is sleepable within non-preemptible region\n")
    }
  }

  // MARK: references

  /// What was passed to be released, or to be owned by a collection, is the program's no more.
  private func releaseArguments(_ call: KfuncCall) throws(Refusal) {
    if call.releaseRegister != 0 {
      try releaseArgument(call, register(call.releaseRegister).pointee.referenceID)
    }
    guard call.special.insertsNode else { return }
    let node = register(2)
    let reference = node.pointee.referenceID
    fact.pointee.objectSize = UInt64(bitPattern: Int64(node.pointee.offset))
    noteRecord(call.objectBTF, call.objectBTFID)
    do throws(Refusal) {
      try convertOwningToNonOwning(reference)
    } catch {
      throw refuse(
        error.errno, error.category,
        "kfunc \(kfuncName(call))#\(Int32(bitPattern: call.id)) conversion of owning ref to non-owning failed\n")
    }
    try releaseArgument(call, reference)
  }

  private func releaseArgument(_ call: KfuncCall, _ reference: UInt32) throws(Refusal) {
    do throws(Refusal) {
      try releaseReference(id: reference)
    } catch {
      throw refuse(
        error.errno, error.category,
        "kfunc \(kfuncName(call))#\(Int32(bitPattern: call.id)) reference has not been acquired before\n")
    }
  }

  /// The call needs to know of special fields in objects of the type.
  private func noteRecord(_ btf: BTFIndex, _ id: TypeID) {
    fact.pointee.recordType = structRecord(of: id, in: btf) == nil ? 0 : id
  }

  // MARK: results

  private func setKfuncResult(_ call: inout KfuncCall, _ signature: KfuncSignature) throws(Refusal) {
    let acquires = call.flags.contains(.acquire)
    if acquires, signature.result != .pointer || !signature.resultTargetKind.isComposite,
      !call.special.acquiresUntypedObject
    {
      throw refuse(
        .EINVAL, .invalidArgument, "acquire kernel function does not return PTR_TO_BTF_ID\n")
    }
    let r = register(0)
    switch signature.result {
    case .scalar:
      markUnknown(r)
      if call.special.takesResilientLock { markConstantZero(r) }
      setResultWidth(registers, size: signature.resultSize)
    case .pointer:
      if try !setSpecialResult(call, signature) { try setPointerResult(&call, signature) }
      if call.returnsNull {
        r.pointee.type |= .mayBeNull
        r.pointee.id = newID()
      }
      setResultWidth(registers, size: 8)
      if acquires {
        let reference = try acquireReference(instruction: instruction)
        if call.returnsNull { r.pointee.id = reference }
        r.pointee.referenceID = reference
      } else if signature.resultNode != .none {
        markNonOwning(r)
      }
      if r.pointee.id == 0, btfRecord(of: r)?.has(.anySpinLock) ?? false { r.pointee.id = newID() }
    case .void:
      if call.special == .objectDrop || call.special == .perCPUObjectDrop {
        noteRecord(call.objectBTF, call.objectBTFID)
      }
    case .other:
      break
    }
  }

  /// A pointer of which the prototype says everything.
  private func setPointerResult(_ call: inout KfuncCall, _ signature: KfuncSignature) throws(Refusal) {
    let r = register(0)
    if signature.resultTarget == 0 {
      // Nothing can be done with it: a number.
      markUnknown(r)
      return
    }
    guard signature.resultTargetKind == .structure else {
      if call.bufferSize == 0 && signature.resultTargetSize != 0 {
        call.bufferSize = UInt64(signature.resultTargetSize)
        call.bufferIsReadOnly = true
      }
      if call.bufferSize == 0 {
        throw refuse(
          .EINVAL, .typeMismatch,
          "kernel function \(kfuncName(call)) returns pointer type \(signature.resultTargetKind.kernelName) "
            + "\(typeName(call.btf, signature.resultTarget)) is not supported\n")
      }
      r.pointee.markKnownZero()
      r.pointee.type = .memory
      r.pointee.memorySize = UInt32(truncatingIfNeeded: call.bufferSize)
      if call.bufferIsReadOnly { r.pointee.type |= .readOnly }
      // The memory goes with the reference that it was taken from.
      if call.referenceID != 0 { r.pointee.referenceID = call.referenceID }
      if call.isRCUProtected { r.pointee.type |= .rcu }
      return
    }
    r.pointee.markKnownZero()
    r.pointee.type = .btfID
    r.pointee.btf = call.btf
    r.pointee.btfID = signature.resultTarget
    if call.special == .getKmemCache {
      r.pointee.type |= .untrusted
    } else if call.isRCUProtected {
      r.pointee.type |= .rcu
    }
    if call.isIteratorNext {
      let isRCU = iteratorFromState(state, call.iterator).pointee.type.has(.rcu)
      r.pointee.type |= isRCU ? .rcu : .trusted
    }
  }

  /// A pointer that is more than the prototype says; false where it is not.
  private func setSpecialResult(_ call: KfuncCall, _ signature: KfuncSignature) throws(Refusal) -> Bool {
    guard call.btf == Self.kernelBTF else { return false }
    let r = register(0)
    switch call.special {
    case .objectNew, .perCPUObjectNew:
      try setNewObject(call, r)
      return true
    case .refcountAcquire:
      setObject(r, .allocatedObject, call.objectBTF, call.objectBTFID)
      noteRecord(call.objectBTF, call.objectBTFID)
      return true
    default:
      break
    }
    if signature.resultNode != .none {
      guard let root = signature.resultNode == .list ? call.listHead : call.rbRoot else {
        throw Refusal(errno: .EFAULT, category: .invariant)
      }
      markGraphNode(
        in: registers, 0, btf: root.btf, type: root.btfID, offset: Int32(bitPattern: root.nodeOffset))
      return true
    }
    switch call.special {
    case .castToKernelContext:
      setObject(r, .btfID | .trusted, Self.kernelBTF, call.contextBTFID)
    case .readOnlyCast:
      try setCastObject(call, r)
    case .dynptrSlice, .dynptrSliceWritable:
      try setDynptrSlice(call, r)
    default:
      return false
    }
    return true
  }

  private func setObject(_ r: RegisterRef, _ type: RegisterType, _ btf: BTFIndex, _ id: TypeID) {
    r.pointee.markKnownZero()
    r.pointee.type = type
    r.pointee.btf = btf
    r.pointee.btfID = id
  }

  private func setNewObject(_ call: KfuncCall, _ r: RegisterRef) throws(Refusal) {
    let value = call.constant ?? 0
    guard let id = TypeID(exactly: value) else {
      throw refuse(
        .EINVAL, .invalidArgument, "local type ID argument must be in range [0, U32_MAX]\n")
    }
    // Linux takes the program's types in with the function or line information.
    guard let types = btfs[Int(Self.programBTF)], !program.functionInfo.isEmpty || !program.lineInfo.isEmpty else {
      throw refuse(.EINVAL, .btf, "bpf_obj_new/bpf_percpu_obj_new requires prog BTF\n")
    }
    let type = types.type(id)
    guard type.kind == .structure else {
      throw refuse(
        .EINVAL, .invalidArgument,
        "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct\n")
    }
    let isPerCPU = call.special == .perCPUObjectNew
    if isPerCPU && type.size > maximumPerCPUObjectSize {
      throw refuse(
        .EINVAL, .invalidArgument,
        "bpf_percpu_obj_new type size (\(Int32(bitPattern: type.size))) is greater than "
          + "\(maximumPerCPUObjectSize)\n")
    }
    noteRecord(Self.programBTF, id)
    if isPerCPU {
      let composition = types.scalarStruct(id)
      if composition == .tooDeep { print("max struct nesting depth exceeded\n") }
      guard composition == .yes else {
        throw refuse(
          .EINVAL, .invalidArgument,
          "bpf_percpu_obj_new type ID argument must be of a struct of scalars\n")
      }
      if fact.pointee.recordType != 0 {
        throw refuse(
          .EINVAL, .invalidArgument,
          "bpf_percpu_obj_new type ID argument must not contain special fields\n")
      }
    }
    setObject(r, isPerCPU ? .allocatedObject | .percpu : .allocatedObject, Self.programBTF, id)
    fact.pointee.objectSize = UInt64(type.size)
  }

  private func setCastObject(_ call: KfuncCall, _ r: RegisterRef) throws(Refusal) {
    let value = call.constant ?? 0
    let id = TypeID(truncatingIfNeeded: value)
    guard let types = btfs[Int(Self.kernelBTF)], types.isValid(id) else {
      throw refuse(
        .EINVAL, .invalidArgument,
        "Unknown type ID \(Int64(bitPattern: value)) passed to kfunc bpf_rdonly_cast\n")
    }
    if types.kind(id).isComposite {
      setObject(r, .btfID | .untrusted, Self.kernelBTF, id)
    } else if id == 0 {
      r.pointee.markKnownZero()
      r.pointee.type = .memory | [.readOnly, .untrusted]
      r.pointee.memorySize = 0
    } else {
      throw refuse(
        .EINVAL, .invalidArgument,
        "kfunc bpf_rdonly_cast type ID argument must be of a struct or void\n")
    }
  }

  private func setDynptrSlice(_ call: KfuncCall, _ r: RegisterRef) throws(Refusal) {
    r.pointee.markKnownZero()
    guard let size = call.constant else {
      throw refuse(.EFAULT, .invariant, "verifier bug: bpf_dynptr_slice(_rdwr) no constant size\n")
    }
    r.pointee.memorySize = UInt32(truncatingIfNeeded: size)
    r.pointee.type = .memory | call.dynptrType.typeFlag
    if call.special == .dynptrSlice {
      r.pointee.type |= .readOnly
    } else if !mayAccessPacket(.write) {
      throw refuse(.EINVAL, .readOnly, "the prog does not allow writes to packet data\n")
    }
    if call.dynptrID == 0 {
      throw refuse(.EFAULT, .invariant, "verifier bug: no dynptr id\n")
    }
    r.pointee.dynptrID = call.dynptrID
  }
}
