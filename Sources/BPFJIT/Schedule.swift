/// In which order the nodes of a block are computed, and which are part of another's instruction.
///
/// What has no effect is computed just before its first use, loads before the next store at the latest: values live
/// shortly, and an addition to a variable happens once the old value is no longer asked for.
struct Schedule {
  enum State: UInt8 {
    case waiting, placed
    /// An operand of the one node that uses it, in memory.
    case folded
  }

  var order = Pool<Int32>(capacity: 1024)
  var states = Pool<UInt8>(capacity: 1024)
  private var pendingLoads = Pool<Int32>()
  /// Variables and what they are to hold where the block ends.
  var finals = Pool<(variable: Int32, node: Int32)>(capacity: 64)

  func release() {
    order.release()
    states.release()
    pendingLoads.release()
    finals.release()
  }

  /// Counts uses, and makes additions part of the addresses they compute.
  mutating func countUses(_ builder: inout BlockBuilder, keepsFlagOperands: Bool = true) {
    let nodes = builder.nodes
    for index in 0..<finals.count { nodes[finals[index].node].uses += 1 }
    if builder.left >= 0 {
      nodes[builder.left].uses += 1
      nodes[builder.right].uses += 1
    }
    if builder.returned >= 0 { nodes[builder.returned].uses += 1 }
    var index = nodes.count - 1
    while index >= 0 {
      defer { index -= 1 }
      var node = nodes[index]
      guard node.hasEffect || node.uses > 0 else { continue }
      if node.isMemoryAccess && !(node.operation == .atomic && node.c >= 0) {
        foldAddress(nodes, &node)
        nodes[index] = node
      } else if node.operation == .add {
        foldAddition(nodes, &node)
        nodes[index] = node
      }
      if node.a >= 0 { nodes[node.a].uses += 1 }
      if node.b >= 0 { nodes[node.b].uses += 1 }
      if node.operation == .exit {
        let first = Int(node.immediate >> 32)
        for index in first..<first + Int(node.size) { nodes[builder.exits[index].node].uses += 1 }
      } else if node.hasArguments {
        for argument in 0..<6 {
          let it = builder.arguments[node.c + Int32(argument)]
          if it >= 0 { nodes[it].uses += 1 }
        }
        if node.operation == .call && node.scale == CallSequel.exception.rawValue {
          // The run is asked once more after the call.
          nodes[builder.arguments[node.c + 5]].uses += 1
        }
      } else if node.c >= 0 {
        nodes[node.c].uses += 1
      }
    }
  }

  private func foldAddress(_ nodes: Pool<Node>, _ node: inout Node) {
    while true {
      let base = nodes[node.a]
      guard base.operation == .add, base.width == 8 else { return }
      let right = nodes[base.b]
      if right.operation == .constant {
        let offset = node.immediate &+ right.immediate
        guard offset == Int64(Int32(truncatingIfNeeded: offset)), abs(right.immediate) < 1 << 30 else { return }
        node.immediate = offset
        node.a = base.a
        continue
      }
      guard node.c < 0, base.mentions <= 2 else { return }
      // Which of the two is shifted?
      var (plain, indexed) = (base.a, base.b)
      if isScaled(nodes[plain], nodes) && !isScaled(nodes[indexed], nodes) { swap(&plain, &indexed) }
      if nodes[indexed].operation == .frame { swap(&plain, &indexed) }
      node.a = plain
      node.c = indexed
      node.scale = 0
      if isScaled(nodes[indexed], nodes) && nodes[indexed].mentions <= 1 {
        node.scale = UInt8(nodes[nodes[indexed].b].immediate)
        node.c = nodes[indexed].a
      }
    }
  }

  private func isScaled(_ node: Node, _ nodes: Pool<Node>) -> Bool {
    guard node.operation == .shiftLeft, node.width == 8, nodes[node.b].operation == .constant else { return false }
    return nodes[node.b].immediate >= 1 && nodes[node.b].immediate <= 3
  }

