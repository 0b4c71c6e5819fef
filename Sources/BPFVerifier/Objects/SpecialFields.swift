import BPFLinux
import BTF

// Fields of map values and allocated objects that only helpers and kfuncs may touch: locks, timers, work queues, kptrs.

/// What a lock function does.
struct SpinLockFlags: OptionSet, BitwiseCopyable {
  let rawValue: UInt8
  /// Takes the lock; without it, it is given back.
  static let lock = SpinLockFlags(rawValue: 1 << 0)
  /// `bpf_res_spin_lock`.
  static let resilient = SpinLockFlags(rawValue: 1 << 1)
  /// Interrupts are disabled with it.
  static let irq = SpinLockFlags(rawValue: 1 << 2)
}

extension BTFRecord {
  /// Where the field of a kind that may occur only once lies.
  func offset(ofOnly kind: BTFField.Kind) -> UInt32? {
    guard has(kind) else { return nil }
    return fields.first { $0.kind == kind }?.offset
  }
}

extension Verification {
  /// What a lock lies in, as `Reference.object` and `State.activeLockObject` number it: the map, or the BTF of the
  /// allocated object.
  func lockObject(of r: RegisterRef) -> UInt64 {
    switch r.pointee.type.base {
    case .mapValue, .mapPointer, .mapKey: 1 << 32 | UInt64(UInt32(truncatingIfNeeded: r.pointee.map))
    default: 2 << 32 | UInt64(r.pointee.btf)
    }
  }

  private func mapHasBTF(_ map: Int) -> Bool {
    let definition = maps[map].definition
    return definition.btf != nil
      && (definition.keyTypeID != 0 || definition.valueTypeID != 0 || definition.kernelValueTypeID != 0)
  }

  /// Fixed and variable part of the offset together, where the variable part is known.
  @inline(__always) private func constantOffset(_ r: RegisterRef) -> UInt64 {
    r.pointee.bits.value &+ UInt64(bitPattern: Int64(r.pointee.offset))
  }

  // MARK: locks

  /// Takes or gives back the lock that the register points to.
  func processSpinLock(register number: Int, flags: SpinLockFlags) throws(Refusal) {
    let r = register(number)
    let isResilient = flags.contains(.resilient)
    let name = isResilient ? "bpf_res_spin" : "bpf_spin"
    guard r.pointee.bits.isConstant else {
      throw refuse(
        .EINVAL, .lock,
        "R\(number) doesn't have constant offset. \(name)_lock has to be at the constant offset\n")
    }
    let map = r.pointee.type == .mapValue ? r.pointee.map : -1
    if map >= 0 && !mapHasBTF(map) {
      throw refuse(
        .EINVAL, .lock,
        "map '\(maps[map].definition.name)' has to have BTF in order to use \(name)_lock\n")
    }
    guard let place = btfRecord(of: r)?.offset(ofOnly: isResilient ? .resilientSpinLock : .spinLock) else {
      throw refuse(
        .EINVAL, .lock,
        "\(map >= 0 ? "map" : "local") '\(map >= 0 ? maps[map].definition.name : "kptr")' has no valid "
          + "\(name)_lock\n")
    }
    let offset = constantOffset(r)
    if UInt64(place) != offset {
      throw refuse(
        .EINVAL, .lock,
        "off \(Int64(bitPattern: offset)) doesn't point to 'struct \(name)_lock' that is at \(place)\n")
    }
    let kind: ReferenceKind = !isResilient ? .lock : flags.contains(.irq) ? .resilientLockIRQ : .resilientLock
    let id = r.pointee.id
    let object = lockObject(of: r)
    if flags.contains(.lock) {
      try takeLock(kind, id: id, object: object, isResilient: isResilient)
    } else {
      try giveBackLock(kind, id: id, object: object, name: name)
    }
  }

  private func takeLock(_ kind: ReferenceKind, id: UInt32, object: UInt64, isResilient: Bool) throws(Refusal) {
    if state.pointee.activeLocks != 0 {
      if isResilient {
        if findLock(state, kind: [.resilientLock, .resilientLockIRQ], id: id, object: object) != nil {
          throw refuse(.EINVAL, .lock, "Acquiring the same lock again, AA deadlock detected\n")
        }
      } else if findLock(state, kind: .lock, id: 0, object: 0) != nil {
        throw refuse(.EINVAL, .lock, "Locking two bpf_spin_locks are not allowed\n")
      }
    }
    try acquireLock(instruction: instruction, kind: kind, id: id, object: object)
  }

