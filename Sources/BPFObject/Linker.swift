import BPFISA
import BPFLinux
import BTF

/// One entry program of an object as it would be handed to `BPF_PROG_LOAD`, or why it never gets there.
public struct LinkedProgram: Sendable {
  public let name: String
  /// The section's name without a leading `?`.
  public let sectionName: String
  /// Whether loading the whole object loads it: false for `?` sections.
  public let autoload: Bool
  /// What the section's name says; `unspec` where libbpf knows no such name.
  public let type: ProgramType
  /// Programs that libbpf loads before this one although only this one was asked for, by index: callbacks of
  /// struct_ops maps. If the verifier refuses one of them, this program is not loaded.
  public let prerequisites: [Int]
  /// For each map of the program, which of `Linker.maps` it is.
  public let mapIndices: [Int]
  /// An error of number 0 means that libbpf succeeds without loading the program at all.
  public let result: Result<Program, LinkError>
}

/// How an object is linked.
public struct LinkOptions: Sendable {
  /// Configuration that goes before the kernel's own, in the form of `Linux.config`.
  public var extraConfiguration: [String: String] = [:]
  /// Maps without a size get one entry and nothing is pinned, as when programs are only checked.
  public var makesLoadable = true
  /// The third number of the kernel's version; nil: the running kernel's, if it is of the same version.
  public var patchLevel: UInt32?

  public init() {}
}

/// Resolves an object against a Linux: what `bpf_object__load` of libbpf does up to its `BPF_PROG_LOAD`.
///
/// Making a linker resolves what all programs share: externs, struct_ops, maps. Each program is linked when it is
/// asked for, alone, with its autoload set and no other's. Values are immutable; several threads may link at once.
public struct Linker: Sendable {
  public let object: ObjectFile
  public let linux: Linux
  public let options: LinkOptions

  /// The object's maps as `BPF_MAP_CREATE` gets them, those included that no program uses.
  public let maps: [MapDefinition]
  /// The object's type information; nil where the kernel refuses it.
  public let btf: BTF?

  let externs: [ResolvedExtern]
  let structOps: StructOpsBinding
  let exceptionCallbacks: [(function: TypeID, callback: String)]
  let functionRecords: [Int: FunctionRecords]
  let lineRecords: [Int: LineRecords]
  let typeRelocations: TypeRelocations
  let entryPoints: [Int]
  /// Entry programs that struct_ops maps load whichever program is asked for.
  private let alwaysLoaded: [Int]
  /// What fails before programs are relocated, and after.
  let earlyError: LinkError?
  let lateError: LinkError?

  public init(_ object: ObjectFile, linux: Linux, options: LinkOptions = LinkOptions()) {
    self.object = object
    self.linux = linux
    self.options = options
    entryPoints = object.functions.indices.filter { !object.functions[$0].isSubprogram }

    var early: LinkError?
    let resolution = ExternResolution(object, linux, options)
    externs = resolution.externs
    early = resolution.error
    do {
      structOps = try StructOpsBinding(object, linux)
    } catch {
      structOps = StructOpsBinding()
      early = early ?? error
    }
    earlyError = early

    var accepted = object.btf
    var late: LinkError?
    if let own = object.btf, let refusal = TypeInformationLoad.refusal(of: own) {
      accepted = nil
      if object.hasStructOps {
        late = LinkError(
          errno: refusal.errno.rawValue,
          message: "Error loading .BTF into kernel: \(refusal.message). BTF is mandatory, can't proceed.")
      }
    }
    btf = accepted
    let creation = MapCreator(object, linux, options, btf: accepted, kconfig: resolution.kconfig, structOps: structOps)
    maps = creation.definitions
    lateError = late ?? creation.error

    exceptionCallbacks = Linker.exceptionCallbacks(object)
    (functionRecords, lineRecords) = Linker.records(object)
    typeRelocations = TypeRelocations(object)
    alwaysLoaded = structOps.autoload.filter(\.value).map(\.key).sorted()
  }

  /// Links every entry program, in object order.
  public func link() -> [LinkedProgram] {
    entryPoints.indices.map { link($0) }
  }

  /// Links the first program of that name; nil where there is none.
  public func link(named name: String) -> LinkedProgram? {
    entryPoints.firstIndex { object.functions[$0].name == name }.map { link($0) }
  }

  /// Links one program by its index in `object.programs`.
  public func link(_ index: Int) -> LinkedProgram {
    let chosen = entryPoints[index]
    let function = object.functions[chosen]
    var loaded = alwaysLoaded
    if structOps.autoload[chosen] == nil {
      loaded.append(chosen)
      loaded.sort()
    }
    let result: Result<Program, LinkError>
    var mapIndices: [Int] = []
    do {
      result = .success(try load(chosen, among: loaded, &mapIndices))
    } catch {
      result = .failure(error)
    }
    let earlier = loaded.prefix { $0 < chosen }
    return LinkedProgram(
      name: function.name, sectionName: function.sectionName, autoload: function.autoload, type: function.type,
      prerequisites: earlier.compactMap { entryPoints.firstIndex(of: $0) }, mapIndices: mapIndices,
      result: result)
  }

