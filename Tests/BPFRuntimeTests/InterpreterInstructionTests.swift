import BPFISA
import BPFLinux
import Testing

@testable import BPFRuntime

/// Every instruction, by itself.
@Suite struct InterpreterInstructionTests {
  private static let numbers: [UInt64] = [
    0, 1, 2, 7, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
    0x1_0000_0000, 0x0123_4567_89ab_cdef, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_fffe, 0xffff_ffff_ffff_ffff,
  ]
  private let fixture = ProgramFixture()

  /// `r0 = first, r2 = second; insn; exit` on a context of the two numbers.
  private func program(_ body: [Instruction]) -> [Instruction] {
    [
      Instruction(opcode: Class.ldx | Mode.mem | Size.dw, dst: 0, src: 1, offset: 0),
      Instruction(opcode: Class.ldx | Mode.mem | Size.dw, dst: 2, src: 1, offset: 8),
    ] + body + [Instruction(opcode: Opcode.exit)]
  }

  private func runAll(_ body: [Instruction], expect expected: (UInt64, UInt64) -> UInt64?) throws {
    let loaded = try LoadedProgram(fixture.proved(program(body)))
    for a in Self.numbers {
      for b in Self.numbers {
        let value = loaded.run(on: fixture.worker, RawContext(type: .syscall, arguments: [a, b]))
        #expect(value == expected(a, b), "\(body) of 0x\(String(a, radix: 16)) and 0x\(String(b, radix: 16))")
      }
    }
  }

  @Test(arguments: [
    ALU.add, ALU.sub, ALU.mul, ALU.div, ALU.mod, ALU.or, ALU.and, ALU.xor, ALU.lsh, ALU.rsh, ALU.arsh, ALU.mov,
  ])
  func arithmetic(_ operation: UInt8) throws {
    let divides = operation == ALU.div || operation == ALU.mod
    let shifts = [ALU.lsh, ALU.rsh, ALU.arsh].contains(operation)
    for width in [Class.alu, Class.alu64] {
      var offsets: [Int16] = divides ? [0, 1] : [0]
      if operation == ALU.mov { offsets = width == Class.alu64 ? [0, 8, 16, 32] : [0, 8, 16] }
      for offset in offsets {
        let insn = Instruction(opcode: width | operation | Source.x, dst: 0, src: 2, offset: offset)
        try runAll([insn]) { BookArithmetic.result(insn, $0, $1) }
        guard operation != ALU.mov || offset == 0 else { continue }
        for immediate: Int32 in [0, 1, 5, 31, -1, .min, .max] {
          if divides && immediate == 0 { continue }
          if shifts && (immediate < 0 || immediate > 31) { continue }
          let insn = Instruction(opcode: width | operation, dst: 0, offset: offset, immediate: immediate)
          try runAll([insn]) { a, _ in BookArithmetic.result(insn, a, UInt64(bitPattern: Int64(immediate))) }
        }
      }
    }
  }

  @Test func oneOperand() throws {
    for insn in [
      Instruction(opcode: Class.alu | ALU.neg), Instruction(opcode: Class.alu64 | ALU.neg),
    ] + [Class.alu, Class.alu | Source.x, Class.alu64].flatMap({ start in
      [16, 32, 64].map { Instruction(opcode: start | ALU.end, immediate: $0) }
    }) {
      try runAll([insn]) { a, _ in BookArithmetic.result(insn, a, 0) }
    }
  }

