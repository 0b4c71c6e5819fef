// Sets of the network stack.

extension KfuncSet {
  static let networkSets: [KfuncSet] = [
    packetDynptr, packetMetadataDynptr, xdp, xdpMetadata, socketAddress, tcpRequest, sockOps, socketIterators,
    tcpReno, tcpBBR, tcpCUBIC, tcpDCTCP, fooOverUDP, connectionTracking, addressTranslation, flowTable, xfrmInterface,
    xfrmState, qdisc, mptcpModifiable,
  ]

  static let packetDynptr = KfuncSet(
    hooks: [.trafficControl, .trafficAction, .streamParser, .socketFilter, .cgroup, .lightweightTunnel, .netfilter,
      .tracing],
    kfuncs: [
      Kfunc("bpf_dynptr_from_skb", .trustedArguments),
    ])

  static let packetMetadataDynptr = KfuncSet(
    hooks: [.trafficControl, .trafficAction],
    kfuncs: [
      Kfunc("bpf_dynptr_from_skb_meta", .trustedArguments),
    ])

  static let xdp = KfuncSet(
    hooks: .xdp,
    kfuncs: [
      Kfunc("bpf_dynptr_from_xdp", []),
      Kfunc("bpf_xdp_pull_data", []),
    ])

  /// What the device knows of a packet; each also needs a program bound to one.
  static let xdpMetadata = KfuncSet(
    hooks: .xdp,
    kfuncs: [
      Kfunc("bpf_xdp_metadata_rx_timestamp", .trustedArguments),
      Kfunc("bpf_xdp_metadata_rx_hash", .trustedArguments),
      Kfunc("bpf_xdp_metadata_rx_vlan_tag", .trustedArguments),
    ])

  static let socketAddress = KfuncSet(
    hooks: .cgroup,
    kfuncs: [
      Kfunc("bpf_sock_addr_set_sun_path", []),
    ])

  static let tcpRequest = KfuncSet(
    hooks: .trafficControl,
    kfuncs: [
      Kfunc("bpf_sk_assign_tcp_reqsk", .trustedArguments),
    ])

  static let sockOps = KfuncSet(
    hooks: .cgroup,
    kfuncs: [
      Kfunc("bpf_sock_ops_enable_tx_tstamp", .trustedArguments),
    ])

  static let socketIterators = KfuncSet(
    hooks: .tracing, filter: .iterators,
    kfuncs: [
      Kfunc("bpf_sock_destroy", .trustedArguments),
    ])

  static let tcpReno = KfuncSet(
    hooks: .structOps,
    kfuncs: [
      Kfunc("tcp_reno_ssthresh", []),
      Kfunc("tcp_reno_cong_avoid", []),
      Kfunc("tcp_reno_undo_cwnd", []),
      Kfunc("tcp_slow_start", []),
      Kfunc("tcp_cong_avoid_ai", []),
    ])

  static let tcpBBR = KfuncSet(
    hooks: .structOps, owner: .anywhere,
    kfuncs: [
      Kfunc("bbr_init", []),
      Kfunc("bbr_main", []),
      Kfunc("bbr_sndbuf_expand", []),
      Kfunc("bbr_undo_cwnd", []),
      Kfunc("bbr_cwnd_event", []),
      Kfunc("bbr_ssthresh", []),
      Kfunc("bbr_min_tso_segs", []),
      Kfunc("bbr_set_state", []),
    ])

  static let tcpCUBIC = KfuncSet(
    hooks: .structOps, owner: .anywhere,
    kfuncs: [
      Kfunc("cubictcp_init", []),
      Kfunc("cubictcp_recalc_ssthresh", []),
      Kfunc("cubictcp_cong_avoid", []),
      Kfunc("cubictcp_state", []),
      Kfunc("cubictcp_cwnd_event", []),
      Kfunc("cubictcp_acked", []),
    ])

  static let tcpDCTCP = KfuncSet(
    hooks: .structOps, owner: .anywhere,
    kfuncs: [
      Kfunc("dctcp_init", []),
      Kfunc("dctcp_update_alpha", []),
      Kfunc("dctcp_cwnd_event", []),
      Kfunc("dctcp_ssthresh", []),
      Kfunc("dctcp_cwnd_undo", []),
      Kfunc("dctcp_state", []),
    ])

  static let fooOverUDP = KfuncSet(
    hooks: .trafficControl, owner: .anywhere,
    kfuncs: [
      Kfunc("bpf_skb_set_fou_encap", []),
      Kfunc("bpf_skb_get_fou_encap", []),
    ])

  static let connectionTracking = KfuncSet(
    hooks: [.xdp, .trafficControl], owner: .anywhere,
    kfuncs: [
      Kfunc("bpf_xdp_ct_alloc", [.acquire, .returnsNull]),
      Kfunc("bpf_xdp_ct_lookup", [.acquire, .returnsNull]),
      Kfunc("bpf_skb_ct_alloc", [.acquire, .returnsNull]),
      Kfunc("bpf_skb_ct_lookup", [.acquire, .returnsNull]),
      Kfunc("bpf_ct_insert_entry", [.acquire, .returnsNull, .release]),
      Kfunc("bpf_ct_release", .release),
      Kfunc("bpf_ct_set_timeout", .trustedArguments),
      Kfunc("bpf_ct_change_timeout", .trustedArguments),
      Kfunc("bpf_ct_set_status", .trustedArguments),
      Kfunc("bpf_ct_change_status", .trustedArguments),
    ])

  static let addressTranslation = KfuncSet(
    hooks: [.xdp, .trafficControl], owner: .anywhere,
    kfuncs: [
      Kfunc("bpf_ct_set_nat_info", .trustedArguments),
    ])

  static let flowTable = KfuncSet(
    hooks: .xdp, owner: .anywhere,
    kfuncs: [
      Kfunc("bpf_xdp_flow_lookup", [.trustedArguments, .returnsNull]),
    ])

  static let xfrmInterface = KfuncSet(
    hooks: .trafficControl, owner: .anywhere,
    kfuncs: [
      Kfunc("bpf_skb_get_xfrm_info", []),
      Kfunc("bpf_skb_set_xfrm_info", []),
    ])

  static let xfrmState = KfuncSet(
    hooks: .xdp,
    kfuncs: [
      Kfunc("bpf_xdp_get_xfrm_state", [.returnsNull, .acquire]),
      Kfunc("bpf_xdp_xfrm_state_release", .release),
    ])

  static let qdisc = KfuncSet(
    hooks: .structOps, filter: .qdisc,
    kfuncs: [
      Kfunc("bpf_skb_get_hash", .trustedArguments),
      Kfunc("bpf_kfree_skb", .release),
      Kfunc("bpf_qdisc_skb_drop", .release),
      Kfunc("bpf_dynptr_from_skb", .trustedArguments),
      Kfunc("bpf_qdisc_watchdog_schedule", .trustedArguments),
      Kfunc("bpf_qdisc_init_prologue", .trustedArguments),
      Kfunc("bpf_qdisc_reset_destroy_epilogue", .trustedArguments),
      Kfunc("bpf_qdisc_bstats_update", .trustedArguments),
    ])

  /// Not called, but open to fmod_ret programs.
  static let mptcpModifiable = KfuncSet(
    hooks: .modifyReturn,
    kfuncs: [
      Kfunc("update_socket_protocol", []),
    ])
}
