import BPFISA
import BPFLinux
import BTF

/// One run of the verifier over one program.
///
/// Everything that the parts of the proof share lives here; the parts themselves are extensions in the folders beside
/// this file. Hot data sits behind plain pointers: the per-instruction path touches no reference counts.
final class Verification {
  // MARK: what is verified, and where

  let program: Program
  let linux: Linux
  /// The type the program is checked as: an extension is checked as its target.
  @exclusivity(unchecked) var programType: ProgramType
  @exclusivity(unchecked) var expectedAttachType: AttachType
  let traits: ProgramTraits
  /// The program's instructions; the verifier rewrites some of them while it resolves references.
  let instructions: UnsafeMutablePointer<Instruction>
  let instructionCount: Int
  /// What was learned of each instruction.
  let facts: UnsafeMutablePointer<InstructionFacts>
  let gplCompatible: Bool
  /// The program names an arena. That its object has one is not enough.
  @exclusivity(unchecked) var hasArena = false
  /// `prog->sleepable`.
  @exclusivity(unchecked) var sleepable: Bool

  // MARK: privileges and options

  let allowPointerLeaks: Bool
  let allowUninitializedStack: Bool
  let bypassSpectreV1: Bool
  let bypassSpectreV4: Bool
  let hasBPFCapability: Bool
  let strictAlignment: Bool
  let testStateFrequency: Bool
  let testRegisterInvariants: Bool
  @exclusivity(unchecked) var exploreALULimits = false

  // MARK: types and maps

  /// Types by `BTFIndex`: 0 the kernel's, 1 the program's own, then modules as they are met.
  @exclusivity(unchecked) var btfs: [BTF?]
  static let kernelBTF: BTFIndex = 0
  static let programBTF: BTFIndex = 1
  /// Maps by the index registers carry: the program's, then inner maps.
  @exclusivity(unchecked) var maps: [VerifiedMap] = []
  /// `used_btfs`: BTFs whose symbols the program loads.
  @exclusivity(unchecked) var usedBTFs: [BTFIndex] = []
  @exclusivity(unchecked) var attach = AttachFacts()
  /// Kernel functions that the program calls, by (BTF id, module index).
  @exclusivity(unchecked) var kfuncs: [KfuncDescriptor] = []
  /// Records (special fields) of structs in the program's BTF that it allocates.
  @exclusivity(unchecked) var structRecords: [TypeID: BTFRecord] = [:]
  /// What was looked up of pointers in kernel structures.
  @exclusivity(unchecked) var fieldTrusts: [FieldTrustKey: FieldTrust] = [:]

  // MARK: subprograms

  @exclusivity(unchecked) var subprograms: [Subprogram] = []
  /// Subprogram that handles exceptions; 0 where none was named.
  @exclusivity(unchecked) var exceptionCallback = 0
  @exclusivity(unchecked) var seenException = false
  @exclusivity(unchecked) var seenDirectWrite = false
  /// Instructions of each subprogram in post-order; `Subprogram.postorderStart` says where one begins.
  @exclusivity(unchecked) var postorder: [Int32] = []
  @exclusivity(unchecked) var liveness: StackLiveness?

  // MARK: exploration

