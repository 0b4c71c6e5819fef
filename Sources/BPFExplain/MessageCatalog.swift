import BPFVerifier

/// What messages of Linux's verifier are about: for logs that come without a category.
enum MessageCatalog {
  /// The category and the (positive) error number of a refusal's last message.
  static func classify(_ message: String) -> (category: RefusalCategory, errno: Int32) {
    for (words, category, errno) in table where words.allSatisfy({ message.contains($0) }) { return (category, errno) }
    return (.invalidArgument, 22)
  }

  /// Words that all stand in the message; the first row that fits counts.
  private static let table: [(words: [String], category: RefusalCategory, errno: Int32)] = []
}
