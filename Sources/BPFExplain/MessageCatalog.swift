import BPFVerifier

/// What messages of Linux's verifier are about: for logs that come without a category.
enum MessageCatalog {
  /// The category and the (positive) error number of a refusal's last message.
  static func classify(_ message: String) -> (category: RefusalCategory, errno: Int32) {
    for row in families where row.words.allSatisfy({ message.contains($0) }) { return (row.category, row.errno) }
    for row in messages where row.words.allSatisfy({ message.contains($0) }) { return (row.category, row.errno) }
    return (.invalidArgument, 22)
  }
}
