import BPFLinux
import CBPFRuntime

/// `BPF_MAP_TYPE_LPM_TRIE`: keys are prefixes, and the longest that fits is found.
///
/// Lookups walk the trie without a lock; changes are made one at a time, so that a reader sees each either done or not.
///
///     node:  | child 0 | child 1 | length of prefix | is a fork only | first 64 bits as a number | bits … | value |
public final class PrefixTrie: Map, @unchecked Sendable {
  private let trie: UnsafeMutablePointer<Trie>

  /// What the program side works on: `storage` of the block leads to it.
  private struct Trie {
    let dataSize: Int
    let longest: UInt32
    let valueOffset: Int
    let maxEntries: Int
    let value: ValueLayout
    let pool: ElementPool
    /// The lock, the root (at 8) and the number of entries (at 16), on a cache line of their own.
    let state: UnsafeMutableRawPointer

    static let lengthOffset = 16
    static let forkOffset = 20
    static let headOffset = 24
    static let dataOffset = 32
    static let rootOffset = 8
    static let countOffset = 16
  }

  init(_ definition: MapDefinition, fields: [SpecialField], system: MapSystem) throws(MapError) {
    guard (5...260).contains(definition.keySize), definition.valueSize > 0, definition.maxEntries > 0 else {
      throw MapError(.EINVAL, "the key must have 5 to 260 bytes, the value at least one")
    }
    let dataSize = Int(definition.keySize) - 4
    let valueOffset = Trie.dataOffset + dataSize.roundedUp(to: 8)
    let state = UnsafeMutableRawPointer.allocate(byteCount: 128, alignment: 128)
    state.initializeMemory(as: UInt8.self, repeating: 0, count: 128)
    trie = .allocate(capacity: 1)
    trie.initialize(
      to: Trie(
        dataSize: dataSize, longest: UInt32(dataSize * 8), valueOffset: valueOffset,
        maxEntries: Int(definition.maxEntries), value: ValueLayout(size: Int(definition.valueSize), fields: fields),
        pool: ElementPool(
          .init(
            size: valueOffset + Int(definition.valueSize).roundedUp(to: 8), cpuCount: system.cpuCount,
            capacity: Int(definition.maxEntries) * 2, reusesEarly: false),
          system: system),
        state: state))
    super.init(base: definition, fields: fields, system: system)
    block.pointee.storage.0 = UnsafeMutableRawPointer(trie)
    block.pointee.lookup = Self.lookupFunction
    block.pointee.update = { map, key, value, flags, run in
      Int64(
        PrefixTrie.update(
          PrefixTrie.trie(map.unsafelyUnwrapped), key.unsafelyUnwrapped, value.unsafelyUnwrapped, flags,
          cpu: Int(run.unsafelyUnwrapped.pointee.cpu)))
    }
    block.pointee.remove = { map, key, run in
      Int64(
        PrefixTrie.remove(
          PrefixTrie.trie(map.unsafelyUnwrapped), key.unsafelyUnwrapped, cpu: Int(run.unsafelyUnwrapped.pointee.cpu)))
    }
  }

  deinit {
    trie.pointee.pool.deallocate()
    trie.pointee.state.deallocate()
    trie.pointee.value.deallocate()
    trie.deallocate()
  }

  @inline(__always)
  private static func trie(_ map: UnsafeMutablePointer<skep_map>) -> UnsafeMutablePointer<Trie> {
    map.pointee.storage.0.unsafelyUnwrapped.assumingMemoryBound(to: Trie.self)
  }

  // MARK: Nodes

  @inline(__always)
  private static func node(_ place: UnsafeRawPointer) -> UnsafeMutableRawPointer? {
    UnsafeMutableRawPointer(bitPattern: UInt(skep_load_acquire_64(place)))
  }
  @inline(__always)
  private static func setNode(_ place: UnsafeMutableRawPointer, _ node: UnsafeMutableRawPointer?) {
    skep_store_release_64(place, UInt64(UInt(bitPattern: node)))
  }
  @inline(__always)
  private static func length(_ node: UnsafeRawPointer) -> UInt32 {
    node.load(fromByteOffset: Trie.lengthOffset, as: UInt32.self)
  }
  @inline(__always)
  private static func isFork(_ node: UnsafeRawPointer) -> Bool { skep_load_relaxed_32(node + Trie.forkOffset) != 0 }

