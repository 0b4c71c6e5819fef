/// Members of a struct or union, decoded as they are read.
public struct BTFMembers: RandomAccessCollection, Sendable {
  @usableFromInline let owner: BTF
  @usableFromInline let offset: Int
  public let count: Int
  @usableFromInline let kindFlag: Bool

  @inlinable init(owner: BTF, offset: Int, count: Int, kindFlag: Bool) {
    self.owner = owner
    self.offset = offset
    self.count = count
    self.kindFlag = kindFlag
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { count }

  @inlinable public subscript(index: Int) -> BTFMember {
    precondition(index >= 0 && index < count, "member index out of range")
    let place = offset &+ index &* 12
    let position = owner.word(place &+ 8)
    return BTFMember(
      nameOffset: owner.word(place),
      typeID: owner.word(place &+ 4),
      bitOffset: kindFlag ? position & 0xff_ffff : position,
      bitfieldSize: kindFlag ? position >> 24 : 0
    )
  }
}

/// Parameters of a function prototype, decoded as they are read.
public struct BTFParameters: RandomAccessCollection, Sendable {
  @usableFromInline let owner: BTF
  @usableFromInline let offset: Int
  public let count: Int

  @inlinable init(owner: BTF, offset: Int, count: Int) {
    self.owner = owner
    self.offset = offset
    self.count = count
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { count }

  @inlinable public subscript(index: Int) -> BTFParameter {
    precondition(index >= 0 && index < count, "parameter index out of range")
    let place = offset &+ index &* 8
    return BTFParameter(nameOffset: owner.word(place), typeID: owner.word(place &+ 4))
  }
}

/// Constants of an enumeration of either width, decoded as they are read.
public struct BTFEnumerators: RandomAccessCollection, Sendable {
  @usableFromInline let owner: BTF
  @usableFromInline let offset: Int
  public let count: Int
  @usableFromInline let isWide: Bool
  public let isSigned: Bool

  @inlinable init(owner: BTF, offset: Int, count: Int, isWide: Bool, isSigned: Bool) {
    self.owner = owner
    self.offset = offset
    self.count = count
    self.isWide = isWide
    self.isSigned = isSigned
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { count }

  @inlinable public subscript(index: Int) -> BTFEnumerator {
    precondition(index >= 0 && index < count, "enumerator index out of range")
    let place = offset &+ index &* (isWide ? 12 : 8)
    let low = owner.word(place &+ 4)
    let value: Int64
    if isWide {
      value = Int64(bitPattern: UInt64(owner.word(place &+ 8)) << 32 | UInt64(low))
    } else {
      value = isSigned ? Int64(Int32(bitPattern: low)) : Int64(low)
    }
    return BTFEnumerator(nameOffset: owner.word(place), value: value)
  }
}

/// Variables of a data section, decoded as they are read.
public struct BTFSectionVariables: RandomAccessCollection, Sendable {
  @usableFromInline let owner: BTF
  @usableFromInline let offset: Int
  public let count: Int

  @inlinable init(owner: BTF, offset: Int, count: Int) {
    self.owner = owner
    self.offset = offset
    self.count = count
  }

  @inlinable public var startIndex: Int { 0 }
  @inlinable public var endIndex: Int { count }

  @inlinable public subscript(index: Int) -> BTFSectionVariable {
    precondition(index >= 0 && index < count, "variable index out of range")
    let place = offset &+ index &* 12
    return BTFSectionVariable(
      typeID: owner.word(place), offset: owner.word(place &+ 4), size: owner.word(place &+ 8))
  }
}
