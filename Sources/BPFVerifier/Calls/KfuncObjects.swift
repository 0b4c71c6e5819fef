import BPFLinux
import BTF

// Arguments of kfuncs that are objects which the program allocated, and the lists and trees that own such objects.

extension Verification {
  // MARK: allocated objects

  func checkIsAllocated(_ r: RegisterRef, at index: Int) throws(Refusal) {
    guard r.pointee.type == .allocatedObject else {
      throw refuse(.EINVAL, .graph, "arg#\(index) expected pointer to allocated object\n")
    }
  }

  func checkIsReferenced(_ r: RegisterRef) throws(Refusal) {
    if r.pointee.referenceID == 0 {
      throw refuse(.EINVAL, .graph, "allocated object must be referenced\n")
    }
  }

  /// An object that the call gives up.
  func checkAllocatedObject(_ call: inout KfuncCall, _ r: RegisterRef, at index: Int) throws(Refusal) {
    switch r.pointee.type {
    case .allocatedObject:
      guard call.special == .objectDrop else {
        throw refuse(.EINVAL, .typeMismatch, "arg#\(index) expected for bpf_obj_drop_impl()\n")
      }
    case .allocatedObject | .percpu:
      guard call.special == .perCPUObjectDrop else {
        throw refuse(.EINVAL, .typeMismatch, "arg#\(index) expected for bpf_percpu_obj_drop_impl()\n")
      }
    default:
      throw refuse(.EINVAL, .typeMismatch, "arg#\(index) expected pointer to allocated object\n")
    }
    try checkIsReferenced(r)
    if call.btf == Self.kernelBTF {
      call.objectBTF = r.pointee.btf
      call.objectBTFID = r.pointee.btfID
    }
  }

  /// An object whose owners are counted, to have one more.
  func checkRefcountedObject(_ call: inout KfuncCall, _ r: RegisterRef, at index: Int) throws(Refusal) {
    guard r.pointee.type.isAllocatedObject else {
      throw refuse(.EINVAL, .typeMismatch, "arg#\(index) is neither owning or non-owning ref\n")
    }
    if !r.pointee.type.isNonOwningReference { call.ownsArgument = true }
    guard let record = btfRecord(of: r) else {
      throw refuse(.EFAULT, .invariant, "verifier bug: Couldn't find btf_record\n")
    }
    guard record.has(.refcount) else {
      throw refuse(
        .EINVAL, .graph, "arg#\(index) doesn't point to a type with bpf_refcount field\n")
    }
    call.objectBTF = r.pointee.btf
    call.objectBTFID = r.pointee.btfID
  }

  // MARK: lists and trees

  /// Whether the lock is held that lies in the same allocation as what `r` points into.
  private func isAllocationLocked(_ r: RegisterRef) -> Bool {
    guard r.pointee.type == .mapValue || r.pointee.type == .allocatedObject else {
      print("verifier bug: unknown reg type for lock check\n")
      return false
    }
    if state.pointee.activeLocks == 0 { return false }
    if findLock(state, kind: .anyLock, id: r.pointee.id, object: lockObject(of: r)) != nil { return true }
    print("held lock and object are not in the same allocation\n")
    return false
  }

  /// Where in its allocation `r` points; refused where that varies.
  private func graphOffset(_ r: RegisterRef, register number: Int, _ kind: BTFField.Kind) throws(Refusal) -> UInt32 {
    guard r.pointee.bits.isConstant else {
      throw refuse(
        .EINVAL, .graph,
        "R\(number) doesn't have constant offset. \(kind.name) has to be at the constant offset\n")
    }
    return UInt32(truncatingIfNeeded: r.pointee.bits.value) &+ UInt32(bitPattern: r.pointee.offset)
  }

  private func checkIsKernelFunction(_ call: KfuncCall) throws(Refusal) {
    if call.btf != Self.kernelBTF {
      throw refuse(.EFAULT, .invariant, "verifier bug: unexpected btf mismatch in kfunc call\n")
    }
  }

