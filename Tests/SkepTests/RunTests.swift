import BPFISA
import BPFKernel
import BPFLinux
import BPFObject
import BTF
import Testing

@testable import Skep

/// Objects that are loaded, filled, run and read again, by each engine that there is.
@Suite struct RunTests {
  static let kernel = try? KernelEngine()
  static let linux = (try? Linux.running()) ?? Linux()
  static let engines: [RunEngine] =
    [.user(.interpreter), .user(.automatic)] + (kernel == nil ? [] : [RunEngine.kernel])

  /// An IPv4 packet of 60 bytes from an address.
  static func packet(from address: [UInt8] = [10, 0, 0, 1], length: UInt16 = 46) -> [UInt8] {
    let ethernet: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]
    let total = [UInt8(length >> 8), UInt8(length & 0xff)]
    let header = [0x45, 0] + total + [0, 0, 0, 0, 64, 17, 0, 0] + address + [10, 0, 0, 99]
    return ethernet + header + [UInt8](repeating: 0xab, count: 26)
  }

  static func example(_ name: String) throws -> RunnableObject {
    RunnableObject(try ObjectFile(path: "\(HeaderTests.examples)/\(name).bpf.o"), linux: linux)
  }

  @Test(arguments: engines)
  func filter(_ engine: RunEngine) throws {
    var object = try Self.example("xdp_filter")
    try object.set("longest", to: .integer(1500))
    let loaded = try object.load(engine: engine)
    try loaded.fill("blocked", with: JSONValue(parsing: #"{"0x0200000a": 5}"#))
    let program = try loaded.program("xdp_filter")
    #expect(try program.run(RunInput(data: Self.packet())).returnValue == 2)
    #expect(try program.run(RunInput(data: Self.packet(from: [10, 0, 0, 2]))).returnValue == 1)
    #expect(try program.run(RunInput(data: Self.packet(length: 1501))).returnValue == 1)
    let result = try program.run(RunInput(data: Self.packet(), repeats: 100))
    #expect(result.returnValue == 2)
    #expect(result.data == Self.packet())
    #expect(try loaded.map("counts").dump().compactText == #"[{"key":0,"value":{"passed":101,"dropped":2}}]"#)
    #expect(try loaded.map("blocked").dump().compactText == #"[{"key":33554442,"value":6}]"#)
    #expect(try loaded.map("blocked").value(at: .integer(33_554_442)) == .integer(6))
    #expect(try loaded.global("packets") == .integer(103))
    #expect(try loaded.global("longest") == .integer(1500))
    #expect(try loaded.global("none") == nil)
    #expect(try loaded.map("blocked").remove(.integer(33_554_442)))
    #expect(try !loaded.map("blocked").remove(.integer(33_554_442)))
    #expect(try loaded.map("blocked").entries().isEmpty)
  }

  @Test(arguments: engines)
  func perCPUMaps(_ engine: RunEngine) throws {
    KernelTestBench.stayOnFirstCPU()
    let loaded = try Self.example("tc_rate").load(engine: engine)
    let rates = try loaded.map("rates")
    try rates.set(.integer(17), to: JSONValue(parsing: #"{"packets": 1000}"#))
    _ = try loaded.program("tc_rate").run(RunInput(data: Self.packet(), repeats: 3))
    guard case .array(let values) = try rates.value(at: .integer(17)) else {
      Issue.record("no value for each CPU")
      return
    }
    #expect(values.count == Self.linux.possibleCPUs)
    #expect(values.first?.compactText == #"{"packets":1003,"bytes":180}"#)
    #expect(values.dropFirst().allSatisfy { $0.compactText == #"{"packets":1000,"bytes":0}"# })
  }

  @Test(arguments: engines)
  func contexts(_ engine: RunEngine) throws {
    let source = "r0 = *(u32 *)(r1 + 8)\nr0 += 1\n*(u32 *)(r1 + 8) = r0\nexit"
    let program = Program(name: "mark", type: .schedCls, instructions: try Assembler().assemble(source))
    let loaded = try RunnableObject(program, linux: Self.linux).load(engine: engine)
    var input = RunInput(data: Self.packet())
    input.context = [UInt8](repeating: 0, count: 8) + [41, 0, 0, 0]
    input.wantsContext = true
    let result = try loaded.programs[0].run(input)
    #expect(result.returnValue == 42)
    #expect(result.context.count >= 192)
    #expect(result.context.dropFirst(8).prefix(4).elementsEqual([42, 0, 0, 0]))
  }

  @Test(arguments: engines)
  func syscallPrograms(_ engine: RunEngine) throws {
    let source = "r0 = *(u64 *)(r1 + 0)\nr0 *= 3\n*(u64 *)(r1 + 8) = r0\nexit"
    var program = Program(name: "triple", type: .syscall, instructions: try Assembler().assemble(source))
    program.flags = .sleepable
    let loaded = try RunnableObject(program, linux: Self.linux).load(engine: engine)
    var input = RunInput(context: [5] + [UInt8](repeating: 0, count: 15))
    input.wantsContext = true
    let result = try loaded.programs[0].run(input)
    #expect(result.returnValue == 15)
    #expect(result.context == [5, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0])
  }

  // MARK: What is wrong is said

  @Test(arguments: engines)
  func impossiblePackets(_ engine: RunEngine) throws {
    let loaded = try Self.example("xdp_filter").load(engine: engine)
    for size in [0, 1, 13, 1 << 20] {
      do {
        _ = try loaded.programs[0].run(RunInput(data: [UInt8](repeating: 0, count: size)))
        Issue.record("\(size) bytes were run")
      } catch {
        #expect(error.kind == .input)
        #expect(error.message.hasPrefix("a packet of \(size) bytes is too"), "\(error.message)")
      }
    }
  }

  @Test(arguments: engines)
  func impossibleContexts(_ engine: RunEngine) throws {
    let loaded = try Self.example("xdp_filter").load(engine: engine)
    var input = RunInput(data: Self.packet())
    for context in [[1], [UInt8](repeating: 0xff, count: 24), [UInt8](repeating: 1, count: 1000)] {
      input.context = context
      do {
        _ = try loaded.programs[0].run(input)
        Issue.record("a context of \(context.count) bytes was taken")
      } catch {
        #expect(error.kind == .input)
      }
    }
  }

  @Test(arguments: engines)
  func wrongContents(_ engine: RunEngine) throws {
    var object = try Self.example("xdp_filter")
    func message(_ body: () throws -> Void) -> String {
      do {
        try body()
        return "nothing"
      } catch {
        return "\(error)"
      }
    }
    #expect(message { try object.set("longst", to: .integer(1)) } == "there is no map or global variable 'longst'")
    #expect(
      message { try object.set("longest", to: .integer(1 << 32)) }
        == "'longest': 4294967296 does not fit in 32 bits")
    let loaded = try object.load(engine: engine)
    #expect(
      message { try loaded.fill("blocked", with: JSONValue(parsing: #"{"4294967296": 1}"#)) }
        == "map 'blocked': key: 4294967296 does not fit in 32 bits")
    #expect(
      message { try loaded.fill("blocked", with: JSONValue(parsing: #"{"1": "ten"}"#)) }
        == "map 'blocked': value: a number is expected")
    #expect(
      message { try loaded.fill("blocked", with: JSONValue(parsing: "[1]")) }
        == #"map 'blocked': a list of {"key": …, "value": …} or an object is expected"#)
    #expect(
      message { try loaded.fill("counts", with: JSONValue(parsing: #"{"1": {"passed": 1}}"#)) }
        == "map 'counts': update: E2BIG")
    #expect(
      message { try loaded.map("blocked").update([1, 2], [0, 0, 0, 0, 0, 0, 0, 0]) }
        == "map 'blocked': a key of 2 bytes, where it has 4")
    #expect(
      message { try loaded.map("blocked").update([1, 2, 3, 4], [0]) } == "map 'blocked': update: EINVAL")
    #expect(message { _ = try loaded.map("none") } == "there is no map 'none'")
    #expect(message { _ = try loaded.program("none") } == "there is no program 'none'")
  }

  @Test(arguments: engines)
  func refusedPrograms(_ engine: RunEngine) throws {
    let object = try Self.example("xdp_bad")
    do {
      _ = try object.load(engine: engine)
      Issue.record("it was loaded")
    } catch {
      #expect(error.kind == .refused)
      #expect(error.errno == .EACCES)
      #expect(error.message.hasPrefix("program 'xdp_bad' is refused"))
    }
  }

  /// The kernel's own runs are stopped by a signal, which other tests that stay on one CPU may keep waiting.
  @Test(arguments: engines.filter { $0 != .kernel })
  func longRunsAreStopped(_ engine: RunEngine) throws {
    let loaded = try Self.example("xdp_filter").load(engine: engine)
    var input = RunInput(data: Self.packet(), repeats: 2_000_000_000)
    input.timeout = 0.2
    let clock = ContinuousClock()
    let began = clock.now
    do {
      _ = try loaded.programs[0].run(input)
      Issue.record("it came to an end")
    } catch {
      #expect(error.kind == .timeout)
      #expect(error.message == "program 'xdp_filter' did not end within 0.2 s and was stopped")
    }
    #expect(began.duration(to: clock.now) < .seconds(5))
    // It runs again afterwards.
    #expect(try loaded.programs[0].run(RunInput(data: Self.packet())).returnValue == 2)
  }
}

extension RunEngine: CustomTestStringConvertible {
  public var testDescription: String {
    switch self {
    case .user(.automatic): "user"
    case .user(.machineCode): "machine code"
    case .user(.interpreter): "interpreter"
    case .kernel: "kernel"
    }
  }
}
