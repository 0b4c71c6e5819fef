import BPFISA
import BPFLinux
import BTF

/// One call of a kfunc: which, and what checking the arguments found out for the checks and effects of the call itself.
struct KfuncCall: BitwiseCopyable {
  /// Index into `Verification.kfuncs`.
  let kfunc: Int
  let btf: BTFIndex
  let id: TypeID
  let prototype: TypeID
  let special: SpecialKfunc
  let flags: KfuncFlags
  /// The reference that an argument holds; 0 for none.
  var referenceID: UInt32 = 0
  /// The register whose reference the call releases; 0 for none.
  var releaseRegister = 0
  /// Memory that is returned: its size (0 where it is not known) and whether it may only be read.
  var bufferSize: UInt64 = 0
  var bufferIsReadOnly = false
  /// The one argument that must be a constant.
  var constant: UInt64?
  /// A reference-counted object was passed by who owns it.
  var ownsArgument = false
  var passesProgram = false
  /// The callback.
  var subprogram = 0
  /// The type of the allocated object that was passed.
  var objectBTF: BTFIndex = 0
  var objectBTFID: TypeID = 0
  /// `bpf_cast_to_kern_ctx`: the kernel's own type of the context.
  var contextBTFID: TypeID = 0
  /// The list or tree that was passed.
  var listHead: BTFField?
  var rbRoot: BTFField?
  /// The initialised dynptr that was passed.
  var dynptrType = DynptrType.invalid
  var dynptrID: UInt32 = 0
  var dynptrReferenceID: UInt32 = 0
  var iterator = IteratorUse()
  /// The map that was passed, or that the passed field lies in, as an index into `Verification.maps`; -1 for none.
  var map = -1
  /// Tells look-ups of different inner maps apart.
  var mapUID: UInt32 = 0

  init(kfunc: Int, _ descriptor: KfuncDescriptor, flags: KfuncFlags) {
    self.kfunc = kfunc
    btf = descriptor.btf
    id = descriptor.id
    prototype = descriptor.prototype
    special = descriptor.special
    self.flags = flags
  }

  /// A map was passed that is not one of `Verification.maps`: a pointer to a `struct bpf_map`.
  static let unknownMap = Int.max

  @inline(__always) var releases: Bool { flags.contains(.release) }
  /// Pointers must be trusted, and may not be null.
  @inline(__always) var takesTrusted: Bool { flags.contains(.trustedArguments) || releases }
  @inline(__always) var isRCU: Bool { flags.contains(.rcu) }
  @inline(__always) var isIteratorNext: Bool { flags.contains(.iteratorNext) }
  @inline(__always) var isRCUProtected: Bool { flags.contains(.rcuProtected) }
  /// Whether the returned pointer may be null.
  @inline(__always) var returnsNull: Bool {
    if special == .refcountAcquire && ownsArgument { return false }
    return flags.contains(.returnsNull)
  }

  @inline(__always) var iteratorRole: IteratorRole {
    if flags.contains(.iteratorNew) { return .new }
    if flags.contains(.iteratorNext) { return .next }
    return flags.contains(.iteratorDestroy) ? .destroy : .other
  }
}

extension RegisterType {
  static let allocatedObject = RegisterType.btfID | .allocated
}

extension Verification {
  func kfuncName(_ call: KfuncCall) -> String { kfuncs[call.kfunc].name }

  /// A type as messages about kfuncs name it.
  private func typeText(_ btf: BTFIndex, _ id: TypeID) -> String {
    guard let types = btfs[Int(btf)] else { return "UNKNOWN " }
    return "\(types.kind(id).kernelName) \(types.name(id))"
  }

  /// The kernel's struct behind pointers that have types of their own; nil for other registers.
  private func kernelStruct(behind type: RegisterType) -> TypeID? {
    switch type.base {
    case .socket: kernelType("sock")
    case .sockCommon: kernelType("sock_common")
    case .tcpSock: kernelType("tcp_sock")
    case .mapPointer: kernelType("bpf_map")
    default: nil
    }
  }

  private func hasKernelStruct(_ type: RegisterType) -> Bool {
    switch type.base {
    case .socket, .sockCommon, .tcpSock, .mapPointer: true
    default: false
    }
  }

