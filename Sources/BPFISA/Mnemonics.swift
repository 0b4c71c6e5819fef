// The operator signs and type names that assembler and disassembler share. The numbers are those of RFC 9669.

/// What the kernel prints for a name that a table lacks. Reached only with opcodes that do not exist.
private let missing: StaticString = "(null)"

public enum Mnemonic {
  /// The assignment operator of an ALU operation, as the kernel writes it.
  public static func assignment(_ operation: UInt8) -> StaticString {
    switch operation {
    case ALU.add: "+="
    case ALU.sub: "-="
    case ALU.mul: "*="
    case ALU.div: "/="
    case ALU.or: "|="
    case ALU.and: "&="
    case ALU.lsh: "<<="
    case ALU.rsh: ">>="
    case ALU.neg: "neg"
    case ALU.mod: "%="
    case ALU.xor: "^="
    case ALU.mov: "="
    case ALU.arsh: "s>>="
    case ALU.end: "endian"
    default: missing
    }
  }

  /// The comparison of a conditional jump; of the others, the name.
  static func comparison(_ operation: UInt8) -> StaticString {
    switch operation {
    case Jump.ja: "jmp"
    case Jump.jeq: "=="
    case Jump.jgt: ">"
    case Jump.jge: ">="
    case Jump.jset: "&"
    case Jump.jne: "!="
    case Jump.jsgt: "s>"
    case Jump.jsge: "s>="
    case Jump.call: "call"
    case Jump.exit: "exit"
    case Jump.jlt: "<"
    case Jump.jle: "<="
    case Jump.jslt: "s<"
    case Jump.jsle: "s<="
    default: missing
    }
  }

  /// The type an access of this width reads or writes.
  static func unsignedType(_ sizeCode: UInt8) -> StaticString {
    switch sizeCode {
    case Size.w: "u32"
    case Size.h: "u16"
    case Size.b: "u8"
    default: "u64"
    }
  }

  /// The type a sign-extending load reads. There is no such load of eight bytes, and the kernel has no name for it.
  static func signedType(_ sizeCode: UInt8) -> StaticString {
    switch sizeCode {
    case Size.w: "s32"
    case Size.h: "s16"
    case Size.b: "s8"
    default: missing
    }
  }

  /// The middle of the name of a fetching atomic operation.
  static func fetching(_ operation: Int32) -> StaticString {
    switch operation {
    case Atomic.add: "add"
    case Atomic.or: "or"
    case Atomic.and: "and"
    default: "xor"
    }
  }
}
