import BPFLinux
import BPFVerifier
import GoldenCases
import Testing

/// What Linux said of the golden cases, Skep says too: verdict, errno, counts, and the log to the letter.
@Suite struct GoldenTests {
  static let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 } + "/Golden"

  @Test func casesAreThere() {
    #expect(Self.files.count >= 1000)
  }

  /// Every kind of refusal that a program can meet is recorded.
  @Test func everyCategoryHasACase() throws {
    // What Skep does not model, the kernel has no answer like it to.
    let unreachable: Set<RefusalCategory> = [.unsupported]
    let recorded = Set(try Self.files.compactMap { try GoldenFiles.read($0).category })
    #expect(recorded.union(unreachable) == Set(RefusalCategory.allCases))
    #expect(recorded.isDisjoint(with: unreachable))
  }

  static let files = GoldenFiles.all(in: folder)

  /// What the cases need of the kernel's types was saved with them, so none of this takes a kernel.
  static let types = GoldenFiles.savedTypes(in: folder, version: "6.18")

  @Test(arguments: files)
  func golden(_ path: String) throws {
    let types = try #require(Self.types)
    let golden = try GoldenFiles.read(path, types: types)
    let differences = golden.differences(on: .golden, types: types, from: "6.18")
    #expect(differences.isEmpty, "\(golden.name): \(differences.joined(separator: "\n  "))")
  }

  /// A file that is read and written again stays what it is.
  @Test func filesAreWrittenAsTheyAreRead() throws {
    for path in Self.files {
      let golden = try GoldenFiles.read(path)
      let again = try GoldenCase(path: path, contents: Array(golden.text.utf8))
      #expect(again.text == golden.text)
      #expect(again.answers == golden.answers, "\(golden.name)")
    }
  }

  @Test func masking() {
    let log = """
      0: (18) r1 = 0xffff888104a3c000       ; R1=map_ptr(map=m,ks=4,vs=4)
      2: (18) r2 = 0x7fffffffffffffff
      verification time 93 usec

      """
    #expect(
      GoldenLog.masked(Array(log.utf8)) == """
        0: (18) r1 = ADDRESS       ; R1=map_ptr(map=m,ks=4,vs=4)
        2: (18) r2 = 0x7fffffffffffffff
        verification time N usec

        """)
  }

  @Test(arguments: [
    ("type: xdp\n", "there is no === program"),
    ("type: no_such\n\n=== program\n  exit\n", "unknown type 'no_such'"),
    ("map: m hash key=x\n\n=== program\n  exit\n", "'x' is not a number"),
    ("type: xdp\n\n=== program\n  r0 = nonsense\n", "1:8: 'nonsense' is not an operation"),
    ("type: xdp\n\n=== program\n.repeat 2\n  exit\n", ".repeat without .end"),
    ("struct: pair u32 a;\n\n=== program\n  exit\n", "no struct: 'pair u32 a;'"),
  ])
  func malformedCases(_ text: String, _ message: String) {
    let error = #expect(throws: GoldenCaseError.self) { try GoldenCase(path: "x", contents: Array(text.utf8)) }
    #expect(error?.message == message)
  }
}
