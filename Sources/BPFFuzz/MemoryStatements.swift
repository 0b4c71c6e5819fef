import BPFISA
import BPFLinux

/// Context, stack, packets and what pointers to memory point at.
extension ProgramGenerator {
  private static let sizes: [(code: UInt8, bytes: Int)] = [(Size.b, 1), (Size.h, 2), (Size.w, 4), (Size.dw, 8)]

  private mutating func size(upTo bytes: Int) -> (code: UInt8, bytes: Int) {
    let choices = Self.sizes.filter { $0.bytes <= bytes }
    return choices.isEmpty ? Self.sizes[0] : choices[random.below(choices.count)]
  }

  mutating func loadContext() {
    guard let context = contextRegister() else { return arithmetic() }
    if random.chance(25), let field = profile.fields.randomField(&random, writable: true) {
      let size = field.size == 8 ? Size.dw : Size.w
      if random.chance(50) {
        code.store(size, context, field.offset, value: immediate())
      } else {
        let value = anyScalar()
        code.store(size, context, field.offset, value)
      }
      return
    }
    guard let field = profile.fields.randomField(&random) else { return arithmetic() }
    let narrow = random.chance(7) ? size(upTo: field.size) : (field.size == 8 ? Size.dw : Size.w, field.size)
    let target = destination()
    guard target != context || !frame.heldRegisters.contains(context) else { return }
    code.load(narrow.0, target, context, field.offset)
    set(target, .scalar(limit: narrow.1 == 1 ? 255 : narrow.1 == 2 ? 65535 : nil))
  }

  // MARK: Stack

  mutating func freeSlot() -> Int {
    for _ in 0..<8 {
      let slot = random.below(random.chance(70) ? 6 : 16)
      if !frame.heldSlots.contains(slot) { return slot }
    }
    return (0..<16).last { !frame.heldSlots.contains($0) } ?? 15
  }

  /// `count` slots next to each other; the lowest in memory is the last.
  mutating func freeSlots(_ count: Int) -> Int? {
    for _ in 0..<8 {
      let first = random.below(16 - count)
      if (first..<first + count).allSatisfy({ !frame.heldSlots.contains($0) }) { return first }
    }
    return nil
  }

  mutating func stackAccess() {
    let slot = freeSlot()
    let offset = -8 * (slot + 1)
    switch random.below(20) {
    case 0..<4:
      guard let source = register(where: { $0 != .nothing }) else { return arithmetic() }
      code.store(Size.dw, 10, offset, source)
      frame.slots[slot] = frame.registers[Int(source)]
    case 4..<6:
      code.store(Size.dw, 10, offset, value: random.chance(60) ? 0 : immediate())
      frame.slots[slot] = .scalar(limit: nil)
    case 6..<9:
      let size = size(upTo: 4)
      let at = offset + random.below(8 / size.bytes) * size.bytes
      if random.chance(50) {
        code.store(size.code, 10, at, anyScalar())
      } else {
        code.store(size.code, 10, at, value: random.chance(50) ? 0 : immediate())
      }
      if !frame.slots[slot].isScalar { frame.slots[slot] = .nothing }
    case 9..<14:
      guard let filled = frame.slots.indices.filter({ frame.slots[$0] != .nothing }).randomIndex(&random) else {
        return arithmetic()
      }
      let target = destination()
      if frame.slots[filled].isScalar && random.chance(50) {
        let size = size(upTo: 8)
        let at = -8 * (filled + 1) + random.below(8 / size.bytes) * size.bytes
        code.load(size.code, target, 10, at, signed: size.bytes < 8 && random.chance(25))
        set(target, .scalar(limit: nil))
      } else {
        code.load(Size.dw, target, 10, -8 * (filled + 1))
        set(target, frame.slots[filled])
      }
    case 14..<16:
      let target = destination()
      code.copy(target, 10)
      code.alu(ALU.add, target, Int32(offset))
      set(target, .stack(offset: offset))
    case 16..<18: variableStackAccess()
    default:
      guard let pointer = register(where: { if case .stack = $0 { true } else { false } }),
        case .stack(let at) = frame.registers[Int(pointer)]
      else { return arithmetic() }
      let target = random.chance(70) ? at : offset
      let slot = -target / 8 - 1
      guard (0..<16).contains(slot), target % 8 == 0, !frame.heldSlots.contains(slot) else { return }
      if random.chance(60) {
        code.store(Size.dw, pointer, target - at, anyScalar())
        frame.slots[slot] = .scalar(limit: nil)
      } else if frame.slots[slot].isScalar {
        let loaded = destination()
        code.load(Size.dw, loaded, pointer, target - at)
        set(loaded, .scalar(limit: nil))
      } else {
        let value = anyScalar()
        code.store(Size.dw, pointer, target - at, value)
        if random.chance(30) {
          code.atomic(
            random.pick([Atomic.add, Atomic.or | Atomic.fetch, Atomic.xchg], or: Atomic.add), Size.dw, pointer,
            target - at, value)
        }
        frame.slots[slot] = .scalar(limit: nil)
      }
    }
  }

