import CBPFRuntime

/// The order in which an LRU map forgets: Linux's, list by list.
///
/// New elements are pending on their CPU; when a CPU has no room left, its pending ones move to the common lists, used
/// ones to `active`, others to `inactive`, from whose end elements are dropped until the CPU has room for some more.
/// With a list for each CPU there are no pending ones. What Linux keeps as lists of free elements are counts here,
/// since an element that was dropped may not be reused before the runs of today have ended.
///
///     prefix of an element:  | previous | next | list | CPU | unused |
struct LRULists {
  static let prefix = 32
  private static let previous = 0
  private static let next = 8
  private static let listOffset = 16
  private static let cpuOffset = 20

  /// Values of `list`.
  private enum List {
    static let active: UInt32 = 0
    static let inactive: UInt32 = 1
    static let pending: UInt32 = 2
    static let none: UInt32 = 3
  }

  /// Active and inactive elements, and room for more. Heads are links that lead to themselves when empty.
  private enum Lists {
    static let size = 128
    static let lock = 0
    static let free = 8
    static let rotation = 16
    static let active = 24
    static let inactive = 40
    static let activeCount = 56
    static let inactiveCount = 64
  }

  /// Pending elements of a CPU, and room that is its own.
  private enum Local {
    static let size = 128
    static let lock = 0
    static let free = 8
    static let steal = 16
    static let pending = 24
  }

  let cpuCount: Int
  let isCommon: Bool
  private let scans: Int
  private let target: Int
  private let lists: UnsafeMutableRawPointer
  private let locals: UnsafeMutableRawPointer

  private static let localTarget = 128
  private static let perCPUTarget = 4

  static func allocate(maxEntries: Int, cpuCount: Int, isCommon: Bool) -> UnsafeMutablePointer<LRULists> {
    let lists = UnsafeMutableRawPointer.allocate(byteCount: Lists.size * cpuCount, alignment: 128)
    let locals = UnsafeMutableRawPointer.allocate(byteCount: Local.size * cpuCount, alignment: 128)
    lists.initializeMemory(as: UInt8.self, repeating: 0, count: Lists.size * cpuCount)
    locals.initializeMemory(as: UInt8.self, repeating: 0, count: Local.size * cpuCount)
    for cpu in 0..<cpuCount {
      let list = lists + Lists.size * cpu
      makeEmpty(list + Lists.active)
      makeEmpty(list + Lists.inactive)
      list.storeBytes(of: list + Lists.inactive, toByteOffset: Lists.rotation, as: UnsafeMutableRawPointer.self)
      let free = isCommon ? (cpu == 0 ? maxEntries : 0) : maxEntries / cpuCount
      list.storeBytes(of: free, toByteOffset: Lists.free, as: Int.self)
      let local = locals + Local.size * cpu
      makeEmpty(local + Local.pending)
      local.storeBytes(of: cpu, toByteOffset: Local.steal, as: Int.self)
    }
    let pointer = UnsafeMutablePointer<LRULists>.allocate(capacity: 1)
    pointer.initialize(
      to: LRULists(
        cpuCount: cpuCount, isCommon: isCommon, scans: isCommon ? localTarget : perCPUTarget,
        target: max(1, min(maxEntries / cpuCount / 2, localTarget)), lists: lists, locals: locals))
    return pointer
  }

  static func deallocate(_ lru: UnsafeMutablePointer<LRULists>) {
    lru.pointee.lists.deallocate()
    lru.pointee.locals.deallocate()
    lru.deallocate()
  }

  // MARK: Links

  private static func makeEmpty(_ head: UnsafeMutableRawPointer) {
    setNext(head, head)
    setPrevious(head, head)
  }

