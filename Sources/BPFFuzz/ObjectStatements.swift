import BPFISA
import BPFLinux
import BTF

/// Objects that kernel functions give out: dynptrs of packets, tasks, allocated objects, lists, trees.
extension ProgramGenerator {
  private typealias Map = FuzzSurroundings.Map

  /// Calls the kernel function of that name; false where this kernel has none.
  @discardableResult
  mutating func call(kernel name: String) -> Bool {
    guard let id = surroundings.kernelFunctions[name] else { return false }
    code.call(kernelFunction: id)
    called(.nothing)
    return true
  }

  /// Some statement about objects.
  mutating func objectStatement(within length: Int) {
    guard frame.heldRegisters.isDisjoint(with: 0...5) else { return arithmetic() }
    switch random.below(20) {
    case 0..<4: packetDynptr()
    case 4..<7: task(within: length)
    case 7..<9: allocated(within: length)
    case 9..<11: listPop()
    case 11..<13: treeFirst(within: length)
    case 13..<15: timer()
    case 15: drain()
    case 16: queuedLock()
    case 17: exception()
    case 18: arenaAccess()
    default: keptPointer()
    }
  }

  private mutating func address(_ register: Register, map: Int, offset: Int) {
    code.wide(
      register, Int32(truncatingIfNeeded: map), Int32(truncatingIfNeeded: offset), source: PseudoSource.mapValue)
  }

  private mutating func stackAddress(_ register: Register, slot: Int) {
    code.copy(register, 10)
    code.alu(ALU.add, register, Int32(-8 * (slot + 1)))
  }

  // MARK: Dynptrs of packets

  mutating func packetDynptr() {
    let constructor = profile.type == .xdp ? "bpf_dynptr_from_xdp" : "bpf_dynptr_from_skb"
    guard profile.packet != nil || profile.type == .socketFilter || errs(), let slot = freeSlots(2),
      let context = contextRegister(), surroundings.kernelFunctions[constructor] != nil
    else { return arithmetic() }
    let last = slot + 1
    if context != 1 { code.copy(1, context) }
    code.move(2, errs() ? 1 : 0)
    stackAddress(3, slot: last)
    call(kernel: constructor)
    let mine: Set<Int> = [slot, last]
    frame.slots[slot] = .nothing
    frame.slots[last] = .nothing
    frame.heldSlots.formUnion(mine)
    nesting += 1
    for _ in 0..<random.within(1...3) { useDynptr(last) }
    nesting -= 1
    frame.heldSlots.subtract(mine)
    if random.chance(15) { code.store(Size.dw, 10, -8 * (slot + 1), value: 0) }
  }

