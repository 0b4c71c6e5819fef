import BPFLinux
import BTF

/// What a kfunc takes for an argument, as far as its prototype tells.
enum KfuncArgumentKind: UInt8, BitwiseCopyable {
  /// The register that is passed decides.
  case undecided
  case context
  case allocatedObject
  case refcountedObject
  case dynptr
  case iterator
  case listHead
  case listNode
  case btfObject
  case memory
  /// The next argument says how much.
  case memoryWithSize
  case callback
  case rbRoot
  case rbNode
  case null
  case constantString
  case map
  case workqueue
  case irqFlag
  case resilientSpinLock
  case taskWork
}

/// What the name and the type of a kfunc's parameter say.
struct KfuncParameter: BitwiseCopyable {
  /// What the name says, mostly by how it ends.
  struct Traits: OptionSet, BitwiseCopyable {
    let rawValue: UInt16
    static let ignored = Traits(rawValue: 1 << 0)
    /// The verifier passes the program itself.
    static let program = Traits(rawValue: 1 << 1)
    static let constant = Traits(rawValue: 1 << 2)
    static let nullable = Traits(rawValue: 1 << 3)
    static let uninitialized = Traits(rawValue: 1 << 4)
    /// The size of the memory that the argument before points to, and that as a constant.
    static let size = Traits(rawValue: 1 << 5)
    static let constantSize = Traits(rawValue: 1 << 6)
    /// Memory that need not be there.
    static let optional = Traits(rawValue: 1 << 7)
    /// The size of the memory that is returned.
    static let readOnlyBufferSize = Traits(rawValue: 1 << 8)
    static let writableBufferSize = Traits(rawValue: 1 << 9)
    static let callback = Traits(rawValue: 1 << 10)
  }

  enum Form: UInt8, BitwiseCopyable {
    case scalar
    case pointer
    case other
  }

  var form = Form.other
  var traits: Traits = []
  var kind = KfuncArgumentKind.undecided
  /// Pointers: whether what they point to is made of numbers only.
  var composition = ScalarStruct.no
  /// Pointers: the type beneath modifiers that they point to.
  var target: TypeID = 0
  var targetKind = BTFKind.void
  /// The parameter's own type beneath modifiers, and its size.
  var type: TypeID = 0
  var size: UInt32 = 0
}

/// Whether a struct is made of numbers, arrays of numbers and such structs, four deep at most.
enum ScalarStruct: UInt8, BitwiseCopyable {
  case no
  case yes
  case tooDeep
}

/// The prototype of a kfunc, read once.
struct KfuncSignature: BitwiseCopyable {
  enum Result: UInt8, BitwiseCopyable {
    case void
    case scalar
    case pointer
    case other
  }

  /// A node of a collection: the collection says what the node is a part of.
  enum Node: UInt8, BitwiseCopyable {
    case none
    case list
    case rbtree
  }

  var isPrepared = false
  var parameterCount = 0
  var parameters = InlineArray<5, KfuncParameter>(repeating: KfuncParameter())
  var result = Result.other
  /// Numbers: their size.
  var resultSize: UInt32 = 0
  /// Pointers: the type beneath modifiers that is pointed to, and its size (0 where it has none).
  var resultTarget: TypeID = 0
  var resultTargetKind = BTFKind.void
  var resultTargetSize: UInt32 = 0
  var resultNode = Node.none
}

extension BTF {
  /// Whether a value of the type is passed as a number.
  @inline(__always) func isScalar(_ id: TypeID) -> Bool {
    let kind = kind(id)
    return kind == .int || kind == .enumeration
  }

  func scalarStruct(_ id: TypeID, depth: Int = 0) -> ScalarStruct {
    guard kind(id).isComposite else { return .no }
    for member in members(id) {
      let type = skipModifiers(member.typeID)
      switch kind(type) {
      case .structure, .union:
        if depth >= 3 { return .tooDeep }
        let inner = scalarStruct(type, depth: depth + 1)
        if inner != .yes { return inner }
      case .array:
        let array = array(type)
        guard array.count != 0, isScalar(skipModifiers(array.elementTypeID)) else { return .no }
      default:
        guard isScalar(type) else { return .no }
      }
    }
    return .yes
  }
}

/// Reads a kfunc's prototype.
private struct KfuncSignatureReader {
  let verification: Verification
  let types: BTF
  let special: SpecialKfunc
  let isIteratorFunction: Bool

  func read(_ prototype: TypeID) -> KfuncSignature {
    var signature = KfuncSignature()
    signature.isPrepared = true
    let parameters = types.parameters(prototype)
    signature.parameterCount = parameters.count
    for index in 0..<min(parameters.count, maximumRegisterArguments) {
      signature.parameters[index] = parameter(parameters[index], at: index)
    }
    readResult(types.skipModifiers(types.type(prototype).target), into: &signature)
    return signature
  }

