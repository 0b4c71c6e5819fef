extension HelperPrototype {
  /// Sockets, cgroups, local storage, LSM. By number.
  static let socket: [HelperPrototype] = [
    HelperPrototype(.getCgroupClassid, returns: .integer, .context),
    HelperPrototype(
      .perfEventOutput, returns: .integer, .context, .constMapPointer, .anything, .readOnlyMemory, .constSizeOrZero
    ).gpl,
    HelperPrototype(.getSocketCookie, returns: .integer, .context),
    HelperPrototype(.getSocketUid, returns: .integer, .context),
    HelperPrototype(
      .setsockopt, returns: .integer, .btfIDSockCommon, .anything, .anything, .readOnlyMemory, .constSize
    ),
    HelperPrototype(.skRedirectMap, returns: .integer, .context, .constMapPointer, .anything, .anything),
    HelperPrototype(.sockMapUpdate, returns: .integer, .context, .constMapPointer, .mapKey, .anything).packet,
    HelperPrototype(
      .getsockopt, returns: .integer, .btfIDSockCommon, .anything, .anything, .uninitializedMemory, .constSize
    ),
    HelperPrototype(.sockOpsCbFlagsSet, returns: .integer, .context, .anything),
    HelperPrototype(.bind, returns: .integer, .context, .readOnlyMemory, .constSize),
    HelperPrototype(.sockHashUpdate, returns: .integer, .context, .constMapPointer, .mapKey, .anything).packet,
    HelperPrototype(.skRedirectHash, returns: .integer, .context, .constMapPointer, .mapKey, .anything),
    HelperPrototype(.getLocalStorage, returns: .mapValue, .constMapPointer, .anything),
    HelperPrototype(.skSelectReuseport, returns: .integer, .context, .constMapPointer, .mapKey, .anything),
    HelperPrototype(
      .skLookupTcp, returns: .socketOrNull, .context, .readOnlyMemory, .constSizeOrZero, .anything, .anything
    ).packet,
    HelperPrototype(
      .skLookupUdp, returns: .socketOrNull, .context, .readOnlyMemory, .constSizeOrZero, .anything, .anything
    ).packet,
    HelperPrototype(.skRelease, returns: .integer, .releasedSock),
    HelperPrototype(.skFullsock, returns: .socketOrNull, .sockCommon),
    HelperPrototype(.tcpSock, returns: .tcpSockOrNull, .sockCommon),
    HelperPrototype(.getListenerSock, returns: .socketOrNull, .sockCommon),
    HelperPrototype(
      .skcLookupTcp, returns: .sockCommonOrNull, .context, .readOnlyMemory, .constSizeOrZero, .anything, .anything
    ).packet,
    HelperPrototype(.sysctlGetName, returns: .integer, .context, .writtenMemory, .constSize, .anything),
    HelperPrototype(.sysctlGetCurrentValue, returns: .integer, .context, .uninitializedMemory, .constSize),
    HelperPrototype(.sysctlGetNewValue, returns: .integer, .context, .uninitializedMemory, .constSize),
    HelperPrototype(.sysctlSetNewValue, returns: .integer, .context, .readOnlyMemory, .constSize),
    HelperPrototype(
      .skStorageGet, returns: .mapValueOrNull, .constMapPointer, .btfIDSockCommon, .mapValueOrNull, .anything
    ),
    HelperPrototype(.skStorageDelete, returns: .integer, .constMapPointer, .btfIDSockCommon),
    HelperPrototype(.tcpSendAck, returns: .integer, .btfID, .anything).naming(1, "tcp_sock"),
    HelperPrototype(.getNetnsCookie, returns: .integer, .contextOrNull),
    HelperPrototype(.skAssign, returns: .integer, .context, .btfIDSockCommon, .anything),
    HelperPrototype(.skCgroupId, returns: .integer, .btfIDSockCommon),
    HelperPrototype(.skAncestorCgroupId, returns: .integer, .btfIDSockCommon, .anything),
    HelperPrototype(.skcToTcp6Sock, returns: .btfIDOrNull, .btfIDSockCommon).returning("tcp6_sock"),
    HelperPrototype(.skcToTcpSock, returns: .btfIDOrNull, .btfIDSockCommon).returning("tcp_sock"),
    HelperPrototype(.skcToTcpTimewaitSock, returns: .btfIDOrNull, .btfIDSockCommon).returning("tcp_timewait_sock"),
    HelperPrototype(.skcToTcpRequestSock, returns: .btfIDOrNull, .btfIDSockCommon).returning("tcp_request_sock"),
    HelperPrototype(.skcToUdp6Sock, returns: .btfIDOrNull, .btfIDSockCommon).returning("udp6_sock"),
    HelperPrototype(.loadHdrOpt, returns: .integer, .context, .writtenMemory, .constSize, .anything),
    HelperPrototype(.storeHdrOpt, returns: .integer, .context, .readOnlyMemory, .constSize, .anything),
    HelperPrototype(.reserveHdrOpt, returns: .integer, .context, .anything, .anything),
    HelperPrototype(
      .inodeStorageGet, returns: .mapValueOrNull, .constMapPointer, .btfIDOrNull, .mapValueOrNull, .anything
    ).naming(2, "inode"),
    HelperPrototype(.inodeStorageDelete, returns: .integer, .constMapPointer, .btfIDOrNull).naming(2, "inode"),
    HelperPrototype(
      .taskStorageGet, returns: .mapValueOrNull, .constMapPointer, .btfIDOrNull, .mapValueOrNull, .anything
    ).naming(2, "task_struct"),
    HelperPrototype(.taskStorageDelete, returns: .integer, .constMapPointer, .btfIDOrNull).naming(2, "task_struct"),
    HelperPrototype(.bprmOptsSet, returns: .integer, .btfID, .anything).naming(1, "linux_binprm"),
    HelperPrototype(.imaInodeHash, returns: .integer, .btfID, .uninitializedMemory, .constSize)
      .sleeping.naming(1, "inode").restricted(to: .sleepableLSMHooks),
    HelperPrototype(.sockFromFile, returns: .btfIDOrNull, .btfID).naming(1, "file").returning("socket"),
    HelperPrototype(.getAttachCookie, returns: .integer, .context),
    HelperPrototype(.skcToUnixSock, returns: .btfIDOrNull, .btfIDSockCommon).returning("unix_sock"),
    HelperPrototype(.getRetval, returns: .integer),
    HelperPrototype(.setRetval, returns: .integer, .anything),
    HelperPrototype(.imaFileHash, returns: .integer, .btfID, .uninitializedMemory, .constSize)
      .sleeping.naming(1, "file").restricted(to: .sleepableLSMHooks),
    HelperPrototype(.skcToMptcpSock, returns: .btfIDOrNull, .sockCommon).returning("mptcp_sock"),
    HelperPrototype(
      .cgrpStorageGet, returns: .mapValueOrNull, .constMapPointer, .btfIDOrNull, .mapValueOrNull, .anything
    ).naming(2, "cgroup"),
    HelperPrototype(.cgrpStorageDelete, returns: .integer, .constMapPointer, .btfIDOrNull).naming(2, "cgroup"),
  ]

  // As other program types have them.

  static let lookupAssign = HelperPrototype(.skAssign, returns: .integer, .context, .socketOrNull, .anything)
  static let contextSetSockopt = HelperPrototype(
    .setsockopt, returns: .integer, .context, .anything, .anything, .readOnlyMemory, .constSize)
  static let contextGetSockopt = HelperPrototype(
    .getsockopt, returns: .integer, .context, .anything, .anything, .uninitializedMemory, .constSize)
  static let socketAddressLookupTCP = HelperPrototype(
    .skLookupTcp, returns: .socketOrNull, .context, .readOnlyMemory, .constSizeOrZero, .anything, .anything)
  static let socketAddressLookupUDP = HelperPrototype(
    .skLookupUdp, returns: .socketOrNull, .context, .readOnlyMemory, .constSizeOrZero, .anything, .anything)
  static let socketAddressLookupCommonTCP = HelperPrototype(
    .skcLookupTcp, returns: .sockCommonOrNull, .context, .readOnlyMemory, .constSizeOrZero, .anything, .anything)
  static let contextSocketStorageGet = HelperPrototype(
    .skStorageGet, returns: .mapValueOrNull, .constMapPointer, .context, .mapValueOrNull, .anything)
  static let tracingSocketStorageGet = HelperPrototype(
    .skStorageGet, returns: .mapValueOrNull, .constMapPointer, .btfIDOrNull, .mapValueOrNull, .anything
  ).naming(2, "sock_common").restricted(to: .outsideSocketStorage)
  static let tracingSocketStorageDelete = HelperPrototype(
    .skStorageDelete, returns: .integer, .constMapPointer, .btfIDOrNull
  ).naming(2, "sock_common").restricted(to: .outsideSocketStorage)
  static let socketPointerCookie = HelperPrototype(.getSocketCookie, returns: .integer, .btfIDSockCommonOrNull)
  static let currentCgroupClassID = HelperPrototype(.getCgroupClassid, returns: .integer)
}
