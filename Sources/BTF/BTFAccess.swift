#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension BTF {
  /// Whether `id` names a type; `void` is one.
  @inlinable public func isValid(_ id: TypeID) -> Bool { id < endID }

  /// The type information that holds `id` itself, and the byte offset of the type there.
  @inlinable func locate(_ id: TypeID) -> (owner: BTF, offset: Int)? {
    if id >= startID {
      guard id < endID else { return nil }
      return (self, Int(offsets[Int(id &- startID)]))
    }
    guard id != 0, let base else { return nil }
    return base.locate(id)
  }

  @inlinable func word(_ offset: Int) -> UInt32 {
    raw.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
  }

  /// The header of type `id`; `void` with identifier 0 if there is none.
  @inlinable public func type(_ id: TypeID) -> BTFType {
    guard let (owner, offset) = locate(id) else { return .void }
    let info = owner.word(offset &+ 4)
    return BTFType(
      id: id,
      kind: BTFKind(rawValue: UInt8(truncatingIfNeeded: (info >> 24) & 0x1f)) ?? .void,
      kindFlag: info >> 31 != 0,
      vlen: Int(info & 0xffff),
      nameOffset: owner.word(offset),
      size: owner.word(offset &+ 8)
    )
  }

  /// Only the kind of type `id`.
  @inlinable public func kind(_ id: TypeID) -> BTFKind {
    guard let (owner, offset) = locate(id) else { return .void }
    return BTFKind(rawValue: UInt8(truncatingIfNeeded: (owner.word(offset &+ 4) >> 24) & 0x1f)) ?? .void
  }

  /// The 32-bit info word of type `id`, undecoded.
  public func infoWord(_ id: TypeID) -> UInt32 {
    guard let (owner, offset) = locate(id) else { return 0 }
    return owner.word(offset &+ 4)
  }

  // MARK: Strings

  /// The bytes of a string without its zero byte; nil if `offset` lies outside. Valid as long as `self`.
  func stringBytes(_ offset: UInt32) -> UnsafeBufferPointer<CChar>? {
    if offset < firstString, let base { return base.stringBytes(offset) }
    let index = Int(offset &- firstString)
    guard index < stringLength else { return nil }
    let start = (raw + stringStart + index).assumingMemoryBound(to: CChar.self)
    return UnsafeBufferPointer(start: start, count: strnlen(start, stringLength &- index))
  }

  /// Whether a string starts at or covers `offset`.
  public func isValidString(_ offset: UInt32) -> Bool {
    if offset < firstString, let base { return base.isValidString(offset) }
    return Int(offset &- firstString) < stringLength
  }

  /// The string at `offset`; empty if there is none.
  public func string(_ offset: UInt32) -> String {
    guard let bytes = stringBytes(offset), bytes.count > 0 else { return "" }
    return String(decoding: UnsafeRawBufferPointer(bytes), as: UTF8.self)
  }

  /// Whether the string at `offset` is empty or does not exist.
  public func isEmptyString(_ offset: UInt32) -> Bool {
    guard let bytes = stringBytes(offset) else { return true }
    return bytes.isEmpty
  }

  /// The type's own name; empty if anonymous.
  public func name(_ id: TypeID) -> String { string(type(id).nameOffset) }

  /// Whether the type's own name is `s`. Allocates nothing.
  public func nameEquals(_ id: TypeID, _ s: StaticString) -> Bool { stringEquals(type(id).nameOffset, s) }

  /// Whether the string at `offset` is `s`. Allocates nothing.
  public func stringEquals(_ offset: UInt32, _ s: StaticString) -> Bool {
    guard s.hasPointerRepresentation, let bytes = stringBytes(offset), let start = bytes.baseAddress else {
      return false
    }
    return bytes.count == s.utf8CodeUnitCount && memcmp(start, s.utf8Start, bytes.count) == 0
  }

  /// Whether the string at `offset` is `s`, compared as bytes.
  public func stringEquals(_ offset: UInt32, _ s: String) -> Bool {
    guard let bytes = stringBytes(offset) else { return false }
    var copy = s
    return copy.withUTF8 { other in
      guard other.count == bytes.count else { return false }
      guard let a = other.baseAddress, let b = bytes.baseAddress else { return true }
      return memcmp(a, b, other.count) == 0
    }
  }

  /// Whether a string here and one of `other` have the same bytes. Allocates nothing.
  public func stringEquals(_ offset: UInt32, in other: BTF, _ otherOffset: UInt32) -> Bool {
    guard let a = stringBytes(offset), let b = other.stringBytes(otherOffset) else { return false }
    return a.elementsEqual(b)
  }

  // MARK: What follows the header

  @inlinable func trailer(_ id: TypeID, _ isWanted: (BTFKind) -> Bool) -> (owner: BTF, offset: Int, info: UInt32)? {
    guard let (owner, offset) = locate(id) else { return nil }
    let info = owner.word(offset &+ 4)
    guard let kind = BTFKind(rawValue: UInt8(truncatingIfNeeded: (info >> 24) & 0x1f)), isWanted(kind) else {
      return nil
    }
    return (owner, offset &+ 12, info)
  }

  /// Members of a struct or union; empty for anything else.
  @inlinable public func members(_ id: TypeID) -> BTFMembers {
    guard let (owner, offset, info) = trailer(id, { $0.isComposite }) else {
      return BTFMembers(owner: self, offset: 0, count: 0, kindFlag: false)
    }
    return BTFMembers(owner: owner, offset: offset, count: Int(info & 0xffff), kindFlag: info >> 31 != 0)
  }

  /// Parameters of a function prototype; empty for anything else.
  @inlinable public func parameters(_ id: TypeID) -> BTFParameters {
    guard let (owner, offset, info) = trailer(id, { $0 == .functionPrototype }) else {
      return BTFParameters(owner: self, offset: 0, count: 0)
    }
    return BTFParameters(owner: owner, offset: offset, count: Int(info & 0xffff))
  }

  /// Constants of an enumeration of either width; empty for anything else.
  @inlinable public func enumerators(_ id: TypeID) -> BTFEnumerators {
    guard let (owner, offset, info) = trailer(id, { $0.isEnumeration }) else {
      return BTFEnumerators(owner: self, offset: 0, count: 0, isWide: false, isSigned: false)
    }
    return BTFEnumerators(
      owner: owner, offset: offset, count: Int(info & 0xffff),
      isWide: (info >> 24) & 0x1f == UInt32(BTFKind.enum64.rawValue), isSigned: info >> 31 != 0)
  }

  /// Variables of a data section; empty for anything else.
  @inlinable public func variables(_ id: TypeID) -> BTFSectionVariables {
    guard let (owner, offset, info) = trailer(id, { $0 == .dataSection }) else {
      return BTFSectionVariables(owner: self, offset: 0, count: 0)
    }
    return BTFSectionVariables(owner: owner, offset: offset, count: Int(info & 0xffff))
  }

  /// Shape of an array; all zero for anything else.
  @inlinable public func array(_ id: TypeID) -> BTFArray {
    guard let (owner, offset, _) = trailer(id, { $0 == .array }) else {
      return BTFArray(elementTypeID: 0, indexTypeID: 0, count: 0)
    }
    return BTFArray(
      elementTypeID: owner.word(offset), indexTypeID: owner.word(offset &+ 4), count: owner.word(offset &+ 8))
  }

  /// Encoding of an integer; all zero for anything else.
  @inlinable public func intEncoding(_ id: TypeID) -> BTFIntEncoding {
    guard let (owner, offset, _) = trailer(id, { $0 == .int }) else { return BTFIntEncoding(raw: 0) }
    return BTFIntEncoding(raw: owner.word(offset))
  }

  /// Linkage of a variable: 0 static, 1 global, 2 extern.
  @inlinable public func variableLinkage(_ id: TypeID) -> UInt32 {
    guard let (owner, offset, _) = trailer(id, { $0 == .variable }) else { return 0 }
    return owner.word(offset)
  }

  /// The member or parameter that a declaration tag is attached to; -1 for the type itself.
  @inlinable public func declTagComponent(_ id: TypeID) -> Int32 {
    guard let (owner, offset, _) = trailer(id, { $0 == .declTag }) else { return -1 }
    return Int32(bitPattern: owner.word(offset))
  }

  /// Linkage of a function: 0 static, 1 global, 2 extern.
  @inlinable public func functionLinkage(_ id: TypeID) -> UInt32 {
    guard let (_, _, info) = trailer(id, { $0 == .function }) else { return 0 }
    return info & 0xffff
  }

  // MARK: Following references

  /// The type beneath qualifiers, type tags and typedefs. A ring of such types ends at `void`.
  @inlinable public func skipModifiers(_ id: TypeID) -> TypeID {
    var id = id
    var steps = endID
    while let (owner, offset) = locate(id) {
      let kind = BTFKind(rawValue: UInt8(truncatingIfNeeded: (owner.word(offset &+ 4) >> 24) & 0x1f)) ?? .void
      guard kind.isModifier else { return id }
      id = owner.word(offset &+ 8)
      guard steps > 0 else { return 0 }
      steps &-= 1
    }
    return id
  }

  /// The type beneath qualifiers and type tags, typedefs kept. A ring of such types ends at `void`.
  @inlinable public func skipQualifiers(_ id: TypeID) -> TypeID {
    var id = id
    var steps = endID
    while let (owner, offset) = locate(id) {
      let kind = BTFKind(rawValue: UInt8(truncatingIfNeeded: (owner.word(offset &+ 4) >> 24) & 0x1f)) ?? .void
      guard kind.isQualifier else { return id }
      id = owner.word(offset &+ 8)
      guard steps > 0 else { return 0 }
      steps &-= 1
    }
    return id
  }

  /// How many references are followed to find a size.
  static let resolveDepth = 32

  /// Why a size cannot be told.
  enum SizeFailure: Error {
    case noSize
    case overflow
  }

  func size(resolving id: TypeID) throws(SizeFailure) -> UInt32 {
    var id = id
    var elements: UInt32 = 1
    for _ in 0..<BTF.resolveDepth {
      let type = type(id)
      let size: UInt32
      switch type.kind {
      case .int, .structure, .union, .enumeration, .enum64, .dataSection, .float:
        size = type.size
      case .pointer:
        size = 8
      case .typedef, .volatile, .const, .restrict, .variable, .declTag, .typeTag:
        id = type.target
        continue
      case .array:
        let array = array(id)
        let (product, overflow) = elements.multipliedReportingOverflow(by: array.count)
        guard !overflow else { throw .overflow }
        elements = product
        id = array.elementTypeID
        continue
      case .void, .forward, .function, .functionPrototype:
        throw .noSize
      }
      let (bytes, overflow) = elements.multipliedReportingOverflow(by: size)
      guard !overflow else { throw .overflow }
      return bytes
    }
    throw .noSize
  }

  /// Byte size of a type, through modifiers, arrays and variables; pointers have 8.
  public func resolveSize(_ id: TypeID) -> UInt32? {
    do {
      return try size(resolving: id)
    } catch {
      return nil
    }
  }
}
