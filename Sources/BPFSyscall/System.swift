import BPFISA
import BPFLinux
import BPFMaps
import BPFRuntime
import BTF
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// The `bpf(2)` of a Linux in user space: its maps, programs, types and links, and what its commands answer.
///
/// How calls arrive is somebody else's business: `Client` says how to reach the memory and the descriptors of whoever
/// calls. Calls may be answered on any number of threads at once.
///
///     let system = System(linux: linux)
///     switch system.call(command, attributes: address, size: size, from: client) { … }
///
/// ## Hostile clients
/// Attributes are copied once; what they point to is read with checked lengths, and what is read twice is never taken
/// to be the same. A client's mistakes are answered with an error number, to that client.
public final class System: Sendable {
  /// What clients may do is said by `linux.capabilities`.
  public let linux: Linux
  public let machine: Machine
  /// Told what the system does not do, in one line each.
  public let log: (@Sendable (String) -> Void)?
  let tables: Tables
  let processors: [Processor]
  let symbols: KernelSymbols

  public init(linux: Linux, surroundings: Surroundings = Surroundings(), log: (@Sendable (String) -> Void)? = nil) {
    self.linux = linux
    self.log = log
    let machine = Machine(linux: linux, cpuCount: linux.possibleCPUs, surroundings: surroundings)
    self.machine = machine
    processors = (0..<machine.cpuCount).map { Processor(machine.makeWorker(cpu: $0)) }
    symbols = KernelSymbols(linux.symbols)
    let tables = Tables(linux)
    self.tables = tables
    machine.maps.interfaceExists = { index in
      var name = [CChar](repeating: 0, count: Int(IF_NAMESIZE))
      return if_indextoname(index, &name) != nil
    }
    machine.maps.mapByNumber = { number in
      guard let client = CurrentClient.client else { return nil }
      return (try? client.map(Int32(bitPattern: number)))?.0.map
    }
    machine.maps.programByNumber = { [linux] number in
      guard let client = CurrentClient.client, let program = try? client.program(Int32(bitPattern: number)),
        let runnable = try? program.runnable(on: linux)
      else { return nil }
      return ResolvedProgram(program: runnable.loaded.header, id: program.id, keepAlive: program)
    }
  }

  /// Answers one call.
  ///
  /// - Parameters:
  ///   - address: where the attributes are in the client's memory.
  ///   - size: how many bytes of them the client has.
  public func call(_ number: UInt32, attributes address: UInt64, size: UInt32, from client: any Client) -> Answer {
    do throws(Errno) {
      let attributes = try Attributes(client, address, size)
      guard let command = SystemCommand(rawValue: number) else { throw .EINVAL }
      return try CurrentClient.during(client) { () throws(Errno) in try perform(command, attributes, client) }
    } catch {
      return .failure(error)
    }
  }

  func may(_ capability: Capabilities) -> Bool { linux.capabilities.allows(capability) }

  private func perform(_ command: SystemCommand, _ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    if command == .programQuery {
      guard may(.bpf) || may(.netAdmin) else { throw .EPERM }
    }
    try it.check(command)
    switch command {
    case .mapCreate: return try createMap(it, client)
    case .mapLookupElement: return try lookupElement(it, client)
    case .mapUpdateElement: return try updateElement(it, client)
    case .mapDeleteElement: return try deleteElement(it, client)
    case .mapNextKey: return try nextKey(it, client)
    case .mapLookupAndDeleteElement: return try takeElement(it, client)
    case .mapFreeze: return try freeze(it, client)
    case .mapLookupBatch: return try lookupBatch(it, client, removing: false)
    case .mapLookupAndDeleteBatch: return try lookupBatch(it, client, removing: true)
    case .mapUpdateBatch: return try changeBatch(it, client, updating: true)
    case .mapDeleteBatch: return try changeBatch(it, client, updating: false)
    case .programLoad:
      var load = ProgramLoad(self, it, client)
      return try load.answer()
    case .programTestRun: return try testRun(it, client)
    case .programBindMap: return try bindMap(it, client)
    case .programStreamRead: return try readStream(it, client)
    case .typeInformationLoad: return try loadTypes(it, client)
    case .objectPin: return try pin(it, client)
    case .objectGet: return try get(it, client)
    case .objectInfo: return try info(it, client)
    case .programNextID: return try nextID(it, client) { tables.nextProgram($0) }
    case .mapNextID: return try nextID(it, client) { tables.nextMap($0, machine.maps) }
    case .typeInformationNextID: return try nextID(it, client) { tables.nextTypes($0) }
    case .linkNextID: return try nextID(it, client) { tables.nextLink($0) }
    case .programDescriptorByID: return try byID(it) { tables.program($0) }
    case .mapDescriptorByID: return try mapByID(it)
    case .typeInformationDescriptorByID: return try typesByID(it)
    case .linkDescriptorByID: return try byID(it) { tables.link($0) }
    case .programAttach, .programDetach: return try attach(it, client)
    case .programQuery: return try query(it, client)
    case .rawTracepointOpen: return try openRawTracepoint(it, client)
    case .linkCreate: return try createLink(it, client)
    case .linkUpdate: return try updateLink(it, client)
    case .linkDetach: return try detachLink(it, client)
    case .iteratorCreate: return try createIterator(it, client)
    case .taskDescriptorQuery: return try queryDescriptor(it, client)
    case .enableStatistics: return try enableStatistics(it)
    case .tokenCreate: return try createToken(it, client)
    }
  }

