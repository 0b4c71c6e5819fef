#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Keeps threads out of each other's way.
final class Lock: @unchecked Sendable {
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

/// Whose call the thread works on: maps of maps and of programs are written by descriptor numbers.
enum CurrentClient {
  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    pthread_key_create(&key, nil)
    return key
  }()

  private final class Box {
    let client: any Client
    init(_ client: any Client) { self.client = client }
  }

  static func during<R, E: Error>(_ client: any Client, _ body: () throws(E) -> R) throws(E) -> R {
    let box = Box(client)
    let before = pthread_getspecific(key)
    pthread_setspecific(key, Unmanaged.passUnretained(box).toOpaque())
    defer {
      pthread_setspecific(key, before)
      withExtendedLifetime(box) {}
    }
    return try body()
  }

  static var client: (any Client)? {
    pthread_getspecific(key).map { Unmanaged<Box>.fromOpaque($0).takeUnretainedValue().client }
  }
}

func bootTime() -> UInt64 {
  #if os(Linux)
  let clock = CLOCK_BOOTTIME
  #else
  let clock = CLOCK_MONOTONIC
  #endif
  var time = timespec()
  clock_gettime(clock, &time)
  return UInt64(truncatingIfNeeded: time.tv_sec) &* 1_000_000_000 &+ UInt64(truncatingIfNeeded: time.tv_nsec)
}
