import BPFLinux
import BPFMaps
import BTF

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// Objects by id. They are kept by those who use them, not by the tables; the kernel's own types stay.
final class Tables: @unchecked Sendable {
  private let lock = Lock()
  private var programs = Table<ProgramObject>()
  private var links = Table<LinkObject>()
  private var loadedTypes = Table<TypesObject>()
  private var mapObjects: [UInt32: Weak<MapObject>] = [:]
  private var mapTypes: [UInt32: TypesObject] = [:]
  private var mapIDs: [UInt32] = []
  private var statisticsUsers = 0
  private let kernel: TypesObject?
  private var modules: [TypesObject]?

  private struct Weak<Object: AnyObject> {
    weak var object: Object?
  }

  private struct Table<Object: SystemObject> {
    var last: UInt32 = 0
    /// In the order of their ids.
    var entries: [(id: UInt32, entry: Weak<Object>)] = []

    mutating func add(_ make: (UInt32) -> Object) -> Object {
      last &+= 1
      let object = make(last)
      entries.append((last, Weak(object: object)))
      return object
    }

    func first(from id: UInt32) -> Int {
      var low = 0
      var high = entries.count
      while low < high {
        let middle = (low + high) / 2
        if entries[middle].id < id { low = middle + 1 } else { high = middle }
      }
      return low
    }

    func find(_ id: UInt32) -> Object? {
      let place = first(from: id)
      return place < entries.count && entries[place].id == id ? entries[place].entry.object : nil
    }

    mutating func next(after id: UInt32) -> UInt32? {
      entries.removeAll { $0.entry.object == nil }
      let place = first(from: id &+ 1)
      return place < entries.count ? entries[place].id : nil
    }
  }

  init(_ linux: Linux) {
    kernel = linux.btf.map { TypesObject(id: 1, $0, isKernel: true, name: "vmlinux") }
    loadedTypes.last = 1
  }

  // MARK: Programs and links

  func addProgram(_ make: (UInt32) -> ProgramObject) -> ProgramObject { lock.locked { programs.add(make) } }
  func program(_ id: UInt32) -> ProgramObject? { lock.locked { programs.find(id) } }
  func nextProgram(_ id: UInt32) -> UInt32? { lock.locked { programs.next(after: id) } }
  func addLink(_ make: (UInt32) -> LinkObject) -> LinkObject { lock.locked { links.add(make) } }
  func link(_ id: UInt32) -> LinkObject? { lock.locked { links.find(id) } }
  func nextLink(_ id: UInt32) -> UInt32? { lock.locked { links.next(after: id) } }

  // MARK: Types

  var kernelTypes: TypesObject? { kernel }

  /// Modules come after the kernel, before what clients load.
  private func modulesOnce() -> [TypesObject] {
    if let modules { return modules }
    var found: [TypesObject] = []
    if let base = kernel?.btf, base.origin.hasPrefix("/sys/kernel/btf/") {
      for name in Self.moduleNames() {
        guard let btf = try? BTF.map(path: "/sys/kernel/btf/\(name)", base: base) else { continue }
        found.append(TypesObject(id: UInt32(found.count) + 2, btf, isKernel: true, name: name))
      }
    }
    loadedTypes.last = max(loadedTypes.last, UInt32(found.count) + 1)
    modules = found
    return found
  }

  private static func moduleNames() -> [String] {
    var names: [String] = []
    guard let directory = opendir("/sys/kernel/btf") else { return [] }
    defer { closedir(directory) }
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if !name.hasPrefix("."), name != "vmlinux" { names.append(name) }
    }
    return names.sorted()
  }

  func addTypes(_ btf: BTF) -> TypesObject {
    lock.locked {
      _ = modulesOnce()
      return loadedTypes.add { TypesObject(id: $0, btf, isKernel: false, name: "") }
    }
  }

  func types(_ id: UInt32) -> TypesObject? {
    lock.locked {
      if id == 1 { return kernel }
      return modulesOnce().first { $0.id == id } ?? loadedTypes.find(id)
    }
  }

  func nextTypes(_ id: UInt32) -> UInt32? {
    lock.locked {
      if id == 0, kernel != nil { return 1 }
      if let module = modulesOnce().first(where: { $0.id > id }) { return module.id }
      return loadedTypes.next(after: id)
    }
  }

  // MARK: Maps

  func addMap(_ map: Map, types: TypesObject?) -> MapObject {
    let object = MapObject(map, types: types)
    lock.locked {
      mapObjects[map.id] = Weak(object: object)
      mapTypes[map.id] = types
      let place = mapIDs.lastIndex { $0 < map.id }.map { $0 + 1 } ?? 0
      mapIDs.insert(map.id, at: place)
    }
    return object
  }

  /// The object of a map, which may be used by programs and other maps alone.
  func map(_ id: UInt32, _ maps: MapSystem) -> MapObject? {
    guard let map = maps.map(id: id) else { return nil }
    return lock.locked {
      if let known = mapObjects[id]?.object { return known }
      guard mapIDs.contains(id) else { return nil }
      let object = MapObject(map, types: mapTypes[id])
      mapObjects[id] = Weak(object: object)
      return object
    }
  }

  func nextMap(_ id: UInt32, _ maps: MapSystem) -> UInt32? {
    lock.locked {
      mapIDs.removeAll { known in
        guard maps.map(id: known) == nil else { return false }
        mapObjects[known] = nil
        mapTypes[known] = nil
        return true
      }
      return mapIDs.first { $0 > id }
    }
  }

  // MARK: Statistics

  func countStatisticsUsers(_ change: Int) { lock.locked { statisticsUsers += change } }
  var countsRuns: Bool { lock.locked { statisticsUsers > 0 } }
}

/// Addresses of the kernel's functions and variables, for what a rewritten program says of them. They are read once,
/// when they are first asked for; zero where the kernel does not tell.
final class KernelSymbols: @unchecked Sendable {
  private let lock = Lock()
  private var table: [String: UInt64]?

  init(_ table: [String: UInt64]?) { self.table = table }

  func address(_ name: String) -> UInt64 {
    lock.locked {
      if let table { return table[name] ?? 0 }
      let read = Self.read()
      table = read
      return read[name] ?? 0
    }
  }

  private static func read() -> [String: UInt64] {
    var result: [String: UInt64] = [:]
    guard let file = fopen("/proc/kallsyms", "re") else { return [:] }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 1024)
    while fgets(&line, Int32(line.count), file) != nil {
      let bytes = line.prefix { $0 != 0 && $0 != 10 && $0 != 9 }.map { UInt8(bitPattern: $0) }
      let parts = bytes.split(separator: UInt8(ascii: " "))
      guard parts.count >= 3, let address = UInt64(String(decoding: parts[0], as: UTF8.self), radix: 16) else {
        continue
      }
      // Unprivileged readers get zeros for all.
      if address == 0 && result.isEmpty && parts[1] != [UInt8(ascii: "A")] && parts[1] != [UInt8(ascii: "a")] { break }
      let name = String(decoding: parts[2], as: UTF8.self)
      if result[name] == nil { result[name] = address }
    }
    return result
  }
}
