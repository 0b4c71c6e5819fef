import BPFJIT
import BPFLinux
import BPFMaps
import BPFRuntime
import BPFVerifier
import Dispatch
import Synchronization

/// This process as the place where programs run.
final class UserBackend: RunBackend {
  private let linux: Linux
  private let translation: RunEngine.Translation
  private let machine: Machine
  private let lastID = Atomic<UInt32>(0)
  /// By CPU: one program runs on it at a time.
  private let turns: [Turn]

  init(linux: Linux, translation: RunEngine.Translation, cpuCount: Int) {
    self.linux = linux
    self.translation = translation
    machine = Machine(linux: linux, cpuCount: cpuCount)
    turns = (0..<machine.cpuCount).map { _ in Turn() }
  }

  func followTrace(_ body: @escaping @Sendable (String) -> Void) {
    machine.followTrace { body($0.description) }
  }

  // MARK: Proofs

  func prepare(_ units: [RunnableObject.Unit]) throws(RunError) -> [PreparedProgram] {
    var prepared: [PreparedProgram] = []
    for unit in units {
      let verified = try verify(unit)
      do {
        prepared.append(PreparedProgram(verified: verified, proof: try verified.proof(on: linux)))
      } catch {
        throw Self.refusal(unit, error)
      }
    }
    return prepared
  }

  private func verify(_ unit: RunnableObject.Unit) throws(RunError) -> VerifiedProgram {
    var program = unit.program
    do throws(LoadError) {
      try ProgramRules.checkLoad(program, linux: linux)
    } catch {
      throw RunError(.refused, "program '\(unit.name)' cannot be loaded: \(error)", errno: error.errno)
    }
    program.expectedAttachType = ProgramRules.effectiveAttachType(program.type, program.expectedAttachType)
    switch Verifier.verify(program, on: linux).result {
    case .success(let verified): return verified
    case .failure(let rejection): throw Self.refusal(unit, rejection)
    }
  }

  private static func refusal(_ unit: RunnableObject.Unit, _ rejection: Rejection) -> RunError {
    let message = rejection.message.split(separator: "\n").joined(separator: "; ")
    return RunError(
      .refused, "program '\(unit.name)' is refused (\(rejection.errno)): \(message); see skep check",
      errno: rejection.errno)
  }

  // MARK: Maps

  func makeMap(
    _ definition: MapDefinition, fields: [SpecialField]
  ) throws(RunError) -> (any MapStore, id: UInt32) {
    do throws(MapError) {
      var inner: Map?
      // The fields of a map of maps are those of the maps in it.
      if let model = definition.inner.first { inner = try machine.maps.makeMap(model, fields: fields) }
      let map = try machine.maps.makeMap(definition, fields: inner == nil ? fields : [], inner: inner)
      return (UserMapStore(map: map, cpuCount: machine.cpuCount), map.id)
    } catch {
      let kind: RunError.Kind = [.ENOTSUPP, .EOPNOTSUPP].contains(error.errno) ? .notSupported : .refused
      throw RunError(kind, "map '\(definition.name)' cannot be made: \(error.message)", errno: error.errno)
    }
  }

  func put(_ inner: any MapStore, into map: any MapStore, at key: [UInt8]) throws(MapStoreError) {
    guard let inner = inner as? UserMapStore, let map = map as? UserMapStore, key.count == map.map.keySize else {
      throw MapStoreError(errno: .EINVAL)
    }
    do throws(Errno) {
      switch map.map {
      case let array as ArrayOfMaps: try array.setInner(UInt32(truncatingIfNeeded: ValueType.word(key[...])), inner.map)
      case let hash as HashOfMaps: try hash.setInner(key, inner.map)
      default: throw .EINVAL
      }
    } catch {
      throw MapStoreError(errno: error)
    }
  }

  func put(_ program: any ProgramRunner, into map: any MapStore, at key: [UInt8]) throws(MapStoreError) {
    guard let program = program as? UserRunner, let array = (map as? UserMapStore)?.map as? ProgramArray,
      key.count == 4
    else { throw MapStoreError(errno: .EINVAL) }
    let index = UInt32(truncatingIfNeeded: ValueType.word(key[...]))
    do throws(Errno) {
      try array.setProgram(
        index, UnsafePointer(program.loaded.header), keepAlive: program.loaded, id: program.id)
    } catch {
      throw MapStoreError(errno: error)
    }
  }

  // MARK: Programs

