import BPFLinux

/// Letters of `SlotType`, by number.
private let slotLetters: StaticString = "?rm0dif"

/// How many bytes of a map's name the kernel keeps.
private let mapNameLength = 15

/// The state of values in the log.
extension Verification {
  // MARK: what was touched since the last print

  @inline(__always) func markRegisterScratched(_ number: Int) {
    scratchedRegisters |= 1 &<< UInt32(truncatingIfNeeded: number)
  }

  @inline(__always) func markSlotScratched(_ slot: Int) {
    scratchedSlots |= 1 &<< UInt64(truncatingIfNeeded: slot)
  }

  @inline(__always) func markStateClean() {
    scratchedRegisters = 0
    scratchedSlots = 0
  }

  @inline(__always) func markStateScratched() {
    scratchedRegisters = .max
    scratchedSlots = .max
  }

  @inline(__always) var stateIsScratched: Bool { scratchedRegisters != 0 || scratchedSlots != 0 }

  // MARK: states

  /// Prints registers and stack of one frame: all that is known, or what was touched since the last print.
  func printState(_ state: StateRef, frame number: Int, all: Bool) {
    guard logLevel != 0 else { return }
    let frame = state.frame(number)
    if frame.pointee.number != 0 {
      log.put(" frame")
      log.put(int32: frame.pointee.number)
      log.put(byte: UInt8(ascii: ":"))
    }
    for index in 0..<registerCount {
      let register = frame.register(index)
      if register.pointee.type == .notInitialized { continue }
      if !all && scratchedRegisters & (1 << UInt32(index)) == 0 { continue }
      log.put(" R")
      log.put(decimal: index)
      log.put(byte: UInt8(ascii: "="))
      putRegister(register, frame)
    }
    putStack(frame, all: all)
    putReferences(state)
    if frame.pointee.inCallback { log.put(" cb") }
    if frame.pointee.inAsyncCallback { log.put(" async_cb") }
    log.put(byte: UInt8(ascii: "\n"))
    log.settleIfLong()
    if !all { markStateClean() }
  }

  /// Prints what was touched, behind the instruction where that was printed last.
  func printInstructionState(_ state: StateRef, frame: Int) {
    guard logLevel != 0 else { return }
    if previousLogPosition != 0 && previousLogPosition == log.endPosition {
      log.reset(to: previousLogPosition - 1)
      let printed = UInt32(truncatingIfNeeded: previousInstructionPosition)
      let column = (max(printed &+ 4, 40) &+ 7) & ~7
      for _ in 0..<max(1, Int(Int32(bitPattern: column &- printed &- 1))) { log.put(byte: UInt8(ascii: " ")) }
      log.put(byte: UInt8(ascii: ";"))
    } else {
      log.put(decimal: instruction)
      log.put(byte: UInt8(ascii: ":"))
    }
    printState(state, frame: frame, all: false)
  }

  private func putReferences(_ state: StateRef) {
    let count = Int(state.pointee.referenceCount)
    guard count > 0, let references = state.pointee.references, references[0].id != 0 else { return }
    log.put(" refs=")
    log.put(decimal: Int(references[0].id))
    for index in 1..<max(1, count) where references[index].id != 0 {
      log.put(byte: UInt8(ascii: ","))
      log.put(decimal: Int(references[index].id))
    }
  }

  private func putStack(_ frame: FrameRef, all: Bool) {
    let count = Int(frame.pointee.slotCount)
    var slot = 0
    while slot < count {
      defer { slot += 1 }
      if !all && scratchedSlots & (1 &<< UInt64(slot)) == 0 { continue }
      let contents = frame.slot(slot)
      if contents.pointee.types == 0 { continue }
      switch contents.pointee.kind {
      case SlotType.spill:
        putSlotOffset(slot)
        var byte = 0
        while byte < 8 && contents.pointee[byte] != SlotType.spill {
          putSlotLetter(contents.pointee[byte])
          byte += 1
        }
        putRegister(frame.spilled(slot), frame)
      case SlotType.dynptr:
        // The second slot is the one that says what the dynptr is.
        slot += 1
        guard slot < count else { return }
        putDynptr(frame.spilled(slot), slot)
      case SlotType.iterator:
        let iterator = frame.spilled(slot)
        // Only the first slot has a reference.
        if iterator.pointee.referenceID != 0 { putIterator(iterator, slot) }
      default:
        putSlotOffset(slot)
        for byte in 0..<8 { putSlotLetter(contents.pointee[byte]) }
      }
    }
  }

