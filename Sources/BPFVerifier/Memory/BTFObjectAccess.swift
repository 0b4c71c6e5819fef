import BPFISA
import BPFLinux
import BTF

// Loads and stores of kernel objects whose layout BTF describes, and of objects that the program allocated.

extension Verification {
  /// What a register becomes that a field of an object was loaded into.
  func markBTFLoad(
    into regs: RegisterRef, _ number: Int, type: RegisterType, btf: BTFIndex, id: TypeID, flags: TypeFlags
  ) throws(Refusal) {
    let register = regs + number
    switch type {
    case .scalar:
      markUnknown(in: regs, number)
    case .btfID:
      markKnownZero(in: regs, number)
      register.pointee.type = .btfID | flags
      register.pointee.btf = btf
      register.pointee.btfID = id
      if flags.contains(.mayBeNull) { register.pointee.id = newID() }
    case .memory:
      markKnownZero(in: regs, number)
      register.pointee.type = .memory | flags
      register.pointee.memorySize = 0
    default:
      throw refuse(
        .EFAULT, .invariant, "verifier bug: unexpected reg_type \(type.rawValue) in mark_btf_ld_reg\n")
    }
  }

  /// Special fields of what the register points to.
  func btfRecord(of r: RegisterRef) -> BTFRecord? {
    if r.pointee.type == .mapValue { return maps[r.pointee.map].record }
    if r.pointee.type.isAllocatedObject { return structRecord(of: r.pointee.btfID, in: r.pointee.btf) }
    return nil
  }

  /// An access through a `.btfID` pointer.
  func checkBTFAccess(
    in regs: RegisterRef, register number: Int, offset: Int32, size: Int32, type: AccessType, valueRegister: Int
  ) throws(Refusal) {
    let register = regs + number
    let pointer = register.pointee.type
    let btf = register.pointee.btf
    let id = register.pointee.btfID
    if !allowPointerLeaks {
      throw refuse(
        .EPERM, .privilege,
        "'struct \(typeName(btf, id))' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN\n")
    }
    if !gplCompatible, isKernelBTF(btf) {
      throw refuse(
        .EINVAL, .licenseRequired,
        "Cannot access kernel 'struct \(typeName(btf, id))' from non-GPL compatible program\n")
    }
    if offset < 0 {
      throw refuse(
        .EACCES, .memoryBounds,
        "R\(number) is ptr_\(typeName(btf, id)) invalid negative access: off=\(offset)\n")
    }
    if !register.pointee.isConstant || register.pointee.bits.value != 0 {
      throw refuse(
        .EACCES, .memoryBounds,
        "R\(number) is ptr_\(typeName(btf, id)) invalid variable offset: off=\(offset), "
          + "var_off=\(tnumText(register.pointee.bits))\n")
    }
    if pointer.has(.user) {
      throw refuse(
        .EACCES, .typeMismatch,
        "R\(number) is ptr_\(typeName(btf, id)) access user memory: off=\(offset)\n")
    }
    if pointer.has(.percpu) {
      throw refuse(
        .EACCES, .typeMismatch,
        "R\(number) is ptr_\(typeName(btf, id)) access percpu memory: off=\(offset)\n")
    }

    if type == .write, !pointer.has(.allocated), let types = btfs[Int(btf)],
      let rules = StructWriteRules(program: programType, operations: attach.structOpsName)
    {
      if !isKernelBTF(btf) {
        throw refuse(.EFAULT, .invariant, "verifier bug: reg->btf must be kernel btf\n")
      }
      if case .refused(let errno, let message) = rules.write(
        btf: types, typeID: id, offset: offset, size: size, linux: linux)
      {
        throw refuse(errno, .readOnly, message)
      }
      return
    }
    if type != .read, !pointer.isAllocatedObject {
      throw refuse(.EACCES, .readOnly, "only read is supported\n")
    }
    if pointer.has(.allocated), !pointer.isNonOwningReference, !pointer.has(.rcu),
      register.pointee.referenceID == 0
    {
      throw refuse(
        .EFAULT, .invariant, "verifier bug: ref_obj_id for allocated object must be non-zero\n")
    }
    let walk = try btfStructAccess(register, offset: offset, size: size, type: type)
    guard type == .read, valueRegister >= 0 else { return }
    let flags = walk.registerType == .btfID ? walkedPointerFlags(register, walk) : walk.flags
    try markBTFLoad(
      into: regs, valueRegister, type: walk.registerType, btf: btf, id: walk.nextID, flags: flags)
  }

