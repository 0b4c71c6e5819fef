import BPFISA
import BPFLinux
import BPFRuntime

/// What the compiler knows of a function before it compiles those that call it.
struct FunctionFacts {
  /// Places of the stack that are only ever accessed directly: variables, where a register can hold them.
  var slots: [StackSlot] = []
  /// Small, and calls nothing: its body takes the place of calls.
  var isInlinable = false
  /// It writes r6 to r9.
  var usesSaved = false
  /// Arguments that it reads: bit by register.
  var arguments: UInt8 = 0x3e
  /// It needs the address of the run.
  var needsRun = false
  /// Machine registers that a call of it changes; known once it is compiled.
  var clobbers: UInt32 = .max
  /// Some address in the frame is known to others.
  var frameEscapes = false
}

/// A promoted place in the stack.
struct StackSlot: BitwiseCopyable {
  var offset: Int16
  var size: UInt8
  var weight: Int32
}

/// Finds the stack slots of a function that no pointer reaches.
///
/// Registers that hold an address in the frame are followed through moves and additions of constants. What such an
/// address is passed to may reach upwards of it, a map helper as far as the key or value is long; an address that is
/// stored, or that something unknown is added to, may reach everything.
struct FrameAnalysis {
  private static let unvisited = Int16.max
  private static let other = Int16.max - 1

  private typealias Registers = InlineArray<10, Int16>

  private let graph: FlowGraph
  /// Of each byte of the frame, lowest first: what accesses are known to begin there.
  private var stores = [UInt8](repeating: 0, count: 512)
  private var loads = [UInt8](repeating: 0, count: 512)
  private var weights = [Int32](repeating: 0, count: 512)
  private var reached = [Bool](repeating: false, count: 512)
  private var allReached = false
  private(set) var escapes = false

  init(_ graph: FlowGraph) { self.graph = graph }

  /// - Parameter slotOf: receives, for each slot of the program, the number of the stack slot that its access is of,
  ///   plus one.
  mutating func run(_ input: borrowing CompilerInput, limit: Int, slotOf: Pool<Int8>) -> [StackSlot] {
    guard graph.order.count > 0 else { return [] }
    let entry = Pool<Registers>(
      repeating: Registers(repeating: FrameAnalysis.unvisited), count: graph.blocks.count)
    defer { entry.release() }
    entry[0] = Registers(repeating: FrameAnalysis.other)
    // A register goes from unvisited to an offset to other: two rounds after the last change settle it.
    var changed = true
    var rounds = 0
    while changed {
      changed = false
      rounds += 1
      if rounds > 40 {
        escapes = true
        return []
      }
      for index in 0..<graph.order.count {
        let block = graph.blocks[graph.order[index]]
        var registers = entry[graph.order[index]]
        visit(input, block, &registers, record: false, slotOf: slotOf)
        for successor in [block.next, block.target] where successor >= 0 {
          var merged = entry[successor]
          var differs = false
          for register in 0..<10 where merged[register] != registers[register] {
            let old = merged[register]
            let now = old == FrameAnalysis.unvisited ? registers[register] : FrameAnalysis.other
            if now == old { continue }
            if old != FrameAnalysis.unvisited && (isFrame(old) || isFrame(registers[register])) {
              // Two places, or one and something else: not followed any further.
              escapingMerges.insert(Int(successor) * 16 + register)
            }
            merged[register] = now
            differs = true
          }
          if differs {
            entry[successor] = merged
            changed = true
          }
        }
      }
    }
    for index in 0..<graph.order.count {
      var registers = entry[graph.order[index]]
      visit(input, graph.blocks[graph.order[index]], &registers, record: true, slotOf: slotOf)
    }
    for merge in escapingMerges where graph.blocks[merge / 16].liveIn >> VariableSet(merge % 16) & 1 != 0 {
      allReached = true
    }
    escapes = allReached || reached.contains(true)
    guard !allReached else { return [] }
    let slots = choose(limit: limit)
    guard !slots.isEmpty else { return [] }
    numberOf = [Int8](repeating: 0, count: 512)
    for (number, slot) in slots.enumerated() { numberOf[Int(slot.offset) + 512] = Int8(number + 1) }
    for index in 0..<graph.order.count {
      var registers = entry[graph.order[index]]
      visit(input, graph.blocks[graph.order[index]], &registers, record: false, slotOf: slotOf)
    }
    return slots
  }

