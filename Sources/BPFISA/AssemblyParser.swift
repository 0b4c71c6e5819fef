/// Reads the tokens of a text and collects its instructions. Statements are in `AssemblyParser+Statements.swift`.
struct AssemblyParser {
  /// A register as written.
  struct Register {
    var number: UInt8
    /// Written with `w`: the low 32 bits.
    var narrow: Bool
    var token: AssemblyToken
  }

  /// `*(u32 *)`: the width of an access.
  struct AccessType {
    var sizeCode: UInt8
    var signed: Bool
    var token: AssemblyToken
  }

  /// `(r1 + 4)`
  struct Memory {
    var base: UInt8
    var offset: Int16
  }

  /// A number of up to 64 bits, of either sign.
  struct Constant: CustomStringConvertible {
    var negative: Bool
    var magnitude: UInt64
    var position: SourcePosition

    var description: String { (negative ? "-" : "") + String(magnitude) }
  }

  /// A place in an instruction that depends on a label.
  struct Fixup {
    enum Target {
      case named(String)
      /// The place in the list of the definitions of numeric label `number`.
      case numeric(UInt64, definition: Int)
    }

    enum Field {
      /// The offset of a jump.
      case offset
      /// The immediate of a long jump.
      case immediate
      /// A call: of a subprogram if there is such a label.
      case call
      /// The address of a subprogram.
      case address
    }

    var slot: Int
    var field: Field
    var target: Target
    var token: AssemblyToken
  }

  let text: [UInt8]
  let assembler: Assembler
  var tokens: [AssemblyToken] = []
  var at = 0
  /// The opcode in front of the statement.
  var writtenOpcode: UInt8?
  var fixups: [Fixup] = []

  private var numericLabels: [UInt64: [Int]] = [:]
  private var result = Assembly()

  init(text: [UInt8], assembler: Assembler) {
    self.text = text
    self.assembler = assembler
  }

  mutating func parse() throws(AssemblyError) -> Assembly {
    tokens = try AssemblyLexer.tokens(of: text)
    while at < tokens.count { try parseStatement() }
    for fixup in fixups { try resolve(fixup) }
    return result
  }

  private mutating func parseStatement() throws(AssemblyError) {
    while try takeLabel() {}
    let first = token
    writtenOpcode = nil
    if case .opcode(let opcode) = first.kind {
      writtenOpcode = opcode
      at += 1
    }
    if writtenOpcode == nil, first.kind == .end {
      at += 1
      return
    }
    let slot = nextSlot
    try parseInstruction()
    guard token.kind == .end else { throw unexpected("the end of the statement") }
    at += 1
    if let writtenOpcode, slot < nextSlot, result.instructions[slot].opcode != writtenOpcode {
      let assembled = result.instructions[slot].opcode
      throw AssemblyError(.opcodeMismatch(written: writtenOpcode, assembled: assembled), at: first.position)
    }
  }

  private mutating func takeLabel() throws(AssemblyError) -> Bool {
    guard at + 1 < tokens.count, tokens[at + 1].kind == .sign(.colon) else { return false }
    switch token.kind {
    case .word:
      let name = text(of: token)
      guard result.labels.updateValue(nextSlot, forKey: name) == nil else {
        throw AssemblyError(.duplicateLabel(name), at: token.position)
      }
    case .number(let number):
      numericLabels[number, default: []].append(nextSlot)
    default: return false
    }
    at += 2
    return true
  }

  // MARK: Emitting

  var nextSlot: Int { result.instructions.count }

  mutating func emit(_ instruction: Instruction, from token: AssemblyToken) {
    result.instructions.append(instruction)
    result.lines.append(token.position.line)
  }

  /// Emits both slots of a 64-bit immediate load.
  mutating func emitWide(
    _ dst: UInt8, source: UInt8, low: Int32, high: Int32, from token: AssemblyToken
  ) {
    emit(Instruction(opcode: Opcode.loadImmediate64, dst: dst, src: source, immediate: low), from: token)
    emit(Instruction(opcode: 0, immediate: high), from: token)
  }

  func target(_ token: AssemblyToken) -> Fixup.Target? {
    switch token.kind {
    case .word: return .named(text(of: token))
    case .localLabel(let number, let forward):
      let defined = numericLabels[number]?.count ?? 0
      return .numeric(number, definition: forward ? defined : defined - 1)
    default: return nil
    }
  }

  private mutating func resolve(_ fixup: Fixup) throws(AssemblyError) {
    guard let slot = slot(of: fixup.target) else {
      try resolveOutside(fixup)
      return
    }
    let distance = slot - (fixup.slot + 1)
    switch fixup.field {
    case .offset:
      guard let offset = Int16(exactly: distance) else {
        throw AssemblyError(.jumpOutOfRange(text(of: fixup.token)), at: fixup.token.position)
      }
      result.instructions[fixup.slot].offset = offset
    case .immediate, .call, .address:
      guard let immediate = Int32(exactly: distance) else {
        throw AssemblyError(.jumpOutOfRange(text(of: fixup.token)), at: fixup.token.position)
      }
      result.instructions[fixup.slot].immediate = immediate
    }
  }

