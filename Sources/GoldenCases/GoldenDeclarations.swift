import BTF

/// BTF of declarations written as headers of golden cases have them, for programs that are made otherwise.
package struct GoldenDeclarations {
  package let btf: BTF
  /// By name.
  package let structs: [String: TypeID]
  package let functions: [String: TypeID]
  /// The type of a map's key of four bytes.
  package let key: TypeID

  /// - Parameters:
  ///   - structs: `NAME { TYPE FIELD; … }` each, those that others contain before them.
  ///   - functions: `LABEL static|global TYPE (TYPE NAME, …)` each.
  /// - Returns: nil where one of them is not that.
  package init?(structs: [String], functions: [String]) {
    var types = GoldenTypes()
    for text in structs where !types.addStruct(text) { return nil }
    for text in functions where !types.addFunction(text) { return nil }
    let names = functions.compactMap { $0.split(separator: " ").first.map(String.init) }
    var places: [String: Int] = [:]
    for (index, name) in names.enumerated() { places[name] = index }
    guard let built = types.build(labels: places, sources: [], instructionCount: 0) else { return nil }
    btf = built.btf
    self.structs = built.structs
    key = built.key(size: 4)
    var ids: [String: TypeID] = [:]
    for (name, record) in zip(names, built.functions) { ids[name] = record.typeID }
    self.functions = ids
  }
}
