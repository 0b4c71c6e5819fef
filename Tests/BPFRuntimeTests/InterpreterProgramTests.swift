import BPFISA
import BPFLinux
import BPFMaps
import CBPFRuntime
import Testing

@testable import BPFRuntime

/// Whole programs: functions, callbacks, tail calls, exceptions, and what takes long.
@Suite struct InterpreterProgramTests {
  private let fixture = ProgramFixture()

  @Test func functions() throws {
    let linked = try fixture.linked(
      """
      r6 = 100
      r7 = 7
      *(u64 *)(r10 - 8) = r6
      r1 = 1
      r2 = 2
      r3 = 3
      r4 = 4
      r5 = 5
      call sum
      r0 += r6
      r0 += r7
      r1 = *(u64 *)(r10 - 8)
      r0 += r1
      exit
      sum:
      r6 = r1
      r6 += r2
      r6 += r3
      r6 += r4
      r6 += r5
      *(u64 *)(r10 - 8) = r6
      r1 = r6
      call twice
      r1 = *(u64 *)(r10 - 8)
      r0 += r1
      exit
      twice:
      r0 = r1
      r0 *= 2
      exit
      """)
    #expect(try fixture.run(linked, strict: true) == 45 + 100 + 7 + 100)
  }

  @Test func callbacks() throws {
    let linked = try fixture.linked(
      """
      r6 = 0
      *(u64 *)(r10 - 8) = r6
      r1 = 10
      r2 = each ll
      r3 = r10
      r3 += -8
      r4 = 0
      call bpf_loop
      r1 = *(u64 *)(r10 - 8)
      r0 *= 1000
      r0 += r1
      exit
      each:
      r3 = *(u64 *)(r2 + 0)
      r3 += r1
      *(u64 *)(r2 + 0) = r3
      r0 = 0
      if r1 != 6 goto out
      r0 = 1
      out: exit
      """)
    #expect(try fixture.run(linked) == 7021)
  }

  @Test func nestedCallbacks() throws {
    let linked = try fixture.linked(
      """
      *(u64 *)(r10 - 8) = 0
      r1 = 4
      r2 = outer ll
      r3 = r10
      r3 += -8
      r4 = 0
      call bpf_loop
      r0 = *(u64 *)(r10 - 8)
      exit
      outer:
      r3 = r2
      r1 = 5
      r2 = inner ll
      r4 = 0
      call bpf_loop
      r0 = 0
      exit
      inner:
      r3 = *(u64 *)(r2 + 0)
      r3 += 3
      *(u64 *)(r2 + 0) = r3
      r0 = 0
      exit
      """)
    #expect(try fixture.run(linked) == 60)
  }

  /// r1 of `throw` instructions, which kernel functions are without types.
  private func throwing(_ text: String, exceptionCallback: Int? = nil) throws -> LinkedProgram {
    let linked = try fixture.linked(text, exceptionCallback: exceptionCallback)
    let operations = linked.operations.map { operation in
      guard operation.instruction.isHelperCall, operation.helper == 8 else { return operation }
      return LinkedOperation(operation.instruction, .throw)
    }
    return LinkedProgram(program: linked.program, proof: linked.proof, operations: operations, maps: linked.maps)
  }

  @Test func exceptions() throws {
    let text = """
      r1 = 3
      call f
      r0 = 99
      exit
      f:
      r1 += 4
      call g
      r0 = 98
      exit
      g:
      r1 += 5
      call bpf_get_smp_processor_id
      r0 = 97
      exit
      """
    #expect(try fixture.run(throwing(text)) == 12)
  }

  @Test func exceptionsOutOfCallbacks() throws {
    let text = """
      r1 = 10
      r2 = each ll
      r3 = 0
      r4 = 0
      call bpf_loop
      r0 = 99
      exit
      each:
      r0 = 0
      if r1 != 3 goto out
      r1 = 77
      call bpf_get_smp_processor_id
      out: exit
      """
    #expect(try fixture.run(throwing(text)) == 77)
  }

  @Test func exceptionCallbacks() throws {
    let text = """
      r1 = 3
      call f
      r0 = 99
      exit
      f:
      call bpf_get_smp_processor_id
      r0 = 98
      exit
      handler:
      r0 = r1
      r0 *= 7
      exit
      unused:
      r1 = handler ll
      exit
      """
    #expect(try fixture.run(throwing(text, exceptionCallback: 2)) == 21)
  }

  // MARK: Tail calls

  private func programArray() throws -> Map {
    try fixture.machine.maps.makeMap(
      MapDefinition(name: "programs", type: .progArray, keySize: 4, valueSize: 4, maxEntries: 2), fields: [])
  }

  private func tailCall(index: Int, before: String = "", after: String) -> String {
    """
    \(before)
    r2 = map0 ll
    r3 = \(index)
    call bpf_tail_call
    \(after)
    exit
    """
  }

  private func set(_ map: Map, _ index: Int, _ program: LoadedProgram) throws {
    let array = try #require(map as? ProgramArray)
    try array.setProgram(UInt32(index), program.header, keepAlive: program)
  }

