import BPFISA
import BPFLinux
import BPFMaps
import BPFRuntime
import CBPFRuntime

/// Registers and other values that live as long as a function: what a block may read before it writes it.
///
/// Numbers below 64, so that sets of them are one word. 0 to 9 are BPF's registers in the function itself; those that
/// an inlined function saves, stack slots and the run pointer follow.
typealias Variable = Int

/// Sets of variables.
typealias VariableSet = UInt64

/// The variable that holds the address of the run.
let runVariable: Variable = 10
let firstFreeVariable: Variable = 11
let variableLimit = 64

/// A program as the compiler sees it.
struct CompilerInput {
  let operations: [LinkedOperation]
  let functions: [Range<Int>]
  let stackDepths: [Int]
  /// Bit `r`: argument register r is read by the call in this slot.
  let callArguments: [UInt8]
  let loopCallbacks: [Int32]
  let exceptionCallback: Int?
  let throwsExceptions: Bool
  /// Lookups with a key that is the same on every path: the key; -1 else.
  let constantKeys: [Int64]
  let maps: [UnsafeMutablePointer<skep_map>]

  /// A program without maps and proof; every call reads all five arguments.
  init(
    operations: [LinkedOperation], functions: [Range<Int>], stackDepths: [Int], exceptionCallback: Int? = nil,
    maps: [UnsafeMutablePointer<skep_map>] = []
  ) {
    self.operations = operations
    self.functions = functions
    self.stackDepths = stackDepths
    callArguments = [UInt8](repeating: 0x3e, count: operations.count)
    loopCallbacks = [Int32](repeating: -1, count: operations.count)
    constantKeys = [Int64](repeating: -1, count: operations.count)
    self.exceptionCallback = exceptionCallback
    throwsExceptions = operations.contains { $0.kind == .throw }
    self.maps = maps
  }

  init(_ linked: LinkedProgram) {
    operations = linked.operations
    let proof = linked.proof
    functions = proof.subprograms.map(\.range)
    stackDepths = proof.subprograms.map(\.stackDepth)
    callArguments = proof.facts.map { UInt8(truncatingIfNeeded: $0.liveRegisters & 0x3e) }
    loopCallbacks = proof.facts.map(\.loopCallback)
    constantKeys = proof.facts.map { $0.hasConstantKey ? Int64($0.constantKey) : -1 }
    exceptionCallback = proof.exceptionCallback
    throwsExceptions = proof.throwsExceptions
    maps = linked.maps.map(\.block)
  }

  /// Where the jump in `slot` goes.
  func jumpTarget(_ slot: Int) -> Int {
    let insn = operations[slot].instruction
    return slot + 1 + (insn.opcode == Opcode.jaLong ? Int(insn.immediate) : Int(insn.offset))
  }

  func isReachable(_ slot: Int) -> Bool { operations[slot].kind != .unreachable }

  /// Slots that the instruction takes.
  func length(_ slot: Int) -> Int { operations[slot].instruction.isLoadImmediate64 ? 2 : 1 }

  func isConditionalJump(_ slot: Int) -> Bool {
    let operation = operations[slot]
    guard operation.kind == .plain else { return operation.kind == .mayGoto }
    let insn = operation.instruction
    guard insn.instructionClass == Class.jmp || insn.instructionClass == Class.jmp32 else { return false }
    return Condition(jump: insn.operation) != nil
  }

  func isPlainJump(_ slot: Int) -> Bool {
    let operation = operations[slot]
    return operation.kind == .plain
      && (operation.instruction.opcode == Opcode.ja || operation.instruction.opcode == Opcode.jaLong)
  }

  func isExit(_ slot: Int) -> Bool {
    operations[slot].kind == .plain && operations[slot].instruction.opcode == Opcode.exit
  }

  /// Nothing after it is executed.
  func endsPath(_ slot: Int) -> Bool { isExit(slot) || operations[slot].kind == .throw }
}

/// How a call of a helper is compiled.
enum CallLowering {
  case call
  /// The element of an array, found in place.
  case arrayElement
  /// The same of the elements of this processor.
  case processorArrayElement
  /// The map's own lookup, without the helper around it.
  case lookup
  case processorNumber
}

extension CompilerInput {
  func lowering(_ slot: Int) -> CallLowering {
    let operation = operations[slot]
    guard operation.kind == .call, operation.descriptorRegister == 0 else { return .call }
    switch operation.helper {
    case UInt32(HelperID.getSmpProcessorId.rawValue): return .processorNumber
    case UInt32(HelperID.mapLookupElem.rawValue):
      guard operation.map >= 0, Int(operation.map) < maps.count else { return .call }
      let map = maps[Int(operation.map)].pointee
      let fits = map.stride > 0 && map.stride < 1 << 31 && map.max_entries > 0 && map.max_entries <= UInt32(Int32.max)
      switch MapType(rawValue: map.type) {
      case .array: return map.values != nil && fits ? .arrayElement : .call
      case .percpuArray: return map.values != nil && fits ? .processorArrayElement : .call
      default: return map.lookup != nil ? .lookup : .call
      }
    default: return .call
    }
  }

  /// The constant key of a lookup that is done in place, where it is inside the array.
  func constantElement(_ slot: Int) -> UInt64? {
    let key = constantKeys[slot]
    guard key >= 0, key < Int64(maps[Int(operations[slot].map)].pointee.max_entries) else { return nil }
    return UInt64(key)
  }
}
