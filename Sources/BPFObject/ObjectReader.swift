import BPFISA
import BPFLinux
import BTF

/// Opens an object step by step, in the order in which libbpf does.
struct ObjectReader {
  let file: ELFFile
  var license = ""
  var kernelVersion: UInt32?
  var functions: [ProgramSection] = []
  var externs: [ObjectExtern] = []
  var maps: [ObjectMap] = []
  var btf: BTF?
  var types: TypeImage?
  var extensions: BTFExt?
  /// 0 where the object has no `.text` of instructions, as in libbpf.
  var textSection = 0
  var mapsSection: ELFSection?
  var mapsTypeID: TypeID = 0
  var arenaSection: ELFSection?
  var arenaMap: Int?
  var kconfigMap: Int?
  var hasStructOps = false

  enum Role { case relocations, data, readOnlyData, bss, structOps }
  /// What libbpf makes of each section that it uses.
  var roles: [Int: Role] = [:]

  private var typeSection: ELFSection?
  private var extensionSection: ELFSection?
  /// Function symbols by section.
  private let functionSymbols: [Int: [ELFSymbol]]
  /// Bytes of data that may still be copied: a hostile file can name the same bytes over and over.
  private var copyBudget: Int

  init(file: ELFFile) {
    self.file = file
    functionSymbols = Dictionary(grouping: file.symbols.filter { $0.type == ELFSymbol.function }, by: \.section)
    copyBudget = 4 * file.bytes.count + 1 << 20
  }

  /// Counts bytes that are about to be copied.
  mutating func spend(_ count: Int, _ section: String) throws(ObjectFileError) {
    guard count <= copyBudget else {
      throw fail("the data of the object adds up to more than it can hold", LoaderErrno.tooBig, section: section)
    }
    copyBudget -= count
  }

  func fail(
    _ rule: String, _ errno: Int32 = LoaderErrno.invalid, section: String = "", offset: UInt64 = 0
  ) -> ObjectFileError {
    ObjectFileError(file: file.name, section: section, offset: Int(clamping: offset), rule: rule, errno: errno)
  }

  mutating func open() throws(ObjectFileError) {
    try classifySections()
    functions.sort { a, b in
      (a.sectionIndex, a.instructionOffset) < (b.sectionIndex, b.instructionOffset)
    }
    try readTypes()
    try collectExterns()
    try fixDataSections()
    try commitTypes()
    try collectDeclaredMaps()
    try collectGlobalData()
    try collectKconfigMap()
    try collectStructOps()
    try collectRelocations()
    markHiddenFunctions()
    try commitTypes()
  }

  mutating func commitTypes() throws(ObjectFileError) {
    guard types != nil else { return }
    do {
      btf = try types?.commit()
    } catch {
      throw fail("type information is inconsistent: \(error)", section: ".BTF")
    }
  }

  // MARK: Sections

  private mutating func classifySections() throws(ObjectFileError) {
    for section in file.sections.dropFirst() where !ObjectReader.isIgnored(section) {
      guard let data = file.data(section) else {
        throw fail("reaches past the end of the file", LoaderErrno.format, section: section.name)
      }
      switch section.name {
      case "license":
        license = String(decoding: data.prefix(63).prefix { $0 != 0 }, as: UTF8.self)
      case "version":
        guard data.count == 4 else { throw fail("is not 4 bytes long", LoaderErrno.format, section: "version") }
        kernelVersion = ByteReader(bytes: Array(data)).u32(0)
      case "maps":
        throw fail(
          "legacy map definitions in 'maps' section are not supported by libbpf v1.0+", LoaderErrno.notSupported,
          section: "maps")
      case ".maps":
        mapsSection = section
      case ".BTF", ".BTF.ext":
        guard section.type == ELFSection.progbits else {
          throw fail("is not of type PROGBITS", LoaderErrno.format, section: section.name)
        }
        if section.name == ".BTF" { typeSection = section } else { extensionSection = section }
      default:
        try classify(section, data)
      }
    }
  }

