import BPFISA
import Testing

/// One opcode form: its eight bytes (sixteen for a 64-bit load) and its line in the kernel's text.
struct Form: CustomTestStringConvertible, Sendable {
  let bytes: [UInt8]
  let text: String
  /// Whether the text says all there is, so that it assembles to the same bytes.
  var assembles = true

  init(_ hex: String, _ text: String, assembles: Bool = true) {
    self.bytes = hex.split(separator: " ").compactMap { UInt8($0, radix: 16) }
    self.text = text
    self.assembles = assembles
  }

  var testDescription: String { text }
}

let knownHelpers: [Int32: String] = [0: "bpf_unspec", 1: "bpf_map_lookup_elem", 6: "bpf_trace_printk"]

@Suite struct DisassemblerTests {
  static let arithmetic: [Form] = [
    Form("07 01 00 00 05 00 00 00", "(07) r1 += 5"),
    Form("04 01 00 00 fb ff ff ff", "(04) w1 += -5"),
    Form("0f 21 00 00 00 00 00 00", "(0f) r1 += r2"),
    Form("0c 21 00 00 00 00 00 00", "(0c) w1 += w2"),
    Form("17 01 00 00 05 00 00 00", "(17) r1 -= 5"),
    Form("1f 21 00 00 00 00 00 00", "(1f) r1 -= r2"),
    Form("27 01 00 00 05 00 00 00", "(27) r1 *= 5"),
    Form("2c 21 00 00 00 00 00 00", "(2c) w1 *= w2"),
    Form("37 01 00 00 05 00 00 00", "(37) r1 /= 5"),
    Form("37 01 01 00 05 00 00 00", "(37) r1 s/= 5"),
    Form("3c 21 00 00 00 00 00 00", "(3c) w1 /= w2"),
    Form("3c 21 01 00 00 00 00 00", "(3c) w1 s/= w2"),
    Form("47 01 00 00 00 00 00 80", "(47) r1 |= -2147483648"),
    Form("4f 21 00 00 00 00 00 00", "(4f) r1 |= r2"),
    Form("57 01 00 00 ff ff ff 7f", "(57) r1 &= 2147483647"),
    Form("5c 21 00 00 00 00 00 00", "(5c) w1 &= w2"),
    Form("67 01 00 00 20 00 00 00", "(67) r1 <<= 32"),
    Form("6f 21 00 00 00 00 00 00", "(6f) r1 <<= r2"),
    Form("77 01 00 00 20 00 00 00", "(77) r1 >>= 32"),
    Form("7c 21 00 00 00 00 00 00", "(7c) w1 >>= w2"),
    Form("87 01 00 00 00 00 00 00", "(87) r1 = -r1"),
    Form("84 01 00 00 00 00 00 00", "(84) w1 = -w1"),
    Form("97 01 00 00 05 00 00 00", "(97) r1 %= 5"),
    Form("94 01 01 00 05 00 00 00", "(94) w1 s%= 5"),
    Form("9f 21 01 00 00 00 00 00", "(9f) r1 s%= r2"),
    Form("a7 01 00 00 ff ff ff ff", "(a7) r1 ^= -1"),
    Form("af 21 00 00 00 00 00 00", "(af) r1 ^= r2"),
    Form("b7 01 00 00 00 00 00 00", "(b7) r1 = 0"),
    Form("b4 01 00 00 ff ff ff ff", "(b4) w1 = -1"),
    Form("bf a1 00 00 00 00 00 00", "(bf) r1 = r10"),
    Form("bc 21 00 00 00 00 00 00", "(bc) w1 = w2"),
    Form("bf 21 08 00 00 00 00 00", "(bf) r1 = (s8)r2"),
    Form("bf 21 10 00 00 00 00 00", "(bf) r1 = (s16)r2"),
    Form("bf 21 20 00 00 00 00 00", "(bf) r1 = (s32)r2"),
    Form("bc 21 08 00 00 00 00 00", "(bc) w1 = (s8)w2"),
    Form("bf 21 01 00 01 00 00 00", "(bf) r1 = addr_space_cast(r2, 0, 1)"),
    Form("bf 21 01 00 00 00 01 00", "(bf) r1 = addr_space_cast(r2, 1, 0)"),
    Form("bf 21 ff ff 00 00 00 00", "(bf) r1 = &(void __percpu *)(r2)"),
    Form("c7 01 00 00 3f 00 00 00", "(c7) r1 s>>= 63"),
    Form("cc 21 00 00 00 00 00 00", "(cc) w1 s>>= w2"),
    Form("d4 01 00 00 10 00 00 00", "(d4) r1 = le16 r1"),
    Form("d4 01 00 00 40 00 00 00", "(d4) r1 = le64 r1"),
    Form("dc 01 00 00 20 00 00 00", "(dc) r1 = be32 r1"),
    Form("d7 01 00 00 10 00 00 00", "(d7) r1 = bswap16 r1"),
    Form("d7 01 00 00 40 00 00 00", "(d7) r1 = bswap64 r1"),
    // Offsets that mean nothing where they stand do not show.
    Form("bc 21 01 00 00 00 00 00", "(bc) w1 = w2", assembles: false),
    Form("b7 01 08 00 05 00 00 00", "(b7) r1 = 5", assembles: false),
    Form("0f 21 01 00 00 00 00 00", "(0f) r1 += r2", assembles: false),
    // Opcodes that do not exist.
    Form("e7 01 00 00 05 00 00 00", "(e7) r1 (null) 5", assembles: false),
    Form("fc 21 00 00 00 00 00 00", "(fc) w1 (null) w2", assembles: false),
  ]

