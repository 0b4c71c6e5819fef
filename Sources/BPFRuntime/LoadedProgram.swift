import BPFLinux
import BPFMaps
import BPFVerifier
import CBPFRuntime

/// A program that is ready to run.
public final class LoadedProgram: @unchecked Sendable {
  public let linked: LinkedProgram
  public let executable: any Executable
  public let engine: String
  /// What tail calls and hooks enter.
  public let header: UnsafeMutablePointer<skep_program>

  /// Prepares a linked program for an engine; throws what keeps the engine from it.
  public init(_ linked: LinkedProgram, engine: Engine = .interpreter) throws {
    let executable = try engine.prepare(linked)
    self.linked = linked
    self.executable = executable
    self.engine = engine.name
    header = .allocate(capacity: 1)
    header.initialize(to: skep_program())
    header.pointee.entry = executable.entry
    header.pointee.code = executable.code
    header.pointee.object = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit { header.deallocate() }

  /// The program whose header this is.
  public static func of(_ header: UnsafePointer<skep_program>) -> LoadedProgram {
    Unmanaged<LoadedProgram>.fromOpaque(header.pointee.object).takeUnretainedValue()
  }

  /// Runs the program once.
  ///
  /// - Returns: all 64 bits of r0; most types of program use the lower 32.
  public func run(on worker: Worker, _ context: RunContext) -> UInt64 {
    let run = worker.run
    worker.machine.maps.begin(run)
    enter(run, worker, context)
    let value = executable.entry(context.address, run, header)
    leave(run)
    worker.machine.maps.end(run)
    return value
  }

  /// Runs the program again and again on the same context, as it was left by the run before.
  ///
  /// - Returns: the value of the last run, and the time that one took on average.
  public func run(
    on worker: Worker, _ context: RunContext, repeat count: Int
  ) -> (value: UInt64, nanosecondsPerRun: UInt64) {
    let run = worker.run
    let maps = worker.machine.maps
    let entry = executable.entry
    let address = context.address
    var value: UInt64 = 0
    var done = 0
    var nanoseconds: UInt64 = 0
    enter(run, worker, context)
    while done < count && run.pointee.stop_requested == 0 {
      let batch = min(count - done, 1024)
      let start = Surroundings.systemTime(.monotonic)
      maps.begin(run)
      for _ in 0..<batch {
        run.pointee.tail_calls = 0
        value = entry(address, run, header)
        guard run.pointee.stop_requested == 0 else { break }
      }
      maps.end(run)
      nanoseconds &+= Surroundings.systemTime(.monotonic) &- start
      done += batch
    }
    leave(run)
    return (value, nanoseconds / UInt64(max(done, 1)))
  }

  /// Calls a function of the program by the value that a register holds for it: a timer's callback, for one.
  public func call(
    _ function: UInt64, on worker: Worker, _ a1: UInt64 = 0, _ a2: UInt64 = 0, _ a3: UInt64 = 0, _ a4: UInt64 = 0,
    _ a5: UInt64 = 0
  ) -> UInt64 {
    let run = worker.run
    worker.machine.maps.begin(run)
    enter(run, worker, nil)
    run.pointee.invoke = executable.invoke
    let value = executable.invoke(run, function, a1, a2, a3, a4, a5)
    leave(run)
    worker.machine.maps.end(run)
    return value
  }

  private func enter(_ run: UnsafeMutablePointer<skep_run>, _ worker: Worker, _ context: RunContext?) {
    run.pointee.tail_calls = 0
    run.pointee.unwinding = 0
    run.pointee.context = context?.block
    run.pointee.environment = context.map { Unmanaged.passUnretained($0).toOpaque() }
    run.pointee.program = UnsafePointer(header)
    run.pointee.scratch.0 = worker.firstFrame
  }

  private func leave(_ run: UnsafeMutablePointer<skep_run>) {
    run.pointee.unwinding = 0
    run.pointee.program = nil
    run.pointee.context = nil
    run.pointee.environment = nil
  }
}
