import BPFLinux
import CBPFSystem

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// A map of the running kernel, by `bpf(2)` itself: what the maps here are held against.
final class KernelMap {
  let descriptor: Int32
  let keySize: Int
  let userValueSize: Int

  private enum Command: Int32 {
    case create = 0
    case lookup = 1
    case update = 2
    case delete = 3
    case nextKey = 4
    case info = 15
    case lookupAndDelete = 21
    case freeze = 22
    case lookupBatch = 24
    case lookupAndDeleteBatch = 25
    case updateBatch = 26
    case deleteBatch = 27
  }

  /// CPUs that per-CPU values are there for.
  static let cpuCount: Int = {
    guard let file = fopen("/sys/devices/system/cpu/possible", "r") else { return 1 }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 64)
    let length = fread(&buffer, 1, 63, file)
    let text = String(decoding: buffer[..<length], as: UTF8.self)
    let digits = text.split { !$0.isNumber }.compactMap { Int($0) }
    return (digits.last ?? 0) + 1
  }()

  /// There is a kernel that lets us make maps.
  static let isAvailable: Bool = {
    let probe = try? KernelMap(MapDefinition(name: "probe", type: .array, keySize: 4, valueSize: 4, maxEntries: 1))
    return probe != nil
  }()

  init(_ definition: MapDefinition, inner: KernelMap? = nil) throws(Errno) {
    var attributes = [UInt32](repeating: 0, count: 42)
    attributes[0] = definition.type.rawValue
    attributes[1] = definition.keySize
    attributes[2] = definition.valueSize
    attributes[3] = definition.maxEntries
    attributes[4] = definition.flags.rawValue
    attributes[5] = inner.map { UInt32(bitPattern: $0.descriptor) } ?? 0
    // map_extra is at byte 64.
    attributes[16] = UInt32(truncatingIfNeeded: definition.mapExtra)
    attributes[17] = UInt32(truncatingIfNeeded: definition.mapExtra >> 32)
    let result = skep_bpf(Command.create.rawValue, &attributes, 168)
    guard result >= 0 else { throw Errno(rawValue: Int32(-result)) }
    descriptor = Int32(result)
    keySize = Int(definition.keySize)
    switch definition.type {
    case .percpuArray, .percpuHash, .lruPercpuHash:
      userValueSize = (Int(definition.valueSize) + 7) / 8 * 8 * Self.cpuCount
    default: userValueSize = Int(definition.valueSize)
    }
  }

  deinit { close(descriptor) }

  private func element(
    _ command: Command, _ key: UnsafeMutableRawPointer?, _ value: UnsafeMutableRawPointer?, _ flags: UInt64
  ) throws(Errno) {
    var attributes = [UInt64](repeating: 0, count: 4)
    attributes[0] = UInt64(UInt32(bitPattern: descriptor))
    // Maps without keys take no address of one.
    attributes[1] = keySize == 0 ? 0 : UInt64(UInt(bitPattern: key))
    attributes[2] = UInt64(UInt(bitPattern: value))
    attributes[3] = flags
    let result = skep_bpf(command.rawValue, &attributes, 32)
    guard result >= 0 else { throw Errno(rawValue: Int32(-result)) }
  }

  func lookup(_ key: [UInt8], flags: UInt64 = 0, value: [UInt8]? = nil) throws(Errno) -> [UInt8] {
    var key = key
    var value = value ?? [UInt8](repeating: 0xcc, count: userValueSize)
    try element(.lookup, &key, &value, flags)
    return value
  }

  func update(_ key: [UInt8], _ value: [UInt8], flags: UInt64 = 0) throws(Errno) {
    var key = key
    var value = value
    try element(.update, &key, &value, flags)
  }

  func delete(_ key: [UInt8]) throws(Errno) {
    var key = key
    try element(.delete, &key, nil, 0)
  }

  func nextKey(after key: [UInt8]?) throws(Errno) -> [UInt8] {
    var next = [UInt8](repeating: 0xcc, count: max(1, keySize))
    if var key {
      try element(.nextKey, &key, &next, 0)
    } else {
      try element(.nextKey, nil, &next, 0)
    }
    return Array(next.prefix(keySize))
  }

  func lookupAndDelete(_ key: [UInt8], flags: UInt64 = 0) throws(Errno) -> [UInt8] {
    var key = key
    var value = [UInt8](repeating: 0xcc, count: userValueSize)
    try element(.lookupAndDelete, &key, &value, flags)
    return value
  }

  func freeze() throws(Errno) { try element(.freeze, nil, nil, 0) }

  var id: UInt32 {
    var info = [UInt32](repeating: 0, count: 64)
    var attributes = [UInt64](repeating: 0, count: 3)
    attributes[0] = UInt64(UInt32(bitPattern: descriptor)) | 256 << 32
    info.withUnsafeMutableBytes { attributes[1] = UInt64(UInt(bitPattern: $0.baseAddress)) }
    _ = skep_bpf(Command.info.rawValue, &attributes, 16)
    return info[1]
  }

  struct Batch {
    var keys: [UInt8] = []
    var values: [UInt8] = []
    var count = 0
    var next: [UInt8] = []
    var error: Errno?
  }

  private func batch(
    _ command: Command, token: [UInt8]?, keys: [UInt8], values: [UInt8], count: Int, elementFlags: UInt64
  ) -> Batch {
    var done = Batch(keys: keys, values: values)
    var token = token
    done.next = [UInt8](repeating: 0, count: max(8, keySize))
    var attributes = [UInt64](repeating: 0, count: 7)
    var tokenBytes = token ?? [0]
    token = nil
    let hasToken = tokenBytes.count > 1
    tokenBytes.withUnsafeMutableBytes { tokenBytes in
      done.next.withUnsafeMutableBytes { next in
        done.keys.withUnsafeMutableBytes { keys in
          done.values.withUnsafeMutableBytes { values in
            attributes[0] = hasToken ? UInt64(UInt(bitPattern: tokenBytes.baseAddress)) : 0
            attributes[1] = UInt64(UInt(bitPattern: next.baseAddress))
            attributes[2] = UInt64(UInt(bitPattern: keys.baseAddress))
            attributes[3] = UInt64(UInt(bitPattern: values.baseAddress))
            attributes[4] = UInt64(count) | UInt64(UInt32(bitPattern: descriptor)) << 32
            attributes[5] = elementFlags
            let result = skep_bpf(command.rawValue, &attributes, 56)
            if result < 0 { done.error = Errno(rawValue: Int32(-result)) }
          }
        }
      }
    }
    done.count = Int(attributes[4] & 0xffff_ffff)
    return done
  }

  func lookupBatch(after token: [UInt8]?, count: Int, removing: Bool = false) -> Batch {
    var done = batch(
      removing ? .lookupAndDeleteBatch : .lookupBatch, token: token,
      keys: [UInt8](repeating: 0, count: max(1, count * keySize)),
      values: [UInt8](repeating: 0, count: max(1, count * userValueSize)), count: count, elementFlags: 0)
    done.keys = Array(done.keys.prefix(done.count * keySize))
    done.values = Array(done.values.prefix(done.count * userValueSize))
    return done
  }

  func updateBatch(keys: [UInt8], values: [UInt8], count: Int, elementFlags: UInt64 = 0) -> Batch {
    batch(.updateBatch, token: nil, keys: keys, values: values, count: count, elementFlags: elementFlags)
  }

  func deleteBatch(keys: [UInt8], count: Int) -> Batch {
    batch(.deleteBatch, token: nil, keys: keys, values: [0], count: count, elementFlags: 0)
  }
}

/// Keeps the calling thread on the first CPU, where the maps here do what user space asks for.
func stayOnFirstCPU() { _ = skep_stay_on_cpu(0) }

/// The same numbers every time.
struct Generator: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state = state &+ 0x9e37_79b9_7f4a_7c15
    var word = state
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return word ^ word >> 31
  }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}
