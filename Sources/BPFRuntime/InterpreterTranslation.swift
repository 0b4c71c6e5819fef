import BPFISA
import BPFVerifier
import CBPFRuntime

/// Makes steps of a linked program's instructions.
struct InterpreterTranslation {
  /// A step that has no place yet.
  struct Draft {
    var step: InterpreterStep
    /// The slots it stands for: the first, and the one after the last.
    var slots: Range<Int>
    /// The slot that it jumps to, or the first one of the function that it calls.
    var target: Int?
    /// A function whose address it loads.
    var function: Int?
    /// A second step, that only holds data.
    var data: InterpreterStep?
  }

  private let linked: LinkedProgram
  private let isLeader: [Bool]
  private(set) var drafts: [Draft] = []
  /// By function: the index of its first step.
  private(set) var functionStarts: [Int] = []
  private(set) var count = 0
  /// By slot: the draft that stands for it, or would.
  private var draftOfSlot: [Int]
  /// By function: a draft to begin with.
  private var draftOfFunction: [Int] = []

  init(_ linked: LinkedProgram) {
    self.linked = linked
    let slots = linked.operations.count
    var isLeader = [Bool](repeating: false, count: slots + 1)
    for (slot, operation) in linked.operations.enumerated() {
      if let target = Self.jumpTarget(slot, operation), isLeader.indices.contains(target) { isLeader[target] = true }
    }
    for subprogram in linked.proof.subprograms { isLeader[subprogram.range.lowerBound] = true }
    self.isLeader = isLeader
    draftOfSlot = Array(repeating: 0, count: slots + 1)
  }

  /// The slot that an instruction may jump to.
  static func jumpTarget(_ slot: Int, _ operation: LinkedOperation) -> Int? {
    let insn = operation.instruction
    guard operation.kind == .plain || operation.kind == .mayGoto,
      insn.instructionClass == Class.jmp || insn.instructionClass == Class.jmp32,
      insn.operation != Jump.call, insn.operation != Jump.exit
    else { return nil }
    return slot + 1 + (insn.opcode == Opcode.jaLong ? Int(insn.immediate) : Int(insn.offset))
  }

  mutating func translate() {
    for subprogram in linked.proof.subprograms {
      draftOfFunction.append(drafts.count)
      let range = subprogram.range
      if linked.operations[range].contains(where: { $0.kind == .mayGoto }) {
        drafts.append(Draft(step: InterpreterStep(.enterMayGoto), slots: range.lowerBound..<range.lowerBound))
      }
      // What comes before in the program does not run into a function.
      var first = drafts.count
      for slot in range {
        if isLeader[slot] { first = drafts.count }
        draftOfSlot[slot] = drafts.count
        append(slot)
        combine(from: first)
        // Slots whose drafts were taken together are no targets, so that their entries are not asked for.
      }
    }
    drafts.append(Draft(step: InterpreterStep(.unreachable), slots: linked.operations.count..<linked.operations.count))
    draftOfSlot[linked.operations.count] = drafts.count - 1
    count = drafts.reduce(0) { $0 + ($1.data == nil ? 1 : 2) }
  }

  /// Puts the steps into their place, `count` of them.
  mutating func place(into steps: UnsafeMutablePointer<skep_step>) {
    var places: [Int] = []
    places.reserveCapacity(drafts.count)
    var next = 0
    for draft in drafts {
      places.append(next)
      next += draft.data == nil ? 1 : 2
    }
    functionStarts = draftOfFunction.map { places[$0] }
    for (index, draft) in drafts.enumerated() {
      var step = draft.step
      if let target = draft.target {
        let draft = step.op == .subprogram ? draftOfFunction[target] : draftOfSlot[target]
        let distance = (places[draft] - places[index]) * MemoryLayout<skep_step>.stride
        step.offset = Int32(truncatingIfNeeded: distance)
      }
      if let function = draft.function { step.immediate = bits(of: UnsafePointer(steps + functionStarts[function])) }
      (steps + places[index]).initialize(to: skep_step(step))
      if let data = draft.data { (steps + places[index] + 1).initialize(to: skep_step(data)) }
    }
  }

  // MARK: One instruction

