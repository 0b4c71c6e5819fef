/// What computations are without being done, or as cheaper ones.
extension BlockBuilder {
  // MARK: one value

  /// A node whose lowest `size` bytes are those of `value`, for who reads no more of it.
  mutating func truncated(_ value: Int32, to size: UInt8) -> Int32 {
    var value = value
    while size < 8 {
      let node = nodes[value]
      if (node.operation == .zeroExtend || node.operation == .signExtend) && node.size >= size {
        value = node.a
      } else if node.operation == .and, let mask = constantValue(node.b), size <= 4,
        mask & ((1 << (UInt64(size) * 8)) - 1) == (1 << (UInt64(size) * 8)) - 1
      {
        value = node.a
      } else {
        break
      }
    }
    if let known = constantValue(value), size < 8 {
      return constant(known & ((1 << (UInt64(size) * 8)) - 1))
    }
    return value
  }

  mutating func zeroExtend(_ size: UInt8, _ value: Int32) -> Int32 {
    guard size < 8, nodes[value].bits > size &* 8 else { return value }
    let inner = truncated(value, to: size)
    let node = nodes[inner]
    if node.operation == .constant || node.bits <= size &* 8 { return inner }
    if size == 4 && node.width == 8 && node.mentions == 0 {
      // Computed in halves instead, where the lower half of the result is that of the operands.
      switch node.operation {
      case .add, .sub, .mul, .and, .or, .xor: return binary(node.operation, 4, node.a, node.b)
      case .shiftLeft:
        if let count = constantValue(node.b), count < 32 { return binary(.shiftLeft, 4, node.a, node.b) }
      default: break
      }
    }
    var made = Node(.zeroExtend)
    made.size = size
    made.a = inner
    made.bits = size &* 8
    return find(made)
  }

  mutating func signExtend(_ size: UInt8, _ width: UInt8, _ value: Int32) -> Int32 {
    let inner = truncated(value, to: size)
    let node = nodes[inner]
    if node.bits < size &* 8 { return inner }
    if let known = constantValue(inner) {
      let shift = UInt64(64 - Int(size) * 8)
      let extended = UInt64(bitPattern: Int64(bitPattern: known << shift) >> Int64(shift))
      return constant(width == 8 ? extended : extended & 0xffff_ffff)
    }
    if size >= width { return width == 4 ? zeroExtend(4, inner) : inner }
    var made = Node(.signExtend, width: width)
    made.size = size
    made.a = inner
    made.bits = width &* 8
    return find(made)
  }

  mutating func byteSwap(_ size: UInt8, _ value: Int32) -> Int32 {
    let inner = truncated(value, to: size)
    if let known = constantValue(inner) { return constant(known.byteSwapped >> (64 - UInt64(size) * 8)) }
    if nodes[inner].operation == .byteSwap && nodes[inner].size == size { return zeroExtend(size, nodes[inner].a) }
    var made = Node(.byteSwap, width: size == 8 ? 8 : 4)
    made.size = size
    made.a = inner
    made.bits = size &* 8
    return find(made)
  }

  mutating func negate(_ width: UInt8, _ value: Int32) -> Int32 {
    if let known = constantValue(value) {
      let negated = 0 &- known
      return constant(width == 8 ? negated : negated & 0xffff_ffff)
    }
    var made = Node(.negate, width: width)
    made.a = width == 4 ? truncated(value, to: 4) : value
    made.bits = width &* 8
    return find(made)
  }

  private mutating func rotate(_ width: UInt8, _ value: Int32, _ count: UInt64) -> Int32 {
    var made = Node(.rotateLeft, width: width)
    made.a = value
    made.immediate = Int64(count)
    made.bits = width &* 8
    return find(made)
  }

  // MARK: two values

