import BPFLinux
import CBPFRuntime

/// Helpers that read and write the bytes of a socket buffer.
enum SocketBufferHelpers {
  private enum Flag {
    static let recomputeChecksum: UInt64 = 1 << 0
    static let invalidateHash: UInt64 = 1 << 1
    static let fieldSize: UInt64 = 0xf
    static let pseudoHeader: UInt64 = 1 << 4
    static let markMangled0: UInt64 = 1 << 5
    static let markEnforce: UInt64 = 1 << 6
    static let ipv6: UInt64 = 1 << 7
  }

  static func storeBytes(
    _ packet: PacketBlock, _ offset: Int, _ from: UnsafeRawPointer, _ length: Int, _ flags: UInt64
  ) -> Int {
    guard flags & ~(Flag.recomputeChecksum | Flag.invalidateHash) == 0 else { return -Int(Errno.EINVAL.rawValue) }
    guard offset <= Int(Int32.max), offset + length <= packet.linearSize else { return -Int(Errno.EFAULT.rawValue) }
    let place = packet.bytes + offset
    let tracks = flags & Flag.recomputeChecksum != 0 && packet.checksumState == PacketBlock.Checksum.complete
    if tracks {
      let old = InternetChecksum.shifted(InternetChecksum.partial(place, length, 0), offset)
      packet.checksum = InternetChecksum.subtract(packet.checksum, old)
    }
    place.copyMemory(from: from, byteCount: length)
    if tracks {
      let new = InternetChecksum.shifted(InternetChecksum.partial(place, length, 0), offset)
      packet.checksum = InternetChecksum.add(packet.checksum, new)
    }
    if flags & Flag.invalidateHash != 0 { clearHash(packet) }
    return 0
  }

  static func clearHash(_ packet: PacketBlock) {
    packet.hash = 0
    packet.hashIsKnown = false
  }

  static let storeBytes: PacketFunction = { context, offset, from, length, flags, _ in
    result(
      storeBytes(
        PacketBlock(context), Int(UInt32(truncatingIfNeeded: offset)), location(from),
        Int(UInt32(truncatingIfNeeded: length)), flags))
  }

  static let loadBytes: PacketFunction = { context, offset, to, length, _, _ in
    let size = Int(UInt32(truncatingIfNeeded: length))
    // A flow dissector's packet is no socket buffer in a test run.
    guard PacketBlock(context).kind == PacketBlock.Kind.socketBuffer else {
      location(to).initializeMemory(as: UInt8.self, repeating: 0, count: size)
      return failure(.EFAULT)
    }
    return result(PacketAccess.load(context, Int(UInt32(truncatingIfNeeded: offset)), location(to), size))
  }

  static let loadBytesRelative: PacketFunction = { context, offset, to, length, header, _ in
    let packet = PacketBlock(context)
    let size = Int(UInt32(truncatingIfNeeded: length))
    let place = Int(UInt32(truncatingIfNeeded: offset))
    let start =
      switch UInt32(truncatingIfNeeded: header) {
      case 0: packet.macHeader
      case 1: packet.networkHeader
      default: -1
      }
    guard place <= 0xffff, start >= 0,
      Int(truncatingIfNeeded: packet.head) + start + place + size <= Int(truncatingIfNeeded: packet.dataEnd)
    else {
      location(to).initializeMemory(as: UInt8.self, repeating: 0, count: size)
      return failure(.EFAULT)
    }
    location(to).copyMemory(from: location(packet.head) + (start + place), byteCount: size)
    return 0
  }

  /// Packets here lie in one piece and belong to nobody else: what there is can be read and written.
  static let pullData: PacketFunction = { context, length, _, _, _, _ in
    Int(UInt32(truncatingIfNeeded: length)) > PacketBlock(context).linearSize ? failure(.ENOMEM) : 0
  }

  // MARK: Checksums