  static let memory: [Form] = [
    Form("71 21 00 00 00 00 00 00", "(71) r1 = *(u8 *)(r2 +0)"),
    Form("69 21 ff 7f 00 00 00 00", "(69) r1 = *(u16 *)(r2 +32767)"),
    Form("61 21 04 00 00 00 00 00", "(61) r1 = *(u32 *)(r2 +4)"),
    Form("79 a1 f8 ff 00 00 00 00", "(79) r1 = *(u64 *)(r10 -8)"),
    Form("91 21 00 80 00 00 00 00", "(91) r1 = *(s8 *)(r2 -32768)"),
    Form("89 21 00 00 00 00 00 00", "(89) r1 = *(s16 *)(r2 +0)"),
    Form("81 21 00 00 00 00 00 00", "(81) r1 = *(s32 *)(r2 +0)"),
    Form("73 21 00 00 00 00 00 00", "(73) *(u8 *)(r1 +0) = r2"),
    Form("6b 21 00 00 00 00 00 00", "(6b) *(u16 *)(r1 +0) = r2"),
    Form("63 21 00 00 00 00 00 00", "(63) *(u32 *)(r1 +0) = r2"),
    Form("7b 1a f8 ff 00 00 00 00", "(7b) *(u64 *)(r10 -8) = r1"),
    Form("72 01 00 00 05 00 00 00", "(72) *(u8 *)(r1 +0) = 5"),
    Form("6a 01 00 00 05 00 00 00", "(6a) *(u16 *)(r1 +0) = 5"),
    Form("62 01 00 00 fb ff ff ff", "(62) *(u32 *)(r1 +0) = -5"),
    Form("7a 0a f8 ff 00 00 00 00", "(7a) *(u64 *)(r10 -8) = 0"),
    Form("20 00 00 00 0c 00 00 00", "(20) r0 = *(u32 *)skb[12]"),
    Form("28 00 00 00 00 f0 ff ff", "(28) r0 = *(u16 *)skb[-4096]"),
    Form("30 00 00 00 00 00 00 00", "(30) r0 = *(u8 *)skb[0]"),
    Form("40 10 00 00 04 00 00 00", "(40) r0 = *(u32 *)skb[r1 + 4]"),
    Form("50 70 00 00 ff ff ff ff", "(50) r0 = *(u8 *)skb[r7 + -1]"),
    Form("c2 00 00 00 00 00 00 00", "(c2) nospec"),
    Form("99 21 00 00 00 00 00 00", "(99) r1 = *((null) *)(r2 +0)", assembles: false),
    Form("a1 21 00 00 00 00 00 00", "BUG_ldx_a1", assembles: false),
    Form("22 01 00 00 00 00 00 00", "BUG_st_22", assembles: false),
    Form("23 21 00 00 00 00 00 00", "BUG_23", assembles: false),
    Form("00 01 00 00 00 00 00 00", "BUG_ld_00", assembles: false),
    Form("60 01 00 00 00 00 00 00", "BUG_ld_60", assembles: false),
  ]

