import BPFISA
import BPFLinux

/// Random programs that mean something: arithmetic, branches that tell of registers and of each other, stack, map
/// values, packets, subprograms, short loops.
///
/// Between any two pieces r0 … r9 hold numbers and every slot in use was written, so that a jump may lead to the
/// start of any piece further on. Most of the programs are accepted.
struct ProgramGenerator {
  private var random: RandomNumbers
  private var code: [Instruction] = []
  private let isXDP: Bool
  /// Where a pointer to the map's value, and one to the packet, are kept.
  private static let valueSlot: Int16 = -8
  private static let packetSlot: Int16 = -16
  private static let packetEndSlot: Int16 = -88
  /// Slots of numbers: fp-24 and the seven below it.
  private static let dataTop = 24
  private static let dataSlots = 8
  private static let lowest = -Int32(16 + 8 * dataSlots)
  private static let valueSize = 48
  private var calls: [Int] = []
  /// Whether something is in it that is safe on one of the ways to it only, or seems so: most of these are refused.
  private var gambles = false

  private init(seed: UInt64) {
    random = RandomNumbers(seed: seed)
    isXDP = random.chance(1, in: 3)
  }

  static func program(seed: UInt64) -> (program: Program, gambles: Bool) {
    var generator = ProgramGenerator(seed: seed)
    generator.generate()
    var program = Program(
      name: "random", type: generator.isXDP ? .xdp : .socketFilter,
      expectedAttachType: generator.isXDP ? .xdp : .none, instructions: generator.code)
    program.maps = [
      MapDefinition(name: "array", type: .array, keySize: 4, valueSize: UInt32(valueSize), maxEntries: 4)
    ]
    // Checkpoints wherever there may be one, so that more is pruned.
    if generator.random.chance(1, in: 2) { program.flags = .testStateFrequency }
    return (program, generator.gambles)
  }

  // MARK: instructions

  private mutating func emit(
    _ opcode: UInt8, _ dst: Int = 0, _ src: Int = 0, _ offset: Int16 = 0, _ immediate: Int32 = 0
  ) {
    code.append(
      Instruction(opcode: opcode, dst: UInt8(dst), src: UInt8(src), offset: offset, immediate: immediate))
  }

  private mutating func move(_ dst: Int, from src: Int) { emit(Class.alu64 | ALU.mov | Source.x, dst, src) }
  private mutating func move(_ dst: Int, _ value: Int32) { emit(Class.alu64 | ALU.mov, dst, 0, 0, value) }

  private mutating func constant() -> Int32 { Int32(truncatingIfNeeded: random.interesting()) }
  /// A register whose value lasts.
  private mutating func saved() -> Int { 6 + random.below(4) }
  private mutating func any() -> Int { random.below(10) }
  private mutating func width() -> UInt8 { random.pick([Size.b, Size.h, Size.w, Size.dw]) }
  private mutating func aluClass() -> UInt8 { random.chance(2, in: 3) ? Class.alu64 : Class.alu }

  private static let comparisons: [UInt8] = [
    Jump.jeq, Jump.jne, Jump.jset, Jump.jgt, Jump.jge, Jump.jlt, Jump.jle, Jump.jsgt, Jump.jsge, Jump.jslt, Jump.jsle,
  ]

  private func bytes(_ size: UInt8) -> Int { Instruction(opcode: size).accessSize }

  // MARK: the whole

  private mutating func generate() {
    prologue()
    var starts: [Int] = []
    var jumps: [(at: Int, piece: Int, ahead: Int)] = []
    let pieces = 8 + random.below(20)
    gambles = random.chance(1, in: 5)
    let gambleAt = random.below(pieces)
    for piece in 0..<pieces {
      starts.append(code.count)
      if gambles && piece == gambleAt {
        gamble()
      } else if random.chance(3, in: 10) {
        jumps.append((code.count, piece, 2 + random.below(5)))
        branch()
      } else {
        self.piece()
      }
    }
    let end = code.count
    for jump in jumps {
      let target = jump.piece + jump.ahead < pieces ? starts[jump.piece + jump.ahead] : end
      code[jump.at].offset = Int16(target - jump.at - 1)
    }
    move(0, isXDP ? 2 : 0)
    emit(Opcode.exit)
    if !calls.isEmpty { function() }
  }

