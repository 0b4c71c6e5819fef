import BPFISA
import BPFKernel
import BPFLinux
import BPFMaps
import BPFRuntime
import BPFVerifier

/// A straight program of helper calls on a packet. What each call returns goes into the value that the program returns,
/// so that one number tells whether all of them did.
struct NetworkScript: Sendable {
  enum Argument: Sendable {
    case context
    case value(Int64)
    /// An address in the 256 bytes of stack that the script works with; they begin as zeros.
    case stack(Int)
    /// One of the script's maps.
    case map(Int)
  }

  enum Step: Sendable {
    case put(Int, [UInt8])
    case call(HelperID, [Argument])
    case kfunc(String, [Argument])
    /// Reads a field of the context.
    case load(Int, Int)
    case store(Int, Int, Int32)
    /// Stores the value from a register, where a field takes both.
    case storeRegister(Int, Int, Int64)
    /// Takes eight bytes of the stack into account.
    case look(Int)
  }

  var name: String
  var type: ProgramType
  var input: TestRun.Input
  var steps: [Step]
  /// Where not nil, what the program returns in place of the value of its calls.
  var returnMask: Int32?
  var attachType = AttachType.none
  /// Maps, each with the elements that it is filled with.
  var maps: [(definition: MapDefinition, elements: [(key: [UInt8], value: [UInt8])])] = []

  init(_ name: String, _ type: ProgramType, _ input: TestRun.Input, _ steps: [Step]) {
    self.name = name
    self.type = type
    self.input = input
    self.steps = steps
  }

  private static let stackSize = 256

  func program(on linux: Linux) -> Program {
    var code: [Instruction] = []
    func alu(_ operation: UInt8, _ dst: UInt8, _ value: Int32) {
      code.append(Instruction(opcode: Class.alu64 | operation, dst: dst, immediate: value))
    }
    func move(_ dst: UInt8, _ src: UInt8) {
      code.append(Instruction(opcode: Opcode.movRegister64, dst: dst, src: src))
    }
    func load(_ dst: UInt8, _ value: Int64) {
      code.append(
        Instruction(opcode: Opcode.loadImmediate64, dst: dst, immediate: Int32(truncatingIfNeeded: value)))
      code.append(Instruction(opcode: 0, immediate: Int32(truncatingIfNeeded: value >> 32)))
    }
    func fold() {
      alu(ALU.mul, 6, 31)
      code.append(Instruction(opcode: Class.alu64 | ALU.add | Source.x, dst: 6, src: 0))
    }
    func arguments(_ list: [Argument]) {
      for (index, argument) in list.enumerated() {
        let register = UInt8(index + 1)
        switch argument {
        case .context: move(register, 9)
        case .value(let value): load(register, value)
        case .map(let index):
          code.append(
            Instruction(
              opcode: Opcode.loadImmediate64, dst: register, src: PseudoSource.mapFD, immediate: Int32(index)))
          code.append(Instruction(opcode: 0))
        case .stack(let offset):
          move(register, 10)
          alu(ALU.add, register, Int32(offset - Self.stackSize))
        }
      }
    }
    move(9, 1)
    alu(ALU.mov, 6, 0)
    for offset in stride(from: -Self.stackSize, to: 0, by: 8) {
      code.append(Instruction(opcode: Class.st | Mode.mem | Size.dw, dst: 10, offset: Int16(offset)))
    }
    let sizes: [Int: UInt8] = [1: Size.b, 2: Size.h, 4: Size.w, 8: Size.dw]
    for step in steps {
      switch step {
      case .put(let offset, let bytes):
        for (index, byte) in bytes.enumerated() {
          code.append(
            Instruction(
              opcode: Class.st | Mode.mem | Size.b, dst: 10, offset: Int16(offset + index - Self.stackSize),
              immediate: Int32(byte)))
        }
      case .call(let helper, let list):
        arguments(list)
        code.append(Instruction(opcode: Opcode.call, immediate: helper.rawValue))
        fold()
      case .kfunc(let name, let list):
        arguments(list)
        let id = linux.btf?.find(name, kind: .function) ?? 0
        code.append(
          Instruction(opcode: Opcode.call, src: PseudoSource.kfuncCall, immediate: Int32(bitPattern: id)))
        // The upper half is not defined.
        code.append(Instruction(opcode: Class.alu | ALU.mov | Source.x, dst: 0, src: 0))
        fold()
      case .load(let offset, let size):
        code.append(
          Instruction(opcode: Class.ldx | Mode.mem | (sizes[size] ?? 0), dst: 0, src: 9, offset: Int16(offset)))
        fold()
      case .store(let offset, let size, let value):
        code.append(
          Instruction(
            opcode: Class.st | Mode.mem | (sizes[size] ?? 0), dst: 9, offset: Int16(offset), immediate: value))
      case .storeRegister(let offset, let size, let value):
        load(1, value)
        code.append(
          Instruction(opcode: Class.stx | Mode.mem | (sizes[size] ?? 0), dst: 9, src: 1, offset: Int16(offset)))
      case .look(let offset):
        code.append(
          Instruction(opcode: Class.ldx | Mode.mem | Size.dw, src: 10, offset: Int16(offset - Self.stackSize)))
        fold()
      }
    }
    move(0, 6)
    alu(ALU.rsh, 0, 32)
    code.append(Instruction(opcode: Class.alu64 | ALU.xor | Source.x, dst: 0, src: 6))
    code.append(Instruction(opcode: Class.alu | ALU.mov | Source.x, dst: 0, src: 0))
    if let returnMask { alu(ALU.and, 0, returnMask) }
    code.append(Instruction(opcode: Opcode.exit))
    var program = Program(name: "script", type: type, expectedAttachType: attachType, instructions: code)
    program.maps = maps.map(\.definition)
    return program
  }

