import BTF

/// Why `BPF_MAP_CREATE` refuses a map.
public struct MapCreationError: Error, Hashable, Sendable, CustomStringConvertible {
  public let errno: Errno
  /// The rule that the map breaks.
  public let message: String

  public init(_ errno: Errno, _ message: String) {
    self.errno = errno
    self.message = message
  }

  public var description: String { "\(errno): \(message)" }
}

/// What the kernel checks of a map before it exists.
public enum MapCreation {
  /// Throws what `BPF_MAP_CREATE` would answer. An inner map is checked by itself, before the map that holds it.
  public static func check(_ map: MapDefinition, linux: Linux) throws(MapCreationError) {
    try checkAttributes(map, linux)
    try checkShape(map, linux)
    try checkPrivilege(map, linux)
    if map.type == .arrayOfMaps || map.type == .hashOfMaps { try checkInner(map, linux) }
    if map.type == .structOps {
      guard let btf = linux.btf, btf.type(map.kernelValueTypeID).size == map.valueSize else {
        throw MapCreationError(.EINVAL, "the value is not the kernel's struct")
      }
    }
    try checkTypes(map)
  }

  /// Whether a map may be put where `model` was given as the inner map.
  public static func isInterchangeable(_ map: MapDefinition, with model: MapDefinition) -> Bool {
    guard map.type == model.type, map.keySize == model.keySize, map.valueSize == model.valueSize,
      map.flags == model.flags, SpecialFields(ofValueOf: map) == SpecialFields(ofValueOf: model)
    else { return false }
    switch map.type {
    case .array: return model.flags.contains(.innerMap) || map.maxEntries == model.maxEntries
    case .xskmap: return map.maxEntries == model.maxEntries
    default: return true
    }
  }

  // MARK: Limits

  private static let largestAllocation: UInt64 = 4 << 20
  private static let largestPerCPUValue: UInt64 = 32 << 10
  private static let hashElementHeader: UInt64 = 48
  private static let largestStorageValue: UInt32 = 0xffff - 128
  private static let pageSize: UInt64 = 4096
  private static let deepestStack: UInt32 = 127

  private static let accessFlags: MapFlags = [.readOnly, .writeOnly, .readOnlyProgram, .writeOnlyProgram]

  private static func invalid(_ rule: String) -> MapCreationError { MapCreationError(.EINVAL, rule) }

  // MARK: What all types share

  private static func checkAttributes(_ map: MapDefinition, _ linux: Linux) throws(MapCreationError) {
    if map.kernelValueTypeID != 0 {
      guard map.type == .structOps, map.keyTypeID == 0, map.valueTypeID == 0 else {
        throw invalid("a kernel type of the value is for struct_ops maps alone")
      }
    } else if map.keyTypeID != 0 && map.valueTypeID == 0 {
      throw invalid("the key has a type, the value has none")
    }
    guard map.mapExtra == 0 || map.type == .bloomFilter || map.type == .arena else {
      throw invalid("map_extra is not for this type of map")
    }
    guard !(map.flags.contains(.readOnly) && map.flags.contains(.writeOnly)) else {
      throw invalid("both BPF_F_RDONLY and BPF_F_WRONLY")
    }
    guard !map.flags.contains(.numaNode) || map.numaNode == 0 else { throw invalid("the NUMA node is not online") }
    guard exists(map.type, linux) else { throw invalid("the kernel has no such type of map") }
  }

  private static func exists(_ type: MapType, _ linux: Linux) -> Bool {
    switch type {
    case .unspec: false
    case .cgroupArray, .cgrpStorage: linux.isConfigured("CONFIG_CGROUPS")
    case .cgroupStorage, .percpuCgroupStorage: linux.isConfigured("CONFIG_CGROUP_BPF")
    case .stackTrace: linux.isConfigured("CONFIG_PERF_EVENTS")
    case .inodeStorage: linux.isConfigured("CONFIG_BPF_LSM")
    case .devmap, .devmapHash, .skStorage, .cpumap: linux.isConfigured("CONFIG_NET")
    case .xskmap: linux.isConfigured("CONFIG_NET") && linux.isConfigured("CONFIG_XDP_SOCKETS")
    case .sockmap, .sockhash, .reuseportSockarray: linux.isConfigured("CONFIG_NET") && linux.isConfigured("CONFIG_INET")
    case .structOps: linux.isConfigured("CONFIG_BPF_JIT")
    case .arena: linux.version >= Linux.Version(6, 9)
    case .cgrpStorage where linux.version < Linux.Version(6, 2): false
    default: type.rawValue <= MapType.arena.rawValue
    }
  }

