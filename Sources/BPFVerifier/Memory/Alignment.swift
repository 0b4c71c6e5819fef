import BPFISA
import BPFLinux

// Natural alignment of accesses.

extension Verification {
  /// The packet data's distance from a word boundary that strict alignment reckons with (`NET_IP_ALIGN`).
  private static let packetAlignment: Int32 = 2

  /// Checks that an access at `register + offset` is naturally aligned, where that is asked for: everywhere in strict
  /// mode, else for the stack, whose slots are tracked by it.
  @inline(__always)
  func checkPointerAlignment(
    _ r: RegisterRef, offset: Int32, size: Int32, strictOnce: Bool
  ) throws(Refusal) {
    let isStrict = strictAlignment || strictOnce || r.pointee.type == .stack
    if !isStrict || size == 1 || r.pointee.type == .arena { return }
    let isPacket = r.pointee.type == .packet || r.pointee.type == .packetMeta
    let fixed = (isPacket ? Self.packetAlignment : 0) &+ r.pointee.offset &+ offset
    if r.pointee.isConstant {
      let address = r.pointee.bits.value &+ UInt64(bitPattern: Int64(fixed))
      if address & UInt64(size &- 1) == 0 { return }
    } else {
      let address = r.pointee.bits + Tnum(constant: UInt64(bitPattern: Int64(fixed)))
      if address.isAligned(to: UInt64(size)) { return }
    }
    throw misaligned(r, offset: offset, size: size, isPacket: isPacket)
  }

  @inline(never)
  private func misaligned(_ r: RegisterRef, offset: Int32, size: Int32, isPacket: Bool) -> Refusal {
    let bits = tnumText(r.pointee.bits)
    if isPacket {
      return refuse(
        .EACCES, .misaligned,
        "misaligned packet access off \(Self.packetAlignment)+\(bits)+\(r.pointee.offset)+\(offset) size \(size)\n")
    }
    let pointer =
      switch r.pointee.type {
      case .flowKeys: "flow keys "
      case .mapKey: "key "
      case .mapValue: "value "
      case .context: "context "
      case .stack: "stack "
      case .socket: "sock "
      case .sockCommon: "sock_common "
      case .tcpSock: "tcp_sock "
      case .xdpSock: "xdp_sock "
      default: ""
      }
    return refuse(
      .EACCES, .misaligned,
      "misaligned \(pointer)access off \(bits)+\(r.pointee.offset)+\(offset) size \(size)\n")
  }
}
