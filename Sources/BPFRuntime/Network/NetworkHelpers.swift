import BPFLinux
import CBPFRuntime

/// The helpers about packets and sockets, by number.
///
/// Where the same number means another helper to XDP, tc and flow dissectors, the function looks at the context.
public enum NetworkHelpers {
  public static let table: [UInt32: RuntimeFunction] = {
    let functions: [(HelperID, PacketFunction)] = [
      (.skbStoreBytes, SocketBufferHelpers.storeBytes),
      (.skbLoadBytes, SocketBufferHelpers.loadBytes),
      (.skbLoadBytesRelative, SocketBufferHelpers.loadBytesRelative),
      (.skbPullData, SocketBufferHelpers.pullData),
      (.l3CsumReplace, SocketBufferHelpers.replaceNetworkChecksum),
      (.l4CsumReplace, SocketBufferHelpers.replaceTransportChecksum),
      (.csumDiff, SocketBufferHelpers.checksumDifference),
      (.csumUpdate, SocketBufferHelpers.updateChecksum),
      (.csumLevel, SocketBufferHelpers.checksumLevel),
      (.skbChangeType, SocketBufferHelpers.changeType),
      (.getHashRecalc, SocketBufferHelpers.hash),
      (.setHash, SocketBufferHelpers.setHash),
      (.setHashInvalid, SocketBufferHelpers.invalidateHash),
      (.skbSetTstamp, SocketBufferHelpers.setTimestamp),
      (.skbEcnSetCe, SocketBufferHelpers.markCongestion),
      (.skbChangeProto, SocketBufferShape.changeProtocol),
      (.skbAdjustRoom, SocketBufferShape.adjustRoom),
      (.skbChangeTail, SocketBufferShape.changeTail),
      (.skbChangeHead, SocketBufferShape.changeHead),
      (.skbVlanPush, SocketBufferShape.pushVLAN),
      (.skbVlanPop, SocketBufferShape.popVLAN),
      (.lwtPushEncap, SocketBufferShape.pushEncapsulation),
      (.lwtSeg6StoreBytes, SocketHelpers.invalid),
      (.lwtSeg6AdjustSrh, SocketHelpers.invalid),
      (.lwtSeg6Action, SocketHelpers.invalid),

      (.xdpAdjustHead, XDPHelpers.adjustHead),
      (.xdpAdjustTail, XDPHelpers.adjustTail),
      (.xdpAdjustMeta, XDPHelpers.adjustMeta),
      (.xdpGetBuffLen, XDPHelpers.bufferLength),
      (.xdpLoadBytes, XDPHelpers.loadBytes),
      (.xdpStoreBytes, XDPHelpers.storeBytes),
      (.redirectMap, XDPHelpers.redirectMap),

      (.perfEventOutput, PacketOutput.perfEvent),
      (.redirect, SocketHelpers.redirect),
      (.redirectPeer, SocketHelpers.redirectPeer),
      (.redirectNeigh, SocketHelpers.redirectNeighbour),
      (.cloneRedirect, SocketHelpers.cloneRedirect),
      (.checkMtu, SocketHelpers.checkMTU),
      (.fibLookup, SocketHelpers.routeLookup),
      (.getRouteRealm, SocketHelpers.nothing),
      (.skbGetXfrmState, SocketHelpers.transformState),
      (.skbGetTunnelKey, SocketHelpers.getTunnelKey),
      (.skbSetTunnelKey, SocketHelpers.setTunnelKey),
      (.skbGetTunnelOpt, SocketHelpers.getTunnelOptions),
      (.skbSetTunnelOpt, SocketHelpers.setTunnelOptions),

      (.getSocketCookie, SocketHelpers.cookie),
      (.getNetnsCookie, SocketHelpers.namespaceCookie),
      (.getSocketUid, SocketHelpers.nothing),
      (.getCgroupClassid, SocketHelpers.nothing),
      (.skbCgroupClassid, SocketHelpers.nothing),
      (.skbUnderCgroup, SocketHelpers.underCgroup),
      (.skbCgroupId, SocketHelpers.cgroup),
      (.skCgroupId, SocketHelpers.cgroup),
      (.skbAncestorCgroupId, SocketHelpers.ancestorCgroup),
      (.skAncestorCgroupId, SocketHelpers.ancestorCgroup),
      (.skLookupTcp, SocketHelpers.nothing),
      (.skLookupUdp, SocketHelpers.nothing),
      (.skcLookupTcp, SocketHelpers.nothing),
      (.skRelease, SocketHelpers.nothing),
      (.skFullsock, SocketHelpers.same),
      (.tcpSock, SocketHelpers.tcpSocket),
      (.getListenerSock, SocketHelpers.nothing),
      (.skAssign, SocketHelpers.assign),
      (.skcToTcpSock, SocketHelpers.nothing),
      (.skcToTcp6Sock, SocketHelpers.nothing),
      (.skcToTcpTimewaitSock, SocketHelpers.nothing),
      (.skcToTcpRequestSock, SocketHelpers.nothing),
      (.skcToUdp6Sock, SocketHelpers.nothing),
      (.skcToUnixSock, SocketHelpers.nothing),
      (.skcToMptcpSock, SocketHelpers.nothing),

      (.tcpCheckSyncookie, SocketHelpers.invalid),
      (.tcpGenSyncookie, SocketHelpers.invalid),
      (.tcpRawGenSyncookieIpv4, SynCookies.generateIPv4),
      (.tcpRawGenSyncookieIpv6, SynCookies.generateIPv6),
      (.tcpRawCheckSyncookieIpv4, SynCookies.checkIPv4),
      (.tcpRawCheckSyncookieIpv6, SynCookies.checkIPv6),
    ]
    return Dictionary(
      functions.map { (UInt32(bitPattern: $0.0.rawValue), RuntimeFunction($0.1)) }, uniquingKeysWith: { $1 })
  }()
}