  private static func checkPrivilege(_ map: MapDefinition, _ linux: Linux) throws(MapCreationError) {
    let hasBPF = linux.capabilities.allows(.bpf)
    switch map.type {
    case .array, .percpuArray, .progArray, .perfEventArray, .cgroupArray, .arrayOfMaps, .hash, .percpuHash,
      .hashOfMaps, .ringbuf, .userRingbuf, .cgroupStorage, .percpuCgroupStorage:
      guard hasBPF || !linux.disablesUnprivileged else {
        throw MapCreationError(.EPERM, "creating maps is for privileged processes")
      }
    case .sockmap, .sockhash, .devmap, .devmapHash, .xskmap:
      guard linux.capabilities.allows(.netAdmin) else {
        throw MapCreationError(.EPERM, "the type of map takes CAP_NET_ADMIN")
      }
    default:
      guard hasBPF else { throw MapCreationError(.EPERM, "the type of map takes CAP_BPF") }
    }
  }

  private static func check(_ flags: MapFlags, within allowed: MapFlags) throws(MapCreationError) {
    guard flags.isSubset(of: allowed) else { throw invalid("flags that this type of map does not take") }
  }

  private static func checkAccess(_ flags: MapFlags) throws(MapCreationError) {
    guard !(flags.contains(.readOnlyProgram) && flags.contains(.writeOnlyProgram)) else {
      throw invalid("both BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG")
    }
  }

  // MARK: Each type

  private static func checkShape(_ map: MapDefinition, _ linux: Linux) throws(MapCreationError) {
    switch map.type {
    case .hash, .percpuHash, .lruHash, .lruPercpuHash: try checkHash(map, linux)
    case .hashOfMaps:
      try checkDescriptorValue(map)
      try checkHash(map, linux)
    case .array, .percpuArray: try checkArray(map)
    case .progArray, .perfEventArray, .cgroupArray, .arrayOfMaps:
      try checkDescriptorValue(map)
      guard map.flags.isDisjoint(with: [.readOnlyProgram, .writeOnlyProgram]) else {
        throw invalid("programs' access to this type of map cannot be limited")
      }
      try checkArray(map)
    case .reuseportSockarray:
      guard map.valueSize == 4 || map.valueSize == 8 else { throw invalid("the value must have 4 or 8 bytes") }
      try checkArray(map)
    case .stackTrace: try checkStackTrace(map)
    case .lpmTrie: try checkTrie(map)
    case .devmap, .devmapHash:
      try checkIndexed(map, values: [4, 8], flags: [.numaNode, .readOnly, .writeOnly])
      guard map.type == .devmap || map.maxEntries <= 1 << 31 else { throw invalid("too many entries") }
    case .cpumap:
      try checkIndexed(map, values: [4, 8], flags: [.numaNode])
      let most = linux.config["CONFIG_NR_CPUS"].flatMap { UInt32($0) } ?? 8192
      guard map.maxEntries <= most else { throw MapCreationError(.E2BIG, "more entries than processors") }
    case .xskmap: try checkIndexed(map, values: [4], flags: [.numaNode, .readOnly, .writeOnly])
    case .sockmap: try checkIndexed(map, values: [4, 8], flags: [.numaNode, .readOnly, .writeOnly])
    case .sockhash:
      guard map.maxEntries > 0, map.keySize > 0, map.valueSize == 4 || map.valueSize == 8 else {
        throw invalid("entries and a key are needed, and a value of 4 or 8 bytes")
      }
      try check(map.flags, within: [.numaNode, .readOnly, .writeOnly])
      guard map.keySize <= 512 else { throw MapCreationError(.E2BIG, "the key is too large") }
    case .queue, .stack:
      guard map.maxEntries > 0, map.keySize == 0, map.valueSize > 0 else {
        throw invalid("entries and a value are needed, and no key")
      }
      try check(map.flags, within: accessFlags.union(.numaNode))
      try checkAccess(map.flags)
      guard map.valueSize <= largestAllocation else { throw MapCreationError(.E2BIG, "the value is too large") }
    case .bloomFilter:
      guard map.valueSize <= largestAllocation else { throw MapCreationError(.E2BIG, "the value is too large") }
      guard map.keySize == 0, map.valueSize > 0, map.maxEntries > 0, map.mapExtra & ~0xf == 0 else {
        throw invalid("entries and a value are needed, no key, and at most 15 hash functions")
      }
      try check(map.flags, within: accessFlags.union([.numaNode, .zeroSeed]))
      try checkAccess(map.flags)
    case .ringbuf, .userRingbuf:
      try check(map.flags, within: [.numaNode])
      guard map.keySize == 0, map.valueSize == 0, map.maxEntries > 0, map.maxEntries & (map.maxEntries - 1) == 0,
        UInt64(map.maxEntries) % pageSize == 0
      else { throw invalid("the size must be a power of two of pages, without key and value") }
    case .cgroupStorage, .percpuCgroupStorage: try checkCgroupStorage(map)
    case .skStorage, .inodeStorage, .taskStorage, .cgrpStorage: try checkLocalStorage(map)
    case .structOps:
      guard map.keySize == 4, map.maxEntries == 1, map.kernelValueTypeID != 0 else {
        throw invalid("one entry, a key of 4 bytes and the kernel's struct are needed")
      }
      try check(map.flags, within: [.link, .vtypeBTFObjectFD])
    case .arena: try checkArena(map)
    default: throw invalid("the kernel has no such type of map")
    }
  }

