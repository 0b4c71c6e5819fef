import BPFISA
import BPFLinux
import BTF

/// Makes one random program from one seed.
///
/// It writes statements of a few instructions each, from what it believes registers and stack to hold, so that most
/// of a program makes sense to the verifier. Some programs get mistakes now and then.
struct ProgramGenerator {
  let surroundings: FuzzSurroundings
  let profile: FuzzProfile
  var random: RandomSource
  var code = CodeBuffer()
  var frame = FrameBelief()
  /// Leaves the function from anywhere.
  var leave: CodeBuffer.Label
  /// One statement in that many is wrong on purpose; 0: none is.
  let mistakes: Int
  let hasTypes: Bool
  /// Loops within loops. Where not all is allowed, speculation makes loops as long as may be: there are few then.
  let loopLimit: Int
  var subprograms: [Subprogram] = []
  var currentSubprogram = -1
  var nesting = 0
  var loops = 0
  /// What has to be given back before the function ends.
  var references = 0
  var calls = 0

  struct Subprogram {
    /// Named as `FuzzTypes` names their signatures.
    enum Kind: String {
      case local = "static"
      case global
      case memory
      case present
      case context
      case trusted
      case step
      case element
      case timer
      case drain
      case less

      var isGlobal: Bool {
        switch self {
        case .global, .memory, .present, .context, .trusted: true
        default: false
        }
      }
    }
    let kind: Kind
    let label: CodeBuffer.Label
    let arguments: [Belief]
    /// Whether the frames above it have stack to spare.
    let depth: Int
  }

  private init(_ surroundings: FuzzSurroundings, seed: UInt64, isLimited: Bool) {
    var random = RandomSource(seed: seed)
    profile = random.pick(surroundings.profiles, or: surroundings.profiles[0])
    mistakes = random.chance(50) ? 0 : random.pick([10, 30, 60, 120], or: 60)
    loopLimit = isLimited ? (random.chance(4) ? 1 : 0) : random.chance(15) ? 2 : 1
    hasTypes = random.chance(65)
    leave = code.makeLabel()
    self.surroundings = surroundings
    self.random = random
  }

  /// The program of a seed.
  static func program(
    seed: UInt64, isLimited: Bool, in surroundings: FuzzSurroundings, least: Int
  ) -> (program: Program, isFlawless: Bool, target: String?) {
    var generator = ProgramGenerator(surroundings, seed: seed, isLimited: isLimited)
    return (generator.make(least), generator.mistakes == 0, generator.profile.target?.name)
  }

  /// - Parameter least: slots that the program has at least.
  private mutating func make(_ least: Int) -> Program {
    let length = max(least, random.chance(80) ? random.within(30...80) : random.within(80...220))
    enterMain()
    block(length)
    leaveFunction(exitCode: profile.exitCode)
    var index = 0
    while index < subprograms.count {
      emit(subprogram: index)
      index += 1
    }
    var program = Program(
      name: "random", type: profile.type, expectedAttachType: profile.attachType, instructions: code.resolved())
    program.maps = surroundings.maps
    if let target = profile.target { program.attachBTFID = target.id }
    program.flags = flags()
    if hasTypes {
      program.btf = surroundings.types.btf
      program.functionInfo = functionInfo()
    }
    return program
  }

  private mutating func flags() -> ProgramFlags {
    var flags: ProgramFlags = []
    if random.chance(30) { flags.insert(.testStateFrequency) }
    if random.chance(5) { flags.insert(.strictAlignment) }
    if random.chance(5) { flags.insert(.anyAlignment) }
    if random.chance(5) { flags.insert(.testRandomHigh32) }
    if random.chance(5) { flags.insert(.testRegisterInvariants) }
    if profile.sleepable { flags.insert(.sleepable) }
    return flags
  }

