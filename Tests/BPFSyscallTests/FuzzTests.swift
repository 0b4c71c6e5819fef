import BPFLinux
import BPFSyscall
import Testing

/// Calls that make no sense.
@Suite struct SystemFuzzTests {
  /// Numbers that somebody else can repeat.
  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &+ 0x9e37_79b9_7f4a_7c15
      var z = state
      z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
      z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
      return z ^ (z >> 31)
    }
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func randomCallsHarmNobody(seed: UInt64) {
    var random = Generator(state: seed)
    let linux = Linux(config: ["CONFIG_NET": "y", "CONFIG_INET": "y"], possibleCPUs: 2)
    let client = TestClient(System(linux: linux))
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
    defer { room.deallocate() }
    let interesting: [UInt64] = [0, 1, 2, 3, 4, 8, 16, 64, 4096, 0xffff_ffff, .max, 0x8000_0000, 101, 102, 103]
    for _ in 0..<3000 {
      for index in 0..<room.count where random.next() % 4 == 0 {
        room[index] = UInt8(truncatingIfNeeded: random.next() >> (random.next() % 8))
      }
      let it = AttributeBytes(size: 168)
      for offset in stride(from: 0, to: 168, by: 4) where random.next() % 3 == 0 {
        switch random.next() % 4 {
        case 0: it.put(UInt32(truncatingIfNeeded: random.next()), at: offset)
        case 1 where offset % 8 == 0:
          it.put(UInt64(UInt(bitPattern: room.baseAddress)) &+ random.next() % 2048, at: offset)
        default: it.put(UInt32(truncatingIfNeeded: interesting.randomElement(using: &random) ?? 0), at: offset)
        }
      }
      // Most calls know less than there is.
      let command = UInt32(random.next() % 39)
      let size = [4, 8, 16, 20, 32, 56, 76, 168].randomElement(using: &random) ?? 168
      _ = client.call(command, address: it.address, size: UInt32(size))
      if client.openCount > 40 { client.closeAll() }
    }
    client.closeAll()
    let next = AttributeBytes(size: 16)
    for command in [SystemCommand.programNextID, .mapNextID, .linkNextID] {
      #expect(client.call(command, next) == -2)
    }
  }
}