  @Test func tailCalls() throws {
    let map = try programArray()
    let target = try LoadedProgram(fixture.linked("r0 = *(u64 *)(r1 + 0)\nr0 += 5\nexit"))
    try set(map, 0, target)
    let context = RawContext(type: .syscall, arguments: [37, 0])
    for engine in [Engine.interpreter, .checked] {
      let first = try LoadedProgram(
        fixture.linked(tailCall(index: 0, after: "r0 = 1"), maps: [map]), engine: engine)
      #expect(first.run(on: fixture.worker, context) == 42)
      for index in [1, 2, -1] {
        let other = try LoadedProgram(
          fixture.linked(tailCall(index: index, after: "r0 = 1"), maps: [map]), engine: engine)
        #expect(other.run(on: fixture.worker, context) == 1, "index \(index)")
      }
      #expect(first.violation == nil)
    }
  }

  @Test func tailCallsOutOfFunctions() throws {
    let map = try programArray()
    try set(map, 0, LoadedProgram(fixture.linked("r0 = 20\nexit")))
    let linked = try fixture.linked(
      """
      r6 = 3
      call f
      r0 += r6
      exit
      f:
      r6 = 1000
      r2 = map0 ll
      r3 = 0
      call bpf_tail_call
      r0 = 1
      exit
      """, maps: [map])
    #expect(try fixture.run(linked) == 23)
  }

  @Test func tailCallsOfItself() throws {
    let map = try programArray()
    let counting = """
      r2 = *(u64 *)(r1 + 0)
      r2 += 1
      *(u64 *)(r1 + 0) = r2
      r6 = r1
      """
    let program = try LoadedProgram(
      fixture.linked(tailCall(index: 0, before: counting, after: "r0 = *(u64 *)(r6 + 0)"), maps: [map]))
    try set(map, 0, program)
    let context = RawContext(type: .syscall, arguments: [0, 0])
    #expect(program.run(on: fixture.worker, context) == 34)
    #expect(program.run(on: fixture.worker, context) == 68, "the count begins anew")
    let array = try #require(map as? ProgramArray)
    try array.setProgram(0, nil, keepAlive: nil)
  }

  // MARK: Loops

  @Test func mayGoto() throws {
    // Fewer rounds than the budget has.
    let linked = try fixture.linked(
      """
      r0 = 0
      again: may_goto out
      r0 += 1
      if r0 < 1000 goto again
      out: exit
      """)
    #expect(try fixture.run(linked) == 1000)
  }

  @Test func mayGotoEnds() throws {
    let linked = try fixture.linked(
      """
      r0 = 0
      again: may_goto out
      r0 += 1
      goto again
      out: exit
      """)
    let program = try LoadedProgram(linked)
    let context = RawContext(type: .syscall, arguments: [0, 0])
    #expect(program.run(on: fixture.worker, context) > 0xffff)
    fixture.worker.stop()
    #expect(program.run(on: fixture.worker, context) == 0)
    fixture.worker.resume()
  }

  /// Steps follow each other without the stack growing.
  @Test func longLoops() throws {
    let linked = try fixture.linked("r0 = 0\nagain: r0 += 1\nr1 = r0\nif r0 < 2000000 goto again\nexit")
    let program = try LoadedProgram(linked)
    #expect(program.run(on: fixture.worker, RawContext(type: .syscall, arguments: [0])) == 2_000_000)
  }

  @Test func repeats() throws {
    let linked = try fixture.linked("r0 = *(u64 *)(r1 + 0)\nr0 += 1\n*(u64 *)(r1 + 0) = r0\nexit")
    let program = try LoadedProgram(linked)
    let context = RawContext(type: .syscall, arguments: [0, 0])
    #expect(program.run(on: fixture.worker, context, repeat: 5000).value == 5000)
  }

  // MARK: What must not happen

  @Test func violations() throws {
    for (text, message) in [
      ("r1 = 0x123400\nr0 = *(u64 *)(r1 + 0)\nexit", "belong to nothing"),
      ("r0 = *(u64 *)(r10 - 4)\nexit", "leave the stack"),
      ("r0 = r7\nexit", "r7 was never written"),
      ("r0 = *(u64 *)(r10 - 8)\nexit", "were never written"),
    ] {
      let program = try LoadedProgram(fixture.linked(text), engine: .strictlyChecked)
      _ = program.run(on: fixture.worker, RawContext(type: .syscall, arguments: [0]))
      #expect(program.violation?.message.contains(message) == true, "\(String(describing: program.violation))")
    }
  }

  @Test func unsupported() throws {
    #expect(throws: LinkError.self) { try fixture.linked("call 9999\nexit") }
    #expect(throws: LinkError.self) {
      let map = try programArray()
      _ = try LinkedProgram(
        Program(name: "x", type: .syscall, instructions: []), fixture.linked("r0 = 0\nexit").proof, maps: [map],
        on: fixture.machine.linux)
    }
  }

  @Test func faultingReads() {
    var number: UInt64 = 0x1122_3344_5566_7788
    withUnsafeMutablePointer(to: &number) { at in
      #expect(FaultingMemory.read(UInt64(UInt(bitPattern: at)), size: 4) == 0x5566_7788)
    }
    #expect(FaultingMemory.read(0, size: 8) == 0)
    #expect(FaultingMemory.read(8, size: 8) == 0)
    #expect(FaultingMemory.read(0xffff_8880_0000_0000, size: 8) == 0)
  }
}
