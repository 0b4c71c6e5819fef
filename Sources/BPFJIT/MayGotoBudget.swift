import BPFRuntime

/// How long a loop around `may_goto` may go on: Linux lets it for a quarter of a second.
enum MayGotoBudget {
  /// Called once the count is used up; `budget` is the count and, after it, when that was first so.
  ///
  /// - Returns: whether the loop goes on, with the count renewed.
  static func renew(_ budget: UnsafeMutablePointer<UInt64>?) -> Bool {
    guard let budget else { return false }
    let now = Surroundings.systemTime(.monotonic)
    if budget[1] == 0 {
      budget[1] = now
    } else if now &- budget[1] >= 250_000_000 {
      // Whoever asks again gets the same answer at once.
      budget[0] = 1
      return false
    }
    budget[0] = 0xffff
    return true
  }
}