  /// What a run came to, so that runs elsewhere can be compared with it.
  struct Answer: Hashable, CustomStringConvertible {
    var errno: Int32 = 0
    var returnValue: UInt32 = 0
    var data: [UInt8] = []
    var context: [UInt8] = []

    var description: String {
      /// How many bytes, and their FNV-1a hash.
      func digest(_ bytes: [UInt8]) -> String {
        let hash = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        return bytes.isEmpty ? "-" : "\(bytes.count):\(String(hash, radix: 16))"
      }
      return "\(errno) \(returnValue) \(digest(data)) \(digest(context))"
    }

    /// Where two answers first differ, in few words.
    func difference(from other: Answer) -> String {
      func place(_ a: [UInt8], _ b: [UInt8]) -> String {
        let first = zip(a, b).enumerated().first { $0.element.0 != $0.element.1 }
        guard let first else { return "\(a.count) and \(b.count) bytes" }
        return "at \(first.offset) \(first.element.0) and \(first.element.1)"
      }
      var parts: [String] = []
      if errno != other.errno { parts.append("errno \(errno) and \(other.errno)") }
      if returnValue != other.returnValue { parts.append("value \(returnValue) and \(other.returnValue)") }
      if data != other.data { parts.append("data \(place(data, other.data))") }
      if context != other.context { parts.append("context \(place(context, other.context))") }
      return parts.joined(separator: ", ")
    }
  }

  enum Failure: Error { case refused(String) }

  /// Runs it here.
  func run(on machine: Machine) throws -> Answer {
    let program = program(on: machine.linux)
    switch Verifier.verify(program, on: machine.linux).result {
    case .failure(let rejection): throw Failure.refused("\(name): \(rejection.message)")
    case .success(let verified):
      let given = try maps.map { map in
        let made = try machine.maps.makeMap(map.definition, fields: [])
        for element in map.elements { try made.update(element.key, element.value) }
        return made
      }
      let loaded = try LoadedProgram(verified, maps: given, on: machine)
      let worker = machine.makeWorker()
      let test = TestRun(loaded.linked, linux: machine.linux)
      let output = test.run(input) { loaded.run(on: worker, $0, repeat: $1) }
      guard output.errno == nil else { return Answer(errno: output.errno?.rawValue ?? 0) }
      return Answer(returnValue: output.returnValue, data: output.data, context: output.context)
    }
  }