  private func slot(of target: Fixup.Target) -> Int? {
    switch target {
    case .named(let name): return result.labels[name]
    case .numeric(let number, let definition):
      guard let slots = numericLabels[number], slots.indices.contains(definition) else { return nil }
      return slots[definition]
    }
  }

  private mutating func resolveOutside(_ fixup: Fixup) throws(AssemblyError) {
    let name = text(of: fixup.token)
    switch fixup.field {
    case .offset, .immediate: throw AssemblyError(.undefinedLabel(name), at: fixup.token.position)
    case .address: throw AssemblyError(.unknownSymbol(name), at: fixup.token.position)
    case .call:
      guard case .named = fixup.target, let target = assembler.callTarget(name) else {
        throw AssemblyError(.unknownSymbol(name), at: fixup.token.position)
      }
      result.instructions[fixup.slot] = Instruction(call: target)
    }
  }

  // MARK: Tokens

  /// The next token. The last one is always an end, which no statement reads past.
  var token: AssemblyToken { tokens[Swift.min(at, tokens.count - 1)] }

  var following: AssemblyToken { tokens[Swift.min(at + 1, tokens.count - 1)] }

  func text(of token: AssemblyToken) -> String {
    String(decoding: text[token.start..<token.end], as: UTF8.self)
  }

  func unexpected(_ wanted: String) -> AssemblyError {
    let found = token.kind == .end ? "the end of the statement" : "'\(text(of: token))'"
    return AssemblyError(.expected(wanted, found: found), at: token.position)
  }

  mutating func accept(_ sign: AssemblySign) -> Bool {
    guard token.kind == .sign(sign) else { return false }
    at += 1
    return true
  }

  mutating func expect(_ sign: AssemblySign) throws(AssemblyError) {
    guard accept(sign) else { throw unexpected("'\(sign.rawValue)'") }
  }

  mutating func accept(word: String) -> Bool {
    guard token.kind == .word, text[token.start..<token.end].elementsEqual(word.utf8) else { return false }
    at += 1
    return true
  }

  mutating func expect(word: String) throws(AssemblyError) {
    guard accept(word: word) else { throw unexpected("'\(word)'") }
  }

  // MARK: Operands

  /// Whether a token names a register; nil if it is another word.
  func register(_ token: AssemblyToken) throws(AssemblyError) -> Register? {
    guard token.kind == .word, (2...4).contains(token.end - token.start) else { return nil }
    let kind = text[token.start] | 0x20
    guard kind == UInt8(ascii: "r") || kind == UInt8(ascii: "w") else { return nil }
    var number = 0
    for digit in text[(token.start + 1)..<token.end] {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
      number = number * 10 + Int(digit - UInt8(ascii: "0"))
    }
    guard number < 16 else { throw AssemblyError(.invalidRegister(text(of: token)), at: token.position) }
    return Register(number: UInt8(number), narrow: kind == UInt8(ascii: "w"), token: token)
  }

  mutating func expectRegister() throws(AssemblyError) -> Register {
    guard let register = try register(token) else { throw unexpected("a register") }
    at += 1
    return register
  }

  /// A register of 64 bits: an address, or what has no 32-bit form.
  mutating func expectWideRegister() throws(AssemblyError) -> Register {
    let register = try expectRegister()
    try require(register, narrow: false)
    return register
  }

  func require(_ register: Register, narrow: Bool) throws(AssemblyError) {
    guard register.narrow == narrow else {
      throw AssemblyError(.registerWidth(text(of: register.token)), at: register.token.position)
    }
  }

  /// The second place that names a register must name the same one.
  func require(_ second: Register, sameAs first: Register) throws(AssemblyError) {
    guard second.number == first.number, second.narrow == first.narrow else {
      throw AssemblyError(
        .registersDiffer(text(of: first.token), text(of: second.token)), at: second.token.position)
    }
  }

  /// A sum of numbers and named constants.
  mutating func expectConstant() throws(AssemblyError) -> Constant {
    let position = token.position
    var sum = try expectTerm()
    while token.kind == .sign(.plus) || token.kind == .sign(.minus) {
      let subtracts = token.kind == .sign(.minus)
      at += 1
      var term = try expectTerm()
      term.negative = term.negative != subtracts
      sum = try add(sum, term)
    }
    sum.position = position
    return sum
  }

