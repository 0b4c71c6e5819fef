/// Where a helper that a program type has may still not be called ("helper call is not allowed in probe").
public enum HelperRestriction: UInt8, BitwiseCopyable, Sendable {
  case none
  /// Iterators, sleepable LSM hooks and the functions known to hold a path safely.
  case pathFunctions
  case sleepableLSMHooks
  /// Tracing programs that do not trace socket storage itself.
  case outsideSocketStorage

  /// The program attaches where the helper may be called.
  public func allows(_ program: ProgramTraits) -> Bool {
    switch self {
    case .none: return true
    case .pathFunctions:
      if program.isOwnType(.tracing) && program.isIterator { return true }
      return program.target.contains(program.isOwnType(.lsm) ? .sleepableLSMHook : .takesPath)
    case .sleepableLSMHooks: return program.target.contains(.sleepableLSMHook)
    case .outsideSocketStorage:
      guard !program.target.contains(.program) else { return false }
      switch program.expectedAttachType {
      case .traceIter, .traceRawTp: return true
      case .traceFentry, .traceFexit: return !program.target.contains(.socketStorage)
      default: return false
      }
    }
  }
}
