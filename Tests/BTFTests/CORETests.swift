import Testing

@testable import BTF

/// An object's idea of a struct, and a kernel where the struct has grown.
struct COREWorld {
  let local: BTF
  let kernel: BTF

  init() throws {
    var ours = BTFBuilder()
    let int = ours.addInt("int", size: 4, isSigned: true)  // 1
    let unsigned = ours.addInt("unsigned int", size: 4)  // 2
    let array = ours.addArray(of: int, index: unsigned, count: 4)  // 3
    ours.addStruct(
      "task___mine", size: 40,
      members: [
        .init("pid", int, bitOffset: 0), .init("cpu", unsigned, bitOffset: 32), .init("hist", array, bitOffset: 64),
        .init("gone", int, bitOffset: 192), .init("time", 8, bitOffset: 256),
      ])  // 4
    ours.addEnum("state", [("RUNNING", 1), ("DEAD___old", 2), ("NEVER", 9)])  // 5
    ours.addTypedef("missing_t", int)  // 6
    ours.addStruct("flags", size: 4, members: [.init("hot", unsigned, bitOffset: 0, bitfieldSize: 1)])  // 7
    ours.addInt("long", size: 8)  // 8
    local = try ours.build()

    var theirs = BTFBuilder()
    let kernelInt = theirs.addInt("int", size: 4, isSigned: true)  // 1
    let long = theirs.addInt("long", size: 8)  // 2
    let kernelArray = theirs.addArray(of: kernelInt, index: kernelInt, count: 3)  // 3
    let inner = theirs.addStruct(
      "", size: 12, members: [.init("pid", kernelInt, bitOffset: 32), .init("hist", kernelArray, bitOffset: 64)])  // 4
    theirs.addStruct(
      "task", size: 64,
      members: [
        .init("pad", long, bitOffset: 0), .init("", inner, bitOffset: 64), .init("cpu", long, bitOffset: 256),
        .init("time", kernelInt, bitOffset: 320),
      ])  // 5
    theirs.addEnum("state", [("DEAD", -3), ("RUNNING", 4)])  // 6
    theirs.addStruct(
      "flags", size: 8,
      members: [
        .init("cold", kernelInt, bitOffset: 0, bitfieldSize: 9), .init("hot", kernelInt, bitOffset: 9, bitfieldSize: 2),
      ])  // 7
    kernel = try theirs.build()
  }

  func resolve(_ type: TypeID, _ access: String, _ kind: CORERelocationKind) throws(COREError) -> COREResolution {
    var resolver = COREResolver(local: local, kernel: kernel)
    return try resolver.resolve(
      CORERelocation(insnOffset: 0, typeID: type, accessStringOffset: 0, accessString: access, rawKind: kind.rawValue))
  }
}

@Suite struct CORERelocating {
  struct Case: CustomStringConvertible, Sendable {
    let type: TypeID
    let access: String
    let kind: CORERelocationKind
    let original: UInt64
    /// Nil expects poison.
    let new: UInt64?
    var description: String { "\(kind.name) [\(type)] \(access)" }
  }

