/// What the emission of a block keeps of registers and values.
struct EmissionState {
  let file: RegisterFile
  var nodes = Pool<Node>()
  /// Node in each register; -1: free.
  var holder = InlineArray<32, Int32>(repeating: -1)
  var occupied: UInt32 = 0
  /// Operands of the instruction that is being made: not to be moved away.
  var pinned: UInt32 = 0
  /// Registers that values of variables will be in where the block ends: better kept free.
  var awaited: UInt32 = 0
  /// All that the function has written to.
  var touched: UInt32 = 0
  /// By node: its register or -1, where in the frame a copy is or -1, uses to come, position of the last one, and the
  /// register it had best be in.
  var place = Pool<Int8>(capacity: 1024)
  var saved = Pool<Int32>(capacity: 1024)
  var remaining = Pool<Int32>(capacity: 1024)
  var lastUse = Pool<Int32>(capacity: 1024)
  var hint = Pool<Int8>(capacity: 1024)
  /// Words of the frame: those of variables first, then those of the block.
  var nextSlot: Int32 = 0
  var slotCount: Int32 = 0

  init(_ file: RegisterFile) { self.file = file }

  func release() {
    place.release()
    saved.release()
    remaining.release()
    lastUse.release()
    hint.release()
  }

  mutating func begin(_ builder: borrowing BlockBuilder, firstSlot: Int32) {
    nodes = builder.nodes
    holder = InlineArray(repeating: -1)
    occupied = 0
    pinned = 0
    awaited = 0
    nextSlot = firstSlot
    slotCount = max(slotCount, firstSlot)
    let count = nodes.count
    place.removeAll()
    saved.removeAll()
    remaining.removeAll()
    lastUse.removeAll()
    hint.removeAll()
    place.append(repeating: -1, count: count)
    saved.append(repeating: -1, count: count)
    remaining.append(repeating: 0, count: count)
    lastUse.append(repeating: 0, count: count)
    hint.append(repeating: -1, count: count)
    for index in 0..<count { remaining[index] = nodes[index].uses }
  }
}

/// A machine that code is made for: how it moves values about. What is above single instructions, the choice of
/// registers within a block, is the same for all (the extension below).
protocol Backend {
  static var file: RegisterFile { get }
  /// Where functions take r1 to r5 and the run.
  static var callerRegisters: InlineArray<6, Register> { get }

  var state: EmissionState { get set }
  var layout: CodeLayout { get set }
  /// Bytes of BPF stack in the function's frame: r10 points so far above the stack pointer.
  var stackSize: Int32 { get set }
  /// No instruction may change the flags now.
  var keepsFlags: Bool { get set }
  var hasCalls: Bool { get set }
  /// The count and the start of `may_goto`.
  var budgetSlot: Int32 { get set }
  /// The snippets of the function that leave it: with and without a return.
  var leave: Int32 { get set }
  var unwind: Int32 { get set }
  /// First label of a function's entry, by number of the function.
  var functionLabels: Int32 { get set }
  var functionClobbers: [UInt32] { get set }

  // Single moves.
  mutating func move(_ to: Register, _ from: Register)
  mutating func exchange(_ a: Register, _ b: Register)
  mutating func loadSlot(_ to: Register, _ slot: Int32)
  mutating func storeSlot(_ slot: Int32, _ from: Register)
  mutating func loadConstant(_ to: Register, _ value: UInt64)
  mutating func frameAddress(_ to: Register, _ offset: Int64)
  /// Adds in place; with width 4 the upper half becomes zero.
  mutating func addConstant(_ register: Register, _ value: Int32, width: UInt8)
  /// A register that may be overwritten until it is given back, with what was in it.
  mutating func borrow() -> Register
  mutating func giveBack(_ register: Register)

  /// The code of one node.
  mutating func select(_ index: Int32, _ arguments: Pool<Int32>)
  /// Sets the flags as `condition` wants them; returns the machine's condition to jump on. The lowest bit negates.
  mutating func compare(_ condition: Condition, width: UInt8, _ left: Int32, _ right: Int32) -> UInt8
  /// Is never executed.
  mutating func trap()

  /// The code before and after a function's body, once it is known what the body needs: to enter with, to return with,
  /// and to go on elsewhere with.
  func frameCode(budget: Int32?) -> (enter: [UInt8], leave: [UInt8], unwind: [UInt8])
  /// What C calls to run the program.
  ///
  /// - Parameters:
  ///   - main: label of the function to run.
  ///   - invoke: label of what helpers call callbacks with; nil where the program is just its main function, which
  ///     follows then.
  ///   - handler: label of the function that handles exceptions.
  mutating func enterProgram(main: Int32, needsRun: Bool, invoke: Int32?, throws: Bool, handler: Int32?)
  /// What helpers call to call a function of the program (`skep_invoke`).
  mutating func callFunction(throws: Bool)
  func release()
}

