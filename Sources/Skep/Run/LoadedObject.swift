import BPFLinux
import BTF
import Synchronization

/// Programs that are ready to run, and the maps that they share.
public final class LoadedObject: Sendable {
  /// By full name, in the object's order.
  public let maps: [MapContents]
  /// In the order in which they were asked for.
  public let programs: [RunnableProgram]
  private let backend: any RunBackend
  private let sections: [String: Int]

  init(
    _ object: RunnableObject, _ units: [RunnableObject.Unit], maps needed: [Int], _ backend: any RunBackend
  ) throws(RunError) {
    self.backend = backend
    let names = NameTable()
    let prepared = try backend.prepare(units)
    var contents: [MapContents] = []
    var stores: [Int: any MapStore] = [:]
    var sections: [String: Int] = [:]
    for index in needed {
      let map = object.maps[index]
      let fields = Self.fields(of: index, units, prepared)
      let (store, id) = try backend.makeMap(map.definition, fields: fields)
      stores[index] = store
      names.add(id, map.name, isProgram: false)
      if let section = map.section, sections[section] == nil { sections[section] = contents.count }
      contents.append(
        MapContents(
          map.name, map.definition, btf: map.btf, keyType: map.keyType, valueType: map.valueType, store,
          names: { names.name($0, isProgram: map.definition.type == .progArray) }))
    }
    maps = contents
    self.sections = sections
    var programs: [RunnableProgram] = []
    for (unit, ready) in zip(units, prepared) {
      var used: [any MapStore] = []
      for index in unit.maps {
        guard let store = stores[index] else { continue }
        used.append(store)
      }
      let runner = try backend.load(unit, ready, maps: used)
      names.add(runner.id, unit.name, isProgram: true)
      programs.append(RunnableProgram(unit.name, unit.program.type, runner))
    }
    self.programs = programs
    for index in needed {
      for slot in object.maps[index].slots {
        guard let store = stores[index] else { continue }
        let key = withUnsafeBytes(of: UInt32(truncatingIfNeeded: slot.index).littleEndian) { Array($0) }
        try put(slot.name, into: store, named: object.maps[index].name, at: key)
      }
    }
  }

  /// Special fields of a map's values, as the proof of any program that uses it knows them.
  private static func fields(
    of map: Int, _ units: [RunnableObject.Unit], _ prepared: [PreparedProgram]
  ) -> [SpecialField] {
    for (unit, ready) in zip(units, prepared) {
      guard let place = unit.maps.firstIndex(of: map) else { continue }
      if let fields = ready.mapFields[place] { return fields }
    }
    return []
  }

  /// The map of that name: a full name, or a section's (`.data`).
  public func map(_ name: String) throws(RunError) -> MapContents {
    if let map = maps.first(where: { $0.name == name }) { return map }
    if let place = sections[name] { return maps[place] }
    throw RunError(.input, "there is no map '\(name)'")
  }

  public func program(_ name: String) throws(RunError) -> RunnableProgram {
    guard let program = programs.first(where: { $0.name == name }) else {
      throw RunError(.input, "there is no program '\(name)'")
    }
    return program
  }

  /// Calls `body` with each line that programs print with `bpf_trace_printk`, as `trace_pipe` shows it. What programs
  /// print in the kernel is not seen.
  public func followTrace(_ body: @escaping @Sendable (String) -> Void) { backend.followTrace(body) }

  /// Puts elements into a map, in any of the shapes that `MapContents.dump` and JSON files have: entries with `key` and
  /// `value`, an object by key, a list by index. Values of maps of maps and of arrays of programs are names.
  public func fill(_ name: String, with contents: JSONValue) throws(RunError) {
    let map = try map(name)
    try map.fill(contents) { (key, target) throws(RunError) in
      try put(target, into: map.store, named: map.name, at: key)
    }
  }

  private func put(
    _ target: String, into store: any MapStore, named name: String, at key: [UInt8]
  ) throws(RunError) {
    do throws(MapStoreError) {
      if let inner = maps.first(where: { $0.name == target }) {
        try backend.put(inner.store, into: store, at: key)
      } else if let program = programs.first(where: { $0.name == target }) {
        try backend.put(program.runner, into: store, at: key)
      } else {
        throw MapStoreError(errno: .ENOENT)
      }
    } catch {
      throw RunError(.input, "map '\(name)': '\(target)' cannot be put into it: \(error.errno)", errno: error.errno)
    }
  }

