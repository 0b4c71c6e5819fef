import CBPFRuntime

/// One step of the interpreter, before it has its place as a `skep_step`.
///
/// `a` is most often the destination, `b` and `c` are sources. Offsets of jumps are in bytes, from the step itself.
struct InterpreterStep: BitwiseCopyable {
  var op: InterpreterOperation
  var a: UInt8 = 0
  var b: UInt8 = 0
  var c: UInt8 = 0
  var offset: Int32 = 0
  var immediate: UInt64 = 0

  init(
    _ op: InterpreterOperation, a: Int = 0, b: Int = 0, c: Int = 0, offset: Int32 = 0, immediate: UInt64 = 0
  ) {
    self.op = op
    self.a = UInt8(truncatingIfNeeded: a)
    self.b = UInt8(truncatingIfNeeded: b)
    self.c = UInt8(truncatingIfNeeded: c)
    self.offset = offset
    self.immediate = immediate
  }
}

/// What the interpreter does in one step. `K` stands for an immediate as second operand, `X` for a register.
///
/// Names with a 3 put the result of `b` and the second operand into `a`; the others work on `a` itself.
enum InterpreterOperation: UInt8, CaseIterable {
  // 64-bit arithmetic.
  case moveK, moveX, negate
  case addK, addX, subtractX, multiplyK, multiplyX, orK, orX, andK, andX, xorK, xorX
  case shiftLeftK, shiftLeftX, shiftRightK, shiftRightX, shiftArithmeticK, shiftArithmeticX
  case divideK, divideX, moduloK, moduloX
  case signedDivideK, signedDivideX, signedModuloK, signedModuloX
  // 32-bit arithmetic; the upper half of the result is 0.
  case move32X, negate32
  case add32K, add32X, subtract32X, multiply32K, multiply32X, or32K, or32X, and32K, and32X, xor32K, xor32X
  case shiftLeft32K, shiftLeft32X, shiftRight32K, shiftRight32X, shiftArithmetic32K, shiftArithmetic32X
  case divide32K, divide32X, modulo32K, modulo32X
  case signedDivide32K, signedDivide32X, signedModulo32K, signedModulo32X
  // Sign extension of `b` into `a`, zero extension, byte order of `a`.
  case extend8, extend16, extend32, extend8To32, extend16To32
  case truncate16, swap16, swap32, swap64
  // Jumps.
  case jump
  case jumpEqualK, jumpEqualX, jumpNotEqualK, jumpNotEqualX, jumpSetK, jumpSetX
  case jumpAboveK, jumpAboveX, jumpAboveOrEqualK, jumpAboveOrEqualX
  case jumpBelowK, jumpBelowX, jumpBelowOrEqualK, jumpBelowOrEqualX
  case jumpGreaterK, jumpGreaterX, jumpGreaterOrEqualK, jumpGreaterOrEqualX
  case jumpLessK, jumpLessX, jumpLessOrEqualK, jumpLessOrEqualX
  case jumpEqual32K, jumpEqual32X, jumpNotEqual32K, jumpNotEqual32X, jumpSet32K, jumpSet32X
  case jumpAbove32K, jumpAbove32X, jumpAboveOrEqual32K, jumpAboveOrEqual32X
  case jumpBelow32K, jumpBelow32X, jumpBelowOrEqual32K, jumpBelowOrEqual32X
  case jumpGreater32K, jumpGreater32X, jumpGreaterOrEqual32K, jumpGreaterOrEqual32X
  case jumpLess32K, jumpLess32X, jumpLessOrEqual32K, jumpLessOrEqual32X
  // Memory: loads from `b + offset` to `a`, stores of `b` or an immediate to `a + offset`.
  case load8, load16, load32, load64, loadSigned8, loadSigned16, loadSigned32
  case store8X, store16X, store32X, store64X, store8K, store16K, store32K, store64K
  /// Access of kind `c` (`InterpreterAccess`) that may fault, or to an arena that begins at `immediate`.
  case faulting, arena
  /// A store of a register of 2 bytes, unless it is at least `immediate`.
  case storeBelow
  /// Operation `c` (`InterpreterAtomic`) on `a + offset` with `b`.
  case atomic32, atomic64
  case arenaCast
  // Calls and the end.
  case call, callWithCallback, mapLookup, processor, subprogram, exit
  case tailCall, `throw`, legacyLoad, enterMayGoto, mayGoto
  /// Leaves the interpreter.
  case leave
  /// What no path of a proved program gets to.
  case unreachable

