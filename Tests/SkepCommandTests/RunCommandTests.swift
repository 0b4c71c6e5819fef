import Foundation
import Testing

@testable import SkepCommand

/// What `skep run` and `skep features` print and with which code they end.
@Suite struct RunCommandTests {
  private static let filter = CommandTests.example("xdp_filter.bpf.o")
  private static let packet = "020000000001020000000002 0800 4500002e00000000401100000a0000010a000063"
    + String(repeating: "ab", count: 26)

  private func skep(_ arguments: [String]) throws -> CommandTests.Run { try CommandTests.run(arguments) }

  @Test func oneRun() throws {
    let run = try skep(["run", Self.filter, "--data-hex", Self.packet])
    #expect(run.code == 0)
    #expect(run.output.hasPrefix("Return value: 2 (XDP_PASS), duration: "))
    #expect(run.errors.isEmpty)
  }

  @Test func mapsGlobalsAndJSON() throws {
    let run = try skep([
      "run", Self.filter, "--data-hex", Self.packet, "--map", #"blocked={"0x0100000a": 41}"#, "--map", "longest=1500",
      "--dump-maps", "--format", "json", "--interpret", "--repeat", "2",
    ])
    #expect(run.code == 0)
    let value = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
    #expect(value["verdict"] as? String == "XDP_DROP")
    #expect(value["engine"] as? String == "interpreter")
    #expect(value["repeat"] as? Int == 2)
    let maps = try #require(value["maps"] as? [String: Any])
    let blocked = try #require((maps["blocked"] as? [[String: Any]])?.first)
    #expect(blocked["key"] as? Int == 0x0100000a)
    #expect(blocked["value"] as? Int == 43)
  }

