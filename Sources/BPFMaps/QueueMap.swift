import BPFLinux
import CBPFRuntime

/// `BPF_MAP_TYPE_QUEUE` and `BPF_MAP_TYPE_STACK`: values without keys.
///
/// Programs push, pop and peek by the static functions, on the map's block. `storage` of the block: elements, lock and
/// positions.
public final class QueueMap: Map, @unchecked Sendable {
  private let byteCount: Int

  private enum Ring {
    static let lock = 0
    static let head = 8
    static let tail = 16
    static let elements = 64
  }

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    guard definition.keySize == 0, definition.valueSize > 0, definition.maxEntries > 0 else {
      throw MapError(.EINVAL, "entries and a value are needed, and no key")
    }
    byteCount = Ring.elements + (Int(definition.maxEntries) + 1) * Int(definition.valueSize)
    guard let ring = ZeroedMemory.allocate(byteCount) else {
      throw MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    }
    super.init(base: definition, fields: [], system: system)
    block.pointee.storage.0 = ring
    block.pointee.lookup = { _, _, _ in 0 }
    block.pointee.update = { _, _, _, _, _ in -22 }
    block.pointee.remove = { _, _, _ in -22 }
  }

  deinit {
    if let ring = block.pointee.storage.0 { ZeroedMemory.free(ring, byteCount) }
  }

  /// `bpf_map_push_elem`: 0 or a negative error number.
  public static func push(
    _ map: UnsafeMutablePointer<skep_map>, _ value: UnsafeRawPointer, flags: UInt64
  ) -> Int64 {
    guard flags & UpdateFlags.noExist == 0, flags <= UpdateFlags.exist else { return -22 }
    let ring = map.pointee.storage.0.unsafelyUnwrapped
    let size = UInt64(map.pointee.max_entries) &+ 1
    SpinLock.lock(ring)
    defer { SpinLock.unlock(ring) }
    let head = ring.load(fromByteOffset: Ring.head, as: UInt64.self)
    let tail = ring.load(fromByteOffset: Ring.tail, as: UInt64.self)
    let next = head &+ 1 == size ? 0 : head &+ 1
    if next == tail {
      guard flags & UpdateFlags.exist != 0 else { return -7 }
      ring.storeBytes(of: tail &+ 1 == size ? 0 : tail &+ 1, toByteOffset: Ring.tail, as: UInt64.self)
    }
    element(ring, map, head).copyMemory(from: value, byteCount: Int(map.pointee.value_size))
    ring.storeBytes(of: next, toByteOffset: Ring.head, as: UInt64.self)
    return 0
  }

  /// `bpf_map_pop_elem`.
  public static func pop(_ map: UnsafeMutablePointer<skep_map>, into value: UnsafeMutableRawPointer) -> Int64 {
    take(map, value, removing: true)
  }

  /// `bpf_map_peek_elem`.
  public static func peek(_ map: UnsafeMutablePointer<skep_map>, into value: UnsafeMutableRawPointer) -> Int64 {
    take(map, value, removing: false)
  }

  @inline(__always)
  private static func element(
    _ ring: UnsafeMutableRawPointer, _ map: UnsafeMutablePointer<skep_map>, _ index: UInt64
  ) -> UnsafeMutableRawPointer {
    ring + Ring.elements + Int(index) &* Int(map.pointee.value_size)
  }

  private static func take(
    _ map: UnsafeMutablePointer<skep_map>, _ value: UnsafeMutableRawPointer, removing: Bool
  ) -> Int64 {
    let ring = map.pointee.storage.0.unsafelyUnwrapped
    let size = UInt64(map.pointee.max_entries) &+ 1
    let count = Int(map.pointee.value_size)
    SpinLock.lock(ring)
    defer { SpinLock.unlock(ring) }
    let head = ring.load(fromByteOffset: Ring.head, as: UInt64.self)
    let tail = ring.load(fromByteOffset: Ring.tail, as: UInt64.self)
    guard head != tail else {
      value.initializeMemory(as: UInt8.self, repeating: 0, count: count)
      return -2
    }
    if map.pointee.type == MapType.queue.rawValue {
      value.copyMemory(from: element(ring, map, tail), byteCount: count)
      if removing { ring.storeBytes(of: tail &+ 1 == size ? 0 : tail &+ 1, toByteOffset: Ring.tail, as: UInt64.self) }
    } else {
      let last = head == 0 ? size &- 1 : head &- 1
      value.copyMemory(from: element(ring, map, last), byteCount: count)
      if removing { ring.storeBytes(of: last, toByteOffset: Ring.head, as: UInt64.self) }
    }
    return 0
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    Int32(Self.peek(block, into: bytes))
  }
  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    Int32(Self.push(block, bytes, flags: flags))
  }
  override func takeElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    Int32(Self.pop(block, into: bytes))
  }
  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 { -22 }
  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 { -22 }
}

