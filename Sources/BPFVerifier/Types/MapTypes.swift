import BPFLinux
import BTF

// Maps: what BTF says of their keys and values.

extension Verification {
  /// The index of a BTF that registers and fields can carry; a new one where it is not known yet.
  func index(of btf: BTF) -> BTFIndex {
    for index in btfs.indices where btfs[index] === btf { return BTFIndex(truncatingIfNeeded: index) }
    btfs.append(btf)
    return BTFIndex(truncatingIfNeeded: btfs.count - 1)
  }

  /// Whether the types are the kernel's or one of its modules'.
  func isKernelBTF(_ index: BTFIndex) -> Bool {
    if index == Self.kernelBTF { return true }
    if index == Self.programBTF { return false }
    return isModuleBTF(index)
  }

  /// Whether the types are those of a module: split off the kernel's.
  func isModuleBTF(_ index: BTFIndex) -> Bool {
    guard index != Self.kernelBTF, Int(index) < btfs.count, let base = btfs[Int(index)]?.base else { return false }
    return base === btfs[Int(Self.kernelBTF)]
  }

  /// The special fields of a struct that programs allocate; nil where it has none.
  func structRecord(of type: TypeID, in btf: BTFIndex) -> BTFRecord? {
    if isKernelBTF(btf) { return nil }
    if btf == Self.programBTF {
      prepareStructRecords()
      return type == 0 ? nil : structRecords[type]
    }
    guard let types = btfs[Int(btf)] else { return nil }
    let parser = BTFRecordParser(btf: types, index: btf, kernel: linux.btf)
    return (try? parser.structRecords())?[type]
  }

  /// Fills `structRecords`, once. The entry of `void` says that it was done.
  private func prepareStructRecords() {
    guard structRecords.isEmpty else { return }
    if let types = btfs[Int(Self.programBTF)] {
      let parser = BTFRecordParser(btf: types, index: Self.programBTF, kernel: linux.btf)
      structRecords = (try? parser.structRecords()) ?? [:]
    }
    structRecords[0] = BTFRecord()
  }

  /// The record of any type, for the kinds of fields asked about.
  func parseRecord(
    btf: BTFIndex, type: TypeID, kinds: BTFField.Kind, size: UInt32
  ) throws(Refusal) -> BTFRecord? {
    guard let types = btfs[Int(btf)] else { return nil }
    do {
      return try BTFRecordParser(btf: types, index: btf, kernel: linux.btf).parse(type: type, kinds: kinds, size: size)
    } catch {
      throw Refusal(errno: error.errno, category: .btf)
    }
  }

  /// The map as the verifier sees it. Its inner map, where it has one, is added to `maps`.
  ///
  /// Types that Linux would refuse with the map are dropped, as loaders do when they create it again without them.
  func makeVerifiedMap(_ definition: MapDefinition) -> VerifiedMap {
    var map = VerifiedMap(definition: definition)
    // Linux itself adds the flag to those.
    if definition.type == .devmap || definition.type == .devmapHash { map.definition.flags.insert(.readOnlyProgram) }
    if let types = definition.btf {
      map.btf = index(of: types)
      if definition.valueTypeID != 0 {
        let rules = MapTypeRules(
          definition: definition, btf: types, index: map.btf, kernel: linux.btf,
          // The map is there: whoever made it was allowed to.
          isPrivileged: true)
        do {
          map.record = try rules.check()
        } catch {
          map.definition.btf = nil
          map.definition.keyTypeID = 0
          map.definition.valueTypeID = 0
        }
      }
    }
    if let template = definition.inner.first,
      definition.type == .arrayOfMaps || definition.type == .hashOfMaps
    {
      var inner = makeVerifiedMap(template)
      inner.isInner = true
      // The template keeps shapes only.
      inner.definition.name = ""
      maps.append(inner)
      map.inner = maps.count - 1
    }
    return map
  }
}

/// What `BPF_MAP_CREATE` demands of the types of keys and values.
struct MapTypeRules {
  let definition: MapDefinition
  let btf: BTF
  let index: BTFIndex
  let kernel: BTF?
  let isPrivileged: Bool

  private enum KeyRule {
    /// The map type has no rule: a key type must be given.
    case absent
    /// The map type takes no types at all.
    case refused
    case any
    case int32
    case array
    case structure
    case cgroup
    case keyless
  }

  private var keyRule: KeyRule {
    switch definition.type {
    case .array, .percpuArray: .array
    case .progArray, .perfEventArray, .cgroupArray, .arrayOfMaps, .hashOfMaps, .stackTrace, .devmap, .devmapHash,
      .cpumap, .xskmap, .sockmap, .sockhash, .structOps:
      definition.type == .structOps ? .absent : .refused
    case .lpmTrie: .structure
    case .cgroupStorage, .percpuCgroupStorage: .cgroup
    case .skStorage, .inodeStorage, .taskStorage, .cgrpStorage: .int32
    case .bloomFilter: .keyless
    case .arena: .any
    default: .absent
    }
  }

