import BPFLinux
import CBPFRuntime

/// `BPF_MAP_TYPE_HASH`, `PERCPU_HASH`, `LRU_HASH`, `LRU_PERCPU_HASH` and, by `HashOfMaps`, `HASH_OF_MAPS`.
///
/// Memory is taken as elements come, with and without `BPF_F_NO_PREALLOC`; the map is full at `maxEntries` to the
/// element.
public class HashMap: Map, @unchecked Sendable {
  let table: UnsafeMutablePointer<HashTable>

  init(
    _ definition: MapDefinition, fields: [SpecialField], system: MapSystem, bucketCount: Int? = nil
  ) throws(MapError) {
    let type = definition.type
    var definition = definition
    let isPerCPU = type == .percpuHash || type == .lruPercpuHash
    let isLRU = type == .lruHash || type == .lruPercpuHash
    let isCommon = !definition.flags.contains(.noCommonLRU)
    if isLRU && !isCommon {
      let cpus = UInt64(system.cpuCount)
      let rounded = (UInt64(definition.maxEntries) + cpus - 1) / cpus * cpus
      definition.maxEntries = UInt32(truncatingIfNeeded: rounded > UInt64(UInt32.max) ? rounded - cpus : rounded)
    }
    guard definition.keySize > 0, definition.valueSize > 0, definition.maxEntries > 0,
      definition.maxEntries <= 1 << 31
    else { throw MapError(.EINVAL, "entries, a key and a value are needed") }
    let layout = ValueLayout(size: Int(definition.valueSize), fields: fields)
    let made = HashTable(
      .init(
        keySize: Int(definition.keySize), valueSize: Int(definition.valueSize),
        maxEntries: Int(definition.maxEntries), bucketCount: bucketCount, isPerCPU: isPerCPU, isLRU: isLRU,
        hasCommonLRU: isCommon, zeroSeed: definition.flags.contains(.zeroSeed)),
      value: layout, system: system)
    guard let made else {
      layout.deallocate()
      throw MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    }
    table = .allocate(capacity: 1)
    table.initialize(to: made)
    super.init(base: definition, fields: fields, system: system)
    block.pointee.storage.0 = made.buckets
    block.pointee.storage.1 = UnsafeMutableRawPointer(bitPattern: made.bucketCount - 1)
    block.pointee.storage.2 = UnsafeMutableRawPointer(bitPattern: UInt(made.seed))
    block.pointee.storage.3 = UnsafeMutableRawPointer(table)
    block.pointee.cpu_stride = UInt64(made.pool.cpuStride)
    block.pointee.lookup = HashLookup.function(
      keySize: keySize, isPerCPU: isPerCPU, isLRU: isLRU, ofMaps: type == .hashOfMaps)
    block.pointee.update = isLRU ? Self.updateLRUFunction : isPerCPU ? Self.updatePerCPUFunction : Self.updateFunction
    block.pointee.remove = Self.removeFunction
  }

  deinit {
    if value.owns { _ = forEach { releaseAll($0) } }
    table.pointee.value.deallocate()
    table.pointee.deallocate()
    table.deallocate()
  }

  // MARK: What programs call

  private typealias Update = @convention(c) (
    UnsafeMutablePointer<skep_map>?, UnsafeRawPointer?, UnsafeRawPointer?, UInt64, UnsafeMutablePointer<skep_run>?
  ) -> Int64

  @inline(__always)
  private static func table(_ map: UnsafeMutablePointer<skep_map>) -> UnsafeMutablePointer<HashTable> {
    map.pointee.storage.3.unsafelyUnwrapped.assumingMemoryBound(to: HashTable.self)
  }

