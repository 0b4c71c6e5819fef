/// A list of names known at compile time, in byte order, that is searched without allocating.
public struct NameList: Sendable, ExpressibleByArrayLiteral {
  public let names: [StaticString]

  public init(arrayLiteral names: StaticString...) {
    self.names = names.sorted { $0.order(against: $1) < 0 }
  }

  public func contains(_ name: String) -> Bool { index(of: name) != nil }

  /// Where in `names` it is.
  public func index(of name: String) -> Int? {
    let index = names.partitioningIndex { $0.order(against: name) >= 0 }
    guard index < names.count, names[index].order(against: name) == 0 else { return nil }
    return index
  }
}

extension StaticString {
  /// Negative, zero or positive as this comes before, is, or comes after the other, byte by byte.
  func order(against other: StaticString) -> Int {
    withUTF8Buffer { mine in other.withUTF8Buffer { Self.order(mine, $0) } }
  }

  func order(against other: String) -> Int {
    var other = other
    return withUTF8Buffer { mine in other.withUTF8 { Self.order(mine, $0) } }
  }

  private static func order(_ a: UnsafeBufferPointer<UInt8>, _ b: UnsafeBufferPointer<UInt8>) -> Int {
    for index in 0..<min(a.count, b.count) where a[index] != b[index] {
      return Int(a[index]) - Int(b[index])
    }
    return a.count - b.count
  }
}

extension RandomAccessCollection {
  /// The first index from which on `belongsAfter` holds; the collection is ordered by it.
  func partitioningIndex(where belongsAfter: (Element) -> Bool) -> Index {
    var low = startIndex
    var count = count
    while count > 0 {
      let half = count / 2
      let middle = index(low, offsetBy: half)
      if belongsAfter(self[middle]) {
        count = half
      } else {
        low = index(after: middle)
        count -= half + 1
      }
    }
    return low
  }
}
