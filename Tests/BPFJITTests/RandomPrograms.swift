import BPFISA
import BPFRuntime
import CBPFRuntime

/// Makes programs that are safe by construction: every register and stack slot is written before it is read, loops
/// count down, memory is the stack's or the context's.
struct RandomPrograms {
  private(set) var operations: [LinkedOperation] = []
  private(set) var functions: [Range<Int>] = []
  private var random: SplitMix
  static let contextSize = 256
  static let depth = 256

  /// Slots of the function's stack: where they are, and how wide they are accessed.
  private var slots: [(offset: Int, size: Int)] = []
  private let helper: UInt64
  /// A register that must not be written: a loop's counter.
  private var locked: Set<Int> = []
  /// What r6 holds in the main function: the context.
  private var contextRegister = 6

  init(seed: UInt64, helper: UInt64) {
    random = SplitMix(state: seed)
    self.helper = helper
    let callees = Int(random.below(4))
    // The main function is first; others may call those after them.
    var bodies: [[LinkedOperation]] = []
    for function in 0...callees {
      operations = []
      makeFunction(function, of: callees)
      bodies.append(operations)
    }
    operations = []
    for body in bodies {
      functions.append(operations.count..<operations.count + body.count)
      operations += body
    }
  }

  // MARK: emission

  private mutating func emit(_ insn: Instruction, _ kind: LinkedOperation.Kind = .plain, operand: UInt64 = 0) {
    operations.append(LinkedOperation(insn, kind, operand: operand))
  }

  private mutating func wide(_ register: Int, _ value: UInt64) {
    emit(Instruction(opcode: Opcode.loadImmediate64, dst: UInt8(register)), .constant, operand: value)
    emit(Instruction(opcode: 0), .unreachable)
  }

  private mutating func number() -> UInt64 {
    switch random.below(8) {
    case 0: return 0
    case 1: return UInt64(bitPattern: -1)
    case 2: return 1 << random.below(64)
    case 3: return (1 << random.below(64)) &- 1
    case 4: return random.below(256)
    case 5: return 0x8000_0000
    default: return random.next()
    }
  }

  private mutating func small() -> Int32 { Int32(truncatingIfNeeded: Int64(bitPattern: number())) }

  private mutating func register() -> Int { Int(random.below(10)) }

  private mutating func target() -> Int {
    while true {
      let register = register()
      if register != contextRegister && !locked.contains(register) { return register }
    }
  }

  // MARK: functions

