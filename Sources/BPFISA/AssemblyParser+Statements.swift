// One function for each kind of statement. Where LLVM and the kernel write an instruction differently, both are read.

extension AssemblyParser {
  /// Reads one instruction, from its first word to before the end of the statement.
  mutating func parseInstruction() throws(AssemblyError) {
    let first = token
    if accept(.star) {
      try parseStore(from: first)
      return
    }
    guard first.kind == .word else { throw unexpected("an instruction") }
    if let dst = try register(first) {
      at += 1
      try parseComputation(into: dst)
      return
    }
    let name = text(of: first)
    at += 1
    switch name {
    case "exit": emit(Instruction(opcode: Opcode.exit), from: first)
    case "nospec": emit(Instruction(opcode: Opcode.nospec), from: first)
    case "if": try parseConditionalJump(from: first)
    case "goto": try parseJump(Instruction(opcode: Opcode.ja), .offset, from: first)
    case "may_goto":
      try parseJump(Instruction(opcode: Opcode.mayGoto, src: PseudoSource.mayGoto), .offset, from: first)
    case "gotol": try parseJump(Instruction(opcode: Opcode.jaLong), .immediate, from: first)
    case "call": try parseCall(from: first)
    case "callx":
      let address = try expectWideRegister()
      emit(Instruction(opcode: Opcode.callRegister, dst: address.number), from: first)
    case "lock": try parseLock(from: first)
    case "store_release": try parseStoreRelease(from: first)
    case "ld_pseudo": try parseLoadPseudo(from: first)
    case ".8byte", ".quad": try parseRawSlots(from: first)
    default:
      let rule: AssemblyError.Rule = name.hasPrefix(".") ? .unknownDirective(name) : .unknownInstruction(name)
      throw AssemblyError(rule, at: first.position)
    }
  }

  // MARK: Arithmetic

  /// `r1 …`: everything that writes a register by name.
  private mutating func parseComputation(into dst: Register) throws(AssemblyError) {
    guard case .sign(let sign) = token.kind else { throw unexpected("an assignment operator") }
    if sign == .assign {
      at += 1
      try parseAssignment(to: dst)
      return
    }
    guard let (operation, signed) = sign.arithmetic else { throw unexpected("an assignment operator") }
    at += 1
    let opcode = (dst.narrow ? Class.alu : Class.alu64) | operation
    let offset: Int16 = signed ? 1 : 0
    if let src = try register(token) {
      at += 1
      try require(src, narrow: dst.narrow)
      let code = opcode | Source.x
      emit(Instruction(opcode: code, dst: dst.number, src: src.number, offset: offset), from: dst.token)
    } else {
      let value = try immediate(try expectConstant())
      emit(Instruction(opcode: opcode, dst: dst.number, offset: offset, immediate: value), from: dst.token)
    }
  }

  /// What stands right of `r1 =`.
  private mutating func parseAssignment(to dst: Register) throws(AssemblyError) {
    switch token.kind {
    case .sign(.minus):
      if let src = try register(following) {
        at += 2
        try require(src, sameAs: dst)
        emit(Instruction(opcode: (dst.narrow ? Class.alu : Class.alu64) | ALU.neg, dst: dst.number), from: dst.token)
      } else {
        try parseConstantMove(to: dst)
      }
    case .sign(.star):
      at += 1
      try parseLoad(to: dst)
    case .sign(.openParenthesis): try parseSignExtension(to: dst)
    case .sign(.ampersand): try parsePerCPUAddress(to: dst)
    case .word:
      if let src = try register(token) {
        at += 1
        try require(src, narrow: dst.narrow)
        emit(move(dst, src, offset: 0), from: dst.token)
      } else {
        try parseNamedOperation(to: dst)
      }
    default: try parseConstantMove(to: dst)
    }
  }

  private func move(_ dst: Register, _ src: Register, offset: Int16) -> Instruction {
    let opcode = (dst.narrow ? Class.alu : Class.alu64) | ALU.mov | Source.x
    return Instruction(opcode: opcode, dst: dst.number, src: src.number, offset: offset)
  }

