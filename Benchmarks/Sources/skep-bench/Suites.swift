import BPFISA
import BPFObject
import Foundation
import Skep

/// The measurements that are not about one program: maps, packets, translation.
enum Suites {
  // MARK: Translation

  static func translation(_ linux: Linux) throws -> [TranslationMeasurement.Point] {
    try [1_000, 5_000, 20_000, 60_000].map { count in
      let instructions = try Instruction.decode(TranslationMeasurement.program(instructions: count))
      let program = Program(name: "long", type: .xdp, instructions: instructions)
      var times: [Double] = []
      for _ in 0..<5 {
        let loaded = try RunnableObject(program, linux: linux).load(engine: .user(.machineCode), cpuCount: 1)
        guard let spent = loaded.programs[0].translation else { continue }
        times.append(Double(spent.components.attoseconds) / 1e9 + Double(spent.components.seconds) * 1e9)
      }
      return TranslationMeasurement.Point(
        instructions: count, nanosecondsPerInstruction: times.median / Double(count))
    }
  }

  // MARK: Maps

  struct MapRate {
    let name: String
    let entries: Int
    let threads: Int
    let engine: String
    let perSecond: Double
  }

  /// Operations of one run of a program.
  private static let operations = 64

  /// A program that works on keys that follow each other without a pattern.
  private static func source(type: String, entries: Int, isPerCPU: Bool, operation: String) -> String {
    let flags = type == "LPM_TRIE" ? "__uint(map_flags, BPF_F_NO_PREALLOC);" : ""
    let key = type == "LPM_TRIE" ? "struct { __u32 length; __u32 data; }" : "__u32"
    let makeKey = type == "LPM_TRIE" ? "key.length = 32; key.data = n" : "key = n"
    return """
      #include <linux/bpf.h>
      #include <bpf/bpf_helpers.h>
      struct {
        __uint(type, BPF_MAP_TYPE_\(type)); __uint(max_entries, \(entries)); \(flags)
        __type(key, \(key)); __type(value, __u64);
      } table SEC(".maps");
      SEC("xdp") int work(struct xdp_md *ctx) {
        __u64 *data = (void *)(long)ctx->data, sum = 0;
        if ((void *)(data + 2) > (void *)(long)ctx->data_end) return 0;
        __u32 state = *data;
        for (int i = 0; i < \(operations); i++) {
          state = state * 1664525 + 1013904223;
          __u32 n = ((__u64)state * \(entries)) >> 32;
          \(key) key; \(makeKey);
          \(operation)
        }
        *data = state;
        return sum & 1;
      }
      char LICENSE[] SEC("license") = "GPL";
      """
  }

  private static let lookup = "__u64 *value = bpf_map_lookup_elem(&table, &key); if (value) sum += *value;"
  private static let update = "__u64 value = n; sum += bpf_map_update_elem(&table, &key, &value, 0);"

  static func maps(_ linux: Linux, compiler: SourceCompiler, folder: String) throws -> [MapRate] {
    var rates: [MapRate] = []
    for (name, type, operation) in [
      ("array lookup", "ARRAY", lookup), ("hash lookup", "HASH", lookup), ("hash update", "HASH", update),
      ("percpu_hash lookup", "PERCPU_HASH", lookup), ("lru_hash lookup", "LRU_HASH", lookup),
      ("lru_hash update", "LRU_HASH", update), ("lpm_trie lookup", "LPM_TRIE", lookup),
    ] {
      for entries in [1_000, 10_000, 100_000] {
        let path = "\(folder)/work.bpf.c"
        let text = source(type: type, entries: entries, isPerCPU: type.hasPrefix("PERCPU"), operation: operation)
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        let object = RunnableObject(try compiler.compile(path).object, linux: linux)
        for (engine, label) in [(RunEngine.user(.automatic), "jit"), (.kernel, "kernel")] {
          let result = Result { () throws(RunError) in try object.load(engine: engine, cpuCount: 2) }
          guard case .success(let loaded) = result else { continue }
          try fill(try loaded.map("table"), entries, isTrie: type == "LPM_TRIE")
          for threads in [1, 2] {
            let rate = try rate(loaded.programs[0], threads: threads)
            rates.append(
              MapRate(name: name, entries: entries, threads: threads, engine: label, perSecond: rate))
          }
        }
      }
    }
    return rates
  }

  private static func fill(_ map: MapContents, _ entries: Int, isTrie: Bool) throws {
    for number in 0..<entries {
      let word = withUnsafeBytes(of: UInt32(number)) { Array($0) }
      let key = isTrie ? [32, 0, 0, 0] + word : word
      try map.update(key, [UInt8](repeating: 1, count: map.transferSize))
    }
  }

  /// Operations a second of all threads together.
  private static func rate(_ program: RunnableProgram, threads: Int) throws -> Double {
    let runs: UInt32 = 20_000
    var best = 0.0
    for _ in 0..<3 {
      let start = Clock.nanoseconds
      DispatchQueue.concurrentPerform(iterations: threads) { thread in
        var input = RunInput(data: Bench.packet, repeats: runs)
        input.cpu = thread
        input.data[0] = UInt8(thread)
        _ = try? program.run(input)
      }
      let seconds = Double(Clock.nanoseconds - start) / 1e9
      best = max(best, Double(threads) * Double(runs) * Double(operations) / seconds)
    }
    return best
  }

  // MARK: Packets

  /// Packets a second of a program that drops by a hash of 10,000 addresses, from memory.
  static func packets(_ linux: Linux, compiler: SourceCompiler, folder: String) throws -> Double {
    let source = """
      #include <linux/bpf.h>
      #include <linux/if_ether.h>
      #include <linux/ip.h>
      #include <bpf/bpf_helpers.h>
      struct {
        __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 10000); __type(key, __u32); __type(value, __u32);
      } blocked SEC(".maps");
      SEC("xdp") int drop(struct xdp_md *ctx) {
        struct ethhdr *eth = (void *)(long)ctx->data;
        struct iphdr *ip = (void *)(eth + 1);
        if ((void *)(ip + 1) > (void *)(long)ctx->data_end || eth->h_proto != 8) return XDP_PASS;
        return bpf_map_lookup_elem(&blocked, &ip->saddr) ? XDP_DROP : XDP_PASS;
      }
      char LICENSE[] SEC("license") = "GPL";
      """
    let path = "\(folder)/drop.bpf.c"
    try source.write(toFile: path, atomically: true, encoding: .utf8)
    let loaded = try RunnableObject(try compiler.compile(path).object, linux: linux).load(cpuCount: 1)
    let blocked = try loaded.map("blocked")
    var packets: [[UInt8]] = []
    for number in 0..<10_000 {
      let address: [UInt8] = [10, 1, UInt8(number >> 8), UInt8(number & 0xff)]
      try blocked.update(address, [1, 0, 0, 0])
      packets.append(Array(Bench.packet[..<26] + address + Bench.packet[30..<64]))
    }
    var best = 0.0
    for _ in 0..<20 {
      let start = Clock.nanoseconds
      let values = try loaded.programs[0].values(of: packets)
      let seconds = Double(Clock.nanoseconds - start) / 1e9
      guard values.allSatisfy({ $0 == 1 }) else { throw BenchError("a packet was not dropped") }
      best = max(best, Double(packets.count) / seconds)
    }
    return best
  }
}
