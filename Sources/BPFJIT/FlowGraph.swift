import BPFISA
import BPFRuntime

/// A run of slots that is entered at its first and left at its last.
struct Block: BitwiseCopyable {
  var start: Int32
  var end: Int32
  /// The blocks that follow; -1 where there is none.
  var next: Int32 = -1
  var target: Int32 = -1
  var terminator = Terminator.none
  /// Loops around it.
  var depth: UInt8 = 0
  var isLoopHead = false
  /// Which inlined function it is of; 0 is the function itself.
  var context: Int32 = 0
  var predecessors: Int32 = 0
  var isReachable = false
  var liveIn: VariableSet = 0
  var liveOut: VariableSet = 0
  /// Variables read before they are written, and those written.
  var reads: VariableSet = 0
  var writes: VariableSet = 0
  /// Variables whose upper half is zero where the block begins.
  var narrow: VariableSet = 0
  /// The block that is compiled with this one, right after it; -1 where its region ends.
  var regionNext: Int32 = -1
  /// A block that one way out goes through, whose moves are done by choosing; -1 where there is none.
  var detour: Int32 = -1
  /// It is part of the region of the block before it.
  var isAbsorbed = false

  init(start: Int, end: Int, context: Int) {
    self.start = Int32(start)
    self.end = Int32(end)
    self.context = Int32(context)
  }

  /// It begins a region.
  var isHead: Bool { isReachable && !isAbsorbed }

  /// How often it runs, roughly.
  var weight: Int { 1 << (3 * min(Int(depth), 6)) }
}

/// A function inlined into another: where its own registers and stack are.
struct InlineContext: BitwiseCopyable {
  var function: Int32
  /// The variable of r6.
  var saved: Int32 = 6
  /// Where its r10 points, from the function's own.
  var frame: Int32 = 0
  /// The variable of its first stack slot.
  var slots: Int32 = 0

  @inline(__always)
  func variable(_ register: Int) -> Variable { register < 6 ? register : Int(saved) + register - 6 }

  /// Variables of a set of BPF registers.
  @inline(__always)
  func variables(_ registers: UInt32) -> VariableSet {
    VariableSet(registers & 0x3f) | VariableSet((registers >> 6) & 0xf) << VariableSet(saved)
  }
}

/// The blocks of a function, in the order in which they are laid out, with those of the functions inlined in it.
struct FlowGraph {
  var blocks = Pool<Block>()
  var contexts = Pool<InlineContext>(capacity: 8)
  /// Bytes of stack, those of inlined functions included.
  var stackSize: Int
  var variableCount: Int
  /// Reachable blocks, each before those that follow it but for loops.
  var order = Pool<Int32>()

  func release() {
    blocks.release()
    contexts.release()
    order.release()
  }

  /// - Parameter inlines: says of a function whether its body takes the place of calls of it.
  init(_ input: borrowing CompilerInput, function: Int, analysis: [FunctionFacts], inlines: Bool) {
    stackSize = (input.stackDepths[function] + 15) & ~15
    variableCount = firstFreeVariable
    let slots = inlines ? analysis[function].slots.count : 0
    contexts.append(InlineContext(function: Int32(function), saved: 6, frame: 0, slots: Int32(variableCount)))
    variableCount += slots
    _ = expand(input, function: function, context: 0, returnsTo: nil, analysis: analysis, inlines: inlines)
    skipEmptyBlocks(input)
    findOrder()
    findLoops()
  }

  /// Jumps to nothing but a jump go on to where that goes.
  private mutating func skipEmptyBlocks(_ input: borrowing CompilerInput) {
    func end(_ block: Int32) -> Int32 {
      var at = block
      var steps = 0
      while at >= 0, steps < 16 {
        let it = blocks[at]
        let isEmpty = it.start == it.end || (it.end == it.start + 1 && input.isPlainJump(Int(it.start)))
        guard isEmpty, it.terminator == .fall, it.next >= 0 else { break }
        at = it.next
        steps += 1
      }
      return at
    }
    for index in 0..<blocks.count {
      if blocks[index].next >= 0 { blocks[index].next = end(blocks[index].next) }
      if blocks[index].target >= 0 { blocks[index].target = end(blocks[index].target) }
    }
  }

