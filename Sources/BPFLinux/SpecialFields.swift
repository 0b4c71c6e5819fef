import BTF

/// Fields of a map's value that the kernel manages: locks, timers, kptrs, heads of lists and trees.
///
/// Only what creating a map depends on: which fields there are, and where.
struct SpecialFields: Equatable {
  enum Kind: String {
    case spinLock = "bpf_spin_lock"
    case resilientSpinLock = "bpf_res_spin_lock"
    case timer = "bpf_timer"
    case workqueue = "bpf_wq"
    case taskWork = "bpf_task_work"
    case listHead = "bpf_list_head"
    case treeRoot = "bpf_rb_root"
    case refcount = "bpf_refcount"
    case kernelPointer = "kptr"
    case userPointer = "uptr"

    var size: UInt32 {
      switch self {
      case .spinLock, .resilientSpinLock, .refcount: 4
      case .kernelPointer, .userPointer, .taskWork: 8
      case .timer, .workqueue, .listHead, .treeRoot: 16
      }
    }

    var alignment: UInt32 { min(size, 8) }

    /// A value has at most one.
    var isUnique: Bool {
      switch self {
      case .spinLock, .resilientSpinLock, .timer, .workqueue, .taskWork: true
      default: false
      }
    }

    var isRepeatable: Bool {
      switch self {
      case .kernelPointer, .userPointer, .listHead, .treeRoot: true
      default: false
      }
    }

    /// Types of maps whose values may have the field.
    var maps: Set<MapType> {
      let storage: Set<MapType> = [.skStorage, .inodeStorage, .taskStorage, .cgrpStorage]
      switch self {
      case .spinLock, .resilientSpinLock: return storage.union([.hash, .array, .cgroupStorage])
      case .timer, .workqueue, .taskWork, .listHead, .treeRoot: return [.hash, .lruHash, .array]
      case .kernelPointer, .refcount:
        return storage.union([.hash, .percpuHash, .lruHash, .lruPercpuHash, .array, .percpuArray])
      case .userPointer: return [.taskStorage]
      }
    }
  }

  struct Field: Equatable {
    let kind: Kind
    var offset: UInt32
    /// What a pointer points to.
    var target: TypeID = 0
  }

  private(set) var list: [Field] = []

  /// As many as a value may have.
  private static let limit = 11
  private static let depth = 32

  /// The fields of a type's value; nil where the kernel finds them malformed, which it minds only later.
  init?(of type: TypeID, in btf: BTF, size: UInt32) {
    do {
      list = try SpecialFields.find(type, btf)
    } catch {
      return nil
    }
    var end: UInt64 = 0
    for field in list {
      guard UInt64(field.offset) >= end, UInt64(field.offset) + UInt64(field.kind.size) <= UInt64(size) else {
        return nil
      }
      end = UInt64(field.offset) + UInt64(field.kind.size)
    }
    let kinds = list.map(\.kind)
    let hasLock = kinds.contains(.spinLock) || kinds.contains(.resilientSpinLock)
    guard !(kinds.contains(.spinLock) && kinds.contains(.resilientSpinLock)) else { return nil }
    guard hasLock || !(kinds.contains(.listHead) || kinds.contains(.treeRoot)) else { return nil }
  }

  /// The fields of a map's value; empty where its type is not known.
  init(ofValueOf map: MapDefinition) {
    guard let btf = map.btf, map.valueTypeID != 0,
      let found = SpecialFields(of: btf.skipModifiers(map.valueTypeID), in: btf, size: map.valueSize)
    else { return }
    self = found
  }

  private struct Malformed: Error {}

  private static func find(_ type: TypeID, _ btf: BTF) throws(Malformed) -> [Field] {
    if btf.kind(type).isComposite { return try members(type, btf, level: 0) }
    guard btf.kind(type) == .dataSection else { throw Malformed() }
    var found: [Field] = []
    var seen: Set<Kind> = []
    for variable in btf.variables(type) {
      found += try one(
        btf.type(variable.typeID).target, owner: variable.typeID, component: -1, at: variable.offset,
        size: variable.size, &seen, btf, level: 0, room: limit - found.count)
    }
    return found
  }

  private static func members(_ type: TypeID, _ btf: BTF, level: Int) throws(Malformed) -> [Field] {
    var found: [Field] = []
    var seen: Set<Kind> = []
    for (index, member) in btf.members(type).enumerated() {
      guard member.bitOffset % 8 == 0 else { throw Malformed() }
      found += try one(
        member.typeID, owner: type, component: Int32(truncatingIfNeeded: index), at: member.bitOffset / 8, size: 0,
        &seen, btf, level: level, room: limit - found.count)
    }
    return found
  }

