/// `KF_…`: what the kernel promises and demands of a function that it lets programs call.
public struct KfuncFlags: OptionSet, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let acquire = KfuncFlags(rawValue: 1 << 0)
  public static let release = KfuncFlags(rawValue: 1 << 1)
  public static let returnsNull = KfuncFlags(rawValue: 1 << 2)
  public static let trustedArguments = KfuncFlags(rawValue: 1 << 4)
  public static let sleepable = KfuncFlags(rawValue: 1 << 5)
  public static let destructive = KfuncFlags(rawValue: 1 << 6)
  public static let rcu = KfuncFlags(rawValue: 1 << 7)
  public static let iteratorNew = KfuncFlags(rawValue: 1 << 8)
  public static let iteratorNext = KfuncFlags(rawValue: 1 << 9)
  public static let iteratorDestroy = KfuncFlags(rawValue: 1 << 10)
  public static let rcuProtected = KfuncFlags(rawValue: 1 << 11)
  public static let fastcall = KfuncFlags(rawValue: 1 << 12)
  public static let arenaReturn = KfuncFlags(rawValue: 1 << 13)
  public static let arenaArgument1 = KfuncFlags(rawValue: 1 << 14)
  public static let arenaArgument2 = KfuncFlags(rawValue: 1 << 15)
}

/// The places that kfuncs are registered for (`BTF_KFUNC_HOOK_…`); several program types share one.
struct KfuncHooks: OptionSet, BitwiseCopyable, Sendable {
  let rawValue: UInt16
  static let common = KfuncHooks(rawValue: 1 << 0)
  static let xdp = KfuncHooks(rawValue: 1 << 1)
  static let trafficControl = KfuncHooks(rawValue: 1 << 2)
  static let structOps = KfuncHooks(rawValue: 1 << 3)
  static let tracing = KfuncHooks(rawValue: 1 << 4)
  static let syscall = KfuncHooks(rawValue: 1 << 5)
  /// Not for calls: functions whose result fmod_ret programs may change.
  static let modifyReturn = KfuncHooks(rawValue: 1 << 6)
  static let cgroup = KfuncHooks(rawValue: 1 << 7)
  static let trafficAction = KfuncHooks(rawValue: 1 << 8)
  static let streamParser = KfuncHooks(rawValue: 1 << 9)
  static let socketFilter = KfuncHooks(rawValue: 1 << 10)
  static let lightweightTunnel = KfuncHooks(rawValue: 1 << 11)
  static let netfilter = KfuncHooks(rawValue: 1 << 12)
  static let kprobe = KfuncHooks(rawValue: 1 << 13)

  /// The hook of a program type; empty where it has none and only the common one is left.
  init(_ type: ProgramType) {
    switch type {
    case .xdp: self = .xdp
    case .schedCls: self = .trafficControl
    case .structOps: self = .structOps
    case .tracing, .tracepoint, .perfEvent, .lsm: self = .tracing
    case .syscall: self = .syscall
    case .cgroupSkb, .cgroupSock, .cgroupDevice, .cgroupSockAddr, .cgroupSockopt, .cgroupSysctl, .sockOps:
      self = .cgroup
    case .schedAct: self = .trafficAction
    case .skSkb: self = .streamParser
    case .socketFilter: self = .socketFilter
    case .lwtOut, .lwtIn, .lwtXmit, .lwtSeg6local: self = .lightweightTunnel
    case .netfilter: self = .netfilter
    case .kprobe: self = .kprobe
    default: self = []
    }
  }

  init(rawValue: UInt16) { self.rawValue = rawValue }
}

/// Which programs of its hooks a set is closed to all the same.
enum KfuncFilter: BitwiseCopyable, Sendable {
  case none
  case lsmPrograms
  case sessions
  case iterators
  case qdisc

  func allows(_ kfunc: StaticString, for program: ProgramTraits) -> Bool {
    switch self {
    case .none: return true
    case .lsmPrograms: return program.isOwnType(.lsm)
    case .sessions: return program.isKprobeSession || program.isUprobeSession
    case .iterators: return program.isIterator
    case .qdisc:
      guard program.structOps == .qdisc else { return false }
      switch kfunc.description {
      case "bpf_skb_get_hash", "bpf_kfree_skb", "bpf_dynptr_from_skb": return true
      case "bpf_qdisc_skb_drop": return program.structOpsCallback == .enqueue
      case "bpf_qdisc_watchdog_schedule":
        return program.structOpsCallback == .enqueue || program.structOpsCallback == .dequeue
      case "bpf_qdisc_bstats_update": return program.structOpsCallback == .dequeue
      default: return false
      }
    }
  }
}

/// One registered function.
struct Kfunc: BitwiseCopyable, Sendable {
  var name: StaticString
  var flags: KfuncFlags
  init(_ name: StaticString, _ flags: KfuncFlags) {
    self.name = name
    self.flags = flags
  }
}

/// Functions that the kernel registers together.
struct KfuncSet: Sendable {
  var hooks: KfuncHooks
  var filter = KfuncFilter.none
  var owner = Owner.kernel
  var kfuncs: [Kfunc]