  /// Appends the blocks of `function`. Exits go to the block after the last where `returnsTo` says so.
  private mutating func expand(
    _ input: borrowing CompilerInput, function: Int, context: Int, returnsTo: Void?, analysis: [FunctionFacts],
    inlines: Bool
  ) -> Int {
    let range = input.functions[function]
    let base = range.lowerBound
    var leaders = [Bool](repeating: false, count: range.count + 1)
    leaders[0] = true
    var slot = base
    while slot < range.upperBound {
      let next = slot + input.length(slot)
      if input.isReachable(slot) {
        if input.isConditionalJump(slot) || input.isPlainJump(slot) {
          let target = input.jumpTarget(slot)
          if range.contains(target) { leaders[target - base] = true }
          if next <= range.upperBound { leaders[next - base] = true }
        } else if input.endsPath(slot) {
          if next <= range.upperBound { leaders[next - base] = true }
        }
      }
      slot = next
    }

    var blockAt = [Int32](repeating: -1, count: range.count + 1)
    let first = blocks.count
    // Of the blocks made here: the slots they go to, and those that return.
    var pending: [(block: Int, next: Int, target: Int)] = []
    var returning: [Int] = []
    var start = base
    var open = false
    var current = 0
    slot = base
    while slot < range.upperBound {
      if leaders[slot - base] {
        if open {
          blocks[current].end = Int32(slot)
          blocks[current].terminator = .fall
          pending.append((current, slot, -1))
        }
        open = false
        guard input.isReachable(slot) else {
          slot += input.length(slot)
          continue
        }
        current = blocks.count
        blocks.append(Block(start: slot, end: slot, context: context))
        blockAt[slot - base] = Int32(current)
        open = true
        start = slot
      } else if !open {
        slot += input.length(slot)
        continue
      }
      let next = slot + input.length(slot)
      _ = start
      guard input.isReachable(slot) else {
        // What is before never gets here.
        blocks[current].end = Int32(slot)
        open = false
        slot = next
        continue
      }
      if input.isConditionalJump(slot) {
        let target = input.jumpTarget(slot)
        blocks[current].end = Int32(next)
        let falls = next < range.upperBound && input.isReachable(next)
        let jumps = range.contains(target) && input.isReachable(target)
        if falls && jumps {
          blocks[current].terminator = .branch
          pending.append((current, next, target))
        } else if falls || jumps {
          blocks[current].terminator = .fall
          pending.append((current, falls ? next : target, -1))
        }
        open = false
      } else if input.isPlainJump(slot) {
        let target = input.jumpTarget(slot)
        blocks[current].end = Int32(next)
        if range.contains(target) && input.isReachable(target) {
          blocks[current].terminator = .fall
          pending.append((current, target, -1))
        }
        open = false
      } else if input.isExit(slot) {
        blocks[current].end = Int32(next)
        if returnsTo == nil {
          blocks[current].terminator = .return
        } else {
          blocks[current].terminator = .fall
          returning.append(current)
        }
        open = false
      } else if input.operations[slot].kind == .throw {
        blocks[current].end = Int32(next)
        open = false
      } else if inlines, input.operations[slot].kind == .subprogram,
        let inner = inlineContext(input, Int(input.operations[slot].operand), context, analysis)
      {
        // The call itself is not part of any block.
        blocks[current].end = Int32(slot)
        blocks[current].terminator = .fall
        blocks[current].next = Int32(blocks.count)
        let callee = Int(input.operations[slot].operand)
        let end = expand(input, function: callee, context: inner, returnsTo: (), analysis: analysis, inlines: true)
        current = end
        blocks.append(Block(start: next, end: next, context: context))
        if next < range.upperBound, leaders[next - base] { blockAt[next - base] = Int32(current) }
        if next < range.upperBound, leaders[next - base] {
          // It is a block of its own already: this one only leads to it.
          blocks[current].terminator = .fall
          pending.append((current, next, -1))
          blockAt[next - base] = -1
          open = false
        } else {
          open = true
        }
      }
      slot = next
    }
    if open { blocks[current].end = Int32(range.upperBound) }
    for edge in pending {
      blocks[edge.block].next = blockAt[edge.next - base]
      if edge.target >= 0 { blocks[edge.block].target = blockAt[edge.target - base] }
    }
    for block in returning { blocks[block].next = Int32(blocks.count) }
    _ = first
    return blocks.count
  }

