import BPFLinux
import BTF

extension ObjectReader {
  static let intSize: UInt32 = 4

  // MARK: Maps declared in .maps

  mutating func collectDeclaredMaps() throws(ObjectFileError) {
    guard let section = mapsSection else { return }
    guard let btf, let data = file.data(section) else {
      throw fail("map definitions cannot be read", section: ".maps")
    }
    let list = (btf.startID..<btf.endID).first { btf.kind($0) == .dataSection && btf.nameEquals($0, ".maps") }
    guard let list else { throw fail("DATASEC '.maps' not found", LoaderErrno.noEntry, section: ".maps") }
    mapsTypeID = list
    for (index, variable) in btf.variables(list).enumerated() {
      try addDeclaredMap(variable, index: index, size: data.count, section: section, btf)
    }
    for (index, map) in maps.enumerated() where map.definition.type == .arena {
      if let arenaMap {
        throw fail(
          "map '\(map.name)': only single ARENA map is supported (map '\(maps[arenaMap].name)' is also ARENA)",
          section: ".maps")
      }
      arenaMap = index
      if let arenaSection {
        let pages = (arenaSection.size &+ 4095) / 4096
        guard pages <= UInt64(map.definition.maxEntries) else {
          throw fail(
            "declared ARENA map size is too small to hold global __arena variables of size \(arenaSection.size)",
            LoaderErrno.tooBig, section: arenaSection.name)
        }
      }
    }
    if let arenaSection, arenaMap == nil {
      throw fail(
        "to use global __arena variables the ARENA map should be explicitly declared in SEC(\".maps\")",
        LoaderErrno.noEntry, section: arenaSection.name)
    }
  }

  private mutating func addDeclaredMap(
    _ variable: BTFSectionVariable, index: Int, size: Int, section: ELFSection, _ btf: BTF
  ) throws(ObjectFileError) {
    let name = btf.name(variable.typeID)
    func refuse(_ rule: String, _ errno: Int32 = LoaderErrno.invalid) -> ObjectFileError {
      fail("map '\(name)': \(rule)", errno, section: ".maps", offset: UInt64(variable.offset))
    }
    guard !name.isEmpty else { throw fail("map #\(index): empty name", section: ".maps") }
    guard UInt64(variable.offset) + UInt64(variable.size) <= UInt64(size) else {
      throw refuse("BTF data is corrupted")
    }
    guard btf.kind(variable.typeID) == .variable else {
      throw refuse("unexpected var kind \(btf.kind(variable.typeID).libbpfName)")
    }
    guard btf.variableLinkage(variable.typeID) == 1 else {
      let linkage = btf.variableLinkage(variable.typeID) == 0 ? "static" : "extern"
      throw refuse("unsupported map linkage \(linkage)", LoaderErrno.notSupported)
    }
    let type = btf.skipModifiers(btf.type(variable.typeID).target)
    guard btf.kind(type) == .structure else { throw refuse("unexpected def kind var") }
    guard btf.type(type).size <= variable.size else { throw refuse("invalid def size") }
    var parser = MapDefinitionParser(btf: btf, name: name)
    do {
      try parser.parse(type)
    } catch {
      throw fail(error.message, error.errno, section: ".maps", offset: UInt64(variable.offset))
    }
    var definition = parser.definition
    if parser.isPinned { definition.pinPath = "/sys/fs/bpf/" + name }
    if let inner = parser.inner { definition.inner = [inner] }
    maps.append(
      ObjectMap(
        origin: .declared, name: name, definition: definition, sectionIndex: section.index,
        sectionOffset: UInt64(variable.offset), variableIndex: index))
  }

  // MARK: Global data

  mutating func collectGlobalData() throws(ObjectFileError) {
    for section in file.sections.dropFirst() {
      let origin: ObjectMap.Origin
      switch roles[section.index] {
      case .data: origin = .data
      case .readOnlyData: origin = .readOnlyData
      case .bss: origin = .bss
      default: continue
      }
      guard section.size > 0 else { continue }
      let data = origin == .bss ? [] : file.data(section) ?? []
      try spend(data.count, section.name)
      let bytes = Array(data)
      addInternalMap(
        origin, section: section.name, index: section.index, bytes: bytes,
        size: UInt32(truncatingIfNeeded: section.size))
    }
  }

