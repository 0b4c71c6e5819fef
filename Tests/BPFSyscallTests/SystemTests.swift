import BPFISA
import BPFLinux
import BPFMaps
import BPFSyscall
import Testing

/// The commands of `bpf(2)`, asked directly.
@Suite struct SystemTests {
  private func makeClient(_ capabilities: Capabilities = .all, unprivileged: Bool? = nil) -> TestClient {
    var linux = Linux(
      config: ["CONFIG_NET": "y", "CONFIG_INET": "y", "CONFIG_BPF_EVENTS": "y", "CONFIG_BPF_JIT": "y"],
      capabilities: capabilities, possibleCPUs: 2)
    linux.takesUnprivileged = unprivileged
    return TestClient(System(linux: linux))
  }

  private func createMap(
    _ client: TestClient, type: MapType = .hash, key: UInt32 = 4, value: UInt32 = 8, entries: UInt32 = 4,
    name: String = "counts"
  ) -> Int64 {
    let it = AttributeBytes()
    it.put(type.rawValue, at: 0).put(key, at: 4).put(value, at: 8).put(entries, at: 12)
    for (place, byte) in name.utf8.prefix(16).enumerated() { it.put(byte, at: 28 + place) }
    return client.call(.mapCreate, it)
  }

  private func element(_ map: Int64, key: [UInt8], value: [UInt8], flags: UInt64 = 0)
    -> (AttributeBytes, UnsafeMutableRawBufferPointer)
  {
    let it = AttributeBytes(size: 32)
    it.put(Int32(map), at: 0).put(flags, at: 24)
    it.put(bytes: key, at: 8)
    return (it, it.put(bytes: value, at: 16))
  }

  @Test func mapsKeepElements() {
    let client = makeClient()
    let map = createMap(client)
    #expect(map > 0)
    let (write, _) = element(map, key: [1, 0, 0, 0], value: [1, 2, 3, 4, 5, 6, 7, 8])
    #expect(client.call(.mapUpdateElement, write) == 0)
    let (read, value) = element(map, key: [1, 0, 0, 0], value: [UInt8](repeating: 0, count: 8))
    #expect(client.call(.mapLookupElement, read) == 0)
    #expect(Array(value) == [1, 2, 3, 4, 5, 6, 7, 8])
    let (next, key) = element(map, key: [9, 9, 9, 9], value: [0, 0, 0, 0])
    next.put(UInt64(0), at: 8)
    #expect(client.call(.mapNextKey, next) == 0)
    #expect(Array(key.prefix(4)) == [1, 0, 0, 0])
    #expect(client.call(.mapDeleteElement, AttributeBytes(size: 32).put(Int32(99), at: 0)) == -9)
    let (missing, _) = element(map, key: [2, 0, 0, 0], value: [UInt8](repeating: 0, count: 8))
    #expect(client.call(.mapLookupElement, missing) == -2)
    let (exists, _) = element(map, key: [1, 0, 0, 0], value: [UInt8](repeating: 0, count: 8), flags: 1)
    #expect(client.call(.mapUpdateElement, exists) == -17)
  }

  @Test func attributesAreChecked() {
    let client = makeClient()
    let long = AttributeBytes(size: 200).put(UInt32(1), at: 0).put(UInt8(1), at: 190)
    #expect(client.call(.mapCreate, long) == -7)
    let unknown = AttributeBytes().put(UInt32(2), at: 0).put(UInt8(1), at: 150)
    #expect(client.call(.mapCreate, unknown) == -22)
    #expect(client.call(5000, address: long.address, size: 8) == -22)
    #expect(client.call(0, address: 8, size: 8) == -14)
    #expect(client.call(0, address: long.address, size: 5000) == -7)
    #expect(createMap(client, name: "a b") == -22)
    #expect(createMap(client, key: 0) == -22)
    #expect(createMap(client, type: MapType(rawValue: 99)) == -22)
    let info = AttributeBytes(size: 16).put(Int32(77), at: 0)
    #expect(client.call(.objectInfo, info) == -77)
  }

