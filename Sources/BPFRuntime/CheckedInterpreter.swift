import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import CBPFRuntime

/// What a proved program did that no proved program does: the verifier, a helper or the linker is wrong.
public struct RuntimeViolation: Error, Hashable, Sendable, CustomStringConvertible {
  public let program: String
  /// Slot of the instruction.
  public let instruction: Int
  public let message: String

  public var description: String { "\(program), instruction \(instruction): \(message)" }
}

extension Engine {
  /// An interpreter for tests: slow, and every access is held against the memory that the program may know of.
  public static let checked = Engine(name: "checked") { CheckedInterpreter($0) }
  /// The same, where stack that was never written may not be read, as for callers without `CAP_PERFMON`.
  public static let strictlyChecked = Engine(name: "strictly checked") { CheckedInterpreter($0, readsUnwritten: false) }
}

extension LoadedProgram {
  /// The first violation of any run so far; only the checked engines find some.
  public var violation: RuntimeViolation? { (executable as? CheckedInterpreter)?.violation }
}

/// Carries out a program's instructions one by one, by the book, and checks every address and register it uses.
///
/// Where something is wrong the program is unwound as by an exception, returns 0, and `violation` says what it was.
public final class CheckedInterpreter: Executable, @unchecked Sendable {
  let linked: LinkedProgram
  let readsUnwritten: Bool
  private let lock = RuntimeLock()
  private var sessions: [UnsafeMutablePointer<skep_run>: [CheckedSession]] = [:]
  private var first: RuntimeViolation?

  public init(_ linked: LinkedProgram, readsUnwritten: Bool = true) {
    self.linked = linked
    self.readsUnwritten = readsUnwritten
  }

  public var violation: RuntimeViolation? { lock.locked { first } }

  public var code: UnsafeRawPointer? { UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque()) }

  public var entry: skep_entry {
    { context, run, program in
      guard let run, let program, let code = program.pointee.code else { return 0 }
      let own = Unmanaged<CheckedInterpreter>.fromOpaque(code).takeUnretainedValue()
      return own.enter(context, run, program)
    }
  }

  public var invoke: skep_invoke {
    { run, function, a1, a2, a3, a4, a5 in
      guard let run, let program = run.pointee.program, let code = program.pointee.code else { return 0 }
      let own = Unmanaged<CheckedInterpreter>.fromOpaque(code).takeUnretainedValue()
      return own.callBack(run, function, [a1, a2, a3, a4, a5])
    }
  }

  private func session(_ run: UnsafeMutablePointer<skep_run>) -> CheckedSession? {
    lock.locked { sessions[run]?.last }
  }

  private func enter(
    _ context: UInt64, _ run: UnsafeMutablePointer<skep_run>, _ program: UnsafePointer<skep_program>
  ) -> UInt64 {
    let outer = (run.pointee.invoke, run.pointee.program)
    run.pointee.invoke = invoke
    run.pointee.program = program
    let session = CheckedSession(self, run)
    lock.locked { sessions[run, default: []].append(session) }
    defer {
      run.pointee.invoke = outer.0
      run.pointee.program = outer.1
      _ = lock.locked { sessions[run]?.removeLast() }
    }
    let value = perform(session, 0, [context])
    guard run.pointee.unwinding != 0 else { return value }
    let isThrown = run.pointee.unwinding == 1
    run.pointee.unwinding = 0
    guard isThrown else { return 0 }
    let cookie = run.pointee.exception_value
    guard let callback = linked.proof.exceptionCallback else { return cookie }
    return perform(session, callback, [cookie])
  }

  private func callBack(_ run: UnsafeMutablePointer<skep_run>, _ function: UInt64, _ arguments: [UInt64]) -> UInt64 {
    // Timers and work call without a program that runs.
    let session = session(run) ?? CheckedSession(self, run)
    session.knowArguments(arguments)
    return perform(session, Int(truncatingIfNeeded: function & ~LinkedProgram.functionTag), arguments)
  }

  private func perform(_ session: CheckedSession, _ function: Int, _ arguments: [UInt64]) -> UInt64 {
    do {
      return try session.perform(function, arguments)
    } catch {
      lock.locked { first = first ?? error }
      session.run.pointee.unwinding = 2
      return 0
    }
  }
}

/// One run of one program.
final class CheckedSession {
  let linked: LinkedProgram
  let run: UnsafeMutablePointer<skep_run>
  private let readsUnwritten: Bool
  private var frames: [CheckedFrame] = []
  private var memory = CheckedMemory()
  private var slot = 0

