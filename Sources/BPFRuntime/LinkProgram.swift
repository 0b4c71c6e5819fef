import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import BTF
import CBPFRuntime

extension LinkedProgram {
  /// Binds a proved program to its maps and to the functions of user space.
  ///
  /// - Parameters:
  ///   - maps: one for each of `Program.maps`, in that order, made by the machine's `maps`.
  ///   - machine: what the program will run on; its `linux` is the one that the program was verified on.
  public convenience init(
    _ verified: VerifiedProgram, maps: [Map], on machine: Machine
  ) throws(LinkError) {
    let proof: Proof
    do {
      proof = try verified.proof(on: machine.linux)
    } catch {
      throw .proof(error)
    }
    try self.init(verified.program, proof, maps: maps, on: machine.linux)
  }

  convenience init(_ program: Program, _ proof: Proof, maps: [Map], on linux: Linux) throws(LinkError) {
    guard maps.count == program.maps.count else { throw .maps(expected: program.maps.count, given: maps.count) }
    let linker = RuntimeLinker(program, proof, maps: maps, on: linux)
    var operations: [LinkedOperation] = []
    operations.reserveCapacity(proof.instructions.count)
    for slot in proof.instructions.indices { operations.append(try linker.operation(at: slot)) }
    self.init(program: program, proof: proof, operations: operations, maps: maps)
  }
}

extension LoadedProgram {
  /// Links a proved program and prepares it for an engine.
  public convenience init(
    _ verified: VerifiedProgram, maps: [Map], on machine: Machine, engine: Engine = .interpreter
  ) throws {
    try self.init(LinkedProgram(verified, maps: maps, on: machine), engine: engine)
  }
}

/// Says what each slot of a program does in user space.
private struct RuntimeLinker {
  private let program: Program
  private let proof: Proof
  private let maps: [Map]
  private let linux: Linux
  /// The type that contexts and helpers go by; that of the program it replaces a function of for an extension.
  private let type: ProgramType
  private let descriptors: ObjectDescriptors
  private let arena: Map?
  private let mapFields: [UInt32: String]

  init(_ program: Program, _ proof: Proof, maps: [Map], on linux: Linux) {
    self.program = program
    self.proof = proof
    self.maps = maps
    self.linux = linux
    type = ProgramTraits(program, on: linux).type
    descriptors = ObjectDescriptors(program, on: linux)
    arena = maps.first { $0.definition.type == .arena }
    mapFields = Self.fieldsOfMaps(linux)
  }

  func operation(at slot: Int) throws(LinkError) -> LinkedOperation {
    let insn = proof.instructions[slot]
    let fact = proof.facts[slot]
    let isSecond = slot > 0 && proof.instructions[slot - 1].isLoadImmediate64 && insn.opcode == 0
    guard fact.isReachable, !isSecond else { return LinkedOperation(insn, .unreachable) }
    switch insn.instructionClass {
    case Class.ld:
      if insn.isLoadImmediate64 { return try immediate(insn, slot) }
      return LinkedOperation(insn, .legacyLoad, operand: Self.legacyLoad)
    case Class.ldx, Class.st, Class.stx: return try access(insn, fact, slot)
    case Class.alu64 where insn.opcode == Opcode.movRegister64 && insn.offset == addressSpaceCastOffset:
      return cast(insn)
    case Class.alu, Class.alu64: return LinkedOperation(insn, .plain)
    default:
      switch insn.opcode {
      case Opcode.call: return try call(insn, fact, slot)
      case Opcode.callRegister: throw .instruction("callx", at: slot)
      case Opcode.mayGoto: return LinkedOperation(insn, .mayGoto)
      default: return LinkedOperation(insn, .plain)
      }
    }
  }

  private static let legacyLoad = UInt64(UInt(bitPattern: RuntimeFunction(PacketAccess.legacyLoad).address))

  // MARK: Immediates

