import BPFISA
import BPFLinux
import BTF

/// A program while its subprograms are appended and its references filled in.
struct Assembly {
  var instructions: [Instruction] = []
  var functionInfo: [FunctionInfo] = []
  var lineInfo: [LineInfo] = []
  /// Relocations of all parts, by slot in the whole.
  var relocations: [InstructionRelocation] = []
  /// Maps in the order in which instructions first refer to them, by index in the object.
  private(set) var maps: [Int] = []
  private var mapSlots: [Int: Int32] = [:]

  private mutating func reference(_ map: Int) -> Int32 {
    if let slot = mapSlots[map] { return slot }
    let slot = Int32(truncatingIfNeeded: maps.count)
    maps.append(map)
    mapSlots[map] = slot
    return slot
  }

  /// Fills in maps, global data, and what the kernel defines.
  mutating func relocateData(_ linker: Linker) throws(LinkError) {
    for relocation in relocations {
      let slot = relocation.slot
      switch relocation.target {
      case .map(let map):
        refer(slot, map, PseudoSource.mapFD, linker)
      case .data(let map, let offset):
        guard slot + 1 < instructions.count else { continue }
        instructions[slot + 1].immediate =
          instructions[slot].immediate &+ Int32(truncatingIfNeeded: offset)
        refer(slot, map, PseudoSource.mapValue, linker)
      case .externLoad(let index):
        loadExtern(slot, linker.externs[index], linker)
      case .externCall(let index):
        if let id = linker.externs[index].kernelTypeID {
          instructions[slot].registers = PseudoSource.kfuncCall << 4 | instructions[slot].registers & 0xf
          instructions[slot].immediate = Int32(bitPattern: id)
          instructions[slot].offset = 0
        } else {
          // A weak function that the kernel lacks: a call that the verifier refuses, should it be reached.
          instructions[slot] = Assembly.invalidCall(2_002_000_000 &+ Int32(truncatingIfNeeded: index))
        }
      case .subprogramAddress:
        guard instructions[slot].src == Int(PseudoSource.function) else {
          throw LinkError(errno: LoaderErrno.invalid, message: "relo of insn #\(slot): bad insn")
        }
      case .call:
        break
      }
    }
  }

  private mutating func refer(_ slot: Int, _ map: Int, _ source: UInt8, _ linker: Linker) {
    guard linker.object.maps[map].autocreate else {
      let call = Assembly.invalidCall(2_001_000_000 &+ Int32(truncatingIfNeeded: map))
      instructions[slot] = call
      if slot + 1 < instructions.count { instructions[slot + 1] = call }
      return
    }
    setSource(slot, source)
    instructions[slot].immediate = reference(map)
  }

  private mutating func setSource(_ slot: Int, _ source: UInt8) {
    instructions[slot].registers = source << 4 | instructions[slot].registers & 0xf
  }

  private mutating func loadExtern(_ slot: Int, _ extern: ResolvedExtern, _ linker: Linker) {
    guard slot + 1 < instructions.count else { return }
    if let offset = extern.configurationOffset, let map = linker.object.kconfigMap {
      setSource(slot, PseudoSource.mapValue)
      instructions[slot].immediate = reference(map)
      instructions[slot + 1].immediate = Int32(bitPattern: offset)
    } else if extern.isTyped && extern.isSet {
      setSource(slot, PseudoSource.btfID)
      instructions[slot].immediate = Int32(bitPattern: extern.kernelTypeID ?? 0)
      instructions[slot + 1].immediate = 0
    } else {
      instructions[slot].immediate = Int32(truncatingIfNeeded: extern.address)
      instructions[slot + 1].immediate = Int32(truncatingIfNeeded: extern.address >> 32)
    }
  }

  private static func invalidCall(_ number: Int32) -> Instruction {
    Instruction(opcode: Opcode.call, immediate: number)
  }
}

/// Function records of one ELF section.
struct FunctionRecords: Sendable {
  let records: [BTFFunctionInfo]
}

/// Line records of one ELF section.
struct LineRecords: Sendable {
  let records: [BTFLineInfo]
  /// By rising instruction, which lets a search begin in the middle.
  let isSorted: Bool
}

extension Linker {
  /// More instructions than any kernel takes; a bound on what a hostile object can make of its subprograms.
  private static let instructionLimit = 1 << 22

  static func records(_ object: ObjectFile) -> ([Int: FunctionRecords], [Int: LineRecords]) {
    var functions: [Int: FunctionRecords] = [:]
    var lines: [Int: LineRecords] = [:]
    for section in object.extensions?.functions ?? [] {
      guard let index = object.sectionIndices[section.name], functions[index] == nil else { continue }
      functions[index] = FunctionRecords(records: section.records)
    }
    for section in object.extensions?.lines ?? [] {
      guard let index = object.sectionIndices[section.name], lines[index] == nil else { continue }
      let isSorted = zip(section.records, section.records.dropFirst()).allSatisfy { $0.insnOffset <= $1.insnOffset }
      lines[index] = LineRecords(records: section.records, isSorted: isSorted)
    }
    return (functions, lines)
  }

