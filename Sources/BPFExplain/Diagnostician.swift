import BPFISA
import BPFLinux
import BPFVerifier

/// Finds out what is to be said of a refusal.
///
/// One function a category in `Diagnoses/`; each reads the trace backwards from the refused instruction: what the value
/// is, where it came from, which check is missing or too weak.
public struct Diagnostician {
  public let subject: Subject
  public var diagnosis: Diagnosis

  init(_ subject: Subject) {
    self.subject = subject
    diagnosis = Diagnosis(
      code: subject.category.rawValue, headline: subject.message, kernelMessage: subject.message, errno: subject.errno)
  }

  public static func diagnose(_ subject: Subject) -> Diagnosis {
    var work = Diagnostician(subject)
    work.diagnose()
    if let program = subject.program, let linux = subject.linux {
      let candidates = Candidates(subject: subject, program: program, linux: linux, diagnosis: work.diagnosis).all()
      work.diagnosis.fixes = FixFinder(program: program, linux: linux, subject: subject).find(candidates)
    }
    return work.diagnosis
  }

  private mutating func diagnose() {
    if let step = subject.failingStep {
      diagnosis.primary = subject.label(step, "refused here")
    } else if let instruction = subject.instruction {
      diagnosis.primary = subject.label(instruction: instruction, "refused here")
    }
    switch subject.category {
    case .packetBounds: explainPacketBounds()
    case .mapBounds, .memoryBounds: explainMemoryBounds()
    case .nullDereference: explainNullDereference()
    case .uninitializedRegister: explainUninitializedRegister()
    case .uninitializedStack, .stackBounds, .stackDepth: explainStack()
    case .unreleasedReference, .invalidRelease: explainReferences()
    case .returnValue: explainReturnValue()
    case .typeMismatch: explainTypeMismatch()
    case .pointerArithmetic, .pointerLeak, .misaligned: explainPointerUse()
    case .unboundedSize: explainUnboundedSize()
    case .infiniteLoop, .complexity, .controlFlow: explainControlFlow()
    case .helperNotAllowed, .kfuncNotAllowed, .licenseRequired, .privilege: explainAvailability()
    case .contextAccess, .readOnly: explainContext()
    case .lock, .rcu, .sleep, .irq: explainSections()
    case .dynptr, .iterator, .kptr, .graph: explainObjects()
    case .callback, .exceptions, .tailCall: explainCalls()
    case .invalidInstruction, .invalidArgument, .btf, .attach, .mapUse, .atomics, .speculation, .invariant,
      .unsupported:
      explainRules()
    }
  }

  // MARK: what diagnoses ask

  /// The step that is refused; past the end where no step is.
  var step: Int { subject.failingStep ?? subject.trace.steps.count }

  var operation: TracedOperation {
    step < subject.trace.steps.count ? TracedOperation(subject.trace.steps[step].text) : .other
  }

  /// The first register that the message names.
  var namedRegister: Int? { Self.number(in: subject.message, after: "R") }

  /// All numbers of the message, in order.
  var numbers: [Int] { Self.numbers(in: subject.message) }

  /// The last message that contains `words`: Linux often says the numbers in a line of their own.
  func message(containing words: String) -> String? {
    subject.trace.messages.last { $0.text.contains(words) }?.text
      ?? (subject.message.contains(words) ? subject.message : nil)
  }

  func value(_ register: Int) -> TracedValue? { subject.trace.value(of: "R\(register)", before: step) }

  /// Says of the refused place what is wrong there.
  mutating func mark(_ text: String) {
    diagnosis.primary?.text = text
  }

  mutating func add(_ at: Int, _ text: String) {
    guard at < subject.trace.steps.count else { return }
    let label = subject.label(at, text)
    // Said of the same place, once.
    guard !diagnosis.secondary.contains(where: { $0.instruction == label.instruction }),
      diagnosis.primary?.instruction != label.instruction
    else { return }
    diagnosis.secondary.append(label)
  }

  mutating func note(_ text: String) { diagnosis.notes.append(text) }

