extension BTF {
  /// Checks the own types' references and names, as libbpf does when it reads them.
  func validate() throws(BTFError) {
    for id in startID..<endID {
      try validate(type(id))
    }
  }

  private func validate(_ type: BTFType) throws(BTFError) {
    try checkString(type.nameOffset, of: type.id)
    switch type.kind {
    case .void, .int, .forward, .float:
      break
    case .pointer, .typedef, .volatile, .const, .restrict, .variable, .declTag, .typeTag:
      try checkReference(type.target, from: type.id)
    case .array:
      let array = array(type.id)
      try checkReference(array.elementTypeID, from: type.id)
      try checkReference(array.indexTypeID, from: type.id)
    case .structure, .union:
      for member in members(type.id) {
        try checkString(member.nameOffset, of: type.id)
        try checkReference(member.typeID, from: type.id)
      }
    case .enumeration, .enum64:
      for enumerator in enumerators(type.id) {
        try checkString(enumerator.nameOffset, of: type.id)
      }
    case .function:
      try checkReference(type.target, from: type.id)
      guard kind(type.target) == .functionPrototype else {
        throw failure(type.id, .functionWithoutPrototype(type.id))
      }
    case .functionPrototype:
      for parameter in parameters(type.id) {
        try checkString(parameter.nameOffset, of: type.id)
        try checkReference(parameter.typeID, from: type.id)
      }
    case .dataSection:
      for variable in variables(type.id) {
        try checkReference(variable.typeID, from: type.id)
      }
    }
  }

  private func failure(_ id: TypeID, _ rule: BTFError.Rule) -> BTFError {
    BTFError(origin: origin, offset: locate(id)?.offset ?? 0, rule: rule)
  }

  private func checkString(_ offset: UInt32, of id: TypeID) throws(BTFError) {
    guard isValidString(offset) else { throw failure(id, .badString(offset, type: id)) }
  }

  private func checkReference(_ target: TypeID, from id: TypeID) throws(BTFError) {
    guard isValid(target) else { throw failure(id, .badReference(target, from: id)) }
  }
}
