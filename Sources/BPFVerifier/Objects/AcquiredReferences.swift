import BPFLinux

// What a path holds and must give back: references, locks, saved interrupt states. In the order they were acquired.

extension Verification {
  // MARK: acquiring

  /// One more thing held in the current state.
  private func hold(_ kind: ReferenceKind, id: UInt32, object: UInt64, instruction index: Int) {
    pool.growReferences(state)
    guard let references = state.pointee.references else { return }
    references[Int(state.pointee.referenceCount)] = Reference(
      kind: kind, id: Int32(bitPattern: id), instruction: Int32(truncatingIfNeeded: index), object: object)
    state.pointee.referenceCount &+= 1
  }

  /// A new reference, acquired at `index`; its id.
  func acquireReference(instruction index: Int) throws(Refusal) -> UInt32 {
    let id = newID()
    hold(.pointer, id: id, object: 0, instruction: index)
    return id
  }

  func acquireLock(instruction index: Int, kind: ReferenceKind, id: UInt32, object: UInt64) throws(Refusal) {
    hold(kind, id: id, object: object, instruction: index)
    state.pointee.activeLocks &+= 1
    state.pointee.activeLockID = id
    state.pointee.activeLockObject = object
  }

  /// Interrupts are disabled at `index`; the id of the saved state.
  func acquireIRQ(instruction index: Int) throws(Refusal) -> UInt32 {
    let id = newID()
    hold(.irq, id: id, object: 0, instruction: index)
    state.pointee.activeIRQID = id
    return id
  }

  // MARK: finding

  /// Whatever is held under `id`.
  func findReference(id: UInt32) -> UnsafeMutablePointer<Reference>? {
    guard let references = state.pointee.references else { return nil }
    var index = 0
    while index < Int(state.pointee.referenceCount) {
      if UInt32(bitPattern: references[index].id) == id { return references + index }
      index &+= 1
    }
    return nil
  }

  /// The lock of one of the kinds that lies in `object` and was taken through a pointer with `id`.
  func findLock(
    _ state: StateRef, kind: ReferenceKind, id: UInt32, object: UInt64
  ) -> UnsafeMutablePointer<Reference>? {
    guard let references = state.pointee.references else { return nil }
    var index = 0
    while index < Int(state.pointee.referenceCount) {
      let held = references + index
      if !held.pointee.kind.isDisjoint(with: kind), UInt32(bitPattern: held.pointee.id) == id,
        held.pointee.object == object
      {
        return held
      }
      index &+= 1
    }
    return nil
  }

  // MARK: giving back

  /// The others keep their order: interrupt states are a stack.
  private func drop(_ state: StateRef, _ references: UnsafeMutablePointer<Reference>, at index: Int) {
    let last = Int(state.pointee.referenceCount) - 1
    var next = index
    while next < last {
      references[next] = references[next + 1]
      next &+= 1
    }
    state.pointee.referenceCount &-= 1
  }

  /// Gives a lock back; the one taken before it is the active one then. False where it is not held.
  func releaseLock(_ state: StateRef, kind: ReferenceKind, id: UInt32, object: UInt64) -> Bool {
    guard let references = state.pointee.references else { return false }
    var previousID: UInt32 = 0
    var previousObject: UInt64 = 0
    var index = 0
    while index < Int(state.pointee.referenceCount) {
      let held = references[index]
      if held.kind == kind, UInt32(bitPattern: held.id) == id, held.object == object {
        drop(state, references, at: index)
        state.pointee.activeLocks &-= 1
        state.pointee.activeLockID = previousID
        state.pointee.activeLockObject = previousObject
        return true
      }
      if !held.kind.isDisjoint(with: .anyLock) {
        previousID = UInt32(bitPattern: held.id)
        previousObject = held.object
      }
      index &+= 1
    }
    return false
  }

  /// Restores interrupts to the saved state `id`, which must be the last that was saved; else the errno.
  func releaseIRQ(_ state: StateRef, id: UInt32) -> Errno? {
    guard id == state.pointee.activeIRQID else { return .EACCES }
    guard let references = state.pointee.references else { return .EINVAL }
    var previousID: UInt32 = 0
    var index = 0
    while index < Int(state.pointee.referenceCount) {
      if references[index].kind == .irq {
        if UInt32(bitPattern: references[index].id) == id {
          drop(state, references, at: index)
          state.pointee.activeIRQID = previousID
          return nil
        }
        previousID = UInt32(bitPattern: references[index].id)
      }
      index &+= 1
    }
    return .EINVAL
  }

  /// The reference is no longer held; pointers that carry it stay as they are. False where it was not held.
  @discardableResult func releaseReferenceNoMark(in state: StateRef, id: UInt32) -> Bool {
    guard let references = state.pointee.references else { return false }
    var index = 0
    while index < Int(state.pointee.referenceCount) {
      if references[index].kind == .pointer, UInt32(bitPattern: references[index].id) == id {
        drop(state, references, at: index)
        return true
      }
      index &+= 1
    }
    return false
  }

  /// The reference is given back: every copy of the pointer becomes unusable.
  func releaseReference(id: UInt32) throws(Refusal) {
    guard releaseReferenceNoMark(in: state, id: id) else {
      throw Refusal(errno: .EINVAL, category: .invalidRelease)
    }
    state.forEachRegister { _, r in
      if r.pointee.referenceID == id { markInvalid(r) }
    }
  }

  // MARK: invalidating pointers

  /// The value may be used no more: who may see pointers keeps a number.
  @inline(__always) func markInvalid(_ r: RegisterRef) {
    if allowPointerLeaks { markUnknown(r) } else { markNotInitialized(r) }
  }

  /// The packet may have moved: all pointers into it, and slices of dynptrs that lie in it, are stale.
  func clearAllPacketPointers() {
    state.forEachRegister { _, r in
      let type = r.pointee.type
      let isStale =
        type.isPacketPointer || type == .packetEnd
        || (type.base == .memory && !type.flags.isDisjoint(with: [.dynptrSKB, .dynptrXDP, .dynptrSKBMeta]))
      if isStale { markInvalid(r) }
    }
  }

  /// The lock is gone that kept objects alive which others own.
  func invalidateNonOwningReferences() {
    state.forEachRegister { _, r in
      if r.pointee.type.isNonOwningReference { markInvalid(r) }
    }
  }
}
