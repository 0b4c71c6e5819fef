import BPFISA
import BPFKernel
import BPFLinux
import GoldenCases
import Testing

/// The running kernel, held against what golden cases say of its version. Needs root.
@Suite struct LiveKernelTests {
  static let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 } + "/Golden"
  static let recorder = try? GoldenRecorder()
  /// Cases that hold an answer of the running kernel's version.
  static let cases: [GoldenCase] = GoldenFiles.all(in: folder).compactMap { try? GoldenFiles.read($0) }
  static var hasVersion: Bool {
    recorder.map { recorder in cases.contains { $0.answer(of: recorder.version) != nil } } ?? false
  }

  @Test(.enabled(if: LiveKernelTests.recorder != nil, "bpf(2) takes root: the running kernel is not asked"))
  func kernelAnswers() throws {
    let engine = try KernelEngine()
    let instructions = try Assembler().assemble("r0 = 0\nexit")
    let program = Program(name: "live", type: .xdp, instructions: instructions)
    let verdict = try engine.verify(program)
    #expect(verdict.isAccepted)
    #expect(verdict.instructions == 2)
    #expect(verdict.log.isEmpty)
    let logged = try engine.verify(program, logLevel: 2)
    #expect(String(decoding: logged.log, as: UTF8.self).hasPrefix("func#0 @0\n"))
    #expect(!String(decoding: logged.log, as: UTF8.self).contains("verification time"))
    #expect(String(decoding: try engine.verify(program, logLevel: 4).log, as: UTF8.self).contains("verification time"))
  }

  @Test(.enabled(if: LiveKernelTests.recorder != nil, "bpf(2) takes root: the running kernel is not asked"))
  func refusals() throws {
    let engine = try KernelEngine()
    let instructions = try Assembler().assemble("r0 = *(u64 *)(r1 + 9999)\nexit")
    let verdict = try engine.verify(Program(name: "live", type: .xdp, instructions: instructions), logLevel: 1)
    #expect(verdict.errno == Errno.EACCES.rawValue)
    #expect(verdict.reachedVerifier)
    var unknown = Program(name: "live", type: .xdp, instructions: instructions)
    unknown.maps = [MapDefinition(name: "none", type: .hash, keySize: 0, valueSize: 0, maxEntries: 0)]
    #expect(throws: KernelEngineError.map(name: "none", errno: .EINVAL)) { try engine.verify(unknown) }
  }

  @Test(
    .enabled(
      if: LiveKernelTests.hasVersion, "bpf(2) takes root and a recorded version: the running kernel is not asked"),
    arguments: LiveKernelTests.cases.map(\.path))
  func golden(_ path: String) throws {
    let recorder = try #require(Self.recorder)
    let golden = try GoldenFiles.read(path, types: recorder.types)
    guard let expected = golden.answer(of: recorder.version), recorder.canAnswer(golden) else { return }
    let differences = try recorder.answer(golden).differences(from: expected)
    #expect(differences.isEmpty, "\(golden.name): \(differences.joined(separator: "\n  "))")
  }

  @Test func messages() {
    #expect(
      KernelEngineError.notPermitted.description
        == "the kernel engine needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (run it as root)")
    #expect(
      KernelEngineError.map(name: "m", errno: .EINVAL).description == "the kernel does not create map 'm': EINVAL")
  }
}
