import BPFISA
import BPFLinux
import BPFRuntime
import CBPFRuntime
import Testing

@testable import BPFJIT

#if arch(x86_64)
/// Functions written slot by slot, compiled and run.
private struct Sketch {
  var operations: [LinkedOperation] = []
  var functions: [Range<Int>] = []
  var start = 0

  mutating func emit(_ insn: Instruction, _ kind: LinkedOperation.Kind = .plain, operand: UInt64 = 0) {
    operations.append(LinkedOperation(insn, kind, operand: operand))
  }

  mutating func move(_ register: Int, _ value: Int32) {
    emit(Instruction(opcode: Class.alu64 | ALU.mov, dst: UInt8(register), immediate: value))
  }

  mutating func copy(_ to: Int, _ from: Int) {
    emit(Instruction(opcode: Opcode.movRegister64, dst: UInt8(to), src: UInt8(from)))
  }

  mutating func add(_ to: Int, _ value: Int32) {
    emit(Instruction(opcode: Class.alu64 | ALU.add, dst: UInt8(to), immediate: value))
  }

  mutating func constant(_ register: Int, _ value: UInt64, _ kind: LinkedOperation.Kind = .constant) {
    emit(Instruction(opcode: Opcode.loadImmediate64, dst: UInt8(register)), kind, operand: value)
    emit(Instruction(opcode: 0), .unreachable)
  }

  mutating func call(_ function: UInt64, _ kind: LinkedOperation.Kind = .call) {
    emit(Instruction(opcode: Opcode.call, immediate: 1000), kind, operand: function)
  }

  mutating func exit() { emit(Instruction(opcode: Opcode.exit)) }

  mutating func endFunction() {
    functions.append(start..<operations.count)
    start = operations.count
  }

  func compile(
    handler: Int? = nil, maps: [UnsafeMutablePointer<skep_map>] = [], options: JITOptions = JITOptions()
  ) throws -> CompiledProgram {
    var compiler = ProgramCompiler(
      CompilerInput(
        operations: operations, functions: functions, stackDepths: functions.map { _ in 64 },
        exceptionCallback: handler, maps: maps), X64Backend(features: .here, options: options))
    defer { compiler.release() }
    return try compiler.compile(keeping: nil)
  }
}

private func address<F>(_ function: F) -> UInt64 {
  UInt64(UInt(bitPattern: unsafeBitCast(function, to: UnsafeRawPointer.self)))
}

private typealias Body = @convention(c) (
  UInt64, UInt64, UInt64, UInt64, UInt64, UnsafeMutablePointer<skep_run>?
) -> UInt64

/// Calls the function in r1 three times with numbers from 1; ends early where that throws.
private let repeatsCallback: Body = { function, context, _, _, _, run in
  guard let run else { return 0 }
  var sum: UInt64 = 0
  for number in 1...3 as ClosedRange<UInt64> {
    sum &+= run.pointee.invoke(run, function, number, context, 3, 4, 5)
    if run.pointee.unwinding != 0 { return 0 }
  }
  return sum
}
private let answersNegative: Body = { packet, offset, size, _, _, _ in
  offset < 100 ? packet &+ offset &+ size : 1 << 63
}

@Suite final class CompiledCodeTests {
  private let run: UnsafeMutablePointer<skep_run>

  init() {
    run = .allocate(capacity: 1)
    run.initialize(to: skep_run())
    run.pointee.cpu = 3
  }

  deinit { run.deallocate() }

  private func enter(_ program: CompiledProgram, _ context: UInt64 = 0) -> UInt64 {
    var header = skep_program()
    header.entry = program.entry
    return program.entry(context, run, &header)
  }

  @Test func exceptionsUnwindToTheEntry() throws {
    for handled in [false, true] {
      var sketch = Sketch()
      // main: r6 = 5; call middle; exit
      sketch.move(6, 5)
      sketch.move(1, 1)
      sketch.emit(Instruction(opcode: Opcode.call, src: 1), .subprogram, operand: 1)
      sketch.copy(0, 6)
      sketch.exit()
      sketch.endFunction()
      // middle: saves registers, and throws.
      sketch.move(7, 8)
      sketch.move(1, 77)
      sketch.emit(Instruction(opcode: Opcode.call, src: 2), .throw)
      sketch.endFunction()
      sketch.copy(0, 1)
      sketch.add(0, 1000)
      sketch.exit()
      sketch.endFunction()
      let program = try sketch.compile(handler: handled ? 2 : nil)
      #expect(enter(program) == (handled ? 1077 : 77))
      #expect(run.pointee.unwinding == 0)
    }
  }

