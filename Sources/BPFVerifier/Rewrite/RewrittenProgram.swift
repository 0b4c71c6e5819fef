import BPFISA
import BPFLinux
import BTF

/// A program as Linux keeps it once it is verified: what `bpftool prog dump xlated` shows.
///
/// Addresses that only a running kernel has are zero in `instructions`; `references` says what belongs there.
public struct RewrittenProgram: Sendable {
  public let instructions: [Instruction]
  /// Where functions begin now. Shorter than the program's own where functions were never called.
  public let functionInfo: [FunctionInfo]
  public let lineInfo: [LineInfo]
  /// By slot: what the immediate stands for where it is an address or a number that the kernel gives.
  public let references: [Int: Reference]
  /// Bytes of stack by function, with what the rewriting added.
  public let stackDepths: [Int]

  /// What an immediate stands for.
  public enum Reference: Sendable, Hashable {
    /// The call of a helper, and the function that it is. The kernel puts the distance of that function there.
    case helper(HelperID, function: String)
    /// The call of a function of the kernel that is not a helper by number.
    case function(String)
    /// The address of a map, by index into the program's.
    case map(Int)
    /// An address in the value of element 0 of a map.
    case mapValue(Int, offset: UInt32)
    /// The address of a symbol or of an object of the kernel.
    case address(String)
    /// The call of a function of the program, by name.
    case subprogram(String)
  }
}

/// How a verified program is rewritten, beyond what the program and the kernel say.
public struct RewriteOptions: Sendable {
  /// Constants are blinded (`net.core.bpf_jit_harden`). Linux does it in programs of a single function.
  public var blindsConstants = false
  /// The numbers that blinding and `BPF_F_TEST_RND_HI32` mix in; Linux takes random ones.
  public var mask: UInt32 = 0

  public init() {}
}

extension VerifiedProgram {
  /// The program after Linux's rewriting passes.
  ///
  /// Nothing of verification is kept for it: the proof is gone through again to learn what the passes need to know.
  public func rewritten(on linux: Linux, options: RewriteOptions = .init()) throws(Rejection) -> RewrittenProgram {
    let verification = Verification(program, on: linux, options: VerifierOptions())
    do throws(Refusal) {
      try verification.prove()
      return try Rewriter(verification, options).rewrite()
    } catch {
      throw verification.rejection(error, instruction: nil)
    }
  }
}
