import CBPFRuntime

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Memory that holds machine code: written first, then executable, never both.
final class CodeMemory: @unchecked Sendable {
  let base: UnsafeMutableRawPointer
  let size: Int

  init(size: Int, _ fill: (UnsafeMutablePointer<UInt8>) -> Void) throws(JITError) {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let whole = (max(size, 1) + page - 1) / page * page
    let found = mmap(nil, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0)
    guard let memory = found, memory != MAP_FAILED else { throw .memory(errno: errno) }
    fill(memory.assumingMemoryBound(to: UInt8.self))
    guard mprotect(memory, whole, PROT_READ | PROT_EXEC) == 0 else {
      let reason = errno
      munmap(memory, whole)
      throw .memory(errno: reason)
    }
    skep_clear_instruction_cache(memory, memory + size)
    base = memory
    self.size = whole
  }

  deinit { munmap(base, size) }
}
