import BPFISA
import BPFLinux
import BTF

// 64-bit immediate loads that stand for maps, map values, kernel symbols and subprograms; and opcodes that exist.

/// Most maps, and most BTFs, that one program may refer to.
private let maximumReferences = 64

/// Opcodes that programs may contain.
private enum KnownOpcodes {
  static func contains(_ opcode: UInt8) -> Bool {
    table[Int(opcode >> 6)] & (1 << UInt64(opcode & 63)) != 0
  }

  private static let table: InlineArray<4, UInt64> = {
    var table = InlineArray<4, UInt64>(repeating: 0)
    func add(_ opcode: UInt8) { table[Int(opcode >> 6)] |= 1 << UInt64(opcode & 63) }
    let operations = [
      ALU.add, ALU.sub, ALU.and, ALU.or, ALU.lsh, ALU.rsh, ALU.xor, ALU.mul, ALU.mov, ALU.arsh, ALU.div, ALU.mod,
    ]
    for operation in operations {
      for source in [Source.k, Source.x] {
        add(Class.alu | operation | source)
        add(Class.alu64 | operation | source)
      }
    }
    add(Class.alu | ALU.neg)
    add(Class.alu64 | ALU.neg)
    add(Class.alu | ALU.end | Source.k)
    add(Class.alu | ALU.end | Source.x)
    add(Class.alu64 | ALU.end | Source.k)
    let comparisons = [
      Jump.jeq, Jump.jne, Jump.jgt, Jump.jlt, Jump.jge, Jump.jle, Jump.jsgt, Jump.jslt, Jump.jsge, Jump.jsle,
      Jump.jset,
    ]
    for comparison in comparisons {
      for source in [Source.k, Source.x] {
        add(Class.jmp | comparison | source)
        add(Class.jmp32 | comparison | source)
      }
    }
    add(Class.jmp | Jump.ja)
    add(Class.jmp32 | Jump.ja)
    add(Class.jmp | Jump.call)
    add(Class.jmp | Jump.exit)
    add(Class.jmp | Jump.jcond)
    for size in [Size.b, Size.h, Size.w, Size.dw] {
      add(Class.stx | Mode.atomic | size)
      add(Class.stx | Mode.mem | size)
      add(Class.st | Mode.mem | size)
      add(Class.ldx | Mode.mem | size)
    }
    for size in [Size.b, Size.h, Size.w] {
      add(Class.ldx | Mode.memsx | size)
      add(Class.ld | Mode.abs | size)
      add(Class.ld | Mode.ind | size)
    }
    add(Opcode.loadImmediate64)
    return table
  }()
}

/// Addresses that look like the kernel's and stand for nothing: they tell objects apart in the log.
private enum KernelAddress {
  static func map(_ place: Int) -> UInt64 { 0xffff_8881_0000_0000 &+ UInt64(place) &* 0x1000 }
  /// An arena's address is the one user space maps it at.
  static func mapValue(_ place: Int, _ map: MapDefinition) -> UInt64 {
    guard map.type == .arena else { return 0xffff_c900_0000_0000 &+ UInt64(place) &* 0x100_0000 }
    return map.mapExtra != 0 ? map.mapExtra : 0x7f00_0000_0000
  }
  static func symbol(_ id: UInt32) -> UInt64 { 0xffff_ffff_8100_0000 &+ UInt64(id) &* 16 }
}