  private mutating func append(_ slot: Int) {
    let operation = linked.operations[slot]
    let insn = operation.instruction
    let next = slot + (insn.isLoadImmediate64 ? 2 : 1)
    var draft = Draft(step: InterpreterStep(.unreachable), slots: slot..<next)
    switch operation.kind {
    case .unreachable:
      if drafts.last?.step.op == .unreachable && !isLeader[slot] { return }
      // The second slot of a 64-bit load.
      if slot > 0, linked.operations[slot - 1].kind != .unreachable, isWide(slot - 1) { return }
    case .plain:
      guard let step = plainStep(insn) else { return }
      draft.step = step
      draft.target = Self.jumpTarget(slot, operation)
    case .constant: draft.step = InterpreterStep(.moveK, a: insn.dst, immediate: operation.operand)
    case .functionAddress:
      draft.step = InterpreterStep(.moveK, a: insn.dst)
      draft.function = Int(truncatingIfNeeded: operation.operand & ~LinkedProgram.functionTag)
    case .faulting, .arena: fillAccess(&draft, operation)
    case .arenaCast:
      draft.step = InterpreterStep(.arenaCast, a: insn.dst, b: insn.src, immediate: operation.operand)
    case .call where operation.helper == 1: draft.step = InterpreterStep(.mapLookup)
    case .call where operation.helper == 8: draft.step = InterpreterStep(.processor)
    case .call, .callWithCallback:
      if operation.descriptorRegister != 0 {
        drafts.append(
          Draft(
            step: InterpreterStep(
              .moveK, a: Int(operation.descriptorRegister), immediate: operation.descriptor), slots: slot..<slot))
      }
      draft.step = InterpreterStep(operation.kind == .call ? .call : .callWithCallback, immediate: operation.operand)
    case .subprogram:
      draft.step = InterpreterStep(.subprogram)
      draft.target = Int(truncatingIfNeeded: operation.operand)
    case .tailCall: draft.step = InterpreterStep(.tailCall)
    case .throw: draft.step = InterpreterStep(.throw)
    case .mayGoto:
      draft.step = InterpreterStep(.mayGoto)
      draft.target = Self.jumpTarget(slot, operation)
    case .legacyLoad:
      let isIndirect = insn.mode == Mode.ind
      draft.step = InterpreterStep(
        .legacyLoad, a: insn.accessSize, b: insn.src, c: isIndirect ? 1 : 0,
        immediate: UInt64(bitPattern: Int64(insn.immediate)))
      draft.data = InterpreterStep(.unreachable, immediate: operation.operand)
    case .storeBelow:
      draft.step = InterpreterStep(
        .storeBelow, a: insn.dst, b: insn.src, offset: Int32(insn.offset), immediate: operation.operand)
    }
    drafts.append(draft)
  }

  private func isWide(_ slot: Int) -> Bool { linked.operations[slot].instruction.isLoadImmediate64 }

  private func fillAccess(_ draft: inout Draft, _ operation: LinkedOperation) {
    let insn = operation.instruction
    guard let access = InterpreterAccess(insn) else { return }
    let op: InterpreterOperation = operation.kind == .arena ? .arena : .faulting
    draft.step = InterpreterStep(
      op, a: insn.dst, b: insn.src, c: Int(access.rawValue), offset: Int32(insn.offset), immediate: operation.operand)
    var data = InterpreterStep(.unreachable, immediate: UInt64(bitPattern: Int64(insn.immediate)))
    if let atomic = atomicStep(insn) {
      draft.step.a = atomic.a
      data = atomic
    }
    draft.data = data
    draft.step.op = op
  }

  /// The place is of register `a`; `b` is what goes there, and what comes back.
  private func atomicStep(_ insn: Instruction) -> InterpreterStep? {
    guard insn.instructionClass == Class.stx, insn.mode == Mode.atomic, let atomic = InterpreterAtomic(insn) else {
      return nil
    }
    let loads = insn.immediate == Atomic.loadAcquire
    return InterpreterStep(
      insn.sizeCode == Size.dw ? .atomic64 : .atomic32, a: loads ? insn.src : insn.dst, b: loads ? insn.dst : insn.src,
      c: Int(atomic.rawValue), offset: Int32(insn.offset))
  }

