/// A way out of the middle of a region: moves that bring variables home, out of the way of the code that stays.
struct SideExit {
  struct Value: BitwiseCopyable {
    enum Source: BitwiseCopyable {
      case register(Register)
      case slot(Int32)
      case constant(UInt64)
      case frame(Int64)
    }
    /// Where it goes: a register, or -1 and a place in the frame.
    var home: Int8
    var homeSlot: Int32
    var source: Source
    var offset: Int32
    var width: UInt8
  }

  var label: Int32
  var target: Int32
  var values: [Value]
}

extension ProgramCompiler {
  /// Leaves the region where the exit's condition holds.
  mutating func exit(_ index: Int32, _ homes: Homes, _ labels: Int32) {
    let node = builder.nodes[index]
    let first = Int(node.immediate >> 32)
    let target = Int32(truncatingIfNeeded: node.immediate)
    let entries = first..<first + Int(node.size)
    // Values that lie where another variable is brought home to have to be in registers.
    let writesFrame = entries.contains { index in
      let entry = builder.exits[index]
      return homes.register[Int(entry.variable)] < 0 && !isAtHome(entry)
    }
    if writesFrame {
      for index in entries {
        let entry = builder.exits[index]
        let saved = backend.state.saved[entry.node]
        guard backend.state.place[entry.node] < 0, saved >= 0, saved < homes.slotCount, !isAtHome(entry) else {
          continue
        }
        _ = backend.use(entry.node)
      }
    }
    let condition = Condition(rawValue: node.scale) ?? .equal
    let jump = backend.compare(condition, width: node.width, node.a, node.b)
    var values: [SideExit.Value] = []
    for index in entries {
      let entry = builder.exits[index]
      let home = homes.register[Int(entry.variable)]
      let place = backend.state.place[entry.node]
      let it = builder.nodes[entry.node]
      let isPlaced = home >= 0 ? place == home && entry.width == 0 : isAtHome(entry)
      if !isPlaced {
        let source: SideExit.Value.Source =
          if place >= 0 {
            .register(Register(place))
          } else if it.operation == .constant {
            .constant(UInt64(bitPattern: it.immediate))
          } else if it.operation == .frame {
            .frame(it.immediate)
          } else {
            .slot(max(0, backend.state.saved[entry.node]))
          }
        values.append(
          SideExit.Value(
            home: home, homeSlot: homes.slot[Int(entry.variable)], source: source, offset: entry.offset,
            width: entry.width))
      }
    }
    for index in entries { backend.consume(builder.exits[index].node) }
    if values.isEmpty {
      backend.layout.append(.conditionalJump, target: labels + target, argument: jump)
    } else {
      let label = backend.layout.makeLabels(1)
      backend.layout.append(.conditionalJump, target: label, argument: jump)
      exits.append(SideExit(label: label, target: target, values: values))
    }
  }

  /// The variable still is where it lives, in the frame.
  private func isAtHome(_ entry: ExitValue) -> Bool {
    let it = builder.nodes[entry.node]
    return entry.width == 0 && it.operation == .variable && it.immediate == Int64(entry.variable)
  }

  /// The code of the side exits of a function.
  mutating func emitExits(_ labels: Int32) {
    for exit in exits {
      backend.layout.define(exit.label)
      // Places in the frame first, while all registers are as they were.
      for value in exit.values where value.home < 0 { store(value) }
      var sources = InlineArray<32, Int8>(repeating: -1)
      for value in exit.values where value.home >= 0 {
        backend.state.touched |= 1 << UInt32(value.home)
        if case .register(let register) = value.source { sources[Int(value.home)] = Int8(register) }
      }
      backend.moveTogether(sources)
      for value in exit.values where value.home >= 0 {
        let home = Register(value.home)
        switch value.source {
        case .register: break
        case .slot(let slot): backend.loadSlot(home, slot)
        case .constant(let constant): backend.loadConstant(home, constant)
        case .frame(let offset): backend.frameAddress(home, offset)
        }
        add(value, to: home)
      }
      backend.layout.append(.jump, target: labels + exit.target)
    }
    exits.removeAll()
  }

  private mutating func add(_ value: SideExit.Value, to register: Register) {
    guard value.width != 0 else { return }
    backend.addConstant(register, value.offset, width: value.width)
  }

  /// Brings a value home to the frame without a free register: one is borrowed.
  private mutating func store(_ value: SideExit.Value) {
    if case .register(let register) = value.source, value.width == 0 {
      return backend.storeSlot(value.homeSlot, register)
    }
    let borrowed = backend.borrow()
    switch value.source {
    case .register(let register): backend.move(borrowed, register)
    case .slot(let slot): backend.loadSlot(borrowed, slot)
    case .constant(let constant): backend.loadConstant(borrowed, constant)
    case .frame(let offset): backend.frameAddress(borrowed, offset)
    }
    add(value, to: borrowed)
    backend.storeSlot(value.homeSlot, borrowed)
    backend.giveBack(borrowed)
  }
}
