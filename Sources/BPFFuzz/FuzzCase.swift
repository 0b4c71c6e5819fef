import BPFISA
import BPFKernel
import BPFLinux
import BPFVerifier

/// A program and how it is loaded.
public struct FuzzCase: Sendable {
  public let seed: UInt64
  public var program: Program
  /// What the program attaches to, as golden cases name it.
  let target: String?
  /// Kernel functions by number.
  let functionNames: [Int32: String]
  /// No mistakes were made on purpose.
  public let isFlawless: Bool
  public var capabilities: Capabilities
  /// 0, 1 or 2; the counts are asked for in any case.
  public var logLevel: UInt32

  /// What the seed stands for.
  ///
  /// - Parameters:
  ///   - logLevel: 0 if not said.
  ///   - minimumInstructions: slots that the program has at least.
  public init(
    seed: UInt64, in surroundings: FuzzSurroundings, logLevel: UInt32? = nil, minimumInstructions: Int = 30
  ) {
    self.seed = seed
    var random = RandomSource(seed: ~seed)
    let isLimited = random.chance(12)
    (program, isFlawless, target) = ProgramGenerator.program(
      seed: seed, isLimited: isLimited, in: surroundings, least: minimumInstructions)
    functionNames = surroundings.kernelFunctionNames
    self.logLevel = logLevel ?? 0
    capabilities = .all
    if isLimited {
      switch program.type {
      case .kprobe, .tracepoint, .rawTracepoint, .perfEvent, .tracing, .syscall: break
      case .socketFilter, .cgroupSkb: capabilities = random.chance(50) ? [] : [.bpf, .netAdmin]
      default: capabilities = [.bpf, .netAdmin]
      }
    }
  }
}

/// What either side says of a case.
public struct FuzzAnswer: Sendable {
  public let isAccepted: Bool
  public let errno: Int32
  public let instructions: Int
  public let totalStates: Int
  public let peakStates: Int
  public let log: [UInt8]
  public let microseconds: Int
  /// What Skep's refusal is about.
  public var category: String?
}

/// Where Skep and the kernel say different things of a case.
public struct FuzzDifference: Sendable {
  public enum Kind: String, Sendable, CaseIterable {
    case verdict
    case errno
    case instructions
    case states
    case log
  }

  public let kind: Kind
  public let user: String
  public let kernel: String

  /// The first kind of difference, the gravest first.
  public static func between(user: FuzzAnswer, kernel: FuzzAnswer) -> FuzzDifference? {
    if user.isAccepted != kernel.isAccepted {
      return FuzzDifference(
        kind: .verdict, user: verdict(user), kernel: verdict(kernel))
    }
    if user.errno != kernel.errno {
      return FuzzDifference(kind: .errno, user: verdict(user), kernel: verdict(kernel))
    }
    if user.instructions != kernel.instructions {
      return FuzzDifference(kind: .instructions, user: "\(user.instructions)", kernel: "\(kernel.instructions)")
    }
    if user.totalStates != kernel.totalStates || user.peakStates != kernel.peakStates {
      return FuzzDifference(
        kind: .states, user: "\(user.totalStates) total, \(user.peakStates) peak",
        kernel: "\(kernel.totalStates) total, \(kernel.peakStates) peak")
    }
    guard let (ours, theirs) = FuzzLog.firstDifference(user.log, kernel.log) else { return nil }
    return FuzzDifference(kind: .log, user: ours, kernel: theirs)
  }

  private static func verdict(_ answer: FuzzAnswer) -> String {
    if answer.isAccepted { return "accepted" }
    let last = answer.log.split(separator: UInt8(ascii: "\n")).last { line in
      !line.starts(with: "processed ".utf8) && !line.starts(with: "verification time ".utf8)
        && !line.starts(with: "stack depth ".utf8)
    }
    let message = last.map { ": " + String(decoding: $0, as: UTF8.self) } ?? ""
    return "refused with \(Errno(rawValue: answer.errno))\(message)"
  }
}

/// Logs, held against each other but for what no two runs have in common.
enum FuzzLog {
  static func firstDifference(_ ours: [UInt8], _ theirs: [UInt8]) -> (String, String)? {
    if ours == theirs { return nil }
    var left = ours[...]
    var right = theirs[...]
    while !left.isEmpty || !right.isEmpty {
      let a = left.prefix { $0 != UInt8(ascii: "\n") }
      let b = right.prefix { $0 != UInt8(ascii: "\n") }
      if a != b {
        let (x, y) = (masked(a), masked(b))
        if x != y { return (x, y) }
      }
      left = left[a.endIndex...].dropFirst()
      right = right[b.endIndex...].dropFirst()
    }
    return nil
  }

