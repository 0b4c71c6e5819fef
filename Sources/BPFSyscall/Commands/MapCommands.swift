import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import BTF

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

// Maps: what creates them, and what reads and writes their elements.

extension System {
  private static let tokenFlag: UInt32 = 1 << 16

  func createMap(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let flags = MapFlags(rawValue: it.word(16) & ~Self.tokenFlag)
    var definition = MapDefinition(
      name: "", type: MapType(rawValue: it.word(0)), keySize: it.word(4), valueSize: it.word(8),
      maxEntries: it.word(12), flags: flags)
    definition.numaNode = it.word(24)
    definition.keyTypeID = it.word(52)
    definition.valueTypeID = it.word(56)
    definition.kernelValueTypeID = it.word(60)
    definition.mapExtra = it.long(64)
    let access = try Self.access(flags)
    var inner: Map?
    if definition.type == .arrayOfMaps || definition.type == .hashOfMaps {
      // Everything else is checked first, and an inner map is needed for nothing but the check of itself.
      if let found = try? client.map(it.signed(20)).0 {
        inner = found.map
        definition.inner = [found.map.definition]
      }
    }
    try check(definition, it, client)
    if definition.inner.isEmpty, definition.type == .arrayOfMaps || definition.type == .hashOfMaps {
      _ = try client.map(it.signed(20))
    }
    definition.name = try it.name(28)
    var types: TypesObject?
    if definition.keyTypeID != 0 || definition.valueTypeID != 0 || definition.kernelValueTypeID != 0 {
      let found = try client.types(it.signed(48))
      guard !found.isKernel else { throw .EACCES }
      types = found
      definition.btf = found.btf
      do throws(MapCreationError) {
        try MapCreation.check(definition, linux: linux)
      } catch {
        throw error.errno
      }
    }
    guard it.long(80) == 0 else {
      log?("map '\(definition.name)': maps for one program alone are not supported")
      throw .EOPNOTSUPP
    }
    guard it.word(88) == 0 else { throw .EINVAL }
    guard memory(definition) <= Self.machineMemory else { throw .ENOMEM }
    do throws(MapError) {
      let map = try machine.maps.makeMap(definition, fields: specialFields(definition), inner: inner)
      return .descriptor(tables.addMap(map, types: types), access: access)
    } catch {
      log?("map '\(definition.name)': \(error.message)")
      throw error.errno
    }
  }

  /// What is refused before types are looked at.
  private func check(_ definition: MapDefinition, _ it: Attributes, _ client: any Client) throws(Errno) {
    if it.word(16) & Self.tokenFlag != 0 { throw refuseToken(it.signed(76), client) }
    guard it.word(44) == 0 else { throw .EINVAL }
    var untyped = definition
    if untyped.kernelValueTypeID == 0 && definition.valueTypeID != 0 {
      // Local storages have to have types, whatever they are.
      untyped.btf = nil
    }
    if untyped.inner.isEmpty, untyped.type == .arrayOfMaps || untyped.type == .hashOfMaps {
      untyped.inner = [MapDefinition(name: "", type: .array, keySize: 4, valueSize: 4, maxEntries: 1)]
    }
    do throws(MapCreationError) {
      try MapCreation.check(untyped, linux: linux)
    } catch {
      throw error.errno
    }
  }

  /// About what the kernel takes when it makes the map. Here memory is only taken as it is used, but there it has to be
  /// there.
  private func memory(_ map: MapDefinition) -> UInt64 {
    let value = (UInt64(map.valueSize) + 7) & ~7
    let entries = UInt64(map.maxEntries)
    let copies = UInt64(machine.cpuCount)
    switch map.type {
    case .array: return entries.multipliedOrMost(value)
    case .percpuArray: return entries.multipliedOrMost(value.multipliedOrMost(copies))
    case .hash, .percpuHash, .lruHash, .lruPercpuHash, .hashOfMaps:
      let isPerCPU = map.type == .percpuHash || map.type == .lruPercpuHash
      let element = 48 + ((UInt64(map.keySize) + 7) & ~7) + (isPerCPU ? 8 + value.multipliedOrMost(copies) : value)
      let bucket: UInt64 = 16
      return entries.multipliedOrMost(map.flags.contains(.noPreallocation) ? bucket : bucket + element)
    case .queue, .stack: return entries.multipliedOrMost(UInt64(map.valueSize))
    default: return entries.multipliedOrMost(8)
    }
  }

