import BPFISA
import BPFLinux
import BTF

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// The running kernel's verifier.
///
/// A program is sent through `bpf(2)` as any loader would: its maps are created and filled, its types loaded, then
/// the program itself. It is never attached to anything, and with the verdict everything is closed again.
///
/// ## Privileges
/// `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`, or root. Without them, making an engine throws
/// `KernelEngineError.notPermitted`.
public struct KernelEngine: Sendable {
  /// What the program is loaded with, where that is to be less than the caller has. Maps and types are always
  /// created with all of it.
  public var capabilities: Capabilities

  public init(capabilities: Capabilities = .all) throws(KernelEngineError) {
    self.capabilities = capabilities
    let held = Capabilities.ofThread()
    guard held.allows(.bpf), held.allows(.perfmon), held.allows(.netAdmin) else { throw .notPermitted }
    // A container's root has the capability and still may not.
    let probe = Program(
      name: "probe", type: .socketFilter,
      instructions: [
        Instruction(opcode: Class.alu64 | ALU.mov), Instruction(opcode: Opcode.exit),
      ])
    let verdict = try Loading().verify(probe, level: 0, capabilities: .all)
    switch verdict.errno {
    case 0: return
    case Errno.EPERM.rawValue: throw .notPermitted
    default: throw .unavailable
    }
  }

  /// The kernel's verdict of `program`, with its log at `logLevel` (bits as in `bpf(2)`).
  public func verify(_ program: Program, logLevel: UInt32 = 0) throws(KernelEngineError) -> KernelVerdict {
    try Loading().verify(program, level: logLevel, capabilities: capabilities)
  }
}

/// One program on its way into the kernel, and all that is open because of it.
final class Loading {
  private var typeInformation: [ObjectIdentifier: Descriptor] = [:]
  private var modules: [String: Descriptor] = [:]
  private var areas: [(address: UnsafeMutableRawPointer, length: Int)] = []

  deinit {
    for area in areas { munmap(area.address, area.length) }
  }

  func verify(
    _ program: Program, level: UInt32, capabilities: Capabilities, maps: [Descriptor]? = nil
  ) throws(KernelEngineError) -> KernelVerdict {
    let (_, verdict) = try load(program, level: level, capabilities: capabilities, maps: maps)
    return verdict
  }

  // MARK: Types

  private func types(_ btf: BTF) throws(KernelEngineError) -> Descriptor {
    let key = ObjectIdentifier(btf)
    if let known = typeInformation[key] { return known }
    let bytes = btf.bytes
    let call = SystemCall()
    call.putCopy(bytes, at: 0)
    call.put(UInt32(truncatingIfNeeded: bytes.count), at: 16)
    let descriptor: Descriptor
    do {
      descriptor = try call.descriptor(.typeInformationLoad)
    } catch {
      throw .typeInformation(errno: error.errno, message: complaint(about: bytes))
    }
    typeInformation[key] = descriptor
    return descriptor
  }

  /// The last line of the kernel's log about type information that it refuses.
  private func complaint(about bytes: [UInt8]) -> String {
    let call = SystemCall()
    call.putCopy(bytes, at: 0)
    let size = 1 << 20
    let log = call.putMemory(byteCount: size, at: 8)
    log.initializeMemory(as: UInt8.self, repeating: 0)
    call.put(UInt32(truncatingIfNeeded: bytes.count), at: 16)
    call.put(UInt32(size), at: 20)
    call.put(1 as UInt32, at: 24)
    guard let unexpected = try? call.descriptor(.typeInformationLoad) else {
      let text = String(decoding: log.prefix { $0 != 0 }, as: UTF8.self)
      return text.split(separator: "\n").last.map(String.init) ?? ""
    }
    withExtendedLifetime(unexpected) {}
    return ""
  }

  /// The type information of a kernel module, found by name among all that are loaded.
  private func module(_ btf: BTF) throws(KernelEngineError) -> Descriptor {
    try module(named: String(btf.origin.split(separator: "/").last ?? ""))
  }

