/// A network interface that programs may name: by redirects, MTU checks, or as the one that a packet came in by.
public struct NetworkInterface: Sendable, Hashable {
  public var index: UInt32
  public var address: [UInt8]
  public var broadcast: [UInt8]
  public var mtu: UInt32
  public var receiveQueues: UInt32

  public init(
    index: UInt32, address: [UInt8], broadcast: [UInt8] = [255, 255, 255, 255, 255, 255], mtu: UInt32 = 1500,
    receiveQueues: UInt32 = 1
  ) {
    self.index = index
    self.address = address
    self.broadcast = broadcast
    self.mtu = mtu
    self.receiveQueues = receiveQueues
  }

  /// `lo`, which every network namespace has as its first.
  public static let loopback = NetworkInterface(
    index: 1, address: [0, 0, 0, 0, 0, 0], broadcast: [0, 0, 0, 0, 0, 0], mtu: 65536)
}

/// Interfaces as helpers read them: how many, then index and MTU of each.
struct InterfaceTable {
  let base: UnsafeMutableRawPointer
  /// Bytes of a link-layer header: all interfaces here are Ethernet's.
  static let headerLength = 14

  init(base: UnsafeMutableRawPointer) { self.base = base }

  static func allocate(_ interfaces: [NetworkInterface]) -> InterfaceTable {
    let table = InterfaceTable(base: .allocate(byteCount: 8 + interfaces.count * 8, alignment: 8))
    table.base.storeBytes(of: UInt64(interfaces.count), as: UInt64.self)
    for (number, it) in interfaces.enumerated() {
      table.base.storeBytes(of: it.index, toByteOffset: 8 + number * 8, as: UInt32.self)
      table.base.storeBytes(of: it.mtu, toByteOffset: 12 + number * 8, as: UInt32.self)
    }
    return table
  }

  func deallocate() { base.deallocate() }

  /// The MTU of an interface; nil where there is no such interface.
  func mtu(_ index: UInt32) -> UInt32? {
    for number in 0..<Int(base.load(as: UInt64.self))
    where base.load(fromByteOffset: 8 + number * 8, as: UInt32.self) == index {
      return base.load(fromByteOffset: 12 + number * 8, as: UInt32.self)
    }
    return nil
  }
}
