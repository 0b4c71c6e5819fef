import BPFISA
import BPFLinux
import Testing

@testable import BPFRuntime

/// Random programs, full of what the interpreter takes together, against instructions one by one.
@Suite struct InterpreterFusionTests {
  private struct Generator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state >> 33
    }
    mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }
    mutating func register() -> UInt8 { [0, 2, 3, 4, 5, 7][below(6)] }
  }

  private func instruction(_ generator: inout Generator) -> [Instruction] {
    let d = generator.register()
    let s = generator.register()
    let t = generator.register()
    let width = generator.below(3) == 0 ? Class.alu : Class.alu64
    let bits: Int32 = width == Class.alu ? 32 : 64
    func x(_ op: UInt8, _ a: UInt8, _ b: UInt8) -> Instruction {
      Instruction(opcode: width | op | Source.x, dst: a, src: b)
    }
    func k(_ op: UInt8, _ a: UInt8, _ value: Int32) -> Instruction {
      Instruction(opcode: width | op, dst: a, immediate: value)
    }
    let operations = [ALU.add, ALU.sub, ALU.mul, ALU.or, ALU.and, ALU.xor]
    let operation = operations[generator.below(operations.count)]
    let amount = Int32(1 + generator.below(Int(bits) - 1))
    let place = Int16(-8 * (1 + generator.below(4)))
    let code = [Size.b, Size.h, Size.w, Size.dw][generator.below(4)]
    let other = [Size.b, Size.h, Size.w, Size.dw][generator.below(4)]
    switch generator.below(14) {
    case 0: return [x(ALU.mov, d, s), x(operation, d, t)]
    case 1: return [x(ALU.mov, d, s), k(operation, d, Int32(truncatingIfNeeded: generator.next()))]
    case 2: return [x(ALU.mov, d, s), k(ALU.rsh, d, amount), k(ALU.lsh, s, bits - amount), x(ALU.or, s, d)]
    case 3:
      return [
        x(ALU.mov, t, s), k(ALU.rsh, t, amount), x(ALU.mov, d, s), k(ALU.lsh, d, bits - amount), x(ALU.or, d, t),
        x(ALU.xor, d, 7),
      ]
    case 4: return [x(ALU.mul, d, s), x(ALU.add, d, t)]
    case 5: return [k(ALU.mul, d, 5), k(ALU.add, d, -7)]
    case 6: return [x(ALU.add, d, s), x(ALU.xor, t, d), x(ALU.add, s, t)]
    case 7: return [x(ALU.mov, d, s), k(ALU.rsh, d, amount), x(ALU.xor, t, d)]
    case 8: return [x(ALU.mov, d, s), k(ALU.lsh, d, 32 & (bits - 1)), k(ALU.rsh, d, 32 & (bits - 1))]
    case 9:
      return [
        Instruction(opcode: Class.ldx | Mode.mem | code, dst: d, src: 10, offset: place), x(ALU.add, t, d),
        Instruction(opcode: Class.ldx | Mode.mem | code, dst: s, src: 10, offset: place), x(ALU.xor, t, s),
        x(ALU.mul, t, 7),
      ]
    case 10:
      return [
        Instruction(opcode: Class.ldx | Mode.mem | code, dst: d, src: 10, offset: place),
        Instruction(opcode: Class.stx | Mode.mem | other, dst: 10, src: d, offset: -24),
      ]
    case 11:
      return [
        Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: d, src: 10),
        Instruction(opcode: Class.alu64 | ALU.add, dst: d, immediate: -32),
        Instruction(opcode: Class.ldx | Mode.mem | code, dst: t == d ? 0 : t, src: d, offset: 8),
        Instruction(opcode: Class.alu64 | ALU.mov, dst: d, immediate: 3),
      ]
    case 12:
      // An index that is known to be small, into the stack.
      return [
        Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: 8, src: 10),
        Instruction(opcode: Class.alu64 | ALU.add, dst: 8, immediate: -32),
        Instruction(opcode: Class.alu64 | ALU.and, dst: d, immediate: 15),
        Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 8, src: d),
        Instruction(opcode: Class.ldx | Mode.mem | Size.b, dst: t, src: 8, offset: 3),
        Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: s, src: t),
      ]
    default:
      // Over one instruction or two.
      return [
        Instruction(opcode: Class.jmp | Jump.jgt | Source.x, dst: d, src: s, offset: 2), x(operation, t, s),
        k(ALU.add, t, 1), Instruction(opcode: Class.jmp | Jump.jeq, dst: d, offset: 1, immediate: 1),
        Instruction(opcode: Opcode.ja, offset: 1), x(ALU.xor, s, t),
      ]
    }
  }

  private func program(seed: Int) -> [Instruction] {
    var generator = Generator(state: UInt64(seed) &* 0x9e37_79b9 &+ 12345)
    let load = Class.ldx | Mode.mem | Size.dw
    var all = [
      Instruction(opcode: load, dst: 0, src: 1), Instruction(opcode: load, dst: 2, src: 1, offset: 8),
      Instruction(opcode: load, dst: 3, src: 1, offset: 16), Instruction(opcode: load, dst: 4, src: 1, offset: 24),
      Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: 5, src: 0),
      Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: 7, src: 2),
      Instruction(opcode: Class.alu64 | ALU.mov, dst: 6, immediate: 0),
    ]
    for slot in 1...4 {
      all.append(Instruction(opcode: Class.stx | Mode.mem | Size.dw, dst: 10, src: 3, offset: Int16(-8 * slot)))
    }
    let start = all.count
    for _ in 0..<(3 + generator.below(8)) { all += instruction(&generator) }
    // A few rounds.
    all.append(Instruction(opcode: Class.alu64 | ALU.add, dst: 6, immediate: 1))
    let distance = Int16(start - all.count - 1)
    all.append(Instruction(opcode: Class.jmp | Jump.jne, dst: 6, offset: distance, immediate: 3))
    for register in [2, 3, 4, 5, 7] as [UInt8] {
      all.append(Instruction(opcode: Class.alu64 | ALU.mul, dst: 0, immediate: 31))
      all.append(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 0, src: register))
    }
    for slot in 1...4 {
      all.append(Instruction(opcode: load, dst: 2, src: 10, offset: Int16(-8 * slot)))
      all.append(Instruction(opcode: Class.alu64 | ALU.xor | Source.x, dst: 0, src: 2))
    }
    all.append(Instruction(opcode: Opcode.exit))
    return all
  }

  @Test(arguments: 0..<8)
  func random(_ part: Int) throws {
    let fixture = ProgramFixture()
    var proved = 0
    for index in 0..<150 {
      let seed = part * 1000 + index
      guard let linked = try fixture.accepted(program(seed: seed)) else { continue }
      proved += 1
      for arguments: [UInt64] in [
        [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x1111_2222_8888_ffff, UInt64(seed)], [0, .max, 1, 1 << 63],
      ] {
        _ = try fixture.run(linked, arguments)
      }
    }
    #expect(proved > 75, "\(proved)")
  }

  /// What the optimisation is for.
  @Test func steps() throws {
    let fixture = ProgramFixture()
    func count(_ text: String) throws -> Int { try Interpreter(fixture.linked(text)).stepCount }
    #expect(try count("r2 = r1\nr2 += 8\nr0 = 0\nexit") == 4)
    #expect(try count("r2 = 5\nr2 += 8\nr0 = 0\nexit") == 4)
    #expect(try count("r0 = 0\nagain: r0 += 1\nif r0 != 10 goto again\nexit") == 4)
    #expect(try count("r0 = 0\nagain: r0 += 1\nif r0 == 10 goto out\ngoto again\nout: exit") == 4)
    #expect(try count("r0 = *(u8 *)(r1 + 0)\n*(u8 *)(r10 - 1) = r0\nexit") == 3)
  }
}
