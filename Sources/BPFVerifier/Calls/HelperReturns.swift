import BPFISA
import BPFLinux
import BTF

/// Largest errno that a pointer or size can stand for.
private let maximumErrno: Int64 = 4095

extension Verification {
  /// r0 after a helper call.
  func setReturnValue(
    _ id: HelperID, _ prototype: UnsafePointer<HelperPrototype>, _ meta: UnsafeMutablePointer<HelperCallMeta>,
    returnsAllocated: Bool
  ) throws(Refusal) {
    let r = register(0)
    let returns = prototype.pointee.returns
    var flags = returns.flags
    switch returns.base {
    case .integer:
      markUnknown(r)
    case .void:
      r.pointee.type = .notInitialized
    case .mapValue:
      r.pointee.markKnownZero()
      guard meta.pointee.hasMap else {
        throw refuse(.EFAULT, .invariant, "verifier bug: unexpected null map_ptr\n")
      }
      let map = meta.pointee.map
      if id == .mapLookupElem, mapElementsAlwaysExist(map), meta.pointee.constantMapKey >= 0,
        meta.pointee.constantMapKey < Int64(maps[map].definition.maxEntries)
      {
        flags.remove(.mayBeNull)
      }
      r.pointee.map = map
      r.pointee.mapUID = meta.pointee.mapUID
      r.pointee.type = .mapValue | flags
      if !flags.contains(.mayBeNull), maps[map].record?.has(.anySpinLock) ?? false { r.pointee.id = newID() }
    case .socket:
      returnPointer(r, .socket | flags)
    case .sockCommon:
      returnPointer(r, .sockCommon | flags)
    case .tcpSock:
      returnPointer(r, .tcpSock | flags)
    case .memory:
      returnPointer(r, .memory | flags)
      r.pointee.memorySize = UInt32(bitPattern: meta.pointee.memorySize)
    case .memoryOrBTFID:
      try returnPerCPUObject(r, flags, meta, isAllocated: returnsAllocated)
    case .btfID:
      try returnObject(r, id, prototype, meta)
    default:
      throw refuse(
        .EINVAL, .typeMismatch,
        "unknown return type \(returns.base.rawValue) of func \(helperName(id))#\(id.rawValue)\n")
    }
    if r.pointee.type.mayBeNull { r.pointee.id = newID() }

    if id.slicesDynptr { r.pointee.dynptrID = meta.pointee.dynptrID }
    if id.slicesDynptr || id.castsPointer {
      r.pointee.referenceID = meta.pointee.referenceID
    } else if id.acquires(from: id == .mapLookupElem ? maps[meta.pointee.map].definition.type : nil) {
      let reference = try acquireReference(instruction: instruction)
      r.pointee.id = reference
      r.pointee.referenceID = reference
    }
    if returns == .integer { try refineReturnValue(r, id, meta) }
  }

  @inline(__always) private func returnPointer(_ r: RegisterRef, _ type: RegisterType) {
    r.pointee.markKnownZero()
    r.pointee.type = type
  }

  /// A per-CPU variable of the kernel, or one CPU's copy of an allocated object: memory, unless it is a struct.
  private func returnPerCPUObject(
    _ r: RegisterRef, _ flags: TypeFlags, _ meta: UnsafeMutablePointer<HelperCallMeta>, isAllocated: Bool
  ) throws(Refusal) {
    r.pointee.markKnownZero()
    guard let types = btfs[Int(meta.pointee.returnBTF)] else {
      throw refuse(.EFAULT, .invariant, "verifier bug: no BTF of the returned object\n")
    }
    let type = types.skipModifiers(meta.pointee.returnBTFID)
    guard types.kind(type).isComposite else {
      guard let size = types.resolvedSize(type)?.size else {
        throw refuse(
          .EINVAL, .btf, "unable to resolve the size of type '\(types.name(type))': -22\n")
      }
      r.pointee.type = .memory | flags
      r.pointee.memorySize = size
      return
    }
    // What is read-only memory otherwise is a struct with rules of its own here.
    r.pointee.type = isAllocated ? .btfID | [.allocated, .rcu] : .btfID | flags.subtracting(.readOnly)
    r.pointee.btf = meta.pointee.returnBTF
    r.pointee.btfID = meta.pointee.returnBTFID
  }

  private func returnObject(
    _ r: RegisterRef, _ id: HelperID, _ prototype: UnsafePointer<HelperPrototype>,
    _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    returnPointer(r, .btfID | prototype.pointee.returns.flags)
    var btf = Self.kernelBTF
    var type: TypeID = 0
    if id == .kptrXchg {
      guard let field = meta.pointee.kptrField else {
        throw refuse(.EFAULT, .invariant, "verifier bug: no kptr to exchange\n")
      }
      btf = field.btf
      type = field.btfID
      if btf == Self.programBTF {
        r.pointee.type |= .allocated
        if field.kind == .kptrPercpu { r.pointee.type |= .percpu }
      }
    } else if let name = prototype.pointee.returnTypeName {
      type = kernelType(name) ?? 0
    }
    guard type != 0 else {
      throw refuse(
        .EINVAL, .btf,
        "invalid return type \(prototype.pointee.returns.base.rawValue) of func "
          + "\(helperName(id))#\(id.rawValue)\n")
    }
    r.pointee.btf = btf
    r.pointee.btfID = type
  }

  /// Helpers that promise more of the number they return than that it is one.
  private func refineReturnValue(
    _ r: RegisterRef, _ id: HelperID, _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    switch id {
    case .getStack, .getTaskStack, .probeReadStr, .probeReadKernelStr, .probeReadUserStr:
      r.pointee.smax = Int64(bitPattern: meta.pointee.maximumSize)
      r.pointee.s32max = Int32(truncatingIfNeeded: meta.pointee.maximumSize)
      r.pointee.smin = -maximumErrno
      r.pointee.s32min = Int32(truncatingIfNeeded: -maximumErrno)
      r.pointee.sync()
    case .getSmpProcessorId:
      let last = UInt32(truncatingIfNeeded: linux.possibleCPUs &- 1)
      r.pointee.umax = UInt64(last)
      r.pointee.u32max = last
      r.pointee.smax = Int64(last)
      r.pointee.s32max = Int32(bitPattern: last)
      r.pointee.umin = 0
      r.pointee.u32min = 0
      r.pointee.smin = 0
      r.pointee.s32min = 0
      r.pointee.sync()
    default:
      // Nothing is known of the number, which cannot contradict itself.
      return
    }
    try checkInvariants(r, "retval")
  }
}
