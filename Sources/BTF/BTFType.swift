/// The decoded header of one type.
///
///     word 0: name offset
///     word 1: | kflag:1 | unused:2 | kind:5 | unused:8 | vlen:16 |
///     word 2: size, or the type referred to
public struct BTFType: BitwiseCopyable, Sendable {
  public let id: TypeID
  public let kind: BTFKind
  /// Bitfield encoding (struct, union), signedness (enum, enum64), or union-ness (forward).
  public let kindFlag: Bool
  /// Number of members, enumerators, parameters or variables; linkage of a function.
  public let vlen: Int
  public let nameOffset: UInt32
  /// Byte size of a struct, union, int, enum, data section or float.
  public let size: UInt32
  /// The type referred to: pointers, modifiers, functions, prototypes (return type), variables, tags.
  @inlinable public var target: TypeID { size }

  @inlinable init(id: TypeID, kind: BTFKind, kindFlag: Bool, vlen: Int, nameOffset: UInt32, size: UInt32) {
    self.id = id
    self.kind = kind
    self.kindFlag = kindFlag
    self.vlen = vlen
    self.nameOffset = nameOffset
    self.size = size
  }

  /// `void`, and the answer for an identifier that does not exist.
  @inlinable static var void: BTFType {
    BTFType(id: 0, kind: .void, kindFlag: false, vlen: 0, nameOffset: 0, size: 0)
  }
}

/// Shape of an array type.
public struct BTFArray: BitwiseCopyable, Sendable, Equatable {
  public let elementTypeID: TypeID
  public let indexTypeID: TypeID
  public let count: UInt32

  @inlinable init(elementTypeID: TypeID, indexTypeID: TypeID, count: UInt32) {
    self.elementTypeID = elementTypeID
    self.indexTypeID = indexTypeID
    self.count = count
  }
}

/// How an integer type is encoded.
///
///     | unused:4 | encoding:4 (1 signed, 2 char, 4 bool) | bit offset:8 | unused:8 | bits:8 |
public struct BTFIntEncoding: BitwiseCopyable, Sendable, Equatable {
  public let raw: UInt32
  @inlinable public init(raw: UInt32) { self.raw = raw }
  @inlinable public var flags: UInt32 { (raw >> 24) & 0xf }
  @inlinable public var isSigned: Bool { raw & (1 << 24) != 0 }
  @inlinable public var isChar: Bool { raw & (2 << 24) != 0 }
  @inlinable public var isBool: Bool { raw & (4 << 24) != 0 }
  @inlinable public var bitOffset: UInt32 { (raw >> 16) & 0xff }
  @inlinable public var bits: UInt32 { raw & 0xff }
}

/// A member of a struct or union.
public struct BTFMember: BitwiseCopyable, Sendable, Equatable {
  public let nameOffset: UInt32
  public let typeID: TypeID
  public let bitOffset: UInt32
  /// Width in bits; 0 if the member is not a bitfield.
  public let bitfieldSize: UInt32

  @inlinable public init(nameOffset: UInt32, typeID: TypeID, bitOffset: UInt32, bitfieldSize: UInt32) {
    self.nameOffset = nameOffset
    self.typeID = typeID
    self.bitOffset = bitOffset
    self.bitfieldSize = bitfieldSize
  }
}

/// A parameter of a function prototype; a nameless one of type 0 at the end means `...`.
public struct BTFParameter: BitwiseCopyable, Sendable, Equatable {
  public let nameOffset: UInt32
  public let typeID: TypeID

  @inlinable public init(nameOffset: UInt32, typeID: TypeID) {
    self.nameOffset = nameOffset
    self.typeID = typeID
  }
}

/// A constant of an enumeration.
public struct BTFEnumerator: BitwiseCopyable, Sendable, Equatable {
  public let nameOffset: UInt32
  /// Sign-extended where the enumeration is signed; the bit pattern of an unsigned 64-bit one.
  public let value: Int64

  @inlinable public init(nameOffset: UInt32, value: Int64) {
    self.nameOffset = nameOffset
    self.value = value
  }
}

/// A variable's place in a data section.
public struct BTFSectionVariable: BitwiseCopyable, Sendable, Equatable {
  public let typeID: TypeID
  public let offset: UInt32
  public let size: UInt32

  @inlinable public init(typeID: TypeID, offset: UInt32, size: UInt32) {
    self.typeID = typeID
    self.offset = offset
    self.size = size
  }
}