  private static func checkDescriptorValue(_ map: MapDefinition) throws(MapCreationError) {
    guard map.valueSize == 4 else { throw invalid("the value must be a descriptor of 4 bytes") }
  }

  private static func checkIndexed(
    _ map: MapDefinition, values: [UInt32], flags: MapFlags
  ) throws(MapCreationError) {
    guard map.maxEntries > 0, map.keySize == 4, values.contains(map.valueSize) else {
      throw invalid("entries, a key of 4 bytes and a value of the right size are needed")
    }
    try check(map.flags, within: flags)
  }

  private static func checkHash(_ map: MapDefinition, _ linux: Linux) throws(MapCreationError) {
    let isPerCPU = map.type == .percpuHash || map.type == .lruPercpuHash
    let isLRU = map.type == .lruHash || map.type == .lruPercpuHash
    guard !map.flags.contains(.zeroSeed) || linux.capabilities.contains(.sysAdmin) else {
      throw MapCreationError(.EPERM, "BPF_F_ZERO_SEED takes CAP_SYS_ADMIN")
    }
    try check(map.flags, within: accessFlags.union([.noPreallocation, .noCommonLRU, .numaNode, .zeroSeed]))
    try checkAccess(map.flags)
    guard isLRU || !map.flags.contains(.noCommonLRU) else { throw invalid("BPF_F_NO_COMMON_LRU is for LRU maps") }
    guard !isLRU || !map.flags.contains(.noPreallocation) else {
      throw MapCreationError(.ENOTSUPP, "LRU maps are always preallocated")
    }
    guard !map.flags.contains(.numaNode) || !(isPerCPU || map.flags.contains(.noCommonLRU)) else {
      throw invalid("per-CPU maps take no NUMA node")
    }
    guard map.maxEntries > 0, map.keySize > 0, map.valueSize > 0 else {
      throw invalid("entries, a key and a value are needed")
    }
    guard UInt64(map.keySize) + UInt64(map.valueSize) < largestAllocation - hashElementHeader,
      !isPerCPU || rounded(map.valueSize) <= largestPerCPUValue, map.maxEntries <= 1 << 31
    else { throw MapCreationError(.E2BIG, "key, value or entries are too large") }
  }

  private static func rounded(_ size: UInt32) -> UInt64 { (UInt64(size) + 7) & ~7 }

  private static func checkArray(_ map: MapDefinition) throws(MapCreationError) {
    let isPerCPU = map.type == .percpuArray
    guard map.maxEntries > 0, map.keySize == 4, map.valueSize > 0 else {
      throw invalid("entries, a key of 4 bytes and a value are needed")
    }
    try check(map.flags, within: accessFlags.union([.numaNode, .mmapable, .preserveElements, .innerMap]))
    try checkAccess(map.flags)
    guard !isPerCPU || !map.flags.contains(.numaNode) else { throw invalid("per-CPU maps take no NUMA node") }
    guard map.type == .array || map.flags.isDisjoint(with: [.mmapable, .innerMap]) else {
      throw invalid("BPF_F_MMAPABLE and BPF_F_INNER_MAP are for plain arrays")
    }
    guard map.type == .perfEventArray || !map.flags.contains(.preserveElements) else {
      throw invalid("BPF_F_PRESERVE_ELEMS is for arrays of perf events")
    }
    guard map.valueSize <= UInt32(Int32.max), !isPerCPU || rounded(map.valueSize) <= largestPerCPUValue else {
      throw MapCreationError(.E2BIG, "the value is too large")
    }
  }

