import BPFISA
import BPFRuntime

/// Compiles a program function by function, those that are called before those that call them.
struct ProgramCompiler<Machine: Backend> {
  private let input: CompilerInput
  private var facts: [FunctionFacts]
  private let slotOf: Pool<Int8>
  var builder = BlockBuilder()
  private var schedule = Schedule()
  var backend: Machine
  /// Side exits whose code is still to be made.
  var exits: [SideExit] = []

  init(_ input: CompilerInput, _ backend: Machine) {
    self.input = input
    facts = [FunctionFacts](repeating: FunctionFacts(), count: input.functions.count)
    slotOf = Pool(repeating: 0, count: max(1, input.operations.count))
    self.backend = backend
  }

  func release() {
    slotOf.release()
    builder.release()
    schedule.release()
    backend.release()
  }

  mutating func compile(keeping linked: (any Sendable)?) throws(JITError) -> CompiledProgram {
    let code = try translate()
    let layout = backend.layout
    let memory = try CodeMemory(size: code.size) { layout.write(to: $0) }
    return CompiledProgram(memory, size: code.size, entry: code.entry, invoke: code.invoke, linked: linked)
  }

  /// Makes the code, which is then in the back end's layout.
  ///
  /// - Returns: how long it is, and where in it the program is entered and callbacks are called.
  mutating func translate() throws(JITError) -> (size: Int, entry: Int, invoke: Int) {
    let count = input.functions.count
    backend.functionLabels = backend.layout.makeLabels(count)
    backend.functionClobbers = [UInt32](repeating: Machine.file.clobbered, count: count)
    let hasCallbacks = input.operations.contains { $0.kind == .functionAddress }
    let isHeavy = hasCallbacks || input.throwsExceptions
    let entry = backend.layout.makeLabels(2)
    let invoke = entry + 1
    backend.layout.define(invoke)
    backend.callFunction(throws: input.throwsExceptions)
    for function in input.callOrder() where function != 0 || isHeavy { try compile(function: function) }
    backend.layout.append(.align)
    backend.layout.define(entry)
    if isHeavy {
      backend.enterProgram(
        main: backend.functionLabels, needsRun: true, invoke: invoke, throws: input.throwsExceptions,
        handler: input.exceptionCallback.map { backend.functionLabels + Int32($0) })
    } else {
      // Straight into the main function.
      try compile(function: 0) { it, needsRun in
        it.backend.enterProgram(main: 0, needsRun: needsRun, invoke: nil, throws: false, handler: nil)
      }
    }
    let size = backend.layout.settle()
    guard size < 1 << 30 else { throw .tooLong }
    return (size, Int(backend.layout.place(of: entry)), Int(backend.layout.place(of: invoke)))
  }

  private mutating func compile(
    function: Int, entry: (inout ProgramCompiler, Bool) -> Void = { _, _ in }
  ) throws(JITError) {
    var graph = FlowGraph(input, function: function, analysis: facts, inlines: false)
    defer { graph.release() }
    graph.findLiveness(input, slotOf: slotOf, facts: facts)
    var analysis = FrameAnalysis(graph)
    facts[function].slots = analysis.run(input, limit: 40, slotOf: slotOf)
    facts[function].frameEscapes = analysis.escapes
    if !facts[function].slots.isEmpty || input.callsInlined(function, facts) {
      graph.release()
      graph = FlowGraph(input, function: function, analysis: facts, inlines: true)
      graph.findLiveness(input, slotOf: slotOf, facts: facts)
    }
    graph.findNarrowVariables(input, slotOf: slotOf)
    graph.formRegions(input)
    input.describe(function, graph, &facts)
    if graph.order.count > 0 {
      facts[function].arguments = UInt8(truncatingIfNeeded: graph.blocks[0].liveIn & 0x3e)
      facts[function].needsRun = graph.blocks[0].liveIn >> VariableSet(runVariable) & 1 != 0
    }
    entry(&self, facts[function].needsRun)
    backend.layout.define(backend.functionLabels + Int32(function))
    try emit(function, graph)
    facts[function].clobbers = backend.state.touched
    backend.functionClobbers[function] = backend.state.touched & Machine.file.clobbered
  }

