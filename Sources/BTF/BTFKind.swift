/// The number of a type inside its type information; 0 is `void`.
public typealias TypeID = UInt32

/// What a type is.
public enum BTFKind: UInt8, BitwiseCopyable, Sendable, CaseIterable {
  case void = 0
  case int = 1
  case pointer = 2
  case array = 3
  case structure = 4
  case union = 5
  case enumeration = 6
  case forward = 7
  case typedef = 8
  case volatile = 9
  case const = 10
  case restrict = 11
  case function = 12
  case functionPrototype = 13
  case variable = 14
  case dataSection = 15
  case float = 16
  case declTag = 17
  case typeTag = 18
  case enum64 = 19
}

extension BTFKind {
  /// Qualifiers and type tags: the type they refer to has the same layout.
  @inlinable public var isQualifier: Bool {
    switch self {
    case .volatile, .const, .restrict, .typeTag: true
    default: false
    }
  }

  /// Qualifiers and typedefs.
  @inlinable public var isModifier: Bool { self == .typedef || isQualifier }

  /// Structures and unions.
  @inlinable public var isComposite: Bool { self == .structure || self == .union }

  /// Both widths of enumeration.
  @inlinable public var isEnumeration: Bool { self == .enumeration || self == .enum64 }

  /// The name that libbpf's messages use (`struct`, `func_proto`, …).
  public var libbpfName: String {
    switch self {
    case .void: "void"
    case .int: "int"
    case .pointer: "ptr"
    case .array: "array"
    case .structure: "struct"
    case .union: "union"
    case .enumeration: "enum"
    case .forward: "fwd"
    case .typedef: "typedef"
    case .volatile: "volatile"
    case .const: "const"
    case .restrict: "restrict"
    case .function: "func"
    case .functionPrototype: "func_proto"
    case .variable: "var"
    case .dataSection: "datasec"
    case .float: "float"
    case .declTag: "decl_tag"
    case .typeTag: "type_tag"
    case .enum64: "enum64"
    }
  }

  /// The name that the kernel and bpftool print (`STRUCT`, `FUNC_PROTO`, …).
  public var kernelName: String {
    self == .void ? "UNKNOWN" : libbpfName.uppercased()
  }

  /// Bytes after the 12-byte header of a type of this kind with `count` entries.
  @inlinable func trailerSize(count: Int) -> Int {
    switch self {
    case .int, .variable, .declTag: 4
    case .array: 12
    case .structure, .union, .enum64, .dataSection: 12 &* count
    case .enumeration, .functionPrototype: 8 &* count
    default: 0
    }
  }
}
