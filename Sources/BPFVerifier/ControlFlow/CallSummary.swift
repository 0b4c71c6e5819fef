import BPFISA
import BPFLinux

/// What a call of a helper or kernel function takes and gives, before it is checked.
struct CallSummary: BitwiseCopyable {
  var argumentCount: Int
  var returnsVoid: Bool
  /// Only the registers that the prototype names are clobbered.
  var isFastcall: Bool

  /// Bits of the registers that hold arguments.
  var argumentRegisters: UInt32 { registerBits(from: 1, through: argumentCount) }
  /// Bits of the registers that a call which keeps to the fastcall contract changes.
  var clobberedRegisters: UInt32 { registerBits(from: returnsVoid ? 1 : 0, through: argumentCount) }
}

/// r0 … r5: what a call may change.
let callerSavedRegisters: UInt32 = 0x3f

private func registerBits(from low: Int, through high: Int) -> UInt32 {
  guard low <= high else { return 0 }
  return (UInt32.max << UInt32(low)) & (UInt32.max >> UInt32(31 - min(31, high)))
}

extension Verification {
  /// nil for other instructions, and where the call will be refused anyway.
  func callSummary(_ insn: Instruction) -> CallSummary? {
    if insn.isHelperCall {
      guard let prototype = HelperTable.prototype(HelperID(rawValue: insn.immediate), for: traits) else { return nil }
      var count = 0
      while count < 5 && prototype.arguments[count] != .none { count += 1 }
      return CallSummary(
        argumentCount: count, returnsVoid: prototype.returns == .void,
        isFastcall: prototype.fastcall && inlines(prototype.id))
    }
    guard insn.isKfuncCall, let kfunc = kfuncSummary(insn) else { return nil }
    return CallSummary(
      argumentCount: kfunc.argumentCount, returnsVoid: kfunc.returnsVoid, isFastcall: kfunc.isFastcall)
  }

  /// The verifier or the JIT puts instructions in place of the call.
  private func inlines(_ helper: HelperID) -> Bool {
    switch linux.architecture {
    case .x86_64: helper == .getSmpProcessorId
    case .arm64: helper == .getSmpProcessorId || helper == .getCurrentTask || helper == .getCurrentTaskBtf
    }
  }
}
