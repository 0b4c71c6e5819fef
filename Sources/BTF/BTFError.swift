/// Why type information could not be read: where it came from, at which byte, and the rule it breaks.
public struct BTFError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The rule that the data breaks.
  public enum Rule: Equatable, Sendable {
    case unreadable(errno: Int32)
    case tooLarge
    case truncatedHeader
    case badMagic(UInt16)
    case foreignByteOrder
    case unsupportedVersion(UInt8)
    case headerLength(UInt32)
    case sectionsOutOfBounds
    case sectionsOverlap
    case misalignedTypes
    case stringSection
    case missingBase
    case truncatedType(TypeID)
    case unknownKind(UInt8, type: TypeID)
    case trailingTypeData
    case badReference(TypeID, from: TypeID)
    case badString(UInt32, type: TypeID)
    case functionWithoutPrototype(TypeID)
    case extensionSection(String)
    case malformed(String)
  }

  /// The file or section that was read.
  public let origin: String
  /// Byte offset inside it.
  public let offset: Int
  public let rule: Rule

  public init(origin: String, offset: Int, rule: Rule) {
    self.origin = origin
    self.offset = offset
    self.rule = rule
  }

  /// The errno that a loader reports for it, positive.
  public var errno: Int32 {
    switch rule {
    case .unreadable(let code): code
    case .foreignByteOrder, .unsupportedVersion: 95
    case .tooLarge: 7
    default: 22
    }
  }

  public var description: String {
    "\(origin): at byte \(offset): \(rule)"
  }
}

extension BTFError.Rule: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unreadable(let code): "cannot be read (errno \(code))"
    case .tooLarge: "is larger than type information can be"
    case .truncatedHeader: "the header is cut short"
    case .badMagic(let magic): "magic number is 0x\(String(magic, radix: 16)), not 0xeb9f"
    case .foreignByteOrder: "byte order is not this machine's"
    case .unsupportedVersion(let version): "version \(version) is not known"
    case .headerLength(let length): "header length \(length) does not fit"
    case .sectionsOutOfBounds: "types or strings reach past the end"
    case .sectionsOverlap: "types overlap strings"
    case .misalignedTypes: "types are not aligned to 4 bytes"
    case .stringSection: "strings are empty or do not end with a zero byte"
    case .missingBase: "the first string is not empty: base type information is missing"
    case .truncatedType(let id): "type [\(id)] is cut short"
    case .unknownKind(let kind, let id): "type [\(id)] has unknown kind \(kind)"
    case .trailingTypeData: "bytes are left over after the last type"
    case .badReference(let target, let id): "type [\(id)] refers to type [\(target)], which does not exist"
    case .badString(let offset, let id): "type [\(id)] names string \(offset), which does not exist"
    case .functionWithoutPrototype(let id): "function [\(id)] does not refer to a prototype"
    case .extensionSection(let what): what
    case .malformed(let what): what
    }
  }
}
