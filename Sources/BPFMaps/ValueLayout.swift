import BPFLinux
import CBPFRuntime

/// Which bytes of a map's value are the program's data, and which mean something of their own.
///
/// Plain memory throughout, so that a program's update copies without touching a reference count.
struct ValueLayout: BitwiseCopyable {
  struct Piece: BitwiseCopyable {
    let offset: Int32
    let size: Int32
  }

  let size: Int
  /// Bytes that an element takes.
  let stride: Int
  /// Where the `bpf_spin_lock` lies.
  let lock: Int?
  /// There are fields.
  let isSpecial: Bool
  /// Some field owns something.
  let owns: Bool
  private let data: UnsafeMutablePointer<Piece>
  private let dataCount: Int
  private let special: UnsafeMutablePointer<Piece>
  private let specialCount: Int

  init(size: Int, fields: [SpecialField]) {
    self.size = size
    stride = size.roundedUp(to: 8)
    isSpecial = !fields.isEmpty
    lock = fields.first { $0.kind == .spinLock }?.offset
    owns = fields.contains(where: \.ownsSomething)
    var pieces: [Piece] = []
    var masked: [Piece] = []
    var end = 0
    for field in fields.sorted(by: { $0.offset < $1.offset }) where field.offset >= end && field.offset <= size {
      if field.offset > end { pieces.append(Piece(offset: Int32(end), size: Int32(field.offset - end))) }
      end = min(size, field.offset + field.size)
      masked.append(Piece(offset: Int32(field.offset), size: Int32(end - field.offset)))
    }
    if end < size { pieces.append(Piece(offset: Int32(end), size: Int32(size - end))) }
    data = .allocate(capacity: max(1, pieces.count))
    data.initialize(from: pieces, count: pieces.count)
    dataCount = pieces.count
    special = .allocate(capacity: max(1, masked.count))
    special.initialize(from: masked, count: masked.count)
    specialCount = masked.count
  }

  func deallocate() {
    data.deallocate()
    special.deallocate()
  }

  // MARK: Copies between a value, which others may be reading or writing, and memory of the caller's

  /// Everything but the fields.
  @inline(__always)
  func store(_ value: UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer) {
    if !isSpecial { return storeWords(value, bytes, size) }
    for index in 0..<dataCount {
      let piece = data[index]
      (value + Int(piece.offset)).copyMemory(from: bytes + Int(piece.offset), byteCount: Int(piece.size))
    }
  }

  /// Everything but the fields, which are zeros in the copy.
  @inline(__always)
  func load(_ value: UnsafeRawPointer, into bytes: UnsafeMutableRawPointer) {
    if !isSpecial { return loadWords(bytes, value, size) }
    for index in 0..<dataCount {
      let piece = data[index]
      (bytes + Int(piece.offset)).copyMemory(from: value + Int(piece.offset), byteCount: Int(piece.size))
    }
    for index in 0..<specialCount {
      let piece = special[index]
      (bytes + Int(piece.offset)).initializeMemory(as: UInt8.self, repeating: 0, count: Int(piece.size))
    }
  }

  /// The bytes up to `stride` too, where there are no fields.
  func storeRounded(_ value: UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer) {
    if isSpecial { store(value, bytes) } else { storeWords(value, bytes, stride) }
  }

  func loadRounded(_ value: UnsafeRawPointer, into bytes: UnsafeMutableRawPointer) {
    if isSpecial { load(value, into: bytes) } else { loadWords(bytes, value, stride) }
  }

  /// Zeros everywhere but in the fields.
  func clear(_ value: UnsafeMutableRawPointer) {
    guard isSpecial else {
      for offset in Swift.stride(from: 0, to: stride, by: 8) { skep_store_relaxed_64(value + offset, 0) }
      return
    }
    for index in 0..<dataCount {
      let piece = data[index]
      (value + Int(piece.offset)).initializeMemory(as: UInt8.self, repeating: 0, count: Int(piece.size))
    }
  }

  func storeLocked(_ value: UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer) {
    guard let lock else { return store(value, bytes) }
    SpinLock.lock(value + lock)
    store(value, bytes)
    SpinLock.unlock(value + lock)
  }

  func loadLocked(_ value: UnsafeMutableRawPointer, into bytes: UnsafeMutableRawPointer) {
    guard let lock else { return load(value, into: bytes) }
    SpinLock.lock(value + lock)
    load(value, into: bytes)
    SpinLock.unlock(value + lock)
  }
}

extension SpecialField {
  /// Whether dropping a value means more than forgetting its bytes.
  var ownsSomething: Bool {
    switch kind {
    case .timer, .workqueue, .taskWork, .kptr, .referencedKptr, .perCPUKptr, .listHead, .redBlackRoot: true
    default: false
    }
  }
}

extension MapSystem {
  /// What is done to the fields of a value that is deleted, overwritten or freed.
  func releaseFields(_ fields: [SpecialField], _ value: UnsafeMutableRawPointer) {
    for field in fields {
      let place = value + field.offset
      switch field.kind {
      case .kptr: skep_store_relaxed_64(place, 0)
      case .referencedKptr, .perCPUKptr:
        let object = skep_exchange_64(place, 0)
        if object != 0 { releaseField?(field, object) }
      case .timer, .workqueue, .taskWork, .listHead, .redBlackRoot:
        var isUsed = false
        for offset in stride(from: 0, to: field.size - 7, by: 8)
        where skep_load_relaxed_64(place + offset) != 0 { isUsed = true }
        if isUsed { releaseField?(field, UInt64(UInt(bitPattern: place))) }
      default: break
      }
    }
  }
}

/// Beyond this a copy is not made of words that others see whole.
private let longestWordCopy = 256

/// `value` is aligned to 8 bytes, `bytes` need not be.
@inline(__always)
func storeWords(_ value: UnsafeMutableRawPointer, _ bytes: UnsafeRawPointer, _ size: Int) {
  guard size <= longestWordCopy else { return value.copyMemory(from: bytes, byteCount: size) }
  var offset = 0
  while offset &+ 8 <= size {
    skep_store_relaxed_64(value + offset, bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    offset &+= 8
  }
  if offset &+ 4 <= size {
    skep_store_relaxed_32(value + offset, bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    offset &+= 4
  }
  while offset < size {
    value.storeBytes(of: bytes.load(fromByteOffset: offset, as: UInt8.self), toByteOffset: offset, as: UInt8.self)
    offset &+= 1
  }
}

@inline(__always)
func loadWords(_ bytes: UnsafeMutableRawPointer, _ value: UnsafeRawPointer, _ size: Int) {
  guard size <= longestWordCopy else { return bytes.copyMemory(from: value, byteCount: size) }
  var offset = 0
  while offset &+ 8 <= size {
    bytes.storeBytes(of: skep_load_relaxed_64(value + offset), toByteOffset: offset, as: UInt64.self)
    offset &+= 8
  }
  if offset &+ 4 <= size {
    bytes.storeBytes(of: skep_load_relaxed_32(value + offset), toByteOffset: offset, as: UInt32.self)
    offset &+= 4
  }
  while offset < size {
    bytes.storeBytes(of: value.load(fromByteOffset: offset, as: UInt8.self), toByteOffset: offset, as: UInt8.self)
    offset &+= 1
  }
}
