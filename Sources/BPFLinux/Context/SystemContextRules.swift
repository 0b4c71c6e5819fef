/// Contexts of tracing programs and of cgroup programs that are not about packets or sockets.
enum SystemContextRules {
  /// `struct bpf_cgroup_dev_ctx`.
  static func device(_ request: ContextRequest) -> ContextAccess? {
    guard request.isRead, request.offset >= 0, request.offset + request.size <= 12, request.isAligned else {
      return nil
    }
    return request.offset < 4 ? request.narrow(4) : request.exactly(4)
  }

  /// `struct bpf_sysctl`: `write`, then `file_pos`, which alone may be set.
  static func sysctl(_ request: ContextRequest) -> ContextAccess? {
    guard request.offset >= 0, request.offset + request.size <= 8, request.isAligned else { return nil }
    if request.isRead { return request.narrow(4) }
    return request.offset >= 4 ? request.exactly(4) : nil
  }

  /// The registers at the probe, at any width. Mainline 6.18 lets uprobes store to them; the 6.18.44 that this was
  /// measured on refuses, and so does this rule.
  static func probe(_ request: ContextRequest, linux: Linux) -> ContextAccess? {
    let size = linux.kernelRegistersSize
    guard request.lies(in: size), request.isAligned, request.offset + request.size <= size, request.isRead else {
      return nil
    }
    return ContextAccess()
  }

  /// A tracepoint's record; its first eight bytes are the kernel's. The kernel compares with an unsigned number
  /// there, which lets negative offsets through.
  static func tracepoint(_ request: ContextRequest) -> ContextAccess? {
    guard request.offset < 0 || (8..<8192).contains(request.offset), request.isRead, request.isAligned else {
      return nil
    }
    return ContextAccess()
  }

  /// `struct bpf_perf_event_data`: user registers, loaded whole, then `sample_period` and `addr`.
  static func perfEvent(_ request: ContextRequest, linux: Linux) -> ContextAccess? {
    let registers = linux.userRegistersSize
    guard request.lies(in: registers + 16), request.isRead, request.isAligned else { return nil }
    return request.offset >= registers ? request.narrow(8) : request.exactly(8)
  }

  /// Whether the access is a load of one of the eight-byte slots that hold a traced function's arguments.
  static func isFunctionArgument(_ request: ContextRequest) -> Bool {
    request.lies(in: 8 * ContextRules.maxFunctionArguments) && request.isRead && request.isAligned
  }

  /// As a raw tracepoint, but the first argument is a buffer that may be written.
  static func writableTracepoint(_ request: ContextRequest) -> ContextAccess? {
    guard isFunctionArgument(request) else { return nil }
    return request.offset == 0 ? request.exactly(8, .tracepointBuffer) : ContextAccess()
  }
}

extension Linux {
  /// Bytes of `struct pt_regs`.
  public var kernelRegistersSize: Int32 {
    switch architecture {
    case .x86_64: 168
    case .arm64: version < Version(6, 13) ? 336 : 320
    }
  }

  /// Bytes of `bpf_user_pt_regs_t`.
  public var userRegistersSize: Int32 {
    switch architecture {
    case .x86_64: 168
    case .arm64: 272
    }
  }
}
