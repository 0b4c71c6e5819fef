import CBPFRuntime

/// Helpers that print and parse.
enum TextHelpers {
  static let table: [UInt32: RuntimeFunction] = [
    6: RuntimeFunction { tracePrint($0, $1, $2, $3, $4, $5) },
    105: RuntimeFunction { text, length, flags, output, _, _ in
      parseSigned(text, length, flags, output)
    },
    106: RuntimeFunction { text, length, flags, output, _, _ in
      parseUnsigned(text, length, flags, output)
    },
    126: RuntimeFunction { file, format, length, arguments, size, _ in
      SequenceFile.print(file, format, length, arguments, size)
    },
    127: RuntimeFunction { file, data, length, _, _, _ in
      SequenceFile.write(file, memory(data), Int(UInt32(truncatingIfNeeded: length)))
        ? 0 : .failure(Failure.EOVERFLOW)
    },
    165: RuntimeFunction { output, size, format, arguments, length, _ in
      formatted(output, size, format, arguments, length)
    },
    177: RuntimeFunction { format, length, arguments, size, _, run in
      traceVariadic(format, length, arguments, size, run)
    },
    182: RuntimeFunction { first, size, second, _, _, _ in compare(first, size, second) },
  ]

  /// Bytes that one call prints, at most.
  static let longestText = 1024

  // MARK: Printing