  private mutating func emit(_ function: Int, _ graph: FlowGraph) throws(JITError) {
    let homes = Homes(graph, Machine.file) { number in
      let block = graph.blocks[number]
      var slot = Int(block.start)
      while slot < Int(block.end) {
        if input.isMachineCall(slot) { return true }
        slot += input.length(slot)
      }
      return false
    }
    backend.state.touched = 0
    backend.state.slotCount = 0
    backend.stackSize = Int32(graph.stackSize)
    backend.hasCalls = false
    var firstSlot = homes.slotCount
    let hasBudget = input.operations[input.functions[function]].contains { $0.kind == .mayGoto }
    backend.budgetSlot = firstSlot
    if hasBudget { firstSlot += 2 }
    let enter = backend.layout.makeSnippet()
    backend.leave = backend.layout.makeSnippet()
    backend.unwind = backend.layout.makeSnippet()
    backend.layout.append(.snippet, target: enter)
    let labels = backend.layout.makeLabels(graph.blocks.count)
    builder.slotSizes = InlineArray(repeating: 8)
    for index in 0..<graph.contexts.count {
      let context = graph.contexts[index]
      for (number, slot) in facts[Int(context.function)].slots.enumerated() {
        builder.slotSizes[Int(context.slots) + number] = slot.size
      }
    }
    if graph.order.isEmpty {
      // Never called.
      backend.trap()
    } else {
      backend.takeArguments(homes, live: graph.blocks[0].liveIn)
    }
    for number in 0..<Int32(graph.blocks.count) where graph.blocks[number].isHead {
      var following = number + 1
      while following < Int32(graph.blocks.count) && !graph.blocks[following].isHead { following += 1 }
      if graph.blocks[number].isLoopHead { backend.layout.append(.align) }
      backend.layout.define(labels + number)
      try emit(number, graph, homes, labels, following, firstSlot)
    }
    emitExits(labels)
    backend.state.slotCount = max(backend.state.slotCount, firstSlot)
    let code = backend.frameCode(budget: hasBudget ? backend.budgetSlot : nil)
    backend.layout.setSnippet(enter, code.enter)
    backend.layout.setSnippet(backend.leave, code.leave)
    backend.layout.setSnippet(backend.unwind, code.unwind)
  }

  // MARK: regions

  /// The blocks of the region of `head`.
  private func region(_ head: Int32, _ graph: FlowGraph) -> [Int32] {
    var members = [head]
    while graph.blocks[members[members.count - 1]].regionNext >= 0 {
      members.append(graph.blocks[members[members.count - 1]].regionNext)
    }
    return members
  }

  private mutating func emit(
    _ head: Int32, _ graph: FlowGraph, _ homes: Homes, _ labels: Int32, _ following: Int32, _ firstSlot: Int32
  ) throws(JITError) {
    let members = region(head, graph)
    var end = try build(members, head, graph, homes, copies: 1, checks: true)
    let latch = graph.blocks[members[members.count - 1]]
    if latch.next == head || latch.target == head {
      // A loop without detours.
      let size = members.reduce(0) { $0 + Int(graph.blocks[$1].end - graph.blocks[$1].start) }
      var copies = min(8, 64 / max(size, 1))
      var checks = true
      if latch.terminator == .branch && end == members[members.count - 1] && latch.next != latch.target {
        let loop = CountedLoop(builder, goesOn: latch.target == head) { variable in
          graph.startValue(
            input, slotOf, facts, head: head, latch: members[members.count - 1], variable)
        }
        if let loop, let divisor = (2...8).last(where: { loop.rounds % $0 == 0 && $0 * size <= 96 }) {
          copies = divisor
          checks = false
        }
      }
      if members.contains(where: { number in callsMachine(graph.blocks[number]) }) { copies = 1 }
      if copies > 1 { end = try build(members, head, graph, homes, copies: copies, checks: checks) }
    }

    let last = graph.blocks[end]
    schedule.finals.removeAll()
    var live = last.liveOut
    while live != 0 {
      let variable = live.trailingZeroBitCount
      live &= live - 1
      let node = builder.current[variable]
      guard node >= 0 else { continue }
      let it = builder.nodes[node]
      let isSame = it.operation == .variable && it.immediate == Int64(variable)
      if isSame && homes.register[variable] < 0 { continue }
      schedule.finals.append((Int32(variable), node))
    }
    schedule.countUses(&builder)
    schedule.arrange(builder)
    prepare(homes, firstSlot)
    for index in 0..<schedule.order.count {
      let node = schedule.order[index]
      if builder.nodes[node].operation == .exit {
        exit(node, homes, labels)
      } else {
        backend.select(node, builder.arguments)
      }
    }
    finish(last, homes, labels, following)
  }

  private func callsMachine(_ block: Block) -> Bool {
    var slot = Int(block.start)
    while slot < Int(block.end) {
      if input.isMachineCall(slot) { return true }
      slot += input.length(slot)
    }
    return false
  }

