import BPFISA
import BPFLinux

/// Whose fields an access names, and so how it becomes one of the kernel's own structures.
enum ContextKind {
  case socketBuffer
  case trafficControl
  case streamParser
  case xdp
  case socket
  case tcpSocket
  case xdpSocket
  case socketAddress
  case socketOperations
  case message
  case flowDissector
  case reuseport
  case socketLookup
  case perfEvent
  case sysctl
  case socketOption

  /// How programs of the type see their context; nil where they see the kernel's own.
  init?(_ type: ProgramType) {
    switch type {
    case .socketFilter, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local: self = .socketBuffer
    case .schedCls, .schedAct: self = .trafficControl
    case .skSkb: self = .streamParser
    case .xdp: self = .xdp
    case .cgroupSock: self = .socket
    case .cgroupSockAddr: self = .socketAddress
    case .sockOps: self = .socketOperations
    case .skMsg: self = .message
    case .flowDissector: self = .flowDissector
    case .skReuseport: self = .reuseport
    case .skLookup: self = .socketLookup
    case .perfEvent: self = .perfEvent
    case .cgroupSysctl: self = .sysctl
    case .cgroupSockopt: self = .socketOption
    default: return nil
    }
  }
}

// Accesses of the context become accesses of the kernel's structures, accesses that may fault get their own mode,
// and barriers go where speculation must stop.

extension Rewriter {
  func convertContextAccesses() throws(Refusal) {
    let count = slots.count
    let epilogue = try addEpilogueAndPrologue()
    var epilogueStart = 0
    var index = slots.count - count
    if index > 0 { moveJumps(to: 0, by: index) }
    for _ in 0..<count {
      if let fact = facts(index), fact.pointee.noSpeculation {
        index += try replace(index, [.speculationBarrier, slots[index].instruction])
      }
      index += try convert(index, epilogue, &epilogueStart) + 1
    }
  }

  /// Rewrites one instruction and returns by how many slots the program grew.
  private func convert(_ index: Int, _ epilogue: [Instruction], _ epilogueStart: inout Int) throws(Refusal) -> Int {
    let insn = slots[index].instruction
    let type = facts(index)?.pointee.pointerType ?? .notInitialized
    let isWrite: Bool
    switch (insn.instructionClass, insn.mode) {
    case (Class.ldx, Mode.mem): isWrite = false
    case (Class.ldx, Mode.memsx) where insn.sizeCode != Size.dw: isWrite = false
    case (Class.stx, Mode.mem), (Class.st, Mode.mem): isWrite = true
    case (Class.stx, Mode.atomic):
      if type == .arena { slots[index].instruction.opcode = Class.stx | ProbeMode.arenaAtomic | insn.sizeCode }
      return 0
    default:
      guard insn.opcode == Opcode.exit, !epilogue.isEmpty, index < end(of: 0) else { return 0 }
      if epilogueStart > 0 {
        var back = Instruction(opcode: Opcode.jaLong)
        back.immediate = Int32(truncatingIfNeeded: epilogueStart - index - 1)
        return try replace(index, [back])
      }
      epilogueStart = index
      return try replace(index, epilogue)
    }
    if isWrite, let fact = facts(index), fact.pointee.noSpeculationResult {
      return try replace(index, [insn, .speculationBarrier])
    }
    let kind: ContextKind
    switch type {
    case .context:
      guard let own = ContextKind(verification.programType) else { return 0 }
      kind = own
    case .socket, .sockCommon: kind = .socket
    case .tcpSock: kind = .tcpSocket
    case .xdpSock: kind = .xdpSocket
    case .btfID, .btfID | .untrusted, .btfID | [.allocated, .untrusted], .memory | [.readOnly, .untrusted]:
      if !isWrite {
        let mode = insn.mode == Mode.mem ? ProbeMode.memory : ProbeMode.signExtended
        slots[index].instruction.opcode = Class.ldx | mode | insn.sizeCode
      }
      return 0
    case .arena:
      let mode = insn.mode == Mode.memsx ? ProbeMode.arenaSignExtended : ProbeMode.arena
      slots[index].instruction.opcode = insn.instructionClass | mode | insn.sizeCode
      return 0
    default:
      return 0
    }
    return try replace(index, try converted(index, insn, kind, isWrite: isWrite))
  }

