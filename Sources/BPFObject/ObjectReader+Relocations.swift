import BPFISA
import BPFLinux
import BTF

extension ObjectReader {
  mutating func collectRelocations() throws(ObjectFileError) {
    for section in file.sections.dropFirst() where roles[section.index] == .relocations {
      let target = Int(section.info)
      guard let entries = file.relocations(section) else {
        throw fail("the relocations are cut short", LoaderErrno.format, section: section.name)
      }
      if roles[target] == .structOps {
        try collectStructOpsRelocations(section, entries)
      } else if target == mapsSection?.index {
        try collectMapRelocations(entries)
      } else {
        try collectProgramRelocations(section, entries)
      }
    }
    for index in functions.indices where functions[index].relocations.count > 1 {
      let sorted = functions[index].relocations.enumerated().sorted { a, b in
        (a.element.slot, a.element.target.rank, a.offset) < (b.element.slot, b.element.target.rank, b.offset)
      }
      functions[index].relocations = sorted.map(\.element)
    }
  }

  private func symbol(
    _ entry: ELFRelocation, _ section: String
  ) throws(ObjectFileError) -> ELFSymbol {
    guard file.symbols.indices.contains(entry.symbol) else {
      throw fail(
        "symbol #\(entry.symbol) of a relocation does not exist", LoaderErrno.format, section: section,
        offset: entry.offset)
    }
    return file.symbols[entry.symbol]
  }

  // MARK: Instructions

  private mutating func collectProgramRelocations(
    _ section: ELFSection, _ entries: [ELFRelocation]
  ) throws(ObjectFileError) {
    let code = file.sections[Int(section.info)]
    guard let range = code.range(in: file.bytes) else {
      throw fail("reaches past the end of the file", LoaderErrno.format, section: code.name)
    }
    for entry in entries {
      let symbol = try symbol(entry, section.name)
      guard symbol.section < file.sections.count else {
        throw fail(
          "symbol #\(entry.symbol) points to section \(symbol.section), which does not exist", LoaderErrno.format,
          section: section.name, offset: entry.offset)
      }
      guard entry.offset % 8 == 0, entry.offset < UInt64(range.count) else {
        throw fail("invalid relocation offset", LoaderErrno.format, section: section.name, offset: entry.offset)
      }
      let slot = Int(entry.offset / 8)
      // Relocations of weak functions that another definition replaced belong to nothing.
      guard let index = function(section: code.index, slot: slot) else { continue }
      let reader = ByteReader(bytes: file.bytes)
      let place = range.lowerBound + Int(entry.offset)
      let instruction = Instruction(encoded: reader.u64(place))
      let target = try relocationTarget(instruction, symbol, entry, functions[index])
      // A 64-bit load has a second slot, which relocating it changes.
      if instruction.isLoadImmediate64 {
        let local = slot - functions[index].instructionOffset
        guard local + 1 < functions[index].instructionCount else {
          throw fail(
            "prog '\(functions[index].name)': insn #\(local) (LDIMM64) is truncated", LoaderErrno.relocation,
            section: code.name, offset: entry.offset)
        }
      }
      functions[index].relocations.append(
        InstructionRelocation(slot: slot - functions[index].instructionOffset, target: target))
    }
  }