  private mutating func prologue() {
    move(6, from: 1)
    for slot in 0..<Self.dataSlots {
      emit(Class.st | Mode.mem | Size.dw, 10, 0, Int16(-Self.dataTop - 8 * slot), constant())
    }
    if isXDP {
      // Too short a packet is let through.
      emit(Class.ldx | Mode.mem | Size.w, 2, 6, 0)
      emit(Class.ldx | Mode.mem | Size.w, 3, 6, 4)
      emit(Class.stx | Mode.mem | Size.dw, 10, 2, Self.packetSlot)
      emit(Class.stx | Mode.mem | Size.dw, 10, 3, Self.packetEndSlot)
      move(4, from: 2)
      emit(Class.alu64 | ALU.add, 4, 0, 0, 16)
      emit(Class.jmp | Jump.jle | Source.x, 4, 3, 2)
      move(0, 2)
      emit(Opcode.exit)
    } else {
      emit(Class.st | Mode.mem | Size.dw, 10, 0, Self.packetSlot, 0)
    }
    // Numbers from the context, before it is lost.
    emit(Class.ldx | Mode.mem | Size.w, 8, 6, isXDP ? 12 : 0)
    emit(Class.ldx | Mode.mem | Size.w, 9, 6, isXDP ? 16 : 8)
    emit(Class.st | Mode.mem | Size.w, 10, 0, -20, Int32(random.below(4)))
    move(2, from: 10)
    emit(Class.alu64 | ALU.add, 2, 0, 0, -20)
    emit(Opcode.loadImmediate64, 1, Int(PseudoSource.mapFD))
    emit(0)
    emit(Opcode.call, 0, 0, 0, HelperID.mapLookupElem.rawValue)
    emit(Class.jmp | Jump.jne, 0, 0, 2)
    move(0, isXDP ? 2 : 0)
    emit(Opcode.exit)
    emit(Class.stx | Mode.mem | Size.dw, 10, 0, Self.valueSlot)
    emit(Class.ldx | Mode.mem | Size.dw, 6, 0, 8)
    emit(Class.ldx | Mode.mem | Size.dw, 7, 0, 16)
    refill(0)
  }

  /// Puts numbers into the registers that a call left without.
  private mutating func refill(_ first: Int = 1) {
    for number in first...5 {
      if random.chance(2, in: 3) { move(number, from: saved()) } else { move(number, constant()) }
    }
  }

  private mutating func piece() {
    switch random.below(15) {
    case 0, 1, 2: arithmetic(any(), registers: 10)
    case 3: bound(any())
    case 4: copy()
    case 5, 6: stack()
    case 7: variableStack()
    case 8, 9: value()
    case 10: packet()
    case 11: fetch()
    case 12: loop()
    case 13: helper()
    default: call()
    }
  }

  private mutating func arithmetic(_ dst: Int, registers: Int) {
    let kind = aluClass()
    let size = kind == Class.alu64 ? 64 : 32
    switch random.below(12) {
    case 0: emit(kind | random.pick([ALU.lsh, ALU.rsh, ALU.arsh]), dst, 0, 0, Int32(random.below(size)))
    case 1: emit(kind | random.pick([ALU.lsh, ALU.rsh, ALU.arsh]) | Source.x, dst, random.below(registers))
    case 2: emit(kind | random.pick([ALU.div, ALU.mod]), dst, 0, random.chance(1, in: 3) ? 1 : 0, constant() | 1)
    case 3:
      emit(
        kind | random.pick([ALU.div, ALU.mod]) | Source.x, dst, random.below(registers),
        random.chance(1, in: 3) ? 1 : 0)
    case 4: emit(kind | ALU.neg, dst)
    case 5: emit(Class.alu | ALU.end | random.pick([0, Source.x]), dst, 0, 0, random.pick([16, 32, 64]))
    case 6: emit(Class.alu64 | ALU.end, dst, 0, 0, random.pick([16, 32, 64]))
    case 7, 8, 9:
      emit(
        kind | random.pick([ALU.add, ALU.sub, ALU.mul, ALU.and, ALU.or, ALU.xor]) | Source.x, dst,
        random.below(registers))
    default: emit(kind | random.pick([ALU.add, ALU.sub, ALU.mul, ALU.and, ALU.or, ALU.xor]), dst, 0, 0, constant())
    }
  }

