import BPFLinux
import BTF

/// What lies at an offset of a struct that BTF describes.
struct BTFWalk {
  enum Kind: BitwiseCopyable {
    /// A number, or something that may be read like one.
    case scalar
    /// A pointer to a struct or union.
    case pointer
    /// Any other pointer.
    case untrustedPointer
    /// The start of a struct or union inside the struct.
    case structure
  }

  var kind: Kind
  /// The struct found or pointed to.
  var nextID: TypeID = 0
  var flags: TypeFlags = []
  /// Name of the member that holds the pointer.
  var fieldNameOffset: UInt32 = 0
  fileprivate unowned(unsafe) var types: BTF

  var fieldName: String { types.shownName(fieldNameOffset) }

  /// What a register becomes that is loaded from there.
  var registerType: RegisterType {
    switch kind {
    case .scalar, .structure: .scalar
    case .pointer: .btfID
    case .untrustedPointer: .memory
    }
  }
}

/// A type's size, and what it is an array of.
struct ResolvedSize: BitwiseCopyable {
  var size: UInt32
  /// The type beneath modifiers and arrays.
  var type: TypeID
  /// What the innermost array names as its element's type; 0 for no array.
  var elementTypeID: TypeID = 0
  /// Elements in all dimensions together.
  var elements: UInt32 = 1
  var isArray = false
  /// The last type that a modifier led to; 0 where there was no modifier.
  var modifiedTypeID: TypeID = 0
}

extension BTF {
  /// Size and element type, through at most 32 references; nil where the type has no size.
  func resolvedSize(_ id: TypeID) -> ResolvedSize? {
    var result = ResolvedSize(size: 0, type: id)
    var id = id
    for _ in 0..<32 {
      let header = type(id)
      let size: UInt32
      switch header.kind {
      case .int, .structure, .union, .enumeration, .float, .enum64:
        size = header.size
      case .pointer:
        size = 8
      case .typedef, .volatile, .const, .restrict, .typeTag:
        id = header.target
        result.modifiedTypeID = id
        continue
      case .array:
        let array = array(id)
        result.isArray = true
        let (product, overflow) = result.elements.multipliedReportingOverflow(by: array.count)
        guard !overflow else { return nil }
        result.elements = product
        result.elementTypeID = array.elementTypeID
        id = array.elementTypeID
        continue
      default:
        return nil
      }
      let (total, overflow) = size.multipliedReportingOverflow(by: result.elements)
      guard !overflow else { return nil }
      result.size = total
      result.type = id
      return result
    }
    return nil
  }

  /// A name as messages about types show it.
  func shownName(_ offset: UInt32) -> String { offset == 0 ? "(anon)" : string(offset) }

  /// The BTF that holds type `id` itself: a module's, or the kernel's beneath it.
  func holder(of id: TypeID) -> BTF {
    var holder = self
    while id < holder.startID, let base = holder.base { holder = base }
    return holder
  }
}

extension Verification {
  /// One step into a struct: what member is at `offset`.
  private func walkStruct(
    _ types: BTF, _ id: TypeID, offset: Int32, size: Int32, flags: TypeFlags
  ) throws(Refusal) -> BTFWalk {
    var id = id
    var offset = UInt32(bitPattern: offset)
    let size = UInt32(bitPattern: size)
    var flags = flags
    while true {
      id = types.skipModifiers(id)
      let structure = types.type(id)
      guard structure.kind.isComposite else {
        throw refuse(
          .EINVAL, .typeMismatch, "Type '\(types.shownName(structure.nameOffset))' is not a struct\n")
      }
      let members = types.members(id)
      if structure.kind == .union, members.count != 1 { flags.formUnion(.untrusted) }
      if offset &+ size > structure.size {
        // Past the end there can only be a flexible array.
        switch flexibleArray(types, members, offset: offset) {
        case .scalar:
          return BTFWalk(kind: .scalar, flags: flags, types: types)
        case .element(let element, let position):
          id = element
          offset = position
          continue
        case nil:
          throw refuse(
            .EACCES, .memoryBounds,
            "access beyond struct \(types.shownName(structure.nameOffset)) at off \(offset) size \(size)\n")
        }
      }
      guard
        let found = try findMember(types, structure, members, offset: offset, size: size, flags: flags)
      else {
        throw refuse(
          .EINVAL, .memoryBounds,
          "struct \(types.shownName(structure.nameOffset)) doesn't have field at offset \(Int32(bitPattern: offset))\n")
      }
      switch found {
      case .result(let walk): return walk
      case .inside(let type, let start):
        id = type
        offset &-= start
      }
    }
  }

