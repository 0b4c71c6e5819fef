import BPFLinux
import BTF

extension System {
  private static let largestTypes: UInt32 = 16 << 20
  private static let tokenFlag: UInt32 = 1 << 16

  func loadTypes(_ it: Attributes, _ client: any Client) throws(Errno) -> Answer {
    guard it.word(32) & ~Self.tokenFlag == 0 else { throw .EINVAL }
    if it.word(32) & Self.tokenFlag != 0 { throw refuseToken(it.signed(36), client) }
    guard may(.bpf) else { throw .EPERM }
    guard it.word(16) <= Self.largestTypes else { throw .E2BIG }
    let log = ClientLog(level: it.word(24), address: it.long(8), size: it.word(20))
    try log.check()
    let bytes = try client.read(it.long(0), Int(it.word(16)))
    let (types, refusal) = Self.parse(bytes)
    let message = refusal.map { Self.headerText(bytes) + $0.message + "\n" } ?? Self.headerText(bytes)
    let text = log.level & 3 == 0 ? [] : Array(message.utf8)
    try log.finish(
      text, needed: text.isEmpty ? 0 : UInt32(text.count + 1), sizeAt: it.size >= 32 ? it.address &+ 28 : nil, client)
    if let refusal { throw refusal.errno }
    guard let types else { throw .EINVAL }
    return .descriptor(tables.addTypes(types), access: .read)
  }

  private static func parse(_ bytes: [UInt8]) -> (BTF?, (errno: Errno, message: String)?) {
    if let refusal = headerRefusal(bytes) { return (nil, refusal) }
    do throws(BTFError) {
      let btf = try BTF(parsing: bytes)
      guard let refusal = TypeInformationLoad.refusal(of: btf) else { return (btf, nil) }
      return (nil, (refusal.errno, "[\(refusal.type)] \(btf.name(refusal.type)) \(refusal.message)"))
    } catch {
      return (nil, (Errno(rawValue: error.errno), "\(error.rule)"))
    }
  }

  // MARK: The header

  private static let knownHeader = 24

  /// What of the header is refused before anything else is read.
  private static func headerRefusal(_ bytes: [UInt8]) -> (errno: Errno, message: String)? {
    guard bytes.count >= 8 else { return (.EINVAL, "hdr_len not found") }
    let length = Int(bytes.word(4))
    guard bytes.count >= length else { return (.EINVAL, "btf_header not found") }
    guard length <= knownHeader || bytes[knownHeader..<length].allSatisfy({ $0 == 0 }) else {
      return (.E2BIG, "Unsupported btf_header")
    }
    let header = knownPart(bytes)
    guard header.word(0) & 0xffff == 0xeb9f else { return (.EINVAL, "Invalid magic") }
    guard header[2] == 1 else { return (.ENOTSUPP, "Unsupported version") }
    guard header[3] == 0 else { return (.ENOTSUPP, "Unsupported flags") }
    guard bytes.count != length else { return (.EINVAL, "No data") }
    return nil
  }

  /// The header as the kernel copies it: what is not there is zero.
  private static func knownPart(_ bytes: [UInt8]) -> [UInt8] {
    let length = min(Int(bytes.word(4)), knownHeader, bytes.count)
    return Array(bytes.prefix(length)) + [UInt8](repeating: 0, count: knownHeader - length)
  }

  /// How the kernel's log begins.
  private static func headerText(_ bytes: [UInt8]) -> String {
    guard bytes.count >= 8, Int(bytes.word(4)) <= bytes.count else { return "" }
    let header = knownPart(bytes)
    return """
      magic: 0x\(String(header.word(0) & 0xffff, radix: 16))
      version: \(header[2])
      flags: 0x\(String(header[3], radix: 16))
      hdr_len: \(header.word(4))
      type_off: \(header.word(8))
      type_len: \(header.word(12))
      str_off: \(header.word(16))
      str_len: \(header.word(20))
      btf_total_size: \(bytes.count)

      """
  }
}