extension Backend {
  // MARK: registers

  @inline(__always)
  mutating func assign(_ node: Int32, _ register: Register) {
    state.holder[Int(register)] = node
    state.occupied |= 1 << UInt32(register)
    state.touched |= 1 << UInt32(register)
    state.place[node] = Int8(register)
  }

  @inline(__always)
  mutating func vacate(_ register: Register) {
    let node = state.holder[Int(register)]
    if node >= 0 { state.place[node] = -1 }
    state.holder[Int(register)] = -1
    state.occupied &= ~(1 << UInt32(register))
  }

  @inline(__always)
  mutating func pin(_ register: Register) { state.pinned |= 1 << UInt32(register) }

  mutating func unpin() { state.pinned = 0 }

  /// One use of `node` is done.
  @inline(__always)
  mutating func consume(_ node: Int32) {
    state.remaining[node] -= 1
    if state.remaining[node] <= 0 && state.place[node] >= 0 { vacate(Register(state.place[node])) }
  }

  /// Its next use is the last.
  @inline(__always)
  func dies(_ node: Int32) -> Bool { state.remaining[node] <= 1 }

  /// A register to write to: `hint` where that is free.
  mutating func allocate(_ hint: Int8, among mask: UInt32 = .max) -> Register {
    let allowed = state.file.usable & mask & ~state.pinned
    let free = allowed & ~state.occupied
    if hint >= 0 && free >> UInt32(hint) & 1 != 0 { return taken(Register(hint)) }
    if free != 0 {
      let cheap = state.file.clobbered | state.touched
      var choice = free & cheap & ~state.awaited
      if choice == 0 { choice = free & ~state.awaited }
      if choice == 0 { choice = free }
      return taken(Register(choice.trailingZeroBitCount))
    }
    return evict(allowed)
  }

  private mutating func taken(_ register: Register) -> Register {
    state.touched |= 1 << UInt32(register)
    return register
  }

  /// Frees the register whose value is needed last.
  private mutating func evict(_ allowed: UInt32) -> Register {
    var best: Register = 0
    var bestScore: Int32 = -1
    var rest = allowed
    while rest != 0 {
      let register = rest.trailingZeroBitCount
      rest &= rest - 1
      let node = state.holder[register]
      guard node >= 0 else { continue }
      let isCheap = state.saved[node] >= 0 || isRemade(node)
      let score = state.lastUse[node] &* 2 &+ (isCheap ? 1 : 0)
      if score > bestScore {
        bestScore = score
        best = Register(register)
      }
    }
    keepElsewhere(best)
    vacate(best)
    return taken(best)
  }

  /// Values that are made anew rather than kept.
  private func isRemade(_ node: Int32) -> Bool {
    state.nodes[node].operation == .constant || state.nodes[node].operation == .frame
  }

  /// Sees to it that the value in `register` is in the frame too, if it is needed again.
  private mutating func keepElsewhere(_ register: Register) {
    let node = state.holder[Int(register)]
    guard node >= 0, state.remaining[node] > 0, state.saved[node] < 0, !isRemade(node) else { return }
    let slot = state.nextSlot
    state.nextSlot += 1
    state.slotCount = max(state.slotCount, state.nextSlot)
    storeSlot(slot, register)
    state.saved[node] = slot
  }

  /// Makes `register` free, its value being kept somewhere else.
  mutating func reserve(_ register: Register) {
    let node = state.holder[Int(register)]
    state.touched |= 1 << UInt32(register)
    guard node >= 0 else { return }
    if state.remaining[node] > 0 {
      let free = state.file.usable & ~state.occupied & ~state.pinned & ~(1 << UInt32(register))
      if free != 0 && !isRemade(node) {
        let other = allocate(-1, among: free)
        move(other, register)
        vacate(register)
        assign(node, other)
        return
      }
      keepElsewhere(register)
    }
    vacate(register)
  }

  /// The node's value in a register.
  mutating func use(_ node: Int32) -> Register {
    if state.place[node] >= 0 { return Register(state.place[node]) }
    let register = allocate(state.hint[node])
    fetch(node, register)
    assign(node, register)
    return register
  }