  private static let updateFunction: Update = { map, key, value, flags, run in
    let map = map.unsafelyUnwrapped
    return Int64(
      update(
        map, table(map), key.unsafelyUnwrapped, value.unsafelyUnwrapped, flags,
        cpu: Int(run.unsafelyUnwrapped.pointee.cpu)))
  }
  private static let updatePerCPUFunction: Update = { map, key, value, flags, run in
    let map = map.unsafelyUnwrapped
    let cpu = Int(run.unsafelyUnwrapped.pointee.cpu)
    return Int64(
      updatePerCPU(map, table(map), key.unsafelyUnwrapped, value.unsafelyUnwrapped, flags, cpu: cpu, only: cpu))
  }
  private static let updateLRUFunction: Update = { map, key, value, flags, run in
    let map = map.unsafelyUnwrapped
    let cpu = Int(run.unsafelyUnwrapped.pointee.cpu)
    return Int64(
      updateLRU(map, table(map), key.unsafelyUnwrapped, value.unsafelyUnwrapped, flags, cpu: cpu, only: cpu))
  }
  private static let removeFunction:
    @convention(c) (
      UnsafeMutablePointer<skep_map>?, UnsafeRawPointer?, UnsafeMutablePointer<skep_run>?
    ) -> Int64 = { map, key, run in
      let map = map.unsafelyUnwrapped
      return Int64(remove(map, table(map), key.unsafelyUnwrapped, cpu: Int(run.unsafelyUnwrapped.pointee.cpu)))
    }

  // MARK: Changes. The callers' CPU is where elements come from and go to.

  private static func releaseOwned(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>,
    _ element: UnsafeMutableRawPointer
  ) {
    guard table.pointee.value.owns else { return }
    (Map.of(map) as? HashMap)?.releaseAll(element)
  }

  /// The fields of an element's values are released, and empty.
  private func releaseAll(_ element: UnsafeMutableRawPointer) {
    guard table.pointee.isPerCPU else { return system.releaseFields(fields, table.pointee.value(element)) }
    for cpu in 0..<table.pointee.cpuCount {
      system.releaseFields(fields, table.pointee.value(element, cpu: cpu))
    }
  }

  private static func update(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>, _ key: UnsafeRawPointer,
    _ bytes: UnsafeRawPointer, _ flags: UInt64, cpu: Int
  ) -> Int32 {
    guard flags & ~UpdateFlags.lock <= UpdateFlags.exist else { return -22 }
    let isLocked = flags & UpdateFlags.lock != 0
    guard !isLocked || table.pointee.value.lock != nil else { return -22 }
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    let old = table.pointee.findLocked(key, hash, bucket)
    let refusal = HashTable.check(flags, exists: old != nil)
    if refusal != 0 {
      SpinLock.unlock(lock)
      return refusal
    }
    if isLocked, let old {
      table.pointee.value.storeLocked(table.pointee.value(old.element), bytes)
      SpinLock.unlock(lock)
      return 0
    }
    if old == nil, !table.pointee.reserve() {
      SpinLock.unlock(lock)
      return -7
    }
    guard let element = table.pointee.pool.allocate(cpu: cpu) else {
      if old == nil { table.pointee.unreserve() }
      SpinLock.unlock(lock)
      return -12
    }
    table.pointee.setKey(element, key, hash)
    table.pointee.value.store(table.pointee.value(element), bytes)
    table.pointee.insertFirst(element, bucket)
    guard let old else {
      SpinLock.unlock(lock)
      return 0
    }
    // The link to the old element was the bucket's where it was the first; it is the new one's now.
    let place = old.place == table.pointee.buckets + bucket &* 8 ? element : old.place
    skep_store_release_64(place, UInt64(HashTable.next(old.element)))
    SpinLock.unlock(lock)
    releaseOwned(map, table, old.element)
    table.pointee.pool.retire(old.element, cpu: cpu)
    return 0
  }

