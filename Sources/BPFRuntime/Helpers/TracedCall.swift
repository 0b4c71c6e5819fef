import BPFLinux
import CBPFRuntime

/// A context of the function, probe or tracepoint that a program is attached to: its arguments, and where it happened.
///
///     let context = TracedCall(type: .tracing, arguments: [3, 4], returnValue: 7)
///
/// Programs see the arguments as 64-bit values one behind the other, and behind them the return value.
public final class TracedCall: RunContext, @unchecked Sendable {
  public let argumentCount: Int
  /// The traced function has returned.
  public let hasReturnValue: Bool
  /// The address that `bpf_get_func_ip` gives.
  public var functionAddress: UInt64 = 0
  /// What the program was attached with.
  public var cookie: UInt64 = 0
  /// The process whose memory programs read as the user's; 0 for this one.
  public var process: Int32 = 0

  public init(type: ProgramType, arguments: [UInt64], returnValue: UInt64? = nil) {
    argumentCount = arguments.count
    hasReturnValue = returnValue != nil
    super.init(type: type, blockSize: (arguments.count + 1) * 8)
    for (index, value) in (arguments + [returnValue ?? 0]).enumerated() {
      block.storeBytes(of: value, toByteOffset: index * 8, as: UInt64.self)
    }
  }

  /// The bytes of a context of any other layout: registers at a probe, the record of a tracepoint.
  public init(type: ProgramType, bytes: [UInt8]) {
    argumentCount = 0
    hasReturnValue = false
    super.init(type: type, blockSize: bytes.count)
    bytes.withUnsafeBytes { block.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(block), byteCount: $0.count) }
  }

  static func of(_ run: Run) -> TracedCall? {
    guard let environment = run.pointee.environment else { return nil }
    return Unmanaged<RunContext>.fromOpaque(environment).takeUnretainedValue() as? TracedCall
  }
}

extension FaultSafeMemory {
  /// The process that a run's reads of user memory are about; 0 for this one.
  static func userProcess(of run: Run) -> Int32 {
    run.pointee.environment == nil ? 0 : TracedCall.of(run)?.process ?? 0
  }
}

enum TracedCallHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    173: RuntimeFunction { _, _, _, _, _, run in TracedCall.of(run)?.functionAddress ?? 0 },
    174: RuntimeFunction { _, _, _, _, _, run in TracedCall.of(run)?.cookie ?? 0 },
    // bpf_get_func_arg
    183: RuntimeFunction { context, index, value, _, _, run in
      let index = UInt64(UInt32(truncatingIfNeeded: index))
      guard index < argumentCount(run) else { return .failure(Failure.EINVAL) }
      memory(value).storeBytes(of: memory(context + index * 8).load(as: UInt64.self), as: UInt64.self)
      return 0
    },
    // bpf_get_func_ret
    184: RuntimeFunction { context, value, _, _, _, run in
      if let call = TracedCall.of(run), !call.hasReturnValue { return .failure(Failure.EOPNOTSUPP) }
      let at = context + argumentCount(run) * 8
      memory(value).storeBytes(of: memory(at).load(as: UInt64.self), as: UInt64.self)
      return 0
    },
    // bpf_get_func_arg_cnt
    185: RuntimeFunction { _, _, _, _, _, run in argumentCount(run) },
  ]

  /// Contexts of plain bytes are a function's arguments and its return value.
  private static func argumentCount(_ run: Run) -> UInt64 {
    guard let environment = run.pointee.environment else { return 0 }
    let context = Unmanaged<RunContext>.fromOpaque(environment).takeUnretainedValue()
    if let call = context as? TracedCall { return UInt64(call.argumentCount) }
    return UInt64(max(0, context.blockSize / 8 - 2))
  }
}