  /// Checks the registers that are passed against the prototype.
  func checkKfuncArguments(_ call: inout KfuncCall, _ signature: KfuncSignature) throws(Refusal) {
    let count = signature.parameterCount
    if count > maximumRegisterArguments {
      throw refuse(
        .EINVAL, .invalidArgument,
        "Function \(kfuncName(call)) has \(count) > \(maximumRegisterArguments) args\n")
    }
    var index = 0
    while index < count {
      let parameter = signature.parameters[index]
      if parameter.traits.contains(.ignored) {
        index += 1
        continue
      }
      if parameter.traits.contains(.program) {
        if call.passesProgram {
          throw refuse(
            .EFAULT, .invariant, "verifier bug: Only 1 prog->aux argument supported per-kfunc\n")
        }
        call.passesProgram = true
        fact.pointee.argumentProgram = UInt8(truncatingIfNeeded: index + 1)
        index += 1
        continue
      }
      switch parameter.form {
      case .scalar:
        try checkKfuncScalar(&call, parameter, register: index + 1)
        index += 1
      case .pointer:
        let next = index + 1 < count ? signature.parameters[index + 1] : nil
        let kind = try checkKfuncPointer(&call, parameter, next: next, at: index)
        index += kind == .memoryWithSize ? 2 : 1
      case .other:
        let kind = btfs[Int(call.btf)]?.kind(parameter.type) ?? .void
        throw refuse(.EINVAL, .invalidArgument, "Unrecognized arg#\(index) type \(kind.kernelName)\n")
      }
    }
    if call.releases && call.releaseRegister == 0 {
      throw refuse(
        .EINVAL, .invalidRelease,
        "release kernel function \(kfuncName(call)) expects refcounted PTR_TO_BTF_ID\n")
    }
  }

  // MARK: numbers

  private func checkKfuncScalar(
    _ call: inout KfuncCall, _ parameter: KfuncParameter, register number: Int
  ) throws(Refusal) {
    let r = register(number)
    guard r.pointee.type == .scalar else {
      throw refuse(
        .EINVAL, r.pointee.type == .notInitialized ? .uninitializedRegister : .typeMismatch,
        "R\(number) is not a scalar\n")
    }
    if parameter.traits.contains(.constant) {
      try noteConstant(&call, r, register: number)
      try markChainPrecise(number)
    } else if !parameter.traits.isDisjoint(with: [.readOnlyBufferSize, .writableBufferSize]) {
      if parameter.traits.contains(.readOnlyBufferSize) { call.bufferIsReadOnly = true }
      if call.bufferSize != 0 {
        throw refuse(
          .EINVAL, .invalidArgument, "2 or more rdonly/rdwr_buf_size parameters for kfunc")
      }
      guard r.pointee.bits.isConstant else {
        throw refuse(.EINVAL, .unboundedSize, "R\(number) is not a const\n")
      }
      call.bufferSize = r.pointee.bits.value
      try markChainPrecise(number)
    }
  }

  private func noteConstant(_ call: inout KfuncCall, _ r: RegisterRef, register number: Int) throws(Refusal) {
    if call.constant != nil {
      throw refuse(.EFAULT, .invariant, "verifier bug: only one constant argument permitted\n")
    }
    guard r.pointee.bits.isConstant else {
      throw refuse(.EINVAL, .invalidArgument, "R\(number) must be a known constant\n")
    }
    call.constant = r.pointee.bits.value
  }

  // MARK: pointers

