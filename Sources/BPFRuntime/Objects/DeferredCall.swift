import BPFMaps
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// What a `bpf_timer` or `bpf_wq` in a map's value stands for: a function of a program that is called later.
///
/// The field holds the address of the object, and behind it a lock:
///
///     bpf_timer, bpf_wq   | object | lock |      |
///
/// While it waits for its time the object keeps the program, and so its maps; at other times it does not.
final class DeferredCall: @unchecked Sendable {
  enum Clock {
    case monotonic, real, boottime
    /// A work queue: at once.
    case none
  }

  let clock: Clock
  private let map: UInt64
  private let value: UInt64
  // All below: under the lock of `DeferredCallQueue`.
  fileprivate weak var program: LoadedProgram?
  fileprivate weak var machine: Machine?
  fileprivate var function: UInt64 = 0
  fileprivate var cpu = 0
  fileprivate var armed: (deadline: UInt64, program: LoadedProgram, machine: Machine)?
  fileprivate var isRunning = false

  private init(_ clock: Clock, map: UInt64, value: UInt64) {
    self.clock = clock
    self.map = map
    self.value = value
  }

  // MARK: Fields

  private static let lockOffset = 8

  private static func locked<R>(_ field: UInt64, _ body: () -> R) -> R {
    SpinLock.lock(memory(field) + lockOffset)
    defer { SpinLock.unlock(memory(field) + lockOffset) }
    return body()
  }

  private static func object(_ field: UInt64) -> DeferredCall? {
    let bits = skep_load_acquire_64(memory(field))
    return bits == 0 ? nil : Unmanaged<DeferredCall>.fromOpaque(memory(bits)).takeUnretainedValue()
  }

  static func initialize(_ field: UInt64, _ clock: Clock, map: UInt64) -> Int32 {
    let owner = Map.of(mapBlock(map))
    let kind = owner.fields.first {
      clock == .none ? $0.kind == .workqueue : $0.kind == .timer
    }
    guard let offset = kind?.offset else { return Failure.EINVAL }
    return locked(field) {
      guard object(field) == nil else { return Failure.EBUSY }
      let call = DeferredCall(clock, map: map, value: field &- UInt64(offset))
      skep_store_release_64(memory(field), address(Unmanaged.passRetained(call).toOpaque()))
      return 0
    }
  }

  static func setCallback(_ field: UInt64, _ function: UInt64, _ run: Run) -> Int32 {
    guard let header = run.pointee.program else { return Failure.EINVAL }
    let program = LoadedProgram.of(header)
    let machine = Worker.of(run).machine
    return locked(field) {
      guard let call = object(field) else { return Failure.EINVAL }
      DeferredCallQueue.shared.locked {
        call.program = program
        call.machine = machine
        call.function = function
      }
      return 0
    }
  }

  static func startTimer(_ field: UInt64, _ nanoseconds: UInt64, isAbsolute: Bool, _ run: Run) -> Int32 {
    let surroundings = Worker.of(run).machine.surroundings
    return locked(field) {
      guard let call = object(field) else { return Failure.EINVAL }
      var delay = Int64(bitPattern: nanoseconds)
      if isAbsolute {
        let now: UInt64 =
          switch call.clock {
          case .real: surroundings.time(.real)
          case .boottime: surroundings.time(.boottime)
          default: surroundings.time(.monotonic)
          }
        delay = delay.subtractingReportingOverflow(Int64(bitPattern: now)).partialValue
      }
      return DeferredCallQueue.shared.arm(call, after: UInt64(max(0, min(delay, 1 << 61))), cpu: Int(run.pointee.cpu))
    }
  }

  static func startWork(_ field: UInt64, _ run: Run) -> Int32 {
    locked(field) {
      guard let call = object(field) else { return Failure.EINVAL }
      return DeferredCallQueue.shared.arm(call, after: 0, cpu: Int(run.pointee.cpu))
    }
  }

  /// 1 where the timer was waiting, 0 where it was not.
  static func cancel(_ field: UInt64) -> Int32 {
    let found: DeferredCall? = locked(field) { object(field) }
    guard let call = found else { return Failure.EINVAL }
    return DeferredCallQueue.shared.cancel(call)
  }

  /// The value that the field is in goes away.
  static func release(_ field: UInt64) {
    let bits = locked(field) { skep_exchange_64(memory(field), 0) }
    guard bits != 0 else { return }
    let call = Unmanaged<DeferredCall>.fromOpaque(memory(bits)).takeRetainedValue()
    DeferredCallQueue.shared.disarm(call)
  }

  // MARK: The call

