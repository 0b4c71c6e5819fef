import BPFISA
import BPFKernel
import BPFLinux
import BPFObject
import BPFVerifier
import BTF

/// An object's programs and maps on their way to be run: what may still be changed before anything is loaded.
///
/// ```swift
/// var object = RunnableObject(try ObjectFile(path: "filter.bpf.o"), linux: try .running())
/// try object.set("max_length", to: .integer(1500))
/// let loaded = try object.load(["filter"])
/// try loaded.map("blocked").set(.string("0x0a000001"), to: .integer(1))
/// let result = try loaded.program("filter").run(RunInput(data: packet))
/// ```
///
/// Loading verifies: a program that Linux's verifier refuses does not run here either.
public struct RunnableObject: Sendable {
  public let linux: Linux
  /// The entry programs, in the object's order.
  public let programs: [ProgramName]
  /// What the programs are, in place of what their sections say.
  public var typeOverride: Checker.TypeOverride?
  var maps: [MapUnit]
  private let source: Source

  /// An entry program of the object.
  public struct ProgramName: Sendable, Hashable {
    public let name: String
    public let section: String
    public let type: ProgramType
  }

  private enum Source: Sendable {
    case object(Linker)
    case program(Program)
  }

  /// A map as the object has it, and what its values are called.
  struct MapUnit: Sendable {
    let name: String
    var definition: MapDefinition
    let btf: BTF?
    let keyType: TypeID
    let valueType: TypeID
    let slots: [(index: Int, name: String)]
    /// `.data`, `.bss`, `.rodata`, `.kconfig`: values are variables.
    let section: String?

    var values: ValueType { ValueType(size: Int(definition.valueSize), btf: btf, type: valueType) }
  }

  public init(_ object: ObjectFile, linux: Linux, options: LinkOptions = LinkOptions()) {
    self.linux = linux
    let linker = Linker(object, linux: linux, options: options)
    source = .object(linker)
    programs = object.programs.map { ProgramName(name: $0.name, section: $0.sectionName, type: $0.type) }
    maps = object.maps.enumerated().map { index, map in
      let section: String? =
        switch map.origin {
        case .data, .bss, .readOnlyData, .kconfig:
          object.btf.map { $0.name(map.definition.valueTypeID) }.flatMap { $0.isEmpty ? nil : $0 }
            ?? "." + (map.name.split(separator: ".").last ?? "")
        case .declared, .structOps: nil
        }
      return MapUnit(
        name: map.name, definition: linker.maps[index], btf: object.btf, keyType: map.definition.keyTypeID,
        valueType: map.definition.valueTypeID, slots: map.slots, section: section)
    }
  }

  /// A program that came from anywhere, with those of its maps that its instructions refer to.
  public init(_ program: Program, linux: Linux) {
    self.linux = linux
    let program = Self.withoutUnusedMaps(program)
    source = .program(program)
    programs = [ProgramName(name: program.name, section: program.origin?.section ?? "", type: program.type)]
    maps = program.maps.map { map in
      MapUnit(
        name: map.name, definition: map, btf: map.btf, keyType: map.keyTypeID, valueType: map.valueTypeID, slots: [],
        section: nil)
    }
  }

  private static func withoutUnusedMaps(_ program: Program) -> Program {
    func map(at slot: Int) -> Int? {
      let instruction = program.instructions[slot]
      guard instruction.isLoadImmediate64 else { return nil }
      switch UInt8(truncatingIfNeeded: instruction.src) {
      case PseudoSource.mapFD, PseudoSource.mapValue, PseudoSource.mapIndex, PseudoSource.mapIndexValue: break
      default: return nil
      }
      let index = Int(instruction.immediate)
      return program.maps.indices.contains(index) ? index : nil
    }
    let used = Set(program.instructions.indices.compactMap(map)).sorted()
    guard used.count < program.maps.count else { return program }
    var result = program
    result.maps = used.map { program.maps[$0] }
    for slot in program.instructions.indices {
      guard let index = map(at: slot), let place = used.firstIndex(of: index) else { continue }
      result.instructions[slot].immediate = Int32(truncatingIfNeeded: place)
    }
    return result
  }