  /// What is passed for the parameter: the prototype decides it, or else the register.
  private func argumentKind(
    _ call: KfuncCall, _ parameter: KfuncParameter, next: KfuncParameter?, at index: Int
  ) throws(Refusal) -> KfuncArgumentKind {
    let r = register(index + 1)
    if parameter.kind == .context { return .context }
    if parameter.traits.contains(.nullable) && r.pointee.isNull { return .null }
    if parameter.kind != .undecided { return parameter.kind }
    if r.pointee.type.base == .btfID || hasKernelStruct(r.pointee.type) {
      guard parameter.targetKind.isComposite else {
        throw refuse(
          .EINVAL, .typeMismatch,
          "kernel function \(kfuncName(call)) args#\(index) pointer type "
            + "\(typeText(call.btf, parameter.target)) is not supported\n")
      }
      return .btfObject
    }
    if parameter.traits.contains(.callback) { return .callback }
    // Everything else is memory that holds no pointers.
    var hasSize = false
    if let next, next.form == .scalar, !next.traits.isDisjoint(with: [.size, .constantSize]) {
      hasSize = register(index + 2).pointee.type == .scalar
    }
    let isScalar = parameter.targetKind == .int || parameter.targetKind == .enumeration
    if !isScalar && parameter.composition != .yes {
      if parameter.composition == .tooDeep { print("max struct nesting depth exceeded\n") }
      guard hasSize && parameter.target == 0 else {
        throw refuse(
          .EINVAL, .typeMismatch,
          "arg#\(index) pointer type \(typeText(call.btf, parameter.target)) must point to "
            + "\(hasSize ? "void, " : "")scalar, or struct with scalar\n")
      }
    }
    return hasSize ? .memoryWithSize : .memory
  }

  private func checkKfuncPointer(
    _ call: inout KfuncCall, _ parameter: KfuncParameter, next: KfuncParameter?, at index: Int
  ) throws(Refusal) -> KfuncArgumentKind {
    let number = index + 1
    let r = register(number)
    if call.takesTrusted || call.isRCU, r.pointee.isNull || r.pointee.type.mayBeNull,
      !parameter.traits.contains(.nullable)
    {
      throw refuse(
        .EACCES, .nullDereference, "Possibly NULL pointer passed to trusted arg\(index)\n")
    }
    if r.pointee.referenceID != 0 {
      if call.releases && call.referenceID != 0 {
        throw refuse(
          .EFAULT, .invariant,
          "verifier bug: more than one arg with ref_obj_id R\(number) \(r.pointee.referenceID) "
            + "\(call.referenceID)\n")
      }
      call.referenceID = r.pointee.referenceID
      if call.releases { call.releaseRegister = number }
    }

    let kind = try argumentKind(call, parameter, next: next, at: index)
    switch kind {
    case .null:
      return kind
    case .map:
      try noteMap(&call, r, register: number)
      try checkTrust(call, r, register: number)
    case .allocatedObject, .btfObject:
      try checkTrust(call, r, register: number)
    default:
      break
    }
    let isReleased = call.releases && r.pointee.referenceID != 0
    try checkArgumentOffset(r, register: number, argumentType: isReleased ? .none | .release : .none)
    try checkKfuncPointer(&call, parameter, next: next, kind, at: index)
    return kind
  }

  private func checkTrust(_ call: KfuncCall, _ r: RegisterRef, register number: Int) throws(Refusal) {
    guard call.takesTrusted || call.isRCU, !isTrusted(r) else { return }
    if !call.isRCU {
      throw refuse(.EINVAL, .typeMismatch, "R\(number) must be referenced or trusted\n")
    }
    if !isRCU(r) { throw refuse(.EINVAL, .rcu, "R\(number) must be a rcu pointer\n") }
  }

