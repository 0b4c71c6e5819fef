/// Assembles text in the syntax of LLVM's BPF back end: what clang takes in `asm` and `llvm-objdump` prints.
///
///     r6 = r1
///     r1 = counters ll            // a map, by the `wideImmediate` hook
///     r2 = r10
///     r2 += -8
///     *(u64 *)(r10 - 8) = 0
///     call bpf_map_lookup_elem    // a helper, by the `callTarget` hook
///     if r0 == 0 goto out
///     lock *(u64 *)(r0 + 0) += r6
///     out: r0 = 0
///     exit
///
/// ## Syntax beyond that
///
/// * The kernel's own text (`Disassembler`, the verifier's log, `bpftool prog dump xlated`) assembles too:
///   `goto pc+3`, `(r1 +4)`, `atomic64_xchg(…)`, `call pc+3`, `call kernel-function#12`, `map[id:3][0]+8`. An index
///   and an opcode may stand in front (`7: (18) r1 = 0x5`). The opcode is checked, and decides where the text alone
///   does not (here for the 64-bit load; without it this is a move).
/// * Labels may be numeric (`1:`, with `1b` and `1f`) and may end in `_%=`; `%[name]` stands for `name`, so the text of
///   a C program's `asm` statement can be copied.
/// * `.8byte 0x…` puts in raw slots, as they are in a little-endian stream.
/// * Comments: `//`, `/* */`, `#`, lines that start with `;`, and everything behind `;` on a line that has its opcode
///   in front. Other `;` end a statement.
///
/// Registers go to `r15`, which is as far as the encoding does; what exists is for the verifier to say.
public struct Assembler {
  /// What a name behind `call` stands for.
  public enum CallTarget: Hashable, Sendable {
    case helper(Int32)
    /// A kernel function: its BTF id, and the place of its module in the program's descriptors (0: the kernel itself).
    case kernelFunction(typeID: Int32, module: Int16)
  }

  /// What a name with `ll` stands for: the source field and both halves of a 64-bit immediate load.
  public struct WideImmediate: Hashable, Sendable {
    /// One of `PseudoSource`, or 0 for a plain number.
    public var source: UInt8
    /// The immediate of the first slot.
    public var low: Int32
    /// The immediate of the second slot.
    public var high: Int32

    public init(source: UInt8 = 0, low: Int32, high: Int32 = 0) {
      self.source = source
      self.low = low
      self.high = high
    }
  }

  /// Asked for names behind `call` that are no label of the text.
  public var callTarget: (_ name: String) -> CallTarget?
  /// Asked for names in `r1 = NAME ll`. Those it does not know are labels of subprograms.
  public var wideImmediate: (_ name: String) -> WideImmediate?
  /// Asked for names where a number can stand.
  public var constant: (_ name: String) -> Int64?

  public init(
    callTarget: @escaping (_ name: String) -> CallTarget? = { _ in nil },
    wideImmediate: @escaping (_ name: String) -> WideImmediate? = { _ in nil },
    constant: @escaping (_ name: String) -> Int64? = { _ in nil }
  ) {
    self.callTarget = callTarget
    self.wideImmediate = wideImmediate
    self.constant = constant
  }

  /// The instructions of `text`.
  public func assemble(_ text: String) throws(AssemblyError) -> [Instruction] {
    try assembly(of: text).instructions
  }

  /// The instructions of `text`, with where they came from.
  public func assembly(of text: String) throws(AssemblyError) -> Assembly {
    var parser = AssemblyParser(text: Array(text.utf8), assembler: self)
    return try parser.parse()
  }
}

/// What an assembler makes of a text.
public struct Assembly: Hashable, Sendable {
  public internal(set) var instructions: [Instruction] = []
  /// The slot that each named label stands before; it can be one past the last.
  public internal(set) var labels: [String: Int] = [:]
  /// The line of the text that each slot comes from, from 1.
  public internal(set) var lines: [Int] = []
}
