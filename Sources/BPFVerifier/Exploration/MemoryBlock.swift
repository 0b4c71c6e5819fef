import Synchronization

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Memory that pools are made of: a small block for small programs, then large ones that are used again by the
/// verifications that follow.
struct MemoryBlock: @unchecked Sendable {
  let base: UnsafeMutableRawPointer
  let size: Int

  private static let smallSize = 1 << 16
  private static let largeSize = 1 << 21
  /// How many large blocks wait to be used again, at most.
  private static let maximumKept = 32
  private static let kept = Mutex<[MemoryBlock]>([])

  static func take(isFirst: Bool) -> MemoryBlock {
    if let block = kept.withLock({ $0.popLast() }) { return block }
    if isFirst { return MemoryBlock(base: .allocate(byteCount: smallSize, alignment: 16), size: smallSize) }
    let base = UnsafeMutableRawPointer.allocate(byteCount: largeSize, alignment: largeSize)
    #if os(Linux)
    // One fault in place of five hundred, where the kernel has a huge page to give.
    madvise(base, largeSize, MADV_HUGEPAGE)
    #endif
    return MemoryBlock(base: base, size: largeSize)
  }

  func release() {
    let isKept =
      size == Self.largeSize
      && Self.kept.withLock { kept in
        guard kept.count < Self.maximumKept else { return false }
        kept.append(self)
        return true
      }
    if !isKept { base.deallocate() }
  }
}
