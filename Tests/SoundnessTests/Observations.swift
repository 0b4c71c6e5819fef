import BPFISA
import BPFLinux

@testable import BPFVerifier

/// What the verifier knew at one of its visits to an instruction.
struct ObservedState {
  struct Frame {
    var registers: [RegisterState]
    var slots: [StackSlot]
    var callSite: Int
  }
  var frames: [Frame]
}

/// A run of the verifier with all that it knew on the way.
final class ObservedVerification {
  let verification: Verification
  private(set) var refusal: Refusal?
  /// By instruction.
  private(set) var states: [[ObservedState]]
  /// More was seen than is kept; the run was ended.
  private(set) var isIncomplete = false
  /// Whether paths that equal an earlier one were left out.
  let prunes: Bool

  var isAccepted: Bool { refusal == nil && !isIncomplete }

  /// Without pruning each path is walked to its end: any run of the program is then within one of the states seen,
  /// with all its registers and slots. With pruning only what safety depends on is.
  init(_ program: Program, on linux: Linux, prunes: Bool, limit: Int) {
    self.prunes = prunes
    states = Array(repeating: [], count: program.instructions.count)
    verification = Verification(program, on: linux, options: VerifierOptions())
    var count = 0
    verification.observer = { [unowned self] at, state in
      if !prunes && count == 0 {
        for index in 0..<verification.instructionCount { verification.facts[index].prunePoint = false }
      }
      count += 1
      if count > limit {
        isIncomplete = true
        verification.processed = maximumProcessedInstructions
      } else if !state.pointee.speculative {
        states[at].append(Self.copy(state))
      }
    }
    do throws(Refusal) {
      try verification.run()
    } catch {
      refusal = error
    }
    verification.observer = nil
  }

  private static func copy(_ state: StateRef) -> ObservedState {
    var copy = ObservedState(frames: [])
    for index in 0...Int(state.pointee.currentFrame) {
      let frame = state.frame(index).pointee
      copy.frames.append(
        .init(
          registers: Array(UnsafeBufferPointer(start: frame.registers, count: registerCount)),
          slots: Array(UnsafeBufferPointer(start: frame.stack, count: Int(frame.slotCount))),
          callSite: Int(frame.callSite)))
    }
    return copy
  }
}
