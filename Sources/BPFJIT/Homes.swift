/// A register of the machine, by number.
typealias Register = UInt8

/// What the allocation of registers must know of a machine.
struct RegisterFile {
  /// All that code may use.
  var usable: UInt32
  /// Those that a call changes.
  var clobbered: UInt32
  /// Those that variables may live in; the rest is for what a block computes.
  var homes: UInt32
  /// r1 to r5 and the run, where functions take them.
  var arguments: [Register]
  var result: Register
}

/// Where the variables of a function live between blocks: a register, or a place in the frame.
struct Homes {
  /// -1: not in a register.
  var register = InlineArray<64, Int8>(repeating: -1)
  /// Number of the place in the frame; -1: none.
  var slot = InlineArray<64, Int32>(repeating: -1)
  var slotCount: Int32 = 0

  /// Variables with more weight choose first; two that are never live at once may share a register.
  init(_ graph: FlowGraph, _ file: RegisterFile, callsIn hasCall: (Int32) -> Bool) {
    var weights = InlineArray<64, Int>(repeating: 0)
    var crossing = InlineArray<64, Int>(repeating: 0)
    var conflicts = InlineArray<64, VariableSet>(repeating: 0)
    var used: VariableSet = 0
    for index in 0..<graph.order.count {
      let number = graph.order[index]
      let block = graph.blocks[number]
      var live = block.liveIn
      used |= live | block.liveOut
      while live != 0 {
        let variable = live.trailingZeroBitCount
        live &= live - 1
        conflicts[variable] |= block.liveIn
        if block.reads >> VariableSet(variable) & 1 != 0 { weights[variable] += block.weight }
      }
      // Whatever may be needed next is brought home before the block ends, wherever it goes then.
      live = block.liveOut
      while live != 0 {
        conflicts[live.trailingZeroBitCount] |= block.liveOut
        live &= live - 1
      }
      var written = block.writes & block.liveOut
      while written != 0 {
        let variable = written.trailingZeroBitCount
        written &= written - 1
        weights[variable] += block.weight
      }
      if hasCall(number) {
        var across = block.liveIn & block.liveOut
        while across != 0 {
          let variable = across.trailingZeroBitCount
          across &= across - 1
          crossing[variable] += block.weight
        }
      }
    }
    var order: [Variable] = []
    for variable in 0..<64 where used >> VariableSet(variable) & 1 != 0 { order.append(variable) }
    order.sort { weights[$0] > weights[$1] }
    for variable in order {
      var taken: UInt32 = 0
      for other in 0..<64 where conflicts[variable] >> VariableSet(other) & 1 != 0 && register[other] >= 0 {
        taken |= 1 << UInt32(register[other])
      }
      let free = file.homes & ~taken
      let hint = Homes.hint(variable, file)
      var choice: UInt32 = 0
      if crossing[variable] > 0 {
        choice = free & ~file.clobbered
        if choice == 0 && weights[variable] > 2 * crossing[variable] { choice = free }
        if choice != 0 && weights[variable] < 3 && variable >= firstFreeVariable { choice = 0 }
      } else {
        let cheap = free & file.clobbered
        choice = cheap != 0 ? cheap : weights[variable] > 2 || variable < firstFreeVariable ? free : 0
      }
      if let hint, choice >> UInt32(hint) & 1 != 0 {
        register[variable] = Int8(hint)
      } else if choice != 0 {
        // Not those that calls pass arguments in, where there are others.
        var rest = choice & ~Homes.argumentSet(file)
        if rest == 0 { rest = choice }
        register[variable] = Int8(rest.trailingZeroBitCount)
      } else {
        slot[variable] = slotCount
        slotCount += 1
      }
    }
  }

  private static func argumentSet(_ file: RegisterFile) -> UInt32 {
    file.arguments.reduce(1 << UInt32(file.result)) { $0 | 1 << UInt32($1) }
  }

  private static func hint(_ variable: Variable, _ file: RegisterFile) -> Register? {
    switch variable {
    case 0: file.result
    case 1...5: file.arguments[variable - 1]
    case runVariable: file.arguments[5]
    default: nil
    }
  }
}
