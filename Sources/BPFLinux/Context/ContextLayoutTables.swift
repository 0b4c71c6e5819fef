// Field tables of the structs of include/uapi/linux/bpf.h: name, offset, bytes of an element, elements.
extension ContextLayout {
  public static let skBuff = ContextLayout(
    "__sk_buff", size: 192,
    [
      ("len", 0, 4, 1), ("pkt_type", 4, 4, 1), ("mark", 8, 4, 1), ("queue_mapping", 12, 4, 1), ("protocol", 16, 4, 1),
      ("vlan_present", 20, 4, 1), ("vlan_tci", 24, 4, 1), ("vlan_proto", 28, 4, 1), ("priority", 32, 4, 1),
      ("ingress_ifindex", 36, 4, 1), ("ifindex", 40, 4, 1), ("tc_index", 44, 4, 1), ("cb", 48, 4, 5),
      ("hash", 68, 4, 1), ("tc_classid", 72, 4, 1), ("data", 76, 4, 1), ("data_end", 80, 4, 1), ("napi_id", 84, 4, 1),
      ("family", 88, 4, 1), ("remote_ip4", 92, 4, 1), ("local_ip4", 96, 4, 1), ("remote_ip6", 100, 4, 4),
      ("local_ip6", 116, 4, 4), ("remote_port", 132, 4, 1), ("local_port", 136, 4, 1), ("data_meta", 140, 4, 1),
      ("flow_keys", 144, 8, 1), ("tstamp", 152, 8, 1), ("wire_len", 160, 4, 1), ("gso_segs", 164, 4, 1),
      ("sk", 168, 8, 1), ("gso_size", 176, 4, 1), ("tstamp_type", 180, 1, 1), ("hwtstamp", 184, 8, 1),
    ])
  public static let xdpMetadata = ContextLayout(
    "xdp_md", size: 24,
    [
      ("data", 0, 4, 1), ("data_end", 4, 4, 1), ("data_meta", 8, 4, 1), ("ingress_ifindex", 12, 4, 1),
      ("rx_queue_index", 16, 4, 1), ("egress_ifindex", 20, 4, 1),
    ])
  public static let skMsgMetadata = ContextLayout(
    "sk_msg_md", size: 80,
    [
      ("data", 0, 8, 1), ("data_end", 8, 8, 1), ("family", 16, 4, 1), ("remote_ip4", 20, 4, 1),
      ("local_ip4", 24, 4, 1), ("remote_ip6", 28, 4, 4), ("local_ip6", 44, 4, 4), ("remote_port", 60, 4, 1),
      ("local_port", 64, 4, 1), ("size", 68, 4, 1), ("sk", 72, 8, 1),
    ])
  public static let skReuseportMetadata = ContextLayout(
    "sk_reuseport_md", size: 56,
    [
      ("data", 0, 8, 1), ("data_end", 8, 8, 1), ("len", 16, 4, 1), ("eth_protocol", 20, 4, 1),
      ("ip_protocol", 24, 4, 1), ("bind_inany", 28, 4, 1), ("hash", 32, 4, 1), ("sk", 40, 8, 1),
      ("migrating_sk", 48, 8, 1),
    ])
  public static let socket = ContextLayout(
    "bpf_sock", size: 80,
    [
      ("bound_dev_if", 0, 4, 1), ("family", 4, 4, 1), ("type", 8, 4, 1), ("protocol", 12, 4, 1), ("mark", 16, 4, 1),
      ("priority", 20, 4, 1), ("src_ip4", 24, 4, 1), ("src_ip6", 28, 4, 4), ("src_port", 44, 4, 1),
      ("dst_port", 48, 2, 1), ("dst_ip4", 52, 4, 1), ("dst_ip6", 56, 4, 4), ("state", 72, 4, 1),
      ("rx_queue_mapping", 76, 4, 1),
    ])
  public static let socketAddress = ContextLayout(
    "bpf_sock_addr", size: 72,
    [
      ("user_family", 0, 4, 1), ("user_ip4", 4, 4, 1), ("user_ip6", 8, 4, 4), ("user_port", 24, 4, 1),
      ("family", 28, 4, 1), ("type", 32, 4, 1), ("protocol", 36, 4, 1), ("msg_src_ip4", 40, 4, 1),
      ("msg_src_ip6", 44, 4, 4), ("sk", 64, 8, 1),
    ])
  public static let socketOperations = ContextLayout(
    "bpf_sock_ops", size: 224,
    [
      ("op", 0, 4, 1), ("args", 4, 4, 4), ("reply", 4, 4, 1), ("replylong", 4, 4, 4), ("family", 20, 4, 1),
      ("remote_ip4", 24, 4, 1), ("local_ip4", 28, 4, 1), ("remote_ip6", 32, 4, 4), ("local_ip6", 48, 4, 4),
      ("remote_port", 64, 4, 1), ("local_port", 68, 4, 1), ("is_fullsock", 72, 4, 1), ("snd_cwnd", 76, 4, 1),
      ("srtt_us", 80, 4, 1), ("bpf_sock_ops_cb_flags", 84, 4, 1), ("state", 88, 4, 1), ("rtt_min", 92, 4, 1),
      ("snd_ssthresh", 96, 4, 1), ("rcv_nxt", 100, 4, 1), ("snd_nxt", 104, 4, 1), ("snd_una", 108, 4, 1),
      ("mss_cache", 112, 4, 1), ("ecn_flags", 116, 4, 1), ("rate_delivered", 120, 4, 1),
      ("rate_interval_us", 124, 4, 1), ("packets_out", 128, 4, 1), ("retrans_out", 132, 4, 1),
      ("total_retrans", 136, 4, 1), ("segs_in", 140, 4, 1), ("data_segs_in", 144, 4, 1), ("segs_out", 148, 4, 1),
      ("data_segs_out", 152, 4, 1), ("lost_out", 156, 4, 1), ("sacked_out", 160, 4, 1), ("sk_txhash", 164, 4, 1),
      ("bytes_received", 168, 8, 1), ("bytes_acked", 176, 8, 1), ("sk", 184, 8, 1), ("skb_data", 192, 8, 1),
      ("skb_data_end", 200, 8, 1), ("skb_len", 208, 4, 1), ("skb_tcp_flags", 212, 4, 1), ("skb_hwtstamp", 216, 8, 1),
    ])
  public static let socketLookup = ContextLayout(
    "bpf_sk_lookup", size: 72,
    [
      ("sk", 0, 8, 1), ("cookie", 0, 8, 1), ("family", 8, 4, 1), ("protocol", 12, 4, 1), ("remote_ip4", 16, 4, 1),
      ("remote_ip6", 20, 4, 4), ("remote_port", 36, 2, 1), ("local_ip4", 40, 4, 1), ("local_ip6", 44, 4, 4),
      ("local_port", 60, 4, 1), ("ingress_ifindex", 64, 4, 1),
    ])
  public static let socketOption = ContextLayout(
    "bpf_sockopt", size: 40,
    [
      ("sk", 0, 8, 1), ("optval", 8, 8, 1), ("optval_end", 16, 8, 1), ("level", 24, 4, 1), ("optname", 28, 4, 1),
      ("optlen", 32, 4, 1), ("retval", 36, 4, 1),
    ])
  public static let sysctl = ContextLayout(
    "bpf_sysctl", size: 8,
    [
      ("write", 0, 4, 1), ("file_pos", 4, 4, 1),
    ])
  public static let cgroupDevice = ContextLayout(
    "bpf_cgroup_dev_ctx", size: 12,
    [
      ("access_type", 0, 4, 1), ("major", 4, 4, 1), ("minor", 8, 4, 1),
    ])
  public static let flowKeys = ContextLayout(
    "bpf_flow_keys", size: 56,
    [
      ("nhoff", 0, 2, 1), ("thoff", 2, 2, 1), ("addr_proto", 4, 2, 1), ("is_frag", 6, 1, 1),
      ("is_first_frag", 7, 1, 1), ("is_encap", 8, 1, 1), ("ip_proto", 9, 1, 1), ("n_proto", 10, 2, 1),
      ("sport", 12, 2, 1), ("dport", 14, 2, 1), ("ipv4_src", 16, 4, 1), ("ipv4_dst", 20, 4, 1),
      ("ipv6_src", 16, 4, 4), ("ipv6_dst", 32, 4, 4), ("flags", 48, 4, 1), ("flow_label", 52, 4, 1),
    ])
  public static let tcpSocket = ContextLayout(
    "bpf_tcp_sock", size: 112,
    [
      ("snd_cwnd", 0, 4, 1), ("srtt_us", 4, 4, 1), ("rtt_min", 8, 4, 1), ("snd_ssthresh", 12, 4, 1),
      ("rcv_nxt", 16, 4, 1), ("snd_nxt", 20, 4, 1), ("snd_una", 24, 4, 1), ("mss_cache", 28, 4, 1),
      ("ecn_flags", 32, 4, 1), ("rate_delivered", 36, 4, 1), ("rate_interval_us", 40, 4, 1),
      ("packets_out", 44, 4, 1), ("retrans_out", 48, 4, 1), ("total_retrans", 52, 4, 1), ("segs_in", 56, 4, 1),
      ("data_segs_in", 60, 4, 1), ("segs_out", 64, 4, 1), ("data_segs_out", 68, 4, 1), ("lost_out", 72, 4, 1),
      ("sacked_out", 76, 4, 1), ("bytes_received", 80, 8, 1), ("bytes_acked", 88, 8, 1), ("dsack_dups", 96, 4, 1),
      ("delivered", 100, 4, 1), ("delivered_ce", 104, 4, 1), ("icsk_retransmits", 108, 4, 1),
    ])
  public static let xdpSocket = ContextLayout(
    "bpf_xdp_sock", size: 4,
    [
      ("queue_id", 0, 4, 1),
    ])
  public static let netfilter = ContextLayout("bpf_nf_ctx", size: 16, [("state", 0, 8, 1), ("skb", 8, 8, 1)])
}
