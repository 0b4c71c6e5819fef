import BPFLinux
import CBPFRuntime

/// Helpers that change where a socket buffer's packet begins and ends, and what headers it has.
enum SocketBufferShape {
  private static let ipv4Header = 20
  private static let ipv6Header = 40
  private static let ipv4 = UInt16(0x0800).bigEndian
  private static let ipv6 = UInt16(0x86dd).bigEndian
  private static let alignment = 64

  // MARK: Memory

  /// Makes room before and behind the packet; pointers into it change.
  private static func expand(_ packet: PacketBlock, before: Int, behind: Int) {
    let used = Int(truncatingIfNeeded: packet.dataEnd &- packet.head)
    let size = (used + before + behind + 63) & ~63
    let memory = UnsafeMutableRawPointer.allocate(byteCount: size + SocketBufferContext.tailroom, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: before)
    (memory + before).copyMemory(from: location(packet.head), byteCount: used)
    (memory + (before + used)).initializeMemory(
      as: UInt8.self, repeating: 0, count: size + SocketBufferContext.tailroom - before - used)
    let start = packet.data &- packet.head
    location(packet.head).deallocate()
    packet.head = value(of: memory)
    packet.limit = packet.head &+ UInt64(size)
    packet.data = packet.head &+ start &+ UInt64(before)
    packet.dataMeta = packet.data
    packet.dataEnd = packet.head &+ UInt64(before + used)
    packet.networkHeader += before
    if packet.macHeader >= 0 { packet.macHeader += before }
    packet.transportHeader += before
  }

  private static func ensureHeadroom(_ packet: PacketBlock, _ size: Int) {
    let missing = size - Int(truncatingIfNeeded: packet.data &- packet.head)
    if missing > 0 { expand(packet, before: (missing + alignment - 1) & ~(alignment - 1), behind: 0) }
  }

  /// Moves the packet's beginning; there is room.
  private static func moveStart(_ packet: PacketBlock, by distance: Int) {
    packet.data = packet.data &+ UInt64(bitPattern: Int64(distance))
    packet.dataMeta = packet.data
    packet.length = UInt32(truncatingIfNeeded: packet.linearSize)
  }

  private static func offset(_ packet: PacketBlock, _ header: Int) -> Int {
    header - Int(truncatingIfNeeded: packet.data &- packet.head)
  }
  private static func networkOffset(_ packet: PacketBlock) -> Int { offset(packet, packet.networkHeader) }

  static func accountPulled(_ packet: PacketBlock, _ start: UnsafeRawPointer, _ length: Int) {
    guard packet.checksumState == PacketBlock.Checksum.complete else { return }
    packet.checksum = 0 &- InternetChecksum.partial(start, length, 0 &- packet.checksum)
  }

  static func accountPushed(_ packet: PacketBlock, _ start: UnsafeRawPointer, _ length: Int) {
    guard packet.checksumState == PacketBlock.Checksum.complete else { return }
    packet.checksum = InternetChecksum.add(packet.checksum, InternetChecksum.partial(start, length, 0))
  }

  // MARK: Headers in the middle

  /// Opens a gap of zeros after `start` bytes; headers before it move.
  private static func openGap(_ packet: PacketBlock, after start: Int, _ length: Int) {
    let isSame = packet.transportHeader == packet.networkHeader
    moveStart(packet, by: -length)
    packet.bytes.copyMemory(from: packet.bytes + length, byteCount: start)
    (packet.bytes + start).initializeMemory(as: UInt8.self, repeating: 0, count: length)
    packet.macHeader -= length
    packet.networkHeader -= length
    if isSame { packet.transportHeader = packet.networkHeader }
  }

  private static func closeGap(_ packet: PacketBlock, after start: Int, _ length: Int) -> Errno? {
    guard start + length <= packet.linearSize else { return .ENOMEM }
    let isSame = packet.transportHeader == packet.networkHeader
    let old = packet.bytes
    moveStart(packet, by: length)
    accountPulled(packet, old + start, length)
    packet.bytes.copyMemory(from: old, byteCount: start)
    packet.macHeader += length
    packet.networkHeader += length
    if isSame { packet.transportHeader = packet.networkHeader }
    return nil
  }

