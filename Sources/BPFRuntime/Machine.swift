import BPFLinux
import BPFMaps
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// The Linux in user space that programs run on: its maps, CPUs, clock, current task and trace stream.
///
///     let machine = Machine(linux: linux, cpuCount: 1)
///     let map = try machine.maps.makeMap(definition, fields: [])
///     let loaded = try LoadedProgram(verified, maps: [map], on: machine)
///     let value = loaded.run(on: machine.makeWorker(cpu: 0), context)
///
/// What programs learn of the world (time, task, random numbers) comes from `Surroundings`, which tests replace.
public final class Machine: @unchecked Sendable {
  public let linux: Linux
  public let maps: MapSystem
  public let surroundings: Surroundings
  public var cpuCount: Int { maps.cpuCount }

  private let lock = RuntimeLock()
  private var followers: [Int: @Sendable (TraceLine) -> Void] = [:]
  private var lastFollower = 0

  public init(linux: Linux, cpuCount: Int = 1, surroundings: Surroundings = Surroundings()) {
    self.linux = linux
    maps = MapSystem(cpuCount: cpuCount)
    maps.ownObjects()
    self.surroundings = surroundings
  }

  /// A worker that runs programs as the given CPU does. At one time, a CPU has at most one worker at work.
  public func makeWorker(cpu: Int = 0) -> Worker { Worker(machine: self, cpu: min(max(cpu, 0), cpuCount - 1)) }

  // MARK: Trace

  /// Calls `body` with every line that programs print (`bpf_trace_printk`), from whatever thread prints it.
  ///
  /// - Returns: what `unfollow` takes.
  @discardableResult
  public func followTrace(_ body: @escaping @Sendable (TraceLine) -> Void) -> Int {
    lock.locked {
      lastFollower += 1
      followers[lastFollower] = body
      return lastFollower
    }
  }

  public func unfollowTrace(_ number: Int) {
    lock.locked { followers[number] = nil }
  }

  /// Prints a line, without its newline. Those that nobody follows are lost, as they are where no one reads
  /// `trace_pipe`.
  public func trace(_ text: String, from worker: Worker) {
    let all = lock.locked { Array(followers.values) }
    guard !all.isEmpty else { return }
    let task = surroundings.task()
    let line = TraceLine(
      text: text, cpu: worker.cpu, nanoseconds: surroundings.time(.monotonic), pid: task.pid, command: task.command)
    for body in all { body(line) }
  }
}

/// A line of `trace_pipe`.
public struct TraceLine: Sendable {
  public let text: String
  public let cpu: Int
  public let nanoseconds: UInt64
  public let pid: UInt32
  public let command: String

  /// As `trace_pipe` shows it.
  public var description: String {
    let name = String(repeating: " ", count: max(0, 16 - command.utf8.count)) + command
    let id = String(pid)
    let padded = id + String(repeating: " ", count: max(0, 7 - id.utf8.count))
    let number = String(cpu)
    let place = String(repeating: "0", count: max(0, 3 - number.utf8.count)) + number
    let micros = String(nanoseconds / 1000 % 1_000_000)
    let fraction = String(repeating: "0", count: 6 - micros.utf8.count) + micros
    let seconds = String(nanoseconds / 1_000_000_000)
    let time = String(repeating: " ", count: max(0, 5 - seconds.utf8.count)) + seconds
    return "\(name)-\(padded) [\(place)] ...11 \(time).\(fraction): bpf_trace_printk: \(text)"
  }
}

/// The clocks that programs read.
public enum Clock: Sendable {
  case monotonic, boottime, coarse, atomic, real
}

/// Who runs when a program does.
public struct CurrentTask: Sendable, Hashable {
  public var pid: UInt32
  /// What user space calls the process's id.
  public var tgid: UInt32
  public var uid: UInt32
  public var gid: UInt32
  /// At most 15 bytes.
  public var command: String

  public init(pid: UInt32, tgid: UInt32, uid: UInt32, gid: UInt32, command: String) {
    self.pid = pid
    self.tgid = tgid
    self.uid = uid
    self.gid = gid
    self.command = command
  }

  /// This process, and the thread that asks.
  public static var own: CurrentTask {
    var name = [CChar](repeating: 0, count: 16)
    skep_thread_name(&name)
    let command = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return CurrentTask(
      pid: skep_thread_id(), tgid: UInt32(bitPattern: getpid()), uid: UInt32(truncatingIfNeeded: getuid()),
      gid: UInt32(truncatingIfNeeded: getgid()), command: command)
  }
}

/// What programs learn of the world around them.
public struct Surroundings: Sendable {
  /// Nanoseconds of a clock.
  public var time: @Sendable (Clock) -> UInt64
  public var task: @Sendable () -> CurrentTask
  /// What the random numbers of programs begin with; nil for a different one each time.
  public var seed: UInt64?

  public init(
    time: @escaping @Sendable (Clock) -> UInt64 = Surroundings.systemTime,
    task: @escaping @Sendable () -> CurrentTask = { .own }, seed: UInt64? = nil
  ) {
    self.time = time
    self.task = task
    self.seed = seed
  }

  @Sendable
  public static func systemTime(_ clock: Clock) -> UInt64 {
    #if os(Linux)
    let id: clockid_t =
      switch clock {
      case .monotonic: CLOCK_MONOTONIC
      case .boottime: CLOCK_BOOTTIME
      case .coarse: CLOCK_MONOTONIC_COARSE
      case .atomic: CLOCK_TAI
      case .real: CLOCK_REALTIME
      }
    #else
    let id: clockid_t =
      switch clock {
      case .atomic, .real: CLOCK_REALTIME
      default: CLOCK_MONOTONIC
      }
    #endif
    var time = timespec()
    clock_gettime(id, &time)
    return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
  }
}

/// Keeps threads out of each other's way for a few instructions.
final class RuntimeLock: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>

  init() {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  func locked<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }
}
