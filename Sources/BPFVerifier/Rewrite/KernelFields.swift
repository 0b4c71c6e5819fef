import BPFLinux
import BTF

/// Where fields of kernel structures are, as the kernel's own types say.
final class KernelFields {
  /// Offset and size in bytes.
  struct Field: BitwiseCopyable {
    var offset: Int
    var size: Int
  }

  /// A field of a structure that programs see.
  struct ContextMember {
    var name: String
    var offset: Int
  }

  /// The most processors that the kernel can have (`NR_CPUS`).
  let processorLimit: Int
  private let types: BTF?
  private var known: [String: Field] = [:]

  init(_ linux: Linux) {
    types = linux.btf
    processorLimit = linux.config["CONFIG_NR_CPUS"].flatMap { Int($0) } ?? 8192
  }

  /// The field `path` (`a`, or `a.b`) of `structure`; members of anonymous ones count as the structure's own.
  func field(_ structure: String, _ path: String) -> Field? {
    let key = structure + "." + path
    if let field = known[key] { return field }
    guard let types, var id = types.find(structure, kind: .structure) else { return nil }
    var field = Field(offset: 0, size: 0)
    for name in path.split(separator: ".") {
      guard let (member, offset) = find(types, types.skipModifiers(id), String(name)) else { return nil }
      id = member.typeID
      field.offset += offset
    }
    field.size = size(types, id)
    known[key] = field
    return field
  }

  private func find(_ types: BTF, _ id: TypeID, _ name: String) -> (BTFMember, Int)? {
    for member in types.members(id) {
      if types.stringEquals(member.nameOffset, name) { return (member, Int(member.bitOffset / 8)) }
      guard types.isEmptyString(member.nameOffset) else { continue }
      if let (inner, offset) = find(types, types.skipModifiers(member.typeID), name) {
        return (inner, offset + Int(member.bitOffset / 8))
      }
    }
    return nil
  }

  /// The member of `structure` that covers byte `offset`.
  func member(_ structure: String, at offset: Int) -> ContextMember? {
    guard let types, let id = types.find(structure, kind: .structure) else { return nil }
    return cover(types, id, offset, base: 0)
  }

  private func cover(_ types: BTF, _ id: TypeID, _ offset: Int, base: Int) -> ContextMember? {
    for member in types.members(id) {
      let start = base + Int(member.bitOffset / 8)
      guard offset >= start, offset < start + size(types, member.typeID) else { continue }
      if !types.isEmptyString(member.nameOffset) {
        return ContextMember(name: types.string(member.nameOffset), offset: start)
      }
      if let inner = cover(types, types.skipModifiers(member.typeID), offset, base: start) { return inner }
    }
    return nil
  }

  private func size(_ types: BTF, _ id: TypeID) -> Int {
    let id = types.skipModifiers(id)
    switch types.kind(id) {
    case .pointer: return 8
    case .array:
      let array = types.array(id)
      return Int(array.count) * size(types, array.elementTypeID)
    default: return Int(types.type(id).size)
    }
  }
}
