import BPFLinux
import BTF

extension ObjectReader {
  /// Finds what the object expects of the kernel, and turns the declarations into definitions that the kernel's
  /// check of type information admits.
  mutating func collectExterns() throws(ObjectFileError) {
    let names = externSymbols()
    let placeholder = addPlaceholderVariable()
    try commitTypes()
    guard !names.isEmpty else { return }
    guard let btf else {
      throw fail("extern '\(names[0].name)' has no type information", LoaderErrno.noSuchObject, section: ".BTF")
    }
    var sectionOfType: [TypeID: TypeID] = [:]
    for id in btf.startID..<btf.endID where btf.kind(id) == .dataSection {
      for variable in btf.variables(id) where sectionOfType[variable.typeID] == nil {
        sectionOfType[variable.typeID] = id
      }
    }
    var configurationSection: TypeID = 0
    var symbolSection: TypeID = 0
    for (index, symbol, name) in names {
      let id = try externType(name, btf)
      guard let section = sectionOfType[id] else {
        throw fail("failed to find BTF for extern '\(name)' [\(id)] section: -2", LoaderErrno.noEntry)
      }
      let type = btf.type(id)
      let kind: ObjectExtern.Kind
      if btf.nameEquals(section, ".kconfig") {
        configurationSection = section
        kind = .configuration(try configurationValue(name, type, btf))
      } else if btf.nameEquals(section, ".ksyms") {
        symbolSection = section
        kind = .symbol(type: btf.skipModifiers(type.target))
      } else {
        throw fail("unrecognized extern section '\(btf.name(section))'", LoaderErrno.notSupported)
      }
      externs.append(
        ObjectExtern(
          name: name, symbolIndex: index, typeID: id, isFunction: type.kind == .function,
          isWeak: symbol.binding == ELFSymbol.weak, kind: kind))
    }
    externs.sort(by: ObjectReader.precedes)
    placeConfigurationValues()
    let byName = Dictionary(externs.map { ($0.name, $0) }) { first, _ in first }
    if symbolSection != 0 { try defineSymbols(symbolSection, byName, placeholder, btf) }
    if configurationSection != 0 { try defineConfiguration(configurationSection, byName, btf) }
  }

  private func externSymbols() -> [(index: Int, symbol: ELFSymbol, name: String)] {
    var result: [(index: Int, symbol: ELFSymbol, name: String)] = []
    for (index, symbol) in file.symbols.enumerated() where symbol.isExtern {
      guard let name = file.name(of: symbol), !name.isEmpty else { continue }
      result.append((index, symbol, name))
    }
    return result
  }

  private func externType(_ name: String, _ btf: BTF) throws(ObjectFileError) -> TypeID {
    guard let id = btf.findAll(name, where: { $0 == .variable || $0 == .function }).first else {
      throw fail("failed to find BTF for extern '\(name)': -2", LoaderErrno.noEntry)
    }
    let linkage = btf.kind(id) == .variable ? btf.variableLinkage(id) : btf.functionLinkage(id)
    guard linkage == 2 else { throw fail("failed to find BTF for extern '\(name)': -22") }
    return id
  }

  private func configurationValue(
    _ name: String, _ type: BTFType, _ btf: BTF
  ) throws(ObjectFileError) -> ObjectExtern.ConfigurationValue {
    guard type.kind == .variable else {
      throw fail("extern function \(name) is unsupported under .kconfig section", LoaderErrno.notSupported)
    }
    guard let size = btf.resolveSize(type.target), size > 0, size <= 1 << 24 else {
      throw fail("failed to resolve size of extern (kcfg) '\(name)'", section: ".kconfig")
    }
    guard let alignment = ObjectReader.alignment(of: type.target, btf), alignment > 0 else {
      throw fail("failed to determine alignment of extern (kcfg) '\(name)'", section: ".kconfig")
    }
    guard let (shape, isSigned) = ObjectReader.shape(of: type.target, btf) else {
      throw fail("extern (kcfg) '\(name)': type is unsupported", LoaderErrno.notSupported, section: ".kconfig")
    }
    return .init(shape: shape, size: size, alignment: alignment, isSigned: isSigned)
  }

  private static func shape(
    of id: TypeID, _ btf: BTF, depth: Int = 0
  ) -> (ObjectExtern.ConfigurationValue.Shape, isSigned: Bool)? {
    let id = btf.skipModifiers(id)
    let type = btf.type(id)
    switch type.kind {
    case .int:
      let encoding = btf.intEncoding(id)
      if encoding.isBool { return type.size == 1 ? (.boolean, false) : nil }
      if type.size == 1 { return (.character, encoding.isSigned) }
      guard type.size == 2 || type.size == 4 || type.size == 8 else { return nil }
      return (.integer, encoding.isSigned)
    case .enumeration where type.size == 4, .enum64:
      return btf.stringEquals(type.nameOffset, "libbpf_tristate") ? (.tristate, false) : nil
    case .array where depth < 32:
      let array = btf.array(id)
      guard array.count > 0, let (element, _) = shape(of: array.elementTypeID, btf, depth: depth + 1),
        element == .character
      else { return nil }
      return (.string, false)
    default:
      return nil
    }
  }

