/// The number that a relocation puts into its instruction.
enum COREValue {
  enum Failure: Error {
    case noSize
    case tooWideBitfield
    case arrayAccess
  }

  /// What one side of a field relocation says.
  private struct Field {
    var value: UInt64
    var size: UInt32 = 0
    var typeID: TypeID = 0
    var validates = true
  }

  /// Values for the object's own path and for the target's, which is nil if the target has none.
  static func resolution(_ local: CORESpec, _ target: CORESpec?) throws(Failure) -> COREResolution {
    var result = COREResolution()
    if local.kind.isFieldBased {
      try fill(&result, local, target)
    } else if local.kind.isTypeBased {
      result.validates = local.kind != .typeIDTarget
      result.originalValue = try typeValue(local)
      result.newValue = if let target { try typeValue(target) } else { 0 }
    } else if let value = enumeratorValue(local, local.kind) {
      result.originalValue = value
      if let value = enumeratorValue(target, local.kind) {
        result.newValue = value
      } else {
        result.isPoisoned = true
      }
    } else {
      result.isPoisoned = true
    }
    return result
  }

  private static func fill(
    _ result: inout COREResolution, _ local: CORESpec, _ target: CORESpec?
  ) throws(Failure) {
    if local.kind == .fieldExists {
      result.originalValue = 1
      result.newValue = target == nil ? 0 : 1
      return
    }
    let ours = try field(local)
    result.originalValue = ours.value
    result.originalSize = ours.size
    result.originalTypeID = ours.typeID
    result.validates = ours.validates
    guard let target else {
      result.isPoisoned = true
      return
    }
    let theirs = try field(target)
    result.newValue = theirs.value
    result.newSize = theirs.size
    result.newTypeID = theirs.typeID
    result.failsMemorySizeAdjustment =
      ours.size != theirs.size && !canZeroExtend(local.btf, ours.typeID, target.btf, theirs.typeID)
  }

  /// A load may change its width if it reads pointers or unsigned integers on both sides.
  private static func canZeroExtend(_ local: BTF, _ localID: TypeID, _ target: BTF, _ targetID: TypeID) -> Bool {
    switch (local.kind(localID), target.kind(targetID)) {
    case (.pointer, .pointer): true
    case (.int, .int): local.intEncoding(localID).flags != 1 && target.intEncoding(targetID).flags != 1
    default: false
    }
  }

  private static func size(_ btf: BTF, _ id: TypeID) throws(Failure) -> UInt32 {
    guard let size = btf.resolveSize(id) else { throw .noSize }
    return size
  }

  /// Size of the innermost element, through any number of array dimensions.
  private static func elementSize(_ btf: BTF, _ id: TypeID) throws(Failure) -> UInt32 {
    var id = btf.skipModifiers(id)
    for _ in 0..<BTF.resolveDepth where btf.kind(id) == .array {
      id = btf.skipModifiers(btf.array(id).elementTypeID)
    }
    return try size(btf, id)
  }

  private static func field(_ spec: CORESpec) throws(Failure) -> Field {
    guard let accessor = spec.accessors.last else { throw .noSize }
    let btf = spec.btf
    guard accessor.name != nil else {
      switch spec.kind {
      case .fieldByteOffset:
        return Field(
          value: UInt64(spec.bitOffset / 8), size: try elementSize(btf, accessor.typeID), typeID: accessor.typeID)
      case .fieldByteSize:
        return Field(value: UInt64(try size(btf, accessor.typeID)))
      default:
        throw .arrayAccess
      }
    }
    let members = btf.members(accessor.typeID)
    guard accessor.index >= 0, Int(accessor.index) < members.count else { throw .noSize }
    let member = members[Int(accessor.index)]
    let typeID = btf.skipModifiers(member.typeID)
    let isBitfield = member.bitfieldSize > 0
    let unit = isBitfield ? try bitfieldUnit(spec, member, typeID) : try plainUnit(spec, typeID)

    switch spec.kind {
    case .fieldByteOffset:
      var field = Field(value: UInt64(unit.offset), validates: !isBitfield)
      if !isBitfield {
        field.size = try elementSize(btf, typeID)
        field.typeID = typeID
      }
      return field
    case .fieldByteSize:
      return Field(value: UInt64(unit.size), validates: !isBitfield)
    case .fieldSigned:
      let type = btf.type(typeID)
      let isSigned =
        (type.kind.isEnumeration && type.kindFlag) || (type.kind == .int && btf.intEncoding(typeID).isSigned)
      return Field(value: isSigned ? 1 : 0)
    case .fieldLeftShift:
      #if _endian(little)
        let shift = 64 &- (spec.bitOffset &+ unit.bits &- unit.offset &* 8)
      #else
        let shift = (8 &- unit.size) &* 8 &+ (spec.bitOffset &- unit.offset &* 8)
      #endif
      return Field(value: UInt64(shift), validates: !isBitfield)
    case .fieldRightShift:
      return Field(value: UInt64(64 &- unit.bits))
    default:
      throw .noSize
    }
  }

  /// The memory that a load of the field reads.
  private struct Unit {
    let offset: UInt32
    let size: UInt32
    let bits: UInt32
  }

  private static func plainUnit(_ spec: CORESpec, _ typeID: TypeID) throws(Failure) -> Unit {
    let size = try size(spec.btf, typeID)
    return Unit(offset: spec.bitOffset / 8, size: size, bits: size &* 8)
  }

  /// The smallest aligned unit, starting from the declared type's, that covers a bitfield.
  private static func bitfieldUnit(
    _ spec: CORESpec, _ member: BTFMember, _ typeID: TypeID
  ) throws(Failure) -> Unit {
    var size = spec.btf.type(typeID).size
    guard size > 0 else { throw .noSize }
    var offset = spec.bitOffset / 8 / size &* size
    while spec.bitOffset &+ member.bitfieldSize &- offset &* 8 > size &* 8 {
      guard size < 8 else { throw .tooWideBitfield }
      size &*= 2
      offset = spec.bitOffset / 8 / size &* size
    }
    return Unit(offset: offset, size: size, bits: member.bitfieldSize)
  }

  private static func typeValue(_ spec: CORESpec) throws(Failure) -> UInt64 {
    switch spec.kind {
    case .typeIDTarget: UInt64(spec.rootTypeID)
    case .typeSize: UInt64(try size(spec.btf, spec.rootTypeID))
    default: 1
    }
  }

  /// Nil asks for poison: a value is wanted and there is none.
  private static func enumeratorValue(_ spec: CORESpec?, _ kind: CORERelocationKind) -> UInt64? {
    if kind == .enumeratorExists { return spec == nil ? 0 : 1 }
    guard let spec, let accessor = spec.accessors.first, accessor.index >= 0 else { return nil }
    let enumerators = spec.btf.enumerators(accessor.typeID)
    guard Int(accessor.index) < enumerators.count else { return nil }
    let value = enumerators[Int(accessor.index)].value
    // 32-bit constants are sign-extended even where the enumeration is unsigned.
    guard spec.btf.kind(accessor.typeID) == .enumeration else { return UInt64(bitPattern: value) }
    return UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value)))
  }
}
