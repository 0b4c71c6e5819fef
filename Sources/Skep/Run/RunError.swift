import BPFLinux

/// Why a program could not be run, in one line.
public struct RunError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable {
    /// What was given for it (data, context, map contents, captures, names) is wrong.
    case input
    /// The verifier or the loader refuses it.
    case refused
    /// It is accepted, but needs what there is only in a kernel.
    case notSupported
    /// It did not end in time.
    case timeout
    /// The running kernel could not be asked.
    case kernel
  }

  public let kind: Kind
  public let message: String
  /// The error number that Linux has for it, where it has one.
  public let errno: Errno?

  public init(_ kind: Kind, _ message: String, errno: Errno? = nil) {
    self.kind = kind
    self.message = message
    self.errno = errno
  }

  public var description: String { message }
}
