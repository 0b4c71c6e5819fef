import BPFLinux
import BTF

// Which types of registers an argument takes.

/// Register types by argument type, ten each, the unused ones `.notInitialized`.
private enum CompatibleTypes {
  static let width = 10
  private static let argumentTypes = 24

  nonisolated(unsafe) private static let table: UnsafeMutablePointer<RegisterType> = {
    let table = UnsafeMutablePointer<RegisterType>.allocate(capacity: width * argumentTypes)
    table.initialize(repeating: .notInitialized, count: width * argumentTypes)
    func set(_ argument: ArgumentType, _ types: [RegisterType]) {
      for (index, type) in types.enumerated() { table[Int(argument.rawValue) * width + index] = type }
    }
    let sockets: [RegisterType] = [.sockCommon, .socket, .tcpSock, .xdpSock]
    let memory: [RegisterType] = [
      .stack, .packet, .packetMeta, .mapKey, .mapValue, .memory, .memory | .ringbuf, .buffer, .btfID | .trusted,
    ]
    set(.mapKey, memory)
    set(.mapValue, memory)
    set(.memory, memory)
    set(.constSize, [.scalar])
    set(.constSizeOrZero, [.scalar])
    set(.constAllocSizeOrZero, [.scalar])
    set(.constMapPointer, [.mapPointer])
    set(.context, [.context])
    set(.sockCommon, sockets)
    set(.btfIDSockCommon, sockets + [.btfID, .btfID | .trusted])
    set(.socket, [.socket])
    set(.btfID, [.btfID, .btfID | .trusted, .btfID | .rcu])
    set(.spinLock, [.mapValue, .btfID | .allocated])
    set(.ringbufMemory, [.memory | .ringbuf])
    set(.percpuBTFID, [.btfID | .percpu, .btfID | [.percpu, .rcu], .btfID | [.percpu, .trusted]])
    set(.function, [.function])
    set(.stack, [.stack])
    set(.constString, [.mapValue])
    set(.timer, [.mapValue])
    set(.kptrExchangeDestination, [.mapValue, .btfID | .allocated])
    set(.dynptr, [.stack, .dynptr])
    return table
  }()

  /// The types that the argument takes; nil where no register may be passed for it.
  static func row(_ argument: ArgumentType) -> UnsafePointer<RegisterType>? {
    let index = Int(argument.base.rawValue)
    guard index < argumentTypes, table[index * width] != .notInitialized else { return nil }
    return UnsafePointer(table + index * width)
  }
}

extension Verification {
  /// Checks that the register is of a type that the argument takes. `btfID` is the kernel type that a `.btfID`
  /// argument asks for.
  func checkRegisterType(
    register number: Int, argumentType: ArgumentType, btfID: TypeID?, meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    let r = register(number)
    guard let compatible = CompatibleTypes.row(argumentType) else {
      throw refuse(
        .EFAULT, .invariant, "verifier bug: unsupported arg type \(Int32(bitPattern: argumentType.rawValue))\n")
    }
    // Flags that the argument accepts do not count; those it does not accept make the types differ.
    var type = r.pointee.type
    if argumentType.has(.readOnly) { type = type.removing(.readOnly) }
    if argumentType.has(.mayBeNull) { type = type.removing(.mayBeNull) }
    if argumentType.base == .memory { type = type.removing(.dynptrAny) }
    if meta.pointee.functionID == .kptrXchg && type.has(.allocated) && number == 2 {
      type = type.removing([.allocated, .percpu])
    }
    var index = 0
    while index < CompatibleTypes.width, compatible[index] != .notInitialized, compatible[index] != type {
      index &+= 1
    }
    if index == CompatibleTypes.width || compatible[index] == .notInitialized {
      throw wrongRegisterType(r, number, compatible, count: index)
    }
    if r.pointee.type.base == .btfID {
      try checkObjectType(r, number, argumentType, btfID, meta)
    }
  }

  @inline(never) private func wrongRegisterType(
    _ r: RegisterRef, _ number: Int, _ compatible: UnsafePointer<RegisterType>, count: Int
  ) -> Refusal {
    let expected = (0..<max(count, 1)).map { registerTypeText(compatible[$0]) }.joined(separator: ", ")
    let type = r.pointee.type
    let category: RefusalCategory =
      type == .notInitialized ? .uninitializedRegister : type.mayBeNull ? .nullDereference : .typeMismatch
    return refuse(.EACCES, category, "R\(number) type=\(registerTypeText(type)) expected=\(expected)\n")
  }

