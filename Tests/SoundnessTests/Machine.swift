import BPFISA
import BPFLinux

@testable import BPFVerifier

/// Why a run ended before the program did.
enum Halt: Error {
  /// The program does what the machine cannot.
  case unsupported(String)
  /// The verifier was wrong.
  case violation(String)
}

/// Runs a program that the verifier accepted, and holds each step against what the verifier knew.
struct Machine {
  struct Activation {
    var registers: [UInt64]
    /// Which object its stack is.
    var stack: Int
    /// The call that made it; -1 for the program itself and for global functions, which are verified on their own.
    var callSite: Int
    var returnsTo: Int
  }

  let observed: ObservedVerification
  let program: Program
  var random: RandomNumbers
  var memory = Memory()
  var frames: [Activation] = []
  var pc = 0
  private(set) var steps = 0
  private let facts: UnsafeMutablePointer<InstructionFacts>
  private let context = Memory.base(0)
  private let packet = Memory.base(1)
  private var packetEnd: UInt64 = 0
  private var mapObjects: [Int: UInt64] = [:]
  private var values: [MapKey: UInt64] = [:]

  private struct MapKey: Hashable {
    var map: Int
    var key: [UInt8]
  }

  init(_ observed: ObservedVerification, program: Program, seed: UInt64) {
    self.observed = observed
    self.program = program
    facts = observed.verification.facts
    random = RandomNumbers(seed: seed)
    _ = memory.add(.context, [])
    let length = [0, 1, 13, 14, 16, 20, 33, 64, 200][random.below(9)]
    _ = memory.add(.packet, noise(length))
    packetEnd = packet &+ UInt64(length)
    enter(callSite: -1, returnsTo: -1)
    frames[0].registers[1] = context
  }

