import BPFLinux
import BTF

/// Makes an object's maps into what `BPF_MAP_CREATE` gets, and finds the first that the kernel refuses.
struct MapCreator {
  private(set) var definitions: [MapDefinition] = []
  private(set) var error: LinkError?

  init(
    _ object: ObjectFile, _ linux: Linux, _ options: LinkOptions, btf: BTF?, kconfig: [UInt8],
    structOps: StructOpsBinding
  ) {
    for (index, map) in object.maps.enumerated() {
      var definition = map.definition
      if options.makesLoadable { MapCreator.makeLoadable(&definition) }
      if index == object.kconfigMap { definition.initialValue = kconfig }
      if index == object.arenaMap && !object.arenaData.isEmpty { definition.initialValue = object.arenaData }
      if let value = structOps.values[index] {
        definition.valueSize = UInt32(truncatingIfNeeded: value.bytes.count)
        definition.kernelValueTypeID = value.wrapperType
        definition.initialValue = value.bytes
        definition.btf = btf
      }
      definition.inner = definition.inner.map { MapCreator.completed($0, linux, btf) }
      definition = MapCreator.completed(definition, linux, btf)
      if map.autocreate && error == nil {
        do {
          try create(&definition, map, linux)
          try fillSlots(map, definition, object, index)
        } catch {
          self.error = error
        }
      }
      definitions.append(definition)
    }
  }

  /// A map that its user would size at run time gets one entry; storage maps must have none.
  private static func makeLoadable(_ definition: inout MapDefinition) {
    definition.pinPath = nil
    switch definition.type {
    case .skStorage, .taskStorage, .inodeStorage, .cgrpStorage, .structOps: break
    default:
      guard definition.maxEntries == 0 else { return }
      definition.maxEntries = 1
      if definition.type == .ringbuf || definition.type == .userRingbuf {
        definition.maxEntries = MapDefinitionParser.ringBufferSize(1)
      }
    }
  }

  private static func completed(_ map: MapDefinition, _ linux: Linux, _ btf: BTF?) -> MapDefinition {
    var map = map
    map.name = Linker.kernelName(map.name)
    if map.type == .perfEventArray && map.maxEntries == 0 {
      map.maxEntries = UInt32(clamping: linux.possibleCPUs)
    }
    switch map.type {
    case .perfEventArray, .cgroupArray, .stackTrace, .arrayOfMaps, .hashOfMaps, .devmap, .devmapHash, .cpumap,
      .xskmap, .sockmap, .sockhash, .queue, .stack, .arena:
      // These have no use for types of keys and values and refuse them.
      map.keyTypeID = 0
      map.valueTypeID = 0
    case .structOps:
      map.valueTypeID = 0
    default: break
    }
    if map.keyTypeID != 0 || map.valueTypeID != 0 { map.btf = btf }
    if map.btf == nil {
      map.keyTypeID = 0
      map.valueTypeID = 0
    }
    return map
  }

  private mutating func create(
    _ definition: inout MapDefinition, _ map: ObjectMap, _ linux: Linux
  ) throws(LinkError) {
    if definition.type == .arrayOfMaps || definition.type == .hashOfMaps, var inner = definition.inner.first {
      try MapCreator.checkOrDropTypes(&inner, "failed to create inner map of '\(map.name)'", linux)
      definition.inner = [inner]
    }
    try MapCreator.checkOrDropTypes(&definition, "map '\(map.name)': failed to create", linux)
  }

  /// Tries once more without types, as libbpf does, where they are what the kernel may have minded.
  private static func checkOrDropTypes(
    _ definition: inout MapDefinition, _ what: String, _ linux: Linux
  ) throws(LinkError) {
    var attempt = definition
    do {
      try MapCreation.check(attempt, linux: linux)
      return
    } catch {
      guard definition.keyTypeID != 0 || definition.valueTypeID != 0 else {
        throw LinkError(errno: error.errno.rawValue, message: "\(what): \(error.message)(-\(error.errno.rawValue))")
      }
    }
    attempt.btf = nil
    attempt.keyTypeID = 0
    attempt.valueTypeID = 0
    do {
      try MapCreation.check(attempt, linux: linux)
    } catch {
      throw LinkError(errno: error.errno.rawValue, message: "\(what): \(error.message)(-\(error.errno.rawValue))")
    }
    definition = attempt
  }

  /// Puts the inner maps that the object names into a map of maps.
  private func fillSlots(
    _ map: ObjectMap, _ definition: MapDefinition, _ object: ObjectFile, _ index: Int
  ) throws(LinkError) {
    guard definition.type == .arrayOfMaps || definition.type == .hashOfMaps else { return }
    var last: [Int: String] = [:]
    for slot in map.slots { last[slot.index] = slot.name }
    for (place, name) in last.sorted(by: { $0.key < $1.key }) {
      func refuse(_ errno: Errno) -> LinkError {
        LinkError(
          errno: errno.rawValue,
          message: "map '\(map.name)': failed to initialize slot [\(place)] to map '\(name)': -\(errno.rawValue)")
      }
      guard definition.type == .hashOfMaps || place < Int(definition.maxEntries) else { throw refuse(.E2BIG) }
      guard definition.type == .arrayOfMaps || last.count <= Int(definition.maxEntries) else { throw refuse(.E2BIG) }
      guard let target = object.maps.firstIndex(where: { $0.name == name }), target < index,
        object.maps[target].autocreate, let model = definition.inner.first,
        MapCreation.isInterchangeable(definitions[target], with: model)
      else { throw refuse(.EINVAL) }
    }
  }
}
