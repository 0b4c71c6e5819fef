/// Makes code for arm64.
///
/// Functions take r1 to r5 in x0 to x4 and the run in x5, as C's functions do, and keep what C's functions keep.
/// x16 and x17 hold nothing for longer than one node: x16 operands, x17 what a single instruction comes to be made of.
struct ARM64Backend: Backend {
  /// x16 to x18 are the linker's, the platform's and ours, x29 and x30 make up the frame record.
  static let file = RegisterFile(
    usable: 0x1ff8_ffff,
    clobbered: 0xffff,
    homes: 0x1ff8_0fff,
    arguments: [0, 1, 2, 3, 4, 5],
    result: ARM64.x0)
  static let callerRegisters: InlineArray<6, Register> = [0, 1, 2, 3, 4, 5]
  static let preserved: ClosedRange<Register> = 19...28

  var state = EmissionState(ARM64Backend.file)
  var assembler = ARM64Assembler()
  var layout: CodeLayout {
    get { assembler.layout }
    _modify { yield &assembler.layout }
  }
  let options: JITOptions
  let functions: RuntimeAddresses
  var stackSize: Int32 = 0
  /// Moves and constants do not change them.
  var keepsFlags = false
  var hasCalls = false
  var budgetSlot: Int32 = 0
  var leave: Int32 = 0
  var unwind: Int32 = 0
  var functionLabels: Int32 = 0
  var functionClobbers: [UInt32] = []
  private var blindingState: UInt64

