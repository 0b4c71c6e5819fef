import BPFLinux
import BPFMaps
import CBPFRuntime

/// Helpers of XDP programs.
enum XDPHelpers {
  private static let frameHeader = UInt64(XDPContext.frameHeader)
  private static let ethernetHeader = 14
  private static let maximumMetadata = 252

  static let adjustHead: PacketFunction = { context, delta, _, _, _, _ in
    let packet = PacketBlock(context)
    let offset = UInt64(bitPattern: Int64(int(delta)))
    let metadata = packet.data &- packet.dataMeta
    let data = packet.data &+ offset
    guard data >= packet.head &+ frameHeader &+ metadata, data <= packet.dataEnd &- UInt64(ethernetHeader) else {
      return failure(.EINVAL)
    }
    if metadata != 0 {
      location(packet.dataMeta &+ offset).copyMemory(from: location(packet.dataMeta), byteCount: Int(metadata))
    }
    packet.dataMeta = packet.dataMeta &+ offset
    packet.data = data
    return 0
  }

  static let adjustMeta: PacketFunction = { context, delta, _, _, _, _ in
    let packet = PacketBlock(context)
    let metadata = packet.dataMeta &+ UInt64(bitPattern: Int64(int(delta)))
    guard metadata >= packet.head &+ frameHeader, metadata <= packet.data else { return failure(.EINVAL) }
    let size = packet.data &- metadata
    guard size & 3 == 0, size <= UInt64(maximumMetadata) else { return failure(.EACCES) }
    packet.dataMeta = metadata
    return 0
  }

  static let adjustTail: PacketFunction = { context, delta, _, _, _, _ in
    let packet = PacketBlock(context)
    let offset = int(delta)
    if packet.fragments.count != 0 {
      return result(offset < 0 ? shrinkFragments(packet, -offset) : growFragment(packet, offset))
    }
    let end = packet.dataEnd &+ UInt64(bitPattern: Int64(offset))
    guard end <= packet.limit, end >= packet.data &+ UInt64(ethernetHeader) else { return failure(.EINVAL) }
    if offset > 0 {
      location(packet.dataEnd).initializeMemory(as: UInt8.self, repeating: 0, count: offset)
    }
    packet.dataEnd = end
    return 0
  }

  private static func growFragment(_ packet: PacketBlock, _ offset: Int) -> Int {
    let table = packet.fragments
    let last = table.count - 1
    let size = table.size(last)
    guard offset <= FragmentTable.pageSize - size - table.pageOffset(last) else { return -Int(Errno.EINVAL.rawValue) }
    (table.bytes(last) + size).initializeMemory(as: UInt8.self, repeating: 0, count: offset)
    table.set(last, table.bytes(last), size: size + offset, pageOffset: table.pageOffset(last))
    packet.fragmentedSize += UInt32(offset)
    return 0
  }

  private static func shrinkFragments(_ packet: PacketBlock, _ offset: Int) -> Int {
    // The smallest number of 32 bits has no positive counterpart: Linux cuts nothing off.
    guard offset <= Int(Int32.max) else { return 0 }
    guard offset <= packet.linearSize + Int(packet.fragmentedSize) - ethernetHeader else {
      return -Int(Errno.EINVAL.rawValue)
    }
    let table = packet.fragments
    var rest = offset
    while table.count > 0, rest > 0 {
      let last = table.count - 1
      let cut = min(rest, table.size(last))
      rest -= cut
      packet.fragmentedSize -= UInt32(cut)
      if cut == table.size(last) {
        table.count = last
      } else {
        table.set(last, table.bytes(last), size: table.size(last) - cut, pageOffset: table.pageOffset(last))
      }
    }
    if table.count == 0 { packet.dataEnd = packet.dataEnd &- UInt64(rest) }
    return 0
  }

  static let bufferLength: PacketFunction = { context, _, _, _, _, _ in
    let packet = PacketBlock(context)
    return UInt64(UInt32(truncatingIfNeeded: packet.linearSize + Int(packet.fragmentedSize)))
  }

  static let loadBytes: PacketFunction = { context, offset, buffer, length, _, _ in
    result(
      PacketAccess.load(
        context, Int(UInt32(truncatingIfNeeded: offset)), location(buffer), Int(UInt32(truncatingIfNeeded: length))))
  }

  static let storeBytes: PacketFunction = { context, offset, buffer, length, _, _ in
    result(
      PacketAccess.store(
        context, Int(UInt32(truncatingIfNeeded: offset)), location(buffer), Int(UInt32(truncatingIfNeeded: length))))
  }

