import CBPFRuntime

/// What registers hold, as a pointer. Programs that were proved pass none that is null where one is needed.
@inline(__always) func location(_ value: UInt64) -> UnsafeMutableRawPointer {
  UnsafeMutableRawPointer(bitPattern: UInt(value)).unsafelyUnwrapped
}

@inline(__always) func value(of pointer: UnsafeRawPointer) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }

/// The block of a packet's context: first `struct xdp_md` or `struct __sk_buff`, behind it what helpers need.
///
/// All state of a packet is in this memory, so that a helper is given register 1 and needs nothing else.
struct PacketBlock {
  let base: UnsafeMutableRawPointer

  @inline(__always) init(_ context: UInt64) { base = location(context) }
  /// The block of the context that `run` runs on.
  @inline(__always) init(_ run: UnsafeMutablePointer<skep_run>) {
    base = run.pointee.context.unsafelyUnwrapped
  }
  @inline(__always) init(_ base: UnsafeMutableRawPointer) { self.base = base }

  enum Kind {
    static let none: UInt32 = 0
    static let xdp: UInt32 = 1
    static let socketBuffer: UInt32 = 2
    static let flowDissector: UInt32 = 3
    static let socketLookup: UInt32 = 4
  }

  /// How far a checksum is known (`ip_summed`).
  enum Checksum {
    static let none: UInt32 = 0
    static let unnecessary: UInt32 = 1
    static let complete: UInt32 = 2
    static let partial: UInt32 = 3
  }

  @inline(__always) func load<T: BitwiseCopyable>(_ offset: Int, _: T.Type = T.self) -> T {
    base.load(fromByteOffset: offset, as: T.self)
  }
  @inline(__always) func store<T: BitwiseCopyable>(_ offset: Int, _ value: T) {
    base.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }

  // MARK: Both kinds of packet; addresses, as the program loads them.

  var data: UInt64 {
    @inline(__always) get { load(256) }
    @inline(__always) nonmutating set { store(256, newValue) }
  }
  var dataEnd: UInt64 {
    @inline(__always) get { load(264) }
    @inline(__always) nonmutating set { store(264, newValue) }
  }
  var dataMeta: UInt64 {
    @inline(__always) get { load(272) }
    @inline(__always) nonmutating set { store(272, newValue) }
  }
  /// Where the packet's memory begins (`data_hard_start`, `skb->head`).
  var head: UInt64 {
    @inline(__always) get { load(280) }
    @inline(__always) nonmutating set { store(280, newValue) }
  }
  /// Where the packet can end at most in this memory.
  var limit: UInt64 {
    @inline(__always) get { load(288) }
    @inline(__always) nonmutating set { store(288, newValue) }
  }
  var kind: UInt32 {
    @inline(__always) get { load(296) }
    @inline(__always) nonmutating set { store(296, newValue) }
  }
  /// Bytes in fragments, behind the linear part.
  var fragmentedSize: UInt32 {
    @inline(__always) get { load(300) }
    @inline(__always) nonmutating set { store(300, newValue) }
  }
  var fragments: FragmentTable { FragmentTable(base: location(load(304))) }
  /// The address of the table of interfaces.
  var interfaces: InterfaceTable { InterfaceTable(base: location(load(312))) }

  @inline(__always) var linearSize: Int { Int(truncatingIfNeeded: dataEnd &- data) }
  @inline(__always) var bytes: UnsafeMutableRawPointer { location(data) }

  // MARK: Where a redirect goes

  /// Interface index, or the key in `redirectMap`.
  var redirectTarget: UInt64 {
    get { load(320) }
    nonmutating set { store(320, newValue) }
  }
  /// Address of the map's `skep_map`; 0 where the target is an interface.
  var redirectMap: UInt64 {
    get { load(328) }
    nonmutating set { store(328, newValue) }
  }
  var redirectFlags: UInt64 {
    get { load(336) }
    nonmutating set { store(336, newValue) }
  }
  /// 0: no redirect was asked for.
  var redirectKind: UInt32 {
    get { load(344) }
    nonmutating set { store(344, newValue) }
  }

  // MARK: Socket buffers. Places of headers are counted from `head`.

  var networkHeader: Int {
    get { load(352) }
    nonmutating set { store(352, newValue) }
  }
  var macHeader: Int {
    get { load(360) }
    nonmutating set { store(360, newValue) }
  }
  /// `noTransportHeader` where it is not known. Linux keeps 16 bits, and moves them with the packet even so: what was not
  /// known then looks as if it were.
  var transportHeader: Int {
    get { load(368) }
    nonmutating set { store(368, newValue & 0xffff) }
  }
  static let noTransportHeader = 0xffff
  var macLength: UInt32 {
    get { load(376) }
    nonmutating set { store(376, newValue) }
  }
  var checksumState: UInt32 {
    get { load(380) }
    nonmutating set { store(380, newValue) }
  }
  var checksum: UInt32 {
    get { load(384) }
    nonmutating set { store(384, newValue) }
  }
  var checksumLevel: UInt32 {
    get { load(388) }
    nonmutating set { store(388, newValue) }
  }
  var isEncapsulated: Bool {
    get { load(392, UInt32.self) != 0 }
    nonmutating set { store(392, UInt32(newValue ? 1 : 0)) }
  }
  /// The hash in the structure is known: set by a program, or computed.
  var hashIsKnown: Bool {
    get { load(396, UInt32.self) != 0 }
    nonmutating set { store(396, UInt32(newValue ? 1 : 0)) }
  }
  var gsoType: UInt32 {
    get { load(400) }
    nonmutating set { store(400, newValue) }
  }
  /// The packet came in by a tc hook at ingress.
  var isAtIngress: Bool {
    get { load(404, UInt32.self) != 0 }
    nonmutating set { store(404, UInt32(newValue ? 1 : 0)) }
  }
  /// Programs may write to the packet directly.
  var isWritable: Bool {
    get { load(408, UInt32.self) != 0 }
    nonmutating set { store(408, UInt32(newValue ? 1 : 0)) }
  }
  var tunnel: TunnelBlock { TunnelBlock(base: base + 448) }

