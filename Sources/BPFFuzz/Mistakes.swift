import BPFISA

/// What the verifier is there to refuse.
extension ProgramGenerator {
  mutating func mistake() {
    let pointer = register(where: { $0 != .nothing && !$0.isScalar })
    switch random.below(20) {
    case 0: code.copy(destination(), Register(random.below(10)))
    case 1:
      if let pointer { code.alu(random.pick([ALU.mul, ALU.and, ALU.lsh, ALU.xor, ALU.sub], or: ALU.mul), pointer, 8) }
    case 2:
      if let pointer { code.alu(ALU.add, pointer, from: anyScalar()) }
    case 3:
      if let pointer { code.alu(ALU.add, pointer, immediate(), wide: random.chance(50)) }
    case 4: code.load(random.pick([Size.b, Size.w, Size.dw], or: Size.b), destination(), 10, random.within(-530...8))
    case 5: code.store(random.pick([Size.b, Size.w, Size.dw], or: Size.b), 10, random.within(-530...8), value: 0)
    case 6:
      if let context = register(where: { $0 == .context }) {
        code.load(
          random.pick([Size.b, Size.h, Size.w, Size.dw], or: Size.w), destination(), context, random.within(-4...260))
      }
    case 7:
      if let context = register(where: { $0 == .context }) {
        code.store(Size.w, context, random.below(200), anyScalar())
      }
    case 8: code.call(Int32(random.within(0...215)))
    case 9: code.append(Instruction(opcode: UInt8(truncatingIfNeeded: random.next()), dst: 1, src: 2, immediate: 1))
    case 10: code.jump(Jump.jset, anyScalar(), 1, to: leave)
    case 11: code.load(Size.dw, destination(), anyScalar(), 0)
    case 12:
      if let pointer { code.store(Size.dw, pointer, random.within(-16...80), anyScalar()) }
    case 13:
      if let pointer, let other = register(where: { $0 != .nothing && !$0.isScalar }) {
        code.alu(random.chance(50) ? ALU.sub : ALU.add, pointer, from: other, wide: random.chance(80))
      }
    case 14: code.wide(destination(), Int32(random.within(-1...16)), source: random.pick([0, 1, 2, 3, 4, 7], or: 1))
    case 15: code.alu(ALU.add, 10, immediate())
    case 16:
      code.jump(
        random.pick([Jump.jgt, Jump.jset, Jump.jslt], or: Jump.jgt), pointer ?? 10, immediate(), to: leave,
        wide: random.chance(70))
    case 17:
      if let pointer {
        code.atomic(Int32(random.pick([0, 1, 0x10, 0xe0, 0xf1, 0x100], or: 0)), Size.dw, pointer, 0, anyScalar())
      }
    case 18:
      code.append(
        Instruction(
          opcode: Class.alu64 | ALU.mov | Source.x, dst: destination(), src: Register(random.below(11)),
          offset: Int16(random.below(40)), immediate: Int32(random.below(3))))
    default:
      let slot = random.below(16)
      code.copy(1, 10)
      code.alu(ALU.add, 1, Int32(-8 * slot - random.below(8)))
      code.move(2, Int32(random.within(-1...64)))
      code.call(16)
      called(.scalar(limit: nil))
    }
  }
}
