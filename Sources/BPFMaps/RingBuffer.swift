import BPFLinux
import CBPFRuntime

/// The memory of a ring buffer, page for page as Linux lays it out for `mmap`:
///
///     | private | consumer position | producer position | data … | the same data again … | what others map there … |
///                ▲ `pages`: what is mapped begins here              (so that records never wrap)
///
/// Other processes map the whole from one file, which cannot have the same data twice: in it, what follows the data
/// holds the end of records that wrap, copied there when they are submitted.
///
/// A record is `| length, busy bit 31, discard bit 30 (4) | pages back to the private page (4) | bytes … |`, rounded up
/// to 8 bytes.
public struct RingMemory: @unchecked Sendable {
  public static let busyBit: UInt32 = 1 << 31
  public static let discardBit: UInt32 = 1 << 30
  public static let headerSize = 8
  static let pageSize = ZeroedMemory.pageSize
  private static let largestRecord: UInt64 = UInt64(UInt32.max / 4)

  /// Offsets in the private page.
  private enum Private {
    static let lock = 0
    static let mask = 8
    static let pending = 16
    static let wakeups = 64
    static let map = 128
    static let busy = 192
  }

  let base: UnsafeMutableRawPointer
  /// Bytes of data, a power of two.
  public let size: Int
  let file: SharedFile

  /// Where the consumer position is: from here on other processes map.
  public var pages: UnsafeMutableRawPointer { base + Self.pageSize }
  public var consumerPosition: UnsafeMutableRawPointer { base + Self.pageSize }
  public var producerPosition: UnsafeMutableRawPointer { base + 2 * Self.pageSize }
  public var data: UnsafeMutableRawPointer { base + 3 * Self.pageSize }
  /// To map: consumer page, producer page, data, and again as much.
  public var descriptor: Int32 { file.descriptor }
  private var reserved: Int { 3 * Self.pageSize + 3 * size }

  init?(size: Int) {
    guard let file = SharedFile(byteCount: 2 * Self.pageSize + 2 * size) else { return nil }
    self.file = file
    self.size = size
    guard let base = ReservedAddresses.reserve(3 * Self.pageSize + 3 * size) else {
      file.closeFile()
      return nil
    }
    self.base = base
    guard ReservedAddresses.fill(base, Self.pageSize),
      file.map(at: base + Self.pageSize, 2 * Self.pageSize + size) != nil,
      file.map(at: base + 3 * Self.pageSize + size, offset: 2 * Self.pageSize, size) != nil,
      file.map(at: base + 3 * Self.pageSize + 2 * size, offset: 2 * Self.pageSize + size, size) != nil
    else {
      ReservedAddresses.release(base, 3 * Self.pageSize + 3 * size)
      file.closeFile()
      return nil
    }
    base.storeBytes(of: UInt64(size - 1), toByteOffset: Private.mask, as: UInt64.self)
  }

  func deallocate() {
    ReservedAddresses.release(base, reserved)
    file.closeFile()
  }

  func setMap(_ map: UnsafeMutablePointer<skep_map>) {
    base.storeBytes(of: UnsafeMutableRawPointer(map), toByteOffset: Private.map, as: UnsafeMutableRawPointer.self)
  }

  // MARK: What programs call, on the address of the private page

  @inline(__always)
  static func mask(_ base: UnsafeRawPointer) -> UInt64 { base.load(fromByteOffset: Private.mask, as: UInt64.self) }

