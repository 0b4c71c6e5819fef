extension Diagnostician {
  /// What may be NULL is used as if it never were.
  mutating func explainNullDereference() {
    let register = namedRegister ?? Self.number(in: subject.message, after: "arg").map { subject.message.contains("arg#") ? $0 + 1 : $0 + 1 }
    guard let register else {
      explainRules()
      return
    }
    let held = value(register)
    let origin = addOrigin(of: register, called: "the pointer")
    var source = "a call"
    if case .call(let name?)? = origin?.kind { source = name }
    if case .load? = origin?.kind { source = "a pointer in memory" }
    if case .call(let name) = operation {
      diagnosis.headline = "\(name ?? "this function") is passed a pointer that may be NULL"
      mark("argument \(register) \(held.map { "is \(Self.description(of: $0))" } ?? "may be NULL")")
    } else {
      diagnosis.headline = "the pointer from \(source) is used without a check for NULL"
      mark("it \(held.map { "is \(Self.description(of: $0))" } ?? "may be NULL") here")
    }
    if let origin {
      let checks = subject.trace.comparisons(ofRegister: register, from: origin.step, to: step)
      if let check = checks.last {
        add(check, "this comparison does not settle it")
        note("Linux takes only a comparison of the very pointer with 0 (before anything is added to it) for a NULL check.")
      }
    }
    diagnosis.advice = "check it before use: `if (!ptr) return …;`"
  }

  /// Registers that are read before anything was put there.
  mutating func explainUninitializedRegister() {
    guard let register = namedRegister else {
      explainRules()
      return
    }
    let steps = subject.trace.steps
    let isReturn = if case .exit = operation { register == 0 } else { false }
    if isReturn {
      diagnosis.headline = "a path ends without a return value"
      mark("r0 was not set on this path")
      diagnosis.advice = "return a value on every path"
    } else {
      diagnosis.headline = "r\(register) is read before it has a value"
      mark("r\(register) holds nothing here")
      diagnosis.advice = "give the variable a value on every path that leads here"
    }
    let frame = step < steps.count ? steps[step].frame : 0
    if register <= 5,
      let call = steps[..<min(step, steps.count)].lastIndex(where: { step in
        if case .call = TracedOperation(step.text) { return step.frame == frame }
        return false
      })
    {
      add(call, register == 0 ? "this call returns nothing that can be used" : "this call leaves nothing in r1 to r5")
      if register > 0 { note("a call overwrites r1 to r5; what is needed afterwards lives in r6 to r9 or on the stack.") }
    } else if register > 1 && register < 10 && step <= 1 {
      note("a program begins with its context in r1 and the frame pointer in r10; all other registers are empty.")
    }
  }

  /// The value that a program or function returns.
  mutating func explainReturnValue() {
    let text = subject.message
    let what =
      text.hasPrefix("At async callback") ? "callback" : text.hasPrefix("At callback") ? "callback" : "program"
    let wanted = Self.range(in: text)
    diagnosis.headline =
      wanted.map { "a \(what) of this kind must return \($0)" } ?? "this value cannot be returned here"
    let held = value(0)
    mark(held.map { "returns \(Self.description(of: $0))" } ?? "returns something else")
    if let origin = subject.trace.origin(ofRegister: 0, before: step) {
      switch origin.kind {
      case .call(let name): add(origin.step, "the value comes from \(name ?? "this call")")
      case .load: add(origin.step, "the value is loaded here")
      case .constant: add(origin.step, "the value is set here")
      case .arithmetic: add(origin.step, "the value is worked out here")
      case .argument: break
      }
    }
    diagnosis.advice = wanted.map { "return \($0) on every path" } ?? "return a number, as this type of program must"
  }

  /// `should have been in [0, 1]` in words.
  private static func range(in text: String) -> String? {
    guard let rest = text.components(after: "should have been in ") else { return nil }
    let ends = numbers(in: rest)
    guard ends.count >= 2 else { return nil }
    if ends[0] == ends[1] { return "\(ends[0])" }
    return ends[1] == ends[0] + 1 ? "\(ends[0]) or \(ends[1])" : "a value from \(ends[0]) to \(ends[1])"
  }

  /// Something else is expected than what is there.
  mutating func explainTypeMismatch() {
    let text = subject.message
    guard let register = namedRegister else {
      explainMismatchedArgument()
      return
    }
    let held = value(register)
    addOrigin(of: register, called: "the value")
    if text.contains("invalid mem access") {
      if held?.isScalar ?? text.contains("'scalar'") || text.contains("'inv'") {
        diagnosis.headline = "a number is used as a pointer"
        mark("r\(register) is \(held.map(Self.description) ?? "a number") to the verifier")
        explainLostPointer(register)
      } else {
        explainForbiddenAccess(register, held)
      }
      return
    }
    if text.contains("expected="), let wanted = text.components(after: "expected=") {
      let kinds = wanted.split(separator: ",").map { Self.kindInWords($0.drop { $0 == " " }) }
      var unique: [String] = []
      for kind in kinds where !unique.contains(kind) { unique.append(kind) }
      let name: String
      if case .call(let function?) = operation { name = function } else { name = "this function" }
      diagnosis.headline = "\(name) expects \(Self.list(unique)) as argument \(register)"
      mark("it is \(held.map(Self.description) ?? "something else")")
      if held?.isScalar == true { explainLostPointer(register) }
      if diagnosis.advice == nil {
        diagnosis.advice = "pass \(Self.list(unique))\(wanted.contains("_or_null") ? "" : "; what may be NULL is checked first")"
      }
      return
    }
    if text.contains("must be referenced or trusted") {
      diagnosis.headline = "a kernel function needs a pointer that the program owns or that is trusted to stay valid"
      mark("r\(register) is \(held.map(Self.description) ?? "a pointer") that may become invalid at any time")
      diagnosis.advice =
        "take a reference first (an acquire function such as bpf_task_acquire, with its check for NULL), or use the "
        + "pointer as the program got it: a pointer read out of another structure is not trusted"
      return
    }
    diagnosis.headline = "r\(register) does not hold what is needed here"
    mark(text)
    diagnosis.advice =
      text.contains("LD_ABS") || text.contains("BPF_LD_")
      ? "keep the context in r6: loads of this kind take it from there"
      : "give it a value of the kind that Linux's words name"
  }

  /// Memory that is not there (any more), or that is not for reading.
  private mutating func explainForbiddenAccess(_ register: Int, _ held: TracedValue?) {
    let isGone = subject.message.contains("'scalar'") || subject.message.contains("'inv'")
    let what = held.map(Self.description) ?? "this pointer"
    guard isGone else {
      diagnosis.headline = "\(what) cannot be dereferenced"
      mark("only its address may be used")
      diagnosis.advice = "use it for comparisons or as an argument; the memory itself is reached through helpers"
      return
    }
    diagnosis.headline = "\(what) is used after it became invalid"
    mark("r\(register) was a pointer; a call has made it void")
    let steps = subject.trace.steps
    if let call = steps[..<min(step, steps.count)].lastIndex(where: { step in
      guard case .call(let name?) = TracedOperation(step.text) else { return false }
      return Self.movesPackets(name) || ["release", "submit", "discard", "drop", "unlock", "destroy", "put_file"].contains { name.contains($0) }
    }) {
      add(call, "this call makes it void")
    }
    diagnosis.advice = "get the pointer again after the call (and check it again), or use it before"
  }

  private mutating func explainMismatchedArgument() {
    let text = subject.message
    if text.contains("same insn cannot be used with different pointers") {
      diagnosis.headline = "one instruction reaches different kinds of memory on different paths"
      mark("on another path this is another kind of pointer")
      diagnosis.advice = "keep the accesses apart: the compiler merged two branches; make it not to with barrier_var() or separate functions"
    } else if text.contains("Caller passes invalid args") {
      diagnosis.headline = "the arguments do not fit the function that is called"
      mark(subject.trace.messages.dropLast().last?.text ?? "arguments do not match the function's types")
      diagnosis.advice = "pass what the function's types and tags say; a pointer to be read needs a size that is known"
    } else if let argument = Self.number(in: text, after: "arg#") {
      diagnosis.headline = "argument \(argument + 1) is not of the type that the function takes"
      mark(text)
      addOrigin(of: argument + 1, called: "the argument")
    } else {
      explainRules()
    }
  }

  /// Why what was a pointer in C is a number to the verifier.
  private mutating func explainLostPointer(_ register: Int) {
    guard let origin = subject.trace.origin(ofRegister: register, before: step) else { return }
    switch origin.kind {
    case .load(let from, _, let size):
      if size < 8 {
        note("it was loaded as \(size * 8) bits: a pointer takes 64.")
      } else if from?.kind.hasPrefix("map_value") == true || from?.kind == "scalar" {
        note("what is read from a map's value or unknown memory is a number, whatever its type in C.")
        diagnosis.advice = "read through it with bpf_probe_read_kernel() or bpf_probe_read_user(), or keep kernel pointers as kptrs"
      } else if from?.kind == "ctx" {
        note("this field of the context is a number to the verifier, not a pointer that may be followed.")
        diagnosis.advice = "read through it with bpf_probe_read_kernel() (or bpf_core_read), or use a program type whose context is typed (fentry, tp_btf)"
      }
    case .call(let name?):
      note("\(name) returns a number.")
    case .constant(let text):
      note("\(text) is a number; no address of the kernel can be written down in a program.")
    case .argument where origin.changes.isEmpty:
      note("it is an argument of a function that is verified on its own, for any number.")
      diagnosis.advice = "make the function static, or give the argument a type that says what it points to"
    default: break
    }
    if let change = origin.changes.last(where: { step in
      if case .arithmetic(_, let sign, _) = TracedOperation(subject.trace.steps[step].text) { return sign != "+=" && sign != "-=" }
      return false
    }) {
      add(change, "this operation makes a number of it")
    }
    if diagnosis.advice == nil {
      diagnosis.advice = "use the pointer itself, unchanged, or read through the address with bpf_probe_read_kernel()"
    }
  }

  static func list(_ words: [String]) -> String {
    guard let last = words.last, words.count > 1 else { return words.first ?? "something else" }
    return words.dropLast().joined(separator: ", ") + " or " + last
  }

  static func kindInWords(_ kind: some StringProtocol) -> String {
    switch String(kind) {
    case "fp": "memory on the stack"
    case "pkt", "pkt_meta": "packet memory"
    case "map_key": "a map's key"
    case "map_value": "a map's value"
    case "map_ptr": "a map"
    case "mem", "buf", "rdonly_mem": "memory"
    case "ringbuf_mem": "a ring buffer's record"
    case "scalar", "inv": "a number"
    case "ctx": "the context"
    case "func": "a function"
    case "sock", "sock_common", "tcp_sock", "xdp_sock": "a socket"
    case let name where name.hasPrefix("percpu"): "a per-CPU pointer"
    case let name where name.contains("ptr_"): "a pointer to a kernel object"
    case let name: name
    }
  }

  /// Arithmetic on pointers, leaks of them, accesses across boundaries.
  mutating func explainPointerUse() {
    let text = subject.message
    let register = namedRegister
    if let register { addOrigin(of: register, called: "the value") }
    if text.contains("unbounded min value") || text.contains("bounded") {
      diagnosis.headline = "a number that is not bounded is added to a pointer"
      mark("the verifier cannot follow where this points")
      if case .arithmetic(_, _, let operand) = operation, let index = TracedOperation.register(operand) {
        addNumber(index, before: step)
        if let held = value(index) { mark("adds \(Self.description(of: held))") }
      }
      diagnosis.advice = "bound the number before it is added: `if (i >= COUNT) return …;` or `i &= COUNT - 1;`, with an unsigned type"
    } else if text.contains("pointer += pointer") || text.contains("subtract pointer") || text.contains("pointer -=") {
      diagnosis.headline = "arithmetic between two pointers gives no pointer"
      mark(text)
      diagnosis.advice = "add numbers to pointers; the distance of two packet pointers may be computed, of others not"
    } else if text.contains("null-check it first") {
      diagnosis.headline = "arithmetic on a pointer that may be NULL"
      mark("check it for NULL before anything is added")
      diagnosis.advice = "check the pointer first: `if (!ptr) return …;`"
    } else if text.contains("pointer arithmetic") && text.contains("prohibited") || text.contains("bitwise operator")
      || text.contains("32-bit pointer arithmetic")
    {
      diagnosis.headline = "this operation is not allowed on \(register.flatMap { value($0) }.map(Self.description) ?? "a pointer")"
      mark(text.contains("32-bit") ? "32 bits of a pointer are no pointer" : "the result would be no pointer")
      diagnosis.advice = "only numbers may be added to or subtracted from pointers, in 64 bits"
    } else if text.contains("modified ctx ptr") || text.contains("negative offset ctx") || text.contains("variable ctx access") {
      diagnosis.headline = "the context may be reached at constant offsets only"
      mark(text.contains("variable") ? "the offset is variable here" : "the context pointer was changed before")
      diagnosis.advice = "access the context's fields by name, through the pointer that the program was given; keep the compiler from computing on it with barrier_var() or by copying the field first"
    } else if text.contains("misaligned") {
      diagnosis.headline = "an access is not aligned to its size"
      mark(text)
      diagnosis.advice = "align the field, or read it in smaller pieces; on the stack a variable of 8 bytes lies at a multiple of 8"
    } else if text.contains("leaks addr") || text.contains("leak") {
      diagnosis.headline = "the value of a pointer would leave the kernel"
      mark("an address is written where unprivileged users can read it")
      diagnosis.advice = "store what the pointer points to, not the pointer; or load with CAP_PERFMON"
    } else if text.contains("invalid size of register fill") || text.contains("invalid size of register spill")
      || text.contains("corrupt spilled pointer") || text.contains("partial copy")
    {
      diagnosis.headline = "a pointer on the stack is read or written in part"
      mark(text)
      diagnosis.advice = "keep pointers in whole 8-byte slots; do not overlay them in a union or copy them bytewise"
    } else {
      explainForbiddenArithmetic()
    }
  }

  private mutating func explainForbiddenArithmetic() {
    let text = subject.message
    mark(text)
    if text.contains("comparison prohibited") {
      diagnosis.headline = "pointers may not be compared without CAP_PERFMON: their values would leak"
      diagnosis.advice = "compare with NULL only, or load with CAP_PERFMON"
    } else if text.contains("stack frame of the caller") {
      diagnosis.headline = "a pointer to this function's stack would outlive it"
      diagnosis.advice = "let the caller own the memory and pass its address down"
    } else if text.contains("out of bounds") || text.contains("is not allowed") {
      diagnosis.headline = "a pointer is moved too far from its memory"
      diagnosis.advice = "keep offsets small (below 512 MB) and inside of the memory"
    } else if text.contains("prohibited") {
      diagnosis.headline = "this operation is not allowed on a pointer"
      diagnosis.advice = "only numbers may be added to or subtracted from pointers, in 64 bits"
    } else {
      diagnosis.headline = "a pointer is used in a way that the verifier does not allow"
      diagnosis.advice = "use the pointer itself, unchanged, for loads, stores and calls"
    }
  }

  /// The stack: bounds, what was never written, depth.
  mutating func explainStack() {
    let text = subject.message
    switch subject.category {
    case .stackDepth:
      if text.contains("too deep") || text.contains("frames") {
        diagnosis.headline = "more functions are nested than Linux allows (8)"
        diagnosis.advice = "call less deep, or let the compiler inline: static __always_inline"
      } else {
        let size = numbers.last
        diagnosis.headline = "the functions that call each other need \(size.map { "\($0) bytes" } ?? "more than 512 bytes") of stack; there are 512"
        diagnosis.advice = "move large variables into a per-CPU array map, or make buffers smaller"
      }
      for at in subject.trace.steps.indices {
        if case .call(nil) = TracedOperation(subject.trace.steps[at].text) { add(at, "calls go deeper here") }
      }
    case .uninitializedStack:
      diagnosis.headline = "stack memory is read that was never written"
      let place = numbers
      if case .call(let name?) = operation {
        mark("\(name) reads memory of which not every byte was written")
      } else {
        mark("nothing was written here on this path")
      }
      if text.contains("off"), place.count >= 3 {
        note("byte \(place[place.count - 2] < 0 ? 0 : place[place.count - 2]) of the access at fp\(place[place.count - 3]) has no value.")
      }
      note("padding between the fields of a struct counts: `= {}` does not always write it, `__builtin_memset(&x, 0, sizeof(x))` does.")
      diagnosis.advice = "zero the whole variable first: `__builtin_memset(&x, 0, sizeof(x));`"
    default:
      let offset = Self.number(in: text, after: "off=")
      let size = Self.number(in: text, after: "size=")
      if text.contains("variable-offset") || text.contains("unbounded") {
        diagnosis.headline = "the stack is reached at an offset that is not bounded"
        mark("the offset is variable")
        if let register = namedRegister { addIndex(of: register) }
        diagnosis.advice = "bound the index: `if (i >= COUNT) return …;` or `i &= COUNT - 1;`"
      } else {
        diagnosis.headline = "an access lies outside of the stack frame"
        mark(
          [offset.map { "offset \($0)" }, size.map { Self.bytes($0) }].compactMap { $0 }.joined(separator: ", ")
            + "; a frame is the 512 bytes below its pointer")
        diagnosis.advice = "stay between fp-512 and fp-1; larger buffers belong into a per-CPU array map"
      }
    }
  }
}
