/// How the C text of whole type information is laid out.
public struct BTFHeaderOptions: Sendable, Equatable {
  /// Types in an order that stays stable between builds of a kernel, instead of the order of their numbers.
  public var isSorted: Bool
  /// Declarations of the kernel's functions for BPF, and the macros that they use.
  public var includesKernelFunctions: Bool

  /// Attributes on enumerations that are not 4 bytes wide.
  public var marksEnumerationWidth: Bool
  /// Length in bytes at which the text is given up with an error.
  public var textLimit = BTFDumper.defaultTextLimit

  public init(
    isSorted: Bool = false, includesKernelFunctions: Bool = false, marksEnumerationWidth: Bool = false
  ) {
    self.isSorted = isSorted
    self.includesKernelFunctions = includesKernelFunctions
    self.marksEnumerationWidth = marksEnumerationWidth
  }

  /// What bpftool 7.1 (Linux 6.1) prints.
  public static let classic = BTFHeaderOptions()
  /// What bpftool of Linux 6.18 prints.
  public static let linux6_18 = BTFHeaderOptions(
    isSorted: true, includesKernelFunctions: true, marksEnumerationWidth: true)
}

extension BTF {
  /// All types as a C header, as `bpftool btf dump … format c` prints it; `roots` restricts it to these and what
  /// they need.
  public func cText(
    _ options: BTFHeaderOptions = .classic, roots: [TypeID] = []
  ) throws(BTFError) -> String {
    var dumper = BTFDumper(
      self, marksEnumerationWidth: options.marksEnumerationWidth, textLimit: options.textLimit)
    dumper.write("#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n\n#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n")
    dumper.write(
      "#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)\n#endif\n\n")
    if options.includesKernelFunctions { dumper.write(BTF.kernelFunctionMacros) }
    if !roots.isEmpty {
      for id in roots { try dumper.dump(id) }
    } else {
      // bpftool leaves out what comes first, which without sorting is `void`.
      let order = options.isSorted ? stableOrder() : Array(0..<endID)
      for id in order.dropFirst() { try dumper.dump(id) }
      if options.includesKernelFunctions { try dumper.writeKernelFunctions() }
    }
    dumper.write("#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n#pragma clang attribute pop\n#endif\n\n")
    dumper.write("#endif /* __VMLINUX_H__ */\n")
    return dumper.text
  }

  private static let kernelFunctionMacros = """
    #ifndef __ksym
    #define __ksym __attribute__((section(".ksyms")))
    #endif

    #ifndef __weak
    #define __weak __attribute__((weak))
    #endif

    #ifndef __bpf_fastcall
    #if __has_attribute(bpf_fastcall)
    #define __bpf_fastcall __attribute__((bpf_fastcall))
    #else
    #define __bpf_fastcall
    #endif
    #endif


    """

  // MARK: Order

  private struct SortKey {
    let id: TypeID
    let rank: Int
    let sortName: [UInt8]
    let name: [UInt8]
    let hash: UInt64
  }

  private func bytes(_ offset: UInt32) -> [UInt8] {
    stringBytes(offset).map { $0.map { UInt8(bitPattern: $0) } } ?? []
  }

  /// All identifiers, ordered by rank of kind, then names, then a hash of what the type is made of.
  private func stableOrder() -> [TypeID] {
    let keys = (0..<endID).map { id in
      SortKey(
        id: id, rank: rank(id), sortName: sortName(id), name: bytes(type(id).nameOffset),
        hash: fingerprint(id, withMembers: true, depth: 0))
    }
    return keys.sorted { a, b in
      if a.rank != b.rank { return a.rank < b.rank }
      if a.sortName != b.sortName { return a.sortName.lexicographicallyPrecedes(b.sortName) }
      if a.name != b.name { return a.name.lexicographicallyPrecedes(b.name) }
      return (a.hash, a.id) < (b.hash, b.id)
    }.map(\.id)
  }

