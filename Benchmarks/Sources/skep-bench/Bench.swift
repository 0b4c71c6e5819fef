import BPFObject
import Glibc
import Skep

/// One of `Programs`: the same C for BPF and for the machine.
struct Bench {
  let name: String
  let source: String

  /// The order; others follow by name.
  private static let order = [
    "integer_loop", "sieve", "copy", "compare", "checksum", "siphash", "murmur3", "parse", "hash_lookup", "calls",
    "empty",
  ]
  /// How many of them the reference numbers are about.
  static let referenceCount = 7

  static func all(in folder: String, only names: [String]) -> [Bench] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var found: [Bench] = []
    while let entry = readdir(directory) {
      let file = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard file.hasSuffix(".c") else { continue }
      let name = String(file.dropLast(2))
      if names.isEmpty || names.contains(name) { found.append(Bench(name: name, source: "\(folder)/\(file)")) }
    }
    func rank(_ bench: Bench) -> Int { order.firstIndex(of: bench.name) ?? order.count }
    return found.sorted { (rank($0), $0.name) < (rank($1), $1.name) }
  }

  var isReference: Bool { Self.order.prefix(Self.referenceCount).contains(name) }

  /// A packet of Ethernet, IPv4 and UDP with a payload that has no pattern: 1,500 bytes and a header.
  static let packet: [UInt8] = {
    var bytes: [UInt8] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]
    bytes += [0x45, 0, 5, 0xdc, 0x12, 0x34, 0x40, 0, 64, 17, 0, 0, 10, 0, 3, 7, 10, 0, 0, 99]
    bytes += [0x30, 0x39, 0x00, 0x35, 5, 0xc8, 0, 0]
    var state: UInt64 = 0x9e37_79b9_7f4a_7c15
    while bytes.count < 1514 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      bytes.append(UInt8(truncatingIfNeeded: state >> 56))
    }
    return bytes
  }()
}

/// What can run a benchmark so many times.
protocol BenchEngine {
  var name: String { get }
  /// What it returned last, and where the engine measures that itself, nanoseconds of one run.
  func run(_ count: Int) throws -> (value: UInt32, nanoseconds: Double?)
}

/// Compiled by clang for this machine.
final class NativeEngine: BenchEngine {
  typealias Run = @convention(c) (UnsafeMutablePointer<UInt8>, UInt64, UInt64) -> Int32

  let name = "native"
  private let function: Run
  private let packet: UnsafeMutablePointer<UInt8>

  init(_ bench: Bench, compiler: String, folder: String) throws(BenchError) {
    let library = "\(folder)/\(bench.name).so"
    let command = [compiler, "-O2", "-fPIC", "-shared", "-o", library, bench.source]
    guard Shell.run(command) == 0 else { throw BenchError("\(bench.source) does not compile with \(compiler)") }
    guard let handle = dlopen(library, RTLD_NOW), let symbol = dlsym(handle, "bench_run") else {
      throw BenchError("\(library) has no bench_run")
    }
    function = unsafeBitCast(symbol, to: Run.self)
    packet = .allocate(capacity: Bench.packet.count)
    packet.initialize(from: Bench.packet, count: Bench.packet.count)
  }

  deinit { packet.deallocate() }

  func run(_ count: Int) -> (value: UInt32, nanoseconds: Double?) {
    (UInt32(bitPattern: function(packet, UInt64(Bench.packet.count), UInt64(count))), nil)
  }
}

/// Skep's engines, and the kernel's.
struct ProgramEngine: BenchEngine {
  let name: String
  let program: RunnableProgram
  private let loaded: LoadedObject

  init(_ name: String, _ object: RunnableObject, _ engine: RunEngine) throws(RunError) {
    self.name = name
    loaded = try object.load(engine: engine)
    program = loaded.programs[0]
    for map in loaded.maps where map.definition.type == .hash {
      for key in 0..<map.definition.maxEntries {
        try map.set(.integer(Int64(key)), to: .integer(Int64(key) + 1))
      }
    }
  }

  static func load(_ name: String, _ object: RunnableObject, _ engine: RunEngine) -> Result<ProgramEngine, RunError> {
    Result { () throws(RunError) in try ProgramEngine(name, object, engine) }
  }

  /// A test run in the kernel takes long to set up; what a run takes it says itself, in whole nanoseconds.
  func run(_ count: Int) throws -> (value: UInt32, nanoseconds: Double?) {
    let result = try program.run(RunInput(data: Bench.packet, repeats: UInt32(count)))
    return (result.returnValue, name == "kernel" ? Double(result.nanoseconds) : nil)
  }
}

struct BenchError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

enum Shell {
  /// Runs a command and waits; its exit code, or -1.
  static func run(_ words: [String]) -> Int32 {
    var child: pid_t = 0
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    guard posix_spawnp(&child, words[0], nil, nil, &arguments, environ) == 0 else { return -1 }
    var status: Int32 = 0
    while waitpid(child, &status, 0) < 0 { guard errno == EINTR else { return -1 } }
    return status & 0x7f == 0 ? (status >> 8) & 0xff : -1
  }
}

enum Clock {
  static var nanoseconds: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

extension Array where Element == Double {
  /// 0 where there are none.
  var median: Double {
    guard !isEmpty else { return 0 }
    let sorted = sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  var geometricMean: Double {
    guard !isEmpty else { return 0 }
    return exp(reduce(0) { $0 + log($1) } / Double(count))
  }
}
