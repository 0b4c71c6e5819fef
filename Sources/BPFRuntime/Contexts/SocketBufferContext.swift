import BPFLinux
import CBPFRuntime

/// A packet as the network stack hands it to a program (`struct __sk_buff`): to tc, to socket filters, to cgroups and
/// lightweight tunnels.
///
/// Programs of tc see the packet from its Ethernet header on; the others from what follows it. `reset` takes the next
/// packet; it allocates only where a packet is longer than any before.
public final class SocketBufferContext: RunContext, @unchecked Sendable {
  static let headroom = 64
  /// Bytes that Linux keeps behind a packet (`struct skb_shared_info`).
  static let tailroom = 320
  static let ethernetHeader = 14
  /// The longest packet that helpers let a packet grow to.
  static let maximumSize = 16384 - tailroom
  private static let initialCapacity = 4096

  /// The program sees the Ethernet header.
  public let seesLinkHeader: Bool
  private let socketMemory: UnsafeMutableRawPointer
  private let interfaceTable: InterfaceTable

  public init(type: ProgramType, interfaces: [NetworkInterface] = [.loopback]) {
    seesLinkHeader = Self.seesLinkHeader(type)
    socketMemory = .allocate(byteCount: SocketBlock.byteCount, alignment: 8)
    interfaceTable = .allocate(interfaces)
    super.init(type: type, blockSize: ContextBlock.packetSize)
    SocketBlock(base: socketMemory).reset()
    let packet = PacketBlock(block)
    packet.kind = PacketBlock.Kind.socketBuffer
    packet.isWritable = seesLinkHeader || type == .lwtXmit || type == .skSkb
    packet.store(312, value(of: interfaceTable.base))
    allocate(Self.initialCapacity)
  }

  deinit {
    location(PacketBlock(block).head).deallocate()
    socketMemory.deallocate()
    interfaceTable.deallocate()
  }

  static func seesLinkHeader(_ type: ProgramType) -> Bool { type == .schedCls || type == .schedAct }

