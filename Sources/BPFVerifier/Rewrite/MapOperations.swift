import BPFISA
import BPFLinux

// Operations of maps that are known: calls go to the map type's own functions, and lookups that are short are done in
// place.

extension Rewriter {
  func callMapOperation(_ index: Int, _ helper: HelperID) throws(Refusal) -> Int {
    guard let fact = facts(index), fact.pointee.mapPointer == .known else {
      slots[index].reference = reference(helperReference(helper))
      return 0
    }
    let map = verification.maps[Int(fact.pointee.mapIndex)].definition
    if helper == .mapLookupElem {
      let lookup = MapLookup(map, fields: fields, masksIndex: !verification.bypassSpectreV1)
      if let code = lookup.code {
        let called = RewrittenProgram.Reference.function("__htab_map_lookup_elem")
        return try replace(index, code, references: lookup.call.map { [$0: called] } ?? [:])
      }
      if let missing = lookup.missing {
        throw verification.unsupported("the field \(missing), which the kernel's types do not have")
      }
    }
    slots[index].instruction.immediate = 0
    slots[index].reference = reference(.function(MapFunctions.name(helper, map)))
    return 0
  }
}

/// A lookup that is done in place.
struct MapLookup {
  private(set) var code: [Instruction]?
  /// Which of the instructions calls the hash table's lookup.
  private(set) var call: Int?
  private(set) var missing: String?

  /// `array->index_mask`: one less than the power of two that has room for all entries.
  static func indexMask(_ entries: UInt32) -> Int32 {
    guard entries > 1 else { return 0 }
    return Int32(truncatingIfNeeded: (Int64(1) << (32 - (entries - 1).leadingZeroBitCount)) - 1)
  }

  init(_ map: MapDefinition, fields: KernelFields, masksIndex: Bool) {
    switch map.type {
    case .array where !map.flags.contains(.innerMap):
      lookUpArray(map, fields, masksIndex, size: (Int(map.valueSize) + 7) & ~7, isOfMaps: false)
    case .arrayOfMaps:
      lookUpArray(map, fields, masksIndex, size: 8, isOfMaps: true)
    case .percpuArray where !map.flags.contains(.innerMap):
      lookUpPerCPUArray(map, fields, masksIndex)
    case .hash, .lruHash, .percpuHash, .hashOfMaps:
      lookUpHash(map, fields)
    case .xskmap:
      lookUpSockets(map, fields)
    default:
      break
    }
  }

  private mutating func place(_ fields: KernelFields, _ structure: String, _ path: String) -> Int32? {
    guard let field = fields.field(structure, path) else {
      missing = "\(structure).\(path)"
      return nil
    }
    return Int32(truncatingIfNeeded: field.offset)
  }

  /// `if (index >= entries) goto out; index &= mask`
  private func bound(_ map: MapDefinition, _ masksIndex: Bool, skipping count: Int) -> [Instruction] {
    let entries = Int32(bitPattern: map.maxEntries)
    if !masksIndex { return [.jump(Jump.jge, 0, entries, to: count)] }
    return [.jump(Jump.jge, 0, entries, to: count + 1), .alu32(ALU.and, 0, Self.indexMask(map.maxEntries))]
  }

  private mutating func lookUpArray(
    _ map: MapDefinition, _ fields: KernelFields, _ masksIndex: Bool, size: Int, isOfMaps: Bool
  ) {
    guard let value = place(fields, "bpf_array", "value") else { return }
    let scale: Instruction =
      size & (size - 1) == 0
      ? .alu64(ALU.lsh, 0, Int32(size.trailingZeroBitCount))
      : .alu64(ALU.mul, 0, Int32(truncatingIfNeeded: size))
    let found: [Instruction] = isOfMaps ? [.load(Size.dw, 0, 0, 0), .jump(Jump.jeq, 0, 0, to: 1)] : []
    code =
      [.alu64(ALU.add, 1, value), .load(Size.w, 0, 2, 0)] + bound(map, masksIndex, skipping: 3 + found.count)
      + [scale, .alu64(ALU.add, 0, register: 1)] + found + [.jump(to: 1), .alu64(ALU.mov, 0, 0)]
  }

  private mutating func lookUpPerCPUArray(_ map: MapDefinition, _ fields: KernelFields, _ masksIndex: Bool) {
    guard let pointers = place(fields, "bpf_array", "pptrs") else { return }
    code =
      [.alu64(ALU.add, 1, pointers), .load(Size.w, 0, 2, 0)] + bound(map, masksIndex, skipping: 5)
      + [
        .alu64(ALU.lsh, 0, 3), .alu64(ALU.add, 0, register: 1), .load(Size.dw, 0, 0, 0), .percpuAddress(0, 0),
        .jump(to: 1), .alu64(ALU.mov, 0, 0),
      ]
  }

