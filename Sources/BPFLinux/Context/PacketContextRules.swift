/// Contexts that lead to a packet without being a `__sk_buff`.
enum PacketContextRules {
  /// `struct xdp_md`: six words, loaded whole, never written.
  static func xdp(_ request: ContextRequest, attachType: AttachType) -> ContextAccess? {
    guard request.isRead else { return nil }
    let result: RegisterType
    switch request.offset {
    case 0: result = .packet
    case 4: result = .packetEnd
    case 8: result = .packetMeta
    case 20 where attachType != .xdpDevmap: return nil  // egress_ifindex
    default: result = .scalar
    }
    if request.signExtending, result != .scalar { return nil }
    guard request.lies(in: 24), request.isAligned else { return nil }
    return request.exactly(4, result)
  }

  /// `struct sk_msg_md`.
  static func socketMessage(_ request: ContextRequest) -> ContextAccess? {
    guard request.isRead, request.isAligned else { return nil }
    switch request.offset {
    case 0..<8: return request.exactly(8, .packet)
    case 8..<16: return request.exactly(8, .packetEnd)
    case 16..<72: return request.exactly(4)
    case 72..<80: return request.exactly(8, .socket)
    default: return nil
    }
  }

  /// `struct sk_reuseport_md`.
  static func reuseport(_ request: ContextRequest) -> ContextAccess? {
    guard request.lies(in: 56), request.isAligned, request.isRead else { return nil }
    switch request.offset {
    case 0: return request.exactly(8, .packet)
    case 8: return request.exactly(8, .packetEnd)
    case 20..<24: return request.size < 2 ? nil : request.narrow(4)  // eth_protocol, of two bytes in the kernel
    case 16..<32: return request.narrow(4)
    case 32: return request.exactly(4)
    case 40: return request.exactly(8, .socket)
    case 48: return request.exactly(8, .sockCommon | .mayBeNull)
    default: return nil
    }
  }

  /// `struct bpf_nf_ctx`: two kernel pointers.
  static func netfilter(_ request: ContextRequest, hasTypes: Bool) -> ContextAccess? {
    guard request.lies(in: 16), request.isAligned, request.isRead, request.size == 8, hasTypes else { return nil }
    return ContextAccess(.btfID | .trusted, btfTypeName: request.offset < 8 ? "nf_hook_state" : "sk_buff")
  }
}
