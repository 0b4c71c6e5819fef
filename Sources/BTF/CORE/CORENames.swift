extension BTF {
  /// Length of a name without its flavour: `task_struct___old` counts as `task_struct`.
  static func essentialLength(_ name: UnsafeBufferPointer<CChar>) -> Int {
    guard name.count >= 5 else { return name.count }
    let underscore = CChar(bitPattern: UInt8(ascii: "_"))
    var index = name.count &- 5
    while index >= 0 {
      // The middle underscore decides most cases.
      if name[index &+ 2] == underscore, name[index &+ 1] == underscore, name[index &+ 3] == underscore,
        name[index] != underscore, name[index &+ 4] != underscore
      {
        return index &+ 1
      }
      index &-= 1
    }
    return name.count
  }

  /// The string at `offset` without its flavour; empty where there is none. Valid as long as `self`.
  func essentialName(_ offset: UInt32) -> UnsafeBufferPointer<CChar> {
    guard let name = stringBytes(offset) else { return UnsafeBufferPointer(start: nil, count: 0) }
    return UnsafeBufferPointer(rebasing: name[..<BTF.essentialLength(name)])
  }

  /// A name without its flavour: what stands before the last `___` that has other characters on both sides.
  public static func essentialName(_ name: String) -> String {
    let bytes = Array(name.utf8).map { CChar(bitPattern: $0) }
    let length = bytes.withUnsafeBufferPointer { essentialLength($0) }
    return String(decoding: name.utf8.prefix(length), as: UTF8.self)
  }
}
