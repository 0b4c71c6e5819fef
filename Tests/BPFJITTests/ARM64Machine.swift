import CBPFRuntime
import Dispatch
import Foundation
import Synchronization

@testable import BPFJIT

/// A process of another processor: code and memory as a static executable, run under qemu-user (or as it is, where
/// this processor is an arm64).
///
/// Its memory lies at the same addresses here, so that the reference can run on it and pointers in it are good on both
/// sides. What the process leaves in it is read back from its output.
final class ARM64Machine {
  /// Path of the emulator; empty where none is needed, nil where there is none.
  static let emulator: String? = {
    #if arch(arm64)
    return ""
    #else
    let directories = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":")
    return ["qemu-aarch64", "qemu-aarch64-static"]
      .flatMap { name in directories.map { "\($0)/\(name)" } }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
    #endif
  }()

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static let nextRegion = Mutex<UInt>(0)
  private static let regionSize = 64 << 20

  let memory: UnsafeMutableRawPointer
  private var used = 0
  private let codeBase: UInt64
  /// Starts with the page of the first instructions.
  private var code = [UInt8](repeating: 0, count: 4096)
  private var calls: [(function: UInt64, arguments: [UInt64])] = []

  /// What calls returned, in their order, once they were run.
  private(set) var results: [UInt64] = []
  /// Whether each call left the registers as it had to.
  private(set) var keepsRegisters: [Bool] = []
  /// All memory afterwards; here it still is as it was before.
  private(set) var after: [UInt8] = []

  init() throws {
    let number = ARM64Machine.nextRegion.withLock { next in
      next += 1
      return next
    }
    let base = 0x20_0000_0000 + number << 30
    codeBase = UInt64(base + 1 << 29)
    let wanted = UnsafeMutableRawPointer(bitPattern: base)
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    guard let found = mmap(wanted, ARM64Machine.regionSize, PROT_READ | PROT_WRITE, flags, -1, 0), found == wanted
    else { throw Failure(description: "memory at \(base) is in use") }
    memory = found
  }

  deinit { munmap(memory, ARM64Machine.regionSize) }

  // MARK: contents

  func allocate<T>(_ type: T.Type, count: Int = 1) -> UnsafeMutablePointer<T> {
    used = (used + 15) / 16 * 16
    let place = (memory + used).bindMemory(to: type, capacity: count)
    used += MemoryLayout<T>.stride * count
    return place
  }

  func allocate(bytes: [UInt8]) -> UInt64 {
    let place = allocate(UInt8.self, count: bytes.count)
    place.update(from: bytes, count: bytes.count)
    return UInt64(UInt(bitPattern: place))
  }

  func allocateRun(cpu: UInt32) -> UnsafeMutablePointer<skep_run> {
    let run = allocate(skep_run.self)
    run.initialize(to: skep_run())
    run.pointee.cpu = cpu
    return run
  }

  /// Bytes of the process's memory after it ran.
  func bytes(at address: UInt64, count: Int) -> [UInt8] {
    let start = Int(address) - Int(bitPattern: memory)
    return Array(after[start..<start + count])
  }

  func value<T: BitwiseCopyable>(_ type: T.Type, at address: UInt64) -> T {
    bytes(at: address, count: MemoryLayout<T>.size).withUnsafeBytes { $0.loadUnaligned(as: type) }
  }

  /// - Returns: the address of the code, which begins at a page.
  func add(_ bytes: [UInt8]) -> UInt64 {
    let address = codeBase + UInt64(code.count)
    code += bytes
    code += [UInt8](repeating: 0, count: (4096 - code.count % 4096) % 4096)
    return address
  }

  func add(_ emit: (inout ARM64Assembler) -> Void) -> UInt64 { add(ARM64Machine.assemble(emit)) }

  static func assemble(_ emit: (inout ARM64Assembler) -> Void) -> [UInt8] {
    var assembler = ARM64Assembler()
    defer { assembler.layout.release() }
    emit(&assembler)
    let size = assembler.layout.settle()
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      guard let start = buffer.baseAddress else { return }
      assembler.layout.write(to: start)
      count = size
    }
  }

  /// Asks for a call of a function with up to seven arguments.
  func call(_ function: UInt64, _ arguments: [UInt64]) {
    calls.append((function, arguments + [UInt64](repeating: 0, count: 7 - arguments.count)))
  }

  // MARK: running

  /// Does all calls, one after the other.
  func run() throws {
    // An entry: function, seven arguments, result, differences in registers.
    let entrySize = 80
    let table = allocate(UInt64.self, count: calls.count * entrySize / 8)
    for (number, call) in calls.enumerated() {
      table[number * 10] = call.function
      for (index, argument) in call.arguments.enumerated() { table[number * 10 + 1 + index] = argument }
    }
    let start = ARM64Machine.assemble { it in
      let entry = ARM64.x19 + 1
      it.moveConstant(entry, UInt64(UInt(bitPattern: table)))
      it.moveStack(ARM64.x19, ARM64.stack)
      let again = it.layout.bytes.count
      for register in ARM64.x19 + 2...28 { it.addConstant(register, entry, Int64(register)) }
      it.load(ARM64.x16, ARM64Memory(base: entry), size: 8)
      for argument in 0...6 as ClosedRange<Register> {
        it.load(argument, ARM64Memory(base: entry, offset: 8 + Int64(argument) * 8), size: 8)
      }
      it.call(ARM64.x16)
      it.store(ARM64.x0, ARM64Memory(base: entry, offset: 64), size: 8)
      it.moveStack(ARM64.x1, ARM64.stack)
      it.registers(.sub, wide: true, ARM64.x1, ARM64.x1, ARM64.x19)
      for register in ARM64.x19 + 2...28 {
        it.registers(.sub, wide: true, ARM64.x2, register, entry)
        it.addConstant(ARM64.x2, ARM64.x2, -Int64(register))
        it.registers(.or, wide: true, ARM64.x1, ARM64.x1, ARM64.x2)
      }
      it.store(ARM64.x1, ARM64Memory(base: entry, offset: 72), size: 8)
      it.addConstant(entry, entry, Int64(entrySize))
      it.moveConstant(ARM64.x1, UInt64(UInt(bitPattern: table)) + UInt64(calls.count * entrySize))
      it.registers(.sub, wide: true, ARM64.x1, ARM64.x1, entry)
      it.jumpBack(to: again, ifNotZero: ARM64.x1)
      // write(1, memory, used) until all is written; exit(0).
      it.moveConstant(ARM64.x19, UInt64(UInt(bitPattern: memory)))
      it.moveConstant(entry, UInt64(used))
      let more = it.layout.bytes.count
      it.moveConstant(ARM64.x0, 1)
      it.move(ARM64.x1, ARM64.x19)
      it.move(ARM64.x2, entry)
      it.moveConstant(8, 64)
      it.word(0xd400_0001)
      it.registers(.add, wide: true, ARM64.x19, ARM64.x19, ARM64.x0)
      it.registers(.sub, wide: true, entry, entry, ARM64.x0)
      it.jumpBack(to: more, ifNotZero: entry)
      it.moveConstant(ARM64.x0, 0)
      it.moveConstant(8, 93)
      it.word(0xd400_0001)
    }
    code.replaceSubrange(0..<start.count, with: start)
    try execute()
    for number in 0..<calls.count {
      let entry = UInt64(UInt(bitPattern: table)) + UInt64(number * entrySize)
      results.append(value(UInt64.self, at: entry + 64))
      keepsRegisters.append(value(UInt64.self, at: entry + 72) == 0)
    }
  }

  private func execute() throws {
    guard let emulator = ARM64Machine.emulator else { throw Failure(description: "no emulator") }
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("skep-arm64-\(UUID())")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: directory) }
    let program = directory.appendingPathComponent("program")
    let output = directory.appendingPathComponent("output")
    try Data(executable()).write(to: program)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: program.path)
    _ = FileManager.default.createFile(atPath: output.path, contents: nil)
    let process = Process()
    process.executableURL = emulator.isEmpty ? program : URL(fileURLWithPath: emulator)
    process.arguments = emulator.isEmpty ? [] : [program.path]
    process.standardOutput = try FileHandle(forWritingTo: output)
    try process.run()
    // Code gone wrong may never end.
    let watch = DispatchWorkItem { [pid = process.processIdentifier] in _ = kill(pid, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(60), execute: watch)
    process.waitUntilExit()
    watch.cancel()
    guard process.terminationReason == .exit, process.terminationStatus == 0 else {
      throw Failure(description: "the process ended with \(process.terminationStatus)")
    }
    after = [UInt8](try Data(contentsOf: output))
    guard after.count == used else { throw Failure(description: "\(after.count) of \(used) bytes of output") }
  }

  /// A static ELF executable with two segments: code, and memory that can be written to.
  private func executable() -> [UInt8] {
    var file: [UInt8] = []
    func append<T: FixedWidthInteger>(_ value: T) {
      withUnsafeBytes(of: value.littleEndian) { file += $0 }
    }
    file += [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
    append(UInt16(2))
    append(UInt16(183))
    append(UInt32(1))
    append(codeBase)
    append(UInt64(64))
    append(UInt64(0))
    append(UInt32(0))
    for half in [64, 56, 2, 64, 0, 0] as [UInt16] { append(half) }
    let codeStart = 4096
    let dataStart = codeStart + code.count
    for (flags, offset, address, size) in [
      (UInt32(5), codeStart, codeBase, code.count), (6, dataStart, UInt64(UInt(bitPattern: memory)), used),
    ] {
      append(UInt32(1))
      append(flags)
      append(UInt64(offset))
      append(address)
      append(address)
      append(UInt64(size))
      append(UInt64(size))
      append(UInt64(4096))
    }
    file += [UInt8](repeating: 0, count: codeStart - file.count)
    file += code
    file += UnsafeRawBufferPointer(start: memory, count: used)
    return file
  }
}
