import BPFISA
import BPFLinux
import BTF

/// How a program is to be verified.
public struct VerifierOptions: Sendable {
  /// Level bits as in `bpf(2)`: 1 (log of the failing path), 2 (of every path), 4 (statistics). 0 logs nothing.
  public var logLevel: UInt32 = 0
  /// Bytes of log that are kept: the last ones, as Linux keeps them in the caller's buffer.
  public var logLimit = 64 << 20

  public init(logLevel: UInt32 = 0) { self.logLevel = logLevel }
}

/// A program that the verifier accepted. Only the verifier makes one: holding it is the proof.
public struct VerifiedProgram: Sendable {
  public let program: Program

  init(_ program: Program) { self.program = program }
}

/// Why a program was refused.
public struct Rejection: Sendable, Error {
  public let errno: Errno
  public let category: RefusalCategory
  /// The instruction being checked, where the refusal was about one.
  public let instruction: Int?
  /// The kernel's own message, without the newline.
  public let message: String
  /// How verification came there.
  let path: FailingPath
}

/// What the verifier counted on the way.
public struct VerifierStatistics: Sendable, Hashable {
  /// Instructions processed, over all paths.
  public var instructions = 0
  public var totalStates = 0
  public var peakStates = 0
  public var maximumStatesPerInstruction = 0
  /// Bytes of stack by subprogram.
  public var stackDepths: [Int] = []
  /// Time of verification alone: what the verifying thread spent, not what the machine did meanwhile.
  public var microseconds = 0

  public init() {}
}

/// The verifier's answer.
public struct Verdict: Sendable {
  public let result: Result<VerifiedProgram, Rejection>
  public let statistics: VerifierStatistics
  /// The log in UTF-8, empty at level 0: the end of it, where it outgrew `VerifierOptions.logLimit`.
  public let log: [UInt8]
  /// Bytes of buffer that would have held all of the log (`log_true_size`). `bpf(2)` answers ENOSPC, whatever the
  /// verdict, to a caller whose buffer is smaller.
  public let logSize: UInt32

  public var isAccepted: Bool {
    if case .success = result { true } else { false }
  }
}

/// Linux's proof that a program is safe.
public enum Verifier {
  /// Verifies `program` as the kernel that `linux` describes would.
  public static func verify(_ program: Program, on linux: Linux, options: VerifierOptions = .init()) -> Verdict {
    let start = ProcessorClock()
    let verification = Verification(program, on: linux, options: options)
    var refusal: Refusal?
    do {
      try verification.run()
    } catch {
      refusal = error
    }
    let microseconds = start.elapsedMicroseconds
    var statistics = VerifierStatistics()
    statistics.instructions = verification.processed
    statistics.totalStates = verification.totalStates
    statistics.peakStates = verification.peakStates
    statistics.maximumStatesPerInstruction = verification.maximumStatesPerInstruction
    statistics.stackDepths = verification.subprograms.map { Int($0.stackDepth) }
    statistics.microseconds = microseconds
    verification.printStatistics(microseconds: microseconds)
    let result: Result<VerifiedProgram, Rejection>
    if let refusal {
      result = .failure(
        verification.rejection(refusal, instruction: verification.processed > 0 ? verification.instruction : nil))
    } else {
      result = .success(VerifiedProgram(program))
    }
    return Verdict(result: result, statistics: statistics, log: verification.log.contents,
      logSize: options.logLevel == 0 ? 0 : verification.log.requiredSize)
  }
}

extension Verification {
  /// What is said of a refusal.
  func rejection(_ refusal: Refusal, instruction: Int?) -> Rejection {
    Rejection(
      errno: refusal.errno, category: refusal.category, instruction: instruction,
      message: lastMessage.hasSuffix("\n") ? String(lastMessage.dropLast()) : lastMessage, path: failingPath)
  }

  /// The whole of verification, in Linux's order: what is wrong first is said first.
  func run() throws(Refusal) {
    try prove()
    try settleRewrittenLayout()
  }

  /// The proof, up to where Linux begins to rewrite the program.
  func prove() throws(Refusal) {
    try checkBTFInfoEarly()
    try findSubprograms()
    try checkSubprograms()
    try checkBTFInfo()
    try resolvePseudoLoads()
    try checkControlFlow()
    try computePostorder()
    try initializeStackLiveness()
    try checkAttachTarget()
    try computeComponents()
    try computeLiveRegisters()
    try markFastcallPatterns()
    try verifyMain()
    try verifyGlobalSubprograms()
    enterFunction(nil)
    dropFastcallSpills()
    try checkMaximumStackDepth()
  }

