extension BTFDumper {
  // MARK: Structs and unions

  /// `struct name`, or `struct` alone if it has none.
  mutating func writeReference(_ type: BTFType) {
    write(type.kind == .structure ? "struct" : "union")
    if type.nameOffset != 0 { write(" ") }
    write(typeName(type))
  }

  mutating func writeForward(_ type: BTFType) {
    write(type.kindFlag ? "union " : "struct ")
    write(typeName(type))
  }

  mutating func define(composite type: BTFType, level: Int) throws(BTFError) {
    try step(type.id)
    let isStruct = type.kind == .structure
    let ownAlignment = alignment(type.id)
    let isPacked = isStruct && isPacked(type)
    writeReference(type)
    write(" {")
    var end = 0
    var isAfterBitfield = false
    for member in btf.members(type.id) {
      let start = Int(member.bitOffset)
      let width = Int(member.bitfieldSize)
      try pad(
        from: end, to: start, alignment: isPacked ? 1 : alignment(member.typeID),
        inBitfield: isAfterBitfield && width != 0, level: level + 1, type: type.id)
      write("\n")
      indent(level + 1)
      try declare(member.typeID, btf.string(member.nameOffset), level: level + 1)
      if width != 0 {
        write(": \(width)")
        end = start + width
        isAfterBitfield = true
      } else {
        end = start + Int(btf.resolveSize(member.typeID) ?? 0) * 8
        isAfterBitfield = false
      }
      write(";")
    }
    if isStruct {
      try pad(
        from: end, to: Int(type.size) * 8, alignment: ownAlignment, inBitfield: false, level: level + 1,
        type: type.id)
    }
    if type.vlen != 0 || type.size != 0 {
      write("\n")
      indent(level)
    }
    write("}")
    if isPacked { write(" __attribute__((packed))") }
  }

  /// Nameless bitfields that move the next member from bit `position` to bit `next`.
  private mutating func pad(
    from position: Int, to next: Int, alignment: Int, inBitfield: Bool, level: Int, type: TypeID
  ) throws(BTFError) {
    guard position < next else { return }
    let units: [(name: String, bits: Int)] = [("long", 64), ("int", 32), ("short", 16), ("char", 8)]
    func roundUp(_ value: Int, _ step: Int) -> Int { (value + step - 1) / step * step }

    var position = position
    var unit = units[3]
    var aligned = roundUp(position, unit.bits)
    for candidate in units {
      unit = candidate
      aligned = roundUp(position, candidate.bits)
      if aligned <= next { break }
    }
    if aligned > position && aligned <= next {
      // A marker is needed where the compiler would not move to the boundary by itself.
      let isReached = aligned == next && roundUp(position, max(alignment, 1) * 8) != aligned
      let isTooNarrow = aligned != next && next - aligned <= aligned - position
      if inBitfield || isReached || isTooNarrow {
        writePadding(unit.name, inBitfield ? aligned - position : 0, level)
      }
      position = aligned
    }
    while position != next {
      try step(type)
      let bits = min(next - position, unit.bits)
      if bits != unit.bits, let smaller = units.last(where: { $0.bits >= bits }) { unit = smaller }
      writePadding(unit.name, bits, level)
      position += bits
    }
  }

  private mutating func writePadding(_ name: String, _ bits: Int, _ level: Int) {
    write("\n")
    indent(level)
    write("\(name): \(bits);")
  }

  // MARK: Enumerations

  mutating func define(enumeration type: BTFType, level: Int) {
    write(type.nameOffset == 0 ? "enum" : "enum ")
    write(typeName(type))
    let enumerators = btf.enumerators(type.id)
    guard !enumerators.isEmpty else { return }
    let isWide = type.kind == .enum64
    write(" {")
    for enumerator in enumerators {
      let name = btf.string(enumerator.nameOffset)
      let count = countUse(of: name, in: \.identifiers)
      write("\n")
      indent(level + 1)
      write(name)
      if count > 1 { write("___\(count)") }
      let value =
        type.kindFlag ? String(enumerator.value) : String(UInt64(bitPattern: enumerator.value))
      write(" = \(value)\(isWide ? (type.kindFlag ? "LL" : "ULL") : ""),")
    }
    write("\n")
    indent(level)
    write("}")
    guard marksEnumerationWidth else { return }
    if type.size == 1 {
      write(" __attribute__((mode(byte)))")
    } else if type.size == 8 && enumerators.allSatisfy({ !isWide || UInt64(bitPattern: $0.value) >> 32 == 0 }) {
      // Values that fit 32 bits would make the compiler choose 32 bits.
      write(" __attribute__((mode(word)))")
    }
  }

  // MARK: Typedefs and declarations

  mutating func define(typedef type: BTFType) throws(BTFError) {
    let name = identifier(type)
    // Old versions of GCC describe this one as `void`.
    if type.target == 0 && name == "__gnuc_va_list" {
      write("typedef __builtin_va_list __gnuc_va_list")
      return
    }
    write("typedef ")
    try declare(type.target, name, level: 0)
  }