  private func giveBackLock(_ kind: ReferenceKind, id: UInt32, object: UInt64, name: String) throws(Refusal) {
    if state.pointee.activeLocks == 0 {
      throw refuse(.EINVAL, .lock, "\(name)_unlock without taking a lock\n")
    }
    guard findLock(state, kind: kind, id: id, object: object) != nil else {
      throw refuse(.EINVAL, .lock, "\(name)_unlock of different lock\n")
    }
    if id != state.pointee.activeLockID || object != state.pointee.activeLockObject {
      throw refuse(.EINVAL, .lock, "\(name)_unlock cannot be out of order\n")
    }
    guard releaseLock(state, kind: kind, id: id, object: object) else {
      throw refuse(.EINVAL, .lock, "\(name)_unlock of different lock\n")
    }
    invalidateNonOwningReferences()
  }

  // MARK: fields of map values

  /// Checks that the register points to the map value's field of `kind`.
  private func checkMapFieldPointer(register number: Int, kind: BTFField.Kind) throws(Refusal) {
    let r = register(number)
    let map = r.pointee.map
    guard r.pointee.bits.isConstant else {
      throw refuse(
        .EINVAL, .mapUse,
        "R\(number) doesn't have constant offset. \(kind.name) has to be at the constant offset\n")
    }
    guard mapHasBTF(map) else {
      throw refuse(
        .EINVAL, .mapUse, "map '\(maps[map].definition.name)' has to have BTF in order to use \(kind.name)\n")
    }
    guard let place = maps[map].record?.offset(ofOnly: kind) else {
      throw refuse(.EINVAL, .mapUse, "map '\(maps[map].definition.name)' has no valid \(kind.name)\n")
    }
    let offset = constantOffset(r)
    if UInt64(place) != offset {
      throw refuse(
        .EINVAL, .mapUse,
        "off \(Int64(bitPattern: offset)) doesn't point to 'struct \(kind.name)' that is at \(place)\n")
    }
  }

  /// A timer argument. Its map is noted, to be the one that the timer is initialised with.
  func processTimer(register number: Int, meta: UnsafeMutablePointer<HelperCallMeta>) throws(Refusal) {
    try checkMapFieldPointer(register: number, kind: .timer)
    if meta.pointee.hasMap {
      throw refuse(.EFAULT, .invariant, "verifier bug: Two map pointers in a timer helper\n")
    }
    if linux.config["CONFIG_PREEMPT_RT"] == "y" {
      throw refuse(.EOPNOTSUPP, .mapUse, "bpf_timer cannot be used for PREEMPT_RT.\n")
    }
    let r = register(number)
    meta.pointee.mapUID = r.pointee.mapUID
    meta.pointee.map = r.pointee.map
  }

  /// A work queue argument of a kfunc. `map` is -1 before; the field's map and its uid are noted.
  func processWorkqueue(register number: Int, map: inout Int, mapUID: inout UInt32) throws(Refusal) {
    try checkMapFieldPointer(register: number, kind: .workqueue)
    if map >= 0 {
      throw refuse(.EFAULT, .invariant, "verifier bug: Two map pointers in a bpf_wq helper\n")
    }
    mapUID = register(number).pointee.mapUID
    map = register(number).pointee.map
  }

  /// A task work argument of a kfunc; as `processWorkqueue`.
  func processTaskWork(register number: Int, map: inout Int, mapUID: inout UInt32) throws(Refusal) {
    try checkMapFieldPointer(register: number, kind: .taskWork)
    if map >= 0 {
      throw refuse(.EFAULT, .invariant, "verifier bug: Two map pointers in a bpf_task_work helper\n")
    }
    mapUID = register(number).pointee.mapUID
    map = register(number).pointee.map
  }

  /// The kptr that `bpf_kptr_xchg` exchanges, in a map value or an allocated object.
  func processKptr(register number: Int, meta: UnsafeMutablePointer<HelperCallMeta>) throws(Refusal) {
    let r = register(number)
    let record: BTFRecord?
    if r.pointee.type.isAllocatedObject {
      record = btfRecord(of: r)
    } else {
      let map = r.pointee.map
      guard mapHasBTF(map) else {
        throw refuse(
          .EINVAL, .kptr,
          "map '\(maps[map].definition.name)' has to have BTF in order to use bpf_kptr_xchg\n")
      }
      record = maps[map].record
      meta.pointee.map = map
    }
    guard r.pointee.bits.isConstant else {
      throw refuse(
        .EINVAL, .kptr,
        "R\(number) doesn't have constant offset. kptr has to be at the constant offset\n")
    }
    guard let record, record.has(.kptr) else {
      throw refuse(.EINVAL, .kptr, "R\(number) has no valid kptr\n")
    }
    let offset = UInt32(truncatingIfNeeded: constantOffset(r))
    guard let field = record.find(offset: offset, kinds: .kptr) else {
      throw refuse(.EACCES, .kptr, "off=\(Int32(bitPattern: offset)) doesn't point to kptr\n")
    }
    guard field.kind == .kptrRef || field.kind == .kptrPercpu else {
      throw refuse(.EACCES, .kptr, "off=\(Int32(bitPattern: offset)) kptr isn't referenced kptr\n")
    }
    meta.pointee.kptrField = field
  }
}
