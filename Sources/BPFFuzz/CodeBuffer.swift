import BPFISA

/// A register, 0 to 10.
typealias Register = UInt8

/// Instructions on their way, with jumps to places that are not there yet.
struct CodeBuffer {
  struct Label: Hashable {
    let number: Int
  }

  private(set) var instructions: [Instruction] = []
  private var places: [Int] = []
  private var jumps: [(slot: Int, label: Label)] = []

  var count: Int { instructions.count }

  mutating func makeLabel() -> Label {
    places.append(-1)
    return Label(number: places.count - 1)
  }

  /// The label is here.
  mutating func place(_ label: Label) { places[label.number] = instructions.count }

  /// Whether anything jumps there so far.
  func isUsed(_ label: Label) -> Bool { jumps.contains { $0.label == label } }

  func slot(of label: Label) -> Int { places[label.number] }

  mutating func append(_ instruction: Instruction) { instructions.append(instruction) }

  mutating func append(_ instruction: Instruction, to label: Label) {
    jumps.append((instructions.count, label))
    instructions.append(instruction)
  }

  /// The instructions with all jumps and calls resolved.
  func resolved() -> [Instruction] {
    var result = instructions
    for (slot, label) in jumps {
      let distance = places[label.number] - slot - 1
      if result[slot].opcode == Opcode.jaLong || result[slot].isSubprogramCall || result[slot].isSubprogramAddress {
        result[slot].immediate = Int32(truncatingIfNeeded: distance)
      } else {
        result[slot].offset = Int16(truncatingIfNeeded: distance)
      }
    }
    return result
  }

  // MARK: One function an instruction

  mutating func copy(_ to: Register, _ from: Register) {
    append(Instruction(opcode: Opcode.movRegister64, dst: to, src: from))
  }

  mutating func move(_ to: Register, _ value: Int32) {
    append(Instruction(opcode: Class.alu64 | ALU.mov, dst: to, immediate: value))
  }

  mutating func alu(_ operation: UInt8, _ to: Register, _ value: Int32, wide: Bool = true) {
    append(Instruction(opcode: (wide ? Class.alu64 : Class.alu) | operation, dst: to, immediate: value))
  }

  mutating func alu(_ operation: UInt8, _ to: Register, from: Register, wide: Bool = true) {
    append(Instruction(opcode: (wide ? Class.alu64 : Class.alu) | operation | Source.x, dst: to, src: from))
  }

  mutating func load(_ size: UInt8, _ to: Register, _ base: Register, _ offset: Int, signed: Bool = false) {
    append(
      Instruction(
        opcode: Class.ldx | (signed ? Mode.memsx : Mode.mem) | size, dst: to, src: base,
        offset: Int16(truncatingIfNeeded: offset)))
  }

  mutating func store(_ size: UInt8, _ base: Register, _ offset: Int, _ from: Register) {
    append(
      Instruction(
        opcode: Class.stx | Mode.mem | size, dst: base, src: from, offset: Int16(truncatingIfNeeded: offset)))
  }

  mutating func store(_ size: UInt8, _ base: Register, _ offset: Int, value: Int32) {
    append(
      Instruction(
        opcode: Class.st | Mode.mem | size, dst: base, offset: Int16(truncatingIfNeeded: offset), immediate: value))
  }

  mutating func atomic(_ operation: Int32, _ size: UInt8, _ base: Register, _ offset: Int, _ from: Register) {
    append(
      Instruction(
        opcode: Class.stx | Mode.atomic | size, dst: base, src: from, offset: Int16(truncatingIfNeeded: offset),
        immediate: operation))
  }

  mutating func wide(_ to: Register, _ low: Int32, _ high: Int32 = 0, source: UInt8 = 0) {
    append(Instruction(opcode: Opcode.loadImmediate64, dst: to, src: source, immediate: low))
    append(Instruction(opcode: 0, immediate: high))
  }

  mutating func functionAddress(_ to: Register, _ label: Label) {
    append(Instruction(opcode: Opcode.loadImmediate64, dst: to, src: PseudoSource.function), to: label)
    append(Instruction(opcode: 0))
  }

  mutating func jump(_ operation: UInt8, _ left: Register, _ right: Int32, to label: Label, wide: Bool = true) {
    append(
      Instruction(opcode: (wide ? Class.jmp : Class.jmp32) | operation, dst: left, immediate: right), to: label)
  }

  mutating func jump(
    _ operation: UInt8, _ left: Register, with right: Register, to label: Label, wide: Bool = true
  ) {
    append(
      Instruction(opcode: (wide ? Class.jmp : Class.jmp32) | operation | Source.x, dst: left, src: right), to: label)
  }

  mutating func jump(to label: Label, long: Bool = false) {
    append(Instruction(opcode: long ? Opcode.jaLong : Opcode.ja), to: label)
  }

  mutating func mayGoto(_ label: Label) { append(Instruction(opcode: Opcode.mayGoto), to: label) }

  mutating func call(_ helper: Int32) { append(Instruction(opcode: Opcode.call, immediate: helper)) }

  mutating func call(kernelFunction id: Int32) {
    append(Instruction(opcode: Opcode.call, src: PseudoSource.kfuncCall, immediate: id))
  }

  mutating func call(subprogram label: Label) {
    append(Instruction(opcode: Opcode.call, src: PseudoSource.call), to: label)
  }

  mutating func exit() { append(Instruction(opcode: Opcode.exit)) }
}