  static let atomics: [Form] = [
    Form("c3 21 00 00 00 00 00 00", "(c3) lock *(u32 *)(r1 +0) += r2"),
    Form("db 21 f8 ff 00 00 00 00", "(db) lock *(u64 *)(r1 -8) += r2"),
    Form("db 21 00 00 40 00 00 00", "(db) lock *(u64 *)(r1 +0) |= r2"),
    Form("db 21 00 00 50 00 00 00", "(db) lock *(u64 *)(r1 +0) &= r2"),
    Form("c3 21 00 00 a0 00 00 00", "(c3) lock *(u32 *)(r1 +0) ^= r2"),
    Form("c3 21 00 00 01 00 00 00", "(c3) r2 = atomic_fetch_add((u32 *)(r1 +0), r2)"),
    Form("db 21 08 00 01 00 00 00", "(db) r2 = atomic64_fetch_add((u64 *)(r1 +8), r2)"),
    Form("db 21 00 00 41 00 00 00", "(db) r2 = atomic64_fetch_or((u64 *)(r1 +0), r2)"),
    Form("db 21 00 00 51 00 00 00", "(db) r2 = atomic64_fetch_and((u64 *)(r1 +0), r2)"),
    Form("c3 21 00 00 a1 00 00 00", "(c3) r2 = atomic_fetch_xor((u32 *)(r1 +0), r2)"),
    Form("c3 21 00 00 e1 00 00 00", "(c3) r2 = atomic_xchg((u32 *)(r1 +0), r2)"),
    Form("db 21 00 00 e1 00 00 00", "(db) r2 = atomic64_xchg((u64 *)(r1 +0), r2)"),
    Form("c3 21 00 00 f1 00 00 00", "(c3) r0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r2)"),
    Form("db 21 00 00 f1 00 00 00", "(db) r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)"),
    Form("d3 21 00 00 00 01 00 00", "(d3) r1 = load_acquire((u8 *)(r2 +0))"),
    Form("db 21 08 00 00 01 00 00", "(db) r1 = load_acquire((u64 *)(r2 +8))"),
    Form("cb 21 00 00 10 01 00 00", "(cb) store_release((u16 *)(r1 +0), r2)"),
    Form("db 21 f8 ff 10 01 00 00", "(db) store_release((u64 *)(r1 -8), r2)"),
    Form("db 21 00 00 10 00 00 00", "BUG_db", assembles: false),
    Form("c3 21 00 00 e0 00 00 00", "BUG_c3", assembles: false),
  ]

