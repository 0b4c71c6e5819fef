import BPFISA
import BPFLinux
import BTF

// What a program attaches to: whether it may, and what that says of its context.

/// What is known of the target.
private struct AttachTargetInfo {
  var name: String
  /// 0 where the target's arguments are not known.
  var prototype: TypeID
  /// What the program's BTF id says the target is called.
  var typeName: String
}

/// A target program, verified for what must be known of it.
private struct TargetProgram {
  let program: Program
  let verification: Verification
  /// The function attached to.
  let subprogram: Int
}

extension Verification {
  /// Checks the attach target and takes over what it says of the context.
  func checkAttachTarget() throws(Refusal) {
    if let message = ProgramRules.sleepableRefusal(program.type, program.expectedAttachType, isSleepable: sleepable) {
      throw refuse(.EINVAL, .sleep, "\(message)")
    }
    switch program.type {
    case .structOps:
      try checkStructOpsTarget()
    case .tracing, .lsm, .ext:
      try checkFunctionTarget()
    default:
      return
    }
  }

  /// The range that a value must be in that the attached function's return value was read into or replaced by; nil
  /// where there is none.
  func functionReturnRange() -> ReturnRange? {
    guard program.type == .lsm, program.expectedAttachType == .lsmMac, attach.prototype != 0,
      let types = btfs[Int(attach.btf)], types.type(attach.prototype).target != 0
    else { return nil }
    if KernelLists.booleanLSMHooks.contains(attach.attachFunctionName) {
      return ReturnRange(minimum: 0, maximum: 1)
    }
    return ReturnRange(minimum: -ReturnRules.maxErrno, maximum: 0)
  }

  private func refuseAttach(_ message: String) -> Refusal { refuse(.EINVAL, .attach, message) }

  // MARK: struct_ops

  private func checkStructOpsTarget() throws(Refusal) {
    guard gplCompatible else {
      throw refuse(
        .EINVAL, .licenseRequired, "struct ops programs must have a GPL compatible license\n")
    }
    let id = program.attachBTFID
    guard id != 0 else { throw Refusal(errno: .ENOTSUPP, category: .attach) }
    let place: BTFIndex
    switch program.attachTarget {
    case .kernel: place = Self.kernelBTF
    case .module(_, let module): place = index(of: module)
    case .program: throw Refusal(errno: .ENOTSUPP, category: .attach)
    }
    guard let types = btfs[Int(place)] else { throw Refusal(errno: .EINVAL, category: .attach) }
    let name = types.name(id)
    guard types.kind(id) == .structure, types.find(name, kind: .structure) == id,
      types.find("bpf_struct_ops_" + name, kind: .structure) != nil
    else {
      throw refuse(.ENOTSUPP, .attach, "attach_btf_id \(id) is not a supported struct\n")
    }
    guard let operations = StructOperations.named(name) else {
      throw unsupported("struct_ops programs for \(name)")
    }
    let members = types.members(id)
    let number = Int(program.expectedAttachType.rawValue)
    guard number < members.count else {
      throw refuseAttach("attach to invalid member idx \(number) of struct \(name)\n")
    }
    let member = types.string(members[number].nameOffset)
    guard let prototype = types.functionPrototype(pointedToBy: members[number].typeID) else {
      throw refuseAttach("attach to invalid member \(member)(@idx \(number)) of struct \(name)\n")
    }
    guard let stub = operations.stubs[member] else {
      throw refuse(
        .ENOTSUPP, .attach, "attach to unsupported member \(member) of struct \(name)\n")
    }
    if sleepable, let allowed = operations.sleepable, !allowed.contains(member) {
      throw refuseAttach("attach to unsupported member \(member) of struct \(name)\n")
    }
    let arguments = types.stubArguments(prototype: prototype, stub: stub, btf: place)
    if arguments.contains(where: \.refcounted), subprograms.contains(where: { $0.hasTailCall }) {
      throw refuse(.EINVAL, .tailCall, "program with __ref argument cannot tail call\n")
    }
    attach.functionName = member
    attach.attachFunctionName = name
    attach.structOpsName = name
    attach.prototype = prototype
    attach.btf = place
    attach.id = id
    attach.contextArguments = arguments
  }

  // MARK: Functions