  private func module(named name: String) throws(KernelEngineError) -> Descriptor {
    if let known = modules[name] { return known }
    var id: UInt32 = 0
    while true {
      let next = SystemCall()
      next.put(id, at: 0)
      guard next(.typeInformationNextID) >= 0 else { throw .module(name: name) }
      id = next.word(at: 4)
      let open = SystemCall()
      open.put(id, at: 0)
      guard let descriptor = try? open.descriptor(.typeInformationDescriptorByID) else { continue }
      if kernelName(descriptor) == name {
        modules[name] = descriptor
        return descriptor
      }
    }
  }

  /// `struct bpf_btf_info`: the name is 16 bytes in, its length 24, whether the kernel made it 28.
  private func kernelName(_ descriptor: Descriptor) -> String? {
    let call = SystemCall()
    let length = 32
    call.put(descriptor, at: 0)
    call.put(UInt32(length), at: 4)
    let info = call.putMemory(byteCount: length, at: 8)
    info.initializeMemory(as: UInt8.self, repeating: 0)
    let name = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 8)
    name.initializeMemory(as: UInt8.self, repeating: 0)
    defer { name.deallocate() }
    info.storeBytes(of: UInt64(UInt(bitPattern: name.baseAddress)), toByteOffset: 16, as: UInt64.self)
    info.storeBytes(of: UInt32(name.count), toByteOffset: 24, as: UInt32.self)
    guard call(.objectInfoByDescriptor) >= 0, info.load(fromByteOffset: 28, as: UInt32.self) != 0 else { return nil }
    return String(decoding: name.prefix { $0 != 0 }, as: UTF8.self)
  }

  // MARK: Maps

  func create(_ map: MapDefinition) throws(KernelEngineError) -> Descriptor {
    let inner: Descriptor? = if let model = map.inner.first { try create(model) } else { nil }
    let types: Descriptor? =
      if let btf = map.btf, map.keyTypeID != 0 || map.valueTypeID != 0 || map.kernelValueTypeID != 0 {
        try self.types(btf)
      } else {
        nil
      }
    let descriptor: Descriptor
    do {
      descriptor = try request(map, inner: inner, types: types).descriptor(.mapCreate)
    } catch {
      // Types are a favour to whoever reads the map, not worth failing for: loaders try again without.
      guard types != nil, map.kernelValueTypeID == 0,
        let again = try? request(map, inner: inner, types: nil).descriptor(.mapCreate)
      else { throw .map(name: map.name, errno: error.errno) }
      descriptor = again
    }
    try fill(map, descriptor)
    return descriptor
  }

  private func request(_ map: MapDefinition, inner: Descriptor?, types: Descriptor?) -> SystemCall {
    let call = SystemCall()
    call.put(map.type.rawValue, at: 0)
    call.put(map.keySize, at: 4)
    call.put(map.valueSize, at: 8)
    call.put(map.maxEntries, at: 12)
    call.put(map.flags.rawValue, at: 16)
    if let inner { call.put(inner, at: 20) }
    call.put(map.numaNode, at: 24)
    call.putName(map.name, at: 28)
    if let types {
      call.put(types, at: 48)
      call.put(map.keyTypeID, at: 52)
      call.put(map.valueTypeID, at: 56)
    }
    call.put(map.kernelValueTypeID, at: 60)
    call.put(map.mapExtra, at: 64)
    return call
  }

  private func fill(_ map: MapDefinition, _ descriptor: Descriptor) throws(KernelEngineError) {
    switch map.type {
    case .arena: try mapArena(map, descriptor)
    case .structOps: return
    default:
      if !map.initialValue.isEmpty {
        let call = SystemCall()
        call.put(descriptor, at: 0)
        call.putCopy([0 as UInt32], at: 8)
        var value = map.initialValue
        let size = Int(map.valueSize)
        if value.count < size { value += [UInt8](repeating: 0, count: size - value.count) }
        call.putCopy(value, at: 16)
        let result = call(.mapUpdateElement)
        guard result >= 0 else { throw refusal(of: map, result) }
      }
    }
    if map.frozen {
      let call = SystemCall()
      call.put(descriptor, at: 0)
      let result = call(.mapFreeze)
      guard result >= 0 else { throw refusal(of: map, result) }
    }
  }

  private func refusal(of map: MapDefinition, _ result: Int) -> KernelEngineError {
    .map(name: map.name, errno: Errno(rawValue: Int32(truncatingIfNeeded: -result)))
  }

  /// Programs may use an arena only once user space has given it an address.
  private func mapArena(_ map: MapDefinition, _ descriptor: Descriptor) throws(KernelEngineError) {
    let length = Int(map.maxEntries) * Int(sysconf(Int32(_SC_PAGESIZE)))
    let wanted = UnsafeMutableRawPointer(bitPattern: UInt(map.mapExtra))
    let flags = wanted == nil ? MAP_SHARED : MAP_SHARED | MAP_FIXED_NOREPLACE
    guard let address = mmap(wanted, length, PROT_READ | PROT_WRITE, flags, descriptor.number, 0),
      address != UnsafeMutableRawPointer(bitPattern: -1)
    else { throw .map(name: map.name, errno: Errno(rawValue: errno)) }
    areas.append((address, length))
    if map.initialValue.count <= length {
      map.initialValue.withUnsafeBytes { bytes in
        if let base = bytes.baseAddress { address.copyMemory(from: base, byteCount: bytes.count) }
      }
    }
  }

  // MARK: The program

  /// - Parameter known: the program's maps, where they exist already.
  func load(
    _ program: Program, level: UInt32, capabilities: Capabilities, maps known: [Descriptor]? = nil
  ) throws(KernelEngineError) -> (Descriptor?, KernelVerdict) {
    var maps = known ?? []
    if known == nil {
      for map in program.maps { maps.append(try create(map)) }
    }
    var descriptors: [Int: Descriptor] = [:]
    for (index, btf) in program.moduleBTFs where index > 0 && index < 256 { descriptors[index] = try module(btf) }
    let types: Descriptor? = if let btf = program.btf { try self.types(btf) } else { nil }
    let target = try attachTarget(program)

    func request(logSize: Int) -> (SystemCall, UnsafeMutableRawBufferPointer) {
      let call = SystemCall()
      call.put(program.type.rawValue, at: 0)
      call.put(UInt32(truncatingIfNeeded: program.instructions.count), at: 4)
      call.putCopy(Self.withDescriptors(program.instructions, maps, descriptors), at: 8)
      call.putString(program.license, at: 16)
      call.put(level | 4, at: 24)
      call.put(UInt32(truncatingIfNeeded: logSize), at: 28)
      let log = call.putMemory(byteCount: logSize, at: 32)
      log.storeBytes(of: 0, as: UInt8.self)
      call.put(program.kernelVersion, at: 40)
      call.put(program.flags.rawValue, at: 44)
      call.putName(program.name, at: 48)
      call.put(program.expectedAttachType.rawValue, at: 68)
      if let types {
        call.put(types, at: 72)
        if !program.functionInfo.isEmpty {
          call.put(8 as UInt32, at: 76)
          call.putCopy(program.functionInfo, at: 80)
          call.put(UInt32(truncatingIfNeeded: program.functionInfo.count), at: 88)
        }
        if !program.lineInfo.isEmpty {
          call.put(16 as UInt32, at: 92)
          call.putCopy(program.lineInfo, at: 96)
          call.put(UInt32(truncatingIfNeeded: program.lineInfo.count), at: 104)
        }
      }
      call.put(program.attachBTFID, at: 108)
      if let target { call.put(target, at: 112) }
      let table = Self.descriptorTable(program.instructions, maps, descriptors)
      if !table.isEmpty { call.putCopy(table, at: 120) }
      return (call, log)
    }

    var logSize = level == 0 ? 1 << 16 : 16 << 20
    var interruptions = 0
    while true {
      let (call, log) = request(logSize: logSize)
      let result = capabilities.whileLimited { call(.programLoad) }
      if result == -Int(Errno.EAGAIN.rawValue), interruptions < 5 {
        // A signal came while the verifier ran.
        interruptions += 1
        continue
      }
      let needed = Int(call.word(at: 140))
      if result == -Int(Errno.ENOSPC.rawValue), needed > logSize, needed < 1 << 30 {
        logSize = needed
        continue
      }
      let descriptor = result >= 0 ? Descriptor(Int32(truncatingIfNeeded: result)) : nil
      withExtendedLifetime((maps, descriptors, types, target)) {}
      let length = log.baseAddress.map { strnlen($0.assumingMemoryBound(to: CChar.self), log.count) } ?? 0
      let text = Array(UnsafeRawBufferPointer(log)[..<length])
      let errno = result < 0 ? Int32(truncatingIfNeeded: -result) : 0
      if errno == Errno.ENOSYS.rawValue && text.isEmpty { throw .unavailable }
      return (descriptor, KernelVerdict(errno: errno, log: text, level: level))
    }
  }

  /// What `attachBTFID` is an id in; nil for the kernel itself.
  private func attachTarget(_ program: Program) throws(KernelEngineError) -> Descriptor? {
    switch program.attachTarget {
    case .kernel: return nil
    case .module(let name, _): return try module(named: name)
    case .program(let target):
      let (descriptor, verdict) = try load(target, level: 0, capabilities: .all)
      guard let descriptor else { throw .target(name: target.name, errno: Errno(rawValue: verdict.errno)) }
      return descriptor
    }
  }

  /// Indices of maps and modules become descriptors. A number that no map of the program has stays, unless it
  /// happens to be a descriptor of another map.
  private static func withDescriptors(
    _ instructions: [Instruction], _ maps: [Descriptor], _ modules: [Int: Descriptor]
  ) -> [Instruction] {
    var instructions = instructions
    var slot = 0
    while slot < instructions.count {
      let instruction = instructions[slot]
      guard instruction.isLoadImmediate64 else {
        slot += 1
        continue
      }
      switch UInt8(truncatingIfNeeded: instruction.src) {
      case PseudoSource.mapFD, PseudoSource.mapValue:
        let index = Int(instruction.immediate)
        if maps.indices.contains(index) {
          instructions[slot].immediate = maps[index].number
        } else if isMap(instruction.immediate) {
          instructions[slot].immediate = -1
        }
      case PseudoSource.btfID where slot + 1 < instructions.count:
        if let module = modules[Int(instructions[slot + 1].immediate)] {
          instructions[slot + 1].immediate = module.number
        }
      default: break
      }
      slot += 2
    }
    return instructions
  }

  private static func isMap(_ descriptor: Int32) -> Bool {
    var name = [UInt8](repeating: 0, count: 64)
    let length = name.withUnsafeMutableBytes { bytes in
      bytes.baseAddress.map {
        readlink("/proc/self/fd/\(descriptor)", $0.assumingMemoryBound(to: CChar.self), bytes.count)
      } ?? -1
    }
    return length > 0 && name[..<length].elementsEqual("anon_inode:bpf-map".utf8)
  }

  /// `fd_array`: modules by the place that calls of their functions name, or maps by index.
  private static func descriptorTable(
    _ instructions: [Instruction], _ maps: [Descriptor], _ modules: [Int: Descriptor]
  ) -> [Int32] {
    if let last = modules.keys.max() {
      return (0...last).map { modules[$0]?.number ?? 0 }
    }
    let namesMaps = instructions.contains {
      $0.isLoadImmediate64
        && ($0.src == Int(PseudoSource.mapIndex) || $0.src == Int(PseudoSource.mapIndexValue))
    }
    return namesMaps ? maps.map(\.number) : []
  }
}
