import BPFLinux
import BPFMaps
import CBPFRuntime

/// Helpers on elements of maps.
enum MapHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    1: RuntimeFunction { map, key, _, _, _, run in
      let map = mapBlock(map)
      return map.pointee.lookup(map, memory(key), run)
    },
    2: RuntimeFunction { map, key, value, flags, _, run in
      let map = mapBlock(map)
      return UInt64(bitPattern: map.pointee.update(map, memory(key), memory(value), flags, run))
    },
    3: RuntimeFunction { map, key, _, _, _, run in
      let map = mapBlock(map)
      return UInt64(bitPattern: map.pointee.remove(map, memory(key), run))
    },
    // bpf_map_push_elem, bpf_map_pop_elem, bpf_map_peek_elem
    87: RuntimeFunction { map, value, flags, _, _, _ in
      let map = mapBlock(map)
      return UInt64(
        bitPattern: map.pointee.type == MapType.bloomFilter.rawValue
          ? BloomFilter.push(map, memory(value), flags: flags) : QueueMap.push(map, memory(value), flags: flags))
    },
    88: RuntimeFunction { map, value, _, _, _, _ in
      let map = mapBlock(map)
      guard map.pointee.type != MapType.bloomFilter.rawValue else { return .failure(Failure.EOPNOTSUPP) }
      return UInt64(bitPattern: QueueMap.pop(map, into: memory(value)))
    },
    89: RuntimeFunction { map, value, _, _, _, _ in
      let map = mapBlock(map)
      return UInt64(
        bitPattern: map.pointee.type == MapType.bloomFilter.rawValue
          ? BloomFilter.peek(map, memory(value)) : QueueMap.peek(map, into: memory(value)))
    },
    // bpf_map_lookup_percpu_elem
    195: RuntimeFunction { map, key, cpu, _, _, _ in
      UInt64(UInt(bitPattern: Map.of(mapBlock(map)).lookup(memory(key), cpu: UInt32(truncatingIfNeeded: cpu))))
    },
    // bpf_for_each_map_elem
    164: RuntimeFunction(
      { map, callback, context, flags, _, run in
        guard flags == 0 else { return .failure(Failure.EINVAL) }
        let count = Map.of(mapBlock(map)).forEachElement(cpu: Int(run.pointee.cpu)) { key, value in
          if run.pointee.stop_requested != 0 { return false }
          let answer = run.pointee.invoke(
            run, callback, map, UInt64(UInt(bitPattern: key)), UInt64(UInt(bitPattern: value)), context, 0)
          return answer == 0 && run.pointee.unwinding == 0
        }
        return count.map { UInt64($0) } ?? .failure(Failure.EOPNOTSUPP)
      }, callsBack: true),
    // bpf_loop
    181: RuntimeFunction(
      { count, callback, context, flags, _, run in
        guard flags == 0 else { return .failure(Failure.EINVAL) }
        let count = UInt32(truncatingIfNeeded: count)
        guard Int64(count) <= IteratorKfuncs.mostLoops else { return .failure(Failure.E2BIG) }
        guard let invoke = run.pointee.invoke else { return 0 }
        var index: UInt32 = 0
        while index < count {
          let answer = invoke(run, callback, UInt64(index), context, 0, 0, 0)
          index &+= 1
          if answer != 0 || run.pointee.unwinding != 0 || run.pointee.stop_requested != 0 { break }
        }
        return UInt64(index)
      }, callsBack: true),
    // bpf_spin_lock, bpf_spin_unlock
    93: RuntimeFunction { lock, _, _, _, _, _ in
      SpinLock.lock(memory(lock))
      return 0
    },
    94: RuntimeFunction { lock, _, _, _, _, _ in
      SpinLock.unlock(memory(lock))
      return 0
    },
    // bpf_kptr_xchg
    194: RuntimeFunction { place, object, _, _, _, _ in skep_exchange_64(memory(place), object) },
    // bpf_per_cpu_ptr, bpf_this_cpu_ptr
    153: RuntimeFunction { object, cpu, _, _, _, run in
      let cpu = UInt32(truncatingIfNeeded: cpu)
      guard object != 0, UInt64(cpu) < UInt64(Worker.of(run).machine.cpuCount) else { return 0 }
      return ObjectHeap.copy(of: object, cpu: cpu)
    },
    154: RuntimeFunction { object, _, _, _, _, run in ObjectHeap.copy(of: object, cpu: run.pointee.cpu) },
    // bpf_current_task_under_cgroup
    37: RuntimeFunction { map, index, _, _, _, _ in
      let map = mapBlock(map)
      let index = UInt32(truncatingIfNeeded: index)
      guard index < map.pointee.max_entries else { return .failure(Failure.E2BIG) }
      // The current task is in no cgroup but the root, which is under none that could be put in.
      return slot(map, index) == 0 ? .failure(Failure.EAGAIN) : 0
    },
  ]

  /// What an array of references has at an index; 0 for nothing.
  static func slot(_ map: UnsafeMutablePointer<skep_map>, _ index: UInt32) -> UInt64 {
    guard let values = map.pointee.values else { return 0 }
    return skep_load_acquire_64(values + Int(index) * 8)
  }
}
