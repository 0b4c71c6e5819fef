import BPFLinux
import CBPFRuntime

/// Where packets are redirected to: what `BPF_MAP_TYPE_DEVMAP`, `DEVMAP_HASH`, `CPUMAP` and `XSKMAP` share.
///
/// An entry is memory of its own, which `block.lookup` gives to programs; for XDP sockets it is the socket's address.
public class RedirectMap: Map, @unchecked Sendable {
  /// By index; devmap_hash keeps the same in a dictionary.
  private let slots: UnsafeMutablePointer<UInt64>
  private let slotBytes: Int
  final let lock = Mutex()
  private var keepers: [UInt32: AnyObject] = [:]

  init(_ definition: MapDefinition, valueSizes: [UInt32], system: MapSystem) throws(MapError) {
    guard definition.keySize == 4, valueSizes.contains(definition.valueSize), definition.maxEntries > 0 else {
      throw MapError(.EINVAL, "entries, a key of 4 bytes and a value of the right size are needed")
    }
    slotBytes = definition.type == .devmapHash ? 64 : Int(definition.maxEntries) * 8
    guard let memory = ZeroedMemory.allocate(slotBytes) else {
      throw MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    }
    slots = memory.assumingMemoryBound(to: UInt64.self)
    super.init(base: definition, fields: [], system: system)
    block.pointee.values = UnsafeMutableRawPointer(slots).assumingMemoryBound(to: UInt8.self)
    block.pointee.stride = 8
    block.pointee.lookup = { map, key, _ in
      let map = map.unsafelyUnwrapped
      let index = index(key)
      guard index < map.pointee.max_entries else { return 0 }
      return skep_load_acquire_64(map.pointee.values + Int(index) &* 8)
    }
  }

  deinit { ZeroedMemory.free(slots, slotBytes) }

  /// Entries that programs get the address of are freed with their owner.
  final class Entry: @unchecked Sendable {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 16, alignment: 16)
    let keepAlive: AnyObject?
    init(_ first: UInt32, _ second: UInt32, keepAlive: AnyObject?) {
      memory.storeBytes(of: first, as: UInt32.self)
      memory.storeBytes(of: second, toByteOffset: 4, as: UInt32.self)
      memory.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
      self.keepAlive = keepAlive
    }
    deinit { memory.deallocate() }
  }

  /// Entries that waits for runs to end keep.
  private final class Keeper: @unchecked Sendable {
    var object: AnyObject?
    init(_ object: AnyObject) { self.object = object }
  }

  final func retire(_ object: AnyObject?) {
    guard let object else { return }
    let keeper = Keeper(object)
    system.retire { keeper.object = nil }
  }

  final func put(_ index: UInt32, _ pointer: UInt64, _ keeper: AnyObject?) {
    let old = lock.withLock { () -> AnyObject? in
      let old = keepers[index]
      keepers[index] = keeper
      skep_store_release_64(slots + Int(index), pointer)
      return old
    }
    retire(old)
  }

  final func pointer(_ index: UInt32) -> UInt64 { skep_load_acquire_64(slots + Int(index)) }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let index = index(key)
    return lock.withLock {
      guard index < definition.maxEntries,
        let entry = UnsafeRawPointer(bitPattern: UInt(pointer(index)))
      else { return -2 }
      bytes.copyMemory(from: entry, byteCount: Int(definition.valueSize))
      return 0
    }
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    let index = index(key)
    guard index < definition.maxEntries else { return -22 }
    put(index, 0, nil)
    return 0
  }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    nextIndex(after: key, into: next)
  }

  final func word(_ bytes: UnsafeRawPointer, _ index: Int) -> UInt32 {
    Int(definition.valueSize) > index * 4 ? bytes.load(fromByteOffset: index * 4, as: UInt32.self) : 0
  }

  /// The program that a descriptor in a value stands for: its id, and what keeps it.
  final func program(_ number: UInt32) -> Result<(id: UInt32, keepAlive: AnyObject?), Errno> {
    guard Int32(bitPattern: number) > 0 else { return .success((0, nil)) }
    guard let found = system.programByNumber?(number) else { return .failure(.EINVAL) }
    return .success((found.id, found.keepAlive))
  }
}

/// `BPF_MAP_TYPE_DEVMAP`: interfaces, and programs that run on what is sent there. An entry is `struct bpf_devmap_val`
/// with the program's id.
public final class DeviceMap: RedirectMap, @unchecked Sendable {
  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    try super.init(definition, valueSizes: [4, 8], system: system)
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard flags <= UpdateFlags.exist else { return -22 }
    let index = index(key)
    guard index < definition.maxEntries else { return -7 }
    guard flags != UpdateFlags.noExist else { return -17 }
    let interface = word(bytes, 0)
    let number = word(bytes, 1)
    guard interface != 0 else {
      guard Int32(bitPattern: number) <= 0 else { return -22 }
      put(index, 0, nil)
      return 0
    }
    guard system.hasInterface(interface), case .success(let program) = program(number) else { return -22 }
    let entry = Entry(interface, program.id, keepAlive: program.keepAlive)
    put(index, UInt64(UInt(bitPattern: entry.memory)), entry)
    return 0
  }
}

