import BPFISA
import Testing

@Suite struct ByteCodecTests {
  static let store = Instruction(opcode: 0x7b, dst: 10, src: 1, offset: -8, immediate: 0x0102_0304)

  @Test func fieldsStandWhereTheSpecificationPutsThem() throws {
    let little: [UInt8] = [0x7b, 0x1a, 0xf8, 0xff, 0x04, 0x03, 0x02, 0x01]
    let big: [UInt8] = [0x7b, 0xa1, 0xff, 0xf8, 0x01, 0x02, 0x03, 0x04]
    #expect(Instruction.encode([Self.store]) == little)
    #expect(Instruction.encode([Self.store], order: .big) == big)
    #expect(try Instruction.decode(little) == [Self.store])
    #expect(try Instruction.decode(big, order: .big) == [Self.store])
  }

  @Test func streamsComeBackWhole() throws {
    var slots: [Instruction] = []
    for index in 0..<1000 {
      let mixed = UInt64(index) &* 0x9e37_79b9_7f4a_7c15
      slots.append(
        Instruction(
          opcode: UInt8(truncatingIfNeeded: mixed), dst: UInt8(mixed >> 8 & 15), src: UInt8(mixed >> 12 & 15),
          offset: Int16(truncatingIfNeeded: mixed >> 16), immediate: Int32(truncatingIfNeeded: mixed >> 32)))
    }
    for order in [ByteOrder.little, .big] {
      let bytes = Instruction.encode(slots, order: order)
      #expect(bytes.count == slots.count * Instruction.byteCount)
      #expect(try Instruction.decode(bytes, order: order) == slots)
      #expect(try Instruction.decode(([0] + bytes).dropFirst(), order: order) == slots)
      #expect(try bytes.withUnsafeBytes { try Instruction.decode($0, order: order) } == slots)
    }
  }

  @Test func nothingIsNoInstructions() throws {
    #expect(try Instruction.decode([UInt8]()).isEmpty)
    #expect(Instruction.encode([]).isEmpty)
  }

  @Test(arguments: [1, 7, 9, 15, 8001]) func truncationNamesTheOffset(count: Int) {
    let error = InstructionDecodingError(offset: count / 8 * 8, rule: .truncatedInstruction(available: count % 8))
    #expect(throws: error) { try Instruction.decode([UInt8](repeating: 0, count: count)) }
  }

  @Test func errorsRead() {
    let error = InstructionDecodingError(offset: 8, rule: .truncatedInstruction(available: 3))
    #expect("\(error)" == "offset 8: truncated instruction: 3 of 8 bytes")
  }
}
