#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Another program, run to its end.
enum Subprocess {
  /// How it ended.
  enum Exit: Equatable {
    case code(Int32)
    case signal(Int32)
    case notStarted(errno: Int32)
  }

  /// Runs `path` with `arguments` (the first is its own name) and waits. Standard output and error go to `output`.
  static func run(_ path: String, _ arguments: [String], outputPath: String) -> Exit {
    var actions = makeFileActions()
    guard posix_spawn_file_actions_init(&actions) == 0 else { return .notStarted(errno: ENOMEM) }
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, outputPath, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    var child: pid_t = 0
    let started = posix_spawn(&child, path, &actions, nil, &pointers, environ)
    guard started == 0 else { return .notStarted(errno: started) }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 {
      guard errno == EINTR else { return .notStarted(errno: errno) }
    }
    let signal = status & 0x7f
    return signal == 0 ? .code((status >> 8) & 0xff) : .signal(signal)
  }

  #if canImport(Darwin)
  private static func makeFileActions() -> posix_spawn_file_actions_t? { nil }
  #else
  private static func makeFileActions() -> posix_spawn_file_actions_t { posix_spawn_file_actions_t() }
  #endif
}