  // MARK: Globals

  /// Whether there is a map of that name (`counts`, `.data`).
  public func hasMap(_ name: String) -> Bool { mapIndex(name) != nil }

  /// Whether the map of that name holds programs for tail calls.
  public func isProgramArray(_ name: String) -> Bool {
    mapIndex(name).map { maps[$0].definition.type == .progArray } ?? false
  }

  func mapIndex(_ name: String) -> Int? {
    maps.firstIndex { $0.name == name } ?? maps.firstIndex { $0.section == name }
  }

  /// Sets a global variable, constants included, or several of a section (`.data`) at once, before they are loaded.
  public mutating func set(_ name: String, to value: JSONValue) throws(RunError) {
    if let index = mapIndex(name), maps[index].section != nil {
      try setSection(index, value)
      return
    }
    for index in maps.indices where maps[index].section != nil {
      guard let btf = maps[index].btf else { continue }
      let section = btf.skipModifiers(maps[index].valueType)
      for variable in btf.variables(section) where btf.name(variable.typeID) == name {
        let type = ValueType(size: Int(variable.size), btf: btf, type: btf.type(variable.typeID).target)
        try put(try bytes(type, value, name), at: Int(variable.offset), in: index)
        return
      }
    }
    throw RunError(.input, "there is no map or global variable '\(name)'")
  }

  /// Whether `set` knows the name.
  public func hasGlobal(_ name: String) -> Bool {
    if let index = mapIndex(name) { return maps[index].section != nil }
    return maps.contains { map in
      guard map.section != nil, let btf = map.btf else { return false }
      return btf.variables(btf.skipModifiers(map.valueType)).contains { btf.name($0.typeID) == name }
    }
  }

  private func bytes(_ type: ValueType, _ value: JSONValue, _ name: String) throws(RunError) -> [UInt8] {
    do {
      return try type.bytes(value)
    } catch {
      throw RunError(.input, "'\(name)': \(error)")
    }
  }

  private mutating func put(_ bytes: [UInt8], at offset: Int, in index: Int) throws(RunError) {
    var contents = contents(of: index)
    guard offset >= 0, offset <= contents.count, bytes.count <= contents.count - offset else {
      throw RunError(.input, "map '\(maps[index].name)': a variable lies outside of it")
    }
    contents.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
    maps[index].definition.initialValue = contents
  }

  private func contents(of index: Int) -> [UInt8] {
    let definition = maps[index].definition
    let missing = max(0, Int(definition.valueSize) - definition.initialValue.count)
    return definition.initialValue + [UInt8](repeating: 0, count: missing)
  }

  /// Variables by name, each in place of what it is now; or all bytes of the section.
  private mutating func setSection(_ index: Int, _ value: JSONValue) throws(RunError) {
    let map = maps[index]
    if let contents = Self.onlyValue(value) {
      try setSection(index, contents)
      return
    }
    guard map.values.isKnown, case .object(let members) = value, let btf = map.btf else {
      try put(try bytes(ValueType(size: Int(map.definition.valueSize)), value, map.name), at: 0, in: index)
      return
    }
    var given = members
    if members.count == 1, members[0].name == btf.name(map.valueType), case .array(let elements) = members[0].value {
      given = []
      for case .object(let variables) in elements { given += variables }
    }
    for member in given {
      let section = btf.skipModifiers(map.valueType)
      guard let variable = btf.variables(section).first(where: { btf.name($0.typeID) == member.name }) else {
        throw RunError(.input, "map '\(map.name)': there is no variable '\(member.name)'")
      }
      let type = ValueType(size: Int(variable.size), btf: btf, type: btf.type(variable.typeID).target)
      try put(try bytes(type, member.value, member.name), at: Int(variable.offset), in: index)
    }
  }

