import BPFKernel
import BPFLinux

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Asks the running kernel what golden cases hold.
public struct GoldenRecorder: Sendable {
  /// `6.18`.
  public let version: String

  /// Throws where the kernel cannot be asked.
  public init() throws(KernelEngineError) {
    _ = try KernelEngine()
    var name = utsname()
    guard uname(&name) == 0 else { throw .unavailable }
    let release = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    version = release.split(separator: ".").prefix(2).joined(separator: ".")
  }

  /// What the running kernel says to `golden`.
  public func answer(_ golden: GoldenCase) throws(KernelEngineError) -> GoldenAnswer {
    let engine = try KernelEngine(capabilities: golden.capabilities)
    var answer: GoldenAnswer?
    for level in golden.levels {
      let verdict = try engine.verify(golden.program, logLevel: level | 4)
      let log = GoldenLog.masked(verdict.log)
      if answer == nil {
        answer = GoldenAnswer(
          version: version, verdict: verdict.isAccepted ? .accepted : verdict.reachedVerifier ? .refused : .unloadable,
          errno: verdict.errno, instructions: verdict.instructions, totalStates: verdict.totalStates,
          peakStates: verdict.peakStates, logs: [:])
      }
      answer?.logs[level] = log
    }
    guard let answer else { throw .unavailable }
    return answer
  }

  /// The case with what the running kernel says in place of what it holds for that version.
  public func recorded(_ golden: GoldenCase) throws(KernelEngineError) -> GoldenCase {
    var golden = golden
    let answer = try answer(golden)
    golden.answers.removeAll { $0.version == version }
    golden.answers.append(answer)
    golden.answers.sort { $0.version > $1.version }
    return golden
  }
}

/// Where golden cases are.
public enum GoldenFiles {
  /// All files of cases in `folder` and below, sorted.
  public static func all(in folder: String) -> [String] {
    guard let stream = opendir(folder) else { return [] }
    defer { closedir(stream) }
    var found: [String] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name.hasPrefix(".") { continue }
      let path = folder + "/" + name
      if name.hasSuffix(GoldenCase.suffix) {
        found.append(path)
      } else {
        found += all(in: path)
      }
    }
    return found.sorted()
  }

  /// Reads one.
  public static func read(_ path: String) throws(GoldenCaseError) -> GoldenCase {
    guard let contents = readFile(path) else {
      throw GoldenCaseError(path: path, line: 0, message: "cannot be read")
    }
    return try GoldenCase(path: path, contents: contents)
  }
}