  @Test func callbacksAreCalledAndMayThrow() throws {
    for thrown in [false, true] {
      var sketch = Sketch()
      sketch.move(6, 100)
      sketch.constant(1, LinkedProgram.functionTag | 1, .functionAddress)
      sketch.move(2, 10)
      sketch.move(3, 0)
      sketch.move(4, 0)
      sketch.move(5, 0)
      sketch.call(address(repeatsCallback), .callWithCallback)
      sketch.emit(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 0, src: 6))
      sketch.exit()
      sketch.endFunction()
      // callback(number, context, 3, 4, 5) = number * context + 5, or throws at 2.
      sketch.copy(6, 5)
      sketch.copy(7, 1)
      sketch.emit(Instruction(opcode: Class.alu64 | ALU.mul | Source.x, dst: 7, src: 2))
      sketch.emit(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 7, src: 6))
      sketch.copy(0, 7)
      sketch.emit(Instruction(opcode: Class.jmp | Jump.jne, dst: 1, offset: 2, immediate: thrown ? 2 : 9))
      sketch.move(1, 55)
      sketch.emit(Instruction(opcode: Opcode.call, src: 2), .throw)
      sketch.exit()
      sketch.endFunction()
      let program = try sketch.compile()
      #expect(enter(program) == (thrown ? 55 : 100 + 10 + 20 + 30 + 15))
      #expect(run.pointee.invoke == nil)
    }
  }

  @Test func tailCallsGoOnInTheOtherProgram() throws {
    var other = Sketch()
    other.copy(0, 1)
    other.add(0, 7)
    other.exit()
    other.endFunction()
    let target = try other.compile()
    var header = skep_program()
    header.entry = target.entry
    let programs = UnsafeMutablePointer<UnsafePointer<skep_program>?>.allocate(capacity: 2)
    programs.initialize(repeating: nil, count: 2)
    let headerPlace = UnsafeMutablePointer<skep_program>.allocate(capacity: 1)
    headerPlace.initialize(to: header)
    programs[1] = UnsafePointer(headerPlace)
    let map = UnsafeMutablePointer<skep_map>.allocate(capacity: 1)
    map.initialize(to: skep_map())
    map.pointee.max_entries = 2
    map.pointee.programs = programs
    defer {
      programs.deallocate()
      headerPlace.deallocate()
      map.deallocate()
    }
    for index in 0..<4 as Range<Int32> {
      var sketch = Sketch()
      sketch.move(6, 3)
      sketch.constant(2, UInt64(UInt(bitPattern: map)))
      sketch.move(3, index)
      sketch.emit(Instruction(opcode: Opcode.call, immediate: 12), .tailCall)
      sketch.copy(0, 6)
      sketch.exit()
      sketch.endFunction()
      run.pointee.tail_calls = 0
      let program = try sketch.compile()
      #expect(enter(program, 40) == (index == 1 ? 47 : 3))
      #expect(run.pointee.tail_calls == (index == 1 ? 1 : 0))
      run.pointee.tail_calls = 33
      #expect(enter(program, 40) == 3)
    }
  }

  @Test func budgetsEndLoops() throws {
    var sketch = Sketch()
    sketch.move(0, 0)
    sketch.emit(Instruction(opcode: Opcode.mayGoto, offset: 2), .mayGoto)
    sketch.add(0, 1)
    sketch.emit(Instruction(opcode: Opcode.ja, offset: -3))
    sketch.exit()
    sketch.endFunction()
    let program = try sketch.compile()
    run.pointee.stop_requested = 1
    #expect(enter(program) == 0)
    run.pointee.stop_requested = 0
    #expect(enter(program) > 0xffff)
  }

  @Test func legacyLoadsOutsideThePacketReturnZero() throws {
    for offset in [20, 200] as [Int32] {
      var sketch = Sketch()
      sketch.move(6, 1000)
      sketch.emit(
        Instruction(opcode: Class.ld | Mode.abs | Size.h, immediate: offset), .legacyLoad,
        operand: address(answersNegative))
      sketch.add(0, 1)
      sketch.exit()
      sketch.endFunction()
      #expect(enter(try sketch.compile()) == (offset == 20 ? 1023 : 0))
    }
  }

  @Test func faultsReadZero() throws {
    let word = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    word.pointee = 0x1122_3344_5566_7788
    defer { word.deallocate() }
    for (place, expected) in [(UInt64(8), UInt64(0)), (UInt64(UInt(bitPattern: word)), 0x5566_7788)] {
      var sketch = Sketch()
      sketch.constant(1, place)
      sketch.move(7, 9)
      sketch.emit(Instruction(opcode: Class.ldx | Mode.mem | Size.w, dst: 0, src: 1), .faulting)
      sketch.emit(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 0, src: 7))
      sketch.exit()
      sketch.endFunction()
      #expect(enter(try sketch.compile()) == expected + 9)
    }
  }

  @Test func arenaPointersAreOffsets() throws {
    let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: 8)
    memory.initialize(repeating: 0, count: 8)
    defer { memory.deallocate() }
    var sketch = Sketch()
    sketch.constant(1, 0xffff_0000_0000_0008)
    sketch.emit(
      Instruction(opcode: Class.st | Mode.mem | Size.w, dst: 1, offset: 4, immediate: 66), .arena,
      operand: UInt64(UInt(bitPattern: memory)))
    sketch.emit(
      Instruction(opcode: Opcode.movRegister64, dst: 0, src: 1, offset: 1, immediate: 1 << 16), .arenaCast,
      operand: 0x7000_0000_0000)
    sketch.exit()
    sketch.endFunction()
    #expect(enter(try sketch.compile()) == 0x7000_0000_0008)
    #expect(memory[3] == 66)
  }

  @Test func storesBelowALimit() throws {
    let word = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    defer { word.deallocate() }
    for (value, expected) in [(Int32(5), UInt64(5)), (99, 1)] {
      word.pointee = 1
      var sketch = Sketch()
      sketch.constant(1, UInt64(UInt(bitPattern: word)))
      sketch.move(2, value)
      sketch.emit(Instruction(opcode: Class.stx | Mode.mem | Size.w, dst: 1, src: 2), .storeBelow, operand: 50)
      sketch.move(0, 0)
      sketch.exit()
      sketch.endFunction()
      _ = enter(try sketch.compile())
      #expect(word.pointee == expected)
    }
  }

  @Test func elementsOfArraysAreFoundInPlace() throws {
    let values = UnsafeMutablePointer<UInt8>.allocate(capacity: 1024)
    defer { values.deallocate() }
    let map = UnsafeMutablePointer<skep_map>.allocate(capacity: 1)
    defer { map.deallocate() }
    for isPerCPU in [false, true] {
      for stride in [8, 24, 64] as [UInt64] {
        for index in [0, 1, 3, 4, -1] as [Int32] {
          map.initialize(to: skep_map())
          map.pointee.type = (isPerCPU ? MapType.percpuArray : MapType.array).rawValue
          map.pointee.key_size = 4
          map.pointee.value_size = UInt32(stride)
          map.pointee.max_entries = 4
          map.pointee.values = values
          map.pointee.stride = stride
          map.pointee.cpu_stride = 256
          var sketch = Sketch()
          sketch.emit(Instruction(opcode: Class.st | Mode.mem | Size.w, dst: 10, offset: -4, immediate: index))
          sketch.copy(2, 10)
          sketch.add(2, -4)
          sketch.constant(1, UInt64(UInt(bitPattern: map)))
          var call = LinkedOperation(Instruction(opcode: Opcode.call, immediate: 1), .call)
          call.helper = 1
          call.map = 0
          sketch.operations.append(call)
          sketch.exit()
          sketch.endFunction()
          let base = UInt64(UInt(bitPattern: values)) + (isPerCPU ? 3 * 256 : 0)
          let expected = index >= 0 && index < 4 ? base + UInt64(index) * stride : 0
          #expect(enter(try sketch.compile(maps: [map])) == expected)
        }
      }
    }
  }

  @Test func constantsAreBlinded() throws {
    let secret: UInt64 = 0x90c3_90c3_1234_5678
    func holdsSecret(_ blinds: Bool) throws -> Bool {
      var sketch = Sketch()
      sketch.constant(0, secret)
      sketch.exit()
      sketch.endFunction()
      var options = JITOptions()
      options.blindsConstants = blinds
      let program = try sketch.compile(options: options)
      #expect(enter(program) == secret)
      let code = UnsafeRawBufferPointer(
        start: UnsafeRawPointer(bitPattern: program.codeStart), count: program.codeSize)
      return (0..<max(0, code.count - 7)).contains { code.loadUnaligned(fromByteOffset: $0, as: UInt64.self) == secret }
    }
    #expect(try holdsSecret(false))
    #expect(try !holdsSecret(true))
  }
}
#endif
