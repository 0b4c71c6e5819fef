import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Reads of addresses that a program made up: what cannot be read is an error, not a crash.
///
/// The kernel's memory and that of the current process are here the same, this process's own; or, for reads of user
/// memory in a run that has one, the traced process's. An address that is neither readable nor one of the kernel's half
/// is what the kernel calls out of range.
enum FaultSafeMemory {
  /// As many bytes of strings are looked at, at most.
  static let longestString = 65536
  private static let pageSize: UInt64 = 4096

  /// 0, or -ERANGE or -EFAULT; nothing is promised of `destination` then.
  static func readKernel(_ destination: UnsafeMutableRawPointer, _ source: UInt64, _ count: Int) -> Int32 {
    if count == 0 { return 0 }
    return read(destination, source, count, of: 0) ? 0 : error(at: source)
  }

  /// 0 or -EFAULT.
  static func readUser(
    _ destination: UnsafeMutableRawPointer, _ source: UInt64, _ count: Int, process: Int32 = 0
  ) -> Int32 {
    if count == 0 { return 0 }
    return read(destination, source, count, of: process) ? 0 : Failure.EFAULT
  }

  /// The bytes that were copied, the 0 included, which there always is; or a negative error number.
  static func readKernelString(_ destination: UnsafeMutablePointer<UInt8>, _ source: UInt64, _ count: Int) -> Int32 {
    guard count > 0 else { return 0 }
    guard let length = string(destination, source, count, of: 0, wholeWords: false) else {
      destination[0] = 0
      return error(at: source)
    }
    return length
  }

  static func readUserString(
    _ destination: UnsafeMutablePointer<UInt8>, _ source: UInt64, _ count: Int, process: Int32 = 0
  ) -> Int32 {
    guard count > 0 else { return 0 }
    return string(destination, source, count, of: process, wholeWords: true) ?? Failure.EFAULT
  }

  /// What the kernel says of an address that it cannot read.
  static func error(at source: UInt64) -> Int32 {
    // The kernel's half begins where all bits above the 47th are set.
    source >> 47 == 0x1ffff ? Failure.EFAULT : Failure.ERANGE
  }

  /// - Parameter wholeWords: as strings of users are copied: in words as long as eight bytes fit, so that zeros follow
  ///   the string up to the end of its last word.
  private static func string(
    _ destination: UnsafeMutablePointer<UInt8>, _ source: UInt64, _ count: Int, of process: Int32, wholeWords: Bool
  ) -> Int32? {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: FaultSafeString.bufferSize) { buffer in
      guard let bytes = buffer.baseAddress else { return nil }
      var done = 0
      while done < count {
        let from = source &+ UInt64(done)
        let chunk = min(count &- done, FaultSafeString.bufferSize, Int(pageSize &- from % pageSize))
        guard read(bytes, from, chunk, of: process) else { return nil }
        for index in 0..<chunk {
          destination[done &+ index] = bytes[index]
          guard bytes[index] == 0 else { continue }
          let last = done &+ index
          let word = last & ~7
          if wholeWords && count &- word >= 8 {
            for rest in (last &+ 1)..<max(last &+ 1, word &+ 8) { destination[rest] = 0 }
          }
          return Int32(truncatingIfNeeded: last &+ 1)
        }
        done &+= chunk
      }
      destination[count &- 1] = 0
      return Int32(truncatingIfNeeded: count)
    }
  }

  /// - Parameter process: 0 for this one.
  static func read(
    _ destination: UnsafeMutableRawPointer, _ source: UInt64, _ count: Int, of process: Int32
  ) -> Bool {
    guard source != 0, source >> 47 == 0, source &+ UInt64(count) >= source else { return false }
    return skep_process_read(process == 0 ? ownProcess : process, destination, source, count) != 0
  }

  /// Writes to another process.
  static func write(_ destination: UInt64, _ source: UnsafeRawPointer, _ count: Int, to process: Int32) -> Bool {
    skep_process_write(process, destination, source, count) != 0
  }

  private static let ownProcess = getpid()
}

/// Reads a string that a program points to byte by byte, and fetches it in pieces.
struct FaultSafeString {
  private let start: UInt64
  private let buffer: UnsafeMutablePointer<UInt8>
  private var first: UInt64 = 0
  private var count: UInt64 = 0
  static let bufferSize = 256

  /// - Parameter buffer: room for `bufferSize` bytes.
  init(_ start: UInt64, _ buffer: UnsafeMutablePointer<UInt8>) {
    self.start = start
    self.buffer = buffer
  }

  /// The byte, or a negative error number.
  @inline(__always)
  mutating func byte(_ index: Int) -> Int32 {
    let at = start &+ UInt64(truncatingIfNeeded: index)
    if at &- first < count { return Int32(buffer[Int(truncatingIfNeeded: at &- first)]) }
    return fetch(at)
  }

  @inline(never)
  private mutating func fetch(_ at: UInt64) -> Int32 {
    let chunk = min(UInt64(Self.bufferSize), 4096 &- at % 4096)
    guard FaultSafeMemory.read(UnsafeMutableRawPointer(buffer), at, Int(chunk), of: 0) else {
      count = 0
      // Only the first byte tells an address that is out of range from one that cannot be read.
      return at == start ? FaultSafeMemory.error(at: at) : Failure.EFAULT
    }
    first = at
    count = chunk
    return Int32(buffer[0])
  }
}
