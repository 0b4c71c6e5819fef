import BPFLinux
import BTF

// What functions of the program expect of their arguments, from their BTF and its tags.

/// Tags that a declaration can give an argument (`arg:NAME`).
private struct ArgumentTags: OptionSet {
  let rawValue: UInt8
  static let context = ArgumentTags(rawValue: 1 << 0)
  static let nonNull = ArgumentTags(rawValue: 1 << 1)
  static let trusted = ArgumentTags(rawValue: 1 << 2)
  static let untrusted = ArgumentTags(rawValue: 1 << 3)
  static let nullable = ArgumentTags(rawValue: 1 << 4)
  static let arena = ArgumentTags(rawValue: 1 << 5)

  init(rawValue: UInt8) { self.rawValue = rawValue }

  init?(name: Substring) {
    switch name {
    case "ctx": self = .context
    case "trusted": self = .trusted
    case "untrusted": self = .untrusted
    case "nonnull": self = .nonNull
    case "nullable": self = .nullable
    case "arena": self = .arena
    default: return nil
    }
  }
}

/// A function whose arguments are looked at.
private struct PreparedFunction {
  let types: BTF
  let function: TypeID
  let name: String
  let isGlobal: Bool
  /// The type of program it is called in.
  let programType: ProgramType
}

extension Verification {
  /// Fills in `subprograms[number].arguments`, once. EINVAL without a message says that the BTF of a static function
  /// does not tell.
  func prepareFunctionArguments(subprogram number: Int) throws(Refusal) {
    guard !subprograms[number].argumentsPrepared else { return }
    guard !program.functionInfo.isEmpty, let types = btfs[Int(Self.programBTF)] else {
      throw refuse(.EFAULT, .invariant, "verifier bug: func_info undefined\n")
    }
    let isGlobal = subprograms[number].linkage == 1
    let silent = Refusal(errno: .EINVAL, category: .btf)
    let id = number < program.functionInfo.count ? program.functionInfo[number].typeID : 0
    guard id != 0 else {
      guard isGlobal else { throw silent }
      throw refuse(.EFAULT, .btf, "Global functions need valid BTF\n")
    }
    guard types.kind(id) == .function else {
      throw refuse(.EFAULT, .btf, "BTF of func#\(number) doesn't point to KIND_FUNC\n")
    }
    let name = types.name(id)
    guard !subprograms[number].unreliable else {
      throw refuse(.EFAULT, .invariant, "verifier bug: unreliable BTF for function \(name)()\n")
    }
    let prototype = types.type(types.type(id).target)
    guard prototype.kind == .functionPrototype else {
      throw refuse(.EFAULT, .btf, "Invalid type of function \(name)()\n")
    }
    let parameters = types.parameters(prototype.id)
    guard parameters.count <= maximumRegisterArguments else {
      guard isGlobal else { throw silent }
      throw refuse(
        .EINVAL, .btf,
        "Global function \(name)() with \(parameters.count) > \(maximumRegisterArguments) args. Buggy compiler.\n")
    }
    let returned = types.kind(types.skipModifiers(prototype.target))
    guard returned == .int || returned.isEnumeration else {
      guard isGlobal else { throw silent }
      throw refuse(
        .EINVAL, .btf,
        "Global function \(name)() doesn't return scalar. Only those are supported.\n")
    }
    let function = PreparedFunction(
      types: types, function: id, name: name, isGlobal: isGlobal, programType: contextProgramType)
    let tags = types.declTags(of: id)
    var arguments: [SubprogramArgument] = []
    for (index, parameter) in parameters.enumerated() {
      arguments.append(try argument(index, parameter.typeID, function, tags))
    }
    subprograms[number].arguments = arguments
    subprograms[number].argumentsPrepared = true
  }

  /// The type of program whose context functions take: an extension's is its target's.
  private var contextProgramType: ProgramType {
    guard program.type == .ext, case .program(let target) = program.attachTarget else { return program.type }
    return target.type
  }

  private func argumentTags(
    _ index: Int, isGlobal: Bool, _ tags: [(component: Int32, tag: String)]
  ) throws(Refusal) -> ArgumentTags {
    var result: ArgumentTags = []
    for tag in tags where tag.component == index && tag.tag.hasPrefix("arg:") {
      guard isGlobal else {
        throw refuse(.EOPNOTSUPP, .btf, "arg#\(index) type tag is not supported in static functions\n")
      }
      guard let known = ArgumentTags(name: tag.tag.dropFirst(4)) else {
        throw refuse(.EOPNOTSUPP, .btf, "arg#\(index) has unsupported set of tags\n")
      }
      result.formUnion(known)
    }
    return result
  }

  private func argument(
    _ index: Int, _ typeID: TypeID, _ function: PreparedFunction, _ declared: [(component: Int32, tag: String)]
  ) throws(Refusal) -> SubprogramArgument {
    let types = function.types
    let tags = try argumentTags(index, isGlobal: function.isGlobal, declared)
    let type = types.type(types.skipModifiers(typeID))
    if type.kind == .pointer, let pointer = try pointerArgument(index, type, function, tags) { return pointer }
    guard tags.isEmpty else {
      throw refuse(.EINVAL, .btf, "arg#\(index) has pointer tag, but is not a pointer type\n")
    }
    if type.kind == .int || type.kind.isEnumeration { return SubprogramArgument(type: .anything) }
    guard function.isGlobal else { throw Refusal(errno: .EINVAL, category: .btf) }
    throw refuse(
      .EINVAL, .btf,
      "Arg#\(index) type \(type.kind.kernelName) in \(function.name)() is not supported yet.\n")
  }

  private func invalidTags(_ index: Int) -> Refusal {
    refuse(.EINVAL, .btf, "arg#\(index) has invalid combination of tags\n")
  }