  private func putSlotOffset(_ slot: Int) {
    log.put(" fp")
    log.put(decimal: -(slot + 1) * 8)
    log.put(byte: UInt8(ascii: "="))
  }

  private func putSlotLetter(_ type: UInt8) {
    log.put(byte: Int(type) < slotLetters.utf8CodeUnitCount ? slotLetters.utf8Start[Int(type)] : UInt8(ascii: "?"))
  }

  private func putDynptr(_ dynptr: RegisterRef, _ slot: Int) {
    putSlotOffset(slot)
    log.put("dynptr_")
    log.put(dynptrTypeText(dynptr.pointee.dynptrType))
    log.put(byte: UInt8(ascii: "("))
    var attributes = AttributeList()
    if dynptr.pointee.id != 0 {
      attributes.next(&log, "id=")
      log.put(int32: dynptr.pointee.id)
    }
    if dynptr.pointee.referenceID != 0 {
      attributes.next(&log, "ref_id=")
      log.put(int32: dynptr.pointee.referenceID)
    }
    // Shares its place with the mark of the first slot, and so always shows as Linux shows it.
    if dynptr.pointee.dynptrID != 0 {
      attributes.next(&log, "dynptr_id=")
      log.put(int32: dynptr.pointee.dynptrID)
    }
    log.put(byte: UInt8(ascii: ")"))
  }

  private func putIterator(_ iterator: RegisterRef, _ slot: Int) {
    putSlotOffset(slot)
    log.put("iter_")
    log.put(iteratorTypeText(btf: iterator.pointee.btf, id: iterator.pointee.btfID))
    log.put("(ref_id=")
    log.put(int32: iterator.pointee.referenceID)
    log.put(",state=")
    log.put(iteratorStateText(iterator.pointee.iterator))
    log.put(",depth=")
    log.put(decimal: UInt64(iterator.pointee.iteratorDepth))
    log.put(byte: UInt8(ascii: ")"))
  }

  // MARK: registers

  private func putRegister(_ register: RegisterRef, _ frame: FrameRef) {
    let r = register.pointee
    let type = r.type
    if type == .scalar {
      if r.precise { log.put(byte: UInt8(ascii: "P")) }
      if r.bits.mask == 0 {
        log.put(signed: Int64(bitPattern: r.bits.value))
        return
      }
    }
    log.put(type)
    if type == .arena { return }
    if type == .stack {
      if frame.pointee.number != UInt32(r.frame) {
        log.put(byte: UInt8(ascii: "["))
        log.put(decimal: Int(r.frame))
        log.put(byte: UInt8(ascii: "]"))
      }
      if r.bits.mask == 0 {
        log.put(signed: Int64(bitPattern: r.bits.value) &+ Int64(r.offset))
        return
      }
    }
    if type.base == .btfID, Int(r.btf) < btfs.count, let types = btfs[Int(r.btf)] { log.put(types.name(r.btfID)) }
    log.put(byte: UInt8(ascii: "("))
    var attributes = AttributeList()
    putIdentity(r, &attributes)
    if type != .scalar { putPointer(r, &attributes) }
    if r.bits.mask == 0 {
      if r.bits.value != 0 {
        attributes.next(&log, "imm=")
        log.put(signed: Int64(bitPattern: r.bits.value))
      }
    } else {
      putRanges(r, &attributes)
      if !r.bits.isUnknown {
        attributes.next(&log, "var_off=")
        log.put(r.bits)
      }
    }
    log.put(byte: UInt8(ascii: ")"))
  }

  private func putIdentity(_ r: RegisterState, _ attributes: inout AttributeList) {
    if r.id != 0 {
      attributes.next(&log, "id=")
      log.put(int32: r.id & ~RegisterState.addConst)
    }
    if r.id & RegisterState.addConst != 0 {
      if r.offset >= 0 { log.put(byte: UInt8(ascii: "+")) }
      log.put(decimal: Int(r.offset))
    }
    if r.referenceID != 0 {
      attributes.next(&log, "ref_obj_id=")
      log.put(int32: r.referenceID)
    }
    if r.type.base == .btfID && r.type.has(.allocated) && r.type.has(.nonOwning) {
      attributes.next(&log, "non_own_ref")
    }
  }

