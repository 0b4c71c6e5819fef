import BPFLinux

/// The commands of `bpf(2)`.
public enum SystemCommand: UInt32, Sendable, CaseIterable {
  case mapCreate = 0
  case mapLookupElement = 1
  case mapUpdateElement = 2
  case mapDeleteElement = 3
  case mapNextKey = 4
  case programLoad = 5
  case objectPin = 6
  case objectGet = 7
  case programAttach = 8
  case programDetach = 9
  case programTestRun = 10
  case programNextID = 11
  case mapNextID = 12
  case programDescriptorByID = 13
  case mapDescriptorByID = 14
  case objectInfo = 15
  case programQuery = 16
  case rawTracepointOpen = 17
  case typeInformationLoad = 18
  case typeInformationDescriptorByID = 19
  case taskDescriptorQuery = 20
  case mapLookupAndDeleteElement = 21
  case mapFreeze = 22
  case typeInformationNextID = 23
  case mapLookupBatch = 24
  case mapLookupAndDeleteBatch = 25
  case mapUpdateBatch = 26
  case mapDeleteBatch = 27
  case linkCreate = 28
  case linkUpdate = 29
  case linkDescriptorByID = 30
  case linkNextID = 31
  case enableStatistics = 32
  case iteratorCreate = 33
  case linkDetach = 34
  case programBindMap = 35
  case tokenCreate = 36
  case programStreamRead = 37

  /// Bytes of the attributes that the command knows; what follows has to be zero.
  var attributeLength: Int {
    switch self {
    case .mapCreate: 92
    case .mapLookupElement, .mapUpdateElement, .mapLookupAndDeleteElement: 32
    case .mapDeleteElement: 16
    case .mapNextKey: 24
    case .programLoad: 168
    case .objectPin, .objectGet: 20
    case .programAttach, .programDetach: 32
    case .programTestRun: 76
    case .programNextID, .mapNextID, .typeInformationNextID, .linkNextID: 8
    case .programDescriptorByID, .linkDescriptorByID: 4
    case .mapDescriptorByID: 12
    case .objectInfo: 16
    case .programQuery: 64
    case .rawTracepointOpen: 24
    case .typeInformationLoad: 40
    case .typeInformationDescriptorByID: 16
    case .taskDescriptorQuery: 48
    case .mapFreeze: 4
    case .mapLookupBatch, .mapLookupAndDeleteBatch, .mapUpdateBatch, .mapDeleteBatch: 56
    case .linkCreate: 60
    case .linkUpdate: 16
    case .enableStatistics, .linkDetach: 4
    case .iteratorCreate, .tokenCreate: 8
    case .programBindMap: 12
    case .programStreamRead: 20
    }
  }
}

/// The attributes of one call, copied from the client once. Fields are read by byte offset, as `linux/bpf.h` has them.
struct Attributes: Sendable {
  /// What the kernel's union holds.
  static let length = 168
  private static let longest = 4096

  private let bytes: [UInt8]
  /// Where they are in the client's memory, and how many bytes the client gave.
  let address: UInt64
  let size: Int

  init(_ client: any Client, _ address: UInt64, _ size: UInt32) throws(Errno) {
    guard Int(size) <= Self.longest else { throw .E2BIG }
    var bytes = try client.read(address, Int(size))
    guard bytes.dropFirst(Self.length).allSatisfy({ $0 == 0 }) else { throw .E2BIG }
    self.address = address
    self.size = min(Int(size), Self.length)
    if bytes.count > Self.length { bytes.removeLast(bytes.count - Self.length) }
    bytes += [UInt8](repeating: 0, count: Self.length - bytes.count)
    self.bytes = bytes
  }

  func check(_ command: SystemCommand) throws(Errno) {
    guard bytes[command.attributeLength...].allSatisfy({ $0 == 0 }) else { throw .EINVAL }
  }

  func word(_ offset: Int) -> UInt32 { bytes.word(offset) }
  func signed(_ offset: Int) -> Int32 { Int32(bitPattern: word(offset)) }
  func long(_ offset: Int) -> UInt64 { bytes.long(offset) }
  /// The 16 bytes of a name.
  func name(_ offset: Int) throws(Errno) -> String { try objectName(bytes[offset..<offset + 16]) }
}

/// A name of an object: letters, digits, `_` and `.`, ended by a zero byte.
func objectName(_ bytes: ArraySlice<UInt8>) throws(Errno) -> String {
  guard let end = bytes.firstIndex(of: 0) else { throw .EINVAL }
  let name = bytes[..<end]
  for byte in name {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
      continue
    default: throw .EINVAL
    }
  }
  return String(decoding: name, as: UTF8.self)
}

extension [UInt8] {
  func word(_ offset: Int) -> UInt32 {
    guard offset >= 0, offset + 4 <= count else { return 0 }
    return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
  }

  func long(_ offset: Int) -> UInt64 {
    guard offset >= 0, offset + 8 <= count else { return 0 }
    return withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
  }

  mutating func put(_ value: some FixedWidthInteger & BitwiseCopyable, at offset: Int) {
    let size = value.bitWidth / 8
    guard offset >= 0, offset + size <= count else { return }
    withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: type(of: value)) }
  }

  mutating func put(_ more: some Collection<UInt8>, at offset: Int) {
    for (place, byte) in more.enumerated() where offset + place < count { self[offset + place] = byte }
  }
}

/// The bytes of a number, as memory has them.
func bytes(of value: some FixedWidthInteger & BitwiseCopyable) -> [UInt8] {
  withUnsafeBytes(of: value) { Array($0) }
}