  /// `bpf_xdp_pull_data`: makes the first `length` bytes lie in the linear part.
  static let pullData: PacketFunction = { context, length, _, _, _, _ in
    let packet = PacketBlock(context)
    let wanted = Int(UInt32(truncatingIfNeeded: length))
    let linear = packet.linearSize
    guard wanted > linear else { return 0 }
    guard wanted <= linear + Int(packet.fragmentedSize) else { return int32(-Int(Errno.EINVAL.rawValue)) }
    let headroom = Int(packet.dataMeta) - Int(packet.head) - XDPContext.frameHeader
    let tailroom = Int(packet.limit) - Int(packet.dataEnd)
    var missing = wanted - linear
    guard missing <= headroom + tailroom else { return int32(-Int(Errno.EINVAL.rawValue)) }
    let shift = missing - tailroom
    if shift > 0 {
      let start = location(packet.dataMeta)
      (start - shift).copyMemory(from: start, byteCount: Int(packet.dataEnd &- packet.dataMeta))
      packet.dataMeta = packet.dataMeta &- UInt64(shift)
      packet.data = packet.data &- UInt64(shift)
      packet.dataEnd = packet.dataEnd &- UInt64(shift)
    }
    let table = packet.fragments
    var emptied = 0
    for index in 0..<table.count where missing > 0 {
      let cut = min(missing, table.size(index))
      location(packet.dataEnd).copyMemory(from: table.bytes(index), byteCount: cut)
      packet.dataEnd = packet.dataEnd &+ UInt64(cut)
      packet.fragmentedSize -= UInt32(cut)
      missing -= cut
      if cut == table.size(index) {
        emptied += 1
      } else {
        table.set(
          index, table.bytes(index) + cut, size: table.size(index) - cut, pageOffset: table.pageOffset(index) + cut)
      }
    }
    for index in emptied..<max(emptied, table.count) {
      table.set(
        index - emptied, table.bytes(index), size: table.size(index), pageOffset: table.pageOffset(index))
    }
    table.count -= emptied
    return 0
  }

  // MARK: Redirects

  private static let aborted: UInt64 = 0
  private static let redirected: UInt64 = 4
  private static let actions: UInt64 = 3
  private static let broadcast: UInt64 = 1 << 3
  private static let excludeIngress: UInt64 = 1 << 4

  static let redirect: PacketFunction = { interface, flags, _, _, _, run in
    guard flags == 0 else { return aborted }
    let packet = PacketBlock(run)
    packet.redirectKind = 1
    packet.redirectTarget = interface & 0xffff_ffff
    packet.redirectMap = 0
    packet.redirectFlags = 0
    return redirected
  }

  /// The two low bits of the flags say what to return where there is no such entry.
  static let redirectMap: PacketFunction = { map, index, flags, _, _, run in
    let block = location(map).assumingMemoryBound(to: skep_map.self)
    let type = MapType(rawValue: block.pointee.type)
    let takesBroadcast = type == .devmap || type == .devmapHash
    guard flags & ~(actions | (takesBroadcast ? broadcast | excludeIngress : 0)) == 0 else { return aborted }
    var key = UInt32(truncatingIfNeeded: index)
    let found = block.pointee.lookup?(block, &key, run) ?? 0
    let packet = PacketBlock(run)
    // Errors of maps that programs do not look into are small negative numbers, and no entries either.
    guard found != 0 && Int64(bitPattern: found) > 0 || flags & broadcast != 0 else {
      packet.redirectKind = 0
      return flags & actions
    }
    packet.redirectKind = 1
    packet.redirectTarget = UInt64(key)
    packet.redirectMap = map
    packet.redirectFlags = flags & broadcast != 0 ? flags : 0
    return redirected
  }

  // MARK: What devices know

  static let checkMTU: PacketFunction = { context, interface, length, difference, flags, _ in
    guard flags == 0 else { return failure(.EINVAL) }
    let packet = PacketBlock(context)
    let index = UInt32(truncatingIfNeeded: interface)
    guard let mtu = packet.interfaces.mtu(index == 0 ? packet.load(12) : index) else { return failure(.ENODEV) }
    let given = location(length).load(as: UInt32.self)
    let size = given == 0 ? packet.linearSize : Int(Int32(truncatingIfNeeded: given)) + InterfaceTable.headerLength
    location(length).storeBytes(of: mtu, as: UInt32.self)
    return size + int(difference) > Int(mtu) + InterfaceTable.headerLength ? 1 : 0
  }

  /// What needs a device that the program is bound to.
  static let noMetadata: PacketFunction = { _, _, _, _, _, _ in int32(-Int(Errno.EOPNOTSUPP.rawValue)) }
}