  private func relocationTarget(
    _ instruction: Instruction, _ symbol: ELFSymbol, _ entry: ELFRelocation, _ function: ProgramSection
  ) throws(ObjectFileError) -> InstructionRelocation.Target {
    func refuse(_ rule: String) -> ObjectFileError {
      fail(
        "prog '\(function.name)': \(rule)", LoaderErrno.relocation, section: function.sectionName,
        offset: entry.offset)
    }
    let isCall = instruction.opcode == Opcode.call
    guard isCall || instruction.isLoadImmediate64 else {
      throw refuse("invalid relo for code 0x\(String(instruction.opcode, radix: 16))")
    }
    if symbol.isExtern {
      guard let index = externs.firstIndex(where: { $0.symbolIndex == entry.symbol }) else {
        throw refuse("extern relo failed to find extern for symbol \(entry.symbol)")
      }
      return isCall ? .externCall(index) : .externLoad(index)
    }
    if isCall {
      guard instruction.src == Int(PseudoSource.call) else { throw refuse("incorrect bpf_call opcode") }
      guard symbol.section != 0, symbol.section == textSection, symbol.value % 8 == 0 else {
        throw refuse("bad call relo against section \(symbol.section)")
      }
      return .call(symbol: symbol.value)
    }
    guard symbol.section != 0, symbol.section < 0xff00 else {
      throw refuse("invalid relo in special section \(symbol.section); forgot to initialize global var?..")
    }
    if isSubprogram(symbol) {
      guard symbol.value % 8 == 0, instruction.immediate % 8 == 0 else {
        throw refuse("bad subprog addr relo at offset \(symbol.value)+\(instruction.immediate)")
      }
      return .subprogramAddress(symbol: symbol.value)
    }
    return try dataTarget(symbol, refuse)
  }

  private func isSubprogram(_ symbol: ELFSymbol) -> Bool {
    guard symbol.section == textSection else { return false }
    if symbol.binding == ELFSymbol.local && symbol.type == ELFSymbol.sectionType { return true }
    return symbol.isGlobalOrWeak && symbol.type == ELFSymbol.function
  }

  private func dataTarget(
    _ symbol: ELFSymbol, _ refuse: (String) -> ObjectFileError
  ) throws(ObjectFileError) -> InstructionRelocation.Target {
    let section = file.sections[symbol.section]
    if section.index == arenaSection?.index {
      guard let arenaMap else { throw refuse("bad arena data relocation, no arena maps defined") }
      return .data(map: arenaMap, offset: symbol.value)
    }
    let origin: ObjectMap.Origin
    switch roles[section.index] {
    case .data: origin = .data
    case .readOnlyData: origin = .readOnlyData
    case .bss: origin = .bss
    default:
      guard section.index == mapsSection?.index else {
        throw refuse("bad map relo against section '\(section.name)'")
      }
      let index = maps.firstIndex {
        $0.origin == .declared && $0.sectionIndex == section.index && $0.sectionOffset == symbol.value
      }
      guard let index else {
        throw refuse("map relo failed to find map for section '\(section.name)', off \(symbol.value)")
      }
      return .map(index)
    }
    guard let index = maps.firstIndex(where: { $0.origin == origin && $0.sectionIndex == section.index }) else {
      throw refuse("data relo failed to find map for section '\(section.name)'")
    }
    return .data(map: index, offset: symbol.value)
  }

  // MARK: Values of maps

