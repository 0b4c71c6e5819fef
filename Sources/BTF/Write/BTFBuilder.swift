/// Type information under construction: types and strings are added one by one, or those of existing type
/// information are changed in place.
///
///     var builder = BTFBuilder()
///     let int = builder.addInt("int", size: 4, isSigned: true)
///     let node = builder.addStruct("node", size: 16, members: [
///       .init("value", int, bitOffset: 0), .init("next", builder.addPointer(to: 3), bitOffset: 64),
///     ])
///     let btf = try builder.build()
///
/// References are not checked until `build`. Edits that name a type or an entry that does not exist change nothing
/// and return false.
public struct BTFBuilder: Sendable {
  /// A member to be added to a struct or union.
  public struct Member: Sendable {
    public let name: String
    public let typeID: TypeID
    public let bitOffset: UInt32
    public let bitfieldSize: UInt32

    public init(_ name: String, _ typeID: TypeID, bitOffset: UInt32, bitfieldSize: UInt32 = 0) {
      self.name = name
      self.typeID = typeID
      self.bitOffset = bitOffset
      self.bitfieldSize = bitfieldSize
    }
  }

  public let base: BTF?
  private let version: UInt8
  private let flags: UInt8
  private var types: [UInt8] = []
  private var offsets: [Int] = []
  private var strings: [UInt8]
  /// Offset of each own string that was added or found; filled when the first string is added.
  private var known: [String: UInt32]?

  private var firstID: TypeID { base?.endID ?? 1 }
  private var firstString: UInt32 { base?.stringEnd ?? 0 }

  public init(base: BTF? = nil) {
    self.base = base
    version = 1
    flags = 0
    strings = base == nil ? [0] : []
  }

  /// Starts from a copy of `btf`'s own types and strings.
  public init(editing btf: BTF) {
    base = btf.base
    version = btf.header.version
    flags = btf.header.flags
    let bytes = btf.bytes
    types = Array(bytes[btf.header.typeStart..<btf.header.typeEnd])
    strings = Array(bytes[btf.stringStart..<btf.stringStart + btf.stringLength])
    offsets.reserveCapacity(Int(btf.endID - btf.startID))
    for id in btf.startID..<btf.endID {
      offsets.append((btf.locate(id)?.offset ?? 0) - btf.header.typeStart)
    }
  }

  /// The identifier that the next added type gets.
  public var nextID: TypeID { firstID &+ UInt32(truncatingIfNeeded: offsets.count) }

  // MARK: Strings

  /// Adds a string, or finds it if it was there; returns its offset.
  public mutating func addString(_ string: String) -> UInt32 {
    guard !string.isEmpty else { return 0 }
    var table = known ?? indexStrings()
    known = nil
    defer { known = table }
    if let offset = table[string] { return offset }
    let offset = firstString &+ UInt32(truncatingIfNeeded: strings.count)
    strings += string.utf8
    strings.append(0)
    table[string] = offset
    return offset
  }

  private func indexStrings() -> [String: UInt32] {
    var table: [String: UInt32] = [:]
    var start = 0
    while start < strings.count, let end = strings[start...].firstIndex(of: 0) {
      let string = String(decoding: strings[start..<end], as: UTF8.self)
      if table[string] == nil { table[string] = firstString &+ UInt32(truncatingIfNeeded: start) }
      start = end + 1
    }
    return table
  }

  // MARK: Adding types

  private mutating func append(_ word: UInt32) {
    withUnsafeBytes(of: word) { types.append(contentsOf: $0) }
  }

  private static func info(_ kind: BTFKind, vlen: Int, kindFlag: Bool) -> UInt32 {
    UInt32(kind.rawValue) << 24 | UInt32(truncatingIfNeeded: vlen & 0xffff) | (kindFlag ? 1 << 31 : 0)
  }

  /// Adds a type of any kind from raw words; `trailer` is what follows the header.
  @discardableResult
  public mutating func add(
    _ kind: BTFKind, name: String = "", kindFlag: Bool = false, vlen: Int = 0, size: UInt32, trailer: [UInt32] = []
  ) -> TypeID {
    let id = nextID
    let name = addString(name)
    offsets.append(types.count)
    append(name)
    append(BTFBuilder.info(kind, vlen: vlen, kindFlag: kindFlag))
    append(size)
    for word in trailer { append(word) }
    return id
  }

  @discardableResult
  public mutating func addInt(
    _ name: String, size: UInt32, isSigned: Bool = false, isChar: Bool = false, isBool: Bool = false
  ) -> TypeID {
    let flags: UInt32 = (isSigned ? 1 : 0) | (isChar ? 2 : 0) | (isBool ? 4 : 0)
    return add(.int, name: name, size: size, trailer: [flags << 24 | (size &* 8) & 0xff])
  }

  @discardableResult
  public mutating func addFloat(_ name: String, size: UInt32) -> TypeID { add(.float, name: name, size: size) }

  @discardableResult
  public mutating func addPointer(to target: TypeID) -> TypeID { add(.pointer, size: target) }

