import BPFLinux
import CBPFRuntime

/// The table behind every map whose keys are hashed: chains of elements that readers walk without a lock.
///
///     bucket ─▶ element ─▶ element ─▶ end mark (2 × bucket + 1)
///
///     element:  | next | hash | used | key, rounded up to 8 | value or address of the first CPU's value |
///
/// Writers hold the lock of the bucket. An element that leaves a chain keeps its `next`, so whoever stands on it gets
/// to the end; if it was reused early and the end is another bucket's, the walk starts again.
struct HashTable {
  static let nextOffset = 0
  static let hashOffset = 8
  /// Not 0 once a program found it, for LRU maps.
  static let usedOffset = 12
  static let keyOffset = 16

  let buckets: UnsafeMutableRawPointer
  let bucketCount: Int
  let keySize: Int
  let valueOffset: Int
  let seed: UInt64
  let locks: UnsafeMutableRawPointer
  let lockMask: Int
  let maxEntries: UInt64
  /// A cache line of its own: the number of elements.
  let count: UnsafeMutableRawPointer
  let pool: ElementPool
  let value: ValueLayout
  let isPerCPU: Bool
  let cpuCount: Int
  /// LRU maps: the lists.
  let lru: UnsafeMutablePointer<LRULists>?

  struct Shape {
    var keySize: Int
    var valueSize: Int
    var maxEntries: Int
    /// Where it is less than `maxEntries` says.
    var bucketCount: Int?
    var isPerCPU = false
    var isLRU = false
    var hasCommonLRU = true
    var zeroSeed = false
    var reusesEarly = true
  }

  init?(_ shape: Shape, value: ValueLayout, system: MapSystem) {
    keySize = shape.keySize
    valueOffset = Self.keyOffset + shape.keySize.roundedUp(to: 8)
    bucketCount = shape.bucketCount ?? shape.maxEntries.roundedUpToPowerOfTwo
    maxEntries = UInt64(shape.maxEntries)
    isPerCPU = shape.isPerCPU
    cpuCount = system.cpuCount
    self.value = value
    seed = shape.zeroSeed ? 0 : randomSeed()
    guard let buckets = ZeroedMemory.allocate(bucketCount * 8) else { return nil }
    self.buckets = buckets
    let lockCount = min(bucketCount, 4096)
    lockMask = lockCount - 1
    locks = .allocate(byteCount: max(64, lockCount * 4), alignment: 64)
    locks.initializeMemory(as: UInt8.self, repeating: 0, count: max(64, lockCount * 4))
    count = .allocate(byteCount: 128, alignment: 128)
    count.initializeMemory(as: UInt8.self, repeating: 0, count: 128)
    let valueBytes = shape.isPerCPU ? 8 : shape.valueSize.roundedUp(to: 8)
    pool = ElementPool(
      .init(
        size: valueOffset + valueBytes, prefix: shape.isLRU ? LRULists.prefix : 16,
        perCPUSize: shape.isPerCPU ? shape.valueSize.roundedUp(to: 8) : 0, perCPUPointer: valueOffset,
        cpuCount: system.cpuCount, capacity: shape.maxEntries, reusesEarly: shape.reusesEarly),
      system: system)
    lru =
      shape.isLRU
      ? LRULists.allocate(
        maxEntries: shape.maxEntries, cpuCount: system.cpuCount, isCommon: shape.hasCommonLRU) : nil
  }

  func deallocate() {
    ZeroedMemory.free(buckets, bucketCount * 8)
    locks.deallocate()
    count.deallocate()
    pool.deallocate()
    if let lru { LRULists.deallocate(lru) }
  }

  // MARK: Chains

  @inline(__always)
  static func isEnd(_ link: UInt) -> Bool { link & 1 != 0 || link == 0 }

