import BPFLinux

/// Where Skep and the running kernel say different things of one program.
public struct EngineDifference: Hashable, Sendable {
  public let file: String
  public let program: String
  /// `verdict`, `errno`, `insns`, `total_states`, `peak_states`, or `log`.
  public let what: String
  public let user: String
  public let kernel: String

  /// Holds one program's two results against each other. Numbers are compared where the verdict is the same.
  public static func between(user: CheckedProgram, kernel: CheckedProgram) -> [EngineDifference] {
    var found: [EngineDifference] = []
    func compare(_ what: String, _ ours: String, _ theirs: String) {
      guard ours != theirs else { return }
      found.append(EngineDifference(file: user.file, program: user.name, what: what, user: ours, kernel: theirs))
    }
    compare("verdict", user.verdict, kernel.verdict)
    guard found.isEmpty else { return found }
    compare("errno", Errno(rawValue: user.errno).description, Errno(rawValue: kernel.errno).description)
    compare("insns", "\(user.statistics.instructions)", "\(kernel.statistics.instructions)")
    compare("total_states", "\(user.statistics.totalStates)", "\(kernel.statistics.totalStates)")
    compare("peak_states", "\(user.statistics.peakStates)", "\(kernel.statistics.peakStates)")
    if !kernel.log.isEmpty, let (ours, theirs) = firstDifference(user.log, kernel.log) { compare("log", ours, theirs) }
    return found
  }

  /// The first line in which two logs differ, times and addresses apart.
  private static func firstDifference(_ ours: [UInt8], _ theirs: [UInt8]) -> (String, String)? {
    let left = comparableLines(ours)
    let right = comparableLines(theirs)
    guard let index = (0..<max(left.count, right.count)).first(where: {
      $0 >= left.count || $0 >= right.count || left[$0] != right[$0]
    }) else { return nil }
    return (index < left.count ? left[index] : "(end)", index < right.count ? right[index] : "(end)")
  }

  private static func comparableLines(_ log: [UInt8]) -> [String] {
    log.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).compactMap { bytes in
      let line = String(decoding: bytes, as: UTF8.self)
      return line.hasPrefix("verification time ") ? nil : withoutAddresses(line)
    }
  }

  /// Hexadecimal numbers of 12 to 16 digits are kernel addresses.
  private static func withoutAddresses(_ line: String) -> String {
    guard line.contains("0x") else { return line }
    var out = ""
    var rest = line[...]
    while let range = rest.firstRange(of: "0x") {
      out += rest[..<range.upperBound]
      rest = rest[range.upperBound...]
      let digits = rest.prefix { $0.isHexDigit && !$0.isUppercase }
      out += (12...16).contains(digits.count) ? "ADDRESS" : String(digits)
      rest = rest[digits.endIndex...]
    }
    return out + rest
  }
}
