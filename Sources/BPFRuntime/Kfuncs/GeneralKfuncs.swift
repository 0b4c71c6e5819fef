import BPFLinux
import BPFMaps
import CBPFRuntime

/// The kernel functions that are not about packets, by name.
public enum GeneralKfuncs {
  public static let table: [String: RuntimeFunction] = {
    let tables = [
      DynptrKfuncs.table, StringKfuncs.table, ObjectKfuncs.table, IteratorKfuncs.table, CPUMaskKfuncs.table,
      ArenaKfuncs.table, own,
    ]
    return tables.reduce(into: [:]) { $0.merge($1) { $1 } }
  }()

  private static let nothing = RuntimeFunction { _, _, _, _, _, _ in 0 }
  private static let same = RuntimeFunction { value, _, _, _, _, _ in value }

  private static let own: [String: RuntimeFunction] = [
    // What a type is called is known to the proof only.
    "bpf_rdonly_cast": same,
    // What programs find in maps stays until their run ends; nothing preempts a run that would use its CPU's data.
    "bpf_rcu_read_lock": nothing,
    "bpf_rcu_read_unlock": nothing,
    "bpf_preempt_disable": nothing,
    "bpf_preempt_enable": nothing,
    "bpf_local_irq_save": RuntimeFunction { flags, _, _, _, _, _ in
      memory(flags).storeBytes(of: 0x200, as: UInt64.self)
      return 0
    },
    "bpf_local_irq_restore": nothing,
    "__bpf_trap": nothing,

    "bpf_res_spin_lock": RuntimeFunction { lock, _, _, _, _, run in intResult(ResilientLock.lock(lock, run)) },
    "bpf_res_spin_unlock": RuntimeFunction { lock, _, _, _, _, _ in
      SpinLock.unlock(memory(lock))
      return 0
    },
    "bpf_res_spin_lock_irqsave": RuntimeFunction { lock, flags, _, _, _, run in
      let error = ResilientLock.lock(lock, run)
      if error == 0 { memory(flags).storeBytes(of: 0x200, as: UInt64.self) }
      return intResult(error)
    },
    "bpf_res_spin_unlock_irqrestore": RuntimeFunction { lock, _, _, _, _, _ in
      SpinLock.unlock(memory(lock))
      return 0
    },

    "bpf_wq_init": RuntimeFunction { work, map, flags, _, _, _ in
      guard UInt32(truncatingIfNeeded: flags) == 0 else { return intResult(Failure.EINVAL) }
      return intResult(DeferredCall.initialize(work, .none, map: map))
    },
    "bpf_wq_set_callback_impl": RuntimeFunction { work, function, flags, _, _, run in
      guard UInt32(truncatingIfNeeded: flags) == 0 else { return intResult(Failure.EINVAL) }
      return intResult(DeferredCall.setCallback(work, function, run))
    },
    "bpf_wq_start": RuntimeFunction { work, flags, _, _, _, run in
      guard UInt32(truncatingIfNeeded: flags) == 0 else { return intResult(Failure.EINVAL) }
      return intResult(DeferredCall.startWork(work, run))
    },

    "bpf_copy_from_user_str": RuntimeFunction { to, size, source, flags, _, run in
      userString(to, size, source, flags, run)
    },
    // The task can only be the current one: there is no other.
    "bpf_copy_from_user_task_str": RuntimeFunction { to, size, source, _, flags, run in
      userString(to, size, source, flags, run)
    },

    "bpf_map_sum_elem_count": RuntimeFunction { map, _, _, _, _, _ in
      let map = Map.of(mapBlock(map))
      return UInt64((map as? HashMap)?.count ?? 0)
    },

    "bpf_stream_vprintk_impl": RuntimeFunction { stream, format, arguments, size, _, run in
      print(stream, format, arguments, size, run)
    },
  ]

  private static func userString(
    _ to: UInt64, _ size: UInt64, _ source: UInt64, _ flags: UInt64, _ run: Run
  ) -> UInt64 {
    let size = Int(UInt32(truncatingIfNeeded: size))
    guard flags & ~1 == 0 else { return intResult(Failure.EINVAL) }
    guard size > 0 else { return 0 }
    let bytes = memory(to).assumingMemoryBound(to: UInt8.self)
    let length = FaultSafeMemory.readUserString(
      bytes, source, size, process: FaultSafeMemory.userProcess(of: run))
    if length < 0 {
      if flags == 1 { clear(memory(to), size) }
      return intResult(length)
    }
    if flags == 1 { clear(memory(to) + Int(length), size - Int(length)) }
    return intResult(length)
  }

  /// Streams 1 and 2, standard output and standard error, go where all that programs print goes.
  private static func print(
    _ stream: UInt64, _ format: UInt64, _ arguments: UInt64, _ size: UInt64, _ run: Run
  ) -> UInt64 {
    let stream = UInt32(truncatingIfNeeded: stream)
    guard stream == 1 || stream == 2 else { return intResult(Failure.ENOENT) }
    guard let count = TextHelpers.argumentCount(arguments, size) else { return intResult(Failure.EINVAL) }
    let printed = TextHelpers.printed(
      format, Int(UInt32.max), TextHelpers.pointer(arguments, format), count
    ) { text, length in
      let shown = UnsafeBufferPointer(start: text, count: min(length, TextHelpers.longestText - 1))
      let worker = Worker.of(run)
      worker.machine.trace(String(decoding: shown, as: UTF8.self), from: worker)
      return 0
    }
    return intResult(Int32(truncatingIfNeeded: printed))
  }
}

/// `bpf_res_spin_lock`: the lock is the number of the run that holds it, and whoever waits gives up in the end.
enum ResilientLock {
  private static let patience: UInt64 = 250_000_000

  static func lock(_ lock: UInt64, _ run: Run) -> Int32 {
    let word = memory(lock)
    // Runs lie 128 bytes apart at least.
    let owner = UInt32(truncatingIfNeeded: UInt(bitPattern: run) >> 6) | 1
    var seen = skep_compare_exchange_32(word, 0, owner)
    if seen == 0 { return 0 }
    if seen == owner { return Failure.EDEADLK }
    let start = Surroundings.systemTime(.monotonic)
    while true {
      for _ in 0..<100 {
        skep_pause()
        seen = skep_load_relaxed_32(word)
        if seen == 0, skep_compare_exchange_32(word, 0, owner) == 0 { return 0 }
      }
      if Surroundings.systemTime(.monotonic) &- start > patience { return Failure.ETIMEDOUT }
    }
  }
}
