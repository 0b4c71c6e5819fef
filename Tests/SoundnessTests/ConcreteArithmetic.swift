import BPFISA

/// What instructions compute, as RFC 9669 says; written apart from the verifier.
enum ConcreteArithmetic {
  /// The value of `dst` after an ALU instruction whose second operand is `src`.
  static func result(_ insn: Instruction, _ dst: UInt64, _ src: UInt64) -> UInt64 {
    if insn.operation == ALU.end { return byteOrder(insn, dst) }
    if insn.instructionClass == Class.alu64 { return wide(insn, dst, src) }
    return UInt64(narrow(insn, UInt32(truncatingIfNeeded: dst), UInt32(truncatingIfNeeded: src)))
  }

  private static func wide(_ insn: Instruction, _ a: UInt64, _ b: UInt64) -> UInt64 {
    let signed = insn.offset == 1
    let (x, y) = (Int64(bitPattern: a), Int64(bitPattern: b))
    switch insn.operation {
    case ALU.add: return a &+ b
    case ALU.sub: return a &- b
    case ALU.mul: return a &* b
    case ALU.div:
      if b == 0 { return 0 }
      return signed ? UInt64(bitPattern: x.dividedReportingOverflow(by: y).partialValue) : a / b
    case ALU.mod:
      if b == 0 { return a }
      return signed ? UInt64(bitPattern: x.remainderReportingOverflow(dividingBy: y).partialValue) : a % b
    case ALU.or: return a | b
    case ALU.and: return a & b
    case ALU.xor: return a ^ b
    case ALU.lsh: return a << (b & 63)
    case ALU.rsh: return a >> (b & 63)
    case ALU.arsh: return UInt64(bitPattern: x >> Int64(b & 63))
    case ALU.neg: return 0 &- a
    default: return extended(b, insn.offset)
    }
  }

  private static func narrow(_ insn: Instruction, _ a: UInt32, _ b: UInt32) -> UInt32 {
    let signed = insn.offset == 1
    let (x, y) = (Int32(bitPattern: a), Int32(bitPattern: b))
    switch insn.operation {
    case ALU.add: return a &+ b
    case ALU.sub: return a &- b
    case ALU.mul: return a &* b
    case ALU.div:
      if b == 0 { return 0 }
      return signed ? UInt32(bitPattern: x.dividedReportingOverflow(by: y).partialValue) : a / b
    case ALU.mod:
      if b == 0 { return a }
      return signed ? UInt32(bitPattern: x.remainderReportingOverflow(dividingBy: y).partialValue) : a % b
    case ALU.or: return a | b
    case ALU.and: return a & b
    case ALU.xor: return a ^ b
    case ALU.lsh: return a << (b & 31)
    case ALU.rsh: return a >> (b & 31)
    case ALU.arsh: return UInt32(bitPattern: x >> Int32(b & 31))
    case ALU.neg: return 0 &- a
    default: return UInt32(truncatingIfNeeded: extended(UInt64(b), insn.offset))
    }
  }

  /// `movsx`: the low bits, sign-extended; everything where `width` is 0.
  static func extended(_ value: UInt64, _ width: Int16) -> UInt64 {
    switch width {
    case 8: UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: value)))
    case 16: UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: value)))
    case 32: UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value)))
    default: value
    }
  }

  private static func byteOrder(_ insn: Instruction, _ value: UInt64) -> UInt64 {
    let swaps = insn.instructionClass == Class.alu64 || insn.operandSource == Source.x
    switch insn.immediate {
    case 16:
      let low = UInt16(truncatingIfNeeded: value)
      return UInt64(swaps ? low.byteSwapped : low)
    case 32:
      let low = UInt32(truncatingIfNeeded: value)
      return UInt64(swaps ? low.byteSwapped : low)
    default: return swaps ? value.byteSwapped : value
    }
  }

  /// Whether `a operation b`.
  static func holds(_ operation: UInt8, _ a: UInt64, _ b: UInt64, narrow: Bool) -> Bool {
    if narrow {
      let (x, y) = (UInt32(truncatingIfNeeded: a), UInt32(truncatingIfNeeded: b))
      return compare(operation, x, y, Int32(bitPattern: x), Int32(bitPattern: y), x & y != 0)
    }
    return compare(operation, a, b, Int64(bitPattern: a), Int64(bitPattern: b), a & b != 0)
  }

  private static func compare<U: Comparable, S: Comparable>(
    _ operation: UInt8, _ a: U, _ b: U, _ x: S, _ y: S, _ common: Bool
  ) -> Bool {
    switch operation {
    case Jump.jeq: a == b
    case Jump.jne: a != b
    case Jump.jgt: a > b
    case Jump.jge: a >= b
    case Jump.jlt: a < b
    case Jump.jle: a <= b
    case Jump.jsgt: x > y
    case Jump.jsge: x >= y
    case Jump.jslt: x < y
    case Jump.jsle: x <= y
    default: common
    }
  }
}
