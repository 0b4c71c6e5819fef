import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import BTF

/// One `BPF_PROG_LOAD`: makes the program of the attributes and has it verified.
struct ProgramLoad {
  private let system: System
  private let it: Attributes
  private let client: any Client
  private var linux: Linux { system.linux }

  private var maps: [MapObject] = []
  /// A descriptor in the instructions that is no map's: the verifier sees this number in its place.
  private static let noMap: Int32 = -0x3abc_de01
  private var strayDescriptor: (number: Int32, errno: Errno)?
  private var types: TypesObject?
  private var attachTypes: TypesObject?
  private var attachProgram: ProgramObject?

  init(_ system: System, _ attributes: Attributes, _ client: any Client) {
    self.system = system
    it = attributes
    self.client = client
  }

  private static let tokenFlag: UInt32 = 1 << 16
  private static let mostInstructions: UInt32 = 1_000_000

  mutating func answer() throws(Errno) -> Answer {
    var program = Program(
      name: "", type: ProgramType(rawValue: it.word(0)), expectedAttachType: AttachType(rawValue: it.word(68)),
      instructions: [])
    program.flags = ProgramFlags(rawValue: it.word(44) & ~Self.tokenFlag)
    program.kernelVersion = it.word(40)
    program.attachBTFID = it.word(108)
    if it.word(44) & Self.tokenFlag != 0 { throw system.refuseToken(it.signed(144), client) }
    let count = it.word(4)
    if count > 0 && count <= Self.mostInstructions {
      program.instructions = [Instruction](repeating: Instruction(opcode: Opcode.exit), count: Int(count))
    }
    // Types that are not there are refused before the target is looked at.
    if program.instructions.isEmpty { try check(program) }
    try findTarget(&program)
    try check(program)
    let code = try client.read(it.long(8), Int(count) * Instruction.byteCount)
    guard let instructions = try? Instruction.decode(code) else { throw .EINVAL }
    program.instructions = instructions
    let license = try client.text(it.long(16), limit: 127)
    program.license = String(decoding: license, as: UTF8.self)
    guard it.long(152) == 0 else {
      system.log?("signatures of programs are not supported")
      throw .EOPNOTSUPP
    }
    guard it.word(64) == 0 else {
      system.log?("programs for one network device are not supported")
      throw .EOPNOTSUPP
    }
    program.name = try it.name(48)
    return try verify(program, tag: Digest.tag(instructions))
  }

  private func check(_ program: Program) throws(Errno) {
    do throws(LoadError) {
      try ProgramRules.checkLoad(program, linux: linux)
    } catch {
      throw error.errno
    }
  }

  private mutating func findTarget(_ program: inout Program) throws(Errno) {
    let number = it.signed(112)
    guard number != 0 else {
      if program.attachBTFID != 0 { attachTypes = system.tables.kernelTypes }
      return
    }
    switch client.descriptor(number) {
    case .object(let target as ProgramObject, _):
      attachProgram = target
      program.attachTarget = .program(target.program)
    case .object(let target as TypesObject, _):
      guard target.isKernel else { throw .ENOTSUPP }
      attachTypes = target
      if target.name != "vmlinux" { program.attachTarget = .module(name: target.name, btf: target.btf) }
    default: throw .EINVAL
    }
  }

  // MARK: The log

  private var logLevel: UInt32 { it.word(24) }
  private var logSize: UInt32 { it.word(28) }
  private var logAddress: UInt64 { it.long(32) }

  /// Gives the client its log; throws what that says of the whole call.
  private func finish(_ text: [UInt8], needed: UInt32) throws(Errno) {
    try ClientLog(level: logLevel, address: logAddress, size: logSize)
      .finish(text, needed: needed, sizeAt: it.size >= 144 ? it.address &+ 140 : nil, client)
  }

  private func refuse(_ errno: Errno, _ message: String) throws(Errno) -> Never {
    let text = logLevel & 3 == 0 ? [] : Array(message.utf8)
    try finish(text, needed: text.isEmpty ? 0 : UInt32(text.count + 1))
    throw errno
  }

  // MARK: Verification

