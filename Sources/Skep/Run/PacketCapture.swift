#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Captured packets, read and written by libpcap.
///
/// The library is looked for when it is first needed: nothing else of Skep needs it.
public final class PacketCapture {
  /// Why a capture could not be read or written.
  public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
    case noLibrary
    case unreadable(path: String, reason: String)
    /// The file ends in the middle of a packet; those before it were read.
    case cutShort(path: String, packets: Int, reason: String)
    case notEthernet(path: String, linkType: String)
    case unwritable(path: String, reason: String)

    public var description: String {
      switch self {
      case .noLibrary: "captures need libpcap (libpcap.so.1 or libpcap.so.0.8), which is not installed"
      case .unreadable(let path, let reason): "\(path): \(reason)"
      case .cutShort(let path, let packets, let reason):
        "\(path): cut short after \(packets) \(packets == 1 ? "packet" : "packets"): \(reason)"
      case .notEthernet(let path, let linkType): "\(path): holds \(linkType) frames, and only Ethernet can be run"
      case .unwritable(let path, let reason): "\(path): \(reason)"
      }
    }
  }

  /// When a packet was captured: seconds since 1970 and nanoseconds.
  public struct Time: Sendable, Hashable {
    public var seconds: Int
    public var nanoseconds: Int
  }

  public struct Packet: Sendable {
    public var time: Time
    public var bytes: [UInt8]
    /// Bytes on the wire, of which a capture may have kept fewer.
    public var originalLength: Int
  }

  /// `DLT_EN10MB`.
  private static let ethernet: Int32 = 1
  public let path: String
  /// Bytes of the file; 0 where that cannot be told.
  public let size: Int
  private let library: PcapLibrary
  private let handle: OpaquePointer
  private var packets = 0

  /// Opens a capture of Ethernet frames (pcap or pcapng).
  public init(reading path: String) throws(Failure) {
    guard let library = PcapLibrary.shared else { throw .noLibrary }
    self.library = library
    self.path = path
    var message = [CChar](repeating: 0, count: 512)
    guard let handle = library.openOffline(path, 1, &message) else {
      throw .unreadable(path: path, reason: Self.reason(message, path))
    }
    self.handle = handle
    var status = stat()
    size = stat(path, &status) == 0 ? Int(status.st_size) : 0
    let type = library.dataLink(handle)
    if type != Self.ethernet {
      let name = library.dataLinkName(type).map { String(cString: $0) } ?? "link type \(type)"
      throw .notEthernet(path: path, linkType: name)
    }
  }

  deinit { library.close(handle) }

  /// libpcap's message, which begins with the file's name in some cases.
  private static func reason(_ message: [CChar], _ path: String) -> String {
    let text = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.hasPrefix("\(path): ") ? String(text.dropFirst(path.count + 2)) : text
  }

  /// The next packet; nil at the end.
  public func next() throws(Failure) -> Packet? {
    var place: UnsafeMutableRawPointer?
    var data: UnsafePointer<UInt8>?
    let result = library.nextPacket(handle, &place, &data)
    if result == -2 { return nil }
    guard result == 1, let header = place?.load(as: PcapHeader.self), let data else {
      throw .cutShort(path: path, packets: packets, reason: String(cString: library.error(handle)))
    }
    packets += 1
    return Packet(
      time: Time(seconds: header.seconds, nanoseconds: header.fraction),
      bytes: Array(UnsafeBufferPointer(start: data, count: Int(header.captured))),
      originalLength: Int(header.length))
  }

  /// How far reading is in the file, in bytes.
  public var position: Int { library.file(handle).map { max(0, ftell($0)) } ?? 0 }

  /// A capture that is written.
  public final class Writer {
    private let library: PcapLibrary
    private let handle: OpaquePointer
    private let file: OpaquePointer
    private let path: String
    private var isOpen = true

    /// Starts a capture of Ethernet frames in a new file.
    public init(writing path: String) throws(Failure) {
      guard let library = PcapLibrary.shared else { throw .noLibrary }
      self.library = library
      self.path = path
      guard let handle = library.openDead(PacketCapture.ethernet, 262_144, 1) else {
        throw .unwritable(path: path, reason: "libpcap has no memory for it")
      }
      guard let file = library.openDump(handle, path) else {
        let reason = String(cString: library.error(handle))
        library.close(handle)
        let isNamed = reason.hasPrefix("\(path): ")
        throw .unwritable(path: path, reason: isNamed ? String(reason.dropFirst(path.count + 2)) : reason)
      }
      self.handle = handle
      self.file = file
    }

    public func write(_ packet: Packet) {
      var header = PcapHeader(
        seconds: packet.time.seconds, fraction: packet.time.nanoseconds,
        captured: UInt32(truncatingIfNeeded: packet.bytes.count),
        length: UInt32(truncatingIfNeeded: max(packet.originalLength, packet.bytes.count)))
      packet.bytes.withUnsafeBufferPointer { bytes in
        library.dump(UnsafeMutableRawPointer(file), &header, bytes.baseAddress)
      }
    }

    /// Writes out what is left; says whether all of it could be written.
    public func finish() throws(Failure) {
      let failed = library.flush(file) != 0
      let reason = failed ? String(cString: strerror(errno)) : ""
      close()
      if failed { throw .unwritable(path: path, reason: reason) }
    }

    private func close() {
      guard isOpen else { return }
      isOpen = false
      library.closeDump(file)
      library.close(handle)
    }

    deinit { close() }
  }
}

