import BPFISA
import BPFLinux

/// One instruction on its way through the rewriting.
struct RewrittenSlot {
  var instruction: Instruction
  /// The instruction of the program whose facts hold; -1 for one that the rewriting added.
  var origin: Int32
  /// Index into `Rewriter.references`; -1 where the immediate is a plain number.
  var reference: Int32 = -1
  /// Replaced or moved by a patch, so that what it defines is taken anew.
  var patched = false
}

/// A subprogram on its way through the rewriting.
struct RewrittenSubprogram {
  var start: Int
  var stackDepth: Int
  /// Bytes that `may_goto` takes of the stack.
  var stackExtra = 0
  /// Its number in the program; nil for one that the rewriting added.
  var number: Int?
}

/// Linux's passes over a program that was verified, one after the other.
///
/// Each pass walks the instructions and replaces single ones by several; jumps over a replaced instruction are
/// adjusted, jumps to it lead to the first of those that replace it.
final class Rewriter {
  let verification: Verification
  let options: RewriteOptions
  let fields: KernelFields
  var slots: [RewrittenSlot]
  var subprograms: [RewrittenSubprogram]
  var lineInfo: [LineInfo]
  var references: [RewrittenProgram.Reference] = []
  /// Where the address of a function leads that is not there any more.
  private(set) var strayAddress: Int?
  private var referenceIndices: [RewrittenProgram.Reference: Int32] = [:]

  init(_ verification: Verification, _ options: RewriteOptions) {
    self.verification = verification
    self.options = options
    fields = KernelFields(verification.linux)
    slots = (0..<verification.instructionCount).map {
      RewrittenSlot(instruction: verification.instructions[$0], origin: Int32(truncatingIfNeeded: $0))
    }
    subprograms = verification.subprograms.enumerated().map {
      RewrittenSubprogram(start: $1.start, stackDepth: Int($1.stackDepth), number: $0)
    }
    lineInfo = verification.program.lineInfo
  }

  func rewrite() throws(Refusal) -> RewrittenProgram {
    nameLoadedAddresses()
    try inlineLoops()
    if verification.hasBPFCapability {
      hardWireBranches()
      removeDeadCode()
      removeNops()
    } else {
      trapDeadCode()
    }
    try convertContextAccesses()
    try applyFixups()
    try extendSubregisters()
    numberCalls()
    if options.blindsConstants && subprograms.count == 1 { try blindConstants() }
    return finish()
  }

  // MARK: facts

  /// What verification learned of the instruction in a slot; nil for one that was added.
  func facts(_ index: Int) -> UnsafeMutablePointer<InstructionFacts>? {
    let origin = Int(slots[index].origin)
    return origin < 0 ? nil : verification.facts + origin
  }

  func isSeen(_ index: Int) -> Bool { facts(index).map { $0.pointee.seen != 0 } ?? true }

  /// Where the subprogram after `number` starts; the program's end after the last one.
  func end(of number: Int) -> Int { number + 1 < subprograms.count ? subprograms[number + 1].start : slots.count }

  func reference(_ to: RewrittenProgram.Reference) -> Int32 {
    if let known = referenceIndices[to] { return known }
    references.append(to)
    referenceIndices[to] = Int32(truncatingIfNeeded: references.count - 1)
    return Int32(truncatingIfNeeded: references.count - 1)
  }

  // MARK: patching

  /// Puts `patch` in place of the instruction at `index`, whose facts go to the last one.
  ///
  /// - Returns: by how many slots the program grew.
  @discardableResult
  func replace(
    _ index: Int, _ patch: [Instruction], references named: [Int: RewrittenProgram.Reference] = [:]
  ) throws(Refusal) -> Int {
    let growth = patch.count - 1
    if slots.count + growth > Int(Int16.max) && growth > 0 { try checkRoom(index, growth) }
    let origin = slots[index].origin
    var added = patch.map { RewrittenSlot(instruction: $0, origin: -1, patched: true) }
    added[growth].origin = origin
    for (place, to) in named { added[place].reference = reference(to) }
    slots.replaceSubrange(index...index, with: added)
    guard growth > 0 else { return 0 }
    moveTargets(position: index, oldEnd: index + 1, newEnd: index + patch.count)
    for number in subprograms.indices where subprograms[number].start > index { subprograms[number].start += growth }
    for line in lineInfo.indices where lineInfo[line].instructionOffset > UInt32(index) {
      lineInfo[line].instructionOffset += UInt32(growth)
    }
    return growth
  }

