import BPFISA
import BPFLinux

/// Which way a comparison goes, as far as what is known of both sides tells.
enum BranchOutcome {
  case always
  case never
  case either
}

/// The operation that compares the other way around: `a < b` is `b > a`.
func flippedComparison(_ operation: UInt8) -> UInt8 {
  switch operation {
  case Jump.jge: Jump.jle
  case Jump.jgt: Jump.jlt
  case Jump.jle: Jump.jge
  case Jump.jlt: Jump.jgt
  case Jump.jsge: Jump.jsle
  case Jump.jsgt: Jump.jslt
  case Jump.jsle: Jump.jsge
  case Jump.jslt: Jump.jsgt
  default: operation
  }
}

extension Verification {
  /// Which way `if a operation b` goes.
  func outcome(_ a: RegisterRef, _ b: RegisterRef, _ operation: UInt8, narrow: Bool) -> BranchOutcome {
    let aIsPacket = a.pointee.isPacketPointer || a.pointee.type == .packetEnd
    let bIsPacket = b.pointee.isPacketPointer || b.pointee.type == .packetEnd
    if aIsPacket && bIsPacket && !narrow { return packetOutcome(a, b, operation) }
    if a.pointee.type != .scalar || b.pointee.type != .scalar {
      var pointer = a
      var constant = b
      var operation = operation
      if !constant.pointee.isConstant(subregister: narrow) {
        operation = flippedComparison(operation)
        swap(&pointer, &constant)
      }
      guard constant.pointee.isConstant(subregister: narrow), isNotNull(pointer),
        constant.pointee.constantValue(subregister: narrow) == 0
      else { return .either }
      switch operation {
      case Jump.jeq: return .never
      case Jump.jne: return .always
      default: return .either
      }
    }
    return scalarOutcome(a, b, operation, narrow: narrow)
  }

  /// A pointer that cannot be null (`reg_not_null`).
  func isNotNull(_ r: RegisterRef) -> Bool {
    let type = r.pointee.type
    if type.mayBeNull { return false }
    switch type.base {
    case .socket, .tcpSock, .mapValue, .mapKey, .sockCommon: return true
    case .btfID: return isTrusted(r)
    case .memory: return !type.has(.untrusted)
    case .mapPointer: return true
    default: return false
    }
  }

  private func packetOutcome(_ a: RegisterRef, _ b: RegisterRef, _ operation: UInt8) -> BranchOutcome {
    let packet: RegisterRef
    var operation = operation
    if b.pointee.type == .packetEnd {
      packet = a
    } else if a.pointee.type == .packetEnd {
      packet = b
      operation = flippedComparison(operation)
    } else {
      return .either
    }
    let range = packet.pointee.range
    if range >= 0 { return .either }
    switch operation {
    case Jump.jle, Jump.jgt:
      if range == PacketRange.beyondEnd { return operation == Jump.jgt ? .always : .never }
    case Jump.jlt, Jump.jge:
      if range == PacketRange.beyondEnd || range == PacketRange.atEnd {
        return operation == Jump.jge ? .always : .never
      }
    default: break
    }
    return .either
  }

  private func scalarOutcome(_ a: RegisterRef, _ b: RegisterRef, _ operation: UInt8, narrow: Bool) -> BranchOutcome {
    let aBits = narrow ? a.pointee.bits.subregister : a.pointee.bits
    let bBits = narrow ? b.pointee.bits.subregister : b.pointee.bits
    switch operation {
    case Jump.jeq:
      switch equality(a, b, aBits, bBits, narrow: narrow) {
      case .some(true): return .always
      case .some(false): return .never
      case .none: return .either
      }
    case Jump.jne:
      switch equality(a, b, aBits, bBits, narrow: narrow) {
      case .some(true): return .never
      case .some(false): return .always
      case .none: return .either
      }
    case Jump.jset:
      var tested = aBits
      var mask = bBits
      if !b.pointee.isConstant(subregister: narrow) {
        guard a.pointee.isConstant(subregister: narrow) else { return .either }
        swap(&tested, &mask)
      }
      if ~tested.mask & tested.value & mask.value != 0 { return .always }
      if (tested.mask | tested.value) & mask.value == 0 { return .never }
      return .either
    case Jump.jgt, Jump.jlt, Jump.jge, Jump.jle:
      let aLow = narrow ? UInt64(a.pointee.u32min) : a.pointee.umin
      let aHigh = narrow ? UInt64(a.pointee.u32max) : a.pointee.umax
      let bLow = narrow ? UInt64(b.pointee.u32min) : b.pointee.umin
      let bHigh = narrow ? UInt64(b.pointee.u32max) : b.pointee.umax
      switch operation {
      case Jump.jgt: return order(aLow > bHigh, aHigh <= bLow)
      case Jump.jlt: return order(aHigh < bLow, aLow >= bHigh)
      case Jump.jge: return order(aLow >= bHigh, aHigh < bLow)
      default: return order(aHigh <= bLow, aLow > bHigh)
      }
    case Jump.jsgt, Jump.jslt, Jump.jsge, Jump.jsle:
      let aLow = narrow ? Int64(a.pointee.s32min) : a.pointee.smin
      let aHigh = narrow ? Int64(a.pointee.s32max) : a.pointee.smax
      let bLow = narrow ? Int64(b.pointee.s32min) : b.pointee.smin
      let bHigh = narrow ? Int64(b.pointee.s32max) : b.pointee.smax
      switch operation {
      case Jump.jsgt: return order(aLow > bHigh, aHigh <= bLow)
      case Jump.jslt: return order(aHigh < bLow, aLow >= bHigh)
      case Jump.jsge: return order(aLow >= bHigh, aHigh < bLow)
      default: return order(aHigh <= bLow, aLow > bHigh)
      }
    default:
      return .either
    }
  }

