import BPFLinux

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A map in the running kernel, read and written through `bpf(2)`.
///
/// Keys and values are the kernel's bytes. Values of per-CPU maps hold one value for each possible CPU, each rounded
/// up to 8 bytes. Errors carry the kernel's error number.
public final class KernelMap: Sendable {
  public let definition: MapDefinition
  /// The kernel's number for it.
  public let id: UInt32
  let descriptor: Descriptor
  /// Bytes of a value as the system call moves them.
  public let transferSize: Int

  init(_ definition: MapDefinition, _ descriptor: Descriptor, possibleCPUs: Int) {
    self.definition = definition
    self.descriptor = descriptor
    let size = Int(definition.valueSize)
    transferSize = definition.type.isPerCPU ? (size + 7) / 8 * 8 * possibleCPUs : size
    id = SystemCall.objectID(descriptor)
  }

  public func lookup(_ key: [UInt8], flags: UInt64 = 0) throws(SystemCallError) -> [UInt8] {
    try read(.mapLookupElement, key, flags)
  }

  public func lookupAndDelete(_ key: [UInt8], flags: UInt64 = 0) throws(SystemCallError) -> [UInt8] {
    try read(.mapLookupAndDeleteElement, key, flags)
  }

  private func read(_ command: SystemCommand, _ key: [UInt8], _ flags: UInt64) throws(SystemCallError) -> [UInt8] {
    let call = try request(key)
    // A bloom filter is asked about the value.
    let value = call.putMemory(byteCount: transferSize, at: 16)
    value.initializeMemory(as: UInt8.self, repeating: 0)
    call.put(flags, at: 24)
    try make(call, command)
    return Array(UnsafeRawBufferPointer(value)[..<transferSize])
  }

  /// Whether a bloom filter may hold `value`.
  public func mayContain(_ value: [UInt8]) throws(SystemCallError) -> Bool {
    guard value.count == transferSize else { throw SystemCallError(errno: .EINVAL) }
    let call = try request([])
    call.putCopy(value, at: 16)
    do {
      try make(call, .mapLookupElement)
      return true
    } catch {
      guard error.errno == .ENOENT else { throw error }
      return false
    }
  }

  public func update(_ key: [UInt8], _ value: [UInt8], flags: UInt64 = 0) throws(SystemCallError) {
    guard value.count == transferSize else { throw SystemCallError(errno: .EINVAL) }
    let call = try request(key)
    call.putCopy(value, at: 16)
    call.put(flags, at: 24)
    try make(call, .mapUpdateElement)
  }

  public func delete(_ key: [UInt8]) throws(SystemCallError) {
    try make(try request(key), .mapDeleteElement)
  }

  /// The key behind `key`, the first where that is nil; nil at the end.
  public func nextKey(after key: [UInt8]?) throws(SystemCallError) -> [UInt8]? {
    let call = try request(key ?? [], mayLackKey: key == nil)
    let next = call.putMemory(byteCount: Int(definition.keySize), at: 16)
    next.initializeMemory(as: UInt8.self, repeating: 0)
    do {
      try make(call, .mapNextKey)
    } catch {
      guard error.errno == .ENOENT else { throw error }
      return nil
    }
    return Array(UnsafeRawBufferPointer(next)[..<Int(definition.keySize)])
  }

  /// Puts a map into a map of maps.
  public func setInner(_ key: [UInt8], _ map: KernelMap) throws(SystemCallError) {
    try put(map.descriptor, key)
  }

  /// Puts a program into an array of programs.
  public func setProgram(_ key: [UInt8], _ program: KernelProgram) throws(SystemCallError) {
    try put(program.descriptor, key)
  }

  private func put(_ target: Descriptor, _ key: [UInt8]) throws(SystemCallError) {
    let call = try request(key)
    call.putCopy([target.number], at: 16)
    try make(call, .mapUpdateElement)
  }

  private func request(_ key: [UInt8], mayLackKey: Bool = false) throws(SystemCallError) -> SystemCall {
    let call = SystemCall()
    call.put(descriptor, at: 0)
    let hasKey = !key.isEmpty
    guard mayLackKey || key.count == Int(definition.keySize) else { throw SystemCallError(errno: .EINVAL) }
    if hasKey { call.putCopy(key, at: 8) }
    return call
  }

  private func make(_ call: SystemCall, _ command: SystemCommand) throws(SystemCallError) {
    let result = call(command)
    guard result >= 0 else { throw SystemCallError(errno: Errno(rawValue: Int32(truncatingIfNeeded: -result))) }
  }

  /// Takes the records that programs put into a ring buffer, oldest first, and makes room for more.
  public func drainRingBuffer() throws(SystemCallError) -> [[UInt8]] {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let size = Int(definition.maxEntries)
    let failed = UnsafeMutableRawPointer(bitPattern: -1)
    guard let consumer = mmap(nil, page, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.number, 0), consumer != failed
    else { throw SystemCallError(errno: Errno(rawValue: errno)) }
    defer { munmap(consumer, page) }
    let length = page + 2 * size
    guard let producer = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor.number, off_t(page)), producer != failed
    else { throw SystemCallError(errno: Errno(rawValue: errno)) }
    defer { munmap(producer, length) }
    var records: [[UInt8]] = []
    var position = consumer.load(as: UInt64.self)
    let end = producer.load(as: UInt64.self)
    while position < end {
      let header = producer + page + Int(position & UInt64(size - 1))
      let word = header.load(as: UInt32.self)
      // Still being written.
      if word & 1 << 31 != 0 { break }
      let count = Int(word & ~(3 << 30))
      if word & 1 << 30 == 0 { records.append(Array(UnsafeRawBufferPointer(start: header + 8, count: count))) }
      position += UInt64((count + 8 + 7) / 8 * 8)
    }
    consumer.storeBytes(of: position, as: UInt64.self)
    return records
  }
}

extension MapType {
  /// Whether each CPU has values of its own.
  var isPerCPU: Bool {
    switch self {
    case .percpuHash, .percpuArray, .lruPercpuHash, .percpuCgroupStorage: true
    default: false
    }
  }
}
