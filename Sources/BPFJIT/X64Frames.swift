/// How functions are entered and left.
extension X64Backend {
  func frameCode(budget: Int32?) -> (enter: [UInt8], leave: [UInt8], unwind: [UInt8]) {
    var scratch = X64Assembler()
    defer { scratch.layout.release() }
    let pushed = X64Backend.preserved.filter { state.touched >> UInt32($0) & 1 != 0 }
    var size = stackSize + state.slotCount * 8
    // With the return address and what is pushed, 16 bytes are one unit of the stack where others are called.
    if (Int(size) + 8 + pushed.count * 8) % 16 != 0 && (hasCalls || size > 0) { size += 8 }
    for register in pushed { scratch.push(register) }
    if size > 0 { scratch.immediate(5, wide: true, X64.rsp, size) }
    if let budget {
      scratch.memory(0xc7, wide: true, 0, slot(budget))
      scratch.word(0xffff)
      scratch.memory(0xc7, wide: true, 0, slot(budget + 1))
      scratch.word(0)
    }
    let enter = take(&scratch)
    if size > 0 { scratch.immediate(0, wide: true, X64.rsp, size) }
    for register in pushed.reversed() { scratch.pop(register) }
    let unwind = take(&scratch)
    return (enter, unwind + [0xc3], unwind)
  }

  private func take(_ assembler: inout X64Assembler) -> [UInt8] {
    let bytes = (0..<assembler.layout.bytes.count).map { assembler.layout.bytes[$0] }
    assembler.layout.bytes.removeAll()
    return bytes
  }

  mutating func enterProgram(main: Int32, needsRun: Bool, invoke: Int32?, throws: Bool, handler: Int32?) {
    guard let invoke else {
      if needsRun { assembler.move(X64.r9, X64.rsi) }
      return
    }
    let run = X64.rbx
    for register in X64Backend.preserved { assembler.push(register) }
    assembler.move(run, X64.rsi)
    for place in [RunLayout.invoke, RunLayout.program, RunLayout.savedStack] {
      assembler.memory(0xff, wide: false, 6, X64Memory(base: run, offset: place))
    }
    assembler.push(run)
    assembler.immediate(5, wide: true, X64.rsp, 8)
    assembler.layout.append(.address, target: invoke, argument: X64.rax)
    assembler.store(X64.rax, X64Memory(base: run, offset: RunLayout.invoke), size: 8)
    assembler.store(X64.rdx, X64Memory(base: run, offset: RunLayout.program), size: 8)
    assembler.move(X64.r9, run)
    callSavingStack(run) { $0.assembler.layout.append(.call, target: main) }
    assembler.load(run, X64Memory(base: X64.rsp, offset: 8), size: 8)
    if `throws` {
      assembler.memory(0x83, wide: false, 7, X64Memory(base: run, offset: RunLayout.unwinding))
      assembler.byte(0)
      let done = assembler.layout.makeLabels(1)
      assembler.layout.append(.conditionalJump, target: done, argument: X64Condition.equal.rawValue)
      assembler.memory(0xc7, wide: false, 0, X64Memory(base: run, offset: RunLayout.unwinding))
      assembler.word(0)
      assembler.load(X64.rax, X64Memory(base: run, offset: RunLayout.exceptionValue), size: 8)
      if let handler {
        assembler.move(X64.rdi, X64.rax)
        assembler.move(X64.r9, run)
        assembler.layout.append(.call, target: handler)
      }
      assembler.layout.define(done)
    }
    assembler.immediate(0, wide: true, X64.rsp, 16)
    for place in [RunLayout.savedStack, RunLayout.program, RunLayout.invoke] {
      assembler.memory(0x8f, wide: false, 0, X64Memory(base: run, offset: place))
    }
    for register in X64Backend.preserved.reversed() { assembler.pop(register) }
    assembler.byte(0xc3)
  }

  /// Calls so that an exception comes back to after the call: it returns with this stack.
  private mutating func callSavingStack(_ run: Register, _ call: (inout X64Backend) -> Void) {
    assembler.memory(0x8d, wide: true, X64.rax, X64Memory(base: X64.rsp, offset: -8))
    assembler.store(X64.rax, X64Memory(base: run, offset: RunLayout.savedStack), size: 8)
    call(&self)
  }