  private mutating func classify(_ section: ELFSection, _ data: ArraySlice<UInt8>) throws(ObjectFileError) {
    let name = section.name
    switch section.type {
    case ELFSection.progbits where section.size > 0:
      if section.isExecutable {
        if name == ".text" { textSection = section.index }
        try collectFunctions(section, data)
      } else if name == ".data" || name.hasPrefix(".data.") {
        roles[section.index] = .data
      } else if name == ".rodata" || name.hasPrefix(".rodata.") {
        roles[section.index] = .readOnlyData
      } else if ObjectReader.structOpsSections.contains(name) {
        roles[section.index] = .structOps
        hasStructOps = true
      } else if name == ".addr_space.1" {
        arenaSection = section
      }
    case ELFSection.rel:
      let target = Int(section.info)
      guard section.entrySize == 16, target < file.sections.count else {
        throw fail("the relocations are of an unknown shape", LoaderErrno.format, section: name)
      }
      if file.sections[target].isExecutable || name == ".rel.maps"
        || ObjectReader.structOpsSections.contains(where: { name == ".rel" + $0 })
      {
        roles[section.index] = .relocations
      }
    case ELFSection.nobits where name == ".bss" || name.hasPrefix(".bss."):
      roles[section.index] = .bss
    default:
      break
    }
  }

  static let structOpsSections = [".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"]

  private static func isIgnored(_ section: ELFSection) -> Bool {
    if section.type == ELFSection.stringTable || section.type == ELFSection.llvmAddressSignificance
      || section.type == 0
    {
      return true
    }
    if section.type == ELFSection.progbits && section.size == 0 && section.name == ".text" { return true }
    if section.name.hasPrefix(".debug_") { return true }
    guard section.name.hasPrefix(".rel") else { return false }
    let target = section.name.dropFirst(4)
    return target.hasPrefix(".debug_") || target == ".BTF" || target == ".BTF.ext"
  }

  private mutating func collectFunctions(
    _ section: ELFSection, _ data: ArraySlice<UInt8>
  ) throws(ObjectFileError) {
    let isText = section.name == ".text"
    for symbol in functionSymbols[section.index] ?? [] {
      guard let name = file.name(of: symbol) else {
        throw fail("a function has no name", LoaderErrno.format, section: section.name, offset: symbol.value)
      }
      let (end, overflow) = symbol.value.addingReportingOverflow(symbol.size)
      guard !overflow, end <= UInt64(data.count) else {
        throw fail(
          "program '\(name)' crosses the section's boundary", LoaderErrno.format, section: section.name,
          offset: symbol.value)
      }
      guard isText || symbol.binding != ELFSymbol.local else {
        throw fail(
          "program '\(name)' is static and not supported", LoaderErrno.notSupported, section: section.name,
          offset: symbol.value)
      }
      guard symbol.size > 0, symbol.size % 8 == 0, symbol.value % 8 == 0 else {
        throw fail("corrupted program '\(name)'", section: section.name, offset: symbol.value)
      }
      let isQuestioned = section.name.hasPrefix("?")
      let sectionName = isQuestioned ? String(section.name.dropFirst()) : section.name
      let isGlobal = symbol.binding != ELFSymbol.local
      functions.append(
        ProgramSection(
          name: name, sectionName: sectionName, sectionIndex: section.index,
          instructionOffset: Int(symbol.value / 8), instructionCount: Int(symbol.size / 8),
          autoload: !isQuestioned, isSubprogram: isText, isGlobal: isGlobal, isHidden: isGlobal && symbol.isHidden,
          convention: isText ? nil : SectionConvention.find(sectionName),
          imageOffset: data.startIndex + Int(symbol.value)))
    }
  }

  /// The function that has an instruction of a section.
  func function(section: Int, slot: Int) -> Int? {
    ObjectReader.function(in: functions, section: section, slot: slot)
  }

  static func function(in functions: [ProgramSection], section: Int, slot: Int) -> Int? {
    var low = 0
    var high = functions.count
    while low < high {
      let middle = low + (high - low) / 2
      let one = functions[middle]
      if (one.sectionIndex, one.instructionOffset) <= (section, slot) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    guard low > 0 else { return nil }
    let one = functions[low - 1]
    return one.sectionIndex == section && one.contains(slot) ? low - 1 : nil
  }

  // MARK: Types

  private mutating func readTypes() throws(ObjectFileError) {
    guard let typeSection else {
      if mapsSection != nil || hasStructOps {
        throw fail("BTF is required, but is missing or corrupted", LoaderErrno.noEntry, section: ".BTF")
      }
      return
    }
    do {
      let parsed = try BTF(parsing: Array(file.data(typeSection) ?? []), origin: file.name)
      btf = parsed
      types = TypeImage(parsed)
    } catch {
      if mapsSection != nil || hasStructOps {
        throw fail(
          "BTF is required, but is missing or corrupted: \(error)", error.errno, section: ".BTF",
          offset: UInt64(clamping: error.offset))
      }
      return
    }
    guard let extensionSection, let btf else { return }
    do {
      extensions = try BTFExt(parsing: Array(file.data(extensionSection) ?? []), btf: btf, origin: file.name)
    } catch {
      if mapsSection != nil || hasStructOps {
        throw fail(
          "BTF is required, but is missing or corrupted: \(error)", error.errno, section: ".BTF.ext",
          offset: UInt64(clamping: error.offset))
      }
    }
  }

  /// Gives data sections the sizes and places that only the ELF file knows, and makes hidden variables static.
  private mutating func fixDataSections() throws(ObjectFileError) {
    try commitTypes()
    guard let btf, var image = types else { return }
    let globals = globalObjects()
    for id in btf.startID..<btf.endID where btf.kind(id) == .dataSection {
      let name = btf.name(id)
      var variables = Array(btf.variables(id))
      if name != ".kconfig" && name != ".ksyms" {
        var placesAreUnknown = false
        if btf.type(id).size == 0 {
          let size = file.section(named: name).map { UInt32(truncatingIfNeeded: $0.size) } ?? 0
          guard size > 0 else {
            throw fail("has no size that the ELF file knows", LoaderErrno.noEntry, section: name)
          }
          image.setSize(size, of: id)
          placesAreUnknown = true
        }
        for index in variables.indices {
          let variable = variables[index]
          guard btf.kind(variable.typeID) == .variable else {
            throw fail("type [\(variable.typeID)] is not a variable", section: name)
          }
          guard btf.variableLinkage(variable.typeID) == 1 else { continue }
          let variableName = btf.name(variable.typeID)
          guard let symbol = globals[variableName] else {
            throw fail("variable '\(variableName)' has no symbol", LoaderErrno.noEntry, section: name)
          }
          if placesAreUnknown {
            variables[index] = BTFSectionVariable(
              typeID: variable.typeID, offset: UInt32(truncatingIfNeeded: symbol.value), size: variable.size)
          }
          if symbol.isHidden { image.setVariableLinkage(0, of: variable.typeID) }
        }
      }
      let sorted = variables.enumerated().sorted { a, b in
        (a.element.offset, a.offset) < (b.element.offset, b.offset)
      }.map(\.element)
      if !sorted.elementsEqual(btf.variables(id)) { image.setVariables(sorted, of: id) }
    }
    types = image
  }

  private func globalObjects() -> [String: ELFSymbol] {
    var result: [String: ELFSymbol] = [:]
    for symbol in file.symbols where symbol.type == ELFSymbol.object && symbol.isGlobalOrWeak {
      guard let name = file.name(of: symbol), result[name] == nil else { continue }
      result[name] = symbol
    }
    return result
  }

  /// Global functions of `.text` that are hidden count as static, so that their callers' context is used.
  private mutating func markHiddenFunctions() {
    guard let btf else { return }
    for function in functions where function.isHidden && function.isSubprogram {
      let id = btf.findAll(function.name) { $0 == .function }.first { btf.functionLinkage($0) == 1 }
      if let id { types?.setFunctionLinkage(0, of: id) }
    }
  }
}
