import BPFISA
import BPFLinux
import BTF

/// What all random programs share: maps, types, and what the kernel offers each program type.
///
/// Made once for a run. Programs name the maps by their index in `maps`.
public struct FuzzSurroundings: Sendable {
  public let linux: Linux
  public let maps: [MapDefinition]
  /// Types of the program's functions; what functions a program has says `functionTypes`.
  public let types: BTF
  let functionTypes: FunctionTypes
  let profiles: [FuzzProfile]
  /// By name, kernel functions that programs call.
  let kernelFunctions: [String: Int32]

  /// Ids in `types`.
  struct FunctionTypes: Sendable {
    let main: TypeID
    /// By position among the program's subprograms: static, global and callback.
    let statics: [TypeID]
    let globals: [TypeID]
    let callbacks: [TypeID]
    let elementCallbacks: [TypeID]
  }

  /// Indices of `maps`.
  enum Map {
    static let array = 0
    static let hash = 1
    static let percpuArray = 2
    static let ringbuf = 3
    static let arrayOfMaps = 4
    static let programs = 5
    static let events = 6
    static let frozen = 7
    static let hashOfMaps = 8
    static let lruHash = 9
    static let queue = 10
    static let stacks = 11
    static let big = 12
    static let locked = 13
    static let devices = 14
    static let trie = 15
    static let sockets = 16
    static let cgroups = 17
    /// Those whose elements programs look up.
    static let valued = [array, hash, percpuArray, frozen, lruHash, big, locked, trie]
  }

  /// - Parameter type: only programs of this type; all that are modelled if nil.
  public init?(linux: Linux, type: ProgramType? = nil) {
    self.linux = linux
    var builder = BTFBuilder()
    let int = builder.addInt("int", size: 4, isSigned: true)
    let long = builder.addInt("u64", size: 8)
    let pointer = builder.addPointer(to: 0)
    func function(_ name: String, _ result: TypeID, _ parameters: [(String, TypeID)], _ linkage: Int) -> TypeID {
      let prototype = builder.addFunctionPrototype(
        returning: result, parameters.map { (name: $0.0, typeID: $0.1) })
      return builder.addFunction(name, prototype: prototype, linkage: linkage)
    }
    let main = function("main", int, [("ctx", pointer)], 0)
    let numbers = 0..<4
    functionTypes = FunctionTypes(
      main: main,
      statics: numbers.map { function("static\($0)", long, [("a", long), ("b", long), ("c", long)], 0) },
      globals: numbers.map { function("global\($0)", int, [("a", int), ("b", long)], 1) },
      callbacks: numbers.map { function("step\($0)", int, [("index", int), ("data", pointer)], 0) },
      elementCallbacks: numbers.map {
        function(
          "element\($0)", int, [("map", pointer), ("key", pointer), ("value", pointer), ("data", pointer)], 0)
      })
    let unsigned = builder.addInt("u32", size: 4)
    let lock = builder.addStruct(
      "bpf_spin_lock", size: 4, members: [.init("val", unsigned, bitOffset: 0)])
    let locked = builder.addStruct(
      "locked", size: 24,
      members: [
        .init("count", long, bitOffset: 0), .init("lock", lock, bitOffset: 64),
        .init("state", unsigned, bitOffset: 96), .init("total", long, bitOffset: 128),
      ])
    guard let types = try? builder.build(origin: "random programs") else { return nil }
    self.types = types

    func map(
      _ name: String, _ type: MapType, _ key: UInt32, _ value: UInt32, _ entries: UInt32, _ flags: MapFlags = []
    ) -> MapDefinition {
      MapDefinition(name: name, type: type, keySize: key, valueSize: value, maxEntries: entries, flags: flags)
    }
    let array = map("array", .array, 4, 64, 1)
    var frozen = map("frozen", .array, 4, 32, 1, .readOnlyProgram)
    frozen.initialValue = Array("%d %x\0\0\0value\0\0\0%p of\0\0\0%llu\0\0\0\u{7f}".utf8)
    frozen.frozen = true
    var arrayOfMaps = map("maps", .arrayOfMaps, 4, 4, 2)
    arrayOfMaps.inner = [array]
    let hash = map("hash", .hash, 8, 48, 8)
    var hashOfMaps = map("hash_maps", .hashOfMaps, 4, 4, 2)
    hashOfMaps.inner = [hash]
    var lockedMap = map("locked", .array, 4, 24, 2)
    lockedMap.btf = types
    lockedMap.keyTypeID = unsigned
    lockedMap.valueTypeID = locked
    maps = [
      array, hash, map("percpu", .percpuArray, 4, 32, 2), map("ring", .ringbuf, 0, 0, 4096), arrayOfMaps,
      map("programs", .progArray, 4, 4, 4), map("events", .perfEventArray, 4, 4, 4), frozen, hashOfMaps,
      map("lru", .lruHash, 4, 16, 8), map("queue", .queue, 0, 16, 4), map("stacks", .stackTrace, 4, 64, 4),
      map("big", .array, 4, 4096, 1), lockedMap, map("devices", .devmap, 4, 4, 4),
      map("trie", .lpmTrie, 8, 8, 4, .noPreallocation), map("sockets", .sockmap, 4, 8, 4),
      map("cgroups", .cgroupArray, 4, 4, 2),
    ]

    var kernelFunctions: [String: Int32] = [:]
    for name in FuzzSurroundings.calledFunctions {
      if let id = linux.btf?.find(name, kind: .function) {
        kernelFunctions[name] = Int32(truncatingIfNeeded: id)
      }
    }
    self.kernelFunctions = kernelFunctions
    profiles = FuzzProfile.all(linux: linux).filter { type == nil || $0.type == type }
    if profiles.isEmpty { return nil }
  }

  private static let calledFunctions = [
    "bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy", "bpf_rcu_read_lock", "bpf_rcu_read_unlock",
    "bpf_preempt_disable", "bpf_preempt_enable", "bpf_dynptr_from_skb", "bpf_dynptr_from_xdp", "bpf_dynptr_slice",
    "bpf_dynptr_slice_rdwr", "bpf_dynptr_size", "bpf_dynptr_adjust", "bpf_dynptr_clone", "bpf_local_irq_save",
    "bpf_local_irq_restore", "bpf_task_from_pid", "bpf_task_release", "bpf_throw",
  ]

  /// The program types that have a profile.
  public static let programTypes: [ProgramType] = FuzzProfile.all(linux: Linux()).map(\.type)
}
