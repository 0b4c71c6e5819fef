import BPFExplain
import BPFISA
import BPFKernel
import BPFLinux
import BPFObject
import BPFVerifier
import BTF
import Dispatch
import Synchronization

/// Checks programs of objects, several at a time.
///
///     var checker = Checker(linux: try Linux.running())
///     for program in checker.check(try ObjectFile(path: "prog.bpf.o")) { print(program.name, program.verdict) }
public struct Checker: Sendable {
  /// Who decides.
  public enum Engine: Sendable {
    case user
    /// The running kernel's own verifier.
    case kernel(KernelEngine)
  }

  /// A program type given by the caller, in place of what the section's name says.
  public struct TypeOverride: Sendable, Hashable {
    public var type: ProgramType
    public var attachType: AttachType

    public init(_ type: ProgramType, _ attachType: AttachType = .none) {
      self.type = type
      self.attachType = attachType
    }

    /// From libbpf's name of a type (`sched_cls`), or a section name, which may say the attach type too
    /// (`cgroup/bind4`); nil where it is neither.
    public init?(name: String) {
      if let type = ProgramType(name: name), type != .unspec {
        self.init(type)
      } else if let convention = SectionConvention.find(name) {
        self.init(convention.type, convention.attachType)
      } else {
        return nil
      }
    }
  }

  public var linux: Linux
  public var engine = Engine.user
  public var options = VerifierOptions()
  public var linkOptions = LinkOptions()
  public var typeOverride: TypeOverride?
  /// Only programs of these names; all where empty.
  public var names: Set<String> = []
  /// How many programs are verified at the same time.
  public var parallelism = 1
  /// Whether the programs that `check` returns have their logs still, or only those that are reported.
  public var keepsLogs = true

  public init(linux: Linux) {
    self.linux = linux
  }

  /// Every program of `object` in the object's order.
  public func check(_ object: ObjectFile) -> [CheckedProgram] {
    check([object])
  }

  /// Every program of every object, in order. Each is handed to `report` as soon as those before it are done.
  public func check(_ objects: [ObjectFile], report: @Sendable (CheckedProgram) -> Void = { _ in })
    -> [CheckedProgram]
  {
    let sources = objects.map { Source($0, checker: self) }
    let tasks = sources.flatMap { source in
      source.object.programs.indices.filter { names.isEmpty || names.contains(source.object.programs[$0].name) }
        .map { (source: source, program: $0) }
    }
    let results = Mutex<(done: [CheckedProgram?], reported: Int)>((Array(repeating: nil, count: tasks.count), 0))
    let next = Atomic<Int>(0)
    DispatchQueue.concurrentPerform(iterations: max(1, min(parallelism, tasks.count))) { _ in
      while true {
        let index = next.add(1, ordering: .relaxed).oldValue
        guard index < tasks.count else { return }
        let result = check(tasks[index].source, tasks[index].program)
        results.withLock { state in
          state.done[index] = result
          while state.reported < tasks.count, let ready = state.done[state.reported] {
            report(ready)
            if !keepsLogs { state.done[state.reported] = ready.withoutLog }
            state.reported += 1
          }
        }
      }
    }
    return results.withLock { $0.done.compactMap { $0 } }
  }

  private func check(_ source: Source, _ index: Int) -> CheckedProgram {
    let linked = source.linker.value.link(index)
    let file = CheckedProgram.fileName(source.object.path)
    func unloadable(_ errno: Int32, _ reason: String) -> CheckedProgram {
      CheckedProgram(
        file: file, name: linked.name, section: linked.sectionName, type: linked.type,
        outcome: .unloadable(errno: errno, reason: reason))
    }
    switch linked.result {
    case .failure(let error): return unloadable(error.errno, error.message)
    case .success(let program):
      for earlier in linked.prerequisites {
        guard let errno = source.refusals[earlier].value else { continue }
        let name = source.object.programs[earlier].name
        return unloadable(errno, "prog '\(name)', which is loaded with it, is refused")
      }
      return check(program, file: file, section: linked.sectionName, name: linked.name)
    }
  }

  /// One program that came from anywhere.
  ///
  /// - Parameter name: its full name, of which the kernel keeps 15 bytes.
  public func check(_ program: Program, file: String, section: String = "", name: String? = nil) -> CheckedProgram {
    var program = program
    if let typeOverride {
      program.type = typeOverride.type
      program.expectedAttachType = typeOverride.attachType
    }
    let found: (CheckedProgram.Outcome, VerifierStatistics, [UInt8])
    switch engine {
    case .user: found = verify(&program)
    case .kernel(let kernel): found = ask(kernel, program)
    }
    return CheckedProgram(
      file: file, name: name ?? program.name, section: section, type: program.type, outcome: found.0,
      statistics: found.1, log: found.2, program: program)
  }

