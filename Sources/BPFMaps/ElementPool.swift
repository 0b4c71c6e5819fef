import CBPFRuntime

/// Elements of one size for many threads.
///
/// An element that was taken out of a map waits until no run can hold it. Memory grows in slabs that are never given
/// back before the pool goes, so that a stale pointer always leads to an element of this map.
///
///     slot:  | link or LRU list | stamp or list | … prefix |  element …
///
/// The prefix is for whoever owns the element; readers never look at it.
struct ElementPool: BitwiseCopyable {
  struct Shape: BitwiseCopyable {
    /// Bytes of an element.
    var size: Int
    /// Bytes before it; 16 at least.
    var prefix = 16
    /// Values per CPU: their size, and where in the element the address of the first CPU's is put.
    var perCPUSize = 0
    var perCPUPointer = 0
    var cpuCount: Int
    /// So many can be out at the same time.
    var capacity: Int
    /// Where too many are waiting, the one that waited longest is reused early.
    var reusesEarly = true
  }

  let shape: Shape
  /// From one CPU's value to the next's.
  let cpuStride: Int
  private let slotSize: Int
  private let slabCapacity: Int
  private let limit: Int
  private let shards: UnsafeMutableRawPointer
  private let growth: UnsafeMutableRawPointer
  private let epoch: UnsafeMutablePointer<UInt64>
  private let system: Unmanaged<MapSystem>

  private static let link = 0
  private static let stamp = 8
  /// Waiting elements that make a look at the runs worth it.
  private static let batch = 32

  private enum Shard {
    static let size = 128
    static let lock = 0
    static let free = 8
    static let firstWaiting = 16
    static let lastWaiting = 24
    static let waiting = 32
    static let oldest = 40
  }

  private enum Growth {
    static let size = 64
    static let lock = 0
    static let next = 8
    static let left = 16
    static let slabs = 24
    static let carved = 32
    static let values = 40
  }

  /// A slab's first bytes: the next slab, and its size.
  private static let slabHeader = 64

  init(_ shape: Shape, system: MapSystem) {
    self.shape = shape
    slotSize = (shape.prefix + shape.size).roundedUp(to: 16)
    let perSlab = max(8, min(8192, (256 << 10) / max(slotSize, shape.perCPUSize * shape.cpuCount)))
    slabCapacity = perSlab
    cpuStride = shape.perCPUSize == 0 ? 0 : (perSlab * shape.perCPUSize).roundedUp(to: 128)
    let spare = max(128, min(16384, (16 << 20) / (slotSize + shape.perCPUSize * shape.cpuCount)))
    limit = shape.reusesEarly ? shape.capacity + spare : Int.max
    shards = .allocate(byteCount: Shard.size * shape.cpuCount, alignment: 128)
    shards.initializeMemory(as: UInt8.self, repeating: 0, count: Shard.size * shape.cpuCount)
    growth = .allocate(byteCount: Growth.size, alignment: 64)
    growth.initializeMemory(as: UInt8.self, repeating: 0, count: Growth.size)
    epoch = system.epoch
    self.system = Unmanaged.passUnretained(system)
  }

  func deallocate() {
    var slab = growth.load(fromByteOffset: Growth.slabs, as: UnsafeMutableRawPointer?.self)
    while let memory = slab {
      slab = memory.load(as: UnsafeMutableRawPointer?.self)
      ZeroedMemory.free(memory, memory.load(fromByteOffset: 8, as: Int.self))
    }
    growth.deallocate()
    shards.deallocate()
  }

  @inline(__always)
  private func shard(_ cpu: Int) -> UnsafeMutableRawPointer { shards + Shard.size &* (cpu % shape.cpuCount) }

  // MARK: Taking one

  /// An element that nobody sees; its bytes are what they were when it was last used, zeros at first. Nil where memory
  /// is out.
  func allocate(cpu: Int) -> UnsafeMutableRawPointer? {
    let shard = shard(cpu)
    SpinLock.lock(shard)
    if let element = take(shard) ?? grow(shard) {
      SpinLock.unlock(shard)
      return element
    }
    SpinLock.unlock(shard)
    return steal()
  }