  /// Whose BTF the functions are in.
  enum Owner: BitwiseCopyable, Sendable {
    case kernel
    /// The kernel's or a module's: it depends on how Linux was configured.
    case anywhere
    /// A module of the kernel's own tests.
    case testModule

    func matches(_ module: String?) -> Bool {
      guard let module else { return self != .testModule }
      switch self {
      case .kernel: return false
      case .anywhere: return true
      case .testModule: return module.hasPrefix("bpf_test")
      }
    }
  }
}

/// The kernel functions that programs may call. What they take and return is in the kernel's BTF; which programs
/// may call them, and the flags, are here.
public enum KfuncTable {
  /// The flags under which `program` may call the function; nil where it may not ("calling kernel function … is not
  /// allowed"). `module` names the module whose BTF has the function, nil for the kernel itself.
  public static func flags(of name: String, for program: ProgramTraits, module: String?) -> KfuncFlags? {
    let entries = entries(named: name, module: module)
    if let common = entries.first(where: { $0.hooks.contains(.common) }) { return common.kfunc.flags }
    let hook = KfuncHooks(program.type)
    guard !hook.isEmpty, let entry = entries.first(where: { $0.hooks.contains(hook) }),
      entry.filter.allows(entry.kfunc.name, for: program)
    else { return nil }
    return entry.kfunc.flags
  }

  /// Whether any program may call it.
  public static func isRegistered(_ name: String) -> Bool {
    index.range(of: name).contains { index.entries[$0].hooks != .modifyReturn }
  }

  /// All that programs may call, by name, but for what only the kernel's own tests have.
  public static var names: [String] {
    var names: [String] = []
    for entry in index.entries where entry.owner != .testModule && entry.hooks != .modifyReturn {
      let name = entry.kfunc.name.description
      if names.last != name { names.append(name) }
    }
    return names
  }

  /// The program types of Linux that may call the function, by what it is registered for.
  public static func types(of name: String) -> [ProgramType] {
    let entries = entries(named: name, module: nil).filter { $0.owner != .testModule }
    return (1...ProgramType.netfilter.rawValue).map { ProgramType(rawValue: $0) }.filter { type in
      let hook = KfuncHooks(type)
      return entries.contains { $0.hooks.contains(.common) || (!hook.isEmpty && $0.hooks.contains(hook)) }
    }
  }

  /// The flags of a function that fmod_ret programs may attach to by its registration; nil where it is not one.
  public static func modifyReturnFlags(of name: String, module: String? = nil) -> KfuncFlags? {
    entries(named: name, module: module).first { $0.hooks.contains(.modifyReturn) }?.kfunc.flags
  }

  /// The function that ends the life of a kernel object of that struct, when a map that holds it goes away; nil
  /// where a map may not own one.
  public static func destructor(ofType name: String) -> String? {
    switch name {
    case "task_struct": "bpf_task_release_dtor"
    case "cgroup": "bpf_cgroup_release_dtor"
    case "bpf_cpumask": "bpf_cpumask_release_dtor"
    case "bpf_crypto_ctx": "bpf_crypto_ctx_release_dtor"
    case "sk_buff": "bpf_kfree_skb_dtor"
    case "prog_test_ref_kfunc": "bpf_kfunc_call_test_release_dtor"
    case "prog_test_member": "bpf_kfunc_call_memb_release_dtor"
    case "bpf_testmod_ctx": "bpf_testmod_ctx_release"
    default: nil
    }
  }

  /// The function answers from a device, so only programs bound to one may call it.
  public static func isDeviceBound(_ name: String) -> Bool {
    KfuncSet.xdpMetadata.kfuncs.contains { $0.name.description == name }
  }

  private static func entries(named name: String, module: String?) -> LazyFilterSequence<ArraySlice<Index.Entry>> {
    index.entries[index.range(of: name)].lazy.filter { $0.owner.matches(module) }
  }

  private static let index = Index(
    KfuncSet.commonSets + KfuncSet.schedulerSets + KfuncSet.networkSets + KfuncSet.testSets)

  /// All sets, by name.
  private struct Index: Sendable {
    struct Entry: BitwiseCopyable, Sendable {
      var kfunc: Kfunc
      var hooks: KfuncHooks
      var filter: KfuncFilter
      var owner: KfuncSet.Owner
    }

    let entries: [Entry]

    init(_ sets: [KfuncSet]) {
      var entries: [Entry] = []
      for set in sets {
        for kfunc in set.kfuncs {
          entries.append(Entry(kfunc: kfunc, hooks: set.hooks, filter: set.filter, owner: set.owner))
        }
      }
      entries.sort { $0.kfunc.name.order(against: $1.kfunc.name) < 0 }
      self.entries = entries
    }

    /// The entries of that name, one for each set it is in.
    func range(of name: String) -> Range<Int> {
      let start = entries.partitioningIndex { $0.kfunc.name.order(against: name) >= 0 }
      var end = start
      while end < entries.count, entries[end].kfunc.name.order(against: name) == 0 { end += 1 }
      return start..<end
    }
  }
}
