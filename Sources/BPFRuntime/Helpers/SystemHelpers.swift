import BPFLinux
import BPFMaps
import BTF
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// What programs of type syscall may ask of the system: `bpf(2)` on maps, closing descriptors, ids of types.
enum SystemHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    166: RuntimeFunction { command, attributes, size, _, _, run in
      let error = call(
        Int32(truncatingIfNeeded: command), memory(attributes), Int(UInt32(truncatingIfNeeded: size)),
        Worker.of(run).machine)
      return UInt64(bitPattern: Int64(error))
    },
    167: RuntimeFunction { name, size, kind, flags, _, run in
      .failure(findType(name, Int(Int32(truncatingIfNeeded: size)), UInt32(truncatingIfNeeded: kind), flags, run))
    },
    168: RuntimeFunction { descriptor, _, _, _, _, _ in
      MapDescriptors.shared.close(Int32(truncatingIfNeeded: descriptor)) ? 0 : .failure(Failure.EBADF)
    },
  ]

  private static func findType(_ name: UInt64, _ size: Int, _ kind: UInt32, _ flags: UInt64, _ run: Run) -> Int32 {
    guard flags == 0, size > 1 else { return Failure.EINVAL }
    let bytes = UnsafeRawBufferPointer(start: memory(name), count: size)
    guard bytes[size - 1] == 0 else { return Failure.EINVAL }
    let text = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    guard let kind = BTFKind(rawValue: UInt8(truncatingIfNeeded: kind)),
      let id = Worker.of(run).machine.linux.btf?.find(text, kind: kind)
    else { return Failure.ENOENT }
    return Int32(truncatingIfNeeded: id)
  }

  // MARK: bpf(2)

  private enum Command {
    static let createMap: Int32 = 0
    static let update: Int32 = 2
    static let delete: Int32 = 3
    static let getMapByID: Int32 = 14
    static let freeze: Int32 = 22
    /// BPF_PROG_LOAD, BPF_BTF_LOAD, BPF_LINK_CREATE, BPF_RAW_TRACEPOINT_OPEN.
    static let unsupported: [Int32] = [5, 17, 18, 28]
  }

  private static func call(
    _ command: Int32, _ attributes: UnsafeMutableRawPointer, _ size: Int, _ machine: Machine
  ) -> Int32 {
    let request = Request(attributes, size)
    do throws(Errno) {
      switch command {
      case Command.createMap: return try create(request, machine)
      case Command.update:
        let map = try MapDescriptors.shared.map(request.word(0))
        try map.update(
          try request.bytes(8, count: map.keySize), try request.bytes(16, count: map.userValueSize),
          flags: request.doubleWord(24))
        return 0
      case Command.delete:
        let map = try MapDescriptors.shared.map(request.word(0))
        try map.delete(try request.bytes(8, count: map.keySize))
        return 0
      case Command.freeze:
        try MapDescriptors.shared.map(request.word(0)).freeze()
        return 0
      case Command.getMapByID:
        guard let map = machine.maps.map(id: request.word(0)) else { throw .ENOENT }
        return try MapDescriptors.shared.open(map)
      case _ where Command.unsupported.contains(command): throw .EOPNOTSUPP
      default: throw .EINVAL
      }
    } catch {
      return -error.rawValue
    }
  }

  private static func create(_ request: Request, _ machine: Machine) throws(Errno) -> Int32 {
    var name: [UInt8] = []
    for index in 0..<16 {
      let byte = UInt8(truncatingIfNeeded: request.word((28 + index) & ~3) >> UInt32((28 + index) % 4 * 8))
      if byte == 0 { break }
      name.append(byte)
    }
    var definition = MapDefinition(
      name: String(decoding: name, as: UTF8.self), type: MapType(rawValue: request.word(0)), keySize: request.word(4),
      valueSize: request.word(8), maxEntries: request.word(12), flags: MapFlags(rawValue: request.word(16)))
    definition.mapExtra = request.doubleWord(64)
    // Types of keys and values come with a descriptor of BTF, and there is none.
    guard request.word(48) == 0 else { throw .EBADF }
    var inner: Map?
    if definition.type == .arrayOfMaps || definition.type == .hashOfMaps {
      inner = try MapDescriptors.shared.map(request.word(20))
    }
    if let inner { definition.inner = [inner.definition] }
    do throws(MapCreationError) {
      try MapCreation.check(definition, linux: machine.linux)
    } catch {
      throw error.errno
    }
    let map: Map
    do throws(MapError) {
      map = try machine.maps.makeMap(definition, fields: [], inner: inner)
    } catch {
      throw error.errno
    }
    return try MapDescriptors.shared.open(map)
  }

  /// `union bpf_attr`; what lies beyond its end is zero.
  private struct Request {
    let base: UnsafeMutableRawPointer
    let size: Int

    init(_ base: UnsafeMutableRawPointer, _ size: Int) {
      self.base = base
      self.size = size
    }

    func word(_ offset: Int) -> UInt32 {
      offset + 4 <= size ? base.loadUnaligned(fromByteOffset: offset, as: UInt32.self) : 0
    }

    func doubleWord(_ offset: Int) -> UInt64 { UInt64(word(offset)) | UInt64(word(offset + 4)) << 32 }

    /// What the address at `offset` points to.
    func bytes(_ offset: Int, count: Int) throws(Errno) -> [UInt8] {
      guard count > 0 else { return [] }
      var bytes = [UInt8](repeating: 0, count: count)
      let source = doubleWord(offset)
      let isRead = bytes.withUnsafeMutableBytes { place in
        place.baseAddress.map { FaultSafeMemory.read($0, source, count, of: 0) } ?? false
      }
      guard isRead else { throw .EFAULT }
      return bytes
    }
  }
}

/// Maps that programs opened, by descriptors that are this process's.
final class MapDescriptors: @unchecked Sendable {
  static let shared = MapDescriptors()
  private let lock = RuntimeLock()
  private var maps: [Int32: Map] = [:]

  func open(_ map: Map) throws(Errno) -> Int32 {
    #if canImport(Glibc)
    let descriptor = Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
    #elseif canImport(Musl)
    let descriptor = Musl.open("/dev/null", O_RDONLY | O_CLOEXEC)
    #elseif canImport(Darwin)
    let descriptor = Darwin.open("/dev/null", O_RDONLY | O_CLOEXEC)
    #endif
    guard descriptor >= 0 else { throw Errno(rawValue: 24) }
    lock.locked { maps[descriptor] = map }
    return descriptor
  }

  func map(_ descriptor: UInt32) throws(Errno) -> Map {
    guard let map = lock.locked({ maps[Int32(bitPattern: descriptor)] }) else { throw .EBADF }
    return map
  }

  /// False for descriptors that are nothing to programs.
  func close(_ descriptor: Int32) -> Bool {
    guard lock.locked({ maps.removeValue(forKey: descriptor) }) != nil else { return false }
    #if canImport(Glibc)
    _ = Glibc.close(descriptor)
    #elseif canImport(Musl)
    _ = Musl.close(descriptor)
    #elseif canImport(Darwin)
    _ = Darwin.close(descriptor)
    #endif
    return true
  }
}
