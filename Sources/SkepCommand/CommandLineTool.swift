/// A command of `skep`.
protocol Command {
  static var name: String { get }
  static var summary: String { get }
  static var options: [Option] { get }
  /// What stands after the options in the usage line.
  static var operands: String { get }
  static var examples: [(command: String, meaning: String)] { get }
  /// What else the help says, in whole sentences; may be empty.
  static var notes: String { get }
  /// The exit code.
  static func run(_ arguments: Arguments) throws(UsageError) -> Int32
}

/// `skep`: finds the command that the first word names.
enum CommandLineTool {
  static let version = "0.1.0"
  static var commands: [any Command.Type] {
    [
      CheckCommand.self, RunCommand.self, DumpCommand.self, BTFCommand.self, FeaturesCommand.self, GoldenCommand.self,
      FuzzCommand.self, ExecCommand.self, ExplainCommand.self, CompletionsCommand.self,
    ]
  }

  static func run(_ words: [String]) -> Int32 {
    guard let first = words.first else {
      Terminal.error.write(help)
      return 2
    }
    switch first {
    case "--help", "-h", "help":
      guard words.count > 1 else {
        Terminal.output.write(help)
        return 0
      }
      guard let command = commands.first(where: { $0.name == words[1] }) else {
        return usage("there is no command '\(words[1])'; see skep --help")
      }
      Terminal.output.write(help(command))
      return 0
    case "--version", "-V":
      Terminal.output.write("skep \(version)\n")
      return 0
    default:
      guard let command = commands.first(where: { $0.name == first }) else {
        return usage("there is no command '\(first)'; see skep --help")
      }
      let rest = Array(words.dropFirst())
      if rest.prefix(while: { $0 != "--" }).contains(where: { $0 == "--help" || $0 == "-h" }) {
        Terminal.output.write(help(command))
        return 0
      }
      do {
        return try command.run(Arguments(rest, options: command.options))
      } catch {
        return usage("\(command.name): \(error.message); see skep \(command.name) --help")
      }
    }
  }

  private static func usage(_ message: String) -> Int32 {
    Terminal.error.write("skep: \(message)\n")
    return 2
  }

  private static var help: String {
    var text = """
      skep says of an eBPF program what Linux says of it: verdict, errno, counts and log,
      without root and without a kernel.

      Usage: skep COMMAND [OPTIONS] [OPERANDS]

      Commands:

      """
    let width = commands.map { $0.name.count }.max() ?? 0
    for command in commands {
      text += "  \(command.name)\(String(repeating: " ", count: width - command.name.count))  \(command.summary)\n"
    }
    text += """

      Options:
        --help     this text; after a command, what that command takes
        --version  the version

      skep help COMMAND says more of a command.

      Examples:

      """
    for command in commands {
      for example in command.examples.prefix(1) { text += "  \(example.command)\n      \(example.meaning)\n" }
    }
    return text
  }

  private static func help(_ command: any Command.Type) -> String {
    let options = command.options.isEmpty ? "" : "[OPTIONS] "
    var text = "\(command.summary)\n\nUsage: skep \(command.name) \(options)\(command.operands)\n"
    if !command.options.isEmpty { text += "\nOptions:\n" }
    let names = command.options.map { option in option.value.map { "\(option.name) \($0)" } ?? option.name }
    let width = names.map(\.count).max() ?? 0
    for (name, option) in zip(names, command.options) {
      text += "  \(name)\(String(repeating: " ", count: width - name.count))  \(option.help)\n"
    }
    text += "\nExamples:\n"
    for example in command.examples { text += "  \(example.command)\n      \(example.meaning)\n" }
    if !command.notes.isEmpty { text += "\n\(command.notes)\n" }
    return text
  }
}