  /// How much a pointer that was loaded from an object is trusted. By default, less than the pointer to the object.
  private func walkedPointerFlags(_ register: RegisterRef, _ walk: BTFWalk) -> TypeFlags {
    let pointer = register.pointee.type
    var flags = walk.flags
    if pointer.has(.untrusted) { return .untrusted }
    guard isTrusted(register) || isRCU(register) else {
      clearTrustedFlags(&flags)
      return flags
    }
    let trust = fieldTrust(register, walk)
    if trust.contains(.trusted) {
      flags.formUnion(.trusted)
    } else if trust.contains(.trustedOrNull) {
      flags.formUnion([.trusted, .mayBeNull])
    } else if inRCUSection, !pointer.mayBeNull {
      if trust.contains(.rcu) {
        flags.formUnion(.rcu)
      } else if flags.contains(.rcu) || trust.contains(.rcuOrNull) {
        flags.formUnion([.rcu, .mayBeNull])
        if trust.contains(.rcuOrNull) { flags.subtract(.untrusted) }
      } else if flags.isDisjoint(with: [.percpu, .user]) {
        clearTrustedFlags(&flags)
      }
    } else {
      // A plain pointer would be accepted by helpers, which it is not safe for.
      flags = .untrusted
    }
    return flags
  }

  /// A load through a map pointer: the fields of the kernel's own map structure.
  func checkMapPointerAccess(
    in regs: RegisterRef, register number: Int, offset: Int32, size: Int32, type: AccessType, valueRegister: Int
  ) throws(Refusal) {
    let map = (regs + number).pointee.map
    guard let kernel = btfs[Int(Self.kernelBTF)] else {
      throw refuse(.ENOTSUPP, .btf, "map_ptr access not supported without CONFIG_DEBUG_INFO_BTF\n")
    }
    let mapType = maps[map].definition.type
    guard let name = kernelMapStructure(mapType), let id = kernel.find(name, kind: .structure) else {
      throw refuse(.ENOTSUPP, .mapUse, "map_ptr access not supported for map type \(mapType.rawValue)\n")
    }
    if !allowPointerLeaks {
      throw refuse(
        .EPERM, .privilege, "'struct \(name)' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN\n")
    }
    if offset < 0 {
      throw refuse(
        .EACCES, .memoryBounds, "R\(number) is \(name) invalid negative access: off=\(offset)\n")
    }
    if type != .read {
      throw refuse(.EACCES, .readOnly, "only read from \(name) is supported\n")
    }
    let structure = scratchRegisters + 1
    structure.pointee = RegisterState()
    try markBTFLoad(into: structure, 0, type: .btfID, btf: Self.kernelBTF, id: id, flags: [])
    let walk = try btfStructAccess(structure, offset: offset, size: size, type: type)
    if valueRegister >= 0 {
      try markBTFLoad(
        into: regs, valueRegister, type: walk.registerType, btf: Self.kernelBTF, id: walk.nextID,
        flags: walk.flags)
    }
  }

  /// The structure that a map of the type is in the kernel.
  private func kernelMapStructure(_ type: MapType) -> String? {
    switch type {
    case .array, .percpuArray, .progArray, .perfEventArray, .cgroupArray, .arrayOfMaps: "bpf_array"
    case .hash, .percpuHash, .lruHash, .lruPercpuHash, .hashOfMaps: "bpf_htab"
    case .cgroupStorage, .percpuCgroupStorage: "bpf_cgroup_storage_map"
    case .inodeStorage, .taskStorage, .cgrpStorage, .skStorage: "bpf_local_storage_map"
    case .stackTrace: "bpf_stack_map"
    case .lpmTrie: "lpm_trie"
    case .devmap, .devmapHash: "bpf_dtab"
    case .cpumap: "bpf_cpu_map"
    case .xskmap: "xsk_map"
    case .sockmap: "bpf_stab"
    case .sockhash: "bpf_shtab"
    case .reuseportSockarray: "reuseport_array"
    case .queue, .stack: "bpf_queue_stack"
    case .structOps: "bpf_struct_ops_map"
    case .ringbuf, .userRingbuf: "bpf_ringbuf_map"
    case .bloomFilter: "bpf_bloom_filter"
    case .arena: "bpf_arena"
    default: nil
    }
  }

  func typeName(_ btf: BTFIndex, _ id: TypeID) -> String { btfs[Int(btf)]?.name(id) ?? "" }
}
