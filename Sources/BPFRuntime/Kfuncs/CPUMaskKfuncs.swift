import CBPFRuntime

/// Sets of CPUs. They are objects of 1 KiB, as many bits as Linux has CPUs at most.
enum CPUMaskKfuncs {
  static let table: [String: RuntimeFunction] = [
    "bpf_cpumask_create": RuntimeFunction { _, _, _, _, _, _ in ObjectHeap.allocate(descriptor, cpuCount: 1) },
    "bpf_cpumask_acquire": RuntimeFunction { mask, _, _, _, _, _ in ObjectHeap.acquire(mask) ? mask : 0 },
    "bpf_cpumask_release": RuntimeFunction { mask, _, _, _, _, run in
      ObjectHeap.drop(mask, Worker.of(run).machine.maps)
      return 0
    },
    "bpf_cpumask_first": RuntimeFunction { mask, _, _, _, _, run in first(run) { has(mask, $0) } },
    "bpf_cpumask_first_zero": RuntimeFunction { mask, _, _, _, _, run in first(run) { !has(mask, $0) } },
    "bpf_cpumask_first_and": RuntimeFunction { one, other, _, _, _, run in
      first(run) { has(one, $0) && has(other, $0) }
    },
    "bpf_cpumask_any_distribute": RuntimeFunction { mask, _, _, _, _, run in
      distribute(run) { has(mask, $0) }
    },
    "bpf_cpumask_any_and_distribute": RuntimeFunction { one, other, _, _, _, run in
      distribute(run) { has(one, $0) && has(other, $0) }
    },
    "bpf_cpumask_set_cpu": RuntimeFunction { cpu, mask, _, _, _, run in
      if let bit = bit(cpu, run) { _ = skep_fetch_or_64(word(mask, bit), flag(bit)) }
      return 0
    },
    "bpf_cpumask_clear_cpu": RuntimeFunction { cpu, mask, _, _, _, run in
      if let bit = bit(cpu, run) { _ = skep_fetch_and_64(word(mask, bit), ~flag(bit)) }
      return 0
    },
    "bpf_cpumask_test_cpu": RuntimeFunction { cpu, mask, _, _, _, run in
      bit(cpu, run).map { has(mask, $0) } == true ? 1 : 0
    },
    "bpf_cpumask_test_and_set_cpu": RuntimeFunction { cpu, mask, _, _, _, run in
      guard let bit = bit(cpu, run) else { return 0 }
      return skep_fetch_or_64(word(mask, bit), flag(bit)) & flag(bit) != 0 ? 1 : 0
    },
    "bpf_cpumask_test_and_clear_cpu": RuntimeFunction { cpu, mask, _, _, _, run in
      guard let bit = bit(cpu, run) else { return 0 }
      return skep_fetch_and_64(word(mask, bit), ~flag(bit)) & flag(bit) != 0 ? 1 : 0
    },
    "bpf_cpumask_setall": RuntimeFunction { mask, _, _, _, _, run in
      fill(mask, run) { _ in true }
      return 0
    },
    "bpf_cpumask_clear": RuntimeFunction { mask, _, _, _, _, run in
      fill(mask, run) { _ in false }
      return 0
    },
    "bpf_cpumask_and": RuntimeFunction { mask, one, other, _, _, run in
      fill(mask, run) { has(one, $0) && has(other, $0) }
      return all(run) { !has(mask, $0) } ? 0 : 1
    },
    "bpf_cpumask_or": RuntimeFunction { mask, one, other, _, _, run in
      fill(mask, run) { has(one, $0) || has(other, $0) }
      return 0
    },
    "bpf_cpumask_xor": RuntimeFunction { mask, one, other, _, _, run in
      fill(mask, run) { has(one, $0) != has(other, $0) }
      return 0
    },
    "bpf_cpumask_copy": RuntimeFunction { mask, other, _, _, _, run in
      fill(mask, run) { has(other, $0) }
      return 0
    },
    "bpf_cpumask_equal": RuntimeFunction { one, other, _, _, _, run in
      all(run) { has(one, $0) == has(other, $0) } ? 1 : 0
    },
    "bpf_cpumask_intersects": RuntimeFunction { one, other, _, _, _, run in
      all(run) { !has(one, $0) || !has(other, $0) } ? 0 : 1
    },
    "bpf_cpumask_subset": RuntimeFunction { one, other, _, _, _, run in
      all(run) { !has(one, $0) || has(other, $0) } ? 1 : 0
    },
    "bpf_cpumask_empty": RuntimeFunction { mask, _, _, _, _, run in all(run) { !has(mask, $0) } ? 1 : 0 },
    "bpf_cpumask_full": RuntimeFunction { mask, _, _, _, _, run in all(run) { has(mask, $0) } ? 1 : 0 },
    "bpf_cpumask_weight": RuntimeFunction { mask, _, _, _, _, run in
      UInt64((0..<count(run)).count { has(mask, $0) })
    },
    "bpf_cpumask_populate": RuntimeFunction { mask, source, size, _, _, run in
      let words = (count(run) + 63) / 64
      guard size >= UInt64(words * 8) else { return intResult(-13) }
      fill(mask, run) { cpu in
        memory(source).loadUnaligned(fromByteOffset: cpu / 64 * 8, as: UInt64.self) & flag(cpu) != 0
      }
      return 0
    },
  ]

  private static let descriptor = ObjectDescriptors.intern(ObjectDescriptors.Shape(size: 1024, isCounted: true))

  private static func count(_ run: Run) -> Int { min(Worker.of(run).machine.cpuCount, 8192) }
  private static func flag(_ cpu: Int) -> UInt64 { 1 << UInt64(cpu & 63) }
  private static func word(_ mask: UInt64, _ cpu: Int) -> UnsafeMutableRawPointer { memory(mask) + (cpu >> 6) * 8 }
  private static func has(_ mask: UInt64, _ cpu: Int) -> Bool {
    skep_load_relaxed_64(word(mask, cpu)) & flag(cpu) != 0
  }

  private static func bit(_ cpu: UInt64, _ run: Run) -> Int? {
    let cpu = Int(UInt32(truncatingIfNeeded: cpu))
    return cpu < count(run) ? cpu : nil
  }

  /// The number of CPUs where there is none.
  private static func first(_ run: Run, _ isWanted: (Int) -> Bool) -> UInt64 {
    let count = count(run)
    return UInt64((0..<count).first(where: isWanted) ?? count)
  }

  private static func all(_ run: Run, _ holds: (Int) -> Bool) -> Bool { (0..<count(run)).allSatisfy(holds) }

  private static func fill(_ mask: UInt64, _ run: Run, _ isIn: (Int) -> Bool) {
    for cpu in 0..<count(run) {
      if isIn(cpu) {
        _ = skep_fetch_or_64(word(mask, cpu), flag(cpu))
      } else {
        _ = skep_fetch_and_64(word(mask, cpu), ~flag(cpu))
      }
    }
  }

  nonisolated(unsafe) private static let lastChoice = {
    let place = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    place.initialize(to: UInt64.max)
    return place
  }()

  /// The next one after that which was given before, around.
  private static func distribute(_ run: Run, _ isWanted: (Int) -> Bool) -> UInt64 {
    let count = count(run)
    let before = Int(truncatingIfNeeded: skep_load_relaxed_64(lastChoice))
    for step in 1...count {
      let cpu = (max(before, -1) + step) % count
      if isWanted(cpu) {
        skep_store_relaxed_64(lastChoice, UInt64(cpu))
        return UInt64(cpu)
      }
    }
    return UInt64(count)
  }
}
