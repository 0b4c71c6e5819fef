/// One step for two or three: what compilers need several instructions of BPF for.
///
/// Every rule keeps the values of all registers that may still be read; `live` says which.
enum InterpreterFusion {
  typealias Draft = InterpreterTranslation.Draft
  typealias Live = (Int) -> UInt16

  static func fuse(_ first: Draft, _ second: Draft, _ third: Draft, live: Live) -> Draft? {
    rotation(first, second, third, live: live)
  }

  static func fuse(_ first: Draft, _ second: Draft, live: Live) -> Draft? {
    guard first.data == nil, second.data == nil else { return nil }
    if first.target != nil { return overJump(first, second) }
    guard first.function == nil, second.function == nil else { return nil }
    if second.target != nil { return countingJump(first, second) }
    guard let step = step(first.step, second.step, isDead: { live(second.slots.upperBound) & 1 << UInt16($0) == 0 })
    else { return nil }
    return Draft(step: step, slots: first.slots.lowerBound..<second.slots.upperBound)
  }

  // MARK: Rotations

  private struct Shift {
    var result, source: UInt8
    var amount: UInt64
    var isLeft, isNarrow: Bool

    init?(_ step: InterpreterStep) {
      switch step.op {
      case .shiftLeftK, .shiftLeft3K: (isLeft, isNarrow) = (true, false)
      case .shiftRightK, .shiftRight3K: (isLeft, isNarrow) = (false, false)
      case .shiftLeft32K, .shiftLeft323K: (isLeft, isNarrow) = (true, true)
      case .shiftRight32K, .shiftRight323K: (isLeft, isNarrow) = (false, true)
      default: return nil
      }
      result = step.a
      let isInPlace = [.shiftLeftK, .shiftRightK, .shiftLeft32K, .shiftRight32K].contains(step.op)
      source = isInPlace ? step.a : step.b
      amount = step.immediate & (isNarrow ? 31 : 63)
    }
  }

  /// `t = x >> (64 - n); d = x << n; d |= t`, in any order, where t is not needed any more.
  private static func rotation(_ first: Draft, _ second: Draft, _ third: Draft, live: Live) -> Draft? {
    guard let a = Shift(first.step), let b = Shift(second.step), a.isLeft != b.isLeft, a.isNarrow == b.isNarrow,
      a.amount + b.amount == (a.isNarrow ? 32 : 64), a.source == b.source, a.result != a.source, a.result != b.result,
      third.step.op == .orX || (third.step.op == .or32X && a.isNarrow)
    else { return nil }
    let (result, other) = (third.step.a, third.step.b)
    guard (result, other) == (a.result, b.result) || (result, other) == (b.result, a.result),
      live(third.slots.upperBound) & 1 << UInt16(other) == 0
    else { return nil }
    var step = third.step
    step.op = a.isNarrow ? .rotate32 : .rotate
    step.b = a.source
    step.immediate = a.isLeft ? a.amount : b.amount
    return Draft(step: step, slots: first.slots.lowerBound..<third.slots.upperBound)
  }

  // MARK: Jumps

  /// A jump over a jump.
  private static func overJump(_ first: Draft, _ second: Draft) -> Draft? {
    guard second.step.op == .jump, let target = second.target, first.target == second.slots.upperBound,
      let opposite = InterpreterTables.opposites[first.step.op]
    else { return nil }
    var one = first
    one.step.op = opposite
    one.target = target
    one.slots = first.slots.lowerBound..<second.slots.upperBound
    return one
  }

  private static func countingJump(_ first: Draft, _ second: Draft) -> Draft? {
    let (count, jump) = (first.step, second.step)
    guard count.op == .addK, count.a == jump.a else { return nil }
    var one = second
    one.slots = first.slots.lowerBound..<second.slots.upperBound
    one.step.immediate = count.immediate
    switch jump.op {
    case .jumpNotEqualK:
      guard fits(count.immediate), fits(jump.immediate) else { return nil }
      one.step.op = .addJumpNotEqualK
      one.step.immediate = count.immediate & 0xffff_ffff | jump.immediate << 32
    case .jumpNotEqualX where jump.b != jump.a: one.step.op = .addJumpNotEqualX
    case .jumpBelowX where jump.b != jump.a: one.step.op = .addJumpBelowX
    default: return nil
    }
    return one
  }