  @inline(__always) private func order(_ always: Bool, _ never: Bool) -> BranchOutcome {
    always ? .always : never ? .never : .either
  }

  /// Whether two numbers are equal; nil where that is open.
  private func equality(_ a: RegisterRef, _ b: RegisterRef, _ aBits: Tnum, _ bBits: Tnum, narrow: Bool) -> Bool? {
    if aBits.isConstant && bBits.isConstant { return aBits.value == bBits.value }
    if !aBits.overlaps(bBits) { return false }
    let disjoint32 =
      a.pointee.u32min > b.pointee.u32max || a.pointee.u32max < b.pointee.u32min
      || a.pointee.s32min > b.pointee.s32max || a.pointee.s32max < b.pointee.s32min
    if narrow { return disjoint32 ? false : nil }
    if a.pointee.umin > b.pointee.umax || a.pointee.umax < b.pointee.umin || a.pointee.smin > b.pointee.smax
      || a.pointee.smax < b.pointee.smin
    {
      return false
    }
    return disjoint32 ? false : nil
  }
}

/// What a comparison shows of its two sides.
enum BranchRefinement {
  /// `jset` that was not taken has no operation of its own.
  static let notSet: UInt8 = Jump.jset | Source.x

  /// The operation that holds where `operation` does not.
  static func reversed(_ operation: UInt8) -> UInt8 {
    switch operation {
    case Jump.jeq: Jump.jne
    case Jump.jne: Jump.jeq
    case Jump.jset: notSet
    case notSet: Jump.jset
    case Jump.jge: Jump.jlt
    case Jump.jgt: Jump.jle
    case Jump.jle: Jump.jgt
    case Jump.jlt: Jump.jge
    case Jump.jsge: Jump.jslt
    case Jump.jsgt: Jump.jsle
    case Jump.jsle: Jump.jsgt
    case Jump.jslt: Jump.jsge
    default: 0
    }
  }

  /// Narrows `a` and `b` to values for which `a operation b` holds. Both may be one register.
  static func refine(_ first: RegisterRef, _ second: RegisterRef, _ operation: UInt8, narrow: Bool) {
    var a = first
    var b = second
    var operation = operation
    switch operation {
    case Jump.jge, Jump.jgt, Jump.jsge, Jump.jsgt:
      operation = flippedComparison(operation)
      swap(&a, &b)
    default: break
    }
    switch operation {
    case Jump.jeq: equal(a, b, narrow: narrow)
    case Jump.jne, Jump.jset, notSet:
      if !b.pointee.isConstant(subregister: narrow) { swap(&a, &b) }
      guard b.pointee.isConstant(subregister: narrow) else { return }
      let value = b.pointee.constantValue(subregister: narrow)
      switch operation {
      case Jump.jne: notEqual(a, value, narrow: narrow)
      case Jump.jset: someBitSet(a, value, narrow: narrow)
      default: noBitSet(a, value, narrow: narrow)
      }
    case Jump.jle:
      if narrow {
        a.pointee.u32max = min(a.pointee.u32max, b.pointee.u32max)
        b.pointee.u32min = max(a.pointee.u32min, b.pointee.u32min)
      } else {
        a.pointee.umax = min(a.pointee.umax, b.pointee.umax)
        b.pointee.umin = max(a.pointee.umin, b.pointee.umin)
      }
    case Jump.jlt:
      if narrow {
        a.pointee.u32max = min(a.pointee.u32max, b.pointee.u32max &- 1)
        b.pointee.u32min = max(a.pointee.u32min &+ 1, b.pointee.u32min)
      } else {
        a.pointee.umax = min(a.pointee.umax, b.pointee.umax &- 1)
        b.pointee.umin = max(a.pointee.umin &+ 1, b.pointee.umin)
      }
    case Jump.jsle:
      if narrow {
        a.pointee.s32max = min(a.pointee.s32max, b.pointee.s32max)
        b.pointee.s32min = max(a.pointee.s32min, b.pointee.s32min)
      } else {
        a.pointee.smax = min(a.pointee.smax, b.pointee.smax)
        b.pointee.smin = max(a.pointee.smin, b.pointee.smin)
      }
    case Jump.jslt:
      if narrow {
        a.pointee.s32max = min(a.pointee.s32max, b.pointee.s32max &- 1)
        b.pointee.s32min = max(a.pointee.s32min &+ 1, b.pointee.s32min)
      } else {
        a.pointee.smax = min(a.pointee.smax, b.pointee.smax &- 1)
        b.pointee.smin = max(a.pointee.smin &+ 1, b.pointee.smin)
      }
    default: return
    }
  }

