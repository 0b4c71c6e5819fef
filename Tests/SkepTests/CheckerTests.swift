import BPFISA
import BPFLinux
import BPFObject
import BPFVerifier
import Testing

@testable import Skep

/// Checking, listing and comparing programs, without a kernel.
@Suite struct CheckerTests {
  private func program(_ source: String, type: ProgramType = .socketFilter) throws -> Program {
    Program(name: "case", type: type, instructions: try Assembler().assemble(source))
  }

  private func result(errno: Int32, insns: Int, log: String = "") -> CheckedProgram {
    var statistics = VerifierStatistics()
    statistics.instructions = insns
    return CheckedProgram(
      file: "a.o", name: "p", section: "xdp", type: .xdp,
      outcome: errno == 0 ? .acceptedByKernel : .refusedByKernel(Errno(rawValue: errno)), statistics: statistics,
      log: Array(log.utf8))
  }

  @Test func namesAreWholeAndFilesWithoutFolders() throws {
    let name = "xdp_packet_len_unchecked"
    let object = try ObjectFile(path: "\(HeaderTests.examples)/\(name).bpf.o")
    let found = Checker(linux: Linux()).check(object)
    #expect(found.map(\.name) == [name])
    #expect(found.map(\.file) == ["\(name).bpf.o"])
    #expect(found.map(\.errno) == [Errno.EACCES.rawValue])
  }

  @Test func resultsComeInOrder() throws {
    let names = ["xdp_good", "xdp_bad", "xdp_packet_len"]
    let objects = try names.map { try ObjectFile(path: "\(HeaderTests.examples)/\($0).bpf.o") }
    var checker = Checker(linux: Linux())
    checker.parallelism = 3
    #expect(checker.check(objects).map(\.name) == names)
    #expect(checker.check(objects).map(\.isAccepted) == [true, false, true])
    checker.names = ["xdp_bad"]
    #expect(checker.check(objects).map(\.name) == ["xdp_bad"])
  }

  @Test func refusalsPointIntoTheSource() throws {
    let object = try ObjectFile(path: "\(HeaderTests.examples)/xdp_bad.bpf.o")
    let found = try #require(Checker(linux: Linux()).check(object).first)
    let position = try #require(found.position)
    #expect(position.file.hasSuffix("xdp_bad.bpf.c"))
    #expect(position.line == 9)
    #expect(position.text == "\tchar first = *(char *)data;")
  }

  @Test func theLogOfARefusalEndsWithTheKernelsWords() throws {
    let object = try ObjectFile(path: "\(HeaderTests.examples)/xdp_bad.bpf.o")
    let checker = Checker(linux: Linux())
    let found = try #require(checker.check(object).first)
    let end = String(decoding: checker.failureLog(found), as: UTF8.self).split(separator: "\n").suffix(3)
    #expect(end.last?.hasPrefix("processed ") == true)
    #expect(end.dropLast().last == "R1 offset is outside of the packet")
  }

  @Test func refusalsAreExplained() throws {
    let object = try ObjectFile(path: "\(HeaderTests.examples)/xdp_bad.bpf.o")
    let checker = Checker(linux: Linux())
    let found = try #require(checker.check(object).first)
    let diagnosis = try #require(checker.diagnosis(of: found))
    #expect(diagnosis.code == "packet-bounds")
    #expect(diagnosis.headline == "read of 1 byte at packet offset 0 is not proven in bounds")
    #expect(diagnosis.primary?.position?.line == 9)
    #expect(diagnosis.kernelMessage == "R1 offset is outside of the packet")
  }

  @Test func typesByNameAndBySection() {
    #expect(Checker.TypeOverride(name: "xdp") == Checker.TypeOverride(.xdp))
    #expect(Checker.TypeOverride(name: "cgroup/bind4") == Checker.TypeOverride(.cgroupSockAddr, .cgroupInet4Bind))
    #expect(Checker.TypeOverride(name: "nonsense") == nil)
    #expect(Checker.TypeOverride(name: "unspec") == nil)
  }

  @Test func enginesAreComparedFieldByField() {
    let same = EngineDifference.between(user: result(errno: 13, insns: 4), kernel: result(errno: 13, insns: 4))
    #expect(same.isEmpty)
    let counts = EngineDifference.between(user: result(errno: 13, insns: 5), kernel: result(errno: 22, insns: 4))
    #expect(counts.map(\.what) == ["errno", "insns"])
    let verdict = EngineDifference.between(user: result(errno: 0, insns: 5), kernel: result(errno: 22, insns: 4))
    #expect(verdict.map(\.what) == ["verdict"])
  }

  @Test func timesAndAddressesInLogsDoNotDiffer() {
    let one = "0: R1=map_value(ks=4) 0xffff888100123400\nverification time 5 usec\nprocessed 1 insns\n"
    let two = "0: R1=map_value(ks=4) 0xffff888100567800\nverification time 9 usec\nprocessed 1 insns\n"
    let other = "0: R1=map_value(ks=8) 0xffff888100567800\nprocessed 1 insns\n"
    func logs(_ a: String, _ b: String) -> [EngineDifference] {
      EngineDifference.between(user: result(errno: 0, insns: 1, log: a), kernel: result(errno: 0, insns: 1, log: b))
    }
    #expect(logs(one, two).isEmpty)
    #expect(logs(one, other).map(\.what) == ["log"])
  }

  @Test func listingsNameWhatNumbersMean() throws {
    let object = try ObjectFile(path: "\(HeaderTests.examples)/xdp_packet_len.bpf.o")
    let program = try Linker(object, linux: Linux()).link(0).result.get()
    let text = Listing(program, linux: Linux()).text
    #expect(text.hasPrefix("int xdp_packet_len(struct xdp_md *ctx):\n"))
    #expect(text.contains("r1 = map[packet_len_map]"))
    #expect(text.contains("call bpf_map_lookup_elem#1"))
    #expect(text.contains("; value = bpf_map_lookup_elem(&packet_len_map, &key); @ xdp_packet_len.bpf.c:"))
  }

  @Test func graphsHaveABlockForEachRunOfInstructions() throws {
    let code = try program("r0 = 0\nif r1 == 0 goto done\nr0 = 1\ndone:\nexit")
    let text = ControlFlowText(code, linux: Linux()).text
    #expect(text.contains("n0 -> n3 [label=\"yes\"]"))
    #expect(text.contains("n0 -> n2 [label=\"no\"]"))
    #expect(text.contains("n2 -> n3;"))
    #expect(text.hasPrefix("digraph \"case\" {") && text.hasSuffix("}\n"))
  }

  @Test func graphsOfAnyInstructionsAreDrawn() {
    let code = [
      Instruction(opcode: Opcode.ja, offset: 32767), Instruction(opcode: 0xff),
      Instruction(opcode: Opcode.loadImmediate64),
    ]
    let program = Program(name: "\"odd\"", type: .xdp, instructions: code)
    #expect(ControlFlowText(program, linux: Linux()).text.contains("digraph \"\\\"odd\\\"\""))
    #expect(ControlFlowText(Program(name: "none", type: .xdp, instructions: []), linux: Linux()).text.contains("none"))
  }
}
