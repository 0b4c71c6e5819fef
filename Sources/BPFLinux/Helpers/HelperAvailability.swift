// Which helpers each program type has. A set is what one family of programs adds to what it builds on.

extension HelperIDSet {
  /// Every helper that `program` may call on that Linux.
  init(availableTo program: ProgramTraits, on linux: Linux) {
    self = HelperIDSet(offeredTo: program, on: linux)
    subtract(HelperIDSet(missingFrom: linux))
  }

  private init(offeredTo program: ProgramTraits, on linux: Linux) {
    let base = HelperIDSet(baseOn: linux)
    let attachType = program.expectedAttachType
    switch program.type {
    case .socketFilter: self = HelperIDSet(socketBaseOn: linux).union(.socketFilter)
    case .schedCls, .schedAct: self = HelperIDSet(socketBaseOn: linux).union(.trafficControl)
    case .xdp: self = HelperIDSet(socketBaseOn: linux).union(.xdp)
    case .lwtIn: self = HelperIDSet(socketBaseOn: linux).union(.lightweightTunnel).union([.lwtPushEncap])
    case .lwtOut: self = HelperIDSet(socketBaseOn: linux).union(.lightweightTunnel)
    case .lwtXmit: self = HelperIDSet(socketBaseOn: linux).union(.lightweightTunnel).union(.lightweightTransmit)
    case .lwtSeg6local: self = HelperIDSet(socketBaseOn: linux).union(.lightweightTunnel).union(.segmentRouting)
    case .sockOps:
      self = HelperIDSet(socketBaseOn: linux).union(.sockOps).union(HelperIDSet(cgroup: attachType))
    case .skSkb: self = HelperIDSet(socketBaseOn: linux).union(.streamParser)
    case .skMsg: self = HelperIDSet(socketBaseOn: linux).union(.socketMessage)
    case .flowDissector: self = HelperIDSet(socketBaseOn: linux).union([.skbLoadBytes])
    case .skLookup: self = HelperIDSet(socketBaseOn: linux).union([.perfEventOutput, .skAssign, .skRelease])
    case .skReuseport: self = base.union(.reuseport)
    case .cgroupSkb:
      self = HelperIDSet(socketBaseOn: linux).union(.socketFilter).union(.cgroupPacket)
      formUnion(HelperIDSet(cgroup: attachType))
    case .cgroupSock: self = base.union(.cgroupSocket).union(HelperIDSet(cgroup: attachType))
    case .cgroupSockAddr:
      self = HelperIDSet(socketBaseOn: linux).union(HelperIDSet(socketAddress: attachType))
      formUnion(HelperIDSet(cgroup: attachType))
    case .cgroupDevice: self = base.union([.perfEventOutput]).union(HelperIDSet(cgroup: attachType))
    case .cgroupSysctl: self = base.union(.sysctl).union(HelperIDSet(cgroup: attachType))
    case .cgroupSockopt:
      self = base.union([.getNetnsCookie, .skStorageGet, .skStorageDelete, .tcpSock, .perfEventOutput])
      if attachType == .cgroupSetsockopt { formUnion(.socketOptions) }
      formUnion(HelperIDSet(cgroup: attachType))
    case .kprobe: self = HelperIDSet(tracingOn: linux).union(.tracepoint).union([.overrideReturn, .getAttachCookie])
    case .tracepoint, .rawTracepoint, .rawTracepointWritable:
      self = HelperIDSet(tracingOn: linux).union(.tracepoint).union([.getAttachCookie])
    case .perfEvent:
      self = HelperIDSet(tracingOn: linux).union(.tracepoint)
      formUnion([.getAttachCookie, .perfProgReadValue, .readBranchRecords])
    case .tracing: self = HelperIDSet(kernelTracing: program, on: linux)
    case .lsm: self = HelperIDSet(lsm: program, on: linux)
    case .syscall:
      self = HelperIDSet(kernelTracing: program, on: linux)
      formUnion([.btfFindByNameKind, .sysClose, .kallsymsLookupName])
      if linux.capabilities.allows(.perfmon) { insert(.sysBpf) }
    case .structOps: self = HelperIDSet(structOps: program, on: linux)
    case .lircMode2:
      self = .infrared
      if linux.capabilities.allows(.perfmon) { insert(.tracePrintk) }
    case .netfilter: self = base
    default: self = []
    }
  }

