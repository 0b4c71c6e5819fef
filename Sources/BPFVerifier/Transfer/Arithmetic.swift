import BPFISA
import BPFLinux

extension Verification {
  /// An arithmetic instruction, 32 or 64 bits wide.
  func checkALU(_ insn: Instruction) throws(Refusal) {
    switch insn.operation {
    case ALU.end, ALU.neg: try checkUnary(insn)
    case ALU.mov: try checkMove(insn)
    case 0xe0, 0xf0:
      throw refuse(
        .EINVAL, .invalidInstruction, "invalid BPF_ALU opcode \(String(insn.operation, radix: 16))\n")
    default: try checkBinary(insn)
    }
    try checkInvariants(register(insn.dst), "alu")
  }

  private func reservedFields(_ name: StaticString) -> Refusal {
    refuse(.EINVAL, .invalidInstruction, "\(name) uses reserved fields\n")
  }

  private func checkUnary(_ insn: Instruction) throws(Refusal) {
    if insn.operation == ALU.neg {
      guard insn.operandSource == Source.k, insn.src == 0, insn.offset == 0, insn.immediate == 0 else {
        throw reservedFields("BPF_NEG")
      }
    } else {
      let widthIsValid = insn.immediate == 16 || insn.immediate == 32 || insn.immediate == 64
      guard insn.src == 0, insn.offset == 0, widthIsValid,
        insn.instructionClass != Class.alu64 || insn.operandSource == Source.k
      else { throw reservedFields("BPF_END") }
    }
    try checkRegisterRead(insn.dst)
    if isPointerValue(insn.dst) {
      throw refuse(.EACCES, .pointerArithmetic, "R\(insn.dst) pointer arithmetic prohibited\n")
    }
    let target = register(insn.dst)
    if target.pointee.type == .scalar {
      try checkRegisterWrite(insn.dst, mark: false)
      try adjustScalar(insn, target, target.pointee)
    } else {
      try checkRegisterWrite(insn.dst)
    }
  }

  // MARK: moves

  private func checkMove(_ insn: Instruction) throws(Refusal) {
    let wide = insn.instructionClass == Class.alu64
    guard insn.operandSource == Source.x else {
      guard insn.src == 0, insn.offset == 0 else { throw reservedFields("BPF_MOV") }
      try checkRegisterWrite(insn.dst, mark: false)
      let target = register(insn.dst)
      markUnknown(target)
      target.pointee.markKnown(
        wide ? UInt64(bitPattern: Int64(insn.immediate)) : UInt64(UInt32(bitPattern: insn.immediate)))
      return
    }
    if !wide {
      guard insn.offset == 0 || insn.offset == 8 || insn.offset == 16, insn.immediate == 0 else {
        throw reservedFields("BPF_MOV")
      }
    } else if insn.offset == addressSpaceCastOffset {
      guard insn.immediate == 1 || insn.immediate == 1 << 16 else {
        throw refuse(
          .EINVAL, .invalidInstruction,
          "addr_space_cast insn can only convert between address space 1 and 0\n")
      }
      guard hasArena else {
        throw refuse(
          .EINVAL, .invalidInstruction,
          "addr_space_cast insn can only be used in a program that has an associated arena\n")
      }
    } else {
      let extends = insn.offset == 8 || insn.offset == 16 || insn.offset == 32
      guard insn.offset == 0 || extends, insn.immediate == 0 else { throw reservedFields("BPF_MOV") }
    }
    try checkRegisterRead(insn.src)
    try checkRegisterWrite(insn.dst, mark: false)
    let source = register(insn.src)
    let target = register(insn.dst)
    if wide {
      try move64(insn, source, target)
    } else {
      try move32(insn, source, target)
    }
  }

  private func move64(_ insn: Instruction, _ source: RegisterRef, _ target: RegisterRef) throws(Refusal) {
    if insn.immediate != 0 {
      markUnknown(target)
      if insn.immediate == 1 {
        target.pointee.type = .arena
        target.pointee.subregisterDefinition = Int32(truncatingIfNeeded: instruction + 1)
      }
    } else if insn.offset == 0 {
      assignScalarIDBeforeMove(source)
      target.pointee = source.pointee
      target.pointee.subregisterDefinition = 0
    } else if isPointerValue(source) {
      throw refuse(.EACCES, .pointerLeak, "R\(insn.src) sign-extension part of pointer\n")
    } else if source.pointee.type == .scalar {
      copyForExtension(insn, source, target)
      target.pointee.signExtend64(fromSize: Int(insn.offset) >> 3)
      target.pointee.subregisterDefinition = 0
    } else {
      markUnknown(target)
    }
  }

