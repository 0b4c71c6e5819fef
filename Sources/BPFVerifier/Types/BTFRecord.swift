import BPFLinux
import BTF

/// A field of a map value or of an allocated object that has a meaning of its own.
struct BTFField: BitwiseCopyable, Sendable {
  /// One kind per field; sets of kinds where rules are asked about several.
  struct Kind: OptionSet, BitwiseCopyable, Hashable, Sendable {
    let rawValue: UInt32
    static let spinLock = Kind(rawValue: 1 << 0)
    static let timer = Kind(rawValue: 1 << 1)
    static let kptrUnref = Kind(rawValue: 1 << 2)
    static let kptrRef = Kind(rawValue: 1 << 3)
    static let kptrPercpu = Kind(rawValue: 1 << 4)
    static let listHead = Kind(rawValue: 1 << 5)
    static let listNode = Kind(rawValue: 1 << 6)
    static let rbRoot = Kind(rawValue: 1 << 7)
    static let rbNode = Kind(rawValue: 1 << 8)
    static let refcount = Kind(rawValue: 1 << 9)
    static let workqueue = Kind(rawValue: 1 << 10)
    static let uptr = Kind(rawValue: 1 << 11)
    static let resilientSpinLock = Kind(rawValue: 1 << 12)
    static let taskWork = Kind(rawValue: 1 << 13)

    static let kptr: Kind = [.kptrUnref, .kptrRef, .kptrPercpu]
    /// Everything that is stored as a pointer.
    static let pointers: Kind = [.kptrUnref, .kptrRef, .kptrPercpu, .uptr]
    static let graphRoot: Kind = [.listHead, .rbRoot]
    static let graphNode: Kind = [.listNode, .rbNode]
    static let anySpinLock: Kind = [.spinLock, .resilientSpinLock]
    /// What a map's value may hold.
    static let inMapValues: Kind = [
      .spinLock, .resilientSpinLock, .timer, .kptrUnref, .kptrRef, .kptrPercpu, .listHead, .rbRoot, .refcount,
      .workqueue, .uptr, .taskWork,
    ]
    /// What an object that a program allocates may hold.
    static let inObjects: Kind = [
      .spinLock, .resilientSpinLock, .listHead, .listNode, .rbRoot, .rbNode, .refcount, .kptrUnref, .kptrRef,
      .kptrPercpu,
    ]
  }

  var kind: Kind
  var offset: UInt32
  var size: UInt32
  /// Pointers: what they point to. Graph roots: what the graph holds.
  var btf: BTFIndex = 0
  var btfID: TypeID = 0
  /// Graph roots: where in `btfID` the node lies.
  var nodeOffset: UInt32 = 0
  /// Referenced kernel pointers: there is a function that releases what is left in a map.
  var hasDestructor = false
}

extension BTFField.Kind {
  /// The name that messages use.
  var name: String {
    switch self {
    case .spinLock: "bpf_spin_lock"
    case .resilientSpinLock: "bpf_res_spin_lock"
    case .timer: "bpf_timer"
    case .workqueue: "bpf_wq"
    case .kptrUnref, .kptrRef: "kptr"
    case .kptrPercpu: "percpu_kptr"
    case .uptr: "uptr"
    case .listHead: "bpf_list_head"
    case .listNode: "bpf_list_node"
    case .rbRoot: "bpf_rb_root"
    case .rbNode: "bpf_rb_node"
    case .refcount: "bpf_refcount"
    case .taskWork: "bpf_task_work"
    default: "unknown"
    }
  }

  /// Bytes in a field of the kind.
  var size: UInt32 {
    switch self {
    case .spinLock, .resilientSpinLock, .refcount: 4
    case .kptrUnref, .kptrRef, .kptrPercpu, .uptr, .taskWork: 8
    case .timer, .workqueue, .listHead, .rbRoot: 16
    case .listNode: 24
    case .rbNode: 32
    default: 0
    }
  }

  var alignment: UInt32 {
    switch self {
    case .spinLock, .resilientSpinLock, .refcount: 4
    default: 8
    }
  }
}

/// The special fields of one type, in ascending order of their offsets.
struct BTFRecord: Sendable {
  var kinds: BTFField.Kind = []
  var fields: [BTFField] = []

  /// Whether there is a field of one of these kinds.
  @inline(__always) func has(_ kinds: BTFField.Kind) -> Bool { !self.kinds.isDisjoint(with: kinds) }

  /// The field that begins at `offset`, where it is of one of these kinds.
  func find(offset: UInt32, kinds: BTFField.Kind) -> BTFField? {
    guard has(kinds) else { return nil }
    for field in fields where field.offset == offset {
      return kinds.contains(field.kind) ? field : nil
    }
    return nil
  }
}