  /// What RFC 9669 says, in numbers.
  @Test func results() {
    func of(_ opcode: UInt8, _ a: UInt64, _ b: UInt64, offset: Int16 = 0) -> UInt64? {
      BookArithmetic.result(Instruction(opcode: opcode | Source.x, offset: offset), a, b)
    }
    #expect(of(Class.alu64 | ALU.div, 5, 0) == 0)
    #expect(of(Class.alu64 | ALU.mod, 5, 0) == 5)
    #expect(of(Class.alu | ALU.mod, 0xffff_ffff_0000_0005, 0) == 5)
    #expect(of(Class.alu64 | ALU.div, 1 << 63, .max, offset: 1) == 1 << 63)
    #expect(of(Class.alu64 | ALU.mod, 1 << 63, .max, offset: 1) == 0)
    #expect(of(Class.alu | ALU.div, 1 << 31, 0xffff_ffff, offset: 1) == 1 << 31)
    #expect(of(Class.alu | ALU.mod, 1 << 31, 0xffff_ffff, offset: 1) == 0)
    #expect(of(Class.alu64 | ALU.div, UInt64(bitPattern: -13), 3, offset: 1) == UInt64(bitPattern: -4))
    #expect(of(Class.alu64 | ALU.mod, UInt64(bitPattern: -13), 3, offset: 1) == UInt64(bitPattern: -1))
    #expect(of(Class.alu64 | ALU.lsh, 1, 65) == 2)
    #expect(of(Class.alu | ALU.rsh, 0xffff_ffff_8000_0000, 33) == 0x4000_0000)
    #expect(of(Class.alu | ALU.arsh, 0x8000_0000, 4) == 0xf800_0000)
    #expect(of(Class.alu64 | ALU.mov, 0, 0x80, offset: 8) == 0xffff_ffff_ffff_ff80)
    #expect(of(Class.alu | ALU.mov, 0, 0x8000, offset: 16) == 0xffff_8000)
    let swap = Instruction(opcode: Class.alu64 | ALU.end, immediate: 32)
    #expect(BookArithmetic.result(swap, 0x1122_3344_5566_7788, 0) == 0x8877_6655)
  }

  @Test(arguments: [
    Jump.jeq, Jump.jne, Jump.jset, Jump.jgt, Jump.jge, Jump.jlt, Jump.jle, Jump.jsgt, Jump.jsge, Jump.jslt, Jump.jsle,
  ])
  func jumps(_ operation: UInt8) throws {
    func body(_ jump: Instruction) -> [Instruction] {
      [
        jump, Instruction(opcode: Class.alu64 | ALU.mov, dst: 0, immediate: 1), Instruction(opcode: Opcode.exit),
        Instruction(opcode: Class.alu64 | ALU.mov, dst: 0, immediate: 2),
      ]
    }
    for width in [Class.jmp, Class.jmp32] {
      let insn = Instruction(opcode: width | operation | Source.x, dst: 0, src: 2, offset: 2)
      try runAll(body(insn)) { BookArithmetic.holds(insn, $0, $1) == true ? 2 : 1 }
      for immediate: Int32 in [0, 1, 0x80, -1, .min, .max] {
        let insn = Instruction(opcode: width | operation, dst: 0, offset: 2, immediate: immediate)
        try runAll(body(insn)) { a, _ in
          BookArithmetic.holds(insn, a, UInt64(bitPattern: Int64(immediate))) == true ? 2 : 1
        }
      }
    }
  }

  @Test func longJumps() throws {
    let linked = try fixture.linked(
      """
      r0 = 1
      gotol there
      back: r0 += 5
      exit
      there: r0 += 10
      goto back
      """)
    #expect(try fixture.run(linked) == 16)
  }

