import BPFISA
import BPFLinux

extension Verification {
  /// A conditional jump: one way where what is known decides it, else both, each with what it shows.
  ///
  /// Leaves `instruction` before the one to go on with.
  func checkConditionalJump(_ insn: Instruction) throws(Refusal) {
    let operation = insn.operation
    if operation == Jump.ja || operation > Jump.jcond {
      throw refuse(
        .EINVAL, .invalidInstruction,
        "invalid BPF_JMP/JMP32 opcode \(String(operation, radix: 16))\n")
    }
    if operation == Jump.jcond { return try checkMayGoto(insn) }
    try checkRegisterRead(insn.dst)
    let dst = register(insn.dst)
    let comparesRegisters = insn.operandSource == Source.x
    let src = comparesRegisters ? register(insn.src) : scratchRegisters
    try checkSecondOperand(insn, dst, src)

    let narrow = insn.instructionClass == Class.jmp32
    let outcome = outcome(dst, src, operation, narrow: narrow)
    if outcome != .either {
      if dst.pointee.type == .scalar { try markChainPrecise(insn.dst) }
      if comparesRegisters && src.pointee.type == .scalar { try markChainPrecise(insn.src) }
      return try followOneWay(insn, taken: outcome == .always)
    }

    var linked = LinkedRegisters()
    if comparesRegisters && src.pointee.type == .scalar && src.pointee.id != 0 {
      collectLinked(state, id: src.pointee.id, into: &linked)
    }
    if dst.pointee.type == .scalar && dst.pointee.id != 0 {
      collectLinked(state, id: dst.pointee.id, into: &linked)
    }
    if linked.count > 1 { try pushHistory(state, flags: 0, linked: linked.packed) }

    guard let taken = pushPath(to: instruction + Int(insn.offset) + 1, from: instruction, speculative: false) else {
      throw Refusal(errno: .EFAULT, category: .complexity)
    }
    let takenDst = taken.current.register(insn.dst)
    if comparesRegisters {
      let takenSrc = taken.current.register(insn.src)
      try learn(takenDst, takenSrc, dst, src, operation, narrow: narrow)
      if src.pointee.type == .scalar && src.pointee.id != 0 && src.pointee.id == takenSrc.pointee.id {
        syncLinked(state, known: src, linked)
        syncLinked(taken, known: takenSrc, linked)
      }
    } else {
      let constant = scratchRegisters + 1
      constant.pointee = scratchRegisters.pointee
      try learn(takenDst, scratchRegisters, dst, constant, operation, narrow: narrow)
    }
    if dst.pointee.type == .scalar && dst.pointee.id != 0 && dst.pointee.id == takenDst.pointee.id {
      syncLinked(state, known: dst, linked)
      syncLinked(taken, known: takenDst, linked)
    }
    learnFromEqualPointers(insn, dst, src, taken, narrow: narrow)

    if !narrow && !comparesRegisters && insn.immediate == 0 && (operation == Jump.jeq || operation == Jump.jne)
      && dst.pointee.type.mayBeNull
    {
      markPointerOrNull(in: state, register: insn.dst, isNull: operation == Jump.jne)
      markPointerOrNull(in: taken, register: insn.dst, isNull: operation == Jump.jeq)
    } else if !matchPacketPointers(insn, dst, register(insn.src), fallThrough: state, taken: taken)
      && isPointerValue(insn.dst)
    {
      throw refuse(.EACCES, .pointerLeak, "R\(insn.dst) pointer comparison prohibited\n")
    }
    logAfterBranch()
  }

  private func checkSecondOperand(_ insn: Instruction, _ dst: RegisterRef, _ src: RegisterRef) throws(Refusal) {
    var flags: UInt32 = 0
    if insn.operandSource == Source.x {
      guard insn.immediate == 0 else {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_JMP/JMP32 uses reserved fields\n")
      }
      try checkRegisterRead(insn.src)
      let dstIsPacket = dst.pointee.isPacketPointer || dst.pointee.type == .packetEnd
      let srcIsPacket = src.pointee.isPacketPointer || src.pointee.type == .packetEnd
      if !(dstIsPacket && srcIsPacket) && isPointerValue(insn.src) {
        throw refuse(.EACCES, .pointerLeak, "R\(insn.src) pointer comparison prohibited\n")
      }
      if src.pointee.type == .stack { flags |= HistoryFlags.srcIsStack }
    } else {
      guard insn.src == 0 else {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_JMP/JMP32 uses reserved fields\n")
      }
      src.pointee = RegisterState()
      src.pointee.type = .scalar
      src.pointee.markKnown(UInt64(bitPattern: Int64(insn.immediate)))
    }
    if dst.pointee.type == .stack { flags |= HistoryFlags.dstIsStack }
    if flags != 0 { try pushHistory(state, flags: flags, linked: 0) }
  }

  /// `may_goto`: the loop goes on or ends, at the kernel's pleasure.
  private func checkMayGoto(_ insn: Instruction) throws(Refusal) {
    guard insn.opcode == Opcode.mayGoto, insn.registers == 0, insn.immediate == 0 else {
      throw refuse(.EINVAL, .invalidInstruction, "invalid may_goto imm \(insn.immediate)\n")
    }
    let previous = state.pointee.parent.flatMap { previousEntry(before: $0, at: instruction) }
    guard let fallThrough = pushPath(to: instruction + 1, from: instruction, speculative: false) else {
      throw Refusal(errno: .ENOMEM, category: .complexity)
    }
    fallThrough.pointee.mayGotoDepth &+= 1
    if let previous { widenImpreciseScalars(from: previous, in: fallThrough) }
    instruction += Int(insn.offset)
  }

