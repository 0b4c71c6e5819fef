import BPFLinux
import BPFVerifier
import GoldenCases
import Testing

@testable import BPFExplain

/// Diagnoses of the golden cases that Linux refuses.
@Suite struct DiagnosisTests {
  static let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 } + "/Golden"

  /// Refused by the verifier, and small enough for a debug build to go through several times.
  static func refusals() throws -> [(name: String, subject: Subject)] {
    var found: [(String, Subject)] = []
    for path in GoldenFiles.all(in: folder) {
      let golden = try GoldenFiles.read(path)
      guard !golden.needsKernelTypes, let answer = golden.answer(of: "6.18"), answer.verdict == .refused,
        answer.instructions < 2000
      else { continue }
      var linux = Linux.golden
      linux.capabilities = golden.capabilities
      let verdict = Verifier.verify(golden.program, on: linux)
      guard case .failure(let rejection) = verdict.result else { continue }
      found.append((golden.name, Subject(rejection, of: golden.program, on: linux)))
    }
    return found
  }

  @Test func everyRefusalIsSaidInOtherWordsThanLinuxs() throws {
    let refusals = try Self.refusals()
    #expect(refusals.count > 200)
    var fixed = 0
    for (name, subject) in refusals {
      let diagnosis = Diagnostician.diagnose(subject)
      #expect(diagnosis.code == subject.category.rawValue, "\(name)")
      #expect(!diagnosis.headline.isEmpty && diagnosis.headline != diagnosis.kernelMessage, "\(name)")
      #expect(!diagnosis.fixes.isEmpty || diagnosis.advice != nil, "\(name): \(diagnosis.headline)")
      #expect(!DiagnosisText().text(diagnosis).contains("\u{1b}"))
      if diagnosis.fixes.contains(where: \.isAccepted) { fixed += 1 }
    }
    print("diagnoses: \(refusals.count), with a fix that is accepted: \(fixed)")
    #expect(fixed * 4 > refusals.count)
  }
}