  private func take(_ shard: UnsafeMutableRawPointer, force: Bool = false) -> UnsafeMutableRawPointer? {
    if let slot = popFree(shard) { return slot + shape.prefix }
    let waiting = shard.load(fromByteOffset: Shard.waiting, as: Int.self)
    guard waiting > 0 else { return nil }
    var oldest = shard.load(fromByteOffset: Shard.oldest, as: UInt64.self)
    if oldest <= firstStamp(shard), waiting >= Self.batch || force {
      oldest = system._withUnsafeGuaranteedRef { $0.oldestRun() }
      shard.storeBytes(of: oldest, toByteOffset: Shard.oldest, as: UInt64.self)
    }
    while firstStamp(shard) < oldest, let slot = popWaiting(shard) { pushFree(shard, slot) }
    return popFree(shard).map { $0 + shape.prefix }
  }

  /// All memory that may be had is out: what other CPUs have left over, or what is not held any more for sure, or what
  /// has waited longest.
  @inline(never)
  private func steal() -> UnsafeMutableRawPointer? {
    for cpu in 0..<shape.cpuCount {
      let shard = shard(cpu)
      SpinLock.lock(shard)
      let element = take(shard, force: true)
      SpinLock.unlock(shard)
      if let element { return element }
    }
    guard shape.reusesEarly else { return nil }
    for cpu in 0..<shape.cpuCount {
      let shard = shard(cpu)
      SpinLock.lock(shard)
      let slot = popWaiting(shard)
      SpinLock.unlock(shard)
      if let slot { return slot + shape.prefix }
    }
    return nil
  }

  // MARK: Giving it back

  /// For elements that no reader has seen.
  func discard(_ element: UnsafeMutableRawPointer, cpu: Int) {
    let shard = shard(cpu)
    SpinLock.lock(shard)
    pushFree(shard, element - shape.prefix)
    SpinLock.unlock(shard)
  }

  /// For elements that were taken out of the map.
  func retire(_ element: UnsafeMutableRawPointer, cpu: Int) {
    let slot = element - shape.prefix
    #if !arch(x86_64)
    // Elsewhere than there a lock taken is no full barrier between taking the element out and reading the epoch.
    skep_fence()
    #endif
    slot.storeBytes(of: 0, toByteOffset: Self.link, as: UInt.self)
    let shard = shard(cpu)
    SpinLock.lock(shard)
    slot.storeBytes(of: skep_load_acquire_64(epoch), toByteOffset: Self.stamp, as: UInt64.self)
    if let last = shard.load(fromByteOffset: Shard.lastWaiting, as: UnsafeMutableRawPointer?.self) {
      last.storeBytes(of: slot, toByteOffset: Self.link, as: UnsafeMutableRawPointer.self)
    } else {
      shard.storeBytes(of: slot, toByteOffset: Shard.firstWaiting, as: UnsafeMutableRawPointer.self)
    }
    shard.storeBytes(of: slot, toByteOffset: Shard.lastWaiting, as: UnsafeMutableRawPointer.self)
    let waiting = shard.load(fromByteOffset: Shard.waiting, as: Int.self)
    shard.storeBytes(of: waiting &+ 1, toByteOffset: Shard.waiting, as: Int.self)
    SpinLock.unlock(shard)
  }

  // MARK: Lists of a shard, under its lock

  private func popFree(_ shard: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    guard let slot = shard.load(fromByteOffset: Shard.free, as: UnsafeMutableRawPointer?.self) else { return nil }
    let next = slot.load(fromByteOffset: Self.link, as: UnsafeMutableRawPointer?.self)
    shard.storeBytes(of: next, toByteOffset: Shard.free, as: UnsafeMutableRawPointer?.self)
    return slot
  }

  private func pushFree(_ shard: UnsafeMutableRawPointer, _ slot: UnsafeMutableRawPointer) {
    let first = shard.load(fromByteOffset: Shard.free, as: UnsafeMutableRawPointer?.self)
    slot.storeBytes(of: first, toByteOffset: Self.link, as: UnsafeMutableRawPointer?.self)
    shard.storeBytes(of: slot, toByteOffset: Shard.free, as: UnsafeMutableRawPointer.self)
  }

