import BPFISA
import BPFLinux

/// Helpers, kernel functions, subprograms, and objects that come from them.
extension ProgramGenerator {
  private typealias Map = FuzzSurroundings.Map

  // MARK: Arguments

  private mutating func loadMap(_ register: Register, _ map: Int) {
    code.wide(register, Int32(truncatingIfNeeded: map), source: PseudoSource.mapFD)
  }

  /// Bytes of stack, written where `filled`: the offset of the lowest.
  mutating func stackBytes(_ count: Int, filled: Bool) -> Int {
    let slots = max(1, (count + 7) / 8)
    let first = freeSlots(min(slots, 12)) ?? 0
    let last = first + min(slots, 12) - 1
    if filled {
      for slot in first...last where !frame.slots[slot].isScalar || random.chance(60) {
        if random.chance(30), let value = register(where: { $0.isScalar }) {
          code.store(Size.dw, 10, -8 * (slot + 1), value)
        } else {
          code.store(Size.dw, 10, -8 * (slot + 1), value: immediate())
        }
        frame.slots[slot] = .scalar(limit: nil)
      }
    } else {
      for slot in first...last { frame.slots[slot] = .scalar(limit: nil) }
    }
    return -8 * (last + 1)
  }

  private mutating func pointToStack(_ register: Register, _ offset: Int) {
    code.copy(register, 10)
    code.alu(ALU.add, register, Int32(offset))
  }

  /// A size in `register`, no more than `most`.
  private mutating func size(in register: Register, upTo most: Int, orZero: Bool) {
    let wrong = errs()
    switch random.below(4) {
    case 0 where register > 1:
      guard let source = self.register(where: { $0.isScalar }), source > 5 else { fallthrough }
      code.copy(register, source)
      if random.chance(50) {
        var mask = 1
        while mask * 2 + 1 <= most { mask = mask * 2 + 1 }
        code.alu(ALU.and, register, Int32(mask))
        if !orZero && !wrong {
          if mask < most { code.alu(ALU.add, register, 1) } else { code.alu(ALU.or, register, 1) }
        }
      } else {
        code.jump(Jump.jgt, register, Int32(wrong ? most + 1 : most), to: leave, wide: random.chance(70))
        if !orZero { code.jump(Jump.jeq, register, 0, to: leave) }
      }
    default:
      let value = wrong ? random.pick([0, most + 1, -1], or: 0) : random.within(orZero ? 0...most : 1...most)
      code.move(register, Int32(value))
    }
  }

  // MARK: Maps

  /// A lookup, its null check, and what is done with the value.
  mutating func lookup(within length: Int) {
    guard frame.heldRegisters.isDisjoint(with: 0...5) else { return arithmetic() }
    var choices = Map.valued + [Map.arrayOfMaps, Map.hashOfMaps]
    for index in choices.indices.reversed() where !admits(choices[index]) { choices.remove(at: index) }
    let map = random.pick(choices, or: 0)
    let definition = surroundings.maps[map]
    let key = stackBytes(Int(definition.keySize), filled: !errs())
    if random.chance(20), definition.keySize == 4 { code.store(Size.w, 10, key, value: Int32(random.below(3))) }
    pointToStack(2, key)
    loadMap(1, map)
    code.call(1)
    called(.nothing)
    if map == Map.arrayOfMaps || map == Map.hashOfMaps {
      let inner = definition.inner.first ?? definition
      code.jump(Jump.jeq, 0, 0, to: leave)
      code.copy(1, 0)
      let key = stackBytes(Int(inner.keySize), filled: true)
      pointToStack(2, key)
      code.call(1)
      called(.nothing)
      useOrNull(size: Int(inner.valueSize), writable: true, within: length)
      return
    }
    if map == Map.locked && random.chance(50) {
      locked(within: length)
      return
    }
    let size = map == Map.locked ? 8 : Int(definition.valueSize)
    useOrNull(size: size, writable: map != Map.frozen, within: length)
  }

