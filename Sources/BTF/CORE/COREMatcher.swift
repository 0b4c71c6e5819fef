/// Compares types of an object with types of a kernel, by the three relations that libbpf knows.
///
/// Work is bounded: type graphs made to branch without end are given up on with `EINVAL`.
struct COREMatcher {
  let local: BTF
  let target: BTF
  private var budget = 1 << 22

  /// How deep pointers and arrays, and how deep prototypes and members, are followed.
  private static let depth = 32

  init(local: BTF, target: BTF) {
    self.local = local
    self.target = target
  }

  private mutating func spend() throws(COREFailure) {
    budget -= 1
    guard budget > 0 else { throw COREFailure(errno: .invalid) }
  }

  static func areKindsCompatible(_ a: BTFKind, _ b: BTFKind) -> Bool {
    a == b || (a.isEnumeration && b.isEnumeration)
  }

  // MARK: Names

  func namesMatch(_ localName: UInt32, _ targetName: UInt32) -> Bool {
    let theirs = target.essentialName(targetName)
    let ours = local.essentialName(localName)
    if target.isEmptyString(targetName) { return local.isEmptyString(localName) }
    return ours.elementsEqual(theirs)
  }

  // MARK: Fields

  /// Whether a member may stand for another: its type may differ in size, sign and qualifiers.
  mutating func areFieldsCompatible(_ localID: TypeID, _ targetID: TypeID) throws(COREFailure) -> Bool {
    var localID = localID
    var targetID = targetID
    while true {
      try spend()
      localID = local.skipModifiers(localID)
      targetID = target.skipModifiers(targetID)
      let ours = local.type(localID)
      let theirs = target.type(targetID)
      if ours.kind.isComposite && theirs.kind.isComposite { return true }
      guard COREMatcher.areKindsCompatible(ours.kind, theirs.kind) else { return false }
      switch ours.kind {
      case .pointer, .float:
        return true
      case .forward, .enumeration, .enum64:
        let a = local.essentialName(ours.nameOffset)
        let b = target.essentialName(theirs.nameOffset)
        return a.isEmpty || b.isEmpty || a.elementsEqual(b)
      case .int:
        return local.intEncoding(localID).bitOffset == 0 && target.intEncoding(targetID).bitOffset == 0
      case .array:
        localID = local.array(localID).elementTypeID
        targetID = target.array(targetID).elementTypeID
      default:
        return false
      }
    }
  }

  // MARK: Compatible types

  /// Whether two types whose names were found to match have the same shape, names inside them ignored.
  mutating func areTypesCompatible(_ localID: TypeID, _ targetID: TypeID) throws(COREFailure) -> Bool {
    try areTypesCompatible(localID, targetID, level: COREMatcher.depth)
  }

  private mutating func areTypesCompatible(
    _ localID: TypeID, _ targetID: TypeID, level: Int
  ) throws(COREFailure) -> Bool {
    var localID = localID
    var targetID = targetID
    guard COREMatcher.areKindsCompatible(local.kind(localID), target.kind(targetID)) else { return false }
    for _ in 0..<COREMatcher.depth {
      try spend()
      localID = local.skipModifiers(localID)
      targetID = target.skipModifiers(targetID)
      let ours = local.type(localID)
      let theirs = target.type(targetID)
      guard COREMatcher.areKindsCompatible(ours.kind, theirs.kind) else { return false }
      switch ours.kind {
      case .void, .structure, .union, .enumeration, .enum64, .forward:
        return true
      case .int:
        return local.intEncoding(localID).bitOffset == 0 && target.intEncoding(targetID).bitOffset == 0
      case .pointer:
        localID = ours.target
        targetID = theirs.target
      case .array:
        localID = local.array(localID).elementTypeID
        targetID = target.array(targetID).elementTypeID
      case .functionPrototype:
        guard ours.vlen == theirs.vlen else { return false }
        for (mine, other) in zip(local.parameters(localID), target.parameters(targetID)) {
          guard level > 0 else { throw COREFailure(errno: .invalid) }
          let isCompatible = try areTypesCompatible(
            local.skipModifiers(mine.typeID), target.skipModifiers(other.typeID), level: level - 1)
          guard isCompatible else { return false }
        }
        localID = local.skipModifiers(ours.target)
        targetID = target.skipModifiers(theirs.target)
      default:
        return false
      }
    }
    throw COREFailure(errno: .invalid)
  }

