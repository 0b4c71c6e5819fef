/// What a program can reach, each object far from the next, so that any pointer tells what it was made from.
struct Memory {
  enum Kind: Equatable {
    case context
    case stack
    case packet
    case map(Int)
    case mapValue(Int)
  }

  struct Object {
    var kind: Kind
    var bytes: [UInt8]
    var isWritable = true
  }

  private(set) var objects: [Object] = []

  static let origin: UInt64 = 0xffff_8800_0000_0000
  static let spacing: UInt64 = 1 << 34

  static func base(_ index: Int) -> UInt64 { origin &+ UInt64(index) &* spacing }

  mutating func add(_ kind: Kind, _ bytes: [UInt8], isWritable: Bool = true) -> UInt64 {
    objects.append(Object(kind: kind, bytes: bytes, isWritable: isWritable))
    return Self.base(objects.count - 1)
  }

  /// The object that an address lies in or near, and where in it.
  func locate(_ address: UInt64) -> (index: Int, offset: Int64)? {
    let index = (address &- Self.origin &+ Self.spacing / 2) / Self.spacing
    guard index < UInt64(objects.count) else { return nil }
    return (Int(index), Int64(bitPattern: address &- Self.base(Int(index))))
  }

  func load(_ index: Int, _ offset: Int, _ size: Int) -> UInt64 {
    var value: UInt64 = 0
    if size == 8 {
      return objects[index].bytes.withUnsafeBytes {
        UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      }
    }
    for byte in (0..<size).reversed() { value = value << 8 | UInt64(objects[index].bytes[offset + byte]) }
    return value
  }

  mutating func store(_ index: Int, _ offset: Int, _ size: Int, _ value: UInt64) {
    for byte in 0..<size { objects[index].bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(byte * 8)) }
  }

  /// The only object that `removeLast` may take: a frame's stack, when its function returns.
  mutating func removeLast() { objects.removeLast() }
}
