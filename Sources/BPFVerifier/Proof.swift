import BPFISA
import BPFLinux
import BTF

/// What the proof learned of a program, for those who run it.
///
/// It holds what is true on every path: what kind of object an access reaches, which map a call gets, what is never
/// executed. The ranges that the verifier tracked are not in it: a path that is pruned may carry other values than
/// the explored one wherever they did not matter for safety.
public struct Proof: Sendable {
  /// The program's instructions, slot by slot, as `bpf(2)` took them.
  public let instructions: [Instruction]
  /// One for each slot.
  public let facts: [ProvenInstruction]
  public let subprograms: [ProvenSubprogram]
  /// Kernel functions that the program calls; `ProvenInstruction.kfunc` is an index.
  public let kfuncs: [ProvenKfunc]
  /// Special fields of map values, by index into `Program.maps`; nil where a value has none.
  public let mapFields: [[SpecialField]?]
  /// The subprogram that handles exceptions; nil where the program names none.
  public let exceptionCallback: Int?
  /// The program calls `bpf_throw`.
  public let throwsExceptions: Bool
}

/// What is true of one slot on every path.
public struct ProvenInstruction: BitwiseCopyable, Sendable {
  /// Some path gets here. What is not reachable need not be translated.
  public var isReachable = false
  /// Loads, stores and atomics: what the pointer points to.
  public var access = AccessedObject.memory
  /// Helper calls: the one map that is passed on every path (index into `Program.maps`); -1 where there is none.
  public var map: Int32 = -1
  /// Helper calls with a key that is the same constant on every path, and that constant.
  public var hasConstantKey = false
  public var constantKey: UInt32 = 0
  /// `ld_imm64` of a map or of a place in a map's value: the map; -1 else.
  public var loadedMap: Int32 = -1
  public var loadedMapOffset: UInt32 = 0
  /// kfunc calls: index into `Proof.kfuncs`; -1 else.
  public var kfunc: Int32 = -1
  /// Registers that are read later, before they are written: bit by number.
  public var liveRegisters: UInt16 = 0x7ff
  /// kfunc calls: bytes of the object to allocate, or where in the object the node lies.
  public var objectSize: UInt64 = 0
  /// kfunc calls on allocated objects: the object's type in the program's BTF.
  public var objectType: TypeID = 0
  /// `bpf_loop` calls: the one callback that is called with zero flags on every path; -1 else.
  public var loopCallback: Int32 = -1
}

/// What a load or store reaches.
public enum AccessedObject: UInt8, BitwiseCopyable, Sendable {
  /// Stack, packet, map value, allocated object: plain memory of the program's own.
  case memory
  /// The program's context: offsets are those of the user-visible structure.
  case context
  /// An object of the kernel, described by its BTF. The access may fault, and then reads zero.
  case kernelObject
  /// `struct bpf_sock` (`PTR_TO_SOCKET`, `PTR_TO_SOCK_COMMON`), `struct bpf_tcp_sock`, `struct bpf_xdp_sock`.
  case socket
  case tcpSocket
  case xdpSocket
  /// 32-bit offset in the program's arena.
  case arena
  /// A map itself: `struct bpf_map`, as the kernel's BTF has it.
  case mapObject
}

/// One function of the program.
public struct ProvenSubprogram: Sendable {
  /// Its slots.
  public let range: Range<Int>
  public let name: String
  /// Bytes of stack, the places of spills around calls included.
  public let stackDepth: Int
  public let isGlobal: Bool
  public let isCallback: Bool
  public let hasTailCall: Bool
}

/// A kernel function that the program calls.
public struct ProvenKfunc: Sendable, Hashable {
  public let name: String
  /// Its id in the kernel's BTF, or in that of the module with this index.
  public let id: TypeID
  public let module: Int
}

extension VerifiedProgram {
  /// What the proof learned of the program. No record is kept of a verification: the proof is gone through again.
  ///
  /// - Parameter linux: what the program was verified on.
  public func proof(on linux: Linux) throws(Rejection) -> Proof {
    let verification = Verification(program, on: linux, options: VerifierOptions())
    do throws(Refusal) {
      try verification.prove()
    } catch {
      throw verification.rejection(error, instruction: nil)
    }
    return verification.proof
  }
}

extension Verification {
  fileprivate var proof: Proof {
    let numbers = mapNumbers
    return Proof(
      instructions: program.instructions,
      facts: (0..<instructionCount).map { provenInstruction($0, numbers) },
      subprograms: subprograms.indices.map { number in
        let it = subprograms[number]
        return ProvenSubprogram(
          range: it.start..<it.end, name: subprogramName(number), stackDepth: stackDepth(of: it),
          isGlobal: subprogramIsGlobal(number), isCallback: it.isCallback, hasTailCall: it.hasTailCall)
      },
      kfuncs: kfuncs.map { ProvenKfunc(name: $0.name, id: $0.id, module: Int($0.moduleOffset)) },
      mapFields: program.maps.indices.map { index in
        guard let place = numbers.firstIndex(of: index), maps.indices.contains(place) else { return nil }
        return maps[place].record.map { $0.fields.map(SpecialField.init) }
      },
      exceptionCallback: exceptionCallback == 0 ? nil : exceptionCallback,
      throwsExceptions: seenException)
  }