  @exclusivity(unchecked) var instruction = 0
  @exclusivity(unchecked) var previousInstruction = 0
  /// The state being explored. Valid while exploration runs.
  @exclusivity(unchecked) var state: StateRef
  @exclusivity(unchecked) var worklist: [PendingPath] = []
  /// Paths put aside so far, and those of them that lead to where the verifier is.
  @exclusivity(unchecked) var forkCount: UInt32 = 0
  @exclusivity(unchecked) var failingPath = FailingPath()
  /// What a replay logs; nil for everything.
  @exclusivity(unchecked) var followed: FailingPath?
  /// Ids given out so far.
  @exclusivity(unchecked) var lastID: UInt32 = 0
  @exclusivity(unchecked) var currentHistory: UnsafeMutablePointer<JumpHistoryEntry>?
  @exclusivity(unchecked) var pass: UInt32 = 0
  @exclusivity(unchecked) var processed = 0
  @exclusivity(unchecked) var previousProcessed = 0
  @exclusivity(unchecked) var jumps = 0
  @exclusivity(unchecked) var previousJumps = 0
  @exclusivity(unchecked) var maximumStatesPerInstruction = 0
  @exclusivity(unchecked) var totalStates = 0
  @exclusivity(unchecked) var peakStates = 0
  @exclusivity(unchecked) var explored: ExploredStates
  @exclusivity(unchecked) var components: [ComponentInfo] = []
  @exclusivity(unchecked) var componentCount = 0
  @exclusivity(unchecked) var backedgeCount = 0
  let pool: StatePool
  let backtrack: UnsafeMutablePointer<Backtrack>
  /// Two scratch registers that stand for constants.
  let scratchRegisters: UnsafeMutablePointer<RegisterState>
  let idMap: UnsafeMutablePointer<IDMap>

  // MARK: log

  @exclusivity(unchecked) var log: VerifierLog
  /// Level bits: 1, 2, 4 (statistics). Zero costs nothing.
  @exclusivity(unchecked) var logLevel: UInt32
  @exclusivity(unchecked) var previousLine = -1
  /// Registers and slots touched since the state was last printed.
  @exclusivity(unchecked) var scratchedRegisters: UInt32 = 0
  @exclusivity(unchecked) var scratchedSlots: UInt64 = 0
  @exclusivity(unchecked) var previousLogPosition: UInt64 = 0
  @exclusivity(unchecked) var previousInstructionPosition: UInt64 = 0
  /// The last message of a refusal, kept even where nothing is logged.
  @exclusivity(unchecked) var lastMessage = ""

  /// Sees each instruction that is about to be processed, with the state before it. For tests; set before `run`.
  @exclusivity(unchecked) var observer: ((Int, StateRef) -> Void)?

  init(_ program: Program, on linux: Linux, options: VerifierOptions) {
    self.program = program
    self.linux = linux
    programType = program.type
    expectedAttachType = program.expectedAttachType
    traits = ProgramTraits(program, on: linux)
    instructionCount = program.instructions.count
    let copy = UnsafeMutablePointer<Instruction>.allocate(capacity: max(1, program.instructions.count))
    program.instructions.withUnsafeBufferPointer {
      if let base = $0.baseAddress { copy.initialize(from: base, count: $0.count) }
    }
    instructions = copy
    facts = .allocate(capacity: max(1, instructionCount))
    facts.initialize(repeating: InstructionFacts(), count: max(1, instructionCount))
    gplCompatible = ProgramRules.isGPLCompatible(program.license)
    sleepable = program.flags.contains(.sleepable)
    let capabilities = linux.capabilities
    hasBPFCapability = capabilities.allows(.bpf)
    allowPointerLeaks = capabilities.allows(.perfmon)
    allowUninitializedStack = capabilities.allows(.perfmon)
    bypassSpectreV1 = capabilities.allows(.perfmon)
    bypassSpectreV4 = capabilities.allows(.perfmon)
    strictAlignment = program.flags.contains(.strictAlignment) && !program.flags.contains(.anyAlignment)
    testStateFrequency = capabilities.allows(.bpf) && program.flags.contains(.testStateFrequency)
    testRegisterInvariants = program.flags.contains(.testRegisterInvariants)
    btfs = [linux.btf, program.btf]
    pool = StatePool()
    state = pool.makeState()
    explored = ExploredStates(instructionCount: instructionCount)
    backtrack = .allocate(capacity: 1)
    backtrack.initialize(to: Backtrack())
    scratchRegisters = .allocate(capacity: 2)
    scratchRegisters.initialize(repeating: RegisterState(), count: 2)
    idMap = .allocate(capacity: 1)
    idMap.initialize(to: IDMap())
    logLevel = options.logLevel
    log = VerifierLog(level: options.logLevel, limit: options.logLimit)
  }