  /// Runs it in the running kernel.
  func runInKernel(on linux: Linux) throws -> Answer {
    let bench = try KernelTestBench(maps: maps.map(\.definition))
    for (index, map) in maps.enumerated() {
      for element in map.elements { try bench.maps[index].update(element.key, element.value) }
    }
    switch try bench.load(program(on: linux)) {
    case .refused(let verdict): throw Failure.refused("\(name): the kernel refuses it with errno \(verdict.errno)")
    case .loaded(let loaded):
      var given = KernelTestInput(data: input.data, context: input.context)
      given.repeats = input.repeats
      given.flags = input.flags
      given.cpu = input.cpu
      given.batchSize = input.batchSize
      given.dataCapacity = input.dataCapacity
      given.contextCapacity = input.contextCapacity
      do {
        let result = try loaded.run(given)
        return Answer(returnValue: result.returnValue, data: result.data, context: result.context)
      } catch {
        return Answer(errno: error.errno.rawValue)
      }
    }
  }
}

/// Packets to work on.
enum TestPackets {
  static let destination: [UInt8] = [0x02, 0, 0, 0, 0, 1]
  static let source: [UInt8] = [0x02, 0, 0, 0, 0, 2]

  static func ethernet(_ type: UInt16, _ payload: [UInt8]) -> [UInt8] {
    destination + source + [UInt8(type >> 8), UInt8(truncatingIfNeeded: type)] + payload
  }

  static func bytes(_ count: Int, seed: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 + seed) &* 37 &+ 11) }
  }

  static func ipv4(_ transport: UInt8, _ payload: [UInt8], service: UInt8 = 0) -> [UInt8] {
    let total = 20 + payload.count
    return [
      0x45, service, UInt8(truncatingIfNeeded: total >> 8), UInt8(truncatingIfNeeded: total), 0x12, 0x34, 0, 0, 64,
      transport, 0xab, 0xcd, 10, 0, 0, 1, 10, 0, 0, 2,
    ] + payload
  }

  static func ipv6(_ transport: UInt8, _ payload: [UInt8], service: UInt8 = 0) -> [UInt8] {
    [0x60 | service >> 4, service << 4, 0, 0, UInt8(truncatingIfNeeded: payload.count >> 8),
      UInt8(truncatingIfNeeded: payload.count), transport, 64,
    ] + bytes(32, seed: 5) + payload
  }

  static func udp(_ count: Int) -> [UInt8] {
    [0x30, 0x39, 0, 53, 0, UInt8(truncatingIfNeeded: count + 8), 0x11, 0x22] + bytes(count)
  }

  static func vlan(_ tag: UInt16, _ type: UInt16, _ payload: [UInt8]) -> [UInt8] {
    [UInt8(tag >> 8), UInt8(truncatingIfNeeded: tag), UInt8(type >> 8), UInt8(truncatingIfNeeded: type)] + payload
  }

  static let udpIPv4 = ethernet(0x0800, ipv4(17, udp(40)))
  static let udpIPv6 = ethernet(0x86dd, ipv6(17, udp(40)))
  static let tagged = ethernet(0x8100, vlan(0x2064, 0x0800, ipv4(17, udp(40), service: 2)))
  static let doublyTagged = ethernet(0x88a8, vlan(7, 0x8100, vlan(9, 0x86dd, ipv6(17, udp(40), service: 1))))
  static let arp = ethernet(0x0806, bytes(28))
  static let withLength = ethernet(0x0020, [0xff, 0xff] + bytes(40))
}
