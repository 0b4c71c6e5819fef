import BPFISA
import BPFLinux
import BTF

/// Most functions, and most modules, that one program may call.
private let maximumKfuncs = 256

/// What the checks before exploration ask about a call of a kfunc.
struct KfuncSummary: BitwiseCopyable {
  var isSleepable: Bool
  var changesPacketData: Bool
  var isIteratorNext: Bool
  var isFastcall: Bool
  var argumentCount: Int
  var returnsVoid: Bool
}

extension Verification {
  // MARK: which functions are called

  /// Notes that the program calls function `id` of the kernel, or of the module that `offset` is the index of.
  func addKfunc(id: TypeID, offset: Int16) throws(Refusal) {
    guard linux.btf != nil else {
      throw refuse(
        .ENOTSUPP, .kfuncNotAllowed,
        "calling kernel function is not supported without CONFIG_DEBUG_INFO_BTF\n")
    }
    guard gplCompatible else {
      throw refuse(
        .EINVAL, .licenseRequired, "cannot call kernel function from non-GPL compatible program\n")
    }
    // Allowed as long as the call is never reached: that is seen when dead code is gone.
    if id == 0 && offset == 0 { return }
    let place: BTFIndex
    do throws(Refusal) {
      place = try kfuncBTF(offset: offset)
    } catch {
      throw refuse(error.errno, error.category, "failed to find BTF for kernel function\n")
    }
    if kfuncIndex(id: id, offset: offset) != nil { return }
    if kfuncs.count == maximumKfuncs {
      throw refuse(.E2BIG, .complexity, "too many different kernel function calls\n")
    }
    guard let types = btfs[Int(place)], types.kind(id) == .function else {
      throw refuse(.EINVAL, .btf, "kernel btf_id \(id) is not a function\n")
    }
    let prototype = types.type(id).target
    guard types.kind(prototype) == .functionPrototype else {
      throw refuse(.EINVAL, .btf, "kernel function btf_id \(id) does not have a valid func_proto\n")
    }
    let name = types.name(id)
    guard kernelHasSymbol(name, isVariable: false) else {
      throw refuse(.EINVAL, .kfuncNotAllowed, "cannot find address for kernel function \(name)\n")
    }
    // A program bound to a device would have to name the device.
    if place == Self.kernelBTF && KfuncTable.isDeviceBound(name) {
      throw refuse(.EINVAL, .kfuncNotAllowed, "metadata kfuncs require device-bound program\n")
    }
    kfuncs.append(
      KfuncDescriptor(
        id: id, moduleOffset: offset, btf: place, name: name, prototype: prototype,
        flags: KfuncTable.flags(of: name, for: traits, module: moduleName(place)),
        special: place == Self.kernelBTF ? SpecialKfunc(name: name) : .none))
    try distillPrototype(types, prototype, name: name)
  }

  /// Where the types of a called function are.
  private func kfuncBTF(offset: Int16) throws(Refusal) -> BTFIndex {
    if offset == 0 { return Self.kernelBTF }
    if offset < 0 {
      throw refuse(
        .EINVAL, .invalidInstruction, "negative offset disallowed for kernel module function call\n")
    }
    if let known = kfuncs.first(where: { $0.moduleOffset == offset }) { return known.btf }
    if Set(kfuncs.lazy.map(\.moduleOffset).filter { $0 != 0 }).count == maximumKfuncs {
      throw refuse(.E2BIG, .complexity, "too many different module BTFs\n")
    }
    if program.moduleBTFs.isEmpty {
      throw refuse(.EPROTO, .btf, "kfunc offset > 0 without fd_array is invalid\n")
    }
    guard let module = program.moduleBTFs[Int(offset)] else {
      throw refuse(.EINVAL, .btf, "invalid module BTF fd specified\n")
    }
    let place = index(of: module)
    guard isModuleBTF(place) else {
      throw refuse(.EINVAL, .btf, "BTF fd for kfunc is not a module BTF\n")
    }
    return place
  }

  /// The module whose types these are, nil for the kernel. Its type information is named after it.
  private func moduleName(_ place: BTFIndex) -> String? {
    guard place != Self.kernelBTF, let types = btfs[Int(place)] else { return nil }
    let origin = types.origin
    let file = origin.split(separator: "/").last.map(String.init) ?? origin
    return file.hasSuffix(".ko") ? String(file.dropLast(3)) : file
  }

  /// Where the function is in `kfuncs`; programs call few, so a scan finds it soonest.
  @inline(__always) private func kfuncIndex(id: TypeID, offset: Int16) -> Int? {
    var index = 0
    while index < kfuncs.count {
      if kfuncs[index].id == id && kfuncs[index].moduleOffset == offset { return index }
      index &+= 1
    }
    return nil
  }

  @inline(__always) func kfuncIndex(_ insn: Instruction) -> Int? {
    kfuncIndex(id: TypeID(bitPattern: insn.immediate), offset: insn.offset)
  }

  // MARK: questions about calls

  /// The kfunc that `insn` calls, where it is one that is known by name.
  func specialKfunc(_ insn: Instruction) -> SpecialKfunc {
    guard insn.isKfuncCall, let index = kfuncIndex(insn) else { return .none }
    return kfuncs[index].special
  }

  /// What a call does; nil where the program may not make it, which is found out when it is reached.
  func kfuncSummary(_ insn: Instruction) -> KfuncSummary? {
    guard insn.isKfuncCall, insn.immediate != 0, let index = kfuncIndex(insn), let flags = kfuncs[index].flags,
      let types = btfs[Int(kfuncs[index].btf)]
    else { return nil }
    let prototype = types.type(kfuncs[index].prototype)
    return KfuncSummary(
      isSleepable: flags.contains(.sleepable), changesPacketData: kfuncs[index].special == .xdpPullData,
      isIteratorNext: flags.contains(.iteratorNext), isFastcall: flags.contains(.fastcall),
      argumentCount: prototype.vlen, returnsVoid: prototype.target == 0)
  }

  func kfuncCallsSyncCallback(_ insn: Instruction) -> Bool {
    guard let callback = specialKfunc(insn).callback else { return false }
    return !callback.isAsynchronous
  }

  func kfuncCallsAsyncCallback(_ insn: Instruction) -> Bool {
    specialKfunc(insn).callback?.isAsynchronous ?? false
  }

  func isBPFThrow(_ insn: Instruction) -> Bool { insn.offset == 0 && specialKfunc(insn) == .throw }

  /// Whether the function may be called while a lock is held.
  func kfuncIsAllowedUnderLock(_ insn: Instruction) -> Bool { specialKfunc(insn).isAllowedUnderLock }

  /// The name that the log has for the function.
  func kfuncName(for insn: Instruction) -> String {
    if let index = kfuncIndex(insn) { return kfuncs[index].name }
    let id = TypeID(bitPattern: insn.immediate)
    if insn.offset == 0 { return linux.btf?.name(id) ?? "<error>" }
    return program.moduleBTFs[Int(insn.offset)]?.name(id) ?? "<error>"
  }
}
