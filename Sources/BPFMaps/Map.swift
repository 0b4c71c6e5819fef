import BPFLinux
import CBPFRuntime

/// A map: memory that programs and their users share.
///
/// Two sides work on it. Programs go through `block`, by functions that take no lock to look up and allocate nothing.
/// Users call the methods, which answer as the commands of `bpf(2)` do: the same bytes, flags and error numbers.
/// Both may be at work on any number of threads.
///
/// A map lives as long as its Swift object: whoever lets a program use `block` keeps the object.
public class Map: @unchecked Sendable {
  /// As it was asked for; `maxEntries` of per-CPU LRU maps is rounded as the kernel rounds it.
  public let definition: MapDefinition
  public let id: UInt32
  /// The fields of the value that have a meaning of their own.
  public let fields: [SpecialField]
  /// What programs see of the map: its address is what a register holds for the map.
  public let block: UnsafeMutablePointer<skep_map>
  /// Whose reclamation, ids and CPUs the map uses.
  public let system: MapSystem
  let value: ValueLayout
  private let state: UnsafeMutablePointer<UInt64>

  private enum State {
    static let frozen = 0
    static let writers = 1
    static let count = 2
  }

  init(base definition: MapDefinition, fields: [SpecialField], system: MapSystem) {
    self.definition = definition
    self.fields = fields
    self.system = system
    id = system.nextID()
    value = ValueLayout(size: Int(definition.valueSize), fields: fields)
    state = .allocate(capacity: State.count)
    state.initialize(repeating: 0, count: State.count)
    block = .allocate(capacity: 1)
    block.initialize(to: skep_map())
    block.pointee.type = definition.type.rawValue
    block.pointee.key_size = definition.keySize
    block.pointee.value_size = definition.valueSize
    block.pointee.max_entries = definition.maxEntries
    block.pointee.flags = definition.flags.rawValue
    block.pointee.id = id
    block.pointee.lookup = { _, _, _ in UInt64(bitPattern: -95) }
    block.pointee.update = { _, _, _, _, _ in -95 }
    block.pointee.remove = { _, _, _ in -95 }
    if definition.frozen { skep_store_relaxed_64(state + State.frozen, 1) }
    block.pointee.object = Unmanaged.passUnretained(self).toOpaque()
  }

  deinit {
    system.unregister(id)
    block.deallocate()
    state.deallocate()
    value.deallocate()
  }

  /// The map whose block this is.
  public static func of(_ block: UnsafeMutablePointer<skep_map>) -> Map {
    Unmanaged<Map>.fromOpaque(block.pointee.object).takeUnretainedValue()
  }

  // MARK: What a type of map does. Keys have the map's size; values that of `userValueSize`.

  func lookupElement(_ key: UnsafeRawPointer?, into value: UnsafeMutableRawPointer, flags: UInt64) -> Int32 { -524 }
  func updateElement(_ key: UnsafeRawPointer?, _ value: UnsafeMutableRawPointer, flags: UInt64) -> Int32 { -524 }
  func deleteElement(_ key: UnsafeRawPointer?) -> Int32 { -524 }
  func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 { -524 }
  func takeElement(_ key: UnsafeRawPointer?, into value: UnsafeMutableRawPointer, flags: UInt64) -> Int32 { -524 }

  /// Which of the batch commands the type of map has.
  var batchCommands: BatchCommands { [] }
  func lookupBatch(after token: [UInt8]?, count: Int, flags: UInt64, removing: Bool) throws(Errno) -> MapBatch {
    try lookupBatchByKeys(after: token, count: count, flags: flags)
  }

  /// Calls `body` with key and value (of the CPU `cpu` where they are per CPU) of every element, until it says to stop;
  /// nil where this type of map has no `bpf_for_each_map_elem`. The count is that of the calls.
  public func forEachElement(cpu: Int, _ body: (UnsafeMutableRawPointer, UnsafeMutableRawPointer) -> Bool) -> Int? {
    nil
  }