  private static let machineMemory: UInt64 = {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    return pages > 0 ? UInt64(pages) * 4096 : 1 << 33
  }()

  /// The fields of a value that have a meaning of their own, as the verifier finds them: it is asked about a program
  /// that does nothing but name the map.
  private func specialFields(_ definition: MapDefinition) -> [SpecialField] {
    guard let btf = definition.btf, definition.valueTypeID != 0 else { return [] }
    switch btf.kind(btf.skipModifiers(definition.valueTypeID)) {
    case .structure, .union, .dataSection: break
    default: return []
    }
    var program = Program(
      name: "", type: .schedCls,
      instructions: [
        Instruction(
          opcode: Opcode.loadImmediate64, dst: 1, src: PseudoSource.mapFD),
        Instruction(opcode: 0),
        Instruction(opcode: Class.alu64 | ALU.mov), Instruction(opcode: Opcode.exit),
      ])
    program.maps = [definition]
    var trusted = linux
    trusted.capabilities = .all
    guard case .success(let verified) = Verifier.verify(program, on: trusted).result,
      let proof = try? verified.proof(on: trusted), let fields = proof.mapFields.first
    else { return [] }
    return fields ?? []
  }

  // MARK: Elements

  private func key(_ it: Attributes, _ map: Map, _ client: any Client) throws(Errno) -> [UInt8] {
    if map.keySize == 0 {
      guard it.long(8) == 0 else { throw .EINVAL }
      return []
    }
    return try client.read(it.long(8), map.keySize)
  }

  func lookupElement(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let flags = it.long(24)
    guard flags & ~UpdateFlags.lock == 0 else { throw .EINVAL }
    let (object, access) = try client.map(it.signed(0))
    let map = object.map
    guard access.contains(.read) else { throw .EPERM }
    let key = try key(it, map, client)
    if let filter = map as? BloomFilter {
      let value = try client.read(it.long(16), map.userValueSize)
      guard try filter.contains(value, flags: flags, access: access) else { throw .ENOENT }
      return .value(0)
    }
    try client.write(try map.lookup(key, flags: flags, access: access), to: it.long(16))
    return .value(0)
  }

  func updateElement(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let (object, access) = try client.map(it.signed(0))
    let map = object.map
    guard access.contains(.write), !map.isFrozen else { throw .EPERM }
    let flags = it.long(24)
    let key = try key(it, map, client)
    let value = try client.read(it.long(16), map.userValueSize)
    try checkProgram(value, for: map, client)
    try checkSocket(value, for: map, client)
    try map.update(key, value, flags: flags, access: access)
    return .value(0)
  }

  /// What goes into an array of programs has to be a program, and one that runs here.
  private func checkProgram(_ value: [UInt8], for map: Map, _ client: any Client) throws(Errno) {
    guard map is ProgramArray else { return }
    let program = try client.program(Int32(bitPattern: value.word(0)))
    do {
      _ = try program.runnable(on: linux)
    } catch {
      log?("program '\(program.program.name)' does not run in user space: \(error.message)")
      throw .EOPNOTSUPP
    }
  }

  /// Sockets are the kernel's own; no map here can hold one.
  private func checkSocket(_ value: [UInt8], for map: Map, _ client: any Client) throws(Errno) {
    guard map is EmptyMap, map.definition.type != .structOps else { return }
    switch client.descriptor(Int32(bitPattern: value.word(0))) {
    case .closed: throw .EBADF
    case .object: throw Errno(rawValue: 88)  // ENOTSOCK
    case .foreign:
      log?("map '\(map.definition.name)': sockets cannot be put into maps in user space")
      throw .EOPNOTSUPP
    }
  }

  func deleteElement(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let (object, access) = try client.map(it.signed(0))
    guard access.contains(.write), !object.map.isFrozen else { throw .EPERM }
    try object.map.delete(try key(it, object.map, client), access: access)
    return .value(0)
  }

  func nextKey(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let (object, access) = try client.map(it.signed(0))
    guard access.contains(.read) else { throw .EPERM }
    let key = it.long(8) == 0 ? nil : try key(it, object.map, client)
    try client.write(try object.map.nextKey(after: key, access: access), to: it.long(16))
    return .value(0)
  }

