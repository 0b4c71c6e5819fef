#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// How paths of sources are shown.
enum SourcePath {
  /// Without `./` in the middle, and relative to the working directory where it lies below.
  static func shown(_ path: String) -> String {
    var parts: [Substring] = []
    for part in path.split(separator: "/") where part != "." {
      if part == "..", let last = parts.last, last != ".." {
        parts.removeLast()
      } else {
        parts.append(part)
      }
    }
    let clean = (path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
    guard let buffer = getcwd(nil, 0) else { return clean }
    defer { free(buffer) }
    let folder = String(cString: buffer) + "/"
    return clean.hasPrefix(folder) ? String(clean.dropFirst(folder.count)) : clean
  }
}
