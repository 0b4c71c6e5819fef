extension Diagnostician {
  /// References that are not given back, or given back wrongly.
  mutating func explainReferences() {
    let text = subject.message
    if subject.category == .invalidRelease {
      diagnosis.headline = "what is released here is not a reference that the program holds"
      if let register = namedRegister {
        let held = value(register)
        mark(held.map { "r\(register) is \(Self.description(of: $0))" } ?? "not acquired")
        addOrigin(of: register, called: "the pointer")
      } else {
        mark("not acquired, or released already")
      }
      if text.contains("zero offset") {
        note("a reference is released by the very pointer that was acquired, without an offset.")
      }
      diagnosis.advice = "release each acquired object once, by the pointer that the acquiring call returned"
      return
    }
    let leaked = subject.trace.messages.last { $0.text.hasPrefix("Unreleased reference") }
    let acquired = leaked.flatMap { Self.number(in: $0.text, after: "insn=") ?? Self.numbers(in: $0.text).last }
    var name = "an acquired object"
    if let acquired, let at = subject.trace.steps.lastIndex(where: { $0.instruction == acquired }) {
      if case .call(let function?) = TracedOperation(subject.trace.steps[at].text) { name = "the reference from \(function)" }
      add(at, "acquired here")
      if case .call(let function?) = TracedOperation(subject.trace.steps[at].text), let release = Self.release(of: function) {
        diagnosis.advice = "call \(release) on every path after it, this one too"
      }
    }
    let end = text.contains("tail_call") ? "a tail call" : text.contains("bpf_throw") ? "an exception" : "the program's end"
    diagnosis.headline = "\(name) is not released on a path to \(end)"
    mark("still held here")
    addDecisions(from: acquired)
    if diagnosis.advice == nil { diagnosis.advice = "release the object on every path that leads here" }
  }

  /// The branches after an instruction was done: they decide whether this path is taken.
  mutating func addDecisions(from instruction: Int?) {
    let steps = subject.trace.steps
    let first = instruction.flatMap { insn in steps.lastIndex { $0.instruction == insn } } ?? 0
    var decisions: [Diagnosis.Label] = []
    for at in first..<max(first, min(step, steps.count)) {
      guard case .branch(let left, let sign, let right, _) = TracedOperation(steps[at].text), at + 1 < steps.count else {
        continue
      }
      let taken = steps[at + 1].instruction != steps[at].instruction + 1
      decisions.append(subject.label(at, "\(left) \(sign) \(right) is \(taken ? "true" : "false")"))
    }
    diagnosis.path = Array(decisions.suffix(6))
  }

  private static func release(of function: String) -> String? {
    switch function {
    case "bpf_ringbuf_reserve": "bpf_ringbuf_submit() or bpf_ringbuf_discard()"
    case "bpf_ringbuf_reserve_dynptr": "bpf_ringbuf_submit_dynptr() or bpf_ringbuf_discard_dynptr()"
    case "bpf_sk_lookup_tcp", "bpf_sk_lookup_udp", "bpf_skc_lookup_tcp": "bpf_sk_release()"
    case "bpf_task_acquire", "bpf_task_from_pid", "bpf_task_from_vpid": "bpf_task_release()"
    case "bpf_cgroup_acquire", "bpf_cgroup_from_id", "bpf_cgroup_ancestor": "bpf_cgroup_release()"
    case "bpf_cpumask_create", "bpf_cpumask_acquire": "bpf_cpumask_release()"
    case "bpf_obj_new_impl", "bpf_refcount_acquire_impl": "bpf_obj_drop(), or put it into a list, tree or map"
    case "bpf_percpu_obj_new_impl": "bpf_percpu_obj_drop()"
    case "bpf_kptr_xchg": "the object's release function, or put it back"
    case "bpf_get_task_exe_file", "bpf_get_file": "bpf_put_file()"
    case "bpf_iter_num_new": "bpf_iter_num_destroy()"
    case let name where name.hasPrefix("bpf_iter_") && name.hasSuffix("_new"):
      String(name.dropLast(3)) + "destroy()"
    default: nil
    }
  }

  /// Locks, RCU, sections that may not sleep, disabled interrupts.
  mutating func explainSections() {
    let text = subject.message
    let name: String
    if case .call(let function?) = operation { name = function } else { name = "this" }
    switch subject.category {
    case .lock:
      if text.contains("must be held") {
        diagnosis.headline = "\(text.contains("rb_root") ? "a tree" : "a list") is changed without holding its lock"
        mark("the bpf_spin_lock beside the \(text.contains("rb_root") ? "root" : "head") is not held")
        diagnosis.advice = "call bpf_spin_lock() on the lock in the same map value or object, and bpf_spin_unlock() after"
      } else if text.contains("different lock") {
        diagnosis.headline = "another lock is released than the one that is held"
        mark("not the lock that was taken")
        diagnosis.advice = "unlock through the same pointer that was locked; each lookup counts as another lock"
      } else if text.contains("function calls are not allowed") || text.contains("not allowed while holding") {
        diagnosis.headline = "\(name) may not be called while a lock is held"
        mark("a lock is held here")
        diagnosis.advice = "do the call before bpf_spin_lock() or after bpf_spin_unlock()"
      } else if text.contains("cannot be used inside") {
        diagnosis.headline = Self.sectionSentence(text)
        mark("the section is still open")
        diagnosis.advice = "close the section on every path before this"
      } else if text.contains("no valid bpf_spin_lock") || text.contains("doesn't point to") || text.contains("has no") {
        diagnosis.headline = "there is no bpf_spin_lock where this pointer points"
        mark(text)
        diagnosis.advice = "pass the address of the `struct bpf_spin_lock` field of the map's value or object; the map needs BTF"
      } else {
        diagnosis.headline = "a lock is used in a way that could block for ever"
        mark(text)
        diagnosis.advice = "hold one lock at a time, for a few instructions, and release it on every path"
      }
      addSectionStart(["bpf_spin_lock", "bpf_res_spin_lock", "bpf_preempt_disable"])
    case .rcu:
      diagnosis.headline = text.contains("must be a rcu pointer")
        ? "the pointer is only valid inside of bpf_rcu_read_lock() and bpf_rcu_read_unlock()"
        : Self.sectionSentence(text)
      mark(text.contains("must be a rcu pointer") ? "used outside of an RCU section" : "the RCU section is still open")
      if let register = namedRegister { addOrigin(of: register, called: "the pointer") }
      addSectionStart(["bpf_rcu_read_lock"])
      diagnosis.advice = text.contains("must be a rcu pointer")
        ? "put the load and the use between bpf_rcu_read_lock() and bpf_rcu_read_unlock(), or take a reference"
        : "call bpf_rcu_read_unlock() on every path before this"
    case .sleep:
      diagnosis.headline = text.contains("is not sleepable")
        ? "a sleepable program attaches to a function that may not sleep"
        : "\(name) may sleep, which is not allowed here"
      mark(text)
      addSectionStart(["bpf_rcu_read_lock", "bpf_preempt_disable", "bpf_spin_lock", "bpf_local_irq_save"])
      diagnosis.advice = text.contains("is not sleepable")
        ? "take the `.s` out of the section's name, or attach to a function of the sleepable list"
        : "make the program sleepable (section name with `.s`) and call it outside of RCU, lock and preemption-off sections"
    default:
      diagnosis.headline = "interrupts are not restored as they were saved"
      mark(text)
      addSectionStart(["bpf_local_irq_save", "bpf_res_spin_lock_irqsave"])
      diagnosis.advice = "restore in the reverse order of saving, once each, with the same flags variable, on every path"
    }
  }

  private static func sectionSentence(_ text: String) -> String {
    let what = text.contains("BPF_EXIT") ? "the program ends" : text.contains("bpf_throw") ? "an exception is thrown"
      : text.contains("tail_call") ? "a tail call is made" : "this is done"
    let section = text.contains("rcu") ? "an RCU section" : text.contains("preempt") ? "a section with preemption off"
      : text.contains("irq") ? "a section with interrupts off" : "a section that holds a lock"
    return "\(what) inside of \(section)"
  }

  private mutating func addSectionStart(_ names: [String]) {
    let steps = subject.trace.steps
    guard let at = steps[..<min(step, steps.count)].lastIndex(where: { step in
      if case .call(let name?) = TracedOperation(step.text) { return names.contains(name) }
      return false
    }) else { return }
    add(at, "the section begins here")
  }

  /// Dynptrs, iterators, kernel pointers in maps, lists and trees.
  mutating func explainObjects() {
    let text = subject.message
    let name: String
    if case .call(let function?) = operation { name = function } else { name = "this" }
    switch subject.category {
    case .dynptr:
      if text.contains("Expected an initialized dynptr") {
        diagnosis.headline = "\(name) needs a dynptr that was initialised"
        mark("not initialised on this path, or released, or overwritten")
        diagnosis.advice = "initialise it with bpf_dynptr_from_mem(), bpf_ringbuf_reserve_dynptr() or the like before, at offset 0 of the variable"
      } else if text.contains("overwrite") || text.contains("potential write") || text.contains("invalid write") {
        diagnosis.headline = "a dynptr on the stack is overwritten"
        mark("these bytes belong to a dynptr")
        diagnosis.advice = "change dynptrs through their helpers only, and release a ring buffer's dynptr before its variable is used again"
      } else if text.contains("uninitialized") {
        diagnosis.headline = "\(name) wants a fresh dynptr, but this one is in use"
        mark("initialised already")
        diagnosis.advice = "use another variable, or release this one first"
      } else {
        diagnosis.headline = "\(name) cannot work with this dynptr"
        mark(text)
        diagnosis.advice = "pass the address of a `struct bpf_dynptr` on the stack, of a kind that the function takes"
      }
    case .iterator:
      diagnosis.headline = text.contains("uninitialized")
        ? "an iterator that is in use is begun again"
        : "\(name) needs an iterator that was begun with its _new function"
      mark(text)
      diagnosis.advice = "begin with bpf_iter_…_new(), step with _next(), and end with _destroy() exactly once, even where _new fails"
    case .kptr:
      diagnosis.headline = "a kernel pointer in a map is used in a way that its type does not allow"
      mark(text)
      diagnosis.advice = text.contains("referenced kptr")
        ? "exchange referenced kptrs with bpf_kptr_xchg(); they cannot be stored directly"
        : "the pointer must be of the field's own type, at its exact offset"
    default:
      diagnosis.headline = "a list or tree is used with a node or head that does not belong to it"
      mark(text)
      diagnosis.advice = "pass the head (or root) field itself and the node field that its `__contains` tag names, of an object from bpf_obj_new()"
    }
    if let register = namedRegister { addOrigin(of: register, called: "the pointer") }
    if let argument = Self.number(in: text, after: "arg#") { addOrigin(of: argument + (text.contains("as arg #") ? 0 : 1), called: "the argument") }
  }

  /// Callbacks, exceptions, tail calls.
  mutating func explainCalls() {
    let text = subject.message
    switch subject.category {
    case .callback:
      diagnosis.headline = "this function cannot be used as a callback here"
      mark(text)
      diagnosis.advice = "a callback is a static function of the program, passed by its name, with the arguments that the helper's documentation names"
    case .exceptions:
      diagnosis.headline = text.contains("exception cb") || text.contains("exception callback")
        ? "the exception callback does not have the form that it must have"
        : "an exception cannot be thrown here"
      mark(text)
      diagnosis.advice = text.contains("callback subprog")
        ? "return an error from the callback and throw in the function that called the helper"
        : "an exception callback takes one u64 cookie, returns int, is named once by __exception_cb, and is never called directly"
    default:
      diagnosis.headline = "a tail call is not possible here"
      mark(text)
      diagnosis.advice = "make tail calls from the main function, or from functions that return int, with a prog_array map and no locks or references held"
    }
  }
}