  private static func tracePrint(
    _ format: UInt64, _ length: UInt64, _ first: UInt64, _ second: UInt64, _ third: UInt64, _ run: Run
  ) -> UInt64 {
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 3) { arguments in
      guard let base = arguments.baseAddress else { return .failure(Failure.EBUSY) }
      base[0] = first
      base[1] = second
      base[2] = third
      return trace(format, Int(UInt32(truncatingIfNeeded: length)), UnsafeRawPointer(base), 3, run)
    }
  }

  private static func traceVariadic(
    _ format: UInt64, _ length: UInt64, _ arguments: UInt64, _ size: UInt64, _ run: Run
  ) -> UInt64 {
    guard let count = argumentCount(arguments, size) else { return .failure(Failure.EINVAL) }
    return trace(format, Int(UInt32(truncatingIfNeeded: length)), pointer(arguments, format), count, run)
  }

  private static func trace(
    _ format: UInt64, _ length: Int, _ arguments: UnsafeRawPointer, _ count: Int, _ run: Run
  ) -> UInt64 {
    printed(format, length, arguments, count) { text, length in
      let shown = UnsafeBufferPointer(start: text, count: min(length, longestText - 1)).prefix { $0 != 0 }
      let worker = Worker.of(run)
      worker.machine.trace(String(decoding: shown, as: UTF8.self), from: worker)
      return UInt64(length)
    }
  }

  /// Prints to memory of its own, and gives `body` the text and the length that it would have had in full.
  static func printed(
    _ format: UInt64, _ length: Int, _ arguments: UnsafeRawPointer, _ count: Int,
    _ body: (UnsafePointer<UInt8>, Int) -> UInt64
  ) -> UInt64 {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: longestText) { output in
      guard let text = output.baseAddress else { return .failure(Failure.EBUSY) }
      let result = print(format, length, arguments, count, text, longestText)
      return result < 0 ? UInt64.failure(Int32(truncatingIfNeeded: result)) : body(text, result)
    }
  }

  /// The length that the text would have in full, or a negative error number.
  static func print(
    _ format: UInt64, _ length: Int, _ arguments: UnsafeRawPointer, _ count: Int,
    _ output: UnsafeMutablePointer<UInt8>, _ size: Int
  ) -> Int {
    let format = UnsafePointer(memory(format).assumingMemoryBound(to: UInt8.self))
    return withUnsafeTemporaryAllocation(byteCount: FormatArguments.capacity + 8, alignment: 8) { packed in
      guard let base = packed.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return Int(Failure.EBUSY) }
      var packing = FormatArguments(format, arguments: arguments, count: count, into: base)
      let error = packing.pack(length: length)
      if error != 0 { return Int(error) }
      return FormatPrinter.print(format, base, to: output, size: size)
    }
  }

  /// Arguments in an array; nil where there may not be as many.
  static func argumentCount(_ arguments: UInt64, _ size: UInt64) -> Int? {
    let size = UInt32(truncatingIfNeeded: size)
    guard size & 7 == 0, size <= FormatArguments.limit * 8, size == 0 || arguments != 0 else { return nil }
    return Int(size / 8)
  }

  /// Some address even where there are no arguments.
  static func pointer(_ arguments: UInt64, _ other: UInt64) -> UnsafeRawPointer {
    UnsafeRawPointer(memory(arguments == 0 ? other : arguments))
  }

  private static func formatted(
    _ output: UInt64, _ size: UInt64, _ format: UInt64, _ arguments: UInt64, _ length: UInt64
  ) -> UInt64 {
    guard let count = argumentCount(arguments, length) else { return .failure(Failure.EINVAL) }
    // A null output goes with a size of 0.
    let place = memory(output == 0 ? format : output).assumingMemoryBound(to: UInt8.self)
    let room = output == 0 ? 0 : Int(UInt32(truncatingIfNeeded: size))
    let printed = print(format, Int(UInt32.max), pointer(arguments, format), count, place, room)
    return result(Int64(printed < 0 ? printed : printed + 1))
  }

  // MARK: Numbers and strings

  private enum Parsed {
    case number(UInt64, isNegative: Bool, consumed: Int32)
    case failure(Int32)
  }

  private static func parseSigned(_ text: UInt64, _ length: UInt64, _ flags: UInt64, _ output: UInt64) -> UInt64 {
    memory(output).storeBytes(of: 0, as: UInt64.self)
    switch parse(text, length, flags) {
    case .failure(let error): return .failure(error)
    case .number(let value, let isNegative, let consumed):
      let signed = Int64(bitPattern: isNegative ? 0 &- value : value)
      if isNegative ? signed > 0 : signed < 0 { return .failure(Failure.ERANGE) }
      memory(output).storeBytes(of: signed, as: Int64.self)
      return UInt64(consumed)
    }
  }

  private static func parseUnsigned(_ text: UInt64, _ length: UInt64, _ flags: UInt64, _ output: UInt64) -> UInt64 {
    memory(output).storeBytes(of: 0, as: UInt64.self)
    switch parse(text, length, flags) {
    case .failure(let error): return .failure(error)
    case .number(let value, let isNegative, let consumed):
      if isNegative { return .failure(Failure.EINVAL) }
      memory(output).storeBytes(of: value, as: UInt64.self)
      return UInt64(consumed)
    }
  }

  /// Digits after blanks and a minus sign, in the base that the low five bits of `flags` say, or the prefix does.
  private static func parse(_ text: UInt64, _ length: UInt64, _ flags: UInt64) -> Parsed {
    var base = flags & 0x1f
    let length = Int(truncatingIfNeeded: length)
    guard text != 0, length > 0, [0, 8, 10, 16].contains(base), flags & ~0x1f == 0 else {
      return .failure(Failure.EINVAL)
    }
    let bytes = memory(text).assumingMemoryBound(to: UInt8.self)
    var at = 0
    while at < length, bytes[at].isSpace { at += 1 }
    let isNegative = at < length && bytes[at] == ASCII.minus
    if isNegative { at += 1 }
    guard at < length else { return .failure(Failure.EINVAL) }
    // No more than 63 characters are looked at.
    let end = min(length, at + 63)
    func byte(_ index: Int) -> UInt8 { index < end ? bytes[index] : 0 }
    func digit(_ byte: UInt8) -> UInt64 {
      let lower = byte | 0x20
      if byte.isDigit { return UInt64(byte - 0x30) }
      return lower >= 0x61 && lower <= 0x66 ? UInt64(lower - 0x61 + 10) : 99
    }
    let isHexadecimal = byte(at) == ASCII.zero && byte(at + 1) | 0x20 == UInt8(ascii: "x")
    if base == 0 {
      base = byte(at) != ASCII.zero ? 10 : isHexadecimal && digit(byte(at + 2)) < 16 ? 16 : 8
    }
    if base == 16 && isHexadecimal { at += 2 }
    let start = at
    var value: UInt64 = 0
    var overflows = false
    while digit(byte(at)) < base {
      let (product, high) = value.multipliedReportingOverflow(by: base)
      let (sum, carry) = product.addingReportingOverflow(digit(byte(at)))
      if high || carry { overflows = true }
      value = sum
      at += 1
    }
    if overflows { return .failure(Failure.ERANGE) }
    guard at > start else { return .failure(Failure.EINVAL) }
    return .number(value, isNegative: isNegative, consumed: Int32(truncatingIfNeeded: at))
  }

  private static func compare(_ first: UInt64, _ size: UInt64, _ second: UInt64) -> UInt64 {
    let first = memory(first).assumingMemoryBound(to: UInt8.self)
    let second = memory(second).assumingMemoryBound(to: UInt8.self)
    for index in 0..<Int(UInt32(truncatingIfNeeded: size)) {
      let (a, b) = (first[index], second[index])
      if a != b { return result(a < b ? -1 : 1) }
      if a == 0 { break }
    }
    return 0
  }
}

