import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Reads memory that may not be there: pointers that a program was let follow because a fault reads zero.
public enum FaultingMemory {
  /// The number of `size` (1, 2, 4 or 8) bytes at an address of this process; 0 where there is no such memory.
  public static func read(_ address: UInt64, size: Int) -> UInt64 {
    var value: UInt64 = 0
    let isRead = withUnsafeMutableBytes(of: &value) { bytes in
      bytes.baseAddress.map { read(address, into: $0, size: min(size, 8)) } ?? false
    }
    return isRead ? UInt64(littleEndian: value) : 0
  }

  /// Copies memory of this process; false where not all of it is there.
  public static func read(_ address: UInt64, into buffer: UnsafeMutableRawPointer, size: Int) -> Bool {
    // The first page is never mapped, and the upper half of addresses is the kernel's.
    guard size > 0, address >= 4096, address >> 56 == 0 else { return size == 0 }
    return skep_process_read(getpid(), buffer, address, size) != 0
  }
}

/// As machine code calls it: `(address, size)`.
@_cdecl("skep_faulting_read")
public func faultingRead(_ address: UInt64, _ size: UInt64) -> UInt64 {
  FaultingMemory.read(address, size: Int(truncatingIfNeeded: min(size, 8)))
}
