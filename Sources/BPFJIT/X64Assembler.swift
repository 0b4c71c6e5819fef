/// Registers of x86-64 by number.
enum X64 {
  static let rax: Register = 0
  static let rcx: Register = 1
  static let rdx: Register = 2
  static let rbx: Register = 3
  static let rsp: Register = 4
  static let rbp: Register = 5
  static let rsi: Register = 6
  static let rdi: Register = 7
  static let r8: Register = 8
  static let r9: Register = 9
  static let r10: Register = 10
  static let r11: Register = 11
  static let r12: Register = 12
  static let r13: Register = 13
  static let r14: Register = 14
  static let r15: Register = 15
}

/// An operand in memory: `base + (index << scale) + offset`.
struct X64Memory {
  var base: Register
  var index: Register?
  var scale: UInt8 = 0
  var offset: Int32 = 0
}

/// Conditions as jumps encode them.
enum X64Condition: UInt8 {
  case below = 2, aboveOrEqual, equal, notEqual, belowOrEqual, above
  case less = 12, greaterOrEqual, lessOrEqual, greater

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

/// Encodes instructions. Jumps between blocks and calls are left to the layout, which knows how far they go.
struct X64Assembler {
  var layout = CodeLayout(.x64)

  @inline(__always)
  mutating func byte(_ value: UInt8) { layout.bytes.append(value) }

  mutating func word(_ value: Int32) {
    let bits = UInt32(bitPattern: value)
    byte(UInt8(truncatingIfNeeded: bits))
    byte(UInt8(truncatingIfNeeded: bits >> 8))
    byte(UInt8(truncatingIfNeeded: bits >> 16))
    byte(UInt8(truncatingIfNeeded: bits >> 24))
  }

  mutating func quad(_ value: UInt64) {
    word(Int32(truncatingIfNeeded: value))
    word(Int32(truncatingIfNeeded: value >> 32))
  }

  /// `opcode` may have the escape bytes 0x0f, 0x0f38 or 0x0f3a in front, and a mandatory prefix in bits 24 to 31.
  private mutating func opcode(_ code: UInt32, rex: UInt8, force: Bool) {
    if code >> 24 != 0 { byte(UInt8(code >> 24)) }
    if rex != 0 || force { byte(0x40 | rex) }
    if code & 0xff_0000 != 0 { byte(UInt8(truncatingIfNeeded: code >> 16)) }
    if code & 0xff00 != 0 { byte(UInt8(truncatingIfNeeded: code >> 8)) }
    byte(UInt8(truncatingIfNeeded: code))
  }

  /// - Parameter force: emits a prefix in any case, for the low bytes of rsp to rdi.
  mutating func registers(_ code: UInt32, wide: Bool, _ reg: Register, _ rm: Register, force: Bool = false) {
    let rex: UInt8 = (wide ? 8 : 0) | (reg >> 3) << 2 | rm >> 3
    opcode(code, rex: rex, force: force)
    byte(0xc0 | (reg & 7) << 3 | rm & 7)
  }

  mutating func memory(_ code: UInt32, wide: Bool, _ reg: Register, _ at: X64Memory, force: Bool = false) {
    let rex: UInt8 = (wide ? 8 : 0) | (reg >> 3) << 2 | ((at.index ?? 0) >> 3) << 1 | at.base >> 3
    opcode(code, rex: rex, force: force)
    modrm(reg, at)
  }

  private mutating func modrm(_ reg: Register, _ at: X64Memory) {
    let field = (reg & 7) << 3
    let isSmall = at.offset == Int32(Int8(truncatingIfNeeded: at.offset))
    let mode: UInt8 = at.offset == 0 && at.base & 7 != 5 ? 0 : isSmall ? 0x40 : 0x80
    if let index = at.index {
      byte(mode | field | 4)
      byte(at.scale << 6 | (index & 7) << 3 | at.base & 7)
    } else if at.base & 7 == 4 {
      byte(mode | field | 4)
      byte(0x24)
    } else {
      byte(mode | field | at.base & 7)
    }
    if mode == 0x40 { byte(UInt8(truncatingIfNeeded: at.offset)) }
    if mode == 0x80 { word(at.offset) }
  }

