/// Consecutive bytes of memory that a node holds, put together from narrower loads.
struct LoadPiece: BitwiseCopyable {
  var node: Int32
  var base: Int32
  var offset: Int64
  var bytes: UInt8
  /// The value is shifted left by as many bits.
  var shift: UInt8 = 0
  /// Highest byte first in memory.
  var isBigEndian = false
  /// Stores before it; later ones may have changed what it read.
  var epoch: Int32
}

/// Programs read unaligned words byte by byte, as BPF has them do it: here they become single accesses again.
extension BlockBuilder {
  /// What `node` was loaded as; nil where it is something else.
  private func piece(_ node: Int32) -> LoadPiece? {
    let it = nodes[node]
    if it.operation == .shiftLeft, let count = constantValue(it.b), count < 64, count & 7 == 0 {
      guard var inner = piece(it.a) else { return nil }
      guard Int(inner.shift) + Int(count) + Int(inner.bytes) * 8 <= Int(it.width) * 8 else { return nil }
      inner.shift += UInt8(count)
      return inner
    }
    guard it.isLoad || it.operation == .or || it.operation == .add || it.operation == .byteSwap else { return nil }
    // Pieces are in the order of their nodes; one that is looked for is nearly always among the last.
    var index = pieces.count - 1
    let oldest = max(0, pieces.count - 24)
    while index >= oldest {
      if pieces[index].node == node { return pieces[index] }
      index -= 1
    }
    return nil
  }

  mutating func combineLoads(_ operation: Operation, _ width: UInt8, _ a: Int32, _ b: Int32) -> Int32? {
    guard let first = piece(a), let second = piece(b) else { return nil }
    let (low, high) = first.shift < second.shift ? (first, second) : (second, first)
    guard low.base == high.base, low.epoch == epoch, high.epoch == epoch,
      Int(high.shift) == Int(low.shift) + Int(low.bytes) * 8, low.bytes + high.bytes <= 8,
      Int(low.shift) + Int(low.bytes + high.bytes) * 8 <= Int(width) * 8
    else { return nil }
    var whole = low
    whole.bytes = low.bytes + high.bytes
    if (low.bytes == 1 || !low.isBigEndian) && (high.bytes == 1 || !high.isBigEndian)
      && high.offset == low.offset + Int64(low.bytes)
    {
      whole.isBigEndian = false
    } else if (low.bytes == 1 || low.isBigEndian) && (high.bytes == 1 || high.isBigEndian)
      && low.offset == high.offset + Int64(high.bytes)
    {
      whole.isBigEndian = true
      whole.offset = high.offset
    } else {
      return nil
    }
    guard whole.bytes & (whole.bytes - 1) == 0 else {
      // An odd number of bytes: it may grow.
      var made = Node(operation, width: width)
      made.a = a
      made.b = b
      made.bits = min(width &* 8, whole.shift + whole.bytes * 8)
      whole.node = find(made)
      pieces.append(whole)
      return whole.node
    }
    var value = load(whole.base, whole.offset, whole.bytes)
    if whole.isBigEndian {
      value = byteSwap(whole.bytes, value)
      var swapped = whole
      swapped.shift = 0
      swapped.node = value
      pieces.append(swapped)
    }
    return whole.shift == 0 ? value : binary(.shiftLeft, width, value, constant(UInt64(whole.shift)))
  }

  /// Puts `store` and the one just before it together, where both are parts of one value.
  mutating func mergeStore(_ store: inout Node) -> Bool {
    _ = store
    return false
  }
}
