import BPFISA

/// Numbers: arithmetic, moves, comparisons.
extension ProgramGenerator {
  private static let operations = [
    ALU.add, ALU.add, ALU.add, ALU.sub, ALU.sub, ALU.mul, ALU.div, ALU.or, ALU.and, ALU.and, ALU.lsh, ALU.rsh,
    ALU.arsh, ALU.mod, ALU.xor,
  ]

  private static let comparisons = [
    Jump.jeq, Jump.jeq, Jump.jne, Jump.jne, Jump.jgt, Jump.jge, Jump.jlt, Jump.jle, Jump.jsgt, Jump.jsge, Jump.jslt,
    Jump.jsle, Jump.jset,
  ]

  mutating func arithmetic() {
    let target = ownScalar()
    let wide = random.chance(60)
    var limit: Int?
    switch random.below(20) {
    case 0..<9:
      let operation = random.pick(Self.operations, or: ALU.add)
      var value = immediate()
      switch operation {
      case ALU.lsh, ALU.rsh, ALU.arsh: value = Int32(random.below(errs() ? 80 : wide ? 64 : 32))
      case ALU.div, ALU.mod: if value == 0 && !errs() { value = 3 }
      default: break
      }
      var instruction = Instruction(
        opcode: (wide ? Class.alu64 : Class.alu) | operation, dst: target, immediate: value)
      if (operation == ALU.div || operation == ALU.mod) && random.chance(40) { instruction.offset = 1 }
      code.append(instruction)
      if operation == ALU.and && value >= 0 { limit = Int(value) }
    case 9..<15:
      let source = anyScalar()
      let operation = random.pick(Self.operations, or: ALU.add)
      var instruction = Instruction(
        opcode: (wide ? Class.alu64 : Class.alu) | operation | Source.x, dst: target, src: source)
      if (operation == ALU.div || operation == ALU.mod) && random.chance(40) { instruction.offset = 1 }
      code.append(instruction)
    case 15:
      code.append(Instruction(opcode: (wide ? Class.alu64 : Class.alu) | ALU.neg, dst: target))
    case 16:
      let width = random.pick([16, 32, 64] as [Int32], or: 16)
      let kind = random.below(3)
      code.append(
        Instruction(
          opcode: (kind == 2 ? Class.alu64 : Class.alu) | ALU.end | (kind == 1 ? Source.x : Source.k), dst: target,
          immediate: width))
    case 17..<19:
      let mask = random.pick(InterestingNumber.masks, or: 7)
      code.alu(ALU.and, target, mask, wide: wide)
      limit = Int(mask)
    default:
      let bits = Int32(random.within(1...(wide ? 63 : 31)))
      code.alu(ALU.lsh, target, bits, wide: wide)
      code.alu(random.chance(50) ? ALU.rsh : ALU.arsh, target, bits, wide: wide)
    }
    set(target, .scalar(limit: limit))
  }

  mutating func move() {
    let target = destination()
    switch random.below(10) {
    case 0..<4:
      guard let source = register(where: { $0 != .nothing }) else { return arithmetic() }
      code.copy(target, source)
      set(target, frame.registers[Int(source)])
    case 4:
      code.alu(ALU.mov, target, from: anyScalar(), wide: false)
      set(target, .scalar(limit: nil))
    case 5..<7:
      let wide = random.chance(60)
      let width = random.pick(wide ? [8, 16, 32] : [8, 16] as [Int16], or: 8)
      let source = anyScalar()
      code.append(
        Instruction(
          opcode: (wide ? Class.alu64 : Class.alu) | ALU.mov | Source.x, dst: target, src: source, offset: width))
      set(target, .scalar(limit: nil))
    default:
      scalar(into: target, mayCall: true)
    }
  }

  /// Two registers that hold the same, or the same and a constant, one of which is then bounded.
  mutating func correlate() {
    let source = anyScalar()
    let target = destination()
    guard target != source else { return }
    let wide = random.chance(70)
    code.alu(ALU.mov, target, from: source, wide: wide)
    set(target, .scalar(limit: nil))
    if random.chance(60) { code.alu(ALU.add, target, Int32(random.within(-64...64)), wide: random.chance(70)) }
    let bound = Int32(random.within(1...60))
    let tested = random.chance(50) ? source : target
    let bounded = code.makeLabel()
    code.jump(random.chance(50) ? Jump.jlt : Jump.jslt, tested, bound, to: bounded, wide: random.chance(60))
    if random.chance(60) {
      code.jump(to: leave)
    } else {
      code.move(tested, 0)
      if tested != target { code.move(target, 0) }
    }
    code.place(bounded)
    set(tested, .scalar(limit: Int(bound)))
    set(target, .scalar(limit: nil))
    // A use that takes the bound.
    if let base = register(where: { ($0.reach ?? 0) >= 8 }), base != target, target != 0 {
      let sum = destination()
      guard sum != target, sum != base, sum != source else { return }
      code.copy(sum, base)
      code.alu(ALU.add, sum, from: target)
      set(sum, .nothing)
      code.load(Size.b, destination(), sum, 0)
    }
  }

