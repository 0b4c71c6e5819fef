import BTF

/// A refusal of `BPF_PROG_LOAD` before the verifier runs. The kernel prints nothing for these.
public struct LoadError: Error, Sendable, Hashable, CustomStringConvertible {
  public var errno: Errno
  public var reason: Reason

  public enum Reason: String, Sendable, Hashable {
    case unknownFlags = "unknown program flags"
    case unprivileged = "loading is for privileged processes (kernel.unprivileged_bpf_disabled)"
    case noInstructions = "the program is empty"
    case tooManyInstructions = "the program has too many instructions"
    case missingBPF = "the program type takes CAP_BPF"
    case missingNetAdmin = "the program type takes CAP_NET_ADMIN"
    case missingPerfmon = "the program type takes CAP_PERFMON"
    case noKernelTypes = "an attach target is given, but the kernel has no BTF"
    case attachIDTooLarge = "attach_btf_id is beyond any BTF"
    case attachTargetNotTaken = "the program type takes no attach target"
    case attachIDMissing = "BTF of an attach target is given without attach_btf_id"
    case attachProgramNotTaken = "the program type cannot attach to a program"
    case attachType = "the program type does not take this expected_attach_type"
    case unknownType = "the kernel has no such program type"
    case name = "the program name has characters other than letters, digits, '_' and '.'"
  }

  public init(_ errno: Errno, _ reason: Reason) {
    self.errno = errno
    self.reason = reason
  }

  public var description: String { "\(errno): \(reason.rawValue)" }
}

extension ProgramRules {
  /// The most instructions that a privileged process may load.
  public static let maxInstructions = 1_000_000
  /// The most instructions that others may load.
  public static let maxUnprivilegedInstructions = 4096
  private static let maxTypeID: TypeID = 0xfffff

  /// What `bpf(BPF_PROG_LOAD)` checks before it calls the verifier, in its order.
  ///
  /// The verifier proper wants the attach type of `effectiveAttachType(_:_:)`.
  ///
  /// - Parameter unprivilegedDisabled: `kernel.unprivileged_bpf_disabled`; nil for the kernel's configured default.
  public static func checkLoad(
    _ program: Program, linux: Linux, unprivilegedDisabled: Bool? = nil
  ) throws(LoadError) {
    guard program.flags.isSubset(of: knownFlags(on: linux.version)) else { throw LoadError(.EINVAL, .unknownFlags) }
    try checkPrivilege(
      program, linux.capabilities, disabled: unprivilegedDisabled ?? linux.disablesUnprivileged)
    try checkAttach(program, linux)
    guard exists(program.type, on: linux) else { throw LoadError(.EINVAL, .unknownType) }
    guard isNameValid(program.name) else { throw LoadError(.EINVAL, .name) }
  }

  static func knownFlags(on version: Linux.Version) -> ProgramFlags {
    var known: ProgramFlags = [
      .strictAlignment, .anyAlignment, .testRandomHigh32, .testStateFrequency, .sleepable, .xdpHasFragments,
    ]
    if version >= Linux.Version(6, 3) { known.insert(.xdpDeviceBoundOnly) }
    if version >= Linux.Version(6, 8) { known.insert(.testRegisterInvariants) }
    return known
  }

  private static func checkPrivilege(
    _ program: Program, _ capabilities: Capabilities, disabled: Bool
  ) throws(LoadError) {
    let bpf = capabilities.allows(.bpf)
    guard bpf || !disabled else { throw LoadError(.EPERM, .unprivileged) }
    guard !program.instructions.isEmpty else { throw LoadError(.E2BIG, .noInstructions) }
    guard program.instructions.count <= (bpf ? maxInstructions : maxUnprivilegedInstructions) else {
      throw LoadError(.E2BIG, .tooManyInstructions)
    }
    guard bpf || isOpenToAll(program.type) else { throw LoadError(.EPERM, .missingBPF) }
    guard !needsNetAdmin(program.type) || capabilities.allows(.netAdmin) else {
      throw LoadError(.EPERM, .missingNetAdmin)
    }
    guard !needsPerfmon(program.type) || capabilities.allows(.perfmon) else {
      throw LoadError(.EPERM, .missingPerfmon)
    }
  }

  private static func checkAttach(_ program: Program, _ linux: Linux) throws(LoadError) {
    let type = program.type
    let hasID = program.attachBTFID != 0
    var hasTypes = false
    var hasProgram = false
    switch program.attachTarget {
    case .kernel:
      guard !hasID || linux.btf != nil else { throw LoadError(.EINVAL, .noKernelTypes) }
      hasTypes = hasID
    case .module:
      hasTypes = true
    case .program:
      hasProgram = true
    }
    if hasID {
      guard program.attachBTFID <= maxTypeID else { throw LoadError(.EINVAL, .attachIDTooLarge) }
      switch type {
      case .tracing, .lsm, .structOps, .ext: break
      default: throw LoadError(.EINVAL, .attachTargetNotTaken)
      }
    }
    guard !hasTypes || hasID else { throw LoadError(.EINVAL, .attachIDMissing) }
    guard !hasProgram || type == .tracing || type == .ext else { throw LoadError(.EINVAL, .attachProgramNotTaken) }
    guard accepts(effectiveAttachType(type, program.expectedAttachType), for: type) else {
      throw LoadError(.EINVAL, .attachType)
    }
  }

  /// Loaders hand over the first 15 bytes of a name; each has to be a letter or digit of Latin-1, `_` or `.`.
  private static func isNameValid(_ name: String) -> Bool {
    name.utf8.prefix(15).allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
        true
      case 0xd7, 0xf7: false  // the signs of multiplication and division
      default: byte >= 0xc0
      }
    }
  }
}

extension Linux {
  /// Whether unprivileged BPF is off; so where neither the setting nor the configuration is known.
  var disablesUnprivileged: Bool {
    takesUnprivileged.map { !$0 } ?? isConfigured("CONFIG_BPF_UNPRIV_DEFAULT_OFF")
  }
}
