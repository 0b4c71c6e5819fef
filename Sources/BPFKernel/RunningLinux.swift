import BPFLinux
import BTF

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

extension Linux {
  /// The kernel that runs here, as far as any user may look: version, types, configuration, processors.
  ///
  /// - Parameter btfPath: types of another kernel to use in place of the running one's.
  public static func running(btfPath: String? = nil, capabilities: Capabilities = .all) throws(BTFError) -> Linux {
    var btf: BTF?
    if let btfPath {
      btf = try BTF.map(path: btfPath)
    } else if access("/sys/kernel/btf/vmlinux", R_OK) == 0 {
      btf = try BTF.map(path: "/sys/kernel/btf/vmlinux")
    }
    return Linux(
      version: .v6_18, btf: btf, config: KernelConfiguration.running(), capabilities: capabilities,
      possibleCPUs: possibleCPUCount())
  }

  /// Counts `/sys/devices/system/cpu/possible` (`0-3,8`).
  private static func possibleCPUCount() -> Int {
    guard let bytes = readFile("/sys/devices/system/cpu/possible") else {
      return max(1, sysconf(Int32(_SC_NPROCESSORS_CONF)))
    }
    var count = 0
    for part in bytes.split(whereSeparator: { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\n") }) {
      let ends = part.split(separator: UInt8(ascii: "-")).compactMap { Int(String(decoding: $0, as: UTF8.self)) }
      guard let first = ends.first, let last = ends.last, last >= first else { continue }
      count += last - first + 1
    }
    return max(1, count)
  }
}

/// A kernel's `CONFIG_…`, in the form of `Linux.config`.
public enum KernelConfiguration {
  /// From a file in the form of `/boot/config-…` or `/proc/config.gz`; nil where it cannot be read.
  public static func read(path: String) -> [String: String]? {
    guard let bytes = readFile(path) else { return nil }
    guard bytes.starts(with: [0x1f, 0x8b]) else { return parse(bytes) }
    return ZLib.gunzip(path).map(parse)
  }

  /// The running kernel's, from where libbpf looks for it too.
  static func running() -> [String: String] {
    var name = utsname()
    if uname(&name) == 0 {
      let release = withUnsafeBytes(of: name.release) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if let bytes = readFile("/boot/config-\(release)") { return parse(bytes) }
    }
    return ZLib.gunzip("/proc/config.gz").map(parse) ?? [:]
  }

  static func parse(_ bytes: [UInt8]) -> [String: String] {
    var values: [String: String] = [:]
    values.reserveCapacity(6000)
    for line in bytes.split(separator: UInt8(ascii: "\n")) where line.first == UInt8(ascii: "C") {
      guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { continue }
      values[String(decoding: line[..<equals], as: UTF8.self)] =
        String(decoding: line[(equals + 1)...], as: UTF8.self)
    }
    return values
  }
}

/// zlib, where the machine has it.
private enum ZLib {
  private typealias Open = @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>) -> OpaquePointer?
  private typealias Read = @convention(c) (OpaquePointer, UnsafeMutableRawPointer, UInt32) -> Int32
  private typealias Close = @convention(c) (OpaquePointer) -> Int32

  /// The contents of a compressed file; nil where it or the library is not there.
  static func gunzip(_ path: String) -> [UInt8]? {
    guard access(path, R_OK) == 0, let library = dlopen("libz.so.1", RTLD_NOW) else { return nil }
    defer { dlclose(library) }
    guard let openSymbol = dlsym(library, "gzopen"), let readSymbol = dlsym(library, "gzread"),
      let closeSymbol = dlsym(library, "gzclose")
    else { return nil }
    let open = unsafeBitCast(openSymbol, to: Open.self)
    let read = unsafeBitCast(readSymbol, to: Read.self)
    let close = unsafeBitCast(closeSymbol, to: Close.self)
    guard let file = open(path, "rb") else { return nil }
    defer { _ = close(file) }
    var contents: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = chunk.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { read(file, $0, UInt32(buffer.count)) } ?? 0
      }
      guard count > 0 else { return count == 0 ? contents : nil }
      contents += chunk[..<Int(count)]
    }
  }
}

/// A file's bytes; nil where it cannot be read.
public func readFile(_ path: String) -> [UInt8]? {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { return nil }
  defer { close(descriptor) }
  var contents: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    if count == 0 { return contents }
    guard count > 0 else {
      if errno == EINTR { continue }
      return nil
    }
    contents += chunk[..<count]
  }
}
