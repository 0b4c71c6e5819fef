import BPFISA
import BPFLinux
import BTF

/// Registers that a call clobbers: r0 … r5.
let callerSavedRegisterCount = 6

extension Verification {
  // MARK: entering

  /// A new innermost frame in `target` for the call at `callSite`: of a callback, or with the caller's arguments.
  func setUpFunctionEntry(
    in target: StateRef, subprogram: Int, callSite: Int, callback: CallbackKind? = nil
  ) throws(Refusal) {
    let depth = Int(target.pointee.currentFrame)
    guard depth + 1 < maximumFrames else {
      throw refuse(.E2BIG, .stackDepth, "the call stack of \(depth + 2) frames is too deep\n")
    }
    guard target.framesBase[depth + 1] == nil else {
      throw refuse(.EFAULT, .invariant, "verifier bug: Frame \(depth + 1) already allocated\n")
    }
    let caller = target.current
    let callee = pool.makeFrame()
    target.framesBase[depth + 1] = callee
    initializeFrame(
      callee, callSite: Int32(truncatingIfNeeded: callSite), number: UInt32(truncatingIfNeeded: depth + 1),
      subprogram: subprogram)
    if let callback {
      do throws(Refusal) {
        try passCallbackArguments(callback, from: caller, to: callee, callSite: callSite)
      } catch {
        pool.freeFrame(callee)
        target.framesBase[depth + 1] = nil
        throw error
      }
    } else {
      for number in 1...5 { callee.register(number).pointee = caller.register(number).pointee }
    }
    target.pointee.currentFrame &+= 1
  }

  /// After a call: r0 … r5 of `registers` hold nothing that may be read.
  @inline(__always) func clearCallerSavedRegisters(in registers: RegisterRef) {
    let definition = Int32(truncatingIfNeeded: instruction + 1)
    for number in 0..<callerSavedRegisterCount {
      markNotInitialized(registers + number)
      registers[number].subregisterDefinition = definition
      markRegisterScratched(number)
    }
  }

  /// A call of another function of the program. A global one was, or will be, checked on its own; a static one is
  /// entered: `instruction` is then the one before its first.
  func checkFunctionCall(_ insn: Instruction) throws(Refusal) {
    let target = instruction &+ Int(insn.immediate) &+ 1
    guard let subprogram = findSubprogram(at: target) else {
      throw refuse(
        .EFAULT, .invariant, "verifier bug: target of func call at insn \(target) is not a program\n")
    }
    let caller = state.current
    let mismatch = checkSubprogramCallArguments(subprogram)
    if let mismatch, mismatch.errno == .EFAULT { throw mismatch }
    if subprogramIsGlobal(subprogram) {
      try checkGlobalCall(subprogram, mismatch, caller)
      return
    }
    try setUpFunctionEntry(in: state, subprogram: subprogram, callSite: instruction)
    clearCallerSavedRegisters(in: caller.pointee.registers)
    instruction = subprograms[subprogram].start - 1
    resetLivenessCallChain()
    if logLevel & 3 != 0 {
      print("caller:\n")
      printState(state, frame: Int(caller.pointee.number), all: true)
      print("callee:\n")
      printState(state, frame: Int(state.pointee.currentFrame), all: true)
    }
  }

  private func checkGlobalCall(_ subprogram: Int, _ mismatch: Refusal?, _ caller: FrameRef) throws(Refusal) {
    if state.pointee.activeLocks != 0 {
      throw refuse(
        .EINVAL, .lock,
        "global function calls are not allowed while holding a lock,\nuse static function instead\n")
    }
    if subprograms[subprogram].mightSleep,
      state.pointee.activeRCULock || state.pointee.activePreemptLocks != 0 || state.pointee.activeIRQID != 0
        || !inSleepable
    {
      throw refuse(
        .EINVAL, .sleep,
        "global functions that may sleep are not allowed in non-sleepable context,\n"
          + "i.e., in a RCU/IRQ/preempt-disabled section, or in\na non-sleepable BPF program context\n")
    }
    if let mismatch {
      throw refuse(
        mismatch.errno, mismatch.category,
        "Caller passes invalid args into func#\(subprogram) ('\(subprogramName(subprogram))')\n")
    }
    print("Func#\(subprogram) ('\(subprogramName(subprogram))') is global and assumed valid.\n")
    if subprograms[subprogram].changesPacketData { clearAllPacketPointers() }
    subprograms[subprogram].called = true
    clearCallerSavedRegisters(in: caller.pointee.registers)
    markUnknown(caller.register(0))
    caller.register(0).pointee.subregisterDefinition = 0
  }

  // MARK: leaving

