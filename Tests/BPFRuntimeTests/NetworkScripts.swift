import BPFLinux
import BPFRuntime

// The scripts whose answers are recorded: each helper with what it takes and what it refuses.
extension NetworkScript {
  static func input(_ data: [UInt8], context: [UInt8] = [], capacity: Int = 8192) -> TestRun.Input {
    var input = TestRun.Input(data: data, context: context)
    input.dataCapacity = capacity
    return input
  }

  /// A context of `size` bytes with values of four bytes at offsets.
  static func context(_ size: Int, _ fields: [Int: UInt32]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: size)
    for (offset, value) in fields {
      for byte in 0..<4 { bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (byte * 8)) }
    }
    return bytes
  }

  static func withContext(
    _ data: [UInt8], _ size: Int, _ fields: [Int: UInt32], capacity: Int = 8192
  ) -> TestRun.Input {
    var given = input(data, context: context(size, fields), capacity: capacity)
    given.contextCapacity = size
    return given
  }

  private static func call(_ helper: HelperID, _ values: Int64...) -> Step {
    .call(helper, [.context] + values.map { .value($0) })
  }

  static let recorded: [NetworkScript] = xdp + fragments + redirects + buffers + shapes + tunnels + inputs + others

  // MARK: XDP

  private static let xdp: [NetworkScript] = [
    NetworkScript("xdp-adjust-head", .xdp, input(TestPackets.udpIPv4), [
      call(.xdpAdjustHead, -20), call(.xdpAdjustHead, 5), call(.xdpAdjustHead, -300), call(.xdpAdjustHead, 5000),
      call(.xdpAdjustHead, -201), call(.xdpAdjustHead, 0x1_0000_0003), .load(12, 4), .load(16, 4),
    ]),
    NetworkScript("xdp-adjust-head-limit", .xdp, input(TestPackets.udpIPv4), [
      call(.xdpAdjustHead, -216), call(.xdpAdjustHead, -1), call(.xdpAdjustHead, 216 + 68), call(.xdpAdjustHead, 1),
    ]),
    NetworkScript("xdp-adjust-tail", .xdp, input(TestPackets.udpIPv4), [
      call(.xdpAdjustTail, 100), call(.xdpAdjustTail, -30), call(.xdpAdjustTail, 4000), call(.xdpAdjustTail, -4000),
      call(.xdpAdjustTail, -130), .call(.xdpGetBuffLen, [.context]),
    ]),
    NetworkScript("xdp-adjust-tail-limit", .xdp, input(TestPackets.udpIPv4), [
      call(.xdpAdjustTail, 3520 - 82), call(.xdpAdjustTail, 1), call(.xdpAdjustTail, 14 - 3520),
      call(.xdpAdjustTail, -1),
    ]),
    NetworkScript("xdp-adjust-meta", .xdp, withContext(TestPackets.udpIPv4, 24, [4: 82], capacity: 4096), [
      call(.xdpAdjustMeta, -8), call(.xdpAdjustMeta, -7), call(.xdpAdjustMeta, 4), call(.xdpAdjustMeta, 5),
      call(.xdpAdjustMeta, -252), call(.xdpAdjustMeta, -212), call(.xdpAdjustMeta, 3), call(.xdpAdjustHead, -16),
      call(.xdpAdjustHead, -40), call(.xdpAdjustHead, 12),
    ]),
    NetworkScript(
      "xdp-metadata-in", .xdp, withContext(TestPackets.bytes(16) + TestPackets.udpIPv4, 24, [0: 16, 4: 98]),
      [
        call(.xdpAdjustMeta, 4), call(.xdpAdjustHead, 10), .call(.xdpGetBuffLen, [.context]), .load(12, 4),
        call(.xdpAdjustMeta, -204), call(.xdpAdjustMeta, -100),
      ]),
    NetworkScript("xdp-load-store", .xdp, input(TestPackets.udpIPv4), [
      .call(.xdpLoadBytes, [.context, .value(10), .stack(0), .value(16)]), .look(0), .look(8),
      .call(.xdpLoadBytes, [.context, .value(70), .stack(0), .value(16)]), .look(0),
      .call(.xdpLoadBytes, [.context, .value(0x10000), .stack(0), .value(16)]),
      .put(0, [1, 2, 3, 4, 5, 6, 7, 8]),
      .call(.xdpStoreBytes, [.context, .value(74), .stack(0), .value(8)]),
      .call(.xdpStoreBytes, [.context, .value(75), .stack(0), .value(8)]),
      .call(.xdpStoreBytes, [.context, .value(0xffff_ffff), .stack(0), .value(8)]),
    ]),
    NetworkScript("xdp-redirect", .xdp, input(TestPackets.udpIPv4), [
      .call(.redirect, [.value(1), .value(0)]), .call(.redirect, [.value(1), .value(1)]),
      .call(.redirect, [.value(999), .value(0)]),
    ]),
    NetworkScript("xdp-check-mtu", .xdp, input(TestPackets.udpIPv4), [
      .call(.checkMtu, [.context, .value(0), .stack(0), .value(0), .value(0)]), .look(0),
      .put(0, [0, 0, 0, 0]),
      .call(.checkMtu, [.context, .value(1), .stack(0), .value(65469), .value(0)]), .look(0),
      .put(0, [0, 0, 0, 0]),
      .call(.checkMtu, [.context, .value(1), .stack(0), .value(65468), .value(0)]),
      .put(0, [0xff, 0xff, 0, 0]),
      .call(.checkMtu, [.context, .value(1), .stack(0), .value(2), .value(0)]), .look(0),
      .call(.checkMtu, [.context, .value(1), .stack(0), .value(0), .value(1)]),
      .call(.checkMtu, [.context, .value(4_000_000), .stack(0), .value(0), .value(0)]),
    ]),
    NetworkScript("xdp-fib-lookup", .xdp, input(TestPackets.udpIPv4), [
      .call(.fibLookup, [.context, .stack(0), .value(63), .value(0)]),
      .call(.fibLookup, [.context, .stack(0), .value(64), .value(0x40)]),
      .call(.fibLookup, [.context, .stack(0), .value(64), .value(0)]),
      .put(0, [2]),
      .call(.fibLookup, [.context, .stack(0), .value(64), .value(0)]),
    ]),
    NetworkScript("csum-diff", .xdp, input(TestPackets.udpIPv4), [
      .put(0, TestPackets.bytes(40)), .put(64, TestPackets.bytes(40, seed: 9)),
      .call(.csumDiff, [.stack(0), .value(8), .stack(64), .value(8), .value(0)]),
      .call(.csumDiff, [.stack(0), .value(0), .stack(64), .value(40), .value(0x1234)]),
      .call(.csumDiff, [.stack(0), .value(40), .stack(64), .value(0), .value(0x1234_5678)]),
      .call(.csumDiff, [.stack(0), .value(0), .stack(64), .value(0), .value(0xffff)]),
      .call(.csumDiff, [.stack(0), .value(13), .stack(64), .value(7), .value(0xffff_ffff)]),
      .call(.csumDiff, [.stack(128), .value(8), .stack(136), .value(8), .value(0)]),
      .call(.csumDiff, [.stack(3), .value(9), .stack(65), .value(22), .value(1)]),
    ]),
  ]

  private static let large = TestPackets.ethernet(0x0800, TestPackets.bytes(8986))

  private static let fragments: [NetworkScript] = [
    NetworkScript("xdp-fragments-read", .xdp, input(large, capacity: 16384), [
      .call(.xdpGetBuffLen, [.context]),
      .call(.xdpLoadBytes, [.context, .value(3510), .stack(0), .value(64)]), .look(0), .look(56),
      .call(.xdpLoadBytes, [.context, .value(7600), .stack(0), .value(64)]), .look(0), .look(56),
      .call(.xdpLoadBytes, [.context, .value(8990), .stack(0), .value(16)]),
      .put(0, TestPackets.bytes(64, seed: 77)),
      .call(.xdpStoreBytes, [.context, .value(3500), .stack(0), .value(64)]),
      .call(.xdpStoreBytes, [.context, .value(8990), .stack(0), .value(10)]),
    ]),
    NetworkScript("xdp-fragments-tail", .xdp, input(large, capacity: 16384), [
      call(.xdpAdjustTail, 2700), call(.xdpAdjustTail, 2000), call(.xdpAdjustTail, 17), call(.xdpAdjustTail, -4000),
      .call(.xdpGetBuffLen, [.context]), call(.xdpAdjustTail, 5), call(.xdpAdjustHead, -30),
      call(.xdpAdjustTail, -8000),
    ]),
    NetworkScript("xdp-fragments-shrink", .xdp, input(large, capacity: 16384), [
      call(.xdpAdjustTail, -9000), call(.xdpAdjustTail, -5600), .call(.xdpGetBuffLen, [.context]),
      call(.xdpAdjustTail, 100), .call(.xdpGetBuffLen, [.context]),
    ]),
    NetworkScript("xdp-pull-data", .xdp, input(large, capacity: 16384), [
      .kfunc("bpf_xdp_pull_data", [.context, .value(3000)]), .kfunc("bpf_xdp_pull_data", [.context, .value(3600)]),
      .kfunc("bpf_xdp_pull_data", [.context, .value(9001)]), .kfunc("bpf_xdp_pull_data", [.context, .value(3800)]),
      .call(.xdpGetBuffLen, [.context]), call(.xdpAdjustHead, -90), call(.xdpAdjustTail, -6000),
      .kfunc("bpf_xdp_pull_data", [.context, .value(2000)]),
    ]),
    NetworkScript("xdp-too-long", .xdp, input([UInt8](repeating: 0, count: 80000)), []),
    NetworkScript("xdp-short-room", .xdp, input(large, capacity: 4000), []),
    NetworkScript("xdp-less-than-fragments", .xdp, input(large, capacity: 100), []),
    NetworkScript("xdp-linear-part", .xdp, withContext(large, 24, [4: 100], capacity: 16384), [
      .call(.xdpGetBuffLen, [.context]), .kfunc("bpf_xdp_pull_data", [.context, .value(200)]),
    ]),
  ]

  private static func redirectMap(
    _ name: String, _ type: MapType, valueSize: UInt32, _ value: [UInt8]?
  ) -> NetworkScript {
    let keys: [Int64] = [0, 1, 2, 3, 4, 0x1_0000_0001, -1]
    let flags: [Int64] = [0, 1, 2, 3, 4, 8, 9, 24, 16, 1 << 32]
    var script = NetworkScript(
      name, .xdp, input(TestPackets.udpIPv4),
      keys.flatMap { key in
        flags.map { .call(.redirectMap, [.map(0), .value(key), .value($0)]) }
      })
    let definition = MapDefinition(name: "targets", type: type, keySize: 4, valueSize: valueSize, maxEntries: 4)
    script.maps = [(definition, value.map { [([0, 0, 0, 0], $0)] } ?? [])]
    return script
  }

  private static let redirects: [NetworkScript] = [
    redirectMap("redirect-devmap", .devmap, valueSize: 4, [1, 0, 0, 0]),
    redirectMap("redirect-devmap-hash", .devmapHash, valueSize: 8, [1, 0, 0, 0, 255, 255, 255, 255]),
    redirectMap("redirect-cpumap", .cpumap, valueSize: 4, [64, 0, 0, 0]),
    redirectMap("redirect-xskmap", .xskmap, valueSize: 4, nil),
  ]

  // MARK: Socket buffers

  private static let fields: [Step] = [
    .load(0, 4), .load(4, 4), .load(4, 1), .load(8, 4), .load(12, 4), .load(16, 4), .load(16, 2), .load(20, 4),
    .load(24, 4), .load(28, 4), .load(32, 4), .load(36, 4), .load(40, 4), .load(44, 4), .load(68, 4), .load(72, 4),
    .load(84, 4), .load(152, 8), .load(160, 4), .load(164, 4), .load(176, 4), .load(180, 1), .load(184, 8),
    .load(48, 4), .load(64, 4), .load(61, 1),
  ]

  private static let buffers: [NetworkScript] = [
    NetworkScript("tc-fields", .schedCls, input(TestPackets.udpIPv4), fields),
    NetworkScript("tc-fields-arp", .schedCls, input(TestPackets.arp), fields),
    NetworkScript("tc-fields-length", .schedCls, input(TestPackets.withLength), fields),
    NetworkScript(
      "tc-fields-broadcast", .schedAct, input([255, 255, 255, 255, 255, 255] + TestPackets.udpIPv6.dropFirst(6)),
      fields),
    NetworkScript("tc-fields-host", .schedCls, input([UInt8](repeating: 0, count: 60)), fields),
    NetworkScript(
      "tc-fields-given", .schedCls,
      withContext(
        TestPackets.udpIPv4, 192,
        [8: 7, 32: 8, 36: 9, 40: 1, 48: 1, 52: 2, 56: 3, 60: 4, 64: 5, 152: 11, 156: 12, 160: 100, 164: 3, 176: 10,
          184: 99]),
      fields + [.store(8, 4, 77), .store(48, 4, 55), .store(67, 1, 9), .store(32, 4, -1), .store(152, 8, 5)]),
    NetworkScript("tc-stores", .schedCls, withContext(TestPackets.udpIPv4, 192, [:]), [
      .store(12, 4, 5), .load(12, 4), .storeRegister(12, 4, 0xffff), .load(12, 4), .storeRegister(12, 4, 0xfffe),
      .load(12, 4), .storeRegister(12, 4, 0x1_0000_0001), .load(12, 4), .store(12, 4, 0x7fff_ffff), .load(12, 4),
      .store(44, 4, 0x12345), .load(44, 4), .storeRegister(44, 4, 0x7_7777), .load(44, 4),
      .store(72, 4, 0x54321), .load(72, 4), .store(8, 4, -2), .load(8, 4), .load(9, 1), .load(10, 2),
    ]),
    NetworkScript("socket-filter-fields", .socketFilter, input(TestPackets.udpIPv4), [
      .load(0, 4), .load(4, 4), .load(16, 4), .load(40, 4), .load(12, 4), .store(48, 4, 3), .load(48, 4),
    ]),
    NetworkScript("tc-load-bytes", .schedCls, input(TestPackets.udpIPv4), [
      .call(.skbLoadBytes, [.context, .value(10), .stack(0), .value(16)]), .look(0), .look(8),
      .call(.skbLoadBytes, [.context, .value(80), .stack(0), .value(16)]), .look(0),
      .call(.skbLoadBytes, [.context, .value(0x8000_0000), .stack(0), .value(16)]),
      .call(.skbLoadBytesRelative, [.context, .value(0), .stack(0), .value(8), .value(0)]), .look(0),
      .call(.skbLoadBytesRelative, [.context, .value(2), .stack(0), .value(8), .value(1)]), .look(0),
      .call(.skbLoadBytesRelative, [.context, .value(2), .stack(0), .value(8), .value(2)]), .look(0),
      .call(.skbLoadBytesRelative, [.context, .value(61), .stack(0), .value(8), .value(1)]), .look(0),
      .call(.skbLoadBytesRelative, [.context, .value(0x10000), .stack(0), .value(8), .value(1)]),
    ]),
    NetworkScript("cgroup-load-bytes", .socketFilter, input(TestPackets.udpIPv4), [
      .call(.skbLoadBytes, [.context, .value(0), .stack(0), .value(16)]), .look(0), .look(8),
      .call(.skbLoadBytesRelative, [.context, .value(0), .stack(0), .value(8), .value(0)]), .look(0),
      .call(.skbLoadBytesRelative, [.context, .value(0), .stack(0), .value(8), .value(1)]), .look(0),
      .call(.getSocketUid, [.context]),
    ]),
    NetworkScript("tc-store-bytes", .schedCls, input(TestPackets.udpIPv4), [
      .put(0, [9, 8, 7, 6, 5, 4, 3, 2]), call(.setHash, 0x1234),
      .call(.skbStoreBytes, [.context, .value(20), .stack(0), .value(8), .value(0)]), .load(68, 4),
      .call(.skbStoreBytes, [.context, .value(74), .stack(0), .value(8), .value(3)]), .load(68, 4),
      .call(.skbStoreBytes, [.context, .value(75), .stack(0), .value(8), .value(0)]),
      .call(.skbStoreBytes, [.context, .value(20), .stack(0), .value(8), .value(4)]),
      .call(.skbStoreBytes, [.context, .value(0x8000_0000), .stack(0), .value(8), .value(0)]),
    ]),
    NetworkScript("tc-checksums", .schedCls, input(TestPackets.udpIPv4), [
      call(.l3CsumReplace, 24, 0x0a00, 0x0b00, 2), call(.l3CsumReplace, 24, 0x0100_000a, 0x0200_000a, 4),
      call(.l3CsumReplace, 24, 0, 0x1234_5678, 0), call(.l3CsumReplace, 24, 1, 0x1234_5678, 0),
      call(.l3CsumReplace, 25, 0, 1, 2), call(.l3CsumReplace, 82, 0, 1, 2), call(.l3CsumReplace, 24, 0, 1, 3),
      call(.l3CsumReplace, 24, 0, 1, 0x12), call(.l3CsumReplace, 0x10000, 0, 1, 2),
      call(.l4CsumReplace, 40, 0x0100_000a, 0x0200_000a, 0x14), call(.l4CsumReplace, 40, 0x35, 0x36, 2),
      call(.l4CsumReplace, 40, 0, 0x1234_5678, 0x90), call(.l4CsumReplace, 40, 0, 0, 0x20),
      call(.l4CsumReplace, 40, 5, 5, 8), call(.l4CsumReplace, 40, 0, 1, 0x100), call(.l4CsumReplace, 41, 0, 1, 2),
      call(.l4CsumReplace, 40, 0x1_2345, 0x6_7890, 2), call(.l4CsumReplace, 40, 1, 2, 0),
    ]),
    NetworkScript(
      "tc-mangled-zero", .schedCls, input(TestPackets.ethernet(0x0800, [UInt8](repeating: 0, count: 46))), [
      call(.l4CsumReplace, 40, 1, 2, 0x22), call(.l4CsumReplace, 40, 1, 2, 0x62),
      call(.l4CsumReplace, 42, 0xffff, 0, 0x62), call(.l4CsumReplace, 44, 0, 0xffff, 0x62),
    ]),
    NetworkScript("tc-csum-state", .schedCls, input(TestPackets.udpIPv4), [
      call(.csumUpdate, 5), call(.csumLevel, 0), call(.csumLevel, 1), call(.csumLevel, 0), call(.csumLevel, 1),
      call(.csumLevel, 1), call(.csumLevel, 1), call(.csumLevel, 1), call(.csumLevel, 0), call(.csumLevel, 2),
      call(.csumLevel, 0), call(.csumLevel, 3), call(.csumLevel, 0), call(.csumLevel, 2), call(.csumLevel, 4),
      call(.csumLevel, 1), call(.csumLevel, 2), call(.csumLevel, 0),
    ]),
    NetworkScript("tc-type-hash-time", .schedCls, input(TestPackets.udpIPv4), [
      call(.skbChangeType, 0), .load(4, 4), call(.skbChangeType, 4), call(.skbChangeType, 3), .load(4, 4),
      call(.setHash, 0xfeed_beef), .call(.getHashRecalc, [.context]), .load(68, 4), .call(.setHashInvalid, [.context]),
      .load(68, 4), call(.skbSetTstamp, 5, 1), .load(152, 8), .load(180, 1), call(.skbSetTstamp, 0, 1),
      call(.skbSetTstamp, 0, 0), .load(152, 8), .load(180, 1), call(.skbSetTstamp, 7, 2), call(.skbSetTstamp, 7, 3),
      .load(152, 8), .load(180, 1),
    ]),
    NetworkScript("tc-time-of-arp", .schedCls, input(TestPackets.arp), [call(.skbSetTstamp, 5, 1)]),
    NetworkScript("tc-who", .schedCls, input(TestPackets.udpIPv4), [
      .call(.getSocketUid, [.context]), .call(.getRouteRealm, [.context]), .call(.getCgroupClassid, [.context]),
      call(.skbAncestorCgroupId, 50),
      .put(0, TestPackets.bytes(28)),
      .call(.skbGetXfrmState, [.context, .value(0), .stack(0), .value(28), .value(0)]), .look(0),
    ]),
    NetworkScript("tc-redirects", .schedCls, input(TestPackets.udpIPv4), [
      .call(.redirect, [.value(1), .value(0)]), .call(.redirect, [.value(1), .value(1)]),
      .call(.redirect, [.value(1), .value(2)]), .call(.redirect, [.value(1), .value(0x10000)]),
      .call(.redirectPeer, [.value(1), .value(0)]), .call(.redirectPeer, [.value(1), .value(1)]),
      .call(.redirectNeigh, [.value(1), .stack(0), .value(20), .value(0)]),
      .call(.redirectNeigh, [.value(1), .stack(0), .value(19), .value(0)]),
      .call(.redirectNeigh, [.value(1), .stack(0), .value(20), .value(1)]),
      call(.cloneRedirect, 1, 2), call(.cloneRedirect, 4_000_000, 0), call(.cloneRedirect, 1, 1),
    ]),
    NetworkScript(
      "tc-redirect-segments", .schedCls, withContext(TestPackets.udpIPv4, 192, [176: 10]),
      [call(.cloneRedirect, 1, 1)]),
    NetworkScript("tc-check-mtu", .schedCls, input(TestPackets.udpIPv4), [
      .call(.checkMtu, [.context, .value(0), .stack(0), .value(0), .value(0)]), .look(0),
      .call(.checkMtu, [.context, .value(0), .stack(0), .value(1), .value(0)]), .look(0),
      .call(.checkMtu, [.context, .value(0), .stack(0), .value(0), .value(1)]),
      .call(.checkMtu, [.context, .value(0), .stack(0), .value(0), .value(2)]),
      .call(.checkMtu, [.context, .value(4_000_000), .stack(0), .value(0), .value(0)]),
    ]),
    NetworkScript("tc-ecn-ipv4", .schedCls, input(TestPackets.ethernet(0x0800, TestPackets.ipv4(17, [], service: 2))), [
      .call(.skbEcnSetCe, [.context]), .call(.skbEcnSetCe, [.context]),
    ]),
    NetworkScript(
      "tc-ecn-ipv4-1", .schedCls, input(TestPackets.ethernet(0x0800, TestPackets.ipv4(17, [], service: 1))),
      [.call(.skbEcnSetCe, [.context])]),
    NetworkScript("tc-ecn-none", .schedCls, input(TestPackets.udpIPv4), [.call(.skbEcnSetCe, [.context])]),
    NetworkScript("tc-ecn-ipv6", .schedCls, input(TestPackets.ethernet(0x86dd, TestPackets.ipv6(17, [], service: 1))), [
      .call(.skbEcnSetCe, [.context]), .call(.skbEcnSetCe, [.context]),
    ]),
    NetworkScript("tc-ecn-tagged", .schedCls, input(TestPackets.tagged), [
      .call(.skbEcnSetCe, [.context]), .call(.skbVlanPop, [.context]), .call(.skbEcnSetCe, [.context]),
    ]),
    NetworkScript("tc-ecn-short", .schedCls, input(TestPackets.ethernet(0x0800, [0x45, 2, 0, 0])), [
      .call(.skbEcnSetCe, [.context])
    ]),
  ]

  private static let lengths: [Step] = [.load(0, 4), .load(16, 4), .load(20, 4), .load(24, 4), .load(28, 4)]

  private static let shapes: [NetworkScript] = [
    NetworkScript("tc-tail", .schedCls, input(TestPackets.udpIPv4, capacity: 20000), [
      call(.skbChangeTail, 200, 0), .load(0, 4), call(.skbChangeTail, 20, 0), .load(0, 4), call(.skbChangeTail, 13, 0),
      call(.skbChangeTail, 14, 0), .load(0, 4), call(.skbChangeTail, 16065, 0), call(.skbChangeTail, 16064, 0),
      .load(0, 4), call(.skbChangeTail, 100, 1), call(.skbChangeTail, 5000, 0),
    ]),
    NetworkScript("tc-head", .schedCls, input(TestPackets.udpIPv4, capacity: 20000), [
      call(.skbChangeHead, 10, 0), .load(0, 4), call(.skbChangeHead, 200, 0), call(.skbChangeHead, 0, 0),
      call(.skbChangeHead, 16000, 0), call(.skbChangeHead, -1, 0), call(.skbChangeHead, 4, 1), .load(0, 4),
      .call(.skbLoadBytesRelative, [.context, .value(0), .stack(0), .value(8), .value(0)]), .look(0),
      .call(.skbLoadBytesRelative, [.context, .value(0), .stack(0), .value(8), .value(1)]), .look(0),
      call(.skbChangeTail, 100, 0), call(.skbChangeTail, 230, 0),
    ]),
    NetworkScript("tc-pull", .schedCls, input(TestPackets.udpIPv4), [
      call(.skbPullData, 0), call(.skbPullData, 82), call(.skbPullData, 83), call(.skbPullData, -1),
    ]),
    NetworkScript("tc-proto", .schedCls, input(TestPackets.udpIPv4), [
      call(.setHash, 3), call(.skbChangeProto, 0xdd86, 1), call(.skbChangeProto, 0x0008, 0),
      call(.skbChangeProto, 0xdd86, 0), .load(0, 4), .load(16, 4), .load(68, 4), call(.skbChangeProto, 0x0008, 0),
      .load(0, 4), .load(16, 4), call(.skbChangeProto, 0x0608, 0), call(.skbChangeProto, 0xdd86, 0),
      call(.skbChangeProto, 0x0008, 0),
    ]),
    NetworkScript("tc-proto-arp", .schedCls, input(TestPackets.arp), [call(.skbChangeProto, 0xdd86, 0)]),
    NetworkScript(
      "tc-proto-short", .schedCls, input(TestPackets.ethernet(0x86dd, [0x60, 1, 2, 3])),
      [call(.skbChangeProto, 0x0008, 0), .load(0, 4)]),
    NetworkScript("tc-vlan", .schedCls, input(TestPackets.udpIPv4), [
      call(.skbVlanPush, 0x0081, 0x1064), .load(0, 4), .load(16, 4), .load(20, 4), .load(24, 4), .load(28, 4),
      call(.skbVlanPush, 0xa888, 5), .load(0, 4), .load(16, 4), .load(20, 4), .load(24, 4), .load(28, 4),
      call(.skbVlanPush, 0x1111, 0x1_0007), .load(28, 4), .load(24, 4), .call(.skbVlanPop, [.context]), .load(0, 4),
      .load(16, 4), .load(20, 4), .load(24, 4), .load(28, 4), .call(.skbVlanPop, [.context]), .load(0, 4),
      .call(.skbVlanPop, [.context]), .call(.skbVlanPop, [.context]), .load(16, 4), .load(20, 4),
    ]),
    NetworkScript("tc-vlan-push-zero", .schedCls, input(TestPackets.udpIPv4), [
      call(.skbVlanPush, 0x0081, 0), .load(20, 4), call(.skbVlanPush, 0x0081, 0), .load(0, 4),
    ]),
    NetworkScript("tc-vlan-pop-tagged", .schedCls, input(TestPackets.tagged), lengths + [
      .call(.skbVlanPop, [.context])] + lengths + [.call(.skbVlanPop, [.context])] + lengths),
    NetworkScript("tc-vlan-pop-double", .schedCls, input(TestPackets.doublyTagged), lengths + [
      .call(.skbVlanPop, [.context])] + lengths + [.call(.skbVlanPop, [.context])] + lengths),
    NetworkScript(
      "tc-vlan-pop-short", .schedCls, input(TestPackets.ethernet(0x8100, [1, 2])), [.call(.skbVlanPop, [.context])]),
    NetworkScript(
      "tc-vlan-pop-length", .schedCls, input(TestPackets.ethernet(0x8100, [0, 1, 0, 20, 0xff, 0xff, 1, 2])),
      [.call(.skbVlanPop, [.context])] + lengths),
    NetworkScript("tc-room-net", .schedCls, input(TestPackets.udpIPv4), [
      call(.skbAdjustRoom, 20, 0, 0), .load(0, 4), call(.skbAdjustRoom, -8, 0, 0), .load(0, 4),
      call(.skbAdjustRoom, 20, 2, 0), call(.skbAdjustRoom, 0x1000, 0, 0), call(.skbAdjustRoom, -0x1000, 0, 0),
      call(.skbAdjustRoom, -68, 0, 0), call(.skbAdjustRoom, -49, 0, 0), call(.skbAdjustRoom, 4, 0, 0x200),
      call(.skbAdjustRoom, 0, 0, 0), call(.skbAdjustRoom, -60, 0, 0), call(.skbAdjustRoom, -40, 0, 0),
    ]),
    NetworkScript("tc-room-mac", .schedCls, input(TestPackets.udpIPv6), [
      call(.skbAdjustRoom, 8, 1, 0), .load(0, 4), call(.skbAdjustRoom, -8, 1, 0), call(.skbAdjustRoom, -4, 1, 1),
      call(.skbAdjustRoom, -20, 1, 0x80), .load(16, 4), call(.skbAdjustRoom, -20, 1, 0x180),
      call(.skbAdjustRoom, 20, 1, 0x80), call(.skbAdjustRoom, -4, 1, 0x8),
    ]),
    NetworkScript("tc-room-encapsulation", .schedCls, input(TestPackets.udpIPv4), [
      call(.skbAdjustRoom, 40, 1, 6), call(.skbAdjustRoom, 40, 1, 0x1a), call(.skbAdjustRoom, 40, 1, 0x42),
      call(.skbAdjustRoom, 10, 1, 0x0e00_0000_0000_0042), call(.skbAdjustRoom, 62, 1, 0x0e00_0000_0000_0054),
      .load(0, 4), .load(16, 4), call(.skbAdjustRoom, 40, 1, 2), call(.skbChangeTail, 500, 0),
      .call(.skbLoadBytesRelative, [.context, .value(0), .stack(0), .value(8), .value(1)]), .look(0),
      call(.skbAdjustRoom, -62, 1, 0x80), .load(0, 4), .load(16, 4),
    ]),
    NetworkScript("tc-room-arp", .schedCls, input(TestPackets.arp), [call(.skbAdjustRoom, 20, 0, 0)]),
    NetworkScript(
      "tc-room-segments", .schedCls, withContext(TestPackets.udpIPv4, 192, [164: 2, 176: 20]),
      [
        call(.skbAdjustRoom, 20, 0, 0), call(.skbAdjustRoom, -20, 0, 0), call(.skbChangeTail, 60, 0), .load(164, 4),
        .load(176, 4), call(.skbAdjustRoom, 20, 0, 0),
      ]),
    NetworkScript(
      "tc-proto-segments", .schedCls, withContext(TestPackets.udpIPv4, 192, [164: 2, 176: 20]),
      [call(.skbChangeProto, 0xdd86, 0), .load(0, 4), call(.skbAdjustRoom, 20, 0, 0), .load(164, 4)]),
    NetworkScript("lwt-encapsulate", .lwtIn, input(TestPackets.udpIPv4), [
      .put(0, TestPackets.ipv4(4, [])), .put(10, [0, 0]),
      .call(.lwtPushEncap, [.context, .value(2), .stack(0), .value(20)]), .load(0, 4), .load(16, 4),
      .call(.lwtPushEncap, [.context, .value(2), .stack(0), .value(19)]),
      .call(.lwtPushEncap, [.context, .value(3), .stack(0), .value(20)]),
      .put(0, [0x60]), .call(.lwtPushEncap, [.context, .value(2), .stack(0), .value(20)]),
      .call(.lwtPushEncap, [.context, .value(2), .stack(0), .value(40)]), .load(0, 4), .load(16, 4),
      .put(0, [0x50]), .call(.lwtPushEncap, [.context, .value(2), .stack(0), .value(40)]),
    ]),
  ]

  // MARK: Tunnels

  private static let key: [UInt8] =
    [1, 2, 3, 4] + TestPackets.bytes(16) + [7, 8, 0, 0, 0, 0, 0, 0] + TestPackets.bytes(16, seed: 3)

  private static let tunnels: [NetworkScript] = [
    NetworkScript("tc-tunnel-none", .schedCls, input(TestPackets.udpIPv4), [
      .put(0, TestPackets.bytes(44)),
      .call(.skbGetTunnelKey, [.context, .stack(0), .value(44), .value(0)]), .look(0), .look(32),
      .call(.skbGetTunnelOpt, [.context, .stack(0), .value(8)]),
      .call(.skbSetTunnelOpt, [.context, .stack(0), .value(8)]),
    ]),
    NetworkScript("tc-tunnel-ipv4", .schedCls, input(TestPackets.udpIPv4), [
      .put(0, key), .call(.skbSetTunnelKey, [.context, .stack(0), .value(44), .value(0)]),
      .put(64, TestPackets.bytes(44)),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(0)]), .look(64), .look(72), .look(80),
      .look(88), .look(96),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(16)]), .look(80),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(1)]), .look(64),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(28), .value(0)]), .look(64), .look(80),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(8), .value(0)]), .look(64),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(9), .value(0)]), .look(64),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(2)]), .look(64),
      .call(.skbGetTunnelOpt, [.context, .stack(64), .value(8)]),
      .put(128, [1, 2, 3, 4, 5, 6, 7, 8]),
      .call(.skbSetTunnelOpt, [.context, .stack(128), .value(8)]),
      .call(.skbSetTunnelOpt, [.context, .stack(128), .value(7)]),
      .call(.skbSetTunnelOpt, [.context, .stack(0), .value(256)]),
      .call(.skbGetTunnelOpt, [.context, .stack(64), .value(4)]), .look(64),
      .call(.skbGetTunnelOpt, [.context, .stack(64), .value(16)]), .look(64), .look(72),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(16)]), .look(80),
    ]),
    NetworkScript("tc-tunnel-ipv6", .schedCls, input(TestPackets.udpIPv4), [
      .put(0, key), .put(24, [1, 2, 3, 4]),
      .call(.skbSetTunnelKey, [.context, .stack(0), .value(44), .value(0)]),
      .call(.skbSetTunnelKey, [.context, .stack(0), .value(44), .value(0x1f)]),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(0x11)]), .look(64), .look(72), .look(80),
      .look(88), .look(96), .look(104),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(8), .value(1)]), .look(64),
      .put(22, [1]), .call(.skbSetTunnelKey, [.context, .stack(0), .value(44), .value(1)]),
      .call(.skbSetTunnelKey, [.context, .stack(0), .value(22), .value(0x20)]),
      .call(.skbSetTunnelKey, [.context, .stack(0), .value(22), .value(6)]),
      .call(.skbSetTunnelKey, [.context, .stack(0), .value(21), .value(0)]),
      .call(.skbGetTunnelKey, [.context, .stack(64), .value(44), .value(0x10)]), .look(64), .look(80), .look(96),
    ]),
  ]

  // MARK: What a test run takes

  private static func with(_ data: [UInt8], _ change: (inout TestRun.Input) -> Void) -> TestRun.Input {
    var given = input(data)
    change(&given)
    return given
  }

  private static let packet = TestPackets.udpIPv4

  private static let inputs: [NetworkScript] = [
    NetworkScript("input-xdp-13", .xdp, input(TestPackets.bytes(13)), []),
    NetworkScript("input-xdp-14", .xdp, input(TestPackets.bytes(14)), []),
    NetworkScript("input-xdp-none", .xdp, input([]), []),
    NetworkScript("input-xdp-short-out", .xdp, input(packet, capacity: 20), []),
    NetworkScript("input-xdp-context-room", .xdp, with(packet) { $0.contextCapacity = 24 }, []),
    NetworkScript("input-xdp-context-short", .xdp, with(packet) {
      $0.context = context(24, [4: 82])
      $0.contextCapacity = 8
    }, []),
    NetworkScript("input-xdp-context-part", .xdp, with(packet) {
      $0.context = context(8, [4: 82])
      $0.contextCapacity = 24
    }, [.load(12, 4)]),
    NetworkScript("input-xdp-context-long", .xdp, withContext(packet, 64, [4: 82]), []),
    NetworkScript("input-xdp-context-rest", .xdp, withContext(packet, 64, [4: 82, 40: 1]), []),
    NetworkScript("input-xdp-context-huge", .xdp, withContext(packet, 5000, [4: 82]), []),
    NetworkScript("input-xdp-meta-set", .xdp, withContext(packet, 24, [4: 82, 8: 1]), []),
    NetworkScript("input-xdp-end-past", .xdp, withContext(packet, 24, [4: 83]), []),
    NetworkScript("input-xdp-start-past", .xdp, withContext(packet, 24, [0: 20, 4: 16]), []),
    NetworkScript("input-xdp-meta-odd", .xdp, withContext(packet, 24, [0: 6, 4: 82]), []),
    NetworkScript("input-xdp-meta-large", .xdp, withContext(packet, 24, [0: 72, 4: 82]), []),
    NetworkScript(
      "input-xdp-meta-216", .xdp, withContext(TestPackets.bytes(300), 24, [0: 216, 4: 300]),
      [call(.xdpAdjustHead, -1), call(.xdpAdjustMeta, -4)]),
    NetworkScript("input-xdp-meta-220", .xdp, withContext(TestPackets.bytes(300), 24, [0: 220, 4: 300]), []),
    NetworkScript("input-xdp-egress", .xdp, withContext(packet, 24, [4: 82, 20: 1]), []),
    NetworkScript("input-xdp-queue", .xdp, withContext(packet, 24, [4: 82, 16: 1]), []),
    NetworkScript("input-xdp-ingress", .xdp, withContext(packet, 24, [4: 82, 12: 1]), [.load(12, 4), .load(16, 4)]),
    NetworkScript("input-xdp-ingress-queue", .xdp, withContext(packet, 24, [4: 82, 12: 1, 16: 1]), []),
    NetworkScript("input-xdp-ingress-none", .xdp, withContext(packet, 24, [4: 82, 12: 4_000_000]), []),
    NetworkScript("input-xdp-flags", .xdp, with(packet) { $0.flags = 4 }, []),
    NetworkScript("input-xdp-batch", .xdp, with(packet) { $0.batchSize = 1 }, []),
    NetworkScript("input-xdp-live-batch", .xdp, with(packet) {
      $0.flags = 2
      $0.batchSize = 257
    }, []),
    NetworkScript("input-xdp-live-out", .xdp, with(packet) {
      $0.flags = 2
      $0.context = context(24, [4: 82])
    }, []),
    NetworkScript("input-xdp-cpu", .xdp, with(packet) { $0.cpu = 1 }, []),
    NetworkScript("input-xdp-repeat", .xdp, with(packet) { $0.repeats = 5 }, [call(.xdpAdjustTail, 1)]),
    NetworkScript("input-tc-13", .schedCls, input(TestPackets.bytes(13)), []),
    NetworkScript("input-tc-14", .schedCls, input(TestPackets.bytes(14)), [.load(0, 4), .load(16, 4)]),
    NetworkScript("input-tc-3712", .schedCls, input(TestPackets.bytes(3712)), [.load(0, 4)]),
    NetworkScript("input-tc-3713", .schedCls, input(TestPackets.bytes(3713)), []),
    NetworkScript("input-tc-short-out", .schedCls, input(packet, capacity: 40), []),
    NetworkScript("input-tc-flags", .schedCls, with(packet) { $0.flags = 1 }, []),
    NetworkScript("input-tc-cpu", .schedCls, with(packet) { $0.cpu = 1 }, []),
    NetworkScript("input-tc-batch", .schedCls, with(packet) { $0.batchSize = 1 }, []),
    NetworkScript("input-tc-repeat", .schedCls, with(packet) { $0.repeats = 3 }, [call(.skbChangeHead, 2, 0)]),
    NetworkScript("input-tc-context-room", .schedCls, with(packet) { $0.contextCapacity = 192 }, [.store(8, 4, 6)]),
    NetworkScript("input-tc-context-less", .schedCls, with(packet) { $0.contextCapacity = 100 }, []),
    NetworkScript("input-tc-len", .schedCls, withContext(packet, 192, [0: 1]), []),
    NetworkScript("input-tc-hash", .schedCls, withContext(packet, 192, [68: 1]), []),
    NetworkScript("input-tc-wire-short", .schedCls, withContext(packet, 192, [160: 81]), []),
    NetworkScript("input-tc-wire-long", .schedCls, withContext(packet, 192, [160: 65537]), []),
    NetworkScript("input-tc-segments", .schedCls, withContext(packet, 192, [164: 65536]), []),
    NetworkScript("input-tc-segments-most", .schedCls, withContext(packet, 192, [164: 65535, 176: 0x12345]), [
      .load(164, 4), .load(176, 4)]),
    NetworkScript("input-tc-sk", .schedCls, withContext(packet, 192, [168: 1]), []),
    NetworkScript("input-tc-type", .schedCls, withContext(packet, 192, [180: 1]), []),
    NetworkScript("input-tc-ifindex", .schedCls, withContext(packet, 192, [40: 4_000_000]), []),
    NetworkScript("input-filter-room", .socketFilter, with(packet) {
      $0.context = context(192, [48: 1])
      $0.contextCapacity = 192
    }, [.store(52, 4, 9)]),
    NetworkScript("input-tc-checksum", .schedCls, with(packet) { $0.flags = 4 }, [call(.csumUpdate, 0)]),
    NetworkScript("input-tc-checksum-wrong", .schedCls, with(packet) { $0.flags = 4 }, [call(.csumUpdate, 5)]),
    NetworkScript("input-tc-checksum-kept", .schedCls, with(packet) { $0.flags = 4 }, [
      .put(0, [1, 2, 3, 4]), .call(.skbStoreBytes, [.context, .value(35), .stack(0), .value(4), .value(1)]),
      call(.csumLevel, 0), call(.skbAdjustRoom, 8, 0, 0), call(.skbAdjustRoom, -4, 0, 0), call(.skbVlanPush, 0x0081, 9),
      call(.csumUpdate, 0),
    ]),
    NetworkScript("input-tc-checksum-lost", .schedCls, with(packet) { $0.flags = 4 }, [
      .put(0, [1, 2, 3, 4]), .call(.skbStoreBytes, [.context, .value(35), .stack(0), .value(4), .value(0)]),
    ]),
    NetworkScript("input-tc-checksum-l4", .schedCls, with(packet) { $0.flags = 4 }, [
      call(.l4CsumReplace, 40, 0x0100_000a, 0x0300_000a, 0x14), call(.csumUpdate, 0),
      call(.l4CsumReplace, 40, 0, 0x7777, 0x10), call(.csumUpdate, 0), call(.l4CsumReplace, 40, 0, 0x777, 0x90),
    ]),
    NetworkScript("input-tc-checksum-tail", .schedCls, with(packet) { $0.flags = 4 }, [
      call(.skbChangeTail, 90, 0), call(.csumUpdate, 5), call(.csumLevel, 1), call(.csumLevel, 0),
    ]),
  ]

  private static let others: [NetworkScript] = [
    NetworkScript("flow-keys", .flowDissector, input(TestPackets.udpIPv6), [
      .call(.skbLoadBytes, [.context, .value(0), .stack(0), .value(8)]), .look(0)]),
    NetworkScript("flow-short", .flowDissector, input(TestPackets.bytes(13)), []),
    NetworkScript("flow-4096", .flowDissector, input(TestPackets.bytes(4096)), []),
    NetworkScript("flow-4097", .flowDissector, input(TestPackets.bytes(4097)), []),
    NetworkScript("flow-flags", .flowDissector, withContext(TestPackets.udpIPv4, 56, [48: 7]), []),
    NetworkScript("flow-context", .flowDissector, withContext(TestPackets.udpIPv4, 56, [44: 7]), []),
    NetworkScript("flow-out", .flowDissector, input(TestPackets.udpIPv4, capacity: 20), []),
    NetworkScript("lookup-ipv4", .skLookup, lookup([8: 2, 12: 6, 16: 77, 20: 5, 36: 0x5000, 40: 78, 44: 3, 60: 80]), [
      .load(8, 4), .load(12, 4), .load(16, 4), .load(20, 4), .load(36, 2), .load(36, 4), .load(40, 4), .load(44, 4),
      .load(60, 4), .load(64, 4), .load(16, 1), .load(38, 2),
      .call(.skAssign, [.context, .value(0), .value(4)]), .call(.skAssign, [.context, .value(0), .value(3)]),
    ]),
    NetworkScript("lookup-ipv6", .skLookup, lookup([8: 10, 12: 17, 16: 77, 20: 5, 32: 6, 40: 78, 44: 3, 60: 80]), [
      .load(8, 4), .load(12, 4), .load(16, 4), .load(20, 4), .load(32, 4), .load(40, 4), .load(44, 4), .load(60, 4),
    ]),
    NetworkScript("lookup-family", .skLookup, lookup([8: 1]), []),
    NetworkScript("lookup-port", .skLookup, lookup([8: 2, 60: 65536]), []),
    NetworkScript("lookup-socket", .skLookup, lookup([0: 1, 8: 2]), []),
    NetworkScript("lookup-interface", .skLookup, lookup([8: 2, 64: 1]), []),
    NetworkScript("lookup-nothing", .skLookup, TestRun.Input(), []),
    NetworkScript("lookup-data", .skLookup, TestRun.Input(data: [1], context: context(72, [8: 2])), []),
    NetworkScript("raw-tracepoint", .rawTracepoint, TestRun.Input(context: context(16, [0: 5, 8: 6])), [
      .load(0, 8), .load(8, 8)]),
    NetworkScript("raw-tracepoint-short", .rawTracepoint, TestRun.Input(context: context(8, [0: 5])), [.load(8, 8)]),
    NetworkScript("raw-tracepoint-long", .rawTracepoint, TestRun.Input(context: context(104, [:])), []),
    NetworkScript("raw-tracepoint-data", .rawTracepoint, TestRun.Input(data: [1], context: context(8, [:])), []),
    NetworkScript("raw-tracepoint-cpu", .rawTracepoint, cpu(1, flags: 0), []),
    NetworkScript("raw-tracepoint-on-cpu", .rawTracepoint, cpu(0, flags: 1), []),
    NetworkScript("raw-tracepoint-no-cpu", .rawTracepoint, cpu(5000, flags: 1), []),
    NetworkScript("netfilter", .netfilter, input(TestPackets.ipv4(17, TestPackets.udp(8)), capacity: 0), []),
    NetworkScript("netfilter-19", .netfilter, input(TestPackets.bytes(19), capacity: 0), []),
    NetworkScript("netfilter-20", .netfilter, input(TestPackets.bytes(20), capacity: 0), []),
    NetworkScript("netfilter-hook", .netfilter, hook(TestPackets.udpIPv4, 0, 2), []),
    NetworkScript("netfilter-family", .netfilter, hook(TestPackets.udpIPv4, 0, 10), []),
    NetworkScript("netfilter-ipv6", .netfilter, hook(TestPackets.udpIPv6, 1, 10), []),
    NetworkScript("netfilter-arp", .netfilter, hook(TestPackets.arp, 1, 2), []),
    NetworkScript("netfilter-short", .netfilter, hook(TestPackets.ethernet(0x0800, TestPackets.bytes(19)), 1, 2), []),
    NetworkScript("netfilter-unknown", .netfilter, hook(TestPackets.udpIPv4, 3, 7), []),
    NetworkScript("netfilter-out", .netfilter, input(TestPackets.ipv4(17, TestPackets.udp(8))), []),
  ].map { script in
    var script = script
    switch script.type {
    case .flowDissector, .skLookup, .netfilter: script.returnMask = 1
    default: break
    }
    if script.type == .netfilter { script.attachType = .netfilter }
    if script.type == .skLookup { script.attachType = .skLookup }
    if script.type == .flowDissector { script.attachType = .flowDissector }
    return script
  }

  private static func hook(_ data: [UInt8], _ hook: UInt32, _ family: UInt32) -> TestRun.Input {
    TestRun.Input(data: data, context: context(48, [0: hook | family << 8]))
  }

  private static func lookup(_ fields: [Int: UInt32]) -> TestRun.Input {
    var input = TestRun.Input(context: context(72, fields))
    input.contextCapacity = 72
    return input
  }

  private static func cpu(_ number: UInt32, flags: UInt32) -> TestRun.Input {
    var input = TestRun.Input(context: context(8, [:]))
    input.cpu = number
    input.flags = flags
    return input
  }
}
