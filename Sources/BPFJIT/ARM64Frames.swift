/// How functions are entered and left.
///
/// From the stack pointer up: BPF's stack, the words of the frame, registers that are kept for the caller, and the
/// frame record where the function calls others. All of it is a multiple of 16 bytes, as the processor demands.
extension ARM64Backend {
  func frameCode(budget: Int32?) -> (enter: [UInt8], leave: [UInt8], unwind: [UInt8]) {
    var scratch = ARM64Assembler()
    defer { scratch.layout.release() }
    let kept = ARM64Backend.preserved.filter { state.touched >> UInt32($0) & 1 != 0 }
    // In pairs; the last may be one with zero.
    let pairs = stride(from: 0, to: kept.count, by: 2).map {
      (kept[$0], $0 + 1 < kept.count ? kept[$0 + 1] : ARM64.zero)
    }
    let size = (Int64(stackSize + state.slotCount * 8) + 15) & ~15
    if hasCalls { scratch.beginFrame() }
    for (a, b) in pairs { scratch.pushPair(a, b) }
    if size > 0 { scratch.addConstant(ARM64.stack, ARM64.stack, -size) }
    if let budget {
      scratch.moveConstant(ARM64.x16, 0xffff)
      scratch.address(ARM64.x17, slot(budget))
      scratch.store(ARM64.x16, ARM64Memory(base: ARM64.x17), size: 8)
      scratch.store(ARM64.zero, ARM64Memory(base: ARM64.x17, offset: 8), size: 8)
    }
    let enter = take(&scratch)
    if size > 0 { scratch.addConstant(ARM64.stack, ARM64.stack, size) }
    for (a, b) in pairs.reversed() { scratch.popPair(a, b) }
    if hasCalls { scratch.endFrame() }
    let unwind = take(&scratch)
    scratch.return()
    return (enter, unwind + take(&scratch), unwind)
  }

  private func take(_ assembler: inout ARM64Assembler) -> [UInt8] {
    let bytes = (0..<assembler.layout.bytes.count).map { assembler.layout.bytes[$0] }
    assembler.layout.bytes.removeAll()
    return bytes
  }

  // MARK: from C and back

  mutating func enterProgram(main: Int32, needsRun: Bool, invoke: Int32?, throws: Bool, handler: Int32?) {
    guard let invoke else {
      if needsRun { assembler.move(ARM64.x5, ARM64.x1) }
      return
    }
    let (run, scratch, other) = (ARM64.x19, ARM64.x9, ARM64.x10)
    func field(_ offset: Int32) -> ARM64Memory { ARM64Memory(base: run, field: offset) }
    keepAll()
    assembler.move(run, ARM64.x1)
    assembler.load(scratch, field(RunLayout.invoke), size: 8)
    assembler.load(other, field(RunLayout.program), size: 8)
    assembler.pushPair(scratch, other)
    pushLanding(run)
    assembler.layout.append(.address, target: invoke, argument: scratch)
    assembler.store(scratch, field(RunLayout.invoke), size: 8)
    assembler.store(ARM64.x2, field(RunLayout.program), size: 8)
    assembler.move(ARM64.x5, run)
    let landing = assembler.layout.makeLabels(2)
    let done = landing + 1
    setLanding(landing)
    assembler.layout.append(.call, target: main)
    land(landing, run)
    if `throws` {
      assembler.load(scratch, field(RunLayout.unwinding), size: 4)
      assembler.compare(wide: false, scratch, constant: 0)
      assembler.layout.append(.conditionalJump, target: done, argument: ARM64Condition.equal.rawValue)
      assembler.store(ARM64.zero, field(RunLayout.unwinding), size: 4)
      assembler.load(ARM64.x0, field(RunLayout.exceptionValue), size: 8)
      if let handler {
        setLanding(done)
        assembler.move(ARM64.x5, run)
        assembler.layout.append(.call, target: handler)
      }
    }
    land(done, run)
    popLanding(run)
    assembler.popPair(scratch, other)
    assembler.store(scratch, field(RunLayout.invoke), size: 8)
    assembler.store(other, field(RunLayout.program), size: 8)
    restoreAll()
    assembler.return()
  }

  mutating func callFunction(throws: Bool) {
    // (run, function, five arguments): the run goes behind the arguments.
    if !`throws` {
      assembler.move(ARM64.x16, ARM64.x1)
      shiftArguments()
      assembler.jump(to: ARM64.x16)
      return
    }
    let run = ARM64.x19
    keepAll()
    assembler.move(run, ARM64.x0)
    pushLanding(run)
    assembler.move(ARM64.x16, ARM64.x1)
    shiftArguments()
    let landing = assembler.layout.makeLabels(1)
    setLanding(landing)
    assembler.call(ARM64.x16)
    land(landing, run)
    popLanding(run)
    restoreAll()
    assembler.return()
  }