  /// `r1 = 5` and `r1 = 5 ll`.
  private mutating func parseConstantMove(to dst: Register) throws(AssemblyError) {
    let value = try expectConstant()
    if accept(word: "ll") || writtenOpcode == Opcode.loadImmediate64 {
      try require(dst, narrow: false)
      let bits = try wideImmediate(value)
      emitWide(
        dst.number, source: 0, low: Int32(truncatingIfNeeded: bits), high: Int32(truncatingIfNeeded: bits >> 32),
        from: dst.token)
      return
    }
    let opcode = (dst.narrow ? Class.alu : Class.alu64) | ALU.mov
    emit(Instruction(opcode: opcode, dst: dst.number, immediate: try immediate(value)), from: dst.token)
  }

  /// `r1 = (s8)r2`
  private mutating func parseSignExtension(to dst: Register) throws(AssemblyError) {
    try expect(.openParenthesis)
    let offset: Int16
    if accept(word: "s8") {
      offset = 8
    } else if accept(word: "s16") {
      offset = 16
    } else if accept(word: "s32") {
      offset = 32
    } else {
      throw unexpected("a signed type")
    }
    try expect(.closeParenthesis)
    let src = try expectRegister()
    try require(src, narrow: dst.narrow)
    emit(move(dst, src, offset: offset), from: dst.token)
  }

  /// `r1 = &(void __percpu *)(r2)`
  private mutating func parsePerCPUAddress(to dst: Register) throws(AssemblyError) {
    try require(dst, narrow: false)
    try expect(.ampersand)
    try expect(.openParenthesis)
    try expect(word: "void")
    try expect(word: "__percpu")
    try expect(.star)
    try expect(.closeParenthesis)
    try expect(.openParenthesis)
    let src = try expectWideRegister()
    try expect(.closeParenthesis)
    emit(move(dst, src, offset: perCPUAddressOffset), from: dst.token)
  }

  /// `r1 = NAME …`: byte swaps, casts, atomics, symbols.
  private mutating func parseNamedOperation(to dst: Register) throws(AssemblyError) {
    let place = token
    let name = text(of: place)
    if let (opcode, width) = Self.byteSwap(name), try register(following) != nil {
      at += 1
      try require(dst, narrow: false)
      let src = try expectRegister()
      try require(src, sameAs: dst)
      emit(Instruction(opcode: opcode, dst: dst.number, immediate: width), from: dst.token)
      return
    }
    switch following.kind {
    case .sign(.openParenthesis):
      at += 1
      if name == "addr_space_cast" {
        try parseAddressSpaceCast(to: dst)
      } else if name == "load_acquire" {
        try parseLoadAcquire(to: dst)
      } else {
        try parseFetchingAtomic(name, place, to: dst)
      }
    case .sign(.openBracket) where name == "map" || name == "subprog":
      at += 1
      try parseBracketedSymbol(isMap: name == "map", to: dst)
    default: try parseSymbol(name, place, to: dst)
    }
  }

  private static func byteSwap(_ name: String) -> (opcode: UInt8, width: Int32)? {
    switch name {
    case "be16": (Class.alu | ALU.end | Source.x, 16)
    case "be32": (Class.alu | ALU.end | Source.x, 32)
    case "be64": (Class.alu | ALU.end | Source.x, 64)
    case "le16": (Class.alu | ALU.end, 16)
    case "le32": (Class.alu | ALU.end, 32)
    case "le64": (Class.alu | ALU.end, 64)
    case "bswap16": (Class.alu64 | ALU.end, 16)
    case "bswap32": (Class.alu64 | ALU.end, 32)
    case "bswap64": (Class.alu64 | ALU.end, 64)
    default: nil
    }
  }

  /// `addr_space_cast(r1, 0, 1)`
  private mutating func parseAddressSpaceCast(to dst: Register) throws(AssemblyError) {
    try require(dst, narrow: false)
    try expect(.openParenthesis)
    let src = try expectWideRegister()
    try expect(.comma)
    let to = try expectAddressSpace()
    try expect(.comma)
    let from = try expectAddressSpace()
    try expect(.closeParenthesis)
    var instruction = move(dst, src, offset: addressSpaceCastOffset)
    instruction.immediate = Int32(bitPattern: UInt32(to) << 16 | UInt32(from))
    emit(instruction, from: dst.token)
  }

