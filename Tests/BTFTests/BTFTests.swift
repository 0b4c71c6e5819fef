import Testing

@testable import BTF

/// A little of everything, with the identifiers that the tests refer to.
struct Sample {
  var builder = BTFBuilder()
  let int: TypeID
  let char: TypeID
  let node: TypeID
  let color: TypeID
  let wide: TypeID
  let prototype: TypeID
  let function: TypeID
  let variable: TypeID
  let section: TypeID

  init() {
    int = builder.addInt("int", size: 4, isSigned: true)
    char = builder.addInt("char", size: 1, isChar: true)
    let pointer = builder.addPointer(to: 4)
    node = builder.addStruct(
      "node", size: 24,
      members: [
        .init("flags", int, bitOffset: 0, bitfieldSize: 3), .init("kind", int, bitOffset: 3, bitfieldSize: 5),
        .init("next", pointer, bitOffset: 64), .init("name", 5, bitOffset: 128),
      ])
    builder.addArray(of: char, index: int, count: 8)
    color = builder.addEnum("color", isSigned: true, [("RED", -1), ("GREEN", 7)])
    wide = builder.addEnum64("wide", [("BIG", Int64.min)])
    prototype = builder.addFunctionPrototype(returning: int, [("a", pointer), ("b", int)])
    function = builder.addFunction("work", prototype: prototype, linkage: 1)
    variable = builder.addVariable("count", int)
    section = builder.addDataSection(".data", size: 0, [BTFSectionVariable(typeID: variable, offset: 0, size: 4)])
    builder.addDeclTag("hot", function)
    builder.addDeclTag("nullable", function, component: 0)
    builder.addTypedef("node_t", node)
  }
}

@Suite struct BTFReading {
  @Test func builtTypesReadBack() throws {
    let sample = Sample()
    let btf = try sample.builder.build()
    #expect(btf.bytes == sample.builder.serialise())
    #expect(btf.name(sample.node) == "node")
    #expect(btf.nameEquals(sample.node, "node"))
    let members = btf.members(sample.node)
    #expect(members.map { btf.string($0.nameOffset) } == ["flags", "kind", "next", "name"])
    #expect(members[1] == BTFMember(nameOffset: members[1].nameOffset, typeID: 1, bitOffset: 3, bitfieldSize: 5))
    #expect(btf.enumerators(sample.color).map(\.value) == [-1, 7])
    #expect(btf.enumerators(sample.wide).map(\.value) == [Int64.min])
    #expect(btf.functionLinkage(sample.function) == 1)
    #expect(btf.parameters(sample.prototype).count == 2)
    #expect(btf.array(5) == BTFArray(elementTypeID: 2, indexTypeID: 1, count: 8))
    #expect(btf.resolveSize(5) == 8)
    #expect(btf.resolveSize(3) == 8)
    #expect(btf.resolveSize(sample.prototype) == nil)
    #expect(btf.intEncoding(1).isSigned && btf.intEncoding(1).bits == 32)
    #expect(btf.declTags(of: sample.function).map(\.tag) == ["hot", "nullable"])
    #expect(btf.declTags(of: sample.function).map(\.component) == [-1, 0])
    for _ in 0..<10 {
      #expect(btf.find("node", kind: .structure) == sample.node)
      #expect(btf.find("node", kind: .union) == nil)
      #expect(btf.find("node_t", kind: .typedef) == 14)
      #expect(btf.find("", kind: .structure) == nil)
    }
    #expect(btf.findAll("node", where: { $0.isComposite }) == [sample.node])
  }

  @Test func whatDoesNotExistIsVoid() throws {
    let btf = try Sample().builder.build()
    for id in [0, btf.endID, .max] as [TypeID] {
      #expect(btf.type(id).kind == .void && btf.type(id).id == 0)
      #expect(btf.members(id).isEmpty && btf.parameters(id).isEmpty && btf.variables(id).isEmpty)
      #expect(btf.resolveSize(id) == nil)
    }
    #expect(btf.string(.max) == "" && !btf.isValidString(.max))
  }

  @Test func splitTypesFollowTheirBase() throws {
    let sample = Sample()
    let base = try sample.builder.build()
    var builder = BTFBuilder(base: base)
    let own = builder.addStruct("module", size: 24, members: [.init("node", sample.node, bitOffset: 0)])
    let split = try builder.build()
    #expect(own == base.endID && split.startID == own && split.endID == own + 1)
    #expect(split.name(own) == "module" && split.name(sample.node) == "node")
    #expect(split.resolveSize(split.members(own)[0].typeID) == 24)
    for _ in 0..<10 {
      #expect(split.find("node", kind: .structure) == sample.node)
      #expect(split.find("module", kind: .structure) == own)
    }
    #expect(base.find("module", kind: .structure) == nil)
  }

  @Test func ringsOfTypesEnd() throws {
    var builder = BTFBuilder()
    builder.addQualifier(.const, 2)
    builder.addTypedef("loop", 1)
    builder.addArray(of: 3, index: 3, count: 2)
    let btf = try builder.build()
    #expect(btf.skipModifiers(1) == 0)
    #expect(btf.resolveSize(1) == nil)
    #expect(btf.resolveSize(3) == nil)
  }