  /// Takes `count` instructions out.
  func remove(_ index: Int, _ count: Int) {
    slots.removeSubrange(index..<(index + count))
    moveTargets(position: index, oldEnd: index + count, newEnd: index)
    removeSubprogramStarts(index, count)
    removeLines(index, count)
  }

  private func removeSubprogramStarts(_ index: Int, _ count: Int) {
    let total = subprograms.count
    func start(_ number: Int) -> Int { number < total ? subprograms[number].start : slots.count + count }
    var first = subprograms.firstIndex { $0.start >= index } ?? total
    var last = subprograms.firstIndex { $0.start >= index + count } ?? total
    if start(last) != index + count { last -= 1 }
    if last > first {
      subprograms.removeSubrange(first..<last)
    } else if first < total && subprograms[first].start == index {
      first += 1
    }
    for number in subprograms.indices.dropFirst(first) { subprograms[number].start -= count }
  }

  /// Source lines of what was removed go, but the last of them stays for what follows without a line of its own.
  private func removeLines(_ index: Int, _ count: Int) {
    guard let first = lineInfo.firstIndex(where: { $0.instructionOffset >= UInt32(index) }) else { return }
    var next = first
    while next < lineInfo.count && lineInfo[next].instructionOffset < UInt32(index + count) { next += 1 }
    var dropped = next - first
    if slots.count != index, dropped > 0,
      next == lineInfo.count || lineInfo[next].instructionOffset != UInt32(index + count)
    {
      dropped -= 1
      lineInfo[next - 1].instructionOffset = UInt32(index + count)
    }
    lineInfo.removeSubrange(first..<(first + dropped))
    for line in lineInfo.indices.dropFirst(first) { lineInfo[line].instructionOffset -= UInt32(count) }
  }

  private enum Target {
    case offset
    case immediate
  }

  private func target(_ insn: Instruction) -> Target? {
    if insn.isSubprogramAddress { return .immediate }
    guard insn.instructionClass == Class.jmp || insn.instructionClass == Class.jmp32 else { return nil }
    switch insn.operation {
    case Jump.exit: return nil
    case Jump.call: return insn.src == Int(PseudoSource.call) ? .immediate : nil
    default: return insn.opcode == Opcode.jaLong ? .immediate : .offset
    }
  }

  /// Adjusts what jumps and calls over a place that grew or shrank.
  private func moveTargets(position: Int, oldEnd: Int, newEnd: Int) {
    let delta = newEnd - oldEnd
    slots.withUnsafeMutableBufferPointer { slots in
      for index in slots.indices {
        guard let kind = target(slots[index].instruction) else { continue }
        let distance =
          kind == .offset ? Int(slots[index].instruction.offset) : Int(slots[index].instruction.immediate)
        var moved = distance
        if index < position && index + distance + 1 >= oldEnd {
          moved += delta
        } else if index >= newEnd && index + distance + 1 < newEnd {
          moved -= delta
        }
        guard moved != distance else { continue }
        switch kind {
        case .offset: slots[index].instruction.offset = Int16(truncatingIfNeeded: moved)
        case .immediate: slots[index].instruction.immediate = Int32(truncatingIfNeeded: moved)
        }
      }
    }
  }

  /// Refuses a patch that would take a jump beyond what its offset can say.
  private func checkRoom(_ position: Int, _ growth: Int) throws(Refusal) {
    for index in slots.indices where index != position && target(slots[index].instruction) == .offset {
      let distance = Int(slots[index].instruction.offset)
      var moved = distance
      if index < position && index + distance + 1 >= position + 1 {
        moved += growth
      } else if index > position && index + distance + 1 <= position {
        moved -= growth
      }
      if moved < Int(Int16.min) || moved > Int(Int16.max) {
        throw verification.refuse(
          .ENOMEM, .complexity, "insn \(max(0, slots[position].origin)) cannot be patched due to 16-bit range\n")
      }
    }
  }

  /// Leads jumps to `place` on to what follows the `count` instructions that were put there.
  func moveJumps(to place: Int, by count: Int) {
    for index in slots.indices where !(place..<(place + count)).contains(index) {
      let insn = slots[index].instruction
      guard insn.instructionClass == Class.jmp || insn.instructionClass == Class.jmp32,
        insn.operation != Jump.call, insn.operation != Jump.exit
      else { continue }
      if insn.opcode == Opcode.jaLong {
        if index + 1 + Int(insn.immediate) == place { slots[index].instruction.immediate += Int32(count) }
      } else if index + 1 + Int(insn.offset) == place {
        slots[index].instruction.offset &+= Int16(truncatingIfNeeded: count)
      }
    }
  }

  // MARK: first and last

