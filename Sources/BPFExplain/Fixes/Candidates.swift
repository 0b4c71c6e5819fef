import BPFISA
import BPFLinux
import BPFVerifier

/// What might help, by category: the most likely first.
struct Candidates {
  let subject: Subject
  let program: Program
  let linux: Linux
  let diagnosis: Diagnosis

  func all() -> [FixCandidate] { changes() + moreCapabilities() }

  private func changes() -> [FixCandidate] {
    switch subject.category {
    case .nullDereference: nullChecks()
    case .packetBounds: packetChecks()
    case .mapBounds, .memoryBounds, .pointerArithmetic: boundedOffsets() + nullChecks()
    case .stackBounds: boundedOffsets() + zeroedStack() + smallerSizes()
    case .unboundedSize: boundedSizes()
    case .uninitializedRegister: initialisedRegisters()
    case .uninitializedStack: zeroedStack()
    case .unreleasedReference: releases()
    case .returnValue: returnValues()
    case .licenseRequired: [licence]
    case .sleep: notSleepable + closedSections()
    case .lock, .rcu, .irq: closedSections()
    case .infiniteLoop, .complexity: boundedLoops()
    case .controlFlow: endings()
    case .typeMismatch: probedReads() + nullChecks()
    case .misaligned: looseAlignment
    case .readOnly: writableMaps()
    case .invalidInstruction: correctedFields()
    case .contextAccess: wholeFields()
    default: []
    }
  }

  // MARK: the surroundings

  /// What is only forbidden to those who load with less.
  private func moreCapabilities() -> [FixCandidate] {
    let wanted: [(String, Capabilities)] = [
      ("CAP_PERFMON", [.perfmon]), ("CAP_BPF and CAP_PERFMON", [.bpf, .perfmon]),
      ("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN", [.bpf, .perfmon, .netAdmin]),
    ]
    return wanted.filter { !linux.capabilities.contains($0.1) && !linux.capabilities.contains(.sysAdmin) }.map {
      FixCandidate(title: "load it with \($0.0)", capabilities: $0.1)
    }
  }

  private var looseAlignment: [FixCandidate] {
    guard program.flags.contains(.strictAlignment) else { return [] }
    return [
      FixCandidate(
        title: "load without BPF_F_STRICT_ALIGNMENT", change: { $0.flags.remove(.strictAlignment) })
    ]
  }

  private func writableMaps() -> [FixCandidate] {
    let flags: MapFlags = message.contains("read from map") ? .writeOnlyProgram : .readOnlyProgram
    guard program.maps.contains(where: { $0.flags.contains(flags) }) else { return [] }
    let name = flags == .readOnlyProgram ? "BPF_F_RDONLY_PROG" : "BPF_F_WRONLY_PROG"
    return [
      FixCandidate(
        title: "make the map without \(name)",
        change: { for index in $0.maps.indices { $0.maps[index].flags.remove(flags) } })
    ]
  }

  // MARK: single instructions

  /// Another instruction in place of the refused one.
  private func replacing(_ title: String, _ change: @escaping @Sendable (inout Instruction) -> Void) -> [FixCandidate] {
    guard let slot, slot < program.instructions.count else { return [] }
    return [FixCandidate(title: title, change: { change(&$0.instructions[slot]) }, place: slot)]
  }

  private func correctedFields() -> [FixCandidate] {
    if message.contains("invalid shift") {
      return replacing("shift by less than the width") {
        $0.immediate &= $0.instructionClass == Class.alu ? 31 : 63
      }
    }
    guard message.contains("reserved fields") else { return [] }
    return replacing("clear the fields that the instruction does not use") { $0.offset = 0 }
      + replacing("clear the fields that the instruction does not use") { $0.immediate = 0 }
      + replacing("clear the fields that the instruction does not use") { $0.registers &= 0x0f }
      + replacing("clear the fields that the instruction does not use") {
        $0.offset = 0
        $0.immediate = 0
        if $0.operandSource == Source.k { $0.registers &= 0x0f }
      }
      + replacing("clear the fields that the instruction does not use") {
        $0.registers = 0
        $0.offset = 0
        $0.immediate = 0
      }
  }

