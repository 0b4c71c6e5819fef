import BPFISA
import Testing

@Suite struct AssemblerTests {
  static let assembler = { @Sendable in
    Assembler(
      callTarget: { name in
        switch name {
        case "bpf_map_lookup_elem": .helper(1)
        case "bpf_rcu_read_lock": .kernelFunction(typeID: 4711, module: 0)
        case "bpf_testmod_test_mod_kfunc": .kernelFunction(typeID: 99, module: 1)
        default: nil
        }
      },
      wideImmediate: { name in
        switch name {
        case "counters": .init(source: PseudoSource.mapFD, low: 3)
        case ".rodata": .init(source: PseudoSource.mapValue, low: 4, high: 8)
        default: nil
        }
      },
      constant: { ["EPERM": 1, "minus_two": -2, "big": Int64.max][$0] })
  }

  /// LLVM's text and the bytes that clang 21 makes of it.
  static let llvm: [Form] = [
    Form("8d 03 00 00 00 00 00 00", "callx r3"),
    Form("b7 00 00 00 ff ff ff ff", "r0 = 0xffffffff"),
    Form("b7 00 00 00 ff ff ff ff", "r0 = -0x1"),
    Form("18 00 00 00 ff ff ff ff 00 00 00 00 ff ff ff ff", "r0 = -1 ll"),
    Form("18 00 00 00 ff ff ff ff 00 00 00 00 00 00 00 00", "r0 = 0xffffffff ll"),
    Form("18 00 00 00 05 00 00 00 00 00 00 00 00 00 00 00", "r0 = 5ll"),
    Form("b4 00 00 00 05 00 00 00", "w0 = 5"),
    Form("b7 01 00 00 08 00 00 00", "r1 = 5 + 3"),
    Form("b7 01 00 00 00 00 00 80", "r1 = 0x80000000"),
    Form("15 01 01 00 ff ff ff ff", "if r1 == 0xffffffff goto +1"),
    Form("66 01 ff ff 05 00 00 00", "if w1 s> 0x5 goto -0x1 <.text+0x48>"),
    Form("06 00 00 00 04 00 00 00", "gotol +4"),
    Form("e5 00 00 00 00 00 00 00", "may_goto +0"),
    Form("05 00 03 00 00 00 00 00", "goto 3"),
    Form("bf 11 01 00 01 00 00 00", "r1 = addr_space_cast(r1, 0x0, 0x1)"),
    Form("db 10 00 00 00 01 00 00", "r0 = load_acquire((u64 *)(r1 + 0))"),
    Form("c3 21 00 00 00 01 00 00", "w1 = load_acquire((u32 *)(r2 + 0x0))"),
    Form("c3 21 00 00 10 01 00 00", "store_release((u32 *)(r1 + 0), w2)"),
    Form("50 10 00 00 00 00 00 00", "r0 = *(u8 *)skb[r1]"),
    Form("30 00 00 00 05 00 00 00", "r0 = *(u8 *)skb[0x5]"),
    Form("bf 10 08 00 00 00 00 00", "r0 = (s8)r1"),
    Form("bc 10 10 00 00 00 00 00", "w0 = (s16) w1"),
    Form("c3 21 00 00 f1 00 00 00", "w0 = cmpxchg32_32(r1 + 0, w0, w2)"),
    Form("db 21 00 00 f1 00 00 00", "r0 = cmpxchg_64(r1 + 0x0, r0, r2)"),
    Form("db 31 00 00 e1 00 00 00", "r3 = xchg_64(r1 + 0, r3)"),
    Form("c3 31 f8 ff e1 00 00 00", "w3 = xchg32_32(r1 - 8, w3)"),
    Form("c3 31 08 00 01 00 00 00", "w3 = atomic_fetch_add((u32 *)(r1 + 8), w3)"),
    Form("db 31 08 00 a1 00 00 00", "r3 = atomic_fetch_xor((u64 *)(r1 + 8), r3)"),
    Form("c3 21 00 00 00 00 00 00", "lock *(u32 *)(r1 + 0) += w2"),
    Form("c3 21 00 00 00 00 00 00", "lock *(u32 *)(r1+0)+=r2"),
    Form("db 21 00 00 a0 00 00 00", "lock *(u64 *)(r1 + 0) ^= r2"),
    Form("18 11 00 00 05 00 00 00 00 00 00 00 00 00 00 00", "ld_pseudo\tr1, 0x1, 0x5"),
    Form("62 01 00 00 05 00 00 00", "*(u32 *)(r1 + 0) = 5"),
    Form("63 51 00 00 00 00 00 00", "*(u32*)(r1+0)=w5"),
    Form("73 51 f8 ff 00 00 00 00", "*(u8 *)(r1 - 8) = r5"),
    Form("7a 0a f0 ff 00 00 00 00", "*(u64*)(r10 - 16) = 0"),
    Form("89 21 02 00 00 00 00 00", "r1 = *(s16 *)(r2 + 2)"),
    Form("69 21 02 00 00 00 00 00", "w1 = *(u16 *)(r2 + 2)"),
    Form("61 21 08 00 00 00 00 00", "r1 = *(u32*)(r2 + 4 + 4)"),
    Form("cc 21 00 00 00 00 00 00", "w1 s>>= w2"),
    Form("cc 21 00 00 00 00 00 00", "w1 s>>=w2"),
    Form("37 01 01 00 03 00 00 00", "r1 s/= 3"),
    Form("9f 21 01 00 00 00 00 00", "r1 s%= r2"),
    Form("87 01 00 00 00 00 00 00", "r1 = -r1"),
    Form("84 01 00 00 00 00 00 00", "w1=-w1"),
    Form("d7 01 00 00 10 00 00 00", "r1 = bswap16 r1"),
    Form("dc 01 00 00 20 00 00 00", "r1 = be32 r1"),
    Form("d4 01 00 00 40 00 00 00", "r1 = le64 r1"),
    Form("85 00 00 00 06 00 00 00", "call 0x6"),
    Form("85 00 00 00 ff ff ff ff", "call -1"),
    Form("45 01 01 00 07 00 00 00", "if r1 & 7 goto +1"),
    Form("4d 31 01 00 00 00 00 00", "if r1 & r3 goto +1"),
    Form("b7 0b 00 00 05 00 00 00", "r11 = 5"),
    Form("bf 21 00 00 00 00 00 00", "R1 = r2"),
  ]

