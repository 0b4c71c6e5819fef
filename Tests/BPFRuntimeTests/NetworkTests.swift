import BPFKernel
import BPFLinux
import BPFRuntime
import CBPFRuntime
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Packet helpers and test runs, held against what the running kernel answers.
@Suite struct NetworkKernelTests {
  static let linux = try? Linux.running()
  static let isRoot = geteuid() == 0 && linux != nil && (try? KernelEngine()) != nil
  static let reason: Comment = "bpf(2) takes root: the running kernel is not asked"

  /// With SKEP_RECORD_NETWORK=FILE in the environment, the kernel's answers become `NetworkGoldenAnswers`.
  @Test(.enabled(if: NetworkKernelTests.isRoot, NetworkKernelTests.reason))
  func recordedScripts() throws {
    let linux = try #require(Self.linux)
    let machine = Machine(linux: linux)
    var lines: [String] = []
    for script in NetworkScript.recorded {
      do {
        let kernel = try script.runInKernel(on: linux)
        lines.append("    \(script.name) \(kernel)")
        let own = try script.run(on: machine)
        #expect(own == kernel, "\(script.name): \(own.difference(from: kernel))")
      } catch {
        Issue.record("\(script.name): \(error)")
      }
    }
    guard let path = getenv("SKEP_RECORD_NETWORK"), let file = fopen(path, "w") else { return }
    let text = """
      // Made by the test `recordedScripts`.

      /// What Linux 6.18 answers to the recorded scripts: name, errno, value, packet and context.
      enum NetworkGoldenAnswers {
        static let text = \"\"\"
      \(lines.joined(separator: "\n"))
          \"\"\"
      }

      """
    fputs(text, file)
    fclose(file)
  }

  @Test(.enabled(if: NetworkKernelTests.isRoot, NetworkKernelTests.reason))
  func randomScripts() throws {
    let linux = try #require(Self.linux)
    let machine = Machine(linux: linux)
    let count = getenv("SKEP_NETWORK_SCRIPTS").flatMap { Int(String(cString: $0)) } ?? 300
    let seed = getenv("SKEP_NETWORK_SEED").flatMap { UInt64(String(cString: $0)) } ?? 1
    var fuzz = NetworkFuzz(seed: seed)
    var differing = 0
    for number in 0..<count where differing < 10 {
      let script = fuzz.script(number)
      let kernel = try script.runInKernel(on: linux)
      let own = try script.run(on: machine)
      guard own != kernel else { continue }
      differing += 1
      Issue.record("\(script.name): \(own.difference(from: kernel))\n\(script.input)\n\(script.steps)")
    }
  }
}

/// The same, held against what was recorded of Linux 6.18; needs no kernel but its types.
@Suite struct NetworkGoldenTests {
  @Test(.enabled(if: NetworkKernelTests.linux?.btf != nil, "there are no types of a kernel here"))
  func recordedAnswers() throws {
    let machine = Machine(linux: try #require(NetworkKernelTests.linux))
    var answers: [Substring: Substring] = [:]
    for line in NetworkGoldenAnswers.text.split(separator: "\n") {
      let parts = line.split(separator: " ", maxSplits: 1)
      answers[parts[0]] = parts[1]
    }
    #expect(answers.count == NetworkScript.recorded.count)
    for script in NetworkScript.recorded {
      let own = try script.run(on: machine)
      #expect(own.description == answers[script.name[...]].map(String.init), "\(script.name)")
    }
  }
}

/// What needs no kernel to be right about.
@Suite struct NetworkContextTests {
  @Test func contextIsReused() {
    let context = XDPContext()
    let packet = TestPackets.udpIPv4
    for size in [14, 82, 60] {
      let bytes = Array(packet.prefix(size))
      #expect(bytes.withUnsafeBytes { context.reset($0) })
      #expect(Array(context.linearPacket) == bytes)
      #expect(context.packetSize == size && context.metadataSize == 0)
    }
    let long = TestPackets.bytes(9000)
    #expect(long.withUnsafeBytes { context.reset($0) } == false)
    #expect(Array(context.linearPacket) == Array(packet.prefix(60)))
    #expect(long.withUnsafeBytes { context.reset($0, metadata: 0, linear: 9000) })
    #expect(context.bytes == long)
    #expect(packet.withUnsafeBytes { context.reset($0) })
    #expect(context.bytes == packet)
  }

