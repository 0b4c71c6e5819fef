import BPFKernel
import BPFLinux
import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Many random programs, held against the running kernel on all processors.
public final class FuzzCampaign: Sendable {
  /// What a run is to do.
  public struct Plan: Sendable {
    public var seed: UInt64 = 1
    /// The first program's index in the run that the seed stands for.
    public var start = 0
    public var count = 10_000
    /// Nil: as long as it takes.
    public var seconds: Double?
    public var jobs = 1
    /// Of every program; nil: of a sample, at levels 1 and 2 by turns.
    public var logLevel: UInt32?
    /// One program in that many is held against the kernel with its log.
    public var logSample = 4
    /// Slots that a program has at least.
    public var minimumInstructions = 30
    /// Programs that take Skep more instructions than `longest` are many of one kind, and the kernel seconds each:
    /// of them it is asked about one in that many.
    public var longSample = 10
    public var longest = 50_000
    public var usesKernel = true
    /// Differences that are made small; the rest are only counted.
    public var minimized = 40

    public init() {}

    /// The level at which logs of program `index` are compared.
    func logLevel(of index: Int) -> UInt32 {
      if let logLevel { return logLevel }
      guard logSample > 0, index % logSample == 0 else { return 0 }
      return index / logSample % 2 == 0 ? 2 : 1
    }
  }

  /// What a run has found, so far or in all.
  public struct Summary: Sendable {
    public var programs = 0
    public var accepted = 0
    public var instructionsInPrograms = 0
    public var instructionsProcessed = 0
    /// Programs that were held against the kernel.
    public var compared = 0
    /// Those among them whose logs were too.
    public var logs = 0
    /// Programs that the kernel was not asked about for their length.
    public var long = 0
    /// Programs that the kernel was not asked about: it did not take them.
    public var unanswered = 0
    public var differences: [FuzzDifference.Kind: Int] = [:]
    /// By program type.
    public var types: [String: (programs: Int, accepted: Int)] = [:]
    /// By category, of the programs that Skep refused.
    public var refusals: [String: Int] = [:]
    public var userMicroseconds = 0
    public var kernelMicroseconds = 0
    public var seconds = 0.0
    /// The program that took most instructions, and how many.
    public var longest = (index: 0, instructions: 0)

    public var rate: Double { seconds > 0 ? Double(programs) / seconds : 0 }
    public var differing: Int { differences.values.reduce(0, +) }

    mutating func add(_ other: Summary) {
      programs += other.programs
      accepted += other.accepted
      instructionsInPrograms += other.instructionsInPrograms
      instructionsProcessed += other.instructionsProcessed
      compared += other.compared
      logs += other.logs
      long += other.long
      unanswered += other.unanswered
      for (type, count) in other.types {
        types[type, default: (0, 0)].programs += count.programs
        types[type, default: (0, 0)].accepted += count.accepted
      }
      differences.merge(other.differences, uniquingKeysWith: +)
      refusals.merge(other.refusals, uniquingKeysWith: +)
      if other.longest.instructions > longest.instructions { longest = other.longest }
      userMicroseconds += other.userMicroseconds
      kernelMicroseconds += other.kernelMicroseconds
    }
  }

  /// A difference, found and made small.
  public struct Finding: Sendable {
    public let index: Int
    public let original: FuzzCase
    public let minimized: FuzzCase
    /// Of the minimised case.
    public let difference: FuzzDifference
  }

  private struct Progress {
    var next = 0
    var summary = Summary()
    var minimized = 0
    var failure: KernelEngineError?
  }

  private static let batch = 32
  /// Instructions; what takes more is held against the kernel without its log.
  private static let longestLogged = 10_000

  public let plan: Plan
  private let surroundings: FuzzSurroundings
  private let progress = Mutex(Progress())
  private let report: @Sendable (Finding) -> Void
  private let clock = ContinuousClock()
  private let began: ContinuousClock.Instant

  /// - Parameter report: called on the thread that found it.
  public init(_ plan: Plan, in surroundings: FuzzSurroundings, report: @escaping @Sendable (Finding) -> Void) {
    self.plan = plan
    self.surroundings = surroundings
    self.report = report
    began = clock.now
  }

  /// What was found so far.
  public var summary: Summary {
    var summary = progress.withLock { $0.summary }
    summary.seconds = elapsed
    return summary
  }

  private var elapsed: Double {
    let spent = began.duration(to: clock.now).components
    return Double(spent.seconds) + Double(spent.attoseconds) / 1e18
  }