  // What several instructions of BPF come to.
  case add3K, add3X, subtract3X, multiply3K, multiply3X, and3K, and3X, or3X, xor3X
  case shiftLeft3K, shiftRight3K, shiftArithmetic3K
  case add323K, add323X, and323K, xor323X, shiftLeft323K, shiftRight323K
  /// `a = rotated left b`, by the immediate; the latter also `^= c`.
  case rotate, rotate32, rotateXorX
  /// `a = a * b + c`; by immediates, the factor in the lower half.
  case multiplyAddX, multiplyAdd32K
  /// `a += b; c ^= a`, `a ^= b; c += a`.
  case addXorX, xorAddX
  /// `a ^= b >> immediate` through register `c`.
  case shiftRightXorX
  /// `a += low half of the immediate`, and a jump where `a` is not the upper half, or not `b`, or below `b`.
  case addJumpNotEqualK, addJumpNotEqualX, addJumpBelowX
  /// `a = load(b + c + offset)`.
  case load8Indexed, load16Indexed, load32Indexed, load64Indexed
  /// `a = load(b + immediate)`; of the latter `c = load(b + immediate); a += c`.
  case load8Displaced, load16Displaced, load32Displaced, load64Displaced
  case load8DisplacedAdd, load16DisplacedAdd, load32DisplacedAdd, load64DisplacedAdd
  /// `c = load(b + offset); a += c`, or `^=`.
  case load8Add, load16Add, load32Add, load64Add, load8Xor, load64Xor
  /// `a += load(b + c)`, the loaded value kept in register `offset`.
  case load8IndexedAdd, load16IndexedAdd, load32IndexedAdd, load64IndexedAdd
  /// `c = load8(b + offset); a ^= c; a *= register of the immediate`.
  case load8XorMultiplyX
  /// `c = load(b + offset)`, stored to `a + immediate`.
  case copy8, copy16, copy32, copy64
  /// A store of the immediate to `a + b + offset`; of the number `b` to `a + immediate`.
  case store8KIndexed, store8KDisplaced
}

/// A plain load or store, where a step must say which.
enum InterpreterAccess: UInt8 {
  case load8, load16, load32, load64, loadSigned8, loadSigned16, loadSigned32
  case store8X, store16X, store32X, store64X, store8K, store16K, store32K, store64K
  case atomic32, atomic64
}

enum InterpreterAtomic: UInt8 {
  case add, or, and, xor, fetchAdd, fetchOr, fetchAnd, fetchXor, exchange, compareExchange
  case loadAcquire8, loadAcquire16, loadAcquire32, loadAcquire64
  case storeRelease8, storeRelease16, storeRelease32, storeRelease64
}

/// A function's registers and stack, in words of 64 bits: r0 to r10, what follows here, and 512 bytes of stack.
enum InterpreterFrame {
  static let words = 80
  static let size = words * 8
  /// The step after the call.
  static let returnStep = 11
  /// `may_goto`: how often it may still fall through before the clock is looked at, and when it began.
  static let mayGotoBudget = 12
  static let mayGotoStart = 13
  static let stackBase = 16
  /// 34 programs by tail calls of at most 8 functions each, and one frame of space before the first.
  static let count = 34 * 8 + 2
}

/// What the entry of a program begins with.
struct InterpreterEntry: BitwiseCopyable {
  var main: UnsafePointer<skep_step>
  var exceptionCallback: UnsafePointer<skep_step>?
}
