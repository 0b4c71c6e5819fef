import BPFLinux
import CBPFRuntime

/// Helpers about sockets, cgroups, routes and tunnels.
///
/// User space has no sockets but the one that a test run gives to a packet, no routes and one network namespace:
/// look-ups find nothing, and the rest answers as Linux does of such a packet.
enum SocketHelpers {
  private nonisolated(unsafe) static let nextCookie: UnsafeMutablePointer<UInt64> = {
    let counter = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    counter.initialize(to: 0)
    return counter
  }()
  private static let rootCgroup: UInt64 = 1
  private static let initialNamespace: UInt64 = 1

  static let nothing: PacketFunction = { _, _, _, _, _, _ in 0 }
  static let same: PacketFunction = { socket, _, _, _, _, _ in socket }
  static let invalid: PacketFunction = { _, _, _, _, _, _ in failure(.EINVAL) }

  // MARK: Who a socket is

  /// Of a packet its socket's, of a socket its own; the two are told apart by where they lie.
  static let cookie: PacketFunction = { object, _, _, _, _, run in
    guard object != 0 else { return 0 }
    let isContext = object == UInt64(UInt(bitPattern: run.pointee.context))
    var socket = object
    if isContext {
      let packet = PacketBlock(object)
      guard packet.kind == PacketBlock.Kind.socketBuffer else { return initialNamespace }
      socket = packet.load(168)
    }
    guard socket != 0 else { return 0 }
    let block = SocketBlock(base: location(socket))
    if block.cookie == 0 { block.cookie = skep_fetch_add_64(nextCookie, 1) &+ 1 }
    return block.cookie
  }

  static let namespaceCookie: PacketFunction = { _, _, _, _, _, _ in initialNamespace }
  static let cgroup: PacketFunction = { _, _, _, _, _, _ in rootCgroup }
  static let ancestorCgroup: PacketFunction = { _, level, _, _, _, _ in int(level) == 0 ? rootCgroup : 0 }

  /// Nothing puts cgroups into a map here.
  static let underCgroup: PacketFunction = { _, map, index, _, _, _ in
    let block = location(map).assumingMemoryBound(to: skep_map.self)
    return failure(UInt32(truncatingIfNeeded: index) >= block.pointee.max_entries ? .E2BIG : .EAGAIN)
  }

  static let tcpSocket: PacketFunction = { socket, _, _, _, _, _ in
    SocketBlock(base: location(socket)).protocolNumber == 6 ? socket : 0
  }

  /// `bpf_sk_assign`: to a packet, or as the result of a look-up.
  static let assign: PacketFunction = { _, socket, flags, _, _, run in
    let packet = PacketBlock(run)
    if packet.kind == PacketBlock.Kind.socketLookup {
      guard flags & ~3 == 0 else { return failure(.EINVAL) }
      guard packet.load(0, UInt64.self) == 0 || flags & 1 != 0 else { return failure(.EEXIST) }
      packet.store(0, socket)
      return 0
    }
    guard socket != 0, flags == 0 else { return failure(.EINVAL) }
    return failure(.EOPNOTSUPP)
  }

  // MARK: Where packets go

  private static let shot: UInt64 = 2
  private static let redirected: UInt64 = 7
  private static let toIngress: UInt64 = 1

  static let redirect: PacketFunction = { interface, flags, a3, a4, a5, run in
    let packet = PacketBlock(run)
    if packet.kind == PacketBlock.Kind.xdp { return XDPHelpers.redirect(interface, flags, a3, a4, a5, run) }
    guard flags & ~toIngress == 0 else { return shot }
    note(packet, interface, flags)
    return redirected
  }

  static let redirectPeer: PacketFunction = { interface, flags, _, _, _, run in
    guard flags == 0 else { return shot }
    note(PacketBlock(run), interface, 0)
    return redirected
  }

  static let redirectNeighbour: PacketFunction = { interface, _, length, flags, _, run in
    let size = Int32(truncatingIfNeeded: length)
    guard size == 0 || size >= 20, flags == 0 else { return shot }
    note(PacketBlock(run), interface, 0)
    return redirected
  }

  private static func note(_ packet: PacketBlock, _ interface: UInt64, _ flags: UInt64) {
    packet.redirectKind = 1
    packet.redirectTarget = interface & 0xffff_ffff
    packet.redirectMap = 0
    packet.redirectFlags = flags
  }

