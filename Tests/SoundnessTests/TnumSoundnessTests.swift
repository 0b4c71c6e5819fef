import Testing

@testable import BPFVerifier

/// Operations on tracked numbers against arithmetic on all the numbers that they stand for.
@Suite struct TnumSoundnessTests {
  typealias Operation = (
    name: String, abstract: @Sendable (Tnum, Tnum) -> Tnum, concrete: @Sendable (UInt64, UInt64) -> UInt64
  )

  static let operations: [Operation] = [
    ("+", { $0 + $1 }, { $0 &+ $1 }), ("-", { $0 - $1 }, { $0 &- $1 }), ("*", { $0 * $1 }, { $0 &* $1 }),
    ("&", { $0 & $1 }, { $0 & $1 }), ("|", { $0 | $1 }, { $0 | $1 }), ("^", { $0 ^ $1 }, { $0 ^ $1 }),
  ]

  /// Where the four bits stand, and what the other bits are: at the bottom, across the middle, at the top.
  static let positions: [(shift: Int, rest: UInt64)] = [(0, 0), (30, 0x5000_0001_2000_0003), (60, 0)]

  @Test(arguments: operations.indices)
  func binaryOperations(_ index: Int) {
    let operation = Self.operations[index]
    for (shift, rest) in Self.positions {
      let numbers = Tnum.all(width: 4, shift: shift, rest: rest).map { ($0, $0.values) }
      for (a, aValues) in numbers {
        for (b, bValues) in numbers {
          let result = operation.abstract(a, b)
          guard result.value & result.mask == 0 else {
            Issue.record("\(a) \(operation.name) \(b) = \(result) is malformed")
            return
          }
          for x in aValues {
            for y in bValues where !result.admits(operation.concrete(x, y)) {
              Issue.record("\(a) \(operation.name) \(b) = \(result) lacks that of \(x) and \(y)")
              return
            }
          }
        }
      }
    }
  }

  @Test func randomBinaryOperations() {
    var random = RandomNumbers(seed: 1)
    for _ in 0..<20_000 {
      let a = Self.random(&random)
      let b = Self.random(&random)
      let x = a.value | random.next() & a.mask
      let y = b.value | random.next() & b.mask
      for operation in Self.operations {
        let result = operation.abstract(a, b)
        #expect(result.value & result.mask == 0)
        if !result.admits(operation.concrete(x, y)) {
          Issue.record("\(a) \(operation.name) \(b) = \(result) lacks that of \(x) and \(y)")
        }
      }
    }
  }

  private static func random(_ random: inout RandomNumbers) -> Tnum {
    let mask = random.chance(1, in: 2) ? random.interesting() : random.next() & random.next()
    return Tnum(value: random.interesting() & ~mask, mask: mask)
  }

  /// Shifts, casts, halves and byte swaps, of every value; random ones at full width.
  @Test func unaryOperations() {
    var numbers = Self.positions.flatMap { Tnum.all(width: 4, shift: $0.shift, rest: $0.rest) }
    var random = RandomNumbers(seed: 2)
    for _ in 0..<300 {
      let mask = (0..<4).reduce(0 as UInt64) { sum, _ in sum | 1 << UInt64(random.below(64)) }
      numbers.append(Tnum(value: random.next() & ~mask, mask: mask))
    }
    for a in numbers {
      var results: [(String, Tnum, (UInt64) -> UInt64)] = [
        ("negated", a.negated, { 0 &- $0 }), ("subregister", a.subregister, { $0 & 0xffff_ffff }),
        ("withoutSubregister", a.withoutSubregister, { $0 & ~0xffff_ffff }),
        ("swapped 16", a.byteSwapped16, { UInt64(UInt16(truncatingIfNeeded: $0).byteSwapped) }),
        ("swapped 32", a.byteSwapped32, { UInt64(UInt32(truncatingIfNeeded: $0).byteSwapped) }),
        ("swapped 64", a.byteSwapped64, { $0.byteSwapped }),
        ("with constant", a.withSubregister(constant: 7), { $0 & ~0xffff_ffff | 7 }),
        ("with half", a.withSubregister(Tnum(value: 4, mask: 3)), { $0 & ~0xffff_ffff | 6 }),
      ]
      for size in [1, 2, 4, 8] {
        results.append(("cast \(size)", a.cast(size: size), { size == 8 ? $0 : $0 & (1 << UInt64(size * 8) - 1) }))
      }
      for amount in [0, 1, 3, 31] as [UInt64] {
        results.append(
          (
            "s>> \(amount) of 32", a.subregister.arithmeticShiftRight(amount, bits: 32),
            { UInt64(UInt32(bitPattern: Int32(truncatingIfNeeded: $0) >> Int32(amount))) }
          ))
      }
      for amount in [0, 1, 3, 31, 32, 63] as [UInt64] {
        results.append(("<< \(amount)", a.shiftLeft(amount), { $0 << amount }))
        results.append((">> \(amount)", a.shiftRight(amount), { $0 >> amount }))
        results.append(
          (
            "s>> \(amount)", a.arithmeticShiftRight(amount, bits: 64),
            { UInt64(bitPattern: Int64(bitPattern: $0) >> Int64(amount)) }
          ))
      }
      let values = a.values
      for (name, result, concrete) in results {
        if result.value & result.mask != 0 { Issue.record("\(a) \(name) = \(result) is malformed") }
        for x in values where !result.admits(concrete(x)) {
          Issue.record("\(a) \(name) = \(result) lacks that of \(x)")
        }
      }
    }
  }

