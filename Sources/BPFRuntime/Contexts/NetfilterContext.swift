import BPFLinux
import BTF

/// A packet at a netfilter hook (`struct bpf_nf_ctx`): programs get the hook's state and the packet as objects of the
/// kernel. They are laid out here as the kernel's types say, as far as a test run fills them in.
public final class NetfilterContext: RunContext, @unchecked Sendable {
  static let stateSize = 48
  /// Hooks of a packet's way (`NF_INET_…`).
  enum Hook {
    static let preRouting: UInt8 = 0
    static let localIn: UInt8 = 1
    static let forward: UInt8 = 2
    static let localOut: UInt8 = 3
  }

  private let packetContext: SocketBufferContext
  private let state: UnsafeMutableRawPointer
  private let device: KernelImage
  private let image: KernelImage

  /// - Parameter linux: whose types the objects have.
  public init(_ linux: Linux, interfaces: [NetworkInterface] = [.loopback]) {
    packetContext = SocketBufferContext(type: .netfilter, interfaces: interfaces)
    state = .allocate(byteCount: Self.stateSize, alignment: 8)
    state.initializeMemory(as: UInt8.self, repeating: 0, count: Self.stateSize)
    device = KernelImage(linux.btf, "net_device")
    image = KernelImage(linux.btf, "sk_buff")
    super.init(type: .netfilter, blockSize: ContextBlock.packetSize)
    block.storeBytes(of: value(of: state), as: UInt64.self)
    block.storeBytes(of: value(of: image.base), toByteOffset: 8, as: UInt64.self)
    device.set("ifindex", UInt64(interfaces.first?.index ?? 1))
    device.set("mtu", UInt64(interfaces.first?.mtu ?? 65536))
  }

  deinit { state.deallocate() }

  /// Takes the next packet.
  ///
  /// - Returns: what is wrong with it; nil where nothing is.
  func reset(_ bytes: UnsafeRawBufferPointer, hook: UInt8, family: UInt8) -> Errno? {
    if hook == Hook.localOut {
      packetContext.resetNetwork(bytes, protocolNumber: UInt16(family == 2 ? 0x0800 : 0x86dd).bigEndian)
    } else {
      guard bytes.count >= 34 else { return .EINVAL }
      packetContext.reset(bytes)
      switch UInt16(bigEndian: PacketBlock(packetContext.block).protocolNumber) {
      case 0x0800: guard family == 2 else { return .EINVAL }
      case 0x86dd: guard bytes.count >= 54, family == 10 else { return .EINVAL }
      default: return .EPROTO
      }
    }
    let packet = PacketBlock(packetContext.block)
    // What helpers need of a packet lies behind the structure in every block.
    (block + ContextBlock.extensionOffset).copyMemory(
      from: packetContext.block + ContextBlock.extensionOffset,
      byteCount: ContextBlock.packetSize - ContextBlock.extensionOffset)
    state.initializeMemory(as: UInt8.self, repeating: 0, count: Self.stateSize)
    state.storeBytes(of: hook, as: UInt8.self)
    state.storeBytes(of: family, toByteOffset: 1, as: UInt8.self)
    // The kernel fills in the interfaces by the hook that it begins with, which is the output's.
    state.storeBytes(of: value(of: device.base), toByteOffset: 16, as: UInt64.self)
    image.clear()
    image.set("len", UInt64(packet.linearSize))
    image.set("data", packet.data)
    image.set("head", packet.head)
    image.set("tail", packet.dataEnd &- packet.head)
    image.set("end", packet.limit &- packet.head)
    image.set("protocol", UInt64(packet.protocolNumber))
    image.set("network_header", UInt64(truncatingIfNeeded: packet.networkHeader))
    image.set("mac_header", UInt64(truncatingIfNeeded: packet.macHeader))
    image.set("transport_header", 0xffff)
    if hook != Hook.localOut { image.set("dev", value(of: device.base)) }
    return nil
  }
}

/// Memory laid out as a structure of the kernel.
final class KernelImage {
  let base: UnsafeMutableRawPointer
  let size: Int
  private let types: BTF?
  private let id: TypeID

  /// A structure of zeros; bytes enough where the types are not known.
  init(_ types: BTF?, _ name: String) {
    self.types = types
    id = types?.find(name, kind: .structure) ?? 0
    size = id == 0 ? 4096 : Int(types?.type(id).size ?? 4096)
    base = .allocate(byteCount: size + 8, alignment: 64)
    clear()
  }

  deinit { base.deallocate() }

  func clear() { base.initializeMemory(as: UInt8.self, repeating: 0, count: size + 8) }

  /// Sets a field, also of an anonymous structure within; none where there is no such field.
  func set(_ name: String, _ value: UInt64) {
    guard let types, id != 0, let (offset, width) = Self.find(types, id, name), offset + width <= size else { return }
    for byte in 0..<min(width, 8) {
      base.storeBytes(of: UInt8(truncatingIfNeeded: value >> (byte * 8)), toByteOffset: offset + byte, as: UInt8.self)
    }
  }

  private static func find(_ types: BTF, _ id: TypeID, _ name: String) -> (offset: Int, size: Int)? {
    for member in types.members(id) {
      let offset = Int(member.bitOffset / 8)
      if types.stringEquals(member.nameOffset, name) {
        return (offset, Int(types.resolveSize(member.typeID) ?? 0))
      }
      let inner = types.skipModifiers(member.typeID)
      guard types.isEmptyString(member.nameOffset), types.kind(inner).isComposite else { continue }
      if let found = find(types, inner, name) { return (offset + found.offset, found.size) }
    }
    return nil
  }
}