  private var escapingMerges: Set<Int> = []
  private var numberOf: [Int8] = []

  private func isFrame(_ value: Int16) -> Bool { value < FrameAnalysis.other }

  private func choose(limit: Int) -> [StackSlot] {
    var slots: [StackSlot] = []
    var start = 0
    while start < 512 {
      guard loads[start] | stores[start] != 0 else {
        start += 1
        continue
      }
      // What overlaps stands or falls together.
      var end = start + width(loads[start] | stores[start])
      var isAlone = true
      var at = start + 1
      while at < end && at < 512 {
        if loads[at] | stores[at] != 0 {
          isAlone = false
          end = max(end, at + width(loads[at] | stores[at]))
        }
        at += 1
      }
      let size = width(stores[start])
      let isWhole = stores[start] != 0 && stores[start] & (stores[start] - 1) == 0 && width(loads[start]) <= size
      if isAlone && isWhole && !(start..<min(end, 512)).contains(where: { reached[$0] }) {
        slots.append(StackSlot(offset: Int16(start - 512), size: UInt8(size), weight: weights[start]))
      }
      start = end
    }
    if slots.count > limit {
      slots.sort { $0.weight > $1.weight }
      slots.removeLast(slots.count - limit)
    }
    return slots
  }

  /// Bytes of the widest access of a set of sizes.
  private func width(_ sizes: UInt8) -> Int { sizes == 0 ? 0 : 1 << (7 - sizes.leadingZeroBitCount) }

  private mutating func reach(_ from: Int, _ bytes: Int) {
    guard from >= -512 else {
      allReached = true
      return
    }
    for byte in max(from, -512)..<max(from, min(0, from + bytes)) { reached[byte + 512] = true }
  }

  private mutating func visit(
    _ input: borrowing CompilerInput, _ block: Block, _ registers: inout Registers, record: Bool,
    slotOf: Pool<Int8>
  ) {
    var slot = Int(block.start)
    while slot < Int(block.end) {
      step(input, slot, block, &registers, record, slotOf)
      slot += input.length(slot)
    }
  }

