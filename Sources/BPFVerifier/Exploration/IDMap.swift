/// Which id of an explored state stands for which id of the current one, while two states are compared.
///
/// Ids are compared up to renaming: the first pair seen of an id binds it. The map is stateful, so the order in which
/// ids are presented is part of the comparison.
struct IDMap: BitwiseCopyable {
  /// As many ids as eight frames of registers and stack slots can hold.
  static let capacity = (registerCount + 64) * maximumFrames

  /// How many pairs are bound; what lies behind them in `pairs` is left over from earlier comparisons.
  var count: UInt32 = 0
  /// The last id that was made up for a scalar that has none.
  var lastTemporaryID: UInt32 = 0
  /// Old id in the low half, current id in the high half. Starts at byte 8: see `pairs` of the pointer.
  private var storage: InlineArray<600, UInt64> = .init(repeating: 0)
}

extension UnsafeMutablePointer where Pointee == IDMap {
  @inline(__always) private var pairs: UnsafeMutablePointer<UInt64> {
    (UnsafeMutableRawPointer(self) + 8).assumingMemoryBound(to: UInt64.self)
  }

  /// Forgets all pairs. Ids made up from now on come after `lastID`.
  @inline(__always) func reset(lastID: UInt32) {
    pointee.count = 0
    pointee.lastTemporaryID = lastID
  }

  /// Whether `old` may stand for `current`: both none, bound to each other before, or both new (and bound now).
  @inline(__always) func agree(_ old: UInt32, _ current: UInt32) -> Bool {
    if old == 0 || current == 0 { return old == current }
    return bind(old, current)
  }

  /// As `agree`, for scalars. An old one that is linked to none does not mind what the current one is linked to; a
  /// current one without id counts as one with an id of its own. Where there is a delta, what it is added to must be
  /// the same scalar, too.
  @inline(__always) func agreeOnScalars(_ old: UInt32, _ current: UInt32) -> Bool {
    if old == 0 { return true }
    var current = current
    if current == 0 {
      pointee.lastTemporaryID &+= 1
      current = pointee.lastTemporaryID
    }
    guard bind(old, current) else { return false }
    if old & RegisterState.addConst == 0 { return true }
    return agree(old & ~RegisterState.addConst, current & ~RegisterState.addConst)
  }

  private func bind(_ old: UInt32, _ current: UInt32) -> Bool {
    let pairs = self.pairs
    let count = Int(pointee.count)
    let wanted = UInt64(old) | UInt64(current) << 32
    var index = 0
    while index < count {
      let pair = pairs[index]
      if pair == wanted { return true }
      if UInt32(truncatingIfNeeded: pair) == old || UInt32(truncatingIfNeeded: pair >> 32) == current { return false }
      index &+= 1
    }
    guard count < IDMap.capacity else { return false }
    pairs[count] = wanted
    pointee.count = UInt32(truncatingIfNeeded: count &+ 1)
    return true
  }
}