  /// The checks that each kind of argument has for itself.
  private func checkKfuncPointer(
    _ call: inout KfuncCall, _ parameter: KfuncParameter, next: KfuncParameter?, _ kind: KfuncArgumentKind,
    at index: Int
  ) throws(Refusal) {
    let number = index + 1
    let r = register(number)
    let type = r.pointee.type
    switch kind {
    case .context:
      guard type == .context else {
        throw refuse(
          .EINVAL, .typeMismatch,
          "arg#\(index) expected pointer to ctx, but got \(registerTypeText(type))\n")
      }
      if call.special == .castToKernelContext {
        do throws(Refusal) {
          call.contextBTFID = try kernelContextType(programType)
        } catch {
          throw Refusal(errno: .EINVAL, category: error.category)
        }
      }
    case .allocatedObject:
      try checkAllocatedObject(&call, r, at: index)
    case .dynptr:
      try checkKfuncDynptr(&call, parameter, r, register: number)
    case .iterator:
      if call.special == .cssTaskIteratorNew && !mayIterateCSSTasks {
        throw refuse(
          .EINVAL, .iterator, "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs\n")
      }
      let use = try processIteratorArgument(
        register: number, instruction: instruction, btf: call.btf, prototype: call.prototype,
        role: call.iteratorRole, rcuProtected: call.isRCUProtected, functionName: kfuncName(call))
      if let use {
        call.iterator = use
        call.referenceID = use.referenceID
      }
    case .listHead, .rbRoot:
      guard type == .mapValue || type == .allocatedObject else {
        throw refuse(
          .EINVAL, .graph, "arg#\(index) expected pointer to map value or allocated object\n")
      }
      if type == .allocatedObject { try checkIsReferenced(r) }
      try checkGraphRoot(&call, r, register: number, kind: kind == .listHead ? .listHead : .rbRoot)
    case .listNode:
      try checkIsAllocated(r, at: index)
      try checkIsReferenced(r)
      try checkGraphNode(&call, r, register: number, root: .listHead, kind: .listNode)
    case .rbNode:
      if call.special == .rbtreeAdd {
        try checkIsAllocated(r, at: index)
        try checkIsReferenced(r)
      } else {
        if !type.isNonOwningReference && r.pointee.referenceID == 0 {
          throw refuse(
            .EINVAL, .graph,
            "\(kfuncName(call)) can only take non-owning or refcounted bpf_rb_node pointer\n")
        }
        if inRBTreeLockRequiredCallback {
          throw refuse(.EINVAL, .graph, "\(kfuncName(call)) not allowed in rbtree cb\n")
        }
      }
      try checkGraphNode(&call, r, register: number, root: .rbRoot, kind: .rbNode)
    case .map:
      guard let map = kernelType("bpf_map") else { throw Refusal(errno: .EINVAL, category: .btf) }
      try checkKernelObject(call, r, wanted: map, at: index)
    case .btfObject:
      try checkKernelObject(call, r, wanted: parameter.target, at: index)
    case .memory:
      guard let size = resolveSize(call.btf, parameter.target) else {
        throw refuse(
          .EINVAL, .typeMismatch,
          "arg#\(index) reference type('\(typeText(call.btf, parameter.target))') size cannot be "
            + "determined: -22\n")
      }
      try checkMemory(r, register: number, size: size)
    case .memoryWithSize:
      try checkSizedMemory(&call, parameter, next: next, at: index)
    case .callback:
      guard type == .function else {
        throw refuse(.EINVAL, .callback, "arg\(index) expected pointer to func\n")
      }
      call.subprogram = r.pointee.subprogram
    case .refcountedObject:
      try checkRefcountedObject(&call, r, at: index)
    case .constantString:
      guard type == .mapValue else {
        throw refuse(.EINVAL, .typeMismatch, "arg#\(index) doesn't point to a const string\n")
      }
      try checkConstantString(r, register: number)
    case .workqueue:
      guard type == .mapValue else { throw noMapValue(index) }
      try processWorkqueue(register: number, map: &call.map, mapUID: &call.mapUID)
    case .taskWork:
      guard type == .mapValue else { throw noMapValue(index) }
      try processTaskWork(register: number, map: &call.map, mapUID: &call.mapUID)
    case .irqFlag:
      guard type == .stack else {
        throw refuse(.EINVAL, .irq, "arg#\(index) doesn't point to an irq flag on stack\n")
      }
      try checkIRQFlag(call, r, register: number)
    case .resilientSpinLock:
      try checkResilientLock(call, r, at: index)
    case .undecided, .null:
      throw refuse(.EFAULT, .invariant, "verifier bug: unknown kfunc arg type \(kind.rawValue)\n")
    }
  }

  private func noMapValue(_ index: Int) -> Refusal {
    refuse(.EINVAL, .typeMismatch, "arg#\(index) doesn't point to a map value\n")
  }

  /// Iterating over the tasks of a css takes a lock: only where nobody can hold it already.
  private var mayIterateCSSTasks: Bool {
    switch programType {
    case .lsm: true
    case .tracing where expectedAttachType == .traceIter: true
    default: inSleepable
    }
  }

  // MARK: kernel objects

