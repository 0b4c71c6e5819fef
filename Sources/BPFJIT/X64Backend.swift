import CBPFRuntime

/// Makes code for x86-64.
///
/// Functions take r1 to r5 and the run in the registers of C's calling convention, and keep what C's functions keep:
/// helpers, callbacks and functions of the program call each other without ceremony.
struct X64Backend: Backend {
  static let file = RegisterFile(
    usable: 0xffef,
    clobbered: 1 << 0 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11,
    homes: 0xffef & ~(1 << 10 | 1 << 11),
    arguments: [X64.rdi, X64.rsi, X64.rdx, X64.rcx, X64.r8, X64.r9],
    result: X64.rax)
  static let callerRegisters: InlineArray<6, Register> = [X64.rdi, X64.rsi, X64.rdx, X64.rcx, X64.r8, X64.r9]
  static let preserved: [Register] = [X64.rbx, X64.rbp, X64.r12, X64.r13, X64.r14, X64.r15]

  var state = EmissionState(X64Backend.file)
  var assembler = X64Assembler()
  var layout: CodeLayout {
    get { assembler.layout }
    _modify { yield &assembler.layout }
  }
  let features: X64Features
  let options: JITOptions
  var stackSize: Int32 = 0
  var keepsFlags = false
  var hasCalls = false
  var budgetSlot: Int32 = 0
  var leave: Int32 = 0
  var unwind: Int32 = 0
  var functionLabels: Int32 = 0
  var functionClobbers: [UInt32] = []
  var blindingState: UInt64

  init(features: X64Features, options: JITOptions) {
    self.features = features
    self.options = options
    var generator = SystemRandomNumberGenerator()
    blindingState = generator.next() | 1
  }

  func release() {
    state.release()
    assembler.layout.release()
  }

  // MARK: what the allocation of registers asks for

  mutating func move(_ to: Register, _ from: Register) {
    if to != from { assembler.move(to, from) }
  }

  mutating func exchange(_ a: Register, _ b: Register) { assembler.registers(0x87, wide: true, a, b) }

  func slot(_ number: Int32) -> X64Memory { X64Memory(base: X64.rsp, offset: stackSize + number * 8) }

  mutating func loadSlot(_ to: Register, _ slot: Int32) { assembler.load(to, self.slot(slot), size: 8) }

  mutating func storeSlot(_ slot: Int32, _ from: Register) { assembler.store(from, self.slot(slot), size: 8) }

  mutating func loadConstant(_ to: Register, _ value: UInt64) {
    guard options.blindsConstants && !isHarmless(value) else {
      return assembler.moveConstant(to, value, keepsFlags: keepsFlags)
    }
    // The parts are random numbers; `lea` and not `xor`, which would change the flags.
    let key = nextKey() & 0x3fff_ffff
    assembler.moveConstant(to, value &- key, keepsFlags: true)
    assembler.memory(0x8d, wide: true, to, X64Memory(base: to, offset: Int32(key)))
  }

  /// Too small to be code of someone's choice.
  func isHarmless(_ value: UInt64) -> Bool { Int64(bitPattern: value) >= -128 && Int64(bitPattern: value) <= 127 }

  private mutating func nextKey() -> UInt64 {
    blindingState ^= blindingState << 13
    blindingState ^= blindingState >> 7
    blindingState ^= blindingState << 17
    return blindingState
  }

  mutating func frameAddress(_ to: Register, _ offset: Int64) {
    assembler.memory(
      0x8d, wide: true, to, X64Memory(base: X64.rsp, offset: stackSize + Int32(truncatingIfNeeded: offset)))
  }

  // MARK: operands

  /// The constant that `node` is, where an instruction can hold it.
  func immediate(_ node: Int32, width: UInt8) -> Int32? {
    let it = state.nodes[node]
    guard it.operation == .constant else { return nil }
    let value = width == 4 ? Int64(Int32(truncatingIfNeeded: it.immediate)) : it.immediate
    guard value == Int64(Int32(truncatingIfNeeded: value)) else { return nil }
    if options.blindsConstants && !isHarmless(UInt64(bitPattern: value)) { return nil }
    return Int32(truncatingIfNeeded: value)
  }

