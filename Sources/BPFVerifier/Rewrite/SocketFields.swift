import BPFISA

/// A socket that no receive queue belongs to.
private let noQueueMapping: Int32 = 0xffff

// Sockets and what looks at them.

extension ContextFieldAccess {
  mutating func convertSocket() {
    guard let (name, inside) = memberAnywhere("bpf_sock") else { return }
    if name == "src_ip6" || name == "dst_ip6" {
      let field = field("sock_common", name == "src_ip6" ? "skc_v6_rcv_saddr" : "skc_v6_daddr")
      targetSize = 4
      emit(.load(insn.sizeCode, dst, src, field.offset + inside))
      return
    }
    guard inside == 0 else { return }
    switch name {
    case "bound_dev_if": access("sock", "__sk_common.skc_bound_dev_if")
    case "mark": access("sock", "sk_mark")
    case "priority": access("sock", "sk_priority")
    case "family": read("sock_common", "skc_family", target: true)
    case "type": read("sock", "sk_type", target: true)
    case "protocol": read("sock", "sk_protocol", target: true)
    case "src_ip4": access("sock_common", "skc_rcv_saddr", target: true, size: insn.sizeCode)
    case "dst_ip4": access("sock_common", "skc_daddr", target: true, size: insn.sizeCode)
    case "src_port": read("sock_common", "skc_num", target: true)
    case "dst_port": read("sock_common", "skc_dport", target: true)
    case "state": read("sock_common", "skc_state", target: true)
    case "rx_queue_mapping":
      read("sock", "sk_rx_queue_mapping", target: true)
      emit(.jump(Jump.jne, dst, noQueueMapping, to: 1), .alu64(ALU.mov, dst, -1))
    default: break
    }
  }

  mutating func convertTCPSocket() {
    guard let name = member("bpf_tcp_sock") else { return }
    switch name {
    case "rtt_min":
      let place = field("tcp_sock", "rtt_min").offset + field("minmax_sample", "v").offset
      emit(.load(Size.w, dst, src, place))
    case "icsk_retransmits": read("inet_connection_sock", name)
    default: read("tcp_sock", name)
    }
  }

  mutating func convertXDP() {
    guard let name = member("xdp_md") else { return }
    switch name {
    case "data", "data_meta", "data_end": read("xdp_buff", name)
    case "ingress_ifindex":
      read("xdp_buff", "rxq")
      readOn("xdp_rxq_info", "dev")
      readOn("net_device", "ifindex")
    case "rx_queue_index":
      read("xdp_buff", "rxq")
      readOn("xdp_rxq_info", "queue_index")
    case "egress_ifindex":
      read("xdp_buff", "txq")
      readOn("xdp_txq_info", "dev")
      readOn("net_device", "ifindex")
    default: break
    }
  }

  mutating func convertSocketAddress() {
    guard let (name, inside) = memberAnywhere("bpf_sock_addr") else { return }
    let kernel = "bpf_sock_addr_kern"
    switch name {
    case "user_ip6":
      accessNested(
        kernel, "uaddr", "sockaddr_in6", "sin6_addr", size: insn.sizeCode, plus: inside, innerSize: 4)
      return
    case "msg_src_ip6":
      accessNested(kernel, "t_ctx", "in6_addr", "in6_u", size: insn.sizeCode, plus: inside, innerSize: 4)
      return
    default: break
    }
    guard inside == 0 else { return }
    switch name {
    case "user_family": accessNested(kernel, "uaddr", "sockaddr", "sa_family")
    case "user_ip4": accessNested(kernel, "uaddr", "sockaddr_in", "sin_addr", size: insn.sizeCode)
    case "user_port":
      accessNested(kernel, "uaddr", "sockaddr_in6", "sin6_port", size: Size.of(min(2, insn.accessSize)))
    case "family": accessNested(kernel, "sk", "sock", "__sk_common.skc_family")
    case "type": accessNested(kernel, "sk", "sock", "sk_type")
    case "protocol": accessNested(kernel, "sk", "sock", "sk_protocol")
    case "msg_src_ip4": accessNested(kernel, "t_ctx", "in_addr", "s_addr", size: insn.sizeCode)
    case "sk": read(kernel, "sk")
    default: break
    }
  }

  // MARK: sock_ops