  private mutating func expectAddressSpace() throws(AssemblyError) -> UInt16 {
    let value = try expectConstant()
    guard !value.negative, let space = UInt16(exactly: value.magnitude) else {
      throw AssemblyError(.immediateOutOfRange("\(value)"), at: value.position)
    }
    return space
  }

  // MARK: Symbols

  /// `r1 = NAME ll`, or a named constant.
  private mutating func parseSymbol(_ name: String, _ place: AssemblyToken, to dst: Register) throws(AssemblyError) {
    guard following.kind == .word, text(of: following) == "ll" else {
      guard assembler.constant(name) != nil else {
        throw AssemblyError(.unknownOperation(name), at: place.position)
      }
      try parseConstantMove(to: dst)
      return
    }
    try require(dst, narrow: false)
    if let wide = assembler.wideImmediate(name) {
      at += 2
      emitWide(dst.number, source: wide.source, low: wide.low, high: wide.high, from: dst.token)
    } else if assembler.constant(name) != nil {
      try parseConstantMove(to: dst)
    } else {
      at += 2
      fixups.append(Fixup(slot: nextSlot, field: .address, target: .named(name), token: place))
      emitWide(dst.number, source: PseudoSource.function, low: 0, high: 0, from: dst.token)
    }
  }

  /// `map[id:3]`, `map[id:3][0]+8`, `map[idx:3]+8`, `map[NAME]`, `subprog[+3]`.
  private mutating func parseBracketedSymbol(isMap: Bool, to dst: Register) throws(AssemblyError) {
    try require(dst, narrow: false)
    try expect(.openBracket)
    var source = PseudoSource.function
    var low: Int32 = 0
    var high: Int32 = 0
    let place = token
    if !isMap {
      low = try immediate(try expectConstant())
      try expect(.closeBracket)
    } else if following.kind == .sign(.colon) {
      let byIndex = accept(word: "idx")
      if !byIndex { try expect(word: "id") }
      try expect(.colon)
      low = try immediate(try expectConstant())
      try expect(.closeBracket)
      source = byIndex ? PseudoSource.mapIndexValue : PseudoSource.mapFD
      if !byIndex, accept(.openBracket) {
        let position = token.position
        guard try expectConstant().magnitude == 0 else {
          throw AssemblyError(.expected("0", found: "another element"), at: position)
        }
        try expect(.closeBracket)
        source = PseudoSource.mapValue
      }
      if source != PseudoSource.mapFD { high = try immediate(try expectConstant()) }
    } else {
      guard place.kind == .word else { throw unexpected("the name of a map") }
      at += 1
      try expect(.closeBracket)
      guard let wide = assembler.wideImmediate(text(of: place)) else {
        throw AssemblyError(.unknownSymbol(text(of: place)), at: place.position)
      }
      (source, low, high) = (wide.source, wide.low, wide.high)
    }
    _ = accept(word: "ll")
    emitWide(dst.number, source: source, low: low, high: high, from: dst.token)
  }

  /// `ld_pseudo r1, 1, 5`
  private mutating func parseLoadPseudo(from first: AssemblyToken) throws(AssemblyError) {
    let dst = try expectWideRegister()
    try expect(.comma)
    let source = try expectConstant()
    guard !source.negative, source.magnitude < 16 else {
      throw AssemblyError(.immediateOutOfRange("\(source)"), at: source.position)
    }
    try expect(.comma)
    let bits = try wideImmediate(try expectConstant())
    emitWide(
      dst.number, source: UInt8(source.magnitude), low: Int32(truncatingIfNeeded: bits),
      high: Int32(truncatingIfNeeded: bits >> 32), from: first)
  }

  /// `.8byte 0x95, 0x95`
  private mutating func parseRawSlots(from first: AssemblyToken) throws(AssemblyError) {
    repeat {
      let bits = try wideImmediate(try expectConstant())
      let registers = UInt8(truncatingIfNeeded: bits >> 8)
      emit(
        Instruction(
          opcode: UInt8(truncatingIfNeeded: bits), dst: registers & 0xf, src: registers >> 4,
          offset: Int16(truncatingIfNeeded: bits >> 16), immediate: Int32(truncatingIfNeeded: bits >> 32)),
        from: first)
    } while accept(.comma)
  }