  @Test func dumpsAreTakenBack() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skep-run-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("counts.json")
    try #"[{"key": 0, "value": {"passed": 6, "dropped": 1}}]"#.write(to: file, atomically: true, encoding: .utf8)
    for form in ["counts=\(file.path)", "counts=@\(file.path)"] {
      let run = try skep(["run", Self.filter, "--data-hex", Self.packet, "--map", form, "--dump-maps"])
      #expect(run.code == 0)
      #expect(run.output.contains("\"passed\": 7"))
    }
  }

  @Test func whatComesOutIsWritten() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skep-run-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let data = folder.appendingPathComponent("data").path
    let context = folder.appendingPathComponent("context").path
    let run = try skep(["run", Self.filter, "--data-hex", Self.packet, "--data-out", data, "--ctx-out", context])
    #expect(run.code == 0)
    #expect(try Data(contentsOf: URL(fileURLWithPath: data)).count == 60)
    #expect(try Data(contentsOf: URL(fileURLWithPath: context)).count == 24)
    let again = try skep(["run", Self.filter, "--data-in", data, "--ctx-in", context])
    #expect(again.code == 0)
  }

  @Test(arguments: [
    (["--data-hex", "0102030"], "--data-hex: '0102030' is no even number of hexadecimal digits"),
    (["--data-in", "/no/such/file"], "--data-in: /no/such/file: No such file or directory"),
    (["--data-hex", "01"], "a packet of 1 bytes is too short: it has at least an Ethernet header of 14 (EINVAL)"),
    (["--repeat", "0"], "--repeat is a number from 1 to 2147483647"),
    (["--map", "longest"], "--map takes NAME=JSON, not 'longest'"),
    (["--map", "counts={"], "--map counts: not JSON: line 1, column 2: a name in quotation marks is expected"),
    (["--map", "none=1"], "there is no map or global variable 'none'"),
    (["--map", "longest=-1"], "'longest': -1 is negative, and the type has no sign"),
    (["--map", #"blocked={"x": 1}"#], "map 'blocked': key: a number is expected"),
    (["--prog", "none"], "there is no program 'none' in "),
    (["--timeout", "never"], "--timeout is a number of seconds above 0"),
    (["--jit", "--interpret"], "--jit and --interpret exclude each other"),
    (["--pcap-out", "x.pcap"], "--pcap-out needs --pcap"),
    (["--raw"], "--raw needs --type"),
    (["--engine", "none"], "--engine is one of user, kernel, both"),
  ])
  func wrongInput(_ arguments: [String], _ message: String) throws {
    let run = try skep(["run", Self.filter] + arguments)
    #expect(run.code == 2)
    #expect(run.errors.contains(message), "\(run.errors)")
    #expect(run.errors.split(separator: "\n").count == 1)
    #expect(run.output.isEmpty)
  }

  @Test func refusedPrograms() throws {
    let run = try skep(["run", CommandTests.example("xdp_bad.bpf.o"), "--data-hex", Self.packet])
    #expect(run.code == 1)
    #expect(run.errors.hasPrefix("skep: program 'xdp_bad' is refused (EACCES): "))
    #expect(run.errors.split(separator: "\n").count == 1)
  }

  @Test func rawInstructions() throws {
    let path = try CommandTests.temporaryFile(
      [0xb7, 0, 0, 0, 3, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0], "three.bin")
    let run = try skep(["run", "--raw", "--type", "xdp", path, "--data-hex", Self.packet])
    #expect(run.code == 0)
    #expect(run.output.hasPrefix("Return value: 3 (XDP_TX)"))
  }

  @Test func timeouts() throws {
    let run = try skep([
      "run", Self.filter, "--data-hex", Self.packet, "--repeat", "2000000000", "--timeout", "0.3",
    ])
    #expect(run.code == 2)
    #expect(run.errors == "skep: program 'xdp_filter' did not end within 0.3 s and was stopped\n")
  }

  // MARK: Captures

  /// A capture with packets from these addresses, as tcpdump writes it.
  private static func capture(_ sources: [UInt8], cut: Int = 0) throws -> String {
    func word(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }
    var bytes = word(0xa1b2_c3d4) + [2, 0, 4, 0] + word(0) + word(0) + word(262_144) + word(1)
    let ethernet: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]
    for (number, source) in sources.enumerated() {
      let ip: [UInt8] = [0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, source, 10, 0, 0, 99]
      let packet = ethernet + ip + [UInt8](repeating: 7, count: 26)
      bytes += word(1_700_000_000 + UInt32(number)) + word(5) + word(60) + word(60) + packet
    }
    return try CommandTests.temporaryFile(Array(bytes.dropLast(cut)), "in.pcap")
  }

  private static let hasLibrary = (try? skepFindsLibrary()) ?? false

  private static func skepFindsLibrary() throws -> Bool {
    try !CommandTests.run(["run", filter, "--pcap", "/no/such/file"]).errors.contains("need libpcap")
  }

  @Test(.enabled(if: RunCommandTests.hasLibrary, "libpcap is not installed"))
  func captures() throws {
    let input = try Self.capture([1, 2, 3, 2])
    let output = input + ".out"
    let run = try skep([
      "run", Self.filter, "--pcap", input, "--pcap-out", output, "--map", #"blocked={"0x0200000a": 0}"#,
    ])
    #expect(run.code == 0, "\(run.errors)")
    #expect(run.lines.first?.hasPrefix("4 packets, ") == true)
    #expect(run.output.contains("1 (XDP_DROP)  2  (50.0 %)"))
    #expect(run.output.contains("2 (XDP_PASS)  2  (50.0 %)"))
    #expect(run.output.contains("written: 2"))
    let written = try Data(contentsOf: URL(fileURLWithPath: output))
    #expect(written.count == 24 + 2 * 76)
    let again = try skep(["run", Self.filter, "--pcap", output, "--format", "json"])
    let value = try #require(try JSONSerialization.jsonObject(with: Data(again.output.utf8)) as? [String: Any])
    #expect(value["packets"] as? Int == 2)
    #expect((value["verdicts"] as? [String: Int])?["XDP_PASS"] == 2)
  }

  @Test(.enabled(if: RunCommandTests.hasLibrary, "libpcap is not installed"))
  func capturesThatAreCutShort() throws {
    let input = try Self.capture([1, 1, 1], cut: 10)
    let output = input + ".out"
    let run = try skep(["run", Self.filter, "--pcap", input, "--pcap-out", output])
    #expect(run.code == 2)
    #expect(run.errors.hasPrefix("skep: \(input): cut short after 2 packets: "))
    #expect(run.lines.first?.hasPrefix("2 packets, ") == true)
    #expect(run.output.contains("written: 2"))
    #expect(try Data(contentsOf: URL(fileURLWithPath: output)).count == 24 + 2 * 76)
  }

  @Test(.enabled(if: RunCommandTests.hasLibrary, "libpcap is not installed"))
  func whatIsNoCapture() throws {
    let path = try CommandTests.temporaryFile(Array("no capture, this".utf8) + [UInt8](repeating: 0, count: 40), "x")
    let run = try skep(["run", Self.filter, "--pcap", path])
    #expect(run.code == 2)
    #expect(run.errors.hasPrefix("skep: \(path): "))
    #expect(run.errors.split(separator: "\n").count == 1)
    let wrong = try skep(["run", CommandTests.example("execsnoop.bpf.o"), "--pcap", path])
    #expect(wrong.code != 0)
  }

  // MARK: Features

  @Test func features() throws {
    let run = try skep(["features"])
    #expect(run.code == 0)
    for heading in ["program types (", "map types (", "helpers (", "kernel functions ("] {
      #expect(run.output.contains(heading))
    }
    #expect(run.lines.contains { $0.hasPrefix("  bpf_map_lookup_elem ") && $0.contains(" yes") })
    #expect(run.lines.contains { $0.hasPrefix("  sockmap ") && $0.contains(" no ") && $0.contains("sockets") })
    let missing = try skep(["features", "--missing", "--format", "json"])
    let list = try #require(try JSONSerialization.jsonObject(with: Data(missing.output.utf8)) as? [[String: Any]])
    #expect(list.allSatisfy { $0["supported"] as? Bool == false && ($0["remark"] as? String)?.isEmpty == false })
    #expect(try skep(["features", "no_such_thing"]).code == 1)
  }
}
