import BPFLinux
import BPFMaps
import BPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

// Running programs.

extension System {
  private static let largestInput: UInt32 = 1 << 24
  private static let runsBetweenLooks = 4096

  func testRun(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let contextIn = it.long(48)
    let contextOut = it.long(56)
    guard (it.word(40) != 0) == (contextIn != 0), (it.word(44) != 0) == (contextOut != 0) else { throw .EINVAL }
    let program = try client.program(it.signed(0))
    let type = program.program.type
    guard Self.hasTestRun(type) else { throw .ENOTSUPP }
    var input = TestRun.Input()
    input.repeats = it.word(32)
    input.flags = it.word(64)
    input.cpu = it.word(68)
    input.batchSize = it.word(72)
    let dataOut = it.long(24)
    guard it.word(8) <= Self.largestInput, it.word(40) <= Self.largestInput else { throw .EINVAL }
    if it.word(8) > 0 { input.data = try client.read(it.long(16), Int(it.word(8))) }
    if it.word(40) > 0 { input.context = try client.read(contextIn, Int(it.word(40))) }
    if dataOut != 0 { input.dataCapacity = it.word(12) == 0 ? Int(Int32.max) : Int(it.word(12)) }
    input.contextCapacity = Int(it.word(44))
    if type == .rawTracepoint || type == .syscall, it.word(12) != 0 || dataOut != 0 || it.word(8) != 0 {
      throw .EINVAL
    }
    let output = try run(program, input, client)
    let isShort = output.errno == .ENOSPC
    if let errno = output.errno, !isShort { throw errno }
    try finish(output, type, it, client)
    if isShort { throw .ENOSPC }
    return .value(0)
  }

  private static func hasTestRun(_ type: ProgramType) -> Bool {
    switch type {
    case .xdp, .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local,
      .flowDissector, .skLookup, .netfilter, .rawTracepoint, .syscall, .tracing:
      true
    default: false
    }
  }

  private func finish(
    _ output: TestRun.Output, _ type: ProgramType, _ it: Attributes, _ client: any Client
  ) throws(Errno) {
    switch type {
    case .rawTracepoint, .tracing: break
    case .syscall:
      if !output.context.isEmpty { try client.write(output.context, to: it.long(48)) }
    default:
      if it.long(24) != 0 { try client.write(output.data, to: it.long(24)) }
      try client.write(UInt32(truncatingIfNeeded: output.dataSize), to: it.address &+ 12)
      try client.write(output.duration, to: it.address &+ 36)
      if it.long(56) != 0, output.contextSize > 0 {
        try client.write(output.context, to: it.long(56))
        try client.write(UInt32(truncatingIfNeeded: output.contextSize), to: it.address &+ 44)
      }
    }
    try client.write(output.returnValue, to: it.address &+ 4)
  }

  private func run(
    _ program: ProgramObject, _ input: TestRun.Input, _ client: any Client
  ) throws(Errno) -> TestRun.Output {
    let runnable: ProgramObject.Runnable
    do {
      runnable = try program.runnable(on: linux)
    } catch {
      log?("program '\(program.program.name)' does not run in user space: \(error.message)")
      throw .EOPNOTSUPP
    }
    let test = TestRun(
      type: program.program.type, attachType: program.program.expectedAttachType, linux: linux,
      contextExtent: runnable.contextExtent)
    test.cpuCount = machine.cpuCount
    let chosen = input.flags & TestRun.Flag.runOnCPU != 0 ? Int(input.cpu) : 0
    let processor = processors[processors.indices.contains(chosen) ? chosen : 0]
    let counts = tables.countsRuns
    return processor.run { worker in
      test.run(input) { context, count in
        var done = 0
        var value: UInt64 = 0
        var nanoseconds: UInt64 = 0
        while done < count {
          let piece = min(count - done, Self.runsBetweenLooks)
          let result = runnable.loaded.run(on: worker, context, repeat: piece)
          value = result.value
          nanoseconds &+= result.nanosecondsPerRun &* UInt64(piece)
          done += piece
          guard done < count, client.isWaiting else { break }
        }
        if counts { program.countRuns(UInt64(done), nanoseconds: nanoseconds) }
        return (value, nanoseconds / UInt64(max(1, done)))
      }
    }
  }

  func bindMap(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(8) == 0 else { throw .EINVAL }
    let program = try client.program(it.signed(0))
    program.bind(try client.map(it.signed(4)).0)
    return .value(0)
  }

  /// What programs print to their streams goes nowhere yet: the streams are there, and empty.
  func readStream(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    _ = try client.program(it.signed(16))
    guard it.word(12) == 1 || it.word(12) == 2 else { throw .ENOENT }
    return .value(0)
  }
}
