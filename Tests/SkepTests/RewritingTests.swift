import BPFISA
import BPFLinux
import BPFVerifier
import Skep
import Testing

/// What Linux 6.18 makes of programs that it accepted, recorded as `bpftool prog dump xlated` prints it; only what does
/// not depend on where the kernel's functions and fields are. Distances of called functions are 0.
@Suite struct RewritingTests {
  private func rewritten(
    _ assembly: String, type: ProgramType = .socketFilter, maps: [MapDefinition] = [],
    capabilities: Capabilities = .all, flags: ProgramFlags = [], options: RewriteOptions = .init()
  ) throws -> String {
    var program = Program(name: "test", type: type, instructions: try Assembler().assemble(assembly))
    program.maps = maps
    program.flags = flags
    let linux = Linux(config: ["CONFIG_NR_CPUS": "256"], capabilities: capabilities)
    let verdict = Verifier.verify(program, on: linux)
    let verified = try verdict.result.get()
    return RewrittenListing(program, try verified.rewritten(on: linux, options: options)).text
  }

  @Test func deadBranchesGo() throws {
    let text = try rewritten(
      """
        r0 = 1
        if r0 == 0 goto dead
        goto +0
        r0 = 2
        exit
      dead:
        r0 = 3
        exit
      """)
    #expect(
      text == """
           0: (b7) r0 = 1
           1: (b7) r0 = 2
           2: (95) exit

        """)
  }

  @Test func deadCodeOfTheUnprivilegedTraps() throws {
    let text = try rewritten(
      """
        r0 = 1
        if r0 == 1 goto live
        r0 = 2
      live:
        exit
      """, capabilities: [])
    #expect(
      text == """
           0: (b7) r0 = 1
           1: (15) if r0 == 0x1 goto pc+1
           2: (05) goto pc-1
           3: (95) exit

        """)
  }

  @Test func divisionByARegister() throws {
    let text = try rewritten(
      """
        call 7
        r1 = r0
        r0 /= r1
        w0 %= w1
        r0 s/= r1
        w0 s%= w1
        exit
      """)
    #expect(
      text.split(separator: "\n").dropFirst(2).joined(separator: "\n") == """
           2: (55) if r1 != 0x0 goto pc+2
           3: (ac) w0 ^= w0
           4: (05) goto pc+1
           5: (3f) r0 /= r1
           6: (16) if w1 == 0x0 goto pc+2
           7: (9c) w0 %= w1
           8: (05) goto pc+1
           9: (bc) w0 = w0
          10: (bf) r11 = r1
          11: (07) r11 += 1
          12: (25) if r11 > 0x1 goto pc+4
          13: (15) if r11 == 0x0 goto pc+1
          14: (b7) r0 = 0
          15: (87) r0 = -r0
          16: (05) goto pc+1
          17: (3f) r0 s/= r1
          18: (bf) r11 = r1
          19: (04) w11 += 1
          20: (26) if w11 > 0x1 goto pc+3
          21: (16) if w11 == 0x1 goto pc+4
          22: (b4) w0 = 0
          23: (05) goto pc+1
          24: (9c) w0 s%= w1
          25: (05) goto pc+1
          26: (bc) w0 = w0
          27: (95) exit
        """)
  }

  @Test func mayGotoCountsOnTheStack() throws {
    let text = try rewritten(
      """
        r0 = 0
      again:
        may_goto done
        goto again
      done:
        exit
      """)
    #expect(
      text == """
           0: (7a) *(u64 *)(r10 -16) = 65535
           1: (7a) *(u64 *)(r10 -8) = 0
           2: (b7) r0 = 0
           3: (79) r11 = *(u64 *)(r10 -16)
           4: (15) if r11 == 0x0 goto pc+6
           5: (17) r11 -= 1
           6: (55) if r11 != 0x0 goto pc+2
           7: (b7) r11 = -16
           8: (85) call arch_bpf_timed_may_goto#0
           9: (7b) *(u64 *)(r10 -16) = r11
          10: (05) goto pc-8
          11: (95) exit

        """)
  }

  @Test func legacyLoadsCall() throws {
    let text = try rewritten("r6 = r1\nr0 = *(u16 *)skb[12]\nexit")
    #expect(
      text == """
           0: (bf) r6 = r1
           1: (b7) r2 = 12
           2: (bf) r1 = r6
           3: (85) call bpf_skb_load_helper_16_no_cache#0
           4: (75) if r0 s>= 0x0 goto pc+2
           5: (ac) w0 ^= w0
           6: (95) exit
           7: (95) exit

        """)
  }

  @Test func constantsAreBlinded() throws {
    var options = RewriteOptions()
    options.blindsConstants = true
    options.mask = 0x55
    let text = try rewritten("r0 = 7\nw0 += 1\nexit", options: options)
    #expect(
      text == """
           0: (b7) r11 = 82
           1: (a7) r11 ^= 85
           2: (bf) r0 = r11
           3: (b4) w11 = 84
           4: (a4) w11 ^= 85
           5: (0c) w0 += w11
           6: (95) exit

        """)
  }

  @Test func whatIsNotKnownIsNotRewritten() {
    // Fields of sk_buff are where the kernel's types say, and here there are none.
    #expect(throws: Rejection.self) { try rewritten("r0 = *(u32 *)(r1 +0)\nexit") }
  }
}