  static let changeProtocol: PacketFunction = { context, proto, flags, _, _, _ in
    let packet = PacketBlock(context)
    guard flags == 0 else { return failure(.EINVAL) }
    let headerLength = packet.networkHeader - packet.macHeader
    let difference = ipv6Header - ipv4Header
    switch (packet.protocolNumber, UInt16(truncatingIfNeeded: proto)) {
    case (ipv4, ipv6):
      ensureHeadroom(packet, difference)
      openGap(packet, after: headerLength, difference)
      packet.protocolNumber = ipv6
    case (ipv6, ipv4):
      if let errno = closeGap(packet, after: headerLength, difference) { return failure(errno) }
      packet.protocolNumber = ipv4
    default: return failure(.ENOTSUPP)
    }
    SocketBufferHelpers.clearHash(packet)
    return 0
  }

  private enum Room {
    static let fixedSegments: UInt64 = 1 << 0
    static let encapsulateIPv4: UInt64 = 1 << 1
    static let encapsulateIPv6: UInt64 = 1 << 2
    static let encapsulateGRE: UInt64 = 1 << 3
    static let encapsulateUDP: UInt64 = 1 << 4
    static let keepChecksum: UInt64 = 1 << 5
    static let encapsulateEthernet: UInt64 = 1 << 6
    static let decapsulateIPv4: UInt64 = 1 << 7
    static let decapsulateIPv6: UInt64 = 1 << 8
    static let innerLengthShift: UInt64 = 56

    static let encapsulate = encapsulateIPv4 | encapsulateIPv6
    static let decapsulate = decapsulateIPv4 | decapsulateIPv6
    static let all =
      0x1ff | UInt64(0xff) << innerLengthShift
  }

  static let adjustRoom: PacketFunction = { context, difference, mode, flags, _, _ in
    let packet = PacketBlock(context)
    let change = int(difference)
    let length = abs(change)
    guard flags & ~Room.all == 0 else { return failure(.EINVAL) }
    guard length <= 0xfff else { return failure(.EFAULT) }
    guard packet.protocolNumber == ipv4 || packet.protocolNumber == ipv6 else { return failure(.ENOTSUPP) }
    var minimum = packet.protocolNumber == ipv4 ? ipv4Header : ipv6Header
    var start = packet.networkHeader - packet.macHeader
    switch UInt32(truncatingIfNeeded: mode) {
    case 0: start += minimum
    case 1: break
    default: return failure(.ENOTSUPP)
    }
    if flags & Room.decapsulate != 0 {
      guard change < 0, flags & Room.decapsulate != Room.decapsulate else { return failure(.EINVAL) }
      minimum = flags & Room.decapsulateIPv4 != 0 ? ipv4Header : ipv6Header
    }
    let current = packet.linearSize - networkOffset(packet)
    if change < 0 {
      guard length < current, current - length >= minimum else { return failure(.ENOTSUPP) }
    } else {
      guard packet.linearSize + length <= SocketBufferContext.maximumSize || packet.isSegmented else {
        return failure(.ENOTSUPP)
      }
    }
    let errno =
      change < 0 ? shrink(packet, start, length, flags) : grow(packet, start, length, flags)
    if let errno { return failure(errno) }
    if flags & Room.keepChecksum == 0 { SocketBufferHelpers.forgetUnnecessary(packet) }
    return 0
  }

  private static func grow(_ packet: PacketBlock, _ start: Int, _ length: Int, _ flags: UInt64) -> Errno? {
    // Test runs make packets of segments that are of no protocol.
    guard !packet.isSegmented || packet.gsoType & 0x11 != 0 else { return .ENOTSUPP }
    ensureHeadroom(packet, length)
    let isEncapsulating = flags & Room.encapsulate != 0
    let innerLength = Int(flags >> Room.innerLengthShift)
    let macLength = packet.networkHeader - packet.macHeader
    if isEncapsulating {
      guard flags & Room.encapsulate != Room.encapsulate else { return .EINVAL }
      let tunnels = Room.encapsulateGRE | Room.encapsulateUDP
      guard flags & tunnels != tunnels else { return .EINVAL }
      guard flags & Room.encapsulateEthernet == 0 || innerLength >= 14 else { return .EINVAL }
      guard !packet.isEncapsulated else { return .EALREADY }
      guard innerLength <= length else { return .EINVAL }
    }
    openGap(packet, after: start, length)
    guard isEncapsulating else { return nil }
    packet.isEncapsulated = true
    let data = Int(truncatingIfNeeded: packet.data &- packet.head)
    packet.networkHeader = data + macLength
    if flags & (Room.encapsulateGRE | Room.encapsulateUDP) != 0 {
      packet.transportHeader = packet.networkHeader + (flags & Room.encapsulateIPv6 != 0 ? ipv6Header : ipv4Header)
    }
    packet.protocolNumber = flags & Room.encapsulateIPv6 != 0 ? ipv6 : ipv4
    return nil
  }

