import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// What is built on demand: a hash table over the own types' names, and declaration tags by their target.
final class BTFNameIndex: Sendable {
  /// Look-ups by scanning before the table is worth building: that costs as much as some ten scans.
  static let scansBeforeBuilding = 8

  /// Names are hashed without their flavour, so that one table serves look-ups by name and CO-RE candidates.
  /// `heads` maps a hash to the first own type of that hash, `next` chains the rest in ascending order; both
  /// hold one more than the index from the first own type, 0 ends a chain.
  struct Table: Sendable {
    var heads: [UInt32]
    var next: [UInt32]
  }

  struct State: Sendable {
    var scans = 0
    var table: Table?
    var tags: [TypeID: [TypeID]]?
  }

  let state = Mutex(State())
}

extension BTF {
  /// The first type of that kind and name; those of the base come first.
  public func find(_ name: String, kind: BTFKind) -> TypeID? {
    if let base, let id = base.find(name, kind: kind) { return id }
    var copy = name
    return copy.withUTF8 { bytes in findOwn(UnsafeRawBufferPointer(bytes), kind) }
  }

  /// All types of that name and of a kind that `isWanted` accepts, in ascending order, those of the base first.
  public func findAll(_ name: String, where isWanted: (BTFKind) -> Bool) -> [TypeID] {
    var found = base?.findAll(name, where: isWanted) ?? []
    var copy = name
    copy.withUTF8 { bytes in
      let wanted = UnsafeRawBufferPointer(bytes)
      forEachOwn(hash: BTF.hash(ofFlavoured: wanted.bindMemory(to: CChar.self))) { id in
        if isWanted(kind(id)) && hasName(id, wanted) { found.append(id) }
        return true
      }
    }
    return found
  }

  private func findOwn(_ name: UnsafeRawBufferPointer, _ kind: BTFKind) -> TypeID? {
    guard countLookUp() else { return scan(name, kind) }
    var found: TypeID?
    forEachOwn(hash: BTF.hash(ofFlavoured: name.bindMemory(to: CChar.self))) { id in
      guard self.kind(id) == kind && hasName(id, name) else { return true }
      found = id
      return false
    }
    return found
  }

  /// Whether names are indexed or should be by now.
  private func countLookUp() -> Bool {
    names.state.withLock { state in
      if state.table != nil { return true }
      state.scans += 1
      return state.scans > BTFNameIndex.scansBeforeBuilding
    }
  }

  private func scan(_ name: UnsafeRawBufferPointer, _ kind: BTFKind) -> TypeID? {
    let wanted = UInt32(kind.rawValue)
    let first = name.first ?? 0
    for index in 0..<Int(endID &- startID) {
      let offset = Int(offsets[index])
      guard (word(offset &+ 4) >> 24) & 0x1f == wanted else { continue }
      let place = word(offset)
      let own = Int(place &- firstString)
      if place >= firstString && own < stringLength
        && raw.load(fromByteOffset: stringStart &+ own, as: UInt8.self) != first
      {
        continue
      }
      let id = startID &+ UInt32(truncatingIfNeeded: index)
      if hasName(id, name) { return id }
    }
    return nil
  }

  private func hasName(_ id: TypeID, _ name: UnsafeRawBufferPointer) -> Bool {
    guard let bytes = stringBytes(type(id).nameOffset), bytes.count == name.count else { return false }
    guard let a = bytes.baseAddress, let b = name.baseAddress else { return true }
    return memcmp(a, b, name.count) == 0
  }

  /// Visits own types whose name may have `hash`, ascending, until `body` returns false.
  private func forEachOwn(hash: UInt32, _ body: (TypeID) -> Bool) {
    let table = names.state.withLock { state in
      if let table = state.table { return table }
      let table = buildTable()
      state.table = table
      return table
    }
    var place = table.heads[Int(hash) & (table.heads.count &- 1)]
    while place != 0 {
      guard body(startID &+ (place &- 1)) else { return }
      place = table.next[Int(place &- 1)]
    }
  }

