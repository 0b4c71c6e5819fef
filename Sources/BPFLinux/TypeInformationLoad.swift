import BTF

/// What `BPF_BTF_LOAD` checks of a program's type information beyond its being well formed.
public enum TypeInformationLoad {
  /// Why the kernel does not take type information.
  public struct Refusal: Error, Hashable, Sendable {
    public let errno: Errno
    /// The type at fault.
    public let type: TypeID
    /// The kernel's words for the rule.
    public let message: String
  }

  /// The first rule that a type breaks; nil where the kernel accepts all.
  public static func refusal(of btf: BTF) -> Refusal? {
    let check = Check(btf: btf)
    do {
      for id in btf.startID..<btf.endID { try check.checkAlone(id) }
      for id in btf.startID..<btf.endID { try check.checkReferences(id) }
    } catch {
      return error
    }
    return nil
  }

  private static let longestName = 512
  private static let deepestNesting = 32

  private struct Check {
    let btf: BTF

    func fail(_ id: TypeID, _ message: String, _ errno: Errno = .EINVAL) -> Refusal {
      Refusal(errno: errno, type: id, message: message)
    }

    // MARK: Each type by itself

    func checkAlone(_ id: TypeID) throws(Refusal) {
      let type = btf.type(id)
      let isNamed = type.nameOffset != 0
      switch type.kind {
      case .void: throw fail(id, "Invalid kind")
      case .int: try checkInt(type)
      case .float:
        guard type.vlen == 0 else { throw fail(id, "vlen != 0") }
        guard [2, 4, 8, 12, 16].contains(type.size) else { throw fail(id, "Invalid type_size") }
      case .pointer, .volatile, .const, .restrict:
        try checkPlain(type)
        guard !isNamed else { throw fail(id, "Invalid name") }
      case .typedef:
        try checkPlain(type)
        guard isIdentifier(type.nameOffset) else { throw fail(id, "Invalid name") }
      case .typeTag:
        guard type.vlen == 0 else { throw fail(id, "vlen != 0") }
        guard !btf.isEmptyString(type.nameOffset) else { throw fail(id, "Invalid name") }
      case .forward:
        guard type.vlen == 0 else { throw fail(id, "vlen != 0") }
        guard type.size == 0 else { throw fail(id, "type != 0") }
        guard isIdentifier(type.nameOffset) else { throw fail(id, "Invalid name") }
      case .array:
        guard !isNamed else { throw fail(id, "Invalid name") }
        try checkPlain(type)
        guard type.size == 0 else { throw fail(id, "size != 0") }
        guard btf.array(id).elementTypeID != 0 else { throw fail(id, "Invalid elem") }
        guard btf.array(id).indexTypeID != 0 else { throw fail(id, "Invalid index") }
      case .structure, .union: try checkMembers(type)
      case .enumeration, .enum64: try checkEnumerators(type)
      case .functionPrototype:
        guard !isNamed else { throw fail(id, "Invalid name") }
        guard !type.kindFlag else { throw fail(id, "Invalid btf_info kind_flag") }
      case .function:
        guard isIdentifier(type.nameOffset) else { throw fail(id, "Invalid name") }
        guard btf.functionLinkage(id) <= 1 else { throw fail(id, "Invalid func linkage") }
        guard !type.kindFlag else { throw fail(id, "Invalid btf_info kind_flag") }
      case .variable:
        try checkPlain(type)
        guard isIdentifier(type.nameOffset) else { throw fail(id, "Invalid name") }
        guard type.target != 0 else { throw fail(id, "Invalid type_id") }
        guard btf.variableLinkage(id) <= 1 else { throw fail(id, "Linkage not supported") }
      case .dataSection: try checkSection(type)
      case .declTag:
        guard !btf.isEmptyString(type.nameOffset) else { throw fail(id, "Invalid value") }
        guard type.vlen == 0 else { throw fail(id, "vlen != 0") }
        guard btf.declTagComponent(id) >= -1 else { throw fail(id, "Invalid component_idx") }
      }
    }

    private func checkPlain(_ type: BTFType) throws(Refusal) {
      guard type.vlen == 0 else { throw fail(type.id, "vlen != 0") }
      guard !type.kindFlag else { throw fail(type.id, "Invalid btf_info kind_flag") }
    }

