import BPFLinux

/// Names of the base types, by number.
private let typeNames: [StaticString] = [
  "?", "scalar", "ctx", "map_ptr", "map_value", "map_key", "fp", "pkt_meta", "pkt", "pkt_end", "flow_keys", "sock",
  "sock_common", "tcp_sock", "tp_buffer", "xdp_sock", "ptr_", "mem", "arena", "buf", "func", "dynptr_ptr",
]

/// Modifiers that the text of a type shows, in the order of the text.
private let typePrefixes: [(flag: TypeFlags, text: StaticString)] = [
  (.readOnly, "rdonly_"), (.ringbuf, "ringbuf_"), (.user, "user_"), (.percpu, "percpu_"), (.rcu, "rcu_"),
  (.untrusted, "untrusted_"), (.trusted, "trusted_"),
]

extension VerifierLog {
  mutating func put(_ type: RegisterType) {
    if type.rawValue & ~TypeFlags.baseMask != 0 {
      for prefix in typePrefixes where type.has(prefix.flag) { put(prefix.text) }
    }
    let base = Int(type.base.rawValue)
    put(base < typeNames.count ? typeNames[base] : "(null)")
    if type.mayBeNull { put(type.base == .btfID ? "or_null_" : "_or_null") }
  }
}

/// What the log calls a type: `map_value_or_null`, `rcu_ptr_`.
func registerTypeText(_ type: RegisterType) -> String {
  var text = VerifierLog(level: 1, limit: 0)
  text.put(type)
  return String(decoding: text.bytes, as: UTF8.self)
}

/// The value where it is known, else `(value; mask)`.
func tnumText(_ bits: Tnum) -> String {
  var text = VerifierLog(level: 1, limit: 0)
  text.put(bits)
  return String(decoding: text.bytes, as: UTF8.self)
}

func dynptrTypeText(_ type: DynptrType) -> StaticString {
  switch type {
  case .local: "local"
  case .ringbuf: "ringbuf"
  case .skb: "skb"
  case .xdp: "xdp"
  case .skbMeta: "skb_meta"
  case .invalid: "<invalid>"
  }
}

func iteratorStateText(_ state: IteratorState) -> StaticString {
  switch state {
  case .active: "active"
  case .drained: "drained"
  case .invalid: "<invalid>"
  }
}

extension Verification {
  /// An iterator's type without `bpf_iter_`: `num`.
  func iteratorTypeText(btf: BTFIndex, id: UInt32) -> String {
    guard id != 0, Int(btf) < btfs.count, let types = btfs[Int(btf)] else { return "<invalid>" }
    return String(types.name(id).dropFirst("bpf_iter_".count))
  }
}