  /// The whole field, where only a part was read.
  private func wholeFields() -> [FixCandidate] {
    guard let slot, slot < program.instructions.count, program.instructions[slot].instructionClass == Class.ldx else {
      return []
    }
    return [Size.w, Size.dw].flatMap { size in
      replacing("read the whole field, and take the part from it") { insn in
        insn.opcode = Class.ldx | Mode.mem | size
        insn.offset &= size == Size.w ? ~3 : ~7
      }
    }
  }

  /// A call with a size that fits the buffer.
  private func smallerSizes() -> [FixCandidate] {
    guard let slot, let register, register < 5, case .call? = trace.steps.last.map({ TracedOperation($0.text) }),
      let held = value(register), held.kind == "fp", held.offset < 0
    else { return [] }
    return [register + 1, register - 1].filter { (1...5).contains($0) }.map { size in
      FixCandidate(
        title: "pass the size of the buffer, \(-held.offset)",
        insertions: [.init(slot: slot, text: "r\(size) = \(-held.offset)")], place: slot)
    }
  }

  // MARK: what is known

  private var message: String { subject.message }
  private var trace: VerifierTrace { subject.trace }
  private var step: Int { subject.failingStep ?? trace.steps.count }
  private var slot: Int? { subject.instruction }
  private var register: Int? {
    if let named = Diagnostician.number(in: message, after: "R") { return named }
    return Diagnostician.number(in: message, after: "arg#").map { $0 + 1 }
      ?? Diagnostician.number(in: message, after: "arg").map { $0 + 1 }
  }

  private func value(_ register: Int) -> TracedValue? { trace.value(of: "R\(register)", before: step) }

  /// Numbers that a function of the program may return early.
  private var earlyReturns: [Int] {
    switch program.type {
    case .xdp: [1, 0]
    case .schedCls, .schedAct: [0, 2]
    default: [0, 1]
    }
  }

  private func returnText(_ number: Int) -> String {
    switch (program.type, number) {
    case (.xdp, 1): "XDP_DROP"
    case (.xdp, 0): "XDP_ABORTED"
    case (.schedCls, 0): "TC_ACT_OK"
    case (.schedCls, 2): "TC_ACT_SHOT"
    default: "\(number)"
    }
  }

  /// The variable that the value of a register is assigned to in C, by the line where it was made.
  private func variable(of register: Int) -> String? {
    guard let origin = trace.origin(ofRegister: register, before: step), origin.step < trace.steps.count,
      let text = program.position(of: trace.steps[origin.step].instruction)?.text
    else { return nil }
    guard let equals = text.firstIndex(of: "="), text[text.index(after: equals)...].first != "=" else { return nil }
    var name = text[..<equals]
    while name.last == " " { name = name.dropLast() }
    let word = String(name.reversed().prefix { $0.isLetter || $0.isNumber || $0 == "_" }.reversed())
    return word.isEmpty || word.first?.isNumber == true ? nil : word
  }

  /// Registers that nothing reads any more at a slot, those first that calls spare.
  private func freeRegisters(at slot: Int) -> [Int] {
    guard let live = Verifier.liveRegisters(of: program, on: linux), slot < live.count else { return [] }
    var used: UInt16 = 0
    let insn = program.instructions[slot]
    used |= 1 << UInt16(insn.dst) | 1 << UInt16(insn.src)
    return (0..<10).filter { (live[slot] | used) & (1 << UInt16($0)) == 0 }
  }

  /// A register that the program never touches and calls spare.
  private var untouchedRegister: Int? {
    (6...9).reversed().first { number in
      program.instructions.allSatisfy { $0.dst != number && $0.src != number }
    }
  }

  // MARK: NULL

  private func nullChecks() -> [FixCandidate] {
    guard let slot, let register, register < 10 else { return [] }
    guard value(register)?.mayBeNull ?? true else { return [] }
    let name = variable(of: register) ?? "ptr"
    return earlyReturns.map { number in
      FixCandidate(
        title: "return early where the pointer is NULL",
        insertions: [.init(slot: slot, text: "if r\(register) != 0 goto +2\nr0 = \(number)\nexit")],
        source: "if (!\(name))\n\treturn \(returnText(number));", place: slot)
    }
  }

  // MARK: bounds