  private static func shrink(_ packet: PacketBlock, _ start: Int, _ length: Int, _ flags: UInt64) -> Errno? {
    guard flags & ~(Room.fixedSegments | Room.decapsulate | Room.keepChecksum) == 0 else { return .EINVAL }
    guard !packet.isSegmented || packet.gsoType & 0x11 != 0 else { return .ENOTSUPP }
    if let errno = closeGap(packet, after: start, length) { return errno }
    if flags & Room.decapsulateIPv6 != 0 {
      packet.protocolNumber = ipv6
    } else if flags & Room.decapsulateIPv4 != 0 {
      packet.protocolNumber = ipv4
    }
    return nil
  }

  // MARK: Ends

  private static func minimumLength(_ packet: PacketBlock) -> Int {
    var minimum = max(0, networkOffset(packet))
    if packet.transportHeader != PacketBlock.noTransportHeader, offset(packet, packet.transportHeader) > 0 {
      minimum = offset(packet, packet.transportHeader)
    }
    return minimum
  }

  static let changeTail: PacketFunction = { context, length, flags, _, _, _ in
    let packet = PacketBlock(context)
    let wanted = Int(UInt32(truncatingIfNeeded: length))
    let current = packet.linearSize
    guard flags == 0, wanted <= SocketBufferContext.maximumSize, wanted >= minimumLength(packet) else {
      return failure(.EINVAL)
    }
    guard !packet.isEncapsulated else { return failure(.ENOTSUPP) }
    if wanted != current, packet.checksumState == PacketBlock.Checksum.complete {
      packet.checksumState = PacketBlock.Checksum.none
    }
    if wanted > current {
      if packet.data &+ UInt64(wanted) > packet.limit { expand(packet, before: 0, behind: wanted - current) }
      location(packet.dataEnd).initializeMemory(as: UInt8.self, repeating: 0, count: wanted - current)
    }
    packet.dataEnd = packet.data &+ UInt64(wanted)
    packet.length = UInt32(wanted)
    if packet.isSegmented {
      packet.segmentSize = 0
      packet.segments = 0
      packet.gsoType = 0
    }
    return 0
  }

  static let changeHead: PacketFunction = { context, room, flags, _, _, _ in
    let packet = PacketBlock(context)
    let added = int(room)
    let length = packet.linearSize + added
    guard flags == 0, added >= 0, packet.isSegmented || length <= SocketBufferContext.maximumSize,
      length <= Int(UInt32.max)
    else { return failure(.EINVAL) }
    guard added < 1 << 22 else { return failure(.ENOMEM) }
    ensureHeadroom(packet, added)
    moveStart(packet, by: -added)
    packet.bytes.initializeMemory(as: UInt8.self, repeating: 0, count: added)
    packet.macHeader = Int(truncatingIfNeeded: packet.data &- packet.head)
    packet.macLength = UInt32(truncatingIfNeeded: packet.networkHeader - packet.macHeader)
    return 0
  }

  // MARK: VLAN tags

  private static let tagLength = 4
  private static let addresses = 12

  static let pushVLAN: PacketFunction = { context, proto, tag, _, _, _ in
    let packet = PacketBlock(context)
    var type = UInt16(truncatingIfNeeded: proto)
    if !SocketBufferHelpers.isVLAN(type) { type = UInt16(0x8100).bigEndian }
    defer { packet.macLength = UInt32(truncatingIfNeeded: packet.networkHeader - packet.macHeader) & 0xffff }
    if packet.hasVLANTag {
      guard offset(packet, packet.macHeader) == 0 else { return failure(.EINVAL) }
      ensureHeadroom(packet, tagLength)
      moveStart(packet, by: -tagLength)
      packet.bytes.copyMemory(from: packet.bytes + tagLength, byteCount: addresses)
      packet.macHeader -= tagLength
      packet.bytes.storeBytes(of: packet.vlanProtocol, toByteOffset: addresses, as: UInt16.self)
      packet.bytes.storeBytes(of: packet.vlanTag.bigEndian, toByteOffset: addresses + 2, as: UInt16.self)
      packet.protocolNumber = packet.vlanProtocol
      packet.networkHeader -= tagLength
      accountPushed(packet, packet.bytes + addresses, tagLength)
    }
    packet.setVLAN(protocol: type, tag: UInt16(truncatingIfNeeded: tag))
    return 0
  }