  private func allocate(_ capacity: Int) {
    let packet = PacketBlock(block)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: capacity)
    packet.head = value(of: memory)
    packet.limit = value(of: memory) &+ UInt64(capacity - Self.tailroom)
  }

  private func reserve(_ size: Int) {
    let packet = PacketBlock(block)
    guard packet.head &+ UInt64(Self.headroom + size) > packet.limit else { return }
    location(packet.head).deallocate()
    allocate((size + Self.headroom + Self.tailroom + 4095) & ~4095)
  }

  /// Takes the next packet: a copy of its bytes, which begin with an Ethernet header.
  ///
  /// - Parameter interface: what it came in by.
  /// - Returns: whether there is an Ethernet header; where there is none, nothing changed.
  @discardableResult
  public func reset(_ bytes: UnsafeRawBufferPointer, interface: NetworkInterface = .loopback) -> Bool {
    guard bytes.count >= Self.ethernetHeader, let source = bytes.baseAddress else { return false }
    resetState(bytes.count, source, interface.index)
    let packet = PacketBlock(block)
    let start = location(packet.head) + Self.headroom
    packet.packetType = Self.packetType(start, interface)
    packet.protocolNumber = Self.etherType(start, bytes.count)
    packet.macHeader = Self.headroom
    packet.networkHeader = Self.headroom + Self.ethernetHeader
    if !seesLinkHeader {
      packet.data = value(of: start) &+ UInt64(Self.ethernetHeader)
      packet.dataMeta = packet.data
    }
    packet.length = UInt32(truncatingIfNeeded: packet.linearSize)
    describeSocket(start + Self.ethernetHeader, bytes.count - Self.ethernetHeader)
    return true
  }

  /// Takes a packet that begins with its network header, as netfilter's output hook has it.
  func resetNetwork(_ bytes: UnsafeRawBufferPointer, protocolNumber: UInt16) {
    guard let source = bytes.baseAddress else { return }
    resetState(bytes.count, source, 0)
    let packet = PacketBlock(block)
    packet.protocolNumber = protocolNumber
    packet.length = UInt32(truncatingIfNeeded: bytes.count)
    packet.macHeader = -1
    packet.networkHeader = 0
  }

  private func resetState(_ size: Int, _ source: UnsafeRawPointer, _ interface: UInt32) {
    reserve(size)
    block.initializeMemory(as: UInt8.self, repeating: 0, count: 192)
    let packet = PacketBlock(block)
    let start = location(packet.head) + Self.headroom
    start.copyMemory(from: source, byteCount: size)
    packet.data = value(of: start)
    packet.dataMeta = packet.data
    packet.dataEnd = packet.data &+ UInt64(size)
    packet.store(40, interface)
    packet.store(168, value(of: socketMemory))
    packet.redirectKind = 0
    packet.transportHeader = PacketBlock.noTransportHeader
    packet.macLength = 0
    packet.checksumState = PacketBlock.Checksum.none
    packet.checksum = 0
    packet.checksumLevel = 0
    packet.isEncapsulated = false
    packet.hashIsKnown = false
    packet.gsoType = 0
    packet.isAtIngress = false
    packet.tunnel.isSet = false
  }

  /// `eth_type_trans`: whom the frame was sent to.
  private static func packetType(_ frame: UnsafeRawPointer, _ interface: NetworkInterface) -> UInt32 {
    func isDestination(_ address: [UInt8]) -> Bool {
      address.count == 6 && (0..<6).allSatisfy { frame.load(fromByteOffset: $0, as: UInt8.self) == address[$0] }
    }
    if isDestination(interface.address) { return 0 }
    if frame.load(as: UInt8.self) & 1 == 0 { return 3 }
    return isDestination(interface.broadcast) ? 1 : 2
  }

  /// The EtherType as it stands in the frame; of frames with a length instead, what their payload says they are.
  static func etherType(_ frame: UnsafeRawPointer, _ size: Int) -> UInt16 {
    let type = frame.loadUnaligned(fromByteOffset: 12, as: UInt16.self)
    if UInt16(bigEndian: type) >= 0x600 { return type }
    let isRaw = size >= 16 && frame.loadUnaligned(fromByteOffset: 14, as: UInt16.self) == 0xffff
    return UInt16(isRaw ? 1 : 4).bigEndian
  }

  /// The socket has the addresses that the packet has.
  private func describeSocket(_ header: UnsafeRawPointer, _ size: Int) {
    let packet = PacketBlock(block)
    let socket = SocketBlock(base: socketMemory)
    if socket.family != 0 || socket.cookie != 0 { socket.reset() }
    switch UInt16(bigEndian: packet.protocolNumber) {
    case 0x0800:
      socket.family = 2
      guard size >= 20 else { break }
      socket.localIPv4.copyMemory(from: header + 12, byteCount: 4)
      socket.remoteIPv4.copyMemory(from: header + 16, byteCount: 4)
    case 0x86dd:
      socket.family = 10
      guard size >= 40 else { break }
      socket.localIPv6.copyMemory(from: header + 8, byteCount: 16)
      socket.remoteIPv6.copyMemory(from: header + 24, byteCount: 16)
    default: return
    }
    packet.store(88, socket.family)
    (block + 92).copyMemory(from: socket.remoteIPv4, byteCount: 4)
    (block + 96).copyMemory(from: socket.localIPv4, byteCount: 4)
    (block + 100).copyMemory(from: socket.remoteIPv6, byteCount: 16)
    (block + 116).copyMemory(from: socket.localIPv6, byteCount: 16)
  }

  /// The packet as the program sees it now.
  public var packet: UnsafeRawBufferPointer {
    let packet = PacketBlock(block)
    return UnsafeRawBufferPointer(start: location(packet.data), count: packet.linearSize)
  }

  public var mark: UInt32 {
    get { PacketBlock(block).load(8) }
    set { PacketBlock(block).store(8, newValue) }
  }
  public var priority: UInt32 {
    get { PacketBlock(block).load(32) }
    set { PacketBlock(block).store(32, newValue) }
  }
  public var ingressInterface: UInt32 {
    get { PacketBlock(block).load(36) }
    set { PacketBlock(block).store(36, newValue) }
  }
  public var timestamp: UInt64 {
    get { PacketBlock(block).load(152) }
    set { PacketBlock(block).store(152, newValue) }
  }
  /// Whether the packet comes from a tc hook at ingress; test runs say no.
  public var isAtIngress: Bool {
    get { PacketBlock(block).isAtIngress }
    set { PacketBlock(block).isAtIngress = newValue }
  }
  /// Where the last program wanted the packet sent.
  public var redirect: PacketRedirect? { PacketRedirect(PacketBlock(block)) }
}