  @inline(__always)
  private static func bit(_ data: UnsafeRawPointer, _ index: UInt32) -> Int {
    Int(data.load(fromByteOffset: Int(index >> 3), as: UInt8.self) >> (7 &- UInt8(index & 7)) & 1)
  }

  /// The first 64 bits, the first of them the highest; zeros behind the end.
  @inline(__always)
  private static func head(_ data: UnsafeRawPointer, _ size: Int) -> UInt64 {
    if size >= 8 { return UInt64(bigEndian: data.loadUnaligned(as: UInt64.self)) }
    var (head, offset, shift) = (UInt64(0), 0, UInt64(64))
    if size >= 4 {
      head = UInt64(UInt32(bigEndian: data.loadUnaligned(as: UInt32.self))) << 32
      (offset, shift) = (4, 32)
    }
    while offset < size {
      shift &-= 8
      head |= UInt64(data.load(fromByteOffset: offset, as: UInt8.self)) << shift
      offset &+= 1
    }
    return head
  }

  /// Bits that both have in common, at most `limit`.
  @inline(__always)
  private static func common(
    _ left: UnsafeRawPointer, _ right: UnsafeRawPointer, _ size: Int, _ limit: UInt32
  ) -> UInt32 {
    var offset = 0
    while offset &+ 8 <= size {
      let difference = (left.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        ^ right.loadUnaligned(fromByteOffset: offset, as: UInt64.self)).bigEndian
      if difference != 0 {
        return min(limit, UInt32(offset &* 8 &+ difference.leadingZeroBitCount))
      }
      offset &+= 8
      if UInt32(offset &* 8) >= limit { return limit }
    }
    if offset &+ 4 <= size {
      let difference = (left.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
        ^ right.loadUnaligned(fromByteOffset: offset, as: UInt32.self)).bigEndian
      if difference != 0 {
        return min(limit, UInt32(offset &* 8 &+ difference.leadingZeroBitCount))
      }
      offset &+= 4
    }
    while offset < size {
      let difference =
        left.load(fromByteOffset: offset, as: UInt8.self) ^ right.load(fromByteOffset: offset, as: UInt8.self)
      if difference != 0 { return min(limit, UInt32(offset &* 8 &+ difference.leadingZeroBitCount)) }
      offset &+= 1
    }
    return limit
  }

  // MARK: What programs call

  private static let lookupFunction: HashLookup.Function = { map, key, _ in
    let trie = trie(map.unsafelyUnwrapped)
    guard let found = find(trie, key.unsafelyUnwrapped) else { return 0 }
    return HashLookup.address(found + trie.pointee.valueOffset)
  }

  private static func find(
    _ trie: UnsafeMutablePointer<Trie>, _ key: UnsafeRawPointer
  ) -> UnsafeMutableRawPointer? {
    let wanted = key.loadUnaligned(as: UInt32.self)
    let longest = trie.pointee.longest
    guard wanted <= longest else { return nil }
    let size = trie.pointee.dataSize
    let bits = head(key + 4, size)
    var found: UnsafeMutableRawPointer?
    var next = node(trie.pointee.state + Trie.rootOffset)
    while let here = next {
      let length = length(here)
      let limit = min(length, wanted)
      let same = UInt32((here.load(fromByteOffset: Trie.headOffset, as: UInt64.self) ^ bits).leadingZeroBitCount)
      var matched = min(same, limit)
      if same == 64 && limit > 64 {
        matched = 64 &+ common(here + Trie.dataOffset + 8, key + 12, size &- 8, limit &- 64)
      }
      // A fork has children, so it is never as long as can be.
      if matched == longest { return here }
      if matched < length { break }
      if !isFork(here) { found = here }
      next = node(here + 8 &* (length < 64 ? Int((bits &<< UInt64(length)) >> 63) : bit(key + 4, length)))
    }
    return found
  }