  private static func checkStackTrace(_ map: MapDefinition) throws(MapCreationError) {
    try check(map.flags, within: [.numaNode, .readOnly, .writeOnly, .stackBuildID])
    guard map.maxEntries > 0, map.keySize == 4, map.valueSize >= 8, map.valueSize % 8 == 0 else {
      throw invalid("entries, a key of 4 bytes and a value of whole words are needed")
    }
    let element: UInt32 = map.flags.contains(.stackBuildID) ? 32 : 8
    guard map.valueSize % element == 0, map.valueSize / element <= deepestStack else {
      throw invalid("the value holds more than kernel.perf_event_max_stack frames")
    }
    guard map.maxEntries <= 1 << 31 else { throw MapCreationError(.E2BIG, "too many entries") }
  }

  private static func checkTrie(_ map: MapDefinition) throws(MapCreationError) {
    guard map.maxEntries > 0, map.flags.contains(.noPreallocation) else {
      throw invalid("entries and BPF_F_NO_PREALLOC are needed")
    }
    try check(map.flags, within: accessFlags.union([.noPreallocation, .numaNode]))
    try checkAccess(map.flags)
    guard (5...260).contains(map.keySize), map.valueSize > 0, map.valueSize <= largestAllocation - 260 - 40 else {
      throw invalid("the key must have 5 to 260 bytes, the value at least one")
    }
  }

  private static func checkCgroupStorage(_ map: MapDefinition) throws(MapCreationError) {
    guard map.keySize == 16 || map.keySize == 8 else { throw invalid("the key must have 8 or 16 bytes") }
    guard map.valueSize > 0 else { throw invalid("a value is needed") }
    let most =
      map.type == .percpuCgroupStorage
      ? min(largestStorageValue, UInt32(largestPerCPUValue)) : largestStorageValue
    guard map.valueSize <= most else { throw MapCreationError(.E2BIG, "the value is too large") }
    try check(map.flags, within: accessFlags.union(.numaNode))
    try checkAccess(map.flags)
    guard map.maxEntries == 0 else { throw invalid("max_entries must be 0") }
  }

  private static func checkLocalStorage(_ map: MapDefinition) throws(MapCreationError) {
    try check(map.flags, within: [.noPreallocation, .clone])
    guard map.flags.contains(.noPreallocation), map.maxEntries == 0, map.keySize == 4, map.valueSize > 0,
      map.keyTypeID != 0, map.valueTypeID != 0
    else { throw invalid("BPF_F_NO_PREALLOC, a key of 4 bytes, a value and types are needed, and no entries") }
    guard map.valueSize <= largestStorageValue else { throw MapCreationError(.E2BIG, "the value is too large") }
  }

  private static func checkArena(_ map: MapDefinition) throws(MapCreationError) {
    guard map.keySize == 0, map.valueSize == 0, map.maxEntries > 0, map.flags.contains(.mmapable) else {
      throw invalid("entries and BPF_F_MMAPABLE are needed, and no key or value")
    }
    try check(map.flags, within: [.segfaultOnFault, .mmapable, .noUserConversion])
    guard map.mapExtra % pageSize == 0 else { throw invalid("the address is not that of a page") }
    let length = UInt64(map.maxEntries) * pageSize
    guard length <= 1 << 32 else { throw MapCreationError(.E2BIG, "an arena has at most 4 GB") }
    guard map.mapExtra >> 32 == (map.mapExtra &+ length &- 1) >> 32 else {
      throw MapCreationError(.ERANGE, "the addresses cross a boundary of 4 GB")
    }
  }

  private static func checkInner(_ map: MapDefinition, _ linux: Linux) throws(MapCreationError) {
    guard let inner = map.inner.first else { throw invalid("an inner map is needed") }
    switch inner.type {
    case .arrayOfMaps, .hashOfMaps: throw invalid("maps of maps do not nest")
    case .progArray, .cgroupStorage, .percpuCgroupStorage, .structOps:
      throw MapCreationError(.ENOTSUPP, "this type of map cannot be an inner map")
    default: break
    }
  }