  init(_ interpreter: CheckedInterpreter, _ run: UnsafeMutablePointer<skep_run>) {
    linked = interpreter.linked
    readsUnwritten = interpreter.readsUnwritten
    self.run = run
    memory.addMaps(linked.maps, cpuCount: Worker.of(run).machine.cpuCount)
  }

  private func violation(_ message: String) -> RuntimeViolation {
    RuntimeViolation(program: linked.program.name, instruction: slot, message: message)
  }

  /// What a callback is given is its to use.
  func knowArguments(_ arguments: [UInt64]) {
    let map = linked.maps.first { bits(of: $0.block) == arguments[0] }
    for (index, argument) in arguments.enumerated() where memory.mayBeAddress(argument) && frame(at: argument) == nil {
      let size = [1: map?.keySize, 2: map.map { Int($0.definition.valueSize) }][index] ?? nil
      memory.add(argument, size ?? CheckedMemory.unknownSize, "an argument of the callback")
    }
  }

  // MARK: Functions

  func perform(_ function: Int, _ arguments: [UInt64]) throws(RuntimeViolation) -> UInt64 {
    guard frames.count < 16 else { throw violation("functions call too deep") }
    guard linked.proof.subprograms.indices.contains(function) else { throw violation("no function \(function)") }
    let frame = CheckedFrame()
    for (index, argument) in arguments.enumerated() { frame[index + 1] = argument }
    frames.append(frame)
    let caller = slot
    defer {
      frames.removeLast()
      slot = caller
    }
    let range = linked.proof.subprograms[function].range
    slot = range.lowerBound
    while true {
      guard linked.operations.indices.contains(slot) else { throw violation("ran out of the program") }
      if let value = try step(frame) { return value }
      if run.pointee.unwinding != 0 { return 0 }
    }
  }

  private func read(_ frame: CheckedFrame, _ register: Int) throws(RuntimeViolation) -> UInt64 {
    guard frame.isWritten(register) else { throw violation("r\(register) was never written") }
    return frame[register]
  }

  /// Carries out one instruction; the function's value where it ends.
  private func step(_ frame: CheckedFrame) throws(RuntimeViolation) -> UInt64? {
    let operation = linked.operations[slot]
    let insn = operation.instruction
    var next = slot + (proofIsWide ? 2 : 1)
    switch operation.kind {
    case .unreachable: throw violation("reached what no path gets to")
    case .plain:
      switch insn.instructionClass {
      case Class.alu, Class.alu64: try arithmetic(insn, frame)
      case Class.jmp, Class.jmp32:
        // A function without a result leaves r0 as it is.
        if insn.opcode == Opcode.exit { return frames.count > 1 ? frame[0] : try read(frame, 0) }
        if try jumps(insn, frame), let target = InterpreterTranslation.jumpTarget(slot, operation) { next = target }
      default: try access(insn, frame, operation)
      }
    case .constant, .functionAddress: frame[insn.dst] = operation.operand
    case .faulting, .arena, .storeBelow: try access(insn, frame, operation)
    case .arenaCast:
      let value = try read(frame, insn.src) & 0xffff_ffff
      frame[insn.dst] = value == 0 ? 0 : value | operation.operand
    case .call, .callWithCallback: try call(operation, frame)
    case .subprogram:
      let arguments = (1...5).map { frame[$0] }
      frame[0] = try perform(Int(truncatingIfNeeded: operation.operand), arguments)
      frame.forget(1...5)
    case .tailCall:
      let array = try read(frame, 2)
      let index = try read(frame, 3)
      if let program = tailCallTarget(array, lowHalf(index), run) {
        return program.pointee.entry(try read(frame, 1), run, program)
      }
      frame.forget(1...5)
      frame[0] = 0
    case .throw:
      run.pointee.exception_value = try read(frame, 1)
      run.pointee.unwinding = 1
    case .mayGoto:
      frame.budget -= 1
      if frame.budget < 0 || run.pointee.stop_requested != 0 {
        next = InterpreterTranslation.jumpTarget(slot, operation) ?? next
      }
    case .legacyLoad:
      let immediate = UInt32(bitPattern: insn.immediate)
      let offset = insn.mode == Mode.ind ? lowHalf(try read(frame, insn.src)) &+ immediate : immediate
      let function = unsafeBitCast(UInt(truncatingIfNeeded: operation.operand), to: RuntimeFunction.Body.self)
      let wide = UInt64(bitPattern: Int64(Int32(bitPattern: offset)))
      let value = function(try read(frame, 6), wide, UInt64(insn.accessSize), 0, 0, run)
      if asSigned(value) < 0 { return 0 }
      frame.forget(1...5)
      frame[0] = value
    }
    slot = next
    return nil
  }

