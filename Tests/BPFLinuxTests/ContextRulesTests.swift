import BPFISA
import BPFLinux
import Testing

/// Context accesses and what Linux 6.18 answers, recorded from a running kernel.
@Suite struct ContextRulesTests {
  /// Program type, attach type (`-` for 0), offset, size, access, result.
  static let cases = """
    # __sk_buff: packet pointers by view, never in part, never sign-extended.
    socket_filter - 76 4 read refused
    sched_cls - 76 4 read pkt
    sched_cls - 80 4 read pkt_end
    sched_cls - 140 4 read pkt_meta
    sched_cls - 76 2 read refused
    sched_cls - 76 4 sign-extend refused
    cgroup_skb - 76 4 read pkt
    cgroup_skb - 140 4 read refused
    cgroup_skb - 144 8 read refused
    lwt_in - 80 4 read pkt_end
    lwt_xmit - 72 4 read refused
    flow_dissector - 144 8 read flow_keys
    flow_dissector - 0 4 read refused
    # Control block, narrow loads, unaligned offsets, time stamps, the socket.
    socket_filter - 64 4 write scalar
    socket_filter - 64 8 write refused
    socket_filter - 48 8 write scalar
    socket_filter - 8 4 write refused
    socket_filter - 0 1 read scalar
    socket_filter - 3 1 read scalar
    socket_filter - 0 8 read refused
    socket_filter - 1 2 read refused
    socket_filter - 192 4 read refused
    socket_filter - -4 4 read refused
    sched_cls - 152 8 write scalar
    sched_cls - 152 4 read refused
    sched_cls - 184 8 read scalar
    sched_cls - 180 1 read scalar
    sched_cls - 180 4 read refused
    sched_cls - 181 1 read refused
    socket_filter - 180 1 read refused
    socket_filter - 184 8 read refused
    sched_cls - 168 8 read sock_common_or_null
    sched_cls - 168 4 read refused
    sched_cls - 88 4 read refused
    sk_skb - 88 4 read scalar
    sk_skb - 92 2 read refused
    sk_skb - 8 4 read refused
    sk_skb - 32 4 write scalar
    cgroup_skb - 8 4 write scalar
    cgroup_skb - 44 4 write refused
    # xdp_md
    xdp xdp 0 4 read pkt
    xdp xdp 12 4 read scalar
    xdp xdp 12 2 read refused
    xdp xdp 20 4 read refused
    xdp xdp_devmap 20 4 read scalar
    xdp xdp 16 4 write refused
    xdp xdp 12 4 sign-extend scalar
    xdp xdp 4 4 sign-extend refused
    # Sockets and addresses
    cgroup_sock cgroup_inet_sock_create 16 4 write scalar
    cgroup_sock cgroup_inet4_post_bind 16 4 read refused
    cgroup_sock cgroup_inet4_post_bind 24 4 read scalar
    cgroup_sock cgroup_inet6_post_bind 24 4 read refused
    cgroup_sock_addr cgroup_inet4_connect 4 1 read scalar
    cgroup_sock_addr cgroup_inet6_connect 4 4 read refused
    cgroup_sock_addr cgroup_inet6_connect 8 8 write scalar
    cgroup_sock_addr cgroup_inet6_connect 12 8 read refused
    cgroup_sock_addr cgroup_udp6_sendmsg 48 8 read scalar
    cgroup_sock_addr cgroup_udp6_sendmsg 56 8 read refused
    cgroup_sock_addr cgroup_inet4_bind 64 8 read sock
    cgroup_sock_addr cgroup_inet4_bind 0 2 read refused
    sock_ops cgroup_sock_ops 184 8 read sock_or_null
    sock_ops cgroup_sock_ops 212 1 read scalar
    sock_ops cgroup_sock_ops 208 1 read refused
    sock_ops cgroup_sock_ops 4 4 write scalar
    sock_ops cgroup_sock_ops 8 4 write refused
    sock_ops cgroup_sock_ops 168 4 read refused
    sk_msg sk_msg_verdict 68 4 read scalar
    sk_msg sk_msg_verdict 68 2 read refused
    sk_reuseport sk_reuseport_select 20 1 read refused
    sk_reuseport sk_reuseport_select 20 2 read scalar
    sk_reuseport sk_reuseport_select 24 1 read scalar
    sk_reuseport sk_reuseport_select 48 8 read sock_common_or_null
    sk_lookup sk_lookup 36 4 read scalar
    sk_lookup sk_lookup 38 2 read scalar
    sk_lookup sk_lookup 40 1 read scalar
    sk_lookup sk_lookup 68 4 read refused
    cgroup_sockopt cgroup_getsockopt 36 4 write scalar
    cgroup_sockopt cgroup_setsockopt 36 4 read refused
    cgroup_sockopt cgroup_setsockopt 24 4 write scalar
    cgroup_sysctl cgroup_sysctl 0 4 write refused
    cgroup_sysctl cgroup_sysctl 4 4 write scalar
    cgroup_sysctl cgroup_sysctl 4 1 read scalar
    cgroup_sysctl cgroup_sysctl 0 8 read refused
    cgroup_device cgroup_device 0 2 read scalar
    cgroup_device cgroup_device 4 2 read refused
    # Tracing
    kprobe - 160 8 read scalar
    kprobe - 168 8 read refused
    kprobe - 3 1 read scalar
    tracepoint - 0 8 read refused
    tracepoint - 8 8 read scalar
    tracepoint - 8191 1 read scalar
    tracepoint - 8192 8 read refused
    tracepoint - -8 8 read scalar
    perf_event - 0 8 read scalar
    perf_event - 0 4 read refused
    perf_event - 168 4 read scalar
    raw_tracepoint - 88 8 read scalar
    raw_tracepoint - 96 8 read refused
    raw_tracepoint_writable - 0 8 read tp_buffer
    raw_tracepoint_writable - 0 4 read refused
    syscall - 65528 8 write scalar
    syscall - 65535 1 read refused
    """

