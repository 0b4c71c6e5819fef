import BPFLinux
import CBPFRuntime

/// `BPF_MAP_TYPE_STACK_TRACE`: call stacks by their hash.
public final class StackTraceMap: Map, @unchecked Sendable {
  private struct Trace {
    let hash: UInt32
    let count: Int
    let bytes: [UInt8]
  }

  private let bucketCount: Int
  private let lock = Mutex()
  private var traces: [UInt32: Trace] = [:]

  private static let skipMask: UInt64 = 0xff
  private static let fastCompare: UInt64 = 1 << 9
  private static let reuse: UInt64 = 1 << 10
  /// `kernel.perf_event_max_stack`.
  private static let deepest = 127

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    guard definition.keySize == 4, definition.valueSize >= 8, definition.valueSize % 8 == 0,
      definition.maxEntries > 0, definition.maxEntries <= 1 << 31
    else { throw MapError(.EINVAL, "entries, a key of 4 bytes and a value of whole words are needed") }
    bucketCount = Int(definition.maxEntries).roundedUpToPowerOfTwo
    super.init(base: definition, fields: [], system: system)
    block.pointee.update = { _, _, _, _, _ in -22 }
    block.pointee.remove = { map, key, _ in
      Unmanaged<StackTraceMap>.fromOpaque(map.unsafelyUnwrapped.pointee.object)._withUnsafeGuaranteedRef {
        Int64($0.deleteElement(key))
      }
    }
  }

  /// Bytes of a frame: an address, or 32 with a build id.
  public var frameSize: Int { definition.flags.contains(.stackBuildID) ? 32 : 8 }

  /// Frames to collect for `bpf_get_stackid`, those to be skipped among them.
  public func depth(flags: UInt64) -> Int {
    min(Int(definition.valueSize) / frameSize + Int(flags & Self.skipMask), Self.deepest)
  }

  /// Puts a stack in (`bpf_get_stackid`): its number, or a negative error number.
  ///
  /// - Parameters:
  ///   - frames: addresses, the innermost first, of which `flags` says how many to skip.
  ///   - buildIDs: with `BPF_F_STACK_BUILD_ID`: `struct bpf_stack_build_id` of an address; without one the address.
  public func insert(
    _ frames: [UInt64], flags: UInt64, buildIDs: ((UInt64) -> [UInt8])? = nil
  ) -> Int64 {
    let skip = Int(flags & Self.skipMask)
    guard frames.count > skip else { return -14 }
    let kept = Array(frames[skip..<min(frames.count, max(skip, depth(flags: flags)))])
    let hash = kept.withUnsafeBytes { bytes in
      bytes.baseAddress.map { JenkinsHash.words($0, count: kept.count * 2, seed: 0) } ?? 0
    }
    let number = hash & UInt32(truncatingIfNeeded: bucketCount - 1)
    return lock.withLock {
      let there = traces[number]
      let isSameHash = there?.hash == hash
      if isSameHash && flags & Self.fastCompare != 0 { return Int64(number) }
      let hasIDs = definition.flags.contains(.stackBuildID)
      if hasIDs && traces.count >= Int(definition.maxEntries) { return -12 }
      let bytes = kept.flatMap { hasIDs ? Self.identified($0, buildIDs) : Self.bytes($0) }
      if isSameHash, there?.count == kept.count, there?.bytes == bytes { return Int64(number) }
      if there != nil && flags & Self.reuse == 0 { return -17 }
      if traces.count >= Int(definition.maxEntries) { return -12 }
      traces[number] = Trace(hash: hash, count: kept.count, bytes: bytes)
      return Int64(number)
    }
  }

  private static func bytes(_ address: UInt64) -> [UInt8] { withUnsafeBytes(of: address.littleEndian) { Array($0) } }

  /// `struct bpf_stack_build_id`: status, build id, offset or address.
  private static func identified(_ address: UInt64, _ buildIDs: ((UInt64) -> [UInt8])?) -> [UInt8] {
    if let known = buildIDs?(address), known.count == 32 { return known }
    let status: [UInt8] = [2, 0, 0, 0]
    return status + [UInt8](repeating: 0, count: 20) + bytes(address)
  }

  private func extract(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, removing: Bool
  ) -> Int32 {
    let number = index(key)
    guard Int(number) < bucketCount else { return -2 }
    return lock.withLock {
      guard let trace = traces[number] else { return -2 }
      bytes.initializeMemory(as: UInt8.self, repeating: 0, count: Int(definition.valueSize))
      trace.bytes.withUnsafeBytes {
        guard let base = $0.baseAddress else { return }
        bytes.copyMemory(from: base, byteCount: min($0.count, Int(definition.valueSize)))
      }
      if removing { traces[number] = nil }
      return 0
    }
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    extract(key, bytes, removing: false)
  }
  override func takeElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    extract(key, bytes, removing: true)
  }
  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 { -22 }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    let number = index(key)
    guard Int(number) < bucketCount else { return -7 }
    return lock.withLock { traces.removeValue(forKey: number) == nil ? -2 : 0 }
  }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    lock.withLock {
      var first: UInt32 = 0
      if let key {
        let number = index(key)
        if traces[number] != nil { first = number + 1 }
      }
      guard let found = traces.keys.filter({ $0 >= first }).min() else { return -2 }
      next.storeBytes(of: found, as: UInt32.self)
      return 0
    }
  }
}
