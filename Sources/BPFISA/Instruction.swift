/// One eBPF instruction slot, as RFC 9669 section 3 lays it out.
///
///     byte   0        1          2..3      4..7
///          +--------+----+-----+---------+-----------+
///          | opcode | src| dst | offset  | immediate |
///          +--------+----+-----+---------+-----------+
///                    4 bits each
///
/// A 64-bit immediate load (`ld_imm64`) takes two consecutive slots; everything else takes one. All indices in Skep
/// (jump targets, line information, the verifier's counts) are indices of slots, as they are in Linux.
public struct Instruction: BitwiseCopyable, Hashable, Sendable {
  public var opcode: UInt8
  /// Destination in the low nibble, source in the high one.
  public var registers: UInt8
  public var offset: Int16
  public var immediate: Int32

  @inlinable
  public init(opcode: UInt8, dst: UInt8 = 0, src: UInt8 = 0, offset: Int16 = 0, immediate: Int32 = 0) {
    self.opcode = opcode
    self.registers = (dst & 0xf) | (src << 4)
    self.offset = offset
    self.immediate = immediate
  }

  @inlinable public var dst: Int {
    get { Int(registers & 0xf) }
    set { registers = (registers & 0xf0) | UInt8(truncatingIfNeeded: newValue & 0xf) }
  }

  @inlinable public var src: Int {
    get { Int(registers >> 4) }
    set { registers = (registers & 0x0f) | UInt8(truncatingIfNeeded: newValue << 4) }
  }

  /// `BPF_CLASS`: the low three bits.
  @inlinable public var instructionClass: UInt8 { opcode & 0x07 }
  /// `BPF_OP`: the operation of an ALU or jump instruction.
  @inlinable public var operation: UInt8 { opcode & 0xf0 }
  /// `BPF_SRC`: whether the second operand of an ALU or jump instruction is a register (`Source.x`).
  @inlinable public var operandSource: UInt8 { opcode & 0x08 }
  /// `BPF_SIZE`: the width code of a load or store.
  @inlinable public var sizeCode: UInt8 { opcode & 0x18 }
  /// `BPF_MODE`: the addressing mode of a load or store.
  @inlinable public var mode: UInt8 { opcode & 0xe0 }

  /// The width in bytes that `sizeCode` stands for.
  @inlinable public var accessSize: Int {
    switch sizeCode {
    case Size.b: 1
    case Size.h: 2
    case Size.w: 4
    default: 8
    }
  }

  /// The first slot of a 64-bit immediate load.
  @inlinable public var isLoadImmediate64: Bool { opcode == Opcode.loadImmediate64 }
  /// A call of a helper by number.
  @inlinable public var isHelperCall: Bool { opcode == Opcode.call && src == 0 }
  /// A call of another subprogram of this program (`BPF_PSEUDO_CALL`).
  @inlinable public var isSubprogramCall: Bool { opcode == Opcode.call && src == Int(PseudoSource.call) }
  /// A call of a kernel function by BTF id (`BPF_PSEUDO_KFUNC_CALL`).
  @inlinable public var isKfuncCall: Bool { opcode == Opcode.call && src == Int(PseudoSource.kfuncCall) }
  /// `ld_imm64` of a subprogram's address (`BPF_PSEUDO_FUNC`).
  @inlinable public var isSubprogramAddress: Bool {
    opcode == Opcode.loadImmediate64 && src == Int(PseudoSource.function)
  }
}

/// Instruction classes (RFC 9669 section 3.2).
public enum Class {
  @inlinable public static var ld: UInt8 { 0x00 }
  @inlinable public static var ldx: UInt8 { 0x01 }
  @inlinable public static var st: UInt8 { 0x02 }
  @inlinable public static var stx: UInt8 { 0x03 }
  @inlinable public static var alu: UInt8 { 0x04 }
  @inlinable public static var jmp: UInt8 { 0x05 }
  @inlinable public static var jmp32: UInt8 { 0x06 }
  @inlinable public static var alu64: UInt8 { 0x07 }
}

/// Operand source bit of ALU and jump instructions.
public enum Source {
  /// The immediate.
  @inlinable public static var k: UInt8 { 0x00 }
  /// The source register.
  @inlinable public static var x: UInt8 { 0x08 }
}

/// Width codes of loads and stores.
public enum Size {
  @inlinable public static var w: UInt8 { 0x00 }
  @inlinable public static var h: UInt8 { 0x08 }
  @inlinable public static var b: UInt8 { 0x10 }
  @inlinable public static var dw: UInt8 { 0x18 }
}

/// Addressing modes of loads and stores.
public enum Mode {
  @inlinable public static var imm: UInt8 { 0x00 }
  @inlinable public static var abs: UInt8 { 0x20 }
  @inlinable public static var ind: UInt8 { 0x40 }
  @inlinable public static var mem: UInt8 { 0x60 }
  /// Sign-extending load.
  @inlinable public static var memsx: UInt8 { 0x80 }
  @inlinable public static var atomic: UInt8 { 0xc0 }
  /// Speculation barrier, when the class is `Class.st`. The kernel's own; programs cannot contain it.
  @inlinable public static var nospec: UInt8 { 0xc0 }
}

