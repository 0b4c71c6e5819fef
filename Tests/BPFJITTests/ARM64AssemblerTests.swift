import Testing

@testable import BPFJIT

@Suite struct ARM64AssemblerTests {
  private func words(_ emit: (inout ARM64Assembler) -> Void) -> [UInt32] {
    let bytes = ARM64Machine.assemble(emit)
    return stride(from: 0, to: bytes.count, by: 4).map { at in
      UInt32(bytes[at]) | UInt32(bytes[at + 1]) << 8 | UInt32(bytes[at + 2]) << 16 | UInt32(bytes[at + 3]) << 24
    }
  }

  /// The constant that N, immr and imms stand for, as the manual has it (DecodeBitMasks).
  private func decode(_ bits: UInt32, wide: Bool) -> UInt64? {
    let (n, rotation, lengths) = (bits >> 12, UInt64(bits >> 6 & 0x3f), bits & 0x3f)
    let key = n << 6 | ~lengths & 0x3f
    guard key > 1 else { return nil }
    let size = UInt64(1) << UInt64(31 - key.leadingZeroBitCount)
    guard wide || size <= 32 else { return nil }
    let count = UInt64(lengths) & (size - 1) + 1
    guard count < size, rotation < size else { return nil }
    let run = (UInt64(1) << count) - 1
    let mask = UInt64.max >> (64 - size)
    var unit = rotation == 0 ? run : (run >> rotation | run << (size - rotation)) & mask
    var filled = size
    while filled < 64 {
      unit |= unit << filled
      filled *= 2
    }
    return wide ? unit : unit & 0xffff_ffff
  }

