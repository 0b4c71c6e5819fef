import BPFLinux
import BPFVerifier
import GoldenCases
import Testing

@testable import BPFExplain

@Suite struct TraceTests {
  @Test func valuesOfTodayAndOfOlderLogs() {
    let packet = TracedValue(parsing: "pkt(id=3,off=14,r=34,umax=255,var_off=(0x0; 0xff))")
    #expect(packet.kind == "pkt")
    #expect(packet.offset == 14)
    #expect(packet.packetRange == 34)
    #expect(packet.attributes["var_off"] == "(0x0; 0xff)")
    let old = TracedValue(parsing: "invP(id=0,umin_value=1,umax_value=255,var_off=(0x0; 0xff))")
    #expect(old.isScalar && old.unsignedMaximum == 255 && old.attributes["precise"] != nil)
    #expect(TracedValue(parsing: "inv5").constant == 5)
    #expect(TracedValue(parsing: "P0").constant == 0)
    #expect(TracedValue(parsing: "0xffffffff").constant == 0xffff_ffff)
    #expect(TracedValue(parsing: "fp-16").offset == -16)
    let twins = TracedValue(parsing: "scalar(smin=umin=3,smax=umax=9)")
    #expect(twins.signedMinimum == 3 && twins.unsignedMaximum == 9)
    #expect(TracedValue(parsing: "map_value_or_null(id=1,map=m,ks=4,vs=8)").mayBeNull)
  }

  @Test func logOfToday() throws {
    let log = """
      0: R1=ctx() R10=fp0
      ; void *data = (void *)(long)ctx->data; @ xdp.c:12
      0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=pkt(r=0)
      1: (bf) r3 = r2                       ; R2=pkt(r=0) R3=pkt(r=0)
      2: (71) r0 = *(u8 *)(r3 +14)
      invalid access to packet, off=14 size=1, R3(id=0,off=14,r=0)
      R3 offset is outside of the packet
      processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
      """
    let trace = VerifierTrace(log: log.utf8)
    #expect(trace.steps.map(\.instruction) == [0, 1, 2])
    #expect(trace.steps[0].source == .init(text: "void *data = (void *)(long)ctx->data;", file: "xdp.c", line: 12))
    #expect(trace.value(of: "R3", before: 2)?.kind == "pkt")
    #expect(trace.messages.map(\.text).last == "R3 offset is outside of the packet")
    #expect(trace.counts?.instructions == 3)
    let origin = try #require(trace.origin(ofRegister: 3, before: 2))
    #expect(origin.step == 0)
  }

  @Test func logOfLinux5() {
    let log = """
      0: R1=ctx(id=0,off=0,imm=0) R10=fp0
      ; int x = 0;
      0: (b7) r6 = 0
      1: R1=ctx(id=0,off=0,imm=0) R6_w=inv0 R10=fp0
      1: (61) r2 = *(u32 *)(r1 +76)
      2: R1=ctx(id=0,off=0,imm=0) R2_w=pkt(id=0,off=0,r=0,imm=0) R6_w=inv0 R10=fp0
      2: (71) r0 = *(u8 *)(r2 +0)
      invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)
      R2 offset is outside of the packet
      processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
      """
    let trace = VerifierTrace(log: log.utf8)
    #expect(trace.steps.map(\.text) == ["r6 = 0", "r2 = *(u32 *)(r1 +76)", "r0 = *(u8 *)(r2 +0)"])
    #expect(trace.value(of: "R2", before: 2)?.kind == "pkt")
    #expect(trace.value(of: "R6", before: 2)?.constant == 0)
  }

  @Test func operations() {
    #expect(TracedOperation("r1 = *(u32 *)(r6 +4)") == .load(to: 1, base: 6, offset: 4, size: 4))
    #expect(TracedOperation("*(u64 *)(r10 -8) = r1") == .store(base: 10, offset: -8, size: 8, from: 1))
    #expect(TracedOperation("w1 = w2") == .move(to: 1, from: 2))
    #expect(TracedOperation("r2 = 0xffff888100000000") == .constant(to: 2, text: "0xffff888100000000"))
    #expect(TracedOperation("r2 += -4") == .arithmetic(to: 2, operation: "+=", operand: "-4"))
    #expect(TracedOperation("call bpf_map_lookup_elem#1") == .call(name: "bpf_map_lookup_elem"))
    #expect(TracedOperation("if r0 == 0x0 goto pc+3")
      == .branch(left: "r0", comparison: "==", right: "0x0", target: "pc+3"))
  }
}