  /// At an offset that is only known to lie within bounds.
  private mutating func variableStackAccess() {
    let spread = random.pick([1, 3, 7, 8, 15, 16, 24], or: 7)
    let count = spread / 8 + 1
    guard let first = freeSlots(count + 1) else { return arithmetic() }
    let low = -8 * (first + count + 1)
    let initialize = random.chance(80)
    if initialize {
      for slot in first...(first + count) {
        if random.chance(40) {
          code.store(Size.dw, 10, -8 * (slot + 1), anyScalar())
        } else {
          code.store(Size.dw, 10, -8 * (slot + 1), value: random.chance(70) ? 0 : immediate())
        }
        frame.slots[slot] = .scalar(limit: nil)
      }
    }
    let index = ownScalar()
    let bound = random.chance(5) ? 2 : random.below(2)
    if bound == 0 {
      code.alu(ALU.and, index, Int32(spread), wide: random.chance(70))
    } else {
      let inside = code.makeLabel()
      code.jump(Jump.jle, index, Int32(spread), to: inside, wide: bound == 1)
      code.move(index, 0)
      code.place(inside)
    }
    set(index, .scalar(limit: spread))
    let pointer = destination()
    guard pointer != index else { return }
    code.copy(pointer, 10)
    if random.chance(50) {
      code.alu(ALU.add, pointer, Int32(low))
      code.alu(ALU.add, pointer, from: index)
    } else {
      code.alu(ALU.add, pointer, from: index)
      code.alu(ALU.add, pointer, Int32(low))
    }
    set(pointer, .nothing)
    let size = size(upTo: random.chance(80) ? 1 : 8)
    switch random.below(4) {
    case 0: code.store(size.code, pointer, 0, value: random.chance(60) ? 0 : immediate())
    case 1:
      if let value = register(where: { $0.isScalar }) { code.store(size.code, pointer, 0, value) }
    case 2 where random.chance(40):
      code.copy(1, pointer)
      code.move(2, Int32(random.within(1...8)))
      code.call(16)
      called(.scalar(limit: nil))
    default:
      let target = destination()
      code.load(size.code, target, pointer, 0)
      set(target, .scalar(limit: size.bytes == 1 ? 255 : nil))
    }
  }

  // MARK: Memory behind a pointer

  mutating func useMemory() {
    guard let base = register(where: { ($0.reach ?? 0) > 0 }), let reach = frame.registers[Int(base)].reach else {
      return arithmetic()
    }
    access(base, reach: reach)
  }

