import BPFLinux
import BPFMaps
import BPFSyscall
import CBPFSupervisor

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// This process as a client: its own memory, and numbers that stand for objects.
final class TestClient: Client, @unchecked Sendable {
  let system: System
  let user: UInt32 = 0
  let isWaiting = true
  private var objects: [Int32: (SystemObject, MapAccess)] = [:]
  private var pins: [String: SystemObject] = [:]
  private var last: Int32 = 100

  init(_ system: System) { self.system = system }

  func read(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8] {
    guard count > 0 else { return [] }
    // In pieces, as nobody knows whether there is as much as they say.
    var result: [UInt8] = []
    while result.count < count {
      let size = min(count - result.count, 1 << 16)
      let piece = [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
        let moved = skep_client_read(getpid(), address &+ UInt64(result.count), buffer.baseAddress, UInt(size))
        filled = moved == size ? size : 0
      }
      guard piece.count == size else { throw .EFAULT }
      result += piece
    }
    return result
  }

  func write(_ bytes: [UInt8], to address: UInt64) throws(Errno) {
    guard !bytes.isEmpty else { return }
    let moved = bytes.withUnsafeBytes { skep_client_write(getpid(), address, $0.baseAddress, UInt($0.count)) }
    guard moved == bytes.count else { throw .EFAULT }
  }

  func descriptor(_ number: Int32) -> DescriptorTarget {
    if let (object, access) = objects[number] { return .object(object, access: access) }
    return (0...2).contains(number) ? .foreign : .closed
  }

  func descriptor(_ number: Int32, of process: UInt32) -> DescriptorTarget? {
    process == UInt32(getpid()) ? descriptor(number) : nil
  }

  func pin(_ object: SystemObject, _ path: String, directory: Int32?) throws(Errno) {
    guard pins[path] == nil else { throw .EEXIST }
    object.addUser()
    pins[path] = object
  }

  func pinned(_ path: String, directory: Int32?, access: MapAccess) throws(Errno) -> SystemObject {
    guard let object = pins[path] else { throw .ENOENT }
    return object
  }

  func unpin(_ path: String) { pins.removeValue(forKey: path)?.removeUser() }

  func close(_ number: Int32) {
    if let (object, _) = objects.removeValue(forKey: number) { object.removeUser() }
  }

  func closeAll() { for number in objects.keys { close(number) } }

  var openCount: Int { objects.count }

  /// The result as the system call gives it: a value, a descriptor, or a negative error number.
  func call(_ command: SystemCommand, _ attributes: AttributeBytes) -> Int64 {
    call(command.rawValue, address: attributes.address, size: UInt32(attributes.size))
  }

  func call(_ command: UInt32, address: UInt64, size: UInt32) -> Int64 {
    switch system.call(command, attributes: address, size: size, from: self) {
    case .value(let value): return value
    case .failure(let errno): return -Int64(errno.rawValue)
    case .descriptor(let object, let access):
      last += 1
      object.addUser()
      objects[last] = (object, access)
      return Int64(last)
    }
  }
}

/// Attributes of a call, and the memory that they point to.
final class AttributeBytes {
  let size: Int
  private let memory: UnsafeMutableRawPointer
  private var lent: [UnsafeMutableRawPointer] = []

  init(size: Int = 168) {
    self.size = size
    memory = .allocate(byteCount: max(8, size), alignment: 8)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: max(8, size))
  }

  deinit {
    memory.deallocate()
    for pointer in lent { pointer.deallocate() }
  }

  var address: UInt64 { UInt64(UInt(bitPattern: memory)) }

  @discardableResult
  func put(_ value: some BitwiseCopyable, at offset: Int) -> Self {
    memory.storeBytes(of: value, toByteOffset: offset, as: type(of: value))
    return self
  }

  /// A copy of the bytes, whose address is put at `offset`.
  @discardableResult
  func put(bytes: [UInt8], at offset: Int) -> UnsafeMutableRawBufferPointer {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(8, bytes.count), alignment: 8)
    copy.initializeMemory(as: UInt8.self, repeating: 0)
    copy.copyBytes(from: bytes)
    if let base = copy.baseAddress {
      lent.append(base)
      put(UInt64(UInt(bitPattern: base)), at: offset)
    }
    return copy
  }

  func word(_ offset: Int) -> UInt32 { memory.load(fromByteOffset: offset, as: UInt32.self) }
}