extension Verification {
  /// Resolves what `ld_imm64` instructions refer to, and refuses opcodes that do not exist.
  func resolvePseudoLoads() throws(Refusal) {
    // Where the program's maps are among those it uses; -1 for a map not met yet.
    var places = [Int](repeating: -1, count: program.maps.count)
    var used: [Int] = []
    var index = 0
    while index < instructionCount {
      let insn = instructions[index]
      if insn.instructionClass == Class.ldx, (insn.mode != Mode.mem && insn.mode != Mode.memsx) || insn.immediate != 0 {
        throw refuse(.EINVAL, .invalidInstruction, "BPF_LDX uses reserved fields\n")
      }
      guard insn.isLoadImmediate64 else {
        guard KnownOpcodes.contains(insn.opcode) else {
          throw refuse(.EINVAL, .invalidInstruction, "unknown opcode \(hexadecimal(insn.opcode))\n")
        }
        index += 1
        continue
      }
      guard index + 1 < instructionCount else { throw invalidLoad() }
      let second = instructions[index + 1]
      guard second.opcode == 0, second.registers == 0, second.offset == 0 else { throw invalidLoad() }
      switch UInt8(truncatingIfNeeded: insn.src) {
      case 0:
        break
      case PseudoSource.btfID:
        try resolveSymbol(at: index, insn, second)
      case PseudoSource.function:
        facts[index].pointerType = .function
      default:
        try resolveMap(at: index, insn, second, &places, &used)
      }
      index += 2
    }
  }

  private func hexadecimal(_ opcode: UInt8) -> String {
    let digits = String(opcode, radix: 16)
    return digits.utf8.count == 1 ? "0" + digits : digits
  }

  private func invalidLoad() -> Refusal {
    refuse(.EINVAL, .invalidInstruction, "invalid bpf_ld_imm64 insn\n")
  }

  // MARK: Maps

  private func resolveMap(
    at index: Int, _ insn: Instruction, _ second: Instruction, _ places: inout [Int], _ used: inout [Int]
  ) throws(Refusal) {
    let source = UInt8(truncatingIfNeeded: insn.src)
    let isValue = source == PseudoSource.mapValue || source == PseudoSource.mapIndexValue
    let isMap = source == PseudoSource.mapFD || source == PseudoSource.mapIndex
    guard isValue || (isMap && second.immediate == 0) else {
      throw refuse(.EINVAL, .invalidInstruction, "unrecognized bpf_ld_imm64 insn\n")
    }
    let number = Int(insn.immediate)
    guard places.indices.contains(number) else {
      if source == PseudoSource.mapIndex || source == PseudoSource.mapIndexValue {
        guard places.isEmpty else { throw Refusal(errno: .EFAULT, category: .mapUse) }
        throw refuse(.EPROTO, .mapUse, "fd_idx without fd_array is invalid\n")
      }
      // The standard streams are open in any loader; other descriptors that no map has are taken to be closed.
      throw refuse(
        (0...2).contains(number) ? .EINVAL : .EBADF, .mapUse,
        "fd \(insn.immediate) is not pointing to valid bpf_map\n")
    }
    if places[number] < 0 {
      guard used.count < maximumReferences else {
        throw refuse(
          .E2BIG, .mapUse,
          "The total number of maps per program has reached the limit of \(maximumReferences)\n")
      }
      let map = makeVerifiedMap(program.maps[number])
      try checkCompatibility(map, used)
      maps.append(map)
      places[number] = maps.count - 1
      used.append(maps.count - 1)
    }
    let place = places[number]
    facts[index].loadedMap = Int32(truncatingIfNeeded: place)
    guard isValue else {
      setAddress(at: index, KernelAddress.map(place))
      return
    }
    let offset = UInt32(bitPattern: second.immediate)
    guard UInt64(offset) < maximumVariableOffset else {
      throw refuse(.EINVAL, .mapBounds, "direct value offset of \(offset) is not allowed\n")
    }
    try checkDirectValue(place, offset)
    facts[index].loadedMapOffset = offset
    setAddress(at: index, KernelAddress.mapValue(place, maps[place].definition) &+ UInt64(offset))
  }

  /// Puts an address where the instruction had a number, as Linux does before it prints or runs it.
  private func setAddress(at index: Int, _ address: UInt64) {
    instructions[index].immediate = Int32(truncatingIfNeeded: address)
    instructions[index + 1].immediate = Int32(truncatingIfNeeded: address >> 32)
  }