  /// Makes a number small.
  private mutating func bound(_ dst: Int) {
    switch random.below(4) {
    case 0: emit(aluClass() | ALU.and, dst, 0, 0, 1 << Int32(random.below(16)) - 1)
    case 1: emit(Class.alu64 | ALU.rsh, dst, 0, 0, Int32(48 + random.below(16)))
    case 2: emit(Class.alu64 | ALU.arsh, dst, 0, 0, Int32(48 + random.below(16)))
    default: emit(Class.alu64 | ALU.mov | Source.x, dst, any(), random.pick([8, 16, 32]))
    }
  }

  /// A copy, which stays linked to its origin, perhaps at a distance.
  private mutating func copy() {
    let (dst, src) = (any(), any())
    switch random.below(5) {
    case 0: emit(Class.alu | ALU.mov | Source.x, dst, src)
    case 1: emit(random.pick([Class.alu, Class.alu64]) | ALU.mov | Source.x, dst, src, random.pick([8, 16]))
    default: move(dst, from: src)
    }
    if random.chance(1, in: 2) {
      emit(aluClass() | random.pick([ALU.add, ALU.sub]), dst, 0, 0, Int32(random.below(64) - 16))
    }
  }

  /// A conditional jump, whose target is set later.
  private mutating func branch() {
    let kind = random.chance(2, in: 3) ? Class.jmp : Class.jmp32
    if random.chance(1, in: 2) {
      emit(kind | random.pick(Self.comparisons) | Source.x, any(), any())
    } else {
      emit(kind | random.pick(Self.comparisons), any(), 0, 0, constant())
    }
  }

  private mutating func dataOffset(_ size: UInt8) -> Int16 {
    let bytes = bytes(size)
    return Int16(-Self.dataTop - 8 * random.below(Self.dataSlots) + bytes * random.below(8 / bytes))
  }

  private mutating func stack() {
    let size = width()
    switch random.below(5) {
    case 0: emit(Class.st | Mode.mem | size, 10, 0, dataOffset(size), random.chance(1, in: 2) ? 0 : constant())
    case 1, 2: emit(Class.stx | Mode.mem | size, 10, any(), dataOffset(size))
    default:
      let mode = size != Size.dw && random.chance(1, in: 4) ? Mode.memsx : Mode.mem
      emit(Class.ldx | mode | size, any(), 10, dataOffset(size))
    }
  }

  /// Narrows r5 by a mask or by jumps past what follows; returns the jumps.
  private mutating func index(below limit: Int) -> [Int] {
    move(5, from: any())
    switch random.below(7) {
    case 0, 1:
      emit(aluClass() | ALU.and, 5, 0, 0, Int32(limit - 1))
      return []
    case 5, 6:
      // What is compared is a copy, at a distance.
      let distance = Int32(random.below(4))
      move(4, from: 5)
      emit(Class.alu64 | ALU.add, 4, 0, 0, distance)
      if distance > 0 { emit(Class.jmp | Jump.jlt, 4, 0, 0, distance) }
      emit(Class.jmp | Jump.jgt, 4, 0, 0, Int32(limit - 1))
      return distance > 0 ? [code.count - 2, code.count - 1] : [code.count - 1]
    case 2:
      emit(Class.jmp | Jump.jgt, 5, 0, 0, Int32(limit - 1))
      return [code.count - 1]
    case 3:
      emit(Class.jmp | Jump.jsgt, 5, 0, 0, Int32(limit - 1))
      emit(Class.jmp | Jump.jslt, 5, 0, 0, 0)
      return [code.count - 2, code.count - 1]
    default:
      emit(Class.alu | ALU.mov | Source.x, 5, 5)
      emit(Class.jmp32 | random.pick([Jump.jge, Jump.jgt]), 5, 0, 0, Int32(limit - 1))
      return [code.count - 1]
    }
  }