  /// Set operations: intersection, union, containment and whether they meet, by what is in the sets.
  @Test func setOperations() {
    for (shift, rest) in Self.positions {
      let numbers = Tnum.all(width: 4, shift: shift, rest: rest).map { ($0, Set($0.values)) }
      for (a, aValues) in numbers {
        for (b, bValues) in numbers {
          let common = aValues.intersection(bValues)
          let union = a.union(b)
          let isSubset = bValues.isSubset(of: aValues)
          let meet = a.intersect(b)
          if !aValues.allSatisfy(union.admits) || !bValues.allSatisfy(union.admits) || a.contains(b) != isSubset
            || a.overlaps(b) == common.isEmpty || !common.allSatisfy(meet.admits)
            || !common.isEmpty && meet.values.count != common.count
          {
            Issue.record("sets of \(a) and \(b)")
            return
          }
        }
      }
    }
  }

  @Test func ranges() {
    for (shift, others) in Self.positions {
      let rest = others & ~(15 << UInt64(shift))
      for low in 0..<16 as Range<UInt64> {
        for high in low..<16 {
          let (first, last) = (low << UInt64(shift) | rest, high << UInt64(shift) | rest)
          let result = Tnum.range(first, last)
          for value in low...high where !result.admits(value << UInt64(shift) | rest) {
            Issue.record("range of \(first) to \(last) = \(result)")
          }
        }
      }
    }
    var random = RandomNumbers(seed: 3)
    for _ in 0..<20_000 {
      let ends = [random.interesting(), random.interesting(), random.interesting()].sorted()
      #expect(Tnum.range(ends[0], ends[2]).admits(ends[1]))
    }
  }

  /// `next(after:)` is the very next one.
  @Test func next() {
    for (shift, rest) in Self.positions {
      for a in Tnum.all(width: 5, shift: min(shift, 59), rest: rest) {
        let values = a.values
        let greatest = a.value | a.mask
        var index = 0
        for step in 0..<64 as Range<UInt64> {
          // Half steps too: what lies between the candidates.
          let z = (step >> 1) << UInt64(min(shift, 59)) &+ (step & 1) &+ (rest & ~(31 << UInt64(min(shift, 59))))
          while index < values.count, values[index] <= z { index += 1 }
          let expected = index < values.count ? values[index] : greatest
          if a.next(after: z) != expected { Issue.record("next of \(a) after \(z): \(a.next(after: z))") }
        }
      }
    }
    var random = RandomNumbers(seed: 4)
    for _ in 0..<3_000 {
      let mask = (0..<5).reduce(0 as UInt64) { sum, _ in sum | 1 << UInt64(random.below(64)) }
      let a = Tnum(value: random.interesting() & ~mask, mask: mask)
      let values = a.values
      let z = random.chance(1, in: 2) ? random.pick(values) &+ random.next() % 3 &- 1 : random.interesting()
      #expect(a.next(after: z) == values.first { $0 > z } ?? (a.value | a.mask), "next of \(a) after \(z)")
    }
  }
}
