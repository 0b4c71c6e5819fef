import BPFISA
import BPFLinux

/// Which registers and stack slots still need to be made precise, frame by frame, on the way back along a path.
struct Backtrack: BitwiseCopyable {
  var frame = 0
  var registers: InlineArray<8, UInt32> = .init(repeating: 0)
  var slots: InlineArray<8, UInt64> = .init(repeating: 0)

  /// Nothing is wanted. No frame inside of `frame` ever has anything.
  @inline(__always) var isEmpty: Bool {
    var wanted: UInt64 = 0
    var index = 0
    while index <= frame {
      wanted |= UInt64(registers[index]) | slots[index]
      index &+= 1
    }
    return wanted == 0
  }

  mutating func reset() { self = Backtrack() }

  @inline(__always) mutating func set(frame: Int, register: Int) { registers[frame] |= 1 << UInt32(register) }
  @inline(__always) mutating func clear(frame: Int, register: Int) { registers[frame] &= ~(1 << UInt32(register)) }
  @inline(__always) mutating func set(frame: Int, slot: Int) { slots[frame] |= 1 << UInt64(slot) }
  @inline(__always) mutating func clear(frame: Int, slot: Int) { slots[frame] &= ~(1 << UInt64(slot)) }
  @inline(__always) mutating func set(_ register: Int) { set(frame: frame, register: register) }
  @inline(__always) mutating func clear(_ register: Int) { clear(frame: frame, register: register) }
  @inline(__always) func has(_ register: Int) -> Bool { registers[frame] & (1 << UInt32(register)) != 0 }
  @inline(__always) func has(frame: Int, register: Int) -> Bool { registers[frame] & (1 << UInt32(register)) != 0 }
  @inline(__always) func has(frame: Int, slot: Int) -> Bool { slots[frame] & (1 << UInt64(slot)) != 0 }
  @inline(__always) var frameRegisters: UInt32 { registers[frame] }
  @inline(__always) var frameSlots: UInt64 { slots[frame] }
}

/// r1 … r5.
private let argumentRegisters: UInt32 = 0x3e

/// `r0,r2` of a mask.
func registerMaskText(_ mask: UInt32) -> String {
  (0..<32).filter { mask & (1 << UInt32($0)) != 0 }.map { "r\($0)" }.joined(separator: ",")
}

/// `-8,-24` of a mask of slots.
func slotMaskText(_ mask: UInt64) -> String {
  (0..<64).filter { mask & (1 << UInt64($0)) != 0 }.map { "\(-($0 + 1) * 8)" }.joined(separator: ",")
}

/// Making exact what a check relied upon: from the check back along the path to where each value came from.
extension Verification {
  /// Register `number` of the current frame must be exact from where it was made.
  func markChainPrecise(_ number: Int) throws(Refusal) {
    var changed = false
    try markChainPrecise(from: state, register: number, changed: &changed)
  }

  /// The registers and slots that `backtrack` already has, from the end of `starting`'s path.
  func markChainPreciseBatch(from starting: StateRef, changed: inout Bool) throws(Refusal) {
    try markChainPrecise(from: starting, register: -1, changed: &changed)
  }