  private mutating func collectMapRelocations(_ entries: [ELFRelocation]) throws(ObjectFileError) {
    guard let btf, mapsTypeID != 0 else { throw fail("relocations without map definitions", section: ".maps") }
    let variables = btf.variables(mapsTypeID)
    for entry in entries {
      let symbol = try symbol(entry, ".rel.maps")
      let name = file.name(of: symbol) ?? "<?>"
      func refuse(_ rule: String, _ errno: Int32 = LoaderErrno.invalid) -> ObjectFileError {
        fail("relo for '\(name)': \(rule)", errno, section: ".maps", offset: entry.offset)
      }
      let (end, overflow) = entry.offset.addingReportingOverflow(8)
      let index = overflow ? nil : maps.firstIndex { map in
        guard map.origin == .declared else { return false }
        let place = variables[map.variableIndex]
        return UInt64(place.offset) <= entry.offset && end <= UInt64(place.offset) + UInt64(place.size)
      }
      guard let index else { throw refuse("cannot find map") }
      switch maps[index].definition.type {
      case .arrayOfMaps, .hashOfMaps:
        guard symbol.section == mapsSection?.index else {
          throw refuse("isn't a BTF-defined map", LoaderErrno.relocation)
        }
        if maps[index].definition.type == .hashOfMaps && maps[index].definition.keySize != ObjectReader.intSize {
          throw refuse("hash-of-maps '\(maps[index].name)' should have key size 4")
        }
        guard maps.contains(where: { $0.name == name }) else {
          throw refuse("isn't a valid map reference", LoaderErrno.noSuchObject)
        }
      case .progArray:
        guard let program = functions.first(where: { !$0.isSubprogram && $0.name == name }) else {
          throw refuse("isn't a valid program reference", LoaderErrno.noSuchObject)
        }
        guard program.sectionIndex == symbol.section, UInt64(program.instructionOffset) * 8 == symbol.value else {
          throw refuse("isn't an entry-point program", LoaderErrno.relocation)
        }
      default: throw refuse("the map takes no initial values")
      }
      let place = variables[maps[index].variableIndex]
      let type = btf.skipModifiers(btf.type(place.typeID).target)
      guard let last = btf.members(type).last, btf.stringEquals(last.nameOffset, "values") else {
        throw refuse("the map has no 'values'")
      }
      let start = UInt64(place.offset) + UInt64(last.bitOffset / 8)
      guard entry.offset >= start, (entry.offset - start) % 8 == 0 else { throw refuse("lies outside 'values'") }
      maps[index].slots.append((index: Int((entry.offset - start) / 8), name: name))
    }
  }

  private mutating func collectStructOpsRelocations(
    _ section: ELFSection, _ entries: [ELFRelocation]
  ) throws(ObjectFileError) {
    guard let btf else { return }
    for entry in entries {
      let symbol = try symbol(entry, section.name)
      func refuse(_ rule: String, _ errno: Int32 = LoaderErrno.invalid) -> ObjectFileError {
        fail("struct_ops reloc: \(rule)", errno, section: section.name, offset: entry.offset)
      }
      let index = maps.firstIndex { map in
        map.origin == .structOps && map.sectionIndex == Int(section.info) && map.sectionOffset <= entry.offset
          && entry.offset - map.sectionOffset < UInt64(map.definition.valueSize)
      }
      guard let index, let type = maps[index].structOps?.typeID else { throw refuse("cannot find map") }
      guard symbol.section < 0xff00 else { throw refuse("unsupported non-static function", LoaderErrno.relocation) }
      guard symbol.value % 8 == 0 else { throw refuse("invalid target program offset", LoaderErrno.format) }
      let place = entry.offset - maps[index].sectionOffset
      let members = btf.members(type)
      guard let member = members.firstIndex(where: { UInt64($0.bitOffset) == place * 8 }) else {
        throw refuse("cannot find member at moff \(place)")
      }
      let name = btf.string(members[member].nameOffset)
      let pointer = btf.type(btf.skipModifiers(members[member].typeID))
      guard pointer.kind == .pointer, btf.kind(btf.skipModifiers(pointer.target)) == .functionPrototype else {
        throw refuse("cannot relocate non func ptr \(name)")
      }
      guard let program = function(section: symbol.section, slot: Int(symbol.value / 8)) else {
        throw refuse("cannot find prog to relocate func ptr \(name)")
      }
      guard functions[program].type == .structOps else {
        throw refuse("prog \(functions[program].name) is not struct_ops BPF program")
      }
      maps[index].structOps?.functions[member] = program
    }
  }
}

extension Instruction {
  /// Decodes eight bytes read as a little-endian number.
  init(encoded word: UInt64) {
    self.init(
      opcode: UInt8(truncatingIfNeeded: word), dst: UInt8(truncatingIfNeeded: word >> 8) & 0xf,
      src: UInt8(truncatingIfNeeded: word >> 12) & 0xf,
      offset: Int16(truncatingIfNeeded: word >> 16), immediate: Int32(truncatingIfNeeded: word >> 32))
  }
}
