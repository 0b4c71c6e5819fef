import BPFLinux
import CBPFSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Maps and programs that live in the running kernel for as long as this does, to be run with `BPF_PROG_TEST_RUN`.
///
///     let bench = try KernelTestBench(maps: program.maps)
///     guard case .loaded(let loaded) = try bench.load(program) else { return }
///     let result = try loaded.run(KernelTestInput(data: packet))
///
/// Nothing is attached; with the bench, everything is closed again. Several threads may run what is loaded, one may
/// load at a time.
public final class KernelTestBench {
  /// In the order of their making.
  public private(set) var maps: [KernelMap] = []
  private let loading = Loading()
  private let capabilities: Capabilities
  private let possibleCPUs = KernelTestBench.possibleCPUs

  /// Creates the maps and fills in what their definitions say of contents, freezing included.
  public init(
    maps definitions: [MapDefinition] = [], capabilities: Capabilities = .all
  ) throws(KernelEngineError) {
    _ = try KernelEngine()
    self.capabilities = capabilities
    for definition in definitions { try add(definition) }
  }

  /// Creates one more map.
  @discardableResult
  public func add(_ definition: MapDefinition) throws(KernelEngineError) -> KernelMap {
    let map = KernelMap(definition, try loading.create(definition), possibleCPUs: possibleCPUs)
    maps.append(map)
    return map
  }

  /// How many values a per-CPU map has at a key.
  public static let possibleCPUs: Int =
    (try? Linux.running())?.possibleCPUs ?? max(1, sysconf(Int32(_SC_NPROCESSORS_CONF)))

  /// Keeps the calling thread on the first CPU: the values of per-CPU maps are then the first one's.
  public static func stayOnFirstCPU() {
    _ = skep_stay_on_cpu(0)
  }

  /// What became of a program.
  public enum Outcome {
    case loaded(KernelProgram)
    case refused(KernelVerdict)
  }

  /// Loads a program.
  ///
  /// - Parameter indices: for each of `program.maps`, which of the bench's it is; the same ones where nil.
  public func load(_ program: Program, maps indices: [Int]? = nil) throws(KernelEngineError) -> Outcome {
    var used: [Descriptor] = []
    for index in indices ?? Array(program.maps.indices) {
      guard maps.indices.contains(index) else { throw .map(name: "#\(index)", errno: .ENOENT) }
      used.append(maps[index].descriptor)
    }
    let (descriptor, verdict) = try loading.load(program, level: 0, capabilities: capabilities, maps: used)
    guard let descriptor else { return .refused(verdict) }
    return .loaded(KernelProgram(program.type, descriptor, bench: self))
  }
}

/// What a test run is given. Empty data and contexts are not passed at all.
public struct KernelTestInput: Sendable {
  public var data: [UInt8] = []
  public var context: [UInt8] = []
  /// 0: once, and nothing is said of it to the kernel.
  public var repeats: UInt32 = 0
  public var flags: UInt32 = 0
  public var cpu: UInt32 = 0
  public var batchSize: UInt32 = 0
  /// Room for the packet and the context that come out; 0 asks for none. Program types that have none to give
  /// refuse to be asked.
  public var dataCapacity = 0
  public var contextCapacity = 0

  public init(data: [UInt8] = [], context: [UInt8] = []) {
    self.data = data
    self.context = context
  }
}

/// What a test run gives.
public struct KernelTestResult: Sendable, Hashable {
  public var returnValue: UInt32
  /// Nanoseconds of one run, on average.
  public var duration: UInt32
  public var data: [UInt8]
  public var context: [UInt8]
}

/// A program in the running kernel.
///
/// For one thread at a time: memory that is passed to the kernel is kept between runs. `copy` is for another one.
public final class KernelProgram: @unchecked Sendable {
  public let type: ProgramType
  /// The kernel's number for it.
  public let id: UInt32
  let descriptor: Descriptor
  private let bench: KernelTestBench
  private let attributes: UnsafeMutableRawBufferPointer
  private var input = Buffer()
  private var output = Buffer()
  private var contextInput = Buffer()
  private var contextOutput = Buffer()

  /// Memory that grows.
  private struct Buffer {
    var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    mutating func reserve(_ count: Int) {
      guard memory.count < count else { return }
      memory.deallocate()
      memory = .allocate(byteCount: max(count, 64), alignment: 16)
    }

    mutating func fill(_ bytes: [UInt8]) {
      reserve(bytes.count)
      bytes.withUnsafeBytes { memory.copyMemory(from: $0) }
    }

    func prefix(_ count: Int) -> [UInt8] { Array(UnsafeRawBufferPointer(memory).prefix(count)) }

    var address: UInt64 { UInt64(UInt(bitPattern: memory.baseAddress)) }
  }

  init(_ type: ProgramType, _ descriptor: Descriptor, bench: KernelTestBench) {
    self.type = type
    self.descriptor = descriptor
    self.bench = bench
    id = SystemCall.objectID(descriptor)
    attributes = .allocate(byteCount: 80, alignment: 8)
  }

  /// The same program, for another thread.
  public func copy() -> KernelProgram { KernelProgram(type, descriptor, bench: bench) }

  deinit {
    attributes.deallocate()
    for buffer in [input, output, contextInput, contextOutput] { buffer.memory.deallocate() }
  }

  /// Runs the program once, or as often as `test` says.
  public func run(_ test: KernelTestInput) throws(SystemCallError) -> KernelTestResult {
    attributes.initializeMemory(as: UInt8.self, repeating: 0)
    func put(_ value: UInt32, _ offset: Int) { attributes.storeBytes(of: value, toByteOffset: offset, as: UInt32.self) }
    func put(_ value: UInt64, _ offset: Int) { attributes.storeBytes(of: value, toByteOffset: offset, as: UInt64.self) }
    put(UInt32(bitPattern: descriptor.number), 0)
    if !test.data.isEmpty {
      input.fill(test.data)
      put(UInt32(truncatingIfNeeded: test.data.count), 8)
      put(input.address, 16)
    }
    if test.dataCapacity > 0 {
      output.reserve(test.dataCapacity)
      put(UInt32(truncatingIfNeeded: test.dataCapacity), 12)
      put(output.address, 24)
    }
    put(test.repeats, 32)
    if !test.context.isEmpty {
      contextInput.fill(test.context)
      put(UInt32(truncatingIfNeeded: test.context.count), 40)
      put(contextInput.address, 48)
    }
    if test.contextCapacity > 0 {
      contextOutput.reserve(test.contextCapacity)
      put(UInt32(truncatingIfNeeded: test.contextCapacity), 44)
      put(contextOutput.address, 56)
    }
    put(test.flags, 64)
    put(test.cpu, 68)
    put(test.batchSize, 72)
    let result = SystemCall.make(.programTestRun, attributes)
    guard result >= 0 else { throw SystemCallError(errno: Errno(rawValue: Int32(truncatingIfNeeded: -result))) }
    func word(_ offset: Int) -> UInt32 { attributes.load(fromByteOffset: offset, as: UInt32.self) }
    var context: [UInt8] = []
    if test.contextCapacity > 0 {
      context = contextOutput.prefix(Int(word(44)))
    } else if type == .syscall {
      // What such a program writes to its context goes back to where it came from.
      context = contextInput.prefix(test.context.count)
    }
    return KernelTestResult(
      returnValue: word(4), duration: word(36),
      data: test.dataCapacity > 0 ? output.prefix(Int(word(12))) : [], context: context)
  }
}
