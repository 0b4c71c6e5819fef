import BPFISA
import BPFLinux
import BTF

/// Most subprograms that a program may have.
private let maximumSubprograms = 256

/// The functions that a program consists of.
extension Verification {
  // MARK: finding them

  /// Finds where functions begin, from what calls them or takes their address, and the kernel functions called.
  func findSubprograms() throws(Refusal) {
    defer { closeSubprograms() }
    _ = try addSubprogram(at: 0)
    for index in 0..<instructionCount {
      let insn = instructions[index]
      let local = insn.isSubprogramAddress || insn.isSubprogramCall
      guard local || insn.isKfuncCall else { continue }
      guard hasBPFCapability else {
        throw refuse(
          .EPERM, .privilege,
          "loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN\n")
      }
      if local {
        _ = try addSubprogram(at: Int(Int32(truncatingIfNeeded: index) &+ insn.immediate &+ 1))
      } else {
        try addKfunc(id: TypeID(bitPattern: insn.immediate), offset: insn.offset)
      }
    }
    if let handler = try exceptionCallbackStart() {
      let number = try addSubprogram(at: handler)
      if number > 0 {
        exceptionCallback = number
        subprograms[number].isCallback = true
        subprograms[number].isAsyncCallback = true
        subprograms[number].isExceptionCallback = true
      }
    }
    if logLevel & 2 != 0 {
      for number in subprograms.indices { print("func#\(number) @\(subprograms[number].start)\n") }
    }
  }

  private func addSubprogram(at start: Int) throws(Refusal) -> Int {
    guard start >= 0, start < instructionCount else {
      throw refuse(.EINVAL, .controlFlow, "call to invalid destination\n")
    }
    let after = subprograms.firstIndex { $0.start >= start } ?? subprograms.count
    if after < subprograms.count && subprograms[after].start == start { return after }
    guard subprograms.count < maximumSubprograms else {
      throw refuse(.E2BIG, .controlFlow, "too many subprograms\n")
    }
    subprograms.insert(Subprogram(start: start), at: after)
    return after
  }

  private func closeSubprograms() {
    for number in subprograms.indices {
      subprograms[number].end =
        number + 1 < subprograms.count ? subprograms[number + 1].start : instructionCount
    }
  }

  /// Where the function begins that a tag of the main function names to handle exceptions; nil without such a tag.
  private func exceptionCallbackStart() throws(Refusal) -> Int? {
    guard let main = program.functionInfo.first, let types = program.btf else { return nil }
    guard types.isValid(main.typeID) else {
      throw refuse(.EINVAL, .btf, "invalid btf id for main subprog in func_info\n")
    }
    let key = "exception_callback:"
    let tags = types.declTags(of: main.typeID).filter { $0.component == -1 && $0.tag.hasPrefix(key) }
    guard let tag = tags.first else { return nil }
    guard tags.count == 1 else {
      throw refuse(.EEXIST, .exceptions, "multiple exception callback tags for main subprog\n")
    }
    let name = String(tag.tag.dropFirst(key.count))
    guard let id = types.find(name, kind: .function) else {
      throw refuse(.ENOENT, .exceptions, "exception callback '\(name)' could not be found in BTF\n")
    }
    guard types.functionLinkage(id) == FunctionLinkage.global else {
      throw refuse(.EINVAL, .exceptions, "exception callback '\(name)' must have global linkage\n")
    }
    var start: UInt32 = 0
    var refusal: Refusal?
    for info in program.functionInfo where info.typeID == id {
      start = info.instructionOffset
      if start == 0 {
        refusal = refuse(.EINVAL, .exceptions, "invalid exception callback insn_off in func_info: 0\n")
      } else {
        refusal = nil
      }
    }
    if let refusal { throw refusal }
    guard start != 0 else {
      throw refuse(.EINVAL, .exceptions, "exception callback type id not found in func_info\n")
    }
    return Int(Int32(bitPattern: start))
  }

  // MARK: asking

  /// The function that an instruction of the program belongs to.
  func containingSubprogram(_ instruction: Int) -> Int {
    subprograms.withUnsafeBufferPointer { all in
      var low = 0
      var high = all.count - 1
      while low < high {
        let middle = low + (high - low + 1) / 2
        if all[middle].start <= instruction { low = middle } else { high = middle - 1 }
      }
      return low
    }
  }

  /// The function that begins at `instruction`.
  func findSubprogram(at instruction: Int) -> Int? {
    guard instruction >= 0, instruction < instructionCount, !subprograms.isEmpty else { return nil }
    let number = containingSubprogram(instruction)
    return subprograms[number].start == instruction ? number : nil
  }

  /// Verified on its own, for any arguments that its types allow.
  func subprogramIsGlobal(_ number: Int) -> Bool { subprograms[number].linkage == FunctionLinkage.global }

  /// Its name in the program's BTF; empty where that is not known.
  func subprogramName(_ number: Int) -> String {
    guard number < program.functionInfo.count, let types = program.btf else { return "" }
    return types.name(program.functionInfo[number].typeID)
  }

  func isExceptionCallback(_ number: Int) -> Bool { subprograms[number].isExceptionCallback }

  // MARK: rules

  /// No jump leaves its function, and none falls off its end.
  func checkSubprograms() throws(Refusal) {
    for number in subprograms.indices {
      let range = subprograms[number].start..<subprograms[number].end
      for index in range { try checkPlace(of: index, in: range, subprogram: number) }
      let last = instructions[range.upperBound - 1].opcode
      guard last == Opcode.exit || last == Opcode.ja || last == Opcode.jaLong else {
        throw refuse(.EINVAL, .controlFlow, "last insn is not an exit or jmp\n")
      }
    }
  }

  private func checkPlace(of index: Int, in range: Range<Int>, subprogram number: Int) throws(Refusal) {
    let insn = instructions[index]
    switch insn.instructionClass {
    case Class.ld:
      if insn.mode == Mode.abs || insn.mode == Mode.ind { subprograms[number].hasLoadAbsolute = true }
    case Class.jmp, Class.jmp32:
      if insn.isHelperCall && insn.immediate == HelperID.tailCall.rawValue {
        subprograms[number].hasTailCall = true
        subprograms[number].tailCallReachable = true
      }
      if insn.operation == Jump.exit || insn.operation == Jump.call { return }
      let target = jumpTarget(of: index)
      guard range.contains(target) else {
        throw refuse(.EINVAL, .controlFlow, "jump out of range from insn \(index) to \(target)\n")
      }
    default:
      break
    }
  }

  /// Without BTF nobody says what a function returns, so what may end a program early is left to the main one.
  func checkAbnormalReturns() throws(Refusal) {
    for subprogram in subprograms.dropFirst() {
      if subprogram.hasLoadAbsolute {
        throw refuse(.EINVAL, .controlFlow, "LD_ABS is not allowed in subprogs without BTF\n")
      }
      if subprogram.hasTailCall {
        throw refuse(.EINVAL, .tailCall, "tail_call is not allowed in subprogs without BTF\n")
      }
    }
  }
}

/// Linkage of a function in BTF.
private enum FunctionLinkage {
  static let global: UInt32 = 1
}
