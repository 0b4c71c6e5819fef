import BPFISA
import Testing

@testable import BPFVerifier

/// What the verifier knows of a result, against the results of all the operands' values.
@Suite struct ArithmeticSoundnessTests {
  static let binary: [UInt8] = [ALU.add, ALU.sub, ALU.mul, ALU.and, ALU.or, ALU.xor]
  static let shifts: [UInt8] = [ALU.lsh, ALU.rsh, ALU.arsh]

  /// nil where every result of the values is in what the verifier says of it.
  private func check(_ bench: Bench, _ insn: Instruction, _ a: Sample, _ b: Sample) throws -> Bool {
    let results = try bench.apply(insn, a.register, b.register)
    let isImmediate = insn.operandSource == Source.k && insn.operation != ALU.end
    let immediate = [UInt64(bitPattern: Int64(insn.immediate))]
    for x in a.values {
      for y in isImmediate ? immediate : b.values {
        let operand = insn.operation == ALU.mov ? x : y
        let value = ConcreteArithmetic.result(insn, x, operand)
        if !results.contains(where: { $0.admits(value) }) {
          Issue.record(
            """
            0x\(String(insn.opcode, radix: 16)) off=\(insn.offset) imm=\(insn.immediate) of \(x) and \(y) is \(value)
              first:  \(a.register.summary)
              second: \(b.register.summary)
              result: \(results.map(\.summary))
            """)
          return false
        }
      }
    }
    return true
  }

  private func register(_ kind: UInt8, _ operation: UInt8) -> Instruction {
    Instruction(opcode: kind | operation | Source.x, dst: 1, src: 2)
  }

  @Test(arguments: Sample.places.indices)
  func allRanges(_ place: Int) throws {
    let bench = Bench()
    let first = Sample.ranges(at: place, count: 8)
    for other in Sample.places.indices {
      let second = Sample.ranges(at: other, count: 4)
      for kind in [Class.alu64, Class.alu] {
        for operation in Self.binary {
          let insn = register(kind, operation)
          for a in first { for b in second { guard try check(bench, insn, a, b) else { return } } }
        }
      }
    }
  }

  @Test func allRangesShifted() throws {
    let bench = Bench()
    for place in Sample.places.indices {
      for a in Sample.ranges(at: place, count: 8) {
        for operation in Self.shifts {
          for amount in [0, 1, 3, 8, 24, 31, 32, 33, 56, 63] {
            for kind in [Class.alu64, Class.alu] where kind == Class.alu64 || amount < 32 {
              let insn = Instruction(opcode: kind | operation, dst: 1, immediate: Int32(amount))
              guard try check(bench, insn, a, a) else { return }
            }
          }
        }
      }
    }
  }