  static func reserve(_ base: UnsafeMutableRawPointer, _ size: UInt64) -> UnsafeMutableRawPointer? {
    guard size <= largestRecord else { return nil }
    let mask = mask(base)
    let length = (size &+ 15) & ~7
    guard length <= mask &+ 1 else { return nil }
    let data = base + 3 * pageSize
    let consumed = skep_load_acquire_64(base + pageSize)
    SpinLock.lock(base)
    let produced = skep_load_relaxed_64(base + 2 * pageSize)
    var pending = skep_load_relaxed_64(base + Private.pending)
    while pending < produced {
      let header = skep_load_acquire_32(data + Int(pending & mask))
      if header & busyBit != 0 { break }
      pending &+= (UInt64(header & ~discardBit) &+ 15) & ~7
    }
    skep_store_relaxed_64(base + Private.pending, pending)
    let end = produced &+ length
    guard end &- consumed <= mask, end &- pending <= mask else {
      SpinLock.unlock(base)
      return nil
    }
    let header = data + Int(produced & mask)
    skep_store_relaxed_32(header + 4, UInt32(truncatingIfNeeded: (header - base) / pageSize))
    skep_store_relaxed_32(header, UInt32(truncatingIfNeeded: size) | busyBit)
    skep_store_release_64(base + 2 * pageSize, end)
    SpinLock.unlock(base)
    return header + headerSize
  }

  static func commit(_ sample: UnsafeMutableRawPointer, flags: UInt64, discarding: Bool) {
    let header = sample - headerSize
    let back = Int(skep_load_relaxed_32(header + 4)) * pageSize
    let page = UInt(bitPattern: header) & ~UInt(pageSize - 1)
    guard let base = UnsafeMutableRawPointer(bitPattern: page &- UInt(back)) else { return }
    var length = skep_load_relaxed_32(header) ^ busyBit
    if let wrapped = wrapped(base, header, length) {
      (wrapped.data + 2 * wrapped.size).copyMemory(from: wrapped.data, byteCount: wrapped.count)
    }
    if discarding { length |= discardBit }
    _ = skep_exchange_32(header, length)
    let consumed = skep_load_acquire_64(base + pageSize) & mask(base)
    let isAwaited = consumed == UInt64(header - (base + 3 * pageSize))
    if flags & RingBuffer.forceWakeup != 0 || isAwaited && flags & RingBuffer.noWakeup == 0 { wake(base) }
  }

  /// How much of a record lies at the beginning of the data because it reaches past the end; nil where nothing does.
  static func wrapped(
    _ base: UnsafeMutableRawPointer, _ header: UnsafeMutableRawPointer, _ length: UInt32
  ) -> (data: UnsafeMutableRawPointer, size: Int, count: Int)? {
    let data = base + 3 * pageSize
    let size = Int(mask(base)) + 1
    let end = header - data + headerSize + Int(length)
    return end > size && end <= 2 * size ? (data, size, end - size) : nil
  }

  static func wake(_ base: UnsafeMutableRawPointer) {
    _ = skep_fetch_add_64(base + Private.wakeups, 1)
    let map = base.load(fromByteOffset: Private.map, as: UnsafeMutableRawPointer?.self)
    guard let map = map?.assumingMemoryBound(to: skep_map.self) else { return }
    (Map.of(map) as? RingMap)?.notify()
  }

  /// How often whoever waits was woken.
  var wakeups: UInt64 { skep_load_acquire_64(base + Private.wakeups) }

  static func tryBusy(_ base: UnsafeMutableRawPointer) -> Bool { SpinLock.tryLock(base + Private.busy) }
  static func endBusy(_ base: UnsafeMutableRawPointer) { SpinLock.unlock(base + Private.busy) }

  var available: UInt64 { skep_load_acquire_64(producerPosition) &- skep_load_acquire_64(consumerPosition) }
}

/// What both kinds of ring buffer share. `storage` of the block: the private page.
public class RingMap: Map, @unchecked Sendable {
  public let memory: RingMemory
  private let waiting = WaitQueue()
  private let handlerLock = Mutex()
  private var handler: (@Sendable () -> Void)?

