import BPFMaps
import CBPFRuntime

/// Pages of arenas, and tasks as far as they are only passed on.
enum ArenaKfuncs {
  static let table: [String: RuntimeFunction] = [
    "bpf_arena_alloc_pages": RuntimeFunction { map, place, count, node, flags, _ in
      guard let arena = Map.of(mapBlock(map)) as? ArenaMap else { return 0 }
      return arena.allocatePages(
        hint: place, count: UInt32(truncatingIfNeeded: count), node: Int32(truncatingIfNeeded: node), flags: flags)
    },
    "bpf_arena_free_pages": RuntimeFunction { map, place, count, _, _, _ in
      (Map.of(mapBlock(map)) as? ArenaMap)?.freePages(place, count: UInt32(truncatingIfNeeded: count))
      return 0
    },
    "bpf_arena_reserve_pages": RuntimeFunction { map, place, count, _, _, _ in
      guard let arena = Map.of(mapBlock(map)) as? ArenaMap else { return intResult(Failure.EINVAL) }
      return intResult(Int32(truncatingIfNeeded: arena.reservePages(place, count: UInt32(truncatingIfNeeded: count))))
    },
    "bpf_task_acquire": RuntimeFunction { task, _, _, _, _, _ in task },
    "bpf_task_release": RuntimeFunction { _, _, _, _, _, _ in 0 },
  ]
}