  /// Which function's exceptions go to which global function, as declaration tags say.
  static func exceptionCallbacks(_ object: ObjectFile) -> [(function: TypeID, callback: String)] {
    guard let btf = object.btf else { return [] }
    let prefix = "exception_callback:"
    var result: [(function: TypeID, callback: String)] = []
    for id in btf.startID..<btf.endID where btf.kind(id) == .declTag && btf.declTagComponent(id) == -1 {
      let tag = btf.name(id)
      if tag.hasPrefix(prefix) {
        result.append((function: btf.type(id).target, callback: String(tag.dropFirst(prefix.count))))
      }
    }
    return result
  }

  /// The instructions of a function as the compiler wrote them.
  func code(of index: Int) -> [Instruction] {
    let function = object.functions[index]
    return object.image.withUnsafeBytes { bytes in
      (0..<function.instructionCount).map { slot in
        let place = function.imageOffset + slot * 8
        guard place + 8 <= bytes.count else { return Instruction(opcode: 0) }
        return Instruction(encoded: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)))
      }
    }
  }

  /// Appends to an entry program every subprogram that it calls or points to, depth first, and aims the calls.
  func assemble(_ index: Int, _ code: [Int: [Instruction]]) throws(LinkError) -> Assembly {
    var assembly = Assembly()
    var starts: [Int: Int] = [:]
    try appendParts(from: index, &assembly, &starts, code)
    if let callback = try exceptionCallback(of: index), starts[callback] == nil {
      try appendParts(from: callback, &assembly, &starts, code)
    }
    return assembly
  }

  private func appendParts(
    from root: Int, _ assembly: inout Assembly, _ starts: inout [Int: Int], _ code: [Int: [Instruction]]
  ) throws(LinkError) {
    let main = assembly.instructions.isEmpty ? root : nil
    var pending: [(function: Int, slot: Int)] = []
    pending.append((try append(root, isMain: main == root, &assembly, &starts, code), 0))
    while let (index, first) = pending.popLast() {
      let function = object.functions[index]
      let start = starts[index] ?? 0
      var slot = first
      while slot < function.instructionCount {
        guard let callee = try callee(index, slot, assembly.instructions[start + slot]) else {
          slot += 1
          continue
        }
        let isNew = starts[callee] == nil
        if isNew { _ = try append(callee, isMain: false, &assembly, &starts, code) }
        assembly.instructions[start + slot].immediate = Int32(
          truncatingIfNeeded: (starts[callee] ?? 0) - (start + slot) - 1)
        slot += 1
        if isNew {
          pending.append((index, slot))
          pending.append((callee, 0))
          break
        }
      }
    }
  }

  private func append(
    _ index: Int, isMain: Bool, _ assembly: inout Assembly, _ starts: inout [Int: Int],
    _ code: [Int: [Instruction]]
  ) throws(LinkError) -> Int {
    let function = object.functions[index]
    let start = assembly.instructions.count
    guard start + function.instructionCount <= Linker.instructionLimit else {
      throw LinkError(errno: LoaderErrno.tooBig, message: "prog '\(function.name)': too many instructions")
    }
    starts[index] = start
    var body = code[index] ?? self.code(of: index)
    for relocation in function.relocations {
      // Loads of a subprogram's address are told apart from other loads by their source.
      if case .subprogramAddress = relocation.target {
        body[relocation.slot].registers = PseudoSource.function << 4 | body[relocation.slot].registers & 0xf
      }
      var moved = relocation
      moved.slot += start
      assembly.relocations.append(moved)
    }
    assembly.instructions += body
    try appendRecords(function, at: start, isMain: isMain, &assembly)
    return index
  }

  /// The subprogram that an instruction calls or points to; nil if it does neither.
  private func callee(_ index: Int, _ slot: Int, _ instruction: Instruction) throws(LinkError) -> Int? {
    let function = object.functions[index]
    let isCall = instruction.isSubprogramCall && instruction.dst == 0 && instruction.offset == 0
    let isAddress = instruction.isSubprogramAddress
    guard isCall || isAddress else { return nil }
    func refuse(_ rule: String) -> LinkError {
      LinkError(errno: LoaderErrno.relocation, message: "prog '\(function.name)': \(rule)")
    }
    let target: Int
    switch function.relocation(at: slot)?.target {
    case .externCall:
      return nil
    case .call(let symbol):
      target = Int(Int32(truncatingIfNeeded: symbol) / 8 &+ instruction.immediate &+ 1)
    case .subprogramAddress(let symbol):
      target = Int((Int32(truncatingIfNeeded: symbol) &+ instruction.immediate) / 8)
    case .map, .data, .externLoad:
      throw refuse("unexpected relo for insn #\(slot)")
    case nil:
      guard !isAddress else { throw refuse("missing subprog addr relo for insn #\(slot)") }
      // A static function of the same section: the distance is right as it stands.
      target = function.instructionOffset + slot + Int(instruction.immediate) + 1
    }
    let callee = ObjectReader.function(in: object.functions, section: object.textSection, slot: target)
    guard let callee, object.textSection != 0 else {
      throw refuse("no .text section found yet sub-program call exists")
    }
    return callee
  }

  /// The global function that takes a program's exceptions; nil if none, or several, are named.
  private func exceptionCallback(of index: Int) throws(LinkError) -> Int? {
    let name = object.functions[index].name
    func refuse(_ errno: Int32, _ rule: String) -> LinkError {
      LinkError(errno: errno, message: "prog '\(name)': \(rule)")
    }
    var found: Int?
    for (type, callback) in exceptionCallbacks {
      guard let btf = object.btf, btf.kind(type) == .function, btf.functionLinkage(type) == 1 else {
        throw refuse(LoaderErrno.invalid, "exception_callback:<value> decl tag not applied to the main program")
      }
      guard btf.name(type) == name else { continue }
      // The verifier reports programs with several callbacks.
      if found != nil { return nil }
      guard !callback.isEmpty else {
        throw refuse(LoaderErrno.invalid, "exception_callback:<value> decl tag contains empty value")
      }
      found = object.functions.firstIndex { $0.isSubprogram && $0.name == callback }
      guard let found else { throw refuse(LoaderErrno.noEntry, "cannot find exception callback '\(callback)'") }
      guard object.functions[found].isGlobal, !object.functions[found].isHidden else {
        throw refuse(
          LoaderErrno.invalid, "exception callback \(callback) must be a global non-hidden function")
      }
    }
    return found
  }

  // MARK: Function and line information

  private func appendRecords(
    _ function: ProgramSection, at start: Int, isMain: Bool, _ assembly: inout Assembly
  ) throws(LinkError) {
    guard object.extensions != nil else { return }
    let adjustment = start - function.instructionOffset
    func missing(_ what: String) -> LinkError {
      LinkError(errno: LoaderErrno.noEntry, message: "prog '\(function.name)': missing .BTF.ext \(what) info.")
    }
    func moved(_ offset: UInt32) -> UInt32 { UInt32(truncatingIfNeeded: Int(offset / 8) + adjustment) }
    if isMain || !assembly.functionInfo.isEmpty {
      let records = functionRecords[function.sectionIndex]?.records ?? []
      let range = Linker.range(of: function, in: records, from: 0, \.insnOffset)
      guard !range.isEmpty || isMain else { throw missing("function") }
      for record in records[range] {
        assembly.functionInfo.append(
          FunctionInfo(instructionOffset: moved(record.insnOffset), typeID: record.typeID))
      }
    }
    if isMain || !assembly.lineInfo.isEmpty {
      let lines = lineRecords[function.sectionIndex]
      let records = lines?.records ?? []
      let first = lines?.isSorted == true ? Linker.lowerBound(of: function, in: records) : 0
      let range = Linker.range(of: function, in: records, from: first, \.insnOffset)
      guard !range.isEmpty || isMain else { throw missing("line") }
      for record in records[range] {
        assembly.lineInfo.append(
          LineInfo(
            instructionOffset: moved(record.insnOffset), fileNameOffset: record.fileNameOffset,
            lineOffset: record.lineOffset, lineColumn: record.lineColumn))
      }
    }
  }

  /// From the first record of a function to the last before one of a later function.
  private static func range<Record>(
    of function: ProgramSection, in records: [Record], from first: Int, _ offset: (Record) -> UInt32
  ) -> Range<Int> {
    let end = function.instructionOffset + function.instructionCount
    var start: Int?
    var last = first
    for index in first..<records.count {
      let slot = Int(offset(records[index]) / 8)
      if slot < function.instructionOffset { continue }
      if slot >= end { break }
      start = start ?? index
      last = index + 1
    }
    guard let start else { return 0..<0 }
    return start..<last
  }

  private static func lowerBound(of function: ProgramSection, in records: [BTFLineInfo]) -> Int {
    var low = 0
    var high = records.count
    while low < high {
      let middle = low + (high - low) / 2
      if Int(records[middle].insnOffset / 8) < function.instructionOffset {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }
}

extension ProgramSection {
  /// The relocation of an instruction, by slot in the function.
  func relocation(at slot: Int) -> InstructionRelocation? {
    var low = 0
    var high = relocations.count
    while low < high {
      let middle = low + (high - low) / 2
      if relocations[middle].slot < slot { low = middle + 1 } else { high = middle }
    }
    return low < relocations.count && relocations[low].slot == slot ? relocations[low] : nil
  }
}