  /// The clone goes to the interface, and no further.
  static let cloneRedirect: PacketFunction = { context, interface, flags, _, _, _ in
    let packet = PacketBlock(context)
    guard flags & ~toIngress == 0 else { return failure(.EINVAL) }
    guard !packet.isSegmented || packet.gsoType != 0 else { return failure(Errno(rawValue: 74)) }
    guard packet.interfaces.mtu(UInt32(truncatingIfNeeded: interface)) != nil else { return failure(.EINVAL) }
    guard packet.macHeader >= 0, packet.macHeader < packet.networkHeader, packet.linearSize != 0 else {
      return failure(.ERANGE)
    }
    return 0
  }

  private static let forwardingDisabled: UInt64 = 5
  private static let addressFamilyNotSupported = Errno(rawValue: 97)

  static let routeLookup: PacketFunction = { context, parameters, length, flags, _, _ in
    let packet = PacketBlock(context)
    guard Int32(truncatingIfNeeded: length) >= 64, flags & 0xffff_ffff & ~0x3f == 0 else { return failure(.EINVAL) }
    let request = UnsafeRawPointer(location(parameters))
    let family = request.load(as: UInt8.self)
    guard family == 2 || family == 10 else { return failure(addressFamilyNotSupported) }
    guard packet.interfaces.mtu(request.load(fromByteOffset: 8, as: UInt32.self)) != nil else {
      return failure(.ENODEV)
    }
    return forwardingDisabled
  }

  static let checkMTU: PacketFunction = { context, interface, length, difference, flags, run in
    PacketBlock(context).kind == PacketBlock.Kind.xdp
      ? XDPHelpers.checkMTU(context, interface, length, difference, flags, run)
      : SocketBufferHelpers.checkMTU(context, interface, length, difference, flags, run)
  }

  /// No packet here came through IPsec.
  static let transformState: PacketFunction = { _, _, to, size, _, _ in
    location(to).initializeMemory(as: UInt8.self, repeating: 0, count: Int(UInt32(truncatingIfNeeded: size)))
    return failure(.EINVAL)
  }

  // MARK: Tunnel keys (struct bpf_tunnel_key)

  private static let keySize = 44
  private enum KeyFlag {
    static let ipv6: UInt64 = 1 << 0
    static let zeroChecksum: UInt64 = 1 << 1
    static let dontFragment: UInt64 = 1 << 2
    static let sequenceNumber: UInt64 = 1 << 3
    static let noTunnelKey: UInt64 = 1 << 4
    /// Of `bpf_skb_get_tunnel_key`.
    static let flags: UInt64 = 1 << 4
  }
  private enum TunnelFlag {
    static let checksum: UInt16 = 1 << 0
    static let key: UInt16 = 1 << 2
    static let sequence: UInt16 = 1 << 3
    static let dontFragment: UInt16 = 1 << 8
    static let noCache: UInt16 = 1 << 13
    static let options: UInt16 = 1 << 11 | 1 << 12 | 1 << 14 | 1 << 15
  }

  static let getTunnelKey: PacketFunction = { context, to, length, flags, _, _ in
    let tunnel = PacketBlock(context).tunnel
    let size = Int(UInt32(truncatingIfNeeded: length))
    func refuse(_ errno: Errno) -> UInt64 {
      location(to).initializeMemory(as: UInt8.self, repeating: 0, count: size)
      return failure(errno)
    }
    guard tunnel.isSet, flags & ~(KeyFlag.ipv6 | KeyFlag.flags) == 0 else { return refuse(.EINVAL) }
    guard tunnel.isIPv6 == (flags & KeyFlag.ipv6 != 0) else { return refuse(.EPROTO) }
    guard [keySize, 28, 24, 22].contains(size) || size == 8 && !tunnel.isIPv6 else { return refuse(.EINVAL) }
    withUnsafeTemporaryAllocation(byteCount: 48, alignment: 8) { memory in
      guard let key = memory.baseAddress else { return }
      key.initializeMemory(as: UInt8.self, repeating: 0, count: 48)
      // A structure of full size keeps what it holds where nothing is said.
      if size == keySize { key.copyMemory(from: location(to), byteCount: keySize) }
      key.storeBytes(of: UInt32(truncatingIfNeeded: tunnel.id), as: UInt32.self)
      (key + 4).copyMemory(from: tunnel.source, byteCount: 16)
      key.storeBytes(of: tunnel.typeOfService, toByteOffset: 20, as: UInt8.self)
      key.storeBytes(of: tunnel.timeToLive, toByteOffset: 21, as: UInt8.self)
      let shown = flags & KeyFlag.flags != 0 ? tunnel.flags.bigEndian : 0
      key.storeBytes(of: shown, toByteOffset: 22, as: UInt16.self)
      key.storeBytes(of: tunnel.isIPv6 ? tunnel.label : 0, toByteOffset: 24, as: UInt32.self)
      (key + 28).copyMemory(from: tunnel.destination, byteCount: 16)
      location(to).copyMemory(from: key, byteCount: size)
    }
    return 0
  }