  init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    let size = Int(definition.maxEntries)
    guard definition.keySize == 0, definition.valueSize == 0, size > 0, size & (size - 1) == 0,
      size % RingMemory.pageSize == 0
    else { throw MapError(.EINVAL, "the size must be a power of two of pages, without key and value") }
    guard let memory = RingMemory(size: size) else { throw MapError(.ENOMEM, "no memory for \(size) bytes") }
    self.memory = memory
    super.init(base: definition, fields: [], system: system)
    memory.setMap(block)
    block.pointee.storage.0 = memory.base
    block.pointee.lookup = { _, _, _ in UInt64(bitPattern: -524) }
    block.pointee.update = { _, _, _, _, _ in -524 }
    block.pointee.remove = { _, _, _ in -524 }
  }

  deinit { memory.deallocate() }

  /// Another process has the memory mapped. Whatever a user ring buffer's producers write comes from there.
  public func share() { block.pointee.storage.1 = memory.base }

  /// Called whenever the other side is woken, on the thread that woke it.
  public var onWakeup: (@Sendable () -> Void)? {
    get { handlerLock.withLock { handler } }
    set { handlerLock.withLock { handler = newValue } }
  }

  /// How often the other side was woken.
  public var wakeups: UInt64 { memory.wakeups }

  func notify() {
    onWakeup?()
    waiting.wakeAll()
  }

  /// Waits for a wake-up, unless `isReady` already.
  final func wait(milliseconds: Int, until isReady: () -> Bool) -> Bool {
    waiting.wait(milliseconds: milliseconds, until: isReady)
  }
}

/// `BPF_MAP_TYPE_RINGBUF`: programs produce, user space consumes.
public final class RingBuffer: RingMap, @unchecked Sendable {
  public static let noWakeup: UInt64 = 1
  public static let forceWakeup: UInt64 = 2

  private let consumers = Mutex()

  /// `bpf_ringbuf_reserve` (without its flags): room for `size` bytes, to be submitted or discarded.
  public static func reserve(_ map: UnsafeMutablePointer<skep_map>, _ size: UInt64) -> UnsafeMutableRawPointer? {
    RingMemory.reserve(map.pointee.storage.0.unsafelyUnwrapped, size)
  }

  /// `bpf_ringbuf_submit`.
  public static func submit(_ sample: UnsafeMutableRawPointer, flags: UInt64) {
    RingMemory.commit(sample, flags: flags, discarding: false)
  }

  /// `bpf_ringbuf_discard`.
  public static func discard(_ sample: UnsafeMutableRawPointer, flags: UInt64) {
    RingMemory.commit(sample, flags: flags, discarding: true)
  }

  /// `bpf_ringbuf_output`: 0 or a negative error number.
  public static func output(
    _ map: UnsafeMutablePointer<skep_map>, _ bytes: UnsafeRawPointer, _ size: UInt64, flags: UInt64
  ) -> Int64 {
    guard flags & ~(noWakeup | forceWakeup) == 0 else { return -22 }
    guard let sample = reserve(map, size) else { return -11 }
    sample.copyMemory(from: bytes, byteCount: Int(size))
    submit(sample, flags: flags)
    return 0
  }

  /// `bpf_ringbuf_query`.
  public static func query(_ map: UnsafeMutablePointer<skep_map>, _ flags: UInt64) -> UInt64 {
    let base = map.pointee.storage.0.unsafelyUnwrapped
    let consumed = skep_load_acquire_64(base + RingMemory.pageSize)
    let produced = skep_load_acquire_64(base + 2 * RingMemory.pageSize)
    switch flags {
    case 0: return produced &- consumed
    case 1: return RingMemory.mask(base) &+ 1
    case 2: return consumed
    case 3: return produced
    default: return 0
    }
  }

  /// Calls `body` with every record that is there; how many there were. What `body` gets lies in the ring.
  @discardableResult
  public func consume(_ body: (UnsafeRawBufferPointer) -> Void) -> Int {
    consumers.withLock {
      var count = 0
      var position = skep_load_acquire_64(memory.consumerPosition)
      while true {
        let end = skep_load_acquire_64(memory.producerPosition)
        guard position < end else { return count }
        let header = memory.data + Int(position & UInt64(memory.size - 1))
        let word = skep_load_acquire_32(header)
        guard word & RingMemory.busyBit == 0 else { return count }
        let length = Int(word & ~RingMemory.discardBit)
        if word & RingMemory.discardBit == 0 {
          body(UnsafeRawBufferPointer(start: header + RingMemory.headerSize, count: length))
          count += 1
        }
        position &+= UInt64((length + RingMemory.headerSize).roundedUp(to: 8))
        skep_store_release_64(memory.consumerPosition, position)
      }
    }
  }