  // MARK: Matching types

  /// Whether the target's type has everything that the object's type declares, by name and shape.
  mutating func doTypesMatch(_ localID: TypeID, _ targetID: TypeID) throws(COREFailure) -> Bool {
    try doTypesMatch(localID, targetID, isBehindPointer: false, level: COREMatcher.depth)
  }

  private mutating func doTypesMatch(
    _ localID: TypeID, _ targetID: TypeID, isBehindPointer: Bool, level: Int
  ) throws(COREFailure) -> Bool {
    guard level > 0 else { throw COREFailure(errno: .invalid) }
    var localID = localID
    var targetID = targetID
    var isBehindPointer = isBehindPointer
    for _ in 0..<COREMatcher.depth {
      try spend()
      localID = local.skipModifiers(localID)
      targetID = target.skipModifiers(targetID)
      let ours = local.type(localID)
      let theirs = target.type(targetID)
      guard namesMatch(ours.nameOffset, theirs.nameOffset) else { return false }
      switch ours.kind {
      case .void:
        return theirs.kind == .void
      case .forward:
        return matchForward(ours, theirs, isBehindPointer: isBehindPointer)
      case .enumeration, .enum64:
        guard theirs.kind.isEnumeration else { return false }
        return try doEnumerationsMatch(ours, theirs)
      case .structure, .union:
        if isBehindPointer {
          if ours.kind == theirs.kind { return true }
          return theirs.kind == .forward && (ours.kind == .union) == theirs.kindFlag
        }
        guard ours.kind == theirs.kind else { return false }
        return try doCompositesMatch(ours, theirs, level: level)
      case .int:
        return theirs.kind == .int && ours.size == theirs.size
          && local.intEncoding(localID).isSigned == target.intEncoding(targetID).isSigned
      case .pointer:
        guard theirs.kind == .pointer else { return false }
        isBehindPointer = true
        localID = ours.target
        targetID = theirs.target
      case .array:
        let mine = local.array(localID)
        let other = target.array(targetID)
        guard theirs.kind == .array, mine.count == other.count else { return false }
        localID = mine.elementTypeID
        targetID = other.elementTypeID
      case .functionPrototype:
        guard theirs.kind == .functionPrototype, ours.vlen == theirs.vlen else { return false }
        for (mine, other) in zip(local.parameters(localID), target.parameters(targetID)) {
          let isMatch = try doTypesMatch(
            mine.typeID, other.typeID, isBehindPointer: isBehindPointer, level: level - 1)
          guard isMatch else { return false }
        }
        localID = ours.target
        targetID = theirs.target
      default:
        return false
      }
    }
    throw COREFailure(errno: .invalid)
  }

  private func matchForward(_ ours: BTFType, _ theirs: BTFType, isBehindPointer: Bool) -> Bool {
    if theirs.kind == .forward { return ours.kindFlag == theirs.kindFlag }
    guard isBehindPointer else { return false }
    return theirs.kind == (ours.kindFlag ? .union : .structure)
  }

  private mutating func doEnumerationsMatch(_ ours: BTFType, _ theirs: BTFType) throws(COREFailure) -> Bool {
    guard ours.size == theirs.size, ours.vlen <= theirs.vlen else { return false }
    let candidates = target.enumerators(theirs.id)
    for wanted in local.enumerators(ours.id) {
      var isFound = false
      for candidate in candidates {
        try spend()
        if namesMatch(wanted.nameOffset, candidate.nameOffset) {
          isFound = true
          break
        }
      }
      guard isFound else { return false }
    }
    return true
  }

  private mutating func doCompositesMatch(
    _ ours: BTFType, _ theirs: BTFType, level: Int
  ) throws(COREFailure) -> Bool {
    guard ours.vlen <= theirs.vlen else { return false }
    let candidates = target.members(theirs.id)
    for wanted in local.members(ours.id) {
      var isFound = false
      for candidate in candidates {
        try spend()
        guard namesMatch(wanted.nameOffset, candidate.nameOffset) else { continue }
        if try doTypesMatch(wanted.typeID, candidate.typeID, isBehindPointer: false, level: level - 1) {
          isFound = true
          break
        }
      }
      guard isFound else { return false }
    }
    return true
  }

