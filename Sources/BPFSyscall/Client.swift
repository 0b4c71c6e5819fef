import BPFLinux
import BPFMaps

/// Whoever calls `bpf(2)`: a process, as far as the system has to know it.
///
/// Calls may come from many threads; one client value stands for one call.
public protocol Client: AnyObject, Sendable {
  /// The number of its user, as it sees itself.
  var user: UInt32 { get }
  /// Its memory; `EFAULT` where there is none.
  func read(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8]
  func write(_ bytes: [UInt8], to address: UInt64) throws(Errno)
  /// What one of its descriptors is.
  func descriptor(_ number: Int32) -> DescriptorTarget
  /// What a descriptor of another process is; nil where there is no such process.
  func descriptor(_ number: Int32, of process: UInt32) -> DescriptorTarget?
  /// Puts an object into the BPF file system.
  func pin(_ object: SystemObject, _ path: String, directory: Int32?) throws(Errno)
  /// The object at a path of the BPF file system.
  func pinned(_ path: String, directory: Int32?, access: MapAccess) throws(Errno) -> SystemObject
  /// Whether somebody still waits for the answer.
  var isWaiting: Bool { get }
}

/// What a descriptor of a client is.
public enum DescriptorTarget: Sendable {
  case closed
  /// Open, but nothing of BPF.
  case foreign
  case object(SystemObject, access: MapAccess)
}

/// The answer to a call.
public enum Answer: Sendable {
  case value(Int64)
  /// A new descriptor of the object.
  case descriptor(SystemObject, access: MapAccess)
  case failure(Errno)
}

extension Client {
  func write(_ value: some FixedWidthInteger & BitwiseCopyable, to address: UInt64) throws(Errno) {
    try write(bytes(of: value), to: address)
  }

  /// Bytes up to a zero byte, at most `limit`.
  func text(_ address: UInt64, limit: Int) throws(Errno) -> [UInt8] {
    var result: [UInt8] = []
    var next = address
    while result.count < limit {
      // Never across a page that need not be there.
      let room = 4096 - Int(next & 4095)
      let piece = try read(next, min(room, limit - result.count))
      if let end = piece.firstIndex(of: 0) { return result + piece[..<end] }
      result += piece
      next &+= UInt64(piece.count)
    }
    return result
  }

  /// The map of a descriptor, and what the descriptor may do.
  func map(_ number: Int32) throws(Errno) -> (MapObject, MapAccess) {
    switch descriptor(number) {
    case .closed: throw .EBADF
    case .object(let object as MapObject, let access): return (object, access)
    default: throw .EINVAL
    }
  }

  func program(_ number: Int32) throws(Errno) -> ProgramObject {
    switch descriptor(number) {
    case .closed: throw .EBADF
    case .object(let object as ProgramObject, _): return object
    default: throw .EINVAL
    }
  }

  func link(_ number: Int32) throws(Errno) -> LinkObject {
    switch descriptor(number) {
    case .closed: throw .EBADF
    case .object(let object as LinkObject, _): return object
    default: throw .EINVAL
    }
  }

  func types(_ number: Int32) throws(Errno) -> TypesObject {
    switch descriptor(number) {
    case .closed: throw .EBADF
    case .object(let object as TypesObject, _): return object
    default: throw .EINVAL
    }
  }
}