  @inline(__always)
  static func element(_ link: UInt) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: link).unsafelyUnwrapped
  }

  @inline(__always)
  static func next(_ link: UnsafeRawPointer) -> UInt { UInt(skep_load_acquire_64(link)) }

  @inline(__always)
  static func endMark(_ bucket: Int) -> UInt { UInt(bitPattern: bucket) << 1 | 1 }

  @inline(__always)
  func bucket(_ hash: UInt32) -> Int { Int(hash) & (bucketCount &- 1) }

  @inline(__always)
  func lock(_ bucket: Int) -> UnsafeMutableRawPointer { locks + (bucket & lockMask) &* 4 }

  @inline(__always)
  func hash(_ key: UnsafeRawPointer) -> UInt32 { KeyHash.hash(key, keySize, seed) }

  @inline(__always)
  static func hash(of element: UnsafeRawPointer) -> UInt32 { skep_load_relaxed_32(element + hashOffset) }

  /// Without a lock: within a run.
  func find(_ key: UnsafeRawPointer, _ hash: UInt32) -> UnsafeMutableRawPointer? {
    let bucket = bucket(hash)
    while true {
      var link = Self.next(buckets + bucket &* 8)
      if link == 0 { return nil }
      while !Self.isEnd(link) {
        let element = Self.element(link)
        if Self.hash(of: element) == hash, KeyHash.isEqual(element + Self.keyOffset, key, keySize) { return element }
        link = Self.next(element)
      }
      if link == Self.endMark(bucket) { return nil }
    }
  }

  /// Under the bucket's lock: the element and the place of the link to it.
  func findLocked(
    _ key: UnsafeRawPointer, _ hash: UInt32, _ bucket: Int
  ) -> (place: UnsafeMutableRawPointer, element: UnsafeMutableRawPointer)? {
    var place = buckets + bucket &* 8
    var link = Self.next(place)
    while !Self.isEnd(link) {
      let element = Self.element(link)
      if Self.hash(of: element) == hash, KeyHash.isEqual(element + Self.keyOffset, key, keySize) {
        return (place, element)
      }
      place = element
      link = Self.next(place)
    }
    return nil
  }

  func insertFirst(_ element: UnsafeMutableRawPointer, _ bucket: Int) {
    let place = buckets + bucket &* 8
    let first = Self.next(place)
    skep_store_relaxed_64(element, UInt64(first == 0 ? Self.endMark(bucket) : first))
    skep_store_release_64(place, UInt64(UInt(bitPattern: element)))
  }

  /// Takes out an element that is known to be in the chain.
  func unlink(_ element: UnsafeMutableRawPointer, _ bucket: Int) -> Bool {
    var place = buckets + bucket &* 8
    var link = Self.next(place)
    while !Self.isEnd(link) {
      if Self.element(link) == element {
        skep_store_release_64(place, UInt64(Self.next(element)))
        return true
      }
      place = Self.element(link)
      link = Self.next(place)
    }
    return false
  }

  /// Calls `body` with each element of the bucket, under its lock.
  func withBucket(_ bucket: Int, _ body: (UnsafeMutableRawPointer) -> Void) {
    let lock = lock(bucket)
    SpinLock.lock(lock)
    var link = Self.next(buckets + bucket &* 8)
    while !Self.isEnd(link) {
      let element = Self.element(link)
      link = Self.next(element)
      body(element)
    }
    SpinLock.unlock(lock)
  }

  // MARK: Values

  @inline(__always)
  func value(_ element: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer { element + valueOffset }

  @inline(__always)
  func value(_ element: UnsafeMutableRawPointer, cpu: Int) -> UnsafeMutableRawPointer {
    let first = UInt(skep_load_relaxed_64(element + valueOffset))
    return Self.element(first) + cpu &* pool.cpuStride
  }

  /// All that user space sees of an element.
  func read(_ element: UnsafeMutableRawPointer, into bytes: UnsafeMutableRawPointer, locked: Bool) {
    if isPerCPU {
      for cpu in 0..<cpuCount { value.loadRounded(value(element, cpu: cpu), into: bytes + cpu * value.stride) }
    } else if locked {
      value.loadLocked(value(element), into: bytes)
    } else {
      value.load(value(element), into: bytes)
    }
  }

  /// Puts the key and its hash into an element that nobody sees.
  func setKey(_ element: UnsafeMutableRawPointer, _ key: UnsafeRawPointer, _ hash: UInt32) {
    (element + Self.keyOffset).copyMemory(from: key, byteCount: keySize)
    skep_store_relaxed_32(element + Self.hashOffset, hash)
  }

  /// What an element's values become when it is new: those of all CPUs from user space, else that of one, and zeros.
  func setNewPerCPU(_ element: UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer, cpu: Int?) {
    for other in 0..<cpuCount {
      let place = value(element, cpu: other)
      guard let cpu else {
        value.storeRounded(place, bytes + other * value.stride)
        continue
      }
      value.clear(place)
      if other == cpu { value.store(place, bytes) }
    }
  }

  /// As `setNewPerCPU` of an element that is there.
  func setPerCPU(_ element: UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer, cpu: Int?) {
    if let cpu { return value.store(value(element, cpu: cpu), bytes) }
    for cpu in 0..<cpuCount { value.storeRounded(value(element, cpu: cpu), bytes + cpu * value.stride) }
  }

  // MARK: Counting

  /// Makes room for one more.
  @inline(__always)
  func reserve() -> Bool {
    if skep_fetch_add_64(count, 1) < maxEntries { return true }
    unreserve()
    return false
  }

  @inline(__always)
  func unreserve() { _ = skep_fetch_add_64(count, UInt64.max) }

  static func check(_ flags: UInt64, exists: Bool) -> Int32 {
    let flags = flags & ~UpdateFlags.lock
    if exists && flags == UpdateFlags.noExist { return -17 }
    if !exists && flags == UpdateFlags.exist { return -2 }
    return 0
  }
}