  /// Waits for records: false where none came within the time. Negative times are forever.
  public func wait(milliseconds: Int) -> Bool {
    let before = wakeups
    return wait(milliseconds: milliseconds) { memory.available != 0 || wakeups != before }
  }
}

/// `BPF_MAP_TYPE_USER_RINGBUF`: user space produces, programs consume.
public final class UserRingBuffer: RingMap, @unchecked Sendable {
  private let producers = Mutex()

  /// The most that one `bpf_user_ringbuf_drain` takes.
  public static let mostSamples = 128 * 1024
  /// The longest sample that a dynptr can hold.
  private static let largestSample: UInt32 = (1 << 24) - 1

  // MARK: What bpf_user_ringbuf_drain is made of

  /// One drain at a time: false where another goes on (`-EBUSY`).
  public static func beginDrain(_ map: UnsafeMutablePointer<skep_map>) -> Bool {
    RingMemory.tryBusy(map.pointee.storage.0.unsafelyUnwrapped)
  }

  /// Ends the drain, and wakes producers as its flags say.
  public static func endDrain(_ map: UnsafeMutablePointer<skep_map>, flags: UInt64, samples: Int) {
    let base = map.pointee.storage.0.unsafelyUnwrapped
    RingMemory.endBusy(base)
    if flags & RingBuffer.forceWakeup != 0 || flags & RingBuffer.noWakeup == 0 && samples > 0 {
      RingMemory.wake(base)
    }
  }

  /// The sample that is next; else an error: `-ENODATA` (61) where there is none, `-EAGAIN` (11) where one was skipped.
  public static func peek(
    _ map: UnsafeMutablePointer<skep_map>
  ) -> (error: Int64, sample: UnsafeMutableRawPointer?, size: UInt32) {
    let base = map.pointee.storage.0.unsafelyUnwrapped
    let mask = RingMemory.mask(base)
    let produced = skep_load_acquire_64(base + 2 * RingMemory.pageSize)
    guard produced % 8 == 0 else { return (-22, nil, 0) }
    let consumed = skep_load_acquire_64(base + RingMemory.pageSize)
    guard consumed < produced else { return (-61, nil, 0) }
    let header = base + 3 * RingMemory.pageSize + Int(consumed & mask)
    let word = skep_load_acquire_32(header)
    let size = word & ~(RingMemory.busyBit | RingMemory.discardBit)
    let total = (UInt64(size) &+ 15) & ~7
    guard total <= produced &- consumed else { return (-22, nil, 0) }
    guard total <= mask &+ 1 else { return (-7, nil, 0) }
    guard size <= largestSample else { return (-7, nil, 0) }
    if word & RingMemory.discardBit != 0 {
      skep_store_release_64(base + RingMemory.pageSize, consumed &+ total)
      return (-11, nil, 0)
    }
    if word & RingMemory.busyBit != 0 { return (-61, nil, 0) }
    if map.pointee.storage.1 != nil, let wrapped = RingMemory.wrapped(base, header, size) {
      // Another process wrote it where the data goes on in its mapping.
      wrapped.data.copyMemory(from: wrapped.data + 2 * wrapped.size, byteCount: wrapped.count)
    }
    return (0, header + RingMemory.headerSize, size)
  }

  /// The sample that `peek` gave was consumed.
  public static func release(_ map: UnsafeMutablePointer<skep_map>, size: UInt32) {
    let place = map.pointee.storage.0.unsafelyUnwrapped + RingMemory.pageSize
    skep_store_release_64(place, skep_load_relaxed_64(place) &+ (UInt64(size) &+ 15) & ~7)
  }

  // MARK: What user space does