  private func verify(_ program: inout Program) -> (CheckedProgram.Outcome, VerifierStatistics, [UInt8]) {
    do throws(LoadError) {
      try ProgramRules.checkLoad(program, linux: linux)
    } catch {
      return (.unloadable(errno: error.errno.rawValue, reason: error.description), VerifierStatistics(), [])
    }
    program.expectedAttachType = ProgramRules.effectiveAttachType(program.type, program.expectedAttachType)
    let verdict = Verifier.verify(program, on: linux, options: options)
    switch verdict.result {
    case .success(let verified): return (.accepted(verified), verdict.statistics, verdict.log)
    case .failure(let rejection): return (.refused(rejection), verdict.statistics, verdict.log)
    }
  }

  private func ask(_ kernel: KernelEngine, _ program: Program)
    -> (CheckedProgram.Outcome, VerifierStatistics, [UInt8])
  {
    do {
      let verdict = try kernel.verify(program, logLevel: options.logLevel)
      var statistics = VerifierStatistics()
      statistics.instructions = verdict.instructions
      statistics.totalStates = verdict.totalStates
      statistics.peakStates = verdict.peakStates
      statistics.microseconds = verdict.microseconds
      if verdict.isAccepted { return (.acceptedByKernel, statistics, verdict.log) }
      if verdict.reachedVerifier {
        return (.refusedByKernel(Errno(rawValue: verdict.errno)), statistics, verdict.log)
      }
      let reason = String(decoding: verdict.log, as: UTF8.self).split(separator: "\n").last.map(String.init)
      let errno = Errno(rawValue: verdict.errno)
      return (.unloadable(errno: verdict.errno, reason: reason ?? "bpf(2) answers \(errno)"), statistics, verdict.log)
    } catch {
      return (.unloadable(errno: error.errno.rawValue, reason: error.description), VerifierStatistics(), [])
    }
  }

  /// The log of a refused program at level 1. Verifies it again where it was checked without a log.
  public func failureLog(_ program: CheckedProgram) -> [UInt8] {
    guard program.log.isEmpty, let request = program.program else { return program.log }
    if case .refused(let rejection) = program.outcome {
      return Verifier.log(of: rejection, request, on: linux, limit: 1 << 20)
    }
    var again = self
    again.typeOverride = nil
    again.options.logLevel = 1
    again.options.logLimit = 1 << 20
    return again.check(request, file: program.file).log
  }

  /// Why a program was refused; nil where it was not, or never reached the verifier.
  public func diagnosis(of program: CheckedProgram) -> Diagnosis? {
    guard let request = program.program else { return nil }
    switch program.outcome {
    case .refused(let rejection): return Diagnostician.diagnose(Subject(rejection, of: request, on: linux))
    case .refusedByKernel(let errno):
      return Subject(log: failureLog(program), errno: errno.rawValue, program: request, linux: linux)
        .map(Diagnostician.diagnose)
    case .accepted, .acceptedByKernel, .unloadable: return nil
    }
  }
}

/// An object on its way, with what its programs share.
private final class Source: Sendable {
  let object: ObjectFile
  let linker: Lazy<Linker>
  /// By program: the errno with which loading it alone fails; nil where it loads.
  let refusals: [Lazy<Int32?>]

  init(_ object: ObjectFile, checker: Checker) {
    self.object = object
    var maker = checker.linux
    // Capabilities are those of `BPF_PROG_LOAD`: maps and types may come from a process that has more.
    maker.capabilities = .all
    let linker = Lazy { [maker] in Linker(object, linux: maker, options: checker.linkOptions) }
    self.linker = linker
    var quiet = checker
    quiet.options.logLevel = 0
    refusals = object.programs.indices.map { [quiet] index in
      Lazy {
        switch linker.value.link(index).result {
        case .failure(let error): return error.errno
        case .success(let program):
          let errno = quiet.check(program, file: "").errno
          return errno == 0 ? nil : errno
        }
      }
    }
  }
}

/// A value made when it is first asked for, once.
private final class Lazy<Value: Sendable>: Sendable {
  private let make: @Sendable () -> Value
  private let made = Mutex<Value?>(nil)

  init(_ make: @escaping @Sendable () -> Value) { self.make = make }

  var value: Value {
    made.withLock { made in
      if let made { return made }
      let value = make()
      made = value
      return value
    }
  }
}

/// The last part of a path.
private func baseName(_ path: String) -> String {
  path.split(separator: "/").last.map(String.init) ?? path
}
