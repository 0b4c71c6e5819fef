/// What helper, kfunc and attachment rules ask about a program, gathered once so that asking is cheap.
public struct ProgramTraits: BitwiseCopyable, Sendable {
  /// The program's type; for `ext` programs that of the program they replace a function of.
  public var type: ProgramType
  /// Its own type is `ext`. Rules that mean the program's own type do not match it.
  public var isExtension: Bool
  public var expectedAttachType: AttachType
  public var sleepable: Bool
  public var target: AttachTargetFacts
  public var structOps: StructOpsKind
  public var structOpsCallback: StructOpsCallback
  /// Every helper a program of this kind may call on this Linux, before `HelperPrototype.restriction`.
  public private(set) var helpers: HelperIDSet = []

  /// - Parameters:
  ///   - type: the resolved type; pass `isExtension` for a program whose own type is `ext`.
  ///   - attachName: name of the function, tracepoint typedef or LSM hook (`bpf_lsm_file_open`) attached to.
  ///   - attachesToProgram: the target is another program's function (`attach_prog_fd`).
  ///   - structOps: kernel struct the program implements a member of (`tcp_congestion_ops`).
  public init(
    type: ProgramType, isExtension: Bool = false, expectedAttachType: AttachType = .none, sleepable: Bool = false,
    attachName: String? = nil, attachesToProgram: Bool = false, structOps: String? = nil,
    structOpsCallback: String? = nil, on linux: Linux
  ) {
    self.type = type
    self.isExtension = isExtension
    self.expectedAttachType = expectedAttachType
    self.sleepable = sleepable
    self.target = AttachTargetFacts(attachName: attachName, isProgram: attachesToProgram)
    self.structOps = StructOpsKind(structName: structOps)
    self.structOpsCallback = StructOpsCallback(name: structOpsCallback)
    self.helpers = HelperIDSet(availableTo: self, on: linux)
  }

  /// The traits of a program as it is loaded: its target is looked up in the BTF that `attachBTFID` counts in.
  public init(_ program: Program, on linux: Linux) {
    var type = program.type
    var expectedAttachType = program.expectedAttachType
    var btf = linux.btf
    var attachesToProgram = false
    switch program.attachTarget {
    case .kernel: break
    case .module(_, let module): btf = module
    case .program(let target):
      btf = nil
      attachesToProgram = true
      if type == .ext {
        type = target.type
        expectedAttachType = target.expectedAttachType
      }
    }
    var name: String?
    var callback: String?
    if let btf, program.attachBTFID != 0, btf.isValid(program.attachBTFID) {
      name = btf.name(program.attachBTFID)
      // A struct_ops program names the struct, and its member by position.
      if type == .structOps, btf.kind(program.attachBTFID) == .structure {
        let members = btf.members(program.attachBTFID)
        let position = Int(expectedAttachType.rawValue)
        if members.indices.contains(position) { callback = btf.string(members[position].nameOffset) }
      }
    }
    self.init(
      type: type, isExtension: program.type == .ext, expectedAttachType: expectedAttachType,
      sleepable: program.flags.contains(.sleepable), attachName: name, attachesToProgram: attachesToProgram,
      structOps: type == .structOps ? name : nil, structOpsCallback: callback, on: linux)
  }

  /// The program's own type is `type`, not only the type it stands in for.
  @inlinable public func isOwnType(_ type: ProgramType) -> Bool { self.type == type && !isExtension }

  /// Runs from a trampoline, which keeps the traced function's arguments.
  public var hasTrampoline: Bool {
    if isOwnType(.lsm) { return expectedAttachType == .lsmMac }
    guard isOwnType(.tracing) else { return false }
    return expectedAttachType == .traceFentry || expectedAttachType == .traceFexit
      || expectedAttachType == .modifyReturn
  }

  public var isIterator: Bool { expectedAttachType == .traceIter }

  public var isKprobeSession: Bool { expectedAttachType == .traceKprobeSession }

  public var isUprobeSession: Bool { expectedAttachType == .traceUprobeSession }

  public var isKprobeMulti: Bool { expectedAttachType == .traceKprobeMulti || isKprobeSession }

  public var isUprobeMulti: Bool { expectedAttachType == .traceUprobeMulti || isUprobeSession }
}

/// What rules ask about the function or hook that a program attaches to.
public struct AttachTargetFacts: OptionSet, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt16
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The target is a function of another program.
  public static let program = AttachTargetFacts(rawValue: 1 << 0)
  /// `bpf_d_path` is safe inside it.
  public static let takesPath = AttachTargetFacts(rawValue: 1 << 1)
  public static let sleepableLSMHook = AttachTargetFacts(rawValue: 1 << 2)
  /// The hook runs with the socket locked.
  public static let lockedSocketHook = AttachTargetFacts(rawValue: 1 << 3)
  /// The hook runs before anyone else sees the socket.
  public static let unlockedSocketHook = AttachTargetFacts(rawValue: 1 << 4)
  /// Part of socket storage itself.
  public static let socketStorage = AttachTargetFacts(rawValue: 1 << 5)
  /// An iterator over sockets that lets their options be set: TCP and UNIX.
  public static let socketIterator = AttachTargetFacts(rawValue: 1 << 6)

  init(attachName name: String?, isProgram: Bool) {
    guard !isProgram else {
      self = .program
      return
    }
    self = []
    guard let name else { return }
    if KernelLists.pathFunctions.contains(name) { insert(.takesPath) }
    if KernelLists.sleepableLSMHooks.contains(name) { insert(.sleepableLSMHook) }
    if KernelLists.lockedSocketHooks.contains(name) { insert(.lockedSocketHook) }
    if KernelLists.unlockedSocketHooks.contains(name) { insert(.unlockedSocketHook) }
    if name.hasPrefix("bpf_sk_storage") { insert(.socketStorage) }
    if name == "bpf_iter_unix" || name == "bpf_iter_tcp" { insert(.socketIterator) }
  }
}

/// The kernel structs that struct_ops programs implement, where they differ in what they may call.
public enum StructOpsKind: UInt8, BitwiseCopyable, Sendable {
  case none
  case tcpCongestion
  case qdisc
  /// The kernel's own test struct: no helper at all.
  case dummy
  case other

  init(structName: String?) {
    switch structName {
    case nil: self = .none
    case "tcp_congestion_ops": self = .tcpCongestion
    case "Qdisc_ops": self = .qdisc
    case "bpf_dummy_ops": self = .dummy
    default: self = .other
    }
  }
}

/// The members of such structs that have rules of their own.
public enum StructOpsCallback: UInt8, BitwiseCopyable, Sendable {
  case other
  case release
  case enqueue
  case dequeue

  init(name: String?) {
    switch name {
    case "release": self = .release
    case "enqueue": self = .enqueue
    case "dequeue": self = .dequeue
    default: self = .other
    }
  }
}

extension Linux {
  /// How far the kernel is locked down from boot, as configured.
  public var lockdown: Lockdown {
    if config["CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY"] == "y" { return .confidentiality }
    if config["CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY"] == "y" { return .integrity }
    return .none
  }

  /// Levels of the lockdown security module.
  public enum Lockdown: Sendable {
    case none
    /// Nobody may change the running kernel.
    case integrity
    /// Nor read its memory.
    case confidentiality
  }
}
