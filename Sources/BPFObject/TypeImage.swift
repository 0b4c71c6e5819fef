import BTF

/// An object's type information while a loader changes it. Identifiers stay: types are edited in place or appended.
struct TypeImage {
  private(set) var btf: BTF
  private var builder: BTFBuilder?

  init(_ btf: BTF) {
    self.btf = btf
  }

  /// The type information with all edits so far.
  mutating func commit() throws(BTFError) -> BTF {
    if let builder {
      btf = try builder.build(origin: btf.origin)
      self.builder = nil
    }
    return btf
  }

  private mutating func edit(_ change: (inout BTFBuilder) -> Void) {
    var builder = self.builder ?? BTFBuilder(editing: btf)
    self.builder = nil
    change(&builder)
    self.builder = builder
  }

  /// Sets a size, or the type referred to.
  mutating func setSize(_ size: UInt32, of id: TypeID) {
    edit { $0.setSize(id, size) }
  }

  mutating func setFunctionLinkage(_ linkage: Int, of id: TypeID) {
    edit { $0.setFunctionLinkage(id, linkage) }
  }

  mutating func setVariableLinkage(_ linkage: UInt32, of id: TypeID) {
    edit { $0.setVariableLinkage(id, linkage) }
  }

  mutating func setParameterName(_ name: UInt32, at index: Int, of prototype: TypeID) {
    edit { $0.setTrailerWord(prototype, index * 2, name) }
  }

  /// Replaces all entries of a data section by as many others.
  mutating func setVariables(_ variables: [BTFSectionVariable], of id: TypeID) {
    edit { builder in
      for (index, variable) in variables.enumerated() {
        builder.setVariableType(id, index, variable.typeID)
        builder.setVariableOffset(id, index, variable.offset)
        builder.setVariableSize(id, index, variable.size)
      }
    }
  }

  /// Appends a global variable; answers its identifier and the offset of its name.
  mutating func addVariable(_ name: String, type: TypeID) -> (id: TypeID, name: UInt32) {
    var id: TypeID = 0
    var nameOffset: UInt32 = 0
    edit { builder in
      id = builder.addVariable(name, type)
      nameOffset = builder.addString(name)
    }
    return (id, nameOffset)
  }
}