  /// The innermost function returns. `instruction` is where it goes on: after the call, or, for a callback, at the
  /// call once more.
  func prepareFunctionExit() throws(Refusal) {
    try updateStackLiveness()
    let callee = state.current
    let result = callee.register(0)
    if result.pointee.type == .stack {
      throw refuse(.EINVAL, .returnValue, "cannot return stack pointer to the caller\n")
    }
    let depth = Int(state.pointee.currentFrame)
    let caller = state.frame(depth - 1)
    let callSite = Int(callee.pointee.callSite)
    let inCallback = callee.pointee.inCallback
    if inCallback {
      guard result.pointee.type == .scalar else {
        throw refuse(.EACCES, .returnValue, "R0 not a scalar value\n")
      }
      try markChainPrecise(0)
      let allowed = callee.pointee.callbackReturnRange
      if !returnRange(allowed, contains: result, narrow: false) {
        throw refuseInvalidScalar(result, allowed, context: "At callback return", name: "R0")
      }
      guard facts[callSite].callsCallback else {
        throw refuse(
          .EFAULT, .invariant,
          "verifier bug: in callback at \(instruction), callsite \(callSite) !calls_callback\n")
      }
    } else {
      caller.register(0).pointee = result.pointee
    }
    instruction = inCallback ? callSite : callSite + 1

    if logLevel & 3 != 0 {
      print("returning from callee:\n")
      printState(state, frame: Int(callee.pointee.number), all: true)
      print("to caller at \(instruction):\n")
      printState(state, frame: Int(caller.pointee.number), all: true)
    }
    pool.freeFrame(callee)
    state.framesBase[depth] = nil
    state.pointee.currentFrame &-= 1

    // Rounds of a callback converge as those of a loop over an iterator do.
    if inCallback, let previous = previousEntry(before: state, at: instruction) {
      widenImpreciseScalars(from: previous, in: state)
    }
  }

  // MARK: arguments

  /// Checks the caller's registers against what the function's BTF says of its arguments. nil where they match.
  ///
  /// Only for global functions is a mismatch an error. Compilers drop arguments of static ones; their BTF counts for
  /// nothing then.
  func checkSubprogramCallArguments(_ subprogram: Int) -> Refusal? {
    guard !program.functionInfo.isEmpty else { return Refusal(errno: .EINVAL, category: .btf) }
    guard subprogram < program.functionInfo.count, program.functionInfo[subprogram].typeID != 0 else {
      return Refusal(errno: .EFAULT, category: .btf)
    }
    if subprograms[subprogram].unreliable { return Refusal(errno: .EINVAL, category: .btf) }
    do throws(Refusal) {
      try prepareFunctionArguments(subprogram: subprogram)
      for index in 0..<subprograms[subprogram].arguments.count {
        try checkSubprogramArgument(index, subprograms[subprogram].arguments[index])
      }
      return nil
    } catch {
      subprograms[subprogram].unreliable = true
      return error
    }
  }

  private func checkSubprogramArgument(_ index: Int, _ argument: SubprogramArgument) throws(Refusal) {
    let number = index + 1
    let r = register(number)
    let type = argument.type
    if type == .anything {
      if r.pointee.type != .scalar {
        throw refuse(.EINVAL, .typeMismatch, "R\(number) is not a scalar\n")
      }
      return
    }
    // Reads through an untrusted argument are probes: any value will do.
    if type.has(.untrusted) { return }
    if type == .context {
      try checkArgumentOffset(r, register: number, argumentType: .none)
      if r.pointee.type != .context {
        throw refuse(.EINVAL, .typeMismatch, "arg#\(index) expects pointer to ctx\n")
      }
      return
    }
    if type == .dynptr | .readOnly {
      try checkArgumentOffset(r, register: number, argumentType: .dynptr)
      try processDynptr(register: number, instruction: -1, argumentType: type, cloneReferenceID: 0)
      return
    }
    switch type.base {
    case .memory:
      try checkArgumentOffset(r, register: number, argumentType: .none)
      do throws(Refusal) {
        try checkMemory(r, register: number, size: argument.memorySize)
      } catch {
        throw Refusal(errno: .EINVAL, category: error.category)
      }
      if !type.mayBeNull && r.pointee.type.mayBeNull {
        throw refuse(.EINVAL, .nullDereference, "arg#\(index) is expected to be non-NULL\n")
      }
    case .arena:
      if r.pointee.type != .arena && r.pointee.type != .scalar {
        throw refuse(.EINVAL, .typeMismatch, "R\(number) is not a pointer to arena or scalar.\n")
      }
    case .btfID:
      if r.pointee.isNull && type.mayBeNull { return }
      var meta = HelperCallMeta()
      try withMeta(&meta) { (meta) throws(Refusal) in
        try checkRegisterType(register: number, argumentType: type, btfID: argument.btfID, meta: meta)
      }
      try checkArgumentOffset(r, register: number, argumentType: type)
    default:
      throw refuse(
        .EFAULT, .invariant,
        "verifier bug: unrecognized arg#\(index) type \(Int32(bitPattern: type.rawValue))\n")
    }
  }

  /// Runs `body` with the address of `meta`.
  @inline(__always) func withMeta(
    _ meta: inout HelperCallMeta, _ body: (UnsafeMutablePointer<HelperCallMeta>) throws(Refusal) -> Void
  ) throws(Refusal) {
    try withUnsafeMutablePointer(to: &meta, body)
  }
}
