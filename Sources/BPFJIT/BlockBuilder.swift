import BPFISA
import BPFLinux
import BPFRuntime
import CBPFRuntime

/// Follows the instructions of one block and writes down what each variable comes to hold, as nodes.
///
/// Moves, copies and constants leave no node behind; equal computations are one node. Nodes are in the order of the
/// instructions, and name only nodes before them.
struct BlockBuilder {
  static let undefined: Int32 = -2

  var nodes = Pool<Node>(capacity: 1024)
  /// Arguments of calls, six a call: r1 to r5 and the run; -1 where one is not passed.
  var arguments = Pool<Int32>(capacity: 64)
  /// What each variable holds; -1 where it still is what it was when the block began.
  var current = InlineArray<64, Int32>(repeating: -1)
  var written: VariableSet = 0
  /// Computations by hash; an entry counts where its node is still the one that is looked for.
  private var table = Pool<Int32>(repeating: -1, count: 1024)
  /// Memory accesses with effects so far: loads with the same number see the same memory.
  var epoch: Int32 = 0
  var narrow: VariableSet = 0
  /// How many bytes each variable holds at most; 8 for registers.
  var slotSizes = InlineArray<64, UInt8>(repeating: 8)

  // How the block ends.
  var condition = Condition.equal
  var conditionWidth: UInt8 = 8
  var left: Int32 = -1
  var right: Int32 = -1
  /// What the condition is known to be.
  var outcome: Bool?
  /// What the function returns.
  var returned: Int32 = -1

  /// What variables hold where side exits leave.
  var exits = Pool<ExitValue>(capacity: 64)

  /// Loads that were put together, by node.
  var pieces = Pool<LoadPiece>(capacity: 64)

  func release() {
    nodes.release()
    arguments.release()
    table.release()
    pieces.release()
    exits.release()
  }

  mutating func begin(_ block: Block) {
    nodes.removeAll()
    arguments.removeAll()
    pieces.removeAll()
    exits.removeAll()
    current = InlineArray(repeating: -1)
    written = 0
    epoch = 0
    narrow = block.narrow
    left = -1
    right = -1
    outcome = nil
    returned = -1
  }

  // MARK: nodes

  mutating func append(_ node: Node) -> Int32 {
    var node = node
    var depth: UInt8 = 0
    if node.a >= 0 {
      nodes[node.a].mentions &+= 1
      depth = max(depth, nodes[node.a].depth)
    }
    if node.b >= 0 {
      nodes[node.b].mentions &+= 1
      depth = max(depth, nodes[node.b].depth)
    }
    if node.c >= 0 && !node.hasArguments {
      nodes[node.c].mentions &+= 1
      depth = max(depth, nodes[node.c].depth)
    }
    if node.operation == .select {
      for argument in 0..<4 { depth = max(depth, nodes[arguments[node.c + Int32(argument)]].depth) }
    }
    node.depth = node.isLeaf || depth >= BlockBuilder.depthLimit ? 0 : depth + 1
    nodes.append(node)
    return Int32(nodes.count - 1)
  }

  /// Nodes with longer chains below them are emitted where they stand.
  static let depthLimit: UInt8 = 40

  /// The node of this computation: a new one, or the one that did it before.
  mutating func find(_ node: Node) -> Int32 {
    var hash = UInt32(truncatingIfNeeded: node.immediate) &* 0x9e37_79b1
    hash ^= UInt32(bitPattern: node.a) &* 0x85eb_ca6b
    hash ^= UInt32(bitPattern: node.b) &* 0xc2b2_ae35
    hash ^= UInt32(bitPattern: node.c) &* 0x27d4_eb2f
    hash ^= UInt32(node.operation.rawValue) &* 0x1656_67b1 ^ UInt32(node.size) << 8 ^ UInt32(node.width) << 16
    let index = Int((hash ^ hash >> 15) & 1023)
    let known = table[index]
    if known >= 0, Int(known) < nodes.count {
      let other = nodes[known]
      if other.operation == node.operation && other.width == node.width && other.size == node.size
        && other.scale == node.scale && other.a == node.a && other.b == node.b && other.c == node.c
        && other.immediate == node.immediate
      {
        return known
      }
    }
    let made = append(node)
    table[index] = made
    return made
  }