  private func packetChecks() -> [FixCandidate] {
    guard let slot, let fields = packetFields else { return [] }
    let details = trace.messages.last { $0.text.contains("invalid access to packet") }?.text ?? ""
    guard let register = Diagnostician.number(in: details, after: "R") ?? register,
      let size = Diagnostician.number(in: details, after: "size=")
    else { return [] }
    let pointer = value(register)
    // The message counts from the packet's beginning, the instruction from the register.
    let offset: Int
    if case .load(_, _, let own, _) = TracedOperation(trace.steps.last?.text ?? "") {
      offset = own
    } else if case .store(_, let own, _, _) = TracedOperation(trace.steps.last?.text ?? "") {
      offset = own
    } else {
      offset = 0
    }
    let free = freeRegisters(at: slot)
    guard free.count >= 2 else { return [] }
    let (end, reach) = (free[0], free[1])
    var found: [FixCandidate] = []
    let context = (0..<10).first { value($0)?.kind == "ctx" }
    let isConstant = pointer?.attributes["var_off"] == nil && (pointer?.number("umax") ?? 0) == 0
    let total = (pointer?.offset).map { Int($0) + offset + size } ?? offset + size
    for number in earlyReturns {
      var insertions: [FixCandidate.Insertion] = []
      let holder: Int
      if let context {
        holder = context
      } else if let untouched = untouchedRegister {
        insertions.append(.init(slot: 0, text: "r\(untouched) = r1"))
        holder = untouched
      } else {
        continue
      }
      insertions.append(
        .init(
          slot: slot,
          text: """
            r\(end) = *(u32 *)(r\(holder) + \(fields.end))
            r\(reach) = r\(register)
            r\(reach) += \(offset + size)
            if r\(reach) <= r\(end) goto +2
            r0 = \(number)
            exit
            """))
      found.append(
        FixCandidate(
          title: "compare with the packet's end before the access", insertions: insertions,
          source: isConstant
            ? "if ((void *)(long)ctx->\(fields.name) + \(total) > (void *)(long)ctx->data_end)\n\treturn \(returnText(number));"
            : "if ((void *)ptr + \(offset + size) > (void *)(long)ctx->data_end)\n\treturn \(returnText(number));",
          place: slot))
    }
    return found
  }

  private var packetFields: (name: String, end: Int)? {
    switch program.type {
    case .xdp: ("data", 4)
    case .schedCls, .schedAct, .cgroupSkb, .skSkb, .lwtIn, .lwtOut, .lwtXmit: ("data", 80)
    default: nil
    }
  }

  /// Where a variable number is added to a pointer: bounded before.
  private func boundedOffsets() -> [FixCandidate] {
    guard let slot else { return [] }
    var additions: [(slot: Int, index: Int)] = []
    if let operation = trace.steps.last.map({ TracedOperation($0.text) }) {
      if case .arithmetic(_, _, let operand) = operation, let index = TracedOperation.register(operand) {
        additions.append((slot, index))
        if case .arithmetic(let to, _, _) = operation, value(index)?.isScalar == false { additions.append((slot, to)) }
      }
      let base: Int?
      switch operation {
      case .load(_, let from, _, _): base = from
      case .store(let from, _, _, _): base = from
      default: base = register
      }
      if let base, let origin = trace.origin(ofRegister: base, before: step) {
        for at in origin.changes.reversed() {
          guard case .arithmetic(let to, "+=", let operand) = TracedOperation(trace.steps[at].text),
            let index = TracedOperation.register(operand)
          else { continue }
          let number = trace.value(of: "R\(index)", before: at)?.isScalar ?? true ? index : to
          additions.append((trace.steps[at].instruction, number))
        }
      }
    }
    let size = regionSize
    var found: [FixCandidate] = []
    for addition in additions {
      for most in [size.map { max(0, $0 - 1) }, size.map { max(0, $0 - 8) }, size.map { $0 / 2 }, 7, 0].compactMap({ $0 }) {
        for number in earlyReturns.prefix(1) {
          found.append(
            FixCandidate(
              title: "return early where the index is too large",
              insertions: [
                .init(slot: addition.slot, text: "if r\(addition.index) <= \(most) goto +2\nr0 = \(number)\nexit")
              ],
              source: variableAdded(addition.slot).map { "if (\($0) > \(most))\n\treturn \(returnText(number));" },
              place: addition.slot))
        }
      }
    }
    return found
  }

  /// The index between brackets in the line of an instruction.
  private func variableAdded(_ slot: Int) -> String? {
    guard let text = program.position(of: slot)?.text, let open = text.firstIndex(of: "["),
      let close = text[open...].firstIndex(of: "]")
    else { return nil }
    let inside = String(text[text.index(after: open)..<close])
    return inside.isEmpty || inside.contains("[") ? nil : inside
  }