/// The kernel functions about packets, by name.
public enum NetworkKfuncs {
  public static let table: [String: RuntimeFunction] = [
    "bpf_dynptr_from_skb": RuntimeFunction(PacketDynptr.fromSocketBuffer),
    "bpf_dynptr_from_skb_meta": RuntimeFunction(PacketDynptr.fromMetadata),
    "bpf_dynptr_from_xdp": RuntimeFunction(PacketDynptr.fromXDP),
    "bpf_xdp_pull_data": RuntimeFunction(XDPHelpers.pullData),
    "bpf_xdp_metadata_rx_timestamp": RuntimeFunction(XDPHelpers.noMetadata),
    "bpf_xdp_metadata_rx_hash": RuntimeFunction(XDPHelpers.noMetadata),
    "bpf_xdp_metadata_rx_vlan_tag": RuntimeFunction(XDPHelpers.noMetadata),
  ]
}

/// Dynptrs of packets: `struct bpf_dynptr_kern`, whose data is the context's block.
///
///     0..7 address   8..11 size, type in bits 28 to 30, read-only in bit 31   12..15 offset
enum PacketDynptr {
  static let socketBuffer: UInt32 = 3
  static let xdp: UInt32 = 4
  static let metadata: UInt32 = 5
  private static let typeShift: UInt32 = 28
  private static let readOnly: UInt32 = 1 << 31

  /// The context is asked of the run: netfilter's programs pass a kernel object instead.
  private static func make(
    _ run: UnsafeMutablePointer<skep_run>, _ flags: UInt64, _ dynptr: UInt64, _ type: UInt32, _ kind: UInt32
  ) -> UInt64 {
    let place = location(dynptr)
    place.initializeMemory(as: UInt8.self, repeating: 0, count: 16)
    guard flags == 0 else { return int32(-Int(Errno.EINVAL.rawValue)) }
    guard let context = run.pointee.context, PacketBlock(context).kind == kind else {
      return int32(-Int(Errno.EOPNOTSUPP.rawValue))
    }
    let size = type == metadata ? 0 : UInt32(truncatingIfNeeded: PacketAccess.size(value(of: context)))
    place.storeBytes(of: value(of: context), as: UInt64.self)
    let isReadOnly = type == socketBuffer && !PacketBlock(context).isWritable
    place.storeBytes(of: size | type << typeShift | (isReadOnly ? readOnly : 0), toByteOffset: 8, as: UInt32.self)
    return 0
  }

  static let fromSocketBuffer: PacketFunction = { _, flags, dynptr, _, _, run in
    make(run, flags, dynptr, socketBuffer, PacketBlock.Kind.socketBuffer)
  }
  static let fromMetadata: PacketFunction = { _, flags, dynptr, _, _, run in
    make(run, flags, dynptr, metadata, PacketBlock.Kind.socketBuffer)
  }
  static let fromXDP: PacketFunction = { _, flags, dynptr, _, _, run in
    make(run, flags, dynptr, xdp, PacketBlock.Kind.xdp)
  }
}
