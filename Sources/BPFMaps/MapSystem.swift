import BPFLinux
import CBPFRuntime

/// What the maps of one machine share: CPUs, ids, and the reclamation of memory that running programs may hold.
///
/// Every run of a program lies between `begin` and `end` of its `skep_run`. What a program found in a map is not given
/// to anybody else before all runs have ended that were going on when it was taken out.
public final class MapSystem: @unchecked Sendable {
  public let cpuCount: Int

  /// Called for referenced kptrs, list heads, tree roots, timers and work left in a value that is deleted, overwritten
  /// or freed, with what the value held: the address that a kptr points to, or the address of the field itself for
  /// everything else. The hook leaves the field empty. Set before maps with such fields are in use.
  public var releaseField: (@Sendable (SpecialField, UInt64) -> Void)? {
    get { lock.withLock { hook } }
    set { lock.withLock { hook = newValue } }
  }

  /// What a number that user space puts into a prog_array, devmap or cpumap stands for. `EBADF` and `EINVAL` without.
  public var programByNumber: (@Sendable (UInt32) -> ResolvedProgram?)? {
    get { lock.withLock { programs } }
    set { lock.withLock { programs = newValue } }
  }

  /// The object that a number stands for which user space looks up in a local storage. `EBADF` without.
  public var storageOwnerByNumber: (@Sendable (MapType, UInt32) -> Result<UInt64, Errno>)? {
    get { lock.withLock { owners } }
    set { lock.withLock { owners = newValue } }
  }

  /// Whether there is an interface of this index to redirect to; by default there are all.
  public var interfaceExists: (@Sendable (UInt32) -> Bool)? {
    get { lock.withLock { interfaces } }
    set { lock.withLock { interfaces = newValue } }
  }

  /// The map of a number that user space puts into a map of maps; by default numbers are ids.
  public var mapByNumber: (@Sendable (UInt32) -> Map?)? {
    get { lock.withLock { mapNumbers } }
    set { lock.withLock { mapNumbers = newValue } }
  }

  private var programs: (@Sendable (UInt32) -> ResolvedProgram?)?
  private var owners: (@Sendable (MapType, UInt32) -> Result<UInt64, Errno>)?
  private var interfaces: (@Sendable (UInt32) -> Bool)?
  private var mapNumbers: (@Sendable (UInt32) -> Map?)?
  private var hook: (@Sendable (SpecialField, UInt64) -> Void)?
  private let lock = Mutex()
  private var lastID: UInt32 = 0
  private var maps: [UInt32: WeakMap] = [:]
  private var runs: [UnsafeMutablePointer<skep_run>] = []
  private var retired: [(stamp: UInt64, free: @Sendable () -> Void)] = []
  /// Grows as memory waits to be reused. A cache line of its own: every run reads it.
  @usableFromInline let epoch: UnsafeMutablePointer<UInt64>

  public init(cpuCount: Int) {
    self.cpuCount = max(1, cpuCount)
    let line = UnsafeMutableRawPointer.allocate(byteCount: 128, alignment: 128)
    line.initializeMemory(as: UInt64.self, repeating: 0, count: 16)
    epoch = line.assumingMemoryBound(to: UInt64.self)
    skep_store_relaxed_64(epoch, 1)
  }

  deinit {
    for entry in retired { entry.free() }
    for run in runs { run.deallocate() }
    epoch.deallocate()
  }

  func nextID() -> UInt32 {
    lock.withLock {
      lastID &+= 1
      return lastID
    }
  }

  // MARK: Maps

  private struct WeakMap {
    weak var map: Map?
  }

  func register(_ map: Map) { lock.withLock { maps[map.id] = WeakMap(map: map) } }
  func unregister(_ id: UInt32) { lock.withLock { maps[id] = nil } }

  /// The map with this id.
  public func map(id: UInt32) -> Map? { lock.withLock { maps[id]?.map } }

  func map(number: UInt32) -> Map? {
    guard let mapByNumber else { return map(id: number) }
    return mapByNumber(number)
  }

  func hasInterface(_ index: UInt32) -> Bool { interfaceExists?(index) ?? true }

  // MARK: Runs

  /// A zeroed run of the CPU that reclamation looks at, until `releaseRun`.
  public func makeRun(cpu: Int) -> UnsafeMutablePointer<skep_run> {
    let memory = UnsafeMutableRawPointer.allocate(
      byteCount: MemoryLayout<skep_run>.stride.roundedUp(to: 128), alignment: 128)
    let run = memory.initializeMemory(as: skep_run.self, repeating: skep_run(), count: 1)
    run.pointee.cpu = UInt32(truncatingIfNeeded: cpu)
    lock.withLock { runs.append(run) }
    return run
  }

  public func releaseRun(_ run: UnsafeMutablePointer<skep_run>) {
    lock.withLock { runs.removeAll { $0 == run } }
    run.deallocate()
  }

  /// A program starts on `run`: what it finds in maps stays as it is until `end`.
  @inlinable @inline(__always)
  public func begin(_ run: UnsafeMutablePointer<skep_run>) {
    let place = UnsafeMutableRawPointer(run) + MapSystem.epochOffset
    _ = skep_exchange_64(place, skep_load_acquire_64(epoch))
  }

  @inlinable @inline(__always)
  public func end(_ run: UnsafeMutablePointer<skep_run>) {
    skep_store_release_64(UnsafeMutableRawPointer(run) + MapSystem.epochOffset, 0)
  }

  @usableFromInline static let epochOffset = MemoryLayout<skep_run>.offset(of: \.epoch) ?? 0

  // MARK: Reclamation

  /// What is taken out of a map now may be reused once `oldestRun()` is later than this.
  var stamp: UInt64 {
    skep_fence()
    return skep_load_acquire_64(epoch)
  }

  /// The epoch that all that run are in at least; later than every stamp so far where nothing runs.
  func oldestRun() -> UInt64 {
    _ = skep_fetch_add_64(epoch, 1)
    return lock.withLock { oldest }
  }

  private var oldest: UInt64 {
    skep_fence()
    var oldest = skep_load_acquire_64(epoch)
    for run in runs {
      let epoch = skep_load_acquire_64(UnsafeMutableRawPointer(run) + MapSystem.epochOffset)
      if epoch != 0 && epoch < oldest { oldest = epoch }
    }
    return oldest
  }

  /// Calls `free` once everything that runs now has ended: at once, or at a later call of `retire` or `reclaim`.
  public func retire(_ free: @escaping @Sendable () -> Void) {
    let stamp = stamp
    lock.withLock { retired.append((stamp, free)) }
    reclaim()
  }

  /// Frees what was retired and is held no more.
  public func reclaim() {
    _ = skep_fetch_add_64(epoch, 1)
    let ready = lock.withLock { () -> [@Sendable () -> Void] in
      guard !retired.isEmpty else { return [] }
      let oldest = oldest
      var ready: [@Sendable () -> Void] = []
      retired.removeAll {
        guard $0.stamp < oldest else { return false }
        ready.append($0.free)
        return true
      }
      return ready
    }
    for free in ready { free() }
  }

  /// Waits until everything that runs now has ended (`synchronize_rcu`). Not for use within a run.
  public func synchronize() {
    let stamp = stamp
    while oldestRun() <= stamp { yieldProcessor() }
    reclaim()
  }
}