/// `BPF_MAP_TYPE_DEVMAP_HASH`: a devmap with any keys.
public final class DeviceHashMap: RedirectMap, @unchecked Sendable {
  private var entries: [UInt32: Entry] = [:]
  private var order: [UInt32] = []

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    try super.init(definition, valueSizes: [4, 8], system: system)
    block.pointee.lookup = { map, key, _ in
      Unmanaged<DeviceHashMap>.fromOpaque(map.unsafelyUnwrapped.pointee.object)._withUnsafeGuaranteedRef { map in
        let index = index(key)
        return map.lock.withLock { map.entries[index].map { HashLookup.address($0.memory) } ?? 0 }
      }
    }
  }

  /// The interfaces that are in the map, as a broadcast goes to them.
  public var interfaces: [UInt32] {
    lock.withLock { order.compactMap { entries[$0]?.memory.load(as: UInt32.self) } }
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let index = index(key)
    return lock.withLock {
      guard let entry = entries[index] else { return -2 }
      bytes.copyMemory(from: entry.memory, byteCount: Int(definition.valueSize))
      return 0
    }
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let index = index(key)
    let interface = word(bytes, 0)
    guard flags <= UpdateFlags.exist, interface != 0 else { return -22 }
    let exists = lock.withLock { entries[index] != nil }
    if exists && flags & UpdateFlags.noExist != 0 { return -17 }
    guard system.hasInterface(interface), case .success(let program) = program(word(bytes, 1)) else { return -22 }
    let entry = Entry(interface, program.id, keepAlive: program.keepAlive)
    var old: Entry?
    let result = lock.withLock { () -> Int32 in
      old = entries[index]
      if old == nil {
        guard entries.count < Int(definition.maxEntries) else { return -7 }
        order.append(index)
      }
      entries[index] = entry
      return 0
    }
    retire(old)
    return result
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    let index = index(key)
    let old = lock.withLock { () -> Entry? in
      order.removeAll { $0 == index }
      return entries.removeValue(forKey: index)
    }
    retire(old)
    return old == nil ? -2 : 0
  }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    lock.withLock {
      var position = 0
      if let key, let found = order.firstIndex(of: index(key)) { position = found + 1 }
      guard position < order.count else { return -2 }
      next.storeBytes(of: order[position], as: UInt32.self)
      return 0
    }
  }
}

/// `BPF_MAP_TYPE_CPUMAP`: CPUs, their queues' lengths, and programs that run there. An entry is `struct bpf_cpumap_val`
/// with the program's id.
public final class CPUMap: RedirectMap, @unchecked Sendable {
  private static let longestQueue: UInt32 = 16384

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    try super.init(definition, valueSizes: [4, 8], system: system)
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let index = index(key)
    let length = word(bytes, 0)
    guard flags <= UpdateFlags.exist else { return -22 }
    guard index < definition.maxEntries else { return -7 }
    guard flags != UpdateFlags.noExist else { return -17 }
    guard length <= Self.longestQueue else { return -75 }
    guard Int(index) < system.cpuCount else { return -19 }
    guard length > 0 else {
      put(index, 0, nil)
      return 0
    }
    guard case .success(let program) = program(word(bytes, 1)) else { return -12 }
    let entry = Entry(length, program.id, keepAlive: program.keepAlive)
    put(index, UInt64(UInt(bitPattern: entry.memory)), entry)
    return 0
  }
}

/// `BPF_MAP_TYPE_XSKMAP`: AF_XDP sockets, as opaque addresses.
public final class SocketMap: RedirectMap, @unchecked Sendable {
  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    try super.init(definition, valueSizes: [4], system: system)
  }

  /// Puts a socket in, or takes one out (0).
  public func setSocket(
    _ index: UInt32, _ address: UInt64, keepAlive: AnyObject? = nil, flags: UInt64 = 0
  ) throws(Errno) {
    guard flags <= UpdateFlags.exist else { throw .EINVAL }
    guard index < definition.maxEntries else { throw .E2BIG }
    let old = pointer(index)
    if old == address { return }
    if old != 0 && flags == UpdateFlags.noExist { throw .EEXIST }
    if old == 0 && flags == UpdateFlags.exist { throw .ENOENT }
    put(index, address, keepAlive)
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 { -95 }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    guard flags <= UpdateFlags.exist else { return -22 }
    guard index(key) < definition.maxEntries else { return -7 }
    return -9
  }
}
