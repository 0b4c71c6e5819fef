/// A verifier's log, read: the instructions it went through, with what it knew after each.
///
/// Logs of Linux 5.x to 6.18, at level 1 (the path that failed) or 2 (all paths), and Skep's, which are the same.
public struct VerifierTrace: Sendable {
  /// The instructions in the order in which they were looked at.
  public var steps: [Step] = []
  /// What is left when all that belongs to instructions is taken away: the refusal's own words, in order.
  public var messages: [Message] = []
  /// `processed N insns …`; nil where the log has no such line.
  public var counts: Counts?

  public struct Step: Sendable {
    /// The slot in the program.
    public var instruction: Int
    /// The instruction in the log's words.
    public var text: String
    /// The line of source, where it is not that of the step before.
    public var source: SourceText?
    /// How deep in calls: 0 is the main function.
    public var frame = 0
    /// A path that was put aside begins here; where it came from.
    public var resumes: Int?
    /// What the log says of the state after the instruction, by name (`R1`, `fp-8`): what changed, or all.
    public var state: [Change] = []
    /// What the log says of the state before it: all of it, where a path or function begins.
    public var before: [Change] = []
    /// The line of the log, from 1.
    public var line: Int
  }

  /// A register or slot, and what it holds.
  public struct Change: Sendable, Hashable {
    /// `R1`, `fp-8`; frames are not part of it.
    public var name: String
    public var value: TracedValue
  }

  public struct SourceText: Sendable, Hashable {
    public var text: String
    public var file: String?
    public var line: Int?
  }

  public struct Message: Sendable, Hashable {
    public var text: String
    /// The steps before it.
    public var steps: Int
    public var line: Int
  }

  public struct Counts: Sendable, Hashable {
    public var instructions: Int
    public var totalStates: Int?
    public var peakStates: Int?
  }

  public init() {}
}

extension VerifierTrace {
  /// The refusal's last words; nil where the log ends without any.
  public var verdictMessage: Message? { messages.last }

  /// What register or slot `name` held before step `index`, in the same frame; nil where the log does not say.
  public func value(of name: String, before index: Int) -> TracedValue? {
    origin(of: name, before: index)?.value
  }

  /// The step that last said something of `name` before step `index`, in the same call.
  public func origin(of name: String, before index: Int) -> (step: Int, value: TracedValue)? {
    guard index <= steps.count else { return nil }
    let frame = index < steps.count ? steps[index].frame : (steps.last?.frame ?? 0)
    if index < steps.count, let now = steps[index].before.last(where: { $0.name == name }) { return (index, now.value) }
    var at = index - 1
    while at >= 0 {
      let step = steps[at]
      // A call that returned has nothing to say of this frame's slots; one that was left begins anew.
      if step.frame < frame && !(step.frame == frame - 1 && step.text.contains("call")) { return nil }
      if step.frame == frame || (step.frame == frame - 1 && step.text.contains("call")) {
        if let found = step.state.last(where: { $0.name == name }) { return (at, found.value) }
        if step.frame < frame { return nil }
        if let found = step.before.last(where: { $0.name == name }) { return (at, found.value) }
      }
      at -= 1
    }
    return nil
  }
}
