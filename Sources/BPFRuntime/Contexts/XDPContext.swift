import BPFLinux
import CBPFRuntime

/// A packet as an XDP program gets it from a driver (`struct xdp_md`).
///
/// The packet's memory is a page of the context's own: 256 bytes of headroom, the packet, and room to grow up to where
/// Linux keeps its own data at a page's end. What does not fit there goes into fragments of a page each. `reset` takes
/// the next packet without allocating:
///
///     let context = XDPContext()
///     for packet in packets {
///       context.reset(packet)
///       let action = program.run(on: worker, context)
///     }
public final class XDPContext: RunContext, @unchecked Sendable {
  public static let headroom = 256
  /// Bytes that Linux keeps at the end of the page (`struct skb_shared_info`).
  public static let tailroom = 320
  public static let pageSize = 4096
  /// `struct xdp_frame` at the beginning of the headroom, which helpers leave alone.
  static let frameHeader = 40
  /// Bytes of a packet without fragments.
  public static let maximumLinearSize = pageSize - headroom - tailroom

  private let memory: UnsafeMutableRawPointer
  private let fragmentMemory: UnsafeMutableRawPointer
  private let interfaceTable: InterfaceTable
  private var pages: [UnsafeMutableRawPointer] = []

  public init(interfaces: [NetworkInterface] = [.loopback]) {
    memory = .allocate(byteCount: Self.pageSize, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.pageSize)
    fragmentMemory = .allocate(byteCount: FragmentTable.byteCount, alignment: 8)
    fragmentMemory.initializeMemory(as: UInt8.self, repeating: 0, count: FragmentTable.byteCount)
    interfaceTable = .allocate(interfaces)
    super.init(type: .xdp, blockSize: ContextBlock.packetSize)
    let packet = PacketBlock(block)
    packet.kind = PacketBlock.Kind.xdp
    packet.head = value(of: memory)
    packet.limit = value(of: memory + (Self.pageSize - Self.tailroom))
    packet.store(304, value(of: fragmentMemory))
    packet.store(312, value(of: interfaceTable.base))
    packet.store(12, UInt32(1))
    place(from: Self.headroom, size: 0, metadata: 0)
  }

  deinit {
    memory.deallocate()
    fragmentMemory.deallocate()
    interfaceTable.deallocate()
    for page in pages { page.deallocate() }
  }

  @inline(__always) private func place(from offset: Int, size: Int, metadata: Int) {
    let packet = PacketBlock(block)
    let start = value(of: memory) &+ UInt64(offset)
    packet.dataMeta = start
    packet.data = start &+ UInt64(metadata)
    packet.dataEnd = start &+ UInt64(size)
  }

  /// Takes the next packet: a copy of its bytes, from 256 bytes after the beginning of the page on.
  ///
  /// - Returns: whether it fits without fragments (`maximumLinearSize`); where it does not, nothing changed.
  @inline(__always) @discardableResult
  public func reset(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count <= Self.maximumLinearSize else { return false }
    let packet = PacketBlock(block)
    let start = value(of: memory) &+ UInt64(Self.headroom)
    packet.dataMeta = start
    packet.data = start
    packet.dataEnd = start &+ UInt64(bytes.count)
    if let source = bytes.baseAddress { (memory + Self.headroom).copyMemory(from: source, byteCount: bytes.count) }
    if packet.fragmentedSize != 0 { dropFragments() }
    packet.redirectKind = 0
    return true
  }

  private func dropFragments() {
    let packet = PacketBlock(block)
    packet.fragments.count = 0
    packet.fragmentedSize = 0
  }