  mutating func collectKconfigMap() throws(ObjectFileError) {
    let size = configurationSize
    guard size > 0 else { return }
    guard size <= 1 << 24 else { throw fail("the externs are too large", LoaderErrno.tooBig, section: ".kconfig") }
    kconfigMap = maps.count
    addInternalMap(
      .kconfig, section: ".kconfig", index: file.symbolSection, bytes: [UInt8](repeating: 0, count: Int(size)),
      size: size)
  }

  private mutating func addInternalMap(
    _ origin: ObjectMap.Origin, section: String, index: Int, bytes: [UInt8], size: UInt32
  ) {
    let isReadOnly = origin == .readOnlyData || origin == .kconfig
    var definition = MapDefinition(
      name: ObjectReader.internalMapName(object: ObjectFile.objectName(file.name), section: section), type: .array,
      keySize: ObjectReader.intSize, valueSize: size, maxEntries: 1, flags: isReadOnly ? .readOnlyProgram : [])
    if let btf, let id = btf.findAll(section, where: { _ in true }).first {
      definition.valueTypeID = id
      // Only where a skeleton has something to show is the map made to be mapped.
      let isVisible = btf.variables(id).contains {
        btf.kind($0.typeID) == .variable && btf.variableLinkage($0.typeID) != 0
      }
      if isVisible { definition.flags.insert(.mmapable) }
    }
    definition.initialValue = bytes
    definition.frozen = isReadOnly
    maps.append(
      ObjectMap(origin: origin, name: definition.name, definition: definition, sectionIndex: index, sectionOffset: 0))
  }