  func markChainPrecise(from starting: StateRef, register number: Int, changed: inout Bool) throws(Refusal) {
    guard hasBPFCapability else { return }
    let bt = backtrack
    bt.pointee.frame = Int(starting.pointee.currentFrame)
    if number >= 0 {
      guard starting.current.register(number).pointee.type == .scalar else {
        throw refuse(.EFAULT, .invariant, "verifier bug: backtracking misuse\n")
      }
      bt.pointee.set(number)
    }
    if bt.pointee.isEmpty { return }
    var current = starting
    var first = Int(current.pointee.firstInstruction)
    var last = Int(starting.pointee.instruction)
    var subsequent = -1
    var isFirst = true
    while true {
      if logLevel & 2 != 0 {
        print(
          "mark_precise: frame\(bt.pointee.frame): last_idx \(last) first_idx \(first) subseq_idx \(subsequent) \n")
      }
      if last < 0 { return try reachedFunctionEntry(current, changed: &changed) }
      var history = current.pointee.historyCount
      var index = last
      while true {
        if isFirst {
          isFirst = false
        } else {
          let entry = historyEntry(current, end: history, at: index)
          if matters(instructions[index], entry) {
            switch try backtrackOver(index, subsequent: subsequent, entry) {
            case .done: break
            case .cannot:
              markAllScalarsPrecise(starting)
              bt.pointee.reset()
              return
            }
            if bt.pointee.isEmpty { return }
          }
        }
        subsequent = index
        guard let before = previousInstruction(in: current, before: index, end: &history) else { break }
        index = before
        if index < 0 || index >= instructionCount {
          throw refuse(.EFAULT, .invariant, "verifier bug: backtracking idx \(index)\n")
        }
      }
      guard let parent = current.pointee.parent else { break }
      current = parent
      try markInCheckpoint(current, changed: &changed)
      if bt.pointee.isEmpty { return }
      subsequent = first
      last = Int(current.pointee.lastInstruction)
      first = Int(current.pointee.firstInstruction)
    }
    if !bt.pointee.isEmpty {
      markAllScalarsPrecise(starting)
      bt.pointee.reset()
    }
  }

  /// The way back ended at the entry of a function that is verified on its own: what is left are its arguments.
  private func reachedFunctionEntry(_ state: StateRef, changed: inout Bool) throws(Refusal) {
    let bt = backtrack
    let frame = state.frame(0)
    guard state.pointee.currentFrame == 0, frame.pointee.subprogram > 0, frame.pointee.callSite == -1,
      bt.pointee.frameSlots == 0, bt.pointee.frameRegisters & ~argumentRegisters == 0
    else {
      throw refuse(
        .EFAULT, .invariant,
        "verifier bug: backtracking func entry subprog \(frame.pointee.subprogram) "
          + "reg_mask \(String(bt.pointee.frameRegisters, radix: 16)) "
          + "stack_mask \(String(bt.pointee.frameSlots, radix: 16))\n")
    }
    for number in 1...5 where bt.pointee.has(number) {
      bt.pointee.clear(number)
      let r = frame.register(number)
      if r.pointee.type == .scalar {
        r.pointee.precise = true
        changed = true
      }
    }
  }

  /// Marks in a checkpoint what is still wanted there; what was precise already needs no going back further.
  private func markInCheckpoint(_ state: StateRef, changed: inout Bool) throws(Refusal) {
    let bt = backtrack
    var number = bt.pointee.frame
    while number >= 0 {
      let frame = state.frame(number)
      var wanted = bt.pointee.registers[number]
      while wanted != 0 {
        let index = wanted.trailingZeroBitCount
        wanted &= wanted - 1
        let r = frame.register(index)
        if r.pointee.type != .scalar || r.pointee.precise {
          bt.pointee.clear(frame: number, register: index)
        } else {
          r.pointee.precise = true
          changed = true
        }
      }
      var slots = bt.pointee.slots[number]
      while slots != 0 {
        let index = slots.trailingZeroBitCount
        slots &= slots - 1
        guard index < Int(frame.pointee.slotCount) else {
          throw refuse(
            .EFAULT, .invariant,
            "verifier bug: stack slot \(index), total slots \(frame.pointee.slotCount) "
              + "(i >= func->allocated_stack / BPF_REG_SIZE)\n")
        }
        let r = frame.spilled(index)
        let isScalar = frame.pointee.stack[index].kind == SlotType.spill && r.pointee.type == .scalar
        if !isScalar || r.pointee.precise {
          bt.pointee.clear(frame: number, slot: index)
        } else {
          r.pointee.precise = true
          changed = true
        }
      }
      if logLevel & 2 != 0 {
        print(
          "mark_precise: frame\(number): parent state regs=\(registerMaskText(bt.pointee.registers[number])) "
            + "stack=\(slotMaskText(bt.pointee.slots[number])): ")
        printState(state, frame: number, all: true)
      }
      number -= 1
    }
  }

