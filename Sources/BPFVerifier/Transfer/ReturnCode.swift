import BPFISA
import BPFLinux
import BTF

extension Verification {
  /// What the program returns must be in the range that its type and attach type allow.
  func checkReturnCode(register number: Int, name: String) throws(Refusal) {
    let outermost = state.frame(0)
    let inSubprogram = outermost.pointee.subprogram != 0
    let inExceptionCallback = outermost.pointee.inExceptionCallback
    let isMain = !inSubprogram || inExceptionCallback
    let r = register(number)
    let rule = ReturnRules.rule(type: programType, expectedAttachType: expectedAttachType, target: returnTarget)
    if isMain {
      if programType == .lsm && expectedAttachType != .lsmCgroup || programType == .structOps {
        if attachReturnType == 0 { return }
      }
      if programType == .structOps && !inExceptionCallback, returnsReference(r) {
        return try checkPointerOffset(r, register: number, fixedOffsetOK: false)
      }
    }
    try checkRegisterRead(number)
    if isPointerValue(number) {
      throw refuse(.EACCES, .pointerLeak, "R\(number) leaks addr as return value\n")
    }
    var range = BPFLinux.ReturnRange(0, 1)
    var context = "At program exit"
    if outermost.pointee.inAsyncCallback {
      context = "At async callback return"
      let allowed = outermost.pointee.callbackReturnRange
      range = BPFLinux.ReturnRange(allowed.minimum, allowed.maximum)
    } else {
      if inSubprogram && !inExceptionCallback {
        guard r.pointee.type == .scalar else {
          throw refuse(
            .EINVAL, .returnValue,
            "At subprogram exit the register R\(number) is not a scalar value "
              + "(\(registerTypeText(r.pointee.type)))\n")
        }
        return
      }
      switch rule {
      case .nothing, .anything: return
      case .range(let allowed): range = allowed
      case .referenceOr(let allowed):
        if inExceptionCallback { return }
        range = allowed
      case .refused(let errno): throw Refusal(errno: errno, category: .returnValue)
      }
    }
    guard r.pointee.type == .scalar else {
      throw refuse(
        .EINVAL, .returnValue,
        "\(context) the register R\(number) is not a known value (\(registerTypeText(r.pointee.type)))\n")
    }
    try markChainPrecise(number)
    let allowed = ReturnRange(minimum: range.minimum, maximum: range.maximum)
    if !returnRange(allowed, contains: r, narrow: range.comparesHalf) {
      let refusal = refuseInvalidScalar(r, allowed, context: context, name: name)
      if !inSubprogram, range.note.utf8CodeUnitCount > 0 { print("\(range.note)") }
      throw refusal
    }
  }

  func returnRange(_ range: ReturnRange, contains r: RegisterRef, narrow: Bool) -> Bool {
    narrow
      ? range.minimum <= r.pointee.s32min && r.pointee.s32max <= range.maximum
      : Int64(range.minimum) <= r.pointee.smin && r.pointee.smax <= Int64(range.maximum)
  }

  func refuseInvalidScalar(_ r: RegisterRef, _ range: ReturnRange, context: String, name: String) -> Refusal {
    var text = "\(context) the register \(name) has"
    if r.pointee.smin > .min { text += " smin=\(r.pointee.smin)" }
    if r.pointee.smax < .max { text += " smax=\(r.pointee.smax)" }
    if r.pointee.smin == .min && r.pointee.smax == .max { text += " unknown scalar value" }
    return refuse(
      .EINVAL, .returnValue, text + " should have been in [\(range.minimum), \(range.maximum)]\n")
  }

  /// What the attached function returns, by its prototype.
  private var attachReturnType: TypeID {
    guard attach.prototype != 0, let btf = btfs[Int(attach.btf)] else { return 0 }
    return btf.type(attach.prototype).target
  }

  private var returnTarget: ReturnTarget {
    var target = ReturnTarget()
    target.isGiven = program.attachBTFID != 0
    guard attach.prototype != 0, let btf = btfs[Int(attach.btf)] else { return target }
    let type = btf.type(attach.prototype).target
    target.returnsVoid = type == 0
    target.returnsPointer = type != 0 && btf.type(btf.skipModifiers(type)).kind == .pointer
    target.isBooleanHook = programType == .lsm && KernelLists.booleanLSMHooks.contains(attach.functionName)
    return target
  }

  /// A struct_ops function may return a reference it holds, of the type that the function returns.
  private func returnsReference(_ r: RegisterRef) -> Bool {
    guard r.pointee.type.base == .btfID, r.pointee.referenceID != 0, let btf = btfs[Int(attach.btf)] else {
      return false
    }
    let type = btf.skipModifiers(attachReturnType)
    guard btf.type(type).kind == .pointer else { return false }
    return r.pointee.btf == attach.btf && btf.skipModifiers(btf.type(type).target) == r.pointee.btfID
  }
}
