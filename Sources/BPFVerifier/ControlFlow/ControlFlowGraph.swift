import BPFISA
import BPFLinux

/// How far the walk over the graph got at each instruction.
///
/// The values are ordered: an edge that was walked is not walked again.
private enum Visit {
  static let none: UInt8 = 0
  static let discovered: UInt8 = 0x10
  static let fellThrough: UInt8 = 0x11
  static let branched: UInt8 = 0x12
  static let explored: UInt8 = 0x20
}

private enum Edge: UInt8 {
  case fallThrough = 1
  case branch = 2
}

/// A depth-first walk over the program.
private struct Walk {
  var visits: [UInt8]
  var stack: [Int] = []

  init(instructionCount: Int) {
    visits = [UInt8](repeating: Visit.none, count: instructionCount)
    stack.reserveCapacity(instructionCount)
  }

  mutating func begin(at index: Int) {
    visits[index] = Visit.discovered
    stack.append(index)
  }
}

/// The graph of the program: every instruction is reachable, every jump lands on one. On the way, instructions are
/// marked where exploration looks for states it has seen, and functions for what their callees do.
extension Verification {
  func checkControlFlow() throws(Refusal) {
    var walk = Walk(instructionCount: instructionCount)
    walk.begin(at: 0)
    try explore(&walk)
    if exceptionCallback != 0 {
      let handler = subprograms[exceptionCallback].start
      if handler != 0 && walk.visits[handler] != Visit.explored {
        walk.begin(at: handler)
        try explore(&walk)
      }
    }
    var index = 0
    while index < instructionCount {
      guard walk.visits[index] == Visit.explored else {
        throw refuse(.EINVAL, .controlFlow, "unreachable insn \(index)\n")
      }
      if instructions[index].isLoadImmediate64 {
        if index + 1 < instructionCount && walk.visits[index + 1] != Visit.none {
          throw refuse(.EINVAL, .controlFlow, "jump into the middle of ldimm64 insn \(index)\n")
        }
        index += 1
      }
      index += 1
    }
  }

  private func explore(_ walk: inout Walk) throws(Refusal) {
    while let at = walk.stack.last {
      if try visit(at, &walk) { continue }
      walk.visits[at] = Visit.explored
      walk.stack.removeLast()
    }
  }

  /// Walks the next edge out of `at`. True: it led to an instruction that is to be explored first.
  private func visit(_ at: Int, _ walk: inout Walk) throws(Refusal) -> Bool {
    let insn = instructions[at]
    if insn.isSubprogramAddress { return try visitCall(at, insn, into: true, &walk) }
    guard insn.instructionClass == Class.jmp || insn.instructionClass == Class.jmp32 else {
      return try follow(at, at + (insn.isLoadImmediate64 ? 2 : 1), .fallThrough, &walk)
    }
    switch insn.operation {
    case Jump.exit:
      return false
    case Jump.call:
      noteCall(at, insn)
      return try visitCall(at, insn, into: insn.src == Int(PseudoSource.call), &walk)
    case Jump.ja:
      guard insn.operandSource == Source.k else { throw Refusal(errno: .EINVAL, category: .invalidInstruction) }
      let distance = insn.instructionClass == Class.jmp ? Int32(insn.offset) : insn.immediate
      let target = Int(Int32(truncatingIfNeeded: at) &+ distance &+ 1)
      if try follow(at, target, .fallThrough, &walk) { return true }
      facts[target].prunePoint = true
      facts[target].jumpPoint = true
      return false
    default:
      facts[at].prunePoint = true
      if insn.isMayGoto { facts[at].forceCheckpoint = true }
      if try follow(at, at + 1, .fallThrough, &walk) { return true }
      return try follow(at, at + Int(insn.offset) + 1, .branch, &walk)
    }
  }

