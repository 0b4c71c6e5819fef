import CBPFRuntime

extension InterpreterHandlers {
  /// Calls, and whatever else leaves a function.
  static func call(_ operation: InterpreterOperation) -> skep_step_handler? {
    switch operation {
    case .call:
      { pc, r, run in
        r[0] = pc.function(r[1], r[2], r[3], r[4], r[5], run)
        return next(pc + 1, r, run)
      }
    case .callWithCallback:
      { pc, r, run in
        run.pointee.scratch.0 = bits(of: r + InterpreterFrame.words)
        r[0] = pc.function(r[1], r[2], r[3], r[4], r[5], run)
        return run.pointee.unwinding != 0 ? finish(0, run) : next(pc + 1, r, run)
      }
    case .mapLookup:
      { pc, r, run in
        let map = writablePlace(r[1]).assumingMemoryBound(to: skep_map.self)
        r[0] = map.pointee.lookup(map, place(r[2]), run)
        return next(pc + 1, r, run)
      }
    case .processor:
      { pc, r, run in
        r[0] = UInt64(run.pointee.cpu)
        return next(pc + 1, r, run)
      }
    case .subprogram:
      { pc, r, run in
        let frame = r + InterpreterFrame.words
        // Proved programs call no deeper than 8 functions.
        let end = bits(of: frame + InterpreterFrame.words)
        if end > run.pointee.scratch.1 { return finish(overflow(run), run) }
        frame[10] = end
        frame[1] = r[1]
        frame[2] = r[2]
        frame[3] = r[3]
        frame[4] = r[4]
        frame[5] = r[5]
        frame[InterpreterFrame.returnStep] = bits(of: pc + 1)
        return next(pc.target, frame, run)
      }
    case .exit:
      { _, r, run in
        let caller = r - InterpreterFrame.words
        caller[0] = r[0]
        return next(place(r[InterpreterFrame.returnStep]).assumingMemoryBound(to: skep_step.self), caller, run)
      }
    case .tailCall:
      { pc, r, run in
        run.pointee.scratch.0 = bits(of: r + InterpreterFrame.words)
        guard let program = tailCallTarget(r[2], lowHalf(r[3]), run) else { return next(pc + 1, r, run) }
        r[0] = program.pointee.entry(r[1], run, program)
        // What was called into returns for the function that called it.
        return next(interpreterExit, r, run)
      }
    case .throw:
      { _, r, run in
        run.pointee.exception_value = r[1]
        run.pointee.unwinding = 1
        return finish(0, run)
      }
    case .legacyLoad:
      { pc, r, run in
        let base = pc.c == 0 ? 0 : lowHalf(r[pc.b])
        let offset = UInt64(bitPattern: Int64(asSigned(base &+ lowHalf(pc.immediate))))
        let value = legacyLoad(pc, r[6], offset, run)
        let isInside = asSigned(value) >= 0
        r[0] = isInside ? value : 0
        // Where the packet is too short the function ends.
        return isInside ? next(pc + 2, r, run) : next(interpreterExit, r, run)
      }
    case .enterMayGoto:
      { pc, r, run in
        r[InterpreterFrame.mayGotoBudget] = 0xffff
        r[InterpreterFrame.mayGotoStart] = 0
        return next(pc + 1, r, run)
      }
    case .mayGoto:
      { pc, r, run in
        let budget = r[InterpreterFrame.mayGotoBudget]
        if budget > 1 && run.pointee.stop_requested == 0 {
          r[InterpreterFrame.mayGotoBudget] = budget &- 1
          return next(pc + 1, r, run)
        }
        return mayStillGo(r, run) ? next(pc + 1, r, run) : next(pc.target, r, run)
      }
    case .leave:
      { _, r, run in
        return finish(r[0], run)
      }
    case .unreachable:
      { _, _, run in
        return finish(overflow(run), run)
      }
    default: nil
    }
  }
}
