import BPFLinux
import BPFMaps
import CBPFRuntime
import Testing

@testable import BPFRuntime

/// A machine with one CPU, and calls of its helpers and kernel functions as programs make them.
final class HelperFixture: @unchecked Sendable {
  let machine: Machine
  let worker: Worker
  var run: UnsafeMutablePointer<skep_run> { worker.run }
  private var kept: [UnsafeMutableRawPointer] = []

  init(cpuCount: Int = 1, surroundings: Surroundings = Surroundings()) {
    machine = Machine(linux: Linux(), cpuCount: cpuCount, surroundings: surroundings)
    worker = machine.makeWorker(cpu: 0)
    machine.maps.begin(run)
  }

  deinit {
    machine.maps.end(run)
    for memory in kept { memory.deallocate() }
  }

  func helper(_ id: HelperID, _ arguments: UInt64..., type: ProgramType = .syscall) throws -> UInt64 {
    let function = try #require(RuntimeFunctions.helper(UInt32(bitPattern: id.rawValue), for: type))
    return call(function, arguments)
  }

  func kfunc(_ name: String, _ arguments: UInt64..., type: ProgramType = .syscall) throws -> UInt64 {
    call(try #require(RuntimeFunctions.kfunc(name, for: type)), arguments)
  }

  private func call(_ function: RuntimeFunction, _ arguments: [UInt64]) -> UInt64 {
    let all = arguments + [0, 0, 0, 0, 0]
    return function.body(all[0], all[1], all[2], all[3], all[4], run)
  }

  /// Memory of zeros that lives as long as the fixture.
  func memory(_ count: Int) -> UInt64 {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: max(8, count), alignment: 16)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: max(8, count))
    kept.append(memory)
    return UInt64(UInt(bitPattern: memory))
  }

  /// A string with its 0; characters above 127 are bytes.
  func string(_ text: String) -> UInt64 { bytes(text.unicodeScalars.map { UInt8($0.value) } + [0]) }

  func bytes(_ bytes: [UInt8]) -> UInt64 {
    let place = memory(bytes.count)
    for (index, byte) in bytes.enumerated() { at(place + UInt64(index)).storeBytes(of: byte, as: UInt8.self) }
    return place
  }

  func words(_ words: [UInt64]) -> UInt64 {
    let place = memory(words.count * 8)
    for (index, word) in words.enumerated() { at(place + UInt64(index * 8)).storeBytes(of: word, as: UInt64.self) }
    return place
  }

  func at(_ address: UInt64) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: UInt(address)).unsafelyUnwrapped
  }

  func read(_ address: UInt64, _ count: Int) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: at(address), count: count))
  }

  func word(_ address: UInt64) -> UInt64 { at(address).load(as: UInt64.self) }

  func text(_ address: UInt64, _ count: Int) -> String {
    String(String.UnicodeScalarView(read(address, count).map { UnicodeScalar($0) }))
  }

  func map(
    _ type: MapType, key: UInt32, value: UInt32, entries: UInt32, flags: MapFlags = [], fields: [SpecialField] = []
  ) throws -> Map {
    try machine.maps.makeMap(
      MapDefinition(name: "m", type: type, keySize: key, valueSize: value, maxEntries: entries, flags: flags),
      fields: fields)
  }

  func address(_ map: Map) -> UInt64 { UInt64(UInt(bitPattern: map.block)) }

  /// Functions of the program that helpers call back: by number, in place of an engine.
  func callBacks(_ body: @escaping (UInt64, [UInt64]) -> UInt64) {
    CallBacks.shared.set(run, body)
    run.pointee.invoke = { run, function, a1, a2, a3, a4, a5 in
      CallBacks.shared.of(run)?(function, [a1, a2, a3, a4, a5]) ?? 0
    }
  }
}

/// What is called back, by run.
final class CallBacks: @unchecked Sendable {
  typealias Body = (UInt64, [UInt64]) -> UInt64
  static let shared = CallBacks()
  private let lock = RuntimeLock()
  private var bodies: [UnsafeMutablePointer<skep_run>?: Body] = [:]

  func set(_ run: UnsafeMutablePointer<skep_run>?, _ body: @escaping Body) { lock.locked { bodies[run] = body } }
  func of(_ run: UnsafeMutablePointer<skep_run>?) -> Body? { lock.locked { bodies[run] } }
}

func failure(_ errno: Errno) -> UInt64 { UInt64(bitPattern: -Int64(errno.rawValue)) }
/// What kernel functions of type `int` return.
func intFailure(_ errno: Errno) -> UInt64 { UInt64(UInt32(bitPattern: -errno.rawValue)) }
