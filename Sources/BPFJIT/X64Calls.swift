extension X64Backend {
  // MARK: stores and atomics

  mutating func selectStore(_ node: Node) {
    if let value = immediate(node.b, width: node.size == 8 ? 8 : 4) {
      let at = address(node)
      switch node.size {
      case 1:
        assembler.memory(0xc6, wide: false, 0, at)
        assembler.byte(UInt8(truncatingIfNeeded: value))
      case 2:
        assembler.memory(0x6600_00c7, wide: false, 0, at)
        assembler.byte(UInt8(truncatingIfNeeded: value))
        assembler.byte(UInt8(truncatingIfNeeded: value >> 8))
      default:
        assembler.memory(0xc7, wide: node.size == 8, 0, at)
        assembler.word(value)
      }
      consumeAddress(node)
      consume(node.b)
      return
    }
    let at = address(node)
    let value = use(node.b)
    assembler.store(value, at, size: node.size)
    consumeAddress(node)
    consume(node.b)
  }

  mutating func selectStoreBelow(_ node: Node) {
    let base = use(node.a)
    pin(base)
    let value = use(node.b)
    pin(value)
    let limit = use(node.c)
    assembler.registers(0x39, wide: true, limit, value)
    let skip = assembler.shortJump(.aboveOrEqual)
    assembler.store(
      value, X64Memory(base: base, offset: Int32(truncatingIfNeeded: node.immediate)), size: node.size)
    assembler.land(skip)
    consume(node.a)
    consume(node.b)
    consume(node.c)
  }

  mutating func selectAtomic(_ index: Int32, _ node: Node) {
    let wide = node.size == 8
    guard let kind = AtomicKind(rawValue: node.scale) else { return }
    // The scale's place holds the operation; the compared value is not part of the address.
    var place = node
    place.c = kind == .compareExchange ? -1 : node.c
    place.scale = 0
    switch kind {
    case .loadAcquire:
      let at = address(place)
      consumeAddress(place)
      unpin()
      let to = allocate(state.hint[index])
      assembler.load(to, at, size: node.size)
      define(index, to)
    case .storeRelease:
      let at = address(place)
      let value = use(node.b)
      assembler.store(value, at, size: node.size)
      consumeAddress(place)
      consume(node.b)
    case .add, .or, .and, .xor:
      let at = address(place)
      let value = use(node.b)
      assembler.byte(0xf0)
      let code: UInt32 = kind == .add ? 0x01 : kind == .or ? 0x09 : kind == .and ? 0x21 : 0x31
      assembler.memory(code, wide: wide, value, at)
      consumeAddress(place)
      consume(node.b)
    case .fetchAdd, .exchange:
      let at = address(place)
      let value = use(node.b)
      pin(value)
      let to = allocate(state.hint[index])
      assembler.move(to, value, wide: wide)
      if kind == .fetchAdd {
        assembler.byte(0xf0)
        assembler.memory(0x0fc1, wide: wide, to, at)
      } else {
        assembler.memory(0x87, wide: wide, to, at)
      }
      consumeAddress(place)
      consume(node.b)
      define(index, to)
    case .fetchOr, .fetchAnd, .fetchXor:
      reserve(X64.rax)
      pin(X64.rax)
      let at = address(place)
      let value = use(node.b)
      pin(value)
      let scratch = allocate(-1)
      assembler.load(X64.rax, at, size: node.size)
      let again = assembler.layout.bytes.count
      assembler.move(scratch, X64.rax, wide: wide)
      let code: UInt32 = kind == .fetchOr ? 0x09 : kind == .fetchAnd ? 0x21 : 0x31
      assembler.registers(code, wide: wide, value, scratch)
      assembler.byte(0xf0)
      assembler.memory(0x0fb1, wide: wide, scratch, at)
      assembler.byte(0x75)
      assembler.byte(UInt8(truncatingIfNeeded: again - assembler.layout.bytes.count - 1))
      consumeAddress(place)
      consume(node.b)
      define(index, X64.rax)
    case .compareExchange:
      let compared = use(node.c)
      if compared == X64.rax && dies(node.c) {
        consume(node.c)
        assembler.move(X64.rax, X64.rax, wide: wide)
      } else {
        pin(compared)
        if compared == X64.rax {
          reserve(X64.rax)
          pin(X64.rax)
          let now = use(node.c)
          assembler.move(X64.rax, now, wide: wide)
        } else {
          reserve(X64.rax)
          assembler.move(X64.rax, compared, wide: wide)
        }
        state.pinned = 0
        consume(node.c)
      }
      pin(X64.rax)
      state.touched |= 1 << UInt32(X64.rax)
      let at = address(place)
      let value = use(node.b)
      assembler.byte(0xf0)
      assembler.memory(0x0fb1, wide: wide, value, at)
      consumeAddress(place)
      consume(node.b)
      define(index, X64.rax)
    }
  }

  // MARK: elements of arrays

  mutating func selectArrayElement(_ index: Int32, _ node: Node) {
    let count = Int32(truncatingIfNeeded: node.immediate >> 32)
    let stride = Int32(truncatingIfNeeded: node.immediate)
    let key = use(node.a)
    pin(key)
    let base = use(node.b)
    pin(base)
    let to = allocate(state.hint[index])
    assembler.registers(0x31, wide: false, to, to)
    assembler.immediate(7, wide: false, key, count)
    let outside = assembler.shortJump(.aboveOrEqual)
    if stride == 1 || stride == 2 || stride == 4 || stride == 8 {
      let scale = UInt8(stride.trailingZeroBitCount)
      assembler.memory(0x8d, wide: true, to, X64Memory(base: base, index: key, scale: scale))
    } else {
      if stride & (stride - 1) == 0 {
        assembler.move(to, key)
        assembler.shift(4, wide: true, to, UInt8(stride.trailingZeroBitCount))
      } else {
        assembler.registers(0x69, wide: true, to, key)
        assembler.word(stride)
      }
      assembler.registers(0x01, wide: true, base, to)
    }
    assembler.land(outside)
    consume(node.a)
    consume(node.b)
    define(index, to)
  }

  // MARK: calls

  mutating func selectCall(_ index: Int32, _ node: Node, _ arguments: Pool<Int32>) {
    var values = InlineArray<6, Int32>(repeating: -1)
    if node.hasArguments {
      for argument in 0..<6 { values[argument] = arguments[node.c + Int32(argument)] }
    }
    hasCalls = true
    let all = X64Backend.file.clobbered
    switch node.operation {
    case .loadFaulting:
      var at = node
      at.size = 8
      let place = address(at)
      let to = allocate(-1)
      assembler.memory(0x8d, wide: true, to, place)
      consumeAddress(at)
      unpin()
      // The address goes where a call takes it, by hand: it is no node of its own.
      pin(to)
      let none = InlineArray<6, Int32>(repeating: -1)
      let busy = state.occupied
      _ = busy
      pass(none, in: X64Backend.callerRegisters, clobbers: all)
      move(X64.rdi, to)
      assembler.moveConstant(X64.rsi, UInt64(node.size), keepsFlags: false)
      call(RunLayout.faultingRead)
      unpin()
      define(index, X64.rax)
    case .call:
      let sequel = CallSequel(rawValue: node.scale) ?? .none
      pass(values, in: X64Backend.callerRegisters, clobbers: all)
      call(UInt64(bitPattern: node.immediate))
      switch sequel {
      case .none: break
      case .negativeReturns:
        assembler.registers(0x85, wide: true, X64.rax, X64.rax)
        let on = assembler.layout.makeLabels(1)
        assembler.layout.append(.conditionalJump, target: on, argument: 9)
        assembler.registers(0x31, wide: false, X64.rax, X64.rax)
        assembler.layout.append(.snippet, target: leave)
        assembler.layout.define(on)
      case .exception:
        pin(X64.rax)
        let run = use(values[5])
        assembler.memory(0x83, wide: false, 7, X64Memory(base: run, offset: RunLayout.unwinding))
        assembler.byte(0)
        let on = assembler.shortJump(.equal)
        assembler.load(X64.rsp, X64Memory(base: run, offset: RunLayout.savedStack), size: 8)
        assembler.byte(0xc3)
        assembler.land(on)
        consume(values[5])
      }
      define(index, X64.rax)
    case .callSubprogram:
      let callee = Int(node.immediate)
      let clobbers = functionClobbers[callee] & all | 1 << UInt32(X64.rax)
      pass(values, in: X64Backend.callerRegisters, clobbers: clobbers | argumentRegisters(values))
      assembler.layout.append(.call, target: functionLabels + Int32(callee))
      define(index, X64.rax)
    case .throw:
      pass(values, in: X64Backend.callerRegisters, clobbers: all)
      let run = X64.r9
      assembler.store(X64.rdi, X64Memory(base: run, offset: RunLayout.exceptionValue), size: 8)
      assembler.memory(0xc7, wide: false, 0, X64Memory(base: run, offset: RunLayout.unwinding))
      assembler.word(1)
      assembler.load(X64.rsp, X64Memory(base: run, offset: RunLayout.savedStack), size: 8)
      assembler.byte(0xc3)
    default: tailCall(values)
    }
  }

  private func argumentRegisters(_ values: InlineArray<6, Int32>) -> UInt32 {
    var set: UInt32 = 0
    for argument in 0..<6 where values[argument] >= 0 { set |= 1 << UInt32(X64Backend.callerRegisters[argument]) }
    return set
  }

  private mutating func call(_ address: UInt64) {
    assembler.moveConstant(X64.rax, address, keepsFlags: false)
    assembler.byte(0xff)
    assembler.byte(0xd0)
  }

  /// To the program in the array, with this frame gone; goes on where there is none.
  private mutating func tailCall(_ values: InlineArray<6, Int32>) {
    pass(values, in: X64Backend.callerRegisters, clobbers: X64Backend.file.clobbered)
    let (array, index, run) = (X64.rsi, X64.rdx, X64.r9)
    let out = assembler.layout.makeLabels(1)
    func leaveIf(_ it: inout X64Backend, _ condition: X64Condition) {
      it.assembler.layout.append(.conditionalJump, target: out, argument: condition.rawValue)
    }
    assembler.move(index, index, wide: false)
    assembler.memory(0x3b, wide: false, index, X64Memory(base: array, offset: RunLayout.maximumEntries))
    leaveIf(&self, .aboveOrEqual)
    assembler.memory(0x83, wide: false, 7, X64Memory(base: run, offset: RunLayout.tailCalls))
    assembler.byte(33)
    leaveIf(&self, .aboveOrEqual)
    assembler.memory(0x83, wide: false, 7, X64Memory(base: run, offset: RunLayout.stopRequested))
    assembler.byte(0)
    leaveIf(&self, .notEqual)
    assembler.load(X64.rax, X64Memory(base: array, offset: RunLayout.programs), size: 8)
    assembler.registers(0x85, wide: true, X64.rax, X64.rax)
    leaveIf(&self, .equal)
    assembler.load(X64.rax, X64Memory(base: X64.rax, index: index, scale: 3), size: 8)
    assembler.registers(0x85, wide: true, X64.rax, X64.rax)
    leaveIf(&self, .equal)
    assembler.memory(0xff, wide: false, 0, X64Memory(base: run, offset: RunLayout.tailCalls))
    assembler.move(X64.rdx, X64.rax)
    assembler.move(X64.rsi, run)
    assembler.store(X64.rdx, X64Memory(base: run, offset: RunLayout.program), size: 8)
    assembler.layout.append(.snippet, target: unwind)
    // jmp [rdx]: the entry is the program's first field.
    assembler.memory(0xff, wide: false, 4, X64Memory(base: X64.rdx))
    assembler.layout.define(out)
  }
}
