import BPFLinux
import CBPFRuntime

/// `BPF_MAP_TYPE_TASK_STORAGE`, `SK_STORAGE`, `INODE_STORAGE` and `CGRP_STORAGE`: a value for each object.
///
/// An object is known by its address, which nothing here looks behind. `storage` of the block: the block of the hash
/// map that holds the values.
public final class LocalStorageMap: Map, @unchecked Sendable {
  private let values: HashMap
  /// Initial value of those that are created without one.
  private let zeros: UnsafeMutableRawPointer

  /// `BPF_LOCAL_STORAGE_GET_F_CREATE`.
  public static let create: UInt64 = 1

  init(_ definition: MapDefinition, fields: [SpecialField], system: MapSystem) throws(MapError) {
    guard definition.keySize == 4, definition.valueSize > 0 else {
      throw MapError(.EINVAL, "a key of 4 bytes and a value are needed")
    }
    values = try HashMap.objects(definition, keySize: 8, isPerCPU: false, fields: fields, system: system)
    let size = Int(definition.valueSize).roundedUp(to: 8)
    zeros = .allocate(byteCount: size, alignment: 8)
    zeros.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    super.init(base: definition, fields: fields, system: system)
    block.pointee.storage.0 = UnsafeMutableRawPointer(values.block)
    block.pointee.storage.1 = zeros
  }

  deinit { zeros.deallocate() }

  /// `bpf_task_storage_get` and its like: the value's address, 0 where there is none.
  ///
  /// - Parameters:
  ///   - object: the address of the task, socket, inode or cgroup.
  ///   - initial: what a new value is; zeros where nil.
  public static func get(
    _ map: UnsafeMutablePointer<skep_map>, object: UInt64, initial: UnsafeRawPointer?, flags: UInt64,
    run: UnsafeMutablePointer<skep_run>
  ) -> UInt64 {
    guard flags & ~create == 0, object != 0 else { return 0 }
    let values = map.pointee.storage.0.unsafelyUnwrapped.assumingMemoryBound(to: skep_map.self)
    return withUnsafePointer(to: object) { key in
      guard let lookup = values.pointee.lookup, let update = values.pointee.update else { return 0 }
      let found = lookup(values, key, run)
      if found != 0 || flags & create == 0 { return found }
      _ = update(values, key, initial ?? UnsafeRawPointer(map.pointee.storage.1), UpdateFlags.noExist, run)
      return lookup(values, key, run)
    }
  }

  /// `bpf_task_storage_delete` and its like: 0 or a negative error number.
  public static func delete(
    _ map: UnsafeMutablePointer<skep_map>, object: UInt64, run: UnsafeMutablePointer<skep_run>
  ) -> Int64 {
    guard object != 0 else { return -22 }
    let values = map.pointee.storage.0.unsafelyUnwrapped.assumingMemoryBound(to: skep_map.self)
    return withUnsafePointer(to: object) { values.pointee.remove?(values, $0, run) ?? -2 }
  }

  // MARK: The same for users

  public func get(object: UInt64) -> [UInt8]? { try? values.lookup(Self.bytes(object)) }

  public func set(object: UInt64, _ value: [UInt8], flags: UInt64 = 0) throws(Errno) {
    try values.update(Self.bytes(object), value, flags: flags)
  }

  /// The object is gone, or its value is not wanted any more.
  public func forget(object: UInt64) { try? values.delete(Self.bytes(object)) }

  private static func bytes(_ object: UInt64) -> [UInt8] { withUnsafeBytes(of: object) { Array($0) } }

  /// Users have a descriptor of the object for a key.
  private func owner(_ key: UnsafeRawPointer?) -> Result<UInt64, Errno> {
    system.storageOwnerByNumber?(definition.type, index(key)) ?? .failure(.EBADF)
  }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    switch owner(key) {
    case .failure(let error): -error.rawValue
    case .success(let object):
      withUnsafePointer(to: object) { values.lookupElement($0, into: bytes, flags: flags) }
    }
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    switch owner(key) {
    case .failure(let error): -error.rawValue
    case .success(let object):
      withUnsafePointer(to: object) { values.updateElement($0, bytes, flags: flags) }
    }
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 {
    switch owner(key) {
    case .failure(let error): -error.rawValue
    case .success(let object): withUnsafePointer(to: object) { values.deleteElement($0) }
    }
  }
}