  /// Goes down to where the key belongs: the place of the link, the node there, and how much of it matches.
  private static func descend(
    _ trie: UnsafeMutablePointer<Trie>, _ key: UnsafeRawPointer, _ wanted: UInt32,
    _ visit: (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Void = { _, _ in }
  ) -> (place: UnsafeMutableRawPointer, node: UnsafeMutableRawPointer?, matched: UInt32) {
    var place = trie.pointee.state + Trie.rootOffset
    while let here = node(place) {
      let length = length(here)
      let matched = common(here + Trie.dataOffset, key + 4, trie.pointee.dataSize, min(length, wanted))
      if length != matched || length == wanted { return (place, here, matched) }
      visit(place, here)
      place = here + 8 * bit(key + 4, length)
    }
    return (place, nil, 0)
  }

  private static func makeNode(
    _ trie: UnsafeMutablePointer<Trie>, _ length: UInt32, _ data: UnsafeRawPointer, isFork: Bool, cpu: Int
  ) -> UnsafeMutableRawPointer? {
    guard let node = trie.pointee.pool.allocate(cpu: cpu) else { return nil }
    skep_store_relaxed_64(node, 0)
    skep_store_relaxed_64(node + 8, 0)
    node.storeBytes(of: length, toByteOffset: Trie.lengthOffset, as: UInt32.self)
    skep_store_relaxed_32(node + Trie.forkOffset, isFork ? 1 : 0)
    node.storeBytes(of: head(data, trie.pointee.dataSize), toByteOffset: Trie.headOffset, as: UInt64.self)
    (node + Trie.dataOffset).copyMemory(from: data, byteCount: trie.pointee.dataSize)
    return node
  }

  private static func count(_ trie: UnsafeMutablePointer<Trie>, _ change: Int) {
    let place = trie.pointee.state
    let count = place.load(fromByteOffset: Trie.countOffset, as: Int.self)
    place.storeBytes(of: count + change, toByteOffset: Trie.countOffset, as: Int.self)
  }

  private static func checkAdd(_ trie: UnsafeMutablePointer<Trie>, _ flags: UInt64) -> Int32 {
    if flags == UpdateFlags.exist { return -2 }
    if trie.pointee.state.load(fromByteOffset: Trie.countOffset, as: Int.self) == trie.pointee.maxEntries {
      return -28
    }
    count(trie, 1)
    return 0
  }

  private static func update(
    _ trie: UnsafeMutablePointer<Trie>, _ key: UnsafeRawPointer, _ bytes: UnsafeRawPointer, _ flags: UInt64, cpu: Int
  ) -> Int32 {
    guard flags <= UpdateFlags.exist else { return -22 }
    let wanted = key.loadUnaligned(as: UInt32.self)
    guard wanted <= trie.pointee.longest else { return -22 }
    let pool = trie.pointee.pool
    guard let new = makeNode(trie, wanted, key + 4, isFork: false, cpu: cpu) else { return -12 }
    trie.pointee.value.store(new + trie.pointee.valueOffset, bytes)
    SpinLock.lock(trie.pointee.state)
    var replaced: UnsafeMutableRawPointer?
    let result = attach(trie, new, key, wanted, flags, cpu, &replaced)
    SpinLock.unlock(trie.pointee.state)
    if result != 0 { pool.discard(new, cpu: cpu) }
    if let replaced { pool.retire(replaced, cpu: cpu) }
    return result
  }

  private static func attach(
    _ trie: UnsafeMutablePointer<Trie>, _ new: UnsafeMutableRawPointer, _ key: UnsafeRawPointer, _ wanted: UInt32,
    _ flags: UInt64, _ cpu: Int, _ replaced: inout UnsafeMutableRawPointer?
  ) -> Int32 {
    let (place, found, matched) = descend(trie, key, wanted)
    guard let here = found else {
      let refusal = checkAdd(trie, flags)
      if refusal == 0 { setNode(place, new) }
      return refusal
    }
    if length(here) == matched {
      if !isFork(here) {
        if flags == UpdateFlags.noExist { return -17 }
      } else {
        let refusal = checkAdd(trie, flags)
        if refusal != 0 { return refusal }
      }
      setNode(new, node(here))
      setNode(new + 8, node(here + 8))
      setNode(place, new)
      replaced = here
      return 0
    }
    let refusal = checkAdd(trie, flags)
    if refusal != 0 { return refusal }
    if matched == wanted {
      setNode(new + 8 * bit(here + Trie.dataOffset, matched), here)
      setNode(place, new)
      return 0
    }
    guard let fork = makeNode(trie, matched, here + Trie.dataOffset, isFork: true, cpu: cpu) else {
      count(trie, -1)
      return -12
    }
    let side = bit(key + 4, matched)
    setNode(fork + 8 * side, new)
    setNode(fork + 8 * (1 - side), here)
    setNode(place, fork)
    return 0
  }

  private static func remove(_ trie: UnsafeMutablePointer<Trie>, _ key: UnsafeRawPointer, cpu: Int) -> Int32 {
    let wanted = key.loadUnaligned(as: UInt32.self)
    guard wanted <= trie.pointee.longest else { return -22 }
    SpinLock.lock(trie.pointee.state)
    var parent: (place: UnsafeMutableRawPointer, node: UnsafeMutableRawPointer)?
    let (place, found, matched) = descend(trie, key, wanted) { parent = ($0, $1) }
    guard let here = found, length(here) == wanted, matched == wanted, !isFork(here) else {
      SpinLock.unlock(trie.pointee.state)
      return -2
    }
    count(trie, -1)
    let children = (node(here), node(here + 8))
    if children.0 != nil && children.1 != nil {
      skep_store_relaxed_32(here + Trie.forkOffset, 1)
      SpinLock.unlock(trie.pointee.state)
      return 0
    }
    var unused: UnsafeMutableRawPointer?
    if let parent, isFork(parent.node), children.0 == nil, children.1 == nil {
      // A fork with one way left is none.
      let other = node(parent.node) == here ? node(parent.node + 8) : node(parent.node)
      setNode(parent.place, other)
      unused = parent.node
    } else {
      setNode(place, children.0 ?? children.1)
    }
    SpinLock.unlock(trie.pointee.state)
    if let unused { trie.pointee.pool.retire(unused, cpu: cpu) }
    trie.pointee.pool.retire(here, cpu: cpu)
    return 0
  }

  // MARK: What users call

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard let key else { return -22 }
    SpinLock.lock(trie.pointee.state)
    defer { SpinLock.unlock(trie.pointee.state) }
    guard let found = Self.find(trie, key) else { return -2 }
    value.load(found + trie.pointee.valueOffset, into: bytes)
    return 0
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard let key else { return -22 }
    return Self.update(trie, key, bytes, flags, cpu: 0)
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    guard let key else { return -22 }
    return Self.remove(trie, key, cpu: 0)
  }

