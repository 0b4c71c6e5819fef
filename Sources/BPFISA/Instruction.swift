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
  public static let ld: UInt8 = 0x00
  public static let ldx: UInt8 = 0x01
  public static let st: UInt8 = 0x02
  public static let stx: UInt8 = 0x03
  public static let alu: UInt8 = 0x04
  public static let jmp: UInt8 = 0x05
  public static let jmp32: UInt8 = 0x06
  public static let alu64: UInt8 = 0x07
}

/// Operand source bit of ALU and jump instructions.
public enum Source {
  /// The immediate.
  public static let k: UInt8 = 0x00
  /// The source register.
  public static let x: UInt8 = 0x08
}

/// Width codes of loads and stores.
public enum Size {
  public static let w: UInt8 = 0x00
  public static let h: UInt8 = 0x08
  public static let b: UInt8 = 0x10
  public static let dw: UInt8 = 0x18
}

/// Addressing modes of loads and stores.
public enum Mode {
  public static let imm: UInt8 = 0x00
  public static let abs: UInt8 = 0x20
  public static let ind: UInt8 = 0x40
  public static let mem: UInt8 = 0x60
  /// Sign-extending load.
  public static let memsx: UInt8 = 0x80
  public static let atomic: UInt8 = 0xc0
  /// Speculation barrier, when the class is `Class.st`. The kernel's own; programs cannot contain it.
  public static let nospec: UInt8 = 0xc0
}

/// Arithmetic operations.
public enum ALU {
  public static let add: UInt8 = 0x00
  public static let sub: UInt8 = 0x10
  public static let mul: UInt8 = 0x20
  public static let div: UInt8 = 0x30
  public static let or: UInt8 = 0x40
  public static let and: UInt8 = 0x50
  public static let lsh: UInt8 = 0x60
  public static let rsh: UInt8 = 0x70
  public static let neg: UInt8 = 0x80
  public static let mod: UInt8 = 0x90
  public static let xor: UInt8 = 0xa0
  public static let mov: UInt8 = 0xb0
  public static let arsh: UInt8 = 0xc0
  public static let end: UInt8 = 0xd0
}

/// Jump operations.
public enum Jump {
  public static let ja: UInt8 = 0x00
  public static let jeq: UInt8 = 0x10
  public static let jgt: UInt8 = 0x20
  public static let jge: UInt8 = 0x30
  public static let jset: UInt8 = 0x40
  public static let jne: UInt8 = 0x50
  public static let jsgt: UInt8 = 0x60
  public static let jsge: UInt8 = 0x70
  public static let call: UInt8 = 0x80
  public static let exit: UInt8 = 0x90
  public static let jlt: UInt8 = 0xa0
  public static let jle: UInt8 = 0xb0
  public static let jslt: UInt8 = 0xc0
  public static let jsle: UInt8 = 0xd0
  /// `may_goto` (conditional pseudo jump).
  public static let jcond: UInt8 = 0xe0
}

/// Atomic operations: the immediate of an `Mode.atomic` store.
public enum Atomic {
  public static let add: Int32 = 0x00
  public static let or: Int32 = 0x40
  public static let and: Int32 = 0x50
  public static let xor: Int32 = 0xa0
  /// Flag: the old value is returned in the source register.
  public static let fetch: Int32 = 0x01
  public static let xchg: Int32 = 0xe1
  public static let cmpxchg: Int32 = 0xf1
  public static let loadAcquire: Int32 = 0x100
  public static let storeRelease: Int32 = 0x110
}

/// What the source-register field of `ld_imm64` and `call` says about the immediate.
public enum PseudoSource {
  public static let mapFD: UInt8 = 1
  public static let mapValue: UInt8 = 2
  public static let btfID: UInt8 = 3
  public static let function: UInt8 = 4
  public static let mapIndex: UInt8 = 5
  public static let mapIndexValue: UInt8 = 6
  public static let call: UInt8 = 1
  public static let kfuncCall: UInt8 = 2
  /// `BPF_MAY_GOTO`: the source field of a `Jump.jcond`.
  public static let mayGoto: UInt8 = 0
}

/// Whole opcodes that code asks for by name.
public enum Opcode {
  public static let loadImmediate64: UInt8 = Class.ld | Mode.imm | Size.dw
  public static let call: UInt8 = Class.jmp | Jump.call
  public static let exit: UInt8 = Class.jmp | Jump.exit
  public static let ja: UInt8 = Class.jmp | Jump.ja
  /// `gotol`: a jump by the 32-bit immediate.
  public static let jaLong: UInt8 = Class.jmp32 | Jump.ja
  public static let mayGoto: UInt8 = Class.jmp | Jump.jcond
  /// `callx`: a call of the address in the destination register.
  public static let callRegister: UInt8 = Class.jmp | Jump.call | Source.x
  /// A move between 64-bit registers, whose offset makes it more than that (sign extension, address space cast).
  public static let movRegister64: UInt8 = Class.alu64 | ALU.mov | Source.x
  /// A speculation barrier.
  public static let nospec: UInt8 = Class.st | Mode.nospec
}

/// The offset that makes `mov r, r` an `addr_space_cast`.
public let addressSpaceCastOffset: Int16 = 1
/// The offset that makes `mov r, r` the address of a per-CPU variable. The kernel's own; programs cannot contain it.
public let perCPUAddressOffset: Int16 = -1
/// How many bytes of stack one frame has.
public let maximumStackSize = 512
