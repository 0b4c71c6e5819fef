import BPFISA

/// What a node computes.
enum Operation: UInt8 {
  // Leaves: made where they are needed.
  case constant
  /// The value that a variable has where the block begins.
  case variable
  /// An address in the stack frame: `immediate` bytes from where the frame ends (BPF's r10).
  case frame

  // Of two values.
  case add, sub, mul, and, or, xor, shiftLeft, shiftRight, shiftRightSigned
  case divide, divideSigned, modulo, moduloSigned
  /// The upper half of the unsigned product.
  case multiplyHigh
  // Of one value; `immediate` is the count, `size` the width of what is extended or reversed.
  case rotateLeft, negate, byteSwap, zeroExtend, signExtend
  /// `a + (c << scale) + immediate`.
  case scaledAdd

  // Memory: at `a + (c << scale) + immediate`.
  case load, loadSigned
  case store
  /// `immediate`'s place holds the offset; `atomic` the operation.
  case atomic
  /// A load that may fault and then reads zero.
  case loadFaulting
  /// A store that is left out where `b` is at least `c`, a constant.
  case storeBelow

  /// The address in user space of a place in the arena; null stays null.
  case arenaCast

  // Calls: operands in the list of arguments from `c` on.
  case call
  case callSubprogram
  case functionAddress
  /// The address of an element of a map of arrays, or 0: `a` is the index.
  case arrayElement
  case tailCall
  case `throw`
  /// `may_goto`: 0 where the loop is to end.
  case budget
  /// One of two values, by a comparison (`scale`): arguments are what is compared, the value where it holds, and that
  /// where it does not.
  case select
  /// Leaves the region for a block where a comparison of `a` and `b` holds (`scale`); what variables hold there is in
  /// the list of exits from `immediate >> 32` on, as many as `size`. The lower half is the block.
  case exit
}

/// What follows a call (`Node.scale`).
enum CallSequel: UInt8 {
  case none
  /// An exception may have come out of it.
  case exception
  /// A negative answer makes the function return 0.
  case negativeReturns
}

/// One value of a block, and how it is computed from others of the same block.
struct Node: BitwiseCopyable {
  var operation: Operation
  /// 4: the lower halves count, and the upper half of the result is zero; 8.
  var width: UInt8
  /// Bytes of memory that are accessed, or that an extension or byte swap is of.
  var size: UInt8 = 0
  /// Log2 of what `c` is multiplied by; for atomics the operation (`AtomicKind`).
  var scale: UInt8 = 0
  /// The value is below two to this power.
  var bits: UInt8 = 64
  /// Longest chain of nodes below it, as far as 255.
  var depth: UInt8 = 0
  /// How often it was named when it was made; dead users count too.
  var mentions: UInt16 = 0
  var a: Int32 = -1
  var b: Int32 = -1
  var c: Int32 = -1
  /// Uses by nodes that are emitted, and by the end of the block.
  var uses: Int32 = 0
  var immediate: Int64 = 0

  init(_ operation: Operation, width: UInt8 = 8) {
    self.operation = operation
    self.width = width
  }

  /// Emitting it changes something that others see.
  var hasEffect: Bool {
    switch operation {
    case .store, .storeBelow, .atomic, .call, .callSubprogram, .tailCall, .throw, .budget, .exit: true
    default: false
    }
  }

  var isLeaf: Bool { operation.rawValue <= Operation.frame.rawValue }
  var isLoad: Bool { operation == .load || operation == .loadSigned }
  var isMemoryAccess: Bool {
    switch operation {
    case .load, .loadSigned, .store, .atomic: true
    default: false
    }
  }
  /// Arguments are in the list.
  var hasArguments: Bool {
    operation == .call || operation == .callSubprogram || operation == .tailCall || operation == .throw
      || operation == .select
  }
}

