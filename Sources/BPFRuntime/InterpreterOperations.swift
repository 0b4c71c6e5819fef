import BPFISA
import CBPFRuntime

// What the loop calls, and arithmetic as RFC 9669 section 4.1 has it: division by zero gives 0, the remainder of it the
// dividend, and the smallest number divided by -1 is itself.

@inline(__always)
func quotient<T: UnsignedInteger & FixedWidthInteger>(_ a: T, _ b: T) -> T {
  b == 0 ? 0 : a.dividedReportingOverflow(by: b).partialValue
}

@inline(__always)
func remainder<T: UnsignedInteger & FixedWidthInteger>(_ a: T, _ b: T) -> T {
  b == 0 ? a : a.remainderReportingOverflow(dividingBy: b).partialValue
}

@inline(__always)
func signedQuotient(_ a: UInt64, _ b: UInt64) -> UInt64 {
  b == 0 ? 0 : UInt64(bitPattern: Int64(bitPattern: a).dividedReportingOverflow(by: Int64(bitPattern: b)).partialValue)
}

@inline(__always)
func signedRemainder(_ a: UInt64, _ b: UInt64) -> UInt64 {
  b == 0
    ? a
    : UInt64(bitPattern: Int64(bitPattern: a).remainderReportingOverflow(dividingBy: Int64(bitPattern: b)).partialValue)
}

@inline(__always)
func signedQuotient(_ a: UInt32, _ b: UInt32) -> UInt32 {
  b == 0 ? 0 : UInt32(bitPattern: Int32(bitPattern: a).dividedReportingOverflow(by: Int32(bitPattern: b)).partialValue)
}

@inline(__always)
func signedRemainder(_ a: UInt32, _ b: UInt32) -> UInt32 {
  b == 0
    ? a
    : UInt32(bitPattern: Int32(bitPattern: a).remainderReportingOverflow(dividingBy: Int32(bitPattern: b)).partialValue)
}

/// The step that ends a function, for those that end it without one of their own.
nonisolated(unsafe) let interpreterExit: UnsafePointer<skep_step> = singleStep(.exit)
/// Where the outermost function returns to.
nonisolated(unsafe) let interpreterLeave: UnsafePointer<skep_step> = singleStep(.leave)

private func singleStep(_ op: InterpreterOperation) -> UnsafePointer<skep_step> {
  let step = UnsafeMutablePointer<skep_step>.allocate(capacity: 1)
  step.initialize(to: skep_step(InterpreterStep(op)))
  return UnsafePointer(step)
}

/// Ends a program that does what no proved program does.
@inline(never)
func overflow(_ run: UnsafeMutablePointer<skep_run>) -> UInt64 {
  run.pointee.exception_value = 0
  run.pointee.unwinding = 2
  return 0
}

/// The program that `bpf_tail_call` goes to; nil where it falls through.
@inline(never)
func tailCallTarget(
  _ array: UInt64, _ index: UInt32, _ run: UnsafeMutablePointer<skep_run>
) -> UnsafePointer<skep_program>? {
  let map = writablePlace(array).assumingMemoryBound(to: skep_map.self)
  guard index < map.pointee.max_entries, run.pointee.tail_calls < 33, run.pointee.stop_requested == 0,
    let programs = map.pointee.programs
  else { return nil }
  let bits = UInt(truncatingIfNeeded: skep_load_acquire_64(programs + Int(index)))
  guard let program = UnsafePointer<skep_program>(bitPattern: bits) else { return nil }
  run.pointee.tail_calls &+= 1
  return program
}

/// Whether a loop may go on whose budget is used up: for a quarter of a second, as Linux lets it.
@inline(never)
func mayStillGo(_ r: UnsafeMutablePointer<UInt64>, _ run: UnsafeMutablePointer<skep_run>) -> Bool {
  guard run.pointee.stop_requested == 0, r[InterpreterFrame.mayGotoBudget] != 0 else {
    r[InterpreterFrame.mayGotoBudget] = 0
    return false
  }
  let now = Surroundings.systemTime(.monotonic)
  let start = r[InterpreterFrame.mayGotoStart]
  if start == 0 {
    r[InterpreterFrame.mayGotoStart] = now
  } else if now &- start >= 250_000_000 {
    r[InterpreterFrame.mayGotoBudget] = 0
    return false
  }
  r[InterpreterFrame.mayGotoBudget] = 0xffff
  return true
}

/// A load from a packet by `ld_abs` or `ld_ind`; negative where it lies outside.
@inline(never)
func legacyLoad(
  _ step: UnsafePointer<skep_step>, _ packet: UInt64, _ offset: UInt64, _ run: UnsafeMutablePointer<skep_run>
) -> UInt64 {
  let function = unsafeBitCast(
    UInt(truncatingIfNeeded: step[1].immediate), to: RuntimeFunction.Body.self)
  return function(packet, offset, UInt64(step.pointee.a), 0, 0, run)
}