  /// Loads, stores and atomics between `base` and `base + reach`.
  mutating func access(_ base: Register, reach: Int) {
    var writable = true
    if case .memory(_, false) = frame.registers[Int(base)] { writable = errs() }
    if case .packet = frame.registers[Int(base)] { writable = profile.packet?.writable == true || errs() }
    var isPacket = false
    if case .packet = frame.registers[Int(base)] { isPacket = true }
    if reach >= 8 && random.chance(30) && (!isPacket || errs()) {
      variableAccess(base, reach: reach, writable: writable)
      return
    }
    var size = size(upTo: reach)
    var offset = (reach - size.bytes) == 0 ? 0 : random.below(reach - size.bytes + 1)
    if random.chance(97) { offset -= offset % size.bytes }
    if errs() { offset += random.pick([reach, -1, 1, -reach], or: 1) }
    switch random.below(10) {
    case 0..<4:
      let target = destination()
      guard target != base || !frame.heldRegisters.contains(base) else { return }
      code.load(size.code, target, base, offset, signed: size.bytes < 8 && random.chance(20))
      set(target, .scalar(limit: size.bytes == 1 ? 255 : nil))
    case 4..<6 where writable: code.store(size.code, base, offset, value: immediate())
    case 6..<8 where writable: code.store(size.code, base, offset, anyScalar())
    case 8 where writable && reach >= 8 && (!isPacket || errs()):
      size = random.chance(60) ? (Size.dw, 8) : (Size.w, 4)
      offset = random.below(reach / 8) * 8
      atomic(base, offset, size.code)
    default:
      let target = destination()
      guard !frame.heldRegisters.contains(target), target != base else { return }
      var step = random.below(max(1, reach - 1))
      if random.chance(95) { step -= step % 8 }
      code.copy(target, base)
      code.alu(ALU.add, target, Int32(step))
      if case .packet(let length) = frame.registers[Int(base)] {
        set(target, .packet(length: length - step))
      } else {
        set(target, .memory(size: reach - step, writable: writable))
      }
    }
  }

  private mutating func atomic(_ base: Register, _ offset: Int, _ size: UInt8) {
    let value = anyScalar()
    guard value != base else { return }
    let operation = random.pick(
      [
        Atomic.add, Atomic.or, Atomic.and, Atomic.xor, Atomic.add | Atomic.fetch, Atomic.or | Atomic.fetch,
        Atomic.and | Atomic.fetch, Atomic.xor | Atomic.fetch, Atomic.xchg, Atomic.cmpxchg, Atomic.loadAcquire,
        Atomic.storeRelease,
      ], or: Atomic.add)
    switch operation {
    case Atomic.loadAcquire:
      let target = destination()
      code.append(
        Instruction(
          opcode: Class.stx | Mode.atomic | size, dst: target, src: base,
          offset: Int16(truncatingIfNeeded: offset), immediate: operation))
      set(target, .scalar(limit: nil))
    case Atomic.cmpxchg:
      guard !frame.heldRegisters.contains(0) else { return }
      guard base != 0 else { return }
      scalar(into: 0)
      guard frame.registers[Int(value)].isScalar else { return }
      code.atomic(operation, size, base, offset, value)
      set(0, .scalar(limit: nil))
    default:
      guard operation & Atomic.fetch == 0 || !frame.heldRegisters.contains(value) else { return }
      code.atomic(operation, size, base, offset, value)
      if operation & Atomic.fetch != 0 && operation != Atomic.storeRelease { set(value, .scalar(limit: nil)) }
    }
  }

  private mutating func variableAccess(_ base: Register, reach: Int, writable: Bool) {
    let index = ownScalar()
    guard index != base else { return }
    let size = size(upTo: min(8, reach / 2))
    let room = reach - size.bytes
    var most = 1
    while most * 2 + 1 <= room { most = most * 2 + 1 }
    switch random.below(4) {
    case 0: code.alu(ALU.and, index, Int32(errs() ? most * 2 + 1 : most), wide: random.chance(60))
    case 1:
      let inside = code.makeLabel()
      code.jump(Jump.jle, index, Int32(errs() ? room + 1 : room), to: inside, wide: random.chance(95))
      code.move(index, 0)
      code.place(inside)
      most = room
    case 2:
      code.jump(Jump.jgt, index, Int32(errs() ? room + 1 : room), to: leave, wide: random.chance(95))
      most = room
    default:
      code.jump(Jump.jslt, index, 0, to: leave)
      code.jump(Jump.jsgt, index, Int32(room), to: leave)
      most = room
    }
    set(index, .scalar(limit: most))
    let sum = destination()
    guard sum != index, !frame.heldRegisters.contains(sum), sum != base else { return }
    code.copy(sum, base)
    let backwards = random.chance(15)
    if backwards { code.alu(ALU.add, sum, Int32(room)) }
    code.alu(backwards ? ALU.sub : ALU.add, sum, from: index)
    set(sum, .nothing)
    if random.chance(30) {
      let step = Int32(random.within(-3...3))
      code.alu(ALU.add, sum, step)
      if !errs() { code.alu(ALU.add, sum, -step) }
    }
    if writable && random.chance(40) {
      if random.chance(50) {
        code.store(size.code, sum, 0, value: immediate())
      } else if let value = register(where: { $0.isScalar }) {
        code.store(size.code, sum, 0, value)
      }
    } else {
      let target = destination()
      code.load(size.code, target, sum, 0, signed: size.bytes < 8 && random.chance(15))
      set(target, .scalar(limit: size.bytes == 1 ? 255 : nil))
    }
  }