  private mutating func shiftArguments() {
    assembler.move(ARM64.x17, ARM64.x0)
    for argument in ARM64.x0...ARM64.x4 { assembler.move(argument, argument + 2) }
    assembler.move(ARM64.x5, ARM64.x17)
  }

  // MARK: where exceptions land

  /// Two pairs on the stack: where an exception goes on, and nothing; what `saved_stack` was, and the run.
  private mutating func pushLanding(_ run: Register) {
    assembler.load(ARM64.x9, ARM64Memory(base: run, field: RunLayout.savedStack), size: 8)
    assembler.pushPair(ARM64.x9, run)
    assembler.pushPair(ARM64.zero, ARM64.zero)
    assembler.moveStack(ARM64.x9, ARM64.stack)
    assembler.store(ARM64.x9, ARM64Memory(base: run, field: RunLayout.savedStack), size: 8)
  }

  private mutating func setLanding(_ label: Int32) {
    assembler.layout.append(.address, target: label, argument: ARM64.x9)
    assembler.store(ARM64.x9, ARM64Memory(base: ARM64.stack), size: 8)
  }

  /// Here the stack is as it was before the call, whichever way it is left.
  private mutating func land(_ label: Int32, _ run: Register) {
    assembler.layout.define(label)
    assembler.load(run, ARM64Memory(base: ARM64.stack, offset: 24), size: 8)
  }

  private mutating func popLanding(_ run: Register) {
    assembler.popPair(ARM64.x9, ARM64.x10)
    assembler.popPair(ARM64.x9, ARM64.x10)
    assembler.store(ARM64.x9, ARM64Memory(base: run, field: RunLayout.savedStack), size: 8)
  }

  /// Leaves all frames of the program at once.
  mutating func unwindToEntry(_ run: Register) {
    assembler.load(ARM64.x16, ARM64Memory(base: run, field: RunLayout.savedStack), size: 8)
    assembler.moveStack(ARM64.stack, ARM64.x16)
    assembler.load(ARM64.x16, ARM64Memory(base: ARM64.stack), size: 8)
    assembler.jump(to: ARM64.x16)
  }

  private mutating func keepAll() {
    assembler.beginFrame()
    for register in stride(from: ARM64Backend.preserved.lowerBound, to: ARM64Backend.preserved.upperBound, by: 2) {
      assembler.pushPair(register, register + 1)
    }
  }

  private mutating func restoreAll() {
    for register in stride(from: ARM64Backend.preserved.upperBound, to: ARM64Backend.preserved.lowerBound, by: -2) {
      assembler.popPair(register - 1, register)
    }
    assembler.endFrame()
  }

  // MARK: loops with may_goto

  /// Counts down, and asks the clock where the count is used up. 0 where the loop is to end.
  mutating func selectBudget(_ index: Int32, _ node: Node) {
    let run = pinned(node.a)
    let to = allocate(-1)
    assembler.moveConstant(to, 0)
    assembler.load(ARM64.x16, ARM64Memory(base: run, field: RunLayout.stopRequested), size: 4)
    let stops = assembler.shortJump(ifNotZero: ARM64.x16, wide: false)
    loadSlot(ARM64.x16, budgetSlot)
    assembler.addConstant(ARM64.x16, ARM64.x16, -1)
    storeSlot(budgetSlot, ARM64.x16)
    assembler.moveConstant(to, 1)
    let goesOn = assembler.shortJump(ifNotZero: ARM64.x16, wide: true)
    // Rare: everything is kept around the call.
    let kept = stride(from: Register(0), to: 16, by: 2)
    for register in kept { assembler.pushPair(register, register + 1) }
    var at = slot(budgetSlot)
    at.offset += 16 * 8
    assembler.address(ARM64.x0, at)
    call(functions.renewBudget)
    assembler.move(ARM64.x17, ARM64.x0)
    for register in kept.reversed() { assembler.popPair(register, register + 1) }
    assembler.move(to, ARM64.x17)
    assembler.land(goesOn)
    assembler.land(stops)
    hasCalls = true
    consume(node.a)
    define(index, to)
  }
}

extension ARM64Assembler {
  /// Pushes the frame record.
  mutating func beginFrame() {
    pushPair(ARM64.framePointer, ARM64.link)
    moveStack(ARM64.framePointer, ARM64.stack)
  }

  mutating func endFrame() { popPair(ARM64.framePointer, ARM64.link) }
}
