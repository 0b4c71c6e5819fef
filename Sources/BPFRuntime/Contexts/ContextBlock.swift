import BPFLinux
import BPFVerifier

/// Where accesses to a context go in its block.
///
/// Most fields lie where `struct __sk_buff` and its like have them. Fields of 32 bits that stand for a pointer are
/// 64-bit values behind the structure, and fields that the kernel keeps in 16 bits are stored as 16.
public enum ContextBlock {
  /// What becomes of an access.
  public enum Access: Sendable, Hashable {
    /// A load or store of `size` bytes at `offset`. A load of 8 bytes in place of one of 4 gives a pointer.
    case memory(offset: Int, size: Int)
    /// A store that Linux drops: nothing happens.
    case dropped
    /// A store of `size` bytes at `offset` that is left out where the register (64 bits, unsigned) is at least `limit`.
    case storeBelow(limit: UInt64, offset: Int, size: Int)
    /// A field that only the kernel has.
    case unsupported(String)
  }

  /// Where what the structures have no room for begins.
  public static let extensionOffset = 256
  /// Bytes of a packet's block.
  public static let packetSize = 768

  static let data = 256
  static let dataEnd = 264
  static let dataMeta = 272

  /// The place of an access.
  ///
  /// - Parameters:
  ///   - object: what the pointer points to; `.context`, `.socket`, `.tcpSocket` or `.xdpSocket`.
  ///   - immediate: of a store of an immediate, its value.
  public static func access(
    _ object: AccessedObject, of type: ProgramType, offset: Int, size: Int, isStore: Bool, immediate: Int32? = nil
  ) -> Access {
    if object == .socket || object == .context && type == .cgroupSock {
      return socket(offset, size)
    }
    guard object == .context else { return .memory(offset: offset, size: size) }
    switch type {
    case .xdp: return metadata(offset, size)
    case .socketFilter, .schedCls, .schedAct, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local, .skSkb,
      .flowDissector:
      return socketBuffer(offset, size, isStore: isStore, immediate: immediate)
    case .cgroupSockAddr where isStore && offset == 24: return .memory(offset: offset, size: min(size, 2))
    default: return .memory(offset: offset, size: size)
    }
  }

  private static func metadata(_ offset: Int, _ size: Int) -> Access {
    switch offset {
    case 0 where size == 4: .memory(offset: data, size: 8)
    case 4 where size == 4: .memory(offset: dataEnd, size: 8)
    case 8 where size == 4: .memory(offset: dataMeta, size: 8)
    default: .memory(offset: offset, size: size)
    }
  }

  /// `struct bpf_sock`: without a queue, all 64 bits of what is loaded are set.
  private static func socket(_ offset: Int, _ size: Int) -> Access {
    offset == 76 && size == 4
      ? .memory(offset: SocketBlock.queueMapping, size: 8) : .memory(offset: offset, size: size)
  }

  private static func socketBuffer(_ offset: Int, _ size: Int, isStore: Bool, immediate: Int32?) -> Access {
    switch offset {
    case 76 where size == 4: return .memory(offset: data, size: 8)
    case 80 where size == 4: return .memory(offset: dataEnd, size: 8)
    case 140 where size == 4: return .memory(offset: dataMeta, size: 8)
    // queue_mapping: what cannot be a queue is ignored.
    case 12 where isStore:
      guard let immediate else { return .storeBelow(limit: 0xffff, offset: offset, size: 2) }
      return immediate >= 0xffff ? .dropped : .memory(offset: offset, size: 2)
    // tc_index and tc_classid have 16 bits.
    case 44 where isStore, 72 where isStore: return .memory(offset: offset, size: min(size, 2))
    default: return .memory(offset: offset, size: size)
    }
  }
}
