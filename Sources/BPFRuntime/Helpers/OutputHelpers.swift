import BPFLinux
import BPFMaps
import CBPFRuntime

/// Ring buffers and perf buffers.
enum OutputHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    // bpf_ringbuf_output
    130: RuntimeFunction { map, data, size, flags, _, _ in
      UInt64(bitPattern: RingBuffer.output(mapBlock(map), memory(data), size, flags: flags))
    },
    // bpf_ringbuf_reserve
    131: RuntimeFunction { map, size, flags, _, _, _ in
      guard flags == 0 else { return 0 }
      return UInt64(UInt(bitPattern: RingBuffer.reserve(mapBlock(map), size)))
    },
    132: RuntimeFunction { sample, flags, _, _, _, _ in
      RingBuffer.submit(memory(sample), flags: flags)
      return 0
    },
    133: RuntimeFunction { sample, flags, _, _, _, _ in
      RingBuffer.discard(memory(sample), flags: flags)
      return 0
    },
    134: RuntimeFunction { map, flags, _, _, _, _ in RingBuffer.query(mapBlock(map), flags) },
    // bpf_ringbuf_reserve_dynptr
    198: RuntimeFunction { map, size, flags, dynptr, _, _ in
      reserveDynptr(map, UInt32(truncatingIfNeeded: size), flags, Dynptr(dynptr))
    },
    199: RuntimeFunction { dynptr, flags, _, _, _, _ in
      let it = Dynptr(dynptr)
      if it.data != 0 { RingBuffer.submit(memory(it.data), flags: flags) }
      it.setNull()
      return 0
    },
    200: RuntimeFunction { dynptr, flags, _, _, _, _ in
      let it = Dynptr(dynptr)
      if it.data != 0 { RingBuffer.discard(memory(it.data), flags: flags) }
      it.setNull()
      return 0
    },
    209: RuntimeFunction({ drain($0, $1, $2, $3, $5) }, callsBack: true),

    22: RuntimeFunction { map, flags, _, _, _, run in
      let index = perfIndex(mapBlock(map), flags, run)
      // The counter of a buffer for output counts nothing.
      return index < 0 ? UInt64(bitPattern: index) : 0
    },
    25: RuntimeFunction { _, map, flags, data, size, run in
      guard flags & ~currentCPU == 0 else { return .failure(Failure.EINVAL) }
      return output(map, flags, data, size, run)
    },
    // bpf_perf_event_read_value
    55: RuntimeFunction { map, flags, value, size, _, run in
      let count = Int(UInt32(truncatingIfNeeded: size))
      clear(memory(value), count)
      guard count == 24 else { return .failure(Failure.EINVAL) }
      let index = perfIndex(mapBlock(map), flags, run)
      return index < 0 ? UInt64(bitPattern: index) : 0
    },
  ]

  private static func reserveDynptr(_ map: UInt64, _ size: UInt32, _ flags: UInt64, _ dynptr: Dynptr) -> UInt64 {
    guard flags == 0 else {
      dynptr.setNull()
      return .failure(Failure.EINVAL)
    }
    guard size <= Dynptr.largestSize else {
      dynptr.setNull()
      return .failure(Failure.E2BIG)
    }
    guard let sample = RingBuffer.reserve(mapBlock(map), UInt64(size)) else {
      dynptr.setNull()
      return .failure(Failure.EINVAL)
    }
    dynptr.set(UInt64(UInt(bitPattern: sample)), type: Dynptr.ringBuffer, size: size)
    return 0
  }

  private static func drain(
    _ map: UInt64, _ callback: UInt64, _ context: UInt64, _ flags: UInt64, _ run: Run
  ) -> UInt64 {
    guard flags & ~(RingBuffer.noWakeup | RingBuffer.forceWakeup) == 0 else { return .failure(Failure.EINVAL) }
    let block = mapBlock(map)
    guard UserRingBuffer.beginDrain(block) else { return .failure(Failure.EBUSY) }
    return withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { place in
      let dynptr = Dynptr(UInt64(UInt(bitPattern: place.baseAddress)))
      var taken = 0
      var skipped = 0
      var answer: UInt64 = 0
      while taken < UserRingBuffer.mostSamples && answer == 0 && run.pointee.stop_requested == 0 {
        let (error, sample, size) = UserRingBuffer.peek(block)
        if error == Int64(Failure.ENODATA) { break }
        if error == Int64(Failure.EAGAIN) {
          skipped += 1
        } else if error != 0 {
          UserRingBuffer.endDrain(block, flags: flags, samples: taken)
          return UInt64(bitPattern: error)
        } else {
          dynptr.set(UInt64(UInt(bitPattern: sample)), type: Dynptr.local, size: size)
          answer = run.pointee.invoke(run, callback, UInt64(UInt(bitPattern: place.baseAddress)), context, 0, 0, 0)
          UserRingBuffer.release(block, size: size)
          if run.pointee.unwinding != 0 { answer = 1 }
        }
        taken += 1
      }
      UserRingBuffer.endDrain(block, flags: flags, samples: taken)
      return UInt64(taken - skipped)
    }
  }

  // MARK: Perf

  /// As an index in flags: that of the CPU that runs.
  static let currentCPU: UInt64 = 0xffff_ffff
  private static let contextLength: UInt64 = 0xf_ffff << 32

  /// The index of the open buffer that flags name, or a negative error number.
  private static func perfIndex(_ map: UnsafeMutablePointer<skep_map>, _ flags: UInt64, _ run: Run) -> Int64 {
    guard flags & ~currentCPU == 0 else { return Int64(Failure.EINVAL) }
    let index = flags & currentCPU == currentCPU ? UInt64(run.pointee.cpu) : flags & currentCPU
    guard index < UInt64(map.pointee.max_entries) else { return Int64(Failure.E2BIG) }
    guard MapHelpers.slot(map, UInt32(index)) != 0 else { return Int64(Failure.ENOENT) }
    return Int64(index)
  }

  private static func output(
    _ map: UInt64, _ flags: UInt64, _ data: UInt64, _ size: UInt64, _ run: Run, packet: (UInt64, Int)? = nil
  ) -> UInt64 {
    let block = mapBlock(map)
    let index = perfIndex(block, flags & currentCPU, run)
    guard index >= 0 else { return UInt64(bitPattern: index) }
    // A buffer belongs to the CPU of its index.
    guard index == Int64(run.pointee.cpu) else { return .failure(Failure.EOPNOTSUPP) }
    let array = Unmanaged<PerfEventArray>.fromOpaque(block.pointee.object).takeUnretainedValue()
    let count = Int(truncatingIfNeeded: size)
    guard let packet else {
      return UInt64(
        bitPattern: array.output(UInt32(index), UnsafeRawBufferPointer(start: memory(data), count: count)))
    }
    return withUnsafeTemporaryAllocation(byteCount: max(1, count + packet.1), alignment: 8) { record in
      guard let base = record.baseAddress else { return .failure(Failure.ENOMEM) }
      if count > 0 { base.copyMemory(from: memory(data), byteCount: count) }
      _ = PacketAccess.load(packet.0, 0, base + count, packet.1)
      let whole = UnsafeRawBufferPointer(start: base, count: count + packet.1)
      return UInt64(bitPattern: array.output(UInt32(index), whole))
    }
  }

  /// `bpf_perf_event_output` of programs that run on packets: as much of the packet follows as the flags say.
  static let packetOutput = RuntimeFunction { context, map, flags, data, size, run in
    guard flags & ~(contextLength | currentCPU) == 0 else { return .failure(Failure.EINVAL) }
    let length = Int((flags & contextLength) >> 32)
    guard length <= PacketAccess.size(context) else { return .failure(Failure.EFAULT) }
    return output(map, flags, data, size, run, packet: length == 0 ? nil : (context, length))
  }
}