  /// The place that a node accesses; its registers are pinned. `consumeAddress` follows.
  mutating func address(_ node: Node) -> X64Memory {
    var at = X64Memory(base: X64.rsp, offset: Int32(truncatingIfNeeded: node.immediate))
    if state.nodes[node.a].operation == .frame {
      at.offset &+= stackSize &+ Int32(truncatingIfNeeded: state.nodes[node.a].immediate)
    } else {
      at.base = use(node.a)
      pin(at.base)
    }
    if node.c >= 0 {
      let index = use(node.c)
      pin(index)
      at.index = index
      at.scale = node.scale
    }
    return at
  }

  mutating func consumeAddress(_ node: Node) {
    consume(node.a)
    if node.c >= 0 { consume(node.c) }
  }

  /// The register for the result of an instruction that changes its first operand, which is in it afterwards.
  mutating func changed(_ operand: Int32, for node: Int32) -> Register {
    let from = use(operand)
    if dies(operand) {
      consume(operand)
      state.touched |= 1 << UInt32(from)
      return from
    }
    pin(from)
    let to = allocate(state.hint[node])
    consume(operand)
    move(to, from)
    return to
  }

  // MARK: nodes

  mutating func select(_ index: Int32, _ arguments: Pool<Int32>) {
    let node = state.nodes[index]
    switch node.operation {
    case .constant, .variable, .frame, .exit: return
    case .add: selectAdd(index, node)
    case .sub: selectBinary(index, node, code: 0x29, number: 5, isCommutative: false)
    case .and: selectBinary(index, node, code: 0x21, number: 4, isCommutative: true)
    case .or: selectBinary(index, node, code: 0x09, number: 1, isCommutative: true)
    case .xor: selectBinary(index, node, code: 0x31, number: 6, isCommutative: true)
    case .mul: selectMultiply(index, node)
    case .shiftLeft: selectShift(index, node, number: 4, prefix: 1)
    case .shiftRight: selectShift(index, node, number: 5, prefix: 3)
    case .shiftRightSigned: selectShift(index, node, number: 7, prefix: 2)
    case .divide, .divideSigned, .modulo, .moduloSigned: selectDivision(index, node)
    case .multiplyHigh: selectMultiplyHigh(index, node)
    case .rotateLeft: selectRotate(index, node)
    case .negate:
      let to = changed(node.a, for: index)
      assembler.registers(0xf7, wide: node.width == 8, 3, to)
      define(index, to)
    case .byteSwap: selectByteSwap(index, node)
    case .zeroExtend:
      selectUnary(index, node) { assembler, to, from in
        switch node.size {
        case 1: assembler.registers(0x0fb6, wide: false, to, from, force: from >= 4)
        case 2: assembler.registers(0x0fb7, wide: false, to, from)
        default: assembler.move(to, from, wide: false)
        }
      }
    case .signExtend:
      selectUnary(index, node) { assembler, to, from in
        switch node.size {
        case 1: assembler.registers(0x0fbe, wide: node.width == 8, to, from, force: from >= 4)
        case 2: assembler.registers(0x0fbf, wide: node.width == 8, to, from)
        default: assembler.registers(0x63, wide: true, to, from)
        }
      }
    case .select: selectChoice(index, node, arguments)
    case .scaledAdd:
      let at = address(node)
      consumeAddress(node)
      unpin()
      let to = allocate(state.hint[index])
      assembler.memory(0x8d, wide: node.width == 8, to, at)
      define(index, to)
    case .load, .loadSigned:
      let at = address(node)
      consumeAddress(node)
      unpin()
      let to = allocate(state.hint[index])
      if node.operation == .load {
        assembler.load(to, at, size: node.size)
      } else {
        let code: UInt32 = node.size == 1 ? 0x0fbe : node.size == 2 ? 0x0fbf : node.size == 4 ? 0x63 : 0x8b
        assembler.memory(code, wide: true, to, at)
      }
      define(index, to)
    case .store: selectStore(node)
    case .storeBelow: selectStoreBelow(node)
    case .atomic: selectAtomic(index, node)
    case .arrayElement: selectArrayElement(index, node)
    case .functionAddress:
      let to = allocate(state.hint[index])
      assembler.layout.append(
        .address, target: functionLabels + Int32(truncatingIfNeeded: node.immediate), argument: to)
      define(index, to)
    case .budget: selectBudget(index, node)
    case .arenaCast:
      let to = changed(node.a, for: index)
      pin(to)
      assembler.registers(0x85, wide: false, to, to)
      let skip = assembler.shortJump(.equal)
      let high = allocate(-1)
      assembler.moveConstant(high, UInt64(bitPattern: node.immediate), keepsFlags: false)
      assembler.registers(0x09, wide: true, high, to)
      assembler.land(skip)
      define(index, to)
    case .loadFaulting, .call, .callSubprogram, .tailCall, .throw: selectCall(index, node, arguments)
    }
    unpin()
  }

