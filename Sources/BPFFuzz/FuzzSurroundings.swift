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
  let types: FuzzTypes
  let profiles: [FuzzProfile]
  /// By name, kernel functions that programs call.
  let kernelFunctions: [String: Int32]
  /// The same the other way round.
  let kernelFunctionNames: [Int32: String]
  /// By name, structs of the kernel that programs look into.
  let kernelStructs: [String: TypeID]

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
    static let timed = 18
    static let graph = 19
    static let kept = 20
    static let queued = 21
    static let userRing = 22
    static let arena = 23
    /// Those whose elements programs look up.
    static let valued = [array, hash, percpuArray, frozen, lruHash, big, locked, trie]
  }

  /// - Parameter type: only programs of this type; all that are modelled if nil.
  public init?(linux: Linux, type: ProgramType? = nil) {
    self.linux = linux
    guard let types = FuzzTypes() else { return nil }
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
    func typed(_ name: String, _ type: String, _ size: UInt32, _ entries: UInt32) -> MapDefinition {
      var map = map(name, .array, 4, size, entries)
      map.btf = types.btf
      map.keyTypeID = types.key
      map.valueTypeID = types.structs[type] ?? 0
      return map
    }
    maps = [
      array, hash, map("percpu", .percpuArray, 4, 32, 2), map("ring", .ringbuf, 0, 0, 4096), arrayOfMaps,
      map("programs", .progArray, 4, 4, 4), map("events", .perfEventArray, 4, 4, 4), frozen, hashOfMaps,
      map("lru", .lruHash, 4, 16, 8), map("queue", .queue, 0, 16, 4), map("stacks", .stackTrace, 4, 64, 4),
      map("big", .array, 4, 4096, 1), typed("locked", "locked", 24, 2), map("devices", .devmap, 4, 4, 4),
      map("trie", .lpmTrie, 8, 8, 4, .noPreallocation), map("sockets", .sockmap, 4, 8, 4),
      map("cgroups", .cgroupArray, 4, 4, 2), typed("timed", "timed", 40, 1), typed("graph", "graph", 40, 1),
      typed("kept", "kept", 32, 1), typed("queued", "queued", 16, 1), map("user_ring", .userRingbuf, 0, 0, 4096),
      map("pages", .arena, 0, 0, 16, .mmapable),
    ]

    var kernelFunctions: [String: Int32] = [:]
    for name in FuzzSurroundings.calledFunctions {
      if let id = linux.btf?.find(name, kind: .function) {
        kernelFunctions[name] = Int32(truncatingIfNeeded: id)
      }
    }
    self.kernelFunctions = kernelFunctions
    kernelFunctionNames = Dictionary(uniqueKeysWithValues: kernelFunctions.map { ($1, $0) })
    var kernelStructs: [String: TypeID] = [:]
    if let task = linux.btf?.find("task_struct", kind: .structure) { kernelStructs["task_struct"] = task }
    self.kernelStructs = kernelStructs
    profiles = FuzzProfile.all(linux: linux).filter { type == nil || $0.type == type }
    if profiles.isEmpty { return nil }
  }

  private static let calledFunctions = [
    "bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy", "bpf_rcu_read_lock", "bpf_rcu_read_unlock",
    "bpf_preempt_disable", "bpf_preempt_enable", "bpf_dynptr_from_skb", "bpf_dynptr_from_xdp", "bpf_dynptr_slice",
    "bpf_dynptr_slice_rdwr", "bpf_dynptr_size", "bpf_dynptr_adjust", "bpf_dynptr_clone", "bpf_local_irq_save",
    "bpf_local_irq_restore", "bpf_task_from_pid", "bpf_task_acquire", "bpf_task_release", "bpf_throw",
    "bpf_dynptr_is_null", "bpf_dynptr_is_rdonly", "bpf_obj_new_impl", "bpf_obj_drop_impl",
    "bpf_refcount_acquire_impl", "bpf_list_push_front_impl", "bpf_list_push_back_impl", "bpf_list_pop_front",
    "bpf_list_pop_back", "bpf_list_front", "bpf_list_back", "bpf_rbtree_add_impl", "bpf_rbtree_first",
    "bpf_rbtree_root", "bpf_rbtree_left", "bpf_rbtree_right", "bpf_rbtree_remove", "bpf_res_spin_lock",
    "bpf_res_spin_unlock", "bpf_iter_bits_new", "bpf_iter_bits_next", "bpf_iter_bits_destroy", "bpf_iter_task_new",
    "bpf_iter_task_next", "bpf_iter_task_destroy",
  ]

  /// The program types that have a profile.
  public static let programTypes: [ProgramType] = FuzzProfile.all(linux: Linux()).map(\.type)
}
