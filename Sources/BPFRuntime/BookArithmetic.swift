import BPFISA

/// Arithmetic and comparisons as RFC 9669 words them: what the engines are held against.
enum BookArithmetic {
  /// `left` is the destination's value. Nil where there is no such instruction.
  static func result(_ insn: Instruction, _ left: UInt64, _ right: UInt64) -> UInt64? {
    if insn.operation == ALU.end { return swapped(insn, left) }
    guard insn.instructionClass == Class.alu64 else {
      return narrow(insn, UInt32(truncatingIfNeeded: left), UInt32(truncatingIfNeeded: right)).map(UInt64.init)
    }
    let signedLeft = Int64(bitPattern: left)
    let signedRight = Int64(bitPattern: right)
    let isSigned = insn.offset == 1
    switch insn.operation {
    case ALU.add: return left &+ right
    case ALU.sub: return left &- right
    case ALU.mul: return left &* right
    case ALU.div where right == 0: return 0
    case ALU.mod where right == 0: return left
    case ALU.div where !isSigned: return left / right
    case ALU.mod where !isSigned: return left % right
    case ALU.div: return signedRight == -1 ? 0 &- left : UInt64(bitPattern: signedLeft / signedRight)
    case ALU.mod: return signedRight == -1 ? 0 : UInt64(bitPattern: signedLeft % signedRight)
    case ALU.or: return left | right
    case ALU.and: return left & right
    case ALU.xor: return left ^ right
    case ALU.lsh: return left << (right & 63)
    case ALU.rsh: return left >> (right & 63)
    case ALU.arsh: return UInt64(bitPattern: signedLeft >> Int64(right & 63))
    case ALU.neg: return 0 &- left
    case ALU.mov:
      switch insn.offset {
      case 8: return UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: right)))
      case 16: return UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: right)))
      case 32: return UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: right)))
      default: return right
      }
    default: return nil
    }
  }

  private static func narrow(_ insn: Instruction, _ left: UInt32, _ right: UInt32) -> UInt32? {
    let signedLeft = Int32(bitPattern: left)
    let signedRight = Int32(bitPattern: right)
    let isSigned = insn.offset == 1
    switch insn.operation {
    case ALU.add: return left &+ right
    case ALU.sub: return left &- right
    case ALU.mul: return left &* right
    case ALU.div where right == 0: return 0
    case ALU.mod where right == 0: return left
    case ALU.div where !isSigned: return left / right
    case ALU.mod where !isSigned: return left % right
    case ALU.div: return signedRight == -1 ? 0 &- left : UInt32(bitPattern: signedLeft / signedRight)
    case ALU.mod: return signedRight == -1 ? 0 : UInt32(bitPattern: signedLeft % signedRight)
    case ALU.or: return left | right
    case ALU.and: return left & right
    case ALU.xor: return left ^ right
    case ALU.lsh: return left << (right & 31)
    case ALU.rsh: return left >> (right & 31)
    case ALU.arsh: return UInt32(bitPattern: signedLeft >> Int32(right & 31))
    case ALU.neg: return 0 &- left
    case ALU.mov:
      switch insn.offset {
      case 8: return UInt32(bitPattern: Int32(Int8(truncatingIfNeeded: right)))
      case 16: return UInt32(bitPattern: Int32(Int16(truncatingIfNeeded: right)))
      default: return right
      }
    default: return nil
    }
  }

  /// `le`, `be` and `bswap`; machines that run programs here are little-endian.
  private static func swapped(_ insn: Instruction, _ value: UInt64) -> UInt64? {
    let swaps = insn.instructionClass == Class.alu64 || insn.operandSource == Source.x
    switch insn.immediate {
    case 16:
      let half = UInt16(truncatingIfNeeded: value)
      return UInt64(swaps ? half.byteSwapped : half)
    case 32:
      let word = UInt32(truncatingIfNeeded: value)
      return UInt64(swaps ? word.byteSwapped : word)
    case 64: return swaps ? value.byteSwapped : value
    default: return nil
    }
  }

  /// Whether a conditional jump is taken.
  static func holds(_ insn: Instruction, _ left: UInt64, _ right: UInt64) -> Bool? {
    let isNarrow = insn.instructionClass == Class.jmp32
    let a = isNarrow ? left & 0xffff_ffff : left
    let b = isNarrow ? right & 0xffff_ffff : right
    let signedA = isNarrow ? Int64(Int32(truncatingIfNeeded: left)) : Int64(bitPattern: left)
    let signedB = isNarrow ? Int64(Int32(truncatingIfNeeded: right)) : Int64(bitPattern: right)
    switch insn.operation {
    case Jump.jeq: return a == b
    case Jump.jne: return a != b
    case Jump.jset: return a & b != 0
    case Jump.jgt: return a > b
    case Jump.jge: return a >= b
    case Jump.jlt: return a < b
    case Jump.jle: return a <= b
    case Jump.jsgt: return signedA > signedB
    case Jump.jsge: return signedA >= signedB
    case Jump.jslt: return signedA < signedB
    case Jump.jsle: return signedA <= signedB
    default: return nil
    }
  }
}
