import BPFLinux
import CBPFRuntime

/// An array whose elements stand for something outside of it. User space puts in numbers that the system resolves.
public class ReferenceArray: Map, @unchecked Sendable {
  struct Slot {
    /// What a lookup by user space gives.
    var id: UInt32
    /// Kept as long as the element, and as the runs that may hold it.
    var object: AnyObject?
  }

  let slots: UnsafeMutablePointer<UInt64>
  private let byteCount: Int
  private let lock = Mutex()
  private var owners: [UInt32: Slot] = [:]

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    guard definition.keySize == 4, definition.valueSize == 4, definition.maxEntries > 0 else {
      throw MapError(.EINVAL, "entries, a key and a value of 4 bytes are needed")
    }
    byteCount = Int(definition.maxEntries) * 8
    guard let memory = ZeroedMemory.allocate(byteCount) else {
      throw MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    }
    slots = memory.assumingMemoryBound(to: UInt64.self)
    super.init(base: definition, fields: [], system: system)
    block.pointee.values = UnsafeMutableRawPointer(slots).assumingMemoryBound(to: UInt8.self)
    block.pointee.stride = 8
  }

  deinit { ZeroedMemory.free(slots, byteCount) }

  /// Puts an element in or takes it out; the old one lives on until all that run have ended.
  ///
  /// - Parameter pointer: what programs get at; 0 for nothing.
  /// - Returns: whether there was one.
  @discardableResult
  final func replace(_ index: UInt32, pointer: UInt64, _ slot: Slot?) -> Bool {
    let old = lock.withLock { () -> Slot? in
      let old = owners[index]
      owners[index] = slot
      skep_store_release_64(slots + Int(index), pointer)
      return old
    }
    guard let old else { return false }
    if let object = old.object {
      let keeper = Keeper(object)
      system.retire { keeper.release() }
    }
    return true
  }

  final func slot(_ index: UInt32) -> Slot? { lock.withLock { owners[index] } }

  /// Objects are let go of elsewhere than where they were put in.
  private final class Keeper: @unchecked Sendable {
    private var object: AnyObject?
    init(_ object: AnyObject) { self.object = object }
    func release() { object = nil }
  }

  /// Resolves what user space put in: pointer for programs, and what is kept.
  func resolve(_ value: UInt32) -> Result<(UInt64, Slot), Errno> { .failure(.EBADF) }
  /// Whether user space sees ids.
  var showsIDs: Bool { true }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard showsIDs else { return -524 }
    guard let slot = slot(index(key)) else { return -2 }
    bytes.storeBytes(of: slot.id, as: UInt32.self)
    return 0
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard flags == UpdateFlags.any else { return -22 }
    let index = index(key)
    guard index < definition.maxEntries else { return -7 }
    switch resolve(bytes.load(as: UInt32.self)) {
    case .failure(let error): return -error.rawValue
    case .success((let pointer, let slot)):
      replace(index, pointer: pointer, slot)
      return 0
    }
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    let index = index(key)
    guard index < definition.maxEntries else { return -7 }
    return replace(index, pointer: 0, nil) ? 0 : -2
  }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    nextIndex(after: key, into: next)
  }
}

/// `BPF_MAP_TYPE_PROG_ARRAY`: programs to go on with (`bpf_tail_call`).
public final class ProgramArray: ReferenceArray, @unchecked Sendable {
  override init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    try super.init(definition, system: system)
    block.pointee.programs = UnsafeMutableRawPointer(slots)
      .assumingMemoryBound(to: UnsafePointer<skep_program>?.self)
  }

  /// Puts a program in, or takes the one that is there out.
  ///
  /// - Parameters:
  ///   - keepAlive: owns the program; let go of once nobody can be running it for this map.
  ///   - id: what user space reads.
  public func setProgram(
    _ index: UInt32, _ program: UnsafePointer<skep_program>?, keepAlive: AnyObject? = nil, id: UInt32 = 0
  ) throws(Errno) {
    guard index < definition.maxEntries else { throw .E2BIG }
    let pointer = UInt64(UInt(bitPattern: program))
    replace(index, pointer: pointer, program == nil ? nil : Slot(id: id, object: keepAlive))
  }

  override func resolve(_ value: UInt32) -> Result<(UInt64, Slot), Errno> {
    guard let found = system.programByNumber?(value) else { return .failure(.EBADF) }
    return .success((UInt64(UInt(bitPattern: found.program)), Slot(id: found.id, object: found.keepAlive)))
  }
}