// MARK: Memory

func plainAccess(
  _ access: InterpreterAccess, _ step: UnsafePointer<skep_step>, _ r: UnsafeMutablePointer<UInt64>,
  _ place: UnsafeMutableRawPointer
) {
  let a = Int(step.pointee.a)
  let value = r[Int(step.pointee.b)]
  let immediate = step[1].immediate
  switch access {
  case .load8: r[a] = UInt64(place.loadUnaligned(as: UInt8.self))
  case .load16: r[a] = UInt64(place.loadUnaligned(as: UInt16.self))
  case .load32: r[a] = UInt64(place.loadUnaligned(as: UInt32.self))
  case .load64: r[a] = place.loadUnaligned(as: UInt64.self)
  case .loadSigned8: r[a] = UInt64(bitPattern: Int64(place.loadUnaligned(as: Int8.self)))
  case .loadSigned16: r[a] = UInt64(bitPattern: Int64(place.loadUnaligned(as: Int16.self)))
  case .loadSigned32: r[a] = UInt64(bitPattern: Int64(place.loadUnaligned(as: Int32.self)))
  case .store8X: place.storeBytes(of: UInt8(truncatingIfNeeded: value), as: UInt8.self)
  case .store16X: place.storeBytes(of: UInt16(truncatingIfNeeded: value), as: UInt16.self)
  case .store32X: place.storeBytes(of: UInt32(truncatingIfNeeded: value), as: UInt32.self)
  case .store64X: place.storeBytes(of: value, as: UInt64.self)
  case .store8K: place.storeBytes(of: UInt8(truncatingIfNeeded: immediate), as: UInt8.self)
  case .store16K: place.storeBytes(of: UInt16(truncatingIfNeeded: immediate), as: UInt16.self)
  case .store32K: place.storeBytes(of: UInt32(truncatingIfNeeded: immediate), as: UInt32.self)
  case .store64K: place.storeBytes(of: immediate, as: UInt64.self)
  case .atomic32: atomic32(step + 1, r, place)
  case .atomic64: atomic64(step + 1, r, place)
  }
}

/// An access to the arena: the step after it holds a store's immediate, or the atomic operation.
@inline(never)
func accessArena(_ step: UnsafePointer<skep_step>, _ r: UnsafeMutablePointer<UInt64>) {
  guard let access = InterpreterAccess(rawValue: step.pointee.c) else { return }
  let base = access.isLoad ? step.pointee.b : step.pointee.a
  let offset = UInt64(r[Int(base)] & 0xffff_ffff) &+ UInt64(bitPattern: Int64(step.pointee.offset))
  plainAccess(access, step, r, writablePlace(step.pointee.immediate &+ offset))
}

/// A load of what may not be there, which then is 0.
@inline(never)
func accessFaulting(_ step: UnsafePointer<skep_step>, _ r: UnsafeMutablePointer<UInt64>) {
  guard let access = InterpreterAccess(rawValue: step.pointee.c) else { return }
  let base = access.isLoad ? step.pointee.b : step.pointee.a
  let place = r[Int(base)] &+ UInt64(bitPattern: Int64(step.pointee.offset))
  guard access.isLoad else {
    // Linux has no stores to objects that may be gone.
    plainAccess(access, step, r, writablePlace(place))
    return
  }
  let raw = FaultingMemory.read(place, size: access.size)
  r[Int(step.pointee.a)] =
    switch access {
    case .loadSigned8: UInt64(bitPattern: Int64(Int8(truncatingIfNeeded: raw)))
    case .loadSigned16: UInt64(bitPattern: Int64(Int16(truncatingIfNeeded: raw)))
    case .loadSigned32: UInt64(bitPattern: Int64(Int32(truncatingIfNeeded: raw)))
    default: raw
    }
}

extension InterpreterAccess {
  var isLoad: Bool { rawValue <= InterpreterAccess.loadSigned32.rawValue }

  var size: Int {
    switch self {
    case .load8, .loadSigned8, .store8X, .store8K: 1
    case .load16, .loadSigned16, .store16X, .store16K: 2
    case .load32, .loadSigned32, .store32X, .store32K, .atomic32: 4
    case .load64, .store64X, .store64K, .atomic64: 8
    }
  }

  init?(_ insn: Instruction) {
    let index = [Size.b: 0, Size.h: 1, Size.w: 2, Size.dw: 3][insn.sizeCode] ?? 0
    switch (insn.instructionClass, insn.mode) {
    case (Class.ldx, Mode.mem): self = [.load8, .load16, .load32, .load64][index]
    case (Class.ldx, Mode.memsx) where index < 3: self = [.loadSigned8, .loadSigned16, .loadSigned32][index]
    case (Class.stx, Mode.mem): self = [.store8X, .store16X, .store32X, .store64X][index]
    case (Class.st, Mode.mem): self = [.store8K, .store16K, .store32K, .store64K][index]
    case (Class.stx, Mode.atomic): self = index == 3 ? .atomic64 : .atomic32
    default: return nil
    }
  }
}