  /// Writes a value that is in no register to one.
  mutating func fetch(_ node: Int32, _ register: Register) {
    let it = state.nodes[node]
    switch it.operation {
    case .constant: loadConstant(register, UInt64(bitPattern: it.immediate))
    case .frame: frameAddress(register, it.immediate)
    default: loadSlot(register, max(0, state.saved[node]))
    }
  }

  /// Binds `node` to the register that its value was just written to.
  mutating func define(_ node: Int32, _ register: Register) {
    if state.remaining[node] > 0 { assign(node, register) }
  }

  /// Moves a function's arguments from where they are passed to where its variables live.
  mutating func takeArguments(_ homes: Homes, live: VariableSet) {
    var sources = InlineArray<32, Int8>(repeating: -1)
    let variables: InlineArray<6, Variable> = [1, 2, 3, 4, 5, runVariable]
    for index in 0..<6 where live >> VariableSet(variables[index]) & 1 != 0 {
      let variable = variables[index]
      let register = Self.callerRegisters[index]
      if homes.register[variable] >= 0 {
        sources[Int(homes.register[variable])] = Int8(register)
        state.touched |= 1 << UInt32(homes.register[variable])
      } else if homes.slot[variable] >= 0 {
        storeSlot(homes.slot[variable], register)
      }
    }
    moveTogether(sources)
  }

  // MARK: several moves at once

  /// Fills registers from others, all at the same time: `sources[to]` is where the value is, -1 where there is none.
  mutating func moveTogether(_ sources: InlineArray<32, Int8>) {
    var sources = sources
    var readers = InlineArray<32, UInt8>(repeating: 0)
    var pending: UInt32 = 0
    for to in 0..<32 where sources[to] >= 0 && Int(sources[to]) != to {
      pending |= 1 << UInt32(to)
      readers[Int(sources[to])] += 1
    }
    var ready = pending
    while pending != 0 {
      ready = pending
      var progressed = false
      while ready != 0 {
        let to = ready.trailingZeroBitCount
        ready &= ready - 1
        guard readers[to] == 0 else { continue }
        move(Register(to), Register(sources[to]))
        readers[Int(sources[to])] -= 1
        pending &= ~(1 << UInt32(to))
        progressed = true
      }
      if !progressed {
        // Only rings are left.
        let to = pending.trailingZeroBitCount
        let from = Int(sources[to])
        exchange(Register(to), Register(from))
        pending &= ~(1 << UInt32(to))
        // What was in `to` is in `from` now; who wanted it reads it there, or has it already.
        for other in 0..<32 where pending >> UInt32(other) & 1 != 0 && Int(sources[other]) == to {
          sources[other] = Int8(from)
          if other == from {
            pending &= ~(1 << UInt32(other))
          }
        }
        readers = InlineArray(repeating: 0)
        for other in 0..<32 where pending >> UInt32(other) & 1 != 0 { readers[Int(sources[other])] += 1 }
      }
    }
  }

  /// Puts values where a call takes them, and keeps those that are needed after it. Arguments are consumed; all of
  /// `clobbers` is free afterwards.
  mutating func pass(_ values: InlineArray<6, Int32>, in registers: InlineArray<6, Register>, clobbers: UInt32) {
    for index in 0..<6 where values[index] >= 0 { state.remaining[values[index]] -= 1 }
    var busy = state.occupied & clobbers
    while busy != 0 {
      let register = Register(busy.trailingZeroBitCount)
      busy &= busy - 1
      let node = state.holder[Int(register)]
      guard state.remaining[node] > 0, state.saved[node] < 0, !isRemade(node) else { continue }
      let free = state.file.usable & ~clobbers & ~state.occupied & state.touched
      if free != 0 {
        let other = Register(free.trailingZeroBitCount)
        move(other, register)
        vacate(register)
        assign(node, other)
      } else {
        keepElsewhere(register)
      }
    }
    var sources = InlineArray<32, Int8>(repeating: -1)
    for index in 0..<6 where values[index] >= 0 {
      sources[Int(registers[index])] = state.place[values[index]]
    }
    moveTogether(sources)
    for index in 0..<6 where values[index] >= 0 && state.place[values[index]] < 0 {
      fetch(values[index], registers[index])
      state.touched |= 1 << UInt32(registers[index])
    }
    for register in 0..<32 where (clobbers & state.occupied) >> UInt32(register) & 1 != 0 { vacate(Register(register)) }
    for index in 0..<6 where values[index] >= 0 {
      let node = values[index]
      if state.remaining[node] <= 0 && state.place[node] >= 0 { vacate(Register(state.place[node])) }
    }
    state.touched |= clobbers
  }
}