    private func checkInt(_ type: BTFType) throws(Refusal) {
      try checkPlain(type)
      let encoding = btf.intEncoding(type.id)
      guard encoding.raw & ~0x0fff_00ff == 0 else { throw fail(type.id, "Invalid int_data") }
      let bits = encoding.bits + encoding.bitOffset
      guard bits <= 128 else { throw fail(type.id, "nr_bits exceeds 128") }
      guard (bits + 7) / 8 <= type.size else { throw fail(type.id, "nr_bits exceeds type_size") }
      guard [0, 1, 2, 4].contains(encoding.flags) else {
        throw fail(type.id, "Unsupported encoding", .ENOTSUPP)
      }
    }

    private func checkMembers(_ type: BTFType) throws(Refusal) {
      guard type.nameOffset == 0 || isIdentifier(type.nameOffset) else { throw fail(type.id, "Invalid name") }
      var last: UInt32 = 0
      for member in btf.members(type.id) {
        guard member.nameOffset == 0 || isIdentifier(member.nameOffset) else { throw fail(type.id, "Invalid name") }
        guard member.typeID != 0 else { throw fail(type.id, "Invalid type_id") }
        guard member.bitOffset >= last, type.kind == .structure || member.bitOffset == 0 else {
          throw fail(type.id, "Invalid member bits_offset")
        }
        guard (UInt64(member.bitOffset) + 7) / 8 <= UInt64(type.size) else {
          throw fail(type.id, "Member bits_offset exceeds its struct size")
        }
        last = member.bitOffset
      }
    }

    private func checkEnumerators(_ type: BTFType) throws(Refusal) {
      guard [1, 2, 4, 8].contains(type.size) else { throw fail(type.id, "Unexpected size") }
      guard type.nameOffset == 0 || isIdentifier(type.nameOffset) else { throw fail(type.id, "Invalid name") }
      for enumerator in btf.enumerators(type.id) {
        guard isIdentifier(enumerator.nameOffset) else { throw fail(type.id, "Invalid name") }
      }
    }

    private func checkSection(_ type: BTFType) throws(Refusal) {
      let id = type.id
      guard type.size > 0 else { throw fail(id, "size == 0") }
      guard !type.kindFlag else { throw fail(id, "Invalid btf_info kind_flag") }
      let name = Array(btf.string(type.nameOffset).utf8)
      guard !name.isEmpty, name.count <= longestName, name.allSatisfy({ (0x20...0x7e).contains($0) }) else {
        throw fail(id, "Invalid name")
      }
      var last: UInt64 = 0
      for variable in btf.variables(id) {
        let offset = UInt64(variable.offset)
        let size = UInt64(variable.size)
        guard variable.typeID != 0 else { throw fail(id, "Invalid type_id") }
        guard offset >= last, offset < UInt64(type.size) else { throw fail(id, "Invalid offset") }
        guard size > 0, size <= UInt64(type.size) else { throw fail(id, "Invalid size") }
        last = offset + size
        guard last <= UInt64(type.size) else { throw fail(id, "Invalid offset+size") }
      }
    }

    private func isIdentifier(_ offset: UInt32) -> Bool {
      guard offset != 0 else { return false }
      var name = btf.string(offset)
      return name.withUTF8 { bytes in
        guard let first = bytes.first, bytes.count <= longestName else { return false }
        func isLetter(_ byte: UInt8) -> Bool {
          (0x61...0x7a).contains(byte) || (0x41...0x5a).contains(byte) || byte == 0x5f || byte == 0x2e
        }
        return isLetter(first) && bytes.dropFirst().allSatisfy { isLetter($0) || (0x30...0x39).contains($0) }
      }
    }

    // MARK: Types among each other

