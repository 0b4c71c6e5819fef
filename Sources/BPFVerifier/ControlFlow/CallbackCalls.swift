import BPFISA
import BPFLinux

/// Which calls call back into the program: at once, or later on a stack of their own.
func isSyncCallbackCalling(_ helper: HelperID) -> Bool {
  switch helper {
  case .forEachMapElem, .findVma, .loop, .userRingbufDrain: true
  default: false
  }
}

func isAsyncCallbackCalling(_ helper: HelperID) -> Bool { helper == .timerSetCallback }

func isCallbackCalling(_ helper: HelperID) -> Bool {
  isSyncCallbackCalling(helper) || isAsyncCallbackCalling(helper)
}

extension Verification {
  func isSyncCallbackCallingInstruction(_ insn: Instruction) -> Bool {
    if insn.isHelperCall { return isSyncCallbackCalling(HelperID(rawValue: insn.immediate)) }
    return insn.isKfuncCall && kfuncCallsSyncCallback(insn)
  }

  func isAsyncCallbackCallingInstruction(_ insn: Instruction) -> Bool {
    if insn.isHelperCall { return isAsyncCallbackCalling(HelperID(rawValue: insn.immediate)) }
    return insn.isKfuncCall && kfuncCallsAsyncCallback(insn)
  }
}