  /// Checks a pointer to a BTF object against the object that the argument asks for.
  private func checkObjectType(
    _ r: RegisterRef, _ number: Int, _ argumentType: ArgumentType, _ btfID: TypeID?,
    _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    let type = r.pointee.type
    let functionID = meta.pointee.functionID
    let base = argumentType.base
    if base == .memory || base == .mapKey || base == .mapValue {
      if argumentType.has(.readOnly) { return }
      throw refuse(
        .EACCES, .readOnly,
        "\(functionID.name ?? "unknown")() may write into memory pointed by R\(number) "
          + "type=\(registerTypeText(type))\n")
    }
    switch type {
    case .btfID, .btfID | .trusted, .btfID | [.trusted, .mayBeNull], .btfID | .rcu, .btfID | .mayBeNull,
      .btfID | [.mayBeNull, .rcu]:
      if type.mayBeNull && (!argumentType.mayBeNull || argumentType.has(.release)) {
        throw refuse(.EACCES, .nullDereference, "Possibly NULL pointer passed to helper arg\(number)\n")
      }
      if functionID == .kptrXchg {
        try checkExchangedKptr(r, number, meta)
        return
      }
      guard let wanted = btfID ?? (base == .btfIDSockCommon ? kernelType("sock_common") : nil) else {
        throw refuse(.EFAULT, .invariant, "verifier bug: missing arg compatible BTF ID\n")
      }
      // Any socket may be released through its first member.
      let strict = argumentType.has(.release) && functionID != .skRelease
      guard
        btfStructIDsMatch(
          btf: r.pointee.btf, id: r.pointee.btfID, offset: r.pointee.offset, needBTF: Self.kernelBTF, needID: wanted,
          strict: strict)
      else {
        throw refuse(
          .EACCES, .typeMismatch,
          "R\(number) is of type \(typeName(r.pointee.btf, r.pointee.btfID)) but "
            + "\(typeName(Self.kernelBTF, wanted)) is expected\n")
      }
    case .btfID | .allocated, .btfID | [.percpu, .allocated]:
      guard functionID == .spinLock || functionID == .spinUnlock || functionID == .kptrXchg else {
        throw refuse(.EFAULT, .invariant, "verifier bug: unimplemented handling of MEM_ALLOC\n")
      }
      if functionID == .kptrXchg && number == 2 { try checkExchangedKptr(r, number, meta) }
    case .btfID | .percpu, .btfID | [.percpu, .rcu], .btfID | [.percpu, .trusted]:
      break
    default:
      throw refuse(
        .EFAULT, .invariant, "verifier bug: invalid PTR_TO_BTF_ID register for type match\n")
    }
  }

  private func checkExchangedKptr(
    _ r: RegisterRef, _ number: Int, _ meta: UnsafeMutablePointer<HelperCallMeta>
  ) throws(Refusal) {
    guard let field = meta.pointee.kptrField else { throw Refusal(errno: .EACCES, category: .kptr) }
    do throws(Refusal) {
      try mapKptrMatch(field: field, register: r, number: number)
    } catch {
      throw Refusal(errno: .EACCES, category: error.category)
    }
  }

  /// The kernel's struct of that name.
  func kernelType(_ name: StaticString) -> TypeID? {
    linux.btf?.find(String(describing: name), kind: .structure)
  }

  /// Checks that the pointer's offset is one that the argument may have.
  func checkArgumentOffset(_ r: RegisterRef, register number: Int, argumentType: ArgumentType) throws(Refusal) {
    let type = r.pointee.type
    if argumentType.has(.release) {
      // A dynptr that is given back lies anywhere on the stack.
      if argumentType.base == .dynptr && type == .stack { return }
      if r.pointee.offset != 0 {
        throw refuse(
          .EINVAL, .invalidRelease,
          "R\(number) must have zero offset when passed to release func or trusted arg to kfunc\n")
      }
      try checkPointerOffset(r, register: number, fixedOffsetOK: false)
      return
    }
    switch type {
    case .stack, .packet, .packetMeta, .mapKey, .mapValue, .memory, .memory | .readOnly, .memory | .ringbuf, .buffer,
      .buffer | .readOnly, .arena, .scalar:
      return
    case .btfID, .btfID | .allocated, .btfID | .trusted, .btfID | .rcu, .btfID | [.allocated, .nonOwning],
      .btfID | [.allocated, .nonOwning, .rcu]:
      try checkPointerOffset(r, register: number, fixedOffsetOK: true)
    default:
      try checkPointerOffset(r, register: number, fixedOffsetOK: false)
    }
  }
}