  private func move32(_ insn: Instruction, _ source: RegisterRef, _ target: RegisterRef) throws(Refusal) {
    if isPointerValue(source) {
      throw refuse(.EACCES, .pointerLeak, "R\(insn.src) partial copy of pointer\n")
    } else if source.pointee.type == .scalar {
      if insn.offset == 0 {
        let fits = source.pointee.width <= 32
        if fits { assignScalarIDBeforeMove(source) }
        target.pointee = source.pointee
        if !fits { target.pointee.unlink() }
        target.pointee.subregisterDefinition = Int32(truncatingIfNeeded: instruction + 1)
      } else {
        copyForExtension(insn, source, target)
        target.pointee.subregisterDefinition = Int32(truncatingIfNeeded: instruction + 1)
        target.pointee.signExtend32(fromSize: Int(insn.offset) >> 3)
      }
    } else {
      markUnknown(target)
    }
    target.pointee.zeroExtend32()
    target.pointee.sync()
  }

  /// Copies what is then sign-extended: both stay linked only where the extension changes nothing.
  private func copyForExtension(_ insn: Instruction, _ source: RegisterRef, _ target: RegisterRef) {
    let unchanged = source.pointee.umax < (1 as UInt64) &<< UInt64(insn.offset - 1)
    if unchanged { assignScalarIDBeforeMove(source) }
    target.pointee = source.pointee
    if !unchanged { target.pointee.unlink() }
  }

  // MARK: two operands

  private func checkBinary(_ insn: Instruction) throws(Refusal) {
    let operation = insn.operation
    let divides = operation == ALU.mod || operation == ALU.div
    let offsetIsValid = insn.offset == 0 || (insn.offset == 1 && divides)
    if insn.operandSource == Source.x {
      guard insn.immediate == 0, offsetIsValid else { throw reservedFields("BPF_ALU") }
      try checkRegisterRead(insn.src)
    } else {
      guard insn.src == 0, offsetIsValid else { throw reservedFields("BPF_ALU") }
    }
    try checkRegisterRead(insn.dst)
    if insn.operandSource == Source.k {
      if divides && insn.immediate == 0 { throw refuse(.EINVAL, .invalidInstruction, "div by zero\n") }
      if operation == ALU.lsh || operation == ALU.rsh || operation == ALU.arsh {
        let size: Int32 = insn.instructionClass == Class.alu64 ? 64 : 32
        guard insn.immediate >= 0, insn.immediate < size else {
          throw refuse(.EINVAL, .invalidInstruction, "invalid shift \(insn.immediate)\n")
        }
      }
    }
    try checkRegisterWrite(insn.dst, mark: false)
    try adjust(insn)
  }

  private func adjust(_ insn: Instruction) throws(Refusal) {
    let target = register(insn.dst)
    let wide = insn.instructionClass == Class.alu64
    var source = register(insn.src)
    let takesRegister = insn.operandSource == Source.x
    if target.pointee.type == .arena || (takesRegister && source.pointee.type == .arena) {
      if target.pointee.type != .arena { target.pointee = source.pointee }
      target.pointee.subregisterDefinition = Int32(truncatingIfNeeded: instruction + 1)
      if wide { fact.pointee.needsZeroExtension = true }
      return
    }
    let targetIsPointer = target.pointee.type != .scalar
    if takesRegister {
      if source.pointee.type != .scalar {
        if targetIsPointer {
          if insn.operation == ALU.sub && allowPointerLeaks {
            markUnknown(target)
            return
          }
          throw refuse(
            .EACCES, .pointerArithmetic,
            "R\(insn.dst) pointer \(Mnemonic.assignment(insn.operation)) pointer prohibited\n")
        }
        try markChainPrecise(insn.dst)
        return try adjustPointer(insn, pointer: source, offset: target)
      } else if targetIsPointer {
        try markChainPrecise(insn.src)
        return try adjustPointer(insn, pointer: target, offset: source)
      } else if target.pointee.precise {
        try markChainPrecise(insn.src)
      }
    } else {
      source = scratchRegisters + 1
      source.pointee = RegisterState()
      source.pointee.type = .scalar
      source.pointee.markKnown(UInt64(bitPattern: Int64(insn.immediate)))
      if targetIsPointer { return try adjustPointer(insn, pointer: target, offset: source) }
    }
    let wasWithin32Bits = target.pointee.umax <= UInt64(UInt32.max)
    try adjustScalar(insn, target, source.pointee)

    // A constant added or subtracted keeps the value linked to the one it came from. One delta can be told, not two.
    guard hasBPFCapability, target.pointee.id != 0, target.pointee.id & RegisterState.addConst == 0,
      wide || wasWithin32Bits, !(takesRegister && insn.src == insn.dst),
      let delta = constantDelta(insn, source)
    else {
      target.pointee.unlink()
      return
    }
    target.pointee.id |= wide ? RegisterState.addConst64 : RegisterState.addConst32
    target.pointee.offset = delta
  }