  private mutating func useDynptr(_ last: Int) {
    switch random.below(8) {
    case 0..<4:
      let size = random.pick([4, 8, 14, 16, 20], or: 8)
      let writes = random.chance(40) && profile.packet?.writable == true
      guard let bytes = freeSlots(3) else { return }
      let lowest = bytes + 2
      stackAddress(1, slot: last)
      if random.chance(40), let offset = register(where: { $0.isScalar }), offset > 5 {
        code.alu(ALU.mov, 2, from: offset, wide: false)
      } else {
        code.move(2, Int32(random.below(40)))
      }
      if !writes && random.chance(30) {
        code.move(3, 0)
      } else {
        stackAddress(3, slot: lowest)
        for filled in bytes...lowest { frame.slots[filled] = .nothing }
      }
      code.move(4, Int32(errs() ? 40 : size))
      call(kernel: writes ? "bpf_dynptr_slice_rdwr" : "bpf_dynptr_slice")
      let value = longLivedDestination()
      guard !frame.heldRegisters.contains(value) else { return }
      code.copy(value, 0)
      let missing = code.makeLabel()
      let before = frame
      if !errs() { code.jump(Jump.jeq, 0, 0, to: missing) }
      set(value, .memory(size: size, writable: writes))
      for _ in 0..<random.within(1...2) { hold(value) { $0.access(value, reach: size) } }
      code.place(missing)
      frame.join(before)
      set(value, .nothing)
      frame.forgetCallerSaved()
      set(0, .nothing)
    case 4:
      stackAddress(1, slot: last)
      code.move(2, Int32(random.below(10)))
      code.move(3, Int32(random.within(8...40)))
      call(kernel: "bpf_dynptr_adjust")
    case 5:
      guard let copy = freeSlots(2) else { return }
      stackAddress(1, slot: last)
      stackAddress(2, slot: copy + 1)
      guard call(kernel: "bpf_dynptr_clone") else { return }
      frame.slots[copy] = .nothing
      frame.slots[copy + 1] = .nothing
      frame.heldSlots.formUnion([copy, copy + 1])
      if random.chance(60) {
        stackAddress(1, slot: copy + 1)
        call(kernel: "bpf_dynptr_size")
      }
      frame.heldSlots.subtract([copy, copy + 1])
    case 6:
      stackAddress(1, slot: last)
      if call(kernel: random.pick(["bpf_dynptr_size", "bpf_dynptr_is_null", "bpf_dynptr_is_rdonly"], or: "")) {
        set(0, .scalar(limit: nil))
      }
    default:
      guard let bytes = freeSlots(2) else { return }
      stackAddress(1, slot: bytes + 1)
      code.move(2, Int32(random.within(1...16)))
      stackAddress(3, slot: last)
      code.move(4, Int32(random.below(20)))
      code.move(5, 0)
      code.call(201)
      called(.scalar(limit: nil))
      frame.slots[bytes] = .scalar(limit: nil)
      frame.slots[bytes + 1] = .scalar(limit: nil)
    }
  }

  // MARK: Tasks and other structs of the kernel