/// What a number that user space puts into a prog_array stands for.
public struct ResolvedProgram: @unchecked Sendable {
  public let program: UnsafePointer<skep_program>
  public let id: UInt32
  public let keepAlive: AnyObject?

  public init(program: UnsafePointer<skep_program>, id: UInt32, keepAlive: AnyObject?) {
    self.program = program
    self.id = id
    self.keepAlive = keepAlive
  }
}

/// `BPF_MAP_TYPE_CGROUP_ARRAY`: cgroups by index, as opaque addresses.
public final class CgroupArray: ReferenceArray, @unchecked Sendable {
  public func setCgroup(_ index: UInt32, _ address: UInt64, keepAlive: AnyObject? = nil) throws(Errno) {
    guard index < definition.maxEntries else { throw .E2BIG }
    replace(index, pointer: address, address == 0 ? nil : Slot(id: 0, object: keepAlive))
  }

  /// The cgroup's address, 0 where there is none; nil beyond the end.
  public func cgroup(_ index: UInt32) -> UInt64? {
    index < definition.maxEntries ? skep_load_acquire_64(slots + Int(index)) : nil
  }

  override var showsIDs: Bool { false }
}

/// What maps of maps share: which maps may be in them, and what their numbers are.
struct InnerMaps {
  let model: MapDefinition

  init(_ definition: MapDefinition, _ inner: Map?) throws(MapError) {
    guard let model = inner?.definition ?? definition.inner.first else {
      throw MapError(.EINVAL, "an inner map is needed")
    }
    switch model.type {
    case .arrayOfMaps, .hashOfMaps: throw MapError(.EINVAL, "maps of maps do not nest")
    case .progArray, .cgroupStorage, .percpuCgroupStorage, .structOps:
      throw MapError(.ENOTSUPP, "this type of map cannot be an inner map")
    default: self.model = model
    }
  }

  func allows(_ map: Map) -> Bool {
    MapCreation.isInterchangeable(Self.permanent(map.definition), with: Self.permanent(model))
  }

  /// What a descriptor may do is not the map's.
  private static func permanent(_ definition: MapDefinition) -> MapDefinition {
    var definition = definition
    definition.flags.subtract([.readOnly, .writeOnly, .tokenFD])
    return definition
  }
}

