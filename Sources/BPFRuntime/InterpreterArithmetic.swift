import CBPFRuntime

extension InterpreterHandlers {
  /// Arithmetic, of 64 bits and of 32.
  static func arithmetic(_ operation: InterpreterOperation) -> skep_step_handler? {
    switch operation {
    case .moveK:
      { pc, r, run in
        r[pc.a] = pc.immediate
        return next(pc + 1, r, run)
      }
    case .moveX:
      { pc, r, run in
        r[pc.a] = r[pc.b]
        return next(pc + 1, r, run)
      }
    case .negate:
      { pc, r, run in
        r[pc.a] = 0 &- r[pc.a]
        return next(pc + 1, r, run)
      }
    case .addK:
      { pc, r, run in
        r[pc.a] = r[pc.a] &+ pc.immediate
        return next(pc + 1, r, run)
      }
    case .addX:
      { pc, r, run in
        r[pc.a] = r[pc.a] &+ r[pc.b]
        return next(pc + 1, r, run)
      }
    case .subtractX:
      { pc, r, run in
        r[pc.a] = r[pc.a] &- r[pc.b]
        return next(pc + 1, r, run)
      }
    case .multiplyK:
      { pc, r, run in
        r[pc.a] = r[pc.a] &* pc.immediate
        return next(pc + 1, r, run)
      }
    case .multiplyX:
      { pc, r, run in
        r[pc.a] = r[pc.a] &* r[pc.b]
        return next(pc + 1, r, run)
      }
    case .orK:
      { pc, r, run in
        r[pc.a] = r[pc.a] | pc.immediate
        return next(pc + 1, r, run)
      }
    case .orX:
      { pc, r, run in
        r[pc.a] = r[pc.a] | r[pc.b]
        return next(pc + 1, r, run)
      }
    case .andK:
      { pc, r, run in
        r[pc.a] = r[pc.a] & pc.immediate
        return next(pc + 1, r, run)
      }
    case .andX:
      { pc, r, run in
        r[pc.a] = r[pc.a] & r[pc.b]
        return next(pc + 1, r, run)
      }
    case .xorK:
      { pc, r, run in
        r[pc.a] = r[pc.a] ^ pc.immediate
        return next(pc + 1, r, run)
      }
    case .xorX:
      { pc, r, run in
        r[pc.a] = r[pc.a] ^ r[pc.b]
        return next(pc + 1, r, run)
      }
    case .shiftLeftK:
      { pc, r, run in
        r[pc.a] = r[pc.a] &<< pc.immediate
        return next(pc + 1, r, run)
      }
    case .shiftLeftX:
      { pc, r, run in
        r[pc.a] = r[pc.a] &<< r[pc.b]
        return next(pc + 1, r, run)
      }
    case .shiftRightK:
      { pc, r, run in
        r[pc.a] = r[pc.a] &>> pc.immediate
        return next(pc + 1, r, run)
      }
    case .shiftRightX:
      { pc, r, run in
        r[pc.a] = r[pc.a] &>> r[pc.b]
        return next(pc + 1, r, run)
      }
    case .shiftArithmeticK:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: asSigned(r[pc.a]) &>> asSigned(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .shiftArithmeticX:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: asSigned(r[pc.a]) &>> asSigned(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .divideK:
      { pc, r, run in
        r[pc.a] = quotient(r[pc.a], pc.immediate)
        return next(pc + 1, r, run)
      }
    case .divideX:
      { pc, r, run in
        r[pc.a] = quotient(r[pc.a], r[pc.b])
        return next(pc + 1, r, run)
      }
    case .moduloK:
      { pc, r, run in
        r[pc.a] = remainder(r[pc.a], pc.immediate)
        return next(pc + 1, r, run)
      }
    case .moduloX:
      { pc, r, run in
        r[pc.a] = remainder(r[pc.a], r[pc.b])
        return next(pc + 1, r, run)
      }
    case .signedDivideK:
      { pc, r, run in
        r[pc.a] = signedQuotient(r[pc.a], pc.immediate)
        return next(pc + 1, r, run)
      }
    case .signedDivideX:
      { pc, r, run in
        r[pc.a] = signedQuotient(r[pc.a], r[pc.b])
        return next(pc + 1, r, run)
      }
    case .signedModuloK:
      { pc, r, run in
        r[pc.a] = signedRemainder(r[pc.a], pc.immediate)
        return next(pc + 1, r, run)
      }
    case .signedModuloX:
      { pc, r, run in
        r[pc.a] = signedRemainder(r[pc.a], r[pc.b])
        return next(pc + 1, r, run)
      }
    case .add32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &+ lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .add32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &+ lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .subtract32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &- lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .multiply32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &* lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .multiply32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &* lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .or32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) | lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .or32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) | lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .and32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) & lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .and32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) & lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .xor32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) ^ lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .xor32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) ^ lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .shiftLeft32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &<< lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .shiftLeft32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &<< lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .shiftRight32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &>> lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .shiftRight32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &>> lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .shiftArithmetic32K:
      { pc, r, run in
        r[pc.a] = UInt64(UInt32(bitPattern: asSigned(lowHalf(r[pc.a])) &>> asSigned(lowHalf(pc.immediate))))
        return next(pc + 1, r, run)
      }
    case .shiftArithmetic32X:
      { pc, r, run in
        r[pc.a] = UInt64(UInt32(bitPattern: asSigned(lowHalf(r[pc.a])) &>> asSigned(lowHalf(r[pc.b]))))
        return next(pc + 1, r, run)
      }
    case .divide32K:
      { pc, r, run in
        r[pc.a] = UInt64(quotient(lowHalf(r[pc.a]), lowHalf(pc.immediate)))
        return next(pc + 1, r, run)
      }
    case .divide32X:
      { pc, r, run in
        r[pc.a] = UInt64(quotient(lowHalf(r[pc.a]), lowHalf(r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .modulo32K:
      { pc, r, run in
        r[pc.a] = UInt64(remainder(lowHalf(r[pc.a]), lowHalf(pc.immediate)))
        return next(pc + 1, r, run)
      }
    case .modulo32X:
      { pc, r, run in
        r[pc.a] = UInt64(remainder(lowHalf(r[pc.a]), lowHalf(r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .signedDivide32K:
      { pc, r, run in
        r[pc.a] = UInt64(signedQuotient(lowHalf(r[pc.a]), lowHalf(pc.immediate)))
        return next(pc + 1, r, run)
      }
    case .signedDivide32X:
      { pc, r, run in
        r[pc.a] = UInt64(signedQuotient(lowHalf(r[pc.a]), lowHalf(r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .signedModulo32K:
      { pc, r, run in
        r[pc.a] = UInt64(signedRemainder(lowHalf(r[pc.a]), lowHalf(pc.immediate)))
        return next(pc + 1, r, run)
      }
    case .signedModulo32X:
      { pc, r, run in
        r[pc.a] = UInt64(signedRemainder(lowHalf(r[pc.a]), lowHalf(r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .move32X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]))
        return next(pc + 1, r, run)
      }
    case .negate32:
      { pc, r, run in
        r[pc.a] = UInt64(0 &- lowHalf(r[pc.a]))
        return next(pc + 1, r, run)
      }
    case .extend8:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .extend16:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .extend32:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: r[pc.b])))
        return next(pc + 1, r, run)
      }
    case .extend8To32:
      { pc, r, run in
        r[pc.a] = UInt64(UInt32(bitPattern: Int32(Int8(truncatingIfNeeded: r[pc.b]))))
        return next(pc + 1, r, run)
      }
    case .extend16To32:
      { pc, r, run in
        r[pc.a] = UInt64(UInt32(bitPattern: Int32(Int16(truncatingIfNeeded: r[pc.b]))))
        return next(pc + 1, r, run)
      }
    case .truncate16:
      { pc, r, run in
        r[pc.a] = r[pc.a] & 0xffff
        return next(pc + 1, r, run)
      }
    case .swap16:
      { pc, r, run in
        r[pc.a] = UInt64(UInt16(truncatingIfNeeded: r[pc.a]).byteSwapped)
        return next(pc + 1, r, run)
      }
    case .swap32:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]).byteSwapped)
        return next(pc + 1, r, run)
      }
    case .swap64:
      { pc, r, run in
        r[pc.a] = r[pc.a].byteSwapped
        return next(pc + 1, r, run)
      }
    default: nil
    }
  }
}
