import BPFISA
import BPFLinux
import BPFMaps
import BPFVerifier
import BTF

// What `BPF_OBJ_GET_INFO_BY_FD` says of objects. Fields are put at their offsets in `linux/bpf.h`.

extension System {
  func info(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    switch client.descriptor(it.signed(0)) {
    case .closed: throw Errno(rawValue: 77)  // EBADFD
    case .foreign: throw .EINVAL
    case .object(let object, _):
      switch object {
      case let object as ProgramObject: try programInfo(object, it, client)
      case let object as MapObject: try mapInfo(object, it, client)
      case let object as TypesObject: try typesInfo(object, it, client)
      case let object as LinkObject: try linkInfo(object, it, client)
      default: throw .EINVAL
      }
    }
    return .value(0)
  }

  /// What the client put into the struct, as long as the whole one.
  private func given(_ it: Attributes, _ client: any Client, size: Int) throws(Errno) -> [UInt8] {
    let length = Int(it.word(4))
    guard length <= 4096 else { throw .E2BIG }
    var info = try client.read(it.long(8), length)
    guard info.dropFirst(size).allSatisfy({ $0 == 0 }) else { throw .E2BIG }
    info = Array(info.prefix(size))
    return info + [UInt8](repeating: 0, count: size - info.count)
  }

  private func give(_ info: [UInt8], _ it: Attributes, _ client: any Client) throws(Errno) {
    let length = min(info.count, Int(it.word(4)))
    try client.write(Array(info.prefix(length)), to: it.long(8))
    try client.write(UInt32(length), to: it.address &+ 4)
  }

  /// Gives as many of a list's bytes as the client has room for records.
  private func give(_ bytes: [UInt8], records: UInt32, of size: Int, to address: UInt64, _ client: any Client)
    throws(Errno)
  {
    guard records > 0, !bytes.isEmpty else { return }
    try client.write(Array(bytes.prefix(Int(records) * size)), to: address)
  }

  // MARK: Programs

  private func programInfo(_ object: ProgramObject, _ it: Attributes, _ client: any Client) throws(Errno) {
    let asked = try given(it, client, size: 232)
    var info = asked
    let program = object.program
    info.put(program.type.rawValue, at: 0)
    info.put(object.id, at: 4)
    info.put(object.tag, at: 8)
    info.put(object.loadTime, at: 40)
    info.put(object.user, at: 48)
    info.put(Array(program.name.utf8) + [UInt8](repeating: 0, count: 16 - min(16, program.name.utf8.count)), at: 64)
    info.put(UInt32(ProgramRules.isGPLCompatible(program.license) ? 1 : 0), at: 84)
    info.put(UInt32(0), at: 80)
    info.put(UInt64(0), at: 88)
    info.put(UInt64(0), at: 96)
    let maps = object.maps
    info.put(UInt32(maps.count), at: 52)
    try give(maps.flatMap { bytes(of: $0.id) }, records: asked.word(52), of: 4, to: asked.long(56), client)
    for (count, size, record) in [(144, 132, 8), (148, 172, 16), (168, 176, 8)] {
      guard asked.word(count) == 0 && asked.word(size) == 0 || asked.word(size) == UInt32(record) else {
        throw .EINVAL
      }
      info.put(UInt32(record), at: size)
    }
    let runs = object.runStatistics
    info.put(runs.nanoseconds, at: 192)
    info.put(runs.count, at: 200)
    info.put(UInt64(0), at: 208)
    info.put(object.verifiedInstructions, at: 216)
    info.put(object.types?.id ?? 0, at: 128)
    if may(.bpf) {
      try codeInfo(object, asked, &info, client)
    } else {
      for offset in [16, 20, 104, 108, 144, 148, 168] { info.put(UInt32(0), at: offset) }
    }
    try give(info, it, client)
  }

  /// The parts that only privileged clients get.
  private func codeInfo(
    _ object: ProgramObject, _ asked: [UInt8], _ info: inout [UInt8], _ client: any Client
  ) throws(Errno) {
    let rewritten = object.rewritten(on: linux)
    let code = rewritten.map { instructions(of: object, $0) } ?? []
    info.put(UInt32(code.count), at: 20)
    if asked.word(20) != 0 {
      try give(code, records: asked.word(20), of: 1, to: asked.long(32), client)
    }
    let machineCode = (try? object.runnable(on: linux))?.code
    let size = UInt32(truncatingIfNeeded: machineCode?.codeSize ?? 0)
    info.put(size, at: 16)
    if let machineCode, asked.word(16) != 0, let start = UnsafeRawPointer(bitPattern: machineCode.codeStart) {
      let all = UnsafeRawBufferPointer(start: start, count: machineCode.codeSize)
      try client.write(Array(all.prefix(Int(asked.word(16)))), to: asked.long(24))
    }
    info.put(UInt32(1), at: 104)
    try give(
      bytes(of: UInt64(machineCode?.codeStart ?? 0)), records: asked.word(104), of: 8, to: asked.long(112), client)
    info.put(UInt32(1), at: 108)
    try give(bytes(of: size), records: asked.word(108), of: 4, to: asked.long(120), client)
    info.put(object.program.attachBTFID, at: 224)
    info.put(object.attachProgram?.types?.id ?? object.attachTypes?.id ?? 0, at: 220)
    let functions = rewritten?.functionInfo ?? []
    info.put(UInt32(functions.count), at: 144)
    try give(
      functions.flatMap { bytes(of: $0.instructionOffset) + bytes(of: $0.typeID) }, records: asked.word(144), of: 8,
      to: asked.long(136), client)
    let lines = rewritten?.lineInfo ?? []
    info.put(UInt32(lines.count), at: 148)
    try give(
      lines.flatMap {
        bytes(of: $0.instructionOffset) + bytes(of: $0.fileNameOffset) + bytes(of: $0.lineOffset)
          + bytes(of: $0.lineColumn)
      }, records: asked.word(148), of: 16, to: asked.long(152), client)
    info.put(UInt32(0), at: 168)
    info.put(UInt32(1), at: 180)
    try give(object.tag, records: asked.word(180), of: 8, to: asked.long(184), client)
  }