/// A packet whose flow is dissected (`struct __sk_buff` with `flow_keys`).
public final class FlowDissectorContext: RunContext, @unchecked Sendable {
  private let keys: UnsafeMutableRawPointer
  private var memory: UnsafeMutableRawPointer?
  private var size = 0
  static let keySize = 56

  public init() {
    keys = .allocate(byteCount: Self.keySize, alignment: 8)
    keys.initializeMemory(as: UInt8.self, repeating: 0, count: Self.keySize)
    super.init(type: .flowDissector, blockSize: ContextBlock.packetSize)
    let packet = PacketBlock(block)
    packet.kind = PacketBlock.Kind.flowDissector
    packet.store(144, value(of: keys))
  }

  deinit {
    keys.deallocate()
    memory?.deallocate()
  }

  /// Takes the next packet: a copy of its bytes, which begin with an Ethernet header.
  ///
  /// - Parameter flags: `BPF_FLOW_DISSECTOR_F_…`, which the program finds in the keys.
  @discardableResult
  public func reset(_ bytes: UnsafeRawBufferPointer, flags: UInt32 = 0) -> Bool {
    guard bytes.count >= 14, let source = bytes.baseAddress else { return false }
    if size < bytes.count {
      memory?.deallocate()
      memory = .allocate(byteCount: bytes.count, alignment: 64)
      size = bytes.count
    }
    guard let memory else { return false }
    memory.copyMemory(from: source, byteCount: bytes.count)
    let packet = PacketBlock(block)
    packet.data = value(of: memory)
    packet.dataEnd = packet.data &+ UInt64(bytes.count)
    begin(flags: flags)
    return true
  }

  /// Clears the keys for a run: the header after Ethernet's is where dissection begins.
  func begin(flags: UInt32) {
    keys.initializeMemory(as: UInt8.self, repeating: 0, count: Self.keySize)
    keys.storeBytes(of: 14, as: UInt16.self)
    keys.storeBytes(of: 14, toByteOffset: 2, as: UInt16.self)
    keys.storeBytes(
      of: PacketBlock(block).bytes.loadUnaligned(fromByteOffset: 12, as: UInt16.self), toByteOffset: 10,
      as: UInt16.self)
    keys.storeBytes(of: flags, toByteOffset: 48, as: UInt32.self)
  }

  /// Puts the offsets that the program found back into the packet, as Linux does after each run.
  func finish() {
    let length = UInt16(truncatingIfNeeded: PacketBlock(block).linearSize)
    func clamp(_ offset: Int, _ low: UInt16) -> UInt16 {
      let clamped = min(max(keys.load(fromByteOffset: offset, as: UInt16.self), low), length)
      keys.storeBytes(of: clamped, toByteOffset: offset, as: UInt16.self)
      return clamped
    }
    _ = clamp(2, clamp(0, 14))
  }

  /// `struct bpf_flow_keys`.
  public var flowKeys: [UInt8] { Array(UnsafeRawBufferPointer(start: keys, count: Self.keySize)) }
}