  /// r0 is memory or null.
  private mutating func useOrNull(size: Int, writable: Bool, within length: Int) {
    nesting += 1
    defer { nesting -= 1 }
    var value: Register = 0
    if random.chance(50) {
      value = destination(among: 1...9)
      code.copy(value, 0)
    }
    let missing = code.makeLabel()
    let there = code.makeLabel()
    let tested = value != 0 && random.chance(50) ? 0 : value
    set(0, .nothing)
    set(value, .nothing)
    let before = frame
    switch random.below(10) {
    case 0..<6: code.jump(Jump.jeq, tested, 0, to: missing, wide: !errs())
    case 6..<9:
      code.jump(Jump.jne, tested, 0, to: there, wide: !errs())
      code.jump(to: random.chance(50) ? leave : missing)
    default: if !errs() { code.jump(Jump.jeq, tested, 0, to: missing) }
    }
    code.place(there)
    set(value, .memory(size: size, writable: writable))
    for _ in 0..<random.within(1...3) {
      guard frame.registers[Int(value)] == .memory(size: size, writable: writable) else { break }
      hold(value) { $0.access(value, reach: size) }
    }
    if random.chance(50) { block(random.within(1...max(2, min(10, length / 3)))) }
    if random.chance(30) && code.isUsed(missing) {
      code.jump(to: leave)
      frame = before
    }
    code.place(missing)
    frame.join(before)
  }

  private mutating func locked(within length: Int) {
    code.jump(Jump.jeq, 0, 0, to: leave)
    let value = longLivedDestination()
    guard !frame.heldRegisters.contains(value) else { return }
    code.copy(value, 0)
    code.copy(1, value)
    code.alu(ALU.add, 1, errs() ? 4 : 8)
    code.call(93)
    called(.nothing)
    set(value, .memory(size: 8, writable: true))
    let target = random.below(3)
    if target == 0 { code.store(Size.dw, value, 0, value: 1) }
    if target == 1 { code.load(Size.dw, 1, value, 16) }
    if target == 2 {
      nesting += 1
      hold(value) { generator in
        for _ in 0..<2 { generator.arithmetic() }
      }
      nesting -= 1
    }
    code.copy(1, value)
    code.alu(ALU.add, 1, 8)
    if !errs() { code.call(94) }
    called(.nothing)
  }

  // MARK: Helpers

  mutating func helperCall() {
    guard frame.heldRegisters.isDisjoint(with: 0...5), !profile.helpers.isEmpty else { return arithmetic() }
    var choices = profile.helpers
    if errs() {
      choices = choices.map { HelperPrototype(HelperID(rawValue: $0.id.rawValue % 211 + 1), returns: $0.returns) }
    }
    let helper = choices[random.below(choices.count)]
    switch helper.id {
    case .tailCall: return tailCall()
    case .ringbufReserve, .ringbufReserveDynptr: return ringbufRecord(within: 12)
    case .ringbufSubmit, .ringbufDiscard, .ringbufSubmitDynptr, .ringbufDiscardDynptr, .spinLock, .spinUnlock:
      guard errs() else { return }
    case .loop, .forEachMapElem: return callback(helper.id)
    case .sysBpf, .sysClose: guard random.chance(10) else { return }
    default: break
    }
    callHelper(helper)
  }

