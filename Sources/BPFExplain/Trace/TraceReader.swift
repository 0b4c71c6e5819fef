/// Reads a verifier's log line by line.
///
/// What a line is, its beginning says: an instruction (`12: (bf) r1 = r2`), a state (`12: R1=ctx()`, `from 3 to 12:
/// …`), source (`; x = y;`), precision marks, counts; anything else is a message.
struct TraceReader {
  private(set) var trace = VerifierTrace()
  private var frame = 0
  private var source: VerifierTrace.SourceText?
  private var pending: [VerifierTrace.Change] = []
  private var resumes: Int?
  private var line = 0
  /// In the listing of live registers before the exploration, which looks like instructions.
  private var inListing = false
  /// Behind `caller:` or `callee:`, which say states again.
  private var inFrames = false

  static func read(_ log: some Sequence<UInt8>) -> VerifierTrace {
    var reader = TraceReader()
    for line in Array(log).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      reader.read(String(decoding: line, as: UTF8.self)[...])
    }
    return reader.trace
  }

  private mutating func read(_ whole: Substring) {
    line += 1
    var text = whole
    while text.last == "\r" || text.last == " " { text = text.dropLast() }
    guard !text.isEmpty else {
      inListing = false
      return
    }
    if text.hasPrefix("; ") || text == ";" {
      source = Self.source(text.dropFirst(2))
    } else if text.hasPrefix("Live regs before insn:") {
      inListing = true
    } else if text.hasPrefix("from ") {
      readResumption(text)
    } else if text.hasPrefix("caller:") || text.hasPrefix("callee:") || text.hasPrefix("returning from callee:")
      || text.hasPrefix("to caller at ") || text.hasPrefix("cur state:") || text.hasPrefix("old state:")
    {
      inFrames = true
      if text.hasPrefix("to caller at ") { frame = max(0, frame - 1) }
      if text.hasPrefix("callee:") { frame += 1 }
    } else if Self.isNoise(text) {
      return
    } else if text.hasPrefix("processed "), let counts = Self.counts(text) {
      trace.counts = counts
    } else if let colon = text.firstIndex(of: ":"), let number = Int(text[..<colon]) {
      readNumbered(number, text[text.index(after: colon)...])
    } else if let state = Self.state(text) {
      readState(state)
    } else {
      inFrames = false
      trace.messages.append(.init(text: String(text), steps: trace.steps.count, line: line))
    }
  }

  // MARK: lines

  private mutating func readNumbered(_ number: Int, _ rest: Substring) {
    var rest = rest
    while rest.first == " " { rest = rest.dropFirst() }
    if rest == "safe" || rest.isEmpty {
      pending = []
      return
    }
    if inListing { return }
    if let state = Self.state(rest) {
      readState(state)
      return
    }
    guard rest.first == "(" else {
      trace.messages.append(.init(text: String(rest), steps: trace.steps.count, line: line))
      return
    }
    inFrames = false
    var code = rest
    var after: [VerifierTrace.Change] = []
    if let mark = Self.stateMark(rest) {
      code = rest[..<mark]
      let tail = rest[rest.index(after: mark)...].drop { $0 == " " }
      if let state = Self.state(tail) {
        after = state.changes
      }
    }
    while code.last == " " { code = code.dropLast() }
    var step = VerifierTrace.Step(instruction: number, text: Self.operation(code), line: line)
    step.frame = frame
    step.source = source
    step.resumes = resumes
    step.before = pending
    step.state = after
    source = nil
    resumes = nil
    pending = []
    trace.steps.append(step)
    if step.text.hasPrefix("exit") && frame > 0 && resumes == nil { /* `to caller at` follows */ }
  }

  private mutating func readResumption(_ text: Substring) {
    inListing = false
    inFrames = false
    // from 12 to 15 (speculative execution): R0=…   |   from 12 to 15: safe
    let words = text.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: true)
    guard words.count >= 4, words[2] == "to", let from = Int(words[1]) else {
      trace.messages.append(.init(text: String(text), steps: trace.steps.count, line: line))
      return
    }
    guard let colon = text.firstIndex(of: ":") else { return }
    let rest = text[text.index(after: colon)...].drop { $0 == " " }
    if rest == "safe" { return }
    resumes = from
    pending = []
    if let state = Self.state(rest) {
      frame = state.frame ?? 0
      pending = state.changes
    }
  }

  /// A line that is nothing but a state: before the instruction that follows, or after the one before it (5.x).
  private mutating func readState(_ state: (frame: Int?, changes: [VerifierTrace.Change])) {
    if inFrames {
      // Both frames are said again; the one that goes on is the last.
      if let number = state.frame { frame = number }
      pending = state.changes
      return
    }
    if let number = state.frame { frame = number }
    if resumes == nil, let last = trace.steps.indices.last, trace.steps[last].state.isEmpty, pending.isEmpty {
      trace.steps[last].state = state.changes
    }
    pending = state.changes
  }

  // MARK: parts

  private static func isNoise(_ text: Substring) -> Bool {
    for prefix in [
      "mark_precise:", "last_idx", "regs=", "parent ", "func#", "verification time", "stack depth", "Validating ",
      "SCC ", "frame ", "last_idx", "propagat", "insn_stack", "total_states",
    ] where text.hasPrefix(prefix) { return true }
    return text.hasPrefix("Func#") && text.contains("is safe for any args")
  }

  static func counts(_ text: Substring) -> VerifierTrace.Counts? {
    let words = text.split(separator: " ")
    guard words.count > 2, let instructions = Int(words[1].split(separator: ",")[0]) else { return nil }
    func after(_ name: String) -> Int? {
      guard let at = words.firstIndex(where: { $0 == name }), at + 1 < words.count else { return nil }
      return Int(words[at + 1])
    }
    return .init(instructions: instructions, totalStates: after("total_states"), peakStates: after("peak_states"))
  }

  /// `text @ file.c:12`; before 6.10 only the text.
  private static func source(_ text: Substring) -> VerifierTrace.SourceText {
    if let at = text.lastIndex(of: "@"), at > text.startIndex, text[text.index(before: at)] == " ",
      let colon = text[at...].lastIndex(of: ":"), let line = Int(text[text.index(after: colon)...])
    {
      let file = text[text.index(after: at)..<colon].drop { $0 == " " }
      return .init(text: String(text[..<text.index(before: at)]), file: String(file), line: line)
    }
    return .init(text: String(text), file: nil, line: nil)
  }

  /// `(bf) r1 = r2` without the opcode.
  private static func operation(_ code: Substring) -> String {
    guard let close = code.firstIndex(of: ")") else { return String(code) }
    return String(code[code.index(after: close)...].drop { $0 == " " })
  }

  /// Where the state begins that stands behind an instruction.
  private static func stateMark(_ text: Substring) -> Substring.Index? {
    var index = text.startIndex
    while let mark = text[index...].firstIndex(of: ";") {
      let next = text[text.index(after: mark)...].drop { $0 == " " }
      if mark > text.startIndex, text[text.index(before: mark)] == " ", next.isEmpty || state(next) != nil { return mark }
      index = text.index(after: mark)
    }
    return nil
  }

  /// `frame1: R1=ctx() fp-8=mmmmmmmm refs=2 cb`; nil where the text is no state.
  static func state(_ text: Substring) -> (frame: Int?, changes: [VerifierTrace.Change])? {
    var text = text.drop { $0 == " " }
    var frame: Int?
    if text.hasPrefix("frame"), let colon = text.firstIndex(of: ":"), let number = Int(text[..<colon].dropFirst(5)) {
      frame = number
      text = text[text.index(after: colon)...].drop { $0 == " " }
    }
    guard isRegisterOrSlot(text) else { return nil }
    var changes: [VerifierTrace.Change] = []
    var rest = text
    while !rest.isEmpty {
      var depth = 0
      let end =
        rest.firstIndex { character in
          switch character {
          case "(": depth += 1
          case ")": depth -= 1
          default: break
          }
          return character == " " && depth == 0
        } ?? rest.endIndex
      let word = rest[..<end]
      rest = rest[end...].drop { $0 == " " }
      guard let equals = word.firstIndex(of: "="), isRegisterOrSlot(word) else { continue }
      var name = word[..<equals]
      // `R1_w`, `R1_r`, `fp-8_rw`: liveness marks of older logs.
      if let mark = name.firstIndex(of: "_") { name = name[..<mark] }
      changes.append(.init(name: String(name), value: TracedValue(parsing: word[word.index(after: equals)...])))
    }
    return (frame, changes)
  }

  private static func isRegisterOrSlot(_ text: Substring) -> Bool {
    guard let equals = text.firstIndex(of: "=") else { return false }
    var name = text[..<equals]
    if let mark = name.firstIndex(of: "_") { name = name[..<mark] }
    if name.first == "R" { return name.dropFirst().first?.isNumber ?? false && name.dropFirst().allSatisfy(\.isNumber) }
    return name.hasPrefix("fp-") && Int(name.dropFirst(3)) != nil
  }
}

extension VerifierTrace {
  /// Reads a log; lines that are nothing known are kept as messages.
  public init(log: some Sequence<UInt8>) { self = TraceReader.read(log) }
}