  /// By the verifier's number of a map: its index in the program; -1 for an inner map, of which only the template is
  /// known.
  private var mapNumbers: [Int] {
    // The verifier counts maps as instructions name them first, each behind its inner map.
    var named: [Int] = []
    var index = 0
    while index < program.instructions.count {
      let insn = program.instructions[index]
      let source = UInt8(truncatingIfNeeded: insn.src)
      let isNumber = source == 0 || source == PseudoSource.btfID || source == PseudoSource.function
      if insn.isLoadImmediate64, !isNumber, !named.contains(Int(insn.immediate)) {
        named.append(Int(insn.immediate))
      }
      index += insn.isLoadImmediate64 ? 2 : 1
    }
    var rest = named[...]
    return maps.map { $0.isInner ? -1 : rest.popFirst() ?? -1 }
  }

  /// The depth that was proved does not count spills around calls that Linux takes out afterwards.
  private func stackDepth(of subprogram: Subprogram) -> Int {
    var depth = max(0, Int(subprogram.stackDepth))
    for insn in program.instructions[subprogram.start..<subprogram.end] where insn.offset < 0 {
      let base = insn.instructionClass == Class.ldx ? insn.src : insn.dst
      let isAccess = [Class.ldx, Class.st, Class.stx].contains(insn.instructionClass)
      if isAccess && base == 10 { depth = max(depth, -Int(insn.offset)) }
    }
    return depth
  }

  private func provenInstruction(_ index: Int, _ mapNumbers: [Int]) -> ProvenInstruction {
    func number(_ map: Int32) -> Int32 {
      mapNumbers.indices.contains(Int(map)) ? Int32(truncatingIfNeeded: mapNumbers[Int(map)]) : -1
    }
    let fact = facts[index]
    let insn = instructions[index]
    var proven = ProvenInstruction()
    proven.isReachable = fact.seen != 0
    // The second slot of a 64-bit load is reached with the first.
    if index > 0, instructions[index - 1].isLoadImmediate64 { proven.isReachable = facts[index - 1].seen != 0 }
    proven.access = AccessedObject(fact.pointerType)
    if insn.isHelperCall, fact.mapPointer == .known { proven.map = number(fact.mapIndex) }
    if fact.mapKeyState & MapKeyFact.seen != 0 && fact.mapKeyState & MapKeyFact.poisoned == 0 {
      proven.hasConstantKey = true
      proven.constantKey = UInt32(truncatingIfNeeded: fact.mapKeyState)
    }
    proven.loadedMap = number(fact.loadedMap)
    proven.loadedMapOffset = fact.loadedMapOffset
    if insn.isKfuncCall {
      let found = kfuncs.firstIndex { $0.id == TypeID(bitPattern: insn.immediate) && $0.moduleOffset == insn.offset }
      proven.kfunc = Int32(found ?? -1)
    }
    proven.liveRegisters = fact.liveRegisters
    proven.objectSize = fact.objectSize
    proven.objectType = fact.recordType
    if fact.loopInitialized && fact.loopInlinable { proven.loopCallback = fact.loopSubprogram }
    return proven
  }
}

extension AccessedObject {
  init(_ type: RegisterType) {
    switch type.base {
    case .context: self = .context
    case .socket, .sockCommon: self = .socket
    case .tcpSock: self = .tcpSocket
    case .xdpSock: self = .xdpSocket
    case .arena: self = .arena
    case .mapPointer: self = .mapObject
    case .btfID where !type.has(.allocated): self = .kernelObject
    case .memory where type.has(.untrusted): self = .kernelObject
    default: self = .memory
    }
  }
}

extension SpecialField {
  init(_ field: BTFField) {
    self.init(
      kind: Kind(field.kind), offset: Int(field.offset), size: Int(field.size), nodeOffset: Int(field.nodeOffset),
      type: field.btfID, isLocalType: field.btf == Verification.programBTF)
  }
}

extension SpecialField.Kind {
  init(_ kind: BTFField.Kind) {
    switch kind {
    case .spinLock: self = .spinLock
    case .resilientSpinLock: self = .resilientSpinLock
    case .timer: self = .timer
    case .workqueue: self = .workqueue
    case .taskWork: self = .taskWork
    case .kptrUnref: self = .kptr
    case .kptrRef: self = .referencedKptr
    case .kptrPercpu: self = .perCPUKptr
    case .uptr: self = .userPointer
    case .listHead: self = .listHead
    case .listNode: self = .listNode
    case .rbRoot: self = .redBlackRoot
    case .rbNode: self = .redBlackNode
    default: self = .referenceCount
    }
  }
}