  private static func one(
    _ type: TypeID, owner: TypeID, component: Int32, at offset: UInt32, size: UInt32, _ seen: inout Set<Kind>,
    _ btf: BTF, level: Int, room: Int
  ) throws(Malformed) -> [Field] {
    var type = type
    var count: UInt64 = 1
    var steps = 0
    while btf.kind(type) == .array {
      let array = btf.array(type)
      count = (count &* UInt64(array.count)) & 0xffff_ffff
      type = array.elementTypeID
      steps += 1
      guard steps < depth else { throw Malformed() }
    }
    guard count > 0 else { return [] }
    let isComposite = btf.kind(type).isComposite
    let named = Kind(rawValue: btf.name(type))
    let kind = named == .kernelPointer || named == .userPointer ? nil : named
    if let kind, kind.isUnique {
      guard seen.insert(kind).inserted else { throw Malformed() }
    }
    if kind == nil && isComposite {
      let each = btf.type(type).size
      guard size == 0 || UInt64(size) == UInt64(each) * count else { return [] }
      guard level + 1 < depth else { throw Malformed() }
      var nested = try members(type, btf, level: level + 1)
      for index in nested.indices { nested[index].offset &+= offset }
      return try repeated(nested, count, by: each, room)
    }
    let width = kind?.size ?? 8
    guard size == 0 || UInt64(size) == UInt64(width) * count, offset % (kind?.alignment ?? 8) == 0 else { return [] }
    guard let field = try field(kind, type, owner, component, at: offset, btf) else { return [] }
    guard room > 0 else { throw Malformed() }
    return try repeated([field], count, by: width, room)
  }

  private static func field(
    _ kind: Kind?, _ type: TypeID, _ owner: TypeID, _ component: Int32, at offset: UInt32, _ btf: BTF
  ) throws(Malformed) -> Field? {
    guard let kind else { return try pointer(type, at: offset, btf) }
    guard btf.kind(type).isComposite, btf.type(type).size == kind.size else { return nil }
    if kind == .listHead || kind == .treeRoot {
      let tags = btf.declTags(of: owner).filter { $0.component == component && $0.tag.hasPrefix("contains:") }
      guard tags.count == 1, let parts = tags.first?.tag.dropFirst(9).split(separator: ":", maxSplits: 1),
        parts.count == 2, let content = btf.find(String(parts[0]), kind: .structure)
      else { throw Malformed() }
      return Field(kind: kind, offset: offset, target: content)
    }
    return Field(kind: kind, offset: offset)
  }

  private static func pointer(_ type: TypeID, at offset: UInt32, _ btf: BTF) throws(Malformed) -> Field? {
    let id = btf.kind(type) == .volatile ? btf.type(type).target : type
    guard btf.kind(id) == .pointer else { return nil }
    let tag = btf.type(btf.type(id).target)
    guard tag.kind == .typeTag, !tag.kindFlag else { return nil }
    guard btf.kind(tag.target) != .typeTag else { throw Malformed() }
    let kind: Kind
    switch btf.string(tag.nameOffset) {
    case "kptr_untrusted", "kptr", "percpu_kptr": kind = .kernelPointer
    case "uptr": kind = .userPointer
    default: throw Malformed()
    }
    let target = btf.skipModifiers(tag.target)
    guard btf.kind(target).isComposite else { throw Malformed() }
    return Field(kind: kind, offset: offset, target: target)
  }

  private static func repeated(
    _ fields: [Field], _ count: UInt64, by stride: UInt32, _ room: Int
  ) throws(Malformed) -> [Field] {
    guard count > 1, !fields.isEmpty else {
      guard fields.count <= room else { throw Malformed() }
      return fields
    }
    guard fields.allSatisfy({ $0.kind.isRepeatable }), UInt64(fields.count) * count <= UInt64(max(room, 0)) else {
      throw Malformed()
    }
    var result: [Field] = []
    for index in 0..<UInt32(truncatingIfNeeded: count) {
      for field in fields {
        var moved = field
        moved.offset &+= index &* stride
        result.append(moved)
      }
    }
    return result
  }
}

extension MapDefinition {
  /// Bytes of a value that the kernel manages and user space has no use for: locks, timers, kptrs, heads of lists and
  /// trees. The kernel shows zeros there, or addresses of its own.
  public var managedRanges: [Range<Int>] {
    SpecialFields(ofValueOf: self).list.map { Int($0.offset)..<(Int($0.offset) + Int($0.kind.size)) }
  }
}