  /// Ends a piece that had a pointer in r4.
  private mutating func close(_ jumps: [Int]) {
    for at in jumps { code[at].offset = Int16(code.count - at - 1) }
    if random.chance(1, in: 2) { move(4, from: 5) } else { move(4, constant()) }
  }

  private mutating func access(_ size: UInt8, _ offset: Int16) {
    switch random.below(6) {
    case 0: emit(Class.st | Mode.mem | size, 4, 0, offset, constant())
    case 1, 2: emit(Class.stx | Mode.mem | size, 4, random.pick([0, 1, 2, 3, 5, 6, 7, 8, 9]), offset)
    default: emit(Class.ldx | Mode.mem | size, random.pick([0, 1, 2, 3, 6, 7, 8, 9]), 4, offset)
    }
  }

  private mutating func variableStack() {
    let jumps = index(below: 32)
    move(4, from: 10)
    emit(Class.alu64 | ALU.add, 4, 0, 0, Self.lowest)
    emit(Class.alu64 | ALU.add | Source.x, 4, 5)
    access(Size.b, Int16(random.below(8)))
    close(jumps)
  }

  private mutating func value() {
    let jumps = index(below: 32)
    emit(Class.ldx | Mode.mem | Size.dw, 4, 10, Self.valueSlot)
    emit(Class.alu64 | ALU.add | Source.x, 4, 5)
    let back = random.chance(1, in: 4) ? random.below(16) : 0
    if back > 0 { emit(Class.alu64 | ALU.sub, 4, 0, 0, Int32(back)) }
    access(width(), Int16(back + random.below(8)))
    close(jumps)
  }

  /// An access to the map's value whose index is checked, or linked to what is checked, on one of two ways to it.
  private mutating func gamble() {
    let size = random.pick([Size.b, Size.w])
    move(5, from: saved())
    move(4, constant())
    var jumps: [Int] = []
    let fork = code.count
    branch()
    switch random.below(4) {
    case 0:
      emit(Class.jmp | Jump.jgt, 5, 0, 0, 31)
      jumps.append(code.count - 1)
      code[fork].offset = Int16(code.count - fork - 1)
    case 1:
      // One way r4 is r5, the other it is not; r4 is what is compared.
      move(4, from: 5)
      code[fork].offset = Int16(code.count - fork - 1)
      emit(Class.jmp | Jump.jgt, 4, 0, 0, 31)
      jumps.append(code.count - 1)
    case 2:
      // A byte that is zero, or anything.
      let zero = Instruction(opcode: Class.st | Mode.mem | Size.b, dst: 10, offset: -23)
      let number = Instruction(
        opcode: Class.stx | Mode.mem | Size.b, dst: 10, src: UInt8(saved()), offset: -23)
      let zeroFirst = random.chance(1, in: 2)
      code.insert(zeroFirst ? zero : number, at: fork)
      code.append(zeroFirst ? number : zero)
      code[fork + 1].offset = Int16(code.count - fork - 2)
      emit(Class.ldx | Mode.mem | Size.b, 5, 10, -23)
    default:
      emit(aluClass() | ALU.and, 5, 0, 0, 31)
      code[fork].offset = Int16(code.count - fork - 1)
    }
    emit(Class.ldx | Mode.mem | Size.dw, 4, 10, Self.valueSlot)
    emit(Class.alu64 | ALU.add | Source.x, 4, 5)
    access(size, Int16(random.below(8)))
    close(jumps)
  }