  /// The value of another CPU (`bpf_map_lookup_percpu_elem`).
  public func lookup(_ key: UnsafeRawPointer, cpu: UInt32) -> UnsafeMutableRawPointer? { nil }

  // MARK: What is common to bpf(2)'s commands

  /// Bytes that user space reads and writes as one value.
  public var userValueSize: Int { Int(definition.valueSize) }
  public var keySize: Int { Int(definition.keySize) }

  /// `BPF_MAP_FREEZE` was called.
  public var isFrozen: Bool { skep_load_acquire_64(state + State.frozen) != 0 }

  private func check(_ wanted: MapAccess, _ given: MapAccess?) throws(Errno) {
    var access = given ?? MapAccess(definition.flags)
    if isFrozen { access.remove(.write) }
    guard access.isSuperset(of: wanted) else { throw .EPERM }
  }

  func checkLock(_ flags: UInt64) throws(Errno) {
    guard flags & UpdateFlags.lock == 0 || value.lock != nil else { throw .EINVAL }
  }

  private func writing<R>(_ body: () throws(Errno) -> R) throws(Errno) -> R {
    _ = skep_fetch_add_64(state + State.writers, 1)
    defer { _ = skep_fetch_add_64(state + State.writers, UInt64.max) }
    return try body()
  }

  /// Someone writes in other ways than by commands (a writable mapping); `BPF_MAP_FREEZE` is refused meanwhile.
  public func beginWriting() { _ = skep_fetch_add_64(state + State.writers, 1) }
  public func endWriting() { _ = skep_fetch_add_64(state + State.writers, UInt64.max) }

  /// `BPF_MAP_LOOKUP_ELEM`. Per-CPU maps give the values of all CPUs, each rounded up to 8 bytes.
  ///
  /// - Parameter access: what the descriptor may do; by default what the map was created with.
  public func lookup(_ key: [UInt8], flags: UInt64 = 0, access: MapAccess? = nil) throws(Errno) -> [UInt8] {
    guard flags & ~UpdateFlags.lock == 0 else { throw .EINVAL }
    try check(.read, access)
    try checkLock(flags)
    guard key.count == keySize else { throw .EINVAL }
    return try output(userValueSize) { value in
      key.withUnsafeBytes { lookupElement($0.baseAddress, into: value, flags: flags) }
    }
  }

  /// `BPF_MAP_UPDATE_ELEM`.
  public func update(
    _ key: [UInt8], _ value: [UInt8], flags: UInt64 = 0, access: MapAccess? = nil
  ) throws(Errno) {
    try writing { () throws(Errno) in
      try check(.write, access)
      try checkLock(flags)
      guard key.count == keySize, value.count == userValueSize else { throw .EINVAL }
      try succeed(withUserKey(key) { key in
        withAligned(value) { updateElement(key, $0, flags: flags) }
      })
    }
  }

  /// `BPF_MAP_DELETE_ELEM`.
  public func delete(_ key: [UInt8], access: MapAccess? = nil) throws(Errno) {
    try writing { () throws(Errno) in
      try check(.write, access)
      guard key.count == keySize else { throw .EINVAL }
      try succeed(withUserKey(key) { deleteElement($0) })
    }
  }

  /// `BPF_MAP_GET_NEXT_KEY`: the first key where there is none before.
  public func nextKey(after key: [UInt8]?, access: MapAccess? = nil) throws(Errno) -> [UInt8] {
    try check(.read, access)
    guard key == nil || key?.count == keySize else { throw .EINVAL }
    return try output(keySize) { next in
      guard let key else { return nextKeyElement(after: nil, into: next) }
      return withUserKey(key) { nextKeyElement(after: $0, into: next) }
    }
  }

