import BPFISA
import BPFLinux
import BPFMaps
import CBPFRuntime
import Testing

@testable import BPFRuntime
@testable import BPFVerifier

/// Programs written as text, that run in all engines of this module.
struct ProgramFixture {
  let machine: Machine
  let worker: Worker

  init(cpuCount: Int = 1) {
    machine = Machine(linux: Linux(), cpuCount: cpuCount, surroundings: Surroundings(seed: 1))
    worker = machine.makeWorker(cpu: 0)
  }

  /// A program that the verifier accepts.
  func proved(_ instructions: [Instruction], type: ProgramType = .syscall) throws -> LinkedProgram {
    var program = Program(name: "test", type: type, instructions: instructions)
    if type == .syscall { program.flags = .sleepable }
    let verdict = Verifier.verify(program, on: machine.linux, options: VerifierOptions(logLevel: 1))
    let listing = String(decoding: verdict.log, as: UTF8.self)
    let verified = try #require(try? verdict.result.get(), "\(listing)")
    return try LinkedProgram(verified, maps: [], on: machine)
  }

  /// A program that the verifier may or may not accept.
  func accepted(_ instructions: [Instruction]) throws -> LinkedProgram? {
    var program = Program(name: "test", type: .syscall, instructions: instructions)
    program.flags = .sleepable
    guard case .success(let verified) = Verifier.verify(program, on: machine.linux).result else { return nil }
    return try LinkedProgram(verified, maps: [], on: machine)
  }

  /// A program that is linked as if it had been proved. Functions begin at labels that are called or loaded.
  func linked(
    _ text: String, type: ProgramType = .syscall, maps: [Map] = [], exceptionCallback: Int? = nil,
    prepare: (inout [ProvenInstruction]) -> Void = { _ in }
  ) throws -> LinkedProgram {
    let names = ["bpf_loop": 181, "bpf_tail_call": 12, "bpf_map_lookup_elem": 1, "bpf_get_smp_processor_id": 8]
    var functionLabels: Set<Int> = [0]
    let assembler = Assembler(
      callTarget: { names[$0].map { .helper(Int32($0)) } },
      wideImmediate: { name in
        guard name.hasPrefix("map"), let index = Int32(name.dropFirst(3)) else { return nil }
        return .init(source: PseudoSource.mapFD, low: index)
      })
    let instructions = try assembler.assemble(text)
    for (slot, insn) in instructions.enumerated() where insn.isSubprogramCall || insn.isSubprogramAddress {
      functionLabels.insert(slot + 1 + Int(insn.immediate))
    }
    let starts = functionLabels.sorted()
    let subprograms = starts.enumerated().map { index, start in
      ProvenSubprogram(
        range: start..<(index + 1 < starts.count ? starts[index + 1] : instructions.count), name: "f\(index)",
        stackDepth: 512, isGlobal: false, isCallback: false, hasTailCall: false)
    }
    var facts = [ProvenInstruction](repeating: ProvenInstruction(), count: instructions.count)
    for index in facts.indices { facts[index].isReachable = true }
    prepare(&facts)
    var program = Program(name: "test", type: type, instructions: instructions)
    program.maps = maps.map(\.definition)
    let proof = Proof(
      instructions: instructions, facts: facts, subprograms: subprograms, kfuncs: [],
      mapFields: maps.map { _ in nil }, exceptionCallback: exceptionCallback, throwsExceptions: false)
    return try LinkedProgram(program, proof, maps: maps, on: machine.linux)
  }

  /// r0 of a run on a context of these numbers; the same in all engines.
  func run(
    _ linked: LinkedProgram, _ arguments: [UInt64] = [0, 0, 0, 0], strict: Bool = false,
    sourceLocation: Testing.SourceLocation = #_sourceLocation
  ) throws -> UInt64 {
    let context = RawContext(type: .syscall, arguments: arguments)
    let value = try LoadedProgram(linked).run(on: worker, context)
    let checked = try LoadedProgram(linked, engine: strict ? .strictlyChecked : .checked)
    let other = RawContext(type: .syscall, arguments: arguments)
    let expected = checked.run(on: worker, other)
    #expect(checked.violation == nil, sourceLocation: sourceLocation)
    #expect(value == expected, "the engines do not agree", sourceLocation: sourceLocation)
    #expect(context.bytes == other.bytes, "the engines leave different contexts", sourceLocation: sourceLocation)
    return value
  }
}