  @inline(__always)
  private static func next(_ link: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    link.load(fromByteOffset: next, as: UnsafeMutableRawPointer.self)
  }
  @inline(__always)
  private static func previous(_ link: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
    link.load(fromByteOffset: previous, as: UnsafeMutableRawPointer.self)
  }
  @inline(__always)
  private static func setNext(_ link: UnsafeMutableRawPointer, _ to: UnsafeMutableRawPointer) {
    link.storeBytes(of: to, toByteOffset: next, as: UnsafeMutableRawPointer.self)
  }
  @inline(__always)
  private static func setPrevious(_ link: UnsafeMutableRawPointer, _ to: UnsafeMutableRawPointer) {
    link.storeBytes(of: to, toByteOffset: previous, as: UnsafeMutableRawPointer.self)
  }
  @inline(__always)
  private static func remove(_ link: UnsafeMutableRawPointer) {
    setNext(previous(link), next(link))
    setPrevious(next(link), previous(link))
  }
  @inline(__always)
  private static func addFirst(_ link: UnsafeMutableRawPointer, _ head: UnsafeMutableRawPointer) {
    let first = next(head)
    setNext(link, first)
    setPrevious(link, head)
    setPrevious(first, link)
    setNext(head, link)
  }

  @inline(__always)
  private static func element(_ link: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer { link + prefix }
  @inline(__always)
  private static func link(_ element: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer { element - prefix }

  private static func isUsed(_ link: UnsafeMutableRawPointer) -> Bool {
    skep_load_relaxed_32(element(link) + HashTable.usedOffset) != 0
  }
  private static func clearUsed(_ link: UnsafeMutableRawPointer) {
    skep_store_relaxed_32(element(link) + HashTable.usedOffset, 0)
  }
  private static func list(_ link: UnsafeMutableRawPointer) -> UInt32 { skep_load_relaxed_32(link + listOffset) }
  private static func setList(_ link: UnsafeMutableRawPointer, _ list: UInt32) {
    skep_store_relaxed_32(link + listOffset, list)
  }

  private static func add(_ to: UnsafeMutableRawPointer, _ offset: Int, _ amount: Int) {
    to.storeBytes(of: to.load(fromByteOffset: offset, as: Int.self) &+ amount, toByteOffset: offset, as: Int.self)
  }
  private static func number(_ of: UnsafeMutableRawPointer, _ offset: Int) -> Int {
    of.load(fromByteOffset: offset, as: Int.self)
  }
  private static func pointer(_ of: UnsafeMutableRawPointer, _ offset: Int) -> UnsafeMutableRawPointer {
    of.load(fromByteOffset: offset, as: UnsafeMutableRawPointer.self)
  }

  private func list(_ cpu: Int) -> UnsafeMutableRawPointer { lists + (isCommon ? 0 : Lists.size * cpu) }
  private func local(_ cpu: Int) -> UnsafeMutableRawPointer { locals + Local.size * cpu }

  // MARK: Moves between the lists, under their lock

  private static func head(_ lists: UnsafeMutableRawPointer, _ list: UInt32) -> UnsafeMutableRawPointer {
    lists + (list == List.active ? Lists.active : Lists.inactive)
  }
  private static func countOffset(_ list: UInt32) -> Int {
    list == List.active ? Lists.activeCount : Lists.inactiveCount
  }

  private static func passRotation(_ lists: UnsafeMutableRawPointer, _ link: UnsafeMutableRawPointer) {
    guard pointer(lists, Lists.rotation) == link else { return }
    lists.storeBytes(of: previous(link), toByteOffset: Lists.rotation, as: UnsafeMutableRawPointer.self)
  }

  private static func move(_ link: UnsafeMutableRawPointer, _ lists: UnsafeMutableRawPointer, to target: UInt32) {
    let source = list(link)
    if source != target {
      add(lists, countOffset(source), -1)
      add(lists, countOffset(target), 1)
      setList(link, target)
    }
    clearUsed(link)
    passRotation(lists, link)
    remove(link)
    addFirst(link, head(lists, target))
  }

  private static func drop(_ link: UnsafeMutableRawPointer, _ lists: UnsafeMutableRawPointer) {
    passRotation(lists, link)
    add(lists, countOffset(list(link)), -1)
    setList(link, List.none)
    remove(link)
  }

  private static func enter(_ link: UnsafeMutableRawPointer, _ lists: UnsafeMutableRawPointer, _ target: UInt32) {
    add(lists, countOffset(target), 1)
    setList(link, target)
    clearUsed(link)
    addFirst(link, head(lists, target))
  }

  private func rotate(_ lists: UnsafeMutableRawPointer) {
    if Self.number(lists, Lists.inactiveCount) < Self.number(lists, Lists.activeCount) {
      let head = lists + Lists.active
      let first = Self.next(head)
      var link = Self.previous(head)
      var scanned = 0
      while link != head {
        let before = Self.previous(link)
        let isLast = link == first
        Self.move(link, lists, to: Self.isUsed(link) ? List.active : List.inactive)
        scanned += 1
        if scanned == scans || isLast { break }
        link = before
      }
    }
    let head = lists + Lists.inactive
    guard Self.next(head) != head else { return }
    var last = Self.next(Self.pointer(lists, Lists.rotation))
    if last == head { last = Self.next(last) }
    var link = Self.pointer(lists, Lists.rotation)
    var following = head
    var scanned = 0
    while scanned < scans {
      if link == head {
        link = Self.previous(link)
        continue
      }
      following = Self.previous(link)
      if Self.isUsed(link) { Self.move(link, lists, to: List.active) }
      if link == last { break }
      link = following
      scanned += 1
    }
    lists.storeBytes(of: following, toByteOffset: Lists.rotation, as: UnsafeMutableRawPointer.self)
  }

  /// Drops up to `wanted` elements; how many.
  private func shrink(
    _ lists: UnsafeMutableRawPointer, _ wanted: Int, _ evict: (UnsafeMutableRawPointer) -> Bool,
    _ gone: (UnsafeMutableRawPointer) -> Void
  ) -> Int {
    let head = lists + Lists.inactive
    var link = Self.previous(head)
    var dropped = 0
    var scanned = 0
    while link != head {
      let before = Self.previous(link)
      if Self.isUsed(link) {
        Self.move(link, lists, to: List.active)
      } else if evict(Self.element(link)) {
        Self.drop(link, lists)
        gone(Self.element(link))
        dropped += 1
        if dropped == wanted { break }
      }
      scanned += 1
      if scanned == scans { break }
      link = before
    }
    if dropped > 0 { return dropped }
    let forced = Self.next(head) != head ? head : lists + Lists.active
    link = Self.previous(forced)
    while link != forced {
      let before = Self.previous(link)
      if evict(Self.element(link)) {
        Self.drop(link, lists)
        gone(Self.element(link))
        return 1
      }
      link = before
    }
    return 0
  }

  // MARK: Room for a new element

  /// - Parameters:
  ///   - make: an element with key and hash, out of the pool.
  ///   - evict: takes an element out of the table; false where it is not in it.
  ///   - gone: what is done with an element that was evicted and is in no list any more.
  func add(
    cpu: Int, make: () -> UnsafeMutableRawPointer?, evict: (UnsafeMutableRawPointer) -> Bool,
    gone: (UnsafeMutableRawPointer) -> Void
  ) -> UnsafeMutableRawPointer? {
    isCommon ? addCommon(cpu, make, evict, gone) : addPerCPU(cpu, make, evict, gone)
  }

  private func addPerCPU(
    _ cpu: Int, _ make: () -> UnsafeMutableRawPointer?, _ evict: (UnsafeMutableRawPointer) -> Bool,
    _ gone: (UnsafeMutableRawPointer) -> Void
  ) -> UnsafeMutableRawPointer? {
    let lists = list(cpu)
    SpinLock.lock(lists)
    defer { SpinLock.unlock(lists) }
    rotate(lists)
    if Self.number(lists, Lists.free) == 0 {
      Self.add(lists, Lists.free, shrink(lists, Self.perCPUTarget, evict, gone))
    }
    guard Self.number(lists, Lists.free) > 0, let element = make() else { return nil }
    Self.add(lists, Lists.free, -1)
    skep_store_relaxed_32(Self.link(element) + Self.cpuOffset, UInt32(cpu))
    Self.enter(Self.link(element), lists, List.inactive)
    return element
  }

  private func addCommon(
    _ cpu: Int, _ make: () -> UnsafeMutableRawPointer?, _ evict: (UnsafeMutableRawPointer) -> Bool,
    _ gone: (UnsafeMutableRawPointer) -> Void
  ) -> UnsafeMutableRawPointer? {
    let local = local(cpu)
    SpinLock.lock(local)
    if Self.number(local, Local.free) == 0 { refill(local, evict, gone) }
    var hasRoom = Self.number(local, Local.free) > 0
    if hasRoom {
      Self.add(local, Local.free, -1)
      let element = addPending(local, cpu, make)
      SpinLock.unlock(local)
      return element
    }
    SpinLock.unlock(local)

    let first = Self.number(local, Local.steal)
    var other = first
    repeat {
      let victim = self.local(other)
      SpinLock.lock(victim)
      if Self.number(victim, Local.free) > 0 {
        Self.add(victim, Local.free, -1)
        hasRoom = true
      } else {
        hasRoom = dropPending(victim, evict, gone)
      }
      SpinLock.unlock(victim)
      other = (other + 1) % cpuCount
    } while !hasRoom && other != first
    guard hasRoom else { return nil }
    SpinLock.lock(local)
    local.storeBytes(of: other, toByteOffset: Local.steal, as: Int.self)
    let element = addPending(local, cpu, make)
    SpinLock.unlock(local)
    return element
  }

  private func addPending(
    _ local: UnsafeMutableRawPointer, _ cpu: Int, _ make: () -> UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    guard let element = make() else {
      Self.add(local, Local.free, 1)
      return nil
    }
    let link = Self.link(element)
    skep_store_relaxed_32(link + Self.cpuOffset, UInt32(cpu))
    Self.setList(link, List.pending)
    Self.clearUsed(link)
    Self.addFirst(link, local + Local.pending)
    return element
  }

  private func refill(
    _ local: UnsafeMutableRawPointer, _ evict: (UnsafeMutableRawPointer) -> Bool,
    _ gone: (UnsafeMutableRawPointer) -> Void
  ) {
    let lists = list(0)
    SpinLock.lock(lists)
    let pending = local + Local.pending
    var link = Self.previous(pending)
    while link != pending {
      let before = Self.previous(link)
      Self.remove(link)
      Self.enter(link, lists, Self.isUsed(link) ? List.active : List.inactive)
      link = before
    }
    rotate(lists)
    let free = min(target, Self.number(lists, Lists.free))
    Self.add(lists, Lists.free, -free)
    var room = free
    if free < target { room += shrink(lists, target - free, evict, gone) }
    Self.add(local, Local.free, room)
    SpinLock.unlock(lists)
  }

  private func dropPending(
    _ local: UnsafeMutableRawPointer, _ evict: (UnsafeMutableRawPointer) -> Bool,
    _ gone: (UnsafeMutableRawPointer) -> Void
  ) -> Bool {
    let head = local + Local.pending
    for force in [false, true] {
      var link = Self.previous(head)
      while link != head {
        if force || !Self.isUsed(link), evict(Self.element(link)) {
          Self.remove(link)
          Self.setList(link, List.none)
          gone(Self.element(link))
          return true
        }
        link = Self.previous(link)
      }
    }
    return false
  }

  /// An element that is in the table no more leaves its list; its room is free.
  func remove(_ element: UnsafeMutableRawPointer) {
    let link = Self.link(element)
    let cpu = Int(skep_load_relaxed_32(link + Self.cpuOffset))
    if isCommon, Self.list(link) == List.pending {
      let local = local(cpu)
      SpinLock.lock(local)
      if Self.list(link) == List.pending {
        Self.remove(link)
        Self.setList(link, List.none)
        Self.add(local, Local.free, 1)
        SpinLock.unlock(local)
        return
      }
      SpinLock.unlock(local)
    }
    let lists = list(cpu)
    SpinLock.lock(lists)
    Self.drop(link, lists)
    Self.add(lists, Lists.free, 1)
    SpinLock.unlock(lists)
  }
}