  // MARK: What others build on

  /// Capabilities open it in steps: nobody gets the later ones without those for the earlier.
  private init(baseOn linux: Linux) {
    self = .unprivileged
    guard linux.capabilities.allows(.bpf) else { return }
    formUnion(.withBPF)
    if linux.isConfigured("CONFIG_CGROUP_NET_CLASSID") { insert(.getCgroupClassid) }
    guard linux.capabilities.allows(.perfmon) else { return }
    formUnion(.withPerfmon)
  }

  private init(socketBaseOn linux: Linux) {
    self = HelperIDSet(baseOn: linux)
    insert(.ktimeGetCoarseNs)
    if linux.capabilities.allows(.perfmon) { formUnion(.socketCasts) }
  }

  private init(tracingOn linux: Linux) {
    self = HelperIDSet(baseOn: linux)
    formUnion([.getSmpProcessorId, .probeRead, .probeReadStr, .getFuncIp])
    if linux.capabilities.allows(.sysAdmin) { insert(.probeWriteUser) }
  }

  /// Programs that hold kernel objects by their BTF types.
  private init(kernelTracing program: ProgramTraits, on linux: Linux) {
    guard linux.isConfigured("CONFIG_BPF_EVENTS") else {
      self = HelperIDSet(baseOn: linux)
      return
    }
    self = HelperIDSet(tracingOn: linux).union(.tracepoint).union(.socketCasts).union(.kernelObjects)
    if program.isIterator {
      formUnion([.seqPrintf, .seqWrite, .seqPrintfBtf])
      if program.target.contains(.socketIterator) { formUnion(.socketOptions) }
    }
    if program.hasTrampoline { formUnion([.getFuncArg, .getFuncRet, .getFuncArgCnt, .getAttachCookie]) }
    if program.isOwnType(.tracing) && program.expectedAttachType == .traceRawTp { insert(.getAttachCookie) }
  }

  private init(lsm program: ProgramTraits, on linux: Linux) {
    self = HelperIDSet(kernelTracing: program, on: linux).union(.lsm)
    if program.hasTrampoline { insert(.getAttachCookie) }
    guard program.expectedAttachType == .lsmCgroup else { return }
    formUnion(HelperIDSet(cgroup: program.expectedAttachType))
    if !program.target.isDisjoint(with: [.lockedSocketHook, .unlockedSocketHook]) { formUnion(.socketOptions) }
  }

  private init(structOps program: ProgramTraits, on linux: Linux) {
    switch program.structOps {
    case .none, .dummy: self = []
    case .qdisc, .other: self = HelperIDSet(baseOn: linux)
    case .tcpCongestion:
      self = HelperIDSet(baseOn: linux)
      formUnion([.tcpSendAck, .skStorageGet, .skStorageDelete, .ktimeGetCoarseNs])
      // An algorithm on its way out must not set up anything anew.
      if program.structOpsCallback != .release { formUnion(.socketOptions) }
    }
  }

  /// What every cgroup program has; those whose return value nobody reads cannot ask for it or set it.
  private init(cgroup attachType: AttachType) {
    switch attachType {
    case .cgroupInetIngress, .cgroupInetEgress, .cgroupSockOps, .cgroupUdp4Recvmsg, .cgroupUdp6Recvmsg,
      .cgroupUnixRecvmsg, .cgroupInet4Getpeername, .cgroupInet6Getpeername, .cgroupUnixGetpeername,
      .cgroupInet4Getsockname, .cgroupInet6Getsockname, .cgroupUnixGetsockname:
      self = [.getLocalStorage]
    default: self = [.getLocalStorage, .getRetval, .setRetval]
    }
  }

  private init(socketAddress attachType: AttachType) {
    self = [
      .getSocketCookie, .getNetnsCookie, .perfEventOutput, .skLookupTcp, .skLookupUdp, .skRelease, .skcLookupTcp,
      .skStorageGet, .skStorageDelete,
    ]
    switch attachType {
    case .cgroupInet4Connect, .cgroupInet6Connect: formUnion([.bind, .setsockopt, .getsockopt])
    case .cgroupInet4Bind, .cgroupInet6Bind, .cgroupUnixConnect, .cgroupUdp4Recvmsg, .cgroupUdp6Recvmsg,
      .cgroupUnixRecvmsg, .cgroupUdp4Sendmsg, .cgroupUdp6Sendmsg, .cgroupUnixSendmsg, .cgroupInet4Getpeername,
      .cgroupInet6Getpeername, .cgroupUnixGetpeername, .cgroupInet4Getsockname, .cgroupInet6Getsockname,
      .cgroupUnixGetsockname:
      formUnion(.socketOptions)
    default: break
    }
  }