  /// Longer prefixes come before those that they begin with.
  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    SpinLock.lock(trie.pointee.state)
    defer { SpinLock.unlock(trie.pointee.state) }
    guard var start = Self.node(trie.pointee.state + Trie.rootOffset) else { return -2 }
    if let key, key.loadUnaligned(as: UInt32.self) <= trie.pointee.longest {
      var path: [UnsafeMutableRawPointer] = []
      let wanted = key.loadUnaligned(as: UInt32.self)
      let (_, found, matched) = Self.descend(trie, key, wanted) { path.append($1) }
      if var here = found, Self.length(here) == matched, !Self.isFork(here) {
        var isDone = false
        while let parent = path.popLast() {
          if Self.node(parent) == here, let other = Self.node(parent + 8) {
            start = other
            isDone = true
            break
          }
          if !Self.isFork(parent) {
            copyKey(parent, into: next)
            return 0
          }
          here = parent
        }
        guard isDone else { return -2 }
      }
    }
    var here: UnsafeMutableRawPointer? = start
    var last = start
    while let node = here {
      if Self.isFork(node) {
        here = Self.node(node)
      } else {
        last = node
        here = Self.node(node) ?? Self.node(node + 8)
      }
    }
    copyKey(last, into: next)
    return 0
  }

  private func copyKey(_ node: UnsafeMutableRawPointer, into next: UnsafeMutableRawPointer) {
    next.storeBytes(of: Self.length(node), as: UInt32.self)
    (next + 4).copyMemory(from: node + Trie.dataOffset, byteCount: trie.pointee.dataSize)
  }

  override var batchCommands: BatchCommands { [.lookup, .update, .delete] }
}