  /// The rewritten instructions with what the kernel would have filled in: ids of maps, and where its functions are.
  private func instructions(of object: ProgramObject, _ rewritten: RewrittenProgram) -> [UInt8] {
    var code = rewritten.instructions
    let maps = object.maps
    func identifier(_ index: Int) -> Int32 {
      maps.indices.contains(index) ? Int32(bitPattern: maps[index].id) : 0
    }
    for (slot, reference) in rewritten.references where code.indices.contains(slot) {
      switch reference {
      case .map(let index), .mapValue(let index, _):
        if code[slot].isLoadImmediate64 { code[slot].immediate = identifier(index) }
      case .helper(_, let function), .function(let function):
        let address = symbols.address(function)
        let base = symbols.address("__bpf_call_base")
        if address != 0, base != 0 { code[slot].immediate = Int32(truncatingIfNeeded: address &- base) }
      case .address(let name):
        let address = symbols.address(name)
        code[slot].immediate = Int32(truncatingIfNeeded: address)
        if code[slot].isLoadImmediate64, slot + 1 < code.count {
          code[slot + 1].immediate = Int32(truncatingIfNeeded: address >> 32)
        }
      case .subprogram: break
      }
    }
    return Instruction.encode(code)
  }

  // MARK: Maps

  private func mapInfo(_ object: MapObject, _ it: Attributes, _ client: any Client) throws(Errno) {
    let asked = try given(it, client, size: 104)
    var info = asked
    let map = object.map.definition
    info.put(map.type.rawValue, at: 0)
    info.put(object.id, at: 4)
    info.put(map.keySize, at: 8)
    info.put(map.valueSize, at: 12)
    info.put(map.maxEntries, at: 16)
    info.put(map.flags.rawValue, at: 20)
    info.put(Array(map.name.utf8) + [UInt8](repeating: 0, count: 16 - min(16, map.name.utf8.count)), at: 24)
    info.put(map.kernelValueTypeID, at: 44)
    if let types = object.types {
      info.put(types.id, at: 64)
      info.put(map.keyTypeID, at: 68)
      info.put(map.valueTypeID, at: 72)
    }
    info.put(map.mapExtra, at: 80)
    if asked.long(88) != 0 {
      guard map.type == .array, asked.word(96) == 32 else { throw .EINVAL }
      guard object.map.isFrozen else { throw .EPERM }
      guard map.maxEntries == 1, let value = try? object.map.lookup([0, 0, 0, 0], access: .read) else { throw .EINVAL }
      try client.write(Digest.sha256(value), to: asked.long(88))
    } else if asked.word(96) != 0 {
      throw .EINVAL
    }
    try give(info, it, client)
  }

  // MARK: Types

  private func typesInfo(_ object: TypesObject, _ it: Attributes, _ client: any Client) throws(Errno) {
    let asked = try given(it, client, size: 32)
    var info = asked
    info.put(object.id, at: 12)
    let room = Int(asked.word(8))
    let size = try object.btf.withBytes { (all: UnsafeRawBufferPointer) -> Result<Int, Errno> in
      guard room > 0 else { return .success(all.count) }
      do throws(Errno) {
        try client.write(Array(all.prefix(room)), to: asked.long(0))
        return .success(all.count)
      } catch {
        return .failure(error)
      }
    }.get()
    info.put(UInt32(truncatingIfNeeded: size), at: 8)
    info.put(UInt32(object.isKernel ? 1 : 0), at: 28)
    let name = Array(object.name.utf8)
    let place = asked.long(16)
    let nameRoom = Int(asked.word(24))
    guard (place == 0) == (nameRoom == 0) else { throw .EINVAL }
    info.put(UInt32(name.count), at: 24)
    if place != 0 { try client.write(Array(name.prefix(nameRoom - 1)) + [0], to: place) }
    try give(info, it, client)
    if place != 0, nameRoom < name.count + 1 { throw .ENOSPC }
  }

  // MARK: Links

  private func linkInfo(_ object: LinkObject, _ it: Attributes, _ client: any Client) throws(Errno) {
    let asked = try given(it, client, size: 64)
    var info = asked
    info.put(object.type, at: 0)
    info.put(object.id, at: 4)
    info.put(object.program.id, at: 8)
    switch object.target {
    case .rawTracepoint(let name, let cookie):
      info.put(cookie, at: 32)
      try putName(name, asked, &info, client)
    case .tracing(let type, let target, let id, let cookie):
      info.put(type.rawValue, at: 16)
      info.put(target, at: 20)
      info.put(id, at: 24)
      info.put(cookie, at: 32)
    case .iterator(let name, let map):
      try putName(name, asked, &info, client)
      if let map { info.put(map.id, at: 32) }
    }
    try give(info, it, client)
  }

  private func putName(_ name: String, _ asked: [UInt8], _ info: inout [UInt8], _ client: any Client) throws(Errno) {
    let text = Array(name.utf8)
    let place = asked.long(16)
    let room = Int(asked.word(24))
    guard (place == 0) == (room == 0) else { throw .EINVAL }
    info.put(UInt32(text.count + 1), at: 24)
    guard place != 0 else { return }
    try client.write(Array(text.prefix(room - 1)) + [0], to: place)
    if room < text.count + 1 { throw .ENOSPC }
  }
}
