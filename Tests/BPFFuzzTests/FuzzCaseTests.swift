import BPFFuzz
import BPFISA
import BPFLinux
import BPFVerifier
import Testing

@Suite struct FuzzCaseTests {
  private static let surroundings = FuzzSurroundings(linux: Linux())

  /// Everything that is sent to either side, as numbers.
  private func essence(_ fuzzCase: FuzzCase) -> [UInt64] {
    let program = fuzzCase.program
    var essence = program.instructions.map { instruction in
      UInt64(instruction.opcode) | UInt64(instruction.registers) << 8
        | UInt64(UInt16(bitPattern: instruction.offset)) << 16
        | UInt64(UInt32(bitPattern: instruction.immediate)) << 32
    }
    essence += [UInt64(program.type.rawValue), UInt64(program.flags.rawValue), UInt64(fuzzCase.logLevel)]
    essence += program.functionInfo.flatMap { [UInt64($0.instructionOffset), UInt64($0.typeID)] }
    return essence
  }

  @Test func sameSeedGivesSameProgram() throws {
    let again = try #require(FuzzSurroundings(linux: Linux()))
    let surroundings = try #require(Self.surroundings)
    for index in 0..<300 {
      let seed = RandomSource.seed(of: index, run: 5)
      let first = FuzzCase(seed: seed, in: surroundings)
      let second = FuzzCase(seed: seed, in: again)
      #expect(essence(first) == essence(second))
    }
  }

  @Test func seedsGiveDifferentPrograms() throws {
    let surroundings = try #require(Self.surroundings)
    let programs = (0..<200).map { index in
      essence(FuzzCase(seed: RandomSource.seed(of: index, run: 1), in: surroundings))
    }
    #expect(Set(programs).count == programs.count)
  }

  @Test func programsHaveAsManyInstructionsAsAskedFor() throws {
    let surroundings = try #require(Self.surroundings)
    for least in [30, 100, 300] {
      for index in 0..<100 {
        let seed = RandomSource.seed(of: index, run: 9)
        let fuzzCase = FuzzCase(seed: seed, in: surroundings, minimumInstructions: least)
        #expect(fuzzCase.program.instructions.count >= least)
      }
    }
  }

  /// All answers count as answers only while Skep gets through every program.
  @Test func bothVerdictsOccur() throws {
    let surroundings = try #require(Self.surroundings)
    let comparer = try FuzzComparer(surroundings, withKernel: false)
    var accepted = 0
    for index in 0..<200 {
      let fuzzCase = FuzzCase(seed: RandomSource.seed(of: index, run: 3), in: surroundings, logLevel: 0)
      if comparer.user(fuzzCase).isAccepted { accepted += 1 }
    }
    #expect(accepted > 40)
    #expect(accepted < 190)
  }
}
