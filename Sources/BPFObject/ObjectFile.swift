import BPFISA
import BPFLinux
import BTF

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// A BPF object file, read and understood as far as that goes without a kernel: programs, maps, externs.
///
/// Opening does what `bpf_object__open` of libbpf 1.6 does and refuses what it refuses. `Linker` takes it from here.
public struct ObjectFile: Sendable {
  /// The file's name as it was given.
  public let path: String
  /// libbpf's name for the object: the file's name up to the first dot, at most 15 bytes.
  public let name: String
  /// Content of the `license` section; empty where there is none.
  public let license: String
  /// Content of the `version` section; nil where there is none.
  public let kernelVersion: UInt32?
  /// Entry programs in object order. Functions of `.text` are not among them.
  public var programs: [ProgramSection] { functions.filter { !$0.isSubprogram } }
  /// Maps in object order: declared ones, global data, `.kconfig`, struct_ops.
  public let maps: [ObjectMap]
  /// Type information as the loader has adjusted it; nil where the object has none.
  public let btf: BTF?

  /// Entry programs and functions of `.text`, by section and place.
  let functions: [ProgramSection]
  let externs: [ObjectExtern]
  let extensions: BTFExt?
  /// Section name to index, for the records of `.BTF.ext`.
  let sectionIndices: [String: Int]
  let textSection: Int
  let arenaMap: Int?
  let kconfigMap: Int?
  let arenaData: [UInt8]
  let image: [UInt8]
  /// `.struct_ops` maps need type information in the kernel.
  let hasStructOps: Bool

  /// Reads and opens a file.
  public init(path: String) throws(ObjectFileError) {
    try self.init(bytes: ObjectFile.read(path), name: path)
  }

  /// Opens bytes as the file of that name.
  public init(bytes: [UInt8], name: String) throws(ObjectFileError) {
    var reader = try ObjectReader(file: ELFFile(bytes: bytes, name: name))
    try reader.open()
    path = name
    self.name = ObjectFile.objectName(name)
    license = reader.license
    kernelVersion = reader.kernelVersion
    maps = reader.maps
    btf = reader.btf
    functions = reader.functions
    externs = reader.externs
    extensions = reader.extensions
    var indices: [String: Int] = [:]
    for section in reader.file.sections.dropFirst() where indices[section.name] == nil {
      indices[section.name] = section.index
    }
    sectionIndices = indices
    textSection = reader.textSection
    arenaMap = reader.arenaMap
    kconfigMap = reader.kconfigMap
    arenaData = reader.arenaSection.map { Array(reader.file.data($0) ?? []) } ?? []
    image = bytes
    hasStructOps = reader.hasStructOps
  }

  static func objectName(_ path: String) -> String {
    let file = path.split(separator: "/", omittingEmptySubsequences: false).last ?? ""
    let short = String(decoding: Array(file.utf8.prefix(15)), as: UTF8.self)
    return String(short.prefix { $0 != "." })
  }

  /// The largest object that is read.
  private static let sizeLimit = 1 << 30

  private static func read(_ path: String) throws(ObjectFileError) -> [UInt8] {
    guard let file = fopen(path, "rb") else {
      throw ObjectFileError(file: path, rule: "cannot be opened (errno \(errno))", errno: errno)
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      guard ferror(file) == 0 else {
        throw ObjectFileError(file: path, offset: bytes.count, rule: "cannot be read (errno \(errno))", errno: errno)
      }
      if count == 0 { return bytes }
      guard bytes.count + count <= sizeLimit else {
        throw ObjectFileError(file: path, rule: "is larger than an object can be", errno: LoaderErrno.tooBig)
      }
      bytes.append(contentsOf: chunk[0..<count])
    }
  }
}

/// A function in an object: an entry program, or a subprogram of `.text`.
public struct ProgramSection: Sendable {
  public let name: String
  /// The section's name without a leading `?`.
  public let sectionName: String
  public let sectionIndex: Int
  /// Where the function starts in its section, and how long it is, in slots.
  public let instructionOffset: Int
  public let instructionCount: Int
  /// False where the section's name starts with `?`.
  public let autoload: Bool
  /// Whether other functions call it: it lies in `.text`.
  public let isSubprogram: Bool
  public let isGlobal: Bool
  /// Global, but hidden: verified as a static function.
  public let isHidden: Bool
  /// What the section's name says; nil where libbpf knows no such name.
  public let convention: SectionConvention?
  public var type: ProgramType { convention?.type ?? .unspec }
  public var expectedAttachType: AttachType { convention?.attachType ?? .none }

  /// Byte offset of the first instruction in the file.
  let imageOffset: Int
  /// By instruction, as libbpf sorts them.
  var relocations: [InstructionRelocation] = []

  func contains(_ slot: Int) -> Bool { slot >= instructionOffset && slot - instructionOffset < instructionCount }
}

/// What a relocation makes of an instruction.
struct InstructionRelocation: Sendable {
  enum Target: Sendable {
    case map(Int)
    case call(symbol: UInt64)
    case data(map: Int, offset: UInt64)
    case externLoad(Int)
    case externCall(Int)
    case subprogramAddress(symbol: UInt64)

    /// libbpf's order of relocations of one instruction.
    var rank: Int {
      switch self {
      case .map: 0
      case .call: 1
      case .data: 2
      case .externLoad: 3
      case .externCall: 4
      case .subprogramAddress: 5
      }
    }
  }

  var slot: Int
  let target: Target
}

/// Something declared here and defined by the kernel or its configuration.
struct ObjectExtern: Sendable {
  enum Kind: Sendable {
    case configuration(ConfigurationValue)
    /// A kernel symbol and the type it is declared with; 0 for `void`.
    case symbol(type: TypeID)
  }

  /// What a `.kconfig` variable can hold, and where.
  struct ConfigurationValue: Sendable {
    enum Shape: Sendable { case character, boolean, integer, tristate, string }
    let shape: Shape
    let size: UInt32
    let alignment: UInt32
    let isSigned: Bool
    var offset: UInt32 = 0
  }

  let name: String
  let symbolIndex: Int
  let typeID: TypeID
  let isFunction: Bool
  let isWeak: Bool
  var kind: Kind

  /// The name without a `___flavor`.
  var essentialName: String { BTF.essentialName(name) }
}

/// A map that an object declares or implies.
public struct ObjectMap: Sendable {
  public enum Origin: Sendable {
    /// Declared in `.maps`.
    case declared
    case data
    case bss
    case readOnlyData
    case kconfig
    case structOps
  }

  public let origin: Origin
  /// The full name, which the kernel's 15 characters may cut short.
  public let name: String
  /// False where loading does not create the map (`?.struct_ops`).
  public internal(set) var autocreate = true
  public internal(set) var definition: MapDefinition
  /// Programs (prog arrays) or maps (maps of maps) that the object puts into it, by index.
  public internal(set) var slots: [(index: Int, name: String)] = []

  var sectionIndex: Int
  var sectionOffset: UInt64
  var variableIndex = 0
  var structOps: StructOpsMap?
}

/// The value of a struct_ops map as the object has it.
struct StructOpsMap: Sendable {
  let typeID: TypeID
  let data: [UInt8]
  /// By member: which function of the object it points to.
  var functions: [Int: Int] = [:]
}