  private static func updatePerCPU(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>, _ key: UnsafeRawPointer,
    _ bytes: UnsafeRawPointer, _ flags: UInt64, cpu: Int, only: Int?
  ) -> Int32 {
    guard flags <= UpdateFlags.exist else { return -22 }
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    defer { SpinLock.unlock(lock) }
    let old = table.pointee.findLocked(key, hash, bucket)
    let refusal = HashTable.check(flags, exists: old != nil)
    if refusal != 0 { return refusal }
    if let old {
      table.pointee.setPerCPU(old.element, bytes, cpu: only)
      releaseOverwritten(map, table, old.element, only)
      return 0
    }
    guard table.pointee.reserve() else { return -7 }
    guard let element = table.pointee.pool.allocate(cpu: cpu) else {
      table.pointee.unreserve()
      return -12
    }
    table.pointee.setKey(element, key, hash)
    table.pointee.setNewPerCPU(element, bytes, cpu: only)
    table.pointee.insertFirst(element, bucket)
    return 0
  }

  private static func releaseOverwritten(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>,
    _ element: UnsafeMutableRawPointer, _ cpu: Int?
  ) {
    guard table.pointee.value.owns, let map = Map.of(map) as? HashMap else { return }
    guard let cpu else { return map.releaseAll(element) }
    map.system.releaseFields(map.fields, table.pointee.value(element, cpu: cpu))
  }

  private static func updateLRU(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>, _ key: UnsafeRawPointer,
    _ bytes: UnsafeRawPointer, _ flags: UInt64, cpu: Int, only: Int?
  ) -> Int32 {
    guard flags <= UpdateFlags.exist, let lru = table.pointee.lru else { return -22 }
    let isPerCPU = table.pointee.isPerCPU
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    var element: UnsafeMutableRawPointer?
    // Room is made before the bucket is locked: what is forgotten may lie in the same one.
    if !isPerCPU || flags != UpdateFlags.exist {
      element = lru.pointee.add(cpu: cpu) {
        guard let element = table.pointee.pool.allocate(cpu: cpu) else { return nil }
        table.pointee.setKey(element, key, hash)
        return element
      } evict: {
        evict(map, table, $0)
      } gone: {
        table.pointee.pool.retire($0, cpu: cpu)
      }
      guard element != nil else { return -12 }
    }
    if !isPerCPU, let element { table.pointee.value.store(table.pointee.value(element), bytes) }
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    let old = table.pointee.findLocked(key, hash, bucket)
    let refusal = HashTable.check(flags, exists: old != nil)
    var unused: UnsafeMutableRawPointer?
    var removed: UnsafeMutableRawPointer?
    if refusal != 0 {
      unused = element
    } else if isPerCPU, let old {
      HashLookup.markUsed(old.element)
      table.pointee.setPerCPU(old.element, bytes, cpu: only)
      releaseOverwritten(map, table, old.element, only)
      unused = element
    } else if let element {
      if isPerCPU { table.pointee.setNewPerCPU(element, bytes, cpu: only) }
      table.pointee.insertFirst(element, bucket)
      if let old {
        HashLookup.markUsed(element)
        let place = old.place == table.pointee.buckets + bucket &* 8 ? element : old.place
        skep_store_release_64(place, UInt64(HashTable.next(old.element)))
        removed = old.element
      } else {
        _ = skep_fetch_add_64(table.pointee.count, 1)
      }
    }
    SpinLock.unlock(lock)
    if let unused {
      lru.pointee.remove(unused)
      table.pointee.pool.discard(unused, cpu: cpu)
    }
    if let removed {
      releaseOwned(map, table, removed)
      lru.pointee.remove(removed)
      table.pointee.pool.retire(removed, cpu: cpu)
    }
    return refusal
  }

  private static func evict(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>,
    _ element: UnsafeMutableRawPointer
  ) -> Bool {
    let bucket = table.pointee.bucket(HashTable.hash(of: element))
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    let isThere = table.pointee.unlink(element, bucket)
    SpinLock.unlock(lock)
    guard isThere else { return false }
    table.pointee.unreserve()
    releaseOwned(map, table, element)
    return true
  }