  fileprivate func perform(_ function: UInt64, _ program: LoadedProgram, _ machine: Machine) {
    let worker = machine.makeWorker(cpu: cpu)
    let block = mapBlock(map)
    if block.pointee.type == 2, let values = block.pointee.values, block.pointee.stride != 0 {
      var index = UInt32(truncatingIfNeeded: (value &- address(values)) / block.pointee.stride)
      withUnsafeMutableBytes(of: &index) {
        _ = program.call(function, on: worker, map, address($0.baseAddress), value)
      }
    } else {
      let key = value &- ((UInt64(block.pointee.key_size) &+ 7) & ~7)
      _ = program.call(function, on: worker, map, key, value)
    }
  }
}

/// Calls what is due, on one thread of its own.
final class DeferredCallQueue: @unchecked Sendable {
  static let shared = DeferredCallQueue()

  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let changed: UnsafeMutablePointer<pthread_cond_t>
  private var waiting: [DeferredCall] = []
  private var current: DeferredCall?
  private var thread: pthread_t?

  private init() {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    changed = .allocate(capacity: 1)
    changed.initialize(to: pthread_cond_t())
    pthread_cond_init(changed, nil)
  }

  func locked<R>(_ body: () -> R) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }

  private var isOwnThread: Bool { thread.map { pthread_equal($0, pthread_self()) != 0 } ?? false }

  fileprivate func arm(_ call: DeferredCall, after delay: UInt64, cpu: Int) -> Int32 {
    // What only this keeps must end after the lock is given back.
    var kept: (LoadedProgram?, Machine?)
    return locked {
      kept = (call.program, call.machine)
      guard let program = kept.0, let machine = kept.1 else { return Failure.EINVAL }
      if call.armed == nil { waiting.append(call) }
      call.armed = (Surroundings.systemTime(.monotonic) &+ delay, program, machine)
      call.cpu = cpu
      startThread()
      pthread_cond_broadcast(changed)
      return 0
    }
  }

  fileprivate func cancel(_ call: DeferredCall) -> Int32 {
    var before: (UInt64, LoadedProgram, Machine)?
    return locked {
      if isOwnThread && current === call { return Failure.EDEADLK }
      call.program = nil
      call.function = 0
      before = take(call)
      // Its callback ends before this does. One thread calls them all, so none can wait for another.
      while call.isRunning && !isOwnThread { pthread_cond_wait(changed, mutex) }
      return before == nil ? 0 : 1
    }
  }

  fileprivate func disarm(_ call: DeferredCall) {
    var before: (UInt64, LoadedProgram, Machine)?
    locked {
      call.program = nil
      call.function = 0
      before = take(call)
    }
    _ = before
  }

  private func take(_ call: DeferredCall) -> (UInt64, LoadedProgram, Machine)? {
    guard let armed = call.armed else { return nil }
    call.armed = nil
    waiting.removeAll { $0 === call }
    return (armed.deadline, armed.program, armed.machine)
  }

  // MARK: The thread

  private func startThread() {
    guard thread == nil else { return }
    #if canImport(Darwin)
    var created: pthread_t?
    pthread_create(&created, nil, { _ in DeferredCallQueue.shared.work() }, nil)
    thread = created
    #else
    var created = pthread_t()
    if pthread_create(&created, nil, { _ in DeferredCallQueue.shared.work() }, nil) == 0 { thread = created }
    #endif
    if let thread { pthread_detach(thread) }
  }

  private struct Job {
    let call: DeferredCall
    let function: UInt64
    let program: LoadedProgram
    let machine: Machine
  }

  private func work() -> UnsafeMutableRawPointer? {
    while true { runNext() }
  }

  private func runNext() {
    let call = locked(runJob)
    locked {
      call.isRunning = false
      current = nil
      pthread_cond_broadcast(changed)
    }
  }

  /// With the lock held; it is given back for the call, and for what ends with the job.
  private func runJob() -> DeferredCall {
    let call: DeferredCall
    do {
      let job = nextJob()
      call = job.call
      pthread_mutex_unlock(mutex)
      call.perform(job.function, job.program, job.machine)
    }
    pthread_mutex_lock(mutex)
    return call
  }

  private func nextJob() -> Job {
    while true {
      let next = waiting.min { ($0.armed?.deadline ?? 0) < ($1.armed?.deadline ?? 0) }
      guard let next, let armed = next.armed else {
        pthread_cond_wait(changed, mutex)
        continue
      }
      let now = Surroundings.systemTime(.monotonic)
      guard armed.deadline <= now else {
        wait(nanoseconds: armed.deadline - now)
        continue
      }
      _ = take(next)
      current = next
      next.isRunning = true
      return Job(call: next, function: next.function, program: armed.program, machine: armed.machine)
    }
  }

  private func wait(nanoseconds: UInt64) {
    var until = timespec()
    clock_gettime(CLOCK_REALTIME, &until)
    let capped = Int(min(nanoseconds, 3_600_000_000_000))
    let sum = Int(until.tv_nsec) + capped % 1_000_000_000
    until.tv_sec += capped / 1_000_000_000 + sum / 1_000_000_000
    until.tv_nsec = sum % 1_000_000_000
    pthread_cond_timedwait(changed, mutex, &until)
  }
}