  private mutating func callHelper(_ helper: HelperPrototype) {
    var map = random.below(surroundings.maps.count)
    if !errs(), let suitable = Self.map(for: helper.id, &random) { map = suitable }
    if !errs() && !admits(map) && helper.arguments[0] == .constMapPointer { return }
    var lastMemory = 0
    var context: Register?
    var number = 0
    for index in 0..<5 where helper.arguments[index].base == .context { _ = index; context = contextRegister() }
    for index in 0..<5 {
      let argument = helper.arguments[index]
      guard argument != .none else { break }
      number += 1
      let to = Register(index + 1)
      // The context may stand in a register that is about to be filled.
      if let found = context, found >= 1, found <= 5, found < to, argument.base == .context { context = nil }
      if argument.mayBeNull && random.chance(25) {
        code.move(to, 0)
        lastMemory = 0
        continue
      }
      switch argument.base {
      case .constMapPointer: loadMap(to, map)
      case .mapKey: pointToStack(to, stackBytes(Int(surroundings.maps[map].keySize), filled: !errs()))
      case .mapValue:
        pointToStack(
          to, stackBytes(min(96, Int(surroundings.maps[map].valueSize)), filled: !argument.has(.uninitialized)))
      case .memory:
        let fixed = argument.has(.fixedSize) ? Int(helper.argumentSizes[index]) : 0
        lastMemory = fixed > 0 ? fixed : random.pick([1, 4, 8, 16, 24, 40], or: 8)
        if random.chance(25), let pointer = register(where: { ($0.reach ?? 0) > 0 }), pointer > 5 {
          code.copy(to, pointer)
          lastMemory = min(frame.registers[Int(pointer)].reach ?? 1, 64)
        } else {
          let filled = !argument.has(.uninitialized) || random.chance(30)
          pointToStack(to, stackBytes(lastMemory, filled: filled))
        }
      case .constSize: size(in: to, upTo: max(1, lastMemory), orZero: false)
      case .constSizeOrZero: size(in: to, upTo: lastMemory, orZero: true)
      case .context:
        if let context, context > 5 || context == to {
          if context != to { code.copy(to, context) }
        } else if let context = register(where: { $0 == .context }), context > 5 || context >= to {
          code.copy(to, context)
        } else {
          code.move(to, 0)
        }
      case .stack: pointToStack(to, stackBytes(8, filled: true))
      case .constString: loadString(to)
      default:
        if random.chance(70) {
          code.move(to, random.chance(50) ? 0 : immediate())
        } else if let source = register(where: { $0.isScalar }), source > 5 {
          code.copy(to, source)
        } else {
          code.move(to, 0)
        }
      }
      frame.registers[index + 1] = .nothing
    }
    code.call(helper.id.rawValue)
    finish(helper, map)
  }

  private mutating func finish(_ helper: HelperPrototype, _ map: Int) {
    called(.scalar(limit: nil))
    switch helper.returns.base {
    case .integer: break
    case .mapValue where helper.returns.mayBeNull:
      useOrNull(size: Int(surroundings.maps[map].valueSize), writable: map != Map.frozen, within: 6)
    case .mapValue: set(0, .memory(size: Int(surroundings.maps[map].valueSize), writable: map != Map.frozen))
    case .socket, .sockCommon, .tcpSock: useSocket(helper)
    default: set(0, .nothing)
    }
  }

