extension BTF {
  /// All own types, one a line and their parts indented below, as `bpftool btf dump … format raw` prints them.
  public func rawText() -> String {
    var text = ""
    for id in startID..<endID {
      writeRaw(id, to: &text)
    }
    return text
  }

  /// One type in the form of `rawText`.
  public func rawText(_ id: TypeID) -> String {
    var text = ""
    writeRaw(id, to: &text)
    return text
  }

  private func quoted(_ offset: UInt32) -> String {
    guard offset != 0 else { return "'(anon)'" }
    return isValidString(offset) ? "'\(string(offset))'" : "'(invalid)'"
  }

  private static func linkageName(_ linkage: UInt32) -> String {
    switch linkage {
    case 0: "static"
    case 1: "global"
    case 2: "extern"
    default: "(unknown)"
    }
  }

  private static func encodingName(_ encoding: BTFIntEncoding) -> String {
    switch encoding.flags {
    case 0: "(none)"
    case 1: "SIGNED"
    case 2: "CHAR"
    case 4: "BOOL"
    default: "UNKN"
    }
  }

  private func writeRaw(_ id: TypeID, to text: inout String) {
    let type = type(id)
    text += "[\(id)] \(type.kind.kernelName) \(quoted(type.nameOffset))"
    switch type.kind {
    case .void:
      break
    case .int:
      let encoding = intEncoding(id)
      text += " size=\(type.size) bits_offset=\(encoding.bitOffset) nr_bits=\(encoding.bits)"
      text += " encoding=\(BTF.encodingName(encoding))"
    case .pointer, .const, .volatile, .restrict, .typedef, .typeTag:
      text += " type_id=\(type.target)"
    case .array:
      let array = array(id)
      text += " type_id=\(array.elementTypeID) index_type_id=\(array.indexTypeID) nr_elems=\(array.count)"
    case .structure, .union:
      text += " size=\(type.size) vlen=\(type.vlen)"
      for member in members(id) {
        text += "\n\t\(quoted(member.nameOffset)) type_id=\(member.typeID) bits_offset=\(member.bitOffset)"
        if member.bitfieldSize != 0 { text += " bitfield_size=\(member.bitfieldSize)" }
      }
    case .enumeration, .enum64:
      let suffix = type.kind == .enum64 ? (type.kindFlag ? "LL" : "ULL") : ""
      text += " encoding=\(type.kindFlag ? "SIGNED" : "UNSIGNED") size=\(type.size) vlen=\(type.vlen)"
      for enumerator in enumerators(id) {
        let value = type.kindFlag ? String(enumerator.value) : String(UInt64(bitPattern: enumerator.value))
        text += "\n\t\(quoted(enumerator.nameOffset)) val=\(value)\(suffix)"
      }
    case .forward:
      text += " fwd_kind=\(type.kindFlag ? "union" : "struct")"
    case .function:
      text += " type_id=\(type.target) linkage=\(BTF.linkageName(functionLinkage(id)))"
    case .functionPrototype:
      text += " ret_type_id=\(type.target) vlen=\(type.vlen)"
      for parameter in parameters(id) {
        text += "\n\t\(quoted(parameter.nameOffset)) type_id=\(parameter.typeID)"
      }
    case .variable:
      text += " type_id=\(type.target), linkage=\(BTF.linkageName(variableLinkage(id)))"
    case .dataSection:
      text += " size=\(type.size) vlen=\(type.vlen)"
      for variable in variables(id) {
        text += "\n\ttype_id=\(variable.typeID) offset=\(variable.offset) size=\(variable.size)"
        if isValid(variable.typeID) {
          let target = self.type(variable.typeID)
          text += " (\(target.kind.kernelName) \(quoted(target.nameOffset)))"
        }
      }
    case .float:
      text += " size=\(type.size)"
    case .declTag:
      text += " type_id=\(type.target) component_idx=\(declTagComponent(id))"
    }
    text += "\n"
  }
}