  mutating func constant(_ value: UInt64) -> Int32 {
    var node = Node(.constant)
    node.immediate = Int64(bitPattern: value)
    node.bits = UInt8(64 - value.leadingZeroBitCount)
    return find(node)
  }

  mutating func frame(_ offset: Int64) -> Int32 {
    var node = Node(.frame)
    node.immediate = offset
    return find(node)
  }

  func constantValue(_ node: Int32) -> UInt64? {
    nodes[node].operation == .constant ? UInt64(bitPattern: nodes[node].immediate) : nil
  }

  // MARK: variables

  mutating func read(_ variable: Variable) -> Int32 {
    let now = current[variable]
    if now >= 0 { return now }
    if now == BlockBuilder.undefined { return constant(0) }
    var node = Node(.variable)
    node.immediate = Int64(variable)
    node.bits = min(narrow >> VariableSet(variable) & 1 != 0 ? 32 : 64, slotSizes[variable] &* 8)
    let made = append(node)
    current[variable] = made
    return made
  }

  mutating func write(_ variable: Variable, _ node: Int32) {
    current[variable] = node
    written |= 1 << VariableSet(variable)
  }

  // MARK: instructions

  mutating func register(_ number: Int, _ context: InlineContext) -> Int32 {
    number == 10 ? frame(Int64(context.frame)) : read(context.variable(number))
  }

  mutating func build(_ input: borrowing CompilerInput, _ block: Block, _ context: InlineContext, slotOf: Pool<Int8>,
    _ facts: [FunctionFacts]
  ) throws(JITError) {
    var slot = Int(block.start)
    while slot < Int(block.end) {
      try translate(input, slot, context, slotOf[slot], facts)
      slot += input.length(slot)
    }
    if block.terminator == .return && returned < 0 { returned = read(0) }
  }

  private mutating func translate(
    _ input: borrowing CompilerInput, _ slot: Int, _ context: InlineContext, _ stackSlot: Int8,
    _ facts: [FunctionFacts]
  ) throws(JITError) {
    let operation = input.operations[slot]
    let insn = operation.instruction
    let variable = stackSlot > 0 ? Int(context.slots) + Int(stackSlot) - 1 : -1
    switch operation.kind {
    case .unreachable: break
    case .mayGoto:
      var node = Node(.budget)
      node.a = read(runVariable)
      node.bits = 1
      let made = append(node)
      compare(.equal, 4, made, constant(0))
    case .constant: write(context.variable(insn.dst), constant(operation.operand))
    case .functionAddress:
      var node = Node(.functionAddress)
      node.immediate = Int64(operation.operand & 0xffff_ffff)
      write(context.variable(insn.dst), find(node))
    case .call, .callWithCallback: call(input, slot, variable)
    case .subprogram: callSubprogram(input, Int(operation.operand), facts)
    case .tailCall:
      var node = Node(.tailCall)
      node.c = Int32(arguments.count)
      let (programContext, array, index) = (read(1), read(2), truncated(read(3), to: 4))
      for argument in [programContext, array, index, -1, -1, read(runVariable)] { arguments.append(argument) }
      epoch += 1
      _ = append(node)
      clobber()
      write(0, constant(0))
    case .throw:
      var node = Node(.throw)
      node.c = Int32(arguments.count)
      let cookie = read(1)
      for argument in [cookie, -1, -1, -1, -1, read(runVariable)] { arguments.append(argument) }
      epoch += 1
      _ = append(node)
    case .arenaCast:
      let low = zeroExtend(4, register(insn.src, context))
      var node = Node(.arenaCast)
      node.a = low
      node.immediate = Int64(bitPattern: operation.operand)
      write(context.variable(insn.dst), find(node))
    case .legacyLoad:
      var node = Node(.call)
      node.immediate = Int64(bitPattern: operation.operand)
      node.scale = CallSequel.negativeReturns.rawValue
      var offset = constant(UInt64(bitPattern: Int64(insn.immediate)))
      if insn.mode == Mode.ind { offset = signExtend(4, 8, binary(.add, 4, register(insn.src, context), offset)) }
      let packet = read(context.variable(6))
      finishCall(node, [packet, offset, constant(UInt64(insn.accessSize)), -1, -1, read(runVariable)])
    case .storeBelow:
      var node = Node(.storeBelow)
      node.a = register(insn.dst, context)
      node.b = insn.instructionClass == Class.st
        ? constant(UInt64(bitPattern: Int64(insn.immediate))) : register(insn.src, context)
      node.c = constant(operation.operand)
      node.size = UInt8(insn.accessSize)
      node.immediate = Int64(insn.offset)
      epoch += 1
      _ = append(node)
    case .plain, .faulting, .arena:
      switch insn.instructionClass {
      case Class.alu, Class.alu64: try arithmetic(insn, slot, context)
      case Class.jmp, Class.jmp32:
        if insn.opcode == Opcode.exit {
          returned = read(0)
          break
        }
        guard let kind = Condition(jump: insn.operation), insn.opcode != Opcode.jaLong else { break }
        let a = register(insn.dst, context)
        let b =
          insn.operandSource == Source.x
          ? register(insn.src, context) : constant(UInt64(bitPattern: Int64(insn.immediate)))
        compare(kind, insn.instructionClass == Class.jmp ? 8 : 4, a, b)
      case Class.ldx, Class.st, Class.stx: try access(operation, slot, variable, context)
      default: throw .unsupported(slot: slot, "opcode \(insn.opcode)")
      }
    }
  }

