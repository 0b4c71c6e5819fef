import BPFLinux
import BTF

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// What an extern comes to on a Linux.
struct ResolvedExtern: Sendable {
  /// Declared with a type that the kernel's must be compatible with.
  var isTyped = false
  var isSet = false
  /// Place in the `.kconfig` map; nil for kernel symbols.
  var configurationOffset: UInt32?
  var kernelTypeID: TypeID?
  var address: UInt64 = 0
}

/// Looks up an object's externs: configuration values, kernel variables, kfuncs.
struct ExternResolution {
  private(set) var externs: [ResolvedExtern]
  /// Content of the `.kconfig` map.
  private(set) var kconfig: [UInt8] = []
  private(set) var error: LinkError?

  init(_ object: ObjectFile, _ linux: Linux, _ options: LinkOptions) {
    externs = object.externs.map { extern in
      switch extern.kind {
      case .configuration(let value): ResolvedExtern(configurationOffset: value.offset)
      case .symbol(let type): ResolvedExtern(isTyped: type != 0)
      }
    }
    if let map = object.kconfigMap { kconfig = object.maps[map].definition.initialValue }
    do {
      try resolve(object, linux, options)
    } catch {
      self.error = error
    }
  }

  private mutating func resolve(_ object: ObjectFile, _ linux: Linux, _ options: LinkOptions) throws(LinkError) {
    var needsAddresses = false
    for (index, extern) in object.externs.enumerated() {
      switch extern.kind {
      case .symbol(let type): if type == 0 { needsAddresses = true }
      case .configuration(let value):
        guard !extern.name.hasPrefix("CONFIG_") else { continue }
        try set(index, extern, value, number: try virtualValue(extern, linux, options))
      }
    }
    try resolveConfiguration(object, linux, options)
    if needsAddresses { try resolveAddresses(object, linux) }
    for (index, extern) in object.externs.enumerated() {
      guard case .symbol(let type) = extern.kind, type != 0 else { continue }
      try resolveType(index, extern, type, object, linux)
    }
    for (index, extern) in object.externs.enumerated() where !externs[index].isSet && !extern.isWeak {
      throw LinkError(
        errno: LoaderErrno.noSuchObject, message: "extern '\(extern.name)' (strong): not resolved")
    }
  }

  // MARK: Configuration

  /// `LINUX_…` variables, which libbpf defines itself.
  private func virtualValue(
    _ extern: ObjectExtern, _ linux: Linux, _ options: LinkOptions
  ) throws(LinkError) -> UInt64 {
    switch extern.name {
    case "LINUX_KERNEL_VERSION": return UInt64(ExternResolution.kernelVersion(linux, options))
    case "LINUX_HAS_BPF_COOKIE": return linux.version >= Linux.Version(5, 15) ? 1 : 0
    case "LINUX_HAS_SYSCALL_WRAPPER":
      // libbpf finds out by a probe, which a kernel without kprobes cannot make.
      return linux.version >= Linux.Version(4, 17) && linux.isConfigured("CONFIG_KPROBES") ? 1 : 0
    default:
      guard extern.name.hasPrefix("LINUX_"), extern.isWeak else {
        throw LinkError(
          errno: LoaderErrno.invalid, message: "extern (kcfg) '\(extern.name)': unrecognized virtual extern")
      }
      return 0
    }
  }

  /// `KERNEL_VERSION(major, minor, patch)`.
  static func kernelVersion(_ linux: Linux, _ options: LinkOptions) -> UInt32 {
    let major = UInt32(truncatingIfNeeded: linux.version.major)
    let minor = UInt32(truncatingIfNeeded: linux.version.minor)
    let patch = options.patchLevel ?? runningPatchLevel(of: linux.version)
    return major << 16 &+ minor << 8 &+ min(patch, 255)
  }

