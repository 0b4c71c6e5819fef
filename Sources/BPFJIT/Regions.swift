import BPFISA
import BPFRuntime

/// What a variable holds where a side exit leaves: `node`, or with `width` not 0 that plus `offset`.
struct ExitValue: BitwiseCopyable {
  var variable: Int32
  var node: Int32
  var offset: Int32 = 0
  var width: UInt8 = 0
}

extension FlowGraph {
  /// Joins blocks that only follow one other to regions: compiled as one, with side exits where a branch leaves.
  /// Loops whose body is one region need no other code on their way round.
  mutating func formRegions(_ input: borrowing CompilerInput) {
    let sizes = Pool<Int32>(repeating: 0, count: max(1, blocks.count))
    defer { sizes.release() }
    for index in 0..<order.count {
      let number = order[index]
      let block = blocks[number]
      var size = sizes[number] + block.end - block.start
      if let detour = detour(input, number) {
        // What the detour moves is chosen without a jump.
        let meeting = blocks[detour].next
        blocks[number].detour = detour
        blocks[detour].isAbsorbed = true
        blocks[meeting].predecessors -= 1
        size += 2
        if blocks[meeting].predecessors == 1, !blocks[meeting].isLoopHead, !blocks[meeting].isAbsorbed, meeting > 0,
          size + blocks[meeting].end - blocks[meeting].start <= 400
        {
          blocks[number].regionNext = meeting
          blocks[meeting].isAbsorbed = true
          sizes[meeting] = size
        }
        continue
      }
      var best: Int32 = -1
      for successor in [block.next, block.target] where successor > 0 && successor != number {
        let other = blocks[successor]
        guard other.predecessors == 1, !other.isLoopHead, other.depth >= block.depth, !other.isAbsorbed,
          size + other.end - other.start <= 400
        else { continue }
        if best < 0 || other.depth > blocks[best].depth { best = successor }
      }
      guard best >= 0 else { continue }
      blocks[number].regionNext = best
      blocks[best].isAbsorbed = true
      sizes[best] = size
    }
  }
}

extension FlowGraph {
  /// The block that one of the ways out of `number` goes through and the other goes around, where it only moves a
  /// value or two.
  private func detour(_ input: borrowing CompilerInput, _ number: Int32) -> Int32? {
    let block = blocks[number]
    guard block.terminator == .branch, block.next >= 0, block.target >= 0, block.next != block.target else {
      return nil
    }
    for (through, around) in [(block.next, block.target), (block.target, block.next)] {
      let it = blocks[through]
      guard it.predecessors == 1, it.terminator == .fall, it.next == around, through != number, around != number,
        !it.isLoopHead, !it.isAbsorbed, it.detour < 0, it.context == block.context, it.end > it.start
      else { continue }
      var moves = 0
      for slot in Int(it.start)..<Int(it.end) {
        let operation = input.operations[slot]
        if input.isPlainJump(slot) { continue }
        let insn = operation.instruction
        guard operation.kind == .plain, insn.operation == ALU.mov, insn.offset == 0,
          insn.instructionClass == Class.alu || insn.instructionClass == Class.alu64
        else { return nil }
        moves += 1
      }
      if moves == 1 { return through }
    }
    return nil
  }
}

extension BlockBuilder {
  /// Puts the values of a detour behind the condition under which it is taken.
  mutating func choose(
    _ input: borrowing CompilerInput, _ detour: Block, isTarget: Bool, live: VariableSet, _ context: InlineContext,
    slotOf: Pool<Int8>, _ facts: [FunctionFacts]
  ) throws(JITError) {
    let (kind, width, a, b, known) = (condition, conditionWidth, left, right, outcome)
    (left, right, outcome) = (-1, -1, nil)
    if known == !isTarget { return }
    let before = current
    let writtenBefore = written
    written = 0
    try build(input, detour, context, slotOf: slotOf, facts)
    let changed = written
    written |= writtenBefore
    guard known == nil, a >= 0 else { return }
    let after = current
    var rest = changed & live
    current = before
    while rest != 0 {
      let variable = rest.trailingZeroBitCount
      rest &= rest - 1
      let (taken, kept) = (after[variable], read(variable))
      guard taken != kept else { continue }
      var node = Node(.select, width: width)
      node.scale = kind.rawValue
      node.c = Int32(arguments.count)
      for argument in [a, b, isTarget ? taken : kept, isTarget ? kept : taken, -1, -1] {
        arguments.append(argument)
        if argument >= 0 { nodes[argument].mentions &+= 1 }
      }
      node.bits = max(nodes[taken].bits, nodes[kept].bits)
      write(variable, append(node))
    }
  }

  /// Ends a block in the middle of a region: goes on where the condition holds as `stays` says, else leaves for
  /// `target`.
  ///
  /// - Returns: false where the region is always left here.
  mutating func leave(for target: Int32, live: VariableSet, unless stays: Bool) -> Bool {
    defer {
      left = -1
      right = -1
      outcome = nil
    }
    if let outcome { return outcome == stays }
    guard left >= 0 else { return true }
    var node = Node(.exit, width: conditionWidth)
    node.a = left
    node.b = right
    node.scale = (stays ? condition.negated : condition).rawValue
    let first = exits.count
    var rest = live
    while rest != 0 {
      let variable = rest.trailingZeroBitCount
      rest &= rest - 1
      let value = current[variable]
      guard value >= 0 else { continue }
      var entry = ExitValue(variable: Int32(variable), node: value)
      let it = nodes[value]
      let added = it.operation == .add && nodes[it.b].operation == .constant ? nodes[it.b].immediate : nil
      if let added, let offset = it.width == 4 ? Int32(truncatingIfNeeded: added) : Int32(exactly: added) {
        // Added on the way out.
        entry = ExitValue(variable: Int32(variable), node: it.a, offset: offset, width: it.width)
      }
      exits.append(entry)
    }
    node.size = UInt8(exits.count - first)
    node.immediate = Int64(first) << 32 | Int64(target)
    _ = append(node)
    return true
  }
}

