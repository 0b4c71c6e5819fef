import BPFISA
import BPFLinux

extension Verification {
  /// A number is added to a pointer or subtracted from it.
  func adjustPointer(_ insn: Instruction, pointer: RegisterRef, offset: RegisterRef) throws(Refusal) {
    let target = register(insn.dst)
    let old = pointer.pointee
    let amount = offset.pointee
    let known = amount.bits.isConstant
    if (known && (amount.smin != amount.smax || amount.umin != amount.umax)) || amount.smin > amount.smax
      || amount.umin > amount.umax
    {
      // Contradictory bounds: a path that cannot be taken.
      markUnknown(target)
      return
    }
    guard insn.instructionClass == Class.alu64 else {
      if insn.operation == ALU.sub && allowPointerLeaks {
        markUnknown(target)
        return
      }
      throw refuse(.EACCES, .pointerArithmetic, "R\(insn.dst) 32-bit pointer arithmetic prohibited\n")
    }
    if old.type.mayBeNull {
      throw refuse(
        .EACCES, .pointerArithmetic,
        "R\(insn.dst) pointer arithmetic on \(registerTypeText(old.type)) prohibited, null-check it first\n")
    }
    // Untrusted memory faults safely wherever it points.
    if old.type.base == .memory && old.type.has(.untrusted) { return }
    guard allowsArithmetic(old.type, by: amount, insn) else {
      throw refuse(
        .EACCES, .pointerArithmetic,
        "R\(insn.dst) pointer arithmetic on \(registerTypeText(old.type)) prohibited\n")
    }
    let offsetIsTarget = offset == target
    target.pointee.type = old.type
    target.pointee.id = old.id
    // The offset is checked as it was before: it may be the register that becomes the pointer.
    let checked = scratchRegisters
    checked.pointee = amount
    guard checkRegisterSaneOffset(checked, type: old.type) else {
      throw Refusal(errno: .EINVAL, category: .pointerArithmetic)
    }
    checked.pointee = old
    guard checkRegisterSaneOffset(checked, type: old.type) else {
      throw Refusal(errno: .EINVAL, category: .pointerArithmetic)
    }
    target.pointee.markUnbounded32()

    let sanitizes = insn.operation == ALU.add || insn.operation == ALU.sub
    var window = SanitationWindow()
    if sanitizes,
      let failure = sanitizePointer(
        insn, pointer: pointer, offset: offset, target: target, window: &window, commit: false)
    {
      throw sanitationRefusal(insn, failure, offsetIsTarget: offsetIsTarget)
    }
    switch insn.operation {
    case ALU.add:
      add(old, amount, known: known, to: target)
    case ALU.sub:
      if offsetIsTarget {
        throw refuse(
          .EACCES, .pointerArithmetic, "R\(insn.dst) tried to subtract pointer from scalar\n")
      }
      if old.type == .stack {
        throw refuse(
          .EACCES, .pointerArithmetic, "R\(insn.dst) subtraction from stack pointer prohibited\n")
      }
      subtract(old, amount, known: known, from: target)
    case ALU.and, ALU.or, ALU.xor:
      throw refuse(
        .EACCES, .pointerArithmetic,
        "R\(insn.dst) bitwise operator \(Mnemonic.assignment(insn.operation)) on pointer prohibited\n")
    default:
      throw refuse(
        .EACCES, .pointerArithmetic,
        "R\(insn.dst) pointer arithmetic with \(Mnemonic.assignment(insn.operation)) operator prohibited\n")
    }
    guard checkRegisterSaneOffset(target, type: old.type) else {
      throw Refusal(errno: .EINVAL, category: .pointerArithmetic)
    }
    target.pointee.sync()
    let boundsChecked = try checkSanitizedBounds(insn, target)
    if sanitizes {
      let failure = sanitizePointer(
        insn, pointer: target, offset: offset, target: target, window: &window, commit: true)
      if let failure { throw sanitationRefusal(insn, failure, offsetIsTarget: offsetIsTarget) }
      if !canSkipSanitation(insn) && !state.pointee.speculative && !boundsChecked {
        throw refuse(
          .EFAULT, .invariant,
          "verifier bug: Pointer type unsupported by sanitize_check_bounds() not rejected by retrieve_ptr_limit()"
            + " as required\n")
      }
    }
  }