  /// Adds a qualifier: const, volatile or restrict.
  @discardableResult
  public mutating func addQualifier(_ kind: BTFKind, _ target: TypeID) -> TypeID { add(kind, size: target) }

  @discardableResult
  public mutating func addTypedef(_ name: String, _ target: TypeID) -> TypeID {
    add(.typedef, name: name, size: target)
  }

  @discardableResult
  public mutating func addTypeTag(_ name: String, _ target: TypeID) -> TypeID {
    add(.typeTag, name: name, size: target)
  }

  @discardableResult
  public mutating func addForward(_ name: String, isUnion: Bool = false) -> TypeID {
    add(.forward, name: name, kindFlag: isUnion, size: 0)
  }

  @discardableResult
  public mutating func addArray(of element: TypeID, index: TypeID, count: UInt32) -> TypeID {
    add(.array, size: 0, trailer: [element, index, count])
  }

  @discardableResult
  public mutating func addStruct(_ name: String, size: UInt32, members: [Member]) -> TypeID {
    addComposite(.structure, name, size: size, members)
  }

  @discardableResult
  public mutating func addUnion(_ name: String, size: UInt32, members: [Member]) -> TypeID {
    addComposite(.union, name, size: size, members)
  }

  private mutating func addComposite(_ kind: BTFKind, _ name: String, size: UInt32, _ members: [Member]) -> TypeID {
    let hasBitfields = members.contains { $0.bitfieldSize != 0 }
    var trailer: [UInt32] = []
    for member in members {
      let position = hasBitfields ? member.bitfieldSize << 24 | member.bitOffset & 0xff_ffff : member.bitOffset
      trailer += [addString(member.name), member.typeID, position]
    }
    return add(kind, name: name, kindFlag: hasBitfields, vlen: members.count, size: size, trailer: trailer)
  }

  @discardableResult
  public mutating func addEnum(
    _ name: String, size: UInt32 = 4, isSigned: Bool = false, _ values: [(name: String, value: Int32)]
  ) -> TypeID {
    var trailer: [UInt32] = []
    for value in values { trailer += [addString(value.name), UInt32(bitPattern: value.value)] }
    return add(.enumeration, name: name, kindFlag: isSigned, vlen: values.count, size: size, trailer: trailer)
  }

  @discardableResult
  public mutating func addEnum64(
    _ name: String, size: UInt32 = 8, isSigned: Bool = false, _ values: [(name: String, value: Int64)]
  ) -> TypeID {
    var trailer: [UInt32] = []
    for value in values {
      let bits = UInt64(bitPattern: value.value)
      trailer += [addString(value.name), UInt32(truncatingIfNeeded: bits), UInt32(bits >> 32)]
    }
    return add(.enum64, name: name, kindFlag: isSigned, vlen: values.count, size: size, trailer: trailer)
  }

  @discardableResult
  public mutating func addFunctionPrototype(
    returning result: TypeID, _ parameters: [(name: String, typeID: TypeID)]
  ) -> TypeID {
    var trailer: [UInt32] = []
    for parameter in parameters { trailer += [addString(parameter.name), parameter.typeID] }
    return add(.functionPrototype, vlen: parameters.count, size: result, trailer: trailer)
  }

  /// Linkage: 0 static, 1 global, 2 extern.
  @discardableResult
  public mutating func addFunction(_ name: String, prototype: TypeID, linkage: Int = 1) -> TypeID {
    add(.function, name: name, vlen: linkage, size: prototype)
  }

  /// Linkage: 0 static, 1 global, 2 extern.
  @discardableResult
  public mutating func addVariable(_ name: String, _ target: TypeID, linkage: UInt32 = 1) -> TypeID {
    add(.variable, name: name, size: target, trailer: [linkage])
  }

  @discardableResult
  public mutating func addDataSection(_ name: String, size: UInt32, _ variables: [BTFSectionVariable]) -> TypeID {
    add(
      .dataSection, name: name, vlen: variables.count, size: size,
      trailer: variables.flatMap { [$0.typeID, $0.offset, $0.size] })
  }

  /// Component -1 tags the type itself.
  @discardableResult
  public mutating func addDeclTag(_ tag: String, _ target: TypeID, component: Int32 = -1) -> TypeID {
    add(.declTag, name: tag, size: target, trailer: [UInt32(bitPattern: component)])
  }

  // MARK: Editing

  private func place(_ id: TypeID) -> Int? {
    guard id >= firstID, id < nextID else { return nil }
    return offsets[Int(id - firstID)]
  }