  @Test func logicalImmediatesAreThoseOfTheManual() {
    for wide in [true, false] {
      var constants: Set<UInt64> = []
      for bits in 0..<UInt32(1 << 13) {
        guard let value = decode(bits, wide: wide) else { continue }
        constants.insert(value)
        #expect(ARM64Assembler.logicalImmediate(value, wide: wide) == bits)
      }
      #expect(constants.count == (wide ? 5334 : 1302))
      var random = SplitMix(state: 3)
      for value in constants {
        let other = value ^ 1 << random.below(wide ? 64 : 32)
        if !constants.contains(other) { #expect(ARM64Assembler.logicalImmediate(other, wide: wide) == nil) }
      }
      #expect(ARM64Assembler.logicalImmediate(0, wide: wide) == nil)
      #expect(ARM64Assembler.logicalImmediate(wide ? .max : 0xffff_ffff, wide: wide) == nil)
    }
  }

  /// Words as LLVM's assembler makes them.
  @Test func instructionsAreEncodedAsOthersDo() {
    let made = words { it in
      it.registers(.add, wide: true, 1, 2, 3)
      it.registers(.sub, wide: false, 1, 2, 3)
      it.registers(.subs, wide: true, 31, 7, 20)
      it.registers(.and, wide: true, 4, 5, 6)
      it.registers(.or, wide: false, 4, 5, 6)
      it.registers(.xor, wide: true, 4, 5, 28)
      it.registers(.ands, wide: false, 31, 5, 6)
      it.registers(.udiv, wide: true, 4, 5, 6)
      it.registers(.sdiv, wide: false, 4, 5, 6)
      it.registers(.shiftLeft, wide: true, 4, 5, 6)
      it.registers(.shiftRight, wide: false, 4, 5, 6)
      it.registers(.shiftRightSigned, wide: true, 4, 5, 6)
      it.registers(.mul, wide: true, 4, 5, 6)
      it.registers(.add, wide: true, 4, 5, 6, shift: 3)
      it.multiplyAdd(wide: true, 1, 2, 3, 4)
      it.multiplyAdd(wide: false, 1, 2, 3, 4, subtracts: true)
      it.multiplyHigh(1, 2, 3)
      it.move(9, 10)
      it.move(9, 10, wide: false)
      it.moveStack(31, 16)
      it.moveStack(29, 31)
      it.moveConstant(3, 0x1234)
      it.moveConstant(3, 0xffff_fffe)
      it.moveConstant(3, .max)
      it.logical(.and, wide: true, 1, 2, bits: 0x1fc7)
      it.arithmetic(0x1100_0000, wide: true, 1, 2, 4095)
      it.arithmetic(0x5100_0000, wide: false, 1, 2, 4096)
      it.addConstant(31, 31, -48)
      it.addScaled(7, 31, 8, 2)
      it.addScaled(wide: false, 7, 9, 8, 2)
      it.extract(wide: false, 1, 2, lowest: 0, count: 8)
      it.extract(wide: true, 1, 2, lowest: 0, count: 32, signed: true)
      it.extract(wide: false, 1, 2, lowest: 0, count: 16, signed: true)
      it.extract(wide: true, 1, 2, lowest: 5, count: 9)
      it.shiftLeft(wide: true, 1, 2, 13)
      it.shiftLeft(wide: false, 1, 2, 31)
      it.shiftRight(wide: true, 1, 2, 63)
      it.shiftRight(wide: false, 1, 2, 4, signed: true)
      it.rotateRight(wide: true, 1, 2, 17)
      it.rotateRight(wide: false, 1, 2, 17)
      it.reverse(1, 2, wide: true)
      it.reverse(1, 2, wide: false)
      it.choose(.below, 1, 2, 31)
      it.set(.greater, 5)
      it.compare(wide: true, 4, constant: 12)
      it.compare(wide: false, 4, constant: 12, negative: true)
      it.load(1, ARM64Memory(base: 2, offset: 8), size: 8)
      it.load(1, ARM64Memory(base: 2, offset: 4095), size: 1)
      it.load(1, ARM64Memory(base: 31, offset: -3), size: 4)
      it.load(1, ARM64Memory(base: 2, index: 3, scale: 1), size: 2)
      it.load(1, ARM64Memory(base: 31, index: 3), size: 8)
      it.access(.loadSigned, 1, ARM64Memory(base: 2, offset: 4), size: 4)
      it.access(.loadSigned, 1, ARM64Memory(base: 2, offset: -1), size: 1)
      it.store(1, ARM64Memory(base: 2, offset: 32760), size: 8)
      it.store(31, ARM64Memory(base: 2, offset: 2), size: 2)
      it.store(1, ARM64Memory(base: 2, index: 3, scale: 3), size: 8)
      it.pushPair(29, 30)
      it.popPair(29, 30)
      it.loadExclusive(1, 2, size: 8)
      it.storeExclusive(17, 1, 2, size: 4)
      it.loadAcquire(1, 2, size: 2)
      it.storeRelease(1, 2, size: 1)
      it.barrier()
      it.jump(to: 16)
      it.call(16)
      it.`return`()
      it.trap()
    }
    let expected: [UInt32] = [
      0x8b03_0041, 0x4b03_0041, 0xeb14_00ff, 0x8a06_00a4, 0x2a06_00a4, 0xca1c_00a4, 0x6a06_00bf, 0x9ac6_08a4,
      0x1ac6_0ca4, 0x9ac6_20a4, 0x1ac6_24a4, 0x9ac6_28a4, 0x9b06_7ca4, 0x8b06_0ca4, 0x9b03_1041, 0x1b03_9041,
      0x9bc3_7c41, 0xaa0a_03e9, 0x2a0a_03e9, 0x9100_021f, 0x9100_03fd, 0xd282_4683, 0x1280_0023, 0x9280_0003,
      0x927f_1c41, 0x913f_fc41, 0x5140_0441, 0xd100_c3ff, 0x8b28_6be7, 0x0b08_0927, 0x5300_1c41, 0x9340_7c41,
      0x1300_3c41, 0xd345_3441, 0xd373_c841, 0x5301_0041, 0xd37f_fc41, 0x1304_7c41, 0x93c2_4441, 0x1382_4441,
      0xdac0_0c41, 0x5ac0_0841, 0x9a9f_3041, 0x9a9f_d7e5, 0xf100_309f, 0x3100_309f, 0xf940_0441, 0x397f_fc41,
      0xb85f_d3e1, 0x7863_7841, 0xf863_6be1, 0xb980_0441, 0x389f_f041, 0xf93f_fc41, 0x7900_045f, 0xf823_7841,
      0xa9bf_7bfd, 0xa8c1_7bfd, 0xc85f_fc41, 0x8811_fc41, 0x48df_fc41, 0x089f_fc41, 0xd503_3bbf, 0xd61f_0200,
      0xd63f_0200, 0xd65f_03c0, 0xd420_0000,
    ]
    #expect(made == expected)
  }

  @Test func constantsTakeFewInstructions() {
    for (value, count) in [
      (0, 1), (1, 1), (0xffff, 1), (0x1_0000, 1), (0xffff_ffff, 1), (0xffff_fffe, 1), (0xffff_1234, 1),
      (.max, 1), (.max - 5, 1), (0x5555_5555_5555_5555, 1), (0xffff_0000_ffff_0000, 1), (0x1234_5678, 2),
      (0x1234_0000_5678, 2), (0xffff_1234_ffff_5678, 2), (0x1234_5678_9abc, 3), (0x1234_5678_9abc_def0, 4),
    ] as [(UInt64, Int)] {
      #expect(words { $0.moveConstant(3, value) }.count == count, "\(value)")
    }
  }

  @Test func jumpsBeyondAMegabyteGoAroundAJump() {
    for distance in [16, 1000, 300_000] {
      let made = words { it in
        let far = it.layout.makeLabels(1)
        it.layout.append(.conditionalJump, target: far, argument: ARM64Condition.equal.rawValue)
        for _ in 0..<distance { it.word(0xd503_201f) }
        it.layout.define(far)
        it.return()
      }
      if distance < 1000 {
        #expect(made[0] == 0x5400_0000 | UInt32(distance + 1) << 5)
      } else if distance > 262_144 {
        #expect(made[0] == 0x5400_0041)
        #expect(made[1] == 0x1400_0000 | UInt32(distance + 1))
      }
      #expect(made.last == 0xd65f_03c0)
    }
  }
}
