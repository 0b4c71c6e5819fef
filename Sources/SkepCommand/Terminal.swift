#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Where text goes: standard output or standard error.
struct Terminal {
  static let output = Terminal(descriptor: 1)
  static let error = Terminal(descriptor: 2)

  let descriptor: Int32

  var isTerminal: Bool { isatty(descriptor) == 1 }

  /// A terminal that wants colour.
  var hasColour: Bool { isTerminal && getenv("NO_COLOR") == nil }

  /// One line about what went wrong, to standard error.
  static func complain(_ message: String) {
    error.write("skep: \(message)\n")
  }

  func write(_ text: String) {
    write(Array(text.utf8))
  }

  /// All of it; gives up where nobody reads any more.
  func write(_ bytes: [UInt8]) {
    _ = Self.writeAll(bytes, to: descriptor)
  }

  static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { buffer in
      var rest = buffer[...]
      while !rest.isEmpty {
        #if canImport(Glibc)
        let count = Glibc.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        #else
        let count = Musl.write(descriptor, UnsafeRawBufferPointer(rebasing: rest).baseAddress, rest.count)
        #endif
        if count < 0 {
          if errno == EINTR { continue }
          return false
        }
        rest = rest.dropFirst(count)
      }
      return true
    }
  }

  /// Makes a directory where there is none yet; false where that fails.
  static func makeDirectory(_ path: String) -> Bool {
    if mkdir(path, 0o755) == 0 { return true }
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// Writes a new file; false where that fails.
  static func writeFile(_ bytes: [UInt8], to path: String) -> Bool {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    return writeAll(bytes, to: descriptor)
  }
}
