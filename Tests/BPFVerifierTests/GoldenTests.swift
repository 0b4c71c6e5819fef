import BPFLinux
import BPFVerifier
import GoldenCases
import Testing

/// What Linux said of the golden cases, Skep says too: verdict, errno, counts, and the log to the letter.
@Suite struct GoldenTests {
  static let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 } + "/Golden"

  @Test func casesAreThere() {
    #expect(Self.files.count >= 260)
  }

  static let files = GoldenFiles.all(in: folder)

  @Test(arguments: files)
  func golden(_ path: String) throws {
    let golden = try GoldenFiles.read(path)
    if !golden.needsKernelTypes { try hold(golden, on: .golden) }
  }

  @Test(
    .enabled(if: Linux.goldenWithTypes != nil, "/sys/kernel/btf/vmlinux is not there: cases that take it are skipped"),
    arguments: files.filter { (try? GoldenFiles.read($0))?.needsKernelTypes == true })
  func goldenWithKernelTypes(_ path: String) throws {
    try hold(try GoldenFiles.read(path), on: try #require(Linux.goldenWithTypes))
  }

  private func hold(_ golden: GoldenCase, on linux: Linux) throws {
    let expected = try #require(golden.answer(of: "6.18"), "\(golden.name) holds no answer of Linux 6.18")
    let differences = golden.verified(on: linux).differences(from: expected)
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