  // MARK: Memory

  /// `*(u32 *)(r2 + 4)` and `*(u32 *)skb[…]`, behind the star.
  private mutating func parseLoad(to dst: Register) throws(AssemblyError) {
    let type = try expectAccessType()
    if accept(word: "skb") {
      try parsePacketLoad(type, to: dst)
      return
    }
    if type.signed || type.sizeCode == Size.dw { try require(dst, narrow: false) }
    let memory = try expectMemory()
    let mode = type.signed ? Mode.memsx : Mode.mem
    emit(
      Instruction(
        opcode: Class.ldx | mode | type.sizeCode, dst: dst.number, src: memory.base, offset: memory.offset),
      from: dst.token)
  }

  /// `r0 = *(u32 *)skb[4]`, `skb[r1]`, `skb[r1 + 4]`: the packet loads of old, which always write `r0`.
  private mutating func parsePacketLoad(_ type: AccessType, to dst: Register) throws(AssemblyError) {
    guard dst.number == 0 else {
      throw AssemblyError(.registersDiffer("r0", text(of: dst.token)), at: dst.token.position)
    }
    try require(dst, narrow: false)
    guard !type.signed else {
      throw AssemblyError(.expected("an unsigned type", found: "'\(text(of: type.token))'"), at: type.token.position)
    }
    try expect(.openBracket)
    var instruction = Instruction(opcode: Class.ld | Mode.abs | type.sizeCode)
    if let base = try register(token) {
      at += 1
      try require(base, narrow: false)
      instruction = Instruction(opcode: Class.ld | Mode.ind | type.sizeCode, src: base.number)
      if token.kind != .sign(.closeBracket) {
        guard token.kind == .sign(.plus) || token.kind == .sign(.minus) else { throw unexpected("']'") }
        instruction.immediate = try immediate(try expectConstant())
      }
    } else {
      instruction.immediate = try immediate(try expectConstant())
    }
    try expect(.closeBracket)
    emit(instruction, from: dst.token)
  }

  /// `*(u32 *)(r1 + 4) = …`, behind the star.
  private mutating func parseStore(from first: AssemblyToken) throws(AssemblyError) {
    let type = try expectUnsignedAccessType()
    let memory = try expectMemory()
    try expect(.assign)
    if let src = try register(token) {
      at += 1
      if type.sizeCode == Size.dw { try require(src, narrow: false) }
      emit(
        Instruction(
          opcode: Class.stx | Mode.mem | type.sizeCode, dst: memory.base, src: src.number, offset: memory.offset),
        from: first)
      return
    }
    let value = try immediate(try expectConstant())
    emit(
      Instruction(
        opcode: Class.st | Mode.mem | type.sizeCode, dst: memory.base, offset: memory.offset, immediate: value),
      from: first)
  }

  // MARK: Atomics

  private mutating func emitAtomic(
    _ operation: Int32, _ sizeCode: UInt8, dst: UInt8, src: UInt8, offset: Int16, from token: AssemblyToken
  ) {
    let opcode = Class.stx | Mode.atomic | sizeCode
    emit(Instruction(opcode: opcode, dst: dst, src: src, offset: offset, immediate: operation), from: token)
  }

  /// The kernel's text has 64-bit register names even with 32-bit accesses; the other way round is an error.
  private func require(_ register: Register, fits type: AccessType) throws(AssemblyError) {
    if type.sizeCode == Size.dw { try require(register, narrow: false) }
  }

  /// `lock *(u64 *)(r1 + 0) += r2`
  private mutating func parseLock(from first: AssemblyToken) throws(AssemblyError) {
    try expect(.star)
    let type = try expectUnsignedAccessType()
    let memory = try expectMemory()
    let operation: Int32
    switch token.kind {
    case .sign(.addAssign): operation = Atomic.add
    case .sign(.orAssign): operation = Atomic.or
    case .sign(.andAssign): operation = Atomic.and
    case .sign(.xorAssign): operation = Atomic.xor
    default: throw unexpected("'+=', '|=', '&=' or '^='")
    }
    at += 1
    let src = try expectRegister()
    try require(src, fits: type)
    emitAtomic(operation, type.sizeCode, dst: memory.base, src: src.number, offset: memory.offset, from: first)
  }