  /// Bytes of what is accessed.
  private var regionSize: Int? {
    for message in trace.messages.reversed() {
      for word in ["value_size=", "mem_size=", "key_size="] {
        if let size = Diagnostician.number(in: message.text, after: word) { return size }
      }
    }
    for number in 0..<10 {
      guard let held = value(number) else { continue }
      if let size = held.number("vs") { return Int(size) }
      if let size = held.number("sz") { return Int(size) }
      if held.kind == "fp" { return Int(-held.offset) }
    }
    return nil
  }

  private func boundedSizes() -> [FixCandidate] {
    guard let slot, let register, register < 10 else { return [] }
    // The buffer is the argument before its size.
    let buffer = register > 1 ? value(register - 1) : nil
    let size =
      buffer.flatMap { held -> Int? in
        if held.kind == "fp" { return Int(-held.offset) }
        return (held.number("vs") ?? held.number("sz")).map { Int($0 - held.offset) }
      } ?? regionSize
    var found: [FixCandidate] = []
    if message.contains("zero-sized") || message.contains("[0,") {
      for number in earlyReturns {
        found.append(
          FixCandidate(
            title: "return early where the size is zero",
            insertions: [.init(slot: slot, text: "if r\(register) != 0 goto +2\nr0 = \(number)\nexit")],
            source: nil, place: slot))
      }
    }
    for most in [size, 64, 16, 8, 1].compactMap({ $0 }) where most > 0 {
      found.append(
        FixCandidate(
          title: "return early where the size is more than \(most)",
          insertions: [.init(slot: slot, text: "if r\(register) <= \(most) goto +2\nr0 = \(earlyReturns[0])\nexit")],
          source: nil, place: slot))
      found.append(
        FixCandidate(
          title: "call only with sizes from 1 to \(most)",
          insertions: [
            .init(
              slot: slot,
              text: "if r\(register) == 0 goto +1\nif r\(register) <= \(most) goto +2\nr0 = \(earlyReturns[0])\nexit")
          ],
          source: nil, place: slot))
    }
    return found
  }

  // MARK: what was never written

  private func initialisedRegisters() -> [FixCandidate] {
    guard let slot, let register, register < 10 else { return [] }
    var found: [FixCandidate] = []
    for number in [0, 1] {
      found.append(
        FixCandidate(
          title: register == 0 ? "return \(returnText(number)) on this path" : "set r\(register) first",
          insertions: [.init(slot: slot, text: "r\(register) = \(number)", way: .everyone)], source: nil, place: slot))
      for way in edges {
        found.append(
          FixCandidate(
            title: register == 0 ? "return \(returnText(number)) on this path" : "set r\(register) on this path",
            insertions: [.init(slot: slot, text: "r\(register) = \(number)", way: way)], source: nil, place: slot))
      }
    }
    return found
  }

  private func zeroedStack() -> [FixCandidate] {
    guard let frame = trace.steps.last?.frame, frame == 0 else { return [] }
    var offset: Int?
    if let fp = message.components(after: "off ") { offset = Diagnostician.numbers(in: fp).first }
    if offset == nil, let operation = trace.steps.last.map({ TracedOperation($0.text) }),
      case .load(_, 10, let place, _) = operation
    {
      offset = place
    }
    if offset == nil || offset.map({ $0 >= 0 }) ?? true {
      offset = register.flatMap { value($0) }.flatMap { $0.kind == "fp" ? Int($0.offset) : nil }
    }
    guard let offset, offset < 0, offset >= -512 else { return [] }
    let sizes = [8, 16, 64, 128, 512]
    return sizes.map { size in
      let low = offset & ~7
      let high = min(0, low + size)
      let text = stride(from: low, to: high, by: 8).map { "*(u64 *)(r10 - \(-$0)) = 0" }.joined(separator: "\n")
      return FixCandidate(
        title: "zero the variable where the function begins", insertions: [.init(slot: 0, text: text)],
        source: "__builtin_memset(&var, 0, sizeof(var));", place: slot)
    }
  }

  // MARK: objects