  private mutating func selectUnary(
    _ index: Int32, _ node: Node, _ emit: (inout X64Assembler, Register, Register) -> Void
  ) {
    let from = use(node.a)
    // Into the same register where it is free then: shorter lives for others.
    let inPlace = dies(node.a) && state.hint[index] < 0
    consume(node.a)
    let to = allocate(inPlace ? Int8(from) : state.hint[index])
    emit(&assembler, to, from)
    define(index, to)
  }

  private mutating func selectAdd(_ index: Int32, _ node: Node) {
    let wide = node.width == 8
    if let value = immediate(node.b, width: node.width) {
      let from = use(node.a)
      consume(node.b)
      if dies(node.a) && (state.hint[index] < 0 || state.hint[index] == Int8(from) || !isFree(state.hint[index])) {
        consume(node.a)
        assembler.immediate(0, wide: wide, from, value)
        return define(index, from)
      }
      consume(node.a)
      let to = allocate(state.hint[index])
      assembler.memory(0x8d, wide: wide, to, X64Memory(base: from, offset: value))
      return define(index, to)
    }
    if state.nodes[node.a].operation == .frame || state.nodes[node.b].operation == .frame
      || isFolded(node.b) || dies(node.a) || dies(node.b)
    {
      return selectBinary(index, node, code: 0x01, number: 0, isCommutative: true)
    }
    let a = use(node.a)
    pin(a)
    let b = use(node.b)
    pin(b)
    consume(node.a)
    consume(node.b)
    unpin()
    let to = allocate(state.hint[index])
    assembler.memory(0x8d, wide: wide, to, X64Memory(base: a, index: b))
    define(index, to)
  }

  private func isFree(_ register: Int8) -> Bool {
    register >= 0 && (state.occupied | state.pinned) >> UInt32(register) & 1 == 0
  }

  /// A load that is done by the node that uses it.
  private func isFolded(_ node: Int32) -> Bool { false }

  private mutating func selectBinary(
    _ index: Int32, _ node: Node, code: UInt32, number: UInt8, isCommutative: Bool
  ) {
    let wide = node.width == 8
    if let value = immediate(node.b, width: node.width) {
      consume(node.b)
      let to = changed(node.a, for: index)
      assembler.immediate(number, wide: wide, to, value)
      return define(index, to)
    }
    var (a, b) = (node.a, node.b)
    if isCommutative && a != b {
      let hint = state.hint[index]
      let prefersB = dies(b) && (!dies(a) || (hint >= 0 && state.place[b] == hint && state.place[a] != hint))
      if prefersB { swap(&a, &b) }
    }
    let second = use(b)
    pin(second)
    let to = changed(a, for: index)
    consume(b)
    assembler.registers(code, wide: wide, second, to)
    define(index, to)
  }

  private mutating func selectMultiply(_ index: Int32, _ node: Node) {
    let wide = node.width == 8
    if let value = immediate(node.b, width: node.width) {
      consume(node.b)
      let from = use(node.a)
      consume(node.a)
      let to = allocate(state.hint[index] >= 0 ? state.hint[index] : Int8(from))
      if value == 3 || value == 5 || value == 9 {
        let scale: UInt8 = value == 3 ? 1 : value == 5 ? 2 : 3
        assembler.memory(0x8d, wide: wide, to, X64Memory(base: from, index: from, scale: scale))
      } else if value == Int32(Int8(truncatingIfNeeded: value)) {
        assembler.registers(0x6b, wide: wide, to, from)
        assembler.byte(UInt8(truncatingIfNeeded: value))
      } else {
        assembler.registers(0x69, wide: wide, to, from)
        assembler.word(value)
      }
      return define(index, to)
    }
    var (a, b) = (node.a, node.b)
    if a != b && dies(b) && !dies(a) { swap(&a, &b) }
    let second = use(b)
    pin(second)
    let to = changed(a, for: index)
    consume(b)
    assembler.registers(0x0faf, wide: wide, to, second)
    define(index, to)
  }

