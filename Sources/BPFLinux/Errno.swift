/// Linux error numbers that loading a program can answer with.
public struct Errno: RawRepresentable, BitwiseCopyable, Hashable, Error, CustomStringConvertible {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  @inlinable public static var EPERM: Errno { Errno(rawValue: 1) }
  @inlinable public static var ENOENT: Errno { Errno(rawValue: 2) }
  @inlinable public static var ESRCH: Errno { Errno(rawValue: 3) }
  @inlinable public static var EINTR: Errno { Errno(rawValue: 4) }
  @inlinable public static var ENXIO: Errno { Errno(rawValue: 6) }
  @inlinable public static var E2BIG: Errno { Errno(rawValue: 7) }
  @inlinable public static var ENOEXEC: Errno { Errno(rawValue: 8) }
  @inlinable public static var EBADF: Errno { Errno(rawValue: 9) }
  @inlinable public static var EAGAIN: Errno { Errno(rawValue: 11) }
  @inlinable public static var ENOMEM: Errno { Errno(rawValue: 12) }
  @inlinable public static var EACCES: Errno { Errno(rawValue: 13) }
  @inlinable public static var EFAULT: Errno { Errno(rawValue: 14) }
  @inlinable public static var EBUSY: Errno { Errno(rawValue: 16) }
  @inlinable public static var EEXIST: Errno { Errno(rawValue: 17) }
  @inlinable public static var ENODEV: Errno { Errno(rawValue: 19) }
  @inlinable public static var EINVAL: Errno { Errno(rawValue: 22) }
  @inlinable public static var ENOSPC: Errno { Errno(rawValue: 28) }
  @inlinable public static var EDOM: Errno { Errno(rawValue: 33) }
  @inlinable public static var ERANGE: Errno { Errno(rawValue: 34) }
  @inlinable public static var EDEADLK: Errno { Errno(rawValue: 35) }
  @inlinable public static var ENAMETOOLONG: Errno { Errno(rawValue: 36) }
  @inlinable public static var ENOSYS: Errno { Errno(rawValue: 38) }
  @inlinable public static var ELOOP: Errno { Errno(rawValue: 40) }
  @inlinable public static var EOVERFLOW: Errno { Errno(rawValue: 75) }
  @inlinable public static var EPROTO: Errno { Errno(rawValue: 71) }
  @inlinable public static var EMSGSIZE: Errno { Errno(rawValue: 90) }
  @inlinable public static var EOPNOTSUPP: Errno { Errno(rawValue: 95) }
  @inlinable public static var EALREADY: Errno { Errno(rawValue: 114) }
  @inlinable public static var ETIMEDOUT: Errno { Errno(rawValue: 110) }
  /// The kernel's internal ENOTSUPP, which reaches user space as it is.
  @inlinable public static var ENOTSUPP: Errno { Errno(rawValue: 524) }

  public var description: String { Self.names[rawValue] ?? "errno \(rawValue)" }

  private static let names: [Int32: String] = [
    1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 6: "ENXIO", 7: "E2BIG", 8: "ENOEXEC", 9: "EBADF", 11: "EAGAIN",
    12: "ENOMEM", 13: "EACCES", 14: "EFAULT", 16: "EBUSY", 17: "EEXIST", 19: "ENODEV", 22: "EINVAL", 28: "ENOSPC",
    33: "EDOM", 34: "ERANGE", 35: "EDEADLK", 36: "ENAMETOOLONG", 38: "ENOSYS", 40: "ELOOP", 71: "EPROTO",
    75: "EOVERFLOW", 90: "EMSGSIZE", 95: "EOPNOTSUPP", 110: "ETIMEDOUT", 114: "EALREADY", 524: "ENOTSUPP",
  ]
}
