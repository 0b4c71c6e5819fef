import BPFISA
import Testing

@testable import BPFVerifier

/// What a comparison shows, against comparing all the values of both sides.
@Suite struct BranchSoundnessTests {
  static let operations: [UInt8] = [
    Jump.jeq, Jump.jne, Jump.jset, Jump.jgt, Jump.jge, Jump.jlt, Jump.jle, Jump.jsgt, Jump.jsge, Jump.jslt, Jump.jsle,
  ]

  private func check(_ bench: Bench, _ operation: UInt8, _ narrow: Bool, _ a: Sample, _ b: Sample) -> Bool {
    let registers = bench.verification.registers
    registers[1] = a.register
    registers[2] = b.register
    let outcome = bench.verification.outcome(registers + 1, registers + 2, operation, narrow: narrow)
    // r1 and r2 where it holds, r3 and r4 where it does not.
    registers[3] = a.register
    registers[4] = b.register
    BranchRefinement.refine(registers + 1, registers + 2, operation, narrow: narrow)
    BranchRefinement.refine(registers + 3, registers + 4, BranchRefinement.reversed(operation), narrow: narrow)
    for number in 1...4 { registers[number].sync() }
    for x in a.values {
      for y in b.values {
        let holds = ConcreteArithmetic.holds(operation, x, y, narrow: narrow)
        let first = holds ? 1 : 3
        let isKept = registers[first].admits(x) && registers[first + 1].admits(y)
        if !isKept || outcome == (holds ? .never : .always) {
          Issue.record(
            """
            0x\(String(operation, radix: 16))\(narrow ? " of 32 bits" : "") of \(x) and \(y) is \(holds), \
            outcome \(outcome)
              first:  \(a.register.summary)
              second: \(b.register.summary)
              after:  \(registers[first].summary)
                      \(registers[first + 1].summary)
            """)
          return false
        }
      }
    }
    return true
  }

  @Test(arguments: operations)
  func allRanges(_ operation: UInt8) {
    let bench = Bench()
    let samples = Sample.places.indices.map { Sample.ranges(at: $0, count: 4) }
    for first in samples {
      for second in samples {
        for narrow in [false, true] {
          for a in first { for b in second { guard check(bench, operation, narrow, a, b) else { return } } }
        }
      }
    }
  }

  @Test func allTrackedNumbers() {
    let bench = Bench()
    var samples: [Sample] = []
    for shift in [0, 30, 61] { samples += Tnum.all(width: 3, shift: shift).map { Sample($0.values, parts: 1) } }
    for operation in [Jump.jeq, Jump.jne, Jump.jset, Jump.jlt, Jump.jsle] {
      for a in samples { for b in samples { guard check(bench, operation, false, a, b) else { return } } }
    }
    for operation in [Jump.jeq, Jump.jset, Jump.jsgt] {
      for a in samples[..<54] { for b in samples[..<54] { guard check(bench, operation, true, a, b) else { return } } }
    }
  }

  @Test func randomOperands() {
    let bench = Bench()
    var random = RandomNumbers(seed: 8)
    for _ in 0..<Effort.rounds(12_000) {
      let a = Sample.random(&random)
      var b = Sample.random(&random)
      // Constants decide most of what is learned of bits and of inequality.
      if random.chance(1, in: 3) {
        b = Sample([random.chance(1, in: 2) ? random.pick(a.values) : random.interesting()])
      }
      guard check(bench, random.pick(Self.operations), random.chance(1, in: 2), a, b) else { return }
    }
  }
}