  private func checkFunctionTarget() throws(Refusal) {
    let id = program.attachBTFID
    guard id != 0 else { throw refuseAttach("Tracing programs must provide btf_id\n") }
    var target: TargetProgram?
    let types: BTF
    switch program.attachTarget {
    case .kernel:
      guard let kernel = linux.btf else { throw missingTypes() }
      types = kernel
    case .module(_, let module):
      types = module
    case .program(let program):
      guard let own = program.btf else { throw missingTypes() }
      types = own
    }
    guard types.isValid(id) else { throw refuseAttach("attach_btf_id \(id) is invalid\n") }
    let header = types.type(id)
    guard types.isValidString(header.nameOffset) else {
      throw refuseAttach("attach_btf_id \(id) doesn't have a name\n")
    }
    let name = types.string(header.nameOffset)
    if case .program(let program) = program.attachTarget {
      target = try checkTargetProgram(program, types, id, name)
    } else if program.type == .ext {
      throw refuseAttach("Cannot replace kernel functions\n")
    }
    let info = try targetInfo(types, header, name, target)
    if program.type == .ext, let target {
      programType = target.program.type
      expectedAttachType = target.program.expectedAttachType
      attach.saved = target.program.type
    }
    attach.functionName = info.name
    attach.attachFunctionName = info.typeName
    attach.prototype = info.prototype
    attach.btf = index(of: types)
    attach.id = id
    if expectedAttachType == .traceRawTp {
      attach.isTrace = true
      return
    }
    if expectedAttachType == .traceIter {
      try takeIteratorArguments(info.name)
      return
    }
    try checkLists(info.name, id)
  }

  private func missingTypes() -> Refusal {
    refuseAttach("FENTRY/FEXIT program can only be attached to another program annotated with BTF\n")
  }

  /// Lists of functions that programs of some kind must, or must not, attach to.
  private func checkLists(_ name: String, _ id: TypeID) throws(Refusal) {
    let isKernel = attach.btf == Self.kernelBTF
    if program.type == .lsm {
      guard gplCompatible else {
        throw refuse(.EINVAL, .licenseRequired, "LSM programs must have a GPL compatible license\n")
      }
      if isKernel, KernelLists.disabledLSMHooks.contains(name) {
        throw refuseAttach("attach_btf_id \(id) points to disabled hook \(name)\n")
      }
      guard isKernel, KernelLists.lsmHooks.contains(name) else {
        throw refuseAttach("attach_btf_id \(id) points to wrong type name \(name)\n")
      }
    } else if program.type == .tracing, isKernel, KernelLists.isTracingDenied(name, on: linux) {
      throw refuseAttach("Attaching tracing programs to function '\(name)' is rejected.\n")
    } else if expectedAttachType == .traceFexit || expectedAttachType == .modifyReturn, isKernel,
      KernelLists.noReturnFunctions.contains(name)
    {
      throw refuseAttach("Attaching fexit/fmod_ret to __noreturn function '\(name)' is rejected.\n")
    }
  }

  private func takeIteratorArguments(_ function: String) throws(Refusal) {
    guard function.hasPrefix(IteratorTarget.functionPrefix),
      let target = IteratorTarget.named(function.dropFirst(IteratorTarget.functionPrefix.utf8.count))
    else { throw Refusal(errno: .EINVAL, category: .attach) }
    attach.contextArguments = target.arguments.map { argument in
      let id = argument.structName.flatMap { linux.btf?.find($0, kind: .structure) } ?? 0
      return ContextArgument(offset: argument.offset, type: argument.type, btf: Self.kernelBTF, btfID: id)
    }
  }

  /// Finds the target's name and prototype, and checks that the attach type suits it.
  private func targetInfo(
    _ types: BTF, _ header: BTFType, _ name: String, _ target: TargetProgram?
  ) throws(Refusal) -> AttachTargetInfo {
    let id = header.id
    switch program.expectedAttachType {
    case .traceRawTp:
      return try tracepointInfo(types, header, name, target)
    case .traceIter:
      let prototype = try functionPrototype(types, header)
      try distillPrototype(types, prototype, name: name)
      return AttachTargetInfo(name: name, prototype: prototype, typeName: name)
    case .modifyReturn, .lsmMac, .lsmCgroup, .traceFentry, .traceFexit:
      break
    default:
      guard program.type == .ext else { throw Refusal(errno: .EINVAL, category: .attach) }
    }
    guard header.kind == .function else {
      throw refuseAttach("attach_btf_id \(id) is not a function\n")
    }
    if program.type == .ext {
      do throws(Refusal) {
        try checkReplacement(of: id, in: types)
      } catch {
        throw Refusal(errno: .EINVAL, category: error.category)
      }
    }
    var prototype = try functionPrototype(types, header)
    if let target, target.verification.subprograms[target.subprogram].unreliable { prototype = 0 }
    try distillPrototype(types, prototype, name: name)
    if target == nil, !kernelHasSymbol(name, isVariable: false) {
      throw refuse(.ENOENT, .attach, "The address of function \(name) cannot be found\n")
    }
    try checkSleepOrModify(name, target)
    return AttachTargetInfo(name: name, prototype: prototype, typeName: name)
  }

