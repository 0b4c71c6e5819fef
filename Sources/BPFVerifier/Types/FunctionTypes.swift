import BPFLinux
import BTF

// Prototypes of functions: what a trampoline can pass on, and whether one function may stand in for another.

extension Verification {
  /// Bytes of a value that is passed or returned; nil where it cannot be. 0 is void.
  private func passedSize(_ types: BTF, _ id: TypeID) -> (size: UInt32, type: BTFType)? {
    guard id != 0 else { return (0, types.type(0)) }
    let type = types.type(types.skipModifiers(id))
    switch type.kind {
    case .pointer: return (8, type)
    case .int, .enumeration, .enum64, .structure, .union: return (type.size, type)
    default: return nil
    }
  }

  private func passedKind(_ types: BTF, _ id: TypeID) -> String {
    id == 0 ? BTFKind.void.kernelName : types.kind(types.skipModifiers(id)).kernelName
  }

  /// Checks that a trampoline can call functions of this prototype; 0 stands for five words.
  func distillPrototype(_ types: BTF, _ prototype: TypeID, name: String) throws(Refusal) {
    guard prototype != 0 else { return }
    let parameters = types.parameters(prototype)
    guard parameters.count <= maximumFunctionArguments else {
      throw refuse(.EINVAL, .attach, "The function \(name) has \(parameters.count) arguments. Too many.\n")
    }
    let returned = types.type(prototype).target
    guard let result = passedSize(types, returned), !result.type.kind.isComposite else {
      throw refuse(
        .EINVAL, .attach,
        "The function \(name) return type \(passedKind(types, returned)) is unsupported.\n")
    }
    for (number, parameter) in parameters.enumerated() {
      if number == parameters.count - 1, parameter.typeID == 0 {
        throw refuse(.EINVAL, .attach, "The function \(name) with variable args is unsupported.\n")
      }
      guard let passed = passedSize(types, parameter.typeID), passed.size <= 16 else {
        throw refuse(
          .EINVAL, .attach,
          "The function \(name) arg\(number) type \(passedKind(types, parameter.typeID)) is unsupported.\n")
      }
      guard passed.size != 0 else {
        throw refuse(.EINVAL, .attach, "The function \(name) has malformed void argument.\n")
      }
    }
  }

  /// Checks that the program, an extension, takes and returns what the global function `function` does.
  func checkReplacement(of function: TypeID, in target: BTF) throws(Refusal) {
    guard let own = btfs[Int(Self.programBTF)], let first = program.functionInfo.first else {
      throw refuse(.EINVAL, .attach, "Program extension requires BTF\n")
    }
    guard own.kind(first.typeID) == .function else { throw Refusal(errno: .EFAULT, category: .invariant) }
    let a = own.name(first.typeID)
    let b = target.name(function)
    guard own.functionLinkage(first.typeID) == 1 else {
      throw refuse(.EINVAL, .attach, "\(a)() is not a global function\n")
    }
    guard target.functionLinkage(function) == 1 else {
      throw refuse(.EINVAL, .attach, "\(b)() is not a global function\n")
    }
    let aPrototype = own.type(own.type(first.typeID).target)
    let bPrototype = target.type(target.type(function).target)
    let aParameters = own.parameters(aPrototype.id)
    let bParameters = target.parameters(bPrototype.id)
    guard aParameters.count == bParameters.count else {
      throw refuse(
        .EINVAL, .attach,
        "\(a)() has \(aParameters.count) args while \(b)() has \(bParameters.count) args\n")
    }
    let aResult = own.skipModifiers(aPrototype.target)
    let bResult = target.skipModifiers(bPrototype.target)
    guard own.infoWord(aResult) == target.infoWord(bResult) else {
      throw refuse(
        .EINVAL, .attach,
        "Return type \(own.kind(aResult).kernelName) of \(a)() doesn't match type "
          + "\(target.kind(bResult).kernelName) of \(b)()\n")
    }
    for number in 0..<aParameters.count {
      try checkReplacedArgument(
        number, own, aParameters[number].typeID, a, target, bParameters[number].typeID, b)
    }
  }

  private func checkReplacedArgument(
    _ number: Int, _ own: BTF, _ aID: TypeID, _ a: String, _ target: BTF, _ bID: TypeID, _ b: String
  ) throws(Refusal) {
    let aType = own.type(own.skipModifiers(aID))
    let bType = target.type(target.skipModifiers(bID))
    guard own.infoWord(aType.id) == target.infoWord(bType.id) else {
      throw refuse(
        .EINVAL, .attach,
        "arg\(number) in \(a)() is \(aType.kind.kernelName) while \(b)() has \(bType.kind.kernelName)\n")
    }
    switch aType.kind {
    case .int, .structure, .union, .enumeration, .enum64, .dataSection, .float:
      if aType.size != bType.size {
        throw refuse(
          .EINVAL, .attach,
          "arg\(number) in \(a)() has size \(aType.size) while \(b)() has \(bType.size)\n")
      }
    default:
      break
    }
    if aType.kind == .int || aType.kind.isEnumeration { return }
    guard aType.kind == .pointer else {
      throw refuse(.EINVAL, .attach, "arg\(number) in \(a)() has unrecognized type\n")
    }
    let aTarget = own.type(own.skipModifiers(aType.target))
    let bTarget = target.type(target.skipModifiers(bType.target))
    guard aTarget.kind.isComposite else {
      throw refuse(.EINVAL, .attach, "arg\(number) in \(a)() is not a pointer to context\n")
    }
    guard bTarget.kind.isComposite else {
      throw refuse(.EINVAL, .attach, "arg\(number) in \(b)() is not a pointer to context\n")
    }
    let aName = own.string(aTarget.nameOffset)
    let bName = target.string(bTarget.nameOffset)
    guard aName == bName else {
      throw refuse(
        .EINVAL, .attach,
        "arg\(number) \(a)(struct \(aName) *) doesn't match \(b)(struct \(bName) *)\n")
    }
  }
}
