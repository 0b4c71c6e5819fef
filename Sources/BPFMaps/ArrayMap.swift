import BPFLinux
import CBPFRuntime

/// The index that a key of four bytes is.
@inline(__always)
func index(_ key: UnsafeRawPointer?) -> UInt32 { key.unsafelyUnwrapped.loadUnaligned(as: UInt32.self) }

/// `BPF_MAP_TYPE_ARRAY` and `PERCPU_ARRAY`.
///
/// Elements lie `stride` apart from `block.values` on, and never move, so that programs compute their addresses
/// themselves. `BPF_F_MMAPABLE` puts them into a file that other processes can map.
public final class ArrayMap: Map, @unchecked Sendable {
  private let memory: UnsafeMutableRawPointer
  private let byteCount: Int
  private let file: SharedFile?
  private let isPerCPU: Bool

  /// What to map for `BPF_F_MMAPABLE`; -1 where there is nothing.
  public var descriptor: Int32 { file?.descriptor ?? -1 }
  /// Bytes that can be mapped: whole pages.
  public var mappableSize: Int { file?.byteCount ?? 0 }

  init(_ definition: MapDefinition, fields: [SpecialField], system: MapSystem) throws(MapError) {
    guard definition.keySize == 4, definition.valueSize > 0, definition.maxEntries > 0,
      definition.valueSize <= UInt32(Int32.max)
    else { throw MapError(.EINVAL, "entries, a key of 4 bytes and a value are needed") }
    let isPerCPU = definition.type == .percpuArray
    let stride = Int(definition.valueSize).roundedUp(to: 8)
    let (bytes, overflow) = stride.multipliedReportingOverflow(by: Int(definition.maxEntries))
    let cpuStride = bytes.roundedUp(to: 128)
    let (total, overflowTotal) = isPerCPU ? cpuStride.multipliedReportingOverflow(by: system.cpuCount) : (bytes, false)
    guard !overflow, !overflowTotal, total < 1 << 42 else {
      throw MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    }
    let noMemory = MapError(.ENOMEM, "no memory for \(definition.maxEntries) entries")
    if definition.flags.contains(.mmapable) {
      byteCount = total.roundedUp(to: ZeroedMemory.pageSize)
      guard let file = SharedFile(byteCount: byteCount) else { throw noMemory }
      guard let memory = file.map(byteCount) else {
        file.closeFile()
        throw noMemory
      }
      self.file = file
      self.memory = memory
    } else {
      byteCount = total
      file = nil
      guard let memory = ZeroedMemory.allocate(total) else { throw noMemory }
      self.memory = memory
    }
    self.isPerCPU = isPerCPU
    super.init(base: definition, fields: fields, system: system)
    definition.initialValue.prefix(Int(definition.valueSize)).withUnsafeBytes { initial in
      guard let base = initial.baseAddress else { return }
      memory.copyMemory(from: base, byteCount: initial.count)
    }
    block.pointee.values = memory.assumingMemoryBound(to: UInt8.self)
    block.pointee.stride = UInt64(stride)
    block.pointee.cpu_stride = isPerCPU ? UInt64(cpuStride) : 0
    block.pointee.lookup = isPerCPU ? Self.lookupPerCPUFunction : Self.lookupFunction
    block.pointee.update = Self.updateFunction
    block.pointee.remove = { _, _, _ in -22 }
  }

  deinit {
    if value.owns {
      for cpu in 0..<(isPerCPU ? system.cpuCount : 1) {
        for index in 0..<definition.maxEntries { system.releaseFields(fields, place(index, cpu)) }
      }
    }
    if let file {
      ReservedAddresses.release(memory, byteCount)
      file.closeFile()
    } else {
      ZeroedMemory.free(memory, byteCount)
    }
  }

  /// Element `index`, of the CPU where elements are per CPU.
  public func place(_ index: UInt32, _ cpu: Int = 0) -> UnsafeMutableRawPointer {
    memory + Int(index) * value.stride + cpu * Int(block.pointee.cpu_stride)
  }

  private static let lookupFunction: HashLookup.Function = { map, key, _ in
    let map = map.unsafelyUnwrapped
    let index = index(key)
    guard index < map.pointee.max_entries else { return 0 }
    return HashLookup.address(map.pointee.values) &+ UInt64(index) &* map.pointee.stride
  }