  private static func equal(_ a: RegisterRef, _ b: RegisterRef, narrow: Bool) {
    if narrow {
      a.pointee.u32min = max(a.pointee.u32min, b.pointee.u32min)
      a.pointee.u32max = min(a.pointee.u32max, b.pointee.u32max)
      a.pointee.s32min = max(a.pointee.s32min, b.pointee.s32min)
      a.pointee.s32max = min(a.pointee.s32max, b.pointee.s32max)
      b.pointee.u32min = a.pointee.u32min
      b.pointee.u32max = a.pointee.u32max
      b.pointee.s32min = a.pointee.s32min
      b.pointee.s32max = a.pointee.s32max
      let common = a.pointee.bits.subregister.intersect(b.pointee.bits.subregister)
      a.pointee.bits = a.pointee.bits.withSubregister(common)
      b.pointee.bits = b.pointee.bits.withSubregister(common)
    } else {
      a.pointee.umin = max(a.pointee.umin, b.pointee.umin)
      a.pointee.umax = min(a.pointee.umax, b.pointee.umax)
      a.pointee.smin = max(a.pointee.smin, b.pointee.smin)
      a.pointee.smax = min(a.pointee.smax, b.pointee.smax)
      b.pointee.umin = a.pointee.umin
      b.pointee.umax = a.pointee.umax
      b.pointee.smin = a.pointee.smin
      b.pointee.smax = a.pointee.smax
      a.pointee.bits = a.pointee.bits.intersect(b.pointee.bits)
      b.pointee.bits = a.pointee.bits
    }
  }

  private static func notEqual(_ a: RegisterRef, _ value: UInt64, narrow: Bool) {
    if narrow {
      let low = UInt32(truncatingIfNeeded: value)
      if a.pointee.u32min == low { a.pointee.u32min &+= 1 }
      if a.pointee.u32max == low { a.pointee.u32max &-= 1 }
      if UInt32(bitPattern: a.pointee.s32min) == low { a.pointee.s32min &+= 1 }
      if UInt32(bitPattern: a.pointee.s32max) == low { a.pointee.s32max &-= 1 }
    } else {
      if a.pointee.umin == value { a.pointee.umin &+= 1 }
      if a.pointee.umax == value { a.pointee.umax &-= 1 }
      if UInt64(bitPattern: a.pointee.smin) == value { a.pointee.smin &+= 1 }
      if UInt64(bitPattern: a.pointee.smax) == value { a.pointee.smax &-= 1 }
    }
  }

  private static func someBitSet(_ a: RegisterRef, _ value: UInt64, narrow: Bool) {
    // Only one bit can be told to be set; of several, one of them.
    guard value.nonzeroBitCount == 1 else { return }
    if narrow {
      a.pointee.bits = a.pointee.bits.withSubregister(a.pointee.bits.subregister | Tnum(constant: value))
    } else {
      a.pointee.bits = a.pointee.bits | Tnum(constant: value)
    }
  }

  private static func noBitSet(_ a: RegisterRef, _ value: UInt64, narrow: Bool) {
    a.pointee.markUnbounded()
    if narrow {
      a.pointee.bits = a.pointee.bits.withSubregister(a.pointee.bits.subregister & Tnum(constant: ~value))
    } else {
      a.pointee.bits = a.pointee.bits & Tnum(constant: ~value)
    }
  }
}
