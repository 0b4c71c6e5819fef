import BPFLinux
import BTF

/// What an access to a context of arguments yields, where the attached function's types decide.
struct BTFContextAccess: BitwiseCopyable {
  /// `.scalar`, `.btfID` or `.buffer` with flags.
  var type = RegisterType.scalar
  var btf: BTFIndex = 0
  var btfID: TypeID = 0
  /// The reference that the argument holds; 0 for none.
  var referenceID: UInt32 = 0
  /// The value is what the attached function returned, and is checked as such when it is written.
  var isReturnValue = false
}

/// Most arguments in registers.
let maximumRegisterArguments = 5
/// Most arguments of an attached function.
let maximumFunctionArguments = 12

extension BTF {
  /// Whether a parameter's name is longer than `suffix` and ends with it.
  func parameterHasSuffix(_ parameter: BTFParameter, _ suffix: String) -> Bool {
    let name = string(parameter.nameOffset)
    return name.utf8.count > suffix.utf8.count && name.hasSuffix(suffix)
  }

  /// Bytes that an argument takes in a context: whole words.
  fileprivate func argumentSpan(_ id: TypeID) -> UInt32 {
    let type = type(skipModifiers(id))
    return type.kind == .pointer ? 8 : (type.size &+ 7) & ~7
  }

  /// Where argument `number` lies in the context; nil where a type before it has no size.
  func contextOffset(prototype: TypeID, argument number: Int) -> UInt32? {
    var offset: UInt32 = 0
    for parameter in parameters(prototype).prefix(number) {
      guard let size = resolvedSize(parameter.typeID)?.size else { return nil }
      offset &+= (size &+ 7) & ~7
    }
    return offset
  }
}

extension Verification {
  /// Which argument lies at `offset`: their number is the return value's, one more is none's.
  private func contextArgument(_ types: BTF?, at offset: UInt32) -> Int {
    guard let types, attach.prototype != 0 else { return Int(offset / 8) }
    let parameters = types.parameters(attach.prototype)
    var end: UInt32 = 0
    for (number, parameter) in parameters.enumerated() {
      end &+= types.argumentSpan(parameter.typeID)
      if offset < end { return number }
    }
    end &+= types.argumentSpan(types.type(attach.prototype).target)
    return offset < end ? parameters.count : parameters.count + 1
  }

  /// What an access to the arguments of the attached function yields; nil where it is refused, which is logged.
  func btfContextAccess(
    offset: Int32, size: Int32, type: AccessType
  ) throws(Refusal) -> BTFContextAccess? {
    let function = attach.functionName
    guard offset % 8 == 0 else {
      print("func '\(function)' offset \(offset) is not multiple of 8\n")
      return nil
    }
    let types = btfs[Int(attach.btf)]
    let number = contextArgument(types, at: UInt32(bitPattern: offset))
    let isKnown = attach.prototype != 0
    let parameters = isKnown ? types?.parameters(attach.prototype) : nil
    var count = parameters?.count ?? maximumRegisterArguments
    // The first parameter of a trace point's function is not in the context.
    let skipped = attach.isTrace ? 1 : 0
    count -= skipped
    guard number <= count else { return missingArgument(number) }

    var result = BTFContextAccess()
    var typeID: TypeID
    var parameter: BTFParameter?
    if number == count {
      switch expectedAttachType {
      case .lsmMac, .lsmCgroup, .traceFexit:
        result.isReturnValue = expectedAttachType == .lsmMac
        guard let types, isKnown else { return result }
        typeID = types.type(attach.prototype).target
      case .modifyReturn:
        guard let types, isKnown else { return nil }
        typeID = types.skipModifiers(types.type(attach.prototype).target)
        let header = types.type(typeID)
        guard header.kind == .int, header.size <= 8 else {
          print("ret type \(header.kind.kernelName) not allowed for fmod_ret\n")
          return nil
        }
      default:
        return missingArgument(number)
      }
    } else {
      guard let parameters else { return result }
      parameter = parameters[number + skipped]
      typeID = parameters[number + skipped].typeID
    }
    guard let types else { return nil }

    typeID = types.skipModifiers(typeID)
    let header = types.type(typeID)
    if (header.kind == .int && header.size <= 8) || header.kind.isEnumeration || header.kind.isComposite {
      return result
    }
    guard header.kind == .pointer else {
      print(
        "func '\(function)' arg\(number) '\(types.shownName(header.nameOffset))' has type "
          + "\(header.kind.kernelName). Only pointer access is allowed\n")
      return nil
    }
    guard size == 8 else {
      print("func '\(function)' size \(size) must be 8\n")
      return nil
    }
    for argument in attach.contextArguments
    where argument.offset == UInt32(bitPattern: offset) && argument.type.base == .buffer && argument.type.mayBeNull {
      result.type = argument.type
      return result
    }
    let target = types.kind(types.skipModifiers(header.target))
    if target == .void || target == .int { return result }
    for argument in attach.contextArguments where argument.offset == UInt32(bitPattern: offset) {
      guard argument.btfID != 0 else {
        print("invalid btf_id for context argument offset \(offset)\n")
        return nil
      }
      result.type = argument.type
      result.btf = argument.btf
      result.btfID = argument.btfID
      result.referenceID = argument.referenceID
      return result
    }
    return pointerArgument(types, header, number, parameter, result)
  }

