/// The error numbers that relocation can end in.
public enum COREErrno: Int32, Sendable, Equatable {
  case tooBig = 7
  case invalid = 22
  case outOfRange = 34
  case notSupported = 95
}

/// A step of matching that failed; `COREError` says for which relocation.
struct COREFailure: Error {
  let errno: COREErrno
}

/// Why a CO-RE relocation cannot be resolved or applied. The object does not load then, whether or not the
/// instruction can be reached; a target that merely lacks the field poisons the instruction instead.
public struct COREError: Error, Equatable, Sendable, CustomStringConvertible {
  public let errno: COREErrno
  /// libbpf's text, without the program's and the relocation's number in front.
  public let message: String

  public init(errno: COREErrno, message: String) {
    self.errno = errno
    self.message = message
  }

  public var description: String { "\(message) (errno \(errno.rawValue))" }
}
