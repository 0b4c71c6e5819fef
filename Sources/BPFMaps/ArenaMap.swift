import BPFLinux
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// `BPF_MAP_TYPE_ARENA`: up to 4 GB that programs and user space share, page by page.
///
/// Programs reach a page at `block.values` + the low 32 bits of its user address. Everything that such an address and a
/// 16-bit offset can reach is memory; pages that are not allocated read as zeros.
///
///     | guard | 4 GB, of which the arena is a part … | guard |
///             ▲ `block.values`
///
/// Unless `map_extra` says where user space has it, the arena's user addresses are those that it has in this process.
public final class ArenaMap: Map, @unchecked Sendable {
  private static let window = 1 << 32
  private static let guardSize = 1 << 16
  private static let pageSize = ZeroedMemory.pageSize
  /// Where an arena begins in its window, so that no page has the address 0.
  private static let firstOffset = 1 << 20

  private let file: SharedFile
  private let reserved: UnsafeMutableRawPointer
  private let reservedSize: Int
  private let base: UnsafeMutableRawPointer
  private let lock = Mutex()
  /// Pages that can be allocated, in order: the first, and how many.
  private var free: [(start: Int, count: Int)]

  /// The address that user space has the arena at.
  public let userStart: UInt64
  /// Pages that there may be.
  public let pageCount: Int
  /// The pages, to be mapped by others from offset 0.
  public var descriptor: Int32 { file.descriptor }
  /// Where page 0 is in this process.
  public var memory: UnsafeMutableRawPointer { base + Int(userStart & 0xffff_ffff) }

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    let size = Int(definition.maxEntries) * Self.pageSize
    guard definition.keySize == 0, definition.valueSize == 0, size > 0,
      definition.mapExtra % UInt64(Self.pageSize) == 0
    else { throw MapError(.EINVAL, "entries are needed, no key or value, and the address of a page") }
    guard size <= Self.window else { throw MapError(.E2BIG, "an arena has at most 4 GB") }
    guard definition.mapExtra >> 32 == (definition.mapExtra &+ UInt64(size) &- 1) >> 32 else {
      throw MapError(.ERANGE, "the addresses cross a boundary of 4 GB")
    }
    pageCount = Int(definition.maxEntries)
    free = [(0, pageCount)]
    let noMemory = MapError(.ENOMEM, "no addresses for an arena")
    reservedSize = 2 * Self.window + 2 * Self.guardSize
    guard let reserved = ReservedAddresses.reserve(reservedSize) else { throw noMemory }
    self.reserved = reserved
    // The window begins where the low 32 bits of addresses are 0.
    let lowest = UInt(bitPattern: reserved + Self.guardSize)
    let aligned = (lowest + UInt(Self.window) - 1) & ~UInt(Self.window - 1)
    base = reserved + Self.guardSize + Int(aligned - lowest)
    let offset = min(Self.firstOffset, Self.window - size)
    userStart = definition.mapExtra != 0 ? definition.mapExtra : UInt64(aligned) + UInt64(offset)
    let start = base + Int(userStart & 0xffff_ffff)
    guard let file = SharedFile(byteCount: size) else {
      ReservedAddresses.release(reserved, reservedSize)
      throw noMemory
    }
    self.file = file
    guard ReservedAddresses.fill(base - Self.guardSize, Self.window + 2 * Self.guardSize),
      file.map(at: start, size) != nil
    else {
      ReservedAddresses.release(reserved, reservedSize)
      file.closeFile()
      throw noMemory
    }
    super.init(base: definition, fields: [], system: system)
    block.pointee.values = base.assumingMemoryBound(to: UInt8.self)
    block.pointee.stride = userStart
    block.pointee.lookup = { _, _, _ in UInt64(bitPattern: -22) }
  }

  deinit {
    ReservedAddresses.release(reserved, reservedSize)
    file.closeFile()
  }

  // MARK: What the kfuncs do

  /// `bpf_arena_alloc_pages`: the user address of the first page, 0 where there is no room.
  ///
  /// - Parameter hint: where to have them; 0 for anywhere.
  public func allocatePages(hint: UInt64, count: UInt32, node: Int32 = -1, flags: UInt64 = 0) -> UInt64 {
    let count = Int(count)
    guard flags == 0, count > 0, count <= pageCount else { return 0 }
    var page = 0
    if hint != 0 {
      guard hint % UInt64(Self.pageSize) == 0 else { return 0 }
      page = self.page(hint)
      guard page <= pageCount - count else { return 0 }
    }
    return lock.withLock {
      if hint != 0 {
        guard isFree(page, count) else { return 0 }
      } else {
        let fitting = free.filter { $0.count >= count }
        guard let best = fitting.min(by: { $0.count < $1.count }) else { return 0 }
        page = best.start
      }
      take(page, count)
      return userStart & ~0xffff_ffff | UInt64(UInt32(truncatingIfNeeded: userStart &+ UInt64(page * Self.pageSize)))
    }
  }

  /// `bpf_arena_free_pages`.
  public func freePages(_ address: UInt64, count: UInt32) {
    guard count > 0, address != 0 else { return }
    let pageMask = UInt64(Self.pageSize - 1)
    let full = userStart & ~0xffff_ffff | (address & 0xffff_ffff & ~pageMask)
    let end = min(userStart + UInt64(pageCount * Self.pageSize), full + UInt64(count) * UInt64(Self.pageSize))
    guard full < end, full >= userStart else { return }
    let first = page(full)
    let number = Int(end - full) / Self.pageSize
    lock.withLock {
      give(first, number)
      clear(memory + first * Self.pageSize, number * Self.pageSize)
    }
  }

  /// `bpf_arena_reserve_pages`: 0 or a negative error number.
  public func reservePages(_ address: UInt64, count: UInt32) -> Int64 {
    guard count > 0, address % UInt64(Self.pageSize) == 0 else { return 0 }
    let first = page(address)
    guard first + Int(count) <= pageCount else { return -22 }
    return lock.withLock {
      guard isFree(first, Int(count)) else { return -16 }
      take(first, Int(count))
      return 0
    }
  }

  private func page(_ address: UInt64) -> Int {
    Int(UInt32(truncatingIfNeeded: address &- userStart)) / Self.pageSize
  }

  private func clear(_ address: UnsafeMutableRawPointer, _ byteCount: Int) {
    #if os(Linux)
    if madvise(address, byteCount, MADV_REMOVE) == 0 { return }
    #endif
    address.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }

  // MARK: Pages that are free

  private func isFree(_ first: Int, _ count: Int) -> Bool {
    free.contains { $0.start <= first && first + count <= $0.start + $0.count }
  }

  private func take(_ first: Int, _ count: Int) {
    guard let index = free.firstIndex(where: { $0.start <= first && first + count <= $0.start + $0.count }) else {
      return
    }
    let range = free[index]
    var rest: [(start: Int, count: Int)] = []
    if range.start < first { rest.append((range.start, first - range.start)) }
    let end = range.start + range.count
    if first + count < end { rest.append((first + count, end - first - count)) }
    free.replaceSubrange(index...index, with: rest)
  }

  private func give(_ first: Int, _ count: Int) {
    var start = first
    var end = first + count
    free.removeAll {
      guard $0.start <= end && start <= $0.start + $0.count else { return false }
      start = min(start, $0.start)
      end = max(end, $0.start + $0.count)
      return true
    }
    let index = free.firstIndex { $0.start > start } ?? free.count
    free.insert((start, end - start), at: index)
  }

  // MARK: What users call

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 { -22 }
  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 { -95 }
  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 { -95 }
  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 { -95 }
}
