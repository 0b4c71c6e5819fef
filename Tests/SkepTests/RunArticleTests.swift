import BPFKernel
import BPFObject
import Foundation
import Skep
import Testing

// The example of the article "Running programs", as it stands there.
/// Counts what a filter would do to some packets.
func tryFilter(_ path: String, blocking address: [UInt8], on packets: [[UInt8]]) throws -> [String] {
  // The kernel whose verifier decides is the one that runs here, as far as its types are known.
  var object = RunnableObject(try ObjectFile(path: path), linux: try Linux.running())
  try object.set("longest", to: .integer(1500))

  // Verified, and translated to machine code.
  let loaded = try object.load(["xdp_filter"])
  let blocked = try loaded.map("blocked")
  try blocked.update(address, [0, 0, 0, 0, 0, 0, 0, 0])

  let filter = try loaded.program("xdp_filter")
  var lines: [String] = []
  for packet in packets {
    let result = try filter.run(RunInput(data: packet))
    lines.append(result.returnValue == 1 ? "dropped" : "passed")
  }

  // Values are shown by the types that the compiler recorded.
  for entry in try blocked.entries() { lines.append("\(entry.keyBytes): \(entry.value.compactText) hits") }
  lines.append(try loaded.map("counts").dump().compactText)
  return lines
}

/// The article's example compiles, does what it says, and is the one that is tested here.
@Suite struct RunArticleTests {
  @Test func theExampleRuns() throws {
    let packets = [RunTests.packet(), RunTests.packet(from: [10, 0, 0, 2]), RunTests.packet(length: 1501)]
    let lines = try tryFilter(
      "\(HeaderTests.examples)/xdp_filter.bpf.o", blocking: [10, 0, 0, 2], on: packets)
    #expect(
      lines == [
        "passed", "dropped", "dropped", "[10, 0, 0, 2]: 1 hits",
        #"[{"key":0,"value":{"passed":1,"dropped":2}}]"#,
      ])
  }

  @Test func theExampleIsTheArticles() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let article = try String(
      contentsOf: root.appendingPathComponent("Sources/Skep/Skep.docc/RunningPrograms.md"), encoding: .utf8)
    let code = try #require(article.components(separatedBy: "```swift\n").dropFirst().first)
    let example = try #require(code.components(separatedBy: "```").first)
    let function = try #require(example.range(of: "/// Counts"))
    let here = try String(contentsOfFile: #filePath, encoding: .utf8)
    #expect(here.contains(example[function.lowerBound...]))
  }
}