  // MARK: one instruction back

  /// Whether the instruction can change what is wanted (or is to be logged): most cannot, and that is quick to see.
  @inline(__always)
  private func matters(_ insn: Instruction, _ entry: UnsafeMutablePointer<JumpHistoryEntry>?) -> Bool {
    if logLevel & 2 != 0 { return true }
    if let entry, entry.pointee.linked | UInt64(entry.pointee.flags) != 0 { return true }
    let wanted = backtrack.pointee.frameRegisters
    switch insn.instructionClass {
    case Class.jmp, Class.jmp32:
      if insn.operation == Jump.call || insn.operation == Jump.exit { return true }
      return insn.operandSource == Source.x && wanted & (1 << UInt32(insn.dst) | 1 << UInt32(insn.src)) != 0
    case Class.stx:
      return insn.mode == Mode.atomic || wanted & (1 << UInt32(insn.dst)) != 0
    case Class.ld:
      // The second half of a 64-bit load has no opcode and names r0.
      return insn.opcode != 0 && wanted & (1 << UInt32(insn.dst)) != 0
    default:
      return wanted & (1 << UInt32(insn.dst)) != 0
    }
  }

  private enum Step {
    case done
    /// What the value came from cannot be followed.
    case cannot
  }

  private func backtrackOver(
    _ index: Int, subsequent: Int, _ entry: UnsafeMutablePointer<JumpHistoryEntry>?
  ) throws(Refusal) -> Step {
    let insn = instructions[index]
    if insn.opcode == 0 { return .done }
    let bt = backtrack
    if logLevel & 2 != 0 {
      print(
        "mark_precise: frame\(bt.pointee.frame): regs=\(registerMaskText(bt.pointee.frameRegisters)) "
          + "stack=\(slotMaskText(bt.pointee.frameSlots)) before \(index): ")
      printInstruction(index)
    }
    syncLinked(entry)
    let dst = insn.dst
    let src = insn.src
    switch insn.instructionClass {
    case Class.alu, Class.alu64:
      guard bt.pointee.has(dst) else { return .done }
      switch insn.operation {
      case ALU.end, ALU.neg:
        return .done
      case ALU.mov:
        bt.pointee.clear(dst)
        if insn.operandSource == Source.x && src != 10 { bt.pointee.set(src) }
      default:
        if insn.operandSource == Source.x && src != 10 { bt.pointee.set(src) }
      }
    case Class.ldx:
      if !backtrackLoad(dst, entry) { return .done }
    case Class.stx where insn.mode == Mode.atomic && insn.immediate == Atomic.loadAcquire:
      if !backtrackLoad(dst, entry) { return .done }
    case Class.stx, Class.st:
      if bt.pointee.has(dst) { return .cannot }
      guard let access = stackAccess(entry), bt.pointee.has(frame: access.frame, slot: access.slot) else {
        return .done
      }
      bt.pointee.clear(frame: access.frame, slot: access.slot)
      if insn.instructionClass == Class.stx { bt.pointee.set(src) }
    case Class.jmp, Class.jmp32:
      guard try backtrackJump(insn, index, subsequent, entry) else { return .done }
      if insn.isKfuncCall && insn.immediate == 0 { return .cannot }
    default:
      guard bt.pointee.has(dst) else { return .done }
      bt.pointee.clear(dst)
      if insn.mode == Mode.ind || insn.mode == Mode.abs { return .cannot }
    }
    syncLinked(entry)
    return .done
  }

  private func stackAccess(_ entry: UnsafeMutablePointer<JumpHistoryEntry>?) -> (frame: Int, slot: Int)? {
    guard let entry, entry.pointee.flags & HistoryFlags.stackAccess != 0 else { return nil }
    let flags = entry.pointee.flags
    return (
      Int(flags & HistoryFlags.frameMask), Int((flags >> HistoryFlags.slotShift) & HistoryFlags.slotMask)
    )
  }

