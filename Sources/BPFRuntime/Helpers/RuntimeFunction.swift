import BPFLinux
import CBPFRuntime

/// A function that programs call: a helper or a kernel function, as `skep_function` defines it.
///
/// Five arguments in, the run that calls as the sixth, one result. Negative results are error numbers.
public struct RuntimeFunction: BitwiseCopyable, Sendable {
  /// What the address points to.
  public typealias Body =
    @convention(c) (UInt64, UInt64, UInt64, UInt64, UInt64, UnsafeMutablePointer<skep_run>) -> UInt64

  public nonisolated(unsafe) let address: UnsafeRawPointer
  /// It may call back into the program, so that an exception may come out of it.
  public let callsBack: Bool

  public init(_ body: Body, callsBack: Bool = false) {
    address = unsafeBitCast(body, to: UnsafeRawPointer.self)
    self.callsBack = callsBack
  }

  public var body: Body { unsafeBitCast(address, to: Body.self) }
}

/// All functions that programs can call in user space.
public enum RuntimeFunctions {
  /// The helper of that number as programs of `type` get it; nil where user space has none.
  public static func helper(_ id: UInt32, for type: ProgramType) -> RuntimeFunction? {
    if id == 25 && hasPacket(type) { return OutputHelpers.packetOutput }
    return isAboutPackets(type)
      ? NetworkHelpers.table[id] ?? GeneralHelpers.table[id]
      : GeneralHelpers.table[id] ?? NetworkHelpers.table[id]
  }

  /// The kernel function of that name as programs of `type` get it; nil where user space has none.
  public static func kfunc(_ name: String, for type: ProgramType) -> RuntimeFunction? {
    isAboutPackets(type)
      ? NetworkKfuncs.table[name] ?? GeneralKfuncs.table[name]
      : GeneralKfuncs.table[name] ?? NetworkKfuncs.table[name]
  }

  /// Some helpers do something else with packets and sockets (`bpf_perf_event_output`, `bpf_get_socket_cookie`).
  private static func isAboutPackets(_ type: ProgramType) -> Bool {
    switch type {
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint, .rawTracepointWritable, .tracing, .lsm, .syscall, .structOps,
      .cgroupDevice, .cgroupSysctl, .lircMode2:
      false
    default: true
    }
  }

  /// The context is a packet.
  private static func hasPacket(_ type: ProgramType) -> Bool {
    switch type {
    case .xdp, .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .skSkb: true
    default: false
    }
  }

  /// The register (1 to 5) in which a kernel function takes its `ObjectDescriptor`; 0 where it takes none.
  public static func descriptorRegister(forKfunc name: String) -> UInt8 {
    switch name {
    case "bpf_obj_new_impl", "bpf_percpu_obj_new_impl", "bpf_obj_drop_impl", "bpf_percpu_obj_drop_impl",
      "bpf_refcount_acquire_impl":
      2
    case "bpf_list_push_front_impl", "bpf_list_push_back_impl": 3
    case "bpf_rbtree_add_impl": 4
    default: 0
    }
  }
}