  private func program(_ code: [Instruction], type: ProgramType = .xdp, log: Int = 0)
    -> (AttributeBytes, UnsafeMutableRawBufferPointer?)
  {
    let it = AttributeBytes().put(type.rawValue, at: 0).put(UInt32(code.count), at: 4)
    it.put(bytes: Instruction.encode(code), at: 8)
    it.put(bytes: Array("GPL".utf8) + [0], at: 16)
    var text: UnsafeMutableRawBufferPointer?
    if log > 0 {
      it.put(UInt32(1), at: 24).put(UInt32(log), at: 28)
      text = it.put(bytes: [UInt8](repeating: 0xff, count: log), at: 32)
    }
    for (place, byte) in "main".utf8.enumerated() { it.put(byte, at: 48 + place) }
    return (it, text)
  }

  private let returnsTwo = [
    Instruction(opcode: Class.alu64 | ALU.mov, dst: 0, immediate: 2), Instruction(opcode: Opcode.exit),
  ]
  private let readsNothing = [
    Instruction(opcode: Class.alu64 | ALU.mov | 8, dst: 0, src: 5), Instruction(opcode: Opcode.exit),
  ]

  @Test func programsAreVerified() {
    let client = makeClient()
    #expect(client.call(.programLoad, program(returnsTwo).0) > 0)
    #expect(client.call(.programLoad, program(readsNothing).0) == -13)
    let (it, text) = program(readsNothing, log: 4096)
    #expect(client.call(.programLoad, it) == -13)
    let log = String(decoding: (text.map(Array.init) ?? []).prefix { $0 != 0 }, as: UTF8.self)
    #expect(log.contains("R5 !read_ok"))
    #expect(it.word(140) == UInt32(log.utf8.count) + 1)
    let (short, _) = program(readsNothing, log: 20)
    #expect(client.call(.programLoad, short) == -28)
    #expect(short.word(140) == it.word(140))
    let (odd, _) = program(returnsTwo)
    odd.put(UInt32(100), at: 28)
    #expect(client.call(.programLoad, odd) == -22)
  }

  @Test func programsTellAboutThemselves() {
    let client = makeClient()
    let load = client.call(.programLoad, program(returnsTwo).0)
    let it = AttributeBytes(size: 16).put(Int32(load), at: 0).put(UInt32(232), at: 4)
    let info = it.put(bytes: [UInt8](repeating: 0, count: 232), at: 8)
    #expect(client.call(.objectInfo, it) == 0)
    #expect(info.load(fromByteOffset: 0, as: UInt32.self) == ProgramType.xdp.rawValue)
    #expect(info.load(fromByteOffset: 20, as: UInt32.self) == 16)
    #expect(info.load(fromByteOffset: 216, as: UInt32.self) == 2)
    #expect(info.load(fromByteOffset: 84, as: UInt32.self) == 1)
    // The kernel's own answer for `r0 = 2; exit`.
    #expect(Array(info[64..<69]) == Array("main".utf8) + [0])
  }

  @Test func programsRun() {
    let client = makeClient()
    let load = client.call(.programLoad, program(returnsTwo).0)
    let it = AttributeBytes(size: 76).put(Int32(load), at: 0)
    it.put(UInt32(20), at: 8).put(UInt32(3), at: 32)
    it.put(bytes: [UInt8](repeating: 1, count: 20), at: 16)
    #expect(client.call(.programTestRun, it) == 0)
    #expect(it.word(4) == 2)
    let short = AttributeBytes(size: 76).put(Int32(load), at: 0)
    #expect(client.call(.programTestRun, short) == -22)
  }