  static let results: [Substring: RegisterType] = [
    "scalar": .scalar, "pkt": .packet, "pkt_end": .packetEnd, "pkt_meta": .packetMeta, "flow_keys": .flowKeys,
    "sock": .socket, "sock_or_null": .socket | .mayBeNull, "sock_common_or_null": .sockCommon | .mayBeNull,
    "tp_buffer": .tracepointBuffer,
  ]

  static let attachTypes = Dictionary(
    (0..<58).map { AttachType(rawValue: $0) }.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

  @Test(arguments: cases.split(separator: "\n").filter { !$0.hasPrefix("#") })
  func verdict(_ line: Substring) throws {
    let fields = line.split(separator: " ")
    let type = try #require(ProgramType(name: String(fields[0])))
    let attachType = fields[1] == "-" ? .none : try #require(Self.attachTypes[String(fields[1])])
    let verdict = ContextRules.access(
      offset: try #require(Int32(fields[2])), size: try #require(Int32(fields[3])),
      type: fields[4] == "write" ? .write : .read, signExtending: fields[4] == "sign-extend", program: type,
      expectedAttachType: attachType, linux: Linux())
    switch verdict {
    case .allowed(let access): #expect(access.registerType == Self.results[fields[5]])
    case .refused: #expect(fields[5] == "refused")
    case .btf: Issue.record("left to BTF")
    }
  }

  @Test func packetDataOfCgroupProgramsTakesCapability() {
    let linux = Linux(capabilities: [])
    for offset in [Int32(76), 80] {
      guard
        case .refused = ContextRules.access(
          offset: offset, size: 4, type: .read, program: .cgroupSkb, expectedAttachType: .none, linux: linux)
      else {
        Issue.record("allowed at \(offset)")
        continue
      }
    }
  }

  @Test func socketFields() {
    func allows(_ kind: RegisterType, _ offset: Int32, _ size: Int32) -> Bool {
      SocketRules.access(kind: kind, offset: offset, size: size, type: .read) != nil
    }
    #expect(allows(.sockCommon, 4, 4) && !allows(.sockCommon, 8, 4))
    #expect(allows(.socket, 8, 1) && !allows(.socket, 16, 1) && allows(.socket, 48, 4) && !allows(.socket, 50, 2))
    #expect(allows(.tcpSock, 80, 8) && !allows(.tcpSock, 80, 4) && !allows(.tcpSock, 112, 4))
    #expect(SocketRules.access(kind: .tcpSock, offset: 84, size: 4, type: .read)?.failsConversion == true)
    #expect(allows(.xdpSock, 0, 4) && !allows(.xdpSock, 0, 2))
  }

  @Test func layoutsFillTheirStructs() {
    for type in (1...32).map({ ProgramType(rawValue: $0) }) {
      guard let layout = ContextLayout.of(type, on: Linux()) else { continue }
      #expect(layout.fields.allSatisfy { $0.offset % $0.elementSize == 0 && $0.offset + $0.size <= layout.size })
    }
    #expect(ContextLayout.skBuff.field(at: 66).map { "\($0.name)" } == "cb")
  }

  @Test func returnRanges() {
    #expect(ReturnRules.rule(type: .xdp, expectedAttachType: .xdp) == .anything)
    #expect(ReturnRules.rule(type: .skLookup, expectedAttachType: .skLookup) == .range(ReturnRange(0, 1)))
    #expect(
      ReturnRules.rule(type: .cgroupSockAddr, expectedAttachType: .cgroupUdp4Recvmsg) == .range(ReturnRange(1, 1)))
    #expect(
      ReturnRules.rule(type: .cgroupSockAddr, expectedAttachType: .cgroupInet6Bind) == .range(ReturnRange(0, 3)))
    #expect(ReturnRules.rule(type: .tracing, expectedAttachType: .traceFexit) == .range(ReturnRange(0, 0)))
    #expect(ReturnRules.rule(type: .tracing, expectedAttachType: .none) == .refused(.ENOTSUPP))
  }
}