  private mutating func useSocket(_ helper: HelperPrototype) {
    let isOwned = helper.id == .skLookupTcp || helper.id == .skLookupUdp || helper.id == .skcLookupTcp
    set(0, .nothing)
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home) else {
      code.jump(Jump.jeq, 0, 0, to: leave)
      if isOwned {
        code.copy(1, 0)
        code.call(86)
        called(.nothing)
      }
      return
    }
    let missing = code.makeLabel()
    if helper.returns.mayBeNull { code.jump(Jump.jeq, 0, 0, to: missing) }
    code.copy(home, 0)
    if random.chance(50) { code.load(Size.w, 2, home, random.pick([4, 4, 4, 4, 12], or: 4)) }
    if isOwned && !errs() {
      code.copy(1, home)
      code.call(86)
    }
    code.place(missing)
    called(.nothing)
    set(home, .nothing)
  }

  /// A socket from the context, and what it is good for.
  mutating func socketField() {
    guard frame.heldRegisters.isDisjoint(with: 0...5), let field = profile.socketField,
      let context = contextRegister()
    else { return arithmetic() }
    code.load(Size.dw, 1, context, field)
    frame.forgetCallerSaved()
    let missing = code.makeLabel()
    if !errs() { code.jump(Jump.jeq, 1, 0, to: missing) }
    let before = frame
    if random.chance(50) && (profile.type == .schedCls || profile.type == .cgroupSkb) || errs() {
      code.call(random.pick([95, 96], or: 95))
      called(.nothing)
      if !errs() { code.jump(Jump.jeq, 0, 0, to: missing) }
      code.load(Size.w, 2, 0, random.pick([4, 4, 4, 4, 12], or: 4))
    } else {
      code.load(Size.w, 2, 1, random.pick([4, 4, 4, 4, 4, 12], or: 4))
    }
    code.place(missing)
    frame = before
    called(.nothing)
  }

  /// Maps that programs of this type may name.
  private mutating func admits(_ map: Int) -> Bool {
    switch map {
    case Map.locked, Map.graph: if !profile.takesLocks { return false }
    case Map.timed: if !profile.takesLocks && profile.type != .socketFilter { return false }
    case Map.arena: if !random.chance(5) { return false }
    default: break
    }
    guard profile.sleepable else { return true }
    switch surroundings.maps[map].type {
    case .lpmTrie, .progArray, .perfEventArray, .sockmap, .devmap, .stackTrace, .cgroupArray: return false
    default: return true
    }
  }

  private static func map(for helper: HelperID, _ random: inout RandomSource) -> Int? {
    switch helper {
    case .mapLookupElem, .mapUpdateElem, .mapDeleteElem:
      random.pick([Map.array, Map.hash, Map.lruHash, Map.percpuArray, Map.trie, Map.frozen, Map.locked], or: 0)
    case .mapLookupPercpuElem: Map.percpuArray
    case .mapPushElem, .mapPopElem, .mapPeekElem: Map.queue
    case .perfEventOutput, .perfEventRead, .perfEventReadValue, .skbOutput, .xdpOutput: Map.events
    case .ringbufOutput, .ringbufQuery, .ringbufReserve, .ringbufReserveDynptr: Map.ringbuf
    case .getStackid: Map.stacks
    case .redirectMap: Map.devices
    case .currentTaskUnderCgroup, .skbUnderCgroup: Map.cgroups
    case .skRedirectMap, .msgRedirectMap, .sockMapUpdate: Map.sockets
    default: nil
    }
  }

  /// A string in the frozen map.
  private mutating func loadString(_ register: Register) {
    code.wide(
      register, Int32(truncatingIfNeeded: Map.frozen), Int32(random.below(4) * 8), source: PseudoSource.mapValue)
  }

  mutating func tailCall() {
    guard frame.heldRegisters.isDisjoint(with: 0...5), admits(Map.programs), references == 0 || errs(),
      let context = contextRegister()
    else { return arithmetic() }
    if context != 1 { code.copy(1, context) }
    loadMap(2, Map.programs)
    switch random.below(3) {
    case 0: code.move(3, Int32(random.below(5)))
    case 1:
      if let index = register(where: { $0.isScalar }), index > 3 { code.copy(3, index) } else { code.move(3, 1) }
    default: code.alu(ALU.mov, 3, Int32(random.below(5)), wide: false)
    }
    code.call(12)
    called(.nothing)
  }

  // MARK: Records and dynptrs

  mutating func ringbufRecord(within length: Int) {
    guard frame.heldRegisters.isDisjoint(with: 0...5) else { return arithmetic() }
    let size = random.pick([8, 16, 24, 64], or: 16)
    loadMap(1, Map.ringbuf)
    code.move(2, Int32(size))
    code.move(3, errs() ? 1 : 0)
    code.call(131)
    called(.nothing)
    let record = longLivedDestination()
    guard !frame.heldRegisters.contains(record) else {
      code.jump(Jump.jeq, 0, 0, to: leave)
      code.copy(1, 0)
      code.move(2, 0)
      code.call(133)
      called(.nothing)
      return
    }
    code.copy(record, 0)
    let missing = code.makeLabel()
    let before = frame
    code.jump(Jump.jeq, random.chance(50) ? 0 : record, 0, to: random.chance(30) ? leave : missing)
    set(0, .nothing)
    set(record, .memory(size: size, writable: true))
    let slot = freeSlot()
    let outerLeave = leave
    references += 1
    hold(record) { generator in
      generator.nesting += 1
      // Leaving with the record in hand is refused.
      if !generator.errs() { generator.leave = generator.code.makeLabel() }
      for _ in 0..<generator.random.within(1...3) { generator.access(record, reach: size) }
      if generator.random.chance(20) {
        generator.code.store(Size.dw, 10, -8 * (slot + 1), record)
        generator.code.load(Size.dw, record, 10, -8 * (slot + 1))
        generator.frame.slots[slot] = .nothing
      }
      if generator.random.chance(40) { generator.block(generator.random.within(1...max(2, min(8, length / 3)))) }
      generator.nesting -= 1
    }
    references -= 1
    if leave != outerLeave {
      code.place(leave)
      leave = outerLeave
    }
    code.copy(1, record)
    code.move(2, 0)
    if !errs() { code.call(random.chance(50) ? 132 : 133) }
    called(.nothing)
    set(record, .nothing)
    code.place(missing)
    // Ways out of the middle come here too: what was between is not to be relied upon.
    frame = before
    frame.forgetCallerSaved()
    set(0, .nothing)
    set(record, .nothing)
    frame.forgetScalarsOfLongLife()
  }

  mutating func dynptr(within length: Int) {
    guard frame.heldRegisters.isDisjoint(with: 0...5), let slot = freeSlots(2) else { return arithmetic() }
    let at = -8 * (slot + 2)
    let isRecord = random.chance(50)
    if isRecord {
      loadMap(1, Map.ringbuf)
      if random.chance(50), let size = register(where: { $0.isScalar }), size > 3 {
        code.copy(2, size)
      } else {
        code.move(2, Int32(random.within(1...64)))
      }
      code.move(3, 0)
      pointToStack(4, at)
      code.call(198)
    } else {
      let size = random.pick([8, 16, 32, 64], or: 16)
      let offset = random.below(64 - size + 1)
      code.wide(1, Int32(truncatingIfNeeded: Map.array), Int32(offset), source: PseudoSource.mapValue)
      code.move(2, Int32(size))
      code.move(3, errs() ? 2 : 0)
      pointToStack(4, at)
      code.call(197)
    }
    called(.scalar(limit: nil))
    let mine: Set<Int> = [slot, slot + 1]
    frame.slots[slot] = .nothing
    frame.slots[slot + 1] = .nothing
    frame.heldSlots.formUnion(mine)
    let outerLeave = leave
    if isRecord && !errs() { leave = code.makeLabel() }
    nesting += 1
    references += isRecord ? 1 : 0
    let before = frame
    for _ in 0..<random.within(0...2) {
      switch random.below(4) {
      case 0:
        let size = random.within(1...16)
        let bytes = stackBytes(size, filled: random.chance(40))
        pointToStack(1, bytes)
        code.move(2, Int32(size))
        pointToStack(3, at)
        code.move(4, Int32(random.below(8)))
        code.move(5, 0)
        code.call(201)
        called(.scalar(limit: nil))
      case 1:
        let size = random.within(1...16)
        let bytes = stackBytes(size, filled: true)
        pointToStack(1, at)
        code.move(2, Int32(random.below(8)))
        pointToStack(3, bytes)
        code.move(4, Int32(size))
        code.move(5, 0)
        code.call(202)
        called(.scalar(limit: nil))
      case 2:
        pointToStack(1, at)
        code.move(2, Int32(random.below(8)))
        code.move(3, Int32(random.within(1...16)))
        code.call(203)
        called(.nothing)
        let missing = code.makeLabel()
        code.jump(Jump.jeq, 0, 0, to: missing)
        code.store(Size.b, 0, 0, value: 1)
        code.place(missing)
      default: block(3)
      }
    }
    nesting -= 1
    references -= isRecord ? 1 : 0
    if leave != outerLeave {
      code.place(leave)
      leave = outerLeave
      frame = before
      frame.forgetScalarsOfLongLife()
      set(0, .nothing)
    }
    if isRecord {
      pointToStack(1, at)
      code.move(2, 0)
      if !errs() { code.call(random.chance(50) ? 199 : 200) }
      called(.nothing)
    }
    frame.heldSlots.subtract(mine)
    if errs() { code.load(Size.dw, 2, 10, at) }
  }

  // MARK: Kernel functions

  mutating func iterator(within length: Int) {
    let kind = random.below(profile.type == .xdp || profile.hasObjects ? 8 : 7)
    let name = kind < 5 ? "num" : kind < 7 ? "bits" : "task"
    let count = kind < 5 ? 1 : kind < 7 ? 2 : 3
    guard frame.heldRegisters.isDisjoint(with: 0...5), let slot = freeSlots(count),
      let new = surroundings.kernelFunctions["bpf_iter_\(name)_new"],
      let next = surroundings.kernelFunctions["bpf_iter_\(name)_next"],
      let destroy = surroundings.kernelFunctions["bpf_iter_\(name)_destroy"]
    else { return arithmetic() }
    let at = -8 * (slot + count)
    let mine = Set(slot..<slot + count)
    if name == "task" && !errs() { call(kernel: "bpf_rcu_read_lock") }
    switch name {
    case "num":
      pointToStack(1, at)
      code.move(2, Int32(random.below(4)))
      if random.chance(40), let end = register(where: { $0.isScalar }), end > 3 {
        code.copy(3, end)
      } else {
        code.move(3, Int32(random.within(0...10)))
      }
    case "bits":
      frame.heldSlots.formUnion(mine)
      pointToStack(2, stackBytes(16, filled: true))
      pointToStack(1, at)
      code.move(3, Int32(random.within(1...2)))
    default:
      pointToStack(1, at)
      code.move(2, 0)
      code.move(3, Int32(random.pick([0, 0, 2, 3], or: 0)))
    }
    code.call(kernelFunction: new)
    called(.scalar(limit: nil))
    frame.heldSlots.formUnion(mine)
    for index in mine { frame.slots[index] = .nothing }
    let top = code.makeLabel()
    let done = code.makeLabel()
    let outerLeave = leave
    if !errs() { leave = done }
    let before = frame
    nesting += 1
    loops += 1
    references += 1
    code.place(top)
    pointToStack(1, at)
    code.call(kernelFunction: next)
    called(.nothing)
    code.jump(Jump.jeq, 0, 0, to: done)
    if random.chance(70) {
      let index = destination(among: 1...5)
      code.load(Size.w, index, 0, 0)
      set(index, .scalar(limit: nil))
    }
    set(0, .nothing)
    block(random.within(1...max(2, min(9, length / 3))))
    code.jump(to: top)
    code.place(done)
    nesting -= 1
    loops -= 1
    references -= 1
    leave = outerLeave
    frame = before
    frame.forgetCallerSaved()
    set(0, .nothing)
    frame.forgetScalarsOfLongLife()
    if !errs() {
      pointToStack(1, at)
      code.call(kernelFunction: destroy)
      called(.nothing)
    }
    if name == "task" && !errs() { call(kernel: "bpf_rcu_read_unlock") }
    frame.heldSlots.subtract(mine)
  }

  /// RCU, preemption, interrupts: something taken, something done, given back.
  mutating func region(within length: Int) {
    guard frame.heldRegisters.isDisjoint(with: 0...5) else { return arithmetic() }
    let pairs = [
      ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_preempt_disable", "bpf_preempt_enable"),
      ("bpf_local_irq_save", "bpf_local_irq_restore"),
    ]
    let pair = pairs[random.below(3)]
    guard let enter = surroundings.kernelFunctions[pair.0], let exit = surroundings.kernelFunctions[pair.1] else {
      return arithmetic()
    }
    let takesFlags = pair.0 == "bpf_local_irq_save"
    let slot = freeSlot()
    if takesFlags { pointToStack(1, -8 * (slot + 1)) }
    code.call(kernelFunction: enter)
    called(.nothing)
    if takesFlags {
      frame.slots[slot] = .nothing
      guard frame.heldSlots.insert(slot).inserted else { return }
    }
    nesting += 2
    for _ in 0..<random.within(1...3) { arithmetic() }
    if random.chance(30) { stackAccess() }
    nesting -= 2
    if takesFlags {
      pointToStack(1, -8 * (slot + 1))
      frame.heldSlots.remove(slot)
    }
    if !errs() { code.call(kernelFunction: exit) }
    called(.nothing)
  }

  // MARK: Subprograms

  mutating func callSubprogram() {
    guard frame.heldRegisters.isDisjoint(with: 0...5), calls < 4 else { return arithmetic() }
    let existing = subprograms.indices.filter { $0 > currentSubprogram && subprograms[$0].kind == .local }
    if let index = existing.randomIndex(&random), random.chance(40) || subprograms.count >= 4 {
      call(index)
      return
    }
    guard subprograms.count < 4 else { return arithmetic() }
    calls += 1
    let depth = currentSubprogram < 0 ? 1 : subprograms[currentSubprogram].depth + 1
    guard depth < 4 else { return arithmetic() }
    var kind: Subprogram.Kind = hasTypes && random.chance(45) ? .global : .local
    if kind == .global {
      kind = random.pick([.global, .global, .memory, .present, .context, .trusted], or: .global)
      if kind == .context && !frame.registers.contains(.context) { kind = .global }
      if kind == .trusted && !profile.hasObjects && !errs() { kind = .memory }
    }
    var arguments: [Belief] = []
    for index in 0..<random.within(0...3) {
      let choice = random.below(6)
      if kind == .local && choice == 0 && index == 0 && register(where: { $0 == .context }) != nil {
        arguments.append(.context)
      } else if kind == .local && choice == 1, let pointer = register(where: { ($0.reach ?? 0) > 0 }), pointer > 5 {
        arguments.append(frame.registers[Int(pointer)])
      } else {
        arguments.append(.scalar(limit: nil))
      }
    }
    switch kind {
    case .global, .trusted: arguments = [.scalar(limit: nil), .scalar(limit: nil)]
    case .memory, .present: arguments = [.memory(size: 16, writable: true), .scalar(limit: nil)]
    case .context: arguments = [.context, .scalar(limit: nil)]
    default: break
    }
    subprograms.append(Subprogram(kind: kind, label: code.makeLabel(), arguments: arguments, depth: depth))
    call(subprograms.count - 1)
  }

  private mutating func call(_ index: Int) {
    let subprogram = subprograms[index]
    for (number, belief) in subprogram.arguments.enumerated() {
      let to = Register(number + 1)
      if errs() { continue }
      if subprogram.kind.isGlobal, number == 0, passSpecial(subprogram.kind) { continue }
      if let source = register(where: { $0 == belief }), source > 5 || source == 0 || source >= to {
        if source != to { code.copy(to, source) }
      } else if belief.isScalar {
        if let source = register(where: { $0.isScalar }), source > 5 {
          code.copy(to, source)
        } else {
          code.move(to, immediate())
        }
      } else if case .memory(let size, _) = belief, size <= 64 {
        code.wide(to, Int32(truncatingIfNeeded: Map.array), Int32(64 - size), source: PseudoSource.mapValue)
      } else {
        code.move(to, 0)
      }
      frame.registers[number + 1] = .nothing
    }
    code.call(subprogram: subprogram.label)
    called(.scalar(limit: nil))
  }

  /// The first argument of a global function that takes a pointer.
  private mutating func passSpecial(_ kind: Subprogram.Kind) -> Bool {
    switch kind {
    case .memory, .present:
      if random.chance(kind == .memory ? 20 : 3) {
        code.move(1, 0)
      } else if random.chance(60) {
        pointToStack(1, stackBytes(16, filled: !errs()))
      } else {
        code.wide(
          1, Int32(truncatingIfNeeded: Map.array), Int32(random.pick([0, 8, 48, errs() ? 56 : 4], or: 0)),
          source: PseudoSource.mapValue)
      }
    case .trusted:
      if random.chance(70), let task = surroundings.kernelStructs["task_struct"],
        let found = register(where: { $0 == .kernel(task) })
      {
        if found != 1 { code.copy(1, found) }
      } else {
        code.move(1, 0)
      }
    default: return false
    }
    frame.registers[1] = .nothing
    return true
  }

  private mutating func callback(_ helper: HelperID) {
    guard hasTypes, subprograms.count < 4, currentSubprogram < 0, nesting < 3 else { return arithmetic() }
    let isLoop = helper == .loop
    let label = code.makeLabel()
    subprograms.append(
      Subprogram(
        kind: isLoop ? .step : .element, label: label,
        arguments: isLoop
          ? [.scalar(limit: nil), .nothing]
          : [.nothing, .nothing, .memory(size: 48, writable: true), .nothing],
        depth: 2))
    if isLoop {
      if random.chance(50), let count = register(where: { $0.isScalar }), count > 5 {
        code.copy(1, count)
      } else {
        code.move(1, Int32(random.within(0...12)))
      }
    } else {
      loadMap(1, random.pick([Map.array, Map.hash], or: Map.array))
    }
    code.functionAddress(2, label)
    if random.chance(50) { code.move(3, 0) } else { pointToStack(3, stackBytes(16, filled: true)) }
    code.move(4, 0)
    code.call(helper.rawValue)
    called(.scalar(limit: nil))
  }
}

extension FrameBelief {
  /// Registers 6 to 9 that nothing around needs are taken to hold nothing that is known.
  mutating func forgetScalarsOfLongLife() {
    for index in 6...9 where !heldRegisters.contains(Register(index)) { registers[index] = .nothing }
  }
}
