import BPFISA
import BPFRuntime
import CBPFRuntime
import Testing

@testable import BPFJIT

/// Numbers at which arithmetic goes wrong first.
private let edges: [UInt64] = [
  0, 1, 2, 7, 31, 32, 33, 63, 64, 255, 4095, 4096, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000,
  0x1234_5678_9abc_def0, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_8000_0000,
  0xffff_ffff_ffff_fff0, 0xffff_ffff_ffff_ffff,
]
private let edgeConstants: [Int32] = [
  0, 1, 2, 3, 5, 7, 10, 31, 32, 63, -1, -2, -255, 255, 4095, 4096, 0x00ff_f000, 0x0100_0001, 0x5555_5555, .max, .min,
]

/// The same function as `mix` of the tests for this processor, for arm64; it changes all that a function may.
private func emitMix(_ it: inout ARM64Assembler) {
  let value = Register(7)
  it.moveConstant(value, 0)
  for (argument, factor) in [3, 5, 7, 11, 13].enumerated() as EnumeratedSequence<[UInt64]> {
    it.moveConstant(8, factor)
    it.registers(.mul, wide: true, 8, 8, Register(argument))
    it.registers(.xor, wide: true, value, value, 8)
  }
  it.load(8, ARM64Memory(base: 5), size: 4)
  it.registers(.xor, wide: true, value, value, 8)
  it.shiftRight(wide: true, 8, value, 29)
  it.registers(.xor, wide: true, 0, value, 8)
  for register in 1...17 as ClosedRange<Register> {
    it.moveConstant(register, 0xdead_0000_dead_0000 + UInt64(register))
  }
  it.return()
}

private let mix:
  @convention(c) (UInt64, UInt64, UInt64, UInt64, UInt64, UnsafeMutablePointer<skep_run>?) -> UInt64 = {
    a, b, c, d, e, run in
    var value = a &* 3 ^ b &* 5 ^ c &* 7 ^ d &* 11 ^ e &* 13
    value ^= UInt64(run?.pointee.cpu ?? 99)
    return value ^ value >> 29
  }

private let hasEmulator = ARM64Machine.emulator != nil

/// Programs compiled for arm64 and run there, held against the reference, which runs here.
@Suite(.enabled(if: hasEmulator, "qemu-aarch64 (Debian's qemu-user) is not installed"))
struct ARM64ProgramTests {
  /// Many programs, or many calls of few, in one process.
  private struct Batch {
    let machine: ARM64Machine
    let run: UnsafeMutablePointer<skep_run>
    /// The memory of each call, and what it and the result should be.
    var expectations: [(name: String, context: UInt64, value: UInt64, memory: [UInt8])] = []

    init() throws {
      machine = try ARM64Machine()
      run = machine.allocateRun(cpu: 7)
    }

    /// - Parameters:
    ///   - program: its address there.
    ///   - reference: the same program, with helpers that can be called here.
    mutating func call(
      _ name: String, _ program: UInt64, contents: [UInt8], reference: [LinkedOperation], functions: [Range<Int>]
    ) {
      let context = machine.allocate(bytes: contents)
      guard let place = UnsafeMutablePointer<UInt8>(bitPattern: UInt(context)) else { return }
      var machine = ReferenceMachine(operations: reference, functions: functions, run: run)
      let value = machine.call(0, [context, 0, 0, 0, 0])
      let memory = Array(UnsafeBufferPointer(start: place, count: contents.count))
      place.update(from: contents, count: contents.count)
      // One that does not end in time is not run.
      guard let value else { return }
      expectations.append((name, context, value, memory))
      self.machine.call(program, [context, UInt64(UInt(bitPattern: run)), 0])
    }

    func check() throws {
      try machine.run()
      var differences = 0
      for (number, expected) in expectations.enumerated() {
        let value = machine.results[number]
        let memory = machine.bytes(at: expected.context, count: expected.memory.count)
        guard value != expected.value || memory != expected.memory || !machine.keepsRegisters[number] else { continue }
        differences += 1
        guard differences <= 5 else { continue }
        let other = memory == expected.memory ? "" : "; other memory"
        let registers = machine.keepsRegisters[number] ? "" : "; other registers"
        Issue.record(
          "\(expected.name): returns \(value), should be \(expected.value)\(other)\(registers)")
      }
      #expect(differences == 0)
    }
  }

  private static func compile(
    _ operations: [LinkedOperation], _ functions: [Range<Int>], depth: Int, blinds: Bool = false
  ) throws -> MachineCode {
    var options = JITOptions()
    options.blindsConstants = blinds
    return try JIT.compileARM64(
      CompilerInput(operations: operations, functions: functions, stackDepths: functions.map { _ in depth }),
      options: options)
  }