  private func immediate(_ insn: Instruction, _ slot: Int) throws(LinkError) -> LinkedOperation {
    let second = proof.instructions[slot + 1].immediate
    switch UInt8(truncatingIfNeeded: insn.src) {
    case 0:
      let value = UInt64(UInt32(bitPattern: insn.immediate)) | UInt64(UInt32(bitPattern: second)) << 32
      return LinkedOperation(insn, .constant, operand: value)
    case PseudoSource.function:
      let start = slot + 1 + Int(insn.immediate)
      guard let number = subprogram(at: start) else { throw .instruction("a function in the middle of one", at: slot) }
      return LinkedOperation(insn, .functionAddress, operand: Self.functionTag | UInt64(number))
    case PseudoSource.btfID:
      let btf = second == 0 ? linux.btf : program.moduleBTFs[Int(second)]
      throw .kernelSymbol(btf?.name(TypeID(bitPattern: insn.immediate)) ?? "#\(insn.immediate)", instruction: slot)
    case PseudoSource.mapFD, PseudoSource.mapIndex:
      let map = try map(insn, slot)
      var operation = LinkedOperation(insn, .constant, operand: UInt64(UInt(bitPattern: map.block)))
      operation.map = insn.immediate
      return operation
    default:
      let map = try map(insn, slot)
      guard let values = map.block.pointee.values else { throw .mapValue(map.definition.name, instruction: slot) }
      let start = map.definition.type == .arena ? map.block.pointee.stride : UInt64(UInt(bitPattern: values))
      var operation = LinkedOperation(insn, .constant, operand: start &+ UInt64(UInt32(bitPattern: second)))
      operation.map = insn.immediate
      return operation
    }
  }

  private static let functionTag = LinkedProgram.functionTag

  private func map(_ insn: Instruction, _ slot: Int) throws(LinkError) -> Map {
    guard maps.indices.contains(Int(insn.immediate)) else { throw .instruction("a map without number", at: slot) }
    return maps[Int(insn.immediate)]
  }

  private func subprogram(at slot: Int) -> Int? {
    proof.subprograms.firstIndex { $0.range.lowerBound == slot }
  }

  // MARK: Calls

  private func call(_ insn: Instruction, _ fact: ProvenInstruction, _ slot: Int) throws(LinkError) -> LinkedOperation {
    if insn.isSubprogramCall {
      guard let number = subprogram(at: slot + 1 + Int(insn.immediate)) else {
        throw .instruction("a call into the middle of a function", at: slot)
      }
      return LinkedOperation(insn, .subprogram, operand: UInt64(number))
    }
    if insn.isKfuncCall { return try kernelFunction(insn, fact, slot) }
    let id = HelperID(rawValue: insn.immediate)
    if id == .tailCall { return with(LinkedOperation(insn, .tailCall), insn, fact) }
    guard let function = RuntimeFunctions.helper(UInt32(bitPattern: insn.immediate), for: type) else {
      throw .helper(id.name ?? "helper \(insn.immediate)", instruction: slot)
    }
    return with(operation(insn, calling: function), insn, fact)
  }

  private func with(_ operation: LinkedOperation, _ insn: Instruction, _ fact: ProvenInstruction) -> LinkedOperation {
    var operation = operation
    operation.helper = UInt32(bitPattern: insn.immediate)
    operation.map = fact.map
    return operation
  }

  private func operation(_ insn: Instruction, calling function: RuntimeFunction) -> LinkedOperation {
    let address = UInt64(UInt(bitPattern: function.address))
    return LinkedOperation(insn, function.callsBack ? .callWithCallback : .call, operand: address)
  }

  private func kernelFunction(
    _ insn: Instruction, _ fact: ProvenInstruction, _ slot: Int
  ) throws(LinkError) -> LinkedOperation {
    guard proof.kfuncs.indices.contains(Int(fact.kfunc)) else {
      throw .kernelFunction("#\(insn.immediate)", instruction: slot)
    }
    let name = proof.kfuncs[Int(fact.kfunc)].name
    if name == "bpf_throw" { return LinkedOperation(insn, .throw) }
    guard let function = RuntimeFunctions.kfunc(name, for: type) else {
      throw .kernelFunction(name, instruction: slot)
    }
    var operation = operation(insn, calling: function)
    operation.descriptorRegister = RuntimeFunctions.descriptorRegister(forKfunc: name)
    if operation.descriptorRegister != 0 {
      operation.descriptor = descriptors.descriptor(forKfunc: name, type: fact.objectType, size: fact.objectSize)
    }
    return operation
  }

  // MARK: Memory