  /// - Parameter prefix: of the three-operand form.
  private mutating func selectShift(_ index: Int32, _ node: Node, number: UInt8, prefix: UInt8) {
    let wide = node.width == 8
    if state.nodes[node.b].operation == .constant {
      let count = UInt8(truncatingIfNeeded: state.nodes[node.b].immediate) & (wide ? 63 : 31)
      consume(node.b)
      let to = changed(node.a, for: index)
      if number == 4 && count == 1 {
        assembler.registers(0x01, wide: wide, to, to)
      } else {
        assembler.shift(number, wide: wide, to, count)
      }
      return define(index, to)
    }
    if features.hasBMI2 {
      let value = use(node.a)
      pin(value)
      let count = use(node.b)
      consume(node.a)
      consume(node.b)
      unpin()
      let to = allocate(state.hint[index])
      assembler.vex(0xf7, map: 2, prefix: prefix, wide: wide, to, count, value)
      return define(index, to)
    }
    // The count has to be in cl.
    let count = use(node.b)
    pin(count)
    let scratch = allocate(-1, among: ~(1 << UInt32(X64.rcx)))
    pin(scratch)
    let value = use(node.a)
    move(scratch, value)
    consume(node.a)
    if count != X64.rcx {
      reserve(X64.rcx)
      move(X64.rcx, count)
    }
    assembler.registers(0xd3, wide: wide, number, scratch)
    consume(node.b)
    define(index, scratch)
  }

  private mutating func selectRotate(_ index: Int32, _ node: Node) {
    let wide = node.width == 8
    let count = UInt8(truncatingIfNeeded: node.immediate)
    if features.hasBMI2 && !dies(node.a) {
      let from = use(node.a)
      consume(node.a)
      let to = allocate(state.hint[index])
      assembler.vex(0xf0, map: 3, prefix: 3, wide: wide, to, 0, from)
      assembler.byte((wide ? 64 : 32) - count)
      return define(index, to)
    }
    let to = changed(node.a, for: index)
    assembler.shift(0, wide: wide, to, count)
    define(index, to)
  }

  private mutating func selectByteSwap(_ index: Int32, _ node: Node) {
    let to = changed(node.a, for: index)
    if node.size == 2 {
      assembler.byte(0x66)
      assembler.registers(0xc1, wide: false, 0, to)
      assembler.byte(8)
      assembler.registers(0x0fb7, wide: false, to, to)
    } else {
      let rex: UInt8 = (node.size == 8 ? 8 : 0) | to >> 3
      if rex != 0 { assembler.byte(0x40 | rex) }
      assembler.byte(0x0f)
      assembler.byte(0xc8 | to & 7)
    }
    define(index, to)
  }

  private mutating func selectMultiplyHigh(_ index: Int32, _ node: Node) {
    let value = use(node.a)
    pin(value)
    let scratch = allocate(-1, among: ~(1 << UInt32(X64.rax) | 1 << UInt32(X64.rdx)))
    move(scratch, value)
    pin(scratch)
    state.pinned &= ~(1 << UInt32(value))
    consume(node.a)
    consume(node.b)
    // The factor is a constant.
    reserve(X64.rax)
    pin(X64.rax)
    loadConstant(X64.rax, UInt64(bitPattern: state.nodes[node.b].immediate))
    reserve(X64.rdx)
    assembler.registers(0xf7, wide: true, 4, scratch)
    define(index, X64.rdx)
  }

