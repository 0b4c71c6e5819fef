import BPFLinux
import BPFMaps
import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Time, CPU, random numbers, the current task and its memory.
enum WorldHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    5: RuntimeFunction { _, _, _, _, _, run in time(.monotonic, run) },
    125: RuntimeFunction { _, _, _, _, _, run in time(.boottime, run) },
    160: RuntimeFunction { _, _, _, _, _, run in time(.coarse, run) },
    208: RuntimeFunction { _, _, _, _, _, run in time(.atomic, run) },
    118: RuntimeFunction { _, _, _, _, _, run in jiffies(run) },
    7: RuntimeFunction { _, _, _, _, _, run in Worker.of(run).nextRandom() & 0xffff_ffff },
    8: RuntimeFunction { _, _, _, _, _, run in UInt64(run.pointee.cpu) },
    // bpf_get_numa_node_id: all memory is near.
    42: RuntimeFunction { _, _, _, _, _, _ in 0 },

    14: RuntimeFunction { _, _, _, _, _, run in
      let task = Worker.of(run).machine.surroundings.task()
      return UInt64(task.tgid) << 32 | UInt64(task.pid)
    },
    15: RuntimeFunction { _, _, _, _, _, run in
      let task = Worker.of(run).machine.surroundings.task()
      return UInt64(task.gid) << 32 | UInt64(task.uid)
    },
    16: RuntimeFunction { buffer, size, _, _, _, run in command(buffer, size, run) },
    80: RuntimeFunction { _, _, _, _, _, _ in CurrentCgroup.id(level: nil) },
    123: RuntimeFunction { level, _, _, _, _, _ in CurrentCgroup.id(level: Int(Int32(truncatingIfNeeded: level))) },
    120: RuntimeFunction { device, inode, output, size, _, run in namespacePid(device, inode, output, size, run) },
    158: RuntimeFunction { _, _, _, _, _, run in
      CurrentTaskToken.of(Worker.of(run).machine.surroundings.task().pid)
    },

    4: RuntimeFunction { to, size, source, _, _, run in probeAny(to, size, source, run) },
    45: RuntimeFunction { to, size, source, _, _, run in probeAnyString(to, size, source, run) },
    112: RuntimeFunction { to, size, source, _, _, run in readUser(to, size, source, run) },
    113: RuntimeFunction { to, size, source, _, _, _ in readKernel(to, size, source) },
    114: RuntimeFunction { to, size, source, _, _, run in readUserString(to, size, source, run) },
    115: RuntimeFunction { to, size, source, _, _, _ in readKernelString(to, size, source) },
    148: RuntimeFunction { to, size, source, _, _, run in readUser(to, size, source, run) },
    // bpf_copy_from_user_task: the task can only be the current one.
    191: RuntimeFunction { to, size, source, _, flags, run in
      guard flags == 0 else { return .failure(Failure.EINVAL) }
      return readUser(to, size, source, run)
    },
    // bpf_probe_write_user: only to another process, which is traced.
    36: RuntimeFunction { to, source, size, _, _, run in
      let process = FaultSafeMemory.userProcess(of: run)
      guard process != 0 else { return .failure(Failure.EPERM) }
      return FaultSafeMemory.write(to, memory(source), Int(UInt32(truncatingIfNeeded: size)), to: process)
        ? 0 : .failure(Failure.EFAULT)
    },

    // bpf_get_stackid, bpf_get_stack, bpf_get_task_stack: there is no stack of the kernel's.
    27: RuntimeFunction { _, _, flags, _, _, _ in .failure(flags & ~0x7ff != 0 ? Failure.EINVAL : Failure.EFAULT) },
    67: RuntimeFunction { _, buffer, size, flags, _, _ in noStack(buffer, size, flags) },
    141: RuntimeFunction { _, buffer, size, flags, _, _ in noStack(buffer, size, flags) },
    // bpf_read_branch_records, bpf_get_branch_snapshot: nothing was recorded.
    119: RuntimeFunction { _, _, _, flags, _, _ in .failure(flags & ~1 != 0 ? Failure.EINVAL : Failure.ENOENT) },
    176: RuntimeFunction { _, _, flags, _, _, _ in .failure(flags != 0 ? Failure.EINVAL : Failure.ENOENT) },
  ]

  @inline(__always)
  private static func time(_ clock: Clock, _ run: Run) -> UInt64 { Worker.of(run).machine.surroundings.time(clock) }

  /// Ticks a second, as the coarse clock shows them.
  private static let ticksPerSecond: UInt64 = {
    #if os(Linux)
    var resolution = timespec()
    guard clock_getres(CLOCK_MONOTONIC_COARSE, &resolution) == 0, resolution.tv_nsec > 0 else { return 250 }
    return 1_000_000_000 / UInt64(resolution.tv_nsec)
    #else
    return 250
    #endif
  }()

  /// They begin five minutes below 2 to the 32nd, so that what cannot bear the overflow shows it soon.
  private static func jiffies(_ run: Run) -> UInt64 {
    let start = UInt64(UInt32(truncatingIfNeeded: 0 &- 300 &* Int64(ticksPerSecond)))
    let (high, low) = time(.coarse, run).multipliedFullWidth(by: ticksPerSecond)
    return start &+ UInt64(1_000_000_000).dividingFullWidth((high % 1_000_000_000, low)).quotient
  }

  private static func command(_ buffer: UInt64, _ size: UInt64, _ run: Run) -> UInt64 {
    let size = Int(UInt32(truncatingIfNeeded: size))
    guard size > 0 else { return 0 }
    let place = memory(buffer)
    clear(place, size)
    let name = Worker.of(run).machine.surroundings.task().command.utf8
    for (index, byte) in name.prefix(min(15, size - 1)).enumerated() {
      place.storeBytes(of: byte, toByteOffset: index, as: UInt8.self)
    }
    return 0
  }

  private static func namespacePid(
    _ device: UInt64, _ inode: UInt64, _ output: UInt64, _ size: UInt64, _ run: Run
  ) -> UInt64 {
    let size = Int(UInt32(truncatingIfNeeded: size))
    let place = memory(output)
    var found = stat()
    let matches = size == 8 && device <= UInt64(UInt32.max) && stat("/proc/self/ns/pid", &found) == 0
    // Linux has 12 bits of major and 20 of minor number.
    let number = UInt64(truncatingIfNeeded: found.st_dev)
    let major = (number >> 8 & 0xfff) | (number >> 32 & ~0xfff)
    let minor = (number & 0xff) | (number >> 12 & 0xff_ff00)
    guard matches, major << 20 | minor == device, UInt64(found.st_ino) == inode else {
      clear(place, size)
      return .failure(Failure.EINVAL)
    }
    let task = Worker.of(run).machine.surroundings.task()
    place.storeBytes(of: task.pid, as: UInt32.self)
    place.storeBytes(of: task.tgid, toByteOffset: 4, as: UInt32.self)
    return 0
  }

  // MARK: Memory

  private static func count(_ size: UInt64) -> Int { Int(UInt32(truncatingIfNeeded: size)) }

  private static func finish(_ error: Int32, _ to: UInt64, _ size: UInt64) -> UInt64 {
    if error < 0 { clear(memory(to), count(size)) }
    return .failure(error)
  }

  private static func readKernel(_ to: UInt64, _ size: UInt64, _ source: UInt64) -> UInt64 {
    finish(FaultSafeMemory.readKernel(memory(to), source, count(size)), to, size)
  }

  private static func readUser(_ to: UInt64, _ size: UInt64, _ source: UInt64, _ run: Run) -> UInt64 {
    let process = FaultSafeMemory.userProcess(of: run)
    return finish(FaultSafeMemory.readUser(memory(to), source, count(size), process: process), to, size)
  }

  private static func readKernelString(_ to: UInt64, _ size: UInt64, _ source: UInt64) -> UInt64 {
    let bytes = memory(to).assumingMemoryBound(to: UInt8.self)
    return finish(FaultSafeMemory.readKernelString(bytes, source, count(size)), to, size)
  }

  private static func readUserString(_ to: UInt64, _ size: UInt64, _ source: UInt64, _ run: Run) -> UInt64 {
    let bytes = memory(to).assumingMemoryBound(to: UInt8.self)
    let process = FaultSafeMemory.userProcess(of: run)
    return finish(FaultSafeMemory.readUserString(bytes, source, count(size), process: process), to, size)
  }

  /// The old helpers tell the kernel's addresses from those of users; here all that a traced process does not have
  /// is this process's.
  private static func probeAny(_ to: UInt64, _ size: UInt64, _ source: UInt64, _ run: Run) -> UInt64 {
    readUser(to, size, source, run)
  }

  private static func probeAnyString(_ to: UInt64, _ size: UInt64, _ source: UInt64, _ run: Run) -> UInt64 {
    readUserString(to, size, source, run)
  }

  private static func noStack(_ buffer: UInt64, _ size: UInt64, _ flags: UInt64) -> UInt64 {
    clear(memory(buffer), count(size))
    return .failure(flags & ~0x9ff != 0 ? Failure.EINVAL : Failure.EFAULT)
  }
}

