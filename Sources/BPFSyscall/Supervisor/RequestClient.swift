import BPFLinux
import BPFMaps
import CBPFSupervisor

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A process whose call waits for the supervisor's answer.
final class RequestClient: Client {
  let user: UInt32
  private let files: FileTable
  private let listener: Int32
  private let request: UInt64
  private let process: pid_t
  private let bpfDevice: UInt64

  init(_ request: skep_request, listener: Int32, files: FileTable, bpfDevice: UInt64, user: UInt32) {
    self.request = request.id
    process = pid_t(bitPattern: request.pid)
    self.listener = listener
    self.files = files
    self.bpfDevice = bpfDevice
    self.user = user
  }

  /// Until it is answered, the process's number cannot become another's.
  var isWaiting: Bool { skep_request_is_alive(listener, request) != 0 }

  // MARK: Memory

  private static let piece = 1 << 20

  func read(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8] {
    guard count > 0 else { return [] }
    var result = try readPiece(address, min(count, Self.piece))
    while result.count < count {
      result += try readPiece(address &+ UInt64(result.count), min(count - result.count, Self.piece))
    }
    return result
  }

  private func readPiece(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8] {
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      let moved = skep_client_read(process, address, buffer.baseAddress, UInt(count))
      filled = moved == count ? count : 0
    }
    guard bytes.count == count else { throw .EFAULT }
    return bytes
  }

  func write(_ bytes: [UInt8], to address: UInt64) throws(Errno) {
    guard !bytes.isEmpty else { return }
    guard isWaiting else { throw .EFAULT }
    let moved = bytes.withUnsafeBytes { skep_client_write(process, address, $0.baseAddress, UInt($0.count)) }
    guard moved == bytes.count else { throw .EFAULT }
  }

  // MARK: Descriptors

  func descriptor(_ number: Int32) -> DescriptorTarget { target(number, of: process) }

  func descriptor(_ number: Int32, of process: UInt32) -> DescriptorTarget? {
    let process = pid_t(bitPattern: process)
    guard process > 0, access("/proc/\(process)", F_OK) == 0 else { return nil }
    return target(number, of: process)
  }

  func identity(_ number: Int32) -> FileIdentity? {
    var identity = FileIdentity()
    var access: Int32 = 0
    guard number >= 0,
      skep_client_file(process, number, &identity.device, &identity.inode, &access) == 0
    else { return nil }
    return identity
  }

  private func target(_ number: Int32, of process: pid_t) -> DescriptorTarget {
    var identity = FileIdentity()
    var access: Int32 = 0
    guard number >= 0, skep_client_file(process, number, &identity.device, &identity.inode, &access) == 0 else {
      return .closed
    }
    guard let object = files.object(identity) else { return .foreign }
    return .object(object, access: MapAccess(rawValue: UInt8(truncatingIfNeeded: access)))
  }

  // MARK: The BPF file system

  private static let here: Int32 = -100

  func open(_ path: String, directory: Int32?, isFolder: Bool = false) throws(Errno) -> Int32 {
    let file = skep_client_open(process, directory ?? Self.here, path, isFolder ? 1 : 0)
    guard file >= 0 else { throw Errno(rawValue: -file) }
    return file
  }

  func pin(_ object: SystemObject, _ path: String, directory: Int32?) throws(Errno) {
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
    let parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    guard !name.isEmpty else { throw .ENOENT }
    guard name != ".", name != ".." else { throw .EEXIST }
    let folder = try open(parent, directory: directory, isFolder: true)
    defer { close(folder) }
    guard FileIdentity(descriptor: folder)?.device == bpfDevice else {
      var status = stat()
      throw fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? .EEXIST : .EPERM
    }
    // Names with dots are kept for later.
    guard !name.utf8.contains(UInt8(ascii: ".")) else { throw .EPERM }
    let file = openat(folder, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
    guard file >= 0 else { throw Errno(rawValue: errno) }
    defer { close(file) }
    try files.pin(object, file: file)
  }

  func pinned(_ path: String, directory: Int32?, access: MapAccess) throws(Errno) -> SystemObject {
    let file = try open(path, directory: directory)
    defer { close(file) }
    guard let identity = FileIdentity(descriptor: file), let object = files.pinned(identity) else { throw .EACCES }
    return object
  }
}
