import BPFISA
import BPFLinux

// One walk over the program that makes instructions safe to run as they are: division, arithmetic on pointers under
// speculation, legacy loads, `may_goto`, and calls.

extension Rewriter {
  func applyFixups() throws(Refusal) {
    let count = slots.count
    if verification.seenException && verification.exceptionCallback == 0 { try addExceptionCallback() }
    var index = 0
    var current = 0
    var depth = subprograms[0].stackDepth
    var extra = 0
    for _ in 0..<count {
      if slots[index].instruction.opcode == Opcode.mayGoto {
        extra = 16
        index += try replaceMayGoto(index, stack: -depth - 16)
      } else {
        index += try fixUp(index)
      }
      if end(of: current) == index + 1 {
        subprograms[current].stackDepth += extra
        subprograms[current].stackExtra = extra
        current += 1
        depth = current < subprograms.count ? subprograms[current].stackDepth : 0
        extra = 0
      }
      index += 1
    }
    try initializeLoopCounters()
  }

  /// What runs where an exception is thrown and the program names no function of its own: it returns the value.
  private func addExceptionCallback() throws(Refusal) {
    let last = slots.count - 1
    try replace(last, [slots[last].instruction, .alu64(ALU.mov, 0, register: 1), .exit])
    slots[last].origin = slots[last + 2].origin
    slots[last + 2].origin = -1
    subprograms.append(RewrittenSubprogram(start: slots.count - 2, stackDepth: 0))
  }

  private func fixUp(_ index: Int) throws(Refusal) -> Int {
    var insn = slots[index].instruction
    if insn.opcode == Opcode.movRegister64 && insn.immediate != 0 {
      castAddressSpace(index, insn)
      return 0
    }
    if let fact = facts(index), fact.pointee.needsZeroExtension {
      insn.opcode = Class.alu | insn.operation | insn.operandSource
      slots[index].instruction = insn
    }
    let isArithmetic = insn.instructionClass == Class.alu || insn.instructionClass == Class.alu64
    if isArithmetic, insn.operation == ALU.div || insn.operation == ALU.mod {
      guard let code = divide(insn) else { return 0 }
      return try replace(index, code)
    }
    if insn.instructionClass == Class.ld, insn.mode == Mode.abs || insn.mode == Mode.ind {
      return try replaceLegacyLoad(index, insn)
    }
    if insn.opcode == Class.alu64 | ALU.add | Source.x || insn.opcode == Class.alu64 | ALU.sub | Source.x {
      guard let code = limitPointer(index, insn) else { return 0 }
      return try replace(index, code)
    }
    guard insn.opcode == Opcode.call else { return 0 }
    switch UInt8(truncatingIfNeeded: insn.src) {
    case PseudoSource.call: return 0
    case PseudoSource.kfuncCall: return try fixUpKfunc(index, insn)
    default: return try fixUpHelper(index, insn)
    }
  }

  // MARK: arithmetic

  private func castAddressSpace(_ index: Int, _ insn: Instruction) {
    let keepsUser = verification.maps.contains {
      $0.definition.type == .arena && $0.definition.flags.contains(.noUserConversion)
    }
    guard (insn.offset == addressSpaceCastOffset && insn.immediate == 1) || keepsUser else { return }
    slots[index].instruction = .alu32(ALU.mov, insn.dst, register: insn.src)
  }

  /// Division and remainder where the divisor may be 0 or -1; nil where the processor does what it should.
  private func divide(_ insn: Instruction) -> [Instruction]? {
    let width = insn.instructionClass
    let isWide = width == Class.alu64
    let jumps = isWide ? Class.jmp : Class.jmp32
    let isDivision = insn.operation == ALU.div
    let isSigned = insn.offset == 1
    let dst = insn.dst
    if insn.operandSource == Source.k {
      guard isSigned, insn.immediate == -1 else { return nil }
      return isDivision ? [.alu(width, ALU.neg, dst, 0)] : [.alu32(ALU.mov, dst, 0)]
    }
    func branch(_ operation: UInt8, _ register: Int, _ value: Int32, _ offset: Int) -> Instruction {
      jumps == Class.jmp
        ? .jump(operation, register, value, to: offset) : .jump32(operation, register, value, to: offset)
    }
    let restore: [Instruction] = isWide ? [] : [.jump(to: 1), .alu32(ALU.mov, dst, register: dst)]
    switch (isSigned, isDivision) {
    case (true, true):
      return [
        .alu64(ALU.mov, auxiliaryRegister, register: insn.src), .alu(width, ALU.add, auxiliaryRegister, 1),
        branch(Jump.jgt, auxiliaryRegister, 1, 4), branch(Jump.jeq, auxiliaryRegister, 0, 1),
        .alu(width, ALU.mov, dst, 0), .alu(width, ALU.neg, dst, 0), .jump(to: 1), insn,
      ]
    case (true, false):
      return [
        .alu64(ALU.mov, auxiliaryRegister, register: insn.src), .alu(width, ALU.add, auxiliaryRegister, 1),
        branch(Jump.jgt, auxiliaryRegister, 1, 3), branch(Jump.jeq, auxiliaryRegister, 1, isWide ? 3 : 4),
        .alu32(ALU.mov, dst, 0), .jump(to: 1), insn,
      ] + restore
    case (false, true):
      return [branch(Jump.jne, insn.src, 0, 2), .alu32(ALU.xor, dst, register: dst), .jump(to: 1), insn]
    case (false, false):
      return [branch(Jump.jeq, insn.src, 0, isWide ? 1 : 2), insn] + restore
    }
  }