  private func firstStamp(_ shard: UnsafeMutableRawPointer) -> UInt64 {
    let first = shard.load(fromByteOffset: Shard.firstWaiting, as: UnsafeMutableRawPointer?.self)
    return first?.load(fromByteOffset: Self.stamp, as: UInt64.self) ?? .max
  }

  private func popWaiting(_ shard: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    guard let slot = shard.load(fromByteOffset: Shard.firstWaiting, as: UnsafeMutableRawPointer?.self) else {
      return nil
    }
    let next = slot.load(fromByteOffset: Self.link, as: UnsafeMutableRawPointer?.self)
    shard.storeBytes(of: next, toByteOffset: Shard.firstWaiting, as: UnsafeMutableRawPointer?.self)
    if next == nil { shard.storeBytes(of: 0, toByteOffset: Shard.lastWaiting, as: UInt.self) }
    let waiting = shard.load(fromByteOffset: Shard.waiting, as: Int.self)
    shard.storeBytes(of: waiting &- 1, toByteOffset: Shard.waiting, as: Int.self)
    return slot
  }

  // MARK: Slabs

  /// Takes one out of a slab, and some more for later.
  private func grow(_ shard: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    SpinLock.lock(growth)
    defer { SpinLock.unlock(growth) }
    let carved = growth.load(fromByteOffset: Growth.carved, as: Int.self)
    // CPUs that take many at a time would leave the others none of a small map.
    let count = min(limit - carved, max(1, min(Self.batch, (limit - carved) / (2 * shape.cpuCount))))
    guard count > 0 else { return nil }
    var taken: UnsafeMutableRawPointer?
    var slots: [UnsafeMutableRawPointer] = []
    for _ in 0..<count {
      guard let slot = carve() else { break }
      if taken == nil { taken = slot } else { slots.append(slot) }
    }
    for slot in slots.reversed() { pushFree(shard, slot) }
    let added = slots.count + (taken == nil ? 0 : 1)
    growth.storeBytes(of: carved + added, toByteOffset: Growth.carved, as: Int.self)
    return taken.map { $0 + shape.prefix }
  }

  private func carve() -> UnsafeMutableRawPointer? {
    var left = growth.load(fromByteOffset: Growth.left, as: Int.self)
    if left == 0 {
      guard addSlab() else { return nil }
      left = slabCapacity
    }
    guard let slot = growth.load(fromByteOffset: Growth.next, as: UnsafeMutableRawPointer?.self) else { return nil }
    growth.storeBytes(of: slot + slotSize, toByteOffset: Growth.next, as: UnsafeMutableRawPointer.self)
    growth.storeBytes(of: left - 1, toByteOffset: Growth.left, as: Int.self)
    if shape.perCPUSize > 0,
      let values = growth.load(fromByteOffset: Growth.values, as: UnsafeMutableRawPointer?.self)
    {
      (slot + shape.prefix).storeBytes(
        of: values, toByteOffset: shape.perCPUPointer, as: UnsafeMutableRawPointer.self)
      growth.storeBytes(
        of: values + shape.perCPUSize, toByteOffset: Growth.values, as: UnsafeMutableRawPointer.self)
    }
    return slot
  }

  private func addSlab() -> Bool {
    let elements = Self.slabHeader + slotSize * slabCapacity
    let byteCount = elements.roundedUp(to: 128) + cpuStride * shape.cpuCount
    guard let slab = ZeroedMemory.allocate(byteCount) else { return false }
    let last = growth.load(fromByteOffset: Growth.slabs, as: UnsafeMutableRawPointer?.self)
    slab.storeBytes(of: last, as: UnsafeMutableRawPointer?.self)
    slab.storeBytes(of: byteCount, toByteOffset: 8, as: Int.self)
    growth.storeBytes(of: slab, toByteOffset: Growth.slabs, as: UnsafeMutableRawPointer.self)
    growth.storeBytes(of: slab + Self.slabHeader, toByteOffset: Growth.next, as: UnsafeMutableRawPointer.self)
    growth.storeBytes(of: slabCapacity, toByteOffset: Growth.left, as: Int.self)
    growth.storeBytes(
      of: slab + elements.roundedUp(to: 128), toByteOffset: Growth.values, as: UnsafeMutableRawPointer.self)
    return true
  }
}
