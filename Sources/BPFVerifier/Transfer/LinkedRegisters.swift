import BPFLinux

/// Registers and stack slots that are linked by an id: at most six, as one entry of jump history can hold.
///
///     63                                   4 3    0
///     +-------+-------+ … +-----------------+------+
///     | 10 bits an entry: register?, slot, frame | n |
///     +-------+-------+ … +-----------------+------+
struct LinkedRegisters {
  struct Entry {
    var frame: Int
    /// The register's number, or the slot's.
    var index: Int
    var isRegister: Bool
  }

  static let maximum = 6
  private(set) var count = 0
  private var packedEntries: UInt64 = 0

  init() {}

  init(packed: UInt64) {
    count = Int(packed & 0xf)
    packedEntries = packed >> 4
  }

  /// As jump history keeps them: the last added first.
  var packed: UInt64 { packedEntries << 4 | UInt64(count) }

  /// False where there is no room.
  mutating func append(_ entry: Entry) -> Bool {
    guard count < Self.maximum else { return false }
    let bits =
      UInt64(truncatingIfNeeded: entry.frame & 7) | UInt64(truncatingIfNeeded: entry.index & 0x3f) << 3
      | (entry.isRegister ? 1 << 9 : 0)
    packedEntries = packedEntries << 10 | bits
    count += 1
    return true
  }

  /// Entry `index`, counted from the last added.
  func fromLast(_ index: Int) -> Entry {
    let bits = packedEntries >> UInt64(index * 10)
    return Entry(frame: Int(bits & 7), index: Int(bits >> 3 & 0x3f), isRegister: bits >> 9 & 1 != 0)
  }

  /// Entry `index`, in the order they were added.
  func entry(_ index: Int) -> Entry { fromLast(count - 1 - index) }
}

extension Verification {
  /// Everything alive that has the same id as a compared register, so that what a branch shows of one is known of all.
  func collectLinked(_ state: StateRef, id: UInt32, into linked: inout LinkedRegisters) {
    let id = id & ~RegisterState.addConst
    let last = Int(state.pointee.currentFrame)
    var number = last
    while number >= 0 {
      let at = number == last ? state.pointee.instruction : state.frame(number + 1).pointee.callSite
      let alive = facts[Int(at)].liveRegisters
      let frame = state.frame(number)
      for index in 0..<(registerCount - 1) where alive & (1 << UInt16(index)) != 0 {
        collect(
          frame.register(index), id, LinkedRegisters.Entry(frame: number, index: index, isRegister: true), &linked)
      }
      var slot = 0
      while slot < Int(frame.pointee.slotCount) {
        if frame.pointee.stack[slot].kind == SlotType.spill {
          collect(
            frame.spilled(slot), id, LinkedRegisters.Entry(frame: number, index: slot, isRegister: false), &linked)
        }
        slot += 1
      }
      number -= 1
    }
  }

  @inline(__always)
  private func collect(
    _ r: RegisterRef, _ id: UInt32, _ entry: LinkedRegisters.Entry, _ linked: inout LinkedRegisters
  ) {
    guard r.pointee.type == .scalar, r.pointee.id & ~RegisterState.addConst == id else { return }
    if !linked.append(entry) { r.pointee.unlink() }
  }

  /// Gives every linked value the range that a branch showed of `known`.
  func syncLinked(_ state: StateRef, known: RegisterRef, _ linked: LinkedRegisters) {
    for index in 0..<linked.count {
      let entry = linked.entry(index)
      let frame = state.frame(entry.frame)
      let r = entry.isRegister ? frame.register(entry.index) : frame.spilled(entry.index)
      guard r.pointee.type == .scalar, r != known,
        r.pointee.id & ~RegisterState.addConst == known.pointee.id & ~RegisterState.addConst
      else { continue }
      // A delta in 32 bits and one in 64 say nothing of each other.
      if (r.pointee.id ^ known.pointee.id) & RegisterState.addConst == RegisterState.addConst { continue }
      let definition = r.pointee.subregisterDefinition
      let neitherHasDelta = (r.pointee.id | known.pointee.id) & RegisterState.addConst == 0
      if neitherHasDelta || r.pointee.offset == known.pointee.offset {
        r.pointee = known.pointee
        r.pointee.subregisterDefinition = definition
      } else {
        let offset = r.pointee.offset
        let id = r.pointee.id
        var delta = RegisterState()
        delta.type = .scalar
        delta.markKnown(UInt64(bitPattern: Int64(offset) - Int64(known.pointee.offset)))
        r.pointee = known.pointee
        r.pointee.offset = offset
        r.pointee.id = id
        r.pointee.subregisterDefinition = definition
        r.pointee.addBounds(delta)
        r.pointee.bits = r.pointee.bits + delta.bits
        if (id | known.pointee.id) & RegisterState.addConst32 != 0 { r.pointee.zeroExtend32() }
        r.pointee.sync()
      }
    }
  }
}