  static let replaceNetworkChecksum: PacketFunction = { context, offset, from, to, flags, _ in
    let packet = PacketBlock(context)
    let place = Int(UInt32(truncatingIfNeeded: offset))
    guard flags & ~Flag.fieldSize == 0 else { return failure(.EINVAL) }
    guard place <= 0xffff, place & 1 == 0, place + 2 <= packet.linearSize else { return failure(.EFAULT) }
    let field = packet.bytes + place
    let old = field.loadUnaligned(as: UInt16.self)
    let new: UInt16
    switch flags & Flag.fieldSize {
    case 0:
      guard from == 0 else { return failure(.EINVAL) }
      new = InternetChecksum.replacing(old, by: UInt32(truncatingIfNeeded: to))
    case 2:
      new = InternetChecksum.replacing2(
        old, UInt16(truncatingIfNeeded: from), UInt16(truncatingIfNeeded: to))
    case 4:
      new = InternetChecksum.replacing4(
        old, UInt32(truncatingIfNeeded: from), UInt32(truncatingIfNeeded: to))
    default: return failure(.EINVAL)
    }
    field.storeBytes(of: new, as: UInt16.self)
    return 0
  }

  static let replaceTransportChecksum: PacketFunction = { context, offset, from, to, flags, _ in
    let packet = PacketBlock(context)
    let place = Int(UInt32(truncatingIfNeeded: offset))
    let known =
      Flag.markMangled0 | Flag.markEnforce | Flag.pseudoHeader | Flag.fieldSize | Flag.ipv6
    guard flags & ~known == 0 else { return failure(.EINVAL) }
    guard place <= 0xffff, place & 1 == 0, place + 2 <= packet.linearSize else { return failure(.EFAULT) }
    let field = packet.bytes + place
    let old = field.loadUnaligned(as: UInt16.self)
    if flags & Flag.markMangled0 != 0, flags & Flag.markEnforce == 0, old == 0 { return 0 }
    let isTracked = packet.checksumState == PacketBlock.Checksum.complete && flags & Flag.pseudoHeader != 0
    var new: UInt16
    switch flags & Flag.fieldSize {
    case 0:
      guard from == 0 else { return failure(.EINVAL) }
      let difference = UInt32(truncatingIfNeeded: to)
      new = InternetChecksum.replacing(old, by: difference)
      if isTracked && flags & Flag.ipv6 == 0 {
        packet.checksum = ~InternetChecksum.subtract(difference, packet.checksum)
      }
    case 2, 4:
      let mask: UInt64 = flags & Flag.fieldSize == 2 ? 0xffff : 0xffff_ffff
      let before = UInt32(from & mask)
      let after = UInt32(to & mask)
      new = InternetChecksum.replacing4(old, before, after)
      if isTracked {
        let rest = InternetChecksum.subtract(~packet.checksum, before)
        packet.checksum = ~InternetChecksum.add(rest, after)
      }
    default: return failure(.EINVAL)
    }
    if flags & Flag.markMangled0 != 0, new == 0 { new = 0xffff }
    field.storeBytes(of: new, as: UInt16.self)
    return 0
  }

  static let checksumDifference: PacketFunction = { from, fromSize, to, toSize, seed, _ in
    let removed = Int(UInt32(truncatingIfNeeded: fromSize))
    let added = Int(UInt32(truncatingIfNeeded: toSize))
    var sum = UInt32(truncatingIfNeeded: seed)
    if removed != 0, added != 0 {
      sum = InternetChecksum.subtract(
        InternetChecksum.partial(location(to), added, sum), InternetChecksum.partial(location(from), removed, 0))
    } else if added != 0 {
      sum = InternetChecksum.partial(location(to), added, sum)
    } else if removed != 0 {
      sum = ~InternetChecksum.partial(location(from), removed, ~sum)
    }
    return UInt64(InternetChecksum.folded(sum))
  }

  static let updateChecksum: PacketFunction = { context, sum, _, _, _, _ in
    let packet = PacketBlock(context)
    guard packet.checksumState == PacketBlock.Checksum.complete else { return failure(.ENOTSUPP) }
    packet.checksum = InternetChecksum.add(packet.checksum, UInt32(truncatingIfNeeded: sum))
    return UInt64(packet.checksum)
  }