  @Test func objectsLiveAsLongAsTheyAreUsed() {
    let client = makeClient()
    let load = client.call(.programLoad, program(returnsTwo).0)
    let next = AttributeBytes(size: 16)
    #expect(client.call(.programNextID, next) == 0)
    #expect(next.word(4) == 1)
    let pin = AttributeBytes(size: 20).put(Int32(load), at: 8)
    pin.put(bytes: Array("/sys/fs/bpf/p".utf8) + [0], at: 0)
    #expect(client.call(.objectPin, pin) == 0)
    client.close(Int32(load))
    #expect(client.call(.programNextID, next) == 0)
    let get = AttributeBytes(size: 20)
    get.put(bytes: Array("/sys/fs/bpf/p".utf8) + [0], at: 0)
    let again = client.call(.objectGet, get)
    #expect(again > 0)
    client.unpin("/sys/fs/bpf/p")
    client.close(Int32(again))
    #expect(client.call(.programNextID, next) == -2)
    let map = createMap(client)
    #expect(client.call(.mapNextID, next) == 0)
    client.close(Int32(map))
    #expect(client.call(.mapNextID, next) == -2)
  }

  @Test func programsKeepTheirMaps() {
    let client = makeClient()
    let map = createMap(client, type: .array, entries: 1)
    let code = [
      Instruction(opcode: Opcode.loadImmediate64, dst: 1, src: PseudoSource.mapFD, immediate: Int32(map)),
      Instruction(opcode: 0),
    ] + returnsTwo
    let load = client.call(.programLoad, program(code).0)
    #expect(load > 0)
    client.close(Int32(map))
    let next = AttributeBytes(size: 16)
    #expect(client.call(.mapNextID, next) == 0)
    let byID = AttributeBytes(size: 16).put(next.word(4), at: 0)
    #expect(client.call(.mapDescriptorByID, byID) > 0)
    client.closeAll()
    #expect(client.call(.mapNextID, next) == -2)
    let (stray, text) = program(code, log: 4096)
    #expect(client.call(.programLoad, stray) == -9)
    let log = String(decoding: (text.map(Array.init) ?? []).prefix { $0 != 0 }, as: UTF8.self)
    #expect(log.contains("fd \(map) is not pointing to valid bpf_map"))
  }

  @Test func privilegesAreChecked() {
    let none = makeClient([], unprivileged: false)
    #expect(createMap(none) == -1)
    #expect(none.call(.programLoad, program(returnsTwo).0) == -1)
    #expect(none.call(.programNextID, AttributeBytes(size: 16)) == -1)
    let user = makeClient([], unprivileged: true)
    #expect(createMap(user) > 0)
    #expect(createMap(user, type: .lruHash) == -1)
    #expect(user.call(.programLoad, program(returnsTwo).0) == -1)
    #expect(user.call(.programLoad, program(returnsTwo, type: .socketFilter).0) > 0)
    let bpf = makeClient([.bpf])
    #expect(bpf.call(.programLoad, program(returnsTwo).0) == -1)
  }

  @Test func batchesComeInPieces() {
    let client = makeClient()
    let map = createMap(client, entries: 16)
    let it = AttributeBytes(size: 56).put(UInt32(3), at: 32).put(Int32(map), at: 36)
    it.put(bytes: [1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0], at: 16)
    it.put(bytes: [UInt8](repeating: 7, count: 24), at: 24)
    #expect(client.call(.mapUpdateBatch, it) == 0)
    #expect(it.word(32) == 3)
    let look = AttributeBytes(size: 56).put(UInt32(16), at: 32).put(Int32(map), at: 36)
    look.put(bytes: [0, 0, 0, 0], at: 8)
    look.put(bytes: [UInt8](repeating: 0, count: 64), at: 16)
    let values = look.put(bytes: [UInt8](repeating: 0, count: 128), at: 24)
    #expect(client.call(.mapLookupBatch, look) == -2)
    #expect(look.word(32) == 3)
    #expect(values.prefix(24).allSatisfy { $0 == 7 })
  }
}
