import BPFISA
import BPFLinux
import GoldenCases
import Testing

@testable import BPFVerifier

/// Accepted programs run, and every step is held against what the verifier knew of it.
@Suite struct ExecutionSoundnessTests {
  static let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 } + "/Golden"

  struct Tally {
    var accepted = 0
    var finished = 0
    var unsupported = 0
    /// Verified without pruning too.
    var exhaustive = 0
    /// Refused without pruning.
    var refusedWhole = 0
    var steps = 0
  }

  /// Runs `program` with a few random inputs, against the verifier as it is and against one that prunes nothing.
  private func hold(_ name: String, _ program: Program, on linux: Linux, limit: Int, runs: Int, tally: inout Tally) {
    let pruned = ObservedVerification(program, on: linux, prunes: true, limit: limit)
    guard pruned.isAccepted else { return }
    tally.accepted += 1
    let whole = ObservedVerification(program, on: linux, prunes: false, limit: limit)
    var runs = (0..<runs).map { (pruned, UInt64($0)) }
    if whole.isAccepted {
      tally.exhaustive += 1
      runs += runs.map { (whole, $0.1 + 1000) }
    } else if !whole.isIncomplete {
      // On a path that no values take, which Linux does not see, less is known to be impossible than where it was
      // pruned. Such a program is run more often instead.
      tally.refusedWhole += 1
      runs = (0..<64).map { (pruned, $0) }
    }
    for (observed, seed) in runs {
      var machine = Machine(observed, program: program, seed: seed)
      do throws(Halt) {
        try machine.run(limit: 20_000)
        tally.finished += 1
      } catch {
        switch error {
        case .unsupported: tally.unsupported += 1
        case .violation(let message):
          let what = observed.prunes ? "run" : "run against all paths"
          Issue.record("\(name), \(what) \(seed): \(message)\n\(listing(program))")
          return
        }
      }
      tally.steps += machine.steps
    }
  }

  private func listing(_ program: Program) -> String {
    let disassembler = Disassembler(helperName: { HelperID(rawValue: $0).name })
    return program.instructions.enumerated().map { "\($0.offset): \(disassembler.text($0.element))" }.joined()
  }

  @Test(arguments: 0..<4)
  func randomPrograms(_ part: Int) {
    var tally = Tally()
    let count = Effort.rounds(500)
    for index in 0..<count {
      let seed = Effort.seed &+ UInt64(part * count + index)
      let (program, gambles) = ProgramGenerator.program(seed: seed)
      hold("seed \(seed)", program, on: .golden, limit: 800, runs: gambles ? 12 : 2, tally: &tally)
    }
    #expect(tally.accepted * 10 > count * 7 && tally.exhaustive * 10 > count * 5, "\(tally)")
    #expect(tally.unsupported == 0 && tally.refusedWhole <= 1 + count / 1000, "\(tally)")
    print("random programs, part \(part): \(tally)")
  }

  @Test func goldenCases() throws {
    var tally = Tally()
    for path in GoldenFiles.all(in: Self.folder) {
      let golden = try GoldenFiles.read(path)
      var linux: Linux = .golden
      if golden.needsKernelTypes {
        guard let typed = Linux.goldenWithTypes else { continue }
        linux = typed
      }
      linux.capabilities = golden.capabilities
      guard golden.answer(of: "6.18")?.verdict == .accepted else { continue }
      var program = golden.program
      program.expectedAttachType = ProgramRules.effectiveAttachType(program.type, program.expectedAttachType)
      hold(golden.name, program, on: linux, limit: 4_000, runs: 8, tally: &tally)
    }
    #expect(tally.accepted > 250 && tally.finished > tally.unsupported && tally.refusedWhole == 0, "\(tally)")
    print("golden cases: \(tally)")
  }
}