  /// The one value of what a dump of the map gave.
  private static func onlyValue(_ value: JSONValue) -> JSONValue? {
    guard case .array(let entries) = value, entries.count == 1, entries[0]["key"] != nil else { return nil }
    return entries[0]["value"]
  }

  // MARK: Loading

  /// A program with its place among the object's maps.
  struct Unit: Sendable {
    let name: String
    var program: Program
    let maps: [Int]
  }

  /// Verifies programs and makes them ready to run, with the maps that they use.
  ///
  /// - Parameters:
  ///   - names: which programs; all where empty. Programs that the object puts into an array of programs come along.
  ///   - extraMaps: maps to make although none of the programs uses them.
  ///   - cpuCount: how many CPUs the programs see, in user space; by default as many as `linux` has.
  public func load(
    _ names: [String] = [], engine: RunEngine = .user(.automatic), extraMaps: [String] = [], cpuCount: Int? = nil
  ) throws(RunError) -> LoadedObject {
    let backend: any RunBackend
    switch engine {
    case .user(let translation):
      backend = UserBackend(linux: linux, translation: translation, cpuCount: cpuCount ?? linux.possibleCPUs)
    case .kernel: backend = try KernelBackend(linux)
    }
    let (units, needed) = try plan(names, extraMaps)
    return try LoadedObject(self, units, maps: needed, backend)
  }

  /// What has to be loaded for these programs, callees of tail calls last.
  private func plan(_ names: [String], _ extraMaps: [String]) throws(RunError) -> ([Unit], [Int]) {
    var pending: [Int] = []
    for name in names.isEmpty ? programs.map(\.name) : names {
      guard let index = programs.firstIndex(where: { $0.name == name }) else {
        throw RunError(.input, "there is no program '\(name)'")
      }
      pending.append(index)
    }
    var units: [Int: Unit] = [:]
    var order: [Int] = []
    var needed: Set<Int> = []
    func need(_ map: Int) {
      guard needed.insert(map).inserted else { return }
      for slot in maps[map].slots {
        if maps[map].definition.type == .progArray {
          if let target = programs.firstIndex(where: { $0.name == slot.name }) { pending.append(target) }
        } else if let target = mapIndex(slot.name) {
          need(target)
        }
      }
    }
    for name in extraMaps {
      guard let index = mapIndex(name) else { throw RunError(.input, "there is no map '\(name)'") }
      need(index)
    }
    var next = 0
    while next < pending.count {
      let index = pending[next]
      next += 1
      guard units[index] == nil else { continue }
      let unit = try link(index)
      units[index] = unit
      order.append(index)
      for map in unit.maps { need(map) }
    }
    return (order.compactMap { units[$0] }, needed.sorted())
  }

  private func link(_ index: Int) throws(RunError) -> Unit {
    var unit = try linked(index)
    if let typeOverride {
      unit.program.type = typeOverride.type
      unit.program.expectedAttachType = typeOverride.attachType
    }
    return unit
  }

  private func linked(_ index: Int) throws(RunError) -> Unit {
    switch source {
    case .program(var program):
      program.maps = maps.map(\.definition)
      return Unit(name: program.name, program: program, maps: Array(maps.indices))
    case .object(let linker):
      let linked = linker.link(index)
      switch linked.result {
      case .failure(let error):
        throw RunError(
          .refused, "program '\(linked.name)' cannot be loaded: \(error.message)", errno: Errno(rawValue: error.errno))
      case .success(var program):
        program.maps = linked.mapIndices.map { maps[$0].definition }
        return Unit(name: linked.name, program: program, maps: linked.mapIndices)
      }
    }
  }
}

/// Who runs the programs.
public enum RunEngine: Sendable, Hashable {
  /// This process.
  case user(Translation)
  /// The running kernel, by `BPF_PROG_TEST_RUN`.
  case kernel

  /// How this process runs them.
  public enum Translation: Sendable, Hashable {
    /// In the interpreter, until machine code is right for every program.
    case automatic
    /// As machine code; what cannot be translated is not loaded.
    case machineCode
    case interpreter
  }
}
