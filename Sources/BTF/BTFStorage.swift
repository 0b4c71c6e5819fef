#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Owns the bytes of one type information: a private copy, or a mapping of a kernel file.
final class BTFStorage: @unchecked Sendable {
  let bytes: UnsafeRawBufferPointer
  private let isMapped: Bool

  init(copying source: [UInt8]) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(source.count, 1), alignment: 8)
    buffer.copyBytes(from: source)
    bytes = UnsafeRawBufferPointer(rebasing: buffer[0..<source.count])
    isMapped = false
  }

  private init(adopting bytes: UnsafeRawBufferPointer, isMapped: Bool) {
    self.bytes = bytes
    self.isMapped = isMapped
  }

  deinit {
    guard let base = bytes.baseAddress else { return }
    if isMapped {
      munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
    } else {
      UnsafeMutableRawPointer(mutating: base).deallocate()
    }
  }

  /// The largest file that is read: the sections' 32-bit offsets cannot need more.
  private static let limit = 1 << 30

  /// Opens `path`. Kernel files are mapped; others are read, since a mapping of a file that
  /// somebody cuts short faults.
  static func open(path: String) throws(BTFError) -> BTFStorage {
    func failure() -> BTFError { BTFError(origin: path, offset: 0, rule: .unreadable(errno: errno)) }
    #if canImport(Darwin)
      let descriptor = Darwin.open(path, O_RDONLY | O_CLOEXEC)
    #elseif canImport(Musl)
      let descriptor = Musl.open(path, O_RDONLY | O_CLOEXEC)
    #else
      let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    #endif
    guard descriptor >= 0 else { throw failure() }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failure() }
    let size = Int(status.st_size)
    guard size <= limit else { throw BTFError(origin: path, offset: 0, rule: .tooLarge) }
    if path.hasPrefix("/sys/kernel/btf/"), size > 0,
      let map = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), map != MAP_FAILED
    {
      return BTFStorage(adopting: UnsafeRawBufferPointer(start: map, count: size), isMapped: true)
    }
    return try readAll(descriptor, expected: size, path: path)
  }

  private static func readAll(_ descriptor: Int32, expected: Int, path: String) throws(BTFError) -> BTFStorage {
    var capacity = max(expected, 4096)
    var buffer = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 8)
    var filled = 0
    while true {
      if filled == capacity {
        guard capacity < limit else {
          buffer.deallocate()
          throw BTFError(origin: path, offset: filled, rule: .tooLarge)
        }
        let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity * 2, alignment: 8)
        larger.copyMemory(from: buffer, byteCount: filled)
        buffer.deallocate()
        buffer = larger
        capacity *= 2
      }
      let count = read(descriptor, buffer + filled, capacity - filled)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else {
        let code = errno
        buffer.deallocate()
        throw BTFError(origin: path, offset: filled, rule: .unreadable(errno: code))
      }
      if count == 0 { break }
      filled += count
      // A regular file that was read whole needs no second look.
      if filled == expected && filled < capacity { break }
    }
    return BTFStorage(adopting: UnsafeRawBufferPointer(start: buffer, count: filled), isMapped: false)
  }
}

/// Owns the byte offset of each type.
final class BTFOffsetTable: @unchecked Sendable {
  let offsets: UnsafeMutablePointer<UInt32>

  init(capacity: Int) {
    offsets = .allocate(capacity: max(capacity, 1))
  }

  deinit {
    offsets.deallocate()
  }
}