  /// The address of a byte of an array's value, known at load time.
  mutating func directValue() {
    let map = random.pick(
      [FuzzSurroundings.Map.array, FuzzSurroundings.Map.frozen, FuzzSurroundings.Map.big], or: 0)
    let size = Int(surroundings.maps[map].valueSize)
    let offset = random.below(size)
    let target = destination()
    guard !frame.heldRegisters.contains(target) else { return }
    code.wide(
      target, Int32(truncatingIfNeeded: map), Int32(truncatingIfNeeded: offset + (errs() ? size : 0)),
      source: PseudoSource.mapValue)
    set(target, .memory(size: size - offset, writable: map != FuzzSurroundings.Map.frozen))
    access(target, reach: size - offset)
  }

  // MARK: Packets

  mutating func packetAccess(within length: Int) {
    guard let packet = profile.packet, let context = contextRegister() else { return arithmetic() }
    let data = destination()
    guard data != context else { return }
    let width = packet.size == 8 ? Size.dw : Size.w
    let useMeta = packet.meta != nil && random.chance(15)
    code.load(width, data, context, useMeta ? packet.meta ?? packet.data : packet.data)
    set(data, .packet(length: 0))
    frame.heldRegisters.insert(data)
    defer { frame.heldRegisters.remove(data) }
    let end = destination()
    guard end != context, end != data else { return }
    code.load(width, end, context, useMeta ? packet.data : packet.end)
    set(end, useMeta ? .packet(length: 0) : .packetEnd)
    frame.heldRegisters.insert(end)
    defer { frame.heldRegisters.remove(end) }
    var variable: Register?
    if random.chance(30) {
      let index = ownScalar()
      if index != data && index != end {
        code.alu(ALU.and, index, random.pick(InterestingNumber.masks, or: 15), wide: random.chance(70))
        set(index, .scalar(limit: nil))
        code.alu(ALU.add, data, from: index)
        if random.chance(30) { variable = index }
      }
    }
    _ = variable
    let bytes = random.pick([1, 2, 4, 8, 14, 16, 20, 34, 54, 64], or: 14)
    let probe = destination()
    guard probe != data, probe != end, !frame.heldRegisters.contains(probe) else { return }
    code.copy(probe, data)
    code.alu(ALU.add, probe, Int32(bytes))
    set(probe, .packet(length: 0))
    nesting += 1
    defer { nesting -= 1 }
    let beyond = code.makeLabel()
    let inside = code.makeLabel()
    let wide = !errs()
    let before = frame
    switch random.below(8) {
    case 0, 1, 2: code.jump(Jump.jgt, probe, with: end, to: beyond, wide: wide)
    case 3: code.jump(Jump.jge, probe, with: end, to: beyond, wide: wide)
    case 4: code.jump(Jump.jlt, end, with: probe, to: beyond, wide: wide)
    case 5: code.jump(Jump.jle, end, with: probe, to: beyond, wide: wide)
    case 6:
      code.jump(Jump.jle, probe, with: end, to: inside, wide: wide)
      code.jump(to: beyond)
    default:
      code.jump(Jump.jge, end, with: probe, to: inside, wide: wide)
      code.jump(to: beyond)
    }
    code.place(inside)
    set(data, .packet(length: bytes))
    set(probe, .nothing)
    for _ in 0..<random.within(1...3) { access(data, reach: bytes) }
    if random.chance(40) { block(random.within(1...max(2, min(8, length / 3)))) }
    if random.chance(25) {
      code.jump(to: leave)
      frame = before
      code.place(beyond)
    } else {
      code.place(beyond)
      frame.join(before)
    }
    set(probe, .nothing)
  }

