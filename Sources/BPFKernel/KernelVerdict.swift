import BPFLinux

/// What the running kernel said of a program.
public struct KernelVerdict: Sendable, Hashable {
  /// 0 where the program was accepted.
  public let errno: Int32
  /// The log in UTF-8, as much of it as the level asked for.
  public let log: [UInt8]
  /// Instructions processed over all paths; 0 where the program did not get as far as the verifier.
  public let instructions: Int
  public let totalStates: Int
  public let peakStates: Int
  /// Time of verification alone, as the kernel measured it.
  public let microseconds: Int

  public var isAccepted: Bool { errno == 0 }
  /// The verifier itself decided, and not a check of the request before it.
  public let reachedVerifier: Bool

  init(errno: Int32, log: [UInt8], level: UInt32) {
    self.errno = errno
    let statistics = Self.statistics(in: log)
    reachedVerifier = errno == 0 || statistics.found
    instructions = statistics.instructions
    totalStates = statistics.totalStates
    peakStates = statistics.peakStates
    microseconds = statistics.microseconds
    self.log = level == 0 ? [] : level & 4 != 0 ? log : Self.withoutTiming(log)
  }

  private struct Statistics {
    var found = false
    var instructions = 0
    var totalStates = 0
    var peakStates = 0
    var microseconds = 0
  }

  /// The numbers in the last lines: `verification time 5 usec`, `processed 3 insns (limit …) … total_states 0 …`.
  private static func statistics(in log: [UInt8]) -> Statistics {
    var result = Statistics()
    // They are short; what comes before them need not be.
    for line in log.suffix(4096).split(separator: UInt8(ascii: "\n")).suffix(3) {
      let words = line.split(separator: UInt8(ascii: " "))
      func number(after name: String) -> Int {
        guard let at = words.firstIndex(where: { $0.elementsEqual(name.utf8) }), at + 1 < words.count else { return 0 }
        return Int(String(decoding: words[at + 1], as: UTF8.self)) ?? 0
      }
      // Not all messages before it end their line.
      if line.firstRange(of: timing) != nil { result.microseconds = number(after: "time") }
      if line.starts(with: "processed ".utf8) {
        result.found = true
        result.instructions = number(after: "processed")
        result.totalStates = number(after: "total_states")
        result.peakStates = number(after: "peak_states")
      }
    }
    return result
  }

  private static let timing = Array("verification time ".utf8)

  /// The log without what level 4 adds, which is always asked for because of the time.
  private static func withoutTiming(_ log: [UInt8]) -> [UInt8] {
    var lines = log.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    guard let at = lines.lastIndex(where: { $0.firstRange(of: timing) != nil }),
      let start = lines[at].firstRange(of: timing)?.lowerBound
    else { return log }
    // The line itself, unless it began with a message, and that of stack depths.
    let kept = lines[at][..<start]
    lines.removeSubrange(at..<min(at + 2, lines.count))
    if !kept.isEmpty, at < lines.count { lines[at] = kept + lines[at] }
    return Array(lines.joined(separator: [UInt8(ascii: "\n")]))
  }
}

/// Why the running kernel could not be asked.
public enum KernelEngineError: Error, Hashable, Sendable, CustomStringConvertible {
  /// There is no `bpf(2)` here.
  case unavailable
  /// The caller may not load programs.
  case notPermitted
  case map(name: String, errno: Errno)
  case typeInformation(errno: Errno, message: String)
  /// The program that an extension attaches to was refused.
  case target(name: String, errno: Errno)
  case module(name: String)

  public var description: String {
    switch self {
    case .unavailable: "the kernel engine needs Linux with bpf(2)"
    case .notPermitted: "the kernel engine needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (run it as root)"
    case .map(let name, let errno): "the kernel does not create map '\(name)': \(errno)"
    case .typeInformation(let errno, let message):
      "the kernel does not take the program's BTF: \(errno)\(message.isEmpty ? "" : ": \(message)")"
    case .target(let name, let errno): "the kernel does not load '\(name)', which the program attaches to: \(errno)"
    case .module(let name): "the kernel has no module '\(name)'"
    }
  }

  /// The error number that stands for it.
  public var errno: Errno {
    switch self {
    case .unavailable: .ENOSYS
    case .notPermitted: .EPERM
    case .map(_, let errno), .typeInformation(let errno, _), .target(_, let errno): errno
    case .module: .ENOENT
    }
  }
}