  /// Pointer arithmetic whose offset is 0 where speculation takes it out of bounds.
  private func limitPointer(_ index: Int, _ insn: Instruction) -> [Instruction]? {
    guard let fact = facts(index) else { return nil }
    let state = fact.pointee.aluState
    guard state != 0, state != ALUState.nonPointer else { return nil }
    let isNegative = state & ALUState.negativeValue != 0
    let isSource = state & (ALUState.sanitizeSource | ALUState.sanitizeDestination) == ALUState.sanitizeSource
    let isConstant = state & ALUState.immediate != 0
    let offset = isSource ? insn.src : insn.dst
    let limit = Instruction.alu32(ALU.mov, auxiliaryRegister, Int32(bitPattern: fact.pointee.aluLimit))
    var code: [Instruction] = []
    if isConstant {
      code.append(limit)
    } else {
      if isNegative { code.append(.alu64(ALU.mul, offset, -1)) }
      code += [
        limit, .alu64(ALU.sub, auxiliaryRegister, register: offset),
        .alu64(ALU.or, auxiliaryRegister, register: offset), .alu64(ALU.neg, auxiliaryRegister, 0),
        .alu64(ALU.arsh, auxiliaryRegister, 63), .alu64(ALU.and, auxiliaryRegister, register: offset),
      ]
    }
    if !isSource { code.append(.alu64(ALU.mov, insn.dst, register: insn.src)) }
    let operation = isNegative ? (insn.operation == ALU.add ? ALU.sub : ALU.add) : insn.operation
    code.append(.alu64(operation, insn.dst, register: auxiliaryRegister))
    if isSource && isNegative && !isConstant { code.append(.alu64(ALU.mul, offset, -1)) }
    return code
  }

  // MARK: loads and loops

  /// `ld_abs` and `ld_ind` become a call that returns a negative number where the packet ends before.
  private func replaceLegacyLoad(_ index: Int, _ insn: Instruction) throws(Refusal) -> Int {
    var code: [Instruction]
    if insn.mode == Mode.ind {
      code = [.alu64(ALU.mov, 2, register: insn.src)]
      if insn.immediate != 0 { code.append(.alu64(ALU.add, 2, insn.immediate)) }
    } else {
      code = [.alu64(ALU.mov, 2, insn.immediate)]
    }
    code.append(.alu64(ALU.mov, 1, register: 6))
    let call = code.count
    code += [.callAddress, .jump(Jump.jsge, 0, 0, to: 2), .alu32(ALU.xor, 0, register: 0), .exit]
    let name = "bpf_skb_load_helper_\(insn.accessSize * 8)_no_cache"
    return try replace(index, code, references: [call: .function(name)])
  }

  /// Counts down on the stack; at 0 the time spent decides whether to go on.
  private func replaceMayGoto(_ index: Int, stack: Int) throws(Refusal) -> Int {
    let offset = Int(slots[index].instruction.offset)
    return try replace(
      index,
      [
        .load(Size.dw, auxiliaryRegister, 10, stack),
        .jump(Jump.jeq, auxiliaryRegister, 0, to: offset >= 0 ? offset + 5 : offset - 1),
        .alu64(ALU.sub, auxiliaryRegister, 1),
        .jump(Jump.jne, auxiliaryRegister, 0, to: 2),
        .alu64(ALU.mov, auxiliaryRegister, Int32(truncatingIfNeeded: stack)),
        .callAddress,
        .store(Size.dw, 10, stack, register: auxiliaryRegister),
      ], references: [5: .function("arch_bpf_timed_may_goto")])
  }

  /// Sets the counters of `may_goto` where their function begins.
  private func initializeLoopCounters() throws(Refusal) {
    for number in subprograms.indices where subprograms[number].stackExtra > 0 {
      let start = subprograms[number].start
      let depth = subprograms[number].stackDepth
      let first = slots[start]
      try replace(
        start,
        [
          .store(Size.dw, 10, -depth, immediate: 0xffff), .store(Size.dw, 10, -depth + 8, immediate: 0),
          first.instruction,
        ])
      slots[start + 2].reference = first.reference
      moveJumps(to: start, by: 2)
    }
  }

  // MARK: widths

  /// x86-64 zeroes upper halves by itself, but for the value that a failed `cmpxchg` leaves. A test has those upper
  /// halves filled that the program does not rely on.
  func extendSubregisters() throws(Refusal) {
    let fills = verification.program.flags.contains(.testRandomHigh32)
    let count = slots.count
    var index = 0
    for _ in 0..<count where index < slots.count {
      let slot = slots[index]
      let insn = slot.instruction
      let defined = verification.definedRegister(of: insn)
      let definesHalf = verification.definesSubregister(insn)
      let isExtended = slot.patched ? definesHalf : facts(index)?.pointee.zeroExtends ?? false
      if isExtended {
        let isExchange =
          insn.instructionClass == Class.stx && insn.mode == Mode.atomic && insn.immediate == Atomic.cmpxchg
        if isExchange, let defined {
          var extend = Instruction.alu32(ALU.mov, defined, register: defined)
          extend.immediate = 1
          index += try replace(index, [insn, extend])
        }
      } else if fills, definesHalf, let defined {
        let readsContext = insn.instructionClass == Class.ldx && facts(index)?.pointee.pointerType == .context
        if !readsContext {
          index += try replace(
            index,
            [
              insn, .alu64(ALU.mov, auxiliaryRegister, Int32(bitPattern: options.mask)),
              .alu64(ALU.lsh, auxiliaryRegister, 32), .alu64(ALU.or, defined, register: auxiliaryRegister),
            ])
        }
      }
      index += 1
    }
  }
}