  private func foldAddition(_ nodes: Pool<Node>, _ node: inout Node) {
    let right = nodes[node.b]
    let isShift = { (it: Node) in
      it.operation == .shiftLeft && nodes[it.b].operation == .constant && (1...3).contains(nodes[it.b].immediate)
        && it.mentions <= 1
    }
    if right.operation == .constant {
      let left = nodes[node.a]
      guard left.operation == .add, left.mentions <= 1, left.uses == 0, left.width == node.width,
        nodes[left.b].operation != .constant, nodes[left.a].operation != .frame,
        right.immediate == Int64(Int32(truncatingIfNeeded: right.immediate))
      else { return }
      node.operation = .scaledAdd
      node.immediate = right.immediate
      node.a = left.a
      node.b = -1
      node.c = left.b
      node.scale = 0
      if isShift(nodes[left.b]), nodes[left.b].width >= node.width {
        node.scale = UInt8(nodes[nodes[left.b].b].immediate)
        node.c = nodes[left.b].a
      }
      return
    }
    var (plain, shifted) = (node.a, node.b)
    if !isShift(nodes[shifted]) { swap(&plain, &shifted) }
    let it = nodes[shifted]
    // A shift of halves may be added to whole registers only if its upper half was cut off.
    guard isShift(it), it.width == node.width, it.uses == 0, nodes[plain].operation != .frame,
      nodes[plain].operation != .constant
    else { return }
    node.operation = .scaledAdd
    node.scale = UInt8(nodes[it.b].immediate)
    node.a = plain
    node.b = -1
    node.c = it.a
  }

  /// Puts the nodes that are needed in order.
  mutating func arrange(_ builder: borrowing BlockBuilder) {
    let nodes = builder.nodes
    order.removeAll()
    states.removeAll()
    pendingLoads.removeAll()
    states.append(repeating: State.waiting.rawValue, count: nodes.count)
    for index in 0..<nodes.count {
      let node = nodes[index]
      if node.hasEffect {
        // An exit changes nothing: loads may be done after it.
        if node.operation != .exit { flush(builder) }
        place(builder, Int32(index))
      } else if node.uses > 0 && !node.isLeaf {
        if node.isLoad && node.depth > 0 {
          pendingLoads.append(Int32(index))
        } else if node.depth == 0 || node.operation == .loadFaulting || node.operation == .arrayElement {
          place(builder, Int32(index))
        }
      }
    }
    if builder.left >= 0 {
      place(builder, builder.left)
      place(builder, builder.right)
    }
    if builder.returned >= 0 { place(builder, builder.returned) }
    // In the order of the program, whatever the numbers of the variables are.
    for index in 0..<finals.count { pendingLoads.append(finals[index].node) }
    sortPending()
    flush(builder)
  }

  private mutating func sortPending() {
    // Few: a straight insertion.
    for index in stride(from: 1, to: pendingLoads.count, by: 1) {
      let it = pendingLoads[index]
      var at = index
      while at > 0 && pendingLoads[at - 1] > it {
        pendingLoads[at] = pendingLoads[at - 1]
        at -= 1
      }
      pendingLoads[at] = it
    }
  }

  private mutating func flush(_ builder: borrowing BlockBuilder) {
    for index in 0..<pendingLoads.count { place(builder, pendingLoads[index]) }
    pendingLoads.removeAll()
  }

  private mutating func place(_ builder: borrowing BlockBuilder, _ index: Int32) {
    guard states[index] == State.waiting.rawValue else { return }
    let node = builder.nodes[index]
    guard !node.isLeaf else { return }
    states[index] = State.placed.rawValue
    if node.a >= 0 { place(builder, node.a) }
    if node.operation == .exit {
      let first = Int(node.immediate >> 32)
      for index in first..<first + Int(node.size) { place(builder, builder.exits[index].node) }
      place(builder, node.b)
    } else if node.hasArguments {
      for argument in 0..<6 {
        let it = builder.arguments[node.c + Int32(argument)]
        if it >= 0 { place(builder, it) }
      }
    } else {
      if node.c >= 0 { place(builder, node.c) }
      if node.b >= 0 { place(builder, node.b) }
    }
    order.append(index)
  }
}