  private func functionInfo() -> [FunctionInfo] {
    let types = surroundings.types.functions
    var records = [FunctionInfo(instructionOffset: 0, typeID: types["main"] ?? 0)]
    for (index, subprogram) in subprograms.enumerated() {
      let type = types["\(subprogram.kind.rawValue)\(index % 6)"] ?? 0
      records.append(
        FunctionInfo(
          instructionOffset: UInt32(truncatingIfNeeded: code.slot(of: subprogram.label)), typeID: type))
    }
    return records
  }

  // MARK: Functions

  private mutating func enterMain() {
    frame.registers[1] = .context
    if random.chance(75) {
      let home = Register(6 + random.below(3))
      code.copy(home, 1)
      frame.registers[Int(home)] = .context
      frame.heldRegisters.insert(home)
    } else if random.chance(80) {
      code.store(Size.dw, 10, -8, 1)
      frame.slots[0] = .context
      frame.heldSlots.insert(0)
    }
  }

  mutating func leaveFunction(exitCode: Int32) {
    let wrong = errs()
    if !wrong || random.chance(50) {
      if random.chance(90) || wrong == false && exitCode != 0 {
        code.move(0, exitCode)
      } else {
        _ = scalar(into: 0)
        code.alu(ALU.and, 0, 1)
      }
    }
    guard code.isUsed(leave) else {
      code.exit()
      return
    }
    if random.chance(50) { code.exit() }
    code.place(leave)
    code.move(0, exitCode)
    code.exit()
  }

  private mutating func emit(subprogram index: Int) {
    let subprogram = subprograms[index]
    currentSubprogram = index
    frame = FrameBelief()
    leave = code.makeLabel()
    nesting = 0
    loops = 0
    for (number, belief) in subprogram.arguments.enumerated() { frame.registers[number + 1] = belief }
    code.place(subprogram.label)
    // Arguments that live longer.
    for number in 1...max(1, subprogram.arguments.count) where random.chance(40) && number < 4 {
      guard frame.registers[number] != .nothing else { continue }
      let home = Register(5 + number)
      code.copy(home, Register(number))
      frame.registers[Int(home)] = frame.registers[number]
    }
    prologue(subprogram.kind)
    block(random.within(4...18))
    leaveFunction(exitCode: random.pick([0, 0, 1], or: 0))
  }

  // MARK: Statements

  mutating func errs() -> Bool { mistakes > 0 && random.below(mistakes) == 0 }

  /// Statements of about `length` instructions in all.
  mutating func block(_ length: Int) {
    let end = code.count + length
    while code.count < end { statement(within: end - code.count) }
  }

  private mutating func statement(within length: Int) {
    if errs() {
      mistake()
      return
    }
    switch random.below(112) {
    case 100..<107 where nesting < 4: objectStatement(within: length)
    case 107..<110: correlate()
    case 110..<112: packetHeader()
    case 0..<22: arithmetic()
    case 22..<28: move()
    case 28..<34: loadContext()
    case 34..<46: stackAccess()
    case 46..<58 where nesting < 4: conditional(within: length)
    case 58..<64 where nesting < 4: lookup(within: length)
    case 64..<69: useMemory()
    case 69..<75: packetAccess(within: length)
    case 75..<82: helperCall()
    case 82..<85: callSubprogram()
    case 85..<88 where nesting < 4 && loops < loopLimit: loop(within: length)
    case 88..<89: tailCall()
    case 89..<91: legacyLoad()
    case 91..<93 where nesting < 4: ringbufRecord(within: length)
    case 93..<95 where nesting < 4: dynptr(within: length)
    case 95..<96 where nesting < 3 && loops < loopLimit: iterator(within: length)
    case 96..<97 where nesting < 3: region(within: length)
    case 97..<98: directValue()
    case 98..<99: correlate()
    default: socketField()
    }
  }

  // MARK: Registers