  /// Everything with one operand: moves with and without sign extension, negation, byte order.
  private static let unary: [Instruction] = {
    var all: [Instruction] = []
    for width in [0, 8, 16, 32] as [Int16] {
      all.append(Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: 1, src: 1, offset: width))
      if width < 32 { all.append(Instruction(opcode: Class.alu | ALU.mov | Source.x, dst: 1, src: 1, offset: width)) }
    }
    all.append(Instruction(opcode: Class.alu64 | ALU.neg, dst: 1))
    all.append(Instruction(opcode: Class.alu | ALU.neg, dst: 1))
    for width in [16, 32, 64] as [Int32] {
      for opcode in [Class.alu | ALU.end, Class.alu | ALU.end | Source.x, Class.alu64 | ALU.end] {
        all.append(Instruction(opcode: opcode, dst: 1, immediate: width))
      }
    }
    return all
  }()

  @Test func allRangesOfOneOperand() throws {
    let bench = Bench()
    for place in Sample.places.indices {
      for a in Sample.ranges(at: place, count: 8) {
        for insn in Self.unary { guard try check(bench, insn, a, a) else { return } }
      }
    }
  }

  @Test func randomOperands() throws {
    let bench = Bench()
    var random = RandomNumbers(seed: 5)
    for _ in 0..<Effort.rounds(12_000) {
      let a = Sample.random(&random)
      let b = Sample.random(&random)
      let insn: Instruction
      switch random.below(5) {
      case 0: insn = random.pick(Self.unary)
      case 1:
        let wide = random.chance(1, in: 2)
        insn = Instruction(
          opcode: (wide ? Class.alu64 : Class.alu) | random.pick(Self.shifts), dst: 1,
          immediate: Int32(random.below(wide ? 64 : 32)))
      case 2:
        insn = register(
          random.chance(1, in: 2) ? Class.alu64 : Class.alu, random.pick(Self.shifts + [ALU.div, ALU.mod]))
      case 3:
        insn = Instruction(
          opcode: (random.chance(1, in: 2) ? Class.alu64 : Class.alu) | random.pick(Self.binary), dst: 1,
          immediate: Int32(truncatingIfNeeded: random.interesting()))
      default: insn = register(random.chance(1, in: 2) ? Class.alu64 : Class.alu, random.pick(Self.binary))
      }
      guard try check(bench, insn, a, b) else { return }
    }
  }

  /// Letting bounds inform each other loses no value, and a second time tells hardly more: never less.
  @Test func syncKeepsAllValues() {
    var random = RandomNumbers(seed: 6)
    var changed = 0
    let rounds = Effort.rounds(20_000)
    for _ in 0..<rounds {
      let sample = Sample.random(&random)
      let once = sample.register
      guard sample.values.allSatisfy(once.admits) else {
        Issue.record("\(sample.values) not all in \(once.summary)")
        return
      }
      var twice = once
      twice.sync()
      guard sample.values.allSatisfy(twice.admits) else {
        Issue.record("\(sample.values) not all in \(twice.summary), synced again from \(once.summary)")
        return
      }
      #expect(
        twice.umin >= once.umin && twice.umax <= once.umax && twice.smin >= once.smin && twice.smax <= once.smax
          && twice.u32min >= once.u32min && twice.u32max <= once.u32max && twice.s32min >= once.s32min
          && twice.s32max <= once.s32max && once.bits.contains(twice.bits))
      if twice.summary != once.summary { changed += 1 }
    }
    #expect(changed * 10 < rounds, "\(changed) of \(rounds) synced further")
  }

  @Test func extensionsKeepAllValues() {
    var random = RandomNumbers(seed: 7)
    for _ in 0..<Effort.rounds(8_000) {
      let sample = Sample.random(&random)
      for size in [1, 2, 4] {
        var coerced = sample.register
        coerced.coerce(toSize: size)
        let keep: UInt64 = 1 << UInt64(size * 8) - 1
        for x in sample.values where !coerced.admits(x & keep) {
          Issue.record("\(x) coerced to \(size) not in \(coerced.summary) of \(sample.register.summary)")
        }
      }
      var zero = sample.register
      zero.zeroExtend32()
      zero.sync()
      for x in sample.values where !zero.admits(x & 0xffff_ffff) {
        Issue.record("\(x) zero-extended not in \(zero.summary) of \(sample.register.summary)")
      }
      for size in [1, 2, 4] {
        var signed = sample.register
        signed.signExtend64(fromSize: size)
        for x in sample.values where !signed.admits(ConcreteArithmetic.extended(x, Int16(size * 8))) {
          Issue.record("\(x) sign-extended from \(size) not in \(signed.summary) of \(sample.register.summary)")
        }
      }
    }
  }
}

/// How much is tried: more where `SKEP_SOUNDNESS` in the environment says by what factor.
enum Effort {
  static let factor: Int = environment("SKEP_SOUNDNESS").flatMap { Int($0) } ?? 1
  /// A number that seeds of random programs start from.
  static let seed: UInt64 = environment("SKEP_SOUNDNESS_SEED").flatMap { UInt64($0) } ?? 0
  static func rounds(_ count: Int) -> Int { count * factor }
}