  mutating func convertSocketOperations() {
    guard let (name, inside) = memberAnywhere("bpf_sock_ops") else { return }
    let kernel = "bpf_sock_ops_kern"
    switch name {
    case "args", "reply", "replylong":
      return accessAt(field(kernel, "replylong").offset + inside, Size.w)
    case "remote_ip6", "local_ip6":
      read(kernel, "sk")
      return readOn(
        "sock_common", name == "remote_ip6" ? "skc_v6_daddr" : "skc_v6_rcv_saddr", size: Size.w, plus: inside)
    default: break
    }
    guard inside == 0 else { return }
    switch name {
    case "op", "is_fullsock", "skb_data_end": read(kernel, name)
    case "family", "remote_ip4", "local_ip4", "remote_port", "local_port": readCommon(kernel, name)
    case "state":
      read(kernel, "sk")
      readOn("sock_common", "skc_state")
    case "rtt_min":
      read(kernel, "sk")
      let place = field("tcp_sock", "rtt_min").offset + field("minmax_sample", "t").size
      emit(.load(Size.w, dst, dst, place))
    case "sk_txhash":
      if isWrite { writeLocked("sock", name) } else { readLocked("sock", name) }
    case "sk": readFullSocket()
    case "skb_data", "skb_len":
      read(kernel, "skb")
      emit(.jump(Jump.jeq, dst, 0, to: 1))
      readOn("sk_buff", name == "skb_data" ? "data" : "len")
    case "skb_tcp_flags":
      let flags = field("tcp_skb_cb", "tcp_flags")
      targetSize = flags.size
      read(kernel, "skb")
      let place = field("sk_buff", "cb").offset + flags.offset
      emit(.jump(Jump.jeq, dst, 0, to: 1), .load(Size.of(flags.size), dst, dst, place))
    case "skb_hwtstamp":
      read(kernel, "skb")
      emit(.jump(Jump.jeq, dst, 0, to: 4))
      readSharedInfo(from: dst)
      readOn("skb_shared_info", "hwtstamps", target: true)
    default: readLocked("tcp_sock", name)
    }
  }

  private mutating func readCommon(_ kernel: String, _ name: String) {
    read(kernel, "sk")
    switch name {
    case "family": readOn("sock_common", "skc_family")
    case "remote_ip4": readOn("sock_common", "skc_daddr")
    case "local_ip4": readOn("sock_common", "skc_rcv_saddr")
    case "remote_port":
      readOn("sock_common", "skc_dport")
      emit(.alu32(ALU.lsh, dst, 16))
    default: readOn("sock_common", "skc_num")
    }
  }

  /// A field of the socket, or 0 where the socket is not a locked TCP socket.
  private mutating func readLocked(_ structure: String, _ name: String) {
    let inner = field(structure, name)
    readGuarded("is_locked_tcp_sock", then: .load(Size.of(inner.size), dst, dst, inner.offset))
  }

  /// The socket, or null where it is not a whole one.
  private mutating func readFullSocket() { readGuarded("is_fullsock", then: nil) }

  private mutating func readGuarded(_ condition: String, then last: Instruction?) {
    let kernel = "bpf_sock_ops_kern"
    let same = dst == src
    let spare = spareRegister
    let temporary = field(kernel, "temp").offset
    let test = field(kernel, condition)
    let socket = field(kernel, "sk").offset
    let checked = same ? spare : dst
    if same { emit(.store(Size.dw, src, temporary, register: spare)) }
    let skipped = (last == nil ? 1 : 2) + (same ? 2 : 0)
    emit(.load(Size.of(test.size), checked, src, test.offset), .jump(Jump.jeq, checked, 0, to: skipped))
    if same { emit(.load(Size.dw, spare, src, temporary)) }
    emit(.load(Size.dw, dst, src, socket))
    if let last { emit(last) }
    if same { emit(.jump(to: 2), .load(Size.dw, spare, src, temporary), .alu64(ALU.mov, dst, 0)) }
  }

  private mutating func writeLocked(_ structure: String, _ name: String) {
    let kernel = "bpf_sock_ops_kern"
    let spare = spareRegister
    let temporary = field(kernel, "temp").offset
    let test = field(kernel, "is_locked_tcp_sock")
    let socket = field(kernel, "sk").offset
    let inner = field(structure, name)
    emit(
      .store(Size.dw, dst, temporary, register: spare), .load(Size.of(test.size), spare, dst, test.offset),
      .jump(Jump.jeq, spare, 0, to: 2), .load(Size.dw, spare, dst, socket),
      insn.storing(Size.of(inner.size), at: inner.offset, base: spare), .load(Size.dw, spare, dst, temporary))
  }

  // MARK: messages, reuseport, lookup