/// `BPF_MAP_TYPE_CGROUP_STORAGE` and `PERCPU_CGROUP_STORAGE`: a value for each cgroup that a program is attached to.
public final class CgroupStorageMap: Map, @unchecked Sendable {
  private let values: HashMap
  private let zeros: [UInt8]

  init(_ definition: MapDefinition, fields: [SpecialField], system: MapSystem) throws(MapError) {
    guard definition.keySize == 8 || definition.keySize == 16, definition.valueSize > 0 else {
      throw MapError(.EINVAL, "a key of 8 or 16 bytes and a value are needed")
    }
    values = try HashMap.objects(
      definition, keySize: definition.keySize, isPerCPU: definition.type == .percpuCgroupStorage, fields: fields,
      system: system)
    zeros = [UInt8](repeating: 0, count: values.userValueSize)
    super.init(base: definition, fields: fields, system: system)
    block.pointee.storage.0 = UnsafeMutableRawPointer(values.block)
  }

  /// A program was attached to the cgroup: its value is there from now on, zeros at first.
  public func attach(_ key: [UInt8]) throws(Errno) {
    do throws(Errno) {
      try values.update(key, zeros, flags: UpdateFlags.noExist)
    } catch {
      if error != .EEXIST { throw error }
    }
  }

  /// It was detached.
  public func detach(_ key: [UInt8]) throws(Errno) { try values.delete(key) }

  /// `bpf_get_local_storage`: the address of the value of the cgroup, for the run's CPU; 0 where none is attached.
  public static func get(
    _ map: UnsafeMutablePointer<skep_map>, key: UnsafeRawPointer, run: UnsafeMutablePointer<skep_run>
  ) -> UInt64 {
    let values = map.pointee.storage.0.unsafelyUnwrapped.assumingMemoryBound(to: skep_map.self)
    return values.pointee.lookup?(values, key, run) ?? 0
  }

  public override var userValueSize: Int { values.userValueSize }

  override func lookupElement(
    _ key: UnsafeRawPointer?, into bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    values.lookupElement(key, into: bytes, flags: flags)
  }

  override func updateElement(
    _ key: UnsafeRawPointer?, _ bytes: UnsafeMutableRawPointer, flags: UInt64
  ) -> Int32 {
    let isPerCPU = definition.type == .percpuCgroupStorage
    guard flags & ~(isPerCPU ? UpdateFlags.exist : UpdateFlags.exist | UpdateFlags.lock) == 0 else { return -22 }
    guard flags & UpdateFlags.lock == 0 || value.lock != nil else { return -22 }
    return values.updateElement(key, bytes, flags: flags | UpdateFlags.exist)
  }

  override func deleteElement(_ key: UnsafeRawPointer?) -> Int32 { -22 }

  override func nextKeyElement(after key: UnsafeRawPointer?, into next: UnsafeMutableRawPointer) -> Int32 {
    values.nextKeyElement(after: key, into: next)
  }
}

extension HashMap {
  private static let mostObjects: UInt32 = 1 << 30
  private static let objectBuckets = 4096

  /// The values of objects, of which there may be any number.
  static func objects(
    _ definition: MapDefinition, keySize: UInt32, isPerCPU: Bool, fields: [SpecialField], system: MapSystem
  ) throws(MapError) -> HashMap {
    let definition = MapDefinition(
      name: definition.name, type: isPerCPU ? .percpuHash : .hash, keySize: keySize,
      valueSize: definition.valueSize, maxEntries: mostObjects, flags: .noPreallocation)
    return try HashMap(definition, fields: fields, system: system, bucketCount: objectBuckets)
  }
}
