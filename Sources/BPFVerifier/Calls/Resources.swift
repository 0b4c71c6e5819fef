import BPFISA
import BPFLinux

extension Verification {
  /// References must have been given back when the program ends, or an exception leaves it.
  ///
  /// A struct_ops function may return one; what it is then is checked with the return value.
  func checkReferenceLeak(exceptionExit: Bool) -> Bool {
    if !exceptionExit && state.pointee.currentFrame != 0 { return false }
    guard state.pointee.referenceCount > 0, let references = state.pointee.references else { return false }
    let returned = register(0).pointee.referenceID
    var leaks = false
    for index in 0..<Int(state.pointee.referenceCount) where references[index].kind == .pointer {
      let held = references[index]
      if programType == .structOps && !exceptionExit && returned == UInt32(bitPattern: held.id) { continue }
      print("Unreleased reference id=\(held.id) alloc_insn=\(held.instruction)\n")
      leaks = true
    }
    return leaks
  }

  /// What must not be held where control leaves the program. `prefix` names what leaves it.
  func checkResourceLeak(exceptionExit: Bool, checkLock: Bool, prefix: String) throws(Refusal) {
    if checkLock && state.pointee.activeLocks != 0 {
      throw refuse(.EINVAL, .lock, "\(prefix) cannot be used inside bpf_spin_lock-ed region\n")
    }
    if checkReferenceLeak(exceptionExit: exceptionExit) {
      throw refuse(.EINVAL, .unreleasedReference, "\(prefix) would lead to reference leak\n")
    }
    guard checkLock else { return }
    if state.pointee.activeIRQID != 0 {
      throw refuse(.EINVAL, .irq, "\(prefix) cannot be used inside bpf_local_irq_save-ed region\n")
    }
    if state.pointee.activeRCULock {
      throw refuse(.EINVAL, .rcu, "\(prefix) cannot be used inside bpf_rcu_read_lock-ed region\n")
    }
    if state.pointee.activePreemptLocks != 0 {
      throw refuse(.EINVAL, .lock, "\(prefix) cannot be used inside bpf_preempt_disable-ed region\n")
    }
  }
}
