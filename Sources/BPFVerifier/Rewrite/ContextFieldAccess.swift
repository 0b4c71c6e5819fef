import BPFISA

/// One access of a field that programs see, on its way to an access of what the kernel has.
struct ContextFieldAccess {
  let insn: Instruction
  let isWrite: Bool
  let fields: KernelFields
  /// The program asks what kind of time a time stamp is.
  let seesTimestampType: Bool
  /// What replaces the access; empty where nothing does.
  var code: [Instruction] = []
  /// Bytes of the kernel's field, where the access may be of a part of it.
  var targetSize = 0
  /// A field that the kernel's types do not have.
  var missing: String?

  init(_ insn: Instruction, isWrite: Bool, fields: KernelFields, seesTimestampType: Bool) {
    self.insn = insn
    self.isWrite = isWrite
    self.fields = fields
    self.seesTimestampType = seesTimestampType
  }

  var offset: Int { Int(insn.offset) }
  var dst: Int { insn.dst }
  var src: Int { insn.src }

  mutating func convert(_ kind: ContextKind) {
    switch kind {
    case .socketBuffer: convertSocketBuffer()
    case .trafficControl: convertTrafficControl()
    case .streamParser: convertStreamParser()
    case .xdp: convertXDP()
    case .socket: convertSocket()
    case .tcpSocket: convertTCPSocket()
    case .xdpSocket:
      if member("bpf_xdp_sock") == "queue_id" { read("xdp_sock", "queue_id") }
    case .socketAddress: convertSocketAddress()
    case .socketOperations: convertSocketOperations()
    case .message: convertMessage()
    case .flowDissector:
      if let name = member("__sk_buff"), ["data", "data_end", "flow_keys"].contains(name) {
        read("bpf_flow_dissector", name)
      }
    case .reuseport: convertReuseport()
    case .socketLookup: convertSocketLookup()
    case .perfEvent: convertPerfEvent()
    case .sysctl: convertSysctl()
    case .socketOption: convertSocketOption()
    }
  }

  // MARK: fields

  mutating func field(_ structure: String, _ path: String) -> KernelFields.Field {
    if let field = fields.field(structure, path) { return field }
    missing = missing ?? "\(structure).\(path)"
    return KernelFields.Field(offset: 0, size: 8)
  }

  /// The field of the program's structure that is accessed; nil where the access is not at its start.
  func member(_ structure: String) -> String? {
    guard let member = fields.member(structure, at: offset), member.offset == offset else { return nil }
    return member.name
  }

  /// The field that is accessed, and how far in.
  func memberAnywhere(_ structure: String) -> (name: String, inside: Int)? {
    fields.member(structure, at: offset).map { ($0.name, offset - $0.offset) }
  }

  // MARK: code

  mutating func emit(_ instructions: Instruction...) { code += instructions }

  /// Loads a field of the structure that the context is.
  mutating func read(_ structure: String, _ path: String, target: Bool = false) {
    let field = field(structure, path)
    if target { targetSize = field.size }
    emit(.load(Size.of(field.size), dst, src, field.offset))
  }

  /// Loads a field of the structure that was loaded before.
  mutating func readOn(_ structure: String, _ path: String, target: Bool = false, size: UInt8? = nil, plus: Int = 0) {
    let field = field(structure, path)
    if target { targetSize = field.size }
    emit(.load(size ?? Size.of(field.size), dst, dst, field.offset + plus))
  }

  /// Loads or stores a field of the structure that the context is.
  mutating func access(
    _ structure: String, _ path: String, target: Bool = false, size: UInt8? = nil, plus: Int = 0
  ) {
    let field = field(structure, path)
    if target { targetSize = field.size }
    accessAt(field.offset + plus, size ?? Size.of(field.size))
  }

  mutating func accessAt(_ place: Int, _ size: UInt8) {
    emit(isWrite ? insn.storing(size, at: place) : .load(size, dst, src, place))
  }

  /// A register that the access does not use.
  var spareRegister: Int {
    var register = 9
    if src == register || dst == register { register -= 1 }
    if src == register || dst == register { register -= 1 }
    return register
  }

  /// Loads or stores a field of a structure that the context points to. A store needs a register, which it keeps in
  /// `spill` of the context meanwhile.
  mutating func accessNested(
    _ structure: String, _ pointer: String, _ inner: String, _ path: String, size: UInt8? = nil, plus: Int = 0,
    innerSize: Int? = nil, spill: String = "tmp_reg"
  ) {
    let link = field(structure, pointer)
    let field = field(inner, path)
    targetSize = innerSize ?? field.size
    let width = size ?? Size.of(field.size)
    guard isWrite else {
      emit(
        .load(Size.of(link.size), dst, src, link.offset), .load(width, dst, dst, field.offset + plus))
      return
    }
    let saved = self.field(structure, spill).offset
    let spare = spareRegister
    emit(
      .store(Size.dw, dst, saved, register: spare), .load(Size.of(link.size), spare, dst, link.offset),
      insn.storing(width, at: field.offset + plus, base: spare), .load(Size.dw, spare, dst, saved))
  }
}