  // MARK: Fields of `struct __sk_buff` that helpers change

  var length: UInt32 {
    get { load(0) }
    nonmutating set { store(0, newValue) }
  }
  var packetType: UInt32 {
    get { load(4) }
    nonmutating set { store(4, newValue) }
  }
  /// As in the frame: big endian.
  var protocolNumber: UInt16 {
    get { load(16) }
    nonmutating set { store(16, newValue) }
  }
  var vlanTag: UInt16 { load(24) }
  var vlanProtocol: UInt16 { load(28) }
  var hasVLANTag: Bool { load(20, UInt32.self) != 0 }
  func setVLAN(protocol proto: UInt16, tag: UInt16) {
    store(20, UInt32(proto | tag != 0 ? 1 : 0))
    store(24, UInt32(tag))
    store(28, UInt32(proto))
  }
  var interfaceIndex: UInt32 { load(40) }
  var hash: UInt32 {
    get { load(68) }
    nonmutating set { store(68, newValue) }
  }
  var segments: UInt32 {
    get { load(164) }
    nonmutating set { store(164, newValue) }
  }
  var segmentSize: UInt32 {
    get { load(176) }
    nonmutating set { store(176, newValue) }
  }
  var isSegmented: Bool { segmentSize != 0 }
}

/// Pages behind the linear part of an XDP packet: how many, then address, bytes and offset in the page of each.
struct FragmentTable {
  let base: UnsafeMutableRawPointer
  static let capacity = 17
  static let pageSize = 4096
  static let byteCount = 8 + capacity * 16

  var count: Int {
    get { Int(base.load(as: UInt32.self)) }
    nonmutating set { base.storeBytes(of: UInt32(truncatingIfNeeded: newValue), as: UInt32.self) }
  }
  func bytes(_ index: Int) -> UnsafeMutableRawPointer {
    location(base.load(fromByteOffset: 8 + index * 16, as: UInt64.self))
  }
  func size(_ index: Int) -> Int { Int(base.load(fromByteOffset: 16 + index * 16, as: UInt32.self)) }
  func pageOffset(_ index: Int) -> Int { Int(base.load(fromByteOffset: 20 + index * 16, as: UInt32.self)) }
  func set(_ index: Int, _ bytes: UnsafeMutableRawPointer, size: Int, pageOffset: Int) {
    base.storeBytes(of: value(of: bytes), toByteOffset: 8 + index * 16, as: UInt64.self)
    base.storeBytes(of: UInt32(truncatingIfNeeded: size), toByteOffset: 16 + index * 16, as: UInt32.self)
    base.storeBytes(of: UInt32(truncatingIfNeeded: pageOffset), toByteOffset: 20 + index * 16, as: UInt32.self)
  }
}

/// What `bpf_skb_set_tunnel_key` and `bpf_skb_set_tunnel_opt` left with a packet.
struct TunnelBlock {
  let base: UnsafeMutableRawPointer
  static let maximumOptions = 255

  private func load<T: BitwiseCopyable>(_ offset: Int) -> T { base.load(fromByteOffset: offset, as: T.self) }
  private func store<T: BitwiseCopyable>(_ offset: Int, _ value: T) {
    base.storeBytes(of: value, toByteOffset: offset, as: T.self)
  }
  var isSet: Bool {
    get { load(0) as UInt32 != 0 }
    nonmutating set { store(0, UInt32(newValue ? 1 : 0)) }
  }
  var isIPv6: Bool {
    get { load(4) as UInt32 != 0 }
    nonmutating set { store(4, UInt32(newValue ? 1 : 0)) }
  }
  var id: UInt64 {
    get { load(8) }
    nonmutating set { store(8, newValue) }
  }
  var typeOfService: UInt8 {
    get { load(16) }
    nonmutating set { store(16, newValue) }
  }
  var timeToLive: UInt8 {
    get { load(17) }
    nonmutating set { store(17, newValue) }
  }
  /// Bits of `TUNNEL_…`.
  var flags: UInt16 {
    get { load(18) }
    nonmutating set { store(18, newValue) }
  }
  var label: UInt32 {
    get { load(20) }
    nonmutating set { store(20, newValue) }
  }
  /// 16 bytes each, in the order of the program's structure.
  var source: UnsafeMutableRawPointer { base + 24 }
  var destination: UnsafeMutableRawPointer { base + 40 }
  var optionLength: Int {
    get { Int(load(56) as UInt32) }
    nonmutating set { store(56, UInt32(truncatingIfNeeded: newValue)) }
  }
  var options: UnsafeMutableRawPointer { base + 64 }

  func clear() { base.initializeMemory(as: UInt8.self, repeating: 0, count: 64) }
}
