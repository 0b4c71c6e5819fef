import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import CBPFRuntime

/// A proved program, bound to the maps, functions and context that it runs with: what the interpreter and the JIT take.
///
/// The instructions are still BPF's, slot for slot as the program has them, so that jump offsets and the places that a
/// proof speaks of hold. What differs is what each one means to the machine: `operations` says it, and accesses to the
/// context are translated to the layout of the run's context block.
public final class LinkedProgram: Sendable {
  public let program: Program
  public let proof: Proof
  /// One for each slot.
  public let operations: [LinkedOperation]
  /// By index into `Program.maps`; kept alive here.
  public let maps: [Map]

  /// Or-ed to the number of a function of the program, where a register holds one before an engine knows better.
  public static let functionTag: UInt64 = 0xbf << 56

  public init(program: Program, proof: Proof, operations: [LinkedOperation], maps: [Map]) {
    self.program = program
    self.proof = proof
    self.operations = operations
    self.maps = maps
  }
}

/// What one slot does.
///
/// Values that registers hold for objects: a map is the address of its `skep_map`; a function of the program is its
/// number with `LinkedProgram.functionTag` until an engine puts its own value there; stack, packet, context and map
/// values are addresses of real memory.
public struct LinkedOperation: BitwiseCopyable, Sendable {
  public enum Kind: UInt8, BitwiseCopyable, Sendable {
    /// As BPF defines it: arithmetic, jumps, plain loads and stores and atomics on real addresses, exit.
    case plain
    /// Never executed.
    case unreachable
    /// `dst = operand` (64 bits): an immediate, the address of a map, of a value in a map, of a kernel variable.
    case constant
    /// `dst =` the value of the program's function number `operand`.
    case functionAddress
    /// A load or store of an object of the kernel: a fault reads zero.
    case faulting
    /// A load or store in the arena whose memory begins at `operand`: the low 32 bits of the base are the offset.
    case arena
    /// `dst = ` address space cast between arena and user pointers.
    case arenaCast
    /// Calls the function at address `operand` (`skep_function`).
    case call
    /// As `call`, but the function may call back into the program, so that an exception may come out of it.
    case callWithCallback
    /// Calls the program's function number `operand`.
    case subprogram
    /// `bpf_tail_call`: r2 is the prog_array, r3 the index. Falls through where there is no such program.
    case tailCall
    /// `bpf_throw`: unwinds to the program's entry with r1.
    case `throw`
    /// `ld_abs`, `ld_ind`: calls the function at address `operand` with r6, the offset in the packet (the immediate; of
    /// `ld_ind` plus `src`, as a signed 32-bit number), the size in bytes. Where bit 63 of the answer is set, the
    /// function of the program returns 0; else r0 is the answer.
    case legacyLoad
    /// A store of a register that is left out where the register (64 bits, unsigned) is at least `operand`.
    case storeBelow
    /// `may_goto`: jumps once its budget is used up, or the run is told to stop.
    case mayGoto
  }

  /// The instruction; of context accesses the one on the context block.
  public var instruction: Instruction
  public var kind: Kind
  /// Helper calls: which one; 0 for kfuncs and everything else. Engines may do better than call for those they know.
  public var helper: UInt32 = 0
  /// Helper calls: the map that is passed on every path (index into `maps`); -1 where there is none.
  public var map: Int32 = -1
  public var operand: UInt64 = 0
  /// Calls of functions that work on allocated objects: the register (1 to 5) to set to `descriptor` before the call,
  /// the address of an `ObjectDescriptor`; 0 where there is none.
  public var descriptorRegister: UInt8 = 0
  public var descriptor: UInt64 = 0

  public init(_ instruction: Instruction, _ kind: Kind, operand: UInt64 = 0) {
    self.instruction = instruction
    self.kind = kind
    self.operand = operand
  }
}
