import BPFKernel
import BPFLinux
import BPFMaps
import BTF

/// A map that programs run with, in this process or in the kernel: its contents by key, as JSON or as bytes.
///
/// ```swift
/// try counts.set(.string("10.0.0.1"), to: .integer(0))
/// for entry in try counts.entries() { print(entry.key.compactText, entry.value.compactText) }
/// ```
///
/// JSON has the shape that `ValueType` describes. Values of per-CPU maps are lists, one value for each CPU. Errors
/// name the map, and the kernel's error number where it was refused.
public struct MapContents: Sendable {
  /// The full name.
  public let name: String
  public let definition: MapDefinition
  public let keyType: ValueType
  public let valueType: ValueType
  let store: any MapStore
  /// Of a value, what is shown as zero.
  private let managedRanges: [Range<Int>]
  /// What maps and programs are called that others hold.
  let names: @Sendable (UInt32) -> String?

  /// One element.
  public struct Entry: Sendable, Hashable {
    public let key: JSONValue
    /// Per-CPU maps: a list, one value for each CPU.
    public let value: JSONValue
    public let keyBytes: [UInt8]
    /// Per-CPU maps: each CPU's value, rounded up to 8 bytes.
    public let valueBytes: [UInt8]
  }

  init(
    _ name: String, _ definition: MapDefinition, btf: BTF?, keyType: TypeID, valueType: TypeID, _ store: any MapStore,
    names: @escaping @Sendable (UInt32) -> String? = { _ in nil }
  ) {
    self.name = name
    self.definition = definition
    self.keyType = ValueType(size: Int(definition.keySize), btf: btf, type: keyType)
    self.valueType = ValueType(size: Int(definition.valueSize), btf: btf, type: valueType)
    self.store = store
    self.names = names
    managedRanges = definition.managedRanges
  }

  /// Whether elements have an index for a key.
  private var isArray: Bool {
    switch definition.type {
    case .array, .percpuArray, .arrayOfMaps, .progArray, .perfEventArray, .cgroupArray, .devmap, .cpumap, .xskmap,
      .sockmap, .reuseportSockarray:
      true
    default: false
    }
  }

  /// Elements are taken, not looked up.
  private var isQueue: Bool { definition.type == .queue || definition.type == .stack }

  /// Bytes of a value as `update` takes it: one for each CPU, rounded up to 8, in per-CPU maps.
  public var transferSize: Int {
    definition.type.hasValuePerCPU ? roundedValueSize * store.cpuCount : valueType.size
  }

  private var roundedValueSize: Int { (valueType.size + 7) / 8 * 8 }

  private func refusal(_ what: String, _ error: MapStoreError) -> RunError {
    RunError(.input, "map '\(name)': \(what): \(error.errno)", errno: error.errno)
  }

  private func wrong(_ what: String, _ error: TypedValueError) -> RunError {
    RunError(.input, "map '\(name)': \(what): \(error)")
  }

  // MARK: Reading

  /// The value at a key; nil where there is none.
  public func value(at key: JSONValue) throws(RunError) -> JSONValue? {
    let bytes = try keyBytes(key)
    do {
      return json(value: shown(try store.lookup(bytes)))
    } catch {
      if error.errno == .ENOENT { return nil }
      throw refusal("lookup", error)
    }
  }

  /// Whether the map has elements that reading leaves in place, and that say something: constants without a type, such
  /// as texts that are printed, do not.
  public var isDumpable: Bool {
    guard !Self.isUnlisted(definition.type) else { return false }
    return valueType.isKnown || !name.contains(".rodata")
  }

  private static func isUnlisted(_ type: MapType) -> Bool {
    switch type {
    case .queue, .stack, .ringbuf, .userRingbuf, .bloomFilter, .perfEventArray, .structOps, .arena, .skStorage,
      .taskStorage, .inodeStorage, .cgrpStorage, .cgroupStorage, .percpuCgroupStorage:
      true
    default: false
    }
  }

