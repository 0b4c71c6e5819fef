import CBPFRuntime

/// Open-coded iterators. Once a run is told to stop they are at their end.
enum IteratorKfuncs {
  static let table: [String: RuntimeFunction] = [
    "bpf_iter_num_new": RuntimeFunction { iterator, start, end, _, _, _ in
      numbers(iterator, Int32(truncatingIfNeeded: start), Int32(truncatingIfNeeded: end))
    },
    "bpf_iter_num_next": RuntimeFunction { iterator, _, _, _, _, run in nextNumber(iterator, run) },
    "bpf_iter_num_destroy": RuntimeFunction { iterator, _, _, _, _, _ in
      memory(iterator).storeBytes(of: 0, as: UInt64.self)
      return 0
    },
    "bpf_iter_bits_new": RuntimeFunction { iterator, words, count, _, _, _ in
      bits(iterator, words, UInt32(truncatingIfNeeded: count))
    },
    "bpf_iter_bits_next": RuntimeFunction { iterator, _, _, _, _, run in nextBit(iterator, run) },
    "bpf_iter_bits_destroy": RuntimeFunction { iterator, _, _, _, _, _ in
      let it = memory(iterator)
      if it.load(fromByteOffset: 8, as: Int32.self) > 64 { memory(it.load(as: UInt64.self)).deallocate() }
      return 0
    },
  ]

  static let mostLoops: Int64 = 8 << 20

  // MARK: Numbers: | current | end |

  private static func numbers(_ iterator: UInt64, _ start: Int32, _ end: Int32) -> UInt64 {
    let it = memory(iterator)
    it.storeBytes(of: 0, as: UInt64.self)
    guard start <= end else { return intResult(Failure.EINVAL) }
    guard Int64(end) - Int64(start) <= mostLoops else { return intResult(Failure.E2BIG) }
    it.storeBytes(of: start &- 1, as: Int32.self)
    it.storeBytes(of: end, toByteOffset: 4, as: Int32.self)
    return 0
  }

  private static func nextNumber(_ iterator: UInt64, _ run: Run) -> UInt64 {
    let it = memory(iterator)
    let next = it.load(as: Int32.self) &+ 1
    guard next < it.load(fromByteOffset: 4, as: Int32.self), run.pointee.stop_requested == 0 else {
      it.storeBytes(of: 0, as: UInt64.self)
      return 0
    }
    it.storeBytes(of: next, as: Int32.self)
    return iterator
  }

  // MARK: Bits: | words, or the one word | number of bits | current |

  private static let mostWords: UInt32 = 511

  private static func bits(_ iterator: UInt64, _ source: UInt64, _ words: UInt32) -> UInt64 {
    let it = memory(iterator)
    it.storeBytes(of: 0, as: UInt64.self)
    it.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
    it.storeBytes(of: -1, toByteOffset: 12, as: Int32.self)
    guard source != 0, words != 0 else { return intResult(Failure.EINVAL) }
    guard words <= mostWords else { return intResult(Failure.E2BIG) }
    let count = Int(words) * 8
    if words == 1 {
      guard FaultSafeMemory.readKernel(it, source, count) == 0 else {
        it.storeBytes(of: 0, as: UInt64.self)
        return intResult(Failure.EFAULT)
      }
    } else {
      let copy = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 8)
      let error = FaultSafeMemory.readKernel(copy, source, count)
      guard error == 0 else {
        copy.deallocate()
        return intResult(error)
      }
      it.storeBytes(of: address(copy), as: UInt64.self)
    }
    it.storeBytes(of: Int32(count * 8), toByteOffset: 8, as: Int32.self)
    return 0
  }

  private static func nextBit(_ iterator: UInt64, _ run: Run) -> UInt64 {
    let it = memory(iterator)
    let count = it.load(fromByteOffset: 8, as: Int32.self)
    let last = it.load(fromByteOffset: 12, as: Int32.self)
    guard count != 0, last < count, run.pointee.stop_requested == 0 else { return 0 }
    let words = count == 64 ? it : memory(it.load(as: UInt64.self))
    var bit = last &+ 1
    while bit < count {
      let word = words.load(fromByteOffset: Int(bit >> 6) * 8, as: UInt64.self) >> UInt64(bit & 63)
      if word != 0 {
        bit &+= Int32(word.trailingZeroBitCount)
        break
      }
      bit = (bit | 63) &+ 1
    }
    it.storeBytes(of: min(bit, count), toByteOffset: 12, as: Int32.self)
    return bit < count ? iterator &+ 12 : 0
  }
}
