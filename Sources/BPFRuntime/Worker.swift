import BPFMaps
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// One CPU of a machine, as far as programs can tell: it runs one program at a time, on whatever thread asks it to.
///
/// Its `skep_run` is what helpers get; per-CPU maps are indexed by its `cpu`.
public final class Worker: @unchecked Sendable {
  public let machine: Machine
  public let run: UnsafeMutablePointer<skep_run>
  public let cpu: Int
  /// Frames of the interpreter: registers and stack of each function that is running.
  let frames: UnsafeMutableRawPointer
  private var randomState: UInt64

  init(machine: Machine, cpu: Int) {
    self.machine = machine
    self.cpu = cpu
    run = machine.maps.makeRun(cpu: cpu)
    // Memory of zeros, of which only what is used is really taken.
    frames = calloc(InterpreterFrame.count, InterpreterFrame.size)
    var generator = SystemRandomNumberGenerator()
    randomState = (machine.surroundings.seed ?? generator.next()) &+ UInt64(truncatingIfNeeded: cpu) &* 0x9e37_79b9
    run.pointee.worker = Unmanaged.passUnretained(self).toOpaque()
    run.pointee.scratch.0 = firstFrame
    run.pointee.scratch.1 = UInt64(UInt(bitPattern: frames + InterpreterFrame.count * InterpreterFrame.size))
  }

  /// Where the first function's frame is: one that nobody uses lies before it, for what it returns.
  var firstFrame: UInt64 { UInt64(UInt(bitPattern: frames + InterpreterFrame.size)) }

  deinit {
    machine.maps.releaseRun(run)
    free(frames)
  }

  /// The worker whose run this is.
  public static func of(_ run: UnsafeMutablePointer<skep_run>) -> Worker {
    Unmanaged<Worker>.fromOpaque(run.pointee.worker).takeUnretainedValue()
  }

  /// A number that programs cannot foresee (SplitMix64).
  public func nextRandom() -> UInt64 {
    randomState = randomState &+ 0x9e37_79b9_7f4a_7c15
    var z = randomState
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  /// Makes what runs now end soon; may be called from any thread. Holds until `resume`.
  public func stop() { setStop(1) }

  /// Takes `stop` back.
  public func resume() { setStop(0) }

  private func setStop(_ value: UInt32) {
    skep_store_relaxed_32(UnsafeMutableRawPointer(run) + Self.stopOffset, value)
  }

  private static let stopOffset = MemoryLayout<skep_run>.offset(of: \.stop_requested) ?? 0

  public var isStopped: Bool { run.pointee.stop_requested != 0 }
}