  /// Whether the value came out of the stack.
  private func backtrackLoad(_ dst: Int, _ entry: UnsafeMutablePointer<JumpHistoryEntry>?) -> Bool {
    let bt = backtrack
    guard bt.pointee.has(dst) else { return false }
    bt.pointee.clear(dst)
    guard let access = stackAccess(entry) else { return false }
    bt.pointee.set(frame: access.frame, slot: access.slot)
    return true
  }

  /// False where nothing more is to be done for the instruction.
  private func backtrackJump(
    _ insn: Instruction, _ index: Int, _ subsequent: Int, _ entry: UnsafeMutablePointer<JumpHistoryEntry>?
  ) throws(Refusal) -> Bool {
    let bt = backtrack
    if insn.isSubprogramCall {
      try backtrackCall(insn, index)
      return false
    }
    if isSyncCallbackCallingInstruction(insn) && index != subsequent - 1 {
      if bt.pointee.frameRegisters & ~argumentRegisters != 0 {
        throw backtrackingBug("callback unexpected regs \(String(bt.pointee.frameRegisters, radix: 16))")
      }
      if bt.pointee.frameSlots != 0 {
        throw backtrackingBug("callback leftover stack slots \(String(bt.pointee.frameSlots, radix: 16))")
      }
      for number in 1...5 { bt.pointee.clear(number) }
      try leaveFrame()
      return false
    }
    switch insn.operation {
    case Jump.call:
      if insn.isKfuncCall && insn.immediate == 0 { return true }
      bt.pointee.clear(0)
      if bt.pointee.frameRegisters & argumentRegisters != 0 {
        throw backtrackingBug(
          "backtracking call unexpected regs \(String(bt.pointee.frameRegisters, radix: 16))")
      }
      if insn.src == 0 && insn.immediate == HelperID.tailCall.rawValue && subsequent - index != 1 {
        try enterFrame()
      }
    case Jump.exit:
      if subsequent >= 0 && facts[subsequent].callsCallback {
        for number in 1...5 { bt.pointee.clear(number) }
      }
      if bt.pointee.frameRegisters & argumentRegisters != 0 {
        throw backtrackingBug(
          "backtracking exit unexpected regs \(String(bt.pointee.frameRegisters, radix: 16))")
      }
      let resultIsWanted =
        subsequent - 1 >= 0 && instructions[subsequent - 1].isSubprogramCall && bt.pointee.has(0)
      bt.pointee.clear(0)
      try enterFrame()
      if resultIsWanted { bt.pointee.set(0) }
      return false
    default:
      guard insn.operandSource == Source.x else { return true }
      guard bt.pointee.has(insn.dst) || bt.pointee.has(insn.src) else { return false }
      // A comparison of two values makes the bounds of one depend on the other's.
      let flags = entry?.pointee.flags ?? 0
      if flags & HistoryFlags.srcIsStack == 0 { bt.pointee.set(insn.src) }
      if flags & HistoryFlags.dstIsStack == 0 { bt.pointee.set(insn.dst) }
    }
    return true
  }

  private func backtrackCall(_ insn: Instruction, _ index: Int) throws(Refusal) {
    let bt = backtrack
    guard let callee = findSubprogram(at: index + Int(insn.immediate) + 1) else {
      throw Refusal(errno: .EFAULT, category: .invariant)
    }
    if subprogramIsGlobal(callee) {
      if bt.pointee.frameRegisters & argumentRegisters != 0 {
        throw backtrackingBug("global subprog unexpected regs \(String(bt.pointee.frameRegisters, radix: 16))")
      }
      bt.pointee.clear(0)
      return
    }
    if bt.pointee.frameRegisters & ~argumentRegisters != 0 {
      throw backtrackingBug("static subprog unexpected regs \(String(bt.pointee.frameRegisters, radix: 16))")
    }
    if bt.pointee.frameSlots != 0 {
      throw backtrackingBug("static subprog leftover stack slots \(String(bt.pointee.frameSlots, radix: 16))")
    }
    for number in 1...5 where bt.pointee.has(number) {
      bt.pointee.clear(number)
      if bt.pointee.frame > 0 { bt.pointee.set(frame: bt.pointee.frame - 1, register: number) }
    }
    try leaveFrame()
  }

