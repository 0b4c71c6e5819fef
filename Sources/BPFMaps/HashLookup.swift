import CBPFRuntime

/// What programs call to look a key up: one function for each size of key that is common.
///
/// `storage` of a hashed map's block: buckets, mask of the bucket, seed, the `HashTable`.
enum HashLookup {
  typealias Function = @convention(c) (
    UnsafeMutablePointer<skep_map>?, UnsafeRawPointer?, UnsafeMutablePointer<skep_run>?
  ) -> UInt64

  /// Where the value lies follows from the key's size alone.
  @inline(__always)
  private static func valueOffset(_ keySize: Int) -> Int { HashTable.keyOffset &+ keySize.roundedUp(to: 8) }

  @inline(__always)
  private static func walk(
    _ map: UnsafeMutablePointer<skep_map>, _ hash: UInt32, _ isKey: (UnsafeMutableRawPointer) -> Bool
  ) -> UnsafeMutableRawPointer? {
    let mask = UInt(bitPattern: map.pointee.storage.1)
    let bucket = UInt(hash) & mask
    while true {
      var link = UInt(skep_load_acquire_64(map.pointee.storage.0.unsafelyUnwrapped + Int(bitPattern: bucket &* 8)))
      if link == 0 { return nil }
      while link & 1 == 0 {
        let element = HashTable.element(link)
        if isKey(element) { return element }
        link = UInt(skep_load_acquire_64(element))
      }
      if link == bucket << 1 | 1 { return nil }
    }
  }

  @inline(__always)
  static func seed(_ map: UnsafeMutablePointer<skep_map>) -> UInt64 {
    UInt64(UInt(bitPattern: map.pointee.storage.2))
  }

  @inline(__always)
  private static func find4(
    _ map: UnsafeMutablePointer<skep_map>, _ key: UnsafeRawPointer
  ) -> UnsafeMutableRawPointer? {
    let wanted = key.loadUnaligned(as: UInt32.self)
    return walk(map, KeyHash.hash8(UInt64(wanted), seed(map))) {
      $0.load(fromByteOffset: HashTable.keyOffset, as: UInt32.self) == wanted
    }
  }

  @inline(__always)
  private static func find8(
    _ map: UnsafeMutablePointer<skep_map>, _ key: UnsafeRawPointer
  ) -> UnsafeMutableRawPointer? {
    let wanted = KeyHash.word(key)
    return walk(map, KeyHash.hash8(wanted, seed(map))) {
      $0.load(fromByteOffset: HashTable.keyOffset, as: UInt64.self) == wanted
    }
  }

  @inline(__always)
  private static func find16(
    _ map: UnsafeMutablePointer<skep_map>, _ key: UnsafeRawPointer
  ) -> UnsafeMutableRawPointer? {
    let low = KeyHash.word(key)
    let high = KeyHash.word(key, 8)
    return walk(map, KeyHash.hash16(low, high, seed(map))) {
      $0.load(fromByteOffset: HashTable.keyOffset, as: UInt64.self) == low
        && $0.load(fromByteOffset: HashTable.keyOffset &+ 8, as: UInt64.self) == high
    }
  }

  @inline(__always)
  private static func findAny(
    _ map: UnsafeMutablePointer<skep_map>, _ key: UnsafeRawPointer
  ) -> UnsafeMutableRawPointer? {
    let size = Int(map.pointee.key_size)
    let hash = KeyHash.hash(key, size, seed(map))
    return walk(map, hash) {
      HashTable.hash(of: $0) == hash && KeyHash.isEqual($0 + HashTable.keyOffset, key, size)
    }
  }