  private func converted(
    _ index: Int, _ insn: Instruction, _ kind: ContextKind, isWrite: Bool
  ) throws(Refusal) -> [Instruction] {
    let fieldSize = Int(facts(index)?.pointee.contextFieldSize ?? 0)
    let size = insn.accessSize
    let isNarrow = size < fieldSize
    let whole = min(fieldSize, 8)
    var wide = insn
    if isNarrow {
      wide.offset = Int16(truncatingIfNeeded: Int(insn.offset) & ~(whole - 1))
      wide.opcode = Class.ldx | Mode.mem | (fieldSize == 4 ? Size.w : fieldSize == 8 ? Size.dw : Size.h)
    }
    var access = ContextFieldAccess(
      wide, isWrite: isWrite, fields: fields, seesTimestampType: kind == .trafficControl && seesTimestampType)
    access.convert(kind)
    if let missing = access.missing {
      throw verification.unsupported("the field \(missing), which the kernel's types do not have")
    }
    guard !access.code.isEmpty, fieldSize == 0 || access.targetSize != 0 else {
      throw verification.refuse(
        .EFAULT, .invariant, "verifier bug: error during ctx access conversion (\(access.code.count))\n")
    }
    var code = access.code
    if isNarrow && size < access.targetSize {
      let shift = (Int(insn.offset) & (whole - 1)) * 8
      let mask = Int32(truncatingIfNeeded: (1 << (size * 8)) - 1)
      if shift != 0 {
        code.append(
          .alu(fieldSize <= 4 ? Class.alu : Class.alu64, ALU.rsh, insn.dst, Int32(truncatingIfNeeded: shift)))
      }
      code.append(.alu32(ALU.and, insn.dst, mask))
    }
    if insn.mode == Mode.memsx {
      var extend = Instruction.alu64(ALU.mov, insn.dst, register: insn.dst)
      extend.offset = Int16(truncatingIfNeeded: size * 8)
      code.append(extend)
    }
    return code
  }

  /// The program reads `__sk_buff.tstamp_type`, so it knows what kind of time the time stamp is.
  private var seesTimestampType: Bool {
    guard let field = fields.field("__sk_buff", "tstamp_type") else { return false }
    for index in 0..<verification.instructionCount where verification.facts[index].pointerType == .context {
      if Int(verification.program.instructions[index].offset) == field.offset { return true }
    }
    return false
  }

  // MARK: before the first instruction and after the last

  private func addEpilogueAndPrologue() throws(Refusal) -> [Instruction] {
    var epilogue: [Instruction] = []
    if isQueueingDiscipline("reset", "destroy") {
      subprograms[0].stackDepth += 8
      let place = -subprograms[0].stackDepth
      epilogue = [
        .load(Size.dw, 1, 10, place), .load(Size.dw, 1, 1, 0),
        .callKfunc(try kernelFunction("bpf_qdisc_reset_destroy_epilogue")), .exit,
      ]
      try replace(0, [.store(Size.dw, 10, place, register: 1), slots[0].instruction])
    }
    let prologue = try prologue()
    if !prologue.isEmpty { try replace(0, prologue + [slots[0].instruction]) }
    return epilogue
  }

  private func prologue() throws(Refusal) -> [Instruction] {
    switch verification.programType {
    case .schedCls, .schedAct, .lwtXmit: return try uncloning(verdict: 2)
    case .skSkb: return try uncloning(verdict: 0)
    default:
      guard isQueueingDiscipline("init") else { return [] }
      return [
        .alu64(ALU.mov, 6, register: 1), .load(Size.dw, 2, 1, 16), .load(Size.dw, 1, 1, 0),
        .callKfunc(try kernelFunction("bpf_qdisc_init_prologue")), .jump(Jump.jeq, 0, 0, to: 1), .exit,
        .alu64(ALU.mov, 1, register: 6),
      ]
    }
  }

  /// A program that writes to packets first makes sure that nobody else has the same one.
  private func uncloning(verdict: Int32) throws(Refusal) -> [Instruction] {
    guard verification.seenDirectWrite else { return [] }
    guard let cloned = fields.field("sk_buff", "__cloned_offset") else {
      throw verification.unsupported("the field sk_buff.__cloned_offset, which the kernel's types do not have")
    }
    return [
      .load(Size.b, 6, 1, cloned.offset), .alu32(ALU.and, 6, 1), .jump(Jump.jeq, 6, 0, to: 7),
      .alu64(ALU.mov, 6, register: 1), .alu64(ALU.xor, 2, register: 2), .call(.skbPullData),
      .jump(Jump.jeq, 0, 0, to: 2), .alu32(ALU.mov, 0, verdict), .exit, .alu64(ALU.mov, 1, register: 6),
    ]
  }

  private func isQueueingDiscipline(_ operations: String...) -> Bool {
    verification.programType == .structOps && verification.attach.structOpsName == "Qdisc_ops"
      && operations.contains(verification.attach.functionName)
  }

  private func kernelFunction(_ name: String) throws(Refusal) -> UInt32 {
    guard let id = verification.linux.btf?.find(name, kind: .function) else {
      throw verification.unsupported("the kernel function \(name), which the kernel's types do not have")
    }
    return id
  }
}
