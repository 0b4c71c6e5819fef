import BPFISA
import BPFLinux
import BPFVerifier
import BTF

/// Tries changes until the verifier takes one.
struct FixFinder {
  let program: Program
  let linux: Linux
  let subject: Subject

  /// How long is tried at most.
  private static let limit = Duration.milliseconds(150)

  /// The first change with which the program is accepted; else one that gets it further, where there is one.
  func find(_ candidates: [FixCandidate]) -> [Diagnosis.Fix] {
    let clock = ContinuousClock()
    let start = clock.now
    var further: Diagnosis.Fix?
    for candidate in candidates {
      guard clock.now - start < Self.limit else { break }
      guard let changed = candidate.applied(to: program, kernelFunction: kernelFunction) else { continue }
      var linux = linux
      linux.capabilities.formUnion(candidate.capabilities)
      let verdict = Verifier.verify(changed, on: linux)
      switch verdict.result {
      case .success: return [fix(candidate, isAccepted: true)]
      case .failure(let rejection):
        if further == nil && isFurther(rejection, candidate) { further = fix(candidate, isAccepted: false) }
      }
    }
    return further.map { [$0] } ?? []
  }

  /// Refused later and for something else.
  private func isFurther(_ rejection: Rejection, _ candidate: FixCandidate) -> Bool {
    guard let now = rejection.instruction, let before = subject.instruction else { return false }
    let added = candidate.insertions.filter { $0.slot <= before && $0.way == .everyone }
      .reduce(0) { $0 + $1.text.split(whereSeparator: { $0 == "\n" || $0 == ";" }).count }
    return now > before + added && rejection.category != subject.category
  }

  private func fix(_ candidate: FixCandidate, isAccepted: Bool) -> Diagnosis.Fix {
    let lines = candidate.insertions.flatMap { insertion in
      insertion.text.split(whereSeparator: { $0 == "\n" || $0 == ";" }).map {
        String($0.drop { $0 == " " })
      }
    }
    let slot = candidate.place ?? candidate.insertions.last?.slot
    return Diagnosis.Fix(
      title: candidate.title, label: slot.map { subject.label(instruction: $0, "") }, source: candidate.source,
      instructions: lines, isAccepted: isAccepted)
  }

  private func kernelFunction(_ name: String) -> Int32? {
    linux.btf?.find(name, kind: .function).map { Int32(bitPattern: $0) }
  }
}