  private static func runningPatchLevel(of version: Linux.Version) -> UInt32 {
    var names = utsname()
    guard uname(&names) == 0 else { return 0 }
    let release = withUnsafeBytes(of: &names.release) { bytes in
      String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let numbers = release.split(separator: ".", maxSplits: 2).map { part in
      UInt32(part.prefix { $0.isNumber }) ?? 0
    }
    guard numbers.count == 3, numbers[0] == version.major, numbers[1] == version.minor else { return 0 }
    return numbers[2]
  }

  private mutating func resolveConfiguration(
    _ object: ObjectFile, _ linux: Linux, _ options: LinkOptions
  ) throws(LinkError) {
    for (index, extern) in object.externs.enumerated() {
      guard case .configuration(let value) = extern.kind, extern.name.hasPrefix("CONFIG_") else { continue }
      if linux.config.isEmpty && options.extraConfiguration[extern.name] == nil {
        throw LinkError(errno: LoaderErrno.invalid, message: "failed to open system Kconfig")
      }
      guard let text = options.extraConfiguration[extern.name] ?? linux.config[extern.name] else { continue }
      do {
        try set(index, extern, value, text: text)
      } catch {
        throw LinkError(errno: LoaderErrno.invalid, message: error.message)
      }
    }
  }

  private func refuse(_ extern: ObjectExtern, _ rule: String, _ errno: Int32 = LoaderErrno.invalid) -> LinkError {
    LinkError(errno: errno, message: "extern (kcfg) '\(extern.name)': \(rule)")
  }

  private mutating func set(
    _ index: Int, _ extern: ObjectExtern, _ value: ObjectExtern.ConfigurationValue, text: String
  ) throws(LinkError) {
    switch text.utf8.first {
    case UInt8(ascii: "y"), UInt8(ascii: "n"), UInt8(ascii: "m"):
      let letter = text.utf8.first ?? 0
      let number: UInt64
      switch value.shape {
      case .boolean:
        guard letter != UInt8(ascii: "m") else {
          throw refuse(extern, "value 'm' implies tristate or char type")
        }
        number = letter == UInt8(ascii: "y") ? 1 : 0
      case .tristate:
        number = letter == UInt8(ascii: "y") ? 1 : letter == UInt8(ascii: "m") ? 2 : 0
      case .character:
        number = UInt64(letter)
      case .integer, .string:
        throw refuse(extern, "value '\(text)' implies bool, tristate, or char type")
      }
      // A tristate is an enumeration of four bytes whatever its declared width.
      store(number, at: value.offset, size: value.shape == .tristate ? 4 : 1)
      externs[index].isSet = true
    case UInt8(ascii: "\""):
      try set(index, extern, value, string: Array(text.utf8))
    default:
      guard let number = ExternResolution.parseNumber(text) else {
        throw refuse(extern, "value '\(text)' isn't a valid integer")
      }
      guard value.shape == .integer || value.shape == .character else {
        throw refuse(extern, "value '\(text)' implies integer type")
      }
      try set(index, extern, value, number: number)
    }
  }

  private mutating func set(
    _ index: Int, _ extern: ObjectExtern, _ value: ObjectExtern.ConfigurationValue, string: [UInt8]
  ) throws(LinkError) {
    guard value.shape == .string else { throw refuse(extern, "value implies char array type") }
    guard string.count >= 2, string.last == UInt8(ascii: "\"") else { throw refuse(extern, "invalid string config") }
    let text = string.dropFirst().dropLast().prefix(Int(value.size) - 1)
    for (place, byte) in text.enumerated() { store(UInt64(byte), at: value.offset &+ UInt32(place), size: 1) }
    store(0, at: value.offset &+ UInt32(text.count), size: 1)
    externs[index].isSet = true
  }

  private mutating func set(
    _ index: Int, _ extern: ObjectExtern, _ value: ObjectExtern.ConfigurationValue, number: UInt64
  ) throws(LinkError) {
    guard value.shape == .integer || value.shape == .character || value.shape == .boolean else {
      throw refuse(extern, "value '\(number)' implies integer, char, or boolean type")
    }
    guard value.shape != .boolean || number <= 1 else {
      throw refuse(extern, "value '\(number)' isn't boolean compatible")
    }
    if value.size < 8 {
      let bits = UInt64(value.size) * 8
      let fits =
        value.isSigned ? number &+ (1 << (bits - 1)) < (1 << bits) : number >> bits == 0
      guard fits else {
        throw refuse(extern, "value '\(number)' doesn't fit in \(value.size) bytes", LoaderErrno.range)
      }
    }
    store(number, at: value.offset, size: value.size)
    externs[index].isSet = true
  }

  private mutating func store(_ number: UInt64, at offset: UInt32, size: UInt32) {
    for index in 0..<Int(min(size, 8)) {
      let place = Int(offset) + index
      guard place < kconfig.count else { return }
      kconfig[place] = UInt8(truncatingIfNeeded: number >> (UInt64(index) * 8))
    }
  }

  /// C's reading of a whole number in any base; a minus sign wraps around.
  static func parseNumber(_ text: String) -> UInt64? {
    var digits = Substring(text)
    let isNegative = digits.hasPrefix("-")
    if isNegative || digits.hasPrefix("+") { digits.removeFirst() }
    let number: UInt64?
    if digits.hasPrefix("0x") || digits.hasPrefix("0X") {
      number = UInt64(digits.dropFirst(2), radix: 16)
    } else if digits.hasPrefix("0") {
      number = UInt64(digits, radix: 8)
    } else {
      number = digits.first?.isNumber == true ? UInt64(digits) : nil
    }
    return number.map { isNegative ? 0 &- $0 : $0 }
  }

  // MARK: Kernel symbols

  private mutating func resolveAddresses(_ object: ObjectFile, _ linux: Linux) throws(LinkError) {
    var wanted: [String: Int] = [:]
    for (index, extern) in object.externs.enumerated() {
      if case .symbol = extern.kind, !extern.isFunction { wanted[extern.name] = index }
    }
    if let symbols = linux.symbols {
      for (name, index) in wanted {
        guard let address = symbols[name] else { continue }
        externs[index].address = address
        externs[index].isSet = true
      }
      return
    }
    guard let found = KernelSymbols.addresses(of: Set(wanted.keys)) else {
      throw LinkError(errno: LoaderErrno.invalid, message: "failed to open /proc/kallsyms")
    }
    for (name, index) in wanted {
      guard let addresses = found[name], let address = addresses.first else { continue }
      if let other = addresses.first(where: { $0 != address }) {
        throw LinkError(
          errno: LoaderErrno.invalid,
          message: "extern (ksym) '\(name)': resolution is ambiguous: 0x\(String(address, radix: 16)) or "
            + "0x\(String(other, radix: 16))")
      }
      externs[index].address = address
      externs[index].isSet = true
    }
  }

  private mutating func resolveType(
    _ index: Int, _ extern: ObjectExtern, _ type: TypeID, _ object: ObjectFile, _ linux: Linux
  ) throws(LinkError) {
    guard let kernel = linux.btf, let local = object.btf else { return }
    let name = extern.isFunction ? extern.essentialName : extern.name
    let kind: BTFKind = extern.isFunction ? .function : .variable
    guard let id = kernel.find(name, kind: kind) else {
      if extern.isWeak { return }
      let what = extern.isFunction ? "func" : "var"
      let place = extern.isFunction ? "kernel or module BTFs" : "kernel BTF"
      throw LinkError(
        errno: LoaderErrno.invalid, message: "extern (\(what) ksym) '\(extern.name)': not found in \(place)")
    }
    let target = extern.isFunction ? kernel.type(id).target : kernel.skipModifiers(kernel.type(id).target)
    var isCompatible = false
    do {
      isCompatible = try COREResolver.areTypesCompatible(local: local, type, target: kernel, target)
    } catch {
      isCompatible = false
    }
    guard isCompatible else {
      if extern.isWeak && extern.isFunction { return }
      let message =
        extern.isFunction
        ? "extern (func ksym) '\(extern.name)': func_proto [\(type)] incompatible with vmlinux [\(target)]"
        : "extern (var ksym) '\(extern.name)': incompatible types, expected [\(type)] "
          + "\(local.kind(type).libbpfName) \(local.name(type)), but kernel has [\(target)] "
          + "\(kernel.kind(target).libbpfName) \(kernel.name(target))"
      throw LinkError(errno: LoaderErrno.invalid, message: message)
    }
    externs[index].kernelTypeID = id
    externs[index].isSet = true
  }
}

/// `/proc/kallsyms` of the running kernel.
enum KernelSymbols {
  /// Addresses of the wanted names, all that a name has; nil where the file cannot be read.
  static func addresses(of wanted: Set<String>) -> [String: [UInt64]]? {
    guard let file = fopen("/proc/kallsyms", "re") else { return nil }
    defer { fclose(file) }
    var result: [String: [UInt64]] = [:]
    var line = [CChar](repeating: 0, count: 1024)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = line.prefix { $0 != 0 && $0 != 10 }.map { UInt8(bitPattern: $0) }
      let fields = text.split(maxSplits: 2) { $0 == 0x20 }
      guard fields.count == 3 else { continue }
      let name = String(decoding: fields[2].prefix { $0 != 0x20 && $0 != 0x09 }, as: UTF8.self)
      var key = name
      // Link-time optimisation renames static data.
      if fields[1].first == UInt8(ascii: "d"), let suffix = name.firstRange(of: ".llvm.") {
        key = String(name[..<suffix.lowerBound])
      }
      guard wanted.contains(key), let address = UInt64(String(decoding: fields[0], as: UTF8.self), radix: 16) else {
        continue
      }
      result[key, default: []].append(address)
    }
    return result
  }
}