  private mutating func noise(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: random.chance(1, in: 3) ? 0 : random.next()) }
  }

  private mutating func enter(callSite: Int, returnsTo: Int) {
    let base = memory.add(.stack, noise(maximumStackSize))
    var registers = (0..<11).map { _ in random.next() }
    if let caller = frames.last { for number in 1...5 { registers[number] = caller.registers[number] } }
    registers[10] = base &+ UInt64(maximumStackSize)
    frames.append(
      Activation(registers: registers, stack: memory.objects.count - 1, callSite: callSite, returnsTo: returnsTo))
  }

  private subscript(_ number: Int) -> UInt64 {
    get { frames[frames.count - 1].registers[number] }
    set { frames[frames.count - 1].registers[number] = newValue }
  }

  private func violation(_ message: String) -> Halt { .violation("at \(pc), step \(steps): \(message)") }

  /// Runs to the end, or for `limit` steps.
  mutating func run(limit: Int) throws(Halt) {
    while steps < limit {
      guard program.instructions.indices.contains(pc) else { throw violation("outside of the program") }
      try checkState()
      steps += 1
      guard try step() else { return }
    }
  }

  // MARK: instructions

  /// One instruction; false where the program ends.
  private mutating func step() throws(Halt) -> Bool {
    let insn = program.instructions[pc]
    let operand = insn.operandSource == Source.x ? self[insn.src] : UInt64(bitPattern: Int64(insn.immediate))
    switch insn.instructionClass {
    case Class.alu, Class.alu64:
      if insn.operation == ALU.mov && insn.immediate != 0 && insn.operandSource == Source.x {
        throw .unsupported("address space casts")
      }
      self[insn.dst] = ConcreteArithmetic.result(insn, self[insn.dst], operand)
    case Class.ldx:
      let loaded = try load(insn, self[insn.src] &+ UInt64(bitPattern: Int64(insn.offset)), insn.accessSize)
      self[insn.dst] =
        insn.mode == Mode.memsx ? ConcreteArithmetic.extended(loaded, Int16(insn.accessSize * 8)) : loaded
    case Class.st, Class.stx:
      let address = self[insn.dst] &+ UInt64(bitPattern: Int64(insn.offset))
      if insn.instructionClass == Class.stx && insn.mode == Mode.atomic {
        try atomic(insn, address)
      } else {
        let value = insn.instructionClass == Class.st ? UInt64(bitPattern: Int64(insn.immediate)) : self[insn.src]
        try store(address, insn.accessSize, value)
      }
    case Class.ld:
      if insn.mode != Mode.imm { return try loadAbsolute(insn) }
      try loadImmediate(insn)
      pc += 1
    default:
      return try jump(insn, operand)
    }
    pc += 1
    return true
  }

  private mutating func jump(_ insn: Instruction, _ operand: UInt64) throws(Halt) -> Bool {
    let narrow = insn.instructionClass == Class.jmp32
    switch insn.operation {
    case Jump.ja: pc += narrow ? Int(insn.immediate) : Int(insn.offset)
    case Jump.exit: return leave()
    case Jump.call:
      if insn.isSubprogramCall {
        let target = pc + Int(insn.immediate) + 1
        let verification = observed.verification
        let isGlobal = verification.findSubprogram(at: target).map(verification.subprogramIsGlobal) ?? false
        enter(callSite: isGlobal ? -1 : pc, returnsTo: pc + 1)
        pc = target
        return true
      }
      guard insn.isHelperCall else { throw .unsupported("kfuncs") }
      let result = try callHelper(HelperID(rawValue: insn.immediate))
      for number in 1...5 { self[number] = random.next() }
      self[0] = result
    case Jump.jcond:
      if random.chance(1, in: 8) { pc += Int(insn.offset) }
    default:
      if ConcreteArithmetic.holds(insn.operation, self[insn.dst], operand, narrow: narrow) { pc += Int(insn.offset) }
    }
    pc += 1
    return true
  }

  private mutating func leave() -> Bool {
    let left = frames.removeLast()
    guard !frames.isEmpty else { return false }
    // Values of maps may have come since; then the stack stays, and nothing points to it.
    if left.stack == memory.objects.count - 1 { memory.removeLast() }
    for number in 1...5 { self[number] = random.next() }
    self[0] = left.registers[0]
    pc = left.returnsTo
    return true
  }

  private mutating func loadAbsolute(_ insn: Instruction) throws(Halt) -> Bool {
    for number in 1...5 { self[number] = random.next() }
    if random.chance(1, in: 4) {
      self[0] = 0
      return leave()
    }
    self[0] = random.interesting() & (1 << UInt64(insn.accessSize * 8) - 1)
    pc += 1
    return true
  }

  private mutating func loadImmediate(_ insn: Instruction) throws(Halt) {
    let second = program.instructions[pc + 1]
    switch UInt8(insn.src) {
    case 0:
      self[insn.dst] = UInt64(UInt32(bitPattern: second.immediate)) << 32 | UInt64(UInt32(bitPattern: insn.immediate))
    case PseudoSource.mapFD, PseudoSource.mapIndex:
      self[insn.dst] = mapObject(Int(facts[pc].loadedMap))
    case PseudoSource.mapValue, PseudoSource.mapIndexValue:
      let map = Int(facts[pc].loadedMap)
      guard observed.verification.maps[map].definition.type != .arena else { throw .unsupported("arenas") }
      self[insn.dst] = value(map, [0, 0, 0, 0]) &+ UInt64(facts[pc].loadedMapOffset)
    default: throw .unsupported("addresses of functions and symbols")
    }
  }

  // MARK: memory

  /// Where an access goes, if it is in an object.
  private func access(_ address: UInt64, _ size: Int, writes: Bool) throws(Halt) -> (Int, Int) {
    guard let (index, offset) = memory.locate(address), offset >= 0,
      Int(offset) + size <= memory.objects[index].bytes.count
    else {
      throw violation("access of \(size) bytes at 0x\(String(address, radix: 16)) is in no object")
    }
    if writes && !memory.objects[index].isWritable { throw violation("store to what is read-only") }
    return (index, Int(offset))
  }

  private mutating func load(_ insn: Instruction, _ address: UInt64, _ size: Int) throws(Halt) -> UInt64 {
    if let (index, offset) = memory.locate(address), memory.objects[index].kind == .context {
      return try loadContext(offset, size)
    }
    let (index, offset) = try access(address, size, writes: false)
    return memory.load(index, offset, size)
  }

  private mutating func loadContext(_ offset: Int64, _ size: Int) throws(Halt) -> UInt64 {
    switch program.type {
    case .xdp:
      switch offset {
      case 0, 8: return packet
      case 4: return packetEnd
      default: break
      }
    case .schedCls:
      switch offset {
      case 76, 140: return packet
      case 80: return packetEnd
      default: break
      }
    case .socketFilter, .kprobe, .tracepoint, .rawTracepoint, .perfEvent: break
    default: throw .unsupported("contexts of \(program.type.name)")
    }
    return random.interesting() & (size == 8 ? .max : 1 << UInt64(size * 8) - 1)
  }

  private mutating func store(_ address: UInt64, _ size: Int, _ value: UInt64) throws(Halt) {
    if let (index, _) = memory.locate(address), memory.objects[index].kind == .context { return }
    let (index, offset) = try access(address, size, writes: true)
    memory.store(index, offset, size, value)
  }

  private mutating func atomic(_ insn: Instruction, _ address: UInt64) throws(Halt) {
    let size = insn.accessSize
    let keep: UInt64 = size == 8 ? .max : 1 << UInt64(size * 8) - 1
    if insn.immediate == Atomic.loadAcquire {
      self[insn.dst] = try load(insn, self[insn.src] &+ UInt64(bitPattern: Int64(insn.offset)), size)
      return
    }
    let (index, offset) = try access(address, size, writes: true)
    let old = memory.load(index, offset, size)
    let operand = self[insn.src] & keep
    var new = operand
    switch insn.immediate & ~Atomic.fetch {
    case Atomic.add: new = old &+ operand
    case Atomic.or: new = old | operand
    case Atomic.and: new = old & operand
    case Atomic.xor: new = old ^ operand
    case Atomic.cmpxchg & ~Atomic.fetch: if old != self[0] & keep { new = old }
    default: break
    }
    memory.store(index, offset, size, new)
    if insn.immediate == Atomic.cmpxchg {
      self[0] = old
    } else if insn.immediate & Atomic.fetch != 0 && insn.immediate != Atomic.storeRelease {
      self[insn.src] = old
    }
  }

  // MARK: maps and helpers

  private mutating func mapObject(_ map: Int) -> UInt64 {
    if let known = mapObjects[map] { return known }
    let base = memory.add(.map(map), [])
    mapObjects[map] = base
    return base
  }

  private mutating func value(_ map: Int, _ key: [UInt8]) -> UInt64 {
    let name = MapKey(map: map, key: key)
    if let known = values[name] { return known }
    let definition = observed.verification.maps[map].definition
    var bytes = noise(Int(definition.valueSize))
    if !definition.initialValue.isEmpty || definition.frozen {
      bytes = Array((definition.initialValue + Array(repeating: 0, count: bytes.count)).prefix(bytes.count))
    }
    let base = memory.add(.mapValue(map), bytes, isWritable: !definition.flags.contains(.readOnlyProgram))
    values[name] = base
    return base
  }

  private mutating func lookUp(_ pointer: UInt64, _ key: UInt64) throws(Halt) -> UInt64 {
    guard let (index, _) = memory.locate(pointer), case .map(let map) = memory.objects[index].kind else {
      throw violation("look-up in what is no map")
    }
    let definition = observed.verification.maps[map].definition
    let (place, offset) = try access(key, Int(definition.keySize), writes: false)
    let bytes = Array(memory.objects[place].bytes[offset..<(offset + Int(definition.keySize))])
    switch definition.type {
    case .array, .percpuArray:
      let number = memory.load(place, offset, 4)
      return number < UInt64(definition.maxEntries) ? value(map, bytes) : 0
    case .hash, .lruHash, .lruPercpuHash:
      return random.chance(1, in: 3) ? 0 : value(map, bytes)
    default: throw .unsupported("look-ups in maps of \(definition.type.name)")
    }
  }

  private mutating func callHelper(_ helper: HelperID) throws(Halt) -> UInt64 {
    switch helper {
    case .mapLookupElem: return try lookUp(self[1], self[2])
    case .mapUpdateElem, .mapDeleteElem, .tracePrintk, .tailCall: return random.interesting()
    case .ktimeGetNs, .getCurrentPidTgid, .getCurrentUidGid: return random.interesting()
    case .getPrandomU32: return random.interesting() & 0xffff_ffff
    case .getSmpProcessorId: return 0
    case .skbLoadBytes: return try fill(self[3], self[4])
    default: throw .unsupported(helper.name ?? "helper \(helper.rawValue)")
    }
  }

  /// A helper that writes what nobody foresees.
  private mutating func fill(_ address: UInt64, _ size: UInt64) throws(Halt) -> UInt64 {
    let count = Int(size & 0xffff_ffff)
    if count == 0 { return 0 }
    let (index, offset) = try access(address, count, writes: true)
    for (byte, value) in noise(count).enumerated() { memory.store(index, offset + byte, 1, UInt64(value)) }
    return random.chance(1, in: 2) ? 0 : UInt64(bitPattern: -14)
  }

  // MARK: what the verifier knew

  /// Whether the machine's state is one that the verifier looked at.
  private func checkState() throws(Halt) {
    // Global functions are verified on their own: the frames from the last one on count.
    let first = frames.lastIndex { $0.callSite < 0 } ?? 0
    let states = observed.states[pc]
    if states.isEmpty { throw violation("the verifier was never here") }
    let live = facts[pc].liveRegisters
    for state in states where state.frames.count == frames.count - first {
      if try (observed.prunes ? isSafe(state, first, live) : isWithin(state, first)) { return }
    }
    var text = "not in any of \(states.count) states"
    for (number, value) in frames[frames.count - 1].registers.enumerated() {
      text += "\n    r\(number) = 0x\(String(value, radix: 16))"
      for state in states.prefix(4) {
        if let r = state.frames.last?.registers[number], r.type != .notInitialized {
          text += "\n      type \(r.type.rawValue) offset \(r.offset) \(r.summary)"
        }
      }
    }
    throw violation(text)
  }

  /// With pruning: what is live has the type that the verifier saw, and pointers are where it saw them. Numbers that no
  /// check relied on may differ.
  private func isSafe(_ state: ObservedState, _ first: Int, _ live: UInt16) throws(Halt) -> Bool {
    let top = state.frames.count - 1
    for (index, frame) in state.frames.enumerated() where index > 0 {
      if frame.callSite != frames[first + index].callSite { return false }
    }
    for number in 0..<11 where live & (1 << UInt16(number)) != 0 {
      let r = state.frames[top].registers[number]
      if r.type == .scalar { continue }
      guard try admits(r, frames[first + top].registers[number], first) else { return false }
    }
    return true
  }

  /// Without pruning: every register and every slot of every frame is as one state says.
  private func isWithin(_ state: ObservedState, _ first: Int) throws(Halt) -> Bool {
    // Loops of the plainest kind: this is where the time goes.
    var index = state.frames.count - 1
    while index >= 0 {
      let frame = state.frames[index]
      let activation = frames[first + index]
      if index > 0 && frame.callSite != activation.callSite { return false }
      var number = 0
      while number < 11 {
        guard try admits(frame.registers[number], activation.registers[number], first) else { return false }
        number += 1
      }
      var slot = 0
      while slot < frame.slots.count {
        guard try admits(frame.slots[slot], slot, activation.stack, first) else { return false }
        slot += 1
      }
      index -= 1
    }
    return true
  }

  private func admits(_ slot: StackSlot, _ number: Int, _ stack: Int, _ first: Int) throws(Halt) -> Bool {
    if slot.types & ~StackSlot.all(SlotType.misc) == 0 { return true }
    let low = maximumStackSize - 8 * (number + 1)
    var spilled = 0
    while spilled < 8, slot[7 - spilled] == SlotType.spill { spilled += 1 }
    if spilled > 0 {
      var r = slot.spilled
      if spilled < 8 && r.type == .scalar { r.coerce(toSize: spilled) }
      guard try admits(r, memory.load(stack, low, spilled), first) else { return false }
    }
    if spilled == 8 { return true }
    for byte in 0..<8 where slot[byte] == SlotType.zero && memory.objects[stack].bytes[low + 7 - byte] != 0 {
      return false
    }
    return true
  }

  private func admits(_ r: RegisterState, _ value: UInt64, _ first: Int) throws(Halt) -> Bool {
    if r.type == .scalar { return r.admits(value) }
    if r.type == .notInitialized { return true }
    if r.type.mayBeNull && value == 0 { return true }
    let origin: UInt64
    switch r.type.base {
    case .stack: origin = frames[first + Int(r.frame)].registers[10]
    case .context: origin = context
    case .mapPointer: return value == mapObjects[r.map]
    case .mapValue:
      guard r.map < observed.verification.maps.count else { throw .unsupported("inner maps") }
      guard let (index, _) = memory.locate(value), memory.objects[index].kind == .mapValue(r.map) else { return false }
      origin = Memory.base(index)
    case .packet, .packetMeta:
      origin = packet
      // What is proved to be there is counted from where the pointer stood without its fixed offset.
      let start = value &- UInt64(bitPattern: Int64(r.offset))
      if r.type.base == .packet, r.range > 0, start &+ UInt64(r.range) > packetEnd { return false }
    case .packetEnd: return value == packetEnd
    default: throw .unsupported("registers of type \(r.type.rawValue)")
    }
    return r.admits(value &- origin &- UInt64(bitPattern: Int64(r.offset)))
  }
}
