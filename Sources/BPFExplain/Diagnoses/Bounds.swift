extension Diagnostician {
  /// Reads and writes of the packet that no comparison with its end covers.
  mutating func explainPacketBounds() {
    guard let details = message(containing: "invalid access to packet"),
      let offset = Self.number(in: details, after: "off="), let size = Self.number(in: details, after: "size=")
    else {
      explainPacketArgument()
      return
    }
    let range = Self.number(in: details, after: ",r=") ?? Self.number(in: details, after: "r=") ?? 0
    let register = Self.number(in: details, after: "R")
    let verb = accessVerb
    let held = register.flatMap { value($0) }
    let isVariable = held.map { $0.attributes["var_off"] != nil || ($0.number("umax") ?? 0) > 0 } ?? false
    let place = isVariable ? "a variable packet offset" : "packet offset \(offset)"
    diagnosis.headline = "\(verb) of \(Self.bytes(size)) at \(place) is not proven in bounds"
    if range == 0 {
      mark("the packet may end before this; no comparison with its end covers it")
    } else {
      mark("\(isVariable ? "reaches beyond" : "bytes \(offset) to \(offset + size - 1), but only") \(range) \(isVariable ? "proven bytes" : "bytes are proven")")
    }
    guard let register else { return }
    let origin = addOrigin(of: register, called: "the packet pointer")
    addPacketChecks(register, origin, proven: range, needed: offset + size)
    if isVariable, let held {
      let most = held.number("umax") ?? 0
      note(
        "the offset is not constant: it may be up to \(most). The comparison must be made on the same pointer, after the "
          + "variable part was added, and the offset must be bounded (Linux follows it up to 65535).")
      if most > 0xffff {
        note("an offset that may be over 65535 loses what comparisons prove; mask it first, as in `off &= 0xfff`.")
      }
    }
    diagnosis.advice =
      range == 0
      ? "compare the pointer with data_end first: `if (ptr + \(offset + size) > data_end) return …;`"
      : "make the check cover \(offset + size) bytes: `if (ptr + \(offset + size) > data_end) return …;`"
  }

  private var accessVerb: String {
    switch operation {
    case .store: "write"
    case .call: "access"
    default: "read"
    }
  }

  private mutating func explainPacketArgument() {
    if subject.message.contains("helper access to the packet is not allowed") {
      diagnosis.headline = "this helper may not be given packet memory in this type of program"
      mark("packet memory is passed here")
      diagnosis.advice = "copy the bytes to the stack first (bpf_xdp_load_bytes, bpf_skb_load_bytes, or a bounded copy)"
      return
    }
    diagnosis.headline = "an access to the packet is not proven in bounds"
    mark("outside of what comparisons with the packet's end have proved")
    if let register = namedRegister { addOrigin(of: register, called: "the packet pointer") }
    diagnosis.advice = "compare the pointer plus the size with data_end before the access"
  }

  /// The comparisons with the packet's end on the way, and what became of them.
  private mutating func addPacketChecks(
    _ register: Int, _ origin: VerifierTrace.Origin?, proven: Int, needed: Int
  ) {
    let steps = subject.trace.steps
    var found = false
    for at in stride(from: step - 1, through: 0, by: -1) {
      guard case .branch(let left, _, let right, _) = TracedOperation(steps[at].text) else { continue }
      let sides = [left, right].compactMap { TracedOperation.register($0) }
      let values = sides.compactMap { subject.trace.value(of: "R\($0)", before: at) }
      guard values.contains(where: { $0.kind == "pkt_end" || $0.kind == "pkt" }), sides.count == 2,
        values.contains(where: { $0.kind == "pkt" || $0.kind == "pkt_meta" })
      else { continue }
      found = true
      if proven > 0 {
        add(at, "this check proves \(Self.bytes(proven)); \(needed) are needed")
      } else {
        add(at, "this check says nothing of the pointer used")
      }
      break
    }
    // Helpers that may move the packet make all checks void.
    if let moved = steps[..<min(step, steps.count)].lastIndex(where: {
      if case .call(let name?) = TracedOperation($0.text) { return Self.movesPackets(name) }
      return false
    }) {
      add(moved, "this call may move the packet: pointers and checks from before it are void")
      note("after a call that changes the packet, load data and data_end from the context again and check again.")
    } else if !found {
      note("no comparison with data_end lies on the way here.")
    }
  }

  static func movesPackets(_ name: String) -> Bool {
    [
      "bpf_xdp_adjust_head", "bpf_xdp_adjust_tail", "bpf_xdp_adjust_meta", "bpf_skb_pull_data", "bpf_skb_change_head",
      "bpf_skb_change_tail", "bpf_skb_adjust_room", "bpf_skb_change_proto", "bpf_skb_vlan_push", "bpf_skb_vlan_pop",
      "bpf_skb_store_bytes", "bpf_l3_csum_replace", "bpf_l4_csum_replace", "bpf_clone_redirect", "bpf_msg_pull_data",
      "bpf_msg_push_data", "bpf_msg_pop_data", "bpf_lwt_push_encap", "bpf_lwt_seg6_adjust_srh",
      "bpf_lwt_seg6_store_bytes", "bpf_lwt_seg6_action", "bpf_sk_assign", "bpf_xdp_pull_data",
    ].contains(name)
  }

  /// Map values, allocated memory, records: the offset is not proven to lie inside.
  mutating func explainMemoryBounds() {
    let details = message(containing: "invalid access to map value") ?? message(containing: "invalid access to memory")
      ?? message(containing: "invalid access to map key")
    let size = details.flatMap { Self.number(in: $0, after: "value_size=") ?? Self.number(in: $0, after: "mem_size=") }
    let offset = details.flatMap { Self.number(in: $0, after: "off=") }
    let accessed = details.flatMap { Self.number(in: $0, after: " size=") }
    guard let register = namedRegister else {
      diagnosis.headline = "an offset lies outside of the memory"
      mark([offset.map { "offset \($0)" }, size.map { "of \(Self.bytes($0))" }].compactMap { $0 }.joined(separator: " "))
      diagnosis.advice = "stay inside of what the map's value (or the memory) has"
      return
    }
    let held = value(register)
    let what = held.map(Self.description) ?? "the memory"
    let index = addIndex(of: register)
    if subject.message.contains("max value is outside") || subject.message.contains("unbounded memory access") {
      diagnosis.headline = "an offset into \(what) may be too large"
      mark(
        [size.map { "\(what) has \(Self.bytes($0))" }, held.flatMap(Self.farthest).map { "the offset may be \($0)" }]
          .compactMap { $0 }.joined(separator: "; "))
      diagnosis.advice =
        "bound the index before it is used: `if (i >= COUNT) return …;`, or mask it: `i &= COUNT - 1;`"
    } else if subject.message.contains("negative") || subject.message.contains("min value") {
      if let offset, let size, index == nil {
        diagnosis.headline = "\(accessVerb) of \(Self.bytes(accessed ?? 1)) at offset \(offset) of \(what), which has \(size)"
        mark("bytes \(offset) to \(offset + (accessed ?? 1) - 1) of \(size)")
        diagnosis.advice = "access only what is inside; where the type is larger than the map's value, set value_size to its size"
      } else {
        diagnosis.headline = "an offset into \(what) may be negative"
        mark("nothing says that the offset is not below zero")
        diagnosis.advice = "make the index unsigned, or check it: `if (i < 0 || i >= COUNT) return …;`"
      }
    } else if let offset, let size {
      diagnosis.headline = "\(accessVerb) of \(Self.bytes(accessed ?? 1)) at offset \(offset) of \(what), which has \(size)"
      mark("bytes \(offset) to \(offset + (accessed ?? 1) - 1) of \(size)")
    } else {
      diagnosis.headline = "an access to \(what) is not proven in bounds"
      mark("not proven to lie inside")
    }
    if diagnosis.advice == nil { diagnosis.advice = "access only fields that are there, at constant offsets" }
    addOrigin(of: register, called: "the pointer")
  }

  private static func farthest(_ value: TracedValue) -> String? {
    let most = value.unsignedMaximum
    return most == 0 ? nil : most == .max ? "anything" : "\(Int64(truncatingIfNeeded: most) &+ value.offset)"
  }

  /// Tells where the variable part of a pointer's offset was added, and where that number came from.
  @discardableResult
  mutating func addIndex(of register: Int) -> Int? {
    guard let origin = subject.trace.origin(ofRegister: register, before: step) else { return nil }
    for at in origin.changes.reversed() {
      guard case .arithmetic(let to, let sign, let operand) = TracedOperation(subject.trace.steps[at].text),
        sign == "+=" || sign == "-=", let index = TracedOperation.register(operand)
      else { continue }
      let held = subject.trace.value(of: "R\(index)", before: at)
      let pointer = subject.trace.value(of: "R\(to)", before: at)
      let number = held?.isScalar ?? true ? held : pointer
      guard number?.constant == nil else { continue }
      add(at, number.map { "the offset added here is \(Self.description(of: $0))" } ?? "a variable offset is added here")
      addNumber(held?.isScalar ?? true ? index : to, before: at)
      return index
    }
    return nil
  }

  /// Tells where a number came from, and which comparisons bound it.
  mutating func addNumber(_ register: Int, before at: Int) {
    guard let origin = subject.trace.origin(ofRegister: register, before: at) else { return }
    switch origin.kind {
    case .call(let name): add(origin.step, "the number comes from \(name ?? "this call")")
    case .load(let from, _, let size):
      add(origin.step, "the number is loaded here\(from.map { " from \(Self.description(of: $0))" } ?? ""): \(size * 8) bits, any value")
    case .constant: add(origin.step, "the number starts here")
    case .argument, .arithmetic: break
    }
    let checks = subject.trace.comparisons(ofRegister: register, from: origin.step, to: at)
    if let last = checks.last {
      let after = subject.trace.value(of: "R\(register)", before: last + 1)
      add(last, "this check leaves \(after.map(Self.description) ?? "it unbounded")")
    }
    if let lost = origin.changes.last(where: { change in
      guard case .arithmetic = TracedOperation(subject.trace.steps[change].text) else { return false }
      return checks.last.map { $0 < change } ?? false
    }) {
      add(lost, "it is changed here, after the check")
    }
  }

  /// Sizes that are not bounded.
  mutating func explainUnboundedSize() {
    guard let register = namedRegister else {
      explainRules()
      return
    }
    let held = value(register)
    let name: String
    if case .call(let function?) = operation { name = function } else { name = "this call" }
    if subject.message.contains("min value is negative") {
      diagnosis.headline = "a size passed to \(name) may be negative"
      mark("argument \(register) is \(held.map(Self.description) ?? "not bounded below")")
      diagnosis.advice = "use an unsigned type, or mask it: `size &= MAX - 1;`; compare it with `if (size > MAX) return …;` as unsigned"
    } else if subject.message.contains("zero-sized") {
      diagnosis.headline = "a size passed to \(name) may be zero, which it does not take"
      mark("argument \(register) is \(held.map(Self.description) ?? "possibly zero")")
      diagnosis.advice = "skip the call where the size is zero: `if (size == 0) return …;`"
    } else {
      diagnosis.headline = "a size passed to \(name) has no upper bound"
      mark("argument \(register) is \(held.map(Self.description) ?? "not bounded")")
      diagnosis.advice = "bound it by the size of the buffer: `if (size > sizeof(buf)) return …;` or `size &= sizeof(buf) - 1;`"
    }
    addNumber(register, before: step)
  }
}