  /// `if … { … } else { … }`, or a way out.
  mutating func conditional(within length: Int) {
    let otherwise = code.makeLabel()
    let wide = random.chance(65)
    let comparison = random.pick(Self.comparisons, or: Jump.jeq)
    if random.chance(6), let pointer = register(where: { $0 != .nothing && !$0.isScalar }) {
      code.jump(random.chance(50) ? Jump.jeq : Jump.jne, pointer, 0, to: otherwise, wide: wide || random.chance(60))
    } else if random.chance(65) {
      code.jump(comparison, anyScalar(), immediate(), to: otherwise, wide: wide)
    } else {
      let left = anyScalar()
      code.jump(comparison, left, with: anyScalar(), to: otherwise, wide: wide)
    }
    branches(otherwise, within: length)
  }

  /// What stands between a jump to `otherwise` and where both ways meet.
  mutating func branches(_ otherwise: CodeBuffer.Label, within length: Int) {
    nesting += 1
    defer { nesting -= 1 }
    let before = frame
    switch random.below(10) {
    case 0..<2:
      if random.chance(60) { block(random.within(1...3)) }
      code.jump(to: leave, long: random.chance(8))
      frame = before
      code.place(otherwise)
    case 2..<6:
      block(random.within(1...max(2, min(length / 2, 12))))
      code.place(otherwise)
      frame.join(before)
    default:
      let meet = code.makeLabel()
      block(random.within(1...max(2, min(length / 3, 10))))
      let first = frame
      code.jump(to: meet, long: random.chance(8))
      code.place(otherwise)
      frame = before
      block(random.within(1...max(2, min(length / 3, 10))))
      code.place(meet)
      frame.join(first)
    }
    frame.heldRegisters = before.heldRegisters
    frame.heldSlots = before.heldSlots
  }

  mutating func loop(within length: Int) {
    nesting += 1
    loops += 1
    defer {
      nesting -= 1
      loops -= 1
    }
    let kind = random.below(4)
    let counter = longLivedDestination()
    guard !frame.heldRegisters.contains(counter) || kind == 3 else { return }
    let top = code.makeLabel()
    let done = code.makeLabel()
    let before: FrameBelief
    if kind == 3 {
      before = frame
      code.place(top)
      code.mayGoto(done)
      block(random.within(2...max(3, min(length / 3, 10))))
      code.jump(to: top)
      code.place(done)
      frame.join(before)
      return
    }
    code.move(counter, kind == 2 ? Int32(random.within(2...7)) : 0)
    set(counter, .scalar(limit: 10))
    before = frame
    code.place(top)
    hold(counter) { generator in
      generator.block(generator.random.within(2...max(3, min(length / 3, 9))))
    }
    let rounds = Int32(random.within(1...(loops > 1 ? 3 : random.chance(15) ? 12 : 5)))
    switch kind {
    case 0:
      code.alu(ALU.add, counter, 1)
      code.jump(
        random.pick([Jump.jlt, Jump.jslt, Jump.jne], or: Jump.jlt), counter, rounds, to: top, wide: random.chance(70))
    case 1:
      code.alu(ALU.add, counter, 1)
      if random.chance(50), let bound = register(where: { $0.isScalar && $0 != .scalar(limit: nil) }),
        bound != counter
      {
        code.jump(Jump.jgt, counter, rounds, to: done)
        code.jump(Jump.jlt, counter, with: bound, to: top)
      } else {
        code.jump(Jump.jge, counter, rounds, to: done)
        code.jump(to: top)
      }
    default:
      code.alu(ALU.add, counter, -1)
      code.jump(random.chance(10) ? Jump.jne : Jump.jsgt, counter, 0, to: top)
    }
    code.place(done)
    frame.join(before)
    set(counter, .scalar(limit: Int(rounds)))
  }
}
