import BPFISA
import BPFLinux
import BPFRuntime
import CBPFRuntime
import Testing

@testable import BPFJIT

/// Calls, callbacks, exceptions and what else needs code beside the program, with functions of the runtime written in
/// the processor's own instructions.
@Suite(.enabled(if: ARM64Machine.emulator != nil, "qemu-aarch64 (Debian's qemu-user) is not installed"))
struct ARM64CallTests {
  private let machine: ARM64Machine
  private let run: UnsafeMutablePointer<skep_run>
  private var operations: [LinkedOperation] = []
  private var functions: [Range<Int>] = []

  init() throws {
    machine = try ARM64Machine()
    run = machine.allocateRun(cpu: 3)
  }

  // MARK: programs

  private mutating func begin() { (operations, functions) = ([], []) }

  private mutating func emit(_ insn: Instruction, _ kind: LinkedOperation.Kind = .plain, operand: UInt64 = 0) {
    operations.append(LinkedOperation(insn, kind, operand: operand))
  }

  private mutating func move(_ register: UInt8, _ value: Int32) {
    emit(Instruction(opcode: Class.alu64 | ALU.mov, dst: register, immediate: value))
  }

  private mutating func alu(_ operation: UInt8, _ to: UInt8, _ from: UInt8) {
    emit(Instruction(opcode: Class.alu64 | operation | Source.x, dst: to, src: from))
  }

  private mutating func constant(_ register: UInt8, _ value: UInt64, _ kind: LinkedOperation.Kind = .constant) {
    emit(Instruction(opcode: Opcode.loadImmediate64, dst: register), kind, operand: value)
    emit(Instruction(opcode: 0), .unreachable)
  }

  private mutating func call(_ function: UInt64, _ kind: LinkedOperation.Kind = .call) {
    emit(Instruction(opcode: Opcode.call, immediate: 1000), kind, operand: function)
  }

  private mutating func endFunction(exits: Bool = true) {
    if exits { emit(Instruction(opcode: Opcode.exit)) }
    functions.append((functions.last?.upperBound ?? 0)..<operations.count)
  }

  /// - Returns: the address of the program's entry there.
  private func compile(
    handler: Int? = nil, maps: [UnsafeMutablePointer<skep_map>] = [], depth: Int = 64,
    runtime: RuntimeAddresses = RuntimeAddresses(faultingRead: 0, renewBudget: 0)
  ) throws -> UInt64 {
    let code = try JIT.compileARM64(
      CompilerInput(
        operations: operations, functions: functions, stackDepths: functions.map { _ in depth },
        exceptionCallback: handler, maps: maps), functions: runtime)
    return machine.add(code.bytes) + UInt64(code.entry)
  }

  private func enter(_ program: UInt64, _ context: UInt64 = 0, on run: UnsafeMutablePointer<skep_run>? = nil) {
    machine.call(program, [context, UInt64(UInt(bitPattern: run ?? self.run)), 0])
  }

  private func expect(_ results: [UInt64]) throws {
    try machine.run()
    #expect(machine.results == results)
    #expect(machine.keepsRegisters.allSatisfy { $0 })
  }