  private mutating func clobber() {
    for register in 1...5 {
      current[register] = BlockBuilder.undefined
      written |= 1 << VariableSet(register)
    }
  }

  // MARK: calls

  private mutating func call(_ input: borrowing CompilerInput, _ slot: Int, _ variable: Int) {
    let operation = input.operations[slot]
    switch input.lowering(slot) {
    case .processorNumber:
      clobber()
      return write(0, load(read(runVariable), Int64(RunLayout.cpu), 4))
    case .arrayElement, .processorArrayElement:
      let map = input.maps[Int(operation.map)].pointee
      var base = constant(UInt64(UInt(bitPattern: map.values)))
      if case .processorArrayElement = input.lowering(slot) {
        let cpu = load(read(runVariable), Int64(RunLayout.cpu), 4)
        base = binary(.add, 8, base, binary(.mul, 8, cpu, constant(map.cpu_stride)))
      }
      if let key = input.constantElement(slot) {
        clobber()
        return write(0, binary(.add, 8, base, constant(key &* map.stride)))
      }
      var node = Node(.arrayElement)
      node.a = variable >= 0 ? zeroExtend(4, read(variable)) : load(read(2), 0, 4)
      node.b = base
      node.immediate = Int64(map.max_entries) << 32 | Int64(map.stride)
      clobber()
      return write(0, append(node))
    case .lookup:
      guard let function = input.maps[Int(operation.map)].pointee.lookup else { return }
      var node = Node(.call)
      node.c = Int32(arguments.count)
      node.immediate = Int64(Int(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self)))
      let map = constant(UInt64(UInt(bitPattern: input.maps[Int(operation.map)])))
      let (key, run) = (read(2), read(runVariable))
      for argument in [map, key, run, -1, -1, -1] { arguments.append(argument) }
      epoch += 1
      let made = append(node)
      clobber()
      write(0, made)
    case .call:
      var node = Node(.call)
      node.immediate = Int64(bitPattern: operation.operand)
      if operation.kind == .callWithCallback && input.throwsExceptions {
        node.scale = CallSequel.exception.rawValue
      }
      var passed = InlineArray<6, Int32>(repeating: -1)
      for register in 1...5 {
        if Int(operation.descriptorRegister) == register {
          passed[register - 1] = constant(operation.descriptor)
        } else if input.callArguments[slot] >> UInt8(register) & 1 != 0 {
          passed[register - 1] = read(register)
        }
      }
      passed[5] = read(runVariable)
      finishCall(node, passed)
    }
  }

  private mutating func callSubprogram(_ input: borrowing CompilerInput, _ callee: Int, _ facts: [FunctionFacts]) {
    var node = Node(.callSubprogram)
    node.immediate = Int64(callee)
    var passed = InlineArray<6, Int32>(repeating: -1)
    for register in 1...5 where facts[callee].arguments >> UInt8(register) & 1 != 0 {
      passed[register - 1] = read(register)
    }
    if facts[callee].needsRun { passed[5] = read(runVariable) }
    finishCall(node, passed)
  }

  private mutating func finishCall(_ call: Node, _ passed: InlineArray<6, Int32>) {
    var node = call
    node.c = Int32(arguments.count)
    for index in 0..<6 { arguments.append(passed[index]) }
    epoch += 1
    let made = append(node)
    clobber()
    write(0, made)
  }

  // MARK: memory

  mutating func load(_ base: Int32, _ offset: Int64, _ size: UInt8) -> Int32 {
    var node = Node(.load)
    node.a = base
    node.size = size
    node.immediate = offset
    node.bits = size &* 8
    // Not operands: which stores came before.
    let made = append(node)
    pieces.append(LoadPiece(node: made, base: base, offset: offset, bytes: size, epoch: epoch))
    return made
  }

  private mutating func address(_ operation: LinkedOperation, _ register: Int, _ context: InlineContext) -> Int32 {
    let base = self.register(register, context)
    guard operation.kind == .arena else { return base }
    return binary(.add, 8, constant(operation.operand), zeroExtend(4, base))
  }

  private mutating func access(
    _ operation: LinkedOperation, _ slot: Int, _ variable: Int, _ context: InlineContext
  ) throws(JITError) {
    let insn = operation.instruction
    let size = UInt8(insn.accessSize)
    let offset = Int64(insn.offset)
    switch insn.instructionClass {
    case Class.ldx:
      let isSigned = insn.mode == Mode.memsx
      if variable >= 0 {
        var value = read(variable)
        if isSigned {
          value = signExtend(size, 8, value)
        } else if size < 8 {
          value = zeroExtend(size, value)
        }
        return write(context.variable(insn.dst), value)
      }
      let base = address(operation, insn.src, context)
      if operation.kind == .faulting {
        var node = Node(.loadFaulting)
        node.a = base
        node.size = size
        node.immediate = offset
        node.bits = size &* 8
        var made = append(node)
        if isSigned { made = signExtend(size, 8, made) }
        return write(context.variable(insn.dst), made)
      }
      if isSigned {
        var node = Node(.loadSigned)
        node.a = base
        node.size = size
        node.immediate = offset
        return write(context.variable(insn.dst), append(node))
      }
      write(context.variable(insn.dst), load(base, offset, size))
    case Class.st:
      let value = constant(UInt64(bitPattern: Int64(insn.immediate)))
      try store(operation, value, size, offset, variable, slot, context)
    default:
      if insn.mode == Mode.atomic { return try atomic(operation, slot, context) }
      try store(operation, register(insn.src, context), size, offset, variable, slot, context)
    }
  }

  private mutating func store(
    _ operation: LinkedOperation, _ value: Int32, _ size: UInt8, _ offset: Int64, _ variable: Int, _ slot: Int,
    _ context: InlineContext
  ) throws(JITError) {
    if variable >= 0 {
      return write(variable, size < 8 ? zeroExtend(size, value) : value)
    }
    guard operation.kind != .faulting else { throw .unsupported(slot: slot, "a store to an object of the kernel") }
    storeMemory(address(operation, operation.instruction.dst, context), offset, size, value)
  }

  mutating func storeMemory(_ base: Int32, _ offset: Int64, _ size: UInt8, _ value: Int32) {
    var node = Node(.store)
    node.a = base
    node.b = truncated(value, to: size)
    node.size = size
    node.immediate = offset
    if mergeStore(&node) { return }
    epoch += 1
    _ = append(node)
  }

  private mutating func atomic(
    _ operation: LinkedOperation, _ slot: Int, _ context: InlineContext
  ) throws(JITError) {
    let insn = operation.instruction
    guard let kind = AtomicKind(insn.immediate), operation.kind != .faulting else {
      throw .unsupported(slot: slot, "an atomic operation on an object of the kernel")
    }
    var node = Node(.atomic)
    node.size = UInt8(insn.accessSize)
    node.scale = kind.rawValue
    node.immediate = Int64(insn.offset)
    if kind == .loadAcquire {
      node.a = address(operation, insn.src, context)
    } else {
      node.a = address(operation, insn.dst, context)
      node.b = register(insn.src, context)
    }
    if kind == .compareExchange { node.c = read(0) }
    if node.size < 8 { node.bits = node.size &* 8 }
    epoch += 1
    let made = append(node)
    switch kind {
    case .compareExchange: write(0, made)
    case .loadAcquire: write(context.variable(insn.dst), made)
    case _ where kind.givesValue: write(context.variable(insn.src), made)
    default: break
    }
  }

  // MARK: arithmetic and jumps

  private mutating func arithmetic(_ insn: Instruction, _ slot: Int, _ context: InlineContext) throws(JITError) {
    let width: UInt8 = insn.instructionClass == Class.alu64 ? 8 : 4
    let variable = context.variable(insn.dst)
    func operand(_ it: inout BlockBuilder) -> Int32 {
      insn.operandSource == Source.x
        ? it.register(insn.src, context) : it.constant(UInt64(bitPattern: Int64(insn.immediate)))
    }
    switch insn.operation {
    case ALU.mov:
      let value = operand(&self)
      if insn.offset == 0 {
        write(variable, width == 8 ? value : zeroExtend(4, value))
      } else {
        let size = UInt8(insn.offset / 8)
        guard [1, 2, 4].contains(size) else { throw .unsupported(slot: slot, "a move with offset \(insn.offset)") }
        write(variable, signExtend(size, width, value))
      }
    case ALU.neg: write(variable, negate(width, read(variable)))
    case ALU.end:
      let size = UInt8(truncatingIfNeeded: insn.immediate / 8)
      guard [2, 4, 8].contains(size) else { throw .unsupported(slot: slot, "a byte swap of \(insn.immediate) bits") }
      let value = read(variable)
      // Class alu64: always swapped. Else `Source.x` asks for big endian, which this machine is not.
      let swaps = width == 8 || insn.operandSource == Source.x
      write(variable, swaps ? byteSwap(size, value) : size == 8 ? value : zeroExtend(size, value))
    default:
      let isSigned = insn.offset == 1
      let kind: Operation? =
        switch insn.operation {
        case ALU.add: .add
        case ALU.sub: .sub
        case ALU.mul: .mul
        case ALU.div: isSigned ? .divideSigned : .divide
        case ALU.mod: isSigned ? .moduloSigned : .modulo
        case ALU.or: .or
        case ALU.and: .and
        case ALU.xor: .xor
        case ALU.lsh: .shiftLeft
        case ALU.rsh: .shiftRight
        case ALU.arsh: .shiftRightSigned
        default: nil
        }
      guard let kind else { throw .unsupported(slot: slot, "operation \(insn.operation)") }
      let a = read(variable)
      let b = operand(&self)
      write(variable, binary(kind, width, a, b))
    }
  }

  mutating func compare(_ kind: Condition, _ width: UInt8, _ a: Int32, _ b: Int32) {
    var (kind, width, a, b) = (kind, width, a, b)
    if width == 4 {
      a = truncated(a, to: 4)
      b = truncated(b, to: 4)
    }
    if nodes[a].operation == .constant && nodes[b].operation != .constant {
      swap(&a, &b)
      kind = kind.swapped
    }
    if width == 8 {
      let isSigned = kind.rawValue >= Condition.greater.rawValue && kind.rawValue <= Condition.lessOrEqual.rawValue
      if max(nodes[a].bits, nodes[b].bits) <= (isSigned ? 31 : 32) { width = 4 }
    }
    if let x = constantValue(a), let y = constantValue(b) {
      outcome = kind.holds(x, y, width: width)
      return
    }
    if constantValue(b) == 0 && (kind == .equal || kind == .notEqual) && nodes[a].operation == .and {
      let and = nodes[a]
      (a, b) = (and.a, and.b)
      width = min(and.width, width)
      kind = kind == .equal ? .bitsClear : .bitsSet
    }
    (condition, conditionWidth, left, right) = (kind, width, a, b)
  }
}
