/// Prints instructions as the kernel does: the text of the verifier's log and of `bpftool prog dump xlated`.
///
/// ## What is printed
///
/// One call prints one instruction as one line: the opcode byte in parentheses, a space, the instruction, and a
/// **newline at the end, always** (`(85) call bpf_map_lookup_elem#1\n`). The index in front (`12: `) is the caller's.
/// Opcodes without text print `BUG_st_c2\n` and the like, without the parentheses. A 64-bit immediate load is one
/// line; the caller passes its second slot and skips it.
///
/// ## Names
///
/// What an instruction number stands for is asked of three hooks. The verifier's log sets `helperName` and `callName`
/// (kernel functions, by their BTF); `bpftool` sets all three.
///
///     let disassembler = Disassembler(
///       allowPointerLeaks: privileged,
///       helperName: { HelperID(rawValue: $0).name },
///       callName: { $0.isKfuncCall ? functionName(of: $0) : nil })
///     disassembler.append(instructions[at], next: at + 1 < instructions.count ? instructions[at + 1] : nil, to: &log)
public struct Disassembler {
  /// The name of a helper by number, with its `bpf_` prefix; nil if there is none.
  ///
  /// Asked for calls whose source field is 0, before `callName`.
  public typealias HelperName = (_ number: Int32) -> String?
  /// The name of what a call calls; nil leaves it to the default.
  ///
  /// The defaults are `+3` (the immediate) for subprograms, which prints as `call pc+3`; `kernel-function` for kernel
  /// functions; and `unknown`.
  public typealias CallName = (_ call: Instruction) -> String?
  /// The right side of a 64-bit immediate load; nil leaves it to the default, the value in hexadecimal.
  ///
  /// `second` is the second slot, `value` the 64 bits (zero where pointers must not leak).
  public typealias ImmediateText = (_ first: Instruction, _ second: Instruction, _ value: UInt64) -> String?

  /// Whether addresses and descriptors of maps may be printed. If not, they print as `0x0`.
  public var allowPointerLeaks: Bool

  private let helperName: HelperName
  private let callName: CallName?
  private let immediateText: ImmediateText?

  public init(
    allowPointerLeaks: Bool = true,
    helperName: @escaping HelperName = { _ in nil },
    callName: CallName? = nil,
    immediateText: ImmediateText? = nil
  ) {
    self.allowPointerLeaks = allowPointerLeaks
    self.helperName = helperName
    self.callName = callName
    self.immediateText = immediateText
  }