  /// `a` and `b` are whole registers; with width 4 their lower halves count and the result's upper half is zero.
  mutating func binary(_ operation: Operation, _ width: UInt8, _ a: Int32, _ b: Int32) -> Int32 {
    var (width, a, b) = (width, a, b)
    if width == 4 {
      a = truncated(a, to: 4)
      b = truncated(b, to: 4)
    }
    let isCommutative: Bool =
      switch operation {
      case .add, .mul, .and, .or, .xor: true
      default: false
      }
    if isCommutative && nodes[a].operation == .constant && nodes[b].operation != .constant { swap(&a, &b) }
    if let y = constantValue(b) {
      if let x = constantValue(a), let value = fold(operation, width, x, y) { return constant(value) }
      if let simpler = withConstant(operation, width, a, y) { return simpler }
    }
    if a == b {
      switch operation {
      case .sub, .xor: return constant(0)
      case .and, .or: return width == 8 ? a : zeroExtend(4, a)
      default: break
      }
    }
    let bits = max(nodes[a].bits, nodes[b].bits)
    if width == 8 && bits <= 32 {
      switch operation {
      case .and, .or, .xor, .divide, .modulo: width = 4
      default: break
      }
    }
    if operation == .and && width == 8 && min(nodes[a].bits, nodes[b].bits) <= 32 { width = 4 }
    switch operation {
    case .add, .or, .xor:
      if let rotated = asRotation(width, a, b) { return rotated }
      if operation != .xor, let loaded = combineLoads(operation, width, a, b) { return loaded }
    default: break
    }
    if operation == .add && width == 8 {
      // Constants are kept outermost, where addresses take them.
      if let moved = moveConstantOut(a, b) ?? moveConstantOut(b, a) { return moved }
      if nodes[a].operation == .frame && nodes[b].operation != .frame { swap(&a, &b) }
    }
    var made = Node(operation, width: width)
    made.a = a
    made.b = b
    made.bits = resultBits(operation, width, a, b)
    return find(made)
  }

  private mutating func moveConstantOut(_ a: Int32, _ b: Int32) -> Int32? {
    let inner = nodes[a]
    guard inner.operation == .add, inner.width == 8, nodes[inner.b].operation == .constant,
      nodes[b].operation != .constant, inner.mentions <= 4
    else { return nil }
    let sum = binary(.add, 8, inner.a, b)
    return binary(.add, 8, sum, inner.b)
  }

  private func resultBits(_ operation: Operation, _ width: UInt8, _ a: Int32, _ b: Int32) -> UInt8 {
    let most = width &* 8
    let (x, y) = (nodes[a].bits, nodes[b].bits)
    switch operation {
    case .and: return min(most, min(x, y))
    case .or, .xor: return min(most, max(x, y))
    case .add: return min(most, max(x, y) &+ 1)
    case .mul: return UInt8(min(Int(most), Int(x) + Int(y)))
    case .divide, .modulo: return min(most, x)
    case .shiftRight:
      guard let count = constantValue(b) else { return min(most, x) }
      let shift = UInt8(count & UInt64(most - 1))
      return min(most, x) > shift ? min(most, x) - shift : 0
    case .shiftLeft:
      guard let count = constantValue(b) else { return most }
      return UInt8(min(Int(most), Int(x) + Int(count & UInt64(most - 1))))
    default: return most
    }
  }

  private func fold(_ operation: Operation, _ width: UInt8, _ x: UInt64, _ y: UInt64) -> UInt64? {
    if width == 4 {
      let (a, b) = (UInt32(truncatingIfNeeded: x), UInt32(truncatingIfNeeded: y))
      let (s, t) = (Int32(bitPattern: a), Int32(bitPattern: b))
      let result: UInt32? =
        switch operation {
        case .add: a &+ b
        case .sub: a &- b
        case .mul: a &* b
        case .and: a & b
        case .or: a | b
        case .xor: a ^ b
        case .shiftLeft: a &<< b
        case .shiftRight: a &>> b
        case .shiftRightSigned: UInt32(bitPattern: s &>> t)
        case .divide: b == 0 ? 0 : a / b
        case .modulo: b == 0 ? a : a % b
        case .divideSigned: t == 0 ? 0 : t == -1 ? UInt32(bitPattern: 0 &- s) : UInt32(bitPattern: s / t)
        case .moduloSigned: t == 0 ? a : t == -1 ? 0 : UInt32(bitPattern: s % t)
        default: nil
        }
      return result.map(UInt64.init)
    }
    let (s, t) = (Int64(bitPattern: x), Int64(bitPattern: y))
    return switch operation {
    case .add: x &+ y
    case .sub: x &- y
    case .mul: x &* y
    case .and: x & y
    case .or: x | y
    case .xor: x ^ y
    case .shiftLeft: x &<< y
    case .shiftRight: x &>> y
    case .shiftRightSigned: UInt64(bitPattern: s &>> t)
    case .divide: y == 0 ? 0 : x / y
    case .modulo: y == 0 ? x : x % y
    case .divideSigned: t == 0 ? 0 : t == -1 ? 0 &- x : UInt64(bitPattern: s / t)
    case .moduloSigned: t == 0 ? x : t == -1 ? 0 : UInt64(bitPattern: s % t)
    default: nil
    }
  }

