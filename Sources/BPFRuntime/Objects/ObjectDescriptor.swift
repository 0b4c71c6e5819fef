import BPFLinux
import BPFVerifier
import BTF
import CBPFRuntime

/// What functions that work on allocated objects must know of an object's type: plain memory, passed by address.
public struct ObjectDescriptor: BitwiseCopyable {
  /// Bytes of an object.
  public var size: UInt64
  /// Insertions: where in the object the node lies.
  public var nodeOffset: UInt64
  /// Where in the object the `bpf_refcount` lies; -1 where there is none.
  var referenceCount: Int64 = -1
  /// Special fields that hold something which ends with the object.
  var fields: UnsafeMutablePointer<ObjectField>?
  var fieldCount = 0
  /// There is one for each CPU.
  var isPerCPU = false
  /// The references are counted in front of the object, not in it.
  var isCounted = false

  init(size: UInt64, nodeOffset: UInt64 = 0) {
    self.size = size
    self.nodeOffset = nodeOffset
  }
}

/// A special field of an object that holds something.
struct ObjectField: BitwiseCopyable {
  enum Kind: UInt8 {
    case pointer, list, tree
  }

  let kind: Kind
  let offset: Int
  /// Where in an element the node lies.
  let nodeOffset: Int

  init?(_ field: SpecialField) {
    switch field.kind {
    case .referencedKptr, .perCPUKptr: kind = .pointer
    case .listHead: kind = .list
    case .redBlackRoot: kind = .tree
    default: return nil
    }
    offset = field.offset
    nodeOffset = field.nodeOffset
  }
}

/// Makes the descriptors of a program's objects.
///
/// An object may outlive the program that made it, in a map, so descriptors are never freed; those that say the same
/// are one.
public struct ObjectDescriptors: Sendable {
  private let fields: [TypeID: [SpecialField]]

  public init(_ program: Program, on linux: Linux) {
    fields = SpecialField.ofObjects(in: program, on: linux)
  }

  init() { fields = [:] }

  /// The address to pass in the register that `RuntimeFunctions.descriptorRegister` names.
  ///
  /// - Parameters:
  ///   - type: `ProvenInstruction.objectType`; 0 for types without special fields.
  ///   - size: `ProvenInstruction.objectSize`: bytes to allocate, or where in the object the node lies.
  public func descriptor(forKfunc name: String, type: TypeID, size: UInt64) -> UInt64 {
    var shape = Shape()
    switch name {
    case "bpf_obj_new_impl": shape.size = size
    case "bpf_percpu_obj_new_impl":
      shape.size = size
      shape.isPerCPU = true
    default: shape.nodeOffset = size
    }
    shape.fields = fields[type] ?? []
    return Self.intern(shape)
  }

  // MARK: The descriptors of this process

  struct Shape: Hashable {
    var size: UInt64 = 0
    var nodeOffset: UInt64 = 0
    var isPerCPU = false
    var isCounted = false
    var fields: [SpecialField] = []
  }

  static func intern(_ shape: Shape) -> UInt64 { all.address(of: shape) }

  private static let all = Interned()

  private final class Interned: @unchecked Sendable {
    private let lock = RuntimeLock()
    private var addresses: [Shape: UInt64] = [:]

    func address(of shape: Shape) -> UInt64 {
      lock.locked {
        if let known = addresses[shape] { return known }
        let place = UnsafeMutablePointer<ObjectDescriptor>.allocate(capacity: 1)
        var descriptor = ObjectDescriptor(size: shape.size, nodeOffset: shape.nodeOffset)
        descriptor.isPerCPU = shape.isPerCPU
        descriptor.isCounted = shape.isCounted
        if let count = shape.fields.first(where: { $0.kind == .referenceCount }) {
          descriptor.referenceCount = Int64(count.offset)
        }
        let fields = shape.fields.compactMap(ObjectField.init)
        if !fields.isEmpty {
          let memory = UnsafeMutablePointer<ObjectField>.allocate(capacity: fields.count)
          memory.initialize(from: fields, count: fields.count)
          descriptor.fields = memory
          descriptor.fieldCount = fields.count
        }
        place.initialize(to: descriptor)
        let address = address(place)
        addresses[shape] = address
        return address
      }
    }

    private func address(_ pointer: UnsafeMutablePointer<ObjectDescriptor>) -> UInt64 {
      UInt64(UInt(bitPattern: pointer))
    }
  }
}
