import BPFLinux
import CBPFRuntime

/// `int` results of kernel functions, as registers hold them: programs see 32 bits.
@inline(__always) func int32(_ value: Int) -> UInt64 { UInt64(UInt32(truncatingIfNeeded: value)) }
/// Results of helpers: 64 bits.
@inline(__always) func result(_ value: Int) -> UInt64 { UInt64(bitPattern: Int64(value)) }
@inline(__always) func failure(_ errno: Errno) -> UInt64 { UInt64(bitPattern: -Int64(errno.rawValue)) }
@inline(__always) func int(_ value: UInt64) -> Int { Int(Int32(truncatingIfNeeded: value)) }

/// The bytes of a packet by their offset, wherever they lie: for helpers and for dynptrs.
///
/// Contexts are named by what register 1 held: the address of their block.
public enum PacketAccess {
  /// Bytes of the packet that `context` has.
  public static func size(_ context: UInt64) -> Int {
    let packet = PacketBlock(context)
    return packet.linearSize + (packet.kind == PacketBlock.Kind.xdp ? Int(packet.fragmentedSize) : 0)
  }

  /// Where `length` bytes lie in one piece; nil where they do not. `size` of the packet has been checked.
  static func piece(_ packet: PacketBlock, _ offset: Int, _ length: Int) -> UnsafeMutableRawPointer? {
    let linear = packet.linearSize
    if offset < linear || packet.fragmentedSize == 0 {
      return offset + length <= linear ? packet.bytes + offset : nil
    }
    var rest = offset - linear
    let table = packet.fragments
    for index in 0..<table.count {
      if rest < table.size(index) {
        return rest + length <= table.size(index) ? table.bytes(index) + rest : nil
      }
      rest -= table.size(index)
    }
    return nil
  }

  /// Copies over the borders of fragments.
  static func copy(
    _ packet: PacketBlock, _ offset: Int, _ buffer: UnsafeMutableRawPointer, _ length: Int, store: Bool
  ) {
    var done = 0
    var start = 0
    func take(_ bytes: UnsafeMutableRawPointer, _ size: Int) {
      defer { start += size }
      let from = offset + done - start
      guard done < length, from >= 0, from < size else { return }
      let count = min(length - done, size - from)
      if store {
        (bytes + from).copyMemory(from: buffer + done, byteCount: count)
      } else {
        (buffer + done).copyMemory(from: bytes + from, byteCount: count)
      }
      done += count
    }
    take(packet.bytes, packet.linearSize)
    let table = packet.fragments
    for index in 0..<table.count { take(table.bytes(index), table.size(index)) }
  }

  /// `bpf_xdp_pointer`: nil where the bytes are not in one piece.
  static func checkedPiece(
    _ packet: PacketBlock, _ offset: Int, _ length: Int
  ) -> Result<UnsafeMutableRawPointer?, Errno> {
    guard offset <= 0xffff, length <= 0xffff else { return .failure(.EFAULT) }
    let size = packet.linearSize + Int(packet.fragmentedSize)
    guard offset + length <= size else { return .failure(.EINVAL) }
    return .success(piece(packet, offset, length))
  }

  /// Reads bytes of a packet, as `bpf_xdp_load_bytes` and `bpf_skb_load_bytes` do: 0 or a negative error number.
  public static func load(_ context: UInt64, _ offset: Int, _ to: UnsafeMutableRawPointer, _ length: Int) -> Int {
    let packet = PacketBlock(context)
    guard packet.kind == PacketBlock.Kind.xdp else {
      guard offset <= Int(Int32.max), offset + length <= packet.linearSize else {
        to.initializeMemory(as: UInt8.self, repeating: 0, count: length)
        return -Int(Errno.EFAULT.rawValue)
      }
      to.copyMemory(from: packet.bytes + offset, byteCount: length)
      return 0
    }
    switch checkedPiece(packet, offset, length) {
    case .failure(let errno): return -Int(errno.rawValue)
    case .success(let piece?): to.copyMemory(from: piece, byteCount: length)
    case .success(nil): copy(packet, offset, to, length, store: false)
    }
    return 0
  }

  /// Writes bytes of a packet, as `bpf_xdp_store_bytes` (which takes no flags) and `bpf_skb_store_bytes` do.
  public static func store(
    _ context: UInt64, _ offset: Int, _ from: UnsafeRawPointer, _ length: Int, flags: UInt64 = 0
  ) -> Int {
    let packet = PacketBlock(context)
    guard packet.kind == PacketBlock.Kind.xdp else {
      return SocketBufferHelpers.storeBytes(packet, offset, from, length, flags)
    }
    guard flags == 0 else { return -Int(Errno.EINVAL.rawValue) }
    switch checkedPiece(packet, offset, length) {
    case .failure(let errno): return -Int(errno.rawValue)
    case .success(let piece?): piece.copyMemory(from: from, byteCount: length)
    case .success(nil): copy(packet, offset, UnsafeMutableRawPointer(mutating: from), length, store: true)
    }
    return 0
  }

  /// A slice of a dynptr of a packet: where the bytes lie, or a copy of them in `buffer`; nil where they are in pieces
  /// and there is no buffer. That the bytes are in the dynptr has been checked.
  public static func slice(
    _ context: UInt64, _ offset: Int, _ length: Int, buffer: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    let packet = PacketBlock(context)
    guard packet.kind == PacketBlock.Kind.xdp else {
      return offset + length <= packet.linearSize ? packet.bytes + offset : nil
    }
    if case .success(let piece?) = checkedPiece(packet, offset, length) { return piece }
    guard let buffer else { return nil }
    copy(packet, offset, buffer, length, store: false)
    return buffer
  }

  // MARK: ld_abs and ld_ind

  /// What a load yields that leaves the packet: the program ends with 0.
  public static let outOfPacket = UInt64.max

  private static let linkLayer = -0x20_0000
  private static let networkLayer = -0x10_0000

  /// A legacy load of `size` bytes at `offset` (32 bits, signed; below zero relative to a header), in host order, or
  /// `outOfPacket`. Engines call it as a helper: context, offset, size.
  public static let legacyLoad: PacketFunction = { context, offset, size, _, _, _ in
    let packet = PacketBlock(context)
    let asked = int(offset)
    let length = Int(truncatingIfNeeded: size)
    var place = asked
    if asked < 0 {
      let data = Int(truncatingIfNeeded: packet.data &- packet.head)
      if asked >= networkLayer {
        place = asked - networkLayer + packet.networkHeader - data
      } else if asked >= linkLayer, packet.macHeader >= 0 {
        place = asked - linkLayer + packet.macHeader - data
      } else {
        return outOfPacket
      }
    }
    let low = -Int(truncatingIfNeeded: packet.data &- packet.head)
    guard place >= low, place + length <= packet.linearSize else { return outOfPacket }
    let bytes = UnsafeRawPointer(packet.bytes + place)
    switch length {
    case 1: return UInt64(bytes.load(as: UInt8.self))
    case 2: return UInt64(UInt16(bigEndian: bytes.loadUnaligned(as: UInt16.self)))
    default: return UInt64(UInt32(bigEndian: bytes.loadUnaligned(as: UInt32.self)))
    }
  }
}

/// A helper or kernel function as programs call it (`skep_function`).
public typealias PacketFunction = @convention(c) (
  UInt64, UInt64, UInt64, UInt64, UInt64, UnsafeMutablePointer<skep_run>
) -> UInt64