    func checkReferences(_ id: TypeID) throws(Refusal) {
      let type = btf.type(id)
      switch type.kind {
      case .array:
        let array = btf.array(id)
        let index = btf.skipModifiers(array.indexTypeID)
        guard btf.kind(index) == .int else { throw fail(id, "Invalid index") }
        guard hasSize(array.elementTypeID) else { throw fail(id, "Invalid elem") }
        guard btf.resolveSize(id) != nil else { throw fail(id, "Array size overflows u32") }
      case .structure, .union:
        for member in btf.members(id) {
          guard isData(member.typeID), hasSize(member.typeID) else { throw fail(id, "Invalid member") }
          try checkExtent(member, type)
        }
      case .typedef, .volatile, .const, .restrict, .typeTag:
        // What is qualified has a size, or is void, incomplete, or a function's type.
        guard type.target == 0 || !isSourceOnly(type.target), ends(id) else { throw fail(id, "Invalid type_id") }
      case .pointer:
        guard type.target == 0 || !isSourceOnly(type.target) else { throw fail(id, "Invalid type_id") }
      case .variable:
        guard isData(type.target), hasSize(type.target) else { throw fail(id, "Invalid type_id") }
      case .dataSection:
        for variable in btf.variables(id) {
          guard btf.kind(variable.typeID) == .variable else { throw fail(id, "Not a VAR kind member") }
          guard let size = btf.resolveSize(variable.typeID) else { throw fail(id, "Invalid type") }
          guard variable.size >= size else { throw fail(id, "Invalid size") }
        }
      case .function:
        for (index, parameter) in btf.parameters(type.target).enumerated()
        where parameter.nameOffset == 0 && parameter.typeID != 0 {
          throw fail(id, "Invalid arg#\(index + 1)")
        }
      case .functionPrototype: try checkPrototype(type)
      case .declTag: try checkTag(type)
      default: break
      }
    }

    private func checkExtent(_ member: BTFMember, _ owner: BTFType) throws(Refusal) {
      let size = UInt64(btf.resolveSize(member.typeID) ?? 0)
      let id = btf.skipModifiers(member.typeID)
      var bits = size * 8
      if member.bitfieldSize != 0 {
        bits = UInt64(member.bitfieldSize)
      } else if btf.kind(id) == .int {
        bits = UInt64(btf.intEncoding(id).bits)
      } else if member.bitOffset % 8 != 0 && !(btf.kind(id).isEnumeration && owner.kindFlag) {
        throw fail(owner.id, "Member is not byte aligned")
      }
      guard (UInt64(member.bitOffset) + bits + 7) / 8 <= UInt64(owner.size) else {
        throw fail(owner.id, "Member exceeds struct_size")
      }
    }

    private func checkPrototype(_ type: BTFType) throws(Refusal) {
      if type.target != 0 {
        guard isData(type.target), hasSize(type.target) else {
          // A return type that is void behind a typedef has no size either.
          throw fail(type.id, "Invalid return type")
        }
      }
      let parameters = btf.parameters(type.id)
      for (index, parameter) in parameters.enumerated() {
        if parameter.typeID == 0 && index == parameters.count - 1 {
          guard parameter.nameOffset == 0 else { throw fail(type.id, "Invalid arg#\(index + 1)") }
          continue
        }
        guard parameter.typeID != 0, isData(parameter.typeID), hasSize(parameter.typeID),
          parameter.nameOffset == 0 || isIdentifier(parameter.nameOffset)
        else { throw fail(type.id, "Invalid arg#\(index + 1)") }
      }
    }

    private func checkTag(_ type: BTFType) throws(Refusal) {
      let target = btf.type(type.target)
      let component = btf.declTagComponent(type.id)
      switch target.kind {
      case .function:
        guard component < btf.parameters(target.target).count else { throw fail(type.id, "Invalid component_idx") }
      case .structure, .union:
        guard component < target.vlen else { throw fail(type.id, "Invalid component_idx") }
      case .variable, .typedef:
        guard component == -1 else { throw fail(type.id, "Invalid component_idx") }
      default: throw fail(type.id, "Invalid type_id")
      }
    }

    /// Kinds that only ever refer to others.
    private func isSourceOnly(_ id: TypeID) -> Bool {
      switch btf.kind(id) {
      case .variable, .declTag, .dataSection: true
      default: false
      }
    }

    private func isData(_ id: TypeID) -> Bool { !isSourceOnly(id) && btf.kind(id) != .function }

    private func hasSize(_ id: TypeID) -> Bool { btf.resolveSize(id) != nil }

    /// Whether a chain of qualifiers comes to an end within the depth that the kernel follows.
    private func ends(_ id: TypeID) -> Bool {
      var id = id
      for _ in 0..<deepestNesting {
        guard btf.kind(id).isModifier else { return true }
        id = btf.type(id).target
      }
      return false
    }
  }
}