  /// Walks the edge from `at` to `next`, unless it was walked before.
  private func follow(_ at: Int, _ next: Int, _ edge: Edge, _ walk: inout Walk) throws(Refusal) -> Bool {
    let walked = Visit.discovered | edge.rawValue
    if walk.visits[at] >= walked { return false }
    guard next >= 0, next < instructionCount else {
      printLineInfo(at, prefix: "\(at): ")
      throw refuse(.EINVAL, .controlFlow, "jump out of range from insn \(at) to \(next)\n")
    }
    if edge == .branch {
      facts[next].prunePoint = true
      facts[next].jumpPoint = true
    }
    switch walk.visits[next] {
    case Visit.none:
      walk.visits[at] = walked
      walk.visits[next] = Visit.discovered
      guard walk.stack.count < instructionCount else { throw Refusal(errno: .E2BIG, category: .complexity) }
      walk.stack.append(next)
      return true
    case Visit.explored:
      walk.visits[at] = walked
      return false
    default:
      // A loop. Exploration finds out whether it ends, for those who may load one.
      if hasBPFCapability { return false }
      printLineInfo(at, prefix: "\(at): ")
      printLineInfo(next, prefix: "\(next): ")
      throw refuse(.EINVAL, .infiniteLoop, "back-edge from insn \(at) to \(next)\n")
    }
  }

  // MARK: calls

  private func visitCall(
    _ at: Int, _ insn: Instruction, into callee: Bool, _ walk: inout Walk
  ) throws(Refusal) -> Bool {
    let next = at + (insn.isLoadImmediate64 ? 2 : 1)
    if try follow(at, next, .fallThrough, &walk) { return true }
    facts[next].prunePoint = true
    // Coming back from a function is a step that the order of instructions does not show.
    facts[next].jumpPoint = true
    guard callee else { return false }
    let target = Int(Int32(truncatingIfNeeded: at) &+ insn.immediate &+ 1)
    facts[at].prunePoint = true
    mergeEffects(of: target, into: at)
    return try follow(at, target, .branch, &walk)
  }

  /// What a callee does, its caller does. The callee was explored by the time this is called last.
  private func mergeEffects(of target: Int, into at: Int) {
    guard target >= 0, target < instructionCount else { return }
    let caller = containingSubprogram(at)
    let callee = containingSubprogram(target)
    if subprograms[callee].changesPacketData { subprograms[caller].changesPacketData = true }
    if subprograms[callee].mightSleep { subprograms[caller].mightSleep = true }
  }

  private func noteCall(_ at: Int, _ insn: Instruction) {
    // Before the call, so that a state that was seen does not set the callback again.
    if isAsyncCallbackCallingInstruction(insn) { facts[at].prunePoint = true }
    if isSyncCallbackCallingInstruction(insn) {
      // How often the callback is called is unknown: it is explored until a state comes back at the call.
      facts[at].callsCallback = true
      facts[at].forceCheckpoint = true
      facts[at].prunePoint = true
      facts[at].jumpPoint = true
    }
    if insn.isHelperCall {
      let helper = HelperID(rawValue: insn.immediate)
      if HelperTable.prototype(helper, for: traits)?.mightSleep == true { noteEffects(at, mightSleep: true) }
      if HelperTable.changesPacketData(helper) { noteEffects(at, changesPacketData: true) }
    } else if insn.src == Int(PseudoSource.kfuncCall), let kfunc = kfuncSummary(insn) {
      if kfunc.isIteratorNext {
        facts[at].prunePoint = true
        facts[at].forceCheckpoint = true
      }
      noteEffects(at, mightSleep: kfunc.isSleepable, changesPacketData: kfunc.changesPacketData)
    }
  }

  private func noteEffects(_ at: Int, mightSleep: Bool = false, changesPacketData: Bool = false) {
    guard mightSleep || changesPacketData else { return }
    let number = containingSubprogram(at)
    if mightSleep { subprograms[number].mightSleep = true }
    if changesPacketData { subprograms[number].changesPacketData = true }
  }
}

extension Instruction {
  @inline(__always) var isMayGoto: Bool { opcode == Opcode.mayGoto && src == Int(PseudoSource.mayGoto) }
}