  private func buildTable() -> BTFNameIndex.Table {
    let count = Int(endID &- startID)
    var buckets = 16
    while buckets < count { buckets *= 2 }
    var heads = [UInt32](repeating: 0, count: buckets)
    var next = [UInt32](repeating: 0, count: count)
    // Backwards, so that each chain ascends.
    heads.withUnsafeMutableBufferPointer { heads in
      next.withUnsafeMutableBufferPointer { next in
        var index = count
        while index > 0 {
          index &-= 1
          let place = word(Int(offsets[index]))
          guard place != 0, let name = stringBytes(place), !name.isEmpty else { continue }
          let bucket = Int(BTF.hash(ofFlavoured: name)) & (buckets &- 1)
          next[index] = heads[bucket]
          heads[bucket] = UInt32(truncatingIfNeeded: index &+ 1)
        }
      }
    }
    return BTFNameIndex.Table(heads: heads, next: next)
  }

  /// Types of a kind that CO-RE takes for `kind` whose name without flavour is `name`, ascending from `start`.
  func flavours(of name: UnsafeBufferPointer<CChar>, kind wanted: BTFKind, from start: TypeID) -> [TypeID] {
    var found: [TypeID] = []
    if let base, start < startID { found = base.flavours(of: name, kind: wanted, from: start) }
    func consider(_ id: TypeID) {
      let type = type(id)
      guard COREMatcher.areKindsCompatible(type.kind, wanted), let own = stringBytes(type.nameOffset),
        own.count >= name.count, own.first == name.first
      else { return }
      if BTF.essentialLength(own) == name.count, own.starts(with: name) { found.append(id) }
    }
    if countLookUp() {
      forEachOwn(hash: BTF.hash(name)) { id in
        if id >= start { consider(id) }
        return true
      }
    } else {
      for id in max(start, startID)..<max(endID, start) { consider(id) }
    }
    return found
  }

  private static func hash(ofFlavoured name: UnsafeBufferPointer<CChar>) -> UInt32 {
    hash(UnsafeBufferPointer(start: name.baseAddress, count: essentialLength(name)))
  }

  /// A multiplicative hash, eight bytes a step.
  private static func hash(_ name: UnsafeBufferPointer<CChar>) -> UInt32 {
    let bytes = UnsafeRawBufferPointer(name)
    var state = UInt64(truncatingIfNeeded: bytes.count) &* 0x9e37_79b9_7f4a_7c15
    var index = 0
    while index &+ 8 <= bytes.count {
      state = (state ^ bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)) &* 0xff51_afd7_ed55_8ccd
      state ^= state >> 32
      index &+= 8
    }
    var rest: UInt64 = 0
    while index < bytes.count {
      rest = rest << 8 | UInt64(bytes[index])
      index &+= 1
    }
    state = (state ^ rest) &* 0xff51_afd7_ed55_8ccd
    return UInt32(truncatingIfNeeded: state >> 32)
  }

  // MARK: Declaration tags

  /// Declaration tags whose target is `id`, in ascending order of their own identifiers; component -1 is the
  /// type itself.
  public func declTags(of id: TypeID) -> [(component: Int32, tag: String)] {
    declTagIDs(of: id).map { (component: declTagComponent($0), tag: name($0)) }
  }

  /// Identifiers of the declaration tags whose target is `id`, ascending.
  public func declTagIDs(of id: TypeID) -> [TypeID] {
    let inherited = id < startID ? base?.declTagIDs(of: id) ?? [] : []
    let own = names.state.withLock { state in
      if let tags = state.tags { return tags[id] ?? [] }
      var tags: [TypeID: [TypeID]] = [:]
      for own in startID..<endID where kind(own) == .declTag {
        tags[type(own).target, default: []].append(own)
      }
      state.tags = tags
      return tags[id] ?? []
    }
    return inherited + own
  }
}