  @Test func memory() throws {
    for (code, bytes) in [(Size.b, 1), (Size.h, 2), (Size.w, 4), (Size.dw, 8)] {
      let mask: UInt64 = bytes == 8 ? .max : (1 << UInt64(bytes * 8)) - 1
      let store = Instruction(opcode: Class.stx | Mode.mem | code, dst: 10, src: 0, offset: -13)
      let fill = Instruction(opcode: Class.st | Mode.mem | Size.dw, dst: 10, offset: -16, immediate: -1)
      let load = Instruction(opcode: Class.ldx | Mode.mem | code, dst: 0, src: 10, offset: -13)
      if bytes == 1 {
        try runAll([fill, store, load]) { a, _ in a & mask }
      }
      let aligned = Int16(-16)
      var put = store
      put.offset = aligned
      var get = load
      get.offset = aligned
      try runAll([fill, put, get]) { a, _ in a & mask }
      var whole = get
      whole.opcode = Class.ldx | Mode.mem | Size.dw
      try runAll([fill, put, whole]) { a, _ in bytes == 8 ? a : ~mask | a & mask }
      if bytes < 8 {
        get.opcode = Class.ldx | Mode.memsx | code
        try runAll([fill, put, get]) { a, _ in
          UInt64(bitPattern: Int64(bitPattern: a << UInt64(64 - bytes * 8)) >> Int64(64 - bytes * 8))
        }
      }
      let constant = Instruction(opcode: Class.st | Mode.mem | code, dst: 10, offset: aligned, immediate: -2)
      try runAll([fill, constant, whole]) { _, _ in ~mask | UInt64(bitPattern: -2) & mask }
    }
  }

  @Test func atomics() throws {
    for (code, mask) in [(Size.w, UInt64(0xffff_ffff)), (Size.dw, UInt64.max)] {
      let put = Instruction(opcode: Class.stx | Mode.mem | Size.dw, dst: 10, src: 0, offset: -8)
      let whole = Instruction(opcode: Class.ldx | Mode.mem | Size.dw, dst: 0, src: 10, offset: -8)
      func atomic(_ immediate: Int32) -> Instruction {
        Instruction(opcode: Class.stx | Mode.atomic | code, dst: 10, src: 2, offset: -8, immediate: immediate)
      }
      let operations: [(Int32, (UInt64, UInt64) -> UInt64)] = [
        (Atomic.add, { $0 &+ $1 }), (Atomic.or, { $0 | $1 }), (Atomic.and, { $0 & $1 }), (Atomic.xor, { $0 ^ $1 }),
      ]
      let old = Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: 0, src: 2)
      for (immediate, work) in operations {
        let changed: (UInt64, UInt64) -> UInt64 = { a, b in a & ~mask | work(a & mask, b & mask) & mask }
        try runAll([put, atomic(immediate), whole], expect: changed)
        try runAll([put, atomic(immediate | Atomic.fetch), whole], expect: changed)
        try runAll([put, atomic(immediate | Atomic.fetch), old]) { a, _ in a & mask }
      }
      try runAll([put, atomic(Atomic.xchg), whole]) { a, b in a & ~mask | b & mask }
      try runAll([put, atomic(Atomic.xchg), old]) { a, _ in a & mask }
      // r0 is what is expected, and becomes what was there.
      try runAll([put, atomic(Atomic.cmpxchg)]) { a, _ in a & mask }
      try runAll([put, atomic(Atomic.cmpxchg), whole]) { a, b in a & ~mask | b & mask }
      let differ = Instruction(opcode: Class.alu64 | ALU.add, dst: 0, immediate: 1)
      try runAll([put, differ, atomic(Atomic.cmpxchg), whole]) { a, _ in a }
    }
  }

  @Test func acquireAndRelease() throws {
    for (code, bytes) in [(Size.b, 1), (Size.h, 2), (Size.w, 4), (Size.dw, 8)] {
      let mask: UInt64 = bytes == 8 ? .max : (1 << UInt64(bytes * 8)) - 1
      let fill = Instruction(opcode: Class.st | Mode.mem | Size.dw, dst: 10, offset: -8, immediate: 0)
      let release = Instruction(
        opcode: Class.stx | Mode.atomic | code, dst: 10, src: 0, offset: -8, immediate: Atomic.storeRelease)
      let acquire = Instruction(
        opcode: Class.stx | Mode.atomic | code, dst: 0, src: 10, offset: -8, immediate: Atomic.loadAcquire)
      try runAll([fill, release, acquire]) { a, _ in a & mask }
    }
  }
}
