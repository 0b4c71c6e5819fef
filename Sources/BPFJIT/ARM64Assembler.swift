/// Registers of arm64 by number. 31 is the stack pointer where an address or an addition of a constant is meant, and
/// zero elsewhere.
enum ARM64 {
  static let x0: Register = 0
  static let x1: Register = 1
  static let x2: Register = 2
  static let x3: Register = 3
  static let x4: Register = 4
  static let x5: Register = 5
  static let x6: Register = 6
  static let x7: Register = 7
  static let x9: Register = 9
  static let x10: Register = 10
  /// Holds an operand or an address for the next instruction.
  static let x16: Register = 16
  /// Holds what an instruction of several parts needs within itself.
  static let x17: Register = 17
  static let x19: Register = 19
  static let framePointer: Register = 29
  static let link: Register = 30
  static let zero: Register = 31
  static let stack: Register = 31
}

/// An operand in memory: `base + (index << scale) + offset`.
struct ARM64Memory {
  var base: Register
  var index: Register?
  var scale: UInt8
  var offset: Int64

  init(base: Register, index: Register? = nil, scale: UInt8 = 0, offset: Int64 = 0) {
    (self.base, self.index, self.scale, self.offset) = (base, index, scale, offset)
  }

  /// A field of what `base` points to.
  init(base: Register, field: Int32) { self.init(base: base, offset: Int64(field)) }
}

/// Conditions as instructions encode them; the lowest bit turns one into its contrary.
enum ARM64Condition: UInt8 {
  case equal, notEqual, aboveOrEqual, below
  case above = 8, belowOrEqual, greaterOrEqual, less, greater, lessOrEqual

  init(_ condition: Condition) {
    switch condition {
    case .equal, .bitsClear: self = .equal
    case .notEqual, .bitsSet: self = .notEqual
    case .above: self = .above
    case .aboveOrEqual: self = .aboveOrEqual
    case .below: self = .below
    case .belowOrEqual: self = .belowOrEqual
    case .greater: self = .greater
    case .greaterOrEqual: self = .greaterOrEqual
    case .less: self = .less
    case .lessOrEqual: self = .lessOrEqual
    }
  }
}

/// Instructions of three registers, by their bits.
enum ARM64Operation: UInt32 {
  case add = 0x0b00_0000
  case sub = 0x4b00_0000
  case subs = 0x6b00_0000
  case and = 0x0a00_0000
  case or = 0x2a00_0000
  case xor = 0x4a00_0000
  case ands = 0x6a00_0000
  case udiv = 0x1ac0_0800
  case sdiv = 0x1ac0_0c00
  case shiftLeft = 0x1ac0_2000
  case shiftRight = 0x1ac0_2400
  case shiftRightSigned = 0x1ac0_2800
  case mul = 0x1b00_7c00
}

/// Encodes instructions. Jumps between blocks and calls are left to the layout, which knows how far they go.
struct ARM64Assembler {
  var layout = CodeLayout(.arm64)

  mutating func word(_ value: UInt32) {
    layout.bytes.append(UInt8(truncatingIfNeeded: value))
    layout.bytes.append(UInt8(truncatingIfNeeded: value >> 8))
    layout.bytes.append(UInt8(truncatingIfNeeded: value >> 16))
    layout.bytes.append(UInt8(truncatingIfNeeded: value >> 24))
  }

  private func wideBit(_ wide: Bool) -> UInt32 { wide ? 1 << 31 : 0 }

  // MARK: arithmetic

  mutating func registers(
    _ operation: ARM64Operation, wide: Bool, _ to: Register, _ a: Register, _ b: Register, shift: UInt8 = 0
  ) {
    word(
      operation.rawValue | wideBit(wide) | UInt32(b) << 16 | UInt32(shift) << 10 | UInt32(a) << 5 | UInt32(to))
  }

  /// `to = addend + a * b`, or `addend - a * b`.
  mutating func multiplyAdd(
    wide: Bool, _ to: Register, _ a: Register, _ b: Register, _ addend: Register, subtracts: Bool = false
  ) {
    word(
      0x1b00_0000 | (subtracts ? 0x8000 : 0) | wideBit(wide) | UInt32(b) << 16 | UInt32(addend) << 10
        | UInt32(a) << 5 | UInt32(to))
  }

  mutating func multiplyHigh(_ to: Register, _ a: Register, _ b: Register) {
    word(0x9bc0_7c00 | UInt32(b) << 16 | UInt32(a) << 5 | UInt32(to))
  }

  mutating func move(_ to: Register, _ from: Register, wide: Bool = true) {
    registers(.or, wide: wide, to, ARM64.zero, from)
  }

  /// To or from the stack pointer.
  mutating func moveStack(_ to: Register, _ from: Register) { word(0x9100_0000 | UInt32(from) << 5 | UInt32(to)) }