  /// Follows the instructions of a region, as often as it is copied.
  ///
  /// - Parameter checks: whether copies but the last ask for the loop's condition.
  /// - Returns: the block whose end is the end of the region.
  private mutating func build(
    _ members: [Int32], _ head: Int32, _ graph: FlowGraph, _ homes: Homes, copies: Int, checks: Bool
  ) throws(JITError) -> Int32 {
    builder.begin(graph.blocks[head])
    var live = graph.blocks[head].liveIn
    while live != 0 {
      let variable = live.trailingZeroBitCount
      live &= live - 1
      if homes.register[variable] >= 0 { _ = builder.read(variable) }
    }
    for copy in 1...copies {
      for number in members {
        let block = graph.blocks[number]
        try builder.build(input, block, graph.contexts[block.context], slotOf: slotOf, facts)
        let isLast = number == members[members.count - 1]
        if block.detour >= 0 {
          let detour = graph.blocks[block.detour]
          try builder.choose(
            input, detour, isTarget: block.target == block.detour, live: graph.blocks[detour.next].liveIn,
            graph.contexts[block.context], slotOf: slotOf, facts)
          if isLast && copy == copies { return block.detour }
          continue
        }
        if isLast && copy == copies { return number }
        let on = isLast ? head : block.regionNext
        guard block.terminator == .branch else { continue }
        if isLast && !checks {
          (builder.left, builder.right, builder.outcome) = (-1, -1, nil)
          continue
        }
        let goesToTarget = block.target == on
        let other = goesToTarget ? block.next : block.target
        guard other != on else { continue }
        if builder.outcome == !goesToTarget { return number }
        if !builder.leave(for: other, live: graph.blocks[other].liveIn, unless: goesToTarget) { return number }
      }
    }
    return members[members.count - 1]
  }

  /// Puts variables where they live, and finds out where values had best be.
  private mutating func prepare(_ homes: Homes, _ firstSlot: Int32) {
    backend.state.begin(builder, firstSlot: firstSlot)
    let nodes = builder.nodes
    for index in 0..<Int32(nodes.count) where nodes[index].operation == .variable {
      let variable = Int(nodes[index].immediate)
      if homes.register[variable] >= 0 {
        if nodes[index].uses > 0 { backend.assign(index, Register(homes.register[variable])) }
      } else {
        backend.state.saved[index] = homes.slot[variable]
      }
    }
    let state = backend.state
    let end = Int32(schedule.order.count)
    for index in 0..<schedule.finals.count {
      let final = schedule.finals[index]
      state.lastUse[final.node] = end
      let home = homes.register[Int(final.variable)]
      guard home >= 0, nodes[final.node].operation != .variable else { continue }
      if state.hint[final.node] < 0 { state.hint[final.node] = home }
      backend.state.awaited |= 1 << UInt32(home)
    }
    if builder.returned >= 0 {
      state.lastUse[builder.returned] = end
      state.hint[builder.returned] = Int8(Machine.file.result)
    }
    if builder.left >= 0 {
      state.lastUse[builder.left] = end
      state.lastUse[builder.right] = end
    }
    var position = end - 1
    while position >= 0 {
      let node = nodes[schedule.order[position]]
      let hint = state.hint[schedule.order[position]]
      if node.operation == .exit {
        let first = Int(node.immediate >> 32)
        for index in first..<first + Int(node.size) {
          let it = builder.exits[index].node
          if state.lastUse[it] < position { state.lastUse[it] = position }
        }
      } else if node.hasArguments {
        for argument in 0..<6 {
          let it = builder.arguments[node.c + Int32(argument)]
          guard it >= 0 else { continue }
          if state.lastUse[it] < position { state.lastUse[it] = position }
          if state.hint[it] < 0 && nodes[it].operation != .variable && node.operation != .select {
            state.hint[it] = Int8(Machine.callerRegisters[argument])
          }
        }
      } else if node.c >= 0 && state.lastUse[node.c] < position {
        state.lastUse[node.c] = position
      }
      if node.b >= 0 && state.lastUse[node.b] < position { state.lastUse[node.b] = position }
      if node.a >= 0 && state.lastUse[node.a] < position {
        state.lastUse[node.a] = position
        let keepsPlace = node.operation != .load && node.operation != .loadSigned && node.operation != .scaledAdd
        if hint >= 0 && keepsPlace && state.hint[node.a] < 0 && nodes[node.a].operation != .variable {
          state.hint[node.a] = hint
        }
      }
      position -= 1
    }
  }

