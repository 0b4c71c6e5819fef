import BPFISA

/// A packet that no queue belongs to.
private let noQueueMapping: Int32 = 0xffff

// `struct __sk_buff` is `struct sk_buff` with its control block, device and socket.

extension ContextFieldAccess {
  mutating func convertTrafficControl() {
    guard member("__sk_buff") == "ifindex" else { return convertSocketBuffer() }
    read("sk_buff", "dev")
    readOn("net_device", "ifindex", target: true)
  }

  mutating func convertStreamParser() {
    guard let (name, inside) = memberAnywhere("__sk_buff") else { return }
    switch name {
    case "data_end": readEndOfLinearData()
    case "cb":
      let base = field("sk_buff", "cb").offset + field("sk_skb_cb", "data").offset
      accessAt(base + inside, insn.sizeCode)
    default: convertSocketBuffer()
    }
  }

  /// The linear part of the packet ends `len - data_len` bytes after its start.
  private mutating func readEndOfLinearData() {
    let spill = field("sk_buff", "cb").offset + field("sk_skb_cb", "temp_reg").offset
    let same = src == dst
    let register = same ? spareRegister : dst
    if same { emit(.store(Size.dw, src, spill, register: register)) }
    let data = field("sk_buff", "data").offset
    let length = field("sk_buff", "len").offset
    let rest = field("sk_buff", "data_len").offset
    emit(
      .load(Size.dw, register, src, data), .load(Size.w, auxiliaryRegister, src, length),
      .alu64(ALU.add, register, register: auxiliaryRegister), .load(Size.w, auxiliaryRegister, src, rest),
      .alu64(ALU.sub, register, register: auxiliaryRegister))
    guard same else { return }
    emit(
      .alu64(ALU.mov, auxiliaryRegister, register: src), .alu64(ALU.mov, dst, register: register),
      .load(Size.dw, register, auxiliaryRegister, spill))
  }

  mutating func convertSocketBuffer() {
    guard let (name, inside) = memberAnywhere("__sk_buff") else { return }
    if name == "cb" {
      let base = field("sk_buff", "cb").offset + field("qdisc_skb_cb", "data").offset
      return accessAt(base + inside, insn.sizeCode)
    }
    if name == "remote_ip6" || name == "local_ip6" {
      read("sk_buff", "sk")
      readOn(
        "sock_common", name == "remote_ip6" ? "skc_v6_daddr" : "skc_v6_rcv_saddr", size: Size.w, plus: inside)
      return
    }
    guard inside == 0 else { return }
    switch name {
    case "len", "hash", "protocol", "vlan_proto", "vlan_tci": read("sk_buff", name, target: true)
    case "priority", "mark", "tc_index": access("sk_buff", name, target: true)
    case "ingress_ifindex": read("sk_buff", "skb_iif", target: true)
    case "ifindex":
      read("sk_buff", "dev")
      emit(.jump(Jump.jeq, dst, 0, to: 1))
      readOn("net_device", "ifindex", target: true)
    case "pkt_type":
      targetSize = 1
      emit(.load(Size.b, dst, src, field("sk_buff", "__pkt_type_offset").offset), .alu32(ALU.and, dst, 7))
    case "queue_mapping": accessQueueMapping()
    case "vlan_present":
      read("sk_buff", "vlan_all", target: true)
      emit(.jump(Jump.jeq, dst, 0, to: 1), .alu32(ALU.mov, dst, 1))
    case "tc_classid": accessControlBlock("qdisc_skb_cb", "tc_classid")
    case "wire_len": accessControlBlock("qdisc_skb_cb", "pkt_len")
    case "data", "sk": read("sk_buff", name)
    case "data_meta", "data_end":
      let place = field("sk_buff", "cb").offset + field("bpf_skb_data_end", name).offset
      emit(.load(Size.dw, dst, src, place))
    case "napi_id":
      read("sk_buff", "napi_id", target: true)
      emit(.jump(Jump.jge, dst, minimumNAPI, to: 1), .alu64(ALU.mov, dst, 0))
    case "family": readSocket("skc_family")
    case "remote_ip4": readSocket("skc_daddr")
    case "local_ip4": readSocket("skc_rcv_saddr")
    case "remote_port":
      readSocket("skc_dport")
      emit(.alu32(ALU.lsh, dst, 16))
    case "local_port": readSocket("skc_num")
    case "tstamp": accessTimestamp()
    case "tstamp_type":
      emit(.load(Size.b, dst, src, field("sk_buff", "__mono_tc_offset").offset), .alu32(ALU.and, dst, 3))
    case "gso_segs", "gso_size":
      readSharedInfo(from: src)
      readOn("skb_shared_info", name, target: true)
    case "hwtstamp":
      readSharedInfo(from: src)
      readOn("skb_shared_info", "hwtstamps", target: true)
    default: break
    }
  }

  private mutating func readSocket(_ name: String) {
    read("sk_buff", "sk")
    readOn("sock_common", name, target: true)
  }

  private mutating func accessControlBlock(_ structure: String, _ name: String) {
    let inner = field(structure, name)
    targetSize = inner.size
    accessAt(field("sk_buff", "cb").offset + inner.offset, Size.of(inner.size))
  }

  private mutating func accessQueueMapping() {
    guard isWrite else { return read("sk_buff", "queue_mapping", target: true) }
    let field = field("sk_buff", "queue_mapping")
    targetSize = field.size
    if insn.instructionClass == Class.st && insn.immediate >= noQueueMapping { return emit(.jump(to: 0)) }
    if insn.instructionClass == Class.stx { emit(.jump(Jump.jge, src, noQueueMapping, to: 1)) }
    emit(insn.storing(Size.h, at: field.offset))
  }

  /// `skb_shinfo`: behind the end of the packet's buffer.
  mutating func readSharedInfo(from packet: Int) {
    let end = field("sk_buff", "end")
    let head = field("sk_buff", "head")
    emit(
      .load(Size.of(end.size), auxiliaryRegister, packet, end.offset), .load(Size.dw, dst, packet, head.offset),
      .alu64(ALU.add, dst, register: auxiliaryRegister))
  }

  /// A program that does not ask what kind of time the stamp is only sees the time of arrival.
  private mutating func accessTimestamp() {
    let kind = field("sk_buff", "__mono_tc_offset").offset
    let stamp = field("sk_buff", "tstamp").offset
    let atIngress: Int32 = 4
    let kindMask: Int32 = 3
    if isWrite {
      if !seesTimestampType {
        emit(
          .load(Size.b, auxiliaryRegister, dst, kind), .jump32(Jump.jset, auxiliaryRegister, atIngress, to: 1),
          .jump(to: 2), .alu32(ALU.and, auxiliaryRegister, ~kindMask),
          .store(Size.b, dst, kind, register: auxiliaryRegister))
      }
      emit(insn.storing(Size.dw, at: stamp))
      return
    }
    if !seesTimestampType {
      emit(
        .load(Size.b, auxiliaryRegister, src, kind), .jump32(Jump.jset, auxiliaryRegister, atIngress, to: 1),
        .jump(to: 4), .jump32(Jump.jset, auxiliaryRegister, kindMask, to: 1), .jump(to: 2),
        .alu64(ALU.mov, dst, 0), .jump(to: 1))
    }
    emit(.load(Size.dw, dst, src, stamp))
  }

  /// `MIN_NAPI_ID`: one more than the kernel has room for processors.
  private var minimumNAPI: Int32 { Int32(truncatingIfNeeded: fields.processorLimit + 1) }
}