  private func putPointer(_ r: RegisterState, _ attributes: inout AttributeList) {
    let base = r.type.base
    if base == .mapPointer || base == .mapKey || base == .mapValue, r.map < maps.count {
      putMap(maps[r.map].definition, isInner: maps[r.map].isInner, &attributes)
    }
    if r.offset != 0 {
      attributes.next(&log, "off=")
      log.put(signed: Int64(r.offset))
    }
    if base == .packet || base == .packetMeta {
      attributes.next(&log, "r=")
      log.put(unsigned: UInt64(bitPattern: Int64(r.range)))
    }
    if base == .memory {
      attributes.next(&log, "sz=")
      log.put(unsigned: UInt64(r.memorySize))
    }
    if r.type == .dynptr {
      attributes.next(&log, "type=")
      log.put(dynptrTypeText(r.dynptrType))
    }
  }

  /// The template that an inner map is checked against keeps no name.
  private func putMap(_ map: MapDefinition, isInner: Bool, _ attributes: inout AttributeList) {
    if !map.name.isEmpty && !isInner {
      attributes.next(&log, "map=")
      log.bytes.append(contentsOf: map.name.utf8.prefix(mapNameLength))
    }
    attributes.next(&log, "ks=")
    log.put(int32: map.keySize)
    log.put(",vs=")
    log.put(int32: map.valueSize)
  }

  /// Bounds that say something; equal ones share their value: `smin=umin=2`.
  private func putRanges(_ r: RegisterState, _ attributes: inout AttributeList) {
    let names: InlineArray<8, StaticString> = [
      "smin=", "smax=", "umin=", "umax=", "smin32=", "smax32=", "umin32=", "umax32=",
    ]
    let values: InlineArray<8, UInt64> = [
      UInt64(bitPattern: r.smin), UInt64(bitPattern: r.smax), r.umin, r.umax, r.s32min.printed, r.s32max.printed,
      UInt64(r.u32min), UInt64(r.u32max),
    ]
    var omitted: UInt8 = 0
    if r.smin == .min { omitted |= 1 << 0 }
    if r.smax == .max { omitted |= 1 << 1 }
    if r.umin == 0 { omitted |= 1 << 2 }
    if r.umax == .max { omitted |= 1 << 3 }
    if r.s32min == .min { omitted |= 1 << 4 }
    if r.s32max == .max { omitted |= 1 << 5 }
    if r.u32min == 0 { omitted |= 1 << 6 }
    if r.u32max == .max { omitted |= 1 << 7 }
    for index in 0..<8 where omitted & (1 << UInt8(index)) == 0 {
      let value = values[index]
      let isSigned = index & 2 == 0
      let isNegative = isSigned && Int64(bitPattern: value) < 0
      attributes.next(&log, names[index])
      var other = index + 2
      while other < 8 {
        let otherIsNegative = other & 2 == 0 && Int64(bitPattern: values[other]) < 0
        if omitted & (1 << UInt8(other)) == 0 && values[other] == value && otherIsNegative == isNegative {
          omitted |= 1 << UInt8(other)
          log.put(names[other])
        }
        other += 2
      }
      if isSigned {
        log.put(signed: Int64(bitPattern: value))
      } else {
        log.put(unsigned: value)
      }
    }
  }
}

/// Puts commas between attributes.
private struct AttributeList {
  private var isEmpty = true

  @inline(__always) mutating func next(_ log: inout VerifierLog, _ name: StaticString) {
    if !isEmpty { log.put(byte: UInt8(ascii: ",")) }
    isEmpty = false
    log.put(name)
  }
}

extension Int32 {
  /// As 64 bits: sign-extended only where it is printed in decimal.
  fileprivate var printed: UInt64 {
    Int64(self).isShort ? UInt64(bitPattern: Int64(self)) : UInt64(UInt32(bitPattern: self))
  }
}
