import BPFFuzz
import BPFISA
import BPFKernel
import BPFLinux
import BPFVerifier
import Foundation
import Testing

@testable import Skep

/// All that a program did: what it returned, what it made of packets and contexts, what it left in maps.
struct RunTrace: Hashable {
  struct Step: Hashable {
    var errno: Int32 = 0
    var returnValue: UInt32 = 0
    var data: [UInt8] = []
    var context: [UInt8] = []
  }

  var steps: [Step] = []
  /// By map: entries by key, or records in order.
  var maps: [String: [[UInt8]: [UInt8]]] = [:]
  var records: [String: [[UInt8]]] = [:]

  init(_ object: RunnableObject, _ inputs: [RunInput], _ engine: RunEngine) throws(RunError) {
    let loaded = try object.load(engine: engine)
    for input in inputs {
      do throws(RunError) {
        let result = try loaded.programs[0].run(input)
        steps.append(Step(returnValue: result.returnValue, data: result.data, context: result.context))
      } catch {
        guard let errno = error.errno, error.kind == .input else { throw error }
        steps.append(Step(errno: errno.rawValue))
      }
    }
    for map in loaded.maps {
      switch map.definition.type {
      case .ringbuf, .queue, .stack: records[map.name] = try map.drain()
      // What these hold has numbers of its own in each engine.
      case .arrayOfMaps, .hashOfMaps, .progArray, .stackTrace: continue
      default:
        var contents: [[UInt8]: [UInt8]] = [:]
        for entry in try map.entries() { contents[entry.keyBytes] = entry.valueBytes }
        maps[map.name] = contents
      }
    }
  }

  /// The first thing in which two differ.
  func difference(from other: RunTrace) -> String? {
    for (index, (ours, theirs)) in zip(steps, other.steps).enumerated() where ours != theirs {
      if ours.errno != theirs.errno { return "run \(index): errno \(ours.errno), \(theirs.errno)" }
      if ours.returnValue != theirs.returnValue {
        return "run \(index): returned \(Int32(bitPattern: ours.returnValue)), \(Int32(bitPattern: theirs.returnValue))"
      }
      if ours.data != theirs.data { return "run \(index): packet: \(Self.first(ours.data, theirs.data))" }
      return "run \(index): context: \(Self.first(ours.context, theirs.context))"
    }
    for (name, contents) in maps.sorted(by: { $0.key < $1.key }) where contents != other.maps[name] {
      let theirs = other.maps[name] ?? [:]
      let keys = Set(contents.keys).union(theirs.keys).sorted { $0.lexicographicallyPrecedes($1) }
      for key in keys where contents[key] != theirs[key] {
        return "map \(name)[\(key)]: \(Self.first(contents[key] ?? [], theirs[key] ?? []))"
      }
    }
    for (name, list) in records.sorted(by: { $0.key < $1.key }) where list != other.records[name] {
      return "map \(name): records \(list), \(other.records[name] ?? [])"
    }
    return nil
  }

  private static func first(_ ours: [UInt8], _ theirs: [UInt8]) -> String {
    guard ours.count == theirs.count else { return "\(ours.count) bytes, \(theirs.count) bytes" }
    guard let at = ours.indices.first(where: { ours[$0] != theirs[$0] }) else { return "" }
    let end = min(at + 8, ours.count)
    return "byte \(at): \(Array(ours[at..<end])), \(Array(theirs[at..<end]))"
  }
}

/// What came of many programs that were run by two engines.
struct DifferentialTally {
  var compared = 0
  var equal = 0
  /// Programs whose results may hang on time, chance or addresses.
  var unrepeatable = 0
  var leftOut: [String: Int] = [:]
  var differences: [String] = []

  mutating func leaveOut(_ reason: String) { leftOut[reason, default: 0] += 1 }

  var text: String {
    let reasons = leftOut.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map { "  \($0.value) \($0.key)" }
    return (["\(compared) compared, \(equal) equal, \(unrepeatable) not repeatable"] + reasons + differences)
      .joined(separator: "\n")
  }
}

/// Interpreter, machine code and kernel, held against each other on random programs.
@Suite(.serialized) struct RunDifferentialTests {
  static let count = ProcessInfo.processInfo.environment["SKEP_RUN_COUNT"].flatMap { Int($0) } ?? 200
  static let seed = ProcessInfo.processInfo.environment["SKEP_RUN_SEED"].flatMap { UInt64($0) } ?? 1
  static let types: [ProgramType] = [.xdp, .schedCls, .socketFilter, .syscall]

