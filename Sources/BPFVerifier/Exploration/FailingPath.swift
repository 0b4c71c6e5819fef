import BPFLinux

/// The way to a refusal: which of the paths that were put aside lead to it, one after the other.
///
/// Verification does the same every time, so the paths are known by their numbers. A replay logs what lies on the way
/// and nothing else: the text is that of log level 1, for the time of a verification without a log.
public struct FailingPath: Sendable, Hashable {
  /// The function that was being verified; nil where it had not come to functions yet, or was done with them.
  var function: Int?
  /// The paths put aside that were taken up, in this order.
  var forks: [UInt32] = []
}

extension Verification {
  /// A path is put aside: its number, and how many were taken up on the way to the place it leaves.
  @inline(__always) func numberFork() -> (number: UInt32, depth: UInt32) {
    forkCount &+= 1
    return (forkCount, UInt32(truncatingIfNeeded: failingPath.forks.count))
  }

  /// A path was put aside: where it is the one that leads on, the rest of this one is of no interest.
  @inline(__always) func leaveFollowedPath(at path: PendingPath) {
    if followed != nil && logLevel != 0 && isOnFollowedPath(path) { logLevel = 0 }
  }

  /// A path is taken up.
  @inline(__always) func takeUp(_ path: PendingPath) {
    failingPath.forks.removeLast(failingPath.forks.count - Int(path.depth))
    failingPath.forks.append(path.number)
    guard followed != nil else { return }
    logLevel = isOnFollowedPath(path) ? 1 : 0
    // The line is said again, wherever the path before it was.
    previousLine = -1
    previousLogPosition = 0
  }

  private func isOnFollowedPath(_ path: PendingPath) -> Bool {
    guard let followed, followed.function == failingPath.function else { return false }
    let depth = Int(path.depth)
    return depth < followed.forks.count && followed.forks[depth] == path.number
  }

  /// A function's exploration begins, or (nil) the last one's is over.
  func enterFunction(_ number: Int?) {
    failingPath = FailingPath(function: number)
    if let followed { logLevel = followed.function == number ? 1 : 0 }
  }
}

extension Verifier {
  /// The log of level 1 of a program that was refused: what lies on the way to the refusal.
  public static func log(
    of rejection: Rejection, _ program: Program, on linux: Linux, limit: Int = 64 << 20
  ) -> [UInt8] {
    var options = VerifierOptions(logLevel: 1)
    options.logLimit = limit
    let verification = Verification(program, on: linux, options: options)
    verification.followed = rejection.path
    // What it throws is the rejection again, and is in the log.
    try? verification.run()
    verification.logLevel = 1
    verification.printStatistics(microseconds: 0)
    return verification.log.contents
  }
}