  @Test func editsKeepTheRest() throws {
    let sample = Sample()
    let before = try sample.builder.build()
    var editor = BTFBuilder(editing: before)
    #expect(editor.serialise() == before.bytes)
    let done = [
      editor.setSize(sample.section, 4),
      editor.setVariableOffset(sample.section, 0, 12),
      editor.setVariableLinkage(sample.variable, 2),
      editor.setFunctionLinkage(sample.function, 0),
      editor.rename(sample.function, "play"),
      editor.replaceKind(sample.wide, with: .union, vlen: 1),
    ]
    #expect(done == done.map { _ in true })
    let refused = [
      editor.replaceKind(sample.node, with: .int, vlen: 0),
      editor.setVariableOffset(sample.section, 1, 0),
      editor.setSize(99, 0),
    ]
    #expect(refused == refused.map { _ in false })
    let after = try BTF(parsing: editor.serialise())
    #expect(after.type(sample.section).size == 4)
    #expect(after.variables(sample.section)[0].offset == 12)
    #expect(after.variableLinkage(sample.variable) == 2)
    #expect(after.functionLinkage(sample.function) == 0)
    #expect(after.name(sample.function) == "play" && after.name(sample.node) == "node")
    #expect(after.kind(sample.wide) == .union)
  }
}

@Suite struct BTFHostileInput {
  static let whole = Sample().builder.serialise()

  /// Asks everything of every type; reaching the end is the test.
  static func exercise(_ btf: BTF) {
    for id in 0..<btf.endID + 2 {
      _ = (btf.name(id), btf.resolveSize(id), btf.skipModifiers(id), btf.intEncoding(id), btf.array(id))
      for member in btf.members(id) { _ = btf.string(member.nameOffset) }
      for parameter in btf.parameters(id) { _ = btf.string(parameter.nameOffset) }
      for enumerator in btf.enumerators(id) { _ = btf.string(enumerator.nameOffset) }
      _ = (Array(btf.variables(id)), btf.declTags(of: id))
    }
    for _ in 0..<6 { _ = btf.find("node", kind: .structure) }
    var options = BTFHeaderOptions.linux6_18
    options.textLimit = 1 << 16
    _ = try? btf.cText(options)
    _ = btf.rawText()
  }

  static func attempt(_ bytes: [UInt8]) {
    guard let btf = try? BTF(parsing: bytes) else { return }
    exercise(btf)
  }

  @Test func truncationsAreRefused() {
    for length in 0..<Self.whole.count {
      #expect(throws: BTFError.self) { try BTF(parsing: Array(Self.whole.prefix(length))) }
    }
  }

  @Test func flippedBytesNeverTrap() {
    for place in Self.whole.indices {
      for mask in [0x01, 0x80, 0xff] as [UInt8] {
        var bytes = Self.whole
        bytes[place] ^= mask
        Self.attempt(bytes)
      }
    }
  }

  @Test func randomDamageNeverTraps() {
    var state: UInt64 = 42
    func random(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    for _ in 0..<500 {
      var bytes = Self.whole
      for _ in 0..<1 + random(4) {
        let place = 24 + random(bytes.count - 24)
        bytes[place] = UInt8(random(20))
      }
      Self.attempt(bytes)
    }
  }

  struct Case: CustomStringConvertible, Sendable {
    let description: String
    let place: Int
    let value: UInt8
    let rule: BTFError.Rule
  }

  @Test(arguments: [
    Case(description: "other byte order", place: -1, value: 0, rule: .foreignByteOrder),
    Case(description: "magic", place: 0, value: 0, rule: .badMagic(0xeb00)),
    Case(description: "header length", place: 7, value: 0x7f, rule: .headerLength(0x7f00_0018)),
    Case(description: "string length", place: 23, value: 1, rule: .sectionsOutOfBounds),
    Case(description: "type length", place: 15, value: 1, rule: .sectionsOverlap),
    Case(description: "kind zero", place: 24 + 7, value: 0, rule: .unknownKind(0, type: 1)),
    Case(description: "kind unknown", place: 24 + 7, value: 0x1f, rule: .unknownKind(31, type: 1)),
  ])
  func rulesAreNamed(_ item: Case) {
    var bytes = Self.whole
    if item.place < 0 { bytes.swapAt(0, 1) } else { bytes[item.place] = item.value }
    let error = #expect(throws: BTFError.self) { try BTF(parsing: bytes, origin: "x") }
    #expect(error?.rule == item.rule)
    #expect(error?.origin == "x")
  }

  @Test(arguments: [BTFKind.pointer, .const, .typedef, .array, .structure, .functionPrototype])
  func deepTypesEnd(_ kind: BTFKind) throws {
    var builder = BTFBuilder()
    builder.addInt("int", size: 4)
    for depth in 1..<1000 as Range<TypeID> {
      switch kind {
      case .array: builder.addArray(of: depth, index: 1, count: 2)
      case .structure: builder.addStruct("", size: 4, members: [.init("a", depth, bitOffset: 0)])
      case .functionPrototype: builder.addFunctionPrototype(returning: depth, [("a", depth), ("b", depth)])
      default: builder.add(kind, name: kind == .typedef ? "t" : "", size: depth)
      }
    }
    Self.exercise(try builder.build())
    let btf = try builder.build()
    var resolver = COREResolver(local: btf, kernel: btf)
    for relocationKind in CORERelocationKind.allCases {
      _ = try? resolver.resolve(
        CORERelocation(
          insnOffset: 0, typeID: 999, accessStringOffset: 0, accessString: "0", rawKind: relocationKind.rawValue))
    }
  }

  @Test func danglingReferencesAreRefused() {
    var builder = BTFBuilder()
    builder.addPointer(to: 9)
    #expect(throws: BTFError.self) { try builder.build() }
    var other = BTFBuilder()
    other.addFunction("f", prototype: 1)
    #expect(throws: BTFError.self) { try other.build() }
  }
}