  // MARK: Types of key and value

  private static func checkTypes(_ map: MapDefinition) throws(MapCreationError) {
    guard let btf = map.btf, map.valueTypeID != 0 else { return }
    let key = btf.skipModifiers(map.keyTypeID)
    let value = btf.skipModifiers(map.valueTypeID)
    if map.keyTypeID != 0 {
      guard btf.resolveSize(key) == map.keySize else { throw invalid("the key's type has another size") }
    } else if !allowsNoKeyType(map.type) {
      throw invalid("the key has no type")
    }
    guard btf.resolveSize(value) == map.valueSize else { throw invalid("the value's type has another size") }
    try checkFields(map, btf, value)
    switch map.type {
    case .array, .percpuArray:
      guard key == 0 else {
        guard isInteger(key, bytes: 4, btf) else { throw invalid("the key's type is not an integer of 4 bytes") }
        return
      }
      guard map.type == .array, map.maxEntries == 1, btf.kind(value) == .dataSection else {
        throw invalid("only data sections go without a key type")
      }
    case .skStorage, .inodeStorage, .taskStorage, .cgrpStorage:
      guard isInteger(key, bytes: 4, btf) else { throw invalid("the key's type is not an integer of 4 bytes") }
    case .lpmTrie:
      guard btf.kind(key) == .structure else { throw invalid("the key's type is not a struct") }
    case .bloomFilter:
      guard key == 0 else { throw invalid("there is no key to have a type") }
    case .cgroupStorage, .percpuCgroupStorage: try checkCgroupStorageKey(map, btf, key)
    case .perfEventArray, .cgroupArray, .arrayOfMaps, .hashOfMaps, .devmap, .devmapHash, .cpumap, .stackTrace:
      throw MapCreationError(.ENOTSUPP, "this type of map takes no types")
    default: break
    }
  }

  private static func allowsNoKeyType(_ type: MapType) -> Bool {
    switch type {
    case .array, .percpuArray, .perfEventArray, .cgroupArray, .arrayOfMaps, .hashOfMaps, .bloomFilter, .arena,
      .skStorage, .inodeStorage, .taskStorage, .cgrpStorage, .cpumap, .devmap, .devmapHash, .cgroupStorage,
      .percpuCgroupStorage, .lpmTrie, .stackTrace:
      true
    default: false
    }
  }

  /// An integer of whole bytes at no bit offset.
  private static func isInteger(_ id: TypeID, bytes: UInt32, _ btf: BTF) -> Bool {
    let id = btf.skipModifiers(id)
    let encoding = btf.intEncoding(id)
    return btf.kind(id) == .int && btf.type(id).size == bytes && encoding.bits == bytes * 8 && encoding.bitOffset == 0
  }

  private static func checkCgroupStorageKey(
    _ map: MapDefinition, _ btf: BTF, _ key: TypeID
  ) throws(MapCreationError) {
    guard map.keySize == 16 else {
      guard isInteger(key, bytes: 8, btf) else { throw invalid("the key's type is not an integer of 8 bytes") }
      return
    }
    let members = btf.members(key)
    guard btf.kind(key) == .structure, members.count == 2, members[0].bitOffset == 0, members[1].bitOffset == 64,
      isInteger(members[0].typeID, bytes: 8, btf), isInteger(members[1].typeID, bytes: 4, btf)
    else { throw invalid("the key's type is not struct bpf_cgroup_storage_key") }
  }

  private static func checkFields(
    _ map: MapDefinition, _ btf: BTF, _ value: TypeID
  ) throws(MapCreationError) {
    guard let fields = SpecialFields(of: value, in: btf, size: map.valueSize) else { return }
    guard !fields.list.isEmpty else { return }
    guard map.flags.isDisjoint(with: [.readOnlyProgram, .writeOnlyProgram]) else {
      throw MapCreationError(.EACCES, "special fields need a map that programs read and write")
    }
    for field in fields.list {
      guard field.kind.maps.contains(map.type) else {
        throw MapCreationError(.EOPNOTSUPP, "this type of map takes no \(field.kind.rawValue)")
      }
    }
    for field in fields.list where field.kind == .userPointer {
      let size = UInt64(btf.type(field.target).size)
      guard size > 0 else { throw invalid("a uptr points to an empty struct") }
      guard size <= pageSize else { throw MapCreationError(.E2BIG, "a uptr points to more than a page") }
    }
  }
}