  private func backtrackingBug(_ what: String) -> Refusal {
    refuse(.EFAULT, .invariant, "verifier bug: \(what)\n")
  }

  private func enterFrame() throws(Refusal) {
    guard backtrack.pointee.frame < maximumFrames - 1 else {
      throw backtrackingBug("subprog enter from frame \(backtrack.pointee.frame)")
    }
    backtrack.pointee.frame += 1
  }

  private func leaveFrame() throws(Refusal) {
    guard backtrack.pointee.frame > 0 else { throw backtrackingBug("subprog exit from frame 0") }
    backtrack.pointee.frame -= 1
  }

  /// Where one of the linked registers is wanted, all of them are.
  private func syncLinked(_ entry: UnsafeMutablePointer<JumpHistoryEntry>?) {
    guard let entry, entry.pointee.linked != 0 else { return }
    let bt = backtrack
    let linked = LinkedRegisters(packed: entry.pointee.linked)
    var wanted = false
    for index in 0..<linked.count {
      let one = linked.fromLast(index)
      wanted =
        wanted
        || (one.isRegister
          ? bt.pointee.has(frame: one.frame, register: one.index) : bt.pointee.has(frame: one.frame, slot: one.index))
    }
    guard wanted else { return }
    for index in 0..<linked.count {
      let one = linked.fromLast(index)
      if one.isRegister {
        bt.pointee.set(frame: one.frame, register: one.index)
      } else {
        bt.pointee.set(frame: one.frame, slot: one.index)
      }
    }
  }

  // MARK: all at once

  /// Where the way back cannot be followed: every number in every checkpoint of the path becomes precise.
  func markAllScalarsPrecise(_ state: StateRef) {
    let level2 = logLevel & 2 != 0
    if level2 {
      print("mark_precise: frame\(state.pointee.currentFrame): falling back to forcing all scalars precise\n")
    }
    var next = state.pointee.parent
    while let current = next {
      var number = 0
      while number <= Int(current.pointee.currentFrame) {
        let frame = current.frame(number)
        for index in 0..<(registerCount - 1) {
          let r = frame.register(index)
          guard r.pointee.type == .scalar, !r.pointee.precise else { continue }
          r.pointee.precise = true
          if level2 { print("force_precise: frame\(number): forcing r\(index) to be precise\n") }
        }
        for slot in 0..<Int(frame.pointee.slotCount) where frame.pointee.stack[slot].kind == SlotType.spill {
          let r = frame.spilled(slot)
          guard r.pointee.type == .scalar, !r.pointee.precise else { continue }
          r.pointee.precise = true
          if level2 { print("force_precise: frame\(number): forcing fp\(-(slot + 1) * 8) to be precise\n") }
        }
        number += 1
      }
      next = current.pointee.parent
    }
  }

  func markAllScalarsImprecise(_ state: StateRef) {
    var number = 0
    while number <= Int(state.pointee.currentFrame) {
      let frame = state.frame(number)
      var index = 0
      while index < registerCount - 1 {
        let r = frame.register(index)
        if r.pointee.type == .scalar { r.pointee.precise = false }
        index += 1
      }
      var slot = 0
      while slot < Int(frame.pointee.slotCount) {
        if frame.pointee.stack[slot].kind == SlotType.spill {
          let r = frame.spilled(slot)
          if r.pointee.type == .scalar { r.pointee.precise = false }
        }
        slot += 1
      }
      number += 1
    }
  }
}