/// `BPF_MAP_TYPE_BLOOM_FILTER`: says of a value that it was never put in, or may have been.
///
/// `storage` of the block: bits, mask of a bit's number, seed, number of hash functions.
public final class BloomFilter: Map, @unchecked Sendable {
  private let byteCount: Int

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    guard definition.keySize == 0, definition.valueSize > 0, definition.maxEntries > 0,
      definition.mapExtra & ~0xf == 0
    else { throw MapError(.EINVAL, "entries and a value are needed, no key, and at most 15 hash functions") }
    let functions = definition.mapExtra == 0 ? 5 : UInt32(definition.mapExtra)
    let mask = Self.mask(entries: definition.maxEntries, functions: functions)
    byteCount = (Int(mask) + 8) / 8
    guard let bits = ZeroedMemory.allocate(byteCount.roundedUp(to: 8)) else {
      throw MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    }
    super.init(base: definition, fields: [], system: system)
    let seed = definition.flags.contains(.zeroSeed) ? 0 : UInt(truncatingIfNeeded: randomSeed() & 0xffff_ffff)
    block.pointee.storage.0 = bits
    block.pointee.storage.1 = UnsafeMutableRawPointer(bitPattern: UInt(mask))
    block.pointee.storage.2 = UnsafeMutableRawPointer(bitPattern: seed)
    block.pointee.storage.3 = UnsafeMutableRawPointer(bitPattern: UInt(functions))
    block.pointee.lookup = { _, _, _ in UInt64(bitPattern: -22) }
    block.pointee.update = { _, _, _, _, _ in -22 }
    block.pointee.remove = { _, _, _ in -95 }
  }

  deinit {
    if let bits = block.pointee.storage.0 { ZeroedMemory.free(bits, byteCount.roundedUp(to: 8)) }
  }

  /// Bits for n entries and k functions: the power of two above 7/5 n k.
  private static func mask(entries: UInt32, functions: UInt32) -> UInt32 {
    let (product, tooMany) = entries.multipliedReportingOverflow(by: functions)
    let (bits, tooLarge) = (product / 5).multipliedReportingOverflow(by: 7)
    guard !tooMany, !tooLarge, bits <= 1 << 31 else { return .max }
    return bits <= 64 ? 63 : UInt32(truncatingIfNeeded: Int(bits).roundedUpToPowerOfTwo - 1)
  }

  @inline(__always)
  private static func bit(
    _ map: UnsafeMutablePointer<skep_map>, _ value: UnsafeRawPointer, _ function: UInt32
  ) -> (word: UnsafeMutableRawPointer, bit: UInt64) {
    let seed = UInt32(truncatingIfNeeded: UInt(bitPattern: map.pointee.storage.2)) &+ function
    let mask = UInt32(truncatingIfNeeded: UInt(bitPattern: map.pointee.storage.1))
    let number = JenkinsHash.value(value, size: Int(map.pointee.value_size), seed: seed) & mask
    return (map.pointee.storage.0.unsafelyUnwrapped + Int(number >> 6) &* 8, 1 << UInt64(number & 63))
  }

  /// `bpf_map_push_elem`.
  public static func push(
    _ map: UnsafeMutablePointer<skep_map>, _ value: UnsafeRawPointer, flags: UInt64
  ) -> Int64 {
    guard flags == UpdateFlags.any else { return -22 }
    for function in 0..<UInt32(truncatingIfNeeded: UInt(bitPattern: map.pointee.storage.3)) {
      let (word, bit) = bit(map, value, function)
      if skep_load_relaxed_64(word) & bit == 0 { _ = skep_fetch_or_64(word, bit) }
    }
    return 0
  }

  /// `bpf_map_peek_elem`: 0 where the value may be in the set.
  public static func peek(_ map: UnsafeMutablePointer<skep_map>, _ value: UnsafeRawPointer) -> Int64 {
    for function in 0..<UInt32(truncatingIfNeeded: UInt(bitPattern: map.pointee.storage.3)) {
      let (word, bit) = bit(map, value, function)
      if skep_load_relaxed_64(word) & bit == 0 { return -2 }
    }
    return 0
  }

  /// Whether the value may be in the set: `BPF_MAP_LOOKUP_ELEM`, which takes the value from user space.
  public func contains(_ bytes: [UInt8], flags: UInt64 = 0, access: MapAccess? = nil) throws(Errno) -> Bool {
    guard bytes.count == Int(definition.valueSize) else { throw .EINVAL }
    guard flags & ~UpdateFlags.lock == 0, flags == 0 else { throw .EINVAL }
    guard (access ?? MapAccess(definition.flags)).contains(.read) else { throw .EPERM }
    return withAligned(bytes) { Self.peek(block, $0) } == 0
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    Int32(Self.peek(block, bytes))
  }
  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    Int32(Self.push(block, bytes, flags: flags))
  }
  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 { -95 }
  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 { -95 }
}
