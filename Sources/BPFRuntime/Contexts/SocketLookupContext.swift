import BPFLinux

/// A look-up of the socket for a packet (`struct bpf_sk_lookup`).
public final class SocketLookupContext: RunContext, @unchecked Sendable {
  static let structSize = 72

  public init() {
    super.init(type: .skLookup, blockSize: ContextBlock.packetSize)
    PacketBlock(block).kind = PacketBlock.Kind.socketLookup
  }

  /// Takes the next look-up. Fields of the other address family are zero to the program.
  ///
  /// - Parameter bytes: the structure as user space fills it in.
  func reset(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Self.structSize, let source = bytes.baseAddress else { return }
    block.initializeMemory(as: UInt8.self, repeating: 0, count: Self.structSize)
    func copy(_ offset: Int, _ size: Int) {
      (block + offset).copyMemory(from: source + offset, byteCount: size)
    }
    let packet = PacketBlock(block)
    packet.store(8, UInt32(source.loadUnaligned(fromByteOffset: 8, as: UInt16.self)))
    packet.store(12, UInt32(source.loadUnaligned(fromByteOffset: 12, as: UInt16.self)))
    copy(36, 2)
    copy(60, 2)
    if packet.load(8, UInt32.self) == 2 {
      copy(16, 4)
      copy(40, 4)
    } else {
      copy(20, 16)
      copy(44, 16)
    }
  }

  /// The socket that the program chose; 0 for none.
  var selected: UInt64 {
    get { PacketBlock(block).load(0) }
    set { PacketBlock(block).store(0, newValue) }
  }
}
