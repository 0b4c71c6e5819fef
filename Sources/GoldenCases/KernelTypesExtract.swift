import BPFISA
import BPFLinux
import BTF

/// What golden cases need of a kernel's type information, small enough to be kept beside them.
///
/// Structs that a case can look into are whole, with all that lies inside them; what they merely point at is there by
/// name and size. Types keep their order and get new numbers.
public struct KernelTypesExtract {
  private let kernel: BTF
  /// Types that are kept, by number; whether with their members.
  private var kept: [TypeID: Bool] = [:]
  private var pending: [(id: TypeID, whole: Bool)] = []

  /// The bytes of what `cases`, read with the types of `kernel`, need of it.
  public static func bytes(of kernel: BTF, for cases: [GoldenCase]) -> [UInt8] {
    var extract = KernelTypesExtract(kernel: kernel)
    extract.keepWhatTheVerifierKnows()
    for golden in cases where golden.needsKernelTypes { extract.keep(golden.program) }
    extract.keepTrust()
    return extract.written()
  }

  private init(kernel: BTF) { self.kernel = kernel }

  // MARK: What is needed

  private mutating func keepWhatTheVerifierKnows() {
    let structs = [
      "bpf_ctx_convert", "bpf_map", "bpf_array", "bpf_cpumask", "bpf_dummy_ops_state", "bpf_dynptr", "cgroup", "file",
      "inet_connection_sock", "inet_request_sock", "inet_sock", "inet_timewait_sock", "request_sock", "seq_file",
      "socket", "sock", "sock_common", "task_struct", "tcp6_sock", "tcp_request_sock", "tcp_sock",
      "tcp_timewait_sock", "udp_sock", "udp6_sock", "unix_sock", "mptcp_sock",
    ]
    for name in structs { keep(name, .structure) }
    for type in ["task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx", "sk_buff"] {
      if let destructor = KfuncTable.destructor(ofType: type) { keep(destructor, .function) }
    }
  }

  private mutating func keep(_ program: Program) {
    for instruction in program.instructions
    where instruction.opcode == Opcode.call && instruction.src == Int(PseudoSource.kfuncCall) {
      keep(TypeID(bitPattern: instruction.immediate))
    }
    if program.attachBTFID != 0 {
      keep(program.attachBTFID)
      let name = kernel.name(program.attachBTFID)
      if name.hasPrefix("btf_trace_") { keep("__bpf_trace_" + name.dropFirst("btf_trace_".count), .function) }
      if program.type == .structOps {
        keep("bpf_struct_ops_" + name, .structure)
        for member in kernel.members(program.attachBTFID) {
          keepArguments(member.typeID)
          // Its stub says what the members' arguments may be.
          keep(name + "__" + kernel.string(member.nameOffset), .function)
        }
      }
    }
    // Structs of the case's own may stand for the kernel's of that name.
    for btf in [program.btf] + program.maps.map(\.btf) {
      guard let btf else { continue }
      for id in btf.startID..<btf.endID where btf.kind(id) == .structure { keep(btf.name(id), .structure) }
    }
  }

  /// The structs that say which members of others can be trusted.
  private mutating func keepTrust() {
    for id in kept.keys.sorted() where kernel.kind(id) == .structure {
      for suffix in ["__safe_rcu", "__safe_rcu_or_null", "__safe_trusted", "__safe_trusted_or_null"] {
        keep(kernel.name(id) + suffix, .structure)
      }
    }
  }

  private mutating func keep(_ name: String, _ kind: BTFKind) {
    if let id = kernel.find(name, kind: kind) { keep(id) }
  }

  /// Keeps a type, and all that it takes to look into it.
  private mutating func keep(_ id: TypeID) {
    need(id, whole: true)
    if kernel.kind(id) == .function || kernel.kind(id) == .typedef { keepArguments(kernel.type(id).target) }
    while let (id, whole) = pending.popLast() { follow(id, whole) }
  }

  /// What the arguments and the result of a function point at is kept whole.
  private mutating func keepArguments(_ id: TypeID) {
    var id = kernel.skipModifiers(id)
    if kernel.kind(id) == .pointer { id = kernel.skipModifiers(kernel.type(id).target) }
    guard kernel.kind(id) == .functionPrototype else { return }
    for type in kernel.parameters(id).map(\.typeID) + [kernel.type(id).target] {
      let argument = kernel.skipModifiers(type)
      need(argument, whole: true)
      if kernel.kind(argument) == .pointer { need(kernel.skipModifiers(kernel.type(argument).target), whole: true) }
    }
    while let (id, whole) = pending.popLast() { follow(id, whole) }
  }

  private mutating func need(_ id: TypeID, whole: Bool) {
    // Cases name types that do not exist, too.
    guard id != 0, kernel.isValid(id) else { return }
    let known = kept[id]
    if known == nil || (whole && known == false) {
      kept[id] = whole
      pending.append((id, whole))
    }
  }

  private mutating func follow(_ id: TypeID, _ whole: Bool) {
    let type = kernel.type(id)
    switch type.kind {
    case .structure, .union:
      guard whole else { return }
      for member in kernel.members(id) { need(member.typeID, whole: true) }
    case .array:
      need(kernel.array(id).elementTypeID, whole: whole)
      need(kernel.array(id).indexTypeID, whole: false)
    case .functionPrototype:
      need(type.target, whole: false)
      for parameter in kernel.parameters(id) { need(parameter.typeID, whole: false) }
    case .pointer: need(type.target, whole: false)
    case .typedef, .const, .volatile, .restrict, .typeTag, .function: need(type.target, whole: whole)
    default: return
    }
  }

  // MARK: Writing

  private func written() -> [UInt8] {
    let order = kept.keys.sorted()
    var numbers: [TypeID: TypeID] = [:]
    for (index, id) in order.enumerated() { numbers[id] = TypeID(truncatingIfNeeded: index + 1) }
    var builder = BTFBuilder()
    for id in order {
      let type = kernel.type(id)
      var trailer: [UInt32] = []
      var vlen = type.vlen
      var size = type.size
      switch type.kind {
      case .structure, .union:
        guard kept[id] == true else {
          vlen = 0
          break
        }
        for member in kernel.members(id) {
          let place = type.kindFlag ? member.bitfieldSize << 24 | member.bitOffset : member.bitOffset
          trailer += [builder.addString(kernel.string(member.nameOffset)), numbers[member.typeID] ?? 0, place]
        }
      case .array:
        let array = kernel.array(id)
        trailer = [numbers[array.elementTypeID] ?? 0, numbers[array.indexTypeID] ?? 0, array.count]
      case .functionPrototype:
        size = numbers[type.target] ?? 0
        for parameter in kernel.parameters(id) {
          trailer += [builder.addString(kernel.string(parameter.nameOffset)), numbers[parameter.typeID] ?? 0]
        }
      case .int: trailer = [kernel.intEncoding(id).raw]
      case .enumeration, .enum64: vlen = 0  // Nothing asks for the names of their values.
      case .pointer, .typedef, .const, .volatile, .restrict, .typeTag, .function: size = numbers[type.target] ?? 0
      default: break
      }
      builder.add(
        type.kind, name: kernel.string(type.nameOffset), kindFlag: type.kindFlag, vlen: vlen, size: size,
        trailer: trailer)
    }
    return builder.serialise()
  }
}
