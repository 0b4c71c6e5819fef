#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// A fresh directory that goes away, with all that was written to it, when it is released.
final class TemporaryDirectory: Sendable {
  let path: String

  /// Nil where none can be made.
  init?() {
    let parent = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/skep-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { return nil }
    path = template.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
  }

  deinit { Self.remove(path) }

  /// Writes a file below the directory, with the directories above it; false where that fails.
  func write(_ text: String, to relative: String) -> Bool {
    var directory = path
    for part in relative.split(separator: "/").dropLast() {
      directory += "/\(part)"
      guard mkdir(directory, 0o700) == 0 || errno == EEXIST else { return false }
    }
    guard let file = fopen("\(path)/\(relative)", "w") else { return false }
    var text = text
    let written = text.withUTF8 { fwrite($0.baseAddress, 1, $0.count, file) == $0.count }
    return fclose(file) == 0 && written
  }

  private static func remove(_ path: String) {
    guard let directory = opendir(path) else { return }
    var names: [String] = []
    while let entry = readdir(directory) {
      names.append(withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
    }
    closedir(directory)
    for name in names where name != "." && name != ".." {
      let child = "\(path)/\(name)"
      if unlink(child) != 0 { remove(child) }
    }
    rmdir(path)
  }
}