  deinit {
    instructions.deallocate()
    facts.deallocate()
    explored.deallocate()
    backtrack.deallocate()
    scratchRegisters.deallocate()
    idMap.deallocate()
  }
}

/// What was learned of one instruction (slot).
struct InstructionFacts: BitwiseCopyable {
  /// Loads and stores: the pointer type seen here on every path (`.notInitialized` before the first).
  var pointerType = RegisterType.notInitialized
  /// Helper calls with a map: which, or that it differs by path.
  var mapPointer = MapPointerFact.unseen
  var mapIndex: Int32 = -1
  var mapPointerUnprivileged = false
  /// `ld_imm64` of a map or a map value: index into `maps` and offset in the value.
  var loadedMap: Int32 = -1
  var loadedMapOffset: UInt32 = 0
  /// `ld_imm64` of a kernel symbol: what the register becomes.
  var symbolType = RegisterType.notInitialized
  var symbolBTF: BTFIndex = 0
  var symbolBTFID: UInt32 = 0
  var symbolMemorySize: UInt32 = 0
  /// Constant keys: `KeyFact` encoding.
  var mapKeyState: UInt64 = 0
  /// Pointer arithmetic that speculation must be kept from: `ALUState` bits and the limit.
  var aluState: UInt8 = 0
  var aluLimit: UInt32 = 0
  var contextFieldSize: UInt32 = 0
  /// Linux takes the access and then cannot translate it: `error during ctx access conversion`.
  var failsConversion = false
  var seen: UInt32 = 0
  var noSpeculation = false
  var noSpeculationResult = false
  var zeroExtends = false
  var needsZeroExtension = false
  var storageGetAtomic = false
  var isIteratorNext = false
  var callWithPercpuPointer = false
  var fastcallPattern = false
  var fastcallSpills: UInt8 = 0
  var argumentProgram: UInt8 = 0
  var jumpPoint = false
  var prunePoint = false
  var forceCheckpoint = false
  var callsCallback = false
  /// Strongly connected component; 0 for an instruction that is in no loop.
  var component: UInt32 = 0
  /// Registers alive before the instruction, bit by number.
  var liveRegisters: UInt16 = 0
  /// `bpf_loop` calls: whether one callback with zero flags is called every time.
  var loopInitialized = false
  var loopInlinable = false
  var loopSubprogram: Int32 = 0
  /// kfuncs: size of the allocated object, or offset of the node in it; and the struct's record.
  var objectSize: UInt64 = 0
  var recordType: TypeID = 0
}

/// Whether all paths pass one map to a helper call.
enum MapPointerFact: UInt8, BitwiseCopyable {
  case unseen
  case known
  case poisoned
}

/// One function of the program.
struct Subprogram {
  var start: Int
  /// One past its last instruction.
  var end = 0
  var lineInfoIndex = 0
  var postorderStart = 0
  var postorderEnd = 0
  var stackDepth: Int32 = 0
  var fastcallStackOffset: Int32 = 0
  var hasTailCall = false
  var tailCallReachable = false
  var hasLoadAbsolute = false
  var isCallback = false
  var isAsyncCallback = false
  var isExceptionCallback = false
  var argumentsPrepared = false
  var keepFastcallStack = false
  var changesPacketData = false
  var mightSleep = false
  var privateStack = PrivateStackMode.unknown
  var arguments: [SubprogramArgument] = []
  /// From func_info: linkage, whether the BTF describes the arguments reliably, and the lazy verification's marks.
  var linkage: UInt32 = 0
  var functionTypeID: TypeID = 0
  var unreliable = false
  var called = false
  var verified = false
}

enum PrivateStackMode: BitwiseCopyable {
  case unknown
  case none
  case adaptive
}

/// An argument of a global function, as its BTF and tags say.
struct SubprogramArgument: BitwiseCopyable {
  var type = ArgumentType.none
  var memorySize: UInt32 = 0
  var btfID: TypeID = 0
}