extension InterpreterAtomic {
  init?(_ insn: Instruction) {
    let width = [Size.b: 0, Size.h: 1, Size.w: 2, Size.dw: 3][insn.sizeCode] ?? 0
    switch insn.immediate {
    case Atomic.add: self = .add
    case Atomic.or: self = .or
    case Atomic.and: self = .and
    case Atomic.xor: self = .xor
    case Atomic.add | Atomic.fetch: self = .fetchAdd
    case Atomic.or | Atomic.fetch: self = .fetchOr
    case Atomic.and | Atomic.fetch: self = .fetchAnd
    case Atomic.xor | Atomic.fetch: self = .fetchXor
    case Atomic.xchg: self = .exchange
    case Atomic.cmpxchg: self = .compareExchange
    case Atomic.loadAcquire: self = [.loadAcquire8, .loadAcquire16, .loadAcquire32, .loadAcquire64][width]
    case Atomic.storeRelease: self = [.storeRelease8, .storeRelease16, .storeRelease32, .storeRelease64][width]
    default: return nil
    }
  }
}

@inline(never)
func atomic64(
  _ step: UnsafePointer<skep_step>, _ r: UnsafeMutablePointer<UInt64>, _ place: UnsafeMutableRawPointer
) {
  let b = Int(step.pointee.b)
  switch unsafeBitCast(step.pointee.c, to: InterpreterAtomic.self) {
  case .add: _ = skep_fetch_add_64(place, r[b])
  case .or: _ = skep_fetch_or_64(place, r[b])
  case .and: _ = skep_fetch_and_64(place, r[b])
  case .xor: _ = skep_fetch_xor_64(place, r[b])
  case .fetchAdd: r[b] = skep_fetch_add_64(place, r[b])
  case .fetchOr: r[b] = skep_fetch_or_64(place, r[b])
  case .fetchAnd: r[b] = skep_fetch_and_64(place, r[b])
  case .fetchXor: r[b] = skep_fetch_xor_64(place, r[b])
  case .exchange: r[b] = skep_exchange_64(place, r[b])
  case .compareExchange: r[0] = skep_compare_exchange_64(place, r[0], r[b])
  default: acquireOrRelease(step, r, place)
  }
}

@inline(never)
func atomic32(
  _ step: UnsafePointer<skep_step>, _ r: UnsafeMutablePointer<UInt64>, _ place: UnsafeMutableRawPointer
) {
  let b = Int(step.pointee.b)
  let value = lowHalf(r[b])
  switch unsafeBitCast(step.pointee.c, to: InterpreterAtomic.self) {
  case .add: _ = skep_fetch_add_32(place, value)
  case .or: _ = skep_fetch_or_32(place, value)
  case .and: _ = skep_fetch_and_32(place, value)
  case .xor: _ = skep_fetch_xor_32(place, value)
  case .fetchAdd: r[b] = UInt64(skep_fetch_add_32(place, value))
  case .fetchOr: r[b] = UInt64(skep_fetch_or_32(place, value))
  case .fetchAnd: r[b] = UInt64(skep_fetch_and_32(place, value))
  case .fetchXor: r[b] = UInt64(skep_fetch_xor_32(place, value))
  case .exchange: r[b] = UInt64(skep_exchange_32(place, value))
  case .compareExchange: r[0] = UInt64(skep_compare_exchange_32(place, lowHalf(r[0]), value))
  default: acquireOrRelease(step, r, place)
  }
}

/// Loads put what they find into `b`; the place is of `a` for both.
private func acquireOrRelease(
  _ step: UnsafePointer<skep_step>, _ r: UnsafeMutablePointer<UInt64>, _ place: UnsafeMutableRawPointer
) {
  let b = Int(step.pointee.b)
  switch unsafeBitCast(step.pointee.c, to: InterpreterAtomic.self) {
  case .loadAcquire8:
    r[b] = UInt64(place.load(as: UInt8.self))
    skep_fence()
  case .loadAcquire16:
    r[b] = UInt64(place.loadUnaligned(as: UInt16.self))
    skep_fence()
  case .loadAcquire32: r[b] = UInt64(skep_load_acquire_32(place))
  case .loadAcquire64: r[b] = skep_load_acquire_64(place)
  case .storeRelease8:
    skep_fence()
    place.storeBytes(of: UInt8(truncatingIfNeeded: r[b]), as: UInt8.self)
  case .storeRelease16:
    skep_fence()
    place.storeBytes(of: UInt16(truncatingIfNeeded: r[b]), as: UInt16.self)
  case .storeRelease32: skep_store_release_32(place, lowHalf(r[b]))
  case .storeRelease64: skep_store_release_64(place, r[b])
  default: break
  }
}