  private var proofIsWide: Bool { linked.proof.instructions[slot].isLoadImmediate64 }

  private func arithmetic(_ insn: Instruction, _ frame: CheckedFrame) throws(RuntimeViolation) {
    let isMove = insn.operation == ALU.mov
    let left = isMove ? 0 : try read(frame, insn.dst)
    let usesRegister = insn.operandSource == Source.x && insn.operation != ALU.end
    let right = usesRegister ? try read(frame, insn.src) : UInt64(bitPattern: Int64(insn.immediate))
    guard insn.dst < 10 else { throw violation("r\(insn.dst) is written") }
    guard let value = BookArithmetic.result(insn, left, right) else { throw violation("unknown arithmetic") }
    frame[insn.dst] = value
  }

  private func jumps(_ insn: Instruction, _ frame: CheckedFrame) throws(RuntimeViolation) -> Bool {
    if insn.operation == Jump.ja { return true }
    let left = try read(frame, insn.dst)
    let right =
      insn.operandSource == Source.x ? try read(frame, insn.src) : UInt64(bitPattern: Int64(insn.immediate))
    guard let holds = BookArithmetic.holds(insn, left, right) else { throw violation("unknown jump") }
    return holds
  }

  // MARK: Calls

  private func call(_ operation: LinkedOperation, _ frame: CheckedFrame) throws(RuntimeViolation) {
    if operation.descriptorRegister != 0 { frame[Int(operation.descriptorRegister)] = operation.descriptor }
    let arguments = (1...5).map { frame[$0] }
    // What a helper may write through the pointers that it gets is written.
    for argument in arguments {
      if let owner = self.frame(at: argument) { owner.wrote(from: argument) }
    }
    let function = unsafeBitCast(UInt(truncatingIfNeeded: operation.operand), to: RuntimeFunction.Body.self)
    let value = function(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], run)
    frame.forget(1...5)
    frame[0] = value
    if run.pointee.unwinding == 0 { knowResult(operation, arguments, value) }
  }

  private func knowResult(_ operation: LinkedOperation, _ arguments: [UInt64], _ value: UInt64) {
    guard memory.mayBeAddress(value), frame(at: value) == nil else { return }
    let map = linked.maps.first { bits(of: $0.block) == arguments[0] }
    var size = CheckedMemory.unknownSize
    switch HelperID(rawValue: Int32(bitPattern: operation.helper)) {
    case .mapLookupElem where map != nil && ![.arrayOfMaps, .hashOfMaps].contains(map?.definition.type):
      size = Int(map?.definition.valueSize ?? 0)
    case .ringbufReserve: size = Int(truncatingIfNeeded: arguments[1])
    case .dynptrData: size = Int(truncatingIfNeeded: arguments[2])
    default: break
    }
    memory.add(value, size, "memory that a call returned")
  }

  // MARK: Memory

  private func frame(at address: UInt64) -> CheckedFrame? { frames.last { $0.holds(address) } }

  private func access(
    _ insn: Instruction, _ frame: CheckedFrame, _ operation: LinkedOperation
  ) throws(RuntimeViolation) {
    if insn.opcode == Opcode.nospec { return }
    guard let access = InterpreterAccess(insn) else { throw violation("unknown access") }
    let isLoadAcquire = insn.mode == Mode.atomic && insn.immediate == Atomic.loadAcquire
    let isLoad = insn.instructionClass == Class.ldx || isLoadAcquire
    let base = try read(frame, isLoad ? insn.src : insn.dst)
    if insn.instructionClass == Class.stx && !isLoadAcquire { _ = try read(frame, insn.src) }
    var address = base &+ UInt64(bitPattern: Int64(insn.offset))
    switch operation.kind {
    case .arena: address = operation.operand &+ (base & 0xffff_ffff) &+ UInt64(bitPattern: Int64(insn.offset))
    case .faulting: break
    case .storeBelow where try read(frame, insn.src) >= operation.operand: return
    default: try check(address, insn, isLoad: isLoad)
    }
    var steps = (InterpreterStep(.faulting), InterpreterStep(.unreachable))
    steps.0 = InterpreterStep(
      .faulting, a: isLoadAcquire ? insn.src : insn.dst, b: isLoadAcquire ? insn.dst : insn.src,
      c: Int(access.rawValue), immediate: 0)
    let atomic = InterpreterAtomic(insn)
    steps.1 = InterpreterStep(
      .unreachable, a: Int(steps.0.a), b: Int(steps.0.b), c: Int(atomic?.rawValue ?? 0),
      immediate: UInt64(bitPattern: Int64(insn.immediate)))
    if insn.mode == Mode.atomic && atomic == nil { throw violation("unknown atomic operation") }
    var cells = (skep_step(steps.0), skep_step(steps.1))
    withUnsafePointer(to: &cells) { pair in
      let step = UnsafeRawPointer(pair).assumingMemoryBound(to: skep_step.self)
      if operation.kind == .faulting && isLoad {
        let offset = frame.registers[insn.src]
        frame.registers[insn.src] = address
        accessFaulting(step, frame.registers)
        if insn.src != insn.dst { frame.registers[insn.src] = offset }
      } else {
        plainAccess(access, step, frame.registers, writablePlace(address))
      }
    }
    if insn.instructionClass == Class.ldx || isLoadAcquire { frame.wrote(register: insn.dst) }
    if insn.mode == Mode.atomic { noteAtomic(insn, frame) }
    if isLoad && insn.accessSize == 8 { knowPointer(frame[insn.dst], from: address) }
  }

  private func noteAtomic(_ insn: Instruction, _ frame: CheckedFrame) {
    if insn.immediate == Atomic.cmpxchg {
      frame.wrote(register: 0)
    } else if insn.immediate & Atomic.fetch != 0 {
      frame.wrote(register: insn.src)
    }
  }

  private func check(_ address: UInt64, _ insn: Instruction, isLoad: Bool) throws(RuntimeViolation) {
    let size = insn.accessSize
    if let owner = frame(at: address) {
      guard owner.holds(address &+ UInt64(size) &- 1) else {
        throw violation("\(size) bytes at r10\(owner.offset(of: address)) leave the stack")
      }
      if !isLoad {
        owner.wrote(from: address, size)
      } else if !readsUnwritten && !owner.isWritten(address, size) {
        throw violation("\(size) bytes at r10\(owner.offset(of: address)) were never written")
      }
      return
    }
    if memory.holds(address, size) || memory.contextHolds(address, size, run) { return }
    throw violation("\(size) bytes at 0x\(String(address, radix: 16)) belong to nothing")
  }

  /// Pointers are kept in maps, objects and contexts; what they point to has no size that is known here.
  private func knowPointer(_ value: UInt64, from address: UInt64) {
    guard frame(at: address) == nil, memory.mayBeAddress(value), frame(at: value) == nil,
      !memory.holds(value, 1), !memory.contextHolds(value, 1, run)
    else { return }
    memory.add(value, CheckedMemory.unknownSize, "memory that a pointer was loaded for")
  }
}