  /// A place for a function that is to be inlined; nil where it is not, or where variables have run out.
  private mutating func inlineContext(
    _ input: borrowing CompilerInput, _ callee: Int, _ context: Int, _ analysis: [FunctionFacts]
  ) -> Int? {
    guard callee < analysis.count, analysis[callee].isInlinable, blocks.count < 4000 else { return nil }
    let slots = analysis[callee].slots.count
    let saved = analysis[callee].usesSaved ? 4 : 0
    guard variableCount + slots + saved <= variableLimit else { return nil }
    var inner = InlineContext(function: Int32(callee), saved: 6, frame: 0, slots: 0)
    // Calls that do not overlap could share their variables; a count of 64 has seldom been too few.
    inner.saved = Int32(saved > 0 ? variableCount : 6)
    inner.slots = Int32(variableCount + saved)
    if let same = (0..<contexts.count).first(where: { $0 > 0 && contexts[$0].function == Int32(callee) }),
      contexts[context].function == contexts[0].function
    {
      return same
    }
    variableCount += slots + saved
    inner.frame = -Int32(stackSize)
    stackSize += (input.stackDepths[callee] + 15) & ~15
    contexts.append(inner)
    return contexts.count - 1
  }

  /// Depth first from the entry; what is not reached is dropped.
  private mutating func findOrder() {
    let count = blocks.count
    guard count > 0 else { return }
    let state = Pool<UInt8>(repeating: 0, count: count)
    var stack = Pool<Int32>()
    var postorder = Pool<Int32>(capacity: count)
    defer {
      state.release()
      stack.release()
      postorder.release()
    }
    stack.append(0)
    state[0] = 1
    blocks[0].predecessors += 1
    while !stack.isEmpty {
      let block = stack.last
      let step = state[block]
      if step <= 2 {
        state[block] = step + 1
        let successor = step == 1 ? blocks[block].target : blocks[block].next
        if successor >= 0 {
          blocks[successor].predecessors += 1
          if state[successor] == 0 {
            state[successor] = 1
            stack.append(successor)
          } else if state[successor] < 4 {
            // Still on the stack: a loop.
            blocks[successor].isLoopHead = true
          }
        }
      } else {
        state[block] = 4
        stack.removeLast()
        postorder.append(block)
      }
    }
    for index in stride(from: postorder.count - 1, through: 0, by: -1) {
      order.append(postorder[index])
      blocks[postorder[index]].isReachable = true
    }
  }

  /// Counts the loops around each block. Bodies are found backwards from the jumps back; work is bounded.
  private mutating func findLoops() {
    guard (0..<blocks.count).contains(where: { blocks[$0].isLoopHead }) else { return }
    let count = blocks.count
    let rank = Pool<Int32>(repeating: -1, count: count)
    for index in 0..<order.count { rank[order[index]] = Int32(index) }
    // Predecessors, by lists of edges.
    let firstEdge = Pool<Int32>(repeating: -1, count: count)
    var edges = Pool<(from: Int32, next: Int32)>()
    let mark = Pool<Int32>(repeating: -1, count: count)
    var stack = Pool<Int32>()
    defer {
      rank.release()
      firstEdge.release()
      edges.release()
      mark.release()
      stack.release()
    }
    for index in 0..<order.count {
      let block = order[index]
      for successor in [blocks[block].next, blocks[block].target] where successor >= 0 {
        edges.append((block, firstEdge[successor]))
        firstEdge[successor] = Int32(edges.count - 1)
      }
    }
    var budget = 16 * count + 4096
    for index in 0..<order.count {
      let head = order[index]
      guard blocks[head].isLoopHead else { continue }
      mark[head] = head
      var edge = firstEdge[head]
      var isLoop = false
      while edge >= 0 {
        let from = edges[edge].from
        if rank[from] >= rank[head] {
          isLoop = true
          if mark[from] != head {
            mark[from] = head
            stack.append(from)
          }
        }
        edge = edges[edge].next
      }
      if isLoop { blocks[head].depth &+= 1 }
      while !stack.isEmpty {
        let block = stack.removeLast()
        blocks[block].depth = min(blocks[block].depth + 1, 100)
        var edge = firstEdge[block]
        while edge >= 0 {
          let from = edges[edge].from
          // Loops with a second entrance would lead out of it.
          if mark[from] != head && rank[from] >= rank[head] {
            mark[from] = head
            stack.append(from)
          }
          edge = edges[edge].next
        }
        budget -= 1
        if budget < 0 { return }
      }
    }
  }
}