  /// A length found in the packet, added to where the packet begins, and what stands behind.
  mutating func packetHeader() {
    guard let packet = profile.packet, frame.heldRegisters.isDisjoint(with: 0...5),
      let context = contextRegister(), context > 5
    else { return arithmetic() }
    let width = packet.size == 8 ? Size.dw : Size.w
    let data = longLivedDestination()
    guard data != context, !frame.heldRegisters.contains(data) else { return arithmetic() }
    code.load(width, data, context, packet.data)
    code.load(width, 2, context, packet.end)
    let first = random.pick([14, 20, 34], or: 14)
    let missing = code.makeLabel()
    let before = frame
    code.copy(3, data)
    code.alu(ALU.add, 3, Int32(first))
    code.jump(Jump.jgt, 3, with: 2, to: missing)
    let size = random.chance(60) ? Size.b : Size.h
    code.load(size, 4, data, random.below(first - 1))
    if random.chance(30) {
      code.append(Instruction(opcode: Class.alu | ALU.end | Source.x, dst: 4, immediate: 16))
    }
    if !errs() { code.alu(ALU.and, 4, random.pick([15, 31, 63, 0x3ff, 0x7fff], or: 15), wide: random.chance(60)) }
    if random.chance(60) { code.alu(ALU.lsh, 4, Int32(random.within(1...3)), wide: random.chance(60)) }
    if random.chance(30) { code.alu(ALU.add, 4, Int32(random.within(-4...20))) }
    if random.chance(30) { code.jump(Jump.jlt, 4, 20, to: missing, wide: random.chance(60)) }
    if random.chance(30) { code.jump(Jump.jsgt, 4, 60, to: missing) }
    if random.chance(20) {
      code.store(Size.dw, 10, -8, 4)
      code.load(Size.dw, 4, 10, -8)
      frame.slots[0] = .scalar(limit: nil)
    }
    let base: Register = random.chance(50) ? data : 5
    if base == 5 { code.copy(5, data) }
    if random.chance(50) { code.alu(ALU.add, base, Int32(first)) }
    code.alu(ALU.add, base, from: 4)
    let bytes = random.pick([1, 4, 8, 20], or: 8)
    code.copy(3, base)
    code.alu(ALU.add, 3, Int32(bytes))
    if random.chance(85) {
      code.jump(Jump.jgt, 3, with: 2, to: missing)
    } else {
      code.jump(Jump.jlt, 2, with: 3, to: missing)
    }
    frame.forgetCallerSaved()
    set(data, .nothing)
    set(base, .packet(length: bytes))
    for _ in 0..<random.within(1...3) {
      guard frame.registers[Int(base)] == .packet(length: bytes) else { break }
      access(base, reach: bytes)
    }
    code.place(missing)
    frame.join(before)
    frame.forgetCallerSaved()
    set(data, .nothing)
  }

  mutating func legacyLoad() {
    guard profile.type == .socketFilter || profile.type == .schedCls ? true : errs(),
      frame.registers[6] == .context || errs(), !frame.heldRegisters.contains(0)
    else { return arithmetic() }
    let size = random.pick([Size.b, Size.h, Size.w], or: Size.b)
    if random.chance(60) {
      code.append(Instruction(opcode: Class.ld | Mode.abs | size, immediate: Int32(random.below(64))))
    } else {
      let index = anyScalar()
      code.append(Instruction(opcode: Class.ld | Mode.ind | size, src: index, immediate: Int32(random.below(64))))
    }
    called(.scalar(limit: nil))
  }
}

extension [Int] {
  func randomIndex(_ random: inout RandomSource) -> Int? { isEmpty ? nil : self[random.below(count)] }
}