  private func word(_ place: Int) -> UInt32 {
    types.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: UInt32.self) }
  }

  private mutating func set(_ place: Int, _ word: UInt32) -> Bool {
    types.withUnsafeMutableBytes { $0.storeBytes(of: word, toByteOffset: place, as: UInt32.self) }
    return true
  }

  private func kind(at place: Int) -> BTFKind {
    BTFKind(rawValue: UInt8(truncatingIfNeeded: (word(place + 4) >> 24) & 0x1f)) ?? .void
  }

  /// Sets the third word: a size, or the type referred to.
  @discardableResult
  public mutating func setSize(_ id: TypeID, _ size: UInt32) -> Bool {
    guard let place = place(id) else { return false }
    return set(place + 8, size)
  }

  @discardableResult
  public mutating func setTarget(_ id: TypeID, _ target: TypeID) -> Bool { setSize(id, target) }

  @discardableResult
  public mutating func rename(_ id: TypeID, _ name: String) -> Bool {
    guard let place = place(id) else { return false }
    return set(place, addString(name))
  }

  /// Sets a word after the header: member, parameter or variable fields in file order.
  @discardableResult
  public mutating func setTrailerWord(_ id: TypeID, _ index: Int, _ word: UInt32) -> Bool {
    guard let place = place(id), index >= 0 else { return false }
    let size = kind(at: place).trailerSize(count: Int(self.word(place + 4) & 0xffff))
    guard index < size / 4 else { return false }
    return set(place + 12 + index * 4, word)
  }

  /// Sets where entry `index` of a data section lies.
  @discardableResult
  public mutating func setVariableOffset(_ section: TypeID, _ index: Int, _ offset: UInt32) -> Bool {
    guard let place = place(section), kind(at: place) == .dataSection, index >= 0, index <= 0xffff else { return false }
    return setTrailerWord(section, index * 3 + 1, offset)
  }

  /// Sets the byte size of entry `index` of a data section.
  @discardableResult
  public mutating func setVariableSize(_ section: TypeID, _ index: Int, _ size: UInt32) -> Bool {
    guard let place = place(section), kind(at: place) == .dataSection, index >= 0, index <= 0xffff else { return false }
    return setTrailerWord(section, index * 3 + 2, size)
  }

  /// Sets which variable or function entry `index` of a data section is.
  @discardableResult
  public mutating func setVariableType(_ section: TypeID, _ index: Int, _ type: TypeID) -> Bool {
    guard let place = place(section), kind(at: place) == .dataSection, index >= 0, index <= 0xffff else { return false }
    return setTrailerWord(section, index * 3, type)
  }

  /// Puts the entries of a data section in order of their offsets, entries of equal offset as they were.
  @discardableResult
  public mutating func sortVariables(_ section: TypeID) -> Bool {
    guard let place = place(section), kind(at: place) == .dataSection else { return false }
    let count = Int(word(place + 4) & 0xffff)
    var entries: [BTFSectionVariable] = []
    for index in 0..<count {
      let entry = place + 12 + index * 12
      entries.append(BTFSectionVariable(typeID: word(entry), offset: word(entry + 4), size: word(entry + 8)))
    }
    for (index, sorted) in entries.enumerated().sorted(by: {
      ($0.element.offset, $0.offset) < ($1.element.offset, $1.offset)
    }).enumerated() {
      let entry = place + 12 + index * 12
      _ = set(entry, sorted.element.typeID) && set(entry + 4, sorted.element.offset)
        && set(entry + 8, sorted.element.size)
    }
    return true
  }

  /// Sets a variable's linkage: 0 static, 1 global, 2 extern.
  @discardableResult
  public mutating func setVariableLinkage(_ id: TypeID, _ linkage: UInt32) -> Bool {
    guard let place = place(id), kind(at: place) == .variable else { return false }
    return set(place + 12, linkage)
  }

  /// Sets a function's linkage: 0 static, 1 global, 2 extern.
  @discardableResult
  public mutating func setFunctionLinkage(_ id: TypeID, _ linkage: Int) -> Bool {
    guard let place = place(id), kind(at: place) == .function else { return false }
    return set(place + 4, BTFBuilder.info(.function, vlen: linkage, kindFlag: false))
  }

  /// Turns a type into another kind that takes the same number of bytes; what follows the header stays as it is.
  @discardableResult
  public mutating func replaceKind(_ id: TypeID, with kind: BTFKind, vlen: Int, kindFlag: Bool = false) -> Bool {
    guard let place = place(id), (0...0xffff).contains(vlen) else { return false }
    let size = self.kind(at: place).trailerSize(count: Int(word(place + 4) & 0xffff))
    guard kind != .void, kind.trailerSize(count: vlen) == size else { return false }
    return set(place + 4, BTFBuilder.info(kind, vlen: vlen, kindFlag: kindFlag))
  }

  // MARK: Result

  /// The bytes of a `.BTF` section.
  public func serialise() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(BTFHeader.size + types.count + strings.count)
    withUnsafeBytes(of: BTFHeader.magic) { bytes.append(contentsOf: $0) }
    bytes += [version, flags]
    let typeLength = UInt32(truncatingIfNeeded: types.count)
    let words = [UInt32(BTFHeader.size), 0, typeLength, typeLength, UInt32(truncatingIfNeeded: strings.count)]
    for word in words {
      withUnsafeBytes(of: word) { bytes.append(contentsOf: $0) }
    }
    return bytes + types + strings
  }

  /// Serialises, reads back and checks.
  public func build(origin: String = "built BTF") throws(BTFError) -> BTF {
    try BTF(parsing: serialise(), base: base, origin: origin)
  }
}