/// What stands for a task where programs pass one on: an address that nobody can read.
enum CurrentTaskToken {
  private static let most: UInt64 = 1 << 22
  private static let base: UInt64 = {
    #if os(Linux)
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    #else
    let flags = MAP_PRIVATE | MAP_ANON
    #endif
    let place = mmap(nil, Int(most * 16), PROT_NONE, flags, -1, 0)
    return place == MAP_FAILED ? 0 : UInt64(UInt(bitPattern: place))
  }()

  static func of(_ pid: UInt32) -> UInt64 { base == 0 ? 0 : base + UInt64(pid) % most * 16 }
}

/// The cgroup of this process, in the second version's hierarchy.
enum CurrentCgroup {
  private static let mount = "/sys/fs/cgroup"

  /// The id at a level of the hierarchy, whose root is level 0; 0 where the process is not as deep.
  static func id(level: Int?) -> UInt64 {
    let parts = path
    let depth = level ?? parts.count
    guard depth >= 0, depth <= parts.count else { return 0 }
    var name = mount
    for part in parts.prefix(depth) { name += "/" + part }
    var found = stat()
    // The root's id is 1 wherever it cannot be asked for.
    guard stat(name, &found) == 0 else { return depth == 0 ? 1 : 0 }
    return UInt64(found.st_ino)
  }

  private static var path: [Substring] {
    let file = open("/proc/self/cgroup", O_RDONLY)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = read(file, &bytes, bytes.count)
    guard count > 0 else { return [] }
    let text = String(decoding: bytes[..<count], as: UTF8.self)
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("0::/") }) else { return [] }
    return Array(String(line.dropFirst(3)).split(separator: "/")).map { Substring($0) }
  }
}
