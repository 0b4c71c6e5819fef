import CBPFRuntime

extension InterpreterHandlers {
  /// What several instructions of BPF come to.
  static func fused(_ operation: InterpreterOperation) -> skep_step_handler? {
    switch operation {
    case .add3K:
      { pc, r, run in
        r[pc.a] = r[pc.b] &+ pc.immediate
        return next(pc + 1, r, run)
      }
    case .add3X:
      { pc, r, run in
        r[pc.a] = r[pc.b] &+ r[pc.c]
        return next(pc + 1, r, run)
      }
    case .subtract3X:
      { pc, r, run in
        r[pc.a] = r[pc.b] &- r[pc.c]
        return next(pc + 1, r, run)
      }
    case .multiply3K:
      { pc, r, run in
        r[pc.a] = r[pc.b] &* pc.immediate
        return next(pc + 1, r, run)
      }
    case .multiply3X:
      { pc, r, run in
        r[pc.a] = r[pc.b] &* r[pc.c]
        return next(pc + 1, r, run)
      }
    case .and3K:
      { pc, r, run in
        r[pc.a] = r[pc.b] & pc.immediate
        return next(pc + 1, r, run)
      }
    case .and3X:
      { pc, r, run in
        r[pc.a] = r[pc.b] & r[pc.c]
        return next(pc + 1, r, run)
      }
    case .or3X:
      { pc, r, run in
        r[pc.a] = r[pc.b] | r[pc.c]
        return next(pc + 1, r, run)
      }
    case .xor3X:
      { pc, r, run in
        r[pc.a] = r[pc.b] ^ r[pc.c]
        return next(pc + 1, r, run)
      }
    case .shiftLeft3K:
      { pc, r, run in
        r[pc.a] = r[pc.b] &<< pc.immediate
        return next(pc + 1, r, run)
      }
    case .shiftRight3K:
      { pc, r, run in
        r[pc.a] = r[pc.b] &>> pc.immediate
        return next(pc + 1, r, run)
      }
    case .shiftArithmetic3K:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: asSigned(r[pc.b]) &>> asSigned(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .add323K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]) &+ lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .add323X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]) &+ lowHalf(r[pc.c]))
        return next(pc + 1, r, run)
      }
    case .and323K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]) & lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .xor323X:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]) ^ lowHalf(r[pc.c]))
        return next(pc + 1, r, run)
      }
    case .shiftLeft323K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]) &<< lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .shiftRight323K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.b]) &>> lowHalf(pc.immediate))
        return next(pc + 1, r, run)
      }
    case .rotate:
      { pc, r, run in
        r[pc.a] = (r[pc.b] &<< pc.immediate) | (r[pc.b] &>> (0 &- pc.immediate))
        return next(pc + 1, r, run)
      }
    case .rotate32:
      { pc, r, run in
        let value = lowHalf(r[pc.b])
        let amount = lowHalf(pc.immediate)
        r[pc.a] = UInt64((value &<< amount) | (value &>> (0 &- amount)))
        return next(pc + 1, r, run)
      }
    case .rotateXorX:
      { pc, r, run in
        r[pc.a] = ((r[pc.b] &<< pc.immediate) | (r[pc.b] &>> (0 &- pc.immediate))) ^ r[pc.c]
        return next(pc + 1, r, run)
      }
    case .multiplyAddX:
      { pc, r, run in
        r[pc.a] = r[pc.a] &* r[pc.b] &+ r[pc.c]
        return next(pc + 1, r, run)
      }
    case .multiplyAdd32K:
      { pc, r, run in
        r[pc.a] = UInt64(lowHalf(r[pc.a]) &* lowHalf(pc.immediate) &+ lowHalf(pc.immediate &>> 32))
        return next(pc + 1, r, run)
      }
    case .addXorX:
      { pc, r, run in
        let sum = r[pc.a] &+ r[pc.b]
        r[pc.a] = sum
        r[pc.c] = r[pc.c] ^ sum
        return next(pc + 1, r, run)
      }
    case .xorAddX:
      { pc, r, run in
        let value = r[pc.a] ^ r[pc.b]
        r[pc.a] = value
        r[pc.c] = r[pc.c] &+ value
        return next(pc + 1, r, run)
      }
    case .shiftRightXorX:
      { pc, r, run in
        let value = r[pc.b] &>> pc.immediate
        r[pc.c] = value
        r[pc.a] = r[pc.a] ^ value
        return next(pc + 1, r, run)
      }
    case .addJumpNotEqualK:
      { pc, r, run in
        let sum = r[pc.a] &+ UInt64(bitPattern: Int64(asSigned(lowHalf(pc.immediate))))
        r[pc.a] = sum
        return sum != UInt64(bitPattern: asSigned(pc.immediate) &>> 32) ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .addJumpNotEqualX:
      { pc, r, run in
        let sum = r[pc.a] &+ pc.immediate
        r[pc.a] = sum
        return sum != r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .addJumpBelowX:
      { pc, r, run in
        let sum = r[pc.a] &+ pc.immediate
        r[pc.a] = sum
        return sum < r[pc.b] ? next(pc.target, r, run) : next(pc + 1, r, run)
      }
    case .load8Indexed:
      { pc, r, run in
        r[pc.a] = UInt64(pc.indexedSource(r).loadUnaligned(as: UInt8.self))
        return next(pc + 1, r, run)
      }
    case .load8Add:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt8.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load8IndexedAdd:
      { pc, r, run in
        let value = UInt64(pc.plainIndexedSource(r).loadUnaligned(as: UInt8.self))
        r[Int(pc.pointee.offset)] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .copy8:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt8.self))
        r[pc.c] = value
        pc.copyDestination(r).storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
        return next(pc + 1, r, run)
      }
    case .load16Indexed:
      { pc, r, run in
        r[pc.a] = UInt64(pc.indexedSource(r).loadUnaligned(as: UInt16.self))
        return next(pc + 1, r, run)
      }
    case .load16Add:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt16.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load16IndexedAdd:
      { pc, r, run in
        let value = UInt64(pc.plainIndexedSource(r).loadUnaligned(as: UInt16.self))
        r[Int(pc.pointee.offset)] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .copy16:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt16.self))
        r[pc.c] = value
        pc.copyDestination(r).storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
        return next(pc + 1, r, run)
      }
    case .load32Indexed:
      { pc, r, run in
        r[pc.a] = UInt64(pc.indexedSource(r).loadUnaligned(as: UInt32.self))
        return next(pc + 1, r, run)
      }
    case .load32Add:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt32.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load32IndexedAdd:
      { pc, r, run in
        let value = UInt64(pc.plainIndexedSource(r).loadUnaligned(as: UInt32.self))
        r[Int(pc.pointee.offset)] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .copy32:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt32.self))
        r[pc.c] = value
        pc.copyDestination(r).storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
        return next(pc + 1, r, run)
      }
    case .load64Indexed:
      { pc, r, run in
        r[pc.a] = pc.indexedSource(r).loadUnaligned(as: UInt64.self)
        return next(pc + 1, r, run)
      }
    case .load64Add:
      { pc, r, run in
        let value = pc.source(r).loadUnaligned(as: UInt64.self)
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load64IndexedAdd:
      { pc, r, run in
        let value = pc.plainIndexedSource(r).loadUnaligned(as: UInt64.self)
        r[Int(pc.pointee.offset)] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .copy64:
      { pc, r, run in
        let value = pc.source(r).loadUnaligned(as: UInt64.self)
        r[pc.c] = value
        pc.copyDestination(r).storeBytes(of: value, as: UInt64.self)
        return next(pc + 1, r, run)
      }
    case .load8Xor:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt8.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] ^ value
        return next(pc + 1, r, run)
      }
    case .load64Xor:
      { pc, r, run in
        let value = pc.source(r).loadUnaligned(as: UInt64.self)
        r[pc.c] = value
        r[pc.a] = r[pc.a] ^ value
        return next(pc + 1, r, run)
      }
    case .load8XorMultiplyX:
      { pc, r, run in
        let value = UInt64(pc.source(r).loadUnaligned(as: UInt8.self))
        r[pc.c] = value
        r[pc.a] = (r[pc.a] ^ value) &* r[Int(truncatingIfNeeded: pc.immediate)]
        return next(pc + 1, r, run)
      }
    case .load8Displaced:
      { pc, r, run in
        r[pc.a] = UInt64(pc.displacedSource(r).loadUnaligned(as: UInt8.self))
        return next(pc + 1, r, run)
      }
    case .load8DisplacedAdd:
      { pc, r, run in
        let value = UInt64(pc.displacedSource(r).loadUnaligned(as: UInt8.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load16Displaced:
      { pc, r, run in
        r[pc.a] = UInt64(pc.displacedSource(r).loadUnaligned(as: UInt16.self))
        return next(pc + 1, r, run)
      }
    case .load16DisplacedAdd:
      { pc, r, run in
        let value = UInt64(pc.displacedSource(r).loadUnaligned(as: UInt16.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load32Displaced:
      { pc, r, run in
        r[pc.a] = UInt64(pc.displacedSource(r).loadUnaligned(as: UInt32.self))
        return next(pc + 1, r, run)
      }
    case .load32DisplacedAdd:
      { pc, r, run in
        let value = UInt64(pc.displacedSource(r).loadUnaligned(as: UInt32.self))
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .load64Displaced:
      { pc, r, run in
        r[pc.a] = pc.displacedSource(r).loadUnaligned(as: UInt64.self)
        return next(pc + 1, r, run)
      }
    case .load64DisplacedAdd:
      { pc, r, run in
        let value = pc.displacedSource(r).loadUnaligned(as: UInt64.self)
        r[pc.c] = value
        r[pc.a] = r[pc.a] &+ value
        return next(pc + 1, r, run)
      }
    case .store8KDisplaced:
      { pc, r, run in
        writablePlace(r[pc.a] &+ pc.immediate).storeBytes(of: pc.pointee.b, as: UInt8.self)
        return next(pc + 1, r, run)
      }
    case .store8KIndexed:
      { pc, r, run in
        writablePlace(r[pc.a] &+ r[pc.b] &+ UInt64(bitPattern: Int64(pc.pointee.offset)))
          .storeBytes(of: UInt8(truncatingIfNeeded: pc.immediate), as: UInt8.self)
        return next(pc + 1, r, run)
      }
    default: nil
    }
  }
}