  static let jumps: [Form] = [
    Form("05 00 03 00 00 00 00 00", "(05) goto pc+3"),
    Form("05 00 fe ff 00 00 00 00", "(05) goto pc-2"),
    Form("06 00 00 00 00 00 01 00", "(06) gotol pc+65536"),
    Form("e5 00 05 00 00 00 00 00", "(e5) may_goto pc+5"),
    Form("15 01 01 00 ff ff ff ff", "(15) if r1 == 0xffffffff goto pc+1"),
    Form("16 01 01 00 00 00 00 00", "(16) if w1 == 0x0 goto pc+1"),
    Form("1d 21 01 00 00 00 00 00", "(1d) if r1 == r2 goto pc+1"),
    Form("1e 21 01 00 00 00 00 00", "(1e) if w1 == w2 goto pc+1"),
    Form("25 01 01 00 05 00 00 00", "(25) if r1 > 0x5 goto pc+1"),
    Form("2d 21 01 00 00 00 00 00", "(2d) if r1 > r2 goto pc+1"),
    Form("35 01 01 00 05 00 00 00", "(35) if r1 >= 0x5 goto pc+1"),
    Form("3e 21 01 00 00 00 00 00", "(3e) if w1 >= w2 goto pc+1"),
    Form("45 01 01 00 07 00 00 00", "(45) if r1 & 0x7 goto pc+1"),
    Form("4d 21 01 00 00 00 00 00", "(4d) if r1 & r2 goto pc+1"),
    Form("55 01 01 00 05 00 00 00", "(55) if r1 != 0x5 goto pc+1"),
    Form("5e 21 01 00 00 00 00 00", "(5e) if w1 != w2 goto pc+1"),
    Form("65 01 01 00 05 00 00 00", "(65) if r1 s> 0x5 goto pc+1"),
    Form("66 01 01 00 05 00 00 00", "(66) if w1 s> 0x5 goto pc+1"),
    Form("75 01 01 00 05 00 00 00", "(75) if r1 s>= 0x5 goto pc+1"),
    Form("7d 21 01 00 00 00 00 00", "(7d) if r1 s>= r2 goto pc+1"),
    Form("a5 01 ff 7f 05 00 00 00", "(a5) if r1 < 0x5 goto pc+32767"),
    Form("ad 21 01 00 00 00 00 00", "(ad) if r1 < r2 goto pc+1"),
    Form("b5 01 00 80 05 00 00 00", "(b5) if r1 <= 0x5 goto pc-32768"),
    Form("be 21 01 00 00 00 00 00", "(be) if w1 <= w2 goto pc+1"),
    Form("c5 01 01 00 05 00 00 00", "(c5) if r1 s< 0x5 goto pc+1"),
    Form("cd 21 01 00 00 00 00 00", "(cd) if r1 s< r2 goto pc+1"),
    Form("d5 01 01 00 05 00 00 00", "(d5) if r1 s<= 0x5 goto pc+1"),
    Form("de 21 01 00 00 00 00 00", "(de) if w1 s<= w2 goto pc+1"),
    Form("95 00 00 00 00 00 00 00", "(95) exit"),
    Form("85 00 00 00 01 00 00 00", "(85) call bpf_map_lookup_elem#1"),
    Form("85 00 00 00 00 00 00 00", "(85) call bpf_unspec#0"),
    Form("85 00 00 00 ff ff ff ff", "(85) call unknown#-1"),
    Form("85 10 00 00 03 00 00 00", "(85) call pc+3"),
    Form("85 10 00 00 f0 ff ff ff", "(85) call pc-16"),
    Form("85 20 00 00 39 30 00 00", "(85) call kernel-function#12345"),
    Form("85 30 00 00 01 00 00 00", "(85) call unknown#1", assembles: false),
    Form("8d 01 00 00 00 00 00 00", "(8d) call bpf_unspec#0", assembles: false),
    Form("86 00 00 00 01 00 00 00", "(86) call bpf_map_lookup_elem#1", assembles: false),
    // Jumps that do not exist print as comparisons.
    Form("e5 10 05 00 00 00 00 00", "(e5) if r0 (null) 0x0 goto pc+5", assembles: false),
    Form("0d 21 05 00 00 00 00 00", "(0d) if r1 jmp r2 goto pc+5", assembles: false),
    Form("96 00 00 00 00 00 00 00", "(96) if w0 exit 0x0 goto pc+0", assembles: false),
  ]

  static let wideLoads: [Form] = [
    Form("18 01 00 00 05 00 00 00 00 00 00 00 00 00 00 00", "(18) r1 = 0x5"),
    Form("18 01 00 00 ef be ad de 00 00 00 00 78 56 34 12", "(18) r1 = 0x12345678deadbeef"),
    Form("18 00 00 00 ff ff ff ff 00 00 00 00 ff ff ff ff", "(18) r0 = 0xffffffffffffffff"),
    Form("18 12 00 00 03 00 00 00 00 00 00 00 00 00 00 00", "(18) r2 = 0x3", assembles: false),
    Form("18 22 00 00 03 00 00 00 00 00 00 00 08 00 00 00", "(18) r2 = 0x800000003", assembles: false),
    Form("18 42 00 00 05 00 00 00 00 00 00 00 00 00 00 00", "(18) r2 = 0x5", assembles: false),
  ]

