import BPFISA
import BPFLinux
import BPFVerifier
import BTF

/// Makes the header and the text of a case into a program.
struct GoldenProgramBuilder {
  let path: String
  /// Those of the kernel that is to answer.
  private let kernelTypes: BTF?
  private var type = ProgramType.socketFilter
  private var attach = AttachType.none
  private var license = "GPL"
  private var flags: ProgramFlags = []
  private(set) var capabilities: Capabilities = .all
  private(set) var levels: [UInt32] = [1, 2]
  private(set) var needsKernelTypes = false
  private(set) var category: RefusalCategory?
  private var target: String?
  private var maps: [(definition: MapDefinition, inner: String?, types: String?)] = []
  private var types = GoldenTypes()
  private var instructions: [Instruction] = []
  private var labels: [String: Int] = [:]
  private var sources: [(slot: Int, text: String)] = []

  init(path: String, kernelTypes: BTF?) {
    self.path = path
    self.kernelTypes = kernelTypes
  }

  private func fail(_ line: Int, _ message: String) -> GoldenCaseError {
    GoldenCaseError(path: path, line: line, message: message)
  }

  // MARK: Header

  mutating func read(_ line: String, number: Int) throws(GoldenCaseError) {
    if line.isEmpty || line.hasPrefix("#") { return }
    guard let colon = line.firstIndex(of: ":") else { throw fail(number, "'\(line)' is not NAME: VALUE") }
    let rest = line[line.index(after: colon)...].drop { $0 == " " }
    let words = rest.split { $0 == " " || $0 == "," }.map(String.init)
    switch line[..<colon] {
    case "type":
      guard let type = ProgramType(name: String(rest)) else { throw fail(number, "unknown type '\(rest)'") }
      self.type = type
    case "attach":
      guard let found = (0..<64).map({ AttachType(rawValue: $0) }).first(where: { $0.name == rest }) else {
        throw fail(number, "unknown attach type '\(rest)'")
      }
      attach = found
    case "license": license = String(rest)
    case "flags":
      for word in words {
        guard let flag = Self.flags[word] else { throw fail(number, "unknown flag '\(word)'") }
        flags.insert(flag)
      }
    case "caps":
      capabilities = []
      for word in words where word != "none" {
        guard let capability = Self.capabilities[word] else { throw fail(number, "unknown capability '\(word)'") }
        capabilities.insert(capability)
      }
    case "levels": levels = words.compactMap { UInt32($0) }
    case "needs":
      guard rest == "kernel-types" else { throw fail(number, "unknown need '\(rest)'") }
      needsKernelTypes = true
    case "category":
      guard let category = RefusalCategory(rawValue: String(rest)) else { throw fail(number, "no category: '\(rest)'") }
      self.category = category
    case "target": target = String(rest)
    case "map": try readMap(words, number)
    case "struct":
      guard types.addStruct(String(rest)) else { throw fail(number, "no struct: '\(rest)'") }
    case "func":
      guard types.addFunction(String(rest)) else { throw fail(number, "no function: '\(rest)'") }
    default: throw fail(number, "unknown header '\(line[..<colon])'")
    }
  }

  private static let flags: [String: ProgramFlags] = [
    "strict_alignment": .strictAlignment, "any_alignment": .anyAlignment, "test_rnd_hi32": .testRandomHigh32,
    "test_state_freq": .testStateFrequency, "sleepable": .sleepable, "xdp_has_frags": .xdpHasFragments,
    "test_reg_invariants": .testRegisterInvariants,
  ]

  private static let capabilities: [String: Capabilities] = [
    "bpf": .bpf, "perfmon": .perfmon, "net_admin": .netAdmin, "sys_admin": .sysAdmin,
  ]

  private static let mapTypes: [String: MapType] = Dictionary(
    uniqueKeysWithValues: (1...MapType.arena.rawValue).map { (MapType(rawValue: $0).name, MapType(rawValue: $0)) })

