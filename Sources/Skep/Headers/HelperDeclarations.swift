import BPFLinux

/// C declarations of the helpers, as `bpf/bpf_helper_defs.h` has them for programs.
///
/// Names and numbers are those of `HelperID`; the table below adds what only C needs to know, the types.
enum HelperDeclarations {
  /// One helper as C calls it.
  struct Signature: Equatable {
    let name: String
    let returns: String
    let parameters: [String]
  }

  /// The header's text.
  static var header: String {
    let byName = Dictionary(signatures.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    var structs: Set<String> = []
    var declarations = ""
    for number in 1..<HelperID.end {
      guard let name = HelperID(rawValue: number).name, let signature = byName[name] else { continue }
      for type in signature.parameters + [signature.returns] {
        guard let range = type.firstRange(of: "struct ") else { continue }
        structs.insert(String(type[range.upperBound...].prefix { $0 != " " && $0 != "*" }))
      }
      let parameters = signature.parameters.joined(separator: ", ")
      let attribute = fastCalls.contains(name) ? "__bpf_fastcall " : ""
      declarations +=
        "static \(attribute)\(signature.returns) (* const \(name))(\(parameters)) = (void *) \(number);\n"
    }
    let forwards = structs.sorted().map { "struct \($0);\n" }.joined()
    return "#ifndef __BPF_HELPER_DEFS_H\n#define __BPF_HELPER_DEFS_H\n\n" + fastCallMacro + forwards + "\n"
      + declarations + "\n#endif\n"
  }

  private static let fastCalls: Set<String> = ["bpf_get_smp_processor_id"]

  private static let fastCallMacro = """
    #ifndef __bpf_fastcall
    #if __has_attribute(bpf_fastcall)
    #define __bpf_fastcall __attribute__((bpf_fastcall))
    #else
    #define __bpf_fastcall
    #endif
    #endif


    """

  static let signatures: [Signature] = table.split(separator: "\n").compactMap { line in
    guard let open = line.firstIndex(of: "("), line.last == ")" else { return nil }
    let head = line[..<open]
    let start = head.lastIndex { $0 == " " || $0 == "*" }.map { head.index(after: $0) } ?? head.startIndex
    let list = line[line.index(after: open)...].dropLast()
    var returns = head[..<start]
    while returns.last == " " { returns.removeLast() }
    return Signature(
      name: String(head[start...]), returns: String(returns),
      parameters: list.split(separator: ",").map { String($0.drop { $0 == " " }) })
  }

  /// By number.
  private static let table = """
    void *bpf_map_lookup_elem(void *, const void *)
    long bpf_map_update_elem(void *, const void *, const void *, __u64)
    long bpf_map_delete_elem(void *, const void *)
    long bpf_probe_read(void *, __u32, const void *)
    __u64 bpf_ktime_get_ns(void)
    long bpf_trace_printk(const char *, __u32, ...)
    __u32 bpf_get_prandom_u32(void)
    __u32 bpf_get_smp_processor_id(void)
    long bpf_skb_store_bytes(struct __sk_buff *, __u32, const void *, __u32, __u64)
    long bpf_l3_csum_replace(struct __sk_buff *, __u32, __u64, __u64, __u64)
    long bpf_l4_csum_replace(struct __sk_buff *, __u32, __u64, __u64, __u64)
    long bpf_tail_call(void *, void *, __u32)
    long bpf_clone_redirect(struct __sk_buff *, __u32, __u64)
    __u64 bpf_get_current_pid_tgid(void)
    __u64 bpf_get_current_uid_gid(void)
    long bpf_get_current_comm(void *, __u32)
    __u32 bpf_get_cgroup_classid(struct __sk_buff *)
    long bpf_skb_vlan_push(struct __sk_buff *, __be16, __u16)
    long bpf_skb_vlan_pop(struct __sk_buff *)
    long bpf_skb_get_tunnel_key(struct __sk_buff *, struct bpf_tunnel_key *, __u32, __u64)
    long bpf_skb_set_tunnel_key(struct __sk_buff *, struct bpf_tunnel_key *, __u32, __u64)
    __u64 bpf_perf_event_read(void *, __u64)
    long bpf_redirect(__u32, __u64)
    __u32 bpf_get_route_realm(struct __sk_buff *)
    long bpf_perf_event_output(void *, void *, __u64, void *, __u64)
    long bpf_skb_load_bytes(const void *, __u32, void *, __u32)
    long bpf_get_stackid(void *, void *, __u64)
    __s64 bpf_csum_diff(__be32 *, __u32, __be32 *, __u32, __wsum)
    long bpf_skb_get_tunnel_opt(struct __sk_buff *, void *, __u32)
    long bpf_skb_set_tunnel_opt(struct __sk_buff *, void *, __u32)
    long bpf_skb_change_proto(struct __sk_buff *, __be16, __u64)
    long bpf_skb_change_type(struct __sk_buff *, __u32)
    long bpf_skb_under_cgroup(struct __sk_buff *, void *, __u32)
    __u32 bpf_get_hash_recalc(struct __sk_buff *)
    __u64 bpf_get_current_task(void)
    long bpf_probe_write_user(void *, const void *, __u32)
    long bpf_current_task_under_cgroup(void *, __u32)
    long bpf_skb_change_tail(struct __sk_buff *, __u32, __u64)
    long bpf_skb_pull_data(struct __sk_buff *, __u32)
    __s64 bpf_csum_update(struct __sk_buff *, __wsum)
    void bpf_set_hash_invalid(struct __sk_buff *)
    long bpf_get_numa_node_id(void)
    long bpf_skb_change_head(struct __sk_buff *, __u32, __u64)
    long bpf_xdp_adjust_head(struct xdp_md *, int)
    long bpf_probe_read_str(void *, __u32, const void *)
    __u64 bpf_get_socket_cookie(void *)
    __u32 bpf_get_socket_uid(struct __sk_buff *)
    long bpf_set_hash(struct __sk_buff *, __u32)
    long bpf_setsockopt(void *, int, int, void *, int)
    long bpf_skb_adjust_room(struct __sk_buff *, __s32, __u32, __u64)
    long bpf_redirect_map(void *, __u64, __u64)
    long bpf_sk_redirect_map(struct __sk_buff *, void *, __u32, __u64)
    long bpf_sock_map_update(struct bpf_sock_ops *, void *, void *, __u64)
    long bpf_xdp_adjust_meta(struct xdp_md *, int)
    long bpf_perf_event_read_value(void *, __u64, struct bpf_perf_event_value *, __u32)
    long bpf_perf_prog_read_value(struct bpf_perf_event_data *, struct bpf_perf_event_value *, __u32)
    long bpf_getsockopt(void *, int, int, void *, int)
    long bpf_override_return(struct pt_regs *, __u64)
    long bpf_sock_ops_cb_flags_set(struct bpf_sock_ops *, int)
    long bpf_msg_redirect_map(struct sk_msg_md *, void *, __u32, __u64)
    long bpf_msg_apply_bytes(struct sk_msg_md *, __u32)
    long bpf_msg_cork_bytes(struct sk_msg_md *, __u32)
    long bpf_msg_pull_data(struct sk_msg_md *, __u32, __u32, __u64)
    long bpf_bind(struct bpf_sock_addr *, struct sockaddr *, int)
    long bpf_xdp_adjust_tail(struct xdp_md *, int)
    long bpf_skb_get_xfrm_state(struct __sk_buff *, __u32, struct bpf_xfrm_state *, __u32, __u64)
    long bpf_get_stack(void *, void *, __u32, __u64)
    long bpf_skb_load_bytes_relative(const void *, __u32, void *, __u32, __u32)
    long bpf_fib_lookup(void *, struct bpf_fib_lookup *, int, __u32)
    long bpf_sock_hash_update(struct bpf_sock_ops *, void *, void *, __u64)
    long bpf_msg_redirect_hash(struct sk_msg_md *, void *, void *, __u64)
    long bpf_sk_redirect_hash(struct __sk_buff *, void *, void *, __u64)
    long bpf_lwt_push_encap(struct __sk_buff *, __u32, void *, __u32)
    long bpf_lwt_seg6_store_bytes(struct __sk_buff *, __u32, const void *, __u32)
    long bpf_lwt_seg6_adjust_srh(struct __sk_buff *, __u32, __s32)
    long bpf_lwt_seg6_action(struct __sk_buff *, __u32, void *, __u32)
    long bpf_rc_repeat(void *)
    long bpf_rc_keydown(void *, __u32, __u64, __u32)
    __u64 bpf_skb_cgroup_id(struct __sk_buff *)
    __u64 bpf_get_current_cgroup_id(void)
    void *bpf_get_local_storage(void *, __u64)
    long bpf_sk_select_reuseport(struct sk_reuseport_md *, void *, void *, __u64)
    __u64 bpf_skb_ancestor_cgroup_id(struct __sk_buff *, int)
    struct bpf_sock *bpf_sk_lookup_tcp(void *, struct bpf_sock_tuple *, __u32, __u64, __u64)
    struct bpf_sock *bpf_sk_lookup_udp(void *, struct bpf_sock_tuple *, __u32, __u64, __u64)
    long bpf_sk_release(void *)
    long bpf_map_push_elem(void *, const void *, __u64)
    long bpf_map_pop_elem(void *, void *)
    long bpf_map_peek_elem(void *, void *)
    long bpf_msg_push_data(struct sk_msg_md *, __u32, __u32, __u64)
    long bpf_msg_pop_data(struct sk_msg_md *, __u32, __u32, __u64)
    long bpf_rc_pointer_rel(void *, __s32, __s32)
    long bpf_spin_lock(struct bpf_spin_lock *)
    long bpf_spin_unlock(struct bpf_spin_lock *)
    struct bpf_sock *bpf_sk_fullsock(struct bpf_sock *)
    struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *)
    long bpf_skb_ecn_set_ce(struct __sk_buff *)
    struct bpf_sock *bpf_get_listener_sock(struct bpf_sock *)
    struct bpf_sock *bpf_skc_lookup_tcp(void *, struct bpf_sock_tuple *, __u32, __u64, __u64)
    long bpf_tcp_check_syncookie(void *, void *, __u32, struct tcphdr *, __u32)
    long bpf_sysctl_get_name(struct bpf_sysctl *, char *, unsigned long, __u64)
    long bpf_sysctl_get_current_value(struct bpf_sysctl *, char *, unsigned long)
    long bpf_sysctl_get_new_value(struct bpf_sysctl *, char *, unsigned long)
    long bpf_sysctl_set_new_value(struct bpf_sysctl *, const char *, unsigned long)
    long bpf_strtol(const char *, unsigned long, __u64, long *)
    long bpf_strtoul(const char *, unsigned long, __u64, unsigned long *)
    void *bpf_sk_storage_get(void *, void *, void *, __u64)
    long bpf_sk_storage_delete(void *, void *)
    long bpf_send_signal(__u32)
    __s64 bpf_tcp_gen_syncookie(void *, void *, __u32, struct tcphdr *, __u32)
    long bpf_skb_output(void *, void *, __u64, void *, __u64)
    long bpf_probe_read_user(void *, __u32, const void *)
    long bpf_probe_read_kernel(void *, __u32, const void *)
    long bpf_probe_read_user_str(void *, __u32, const void *)
    long bpf_probe_read_kernel_str(void *, __u32, const void *)
    long bpf_tcp_send_ack(void *, __u32)
    long bpf_send_signal_thread(__u32)
    __u64 bpf_jiffies64(void)
    long bpf_read_branch_records(struct bpf_perf_event_data *, void *, __u32, __u64)
    long bpf_get_ns_current_pid_tgid(__u64, __u64, struct bpf_pidns_info *, __u32)
    long bpf_xdp_output(void *, void *, __u64, void *, __u64)
    __u64 bpf_get_netns_cookie(void *)
    __u64 bpf_get_current_ancestor_cgroup_id(int)
    long bpf_sk_assign(void *, void *, __u64)
    __u64 bpf_ktime_get_boot_ns(void)
    long bpf_seq_printf(struct seq_file *, const char *, __u32, const void *, __u32)
    long bpf_seq_write(struct seq_file *, const void *, __u32)
    __u64 bpf_sk_cgroup_id(void *)
    __u64 bpf_sk_ancestor_cgroup_id(void *, int)
    long bpf_ringbuf_output(void *, void *, __u64, __u64)
    void *bpf_ringbuf_reserve(void *, __u64, __u64)
    void bpf_ringbuf_submit(void *, __u64)
    void bpf_ringbuf_discard(void *, __u64)
    __u64 bpf_ringbuf_query(void *, __u64)
    long bpf_csum_level(struct __sk_buff *, __u64)
    struct tcp6_sock *bpf_skc_to_tcp6_sock(void *)
    struct tcp_sock *bpf_skc_to_tcp_sock(void *)
    struct tcp_timewait_sock *bpf_skc_to_tcp_timewait_sock(void *)
    struct tcp_request_sock *bpf_skc_to_tcp_request_sock(void *)
    struct udp6_sock *bpf_skc_to_udp6_sock(void *)
    long bpf_get_task_stack(struct task_struct *, void *, __u32, __u64)
    long bpf_load_hdr_opt(struct bpf_sock_ops *, void *, __u32, __u64)
    long bpf_store_hdr_opt(struct bpf_sock_ops *, const void *, __u32, __u64)
    long bpf_reserve_hdr_opt(struct bpf_sock_ops *, __u32, __u64)
    void *bpf_inode_storage_get(void *, void *, void *, __u64)
    int bpf_inode_storage_delete(void *, void *)
    long bpf_d_path(const struct path *, char *, __u32)
    long bpf_copy_from_user(void *, __u32, const void *)
    long bpf_snprintf_btf(char *, __u32, struct btf_ptr *, __u32, __u64)
    long bpf_seq_printf_btf(struct seq_file *, struct btf_ptr *, __u32, __u64)
    __u64 bpf_skb_cgroup_classid(struct __sk_buff *)
    long bpf_redirect_neigh(__u32, struct bpf_redir_neigh *, int, __u64)
    void *bpf_per_cpu_ptr(const void *, __u32)
    void *bpf_this_cpu_ptr(const void *)
    long bpf_redirect_peer(__u32, __u64)
    void *bpf_task_storage_get(void *, struct task_struct *, void *, __u64)
    long bpf_task_storage_delete(void *, struct task_struct *)
    struct task_struct *bpf_get_current_task_btf(void)
    long bpf_bprm_opts_set(struct linux_binprm *, __u64)
    __u64 bpf_ktime_get_coarse_ns(void)
    long bpf_ima_inode_hash(struct inode *, void *, __u32)
    struct socket *bpf_sock_from_file(struct file *)
    long bpf_check_mtu(void *, __u32, __u32 *, __s32, __u64)
    long bpf_for_each_map_elem(void *, void *, void *, __u64)
    long bpf_snprintf(char *, __u32, const char *, __u64 *, __u32)
    long bpf_sys_bpf(__u32, void *, __u32)
    long bpf_btf_find_by_name_kind(char *, int, __u32, int)
    long bpf_sys_close(__u32)
    long bpf_timer_init(struct bpf_timer *, void *, __u64)
    long bpf_timer_set_callback(struct bpf_timer *, void *)
    long bpf_timer_start(struct bpf_timer *, __u64, __u64)
    long bpf_timer_cancel(struct bpf_timer *)
    __u64 bpf_get_func_ip(void *)
    __u64 bpf_get_attach_cookie(void *)
    long bpf_task_pt_regs(struct task_struct *)
    long bpf_get_branch_snapshot(void *, __u32, __u64)
    long bpf_trace_vprintk(const char *, __u32, const void *, __u32)
    struct unix_sock *bpf_skc_to_unix_sock(void *)
    long bpf_kallsyms_lookup_name(const char *, int, int, __u64 *)
    long bpf_find_vma(struct task_struct *, __u64, void *, void *, __u64)
    long bpf_loop(__u32, void *, void *, __u64)
    long bpf_strncmp(const char *, __u32, const char *)
    long bpf_get_func_arg(void *, __u32, __u64 *)
    long bpf_get_func_ret(void *, __u64 *)
    long bpf_get_func_arg_cnt(void *)
    int bpf_get_retval(void)
    int bpf_set_retval(int)
    __u64 bpf_xdp_get_buff_len(struct xdp_md *)
    long bpf_xdp_load_bytes(struct xdp_md *, __u32, void *, __u32)
    long bpf_xdp_store_bytes(struct xdp_md *, __u32, void *, __u32)
    long bpf_copy_from_user_task(void *, __u32, const void *, struct task_struct *, __u64)
    long bpf_skb_set_tstamp(struct __sk_buff *, __u64, __u32)
    long bpf_ima_file_hash(struct file *, void *, __u32)
    void *bpf_kptr_xchg(void *, void *)
    void *bpf_map_lookup_percpu_elem(void *, const void *, __u32)
    struct mptcp_sock *bpf_skc_to_mptcp_sock(void *)
    long bpf_dynptr_from_mem(void *, __u32, __u64, struct bpf_dynptr *)
    long bpf_ringbuf_reserve_dynptr(void *, __u32, __u64, struct bpf_dynptr *)
    void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *, __u64)
    void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *, __u64)
    long bpf_dynptr_read(void *, __u32, const struct bpf_dynptr *, __u32, __u64)
    long bpf_dynptr_write(const struct bpf_dynptr *, __u32, void *, __u32, __u64)
    void *bpf_dynptr_data(const struct bpf_dynptr *, __u32, __u32)
    __s64 bpf_tcp_raw_gen_syncookie_ipv4(struct iphdr *, struct tcphdr *, __u32)
    __s64 bpf_tcp_raw_gen_syncookie_ipv6(struct ipv6hdr *, struct tcphdr *, __u32)
    long bpf_tcp_raw_check_syncookie_ipv4(struct iphdr *, struct tcphdr *)
    long bpf_tcp_raw_check_syncookie_ipv6(struct ipv6hdr *, struct tcphdr *)
    __u64 bpf_ktime_get_tai_ns(void)
    long bpf_user_ringbuf_drain(void *, void *, void *, __u64)
    void *bpf_cgrp_storage_get(void *, struct cgroup *, void *, __u64)
    long bpf_cgrp_storage_delete(void *, struct cgroup *)
    """
}
