import CBPFRuntime

// Each step of a program is a call of a function that does the step and then calls the function of the next one. In
// optimised builds such a call is a jump, the registers of the machine keep what is passed along, and each jump has a
// place of its own to be predicted by. Builds for debugging, where calls are calls, come back to a loop after each
// step.
//
// The functions work on nothing but raw memory: registers lie in the frame, steps are read where they are, and nothing
// is counted, checked or allocated.

/// Runs from `start` to the end of the function that `frame` belongs to.
///
/// - Returns: r0; of no meaning where `unwinding` of the run is set.
func interpret(
  _ start: UnsafePointer<skep_step>, _ frame: UnsafeMutablePointer<UInt64>, _ run: UnsafeMutablePointer<skep_run>
) -> UInt64 {
  #if DEBUG || !(arch(x86_64) || arch(arm64))
  run.pointee.scratch.2 = bits(of: start)
  run.pointee.scratch.3 = bits(of: frame)
  while true {
    let step = place(run.pointee.scratch.2).assumingMemoryBound(to: skep_step.self)
    let registers = writablePlace(run.pointee.scratch.3).assumingMemoryBound(to: UInt64.self)
    let value = step.pointee.handler.unsafelyUnwrapped(step, registers, run)
    if run.pointee.scratch.2 == 0 { return value }
  }
  #else
  return start.pointee.handler.unsafelyUnwrapped(start, frame, run)
  #endif
}

/// Goes on with a step. What calls this must do nothing after it.
@inline(__always)
func next(
  _ step: UnsafePointer<skep_step>, _ registers: UnsafeMutablePointer<UInt64>, _ run: UnsafeMutablePointer<skep_run>
) -> UInt64 {
  #if DEBUG || !(arch(x86_64) || arch(arm64))
  run.pointee.scratch.2 = bits(of: step)
  run.pointee.scratch.3 = bits(of: registers)
  return 0
  #else
  return step.pointee.handler.unsafelyUnwrapped(step, registers, run)
  #endif
}

/// Ends what `interpret` began.
@inline(__always)
func finish(_ value: UInt64, _ run: UnsafeMutablePointer<skep_run>) -> UInt64 {
  #if DEBUG || !(arch(x86_64) || arch(arm64))
  run.pointee.scratch.2 = 0
  #endif
  return value
}

/// The functions that carry out steps.
enum InterpreterHandlers {
  static func of(_ operation: InterpreterOperation) -> skep_step_handler? { table[Int(operation.rawValue)] }

  private static let table: [skep_step_handler?] = {
    var table = [skep_step_handler?](repeating: nil, count: InterpreterOperation.allCases.count)
    for operation in InterpreterOperation.allCases {
      table[Int(operation.rawValue)] =
        arithmetic(operation) ?? jump(operation) ?? memory(operation) ?? call(operation) ?? fused(operation)
    }
    return table
  }()
}

extension skep_step {
  init(_ step: InterpreterStep) {
    self.init(
      handler: InterpreterHandlers.of(step.op), a: step.a, b: step.b, c: step.c, reserved: 0, offset: step.offset,
      immediate: step.immediate)
  }
}

extension UnsafePointer<skep_step> {
  @inline(__always) var a: Int { Int(pointee.a) }
  @inline(__always) var b: Int { Int(pointee.b) }
  @inline(__always) var c: Int { Int(pointee.c) }
  @inline(__always) var immediate: UInt64 { pointee.immediate }

  @inline(__always) var target: Self {
    (UnsafeRawPointer(self) + Int(pointee.offset)).assumingMemoryBound(to: skep_step.self)
  }

  @inline(__always) func source(_ r: UnsafeMutablePointer<UInt64>) -> UnsafeRawPointer {
    place(r[b] &+ UInt64(bitPattern: Int64(pointee.offset)))
  }

  @inline(__always) func plainIndexedSource(_ r: UnsafeMutablePointer<UInt64>) -> UnsafeRawPointer {
    place(r[b] &+ r[c])
  }

  @inline(__always) func displacedSource(_ r: UnsafeMutablePointer<UInt64>) -> UnsafeRawPointer {
    place(r[b] &+ immediate)
  }

  @inline(__always) func indexedSource(_ r: UnsafeMutablePointer<UInt64>) -> UnsafeRawPointer {
    place(r[b] &+ r[c] &+ UInt64(bitPattern: Int64(pointee.offset)))
  }

  @inline(__always) func destination(_ r: UnsafeMutablePointer<UInt64>) -> UnsafeMutableRawPointer {
    writablePlace(r[a] &+ UInt64(bitPattern: Int64(pointee.offset)))
  }

  @inline(__always) func copyDestination(_ r: UnsafeMutablePointer<UInt64>) -> UnsafeMutableRawPointer {
    writablePlace(r[a] &+ immediate)
  }

  @inline(__always) var function: RuntimeFunction.Body {
    unsafeBitCast(UInt(truncatingIfNeeded: immediate), to: RuntimeFunction.Body.self)
  }
}

@inline(__always) func lowHalf(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value) }
@inline(__always) func asSigned(_ value: UInt64) -> Int64 { Int64(bitPattern: value) }
@inline(__always) func asSigned(_ value: UInt32) -> Int32 { Int32(bitPattern: value) }

@inline(__always) func place(_ address: UInt64) -> UnsafeRawPointer {
  UnsafeRawPointer(bitPattern: UInt(truncatingIfNeeded: address)).unsafelyUnwrapped
}

@inline(__always) func writablePlace(_ address: UInt64) -> UnsafeMutableRawPointer {
  UnsafeMutableRawPointer(bitPattern: UInt(truncatingIfNeeded: address)).unsafelyUnwrapped
}

@inline(__always) func bits<T>(of pointer: UnsafeMutablePointer<T>) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }
@inline(__always) func bits<T>(of pointer: UnsafePointer<T>) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }
