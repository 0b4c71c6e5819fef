import BTF

/// A field of a map's value, or of an allocated object, that has a meaning of its own.
public struct SpecialField: Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    case spinLock, resilientSpinLock, timer, workqueue, taskWork
    case kptr, referencedKptr, perCPUKptr, userPointer
    case listHead, listNode, redBlackRoot, redBlackNode, referenceCount
  }
  public let kind: Kind
  public let offset: Int
  public let size: Int
  /// Lists and trees: where in an element the node lies. Pointers and graphs: the type that is pointed to.
  public let nodeOffset: Int
  public let type: TypeID
  /// `type` is one of the program's own BTF, not the kernel's.
  public let isLocalType: Bool

  public init(kind: Kind, offset: Int, size: Int, nodeOffset: Int = 0, type: TypeID = 0, isLocalType: Bool = false) {
    self.kind = kind
    self.offset = offset
    self.size = size
    self.nodeOffset = nodeOffset
    self.type = type
    self.isLocalType = isLocalType
  }
}