  /// The fetching operations, exchange and compare-exchange, behind the name.
  private mutating func parseFetchingAtomic(
    _ name: String, _ place: AssemblyToken, to dst: Register
  ) throws(AssemblyError) {
    guard let form = AtomicForm(name) else { throw AssemblyError(.unknownOperation(name), at: place.position) }
    try expect(.openParenthesis)
    let sizeCode: UInt8
    let memory: Memory
    if let fixed = form.fixedSize {
      sizeCode = fixed
      memory = try expectAddress()
      try require(dst, narrow: fixed == Size.w)
    } else {
      let type = try expectUnsignedAccessType()
      if form.needs64, type.sizeCode != Size.dw {
        throw AssemblyError(.expected("'u64'", found: "'\(text(of: type.token))'"), at: type.token.position)
      }
      sizeCode = type.sizeCode
      memory = try expectMemory()
      try require(dst, fits: type)
    }
    try expect(.comma)
    if form.operation == Atomic.cmpxchg {
      guard dst.number == 0 else {
        throw AssemblyError(.registersDiffer("r0", text(of: dst.token)), at: dst.token.position)
      }
      let expected = try expectRegister()
      try require(expected, sameAs: dst)
      try expect(.comma)
    }
    let src = try expectRegister()
    if form.operation == Atomic.cmpxchg {
      try require(src, narrow: dst.narrow)
    } else {
      try require(src, sameAs: dst)
    }
    try expect(.closeParenthesis)
    emitAtomic(
      form.operation, sizeCode, dst: memory.base, src: src.number, offset: memory.offset, from: dst.token)
  }

  /// `load_acquire((u32 *)(r2 + 0))`
  private mutating func parseLoadAcquire(to dst: Register) throws(AssemblyError) {
    try expect(.openParenthesis)
    let type = try expectUnsignedAccessType()
    let memory = try expectMemory()
    try expect(.closeParenthesis)
    try require(dst, fits: type)
    emitAtomic(
      Atomic.loadAcquire, type.sizeCode, dst: dst.number, src: memory.base, offset: memory.offset, from: dst.token)
  }

  /// `store_release((u32 *)(r1 + 0), w2)`
  private mutating func parseStoreRelease(from first: AssemblyToken) throws(AssemblyError) {
    try expect(.openParenthesis)
    let type = try expectUnsignedAccessType()
    let memory = try expectMemory()
    try expect(.comma)
    let src = try expectRegister()
    try expect(.closeParenthesis)
    try require(src, fits: type)
    emitAtomic(
      Atomic.storeRelease, type.sizeCode, dst: memory.base, src: src.number, offset: memory.offset, from: first)
  }

  // MARK: Jumps

  /// `if r1 s> 5 goto label`
  private mutating func parseConditionalJump(from first: AssemblyToken) throws(AssemblyError) {
    let dst = try expectRegister()
    guard case .sign(let sign) = token.kind, let comparison = sign.comparison else {
      throw unexpected("a comparison")
    }
    at += 1
    var instruction = Instruction(opcode: (dst.narrow ? Class.jmp32 : Class.jmp) | comparison, dst: dst.number)
    if let src = try register(token) {
      at += 1
      try require(src, narrow: dst.narrow)
      instruction.opcode |= Source.x
      instruction.src = Int(src.number)
    } else {
      instruction.immediate = try immediate(try expectConstant())
    }
    try expect(word: "goto")
    try parseJump(instruction, .offset, from: first)
  }

  /// Where a jump goes: `+3`, `pc+3` or a label.
  private mutating func parseJump(
    _ instruction: Instruction, _ field: Fixup.Field, from first: AssemblyToken
  ) throws(AssemblyError) {
    var instruction = instruction
    if try takeDistanceMark() {
      let distance = try expectConstant()
      if case .immediate = field {
        instruction.immediate = try signedImmediate(distance)
      } else {
        instruction.offset = try offset(distance)
      }
    } else if let target = target(token) {
      fixups.append(Fixup(slot: nextSlot, field: field, target: target, token: token))
      at += 1
    } else {
      throw unexpected("a label or a distance")
    }
    emit(instruction, from: first)
  }