/// `struct pcap_pkthdr` where `struct timeval` has two words of 64 bits.
private struct PcapHeader {
  var seconds: Int
  var fraction: Int
  var captured: UInt32
  var length: UInt32
}

/// The functions of libpcap that are used, found at run time.
private final class PcapLibrary: Sendable {
  let openOffline:
    @convention(c) (UnsafePointer<CChar>, UInt32, UnsafeMutablePointer<CChar>) -> OpaquePointer?
  let openDead: @convention(c) (Int32, Int32, UInt32) -> OpaquePointer?
  let nextPacket:
    @convention(c) (
      OpaquePointer, UnsafeMutablePointer<UnsafeMutableRawPointer?>, UnsafeMutablePointer<UnsafePointer<UInt8>?>
    ) -> Int32
  let dataLink: @convention(c) (OpaquePointer) -> Int32
  let dataLinkName: @convention(c) (Int32) -> UnsafePointer<CChar>?
  let error: @convention(c) (OpaquePointer) -> UnsafePointer<CChar>
  let file: @convention(c) (OpaquePointer) -> UnsafeMutablePointer<FILE>?
  let close: @convention(c) (OpaquePointer) -> Void
  let openDump: @convention(c) (OpaquePointer, UnsafePointer<CChar>) -> OpaquePointer?
  let dump: @convention(c) (UnsafeMutableRawPointer, UnsafeRawPointer, UnsafePointer<UInt8>?) -> Void
  let flush: @convention(c) (OpaquePointer) -> Int32
  let closeDump: @convention(c) (OpaquePointer) -> Void

  static let shared = PcapLibrary()

  private static let names = ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so", "libpcap.A.dylib", "libpcap.dylib"]

  private init?() {
    guard let library = Self.names.lazy.compactMap({ dlopen($0, RTLD_NOW) }).first,
      let openOffline = dlsym(library, "pcap_open_offline_with_tstamp_precision"),
      let openDead = dlsym(library, "pcap_open_dead_with_tstamp_precision"),
      let next = dlsym(library, "pcap_next_ex"), let dataLink = dlsym(library, "pcap_datalink"),
      let dataLinkName = dlsym(library, "pcap_datalink_val_to_name"), let error = dlsym(library, "pcap_geterr"),
      let file = dlsym(library, "pcap_file"), let close = dlsym(library, "pcap_close"),
      let openDump = dlsym(library, "pcap_dump_open"), let dump = dlsym(library, "pcap_dump"),
      let flush = dlsym(library, "pcap_dump_flush"), let closeDump = dlsym(library, "pcap_dump_close")
    else { return nil }
    func function<F>(_ symbol: UnsafeMutableRawPointer) -> F { unsafeBitCast(symbol, to: F.self) }
    self.openOffline = function(openOffline)
    self.openDead = function(openDead)
    self.nextPacket = function(next)
    self.dataLink = function(dataLink)
    self.dataLinkName = function(dataLinkName)
    self.error = function(error)
    self.file = function(file)
    self.close = function(close)
    self.openDump = function(openDump)
    self.dump = function(dump)
    self.flush = function(flush)
    self.closeDump = function(closeDump)
  }
}
