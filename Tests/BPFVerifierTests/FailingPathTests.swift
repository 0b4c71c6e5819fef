import BPFLinux
import GoldenCases
import Testing

@testable import BPFVerifier

/// A replay of a refusal logs what log level 1 does.
@Suite struct FailingPathTests {
  /// Without source lines, which a replay repeats, without what is said of functions that were verified before, and
  /// without spaces: where level 1 goes back to a call, what follows stands on the same line.
  private func text(_ log: [UInt8]) -> String {
    String(decoding: log, as: UTF8.self).split(separator: "\n")
      .filter { !$0.hasPrefix("; ") && !$0.hasPrefix("Func#") }.joined().filter { !$0.isWhitespace }
  }

  @Test func replaysSayWhatLevelOneSays() throws {
    var replayed = 0
    for path in GoldenTests.files {
      let golden = try GoldenFiles.read(path)
      guard !golden.needsKernelTypes else { continue }
      var linux = Linux.golden
      linux.capabilities = golden.capabilities
      let program = golden.program
      guard let answer = golden.answer(of: "6.18"), answer.verdict != .accepted, answer.instructions < 2000 else {
        continue
      }
      let verdict = Verifier.verify(program, on: linux, options: VerifierOptions(logLevel: 1))
      guard case .failure(let rejection) = verdict.result else { continue }
      let replay = Verifier.log(of: rejection, program, on: linux)
      #expect(text(replay) == text(verdict.log), "\(golden.name)")
      replayed += 1
    }
    #expect(replayed > 100)
  }
}
