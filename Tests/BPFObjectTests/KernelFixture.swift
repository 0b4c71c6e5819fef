import BPFLinux
import BPFObject
import BTF

/// A small made-up kernel with all that `kernel.bpf.o` asks for, and the fixtures' place.
enum Fixture {
  static func path(_ name: String) -> String {
    let here = #filePath.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    return "\(here)/Fixtures/Objects/\(name)"
  }

  static let counters = path("counters.bpf.o")
  static let kernel = path("kernel.bpf.o")

  static func bytes(_ path: String) throws -> [UInt8] {
    try [UInt8](contentsOf: path)
  }

  /// - Parameter startOffset: where `struct task` has its `start`.
  static func linux(startOffset: UInt32 = 24) throws -> Linux {
    var types = BTFBuilder()
    let int = types.addInt("int", size: 4, isSigned: true)
    let long = types.addInt("unsigned long long", size: 8)
    let task = types.addStruct(
      "task", size: startOffset + 8,
      members: [.init("number", int, bitOffset: 64), .init("start", long, bitOffset: startOffset * 8)])
    let pointer = types.addPointer(to: task)
    let prototype = types.addFunctionPrototype(returning: 0, [("task", pointer)])
    types.addFunction("present", prototype: prototype)
    types.addFunction("do_work", prototype: prototype)
    types.addFunction("bpf_lsm_file_open", prototype: prototype)
    types.addTypedef("btf_trace_sched", types.addPointer(to: prototype))
    types.addVariable("variable", int)
    var linux = Linux(
      btf: try types.build(origin: "kernel"),
      config: ["CONFIG_HZ": "250", "CONFIG_NAME": "\"abcdefghij\"", "CONFIG_NET": "y"], possibleCPUs: 4)
    linux.symbols = ["address": 0xffff_ffff_8100_0010]
    return linux
  }
}

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

extension [UInt8] {
  init(contentsOf path: String) throws {
    guard let file = fopen(path, "rb") else {
      throw ObjectFileError(file: path, rule: "is missing", errno: 2)
    }
    defer { fclose(file) }
    self = []
    var chunk = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&chunk, 1, chunk.count, file)
      if count == 0 { break }
      append(contentsOf: chunk[0..<count])
    }
  }
}
