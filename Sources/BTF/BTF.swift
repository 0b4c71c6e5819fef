/// Type information: the types and names that describe a kernel, a kernel module or a BPF object.
///
/// A value is immutable and may be used from several threads. Opening one makes a single pass over the types;
/// names are indexed when they are looked up repeatedly.
///
/// ## Split type information
/// Modules number their types and strings after those of a base (`vmlinux`). Every question may be asked of the
/// split value; identifiers and string offsets below its own are answered by the base.
///
/// ## Hostile input
/// Accessors accept any identifier and any offset. What does not exist is `void`, empty, or nil; chains of
/// references are followed for a bounded number of steps.
public final class BTF: @unchecked Sendable {
  public let base: BTF?
  /// Where the bytes came from, for messages.
  public let origin: String
  /// The first identifier of its own: 1 without a base.
  public let startID: TypeID
  /// One past the last identifier.
  public let endID: TypeID

  let storage: BTFStorage
  private let table: BTFOffsetTable
  let header: BTFHeader

  @usableFromInline let raw: UnsafeRawPointer
  @usableFromInline let offsets: UnsafeMutablePointer<UInt32>
  /// Byte offset of the own string section, and its length.
  let stringStart: Int
  let stringLength: Int
  /// Offset at which own strings start to count: the end of the base's strings.
  let firstString: UInt32

  let names = BTFNameIndex()

  init(storage: BTFStorage, base: BTF?, origin: String) throws(BTFError) {
    let bytes = storage.bytes
    let header = try BTFHeader(bytes, origin: origin)
    try header.checkSections(bytes, hasBase: base != nil, origin: origin)
    guard let raw = bytes.baseAddress else {
      throw BTFError(origin: origin, offset: 0, rule: .truncatedHeader)
    }
    let start = base?.endID ?? 1
    let table = BTFOffsetTable(capacity: Int(header.typeLength) / 12)
    let count = try header.indexTypes(bytes, firstID: start, into: table.offsets, origin: origin)
    let (end, overflow) = start.addingReportingOverflow(count)
    guard !overflow else { throw BTFError(origin: origin, offset: 0, rule: .tooLarge) }

    self.storage = storage
    self.base = base
    self.origin = origin
    self.header = header
    self.table = table
    self.raw = raw
    offsets = table.offsets
    startID = start
    endID = end
    stringStart = header.stringStart
    stringLength = Int(header.stringLength)
    firstString = base?.stringEnd ?? 0
  }

  /// Reads `bytes` and checks every type: its size, its references and its names.
  public convenience init(parsing bytes: [UInt8], base: BTF? = nil, origin: String = "BTF") throws(BTFError) {
    try self.init(storage: BTFStorage(copying: bytes), base: base, origin: origin)
    try validate()
  }

  /// Opens a file such as `/sys/kernel/btf/vmlinux`. The header and the extent of each type are checked now;
  /// references and names are checked as they are used.
  public static func map(path: String, base: BTF? = nil) throws(BTFError) -> BTF {
    try BTF(storage: BTFStorage.open(path: path), base: base, origin: path)
  }

  /// The bytes as they were read.
  public var bytes: [UInt8] {
    let copy = Array(storage.bytes)
    return copy
  }

  /// Lends the bytes without a copy.
  public func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    defer { withExtendedLifetime(self) {} }
    return body(storage.bytes)
  }

  /// One past the last string offset, the base's included.
  public var stringEnd: UInt32 { firstString &+ UInt32(truncatingIfNeeded: stringLength) }
}

/// The file header.
struct BTFHeader: BitwiseCopyable, Sendable {
  static let magic: UInt16 = 0xeb9f
  static let size = 24

  let version: UInt8
  let flags: UInt8
  let length: UInt32
  let typeOffset: UInt32
  let typeLength: UInt32
  let stringOffset: UInt32
  let stringLength: UInt32

  init(_ bytes: UnsafeRawBufferPointer, origin: String) throws(BTFError) {
    guard bytes.count >= BTFHeader.size else {
      throw BTFError(origin: origin, offset: bytes.count, rule: .truncatedHeader)
    }
    let magic = bytes.loadUnaligned(as: UInt16.self)
    guard magic == BTFHeader.magic else {
      let rule: BTFError.Rule = magic.byteSwapped == BTFHeader.magic ? .foreignByteOrder : .badMagic(magic)
      throw BTFError(origin: origin, offset: 0, rule: rule)
    }
    version = bytes[2]
    flags = bytes[3]
    length = bytes.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
    typeOffset = bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
    typeLength = bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
    stringOffset = bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self)
    stringLength = bytes.loadUnaligned(fromByteOffset: 20, as: UInt32.self)
    guard Int(length) <= bytes.count else {
      throw BTFError(origin: origin, offset: 4, rule: .headerLength(length))
    }
  }

  var typeStart: Int { Int(length) + Int(typeOffset) }
  var typeEnd: Int { typeStart + Int(typeLength) }
  var stringStart: Int { Int(length) + Int(stringOffset) }

  /// Checks where the sections lie and that strings end with a zero byte.
  func checkSections(_ bytes: UnsafeRawBufferPointer, hasBase: Bool, origin: String) throws(BTFError) {
    guard Int(stringOffset) + Int(stringLength) <= bytes.count - Int(length) else {
      throw BTFError(origin: origin, offset: 16, rule: .sectionsOutOfBounds)
    }
    guard Int(typeOffset) + Int(typeLength) <= Int(stringOffset) else {
      throw BTFError(origin: origin, offset: 8, rule: .sectionsOverlap)
    }
    guard typeOffset % 4 == 0 else {
      throw BTFError(origin: origin, offset: 8, rule: .misalignedTypes)
    }
    if hasBase && stringLength == 0 { return }
    guard stringLength > 0, stringLength - 1 <= 0x7fff_ffff,
      bytes[stringStart + Int(stringLength) - 1] == 0
    else {
      throw BTFError(origin: origin, offset: stringStart, rule: .stringSection)
    }
    guard hasBase || bytes[stringStart] == 0 else {
      throw BTFError(origin: origin, offset: stringStart, rule: .missingBase)
    }
  }

  /// Writes the offset of each type to `table`, which has room for the smallest types; returns their number.
  func indexTypes(
    _ bytes: UnsafeRawBufferPointer, firstID: TypeID, into table: UnsafeMutablePointer<UInt32>, origin: String
  ) throws(BTFError) -> UInt32 {
    guard let raw = bytes.baseAddress else { return 0 }
    let end = typeEnd
    var offset = typeStart
    var count = 0
    while offset &+ 12 <= end {
      let info = raw.loadUnaligned(fromByteOffset: offset &+ 4, as: UInt32.self)
      let number = UInt8(truncatingIfNeeded: (info >> 24) & 0x1f)
      guard number != 0, let kind = BTFKind(rawValue: number) else {
        let id = firstID &+ UInt32(truncatingIfNeeded: count)
        throw BTFError(origin: origin, offset: offset, rule: .unknownKind(number, type: id))
      }
      let next = offset &+ 12 &+ kind.trailerSize(count: Int(info & 0xffff))
      guard next <= end else {
        let id = firstID &+ UInt32(truncatingIfNeeded: count)
        throw BTFError(origin: origin, offset: offset, rule: .truncatedType(id))
      }
      table[count] = UInt32(truncatingIfNeeded: offset)
      count &+= 1
      offset = next
    }
    guard offset == end else {
      throw BTFError(origin: origin, offset: offset, rule: .trailingTypeData)
    }
    return UInt32(truncatingIfNeeded: count)
  }
}
