import BPFISA
import BTF

/// A program exactly as `bpf(2)` takes one.
///
/// Two doors lead to it, an ELF object and a `bpf(2)` request; nothing after it knows which. Map references in
/// `instructions` (`PseudoSource.mapFD` and `.mapValue`) hold an index into `maps` where a request has a descriptor.
public struct Program: Sendable {
  public var name: String
  public var type: ProgramType
  public var expectedAttachType: AttachType
  public var instructions: [Instruction]
  public var license: String
  /// `kern_version`; checked by no program type of Linux since 5.0.
  public var kernelVersion: UInt32 = 0
  public var flags: ProgramFlags = []
  /// The program's own BTF; nil where the object has none or a program is loaded without.
  public var btf: BTF?
  public var functionInfo: [FunctionInfo] = []
  public var lineInfo: [LineInfo] = []
  public var maps: [MapDefinition] = []
  /// `attach_btf_id` and where it counts: the kernel's BTF, a module's, or another program's.
  public var attachBTFID: TypeID = 0
  public var attachTarget: AttachTarget = .kernel
  /// The object and section it came from, for messages.
  public var origin: Origin?
  /// BTF of the modules that kfunc calls and `ld_imm64` of kernel symbols refer to, by the index that instructions
  /// carry (a kfunc call's `offset`; 0 is the kernel itself).
  public var moduleBTFs: [Int: BTF] = [:]

  public struct Origin: Sendable, Hashable {
    public var file: String
    public var section: String
    public init(file: String, section: String) {
      self.file = file
      self.section = section
    }
  }

  public init(
    name: String, type: ProgramType, expectedAttachType: AttachType = .none, instructions: [Instruction],
    license: String = "GPL"
  ) {
    self.name = name
    self.type = type
    self.expectedAttachType = expectedAttachType
    self.instructions = instructions
    self.license = license
  }
}

/// What `attachBTFID` is an id of.
public indirect enum AttachTarget: Sendable {
  case kernel
  case module(name: String, btf: BTF)
  /// Another program (`attach_prog_fd`), for freplace, fentry and fexit of programs.
  case program(Program)
}

/// `struct bpf_func_info`: which BTF function a subprogram is.
public struct FunctionInfo: BitwiseCopyable, Hashable, Sendable {
  /// Slot index of the subprogram's first instruction.
  public var instructionOffset: UInt32
  public var typeID: TypeID
  public init(instructionOffset: UInt32, typeID: TypeID) {
    self.instructionOffset = instructionOffset
    self.typeID = typeID
  }
}

/// `struct bpf_line_info`: which source line a run of instructions came from. String offsets are into the BTF.
public struct LineInfo: BitwiseCopyable, Hashable, Sendable {
  public var instructionOffset: UInt32
  public var fileNameOffset: UInt32
  public var lineOffset: UInt32
  /// Line in the upper 22 bits, column in the lower 10.
  public var lineColumn: UInt32
  public init(instructionOffset: UInt32, fileNameOffset: UInt32, lineOffset: UInt32, lineColumn: UInt32) {
    self.instructionOffset = instructionOffset
    self.fileNameOffset = fileNameOffset
    self.lineOffset = lineOffset
    self.lineColumn = lineColumn
  }
  public var line: UInt32 { lineColumn >> 10 }
  public var column: UInt32 { lineColumn & 0x3ff }
}

/// `prog_flags` of `BPF_PROG_LOAD`.
public struct ProgramFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public static var strictAlignment: ProgramFlags { ProgramFlags(rawValue: 1 << 0) }
  @inlinable public static var anyAlignment: ProgramFlags { ProgramFlags(rawValue: 1 << 1) }
  @inlinable public static var testRandomHigh32: ProgramFlags { ProgramFlags(rawValue: 1 << 2) }
  @inlinable public static var testStateFrequency: ProgramFlags { ProgramFlags(rawValue: 1 << 3) }
  @inlinable public static var sleepable: ProgramFlags { ProgramFlags(rawValue: 1 << 4) }
  @inlinable public static var xdpHasFragments: ProgramFlags { ProgramFlags(rawValue: 1 << 5) }
  @inlinable public static var xdpDeviceBoundOnly: ProgramFlags { ProgramFlags(rawValue: 1 << 6) }
  @inlinable public static var testRegisterInvariants: ProgramFlags { ProgramFlags(rawValue: 1 << 7) }
}

