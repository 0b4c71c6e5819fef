import BPFLinux
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// SYN cookies without a socket (`bpf_tcp_raw_gen_syncookie_…`, `bpf_tcp_raw_check_syncookie_…`): a sequence number
/// that holds the time in minutes, the segment size and a keyed hash of addresses and ports.
enum SynCookies {
  private static let keys = [SipHash.Key.random(), .random(), .random(), .random()]
  private static let bits: UInt32 = 24
  private static let mask: UInt32 = 1 << 24 - 1
  private static let maximumAge: UInt32 = 2
  private static let minute = 60
  private static let sizes4: [UInt16] = [536, 1300, 1440, 1460]
  private static let sizes6: [UInt16] = [1220, 1420, 1440, 8940]
  private static let header = 20

  /// What a cookie is about: addresses as they lie in the IP header, ports and numbers as in that of TCP.
  private struct Flow {
    let addresses: UnsafeRawPointer
    let isIPv6: Bool
    let ports: UInt32
    let sequence: UInt32
    let acknowledged: UInt32

    init(_ ip: UInt64, _ tcp: UInt64, isIPv6: Bool) {
      addresses = UnsafeRawPointer(location(ip)) + (isIPv6 ? 8 : 12)
      self.isIPv6 = isIPv6
      let segment = UnsafeRawPointer(location(tcp))
      ports = segment.loadUnaligned(as: UInt32.self)
      sequence = UInt32(bigEndian: segment.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
      acknowledged = UInt32(bigEndian: segment.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    }

    func hash(_ count: UInt32, _ number: Int) -> UInt32 {
      func word(_ offset: Int) -> UInt64 { addresses.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
      guard isIPv6 else {
        var hash = SipHash(keys[number], length: 16)
        hash.add(word(0))
        hash.add(UInt64(ports) | UInt64(count) << 32)
        return UInt32(truncatingIfNeeded: hash.finish())
      }
      var hash = SipHash(keys[2 + number], length: 40)
      for offset in [0, 8, 16, 24] { hash.add(word(offset)) }
      hash.add(UInt64(count) | UInt64(ports) << 32)
      return UInt32(truncatingIfNeeded: hash.finish())
    }

    var sizes: [UInt16] { isIPv6 ? sizes6 : sizes4 }
  }

  private static var minutes: UInt32 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt32(truncatingIfNeeded: Int(time.tv_sec) / minute)
  }

  private static func generate(_ ip: UInt64, _ tcp: UInt64, _ length: UInt64, isIPv6: Bool) -> UInt64 {
    let segment = UnsafeRawPointer(location(tcp))
    let size = Int(UInt32(truncatingIfNeeded: length))
    guard size >= header, size == Int(segment.load(fromByteOffset: 12, as: UInt8.self) >> 4) * 4 else {
      return failure(.EINVAL)
    }
    let flow = Flow(ip, tcp, isIPv6: isIPv6)
    let asked = segmentSize(segment, size)
    let wanted = asked != 0 ? asked : isIPv6 ? 1220 : 536
    let index = flow.sizes.lastIndex { wanted >= $0 } ?? 0
    let now = minutes
    let cookie =
      flow.hash(0, 0) &+ flow.sequence &+ now << bits &+ (flow.hash(now, 1) &+ UInt32(index)) & mask
    return UInt64(cookie) | UInt64(flow.sizes[index]) << 32
  }

  private static func check(_ ip: UInt64, _ tcp: UInt64, isIPv6: Bool) -> UInt64 {
    let flow = Flow(ip, tcp, isIPv6: isIPv6)
    let now = minutes
    let cookie = flow.acknowledged &- 1 &- flow.hash(0, 0) &- (flow.sequence &- 1)
    let age = (now &- cookie >> bits) & 0xff
    guard age < maximumAge else { return failure(.EACCES) }
    let index = (cookie &- flow.hash(now &- age, 1)) & mask
    return index < 4 ? 0 : failure(.EACCES)
  }

  /// The size that the SYN's option asks for; 0 where there is none.
  private static func segmentSize(_ segment: UnsafeRawPointer, _ size: Int) -> UInt16 {
    var place = header
    var found: UInt16 = 0
    while place < size {
      let kind = segment.load(fromByteOffset: place, as: UInt8.self)
      if kind == 0 { return found }
      if kind == 1 {
        place += 1
        continue
      }
      guard place + 2 <= size else { return found }
      let length = Int(segment.load(fromByteOffset: place + 1, as: UInt8.self))
      guard length >= 2, place + length <= size else { return found }
      if kind == 2, length == 4 {
        let asked = UInt16(bigEndian: segment.loadUnaligned(fromByteOffset: place + 2, as: UInt16.self))
        if asked != 0 { found = asked }
      }
      place += length
    }
    return found
  }

  static let generateIPv4: PacketFunction = { ip, tcp, length, _, _, _ in generate(ip, tcp, length, isIPv6: false) }
  static let generateIPv6: PacketFunction = { ip, tcp, length, _, _, _ in generate(ip, tcp, length, isIPv6: true) }
  static let checkIPv4: PacketFunction = { ip, tcp, _, _, _, _ in check(ip, tcp, isIPv6: false) }
  static let checkIPv6: PacketFunction = { ip, tcp, _, _, _, _ in check(ip, tcp, isIPv6: true) }
}
