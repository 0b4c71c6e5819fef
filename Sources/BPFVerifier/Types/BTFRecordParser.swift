import BPFLinux
import BTF

/// Why a type has no record of special fields, as an error number.
struct RecordFailure: Error, BitwiseCopyable {
  var errno: Errno
  init(_ errno: Errno) { self.errno = errno }
}

/// Finds the special fields in types of one BTF.
struct BTFRecordParser {
  /// Where the types are.
  let btf: BTF
  let index: BTFIndex
  /// The kernel's types, which kernel pointers may point to.
  let kernel: BTF?

  /// Most special fields in one type.
  private static let maximumFields = 11
  private static let maximumDepth = 32
  private static let pageSize: UInt32 = 4096

  /// A field as it is found, before what it refers to is looked up.
  private struct Found {
    var kind: BTFField.Kind
    var offset: UInt32
    /// Pointers and graph roots: the type they lead to, in `btf`.
    var target: TypeID = 0
    /// Graph roots: name of the node in `target`.
    var nodeName = ""
  }

  // MARK: Whole types

  /// The record of the struct or data section `type`; nil where it has no field of these kinds.
  ///
  /// What graph roots own is checked separately: `checkOwnership(_:in:)`.
  func parse(type: TypeID, kinds: BTFField.Kind, size: UInt32) throws(RecordFailure) -> BTFRecord? {
    let found = try findFields(type, kinds)
    guard !found.isEmpty else { return nil }
    var record = BTFRecord()
    var next: UInt32 = 0
    for item in found {
      let fieldSize = item.kind.size
      guard item.offset &+ fieldSize <= size else { throw RecordFailure(.EFAULT) }
      guard item.offset >= next else { throw RecordFailure(.EEXIST) }
      next = item.offset &+ fieldSize
      record.kinds.formUnion(item.kind)
      var field = BTFField(kind: item.kind, offset: item.offset, size: fieldSize)
      if BTFField.Kind.pointers.contains(item.kind) {
        try resolvePointer(item, &field)
      } else if BTFField.Kind.graphRoot.contains(item.kind) {
        try resolveRoot(item, &field)
      }
      record.fields.append(field)
    }
    guard !record.kinds.isSuperset(of: .anySpinLock) else { throw RecordFailure(.EINVAL) }
    guard !record.has(.graphRoot) || record.has(.anySpinLock) else { throw RecordFailure(.EINVAL) }
    guard record.has(.refcount) || !record.kinds.isSuperset(of: .graphNode) else { throw RecordFailure(.EINVAL) }
    return record
  }

  /// The records of all structs that hold special fields or kernel pointers. A program's BTF whose structs break the
  /// rules cannot be loaded at all.
  func structRecords() throws(RecordFailure) -> [TypeID: BTFRecord] {
    let special = specialTypes()
    var records: [TypeID: BTFRecord] = [:]
    guard !special.isEmpty else { return records }
    for id in 1..<btf.endID where btf.kind(id) == .structure {
      guard btf.members(id).contains(where: { special.contains($0.typeID) }) else { continue }
      guard let record = try parse(type: id, kinds: .inObjects, size: btf.type(id).size) else {
        throw RecordFailure(.EFAULT)
      }
      records[id] = record
    }
    for id in records.keys.sorted() {
      if let record = records[id] { try checkOwnership(record, in: records) }
    }
    return records
  }

  /// Types that make a struct worth a look: the special ones and tagged pointers.
  private func specialTypes() -> Set<TypeID> {
    var special: Set<TypeID> = []
    for name in ["bpf_spin_lock", "bpf_list_head", "bpf_list_node", "bpf_rb_root", "bpf_rb_node", "bpf_refcount"] {
      if let id = btf.find(name, kind: .structure) { special.insert(id) }
    }
    for id in 1..<btf.endID {
      switch btf.kind(id) {
      case .pointer, .volatile:
        if (try? findPointer(id, 0, .kptr)) ?? nil != nil { special.insert(id) }
      default:
        continue
      }
    }
    return special
  }

  /// Checks what graph roots own: the owned type must be known, and roots of types that are themselves nodes must
  /// not own other roots, so that ownership has no cycles. Pointers to user memory must fit in a page.
  func checkOwnership(_ record: BTFRecord, in records: [TypeID: BTFRecord]) throws(RecordFailure) {
    guard record.has([.listHead, .rbRoot, .uptr]) else { return }
    for field in record.fields {
      if field.kind == .uptr {
        guard field.btf == index else { throw RecordFailure(.EINVAL) }
        let size = btf.type(field.btfID).size
        guard size != 0 else { throw RecordFailure(.EINVAL) }
        guard size <= Self.pageSize else { throw RecordFailure(.E2BIG) }
        continue
      }
      guard BTFField.Kind.graphRoot.contains(field.kind) else { continue }
      guard let owned = records[field.btfID] else { throw RecordFailure(.EFAULT) }
      guard record.has(.graphNode) else { continue }
      guard !owned.has(.graphRoot) else { throw RecordFailure(.ELOOP) }
    }
  }

  // MARK: What fields refer to

