import BPFLinux
import BPFRuntime
import Testing

/// Helpers that print, parse and compare, held against what a running kernel answered.
@Suite struct HelpersTextTests {
  @Test func snprintf() throws {
    let it = HelperFixture()
    let text = it.string("str")
    let long = it.string("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123")
    let ipv4 = it.bytes([127, 0, 0, 1])
    let ipv6 = it.bytes([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xca, 0xfe, 0, 1])
    for (format, arguments, expected, shown) in RecordedAnswers.formats {
      let values = arguments.map { argument in
        switch argument {
        case .number(let number): number
        case .text: text
        case .long: long
        case .ipv4: ipv4
        case .ipv6: ipv6
        }
      }
      let output = it.memory(256)
      let result = try it.helper(
        .snprintf, output, 256, it.string(format), it.words(values), UInt64(values.count * 8))
      #expect(Int64(bitPattern: result) == expected, "\(format)")
      guard expected > 0 else { continue }
      #expect(it.text(output, Int(expected)) == shown + "\0", "\(format)")
    }
  }

  @Test func snprintfWithoutRoom() throws {
    let it = HelperFixture()
    let output = it.bytes(Array("........".utf8))
    #expect(try it.helper(.snprintf, output, 4, it.string("%d"), it.words([123_456]), 8) == 7)
    #expect(it.text(output, 8) == "123\0....")
    #expect(try it.helper(.snprintf, 0, 0, it.string("%d"), it.words([123_456]), 8) == 7)
    #expect(try it.helper(.snprintf, output, 8, it.string("x"), 0, 8) == failure(.EINVAL))
    #expect(try it.helper(.snprintf, output, 8, it.string("x"), output, 7) == failure(.EINVAL))
    #expect(try it.helper(.snprintf, output, 8, it.string("x"), output, 104) == failure(.EINVAL))
  }

  @Test func tracePrintk() throws {
    let it = HelperFixture()
    for (format, expected) in RecordedAnswers.traceFormats {
      let text = it.string(format)
      let result = try it.helper(.tracePrintk, text, UInt64(format.unicodeScalars.count + 1), 1, 2, 3)
      #expect(Int64(bitPattern: result) == expected, "\(format)")
    }
    #expect(try it.helper(.tracePrintk, it.string("no end"), 6, 1, 2, 3) == failure(.EINVAL))
  }

  @Test func traceIsFollowed() throws {
    let it = HelperFixture()
    let lines = Lines()
    let follower = it.machine.followTrace { lines.add($0.text) }
    _ = try it.helper(.tracePrintk, it.string("%d+%d"), 6, 1, 2)
    _ = try it.helper(.traceVprintk, it.string("%s"), 3, it.words([it.string("four")]), 8)
    _ = try it.kfunc("bpf_stream_vprintk_impl", 1, it.string("out %d"), it.words([5]), 8)
    #expect(try it.kfunc("bpf_stream_vprintk_impl", 3, it.string("x"), 0, 0) == intFailure(.ENOENT))
    it.machine.unfollowTrace(follower)
    #expect(lines.all == ["1+2", "four", "out 5"])
  }

  @Test func sequenceFile() throws {
    let it = HelperFixture()
    let file = it.memory(SequenceFile.byteCount)
    let buffer = it.memory(16)
    SequenceFile.initialize(it.at(file), buffer: it.at(buffer), size: 16)
    #expect(try it.helper(.seqPrintf, file, it.string("%d,"), 4, it.words([12]), 8) == 0)
    #expect(try it.helper(.seqWrite, file, it.string("abc"), 3) == 0)
    #expect(it.text(buffer, SequenceFile.count(it.at(file))) == "12,abc")
    #expect(try it.helper(.seqPrintf, file, it.string("%200d"), 6, it.words([12]), 8) == failure(.EOVERFLOW))
    #expect(SequenceFile.count(it.at(file)) == 16)
  }

  @Test func numbers() throws {
    let it = HelperFixture()
    for (text, flags, expected) in RecordedAnswers.numbers {
      let bytes = it.string(text)
      let length = UInt64(max(1, text.unicodeScalars.count))
      let output = it.words([77, 77])
      var found = [Int64(bitPattern: try it.helper(.strtol, bytes, length, flags, output))]
      found.append(Int64(bitPattern: it.word(output)))
      found.append(Int64(bitPattern: try it.helper(.strtoul, bytes, length, flags, output + 8)))
      found.append(Int64(bitPattern: it.word(output + 8)))
      #expect(found == expected, "\(text) \(flags)")
    }
  }