  @Test func bufferGrowsForLongPackets() {
    let context = SocketBufferContext(type: .schedCls)
    for size in [60, 70000, 14, 9000] {
      let bytes = TestPackets.bytes(size)
      #expect(bytes.withUnsafeBytes { context.reset($0) })
      #expect(Array(context.packet) == bytes)
    }
    #expect(TestPackets.bytes(13).withUnsafeBytes { context.reset($0) } == false)
  }

  @Test func fieldsOfStructures() {
    let context = RawContext(type: .cgroupSockAddr, bytes: [UInt8](repeating: 0, count: 72))
    #expect(context.set("user_port", 0x5000, on: Linux()))
    #expect(context.set("user_ip6", 7, index: 3, on: Linux()))
    #expect(!context.set("user_ip6", 7, index: 4, on: Linux()))
    #expect(!context.set("nothing", 7, on: Linux()))
    #expect(context.bytes[25] == 0x50 && context.bytes[20] == 7)
  }

  @Test(arguments: [false, true]) func synCookies(isIPv6: Bool) throws {
    let base: UInt32 = isIPv6 ? 205 : 204
    let generate = try #require(NetworkHelpers.table[base]).body
    let check = try #require(NetworkHelpers.table[base + 2]).body
    let run = UnsafeMutablePointer<skep_run>.allocate(capacity: 1)
    defer { run.deallocate() }
    run.initialize(to: skep_run())
    var header = isIPv6 ? TestPackets.ipv6(6, []) : TestPackets.ipv4(6, [])
    // Ports, sequence number 0x01020304, no acknowledgement, 24 bytes, the option of a segment size of 1400.
    var segment: [UInt8] = [0x30, 0x39, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2, 0, 0, 0, 0, 0, 0, 2, 4, 5, 0x78]
    header.withUnsafeMutableBytes { header in
      segment.withUnsafeMutableBytes { segment in
        let ip = UInt64(UInt(bitPattern: header.baseAddress))
        let tcp = UInt64(UInt(bitPattern: segment.baseAddress))
        #expect(Int64(bitPattern: generate(ip, tcp, 19, 0, 0, run)) == -22)
        #expect(Int64(bitPattern: generate(ip, tcp, 20, 0, 0, run)) == -22)
        let cookie = generate(ip, tcp, 24, 0, 0, run)
        #expect(cookie >> 32 == (isIPv6 ? 1220 : 1300))
        segment.storeBytes(of: UInt32(0x0102_0305).bigEndian, toByteOffset: 4, as: UInt32.self)
        segment.storeBytes(
          of: (UInt32(truncatingIfNeeded: cookie) &+ 1).bigEndian, toByteOffset: 8, as: UInt32.self)
        #expect(check(ip, tcp, 0, 0, 0, run) == 0)
        segment.storeBytes(of: UInt32(0x0102_0405).bigEndian, toByteOffset: 4, as: UInt32.self)
        #expect(Int64(bitPattern: check(ip, tcp, 0, 0, 0, run)) == -13)
      }
    }
  }

  @Test func placesOfFields() {
    typealias Access = ContextBlock.Access
    func access(_ type: ProgramType, _ offset: Int, _ size: Int, store: Bool = false, _ value: Int32? = nil) -> Access {
      ContextBlock.access(.context, of: type, offset: offset, size: size, isStore: store, immediate: value)
    }
    #expect(access(.xdp, 0, 4) == .memory(offset: 256, size: 8))
    #expect(access(.xdp, 12, 4) == .memory(offset: 12, size: 4))
    #expect(access(.schedCls, 80, 4) == .memory(offset: 264, size: 8))
    #expect(access(.schedCls, 12, 4, store: true, 5) == .memory(offset: 12, size: 2))
    #expect(access(.schedCls, 12, 4, store: true, 70000) == .dropped)
    #expect(access(.schedCls, 12, 4, store: true) == .storeBelow(limit: 0xffff, offset: 12, size: 2))
    #expect(access(.schedCls, 44, 4, store: true) == .memory(offset: 44, size: 2))
    #expect(access(.kprobe, 80, 8) == .memory(offset: 80, size: 8))
  }
}
