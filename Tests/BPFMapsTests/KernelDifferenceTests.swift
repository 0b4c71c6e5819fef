import BPFLinux
import Testing

@testable import BPFMaps

/// The same random commands to a map here and to one of the running kernel: results and error numbers are the same.
@Suite(.serialized, .enabled(if: KernelMap.isAvailable, "takes root and a kernel with bpf(2)"))
struct KernelDifferenceTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let type: MapType
    let key: UInt32
    let value: UInt32
    let entries: UInt32
    var flags: MapFlags = []
    var extra: UInt64 = 0
    var testDescription: String { "\(type.name) key \(key) value \(value) entries \(entries) flags \(flags.rawValue)" }

    var definition: MapDefinition {
      var definition = MapDefinition(
        name: "case", type: type, keySize: key, valueSize: value, maxEntries: entries, flags: flags)
      definition.mapExtra = extra
      return definition
    }
  }

  static let cases: [Case] = [
    Case(type: .hash, key: 4, value: 4, entries: 16),
    Case(type: .hash, key: 8, value: 8, entries: 10, flags: .noPreallocation),
    Case(type: .hash, key: 16, value: 24, entries: 1),
    Case(type: .hash, key: 3, value: 7, entries: 33),
    Case(type: .hash, key: 20, value: 300, entries: 100, flags: .noPreallocation),
    Case(type: .hash, key: 1, value: 1, entries: 256),
    Case(type: .hash, key: 8, value: 8, entries: 20, flags: .readOnly),
    Case(type: .hash, key: 8, value: 8, entries: 20, flags: .writeOnly),
    Case(type: .percpuHash, key: 4, value: 8, entries: 12),
    Case(type: .percpuHash, key: 8, value: 5, entries: 12, flags: .noPreallocation),
    Case(type: .lruHash, key: 4, value: 4, entries: 8),
    Case(type: .lruHash, key: 8, value: 16, entries: 100),
    Case(type: .lruHash, key: 4, value: 4, entries: 1),
    Case(type: .lruHash, key: 4, value: 4, entries: 700),
    Case(type: .lruHash, key: 8, value: 8, entries: 13, flags: .noCommonLRU),
    Case(type: .lruPercpuHash, key: 4, value: 12, entries: 9),
    Case(type: .lruPercpuHash, key: 4, value: 8, entries: 10, flags: .noCommonLRU),
    Case(type: .array, key: 4, value: 4, entries: 7),
    Case(type: .array, key: 4, value: 13, entries: 5),
    Case(type: .array, key: 4, value: 8, entries: 600, flags: .mmapable),
    Case(type: .array, key: 4, value: 8, entries: 4, flags: .readOnly),
    Case(type: .percpuArray, key: 4, value: 6, entries: 5),
    Case(type: .percpuArray, key: 4, value: 8, entries: 1),
    Case(type: .lpmTrie, key: 8, value: 4, entries: 20, flags: .noPreallocation),
    Case(type: .lpmTrie, key: 5, value: 1, entries: 40, flags: .noPreallocation),
    Case(type: .lpmTrie, key: 20, value: 9, entries: 64, flags: .noPreallocation),
    Case(type: .lpmTrie, key: 15, value: 8, entries: 30, flags: .noPreallocation),
    Case(type: .queue, key: 0, value: 4, entries: 5),
    Case(type: .queue, key: 0, value: 13, entries: 1),
    Case(type: .stack, key: 0, value: 8, entries: 6),
    Case(type: .stackTrace, key: 4, value: 80, entries: 10),
    Case(type: .devmap, key: 4, value: 4, entries: 6),
    Case(type: .devmap, key: 4, value: 8, entries: 3),
    Case(type: .devmapHash, key: 4, value: 4, entries: 6),
    Case(type: .devmapHash, key: 4, value: 8, entries: 5),
    Case(type: .cpumap, key: 4, value: 4, entries: 6),
    Case(type: .xskmap, key: 4, value: 4, entries: 6),
    Case(type: .ringbuf, key: 0, value: 0, entries: 4096),
    Case(type: .userRingbuf, key: 0, value: 0, entries: 4096),
    Case(type: .progArray, key: 4, value: 4, entries: 5),
    Case(type: .perfEventArray, key: 4, value: 4, entries: 5),
    Case(type: .cgroupArray, key: 4, value: 4, entries: 5),
    Case(type: .arena, key: 0, value: 0, entries: 10, flags: .mmapable),
  ]

  /// A result that two maps can be compared by.
  enum Answer: Equatable, CustomStringConvertible {
    case bytes([UInt8])
    case error(Errno)
    var description: String {
      switch self {
      case .bytes(let bytes): "\(bytes)"
      case .error(let error): "\(error)"
      }
    }

    init(_ body: () throws(Errno) -> [UInt8]) {
      do throws(Errno) {
        self = .bytes(try body())
      } catch {
        self = .error(error)
      }
    }

    init(_ body: () throws(Errno) -> Void) {
      self.init { () throws(Errno) -> [UInt8] in
        try body()
        return []
      }
    }
  }

  /// A key out of few enough that they come again.
  static func key(_ item: Case, _ random: inout Generator) -> [UInt8] {
    var key = [UInt8](repeating: 0, count: Int(item.key))
    switch item.type {
    case .lpmTrie:
      // The prefix may be one too long.
      let bits = (item.key - 4) * 8
      let length = random.next() % 4 == 0 ? [0, bits, bits + 1].randomElement(using: &random) ?? 0
        : UInt32.random(in: 0...bits, using: &random)
      withUnsafeBytes(of: length) { for index in 0..<4 { key[index] = $0[index] } }
      for index in 4..<key.count { key[index] = [0, 0xff, 0x80, 0x01].randomElement(using: &random) ?? 0 }
    case _ where item.key >= 4:
      let most = item.entries + item.entries / 2 + 2
      let number = random.next() % 50 == 0 ? UInt32.max : UInt32.random(in: 0..<most, using: &random)
      withUnsafeBytes(of: number) { for index in 0..<4 { key[index] = $0[index] } }
      if key.count >= 16 { key[15] = UInt8(truncatingIfNeeded: number) }
    default:
      for index in key.indices { key[index] = UInt8(truncatingIfNeeded: random.next() % 7) }
      if item.key == 1 { key[0] = UInt8(truncatingIfNeeded: random.next()) }
    }
    return key
  }

  static func value(_ item: Case, _ size: Int, _ random: inout Generator) -> [UInt8] {
    func word(_ value: UInt32, _ rest: Int) -> [UInt8] {
      withUnsafeBytes(of: value) { Array($0) } + [UInt8](repeating: 0, count: rest)
    }
    switch item.type {
    case .devmap, .devmapHash:
      return word([0, 1, 1, 1, 77777].randomElement(using: &random) ?? 0, size - 4)
    case .cpumap: return word([0, 1, 128, 16384, 16385].randomElement(using: &random) ?? 0, size - 4)
    case .xskmap, .progArray, .perfEventArray, .cgroupArray: return word(99_999, size - 4)
    default: return random.bytes(size)
    }
  }

  @Test(arguments: cases)
  func sameAnswers(_ item: Case) throws {
    stayOnFirstCPU()
    let system = MapSystem(cpuCount: KernelMap.cpuCount)
    for seed in 1...4 {
      let kernel = try KernelMap(item.definition)
      let ours = try system.makeMap(item.definition)
      system.interfaceExists = { $0 == 1 }
      var random = Generator(seed: UInt64(seed))
      #expect(ours.userValueSize == kernel.userValueSize)
      for step in 0..<1500 {
        let key = Self.key(item, &random)
        let value = Self.value(item, ours.userValueSize, &random)
        let flags: UInt64 = [0, 0, 0, 0, 1, 2, 1, 2, 3, 4, 8, 1 << 40].randomElement(using: &random) ?? 0
        let what = Int.random(in: 0..<12, using: &random)
        let (mine, theirs) = apply(what, key, value, flags, ours, kernel)
        if mine != theirs {
          Issue.record("seed \(seed) step \(step) command \(what) key \(key) flags \(flags): \(mine), kernel \(theirs)")
          return
        }
      }
      let (mine, theirs) = (Self.contents(ours), try Self.contents(kernel))
      #expect(mine == theirs)
    }
  }

  func apply(
    _ what: Int, _ key: [UInt8], _ value: [UInt8], _ flags: UInt64, _ ours: Map, _ kernel: KernelMap
  ) -> (Answer, Answer) {
    switch what {
    case 0...4:
      return (
        Answer { () throws(Errno) -> Void in try ours.update(key, value, flags: flags) },
        Answer { () throws(Errno) -> Void in try kernel.update(key, value, flags: flags) }
      )
    case 5...7:
      let flags = flags == 4 || flags == 8 ? flags : 0
      return (
        Answer { () throws(Errno) in try ours.lookup(key, flags: flags) },
        Answer { () throws(Errno) in try kernel.lookup(key, flags: flags) }
      )
    case 8, 9:
      return (
        Answer { () throws(Errno) -> Void in try ours.delete(key) },
        Answer { () throws(Errno) -> Void in try kernel.delete(key) }
      )
    case 10:
      let flags = flags == 4 || flags == 8 ? flags : 0
      return (
        Answer { () throws(Errno) in try ours.lookupAndDelete(key, flags: flags) },
        Answer { () throws(Errno) in try kernel.lookupAndDelete(key, flags: flags) }
      )
    default:
      // Hashed keys come in another order; that there is one is the same for the first.
      let isOrdered = ![.hash, .percpuHash, .lruHash, .lruPercpuHash, .devmapHash].contains(ours.definition.type)
      guard !key.isEmpty else {
        return (
          Answer { () throws(Errno) in try ours.nextKey(after: nil) },
          Answer { () throws(Errno) in try kernel.nextKey(after: nil) }
        )
      }
      var mine = Answer { () throws(Errno) in try ours.nextKey(after: isOrdered ? key : nil) }
      var theirs = Answer { () throws(Errno) in try kernel.nextKey(after: isOrdered ? key : nil) }
      if !isOrdered, case .bytes = mine { mine = .bytes([]) }
      if !isOrdered, case .bytes = theirs { theirs = .bytes([]) }
      return (mine, theirs)
    }
  }

  /// All that is in a map, sorted by key.
  static func contents(_ map: Map) -> [[UInt8]] {
    var all: [[UInt8]] = []
    var key = try? map.nextKey(after: nil)
    while let here = key {
      all.append(here + ((try? map.lookup(here)) ?? []))
      key = try? map.nextKey(after: here)
    }
    return all.sorted { $0.lexicographicallyPrecedes($1) }
  }

  static func contents(_ map: KernelMap) throws -> [[UInt8]] {
    guard map.keySize > 0 else { return [] }
    var all: [[UInt8]] = []
    var key = try? map.nextKey(after: nil)
    while let here = key {
      all.append(here + ((try? map.lookup(here)) ?? []))
      key = try? map.nextKey(after: here)
    }
    return all.sorted { $0.lexicographicallyPrecedes($1) }
  }

  @Test func bloomFiltersWithoutSeedAreTheSame() throws {
    for (value, entries, functions) in [(4, 20, 0), (8, 100, 1), (5, 3, 7), (13, 1000, 15), (12, 64, 3)] {
      let item = Case(
        type: .bloomFilter, key: 0, value: UInt32(value), entries: UInt32(entries), flags: .zeroSeed,
        extra: UInt64(functions))
      let system = MapSystem(cpuCount: 1)
      let kernel = try KernelMap(item.definition)
      let ours = try #require(try system.makeMap(item.definition) as? BloomFilter)
      var random = Generator(seed: 5)
      for _ in 0..<entries {
        let bytes = random.bytes(value)
        try kernel.update([], bytes)
        try ours.update([], bytes)
      }
      for _ in 0..<2000 {
        let bytes = random.bytes(value)
        let theirs = (try? kernel.lookup([], value: bytes)) != nil
        #expect(try ours.contains(bytes) == theirs)
      }
      let bytes = random.bytes(value)
      #expect(Answer { () throws(Errno) -> Void in try ours.update([], bytes, flags: 1) } == .error(.EINVAL))
      #expect(Answer { () throws(Errno) -> Void in try ours.delete([]) }
        == Answer { () throws(Errno) -> Void in try kernel.delete([]) })
      #expect(Answer { () throws(Errno) in try ours.nextKey(after: nil) }
        == Answer { () throws(Errno) in try kernel.nextKey(after: nil) })
    }
  }

  @Test func freezing() throws {
    for type in [MapType.array, .hash, .lruHash, .percpuArray] {
      let item = Case(type: type, key: 4, value: 4, entries: 3)
      let system = MapSystem(cpuCount: KernelMap.cpuCount)
      let kernel = try KernelMap(item.definition)
      let ours = try system.makeMap(item.definition)
      let key: [UInt8] = [1, 0, 0, 0]
      let value = [UInt8](repeating: 3, count: ours.userValueSize)
      func same(_ mine: () throws(Errno) -> Void, _ theirs: () throws(Errno) -> Void) {
        #expect(Answer(mine) == Answer(theirs))
      }
      for _ in 0..<2 {
        same({ () throws(Errno) in try ours.update(key, value) }, { () throws(Errno) in try kernel.update(key, value) })
        same({ () throws(Errno) in try ours.freeze() }, { () throws(Errno) in try kernel.freeze() })
        same({ () throws(Errno) in try ours.delete(key) }, { () throws(Errno) in try kernel.delete(key) })
        #expect(Answer { () throws(Errno) in try ours.lookup(key) }
          == Answer { () throws(Errno) in try kernel.lookup(key) })
        #expect(Answer { () throws(Errno) in try ours.lookupAndDelete(key) }
          == Answer { () throws(Errno) in try kernel.lookupAndDelete(key) })
      }
    }
  }

  @Test(arguments: [MapType.hash, .percpuHash, .lruHash, .lruPercpuHash])
  func batchesOfHashedMaps(_ type: MapType) throws {
    let item = Case(type: type, key: 4, value: 8, entries: 500)
    let system = MapSystem(cpuCount: KernelMap.cpuCount)
    let kernel = try KernelMap(item.definition)
    let ours = try system.makeMap(item.definition)
    var random = Generator(seed: 9)
    let count = 200
    let keys = (0..<count).flatMap { number in withUnsafeBytes(of: UInt32(number * 7)) { Array($0) } }
    let values = random.bytes(count * ours.userValueSize)
    #expect(try ours.updateBatch(keys: keys, values: values, count: count).count == count)
    #expect(kernel.updateBatch(keys: keys, values: values, count: count).count == count)
    let mine = Answer { () throws(Errno) -> Void in
      _ = try ours.updateBatch(keys: keys, values: values, count: count, elementFlags: 4)
    }
    let theirs = kernel.updateBatch(keys: keys, values: values, count: count, elementFlags: 4)
    #expect(mine == .error(theirs.error ?? .ENOENT))
    #expect(Self.contents(ours) == (try Self.contents(kernel)))
  }

  @Test func batchErrors() throws {
    let item = Case(type: .hash, key: 4, value: 8, entries: 100)
    let system = MapSystem(cpuCount: KernelMap.cpuCount)
    let kernel = try KernelMap(item.definition)
    let ours = try system.makeMap(item.definition)
    let keys = (0..<120).flatMap { number in withUnsafeBytes(of: UInt32(number)) { Array($0) } }
    let values = [UInt8](repeating: 1, count: 120 * 8)
    let mine = try ours.updateBatch(keys: keys, values: values, count: 120)
    let theirs = kernel.updateBatch(keys: keys, values: values, count: 120)
    #expect(mine.count == theirs.count && mine.error == theirs.error)
    // All of it, a few at a time.
    for removing in [false, true] {
      var (mineKeys, theirKeys): (Set<[UInt8]>, Set<[UInt8]>) = ([], [])
      var token: [UInt8]?
      while true {
        let batch = try ours.lookupBatch(after: token, count: 30, removing: removing)
        for index in 0..<batch.count { mineKeys.insert(Array(batch.keys[index * 4..<index * 4 + 4])) }
        token = batch.next
        if batch.error != nil {
          #expect(batch.error == .ENOENT)
          break
        }
      }
      token = nil
      while true {
        let batch = kernel.lookupBatch(after: token, count: 30, removing: removing)
        for index in 0..<batch.count { theirKeys.insert(Array(batch.keys[index * 4..<index * 4 + 4])) }
        token = batch.next
        if batch.error != nil {
          #expect(batch.error == .ENOENT)
          break
        }
      }
      #expect(mineKeys == theirKeys)
      #expect(mineKeys.count == 100)
    }
    let deleted = try ours.deleteBatch(keys: keys, count: 5)
    let kernelDeleted = kernel.deleteBatch(keys: keys, count: 5)
    #expect(deleted.count == kernelDeleted.count && deleted.error == kernelDeleted.error)
  }

  @Test func batchesOfArraysAndTries() throws {
    for item in [
      Case(type: .array, key: 4, value: 6, entries: 20), Case(type: .percpuArray, key: 4, value: 6, entries: 9),
      Case(type: .lpmTrie, key: 8, value: 4, entries: 50, flags: .noPreallocation),
    ] {
      let system = MapSystem(cpuCount: KernelMap.cpuCount)
      let kernel = try KernelMap(item.definition)
      let ours = try system.makeMap(item.definition)
      var random = Generator(seed: 3)
      for _ in 0..<40 {
        let key = Self.key(item, &random)
        let value = random.bytes(ours.userValueSize)
        try? ours.update(key, value)
        try? kernel.update(key, value)
      }
      for size in [1, 4, 7, 100] {
        var token: [UInt8]?
        for _ in 0..<8 {
          let mine = try ours.lookupBatch(after: token, count: size)
          let theirs = kernel.lookupBatch(after: token, count: size)
          #expect(mine.keys == theirs.keys && mine.values == theirs.values)
          #expect(mine.error == theirs.error && mine.count == theirs.count)
          guard let next = mine.next else { break }
          #expect(next == Array(theirs.next.prefix(ours.keySize)))
          token = next
        }
      }
      let mine = Answer { () throws(Errno) -> Void in _ = try ours.lookupBatch(count: 1, removing: true) }
      #expect(mine == .error(kernel.lookupBatch(after: nil, count: 1, removing: true).error ?? .EINVAL))
    }
  }

  @Test(arguments: [MapType.arrayOfMaps, .hashOfMaps])
  func mapsOfMaps(_ type: MapType) throws {
    let system = MapSystem(cpuCount: KernelMap.cpuCount)
    var definition = MapDefinition(name: "outer", type: type, keySize: 4, valueSize: 4, maxEntries: 6)
    let model = MapDefinition(name: "inner", type: .array, keySize: 4, valueSize: 4, maxEntries: 2)
    var other = model
    other.maxEntries = 3
    definition.inner = [model]
    let kernelInner = try [model, model, model, other].map { item throws(Errno) in try KernelMap(item) }
    let ourInner = try [model, model, model, other].map { item throws(MapError) in try system.makeMap(item) }
    let kernel = try KernelMap(definition, inner: kernelInner[0])
    let ours = try system.makeMap(definition, inner: ourInner[0])
    func bytes(_ number: UInt32) -> [UInt8] { withUnsafeBytes(of: number) { Array($0) } }
    /// Ids as positions in the list.
    func position(_ answer: Answer, _ ids: [UInt32]) -> Answer {
      guard case .bytes(let bytes) = answer, bytes.count == 4 else { return answer }
      let id = bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
      return .bytes([UInt8(ids.firstIndex(of: id) ?? 255)])
    }
    var random = Generator(seed: 11)
    for _ in 0..<1000 {
      let key = bytes(UInt32.random(in: 0..<8, using: &random))
      let flags: UInt64 = [0, 0, 0, 1, 2, 3, 4].randomElement(using: &random) ?? 0
      let which = Int.random(in: 0..<5, using: &random)
      let ourValue = which < 4 ? ourInner[which].id : 99_999
      let kernelValue = which < 4 ? UInt32(bitPattern: kernelInner[which].descriptor) : 99_999
      let mine: Answer
      let theirs: Answer
      switch Int.random(in: 0..<6, using: &random) {
      case 0...2:
        mine = Answer { () throws(Errno) -> Void in try ours.update(key, bytes(ourValue), flags: flags) }
        theirs = Answer { () throws(Errno) -> Void in try kernel.update(key, bytes(kernelValue), flags: flags) }
      case 3:
        mine = Answer { () throws(Errno) -> Void in try ours.delete(key) }
        theirs = Answer { () throws(Errno) -> Void in try kernel.delete(key) }
      case 4:
        mine = Answer { () throws(Errno) in try ours.lookupAndDelete(key) }
        theirs = Answer { () throws(Errno) in try kernel.lookupAndDelete(key) }
      default:
        mine = position(Answer { () throws(Errno) in try ours.lookup(key) }, ourInner.map(\.id))
        theirs = position(Answer { () throws(Errno) in try kernel.lookup(key) }, kernelInner.map(\.id))
      }
      #expect(mine == theirs)
    }
  }
}
