import BPFLinux
import BPFVerifier
import BTF

/// What was found of one program.
public struct CheckedProgram: Sendable {
  public enum Outcome: Sendable {
    case accepted(VerifiedProgram)
    case refused(Rejection)
    /// The running kernel was asked and says yes. It is no proof for Skep.
    case acceptedByKernel
    case refusedByKernel(Errno)
    /// It never reached the verifier.
    case unloadable(errno: Int32, reason: String)
  }

  /// The file's name without its folder.
  public let file: String
  /// The full name.
  public let name: String
  public let section: String
  public let type: ProgramType
  public let outcome: Outcome
  public let statistics: VerifierStatistics
  public let log: [UInt8]
  /// The program as the verifier got it, for what is said of it afterwards.
  public let program: Program?

  init(
    file: String, name: String, section: String, type: ProgramType, outcome: Outcome,
    statistics: VerifierStatistics = VerifierStatistics(), log: [UInt8] = [], program: Program? = nil
  ) {
    self.file = file
    self.name = name
    self.section = section
    self.type = type
    self.outcome = outcome
    self.statistics = statistics
    self.log = log
    self.program = program
  }

  public var isAccepted: Bool {
    switch outcome {
    case .accepted, .acceptedByKernel: true
    case .refused, .refusedByKernel, .unloadable: false
    }
  }

  /// One word: `success`, `failure`, or `unloadable`.
  public var verdict: String {
    switch outcome {
    case .accepted, .acceptedByKernel: "success"
    case .refused, .refusedByKernel: "failure"
    case .unloadable: "unloadable"
    }
  }

  /// Positive; 0 where the program is accepted.
  public var errno: Int32 {
    switch outcome {
    case .accepted, .acceptedByKernel: 0
    case .refused(let rejection): rejection.errno.rawValue
    case .refusedByKernel(let errno): errno.rawValue
    case .unloadable(let errno, _): errno
    }
  }

  /// Why not, in one line; empty where the program is accepted.
  public var reason: String {
    switch outcome {
    case .accepted, .acceptedByKernel: ""
    case .refused(let rejection): rejection.message
    case .refusedByKernel(let errno): "\(errno)"
    case .unloadable(_, let reason): reason
    }
  }

  /// The refusal's stable category.
  public var category: String? {
    switch outcome {
    case .accepted, .acceptedByKernel: nil
    case .refused(let rejection): rejection.category.rawValue
    case .refusedByKernel: "refused-by-kernel"
    case .unloadable: "unloadable"
    }
  }

  /// The source line that the refused instruction came from; nil where that is not known.
  public var position: SourceLocation? {
    guard case .refused(let rejection) = outcome, let instruction = rejection.instruction else { return nil }
    return program?.position(of: instruction)
  }

  var withoutLog: CheckedProgram {
    CheckedProgram(
      file: file, name: name, section: section, type: type, outcome: outcome, statistics: statistics,
      program: program)
  }

  static func fileName(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }
}
