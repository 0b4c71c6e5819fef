import BPFLinux

/// Why a program was refused, as a person would say it: what happens where, where the values came from, and what to do.
public struct Diagnosis: Sendable, Hashable {
  /// The stable code: a `RefusalCategory`'s raw value.
  public var code: String
  /// What is wrong, in one line of plain words.
  public var headline: String
  /// The place that is refused.
  public var primary: Label?
  /// The other places that matter, in the order of the program.
  public var secondary: [Label] = []
  /// What else helps to understand it, a sentence each.
  public var notes: [String] = []
  /// The branches that lead there, those only that decide.
  public var path: [Label] = []
  /// Changes that were tried, and with which the program is accepted (or comes further).
  public var fixes: [Fix] = []
  /// What to do, where no change could be tried.
  public var advice: String?
  /// An input on which the program really goes wrong.
  public var witness: String?
  /// Linux's own words.
  public var kernelMessage: String
  public var errno: Int32

  public init(code: String, headline: String, kernelMessage: String, errno: Int32) {
    self.code = code
    self.headline = headline
    self.kernelMessage = kernelMessage
    self.errno = errno
  }

  /// A place in the program, and what is to be said of it.
  public struct Label: Sendable, Hashable {
    /// The instruction's slot.
    public var instruction: Int
    /// The instruction's text, for where there is no source.
    public var code: String
    public var position: SourceLocation?
    /// Characters of the expression from the position's column on.
    public var length = 1
    public var text: String

    public init(instruction: Int, code: String, position: SourceLocation?, length: Int = 1, text: String) {
      self.instruction = instruction
      self.code = code
      self.position = position
      self.length = length
      self.text = text
    }
  }

  /// A change that makes the verifier accept the program. It was applied to the instructions, and the result verified.
  public struct Fix: Sendable, Hashable {
    /// What to do, as one would tell a colleague.
    public var title: String
    /// Where it goes.
    public var label: Label?
    /// Source to put in before or in place of the label's line; nil where only the instructions tell.
    public var source: String?
    /// The instructions that were put in, in the assembler's text.
    public var instructions: [String]
    /// Accepted with it; else it only gets past this refusal.
    public var isAccepted: Bool

    public init(title: String, label: Label?, source: String?, instructions: [String], isAccepted: Bool) {
      self.title = title
      self.label = label
      self.source = source
      self.instructions = instructions
      self.isAccepted = isAccepted
    }
  }
}