  /// `a operation y` as something simpler; nil where there is nothing.
  private mutating func withConstant(_ operation: Operation, _ width: UInt8, _ a: Int32, _ y: UInt64) -> Int32? {
    let node = nodes[a]
    let bits = UInt64(width) * 8
    let all: UInt64 = width == 8 ? .max : 0xffff_ffff
    let value = y & all
    let inner = node.b >= 0 && !node.hasEffect && !node.isMemoryAccess ? constantValue(node.b) : nil
    func whole(_ it: inout BlockBuilder) -> Int32 { width == 8 ? a : it.zeroExtend(4, a) }
    switch operation {
    case .add:
      if value == 0 { return whole(&self) }
      if node.operation == .frame && width == 8 { return frame(node.immediate &+ Int64(bitPattern: value)) }
      if node.operation == .add, let inner, node.width >= width {
        return binary(.add, width, node.a, constant((inner &+ value) & all))
      }
    case .sub: return binary(.add, width, a, constant((0 &- value) & all))
    case .mul:
      if value == 0 { return constant(0) }
      if value == 1 { return whole(&self) }
      if value & (value - 1) == 0 {
        return binary(.shiftLeft, width, a, constant(UInt64(value.trailingZeroBitCount)))
      }
    case .and:
      if value == 0 { return constant(0) }
      if value == all { return whole(&self) }
      if value & (value &+ 1) == 0 {
        let kept = 64 - value.leadingZeroBitCount
        if node.bits <= UInt8(kept) { return a }
        if kept == 8 || kept == 16 || kept == 32 { return zeroExtend(UInt8(kept / 8), a) }
      }
      if node.operation == .and, let inner { return binary(.and, width, node.a, constant(inner & value)) }
      if node.operation == .zeroExtend && value >> (UInt64(node.size) * 8) == 0 && width == 8 && value <= 0x7fff_ffff {
        return binary(.and, 4, node.a, constant(value))
      }
    case .or:
      if value == 0 { return whole(&self) }
      if value == all { return constant(all) }
    case .xor:
      if value == 0 { return whole(&self) }
    case .shiftLeft:
      let count = value & (bits - 1)
      if count == 0 { return whole(&self) }
      if node.operation == .shiftLeft, let inner, node.width == width {
        let sum = (inner & (bits - 1)) + count
        return sum >= bits ? constant(0) : binary(.shiftLeft, width, node.a, constant(sum))
      }
      if node.operation == .zeroExtend && UInt64(node.size) * 8 + count >= 64 && width == 8 {
        return binary(.shiftLeft, 8, node.a, constant(count))
      }
      if count != value { return binary(.shiftLeft, width, a, constant(count)) }
    case .shiftRight:
      let count = value & (bits - 1)
      if count == 0 { return whole(&self) }
      if width == 8 && UInt64(node.bits) <= count { return constant(0) }
      if width == 8 && node.bits <= 32 { return binary(.shiftRight, 4, a, constant(count)) }
      if node.operation == .shiftLeft, let inner, node.width == width, inner & (bits - 1) == count {
        switch bits - count {
        case 8: return zeroExtend(1, node.a)
        case 16: return zeroExtend(2, node.a)
        case 32: return zeroExtend(4, node.a)
        default:
          if bits - count < 32 { return binary(.and, 4, node.a, constant((1 << (bits - count)) - 1)) }
        }
      }
      if node.operation == .shiftRight, let inner, node.width == width {
        let sum = (inner & (bits - 1)) + count
        return sum >= bits ? constant(0) : binary(.shiftRight, width, node.a, constant(sum))
      }
      if count != value { return binary(.shiftRight, width, a, constant(count)) }
    case .shiftRightSigned:
      let count = value & (bits - 1)
      if count == 0 { return whole(&self) }
      if UInt64(node.bits) < bits { return binary(.shiftRight, width, a, constant(count)) }
      if node.operation == .shiftLeft, let inner, node.width == width, inner & (bits - 1) == count {
        switch bits - count {
        case 8: return signExtend(1, width, node.a)
        case 16: return signExtend(2, width, node.a)
        case 32: return signExtend(4, width, node.a)
        default: break
        }
      }
      if count != value { return binary(.shiftRightSigned, width, a, constant(count)) }
    case .divide: return divide(width, a, value)
    case .modulo:
      if value == 0 { return whole(&self) }
      if value & (value - 1) == 0 { return binary(.and, width, a, constant(value - 1)) }
      guard let quotient = divide(width, a, value) else { return nil }
      return binary(.sub, width, a, binary(.mul, width, quotient, constant(value)))
    case .divideSigned:
      if value == 0 { return constant(0) }
      if value == 1 { return whole(&self) }
    case .moduloSigned:
      if value == 0 { return whole(&self) }
      if value == 1 { return constant(0) }
    default: break
    }
    return nil
  }