  // MARK: What a configuration leaves out

  private init(missingFrom linux: Linux) {
    self = []
    switch linux.lockdown {
    case .none: break
    case .integrity: insert(.probeWriteUser)
    case .confidentiality:
      formUnion([.probeWriteUser, .probeRead, .probeReadStr, .probeReadKernel, .probeReadKernelStr])
    }
    guard !linux.config.isEmpty else { return }
    if !linux.isConfigured("CONFIG_BPF_EVENTS") { formUnion(.events) }
    if !linux.isConfigured("CONFIG_BPF_KPROBE_OVERRIDE") { insert(.overrideReturn) }
    if !linux.isConfigured("CONFIG_ARCH_HAS_NON_OVERLAPPING_ADDRESS_SPACE") { formUnion([.probeRead, .probeReadStr]) }
    if !linux.isConfigured("CONFIG_CGROUPS") { formUnion(.cgroups) }
    if !linux.isConfigured("CONFIG_CGROUP_BPF") { insert(.getLocalStorage) }
    if !linux.isConfigured("CONFIG_CGROUP_NET_CLASSID") { insert(.skbCgroupClassid) }
    if !linux.isConfigured("CONFIG_SOCK_CGROUP_DATA") {
      formUnion([.skbCgroupId, .skbAncestorCgroupId, .skCgroupId, .skAncestorCgroupId])
    }
    if !linux.isConfigured("CONFIG_XFRM") { insert(.skbGetXfrmState) }
    if !linux.isConfigured("CONFIG_INET") { formUnion(.internet) }
    if !linux.isConfigured("CONFIG_INET") || !linux.isConfigured("CONFIG_SYN_COOKIES") { formUnion(.rawSYNCookies) }
    if !linux.isConfigured("CONFIG_IPV6_SEG6_BPF") { formUnion(.segmentRouting) }
    if !linux.isConfigured("CONFIG_NET") {
      formUnion(.socketCasts)
      formUnion(.socketOptions)
      formUnion([
        .skbOutput, .xdpOutput, .skStorageGet, .skStorageDelete, .sockFromFile, .getSocketCookie, .getNetnsCookie,
        .xdpGetBuffLen,
      ])
    }
  }

  /// Those that live with the tracing of events.
  private static let events: HelperIDSet = [
    .tracePrintk, .traceVprintk, .getCurrentTask, .getCurrentTaskBtf, .probeReadUser, .probeReadKernel,
    .probeReadUserStr, .probeReadKernelStr, .snprintfBtf, .taskPtRegs, .perfEventReadValue, .perfEventRead,
    .sendSignal, .sendSignalThread, .getBranchSnapshot,
  ]

  private static let cgroups: HelperIDSet = [
    .cgrpStorageGet, .cgrpStorageDelete, .getCurrentCgroupId, .getCurrentAncestorCgroupId, .currentTaskUnderCgroup,
  ]

  private static let internet: HelperIDSet = [
    .skLookupTcp, .skLookupUdp, .skRelease, .skcLookupTcp, .tcpSock, .getListenerSock, .skbEcnSetCe,
    .tcpCheckSyncookie, .tcpGenSyncookie, .skAssign, .skbSetTstamp, .loadHdrOpt, .storeHdrOpt, .reserveHdrOpt,
  ]

  private static let rawSYNCookies: HelperIDSet = [
    .tcpRawGenSyncookieIpv4, .tcpRawGenSyncookieIpv6, .tcpRawCheckSyncookieIpv4, .tcpRawCheckSyncookieIpv6,
  ]

  // MARK: The families

