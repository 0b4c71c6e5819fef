import CBPFRuntime

extension InterpreterHandlers {
  /// Loads, stores and atomic operations.
  static func memory(_ operation: InterpreterOperation) -> skep_step_handler? {
    switch operation {
    case .load8:
      { pc, r, run in
        r[pc.a] = UInt64(pc.source(r).loadUnaligned(as: UInt8.self))
        return next(pc + 1, r, run)
      }
    case .load16:
      { pc, r, run in
        r[pc.a] = UInt64(pc.source(r).loadUnaligned(as: UInt16.self))
        return next(pc + 1, r, run)
      }
    case .load32:
      { pc, r, run in
        r[pc.a] = UInt64(pc.source(r).loadUnaligned(as: UInt32.self))
        return next(pc + 1, r, run)
      }
    case .load64:
      { pc, r, run in
        r[pc.a] = pc.source(r).loadUnaligned(as: UInt64.self)
        return next(pc + 1, r, run)
      }
    case .loadSigned8:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: Int64(pc.source(r).loadUnaligned(as: Int8.self)))
        return next(pc + 1, r, run)
      }
    case .loadSigned16:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: Int64(pc.source(r).loadUnaligned(as: Int16.self)))
        return next(pc + 1, r, run)
      }
    case .loadSigned32:
      { pc, r, run in
        r[pc.a] = UInt64(bitPattern: Int64(pc.source(r).loadUnaligned(as: Int32.self)))
        return next(pc + 1, r, run)
      }
    case .store8X:
      { pc, r, run in
        pc.destination(r).storeBytes(of: UInt8(truncatingIfNeeded: r[pc.b]), as: UInt8.self)
        return next(pc + 1, r, run)
      }
    case .store8K:
      { pc, r, run in
        pc.destination(r).storeBytes(of: UInt8(truncatingIfNeeded: pc.immediate), as: UInt8.self)
        return next(pc + 1, r, run)
      }
    case .store16X:
      { pc, r, run in
        pc.destination(r).storeBytes(of: UInt16(truncatingIfNeeded: r[pc.b]), as: UInt16.self)
        return next(pc + 1, r, run)
      }
    case .store16K:
      { pc, r, run in
        pc.destination(r).storeBytes(of: UInt16(truncatingIfNeeded: pc.immediate), as: UInt16.self)
        return next(pc + 1, r, run)
      }
    case .store32X:
      { pc, r, run in
        pc.destination(r).storeBytes(of: UInt32(truncatingIfNeeded: r[pc.b]), as: UInt32.self)
        return next(pc + 1, r, run)
      }
    case .store32K:
      { pc, r, run in
        pc.destination(r).storeBytes(of: UInt32(truncatingIfNeeded: pc.immediate), as: UInt32.self)
        return next(pc + 1, r, run)
      }
    case .store64X:
      { pc, r, run in
        pc.destination(r).storeBytes(of: r[pc.b], as: UInt64.self)
        return next(pc + 1, r, run)
      }
    case .store64K:
      { pc, r, run in
        pc.destination(r).storeBytes(of: pc.immediate, as: UInt64.self)
        return next(pc + 1, r, run)
      }
    case .storeBelow:
      { pc, r, run in
        if r[pc.b] < pc.immediate {
          pc.destination(r).storeBytes(of: UInt16(truncatingIfNeeded: r[pc.b]), as: UInt16.self)
        }
        return next(pc + 1, r, run)
      }
    case .faulting:
      { pc, r, run in
        accessFaulting(pc, r)
        return next(pc + 2, r, run)
      }
    case .arena:
      { pc, r, run in
        accessArena(pc, r)
        return next(pc + 2, r, run)
      }
    case .atomic32:
      { pc, r, run in
        atomic32(pc, r, pc.destination(r))
        return next(pc + 1, r, run)
      }
    case .atomic64:
      { pc, r, run in
        atomic64(pc, r, pc.destination(r))
        return next(pc + 1, r, run)
      }
    case .arenaCast:
      { pc, r, run in
        let value = UInt64(lowHalf(r[pc.b]))
        r[pc.a] = value == 0 ? 0 : value | pc.immediate
        return next(pc + 1, r, run)
      }
    default: nil
    }
  }
}