  /// Bytes that the prologue proved to be there, or more of them that are proved here.
  private mutating func packet() {
    guard isXDP else { return bound(saved()) }
    if random.chance(1, in: 2) {
      emit(Class.ldx | Mode.mem | Size.dw, 4, 10, Self.packetSlot)
      access(width(), Int16(random.below(9)))
      return close([])
    }
    var jumps = index(below: 64)
    emit(Class.ldx | Mode.mem | Size.dw, 4, 10, Self.packetSlot)
    emit(Class.alu64 | ALU.add | Source.x, 4, 5)
    let length = 8 + random.below(8)
    move(3, from: 4)
    emit(Class.alu64 | ALU.add, 3, 0, 0, Int32(length))
    emit(Class.ldx | Mode.mem | Size.dw, 2, 10, Self.packetEndSlot)
    jumps.append(code.count)
    emit(Class.jmp | (random.chance(1, in: 2) ? Jump.jgt : Jump.jge) | Source.x, 3, 2)
    let size = width()
    emit(Class.ldx | Mode.mem | size, random.pick([5, 6, 7, 8, 9]), 4, Int16(random.below(length - bytes(size) + 1)))
    close(jumps)
    for number in 2...3 { move(number, from: saved()) }
  }

  /// An atomic operation on a number in the stack or in the map's value.
  private mutating func fetch() {
    let operation = random.pick([
      Atomic.add, Atomic.or, Atomic.and, Atomic.xor, Atomic.add | Atomic.fetch, Atomic.or | Atomic.fetch,
      Atomic.xor | Atomic.fetch, Atomic.and | Atomic.fetch, Atomic.xchg, Atomic.cmpxchg,
    ])
    let size = random.pick([Size.w, Size.dw])
    if random.chance(1, in: 2) {
      emit(Class.stx | Mode.atomic | size, 10, any(), dataOffset(size), operation)
    } else {
      emit(Class.ldx | Mode.mem | Size.dw, 4, 10, Self.valueSlot)
      emit(Class.stx | Mode.atomic | size, 4, random.pick([1, 2, 3, 5, 6, 7]), Int16(8 * random.below(5)), operation)
      close([])
    }
  }

  /// A few rounds, counted in r3.
  private mutating func loop() {
    move(3, 0)
    let start = code.count
    for _ in 0...random.below(3) { arithmetic(saved(), registers: 10) }
    if random.chance(1, in: 2) {
      emit(Class.ldx | Mode.mem | Size.dw, 4, 10, Self.valueSlot)
      emit(Class.alu64 | ALU.add | Source.x, 4, 3)
      access(Size.b, 0)
      move(4, 0)
    }
    // What is in r3 may have been overwritten by the access.
    code = code.enumerated().map { at, insn in
      guard at >= start, insn.instructionClass == Class.ldx, insn.dst == 3 else { return insn }
      var insn = insn
      insn.dst = 2
      return insn
    }
    emit(Class.alu64 | ALU.add, 3, 0, 0, 1)
    emit(Class.jmp | random.pick([Jump.jlt, Jump.jne, Jump.jslt]), 3, 0, 0, Int32(1 + random.below(4)))
    code[code.count - 1].offset = Int16(start - code.count)
  }

  private mutating func helper() {
    emit(
      Opcode.call, 0, 0, 0,
      random.chance(2, in: 3) ? HelperID.getPrandomU32.rawValue : HelperID.ktimeGetNs.rawValue)
    refill()
  }

  private mutating func call() {
    calls.append(code.count)
    emit(Opcode.call, 0, Int(PseudoSource.call))
    refill()
  }

  /// The subprogram: numbers in r1 … r5, one in r0.
  private mutating func function() {
    for at in calls { code[at].immediate = Int32(code.count - at - 1) }
    move(0, from: 1 + random.below(5))
    emit(Class.stx | Mode.mem | Size.dw, 10, 1, -8)
    for _ in 0..<random.below(4) {
      arithmetic(random.below(6), registers: 6)
      if random.chance(1, in: 2) {
        emit(random.pick([Class.jmp, Class.jmp32]) | random.pick(Self.comparisons), random.below(6), 0, 1, constant())
        arithmetic(random.below(6), registers: 6)
      }
    }
    emit(Class.ldx | Mode.mem | random.pick([Size.w, Size.dw]), 1, 10, -8)
    emit(aluClass() | random.pick([ALU.add, ALU.and, ALU.xor]) | Source.x, 0, 1)
    emit(Opcode.exit)
  }
}