  /// The step of an instruction that means what BPF says; nil where it does nothing.
  private func plainStep(_ insn: Instruction) -> InterpreterStep? {
    let immediate = UInt64(bitPattern: Int64(insn.immediate))
    switch insn.instructionClass {
    case Class.alu, Class.alu64: return arithmeticStep(insn)
    case Class.jmp, Class.jmp32:
      if insn.opcode == Opcode.exit { return InterpreterStep(.exit) }
      if insn.opcode == Opcode.ja || insn.opcode == Opcode.jaLong {
        return insn.opcode == Opcode.ja && insn.offset == 0 ? nil : InterpreterStep(.jump)
      }
      let isRegister = insn.operandSource == Source.x
      guard let ops = InterpreterTables.jumps[insn.operation] else { return InterpreterStep(.unreachable) }
      let op = ops[(insn.instructionClass == Class.jmp32 ? 2 : 0) + (isRegister ? 1 : 0)]
      return InterpreterStep(op, a: insn.dst, b: insn.src, immediate: immediate)
    case Class.ld:
      return InterpreterStep(.unreachable)
    default:
      if let atomic = atomicStep(insn) { return atomic }
      // A speculation barrier.
      if insn.opcode == Opcode.nospec { return nil }
      guard let access = InterpreterAccess(insn) else { return InterpreterStep(.unreachable) }
      return InterpreterStep(
        InterpreterTables.accesses[Int(access.rawValue)], a: insn.dst, b: insn.src, offset: Int32(insn.offset),
        immediate: immediate)
    }
  }

  private func arithmeticStep(_ insn: Instruction) -> InterpreterStep? {
    let isNarrow = insn.instructionClass == Class.alu
    let isRegister = insn.operandSource == Source.x
    let immediate = UInt64(bitPattern: Int64(insn.immediate))
    var step = InterpreterStep(.unreachable, a: insn.dst, b: insn.src, immediate: immediate)
    switch insn.operation {
    case ALU.mov:
      guard isRegister else {
        step.op = .moveK
        if isNarrow { step.immediate = immediate & 0xffff_ffff }
        return step
      }
      switch (insn.offset, isNarrow) {
      case (8, false): step.op = .extend8
      case (16, false): step.op = .extend16
      case (32, false): step.op = .extend32
      case (8, true): step.op = .extend8To32
      case (16, true): step.op = .extend16To32
      default: step.op = isNarrow ? .move32X : .moveX
      }
    case ALU.neg: step.op = isNarrow ? .negate32 : .negate
    case ALU.end:
      let swaps = !isNarrow || isRegister
      switch (insn.immediate, swaps) {
      case (16, true): step.op = .swap16
      case (32, true): step.op = .swap32
      case (64, true): step.op = .swap64
      case (16, false): step.op = .truncate16
      case (32, false):
        step.op = .move32X
        step.b = step.a
      default: return nil
      }
    case ALU.sub where !isRegister:
      step.op = isNarrow ? .add32K : .addK
      step.immediate = 0 &- immediate
    default:
      var key = insn.operation
      // The offset tells signed division from unsigned; no operation has a key of its own with this bit.
      if insn.offset == 1 && (key == ALU.div || key == ALU.mod) { key |= 1 }
      guard let ops = InterpreterTables.arithmetic[key] else { return step }
      step.op = ops[(isNarrow ? 2 : 0) + (isRegister ? 1 : 0)]
    }
    return step
  }

  // MARK: Several instructions

  /// Makes one of the last drafts, as long as there is something to gain.
  private mutating func combine(from first: Int) {
    while true {
      let count = drafts.count
      if count - first >= 3,
        let one = InterpreterFusion.fuse(drafts[count - 3], drafts[count - 2], drafts[count - 1], live: live)
      {
        drafts.removeLast(3)
        drafts.append(one)
      } else if count - first >= 2,
        let one = InterpreterFusion.fuse(drafts[count - 2], drafts[count - 1], live: live)
      {
        drafts.removeLast(2)
        drafts.append(one)
      } else {
        return
      }
    }
  }

  /// Registers that may be read from a slot on.
  private func live(_ slot: Int) -> UInt16 {
    let facts = linked.proof.facts
    guard facts.indices.contains(slot), facts[slot].isReachable else { return 0x7ff }
    return facts[slot].liveRegisters
  }
}