  /// Checks that the map has one value with a fixed address, and that `offset` lies in it.
  private func checkDirectValue(_ map: Int, _ offset: UInt32) throws(Refusal) {
    let definition = maps[map].definition
    let failure: Errno?
    switch definition.type {
    case .array:
      failure = definition.maxEntries != 1 ? .ENOTSUPP : offset >= definition.valueSize ? .EINVAL : nil
    case .arena:
      failure = UInt64(offset) > UInt64(definition.maxEntries) * 4096 ? .ERANGE : nil
    default:
      throw refuse(.EINVAL, .mapUse, "no direct value access support for this map type\n")
    }
    if let failure {
      throw refuse(
        failure, .mapBounds,
        "invalid access to map value pointer, value_size=\(definition.valueSize) off=\(offset)\n")
    }
  }

  /// Whether programs of the type run where locks and timers would be unsafe.
  private func isTracingType(_ type: ProgramType) -> Bool {
    switch type {
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint, .rawTracepointWritable: true
    default: false
    }
  }

  /// Whether this program may use the map at all, besides those in `used`.
  private func checkCompatibility(_ map: VerifiedMap, _ used: [Int]) throws(Refusal) {
    let isTracing = isTracingType(programType)
    if let record = map.record {
      if isTracing, record.has(.graphRoot) {
        throw refuse(
          .EINVAL, .mapUse, "tracing progs cannot use bpf_{list_head,rb_root} yet\n")
      }
      if record.has(.anySpinLock) {
        if programType == .socketFilter {
          throw refuse(.EINVAL, .mapUse, "socket filter progs cannot use bpf_spin_lock yet\n")
        }
        if isTracing { throw refuse(.EINVAL, .mapUse, "tracing progs cannot use bpf_spin_lock yet\n") }
      }
      if isTracing, record.has(.timer) {
        throw refuse(.EINVAL, .mapUse, "tracing progs cannot use bpf_timer yet\n")
      }
      if isTracing, record.has(.workqueue) {
        throw refuse(.EINVAL, .mapUse, "tracing progs cannot use bpf_wq yet\n")
      }
    }
    let type = map.definition.type
    if type == .structOps { throw refuse(.EINVAL, .mapUse, "bpf_struct_ops map cannot be used in prog\n") }
    if sleepable, !isUsableAsleep(type) {
      throw refuse(
        .EINVAL, .mapUse,
        "Sleepable programs can only use array, hash, ringbuf and local storage maps\n")
    }
    if type == .cgroupStorage || type == .percpuCgroupStorage,
      used.contains(where: { maps[$0].definition.type == type })
    {
      throw refuse(.EBUSY, .mapUse, "only one cgroup storage of each type is allowed\n")
    }
    if type == .arena { try checkArena(used) }
  }

  private func isUsableAsleep(_ type: MapType) -> Bool {
    switch type {
    case .hash, .lruHash, .array, .percpuHash, .percpuArray, .lruPercpuHash, .arrayOfMaps, .hashOfMaps, .ringbuf,
      .userRingbuf, .inodeStorage, .skStorage, .taskStorage, .cgrpStorage, .queue, .stack, .arena:
      true
    default:
      false
    }
  }

  private func checkArena(_ used: [Int]) throws(Refusal) {
    if used.contains(where: { maps[$0].definition.type == .arena }) {
      throw refuse(.EBUSY, .mapUse, "Only one arena per program\n")
    }
    if !allowPointerLeaks || !hasBPFCapability {
      throw refuse(.EPERM, .privilege, "CAP_BPF and CAP_PERFMON are required to use arena\n")
    }
    if !kernelHas("CONFIG_BPF_JIT") {
      throw refuse(.EOPNOTSUPP, .mapUse, "JIT is required to use arena\n")
    }
    hasArena = true
  }

