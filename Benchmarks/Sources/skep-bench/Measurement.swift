import BPFObject
import Skep

/// Medians of all engines on one benchmark, measured in turns so that what the machine does meanwhile meets all alike.
struct Measurement {
  let bench: Bench
  /// Nanoseconds of one run, by engine; engines that are not there are missing.
  var medians: [String: Double] = [:]
  /// What an engine returned.
  var values: [String: UInt32] = [:]

  static let engines = ["native", "kernel", "jit", "interpreter"]

  init(_ bench: Bench, _ engines: [any BenchEngine], rounds: Int, sampleNanoseconds: Double) throws {
    self.bench = bench
    var counts: [Int] = []
    for engine in engines {
      // How often it runs in one sample.
      var count = 16
      var single = 0.0
      while true {
        single = try Self.sample(engine, count, &values[engine.name])
        if single * Double(count) > sampleNanoseconds / 4 || count >= 1 << 24 { break }
        count *= 2
      }
      counts.append(min(1 << 26, max(1, Int(sampleNanoseconds / max(single, 0.1)))))
    }
    var samples = [[Double]](repeating: [], count: engines.count)
    for _ in 0..<rounds {
      for (index, engine) in engines.enumerated() {
        samples[index].append(try Self.sample(engine, counts[index], &values[engine.name]))
      }
    }
    for (index, engine) in engines.enumerated() { medians[engine.name] = samples[index].median }
  }

  /// Nanoseconds of one run.
  private static func sample(_ engine: any BenchEngine, _ count: Int, _ value: inout UInt32?) throws -> Double {
    let start = Clock.nanoseconds
    let result = try engine.run(count)
    let spent = Double(Clock.nanoseconds - start) / Double(count)
    value = result.value
    return result.nanoseconds ?? spent
  }

  /// How many times as long as native code.
  func ratio(_ engine: String) -> Double? {
    guard let native = medians["native"], native > 0, let median = medians[engine] else { return nil }
    return median / native
  }
}

/// How long the translation to machine code takes for programs of several lengths.
enum TranslationMeasurement {
  struct Point {
    let instructions: Int
    let nanosecondsPerInstruction: Double
  }

  /// Straight arithmetic, memory on the stack and branches, in proportions of compiled C.
  static func program(instructions: Int) -> [UInt8] {
    var slots: [UInt64] = []
    func slot(_ opcode: UInt8, _ dst: UInt8, _ src: UInt8, _ offset: Int16, _ immediate: Int32) {
      slots.append(
        UInt64(opcode) | UInt64(src << 4 | dst) << 8 | UInt64(UInt16(bitPattern: offset)) << 16
          | UInt64(UInt32(bitPattern: immediate)) << 32)
    }
    for register in 0..<UInt8(6) { slot(0xb7, register == 1 ? 6 : register, 0, 0, Int32(register) * 77 + 1) }
    slot(0x7b, 10, 0, -8, 0)
    var number: Int32 = 0
    while slots.count < instructions - 3 {
      number += 1
      let first = UInt8(number % 5 == 1 ? 6 : number % 5)
      let second = UInt8((number * 3 + 1) % 5 == 1 ? 6 : (number * 3 + 1) % 5)
      switch number % 8 {
      case 0: slot(0x0f, first, second, 0, 0)
      case 1: slot(0xaf, first, second, 0, 0)
      case 2: slot(0x67, first, 0, 0, number & 31)
      case 3: slot(0x7b, 10, first, -8, 0)
      case 4: slot(0x79, first, 10, -8, 0)
      case 5: slot(0x27, first, 0, 0, 31)
      case 6: slot(0x57, first, 0, 0, 0xffff)
      default: slot(0x07, first, 0, 0, number)
      }
    }
    slot(0xbf, 0, 6, 0, 0)
    slot(0x57, 0, 0, 0, 1)
    slot(0x95, 0, 0, 0, 0)
    return slots.withUnsafeBytes { Array($0) }
  }
}
