#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// The processor time of the current thread, from when the clock was made.
///
/// Programs are verified several at a time; a wall clock would charge each for what the others do to the machine.
struct ProcessorClock {
  private let start = Self.now()

  var elapsedMicroseconds: Int {
    let now = Self.now()
    return (now.tv_sec - start.tv_sec) * 1_000_000 + (now.tv_nsec - start.tv_nsec) / 1000
  }

  private static func now() -> timespec {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return time
  }
}