/// A map as the verifier sees it: the definition with its special fields.
struct VerifiedMap {
  var definition: MapDefinition
  /// Special fields of the value; nil where there are none.
  var record: BTFRecord?
  /// Index of the inner map's template in `Verification.maps`; -1 where none.
  var inner: Int = -1
  /// Where the value's types come from.
  var btf: BTFIndex = Verification.programBTF
  /// Value of element 0 that may be read as constants (`map_direct_value_addr` of a frozen, read-only map).
  var isInner = false
}

/// A kernel function that the program calls.
struct KfuncDescriptor {
  var id: TypeID
  /// The instruction's `offset`: 0 the kernel, else a module.
  var moduleOffset: Int16
  var btf: BTFIndex
  var name: String
  var prototype: TypeID
  /// The flags under which this program may call it; nil where it may not.
  var flags: KfuncFlags?
  /// Which one it is of those that the verifier knows by name.
  var special = SpecialKfunc.none
  /// The prototype, once it was read.
  var signature = KfuncSignature()
}

/// What `attachBTFID` resolved to.
struct AttachFacts {
  /// The attached function or trace point: its name and prototype (0 where none).
  var functionName = ""
  var prototype: TypeID = 0
  var btf: BTFIndex = 0
  /// The id attached to, in `btf`.
  var id: TypeID = 0
  /// `attach_btf_trace`: a raw trace point, whose first argument is skipped.
  var isTrace = false
  var attachFunctionName = ""
  /// struct_ops and iterators: what the context's arguments are.
  var contextArguments: [ContextArgument] = []
  var saved: ProgramType?
  var structOpsName = ""
  var maximumTracepointAccess: UInt32 = 0
  var maximumReadOnlyAccess: UInt32 = 0
  var maximumReadWriteAccess: UInt32 = 0
}

/// An argument in a BTF context whose register type is known beforehand (`bpf_ctx_arg_aux`).
struct ContextArgument {
  var offset: UInt32
  var type: RegisterType
  var btf: BTFIndex
  var btfID: TypeID
  var referenceID: UInt32 = 0
  var refcounted = false
}

/// A path that is still to be explored.
struct PendingPath: BitwiseCopyable {
  var state: StateRef
  var instruction: Int32
  var previous: Int32
  var logPosition: UInt64
  /// Its number among all that were put aside, and how many of them had been taken up on the way to it.
  var number: UInt32
  var depth: UInt32
}

/// Why the verifier refuses, on its way up. The message is in the log and in `Verification.lastMessage`.
struct Refusal: Error, BitwiseCopyable {
  var errno: Errno
  var category: RefusalCategory
}

extension Verification {
  /// Knowledge of registers of the innermost frame.
  @inline(__always) var registers: UnsafeMutablePointer<RegisterState> { state.current.pointee.registers }
  /// Register `number` of the innermost frame.
  @inline(__always) func register(_ number: Int) -> RegisterRef { state.current.register(number) }
  /// The facts of the instruction being checked.
  @inline(__always) var fact: UnsafeMutablePointer<InstructionFacts> { facts + instruction }
  @inline(__always) func newID() -> UInt32 {
    lastID &+= 1
    return lastID
  }

  /// Writes to the log, where one is kept. The text is not built otherwise.
  @inline(__always) func print(_ text: @autoclosure () -> String) {
    if logLevel != 0 { log.append(text()) }
  }

  /// A refusal with the message Linux logs for it (newline included, as logged).
  @inline(never) func refuse(_ errno: Errno, _ category: RefusalCategory, _ message: String) -> Refusal {
    if logLevel != 0 { log.append(message) }
    lastMessage = message
    return Refusal(errno: errno, category: category)
  }

  /// What Skep does not model: never accepted, and said by name.
  @inline(never) func unsupported(_ what: String) -> Refusal {
    refuse(.EOPNOTSUPP, .unsupported, "skep does not model \(what) yet\n")
  }
}