  private func resolvePointer(_ item: Found, _ field: inout BTFField) throws(RecordFailure) {
    guard let kernel else { throw RecordFailure(.EINVAL) }
    let target = btf.type(item.target)
    guard let id = kernel.find(btf.shownName(target.nameOffset), kind: target.kind) else {
      // Only the program knows the type: it allocates the objects itself.
      field.btf = index
      field.btfID = item.target
      return
    }
    field.btf = Verification.kernelBTF
    field.btfID = id
    guard item.kind == .kptrRef else { return }
    guard let destructor = KernelDestructors.name(for: kernel.name(id)),
      kernel.find(destructor, kind: .function) != nil
    else { throw RecordFailure(.ENOENT) }
    field.hasDestructor = true
  }

  private func resolveRoot(_ item: Found, _ field: inout BTFField) throws(RecordFailure) {
    let nodeName = item.kind == .listHead ? "bpf_list_node" : "bpf_rb_node"
    var isFound = false
    for member in btf.members(item.target) where btf.stringEquals(member.nameOffset, item.nodeName) {
      guard !isFound else { throw RecordFailure(.EINVAL) }
      isFound = true
      guard btf.kind(member.typeID) == .structure, btf.name(member.typeID) == nodeName else {
        throw RecordFailure(.EINVAL)
      }
      guard member.bitOffset % 64 == 0 else { throw RecordFailure(.EINVAL) }
      field.btf = index
      field.btfID = item.target
      field.nodeOffset = member.bitOffset / 8
    }
    guard isFound else { throw RecordFailure(.ENOENT) }
  }

  // MARK: Finding fields

  private func findFields(_ type: TypeID, _ kinds: BTFField.Kind) throws(RecordFailure) -> [Found] {
    switch btf.kind(type) {
    case .structure:
      return try findInStruct(type, kinds, room: Self.maximumFields, depth: 0)
    case .dataSection:
      var found: [Found] = []
      var seen: BTFField.Kind = []
      for variable in btf.variables(type) {
        found += try findOne(
          in: variable.typeID, component: -1, type: btf.type(variable.typeID).target, offset: variable.offset,
          expectedSize: variable.size, kinds, &seen, room: Self.maximumFields - found.count, depth: 0)
      }
      return found
    default:
      throw RecordFailure(.EINVAL)
    }
  }

  private func findInStruct(
    _ type: TypeID, _ kinds: BTFField.Kind, room: Int, depth: Int
  ) throws(RecordFailure) -> [Found] {
    var found: [Found] = []
    var seen: BTFField.Kind = []
    for (number, member) in btf.members(type).enumerated() {
      guard member.bitOffset % 8 == 0 else { throw RecordFailure(.EINVAL) }
      found += try findOne(
        in: type, component: Int32(truncatingIfNeeded: number), type: member.typeID, offset: member.bitOffset / 8,
        expectedSize: 0, kinds, &seen, room: room - found.count, depth: depth)
    }
    return found
  }

  /// The fields that one member or variable makes: itself, those of its struct, or either for each array element.
  private func findOne(
    in container: TypeID, component: Int32, type: TypeID, offset: UInt32, expectedSize: UInt32,
    _ kinds: BTFField.Kind, _ seen: inout BTFField.Kind, room: Int, depth: Int
  ) throws(RecordFailure) -> [Found] {
    var type = type
    var elements: UInt32 = 1
    var steps = 0
    while steps < Self.maximumDepth, btf.kind(type) == .array {
      let array = btf.array(type)
      elements = elements &* array.count
      type = array.elementTypeID
      steps += 1
    }
    guard steps < Self.maximumDepth else { throw RecordFailure(.E2BIG) }
    guard elements != 0 else { return [] }
    let isStruct = btf.kind(type) == .structure
    guard let kind = try fieldKind(type, isStruct: isStruct, kinds, &seen) else {
      guard isStruct else { return [] }
      let size = btf.type(type).size
      guard expectedSize == 0 || expectedSize == size &* elements else { return [] }
      guard depth + 1 < Self.maximumDepth else { throw RecordFailure(.E2BIG) }
      var found = try findInStruct(type, kinds, room: room, depth: depth + 1)
      guard !found.isEmpty else { return [] }
      for number in found.indices { found[number].offset &+= offset }
      return elements > 1 ? try repeated(found, elements, size, room: room) : found
    }
    guard expectedSize == 0 || expectedSize == kind.size &* elements else { return [] }
    guard offset % kind.alignment == 0 else { return [] }
    let found: Found?
    switch kind {
    case .kptrRef:
      found = try findPointer(type, offset, kinds)
    case .listHead, .rbRoot:
      found = try findRoot(type, in: container, component: component, offset, kind)
    default:
      found = isStruct && btf.type(type).size == kind.size ? Found(kind: kind, offset: offset) : nil
    }
    guard let found else { return [] }
    guard room > 0 else { throw RecordFailure(.E2BIG) }
    return elements > 1 ? try repeated([found], elements, kind.size, room: room) : [found]
  }