  /// Checks the types and returns the value's record.
  func check() throws(RecordFailure) -> BTFRecord? {
    let key = try checkKeySize()
    guard let (value, size) = sized(definition.valueTypeID), size == definition.valueSize else {
      throw RecordFailure(.EINVAL)
    }
    // A record that cannot be made is none; the map is created all the same.
    let parser = BTFRecordParser(btf: btf, index: index, kernel: kernel)
    let record = (try? parser.parse(type: value, kinds: .inMapValues, size: definition.valueSize)) ?? nil
    if let record {
      guard isPrivileged else { throw RecordFailure(.EPERM) }
      guard definition.flags.isDisjoint(with: [.readOnlyProgram, .writeOnlyProgram]) else {
        throw RecordFailure(.EACCES)
      }
      guard record.fields.allSatisfy({ isTaken($0.kind) }) else { throw RecordFailure(.EOPNOTSUPP) }
      if record.has([.listHead, .rbRoot, .uptr]) {
        try parser.checkOwnership(record, in: parser.structRecords())
      }
    }
    try checkKeyType(key, value)
    return record
  }

  /// The type beneath qualifiers and typedefs with its size, where it has one.
  private func sized(_ id: TypeID) -> (id: TypeID, size: UInt32)? {
    var id = btf.skipModifiers(id)
    if btf.kind(id) == .variable { id = btf.skipModifiers(btf.type(id).target) }
    switch btf.kind(id) {
    case .int, .structure, .union, .enumeration, .enum64, .float, .dataSection, .array, .pointer:
      guard let size = btf.resolveSize(id) else { return nil }
      return (id, size)
    default:
      return nil
    }
  }

  private func checkKeySize() throws(RecordFailure) -> TypeID {
    guard definition.keyTypeID != 0 else {
      if case .absent = keyRule { throw RecordFailure(.EINVAL) }
      return 0
    }
    guard let (key, size) = sized(definition.keyTypeID), size == definition.keySize else {
      throw RecordFailure(.EINVAL)
    }
    return key
  }

  private func checkKeyType(_ key: TypeID, _ value: TypeID) throws(RecordFailure) {
    let isRight: Bool
    switch keyRule {
    case .absent, .any:
      return
    case .refused:
      throw RecordFailure(.ENOTSUPP)
    case .int32:
      isRight = isRegularInt(key, bytes: 4)
    case .array:
      isRight =
        key == 0
        ? definition.type == .array && definition.maxEntries == 1 && btf.kind(value) == .dataSection
        : isRegularInt(key, bytes: 4)
    case .structure:
      isRight = btf.kind(key) == .structure
    case .cgroup:
      isRight = definition.keySize == 8 ? isRegularInt(key, bytes: 8) : isCgroupKey(key)
    case .keyless:
      isRight = key == 0
    }
    guard isRight else { throw RecordFailure(.EINVAL) }
  }

  private func isRegularInt(_ id: TypeID, bytes: UInt32) -> Bool {
    guard btf.kind(id) == .int else { return false }
    let encoding = btf.intEncoding(id)
    return encoding.bits == bytes * 8 && encoding.bitOffset == 0
  }

  /// A struct of a 64-bit and a 32-bit integer: the cgroup's inode and the attach type.
  private func isCgroupKey(_ id: TypeID) -> Bool {
    let members = btf.members(id)
    guard btf.kind(id) == .structure, members.count == 2 else { return false }
    func isInt(_ member: BTFMember, at offset: UInt32, bytes: UInt32) -> Bool {
      guard let (type, _) = sized(member.typeID), btf.kind(type) == .int else { return false }
      let encoding = btf.intEncoding(type)
      return member.bitfieldSize == 0 && encoding.bitOffset == 0 && member.bitOffset == offset * 8
        && encoding.bits == bytes * 8
    }
    return isInt(members[0], at: 0, bytes: 8) && isInt(members[1], at: 8, bytes: 4)
  }

  /// Which kinds of fields the map type can hold.
  private func isTaken(_ kind: BTFField.Kind) -> Bool {
    switch definition.type {
    case .array, .hash: kind != .uptr
    case .lruHash: !BTFField.Kind([.spinLock, .resilientSpinLock, .uptr]).contains(kind)
    case .percpuHash, .lruPercpuHash, .percpuArray: BTFField.Kind.kptr.union(.refcount).contains(kind)
    case .cgroupStorage: BTFField.Kind.anySpinLock.contains(kind)
    case .skStorage, .inodeStorage, .cgrpStorage:
      BTFField.Kind.kptr.union(.refcount).union(.anySpinLock).contains(kind)
    case .taskStorage:
      BTFField.Kind.kptr.union(.refcount).union(.anySpinLock).union(.uptr).contains(kind)
    default: false
    }
  }
}

/// What a kernel says of types when they are loaded, before any program is.
public enum TypeRules {
  /// Why `BPF_BTF_LOAD` refuses a program's BTF for the special fields of its structs; nil where it takes them.
  public static func refusal(of btf: BTF, on linux: Linux) -> Errno? {
    let parser = BTFRecordParser(btf: btf, index: Verification.programBTF, kernel: linux.btf)
    do {
      _ = try parser.structRecords()
      return nil
    } catch {
      return error.errno
    }
  }

  /// Why `BPF_MAP_CREATE` refuses the types of a map's keys and values; nil where it takes them or there are none.
  public static func refusal(of map: MapDefinition, on linux: Linux) -> Errno? {
    guard let btf = map.btf, map.valueTypeID != 0 else { return nil }
    let rules = MapTypeRules(
      definition: map, btf: btf, index: Verification.programBTF, kernel: linux.btf,
      isPrivileged: linux.capabilities.allows(.bpf))
    do {
      _ = try rules.check()
      return nil
    } catch {
      return error.errno
    }
  }
}
