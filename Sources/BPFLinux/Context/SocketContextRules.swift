/// Contexts that are about a socket.
enum SocketContextRules {
  /// `struct bpf_sock` as the context of socket create, release and post-bind hooks.
  static func socketHook(_ request: ContextRequest, attachType: AttachType) -> ContextAccess? {
    guard let result = SocketRules.socket(request) else { return nil }
    switch request.offset {
    case SocketField.boundDevice, SocketField.mark, SocketField.priority:
      return attachType == .cgroupInetSockCreate || attachType == .cgroupInetSockRelease ? result : nil
    case SocketField.sourceIP4:
      guard attachType == .cgroupInet4PostBind else { return nil }
    case SocketField.sourceIP6:
      guard attachType == .cgroupInet6PostBind else { return nil }
    case SocketField.sourcePortBytes:
      guard attachType == .cgroupInet4PostBind || attachType == .cgroupInet6PostBind else { return nil }
    default:
      break
    }
    return request.isRead ? result : nil
  }

  /// `struct bpf_sock_addr`: address fields belong to the family of the attach type.
  static func address(_ request: ContextRequest, attachType: AttachType) -> ContextAccess? {
    guard request.lies(in: 72), request.isAligned else { return nil }
    switch request.offset {
    case 4..<8:  // user_ip4
      switch attachType {
      case .cgroupInet4Bind, .cgroupInet4Connect, .cgroupInet4Getpeername, .cgroupInet4Getsockname,
        .cgroupUdp4Sendmsg, .cgroupUdp4Recvmsg:
        return addressField(request)
      default: return nil
      }
    case 8..<24:  // user_ip6
      switch attachType {
      case .cgroupInet6Bind, .cgroupInet6Connect, .cgroupInet6Getpeername, .cgroupInet6Getsockname,
        .cgroupUdp6Sendmsg, .cgroupUdp6Recvmsg:
        return addressField(request)
      default: return nil
      }
    case 24..<28:  // user_port
      return addressField(request)
    case 40..<44:  // msg_src_ip4
      return attachType == .cgroupUdp4Sendmsg ? addressField(request) : nil
    case 44..<60:  // msg_src_ip6
      return attachType == .cgroupUdp6Sendmsg ? addressField(request) : nil
    case 64..<72:
      return request.isRead ? request.exactly(8, .socket) : nil
    case 0..<4, 28..<40:  // user_family; family, type, protocol
      return request.isRead ? request.exactly(4) : nil
    default:
      return nil
    }
  }

  /// Words that may be loaded in part, and two at a time within an IPv6 address.
  private static func addressField(_ request: ContextRequest) -> ContextAccess? {
    let offset = request.offset
    if request.size == 8, (offset >= 8 && offset <= 16) || (offset >= 44 && offset <= 52) {
      return ContextAccess(fieldSize: request.isRead ? 4 : 0)
    }
    return request.isRead ? request.narrow(4) : request.exactly(4)
  }

  /// `struct bpf_sock_ops`.
  static func operations(_ request: ContextRequest) -> ContextAccess? {
    guard request.lies(in: 224), request.isAligned else { return nil }
    if request.isWrite {
      // reply, sk_txhash
      return request.offset == 4 || request.offset == 164 ? request.exactly(4) : nil
    }
    switch request.offset {
    case 168..<184: return request.exactly(8)  // bytes_received, bytes_acked
    case 184..<192: return request.exactly(8, .socket | .mayBeNull)
    case 192..<200: return request.exactly(8, .packet)
    case 200..<208: return request.exactly(8, .packetEnd)
    case 212: return request.narrow(4)  // skb_tcp_flags
    case 216..<224: return request.exactly(8)  // skb_hwtstamp
    default: return request.exactly(4)
    }
  }

  /// `struct bpf_sk_lookup`.
  static func lookup(_ request: ContextRequest) -> ContextAccess? {
    guard request.lies(in: 72), request.isAligned, request.isRead else { return nil }
    switch request.offset {
    case 0..<8: return request.exactly(8, .socket | .mayBeNull)
    case 36..<38: return request.exactly(4) ?? request.narrow(2)  // remote_port, once a word
    case 38..<40: return request.narrow(2)  // the zeros that were its other half
    case 8..<68: return request.narrow(4)
    default: return nil
    }
  }