  private func releases() -> [FixCandidate] {
    guard let slot else { return [] }
    let leaked = trace.messages.last { $0.text.hasPrefix("Unreleased reference") }
    guard let leaked, let id = Diagnostician.number(in: leaked.text, after: "id="),
      let acquired = Diagnostician.number(in: leaked.text, after: "insn=")
        ?? Diagnostician.numbers(in: leaked.text).last,
      let at = trace.steps.lastIndex(where: { $0.instruction == acquired }),
      case .call(let name?) = TracedOperation(trace.steps[at].text)
    else { return [] }
    let calls: [String]
    switch name {
    case "bpf_ringbuf_reserve": calls = ["r2 = 0\ncall bpf_ringbuf_discard"]
    case "bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp": calls = ["call bpf_sk_release"]
    case "bpf_task_acquire", "bpf_task_from_pid", "bpf_task_from_vpid": calls = ["call bpf_task_release"]
    case "bpf_cgroup_acquire", "bpf_cgroup_from_id", "bpf_cgroup_ancestor": calls = ["call bpf_cgroup_release"]
    case "bpf_cpumask_create", "bpf_cpumask_acquire": calls = ["call bpf_cpumask_release"]
    case "bpf_obj_new_impl", "bpf_refcount_acquire_impl": calls = ["r2 = 0\ncall bpf_obj_drop_impl"]
    case "bpf_percpu_obj_new_impl": calls = ["r2 = 0\ncall bpf_percpu_obj_drop_impl"]
    case let name where name.hasPrefix("bpf_iter_") && name.hasSuffix("_new"):
      calls = ["call " + name.dropLast(3) + "destroy"]
    default: return []
    }
    let holders = places(ofReference: id)
    let result = value(0)?.constant.map { "r0 = \($0)" } ?? "r0 = 0"
    var found: [FixCandidate] = []
    for holder in holders {
      for call in calls {
        let text = "\(holder)\n\(call)\n\(result)"
        for way in [.everyone] + edges {
          found.append(
            FixCandidate(
              title: "release it on this path", insertions: [.init(slot: slot, text: text, way: way)], source: nil,
              place: slot))
        }
      }
    }
    // Where nobody holds it any more: right after it was acquired.
    let next = acquired + 1
    for call in calls where !name.hasSuffix("_new") {
      found.append(
        FixCandidate(
          title: "release it after its last use",
          insertions: [.init(slot: next, text: "if r0 == 0 goto +\(call.split(separator: "\n").count + 1)\nr1 = r0\n\(call)")],
          source: nil, place: next))
    }
    return found
  }

  /// Instructions that bring a reference into r1.
  private func places(ofReference id: Int) -> [String] {
    var found: [String] = []
    for number in (0..<10).reversed() {
      guard let held = value(number), held.number("ref_obj_id").map(Int.init) == id || held.number("ref_id").map(Int.init) == id else { continue }
      found.append(number == 1 ? "r1 = r1" : "r1 = r\(number)")
    }
    for slot in stride(from: -8, through: -512, by: -8) {
      guard let held = trace.value(of: "fp\(slot)", before: step) else { continue }
      if held.number("ref_obj_id").map(Int.init) == id { found.append("r1 = *(u64 *)(r10 - \(-slot))") }
      if held.number("ref_id").map(Int.init) == id { found.append("r1 = r10\nr1 += \(slot)") }
    }
    return found
  }

  /// The ways by which this path comes to the refused instruction.
  private var edges: [ProgramEdit.Way] {
    guard step > 0, step < trace.steps.count, let slot else { return [] }
    let before = trace.steps[step - 1].instruction
    return before == slot - 1 ? [.fallingThrough] : [.jumping(from: before)]
  }

  // MARK: rules

  private func returnValues() -> [FixCandidate] {
    guard let slot, let rest = message.components(after: "should have been in [") else { return [] }
    let ends = Diagnostician.numbers(in: rest)
    guard ends.count >= 2 else { return [] }
    let texts = [
      "r0 = \(ends[0])", "if r0 s< \(ends[0]) goto +1\nif r0 s<= \(ends[1]) goto +1\nr0 = \(ends[0])",
    ]
    return texts.map {
      FixCandidate(
        title: "return \(ends[0] == ends[1] ? "\(ends[0])" : "a value from \(ends[0]) to \(ends[1])")",
        insertions: [.init(slot: slot, text: $0)], source: $0.contains("if") ? nil : "return \(ends[0]);", place: slot)
    }
  }