  mutating func callFunction(throws: Bool) {
    if !`throws` {
      assembler.move(X64.rax, X64.rsi)
      assembler.move(X64.r10, X64.r9)
      assembler.move(X64.r9, X64.rdi)
      assembler.move(X64.rdi, X64.rdx)
      assembler.move(X64.rsi, X64.rcx)
      assembler.move(X64.rdx, X64.r8)
      assembler.move(X64.rcx, X64.r10)
      assembler.load(X64.r8, X64Memory(base: X64.rsp, offset: 8), size: 8)
      assembler.memoryJump(X64.rax)
      return
    }
    let run = X64.rbx
    for register in X64Backend.preserved { assembler.push(register) }
    assembler.move(run, X64.rdi)
    assembler.memory(0xff, wide: false, 6, X64Memory(base: run, offset: RunLayout.savedStack))
    assembler.push(run)
    assembler.immediate(5, wide: true, X64.rsp, 8)
    assembler.move(X64.r11, X64.rsi)
    assembler.move(X64.r10, X64.r9)
    assembler.move(X64.r9, X64.rdi)
    assembler.move(X64.rdi, X64.rdx)
    assembler.move(X64.rsi, X64.rcx)
    assembler.move(X64.rdx, X64.r8)
    assembler.move(X64.rcx, X64.r10)
    // Nine words are above the return address and below the fifth argument.
    assembler.load(X64.r8, X64Memory(base: X64.rsp, offset: 80), size: 8)
    callSavingStack(run) {
      $0.assembler.byte(0x41)
      $0.assembler.byte(0xff)
      $0.assembler.byte(0xd3)
    }
    assembler.load(run, X64Memory(base: X64.rsp, offset: 8), size: 8)
    assembler.immediate(0, wide: true, X64.rsp, 16)
    assembler.memory(0x8f, wide: false, 0, X64Memory(base: run, offset: RunLayout.savedStack))
    for register in X64Backend.preserved.reversed() { assembler.pop(register) }
    assembler.byte(0xc3)
  }

  /// `may_goto`: counts down, and asks the clock where the count is used up. 0 where the loop is to end.
  mutating func selectBudget(_ index: Int32, _ node: Node) {
    let run = use(node.a)
    pin(run)
    let to = allocate(-1)
    let at = slot(budgetSlot)
    assembler.moveConstant(to, 1, keepsFlags: false)
    assembler.memory(0x83, wide: false, 7, X64Memory(base: run, offset: RunLayout.stopRequested))
    assembler.byte(0)
    let stops = assembler.shortJump(.notEqual)
    assembler.memory(0xff, wide: true, 1, at)
    let goesOn = assembler.shortJump(.notEqual)
    // Rare: everything is kept around the call.
    let kept = [X64.rax, X64.rcx, X64.rdx, X64.rsi, X64.rdi, X64.r8, X64.r9, X64.r10, X64.r11]
    for register in kept { assembler.push(register) }
    assembler.immediate(5, wide: true, X64.rsp, 8)
    assembler.memory(0x8d, wide: true, X64.rdi, X64Memory(base: X64.rsp, offset: at.offset + 80))
    assembler.moveConstant(X64.rax, RunLayout.renewBudget, keepsFlags: false)
    assembler.byte(0xff)
    assembler.byte(0xd0)
    if let place = kept.firstIndex(of: to) {
      // It is taken from the stack again.
      let above = Int32(8 + (kept.count - 1 - place) * 8)
      assembler.store(X64.rax, X64Memory(base: X64.rsp, offset: above), size: 8)
    } else {
      assembler.move(to, X64.rax)
    }
    assembler.immediate(0, wide: true, X64.rsp, 8)
    for register in kept.reversed() { assembler.pop(register) }
    let renewed = assembler.shortJump(nil)
    assembler.land(stops)
    assembler.registers(0x31, wide: false, to, to)
    assembler.land(renewed)
    assembler.land(goesOn)
    hasCalls = true
    consume(node.a)
    define(index, to)
  }
}

extension X64Backend {
  mutating func addConstant(_ register: Register, _ value: Int32, width: UInt8) {
    assembler.immediate(0, wide: width == 8, register, value)
  }

  /// xmm15 keeps what was in it.
  mutating func borrow() -> Register {
    assembler.keep(X64.r11)
    return X64.r11
  }

  mutating func giveBack(_ register: Register) { assembler.restore(register) }

  mutating func trap() {
    assembler.byte(0x0f)
    assembler.byte(0x0b)
  }
}

extension X64Assembler {
  /// Jumps to the address in a register.
  mutating func memoryJump(_ register: Register) { registers(0xff, wide: false, 4, register) }

  /// `movq xmm15, register`.
  mutating func keep(_ register: Register) {
    byte(0x66)
    byte(0x4c | register >> 3)
    byte(0x0f)
    byte(0x6e)
    byte(0xf8 | register & 7)
  }

  /// `movq register, xmm15`.
  mutating func restore(_ register: Register) {
    byte(0x66)
    byte(0x4c | register >> 3)
    byte(0x0f)
    byte(0x7e)
    byte(0xf8 | register & 7)
  }
}
