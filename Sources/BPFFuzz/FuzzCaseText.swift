import BPFISA
import BPFLinux

extension FuzzCase {
  /// The case as a golden case has it, without an answer: header and program.
  public var goldenText: String {
    var lines = ["# Random program of seed \(seed)\(isFlawless ? ", meant to be accepted" : "")."]
    lines.append("type: \(program.type.name)")
    if program.expectedAttachType != .none { lines.append("attach: \(program.expectedAttachType.name)") }
    let flags = FuzzCase.flagNames.filter { program.flags.contains($0.0) }.map(\.1)
    if !flags.isEmpty { lines.append("flags: \(flags.joined(separator: " "))") }
    if capabilities != .all {
      let names = FuzzCase.capabilityNames.filter { capabilities.contains($0.0) }.map(\.1)
      lines.append("caps: \(names.isEmpty ? "none" : names.joined(separator: " "))")
    }
    if let target { lines.append("target: \(target)") }
    if program.instructions.contains(where: \.isKfuncCall) || target != nil { lines.append("needs: kernel-types") }
    let used = usedMaps()
    if used.contains(where: { program.maps[$0].valueTypeID != 0 }) || !program.functionInfo.isEmpty {
      lines += FuzzTypes.structs.map { "struct: \($0)" }
    }
    for index in used.sorted() where program.maps.indices.contains(index) { lines += mapLines(index) }
    let labels = functionLabels()
    if !program.functionInfo.isEmpty {
      for record in program.functionInfo {
        let label = labels[Int(record.instructionOffset)] ?? "main"
        lines.append("func: \(FuzzTypes.declaration(label))")
      }
    }
    lines += ["", "=== program"]
    lines += programLines(labels)
    return lines.joined(separator: "\n") + "\n"
  }

  private static let flagNames: [(ProgramFlags, String)] = [
    (.strictAlignment, "strict_alignment"), (.anyAlignment, "any_alignment"), (.testRandomHigh32, "test_rnd_hi32"),
    (.testStateFrequency, "test_state_freq"), (.sleepable, "sleepable"), (.testRegisterInvariants,
      "test_reg_invariants"),
  ]

  private static let capabilityNames: [(Capabilities, String)] = [
    (.bpf, "bpf"), (.perfmon, "perfmon"), (.netAdmin, "net_admin"), (.sysAdmin, "sys_admin"),
  ]

  private func usedMaps() -> Set<Int> {
    var used: Set<Int> = []
    for instruction in program.instructions where instruction.isLoadImmediate64 {
      let source = UInt8(truncatingIfNeeded: instruction.src)
      guard source == PseudoSource.mapFD || source == PseudoSource.mapValue else { continue }
      if program.maps.indices.contains(Int(instruction.immediate)) { used.insert(Int(instruction.immediate)) }
    }
    return used
  }