  /// Takes a packet with metadata before it, in fragments where it is too long for the page.
  ///
  /// - Parameters:
  ///   - bytes: metadata, packet.
  ///   - metadata: how many of the bytes come before the packet.
  ///   - linear: how many of the bytes, metadata included, are to lie in the page.
  /// - Returns: whether there are pages enough (17).
  public func reset(_ bytes: UnsafeRawBufferPointer, metadata: Int, linear: Int) -> Bool {
    dropFragments()
    PacketBlock(block).redirectKind = 0
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.pageSize)
    let size = min(linear, bytes.count, Self.pageSize - Self.tailroom - Self.headroom + metadata)
    place(from: Self.headroom - metadata, size: size, metadata: metadata)
    if let source = bytes.baseAddress {
      (memory + (Self.headroom - metadata)).copyMemory(from: source, byteCount: size)
    }
    return appendFragments(UnsafeRawBufferPointer(rebasing: bytes[size...]))
  }

  private func appendFragments(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let packet = PacketBlock(block)
    let table = packet.fragments
    var rest = bytes
    while let source = rest.baseAddress, !rest.isEmpty {
      guard table.count < FragmentTable.capacity else { return false }
      if pages.count == table.count { pages.append(.allocate(byteCount: FragmentTable.pageSize, alignment: 64)) }
      let page = pages[table.count]
      let size = min(rest.count, FragmentTable.pageSize)
      page.copyMemory(from: source, byteCount: size)
      table.set(table.count, page, size: size, pageOffset: 0)
      table.count += 1
      packet.fragmentedSize += UInt32(size)
      rest = UnsafeRawBufferPointer(rebasing: rest[size...])
    }
    return true
  }

  /// The linear part as it is now, without metadata.
  @inline(__always) public var linearPacket: UnsafeRawBufferPointer {
    let packet = PacketBlock(block)
    return UnsafeRawBufferPointer(start: location(packet.data), count: packet.linearSize)
  }

  /// The whole packet with its metadata, fragments included.
  public var bytes: [UInt8] { linearBytes + fragmentBytes.flatMap { $0 } }
  /// Metadata and linear part.
  var linearBytes: [UInt8] {
    let packet = PacketBlock(block)
    let size = Int(truncatingIfNeeded: packet.dataEnd &- packet.dataMeta)
    return Array(UnsafeRawBufferPointer(start: location(packet.dataMeta), count: max(0, size)))
  }
  var fragmentBytes: [[UInt8]] {
    let table = PacketBlock(block).fragments
    return (0..<table.count).map { Array(UnsafeRawBufferPointer(start: table.bytes($0), count: table.size($0))) }
  }
  /// Bytes of metadata before the packet.
  public var metadataSize: Int {
    let packet = PacketBlock(block)
    return Int(truncatingIfNeeded: packet.data &- packet.dataMeta)
  }
  /// Bytes of the packet, fragments included.
  public var packetSize: Int {
    let packet = PacketBlock(block)
    return packet.linearSize + Int(packet.fragmentedSize)
  }

  public var ingressInterface: UInt32 {
    get { PacketBlock(block).load(12) }
    set { PacketBlock(block).store(12, newValue) }
  }
  public var receiveQueue: UInt32 {
    get { PacketBlock(block).load(16) }
    set { PacketBlock(block).store(16, newValue) }
  }
  public var egressInterface: UInt32 {
    get { PacketBlock(block).load(20) }
    set { PacketBlock(block).store(20, newValue) }
  }
  /// Where the last program wanted the packet sent, where it returned `XDP_REDIRECT`.
  public var redirect: PacketRedirect? { PacketRedirect(PacketBlock(block)) }
}

/// Where a program redirected a packet to.
public enum PacketRedirect: Hashable, Sendable {
  case interface(UInt32, flags: UInt64)
  /// The entry of a map (by its id) at a key.
  case map(id: UInt32, key: UInt32, flags: UInt64)

  init?(_ packet: PacketBlock) {
    guard packet.redirectKind != 0 else { return nil }
    let target = UInt32(truncatingIfNeeded: packet.redirectTarget)
    guard packet.redirectMap != 0 else {
      self = .interface(target, flags: packet.redirectFlags)
      return
    }
    let map = location(packet.redirectMap).assumingMemoryBound(to: skep_map.self)
    self = .map(id: map.pointee.id, key: target, flags: packet.redirectFlags)
  }
}