extension Int {
  /// At least 1.
  var roundedUpToPowerOfTwo: Int {
    self <= 1 ? 1 : 1 << (Int.bitWidth - (self - 1).leadingZeroBitCount)
  }
}

/// How keys are hashed and compared, by their size.
enum KeyHash {
  private static let first: UInt64 = 0x9e37_79b9_7f4a_7c15
  private static let second: UInt64 = 0xd6e8_feb8_6659_fd93

  /// Both halves of the product, folded.
  @inline(__always)
  private static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low
  }

  @inline(__always)
  static func hash8(_ key: UInt64, _ seed: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: mix(key ^ seed ^ second, first))
  }

  @inline(__always)
  static func hash16(_ low: UInt64, _ high: UInt64, _ seed: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: mix(mix(low ^ seed ^ second, first) ^ high, second))
  }

  /// Eight bytes of a program's key, as two words: the program most often wrote it a field of four bytes at a time just
  /// before, and a processor has a wide load wait until narrower stores to the same place have left its buffers.
  @inline(__always)
  static func word(_ key: UnsafeRawPointer, _ offset: Int = 0) -> UInt64 {
    #if _endian(little)
    UInt64(skep_load_relaxed_32(key + offset)) | UInt64(skep_load_relaxed_32(key + offset + 4)) << 32
    #else
    key.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    #endif
  }

  @inline(__always)
  static func hash(_ key: UnsafeRawPointer, _ size: Int, _ seed: UInt64) -> UInt32 {
    switch size {
    case 4: hash8(UInt64(key.loadUnaligned(as: UInt32.self)), seed)
    case 8: hash8(word(key), seed)
    case 16: hash16(word(key), word(key, 8), seed)
    default: hashAny(key, size, seed)
    }
  }

  static func hashAny(_ key: UnsafeRawPointer, _ size: Int, _ seed: UInt64) -> UInt32 {
    var state = seed ^ second ^ UInt64(truncatingIfNeeded: size)
    var offset = 0
    while offset &+ 8 <= size {
      state = mix(state ^ word(key, offset), first)
      offset &+= 8
    }
    if offset < size {
      var tail: UInt64 = 0
      if size &- offset >= 4 {
        tail = UInt64(key.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
        offset &+= 4
      }
      while offset < size {
        tail = tail << 8 ^ UInt64(key.load(fromByteOffset: offset, as: UInt8.self))
        offset &+= 1
      }
      state = mix(state ^ tail, second)
    }
    return UInt32(truncatingIfNeeded: state ^ state >> 32)
  }

  @inline(__always)
  static func isEqual(_ stored: UnsafeRawPointer, _ key: UnsafeRawPointer, _ size: Int) -> Bool {
    var offset = 0
    while offset &+ 8 <= size {
      if stored.loadUnaligned(fromByteOffset: offset, as: UInt64.self) != word(key, offset) { return false }
      offset &+= 8
    }
    if offset &+ 4 <= size {
      if stored.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        != key.loadUnaligned(fromByteOffset: offset, as: UInt32.self) { return false }
      offset &+= 4
    }
    while offset < size {
      if stored.load(fromByteOffset: offset, as: UInt8.self) != key.load(fromByteOffset: offset, as: UInt8.self) {
        return false
      }
      offset &+= 1
    }
    return true
  }
}