  func load(
    _ unit: RunnableObject.Unit, _ prepared: PreparedProgram, maps: [any MapStore]
  ) throws(RunError) -> any ProgramRunner {
    guard let verified = prepared.verified, let proof = prepared.proof else {
      throw RunError(.refused, "program '\(unit.name)' was not verified")
    }
    let linked: BPFRuntime.LinkedProgram
    do {
      linked = try BPFRuntime.LinkedProgram(verified, maps: maps.compactMap { ($0 as? UserMapStore)?.map }, on: machine)
    } catch {
      throw RunError(.notSupported, "program '\(unit.name)' cannot run in user space: \(error)", errno: .EOPNOTSUPP)
    }
    let clock = ContinuousClock()
    let began = clock.now
    let (loaded, remark) = try prepare(linked, unit.name)
    let translation = began.duration(to: clock.now)
    let places = turns.enumerated().map { cpu, turn in
      let test = TestRun(
        type: unit.program.type, attachType: verified.program.expectedAttachType, linux: linux,
        contextExtent: TestRun.contextExtent(of: proof))
      test.cpuCount = machine.cpuCount
      test.runsEverything = true
      return UserRunner.Place(test: test, worker: machine.makeWorker(cpu: cpu), turn: turn)
    }
    let id = lastID.add(1, ordering: .relaxed).newValue
    return UserRunner(loaded, id, unit.program.type, places, remark: remark, translation: translation)
  }

  private func prepare(
    _ linked: BPFRuntime.LinkedProgram, _ name: String
  ) throws(RunError) -> (LoadedProgram, remark: String?) {
    if translation == .machineCode {
      do {
        return (try LoadedProgram(linked, engine: JIT.engine()), nil)
      } catch {
        throw RunError(.notSupported, "program '\(name)' cannot be translated to machine code: \(error)")
      }
    }
    do {
      return (try LoadedProgram(linked, engine: .interpreter), nil)
    } catch {
      throw RunError(.notSupported, "program '\(name)' cannot be interpreted: \(error)")
    }
  }
}

/// One at a time.
private final class Turn: Sendable {
  private let lock = DispatchSemaphore(value: 1)

  func run<R>(_ body: () -> R) -> R {
    lock.wait()
    defer { lock.signal() }
    return body()
  }
}

/// A program in this process.
private final class UserRunner: ProgramRunner, @unchecked Sendable {
  /// One CPU.
  struct Place {
    let test: TestRun
    let worker: Worker
    let turn: Turn
  }

  let id: UInt32
  let loaded: LoadedProgram
  let remark: String?
  let translation: Duration?
  private let type: ProgramType
  private let places: [Place]

  init(
    _ loaded: LoadedProgram, _ id: UInt32, _ type: ProgramType, _ places: [Place], remark: String?,
    translation: Duration
  ) {
    self.loaded = loaded
    self.id = id
    self.type = type
    self.places = places
    self.remark = remark
    self.translation = translation
  }

  var engine: String { loaded.engine }

  private func place(_ cpu: Int) throws(RunError) -> Place {
    guard places.indices.contains(cpu) else {
      throw RunError(.input, "there is no CPU \(cpu): there are \(places.count)", errno: .ENXIO)
    }
    return places[cpu]
  }

  func run(_ input: RunInput) throws(RunError) -> RunResult {
    let place = try place(input.cpu)
    var given = TestRun.Input(data: input.data, context: input.givenContext(of: type))
    given.repeats = input.repeats == 1 ? 0 : input.repeats
    if type.givesPacket { given.dataCapacity = Int.max / 2 }
    if input.wantsContext && type.givesContext && type != .syscall { given.contextCapacity = 4096 }
    let output = place.turn.run {
      place.worker.resume()
      return place.test.run(given) { loaded.run(on: place.worker, $0, repeat: $1) }
    }
    if let errno = output.errno { throw RunInput.refusal(of: type, input, errno) }
    return RunResult(
      returnValue: output.returnValue, nanoseconds: output.duration, data: output.data,
      context: input.wantsContext ? output.context : [])
  }

  func run(packet: [UInt8], wantsPacket: Bool) throws(RunError) -> RunResult? {
    let place = try place(0)
    return place.turn.run {
      packet.withUnsafeBytes { bytes in
        guard let context = place.test.context(of: bytes) else { return nil }
        let value = loaded.run(on: place.worker, context)
        return RunResult(
          returnValue: UInt32(truncatingIfNeeded: value), nanoseconds: 0,
          data: wantsPacket ? place.test.packet(in: context) : [], context: [])
      }
    }
  }

  func values(of packets: [[UInt8]], cpu: Int) throws(RunError) -> [UInt32?] {
    let place = try place(cpu)
    return place.turn.run {
      place.worker.resume()
      return packets.map { packet in
        packet.withUnsafeBytes { bytes in
          place.test.context(of: bytes).map { UInt32(truncatingIfNeeded: loaded.run(on: place.worker, $0)) }
        }
      }
    }
  }

  func stop() {
    for place in places { place.worker.stop() }
  }
}