  /// What is done with an element that was taken out of its chain.
  private static func drop(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>,
    _ element: UnsafeMutableRawPointer, cpu: Int
  ) {
    table.pointee.unreserve()
    releaseOwned(map, table, element)
    table.pointee.lru?.pointee.remove(element)
    table.pointee.pool.retire(element, cpu: cpu)
  }

  private static func remove(
    _ map: UnsafeMutablePointer<skep_map>, _ table: UnsafeMutablePointer<HashTable>, _ key: UnsafeRawPointer,
    cpu: Int
  ) -> Int32 {
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    guard let found = table.pointee.findLocked(key, hash, bucket) else {
      SpinLock.unlock(lock)
      return -2
    }
    skep_store_release_64(found.place, UInt64(HashTable.next(found.element)))
    SpinLock.unlock(lock)
    drop(map, table, found.element, cpu: cpu)
    return 0
  }

  // MARK: What users call

  public override var userValueSize: Int {
    table.pointee.isPerCPU ? value.stride * system.cpuCount : Int(definition.valueSize)
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard let key else { return -22 }
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    defer { SpinLock.unlock(lock) }
    guard let found = table.pointee.findLocked(key, hash, bucket) else { return -2 }
    read(found.element, into: bytes, flags)
    return 0
  }

  /// What users see as the element's value.
  func read(_ element: UnsafeMutableRawPointer, into bytes: UnsafeMutableRawPointer, _ flags: UInt64) {
    table.pointee.read(element, into: bytes, locked: flags & UpdateFlags.lock != 0)
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard let key else { return -22 }
    if table.pointee.lru != nil { return Self.updateLRU(block, table, key, bytes, flags, cpu: 0, only: userCPU) }
    if table.pointee.isPerCPU {
      return Self.updatePerCPU(block, table, key, bytes, flags, cpu: 0, only: nil)
    }
    return Self.update(block, table, key, bytes, flags, cpu: 0)
  }