  /// What clang does not have.
  static let ours: [Form] = [
    Form("85 00 00 00 01 00 00 00", "call bpf_map_lookup_elem"),
    Form("85 00 00 00 01 00 00 00", "call %[bpf_map_lookup_elem]"),
    Form("85 20 00 00 67 12 00 00", "call bpf_rcu_read_lock"),
    Form("85 20 01 00 63 00 00 00", "call bpf_testmod_test_mod_kfunc"),
    Form("85 20 00 00 05 00 00 00", "call bpf_rcu_read_lock#5"),
    Form("18 11 00 00 03 00 00 00 00 00 00 00 00 00 00 00", "r1 = counters ll"),
    Form("18 11 00 00 03 00 00 00 00 00 00 00 00 00 00 00", "r1 = %[counters] ll"),
    Form("18 11 00 00 03 00 00 00 00 00 00 00 00 00 00 00", "r1 = map[counters] ll"),
    Form("18 22 00 00 04 00 00 00 00 00 00 00 08 00 00 00", "r2 = .rodata ll"),
    Form("18 12 00 00 07 00 00 00 00 00 00 00 00 00 00 00", "r2 = map[id:7]"),
    Form("18 22 00 00 07 00 00 00 00 00 00 00 08 00 00 00", "(18) r2 = map[id:7][0]+8"),
    Form("18 62 00 00 07 00 00 00 00 00 00 00 08 00 00 00", "(18) r2 = map[idx:7]+8"),
    Form("18 42 00 00 03 00 00 00 00 00 00 00 00 00 00 00", "(18) r2 = subprog[+3]"),
    Form("18 02 00 00 ff ff ff ff 00 00 00 00 ff ff ff 7f", "r2 = big ll"),
    Form("b7 00 00 00 ff ff ff ff", "r0 = -EPERM"),
    Form("b7 00 00 00 01 00 00 00", "r0 = -minus_two - EPERM"),
    Form("40 10 00 00 04 00 00 00", "r0 = *(u32 *)skb[r1 + 4]"),
    Form("b7 02 00 00 05 00 00 00", ".8byte 0x5000002b7"),
    Form("95 00 00 00 00 00 00 00 95 00 00 00 00 00 00 00", ".8byte 0x95, 149"),
    Form("05 00 02 80 00 00 00 00", "goto -0x7ffe"),
    Form("b7 01 00 00 05 00 00 00", "\t       3:\tr1 = 0x5 # five"),
  ]

  @Test(arguments: llvm + ours) func assembles(form: Form) throws {
    #expect(Instruction.encode(try Self.assembler().assemble(form.text)) == form.bytes)
  }

