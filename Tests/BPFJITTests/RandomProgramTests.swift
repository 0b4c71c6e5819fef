import BPFISA
import BPFRuntime
import CBPFRuntime
import Testing

@testable import BPFJIT

/// Mixes its arguments so that each of them matters.
private let mix:
  @convention(c) (UInt64, UInt64, UInt64, UInt64, UInt64, UnsafeMutablePointer<skep_run>?) -> UInt64 = {
    a, b, c, d, e, run in
    var value = a &* 3 ^ b &* 5 ^ c &* 7 ^ d &* 11 ^ e &* 13
    value ^= UInt64(run?.pointee.cpu ?? 99)
    return value ^ value >> 29
  }

/// Holds compiled programs against the reference; says how the first difference comes about.
func compareRandomProgram(seed: UInt64, blinds: Bool = false) throws -> String? {
  let helper = UInt64(UInt(bitPattern: unsafeBitCast(mix, to: UnsafeRawPointer.self)))
  let made = RandomPrograms(seed: seed, helper: helper)
  var options = JITOptions()
  options.blindsConstants = blinds
  var features = X64Features.here
  if seed % 3 == 0 { features.hasBMI2 = false }
  var compiler = ProgramCompiler(
    CompilerInput(
      operations: made.operations, functions: made.functions,
      stackDepths: made.functions.map { _ in RandomPrograms.depth }),
    X64Backend(features: features, options: options))
  defer { compiler.release() }
  let compiled = try compiler.compile(keeping: nil)

  let run = UnsafeMutablePointer<skep_run>.allocate(capacity: 1)
  run.initialize(to: skep_run())
  run.pointee.cpu = 7
  defer { run.deallocate() }
  var random = SplitMix(state: seed &* 77)
  let contents = (0..<RandomPrograms.contextSize).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  let context = UnsafeMutablePointer<UInt8>.allocate(capacity: RandomPrograms.contextSize)
  defer { context.deallocate() }
  let address = UInt64(UInt(bitPattern: context))
  context.initialize(from: contents, count: contents.count)
  var reference = ReferenceMachine(operations: made.operations, functions: made.functions, run: run)
  guard let expected = reference.call(0, [address, 0, 0, 0, 0]) else { return nil }
  let expectedMemory = Array(UnsafeBufferPointer(start: context, count: contents.count))
  context.update(from: contents, count: contents.count)
  let value = compiled.entry(address, run, nil)
  let memory = Array(UnsafeBufferPointer(start: context, count: contents.count))
  if value != expected { return "seed \(seed): returns \(value), should be \(expected)" }
  if memory != expectedMemory { return "seed \(seed): leaves other memory" }
  return nil
}

#if arch(x86_64)
@Suite struct RandomProgramTests {
  @Test(arguments: 0..<20) func compiledProgramsDoWhatTheReferenceDoes(part: UInt64) throws {
    for seed in part * 25..<part * 25 + 25 {
      let difference = try compareRandomProgram(seed: seed, blinds: seed % 5 == 0)
      #expect(difference == nil)
    }
  }
}
#endif