  private var userCPU: Int? { table.pointee.isPerCPU ? nil : 0 }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    guard let key else { return -22 }
    return Self.remove(block, table, key, cpu: 0)
  }

  override func takeElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard definition.type != .hashOfMaps else { return -524 }
    guard let key else { return -22 }
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    let lock = table.pointee.lock(bucket)
    SpinLock.lock(lock)
    guard let found = table.pointee.findLocked(key, hash, bucket) else {
      SpinLock.unlock(lock)
      return -2
    }
    read(found.element, into: bytes, flags)
    skep_store_release_64(found.place, UInt64(HashTable.next(found.element)))
    SpinLock.unlock(lock)
    dropElement(found.element)
    return 0
  }

  /// An element that left its chain is forgotten.
  func dropElement(_ element: UnsafeMutableRawPointer) { Self.drop(block, table, element, cpu: 0) }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    var bucket = 0
    if let key {
      let hash = table.pointee.hash(key)
      let home = table.pointee.bucket(hash)
      let lock = table.pointee.lock(home)
      SpinLock.lock(lock)
      let found = table.pointee.findLocked(key, hash, home)
      if let found {
        let link = HashTable.next(found.element)
        if !HashTable.isEnd(link) {
          next.copyMemory(from: HashTable.element(link) + HashTable.keyOffset, byteCount: keySize)
          SpinLock.unlock(lock)
          return 0
        }
        bucket = home + 1
      }
      SpinLock.unlock(lock)
    }
    while bucket < table.pointee.bucketCount {
      if HashTable.isEnd(HashTable.next(table.pointee.buckets + bucket * 8)) {
        bucket += 1
        continue
      }
      var isFound = false
      table.pointee.withBucket(bucket) {
        guard !isFound else { return }
        isFound = true
        next.copyMemory(from: $0 + HashTable.keyOffset, byteCount: keySize)
      }
      if isFound { return 0 }
      bucket += 1
    }
    return -2
  }

  /// Every element, within a run or where nobody else works on the map.
  final func forEach(_ body: (UnsafeMutableRawPointer) -> Void) -> Int {
    var count = 0
    for bucket in 0..<table.pointee.bucketCount {
      var link = HashTable.next(table.pointee.buckets + bucket * 8)
      while !HashTable.isEnd(link) {
        let element = HashTable.element(link)
        link = HashTable.next(element)
        count += 1
        body(element)
      }
    }
    return count
  }

  public override func forEachElement(
    cpu: Int, _ body: (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Bool
  ) -> Int? {
    var count = 0
    for bucket in 0..<table.pointee.bucketCount {
      var link = HashTable.next(table.pointee.buckets + bucket * 8)
      while !HashTable.isEnd(link) {
        let element = HashTable.element(link)
        link = HashTable.next(element)
        count += 1
        let place =
          table.pointee.isPerCPU ? table.pointee.value(element, cpu: cpu) : table.pointee.value(element)
        guard body(element + HashTable.keyOffset, place) else { return count }
      }
    }
    return count
  }

  public override func lookup(_ key: UnsafeRawPointer, cpu: UInt32) -> UnsafeMutableRawPointer? {
    guard table.pointee.isPerCPU, cpu < UInt32(system.cpuCount),
      let element = table.pointee.find(key, table.pointee.hash(key))
    else { return nil }
    if table.pointee.lru != nil { HashLookup.markUsed(element) }
    return table.pointee.value(element, cpu: Int(cpu))
  }

  override var batchCommands: BatchCommands { .all }

  /// Buckets from `bucket` on, as long as all of a bucket fits.
  override func lookupBatch(
    after token: [UInt8]?, count: Int, flags: UInt64, removing: Bool
  ) throws(Errno) -> MapBatch {
    var bucket = 0
    if let token {
      guard token.count >= 4 else { throw .EFAULT }
      bucket = Int(token[0]) | Int(token[1]) << 8 | Int(token[2]) << 16 | Int(token[3]) << 24
    }
    guard bucket < table.pointee.bucketCount else { throw .ENOENT }
    var batch = MapBatch()
    let size = userValueSize
    let one = UnsafeMutableRawBufferPointer.allocate(byteCount: max(8, size.roundedUp(to: 8)), alignment: 8)
    defer { one.deallocate() }
    guard let bytes = one.baseAddress else { throw .ENOMEM }
    while true {
      var removed: [UnsafeMutableRawPointer] = []
      var found = 0
      let lock = table.pointee.lock(bucket)
      SpinLock.lock(lock)
      var link = HashTable.next(table.pointee.buckets + bucket * 8)
      while !HashTable.isEnd(link) {
        found += 1
        link = HashTable.next(HashTable.element(link))
      }
      guard found <= count - batch.count else {
        SpinLock.unlock(lock)
        if batch.count == 0 { batch.error = .ENOSPC }
        break
      }
      link = HashTable.next(table.pointee.buckets + bucket * 8)
      while !HashTable.isEnd(link) {
        let element = HashTable.element(link)
        link = HashTable.next(element)
        batch.keys.append(
          contentsOf: UnsafeRawBufferPointer(start: element + HashTable.keyOffset, count: keySize))
        one.initializeMemory(as: UInt8.self, repeating: 0)
        read(element, into: bytes, flags)
        batch.values.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: size))
        if removing {
          _ = table.pointee.unlink(element, bucket)
          removed.append(element)
        }
      }
      SpinLock.unlock(lock)
      for element in removed { dropElement(element) }
      batch.count += found
      bucket += 1
      if bucket >= table.pointee.bucketCount {
        batch.error = .ENOENT
        break
      }
    }
    batch.next = (0..<4).map { UInt8(truncatingIfNeeded: bucket >> (8 * $0)) }
    return batch
  }
}

extension HashMap {
  /// Elements that are in the map now.
  public var count: Int { Int(skep_load_acquire_64(table.pointee.count)) }
}