  private func functionPrototype(_ types: BTF, _ header: BTFType) throws(Refusal) -> TypeID {
    guard header.kind == .function else {
      throw refuseAttach("attach_btf_id \(header.id) is not a function\n")
    }
    guard types.kind(header.target) == .functionPrototype else {
      throw Refusal(errno: .EINVAL, category: .attach)
    }
    return header.target
  }

  /// Sleepable programs need a function that may sleep; programs that change what a function returns, one that lets
  /// them.
  private func checkSleepOrModify(_ name: String, _ target: TargetProgram?) throws(Refusal) {
    var module: String?
    if case .module(let name, _) = program.attachTarget { module = name }
    if sleepable {
      let maySleep: Bool
      switch program.type {
      case .tracing: maySleep = target == nil && KernelLists.isSleepable(name, module: module, on: linux)
      case .lsm: maySleep = KernelLists.sleepableLSMHooks.contains(name)
      default: maySleep = false
      }
      guard maySleep else { throw refuse(.EINVAL, .sleep, "\(name) is not sleepable\n") }
    } else if program.expectedAttachType == .modifyReturn {
      guard target == nil else { throw refuseAttach("can't modify return codes of BPF programs\n") }
      guard KernelLists.isModifiable(name, module: module, on: linux) else {
        throw refuseAttach("\(name)() is not modifiable\n")
      }
    }
  }

  private func tracepointInfo(
    _ types: BTF, _ header: BTFType, _ name: String, _ target: TargetProgram?
  ) throws(Refusal) -> AttachTargetInfo {
    guard target == nil else {
      throw refuseAttach("Only FENTRY/FEXIT progs are attachable to another BPF prog\n")
    }
    guard header.kind == .typedef else {
      throw refuseAttach("attach_btf_id \(header.id) is not a typedef\n")
    }
    let prefix = "btf_trace_"
    guard name.hasPrefix(prefix) else {
      throw refuseAttach("attach_btf_id \(header.id) points to wrong type name \(name)\n")
    }
    let event = String(name.dropFirst(prefix.utf8.count))
    // The function that calls programs has the arguments' names, where the event is a class of its own. For others
    // the typedef has the same types.
    var prototype: TypeID
    if let function = types.find("__bpf_trace_" + event, kind: .function) {
      prototype = types.type(function).target
    } else {
      let pointer = types.type(header.target)
      guard pointer.kind == .pointer else { throw Refusal(errno: .EINVAL, category: .attach) }
      prototype = pointer.target
    }
    guard types.kind(prototype) == .functionPrototype else {
      throw Refusal(errno: .EINVAL, category: .attach)
    }
    return AttachTargetInfo(name: event, prototype: prototype, typeName: name)
  }

  // MARK: Other programs

  private func checkTargetProgram(
    _ target: Program, _ types: BTF, _ id: TypeID, _ name: String
  ) throws(Refusal) -> TargetProgram {
    guard let subprogram = target.functionInfo.firstIndex(where: { $0.typeID == id }) else {
      throw refuseAttach("Subprog \(name) doesn't exist\n")
    }
    let verification = Verification(target, on: linux, options: VerifierOptions(logLevel: 0))
    do throws(Refusal) {
      try verification.run()
    } catch {
      // What was refused cannot have been loaded.
      throw refuse(error.errno, error.category, verification.lastMessage)
    }
    guard verification.subprograms.indices.contains(subprogram) else {
      throw refuseAttach("Subprog \(name) doesn't exist\n")
    }
    let facts = verification.subprograms[subprogram]
    let isExtension = program.type == .ext
    if facts.isExceptionCallback {
      throw refuseAttach(
        "\(isExtension ? "Extension" : "FENTRY/FEXIT") programs cannot attach to exception callback\n")
    }
    if isExtension {
      if facts.unreliable { throw refuseAttach("Cannot replace static functions\n") }
      let own = subprograms[0]
      if own.changesPacketData, !facts.changesPacketData {
        throw refuseAttach("Extension program changes packet data, while original does not\n")
      }
      if own.mightSleep, !facts.mightSleep {
        throw refuseAttach("Extension program may sleep, while original does not\n")
      }
    }
    if program.type == .tracing {
      if target.type == .tracing, case .program(let next) = target.attachTarget, next.type == .tracing {
        throw refuseAttach("Cannot nest tracing program attach more than once\n")
      }
    } else if target.type == program.type {
      throw refuseAttach("Cannot recursively attach\n")
    }
    if isExtension, target.type == .tracing,
      target.expectedAttachType == .traceFentry || target.expectedAttachType == .traceFexit
    {
      throw refuseAttach("Cannot extend fentry/fexit\n")
    }
    return TargetProgram(program: target, verification: verification, subprogram: subprogram)
  }
}
