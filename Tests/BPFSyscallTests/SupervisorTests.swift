import BPFLinux
import BPFSyscall
import BTF
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Commands that run on a system of ours: bpftool, and clients in C.
@Suite(.serialized) struct SupervisorTests {
  static let folder = #filePath.split(separator: "/").dropLast(2).reduce("") { $0 + "/" + $1 }

  /// Whether this machine lets commands be supervised (containers may not).
  static let canSupervise = (try? Supervisor(System(linux: Linux()), command: ["true"]).wait()) == 0
  static func has(_ tool: String) -> Bool {
    let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/bin:/usr/sbin"
    return path.split(separator: ":").contains { access("\($0)/\(tool)", X_OK) == 0 }
  }
  static var hasBPFTool: Bool { canSupervise && has("bpftool") }
  static let kernelTypes = try? BTF.map(path: "/sys/kernel/btf/vmlinux")
  static var hasCompiler: Bool { canSupervise && has("cc") }

  private func makeSystem() -> System {
    System(
      linux: Linux(
        btf: Self.kernelTypes,
        config: ["CONFIG_NET": "y", "CONFIG_INET": "y", "CONFIG_BPF_EVENTS": "y", "CONFIG_BPF_JIT": "y"],
        possibleCPUs: 2))
  }

  /// What a shell script prints on a fresh system, and its exit code.
  private func run(_ script: String) throws -> (text: String, code: Int32) {
    var path = Array("/tmp/skep-supervisor-XXXXXX\0".utf8).map { CChar(bitPattern: $0) }
    let file = mkstemp(&path)
    #expect(file >= 0)
    let name = String(decoding: path.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(file)
      unlink(name)
    }
    let code = try Supervisor(makeSystem(), command: ["sh", "-c", "exec >\(name) 2>&1\n" + script]).wait()
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = pread(file, &chunk, chunk.count, off_t(text.count))
      guard count > 0 else { break }
      text += chunk[..<count]
    }
    return (String(decoding: text, as: UTF8.self), code)
  }

  @Test(.enabled(if: SupervisorTests.canSupervise, "this machine lets no command be supervised"))
  func exitCodesAreTheCommands() throws {
    #expect(try run("exit 3").code == 3)
    #expect(try run("kill -9 $$").code == 137)
    #expect(try run("echo hello").text == "hello\n")
  }

  @Test(.enabled(if: SupervisorTests.hasBPFTool, "bpftool is not installed, or no command can be supervised"))
  func bpftoolUsesMaps() throws {
    let (text, code) = try run(
      """
      B=/sys/fs/bpf
      bpftool map create $B/m type hash key 4 value 4 entries 16 name m &&
      bpftool map update pinned $B/m key 1 0 0 0 value 1 2 3 4 &&
      bpftool map lookup pinned $B/m key 1 0 0 0 &&
      bpftool map dump pinned $B/m
      bpftool map delete pinned $B/m key 2 0 0 0
      bpftool map create $B/q type queue key 0 value 4 entries 2 name q
      bpftool map enqueue pinned $B/q value 1 2 3 4
      bpftool map peek pinned $B/q
      bpftool map dequeue pinned $B/q
      bpftool map dequeue pinned $B/q
      bpftool map create $B/a type array key 4 value 4 entries 1 name a
      bpftool map freeze pinned $B/a
      bpftool map update pinned $B/a key 0 0 0 0 value 1 0 0 0
      bpftool map create $B/a type array key 4 value 4 entries 1 name a
      ls $B
      rm $B/m $B/q
      bpftool map list | grep -c name
      """)
    #expect(
      text == """
        key: 01 00 00 00  value: 01 02 03 04
        key: 01 00 00 00  value: 01 02 03 04
        Found 1 element
        Error: delete failed: No such file or directory
        value: 01 02 03 04
        value: 01 02 03 04
        Error: empty map
        Error: update failed: Operation not permitted
        Error: can't pin the object (/sys/fs/bpf/a): File exists
        a
        m
        q
        1

        """)
    #expect(code == 0)
  }

  @Test(
    .enabled(if: SupervisorTests.hasBPFTool, "bpftool is not installed, or no command can be supervised"),
    .enabled(if: SupervisorTests.kernelTypes != nil, "the machine has no types of a kernel"))
  func bpftoolLoadsPrograms() throws {
    let examples = Self.folder + "/../Examples"
    let (text, _) = try run(
      """
      B=/sys/fs/bpf
      cd \(examples)
      bpftool prog load xdp_bad.bpf.o $B/bad 2>&1 | grep -v Warning | head -9
      bpftool prog load xdp_good.bpf.o $B/good && bpftool prog show pinned $B/good | head -1
      bpftool prog dump xlated pinned $B/good | grep -v '^;'
      head -c 64 /dev/zero >/tmp/skep-packet.$$
      bpftool prog run pinned $B/good data_in /tmp/skep-packet.$$ | cut -d, -f1
      rm /tmp/skep-packet.$$ $B/good
      bpftool prog list
      """)
    #expect(
      text.withoutIDs == """
        libbpf: prog 'xdp_bad': BPF program load failed: Permission denied
        libbpf: prog 'xdp_bad': -- BEGIN PROG LOAD LOG --
        0: R1=ctx() R10=fp0
        ; void *data = (void *)(long)ctx->data; @ xdp_bad.bpf.c:8
        0: (61) r1 = *(u32 *)(r1 +0)          ; R1=pkt(r=0)
        ; char first = *(char *)data; @ xdp_bad.bpf.c:9
        1: (71) r1 = *(u8 *)(r1 +0)
        invalid access to packet, off=0 size=1, R1(id=0,off=0,r=0)
        R1 offset is outside of the packet
        7: xdp  name xdp_good  tag 85dc36a6b61d465e  gpl
        int xdp_good(struct xdp_md * ctx):
           0: (b4) w0 = 2
           1: (79) r2 = *(u64 *)(r1 +8)
           2: (79) r1 = *(u64 *)(r1 +0)
           3: (bf) r3 = r1
           4: (07) r3 += 1
           5: (2d) if r3 > r2 goto pc+3
           6: (71) r1 = *(u8 *)(r1 +0)
           7: (16) if w1 == 0x0 goto pc+1
           8: (b4) w0 = 1
           9: (95) exit
        Return value: 2

        """.withoutIDs)
  }

  /// A static client: maps shared memory, waits for a ring buffer, forks and duplicates.
  @Test(.enabled(if: SupervisorTests.hasCompiler, "there is no C compiler, or no command can be supervised"))
  func clientsMapAndWait() throws {
    let (text, code) = try run(
      """
      D=$(mktemp -d) || exit 9
      cc -O1 -o $D/client \(Self.folder)/Clients/ring_client.c || exit 9
      $D/client
      C=$?
      rm -r $D
      exit $C
      """)
    #expect(text == "200 records, 0 wrong, counter 277\nchild 0\nmaps left 1\n")
    #expect(code == 0)
  }

  static var hasLibBPF: Bool {
    hasBPFTool && hasCompiler && has("clang") && access("/usr/include/bpf/libbpf.h", R_OK) == 0
  }

  /// An unchanged libbpf program: skeleton, global variables, a link, a ring buffer fed by test runs.
  @Test(
    .enabled(if: SupervisorTests.hasLibBPF, "clang, bpftool or libbpf's headers are missing"),
    .enabled(if: SupervisorTests.kernelTypes != nil, "the machine has no types of a kernel"))
  func skeletonsWork() throws {
    let (text, code) = try run(
      """
      D=$(mktemp -d) || exit 9
      trap 'rm -r $D' EXIT
      clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c \(Self.folder)/Clients/skeleton.bpf.c \
        -o $D/skeleton.bpf.o || exit 9
      bpftool gen skeleton $D/skeleton.bpf.o name skeleton >$D/skeleton.skel.h || exit 9
      cc -O1 -I$D -o $D/client \(Self.folder)/Clients/skeleton_client.c -lbpf -lelf -lz || exit 9
      $D/client
      """)
    #expect(text == "attached 1\n300 events, last 3050, counter 305, bytes 14850\nseen 5\n")
    #expect(code == 0)
  }
}

extension String {
  /// Ids at the beginning of lines are counted by whoever answers.
  fileprivate var withoutIDs: String {
    split(separator: "\n", omittingEmptySubsequences: false).map { line -> Substring in
      guard let colon = line.firstIndex(of: ":"), line[..<colon].allSatisfy(\.isNumber) else { return line }
      return line[colon...]
    }.joined(separator: "\n")
  }
}
