/// A helper's number (`enum bpf_func_id`); the name is the one user space and the verifier's log print.
public struct HelperID: RawRepresentable, BitwiseCopyable, Hashable, Sendable {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  public static let unspec = HelperID(rawValue: 0)
  public static let mapLookupElem = HelperID(rawValue: 1)
  public static let mapUpdateElem = HelperID(rawValue: 2)
  public static let mapDeleteElem = HelperID(rawValue: 3)
  public static let probeRead = HelperID(rawValue: 4)
  public static let ktimeGetNs = HelperID(rawValue: 5)
  public static let tracePrintk = HelperID(rawValue: 6)
  public static let getPrandomU32 = HelperID(rawValue: 7)
  public static let getSmpProcessorId = HelperID(rawValue: 8)
  public static let skbStoreBytes = HelperID(rawValue: 9)
  public static let l3CsumReplace = HelperID(rawValue: 10)
  public static let l4CsumReplace = HelperID(rawValue: 11)
  public static let tailCall = HelperID(rawValue: 12)
  public static let cloneRedirect = HelperID(rawValue: 13)
  public static let getCurrentPidTgid = HelperID(rawValue: 14)
  public static let getCurrentUidGid = HelperID(rawValue: 15)
  public static let getCurrentComm = HelperID(rawValue: 16)
  public static let getCgroupClassid = HelperID(rawValue: 17)
  public static let skbVlanPush = HelperID(rawValue: 18)
  public static let skbVlanPop = HelperID(rawValue: 19)
  public static let skbGetTunnelKey = HelperID(rawValue: 20)
  public static let skbSetTunnelKey = HelperID(rawValue: 21)
  public static let perfEventRead = HelperID(rawValue: 22)
  public static let redirect = HelperID(rawValue: 23)
  public static let getRouteRealm = HelperID(rawValue: 24)
  public static let perfEventOutput = HelperID(rawValue: 25)
  public static let skbLoadBytes = HelperID(rawValue: 26)
  public static let getStackid = HelperID(rawValue: 27)
  public static let csumDiff = HelperID(rawValue: 28)
  public static let skbGetTunnelOpt = HelperID(rawValue: 29)
  public static let skbSetTunnelOpt = HelperID(rawValue: 30)
  public static let skbChangeProto = HelperID(rawValue: 31)
  public static let skbChangeType = HelperID(rawValue: 32)
  public static let skbUnderCgroup = HelperID(rawValue: 33)
  public static let getHashRecalc = HelperID(rawValue: 34)
  public static let getCurrentTask = HelperID(rawValue: 35)
  public static let probeWriteUser = HelperID(rawValue: 36)
  public static let currentTaskUnderCgroup = HelperID(rawValue: 37)
  public static let skbChangeTail = HelperID(rawValue: 38)
  public static let skbPullData = HelperID(rawValue: 39)
  public static let csumUpdate = HelperID(rawValue: 40)
  public static let setHashInvalid = HelperID(rawValue: 41)
  public static let getNumaNodeId = HelperID(rawValue: 42)
  public static let skbChangeHead = HelperID(rawValue: 43)
  public static let xdpAdjustHead = HelperID(rawValue: 44)
  public static let probeReadStr = HelperID(rawValue: 45)
  public static let getSocketCookie = HelperID(rawValue: 46)
  public static let getSocketUid = HelperID(rawValue: 47)
  public static let setHash = HelperID(rawValue: 48)
  public static let setsockopt = HelperID(rawValue: 49)
  public static let skbAdjustRoom = HelperID(rawValue: 50)
  public static let redirectMap = HelperID(rawValue: 51)
  public static let skRedirectMap = HelperID(rawValue: 52)
  public static let sockMapUpdate = HelperID(rawValue: 53)
  public static let xdpAdjustMeta = HelperID(rawValue: 54)
  public static let perfEventReadValue = HelperID(rawValue: 55)
  public static let perfProgReadValue = HelperID(rawValue: 56)
  public static let getsockopt = HelperID(rawValue: 57)
  public static let overrideReturn = HelperID(rawValue: 58)
  public static let sockOpsCbFlagsSet = HelperID(rawValue: 59)
  public static let msgRedirectMap = HelperID(rawValue: 60)
  public static let msgApplyBytes = HelperID(rawValue: 61)
  public static let msgCorkBytes = HelperID(rawValue: 62)
  public static let msgPullData = HelperID(rawValue: 63)
  public static let bind = HelperID(rawValue: 64)
  public static let xdpAdjustTail = HelperID(rawValue: 65)
  public static let skbGetXfrmState = HelperID(rawValue: 66)
  public static let getStack = HelperID(rawValue: 67)
  public static let skbLoadBytesRelative = HelperID(rawValue: 68)
  public static let fibLookup = HelperID(rawValue: 69)
  public static let sockHashUpdate = HelperID(rawValue: 70)
  public static let msgRedirectHash = HelperID(rawValue: 71)
  public static let skRedirectHash = HelperID(rawValue: 72)
  public static let lwtPushEncap = HelperID(rawValue: 73)
  public static let lwtSeg6StoreBytes = HelperID(rawValue: 74)
  public static let lwtSeg6AdjustSrh = HelperID(rawValue: 75)
  public static let lwtSeg6Action = HelperID(rawValue: 76)
  public static let rcRepeat = HelperID(rawValue: 77)
  public static let rcKeydown = HelperID(rawValue: 78)
  public static let skbCgroupId = HelperID(rawValue: 79)
  public static let getCurrentCgroupId = HelperID(rawValue: 80)
  public static let getLocalStorage = HelperID(rawValue: 81)
  public static let skSelectReuseport = HelperID(rawValue: 82)
  public static let skbAncestorCgroupId = HelperID(rawValue: 83)
  public static let skLookupTcp = HelperID(rawValue: 84)
  public static let skLookupUdp = HelperID(rawValue: 85)
  public static let skRelease = HelperID(rawValue: 86)
  public static let mapPushElem = HelperID(rawValue: 87)
  public static let mapPopElem = HelperID(rawValue: 88)
  public static let mapPeekElem = HelperID(rawValue: 89)
  public static let msgPushData = HelperID(rawValue: 90)
  public static let msgPopData = HelperID(rawValue: 91)
  public static let rcPointerRel = HelperID(rawValue: 92)
  public static let spinLock = HelperID(rawValue: 93)
  public static let spinUnlock = HelperID(rawValue: 94)
  public static let skFullsock = HelperID(rawValue: 95)
  public static let tcpSock = HelperID(rawValue: 96)
  public static let skbEcnSetCe = HelperID(rawValue: 97)
  public static let getListenerSock = HelperID(rawValue: 98)
  public static let skcLookupTcp = HelperID(rawValue: 99)
  public static let tcpCheckSyncookie = HelperID(rawValue: 100)
  public static let sysctlGetName = HelperID(rawValue: 101)
  public static let sysctlGetCurrentValue = HelperID(rawValue: 102)
  public static let sysctlGetNewValue = HelperID(rawValue: 103)
  public static let sysctlSetNewValue = HelperID(rawValue: 104)
  public static let strtol = HelperID(rawValue: 105)
  public static let strtoul = HelperID(rawValue: 106)
  public static let skStorageGet = HelperID(rawValue: 107)
  public static let skStorageDelete = HelperID(rawValue: 108)
  public static let sendSignal = HelperID(rawValue: 109)
  public static let tcpGenSyncookie = HelperID(rawValue: 110)
  public static let skbOutput = HelperID(rawValue: 111)
  public static let probeReadUser = HelperID(rawValue: 112)
  public static let probeReadKernel = HelperID(rawValue: 113)
  public static let probeReadUserStr = HelperID(rawValue: 114)
  public static let probeReadKernelStr = HelperID(rawValue: 115)
  public static let tcpSendAck = HelperID(rawValue: 116)
  public static let sendSignalThread = HelperID(rawValue: 117)
  public static let jiffies64 = HelperID(rawValue: 118)
  public static let readBranchRecords = HelperID(rawValue: 119)
  public static let getNsCurrentPidTgid = HelperID(rawValue: 120)
  public static let xdpOutput = HelperID(rawValue: 121)
  public static let getNetnsCookie = HelperID(rawValue: 122)
  public static let getCurrentAncestorCgroupId = HelperID(rawValue: 123)
  public static let skAssign = HelperID(rawValue: 124)
  public static let ktimeGetBootNs = HelperID(rawValue: 125)
  public static let seqPrintf = HelperID(rawValue: 126)
  public static let seqWrite = HelperID(rawValue: 127)
  public static let skCgroupId = HelperID(rawValue: 128)
  public static let skAncestorCgroupId = HelperID(rawValue: 129)
  public static let ringbufOutput = HelperID(rawValue: 130)
  public static let ringbufReserve = HelperID(rawValue: 131)
  public static let ringbufSubmit = HelperID(rawValue: 132)
  public static let ringbufDiscard = HelperID(rawValue: 133)
  public static let ringbufQuery = HelperID(rawValue: 134)
  public static let csumLevel = HelperID(rawValue: 135)
  public static let skcToTcp6Sock = HelperID(rawValue: 136)
  public static let skcToTcpSock = HelperID(rawValue: 137)
  public static let skcToTcpTimewaitSock = HelperID(rawValue: 138)
  public static let skcToTcpRequestSock = HelperID(rawValue: 139)
  public static let skcToUdp6Sock = HelperID(rawValue: 140)
  public static let getTaskStack = HelperID(rawValue: 141)
  public static let loadHdrOpt = HelperID(rawValue: 142)
  public static let storeHdrOpt = HelperID(rawValue: 143)
  public static let reserveHdrOpt = HelperID(rawValue: 144)
  public static let inodeStorageGet = HelperID(rawValue: 145)
  public static let inodeStorageDelete = HelperID(rawValue: 146)
  public static let dPath = HelperID(rawValue: 147)
  public static let copyFromUser = HelperID(rawValue: 148)
  public static let snprintfBtf = HelperID(rawValue: 149)
  public static let seqPrintfBtf = HelperID(rawValue: 150)
  public static let skbCgroupClassid = HelperID(rawValue: 151)
  public static let redirectNeigh = HelperID(rawValue: 152)
  public static let perCpuPtr = HelperID(rawValue: 153)
  public static let thisCpuPtr = HelperID(rawValue: 154)
  public static let redirectPeer = HelperID(rawValue: 155)
  public static let taskStorageGet = HelperID(rawValue: 156)
  public static let taskStorageDelete = HelperID(rawValue: 157)
  public static let getCurrentTaskBtf = HelperID(rawValue: 158)
  public static let bprmOptsSet = HelperID(rawValue: 159)
  public static let ktimeGetCoarseNs = HelperID(rawValue: 160)
  public static let imaInodeHash = HelperID(rawValue: 161)
  public static let sockFromFile = HelperID(rawValue: 162)
  public static let checkMtu = HelperID(rawValue: 163)
  public static let forEachMapElem = HelperID(rawValue: 164)
  public static let snprintf = HelperID(rawValue: 165)
  public static let sysBpf = HelperID(rawValue: 166)
  public static let btfFindByNameKind = HelperID(rawValue: 167)
  public static let sysClose = HelperID(rawValue: 168)
  public static let timerInit = HelperID(rawValue: 169)
  public static let timerSetCallback = HelperID(rawValue: 170)
  public static let timerStart = HelperID(rawValue: 171)
  public static let timerCancel = HelperID(rawValue: 172)
  public static let getFuncIp = HelperID(rawValue: 173)
  public static let getAttachCookie = HelperID(rawValue: 174)
  public static let taskPtRegs = HelperID(rawValue: 175)
  public static let getBranchSnapshot = HelperID(rawValue: 176)
  public static let traceVprintk = HelperID(rawValue: 177)
  public static let skcToUnixSock = HelperID(rawValue: 178)
  public static let kallsymsLookupName = HelperID(rawValue: 179)
  public static let findVma = HelperID(rawValue: 180)
  public static let loop = HelperID(rawValue: 181)
  public static let strncmp = HelperID(rawValue: 182)
  public static let getFuncArg = HelperID(rawValue: 183)
  public static let getFuncRet = HelperID(rawValue: 184)
  public static let getFuncArgCnt = HelperID(rawValue: 185)
  public static let getRetval = HelperID(rawValue: 186)
  public static let setRetval = HelperID(rawValue: 187)
  public static let xdpGetBuffLen = HelperID(rawValue: 188)
  public static let xdpLoadBytes = HelperID(rawValue: 189)
  public static let xdpStoreBytes = HelperID(rawValue: 190)
  public static let copyFromUserTask = HelperID(rawValue: 191)
  public static let skbSetTstamp = HelperID(rawValue: 192)
  public static let imaFileHash = HelperID(rawValue: 193)
  public static let kptrXchg = HelperID(rawValue: 194)
  public static let mapLookupPercpuElem = HelperID(rawValue: 195)
  public static let skcToMptcpSock = HelperID(rawValue: 196)
  public static let dynptrFromMem = HelperID(rawValue: 197)
  public static let ringbufReserveDynptr = HelperID(rawValue: 198)
  public static let ringbufSubmitDynptr = HelperID(rawValue: 199)
  public static let ringbufDiscardDynptr = HelperID(rawValue: 200)
  public static let dynptrRead = HelperID(rawValue: 201)
  public static let dynptrWrite = HelperID(rawValue: 202)
  public static let dynptrData = HelperID(rawValue: 203)
  public static let tcpRawGenSyncookieIpv4 = HelperID(rawValue: 204)
  public static let tcpRawGenSyncookieIpv6 = HelperID(rawValue: 205)
  public static let tcpRawCheckSyncookieIpv4 = HelperID(rawValue: 206)
  public static let tcpRawCheckSyncookieIpv6 = HelperID(rawValue: 207)
  public static let ktimeGetTaiNs = HelperID(rawValue: 208)
  public static let userRingbufDrain = HelperID(rawValue: 209)
  public static let cgrpStorageGet = HelperID(rawValue: 210)
  public static let cgrpStorageDelete = HelperID(rawValue: 211)

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
