/// The records of one ELF section in `.BTF.ext`.
public struct BTFExtSection<Record: Sendable>: Sendable {
  /// Name of the ELF section that the records describe.
  public let name: String
  public let records: [Record]
}

/// Which function starts at an instruction.
public struct BTFFunctionInfo: BitwiseCopyable, Sendable, Equatable {
  /// Byte offset of the instruction in its section.
  public let insnOffset: UInt32
  public let typeID: TypeID
}

/// Which source line an instruction comes from.
public struct BTFLineInfo: BitwiseCopyable, Sendable, Equatable {
  /// Byte offset of the instruction in its section.
  public let insnOffset: UInt32
  public let fileNameOffset: UInt32
  /// String offset of the source text.
  public let lineOffset: UInt32
  /// `line << 10 | column`.
  public let lineColumn: UInt32

  public var line: UInt32 { lineColumn >> 10 }
  public var column: UInt32 { lineColumn & 0x3ff }
}

/// What a CO-RE relocation asks about the target's types.
public enum CORERelocationKind: UInt32, Sendable, CaseIterable {
  case fieldByteOffset = 0
  case fieldByteSize = 1
  case fieldExists = 2
  case fieldSigned = 3
  case fieldLeftShift = 4
  case fieldRightShift = 5
  case typeIDLocal = 6
  case typeIDTarget = 7
  case typeExists = 8
  case typeSize = 9
  case enumeratorExists = 10
  case enumeratorValue = 11
  case typeMatches = 12

  public var isFieldBased: Bool { rawValue <= 5 }
  public var isTypeBased: Bool {
    switch self {
    case .typeIDLocal, .typeIDTarget, .typeExists, .typeSize, .typeMatches: true
    default: false
    }
  }
  public var isEnumeratorBased: Bool { self == .enumeratorExists || self == .enumeratorValue }

  /// The name that libbpf prints.
  public var name: String {
    switch self {
    case .fieldByteOffset: "byte_off"
    case .fieldByteSize: "byte_sz"
    case .fieldExists: "field_exists"
    case .fieldSigned: "signed"
    case .fieldLeftShift: "lshift_u64"
    case .fieldRightShift: "rshift_u64"
    case .typeIDLocal: "local_type_id"
    case .typeIDTarget: "target_type_id"
    case .typeExists: "type_exists"
    case .typeSize: "type_size"
    case .enumeratorExists: "enumval_exists"
    case .enumeratorValue: "enumval_value"
    case .typeMatches: "type_matches"
    }
  }
}

/// A CO-RE relocation: an instruction whose operand depends on the target's types.
public struct CORERelocation: Sendable, Equatable {
  /// Byte offset of the instruction in its section.
  public let insnOffset: UInt32
  /// Root type in the object's own type information.
  public let typeID: TypeID
  public let accessStringOffset: UInt32
  /// Path to the field from the root type (`0:1:2`), or the enumerator's index.
  public let accessString: String
  public let rawKind: UInt32
  /// Nil if the kind is not known.
  public var kind: CORERelocationKind? { CORERelocationKind(rawValue: rawKind) }

  public init(
    insnOffset: UInt32, typeID: TypeID, accessStringOffset: UInt32, accessString: String, rawKind: UInt32
  ) {
    self.insnOffset = insnOffset
    self.typeID = typeID
    self.accessStringOffset = accessStringOffset
    self.accessString = accessString
    self.rawKind = rawKind
  }
}

/// The contents of `.BTF.ext`: what type information says about instructions.
///
/// Records may be longer than the fields known here; the rest of each is passed over.
public struct BTFExt: Sendable {
  public let functions: [BTFExtSection<BTFFunctionInfo>]
  public let lines: [BTFExtSection<BTFLineInfo>]
  public let relocations: [BTFExtSection<CORERelocation>]
  /// Bytes in a record of the file; 0 where the part is missing.
  public let functionRecordSize: UInt32
  public let lineRecordSize: UInt32
  public let relocationRecordSize: UInt32