  mutating func convertMessage() {
    guard let (name, inside) = memberAnywhere("sk_msg_md") else { return }
    if name == "remote_ip6" || name == "local_ip6" {
      read("sk_msg", "sk")
      return readOn(
        "sock_common", name == "remote_ip6" ? "skc_v6_daddr" : "skc_v6_rcv_saddr", size: Size.w, plus: inside)
    }
    guard inside == 0 else { return }
    switch name {
    case "data", "data_end", "sk": read("sk_msg", name)
    case "size": read("sk_msg_sg", "size")
    case "family", "remote_ip4", "local_ip4", "remote_port", "local_port": readCommon("sk_msg", name)
    default: break
    }
  }

  mutating func convertReuseport() {
    guard let name = member("sk_reuseport_md") else { return }
    let kernel = "sk_reuseport_kern"
    switch name {
    case "data", "len": accessNested(kernel, "skb", "sk_buff", name)
    case "eth_protocol": accessNested(kernel, "skb", "sk_buff", "protocol")
    case "ip_protocol": accessNested(kernel, "sk", "sock", "sk_protocol")
    case "data_end", "hash", "bind_inany", "sk", "migrating_sk": read(kernel, name, target: true)
    default: break
    }
  }

  mutating func convertSocketLookup() {
    let kernel = "bpf_sk_lookup_kern"
    guard let (name, inside) = memberAnywhere("bpf_sk_lookup") else { return padRemotePort() }
    if name == "remote_ip6" || name == "local_ip6" {
      targetSize = 4
      let pointer = field(kernel, name == "remote_ip6" ? "v6.saddr" : "v6.daddr")
      emit(
        .load(Size.dw, dst, src, pointer.offset), .jump(Jump.jeq, dst, 0, to: 1), .load(Size.w, dst, dst, inside))
      return
    }
    guard inside == 0 else { return padRemotePort() }
    switch name {
    case "sk", "cookie": emit(.load(Size.dw, dst, src, field(kernel, "selected_sk").offset))
    case "family", "protocol", "ingress_ifindex": read(kernel, name, target: true)
    case "remote_ip4": read(kernel, "v4.saddr", target: true)
    case "local_ip4": read(kernel, "v4.daddr", target: true)
    case "remote_port": read(kernel, "sport", target: true)
    case "local_port": read(kernel, "dport", target: true)
    default: padRemotePort()
    }
  }

  /// The two bytes behind the port are zero.
  private mutating func padRemotePort() {
    guard let port = fields.field("bpf_sk_lookup", "remote_port"), offset == port.offset + port.size else { return }
    targetSize = 2
    emit(.alu32(ALU.mov, dst, 0))
  }

  // MARK: perf_event, sysctl, sockopt

  mutating func convertPerfEvent() {
    let kernel = "bpf_perf_event_data_kern"
    switch member("bpf_perf_event_data") {
    case "sample_period":
      read(kernel, "data")
      readOn("perf_sample_data", "period", target: true)
    case "addr":
      read(kernel, "data")
      readOn("perf_sample_data", "addr", target: true)
    default:
      read(kernel, "regs")
      emit(.load(Size.dw, dst, dst, offset))
    }
  }

  mutating func convertSysctl() {
    let kernel = "bpf_sysctl_kern"
    switch member("bpf_sysctl") {
    case "write":
      access(kernel, "write", target: true, size: insn.sizeCode)
    case "file_pos":
      let position = field(kernel, "ppos").offset
      if isWrite {
        let spare = spareRegister
        let saved = field(kernel, "tmp_reg").offset
        emit(
          .store(Size.dw, dst, saved, register: spare), .load(Size.dw, spare, dst, position),
          insn.storing(Size.w, at: 0, base: spare), .load(Size.dw, spare, dst, saved))
      } else {
        emit(.load(Size.dw, dst, src, position), .load(insn.sizeCode, dst, dst, 0))
      }
      targetSize = 4
    default: break
    }
  }

  mutating func convertSocketOption() {
    let kernel = "bpf_sockopt_kern"
    guard let name = member("bpf_sockopt") else { return }
    switch name {
    case "sk", "optval", "optval_end": read(kernel, name)
    case "level", "optname", "optlen": access(kernel, name)
    case "retval":
      let task = field(kernel, "current_task").offset
      let context = field("task_struct", "bpf_ctx").offset
      let value = field("bpf_cg_run_ctx", "retval")
      guard isWrite else {
        emit(
          .load(Size.dw, dst, src, task), .load(Size.dw, dst, dst, context),
          .load(Size.of(value.size), dst, dst, value.offset))
        return
      }
      let spare = spareRegister
      let saved = field(kernel, "tmp_reg").offset
      emit(
        .store(Size.dw, dst, saved, register: spare), .load(Size.dw, spare, dst, task),
        .load(Size.dw, spare, spare, context), insn.storing(Size.of(value.size), at: value.offset, base: spare),
        .load(Size.dw, spare, dst, saved))
    default: break
    }
  }
}