  static let forms = arithmetic + memory + atomics + jumps + wideLoads

  @Test(arguments: forms) func printsTheKernelsText(form: Form) throws {
    let disassembler = Disassembler(helperName: { knownHelpers[$0] })
    let slots = try Instruction.decode(form.bytes)
    #expect(disassembler.text(slots[0], next: slots.count > 1 ? slots[1] : nil) == form.text + "\n")
  }

  @Test(arguments: forms.filter(\.assembles)) func textAssemblesToTheSameBytes(form: Form) throws {
    let assembler = Assembler(callTarget: { name in
      knownHelpers.first { $0.value == name }.map { .helper($0.key) }
    })
    let slots = try assembler.assemble("7: \(form.text) ; R0=scalar()")
    #expect(Instruction.encode(slots) == form.bytes)
  }

  @Test func mapPointersAreHiddenFromTheUnprivileged() {
    let open = Disassembler()
    let closed = Disassembler(allowPointerLeaks: false)
    let high = Instruction(opcode: 0, immediate: 0x1234)
    for source in [PseudoSource.mapFD, PseudoSource.mapValue] {
      let low = Instruction(opcode: Opcode.loadImmediate64, dst: 1, src: source, immediate: 0x56)
      #expect(open.text(low, next: high) == "(18) r1 = 0x123400000056\n")
      #expect(closed.text(low, next: high) == "(18) r1 = 0x0\n")
    }
    let other = Instruction(opcode: Opcode.loadImmediate64, dst: 1, src: PseudoSource.function, immediate: 0x56)
    #expect(closed.text(other, next: high) == "(18) r1 = 0x123400000056\n")
  }

  @Test func hooksNameCallsAndImmediates() {
    let disassembler = Disassembler(
      helperName: { knownHelpers[$0] },
      callName: { $0.isSubprogramCall ? "+7#bpf_prog_sub" : $0.isKfuncCall ? "bpf_rcu_read_lock" : "0xffff" },
      immediateText: { first, second, _ in
        first.src == 2 ? "map[id:\(first.immediate)][0]+\(second.immediate)" : nil
      })
    let call = { (source: UInt8, number: Int32) in
      disassembler.text(Instruction(opcode: Opcode.call, src: source, immediate: number))
    }
    #expect(call(0, 1) == "(85) call bpf_map_lookup_elem#1\n")
    #expect(call(0, 999) == "(85) call 0xffff#999\n")
    #expect(call(PseudoSource.call, 2) == "(85) call pc+7#bpf_prog_sub\n")
    #expect(call(PseudoSource.kfuncCall, 50) == "(85) call bpf_rcu_read_lock#50\n")
    let value = Instruction(opcode: Opcode.loadImmediate64, dst: 3, src: PseudoSource.mapValue, immediate: 4)
    let number = Instruction(opcode: Opcode.loadImmediate64, dst: 3, immediate: 4)
    let second = Instruction(opcode: 0, immediate: 8)
    #expect(disassembler.text(value, next: second) == "(18) r3 = map[id:4][0]+8\n")
    #expect(disassembler.text(number, next: second) == "(18) r3 = 0x800000004\n")
    #expect(disassembler.text(number) == "(18) r3 = 0x4\n")
  }

  @Test func everyOpcodePrintsOneLine() {
    let disassembler = Disassembler()
    var log: [UInt8] = []
    for opcode in UInt8.min...UInt8.max {
      log.removeAll(keepingCapacity: true)
      let instruction = Instruction(opcode: opcode, dst: 15, src: 15, offset: .min, immediate: .min)
      disassembler.append(instruction, to: &log)
      #expect(log.last == UInt8(ascii: "\n"))
      #expect(log.filter { $0 == UInt8(ascii: "\n") }.count == 1)
    }
  }
}