  /// The line of one instruction, newline included.
  public func text(_ instruction: Instruction, next: Instruction? = nil) -> String {
    var bytes: [UInt8] = []
    append(instruction, next: next, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Appends the line of one instruction, newline included, as UTF-8.
  ///
  /// - Parameter next: the slot after this one. Only 64-bit immediate loads look at it; a missing one counts as zero.
  public func append(_ instruction: Instruction, next: Instruction? = nil, to out: inout [UInt8]) {
    switch instruction.instructionClass {
    case Class.alu, Class.alu64: appendArithmetic(instruction, &out)
    case Class.stx: appendRegisterStore(instruction, &out)
    case Class.st: appendImmediateStore(instruction, &out)
    case Class.ldx: appendLoad(instruction, &out)
    case Class.ld: appendLegacyOrWideLoad(instruction, next, &out)
    default: appendJump(instruction, &out)
    }
    out.append(UInt8(ascii: "\n"))
  }

  // MARK: Arithmetic

  private func appendArithmetic(_ instruction: Instruction, _ out: inout [UInt8]) {
    let narrow = instruction.instructionClass == Class.alu
    out.putOpcode(instruction)
    switch instruction.operation {
    case ALU.end:
      out.putRegister(instruction.dst)
      out.put(!narrow ? " = bswap" : instruction.operandSource == Source.x ? " = be" : " = le")
      out.put(decimal: Int(instruction.immediate))
      out.put(" ")
      out.putRegister(instruction.dst)
      return
    case ALU.neg:
      out.putRegister(instruction.dst, narrow: narrow)
      out.put(" = -")
      out.putRegister(instruction.dst, narrow: narrow)
      return
    default: break
    }
    if instruction.opcode == Opcode.movRegister64 {
      switch instruction.offset {
      case addressSpaceCastOffset:
        out.putRegister(instruction.dst)
        out.put(" = addr_space_cast(")
        out.putRegister(instruction.src)
        out.put(", ")
        out.put(decimal: Int(UInt32(bitPattern: instruction.immediate) >> 16))
        out.put(", ")
        out.put(decimal: Int(UInt16(truncatingIfNeeded: instruction.immediate)))
        out.put(")")
        return
      case perCPUAddressOffset:
        out.putRegister(instruction.dst)
        out.put(" = &(void __percpu *)(")
        out.putRegister(instruction.src)
        out.put(")")
        return
      default: break
      }
    }
    out.putRegister(instruction.dst, narrow: narrow)
    out.put(" ")
    if instruction.isSignedDivision { out.put("s") }
    out.put(Mnemonic.assignment(instruction.operation))
    out.put(" ")
    if instruction.operandSource == Source.x {
      if instruction.operation == ALU.mov {
        switch instruction.offset {
        case 8: out.put("(s8)")
        case 16: out.put("(s16)")
        case 32: out.put("(s32)")
        default: break
        }
      }
      out.putRegister(instruction.src, narrow: narrow)
    } else {
      out.put(decimal: Int(instruction.immediate))
    }
  }

  // MARK: Memory

  private func appendRegisterStore(_ instruction: Instruction, _ out: inout [UInt8]) {
    switch instruction.mode {
    case Mode.mem:
      out.putOpcode(instruction)
      out.putAccess(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(" = ")
      out.putRegister(instruction.src)
    case Mode.atomic: appendAtomic(instruction, &out)
    default: out.putMissing("BUG_", instruction)
    }
  }

  private func appendAtomic(_ instruction: Instruction, _ out: inout [UInt8]) {
    let operation = instruction.immediate
    switch operation {
    case Atomic.add, Atomic.and, Atomic.or, Atomic.xor:
      out.putOpcode(instruction)
      out.put("lock ")
      out.putAccess(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(" ")
      out.put(Mnemonic.assignment(UInt8(truncatingIfNeeded: operation)))
      out.put(" ")
      out.putRegister(instruction.src)
    case Atomic.add | Atomic.fetch, Atomic.and | Atomic.fetch, Atomic.or | Atomic.fetch, Atomic.xor | Atomic.fetch:
      out.putOpcode(instruction)
      out.putRegister(instruction.src)
      out.put(instruction.sizeCode == Size.dw ? " = atomic64_fetch_" : " = atomic_fetch_")
      out.put(Mnemonic.fetching(operation & ~Atomic.fetch))
      out.putPointer(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(", ")
      out.putRegister(instruction.src)
      out.put(")")
    case Atomic.cmpxchg:
      out.putOpcode(instruction)
      out.put(instruction.sizeCode == Size.dw ? "r0 = atomic64_cmpxchg" : "r0 = atomic_cmpxchg")
      out.putPointer(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(", r0, ")
      out.putRegister(instruction.src)
      out.put(")")
    case Atomic.xchg:
      out.putOpcode(instruction)
      out.putRegister(instruction.src)
      out.put(instruction.sizeCode == Size.dw ? " = atomic64_xchg" : " = atomic_xchg")
      out.putPointer(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(", ")
      out.putRegister(instruction.src)
      out.put(")")
    case Atomic.loadAcquire:
      out.putOpcode(instruction)
      out.putRegister(instruction.dst)
      out.put(" = load_acquire")
      out.putPointer(instruction.sizeCode, instruction.src, instruction.offset)
      out.put(")")
    case Atomic.storeRelease:
      out.putOpcode(instruction)
      out.put("store_release")
      out.putPointer(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(", ")
      out.putRegister(instruction.src)
      out.put(")")
    default:
      out.putMissing("BUG_", instruction)
    }
  }

  private func appendImmediateStore(_ instruction: Instruction, _ out: inout [UInt8]) {
    switch instruction.mode {
    case Mode.mem:
      out.putOpcode(instruction)
      out.putAccess(instruction.sizeCode, instruction.dst, instruction.offset)
      out.put(" = ")
      out.put(decimal: Int(instruction.immediate))
    case Mode.nospec:
      out.putOpcode(instruction)
      out.put("nospec")
    default:
      out.putMissing("BUG_st_", instruction)
    }
  }

  private func appendLoad(_ instruction: Instruction, _ out: inout [UInt8]) {
    let type: StaticString
    switch instruction.mode {
    case Mode.mem: type = Mnemonic.unsignedType(instruction.sizeCode)
    case Mode.memsx: type = Mnemonic.signedType(instruction.sizeCode)
    default:
      out.putMissing("BUG_ldx_", instruction)
      return
    }
    out.putOpcode(instruction)
    out.putRegister(instruction.dst)
    out.put(" = ")
    out.putAccess(type, instruction.src, instruction.offset)
  }

  private func appendLegacyOrWideLoad(_ instruction: Instruction, _ next: Instruction?, _ out: inout [UInt8]) {
    switch instruction.mode {
    case Mode.abs, Mode.ind:
      out.putOpcode(instruction)
      out.put("r0 = *(")
      out.put(Mnemonic.unsignedType(instruction.sizeCode))
      out.put(" *)skb[")
      if instruction.mode == Mode.ind {
        out.putRegister(instruction.src)
        out.put(" + ")
      }
      out.put(decimal: Int(instruction.immediate))
      out.put("]")
    case Mode.imm where instruction.sizeCode == Size.dw:
      let second = next ?? Instruction(opcode: 0)
      var value = UInt64(UInt32(bitPattern: second.immediate)) << 32 | UInt64(UInt32(bitPattern: instruction.immediate))
      if !allowPointerLeaks,
        instruction.src == Int(PseudoSource.mapFD) || instruction.src == Int(PseudoSource.mapValue)
      {
        value = 0
      }
      out.putOpcode(instruction)
      out.putRegister(instruction.dst)
      out.put(" = ")
      if let text = immediateText?(instruction, second, value) {
        out.put(text)
      } else {
        out.put(hexadecimal: value)
      }
    default:
      out.putMissing("BUG_ld_", instruction)
    }
  }

  // MARK: Jumps

  private func appendJump(_ instruction: Instruction, _ out: inout [UInt8]) {
    out.putOpcode(instruction)
    if instruction.operation == Jump.call {
      appendCall(instruction, &out)
      return
    }
    switch instruction.opcode {
    case Opcode.ja:
      out.put("goto pc")
      out.put(signed: Int(instruction.offset))
    case Opcode.mayGoto where instruction.src == Int(PseudoSource.mayGoto):
      out.put("may_goto pc")
      out.put(signed: Int(instruction.offset))
    case Opcode.jaLong:
      out.put("gotol pc")
      out.put(signed: Int(instruction.immediate))
    case Opcode.exit:
      out.put("exit")
    default:
      let narrow = instruction.instructionClass == Class.jmp32
      out.put("if ")
      out.putRegister(instruction.dst, narrow: narrow)
      out.put(" ")
      out.put(Mnemonic.comparison(instruction.operation))
      out.put(" ")
      if instruction.operandSource == Source.x {
        out.putRegister(instruction.src, narrow: narrow)
      } else {
        out.put(hexadecimal: UInt64(UInt32(bitPattern: instruction.immediate)))
      }
      out.put(" goto pc")
      out.put(signed: Int(instruction.offset))
    }
  }

  private func appendCall(_ instruction: Instruction, _ out: inout [UInt8]) {
    let known = (instruction.src == 0 ? helperName(instruction.immediate) : nil) ?? callName?(instruction)
    if instruction.src == Int(PseudoSource.call) {
      out.put("call pc")
      if let known {
        out.put(known)
      } else {
        out.put(signed: Int(instruction.immediate))
      }
      return
    }
    out.put("call ")
    if let known {
      out.put(known)
    } else {
      out.put(instruction.src == Int(PseudoSource.kfuncCall) ? "kernel-function" : "unknown")
    }
    out.put("#")
    out.put(decimal: Int(instruction.immediate))
  }
}

extension Instruction {
  /// Signed division or remainder: the offset says so.
  fileprivate var isSignedDivision: Bool {
    offset == 1 && (operation == ALU.div || operation == ALU.mod)
  }
}

extension [UInt8] {
  @inline(__always)
  fileprivate mutating func putOpcode(_ instruction: Instruction) {
    append(UInt8(ascii: "("))
    put(hexByte: instruction.opcode)
    put(") ")
  }

  @inline(__always)
  fileprivate mutating func putRegister(_ number: Int, narrow: Bool = false) {
    append(narrow ? UInt8(ascii: "w") : UInt8(ascii: "r"))
    put(decimal: UInt64(truncatingIfNeeded: number))
  }

  /// `*(u32 *)(r1 +4)`
  fileprivate mutating func putAccess(_ sizeCode: UInt8, _ base: Int, _ offset: Int16) {
    putAccess(Mnemonic.unsignedType(sizeCode), base, offset)
  }

  fileprivate mutating func putAccess(_ type: StaticString, _ base: Int, _ offset: Int16) {
    put("*(")
    put(type)
    put(" *)(")
    putRegister(base)
    put(" ")
    put(signed: Int(offset))
    put(")")
  }

  /// `((u32 *)(r1 +4)`: the opening of an atomic operation's arguments, which stays open.
  fileprivate mutating func putPointer(_ sizeCode: UInt8, _ base: Int, _ offset: Int16) {
    put("((")
    put(Mnemonic.unsignedType(sizeCode))
    put(" *)(")
    putRegister(base)
    put(" ")
    put(signed: Int(offset))
    put(")")
  }

  /// The line of an opcode that has no text.
  fileprivate mutating func putMissing(_ name: StaticString, _ instruction: Instruction) {
    put(name)
    put(hexByte: instruction.opcode)
  }
}