  /// All elements, in the map's order; for queues and stacks none, since reading takes them out.
  public func entries() throws(RunError) -> [Entry] {
    if Self.isUnlisted(definition.type) { return [] }
    var entries: [Entry] = []
    var key: [UInt8]?
    // More than a map can hold are seen only where another thread changes it meanwhile.
    var left = Int(definition.maxEntries) * 2 + 16
    while left > 0 {
      left -= 1
      do {
        guard let next = try store.nextKey(after: key) else { break }
        key = next
      } catch {
        // The kernel has no way to go through maps of this type.
        if error.errno == .EOPNOTSUPP || error.errno == .ENOTSUPP { break }
        throw refusal("next key", error)
      }
      guard let key else { break }
      let bytes: [UInt8]
      do {
        bytes = shown(try store.lookup(key))
      } catch {
        // Empty slots, and elements that another thread has taken away.
        if [.ENOENT, .EOPNOTSUPP, .ENOTSUPP].contains(error.errno) { continue }
        throw refusal("lookup", error)
      }
      entries.append(
        Entry(key: keyType.isKnown || !isArray ? keyType.json(key) : .number(ValueType.word(key[...])),
          value: json(value: bytes), keyBytes: key, valueBytes: bytes))
    }
    return entries
  }

  private func shown(_ value: [UInt8]) -> [UInt8] {
    guard !managedRanges.isEmpty else { return value }
    var value = value
    let stride = definition.type.hasValuePerCPU ? roundedValueSize : max(value.count, 1)
    for start in Swift.stride(from: 0, to: value.count, by: max(stride, 1)) {
      for range in managedRanges {
        for place in range where start + place < value.count { value[start + place] = 0 }
      }
    }
    return value
  }

  private func json(value bytes: [UInt8]) -> JSONValue {
    switch definition.type {
    case .arrayOfMaps, .hashOfMaps, .progArray:
      let id = UInt32(truncatingIfNeeded: ValueType.word(bytes[...]))
      return names(id).map { .string($0) } ?? .number(UInt64(id))
    default: break
    }
    guard definition.type.hasValuePerCPU, roundedValueSize > 0 else { return valueType.json(bytes) }
    return .array(
      stride(from: 0, to: bytes.count, by: roundedValueSize).map { start in
        valueType.json(Array(bytes[start..<min(start + valueType.size, bytes.count)]))
      })
  }

  /// Everything in the map as `bpftool map dump` shows it: a list of objects with `key` and `value`, or with `values`
  /// by CPU. `fill` takes it back.
  public func dump() throws(RunError) -> JSONValue {
    let isPerCPU = definition.type.hasValuePerCPU
    return .array(
      try entries().map { entry in
        guard isPerCPU, case .array(let values) = entry.value else {
          return .object([.init("key", entry.key), .init("value", entry.value)])
        }
        let list = values.enumerated().map { cpu, value in
          JSONValue.object([.init("cpu", .integer(Int64(cpu))), .init("value", value)])
        }
        return .object([.init("key", entry.key), .init("values", .array(list))])
      })
  }

  /// Takes the records out of a ring buffer, or the elements out of a queue or stack, oldest (stacks: newest) first.
  public func drain() throws(RunError) -> [[UInt8]] {
    do {
      if definition.type == .ringbuf { return try store.drainRecords() }
    } catch {
      throw refusal("reading records", error)
    }
    guard isQueue else { return [] }
    var taken: [[UInt8]] = []
    while taken.count < Int(definition.maxEntries) {
      do {
        taken.append(try store.lookupAndDelete([]))
      } catch {
        if error.errno == .ENOENT { break }
        throw refusal("taking an element", error)
      }
    }
    return taken
  }

  // MARK: Writing

  /// Sets the value at a key. Per-CPU maps take a list with a value for each CPU, or one value for all.
  public func set(_ key: JSONValue, to value: JSONValue) throws(RunError) {
    try update(try keyBytes(key), try valueBytes(value))
  }

