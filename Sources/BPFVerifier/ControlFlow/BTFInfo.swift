import BPFISA
import BPFLinux
import BTF

// Function and line information that comes with a program.

extension Verification {
  /// Checks the function information as far as it can be before subprograms are known.
  func checkBTFInfoEarly() throws(Refusal) {
    guard !program.functionInfo.isEmpty || !program.lineInfo.isEmpty else {
      try checkAbnormalReturns()
      return
    }
    guard let types = btfs[Int(Self.programBTF)] else { throw Refusal(errno: .EINVAL, category: .btf) }
    guard !program.functionInfo.isEmpty else {
      try checkAbnormalReturns()
      return
    }
    try checkFunctionInfoEarly(types)
  }

  private func checkFunctionInfoEarly(_ types: BTF) throws(Refusal) {
    var previous: UInt32 = 0
    for (number, info) in program.functionInfo.enumerated() {
      if number == 0 {
        guard info.instructionOffset == 0 else {
          throw refuse(
            .EINVAL, .btf,
            "nonzero insn_off \(info.instructionOffset) for the first func info record")
        }
      } else if info.instructionOffset <= previous {
        throw refuse(
          .EINVAL, .btf,
          "same or smaller insn offset (\(info.instructionOffset)) than previous func info record (\(previous))")
      }
      guard types.kind(info.typeID) == .function else {
        throw refuse(.EINVAL, .btf, "invalid type id \(Int32(bitPattern: info.typeID)) in func info")
      }
      guard types.kind(types.type(info.typeID).target) == .functionPrototype else {
        throw Refusal(errno: .EINVAL, category: .btf)
      }
      previous = info.instructionOffset
    }
  }

  /// Checks function and line information against the subprograms that the instructions make.
  func checkBTFInfo() throws(Refusal) {
    guard !program.functionInfo.isEmpty || !program.lineInfo.isEmpty else {
      try checkAbnormalReturns()
      return
    }
    guard let types = btfs[Int(Self.programBTF)] else { throw Refusal(errno: .EINVAL, category: .btf) }
    if program.functionInfo.isEmpty {
      try checkAbnormalReturns()
    } else {
      try checkFunctionInfo(types)
    }
    try checkLineInfo(types)
  }

  private func checkFunctionInfo(_ types: BTF) throws(Refusal) {
    guard program.functionInfo.count == subprograms.count else {
      throw refuse(
        .EINVAL, .btf, "number of funcs in func_info doesn't match number of subprogs\n")
    }
    for (number, info) in program.functionInfo.enumerated() {
      guard subprograms[number].start == Int(info.instructionOffset) else {
        throw refuse(
          .EINVAL, .btf, "func_info BTF section doesn't match subprog layout in BPF program\n")
      }
      subprograms[number].linkage = types.functionLinkage(info.typeID)
      subprograms[number].functionTypeID = info.typeID
      let prototype = types.type(types.type(info.typeID).target)
      let returned = types.type(types.skipModifiers(prototype.target))
      let isScalar = (returned.kind == .int && returned.size <= 8) || returned.kind.isEnumeration
      guard number > 0, !isScalar else { continue }
      if subprograms[number].hasLoadAbsolute {
        throw refuse(.EINVAL, .btf, "LD_ABS is only allowed in functions that return 'int'.\n")
      }
      if subprograms[number].hasTailCall {
        throw refuse(
          .EINVAL, .tailCall, "tail_call is only allowed in functions that return 'int'.\n")
      }
    }
  }

  private func checkLineInfo(_ types: BTF) throws(Refusal) {
    guard !program.lineInfo.isEmpty else { return }
    var previous: UInt32 = 0
    var next = 0
    for (number, line) in program.lineInfo.enumerated() {
      let offset = line.instructionOffset
      if (number > 0 && offset <= previous) || Int(offset) >= instructionCount {
        throw refuse(
          .EINVAL, .btf,
          "Invalid line_info[\(number)].insn_off:\(offset) (prev_offset:\(previous) prog->len:\(instructionCount))\n")
      }
      guard instructions[Int(offset)].opcode != 0 else {
        throw refuse(.EINVAL, .btf, "Invalid insn code at line_info[\(number)].insn_off\n")
      }
      guard types.isValidString(line.lineOffset), types.isValidString(line.fileNameOffset) else {
        throw refuse(.EINVAL, .btf, "Invalid line_info[\(number)].line_off or .file_name_off\n")
      }
      if next < subprograms.count {
        if Int(offset) == subprograms[next].start {
          subprograms[next].lineInfoIndex = number
          next += 1
        } else if subprograms[next].start < Int(offset) {
          throw refuse(.EINVAL, .btf, "missing bpf_line_info for func#\(next)\n")
        }
      }
      previous = offset
    }
    guard next == subprograms.count else {
      throw refuse(
        .EINVAL, .btf,
        "missing bpf_line_info for \(subprograms.count - next) funcs starting from func#\(next)\n")
    }
  }
}