  private mutating func verify(_ load: Program, tag: [UInt8]) throws(Errno) -> Answer {
    var program = load
    try ClientLog(level: logLevel, address: logAddress, size: logSize).check()
    try readRecords(&program)
    try resolveDescriptors(&program)
    program.expectedAttachType = ProgramRules.effectiveAttachType(program.type, program.expectedAttachType)
    program.maps = maps.map { Self.definition($0.map) }
    var options = VerifierOptions(logLevel: logLevel)
    if logAddress != 0 && logSize > 0 { options.logLimit = Int(logSize) }
    let verdict = Verifier.verify(program, on: linux, options: options)
    var text = verdict.log
    var errno: Errno?
    if case .failure(let rejection) = verdict.result { errno = rejection.errno }
    if let strayDescriptor {
      let shown = "fd \(Self.noMap) is not pointing"
      if let place = text.firstPlace(of: Array(shown.utf8)) {
        text.replaceSubrange(
          place..<place + shown.utf8.count, with: Array("fd \(strayDescriptor.number) is not pointing".utf8))
      }
      if case .failure(let rejection) = verdict.result, rejection.message.hasPrefix(shown) {
        errno = strayDescriptor.errno
      }
    }
    try finish(text, needed: verdict.logSize)
    if let errno { throw errno }
    guard case .success(let verified) = verdict.result else { throw .EINVAL }
    let object = system.tables.addProgram {
      ProgramObject(
        id: $0, verified, maps: maps, types: types, attachTypes: attachTypes, attachProgram: attachProgram, tag: tag,
        user: client.user, verifiedInstructions: UInt32(truncatingIfNeeded: verdict.statistics.instructions),
        machine: system.machine)
    }
    return .descriptor(object, access: [.read, .write])
  }

  /// The map as it is now. What nobody can change any more the verifier may take for constant.
  private static func definition(_ map: Map) -> MapDefinition {
    var definition = map.definition
    definition.frozen = map.isFrozen
    definition.initialValue = []
    if definition.frozen, definition.type == .array, definition.maxEntries == 1 {
      definition.initialValue = (try? map.lookup([0, 0, 0, 0], access: [.read])) ?? []
    }
    return definition
  }

  // MARK: Function and line information

  private static let mostRecords: UInt32 = 4 << 20

  private mutating func readRecords(_ program: inout Program) throws(Errno) {
    guard it.word(88) != 0 || it.word(104) != 0 else { return }
    let found = try client.types(it.signed(72))
    guard !found.isKernel else { throw .EACCES }
    types = found
    program.btf = found.btf
    if it.word(88) != 0 {
      let size = it.word(76)
      guard size >= 8, size <= 252, size % 4 == 0 else {
        try refuse(.EINVAL, "invalid func info rec size \(size)\n")
      }
      program.functionInfo = try records(
        it.long(80), count: it.word(88), size: Int(size), known: 8, "func info", sizeAt: 76
      ).map { FunctionInfo(instructionOffset: $0.word(0), typeID: $0.word(4)) }
    }
    if it.word(104) != 0 {
      let size = it.word(92)
      guard size >= 16, size <= 252, size % 4 == 0 else { throw .EINVAL }
      program.lineInfo = try records(
        it.long(96), count: it.word(104), size: Int(size), known: 16, "line_info", sizeAt: 92
      ).map {
        LineInfo(
          instructionOffset: $0.word(0), fileNameOffset: $0.word(4), lineOffset: $0.word(8), lineColumn: $0.word(12))
      }
    }
  }

  /// Records that may be longer than those known, if what is not known is zero.
  private func records(
    _ address: UInt64, count: UInt32, size: Int, known: Int, _ what: String, sizeAt offset: UInt64
  ) throws(Errno) -> [[UInt8]] {
    guard count <= Self.mostRecords else { throw .ENOMEM }
    let bytes = try client.read(address, Int(count) * size)
    var result: [[UInt8]] = []
    result.reserveCapacity(Int(count))
    for start in stride(from: 0, to: bytes.count, by: size) {
      guard bytes[(start + known)..<(start + size)].allSatisfy({ $0 == 0 }) else {
        try client.write(UInt32(known), to: it.address &+ offset)
        try refuse(.E2BIG, "nonzero tailing record in \(what)")
      }
      result.append(Array(bytes[start..<start + known]))
    }
    return result
  }

  // MARK: Descriptors

