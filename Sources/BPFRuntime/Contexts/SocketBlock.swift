/// A socket as programs see it: `struct bpf_sock`, behind it what helpers need.
///
/// The socket that test runs give to a packet: of the packet's family, closed, owned by root.
struct SocketBlock {
  let base: UnsafeMutableRawPointer
  static let byteCount = 128
  /// Where the queue mapping lies that programs load: 64 bits, -1 where there is none.
  static let queueMapping = 80
  private static let closed: UInt32 = 7

  func reset() {
    base.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
    base.storeBytes(of: Self.closed, toByteOffset: 72, as: UInt32.self)
    base.storeBytes(of: UInt32.max, toByteOffset: 76, as: UInt32.self)
    base.storeBytes(of: UInt64.max, toByteOffset: Self.queueMapping, as: UInt64.self)
  }

  var family: UInt32 {
    get { base.load(fromByteOffset: 4, as: UInt32.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 4, as: UInt32.self) }
  }
  var protocolNumber: UInt32 { base.load(fromByteOffset: 12, as: UInt32.self) }
  /// 4 bytes each.
  var localIPv4: UnsafeMutableRawPointer { base + 24 }
  var remoteIPv4: UnsafeMutableRawPointer { base + 52 }
  /// 16 bytes each.
  var localIPv6: UnsafeMutableRawPointer { base + 28 }
  var remoteIPv6: UnsafeMutableRawPointer { base + 56 }
  /// 0 until somebody asked for it.
  var cookie: UInt64 {
    get { base.load(fromByteOffset: 96, as: UInt64.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 96, as: UInt64.self) }
  }
}
