import BPFLinux
import Skep

/// `--engine both`: where Skep and the running kernel differ.
enum ComparisonReport {
  static func text(
    _ user: [CheckedProgram], _ kernel: [CheckedProgram], _ differences: [EngineDifference],
    _ format: CheckCommand.Format
  ) -> String {
    switch format {
    case .csv:
      return "file,prog,what,user,kernel\n"
        + differences.map { row in
          [row.file, row.program, row.what, row.user, row.kernel].map(CSVReport.field).joined(separator: ",") + "\n"
        }.joined()
    case .json, .sarif:
      return JSON.array(
        differences.map { row in
          .object([
            ("file", .string(row.file)), ("prog", .string(row.program)), ("what", .string(row.what)),
            ("user", .string(row.user)), ("kernel", .string(row.kernel)),
          ])
        }
      ).text
    case .text: return plain(user, kernel, differences)
    }
  }

  private static func plain(
    _ user: [CheckedProgram], _ kernel: [CheckedProgram], _ differences: [EngineDifference]
  ) -> String {
    var text = ""
    for row in differences {
      text += "\(row.file): \(row.program): \(row.what): user \(row.user), kernel \(row.kernel)\n"
    }
    let different = Set(differences.map { "\($0.file):\($0.program)" }).count
    let ours = user.reduce(0) { $0 + $1.statistics.microseconds }
    let theirs = kernel.reduce(0) { $0 + $1.statistics.microseconds }
    text += "\(user.count) \(user.count == 1 ? "program" : "programs"): "
    text += "\(user.count - different) the same, \(different) different; "
    return text + "\(ours) us by skep, \(theirs) us by the kernel\n"
  }
}