  private var licence: FixCandidate {
    FixCandidate(
      title: "declare a GPL compatible licence", change: { $0.license = "GPL" },
      source: "char LICENSE[] SEC(\"license\") = \"GPL\";", place: nil)
  }

  private var notSleepable: [FixCandidate] {
    guard program.flags.contains(.sleepable) else { return [] }
    return [
      FixCandidate(
        title: "attach without sleeping: take `.s` out of the section's name", change: { $0.flags.remove(.sleepable) },
        place: nil)
    ]
  }

  private func closedSections() -> [FixCandidate] {
    guard let slot else { return [] }
    let call: String
    if message.contains("rcu_read_lock") {
      call = "call bpf_rcu_read_unlock"
    } else if message.contains("preempt_disable") || message.contains("non-preemptible") {
      call = "call bpf_preempt_enable"
    } else {
      return rcuSections()
    }
    let result = value(0).map { $0.constant.map { "\nr0 = \($0)" } ?? "\nr0 = 0" } ?? ""
    let isCall = if case .call = TracedOperation(trace.steps.last?.text ?? "") { true } else { false }
    let restored = isCall ? "" : result
    return ([.everyone] + edges).map { way in
      FixCandidate(
        title: "close the section before", insertions: [.init(slot: slot, text: call + restored, way: way)],
        source: "\(call.dropFirst(5))();", place: slot)
    }
  }

  private func rcuSections() -> [FixCandidate] { [] }

  private func boundedLoops() -> [FixCandidate] {
    guard let slot else { return [] }
    // Behind the loop: the slot after the jump that goes back.
    var places: [Int] = []
    for (at, insn) in program.instructions.enumerated() {
      guard let target = ProgramEdit.target(of: insn, at: at), target <= slot, at >= slot,
        insn.operation != Jump.call, at + 1 < program.instructions.count
      else { continue }
      places.append(at)
    }
    return places.prefix(3).map { at in
      FixCandidate(
        title: "leave the loop when its budget is used up (cond_break)",
        insertions: [.init(slot: at, text: ".8byte 0x\(hex(jump: program, at: at))")], source: "cond_break;", place: at)
    }
  }

  /// `may_goto` over the jump at a slot, as raw bytes.
  private func hex(jump program: Program, at slot: Int) -> String {
    let insn = Instruction(opcode: Class.jmp | Jump.jcond, dst: 0, src: 0, offset: 1)
    let raw = UInt64(insn.opcode) | UInt64(UInt16(bitPattern: insn.offset)) << 16
    return String(raw, radix: 16)
  }

  private func endings() -> [FixCandidate] {
    let end = program.instructions.count
    guard message.contains("not an exit or jmp") else { return [] }
    let starts = program.functionInfo.map { Int($0.instructionOffset) }.filter { $0 > 0 }
      + program.instructions.indices.compactMap { at in
        program.instructions[at].isSubprogramCall ? ProgramEdit.target(of: program.instructions[at], at: at) : nil
      }
    return ([end] + Set(starts).sorted()).filter { (1...end).contains($0) }.map { at in
      FixCandidate(
        title: "end the function with a return",
        insertions: [.init(slot: at, text: "r0 = 0\nexit", way: at == end ? .everyone : .fallingThrough)],
        source: "return 0;", place: nil)
    }
  }

  /// A number used as an address: read through it.
  private func probedReads() -> [FixCandidate] {
    guard let slot, message.contains("invalid mem access"), case .load(let to, let base, let offset, let size)? =
      trace.steps.last.map({ TracedOperation($0.text) }), value(base)?.isScalar ?? true,
      let live = Verifier.liveRegisters(of: program, on: linux), slot + 1 < live.count
    else { return [] }
    // What the call destroys must not be needed after the load.
    let needed = live[slot + 1] & ~(1 << UInt16(to)) & 0x3f
    guard needed == 0 else { return [] }
    let text = """
      r3 = r\(base)
      r3 += \(offset)
      r2 = \(size)
      r1 = r10
      r1 += -512
      call bpf_probe_read_kernel
      r\(to) = *(u\(size * 8) *)(r10 - 512)
      goto +1
      """
    return [
      FixCandidate(
        title: "read through the address with bpf_probe_read_kernel()", insertions: [.init(slot: slot, text: text)],
        source: nil, place: slot)
    ]
  }
}