  @Test(arguments: 0..<20) func randomProgramsDoWhatTheReferenceDoes(part: UInt64) throws {
    var batch = try Batch()
    let helper = batch.machine.add(emitMix)
    let helperHere = UInt64(UInt(bitPattern: unsafeBitCast(mix, to: UnsafeRawPointer.self)))
    for seed in part * 200..<part * 200 + 200 {
      let made = RandomPrograms(seed: seed, helper: helper)
      let here = RandomPrograms(seed: seed, helper: helperHere)
      // Some with frames beyond the reach of offsets in instructions.
      let depth = seed % 7 == 0 ? 40_000 : seed % 7 == 1 ? 6_000 : RandomPrograms.depth
      let code = try Self.compile(made.operations, made.functions, depth: depth, blinds: seed % 5 == 0)
      let program = batch.machine.add(code.bytes) + UInt64(code.entry)
      var random = SplitMix(state: seed &* 77)
      let contents = (0..<RandomPrograms.contextSize).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      batch.call("seed \(seed)", program, contents: contents, reference: here.operations, functions: here.functions)
    }
    #expect(batch.expectations.count > 150)
    try batch.check()
  }

  // MARK: edge values

  private static func load(_ register: Int, _ offset: Int16) -> Instruction {
    Instruction(opcode: Class.ldx | Mode.mem | Size.dw, dst: UInt8(register), src: 1, offset: offset)
  }

  /// `body` on r2 and r3, which are read from the context; r0 is r2 afterwards.
  private static func program(_ body: [Instruction]) -> [LinkedOperation] {
    let insns =
      [load(2, 0), load(3, 8)] + body
      + [Instruction(opcode: Opcode.movRegister64, dst: 0, src: 2), Instruction(opcode: Opcode.exit)]
    return insns.map { LinkedOperation($0, .plain) }
  }

  private static func bytes(_ words: UInt64...) -> [UInt8] {
    words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
  }

  /// Each body with all pairs of edge values, or with all edge values for r2.
  private func runAll(_ bodies: [(name: String, body: [Instruction], usesBoth: Bool)]) throws {
    var batch = try Batch()
    for (name, body, usesBoth) in bodies {
      let operations = Self.program(body)
      let code = try Self.compile(operations, [0..<operations.count], depth: 0)
      let address = batch.machine.add(code.bytes) + UInt64(code.entry)
      for first in edges {
        for second in usesBoth ? edges : [0] {
          batch.call(
            "\(name) of \(String(first, radix: 16)), \(String(second, radix: 16))", address,
            contents: Self.bytes(first, second), reference: operations, functions: [0..<operations.count])
        }
      }
    }
    try batch.check()
  }

