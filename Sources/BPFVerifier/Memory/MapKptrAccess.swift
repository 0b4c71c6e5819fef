import BPFISA
import BPFLinux
import BTF

// Kernel pointers in map values.

extension Verification {
  /// Checks that `r` may be stored in the kptr `field`.
  func mapKptrMatch(field: BTFField, register r: RegisterRef, number: Int) throws(Refusal) {
    let type = r.pointee.type
    var allowed: TypeFlags
    if type.base == .btfID, !isKernelBTF(r.pointee.btf) {
      allowed = [.mayBeNull, .allocated]
      if field.kind == .kptrPercpu { allowed.formUnion(.percpu) }
    } else {
      allowed = [.mayBeNull, .trusted, .rcu]
      if field.kind == .kptrUnref { allowed.formUnion(.untrusted) }
    }
    guard type.base == .btfID, type.flags.isSubset(of: allowed) else {
      throw kptrMismatch(field, r, number, "")
    }
    let name = typeName(r.pointee.btf, r.pointee.btfID)
    do throws(Refusal) {
      try checkPointerOffset(r, register: number, fixedOffsetOK: true)
    } catch {
      throw Refusal(errno: .EACCES, category: error.category)
    }
    guard
      btfStructIDsMatch(
        btf: r.pointee.btf, id: r.pointee.btfID, offset: r.pointee.offset, needBTF: field.btf,
        needID: field.btfID, strict: field.kind != .kptrUnref)
    else { throw kptrMismatch(field, r, number, name) }
  }

  private func kptrMismatch(
    _ field: BTFField, _ r: RegisterRef, _ number: Int, _ name: String
  ) -> Refusal {
    let target = typeName(field.btf, field.btfID)
    var message = "invalid kptr access, R\(number) type=\(registerTypeText(r.pointee.type))\(name) "
    message += "expected=\(registerTypeText(.btfID))\(target)"
    if field.kind == .kptrUnref {
      message += " or \(registerTypeText(.btfID | .untrusted))\(target)"
    }
    return refuse(.EINVAL, .kptr, message + "\n")
  }

  /// What a load of the kptr yields, besides that it may be null.
  private func loadedKptrFlags(_ field: BTFField) -> TypeFlags {
    let isSafe =
      field.kind == .kptrPercpu
      || (field.kind == .kptrRef && isRCUProtected(btf: field.btf, id: field.btfID))
    guard isSafe, inRCUSection else { return [.mayBeNull, .untrusted] }
    var flags: TypeFlags = [.mayBeNull, .rcu]
    let isKernel = isKernelBTF(field.btf)
    if field.kind == .kptrPercpu {
      flags.formUnion(.percpu)
    } else if !isKernel {
      flags.formUnion(.allocated)
    }
    if !isKernel, let record = structRecord(of: field.btfID, in: field.btf),
      record.has(.graphNode)
    {
      flags.formUnion(.nonOwning)
    }
    return flags
  }

  /// An access by the instruction at `index` to the kptr `field`, whose offset and size were checked.
  func checkMapKptrAccess(field: BTFField, valueRegister: Int, at index: Int) throws(Refusal) {
    let insn = instructions[index]
    if insn.mode != Mode.mem {
      throw refuse(
        .EACCES, .kptr, "kptr in map can only be accessed using BPF_MEM instruction mode\n")
    }
    let isLoad = insn.instructionClass == Class.ldx
    if !isLoad, field.kind == .kptrRef || field.kind == .kptrPercpu {
      throw refuse(.EACCES, .kptr, "store to referenced kptr disallowed\n")
    }
    if !isLoad, field.kind == .uptr {
      throw refuse(.EACCES, .kptr, "store to uptr disallowed\n")
    }
    switch insn.instructionClass {
    case Class.ldx:
      if field.kind == .uptr {
        markUserPointerLoad(valueRegister, field)
      } else {
        try markBTFLoad(
          into: registers, valueRegister, type: .btfID, btf: field.btf, id: field.btfID,
          flags: loadedKptrFlags(field))
      }
    case Class.stx:
      let value = register(valueRegister)
      if value.pointee.isNull { return }
      do throws(Refusal) {
        try mapKptrMatch(field: field, register: value, number: valueRegister)
      } catch {
        throw Refusal(errno: .EACCES, category: error.category)
      }
    case Class.st:
      if insn.immediate != 0 {
        throw refuse(
          .EACCES, .kptr, "BPF_ST imm must be 0 when storing to kptr at off=\(field.offset)\n")
      }
    default:
      throw refuse(
        .EACCES, .kptr, "kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST\n")
    }
  }

  private func markUserPointerLoad(_ number: Int, _ field: BTFField) {
    markKnownZero(in: registers, number)
    let register = register(number)
    register.pointee.type = .memory | .mayBeNull
    register.pointee.memorySize = btfs[Int(field.btf)]?.type(field.btfID).size ?? 0
    register.pointee.id = newID()
  }
}
