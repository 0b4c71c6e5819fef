import BPFLinux
import CBPFRuntime
import Testing

@testable import BPFMaps

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Many threads on one map; meant for ThreadSanitizer, too.
@Suite(.serialized) struct ConcurrencyTests {
  static let threads = 4
  static let rounds = 6000

  /// Runs `body` on as many threads as there are CPUs of the system, each with a run of its own.
  static func together(_ system: MapSystem, _ body: @escaping @Sendable (Int, UnsafeMutablePointer<skep_run>) -> Void) {
    final class Work: Sendable {
      let cpu: Int
      let system: MapSystem
      let body: @Sendable (Int, UnsafeMutablePointer<skep_run>) -> Void
      init(_ cpu: Int, _ system: MapSystem, _ body: @escaping @Sendable (Int, UnsafeMutablePointer<skep_run>) -> Void) {
        self.cpu = cpu
        self.system = system
        self.body = body
      }
    }
    var threads: [pthread_t] = []
    for cpu in 0..<system.cpuCount {
      var thread = pthread_t()
      let work = Unmanaged.passRetained(Work(cpu, system, body)).toOpaque()
      pthread_create(&thread, nil, { argument in
        guard let argument else { return nil }
        let work = Unmanaged<Work>.fromOpaque(argument).takeRetainedValue()
        let run = work.system.makeRun(cpu: work.cpu)
        work.body(work.cpu, run)
        work.system.releaseRun(run)
        return nil
      }, work)
      threads.append(thread)
    }
    for thread in threads { pthread_join(thread, nil) }
  }

  static func fill(_ value: UnsafeMutableRawPointer, _ words: Int, _ word: UInt64) {
    for index in 0..<words { value.storeBytes(of: word, toByteOffset: index * 8, as: UInt64.self) }
  }

  /// Values are eight times the same word, so that one that was torn or reused would show.
  @Test(arguments: [(MapType.hash, 300), (.hash, 40), (.lruHash, 40), (.lruHash, 500), (.lpmTrie, 300)])
  func heldValuesNeverChange(_ type: MapType, _ entries: Int) throws {
    let system = MapSystem(cpuCount: Self.threads)
    let map = try system.makeMap(
      MapDefinition(
        name: "map", type: type, keySize: 8, valueSize: 64, maxEntries: UInt32(entries),
        flags: type == .lpmTrie ? .noPreallocation : []))
    let torn = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    torn.initialize(to: 0)
    defer { torn.deallocate() }
    nonisolated(unsafe) let failures = torn
    Self.together(system) { cpu, run in
      var random = Generator(seed: UInt64(cpu + 1))
      let value = UnsafeMutableRawPointer.allocate(byteCount: 64, alignment: 8)
      defer { value.deallocate() }
      for _ in 0..<Self.rounds {
        system.begin(run)
        var key = random.next() % 400
        if type == .lpmTrie { key = 32 | (random.next() % 400) << 32 }
        switch random.next() % 8 {
        case 0, 1:
          Self.fill(value, 8, random.next())
          _ = map.block.pointee.update(map.block, &key, value, 0, run)
        case 2:
          _ = map.block.pointee.remove(map.block, &key, run)
        default:
          let found = map.block.pointee.lookup(map.block, &key, run)
          guard let place = UnsafeRawPointer(bitPattern: UInt(found)) else { break }
          let first = skep_load_relaxed_64(place)
          for _ in 0..<3 {
            for index in 0..<8 where skep_load_relaxed_64(place + index * 8) != first {
              _ = skep_fetch_add_64(failures, 1)
            }
          }
        }
        system.end(run)
      }
    }
    #expect(torn.pointee == 0)
    if let map = map as? HashMap {
      let run = system.makeRun(cpu: 0)
      system.begin(run)
      #expect(map.forEachElement(cpu: 0) { _, _ in true } == map.count)
      system.end(run)
      system.releaseRun(run)
      #expect(map.count <= entries)
    }
  }

  @Test(arguments: [MapType.percpuHash, .lruPercpuHash, .percpuArray])
  func perCPUCountsAddUp(_ type: MapType) throws {
    let system = MapSystem(cpuCount: Self.threads)
    let map = try system.makeMap(
      MapDefinition(name: "map", type: type, keySize: 4, valueSize: 8, maxEntries: 64))
    Self.together(system) { cpu, run in
      var random = Generator(seed: UInt64(cpu + 1))
      for _ in 0..<Self.rounds {
        system.begin(run)
        var key = UInt32(truncatingIfNeeded: random.next() % 8)
        var found = map.block.pointee.lookup(map.block, &key, run)
        if found == 0 {
          var zero: UInt64 = 0
          _ = map.block.pointee.update(map.block, &key, &zero, 1, run)
          found = map.block.pointee.lookup(map.block, &key, run)
        }
        if let place = UnsafeMutableRawPointer(bitPattern: UInt(found)) {
          skep_store_relaxed_64(place, skep_load_relaxed_64(place) + 1)
        }
        system.end(run)
      }
    }
    var total: UInt64 = 0
    for key in 0..<8 {
      let key = withUnsafeBytes(of: UInt32(key)) { Array($0) }
      let values = try map.lookup(key)
      values.withUnsafeBytes {
        for cpu in 0..<Self.threads { total += $0.load(fromByteOffset: cpu * 8, as: UInt64.self) }
      }
    }
    // An element's first insertion by one CPU may zero nobody's count: BPF_NOEXIST lets one win.
    #expect(total == UInt64(Self.threads * Self.rounds))
  }