  static func inputs(_ type: ProgramType, _ random: inout RandomSource) -> [RunInput] {
    func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
    if type == .syscall {
      return (0..<3).map { index in
        var input = RunInput(context: index == 0 ? [UInt8](repeating: 0, count: 64) : bytes(64))
        input.wantsContext = true
        return input
      }
    }
    var packets = [RunTests.packet(), bytes(14), bytes(200)]
    packets[2].replaceSubrange(12..<15, with: [0x86, 0xdd, 0x60])
    return packets.map { packet in
      var input = RunInput(data: packet)
      input.wantsContext = true
      return input
    }
  }

  /// Results of these hang on what no two runs have in common.
  private static let unrepeatable: Set<Int32> = Set(
    [
      HelperID.getPrandomU32, .ktimeGetNs, .ktimeGetBootNs, .ktimeGetCoarseNs, .ktimeGetTaiNs, .jiffies64,
    ].map(\.rawValue))

  /// Without CAP_PERFMON, the verifier lets addresses neither out of a program nor decide anything in it.
  static func isRepeatable(_ program: Program) -> Bool {
    if program.instructions.contains(where: { $0.isHelperCall && unrepeatable.contains($0.immediate) }) { return false }
    var linux = RunTests.linux
    guard Verifier.verify(program, on: linux).isAccepted else { return true }
    linux.capabilities = [.bpf, .netAdmin]
    return Verifier.verify(program, on: linux).isAccepted
  }

  static func compare(
    _ label: String, _ program: Program, _ inputs: [RunInput], _ left: RunEngine, _ right: RunEngine,
    _ tally: inout DifferentialTally
  ) {
    guard isRepeatable(program) else {
      tally.unrepeatable += 1
      return
    }
    let object = RunnableObject(program, linux: RunTests.linux)
    do throws(RunError) {
      let ours = try RunTrace(object, inputs, left)
      let theirs = try RunTrace(object, inputs, right)
      tally.compared += 1
      guard let difference = ours.difference(from: theirs) else {
        tally.equal += 1
        return
      }
      // Addresses and time differ between two runs of one engine too.
      let oursAgain = try RunTrace(object, inputs, left)
      let theirsAgain = try RunTrace(object, inputs, right)
      if oursAgain != ours || theirsAgain != theirs {
        tally.compared -= 1
        tally.unrepeatable += 1
      } else {
        tally.differences.append("\(label): \(difference)")
      }
    } catch {
      let reason = error.message.split(separator: ": ").last.map(String.init) ?? error.message
      tally.leaveOut(error.kind == .notSupported ? "not supported: \(reason)" : "\(error.kind): \(error.message)")
    }
  }

  private static func run(_ type: ProgramType, _ left: RunEngine, _ right: RunEngine) throws -> DifferentialTally {
    KernelTestBench.stayOnFirstCPU()
    let surroundings = try #require(FuzzSurroundings(linux: RunTests.linux, type: type))
    var tally = DifferentialTally()
    for index in 0..<count {
      let fuzzCase = FuzzCase(seed: RandomSource.seed(of: index, run: seed), in: surroundings, logLevel: 0)
      guard fuzzCase.capabilities == .all else { continue }
      var random = RandomSource(seed: fuzzCase.seed)
      let before = tally.leftOut
      compare("\(type.name) \(index)", fuzzCase.program, inputs(type, &random), left, right, &tally)
      // Refused by both: nothing to run.
      for (reason, number) in tally.leftOut where reason.hasPrefix("refused") && number != before[reason] {
        tally.leftOut[reason] = before[reason]
        tally.leaveOut("refused by the verifier")
      }
    }
    print("\(type.name): \(left.testDescription) and \(right.testDescription): \(tally.text)")
    return tally
  }

  @Test(.enabled(if: RunTests.kernel != nil, "BPF_PROG_TEST_RUN takes root"), arguments: types)
  func interpreterAndKernel(_ type: ProgramType) throws {
    let tally = try Self.run(type, .user(.interpreter), .kernel)
    #expect(tally.differences.isEmpty)
    #expect(tally.compared > Self.count / 20)
  }

  /// Machine code is not right for some random programs yet; this finds them, and may end the process.
  @Test(
    .enabled(
      if: ProcessInfo.processInfo.environment["SKEP_RUN_MACHINE_CODE"] != nil,
      "machine code fails on some random programs: set SKEP_RUN_MACHINE_CODE to see which"),
    arguments: types)
  func interpreterAndMachineCode(_ type: ProgramType) throws {
    guard (try? RunTests.example("xdp_filter").load(engine: .user(.machineCode))) != nil else { return }
    let tally = try Self.run(type, .user(.interpreter), .user(.machineCode))
    #expect(tally.differences.isEmpty)
    #expect(tally.compared > Self.count / 20)
  }
}