  /// The shortest move of a constant. Flags stay.
  mutating func moveConstant(_ to: Register, _ value: UInt64) {
    func wideMove(_ opcode: UInt32, wide: Bool, _ part: UInt64, _ half: Int) -> UInt32 {
      opcode | wideBit(wide) | UInt32(half) << 21 | UInt32(part & 0xffff) << 5 | UInt32(to)
    }
    func chunk(_ value: UInt64, _ half: Int) -> UInt64 { value >> UInt64(half * 16) & 0xffff }
    let (movn, movz, movk) = (UInt32(0x1280_0000), UInt32(0x5280_0000), UInt32(0x7280_0000))
    let zeros = (0..<4).count { chunk(value, $0) == 0 }
    let ones = (0..<4).count { chunk(value, $0) == 0xffff }
    if value >> 32 == 0 {
      if zeros < 3, let half = (0..<2).first(where: { chunk(~value, 1 - $0) == 0 }) {
        return word(wideMove(movn, wide: false, chunk(~value, half), half))
      }
    }
    if zeros < 3, ones < 3, let bits = ARM64Assembler.logicalImmediate(value, wide: true) {
      return word(0xb200_03e0 | bits << 10 | UInt32(to))
    }
    let (first, filler) = ones > zeros ? (movn, UInt64(0xffff)) : (movz, 0)
    var isFirst = true
    for half in 0..<4 where chunk(value, half) != filler {
      let part = isFirst && ones > zeros ? ~chunk(value, half) : chunk(value, half)
      word(wideMove(isFirst ? first : movk, wide: true, part, half))
      isFirst = false
    }
    if isFirst { word(wideMove(first, wide: true, 0, 0)) }
  }

  /// The 13 bits N, immr and imms of a constant that logical instructions can hold: a run of ones, rotated within 2 to
  /// 64 bits and repeated.
  static func logicalImmediate(_ constant: UInt64, wide: Bool) -> UInt32? {
    let value = wide ? constant : constant & 0xffff_ffff | constant << 32
    guard value != 0, value != .max else { return nil }
    var size: UInt64 = 64
    while size > 2 {
      let half = size / 2
      let mask = (UInt64(1) << half) - 1
      guard value & mask == value >> half & mask else { break }
      size = half
    }
    let mask = UInt64.max >> (64 - size)
    let unit = value & mask
    let count = UInt64(unit.nonzeroBitCount)
    let run = (UInt64(1) << count) - 1
    let rotation: UInt64
    if unit & 1 != 0 && unit >> (size - 1) != 0 {
      rotation = UInt64((~(unit << (64 - size))).leadingZeroBitCount)
    } else {
      rotation = (size - UInt64(unit.trailingZeroBitCount)) & (size - 1)
    }
    let turned = rotation == 0 ? unit : (unit << rotation | unit >> (size - rotation)) & mask
    guard turned == run else { return nil }
    let lengths = UInt32(truncatingIfNeeded: ~(size * 2 - 1) & 0x3f | (count - 1))
    return (size == 64 ? 1 << 12 : 0) | UInt32(rotation) << 6 | lengths
  }

  /// A logical operation with a constant as `logicalImmediate` has it.
  mutating func logical(_ operation: ARM64Operation, wide: Bool, _ to: Register, _ from: Register, bits: UInt32) {
    let opcode: UInt32 =
      switch operation {
      case .and: 0x1200_0000
      case .or: 0x3200_0000
      case .xor: 0x5200_0000
      default: 0x7200_0000
      }
    word(opcode | wideBit(wide) | bits << 10 | UInt32(from) << 5 | UInt32(to))
  }

  /// What additions and comparisons hold: 12 bits, or those above them.
  static func isArithmeticImmediate(_ value: UInt64) -> Bool { value < 4096 || value & 0xfff == 0 && value < 1 << 24 }

  /// add 0x11000000, sub 0x51000000, adds 0x31000000, subs 0x71000000 with a constant as above.
  mutating func arithmetic(_ opcode: UInt32, wide: Bool, _ to: Register, _ from: Register, _ value: UInt64) {
    let bits = value < 4096 ? UInt32(value) << 10 : 1 << 22 | UInt32(value >> 12) << 10
    word(opcode | wideBit(wide) | bits | UInt32(from) << 5 | UInt32(to))
  }

