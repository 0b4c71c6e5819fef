import BPFKernel
import BTF

/// Type information in a file: bare (`/sys/kernel/btf/vmlinux`) or the `.BTF` section of an ELF file.
public enum TypeInformationFile {
  /// Opens and checks it. Kernel modules' types stand on `vmlinux`, which is found beside them.
  public static func open(_ path: String, base: String? = nil) throws(BTFError) -> BTF {
    guard let bytes = readFile(path) else {
      throw BTFError(origin: path, offset: 0, rule: .unreadable(errno: 2))
    }
    var baseTypes: BTF?
    if let base {
      baseTypes = try open(base)
    } else if path.hasPrefix("/sys/kernel/btf/") && path != "/sys/kernel/btf/vmlinux" {
      baseTypes = try open("/sys/kernel/btf/vmlinux")
    }
    guard bytes.starts(with: [0x7f, UInt8(ascii: "E"), UInt8(ascii: "L"), UInt8(ascii: "F")]) else {
      return try BTF(parsing: bytes, base: baseTypes, origin: path)
    }
    guard let section = section(".BTF", of: bytes) else {
      throw BTFError(origin: path, offset: 0, rule: .malformed("the ELF file has no .BTF section"))
    }
    return try BTF(parsing: Array(section), base: baseTypes, origin: path)
  }

  /// A section of a 64-bit little-endian ELF file; nil where there is none or the tables do not hold together.
  private static func section(_ name: String, of bytes: [UInt8]) -> ArraySlice<UInt8>? {
    func number(_ offset: Int, _ size: Int) -> Int? {
      guard offset >= 0, offset <= bytes.count - size else { return nil }
      var value: UInt64 = 0
      for index in (0..<size).reversed() { value = value << 8 | UInt64(bytes[offset + index]) }
      return Int(exactly: value)
    }
    guard bytes.count >= 64, bytes[4] == 2, bytes[5] == 1, let table = number(40, 8), let entry = number(58, 2),
      let count = number(60, 2), let namesIndex = number(62, 2), entry >= 64, table <= bytes.count,
      count * entry <= bytes.count - table, namesIndex < count,
      let names = number(table + namesIndex * entry + 24, 8)
    else { return nil }
    for index in 0..<count {
      let header = table + index * entry
      guard let nameOffset = number(header, 4), let offset = number(header + 24, 8), let size = number(header + 32, 8),
        names <= bytes.count, nameOffset < bytes.count - names
      else { continue }
      guard bytes[(names + nameOffset)...].prefix(while: { $0 != 0 }).elementsEqual(name.utf8) else { continue }
      guard offset <= bytes.count, size <= bytes.count - offset else { return nil }
      return bytes[offset..<(offset + size)]
    }
    return nil
  }
}