  private enum FlexibleArray {
    case scalar
    case element(TypeID, offset: UInt32)
  }

  private func flexibleArray(_ types: BTF, _ members: BTFMembers, offset: UInt32) -> FlexibleArray? {
    guard let last = members.last else { return nil }
    let array = types.skipModifiers(last.typeID)
    guard types.kind(array) == .array else { return nil }
    let shape = types.array(array)
    let start = last.bitOffset / 8
    guard shape.count == 0, offset >= start else { return nil }
    let element = types.skipModifiers(shape.elementTypeID)
    let header = types.type(element)
    if header.kind == .int { return .scalar }
    guard header.kind.isComposite, header.size > 0 else { return nil }
    return .element(element, offset: (offset &- start) % header.size)
  }

  private enum FoundMember {
    case result(BTFWalk)
    /// Somewhere in a struct that begins at `start`.
    case inside(TypeID, start: UInt32)
  }

  private func findMember(
    _ types: BTF, _ structure: BTFType, _ members: BTFMembers, offset: UInt32, size: UInt32, flags: TypeFlags
  ) throws(Refusal) -> FoundMember? {
    for member in members {
      var start = member.bitOffset / 8
      if offset &+ size <= start { break }
      if member.bitfieldSize != 0 {
        let end = member.bitOffset &+ member.bitfieldSize
        if offset <= start, end / 8 &+ (end % 8 == 0 ? 0 : 1) <= offset &+ size {
          return .result(BTFWalk(kind: .scalar, flags: flags, types: types))
        }
        continue
      }
      if offset < start { break }
      guard let resolved = types.resolvedSize(member.typeID) else {
        throw refuse(
          .EFAULT, .btf, "field \(types.shownName(member.nameOffset)) doesn't have size\n")
      }
      let trueEnd = start &+ resolved.size
      if offset >= trueEnd { continue }
      var memberSize = resolved.size
      var typeID = resolved.modifiedTypeID != 0 ? resolved.modifiedTypeID : member.typeID
      if resolved.isArray {
        // Several dimensions are walked as one; each element like a member of its own.
        if start == trueEnd { continue }
        memberSize /= resolved.elements
        start &+= (offset &- start) / memberSize &* memberSize
        typeID = resolved.elementTypeID
      }
      let type = types.type(resolved.type)
      if type.kind.isComposite {
        if offset == start {
          return .result(BTFWalk(kind: .structure, nextID: typeID, flags: flags, types: types))
        }
        return .inside(resolved.type, start: start)
      }
      if type.kind == .pointer {
        if memberSize != size || offset != start {
          throw refuse(
            .EACCES, .memoryBounds,
            "cannot access ptr member \(types.shownName(member.nameOffset)) with moff \(start) in struct "
              + "\(types.shownName(structure.nameOffset)) with off \(offset) size \(size)\n")
        }
        return .result(walkPointer(types, type, member, flags))
      }
      if offset &+ size > trueEnd, !flags.contains(.untrusted) {
        throw refuse(
          .EACCES, .memoryBounds,
          "access beyond the end of member \(types.shownName(member.nameOffset)) (mend:\(trueEnd)) in struct "
            + "\(types.shownName(structure.nameOffset)) with off \(offset) size \(size)\n")
      }
      return .result(BTFWalk(kind: .scalar, flags: flags, types: types))
    }
    return nil
  }

  private func walkPointer(
    _ types: BTF, _ pointer: BTFType, _ member: BTFMember, _ flags: TypeFlags
  ) -> BTFWalk {
    let target = types.skipModifiers(pointer.target)
    guard types.kind(target).isComposite else {
      return BTFWalk(kind: .untrustedPointer, flags: flags, types: types)
    }
    return BTFWalk(
      kind: .pointer, nextID: target, flags: flags.union(pointerTag(types, pointer.target)),
      fieldNameOffset: member.nameOffset, types: types)
  }

  /// What a type tag directly beneath a pointer says of the pointer.
  private func pointerTag(_ types: BTF, _ target: TypeID) -> TypeFlags {
    let tag = types.type(target)
    guard tag.kind == .typeTag, !tag.kindFlag else { return [] }
    if types.stringEquals(tag.nameOffset, "user") { return .user }
    if types.stringEquals(tag.nameOffset, "percpu") { return .percpu }
    if types.stringEquals(tag.nameOffset, "rcu") { return .rcu }
    return []
  }