  /// `to = from + value`; either may be the stack pointer. May change x17. Flags stay.
  mutating func addConstant(_ to: Register, _ from: Register, _ value: Int64, wide: Bool = true) {
    let magnitude = value.magnitude
    let opcode: UInt32 = value < 0 ? 0x5100_0000 : 0x1100_0000
    if ARM64Assembler.isArithmeticImmediate(magnitude) {
      arithmetic(opcode, wide: wide, to, from, magnitude)
    } else if magnitude < 1 << 24 {
      arithmetic(opcode, wide: wide, to, from, magnitude & 0xfff)
      arithmetic(opcode, wide: wide, to, to, magnitude & 0xfff000)
    } else {
      let bits = UInt64(bitPattern: value)
      moveConstant(ARM64.x17, wide ? bits : bits & 0xffff_ffff)
      // The form that knows the stack pointer.
      word(0x0b20_6000 | wideBit(wide) | UInt32(ARM64.x17) << 16 | UInt32(from) << 5 | UInt32(to))
    }
  }

  /// `to = base + (index << scale)`; the base may be the stack pointer.
  mutating func addScaled(wide: Bool = true, _ to: Register, _ base: Register, _ index: Register, _ scale: UInt8) {
    if base == ARM64.stack {
      word(0x8b20_6000 | UInt32(index) << 16 | UInt32(scale) << 10 | UInt32(base) << 5 | UInt32(to))
    } else {
      registers(.add, wide: wide, to, base, index, shift: scale)
    }
  }

  /// Moves bits `lowest` on, `count` many, to the bottom of `to`; above them are zeros or copies of the highest.
  mutating func extract(
    wide: Bool, _ to: Register, _ from: Register, lowest: UInt8, count: UInt8, signed: Bool = false
  ) {
    bitfield(wide: wide, signed: signed, to, from, UInt32(lowest), UInt32(lowest + count - 1))
  }

  private mutating func bitfield(
    wide: Bool, signed: Bool, _ to: Register, _ from: Register, _ rotation: UInt32, _ end: UInt32
  ) {
    word(
      (signed ? 0x1300_0000 : 0x5300_0000) | (wide ? 0x8040_0000 : 0) | rotation << 16 | end << 10
        | UInt32(from) << 5 | UInt32(to))
  }

  mutating func shiftLeft(wide: Bool, _ to: Register, _ from: Register, _ count: UInt8) {
    let width: UInt32 = wide ? 64 : 32
    bitfield(wide: wide, signed: false, to, from, (width - UInt32(count)) & (width - 1), width - 1 - UInt32(count))
  }

  mutating func shiftRight(wide: Bool, _ to: Register, _ from: Register, _ count: UInt8, signed: Bool = false) {
    bitfield(wide: wide, signed: signed, to, from, UInt32(count), wide ? 63 : 31)
  }

  mutating func rotateRight(wide: Bool, _ to: Register, _ from: Register, _ count: UInt8) {
    word(
      0x1380_0000 | (wide ? 0x8040_0000 : 0) | UInt32(from) << 16 | UInt32(count) << 10 | UInt32(from) << 5
        | UInt32(to))
  }

  /// Reverses 4 or 8 bytes.
  mutating func reverse(_ to: Register, _ from: Register, wide: Bool) {
    word((wide ? 0xdac0_0c00 : 0x5ac0_0800) | UInt32(from) << 5 | UInt32(to))
  }

  /// `to = condition ? a : b`.
  mutating func choose(_ condition: ARM64Condition, _ to: Register, _ a: Register, _ b: Register) {
    word(0x9a80_0000 | UInt32(b) << 16 | UInt32(condition.rawValue) << 12 | UInt32(a) << 5 | UInt32(to))
  }

  /// `to = condition ? 1 : 0`.
  mutating func set(_ condition: ARM64Condition, _ to: Register) {
    word(0x9a9f_07e0 | UInt32(condition.rawValue ^ 1) << 12 | UInt32(to))
  }

  mutating func compare(wide: Bool, _ a: Register, _ b: Register) { registers(.subs, wide: wide, ARM64.zero, a, b) }

  /// - Parameter value: as `isArithmeticImmediate` allows.
  mutating func compare(wide: Bool, _ a: Register, constant value: UInt64, negative: Bool = false) {
    arithmetic(negative ? 0x3100_0000 : 0x7100_0000, wide: wide, ARM64.zero, a, value)
  }

  // MARK: memory

  enum Access: UInt32 {
    case store, load
    /// Extended to 64 bits.
    case loadSigned
  }

  mutating func load(_ to: Register, _ at: ARM64Memory, size: UInt8) { access(.load, to, at, size: size) }

  mutating func store(_ from: Register, _ at: ARM64Memory, size: UInt8) { access(.store, from, at, size: size) }