/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`. User space writes the number of a map (its id in the system) and reads its id.
public final class ArrayOfMaps: ReferenceArray, @unchecked Sendable {
  private let inner: InnerMaps

  init(_ definition: MapDefinition, inner: Map?, system: MapSystem) throws(MapError) {
    self.inner = try InnerMaps(definition, inner)
    try super.init(definition, system: system)
    block.pointee.lookup = { map, key, _ in
      let map = map.unsafelyUnwrapped
      let index = index(key)
      guard index < map.pointee.max_entries else { return 0 }
      return skep_load_acquire_64(map.pointee.values + Int(index) &* 8)
    }
  }

  /// Puts `map` in, or takes out what is there.
  public func setInner(_ index: UInt32, _ map: Map?) throws(Errno) {
    guard index < definition.maxEntries else { throw .E2BIG }
    guard let map else {
      replace(index, pointer: 0, nil)
      return
    }
    guard inner.allows(map) else { throw .EINVAL }
    replace(index, pointer: UInt64(UInt(bitPattern: map.block)), Slot(id: map.id, object: map))
  }

  /// The map at `index`.
  public func inner(_ index: UInt32) -> Map? { slot(index)?.object as? Map }

  override func resolve(_ value: UInt32) -> Result<(UInt64, Slot), Errno> {
    guard let map = system.map(number: value) else { return .failure(.EBADF) }
    guard inner.allows(map) else { return .failure(.EINVAL) }
    return .success((UInt64(UInt(bitPattern: map.block)), Slot(id: map.id, object: map)))
  }

  override var batchCommands: BatchCommands { [.lookup, .update] }
}

/// `BPF_MAP_TYPE_HASH_OF_MAPS`.
public final class HashOfMaps: HashMap, @unchecked Sendable {
  private let inner: InnerMaps

  init(_ definition: MapDefinition, inner: Map?, system: MapSystem) throws(MapError) {
    guard definition.valueSize == 4 else { throw MapError(.EINVAL, "the value must be a descriptor of 4 bytes") }
    self.inner = try InnerMaps(definition, inner)
    try super.init(definition, fields: [], system: system)
    block.pointee.update = { _, _, _, _, _ in -22 }
    block.pointee.remove = { _, _, _ in -22 }
  }

  deinit {
    _ = forEach { element in
      let address = table.pointee.value(element).load(as: UInt.self)
      guard let block = UnsafeMutablePointer<skep_map>(bitPattern: address) else { return }
      Unmanaged<Map>.fromOpaque(block.pointee.object).release()
    }
  }

  /// Puts `map` in.
  public func setInner(_ key: [UInt8], _ map: Map, flags: UInt64 = 0) throws(Errno) {
    guard key.count == keySize else { throw .EINVAL }
    let result = key.withUnsafeBytes { put($0.baseAddress, map, flags) }
    if result < 0 { throw Errno(rawValue: -result) }
  }

  /// The map at `key`.
  public func inner(_ key: [UInt8]) -> Map? {
    guard key.count == keySize, let id = try? lookup(key), id.count == 4 else { return nil }
    return system.map(number: id.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) })
  }

  private func put(_ key: UnsafeRawPointer?, _ map: Map, _ flags: UInt64) -> Int32 {
    guard let key, inner.allows(map) else { return -22 }
    guard flags <= UpdateFlags.exist else { return -22 }
    let hash = table.pointee.hash(key)
    let bucket = table.pointee.bucket(hash)
    let lock = table.pointee.lock(bucket)
    let address = UInt64(UInt(bitPattern: map.block))
    SpinLock.lock(lock)
    let old = table.pointee.findLocked(key, hash, bucket)
    let refusal = HashTable.check(flags, exists: old != nil)
    if refusal != 0 {
      SpinLock.unlock(lock)
      return refusal
    }
    if let old {
      _ = Unmanaged.passRetained(map)
      let before = skep_exchange_64(table.pointee.value(old.element), address)
      SpinLock.unlock(lock)
      retire(before)
      return 0
    }
    guard table.pointee.reserve() else {
      SpinLock.unlock(lock)
      return -7
    }
    guard let element = table.pointee.pool.allocate(cpu: 0) else {
      table.pointee.unreserve()
      SpinLock.unlock(lock)
      return -12
    }
    _ = Unmanaged.passRetained(map)
    table.pointee.setKey(element, key, hash)
    skep_store_relaxed_64(table.pointee.value(element), address)
    table.pointee.insertFirst(element, bucket)
    SpinLock.unlock(lock)
    return 0
  }

  private func retire(_ address: UInt64) {
    guard address != 0, let block = UnsafeMutablePointer<skep_map>(bitPattern: UInt(address)) else { return }
    let object = UInt(bitPattern: block.pointee.object)
    system.retire {
      guard let object = UnsafeRawPointer(bitPattern: object) else { return }
      Unmanaged<Map>.fromOpaque(object).release()
    }
  }

  public override var userValueSize: Int { 4 }

  override func read(_ element: UnsafeMutableRawPointer, into bytes: UnsafeMutableRawPointer, _ flags: UInt64) {
    let address = UInt(skep_load_acquire_64(table.pointee.value(element)))
    let block = UnsafeMutablePointer<skep_map>(bitPattern: address)
    bytes.storeBytes(of: block?.pointee.id ?? 0, as: UInt32.self)
  }

  override func dropElement(_ element: UnsafeMutableRawPointer) {
    let address = skep_exchange_64(table.pointee.value(element), 0)
    super.dropElement(element)
    retire(address)
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    guard let key else { return -22 }
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
    dropElement(found.element)
    return 0
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard let map = system.map(number: bytes.load(as: UInt32.self)) else { return -9 }
    return put(key, map, flags)
  }

  public override func forEachElement(
    cpu: Int, _ body: (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Bool
  ) -> Int? {
    nil
  }
}
