import BPFLinux
import CBPFRuntime

/// What a program runs on: a packet, a socket address, the arguments of a tracepoint, …
///
/// Its heart is the context block: the memory that register 1 points to. It begins with the structure that programs
/// of the type know (`struct xdp_md`, `struct __sk_buff`, …), byte for byte; behind that lie the pointers that the
/// structure only has 32 bits for, and what helpers must know of a packet. `ContextBlock.access` says where an access
/// of a program goes. Helpers get by with the block, so that none of them touches a Swift object.
///
/// A context serves one worker at a time, and one run after another: making it anew for each packet is not needed.
open class RunContext: @unchecked Sendable {
  /// The type of the programs that can run on it.
  public let type: ProgramType
  /// What register 1 holds.
  public let block: UnsafeMutableRawPointer
  /// Bytes of the block.
  public let blockSize: Int

  /// Helpers look for a packet in every block: there is always room to say that there is none.
  private static let minimumSize = 320

  /// - Parameter blockSize: bytes of the block, which begins as zeros.
  public init(type: ProgramType, blockSize: Int) {
    self.type = type
    self.blockSize = max(blockSize, Self.minimumSize)
    block = .allocate(byteCount: self.blockSize, alignment: 64)
    block.initializeMemory(as: UInt8.self, repeating: 0, count: self.blockSize)
  }

  deinit { block.deallocate() }

  /// The address that a program's entry takes.
  @inlinable public final var address: UInt64 { UInt64(UInt(bitPattern: block)) }
}

/// A context that is nothing but the bytes that programs see: arguments of a tracepoint or of a traced function,
/// registers at a probe, the argument of a `syscall` program, `struct bpf_sock_addr`, ….
public final class RawContext: RunContext, @unchecked Sendable {
  /// Bytes that the program sees.
  public let size: Int

  public init(type: ProgramType, bytes: [UInt8]) {
    size = bytes.count
    super.init(type: type, blockSize: bytes.count + 8)
    bytes.withUnsafeBytes { block.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(block), byteCount: $0.count) }
  }

  /// A context of 64-bit arguments, as raw tracepoints and traced functions have it.
  public convenience init(type: ProgramType, arguments: [UInt64]) {
    self.init(type: type, bytes: arguments.withUnsafeBytes { Array($0) })
  }

  /// What the program sees, or left behind.
  public var bytes: [UInt8] { Array(UnsafeRawBufferPointer(start: block, count: size)) }

  /// Sets a field of the structure that programs of this type see; false where there is no such field.
  @discardableResult
  public func set(_ field: String, _ value: UInt64, index: Int = 0, on linux: Linux) -> Bool {
    guard let found = ContextLayout.of(type, on: linux)?.fields.first(where: { $0.name.description == field }),
      index >= 0, index < Int(found.count)
    else { return false }
    let width = Int(found.elementSize)
    let offset = Int(found.offset) + index * width
    guard offset + width <= size else { return false }
    for byte in 0..<min(width, 8) {
      block.storeBytes(of: UInt8(truncatingIfNeeded: value >> (byte * 8)), toByteOffset: offset + byte, as: UInt8.self)
    }
    return true
  }
}