  static let setTunnelKey: PacketFunction = { context, from, length, flags, _, _ in
    let size = Int(UInt32(truncatingIfNeeded: length))
    let known =
      KeyFlag.ipv6 | KeyFlag.zeroChecksum | KeyFlag.dontFragment | KeyFlag.sequenceNumber | KeyFlag.noTunnelKey
    guard flags & ~known == 0, [keySize, 28, 24, 22, 8].contains(size) else { return failure(.EINVAL) }
    let tunnel = PacketBlock(context).tunnel
    return withUnsafeTemporaryAllocation(byteCount: 48, alignment: 8) { memory in
      guard let key = memory.baseAddress else { return failure(.ENOMEM) }
      key.initializeMemory(as: UInt8.self, repeating: 0, count: 48)
      key.copyMemory(from: location(from), byteCount: size)
      let label = key.load(fromByteOffset: 24, as: UInt32.self)
      let isIPv6 = flags & KeyFlag.ipv6 != 0
      guard isIPv6 || label == 0, key.load(fromByteOffset: 22, as: UInt16.self) == 0 else {
        return failure(.EINVAL)
      }
      tunnel.clear()
      tunnel.isSet = true
      tunnel.isIPv6 = isIPv6
      var bits = TunnelFlag.noCache
      if flags & KeyFlag.dontFragment != 0 { bits |= TunnelFlag.dontFragment }
      if flags & KeyFlag.zeroChecksum == 0 { bits |= TunnelFlag.checksum }
      if flags & KeyFlag.sequenceNumber != 0 { bits |= TunnelFlag.sequence }
      if flags & KeyFlag.noTunnelKey == 0 { bits |= TunnelFlag.key }
      tunnel.flags = bits
      tunnel.id = UInt64(key.load(as: UInt32.self))
      tunnel.typeOfService = key.load(fromByteOffset: 20, as: UInt8.self)
      tunnel.timeToLive = key.load(fromByteOffset: 21, as: UInt8.self)
      let addressSize = isIPv6 ? 16 : 4
      tunnel.destination.copyMemory(from: key + 4, byteCount: addressSize)
      tunnel.source.copyMemory(from: key + 28, byteCount: addressSize)
      if isIPv6 { tunnel.label = label & 0xf_ffff }
      return 0
    }
  }

  static let getTunnelOptions: PacketFunction = { context, to, length, _, _, _ in
    let tunnel = PacketBlock(context).tunnel
    let size = Int(UInt32(truncatingIfNeeded: length))
    location(to).initializeMemory(as: UInt8.self, repeating: 0, count: size)
    guard tunnel.isSet, tunnel.flags & TunnelFlag.options != 0 else { return failure(.ENOENT) }
    guard size >= tunnel.optionLength else { return failure(.ENOMEM) }
    location(to).copyMemory(from: tunnel.options, byteCount: tunnel.optionLength)
    return UInt64(tunnel.optionLength)
  }

  static let setTunnelOptions: PacketFunction = { context, from, length, _, _, _ in
    let tunnel = PacketBlock(context).tunnel
    let size = Int(UInt32(truncatingIfNeeded: length))
    guard tunnel.isSet, size & 3 == 0 else { return failure(.EINVAL) }
    guard size <= TunnelBlock.maximumOptions else { return failure(.ENOMEM) }
    tunnel.options.copyMemory(from: location(from), byteCount: size)
    tunnel.optionLength = size
    if size > 0 { tunnel.flags |= TunnelFlag.options }
    return 0
  }
}
