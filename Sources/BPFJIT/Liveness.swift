import BPFISA
import BPFRuntime

/// What an instruction reads and writes, as sets of BPF registers (bit by number) and of variables beyond them.
struct SlotEffects {
  var reads: UInt32 = 0
  var writes: UInt32 = 0
  var extraReads: VariableSet = 0
  var extraWrites: VariableSet = 0
}

extension CompilerInput {
  /// - Parameter stackSlot: number of the promoted stack slot that is accessed, plus one; 0 where there is none.
  func effects(_ slot: Int, stackSlot: Int8, _ context: InlineContext, _ facts: [FunctionFacts]) -> SlotEffects {
    let operation = operations[slot]
    let insn = operation.instruction
    let dst: UInt32 = 1 << UInt32(insn.dst)
    let src: UInt32 = 1 << UInt32(insn.src)
    let run: VariableSet = 1 << VariableSet(runVariable)
    var effects = SlotEffects()
    let variable: VariableSet = stackSlot > 0 ? 1 << VariableSet(Int(context.slots) + Int(stackSlot) - 1) : 0
    switch operation.kind {
    case .unreachable: break
    case .constant, .functionAddress: effects.writes = dst
    case .call, .callWithCallback:
      effects.writes = 0x3f
      switch lowering(slot) {
      case .processorNumber: effects.extraReads = run
      case .arrayElement, .processorArrayElement:
        if case .processorArrayElement = lowering(slot) { effects.extraReads = run }
        if constantElement(slot) == nil {
          if variable != 0 { effects.extraReads |= variable } else { effects.reads = 1 << 2 }
        }
      case .lookup:
        effects.reads = 1 << 2
        effects.extraReads = run
      case .call:
        effects.reads = UInt32(callArguments[slot])
        if operation.descriptorRegister > 0 { effects.reads &= ~(1 << UInt32(operation.descriptorRegister)) }
        effects.extraReads = run
      }
    case .subprogram:
      effects.writes = 0x3f
      let callee = facts[Int(operation.operand)]
      effects.reads = UInt32(callee.arguments)
      if callee.needsRun { effects.extraReads = run }
    case .tailCall:
      effects.reads = 1 << 1 | 1 << 2 | 1 << 3
      effects.writes = 0x3f
      effects.extraReads = run
    case .throw:
      effects.reads = 1 << 1
      effects.extraReads = run
    case .mayGoto: effects.extraReads = run
    case .arenaCast:
      effects.reads = src
      effects.writes = dst
    case .legacyLoad:
      effects.reads = 1 << 6 | (insn.mode == Mode.ind ? src : 0)
      effects.writes = 0x3f
      effects.extraReads = run
    case .storeBelow: effects.reads = insn.instructionClass == Class.st ? dst : dst | src
    case .plain, .faulting, .arena:
      switch insn.instructionClass {
      case Class.alu, Class.alu64:
        let isMove = insn.operation == ALU.mov
        effects.writes = dst
        if !isMove { effects.reads = dst }
        if insn.operandSource == Source.x && insn.operation != ALU.end && insn.operation != ALU.neg {
          effects.reads |= src
        }
      case Class.jmp, Class.jmp32:
        if insn.opcode == Opcode.exit {
          effects.reads = 1
        } else if Condition(jump: insn.operation) != nil {
          effects.reads = dst | (insn.operandSource == Source.x ? src : 0)
        }
      case Class.ldx:
        if variable != 0 { effects.extraReads = variable } else { effects.reads = src }
        effects.writes = dst
      case Class.st:
        if variable != 0 { effects.extraWrites = variable } else { effects.reads = dst }
      case Class.stx:
        if insn.mode == Mode.atomic {
          effects.reads = dst | src
          switch insn.immediate {
          case Atomic.cmpxchg:
            effects.reads |= 1
            effects.writes = 1
          case Atomic.loadAcquire:
            effects.reads = src
            effects.writes = dst
          case Atomic.storeRelease: break
          default: if insn.immediate & Atomic.fetch != 0 { effects.writes = src }
          }
        } else if variable != 0 {
          effects.extraWrites = variable
          effects.reads = src
        } else {
          effects.reads = dst | src
        }
      default: break
      }
    }
    effects.reads &= 0x3ff
    effects.writes &= 0x3ff
    return effects
  }

