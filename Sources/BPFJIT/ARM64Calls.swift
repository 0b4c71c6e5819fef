extension ARM64Backend {
  // MARK: stores and atomics

  mutating func selectStoreBelow(_ node: Node) {
    let (base, value) = (pinned(node.a), pinned(node.b))
    let limit = source(node.c)
    assembler.compare(wide: true, value, limit)
    let skip = assembler.shortJump(.aboveOrEqual)
    assembler.store(value, ARM64Memory(base: base, offset: node.immediate), size: node.size)
    assembler.land(skip)
    consume(node.a)
    consume(node.b)
    consume(node.c)
  }

  /// Reads, changes and writes by exclusive pairs of load and store, which every arm64 processor has. With the values
  /// that programs ask for goes a barrier, as Linux has it.
  mutating func selectAtomic(_ index: Int32, _ node: Node) {
    guard let kind = AtomicKind(rawValue: node.scale) else { return }
    let size = node.size
    // The scale's place holds the operation; the compared value is not part of the address.
    var place = node
    place.c = kind == .compareExchange ? -1 : node.c
    place.scale = 0
    let at = address(place)
    var base = at.base
    if at.offset != 0 || at.index != nil || base == ARM64.stack {
      base = ARM64.x16
      assembler.address(base, at)
    }
    if kind == .loadAcquire {
      consumeAddress(place)
      let to = target(index)
      assembler.loadAcquire(to, base, size: size)
      return define(index, to)
    }
    let value = pinned(node.b)
    if kind == .storeRelease {
      assembler.storeRelease(value, base, size: size)
      consumeAddress(place)
      return consume(node.b)
    }
    let compared = kind == .compareExchange ? pinned(node.c) : ARM64.zero
    // No operand's register: they are read again on every round.
    let old = allocate(kind.givesValue ? state.hint[index] : -1)
    pin(old)
    var written = value
    if kind != .exchange && kind != .compareExchange {
      written = allocate(-1)
      pin(written)
    }
    let again = assembler.layout.bytes.count
    assembler.loadExclusive(old, base, size: size)
    var out: Int?
    if kind == .compareExchange {
      assembler.compare(wide: size == 8, old, compared)
      out = assembler.shortJump(.notEqual)
    } else if let operation = ARM64Backend.operation(kind) {
      assembler.registers(operation, wide: size == 8, written, old, value)
    }
    assembler.storeExclusive(ARM64.x17, written, base, size: size)
    assembler.jumpBack(to: again, ifNotZero: ARM64.x17)
    if let out { assembler.land(out) }
    if kind.givesValue { assembler.barrier() }
    consumeAddress(place)
    consume(node.b)
    if kind == .compareExchange { consume(node.c) }
    if kind.givesValue { define(index, old) }
  }

  private static func operation(_ kind: AtomicKind) -> ARM64Operation? {
    switch kind {
    case .add, .fetchAdd: .add
    case .or, .fetchOr: .or
    case .and, .fetchAnd: .and
    case .xor, .fetchXor: .xor
    default: nil
    }
  }

  // MARK: elements of arrays

  mutating func selectArrayElement(_ index: Int32, _ node: Node) {
    let count = UInt64(UInt32(truncatingIfNeeded: node.immediate >> 32))
    let stride = UInt64(UInt32(truncatingIfNeeded: node.immediate))
    let (key, base) = (pinned(node.a), pinned(node.b))
    consume(node.a)
    consume(node.b)
    let to = target(index)
    if stride & (stride &- 1) == 0 {
      assembler.registers(.add, wide: true, ARM64.x17, base, key, shift: UInt8(stride.trailingZeroBitCount))
    } else {
      assembler.moveConstant(ARM64.x16, stride)
      assembler.multiplyAdd(wide: true, ARM64.x17, key, ARM64.x16, base)
    }
    if ARM64Assembler.isArithmeticImmediate(count) {
      assembler.compare(wide: false, key, constant: count)
    } else {
      assembler.moveConstant(ARM64.x16, count)
      assembler.compare(wide: false, key, ARM64.x16)
    }
    assembler.choose(.below, to, ARM64.x17, ARM64.zero)
    define(index, to)
  }

  // MARK: calls

  mutating func selectCall(_ index: Int32, _ node: Node, _ arguments: Pool<Int32>) {
    var values = InlineArray<6, Int32>(repeating: -1)
    if node.hasArguments {
      for argument in 0..<6 { values[argument] = arguments[node.c + Int32(argument)] }
    }
    hasCalls = true
    let (all, result) = (ARM64Backend.file.clobbered, ARM64Backend.file.result)
    switch node.operation {
    case .loadFaulting:
      // The address is in no node's register: x16 is left alone while others are saved.
      assembler.address(ARM64.x16, address(node))
      consumeAddress(node)
      unpin()
      pass(values, in: ARM64Backend.callerRegisters, clobbers: all)
      assembler.move(ARM64.x0, ARM64.x16)
      assembler.moveConstant(ARM64.x1, UInt64(node.size))
      call(functions.faultingRead)
      define(index, result)
    case .call:
      let sequel = CallSequel(rawValue: node.scale) ?? .none
      pass(values, in: ARM64Backend.callerRegisters, clobbers: all)
      call(UInt64(bitPattern: node.immediate))
      switch sequel {
      case .none: break
      case .negativeReturns:
        let on = assembler.layout.makeLabels(1)
        assembler.compare(wide: true, result, constant: 0)
        assembler.layout.append(.conditionalJump, target: on, argument: ARM64Condition.greaterOrEqual.rawValue)
        assembler.move(result, ARM64.zero)
        assembler.layout.append(.snippet, target: leave)
        assembler.layout.define(on)
      case .exception:
        pin(result)
        let run = pinned(values[5])
        assembler.load(ARM64.x17, ARM64Memory(base: run, field: RunLayout.unwinding), size: 4)
        let on = assembler.shortJump(ifZero: ARM64.x17, wide: false)
        unwindToEntry(run)
        assembler.land(on)
        consume(values[5])
      }
      define(index, result)
    case .callSubprogram:
      let callee = Int(node.immediate)
      let clobbers = functionClobbers[callee] & all | 1 << UInt32(result)
      pass(values, in: ARM64Backend.callerRegisters, clobbers: clobbers | argumentRegisters(values))
      assembler.layout.append(.call, target: functionLabels + Int32(callee))
      define(index, result)
    case .throw:
      pass(values, in: ARM64Backend.callerRegisters, clobbers: all)
      let run = ARM64.x5
      assembler.store(ARM64.x0, ARM64Memory(base: run, field: RunLayout.exceptionValue), size: 8)
      assembler.moveConstant(ARM64.x17, 1)
      assembler.store(ARM64.x17, ARM64Memory(base: run, field: RunLayout.unwinding), size: 4)
      unwindToEntry(run)
    default: tailCall(values)
    }
  }

  private func argumentRegisters(_ values: InlineArray<6, Int32>) -> UInt32 {
    var set: UInt32 = 0
    for argument in 0..<6 where values[argument] >= 0 { set |= 1 << UInt32(ARM64Backend.callerRegisters[argument]) }
    return set
  }

  mutating func call(_ address: UInt64) {
    assembler.moveConstant(ARM64.x16, address)
    assembler.call(ARM64.x16)
  }

  /// To the program in the array, with this frame gone; goes on where there is none.
  private mutating func tailCall(_ values: InlineArray<6, Int32>) {
    pass(values, in: ARM64Backend.callerRegisters, clobbers: ARM64Backend.file.clobbered)
    let (array, index, run) = (ARM64.x1, ARM64.x2, ARM64.x5)
    let (number, program) = (ARM64.x6, ARM64.x7)
    let out = assembler.layout.makeLabels(1)
    func leaveIf(_ it: inout ARM64Backend, _ condition: ARM64Condition) {
      it.assembler.layout.append(.conditionalJump, target: out, argument: condition.rawValue)
    }
    assembler.move(index, index, wide: false)
    assembler.load(number, ARM64Memory(base: array, field: RunLayout.maximumEntries), size: 4)
    assembler.compare(wide: false, index, number)
    leaveIf(&self, .aboveOrEqual)
    assembler.load(number, ARM64Memory(base: run, field: RunLayout.stopRequested), size: 4)
    assembler.compare(wide: false, number, constant: 0)
    leaveIf(&self, .notEqual)
    assembler.load(number, ARM64Memory(base: run, field: RunLayout.tailCalls), size: 4)
    assembler.compare(wide: false, number, constant: 33)
    leaveIf(&self, .aboveOrEqual)
    assembler.load(program, ARM64Memory(base: array, field: RunLayout.programs), size: 8)
    assembler.compare(wide: true, program, constant: 0)
    leaveIf(&self, .equal)
    assembler.load(program, ARM64Memory(base: program, index: index, scale: 3), size: 8)
    assembler.compare(wide: true, program, constant: 0)
    leaveIf(&self, .equal)
    assembler.addConstant(number, number, 1, wide: false)
    assembler.store(number, ARM64Memory(base: run, field: RunLayout.tailCalls), size: 4)
    assembler.store(program, ARM64Memory(base: run, field: RunLayout.program), size: 8)
    assembler.move(ARM64.x1, run)
    assembler.move(ARM64.x2, program)
    assembler.layout.append(.snippet, target: unwind)
    // The entry is the program's first field.
    assembler.load(ARM64.x16, ARM64Memory(base: ARM64.x2), size: 8)
    assembler.jump(to: ARM64.x16)
    assembler.layout.define(out)
  }
}

extension RuntimeAddresses {
  /// Of this process.
  static let here = RuntimeAddresses(faultingRead: RunLayout.faultingRead, renewBudget: RunLayout.renewBudget)
}
