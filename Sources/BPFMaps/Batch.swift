import BPFLinux

/// The batch commands of `bpf(2)`.
struct BatchCommands: OptionSet, Sendable {
  let rawValue: UInt8
  static let lookup = BatchCommands(rawValue: 1)
  static let lookupAndDelete = BatchCommands(rawValue: 2)
  static let update = BatchCommands(rawValue: 4)
  static let delete = BatchCommands(rawValue: 8)
  static let all: BatchCommands = [.lookup, .lookupAndDelete, .update, .delete]
}

/// What a batch command did: it may have come part of the way.
public struct MapBatch: Sendable {
  /// Keys and values, one after the other.
  public var keys: [UInt8] = []
  public var values: [UInt8] = []
  /// Elements that were looked up or worked on.
  public var count = 0
  /// Where to go on; nil where nothing is written to `out_batch`.
  public var next: [UInt8]?
  /// `ENOENT` at the end of the map.
  public var error: Errno?
}

extension Map {
  /// `BPF_MAP_LOOKUP_BATCH`, or `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
  ///
  /// - Parameters:
  ///   - token: what `next` of the batch before says; nil to begin.
  ///   - elementFlags: `elem_flags`.
  ///   - flags: `flags`, of which there are none.
  public func lookupBatch(
    after token: [UInt8]? = nil, count: Int, elementFlags: UInt64 = 0, flags: UInt64 = 0, removing: Bool = false,
    access: MapAccess? = nil
  ) throws(Errno) -> MapBatch {
    guard removing else {
      try checkBatch(.lookup, access)
      return try checkedLookupBatch(token, count, elementFlags, flags, removing: false)
    }
    return try batchWriting { () throws(Errno) in
      try checkBatch(.lookupAndDelete, access)
      return try checkedLookupBatch(token, count, elementFlags, flags, removing: true)
    }
  }

  private func checkedLookupBatch(
    _ token: [UInt8]?, _ count: Int, _ elementFlags: UInt64, _ flags: UInt64, removing: Bool
  ) throws(Errno) -> MapBatch {
    guard elementFlags & ~UpdateFlags.lock == 0 else { throw .EINVAL }
    try checkLock(elementFlags)
    guard flags == 0 || !(self is HashMap) else { throw .EINVAL }
    guard count > 0 else { return MapBatch() }
    return try lookupBatch(after: token, count: count, flags: elementFlags, removing: removing)
  }

  /// `BPF_MAP_UPDATE_BATCH`: `count` keys and values, one after the other.
  public func updateBatch(
    keys: [UInt8], values: [UInt8], count: Int, elementFlags: UInt64 = 0, access: MapAccess? = nil
  ) throws(Errno) -> MapBatch {
    try batchWriting { () throws(Errno) in
      try checkBatch(.update, access)
      return try eachOfBatch(keys, values, count, elementFlags) { key, value in
        withAligned(key) { key in withAligned(value) { updateElement(key, $0, flags: elementFlags) } }
      }
    }
  }

  /// `BPF_MAP_DELETE_BATCH`.
  public func deleteBatch(
    keys: [UInt8], count: Int, elementFlags: UInt64 = 0, access: MapAccess? = nil
  ) throws(Errno) -> MapBatch {
    try batchWriting { () throws(Errno) in
      try checkBatch(.delete, access)
      return try eachOfBatch(keys, nil, count, elementFlags) { key, _ in
        withAligned(key) { deleteElement($0) }
      }
    }
  }

  private func eachOfBatch(
    _ keys: [UInt8], _ values: [UInt8]?, _ count: Int, _ elementFlags: UInt64,
    _ body: ([UInt8], [UInt8]) -> Int32
  ) throws(Errno) -> MapBatch {
    guard elementFlags & ~UpdateFlags.lock == 0 else { throw .EINVAL }
    try checkLock(elementFlags)
    var batch = MapBatch()
    let valueSize = userValueSize
    while batch.count < count {
      let keyStart = batch.count * keySize
      let valueStart = batch.count * valueSize
      guard keyStart + keySize <= keys.count, values.map({ valueStart + valueSize <= $0.count }) ?? true else {
        batch.error = .EFAULT
        break
      }
      let value = values.map { [UInt8]($0[valueStart..<valueStart + valueSize]) } ?? []
      let result = body([UInt8](keys[keyStart..<keyStart + keySize]), value)
      if result < 0 {
        batch.error = Errno(rawValue: -result)
        break
      }
      batch.count += 1
    }
    return batch
  }

  /// Key by key, in the order of `nextKey`.
  func lookupBatchByKeys(after token: [UInt8]?, count: Int, flags: UInt64) throws(Errno) -> MapBatch {
    var batch = MapBatch()
    if let token, token.count < keySize { throw .EFAULT }
    var previous = token.map { [UInt8]($0.prefix(keySize)) }
    let size = userValueSize
    while batch.count < count {
      var key = [UInt8](repeating: 0, count: max(8, keySize))
      var result = key.withUnsafeMutableBytes { next -> Int32 in
        guard let next = next.baseAddress else { return -12 }
        guard let previous else { return nextKeyElement(after: nil, into: next) }
        return withAligned(previous) { nextKeyElement(after: $0, into: next) }
      }
      if result < 0 {
        batch.error = Errno(rawValue: -result)
        break
      }
      key.removeLast(key.count - keySize)
      var value = [UInt8](repeating: 0, count: max(8, size.roundedUp(to: 8)))
      result = withAligned(key) { key in
        value.withUnsafeMutableBytes { bytes -> Int32 in
          guard let bytes = bytes.baseAddress else { return -12 }
          return lookupElement(key, into: bytes, flags: flags)
        }
      }
      previous = key
      if result == -2 { continue }
      if result < 0 { throw Errno(rawValue: -result) }
      batch.keys += key
      batch.values += value.prefix(size)
      batch.count += 1
    }
    if batch.count > 0 { batch.next = previous }
    return batch
  }
}
