/// What a program may return.
public enum ReturnRule: Sendable, Hashable {
  /// The attached function returns nothing; R0 need not even be set.
  case nothing
  /// Any scalar; pointers are refused only where they would leak.
  case anything
  case range(ReturnRange)
  /// A struct_ops function that returns a pointer: a reference of the function's own type, or zero as in the range.
  case referenceOr(ReturnRange)
  /// The kernel has no answer for this attach type and refuses with this errno.
  case refused(Errno)
}

/// The values a program may return.
public struct ReturnRange: BitwiseCopyable, Sendable, Hashable {
  public var minimum: Int32
  public var maximum: Int32
  /// The signed 32-bit bounds of the register are compared, not the 64-bit ones.
  public var comparesHalf = false
  /// Returning a value in 2...3 ties the program to its attach type.
  public var enforcesAttachType = false
  /// Follows the refusal in the log, with its newline; empty where nothing does.
  public var note: StaticString = ""

  public init(_ minimum: Int32, _ maximum: Int32) {
    self.minimum = minimum
    self.maximum = maximum
  }

  public static func == (a: ReturnRange, b: ReturnRange) -> Bool {
    a.minimum == b.minimum && a.maximum == b.maximum && a.comparesHalf == b.comparesHalf
      && a.enforcesAttachType == b.enforcesAttachType
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(minimum)
    hasher.combine(maximum)
  }
}

/// What the function that a program attaches to returns, as far as return rules ask.
public struct ReturnTarget: Sendable {
  /// `attach_btf_id` was given.
  public var isGiven = false
  public var returnsVoid = false
  public var returnsPointer = false
  /// An LSM hook that answers yes or no.
  public var isBooleanHook = false
  public init() {}
}

/// The kernel's table of return values at program exit.
public enum ReturnRules {
  public static let maxErrno: Int32 = 4095

  /// The rule for the main program.
  ///
  /// `At program exit the register R0 has … should have been in [min, max]` is what breaking a range prints. The
  /// callback of `bpf_throw` is judged by the same rules, except that of struct_ops functions only `.nothing` and
  /// `.anything` hold for it.
  ///
  /// - Parameters:
  ///   - type: for an extension the type of the program it extends, or `.ext` where none is given.
  public static func rule(
    type: ProgramType, expectedAttachType: AttachType, target: ReturnTarget = ReturnTarget()
  ) -> ReturnRule {
    switch type {
    case .cgroupSockAddr:
      return .range(addressRange(expectedAttachType))
    case .cgroupSkb:
      guard expectedAttachType == .cgroupInetEgress else { return .range(ReturnRange(0, 1)) }
      var range = ReturnRange(0, 3)
      range.enforcesAttachType = true
      return .range(range)
    case .cgroupSock, .sockOps, .cgroupDevice, .cgroupSysctl, .cgroupSockopt, .skLookup, .netfilter:
      return .range(ReturnRange(0, 1))
    case .rawTracepoint:
      return target.isGiven ? .range(ReturnRange(0, 0)) : .anything
    case .tracing:
      return tracing(expectedAttachType)
    case .kprobe:
      return expectedAttachType == .traceKprobeSession || expectedAttachType == .traceUprobeSession
        ? .range(ReturnRange(0, 1)) : .anything
    case .lsm:
      return securityHook(expectedAttachType, target)
    case .structOps:
      if target.returnsVoid { return .nothing }
      return target.returnsPointer ? .referenceOr(ReturnRange(0, 0)) : .anything
    default:
      return .anything
    }
  }

  private static func addressRange(_ attachType: AttachType) -> ReturnRange {
    switch attachType {
    case .cgroupUdp4Recvmsg, .cgroupUdp6Recvmsg, .cgroupUnixRecvmsg, .cgroupInet4Getpeername,
      .cgroupInet6Getpeername, .cgroupUnixGetpeername, .cgroupInet4Getsockname, .cgroupInet6Getsockname,
      .cgroupUnixGetsockname:
      ReturnRange(1, 1)
    case .cgroupInet4Bind, .cgroupInet6Bind:
      ReturnRange(0, 3)
    default:
      ReturnRange(0, 1)
    }
  }

  private static func tracing(_ attachType: AttachType) -> ReturnRule {
    switch attachType {
    case .traceFentry, .traceFexit: .range(ReturnRange(0, 0))
    case .traceRawTp, .modifyReturn: .anything
    case .traceIter: .range(ReturnRange(0, 1))
    default: .refused(.ENOTSUPP)
    }
  }

  private static func securityHook(_ attachType: AttachType, _ target: ReturnTarget) -> ReturnRule {
    if attachType == .lsmCgroup {
      guard target.returnsVoid else { return .range(ReturnRange(0, 1)) }
      var range = ReturnRange(1, 1)
      range.note = "Note, BPF_LSM_CGROUP that attach to void LSM hooks can't modify return value!\n"
      return .range(range)
    }
    if target.returnsVoid { return .nothing }
    guard attachType == .lsmMac else { return .anything }
    var range = target.isBooleanHook ? ReturnRange(0, 1) : ReturnRange(-maxErrno, 0)
    range.comparesHalf = true
    return .range(range)
  }
}