  private mutating func readMap(_ words: [String], _ line: Int) throws(GoldenCaseError) {
    guard words.count >= 2, let type = Self.mapTypes[words[1]] else {
      throw fail(line, "map: NAME TYPE key=N value=N entries=N")
    }
    var map = MapDefinition(name: words[0], type: type, keySize: 0, valueSize: 0, maxEntries: 0)
    var inner: String?
    var types: String?
    for word in words.dropFirst(2) {
      let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
      if parts == ["frozen"] {
        map.frozen = true
        continue
      }
      guard parts.count == 2 else { throw fail(line, "'\(word)' is not NAME=VALUE") }
      func number() throws(GoldenCaseError) -> UInt32 {
        let text = parts[1]
        let value = text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
        guard let value else { throw fail(line, "'\(text)' is not a number") }
        return value
      }
      switch parts[0] {
      case "key": map.keySize = try number()
      case "value": map.valueSize = try number()
      case "entries": map.maxEntries = try number()
      case "flags": map.flags = MapFlags(rawValue: try number())
      case "extra": map.mapExtra = UInt64(try number())
      case "inner": inner = parts[1]
      case "types": types = parts[1]
      case "data":
        let digits = Array(parts[1])
        map.initialValue = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
          UInt8(String(digits[$0...$0 + 1]), radix: 16)
        }
      default: throw fail(line, "unknown property '\(parts[0])' of a map")
      }
    }
    maps.append((map, inner, types))
  }

  // MARK: Program

  mutating func assemble(_ lines: [String], firstLine: Int) throws(GoldenCaseError) {
    var expanded: [(text: String, line: Int)] = []
    try expand(
      lines.enumerated().map { ($0.element, firstLine + $0.offset) }[...], round: nil, into: &expanded)
    var names: [String: Int] = [:]
    for (index, map) in maps.enumerated() { names[map.definition.name] = index }
    var symbols: [String: Assembler.WideImmediate] = [:]
    for (name, index) in names {
      symbols[name] = .init(source: PseudoSource.mapFD, low: Int32(truncatingIfNeeded: index))
    }
    // `NAME[8]` is no word of the assembler's: it gets one of its own.
    for index in expanded.indices where expanded[index].text.contains("] ll") {
      let text = expanded[index].text
      guard let open = text.firstIndex(of: "["), let close = text.firstIndex(of: "]"), open < close,
        let start = text[..<open].lastIndex(of: " ").map({ text.index(after: $0) }),
        let map = names[String(text[start..<open])],
        let offset = Int32(text[text.index(after: open)..<close])
      else { continue }
      let symbol = "value_\(map)_\(offset < 0 ? "m" : "")\(offset.magnitude)"
      symbols[symbol] = .init(
        source: PseudoSource.mapValue, low: Int32(truncatingIfNeeded: map), high: offset)
      expanded[index].text = text[..<start] + symbol + text[text.index(after: close)...]
    }
    let structs = types
    let kernelTypes = kernelTypes
    let assembler = Assembler(
      callTarget: { Self.callTarget($0, kernelTypes) }, wideImmediate: { symbols[$0] },
      constant: { name in
        name.hasPrefix("typeid_") ? structs.id(ofStruct: String(name.dropFirst(7))).map { Int64($0) } : nil
      })
    let assembly: Assembly
    do {
      assembly = try assembler.assembly(of: expanded.map(\.text).joined(separator: "\n"))
    } catch {
      let line = expanded.indices.contains(error.line - 1) ? expanded[error.line - 1].line : firstLine
      throw fail(line, "\(error)")
    }
    instructions = assembly.instructions
    if instructions.contains(where: { $0.opcode == Opcode.call && $0.src == Int(PseudoSource.kfuncCall) }) {
      needsKernelTypes = true
    }
    labels = assembly.labels
    var slot = 0
    for (index, line) in expanded.enumerated() where line.text.hasPrefix(";; ") {
      while slot < assembly.lines.count, assembly.lines[slot] < index + 1 { slot += 1 }
      sources.append((slot, String(line.text.dropFirst(3))))
    }
  }

  /// Kernel functions have the numbers of their types; where there are none, such a case can be read, and no more.
  private static func callTarget(_ name: String, _ kernelTypes: BTF?) -> Assembler.CallTarget? {
    if let number = helpers[name] { return .helper(number) }
    guard KfuncTable.isRegistered(name) else { return nil }
    let id = kernelTypes?.find(name, kind: .function) ?? 0
    return .kernelFunction(typeID: Int32(bitPattern: id), module: 0)
  }

  private static let helpers: [String: Int32] = {
    var numbers: [String: Int32] = [:]
    for number in 1..<HelperID.end {
      if let name = HelperID(rawValue: number).name { numbers[name] = number }
    }
    return numbers
  }()

  private func expand(
    _ lines: ArraySlice<(String, Int)>, round: Int?, into expanded: inout [(text: String, line: Int)]
  ) throws(GoldenCaseError) {
    var index = lines.startIndex
    while index < lines.endIndex {
      let (text, line) = lines[index]
      let words = text.split(separator: " ")
      index += 1
      guard words.first == ".repeat" else {
        expanded.append((round.map { replaced(text, $0) } ?? text, line))
        continue
      }
      guard words.count == 2, let count = Int(words[1]), count <= 1 << 20 else { throw fail(line, ".repeat N") }
      var depth = 1
      let start = index
      while index < lines.endIndex, depth > 0 {
        let first = lines[index].0.split(separator: " ").first
        depth += first == ".repeat" ? 1 : first == ".end" ? -1 : 0
        index += 1
      }
      guard depth == 0 else { throw fail(line, ".repeat without .end") }
      for round in 0..<count { try expand(lines[start..<(index - 1)], round: round, into: &expanded) }
    }
  }

  private func replaced(_ text: String, _ round: Int) -> String {
    text.split(separator: "%i", omittingEmptySubsequences: false).joined(separator: "\(round)")
  }

  // MARK: The whole

  mutating func finish() throws(GoldenCaseError) -> Program {
    var program = Program(
      name: "golden", type: type, expectedAttachType: attach, instructions: instructions, license: license)
    program.flags = flags
    if let target {
      needsKernelTypes = true
      if let btf = kernelTypes { try attachTo(target, btf, &program) }
    }
    let built = types.build(labels: labels, sources: sources, instructionCount: instructions.count)
    if let built, !built.functions.isEmpty {
      program.btf = built.btf
      program.functionInfo = built.functions
      program.lineInfo = built.lines
    }
    for index in maps.indices {
      var map = maps[index].definition
      if let inner = maps[index].inner {
        guard let model = maps.first(where: { $0.definition.name == inner }) else {
          throw fail(1, "there is no map '\(inner)'")
        }
        map.inner = [model.definition]
      }
      if let name = maps[index].types {
        guard let built, let value = built.structs[name] else { throw fail(1, "there is no struct '\(name)'") }
        map.btf = built.btf
        map.keyTypeID = map.keySize == 0 ? 0 : built.key(size: map.keySize)
        map.valueTypeID = value
      }
      program.maps.append(map)
    }
    return program
  }

  /// Programs of these types belong to something that the kernel's type information has: a tracepoint, an iterator,
  /// a hook, a function, or a member of a struct of operations.
  private func attachTo(_ target: String, _ btf: BTF, _ program: inout Program) throws(GoldenCaseError) {
    let parts = target.split(separator: ".").map(String.init)
    guard let first = parts.first else { throw fail(1, "target: NAME") }
    let (name, kind): (String, BTFKind) =
      switch (type, attach) {
      case (.structOps, _): (first, .structure)
      case (.lsm, _): ("bpf_lsm_" + target, .function)
      case (_, .traceRawTp): ("btf_trace_" + target, .typedef)
      case (_, .traceIter): ("bpf_iter_" + target, .function)
      default: (target, .function)
      }
    guard let id = btf.find(name, kind: kind) else { throw fail(1, "the kernel has no '\(name)'") }
    program.attachBTFID = id
    guard type == .structOps else { return }
    let member = btf.members(id).firstIndex { btf.string($0.nameOffset) == parts.last }
    guard let member else { throw fail(1, "the kernel has no '\(target)'") }
    program.expectedAttachType = AttachType(rawValue: UInt32(truncatingIfNeeded: member))
  }
}
