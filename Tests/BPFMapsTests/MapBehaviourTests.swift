import BPFLinux
import CBPFRuntime
import Testing

@testable import BPFMaps

/// What programs see of maps, and what needs no kernel to be known.
@Suite struct MapBehaviourTests {
  let system = MapSystem(cpuCount: 4)

  func map(
    _ type: MapType, key: UInt32, value: UInt32, entries: UInt32, flags: MapFlags = [], fields: [SpecialField] = []
  ) throws -> Map {
    try system.makeMap(
      MapDefinition(name: "map", type: type, keySize: key, valueSize: value, maxEntries: entries, flags: flags),
      fields: fields)
  }

  func bytes(_ number: UInt64) -> [UInt8] { withUnsafeBytes(of: number) { Array($0) } }
  func bytes32(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number) { Array($0) } }

  func lookup(_ map: Map, _ key: [UInt8], _ run: UnsafeMutablePointer<skep_run>) -> UnsafeMutableRawPointer? {
    key.withUnsafeBytes {
      UnsafeMutableRawPointer(bitPattern: UInt(map.block.pointee.lookup(map.block, $0.baseAddress, run)))
    }
  }

  func update(
    _ map: Map, _ key: [UInt8], _ value: [UInt8], flags: UInt64 = 0, _ run: UnsafeMutablePointer<skep_run>
  ) -> Int64 {
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        map.block.pointee.update(map.block, key.baseAddress, value.baseAddress, flags, run)
      }
    }
  }

  func remove(_ map: Map, _ key: [UInt8], _ run: UnsafeMutablePointer<skep_run>) -> Int64 {
    key.withUnsafeBytes { map.block.pointee.remove(map.block, $0.baseAddress, run) }
  }

  @Test(arguments: [1, 3, 4, 8, 12, 16, 17, 40], [MapType.hash, .percpuHash, .lruHash, .lruPercpuHash])
  func programsFindWhatUsersPutIn(_ keySize: Int, _ type: MapType) throws {
    let map = try map(type, key: UInt32(keySize), value: 8, entries: 200)
    let run = system.makeRun(cpu: 2)
    defer { system.releaseRun(run) }
    system.begin(run)
    defer { system.end(run) }
    var random = Generator(seed: 1)
    var expected: [[UInt8]: UInt64] = [:]
    for _ in 0..<100 {
      let key = random.bytes(keySize)
      let value = random.next()
      #expect(update(map, key, bytes(value), run) == 0)
      expected[key] = value
    }
    for (key, value) in expected {
      #expect(lookup(map, key, run)?.load(as: UInt64.self) == value)
      let seen = try map.lookup(key)
      let isPerCPU = type == .percpuHash || type == .lruPercpuHash
      let own = isPerCPU ? Array(seen[16..<24]) : seen
      #expect(own == bytes(value))
      if isPerCPU { #expect(seen[0..<16].allSatisfy { $0 == 0 } && seen[24...].allSatisfy { $0 == 0 }) }
    }
    for key in expected.keys {
      #expect(remove(map, key, run) == 0)
      #expect(lookup(map, key, run) == nil)
      #expect(remove(map, key, run) == -2)
    }
  }

  @Test func aFullHashIsFullToTheElement() throws {
    for flags in [[], MapFlags.noPreallocation] {
      let map = try map(.hash, key: 4, value: 4, entries: 5, flags: flags)
      let run = system.makeRun(cpu: 0)
      defer { system.releaseRun(run) }
      system.begin(run)
      for number in 0..<5 { #expect(update(map, bytes32(UInt32(number)), [1, 2, 3, 4], run) == 0) }
      #expect(update(map, bytes32(9), [1, 2, 3, 4], run) == -7)
      // What is there can be replaced, any number of times within one run.
      for _ in 0..<5000 { #expect(update(map, bytes32(3), [4, 3, 2, 1], run) == 0) }
      #expect(remove(map, bytes32(0), run) == 0)
      #expect(update(map, bytes32(9), [1, 2, 3, 4], run) == 0)
      #expect(update(map, bytes32(0), [1, 2, 3, 4], run) == -7)
      system.end(run)
    }
  }

  @Test func aHeldValueStaysAsItIsUntilTheRunEnds() throws {
    let map = try map(.hash, key: 8, value: 8, entries: 100)
    let holder = system.makeRun(cpu: 0)
    let writer = system.makeRun(cpu: 1)
    defer {
      system.releaseRun(holder)
      system.releaseRun(writer)
    }
    try map.update(bytes(1), bytes(111))
    system.begin(holder)
    let held = try #require(lookup(map, bytes(1), holder))
    system.begin(writer)
    #expect(remove(map, bytes(1), writer) == 0)
    system.end(writer)
    for number in 2..<90 {
      system.begin(writer)
      #expect(update(map, bytes(UInt64(number)), bytes(7), writer) == 0)
      #expect(remove(map, bytes(UInt64(number)), writer) == 0)
      system.end(writer)
    }
    #expect(held.load(as: UInt64.self) == 111)
    system.end(holder)
    var isReused = false
    for number in 100..<400 {
      system.begin(writer)
      #expect(update(map, bytes(UInt64(number)), bytes(7), writer) == 0)
      if lookup(map, bytes(UInt64(number)), writer) == held { isReused = true }
      #expect(remove(map, bytes(UInt64(number)), writer) == 0)
      system.end(writer)
    }
    #expect(isReused)
  }

  @Test func retiredMemoryIsFreedAfterTheRuns() {
    final class Flag: @unchecked Sendable { var isSet = false }
    let flag = Flag()
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    system.begin(run)
    system.retire { flag.isSet = true }
    system.reclaim()
    #expect(!flag.isSet)
    system.end(run)
    system.reclaim()
    #expect(flag.isSet)
  }

  @Test func anLRUMapForgetsTheUnused() throws {
    let map = try map(.lruHash, key: 4, value: 4, entries: 1000)
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    for number in 0..<1000 {
      system.begin(run)
      #expect(update(map, bytes32(UInt32(number)), bytes32(1), run) == 0)
      system.end(run)
    }
    // Those that are looked up again and again survive many new ones.
    for number in 1000..<6000 {
      system.begin(run)
      for kept in 0..<20 { _ = lookup(map, bytes32(UInt32(kept)), run) }
      #expect(update(map, bytes32(UInt32(number)), bytes32(1), run) == 0)
      system.end(run)
    }
    system.begin(run)
    #expect((0..<20).filter { lookup(map, bytes32(UInt32($0)), run) != nil }.count == 20)
    #expect(map.forEachElement(cpu: 0) { _, _ in true } ?? 0 <= 1000)
    system.end(run)
  }

  @Test func arraysShowWhereTheirElementsAre() throws {
    let map = try map(.array, key: 4, value: 12, entries: 10)
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    let third = try #require(lookup(map, bytes32(3), run))
    #expect(third == map.block.pointee.values + 3 * Int(map.block.pointee.stride))
    #expect(map.block.pointee.stride == 16)
    #expect(lookup(map, bytes32(10), run) == nil)
    #expect(update(map, bytes32(3), [UInt8](repeating: 7, count: 12), run) == 0)
    #expect(third.load(as: UInt32.self) == 0x0707_0707)
    #expect(update(map, bytes32(3), [UInt8](repeating: 7, count: 12), flags: 1, run) == -17)
    #expect(update(map, bytes32(3), [UInt8](repeating: 7, count: 12), flags: 8, run) == -22)
    #expect(update(map, bytes32(10), [UInt8](repeating: 7, count: 12), run) == -7)
    #expect(remove(map, bytes32(0), run) == -22)
  }

  @Test func perCPUArraysAreOneForEachWorker() throws {
    let map = try map(.percpuArray, key: 4, value: 8, entries: 3)
    let runs = (0..<4).map { system.makeRun(cpu: $0) }
    defer { for run in runs { system.releaseRun(run) } }
    for (cpu, run) in runs.enumerated() {
      let place = try #require(lookup(map, bytes32(1), run))
      place.storeBytes(of: UInt64(cpu + 10), as: UInt64.self)
    }
    #expect(try map.lookup(bytes32(1)) == (10..<14).flatMap { bytes(UInt64($0)) })
    #expect(map.lookup(bytes32(1), cpu: 2)?.load(as: UInt64.self) == 12)
    #expect(map.lookup(bytes32(1), cpu: 4) == nil)
  }

  // MARK: Values with fields

  @Test func lockedValuesAreCopiedUnderTheirLock() throws {
    let lock = SpecialField(kind: .spinLock, offset: 0, size: 4)
    for type in [MapType.hash, .array] {
      let map = try map(type, key: 4, value: 16, entries: 4, fields: [lock])
      let value: [UInt8] = [9, 9, 9, 9] + [UInt8](repeating: 5, count: 12)
      try map.update(bytes32(1), value, flags: type == .hash ? 0 : 4)
      try map.update(bytes32(1), value, flags: 4)
      // The lock's own bytes are nobody's.
      #expect(try map.lookup(bytes32(1), flags: 4) == [0, 0, 0, 0] + [UInt8](repeating: 5, count: 12))
      #expect(throws: Errno.ENOTSUPP) { try map.freeze() }
    }
    let plain = try map(.hash, key: 4, value: 16, entries: 4)
    #expect(throws: Errno.EINVAL) { try plain.update(bytes32(1), [UInt8](repeating: 0, count: 16), flags: 4) }
    #expect(throws: Errno.EINVAL) { try plain.lookup(bytes32(1), flags: 4) }
  }

  @Test func whatAValueOwnsIsReleased() throws {
    final class Log: @unchecked Sendable { var objects: [UInt64] = [] }
    let log = Log()
    system.releaseField = { field, object in if field.kind == .referencedKptr { log.objects.append(object) } }
    let kptr = SpecialField(kind: .referencedKptr, offset: 8, size: 8)
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    do {
      let map = try map(.hash, key: 4, value: 16, entries: 4, fields: [kptr])
      try map.update(bytes32(1), [UInt8](repeating: 0xff, count: 16))
      system.begin(run)
      let place = try #require(lookup(map, bytes32(1), run))
      // What user space writes there is not taken.
      #expect((place + 8).load(as: UInt64.self) == 0)
      (place + 8).storeBytes(of: 1001, as: UInt64.self)
      #expect(try map.lookup(bytes32(1))[8...].allSatisfy { $0 == 0 })
      system.end(run)
      try map.delete(bytes32(1))
      #expect(log.objects == [1001])
      try map.update(bytes32(2), [UInt8](repeating: 0, count: 16))
      system.begin(run)
      (try #require(lookup(map, bytes32(2), run)) + 8).storeBytes(of: 1002, as: UInt64.self)
      system.end(run)
      try map.update(bytes32(2), [UInt8](repeating: 0, count: 16))
      #expect(log.objects == [1001, 1002])
      system.begin(run)
      (try #require(lookup(map, bytes32(2), run)) + 8).storeBytes(of: 1003, as: UInt64.self)
      system.end(run)
    }
    #expect(log.objects == [1001, 1002, 1003])
    let array = try map(.array, key: 4, value: 16, entries: 2, fields: [kptr])
    (try #require(lookup(array, bytes32(1), run)) + 8).storeBytes(of: 1004, as: UInt64.self)
    try array.update(bytes32(1), [UInt8](repeating: 0, count: 16))
    #expect(log.objects == [1001, 1002, 1003, 1004])
  }

  // MARK: Rings

  @Test func ringRecordsAreLaidOutAsLinuxDoes() throws {
    let map = try #require(try map(.ringbuf, key: 0, value: 0, entries: 4096) as? RingBuffer)
    let sample = try #require(RingBuffer.reserve(map.block, 13))
    let header = sample - 8
    #expect(header == map.memory.data)
    #expect(header.load(as: UInt32.self) == 13 | 1 << 31)
    #expect(header.load(fromByteOffset: 4, as: UInt32.self) == 3)
    #expect(map.memory.producerPosition.load(as: UInt64.self) == 24)
    #expect(map.consume { _ in } == 0)
    sample.copyMemory(from: Array("hello, world!".utf8), byteCount: 13)
    RingBuffer.submit(sample, flags: 0)
    #expect(map.wakeups == 1)
    #expect(header.load(as: UInt32.self) == 13)
    let second = try #require(RingBuffer.reserve(map.block, 8))
    RingBuffer.discard(second, flags: RingBuffer.forceWakeup)
    #expect((second - 8).load(as: UInt32.self) == 8 | 1 << 30)
    #expect(map.wakeups == 2)
    var seen: [String] = []
    #expect(map.consume { seen.append(String(decoding: $0, as: UTF8.self)) } == 1)
    #expect(seen == ["hello, world!"])
    #expect(map.memory.consumerPosition.load(as: UInt64.self) == 40)
    #expect(RingBuffer.query(map.block, 0) == 0)
    #expect(RingBuffer.query(map.block, 1) == 4096)
    #expect(RingBuffer.query(map.block, 2) == 40)
    #expect(RingBuffer.query(map.block, 3) == 40)
    #expect(RingBuffer.query(map.block, 4) == 0)
  }

  @Test func ringsAreFullWhenTheyAreFull() throws {
    let map = try #require(try map(.ringbuf, key: 0, value: 0, entries: 4096) as? RingBuffer)
    #expect(RingBuffer.reserve(map.block, 4089) == nil)
    #expect(RingBuffer.reserve(map.block, 4088) == nil)
    let first = try #require(RingBuffer.reserve(map.block, 4000))
    #expect(RingBuffer.reserve(map.block, 200) == nil)
    RingBuffer.submit(first, flags: 0)
    #expect(RingBuffer.output(map.block, [UInt8](repeating: 1, count: 200), 200, flags: 0) == -11)
    #expect(RingBuffer.output(map.block, [1], 1, flags: 4) == -22)
    #expect(map.consume { _ in } == 1)
    // This one wraps around the end, in one piece.
    let bytes = (0..<200).map { UInt8($0) }
    #expect(RingBuffer.output(map.block, bytes, 200, flags: 0) == 0)
    map.consume { #expect(Array($0) == bytes) }
  }

  @Test func userRings() throws {
    let map = try #require(try map(.userRingbuf, key: 0, value: 0, entries: 4096) as? UserRingBuffer)
    #expect(UserRingBuffer.peek(map.block).error == -61)
    try map.produce([1, 2, 3])
    try map.produce([])
    let first = UserRingBuffer.peek(map.block)
    #expect(first.error == 0 && first.size == 3)
    #expect(first.sample?.load(fromByteOffset: 2, as: UInt8.self) == 3)
    UserRingBuffer.release(map.block, size: 3)
    let second = UserRingBuffer.peek(map.block)
    #expect(second.error == 0 && second.size == 0)
    UserRingBuffer.release(map.block, size: 0)
    #expect(UserRingBuffer.peek(map.block).error == -61)
    #expect(UserRingBuffer.beginDrain(map.block))
    #expect(!UserRingBuffer.beginDrain(map.block))
    UserRingBuffer.endDrain(map.block, flags: 0, samples: 1)
    #expect(map.wakeups == 1)
    // A producer that lies about its positions is seen through.
    skep_store_release_64(map.memory.producerPosition, 25)
    #expect(UserRingBuffer.peek(map.block).error == -22)
    skep_store_release_64(map.memory.producerPosition, 32)
    skep_store_release_32(map.memory.data + 24, 5000)
    #expect(UserRingBuffer.peek(map.block).error == -22)
    skep_store_release_32(map.memory.data + 24, 0 | 1 << 30)
    #expect(UserRingBuffer.peek(map.block).error == -11)
  }

  @Test func perfEvents() throws {
    let map = try #require(try map(.perfEventArray, key: 4, value: 4, entries: 4) as? PerfEventArray)
    func output(_ index: UInt32, _ count: Int) -> Int64 {
      [UInt8](repeating: 3, count: count).withUnsafeBytes { map.output(index, $0) }
    }
    #expect(output(4, 8) == -7)
    #expect(output(0, 8) == -2)
    try map.openAll(capacity: 100)
    #expect(output(0, 8) == 0)
    #expect(output(0, 80) == -28)
    var samples: [[UInt8]] = []
    #expect(map.drain(0) { samples.append($0) } == 1)
    #expect(samples == [[UInt8](repeating: 3, count: 8)])
  }

  // MARK: Others

  @Test func stacks() throws {
    let map = try #require(try map(.stackTrace, key: 4, value: 80, entries: 2) as? StackTraceMap)
    let id = map.insert([1, 2, 3], flags: 0)
    #expect(id >= 0)
    #expect(map.insert([1, 2, 3], flags: 0) == id)
    #expect(map.insert([0, 1, 2, 3], flags: 1) == id)
    #expect(map.insert([1], flags: 1) == -14)
    #expect(try map.lookup(bytes32(UInt32(id))) == (bytes(1) + bytes(2) + bytes(3) + [UInt8](repeating: 0, count: 56)))
    try map.delete(bytes32(UInt32(id)))
    #expect(throws: Errno.ENOENT) { try map.lookup(bytes32(UInt32(id))) }
  }

  @Test func storagesKeepAValueForEachObject() throws {
    let map = try map(.taskStorage, key: 4, value: 8, entries: 0, flags: .noPreallocation)
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    #expect(LocalStorageMap.get(map.block, object: 0x1000, initial: nil, flags: 0, run: run) == 0)
    var initial: UInt64 = 77
    let made = LocalStorageMap.get(map.block, object: 0x1000, initial: &initial, flags: 1, run: run)
    #expect(UnsafeRawPointer(bitPattern: UInt(made))?.load(as: UInt64.self) == 77)
    #expect(LocalStorageMap.get(map.block, object: 0x1000, initial: nil, flags: 1, run: run) == made)
    #expect(LocalStorageMap.get(map.block, object: 0x1000, initial: nil, flags: 2, run: run) == 0)
    #expect(LocalStorageMap.delete(map.block, object: 0x1000, run: run) == 0)
    #expect(LocalStorageMap.delete(map.block, object: 0x1000, run: run) == -2)
    #expect(throws: Errno.EBADF) { try map.lookup(bytes32(3)) }
    #expect(throws: Errno.ENOTSUPP) { try map.nextKey(after: nil) }
  }

  @Test func programsInArraysLiveUntilTheRunsEnd() throws {
    final class Program {}
    let map = try #require(try map(.progArray, key: 4, value: 4, entries: 2) as? ProgramArray)
    let header = UnsafeMutablePointer<skep_program>.allocate(capacity: 1)
    defer { header.deallocate() }
    header.initialize(to: skep_program())
    var program: Program? = Program()
    weak let seen = program
    try map.setProgram(1, header, keepAlive: program, id: 42)
    program = nil
    #expect(map.block.pointee.programs?[1] == UnsafePointer(header))
    #expect(try map.lookup(bytes32(1)) == bytes32(42))
    #expect(throws: Errno.ENOENT) { try map.lookup(bytes32(0)) }
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    system.begin(run)
    try map.delete(bytes32(1))
    #expect(seen != nil)
    system.end(run)
    system.reclaim()
    #expect(seen == nil)
    #expect(map.block.pointee.programs?[1] == nil)
  }

  @Test func innerMapsLiveUntilTheRunsEnd() throws {
    var definition = MapDefinition(name: "outer", type: .hashOfMaps, keySize: 4, valueSize: 4, maxEntries: 4)
    definition.inner = [MapDefinition(name: "inner", type: .array, keySize: 4, valueSize: 4, maxEntries: 1)]
    let outer = try #require(try system.makeMap(definition) as? HashOfMaps)
    var inner: Map? = try system.makeMap(definition.inner[0])
    weak let seen = inner
    let run = system.makeRun(cpu: 0)
    defer { system.releaseRun(run) }
    if let inner { try outer.setInner(bytes32(1), inner) }
    let address = try #require(inner).block
    inner = nil
    system.begin(run)
    #expect(lookup(outer, bytes32(1), run) == UnsafeMutableRawPointer(address))
    try outer.delete(bytes32(1))
    #expect(lookup(outer, bytes32(1), run) == nil)
    #expect(seen != nil)
    system.end(run)
    system.reclaim()
    #expect(seen == nil)
  }

  @Test func arenas() throws {
    let map = try #require(try map(.arena, key: 0, value: 0, entries: 8, flags: .mmapable) as? ArenaMap)
    let base = UnsafeMutableRawPointer(map.block.pointee.values)
    let first = map.allocatePages(hint: 0, count: 2)
    #expect(first != 0 && first % 4096 == 0)
    let place = try #require(base) + Int(first & 0xffff_ffff)
    #expect(place == UnsafeMutableRawPointer(bitPattern: UInt(first)))
    place.storeBytes(of: 5, as: UInt64.self)
    #expect(map.allocatePages(hint: first, count: 1) == 0)
    #expect(map.allocatePages(hint: 0, count: 7) == 0)
    let rest = map.allocatePages(hint: 0, count: 6)
    #expect(rest != 0)
    #expect(map.allocatePages(hint: 0, count: 1) == 0)
    map.freePages(first, count: 2)
    #expect(map.reservePages(first, count: 1) == 0)
    #expect(map.reservePages(first, count: 1) == -16)
    #expect(map.allocatePages(hint: first, count: 1) == 0)
    let again = map.allocatePages(hint: first + 4096, count: 1)
    #expect(again == first + 4096)
    #expect((place + 4096).load(as: UInt64.self) == 0)
    #expect(map.allocatePages(hint: first + 1, count: 1) == 0)
    #expect(map.reservePages(first + 8 * 4096, count: 1) == -22)
  }

  @Test func whatIsNotThereIsNamed() {
    #expect(throws: MapError.self) { try map(.hash, key: 0, value: 4, entries: 1) }
    #expect(throws: MapError.self) { try map(.ringbuf, key: 0, value: 0, entries: 5000) }
    #expect(throws: MapError.self) { try map(.array, key: 4, value: 0x7fff_ffff, entries: .max) }
  }
}