  /// `struct bpf_sockopt`: what may be written, and whether there is a result, depends on the direction.
  static func option(_ request: ContextRequest, attachType: AttachType) -> ContextAccess? {
    guard request.lies(in: 40), request.isAligned else { return nil }
    if request.isWrite {
      switch request.offset {
      case 24, 28: return attachType == .cgroupSetsockopt ? request.exactly(4) : nil  // level, optname
      case 32: return request.exactly(4)  // optlen
      case 36: return attachType == .cgroupGetsockopt ? request.exactly(4) : nil  // retval
      default: return nil
      }
    }
    switch request.offset {
    case 0..<8: return request.exactly(8, .socket)
    case 8..<16: return request.exactly(8, .packet)
    case 16..<24: return request.exactly(8, .packetEnd)
    case 36..<40: return attachType == .cgroupGetsockopt ? request.exactly(4) : nil
    default: return request.exactly(4)
    }
  }
}

/// Offsets of `struct bpf_sock`.
enum SocketField {
  static let size: Int32 = 80
  static let boundDevice: Int32 = 0
  static let family: Int32 = 4
  static let type: Int32 = 8
  static let `protocol`: Int32 = 12
  static let mark: Int32 = 16
  static let priority: Int32 = 20
  static let sourceIP4: Range<Int32> = 24..<28
  static let sourceIP6: Range<Int32> = 28..<44
  static let sourcePort: Int32 = 44
  static let sourcePortBytes: Range<Int32> = 44..<48
  static let destinationPort: Range<Int32> = 48..<50
  static let padding: Range<Int32> = 50..<52
  /// `dst_ip4` and `dst_ip6`.
  static let destinationIP: Range<Int32> = 52..<72
  static let state: Int32 = 72
  static let receiveQueue: Int32 = 76
  /// `type` to `priority`: known of full sockets only.
  static let fullSocketOnly: Range<Int32> = 8..<24
}

/// What may be read through pointers to sockets (`bpf_sock`, `bpf_tcp_sock`, `bpf_xdp_sock`).
public enum SocketRules {
  /// - Parameter kind: base type of the pointer: `.socket`, `.sockCommon`, `.tcpSock` or `.xdpSock`.
  /// - Returns: nil where the access is refused (`R%d invalid %s access off=%d size=%d`).
  public static func access(
    kind: RegisterType, offset: Int32, size: Int32, type: AccessType
  ) -> ContextAccess? {
    guard size > 0 else { return nil }
    let request = ContextRequest(offset: offset, size: size, type: type, signExtending: false)
    switch kind {
    case .socket:
      return socket(request)
    case .sockCommon:
      return SocketField.fullSocketOnly.contains(offset) ? nil : socket(request)
    case .tcpSock:
      guard request.lies(in: 112), request.isAligned else { return nil }
      switch offset {
      case 80, 88: return request.exactly(8)  // bytes_received, bytes_acked
      case 84, 92:  // their upper halves
        var result = request.exactly(4)
        result?.failsConversion = true
        return result
      default: return request.exactly(4)
      }
    case .xdpSock:
      guard request.lies(in: 4), request.isAligned else { return nil }
      return request.exactly(4)
    default:
      return nil
    }
  }

  static func socket(_ request: ContextRequest) -> ContextAccess? {
    guard request.lies(in: SocketField.size), request.isAligned else { return nil }
    switch request.offset {
    case SocketField.state, SocketField.family, SocketField.type, SocketField.protocol, SocketField.sourcePort,
      SocketField.receiveQueue, SocketField.sourceIP4, SocketField.sourceIP6, SocketField.destinationIP:
      return request.narrow(4)
    case SocketField.destinationPort:
      return request.narrow(request.size == 4 ? 4 : 2)
    case SocketField.padding:
      return nil
    default:
      return request.exactly(4)
    }
  }
}
