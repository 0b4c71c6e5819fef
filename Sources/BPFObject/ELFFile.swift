/// A 64-bit little-endian ELF file: sections, symbols, relocations. Every read is bounds-checked.
struct ELFFile: Sendable {
  let name: String
  let bytes: [UInt8]
  let sections: [ELFSection]
  let symbols: [ELFSymbol]
  /// Index of the symbol table's section; 0 where there is none.
  let symbolSection: Int
  private let stringSection: Int

  init(bytes: [UInt8], name: String) throws(ObjectFileError) {
    func fail(_ offset: Int, _ rule: String, _ errno: Int32 = LoaderErrno.format) -> ObjectFileError {
      ObjectFileError(file: name, offset: offset, rule: rule, errno: errno)
    }
    self.name = name
    self.bytes = bytes
    let reader = ByteReader(bytes: bytes)
    guard bytes.count >= 64, bytes[0] == 0x7f, bytes[1] == 0x45, bytes[2] == 0x4c, bytes[3] == 0x46 else {
      throw fail(0, "not an ELF file")
    }
    guard bytes[4] == 2 else { throw fail(4, "not a 64-bit ELF file") }
    let machine = bytes[5] == 2 ? reader.u16(18).byteSwapped : reader.u16(18)
    let type = bytes[5] == 2 ? reader.u16(16).byteSwapped : reader.u16(16)
    guard type == 1, machine == 0 || machine == 247 else { throw fail(16, "not a relocatable BPF object") }
    guard bytes[5] == 1 else {
      throw fail(5, "big-endian objects cannot be loaded on a little-endian machine", LoaderErrno.endian)
    }
    let table = reader.u64(40)
    let entrySize = Int(reader.u16(58))
    var count = Int(reader.u16(60))
    var nameSection = Int(reader.u16(62))
    guard let start = Int(exactly: table), start > 0, entrySize == 64 else {
      throw fail(40, "the section table is missing or of an unknown shape")
    }
    guard start <= bytes.count - 64 else { throw fail(40, "the section table reaches past the end") }
    // More sections than the header can count: the first section header says how many.
    if count == 0 { count = Int(clamping: reader.u64(start + 32)) }
    if nameSection == 0xffff { nameSection = Int(reader.u32(start + 40)) }
    guard count > 0, count <= (bytes.count - start) / 64 else {
      throw fail(60, "the section table reaches past the end")
    }
    var sections: [ELFSection] = []
    sections.reserveCapacity(count)
    for index in 0..<count {
      sections.append(ELFSection(reader, at: start + index * 64, index: index))
    }
    guard nameSection > 0, nameSection < count, sections[nameSection].type == ELFSection.stringTable,
      let names = sections[nameSection].range(in: bytes)
    else {
      throw fail(62, "the section names are missing")
    }
    for index in sections.indices {
      guard let text = reader.string(in: names, at: Int(sections[index].nameOffset)) else {
        throw fail(start + index * 64, "the name of section \(index) lies outside the section names")
      }
      sections[index].name = text
    }
    let symbolTables = sections.indices.filter { sections[$0].type == ELFSection.symbolTable }
    guard symbolTables.count < 2 else { throw fail(start, "there are several symbol tables") }
    guard let symbolSection = symbolTables.first else {
      throw fail(start, "there is no symbol table: a stripped object?", LoaderErrno.noEntry)
    }
    let table64 = sections[symbolSection]
    guard let range = table64.range(in: bytes), table64.entrySize == 24 else {
      throw ObjectFileError(
        file: name, section: table64.name, rule: "the symbol table is cut short or of an unknown shape",
        errno: LoaderErrno.format)
    }
    stringSection = Int(table64.link)
    guard stringSection > 0, stringSection < count, sections[stringSection].type == ELFSection.stringTable,
      sections[stringSection].range(in: bytes) != nil
    else {
      throw ObjectFileError(
        file: name, section: table64.name, rule: "the symbol names are missing", errno: LoaderErrno.format)
    }
    var symbols: [ELFSymbol] = []
    symbols.reserveCapacity(range.count / 24)
    for index in 0..<(range.count / 24) {
      symbols.append(ELFSymbol(reader, at: range.lowerBound + index * 24))
    }
    self.symbolSection = symbolSection
    self.sections = sections
    self.symbols = symbols
  }

  /// The file's bytes of a section; nil where they reach past the end. Sections without bytes are empty.
  func data(_ section: ELFSection) -> ArraySlice<UInt8>? {
    guard let range = section.range(in: bytes) else { return nil }
    return bytes[range]
  }

  /// The first section of that name.
  func section(named name: String) -> ELFSection? { sections.dropFirst().first { $0.name == name } }