  private func allowsArithmetic(_ type: RegisterType, by amount: RegisterState, _ insn: Instruction) -> Bool {
    let known = amount.bits.isConstant
    switch type.base {
    case .context, .mapValue, .mapKey, .stack, .packetMeta, .packet, .tracepointBuffer, .btfID, .memory, .buffer,
      .function, .dynptr:
      return true
    case .flowKeys:
      return known
    case .mapPointer:
      return known && amount.smin == 0 && insn.operation == ALU.add
    default:
      return false
    }
  }

  @inline(__always) private func keepPayload(_ old: RegisterState, in target: RegisterRef) {
    target.pointee.payload0 = old.payload0
    target.pointee.payload1 = old.payload1
    target.pointee.btf = old.btf
    target.pointee.iteratorState = old.iteratorState
  }

  @inline(__always) private func keepVariablePart(_ old: RegisterState, in target: RegisterRef) {
    target.pointee.smin = old.smin
    target.pointee.smax = old.smax
    target.pointee.umin = old.umin
    target.pointee.umax = old.umax
    target.pointee.bits = old.bits
    keepPayload(old, in: target)
  }

  /// After arithmetic by an unknown amount a packet pointer is another one, of which no range is proved.
  private func renewPacketPointer(_ target: RegisterRef, keepRange: Bool) {
    target.pointee.id = newID()
    if !keepRange {
      target.pointee.payload0 = 0
      target.pointee.payload1 = 0
    }
  }

  private func add(_ old: RegisterState, _ amount: RegisterState, known: Bool, to target: RegisterRef) {
    if known {
      let sum = Int64(old.offset) &+ amount.smin
      if let fixed = Int32(exactly: sum) {
        keepVariablePart(old, in: target)
        target.pointee.offset = fixed
        return
      }
    }
    let (low, under) = old.smin.addingReportingOverflow(amount.smin)
    let (high, over) = old.smax.addingReportingOverflow(amount.smax)
    target.pointee.smin = under || over ? .min : low
    target.pointee.smax = under || over ? .max : high
    let (ulow, uunder) = old.umin.addingReportingOverflow(amount.umin)
    let (uhigh, uover) = old.umax.addingReportingOverflow(amount.umax)
    target.pointee.umin = uunder || uover ? 0 : ulow
    target.pointee.umax = uunder || uover ? .max : uhigh
    target.pointee.bits = old.bits + amount.bits
    target.pointee.offset = old.offset
    keepPayload(old, in: target)
    if old.isPacketPointer { renewPacketPointer(target, keepRange: false) }
  }

  private func subtract(_ old: RegisterState, _ amount: RegisterState, known: Bool, from target: RegisterRef) {
    if known {
      let difference = Int64(old.offset) &- amount.smin
      if let fixed = Int32(exactly: difference) {
        keepVariablePart(old, in: target)
        target.pointee.id = old.id
        target.pointee.offset = fixed
        return
      }
    }
    let (low, under) = old.smin.subtractingReportingOverflow(amount.smax)
    let (high, over) = old.smax.subtractingReportingOverflow(amount.smin)
    target.pointee.smin = under || over ? .min : low
    target.pointee.smax = under || over ? .max : high
    if old.umin < amount.umax {
      target.pointee.umin = 0
      target.pointee.umax = .max
    } else {
      target.pointee.umin = old.umin &- amount.umax
      target.pointee.umax = old.umax &- amount.umin
    }
    target.pointee.bits = old.bits - amount.bits
    target.pointee.offset = old.offset
    keepPayload(old, in: target)
    if old.isPacketPointer { renewPacketPointer(target, keepRange: amount.smin >= 0) }
  }
}