  @Test(arguments: [
    Case(type: 4, access: "0:0", kind: .fieldByteOffset, original: 0, new: 12),
    Case(type: 4, access: "0:1", kind: .fieldByteOffset, original: 4, new: 32),
    Case(type: 4, access: "0:1", kind: .fieldByteSize, original: 4, new: 8),
    Case(type: 4, access: "0:0", kind: .fieldSigned, original: 1, new: 1),
    Case(type: 4, access: "0:2:2", kind: .fieldByteOffset, original: 16, new: 24),
    Case(type: 4, access: "0:2:3", kind: .fieldByteOffset, original: 20, new: nil),
    Case(type: 4, access: "0:3", kind: .fieldByteOffset, original: 24, new: nil),
    Case(type: 4, access: "0:3", kind: .fieldExists, original: 1, new: 0),
    Case(type: 4, access: "0:0", kind: .fieldExists, original: 1, new: 1),
    Case(type: 4, access: "0", kind: .typeSize, original: 40, new: 64),
    Case(type: 4, access: "0", kind: .typeIDTarget, original: 4, new: 5),
    Case(type: 4, access: "0", kind: .typeIDLocal, original: 4, new: 4),
    Case(type: 4, access: "0", kind: .typeExists, original: 1, new: 1),
    Case(type: 4, access: "0", kind: .typeMatches, original: 1, new: 0),
    Case(type: 6, access: "0", kind: .typeExists, original: 1, new: 0),
    Case(type: 5, access: "0", kind: .enumeratorValue, original: 1, new: 4),
    Case(type: 5, access: "1", kind: .enumeratorValue, original: 2, new: UInt64(bitPattern: -3)),
    Case(type: 5, access: "2", kind: .enumeratorExists, original: 1, new: 0),
    Case(type: 5, access: "2", kind: .enumeratorValue, original: 9, new: nil),
    Case(type: 7, access: "0:0", kind: .fieldByteOffset, original: 0, new: 0),
    Case(type: 7, access: "0:0", kind: .fieldLeftShift, original: 63, new: 53),
    Case(type: 7, access: "0:0", kind: .fieldRightShift, original: 63, new: 62),
  ])
  func values(_ item: Case) throws {
    let result = try COREWorld().resolve(item.type, item.access, item.kind)
    #expect(result.originalValue == item.original)
    #expect(result.isPoisoned == (item.new == nil))
    if let new = item.new { #expect(result.newValue == new) }
  }

  @Test(arguments: ["", ":0", "0:", "0:99", "x", "0:0:0", "0:2:4", "9999999999", "0:-1"])
  func badAccessStringsAreRefused(_ access: String) throws {
    let world = try COREWorld()
    #expect(throws: COREError.self) { try world.resolve(4, access, .fieldByteOffset) }
  }

  @Test func ambiguityIsRefused() throws {
    let world = try COREWorld()
    var kernel = BTFBuilder(editing: world.kernel)
    kernel.addStruct("task___other", size: 8, members: [.init("pid", 1, bitOffset: 0)])
    var resolver = COREResolver(local: world.local, kernel: try kernel.build())
    let relocation = CORERelocation(
      insnOffset: 0, typeID: 4, accessStringOffset: 0, accessString: "0:0", rawKind: 0)
    let error = #expect(throws: COREError.self) { try resolver.resolve(relocation) }
    #expect(error?.message == "field offset ambiguity: 0 != 96")
  }

  @Test func modulesAreAskedWhenTheKernelHasNoSuchType() throws {
    let world = try COREWorld()
    var module = BTFBuilder(base: world.kernel)
    let own = module.addTypedef("missing_t", 1)
    var resolver = COREResolver(local: world.local, kernel: world.kernel, modules: [try module.build()])
    let result = try resolver.resolve(
      CORERelocation(insnOffset: 0, typeID: 6, accessStringOffset: 0, accessString: "0", rawKind: 7))
    #expect(result.newValue == UInt64(own))
  }

  @Test func namesLoseTheirFlavour() {
    #expect(BTF.essentialName("task___v2") == "task")
    #expect(BTF.essentialName("a___b___c") == "a___b")
    #expect(BTF.essentialName("task____v2") == "task____v2")
    #expect(BTF.essentialName("___x") == "___x")
    #expect(BTF.essentialName("a___") == "a___")
    #expect(BTF.essentialName("") == "")
  }

  // MARK: Patching

  static func instruction(_ code: UInt8, offset: Int16 = 0, immediate: Int32 = 0) -> COREInstruction {
    COREInstruction(code: code, destination: 1, source: 0, offset: offset, immediate: immediate)
  }

  @Test func loadsMoveAndChangeWidth() throws {
    let world = try COREWorld()
    let result = try world.resolve(4, "0:1", .fieldByteOffset)
    var load = Self.instruction(0x61, offset: 4)
    var next: COREInstruction?
    try result.patch(&load, next: &next, index: 0)
    #expect(load == Self.instruction(0x79, offset: 32))

    var wrong = Self.instruction(0x61, offset: 5)
    #expect(throws: COREError.self) { try result.patch(&wrong, next: &next, index: 0) }
    var narrow = Self.instruction(0x69, offset: 4)
    #expect(throws: COREError.self) { try result.patch(&narrow, next: &next, index: 0) }
  }

  @Test func signedLoadsOfOtherWidthArePoisoned() throws {
    let result = try COREWorld().resolve(4, "0:4", .fieldByteOffset)
    #expect(result.failsMemorySizeAdjustment)
    var load = Self.instruction(0x79, offset: 32)
    var next: COREInstruction?
    try result.patch(&load, next: &next, index: 0)
    #expect(load == .poison)
  }

  @Test func wideLoadsTakeBothHalves() throws {
    let result = try COREWorld().resolve(5, "1", .enumeratorValue)
    var first = Self.instruction(0x18, immediate: 2)
    var next: COREInstruction? = COREInstruction(code: 0, destination: 0, source: 0, offset: 0, immediate: 0)
    try result.patch(&first, next: &next, index: 0)
    #expect(first.immediate == -3 && next?.immediate == -1)

    let missing = try COREWorld().resolve(5, "2", .enumeratorValue)
    try missing.patch(&first, next: &next, index: 0)
    #expect(first == .poison && next == .poison)
    #expect(COREInstruction.poison.immediate == 195_896_080)

    var lonely = Self.instruction(0x18, immediate: 2)
    var nothing: COREInstruction?
    #expect(throws: COREError.self) { try result.patch(&lonely, next: &nothing, index: 0) }
  }

  @Test func immediatesAreChecked() throws {
    let result = try COREWorld().resolve(4, "0:0", .fieldByteOffset)
    var add = Self.instruction(0x07, immediate: 0)
    var next: COREInstruction?
    try result.patch(&add, next: &next, index: 3)
    #expect(add.immediate == 12)
    let error = #expect(throws: COREError.self) { try result.patch(&add, next: &next, index: 3) }
    #expect(error?.message == "unexpected insn #3 (ALU/ALU64) value: got 12, exp 0 -> 12")
    var byRegister = Self.instruction(0x0f)
    #expect(throws: COREError.self) { try result.patch(&byRegister, next: &next, index: 3) }
    var jump = Self.instruction(0x05)
    #expect(throws: COREError.self) { try result.patch(&jump, next: &next, index: 3) }
  }
}

@Suite struct BTFExtReading {
  static func words(_ words: [UInt32]) -> [UInt8] {
    words.flatMap { word in withUnsafeBytes(of: word) { Array($0) } }
  }

