/// The fields of one instruction, as relocation reads and writes them.
public struct COREInstruction: BitwiseCopyable, Sendable, Equatable {
  public var code: UInt8
  public var destination: UInt8
  public var source: UInt8
  public var offset: Int16
  public var immediate: Int32

  public init(code: UInt8, destination: UInt8, source: UInt8, offset: Int16, immediate: Int32) {
    self.code = code
    self.destination = destination
    self.source = source
    self.offset = offset
    self.immediate = immediate
  }

  /// A call that the verifier refuses by number: "bad relo".
  static let poison = COREInstruction(code: 0x85, destination: 0, source: 0, offset: 0, immediate: 0xbad2310)

  var isWideLoad: Bool { code == 0x18 }
}

extension COREResolution {
  /// Writes the resolved value into an instruction.
  ///
  /// - Parameters:
  ///   - instruction: the instruction that the relocation names.
  ///   - next: the one after it, which is rewritten if `instruction` is the first half of a 64-bit load; nil at
  ///     the end of the program.
  ///   - index: the instruction's number, for messages.
  /// - Throws: `COREError` if the instruction is not of a form that relocation supports, or does not hold the value
  ///   that the object's own types imply.
  public func patch(
    _ instruction: inout COREInstruction, next: inout COREInstruction?, index: Int
  ) throws(COREError) {
    if isPoisoned {
      poison(&instruction, &next)
      return
    }
    switch instruction.code & 7 {
    case 4, 7:
      try patchImmediate(&instruction, index)
    case 1, 2, 3:
      if failsMemorySizeAdjustment {
        try checkOffset(instruction, index)
        poison(&instruction, &next)
      } else {
        try patchMemory(&instruction, index)
      }
    case 0:
      try patchWideLoad(&instruction, &next, index)
    default:
      let i = instruction
      throw COREError(
        errno: .invalid,
        message: "trying to relocate unrecognized insn #\(index), code:0x\(hex(i.code)), src:0x\(hex(i.source)),"
          + " dst:0x\(hex(i.destination)), off:0x\(hex(UInt32(bitPattern: Int32(i.offset)))),"
          + " imm:0x\(hex(UInt32(bitPattern: i.immediate)))")
    }
  }

  private func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }

  private func poison(_ instruction: inout COREInstruction, _ next: inout COREInstruction?) {
    if instruction.isWideLoad && next != nil { next = .poison }
    instruction = .poison
  }

  private func unexpected(_ index: Int, _ form: String, got: String) -> COREError {
    COREError(
      errno: .invalid,
      message: "unexpected insn #\(index) (\(form)) value: got \(got), exp \(originalValue) -> \(newValue)")
  }

  private func patchImmediate(_ instruction: inout COREInstruction, _ index: Int) throws(COREError) {
    guard instruction.code & 0x08 == 0 else {
      throw COREError(errno: .invalid, message: "insn #\(index) (ALU/ALU64) has a register operand")
    }
    guard !validates || UInt64(bitPattern: Int64(instruction.immediate)) == originalValue else {
      throw unexpected(index, "ALU/ALU64", got: "\(UInt32(bitPattern: instruction.immediate))")
    }
    instruction.immediate = Int32(truncatingIfNeeded: newValue)
  }

  private func checkOffset(_ instruction: COREInstruction, _ index: Int) throws(COREError) {
    guard !validates || UInt64(bitPattern: Int64(instruction.offset)) == originalValue else {
      throw unexpected(index, "LDX/ST/STX", got: "\(UInt32(bitPattern: Int32(instruction.offset)))")
    }
    guard newValue <= UInt64(Int16.max) else {
      throw COREError(
        errno: .outOfRange, message: "insn #\(index) (LDX/ST/STX) value too big: \(newValue)")
    }
  }

  private func patchMemory(_ instruction: inout COREInstruction, _ index: Int) throws(COREError) {
    try checkOffset(instruction, index)
    instruction.offset = Int16(truncatingIfNeeded: newValue)
    guard newSize != originalSize else { return }
    let width: UInt32 =
      switch instruction.code & 0x18 {
      case 0x18: 8
      case 0x00: 4
      case 0x08: 2
      default: 1
      }
    guard width == originalSize else {
      throw COREError(
        errno: .invalid,
        message: "insn #\(index) (LDX/ST/STX) unexpected mem size: got \(width), exp \(originalSize)")
    }
    let size: UInt8
    switch newSize {
    case 8: size = 0x18
    case 4: size = 0x00
    case 2: size = 0x08
    case 1: size = 0x10
    default:
      throw COREError(
        errno: .invalid, message: "insn #\(index) (LDX/ST/STX) invalid new mem size: \(newSize)")
    }
    instruction.code = instruction.code & 0xe7 | size
  }

  private func patchWideLoad(
    _ instruction: inout COREInstruction, _ next: inout COREInstruction?, _ index: Int
  ) throws(COREError) {
    guard instruction.isWideLoad, instruction.source == 0, instruction.offset == 0, var second = next,
      second.code == 0, second.destination == 0, second.source == 0, second.offset == 0
    else {
      throw COREError(errno: .invalid, message: "insn #\(index) (LDIMM64) has unexpected form")
    }
    let value =
      UInt64(UInt32(bitPattern: instruction.immediate)) | UInt64(UInt32(bitPattern: second.immediate)) << 32
    guard !validates || value == originalValue else { throw unexpected(index, "LDIMM64", got: "\(value)") }
    instruction.immediate = Int32(truncatingIfNeeded: newValue)
    second.immediate = Int32(truncatingIfNeeded: newValue >> 32)
    next = second
  }
}
