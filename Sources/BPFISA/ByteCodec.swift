/// The order of the bytes in an instruction stream: that of the machine the program is for.
///
/// Big-endian streams also have the two register nibbles the other way round: the destination is in the high one
/// (RFC 9669 section 3).
public enum ByteOrder: Hashable, Sendable {
  case little
  case big

  /// The order of the machine this runs on.
  @inlinable public static var native: ByteOrder { Int16(1).littleEndian == 1 ? .little : .big }
}

/// Why bytes are not a sequence of instructions.
public struct InstructionDecodingError: Error, Hashable, CustomStringConvertible, Sendable {
  /// The rule that the bytes break.
  public enum Rule: Hashable, Sendable {
    /// The stream ends inside an instruction, of which `available` bytes are there.
    case truncatedInstruction(available: Int)
  }

  /// The byte offset of the instruction, from the start of the stream.
  public let offset: Int
  public let rule: Rule

  public init(offset: Int, rule: Rule) {
    self.offset = offset
    self.rule = rule
  }

  public var description: String {
    switch rule {
    case .truncatedInstruction(let available):
      "offset \(offset): truncated instruction: \(available) of \(Instruction.byteCount) bytes"
    }
  }
}

extension Instruction {
  /// The size of one slot in bytes.
  public static let byteCount = 8

  /// Decodes one slot from the eight bytes at `start`, which the caller has made sure are there.
  init(loading bytes: UnsafeRawBufferPointer, at start: Int, order: ByteOrder) {
    let registers = bytes[start + 1]
    let offset = bytes.loadUnaligned(fromByteOffset: start + 2, as: Int16.self)
    let immediate = bytes.loadUnaligned(fromByteOffset: start + 4, as: Int32.self)
    self.init(opcode: bytes[start])
    switch order {
    case .little:
      self.registers = registers
      self.offset = Int16(littleEndian: offset)
      self.immediate = Int32(littleEndian: immediate)
    case .big:
      self.registers = registers << 4 | registers >> 4
      self.offset = Int16(bigEndian: offset)
      self.immediate = Int32(bigEndian: immediate)
    }
  }

  /// Decodes a whole stream of instructions.
  ///
  /// Only the framing is checked; whether an opcode exists or a 64-bit load has its second slot is for the verifier
  /// to say, which has its own words for it.
  public static func decode(
    _ bytes: UnsafeRawBufferPointer, order: ByteOrder = .little
  ) throws(InstructionDecodingError) -> [Instruction] {
    try checkLength(bytes.count)
    return load(bytes, order)
  }

  /// Decodes a whole stream of instructions.
  public static func decode(
    _ bytes: [UInt8], order: ByteOrder = .little
  ) throws(InstructionDecodingError) -> [Instruction] {
    try checkLength(bytes.count)
    return bytes.withUnsafeBytes { load($0, order) }
  }

  /// Decodes a whole stream of instructions.
  public static func decode(
    _ bytes: ArraySlice<UInt8>, order: ByteOrder = .little
  ) throws(InstructionDecodingError) -> [Instruction] {
    try checkLength(bytes.count)
    return bytes.withUnsafeBytes { load($0, order) }
  }

  /// The bytes of `instructions`, eight each.
  public static func encode(_ instructions: [Instruction], order: ByteOrder = .little) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(instructions.count * byteCount)
    for instruction in instructions { instruction.append(to: &bytes, order: order) }
    return bytes
  }

  /// Appends the eight bytes of this slot.
  public func append(to bytes: inout [UInt8], order: ByteOrder = .little) {
    let offset = UInt16(bitPattern: offset)
    let immediate = UInt32(bitPattern: immediate)
    bytes.append(opcode)
    switch order {
    case .little:
      bytes.append(registers)
      withUnsafeBytes(of: offset.littleEndian) { bytes.append(contentsOf: $0) }
      withUnsafeBytes(of: immediate.littleEndian) { bytes.append(contentsOf: $0) }
    case .big:
      bytes.append(registers << 4 | registers >> 4)
      withUnsafeBytes(of: offset.bigEndian) { bytes.append(contentsOf: $0) }
      withUnsafeBytes(of: immediate.bigEndian) { bytes.append(contentsOf: $0) }
    }
  }

  private static func checkLength(_ count: Int) throws(InstructionDecodingError) {
    let rest = count % byteCount
    guard rest == 0 else {
      throw InstructionDecodingError(offset: count - rest, rule: .truncatedInstruction(available: rest))
    }
  }

  private static func load(_ bytes: UnsafeRawBufferPointer, _ order: ByteOrder) -> [Instruction] {
    let count = bytes.count / byteCount
    return [Instruction](unsafeUninitializedCapacity: count) { buffer, initialized in
      for index in 0..<count {
        buffer.initializeElement(at: index, to: Instruction(loading: bytes, at: index * byteCount, order: order))
      }
      initialized = count
    }
  }
}