  private func readResult(_ id: TypeID, into signature: inout KfuncSignature) {
    let type = types.type(id)
    if id == 0 {
      signature.result = .void
    } else if types.isScalar(id) {
      signature.result = .scalar
      signature.resultSize = type.size
    } else if type.kind == .pointer {
      let target = types.skipModifiers(type.target)
      signature.result = .pointer
      signature.resultTarget = target
      signature.resultTargetKind = types.kind(target)
      signature.resultTargetSize = types.resolvedSize(target)?.size ?? 0
      if isKernelStruct(target, "bpf_list_node") { signature.resultNode = .list }
      if isKernelStruct(target, "bpf_rb_node") { signature.resultNode = .rbtree }
    }
  }

  private func parameter(_ parameter: BTFParameter, at index: Int) -> KfuncParameter {
    var result = KfuncParameter()
    let type = types.type(types.skipModifiers(parameter.typeID))
    result.type = type.id
    result.size = type.size
    result.traits = traits(parameter)
    if types.isScalar(type.id) {
      result.form = .scalar
    } else if type.kind == .pointer {
      result.form = .pointer
      result.target = types.skipModifiers(type.target)
      result.targetKind = types.kind(result.target)
      result.composition = types.scalarStruct(result.target)
      if result.targetKind == .functionPrototype { result.traits.insert(.callback) }
      result.kind = kind(parameter, at: index, pointer: type.id, target: result.target)
    }
    return result
  }

  private func traits(_ parameter: BTFParameter) -> KfuncParameter.Traits {
    var traits: KfuncParameter.Traits = []
    func note(_ trait: KfuncParameter.Traits, ifNameEnds suffix: String) {
      if types.parameterHasSuffix(parameter, suffix) { traits.insert(trait) }
    }
    note(.ignored, ifNameEnds: "__ign")
    note(.program, ifNameEnds: "__prog")
    note(.constant, ifNameEnds: "__k")
    note(.nullable, ifNameEnds: "__nullable")
    note(.uninitialized, ifNameEnds: "__uninit")
    note(.size, ifNameEnds: "__sz")
    note(.constantSize, ifNameEnds: "__szk")
    note(.optional, ifNameEnds: "__opt")
    if types.stringEquals(parameter.nameOffset, "rdonly_buf_size" as StaticString) {
      traits.insert(.readOnlyBufferSize)
    }
    if types.stringEquals(parameter.nameOffset, "rdwr_buf_size" as StaticString) {
      traits.insert(.writableBufferSize)
    }
    return traits
  }

  /// The kind where the prototype alone decides it. The order of the questions is Linux's.
  private func kind(
    _ parameter: BTFParameter, at index: Int, pointer: TypeID, target: TypeID
  ) -> KfuncArgumentKind {
    func named(_ suffix: String) -> Bool { types.parameterHasSuffix(parameter, suffix) }
    if special == .castToKernelContext
      || verification.isProgramContextType(
        types, pointer: pointer, type: verification.programType, argument: index)
    {
      return .context
    }
    if named("__alloc") { return .allocatedObject }
    if named("__refcounted_kptr") { return .refcountedObject }
    if isKernelStruct(target, "bpf_dynptr") { return .dynptr }
    if isIteratorFunction ? index == 0 : named("__iter") { return .iterator }
    if isKernelStruct(target, "bpf_list_head") { return .listHead }
    if isKernelStruct(target, "bpf_list_node") { return .listNode }
    if isKernelStruct(target, "bpf_rb_root") { return .rbRoot }
    if isKernelStruct(target, "bpf_rb_node") { return .rbNode }
    if named("__str") { return .constantString }
    if named("__map") { return .map }
    if isKernelStruct(target, "bpf_wq") { return .workqueue }
    if isKernelStruct(target, "bpf_task_work") { return .taskWork }
    if named("__irq_flag") { return .irqFlag }
    if isKernelStruct(target, "bpf_res_spin_lock") { return .resilientSpinLock }
    return .undecided
  }

  /// Whether the type is the kernel's own struct of that name, which modules share.
  private func isKernelStruct(_ id: TypeID, _ name: StaticString) -> Bool {
    guard let kernel = verification.linux.btf, id < kernel.endID else { return false }
    return types.kind(id) == .structure && types.nameEquals(id, name)
  }
}

extension Verification {
  /// The signature of `kfuncs[index]`. It is read at the first call, when it is settled what the program is checked as.
  func kfuncSignature(_ index: Int) -> KfuncSignature {
    if kfuncs[index].signature.isPrepared { return kfuncs[index].signature }
    guard let types = btfs[Int(kfuncs[index].btf)] else { return KfuncSignature() }
    let iteratorFlags: KfuncFlags = [.iteratorNew, .iteratorNext, .iteratorDestroy]
    let reader = KfuncSignatureReader(
      verification: self, types: types, special: kfuncs[index].special,
      isIteratorFunction: !(kfuncs[index].flags ?? []).isDisjoint(with: iteratorFlags))
    let signature = reader.read(kfuncs[index].prototype)
    kfuncs[index].signature = signature
    return signature
  }
}
