import BPFISA
import BPFJIT
import BPFLinux
import BPFMaps
import BPFRuntime
import BPFVerifier
import BTF

/// A program that the verifier accepted.
///
/// Loading is the verdict alone. What else is asked of a program is made when it is asked for the first time: the
/// rewritten instructions, the form that runs, its machine code.
public final class ProgramObject: SystemObject, @unchecked Sendable {
  let program: Program
  let verified: VerifiedProgram
  let types: TypesObject?
  /// The types that `attach_btf_id` is of; nil for a program's or none.
  let attachTypes: TypesObject?
  let attachProgram: ProgramObject?
  let tag: [UInt8]
  let loadTime: UInt64
  let user: UInt32
  let verifiedInstructions: UInt32
  private let programMaps: [MapObject]
  private let lock = Lock()
  private var bound: [MapObject] = []
  private var known: Result<RewrittenProgram, Rejection>?
  private var runnable: Result<Runnable, UnrunnableError>?
  private var runs: (count: UInt64, nanoseconds: UInt64) = (0, 0)
  /// Last, so that it goes after what lives in it.
  let machine: Machine

  /// A program that runs here.
  struct Runnable: Sendable {
    let loaded: LoadedProgram
    let contextExtent: Int
    let code: CompiledProgram?
  }

  /// Why a program does not run in user space.
  struct UnrunnableError: Error, Sendable {
    let message: String
  }

  init(
    id: UInt32, _ verified: VerifiedProgram, maps: [MapObject], types: TypesObject?, attachTypes: TypesObject?,
    attachProgram: ProgramObject?, tag: [UInt8], user: UInt32, verifiedInstructions: UInt32, machine: Machine
  ) {
    program = verified.program
    self.verified = verified
    programMaps = maps
    self.types = types
    self.attachTypes = attachTypes
    self.attachProgram = attachProgram
    self.tag = tag
    self.user = user
    self.verifiedInstructions = verifiedInstructions
    self.machine = machine
    loadTime = bootTime()
    super.init(id: id)
  }

  public override var kindName: String { "bpf-prog" }

  /// The maps that the program uses, and those bound to it, in that order.
  var maps: [MapObject] { lock.locked { programMaps + bound } }

  func bind(_ map: MapObject) {
    lock.locked {
      guard !(programMaps + bound).contains(where: { $0.map === map.map }) else { return }
      bound.append(map)
    }
  }

  var runStatistics: (count: UInt64, nanoseconds: UInt64) { lock.locked { runs } }

  func countRuns(_ count: UInt64, nanoseconds: UInt64) {
    lock.locked {
      runs.count &+= count
      runs.nanoseconds &+= nanoseconds
    }
  }

  /// The program after Linux's passes.
  func rewritten(on linux: Linux) -> RewrittenProgram? {
    let result = lock.locked { () -> Result<RewrittenProgram, Rejection> in
      if let known { return known }
      let result = Result { () throws(Rejection) in try verified.rewritten(on: linux) }
      known = result
      return result
    }
    return try? result.get()
  }

  /// The program's runnable form; throws what keeps it from running here.
  func runnable(on linux: Linux) throws(UnrunnableError) -> Runnable {
    let result = lock.locked { () -> Result<Runnable, UnrunnableError> in
      if let runnable { return runnable }
      let result = Result { () throws(UnrunnableError) in try link() }
      runnable = result
      return result
    }
    return try result.get()
  }

  private func link() throws(UnrunnableError) -> Runnable {
    do {
      let linked = try LinkedProgram(verified, maps: programMaps.map(\.map), on: machine)
      let extent = TestRun.contextExtent(of: linked.proof)
      // The code is there to be shown; it is not right for every program yet, so the interpreter runs them.
      let code = try? JIT.compile(linked) as? CompiledProgram
      return Runnable(loaded: try LoadedProgram(linked), contextExtent: extent, code: code)
    } catch {
      throw UnrunnableError(message: "\(error)")
    }
  }
}
