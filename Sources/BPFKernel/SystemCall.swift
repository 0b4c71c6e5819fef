import BPFLinux
import CBPFSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Commands of `bpf(2)` that are used here.
enum SystemCommand: Int32 {
  case mapCreate = 0
  case mapLookupElement = 1
  case mapUpdateElement = 2
  case mapDeleteElement = 3
  case mapNextKey = 4
  case programLoad = 5
  case programTestRun = 10
  case objectInfoByDescriptor = 15
  case typeInformationLoad = 18
  case typeInformationDescriptorByID = 19
  case mapLookupAndDeleteElement = 21
  case mapFreeze = 22
  case typeInformationNextID = 23
}

/// An open file descriptor, closed with its last owner.
final class Descriptor: Sendable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { close(number) }
}

/// One call of `bpf(2)`: its attributes, and the memory that they point at, for as long as the value lives.
///
/// The attributes are a union of one struct a command, laid out in `linux/bpf.h`; fields are put in by byte offset.
final class SystemCall {
  /// As long as the longest of the structs; the kernel takes zeros that it does not know.
  private static let length = 168
  private let attributes: UnsafeMutableRawPointer
  private var lent: [UnsafeMutableRawPointer] = []

  init() {
    attributes = .allocate(byteCount: Self.length, alignment: 8)
    attributes.initializeMemory(as: UInt8.self, repeating: 0, count: Self.length)
  }

  deinit {
    attributes.deallocate()
    for pointer in lent { pointer.deallocate() }
  }

  func put(_ value: UInt32, at offset: Int) {
    attributes.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
  }

  func put(_ value: UInt64, at offset: Int) {
    attributes.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
  }

  func put(_ descriptor: Descriptor, at offset: Int) {
    put(UInt32(bitPattern: descriptor.number), at: offset)
  }

  /// A name in a field of 16 bytes, the last of them zero.
  func putName(_ name: String, at offset: Int) {
    for (index, byte) in name.utf8.prefix(15).enumerated() {
      attributes.storeBytes(of: byte, toByteOffset: offset + index, as: UInt8.self)
    }
  }

  /// Memory of its own that the attributes point at.
  @discardableResult
  func putMemory(byteCount: Int, at offset: Int) -> UnsafeMutableRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, byteCount), alignment: 8)
    if let base = memory.baseAddress {
      lent.append(base)
      put(UInt64(UInt(bitPattern: base)), at: offset)
    }
    return memory
  }

  /// A pointer to a copy of `values`.
  func putCopy<Value: BitwiseCopyable>(_ values: [Value], at offset: Int) {
    values.withUnsafeBytes { putMemory(byteCount: $0.count, at: offset).copyMemory(from: $0) }
  }

  /// A pointer to a string with a zero byte behind it.
  func putString(_ text: String, at offset: Int) { putCopy(Array(text.utf8) + [0], at: offset) }

  func word(at offset: Int) -> UInt32 { attributes.load(fromByteOffset: offset, as: UInt32.self) }

  /// Makes the call: a descriptor or 0; negative error numbers where it failed.
  func callAsFunction(_ command: SystemCommand) -> Int {
    skep_bpf(command.rawValue, attributes, UInt32(Self.length))
  }

  /// The kernel's number for a map or a program: the second word of `struct bpf_map_info` and `bpf_prog_info`; 0 where
  /// it does not say.
  static func objectID(_ descriptor: Descriptor) -> UInt32 {
    let call = SystemCall()
    call.put(descriptor, at: 0)
    call.put(8 as UInt32, at: 4)
    let info = call.putMemory(byteCount: 8, at: 8)
    info.initializeMemory(as: UInt8.self, repeating: 0)
    return call(.objectInfoByDescriptor) >= 0 ? info.load(fromByteOffset: 4, as: UInt32.self) : 0
  }

  /// Makes a call with attributes that the caller keeps.
  static func make(_ command: SystemCommand, _ attributes: UnsafeMutableRawBufferPointer) -> Int {
    guard let base = attributes.baseAddress else { return -Int(Errno.EFAULT.rawValue) }
    return skep_bpf(command.rawValue, base, UInt32(attributes.count))
  }

  /// Makes a call that answers with a descriptor.
  func descriptor(_ command: SystemCommand) throws(SystemCallError) -> Descriptor {
    let result = self(command)
    guard result >= 0 else { throw SystemCallError(errno: Errno(rawValue: Int32(truncatingIfNeeded: -result))) }
    return Descriptor(Int32(truncatingIfNeeded: result))
  }
}

/// What `bpf(2)` failed with.
public struct SystemCallError: Error, Hashable, Sendable, CustomStringConvertible {
  public let errno: Errno

  public var description: String { "\(errno)" }
}

extension Capabilities {
  private static let numbers: [(Capabilities, UInt64)] = [(.netAdmin, 12), (.sysAdmin, 21), (.perfmon, 38), (.bpf, 39)]

  /// What of it the calling thread has.
  static func ofThread() -> Capabilities {
    var effective: UInt64 = 0
    var permitted: UInt64 = 0
    var inheritable: UInt64 = 0
    guard skep_get_capabilities(&effective, &permitted, &inheritable) == 0 else { return [] }
    var found: Capabilities = []
    for (capability, number) in numbers where effective >> number & 1 != 0 { found.insert(capability) }
    return found
  }

  /// Runs `body` with no more of them than these. Capabilities belong to the thread, so others go on as they were.
  func whileLimited<R>(to body: () -> R) -> R {
    var effective: UInt64 = 0
    var permitted: UInt64 = 0
    var inheritable: UInt64 = 0
    guard self != .all, skep_get_capabilities(&effective, &permitted, &inheritable) == 0 else { return body() }
    var limited = effective
    for (capability, number) in Self.numbers where !contains(capability) { limited &= ~(1 << number) }
    _ = skep_set_capabilities(limited, permitted, inheritable)
    defer { _ = skep_set_capabilities(effective, permitted, inheritable) }
    return body()
  }
}
