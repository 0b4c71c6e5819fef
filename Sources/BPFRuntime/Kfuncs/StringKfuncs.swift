import CBPFRuntime

/// The string functions of programs: over any memory, and no further than 64 KiB.
enum StringKfuncs {
  static let table: [String: RuntimeFunction] = [
    "bpf_strcmp": RuntimeFunction { first, second, _, _, _, _ in
      with(first, second) { compare(&$0, &$1, ignoringCase: false) }
    },
    "bpf_strcasecmp": RuntimeFunction { first, second, _, _, _, _ in
      with(first, second) { compare(&$0, &$1, ignoringCase: true) }
    },
    "bpf_strnchr": RuntimeFunction { text, count, byte, _, _, _ in
      with(text) { find(&$0, byte, limit: count) }
    },
    "bpf_strchr": RuntimeFunction { text, byte, _, _, _, _ in
      with(text) { find(&$0, byte, limit: UInt64(longest)) }
    },
    "bpf_strchrnul": RuntimeFunction { text, byte, _, _, _, _ in
      with(text) { text in
        for index in 0..<longest {
          let next = text.byte(index)
          if next < 0 { return next }
          if next == 0 || next == Int32(UInt8(truncatingIfNeeded: byte)) { return Int32(index) }
        }
        return Failure.E2BIG
      }
    },
    "bpf_strrchr": RuntimeFunction { text, byte, _, _, _, _ in
      with(text) { findLast(&$0, Int32(truncatingIfNeeded: byte)) }
    },
    "bpf_strlen": RuntimeFunction { text, _, _, _, _, _ in with(text) { length(&$0, limit: UInt64(longest)) } },
    "bpf_strnlen": RuntimeFunction { text, count, _, _, _, _ in with(text) { length(&$0, limit: count) } },
    "bpf_strspn": RuntimeFunction { text, set, _, _, _, _ in
      with(text, set) { span(&$0, &$1, whileInSet: true) }
    },
    "bpf_strcspn": RuntimeFunction { text, set, _, _, _, _ in
      with(text, set) { span(&$0, &$1, whileInSet: false) }
    },
    "bpf_strstr": RuntimeFunction { text, part, _, _, _, _ in
      with(text, part) { search($0, &$1, text, limit: UInt64(longest)) }
    },
    "bpf_strnstr": RuntimeFunction { text, part, count, _, _, _ in
      with(text, part) { search($0, &$1, text, limit: count) }
    },
  ]

  private static let longest = FaultSafeMemory.longestString

  private static func with(_ text: UInt64, _ body: (inout FaultSafeString) -> Int32) -> UInt64 {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: FaultSafeString.bufferSize) { buffer in
      guard let base = buffer.baseAddress else { return intResult(Failure.ENOMEM) }
      guard isKernel(text) else { return intResult(Failure.ERANGE) }
      var text = FaultSafeString(text, base)
      return intResult(body(&text))
    }
  }

  private static func with(
    _ first: UInt64, _ second: UInt64, _ body: (inout FaultSafeString, inout FaultSafeString) -> Int32
  ) -> UInt64 {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: FaultSafeString.bufferSize * 2) { buffer in
      guard let base = buffer.baseAddress else { return intResult(Failure.ENOMEM) }
      guard isKernel(first), isKernel(second) else { return intResult(Failure.ERANGE) }
      var first = FaultSafeString(first, base)
      var second = FaultSafeString(second, base + FaultSafeString.bufferSize)
      return intResult(body(&first, &second))
    }
  }

  /// Whether a string may lie there at all, which is asked of all strings before any is read.
  private static func isKernel(_ text: UInt64) -> Bool {
    if FaultSafeMemory.error(at: text) == Failure.EFAULT { return true }
    return withUnsafeTemporaryAllocation(byteCount: 8, alignment: 8) { byte in
      guard let base = byte.baseAddress else { return false }
      return FaultSafeMemory.read(base, text, 1, of: 0)
    }
  }

  private static func compare(
    _ first: inout FaultSafeString, _ second: inout FaultSafeString, ignoringCase: Bool
  ) -> Int32 {
    for index in 0..<longest {
      var a = first.byte(index)
      if a < 0 { return a }
      var b = second.byte(index)
      if b < 0 { return b }
      if ignoringCase {
        a = Int32(UInt8(a).lowercased)
        b = Int32(UInt8(b).lowercased)
      }
      if a != b { return a < b ? -1 : 1 }
      if a == 0 { return 0 }
    }
    return Failure.E2BIG
  }

  private static func find(_ text: inout FaultSafeString, _ byte: UInt64, limit: UInt64) -> Int32 {
    let wanted = Int32(UInt8(truncatingIfNeeded: byte))
    let end = Int(min(limit, UInt64(longest)))
    for index in 0..<end {
      let next = text.byte(index)
      if next < 0 { return next }
      if next == wanted { return Int32(index) }
      if next == 0 { return Failure.ENOENT }
    }
    return end == longest ? Failure.E2BIG : Failure.ENOENT
  }

  private static func findLast(_ text: inout FaultSafeString, _ wanted: Int32) -> Int32 {
    var last = Failure.ENOENT
    for index in 0..<longest {
      let next = text.byte(index)
      if next < 0 { return next }
      if next == wanted { last = Int32(index) }
      if next == 0 { return last }
    }
    return Failure.E2BIG
  }

  private static func length(_ text: inout FaultSafeString, limit: UInt64) -> Int32 {
    let end = Int(min(limit, UInt64(longest)))
    for index in 0..<end {
      let next = text.byte(index)
      if next < 0 { return next }
      if next == 0 { return Int32(index) }
    }
    return end == longest ? Failure.E2BIG : Int32(end)
  }

  private static func span(
    _ text: inout FaultSafeString, _ set: inout FaultSafeString, whileInSet: Bool
  ) -> Int32 {
    for index in 0..<longest {
      let next = text.byte(index)
      if next < 0 { return next }
      if next == 0 { return Int32(index) }
      var found: Bool?
      for other in 0..<longest {
        let member = set.byte(other)
        if member < 0 { return member }
        if member == next || member == 0 {
          found = member != 0
          break
        }
      }
      guard let found else { return Failure.E2BIG }
      if found != whileInSet { return Int32(index) }
    }
    return Failure.E2BIG
  }

  private static func search(
    _ text: FaultSafeString, _ part: inout FaultSafeString, _ start: UInt64, limit: UInt64
  ) -> Int32 {
    var text = text
    let limit = limit > UInt64(longest) * 2 ? longest * 2 : Int(limit)
    for index in 0..<longest {
      var matched = 0
      search: while index + matched <= limit && matched < longest {
        let wanted = part.byte(matched)
        if wanted < 0 { return wanted }
        if wanted == 0 { return Int32(index) }
        // Where the part is the very end of what may be looked at, its 0 lies one further.
        if index + matched == limit { break search }
        let next = text.byte(index + matched)
        if next < 0 { return next }
        if next == 0 { return Failure.ENOENT }
        if next != wanted { break search }
        matched += 1
      }
      if matched == longest { return Failure.E2BIG }
      if index + matched == limit { return Failure.ENOENT }
    }
    return Failure.E2BIG
  }
}