  private func access(
    _ insn: Instruction, _ fact: ProvenInstruction, _ slot: Int
  ) throws(LinkError) -> LinkedOperation {
    switch fact.access {
    case .memory: return LinkedOperation(insn, .plain)
    case .kernelObject:
      guard insn.instructionClass == Class.ldx else {
        throw .instruction("a store to an object of the kernel", at: slot)
      }
      return LinkedOperation(insn, .faulting)
    case .arena:
      guard let base = arena?.block.pointee.values else { throw .instruction("an arena access without one", at: slot) }
      return LinkedOperation(insn, .arena, operand: UInt64(UInt(bitPattern: base)))
    case .mapObject: return try mapAccess(insn, slot)
    case .context, .socket, .tcpSocket, .xdpSocket: return try contextAccess(insn, fact.access, slot)
    }
  }

  private func contextAccess(
    _ insn: Instruction, _ object: AccessedObject, _ slot: Int
  ) throws(LinkError) -> LinkedOperation {
    let isStore = insn.instructionClass != Class.ldx
    let place = ContextBlock.access(
      object, of: type, offset: Int(insn.offset), size: insn.accessSize, isStore: isStore,
      immediate: insn.instructionClass == Class.st ? insn.immediate : nil)
    switch place {
    case .memory(let offset, let size): return LinkedOperation(moved(insn, to: offset, size: size), .plain)
    case .dropped: return LinkedOperation(Instruction(opcode: Opcode.ja), .plain)
    case .storeBelow(let limit, let offset, let size):
      return LinkedOperation(moved(insn, to: offset, size: size), .storeBelow, operand: limit)
    case .unsupported(let name): throw .contextField(name, instruction: slot)
    }
  }

  private func moved(_ insn: Instruction, to offset: Int, size: Int) -> Instruction {
    let code = [1: Size.b, 2: Size.h, 4: Size.w][size] ?? Size.dw
    var moved = insn
    moved.opcode = insn.opcode & ~Size.dw | code
    moved.offset = Int16(truncatingIfNeeded: offset)
    return moved
  }

  /// Members of `struct bpf_map` that `skep_map` has too, all of 32 bits.
  private static let sharedMembers: [String: Int] = [
    "map_type": MemoryLayout<skep_map>.offset(of: \.type) ?? 0,
    "key_size": MemoryLayout<skep_map>.offset(of: \.key_size) ?? 0,
    "value_size": MemoryLayout<skep_map>.offset(of: \.value_size) ?? 0,
    "max_entries": MemoryLayout<skep_map>.offset(of: \.max_entries) ?? 0,
    "map_flags": MemoryLayout<skep_map>.offset(of: \.flags) ?? 0,
    "id": MemoryLayout<skep_map>.offset(of: \.id) ?? 0,
  ]

  private static func fieldsOfMaps(_ linux: Linux) -> [UInt32: String] {
    guard let btf = linux.btf, let id = btf.find("bpf_map", kind: .structure) else { return [:] }
    var fields: [UInt32: String] = [:]
    for member in btf.members(id) { fields[member.bitOffset / 8] = btf.string(member.nameOffset) }
    return fields
  }

  private func mapAccess(_ insn: Instruction, _ slot: Int) throws(LinkError) -> LinkedOperation {
    let name = mapFields[UInt32(bitPattern: Int32(insn.offset))] ?? "offset \(insn.offset)"
    guard insn.instructionClass == Class.ldx, insn.accessSize == 4, let offset = Self.sharedMembers[name] else {
      throw .mapField(name, instruction: slot)
    }
    return LinkedOperation(moved(insn, to: offset, size: 4), .plain)
  }

  /// To an arena's pointer as programs follow it (the low half), or as user space does.
  private func cast(_ insn: Instruction) -> LinkedOperation {
    if insn.immediate == 1 || arena?.definition.flags.contains(.noUserConversion) ?? true {
      let narrow = Instruction(opcode: Class.alu | ALU.mov | Source.x, dst: UInt8(insn.dst), src: UInt8(insn.src))
      return LinkedOperation(narrow, .plain)
    }
    return LinkedOperation(insn, .arenaCast, operand: (arena?.block.pointee.stride ?? 0) & ~0xffff_ffff)
  }
}
