import BPFLinux
import BTF

// What a program's context is called in the program's BTF and in the kernel's.

extension Verification {
  /// A type in the kernel's table of contexts: what programs see (`prog`) or what the kernel has (`kern`).
  private func contextType(_ type: ProgramType, _ side: String) -> TypeID? {
    guard let kernel = linux.btf, let table = kernel.find("bpf_ctx_convert", kind: .structure) else { return nil }
    let name = "BPF_PROG_TYPE_\(type.name.uppercased())_\(side)"
    return kernel.members(table).first { kernel.stringEquals($0.nameOffset, name) }?.typeID
  }

  /// What the kernel has for a program's context, whatever kind of type it is.
  func kernelContextTypeID(_ type: ProgramType) -> TypeID? { contextType(type, "kern") }

  /// The kernel's own struct behind a program's context (`struct sk_buff` for `struct __sk_buff`).
  func kernelContextType(_ type: ProgramType) throws(Refusal) -> TypeID {
    guard let kernel = linux.btf, let id = contextType(type, "kern") else {
      throw Refusal(errno: .EFAULT, category: .btf)
    }
    guard kernel.kind(id).isComposite else {
      throw refuse(.EINVAL, .btf, "kern ctx type id \(id) is not a struct\n")
    }
    return id
  }

  /// Whether the struct that programs see stands for that struct of the kernel.
  static func isProjection(_ seen: String, of kernel: String) -> Bool {
    (seen == "__sk_buff" && kernel == "sk_buff") || (seen == "xdp_md" && kernel == "xdp_buff")
  }

  /// Whether the type is the typedef that kprobe programs call their context.
  private func namesUserRegisters(_ types: BTF, _ id: TypeID) -> Bool {
    let typedef = types.skipQualifiers(id)
    return types.kind(typedef) == .typedef && types.nameEquals(typedef, "bpf_user_pt_regs_t")
  }

  /// Whether the pointer type `pointer` is to the context of programs of `type`. Only names are compared.
  func isProgramContextType(_ types: BTF, pointer: TypeID, type: ProgramType, argument: Int) -> Bool {
    let target = types.type(pointer).target
    if type == .kprobe, namesUserRegisters(types, target) { return true }
    let id = types.skipModifiers(target)
    guard types.kind(id).isComposite else { return false }
    let nameOffset = types.type(id).nameOffset
    guard types.isValidString(nameOffset) else {
      print("arg#\(argument) struct doesn't have a name\n")
      return false
    }
    guard let kernel = linux.btf, var context = contextType(type, "prog") else {
      print("btf_vmlinux is malformed\n")
      return false
    }
    let name = types.string(nameOffset)
    while true {
      let contextName = kernel.name(context)
      if contextName.isEmpty { return false }
      if contextName == name || Self.isProjection(contextName, of: name) { return true }
      // The context may be a typedef, as `bpf_user_pt_regs_t` is.
      guard kernel.kind(context).isModifier else { return false }
      context = kernel.skipModifiers(context)
    }
  }

  /// Checks the type of an argument that is tagged as the context.
  func validateTaggedContext(
    _ types: BTF, pointer: TypeID, argument: Int, type: ProgramType, attachType: AttachType
  ) throws(Refusal) {
    guard types.kind(pointer) == .pointer else {
      throw refuse(.EINVAL, .btf, "arg#\(argument) type isn't a pointer\n")
    }
    let target = types.type(pointer).target
    if type == .kprobe || type == .perfEvent, namesUserRegisters(types, target) { return }
    let id = types.skipModifiers(target)
    let header = types.type(id)
    if header.kind == .void { return }
    let name = types.string(header.nameOffset)
    guard !name.isEmpty else { throw refuse(.EINVAL, .btf, "arg#\(argument) type doesn't have a name\n") }
    if takesTaggedContext(header, name, type, attachType) { return }
    guard let kernel = linux.btf, let table = contextType(type, "prog") else {
      throw refuse(.EINVAL, .btf, "btf_vmlinux is malformed\n")
    }
    let context = kernel.skipModifiers(table)
    guard kernel.kind(context) == .structure else {
      throw refuse(.EINVAL, .btf, "arg#\(argument) should be void pointer\n")
    }
    let contextName = kernel.name(context)
    guard header.kind == .structure, contextName == name else {
      throw refuse(.EINVAL, .btf, "arg#\(argument) should be `struct \(contextName) *`\n")
    }
  }

  /// Contexts that go by other types than the kernel's table has.
  private func takesTaggedContext(
    _ header: BTFType, _ name: String, _ type: ProgramType, _ attachType: AttachType
  ) -> Bool {
    let isStruct = header.kind == .structure
    let isWord = header.kind == .int && header.size == 8
    switch type {
    case .kprobe:
      return isStruct && name == "pt_regs"
    case .perfEvent:
      return isStruct && name == (linux.architecture == .x86_64 ? "pt_regs" : "user_pt_regs")
    case .rawTracepoint, .rawTracepointWritable, .lsm, .structOps:
      return isWord
    case .tracing:
      switch attachType {
      case .traceRawTp: return isWord || (isStruct && name == "bpf_raw_tracepoint_args")
      case .traceIter: return isStruct && name.hasPrefix("bpf_iter__")
      case .traceFentry, .traceFexit, .modifyReturn: return isWord
      default: return false
      }
    case .tracepoint, .syscall, .ext:
      return true
    default:
      return false
    }
  }
}