  /// Runs it all.
  public func run() throws(KernelEngineError) -> Summary {
    FuzzCrash.prepare(jobs: plan.jobs)
    var threads: [pthread_t] = []
    for job in 1..<max(1, plan.jobs) {
      let start = Unmanaged.passRetained(Start(campaign: self, job: job))
      #if canImport(Glibc) || canImport(Musl)
      var thread = pthread_t()
      let failed = pthread_create(&thread, nil, { argument in
        guard let argument else { return nil }
        let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        start.campaign.work(start.job)
        return nil
      }, start.toOpaque())
      if failed == 0 { threads.append(thread) } else { start.release() }
      #endif
    }
    work(0)
    for thread in threads { pthread_join(thread, nil) }
    if let failure = progress.withLock({ $0.failure }) { throw failure }
    return summary
  }

  private final class Start {
    let campaign: FuzzCampaign
    let job: Int
    init(campaign: FuzzCampaign, job: Int) {
      self.campaign = campaign
      self.job = job
    }
  }

  private func work(_ job: Int) {
    let comparer: FuzzComparer
    do throws(KernelEngineError) {
      comparer = try FuzzComparer(surroundings, withKernel: plan.usesKernel)
    } catch {
      progress.withLock { $0.failure = error }
      return
    }
    while true {
      let first = progress.withLock { progress in
        defer { progress.next += Self.batch }
        return progress.next
      }
      if first >= plan.count { return }
      if let limit = plan.seconds, elapsed >= limit { return }
      var tally = Summary()
      for index in first..<min(first + Self.batch, plan.count) {
        check(plan.start + index, comparer, job, &tally)
      }
      progress.withLock { $0.summary.add(tally) }
    }
  }

  private func check(_ index: Int, _ comparer: FuzzComparer, _ job: Int, _ tally: inout Summary) {
    let seed = RandomSource.seed(of: index, run: plan.seed)
    FuzzCrash.note(job: job, index: index)
    var fuzzCase = FuzzCase(
      seed: seed, in: surroundings, logLevel: 0, minimumInstructions: plan.minimumInstructions)
    var user = comparer.user(fuzzCase)
    let level = plan.logLevel(of: index)
    if level > 0 && plan.usesKernel && user.instructions <= Self.longestLogged {
      fuzzCase.logLevel = level
      user = comparer.user(fuzzCase)
    }
    tally.programs += 1
    let isAccepted = user.isAccepted
    tally.types[fuzzCase.program.type.name, default: (0, 0)].programs += 1
    tally.types[fuzzCase.program.type.name, default: (0, 0)].accepted += isAccepted ? 1 : 0
    tally.instructionsInPrograms += fuzzCase.program.instructions.count
    tally.instructionsProcessed += user.instructions
    tally.userMicroseconds += user.microseconds
    if user.instructions > tally.longest.instructions { tally.longest = (index, user.instructions) }
    if user.isAccepted { tally.accepted += 1 } else { tally.refusals[user.category ?? "", default: 0] += 1 }
    guard plan.usesKernel else { return }
    if user.instructions > plan.longest && plan.longSample > 1 && index % plan.longSample != 0 {
      tally.long += 1
      return
    }
    guard let kernel = comparer.kernel(fuzzCase) else {
      tally.unanswered += 1
      return
    }
    tally.compared += 1
    if fuzzCase.logLevel > 0 { tally.logs += 1 }
    tally.kernelMicroseconds += kernel.microseconds
    // What the machine is set to may have changed between the two answers.
    guard FuzzDifference.between(user: user, kernel: kernel) != nil,
      let difference = comparer.difference(fuzzCase)
    else { return }
    tally.differences[difference.kind, default: 0] += 1
    let isMinimized = progress.withLock { progress in
      progress.minimized += 1
      return progress.minimized <= plan.minimized
    }
    guard isMinimized else { return }
    let minimized = Minimizer.minimize(fuzzCase, differingIn: difference.kind, with: comparer)
    report(
      Finding(
        index: index, original: fuzzCase, minimized: minimized,
        difference: comparer.difference(minimized) ?? difference))
  }
}

/// Says which programs were being verified when the process dies of it.
enum FuzzCrash {
  nonisolated(unsafe) private static var current: UnsafeMutablePointer<Int>?
  nonisolated(unsafe) private static var count = 0

  static func prepare(jobs: Int) {
    guard current == nil else { return }
    let places = UnsafeMutablePointer<Int>.allocate(capacity: max(1, jobs))
    places.initialize(repeating: -1, count: max(1, jobs))
    current = places
    count = max(1, jobs)
    for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT] {
      signal(number) { number in
        FuzzCrash.tell()
        signal(number, SIG_DFL)
        raise(number)
      }
    }
  }

  static func note(job: Int, index: Int) {
    if job < count { current?[job] = index }
  }

  private static func tell() {
    guard let current else { return }
    for job in 0..<count where current[job] >= 0 {
      var text = Array("skep fuzz: crashed at program ".utf8)
      var digits: [UInt8] = []
      var rest = current[job]
      repeat {
        digits.append(UInt8(truncatingIfNeeded: 48 + rest % 10))
        rest /= 10
      } while rest > 0
      text += digits.reversed()
      text.append(10)
      _ = write(2, text, text.count)
    }
  }
}