  // MARK: Paths

  /// The path in the target that means what `wanted` means in the object; nil if the target has none.
  mutating func match(_ wanted: CORESpec, candidate: TypeID) throws(COREFailure) -> CORESpec? {
    var spec = CORESpec(btf: target, rootTypeID: candidate, kind: wanted.kind)
    if wanted.kind.isTypeBased {
      let isMatch =
        wanted.kind == .typeMatches
        ? try doTypesMatch(wanted.rootTypeID, candidate)
        : try areTypesCompatible(wanted.rootTypeID, candidate)
      return isMatch ? spec : nil
    }
    if wanted.kind.isEnumeratorBased { return matchEnumerator(wanted, candidate: candidate) }

    var id = candidate
    for (step, accessor) in wanted.accessors.enumerated() {
      id = target.skipModifiers(id)
      if accessor.name != nil {
        guard let next = try matchMember(accessor, in: id, &spec) else { return nil }
        id = next
        continue
      }
      if step > 0 {
        // The root's leading index is of the root type itself, further ones are of an array's elements.
        guard target.kind(id) == .array else { return nil }
        let array = target.array(id)
        guard spec.endsInFlexibleArray(array) || UInt32(bitPattern: accessor.index) < array.count else { return nil }
        id = target.skipModifiers(array.elementTypeID)
      }
      guard spec.path.count < CORESpec.maximumLength else { throw COREFailure(errno: .tooBig) }
      spec.accessors.append(CORESpec.Accessor(typeID: id, index: accessor.index, name: nil))
      spec.path.append(accessor.index)
      spec.advance(index: accessor.index, size: try CORESpec.size(target, id))
    }
    return spec
  }

  private func matchEnumerator(_ wanted: CORESpec, candidate: TypeID) -> CORESpec? {
    let id = target.skipModifiers(candidate)
    guard target.kind(id).isEnumeration, let name = wanted.accessors.first?.name else { return nil }
    let ours = local.essentialName(name)
    for (index, enumerator) in target.enumerators(id).enumerated()
    where target.essentialName(enumerator.nameOffset).elementsEqual(ours) {
      var spec = CORESpec(btf: target, rootTypeID: candidate, kind: wanted.kind)
      let place = Int32(truncatingIfNeeded: index)
      spec.accessors = [CORESpec.Accessor(typeID: id, index: place, name: enumerator.nameOffset)]
      spec.path = [place]
      return spec
    }
    return nil
  }

  /// Looks for a member of that name, also inside nameless members; returns its type.
  ///
  /// A member of the right name and the wrong type ends the search at its level, and what it added to the path
  /// stays there, which matters when the search goes on one level up. libbpf does the same.
  private mutating func matchMember(
    _ wanted: CORESpec.Accessor, in id: TypeID, _ spec: inout CORESpec
  ) throws(COREFailure) -> TypeID? {
    let id = target.skipModifiers(id)
    guard target.kind(id).isComposite else { return nil }
    let own = local.members(wanted.typeID)
    guard wanted.index >= 0, Int(wanted.index) < own.count else { return nil }
    let ours = own[Int(wanted.index)]
    for (index, member) in target.members(id).enumerated() {
      try spend()
      guard spec.path.count < CORESpec.maximumLength else { throw COREFailure(errno: .tooBig) }
      spec.advance(bits: member.bitOffset)
      spec.path.append(Int32(truncatingIfNeeded: index))
      if target.isEmptyString(member.nameOffset) {
        if let found = try matchMember(wanted, in: member.typeID, &spec) { return found }
      } else if local.stringEquals(ours.nameOffset, in: target, member.nameOffset) {
        guard try areFieldsCompatible(ours.typeID, member.typeID) else { return nil }
        spec.accessors.append(
          CORESpec.Accessor(typeID: id, index: Int32(truncatingIfNeeded: index), name: member.nameOffset))
        return member.typeID
      }
      spec.bitOffset = spec.bitOffset &- member.bitOffset
      spec.path.removeLast()
    }
    return nil
  }
}