  /// Puts a sample in, as libbpf does.
  public func produce(_ bytes: [UInt8]) throws(Errno) {
    guard UInt32(truncatingIfNeeded: bytes.count) & (RingMemory.busyBit | RingMemory.discardBit) == 0 else {
      throw .E2BIG
    }
    let total = (bytes.count + RingMemory.headerSize).roundedUp(to: 8)
    guard total <= memory.size else { throw .E2BIG }
    let hasRoom = producers.withLock { () -> Bool in
      let consumed = skep_load_acquire_64(memory.consumerPosition)
      let produced = skep_load_relaxed_64(memory.producerPosition)
      guard UInt64(memory.size) &- (produced &- consumed) >= UInt64(total) else { return false }
      let header = memory.data + Int(produced & UInt64(memory.size - 1))
      bytes.withUnsafeBytes {
        guard let base = $0.baseAddress else { return }
        (header + RingMemory.headerSize).copyMemory(from: base, byteCount: $0.count)
      }
      skep_store_relaxed_32(header + 4, 0)
      skep_store_release_32(header, UInt32(bytes.count))
      skep_store_release_64(memory.producerPosition, produced &+ UInt64(total))
      return true
    }
    guard hasRoom else { throw .ENOSPC }
  }

  /// Waits for room: false where none came within the time. Negative times are forever.
  public func wait(milliseconds: Int) -> Bool {
    let before = wakeups
    return wait(milliseconds: milliseconds) { memory.available < UInt64(memory.size) || wakeups != before }
  }
}

/// `BPF_MAP_TYPE_PERF_EVENT_ARRAY`: a buffer of samples for each index, as a rule for each CPU.
public final class PerfEventArray: ReferenceArray, @unchecked Sendable {
  /// Samples that were put out and not drained.
  private final class Buffer {
    let lock = Mutex()
    let capacity: Int
    var samples: [[UInt8]] = []
    var bytes = 0
    var lost: UInt64 = 0
    init(capacity: Int) { self.capacity = capacity }
  }

  /// Bytes before a sample in a perf buffer: the record's header and the sample's length.
  private static let sampleHeader = 12

  override init(_ definition: MapDefinition, system: MapSystem) throws(MapError) {
    try super.init(definition, system: system)
    block.pointee.lookup = { _, _, _ in UInt64(bitPattern: -95) }
  }

  /// Opens a buffer at `index`, as `perf_event_open` and an update would.
  public func open(_ index: UInt32, capacity: Int = 64 << 12) throws(Errno) {
    guard index < definition.maxEntries else { throw .E2BIG }
    replace(index, pointer: 1, Slot(id: 0, object: Buffer(capacity: capacity)))
  }

  /// Opens one for every CPU.
  public func openAll(capacity: Int = 64 << 12) throws(Errno) {
    for index in 0..<min(definition.maxEntries, UInt32(system.cpuCount)) { try open(index, capacity: capacity) }
  }

  /// `bpf_perf_event_output` once the index is known: 0 or a negative error number.
  public func output(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) -> Int64 {
    guard index < definition.maxEntries else { return -7 }
    guard let buffer = slot(index)?.object as? Buffer else { return -2 }
    let size = (Self.sampleHeader + bytes.count).roundedUp(to: 8)
    return buffer.lock.withLock {
      guard buffer.bytes + size <= buffer.capacity else {
        buffer.lost += 1
        return -28
      }
      buffer.samples.append([UInt8](bytes))
      buffer.bytes += size
      return 0
    }
  }

  /// Takes all samples of an index: calls `body` with each, the oldest first.
  ///
  /// - Returns: how many found no room since the last time.
  @discardableResult
  public func drain(_ index: UInt32, _ body: ([UInt8]) -> Void) -> UInt64 {
    guard let buffer = slot(index)?.object as? Buffer else { return 0 }
    let (samples, lost) = buffer.lock.withLock {
      let taken = (buffer.samples, buffer.lost)
      buffer.samples = []
      buffer.bytes = 0
      buffer.lost = 0
      return taken
    }
    for sample in samples { body(sample) }
    return lost
  }

  override var showsIDs: Bool { false }
}
