import BPFISA
import BPFLinux
import GoldenCases

@testable import BPFVerifier

extension Tnum {
  /// Whether `value` is one of those that the tracked number stands for.
  func admits(_ value: UInt64) -> Bool { value & ~mask == self.value }

  /// Every value it stands for, in order.
  var values: [UInt64] {
    var all: [UInt64] = []
    var unknown: UInt64 = 0
    repeat {
      all.append(value | unknown)
      unknown = (unknown &- mask) & mask
    } while unknown != 0
    return all
  }

  /// All tracked numbers of `width` bits from bit `shift` up; the other bits are those of `rest`.
  static func all(width: Int, shift: Int, rest: UInt64 = 0) -> [Tnum] {
    let window = ((1 as UInt64) << UInt64(width) - 1) << UInt64(shift)
    var found: [Tnum] = []
    for mask in 0..<(1 << width) {
      for value in 0..<(1 << width) where value & mask == 0 {
        found.append(
          Tnum(value: UInt64(value) << UInt64(shift) | rest & ~window, mask: UInt64(mask) << UInt64(shift)))
      }
    }
    return found
  }
}

extension RegisterState {
  /// Whether a number (or a variable offset) may be `value`.
  func admits(_ value: UInt64) -> Bool {
    let low = UInt32(truncatingIfNeeded: value)
    return bits.admits(value) && umin <= value && value <= umax && smin <= Int64(bitPattern: value)
      && Int64(bitPattern: value) <= smax && u32min <= low && low <= u32max && s32min <= Int32(bitPattern: low)
      && Int32(bitPattern: low) <= s32max
  }

  static var unknownScalar: RegisterState {
    var r = RegisterState()
    r.markUnknownImprecise()
    return r
  }

  /// What the domain can tell of `values` at best, in the parts that `parts` names (bit 0 known bits, 1 unsigned,
  /// 2 signed, 3 unsigned 32 bits, 4 signed 32 bits); nothing is told in the others.
  init(hullOf values: [UInt64], parts: Int = 31) {
    self = .unknownScalar
    let first = values[0]
    if parts & 1 != 0 { bits = values.reduce(Tnum(constant: first)) { $0.union(Tnum(constant: $1)) } }
    if parts & 2 != 0 { (umin, umax) = (values.min() ?? 0, values.max() ?? 0) }
    if parts & 4 != 0 {
      let signed = values.map { Int64(bitPattern: $0) }
      (smin, smax) = (signed.min() ?? 0, signed.max() ?? 0)
    }
    let low = values.map { UInt32(truncatingIfNeeded: $0) }
    if parts & 8 != 0 { (u32min, u32max) = (low.min() ?? 0, low.max() ?? 0) }
    if parts & 16 != 0 {
      let signed = low.map { Int32(bitPattern: $0) }
      (s32min, s32max) = (signed.min() ?? 0, signed.max() ?? 0)
    }
  }

  var summary: String {
    "bits=(0x\(String(bits.value, radix: 16)), 0x\(String(bits.mask, radix: 16))) u64=[\(umin), \(umax)] "
      + "s64=[\(smin), \(smax)] u32=[\(u32min), \(u32max)] s32=[\(s32min), \(s32max)]"
  }
}

/// An abstract number, and some (or all) of the numbers that it stands for.
struct Sample {
  var register: RegisterState
  var values: [UInt64]

  init(_ values: [UInt64], parts: Int = 31) {
    self.values = values
    register = RegisterState(hullOf: values, parts: parts)
    register.sync()
  }

  /// Where eight consecutive values lie: around each place where a sign or a width changes, and spread over the bits.
  static let places: [@Sendable (Int) -> UInt64] = [
    { UInt64(bitPattern: Int64($0 - 4)) },
    { 1 << 31 &+ UInt64(bitPattern: Int64($0 - 4)) },
    { 1 << 32 &+ UInt64(bitPattern: Int64($0 - 4)) },
    { 1 << 63 &+ UInt64(bitPattern: Int64($0 - 4)) },
    { (0xffff_ffff_8000_0000 as UInt64) &+ UInt64(bitPattern: Int64($0 - 4)) },
    { UInt64($0) << 30 },
    { UInt64($0) << 61 },
  ]

  /// All ranges of `count` values at a place.
  static func ranges(at place: Int, count: Int) -> [Sample] {
    var found: [Sample] = []
    for low in 0..<count {
      for high in low..<count { found.append(Sample((low...high).map { places[place]($0 + 4 - count / 2) })) }
    }
    return found
  }

  /// Up to six related values, of which some of the domain's parts are told.
  static func random(_ random: inout RandomNumbers) -> Sample {
    let base = random.interesting()
    var values = [base]
    for _ in 0..<random.below(6) {
      switch random.below(5) {
      case 0: values.append(random.interesting())
      case 1: values.append(base &+ random.next() >> UInt64(random.below(64)))
      case 2: values.append(base ^ (1 << UInt64(random.below(64))))
      case 3: values.append(base & ~0xffff_ffff | random.interesting() & 0xffff_ffff)
      default: values.append(base &+ UInt64(bitPattern: Int64(random.below(33) - 16)))
      }
    }
    return Sample(values, parts: random.chance(1, in: 2) ? 31 : 1 + random.below(31))
  }
}

/// A verification that stands before an instruction, to apply single ones.
final class Bench {
  let verification: Verification

  init() {
    let program = Program(
      name: "bench", type: .socketFilter,
      instructions: [
        Instruction(opcode: Class.alu64 | ALU.mov), Instruction(opcode: Opcode.exit),
      ])
    verification = Verification(program, on: .golden, options: VerifierOptions())
    let frame = verification.pool.makeFrame()
    verification.initializeFrame(frame, callSite: -1, number: 0, subprogram: 0)
    verification.state.framesBase[0] = frame
    verification.state.pointee.branches = 1
  }

  /// What r1 may be after the ALU instruction: one state, or two where the verifier looks at two cases.
  func apply(_ insn: Instruction, _ dst: RegisterState, _ src: RegisterState) throws -> [RegisterState] {
    var results: [RegisterState] = []
    verification.register(1).pointee = dst
    verification.register(2).pointee = src
    try verification.checkALU(insn)
    results.append(verification.register(1).pointee)
    while let path = verification.worklist.popLast() {
      let registers = path.state.current.pointee.registers
      verification.register(1).pointee = registers[1]
      verification.register(2).pointee = registers[2]
      verification.pool.freeState(path.state)
      try verification.checkALU(insn)
      results.append(verification.register(1).pointee)
    }
    return results
  }
}