  /// Puts a task into a register that calls leave alone.
  private mutating func task(within length: Int) {
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home), let task = surroundings.kernelStructs["task_struct"] else {
      return arithmetic()
    }
    if let field = profile.taskFields.randomIndex(&random), random.chance(70), let context = contextRegister() {
      code.load(Size.dw, home, context, field)
      if profile.attachType == .traceIter && !errs() { code.jump(Jump.jeq, home, 0, to: leave) }
      set(home, .kernel(task))
      hold(home) { $0.walk(home, task) }
      if random.chance(30), profile.hasObjects { acquire(home) }
      return
    }
    if random.chance(40), profile.helpers.contains(where: { $0.id.rawValue == 158 }) || errs() {
      code.call(158)
      called(.nothing)
      code.copy(home, 0)
      set(home, .kernel(task))
      hold(home) { $0.walk(home, task) }
      if random.chance(30), profile.hasObjects { acquire(home) }
      return
    }
    guard profile.hasObjects || errs() else { return arithmetic() }
    if random.chance(50), let pid = register(where: { $0.isScalar }), pid > 5 {
      code.copy(1, pid)
    } else {
      code.move(1, Int32(random.below(5)))
    }
    guard call(kernel: "bpf_task_from_pid") else { return }
    let missing = code.makeLabel()
    let before = frame
    if !errs() { code.jump(Jump.jeq, 0, 0, to: random.chance(20) ? leave : missing) }
    code.copy(home, 0)
    set(home, .kernel(task))
    let outerLeave = leave
    if !errs() { leave = code.makeLabel() }
    references += 1
    nesting += 1
    hold(home) { generator in
      generator.walk(home, task)
      if generator.random.chance(40) {
        generator.block(generator.random.within(1...max(2, min(8, length / 3))))
      }
    }
    nesting -= 1
    references -= 1
    if leave != outerLeave {
      code.place(leave)
      leave = outerLeave
    }
    code.copy(1, home)
    if !errs() { call(kernel: "bpf_task_release") }
    code.place(missing)
    frame = before
    frame.forgetCallerSaved()
    set(0, .nothing)
    set(home, .nothing)
    frame.forgetScalarsOfLongLife()
  }

  private mutating func acquire(_ home: Register) {
    code.copy(1, home)
    guard call(kernel: "bpf_task_acquire") else { return }
    let missing = code.makeLabel()
    code.jump(Jump.jeq, 0, 0, to: missing)
    code.copy(1, 0)
    if !errs() { call(kernel: "bpf_task_release") }
    code.place(missing)
    called(.nothing)
  }

  /// Loads members of a struct of the kernel, and what they point at.
  mutating func walk(_ base: Register, _ type: TypeID) {
    guard let btf = surroundings.linux.btf else { return }
    var base = base
    var type = type
    for _ in 0..<random.within(1...4) {
      let members = btf.members(type)
      guard members.count > 0 else { return }
      let member = members[random.below(members.count)]
      guard member.bitfieldSize == 0, member.bitOffset < 1 << 17 else { continue }
      let offset = Int(member.bitOffset / 8)
      let target = destination()
      guard target != base else { continue }
      let resolved = btf.skipModifiers(member.typeID)
      switch btf.kind(resolved) {
      case .pointer:
        code.load(random.chance(99) ? Size.dw : Size.w, target, base, offset)
        let pointee = btf.skipModifiers(btf.type(resolved).target)
        guard btf.kind(pointee) == .structure else {
          set(target, .nothing)
          continue
        }
        if random.chance(40) { code.jump(Jump.jeq, target, 0, to: leave) }
        set(target, .kernel(pointee))
        if random.chance(70) {
          base = target
          type = pointee
        }
      case .structure, .union, .array:
        // What stands there may be a pointer, which is loaded whole.
        let size = random.chance(8) ? random.pick([Size.b, Size.h, Size.w], or: Size.w) : Size.dw
        guard offset % 8 == 0 || size != Size.dw else { continue }
        code.load(size, target, base, offset)
        set(target, .nothing)
      default:
        let size = Int(btf.resolveSize(resolved) ?? 4)
        let sizeCode = size == 1 ? Size.b : size == 2 ? Size.h : size == 8 ? Size.dw : Size.w
        code.load(sizeCode, target, base, offset)
        set(target, .scalar(limit: nil))
      }
    }
    if errs() { code.store(Size.w, base, random.below(64), value: 0) }
  }

  /// A task or an object of the program's own in a map's value.
  private mutating func keptPointer() {
    guard profile.hasObjects || errs(), hasTypes else { return arithmetic() }
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home) else { return arithmetic() }
    let isTask = random.chance(60)
    let offset = isTask ? 8 : 24
    switch random.below(3) {
    case 0:
      // Only looked at.
      address(home, map: Map.kept, offset: 0)
      let value = destination(among: 1...5)
      guard value != home else { return }
      let inSection = random.chance(60) && profile.type != .syscall
      if inSection { call(kernel: "bpf_rcu_read_lock") }
      code.load(Size.dw, value, home, random.pick([8, 16, 24], or: 8))
      let missing = code.makeLabel()
      if !errs() { code.jump(Jump.jeq, value, 0, to: missing) }
      code.load(Size.w, 0, value, errs() ? 4000 : isTask ? 0 : 32)
      code.place(missing)
      if inSection && !errs() { call(kernel: "bpf_rcu_read_unlock") }
      set(home, .memory(size: 8, writable: true))
      called(.nothing)
    default:
      // Taken out, and given back or released.
      address(1, map: Map.kept, offset: offset)
      code.move(2, 0)
      code.call(194)
      called(.nothing)
      let missing = code.makeLabel()
      if !errs() { code.jump(Jump.jeq, 0, 0, to: missing) }
      code.copy(home, 0)
      if random.chance(50) { code.load(Size.dw, 2, home, isTask ? 16 : 0) }
      if random.chance(40) {
        address(1, map: Map.kept, offset: errs() ? 16 : offset)
        code.copy(2, home)
        code.call(194)
        if !errs() { code.jump(Jump.jeq, 0, 0, to: missing) }
        code.copy(1, 0)
      } else {
        code.copy(1, home)
      }
      if !isTask { code.move(2, 0) }
      if !errs() { call(kernel: isTask ? "bpf_task_release" : "bpf_obj_drop_impl") }
      code.place(missing)
      called(.nothing)
      set(home, .nothing)
    }
  }

  // MARK: Allocated objects

  private static let lock = 0, head = 8, root = 24
  private static let linkInLeaf = 8, treeInNode = 8

  private mutating func takeLock() {
    address(1, map: Map.graph, offset: errs() ? 8 : Self.lock)
    code.call(93)
    called(.nothing)
  }

  private mutating func giveLock() {
    guard !errs() else { return }
    address(1, map: Map.graph, offset: Self.lock)
    code.call(94)
    called(.nothing)
  }

  private mutating func drop(_ home: Register, minus offset: Int = 0) {
    code.copy(1, home)
    if offset != 0 { code.alu(ALU.add, 1, Int32(-offset)) }
    code.move(2, 0)
    if !errs() { call(kernel: "bpf_obj_drop_impl") }
  }

  /// An object: made, written, and dropped or put where others find it.
  private mutating func allocated(within length: Int) {
    guard profile.hasObjects, hasTypes || errs() else { return arithmetic() }
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home) else { return arithmetic() }
    let isLeaf = random.chance(50)
    guard let type = surroundings.types.structs[isLeaf ? "leaf" : "node"] else { return }
    code.move(2, 0)
    code.move(1, Int32(bitPattern: type))
    guard call(kernel: "bpf_obj_new_impl") else { return }
    let missing = code.makeLabel()
    let before = frame
    if !errs() { code.jump(Jump.jeq, 0, 0, to: missing) }
    code.copy(home, 0)
    let outerLeave = leave
    if !errs() { leave = code.makeLabel() }
    references += 1
    nesting += 1
    set(home, .memory(size: 8, writable: true))
    hold(home) { generator in
      for _ in 0..<2 { generator.access(home, reach: 8) }
      if generator.random.chance(50) { generator.code.load(Size.dw, 2, home, isLeaf ? 32 : 48) }
      generator.frame.forgetCallerSaved()
      if generator.random.chance(30) {
        generator.block(generator.random.within(1...max(2, min(6, length / 3))))
      }
    }
    nesting -= 1
    references -= 1
    if leave != outerLeave && !code.isUsed(leave) { leave = outerLeave }
    if leave != outerLeave {
      // From everywhere inside the object is dropped.
      let done = code.makeLabel()
      code.jump(to: done)
      code.place(leave)
      drop(home)
      code.jump(to: outerLeave)
      code.place(done)
      leave = outerLeave
    }
    if !isLeaf && random.chance(30) {
      code.copy(1, home)
      code.move(2, 0)
      call(kernel: "bpf_refcount_acquire_impl")
      let none = code.makeLabel()
      code.jump(Jump.jeq, 0, 0, to: none)
      drop(0)
      code.place(none)
    }
    if random.chance(60), takesGraph {
      takeLock()
      if isLeaf {
        address(1, map: Map.graph, offset: Self.head)
        code.copy(2, home)
        code.alu(ALU.add, 2, Int32(errs() ? 0 : Self.linkInLeaf))
        code.move(3, 0)
        code.move(4, 0)
        call(kernel: random.chance(50) ? "bpf_list_push_front_impl" : "bpf_list_push_back_impl")
      } else {
        treeAdd(home)
      }
      if random.chance(25) { code.load(Size.dw, 2, home, 0) }
      giveLock()
      if errs() { code.load(Size.dw, 2, home, 0) }
    } else {
      drop(home)
    }
    code.place(missing)
    frame = before
    frame.forgetCallerSaved()
    set(0, .nothing)
    set(home, .nothing)
    frame.forgetScalarsOfLongLife()
  }

  private var takesGraph: Bool { profile.takesLocks && profile.type != .tracing }

  private mutating func treeAdd(_ home: Register) {
    guard let less = newSubprogram(.less, [.nothing, .nothing]) else {
      drop(home)
      return
    }
    address(1, map: Map.graph, offset: Self.root)
    code.copy(2, home)
    code.alu(ALU.add, 2, Int32(Self.treeInNode))
    code.functionAddress(3, less)
    code.move(4, 0)
    code.move(5, 0)
    call(kernel: "bpf_rbtree_add_impl")
  }

  private mutating func listPop() {
    guard profile.hasObjects, hasTypes, takesGraph else { return arithmetic() }
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home) else { return arithmetic() }
    takeLock()
    address(1, map: Map.graph, offset: errs() ? Self.root : Self.head)
    let pops = random.chance(65)
    call(
      kernel: pops
        ? random.pick(["bpf_list_pop_front", "bpf_list_pop_back"], or: "")
        : random.pick(["bpf_list_front", "bpf_list_back"], or: ""))
    code.copy(home, 0)
    if !pops {
      let none = code.makeLabel()
      code.jump(Jump.jeq, 0, 0, to: none)
      code.load(Size.dw, 2, home, random.pick([-8, 24], or: -8))
      code.place(none)
    }
    giveLock()
    set(home, .nothing)
    guard pops else { return }
    let missing = code.makeLabel()
    if !errs() { code.jump(Jump.jeq, home, 0, to: missing) }
    code.load(Size.dw, 2, home, -Self.linkInLeaf)
    drop(home, minus: Self.linkInLeaf)
    code.place(missing)
    called(.nothing)
  }

  private mutating func treeFirst(within length: Int) {
    guard profile.hasObjects, hasTypes, takesGraph else { return arithmetic() }
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home) else { return arithmetic() }
    let missing = code.makeLabel()
    let out = code.makeLabel()
    takeLock()
    address(1, map: Map.graph, offset: Self.root)
    call(kernel: random.chance(70) ? "bpf_rbtree_first" : "bpf_rbtree_root")
    code.jump(Jump.jeq, 0, 0, to: missing)
    code.copy(home, 0)
    if random.chance(40) {
      address(1, map: Map.graph, offset: Self.root)
      code.copy(2, home)
      call(kernel: random.chance(50) ? "bpf_rbtree_left" : "bpf_rbtree_right")
      if random.chance(50) {
        code.jump(Jump.jeq, 0, 0, to: missing)
        code.copy(home, 0)
      }
    }
    let removes = random.chance(60)
    if removes {
      address(1, map: Map.graph, offset: Self.root)
      code.copy(2, home)
      call(kernel: "bpf_rbtree_remove")
      code.jump(Jump.jeq, 0, 0, to: missing)
      code.copy(home, 0)
    }
    code.load(Size.dw, 2, home, -Self.treeInNode)
    giveLock()
    if removes {
      drop(home, minus: Self.treeInNode)
    } else if random.chance(40) {
      code.load(Size.dw, 2, home, 40)
    }
    code.jump(to: out)
    code.place(missing)
    giveLock()
    code.place(out)
    called(.nothing)
    set(home, .nothing)
    frame.forgetScalarsOfLongLife()
  }

  // MARK: Callbacks later

  private mutating func timer() {
    guard profile.takesLocks || errs(), hasTypes, profile.type != .tracing else { return arithmetic() }
    if random.chance(70) {
      address(1, map: Map.timed, offset: 8)
      code.wide(2, Int32(truncatingIfNeeded: errs() ? Map.array : Map.timed), source: PseudoSource.mapFD)
      code.move(3, random.pick([0, 1, 7], or: 1))
      code.call(169)
      called(.scalar(limit: nil))
    }
    if random.chance(60), let tick = newSubprogram(.timer, [.nothing, .nothing, .memory(size: 8, writable: true)]) {
      address(1, map: Map.timed, offset: 8)
      code.functionAddress(2, tick)
      code.call(170)
      called(.scalar(limit: nil))
    }
    address(1, map: Map.timed, offset: errs() ? 0 : 8)
    if random.chance(70) {
      code.move(2, Int32(random.below(1000)))
      code.move(3, 0)
      code.call(171)
    } else {
      code.call(172)
    }
    called(.scalar(limit: nil))
  }

  private mutating func drain() {
    guard hasTypes, let callback = newSubprogram(.drain, [.nothing, .nothing]) else { return arithmetic() }
    code.wide(1, Int32(truncatingIfNeeded: Map.userRing), source: PseudoSource.mapFD)
    code.functionAddress(2, callback)
    code.move(3, 0)
    code.move(4, 0)
    code.call(209)
    called(.scalar(limit: nil))
  }

  private mutating func queuedLock() {
    guard profile.takesLocks || random.chance(50) else { return arithmetic() }
    let miss = code.makeLabel()
    address(1, map: Map.queued, offset: 8)
    guard call(kernel: "bpf_res_spin_lock") else { return }
    if !errs() { code.jump(Jump.jne, 0, 0, to: miss) }
    nesting += 2
    for _ in 0..<random.below(3) { arithmetic() }
    nesting -= 2
    address(1, map: Map.queued, offset: 8)
    if !errs() { call(kernel: "bpf_res_spin_unlock") }
    code.place(miss)
    called(.nothing)
  }

  private mutating func exception() {
    guard profile.hasObjects || errs(), references == 0 || errs() else { return arithmetic() }
    let past = code.makeLabel()
    let tested = anyScalar()
    code.jump(Jump.jne, tested, immediate(), to: past)
    code.move(1, Int32(random.below(3)))
    call(kernel: "bpf_throw")
    if random.chance(30) { code.jump(to: leave) }
    code.place(past)
    frame.forgetCallerSaved()
    set(0, .nothing)
  }

  // MARK: Arenas

  private mutating func arenaAccess() {
    let home = longLivedDestination()
    guard !frame.heldRegisters.contains(home) else { return arithmetic() }
    // A program has an arena because it names it.
    if !errs() {
      code.wide(home, Int32(truncatingIfNeeded: Map.arena), source: PseudoSource.mapFD)
      set(home, .nothing)
    }
    let source = random.chance(50) ? scalar(into: home) : anyScalar()
    let cast = { (to: Int32) in
      Instruction(opcode: Class.alu64 | ALU.mov | Source.x, dst: home, src: source, offset: 1, immediate: to)
    }
    code.append(cast(1))
    set(home, .nothing)
    for _ in 0..<random.within(1...3) {
      let offset = random.within(-64...64)
      let size = random.pick([Size.b, Size.h, Size.w, Size.dw], or: Size.dw)
      switch random.below(4) {
      case 0: code.store(size, home, offset, value: immediate())
      case 1: code.store(size, home, offset, anyScalar())
      case 2:
        let index = anyScalar()
        guard index != home else { continue }
        code.alu(ALU.add, home, from: index)
      default:
        let target = destination()
        guard target != home else { continue }
        code.load(size, target, home, offset)
        set(target, .scalar(limit: nil))
      }
    }
  }

  // MARK: Subprograms

  /// A callback that is written after the rest; nil where there are enough.
  mutating func newSubprogram(_ kind: Subprogram.Kind, _ arguments: [Belief]) -> CodeBuffer.Label? {
    guard subprograms.count < 5, currentSubprogram < 0 else { return nil }
    let label = code.makeLabel()
    subprograms.append(Subprogram(kind: kind, label: label, arguments: arguments, depth: 2))
    return label
  }

  /// What a callback of a kind begins with.
  mutating func prologue(_ kind: Subprogram.Kind) {
    switch kind {
    case .less:
      code.load(Size.dw, 6, 1, -Self.treeInNode)
      code.load(Size.dw, 7, 2, -Self.treeInNode)
      set(6, .scalar(limit: nil))
      set(7, .scalar(limit: nil))
      frame.forgetCallerSaved()
    case .drain:
      code.move(2, Int32(random.below(4)))
      code.move(3, Int32(random.within(1...16)))
      code.call(203)
      called(.nothing)
      let none = code.makeLabel()
      code.jump(Jump.jeq, 0, 0, to: none)
      code.load(Size.b, 6, 0, 0)
      code.place(none)
      code.move(6, 0)
      set(6, .scalar(limit: nil))
    case .trusted:
      guard let task = surroundings.kernelStructs["task_struct"] else { return }
      if !errs() { code.jump(Jump.jeq, 1, 0, to: leave) }
      code.copy(6, 1)
      set(6, .kernel(task))
      walk(6, task)
    case .memory:
      if !errs() { code.jump(Jump.jeq, 1, 0, to: leave) }
      set(1, .memory(size: 16, writable: true))
    default: break
    }
  }
}