  /// Brings variables home, and goes on to the next block.
  private mutating func finish(_ block: Block, _ homes: Homes, _ labels: Int32, _ following: Int32) {
    let nodes = builder.nodes
    // What is overwritten in the frame and still needed is taken out first.
    var overwritten: VariableSet = 0
    for index in 0..<schedule.finals.count where homes.register[Int(schedule.finals[index].variable)] < 0 {
      overwritten |= 1 << VariableSet(schedule.finals[index].variable)
    }
    if overwritten != 0 {
      for index in 0..<Int32(nodes.count) where nodes[index].operation == .variable {
        guard overwritten >> VariableSet(nodes[index].immediate) & 1 != 0 else { continue }
        if backend.state.remaining[index] > 0 { _ = backend.use(index) }
        backend.state.saved[index] = -1
      }
      for index in 0..<schedule.finals.count {
        let final = schedule.finals[index]
        guard homes.register[Int(final.variable)] < 0 else { continue }
        let register = backend.use(final.node)
        backend.storeSlot(homes.slot[Int(final.variable)], register)
        backend.consume(final.node)
      }
    }

    var condition: UInt8?
    if block.terminator == .branch && builder.left >= 0 {
      condition = backend.compare(builder.condition, width: builder.conditionWidth, builder.left, builder.right)
    }
    backend.keepsFlags = condition != nil
    var sources = InlineArray<32, Int8>(repeating: -1)
    for index in 0..<schedule.finals.count {
      let final = schedule.finals[index]
      let home = homes.register[Int(final.variable)]
      guard home >= 0 else { continue }
      backend.state.touched |= 1 << UInt32(home)
      sources[Int(home)] = backend.state.place[final.node]
    }
    backend.moveTogether(sources)
    for index in 0..<schedule.finals.count {
      let final = schedule.finals[index]
      let home = homes.register[Int(final.variable)]
      if home >= 0 && backend.state.place[final.node] < 0 { backend.fetch(final.node, Register(home)) }
    }
    backend.keepsFlags = false

    switch block.terminator {
    case .none:
      // Proved never to be reached, or left by an exception.
      backend.trap()
    case .return:
      let result = Machine.file.result
      if backend.state.place[builder.returned] >= 0 {
        backend.move(result, Register(backend.state.place[builder.returned]))
      } else {
        backend.fetch(builder.returned, result)
      }
      backend.state.touched |= 1 << UInt32(result)
      backend.layout.append(.snippet, target: backend.leave)
    case .fall: jump(block.next, labels, following)
    case .branch:
      guard let condition else {
        return jump(builder.outcome == true ? block.target : block.next, labels, following)
      }
      if block.target == following || (block.next != following && block.next < following && block.target >= following) {
        backend.layout.append(
          .conditionalJump, target: labels + block.next, argument: condition ^ 1)
        jump(block.target, labels, following)
      } else {
        backend.layout.append(.conditionalJump, target: labels + block.target, argument: condition)
        jump(block.next, labels, following)
      }
    }
  }

  private mutating func jump(_ block: Int32, _ labels: Int32, _ following: Int32) {
    guard block >= 0 else {
      return backend.trap()
    }
    if block != following { backend.layout.append(.jump, target: labels + block) }
  }
}

extension CompilerInput {
  /// The functions that are called before those that call them.
  func callOrder() -> [Int] {
    var order: [Int] = []
    var state = [UInt8](repeating: 0, count: functions.count)
    var stack: [(function: Int, slot: Int)] = []
    for root in functions.indices where state[root] == 0 {
      stack.append((root, functions[root].lowerBound))
      state[root] = 1
      while let (function, start) = stack.last {
        var slot = start
        var next: Int?
        while slot < functions[function].upperBound {
          if operations[slot].kind == .subprogram {
            let callee = Int(operations[slot].operand)
            if state[callee] == 0 {
              next = callee
              break
            }
          }
          slot += 1
        }
        stack[stack.count - 1].slot = slot
        if let next {
          state[next] = 1
          stack.append((next, functions[next].lowerBound))
        } else {
          stack.removeLast()
          order.append(function)
        }
      }
    }
    return order
  }

  func callsInlined(_ function: Int, _ facts: [FunctionFacts]) -> Bool {
    operations[functions[function]].contains { $0.kind == .subprogram && facts[Int($0.operand)].isInlinable }
  }

  /// Compiled as a call that changes registers.
  func isMachineCall(_ slot: Int) -> Bool {
    switch operations[slot].kind {
    case .callWithCallback, .subprogram, .tailCall, .throw, .legacyLoad, .faulting: return true
    case .call:
      switch lowering(slot) {
      case .call, .lookup: return true
      default: return false
      }
    default: return false
    }
  }

  /// Whether the function is small enough to be part of those that call it.
  func describe(_ function: Int, _ graph: FlowGraph, _ facts: inout [FunctionFacts]) {
    let range = functions[function]
    facts[function].isInlinable =
      function != 0 && range.count <= 40 && graph.order.count <= 12 && graph.order.count > 0
      && graph.contexts.count == 1
    for slot in range where operations[slot].kind != .unreachable {
      if isMachineCall(slot) || operations[slot].kind == .mayGoto { facts[function].isInlinable = false }
      let effects = effects(slot, stackSlot: 0, InlineContext(function: Int32(function)), facts)
      if (effects.writes | effects.reads) & 0x3c0 != 0 { facts[function].usesSaved = true }
    }
  }
}