  // MARK: Ids

  private func nextID(
    _ it: Attributes, _ client: any Client, _ next: (UInt32) -> UInt32?
  ) throws(Errno) -> Answer {
    guard it.word(0) < UInt32(Int32.max) else { throw .EINVAL }
    guard may(.sysAdmin) else { throw .EPERM }
    guard let id = next(it.word(0)) else { throw .ENOENT }
    try client.write(id, to: it.address &+ 4)
    return .value(0)
  }

  private func byID(_ it: Attributes, _ find: (UInt32) -> SystemObject?) throws(Errno) -> Answer {
    guard may(.sysAdmin) else { throw .EPERM }
    guard let object = find(it.word(0)) else { throw .ENOENT }
    return .descriptor(object, access: [.read, .write])
  }

  private func mapByID(_ it: Attributes) throws(Errno) -> Answer {
    let flags = MapFlags(rawValue: it.word(8))
    guard flags.isSubset(of: [.readOnly, .writeOnly]) else { throw .EINVAL }
    guard may(.sysAdmin) else { throw .EPERM }
    let access = try Self.access(flags)
    guard let map = tables.map(it.word(0), machine.maps) else { throw .ENOENT }
    return .descriptor(map, access: access)
  }

  private func typesByID(_ it: Attributes) throws(Errno) -> Answer {
    let flags = MapFlags(rawValue: it.word(8))
    guard flags.isSubset(of: [.tokenFD]) else { throw .EINVAL }
    guard may(.sysAdmin) else { throw .EPERM }
    guard let types = tables.types(it.word(0)) else { throw .ENOENT }
    return .descriptor(types, access: .read)
  }

  /// What `BPF_F_RDONLY` and `BPF_F_WRONLY` leave of a descriptor's access.
  static func access(_ flags: MapFlags) throws(Errno) -> MapAccess {
    guard !flags.isSuperset(of: [.readOnly, .writeOnly]) else { throw .EINVAL }
    return MapAccess(flags)
  }

  // MARK: Pins

  private static let pathLimit = 4096
  private static let pathFlag: UInt32 = 1 << 14

  private func path(_ it: Attributes, _ client: any Client) throws(Errno) -> (String, Int32?) {
    let flags = it.word(12)
    guard flags & Self.pathFlag != 0 || it.word(16) == 0 else { throw .EINVAL }
    let bytes = try client.text(it.long(0), limit: Self.pathLimit)
    guard !bytes.isEmpty else { throw .ENOENT }
    guard bytes.count < Self.pathLimit else { throw .ENAMETOOLONG }
    return (String(decoding: bytes, as: UTF8.self), flags & Self.pathFlag != 0 ? it.signed(16) : nil)
  }

  private func pin(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(12) & ~Self.pathFlag == 0, it.word(12) & Self.pathFlag != 0 || it.word(16) == 0 else {
      throw .EINVAL
    }
    let object: SystemObject
    switch client.descriptor(it.signed(8)) {
    case .object(let found as MapObject, _): object = found
    case .object(let found as ProgramObject, _): object = found
    case .object(let found as LinkObject, _): object = found
    default: throw .EINVAL
    }
    let (path, directory) = try path(it, client)
    try client.pin(object, path, directory: directory)
    return .value(0)
  }

  private func get(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let flags = MapFlags(rawValue: it.word(12) & ~Self.pathFlag)
    guard it.word(8) == 0, flags.isSubset(of: [.readOnly, .writeOnly]) else { throw .EINVAL }
    let access = try Self.access(flags)
    let (path, directory) = try path(it, client)
    let object = try client.pinned(path, directory: directory, access: access)
    guard !(object is LinkObject) || access == [.read, .write] else { throw .EINVAL }
    return .descriptor(object, access: object is MapObject ? access : [.read, .write])
  }

  // MARK: Statistics and tokens

  private func enableStatistics(_ it: Attributes) throws(Errno) -> Answer {
    guard linux.capabilities.contains(.sysAdmin) else { throw .EPERM }
    guard it.word(0) == 0 else { throw .EINVAL }
    tables.countStatisticsUsers(1)
    return .descriptor(
      StatisticsObject(whenClosed: { [tables] in tables.countStatisticsUsers(-1) }), access: [.read, .write])
  }

  /// Tokens come from a BPF file system that another user namespace mounted to delegate something: there is none.
  private func createToken(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(0) == 0 else { throw .EINVAL }
    switch client.descriptor(it.signed(4)) {
    case .closed: throw .EBADF
    default: throw .EINVAL
    }
  }

  /// A descriptor that should be a token is none.
  func refuseToken(_ number: Int32, _ client: any Client) -> Errno {
    if case .closed = client.descriptor(number) { return .EBADF }
    return .EINVAL
  }
}

/// A CPU that programs run on, one at a time.
final class Processor: Sendable {
  let worker: Worker
  private let lock = Lock()

  init(_ worker: Worker) { self.worker = worker }

  func run<R>(_ body: (Worker) -> R) -> R {
    lock.locked {
      worker.resume()
      return body(worker)
    }
  }
}
