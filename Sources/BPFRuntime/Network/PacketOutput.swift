import BPFLinux
import BPFMaps
import CBPFRuntime

/// `bpf_perf_event_output` of programs that have a packet: what they say, and behind it as much of the packet as they
/// ask for.
enum PacketOutput {
  private static let indexMask: UInt64 = 0xffff_ffff
  private static let lengthMask: UInt64 = 0xfffff << 32
  private static let currentCPU: UInt64 = 0xffff_ffff

  static let perfEvent: PacketFunction = { context, map, flags, data, size, run in
    let packet = PacketBlock(run)
    let hasPacket = packet.kind == PacketBlock.Kind.xdp || packet.kind == PacketBlock.Kind.socketBuffer
    guard flags & ~(indexMask | (hasPacket ? lengthMask : 0)) == 0 else { return failure(.EINVAL) }
    let wanted = Int((flags & lengthMask) >> 32)
    guard wanted == 0 || wanted <= PacketAccess.size(context) else { return failure(.EFAULT) }
    let index = flags & indexMask == currentCPU ? UInt64(run.pointee.cpu) : flags & indexMask
    let block = location(map).assumingMemoryBound(to: skep_map.self)
    guard let events = Map.of(block) as? PerfEventArray else { return failure(.EINVAL) }
    guard index < UInt64(block.pointee.max_entries) else { return failure(.E2BIG) }
    // Programs' sizes are below 2^29, a packet's below 2^20.
    let length = Int(truncatingIfNeeded: size)
    let sample = UnsafeMutableRawBufferPointer.allocate(byteCount: length + wanted, alignment: 8)
    defer { sample.deallocate() }
    if let base = sample.baseAddress {
      if length > 0 { base.copyMemory(from: location(data), byteCount: length) }
      if wanted > 0 { copy(packet, base + length, wanted) }
    }
    return UInt64(bitPattern: events.output(UInt32(index), UnsafeRawBufferPointer(sample)))
  }

  private static func copy(_ packet: PacketBlock, _ to: UnsafeMutableRawPointer, _ length: Int) {
    if packet.kind == PacketBlock.Kind.xdp {
      PacketAccess.copy(packet, 0, to, length, store: false)
    } else {
      to.copyMemory(from: packet.bytes, byteCount: length)
    }
  }
}
