import BPFLinux
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

extension Int {
  /// `unit` is a power of two.
  @inlinable func roundedUp(to unit: Int) -> Int { (self &+ unit &- 1) & ~(unit &- 1) }
}

/// Memory that begins as zeros, which take no room before they are written to.
enum ZeroedMemory {
  static let pageSize = 4096
  private static let smallest = 64 << 10

  static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer? {
    guard byteCount >= 0, byteCount < 1 << 46 else { return nil }
    guard byteCount >= smallest else {
      let memory = UnsafeMutableRawPointer.allocate(byteCount: max(64, byteCount), alignment: 64)
      memory.initializeMemory(as: UInt8.self, repeating: 0, count: max(64, byteCount))
      return memory
    }
    #if os(Linux)
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    #else
    let flags = MAP_PRIVATE | MAP_ANON
    #endif
    let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, flags, -1, 0)
    return memory == MAP_FAILED ? nil : memory
  }

  static func free(_ memory: UnsafeMutableRawPointer, _ byteCount: Int) {
    if byteCount >= smallest { munmap(memory, byteCount) } else { memory.deallocate() }
  }
}

/// Memory behind a file descriptor, so that other processes can map it too.
struct SharedFile {
  let descriptor: Int32
  let byteCount: Int

  init?(byteCount: Int) {
    descriptor = skep_memory_file()
    guard descriptor >= 0 else { return nil }
    self.byteCount = byteCount
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      close(descriptor)
      return nil
    }
  }

  func map(at address: UnsafeMutableRawPointer? = nil, offset: Int = 0, _ byteCount: Int) -> UnsafeMutableRawPointer? {
    let flags = MAP_SHARED | (address == nil ? 0 : MAP_FIXED)
    let memory = mmap(address, byteCount, PROT_READ | PROT_WRITE, flags, descriptor, off_t(offset))
    return memory == MAP_FAILED ? nil : memory
  }

  func closeFile() { close(descriptor) }
}

/// Addresses that nothing else is put at, without memory behind them.
enum ReservedAddresses {
  static func reserve(_ byteCount: Int, at address: UnsafeMutableRawPointer? = nil) -> UnsafeMutableRawPointer? {
    #if os(Linux)
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    #else
    let flags = MAP_PRIVATE | MAP_ANON
    #endif
    let memory = mmap(address, byteCount, PROT_NONE, flags, -1, 0)
    return memory == MAP_FAILED ? nil : memory
  }

  /// Memory of zeros at addresses that are reserved.
  static func fill(_ address: UnsafeMutableRawPointer, _ byteCount: Int) -> Bool {
    mprotect(address, byteCount, PROT_READ | PROT_WRITE) == 0
  }

  static func release(_ address: UnsafeMutableRawPointer, _ byteCount: Int) { munmap(address, byteCount) }
}

func yieldProcessor() { sched_yield() }

/// A lock that is one word of memory: what `bpf_spin_lock` in a map's value is, too.
public enum SpinLock {
  @inlinable @inline(__always)
  public static func lock(_ word: UnsafeMutableRawPointer) {
    if skep_compare_exchange_32(word, 0, 1) == 0 { return }
    lockSlowly(word)
  }

  @inlinable @inline(__always)
  public static func unlock(_ word: UnsafeMutableRawPointer) { skep_store_release_32(word, 0) }

  @inlinable @inline(__always)
  public static func tryLock(_ word: UnsafeMutableRawPointer) -> Bool { skep_compare_exchange_32(word, 0, 1) == 0 }

  @usableFromInline @inline(never)
  static func lockSlowly(_ word: UnsafeMutableRawPointer) {
    var spins = 0
    while true {
      if skep_load_relaxed_32(word) == 0, skep_compare_exchange_32(word, 0, 1) == 0 { return }
      spins &+= 1
      if spins < 200 {
        skep_pause()
      } else {
        // Its holder may not be running.
        yieldProcessor()
      }
    }
  }
}

/// A lock for what is not on a program's way.
final class Mutex: @unchecked Sendable {
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

  func withLock<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body()
  }
}

/// Waits for something that another thread counts up.
final class WaitQueue: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private let waiters: UnsafeMutablePointer<UInt32>

  init() {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    condition.initialize(to: pthread_cond_t())
    pthread_cond_init(condition, nil)
    waiters = .allocate(capacity: 1)
    waiters.initialize(to: 0)
  }

  deinit {
    pthread_cond_destroy(condition)
    condition.deallocate()
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
    waiters.deallocate()
  }

  func wakeAll() {
    skep_fence()
    guard skep_load_acquire_32(waiters) != 0 else { return }
    pthread_mutex_lock(mutex)
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
  }

  /// False where `condition` did not come true within the time; negative times are forever.
  func wait(milliseconds: Int, until isTrue: () -> Bool) -> Bool {
    if isTrue() { return true }
    if milliseconds == 0 { return false }
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    let nanoseconds = Int(deadline.tv_nsec) + (milliseconds % 1000) * 1_000_000
    deadline.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000
    _ = skep_fetch_add_32(waiters, 1)
    pthread_mutex_lock(mutex)
    defer {
      pthread_mutex_unlock(mutex)
      _ = skep_fetch_add_32(waiters, UInt32.max)
    }
    while !isTrue() {
      if milliseconds < 0 {
        pthread_cond_wait(condition, mutex)
      } else if pthread_cond_timedwait(condition, mutex, &deadline) != 0 {
        return isTrue()
      }
    }
    return true
  }
}

/// Random bits for seeds.
func randomSeed() -> UInt64 { UInt64.random(in: .min ... .max) }