  private static let unprivileged: HelperIDSet = [
    .mapLookupElem, .mapUpdateElem, .mapDeleteElem, .mapPushElem, .mapPopElem, .mapPeekElem, .mapLookupPercpuElem,
    .getPrandomU32, .getSmpProcessorId, .getNumaNodeId, .tailCall, .ktimeGetNs, .ktimeGetBootNs, .ktimeGetTaiNs,
    .ringbufOutput, .ringbufReserve, .ringbufSubmit, .ringbufDiscard, .ringbufQuery, .strncmp, .strtol, .strtoul,
    .getCurrentPidTgid, .getNsCurrentPidTgid, .getCurrentUidGid,
  ]

  private static let withBPF: HelperIDSet = [
    .spinLock, .spinUnlock, .jiffies64, .perCpuPtr, .thisCpuPtr, .timerInit, .timerSetCallback, .timerStart,
    .timerCancel, .kptrXchg, .forEachMapElem, .loop, .userRingbufDrain, .ringbufReserveDynptr,
    .ringbufSubmitDynptr, .ringbufDiscardDynptr, .dynptrFromMem, .dynptrRead, .dynptrWrite, .dynptrData,
    .cgrpStorageGet, .cgrpStorageDelete, .getCurrentCgroupId, .getCurrentAncestorCgroupId, .currentTaskUnderCgroup,
    .taskStorageGet, .taskStorageDelete,
  ]

  private static let withPerfmon: HelperIDSet = [
    .tracePrintk, .getCurrentTask, .getCurrentTaskBtf, .getCurrentComm, .probeReadUser, .probeReadKernel,
    .probeReadUserStr, .probeReadKernelStr, .copyFromUser, .copyFromUserTask, .snprintfBtf, .snprintf, .taskPtRegs,
    .traceVprintk, .perfEventReadValue, .perfEventRead, .sendSignal, .sendSignalThread, .getTaskStack,
    .getBranchSnapshot, .findVma,
  ]

  /// From the common part of a socket to what it is.
  private static let socketCasts: HelperIDSet = [
    .skcToTcp6Sock, .skcToTcpSock, .skcToTcpTimewaitSock, .skcToTcpRequestSock, .skcToUdp6Sock, .skcToUnixSock,
    .skcToMptcpSock,
  ]

  private static let socketOptions: HelperIDSet = [.setsockopt, .getsockopt]

  private static let tracepoint: HelperIDSet = [.perfEventOutput, .getStackid, .getStack]

  private static let kernelObjects: HelperIDSet = [
    .skbOutput, .xdpOutput, .skStorageGet, .skStorageDelete, .sockFromFile, .getSocketCookie, .xdpGetBuffLen, .dPath,
  ]

  private static let lsm: HelperIDSet = [
    .inodeStorageGet, .inodeStorageDelete, .skStorageGet, .skStorageDelete, .spinLock, .spinUnlock, .bprmOptsSet,
    .imaInodeHash, .imaFileHash,
  ]

  private static let socketFilter: HelperIDSet = [
    .skbLoadBytes, .skbLoadBytesRelative, .getSocketCookie, .getNetnsCookie, .getSocketUid, .perfEventOutput,
  ]

  private static let cgroupPacket: HelperIDSet = [
    .skFullsock, .skStorageGet, .skStorageDelete, .skbCgroupId, .skbAncestorCgroupId, .skCgroupId,
    .skAncestorCgroupId, .skLookupTcp, .skLookupUdp, .skRelease, .skcLookupTcp, .tcpSock, .getListenerSock,
    .skbEcnSetCe,
  ]

  private static let cgroupSocket: HelperIDSet = [
    .getSocketCookie, .getNetnsCookie, .perfEventOutput, .skStorageGet, .ktimeGetCoarseNs,
  ]

  private static let sysctl: HelperIDSet = [
    .sysctlGetName, .sysctlGetCurrentValue, .sysctlGetNewValue, .sysctlSetNewValue, .ktimeGetCoarseNs,
    .perfEventOutput,
  ]