  /// A pointer to an object of the kernel: it must be of the type `wanted`, or begin with one.
  private func checkKernelObject(
    _ call: KfuncCall, _ r: RegisterRef, wanted: TypeID, at index: Int
  ) throws(Refusal) {
    let type = r.pointee.type
    let isObject = type.base == .btfID && (!type.hasUnsafeModifiers || isRCU(r))
    guard isObject || hasKernelStruct(type) else {
      let expected = type.base | type.flags.intersection(.trustedModifiers)
      throw refuse(
        .EINVAL, .typeMismatch,
        "arg#\(index) is \(registerTypeText(type)) expected \(registerTypeText(expected)) or socket\n")
    }
    var btf = Self.kernelBTF
    var id: TypeID = 0
    if type.base == .btfID {
      btf = r.pointee.btf
      id = r.pointee.btfID
    } else {
      id = kernelStruct(behind: type) ?? 0
    }
    if btf == call.btf && id == wanted && r.pointee.offset == 0 { return }
    // Who acquires or releases, or tells initialised objects from others, means exactly the type.
    let strict =
      (call.releases && r.pointee.referenceID != 0) || btfTypesAreNoCastAliases(btf, id, call.btf, wanted)
    guard let types = btfs[Int(btf)] else { throw Refusal(errno: .EFAULT, category: .invariant) }
    id = types.skipModifiers(id)
    if btfStructIDsMatch(
      btf: btf, id: id, offset: r.pointee.offset, needBTF: call.btf, needID: wanted, strict: strict)
    {
      return
    }
    // A kfunc that takes what programs see of a context must cast it: the kernel's own type does as well.
    let wantedName = btfs[Int(call.btf)]?.name(wanted) ?? ""
    if Self.isProjection(wantedName, of: types.name(id)) { return }
    throw refuse(
      .EINVAL, .typeMismatch,
      "kernel function \(kfuncName(call)) args#\(index) expected pointer to \(typeText(call.btf, wanted)) "
        + "but R\(index + 1) has a pointer to \(typeText(btf, id))\n")
  }

  /// Whether the register carries anything that Linux takes for a map before it looks closer.
  private func seemsToCarryMap(_ r: RegisterRef) -> Bool {
    switch r.pointee.type.base {
    case .mapPointer, .mapKey, .mapValue, .btfID: true
    case .memory: r.pointee.memorySize != 0 || r.pointee.dynptrID != 0
    case .packet, .packetMeta, .packetEnd, .function: r.pointee.payload0 != 0
    case .dynptr: true
    default: false
    }
  }

  private func noteMap(_ call: inout KfuncCall, _ r: RegisterRef, register number: Int) throws(Refusal) {
    guard seemsToCarryMap(r) else {
      throw refuse(.EINVAL, .mapUse, "pointer in R\(number) isn't map pointer\n")
    }
    let isMap: Bool
    switch r.pointee.type.base {
    case .mapPointer, .mapKey, .mapValue: isMap = true
    default: isMap = false
    }
    let map = isMap ? r.pointee.map : KfuncCall.unknownMap
    let uid = isMap ? r.pointee.mapUID : 0
    // A field's map comes before: it must be this one, and of inner maps the very one that was looked up.
    if call.map >= 0 && (call.map != map || call.mapUID != uid) {
      let before = Int32(bitPattern: call.mapUID)
      let now = Int32(bitPattern: uid)
      if isMap && maps[map].record?.has(.taskWork) ?? false {
        throw refuse(
          .EINVAL, .mapUse,
          "bpf_task_work pointer in R2 map_uid=\(before) doesn't match map pointer in R3 map_uid=\(now)\n")
      }
      throw refuse(
        .EINVAL, .mapUse,
        "workqueue pointer in R1 map_uid=\(before) doesn't match map pointer in R2 map_uid=\(now)\n")
    }
    call.map = map
    call.mapUID = uid
  }

  // MARK: memory

  private func checkSizedMemory(
    _ call: inout KfuncCall, _ parameter: KfuncParameter, next: KfuncParameter?, at index: Int
  ) throws(Refusal) {
    let number = index + 2
    let size = register(number)
    if !register(index + 1).pointee.isNull || !parameter.traits.contains(.optional) {
      do throws(Refusal) {
        try checkKfuncMemorySize(size, register: number)
      } catch {
        throw refuse(
          error.errno, error.category,
          "arg#\(index) arg#\(index + 1) memory, len pair leads to invalid memory access\n")
      }
    }
    if let next, next.traits.contains(.constantSize) { try noteConstant(&call, size, register: number) }
  }

