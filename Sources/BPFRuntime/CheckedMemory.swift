import BPFLinux
import BPFMaps
import CBPFRuntime

/// The memory that a program may know of, apart from its stack.
struct CheckedMemory {
  private struct Region {
    var start: UInt64
    var size: UInt64
    var what: String
  }

  /// For memory whose size only the kernel's types tell.
  static let unknownSize = 4096
  private var regions: [Region] = []

  mutating func add(_ start: UInt64, _ size: Int, _ what: String) {
    if let known = regions.firstIndex(where: { $0.start == start }) {
      regions[known].size = max(regions[known].size, UInt64(size))
    } else {
      regions.append(Region(start: start, size: UInt64(size), what: what))
    }
  }

  /// Values that lie at fixed places.
  mutating func addMaps(_ maps: [Map], cpuCount: Int) {
    for map in maps {
      add(bits(of: map.block), MemoryLayout<skep_map>.size, "map \(map.definition.name) itself")
      guard let values = map.block.pointee.values, map.definition.type != .arena else { continue }
      let block = map.block.pointee
      let size =
        block.cpu_stride != 0 ? block.cpu_stride &* UInt64(cpuCount) : block.stride &* UInt64(block.max_entries)
      add(UInt64(UInt(bitPattern: values)), Int(truncatingIfNeeded: size), "map \(map.definition.name)")
    }
  }

  func holds(_ address: UInt64, _ size: Int) -> Bool {
    regions.contains { address >= $0.start && address &- $0.start &+ UInt64(size) <= $0.size }
  }

  /// The context, and the packet that it has now: helpers move it.
  func contextHolds(_ address: UInt64, _ size: Int, _ run: UnsafeMutablePointer<skep_run>) -> Bool {
    guard let environment = run.pointee.environment, let block = run.pointee.context else { return false }
    let context = Unmanaged<RunContext>.fromOpaque(environment).takeUnretainedValue()
    let start = UInt64(UInt(bitPattern: block))
    if address >= start && address &- start &+ UInt64(size) <= UInt64(context.blockSize) { return true }
    let packet = PacketBlock(block)
    guard packet.kind != PacketBlock.Kind.none else { return false }
    let first = packet.dataMeta == 0 ? packet.data : min(packet.data, packet.dataMeta)
    return address >= first && address &+ UInt64(size) <= packet.dataEnd
  }

  /// Neither a small number nor the number of an error, nor beyond what user space can have.
  func mayBeAddress(_ value: UInt64) -> Bool { value >= 65536 && value >> 47 == 0 }
}
