import BPFKernel
import BPFLinux
import BPFObject
import BTF

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Compiles C programs for the BPF target with the clang that is found on the search path.
///
/// Headers that the machine lacks come from `BundledHeaders`; `vmlinux.h` is made from the kernel's types when a
/// program asks for it and has none of its own. All files are written to a fresh directory that is removed when the
/// compiler is released.
public final class SourceCompiler {
  /// Why there is no object.
  public enum Failure: Error, Sendable, CustomStringConvertible {
    case unreadable(file: String)
    case noCompiler
    case noTemporaryDirectory
    case notStarted(compiler: String, errno: Int32)
    /// The compiler found something wrong; its own words.
    case refused(file: String, messages: String)
    case noTypes(file: String)
    case badObject(ObjectFileError)

    public var description: String {
      switch self {
      case .unreadable(let file): "\(file): cannot be read"
      case .noCompiler: "no clang found on the search path; it is needed to compile C programs"
      case .noTemporaryDirectory: "cannot write a temporary directory"
      case .notStarted(let compiler, let errno): "\(compiler): cannot be started (errno \(errno))"
      case .refused(let file, _): "\(file): does not compile"
      case .noTypes(let file): "\(file): vmlinux.h cannot be made: the kernel's types are not known (see --btf)"
      case .badObject(let error): "\(error)"
      }
    }
  }

  /// An object and what the compiler had to say (warnings).
  public struct Output {
    public let object: ObjectFile
    public let messages: String
  }

  /// Whether the machine's own headers are looked at.
  public var usesSystemHeaders = true
  public var colour = false

  private let linux: Linux
  private var directory: TemporaryDirectory?
  private var hasKernelTypes = false

  public init(linux: Linux) {
    self.linux = linux
  }

  /// Whether a file is C source by its name.
  public static func isSource(_ path: String) -> Bool { path.hasSuffix(".c") }

  public func compile(_ path: String) throws(Failure) -> Output {
    guard let source = readFile(path) else { throw .unreadable(file: path) }
    guard let compiler = Self.findCompiler() else { throw .noCompiler }
    let directory = try preparedDirectory()
    if Self.mentionsKernelTypes(source) && access(Self.folder(of: path) + "/vmlinux.h", R_OK) != 0 {
      try writeKernelTypes(to: directory, for: path)
    }
    var (exit, messages) = run(compiler, path, directory)
    if exit != .code(0) && !hasKernelTypes && messages.contains("'vmlinux.h' file not found") {
      try writeKernelTypes(to: directory, for: path)
      (exit, messages) = run(compiler, path, directory)
    }
    if case .notStarted(let errno) = exit { throw .notStarted(compiler: compiler, errno: errno) }
    guard exit == .code(0), let bytes = readFile(directory.path + "/program.o") else {
      throw .refused(file: path, messages: messages)
    }
    do {
      return Output(object: try ObjectFile(bytes: bytes, name: path), messages: messages)
    } catch {
      throw .badObject(error)
    }
  }

  // MARK: Running clang

  private func run(_ compiler: String, _ path: String, _ directory: TemporaryDirectory)
    -> (Subprocess.Exit, String)
  {
    let output = directory.path + "/messages"
    let exit = Subprocess.run(compiler, arguments(compiler, path, directory), outputPath: output)
    return (exit, readFile(output).map { String(decoding: $0, as: UTF8.self) } ?? "")
  }

  private func arguments(_ compiler: String, _ path: String, _ directory: TemporaryDirectory) -> [String] {
    var words = [compiler, "-O2", "-g", "-target", "bpf", "-mcpu=v3"]
    words.append(colour ? "-fcolor-diagnostics" : "-fno-color-diagnostics")
    words.append("-D__TARGET_ARCH_\(linux.architecture == .arm64 ? "arm64" : "x86")")
    if usesSystemHeaders {
      for triple in ["x86_64-linux-gnu", "aarch64-linux-gnu"] {
        let include = "/usr/include/\(triple)"
        if triple.hasPrefix(Self.machine) && access(include, X_OK) == 0 { words += ["-idirafter", include] }
      }
    } else {
      words.append("-nostdlibinc")
    }
    words += ["-idirafter", directory.path + "/include"]
    return words + ["-c", path, "-o", directory.path + "/program.o"]
  }

  /// `clang`, or else the newest `clang-NN`, in the directories of `PATH`.
  static func findCompiler() -> String? {
    let folders = (getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/bin").split(separator: ":").map(String.init)
    for folder in folders where access(folder + "/clang", X_OK) == 0 { return folder + "/clang" }
    var newest: (version: Int, path: String)?
    for folder in folders {
      guard let directory = opendir(folder) else { continue }
      defer { closedir(directory) }
      while let entry = readdir(directory) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) {
          String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        guard name.hasPrefix("clang-"), let version = Int(name.dropFirst("clang-".count)),
          version > newest?.version ?? 0, access("\(folder)/\(name)", X_OK) == 0
        else { continue }
        newest = (version, "\(folder)/\(name)")
      }
    }
    return newest?.path
  }

  #if arch(arm64)
  private static let machine = "aarch64"
  #else
  private static let machine = "x86_64"
  #endif

  // MARK: Headers

  private func preparedDirectory() throws(Failure) -> TemporaryDirectory {
    if let directory { return directory }
    guard let made = TemporaryDirectory() else { throw .noTemporaryDirectory }
    for file in BundledHeaders.files {
      guard made.write(file.text, to: "include/\(file.path)") else { throw .noTemporaryDirectory }
    }
    directory = made
    return made
  }

  private func writeKernelTypes(to directory: TemporaryDirectory, for path: String) throws(Failure) {
    guard !hasKernelTypes else { return }
    guard let btf = linux.btf else { throw .noTypes(file: path) }
    let text: String
    do {
      text = try btf.cText(.linux6_18)
    } catch {
      throw .noTypes(file: path)
    }
    guard directory.write(text, to: "include/vmlinux.h") else { throw .noTemporaryDirectory }
    hasKernelTypes = true
  }

  private static func mentionsKernelTypes(_ source: [UInt8]) -> Bool {
    String(decoding: source, as: UTF8.self).contains("vmlinux.h")
  }

  private static func folder(of path: String) -> String {
    path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
  }
}