  @inline(__always)
  static func address(_ pointer: UnsafeMutableRawPointer) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }

  // MARK: One value for all CPUs

  private static let plain4: Function = { map, key, _ in
    guard let element = find4(map.unsafelyUnwrapped, key.unsafelyUnwrapped) else { return 0 }
    return address(element + valueOffset(4))
  }
  private static let plain8: Function = { map, key, _ in
    guard let element = find8(map.unsafelyUnwrapped, key.unsafelyUnwrapped) else { return 0 }
    return address(element + valueOffset(8))
  }
  private static let plain16: Function = { map, key, _ in
    guard let element = find16(map.unsafelyUnwrapped, key.unsafelyUnwrapped) else { return 0 }
    return address(element + valueOffset(16))
  }
  private static let plainAny: Function = { map, key, _ in
    let map = map.unsafelyUnwrapped
    guard let element = findAny(map, key.unsafelyUnwrapped) else { return 0 }
    return address(element + valueOffset(Int(map.pointee.key_size)))
  }

  // MARK: LRU: what is found was used

  @inline(__always)
  static func markUsed(_ element: UnsafeMutableRawPointer) {
    let used = element + HashTable.usedOffset
    if skep_load_relaxed_32(used) == 0 { skep_store_relaxed_32(used, 1) }
  }

  private static let lru4: Function = { map, key, _ in
    guard let element = find4(map.unsafelyUnwrapped, key.unsafelyUnwrapped) else { return 0 }
    markUsed(element)
    return address(element + valueOffset(4))
  }
  private static let lru8: Function = { map, key, _ in
    guard let element = find8(map.unsafelyUnwrapped, key.unsafelyUnwrapped) else { return 0 }
    markUsed(element)
    return address(element + valueOffset(8))
  }
  private static let lru16: Function = { map, key, _ in
    guard let element = find16(map.unsafelyUnwrapped, key.unsafelyUnwrapped) else { return 0 }
    markUsed(element)
    return address(element + valueOffset(16))
  }
  private static let lruAny: Function = { map, key, _ in
    let map = map.unsafelyUnwrapped
    guard let element = findAny(map, key.unsafelyUnwrapped) else { return 0 }
    markUsed(element)
    return address(element + valueOffset(Int(map.pointee.key_size)))
  }

  // MARK: A value for each CPU

  @inline(__always)
  private static func perCPU(
    _ map: UnsafeMutablePointer<skep_map>, _ element: UnsafeMutableRawPointer, _ keySize: Int,
    _ run: UnsafeMutablePointer<skep_run>?
  ) -> UInt64 {
    skep_load_relaxed_64(element + valueOffset(keySize))
      &+ UInt64(run.unsafelyUnwrapped.pointee.cpu) &* map.pointee.cpu_stride
  }

  private static let perCPU4: Function = { map, key, run in
    let map = map.unsafelyUnwrapped
    guard let element = find4(map, key.unsafelyUnwrapped) else { return 0 }
    return perCPU(map, element, 4, run)
  }
  private static let perCPU8: Function = { map, key, run in
    let map = map.unsafelyUnwrapped
    guard let element = find8(map, key.unsafelyUnwrapped) else { return 0 }
    return perCPU(map, element, 8, run)
  }
  private static let perCPUAny: Function = { map, key, run in
    let map = map.unsafelyUnwrapped
    guard let element = findAny(map, key.unsafelyUnwrapped) else { return 0 }
    return perCPU(map, element, Int(map.pointee.key_size), run)
  }
  private static let perCPULRU: Function = { map, key, run in
    let map = map.unsafelyUnwrapped
    guard let element = findAny(map, key.unsafelyUnwrapped) else { return 0 }
    markUsed(element)
    return perCPU(map, element, Int(map.pointee.key_size), run)
  }

  // MARK: Maps: the value is the inner map's address

  private static let maps: Function = { map, key, _ in
    let map = map.unsafelyUnwrapped
    guard let element = findAny(map, key.unsafelyUnwrapped) else { return 0 }
    return skep_load_acquire_64(element + valueOffset(Int(map.pointee.key_size)))
  }

  static func function(keySize: Int, isPerCPU: Bool, isLRU: Bool, ofMaps: Bool) -> Function {
    if ofMaps { return maps }
    if isPerCPU && isLRU { return perCPULRU }
    switch (keySize, isPerCPU, isLRU) {
    case (4, true, _): return perCPU4
    case (8, true, _): return perCPU8
    case (_, true, _): return perCPUAny
    case (4, _, true): return lru4
    case (8, _, true): return lru8
    case (16, _, true): return lru16
    case (_, _, true): return lruAny
    case (4, _, _): return plain4
    case (8, _, _): return plain8
    case (16, _, _): return plain16
    default: return plainAny
    }
  }
}