  private func followOneWay(_ insn: Instruction, taken: Bool) throws(Refusal) {
    let target = instruction + Int(insn.offset) + 1
    if !bypassSpectreV1,
      exploreSpeculatively(insn, to: taken ? instruction + 1 : target, from: instruction) == nil
    {
      throw Refusal(errno: .EFAULT, category: .complexity)
    }
    logAfterBranch()
    if taken { instruction += Int(insn.offset) }
  }

  private func logAfterBranch() {
    if logLevel & 3 != 0 { printInstructionState(state, frame: Int(state.pointee.currentFrame)) }
  }

  /// Narrows both sides in both directions.
  private func learn(
    _ takenDst: RegisterRef, _ takenSrc: RegisterRef, _ dst: RegisterRef, _ src: RegisterRef, _ operation: UInt8,
    narrow: Bool
  ) throws(Refusal) {
    guard dst.pointee.type == .scalar, src.pointee.type == .scalar else { return }
    BranchRefinement.refine(dst, src, BranchRefinement.reversed(operation), narrow: narrow)
    dst.pointee.sync()
    src.pointee.sync()
    BranchRefinement.refine(takenDst, takenSrc, operation, narrow: narrow)
    takenDst.pointee.sync()
    takenSrc.pointee.sync()
    try checkInvariants(takenDst, "true_reg1")
    try checkInvariants(takenSrc, "true_reg2")
    try checkInvariants(dst, "false_reg1")
    try checkInvariants(src, "false_reg2")
  }

  /// A pointer that may be null and equals one that cannot be is not null either.
  private func learnFromEqualPointers(
    _ insn: Instruction, _ dst: RegisterRef, _ src: RegisterRef, _ taken: StateRef, narrow: Bool
  ) {
    guard !narrow, insn.operandSource == Source.x, src.pointee.type != .scalar, dst.pointee.type != .scalar,
      src.pointee.type.mayBeNull != dst.pointee.type.mayBeNull, src.pointee.type.base != .btfID,
      dst.pointee.type.base != .btfID
    else { return }
    let equal: RegisterRef
    switch insn.operation {
    case Jump.jeq: equal = taken.current.pointee.registers
    case Jump.jne: equal = registers
    default: return
    }
    markNotNull(src.pointee.type.mayBeNull ? equal + insn.src : equal + insn.dst)
  }

  // MARK: null

  /// The pointer is not null: it becomes what it points to.
  func markNotNull(_ r: RegisterRef) {
    guard r.pointee.type.base == .mapValue else {
      r.pointee.type = r.pointee.type.removing(.mayBeNull)
      return
    }
    let map = r.pointee.map
    let inner = maps[map].inner
    if inner >= 0 {
      r.pointee.type = .mapPointer
      r.pointee.map = inner
      if let record = maps[inner].record, record.has([.timer, .workqueue, .taskWork]) {
        r.pointee.mapUID = r.pointee.id
      }
      return
    }
    switch maps[map].definition.type {
    case .xskmap: r.pointee.type = .xdpSock
    case .sockmap, .sockhash: r.pointee.type = .socket
    default: r.pointee.type = .mapValue
    }
  }

  private func markNullness(_ r: RegisterRef, _ id: UInt32, isNull: Bool) {
    guard r.pointee.type.mayBeNull, r.pointee.id == id, isRCU(r) || r.pointee.id != 0 else { return }
    guard r.pointee.smin == 0, r.pointee.smax == 0, r.pointee.bits == Tnum(constant: 0) else { return }
    let type = r.pointee.type
    if !(type.base == .btfID && type.has(.allocated)) && r.pointee.offset != 0 { return }
    if isNull {
      r.pointee.type = .scalar
      r.pointee.id = 0
      r.pointee.referenceID = 0
      return
    }
    markNotNull(r)
    if !mayPointToSpinLock(r) { r.pointee.id = 0 }
  }

  private func mayPointToSpinLock(_ r: RegisterRef) -> Bool {
    btfRecord(of: r)?.has([.spinLock, .resilientSpinLock]) ?? false
  }

  /// Every pointer that is null together with register `number` is, or is not.
  func markPointerOrNull(in state: StateRef, register number: Int, isNull: Bool) {
    let r = state.current.register(number)
    let id = r.pointee.id
    let reference = r.pointee.referenceID
    // What was not acquired needs no release.
    if reference != 0 && reference == id && isNull { releaseReferenceNoMark(in: state, id: id) }
    state.forEachRegister { _, other in markNullness(other, id, isNull: isNull) }
  }

  func markGraphNode(in registers: RegisterRef, _ number: Int, btf: BTFIndex, type: UInt32, offset: Int32) {
    let r = registers + number
    r.pointee.markKnownZero()
    r.pointee.type = .btfID | .allocated
    r.pointee.btf = btf
    r.pointee.btfID = type
    r.pointee.offset = offset
  }
}
