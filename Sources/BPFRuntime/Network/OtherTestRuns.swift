import BPFLinux

// Test runs of programs that take no packet.

extension TestRun {
  private static let maximumArguments = 12
  private static let addressFamilyNotSupported = Errno(rawValue: 97)

  private func takesNothingElse(_ input: Input) -> Bool {
    input.data.isEmpty && input.dataCapacity == 0 && input.contextCapacity == 0 && input.repeats == 0
      && input.batchSize == 0
  }

  func runRawTracepoint(_ input: Input, _ body: Body) -> Output {
    let size = input.context.count
    guard takesNothingElse(input), size >= contextExtent, size <= Self.maximumArguments * 8 else {
      return .refused(.EINVAL)
    }
    if input.flags & Flag.runOnCPU == 0 {
      guard input.cpu == 0 else { return .refused(.EINVAL) }
    } else {
      guard input.cpu < cpuCount else { return .refused(Errno(rawValue: 6)) }
    }
    var output = Output()
    measure(&output, input, RawContext(type: type, bytes: input.context), body)
    output.duration = 0
    return output
  }

  func runSyscall(_ input: Input, _ body: Body) -> Output {
    let size = input.context.count
    guard takesNothingElse(input), input.flags == 0, size >= contextExtent, size <= Int(UInt16.max) else {
      return .refused(.EINVAL)
    }
    let context = RawContext(type: type, bytes: input.context)
    var output = Output()
    measure(&output, input, context, body)
    output.duration = 0
    output.context = context.bytes
    output.contextSize = size
    return output
  }

  /// Linux calls functions that the program may be attached to, not the program: of a program that is not attached
  /// nothing is seen.
  func runTracing(_ input: Input) -> Output {
    guard input.flags == 0, input.cpu == 0, input.batchSize == 0 else { return .refused(.EINVAL) }
    var output = Output()
    switch attachType {
    case .traceFentry, .traceFexit: break
    case .modifyReturn:
      // Both functions add to what their argument points to: side effects in the upper half, results in the lower.
      output.returnValue = 2 << 16 | 33
    default: return .refused(.EFAULT)
    }
    return output
  }

  /// Runs on the bytes of the context.
  func runBytes(_ input: Input, _ body: Body) -> Output {
    guard input.data.isEmpty, input.context.count >= contextExtent, input.context.count <= Int(UInt16.max) else {
      return .refused(.EINVAL)
    }
    let context = RawContext(type: type, bytes: input.context)
    var output = Output()
    measure(&output, input, context, body)
    finishContext(&output, input, context.bytes)
    return output
  }

  func runSocketLookup(_ input: Input, _ body: Body) -> Output {
    guard input.flags == 0, input.cpu == 0, input.batchSize == 0, input.data.isEmpty, input.dataCapacity == 0 else {
      return .refused(.EINVAL)
    }
    var given: [UInt8]?
    do throws(Errno) {
      given = try givenContext(input, size: SocketLookupContext.structSize)
    } catch {
      return .refused(error)
    }
    guard var context = given, context.isZero(0..<8), context.isZero(64..<72) else { return .refused(.EINVAL) }
    guard context.word(60) <= UInt32(UInt16.max) else { return .refused(.ERANGE) }
    let family = context.word(8) & 0xffff
    guard family == 2 || family == 10 else { return .refused(Self.addressFamilyNotSupported) }
    let lookup = lookupContext
    var output = Output()
    var total: UInt64 = 0
    let repeats = max(1, Int(input.repeats))
    context.withUnsafeBytes { lookup.reset($0) }
    for _ in 0..<repeats {
      lookup.selected = 0
      let result = body(lookup, 1)
      // Dropped is what a program says without having chosen a socket.
      output.returnValue = UInt32(truncatingIfNeeded: result.value) == 0 ? 0 : 1
      total &+= result.nanosecondsPerRun
    }
    output.duration = UInt32(clamping: total / UInt64(repeats))
    context.put(UInt64(0), at: 0)
    if finish(&output, input, []) { finishContext(&output, input, context) }
    return output
  }

  func runNetfilter(_ input: Input, _ body: Body) -> Output {
    let size = input.data.count
    guard input.flags == 0, input.cpu == 0, input.batchSize == 0, size >= 20, size <= Self.maximumSocketBuffer else {
      return .refused(.EINVAL)
    }
    var context: [UInt8]?
    do throws(Errno) {
      context = try givenContext(input, size: NetfilterContext.stateSize)
    } catch {
      return .refused(error)
    }
    var hook = NetfilterContext.Hook.localOut
    var family: UInt8 = 2
    if let context {
      guard context.isZero(8..<48), context[1] == 2 || context[1] == 10 else { return .refused(.EINVAL) }
      hook = context[0]
      family = context[1]
    }
    let packet = netfilterContext
    if let errno = input.data.withUnsafeBytes({ packet.reset($0, hook: hook, family: family) }) {
      return .refused(errno)
    }
    var output = Output()
    measure(&output, input, packet, body)
    _ = finish(&output, input, [])
    return output
  }
}