  @Test func usersAndProgramsAtOnce() throws {
    let system = MapSystem(cpuCount: Self.threads)
    let map = try system.makeMap(
      MapDefinition(name: "map", type: .hash, keySize: 8, valueSize: 8, maxEntries: 128))
    Self.together(system) { cpu, run in
      var random = Generator(seed: UInt64(cpu + 1))
      for _ in 0..<Self.rounds / 4 {
        var key = random.next() % 160
        if cpu < 2 {
          system.begin(run)
          var value = random.next()
          _ = map.block.pointee.update(map.block, &key, &value, 0, run)
          _ = map.block.pointee.remove(map.block, &key, run)
          system.end(run)
        } else {
          let bytes = withUnsafeBytes(of: key) { Array($0) }
          try? map.update(bytes, bytes)
          _ = try? map.lookup(bytes)
          _ = try? map.nextKey(after: bytes)
          _ = try? map.lookupAndDelete(bytes)
          _ = try? map.lookupBatch(count: 20)
        }
      }
    }
    #expect((map as? HashMap)?.count ?? 0 <= 128)
  }

  @Test func lockedValuesAreNeverTorn() throws {
    let system = MapSystem(cpuCount: Self.threads)
    let map = try system.makeMap(
      MapDefinition(name: "map", type: .array, keySize: 4, valueSize: 72, maxEntries: 2),
      fields: [SpecialField(kind: .spinLock, offset: 0, size: 4)])
    let torn = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    torn.initialize(to: 0)
    defer { torn.deallocate() }
    nonisolated(unsafe) let failures = torn
    Self.together(system) { cpu, run in
      let key: [UInt8] = [1, 0, 0, 0]
      for round in 0..<Self.rounds / 4 {
        if cpu % 2 == 0 {
          try? map.update(key, [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 72), flags: 4)
        } else if let value = try? map.lookup(key, flags: 4) {
          if value[8...].contains(where: { $0 != value[8] }) { _ = skep_fetch_add_64(failures, 1) }
        }
      }
    }
    #expect(torn.pointee == 0)
  }

  @Test func ringsLoseNothing() throws {
    let system = MapSystem(cpuCount: Self.threads)
    let map = try #require(
      try system.makeMap(
        MapDefinition(name: "ring", type: .ringbuf, keySize: 0, valueSize: 0, maxEntries: 1 << 14)) as? RingBuffer)
    let counts = UnsafeMutablePointer<UInt64>.allocate(capacity: 3)
    counts.initialize(repeating: 0, count: 3)
    defer { counts.deallocate() }
    nonisolated(unsafe) let sums = counts
    Self.together(system) { cpu, run in
      if cpu == 0 {
        while true {
          let done = skep_load_acquire_64(sums + 2)
          map.consume { _ = skep_fetch_add_64(sums, $0.loadUnaligned(as: UInt64.self)) }
          if done == UInt64(Self.threads - 1) { break }
        }
        return
      }
      for round in 0..<Self.rounds {
        var record = (UInt64(round), UInt64(cpu))
        while true {
          let result = withUnsafeBytes(of: &record) {
            $0.baseAddress.map { RingBuffer.output(map.block, $0, 16, flags: 0) } ?? 0
          }
          if result == 0 { break }
          sched_yield()
        }
        _ = skep_fetch_add_64(sums + 1, UInt64(round))
      }
      _ = skep_fetch_add_64(sums + 2, 1)
    }
    map.consume { counts[0] += $0.loadUnaligned(as: UInt64.self) }
    #expect(counts[0] == counts[1])
  }

  @Test(arguments: [MapType.queue, .stack])
  func queuesLoseNothing(_ type: MapType) throws {
    let system = MapSystem(cpuCount: Self.threads)
    let map = try system.makeMap(
      MapDefinition(name: "queue", type: type, keySize: 0, valueSize: 8, maxEntries: 50))
    let counts = UnsafeMutablePointer<UInt64>.allocate(capacity: 2)
    counts.initialize(repeating: 0, count: 2)
    defer { counts.deallocate() }
    nonisolated(unsafe) let sums = counts
    Self.together(system) { cpu, run in
      for round in 0..<Self.rounds {
        var word = UInt64(round)
        if cpu % 2 == 0 {
          if QueueMap.push(map.block, &word, flags: 0) == 0 { _ = skep_fetch_add_64(sums, word) }
        } else if QueueMap.pop(map.block, into: &word) == 0 {
          _ = skep_fetch_add_64(sums + 1, word)
        }
      }
    }
    var word: UInt64 = 0
    while QueueMap.pop(map.block, into: &word) == 0 { counts[1] += word }
    #expect(counts[0] == counts[1])
  }
}