  /// What a type's address must be a multiple of; nil where it has no layout.
  private static func alignment(of id: TypeID, _ btf: BTF, depth: Int = 0) -> UInt32? {
    guard depth < 32 else { return nil }
    let type = btf.type(id)
    switch type.kind {
    case .int, .enumeration, .enum64, .float: return min(8, type.size)
    case .pointer: return 8
    case .typedef, .volatile, .const, .restrict, .typeTag:
      return alignment(of: type.target, btf, depth: depth + 1)
    case .array: return alignment(of: btf.array(id).elementTypeID, btf, depth: depth + 1)
    case .structure, .union:
      var widest: UInt32 = 1
      for member in btf.members(id) {
        guard let one = alignment(of: member.typeID, btf, depth: depth + 1), one > 0 else { return nil }
        widest = max(widest, one)
        // Packed structures have members that are not aligned.
        if member.bitfieldSize == 0 && member.bitOffset % (8 * one) != 0 { return 1 }
      }
      return type.size % widest == 0 ? widest : 1
    default: return nil
    }
  }

  /// Configuration before symbols; the former by falling alignment, then rising size; ties by name.
  private static func precedes(_ a: ObjectExtern, _ b: ObjectExtern) -> Bool {
    switch (a.kind, b.kind) {
    case (.configuration(let x), .configuration(let y)):
      if x.alignment != y.alignment { return x.alignment > y.alignment }
      if x.size != y.size { return x.size < y.size }
    case (.configuration, .symbol): return true
    case (.symbol, .configuration): return false
    case (.symbol, .symbol): break
    }
    return a.name.utf8.lexicographicallyPrecedes(b.name.utf8)
  }

  private mutating func placeConfigurationValues() {
    var end: UInt32 = 0
    for index in externs.indices {
      guard case .configuration(var value) = externs[index].kind else { continue }
      let alignment = value.alignment
      value.offset = (end &+ alignment &- 1) / alignment &* alignment
      end = value.offset &+ value.size
      externs[index].kind = .configuration(value)
    }
  }

  /// Where functions are declared in `.ksyms`, the section needs a variable to list in their place.
  private mutating func addPlaceholderVariable() -> (id: TypeID, name: UInt32) {
    guard let btf, let section = btf.find(".ksyms", kind: .dataSection),
      btf.variables(section).contains(where: { btf.kind($0.typeID) == .function })
    else { return (0, 0) }
    let int = ObjectReader.wordType(btf)
    return types?.addVariable("dummy_ksym", type: int) ?? (0, 0)
  }

  /// The first 32-bit integer type; 0 where there is none.
  private static func wordType(_ btf: BTF) -> TypeID {
    (btf.startID..<btf.endID).first { btf.kind($0) == .int && btf.intEncoding($0).bits == 32 } ?? 0
  }

  private mutating func defineSymbols(
    _ section: TypeID, _ byName: [String: ObjectExtern], _ placeholder: (id: TypeID, name: UInt32), _ btf: BTF
  ) throws(ObjectFileError) {
    let int = ObjectReader.wordType(btf)
    var variables: [BTFSectionVariable] = []
    for (index, variable) in btf.variables(section).enumerated() {
      let type = btf.type(variable.typeID)
      guard byName[btf.string(type.nameOffset)] != nil else {
        throw fail(
          "failed to find extern definition for BTF \(type.kind.libbpfName) '\(btf.string(type.nameOffset))'",
          LoaderErrno.noSuchObject, section: ".ksyms")
      }
      var listed = variable.typeID
      if type.kind == .function {
        for (place, parameter) in btf.parameters(type.target).enumerated()
        where parameter.typeID != 0 && parameter.nameOffset == 0 {
          types?.setParameterName(placeholder.name, at: place, of: type.target)
        }
        listed = placeholder.id
        types?.setFunctionLinkage(1, of: variable.typeID)
      } else {
        types?.setVariableLinkage(1, of: variable.typeID)
        types?.setSize(int, of: variable.typeID)
      }
      variables.append(
        BTFSectionVariable(typeID: listed, offset: UInt32(truncatingIfNeeded: index &* 4), size: 4))
    }
    types?.setVariables(variables, of: section)
    types?.setSize(UInt32(truncatingIfNeeded: variables.count &* 4), of: section)
  }

  private mutating func defineConfiguration(
    _ section: TypeID, _ byName: [String: ObjectExtern], _ btf: BTF
  ) throws(ObjectFileError) {
    var variables: [BTFSectionVariable] = []
    for variable in btf.variables(section) {
      let name = btf.name(variable.typeID)
      guard let extern = byName[name], case .configuration(let value) = extern.kind else {
        throw fail(
          "failed to find extern definition for BTF var '\(name)'", LoaderErrno.noSuchObject, section: ".kconfig")
      }
      types?.setVariableLinkage(1, of: variable.typeID)
      variables.append(BTFSectionVariable(typeID: variable.typeID, offset: value.offset, size: variable.size))
    }
    types?.setVariables(variables, of: section)
    let size = configurationSize
    types?.setSize(size, of: section)
  }

  /// Bytes of the `.kconfig` map.
  var configurationSize: UInt32 {
    var size: UInt32 = 0
    for extern in externs {
      if case .configuration(let value) = extern.kind { size = value.offset &+ value.size }
    }
    return size
  }
}