  /// May change x16 and x17, which the place must not be made of.
  mutating func access(_ kind: Access, _ register: Register, _ at: ARM64Memory, size: UInt8) {
    let log = UInt32(size.trailingZeroBitCount)
    let kind = kind == .loadSigned && size == 8 ? .load : kind
    let opcode = log << 30 | kind.rawValue << 22 | UInt32(register)
    var base = at.base
    if let index = at.index {
      if at.offset == 0 && (at.scale == 0 || UInt32(at.scale) == log) {
        let scaled: UInt32 = at.scale == 0 ? 0 : 1 << 12
        return word(0x3820_6800 | opcode | scaled | UInt32(index) << 16 | UInt32(base) << 5)
      }
      addScaled(ARM64.x17, base, index, at.scale)
      base = ARM64.x17
    }
    let offset = at.offset
    if offset >= 0 && offset & Int64(size - 1) == 0 && offset >> Int64(log) < 4096 {
      word(0x3900_0000 | opcode | UInt32(offset >> Int64(log)) << 10 | UInt32(base) << 5)
    } else if offset >= -256 && offset < 256 {
      word(0x3800_0000 | opcode | (UInt32(truncatingIfNeeded: offset) & 0x1ff) << 12 | UInt32(base) << 5)
    } else {
      moveConstant(ARM64.x16, UInt64(bitPattern: offset))
      word(0x3820_6800 | opcode | UInt32(ARM64.x16) << 16 | UInt32(base) << 5)
    }
  }

  /// The address of a place. May change x17.
  mutating func address(_ to: Register, _ at: ARM64Memory) {
    if let index = at.index {
      addScaled(to, at.base, index, at.scale)
      if at.offset != 0 { addConstant(to, to, at.offset) }
    } else {
      addConstant(to, at.base, at.offset)
    }
  }

  mutating func pushPair(_ a: Register, _ b: Register) {
    word(0xa9bf_0000 | UInt32(b) << 10 | UInt32(ARM64.stack) << 5 | UInt32(a))
  }

  mutating func popPair(_ a: Register, _ b: Register) {
    word(0xa8c1_0000 | UInt32(b) << 10 | UInt32(ARM64.stack) << 5 | UInt32(a))
  }

  /// - Parameter size: 1, 2, 4 or 8 bytes, at the address in `base`.
  mutating func loadExclusive(_ to: Register, _ base: Register, size: UInt8) {
    word(0x085f_fc00 | UInt32(size.trailingZeroBitCount) << 30 | UInt32(base) << 5 | UInt32(to))
  }

  /// `failed` is 0 where the store was done.
  mutating func storeExclusive(_ failed: Register, _ from: Register, _ base: Register, size: UInt8) {
    word(
      0x0800_fc00 | UInt32(size.trailingZeroBitCount) << 30 | UInt32(failed) << 16 | UInt32(base) << 5
        | UInt32(from))
  }

  mutating func loadAcquire(_ to: Register, _ base: Register, size: UInt8) {
    word(0x08df_fc00 | UInt32(size.trailingZeroBitCount) << 30 | UInt32(base) << 5 | UInt32(to))
  }

  mutating func storeRelease(_ from: Register, _ base: Register, size: UInt8) {
    word(0x089f_fc00 | UInt32(size.trailingZeroBitCount) << 30 | UInt32(base) << 5 | UInt32(from))
  }

  /// What was before is seen by all before what follows.
  mutating func barrier() { word(0xd503_3bbf) }

  // MARK: jumps

  mutating func jump(to register: Register) { word(0xd61f_0000 | UInt32(register) << 5) }
  mutating func call(_ register: Register) { word(0xd63f_0000 | UInt32(register) << 5) }
  mutating func `return`() { word(0xd65f_03c0) }
  mutating func trap() { word(0xd420_0000) }

  /// Jumps a little way forward inside one node's code; `land` says where to.
  mutating func shortJump(_ condition: ARM64Condition) -> Int {
    word(0x5400_0000 | UInt32(condition.rawValue))
    return layout.bytes.count - 4
  }

  mutating func shortJump(ifZero register: Register, wide: Bool) -> Int {
    word(0x3400_0000 | wideBit(wide) | UInt32(register))
    return layout.bytes.count - 4
  }

  mutating func shortJump(ifNotZero register: Register, wide: Bool) -> Int {
    word(0x3500_0000 | wideBit(wide) | UInt32(register))
    return layout.bytes.count - 4
  }

  func land(_ jump: Int) {
    let distance = UInt32((layout.bytes.count - jump) / 4) << 5
    for byte in 0..<3 { layout.bytes[jump + byte] |= UInt8(truncatingIfNeeded: distance >> UInt32(byte * 8)) }
  }

  /// Jumps back to `place` where the register is not 0.
  mutating func jumpBack(to place: Int, ifNotZero register: Register) {
    let distance = UInt32(truncatingIfNeeded: (place - layout.bytes.count) / 4) & 0x7_ffff
    word(0x3500_0000 | distance << 5 | UInt32(register))
  }
}
