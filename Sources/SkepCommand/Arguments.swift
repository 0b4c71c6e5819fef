/// What was wrong with the command line, in one line.
struct UsageError: Error {
  let message: String
}

/// One option a command takes.
struct Option {
  let name: String
  /// What the value is called in the help; nil for a switch.
  let value: String?
  let help: String
}

/// The words after the command's name, taken apart: `--name VALUE`, `--name=VALUE`, `--switch`, and the rest.
struct Arguments {
  private(set) var values: [String: [String]] = [:]
  private(set) var operands: [String] = []

  init(_ words: [String], options: [Option]) throws(UsageError) {
    var index = 0
    var onlyOperands = false
    while index < words.count {
      let word = words[index]
      index += 1
      if onlyOperands || !word.hasPrefix("-") || word == "-" {
        operands.append(word)
        continue
      }
      if word == "--" {
        onlyOperands = true
        continue
      }
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      guard let option = options.first(where: { $0.name == name }) else {
        throw UsageError(message: "unknown option \(name)")
      }
      if option.value == nil {
        guard parts.count == 1 else { throw UsageError(message: "\(name) takes no value") }
        values[name, default: []].append("")
      } else if parts.count == 2 {
        values[name, default: []].append(String(parts[1]))
      } else {
        guard index < words.count else { throw UsageError(message: "\(name) needs a value") }
        values[name, default: []].append(words[index])
        index += 1
      }
    }
  }

  func has(_ name: String) -> Bool { values[name] != nil }
  func value(_ name: String) -> String? { values[name]?.last }
  func all(_ name: String) -> [String] { values[name] ?? [] }
}