  private static let named: [(kind: BTFField.Kind, name: StaticString, isUnique: Bool)] = [
    (.spinLock, "bpf_spin_lock", true), (.resilientSpinLock, "bpf_res_spin_lock", true),
    (.timer, "bpf_timer", true), (.workqueue, "bpf_wq", true), (.taskWork, "bpf_task_work", true),
    (.listHead, "bpf_list_head", false), (.listNode, "bpf_list_node", false), (.rbRoot, "bpf_rb_root", false),
    (.rbNode, "bpf_rb_node", false), (.refcount, "bpf_refcount", false),
  ]

  /// The kind that a type's name stands for. `.kptrRef` means: possibly some pointer.
  private func fieldKind(
    _ type: TypeID, isStruct: Bool, _ kinds: BTFField.Kind, _ seen: inout BTFField.Kind
  ) throws(RecordFailure) -> BTFField.Kind? {
    for candidate in Self.named where kinds.contains(candidate.kind) && btf.nameEquals(type, candidate.name) {
      if candidate.isUnique {
        guard !seen.contains(candidate.kind) else { throw RecordFailure(.E2BIG) }
        seen.formUnion(candidate.kind)
      }
      return candidate.kind
    }
    return !isStruct && !kinds.isDisjoint(with: .pointers) ? .kptrRef : nil
  }

  /// A pointer that is tagged as one that may be stored.
  private func findPointer(
    _ type: TypeID, _ offset: UInt32, _ kinds: BTFField.Kind
  ) throws(RecordFailure) -> Found? {
    var type = btf.type(type)
    if type.kind == .volatile { type = btf.type(type.target) }
    guard type.kind == .pointer else { return nil }
    let tag = btf.type(type.target)
    guard tag.kind == .typeTag, !tag.kindFlag else { return nil }
    guard btf.kind(tag.target) != .typeTag else { throw RecordFailure(.EINVAL) }
    let kind: BTFField.Kind
    switch btf.string(tag.nameOffset) {
    case "kptr_untrusted": kind = .kptrUnref
    case "kptr": kind = .kptrRef
    case "percpu_kptr": kind = .kptrPercpu
    case "uptr": kind = .uptr
    default: throw RecordFailure(.EINVAL)
    }
    guard kinds.contains(kind) else { return nil }
    let target = btf.skipModifiers(tag.target)
    guard btf.kind(target) == .structure else { throw RecordFailure(.EINVAL) }
    return Found(kind: kind, offset: offset, target: target)
  }

  /// A list head or tree root; its declaration tag `contains:STRUCT:NODE` says what it holds.
  private func findRoot(
    _ type: TypeID, in container: TypeID, component: Int32, _ offset: UInt32, _ kind: BTFField.Kind
  ) throws(RecordFailure) -> Found? {
    guard btf.kind(type) == .structure, btf.type(type).size == kind.size else { return nil }
    let prefix = "contains:"
    let tags = btf.declTags(of: container).filter { $0.component == component && $0.tag.hasPrefix(prefix) }
    guard tags.count == 1 else { throw RecordFailure(.EINVAL) }
    let value = tags[0].tag.utf8.dropFirst(prefix.utf8.count)
    guard let colon = value.firstIndex(of: UInt8(ascii: ":")) else { throw RecordFailure(.EINVAL) }
    guard let target = btf.find(String(Substring(value[..<colon])), kind: .structure) else {
      throw RecordFailure(.ENOENT)
    }
    let node = String(Substring(value[colon...].dropFirst()))
    guard !node.isEmpty else { throw RecordFailure(.EINVAL) }
    return Found(kind: kind, offset: offset, target: target, nodeName: node)
  }

  /// The fields of one array element, for every element.
  private func repeated(
    _ found: [Found], _ elements: UInt32, _ elementSize: UInt32, room: Int
  ) throws(RecordFailure) -> [Found] {
    let repeatable = BTFField.Kind.pointers.union(.graphRoot)
    guard found.allSatisfy({ repeatable.contains($0.kind) }) else { throw RecordFailure(.EINVAL) }
    let (total, overflow) = found.count.multipliedReportingOverflow(by: Int(elements))
    guard !overflow, total <= room else { throw RecordFailure(.E2BIG) }
    var all: [Found] = []
    all.reserveCapacity(total)
    for element in 0..<elements {
      for var item in found {
        item.offset &+= element &* elementSize
        all.append(item)
      }
    }
    return all
  }
}

/// Functions that release kernel objects which a map still holds when it goes away. Only types with one may be kept in
/// maps as references.
enum KernelDestructors {
  static func name(for type: String) -> String? {
    switch type {
    case "task_struct": "bpf_task_release_dtor"
    case "cgroup": "bpf_cgroup_release_dtor"
    case "bpf_cpumask": "bpf_cpumask_release_dtor"
    case "bpf_crypto_ctx": "bpf_crypto_ctx_release_dtor"
    case "prog_test_ref_kfunc": "bpf_kfunc_call_test_release_dtor"
    case "prog_test_member": "bpf_kfunc_call_memb_release_dtor"
    case "sk_buff": "bpf_kfree_skb_dtor"
    default: nil
    }
  }
}