  static let checksumLevel: PacketFunction = { context, operation, _, _, _, _ in
    let packet = PacketBlock(context)
    let isUnnecessary = packet.checksumState == PacketBlock.Checksum.unnecessary
    switch operation {
    case 0: return isUnnecessary ? UInt64(packet.checksumLevel) : failure(.EACCES)
    case 1:
      if isUnnecessary {
        packet.checksumLevel = min(packet.checksumLevel + 1, 3)
      } else if packet.checksumState == PacketBlock.Checksum.none {
        packet.checksumState = PacketBlock.Checksum.unnecessary
        packet.checksumLevel = 0
      }
    case 2:
      guard isUnnecessary else { break }
      if packet.checksumLevel == 0 {
        packet.checksumState = PacketBlock.Checksum.none
      } else {
        packet.checksumLevel -= 1
      }
    case 3: forgetUnnecessary(packet)
    default: return failure(.EINVAL)
    }
    return 0
  }

  static func forgetUnnecessary(_ packet: PacketBlock) {
    guard packet.checksumState == PacketBlock.Checksum.unnecessary else { return }
    packet.checksumState = PacketBlock.Checksum.none
    packet.checksumLevel = 0
  }

  // MARK: Fields

  static let changeType: PacketFunction = { context, type, _, _, _, _ in
    let packet = PacketBlock(context)
    let wanted = UInt32(truncatingIfNeeded: type)
    guard packet.packetType <= 3, wanted <= 3 else { return failure(.EINVAL) }
    packet.packetType = wanted
    return 0
  }

  static let setHash: PacketFunction = { context, hash, _, _, _, _ in
    let packet = PacketBlock(context)
    packet.hash = UInt32(truncatingIfNeeded: hash)
    packet.hashIsKnown = true
    return 0
  }

  static let invalidateHash: PacketFunction = { context, _, _, _, _, _ in
    clearHash(PacketBlock(context))
    return 0
  }

  static let hash: PacketFunction = { context, _, _, _, _, _ in
    let packet = PacketBlock(context)
    if !packet.hashIsKnown {
      packet.hash = FlowHash.of(packet)
      packet.hashIsKnown = true
    }
    return UInt64(packet.hash)
  }

  static let setTimestamp: PacketFunction = { context, time, type, _, _, _ in
    let packet = PacketBlock(context)
    guard [0x0800, 0x86dd].contains(UInt16(bigEndian: packet.protocolNumber)) else { return failure(.EOPNOTSUPP) }
    let kind = UInt32(truncatingIfNeeded: type)
    guard kind == 0 || kind <= 2 && time != 0 else { return failure(.EINVAL) }
    packet.store(152, time)
    packet.store(180, UInt8(kind))
    return 0
  }

  /// The protocol behind all VLAN tags; 0 where the packet ends within them. Big endian.
  private static func innerProtocol(_ packet: PacketBlock) -> UInt16 {
    var type = packet.protocolNumber
    guard isVLAN(type) else { return type }
    var place = packet.macLength == 0 ? 14 : Int(packet.macLength) - 4
    var depth = 8
    repeat {
      depth -= 1
      guard place >= 0, place + 4 <= packet.linearSize, depth > 0 else { return 0 }
      type = packet.bytes.loadUnaligned(fromByteOffset: place + 2, as: UInt16.self)
      place += 4
    } while isVLAN(type)
    return type
  }

  static func isVLAN(_ type: UInt16) -> Bool {
    let host = UInt16(bigEndian: type)
    return host == 0x8100 || host == 0x88a8
  }

  static let markCongestion: PacketFunction = { context, _, _, _, _, _ in
    let packet = PacketBlock(context)
    let type = UInt16(bigEndian: innerProtocol(packet))
    guard type == 0x0800 || type == 0x86dd else { return 0 }
    let size = type == 0x0800 ? 20 : 40
    let header = location(packet.head) + packet.networkHeader
    guard packet.linearSize >= size, value(of: header) &+ UInt64(size) <= packet.dataEnd else { return 0 }
    if type == 0x0800 {
      let service = header.load(fromByteOffset: 1, as: UInt8.self)
      let next = (service &+ 1) & 3
      guard next & 2 != 0 else { return next == 0 ? 1 : 0 }
      let change = UInt16(0xfffb).bigEndian &+ UInt16(next).bigEndian
      let old = header.loadUnaligned(fromByteOffset: 10, as: UInt16.self)
      header.storeBytes(of: InternetChecksum.add16(old, change), toByteOffset: 10, as: UInt16.self)
      header.storeBytes(of: service | 3, toByteOffset: 1, as: UInt8.self)
      return 1
    }
    let from = header.loadUnaligned(as: UInt32.self)
    guard UInt32(bigEndian: from) >> 20 & 3 != 0 else { return 0 }
    let to = from | (UInt32(3) << 20).bigEndian
    header.storeBytes(of: to, as: UInt32.self)
    if packet.checksumState == PacketBlock.Checksum.complete {
      packet.checksum = InternetChecksum.add(InternetChecksum.subtract(packet.checksum, from), to)
    }
    return 1
  }