  /// Registers of `narrow` whose upper half is still zero after the instruction, and those where it becomes so.
  func narrowAfter(_ slot: Int, stackSlot: Int8, _ context: InlineContext, _ narrow: VariableSet) -> VariableSet {
    let operation = operations[slot]
    let insn = operation.instruction
    let dst: VariableSet = insn.dst < 10 ? 1 << VariableSet(context.variable(insn.dst)) : 0
    let src: VariableSet = insn.src < 10 ? 1 << VariableSet(context.variable(insn.src)) : 0
    let variable: VariableSet = stackSlot > 0 ? 1 << VariableSet(Int(context.slots) + Int(stackSlot) - 1) : 0
    func set(_ bit: VariableSet, _ isNarrow: Bool) -> VariableSet { isNarrow ? narrow | bit : narrow & ~bit }
    switch operation.kind {
    case .unreachable, .mayGoto, .throw, .storeBelow: return narrow
    case .constant: return set(dst, operation.operand >> 32 == 0)
    case .functionAddress, .arenaCast: return set(dst, false)
    case .legacyLoad: return narrow & ~0x3f
    case .call, .callWithCallback, .subprogram, .tailCall:
      if case .processorNumber = lowering(slot) { return narrow & ~0x3f | 1 }
      return narrow & ~0x3f
    case .plain, .faulting, .arena: break
    }
    switch insn.instructionClass {
    case Class.alu:
      if insn.operation == ALU.end && insn.immediate == 64 { return set(dst, false) }
      return set(dst, true)
    case Class.alu64:
      let isRegister = insn.operandSource == Source.x
      switch insn.operation {
      case ALU.mov:
        if insn.offset != 0 { return set(dst, false) }
        return set(dst, isRegister ? narrow & src != 0 : insn.immediate >= 0)
      case ALU.and:
        if isRegister { return set(dst, narrow & (dst | src) != 0) }
        return insn.immediate >= 0 ? narrow | dst : narrow
      case ALU.rsh:
        return !isRegister && insn.immediate >= 32 ? narrow | dst : narrow
      case ALU.or, ALU.xor:
        return set(dst, narrow & dst != 0 && (isRegister ? narrow & src != 0 : insn.immediate >= 0))
      case ALU.div, ALU.mod:
        return insn.offset == 0 ? narrow : set(dst, false)
      case ALU.end: return set(dst, insn.immediate <= 32)
      default: return set(dst, false)
      }
    case Class.ldx:
      if insn.mode == Mode.memsx { return set(dst, false) }
      if variable != 0 && insn.accessSize == 8 { return set(dst, narrow & variable != 0) }
      return set(dst, insn.accessSize <= 4)
    case Class.st:
      guard variable != 0 else { return narrow }
      return set(variable, insn.accessSize <= 4 || insn.immediate >= 0)
    case Class.stx:
      if insn.mode == Mode.atomic {
        switch insn.immediate {
        case Atomic.cmpxchg: return set(1, insn.accessSize == 4)
        case Atomic.loadAcquire: return set(dst, insn.accessSize <= 4)
        default: return insn.immediate & Atomic.fetch != 0 ? set(src, insn.accessSize == 4) : narrow
        }
      }
      guard variable != 0 else { return narrow }
      return set(variable, insn.accessSize <= 4 || narrow & src != 0)
    case Class.ld: return narrow & ~0x3f
    default: return narrow
    }
  }
}

extension FlowGraph {
  /// Which variables are live between blocks, and which have a zero upper half.
  mutating func findLiveness(_ input: borrowing CompilerInput, slotOf: Pool<Int8>, facts: [FunctionFacts]) {
    for index in 0..<order.count {
      let number = order[index]
      let block = blocks[number]
      let context = contexts[block.context]
      var reads: VariableSet = 0
      var writes: VariableSet = 0
      var slot = Int(block.start)
      while slot < Int(block.end) {
        let effects = input.effects(slot, stackSlot: slotOf[slot], context, facts)
        reads |= (context.variables(effects.reads) | effects.extraReads) & ~writes
        writes |= context.variables(effects.writes) | effects.extraWrites
        slot += input.length(slot)
      }
      blocks[number].reads = reads
      blocks[number].writes = writes
      blocks[number].liveIn = reads
    }
    var changed = true
    while changed {
      changed = false
      for index in stride(from: order.count - 1, through: 0, by: -1) {
        let number = order[index]
        let block = blocks[number]
        var live: VariableSet = 0
        if block.next >= 0 { live |= blocks[block.next].liveIn }
        if block.target >= 0 { live |= blocks[block.target].liveIn }
        let liveIn = block.reads | (live & ~block.writes)
        if liveIn != block.liveIn || live != block.liveOut {
          blocks[number].liveIn = liveIn
          blocks[number].liveOut = live
          changed = true
        }
      }
    }
  }

  mutating func findNarrowVariables(_ input: borrowing CompilerInput, slotOf: Pool<Int8>) {
    guard order.count > 0 else { return }
    for index in 0..<order.count { blocks[order[index]].narrow = .max }
    blocks[0].narrow = 0
    var changed = true
    while changed {
      changed = false
      for index in 0..<order.count {
        let block = blocks[order[index]]
        let context = contexts[block.context]
        var narrow = block.narrow
        var slot = Int(block.start)
        while slot < Int(block.end) {
          narrow = input.narrowAfter(slot, stackSlot: slotOf[slot], context, narrow)
          slot += input.length(slot)
        }
        for successor in [block.next, block.target] where successor >= 0 {
          let merged = blocks[successor].narrow & narrow
          if merged != blocks[successor].narrow {
            blocks[successor].narrow = merged
            changed = true
          }
        }
      }
    }
  }
}