  private mutating func makeFunction(_ number: Int, of callees: Int) {
    slots = []
    locked = []
    contextRegister = number == 0 ? 6 : -1
    if number == 0 { emit(Instruction(opcode: Opcode.movRegister64, dst: 6, src: 1)) }
    for register in 0..<10 where register != contextRegister && !(number > 0 && (1...5).contains(register)) {
      initialize(register)
    }
    if random.below(4) == 0 && number > 0 {
      // Small enough to be inlined.
      for _ in 0..<random.below(8) { statement(number, callees, depth: 3) }
    } else {
      var offset = -RandomPrograms.depth
      while offset < -64 {
        let size = 1 << Int(random.below(4))
        offset = (offset + size - 1) / size * size
        if random.below(3) > 0 {
          slots.append((offset, size))
          let isConstant = random.below(2) == 0
          if isConstant {
            emit(
              Instruction(
                opcode: Class.st | Mode.mem | code(size), dst: 10, offset: Int16(offset), immediate: small()))
          } else {
            emit(
              Instruction(
                opcode: Class.stx | Mode.mem | code(size), dst: 10, src: UInt8(register()), offset: Int16(offset)))
          }
        }
        offset += size
      }
      for word in 1...8 {
        emit(
          Instruction(
            opcode: Class.stx | Mode.mem | Size.dw, dst: 10, src: UInt8(register()), offset: Int16(word * -8)))
      }
      for _ in 0..<5 + random.below(40) { statement(number, callees, depth: 0) }
    }
    // All that was computed counts.
    for register in 1..<10 where register != contextRegister {
      emit(Instruction(opcode: Class.alu64 | ALU.mul | Source.k, dst: 0, immediate: 31))
      emit(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 0, src: UInt8(register)))
    }
    for slot in slots {
      emit(Instruction(opcode: Class.ldx | Mode.mem | code(slot.size), dst: 1, src: 10, offset: Int16(slot.offset)))
      emit(Instruction(opcode: Class.alu64 | ALU.mul | Source.k, dst: 0, immediate: 33))
      emit(Instruction(opcode: Class.alu64 | ALU.xor | Source.x, dst: 0, src: 1))
    }
    emit(Instruction(opcode: Opcode.exit))
  }

  private mutating func initialize(_ register: Int) {
    switch random.below(3) {
    case 0: wide(register, number())
    case 1: emit(Instruction(opcode: Class.alu | ALU.mov | Source.k, dst: UInt8(register), immediate: small()))
    default: emit(Instruction(opcode: Class.alu64 | ALU.mov | Source.k, dst: UInt8(register), immediate: small()))
    }
  }

  private func code(_ size: Int) -> UInt8 { size == 1 ? Size.b : size == 2 ? Size.h : size == 4 ? Size.w : Size.dw }

  // MARK: statements

  private mutating func statement(_ function: Int, _ callees: Int, depth: Int) {
    switch random.below(20) {
    case 0...6: arithmetic()
    case 7: rotation()
    case 8: initialize(target())
    case 9, 10: if depth < 3 { slotAccess() } else { arithmetic() }
    case 11, 12: if depth < 3 { memory() } else { arithmetic() }
    case 13: if depth < 3 { atomic() } else { arithmetic() }
    case 14: bytes()
    case 15, 16: if depth < 3 { branch(function, callees, depth) } else { arithmetic() }
    case 17: if depth < 2 { loop(function, callees, depth) } else { arithmetic() }
    case 18: if depth < 3 { call(function, callees) } else { arithmetic() }
    default: extend()
    }
  }

  private mutating func arithmetic() {
    let kinds = [
      ALU.add, ALU.sub, ALU.mul, ALU.div, ALU.or, ALU.and, ALU.lsh, ALU.rsh, ALU.mod, ALU.xor, ALU.mov, ALU.arsh,
      ALU.neg, ALU.add, ALU.mov,
    ]
    let kind = kinds[Int(random.below(UInt64(kinds.count)))]
    let isWide = random.below(2) == 0
    let form = isWide ? Class.alu64 : Class.alu
    let to = UInt8(target())
    let isSigned = (kind == ALU.div || kind == ALU.mod) && random.below(2) == 0
    if kind == ALU.neg { return emit(Instruction(opcode: form | kind, dst: to)) }
    if random.below(2) == 0 {
      var value = small()
      if kind == ALU.lsh || kind == ALU.rsh || kind == ALU.arsh {
        value = Int32(random.below(isWide ? 64 : 32))
        if random.below(4) == 0 { value = isWide ? 32 : 16 }
      }
      if (kind == ALU.div || kind == ALU.mod) && value == 0 { value = 7 }
      emit(Instruction(opcode: form | kind | Source.k, dst: to, offset: isSigned ? 1 : 0, immediate: value))
    } else {
      emit(Instruction(opcode: form | kind | Source.x, dst: to, src: UInt8(register()), offset: isSigned ? 1 : 0))
    }
  }

  private mutating func rotation() {
    let isWide = random.below(2) == 0
    let form = isWide ? Class.alu64 : Class.alu
    let (a, b) = (UInt8(target()), UInt8(target()))
    guard a != b else { return }
    let bits: Int32 = isWide ? 64 : 32
    let count = Int32(1 + random.below(UInt64(bits - 1)))
    emit(Instruction(opcode: form | ALU.mov | Source.x, dst: a, src: b))
    emit(Instruction(opcode: form | ALU.lsh | Source.k, dst: a, immediate: count))
    emit(Instruction(opcode: form | ALU.rsh | Source.k, dst: b, immediate: bits - count))
    emit(Instruction(opcode: form | ALU.or | Source.x, dst: a, src: b))
  }

  private mutating func extend() {
    let to = UInt8(target())
    switch random.below(4) {
    case 0:
      let count: Int32 = [32, 48, 56, 16][Int(random.below(4))]
      emit(Instruction(opcode: Class.alu64 | ALU.lsh | Source.k, dst: to, immediate: count))
      let down = random.below(2) == 0 ? ALU.rsh : ALU.arsh
      emit(Instruction(opcode: Class.alu64 | down | Source.k, dst: to, immediate: count))
    case 1:
      let isWide = random.below(2) == 0
      let offset: Int16 = [8, 16, isWide ? 32 : 8][Int(random.below(3))]
      emit(
        Instruction(
          opcode: (isWide ? Class.alu64 : Class.alu) | ALU.mov | Source.x, dst: to, src: UInt8(register()),
          offset: offset))
    case 2:
      let bits: Int32 = [16, 32, 64][Int(random.below(3))]
      let opcode = [Class.alu | ALU.end | Source.x, Class.alu | ALU.end | Source.k, Class.alu64 | ALU.end]
      emit(Instruction(opcode: opcode[Int(random.below(3))], dst: to, immediate: bits))
    default:
      emit(Instruction(opcode: Class.alu | ALU.mov | Source.x, dst: to, src: to))
    }
  }

  private mutating func slotAccess() {
    guard !slots.isEmpty else { return arithmetic() }
    let slot = slots[Int(random.below(UInt64(slots.count)))]
    let offset = Int16(slot.offset)
    switch random.below(8) {
    case 0:
      emit(
        Instruction(opcode: Class.st | Mode.mem | code(slot.size), dst: 10, offset: offset, immediate: small()))
    case 1...3:
      emit(
        Instruction(opcode: Class.stx | Mode.mem | code(slot.size), dst: 10, src: UInt8(register()), offset: offset))
    case 4:
      // Narrower, or sign-extended.
      let sizes = [1, 2, 4].filter { $0 <= slot.size }
      let size = sizes[Int(random.below(UInt64(sizes.count)))]
      let mode = random.below(2) == 0 ? Mode.mem : Mode.memsx
      emit(Instruction(opcode: Class.ldx | mode | code(size), dst: UInt8(target()), src: 10, offset: offset))
    case 5:
      // By way of a copy of the frame pointer.
      let by = UInt8(target())
      emit(Instruction(opcode: Opcode.movRegister64, dst: by, src: 10))
      emit(Instruction(opcode: Class.alu64 | ALU.add | Source.k, dst: by, immediate: Int32(slot.offset)))
      emit(Instruction(opcode: Class.ldx | Mode.mem | code(slot.size), dst: by, src: by))
    default:
      emit(Instruction(opcode: Class.ldx | Mode.mem | code(slot.size), dst: UInt8(target()), src: 10, offset: offset))
    }
  }

  /// The context, or the array at the end of the stack, at any width.
  private mutating func memory() {
    let size = 1 << Int(random.below(4))
    var base = 10
    var offset = -64 + Int(random.below(UInt64(64 - size + 1)))
    if contextRegister >= 0 && random.below(2) == 0 {
      base = contextRegister
      offset = Int(random.below(UInt64(RandomPrograms.contextSize - size + 1)))
    }
    if base == 10 && offset % size != 0 && random.below(2) == 0 { offset = offset / size * size }
    if random.below(4) == 0 {
      // With an index in a register.
      let index = UInt8(target())
      let by = UInt8(target())
      guard index != by, base != 10 else { return }
      let scale = Int32(random.below(4))
      emit(Instruction(opcode: Class.alu64 | ALU.and | Source.k, dst: index, immediate: 7))
      emit(Instruction(opcode: Class.alu64 | ALU.lsh | Source.k, dst: index, immediate: scale))
      emit(Instruction(opcode: Opcode.movRegister64, dst: by, src: UInt8(base)))
      emit(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: by, src: index))
      let place = Int16(min(offset, RandomPrograms.contextSize - 64 - size))
      emit(Instruction(opcode: Class.ldx | Mode.mem | code(size), dst: by, src: by, offset: place))
      return
    }
    switch random.below(4) {
    case 0:
      emit(
        Instruction(
          opcode: Class.st | Mode.mem | code(size), dst: UInt8(base), offset: Int16(offset), immediate: small()))
    case 1:
      let source = UInt8(target())
      emit(
        Instruction(opcode: Class.stx | Mode.mem | code(size), dst: UInt8(base), src: source, offset: Int16(offset)))
    default:
      let mode = size < 8 && random.below(4) == 0 ? Mode.memsx : Mode.mem
      emit(
        Instruction(
          opcode: Class.ldx | mode | code(size), dst: UInt8(target()), src: UInt8(base), offset: Int16(offset)))
    }
  }

  /// A word that is put together from bytes, or taken apart.
  private mutating func bytes() {
    guard contextRegister >= 0 else { return arithmetic() }
    let (a, b) = (UInt8(target()), UInt8(target()))
    guard a != b else { return }
    let count = [2, 3, 4, 8][Int(random.below(4))]
    let start = Int(random.below(UInt64(RandomPrograms.contextSize - 8)))
    let base = UInt8(contextRegister)
    if random.below(2) == 0 {
      let isBig = random.below(2) == 0
      emit(Instruction(opcode: Class.ldx | Mode.mem | Size.b, dst: a, src: base, offset: Int16(start)))
      if isBig {
        for byte in 1..<count {
          emit(Instruction(opcode: Class.alu64 | ALU.lsh | Source.k, dst: a, immediate: 8))
          emit(Instruction(opcode: Class.ldx | Mode.mem | Size.b, dst: b, src: base, offset: Int16(start + byte)))
          emit(Instruction(opcode: Class.alu64 | ALU.or | Source.x, dst: a, src: b))
        }
      } else {
        for byte in 1..<count {
          emit(Instruction(opcode: Class.ldx | Mode.mem | Size.b, dst: b, src: base, offset: Int16(start + byte)))
          emit(Instruction(opcode: Class.alu64 | ALU.lsh | Source.k, dst: b, immediate: Int32(byte * 8)))
          emit(Instruction(opcode: Class.alu64 | ALU.or | Source.x, dst: a, src: b))
        }
      }
    } else if random.below(2) == 0 {
      for byte in 0..<count {
        emit(Instruction(opcode: Class.stx | Mode.mem | Size.b, dst: base, src: a, offset: Int16(start + byte)))
        emit(Instruction(opcode: Class.alu64 | ALU.rsh | Source.k, dst: a, immediate: 8))
      }
    } else {
      // A copy, byte by byte.
      let from = Int(random.below(UInt64(RandomPrograms.contextSize - 8)))
      for byte in 0..<count {
        emit(Instruction(opcode: Class.ldx | Mode.mem | Size.b, dst: a, src: base, offset: Int16(from + byte)))
        emit(Instruction(opcode: Class.stx | Mode.mem | Size.b, dst: base, src: a, offset: Int16(start + byte)))
      }
    }
  }

  private mutating func atomic() {
    let size = random.below(2) == 0 ? 4 : 8
    var base = UInt8(10)
    var offset = -64 + Int(random.below(UInt64(64 / size))) * size
    if contextRegister >= 0 && random.below(2) == 0 {
      base = UInt8(contextRegister)
      offset = Int(random.below(16)) * 8
    }
    let kinds: [Int32] = [
      Atomic.add, Atomic.or, Atomic.and, Atomic.xor, Atomic.add | 1, Atomic.or | 1, Atomic.and | 1, Atomic.xor | 1,
      Atomic.xchg, Atomic.cmpxchg, Atomic.loadAcquire, Atomic.storeRelease,
    ]
    let kind = kinds[Int(random.below(UInt64(kinds.count)))]
    if kind == Atomic.cmpxchg && locked.contains(0) { return }
    let other = UInt8(target())
    let isAcquire = kind == Atomic.loadAcquire
    emit(
      Instruction(
        opcode: Class.stx | Mode.atomic | code(size), dst: isAcquire ? other : base, src: isAcquire ? base : other,
        offset: Int16(offset), immediate: kind))
  }

  private mutating func branch(_ function: Int, _ callees: Int, _ depth: Int) {
    let jumps = [
      Jump.jeq, Jump.jne, Jump.jgt, Jump.jge, Jump.jlt, Jump.jle, Jump.jsgt, Jump.jsge, Jump.jslt, Jump.jsle, Jump.jset,
    ]
    let jump = jumps[Int(random.below(UInt64(jumps.count)))]
    let form = random.below(2) == 0 ? Class.jmp : Class.jmp32
    let usesRegister = random.below(2) == 0
    let at = operations.count
    emit(
      Instruction(
        opcode: form | jump | (usesRegister ? Source.x : Source.k), dst: UInt8(register()),
        src: usesRegister ? UInt8(register()) : 0, immediate: usesRegister ? 0 : small()))
    for _ in 0...random.below(4) { statement(function, callees, depth: depth + 1) }
    if random.below(2) == 0 {
      let over = operations.count
      emit(Instruction(opcode: random.below(2) == 0 ? Opcode.ja : Opcode.jaLong))
      operations[at].instruction.offset = Int16(operations.count - at - 1)
      for _ in 0...random.below(4) { statement(function, callees, depth: depth + 1) }
      if operations[over].instruction.opcode == Opcode.ja {
        operations[over].instruction.offset = Int16(operations.count - over - 1)
      } else {
        operations[over].instruction.immediate = Int32(operations.count - over - 1)
      }
    } else {
      operations[at].instruction.offset = Int16(operations.count - at - 1)
    }
  }

  private mutating func loop(_ function: Int, _ callees: Int, _ depth: Int) {
    let saved = [7, 8, 9].filter { !locked.contains($0) }
    guard let counter = saved.first else { return }
    let rounds = Int32([1, 2, 3, 8, 12, 16][Int(random.below(6))])
    let step = Int32(1 + random.below(2))
    locked.insert(counter)
    let countsUp = random.below(2) == 0
    emit(
      Instruction(
        opcode: Class.alu64 | ALU.mov | Source.k, dst: UInt8(counter), immediate: countsUp ? 0 : rounds * step))
    let start = operations.count
    let isSimple = random.below(2) == 0
    for _ in 0...random.below(5) {
      if !isSimple {
        statement(function, callees, depth: depth + 1)
      } else if random.below(3) == 0 {
        memory()
      } else {
        arithmetic()
      }
    }
    let form = random.below(2) == 0 ? Class.alu64 : Class.alu
    emit(
      Instruction(
        opcode: form | ALU.add | Source.k, dst: UInt8(counter), immediate: countsUp ? step : -step))
    let jump = random.below(2) == 0 || !countsUp ? Jump.jne : Jump.jlt
    emit(
      Instruction(
        opcode: Class.jmp | jump | Source.k, dst: UInt8(counter),
        offset: Int16(start - operations.count - 1), immediate: countsUp ? rounds * step : 0))
    locked.remove(counter)
  }

  private mutating func call(_ function: Int, _ callees: Int) {
    guard !locked.contains(0) else { return }
    if function < callees && random.below(2) == 0 {
      let callee = function + 1 + Int(random.below(UInt64(callees - function)))
      emit(
        Instruction(opcode: Opcode.call, src: PseudoSource.call), .subprogram, operand: UInt64(callee))
    } else {
      emit(Instruction(opcode: Opcode.call, immediate: 1000), .call, operand: helper)
    }
    for register in 1...5 { initialize(register) }
  }
}

/// Numbers that look random, the same ones for the same seed.
struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func below(_ limit: UInt64) -> UInt64 { next() % limit }
}