  /// Sets the bytes at a key, as `BPF_MAP_UPDATE_ELEM` takes them.
  public func update(_ key: [UInt8], _ value: [UInt8], flags: UInt64 = 0) throws(RunError) {
    guard key.count == keyType.size || (isQueue && key.isEmpty) else {
      throw RunError(.input, "map '\(name)': a key of \(key.count) bytes, where it has \(keyType.size)")
    }
    do {
      try store.update(key, value, flags: flags)
    } catch {
      throw refusal("update", error)
    }
  }

  /// Removes an element; false where there is none.
  @discardableResult
  public func remove(_ key: JSONValue) throws(RunError) -> Bool {
    let bytes = try keyBytes(key)
    do {
      try store.delete(bytes)
      return true
    } catch {
      if error.errno == .ENOENT { return false }
      throw refusal("delete", error)
    }
  }

  func keyBytes(_ key: JSONValue) throws(RunError) -> [UInt8] {
    do {
      return try keyType.bytes(key)
    } catch {
      throw wrong("key", error)
    }
  }

  func valueBytes(_ value: JSONValue) throws(RunError) -> [UInt8] {
    do {
      guard definition.type.hasValuePerCPU else { return try valueType.bytes(value) }
      let padding = [UInt8](repeating: 0, count: roundedValueSize - valueType.size)
      guard case .array(let values) = value, values.count == store.cpuCount, store.cpuCount > 1 || isOneOf(values)
      else {
        let one = try valueType.bytes(value) + padding
        return Array((0..<store.cpuCount).map { _ in one }.joined())
      }
      var bytes: [UInt8] = []
      for value in values { bytes += try valueType.bytes(value) + padding }
      return bytes
    } catch {
      throw wrong("value", error)
    }
  }

  /// With one CPU, a list with one element is that CPU's value unless it is a value itself.
  private func isOneOf(_ values: [JSONValue]) -> Bool {
    (try? valueType.bytes(.array(values))) == nil
  }

  /// Puts many elements in: what `dump` gives, an object with keys for names, or for arrays a list of values in the
  /// order of their indices. Queues, stacks and bloom filters take a list of values.
  ///
  /// - Parameter put: sets elements of maps of maps and of arrays of programs, which are given by name.
  func fill(
    _ contents: JSONValue, put: (_ key: [UInt8], _ name: String) throws(RunError) -> Void
  ) throws(RunError) {
    func set(_ key: JSONValue, _ value: JSONValue) throws(RunError) {
      switch definition.type {
      case .arrayOfMaps, .hashOfMaps, .progArray:
        guard case .string(let target) = value else {
          let what = definition.type == .progArray ? "program" : "map"
          throw RunError(.input, "map '\(name)': value: the name of a \(what) is expected")
        }
        try put(try keyBytes(key), target)
      default: try self.set(key, to: value)
      }
    }
    switch contents {
    case .array(let elements) where isQueue || definition.type == .bloomFilter:
      for element in elements { try update([], try valueBytes(element)) }
    case .array(let elements) where elements.allSatisfy(Self.isEntry) && !elements.isEmpty:
      for element in elements {
        guard let key = element["key"] else { continue }
        if let value = element["value"] { try set(key, value) }
        if let values = element["values"] { try set(key, try Self.byCPU(values, name)) }
      }
    case .array(let elements):
      guard isArray else {
        throw RunError(.input, "map '\(name)': a list of {\"key\": …, \"value\": …} or an object is expected")
      }
      guard elements.count <= Int(definition.maxEntries) else {
        throw RunError(
          .input, "map '\(name)': \(elements.count) elements, where there are \(definition.maxEntries)")
      }
      for (index, element) in elements.enumerated() where element != .null {
        try set(.integer(Int64(index)), element)
      }
    case .object(let members):
      for member in members { try set(.string(member.name), member.value) }
    default: throw RunError(.input, "map '\(name)': a list or an object is expected")
    }
  }

  private static func isEntry(_ value: JSONValue) -> Bool {
    value["key"] != nil && (value["value"] != nil || value["values"] != nil)
  }

  private static func byCPU(_ values: JSONValue, _ name: String) throws(RunError) -> JSONValue {
    guard case .array(let elements) = values else {
      throw RunError(.input, "map '\(name)': 'values' is a list of {\"cpu\": …, \"value\": …}")
    }
    return .array(elements.map { $0["value"] ?? $0 })
  }
}