  /// Notes what the addresses stand for that verification put into 64-bit loads.
  private func nameLoadedAddresses() {
    let code = verification.instructions
    for index in slots.indices where slots[index].instruction.isLoadImmediate64 {
      let fact = verification.facts[index]
      let named: RewrittenProgram.Reference
      switch UInt8(truncatingIfNeeded: code[index].src) {
      case PseudoSource.mapFD, PseudoSource.mapIndex:
        named = .map(Int(fact.loadedMap))
      case PseudoSource.mapValue where verification.maps[Int(fact.loadedMap)].definition.type == .arena,
        PseudoSource.mapIndexValue where verification.maps[Int(fact.loadedMap)].definition.type == .arena:
        // The arena is where user space maps it, which its definition may say.
        let arena = verification.maps[Int(fact.loadedMap)].definition
        guard arena.mapExtra == 0 else {
          slots[index].instruction.src = 0
          continue
        }
        named = .address("\(arena.name)+\(fact.loadedMapOffset)")
      case PseudoSource.mapValue, PseudoSource.mapIndexValue:
        named = .mapValue(Int(fact.loadedMap), offset: fact.loadedMapOffset)
      case PseudoSource.btfID:
        let original = verification.program.instructions[index]
        let module = verification.program.instructions[index + 1].immediate
        let types = module == 0 ? verification.linux.btf : verification.program.moduleBTFs[Int(module)]
        named = .address(types?.name(UInt32(bitPattern: original.immediate)) ?? "")
      default:
        continue
      }
      slots[index].reference = reference(named)
    }
  }

  /// Calls of functions of the program say both where those are and which they are.
  private func numberCalls() {
    guard subprograms.count > 1 else { return }
    for index in slots.indices {
      let insn = slots[index].instruction
      guard insn.isSubprogramCall || insn.isSubprogramAddress else { continue }
      let start = index + 1 + Int(insn.immediate)
      guard let number = subprograms.firstIndex(where: { $0.start == start }) else {
        if strayAddress == nil { strayAddress = start }
        continue
      }
      if insn.isSubprogramAddress {
        slots[index + 1].instruction.immediate = Int32(truncatingIfNeeded: number)
      } else {
        slots[index].instruction.offset = Int16(truncatingIfNeeded: insn.immediate)
        slots[index].instruction.immediate = Int32(truncatingIfNeeded: number)
        slots[index].reference = reference(.subprogram(name(of: number)))
      }
    }
  }

  private func name(of number: Int) -> String {
    let name = subprograms[number].number.map { verification.subprogramName($0) } ?? ""
    return name.isEmpty ? verification.program.name : name
  }

  private func finish() -> RewrittenProgram {
    var named: [Int: RewrittenProgram.Reference] = [:]
    for index in slots.indices {
      var insn = slots[index].instruction
      let mode = insn.mode
      switch insn.instructionClass {
      case Class.ldx where mode == ProbeMode.memory || mode == ProbeMode.arena:
        insn.opcode = Class.ldx | insn.sizeCode | Mode.mem
      case Class.stx where mode == ProbeMode.arena, Class.st where mode == ProbeMode.arena:
        insn.opcode = insn.instructionClass | insn.sizeCode | Mode.mem
      default: break
      }
      if slots[index].reference >= 0 {
        let to = references[Int(slots[index].reference)]
        named[index] = to
        if insn.isLoadImmediate64 { setAddress(index, &insn, to) }
      }
      slots[index].instruction = insn
    }
    let functions = verification.program.functionInfo
    return RewrittenProgram(
      instructions: slots.map(\.instruction),
      functionInfo: subprograms.compactMap { subprogram in
        guard let number = subprogram.number, functions.indices.contains(number) else { return nil }
        return FunctionInfo(
          instructionOffset: UInt32(subprogram.start), typeID: functions[number].typeID)
      },
      lineInfo: lineInfo, references: named, stackDepths: subprograms.map(\.stackDepth))
  }

  private func setAddress(_ index: Int, _ insn: inout Instruction, _ to: RewrittenProgram.Reference) {
    switch to {
    case .map(let map):
      insn.src = Int(PseudoSource.mapFD)
      insn.immediate = Int32(truncatingIfNeeded: map + 1)
      slots[index + 1].instruction.immediate = 0
    case .mapValue(let map, let offset):
      insn.src = Int(PseudoSource.mapValue)
      insn.immediate = Int32(truncatingIfNeeded: map + 1)
      slots[index + 1].instruction.immediate = Int32(bitPattern: offset)
    default:
      insn.src = 0
      insn.immediate = 0
      slots[index + 1].instruction.immediate = 0
    }
  }
}