  private func missingArgument(_ number: Int) -> BTFContextAccess? {
    print("func '\(attach.functionName)' doesn't have \(number + 1)-th argument\n")
    return nil
  }

  /// A pointer to something that only its type tells about.
  private func pointerArgument(
    _ types: BTF, _ pointer: BTFType, _ number: Int, _ parameter: BTFParameter?, _ access: BTFContextAccess
  ) -> BTFContextAccess? {
    var result = access
    let function = attach.functionName
    result.type = .btfID
    if argumentsAreTrusted { result.type |= .trusted }
    if let parameter, types.parameterHasSuffix(parameter, "__nullable") { result.type |= .mayBeNull }
    var mayBeError = false
    if expectedAttachType == .traceRawTp {
      let tracepoint = String(attach.attachFunctionName.dropFirst("btf_trace_".count))
      if let mask = KernelLists.rawTracepointArguments(tracepoint) {
        let bits = number < 16 ? mask >> UInt64(number * 4) : 0
        if bits & 1 != 0 { result.type |= .mayBeNull }
        mayBeError = bits & 2 != 0
      } else if isModuleBTF(attach.btf) {
        // Nothing is known of a module's trace point.
        result.type |= .mayBeNull
      }
    }
    if case .program(let target) = program.attachTarget {
      // Programs take nothing but their context; what they call it is translated to what it is.
      let targetType = Self.effectiveType(of: target)
      guard isProgramContextType(types, pointer: pointer.id, type: targetType, argument: number),
        let context = kernelContextTypeID(targetType), context != 0
      else { return nil }
      result.btf = Self.kernelBTF
      result.btfID = context
      return result
    }
    result.btf = attach.btf
    let tag = types.type(pointer.target)
    if tag.kind == .typeTag, !tag.kindFlag {
      if types.stringEquals(tag.nameOffset, "user") { result.type |= .user }
      if types.stringEquals(tag.nameOffset, "percpu") { result.type |= .percpu }
    }
    result.btfID = types.skipModifiers(pointer.target)
    let target = types.type(result.btfID)
    guard target.kind.isComposite else {
      print("func '\(function)' arg\(number) type \(target.kind.kernelName) is not a struct\n")
      return nil
    }
    print(
      "func '\(function)' arg\(number) has btf_id \(result.btfID) type \(target.kind.kernelName) "
        + "'\(types.shownName(target.nameOffset))'\n")
    if mayBeError {
      print("marking pointer arg\(number) as scalar as it may encode error")
      result.type = .scalar
    }
    return result
  }

  /// Whether the attached function guarantees that its arguments are valid.
  private var argumentsAreTrusted: Bool {
    switch program.type {
    case .tracing: expectedAttachType == .traceRawTp || expectedAttachType == .traceIter
    case .lsm: !KernelLists.untrustedLSMHooks.contains(attach.attachFunctionName)
    case .structOps: true
    default: false
    }
  }

  /// The type that a target program is of: an extension is of its own target's.
  static func effectiveType(of program: Program) -> ProgramType {
    guard program.type == .ext, case .program(let target) = program.attachTarget else { return program.type }
    return target.type
  }
}
