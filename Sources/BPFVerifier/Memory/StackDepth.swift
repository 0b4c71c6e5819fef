import BPFISA
import BPFLinux

// How much stack the program's deepest chain of calls takes.

extension Verification {
  /// Least stack that is worth a private one.
  private static let privateStackMinimum: Int32 = 64

  /// Checks the stack of the main program and of each asynchronous callback, with everything that they call.
  func checkMaximumStackDepth() throws(Refusal) {
    let mode: PrivateStackMode =
      subprograms.contains(where: \.hasTailCall) ? .none : allowedPrivateStack
    // Callbacks first: what they call runs on the kernel's stack also where the main program calls it.
    var number = subprograms.count - 1
    while number >= 0 {
      if number == 0 || subprograms[number].isAsyncCallback {
        try checkStackDepth(of: number, privateStack: number == 0 && mode == .adaptive)
      }
      number -= 1
    }
  }

  /// Whether the compiler may give the program's functions a stack of their own.
  private var allowedPrivateStack: PrivateStackMode {
    let first = linux.architecture == .arm64 ? Linux.Version(6, 17) : Linux.Version(6, 13)
    guard linux.version >= first else { return .none }
    switch program.type {
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint:
      return .adaptive
    case .tracing:
      return expectedAttachType == .traceIter ? .none : .adaptive
    default:
      return .none
    }
  }

  private func roundedStackDepth(_ depth: Int32) -> Int32 {
    // Compiled code needs multiples of 16; earlier versions reckoned with the interpreter's 32.
    if linux.version >= Linux.Version(6, 8) { return (depth &+ 15) & ~15 }
    return (max(depth, 1) &+ 31) & ~31
  }

  private func checkStackDepth(of root: Int, privateStack: Bool) throws(Refusal) {
    var depth: Int32 = 0
    var current = root
    var index = subprograms[root].start
    var tailCallReachable = false
    /// Where to go on after each call on the way here, and in which function.
    var callers: [(index: Int, subprogram: Int)] = []

    depth = try enterStackDepth(current, depth: depth, frames: 0, privateStack: privateStack)
    while true {
      let end = current + 1 < subprograms.count ? subprograms[current + 1].start : instructionCount
      var entered = false
      while index < end {
        let insn = instructions[index]
        if insn.isKfuncCall, insn.offset == 0 {
          if isBPFThrow(insn),
            subprograms[current].isCallback || callers.contains(where: { subprograms[$0.subprogram].isCallback })
          {
            throw refuse(
              .EINVAL, .exceptions,
              "bpf_throw kfunc (insn \(index)) cannot be called from callback subprog \(current)\n")
          }
          index += 1
          continue
        }
        let isCall = insn.isSubprogramCall
        guard isCall || insn.isSubprogramAddress else {
          index += 1
          continue
        }
        let target = index + Int(insn.immediate) + 1
        guard let callee = findSubprogram(at: target) else {
          throw refuse(.EFAULT, .invariant, "verifier bug: callee not found at insn \(target) (sidx < 0)\n")
        }
        if subprograms[callee].isAsyncCallback {
          if subprograms[callee].hasTailCall {
            throw refuse(.EFAULT, .invariant, "verifier bug: subprog has tail_call and async cb\n")
          }
          // Runs later and on its own stack, unless called like any function.
          if !isCall {
            index += 1
            continue
          }
          if subprograms[callee].isExceptionCallback {
            throw refuse(.EINVAL, .exceptions, "insn \(index) cannot call exception cb directly")
          }
        }
        callers.append((index + 1, current))
        index = target
        current = callee
        if !privateStack { subprograms[current].privateStack = .none }
        if subprograms[current].hasTailCall { tailCallReachable = true }
        if callers.count >= maximumFrames {
          throw refuse(
            .E2BIG, .stackDepth, "the call stack of \(callers.count) frames is too deep !\n")
        }
        depth = try enterStackDepth(
          current, depth: depth, frames: callers.count, privateStack: privateStack)
        entered = true
        break
      }
      if entered { continue }

      if tailCallReachable {
        for caller in callers {
          if subprograms[caller.subprogram].isExceptionCallback {
            throw refuse(.EINVAL, .tailCall, "cannot tail call within exception cb\n")
          }
          subprograms[caller.subprogram].tailCallReachable = true
        }
      }
      guard let caller = callers.popLast() else { return }
      if subprograms[current].privateStack != .adaptive {
        depth &-= roundedStackDepth(subprograms[current].stackDepth)
      }
      index = caller.index
      current = caller.subprogram
    }
  }

  /// Adds the stack of a function to that of its callers.
  private func enterStackDepth(
    _ number: Int, depth: Int32, frames: Int, privateStack: Bool
  ) throws(Refusal) -> Int32 {
    if frames == 0, !privateStack { subprograms[number].privateStack = .none }
    // Thirty-two tail calls may follow one another, each leaving the frames before it on the stack.
    if number != 0, subprograms[number].hasTailCall, depth >= 256 {
      throw refuse(
        .EACCES, .tailCall,
        "tail_calls are not allowed when call stack of previous frames is \(depth) bytes. Too large\n")
    }
    let own = roundedStackDepth(subprograms[number].stackDepth)
    if privateStack, subprograms[number].privateStack == .unknown, own >= Self.privateStackMinimum {
      subprograms[number].privateStack = .adaptive
    }
    if subprograms[number].privateStack == .adaptive {
      if own > Int32(maximumStackSize) {
        throw refuse(
          .EACCES, .stackDepth, "stack size of subprog \(number) is \(own). Too large\n")
      }
      return depth
    }
    let total = depth &+ own
    if total > Int32(maximumStackSize) {
      throw refuse(
        .EACCES, .stackDepth, "combined stack size of \(frames + 1) calls is \(total). Too large\n")
    }
    return total
  }
}