  private static let trafficControl: HelperIDSet = [
    .skbStoreBytes, .skbLoadBytes, .skbLoadBytesRelative, .skbPullData, .csumDiff, .csumUpdate, .csumLevel,
    .l3CsumReplace, .l4CsumReplace, .cloneRedirect, .getCgroupClassid, .skbVlanPush, .skbVlanPop, .skbChangeProto,
    .skbChangeType, .skbAdjustRoom, .skbChangeTail, .skbChangeHead, .skbGetTunnelKey, .skbSetTunnelKey,
    .skbGetTunnelOpt, .skbSetTunnelOpt, .redirect, .redirectNeigh, .redirectPeer, .getRouteRealm, .getHashRecalc,
    .setHashInvalid, .setHash, .perfEventOutput, .skbUnderCgroup, .getSocketCookie, .getNetnsCookie, .getSocketUid,
    .fibLookup, .checkMtu, .skFullsock, .skStorageGet, .skStorageDelete, .skbGetXfrmState, .skbCgroupClassid,
    .skbCgroupId, .skbAncestorCgroupId, .skLookupTcp, .skLookupUdp, .skRelease, .tcpSock, .getListenerSock,
    .skcLookupTcp, .tcpCheckSyncookie, .skbEcnSetCe, .tcpGenSyncookie, .skAssign, .skbSetTstamp,
    .tcpRawGenSyncookieIpv4, .tcpRawGenSyncookieIpv6, .tcpRawCheckSyncookieIpv4, .tcpRawCheckSyncookieIpv6,
  ]

  private static let xdp: HelperIDSet = [
    .perfEventOutput, .csumDiff, .xdpAdjustHead, .xdpAdjustMeta, .xdpAdjustTail, .redirect, .redirectMap,
    .xdpGetBuffLen, .xdpLoadBytes, .xdpStoreBytes, .fibLookup, .checkMtu, .skLookupUdp, .skLookupTcp, .skRelease,
    .skcLookupTcp, .tcpCheckSyncookie, .tcpGenSyncookie, .tcpRawGenSyncookieIpv4, .tcpRawGenSyncookieIpv6,
    .tcpRawCheckSyncookieIpv4, .tcpRawCheckSyncookieIpv6,
  ]

  private static let lightweightTunnel: HelperIDSet = [
    .skbLoadBytes, .skbPullData, .csumDiff, .getCgroupClassid, .getRouteRealm, .getHashRecalc, .perfEventOutput,
    .skbUnderCgroup,
  ]

  private static let lightweightTransmit: HelperIDSet = [
    .skbGetTunnelKey, .skbSetTunnelKey, .skbGetTunnelOpt, .skbSetTunnelOpt, .redirect, .cloneRedirect,
    .skbChangeTail, .skbChangeHead, .skbStoreBytes, .csumUpdate, .csumLevel, .l3CsumReplace, .l4CsumReplace,
    .setHashInvalid, .lwtPushEncap,
  ]

  private static let segmentRouting: HelperIDSet = [.lwtSeg6StoreBytes, .lwtSeg6Action, .lwtSeg6AdjustSrh]

  private static let sockOps: HelperIDSet = [
    .setsockopt, .getsockopt, .sockOpsCbFlagsSet, .sockMapUpdate, .sockHashUpdate, .getSocketCookie,
    .perfEventOutput, .skStorageGet, .skStorageDelete, .getNetnsCookie, .loadHdrOpt, .storeHdrOpt, .reserveHdrOpt,
    .tcpSock,
  ]

  private static let streamParser: HelperIDSet = [
    .skbStoreBytes, .skbLoadBytes, .skbPullData, .skbChangeTail, .skbChangeHead, .skbAdjustRoom, .getSocketCookie,
    .getSocketUid, .skRedirectMap, .skRedirectHash, .perfEventOutput, .skLookupTcp, .skLookupUdp, .skRelease,
    .skcLookupTcp,
  ]

  private static let socketMessage: HelperIDSet = [
    .msgRedirectMap, .msgRedirectHash, .msgApplyBytes, .msgCorkBytes, .msgPullData, .msgPushData, .msgPopData,
    .perfEventOutput, .skStorageGet, .skStorageDelete, .getNetnsCookie,
  ]

  private static let reuseport: HelperIDSet = [
    .skSelectReuseport, .skbLoadBytes, .skbLoadBytesRelative, .getSocketCookie, .ktimeGetCoarseNs,
  ]

  private static let infrared: HelperIDSet = [
    .rcRepeat, .rcKeydown, .rcPointerRel, .mapLookupElem, .mapUpdateElem, .mapDeleteElem, .mapPushElem, .mapPopElem,
    .mapPeekElem, .ktimeGetNs, .ktimeGetBootNs, .tailCall, .getPrandomU32,
  ]
}