/// Which step carries out which instruction.
enum InterpreterTables {
  /// By operation: 64 bits with immediate and register, 32 bits with both.
  static let arithmetic: [UInt8: [InterpreterOperation]] = [
    ALU.add: [.addK, .addX, .add32K, .add32X],
    ALU.sub: [.addK, .subtractX, .add32K, .subtract32X],
    ALU.mul: [.multiplyK, .multiplyX, .multiply32K, .multiply32X],
    ALU.div: [.divideK, .divideX, .divide32K, .divide32X],
    ALU.mod: [.moduloK, .moduloX, .modulo32K, .modulo32X],
    ALU.div | 1: [.signedDivideK, .signedDivideX, .signedDivide32K, .signedDivide32X],
    ALU.mod | 1: [.signedModuloK, .signedModuloX, .signedModulo32K, .signedModulo32X],
    ALU.or: [.orK, .orX, .or32K, .or32X],
    ALU.and: [.andK, .andX, .and32K, .and32X],
    ALU.xor: [.xorK, .xorX, .xor32K, .xor32X],
    ALU.lsh: [.shiftLeftK, .shiftLeftX, .shiftLeft32K, .shiftLeft32X],
    ALU.rsh: [.shiftRightK, .shiftRightX, .shiftRight32K, .shiftRight32X],
    ALU.arsh: [.shiftArithmeticK, .shiftArithmeticX, .shiftArithmetic32K, .shiftArithmetic32X],
  ]

  static let jumps: [UInt8: [InterpreterOperation]] = [
    Jump.jeq: [.jumpEqualK, .jumpEqualX, .jumpEqual32K, .jumpEqual32X],
    Jump.jne: [.jumpNotEqualK, .jumpNotEqualX, .jumpNotEqual32K, .jumpNotEqual32X],
    Jump.jset: [.jumpSetK, .jumpSetX, .jumpSet32K, .jumpSet32X],
    Jump.jgt: [.jumpAboveK, .jumpAboveX, .jumpAbove32K, .jumpAbove32X],
    Jump.jge: [.jumpAboveOrEqualK, .jumpAboveOrEqualX, .jumpAboveOrEqual32K, .jumpAboveOrEqual32X],
    Jump.jlt: [.jumpBelowK, .jumpBelowX, .jumpBelow32K, .jumpBelow32X],
    Jump.jle: [.jumpBelowOrEqualK, .jumpBelowOrEqualX, .jumpBelowOrEqual32K, .jumpBelowOrEqual32X],
    Jump.jsgt: [.jumpGreaterK, .jumpGreaterX, .jumpGreater32K, .jumpGreater32X],
    Jump.jsge: [.jumpGreaterOrEqualK, .jumpGreaterOrEqualX, .jumpGreaterOrEqual32K, .jumpGreaterOrEqual32X],
    Jump.jslt: [.jumpLessK, .jumpLessX, .jumpLess32K, .jumpLess32X],
    Jump.jsle: [.jumpLessOrEqualK, .jumpLessOrEqualX, .jumpLessOrEqual32K, .jumpLessOrEqual32X],
  ]

  /// By `InterpreterAccess`.
  static let accesses: [InterpreterOperation] = [
    .load8, .load16, .load32, .load64, .loadSigned8, .loadSigned16, .loadSigned32,
    .store8X, .store16X, .store32X, .store64X, .store8K, .store16K, .store32K, .store64K,
  ]

  /// Jumps that are taken where the others are not.
  static let opposites: [InterpreterOperation: InterpreterOperation] = {
    var all: [InterpreterOperation: InterpreterOperation] = [:]
    let pairs = [
      (Jump.jeq, Jump.jne), (Jump.jgt, Jump.jle), (Jump.jge, Jump.jlt), (Jump.jsgt, Jump.jsle), (Jump.jsge, Jump.jslt),
    ]
    for (one, other) in pairs {
      guard let a = jumps[one], let b = jumps[other] else { continue }
      for (x, y) in zip(a, b) {
        all[x] = y
        all[y] = x
      }
    }
    return all
  }()
}