/// Registers and stack of a function that runs, and which of them were written.
final class CheckedFrame {
  let registers: UnsafeMutablePointer<UInt64>
  private let stack: UnsafeMutableRawPointer
  private var written: UInt16 = 1 << 10
  private var stackWritten = [Bool](repeating: false, count: maximumStackSize)
  /// How often `may_goto` still falls through.
  var budget = 8 << 20

  init() {
    registers = .allocate(capacity: InterpreterFrame.words)
    registers.initialize(repeating: 0, count: InterpreterFrame.words)
    stack = .allocate(byteCount: maximumStackSize, alignment: 64)
    stack.initializeMemory(as: UInt8.self, repeating: 0xa5, count: maximumStackSize)
    registers[10] = UInt64(UInt(bitPattern: stack + maximumStackSize))
  }

  deinit {
    registers.deallocate()
    stack.deallocate()
  }

  subscript(_ number: Int) -> UInt64 {
    get { registers[number] }
    set {
      registers[number] = newValue
      wrote(register: number)
    }
  }

  func wrote(register: Int) { written |= 1 << UInt16(register) }
  func isWritten(_ register: Int) -> Bool { written & 1 << UInt16(register) != 0 }
  func forget(_ numbers: ClosedRange<Int>) {
    for number in numbers { written &= ~(1 << UInt16(number)) }
  }

  private var start: UInt64 { UInt64(UInt(bitPattern: stack)) }
  func holds(_ address: UInt64) -> Bool { address >= start && address &- start < UInt64(maximumStackSize) }
  func offset(of address: UInt64) -> Int { Int(truncatingIfNeeded: address &- start) - maximumStackSize }

  func isWritten(_ address: UInt64, _ size: Int) -> Bool {
    let first = Int(truncatingIfNeeded: address &- start)
    return stackWritten[first..<first + size].allSatisfy { $0 }
  }

  func wrote(from address: UInt64, _ size: Int = .max) {
    let first = Int(truncatingIfNeeded: address &- start)
    for index in first..<(size == .max ? maximumStackSize : first + size) { stackWritten[index] = true }
  }
}