  /// The value of a global variable now; nil where there is none of that name.
  public func global(_ name: String) throws(RunError) -> JSONValue? {
    for map in maps where sections.values.contains(where: { maps[$0].name == map.name }) {
      guard case .object(let section)? = try map.value(at: .integer(0)) else { continue }
      for case .array(let variables) in section.map(\.value) {
        for variable in variables {
          if let value = variable[name] { return value }
        }
      }
    }
    return nil
  }
}

/// What ids of maps and programs stand for.
private final class NameTable: Sendable {
  private struct Key: Hashable {
    let id: UInt32
    let isProgram: Bool
  }

  private let names = Mutex<[Key: String]>([:])

  func add(_ id: UInt32, _ name: String, isProgram: Bool) {
    guard id != 0 else { return }
    names.withLock { $0[Key(id: id, isProgram: isProgram)] = name }
  }

  func name(_ id: UInt32, isProgram: Bool) -> String? {
    names.withLock { $0[Key(id: id, isProgram: isProgram)] }
  }
}

/// What a program is run with.
public struct RunInput: Sendable {
  /// A packet, for program types that have one.
  public var data: [UInt8]
  /// The context as user space has it (`struct xdp_md`, `struct __sk_buff`, arguments of a tracepoint, …).
  public var context: [UInt8]
  /// How often; the context stays as each run leaves it, as with `BPF_PROG_TEST_RUN`.
  public var repeats: UInt32 = 1
  /// Whether the context that comes out is wanted, of types that give one.
  public var wantsContext = false
  /// Which CPU runs it: several threads may each run it on their own. In the kernel it is the thread's own.
  public var cpu = 0
  /// After how many seconds it is stopped.
  public var timeout: Double?

  public init(data: [UInt8] = [], context: [UInt8] = [], repeats: UInt32 = 1) {
    self.data = data
    self.context = context
    self.repeats = repeats
  }
}

/// What came of a run.
public struct RunResult: Sendable, Hashable {
  public var returnValue: UInt32
  /// Nanoseconds of one run, on average.
  public var nanoseconds: UInt32
  /// The packet afterwards; empty where the type has none.
  public var data: [UInt8]
  /// The context afterwards, where it was wanted.
  public var context: [UInt8]
}

/// A program that is ready to run.
public final class RunnableProgram: Sendable {
  public let name: String
  public let type: ProgramType
  let runner: any ProgramRunner

  init(_ name: String, _ type: ProgramType, _ runner: any ProgramRunner) {
    self.name = name
    self.type = type
    self.runner = runner
  }

  /// `jit`, `interpreter` or `kernel`.
  public var engine: String { runner.engine }
  /// Why it is not run as machine code, where that was to be tried.
  public var remark: String? { runner.remark }

  /// How long its translation took; nil where that is not known.
  public var translation: Duration? { runner.translation }

  /// Runs it once on each packet, and says what it returned; nil for packets that are too short or too long.
  ///
  /// Nothing else is kept, which is what it takes to run many packets a second.
  public func values(of packets: [[UInt8]], cpu: Int = 0) throws(RunError) -> [UInt32?] {
    try runner.values(of: packets, cpu: cpu)
  }

  /// Runs it once, or as often as the input says. On one CPU, programs of an object run one at a time; others wait.
  public func run(_ input: RunInput) throws(RunError) -> RunResult {
    guard let timeout = input.timeout else { return try runner.run(input) }
    let watch = Watchdog(seconds: timeout) { [runner] in runner.stop() }
    let result: RunResult
    do throws(RunError) {
      result = try runner.run(input)
    } catch {
      if watch.end() { throw Self.late(name, timeout) }
      throw error
    }
    if watch.end() { throw Self.late(name, timeout) }
    return result
  }

  private static func late(_ name: String, _ seconds: Double) -> RunError {
    let shown = seconds == seconds.rounded() ? "\(Int(seconds))" : "\(seconds)"
    return RunError(.timeout, "program '\(name)' did not end within \(shown) s and was stopped", errno: .ETIMEDOUT)
  }
}