  /// What an access through the `.btfID` pointer `r` finds; special fields of allocated objects are off limits.
  ///
  /// `registerType` of the answer is `.scalar`, `.btfID` or `.memory`. A scalar has neither `nextID` nor flags.
  func btfStructAccess(
    _ r: RegisterRef, offset: Int32, size: Int32, type: AccessType
  ) throws(Refusal) -> BTFWalk {
    let allocated = r.pointee.type.base == .btfID && r.pointee.type.has(.allocated)
    let btf = r.pointee.btf
    guard let types = btfs[Int(btf)] else { throw Refusal(errno: .EINVAL, category: .btf) }
    if allocated, let record = structRecord(of: r.pointee.btfID, in: btf) {
      for field in record.fields {
        let start = field.offset
        if UInt32(bitPattern: offset) < start &+ field.size, start < UInt32(bitPattern: offset &+ size) {
          throw refuse(
            .EACCES, .memoryBounds, "direct access to \(field.kind.name) is disallowed\n")
        }
      }
    }
    var id = r.pointee.btfID
    var offset = offset
    var flags: TypeFlags = []
    while true {
      let walk = try walkStruct(types, id, offset: offset, size: size, flags: flags)
      switch walk.kind {
      case .pointer:
        return allocated ? BTFWalk(kind: .scalar, types: types) : walk
      case .untrustedPointer:
        return BTFWalk(kind: .untrustedPointer, flags: [.readOnly, .untrusted], types: types)
      case .scalar:
        return BTFWalk(kind: .scalar, types: types)
      case .structure:
        id = walk.nextID
        flags = walk.flags
        offset = 0
      }
    }
  }

  // MARK: Whether types are the same

  /// Whether both name one type. Modules share the kernel's types.
  func btfTypesAreSame(_ a: BTFIndex, _ aID: TypeID, _ b: BTFIndex, _ bID: TypeID) -> Bool {
    guard aID == bID else { return false }
    if a == b { return true }
    guard let aTypes = btfs[Int(a)], let bTypes = btfs[Int(b)] else { return false }
    return aTypes.holder(of: aID) === bTypes.holder(of: bID)
  }

  /// Whether a pointer to `offset` of one struct points to the other: it is that, or begins with it there.
  func btfStructIDsMatch(
    btf: BTFIndex, id: TypeID, offset: Int32, needBTF: BTFIndex, needID: TypeID, strict: Bool
  ) -> Bool {
    if offset == 0, btfTypesAreSame(btf, id, needBTF, needID) { return true }
    if strict { return false }
    guard let types = btfs[Int(btf)] else { return false }
    var id = id
    var offset = offset
    var flags: TypeFlags = []
    while types.isValid(id) {
      let walk: BTFWalk
      do {
        walk = try walkStruct(types, id, offset: offset, size: 1, flags: flags)
      } catch {
        return false
      }
      guard walk.kind == .structure else { return false }
      id = walk.nextID
      flags = walk.flags
      if btfTypesAreSame(btf, id, needBTF, needID) { return true }
      offset = 0
    }
    return false
  }

  /// Whether a struct named after the one that `r` points to, with `suffix`, lists the pointer `field` to type `id`.
  func btfNestedTypeIsTrusted(_ r: RegisterRef, field: String, id: TypeID, suffix: String) -> Bool {
    guard let types = btfs[Int(r.pointee.btf)] else { return false }
    let type = types.type(r.pointee.btfID)
    let name = types.string(type.nameOffset) + suffix
    // The kernel builds the name in 64 bytes.
    guard name.utf8.count < 64, let safe = types.find(name, kind: type.kind) else { return false }
    for member in types.members(safe) {
      let pointer = types.type(member.typeID)
      guard pointer.kind == .pointer, types.skipModifiers(pointer.target) == id else { continue }
      if types.stringEquals(member.nameOffset, field) { return true }
    }
    return false
  }

  /// Whether exactly one of two types of one name carries the suffix that keeps them apart for kernel functions.
  func btfTypesAreNoCastAliases(_ a: BTFIndex, _ aID: TypeID, _ b: BTFIndex, _ bID: TypeID) -> Bool {
    guard let aTypes = btfs[Int(a)], let bTypes = btfs[Int(b)], aTypes.isValid(aID), bTypes.isValid(bID) else {
      return false
    }
    let suffix = "___init"
    let aName = aTypes.name(aID)
    let bName = bTypes.name(bID)
    return aName == bName + suffix || bName == aName + suffix
  }

  /// Bytes in a type; nil where it has no size.
  func resolveSize(_ btf: BTFIndex, _ id: TypeID) -> UInt32? { btfs[Int(btf)]?.resolvedSize(id)?.size }
}
