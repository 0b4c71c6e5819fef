import BPFMaps
import CBPFRuntime

/// Values that belong to tasks, sockets, inodes and cgroups, and timers in values of maps.
enum StorageHelpers {
  private static let get = RuntimeFunction { map, object, initial, flags, _, run in
    LocalStorageMap.get(
      mapBlock(map), object: object, initial: initial == 0 ? nil : UnsafeRawPointer(memory(initial)), flags: flags,
      run: run)
  }
  private static let delete = RuntimeFunction { map, object, _, _, _, run in
    UInt64(bitPattern: LocalStorageMap.delete(mapBlock(map), object: object, run: run))
  }

  static let table: [UInt32: RuntimeFunction] = [
    81: RuntimeFunction { map, _, _, _, _, run in ofCgroup(map, run) },
    107: get, 108: delete, 145: get, 146: delete, 156: get, 157: delete, 210: get, 211: delete,

    // bpf_timer_init
    169: RuntimeFunction { timer, map, flags, _, _, _ in
      let clock: DeferredCall.Clock
      switch flags {
      case 0: clock = .real
      case 1: clock = .monotonic
      case 7: clock = .boottime
      default: return .failure(Failure.EINVAL)
      }
      return .failure(DeferredCall.initialize(timer, clock, map: map))
    },
    170: RuntimeFunction { timer, function, _, _, _, run in
      .failure(DeferredCall.setCallback(timer, function, run))
    },
    // bpf_timer_start: absolute times are flag 1, and staying on the CPU is flag 2.
    171: RuntimeFunction { timer, nanoseconds, flags, _, _, run in
      guard flags & ~3 == 0 else { return .failure(Failure.EINVAL) }
      return .failure(DeferredCall.startTimer(timer, nanoseconds, isAbsolute: flags & 1 != 0, run))
    },
    172: RuntimeFunction { timer, _, _, _, _, _ in .failure(DeferredCall.cancel(timer)) },
  ]

  /// Each context is a cgroup of its own, as each test run is in the kernel.
  private static func ofCgroup(_ map: UInt64, _ run: Run) -> UInt64 {
    let block = mapBlock(map)
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2) { key in
      key[0] = UInt64(UInt(bitPattern: run.pointee.context))
      key[1] = 0
      guard let base = key.baseAddress else { return 0 }
      let found = CgroupStorageMap.get(block, key: base, run: run)
      if found != 0 { return found }
      let bytes = UnsafeRawBufferPointer(start: base, count: Int(block.pointee.key_size))
      guard let owner = Map.of(block) as? CgroupStorageMap else { return 0 }
      try? owner.attach(Array(bytes))
      return CgroupStorageMap.get(block, key: base, run: run)
    }
  }
}
