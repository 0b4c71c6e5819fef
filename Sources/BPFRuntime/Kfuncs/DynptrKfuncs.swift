import CBPFRuntime

enum DynptrKfuncs {
  static let table: [String: RuntimeFunction] = [
    "bpf_dynptr_slice": RuntimeFunction { dynptr, offset, buffer, size, _, _ in
      Dynptr(dynptr).slice(low(offset), low(size), buffer: buffer)
    },
    "bpf_dynptr_slice_rdwr": RuntimeFunction { dynptr, offset, buffer, size, _, _ in
      Dynptr(dynptr).writableSlice(low(offset), low(size), buffer: buffer)
    },
    "bpf_dynptr_adjust": RuntimeFunction { dynptr, start, end, _, _, _ in
      intResult(Dynptr(dynptr).adjust(low(start), low(end)))
    },
    "bpf_dynptr_is_null": RuntimeFunction { dynptr, _, _, _, _, _ in Dynptr(dynptr).data == 0 ? 1 : 0 },
    "bpf_dynptr_is_rdonly": RuntimeFunction { dynptr, _, _, _, _, _ in
      let it = Dynptr(dynptr)
      return it.data != 0 && it.isReadOnly ? 1 : 0
    },
    "bpf_dynptr_size": RuntimeFunction { dynptr, _, _, _, _, _ in
      let it = Dynptr(dynptr)
      return it.data == 0 ? intResult(Failure.EINVAL) : UInt64(it.size)
    },
    "bpf_dynptr_clone": RuntimeFunction { dynptr, clone, _, _, _, _ in
      intResult(Dynptr(dynptr).clone(to: Dynptr(clone)))
    },
    "bpf_dynptr_copy": RuntimeFunction { to, offset, from, fromOffset, size, _ in
      intResult(Dynptr(to).copy(low(offset), from: Dynptr(from), low(fromOffset), low(size)))
    },
    "bpf_dynptr_memset": RuntimeFunction { dynptr, offset, size, value, _, _ in
      intResult(Dynptr(dynptr).fill(low(offset), low(size), UInt8(truncatingIfNeeded: value)))
    },
    "bpf_probe_read_user_dynptr": RuntimeFunction { dynptr, offset, size, source, _, run in
      let process = FaultSafeMemory.userProcess(of: run)
      return copy(dynptr, offset, size, source) { FaultSafeMemory.readUser($0, $1, $2, process: process) }
    },
    "bpf_probe_read_kernel_dynptr": RuntimeFunction { dynptr, offset, size, source, _, _ in
      copy(dynptr, offset, size, source) { FaultSafeMemory.readKernel($0, $1, $2) }
    },
    "bpf_copy_from_user_dynptr": RuntimeFunction { dynptr, offset, size, source, _, run in
      let process = FaultSafeMemory.userProcess(of: run)
      return copy(dynptr, offset, size, source) { FaultSafeMemory.readUser($0, $1, $2, process: process) }
    },
    "bpf_probe_read_user_str_dynptr": RuntimeFunction { dynptr, offset, size, source, _, run in
      let process = FaultSafeMemory.userProcess(of: run)
      return copyString(dynptr, offset, size, source) { FaultSafeMemory.readUserString($0, $1, $2, process: process) }
    },
    "bpf_probe_read_kernel_str_dynptr": RuntimeFunction { dynptr, offset, size, source, _, _ in
      copyString(dynptr, offset, size, source) { FaultSafeMemory.readKernelString($0, $1, $2) }
    },
    "bpf_copy_from_user_str_dynptr": RuntimeFunction { dynptr, offset, size, source, _, run in
      let process = FaultSafeMemory.userProcess(of: run)
      return copyString(dynptr, offset, size, source) { FaultSafeMemory.readUserString($0, $1, $2, process: process) }
    },
  ]

  @inline(__always)
  private static func low(_ value: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: value) }

  private static let chunk: UInt32 = 256

  private static func copy(
    _ dynptr: UInt64, _ offset: UInt64, _ size: UInt64, _ source: UInt64,
    _ read: (UnsafeMutableRawPointer, UInt64, Int) -> Int32
  ) -> UInt64 {
    let it = Dynptr(dynptr)
    let (offset, size) = (low(offset), low(size))
    guard it.contains(offset, size) else { return intResult(Failure.E2BIG) }
    let place = it.writableSlice(offset, size, buffer: 0)
    if place != 0 { return intResult(read(memory(place), source, Int(size))) }
    return withUnsafeTemporaryAllocation(byteCount: Int(chunk), alignment: 8) { buffer in
      guard let base = buffer.baseAddress else { return intResult(Failure.ENOMEM) }
      var done: UInt32 = 0
      while done < size {
        let count = min(chunk, size - done)
        var error = read(base, source &+ UInt64(done), Int(count))
        if error != 0 { return intResult(error) }
        error = it.write(base, count, at: offset &+ done, flags: 0)
        if error != 0 { return intResult(error) }
        done += count
      }
      return 0
    }
  }

  /// The length of the string with its 0, or a negative error number.
  private static func copyString(
    _ dynptr: UInt64, _ offset: UInt64, _ size: UInt64, _ source: UInt64,
    _ read: (UnsafeMutablePointer<UInt8>, UInt64, Int) -> Int32
  ) -> UInt64 {
    let it = Dynptr(dynptr)
    let (offset, size) = (low(offset), low(size))
    guard it.contains(offset, size) else { return intResult(Failure.E2BIG) }
    let place = it.writableSlice(offset, size, buffer: 0)
    if place != 0 { return intResult(read(memory(place).assumingMemoryBound(to: UInt8.self), source, Int(size))) }
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Int(chunk)) { buffer in
      guard let base = buffer.baseAddress else { return intResult(Failure.ENOMEM) }
      var done: UInt32 = 0
      while done < size {
        let count = min(chunk, size - done)
        let length = read(base, source &+ UInt64(done), Int(count))
        if length < 0 { return intResult(length) }
        let error = it.write(base, UInt32(length), at: offset &+ done, flags: 0)
        if error != 0 { return intResult(error) }
        if UInt32(length) < count || count == 1 { return UInt64(done) + UInt64(length) }
        // The next piece takes the place of this one's 0.
        done += count - 1
      }
      return UInt64(done)
    }
  }
}
