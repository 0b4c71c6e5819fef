/// Linux error numbers that loading a program can answer with.
public struct Errno: RawRepresentable, BitwiseCopyable, Hashable, Sendable, CustomStringConvertible {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  public static let EPERM = Errno(rawValue: 1)
  public static let ENOENT = Errno(rawValue: 2)
  public static let ESRCH = Errno(rawValue: 3)
  public static let EINTR = Errno(rawValue: 4)
  public static let ENXIO = Errno(rawValue: 6)
  public static let E2BIG = Errno(rawValue: 7)
  public static let ENOEXEC = Errno(rawValue: 8)
  public static let EBADF = Errno(rawValue: 9)
  public static let EAGAIN = Errno(rawValue: 11)
  public static let ENOMEM = Errno(rawValue: 12)
  public static let EACCES = Errno(rawValue: 13)
  public static let EFAULT = Errno(rawValue: 14)
  public static let EBUSY = Errno(rawValue: 16)
  public static let EEXIST = Errno(rawValue: 17)
  public static let ENODEV = Errno(rawValue: 19)
  public static let EINVAL = Errno(rawValue: 22)
  public static let ENOSPC = Errno(rawValue: 28)
  public static let EDOM = Errno(rawValue: 33)
  public static let ERANGE = Errno(rawValue: 34)
  public static let EDEADLK = Errno(rawValue: 35)
  public static let ENAMETOOLONG = Errno(rawValue: 36)
  public static let ENOSYS = Errno(rawValue: 38)
  public static let ELOOP = Errno(rawValue: 40)
  public static let EOVERFLOW = Errno(rawValue: 75)
  public static let EPROTO = Errno(rawValue: 71)
  public static let EMSGSIZE = Errno(rawValue: 90)
  public static let EOPNOTSUPP = Errno(rawValue: 95)
  public static let EALREADY = Errno(rawValue: 114)
  public static let ETIMEDOUT = Errno(rawValue: 110)
  /// The kernel's internal ENOTSUPP, which reaches user space as it is.
  public static let ENOTSUPP = Errno(rawValue: 524)

  public var description: String { Self.names[rawValue] ?? "errno \(rawValue)" }

  private static let names: [Int32: String] = [
    1: "EPERM", 2: "ENOENT", 3: "ESRCH", 4: "EINTR", 6: "ENXIO", 7: "E2BIG", 8: "ENOEXEC", 9: "EBADF", 11: "EAGAIN",
    12: "ENOMEM", 13: "EACCES", 14: "EFAULT", 16: "EBUSY", 17: "EEXIST", 19: "ENODEV", 22: "EINVAL", 28: "ENOSPC",
    33: "EDOM", 34: "ERANGE", 35: "EDEADLK", 36: "ENAMETOOLONG", 38: "ENOSYS", 40: "ELOOP", 71: "EPROTO",
    75: "EOVERFLOW", 90: "EMSGSIZE", 95: "EOPNOTSUPP", 110: "ETIMEDOUT", 114: "EALREADY", 524: "ENOTSUPP",
  ]
}