/// What an atomic node does.
enum AtomicKind: UInt8 {
  case add, or, and, xor
  case fetchAdd, fetchOr, fetchAnd, fetchXor, exchange, compareExchange
  case loadAcquire, storeRelease

  init?(_ immediate: Int32) {
    switch immediate {
    case Atomic.add: self = .add
    case Atomic.or: self = .or
    case Atomic.and: self = .and
    case Atomic.xor: self = .xor
    case Atomic.add | Atomic.fetch: self = .fetchAdd
    case Atomic.or | Atomic.fetch: self = .fetchOr
    case Atomic.and | Atomic.fetch: self = .fetchAnd
    case Atomic.xor | Atomic.fetch: self = .fetchXor
    case Atomic.xchg: self = .exchange
    case Atomic.cmpxchg: self = .compareExchange
    case Atomic.loadAcquire: self = .loadAcquire
    case Atomic.storeRelease: self = .storeRelease
    default: return nil
    }
  }

  var givesValue: Bool { rawValue >= AtomicKind.fetchAdd.rawValue && self != .storeRelease }
}

/// Conditions of a jump, in BPF's order.
enum Condition: UInt8 {
  case equal, notEqual
  case above, aboveOrEqual, below, belowOrEqual
  case greater, greaterOrEqual, less, lessOrEqual
  /// Some bit of both is set; and none.
  case bitsSet, bitsClear

  init?(jump: UInt8) {
    switch jump {
    case Jump.jeq: self = .equal
    case Jump.jne: self = .notEqual
    case Jump.jgt: self = .above
    case Jump.jge: self = .aboveOrEqual
    case Jump.jlt: self = .below
    case Jump.jle: self = .belowOrEqual
    case Jump.jsgt: self = .greater
    case Jump.jsge: self = .greaterOrEqual
    case Jump.jslt: self = .less
    case Jump.jsle: self = .lessOrEqual
    case Jump.jset: self = .bitsSet
    default: return nil
    }
  }

  var negated: Condition {
    switch self {
    case .equal: .notEqual
    case .notEqual: .equal
    case .above: .belowOrEqual
    case .aboveOrEqual: .below
    case .below: .aboveOrEqual
    case .belowOrEqual: .above
    case .greater: .lessOrEqual
    case .greaterOrEqual: .less
    case .less: .greaterOrEqual
    case .lessOrEqual: .greater
    case .bitsSet: .bitsClear
    case .bitsClear: .bitsSet
    }
  }

  /// With the operands the other way round.
  var swapped: Condition {
    switch self {
    case .above: .below
    case .aboveOrEqual: .belowOrEqual
    case .below: .above
    case .belowOrEqual: .aboveOrEqual
    case .greater: .less
    case .greaterOrEqual: .lessOrEqual
    case .less: .greater
    case .lessOrEqual: .greaterOrEqual
    default: self
    }
  }

  func holds(_ a: UInt64, _ b: UInt64, width: UInt8) -> Bool {
    let (x, y) = width == 8 ? (a, b) : (a & 0xffff_ffff, b & 0xffff_ffff)
    let (s, t) =
      width == 8
      ? (Int64(bitPattern: a), Int64(bitPattern: b))
      : (Int64(Int32(truncatingIfNeeded: a)), Int64(Int32(truncatingIfNeeded: b)))
    return switch self {
    case .equal: x == y
    case .notEqual: x != y
    case .above: x > y
    case .aboveOrEqual: x >= y
    case .below: x < y
    case .belowOrEqual: x <= y
    case .greater: s > t
    case .greaterOrEqual: s >= t
    case .less: s < t
    case .lessOrEqual: s <= t
    case .bitsSet: x & y != 0
    case .bitsClear: x & y == 0
    }
  }
}

/// How a block ends.
enum Terminator: UInt8 {
  /// Goes on with `next`.
  case fall
  /// To `target` where the condition holds, else `next`.
  case branch
  case `return`
  /// Never gets to its end.
  case none
}
