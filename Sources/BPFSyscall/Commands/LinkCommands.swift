import BPFLinux
import BPFMaps
import BTF

// What attaches programs. The places that have no events in user space yet refuse with EOPNOTSUPP.

extension System {
  private func unsupportedAttachment(_ program: ProgramObject, _ place: String) -> Errno {
    log?("program '\(program.program.name)' cannot be attached to \(place) in user space")
    return .EOPNOTSUPP
  }

  func openRawTracepoint(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let program = try client.program(it.signed(8))
    return try attachRawTracepoint(program, name: it.long(0), cookie: it.long(16), client)
  }

  private func attachRawTracepoint(
    _ program: ProgramObject, name address: UInt64, cookie: UInt64, _ client: any Client
  ) throws(Errno) -> Answer {
    switch program.program.type {
    case .tracing, .ext, .lsm:
      guard address == 0 else { throw .EINVAL }
      return try attachTracing(program, cookie: cookie)
    case .rawTracepoint, .rawTracepointWritable:
      let name = String(decoding: try client.text(address, limit: 127), as: UTF8.self)
      guard hasTracepoint(name) else { throw .ENOENT }
      return .descriptor(
        tables.addLink { LinkObject(id: $0, program, .rawTracepoint(name, cookie: cookie)) }, access: [.read, .write])
    default: throw .EINVAL
    }
  }

  private func hasTracepoint(_ name: String) -> Bool {
    guard let btf = linux.btf else { return false }
    return btf.find("btf_trace_" + name, kind: .typedef) != nil
  }

  private func attachTracing(_ program: ProgramObject, cookie: UInt64) throws(Errno) -> Answer {
    let type = program.program.expectedAttachType
    switch program.program.type {
    case .tracing:
      switch type {
      case .traceFentry, .traceFexit, .modifyReturn, .traceRawTp: break
      default: throw .EINVAL
      }
    case .lsm:
      guard type == .lsmMac else { throw .EINVAL }
    default: throw unsupportedAttachment(program, "another program")
    }
    let id = program.program.attachBTFID
    if type == .traceRawTp, let btf = program.attachTypes?.btf {
      let name = btf.name(id)
      let tracepoint = name.hasPrefix("btf_trace_") ? String(name.dropFirst("btf_trace_".count)) : name
      return .descriptor(
        tables.addLink { LinkObject(id: $0, program, .rawTracepoint(tracepoint, cookie: cookie)) },
        access: [.read, .write])
    }
    let object = program.attachProgram?.id ?? program.attachTypes?.id ?? 0
    return .descriptor(
      tables.addLink { LinkObject(id: $0, program, .tracing(type, object: object, type: id, cookie: cookie)) },
      access: [.read, .write])
  }

  func createLink(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let type = AttachType(rawValue: it.word(8))
    if type == .structOps {
      _ = try client.map(it.signed(0))
      throw .EINVAL
    }
    let program = try client.program(it.signed(0))
    let expected = program.program.expectedAttachType
    switch program.program.type {
    case .tracing, .lsm:
      guard type == expected else { throw .EINVAL }
      if type == .traceIter { return try attachIterator(program, it, client) }
      guard it.word(12) == 0, it.word(4) == 0, it.word(16) == 0 else { throw .EINVAL }
      return try attachTracing(program, cookie: it.long(24))
    case .perfEvent, .tracepoint, .kprobe:
      guard it.word(12) == 0 else { throw .EINVAL }
      if type.rawValue == Self.perfEventAttachType, case .closed = client.descriptor(it.signed(4)) { throw .EBADF }
      throw unsupportedAttachment(program, "perf events")
    case .xdp, .schedCls:
      guard it.word(4) != 0 else { throw program.program.type == .xdp ? .EINVAL : .ENODEV }
      throw unsupportedAttachment(program, "network interfaces")
    case .cgroupSkb, .cgroupSock, .cgroupSockAddr, .sockOps, .cgroupDevice, .cgroupSysctl, .cgroupSockopt:
      if case .closed = client.descriptor(it.signed(4)) { throw .EBADF }
      throw unsupportedAttachment(program, "control groups")
    case .flowDissector, .skLookup:
      if case .closed = client.descriptor(it.signed(4)) { throw .EINVAL }
      throw unsupportedAttachment(program, "network namespaces")
    case .skMsg, .skSkb, .netfilter, .ext: throw unsupportedAttachment(program, "its target")
    default: throw .EINVAL
    }
  }