  /// By how much the instruction changes its operand, where that is a constant of 32 bits.
  private func constantDelta(_ insn: Instruction, _ source: RegisterRef) -> Int32? {
    let wide = insn.instructionClass == Class.alu64
    guard insn.operation == ALU.add || insn.operation == ALU.sub, source.pointee.isConstant(subregister: !wide)
    else { return nil }
    let value = source.pointee.constantValue(subregister: !wide)
    let delta: Int32
    if wide {
      guard let exact = Int32(exactly: Int64(bitPattern: value)) else { return nil }
      delta = exact
    } else {
      delta = Int32(truncatingIfNeeded: value)
    }
    if insn.operation == ALU.add { return delta }
    return delta == .min ? nil : -delta
  }

  /// Whether the result's range can be worked out: always, but for shifts by unknown amounts, division and modulo.
  private func rangeIsComputable(_ insn: Instruction, _ source: RegisterState) -> Bool {
    switch insn.operation {
    case ALU.add, ALU.sub, ALU.neg, ALU.and, ALU.xor, ALU.or, ALU.mul, ALU.end:
      return true
    case ALU.lsh, ALU.rsh, ALU.arsh:
      if insn.instructionClass == Class.alu64 {
        return source.bits.isConstant && source.smin == source.smax && source.umin == source.umax && source.umax < 64
      }
      return source.bits.isSubregisterConstant && source.s32min == source.s32max && source.u32min == source.u32max
        && source.umax < 32
    default:
      return false
    }
  }

  /// A value that is all ones or zero is explored as each of them before it masks something.
  private func forkMask(_ insn: Instruction, _ target: RegisterRef) throws(Refusal) {
    let narrow: Bool
    if target.pointee.smin == -1 && target.pointee.smax == 0 {
      narrow = false
    } else if target.pointee.s32min == -1 && target.pointee.s32max == 0 {
      narrow = true
    } else {
      return
    }
    guard let branch = pushPath(to: instruction, from: instruction, speculative: false) else {
      throw Refusal(errno: .ENOMEM, category: .complexity)
    }
    let other = branch.current.register(insn.dst)
    if narrow {
      other.pointee.markKnown32(0)
      target.pointee.markKnown32(.max)
    } else {
      other.pointee.markKnown(0)
      target.pointee.markKnown(.max)
    }
  }

  private func adjustScalar(_ insn: Instruction, _ target: RegisterRef, _ source: RegisterState) throws(Refusal) {
    guard rangeIsComputable(insn, source) else {
      markUnknown(target)
      return
    }
    if insn.operation == ALU.add || insn.operation == ALU.sub { try sanitizeScalar(insn) }
    let wide = insn.instructionClass == Class.alu64
    switch insn.operation {
    case ALU.add:
      target.pointee.addBounds(source)
      target.pointee.bits = target.pointee.bits + source.bits
    case ALU.sub:
      target.pointee.subtractBounds(source)
      target.pointee.bits = target.pointee.bits - source.bits
    case ALU.neg:
      let old = target.pointee
      target.pointee.markKnown(0)
      target.pointee.subtractBounds(old)
      target.pointee.bits = old.bits.negated
    case ALU.mul:
      target.pointee.bits = target.pointee.bits * source.bits
      target.pointee.multiplyBounds(source)
    case ALU.and:
      if source.bits.isConstant { try forkMask(insn, target) }
      target.pointee.bits = target.pointee.bits & source.bits
      target.pointee.andBounds(source)
    case ALU.or:
      if source.bits.isConstant { try forkMask(insn, target) }
      target.pointee.bits = target.pointee.bits | source.bits
      target.pointee.orBounds(source)
    case ALU.xor:
      target.pointee.bits = target.pointee.bits ^ source.bits
      target.pointee.xorBounds(source)
    case ALU.lsh:
      if wide { target.pointee.shiftLeft64(source) } else { target.pointee.shiftLeft32(source) }
    case ALU.rsh:
      if wide { target.pointee.shiftRight64(source) } else { target.pointee.shiftRight32(source) }
    case ALU.arsh:
      if wide {
        target.pointee.arithmeticShiftRight64(source)
      } else {
        target.pointee.arithmeticShiftRight32(source)
      }
    case ALU.end:
      swapBytes(insn, target)
    default:
      break
    }
    if !wide && insn.operation != ALU.end { target.pointee.zeroExtend32() }
    target.pointee.sync()
  }

  private func swapBytes(_ insn: Instruction, _ target: RegisterRef) {
    // To little endian is nothing to do on the machines that Skep models; to big endian and `bswap` swap.
    let swaps = insn.instructionClass == Class.alu64 || insn.operandSource == Source.x
    if swaps || insn.immediate != 64 { target.pointee.unlink() }
    if swaps {
      switch insn.immediate {
      case 16: target.pointee.bits = target.pointee.bits.byteSwapped16
      case 32: target.pointee.bits = target.pointee.bits.byteSwapped32
      default: target.pointee.bits = target.pointee.bits.byteSwapped64
      }
      target.pointee.markUnbounded()
    }
    if insn.immediate != 64 { target.pointee.coerce(toSize: Int(insn.immediate) / 8) }
  }
}