extension MapType {
  /// Whether each CPU has values of its own.
  var hasValuePerCPU: Bool {
    switch self {
    case .percpuHash, .percpuArray, .lruPercpuHash, .percpuCgroupStorage: true
    default: false
    }
  }
}

/// What a command on a map failed with.
struct MapStoreError: Error {
  let errno: Errno
}

/// A map's elements, wherever they are: what `bpf(2)` does with them.
protocol MapStore: Sendable {
  var cpuCount: Int { get }
  func lookup(_ key: [UInt8]) throws(MapStoreError) -> [UInt8]
  func lookupAndDelete(_ key: [UInt8]) throws(MapStoreError) -> [UInt8]
  func update(_ key: [UInt8], _ value: [UInt8], flags: UInt64) throws(MapStoreError)
  func delete(_ key: [UInt8]) throws(MapStoreError)
  /// Nil at the end.
  func nextKey(after key: [UInt8]?) throws(MapStoreError) -> [UInt8]?
  func drainRecords() throws(MapStoreError) -> [[UInt8]]
}

struct UserMapStore: MapStore {
  let map: Map
  let cpuCount: Int

  private func wrapping<R>(_ body: () throws(Errno) -> R) throws(MapStoreError) -> R {
    do {
      return try body()
    } catch {
      throw MapStoreError(errno: error)
    }
  }

  func lookup(_ key: [UInt8]) throws(MapStoreError) -> [UInt8] {
    try wrapping { () throws(Errno) in try map.lookup(key) }
  }

  func lookupAndDelete(_ key: [UInt8]) throws(MapStoreError) -> [UInt8] {
    try wrapping { () throws(Errno) in try map.lookupAndDelete(key) }
  }

  func update(_ key: [UInt8], _ value: [UInt8], flags: UInt64) throws(MapStoreError) {
    try wrapping { () throws(Errno) in try map.update(key, value, flags: flags) }
  }

  func delete(_ key: [UInt8]) throws(MapStoreError) {
    try wrapping { () throws(Errno) in try map.delete(key) }
  }

  func nextKey(after key: [UInt8]?) throws(MapStoreError) -> [UInt8]? {
    do {
      return try map.nextKey(after: key)
    } catch {
      guard error == .ENOENT else { throw MapStoreError(errno: error) }
      return nil
    }
  }

  func drainRecords() throws(MapStoreError) -> [[UInt8]] {
    guard let ring = map as? RingBuffer else { return [] }
    var records: [[UInt8]] = []
    _ = ring.consume { records.append(Array($0)) }
    return records
  }
}

struct KernelMapStore: MapStore {
  let map: KernelMap
  let cpuCount: Int

  private func wrapping<R>(_ body: () throws(SystemCallError) -> R) throws(MapStoreError) -> R {
    do {
      return try body()
    } catch {
      throw MapStoreError(errno: error.errno)
    }
  }

  func lookup(_ key: [UInt8]) throws(MapStoreError) -> [UInt8] {
    try wrapping { () throws(SystemCallError) in try map.lookup(key) }
  }

  func lookupAndDelete(_ key: [UInt8]) throws(MapStoreError) -> [UInt8] {
    try wrapping { () throws(SystemCallError) in try map.lookupAndDelete(key) }
  }

  func update(_ key: [UInt8], _ value: [UInt8], flags: UInt64) throws(MapStoreError) {
    try wrapping { () throws(SystemCallError) in try map.update(key, value, flags: flags) }
  }

  func delete(_ key: [UInt8]) throws(MapStoreError) {
    try wrapping { () throws(SystemCallError) in try map.delete(key) }
  }

  func nextKey(after key: [UInt8]?) throws(MapStoreError) -> [UInt8]? {
    try wrapping { () throws(SystemCallError) in try map.nextKey(after: key) }
  }

  func drainRecords() throws(MapStoreError) -> [[UInt8]] {
    try wrapping { () throws(SystemCallError) in try map.drainRingBuffer() }
  }
}