  /// An unsigned division by a constant as a multiplication with its inverse (Granlund and Montgomery).
  private mutating func divide(_ width: UInt8, _ a: Int32, _ divisor: UInt64) -> Int32? {
    if divisor == 0 { return constant(0) }
    if divisor == 1 { return width == 8 ? a : zeroExtend(4, a) }
    if divisor & (divisor - 1) == 0 {
      return binary(.shiftRight, width, a, constant(UInt64(divisor.trailingZeroBitCount)))
    }
    if divisor > UInt64.max / 2 { return nil }
    let dividend = width == 8 ? a : zeroExtend(4, a)
    if nodes[dividend].bits <= 32 {
      if divisor >> 32 != 0 { return constant(0) }
      // Exact for all 32-bit dividends: the inverse is too large by less than 1/2^32 of a quotient's step.
      return multiplyHigh(dividend, UInt64.max / divisor + 1, bits: nodes[dividend].bits)
    }
    for shift in 0..<UInt64(64 - divisor.leadingZeroBitCount) {
      let power: UInt64 = 1 << shift
      guard power < divisor else { break }
      let (quotient, remainder) = divisor.dividingFullWidth((power, 0))
      guard quotient != .max, divisor - remainder <= power else { continue }
      let high = multiplyHigh(dividend, quotient + 1, bits: 64)
      return binary(.shiftRight, 8, high, constant(shift))
    }
    return nil
  }

  private mutating func multiplyHigh(_ a: Int32, _ factor: UInt64, bits: UInt8) -> Int32 {
    var made = Node(.multiplyHigh)
    made.a = a
    made.b = constant(factor)
    made.bits = bits
    return find(made)
  }

  /// The same value shifted both ways so that the parts fill it.
  private mutating func asRotation(_ width: UInt8, _ a: Int32, _ b: Int32) -> Int32? {
    let (x, y) = (nodes[a], nodes[b])
    let isPair =
      (x.operation == .shiftLeft && y.operation == .shiftRight)
      || (x.operation == .shiftRight && y.operation == .shiftLeft)
    guard isPair, x.a == y.a, x.width == width, y.width == width else { return nil }
    let (up, down) = x.operation == .shiftLeft ? (x, y) : (y, x)
    let bits = UInt64(width) * 8
    guard let left = constantValue(up.b), let right = constantValue(down.b) else { return nil }
    guard left < bits, right < bits, left + right == bits else { return nil }
    return rotate(width, x.a, left)
  }
}