/// What `BPF_PROG_LOAD` answers before the verifier.
@Suite struct ProgramLoadTests {
  private func errno(
    _ type: ProgramType, _ attachType: AttachType = .none, count: Int = 1, name: String = "p",
    by capabilities: Capabilities = .all, flags: ProgramFlags = [], attachID: UInt32 = 0
  ) -> Errno? {
    var program = Program(
      name: name, type: type, expectedAttachType: attachType,
      instructions: Array(repeating: Instruction(opcode: 0x95), count: count))
    program.flags = flags
    program.attachBTFID = attachID
    do throws(LoadError) {
      try ProgramRules.checkLoad(program, linux: Linux(capabilities: capabilities), unprivilegedDisabled: false)
      return nil
    } catch {
      return error.errno
    }
  }

  @Test func errnos() {
    #expect(errno(.xdp) == nil)
    #expect(errno(.xdp, count: 0) == .E2BIG)
    #expect(errno(.socketFilter, count: 4097, by: []) == .E2BIG)
    #expect(errno(.socketFilter, count: 4096, by: []) == nil)
    #expect(errno(.xdp, by: []) == .EPERM)
    #expect(errno(.xdp, by: [.bpf]) == .EPERM)
    #expect(errno(.xdp, by: [.bpf, .netAdmin]) == nil)
    #expect(errno(.kprobe, by: [.bpf, .netAdmin]) == .EPERM)
    #expect(errno(.skLookup) == .EINVAL)
    #expect(errno(.skLookup, .skLookup) == nil)
    #expect(errno(.cgroupSock) == nil)
    #expect(errno(.cgroupSockAddr) == .EINVAL)
    #expect(errno(.xdp, attachID: 1) == .EINVAL)
    #expect(errno(.xdp, name: "a-b") == .EINVAL)
    #expect(errno(ProgramType(rawValue: 33)) == .EINVAL)
    #expect(errno(.xdp, flags: ProgramFlags(rawValue: 1 << 20)) == .EINVAL)
  }
}