  private mutating func selectDivision(_ index: Int32, _ node: Node) {
    let wide = node.width == 8
    let isSigned = node.operation == .divideSigned || node.operation == .moduloSigned
    let isModulo = node.operation == .modulo || node.operation == .moduloSigned
    let fixed: UInt32 = 1 << UInt32(X64.rax) | 1 << UInt32(X64.rdx)
    let second = use(node.b)
    pin(second)
    let divisor = allocate(-1, among: ~fixed)
    move(divisor, second)
    pin(divisor)
    state.pinned &= ~(1 << UInt32(second))
    consume(node.b)
    let first = use(node.a)
    if first == X64.rax && dies(node.a) {
      consume(node.a)
    } else {
      if first == X64.rax {
        reserve(X64.rax)
        pin(X64.rax)
        let now = use(node.a)
        pin(now)
        move(X64.rax, now)
      } else {
        pin(first)
        reserve(X64.rax)
        move(X64.rax, first)
        state.pinned &= ~(1 << UInt32(first))
      }
      consume(node.a)
    }
    pin(X64.rax)
    reserve(X64.rdx)
    state.touched |= fixed
    assembler.registers(0x85, wide: wide, divisor, divisor)
    let ifZero = assembler.shortJump(.equal)
    var ifMinusOne: Int?
    if isSigned {
      assembler.immediate(7, wide: wide, divisor, -1)
      ifMinusOne = assembler.shortJump(.equal)
      if wide { assembler.byte(0x48) }
      assembler.byte(0x99)
    } else {
      assembler.registers(0x31, wide: false, X64.rdx, X64.rdx)
    }
    assembler.registers(0xf7, wide: wide, isSigned ? 7 : 6, divisor)
    if isModulo { assembler.move(X64.rax, X64.rdx, wide: wide) }
    let done = assembler.shortJump(nil)
    var doneToo: Int?
    if let ifMinusOne {
      assembler.land(ifMinusOne)
      if isModulo {
        assembler.registers(0x31, wide: false, X64.rax, X64.rax)
      } else {
        assembler.registers(0xf7, wide: wide, 3, X64.rax)
      }
      doneToo = assembler.shortJump(nil)
    }
    assembler.land(ifZero)
    if !isModulo {
      assembler.registers(0x31, wide: false, X64.rax, X64.rax)
    } else if !wide {
      assembler.move(X64.rax, X64.rax, wide: false)
    }
    assembler.land(done)
    if let doneToo { assembler.land(doneToo) }
    define(index, X64.rax)
  }

  private mutating func selectChoice(_ index: Int32, _ node: Node, _ arguments: Pool<Int32>) {
    let (a, b) = (arguments[node.c], arguments[node.c + 1])
    let (first, second) = (arguments[node.c + 2], arguments[node.c + 3])
    let condition = Condition(rawValue: node.scale) ?? .equal
    let (x, y) = (state.nodes[first], state.nodes[second])
    if x.operation == .constant && y.operation == .constant && x.immediate ^ y.immediate == 1
      && (x.immediate == 0 || y.immediate == 0)
    {
      consume(first)
      consume(second)
      let set = compare(condition, width: node.width, a, b)
      let to = allocate(state.hint[index])
      let code = x.immediate == 1 ? set : set ^ 1
      assembler.registers(0x0f90 | UInt32(code), wide: false, 0, to, force: to >= 4)
      assembler.registers(0x0fb6, wide: false, to, to, force: to >= 4)
      return define(index, to)
    }
    let taken = use(first)
    pin(taken)
    let to = changed(second, for: index)
    pin(to)
    let set = compareKeeping(condition, width: node.width, a, b)
    assembler.registers(0x0f40 | UInt32(set), wide: true, to, taken)
    consume(first)
    define(index, to)
  }

  /// As `compare`, but what is pinned stays so.
  private mutating func compareKeeping(
    _ condition: Condition, width: UInt8, _ left: Int32, _ right: Int32
  ) -> UInt8 {
    let pinned = state.pinned
    defer { state.pinned = pinned }
    return compare(condition, width: width, left, right)
  }

  // MARK: comparisons

  mutating func compare(_ condition: Condition, width: UInt8, _ left: Int32, _ right: Int32) -> UInt8 {
    let wide = width == 8
    let first = use(left)
    pin(first)
    let isTest = condition == .bitsSet || condition == .bitsClear
    if let value = immediate(right, width: width) {
      if isTest {
        if value >= 0 && value <= 127 {
          // The low byte will do.
          assembler.registers(0xf6, wide: false, 0, first, force: first >= 4)
          assembler.byte(UInt8(value))
        } else {
          assembler.registers(0xf7, wide: wide && value < 0, 0, first)
          assembler.word(value)
        }
      } else if value == 0 {
        assembler.registers(0x85, wide: wide, first, first)
      } else {
        assembler.immediate(7, wide: wide, first, value)
      }
    } else {
      let second = use(right)
      assembler.registers(isTest ? 0x85 : 0x39, wide: wide, second, first)
    }
    consume(left)
    consume(right)
    unpin()
    return X64Condition(condition).rawValue
  }
}