  private static func masked(_ line: ArraySlice<UInt8>) -> String {
    var text = String(decoding: line, as: UTF8.self)
    if let time = text.firstRange(of: "verification time ") { text = text[..<time.upperBound] + "N usec" }
    var out = ""
    var rest = text[...]
    while let range = rest.firstRange(of: "0xffff") {
      out += rest[..<range.lowerBound]
      let digits = rest[range.upperBound...].prefix { $0.isHexDigit }
      // An address of the kernel: sixteen digits in all, and below what negative numbers have.
      out += digits.count == 12 && !digits.hasPrefix("ffff") ? "ADDRESS" : rest[range.lowerBound..<digits.endIndex]
      rest = rest[digits.endIndex...]
    }
    return out + rest
  }
}

/// Asks Skep, and the running kernel where there is one. For one thread.
public final class FuzzComparer {
  private let surroundings: FuzzSurroundings
  private let session: KernelSession?

  public init(_ surroundings: FuzzSurroundings, withKernel: Bool) throws(KernelEngineError) {
    self.surroundings = surroundings
    session = withKernel ? try KernelSession(maps: surroundings.maps) : nil
  }

  /// Asked anew each time: it may be changed while a run lasts.
  private var unprivilegedDisabled: Bool {
    readFile("/proc/sys/kernel/unprivileged_bpf_disabled")?.first != UInt8(ascii: "0")
  }

  /// What Skep says.
  public func user(_ fuzzCase: FuzzCase) -> FuzzAnswer {
    var linux = surroundings.linux
    linux.capabilities = fuzzCase.capabilities
    var program = fuzzCase.program
    do throws(LoadError) {
      try ProgramRules.checkLoad(
        program, linux: linux, unprivilegedDisabled: fuzzCase.capabilities != .all && unprivilegedDisabled)
    } catch {
      return FuzzAnswer(
        isAccepted: false, errno: error.errno.rawValue, instructions: 0, totalStates: 0, peakStates: 0, log: [],
        microseconds: 0, category: "unloadable")
    }
    program.expectedAttachType = ProgramRules.effectiveAttachType(program.type, program.expectedAttachType)
    let verdict = Verifier.verify(program, on: linux, options: VerifierOptions(logLevel: fuzzCase.logLevel | 4))
    var errno: Int32 = 0
    var category: String?
    if case .failure(let rejection) = verdict.result {
      errno = rejection.errno.rawValue
      category = rejection.category.rawValue
    }
    return FuzzAnswer(
      isAccepted: errno == 0, errno: errno, instructions: verdict.statistics.instructions,
      totalStates: verdict.statistics.totalStates, peakStates: verdict.statistics.peakStates, log: verdict.log,
      microseconds: verdict.statistics.microseconds, category: category)
  }

  /// What the running kernel says; nil where there is none to ask, or it could not be asked this.
  public func kernel(_ fuzzCase: FuzzCase) -> FuzzAnswer? {
    guard let session,
      let verdict = try? session.verify(
        fuzzCase.program, logLevel: fuzzCase.logLevel | 4, capabilities: fuzzCase.capabilities)
    else { return nil }
    return FuzzAnswer(
      isAccepted: verdict.isAccepted, errno: verdict.errno, instructions: verdict.instructions,
      totalStates: verdict.totalStates, peakStates: verdict.peakStates, log: verdict.log,
      microseconds: verdict.microseconds)
  }

  /// Where the two differ; nil too where one of them takes more than `limit` instructions to say.
  public func difference(_ fuzzCase: FuzzCase, within limit: Int = .max) -> FuzzDifference? {
    if limit < .max && fuzzCase.logLevel > 0 {
      // A log of a million instructions is hundreds of megabytes.
      var brief = fuzzCase
      brief.logLevel = 0
      guard user(brief).instructions <= limit, let kernel = kernel(brief), kernel.instructions <= limit else {
        return nil
      }
    }
    let user = user(fuzzCase)
    guard user.instructions <= limit, let kernel = kernel(fuzzCase) else { return nil }
    return FuzzDifference.between(user: user, kernel: kernel)
  }
}