  /// Reads `bytes`; names come from the strings of `btf`.
  public init(parsing bytes: [UInt8], btf: BTF, origin: String = ".BTF.ext") throws(BTFError) {
    let reader = BTFExtReader(bytes: bytes, btf: btf, origin: origin)
    let header = try reader.header()
    (functions, functionRecordSize) = try reader.sections(header.functions, "func_info", minimum: 8) { place in
      BTFFunctionInfo(insnOffset: reader.word(place), typeID: reader.word(place + 4))
    }
    (lines, lineRecordSize) = try reader.sections(header.lines, "line_info", minimum: 16) { place in
      BTFLineInfo(
        insnOffset: reader.word(place), fileNameOffset: reader.word(place + 4),
        lineOffset: reader.word(place + 8), lineColumn: reader.word(place + 12))
    }
    guard let part = header.relocations else {
      relocations = []
      relocationRecordSize = 0
      return
    }
    (relocations, relocationRecordSize) = try reader.sections(part, "core_relo", minimum: 16) { place in
      let access = reader.word(place + 8)
      return CORERelocation(
        insnOffset: reader.word(place), typeID: reader.word(place + 4), accessStringOffset: access,
        accessString: btf.string(access), rawKind: reader.word(place + 12))
    }
  }
}

/// Bounds-checked walk over `.BTF.ext`.
private struct BTFExtReader {
  let bytes: [UInt8]
  let btf: BTF
  let origin: String

  struct Part {
    let offset: Int
    let length: Int
  }

  struct Header {
    let functions: Part
    let lines: Part
    let relocations: Part?
  }

  /// The word at `place`, which callers have checked to lie inside.
  func word(_ place: Int) -> UInt32 {
    guard place >= 0, place + 4 <= bytes.count else { return 0 }
    return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: place, as: UInt32.self) }
  }

  func fail(_ place: Int, _ what: String) -> BTFError {
    BTFError(origin: origin, offset: place, rule: .extensionSection(what))
  }

  func header() throws(BTFError) -> Header {
    guard bytes.count >= 8 else { throw BTFError(origin: origin, offset: bytes.count, rule: .truncatedHeader) }
    let magic = UInt16(truncatingIfNeeded: word(0))
    guard magic == BTFHeader.magic else {
      let rule: BTFError.Rule = magic.byteSwapped == BTFHeader.magic ? .foreignByteOrder : .badMagic(magic)
      throw BTFError(origin: origin, offset: 0, rule: rule)
    }
    guard bytes[2] == 1 else { throw BTFError(origin: origin, offset: 2, rule: .unsupportedVersion(bytes[2])) }
    guard bytes[3] == 0 else { throw fail(3, "flags are not known") }
    let rawLength = word(4)
    let length = Int(rawLength)
    guard length < bytes.count, length >= 24 else {
      throw BTFError(origin: origin, offset: 4, rule: .headerLength(rawLength))
    }
    func part(_ place: Int) -> Part {
      Part(offset: length + Int(word(place)), length: Int(word(place + 4)))
    }
    return Header(functions: part(8), lines: part(16), relocations: length >= 32 ? part(24) : nil)
  }

  func sections<Record>(
    _ part: Part, _ what: String, minimum: UInt32, _ decode: (Int) -> Record
  ) throws(BTFError) -> ([BTFExtSection<Record>], UInt32) {
    guard part.length > 0 else { return ([], 0) }
    guard (part.offset - Int(word(4))) % 4 == 0 else { throw fail(part.offset, "\(what) is not aligned to 4 bytes") }
    let end = part.offset + part.length
    guard end <= bytes.count else { throw fail(part.offset, "\(what) reaches past the end") }
    guard part.length >= 4 else { throw fail(part.offset, "\(what) has no record size") }
    let recordSize = word(part.offset)
    guard recordSize >= minimum, recordSize % 4 == 0 else {
      throw fail(part.offset, "\(what) has invalid record size \(recordSize)")
    }
    var place = part.offset + 4
    guard place < end else { throw fail(place, "\(what) has no records") }
    var sections: [BTFExtSection<Record>] = []
    while place < end {
      guard end - place >= 8 else { throw fail(place, "\(what) section header is cut short") }
      let name = btf.string(word(place))
      let count = Int(word(place + 4))
      guard count > 0, 8 + count * Int(recordSize) <= end - place else {
        throw fail(place, "\(what) has \(count) records, which do not fit")
      }
      place += 8
      var records: [Record] = []
      records.reserveCapacity(count)
      for _ in 0..<count {
        records.append(decode(place))
        place += Int(recordSize)
      }
      sections.append(BTFExtSection(name: name, records: records))
    }
    return (sections, recordSize)
  }
}