  private func verifyMain() throws(Refusal) {
    instruction = 0
    try verifyFunction(0)
  }

  /// Global functions are verified on their own, for any arguments that their types allow, once they are called.
  private func verifyGlobalSubprograms() throws(Refusal) {
    guard !program.functionInfo.isEmpty else { return }
    if exceptionCallback != 0 { subprograms[exceptionCallback].called = true }
    var again = true
    while again {
      again = false
      for number in subprograms.indices.dropFirst() where subprogramIsGlobal(number) {
        guard subprograms[number].called, !subprograms[number].verified else { continue }
        instruction = subprograms[number].start
        try verifyFunction(number)
        if logLevel & 3 != 0 {
          print(
            "Func#\(number) ('\(subprogramName(number))') is safe for any args that match its prototype\n")
        }
        subprograms[number].verified = true
        again = true
      }
    }
  }

  /// Explores one function from its entry (`do_check_common`).
  private func verifyFunction(_ number: Int) throws(Refusal) {
    enterFunction(number)
    previousLine = -1
    pass &+= 1
    pool.freeState(state)
    state = pool.makeState()
    state.pointee.branches = 1
    state.pointee.inSleepable = sleepable
    let frame = pool.makeFrame()
    state.framesBase[0] = frame
    initializeFrame(frame, callSite: -1, number: 0, subprogram: number)
    state.pointee.firstInstruction = Int32(truncatingIfNeeded: subprograms[number].start)
    state.pointee.lastInstruction = -1
    defer { forgetStates() }
    if number > 0 || program.type == .ext {
      try setUpGlobalArguments(number)
    } else {
      if !program.functionInfo.isEmpty {
        let reliable: Bool
        do {
          try prepareFunctionArguments(subprogram: 0)
          let arguments = subprograms[0].arguments
          reliable = arguments.count == 1 && arguments[0].type == .context
        } catch {
          reliable = false
        }
        if !reliable { subprograms[0].unreliable = true }
      }
      register(1).pointee.type = .context
      markKnownZero(in: registers, 1)
    }
    if number == 0 && program.type == .structOps {
      for index in attach.contextArguments.indices {
        attach.contextArguments[index].referenceID =
          attach.contextArguments[index].refcounted ? try acquireReference(instruction: 0) : 0
      }
    }
    try explore()
    if logLevel != 0 && logLevel & 2 == 0 { log.reset(to: 0) }
  }

  private func forgetStates() {
    while let path = worklist.popLast() { pool.freeState(path.state) }
    forgetComponentVisits()
    explored.removeAll { pool.freeState($0) }
  }

  private func setUpGlobalArguments(_ number: Int) throws(Refusal) {
    print("Validating \(subprogramName(number))() func#\(number)...\n")
    try prepareFunctionArguments(subprogram: number)
    let arguments = subprograms[number].arguments
    if isExceptionCallback(number) {
      state.frame(0).pointee.inExceptionCallback = true
      guard arguments.count == 1, arguments[0].type == .anything else {
        throw refuse(.EINVAL, .exceptions, "exception cb only supports single integer argument\n")
      }
    }
    for (index, argument) in arguments.enumerated() {
      let at = index + 1
      let r = register(at)
      switch argument.type.base {
      case _ where argument.type == .context:
        r.pointee.type = .context
        markKnownZero(in: registers, at)
      case _ where argument.type == .anything:
        r.pointee.type = .scalar
        markUnknown(in: registers, at)
      case _ where argument.type == .dynptr | .readOnly:
        markDynptrRegister(r, type: .local, first: true, id: newID())
      case .memory:
        r.pointee.type = .memory | argument.type.flags.intersection([.mayBeNull, .untrusted, .readOnly])
        markKnownZero(in: registers, at)
        r.pointee.memorySize = argument.memorySize
        if argument.type.mayBeNull { r.pointee.id = newID() }
      case .btfID:
        r.pointee.type = .btfID | argument.type.flags.intersection([.mayBeNull, .untrusted, .trusted])
        markKnownZero(in: registers, at)
        r.pointee.btf = Self.kernelBTF
        r.pointee.btfID = argument.btfID
        r.pointee.id = newID()
      case .arena:
        markUnknown(in: registers, at)
      default:
        throw refuse(
          .EFAULT, .invariant, "verifier bug: unhandled arg#\(index) type \(argument.type.rawValue)\n")
      }
    }
  }
}