  /// Writes a declaration of `name` (may be empty) with type `id`.
  mutating func declare(_ id: TypeID, _ name: String, level: Int) throws(BTFError) {
    try step(id)
    depth += 1
    defer { depth -= 1 }
    var chain: [TypeID] = []
    var id = id
    walk: while true {
      guard chain.count < 4096 else { throw failure(id, "type [\(id)] is nested too deeply") }
      chain.append(id)
      if id == 0 { break }
      let type = btf.type(id)
      switch type.kind {
      case .pointer, .volatile, .const, .restrict, .functionPrototype, .typeTag: id = type.target
      case .array: id = btf.array(id).elementTypeID
      default: break walk
      }
    }
    try declare(chain: &chain, name, level: level)
  }

  /// Writes qualifiers from the end of the chain, which in C stand before the type they qualify.
  private mutating func writeQualifiers(_ chain: inout [TypeID]) {
    while let last = chain.last {
      switch btf.kind(last) {
      case .volatile: write("volatile ")
      case .const: write("const ")
      case .restrict: write("restrict ")
      default: return
      }
      chain.removeLast()
    }
  }

  private func dropQualifiers(_ chain: inout [TypeID]) {
    while let last = chain.last, btf.kind(last).isQualifier { chain.removeLast() }
  }

  private mutating func writeName(_ name: String, afterPointer: Bool) {
    if !name.isEmpty && !afterPointer { write(" ") }
    write(name)
  }

  /// Writes a declaration from the innermost type, the chain's last, outwards.
  private mutating func declare(chain: inout [TypeID], _ name: String, level: Int) throws(BTFError) {
    depth += 1
    defer { depth -= 1 }
    var isAfterPointer = true
    while let id = chain.popLast() {
      try step(id)
      if id == 0 {
        writeQualifiers(&chain)
        write("void")
        isAfterPointer = false
        continue
      }
      let type = btf.type(id)
      switch type.kind {
      case .int, .float:
        writeQualifiers(&chain)
        write(btf.string(type.nameOffset))
      case .structure, .union:
        writeQualifiers(&chain)
        if type.nameOffset == 0 {
          try define(composite: type, level: level)
        } else {
          writeReference(type)
        }
      case .enumeration, .enum64:
        writeQualifiers(&chain)
        if type.nameOffset == 0 {
          define(enumeration: type, level: level)
        } else {
          write("enum ")
          write(typeName(type))
        }
      case .forward:
        writeQualifiers(&chain)
        writeForward(type)
      case .typedef:
        writeQualifiers(&chain)
        write(identifier(type))
      case .pointer:
        write(isAfterPointer ? "*" : " *")
      case .volatile:
        write(" volatile")
      case .const:
        write(" const")
      case .restrict:
        write(" restrict")
      case .typeTag:
        writeQualifiers(&chain)
        let tag = btf.string(type.nameOffset)
        write(type.kindFlag ? " __attribute__((\(tag)))" : " __attribute__((btf_type_tag(\"\(tag)\")))")
      case .array:
        try declare(array: btf.array(id), &chain, name, isAfterPointer, level: level)
        return
      case .functionPrototype:
        try declare(prototype: type, &chain, name, isAfterPointer, level: level)
        return
      case .void, .function, .variable, .dataSection, .declTag:
        return
      }
      isAfterPointer = type.kind == .pointer
    }
    writeName(name, afterPointer: isAfterPointer)
  }

  private mutating func declare(
    array: BTFArray, _ chain: inout [TypeID], _ name: String, _ isAfterPointer: Bool, level: Int
  ) throws(BTFError) {
    dropQualifiers(&chain)
    guard let outer = chain.last else {
      writeName(name, afterPointer: isAfterPointer)
      write("[\(array.count)]")
      return
    }
    let isNested = btf.kind(outer) == .array
    if !name.isEmpty && !isAfterPointer { write(" ") }
    if !isNested { write("(") }
    try declare(chain: &chain, name, level: level)
    if !isNested { write(")") }
    write("[\(array.count)]")
  }

  private mutating func declare(
    prototype: BTFType, _ chain: inout [TypeID], _ name: String, _ isAfterPointer: Bool, level: Int
  ) throws(BTFError) {
    dropQualifiers(&chain)
    if chain.isEmpty {
      writeName(name, afterPointer: isAfterPointer)
    } else {
      write(" (")
      try declare(chain: &chain, name, level: level)
      write(")")
    }
    write("(")
    let parameters = btf.parameters(prototype.id)
    if parameters.isEmpty || (parameters.count == 1 && parameters[0].typeID == 0) {
      write("void)")
      return
    }
    for (index, parameter) in parameters.enumerated() {
      if index > 0 { write(", ") }
      if index == parameters.count - 1 && parameter.typeID == 0 {
        write("...")
        break
      }
      try declare(parameter.typeID, btf.string(parameter.nameOffset), level: level)
    }
    write(")")
  }
}