/// Arithmetic operations.
public enum ALU {
  @inlinable public static var add: UInt8 { 0x00 }
  @inlinable public static var sub: UInt8 { 0x10 }
  @inlinable public static var mul: UInt8 { 0x20 }
  @inlinable public static var div: UInt8 { 0x30 }
  @inlinable public static var or: UInt8 { 0x40 }
  @inlinable public static var and: UInt8 { 0x50 }
  @inlinable public static var lsh: UInt8 { 0x60 }
  @inlinable public static var rsh: UInt8 { 0x70 }
  @inlinable public static var neg: UInt8 { 0x80 }
  @inlinable public static var mod: UInt8 { 0x90 }
  @inlinable public static var xor: UInt8 { 0xa0 }
  @inlinable public static var mov: UInt8 { 0xb0 }
  @inlinable public static var arsh: UInt8 { 0xc0 }
  @inlinable public static var end: UInt8 { 0xd0 }
}

/// Jump operations.
public enum Jump {
  @inlinable public static var ja: UInt8 { 0x00 }
  @inlinable public static var jeq: UInt8 { 0x10 }
  @inlinable public static var jgt: UInt8 { 0x20 }
  @inlinable public static var jge: UInt8 { 0x30 }
  @inlinable public static var jset: UInt8 { 0x40 }
  @inlinable public static var jne: UInt8 { 0x50 }
  @inlinable public static var jsgt: UInt8 { 0x60 }
  @inlinable public static var jsge: UInt8 { 0x70 }
  @inlinable public static var call: UInt8 { 0x80 }
  @inlinable public static var exit: UInt8 { 0x90 }
  @inlinable public static var jlt: UInt8 { 0xa0 }
  @inlinable public static var jle: UInt8 { 0xb0 }
  @inlinable public static var jslt: UInt8 { 0xc0 }
  @inlinable public static var jsle: UInt8 { 0xd0 }
  /// `may_goto` (conditional pseudo jump).
  @inlinable public static var jcond: UInt8 { 0xe0 }
}

/// Atomic operations: the immediate of an `Mode.atomic` store.
public enum Atomic {
  @inlinable public static var add: Int32 { 0x00 }
  @inlinable public static var or: Int32 { 0x40 }
  @inlinable public static var and: Int32 { 0x50 }
  @inlinable public static var xor: Int32 { 0xa0 }
  /// Flag: the old value is returned in the source register.
  @inlinable public static var fetch: Int32 { 0x01 }
  @inlinable public static var xchg: Int32 { 0xe1 }
  @inlinable public static var cmpxchg: Int32 { 0xf1 }
  @inlinable public static var loadAcquire: Int32 { 0x100 }
  @inlinable public static var storeRelease: Int32 { 0x110 }
}

/// What the source-register field of `ld_imm64` and `call` says about the immediate.
public enum PseudoSource {
  @inlinable public static var mapFD: UInt8 { 1 }
  @inlinable public static var mapValue: UInt8 { 2 }
  @inlinable public static var btfID: UInt8 { 3 }
  @inlinable public static var function: UInt8 { 4 }
  @inlinable public static var mapIndex: UInt8 { 5 }
  @inlinable public static var mapIndexValue: UInt8 { 6 }
  @inlinable public static var call: UInt8 { 1 }
  @inlinable public static var kfuncCall: UInt8 { 2 }
  /// `BPF_MAY_GOTO`: the source field of a `Jump.jcond`.
  @inlinable public static var mayGoto: UInt8 { 0 }
}

/// Whole opcodes that code asks for by name.
public enum Opcode {
  @inlinable public static var loadImmediate64: UInt8 { Class.ld | Mode.imm | Size.dw }
  @inlinable public static var call: UInt8 { Class.jmp | Jump.call }
  @inlinable public static var exit: UInt8 { Class.jmp | Jump.exit }
  @inlinable public static var ja: UInt8 { Class.jmp | Jump.ja }
  /// `gotol`: a jump by the 32-bit immediate.
  @inlinable public static var jaLong: UInt8 { Class.jmp32 | Jump.ja }
  @inlinable public static var mayGoto: UInt8 { Class.jmp | Jump.jcond }
  /// `callx`: a call of the address in the destination register.
  @inlinable public static var callRegister: UInt8 { Class.jmp | Jump.call | Source.x }
  /// A move between 64-bit registers, whose offset makes it more than that (sign extension, address space cast).
  @inlinable public static var movRegister64: UInt8 { Class.alu64 | ALU.mov | Source.x }
  /// A speculation barrier.
  @inlinable public static var nospec: UInt8 { Class.st | Mode.nospec }
}

/// The offset that makes `mov r, r` an `addr_space_cast`.
@inlinable public var addressSpaceCastOffset: Int16 { 1 }
/// The offset that makes `mov r, r` the address of a per-CPU variable. The kernel's own; programs cannot contain it.
public let perCPUAddressOffset: Int16 = -1
/// How many bytes of stack one frame has.
@inlinable public var maximumStackSize: Int { 512 }