  @Test func arithmeticOfEdgeValues() throws {
    let kinds: [(String, UInt8, [Int16])] = [
      ("add", ALU.add, [0]), ("sub", ALU.sub, [0]), ("mul", ALU.mul, [0]), ("div", ALU.div, [0, 1]),
      ("or", ALU.or, [0]), ("and", ALU.and, [0]), ("lsh", ALU.lsh, [0]), ("rsh", ALU.rsh, [0]),
      ("mod", ALU.mod, [0, 1]), ("xor", ALU.xor, [0]), ("mov", ALU.mov, [0, 8, 16]), ("arsh", ALU.arsh, [0]),
    ]
    var bodies: [(String, [Instruction], Bool)] = []
    for form in [Class.alu64, Class.alu] {
      let width = form == Class.alu64 ? 64 : 32
      for (name, kind, offsets) in kinds {
        for offset in offsets {
          bodies.append(
            (
              "\(name)\(width) \(offset)",
              [Instruction(opcode: form | kind | Source.x, dst: 2, src: 3, offset: offset)], true
            ))
          // A move that extends takes a register.
          if kind == ALU.mov && offset != 0 { continue }
          for constant in edgeConstants {
            let isShift = kind == ALU.lsh || kind == ALU.rsh || kind == ALU.arsh
            if isShift && !(0..<width).contains(Int(constant)) { continue }
            if (kind == ALU.div || kind == ALU.mod) && constant == 0 { continue }
            bodies.append(
              (
                "\(name)\(width) \(offset) by \(constant)",
                [Instruction(opcode: form | kind | Source.k, dst: 2, offset: offset, immediate: constant)], false
              ))
          }
        }
      }
      bodies.append(("neg\(width)", [Instruction(opcode: form | ALU.neg, dst: 2)], false))
      for bits in [16, 32, 64] as [Int32] {
        for source in form == Class.alu ? [Source.k, Source.x] : [Source.k] {
          bodies.append(
            (
              "end\(width) \(source) \(bits)",
              [Instruction(opcode: form | ALU.end | source, dst: 2, immediate: bits)], false
            ))
        }
      }
    }
    bodies.append(
      ("movsx 32", [Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: 2, src: 3, offset: 32)], true))
    try runAll(bodies)
  }

  @Test func jumpsOnEdgeValues() throws {
    let kinds: [(String, UInt8)] = [
      ("jeq", Jump.jeq), ("jne", Jump.jne), ("jgt", Jump.jgt), ("jge", Jump.jge), ("jlt", Jump.jlt), ("jle", Jump.jle),
      ("jsgt", Jump.jsgt), ("jsge", Jump.jsge), ("jslt", Jump.jslt), ("jsle", Jump.jsle), ("jset", Jump.jset),
    ]
    var bodies: [(String, [Instruction], Bool)] = []
    // Two ways that meet, and a value that is chosen.
    let added = Instruction(opcode: Class.alu64 | ALU.add | Source.k, dst: 2, immediate: 77)
    let ways: [(String, [Instruction])] = [
      ("", [added, Instruction(opcode: Class.alu64 | ALU.xor | Source.k, dst: 2, immediate: 5)]),
      ("chosen ", [Instruction(opcode: Class.alu64 | ALU.mov | Source.k, dst: 2, immediate: 9)]),
    ]
    for form in [Class.jmp, Class.jmp32] {
      for (name, kind) in kinds {
        for (way, skipped) in ways {
          let offset = Int16(skipped.count)
          let title = "\(way)\(name)\(form == Class.jmp ? "" : "32")"
          bodies.append(
            (title, [Instruction(opcode: form | kind | Source.x, dst: 2, src: 3, offset: offset)] + skipped, true))
          for constant in edgeConstants {
            let jump = Instruction(opcode: form | kind | Source.k, dst: 2, offset: offset, immediate: constant)
            bodies.append(("\(title) \(constant)", [jump] + skipped, false))
          }
        }
      }
    }
    try runAll(bodies)
  }

  @Test func memoryOfAllWidthsAndPlaces() throws {
    // Offsets that each of the processor's forms has, and some that none has.
    var operations: [Instruction] = []
    var random = SplitMix(state: 5)
    let widths = [(Size.b, 1), (Size.h, 2), (Size.w, 4), (Size.dw, 8)]
    for _ in 0..<400 {
      let (code, size) = widths[Int(random.below(4))]
      let offset = Int16(random.below(UInt64(30_000 - size)))
      let (r, by) = (UInt8(random.below(4)) + 2, UInt8(random.below(4)) + 2)
      switch random.below(5) {
      case 0:
        operations.append(
          Instruction(
            opcode: Class.st | Mode.mem | code, dst: 1, offset: offset, immediate: Int32(random.below(3)) - 1))
      case 1:
        operations.append(Instruction(opcode: Class.stx | Mode.mem | code, dst: 1, src: r, offset: offset))
      case 2:
        let mode = size == 8 ? Mode.mem : Mode.memsx
        operations.append(Instruction(opcode: Class.ldx | mode | code, dst: r, src: 1, offset: offset))
      case 3:
        // With an index, and below the base.
        operations += [
          Instruction(opcode: Class.alu64 | ALU.and | Source.k, dst: r, immediate: 255),
          Instruction(opcode: Class.alu64 | ALU.lsh | Source.k, dst: r, immediate: Int32(random.below(4))),
          Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: r, src: 1),
          Instruction(opcode: Class.alu64 | ALU.add | Source.k, dst: r, immediate: 8192),
          Instruction(
            opcode: Class.ldx | Mode.mem | code, dst: by, src: r, offset: Int16(random.below(600)) - 300),
          Instruction(opcode: Class.alu64 | ALU.mov | Source.k, dst: r, immediate: Int32(offset)),
        ]
      default:
        operations.append(Instruction(opcode: Class.ldx | Mode.mem | code, dst: r, src: 1, offset: offset))
      }
      operations.append(Instruction(opcode: Class.alu64 | ALU.xor | Source.x, dst: 2, src: r))
    }
    for register in [2, 3, 4, 5] as [UInt8] {
      operations.insert(Instruction(opcode: Class.alu64 | ALU.mov | Source.k, dst: register, immediate: 3), at: 0)
    }
    let program = Self.program(operations)
    var batch = try Batch()
    let code = try Self.compile(program, [0..<program.count], depth: 0)
    let address = batch.machine.add(code.bytes) + UInt64(code.entry)
    let contents = (0..<32_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    batch.call("memory", address, contents: contents, reference: program, functions: [0..<program.count])
    try batch.check()
  }
}
