/// A path into a type: what a relocation's access string means in one type information.
///
/// `path` has one step for each index of the access string. `accessors` keeps those that carry meaning between
/// kernels: the leading array index, named members, array elements.
public struct CORESpec: Sendable {
  public struct Accessor: Sendable, Equatable {
    public var typeID: TypeID
    public var index: Int32
    /// String offset of the member's or enumerator's name; nil for an array element.
    public var name: UInt32?
  }

  /// Longest path that libbpf follows.
  public static let maximumLength = 64

  public let btf: BTF
  public var rootTypeID: TypeID
  public let kind: CORERelocationKind
  public var accessors: [Accessor] = []
  public var path: [Int32] = []
  public var bitOffset: UInt32 = 0

  init(btf: BTF, rootTypeID: TypeID, kind: CORERelocationKind) {
    self.btf = btf
    self.rootTypeID = rootTypeID
    self.kind = kind
  }

  /// Whether the array reached by the last accessor is the open end of its struct.
  func endsInFlexibleArray(_ array: BTFArray) -> Bool {
    guard let last = accessors.last, last.name != nil, array.count == 0 else { return false }
    return Int(last.index) == btf.type(last.typeID).vlen - 1
  }

  mutating func advance(bits: UInt32) { bitOffset = bitOffset &+ bits }

  /// Moves by `index` elements of `size` bytes.
  mutating func advance(index: Int32, size: UInt32) {
    advance(bits: UInt32(truncatingIfNeeded: Int64(index) &* Int64(size) &* 8))
  }
}

extension CORESpec {
  /// Reads the access string of `relocation` against the object's own types.
  init(_ relocation: CORERelocation, kind: CORERelocationKind?, local: BTF) throws(COREFailure) {
    guard let kind else {
      throw COREFailure(errno: .invalid)
    }
    self.init(btf: local, rootTypeID: relocation.typeID, kind: kind)
    let text = relocation.accessString
    guard let first = text.utf8.first, first != UInt8(ascii: ":") else { throw COREFailure(errno: .invalid) }
    if kind.isTypeBased {
      guard text == "0" else { throw COREFailure(errno: .invalid) }
      return
    }
    path = try CORESpec.parse(text)
    guard let start = path.first else { throw COREFailure(errno: .invalid) }
    let root = local.skipModifiers(relocation.typeID)
    accessors.append(Accessor(typeID: root, index: start, name: nil))
    if kind.isEnumeratorBased {
      let enumerators = local.enumerators(root)
      guard local.kind(root).isEnumeration, path.count == 1, start >= 0, Int(start) < enumerators.count else {
        throw COREFailure(errno: .invalid)
      }
      accessors[0].name = enumerators[Int(start)].nameOffset
      return
    }
    advance(index: start, size: try CORESpec.size(local, root))
    try walk(from: root)
  }

  private mutating func walk(from root: TypeID) throws(COREFailure) {
    var id = root
    for step in 1..<max(path.count, 1) {
      id = btf.skipModifiers(id)
      let index = path[step]
      switch btf.kind(id) {
      case .structure, .union:
        let members = btf.members(id)
        guard index >= 0, Int(index) < members.count else { throw COREFailure(errno: .invalid) }
        let member = members[Int(index)]
        advance(bits: member.bitOffset)
        if member.nameOffset != 0 {
          guard !btf.isEmptyString(member.nameOffset) else { throw COREFailure(errno: .invalid) }
          accessors.append(Accessor(typeID: id, index: index, name: member.nameOffset))
        }
        id = member.typeID
      case .array:
        let array = btf.array(id)
        let isFlexible = endsInFlexibleArray(array)
        guard isFlexible || UInt32(bitPattern: index) < array.count else { throw COREFailure(errno: .invalid) }
        id = btf.skipModifiers(array.elementTypeID)
        accessors.append(Accessor(typeID: id, index: index, name: nil))
        advance(index: index, size: try CORESpec.size(btf, id))
      default:
        throw COREFailure(errno: .invalid)
      }
    }
  }

  static func size(_ btf: BTF, _ id: TypeID) throws(COREFailure) -> UInt32 {
    do {
      return try btf.size(resolving: id)
    } catch {
      throw COREFailure(errno: error == .overflow ? .tooBig : .invalid)
    }
  }

  /// `0:1:2` as numbers.
  private static func parse(_ text: String) throws(COREFailure) -> [Int32] {
    var indices: [Int32] = []
    for part in text.utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) {
      guard let index = Int32(Substring(part)) else { throw COREFailure(errno: .invalid) }
      guard indices.count < maximumLength else { throw COREFailure(errno: .tooBig) }
      indices.append(index)
    }
    return indices
  }
}

extension CORESpec: CustomStringConvertible {
  /// libbpf's text: `<byte_off> [7] struct task_struct.pid (0:95 @ offset 2456)`.
  public var description: String {
    let type = btf.type(rootTypeID)
    let name = btf.string(type.nameOffset)
    var text = "<\(kind.name)> [\(rootTypeID)] \(type.kind.libbpfName) \(name.isEmpty ? "<anon>" : name)"
    if kind.isTypeBased { return text }
    if kind.isEnumeratorBased {
      let id = btf.skipModifiers(rootTypeID)
      let enumerators = btf.enumerators(id)
      guard let index = path.first, index >= 0, Int(index) < enumerators.count else { return text }
      let enumerator = enumerators[Int(index)]
      let value =
        btf.type(id).kindFlag ? String(enumerator.value) : String(UInt64(bitPattern: enumerator.value))
      return text + "::\(btf.string(enumerator.nameOffset)) = \(value)"
    }
    for (place, accessor) in accessors.enumerated() {
      if let name = accessor.name {
        text += "." + btf.string(name)
      } else if place > 0 || accessor.index > 0 {
        text += "[\(UInt32(bitPattern: accessor.index))]"
      }
    }
    text += " (" + path.map(String.init).joined(separator: ":")
    text += " @ offset \(bitOffset / 8)"
    if bitOffset % 8 != 0 { text += ".\(bitOffset % 8)" }
    return text + ")"
  }
}
