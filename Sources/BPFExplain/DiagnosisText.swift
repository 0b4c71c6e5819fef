import BPFLinux

/// A diagnosis as text for people, the way compilers print one.
///
///     error[packet-bounds]: read of 1 byte at packet offset 14 is not proven in bounds
///       --> xdp.bpf.c:17:10
///        |
///     17 |   if (eth[14] == 0x45)
///        |       ^^^^^^^ offset 14, but only 14 bytes are proven
public struct DiagnosisText: Sendable {
  /// ANSI colours, for a terminal.
  public var colour: Bool
  /// How paths of sources are shown.
  public var shownPath: @Sendable (String) -> String

  public init(colour: Bool = false, shownPath: @escaping @Sendable (String) -> String = { $0 }) {
    self.colour = colour
    self.shownPath = shownPath
  }

  public func text(_ diagnosis: Diagnosis) -> String {
    var text = painted(.red, "error[\(diagnosis.code)]") + painted(.bold, ": \(diagnosis.headline)") + "\n"
    text += snippets(diagnosis)
    for note in diagnosis.notes { text += item("note", note) }
    if !diagnosis.path.isEmpty {
      text += item("path", "this happens when")
      for step in diagnosis.path { text += "          \(place(step)): \(step.text)\n" }
    }
    if let witness = diagnosis.witness { text += item("witness", witness) }
    for fix in diagnosis.fixes { text += self.fix(fix) }
    if diagnosis.fixes.isEmpty, let advice = diagnosis.advice { text += item("help", advice) }
    text += item("linux", "\(Errno(rawValue: diagnosis.errno)): \(diagnosis.kernelMessage)")
    return text
  }

  private func item(_ name: String, _ words: String) -> String {
    let lines = words.split(separator: "\n", omittingEmptySubsequences: false)
    var text = "  = \(painted(.bold, name)): \(lines.first ?? "")\n"
    for line in lines.dropFirst() { text += "          \(line)\n" }
    return text
  }

  private func fix(_ fix: Diagnosis.Fix) -> String {
    let verified = fix.isAccepted ? "tried: the program is accepted with it" : "tried: gets past this refusal"
    var text = item("fix", "\(fix.title) (\(verified))")
    if let label = fix.label, let position = label.position, let source = fix.source {
      let number = "\(position.line)"
      let space = String(repeating: " ", count: number.count)
      for line in source.split(separator: "\n") { text += "        \(space) \(painted(.green, "+ \(line)"))\n" }
      text += "        \(number) | \(trimmed(position.text).text)\n"
    } else {
      for instruction in fix.instructions { text += "          \(painted(.green, "+ \(instruction)"))\n" }
    }
    return text
  }

  // MARK: places

  private func place(_ label: Diagnosis.Label) -> String {
    guard let position = label.position, position.line > 0 else { return "insn \(label.instruction)" }
    return "\(position.file.isEmpty ? "" : shownPath(position.file) + ":")\(position.line)"
  }

  private func snippets(_ diagnosis: Diagnosis) -> String {
    guard let primary = diagnosis.primary else { return "" }
    var text = ""
    let all = ([primary] + diagnosis.secondary)
    let width = all.map { number($0).count }.max() ?? 1
    let margin = String(repeating: " ", count: width)
    if let position = primary.position, position.line > 0 {
      let column = position.column > 0 ? ":\(position.column)" : ""
      text += "\(margin) \(painted(.blue, "-->")) \(position.file.isEmpty ? "line " : shownPath(position.file) + ":")\(position.line)\(column)\n"
    } else {
      text += "\(margin) \(painted(.blue, "-->")) instruction \(primary.instruction)\n"
    }
    text += "\(margin) \(painted(.blue, "|"))\n"
    let ordered = all.enumerated().sorted { order($0.element) < order($1.element) }
    var last: (file: String, line: String)?
    for (index, label) in ordered {
      let this = (label.position?.file ?? "", number(label))
      if let last, last.file != this.0, !this.0.isEmpty {
        text += "\(margin) \(painted(.blue, ":::")) \(shownPath(this.0)):\(this.1)\n"
      } else if let last, let before = Int(last.line), let now = Int(this.1), now > before + 1 {
        text += "\(painted(.blue, "..."))\n"
      }
      if last.map({ $0 != this }) ?? true { text += line(label, margin) }
      text += mark(label, margin, isPrimary: index == 0)
      last = this
    }
    text += "\(margin) \(painted(.blue, "|"))\n"
    return text
  }

  private func order(_ label: Diagnosis.Label) -> (Int, Int) { (label.position?.line ?? 0, label.instruction) }

  private func number(_ label: Diagnosis.Label) -> String {
    if let position = label.position, position.line > 0 { return "\(position.line)" }
    return "\(label.instruction)"
  }

  private func line(_ label: Diagnosis.Label, _ margin: String) -> String {
    let number = number(label)
    let space = String(repeating: " ", count: margin.count - number.count)
    let shown = label.position.map { trimmed($0.text).text } ?? label.code
    return "\(space)\(painted(.blue, "\(number) |")) \(shown.isEmpty ? label.code : shown)\n"
  }

  private func mark(_ label: Diagnosis.Label, _ margin: String, isPrimary: Bool) -> String {
    var before = 0
    var length = max(1, label.code.count)
    if let position = label.position, !position.text.isEmpty {
      let cut = trimmed(position.text)
      length = position.column > 0 ? label.length : max(1, cut.text.count)
      before = position.column > 0 ? max(0, position.column - 1 - cut.removed) : 0
    }
    let sign = String(repeating: isPrimary ? "^" : "-", count: length)
    let space = String(repeating: " ", count: before)
    return "\(margin) \(painted(.blue, "|")) \(space)\(painted(isPrimary ? .red : .blue, "\(sign) \(label.text)"))\n"
  }

  /// The line with its tabs as spaces and its indentation cut to two.
  private func trimmed(_ text: String) -> (text: String, removed: Int) {
    let flat = String(text.map { $0 == "\t" ? " " : $0 })
    let indent = flat.prefix { $0 == " " }.count
    let removed = max(0, indent - 2)
    return (String(flat.dropFirst(removed)), removed)
  }

  // MARK: colour

  private enum Paint: String {
    case bold = "1"
    case red = "1;31"
    case green = "32"
    case blue = "1;34"
  }

  private func painted(_ paint: Paint, _ text: String) -> String {
    colour ? "\u{1b}[\(paint.rawValue)m\(text)\u{1b}[0m" : text
  }
}