  // MARK: dynptrs

  private func checkKfuncDynptr(
    _ call: inout KfuncCall, _ parameter: KfuncParameter, _ r: RegisterRef, register number: Int
  ) throws(Refusal) {
    var type = ArgumentType.dynptr
    var cloneReferenceID: UInt32 = 0
    if r.pointee.type == .dynptr { type = type | .readOnly }
    let isNew = parameter.traits.contains(.uninitialized)
    if isNew { type = type | .uninitialized }
    switch call.special {
    case .dynptrFromSKB: type = type | .dynptrSKB
    case .dynptrFromXDP: type = type | .dynptrXDP
    case .dynptrFromSKBMeta: type = type | .dynptrSKBMeta
    case .dynptrClone where isNew:
      guard call.dynptrType != .invalid else {
        throw refuse(.EFAULT, .invariant, "verifier bug: no dynptr type for parent of clone\n")
      }
      type = type | call.dynptrType.typeFlag
      cloneReferenceID = call.dynptrReferenceID
      if call.dynptrType.isReferenced && cloneReferenceID == 0 {
        throw refuse(.EFAULT, .invariant, "verifier bug: missing ref obj id for parent of clone\n")
      }
    default: break
    }
    try processDynptr(
      register: number, instruction: instruction, argumentType: type, cloneReferenceID: cloneReferenceID)
    guard !isNew else { return }
    call.dynptrID = try dynptrID(r)
    call.dynptrType = dynptrType(r)
    call.dynptrReferenceID = try dynptrReferenceID(r)
  }

  // MARK: locks

  private func checkIRQFlag(_ call: KfuncCall, _ r: RegisterRef, register number: Int) throws(Refusal) {
    let saves: Bool
    let kfuncClass: UInt32
    switch call.special {
    case .localIRQSave: (saves, kfuncClass) = (true, Self.nativeIRQClass)
    case .localIRQRestore: (saves, kfuncClass) = (false, Self.nativeIRQClass)
    case .resilientLockIRQSave: (saves, kfuncClass) = (true, Self.lockIRQClass)
    case .resilientUnlockIRQRestore: (saves, kfuncClass) = (false, Self.lockIRQClass)
    default: throw refuse(.EFAULT, .invariant, "verifier bug: unknown irq flags kfunc\n")
    }
    if saves {
      guard isIRQFlagValidUninitialized(r) else {
        throw refuse(.EINVAL, .irq, "expected uninitialized irq flag as arg#\(number - 1)\n")
      }
      try checkMemoryAccess(
        at: instruction, register: number, offset: 0, size: Size.dw, type: .write, valueRegister: -1,
        strictAlignmentOnce: false, signExtending: false)
      try markStackSlotIRQFlag(r, instruction: instruction, kfuncClass: kfuncClass)
    } else {
      guard isIRQFlagValidInitialized(r) else {
        throw refuse(.EINVAL, .irq, "expected an initialized irq flag as arg#\(number - 1)\n")
      }
      try markIRQFlagRead(r)
      try unmarkStackSlotIRQFlag(r, kfuncClass: kfuncClass)
    }
  }

  private func checkResilientLock(_ call: KfuncCall, _ r: RegisterRef, at index: Int) throws(Refusal) {
    guard r.pointee.type == .mapValue || r.pointee.type == .allocatedObject else {
      throw refuse(
        .EINVAL, .lock, "arg#\(index) doesn't point to map value or allocated object\n")
    }
    guard call.special.isResilientLockFunction else { throw Refusal(errno: .EFAULT, category: .invariant) }
    var flags: SpinLockFlags = .resilient
    if call.special.takesResilientLock { flags.insert(.lock) }
    if call.special == .resilientLockIRQSave || call.special == .resilientUnlockIRQRestore { flags.insert(.irq) }
    try processSpinLock(register: index + 1, flags: flags)
  }
}