  private static let lookupPerCPUFunction: HashLookup.Function = { map, key, run in
    let map = map.unsafelyUnwrapped
    let index = index(key)
    guard index < map.pointee.max_entries else { return 0 }
    return HashLookup.address(map.pointee.values) &+ UInt64(index) &* map.pointee.stride
      &+ UInt64(run.unsafelyUnwrapped.pointee.cpu) &* map.pointee.cpu_stride
  }

  private static let updateFunction:
    @convention(c) (
      UnsafeMutablePointer<skep_map>?, UnsafeRawPointer?, UnsafeRawPointer?, UInt64, UnsafeMutablePointer<skep_run>?
    ) -> Int64 = { map, key, value, flags, run in
      Unmanaged<ArrayMap>.fromOpaque(map.unsafelyUnwrapped.pointee.object)._withUnsafeGuaranteedRef {
        Int64(
          $0.update(index(key), value.unsafelyUnwrapped, flags, cpu: Int(run.unsafelyUnwrapped.pointee.cpu)))
      }
    }

  @inline(__always)
  private func update(_ index: UInt32, _ bytes: UnsafeRawPointer, _ flags: UInt64, cpu: Int) -> Int32 {
    guard flags & ~UpdateFlags.lock <= UpdateFlags.exist else { return -22 }
    guard index < block.pointee.max_entries else { return -7 }
    guard flags & UpdateFlags.noExist == 0 else { return -17 }
    guard flags & UpdateFlags.lock == 0 || value.lock != nil else { return -22 }
    let place = place(index, isPerCPU ? cpu : 0)
    if flags & UpdateFlags.lock != 0 && !isPerCPU {
      value.storeLocked(place, bytes)
    } else {
      value.store(place, bytes)
    }
    if value.owns { system.releaseFields(fields, place) }
    return 0
  }

  // MARK: What users call

  public override var userValueSize: Int {
    isPerCPU ? value.stride * system.cpuCount : Int(definition.valueSize)
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let index = index(key)
    guard index < definition.maxEntries else { return -2 }
    if isPerCPU {
      for cpu in 0..<system.cpuCount { value.loadRounded(place(index, cpu), into: bytes + cpu * value.stride) }
    } else if flags & UpdateFlags.lock != 0 {
      value.loadLocked(place(index), into: bytes)
    } else {
      value.load(place(index), into: bytes)
    }
    return 0
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let index = index(key)
    guard isPerCPU else { return update(index, bytes, flags, cpu: 0) }
    guard flags <= UpdateFlags.exist else { return -22 }
    guard index < definition.maxEntries else { return -7 }
    guard flags != UpdateFlags.noExist else { return -17 }
    for cpu in 0..<system.cpuCount {
      value.storeRounded(place(index, cpu), bytes + cpu * value.stride)
      if value.owns { system.releaseFields(fields, place(index, cpu)) }
    }
    return 0
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 { -22 }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    nextIndex(after: key, into: next)
  }

  public override func forEachElement(
    cpu: Int, _ body: (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Bool
  ) -> Int? {
    var key: UInt32 = 0
    var count = 0
    for index in 0..<definition.maxEntries {
      key = index
      count += 1
      guard withUnsafeMutableBytes(of: &key, { body($0.baseAddress ?? memory, place(index, isPerCPU ? cpu : 0)) })
      else { break }
    }
    return count
  }

  public override func lookup(_ key: UnsafeRawPointer, cpu: UInt32) -> UnsafeMutableRawPointer? {
    let index = index(key)
    guard isPerCPU, cpu < UInt32(system.cpuCount), index < definition.maxEntries else { return nil }
    return place(index, Int(cpu))
  }

  override var batchCommands: BatchCommands { [.lookup, .update] }
}

extension Map {
  /// The keys of what is indexed: all of them, whether something is there or not.
  func nextIndex(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    let index = key?.loadUnaligned(as: UInt32.self) ?? .max
    guard index != definition.maxEntries - 1 || index >= definition.maxEntries else { return -2 }
    next.storeBytes(of: index >= definition.maxEntries ? 0 : index + 1, as: UInt32.self)
    return 0
  }
}
