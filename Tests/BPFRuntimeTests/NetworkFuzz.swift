import BPFLinux
import BPFRuntime

/// Random scripts: any helper with any argument, mostly near the limits.
struct NetworkFuzz {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  private mutating func next() -> UInt64 {
    state = state &+ 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  private mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
  private mutating func pick<T>(_ list: [T]) -> T { list[below(list.count)] }
  private mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

  private mutating func packet(_ limit: Int) -> [UInt8] {
    let size = below(4) == 0 ? below(limit) : below(200)
    let payload = bytes(max(0, size))
    let service = UInt8(below(4))
    switch below(8) {
    case 0: return bytes(max(14, size))
    case 1: return TestPackets.ethernet(0x0806, payload)
    case 2: return TestPackets.ethernet(0x8100, TestPackets.vlan(UInt16(below(65536)), 0x0800, payload))
    case 3:
      return TestPackets.ethernet(
        0x88a8,
        TestPackets.vlan(1, 0x8100, TestPackets.vlan(2, 0x86dd, TestPackets.ipv6(6, payload, service: service))))
    case 4, 5: return TestPackets.ethernet(0x86dd, TestPackets.ipv6(17, payload, service: service))
    default: return TestPackets.ethernet(0x0800, TestPackets.ipv4(6, payload, service: service))
    }
  }

  private mutating func number() -> Int64 {
    switch below(8) {
    case 0: return Int64(below(65536)) - 32768
    case 1: return pick([-1, 0, 1, 14, 20, 40, 255, 256, 4095, 4096, 65535, 65536, 1 << 31, 1 << 32, -(1 << 31)])
    case 2: return Int64(below(4096))
    default: return Int64(below(120)) - 40
    }
  }

  private mutating func flags(_ bits: UInt64) -> Int64 {
    switch below(10) {
    case 0: return Int64(truncatingIfNeeded: next())
    case 1: return Int64(truncatingIfNeeded: bits &+ 1)
    case 2...5: return 0
    default: return Int64(truncatingIfNeeded: next() & bits)
    }
  }

  mutating func script(_ number: Int) -> NetworkScript {
    let isXDP = below(3) == 0
    var script = NetworkScript(
      "random-\(number)", isXDP ? .xdp : pick([.schedCls, .schedCls, .schedAct, .lwtXmit]),
      NetworkScript.input(packet(isXDP ? 6000 : 3000), capacity: 32768), [.put(0, bytes(32))])
    if below(3) == 0 {
      if isXDP {
        let size = script.input.data.count
        let metadata = min(4 * below(8), max(0, size - 14))  & ~3
        script.input = NetworkScript.withContext(
          script.input.data, 24, [0: UInt32(metadata), 4: UInt32(size)], capacity: 32768)
      } else {
        var fields: [Int: UInt32] = [:]
        for offset in [8, 32, 48, 52, 56, 60, 64, 152] where below(2) == 0 {
          fields[offset] = UInt32(truncatingIfNeeded: next())
        }
        if below(4) == 0 { fields[176] = UInt32(below(1500)) }
        if below(4) == 0 { fields[164] = UInt32(below(100)) }
        script.input = NetworkScript.withContext(script.input.data, 192, fields, capacity: 32768)
      }
    }
    for _ in 0...below(12) { script.steps += isXDP ? metadataStep() : bufferStep(script.type) }
    return script
  }

  private mutating func metadataStep() -> [NetworkScript.Step] {
    switch below(7) {
    case 0: return [.call(.xdpAdjustHead, [.context, .value(number())])]
    case 1: return [.call(.xdpAdjustTail, [.context, .value(number())])]
    case 2: return [.call(.xdpAdjustMeta, [.context, .value(number() & (below(2) == 0 ? ~3 : -1))])]
    case 3: return [.call(.xdpGetBuffLen, [.context])]
    case 4:
      return [
        .call(.xdpLoadBytes, [.context, .value(number()), .stack(64), .value(Int64(1 + below(100)))]), .look(64),
      ]
    case 5:
      return [.call(.xdpStoreBytes, [.context, .value(number()), .stack(0), .value(Int64(1 + below(32)))])]
    default: return [.kfunc("bpf_xdp_pull_data", [.context, .value(Int64(below(6000)))])]
    }
  }

  private mutating func bufferStep(_ type: ProgramType) -> [NetworkScript.Step] {
    typealias Step = NetworkScript.Step
    if type == .lwtXmit {
      switch below(3) {
      case 0: return [.call(.skbChangeHead, [.context, .value(number()), .value(flags(0))]), .load(0, 4)]
      case 1: return [.call(.skbChangeTail, [.context, .value(number()), .value(flags(0))]), .load(0, 4)]
      default: break
      }
    }
    let isTunnel = type == .lwtXmit
    switch below(isTunnel ? 6 : 20) {
    case 0: return [.call(.skbStoreBytes, [.context, .value(number()), .stack(0), .value(8), .value(flags(3))])]
    case 1: return [.call(.skbLoadBytes, [.context, .value(number()), .stack(64), .value(8)]), .look(64)]
    case 2:
      return [
        .call(.l3CsumReplace, [.context, .value(number()), .value(flags(~0)), .value(number()), .value(flags(6))])
      ]
    case 3:
      return [
        .call(.l4CsumReplace, [.context, .value(number()), .value(flags(~0)), .value(number()), .value(flags(0xf6))])
      ]
    case 4: return [.call(.skbPullData, [.context, .value(number())])]
    case 5: return [.load(0, 4), .load(4, 4), .load(16, 4), .load(68, 4)]
    case 6:
      return [
        .call(
          .skbLoadBytesRelative,
          [.context, .value(number()), .stack(64), .value(8), .value(Int64(below(3)))]), .look(64),
      ]
    case 7: return [.call(.skbChangeTail, [.context, .value(number()), .value(flags(0))]), .load(0, 4)]
    case 8: return [.call(.skbChangeHead, [.context, .value(number()), .value(flags(0))]), .load(0, 4)]
    case 9:
      return [
        .call(.skbChangeProto, [.context, .value(pick([0xdd86, 0x0008, 0x0008, 0xdd86, 1])), .value(flags(0))]),
        .load(16, 4),
      ]
    case 10, 11:
      return [
        .call(
          .skbAdjustRoom, [.context, .value(number()), .value(Int64(below(3))), .value(flags(0xfe00_0000_0000_01ff))]),
        .load(0, 4), .load(16, 4),
      ]
    case 12, 13:
      return [
        .call(
          .skbVlanPush, [.context, .value(pick([0x0081, 0xa888, 7])), .value(number())]), .load(20, 4), .load(24, 4),
        .load(16, 4),
      ]
    case 14, 15: return [.call(.skbVlanPop, [.context]), .load(20, 4), .load(24, 4), .load(28, 4), .load(16, 4)]
    case 16: return [.call(.skbEcnSetCe, [.context])]
    case 17: return [.call(.csumLevel, [.context, .value(Int64(below(5)))])]
    case 18: return [.call(.skbChangeType, [.context, .value(Int64(below(6)))]), .load(4, 4)]
    default: return [.storeRegister(12, 4, number()), .load(12, 4), .store(44, 4, 0x12345), .load(44, 4)]
    }
  }
}
