import BPFKernel
import BPFLinux
import BTF

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The version of the kernel that runs here: `6.18`.
let runningVersion: String? = {
  var name = utsname()
  guard uname(&name) == 0 else { return nil }
  let release = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  return release.split(separator: ".").prefix(2).joined(separator: ".")
}()

/// Asks the running kernel what golden cases hold.
public struct GoldenRecorder: Sendable {
  /// `6.18`.
  public let version: String
  /// Cases that are to be asked about are read with these; nil where the kernel has none.
  public let types: BTF?

  /// Throws where the kernel cannot be asked.
  public init() throws(KernelEngineError) {
    _ = try KernelEngine()
    guard let running = runningVersion else { throw .unavailable }
    version = running
    types = try? BTF.map(path: "/sys/kernel/btf/vmlinux")
  }

  /// Whether the running kernel is set up as `golden` supposes.
  public func canAnswer(_ golden: GoldenCase) -> Bool {
    !golden.supposesUnprivileged
      || readFile("/proc/sys/kernel/unprivileged_bpf_disabled")?.first == UInt8(ascii: "0")
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

  /// What the cases in `folder` and below it need of a kernel's types, as `skep golden types` left it there.
  public static func savedTypes(in folder: String, version: String) -> BTF? {
    try? BTF.map(path: typesPath(in: folder, version: version))
  }

  /// Where `savedTypes` are.
  public static func typesPath(in folder: String, version: String) -> String { "\(folder)/linux-\(version).btf" }

  /// Reads one.
  ///
  /// - Parameter types: those of the kernel that is to answer.
  public static func read(_ path: String, types: BTF? = nil) throws(GoldenCaseError) -> GoldenCase {
    guard let contents = readFile(path) else {
      throw GoldenCaseError(path: path, line: 0, message: "cannot be read")
    }
    return try GoldenCase(path: path, contents: contents, types: types)
  }
}