  private func place<T>(_ pointer: UnsafeMutablePointer<T>) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }

  /// Calls the function in r1 three times with numbers from 1, r2, 3, 4 and 5, and adds the answers up; ends early
  /// where that throws.
  private static func repeatCallback(_ it: inout ARM64Assembler) {
    let (function, context, run, sum, number) = (
      ARM64.x19, ARM64.x19 + 1, ARM64.x19 + 2, ARM64.x19 + 3, ARM64.x19 + 4
    )
    it.beginFrame()
    it.pushPair(function, context)
    it.pushPair(run, sum)
    it.pushPair(number, ARM64.zero)
    it.move(function, ARM64.x0)
    it.move(context, ARM64.x1)
    it.move(run, ARM64.x5)
    it.moveConstant(sum, 0)
    it.moveConstant(number, 1)
    let again = it.layout.bytes.count
    it.move(ARM64.x0, run)
    it.move(ARM64.x1, function)
    it.move(ARM64.x2, number)
    it.move(ARM64.x3, context)
    for (argument, value) in [(ARM64.x4, 3), (ARM64.x5, 4), (ARM64.x6, 5)] as [(Register, UInt64)] {
      it.moveConstant(argument, value)
    }
    it.load(ARM64.x16, ARM64Memory(base: run, field: RunLayout.invoke), size: 8)
    it.call(ARM64.x16)
    it.registers(.add, wide: true, sum, sum, ARM64.x0)
    it.load(ARM64.x9, ARM64Memory(base: run, field: RunLayout.unwinding), size: 4)
    let thrown = it.shortJump(ifNotZero: ARM64.x9, wide: false)
    it.addConstant(number, number, 1)
    it.addConstant(ARM64.x9, number, -4)
    it.jumpBack(to: again, ifNotZero: ARM64.x9)
    it.land(thrown)
    it.move(ARM64.x0, sum)
    // All that a function may change is changed.
    for register in 1...17 as ClosedRange<Register> { it.moveConstant(register, 0xbad) }
    it.popPair(number, ARM64.x17)
    it.popPair(run, sum)
    it.popPair(function, context)
    it.endFrame()
    it.return()
  }

  // MARK: tests

  @Test mutating func exceptionsUnwindToTheEntry() throws {
    for handled in [false, true] {
      begin()
      move(6, 5)
      move(1, 1)
      emit(Instruction(opcode: Opcode.call, src: 1), .subprogram, operand: 1)
      alu(ALU.mov, 0, 6)
      endFunction()
      // Keeps registers, and throws.
      move(7, 8)
      move(1, 77)
      emit(Instruction(opcode: Opcode.call, src: 2), .throw)
      endFunction(exits: false)
      alu(ALU.mov, 0, 1)
      emit(Instruction(opcode: Class.alu64 | ALU.add, dst: 0, immediate: 1000))
      endFunction()
      enter(try compile(handler: handled ? 2 : nil))
    }
    run.pointee.saved_stack = 99
    try expect([77, 1077])
    let after = machine.value(skep_run.self, at: place(run))
    #expect(after.unwinding == 0)
    #expect(after.saved_stack == 99)
  }

  @Test mutating func callbacksAreCalledAndMayThrow() throws {
    let repeats = machine.add(Self.repeatCallback)
    for throwsAt in [Int32?.none, 9, 2] {
      begin()
      move(6, 100)
      constant(1, LinkedProgram.functionTag | 1, .functionAddress)
      move(2, 10)
      for register in [3, 4, 5] as [UInt8] { move(register, 0) }
      call(repeats, .callWithCallback)
      alu(ALU.add, 0, 6)
      endFunction()
      // callback(number, context, 3, 4, 5) = number * context + 5, or throws.
      alu(ALU.mov, 6, 5)
      alu(ALU.mov, 7, 1)
      alu(ALU.mul, 7, 2)
      alu(ALU.add, 7, 6)
      alu(ALU.mov, 0, 7)
      if let throwsAt {
        emit(Instruction(opcode: Class.jmp | Jump.jne, dst: 1, offset: 2, immediate: throwsAt))
        move(1, 55)
        emit(Instruction(opcode: Opcode.call, src: 2), .throw)
      }
      endFunction()
      enter(try compile())
    }
    try expect([175, 175, 55])
    #expect(machine.value(skep_run.self, at: place(run)).invoke == nil)
  }

  @Test mutating func tailCallsGoOnInTheOtherProgram() throws {
    begin()
    alu(ALU.mov, 0, 1)
    emit(Instruction(opcode: Class.alu64 | ALU.add, dst: 0, immediate: 7))
    endFunction()
    let other = try compile()
    let programs = machine.allocate(UInt64.self, count: 2)
    let header = machine.allocate(UInt64.self, count: 3)
    (header[0], header[1], header[2]) = (other, 0, 0)
    (programs[0], programs[1]) = (0, place(header))
    let map = machine.allocate(skep_map.self)
    map.initialize(to: skep_map())
    map.pointee.max_entries = 2
    map.pointee.programs = UnsafeMutableRawPointer(programs).assumingMemoryBound(
      to: UnsafePointer<skep_program>?.self)
    var runs: [UnsafeMutablePointer<skep_run>] = []
    for (index, count, stops) in [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (1, 33, 0), (1, 32, 0), (1, 0, 1)]
      as [(Int32, UInt32, UInt32)]
    {
      for fromSubprogram in [false, true] {
        begin()
        move(6, 3)
        if fromSubprogram {
          emit(Instruction(opcode: Opcode.call, src: 1), .subprogram, operand: 1)
          alu(ALU.add, 0, 6)
          endFunction()
          move(6, 1)
        }
        constant(2, place(map))
        move(3, index)
        emit(Instruction(opcode: Opcode.call, immediate: 12), .tailCall)
        alu(ALU.mov, 0, 6)
        endFunction()
        let run = machine.allocateRun(cpu: 0)
        run.pointee.tail_calls = count
        run.pointee.stop_requested = stops
        runs.append(run)
        enter(try compile(), 40, on: run)
      }
    }
    try expect([3, 4, 47, 50, 3, 4, 3, 4, 3, 4, 47, 50, 3, 4])
    let counts = runs.map { machine.value(skep_run.self, at: place($0)).tail_calls }
    #expect(counts == [0, 0, 1, 1, 0, 0, 0, 0, 33, 33, 33, 33, 0, 0])
  }

  @Test mutating func budgetsEndLoops() throws {
    // Renewed twice, by a function that changes all that it may.
    let renew = machine.add { it in
      it.load(ARM64.x1, ARM64Memory(base: ARM64.x0, offset: 8), size: 8)
      it.addConstant(ARM64.x1, ARM64.x1, 1)
      it.store(ARM64.x1, ARM64Memory(base: ARM64.x0, offset: 8), size: 8)
      it.moveConstant(ARM64.x2, 10)
      it.store(ARM64.x2, ARM64Memory(base: ARM64.x0), size: 8)
      it.compare(wide: true, ARM64.x1, constant: 3)
      it.set(.below, ARM64.x0)
      for register in 1...17 as ClosedRange<Register> { it.moveConstant(register, 0xbad) }
      it.return()
    }
    begin()
    for register in 0...9 as ClosedRange<UInt8> where register != 1 { move(register, Int32(register)) }
    emit(Instruction(opcode: Opcode.mayGoto, offset: 10), .mayGoto)
    for register in 0...9 as ClosedRange<UInt8> where register != 1 {
      emit(Instruction(opcode: Class.alu64 | ALU.add, dst: register, immediate: Int32(register) + 1))
    }
    emit(Instruction(opcode: Opcode.ja, offset: -11))
    for register in 2...9 as ClosedRange<UInt8> { alu(ALU.xor, 0, register) }
    endFunction()
    let program = try compile(runtime: RuntimeAddresses(faultingRead: 0, renewBudget: renew))
    let stopped = machine.allocateRun(cpu: 0)
    stopped.pointee.stop_requested = 1
    enter(program)
    enter(program, on: stopped)
    func result(_ rounds: UInt64) -> UInt64 {
      (2...9 as ClosedRange<UInt64>).reduce(rounds) { $0 ^ ($1 + rounds * ($1 + 1)) }
    }
    // The count of 65,535 is renewed to 10 twice; the third time the loop ends.
    try expect([result(65_535 + 10 + 9), result(0)])
  }

  @Test mutating func legacyLoadsOutsideThePacketReturnZero() throws {
    let read = machine.add { it in
      it.registers(.add, wide: true, ARM64.x0, ARM64.x0, ARM64.x1)
      it.registers(.add, wide: true, ARM64.x0, ARM64.x0, ARM64.x2)
      it.compare(wide: true, ARM64.x1, constant: 100)
      it.moveConstant(ARM64.x3, 1 << 63)
      it.choose(.less, ARM64.x0, ARM64.x0, ARM64.x3)
      it.return()
    }
    for offset in [20, 200] as [Int32] {
      begin()
      move(6, 1000)
      move(8, 5)
      emit(Instruction(opcode: Class.ld | Mode.abs | Size.h, immediate: offset), .legacyLoad, operand: read)
      alu(ALU.add, 0, 8)
      endFunction()
      enter(try compile())
    }
    try expect([1027, 0])
  }

  @Test mutating func faultingLoadsAreCalls() throws {
    let read = machine.add { it in
      it.shiftLeft(wide: true, ARM64.x0, ARM64.x0, 8)
      it.registers(.or, wide: true, ARM64.x0, ARM64.x0, ARM64.x1)
      for register in 1...17 as ClosedRange<Register> { it.moveConstant(register, 0xbad) }
      it.return()
    }
    begin()
    for register in 2...9 as ClosedRange<UInt8> { move(register, Int32(register) * 16) }
    emit(Instruction(opcode: Class.ldx | Mode.mem | Size.w, dst: 0, src: 2, offset: -2), .faulting)
    for register in 2...9 as ClosedRange<UInt8> { alu(ALU.add, 0, register) }
    endFunction()
    enter(try compile(runtime: RuntimeAddresses(faultingRead: read, renewBudget: 0)))
    try expect([30 << 8 | 4 + 44 * 16])
  }

  @Test mutating func arenaPointersAreOffsets() throws {
    let words = machine.allocate(UInt32.self, count: 8)
    for pointer in [0xffff_0000_0000_0008, 0xffff_ffff_0000_0000] as [UInt64] {
      begin()
      constant(1, pointer)
      emit(
        Instruction(opcode: Class.st | Mode.mem | Size.w, dst: 1, offset: 4, immediate: 66), .arena,
        operand: place(words))
      emit(
        Instruction(opcode: Opcode.movRegister64, dst: 0, src: 1, offset: 1, immediate: 1 << 16), .arenaCast,
        operand: 0x7000_0000_0000)
      endFunction()
      enter(try compile())
    }
    try expect([0x7000_0000_0008, 0])
    #expect(machine.value(UInt32.self, at: place(words) + 12) == 66)
    #expect(machine.value(UInt32.self, at: place(words) + 4) == 66)
  }

  @Test mutating func storesBelowALimit() throws {
    let words = machine.allocate(UInt64.self, count: 3)
    for (index, value) in [5, 99, -1].enumerated() as EnumeratedSequence<[Int32]> {
      words[index] = 1
      begin()
      constant(1, place(words) + UInt64(index) * 8)
      move(2, value)
      emit(Instruction(opcode: Class.stx | Mode.mem | Size.w, dst: 1, src: 2), .storeBelow, operand: 50)
      move(0, 0)
      endFunction()
      enter(try compile())
    }
    try expect([0, 0, 0])
    #expect((0..<3).map { machine.value(UInt64.self, at: place(words) + $0 * 8) } == [5, 1, 1])
  }

  @Test mutating func elementsOfArraysAreFoundInPlace() throws {
    let values = machine.allocate(UInt8.self, count: 1024)
    var expected: [UInt64] = []
    for isPerCPU in [false, true] {
      for stride in [8, 24, 64] as [UInt64] {
        for (index, count) in [(0, 4), (1, 4), (3, 4), (4, 4), (-1, 4), (5, 70_001)] as [(Int32, UInt32)] {
          let map = machine.allocate(skep_map.self)
          map.initialize(to: skep_map())
          map.pointee.type = (isPerCPU ? MapType.percpuArray : MapType.array).rawValue
          map.pointee.key_size = 4
          map.pointee.value_size = UInt32(stride)
          map.pointee.max_entries = count
          map.pointee.values = values
          map.pointee.stride = stride
          map.pointee.cpu_stride = 256
          begin()
          emit(Instruction(opcode: Class.st | Mode.mem | Size.w, dst: 10, offset: -4, immediate: index))
          alu(ALU.mov, 2, 10)
          emit(Instruction(opcode: Class.alu64 | ALU.add, dst: 2, immediate: -4))
          constant(1, place(map))
          var call = LinkedOperation(Instruction(opcode: Opcode.call, immediate: 1), .call)
          call.helper = 1
          call.map = 0
          operations.append(call)
          endFunction()
          enter(try compile(maps: [map]))
          let base = place(values) + (isPerCPU ? 3 * 256 : 0)
          expected.append(index >= 0 && index < Int32(count) ? base + UInt64(index) * stride : 0)
        }
      }
    }
    try expect(expected)
  }

  @Test mutating func constantsAreBlinded() throws {
    let secret: UInt64 = 0x90c3_90c3_1234_5678
    func code(_ blinds: Bool) throws -> MachineCode {
      var options = JITOptions()
      options.blindsConstants = blinds
      return try JIT.compileARM64(
        CompilerInput(operations: operations, functions: functions, stackDepths: [0]), options: options)
    }
    constant(0, secret)
    endFunction()
    /// `movz` and `movk` of all four parts.
    func holdsSecret(_ bytes: [UInt8]) -> Bool {
      let parts = stride(from: 0, to: bytes.count - 3, by: 4).map { at in
        bytes[at..<at + 4].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) } >> 5 & 0xffff
      }
      return (0..<4).allSatisfy { half in parts.contains(UInt32(secret >> UInt64(half * 16) & 0xffff)) }
    }
    let (plain, blinded) = (try code(false), try code(true))
    #expect(holdsSecret(plain.bytes))
    #expect(!holdsSecret(blinded.bytes))
    for made in [plain, blinded] { enter(machine.add(made.bytes) + UInt64(made.entry)) }
    try expect([secret, secret])
  }
}
