import BPFISA
import BPFLinux

extension Verification {
  /// `ld_imm64`: a constant, or the address of a map, a map's value, a kernel symbol or a function.
  func checkLoadImmediate(_ insn: Instruction) throws(Refusal) {
    guard insn.sizeCode == Size.dw else {
      throw refuse(.EINVAL, .invalidInstruction, "invalid BPF_LD_IMM insn\n")
    }
    guard insn.offset == 0 else {
      throw refuse(.EINVAL, .invalidInstruction, "BPF_LD_IMM64 uses reserved fields\n")
    }
    try checkRegisterWrite(insn.dst)
    let r = register(insn.dst)
    if insn.src == 0 {
      let low = UInt64(UInt32(bitPattern: insn.immediate))
      let high = UInt64(UInt32(bitPattern: instructions[instruction + 1].immediate))
      r.pointee.type = .scalar
      r.pointee.markKnown(high << 32 | low)
      return
    }
    r.pointee.markKnownZero()
    switch UInt8(insn.src) {
    case PseudoSource.btfID:
      r.pointee.type = fact.pointee.symbolType
      switch r.pointee.type.base {
      case .memory:
        r.pointee.memorySize = fact.pointee.symbolMemorySize
      case .btfID:
        r.pointee.btf = fact.pointee.symbolBTF
        r.pointee.btfID = fact.pointee.symbolBTFID
      default:
        throw refuse(.EFAULT, .invariant, "verifier bug: pseudo btf id: unexpected dst reg type\n")
      }
    case PseudoSource.function:
      guard !program.functionInfo.isEmpty else { throw refuse(.EINVAL, .callback, "missing btf func_info\n") }
      guard let callee = findSubprogram(at: instruction + Int(insn.immediate) + 1),
        subprograms[callee].linkage == 0
      else { throw refuse(.EINVAL, .callback, "callback function not static\n") }
      r.pointee.type = .function
      r.pointee.subprogram = callee
    case PseudoSource.mapValue, PseudoSource.mapIndexValue:
      let map = Int(fact.pointee.loadedMap)
      r.pointee.map = map
      if maps[map].definition.type == .arena {
        markUnknown(r)
        return
      }
      r.pointee.type = .mapValue
      r.pointee.offset = Int32(bitPattern: fact.pointee.loadedMapOffset)
    case PseudoSource.mapFD, PseudoSource.mapIndex:
      r.pointee.map = Int(fact.pointee.loadedMap)
      r.pointee.type = .mapPointer
    default:
      throw refuse(.EFAULT, .invariant, "verifier bug: unexpected src reg value for ldimm64\n")
    }
  }

  /// The legacy packet loads of socket filters (`ld_abs`, `ld_ind`).
  func checkLoadAbsolute(_ insn: Instruction) throws(Refusal) {
    switch programType {
    case .socketFilter, .schedCls, .schedAct: break
    default:
      throw refuse(
        .EINVAL, .invalidInstruction, "BPF_LD_[ABS|IND] instructions not allowed for this program type\n")
    }
    guard insn.dst == 0, insn.offset == 0, insn.sizeCode != Size.dw, insn.mode != Mode.abs || insn.src == 0 else {
      throw refuse(.EINVAL, .invalidInstruction, "BPF_LD_[ABS|IND] uses reserved fields\n")
    }
    let context = 6
    try checkRegisterRead(context)
    try checkResourceLeak(exceptionExit: false, checkLock: true, prefix: "BPF_LD_[ABS|IND]")
    guard register(context).pointee.type == .context else {
      throw refuse(.EINVAL, .typeMismatch, "at the time of BPF_LD_ABS|IND R6 != pointer to skb\n")
    }
    if insn.mode == Mode.ind { try checkRegisterRead(insn.src) }
    try checkPointerOffset(register(context), register: context, fixedOffsetOK: false)
    for number in 0...5 {
      markNotInitialized(register(number))
      try checkRegisterWrite(number, mark: false)
    }
    markUnknown(register(0))
    register(0).pointee.subregisterDefinition = Int32(truncatingIfNeeded: instruction + 1)
    if state.pointee.currentFrame > 0 { try returnFromFailedLoad() }
  }

  /// Where the packet ends before what is loaded, a subprogram returns 0 then and there. The path on which the load
  /// succeeds waits for its turn.
  private func returnFromFailedLoad() throws(Refusal) {
    markRegisterScratched(0)
    guard pushPath(to: instruction + 1, from: instruction, speculative: false) != nil else {
      throw Refusal(errno: .ENOMEM, category: .complexity)
    }
    markKnownZero(in: registers, 0)
    try prepareFunctionExit()
    instruction -= 1
  }
}