  @Test func programsWithLabels() throws {
    let assembly = try Self.assembler().assembly(
      of: """
        ; counts calls
        entry:  r6 = r1           // context
                r1 = counters ll  /* two
                slots */
                *(u64 *)(r10 - 8) = 0; call bpf_map_lookup_elem
                if r0 == 0 goto l0_%=
        1:      r6 += -1
                if r6 > 0 goto 1b
                if r6 == 0 goto 1f; gotol done
        1:      call helper # a subprogram
                r2 = helper ll
        l0_%=:  r0 = 0
        done:   exit
        helper: may_goto end
                r0 = 1
                exit
        end:
        """)
    let disassembler = Disassembler(helperName: { knownHelpers[$0] })
    var text = ""
    var slot = 0
    let slots = assembly.instructions
    while slot < slots.count {
      let wide = slots[slot].isLoadImmediate64
      text += "\(slot): " + disassembler.text(slots[slot], next: wide ? slots[slot + 1] : nil)
      slot += wide ? 2 : 1
    }
    #expect(
      text == """
        0: (bf) r6 = r1
        1: (18) r1 = 0x3
        3: (7a) *(u64 *)(r10 -8) = 0
        4: (85) call bpf_map_lookup_elem#1
        5: (15) if r0 == 0x0 goto pc+7
        6: (07) r6 += -1
        7: (25) if r6 > 0x0 goto pc-2
        8: (15) if r6 == 0x0 goto pc+1
        9: (06) gotol pc+4
        10: (85) call pc+4
        11: (18) r2 = 0x3
        13: (b7) r0 = 0
        14: (95) exit
        15: (e5) may_goto pc+2
        16: (b7) r0 = 1
        17: (95) exit

        """)
    #expect(slots[11].isSubprogramAddress)
    #expect(assembly.labels == ["entry": 0, "l0_%=": 13, "done": 14, "helper": 15, "end": 18])
    #expect(assembly.lines == [2, 3, 3, 5, 5, 6, 7, 8, 9, 9, 10, 11, 11, 12, 13, 14, 15, 16])
  }

  @Test func objdumpOutput() throws {
    let slots = try Self.assembler().assemble(
      """
      0000000000000000 <xdp_pass>:
             0:\tif r1 == 0x0 goto +0x1 <xdp_pass+0x10>
             1:\tr0 = 0x2
      00000000000001d0 <LBB0_2>:
             2:\tgoto LBB0_2
      """)
    #expect(slots.map(\.opcode) == [0x15, 0xb7, 0x05])
    #expect(slots[2].offset == -1)
  }

  @Test func labelsWinOverHelpers() throws {
    let slots = try Self.assembler().assemble("call bpf_map_lookup_elem\nexit\nbpf_map_lookup_elem: exit")
    #expect(slots[0] == Instruction(opcode: Opcode.call, src: PseudoSource.call, immediate: 1))
  }

  @Test func emptyTextIsNoInstructions() throws {
    #expect(try Assembler().assemble("").isEmpty)
    #expect(try Assembler().assemble(" \n;;\n // nothing\n/* at all */ # ever").isEmpty)
  }

  struct Failure: CustomTestStringConvertible, Sendable {
    let text: String
    let position: String
    let rule: AssemblyError.Rule

    init(_ text: String, _ position: String, _ rule: AssemblyError.Rule) {
      self.text = text
      self.position = position
      self.rule = rule
    }

    var testDescription: String { text }
  }

  static let failures: [Failure] = [
    Failure("r1 = 5\n  r1 = !", "2:8", .unexpectedByte(UInt8(ascii: "!"))),
    Failure("exit /* never", "1:6", .unterminatedComment),
    Failure("r1 = 0xzz", "1:6", .invalidNumber("0xzz")),
    Failure("r1 = 18446744073709551616 ll", "1:6", .invalidNumber("18446744073709551616")),
    Failure("frob r1", "1:1", .unknownInstruction("frob")),
    Failure(".text", "1:1", .unknownDirective(".text")),
    Failure("r1 = frob", "1:6", .unknownOperation("frob")),
    Failure("r1 = atomic_swap((u64 *)(r1 + 0), r1)", "1:6", .unknownOperation("atomic_swap")),
    Failure("r16 = 1", "1:1", .invalidRegister("r16")),
    Failure("r1 = w2", "1:6", .registerWidth("w2")),
    Failure("w1 += r2", "1:7", .registerWidth("r2")),
    Failure("w1 = 5 ll", "1:1", .registerWidth("w1")),
    Failure("w1 = *(u64 *)(r2 + 0)", "1:1", .registerWidth("w1")),
    Failure("w1 = *(s8 *)(r2 + 0)", "1:1", .registerWidth("w1")),
    Failure("*(u64 *)(r1 + 0) = w2", "1:20", .registerWidth("w2")),
    Failure("*(u32 *)(w1 + 0) = r2", "1:10", .registerWidth("w1")),
    Failure("if r1 == w2 goto +1", "1:10", .registerWidth("w2")),
    Failure("r1 = -r2", "1:7", .registersDiffer("r1", "r2")),
    Failure("r1 = be16 r2", "1:11", .registersDiffer("r1", "r2")),
    Failure("r1 = atomic_fetch_add((u64 *)(r3 + 0), r2)", "1:40", .registersDiffer("r1", "r2")),
    Failure("r1 = cmpxchg_64(r3 + 0, r1, r2)", "1:1", .registersDiffer("r0", "r1")),
    Failure("r1 = *(u32 *)skb[4]", "1:1", .registersDiffer("r0", "r1")),
    Failure("r1 = atomic64_xchg((u32 *)(r3 + 0), r1)", "1:21", .expected("'u64'", found: "'u32'")),
    Failure("r1 = 0x100000000", "1:6", .immediateOutOfRange("4294967296")),
    Failure("r1 += -2147483649", "1:7", .immediateOutOfRange("-2147483649")),
    Failure("r1 = -9223372036854775809 ll", "1:6", .immediateOutOfRange("-9223372036854775809")),
    Failure("r1 = addr_space_cast(r1, 65536, 0)", "1:26", .immediateOutOfRange("65536")),
    Failure("gotol +0x80000000", "1:7", .immediateOutOfRange("2147483648")),
    Failure("r1 = *(u32 *)(r2 + 32768)", "1:18", .offsetOutOfRange("32768")),
    Failure("goto -32769", "1:6", .offsetOutOfRange("-32769")),
    Failure("goto nowhere", "1:6", .undefinedLabel("nowhere")),
    Failure("goto 1b\n1: exit", "1:6", .undefinedLabel("1b")),
    Failure("a: exit\na: exit", "2:1", .duplicateLabel("a")),
    Failure("call bpf_frob", "1:6", .unknownSymbol("bpf_frob")),
    Failure("call bpf_frob#3", "1:6", .unknownSymbol("bpf_frob")),
    Failure("r1 = nothing ll", "1:6", .unknownSymbol("nothing")),
    Failure("r1 += nothing", "1:7", .unknownSymbol("nothing")),
    Failure("0: (b4) r1 = 5", "1:4", .opcodeMismatch(written: 0xb4, assembled: 0xb7)),
    Failure("r1 = r2 r3", "1:9", .expected("the end of the statement", found: "'r3'")),
    Failure("r1 = (u8)r2", "1:7", .expected("a signed type", found: "'u8'")),
    Failure("*(s8 *)(r1 + 0) = 5", "1:3", .expected("an unsigned type", found: "'s8'")),
    Failure("if r1 goto +1", "1:7", .expected("a comparison", found: "'goto'")),
    Failure("if r1 == 1 exit", "1:12", .expected("'goto'", found: "'exit'")),
    Failure("lock *(u64 *)(r1 + 0) -= r2", "1:23", .expected("'+=', '|=', '&=' or '^='", found: "'-='")),
    Failure("r1", "1:3", .expected("an assignment operator", found: "the end of the statement")),
    Failure("(95)", "1:5", .expected("an instruction", found: "the end of the statement")),
    Failure("call", "1:5", .expected("a function", found: "the end of the statement")),
  ]

  @Test(arguments: failures) func failsWhere(failure: Failure) throws {
    let error = #expect(throws: AssemblyError.self) { try Self.assembler().assemble(failure.text) }
    #expect(error?.rule == failure.rule)
    #expect(error?.position.description == failure.position)
  }

  @Test func jumpsThatAreTooFar() {
    let text = "start:\n" + String(repeating: "r0 = 0\n", count: 32768) + "goto start"
    #expect(throws: AssemblyError(.jumpOutOfRange("start"), at: SourcePosition(line: 32770, column: 6))) {
      try Assembler().assemble(text)
    }
    #expect(throws: Never.self) { try Assembler().assemble(text.replacing("goto start", with: "gotol start")) }
  }

  @Test func errorsRead() {
    let error = AssemblyError(.registersDiffer("r1", "r2"), at: SourcePosition(line: 3, column: 7))
    #expect("\(error)" == "3:7: 'r2' must be the same register as 'r1'")
  }
}