  private static let perfEventAttachType: UInt32 = 41

  private func attachIterator(
    _ program: ProgramObject, _ it: Attributes, _ client: any Client
  ) throws(Errno) -> Answer {
    guard it.word(4) == 0, it.word(12) == 0 else { throw .EINVAL }
    guard let btf = linux.btf else { throw .ENOENT }
    let function = btf.name(program.program.attachBTFID)
    guard function.hasPrefix("bpf_iter_") else { throw .ENOENT }
    let name = String(function.dropFirst("bpf_iter_".count))
    let address = it.long(16)
    let size = Int(it.word(24))
    guard (address == 0) == (size == 0) else { throw .EINVAL }
    var map: MapObject?
    if size > 0 {
      guard size <= 4096 else { throw .E2BIG }
      let info = try client.read(address, size)
      guard info.dropFirst(16).allSatisfy({ $0 == 0 }) else { throw .E2BIG }
      if name == "bpf_map_elem" || name == "bpf_sk_storage_map" || name == "sockmap" {
        map = try client.map(Int32(bitPattern: info.word(0))).0
      }
    }
    if map == nil, name == "bpf_map_elem" { throw .EBADF }
    return .descriptor(
      tables.addLink { LinkObject(id: $0, program, .iterator(name, map: map)) }, access: [.read, .write])
  }

  func updateLink(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    let replace: UInt32 = 4
    guard it.word(8) & ~replace == 0 else { throw .EINVAL }
    let link = try client.link(it.signed(0))
    guard case .iterator = link.target else { throw .EINVAL }
    let new = try client.program(it.signed(4))
    var old: ProgramObject?
    if it.word(8) & replace != 0 {
      old = try client.program(it.signed(12))
    } else if it.word(12) != 0 {
      throw .EINVAL
    }
    if let old, old !== link.program { throw .EPERM }
    guard new.program.type == link.program.program.type,
      new.program.expectedAttachType == link.program.program.expectedAttachType,
      new.program.attachBTFID == link.program.program.attachBTFID
    else { throw .EINVAL }
    link.program = new
    return .value(0)
  }

  func detachLink(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    _ = try client.link(it.signed(0))
    throw .EOPNOTSUPP
  }

  func createIterator(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(4) == 0 else { throw .EINVAL }
    let link = try client.link(it.signed(0))
    guard case .iterator = link.target else { throw .EINVAL }
    throw unsupportedAttachment(link.program, "a walk over the system's objects")
  }

  // MARK: Attaching without links

  func attach(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(4) != 0 else { throw .EINVAL }
    let program = try client.program(it.signed(4))
    throw unsupportedAttachment(program, "its target")
  }

  func query(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(8) & ~1 == 0 else { throw .EINVAL }
    let type = AttachType(rawValue: it.word(4))
    let isDevice = (46...47).contains(type.rawValue) || (54...55).contains(type.rawValue)
    if !isDevice, case .closed = client.descriptor(it.signed(0)) { throw .EBADF }
    if isDevice, it.word(0) == 0 { throw .ENODEV }
    // Nothing is attached anywhere.
    try client.write(UInt32(0), to: it.address &+ 24)
    try client.write(UInt32(0), to: it.address &+ 12)
    return .value(0)
  }

  func queryDescriptor(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard may(.sysAdmin) else { throw .EPERM }
    guard it.word(8) == 0 else { throw .EINVAL }
    guard let target = client.descriptor(it.signed(4), of: it.word(0)) else { throw .ENOENT }
    if case .closed = target { throw .EBADF }
    guard case .object(let object, _) = target, let link = object as? LinkObject,
      case .rawTracepoint(let name, _) = link.target
    else { throw .ENOTSUPP }
    let room = Int(it.word(12))
    let text = Array(name.utf8)
    try client.write(UInt32(text.count), to: it.address &+ 12)
    var isShort = false
    if room > 0, it.long(16) != 0 {
      isShort = room < text.count + 1
      try client.write(Array(text.prefix(room - 1)) + [0], to: it.long(16))
    }
    try client.write(link.program.id, to: it.address &+ 24)
    try client.write(UInt32(0), to: it.address &+ 28)
    try client.write([UInt8](repeating: 0, count: 16), to: it.address &+ 32)
    if isShort { throw .ENOSPC }
    return .value(0)
  }
}