/// A map as `BPF_MAP_CREATE` takes one, with what user space puts into it before a program is loaded.
public struct MapDefinition: Sendable {
  public var name: String
  public var type: MapType
  public var keySize: UInt32
  public var valueSize: UInt32
  public var maxEntries: UInt32
  public var flags: MapFlags = []
  public var mapExtra: UInt64 = 0
  public var numaNode: UInt32 = 0
  /// Types of key and value in `btf`; 0 where unknown.
  public var btf: BTF?
  public var keyTypeID: TypeID = 0
  public var valueTypeID: TypeID = 0
  /// For struct_ops maps: the kernel's wrapper type (`bpf_struct_ops_NAME`).
  public var kernelValueTypeID: TypeID = 0
  /// For maps of maps: what the inner maps look like.
  public var inner: [MapDefinition] = []
  /// Contents of element 0 (`.data`, `.rodata`, `.bss`, `.kconfig`); empty where there are none.
  public var initialValue: [UInt8] = []
  /// `BPF_MAP_FREEZE` was called: user space writes no more, so the verifier may read constants out of it.
  public var frozen = false
  public var pinPath: String?

  public init(
    name: String, type: MapType, keySize: UInt32, valueSize: UInt32, maxEntries: UInt32, flags: MapFlags = []
  ) {
    self.name = name
    self.type = type
    self.keySize = keySize
    self.valueSize = valueSize
    self.maxEntries = maxEntries
    self.flags = flags
  }
}

/// `map_flags` of `BPF_MAP_CREATE`.
public struct MapFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32
  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }
  @inlinable public static var noPreallocation: MapFlags { MapFlags(rawValue: 1 << 0) }
  @inlinable public static var noCommonLRU: MapFlags { MapFlags(rawValue: 1 << 1) }
  @inlinable public static var numaNode: MapFlags { MapFlags(rawValue: 1 << 2) }
  @inlinable public static var readOnly: MapFlags { MapFlags(rawValue: 1 << 3) }
  @inlinable public static var writeOnly: MapFlags { MapFlags(rawValue: 1 << 4) }
  @inlinable public static var stackBuildID: MapFlags { MapFlags(rawValue: 1 << 5) }
  @inlinable public static var zeroSeed: MapFlags { MapFlags(rawValue: 1 << 6) }
  @inlinable public static var readOnlyProgram: MapFlags { MapFlags(rawValue: 1 << 7) }
  @inlinable public static var writeOnlyProgram: MapFlags { MapFlags(rawValue: 1 << 8) }
  @inlinable public static var clone: MapFlags { MapFlags(rawValue: 1 << 9) }
  @inlinable public static var mmapable: MapFlags { MapFlags(rawValue: 1 << 10) }
  @inlinable public static var preserveElements: MapFlags { MapFlags(rawValue: 1 << 11) }
  @inlinable public static var innerMap: MapFlags { MapFlags(rawValue: 1 << 12) }
  @inlinable public static var link: MapFlags { MapFlags(rawValue: 1 << 13) }
  @inlinable public static var pathFD: MapFlags { MapFlags(rawValue: 1 << 14) }
  @inlinable public static var vtypeBTFObjectFD: MapFlags { MapFlags(rawValue: 1 << 15) }
  @inlinable public static var tokenFD: MapFlags { MapFlags(rawValue: 1 << 16) }
  @inlinable public static var segfaultOnFault: MapFlags { MapFlags(rawValue: 1 << 17) }
  @inlinable public static var noUserConversion: MapFlags { MapFlags(rawValue: 1 << 18) }
}