  /// A three-operand instruction of BMI2 with all of its operands in registers.
  /// - Parameters:
  ///   - prefix: 0 none, 1 for 66, 2 for f3, 3 for f2.
  ///   - map: 2 for 0f38, 3 for 0f3a.
  mutating func vex(
    _ code: UInt8, map: UInt8, prefix: UInt8, wide: Bool, _ reg: Register, _ second: Register, _ rm: Register
  ) {
    byte(0xc4)
    byte((reg >> 3 ^ 1) << 7 | 0x40 | (rm >> 3 ^ 1) << 5 | map)
    byte((wide ? 0x80 : 0) | (second ^ 15) << 3 | prefix)
    byte(code)
    byte(0xc0 | (reg & 7) << 3 | rm & 7)
  }

  // MARK: instructions

  mutating func move(_ to: Register, _ from: Register, wide: Bool = true) {
    registers(0x89, wide: wide, from, to)
  }

  /// The shortest move of a constant.
  mutating func moveConstant(_ to: Register, _ value: UInt64, keepsFlags: Bool) {
    if value == 0 && !keepsFlags {
      registers(0x31, wide: false, to, to)
    } else if value >> 32 == 0 {
      if to >= 8 { byte(0x41) }
      byte(0xb8 | to & 7)
      word(Int32(truncatingIfNeeded: value))
    } else if Int64(bitPattern: value) == Int64(Int32(truncatingIfNeeded: value)) {
      byte(0x48 | to >> 3)
      byte(0xc7)
      byte(0xc0 | to & 7)
      word(Int32(truncatingIfNeeded: value))
    } else {
      byte(0x48 | to >> 3)
      byte(0xb8 | to & 7)
      quad(value)
    }
  }

  /// add 0, or 1, and 4, sub 5, xor 6, cmp 7 with an immediate.
  mutating func immediate(_ number: UInt8, wide: Bool, _ to: Register, _ value: Int32) {
    if value == Int32(Int8(truncatingIfNeeded: value)) {
      registers(0x83, wide: wide, number, to)
      byte(UInt8(truncatingIfNeeded: value))
    } else if to == X64.rax {
      if wide { byte(0x48) }
      byte(number << 3 | 5)
      word(value)
    } else {
      registers(0x81, wide: wide, number, to)
      word(value)
    }
  }

  /// rol 0, ror 1, shl 4, shr 5, sar 7 by a constant.
  mutating func shift(_ number: UInt8, wide: Bool, _ to: Register, _ count: UInt8) {
    if count == 1 {
      registers(0xd1, wide: wide, number, to)
    } else {
      registers(0xc1, wide: wide, number, to)
      byte(count)
    }
  }

  mutating func push(_ register: Register) {
    if register >= 8 { byte(0x41) }
    byte(0x50 | register & 7)
  }

  mutating func pop(_ register: Register) {
    if register >= 8 { byte(0x41) }
    byte(0x58 | register & 7)
  }

  mutating func load(_ to: Register, _ at: X64Memory, size: UInt8) {
    switch size {
    case 1: memory(0x0fb6, wide: false, to, at)
    case 2: memory(0x0fb7, wide: false, to, at)
    case 4: memory(0x8b, wide: false, to, at)
    default: memory(0x8b, wide: true, to, at)
    }
  }

  mutating func store(_ from: Register, _ at: X64Memory, size: UInt8) {
    switch size {
    case 1: memory(0x88, wide: false, from, at, force: from >= 4)
    case 2: memory(0x6600_0089, wide: false, from, at)
    case 4: memory(0x89, wide: false, from, at)
    default: memory(0x89, wide: true, from, at)
    }
  }

  /// Jumps a little way forward inside one node's code; `land` says where to.
  mutating func shortJump(_ condition: X64Condition?) -> Int {
    byte(condition.map { 0x70 | $0.rawValue } ?? 0xeb)
    byte(0)
    return layout.bytes.count
  }

  func land(_ jump: Int) {
    layout.bytes[jump - 1] = UInt8(truncatingIfNeeded: layout.bytes.count - jump)
  }
}