  /// `OBJECT.data`: as much of the object's name as fits in 15 characters; none of it for `.data.custom`.
  static func internalMapName(object: String, section: String) -> String {
    let suffixLength = min(max(7, section.utf8.count), 15)
    let isCustom = section.dropFirst().contains(".")
    let prefix = isCustom ? [] : Array(object.utf8.prefix(15 - suffixLength))
    let bytes = (prefix + section.utf8.prefix(suffixLength)).map { byte -> UInt8 in
      let isPlain =
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        || byte == 0x5f || byte == 0x2e
      return isPlain ? byte : 0x5f
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  // MARK: struct_ops

  mutating func collectStructOps() throws(ObjectFileError) {
    for section in file.sections.dropFirst() where roles[section.index] == .structOps {
      guard let btf, let data = file.data(section) else { continue }
      guard let list = btf.find(section.name, kind: .dataSection) else {
        throw fail("struct_ops init: DATASEC \(section.name) not found", section: section.name)
      }
      var name = section.name
      for variable in btf.variables(list) {
        let type = try structOpsType(variable, section, btf)
        let size = Int(btf.type(type).size)
        let start = Int(variable.offset)
        let variableName = btf.name(variable.typeID)
        guard start + size <= data.count else {
          throw fail(
            "struct_ops init: var \(variableName) is beyond the end of DATASEC \(section.name)",
            section: section.name, offset: UInt64(variable.offset))
        }
        try spend(size, section.name)
        var definition = MapDefinition(
          name: variableName, type: .structOps, keySize: ObjectReader.intSize,
          valueSize: UInt32(truncatingIfNeeded: size), maxEntries: 1)
        // Only the first variable of a `?` section is left out, as libbpf has it.
        let isQuestioned = name.hasPrefix("?")
        if isQuestioned { name.removeFirst() }
        if name == ".struct_ops.link" { definition.flags = .link }
        var map = ObjectMap(
          origin: .structOps, name: variableName, definition: definition, sectionIndex: section.index,
          sectionOffset: UInt64(variable.offset))
        map.autocreate = !isQuestioned
        let first = data.startIndex + start
        map.structOps = StructOpsMap(typeID: type, data: Array(data[first..<(first + size)]))
        maps.append(map)
      }
    }
  }

  private func structOpsType(
    _ variable: BTFSectionVariable, _ section: ELFSection, _ btf: BTF
  ) throws(ObjectFileError) -> TypeID {
    var id = variable.typeID
    var steps = 0
    while steps < 32, btf.kind(id) == .variable || btf.kind(id).isModifier {
      id = btf.type(id).target
      steps += 1
    }
    guard steps < 32, btf.kind(id) != .void else {
      throw fail("struct_ops init: Cannot resolve var type_id \(variable.typeID)", section: section.name)
    }
    guard !btf.name(id).isEmpty else {
      throw fail("struct_ops init: anonymous type is not supported", LoaderErrno.notSupported, section: section.name)
    }
    guard btf.kind(id) == .structure else {
      throw fail("struct_ops init: \(btf.name(id)) is not a struct", section: section.name)
    }
    return id
  }
}

/// Reads what the type of a variable in `.maps` says about a map.
///
/// Numbers are written as array lengths (`int (*type)[2]`), types as pointers (`struct key *key`).
struct MapDefinitionParser {
  let btf: BTF
  let name: String
  private let isInner: Bool
  private(set) var definition: MapDefinition
  private(set) var inner: MapDefinition?
  private(set) var isPinned = false

  init(btf: BTF, name: String, isInner: Bool = false) {
    self.btf = btf
    self.name = name
    self.isInner = isInner
    definition = MapDefinition(name: name, type: .unspec, keySize: 0, valueSize: 0, maxEntries: 0)
  }

  private func refuse(_ rule: String, _ errno: Int32 = LoaderErrno.invalid) -> LinkError {
    LinkError(errno: errno, message: "map '\(name)': \(rule)")
  }

  mutating func parse(_ type: TypeID) throws(LinkError) {
    let members = btf.members(type)
    for (index, member) in members.enumerated() {
      let field = btf.string(member.nameOffset)
      switch field {
      case "type": definition.type = MapType(rawValue: try number(member, field))
      case "max_entries": definition.maxEntries = try number(member, field)
      case "map_flags": definition.flags = MapFlags(rawValue: try number(member, field))
      case "numa_node": definition.numaNode = try number(member, field)
      case "key_size": try setKeySize(try number(member, field))
      case "value_size": try setValueSize(try number(member, field))
      case "key":
        let (id, size) = try pointee(member, field)
        try setKeySize(size)
        definition.keyTypeID = id
      case "value":
        let (id, size) = try pointee(member, field)
        try setValueSize(size)
        definition.valueTypeID = id
      case "values": try parseValues(member, isLast: index == members.count - 1)
      case "pinning":
        guard !isInner else { throw refuse("inner def can't be pinned") }
        let value = try number(member, field)
        guard value <= 1 else { throw refuse("invalid pinning value \(value)") }
        isPinned = value == 1
      case "map_extra": definition.mapExtra = try longNumber(member, field)
      default: throw refuse("unknown field '\(field)'", LoaderErrno.notSupported)
      }
    }
    guard definition.type != .unspec else { throw refuse("map type isn't specified") }
    if definition.type == .ringbuf || definition.type == .userRingbuf {
      definition.maxEntries = MapDefinitionParser.ringBufferSize(definition.maxEntries)
    }
  }

  private mutating func setKeySize(_ size: UInt32) throws(LinkError) {
    guard definition.keySize == 0 || definition.keySize == size else {
      throw refuse("conflicting key size \(definition.keySize) != \(size)")
    }
    definition.keySize = size
  }

  private mutating func setValueSize(_ size: UInt32) throws(LinkError) {
    guard definition.valueSize == 0 || definition.valueSize == size else {
      throw refuse("conflicting value size \(definition.valueSize) != \(size)")
    }
    definition.valueSize = size
  }

  private func number(_ member: BTFMember, _ field: String) throws(LinkError) -> UInt32 {
    let pointer = btf.type(btf.skipModifiers(member.typeID))
    guard pointer.kind == .pointer else {
      throw refuse("attr '\(field)': expected PTR, got \(pointer.kind.libbpfName)")
    }
    guard btf.kind(pointer.target) == .array else {
      throw refuse("attr '\(field)': expected ARRAY, got \(btf.kind(pointer.target).libbpfName)")
    }
    return btf.array(pointer.target).count
  }

  private func longNumber(_ member: BTFMember, _ field: String) throws(LinkError) -> UInt64 {
    let id = btf.skipModifiers(member.typeID)
    let type = btf.type(id)
    if type.kind == .pointer { return UInt64(try number(member, field)) }
    guard type.kind.isEnumeration else {
      throw refuse("attr '\(field)': expected ENUM or ENUM64, got \(type.kind.libbpfName)")
    }
    guard let only = btf.enumerators(id).first, type.vlen == 1 else { throw refuse("attr '\(field)': invalid __ulong") }
    // 32-bit constants widen as signed ones do in C.
    return type.kind == .enum64
      ? UInt64(bitPattern: only.value)
      : UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: only.value)))
  }

  private func pointee(_ member: BTFMember, _ field: String) throws(LinkError) -> (TypeID, UInt32) {
    let pointer = btf.type(member.typeID)
    guard pointer.kind == .pointer else { throw refuse("\(field) spec is not PTR: \(pointer.kind.libbpfName)") }
    guard let size = btf.resolveSize(pointer.target) else {
      throw refuse("can't determine \(field) size for type [\(pointer.target)]")
    }
    return (pointer.target, size)
  }

  private mutating func parseValues(_ member: BTFMember, isLast: Bool) throws(LinkError) {
    let isMapInMap = definition.type == .arrayOfMaps || definition.type == .hashOfMaps
    let what = isMapInMap ? "map-in-map inner" : "prog-array value"
    guard !isInner else { throw refuse("multi-level inner maps not supported", LoaderErrno.notSupported) }
    guard isLast else { throw refuse("'values' member should be last") }
    guard isMapInMap || definition.type == .progArray else {
      throw refuse("should be map-in-map or prog-array", LoaderErrno.notSupported)
    }
    guard definition.valueSize == 0 || definition.valueSize == 4 else {
      throw refuse("conflicting value size \(definition.valueSize) != 4")
    }
    definition.valueSize = 4
    guard btf.kind(member.typeID) == .array, btf.array(member.typeID).count == 0 else {
      throw refuse("\(what) spec is not a zero-sized array")
    }
    let pointer = btf.type(btf.skipModifiers(btf.array(member.typeID).elementTypeID))
    guard pointer.kind == .pointer else {
      throw refuse("\(what) def is of unexpected kind \(pointer.kind.libbpfName)")
    }
    let target = btf.skipModifiers(pointer.target)
    if !isMapInMap {
      guard btf.kind(target) == .functionPrototype else {
        throw refuse("prog-array value def is of unexpected kind \(btf.kind(target).libbpfName)")
      }
      return
    }
    guard btf.kind(target) == .structure else {
      throw refuse("map-in-map inner def is of unexpected kind \(btf.kind(target).libbpfName)")
    }
    var parser = MapDefinitionParser(btf: btf, name: name + ".inner", isInner: true)
    try parser.parse(target)
    inner = parser.definition
  }

  /// A ring buffer's size is a power of two of pages; libbpf rounds up what is not. 0 stays 0.
  static func ringBufferSize(_ size: UInt32) -> UInt32 {
    let page: UInt32 = 4096
    guard size > 0 else { return 0 }
    let pages = size / page
    if size % page == 0 && pages & (pages - 1) == 0 { return size }
    var multiple: UInt32 = 1
    while multiple <= UInt32.max / page {
      if multiple * page > size { return multiple * page }
      multiple *= 2
    }
    return size
  }
}
