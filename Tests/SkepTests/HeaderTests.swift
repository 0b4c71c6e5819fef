import BPFLinux
import BPFObject
import BTF
import BPFKernel
import Testing

@testable import Skep

/// The headers that come with Skep: complete, and such that programs compile to the same code with them.
@Suite struct HeaderTests {
  static let examples: String = {
    let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(3)
    return here.joined(separator: "/") + "/Examples"
  }()

  @Test func everyHelperIsDeclaredOnce() {
    let declared = HelperDeclarations.signatures.map(\.name)
    let known = (1..<HelperID.end).compactMap { HelperID(rawValue: $0).name }
    #expect(declared == known)
    #expect(HelperDeclarations.signatures.allSatisfy { !$0.returns.isEmpty && !$0.parameters.isEmpty })
  }

  @Test func declarationsAgreeWithThePrototypes() {
    let linux = Linux()
    let byName = Dictionary(
      HelperDeclarations.signatures.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    for type in 1...ProgramType.netfilter.rawValue {
      let traits = ProgramTraits(type: ProgramType(rawValue: type), on: linux)
      for number in 1..<HelperID.end {
        let id = HelperID(rawValue: number)
        guard let prototype = HelperTable.prototype(id, for: traits), let name = id.name,
          let signature = byName[name], !signature.parameters.contains("...")
        else { continue }
        var count = 0
        for index in 0..<5 where prototype.arguments[index] != .none { count = index + 1 }
        // The verifier looks at no more arguments than C passes; of a few helpers it looks at fewer.
        #expect(signature.parameters.filter { $0 != "void" }.count >= count, "\(name)")
      }
    }
  }

  @Test func layoutsArePadded() {
    let text = UserInterfaceHeader.text
    #expect(text.contains("struct __sk_buff {"))
    #expect(text.contains("__bpf_md_ptr(struct bpf_flow_keys *, flow_keys);"))
    #expect(text.contains("BPF_MAP_TYPE_RINGBUF = 27,"))
    #expect(text.contains("BPF_FUNC_map_lookup_elem = 1,"))
  }

  @Test(
    .enabled(if: SourceCompiler.findCompiler() != nil),
    arguments: [
      "loop_bounded", "loop_endless", "loop_too_long", "xdp_bad", "xdp_bad_access", "xdp_good", "xdp_packet_len",
      "xdp_packet_len_unchecked", "tc_rate", "connect_guard",
    ])
  func examplesCompileWithoutTheMachinesHeaders(name: String) throws {
    let compiler = SourceCompiler(linux: Linux())
    compiler.usesSystemHeaders = false
    let output = try compiler.compile("\(Self.examples)/\(name).bpf.c")
    #expect(output.messages.isEmpty)
    let built = try ObjectFile(path: "\(Self.examples)/\(name).bpf.o")
    #expect(output.object.programs.map(\.name) == built.programs.map(\.name))
    #expect(output.object.maps.map(\.name) == built.maps.map(\.name))
    #expect(output.object.license == built.license)
  }

  @Test(
    .enabled(if: SourceCompiler.findCompiler() != nil && readFile("/sys/kernel/btf/vmlinux") != nil),
    arguments: ["execsnoop", "unlink_watch"])
  func kernelTypesAreMadeOnDemand(name: String) throws {
    let compiler = SourceCompiler(linux: try Linux.running())
    compiler.usesSystemHeaders = false
    let output = try compiler.compile("\(Self.examples)/\(name).bpf.c")
    let built = try ObjectFile(path: "\(Self.examples)/\(name).bpf.o")
    #expect(output.object.programs.map(\.name) == built.programs.map(\.name))
  }

  @Test func withoutKernelTypesTheFailureSaysSo() {
    guard SourceCompiler.findCompiler() != nil else { return }
    #expect(throws: SourceCompiler.Failure.self) {
      _ = try SourceCompiler(linux: Linux()).compile("\(Self.examples)/execsnoop.bpf.c")
    }
  }

  @Test func temporaryDirectoriesGoAway() throws {
    var directory = TemporaryDirectory()
    let path = try #require(directory?.path)
    #expect(directory?.write("text", to: "a/b/c") == true)
    #expect(readFile("\(path)/a/b/c") == Array("text".utf8))
    directory = nil
    #expect(readFile("\(path)/a/b/c") == nil)
  }
}
