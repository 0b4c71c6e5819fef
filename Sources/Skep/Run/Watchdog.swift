import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Calls something again and again once a time is over, until it is told that the work has ended.
///
/// It has a thread of its own: others may all be busy with what is to be stopped.
final class Watchdog: Sendable {
  private struct State {
    var hasEnded = false
    var hasBarked = false
  }

  /// Microseconds between two looks at the clock.
  private static let interval: UInt32 = 5_000
  private let state = Mutex(State())
  private let deadline: ContinuousClock.Instant
  private let body: @Sendable () -> Void

  init(seconds: Double, _ body: @escaping @Sendable () -> Void) {
    self.body = body
    deadline = ContinuousClock.now.advanced(by: .milliseconds(Int64(max(0, min(seconds, 1e9)) * 1000)))
    start()
  }

  private func start() {
    let retained = Unmanaged.passRetained(self)
    #if canImport(Darwin)
    var thread: pthread_t?
    let failed = pthread_create(&thread, nil, { argument in
      Unmanaged<Watchdog>.fromOpaque(argument).takeRetainedValue().watch()
      return nil
    }, retained.toOpaque())
    if failed == 0, let thread { pthread_detach(thread) } else { retained.release() }
    #else
    var thread = pthread_t()
    let failed = pthread_create(&thread, nil, { argument in
      if let argument { Unmanaged<Watchdog>.fromOpaque(argument).takeRetainedValue().watch() }
      return nil
    }, retained.toOpaque())
    if failed == 0 { pthread_detach(thread) } else { retained.release() }
    #endif
  }

  private func watch() {
    while true {
      let isOver = state.withLock { state in
        if state.hasEnded { return true }
        guard ContinuousClock.now >= deadline else { return false }
        state.hasBarked = true
        body()
        return false
      }
      if isOver { return }
      usleep(Self.interval)
    }
  }

  /// The work has ended: whether that was too late.
  func end() -> Bool {
    state.withLock { state in
      state.hasEnded = true
      return state.hasBarked
    }
  }
}
