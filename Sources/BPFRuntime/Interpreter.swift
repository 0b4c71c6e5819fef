import CBPFRuntime

/// A program as the interpreter runs it.
///
/// The instructions are translated once into steps (`skep_step`) that are cheaper to tell apart and carry out:
/// targets of jumps are resolved, immediates extended, and what compilers write as several instructions (rotations,
/// indexed loads, the end of a loop) is one step.
final class Interpreter: Executable, @unchecked Sendable {
  /// Kept for what its addresses are in the steps.
  let linked: LinkedProgram
  private let steps: UnsafeMutablePointer<skep_step>
  private let start: UnsafeMutablePointer<InterpreterEntry>
  let stepCount: Int

  init(_ linked: LinkedProgram) {
    self.linked = linked
    var translation = InterpreterTranslation(linked)
    translation.translate()
    stepCount = translation.count
    steps = .allocate(capacity: max(1, translation.count))
    translation.place(into: steps)
    start = .allocate(capacity: 1)
    let callback = linked.proof.exceptionCallback.map { UnsafePointer(steps + translation.functionStarts[$0]) }
    start.initialize(to: InterpreterEntry(main: UnsafePointer(steps), exceptionCallback: callback))
  }

  deinit {
    steps.deallocate()
    start.deallocate()
  }

  var code: UnsafeRawPointer? { UnsafeRawPointer(start) }
  var entry: skep_entry { enterInterpreter }
  var invoke: skep_invoke { invokeInterpreted }
}

/// Where the interpreter's next frame goes on this run.
@inline(__always)
private func nextFrame(_ run: UnsafeMutablePointer<skep_run>) -> UnsafeMutablePointer<UInt64> {
  writablePlace(run.pointee.scratch.0).assumingMemoryBound(to: UInt64.self)
}

private let enterInterpreter: skep_entry = { context, run, program in
  guard let run, let program, let code = program.pointee.code else { return 0 }
  let start = code.assumingMemoryBound(to: InterpreterEntry.self)
  let frame = nextFrame(run)
  // Tail calls come here while another program runs, perhaps another engine's.
  let outer = (run.pointee.invoke, run.pointee.program)
  run.pointee.invoke = invokeInterpreted
  run.pointee.program = program
  defer {
    run.pointee.scratch.0 = bits(of: frame)
    run.pointee.invoke = outer.0
    run.pointee.program = outer.1
  }
  guard bits(of: frame + InterpreterFrame.words) <= run.pointee.scratch.1 else { return overflow(run) }
  frame[10] = bits(of: frame + InterpreterFrame.words)
  frame[1] = context
  frame[InterpreterFrame.returnStep] = bits(of: interpreterLeave)
  let value = interpret(start.pointee.main, frame, run)
  guard run.pointee.unwinding != 0 else { return value }
  let cookie = run.pointee.exception_value
  run.pointee.unwinding = 0
  guard let callback = start.pointee.exceptionCallback else { return cookie }
  frame[1] = cookie
  frame[InterpreterFrame.returnStep] = bits(of: interpreterLeave)
  return interpret(callback, frame, run)
}

private let invokeInterpreted: skep_invoke = { run, function, a1, a2, a3, a4, a5 in
  guard let run else { return 0 }
  let frame = nextFrame(run)
  guard bits(of: frame + InterpreterFrame.words) <= run.pointee.scratch.1 else { return overflow(run) }
  frame[10] = bits(of: frame + InterpreterFrame.words)
  frame[1] = a1
  frame[2] = a2
  frame[3] = a3
  frame[4] = a4
  frame[5] = a5
  frame[InterpreterFrame.returnStep] = bits(of: interpreterLeave)
  let value = interpret(place(function).assumingMemoryBound(to: skep_step.self), frame, run)
  run.pointee.scratch.0 = bits(of: frame)
  return value
}
