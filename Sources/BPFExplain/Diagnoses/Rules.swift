import BPFLinux

extension Diagnostician {
  /// Loops without end, too much work, paths that lead nowhere.
  mutating func explainControlFlow() {
    let text = subject.message
    switch subject.category {
    case .infiniteLoop:
      diagnosis.headline = "a loop does not come to an end"
      mark("the same state comes around again: nothing that counts changed")
      if let first = subject.trace.steps.dropLast().lastIndex(where: { $0.instruction == subject.instruction }) {
        for at in first..<max(first, min(step, subject.trace.steps.count)) {
          if case .branch(let left, let sign, let right, _) = TracedOperation(subject.trace.steps[at].text) {
            add(at, "the loop's condition \(left) \(sign) \(right) stays as it is")
            break
          }
        }
      }
      diagnosis.advice = "let a counter of a bounded type change in every round, or use bpf_loop(), bpf_for() or may_goto (`cond_break`)"
    case .complexity:
      if text.contains("jumps") {
        diagnosis.headline = "too many branches are still open (8192) on one path"
        diagnosis.advice = "split the function: global functions are verified once each; merge conditions"
      } else {
        diagnosis.headline = "verification takes more than \(Self.numbers(in: text).last.map { "\($0 - 1)" } ?? "1000000") instructions"
        diagnosis.advice = "bound loops lower, use bpf_loop() or bpf_for(), and make large functions global (not static) so that each is verified once"
      }
      mark("given up here")
      let visits = Dictionary(grouping: subject.trace.steps.indices) { subject.trace.steps[$0].instruction }
      if let most = visits.max(by: { ($0.value.count, $1.key) < ($1.value.count, $0.key) }), most.value.count > 8, let at = most.value.first {
        add(at, "looked at \(most.value.count) times on this path alone")
      }
    default:
      if text.contains("unreachable") {
        diagnosis.headline = "an instruction can never be reached"
        mark("no path leads here")
        diagnosis.advice = "remove it; in assembly, look for a jump that misses its target"
      } else if text.contains("out of range") {
        diagnosis.headline = "a jump leads out of its function"
        mark(text)
        diagnosis.advice = "jump inside of the function; a call is the way into another one"
      } else if text.contains("not an exit or jmp") || text.contains("fall") {
        diagnosis.headline = "a function runs on past its end"
        mark(text)
        diagnosis.advice = "end every function with a return (exit) or a jump backwards"
      } else if text.contains("back-edge") {
        diagnosis.headline = "a loop is not allowed here"
        mark("jumps back")
        diagnosis.advice = "loops need CAP_BPF; unroll it (`#pragma unroll`)"
      } else {
        diagnosis.headline = "the program's control flow is malformed"
        mark(text)
        diagnosis.advice = "the jumps and calls of the program must stay inside of it and lead to the beginnings of instructions"
      }
    }
  }

  /// Helpers and functions that this program may not call.
  mutating func explainAvailability() {
    let text = subject.message
    var name = "this function"
    if case .call(let function?) = operation { name = function }
    if let named = text.split(separator: " ").first(where: { $0.hasPrefix("bpf_") }) {
      name = String(named.prefix { $0 != "#" && $0 != "(" })
    }
    let type = subject.program.map { "programs of type \($0.type.name)" } ?? "programs of this type"
    switch subject.category {
    case .licenseRequired:
      diagnosis.headline = "\(name) is for programs with a GPL compatible licence only"
      mark("the program's licence is \(subject.program.map { "\"\($0.license)\"" } ?? "another")")
      diagnosis.advice = "declare it: `char LICENSE[] SEC(\"license\") = \"GPL\";`"
    case .kfuncNotAllowed:
      diagnosis.headline = "\(type) may not call the kernel function \(name)"
      mark("not allowed for this program type")
      diagnosis.advice = "use a program type for which the function is registered, or a helper that does the same"
    case .privilege:
      diagnosis.headline = "this needs a capability that the loader does not have"
      mark(text)
      diagnosis.advice = "load with CAP_BPF and, as the program needs, CAP_PERFMON or CAP_NET_ADMIN"
    default:
      if text.contains("invalid func unknown") || text.contains("unknown func") {
        diagnosis.headline = "there is no helper of this number"
        mark("not a helper of this kernel")
        note("what is a call of another kernel's helper, or of an undeclared function, becomes a number that this one does not know.")
        diagnosis.advice = "declare the function (its header), or check for the helper with bpf_core_enum_value_exists()"
      } else if text.contains("not allowed in probe") {
        diagnosis.headline = "\(name) may not be called from this kind of attachment"
        mark("not allowed here")
        diagnosis.advice = "use a helper that this attachment offers"
      } else {
        diagnosis.headline = "\(type) may not call \(name)"
        mark("not offered to this program type")
        diagnosis.advice = "`skep features` lists the helpers of each type; another program type or attach point may offer it"
      }
    }
  }

  /// The context: fields that are not there, accesses that only read.
  mutating func explainContext() {
    let text = subject.message
    let type = subject.program.map { "programs of type \($0.type.name)" } ?? "programs of this type"
    if subject.category == .contextAccess {
      let offset = Self.number(in: text, after: "off=")
      let size = Self.number(in: text, after: "size=")
      var isWrite = false
      if case .store = operation { isWrite = true }
      let field = offset.flatMap { offset in subject.program.flatMap { Self.contextField($0.type, at: offset) } }
      diagnosis.headline =
        "\(type) may not \(isWrite ? "write" : "read") \(size.map { Self.bytes($0) } ?? "this") "
        + (field.map { "of \($0)" } ?? "at offset \(offset ?? 0) of the context")
      mark("not a field that may be \(isWrite ? "written" : "read") so")
      note("fields are accessed whole, or a part of 1, 2 or 4 bytes where the field allows it; the compiler may have merged two accesses.")
      diagnosis.advice = "read the field with its own type into a variable (volatile keeps the access as it is), and use fields of this program type only"
      return
    }
    if text.contains("write into map forbidden") || text.contains("read from map forbidden") {
      diagnosis.headline = "the map may not be \(text.contains("write") ? "written" : "read") by programs"
      mark("\(text.contains("write") ? "BPF_F_RDONLY_PROG, or .rodata" : "BPF_F_WRONLY_PROG") is set for it")
      diagnosis.advice = "take the flag away, or keep what changes in another map (a global that is not const)"
    } else if text.contains("frame pointer is read only") {
      diagnosis.headline = "r10, the frame pointer, cannot be changed"
      mark("writes r10")
      diagnosis.advice = "copy it to another register first"
    } else if text.contains("packet") {
      diagnosis.headline = "the packet may only be read here"
      mark("writes to the packet")
      diagnosis.advice = "use a program type (and attachment) that may write packets, or bpf_skb_store_bytes() where there is one"
    } else {
      diagnosis.headline = "this memory may only be read"
      mark(text)
      diagnosis.advice = "copy what should change, or change it through the helper that there is for it"
    }
    if let register = namedRegister { addOrigin(of: register, called: "the pointer") }
  }

  /// The name of the context's field at an offset, for the types that have names in the documentation.
  private static func contextField(_ type: ProgramType, at offset: Int) -> String? {
    guard offset >= 0 else { return nil }
    switch type {
    case .xdp:
      let names = ["data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex"]
      return offset / 4 < names.count ? "xdp_md.\(names[offset / 4])" : nil
    case .socketFilter, .schedCls, .schedAct, .cgroupSkb, .skSkb, .lwtIn, .lwtOut, .lwtXmit:
      let names = [
        "len", "pkt_type", "mark", "queue_mapping", "protocol", "vlan_present", "vlan_tci", "vlan_proto", "priority",
        "ingress_ifindex", "ifindex", "tc_index", "cb[0]", "cb[1]", "cb[2]", "cb[3]", "cb[4]", "hash", "tc_classid",
        "data", "data_end", "napi_id", "family", "remote_ip4", "local_ip4", "remote_ip6[0]", "remote_ip6[1]",
        "remote_ip6[2]", "remote_ip6[3]", "local_ip6[0]", "local_ip6[1]", "local_ip6[2]", "local_ip6[3]",
        "remote_port", "local_port", "data_meta",
      ]
      return offset / 4 < names.count ? "__sk_buff.\(names[offset / 4])" : nil
    default: return nil
    }
  }

  /// Rules whose message says what it is about; put in words all the same.
  mutating func explainRules() {
    let text = subject.message
    switch subject.category {
    case .invalidInstruction:
      diagnosis.headline = text.contains("div by zero") ? "a division by the constant zero" : "an instruction is malformed"
      diagnosis.advice = text.contains("div by zero")
        ? "divide by something else; a divisor that is not constant gives 0 when it is zero"
        : "compile for the right version (-mcpu=v3 or v4), or correct the assembly"
    case .invalidArgument:
      diagnosis.headline = "an argument must be something else than what is passed"
      if let register = namedRegister { addOrigin(of: register, called: "the argument") }
      diagnosis.advice = "pass what the function's documentation demands: often a constant that is known when the program is verified"
    case .btf:
      if text.contains("ldimm64 failed to find") {
        diagnosis.headline = "the kernel has no variable of this name that programs may use"
        diagnosis.advice = "declare it __weak and test its address, or check the kernel's configuration"
      } else {
        diagnosis.headline = "the program's type information does not fit its code"
        diagnosis.advice = "compile with -g; global functions take and return numbers, the context, and tagged pointers"
      }
    case .attach:
      diagnosis.headline = "the program cannot be attached where it says"
      diagnosis.advice = "check the name in SEC(…) against the kernel's functions (bpftool btf dump), and whether it may be modified or hooked"
    case .mapUse:
      diagnosis.headline =
        text.contains("cannot pass map_type") ? "this helper does not work with this type of map"
        : text.contains("tracing progs cannot use") ? "tracing programs may not use maps with such fields"
        : text.contains("cannot be accessed directly") ? "a field that belongs to the kernel is read or written directly"
        : "the map does not fit what is done with it"
      if let register = namedRegister { addOrigin(of: register, called: "the map's pointer") }
      diagnosis.advice =
        text.contains("cannot pass map_type") ? "use the helpers of this map type, or another type of map"
        : text.contains("accessed directly") ? "use the functions for this field, and copy values around it"
        : "use a map of a type that is made for this"
    case .atomics:
      diagnosis.headline = "this memory cannot be changed atomically"
      if let register = namedRegister { addOrigin(of: register, called: "the pointer") }
      diagnosis.advice = "atomic operations work on map values, the stack and memory of the program, 4 or 8 bytes wide"
    case .speculation:
      diagnosis.headline = "the processor could be led to do this with other values (speculation), which is not allowed without CAP_PERFMON"
      diagnosis.advice = "mask the index instead of comparing it, or load with CAP_PERFMON"
    case .invariant:
      diagnosis.headline = "the verifier contradicts itself: a bug in it, not in the program"
      diagnosis.advice = "report it with the program and this output"
    case .unsupported:
      diagnosis.headline = "the program uses something that skep does not model yet"
      diagnosis.advice = "ask the running kernel: skep check --engine kernel"
    default:
      // A rule of another category whose message says nothing that could be looked up.
      diagnosis.headline = Self.sentence(text)
    }
    mark(text)
  }

  private static func sentence(_ text: String) -> String {
    guard let first = text.first else { return "refused" }
    return first.lowercased() + text.dropFirst()
  }
}