  private static func fits(_ value: UInt64) -> Bool {
    UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: value))) == value
  }

  // MARK: Pairs

  private static func step(
    _ first: InterpreterStep, _ second: InterpreterStep, isDead: (UInt8) -> Bool
  ) -> InterpreterStep? {
    switch first.op {
    case .moveX, .move32X: return afterMove(first, second)
    // A constant address and an index: global variables.
    case .moveK where second.op == .addX && second.a == first.a && second.b != first.a:
      var one = first
      one.op = .add3K
      one.b = second.b
      return one
    case .moveK where second.op == .addK && second.a == first.a:
      var one = first
      one.immediate = first.immediate &+ second.immediate
      return one
    case .add3K: return afterDisplacement(first, second, isDead: isDead)
    case .add3X: return afterIndex(first, second, isDead: isDead)
    case .load8, .load16, .load32, .load64: return afterLoad(first, second)
    case .load8Indexed, .load16Indexed, .load32Indexed, .load64Indexed:
      guard second.op == .addX, second.b == first.a, second.a != first.a, first.offset == 0,
        let op = indexedSums[first.op]
      else { return nil }
      var one = first
      one.op = op
      one.a = second.a
      one.offset = Int32(first.a)
      return one
    case .load8Displaced, .load16Displaced, .load32Displaced, .load64Displaced:
      guard second.op == .addX, second.b == first.a, second.a != first.a, let op = displacedSums[first.op] else {
        return nil
      }
      var one = first
      one.op = op
      one.a = second.a
      one.c = first.a
      return one
    case .load8Xor:
      guard second.op == .multiplyX, second.a == first.a, second.b != first.a else { return nil }
      var one = first
      one.op = .load8XorMultiplyX
      one.immediate = UInt64(second.b)
      return one
    default: return afterArithmetic(first, second)
    }
  }

  /// `a = b; a op= c`.
  private static func afterMove(_ first: InterpreterStep, _ second: InterpreterStep) -> InterpreterStep? {
    guard second.a == first.a else { return nil }
    var one = second
    one.b = first.b
    one.c = second.b == first.a ? first.b : second.b
    if first.op == .moveX, let op = wide[second.op] {
      one.op = op
      return one
    }
    if let op = narrow[second.op] {
      one.op = op
      return one
    }
    return nil
  }

  private static let wide: [InterpreterOperation: InterpreterOperation] = [
    .addK: .add3K, .addX: .add3X, .subtractX: .subtract3X, .multiplyK: .multiply3K, .multiplyX: .multiply3X,
    .andK: .and3K, .andX: .and3X, .orX: .or3X, .xorX: .xor3X, .shiftLeftK: .shiftLeft3K, .shiftRightK: .shiftRight3K,
    .shiftArithmeticK: .shiftArithmetic3K,
  ]

  private static let narrow: [InterpreterOperation: InterpreterOperation] = [
    .add32K: .add323K, .add32X: .add323X, .and32K: .and323K, .xor32X: .xor323X, .shiftLeft32K: .shiftLeft323K,
    .shiftRight32K: .shiftRight323K,
  ]

  /// `t = x + y`, then an access by `t`.
  private static func afterIndex(
    _ first: InterpreterStep, _ second: InterpreterStep, isDead: (UInt8) -> Bool
  ) -> InterpreterStep? {
    var one = second
    if let op = indexedLoads[second.op], second.b == first.a, second.a == first.a || isDead(first.a) {
      one.op = op
      one.b = first.b
      one.c = first.c
      return one
    }
    if second.op == .store8K, second.a == first.a, isDead(first.a) {
      one.op = .store8KIndexed
      one.a = first.b
      one.b = first.c
      return one
    }
    return nil
  }

  /// `t = x + constant`, then an access by `t`, of which the constant becomes a part.
  private static func afterDisplacement(
    _ first: InterpreterStep, _ second: InterpreterStep, isDead: (UInt8) -> Bool
  ) -> InterpreterStep? {
    var one = second
    if let op = displacedLoads[second.op], second.b == first.a, second.a == first.a || isDead(first.a) {
      one.op = op
      one.b = first.b
      one.offset = 0
      one.immediate = first.immediate &+ UInt64(bitPattern: Int64(second.offset))
      return one
    }
    if second.op == .store8K, second.a == first.a, isDead(first.a), second.offset == 0 {
      one.op = .store8KDisplaced
      one.a = first.b
      one.b = UInt8(truncatingIfNeeded: second.immediate)
      one.immediate = first.immediate
      return one
    }
    return nil
  }

  private static let displacedLoads: [InterpreterOperation: InterpreterOperation] = [
    .load8: .load8Displaced, .load16: .load16Displaced, .load32: .load32Displaced, .load64: .load64Displaced,
  ]

  private static let indexedLoads: [InterpreterOperation: InterpreterOperation] = [
    .load8: .load8Indexed, .load16: .load16Indexed, .load32: .load32Indexed, .load64: .load64Indexed,
  ]
  private static let indexedSums: [InterpreterOperation: InterpreterOperation] = [
    .load8Indexed: .load8IndexedAdd, .load16Indexed: .load16IndexedAdd, .load32Indexed: .load32IndexedAdd,
    .load64Indexed: .load64IndexedAdd,
  ]

  private static let displacedSums: [InterpreterOperation: InterpreterOperation] = [
    .load8Displaced: .load8DisplacedAdd, .load16Displaced: .load16DisplacedAdd, .load32Displaced: .load32DisplacedAdd,
    .load64Displaced: .load64DisplacedAdd,
  ]

  private static let sums: [InterpreterOperation: InterpreterOperation] = [
    .load8: .load8Add, .load16: .load16Add, .load32: .load32Add, .load64: .load64Add,
  ]
  private static let copies: [InterpreterOperation: (InterpreterOperation, InterpreterOperation)] = [
    .load8: (.store8X, .copy8), .load16: (.store16X, .copy16), .load32: (.store32X, .copy32),
    .load64: (.store64X, .copy64),
  ]

  /// `t = load`, then what is done with `t`.
  private static func afterLoad(_ first: InterpreterStep, _ second: InterpreterStep) -> InterpreterStep? {
    guard second.b == first.a, second.a != first.a else { return nil }
    var one = first
    one.a = second.a
    one.c = first.a
    switch second.op {
    case .addX: one.op = sums[first.op] ?? first.op
    case .xorX where first.op == .load8: one.op = .load8Xor
    case .xorX where first.op == .load64: one.op = .load64Xor
    default:
      guard let (store, copy) = copies[first.op], second.op == store else { return nil }
      one.op = copy
      one.immediate = UInt64(bitPattern: Int64(second.offset))
    }
    return one.op == first.op ? nil : one
  }

  private static func afterArithmetic(_ first: InterpreterStep, _ second: InterpreterStep) -> InterpreterStep? {
    var one = first
    switch (first.op, second.op) {
    case (.rotate, .xorX) where second.a == first.a && second.b != first.a:
      one.op = .rotateXorX
      one.c = second.b
    case (.multiplyX, .addX) where second.a == first.a && second.b != first.a:
      one.op = .multiplyAddX
      one.c = second.b
    case (.multiply32K, .add32K) where second.a == first.a:
      one.op = .multiplyAdd32K
      one.immediate = first.immediate & 0xffff_ffff | second.immediate << 32
    case (.addX, .xorX) where second.b == first.a && second.a != first.a:
      one.op = .addXorX
      one.c = second.a
    case (.xorX, .addX) where second.b == first.a && second.a != first.a:
      one.op = .xorAddX
      one.c = second.a
    case (.shiftRight3K, .xorX) where second.b == first.a && second.a != first.a:
      one.op = .shiftRightXorX
      one.a = second.a
      one.c = first.a
    case (.shiftLeftK, .shiftRightK) where second.a == first.a && first.immediate == 32 && second.immediate == 32:
      one.op = .move32X
      one.b = first.a
    case (.shiftLeft3K, .shiftRightK) where second.a == first.a && first.immediate == 32 && second.immediate == 32:
      one.op = .move32X
    case (.shiftLeft3K, .shiftArithmeticK) where second.a == first.a && first.immediate == 32 && second.immediate == 32:
      one.op = .extend32
    default: return nil
    }
    return one
  }
}
