/// A helper's number (`enum bpf_func_id`); the name is the one user space and the verifier's log print.
public struct HelperID: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  @inlinable public static var unspec: HelperID { HelperID(rawValue: 0) }
  @inlinable public static var mapLookupElem: HelperID { HelperID(rawValue: 1) }
  @inlinable public static var mapUpdateElem: HelperID { HelperID(rawValue: 2) }
  @inlinable public static var mapDeleteElem: HelperID { HelperID(rawValue: 3) }
  @inlinable public static var probeRead: HelperID { HelperID(rawValue: 4) }
  @inlinable public static var ktimeGetNs: HelperID { HelperID(rawValue: 5) }
  @inlinable public static var tracePrintk: HelperID { HelperID(rawValue: 6) }
  @inlinable public static var getPrandomU32: HelperID { HelperID(rawValue: 7) }
  @inlinable public static var getSmpProcessorId: HelperID { HelperID(rawValue: 8) }
  @inlinable public static var skbStoreBytes: HelperID { HelperID(rawValue: 9) }
  @inlinable public static var l3CsumReplace: HelperID { HelperID(rawValue: 10) }
  @inlinable public static var l4CsumReplace: HelperID { HelperID(rawValue: 11) }
  @inlinable public static var tailCall: HelperID { HelperID(rawValue: 12) }
  @inlinable public static var cloneRedirect: HelperID { HelperID(rawValue: 13) }
  @inlinable public static var getCurrentPidTgid: HelperID { HelperID(rawValue: 14) }
  @inlinable public static var getCurrentUidGid: HelperID { HelperID(rawValue: 15) }
  @inlinable public static var getCurrentComm: HelperID { HelperID(rawValue: 16) }
  @inlinable public static var getCgroupClassid: HelperID { HelperID(rawValue: 17) }
  @inlinable public static var skbVlanPush: HelperID { HelperID(rawValue: 18) }
  @inlinable public static var skbVlanPop: HelperID { HelperID(rawValue: 19) }
  @inlinable public static var skbGetTunnelKey: HelperID { HelperID(rawValue: 20) }
  @inlinable public static var skbSetTunnelKey: HelperID { HelperID(rawValue: 21) }
  @inlinable public static var perfEventRead: HelperID { HelperID(rawValue: 22) }
  @inlinable public static var redirect: HelperID { HelperID(rawValue: 23) }
  @inlinable public static var getRouteRealm: HelperID { HelperID(rawValue: 24) }
  @inlinable public static var perfEventOutput: HelperID { HelperID(rawValue: 25) }
  @inlinable public static var skbLoadBytes: HelperID { HelperID(rawValue: 26) }
  @inlinable public static var getStackid: HelperID { HelperID(rawValue: 27) }
  @inlinable public static var csumDiff: HelperID { HelperID(rawValue: 28) }
  @inlinable public static var skbGetTunnelOpt: HelperID { HelperID(rawValue: 29) }
  @inlinable public static var skbSetTunnelOpt: HelperID { HelperID(rawValue: 30) }
  @inlinable public static var skbChangeProto: HelperID { HelperID(rawValue: 31) }
  @inlinable public static var skbChangeType: HelperID { HelperID(rawValue: 32) }
  @inlinable public static var skbUnderCgroup: HelperID { HelperID(rawValue: 33) }
  @inlinable public static var getHashRecalc: HelperID { HelperID(rawValue: 34) }
  @inlinable public static var getCurrentTask: HelperID { HelperID(rawValue: 35) }
  @inlinable public static var probeWriteUser: HelperID { HelperID(rawValue: 36) }
  @inlinable public static var currentTaskUnderCgroup: HelperID { HelperID(rawValue: 37) }
  @inlinable public static var skbChangeTail: HelperID { HelperID(rawValue: 38) }
  @inlinable public static var skbPullData: HelperID { HelperID(rawValue: 39) }
  @inlinable public static var csumUpdate: HelperID { HelperID(rawValue: 40) }
  @inlinable public static var setHashInvalid: HelperID { HelperID(rawValue: 41) }
  @inlinable public static var getNumaNodeId: HelperID { HelperID(rawValue: 42) }
  @inlinable public static var skbChangeHead: HelperID { HelperID(rawValue: 43) }
  @inlinable public static var xdpAdjustHead: HelperID { HelperID(rawValue: 44) }
  @inlinable public static var probeReadStr: HelperID { HelperID(rawValue: 45) }
  @inlinable public static var getSocketCookie: HelperID { HelperID(rawValue: 46) }
  @inlinable public static var getSocketUid: HelperID { HelperID(rawValue: 47) }
  @inlinable public static var setHash: HelperID { HelperID(rawValue: 48) }
  @inlinable public static var setsockopt: HelperID { HelperID(rawValue: 49) }
  @inlinable public static var skbAdjustRoom: HelperID { HelperID(rawValue: 50) }
  @inlinable public static var redirectMap: HelperID { HelperID(rawValue: 51) }
  @inlinable public static var skRedirectMap: HelperID { HelperID(rawValue: 52) }
  @inlinable public static var sockMapUpdate: HelperID { HelperID(rawValue: 53) }
  @inlinable public static var xdpAdjustMeta: HelperID { HelperID(rawValue: 54) }
  @inlinable public static var perfEventReadValue: HelperID { HelperID(rawValue: 55) }
  @inlinable public static var perfProgReadValue: HelperID { HelperID(rawValue: 56) }
  @inlinable public static var getsockopt: HelperID { HelperID(rawValue: 57) }
  @inlinable public static var overrideReturn: HelperID { HelperID(rawValue: 58) }
  @inlinable public static var sockOpsCbFlagsSet: HelperID { HelperID(rawValue: 59) }
  @inlinable public static var msgRedirectMap: HelperID { HelperID(rawValue: 60) }
  @inlinable public static var msgApplyBytes: HelperID { HelperID(rawValue: 61) }
  @inlinable public static var msgCorkBytes: HelperID { HelperID(rawValue: 62) }
  @inlinable public static var msgPullData: HelperID { HelperID(rawValue: 63) }
  @inlinable public static var bind: HelperID { HelperID(rawValue: 64) }
  @inlinable public static var xdpAdjustTail: HelperID { HelperID(rawValue: 65) }
  @inlinable public static var skbGetXfrmState: HelperID { HelperID(rawValue: 66) }
  @inlinable public static var getStack: HelperID { HelperID(rawValue: 67) }
  @inlinable public static var skbLoadBytesRelative: HelperID { HelperID(rawValue: 68) }
  @inlinable public static var fibLookup: HelperID { HelperID(rawValue: 69) }
  @inlinable public static var sockHashUpdate: HelperID { HelperID(rawValue: 70) }
  @inlinable public static var msgRedirectHash: HelperID { HelperID(rawValue: 71) }
  @inlinable public static var skRedirectHash: HelperID { HelperID(rawValue: 72) }
  @inlinable public static var lwtPushEncap: HelperID { HelperID(rawValue: 73) }
  @inlinable public static var lwtSeg6StoreBytes: HelperID { HelperID(rawValue: 74) }
  @inlinable public static var lwtSeg6AdjustSrh: HelperID { HelperID(rawValue: 75) }
  @inlinable public static var lwtSeg6Action: HelperID { HelperID(rawValue: 76) }
  @inlinable public static var rcRepeat: HelperID { HelperID(rawValue: 77) }
  @inlinable public static var rcKeydown: HelperID { HelperID(rawValue: 78) }
  @inlinable public static var skbCgroupId: HelperID { HelperID(rawValue: 79) }
  @inlinable public static var getCurrentCgroupId: HelperID { HelperID(rawValue: 80) }
  @inlinable public static var getLocalStorage: HelperID { HelperID(rawValue: 81) }
  @inlinable public static var skSelectReuseport: HelperID { HelperID(rawValue: 82) }
  @inlinable public static var skbAncestorCgroupId: HelperID { HelperID(rawValue: 83) }
  @inlinable public static var skLookupTcp: HelperID { HelperID(rawValue: 84) }
  @inlinable public static var skLookupUdp: HelperID { HelperID(rawValue: 85) }
  @inlinable public static var skRelease: HelperID { HelperID(rawValue: 86) }
  @inlinable public static var mapPushElem: HelperID { HelperID(rawValue: 87) }
  @inlinable public static var mapPopElem: HelperID { HelperID(rawValue: 88) }
  @inlinable public static var mapPeekElem: HelperID { HelperID(rawValue: 89) }
  @inlinable public static var msgPushData: HelperID { HelperID(rawValue: 90) }
  @inlinable public static var msgPopData: HelperID { HelperID(rawValue: 91) }
  @inlinable public static var rcPointerRel: HelperID { HelperID(rawValue: 92) }
  @inlinable public static var spinLock: HelperID { HelperID(rawValue: 93) }
  @inlinable public static var spinUnlock: HelperID { HelperID(rawValue: 94) }
  @inlinable public static var skFullsock: HelperID { HelperID(rawValue: 95) }
  @inlinable public static var tcpSock: HelperID { HelperID(rawValue: 96) }
  @inlinable public static var skbEcnSetCe: HelperID { HelperID(rawValue: 97) }
  @inlinable public static var getListenerSock: HelperID { HelperID(rawValue: 98) }
  @inlinable public static var skcLookupTcp: HelperID { HelperID(rawValue: 99) }
  @inlinable public static var tcpCheckSyncookie: HelperID { HelperID(rawValue: 100) }
  @inlinable public static var sysctlGetName: HelperID { HelperID(rawValue: 101) }
  @inlinable public static var sysctlGetCurrentValue: HelperID { HelperID(rawValue: 102) }
  @inlinable public static var sysctlGetNewValue: HelperID { HelperID(rawValue: 103) }
  @inlinable public static var sysctlSetNewValue: HelperID { HelperID(rawValue: 104) }
  @inlinable public static var strtol: HelperID { HelperID(rawValue: 105) }
  @inlinable public static var strtoul: HelperID { HelperID(rawValue: 106) }
  @inlinable public static var skStorageGet: HelperID { HelperID(rawValue: 107) }
  @inlinable public static var skStorageDelete: HelperID { HelperID(rawValue: 108) }
  @inlinable public static var sendSignal: HelperID { HelperID(rawValue: 109) }
  @inlinable public static var tcpGenSyncookie: HelperID { HelperID(rawValue: 110) }
  @inlinable public static var skbOutput: HelperID { HelperID(rawValue: 111) }
  @inlinable public static var probeReadUser: HelperID { HelperID(rawValue: 112) }
  @inlinable public static var probeReadKernel: HelperID { HelperID(rawValue: 113) }
  @inlinable public static var probeReadUserStr: HelperID { HelperID(rawValue: 114) }
  @inlinable public static var probeReadKernelStr: HelperID { HelperID(rawValue: 115) }
  @inlinable public static var tcpSendAck: HelperID { HelperID(rawValue: 116) }
  @inlinable public static var sendSignalThread: HelperID { HelperID(rawValue: 117) }
  @inlinable public static var jiffies64: HelperID { HelperID(rawValue: 118) }
  @inlinable public static var readBranchRecords: HelperID { HelperID(rawValue: 119) }
  @inlinable public static var getNsCurrentPidTgid: HelperID { HelperID(rawValue: 120) }
  @inlinable public static var xdpOutput: HelperID { HelperID(rawValue: 121) }
  @inlinable public static var getNetnsCookie: HelperID { HelperID(rawValue: 122) }
  @inlinable public static var getCurrentAncestorCgroupId: HelperID { HelperID(rawValue: 123) }
  @inlinable public static var skAssign: HelperID { HelperID(rawValue: 124) }
  @inlinable public static var ktimeGetBootNs: HelperID { HelperID(rawValue: 125) }
  @inlinable public static var seqPrintf: HelperID { HelperID(rawValue: 126) }
  @inlinable public static var seqWrite: HelperID { HelperID(rawValue: 127) }
  @inlinable public static var skCgroupId: HelperID { HelperID(rawValue: 128) }
  @inlinable public static var skAncestorCgroupId: HelperID { HelperID(rawValue: 129) }
  @inlinable public static var ringbufOutput: HelperID { HelperID(rawValue: 130) }
  @inlinable public static var ringbufReserve: HelperID { HelperID(rawValue: 131) }
  @inlinable public static var ringbufSubmit: HelperID { HelperID(rawValue: 132) }
  @inlinable public static var ringbufDiscard: HelperID { HelperID(rawValue: 133) }
  @inlinable public static var ringbufQuery: HelperID { HelperID(rawValue: 134) }
  @inlinable public static var csumLevel: HelperID { HelperID(rawValue: 135) }
  @inlinable public static var skcToTcp6Sock: HelperID { HelperID(rawValue: 136) }
  @inlinable public static var skcToTcpSock: HelperID { HelperID(rawValue: 137) }
  @inlinable public static var skcToTcpTimewaitSock: HelperID { HelperID(rawValue: 138) }
  @inlinable public static var skcToTcpRequestSock: HelperID { HelperID(rawValue: 139) }
  @inlinable public static var skcToUdp6Sock: HelperID { HelperID(rawValue: 140) }
  @inlinable public static var getTaskStack: HelperID { HelperID(rawValue: 141) }
  @inlinable public static var loadHdrOpt: HelperID { HelperID(rawValue: 142) }
  @inlinable public static var storeHdrOpt: HelperID { HelperID(rawValue: 143) }
  @inlinable public static var reserveHdrOpt: HelperID { HelperID(rawValue: 144) }
  @inlinable public static var inodeStorageGet: HelperID { HelperID(rawValue: 145) }
  @inlinable public static var inodeStorageDelete: HelperID { HelperID(rawValue: 146) }
  @inlinable public static var dPath: HelperID { HelperID(rawValue: 147) }
  @inlinable public static var copyFromUser: HelperID { HelperID(rawValue: 148) }
  @inlinable public static var snprintfBtf: HelperID { HelperID(rawValue: 149) }
  @inlinable public static var seqPrintfBtf: HelperID { HelperID(rawValue: 150) }
  @inlinable public static var skbCgroupClassid: HelperID { HelperID(rawValue: 151) }
  @inlinable public static var redirectNeigh: HelperID { HelperID(rawValue: 152) }
  @inlinable public static var perCpuPtr: HelperID { HelperID(rawValue: 153) }
  @inlinable public static var thisCpuPtr: HelperID { HelperID(rawValue: 154) }
  @inlinable public static var redirectPeer: HelperID { HelperID(rawValue: 155) }
  @inlinable public static var taskStorageGet: HelperID { HelperID(rawValue: 156) }
  @inlinable public static var taskStorageDelete: HelperID { HelperID(rawValue: 157) }
  @inlinable public static var getCurrentTaskBtf: HelperID { HelperID(rawValue: 158) }
  @inlinable public static var bprmOptsSet: HelperID { HelperID(rawValue: 159) }
  @inlinable public static var ktimeGetCoarseNs: HelperID { HelperID(rawValue: 160) }
  @inlinable public static var imaInodeHash: HelperID { HelperID(rawValue: 161) }
  @inlinable public static var sockFromFile: HelperID { HelperID(rawValue: 162) }
  @inlinable public static var checkMtu: HelperID { HelperID(rawValue: 163) }
  @inlinable public static var forEachMapElem: HelperID { HelperID(rawValue: 164) }
  @inlinable public static var snprintf: HelperID { HelperID(rawValue: 165) }
  @inlinable public static var sysBpf: HelperID { HelperID(rawValue: 166) }
  @inlinable public static var btfFindByNameKind: HelperID { HelperID(rawValue: 167) }
  @inlinable public static var sysClose: HelperID { HelperID(rawValue: 168) }
  @inlinable public static var timerInit: HelperID { HelperID(rawValue: 169) }
  @inlinable public static var timerSetCallback: HelperID { HelperID(rawValue: 170) }
  @inlinable public static var timerStart: HelperID { HelperID(rawValue: 171) }
  @inlinable public static var timerCancel: HelperID { HelperID(rawValue: 172) }
  @inlinable public static var getFuncIp: HelperID { HelperID(rawValue: 173) }
  @inlinable public static var getAttachCookie: HelperID { HelperID(rawValue: 174) }
  @inlinable public static var taskPtRegs: HelperID { HelperID(rawValue: 175) }
  @inlinable public static var getBranchSnapshot: HelperID { HelperID(rawValue: 176) }
  @inlinable public static var traceVprintk: HelperID { HelperID(rawValue: 177) }
  @inlinable public static var skcToUnixSock: HelperID { HelperID(rawValue: 178) }
  @inlinable public static var kallsymsLookupName: HelperID { HelperID(rawValue: 179) }
  @inlinable public static var findVma: HelperID { HelperID(rawValue: 180) }
  @inlinable public static var loop: HelperID { HelperID(rawValue: 181) }
  @inlinable public static var strncmp: HelperID { HelperID(rawValue: 182) }
  @inlinable public static var getFuncArg: HelperID { HelperID(rawValue: 183) }
  @inlinable public static var getFuncRet: HelperID { HelperID(rawValue: 184) }
  @inlinable public static var getFuncArgCnt: HelperID { HelperID(rawValue: 185) }
  @inlinable public static var getRetval: HelperID { HelperID(rawValue: 186) }
  @inlinable public static var setRetval: HelperID { HelperID(rawValue: 187) }
  @inlinable public static var xdpGetBuffLen: HelperID { HelperID(rawValue: 188) }
  @inlinable public static var xdpLoadBytes: HelperID { HelperID(rawValue: 189) }
  @inlinable public static var xdpStoreBytes: HelperID { HelperID(rawValue: 190) }
  @inlinable public static var copyFromUserTask: HelperID { HelperID(rawValue: 191) }
  @inlinable public static var skbSetTstamp: HelperID { HelperID(rawValue: 192) }
  @inlinable public static var imaFileHash: HelperID { HelperID(rawValue: 193) }
  @inlinable public static var kptrXchg: HelperID { HelperID(rawValue: 194) }
  @inlinable public static var mapLookupPercpuElem: HelperID { HelperID(rawValue: 195) }
  @inlinable public static var skcToMptcpSock: HelperID { HelperID(rawValue: 196) }
  @inlinable public static var dynptrFromMem: HelperID { HelperID(rawValue: 197) }
  @inlinable public static var ringbufReserveDynptr: HelperID { HelperID(rawValue: 198) }
  @inlinable public static var ringbufSubmitDynptr: HelperID { HelperID(rawValue: 199) }
  @inlinable public static var ringbufDiscardDynptr: HelperID { HelperID(rawValue: 200) }
  @inlinable public static var dynptrRead: HelperID { HelperID(rawValue: 201) }
  @inlinable public static var dynptrWrite: HelperID { HelperID(rawValue: 202) }
  @inlinable public static var dynptrData: HelperID { HelperID(rawValue: 203) }
  @inlinable public static var tcpRawGenSyncookieIpv4: HelperID { HelperID(rawValue: 204) }
  @inlinable public static var tcpRawGenSyncookieIpv6: HelperID { HelperID(rawValue: 205) }
  @inlinable public static var tcpRawCheckSyncookieIpv4: HelperID { HelperID(rawValue: 206) }
  @inlinable public static var tcpRawCheckSyncookieIpv6: HelperID { HelperID(rawValue: 207) }
  @inlinable public static var ktimeGetTaiNs: HelperID { HelperID(rawValue: 208) }
  @inlinable public static var userRingbufDrain: HelperID { HelperID(rawValue: 209) }
  @inlinable public static var cgrpStorageGet: HelperID { HelperID(rawValue: 210) }
  @inlinable public static var cgrpStorageDelete: HelperID { HelperID(rawValue: 211) }

  /// `bpf_map_lookup_elem` and so on; nil where Linux 6.18 has no such helper.
  public var name: String? {
    Self.names.indices.contains(Int(rawValue)) ? Self.names[Int(rawValue)] : nil
  }

  /// One past the highest number.
  public static let end: Int32 = 212

  private static let names = [
    "bpf_unspec",
    "bpf_map_lookup_elem",
    "bpf_map_update_elem",
    "bpf_map_delete_elem",
    "bpf_probe_read",
    "bpf_ktime_get_ns",
    "bpf_trace_printk",
    "bpf_get_prandom_u32",
    "bpf_get_smp_processor_id",
    "bpf_skb_store_bytes",
    "bpf_l3_csum_replace",
    "bpf_l4_csum_replace",
    "bpf_tail_call",
    "bpf_clone_redirect",
    "bpf_get_current_pid_tgid",
    "bpf_get_current_uid_gid",
    "bpf_get_current_comm",
    "bpf_get_cgroup_classid",
    "bpf_skb_vlan_push",
    "bpf_skb_vlan_pop",
    "bpf_skb_get_tunnel_key",
    "bpf_skb_set_tunnel_key",
    "bpf_perf_event_read",
    "bpf_redirect",
    "bpf_get_route_realm",
    "bpf_perf_event_output",
    "bpf_skb_load_bytes",
    "bpf_get_stackid",
    "bpf_csum_diff",
    "bpf_skb_get_tunnel_opt",
    "bpf_skb_set_tunnel_opt",
    "bpf_skb_change_proto",
    "bpf_skb_change_type",
    "bpf_skb_under_cgroup",
    "bpf_get_hash_recalc",
    "bpf_get_current_task",
    "bpf_probe_write_user",
    "bpf_current_task_under_cgroup",
    "bpf_skb_change_tail",
    "bpf_skb_pull_data",
    "bpf_csum_update",
    "bpf_set_hash_invalid",
    "bpf_get_numa_node_id",
    "bpf_skb_change_head",
    "bpf_xdp_adjust_head",
    "bpf_probe_read_str",
    "bpf_get_socket_cookie",
    "bpf_get_socket_uid",
    "bpf_set_hash",
    "bpf_setsockopt",
    "bpf_skb_adjust_room",
    "bpf_redirect_map",
    "bpf_sk_redirect_map",
    "bpf_sock_map_update",
    "bpf_xdp_adjust_meta",
    "bpf_perf_event_read_value",
    "bpf_perf_prog_read_value",
    "bpf_getsockopt",
    "bpf_override_return",
    "bpf_sock_ops_cb_flags_set",
    "bpf_msg_redirect_map",
    "bpf_msg_apply_bytes",
    "bpf_msg_cork_bytes",
    "bpf_msg_pull_data",
    "bpf_bind",
    "bpf_xdp_adjust_tail",
    "bpf_skb_get_xfrm_state",
    "bpf_get_stack",
    "bpf_skb_load_bytes_relative",
    "bpf_fib_lookup",
    "bpf_sock_hash_update",
    "bpf_msg_redirect_hash",
    "bpf_sk_redirect_hash",
    "bpf_lwt_push_encap",
    "bpf_lwt_seg6_store_bytes",
    "bpf_lwt_seg6_adjust_srh",
    "bpf_lwt_seg6_action",
    "bpf_rc_repeat",
    "bpf_rc_keydown",
    "bpf_skb_cgroup_id",
    "bpf_get_current_cgroup_id",
    "bpf_get_local_storage",
    "bpf_sk_select_reuseport",
    "bpf_skb_ancestor_cgroup_id",
    "bpf_sk_lookup_tcp",
    "bpf_sk_lookup_udp",
    "bpf_sk_release",
    "bpf_map_push_elem",
    "bpf_map_pop_elem",
    "bpf_map_peek_elem",
    "bpf_msg_push_data",
    "bpf_msg_pop_data",
    "bpf_rc_pointer_rel",
    "bpf_spin_lock",
    "bpf_spin_unlock",
    "bpf_sk_fullsock",
    "bpf_tcp_sock",
    "bpf_skb_ecn_set_ce",
    "bpf_get_listener_sock",
    "bpf_skc_lookup_tcp",
    "bpf_tcp_check_syncookie",
    "bpf_sysctl_get_name",
    "bpf_sysctl_get_current_value",
    "bpf_sysctl_get_new_value",
    "bpf_sysctl_set_new_value",
    "bpf_strtol",
    "bpf_strtoul",
    "bpf_sk_storage_get",
    "bpf_sk_storage_delete",
    "bpf_send_signal",
    "bpf_tcp_gen_syncookie",
    "bpf_skb_output",
    "bpf_probe_read_user",
    "bpf_probe_read_kernel",
    "bpf_probe_read_user_str",
    "bpf_probe_read_kernel_str",
    "bpf_tcp_send_ack",
    "bpf_send_signal_thread",
    "bpf_jiffies64",
    "bpf_read_branch_records",
    "bpf_get_ns_current_pid_tgid",
    "bpf_xdp_output",
    "bpf_get_netns_cookie",
    "bpf_get_current_ancestor_cgroup_id",
    "bpf_sk_assign",
    "bpf_ktime_get_boot_ns",
    "bpf_seq_printf",
    "bpf_seq_write",
    "bpf_sk_cgroup_id",
    "bpf_sk_ancestor_cgroup_id",
    "bpf_ringbuf_output",
    "bpf_ringbuf_reserve",
    "bpf_ringbuf_submit",
    "bpf_ringbuf_discard",
    "bpf_ringbuf_query",
    "bpf_csum_level",
    "bpf_skc_to_tcp6_sock",
    "bpf_skc_to_tcp_sock",
    "bpf_skc_to_tcp_timewait_sock",
    "bpf_skc_to_tcp_request_sock",
    "bpf_skc_to_udp6_sock",
    "bpf_get_task_stack",
    "bpf_load_hdr_opt",
    "bpf_store_hdr_opt",
    "bpf_reserve_hdr_opt",
    "bpf_inode_storage_get",
    "bpf_inode_storage_delete",
    "bpf_d_path",
    "bpf_copy_from_user",
    "bpf_snprintf_btf",
    "bpf_seq_printf_btf",
    "bpf_skb_cgroup_classid",
    "bpf_redirect_neigh",
    "bpf_per_cpu_ptr",
    "bpf_this_cpu_ptr",
    "bpf_redirect_peer",
    "bpf_task_storage_get",
    "bpf_task_storage_delete",
    "bpf_get_current_task_btf",
    "bpf_bprm_opts_set",
    "bpf_ktime_get_coarse_ns",
    "bpf_ima_inode_hash",
    "bpf_sock_from_file",
    "bpf_check_mtu",
    "bpf_for_each_map_elem",
    "bpf_snprintf",
    "bpf_sys_bpf",
    "bpf_btf_find_by_name_kind",
    "bpf_sys_close",
    "bpf_timer_init",
    "bpf_timer_set_callback",
    "bpf_timer_start",
    "bpf_timer_cancel",
    "bpf_get_func_ip",
    "bpf_get_attach_cookie",
    "bpf_task_pt_regs",
    "bpf_get_branch_snapshot",
    "bpf_trace_vprintk",
    "bpf_skc_to_unix_sock",
    "bpf_kallsyms_lookup_name",
    "bpf_find_vma",
    "bpf_loop",
    "bpf_strncmp",
    "bpf_get_func_arg",
    "bpf_get_func_ret",
    "bpf_get_func_arg_cnt",
    "bpf_get_retval",
    "bpf_set_retval",
    "bpf_xdp_get_buff_len",
    "bpf_xdp_load_bytes",
    "bpf_xdp_store_bytes",
    "bpf_copy_from_user_task",
    "bpf_skb_set_tstamp",
    "bpf_ima_file_hash",
    "bpf_kptr_xchg",
    "bpf_map_lookup_percpu_elem",
    "bpf_skc_to_mptcp_sock",
    "bpf_dynptr_from_mem",
    "bpf_ringbuf_reserve_dynptr",
    "bpf_ringbuf_submit_dynptr",
    "bpf_ringbuf_discard_dynptr",
    "bpf_dynptr_read",
    "bpf_dynptr_write",
    "bpf_dynptr_data",
    "bpf_tcp_raw_gen_syncookie_ipv4",
    "bpf_tcp_raw_gen_syncookie_ipv6",
    "bpf_tcp_raw_check_syncookie_ipv4",
    "bpf_tcp_raw_check_syncookie_ipv6",
    "bpf_ktime_get_tai_ns",
    "bpf_user_ringbuf_drain",
    "bpf_cgrp_storage_get",
    "bpf_cgrp_storage_delete",
  ]
}