  /// A register that may be overwritten.
  mutating func destination(among choices: ClosedRange<Int> = 0...9) -> Register {
    var chosen = Register(random.within(choices))
    for _ in 0..<6 {
      chosen = Register(random.within(choices))
      if frame.heldRegisters.contains(chosen) { continue }
      let belief = frame.registers[Int(chosen)]
      if belief == .nothing || belief.isScalar || random.chance(20) { return chosen }
    }
    for candidate in choices where !frame.heldRegisters.contains(Register(candidate)) { return Register(candidate) }
    return chosen
  }

  /// One that calls leave alone.
  mutating func longLivedDestination() -> Register { destination(among: 6...9) }

  mutating func register(where isWanted: (Belief) -> Bool) -> Register? {
    let found = frame.registers.indices.filter { isWanted(frame.registers[$0]) }
    return found.isEmpty ? nil : Register(found[random.below(found.count)])
  }

  /// A register with a number in it, made where there is none.
  mutating func anyScalar() -> Register {
    if random.chance(90), let found = register(where: { $0.isScalar }) { return found }
    return scalar(into: destination())
  }

  /// A scalar that may be overwritten.
  mutating func ownScalar() -> Register {
    if random.chance(85),
      let found = register(where: { $0.isScalar }), !frame.heldRegisters.contains(found)
    {
      return found
    }
    return scalar(into: destination())
  }

  /// Puts some number into `register`.
  @discardableResult
  mutating func scalar(into register: Register, mayCall: Bool = false) -> Register {
    var limit: Int?
    switch random.below(10) {
    case 0..<3:
      let value = immediate()
      if random.chance(75) {
        code.move(register, value)
        if value >= 0 { limit = Int(value) }
      } else {
        code.alu(ALU.mov, register, value, wide: false)
      }
    case 3:
      let value = random.pick(InterestingNumber.longs, or: 0)
      code.wide(register, Int32(truncatingIfNeeded: value), Int32(truncatingIfNeeded: value >> 32))
    case 4..<8:
      if let context = contextRegister(), let field = profile.fields.randomField(&random) {
        code.load(field.size == 8 ? Size.dw : Size.w, register, context, field.offset)
      } else {
        code.move(register, immediate())
      }
    default:
      if mayCall && frame.heldRegisters.isDisjoint(with: 0...5) && register != 0 {
        code.call(random.pick([7, 5, 8], or: 7))
        frame.forgetCallerSaved()
        frame.registers[0] = .scalar(limit: nil)
        code.copy(register, 0)
      } else {
        code.move(register, immediate())
      }
    }
    frame.registers[Int(register)] = .scalar(limit: limit)
    return register
  }

  mutating func immediate() -> Int32 {
    switch random.below(10) {
    case 0..<5: random.pick(InterestingNumber.immediates, or: 0)
    case 5..<9: Int32(random.within(-20...70))
    default: Int32(truncatingIfNeeded: random.next())
    }
  }

  /// Where the context is, filled from the stack where it was put there.
  mutating func contextRegister() -> Register? {
    if let found = register(where: { $0 == .context }) { return found }
    guard let slot = frame.slots.firstIndex(of: .context) else { return nil }
    let home = destination(among: 6...9)
    code.load(Size.dw, home, 10, -8 * (slot + 1))
    frame.registers[Int(home)] = .context
    return home
  }

  mutating func set(_ register: Register, _ belief: Belief) {
    frame.registers[Int(register)] = belief
  }

  mutating func hold(_ register: Register, during body: (inout ProgramGenerator) -> Void) {
    let isNew = frame.heldRegisters.insert(register).inserted
    body(&self)
    if isNew { frame.heldRegisters.remove(register) }
  }

  mutating func called(_ result: Belief) {
    frame.forgetCallerSaved()
    frame.registers[0] = result
  }
}

extension [FuzzProfile.Field] {
  func randomField(_ random: inout RandomSource, writable: Bool = false) -> FuzzProfile.Field? {
    let fields = writable ? filter(\.writable) : self
    return fields.isEmpty ? nil : fields[random.below(fields.count)]
  }
}
