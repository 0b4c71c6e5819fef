import BPFISA
import BPFLinux

/// Takes away from a case what its difference does not need (delta debugging).
public struct Minimizer {
  private let comparer: FuzzComparer
  private let kind: FuzzDifference.Kind
  private var attempts: Int
  /// Instructions that a smaller case may take: less of a program may be a loop without end.
  private let limit: Int
  private let deadline: ContinuousClock.Instant

  private init(
    _ comparer: FuzzComparer, _ kind: FuzzDifference.Kind, attempts: Int, limit: Int, seconds: Int
  ) {
    self.comparer = comparer
    self.kind = kind
    self.attempts = attempts
    self.limit = limit
    deadline = .now + .seconds(seconds)
  }

  /// The smallest case found that still differs in `kind`.
  public static func minimize(
    _ fuzzCase: FuzzCase, differingIn kind: FuzzDifference.Kind, with comparer: FuzzComparer, attempts: Int = 4000,
    seconds: Int = 60
  ) -> FuzzCase {
    var brief = fuzzCase
    brief.logLevel = 0
    let limit = comparer.user(brief).instructions * 2 + 1000
    var minimizer = Minimizer(comparer, kind, attempts: attempts, limit: limit, seconds: seconds)
    return minimizer.run(fuzzCase)
  }

  private mutating func differs(_ candidate: FuzzCase) -> Bool {
    guard attempts > 0, ContinuousClock.now < deadline else {
      attempts = 0
      return false
    }
    attempts -= 1
    return comparer.difference(candidate, within: limit)?.kind == kind
  }

  private mutating func run(_ original: FuzzCase) -> FuzzCase {
    var best = original
    for level: UInt32 in [0, 1] where level < best.logLevel {
      var candidate = best
      candidate.logLevel = level
      if differs(candidate) {
        best = candidate
        break
      }
    }
    var simple = best
    simple.program.flags = best.program.flags.intersection(.sleepable)
    simple.capabilities = .all
    if differs(simple) { best = simple }
    for flag: ProgramFlags in [.testStateFrequency, .strictAlignment, .anyAlignment, .testRandomHigh32,
      .testRegisterInvariants] where best.program.flags.contains(flag)
    {
      var candidate = best
      candidate.program.flags.remove(flag)
      if differs(candidate) { best = candidate }
    }
    var size = best.program.instructions.count / 2
    while size >= 1 && attempts > 0 {
      var at = best.program.instructions.count - size
      var isSmaller = false
      while at >= 0 && attempts > 0 {
        if let candidate = best.removing(at..<at + size), differs(candidate) {
          best = candidate
          isSmaller = true
        }
        at -= max(1, size / 2)
        at = min(at, best.program.instructions.count - size)
      }
      if size == 1 && !isSmaller { break }
      size = size == 1 ? 1 : size / 2
    }
    return best
  }
}

extension FuzzCase {
  /// The case without these slots, jumps mended; nil where that would cut a load in two.
  fileprivate func removing(_ removed: Range<Int>) -> FuzzCase? {
    let old = program.instructions
    guard removed.count < old.count, removed.lowerBound >= 0 else { return nil }
    // By slot: where it is afterwards. A removed one is where its successor is.
    var places = [Int](repeating: 0, count: old.count + 1)
    var place = 0
    var isSecond = false
    for slot in old.indices {
      if isSecond && removed.contains(slot) != removed.contains(slot - 1) { return nil }
      isSecond = !isSecond && old[slot].isLoadImmediate64
      places[slot] = place
      if !removed.contains(slot) { place += 1 }
    }
    places[old.count] = place
    var new: [Instruction] = []
    new.reserveCapacity(place)
    isSecond = false
    for slot in old.indices {
      var instruction = old[slot]
      let isData = isSecond
      isSecond = !isSecond && instruction.isLoadImmediate64
      if removed.contains(slot) { continue }
      if !isData, let distance = instruction.distance {
        let target = slot + 1 + distance
        if target >= 0 && target <= old.count { instruction.distance = places[target] - places[slot] - 1 }
      }
      new.append(instruction)
    }
    var result = self
    result.program.instructions = new
    var records: [FunctionInfo] = []
    for record in program.functionInfo {
      var record = record
      record.instructionOffset = UInt32(truncatingIfNeeded: places[Int(record.instructionOffset)])
      // Two functions at one place are one.
      if records.last?.instructionOffset == record.instructionOffset { records.removeLast() }
      if Int(record.instructionOffset) < new.count { records.append(record) }
    }
    result.program.functionInfo = records
    if records.isEmpty { result.program.btf = nil }
    return result
  }
}

extension Instruction {
  /// Slots between the next one and the one that is jumped to or called.
  fileprivate var distance: Int? {
    get {
      if isSubprogramCall || isSubprogramAddress || opcode == Opcode.jaLong { return Int(immediate) }
      guard instructionClass == Class.jmp || instructionClass == Class.jmp32 else { return nil }
      switch operation {
      case Jump.call, Jump.exit: return nil
      default: return Int(offset)
      }
    }
    set {
      guard let newValue else { return }
      if isSubprogramCall || isSubprogramAddress || opcode == Opcode.jaLong {
        immediate = Int32(truncatingIfNeeded: newValue)
      } else {
        offset = Int16(truncatingIfNeeded: newValue)
      }
    }
  }
}