  private mutating func expectTerm() throws(AssemblyError) -> Constant {
    let position = token.position
    var negative = false
    while true {
      if accept(.minus) {
        negative.toggle()
      } else if !accept(.plus) {
        break
      }
    }
    let place = token
    switch place.kind {
    case .number(let value):
      at += 1
      return Constant(negative: negative && value != 0, magnitude: value, position: position)
    case .word:
      let name = text(of: place)
      guard let value = assembler.constant(name) else {
        throw AssemblyError(.unknownSymbol(name), at: place.position)
      }
      at += 1
      return Constant(negative: (value < 0) != negative && value != 0, magnitude: value.magnitude, position: position)
    default: throw unexpected("a number")
    }
  }

  private func add(_ left: Constant, _ right: Constant) throws(AssemblyError) -> Constant {
    if left.negative == right.negative {
      let (sum, overflow) = left.magnitude.addingReportingOverflow(right.magnitude)
      guard !overflow else {
        throw AssemblyError(.immediateOutOfRange("\(left) + \(right)"), at: right.position)
      }
      return Constant(negative: left.negative, magnitude: sum, position: left.position)
    }
    let leftWins = left.magnitude >= right.magnitude
    let difference = leftWins ? left.magnitude - right.magnitude : right.magnitude - left.magnitude
    let negative = (leftWins ? left.negative : right.negative) && difference != 0
    return Constant(negative: negative, magnitude: difference, position: left.position)
  }

  /// 32 bits, signed or not: `-1` and `0xffffffff` are the same immediate.
  func immediate(_ constant: Constant) throws(AssemblyError) -> Int32 {
    let limit: UInt64 = constant.negative ? 1 << 31 : UInt64(UInt32.max)
    guard constant.magnitude <= limit else {
      throw AssemblyError(.immediateOutOfRange("\(constant)"), at: constant.position)
    }
    return Int32(truncatingIfNeeded: bits(constant))
  }

  func wideImmediate(_ constant: Constant) throws(AssemblyError) -> UInt64 {
    guard !constant.negative || constant.magnitude <= 1 << 63 else {
      throw AssemblyError(.immediateOutOfRange("\(constant)"), at: constant.position)
    }
    return bits(constant)
  }

  func offset(_ constant: Constant) throws(AssemblyError) -> Int16 {
    let limit: UInt64 = constant.negative ? 1 << 15 : 1 << 15 - 1
    guard constant.magnitude <= limit else {
      throw AssemblyError(.offsetOutOfRange("\(constant)"), at: constant.position)
    }
    return Int16(truncatingIfNeeded: bits(constant))
  }

  private func bits(_ constant: Constant) -> UInt64 {
    constant.negative ? 0 &- constant.magnitude : constant.magnitude
  }

  /// `(u32 *)`
  mutating func expectAccessType() throws(AssemblyError) -> AccessType {
    try expect(.openParenthesis)
    let name = token
    guard name.kind == .word else { throw unexpected("a type") }
    let type: AccessType
    switch text(of: name) {
    case "u8": type = AccessType(sizeCode: Size.b, signed: false, token: name)
    case "u16": type = AccessType(sizeCode: Size.h, signed: false, token: name)
    case "u32": type = AccessType(sizeCode: Size.w, signed: false, token: name)
    case "u64": type = AccessType(sizeCode: Size.dw, signed: false, token: name)
    case "s8": type = AccessType(sizeCode: Size.b, signed: true, token: name)
    case "s16": type = AccessType(sizeCode: Size.h, signed: true, token: name)
    case "s32": type = AccessType(sizeCode: Size.w, signed: true, token: name)
    default: throw unexpected("a type")
    }
    at += 1
    try expect(.star)
    try expect(.closeParenthesis)
    return type
  }

  mutating func expectUnsignedAccessType() throws(AssemblyError) -> AccessType {
    let type = try expectAccessType()
    guard !type.signed else {
      throw AssemblyError(.expected("an unsigned type", found: "'\(text(of: type.token))'"), at: type.token.position)
    }
    return type
  }

  /// `(r1 + 4)`, with the number optional.
  mutating func expectMemory() throws(AssemblyError) -> Memory {
    try expect(.openParenthesis)
    let memory = try expectAddress()
    try expect(.closeParenthesis)
    return memory
  }

  /// `r1 + 4`, with the number optional.
  mutating func expectAddress() throws(AssemblyError) -> Memory {
    let base = try expectWideRegister()
    guard token.kind == .sign(.plus) || token.kind == .sign(.minus) else {
      return Memory(base: base.number, offset: 0)
    }
    return Memory(base: base.number, offset: try offset(try expectConstant()))
  }
}

extension Instruction {
  init(call target: Assembler.CallTarget) {
    switch target {
    case .helper(let number):
      self.init(opcode: Opcode.call, immediate: number)
    case .kernelFunction(let typeID, let module):
      self.init(opcode: Opcode.call, src: PseudoSource.kfuncCall, offset: module, immediate: typeID)
    }
  }
}