  // MARK: Kernel symbols

  /// Whether the kernel was built with the option; so where its configuration is unknown.
  private func kernelHas(_ option: String) -> Bool { linux.config.isEmpty || linux.config[option] == "y" }

  /// Whether the kernel's symbol table has the name. Where the table is unknown: all functions, and variables where
  /// the kernel keeps those.
  func kernelHasSymbol(_ name: String, isVariable: Bool) -> Bool {
    if let symbols = linux.symbols { return symbols[name] != nil }
    return !isVariable || kernelHas("CONFIG_KALLSYMS_ALL")
  }

  private func resolveSymbol(at index: Int, _ insn: Instruction, _ second: Instruction) throws(Refusal) {
    let place: BTFIndex
    if second.immediate != 0 {
      guard let module = program.moduleBTFs[Int(second.immediate)] else {
        throw refuse(.EINVAL, .btf, "invalid module BTF object FD specified.\n")
      }
      place = self.index(of: module)
    } else {
      place = Self.kernelBTF
    }
    guard let types = btfs[Int(place)] else {
      throw refuse(
        .EINVAL, .btf,
        "kernel is missing BTF, make sure CONFIG_DEBUG_INFO_BTF=y is specified in Kconfig.\n")
    }
    try describeSymbol(at: index, id: UInt32(bitPattern: insn.immediate), types, place)
    guard !usedBTFs.contains(place) else { return }
    guard usedBTFs.count < maximumReferences else {
      throw refuse(
        .E2BIG, .btf,
        "The total number of btfs per program has reached the limit of \(maximumReferences)\n")
    }
    usedBTFs.append(place)
  }

  /// What the register becomes that the symbol's address is loaded into.
  private func describeSymbol(
    at index: Int, id: TypeID, _ types: BTF, _ place: BTFIndex
  ) throws(Refusal) {
    guard types.isValid(id) else {
      throw refuse(
        .ENOENT, .btf, "ldimm64 insn specifies invalid btf_id \(Int32(bitPattern: id)).\n")
    }
    let symbol = types.type(id)
    guard symbol.kind == .variable || symbol.kind == .function else {
      throw refuse(
        .EINVAL, .btf, "pseudo btf_id \(Int32(bitPattern: id)) in ldimm64 isn't KIND_VAR or KIND_FUNC\n")
    }
    let name = types.string(symbol.nameOffset)
    guard kernelHasSymbol(name, isVariable: symbol.kind == .variable) else {
      throw refuse(
        .ENOENT, .btf, "ldimm64 failed to find the address for kernel symbol '\(name)'.\n")
    }
    setAddress(at: index, KernelAddress.symbol(id))
    let fact = facts + index
    guard symbol.kind == .variable else {
      fact.pointee.symbolType = .memory | .readOnly
      fact.pointee.symbolMemorySize = 0
      return
    }
    let target = types.skipModifiers(symbol.target)
    if isPerCPU(id, types) {
      fact.pointee.symbolType = .btfID | .percpu
    } else if types.kind(target).isComposite {
      fact.pointee.symbolType = .btfID
    } else {
      guard let size = types.resolvedSize(target)?.size else {
        throw refuse(
          .EINVAL, .btf, "ldimm64 unable to resolve the size of type '\(types.name(target))': -22\n")
      }
      fact.pointee.symbolType = .memory | .readOnly
      fact.pointee.symbolMemorySize = size
      return
    }
    fact.pointee.symbolBTF = place
    fact.pointee.symbolBTFID = symbol.target
  }

  /// Whether the variable lies in the section of per-CPU variables. A module has one of its own.
  private func isPerCPU(_ id: TypeID, _ types: BTF) -> Bool {
    let sections = types.findAll(".data..percpu") { $0 == .dataSection }
    guard let section = sections.first(where: { $0 >= types.startID }) else { return false }
    return types.variables(section).contains { $0.typeID == id }
  }
}
