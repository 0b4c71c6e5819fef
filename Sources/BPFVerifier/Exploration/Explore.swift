import BPFISA
import BPFLinux

/// Most instructions that may be processed.
let maximumProcessedInstructions = 1_000_000

/// How an instruction leaves the path.
private enum Step {
  case goOn
  /// The path ended; nothing of it is left to explore.
  case pathEnd
}

extension Verification {
  /// Explores every path from the current state until none is left.
  func explore() throws(Refusal) {
    let resettingLog = logLevel & 2 == 0
    let traces = logLevel & 3 != 0 || observer != nil
    var printState = false
    var previous = -1
    while true {
      currentHistory = nil
      previousInstruction = previous
      guard instruction < instructionCount else {
        throw refuse(
          .EFAULT, .controlFlow, "invalid insn idx \(instruction) insn_cnt \(instructionCount)\n")
      }
      let at = instruction
      let facts = self.facts + at
      processed &+= 1
      if processed > maximumProcessedInstructions {
        throw refuse(.E2BIG, .complexity, "BPF program is too large. Processed \(processed) insn\n")
      }
      state.pointee.lastInstruction = Int32(truncatingIfNeeded: previous)
      state.pointee.instruction = Int32(truncatingIfNeeded: at)

      var pathEnds = false
      if facts.pointee.prunePoint, try isStateVisited() {
        if logLevel & 3 != 0 { logPruned(printState) }
        pathEnds = true
      } else {
        if facts.pointee.jumpPoint { try pushHistory(state, flags: 0, linked: 0) }
        if traces { trace(at, &printState) }
        sanitizeMarkSeen()
        previous = at
        if state.pointee.speculative && facts.pointee.noSpeculation {
          pathEnds = true
        } else {
          try resetStackWriteMarks(instruction: at)
          switch try stepRecovering(at, &printState) {
          case .pathEnd: pathEnds = true
          case .goOn:
            if state.pointee.speculative && facts.pointee.noSpeculationResult { pathEnds = true }
          }
        }
      }
      guard pathEnds else { continue }
      markStateScratched()
      try pathEnded()
      try updateStackLiveness()
      guard popPath(resettingLog: resettingLog) else { return }
      previous = previousInstruction
      printState = true
    }
  }

  /// Checks the instruction. A refusal on a path that only speculation takes becomes a barrier there.
  private func stepRecovering(_ at: Int, _ printState: inout Bool) throws(Refusal) -> Step {
    let step: Step
    do {
      step = try checkInstruction(&printState)
    } catch {
      guard error.errno == .EPERM || error.errno == .EACCES || error.errno == .EINVAL else { throw error }
      try commitStackWriteMarks()
      guard state.pointee.speculative else { throw error }
      facts[at].noSpeculation = true
      facts[at].aluState = 0
      return .pathEnd
    }
    try commitStackWriteMarks()
    return step
  }

  /// Applies one instruction to the state and moves on to the next.
  private func checkInstruction(_ printState: inout Bool) throws(Refusal) -> Step {
    let insn = instructions[instruction]
    switch insn.instructionClass {
    case Class.alu, Class.alu64:
      try checkALU(insn)
    case Class.ldx:
      try checkLoad(
        insn, strictAlignmentOnce: false, isLDSX: insn.mode == Mode.memsx, allowTrustMismatch: true, context: "ldx")
    case Class.stx:
      if insn.mode == Mode.atomic {
        try checkAtomic(insn)
        instruction += 1
        return .goOn
      }
      guard insn.mode == Mode.mem, insn.immediate == 0 else {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_STX uses reserved fields\n")
      }
      try checkStoreRegister(insn, strictAlignmentOnce: false)
    case Class.st:
      guard insn.mode == Mode.mem, insn.src == 0 else {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_ST uses reserved fields\n")
      }
      try checkStoreImmediate(insn)
    case Class.jmp, Class.jmp32:
      return try checkJump(insn, &printState)
    default:
      switch insn.mode {
      case Mode.abs, Mode.ind:
        try checkLoadAbsolute(insn)
      case Mode.imm:
        try checkLoadImmediate(insn)
        instruction += 1
        sanitizeMarkSeen()
      default:
        throw refuse(.EINVAL, .invalidInstruction, "invalid BPF_LD mode\n")
      }
    }
    instruction += 1
    return .goOn
  }