  /// - Parameter functions: what the code calls of the runtime; code that runs elsewhere has its own.
  init(options: JITOptions, functions: RuntimeAddresses = .here) {
    self.options = options
    self.functions = functions
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

  mutating func exchange(_ a: Register, _ b: Register) {
    assembler.move(ARM64.x17, a)
    assembler.move(a, b)
    assembler.move(b, ARM64.x17)
  }

  func slot(_ number: Int32) -> ARM64Memory { ARM64Memory(base: ARM64.stack, offset: Int64(stackSize + number * 8)) }

  mutating func loadSlot(_ to: Register, _ slot: Int32) { access(.load, to, slot) }

  mutating func storeSlot(_ slot: Int32, _ from: Register) { access(.store, from, slot) }

  /// Leaves x16 alone, which may hold an operand while registers are made free.
  private mutating func access(_ kind: ARM64Assembler.Access, _ register: Register, _ slot: Int32) {
    var at = self.slot(slot)
    if at.offset >= 4096 * 8 {
      assembler.address(ARM64.x17, at)
      at = ARM64Memory(base: ARM64.x17)
    }
    assembler.access(kind, register, at, size: 8)
  }

  mutating func loadConstant(_ to: Register, _ value: UInt64) {
    guard options.blindsConstants && !isHarmless(value) else { return assembler.moveConstant(to, value) }
    // The parts are random numbers.
    let key = nextKey()
    assembler.moveConstant(to, value &- key)
    assembler.moveConstant(ARM64.x17, key)
    assembler.registers(.add, wide: true, to, to, ARM64.x17)
  }

  /// Too small to be code of someone's choice.
  private func isHarmless(_ value: UInt64) -> Bool {
    Int64(bitPattern: value) >= -128 && Int64(bitPattern: value) <= 127
  }

  private mutating func nextKey() -> UInt64 {
    blindingState ^= blindingState << 13
    blindingState ^= blindingState >> 7
    blindingState ^= blindingState << 17
    return blindingState
  }

  mutating func frameAddress(_ to: Register, _ offset: Int64) {
    assembler.addConstant(to, ARM64.stack, Int64(stackSize) + offset)
  }

  mutating func addConstant(_ register: Register, _ value: Int32, width: UInt8) {
    assembler.addConstant(register, register, Int64(value), wide: width == 8)
  }

  func borrow() -> Register { ARM64.x16 }

  func giveBack(_ register: Register) {}

  mutating func trap() { assembler.trap() }

  // MARK: operands

  /// The constant that `node` is, where instructions may show it.
  private func shownConstant(_ node: Int32, width: UInt8) -> UInt64? {
    let it = state.nodes[node]
    guard it.operation == .constant else { return nil }
    let value = UInt64(bitPattern: it.immediate)
    if options.blindsConstants && !isHarmless(value) { return nil }
    return width == 4 ? value & 0xffff_ffff : value
  }

  /// The constant as one that additions and comparisons hold, and whether it is to be subtracted instead.
  private func arithmeticConstant(_ node: Int32, width: UInt8) -> (magnitude: UInt64, isNegative: Bool)? {
    guard let value = shownConstant(node, width: width) else { return nil }
    if ARM64Assembler.isArithmeticImmediate(value) { return (value, false) }
    let negated = width == 4 ? (0 &- value) & 0xffff_ffff : 0 &- value
    return ARM64Assembler.isArithmeticImmediate(negated) ? (negated, true) : nil
  }

  /// A register to read the node from: that of zero for 0, x16 for a constant that is not needed again. Pinned.
  mutating func source(_ node: Int32) -> Register {
    let it = state.nodes[node]
    if it.operation == .constant {
      if it.immediate == 0 { return ARM64.zero }
      if state.place[node] < 0 && dies(node) {
        loadConstant(ARM64.x16, UInt64(bitPattern: it.immediate))
        return ARM64.x16
      }
    }
    return pinned(node)
  }

  mutating func pinned(_ node: Int32) -> Register {
    let register = use(node)
    pin(register)
    return register
  }

  /// The register for a result, once its operands are read: it may be one of theirs.
  mutating func target(_ index: Int32) -> Register {
    unpin()
    return allocate(state.hint[index])
  }

  /// The place that a node accesses; its registers are pinned. `consumeAddress` follows.
  mutating func address(_ node: Node) -> ARM64Memory {
    var at = ARM64Memory(base: ARM64.stack, offset: node.immediate)
    if state.nodes[node.a].operation == .frame {
      at.offset += Int64(stackSize) + state.nodes[node.a].immediate
    } else {
      at.base = pinned(node.a)
    }
    if node.c >= 0 {
      at.index = pinned(node.c)
      at.scale = node.scale
    }
    return at
  }

  mutating func consumeAddress(_ node: Node) {
    consume(node.a)
    if node.c >= 0 { consume(node.c) }
  }

  // MARK: nodes

  mutating func select(_ index: Int32, _ arguments: Pool<Int32>) {
    let node = state.nodes[index]
    let wide = node.width == 8
    switch node.operation {
    case .constant, .variable, .frame, .exit: return
    case .add, .sub: selectAddition(index, node)
    case .and: selectLogical(index, node, .and)
    case .or: selectLogical(index, node, .or)
    case .xor: selectLogical(index, node, .xor)
    case .mul: selectMultiply(index, node)
    case .shiftLeft: selectShift(index, node, .shiftLeft)
    case .shiftRight: selectShift(index, node, .shiftRight)
    case .shiftRightSigned: selectShift(index, node, .shiftRightSigned)
    case .divide: selectBinary(index, node) { $0.registers(.udiv, wide: wide, $1, $2, $3) }
    case .divideSigned: selectBinary(index, node) { $0.registers(.sdiv, wide: wide, $1, $2, $3) }
    case .modulo, .moduloSigned:
      // By 0 the quotient is 0, and so the rest all.
      let division: ARM64Operation = node.operation == .modulo ? .udiv : .sdiv
      selectBinary(index, node) { assembler, to, a, b in
        assembler.registers(division, wide: wide, ARM64.x17, a, b)
        assembler.multiplyAdd(wide: wide, to, ARM64.x17, b, a, subtracts: true)
      }
    case .multiplyHigh: selectBinary(index, node) { $0.multiplyHigh($1, $2, $3) }
    case .rotateLeft:
      let bits: UInt8 = wide ? 64 : 32
      let count = bits - UInt8(truncatingIfNeeded: node.immediate) & (bits - 1)
      selectUnary(index, node) { $0.rotateRight(wide: wide, $1, $2, count & (bits - 1)) }
    case .negate: selectUnary(index, node) { $0.registers(.sub, wide: wide, $1, ARM64.zero, $2) }
    case .byteSwap:
      selectUnary(index, node) { assembler, to, from in
        assembler.reverse(to, from, wide: node.size == 8)
        if node.size == 2 { assembler.shiftRight(wide: false, to, to, 16) }
      }
    case .zeroExtend:
      selectUnary(index, node) { assembler, to, from in
        if node.size == 4 { return assembler.move(to, from, wide: false) }
        assembler.extract(wide: false, to, from, lowest: 0, count: node.size * 8)
      }
    case .signExtend:
      selectUnary(index, node) {
        $0.extract(wide: wide, $1, $2, lowest: 0, count: node.size * 8, signed: true)
      }
    case .select: selectChoice(index, node, arguments)
    case .scaledAdd:
      let (a, c) = (pinned(node.a), pinned(node.c))
      consumeAddress(node)
      let to = target(index)
      assembler.addScaled(wide: wide, to, a, c, node.scale)
      if node.immediate != 0 { assembler.addConstant(to, to, node.immediate, wide: wide) }
      define(index, to)
    case .load, .loadSigned:
      let at = address(node)
      consumeAddress(node)
      let to = target(index)
      assembler.access(node.operation == .load ? .load : .loadSigned, to, at, size: node.size)
      define(index, to)
    case .store:
      let at = address(node)
      let isZero = state.nodes[node.b].operation == .constant && state.nodes[node.b].immediate == 0
      let value = isZero ? ARM64.zero : pinned(node.b)
      assembler.store(value, at, size: node.size)
      consumeAddress(node)
      consume(node.b)
    case .storeBelow: selectStoreBelow(node)
    case .atomic: selectAtomic(index, node)
    case .arrayElement: selectArrayElement(index, node)
    case .functionAddress:
      let to = target(index)
      assembler.layout.append(
        .address, target: functionLabels + Int32(truncatingIfNeeded: node.immediate), argument: to)
      define(index, to)
    case .budget: selectBudget(index, node)
    case .arenaCast:
      // Only the lower half of the operand is set; null stays null.
      let low = pinned(node.a)
      loadConstant(ARM64.x16, UInt64(bitPattern: node.immediate))
      consume(node.a)
      let to = target(index)
      assembler.compare(wide: false, low, constant: 0)
      assembler.registers(.or, wide: true, ARM64.x16, ARM64.x16, low)
      assembler.choose(.notEqual, to, ARM64.x16, ARM64.zero)
      define(index, to)
    case .loadFaulting, .call, .callSubprogram, .tailCall, .throw: selectCall(index, node, arguments)
    }
    unpin()
  }

  private mutating func selectUnary(
    _ index: Int32, _ node: Node, _ emit: (inout ARM64Assembler, Register, Register) -> Void
  ) {
    let from = use(node.a)
    // Into the same register where it is free then: shorter lives for others.
    let inPlace = dies(node.a) && state.hint[index] < 0
    consume(node.a)
    let to = allocate(inPlace ? Int8(from) : state.hint[index])
    emit(&assembler, to, from)
    define(index, to)
  }

  private mutating func selectBinary(
    _ index: Int32, _ node: Node, _ emit: (inout ARM64Assembler, Register, Register, Register) -> Void
  ) {
    let a = pinned(node.a)
    let b = source(node.b)
    consume(node.a)
    consume(node.b)
    let to = target(index)
    emit(&assembler, to, a, b)
    define(index, to)
  }

  private mutating func selectAddition(_ index: Int32, _ node: Node) {
    let wide = node.width == 8
    let subtracts = node.operation == .sub
    guard let constant = arithmeticConstant(node.b, width: node.width) else {
      return selectBinary(index, node) { $0.registers(subtracts ? .sub : .add, wide: wide, $1, $2, $3) }
    }
    let opcode: UInt32 = subtracts != constant.isNegative ? 0x5100_0000 : 0x1100_0000
    consume(node.b)
    selectUnary(index, node) { $0.arithmetic(opcode, wide: wide, $1, $2, constant.magnitude) }
  }

  private mutating func selectLogical(_ index: Int32, _ node: Node, _ operation: ARM64Operation) {
    let wide = node.width == 8
    if let value = shownConstant(node.b, width: node.width),
      let bits = ARM64Assembler.logicalImmediate(value, wide: wide)
    {
      consume(node.b)
      return selectUnary(index, node) { $0.logical(operation, wide: wide, $1, $2, bits: bits) }
    }
    selectBinary(index, node) { $0.registers(operation, wide: wide, $1, $2, $3) }
  }

  private mutating func selectMultiply(_ index: Int32, _ node: Node) {
    let wide = node.width == 8
    if let value = shownConstant(node.b, width: node.width), value == 3 || value == 5 || value == 9 {
      consume(node.b)
      let shift = UInt8((value - 1).trailingZeroBitCount)
      return selectUnary(index, node) { $0.registers(.add, wide: wide, $1, $2, $2, shift: shift) }
    }
    selectBinary(index, node) { $0.registers(.mul, wide: wide, $1, $2, $3) }
  }

  /// Counts are taken modulo the width, as BPF has them.
  private mutating func selectShift(_ index: Int32, _ node: Node, _ operation: ARM64Operation) {
    let wide = node.width == 8
    guard state.nodes[node.b].operation == .constant else {
      return selectBinary(index, node) { $0.registers(operation, wide: wide, $1, $2, $3) }
    }
    let count = UInt8(truncatingIfNeeded: state.nodes[node.b].immediate) & (wide ? 63 : 31)
    consume(node.b)
    selectUnary(index, node) {
      if operation == .shiftLeft {
        $0.shiftLeft(wide: wide, $1, $2, count)
      } else {
        $0.shiftRight(wide: wide, $1, $2, count, signed: operation == .shiftRightSigned)
      }
    }
  }

  private mutating func selectChoice(_ index: Int32, _ node: Node, _ arguments: Pool<Int32>) {
    let (first, second) = (arguments[node.c + 2], arguments[node.c + 3])
    let kind = Condition(rawValue: node.scale) ?? .equal
    compareOperands(kind, width: node.width, arguments[node.c], arguments[node.c + 1])
    // From here on nothing changes the flags.
    let condition = ARM64Condition(kind)
    let (x, y) = (state.nodes[first], state.nodes[second])
    if x.operation == .constant && y.operation == .constant && x.immediate ^ y.immediate == 1
      && (x.immediate == 0 || y.immediate == 0)
    {
      consume(first)
      consume(second)
      let to = target(index)
      assembler.set(x.immediate == 1 ? condition : ARM64Condition(kind.negated), to)
      return define(index, to)
    }
    let isZero = x.operation == .constant && x.immediate == 0
    let taken = isZero ? ARM64.zero : pinned(first)
    let other = source(second)
    consume(first)
    consume(second)
    let to = target(index)
    assembler.choose(condition, to, taken, other)
    define(index, to)
  }

  // MARK: comparisons

  mutating func compare(_ condition: Condition, width: UInt8, _ left: Int32, _ right: Int32) -> UInt8 {
    compareOperands(condition, width: width, left, right)
    return ARM64Condition(condition).rawValue
  }

  private mutating func compareOperands(_ condition: Condition, width: UInt8, _ left: Int32, _ right: Int32) {
    let wide = width == 8
    let first = pinned(left)
    if condition == .bitsSet || condition == .bitsClear {
      if let value = shownConstant(right, width: width),
        let bits = ARM64Assembler.logicalImmediate(value, wide: wide)
      {
        assembler.logical(.ands, wide: wide, ARM64.zero, first, bits: bits)
      } else {
        let second = source(right)
        assembler.registers(.ands, wide: wide, ARM64.zero, first, second)
      }
    } else if let constant = arithmeticConstant(right, width: width) {
      assembler.compare(wide: wide, first, constant: constant.magnitude, negative: constant.isNegative)
    } else {
      let second = source(right)
      assembler.compare(wide: wide, first, second)
    }
    consume(left)
    consume(right)
    unpin()
  }
}

/// Functions of the runtime that compiled code calls.
struct RuntimeAddresses {
  /// `faultingRead`.
  var faultingRead: UInt64
  /// `MayGotoBudget.renew`: the address of the budget; 0 where the loop is to end.
  var renewBudget: UInt64
}