/// What `bpf_seq_printf` prints to: memory that begins as the kernel's `struct seq_file` does, with buffer, size, where
/// to read from, and count.
public enum SequenceFile {
  /// Bytes of the structure.
  public static let byteCount = 32

  /// A file over `size` bytes at `buffer`.
  public static func initialize(
    _ file: UnsafeMutableRawPointer, buffer: UnsafeMutableRawPointer, size: Int
  ) {
    file.storeBytes(of: address(buffer), as: UInt64.self)
    file.storeBytes(of: UInt64(size), toByteOffset: 8, as: UInt64.self)
    file.storeBytes(of: 0, toByteOffset: 16, as: UInt64.self)
    file.storeBytes(of: 0, toByteOffset: 24, as: UInt64.self)
  }

  /// Bytes that were written; all of the buffer where something did not fit.
  public static func count(_ file: UnsafeRawPointer) -> Int { Int(file.load(fromByteOffset: 24, as: UInt64.self)) }

  static func print(
    _ file: UInt64, _ format: UInt64, _ length: UInt64, _ arguments: UInt64, _ size: UInt64
  ) -> UInt64 {
    guard let number = TextHelpers.argumentCount(arguments, size) else { return .failure(Failure.EINVAL) }
    let place = memory(file)
    let room = place.load(fromByteOffset: 8, as: UInt64.self)
    let used = place.load(fromByteOffset: 24, as: UInt64.self)
    let output = memory(place.load(as: UInt64.self) + used).assumingMemoryBound(to: UInt8.self)
    // A file that is full is not written to, but the format is checked all the same.
    let printed = TextHelpers.print(
      format, Int(UInt32(truncatingIfNeeded: length)), TextHelpers.pointer(arguments, format), number, output,
      Int(room - used))
    if printed < 0 { return .failure(Int32(truncatingIfNeeded: printed)) }
    let fits = used < room && used + UInt64(printed) < room
    place.storeBytes(of: fits ? used + UInt64(printed) : room, toByteOffset: 24, as: UInt64.self)
    return fits ? 0 : .failure(Failure.EOVERFLOW)
  }

  static func write(_ file: UInt64, _ data: UnsafeRawPointer, _ length: Int) -> Bool {
    let place = memory(file)
    let room = Int(place.load(fromByteOffset: 8, as: UInt64.self))
    let used = Int(place.load(fromByteOffset: 24, as: UInt64.self))
    guard used + length < room else {
      place.storeBytes(of: UInt64(room), toByteOffset: 24, as: UInt64.self)
      return false
    }
    (memory(place.load(as: UInt64.self)) + used).copyMemory(from: data, byteCount: length)
    place.storeBytes(of: UInt64(used + length), toByteOffset: 24, as: UInt64.self)
    return true
  }
}