  /// One function record, one line record, one relocation in a section named at string `name`.
  static func section(name: UInt32, access: UInt32) -> [UInt8] {
    let functions: [UInt32] = [8, name, 1, 0, 3]
    let lines: [UInt32] = [20, name, 1, 8, name, access, 7 << 10 | 5, 99]
    let relocations: [UInt32] = [16, name, 1, 16, 4, access, 2]
    let header: [UInt32] = [
      0x0001_eb9f, 32, 0, UInt32(functions.count * 4), UInt32(functions.count * 4), UInt32(lines.count * 4),
      UInt32((functions.count + lines.count) * 4), UInt32(relocations.count * 4),
    ]
    return words(header + functions + lines + relocations)
  }

  @Test func recordsAreRead() throws {
    var builder = BTFBuilder()
    let name = builder.addString("xdp")
    let access = builder.addString("0:1")
    let btf = try builder.build()
    let bytes = Self.section(name: name, access: access)
    let ext = try BTFExt(parsing: bytes, btf: btf)
    #expect(ext.functions.first?.name == "xdp")
    #expect(ext.functions.first?.records == [BTFFunctionInfo(insnOffset: 0, typeID: 3)])
    #expect(ext.lines.first?.records.first?.line == 7 && ext.lines.first?.records.first?.column == 5)
    #expect(ext.lineRecordSize == 20)
    let relocation = ext.relocations.first?.records.first
    #expect(relocation?.accessString == "0:1" && relocation?.kind == .fieldExists && relocation?.insnOffset == 16)

    for length in 0..<bytes.count {
      #expect(throws: BTFError.self) { try BTFExt(parsing: Array(bytes.prefix(length)), btf: btf) }
    }
    for place in bytes.indices {
      for mask in [0x01, 0x80, 0xff] as [UInt8] {
        var damaged = bytes
        damaged[place] ^= mask
        _ = try? BTFExt(parsing: damaged, btf: btf)
      }
    }
  }
}

@Suite struct BTFPrinting {
  @Test func typesPrintAsC() throws {
    let btf = try Sample().builder.build()
    var dumper = BTFDumper(btf)
    try dumper.dump(14)
    #expect(
      dumper.text == """
        struct node {
        \tint flags: 3;
        \tint kind: 5;
        \tstruct node *next;
        \tchar name[8];
        };

        typedef struct node node_t;


        """)
  }

  @Test func impossibleTypesAreRefused() throws {
    var builder = BTFBuilder()
    builder.addStruct("a", size: 4, members: [.init("b", 2, bitOffset: 0)])
    builder.addStruct("b", size: 4, members: [.init("a", 1, bitOffset: 0)])
    let btf = try builder.build()
    #expect(throws: BTFError.self) { try btf.cText() }
  }

  @Test func hugePaddingIsRefused() throws {
    var builder = BTFBuilder()
    builder.addStruct("a", size: .max, members: [])
    let btf = try builder.build()
    var options = BTFHeaderOptions.classic
    options.textLimit = 1 << 16
    #expect(throws: BTFError.self) { try btf.cText(options) }
  }
}
