import BPFLinux

/// `skep completions`: what a shell needs to complete skep's commands and options.
enum CompletionsCommand: Command {
  static let name = "completions"
  static let summary = "Print completions for a shell: bash, zsh or fish"
  static let operands = "bash|zsh|fish"
  static let options: [Option] = []
  static let examples = [
    (command: "source <(skep completions bash)", meaning: "in this shell, or in ~/.bashrc"),
    (command: "skep completions fish > ~/.config/fish/completions/skep.fish", meaning: "for fish"),
    (command: "skep completions zsh > ~/.zsh/_skep", meaning: "into a folder of $fpath"),
  ]
  static let notes = ""

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    guard arguments.operands.count == 1 else { throw UsageError(message: "name one shell: bash, zsh or fish") }
    switch arguments.operands[0] {
    case "bash": Terminal.output.write(bash)
    case "zsh": Terminal.output.write(zsh)
    case "fish": Terminal.output.write(fish)
    case let other: throw UsageError(message: "no completions for '\(other)': bash, zsh or fish")
    }
    return 0
  }

  private static var commands: [any Command.Type] { CommandLineTool.commands }

  /// Words that an option's value or an operand can be, where there are few.
  private static func choices(_ command: any Command.Type, _ option: String) -> [String] {
    switch (command.name, option) {
    case ("check", "--format"): CheckCommand.Format.allCases.map(\.rawValue)
    case ("dump", "--format"): ["insns", "dot"]
    case ("btf", "--format"): ["c", "raw"]
    case ("run", "--format"), ("features", "--format"): ["text", "json"]
    case (_, "--engine"): CheckCommand.Engine.allCases.map(\.rawValue)
    case (_, "--kernel"): ["6.18"]
    case (_, "--type"): (1...ProgramType.netfilter.rawValue).map { ProgramType(rawValue: $0).name }
    case (_, "--log-level"): ["0", "1", "2", "4", "5", "6"]
    case (_, "--caps"): ["all", "none", "bpf", "bpf,net_admin", "bpf,perfmon"]
    default: []
    }
  }

  private static var bash: String {
    var text = "_skep() {\n  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
    text += "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W \""
    text += (commands.map { $0.name } + ["help", "--help", "--version"]).joined(separator: " ")
    text += "\" -- \"$current\"))\n    return\n  fi\n  case ${COMP_WORDS[1]} in\n"
    for command in commands {
      text += "  \(command.name))\n    case $previous in\n"
      for option in command.options where option.value != nil {
        let words = choices(command, option.name)
        guard !words.isEmpty else { continue }
        text += "    \(option.name)) COMPREPLY=($(compgen -W \"\(words.joined(separator: " "))\""
        text += " -- \"$current\")); return ;;\n"
      }
      text += "    esac\n    COMPREPLY=($(compgen -W \""
      text += (command.options.map(\.name) + ["--help"]).joined(separator: " ")
      text += operandWords(command).map { " " + $0 }.joined()
      text += "\" -- \"$current\") $(compgen -f -- \"$current\"))\n    ;;\n"
    }
    text += "  help) COMPREPLY=($(compgen -W \"\(commands.map { $0.name }.joined(separator: " "))\""
    return text + " -- \"$current\")) ;;\n  esac\n}\ncomplete -o filenames -F _skep skep\n"
  }

  private static func operandWords(_ command: any Command.Type) -> [String] {
    switch command.name {
    case "btf": ["dump"]
    case "golden": ["record", "check", "verify"]
    case "completions": ["bash", "zsh", "fish"]
    default: []
    }
  }

  private static var zsh: String {
    var text = "#compdef skep\n\n_skep() {\n  if (( CURRENT == 2 )); then\n    local -a commands=(\n"
    for command in commands { text += "      \(zshQuoted("\(command.name):\(command.summary)"))\n" }
    text += "    )\n    _describe command commands\n    return\n  fi\n  case $words[2] in\n"
    for command in commands {
      text += "  \(command.name))\n    shift words; (( CURRENT-- ))\n    _arguments \\\n"
      for option in command.options {
        let help = option.help.split(separator: ":").joined().split(separator: "[").joined(separator: "(")
        var spec = "*\(option.name)[\(help)]"
        if let value = option.value {
          let words = choices(command, option.name)
          spec += ":\(value):" + (words.isEmpty ? "_files" : "(\(words.joined(separator: " ")))")
        }
        text += "      \(zshQuoted(spec)) \\\n"
      }
      let words = operandWords(command)
      let operand = words.isEmpty ? "*:file:_files" : "1:word:(\(words.joined(separator: " ")))"
      text += "      \(zshQuoted(operand))"
      text += words == ["dump"] ? " \(zshQuoted("2:file:_files"))\n" : "\n"
      text += "    ;;\n"
    }
    return text + "  esac\n}\n\n_skep \"$@\"\n"
  }

  private static func zshQuoted(_ text: String) -> String {
    "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
  }

  private static var fish: String {
    var text = ""
    for command in commands {
      text += "complete -c skep -n __fish_use_subcommand -f -a \(command.name) -d \(zshQuoted(command.summary))\n"
    }
    for command in commands {
      let condition = "-n '__fish_seen_subcommand_from \(command.name)'"
      for option in command.options {
        text += "complete -c skep \(condition) -l \(option.name.dropFirst(2))"
        if option.value != nil {
          let words = choices(command, option.name)
          text += words.isEmpty ? " -r" : " -x -a '\(words.joined(separator: " "))'"
        }
        text += " -d \(zshQuoted(option.help))\n"
      }
      for word in operandWords(command) { text += "complete -c skep \(condition) -a \(word)\n" }
    }
    return text
  }
}
