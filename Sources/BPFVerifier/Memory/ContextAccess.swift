import BPFISA
import BPFLinux
import BTF

// Loads and stores of the program's context.

extension Verification {
  /// An access through a `.context` pointer that was not moved, at `offset`.
  func checkContextAccess(
    at index: Int, offset: Int32, size: Int32, type: AccessType, signExtending: Bool, valueRegister: Int
  ) throws(Refusal) {
    let value: BTFContextAccess
    do throws(Refusal) {
      value = try contextValue(
        at: index, offset: offset, size: size, type: type, signExtending: signExtending)
    } catch {
      printLineInfo(index, prefix: "; ")
      throw error
    }
    guard type == .read, valueRegister >= 0 else { return }
    let target = register(valueRegister)
    if value.type == .scalar {
      markUnknown(in: registers, valueRegister)
      if value.isReturnValue, let range = functionReturnRange() {
        try markSigned32Range(in: registers, valueRegister, min: range.minimum, max: range.maximum)
      }
    } else {
      markKnownZero(in: registers, valueRegister)
      if value.type.mayBeNull { target.pointee.id = newID() }
      // The instruction may name fewer bytes than the pointer that is loaded has.
      target.pointee.subregisterDefinition = 0
      if value.type.base == .btfID {
        target.pointee.btf = value.btf
        target.pointee.btfID = value.btfID
        target.pointee.referenceID = value.referenceID
      }
    }
    target.pointee.type = value.type
  }

  /// Asks the program type's rules.
  private func contextValue(
    at index: Int, offset: Int32, size: Int32, type: AccessType, signExtending: Bool
  ) throws(Refusal) -> BTFContextAccess {
    var member: StructOpsMember?
    if programType == .structOps {
      member = StructOpsMember(operations: attach.structOpsName, name: attach.functionName)
    }
    var value = BTFContextAccess()
    switch ContextRules.access(
      offset: offset, size: size, type: type, signExtending: signExtending, program: programType,
      expectedAttachType: expectedAttachType, structOps: member, linux: linux)
    {
    case .refused:
      throw invalidContextAccess(offset, size)
    case .allowed(let access):
      if access.failsConversion { facts[index].failsConversion = true }
      value.type = access.registerType
      value.isReturnValue = access.isReturnValue
      if access.registerType.base == .btfID {
        guard let name = access.btfTypeName,
          let id = linux.btf?.find("\(name)", kind: .structure)
        else { throw invalidContextAccess(offset, size) }
        value.btfID = id
        value.btf = Self.kernelBTF
      } else {
        facts[index].contextFieldSize = access.fieldSize
      }
    case .btf:
      guard let argument = try btfContextAccess(offset: offset, size: size, type: type) else {
        throw invalidContextAccess(offset, size)
      }
      value = argument
      if value.type.base == .btfID {
        promoteContextType(&value)
        if value.referenceID != 0, findReference(id: value.referenceID) == nil {
          throw refuse(
            .EACCES, .contextAccess,
            "invalid bpf_context access off=\(offset). Reference may already be released\n")
        }
      } else {
        facts[index].contextFieldSize = 0
      }
    }
    return value
  }

  private func invalidContextAccess(_ offset: Int32, _ size: Int32) -> Refusal {
    refuse(.EACCES, .contextAccess, "invalid bpf_context access off=\(offset) size=\(size)\n")
  }

  /// Some operations show their programs a more specific type than the function's prototype has.
  private func promoteContextType(_ value: inout BTFContextAccess) {
    guard programType == .structOps, !value.type.hasUnsafeModifiers, value.btf == Self.kernelBTF,
      let (from, to) = ContextRules.promotion(operations: attach.structOpsName), let kernel = linux.btf,
      kernel.kind(value.btfID) == .structure, kernel.nameEquals(value.btfID, from),
      let id = kernel.find("\(to)", kind: .structure)
    else { return }
    value.btfID = id
  }
}