  private mutating func step(
    _ input: borrowing CompilerInput, _ slot: Int, _ block: Block, _ registers: inout Registers, _ record: Bool,
    _ slotOf: Pool<Int8>
  ) {
    let operation = input.operations[slot]
    let insn = operation.instruction
    let dst = insn.dst
    let src = insn.src
    func value(_ register: Int) -> Int16 {
      register == 10 ? 0 : register < 10 ? registers[register] : FrameAnalysis.other
    }
    switch operation.kind {
    case .unreachable, .mayGoto: return
    case .storeBelow:
      if record && (isFrame(value(dst)) || isFrame(value(src))) { allReached = true }
      return
    case .legacyLoad:
      for register in 0..<6 { registers[register] = FrameAnalysis.other }
      return
    case .constant, .functionAddress:
      if dst < 10 { registers[dst] = FrameAnalysis.other }
      return
    case .call, .callWithCallback, .subprogram, .tailCall, .throw:
      passArguments(input, slot, operation, registers, block, record, slotOf)
      for register in 0..<6 { registers[register] = FrameAnalysis.other }
      return
    case .arenaCast:
      if record && isFrame(value(src)) { allReached = true }
      if dst < 10 { registers[dst] = FrameAnalysis.other }
      return
    case .plain, .faulting, .arena: break
    }
    switch insn.instructionClass {
    case Class.alu, Class.alu64:
      guard dst < 10 else { return }
      let isWide = insn.instructionClass == Class.alu64
      let usesRegister = insn.operandSource == Source.x && insn.operation != ALU.end && insn.operation != ALU.neg
      if insn.operation == ALU.mov && isWide && usesRegister && insn.offset == 0 {
        registers[dst] = value(src)
        return
      }
      let isSum = insn.operation == ALU.add || insn.operation == ALU.sub
      if isWide && !usesRegister && isFrame(registers[dst]) && isSum {
        let by = insn.operation == ALU.add ? Int(insn.immediate) : -Int(insn.immediate)
        let moved = Int(registers[dst]) + by
        if moved >= -4096 && moved <= 4096 {
          registers[dst] = Int16(moved)
          return
        }
      }
      let involved =
        (usesRegister && isFrame(value(src))) || (insn.operation != ALU.mov && isFrame(registers[dst]))
      if record && involved { allReached = true }
      registers[dst] = FrameAnalysis.other
    case Class.ldx:
      if isFrame(value(src)) {
        let place = Int(value(src)) + Int(insn.offset)
        access(input, slot, block, place, size: insn.accessSize, isStore: false, record, slotOf)
      }
      if dst < 10 { registers[dst] = FrameAnalysis.other }
    case Class.st:
      if isFrame(value(dst)) {
        let place = Int(value(dst)) + Int(insn.offset)
        access(input, slot, block, place, size: insn.accessSize, isStore: true, record, slotOf)
      }
    case Class.stx:
      if record && isFrame(value(src)) { allReached = true }
      if insn.mode == Mode.atomic {
        if record && isFrame(value(dst)) { reach(Int(value(dst)) + Int(insn.offset), insn.accessSize) }
        if insn.immediate == Atomic.cmpxchg { registers[0] = FrameAnalysis.other }
        if insn.immediate == Atomic.loadAcquire {
          if record && isFrame(value(src)) { allReached = true }
          if dst < 10 { registers[dst] = FrameAnalysis.other }
        } else if insn.immediate & Atomic.fetch != 0 && insn.immediate != Atomic.cmpxchg && src < 10 {
          registers[src] = FrameAnalysis.other
        }
        return
      }
      if isFrame(value(dst)) {
        let place = Int(value(dst)) + Int(insn.offset)
        access(input, slot, block, place, size: insn.accessSize, isStore: true, record, slotOf)
      }
    case Class.ld:
      for register in 0..<6 { registers[register] = FrameAnalysis.other }
    default: return
    }
  }

  private mutating func access(
    _ input: borrowing CompilerInput, _ slot: Int, _ block: Block, _ offset: Int, size: Int, isStore: Bool,
    _ record: Bool, _ slotOf: Pool<Int8>
  ) {
    guard offset >= -512, offset + size <= 0 else {
      if record { allReached = true }
      return
    }
    if !numberOf.isEmpty {
      slotOf[slot] = numberOf[offset + 512]
      return
    }
    guard record else { return }
    let kind = input.operations[slot].kind
    guard kind == .plain || kind == .call else { return reach(offset, size) }
    if isStore { stores[offset + 512] |= UInt8(size) } else { loads[offset + 512] |= UInt8(size) }
    weights[offset + 512] &+= Int32(block.weight)
  }

  private mutating func passArguments(
    _ input: borrowing CompilerInput, _ slot: Int, _ operation: LinkedOperation, _ registers: Registers,
    _ block: Block, _ record: Bool, _ slotOf: Pool<Int8>
  ) {
    switch input.lowering(slot) {
    case .processorNumber: return
    case .arrayElement, .processorArrayElement:
      // The key is read in place.
      guard input.constantElement(slot) == nil, isFrame(registers[2]) else { return }
      return access(input, slot, block, Int(registers[2]), size: 4, isStore: false, record, slotOf)
    case .call, .lookup: break
    }
    guard record else { return }
    let passed = input.callArguments[slot]
    for register in 1...5 where passed >> UInt8(register) & 1 != 0 && isFrame(registers[register]) {
      let place = Int(registers[register])
      guard operation.kind == .call else {
        allReached = true
        return
      }
      let map = operation.map
      if map >= 0, Int(map) < input.maps.count, (1...3).contains(operation.helper), register == 2 || register == 3 {
        let shape = input.maps[Int(map)].pointee
        reach(place, Int(register == 2 ? shape.key_size : shape.value_size))
      } else {
        reach(place, 512)
      }
    }
  }
}
