import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// What helpers get as their sixth argument.
typealias Run = UnsafeMutablePointer<skep_run>

/// 64 bits that may be null: unlike a pointer that was checked for it, this costs nothing.
private struct Register {
  let value: UInt64
}

/// The address that a program's register holds. What the proof lets a helper have is never null where it is used so.
@inline(__always)
func memory(_ value: UInt64) -> UnsafeMutableRawPointer {
  unsafeBitCast(Register(value: value), to: UnsafeMutableRawPointer.self)
}

@inline(__always)
func mapBlock(_ value: UInt64) -> UnsafeMutablePointer<skep_map> {
  unsafeBitCast(Register(value: value), to: UnsafeMutablePointer<skep_map>.self)
}

@inline(__always)
func address(_ pointer: UnsafeRawPointer?) -> UInt64 { UInt64(UInt(bitPattern: pointer)) }

@inline(__always)
func result(_ value: Int64) -> UInt64 { UInt64(bitPattern: value) }

/// What a kernel function of type `int` leaves in a register: the upper half is zero.
@inline(__always)
func intResult(_ value: Int32) -> UInt64 { UInt64(UInt32(bitPattern: value)) }

@inline(__always)
func clear(_ memory: UnsafeMutableRawPointer, _ count: Int) { memset(memory, 0, count) }

/// Error numbers as helpers return them.
enum Failure {
  static let EPERM: Int32 = -1
  static let ENOENT: Int32 = -2
  static let E2BIG: Int32 = -7
  static let EBADF: Int32 = -9
  static let EAGAIN: Int32 = -11
  static let ENOMEM: Int32 = -12
  static let EFAULT: Int32 = -14
  static let EBUSY: Int32 = -16
  static let EEXIST: Int32 = -17
  static let EINVAL: Int32 = -22
  static let ENOSPC: Int32 = -28
  static let ERANGE: Int32 = -34
  static let EDEADLK: Int32 = -35
  static let ENODATA: Int32 = -61
  static let EOVERFLOW: Int32 = -75
  static let EOPNOTSUPP: Int32 = -95
  static let ETIMEDOUT: Int32 = -110
  static let ENOTSUPP: Int32 = -524
}

extension UInt64 {
  /// A negative error number in 64 bits.
  @inline(__always)
  static func failure(_ number: Int32) -> UInt64 { UInt64(bitPattern: Int64(number)) }
}