  private func next(_ type: BTFType) -> TypeID? {
    switch type.kind {
    case .array: array(type.id).elementTypeID
    case .typeTag, .const, .pointer, .volatile, .restrict, .typedef, .declTag: type.target
    default: nil
    }
  }

  private func rank(_ id: TypeID) -> Int {
    let last = 10
    var isNamed = false
    var id = id
    for _ in 0..<BTFDumper.depthLimit {
      let type = type(id)
      if type.nameOffset != 0 { isNamed = true }
      switch type.kind {
      case .enumeration, .enum64: return isNamed ? 1 : 0
      case .int, .float: return 2
      case .structure, .union: return isNamed ? 3 : last
      case .functionPrototype: return isNamed ? 4 : last
      default: break
      }
      guard isNamed, let next = next(type) else { return last }
      id = next
    }
    return last
  }

  private func sortName(_ id: TypeID) -> [UInt8] {
    var id = id
    for step in 0..<BTFDumper.depthLimit {
      let type = type(id)
      if type.kind.isEnumeration {
        guard step == 0, type.nameOffset == 0, let first = enumerators(id).first else {
          return bytes(type.nameOffset)
        }
        return bytes(first.nameOffset)
      }
      guard let next = next(type) else { return bytes(type.nameOffset) }
      id = next
    }
    return []
  }

  private func mix(_ hash: UInt64, _ value: UInt64) -> UInt64 { hash &* 31 &+ value }

  private func mix(_ hash: UInt64, name offset: UInt32) -> UInt64 {
    guard offset != 0 else { return hash }
    var own: UInt64 = 0
    for byte in stringBytes(offset) ?? UnsafeBufferPointer(start: nil, count: 0) {
      own = own &* 31 &+ UInt64(bitPattern: Int64(byte))
    }
    return mix(hash, own)
  }

  private func fingerprint(_ id: TypeID, withMembers: Bool, depth: Int) -> UInt64 {
    guard depth < BTFDumper.depthLimit else { return 0 }
    let type = type(id)
    var hash = mix(0, name: type.nameOffset)
    switch type.kind {
    case .enumeration, .enum64:
      for enumerator in enumerators(id) { hash = mix(hash, name: enumerator.nameOffset) }
    case .structure, .union:
      guard withMembers else { break }
      for member in members(id) {
        hash = mix(hash, name: member.nameOffset)
        hash = mix(hash, fingerprint(member.typeID, withMembers: false, depth: depth + 1))
      }
    case .array:
      let array = array(id)
      hash = mix(hash, UInt64(array.count))
      hash = mix(hash, fingerprint(array.elementTypeID, withMembers: withMembers, depth: depth + 1))
    default:
      guard let next = next(type) else { break }
      hash = mix(hash, fingerprint(next, withMembers: withMembers, depth: depth + 1))
    }
    return hash
  }
}

extension BTFDumper {
  /// Declarations of the functions that are tagged as callable from BPF, by name.
  fileprivate mutating func writeKernelFunctions() throws(BTFError) {
    write("\n/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n")
    var functions: [(name: String, id: TypeID)] = []
    var fastCalls: Set<TypeID> = []
    for id in 1..<max(btf.endID, 1) where btf.kind(id) == .declTag && btf.declTagComponent(id) == -1 {
      let target = btf.type(id).target
      guard btf.kind(target) == .function else { continue }
      if btf.nameEquals(id, "bpf_kfunc") { functions.append((btf.name(target), target)) }
      if btf.nameEquals(id, "bpf_fastcall") { fastCalls.insert(target) }
    }
    let sorted = functions.enumerated().sorted { a, b in
      a.element.name == b.element.name
        ? a.offset < b.offset : a.element.name.utf8.lexicographicallyPrecedes(b.element.name.utf8)
    }
    for (_, function) in sorted {
      write("extern ")
      if fastCalls.contains(function.id) { write("__bpf_fastcall ") }
      try dumpDeclaration(btf.type(function.id).target, name: function.name)
      write(" __weak __ksym;\n")
    }
    write("#endif\n\n")
  }
}