/// A loop that counts: what it counts, from where, and how often it goes round.
struct CountedLoop {
  /// Times that the body runs.
  var rounds: Int

  /// Looks at the end of a region that was built once and goes back to its own head.
  ///
  /// - Parameters:
  ///   - goesOn: the outcome of the condition that leads back.
  ///   - start: what a variable holds where the loop is entered, if that is always the same constant.
  init?(_ builder: BlockBuilder, goesOn: Bool, start: (Variable) -> UInt64?) {
    guard builder.left >= 0, let bound = builder.constantValue(builder.right) else { return nil }
    let nodes = builder.nodes
    guard let compared = Self.step(nodes, builder.left) else { return nil }
    let after = builder.current[compared.variable]
    guard after >= 0, let moved = Self.step(nodes, after), moved.variable == compared.variable, moved.by != 0,
      let first = start(compared.variable)
    else { return nil }
    let isWhole = compared.width == 8 && moved.width == 8 && builder.conditionWidth == 8
    if isWhole && (goesOn ? builder.condition == .notEqual : builder.condition == .equal) {
      let distance = Int64(bitPattern: bound &- compared.by &- first)
      let by = Int64(bitPattern: moved.by)
      guard distance % by == 0, distance / by >= 0, distance / by < 1 << 30 else { return nil }
      rounds = Int(distance / by) + 1
      return
    }
    var value = first
    var count = 0
    while count < 32768 {
      count += 1
      let operand = Self.cut(value &+ compared.by, compared.width)
      if builder.condition.holds(operand, bound, width: builder.conditionWidth) != goesOn {
        rounds = count
        return
      }
      value = Self.cut(value &+ moved.by, moved.width)
    }
    return nil
  }

  /// `node` as a variable's value at the start plus a constant.
  private static func step(_ nodes: Pool<Node>, _ node: Int32) -> (variable: Variable, by: UInt64, width: UInt8)? {
    let it = nodes[node]
    if it.operation == .variable { return (Int(it.immediate), 0, 8) }
    guard it.operation == .add, nodes[it.b].operation == .constant, nodes[it.a].operation == .variable else {
      return nil
    }
    return (Int(nodes[it.a].immediate), UInt64(bitPattern: nodes[it.b].immediate), it.width)
  }

  private static func cut(_ value: UInt64, _ width: UInt8) -> UInt64 { width == 4 ? value & 0xffff_ffff : value }
}

extension FlowGraph {
  /// The constant that `variable` holds on every way into the loop at `head` from outside; nil where there is none.
  func startValue(
    _ input: borrowing CompilerInput, _ slotOf: Pool<Int8>, _ facts: [FunctionFacts], head: Int32, latch: Int32,
    _ variable: Variable
  ) -> UInt64? {
    // All blocks are looked at: not in programs where that would count.
    guard blocks.count < 1024 else { return nil }
    var found: UInt64?
    for number in 0..<Int32(blocks.count) where number != latch && blocks[number].isReachable {
      guard blocks[number].next == head || blocks[number].target == head else { continue }
      guard let value = valueAtEnd(input, slotOf, facts, number, variable), found == nil || found == value else {
        return nil
      }
      found = value
    }
    return found
  }

  private func valueAtEnd(
    _ input: borrowing CompilerInput, _ slotOf: Pool<Int8>, _ facts: [FunctionFacts], _ block: Int32,
    _ variable: Variable
  ) -> UInt64? {
    var number = block
    var wanted = variable
    for _ in 0..<8 {
      let it = blocks[number]
      let context = contexts[it.context]
      var slots: [Int] = []
      var slot = Int(it.start)
      while slot < Int(it.end) {
        slots.append(slot)
        slot += input.length(slot)
      }
      guard slots.count < 200 else { return nil }
      for slot in slots.reversed() {
        let effects = input.effects(slot, stackSlot: slotOf[slot], context, facts)
        let writes = context.variables(effects.writes) | effects.extraWrites
        guard writes >> VariableSet(wanted) & 1 != 0 else { continue }
        let operation = input.operations[slot]
        let insn = operation.instruction
        if operation.kind == .constant { return operation.operand }
        guard operation.kind == .plain, insn.operation == ALU.mov, insn.offset == 0 else { return nil }
        let isWide = insn.instructionClass == Class.alu64
        guard isWide || insn.instructionClass == Class.alu else { return nil }
        if insn.operandSource == Source.k {
          return isWide ? UInt64(bitPattern: Int64(insn.immediate)) : UInt64(UInt32(bitPattern: insn.immediate))
        }
        guard isWide, insn.src < 10 else { return nil }
        wanted = context.variable(insn.src)
      }
      guard it.predecessors == 1, number != 0 else { return nil }
      guard
        let before = (0..<Int32(blocks.count)).first(where: {
          blocks[$0].isReachable && (blocks[$0].next == number || blocks[$0].target == number)
        })
      else { return nil }
      number = before
    }
    return nil
  }
}