  func takeElement(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let flags = it.long(24)
    guard flags & ~UpdateFlags.lock == 0 else { throw .EINVAL }
    let (object, access) = try client.map(it.signed(0))
    let map = object.map
    guard access == [.read, .write], !map.isFrozen else { throw .EPERM }
    guard flags == 0 || map.fields.contains(where: { $0.kind == .spinLock }) else { throw .EINVAL }
    let key = try key(it, map, client)
    switch map.definition.type {
    case .queue, .stack, .hash, .percpuHash, .lruHash, .lruPercpuHash, .stackTrace: break
    default: throw .ENOTSUPP
    }
    try client.write(try map.lookupAndDelete(key, flags: flags, access: access), to: it.long(16))
    return .value(0)
  }

  func freeze(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let (object, access) = try client.map(it.signed(0))
    try object.map.freeze(access: access)
    return .value(0)
  }

  // MARK: Batches

  private static let batchPiece = 1024

  func lookupBatch(_ it: Attributes, _ client: any Client, removing: Bool) throws(Errno) -> Answer {
    let (object, access) = try client.map(it.signed(36))
    let map = object.map
    let count = it.word(32)
    // With nothing to look up, no more is done than what is checked first.
    _ = try map.lookupBatch(
      count: 0, elementFlags: it.long(40), flags: it.long(48), removing: removing, access: access)
    guard count > 0 else { return .value(0) }
    try client.write(UInt32(0), to: it.address &+ 32)
    // A hash map's place is four bytes, any other's is a key.
    let token = it.long(0) == 0 ? nil : try client.read(it.long(0), map is HashMap ? 4 : max(4, map.keySize))
    let batch = try map.lookupBatch(
      after: token, count: Int(count), elementFlags: it.long(40), flags: it.long(48), removing: removing,
      access: access)
    if batch.error == .EFAULT { throw .EFAULT }
    try client.write(batch.keys, to: it.long(16))
    try client.write(batch.values, to: it.long(24))
    if let next = batch.next { try client.write(next, to: it.long(8)) }
    try client.write(UInt32(truncatingIfNeeded: batch.count), to: it.address &+ 32)
    if let error = batch.error { throw error }
    return .value(0)
  }

  /// Updates or deletes, some elements at a time: the number that the client gives may be anything.
  func changeBatch(_ it: Attributes, _ client: any Client, updating: Bool) throws(Errno) -> Answer {
    let (object, access) = try client.map(it.signed(36))
    let map = object.map
    let total = Int(it.word(32))
    let flags = it.long(40)
    // With nothing to change, no more is done than what is checked first.
    _ =
      updating
      ? try map.updateBatch(keys: [], values: [], count: 0, elementFlags: flags, access: access)
      : try map.deleteBatch(keys: [], count: 0, elementFlags: flags, access: access)
    guard total > 0 else { return .value(0) }
    try client.write(UInt32(0), to: it.address &+ 32)
    var done = 0
    var failure: Errno?
    while failure == nil && done < total && client.isWaiting {
      let count = min(total - done, Self.piece(map))
      do throws(Errno) {
        let keys = try client.readUpTo(it.long(16) &+ UInt64(done * map.keySize), count * map.keySize)
        let size = map.userValueSize
        let values = updating ? try client.readUpTo(it.long(24) &+ UInt64(done * size), count * size) : []
        let batch =
          updating
          ? try map.updateBatch(keys: keys, values: values, count: count, elementFlags: flags, access: access)
          : try map.deleteBatch(keys: keys, count: count, elementFlags: flags, access: access)
        done += batch.count
        failure = batch.error
      } catch {
        failure = error
      }
    }
    try client.write(UInt32(truncatingIfNeeded: done), to: it.address &+ 32)
    if let failure { throw failure }
    return .value(0)
  }

  private static func piece(_ map: Map) -> Int { max(1, min(batchPiece, (1 << 20) / max(1, map.userValueSize))) }
}

extension Client {
  /// As many of the bytes as there are in whole.
  func readUpTo(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8] {
    if let all = try? read(address, count) { return all }
    var result: [UInt8] = []
    while result.count < count {
      let next = address &+ UInt64(result.count)
      let size = min(count - result.count, 4096 - Int(next & 4095))
      guard let piece = try? read(next, size) else { break }
      result += piece
    }
    return result
  }
}

extension UInt64 {
  fileprivate func multipliedOrMost(_ other: UInt64) -> UInt64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? .max : product
  }
}