  /// A list head or the root of a tree, whose lock must be held.
  func checkGraphRoot(
    _ call: inout KfuncCall, _ r: RegisterRef, register number: Int, kind: BTFField.Kind
  ) throws(Refusal) {
    try checkIsKernelFunction(call)
    guard kind == .listHead ? call.special.isListFunction : call.special.isRBTreeFunction else {
      throw refuse(
        .EFAULT, .invariant, "verifier internal error: \(kind.name) head arg for unknown kfunc\n")
    }
    let offset = try graphOffset(r, register: number, kind)
    guard let record = btfRecord(of: r), let field = record.find(offset: offset, kinds: kind) else {
      throw refuse(.EINVAL, .graph, "\(kind.name) not found at offset=\(offset)\n")
    }
    guard isAllocationLocked(r) else {
      let lock = record.offset(ofOnly: .spinLock).map { Int32(bitPattern: $0) } ?? -Errno.EINVAL.rawValue
      throw refuse(.EINVAL, .lock, "bpf_spin_lock at off=\(lock) must be held for \(kind.name)\n")
    }
    if (kind == .listHead ? call.listHead : call.rbRoot) != nil {
      throw refuse(.EFAULT, .invariant, "verifier bug: repeating \(kind.name) arg\n")
    }
    if kind == .listHead { call.listHead = field } else { call.rbRoot = field }
  }

  /// A node, which must be what the collection that was passed before it is made of.
  func checkGraphNode(
    _ call: inout KfuncCall, _ r: RegisterRef, register number: Int, root: BTFField.Kind, kind: BTFField.Kind
  ) throws(Refusal) {
    try checkIsKernelFunction(call)
    guard kind == .listNode ? call.special.takesListNode : call.special.takesRBTreeNode else {
      throw refuse(
        .EFAULT, .invariant, "verifier internal error: \(kind.name) node arg for unknown kfunc\n")
    }
    let offset = try graphOffset(r, register: number, kind)
    guard btfRecord(of: r)?.find(offset: offset, kinds: kind) != nil else {
      throw refuse(.EINVAL, .graph, "\(kind.name) not found at offset=\(offset)\n")
    }
    guard let field = root == .listHead ? call.listHead : call.rbRoot else {
      throw Refusal(errno: .EFAULT, category: .invariant)
    }
    let expected = Int32(bitPattern: field.nodeOffset)
    let place = Int32(bitPattern: offset)
    guard
      btfStructIDsMatch(
        btf: r.pointee.btf, id: r.pointee.btfID, offset: 0, needBTF: field.btf, needID: field.btfID, strict: true)
    else {
      throw refuse(
        .EINVAL, .graph,
        "operation on \(root.name) expects arg#1 \(kind.name) at offset=\(expected) in struct "
          + "\(typeName(field.btf, field.btfID)), but arg is at offset=\(place) in struct "
          + "\(typeName(r.pointee.btf, r.pointee.btfID))\n")
    }
    call.objectBTF = r.pointee.btf
    call.objectBTFID = r.pointee.btfID
    if place != expected {
      throw refuse(
        .EINVAL, .graph,
        "arg#1 offset=\(place), but expected \(kind.name) at offset=\(expected) in struct "
          + "\(typeName(field.btf, field.btfID))\n")
    }
  }

  // MARK: owners

  /// The object belongs to a collection now; the pointer is good as long as the lock is held.
  func markNonOwning(_ r: RegisterRef) {
    if state.pointee.activeLocks == 0 {
      print("verifier bug: ref_set_non_owning w/o active lock\n")
      return
    }
    if r.pointee.type.has(.nonOwning) {
      print("verifier bug: NON_OWN_REF already set\n")
      return
    }
    let isCounted = btfRecord(of: r)?.has(.refcount) ?? false
    r.pointee.type |= .nonOwning
    if isCounted { r.pointee.type |= .rcu }
  }

  /// All pointers with the reference stay, but own the object no more.
  func convertOwningToNonOwning(_ reference: UInt32) throws(Refusal) {
    if reference == 0 {
      throw refuse(
        .EFAULT, .invariant,
        "verifier bug: ref_obj_id is zero for owning -> non-owning conversion\n")
    }
    guard findReference(id: reference) != nil else {
      throw refuse(.EFAULT, .invariant, "verifier bug: ref state missing for ref_obj_id\n")
    }
    state.forEachRegister { _, r in
      guard r.pointee.referenceID == reference else { return }
      r.pointee.referenceID = 0
      markNonOwning(r)
    }
  }
}