  /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
  public func lookupAndDelete(
    _ key: [UInt8], flags: UInt64 = 0, access: MapAccess? = nil
  ) throws(Errno) -> [UInt8] {
    guard flags & ~UpdateFlags.lock == 0 else { throw .EINVAL }
    return try writing { () throws(Errno) in
      try check([.read, .write], access)
      let isQueue = definition.type == .queue || definition.type == .stack
      guard flags == 0 || !isQueue else { throw .EINVAL }
      try checkLock(flags)
      guard key.count == keySize else { throw .EINVAL }
      return try output(userValueSize) { value in
        withUserKey(key) { takeElement($0, into: value, flags: flags) }
      }
    }
  }

  /// `BPF_MAP_FREEZE`: from now on user space writes no more; programs do.
  public func freeze(access: MapAccess? = nil) throws(Errno) {
    guard definition.type != .structOps, fields.isEmpty else { throw .ENOTSUPP }
    try check(.write, access)
    guard skep_load_acquire_64(state + State.writers) == 0 else { throw .EBUSY }
    guard skep_compare_exchange_64(state + State.frozen, 0, 1) == 0 else { throw .EBUSY }
  }

  /// Checks of a batch command that come before the map's own.
  func checkBatch(_ command: BatchCommands, _ access: MapAccess?) throws(Errno) {
    if !command.isDisjoint(with: [.lookup, .lookupAndDelete]) { try check(.read, access) }
    if command != .lookup { try check(.write, access) }
    guard batchCommands.contains(command) else { throw .ENOTSUPP }
  }

  func batchWriting<R>(_ body: () throws(Errno) -> R) throws(Errno) -> R { try writing(body) }

  // MARK: Bytes

  private func succeed(_ result: Int32) throws(Errno) {
    if result < 0 { throw Errno(rawValue: -result) }
  }

  private func output(_ size: Int, _ body: (UnsafeMutableRawPointer) -> Int32) throws(Errno) -> [UInt8] {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(8, size.roundedUp(to: 8)), alignment: 8)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    guard let base = memory.baseAddress else { throw .ENOMEM }
    try succeed(body(base))
    return [UInt8](UnsafeRawBufferPointer(rebasing: memory[..<size]))
  }

  private func withUserKey(_ key: [UInt8], _ body: (UnsafeRawPointer?) -> Int32) -> Int32 {
    withAligned(key) { body(UnsafeRawPointer($0)) }
  }
}

/// What a descriptor of a map lets user space do.
public struct MapAccess: OptionSet, Sendable {
  public let rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let read = MapAccess(rawValue: 1)
  public static let write = MapAccess(rawValue: 2)

  /// What `BPF_F_RDONLY` and `BPF_F_WRONLY` leave.
  public init(_ flags: MapFlags) {
    self = [.read, .write]
    if flags.contains(.readOnly) { remove(.write) }
    if flags.contains(.writeOnly) { remove(.read) }
  }
}

/// Flags of updates.
public enum UpdateFlags {
  public static let any: UInt64 = 0
  public static let noExist: UInt64 = 1
  public static let exist: UInt64 = 2
  public static let lock: UInt64 = 4
}

/// Why a map could not be made.
public struct MapError: Error, Hashable, Sendable, CustomStringConvertible {
  public let errno: Errno
  public let message: String

  public init(_ errno: Errno, _ message: String) {
    self.errno = errno
    self.message = message
  }

  public var description: String { "\(errno): \(message)" }
}

/// Memory of eight-byte alignment with a copy of the bytes; there is some even for no bytes.
func withAligned<R>(_ bytes: [UInt8], _ body: (UnsafeMutableRawPointer) -> R) -> R {
  withUnsafeTemporaryAllocation(byteCount: max(8, bytes.count.roundedUp(to: 8)), alignment: 8) { memory in
    // The allocation has bytes, so it has an address.
    guard let base = memory.baseAddress else { fatalError("no memory") }
    (base + memory.count - 8).storeBytes(of: 0, as: UInt64.self)
    bytes.withUnsafeBytes { memory.copyMemory(from: $0) }
    return body(base)
  }
}