  static let checkMTU: PacketFunction = { context, interface, length, difference, flags, _ in
    let packet = PacketBlock(context)
    let given = location(length).load(as: UInt32.self)
    let checksSegments = flags & 1 != 0
    guard flags & ~1 == 0, !checksSegments || int(difference) == 0 && given == 0 else { return failure(.EINVAL) }
    let index = UInt32(truncatingIfNeeded: interface)
    guard let mtu = packet.interfaces.mtu(index == 0 ? packet.interfaceIndex : index) else { return failure(.ENODEV) }
    let size =
      given == 0
      ? Int(packet.length) : Int(Int32(truncatingIfNeeded: given)) + InterfaceTable.headerLength
    var answer: UInt64 = 1
    if size + int(difference) <= Int(mtu) + InterfaceTable.headerLength {
      answer = 0
    } else if packet.isSegmented {
      answer = 0
      if checksSegments {
        guard packet.transportHeader != PacketBlock.noTransportHeader else { return failure(.EINVAL) }
        let headers = packet.transportHeader - packet.networkHeader
        answer = headers + Int(packet.segmentSize) <= Int(mtu) ? 0 : 2
      }
    }
    location(length).storeBytes(of: mtu, as: UInt32.self)
    return answer
  }
}

/// The hash of a packet's flow: the same for both directions, unforeseeable, never 0.
enum FlowHash {
  private static let key = SipHash.Key.random()

  static func of(_ packet: PacketBlock) -> UInt32 {
    let header = location(packet.head) + packet.networkHeader
    let size = Int(truncatingIfNeeded: packet.dataEnd) - Int(truncatingIfNeeded: packet.head) - packet.networkHeader
    var hash = SipHash(key, length: 48)
    func word(_ offset: Int) -> UInt64 { UInt64(header.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) }
    var ports = 0
    var transport: UInt8 = 0
    switch UInt16(bigEndian: packet.protocolNumber) {
    case 0x0800 where size >= 20:
      let (a, b) = (word(12), word(16))
      hash.add(min(a, b))
      hash.add(max(a, b))
      transport = header.load(fromByteOffset: 9, as: UInt8.self)
      let isFragment = header.loadUnaligned(fromByteOffset: 6, as: UInt16.self).bigEndian & 0x3fff != 0
      if !isFragment { ports = Int(header.load(as: UInt8.self) & 15) * 4 }
    case 0x86dd where size >= 40:
      let a = (word(8) | word(12) << 32, word(16) | word(20) << 32)
      let b = (word(24) | word(28) << 32, word(32) | word(36) << 32)
      let low = a < b ? a : b
      let high = a < b ? b : a
      for part in [low.0, low.1, high.0, high.1] { hash.add(part) }
      transport = header.load(fromByteOffset: 6, as: UInt8.self)
      ports = 40
    default: break
    }
    hash.add(UInt64(transport) | UInt64(packet.protocolNumber) << 8)
    if ports != 0, ports + 4 <= size, [6, 17, 33, 132, 136].contains(transport) {
      let a = header.loadUnaligned(fromByteOffset: ports, as: UInt16.self)
      let b = header.loadUnaligned(fromByteOffset: ports + 2, as: UInt16.self)
      hash.add(UInt64(min(a, b)) | UInt64(max(a, b)) << 16)
    }
    let value = UInt32(truncatingIfNeeded: hash.finish())
    return value == 0 ? 1 : value
  }
}
