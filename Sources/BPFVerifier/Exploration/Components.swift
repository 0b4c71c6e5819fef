import BPFLinux

/// Visits to strongly connected components of the control flow graph (loops).
///
/// While some path that began in a loop is still open, what its checkpoints need precisely is not yet known. States
/// that closed the loop are kept as back-edges; when the visit ends, precision is propagated over them until nothing
/// changes.
struct ComponentVisit: BitwiseCopyable {
  /// Call sites that lead to the loop (seven of them) and the component's number.
  var callChain: SIMD8<UInt32>
  /// The checkpoint that entered; nil while the visit is not open.
  var entry: StateRef?
  /// States that closed the loop, the newest first, linked by `State.next`.
  var backedges: StateRef?
  var backedgeCount: Int
}

/// The visits to one component.
struct ComponentInfo {
  var visits: [ComponentVisit] = []
}

/// How often precision goes around a loop before all of it is made precise.
private let maximumBackedgePasses = 64

extension Verification {
  /// The call chain that leads `state` into a loop; nil where no frame of it is in one.
  private func callChain(of state: StateRef) -> SIMD8<UInt32>? {
    var chain = SIMD8<UInt32>(repeating: 0)
    let last = Int(state.pointee.currentFrame)
    var index = 0
    while index <= last {
      let at = index == last ? state.pointee.instruction : state.frame(index + 1).pointee.callSite
      let component = facts[Int(at)].component
      if component != 0 {
        chain[7] = component
        return chain
      }
      guard index < last else { return nil }
      chain[index] = UInt32(bitPattern: at)
      index += 1
    }
    return nil
  }

  private func visitIndex(_ chain: SIMD8<UInt32>) -> Int? {
    components[Int(chain[7])].visits.firstIndex { $0.callChain == chain }
  }

  private func text(_ chain: SIMD8<UInt32>) -> String {
    var text = "("
    for index in 0..<7 {
      if chain[index] == 0 { break }
      text += "\(chain[index]),"
    }
    return text + "\(chain[7]))"
  }

  /// Notes that exploration entered a loop at the new checkpoint `state`.
  func enterComponent(_ state: StateRef) {
    guard let chain = callChain(of: state) else { return }
    let component = Int(chain[7])
    let index: Int
    if let known = visitIndex(chain) {
      index = known
    } else {
      index = components[component].visits.count
      components[component].visits.append(
        ComponentVisit(callChain: chain, entry: nil, backedges: nil, backedgeCount: 0))
    }
    if components[component].visits[index].entry == nil {
      components[component].visits[index].entry = state
      if logLevel & 2 != 0 { print("SCC enter \(text(chain))\n") }
    }
  }

  /// All paths from `state` are explored: where it entered a loop, the loop's back-edges are settled.
  func exitComponent(_ state: StateRef) throws(Refusal) {
    guard let chain = callChain(of: state) else { return }
    let component = Int(chain[7])
    guard let index = visitIndex(chain) else {
      if !state.pointee.speculative {
        throw refuse(.EFAULT, .invariant, "verifier bug: scc exit: no visit info for call chain \(text(chain))\n")
      }
      return
    }
    guard components[component].visits[index].entry == state else { return }
    if logLevel & 2 != 0 { print("SCC exit \(text(chain))\n") }
    components[component].visits[index].entry = nil
    backedgeCount -= components[component].visits[index].backedgeCount
    components[component].visits[index].backedgeCount = 0
    updatePeakStates()
    try propagateBackedges(component: component, visit: index)
  }

  /// Keeps `backedge`, a copy of the current state, which closed the loop at the checkpoint `state`.
  func addBackedge(_ backedge: StateRef, closingAt state: StateRef) throws(Refusal) {
    guard let chain = callChain(of: state) else {
      throw refuse(
        .EFAULT, .invariant,
        "verifier bug: add backedge: no SCC in verification path, insn_idx \(state.pointee.instruction)\n")
    }
    guard let index = visitIndex(chain) else {
      throw refuse(
        .EFAULT, .invariant, "verifier bug: add backedge: no visit info for call chain \(text(chain))\n")
    }
    if logLevel & 2 != 0 { print("SCC backedge \(text(chain))\n") }
    let component = Int(chain[7])
    backedge.pointee.next = components[component].visits[index].backedges
    components[component].visits[index].backedges = backedge
    components[component].visits[index].backedgeCount += 1
    backedgeCount += 1
    updatePeakStates()
  }

  /// Whether marks of the checkpoint `state` may still grow, because it is in a loop that has back-edges to settle.
  func marksAreIncomplete(_ state: StateRef) -> Bool {
    guard let chain = callChain(of: state), let index = visitIndex(chain) else { return false }
    return components[Int(chain[7])].visits[index].backedges != nil
  }

  private func propagateBackedges(component: Int, visit: Int) throws(Refusal) {
    var passes = 0
    var changed: Bool
    repeat {
      if passes > maximumBackedgePasses {
        if logLevel & 2 != 0 { print("propagate_backedges: too many iterations\n") }
        var next = components[component].visits[visit].backedges
        while let backedge = next {
          markAllScalarsPrecise(backedge)
          next = backedge.pointee.next
        }
        break
      }
      passes += 1
      changed = false
      var next = components[component].visits[visit].backedges
      while let backedge = next {
        if let equal = backedge.pointee.equalState {
          try propagatePrecision(from: equal, to: backedge, changed: &changed)
        }
        next = backedge.pointee.next
      }
    } while changed
    freeBackedges(component: component, visit: visit)
  }

  private func freeBackedges(component: Int, visit: Int) {
    var next = components[component].visits[visit].backedges
    while let backedge = next {
      next = backedge.pointee.next
      pool.freeState(backedge)
    }
    components[component].visits[visit].backedges = nil
  }

  /// Forgets all visits: the end of one function's exploration. The count goes on, as Linux's does.
  func forgetComponentVisits() {
    for component in components.indices {
      for visit in components[component].visits.indices { freeBackedges(component: component, visit: visit) }
      components[component].visits.removeAll()
    }
  }

  /// What `old` needs precisely, `current`, which equals it, needs precisely too.
  func propagatePrecision(from old: StateRef, to current: StateRef, changed: inout Bool) throws(Refusal) {
    let level2 = logLevel & 2 != 0
    var number = Int(old.pointee.currentFrame)
    while number >= 0 {
      let frame = old.frame(number)
      var first = true
      var index = 0
      while index < registerCount - 1 {
        let register = frame.register(index)
        if register.pointee.type == .scalar && register.pointee.precise {
          if level2 { print(first ? "frame \(number): propagating r\(index)" : ",r\(index)") }
          backtrack.pointee.set(frame: number, register: index)
          first = false
        }
        index += 1
      }
      var slot = 0
      while slot < Int(frame.pointee.slotCount) {
        if frame.pointee.stack[slot].kind == SlotType.spill {
          let register = frame.spilled(slot)
          if register.pointee.type == .scalar && register.pointee.precise {
            let offset = -(slot + 1) * 8
            if level2 { print(first ? "frame \(number): propagating fp\(offset)" : ",fp\(offset)") }
            backtrack.pointee.set(frame: number, slot: slot)
            first = false
          }
        }
        slot += 1
      }
      if !first && logLevel != 0 { print("\n") }
      number -= 1
    }
    try markChainPreciseBatch(from: current, changed: &changed)
  }
}