  @Test func stringsInPairs() throws {
    let it = HelperFixture()
    let strings = RecordedAnswers.strings
    for (first, one) in strings.enumerated() {
      for (second, other) in strings.enumerated() {
        let (a, b) = (it.string(one), it.string(other))
        var found: [Int32] = []
        for name in ["bpf_strcmp", "bpf_strcasecmp", "bpf_strspn", "bpf_strcspn", "bpf_strstr"] {
          found.append(Int32(bitPattern: UInt32(try it.kfunc(name, a, b))))
        }
        found.append(Int32(bitPattern: UInt32(try it.kfunc("bpf_strnstr", a, b, 4))))
        #expect(found == RecordedAnswers.ofPairs[first * strings.count + second], "\(one) \(other)")
      }
    }
  }

  @Test func strings() throws {
    let it = HelperFixture()
    for (index, text) in RecordedAnswers.strings.enumerated() {
      let at = it.string(text)
      let calls: [(String, UInt64, UInt64)] = [
        ("bpf_strchr", 97, 0), ("bpf_strchrnul", 99, 0), ("bpf_strnchr", 2, 98), ("bpf_strrchr", 98, 0),
        ("bpf_strlen", 0, 0), ("bpf_strnlen", 3, 0), ("bpf_strchr", 0, 0), ("bpf_strrchr", 0, 0),
      ]
      let found = try calls.map { Int32(bitPattern: UInt32(try it.kfunc($0, at, $1, $2))) }
      #expect(found == RecordedAnswers.ofOne[index], "\(text)")
    }
  }

  @Test func addressesThatCannotBeRead() throws {
    let it = HelperFixture()
    let (text, buffer) = (it.string("hello world"), it.memory(16))
    let (one, last) = (UInt64(1), UInt64.max)
    for name in ["bpf_strlen", "bpf_strchr"] {
      #expect(try it.kfunc(name, 0, 97) == intFailure(.ERANGE))
      #expect(try it.kfunc(name, one, 97) == intFailure(.ERANGE))
      #expect(try it.kfunc(name, last, 97) == intFailure(.EFAULT))
    }
    #expect(try it.kfunc("bpf_strcmp", text, one) == intFailure(.ERANGE))
    #expect(try it.kfunc("bpf_strcmp", last, text) == intFailure(.EFAULT))
    #expect(try it.helper(.probeReadKernel, buffer, 8, 0) == failure(.ERANGE))
    #expect(try it.helper(.probeReadKernel, buffer, 8, last) == failure(.EFAULT))
    #expect(try it.helper(.probeReadKernel, buffer, 8, 1 << 63) == failure(.ERANGE))
    #expect(try it.helper(.probeReadKernelStr, buffer, 8, 0) == failure(.ERANGE))
    #expect(try it.helper(.probeReadUser, buffer, 8, 0) == failure(.EFAULT))
    #expect(try it.helper(.probeReadUserStr, buffer, 8, one) == failure(.EFAULT))
    #expect(try it.helper(.probeReadKernel, buffer, 0, 0) == 0)
  }

  @Test func reads() throws {
    let it = HelperFixture()
    let text = it.string("hello world")
    let buffer = it.bytes(Array("................".utf8))
    #expect(try it.helper(.probeReadKernelStr, buffer, 8, text) == 8)
    #expect(it.text(buffer, 9) == "hello w\0.")
    #expect(try it.helper(.probeReadKernelStr, buffer, 16, text) == 12)
    #expect(it.text(buffer, 16) == "hello world\0....")
    // Strings of users come in words.
    #expect(try it.helper(.probeReadUserStr, buffer, 16, it.string("abcdefghij")) == 11)
    #expect(it.text(buffer, 16) == "abcdefghij\0\0\0\0\0\0")
    #expect(try it.helper(.probeReadKernel, buffer, 5, text) == 0)
    #expect(it.text(buffer, 5) == "hello")
    #expect(try it.helper(.strncmp, it.string("abc"), 3, it.string("abd")) == UInt64.max)
    #expect(try it.helper(.strncmp, it.string("abc"), 2, it.string("abd")) == 0)
    #expect(try it.helper(.strncmp, it.string("a"), 2, it.string("")) == 1)
  }
}

private final class Lines: @unchecked Sendable {
  private(set) var all: [String] = []
  func add(_ line: String) { all.append(line) }
}