  /// A symbol's name; nil where it lies outside the symbol names.
  func name(of symbol: ELFSymbol) -> String? {
    guard let range = sections[stringSection].range(in: bytes) else { return nil }
    return ByteReader(bytes: bytes).string(in: range, at: Int(symbol.nameOffset))
  }

  /// The entries of a `SHT_REL` section; nil where it is of an unknown shape.
  func relocations(_ section: ELFSection) -> [ELFRelocation]? {
    guard let range = section.range(in: bytes), section.entrySize == 16 else { return nil }
    let reader = ByteReader(bytes: bytes)
    return (0..<(range.count / 16)).map { index in
      let place = range.lowerBound + index * 16
      return ELFRelocation(offset: reader.u64(place), symbol: Int(reader.u32(place + 12)))
    }
  }
}

/// One section header.
struct ELFSection: Sendable {
  static let progbits: UInt32 = 1
  static let symbolTable: UInt32 = 2
  static let stringTable: UInt32 = 3
  static let nobits: UInt32 = 8
  static let rel: UInt32 = 9
  static let llvmAddressSignificance: UInt32 = 0x6fff_4c03

  let index: Int
  var name = ""
  let nameOffset: UInt32
  let type: UInt32
  let flags: UInt64
  let offset: UInt64
  let size: UInt64
  let link: UInt32
  let info: UInt32
  let entrySize: UInt64

  init(_ reader: ByteReader, at place: Int, index: Int) {
    self.index = index
    nameOffset = reader.u32(place)
    type = reader.u32(place + 4)
    flags = reader.u64(place + 8)
    offset = reader.u64(place + 24)
    size = reader.u64(place + 32)
    link = reader.u32(place + 40)
    info = reader.u32(place + 44)
    entrySize = reader.u64(place + 56)
  }

  var isExecutable: Bool { flags & 4 != 0 }

  /// Where the section's bytes lie in the file; nil where they reach past its end.
  func range(in bytes: [UInt8]) -> Range<Int>? {
    guard type != ELFSection.nobits, type != 0 else { return 0..<0 }
    let (end, overflow) = offset.addingReportingOverflow(size)
    guard !overflow, end <= UInt64(bytes.count) else { return nil }
    return Int(offset)..<Int(end)
  }
}

/// One entry of the symbol table.
struct ELFSymbol: Sendable {
  static let local: UInt8 = 0
  static let global: UInt8 = 1
  static let weak: UInt8 = 2
  static let noType: UInt8 = 0
  static let object: UInt8 = 1
  static let function: UInt8 = 2
  static let sectionType: UInt8 = 3

  let nameOffset: UInt32
  let info: UInt8
  let other: UInt8
  let section: Int
  let value: UInt64
  let size: UInt64

  init(_ reader: ByteReader, at place: Int) {
    nameOffset = reader.u32(place)
    info = reader.u8(place + 4)
    other = reader.u8(place + 5)
    section = Int(reader.u16(place + 6))
    value = reader.u64(place + 8)
    size = reader.u64(place + 16)
  }

  var binding: UInt8 { info >> 4 }
  var type: UInt8 { info & 0xf }
  /// Hidden and internal symbols are not seen outside the object.
  var isHidden: Bool { other & 3 == 1 || other & 3 == 2 }
  var isGlobalOrWeak: Bool { binding == ELFSymbol.global || binding == ELFSymbol.weak }
  /// Declared here, defined elsewhere.
  var isExtern: Bool { section == 0 && isGlobalOrWeak && type == ELFSymbol.noType }
}

/// One entry of a `SHT_REL` section.
struct ELFRelocation: Sendable {
  let offset: UInt64
  let symbol: Int
}

/// Little-endian reads that answer 0 outside the bytes.
struct ByteReader {
  let bytes: [UInt8]

  private func load<T: FixedWidthInteger>(_ place: Int, _: T.Type) -> T {
    guard place >= 0, place <= bytes.count - MemoryLayout<T>.size else { return 0 }
    return bytes.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: place, as: T.self)) }
  }

  func u8(_ place: Int) -> UInt8 { load(place, UInt8.self) }
  func u16(_ place: Int) -> UInt16 { load(place, UInt16.self) }
  func u32(_ place: Int) -> UInt32 { load(place, UInt32.self) }
  func u64(_ place: Int) -> UInt64 { load(place, UInt64.self) }

  /// The zero-terminated string at `offset` of a range; nil where there is none.
  func string(in range: Range<Int>, at offset: Int) -> String? {
    guard offset >= 0, offset < range.count else { return nil }
    let rest = bytes[(range.lowerBound + offset)..<range.upperBound]
    guard let end = rest.firstIndex(of: 0) else { return nil }
    return String(decoding: rest[..<end], as: UTF8.self)
  }
}
