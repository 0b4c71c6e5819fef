import BPFISA
import BPFLinux

extension Verifier {
  /// Registers that may still be read, before each instruction: bit by number. Nil where the program is so malformed
  /// that it has no control flow.
  public static func liveRegisters(of program: Program, on linux: Linux) -> [UInt16]? {
    let verification = Verification(program, on: linux, options: VerifierOptions())
    do throws(Refusal) {
      try verification.checkBTFInfoEarly()
      try verification.findSubprograms()
      try verification.checkSubprograms()
      try verification.checkBTFInfo()
      try verification.resolvePseudoLoads()
      try verification.checkControlFlow()
      try verification.computePostorder()
      try verification.computeLiveRegisters()
    } catch {
      return nil
    }
    return (0..<verification.instructionCount).map { verification.facts[$0].liveRegisters }
  }
}
