import BPFLinux
import BPFMaps
import CBPFRuntime

/// Objects that programs allocate and own: `bpf_obj_new`, `bpf_percpu_obj_new`, `bpf_cpumask_create`.
///
/// In front of each object lies what it is, so that whoever finds a pointer to one knows how it ends:
///
///      -16              -8               -4               0
///       | descriptor     | references     | CPU stride     | object …
///
/// The memory of an object is freed once everything has ended that ran when it was dropped.
enum ObjectHeap {
  private static let prefix = 16
  /// The largest object that the kernel's allocator gives.
  private static let largest: UInt64 = 4096 - 8
  private static let largestPerCPU: UInt64 = 512

  /// The address of a new object of zeros; 0 where there is no memory for it.
  static func allocate(_ descriptor: UInt64, cpuCount: Int) -> UInt64 {
    let type = Self.descriptor(descriptor).pointee
    guard type.isCounted || type.size <= (type.isPerCPU ? largestPerCPU : largest) else { return 0 }
    let stride = type.isPerCPU ? (Int(type.size) + 63) & ~63 : Int(type.size)
    let count = prefix + (type.isPerCPU ? stride * cpuCount : stride)
    let base = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
    clear(base, count)
    base.storeBytes(of: descriptor, as: UInt64.self)
    base.storeBytes(of: 1, toByteOffset: 8, as: UInt32.self)
    base.storeBytes(of: UInt32(truncatingIfNeeded: stride), toByteOffset: 12, as: UInt32.self)
    let object = base + prefix
    if type.referenceCount >= 0 { object.storeBytes(of: 1, toByteOffset: Int(type.referenceCount), as: UInt32.self) }
    return address(object)
  }

  private static func descriptor(_ address: UInt64) -> UnsafePointer<ObjectDescriptor> {
    UnsafePointer(memory(address).assumingMemoryBound(to: ObjectDescriptor.self))
  }

  private static func type(of object: UInt64) -> UnsafePointer<ObjectDescriptor> {
    descriptor(memory(object &- 16).load(as: UInt64.self))
  }

  /// Where the references to an object are counted; 0 where there is only ever one.
  private static func counter(of object: UInt64) -> UInt64 {
    let type = type(of: object)
    if type.pointee.isCounted { return object &- 8 }
    let offset = type.pointee.referenceCount
    return offset < 0 ? 0 : object &+ UInt64(offset)
  }

  /// One more reference; false where there is none left to share.
  static func acquire(_ object: UInt64) -> Bool {
    let counter = counter(of: object)
    guard counter != 0 else { return false }
    let place = memory(counter)
    var count = skep_load_relaxed_32(place)
    while count != 0 {
      let seen = skep_compare_exchange_32(place, count, count &+ 1)
      if seen == count { return true }
      count = seen
    }
    return false
  }

  /// The copy of a per-CPU object that belongs to a CPU.
  @inline(__always)
  static func copy(of object: UInt64, cpu: UInt32) -> UInt64 {
    object &+ UInt64(cpu) &* UInt64(memory(object &- 4).load(as: UInt32.self))
  }

  /// Gives a reference up; with the last one the object ends, and everything that it owns.
  static func drop(_ object: UInt64, _ maps: MapSystem) {
    var waiting: [UInt64] = []
    drop(object, maps, &waiting)
    // Not recursion: a chain of objects may be long.
    while let next = waiting.popLast() { drop(next, maps, &waiting) }
  }

  private static func drop(_ object: UInt64, _ maps: MapSystem, _ waiting: inout [UInt64]) {
    let counter = counter(of: object)
    if counter != 0, skep_fetch_add_32(memory(counter), UInt32.max) != 1 { return }
    let type = type(of: object).pointee
    for index in 0..<type.fieldCount {
      guard let field = type.fields?[index] else { break }
      let place = object &+ UInt64(field.offset)
      switch field.kind {
      case .pointer:
        let held = skep_exchange_64(memory(place), 0)
        if held != 0 { waiting.append(held) }
      case .list: LinkedList.drain(place) { waiting.append($0 &- UInt64(field.nodeOffset)) }
      case .tree: RedBlackTree.drain(place) { waiting.append($0 &- UInt64(field.nodeOffset)) }
      }
    }
    let base = object &- UInt64(prefix)
    maps.retire { memory(base).deallocate() }
  }

  /// Ends what a special field of a map's value holds.
  ///
  /// - Parameter held: the pointer of a kptr; for everything else the address of the field.
  static func release(_ field: SpecialField, _ held: UInt64, _ maps: MapSystem) {
    switch field.kind {
    case .referencedKptr, .perCPUKptr: drop(held, maps)
    case .listHead:
      var nodes: [UInt64] = []
      LinkedList.drain(held) { nodes.append($0) }
      for node in nodes { drop(node &- UInt64(field.nodeOffset), maps) }
    case .redBlackRoot:
      var nodes: [UInt64] = []
      RedBlackTree.drain(held) { nodes.append($0) }
      for node in nodes { drop(node &- UInt64(field.nodeOffset), maps) }
    case .timer, .workqueue: DeferredCall.release(held)
    default: break
    }
  }
}

extension MapSystem {
  /// Has what values of maps own (objects, lists, trees, timers) end with them.
  func ownObjects() {
    releaseField = { [unowned self] field, held in ObjectHeap.release(field, held, self) }
  }
}
