import BPFLinux

/// The checkpoints made so far, in lists by instruction and call site.
///
/// The number of lists and the hash are Linux's: how many checkpoints share a list shows in the statistics.
struct ExploredStates {
  private let heads: UnsafeMutablePointer<StateRef?>
  private let listCount: Int

  /// Checkpoints in lists, and evicted ones that are still ancestors.
  var count = 0
  var evictedCount = 0

  init(instructionCount: Int) {
    listCount = max(1, instructionCount)
    heads = .allocate(capacity: listCount)
    heads.initialize(repeating: nil, count: listCount)
  }

  func deallocate() { heads.deallocate() }

  /// The head of the list for `instruction` when the innermost frame was called from `callSite`.
  @inline(__always)
  func list(for instruction: Int, callSite: Int32) -> UnsafeMutablePointer<StateRef?> {
    let hash = UInt32(bitPattern: Int32(truncatingIfNeeded: instruction) ^ callSite)
    return heads + Int(hash % UInt32(truncatingIfNeeded: listCount))
  }

  /// Empties every list. The states belong to their pool; the counts go on over all functions, as Linux's do.
  mutating func removeAll(_ body: (StateRef) -> Void) {
    for index in 0..<listCount {
      var next = heads[index]
      while let state = next {
        next = state.pointee.next
        body(state)
      }
      heads[index] = nil
    }
  }
}