  private func checkJump(_ insn: Instruction, _ printState: inout Bool) throws(Refusal) -> Step {
    jumps &+= 1
    switch insn.operation {
    case Jump.call:
      return try checkCall(insn, &printState)
    case Jump.ja:
      guard insn.operandSource == Source.k, insn.registers == 0,
        insn.instructionClass == Class.jmp ? insn.immediate == 0 : insn.offset == 0
      else {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_JA uses reserved fields\n")
      }
      instruction += (insn.instructionClass == Class.jmp ? Int(insn.offset) : Int(insn.immediate)) + 1
      return .goOn
    case Jump.exit:
      guard insn.operandSource == Source.k, insn.immediate == 0, insn.registers == 0,
        insn.instructionClass != Class.jmp32
      else {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_EXIT uses reserved fields\n")
      }
      return try leaveFunction(exception: false, &printState)
    default:
      try checkConditionalJump(insn)
      instruction += 1
      return .goOn
    }
  }

  private func checkCall(_ insn: Instruction, _ printState: inout Bool) throws(Refusal) -> Step {
    guard insn.operandSource == Source.k, insn.isKfuncCall || insn.offset == 0,
      insn.src == 0 || insn.src == Int(PseudoSource.call) || insn.src == Int(PseudoSource.kfuncCall),
      insn.dst == 0, insn.instructionClass != Class.jmp32
    else {
      throw refuse(.EINVAL, .invalidInstruction, "BPF_CALL uses reserved fields\n")
    }
    if state.pointee.activeLocks > 0 {
      let forbidden =
        insn.src == 0
        ? insn.immediate != HelperID.spinUnlock.rawValue
        : insn.isKfuncCall && (insn.offset != 0 || !kfuncIsAllowedUnderLock(insn))
      if forbidden {
        throw refuse(.EINVAL, .lock, "function calls are not allowed while holding a lock\n")
      }
    }
    if insn.isSubprogramCall {
      try checkFunctionCall(insn)
    } else if insn.isKfuncCall {
      try checkKfuncCall(insn)
      if isBPFThrow(insn) { return try leaveFunction(exception: true, &printState) }
    } else {
      try checkHelperCall(insn)
    }
    markRegisterScratched(0)
    instruction += 1
    return .goOn
  }

  /// `exit`, or an exception that leaves every frame at once.
  private func leaveFunction(exception: Bool, _ printState: inout Bool) throws(Refusal) -> Step {
    let inCallee = state.pointee.currentFrame > 0
    try checkResourceLeak(
      exceptionExit: exception, checkLock: exception || !inCallee,
      prefix: exception ? "bpf_throw" : "BPF_EXIT instruction in main prog")
    if exception { return .pathEnd }
    if inCallee {
      try prepareFunctionExit()
      printState = true
      return .goOn
    }
    try checkReturnCode(register: 0, name: "R0")
    return .pathEnd
  }

  // MARK: log

  @inline(never) private func trace(_ at: Int, _ printState: inout Bool) {
    if logLevel & 3 != 0 { logInstruction(&printState) }
    observer?(at, state)
  }

  private func logPruned(_ printState: Bool) {
    if printState {
      let how = state.pointee.speculative ? " (speculative execution)" : ""
      print("\nfrom \(previousInstruction) to \(instruction)\(how): safe\n")
    } else {
      print("\(instruction): safe\n")
    }
  }

  private func logInstruction(_ printState: inout Bool) {
    let frame = Int(state.pointee.currentFrame)
    if logLevel & 2 != 0 && printState {
      let how = state.pointee.speculative ? " (speculative execution)" : ""
      print("\nfrom \(previousInstruction) to \(instruction)\(how):")
      self.printState(state, frame: frame, all: true)
      printState = false
    }
    if stateIsScratched { printInstructionState(state, frame: frame) }
    printLineInfo(instruction, prefix: "; ")
    previousLogPosition = log.endPosition
    print("\(instruction): ")
    printInstruction(instruction)
    previousInstructionPosition = log.endPosition - previousLogPosition
    previousLogPosition = log.endPosition
  }
}