  /// nil where nothing is known of the pointer: an untagged one of a static function.
  private func pointerArgument(
    _ index: Int, _ pointer: BTFType, _ function: PreparedFunction, _ tags: ArgumentTags
  ) throws(Refusal) -> SubprogramArgument? {
    let types = function.types
    if tags.contains(.context)
      || isProgramContextType(types, pointer: pointer.id, type: function.programType, argument: index)
    {
      guard tags.isSubset(of: .context) else { throw invalidTags(index) }
      if tags.contains(.context) {
        try validateTaggedContext(
          types, pointer: pointer.id, argument: index, type: function.programType, attachType: expectedAttachType)
      }
      return SubprogramArgument(type: .context)
    }
    if pointsToDynptr(types, pointer) {
      guard tags.isEmpty else { throw invalidTags(index) }
      return SubprogramArgument(type: .dynptr | .readOnly)
    }
    if tags.contains(.trusted) {
      guard !tags.contains(.nonNull) else { throw invalidTags(index) }
      let id = try kernelType(pointedToBy: pointer, types, argument: index)
      let type = ArgumentType.btfID | .trusted
      return SubprogramArgument(type: tags.contains(.nullable) ? type | .mayBeNull : type, btfID: id)
    }
    if tags.contains(.untrusted) {
      guard tags == .untrusted else {
        throw refuse(.EINVAL, .btf, "arg#\(index) untrusted cannot be combined with any other tags\n")
      }
      return try untrustedArgument(index, pointer, types)
    }
    if tags.contains(.arena) {
      guard tags == .arena else {
        throw refuse(.EINVAL, .btf, "arg#\(index) arena cannot be combined with any other tags\n")
      }
      return SubprogramArgument(type: .arena)
    }
    guard function.isGlobal else { return nil }
    guard !tags.contains(.nullable) else { throw invalidTags(index) }
    let target = types.skipModifiers(pointer.target)
    guard let size = types.resolvedSize(target)?.size else {
      throw refuse(
        .EINVAL, .btf,
        "arg#\(index) reference type('\(types.kind(target).kernelName) \(types.name(target))') size cannot be "
          + "determined: -22\n")
    }
    return SubprogramArgument(type: tags.contains(.nonNull) ? .memory : .memoryOrNull, memorySize: size)
  }

  private func pointsToDynptr(_ types: BTF, _ pointer: BTFType) -> Bool {
    let target = types.type(types.skipModifiers(pointer.target))
    guard target.kind.isComposite || (target.kind == .forward && !target.kindFlag) else { return false }
    return types.stringEquals(target.nameOffset, "bpf_dynptr")
  }

  private func untrustedArgument(
    _ index: Int, _ pointer: BTFType, _ types: BTF
  ) throws(Refusal) -> SubprogramArgument {
    let target = types.skipModifiers(pointer.target)
    if isPrimitive(types, target) {
      return SubprogramArgument(type: .memory | [.readOnly, .untrusted])
    }
    let id = try kernelType(pointedToBy: pointer, types, argument: index)
    if let kernel = linux.btf, !kernel.kind(id).isComposite {
      // Linux looks the program's string up in the kernel's BTF here.
      throw refuse(
        .EINVAL, .btf,
        "arg#\(index) has type \(kernel.kind(id).kernelName) '\(kernel.shownName(pointer.nameOffset))', but only "
          + "struct or primitive types are allowed\n")
    }
    return SubprogramArgument(type: .btfID | .untrusted, btfID: id)
  }

  private func isPrimitive(_ types: BTF, _ id: TypeID) -> Bool {
    switch types.kind(id) {
    case .void, .enumeration, .enum64:
      return true
    case .int:
      let encoding = types.intEncoding(id)
      return encoding.bitOffset == 0 && [8, 16, 32, 64, 128].contains(encoding.bits)
    default:
      return false
    }
  }

  /// The one type of the kernel that a pointer's target goes by.
  private func kernelType(pointedToBy pointer: BTFType, _ types: BTF, argument index: Int) throws(Refusal) -> TypeID {
    let target = types.type(types.skipModifiers(pointer.target))
    let name = types.string(target.nameOffset)
    let label = "arg#\(index) reference type('\(target.kind.kernelName) \(types.shownName(target.nameOffset))')"
    guard !name.isEmpty, let kernel = linux.btf else {
      throw refuse(.EINVAL, .btf, "\(label) candidate matching error: -22\n")
    }
    let essential = essentialName(name)
    // A flavour of a type counts as the type; the kernel's own one marks objects that are being set up.
    var candidates = kernel.findAll(essential) { $0 == target.kind }
    candidates += kernel.findAll(essential + "___init") { $0 == target.kind }
    if candidates.isEmpty {
      for module in program.moduleBTFs.values where module.find(essential, kind: target.kind) != nil {
        throw refuse(.EOPNOTSUPP, .btf, "\(label) points to kernel module type (unsupported)\n")
      }
      throw refuse(.ENOENT, .btf, "\(label) has no matches\n")
    }
    guard candidates.count == 1 else { throw refuse(.ESRCH, .btf, "\(label) is ambiguous\n") }
    return candidates[0]
  }

  /// A name without its flavour: what follows the last `___` between other characters.
  private func essentialName(_ name: String) -> String {
    let bytes = Array(name.utf8)
    let underscore = UInt8(ascii: "_")
    var place = bytes.count - 5
    while place >= 0 {
      if bytes[place] != underscore, bytes[place + 1] == underscore, bytes[place + 2] == underscore,
        bytes[place + 3] == underscore, bytes[place + 4] != underscore
      {
        return String(decoding: bytes[...place], as: UTF8.self)
      }
      place -= 1
    }
    return name
  }
}