  /// Whether a distance follows and not a label. Takes the `pc` in front of it.
  private mutating func takeDistanceMark() throws(AssemblyError) -> Bool {
    switch token.kind {
    case .number, .sign(.plus), .sign(.minus): return true
    case .word:
      guard following.kind == .sign(.plus) || following.kind == .sign(.minus) else { return false }
      return accept(word: "pc")
    default: return false
    }
  }

  private func signedImmediate(_ constant: Constant) throws(AssemblyError) -> Int32 {
    let value = try immediate(constant)
    guard (value < 0) == constant.negative else {
      throw AssemblyError(.immediateOutOfRange("\(constant)"), at: constant.position)
    }
    return value
  }

  /// `call 6`, `call NAME`, `call NAME#6`, `call pc+3`
  private mutating func parseCall(from first: AssemblyToken) throws(AssemblyError) {
    let place = token
    switch place.kind {
    case .number, .sign(.plus), .sign(.minus):
      emit(Instruction(opcode: Opcode.call, immediate: try immediate(try expectConstant())), from: first)
      return
    case .localLabel: break
    case .word:
      if try takeDistanceMark() {
        let distance = try signedImmediate(try expectConstant())
        emit(Instruction(opcode: Opcode.call, src: PseudoSource.call, immediate: distance), from: first)
        return
      }
      if following.kind == .callNumber {
        try parseNumberedCall(from: first)
        return
      }
    default: throw unexpected("a function")
    }
    guard let target = target(place) else { throw unexpected("a function") }
    at += 1
    fixups.append(Fixup(slot: nextSlot, field: .call, target: target, token: place))
    emit(Instruction(opcode: Opcode.call, src: PseudoSource.call), from: first)
  }

  /// `call NAME#6`: the name says what kind of function it is, the number which.
  private mutating func parseNumberedCall(from first: AssemblyToken) throws(AssemblyError) {
    let place = token
    let name = text(of: place)
    at += 2
    let number = try immediate(try expectConstant())
    switch name {
    case "unknown": emit(Instruction(call: .helper(number)), from: first)
    case "kernel-function": emit(Instruction(call: .kernelFunction(typeID: number, module: 0)), from: first)
    default:
      switch assembler.callTarget(name) {
      case .helper: emit(Instruction(call: .helper(number)), from: first)
      case .kernelFunction(_, let module):
        emit(Instruction(call: .kernelFunction(typeID: number, module: module)), from: first)
      case nil: throw AssemblyError(.unknownSymbol(name), at: place.position)
      }
    }
  }
}

/// The name of an atomic operation that returns the old value.
private struct AtomicForm {
  var operation: Int32
  /// The width, when the name has it and no type follows (`xchg_64(r1 + 0, r2)`).
  var fixedSize: UInt8?
  /// The kernel's `atomic64_`: the type must be of 64 bits.
  var needs64 = false

  init?(_ name: String) {
    switch name {
    case "xchg_64": self.init(operation: Atomic.xchg, fixedSize: Size.dw)
    case "xchg32_32": self.init(operation: Atomic.xchg, fixedSize: Size.w)
    case "cmpxchg_64": self.init(operation: Atomic.cmpxchg, fixedSize: Size.dw)
    case "cmpxchg32_32": self.init(operation: Atomic.cmpxchg, fixedSize: Size.w)
    default:
      let needs64 = name.hasPrefix("atomic64_")
      guard needs64 || name.hasPrefix("atomic_") else { return nil }
      let operation: Int32
      switch name.dropFirst(needs64 ? 9 : 7) {
      case "fetch_add": operation = Atomic.add | Atomic.fetch
      case "fetch_or": operation = Atomic.or | Atomic.fetch
      case "fetch_and": operation = Atomic.and | Atomic.fetch
      case "fetch_xor": operation = Atomic.xor | Atomic.fetch
      case "xchg": operation = Atomic.xchg
      case "cmpxchg": operation = Atomic.cmpxchg
      default: return nil
      }
      self.init(operation: operation, needs64: needs64)
    }
  }

  private init(operation: Int32, fixedSize: UInt8? = nil, needs64: Bool = false) {
    self.operation = operation
    self.fixedSize = fixedSize
    self.needs64 = needs64
  }
}