  /// Takes the tag out of the frame.
  private static func removeTag(_ packet: PacketBlock) -> Result<UInt16, Errno> {
    guard offset(packet, packet.macHeader) == 0 else { return .failure(.EINVAL) }
    guard packet.linearSize >= 18 else { return .failure(.ENOMEM) }
    let frame = packet.bytes
    accountPulled(packet, frame + addresses, tagLength)
    let tag = frame.loadUnaligned(fromByteOffset: 14, as: UInt16.self).bigEndian
    let type = frame.loadUnaligned(fromByteOffset: 16, as: UInt16.self)
    if UInt16(bigEndian: type) >= 0x600 {
      packet.protocolNumber = type
    } else {
      let isRaw = frame.loadUnaligned(fromByteOffset: 18, as: UInt16.self) == 0xffff
      packet.protocolNumber = UInt16(isRaw ? 1 : 4).bigEndian
    }
    (frame + tagLength).copyMemory(from: frame, byteCount: addresses)
    moveStart(packet, by: tagLength)
    packet.macHeader += tagLength
    if networkOffset(packet) < 14 {
      packet.networkHeader = Int(truncatingIfNeeded: packet.data &- packet.head) + 14
    }
    packet.macLength = UInt32(truncatingIfNeeded: packet.networkHeader - packet.macHeader)
    return .success(tag)
  }

  static let popVLAN: PacketFunction = { context, _, _, _, _, _ in
    let packet = PacketBlock(context)
    if packet.hasVLANTag {
      packet.setVLAN(protocol: 0, tag: 0)
    } else {
      guard SocketBufferHelpers.isVLAN(packet.protocolNumber) else { return 0 }
      if case .failure(let errno) = removeTag(packet) { return failure(errno) }
    }
    guard SocketBufferHelpers.isVLAN(packet.protocolNumber) else { return 0 }
    let type = packet.protocolNumber
    switch removeTag(packet) {
    case .failure(let errno): return failure(errno)
    case .success(let tag):
      packet.setVLAN(protocol: type, tag: tag)
      return 0
    }
  }

  // MARK: Lightweight tunnels

  private static let maximumHeadroom = 256

  /// `bpf_lwt_push_encap` with an IP header; routes by segments need tables that only a kernel has.
  static let pushEncapsulation: PacketFunction = { context, type, header, length, _, run in
    let packet = PacketBlock(context)
    let size = Int(UInt32(truncatingIfNeeded: length))
    guard UInt32(truncatingIfNeeded: type) == 2 else {
      return failure(UInt32(truncatingIfNeeded: type) < 2 ? .EOPNOTSUPP : .EINVAL)
    }
    guard size >= ipv4Header, size <= maximumHeadroom else { return failure(.EINVAL) }
    let bytes = UnsafeRawPointer(location(header))
    let first = bytes.load(as: UInt8.self)
    switch first >> 4 {
    case 4: guard size >= Int(first & 15) * 4 else { return failure(.EINVAL) }
    case 6: guard size >= ipv6Header else { return failure(.EINVAL) }
    default: return failure(.EINVAL)
    }
    ensureHeadroom(packet, size + Int(packet.macLength))
    packet.isEncapsulated = true
    moveStart(packet, by: -size)
    accountPushed(packet, bytes, size)
    packet.networkHeader = Int(truncatingIfNeeded: packet.data &- packet.head)
    packet.bytes.copyMemory(from: bytes, byteCount: size)
    SocketBufferHelpers.clearHash(packet)
    packet.protocolNumber = first >> 4 == 4 ? ipv4 : ipv6
    if first >> 4 == 4, packet.bytes.loadUnaligned(fromByteOffset: 10, as: UInt16.self) == 0 {
      let sum = InternetChecksum.header(InternetChecksum.partial(packet.bytes, Int(first & 15) * 4, 0))
      packet.bytes.storeBytes(of: sum, toByteOffset: 10, as: UInt16.self)
    }
    return packet.isSegmented ? failure(.ENOTSUPP) : 0
  }
}