  /// Numbers of the client's descriptors become places in the program's maps and modules.
  private mutating func resolveDescriptors(_ program: inout Program) throws(Errno) {
    if it.long(120) != 0 || it.word(148) != 0 { try readDescriptorTable() }
    var slot = 0
    while slot < program.instructions.count {
      let insn = program.instructions[slot]
      if insn.isKfuncCall, insn.offset > 0 {
        try resolveModule(Int(insn.offset), &program)
      }
      guard insn.isLoadImmediate64, slot + 1 < program.instructions.count else {
        slot += 1
        continue
      }
      switch UInt8(truncatingIfNeeded: insn.src) {
      case PseudoSource.mapFD, PseudoSource.mapValue:
        program.instructions[slot].immediate = resolveMap(insn.immediate)
      case PseudoSource.mapIndex, PseudoSource.mapIndexValue:
        if let number = try tableEntry(Int(insn.immediate)) {
          program.instructions[slot].immediate = resolveMap(number)
        }
      case PseudoSource.btfID:
        let number = program.instructions[slot + 1].immediate
        guard number != 0 else { break }
        let place = Self.firstModulePlace + Int(number)
        if let found = try? client.types(number), found.isKernel {
          if found.name == "vmlinux" {
            program.instructions[slot + 1].immediate = 0
          } else {
            program.moduleBTFs[place] = found.btf
            program.instructions[slot + 1].immediate = Int32(truncatingIfNeeded: place)
          }
        }
      default: break
      }
      slot += 2
    }
  }

  /// Modules that instructions name by descriptor come after those that they name by place in the table.
  private static let firstModulePlace = 1 << 16
  private static let longestTable: UInt32 = 1 << 20

  private mutating func readDescriptorTable() throws(Errno) {
    let count = it.word(148)
    guard count > 0 else { return }
    guard count < UInt32.max / 4 else { try refuse(.EINVAL, "fd_array_cnt is too big (\(count))\n") }
    for place in 0..<min(count, Self.longestTable) {
      guard let number = try tableEntry(Int(place)) else { throw .EFAULT }
      switch client.descriptor(number) {
      case .object(let map as MapObject, _): _ = add(map)
      case .object(is TypesObject, _): break
      case .closed: try refuse(.EBADF, "fd \(number) is not pointing to valid bpf_map or btf\n")
      default: try refuse(.EINVAL, "fd \(number) is not pointing to valid bpf_map or btf\n")
      }
    }
  }

  /// An entry of `fd_array`; nil where there is no such array.
  private func tableEntry(_ index: Int) throws(Errno) -> Int32? {
    guard it.long(120) != 0 else { return nil }
    guard index >= 0 else { throw .EFAULT }
    return Int32(bitPattern: try client.read(it.long(120) &+ UInt64(index) * 4, 4).word(0))
  }

  private mutating func add(_ map: MapObject) -> Int32 {
    if let known = maps.firstIndex(where: { $0.map === map.map }) { return Int32(truncatingIfNeeded: known) }
    maps.append(map)
    return Int32(truncatingIfNeeded: maps.count - 1)
  }

  private mutating func resolveMap(_ number: Int32) -> Int32 {
    do throws(Errno) {
      return add(try client.map(number).0)
    } catch {
      if strayDescriptor == nil { strayDescriptor = (number, error) }
      return Self.noMap
    }
  }

  private func resolveModule(_ place: Int, _ program: inout Program) throws(Errno) {
    guard program.moduleBTFs[place] == nil, let number = try tableEntry(place) else { return }
    if let found = try? client.types(number), found.isKernel { program.moduleBTFs[place] = found.btf }
  }
}

/// The buffer for a log that a client gives with a program or with types.
struct ClientLog {
  let level: UInt32
  let address: UInt64
  let size: UInt32

  func check() throws(Errno) {
    guard (address != 0) == (size != 0), address == 0 || level != 0, level & ~0xf == 0, size <= UInt32.max >> 2 else {
      throw .EINVAL
    }
  }

  /// - Parameters:
  ///   - needed: bytes of buffer that would have held all of it.
  ///   - place: where the client wants to know that.
  func finish(_ text: [UInt8], needed: UInt32, sizeAt place: UInt64?, _ client: any Client) throws(Errno) {
    var needed = needed
    if level == 0 { needed = 0 }
    if address != 0 && size > 0 && level != 0 {
      try client.write(Array(text.suffix(Int(size) - 1)) + [0], to: address)
    }
    if let place { try client.write(needed, to: place) }
    if address != 0 && needed > size { throw .ENOSPC }
  }
}

extension [UInt8] {
  func firstPlace(of part: [UInt8]) -> Int? {
    guard !part.isEmpty, count >= part.count else { return nil }
    return (0...(count - part.count)).first { self[$0..<$0 + part.count].elementsEqual(part) }
  }
}
