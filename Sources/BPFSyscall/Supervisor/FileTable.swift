import BPFLinux
import BPFMaps
import CBPFSupervisor

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Which file a descriptor or a path is.
struct FileIdentity: Hashable {
  var device: UInt64 = 0
  var inode: UInt64 = 0

  init() {}

  init?(descriptor: Int32) {
    guard skep_file_identity(descriptor, &device, &inode) == 0 else { return nil }
  }
}

/// The files that stand for objects: what clients' descriptors of an object are copies of, and pins.
///
/// Each object that a client has a descriptor of has one anonymous file; the memory of maps that can be mapped is that
/// file. Whether anybody still has it open is asked of the kernel when it says that a descriptor was closed, so that
/// copies by `dup`, `fork`, sockets and mappings all count.
final class FileTable: @unchecked Sendable {
  private final class Entry {
    let object: SystemObject
    let identity: FileIdentity
    /// Opened anew, so that it alone counts as open when nobody else has the file.
    let file: Int32
    let watch: Int32
    let event: Int32

    init(_ object: SystemObject, _ identity: FileIdentity, file: Int32, watch: Int32, event: Int32) {
      self.object = object
      self.identity = identity
      self.file = file
      self.watch = watch
      self.event = event
    }
  }

  private struct Pin {
    let object: SystemObject
    let watch: Int32
  }

  private enum Watched {
    case object(FileIdentity)
    case pin(FileIdentity)
  }

  private let lock = Lock()
  private let watch: Int32
  private var entries: [FileIdentity: Entry] = [:]
  private var entriesByObject: [ObjectIdentifier: Entry] = [:]
  private var pins: [FileIdentity: Pin] = [:]
  private var watched: [Int32: Watched] = [:]

  init() throws(Errno) {
    watch = skep_watch_open()
    guard watch >= 0 else { throw Errno(rawValue: -watch) }
  }

  deinit {
    for entry in entries.values {
      close(entry.file)
      if entry.event >= 0 { close(entry.event) }
    }
    close(watch)
  }

  // MARK: Descriptors

  /// A new descriptor of the object, to be handed to a client and closed here.
  func open(_ object: SystemObject, _ access: MapAccess) throws(Errno) -> Int32 {
    try lock.locked { () throws(Errno) in
      let entry = try self.entry(object)
      let copy = skep_file_reopen(entry.file, Int32(access.rawValue))
      guard copy >= 0 else { throw Errno(rawValue: -copy) }
      return copy
    }
  }

  private func entry(_ object: SystemObject) throws(Errno) -> Entry {
    if let known = entriesByObject[ObjectIdentifier(object)] { return known }
    let file = try Self.file(of: object)
    guard let identity = FileIdentity(descriptor: file) else {
      close(file)
      throw .EBADF
    }
    let number = skep_watch_add(watch, file)
    guard number >= 0 else {
      close(file)
      throw Errno(rawValue: -number)
    }
    var event: Int32 = -1
    if let ring = (object as? MapObject)?.map as? RingMap {
      event = skep_event_open()
      let told = event
      ring.onWakeup = { skep_event_signal(told) }
      ring.share()
    }
    let entry = Entry(object, identity, file: file, watch: number, event: event)
    entries[identity] = entry
    entriesByObject[ObjectIdentifier(object)] = entry
    watched[number] = .object(identity)
    object.addUser()
    return entry
  }

  /// The file of an object, opened once more: the memory of a map, or an empty one.
  private static func file(of object: SystemObject) throws(Errno) -> Int32 {
    var memory: Int32 = -1
    if let map = (object as? MapObject)?.map {
      switch map {
      case let array as ArrayMap: memory = array.descriptor
      case let ring as RingMap: memory = ring.memory.descriptor
      case let arena as ArenaMap: memory = arena.descriptor
      default: break
      }
    }
    if memory >= 0 {
      let file = skep_file_reopen(memory, 3)
      guard file >= 0 else { throw Errno(rawValue: -file) }
      return file
    }
    let anonymous = skep_object_file(object.kindName, 0)
    guard anonymous >= 0 else { throw Errno(rawValue: -anonymous) }
    defer { close(anonymous) }
    let file = skep_file_reopen(anonymous, 3)
    guard file >= 0 else { throw Errno(rawValue: -file) }
    return file
  }

  func object(_ identity: FileIdentity) -> SystemObject? { lock.locked { entries[identity]?.object } }

  /// What tells of a ring buffer's records; nil for everything else.
  func event(_ identity: FileIdentity) -> (descriptor: Int32, map: RingMap)? {
    lock.locked {
      guard let entry = entries[identity], entry.event >= 0, let ring = (entry.object as? MapObject)?.map as? RingMap
      else { return nil }
      return (entry.event, ring)
    }
  }

  // MARK: Pins

  func pin(_ object: SystemObject, file: Int32) throws(Errno) {
    guard let identity = FileIdentity(descriptor: file) else { throw .EBADF }
    try lock.locked { () throws(Errno) in
      let number = skep_watch_add(watch, file)
      guard number >= 0 else { throw Errno(rawValue: -number) }
      pins[identity] = Pin(object: object, watch: number)
      watched[number] = .pin(identity)
      object.addUser()
    }
  }

  func pinned(_ identity: FileIdentity) -> SystemObject? { lock.locked { pins[identity]?.object } }

  // MARK: What is gone

  /// Lets go of objects whose descriptors or pins are gone by now.
  func settle() {
    // Let go of after the lock is: what is freed may take its time.
    var gone: [SystemObject] = []
    lock.locked {
      var number: Int32 = 0
      var isGone: Int32 = 0
      while skep_watch_next(watch, &number, &isGone) == 1 {
        switch watched[number] {
        case .pin(let identity) where isGone != 0:
          watched[number] = nil
          if let pin = pins.removeValue(forKey: identity) { gone.append(pin.object) }
        case .object(let identity):
          guard let entry = entries[identity], skep_file_is_alone(entry.file) == 1 else { continue }
          gone.append(entry.object)
          remove(entry)
        default: continue
        }
      }
    }
    for object in gone { object.removeUser() }
  }

  private func remove(_ entry: Entry) {
    entries[entry.identity] = nil
    entriesByObject[ObjectIdentifier(entry.object)] = nil
    watched[entry.watch] = nil
    skep_watch_remove(watch, entry.watch)
    if entry.event >= 0 {
      ((entry.object as? MapObject)?.map as? RingMap)?.onWakeup = nil
      close(entry.event)
    }
    close(entry.file)
  }
}

extension RingMap {
  /// Something was put in and not taken out.
  var hasRecords: Bool {
    let pages = memory.pages
    return pages.load(as: UInt64.self) != (pages + 4096).load(as: UInt64.self)
  }
}
