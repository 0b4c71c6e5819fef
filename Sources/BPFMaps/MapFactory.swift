import BPFLinux

extension MapSystem {
  /// Makes a map, empty but for its initial value.
  ///
  /// What `BPF_MAP_CREATE` refuses is checked by `MapCreation`; here a map is refused where it cannot be.
  ///
  /// - Parameters:
  ///   - fields: the special fields of its value.
  ///   - inner: for maps of maps, one that others have to be like; by default the definition's.
  public func makeMap(
    _ definition: MapDefinition, fields: [SpecialField] = [], inner: Map? = nil
  ) throws(MapError) -> Map {
    let map = try newMap(definition, fields, inner)
    register(map)
    return map
  }

  private func newMap(
    _ definition: MapDefinition, _ fields: [SpecialField], _ inner: Map?
  ) throws(MapError) -> Map {
    for field in fields where field.offset < 0 || field.offset + field.size > Int(definition.valueSize) {
      throw MapError(.EINVAL, "a special field lies outside of the value")
    }
    switch definition.type {
    case .hash, .percpuHash, .lruHash, .lruPercpuHash:
      return try HashMap(definition, fields: fields, system: self)
    case .array, .percpuArray: return try ArrayMap(definition, fields: fields, system: self)
    case .progArray: return try ProgramArray(definition, system: self)
    case .perfEventArray: return try PerfEventArray(definition, system: self)
    case .cgroupArray: return try CgroupArray(definition, system: self)
    case .arrayOfMaps: return try ArrayOfMaps(definition, inner: inner, system: self)
    case .hashOfMaps: return try HashOfMaps(definition, inner: inner, system: self)
    case .stackTrace: return try StackTraceMap(definition, system: self)
    case .lpmTrie: return try PrefixTrie(definition, fields: fields, system: self)
    case .queue, .stack: return try QueueMap(definition, system: self)
    case .bloomFilter: return try BloomFilter(definition, system: self)
    case .ringbuf: return try RingBuffer(definition, system: self)
    case .userRingbuf: return try UserRingBuffer(definition, system: self)
    case .devmap: return try DeviceMap(definition, system: self)
    case .devmapHash: return try DeviceHashMap(definition, system: self)
    case .cpumap: return try CPUMap(definition, system: self)
    case .xskmap: return try SocketMap(definition, system: self)
    case .skStorage, .inodeStorage, .taskStorage, .cgrpStorage:
      return try LocalStorageMap(definition, fields: fields, system: self)
    case .cgroupStorage, .percpuCgroupStorage:
      return try CgroupStorageMap(definition, fields: fields, system: self)
    case .arena: return try ArenaMap(definition, system: self)
    case .sockmap, .sockhash, .reuseportSockarray, .structOps: return EmptyMap(definition, system: self)
    default:
      throw MapError(.EOPNOTSUPP, "maps of type \(definition.type.name) are not there in user space")
    }
  }
}

/// A map of what user space does not have, sockets for one: it stays empty.
public final class EmptyMap: Map, @unchecked Sendable {
  init(_ definition: MapDefinition, system: MapSystem) {
    super.init(base: definition, fields: [], system: system)
    block.pointee.lookup = { _, _, _ in 0 }
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    if definition.type == .structOps { return -524 }
    return definition.valueSize == 8 ? -2 : -28
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    switch definition.type {
    case .sockmap: -22
    case .sockhash: -2
    case .reuseportSockarray: index(key) < definition.maxEntries ? -2 : -7
    default: -524
    }
  }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    switch definition.type {
    case .sockmap, .reuseportSockarray: nextIndex(after: key, into: next)
    case .sockhash: -2
    default: -524
    }
  }
}
