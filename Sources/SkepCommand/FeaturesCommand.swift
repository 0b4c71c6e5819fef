import BPFLinux
import Skep

/// `skep features`: what of Linux's BPF runs in user space, and why the rest does not.
enum FeaturesCommand: Command {
  static let name = "features"
  static let summary = "List what runs in user space: program types, map types, helpers, kernel functions"
  static let operands = "[WORD...]"
  static let options = [
    Option(name: "--missing", value: nil, help: "only what does not run"),
    Option(name: "--format", value: "FORMAT", help: "text (default) or json"),
  ]
  static let examples = [
    (command: "skep features", meaning: "everything"),
    (command: "skep features --missing", meaning: "what takes a kernel, and why"),
    (command: "skep features dynptr ringbuf", meaning: "all that has one of these words in its name"),
  ]
  static let notes = """
    What is verified does not depend on it: see skep check. A program that uses what is missing is verified and then
    not loaded, with an error that names what is missing.

    Exit code: 0; 1 nothing has such a name; 2 wrong usage.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    let format = arguments.value("--format") ?? "text"
    guard format == "text" || format == "json" else { throw UsageError(message: "--format is text or json") }
    let words = arguments.operands
    let features = Feature.all(on: Linux()).filter { feature in
      (!arguments.has("--missing") || !feature.isSupported)
        && (words.isEmpty || words.contains { feature.name.contains($0) })
    }
    Terminal.output.write(format == "json" ? json(features).text() + "\n" : text(features))
    return features.isEmpty && !words.isEmpty ? 1 : 0
  }

  private static func text(_ features: [Feature]) -> String {
    var text = ""
    for kind in Feature.Kind.allCases {
      let those = features.filter { $0.kind == kind }
      guard !those.isEmpty else { continue }
      let count = those.count { $0.isSupported }
      text += "\(text.isEmpty ? "" : "\n")\(plural(kind)) (\(count) of \(those.count))\n"
      let width = those.map(\.name.count).max() ?? 0
      for feature in those {
        let space = String(repeating: " ", count: width - feature.name.count)
        let remark = feature.remark.isEmpty ? "" : "  \(feature.remark)"
        text += "  \(feature.name)\(space)  \(feature.isSupported ? "yes" : "no ")\(remark)\n"
      }
    }
    return text
  }

  private static func plural(_ kind: Feature.Kind) -> String {
    switch kind {
    case .programType: "program types"
    case .mapType: "map types"
    case .helper: "helpers"
    case .kfunc: "kernel functions"
    }
  }

  private static func json(_ features: [Feature]) -> JSONValue {
    .array(
      features.map { feature in
        .object([
          .init("kind", .string(feature.kind.rawValue)), .init("name", .string(feature.name)),
          .init("supported", .bool(feature.isSupported)), .init("remark", .string(feature.remark)),
        ])
      })
  }
}
