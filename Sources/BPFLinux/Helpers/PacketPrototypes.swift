extension HelperPrototype {
  /// Packets: `__sk_buff`, XDP, messages, tunnels, routing; and infrared remotes. By number.
  static let packet: [HelperPrototype] = [
    HelperPrototype(.skbStoreBytes, returns: .integer, .context, .anything, .readOnlyMemory, .constSize, .anything),
    HelperPrototype(.l3CsumReplace, returns: .integer, .context, .anything, .anything, .anything, .anything),
    HelperPrototype(.l4CsumReplace, returns: .integer, .context, .anything, .anything, .anything, .anything),
    HelperPrototype(.cloneRedirect, returns: .integer, .context, .anything, .anything),
    HelperPrototype(.skbVlanPush, returns: .integer, .context, .anything, .anything),
    HelperPrototype(.skbVlanPop, returns: .integer, .context),
    HelperPrototype(.skbGetTunnelKey, returns: .integer, .context, .uninitializedMemory, .constSize, .anything),
    HelperPrototype(.skbSetTunnelKey, returns: .integer, .context, .readOnlyMemory, .constSize, .anything),
    HelperPrototype(.redirect, returns: .integer, .anything, .anything),
    HelperPrototype(.getRouteRealm, returns: .integer, .context),
    HelperPrototype(.skbLoadBytes, returns: .integer, .context, .anything, .uninitializedMemory, .constSize),
    HelperPrototype(
      .csumDiff, returns: .integer, .readOnlyMemoryOrNull, .constSizeOrZero, .readOnlyMemoryOrNull, .constSizeOrZero,
      .anything
    ).packet,
    HelperPrototype(.skbGetTunnelOpt, returns: .integer, .context, .uninitializedMemory, .constSize),
    HelperPrototype(.skbSetTunnelOpt, returns: .integer, .context, .readOnlyMemory, .constSize),
    HelperPrototype(.skbChangeProto, returns: .integer, .context, .anything, .anything),
    HelperPrototype(.skbChangeType, returns: .integer, .context, .anything),
    HelperPrototype(.skbUnderCgroup, returns: .integer, .context, .constMapPointer, .anything),
    HelperPrototype(.getHashRecalc, returns: .integer, .context),
    HelperPrototype(.skbChangeTail, returns: .integer, .context, .anything, .anything),
    HelperPrototype(.skbPullData, returns: .integer, .context, .anything),
    HelperPrototype(.csumUpdate, returns: .integer, .context, .anything),
    HelperPrototype(.setHashInvalid, returns: .integer, .context),
    HelperPrototype(.skbChangeHead, returns: .integer, .context, .anything, .anything),
    HelperPrototype(.xdpAdjustHead, returns: .integer, .context, .anything),
    HelperPrototype(.setHash, returns: .integer, .context, .anything),
    HelperPrototype(.skbAdjustRoom, returns: .integer, .context, .anything, .anything, .anything),
    HelperPrototype(.redirectMap, returns: .integer, .constMapPointer, .anything, .anything),
    HelperPrototype(.xdpAdjustMeta, returns: .integer, .context, .anything),
    HelperPrototype(.msgRedirectMap, returns: .integer, .context, .constMapPointer, .anything, .anything),
    HelperPrototype(.msgApplyBytes, returns: .integer, .context, .anything),
    HelperPrototype(.msgCorkBytes, returns: .integer, .context, .anything),
    HelperPrototype(.msgPullData, returns: .integer, .context, .anything, .anything, .anything),
    HelperPrototype(.xdpAdjustTail, returns: .integer, .context, .anything),
    HelperPrototype(
      .skbGetXfrmState, returns: .integer, .context, .anything, .uninitializedMemory, .constSize, .anything
    ),
    HelperPrototype(
      .skbLoadBytesRelative, returns: .integer, .context, .anything, .uninitializedMemory, .constSize, .anything
    ),
    HelperPrototype(.fibLookup, returns: .integer, .context, .writtenMemory, .constSize, .anything).gpl,
    HelperPrototype(.msgRedirectHash, returns: .integer, .context, .constMapPointer, .mapKey, .anything),
    HelperPrototype(.lwtPushEncap, returns: .integer, .context, .anything, .readOnlyMemory, .constSize),
    HelperPrototype(.lwtSeg6StoreBytes, returns: .integer, .context, .anything, .readOnlyMemory, .constSize),
    HelperPrototype(.lwtSeg6AdjustSrh, returns: .integer, .context, .anything, .anything),
    HelperPrototype(.lwtSeg6Action, returns: .integer, .context, .anything, .readOnlyMemory, .constSize),
    HelperPrototype(.rcRepeat, returns: .integer, .context).gpl,
    HelperPrototype(.rcKeydown, returns: .integer, .context, .anything, .anything, .anything).gpl,
    HelperPrototype(.skbCgroupId, returns: .integer, .context),
    HelperPrototype(.skbAncestorCgroupId, returns: .integer, .context, .anything),
    HelperPrototype(.msgPushData, returns: .integer, .context, .anything, .anything, .anything),
    HelperPrototype(.msgPopData, returns: .integer, .context, .anything, .anything, .anything),
    HelperPrototype(.rcPointerRel, returns: .integer, .context, .anything, .anything).gpl,
    HelperPrototype(.skbEcnSetCe, returns: .integer, .context),
    HelperPrototype(
      .tcpCheckSyncookie, returns: .integer, .btfIDSockCommon, .readOnlyMemory, .constSize, .readOnlyMemory, .constSize
    ).gpl.packet,
    HelperPrototype(
      .tcpGenSyncookie, returns: .integer, .btfIDSockCommon, .readOnlyMemory, .constSize, .readOnlyMemory, .constSize
    ).gpl.packet,
    HelperPrototype(
      .skbOutput, returns: .integer, .btfID, .constMapPointer, .anything, .readOnlyMemory, .constSizeOrZero
    ).gpl.naming(1, "sk_buff"),
    HelperPrototype(
      .xdpOutput, returns: .integer, .btfID, .constMapPointer, .anything, .readOnlyMemory, .constSizeOrZero
    ).gpl.naming(1, "xdp_buff"),
    HelperPrototype(.csumLevel, returns: .integer, .context, .anything),
    HelperPrototype(.skbCgroupClassid, returns: .integer, .context),
    HelperPrototype(.redirectNeigh, returns: .integer, .anything, .readOnlyMemoryOrNull, .constSizeOrZero, .anything),
    HelperPrototype(.redirectPeer, returns: .integer, .anything, .anything),
    HelperPrototype(.checkMtu, returns: .integer, .context, .anything, .updatedResult, .anything, .anything)
      .gpl.sized(3, 4),
    HelperPrototype(.xdpGetBuffLen, returns: .integer, .context),
    HelperPrototype(.xdpLoadBytes, returns: .integer, .context, .anything, .uninitializedMemory, .constSize),
    HelperPrototype(.xdpStoreBytes, returns: .integer, .context, .anything, .readOnlyMemory, .constSize),
    HelperPrototype(.skbSetTstamp, returns: .integer, .context, .anything, .anything),
    HelperPrototype(
      .tcpRawGenSyncookieIpv4, returns: .integer, .readOnlyFixedSizeMemory, .readOnlyMemory, .constSizeOrZero
    ).gpl.packet.sized(1, 20),
    HelperPrototype(
      .tcpRawGenSyncookieIpv6, returns: .integer, .readOnlyFixedSizeMemory, .readOnlyMemory, .constSizeOrZero
    ).gpl.packet.sized(1, 40),
    HelperPrototype(.tcpRawCheckSyncookieIpv4, returns: .integer, .readOnlyFixedSizeMemory, .readOnlyFixedSizeMemory)
      .gpl.packet.sized(1, 20).sized(2, 20),
    HelperPrototype(.tcpRawCheckSyncookieIpv6, returns: .integer, .readOnlyFixedSizeMemory, .readOnlyFixedSizeMemory)
      .gpl.packet.sized(1, 40).sized(2, 20),
  ]

  /// In tracing programs, which hold the buffer itself.
  static let tracedBufferLength = HelperPrototype(.xdpGetBuffLen, returns: .integer, .btfID).naming(1, "xdp_buff")
}
