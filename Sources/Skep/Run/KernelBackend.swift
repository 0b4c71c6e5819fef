import BPFKernel
import BPFLinux
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The running kernel as the place where programs run.
final class KernelBackend: RunBackend {
  private let bench: Mutex<KernelTestBench>

  init(_ linux: Linux) throws(RunError) {
    do {
      bench = Mutex(try KernelTestBench(capabilities: linux.capabilities))
    } catch {
      throw RunError(.kernel, error.description, errno: error.errno)
    }
  }

  /// `trace_pipe` is for all of the machine; it is left alone.
  func followTrace(_ body: @escaping @Sendable (String) -> Void) {}

  func prepare(_ units: [RunnableObject.Unit]) -> [PreparedProgram] {
    units.map { _ in PreparedProgram(verified: nil, proof: nil) }
  }

  func makeMap(
    _ definition: MapDefinition, fields: [SpecialField]
  ) throws(RunError) -> (any MapStore, id: UInt32) {
    let made = bench.withLock { bench in
      Result { () throws(KernelEngineError) in try bench.add(definition) }
    }
    switch made {
    case .success(let map):
      return (KernelMapStore(map: map, cpuCount: KernelTestBench.possibleCPUs), map.id)
    case .failure(let error): throw RunError(.kernel, error.description, errno: error.errno)
    }
  }

  func load(
    _ unit: RunnableObject.Unit, _ prepared: PreparedProgram, maps: [any MapStore]
  ) throws(RunError) -> any ProgramRunner {
    let ids = maps.compactMap { ($0 as? KernelMapStore)?.map.id }
    let outcome = bench.withLock { bench in
      Result { () throws(KernelEngineError) in
        let places = ids.compactMap { id in bench.maps.firstIndex { $0.id == id } }
        return KernelRunner.Loaded(try bench.load(unit.program, maps: places))
      }
    }
    switch outcome {
    case .failure(let error): throw RunError(.kernel, error.description, errno: error.errno)
    case .success(let loaded):
      switch loaded.outcome {
      case .loaded(let program): return KernelRunner(unit.program.type, program)
      case .refused(let verdict):
        let errno = Errno(rawValue: verdict.errno)
        throw RunError(.refused, "program '\(unit.name)' is refused by the running kernel (\(errno))", errno: errno)
      }
    }
  }

  func put(_ inner: any MapStore, into map: any MapStore, at key: [UInt8]) throws(MapStoreError) {
    guard let inner = inner as? KernelMapStore, let map = map as? KernelMapStore else {
      throw MapStoreError(errno: .EINVAL)
    }
    do {
      try map.map.setInner(key, inner.map)
    } catch {
      throw MapStoreError(errno: error.errno)
    }
  }

  func put(_ program: any ProgramRunner, into map: any MapStore, at key: [UInt8]) throws(MapStoreError) {
    guard let program = program as? KernelRunner, let map = map as? KernelMapStore else {
      throw MapStoreError(errno: .EINVAL)
    }
    do {
      try program.put(into: map.map, at: key)
    } catch {
      throw MapStoreError(errno: error.errno)
    }
  }
}

/// A program in the kernel.
final class KernelRunner: ProgramRunner, @unchecked Sendable {
  /// Carries an outcome out of a lock.
  struct Loaded: @unchecked Sendable {
    let outcome: KernelTestBench.Outcome

    init(_ outcome: KernelTestBench.Outcome) { self.outcome = outcome }
  }

  let id: UInt32
  let engine = "kernel"
  let remark: String? = nil
  let translation: Duration? = nil
  private let type: ProgramType
  /// Ready for a thread to run; each has memory of its own.
  private let idle: Mutex<[KernelProgram]>
  private let program: KernelProgram
  /// Threads that are in the kernel.
  private let running = Mutex<[pthread_t]>([])

  init(_ type: ProgramType, _ program: KernelProgram) {
    self.type = type
    self.program = program
    id = program.id
    idle = Mutex([program])
  }

  func put(into map: KernelMap, at key: [UInt8]) throws(SystemCallError) {
    try map.setProgram(key, program)
  }

  func run(_ input: RunInput) throws(RunError) -> RunResult {
    var test = KernelTestInput(data: input.data, context: input.givenContext(of: type))
    if input.repeats != 1 { test.repeats = input.repeats }
    if type.givesPacket { test.dataCapacity = max(input.data.count, 1 << 16) + 4096 }
    if input.wantsContext && type.givesContext && type != .syscall { test.contextCapacity = 1024 }
    let mine = idle.withLock { $0.popLast() } ?? program.copy()
    let thread = pthread_self()
    running.withLock { $0.append(thread) }
    defer {
      running.withLock { threads in
        if let place = threads.firstIndex(where: { pthread_equal($0, thread) != 0 }) { threads.remove(at: place) }
      }
      idle.withLock { $0.append(mine) }
    }
    do {
      let result = try mine.run(test)
      return RunResult(
        returnValue: result.returnValue, nanoseconds: result.duration, data: result.data,
        context: input.wantsContext ? result.context : [])
    } catch {
      throw RunInput.refusal(of: type, input, error.errno)
    }
  }

  /// A signal ends the repetition.
  func stop() {
    _ = Self.handler
    running.withLock { threads in
      for thread in threads { pthread_kill(thread, SIGUSR2) }
    }
  }

  /// Does nothing but interrupt.
  private static let handler: Void = {
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in }
    sigaction(SIGUSR2, &action, nil)
  }()
}