  private func mapLines(_ index: Int) -> [String] {
    let map = program.maps[index]
    var lines: [String] = []
    if let inner = map.inner.first {
      lines.append("map: inner_\(inner.name) \(FuzzCase.shape(inner))")
    }
    var line = "map: \(map.name) \(FuzzCase.shape(map))"
    if let inner = map.inner.first { line += " inner=inner_\(inner.name)" }
    if map.valueTypeID != 0 {
      line += " types=\(map.name)"
    }
    if !map.initialValue.isEmpty {
      let digits = Array("0123456789abcdef")
      line += " data=" + String(map.initialValue.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
    if map.frozen { line += " frozen" }
    return lines + [line]
  }

  private static func shape(_ map: MapDefinition) -> String {
    var text = "\(map.type.name) key=\(map.keySize) value=\(map.valueSize) entries=\(map.maxEntries)"
    if map.flags.rawValue != 0 { text += " flags=\(map.flags.rawValue)" }
    return text
  }

  /// By slot, what is called there.
  private func functionLabels() -> [Int: String] {
    var labels: [Int: String] = [:]
    for (slot, instruction) in program.instructions.enumerated()
    where instruction.isSubprogramCall || instruction.isSubprogramAddress {
      let target = slot + 1 + Int(instruction.immediate)
      labels[target] = "function\(target)"
    }
    for record in program.functionInfo {
      labels[Int(record.instructionOffset)] = program.btf.map { $0.string($0.type(record.typeID).nameOffset) }
    }
    labels[0] = nil
    return labels
  }

  private func programLines(_ labels: [Int: String]) -> [String] {
    var lines: [String] = []
    let disassembler = Disassembler(helperName: { HelperID(rawValue: $0).name })
    let instructions = program.instructions
    var slot = 0
    while slot < instructions.count {
      let instruction = instructions[slot]
      if let label = labels[slot] { lines.append("\(label):") }
      let next = slot + 1 < instructions.count ? instructions[slot + 1] : nil
      if instruction.isLoadImmediate64, let next {
        let map = Int(instruction.immediate)
        switch UInt8(truncatingIfNeeded: instruction.src) {
        case PseudoSource.mapFD where program.maps.indices.contains(map) && next.immediate == 0:
          lines.append("  r\(instruction.dst) = \(program.maps[map].name) ll")
        case PseudoSource.mapValue where program.maps.indices.contains(map):
          lines.append("  r\(instruction.dst) = \(program.maps[map].name)[\(next.immediate)] ll")
        case PseudoSource.function:
          lines.append("  r\(instruction.dst) = \(labels[slot + 1 + map] ?? "main") ll")
        case 0:
          let low = UInt64(UInt32(bitPattern: instruction.immediate))
          let value = UInt64(UInt32(bitPattern: next.immediate)) << 32 | low
          lines.append("  r\(instruction.dst) = 0x\(String(value, radix: 16)) ll")
        default: lines += [raw(instruction), raw(next)]
        }
        slot += 2
        continue
      }
      if instruction.isKfuncCall, instruction.offset == 0, let name = functionNames[instruction.immediate] {
        lines.append("  call \(name)")
      } else if let name = structName(instruction, next) {
        lines.append("  r\(instruction.dst) = typeid_\(name)")
      } else {
        lines.append(FuzzCase.text(instruction, disassembler) ?? raw(instruction))
      }
      slot += 1
    }
    return lines
  }

  /// The struct whose number a program gives to what makes objects of it.
  private func structName(_ instruction: Instruction, _ next: Instruction?) -> String? {
    guard let next, next.isKfuncCall, functionNames[next.immediate] == "bpf_obj_new_impl", let btf = program.btf,
      instruction.opcode == Class.alu64 | ALU.mov, instruction.dst == 1, instruction.immediate > 0
    else { return nil }
    let id = UInt32(bitPattern: instruction.immediate)
    return btf.isValid(id) && btf.kind(id) == .structure ? btf.name(id) : nil
  }

  /// The instruction's text, if it means the same when read again.
  private static func text(_ instruction: Instruction, _ disassembler: Disassembler) -> String? {
    let bytes = disassembler.text(instruction)
    guard let close = bytes.firstIndex(of: ")") else { return nil }
    var text = bytes[bytes.index(after: close)...].drop { $0 == " " }
    while text.last == "\n" { text = text.dropLast() }
    if instruction.isSubprogramCall { return "  \(text)" }
    // Helpers are called by name.
    if instruction.isHelperCall, let hash = text.lastIndex(of: "#") { text = text[..<hash] }
    let assembler = Assembler(callTarget: { name in
      (1..<HelperID.end).first { HelperID(rawValue: $0).name == name }.map { .helper($0) }
    })
    guard let again = try? assembler.assemble(String(text)), again == [instruction] else { return nil }
    return "  \(text)"
  }

  private func raw(_ instruction: Instruction) -> String {
    let value = UInt64(instruction.opcode) | UInt64(instruction.registers) << 8
      | UInt64(UInt16(bitPattern: instruction.offset)) << 16 | UInt64(UInt32(bitPattern: instruction.immediate)) << 32
    return "  .8byte 0x\(String(value, radix: 16))"
  }
}
