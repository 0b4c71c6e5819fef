import BPFLinux
import BPFMaps
import BTF

/// Something that descriptors and pins of clients refer to. It lives as long as anybody refers to it.
public class SystemObject: @unchecked Sendable {
  /// Ids of each kind of object count up.
  public let id: UInt32
  private let lock = Lock()
  private var users = 0

  init(id: UInt32) { self.id = id }

  /// The name that the descriptor's link in `/proc` shows.
  public var kindName: String { "bpf" }

  /// A client got a descriptor or a pin of it. One call stands for any number of descriptors.
  public final func addUser() { lock.locked { users += 1 } }

  /// The last descriptor, or the pin, is gone.
  public final func removeUser() {
    let isLast = lock.locked {
      users -= 1
      return users == 0
    }
    if isLast { lastUserLeft() }
  }

  func lastUserLeft() {}
}

/// A map as `bpf(2)` knows it.
public final class MapObject: SystemObject, @unchecked Sendable {
  public let map: Map
  /// Types of key and value.
  let types: TypesObject?
  /// Last, so that it goes after the map.
  private let system: MapSystem

  init(_ map: Map, types: TypesObject?) {
    self.map = map
    self.types = types
    system = map.system
    super.init(id: map.id)
  }

  public override var kindName: String { "bpf-map" }

  /// Programs in an array hold arrays that hold programs: the array is emptied with the last descriptor and pin.
  override func lastUserLeft() {
    guard let array = map as? ProgramArray else { return }
    for index in 0..<array.definition.maxEntries {
      guard (try? array.setProgram(index, nil)) != nil else { return }
    }
  }
}

/// Type information: the kernel's, a module's, or what a client loaded.
public final class TypesObject: SystemObject, @unchecked Sendable {
  let btf: BTF
  let isKernel: Bool
  /// `vmlinux`, or the module's; empty for a client's.
  let name: String

  init(id: UInt32, _ btf: BTF, isKernel: Bool, name: String) {
    self.btf = btf
    self.isKernel = isKernel
    self.name = name
    super.init(id: id)
  }

  public override var kindName: String { "btf" }
}

/// What holds a program at a place where events come from.
public final class LinkObject: SystemObject, @unchecked Sendable {
  enum Target: Sendable {
    case rawTracepoint(String, cookie: UInt64)
    /// The id is one in the types of the kernel, a module or a program.
    case tracing(AttachType, object: UInt32, type: TypeID, cookie: UInt64)
    case iterator(String, map: MapObject?)
  }

  let target: Target
  private let lock = Lock()
  private var current: ProgramObject

  init(id: UInt32, _ program: ProgramObject, _ target: Target) {
    current = program
    self.target = target
    super.init(id: id)
  }

  public override var kindName: String { "bpf-link" }

  var program: ProgramObject {
    get { lock.locked { current } }
    set { lock.locked { current = newValue } }
  }

  /// `enum bpf_link_type`.
  var type: UInt32 {
    switch target {
    case .rawTracepoint: 1
    case .tracing: 2
    case .iterator: 4
    }
  }
}

/// While it is open, runs are counted (`BPF_ENABLE_STATS`).
public final class StatisticsObject: SystemObject, @unchecked Sendable {
  private let whenClosed: @Sendable () -> Void

  init(whenClosed: @escaping @Sendable () -> Void) {
    self.whenClosed = whenClosed
    super.init(id: 0)
  }

  deinit { whenClosed() }

  public override var kindName: String { "bpf-stats" }
}
