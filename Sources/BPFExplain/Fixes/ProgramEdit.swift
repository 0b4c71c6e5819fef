import BPFISA
import BPFLinux

/// Instructions put into a program, with everything that counts slots brought up to date.
struct ProgramEdit {
  /// Who runs the new instructions.
  enum Way: Hashable {
    /// Everybody who comes to the slot, by jumps too.
    case everyone
    /// Who comes from the instruction before it.
    case fallingThrough
    /// Who jumps there from this slot.
    case jumping(from: Int)
  }

  struct Insertion {
    var slot: Int
    var code: [Instruction]
    var way = Way.everyone
  }

  var insertions: [Insertion]

  /// The program with the new instructions; nil where a jump gets too long for them.
  func applied(to program: Program) -> Program? {
    let count = program.instructions.count
    guard insertions.allSatisfy({ (0...count).contains($0.slot) }) else { return nil }
    var code: [Instruction] = []
    /// By old slot: where who jumps there goes on, and where the instruction itself is now.
    var starts: [Int] = []
    var slots: [Int] = []
    for slot in 0...count {
      let here = insertions.filter { $0.slot == slot }
      for insertion in here where insertion.way == .fallingThrough { code += insertion.code }
      starts.append(code.count)
      for insertion in here where insertion.way == .everyone { code += insertion.code }
      slots.append(code.count)
      if slot < count { code.append(program.instructions[slot]) }
    }
    // Jumps of the old instructions.
    for slot in 0..<count {
      guard !(slot > 0 && program.instructions[slot - 1].isLoadImmediate64),
        let old = Self.target(of: program.instructions[slot], at: slot), (0...count).contains(old)
      else { continue }
      guard Self.setTarget(of: &code, at: slots[slot], to: starts[old]) else { return nil }
    }
    // Code for one jump stands behind the program and goes on where the jump went.
    for insertion in insertions {
      guard case .jumping(let from) = insertion.way else { continue }
      let block = code.count
      code += insertion.code
      code.append(Instruction(opcode: Class.jmp | Jump.ja))
      guard Self.setTarget(of: &code, at: code.count - 1, to: starts[insertion.slot]),
        Self.setTarget(of: &code, at: slots[from], to: block)
      else { return nil }
    }
    var edited = program
    edited.instructions = code
    let functions = Set(program.functionInfo.map { Int($0.instructionOffset) } + [0])
    edited.functionInfo = program.functionInfo.map { info in
      guard Int(info.instructionOffset) < starts.count else { return info }
      var info = info
      info.instructionOffset = UInt32(starts[Int(info.instructionOffset)])
      return info
    }
    edited.lineInfo = program.lineInfo.map { line in
      let old = Int(line.instructionOffset)
      guard old < slots.count else { return line }
      var line = line
      line.instructionOffset = UInt32(functions.contains(old) ? starts[old] : slots[old])
      return line
    }
    return edited
  }

  /// Where a jump, a call or the address of a function leads.
  static func target(of insn: Instruction, at slot: Int) -> Int? {
    if insn.isSubprogramAddress { return slot + 1 + Int(insn.immediate) }
    switch insn.instructionClass {
    case Class.jmp, Class.jmp32: break
    default: return nil
    }
    switch insn.operation {
    case Jump.exit: return nil
    case Jump.call: return insn.isSubprogramCall ? slot + 1 + Int(insn.immediate) : nil
    case Jump.ja where insn.instructionClass == Class.jmp32: return slot + 1 + Int(insn.immediate)
    default: return slot + 1 + Int(insn.offset)
    }
  }

  private static func setTarget(of code: inout [Instruction], at slot: Int, to target: Int) -> Bool {
    let distance = target - slot - 1
    let insn = code[slot]
    let isLong =
      insn.isSubprogramAddress || insn.isSubprogramCall
      || (insn.operation == Jump.ja && insn.instructionClass == Class.jmp32)
    if isLong {
      code[slot].immediate = Int32(truncatingIfNeeded: distance)
      return true
    }
    guard let short = Int16(exactly: distance) else { return false }
    code[slot].offset = short
    return true
  }
}