  private mutating func lookUpHash(_ map: MapDefinition, _ fields: KernelFields) {
    guard let key = place(fields, "htab_elem", "key") else { return }
    let value = Instruction.alu64(ALU.add, 0, key + Int32(truncatingIfNeeded: (map.keySize + 7) & ~7))
    var after: [Instruction]
    switch map.type {
    case .lruHash:
      guard let node = place(fields, "htab_elem", "lru_node"), let mark = place(fields, "bpf_lru_node", "ref")
      else { return }
      let reference = Int(node + mark)
      after = [
        .load(Size.b, 1, 0, reference), .jump(Jump.jne, 1, 0, to: 1), .store(Size.b, 0, reference, immediate: 1), value,
      ]
    case .percpuHash: after = [value, .load(Size.dw, 0, 0, 0), .percpuAddress(0, 0)]
    case .hashOfMaps: after = [value, .load(Size.dw, 0, 0, 0)]
    default: after = [value]
    }
    call = 0
    code = [.callAddress, .jump(Jump.jeq, 0, 0, to: after.count)] + after
  }

  private mutating func lookUpSockets(_ map: MapDefinition, _ fields: KernelFields) {
    guard let sockets = place(fields, "xsk_map", "xsk_map") else { return }
    code = [
      .load(Size.w, 0, 2, 0), .jump(Jump.jge, 0, Int32(bitPattern: map.maxEntries), to: 5), .alu64(ALU.lsh, 0, 3),
      .alu64(ALU.add, 1, sockets), .alu64(ALU.add, 0, register: 1), .load(Size.dw, 0, 0, 0), .jump(to: 1),
      .alu64(ALU.mov, 0, 0),
    ]
  }
}

/// Names of the functions behind map operations.
enum MapFunctions {
  static func name(_ helper: HelperID, _ map: MapDefinition) -> String {
    let family = family(map.type)
    switch helper {
    case .mapLookupElem where map.type == .sockmap || map.type == .sockhash:
      return family + "_lookup"
    case .mapLookupElem:
      return (prefix(map.type) ?? family) + "_lookup_elem"
    case .mapUpdateElem:
      switch map.type {
      case .array, .percpuArray: return "array_map_update_elem"
      case .percpuHash: return "htab_percpu_map_update_elem"
      case .lruHash: return "htab_lru_map_update_elem"
      case .lruPercpuHash: return "htab_lru_percpu_map_update_elem"
      case .sockmap, .sockhash: return "sock_map_update_elem"
      default: return family + "_update_elem"
      }
    case .mapDeleteElem:
      return map.type == .lruHash || map.type == .lruPercpuHash
        ? "htab_lru_map_delete_elem" : family + "_delete_elem"
    case .mapPushElem: return (map.type == .bloomFilter ? "bloom_map" : "queue_stack_map") + "_push_elem"
    case .mapPopElem: return (map.type == .stack ? "stack" : "queue") + "_map_pop_elem"
    case .mapPeekElem:
      return map.type == .bloomFilter
        ? "bloom_map_peek_elem" : (map.type == .stack ? "stack" : "queue") + "_map_peek_elem"
    case .redirectMap:
      switch map.type {
      case .devmap: return "dev_map_redirect"
      case .devmapHash: return "dev_hash_map_redirect"
      case .cpumap: return "cpu_map_redirect"
      default: return "xsk_map_redirect"
      }
    case .forEachMapElem:
      return map.type == .array || map.type == .percpuArray ? "bpf_for_each_array_elem" : "bpf_for_each_hash_elem"
    default:
      return (prefix(map.type) ?? family) + "_lookup_percpu_elem"
    }
  }

  private static func family(_ type: MapType) -> String {
    switch type {
    case .array, .percpuArray: "array_map"
    case .hash, .percpuHash, .lruHash, .lruPercpuHash, .hashOfMaps: "htab_map"
    case .lpmTrie: "trie"
    case .sockmap: "sock_map"
    case .sockhash: "sock_hash"
    case .devmap: "dev_map"
    case .devmapHash: "dev_map_hash"
    case .cpumap: "cpu_map"
    case .xskmap: "xsk_map"
    case .stackTrace: "stack_map"
    case .queue, .stack: "queue_stack_map"
    case .reuseportSockarray: "reuseport_array"
    default: "map"
    }
  }

  private static func prefix(_ type: MapType) -> String? {
    switch type {
    case .percpuArray: "percpu_array_map"
    case .percpuHash: "htab_percpu_map"
    case .lruHash: "htab_lru_map"
    case .lruPercpuHash: "htab_lru_percpu_map"
    default: nil
    }
  }
}