  /// Tells where the value of a register came from, at its place.
  @discardableResult
  mutating func addOrigin(of register: Int, called name: String) -> VerifierTrace.Origin? {
    guard let origin = subject.trace.origin(ofRegister: register, before: step) else { return nil }
    switch origin.kind {
    case .call(let function): add(origin.step, "\(name) comes from \(function ?? "this call")")
    case .load(let from, _, _):
      add(origin.step, from.map { "\(name) is loaded from \(Self.description(of: $0))" } ?? "\(name) is loaded here")
    case .constant: add(origin.step, "\(name) is set here")
    case .arithmetic: add(origin.step, "\(name) is worked out here")
    case .argument: break
    }
    return origin
  }

  /// The source expression of the refused place; the instruction where there is no source.
  var expression: String {
    guard let primary = diagnosis.primary else { return subject.message }
    if let position = primary.position, position.column > 0 {
      let characters = Array(position.text)
      let start = min(max(0, position.column - 1), characters.count)
      let words = String(characters[start..<min(characters.count, start + primary.length)])
      if !words.isEmpty { return words }
    }
    return primary.code
  }

  // MARK: words

  static func numbers(in text: String) -> [Int] {
    text.split { !($0.isNumber || $0 == "-") }.compactMap { Int($0) }
  }

  /// The number that stands right behind a word, as in `R3` or `off=14`.
  static func number(in text: String, after word: String) -> Int? {
    var rest = text[...]
    while let found = rest.range(of: word) {
      let before = found.lowerBound > text.startIndex ? text[text.index(before: found.lowerBound)] : " "
      let digits = rest[found.upperBound...].prefix { $0.isNumber || $0 == "-" }
      if !before.isLetter, let number = Int(digits) { return number }
      rest = rest[found.upperBound...]
    }
    return nil
  }

  static func bytes(_ count: Int) -> String { count == 1 ? "1 byte" : "\(count) bytes" }

  /// What a value is, in plain words.
  static func description(of value: TracedValue) -> String {
    var kind = value.kind
    let mayBeNull = value.mayBeNull
    if mayBeNull { kind = String(kind.dropLast("_or_null".count)) }
    let words: String
    switch kind {
    case "scalar":
      if let constant = value.constant { return "the number \(constant)" }
      return "a number \(range(of: value))"
    case "ctx": words = "the context"
    case "fp": words = "the stack"
    case "pkt": words = "the packet"
    case "pkt_meta": words = "the packet's metadata"
    case "pkt_end": words = "the packet's end"
    case "map_ptr": words = value.mapName.map { "the map '\($0)'" } ?? "a map"
    case "map_value": words = value.mapName.map { "a value of map '\($0)'" } ?? "a map's value"
    case "map_key": words = "a map's key"
    case "mem", "rdonly_mem": words = "memory of \(value.attributes["sz"] ?? "?") bytes"
    case "ringbuf_mem": words = "a ring buffer's record"
    case "sock", "sock_common", "tcp_sock", "xdp_sock": words = "a socket"
    case "func": words = "a function"
    default:
      let name = kind.split(separator: "_").last.map(String.init) ?? kind
      words = kind.contains("ptr_") ? "a pointer to struct \(kind.components(after: "ptr_") ?? name)" : "a pointer (\(kind))"
    }
    return mayBeNull ? "\(words), or NULL" : words
  }

  /// The values that a number may have.
  static func range(of value: TracedValue) -> String {
    let low = value.signedMinimum
    let high = value.signedMaximum
    if low == .min && high == .max {
      let most = value.unsignedMaximum
      return most == .max ? "of which nothing is known" : "from 0 to \(most)"
    }
    if low == .min { return "of at most \(high)" }
    if high == .max { return "of at least \(low)" }
    return "from \(low) to \(high)"
  }
}

extension String {
  /// What stands behind the last occurrence of `word`.
  func components(after word: String) -> String? {
    var rest = self[...]
    var found: Substring?
    while let range = rest.range(of: word) {
      found = rest[range.upperBound...]
      rest = rest[range.upperBound...]
    }
    return found.map(String.init)
  }
}