  private func load(
    _ chosen: Int, among loaded: [Int], _ mapIndices: inout [Int]
  ) throws(LinkError) -> Program {
    try checkKernelTypes(loaded)
    if let earlyError { throw earlyError }
    let code = try relocateTypes(loaded)
    var assembled: [Int: Assembly] = [:]
    for index in loaded {
      assembled[index] = try assemble(index, code)
    }
    for index in loaded {
      try assembled[index]?.relocateData(self)
    }
    if let lateError { throw lateError }
    for index in loaded.prefix(while: { $0 <= chosen }) {
      let attachment = try attachment(of: index)
      guard index == chosen, let assembly = assembled[index] else { continue }
      mapIndices = assembly.maps
      return program(chosen, assembly, attachment)
    }
    throw LinkError(
      errno: 0, message: "prog '\(object.functions[chosen].name)': no map that uses it is created, so it is not loaded")
  }

  /// Whether anything needs the kernel's types, which then must be there.
  private func checkKernelTypes(_ loaded: [Int]) throws(LinkError) {
    guard linux.btf == nil else { return }
    let hasTypedSymbol = object.externs.contains {
      if case .symbol(let type) = $0.kind { type != 0 } else { false }
    }
    let isNeeded =
      object.extensions?.relocations.isEmpty == false || hasTypedSymbol
      || object.maps.contains { $0.origin == .structOps }
      || loaded.contains { [.structOps, .lsm, .tracing].contains(object.functions[$0].type) }
    if isNeeded { throw LinkError(errno: LoaderErrno.noSuchObject, message: "Error loading vmlinux BTF: -3") }
  }

  private func program(_ index: Int, _ assembly: Assembly, _ attachment: Attachment) -> Program {
    let function = object.functions[index]
    var program = Program(
      name: Linker.kernelName(function.name), type: function.type,
      expectedAttachType: attachment.expectedAttachType, instructions: assembly.instructions,
      license: object.license)
    program.kernelVersion = object.kernelVersion ?? ExternResolution.kernelVersion(linux, options)
    program.flags = attachment.flags
    program.btf = btf
    if btf != nil {
      program.functionInfo = assembly.functionInfo
      program.lineInfo = assembly.lineInfo
    }
    program.maps = assembly.maps.map { maps[$0] }
    program.attachBTFID = attachment.typeID
    program.origin = Program.Origin(file: object.path, section: function.sectionName)
    return program
  }

  /// The first 15 bytes, which is what the kernel keeps of a name.
  static func kernelName(_ name: String) -> String {
    String(decoding: Array(name.utf8.prefix(15)), as: UTF8.self)
  }
}

// MARK: What a program attaches to

extension Linker {
  struct Attachment {
    var flags: ProgramFlags = []
    var expectedAttachType: AttachType = .none
    var typeID: TypeID = 0
  }

  private func attachment(of index: Int) throws(LinkError) -> Attachment {
    let function = object.functions[index]
    func refuse(_ errno: Int32, _ rule: String) -> LinkError {
      LinkError(errno: errno, message: "prog '\(function.name)': \(rule)")
    }
    guard let convention = function.convention else {
      throw refuse(
        LoaderErrno.invalid, "missing BPF prog type, check ELF section name '\(function.sectionName)'")
    }
    var result = Attachment(expectedAttachType: convention.attachType)
    if convention.type == .structOps {
      guard let slot = structOps.slots[index] else {
        throw refuse(
          LoaderErrno.invalid,
          "SEC(\"struct_ops\") program isn't referenced anywhere, did you forget to use it?")
      }
      result.typeID = slot.type
      result.expectedAttachType = AttachType(rawValue: slot.member)
    }
    if convention.flags.contains(.sleepable) { result.flags.insert(.sleepable) }
    if convention.type == .xdp && convention.flags.contains(.xdpFragments) { result.flags.insert(.xdpHasFragments) }
    if convention.flags.contains(.usdt) && linux.version >= Linux.Version(6, 10) {
      result.expectedAttachType = .traceUprobeMulti
    }
    guard convention.flags.contains(.attachesToType), result.typeID == 0 else { return result }
    guard let slash = function.sectionName.firstIndex(of: "/") else {
      throw refuse(
        LoaderErrno.invalid,
        "no BTF-based attach target is specified, use bpf_program__set_attach_target()")
    }
    let target = String(function.sectionName[function.sectionName.index(after: slash)...])
    guard convention.type != .ext else { throw refuse(LoaderErrno.invalid, "attach program FD is not set") }
    do {
      result.typeID = try attachTarget(target, convention.attachType)
    } catch {
      throw refuse(error.errno, error.message)
    }
    return result
  }

  /// The kernel type that a program attaches to by name, `module:name` included.
  private func attachTarget(_ target: String, _ type: AttachType) throws(LinkError) -> TypeID {
    let prefix: String
    var kind = BTFKind.function
    switch type {
    case .traceRawTp:
      prefix = "btf_trace_"
      kind = .typedef
    case .lsmMac, .lsmCgroup: prefix = "bpf_lsm_"
    case .traceIter: prefix = "bpf_iter_"
    default: prefix = ""
    }
    var name = Substring(target)
    var isKernel = true
    if let colon = target.firstIndex(of: ":") {
      isKernel = "vmlinux".hasPrefix(target[..<colon])
      name = target[target.index(after: colon)...]
    }
    func failure(_ errno: Int32) -> LinkError {
      LinkError(errno: errno, message: "failed to find kernel BTF type ID of '\(target)': -\(errno)")
    }
    let full = prefix + name
    guard isKernel else { throw failure(LoaderErrno.noSuchObject) }
    guard full.utf8.count < 128 else { throw failure(LoaderErrno.nameTooLong) }
    guard let id = linux.btf?.find(full, kind: kind) else { throw failure(LoaderErrno.noSuchObject) }
    return id
  }
}
