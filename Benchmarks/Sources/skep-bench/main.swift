// skep-bench: Skep's engines beside the kernel's and native code. See `usage`.

import BPFObject
import Foundation
import Skep

let usage = """
  How fast programs run: Skep's machine code and interpreter, the kernel's JIT by test run, and the same C compiled by
  clang -O2 for this machine. All are measured in turns; the numbers are medians.

  Usage: swift run -c release --package-path Benchmarks skep-bench [OPTIONS] [BENCHMARK...]

    --format text|json  json: an array of {bench, engine, median_ns} (default: text, a table)
    --rounds N          samples of each (default 31)
    --sample MS         how long a sample takes (default 2)
    --only WHAT         programs (default), maps, packets, translation, or all

  The kernel takes root; without it there are no numbers of it.

  """

struct Options {
  var isJSON = false
  var rounds = 31
  var sample = 2.0
  var only = "programs"
  var names: [String] = []

  init(_ words: [String]) throws {
    var index = 0
    func value(_ option: String) throws -> String {
      index += 1
      guard index < words.count else { throw BenchError("\(option) needs a value") }
      return words[index]
    }
    while index < words.count {
      switch words[index] {
      case "--format":
        let format = try value("--format")
        guard format == "text" || format == "json" else { throw BenchError("--format is text or json") }
        isJSON = format == "json"
      case "--rounds":
        guard let number = Int(try value("--rounds")), number > 0 else { throw BenchError("--rounds is a number") }
        rounds = number
      case "--sample":
        guard let number = Double(try value("--sample")), number > 0 else { throw BenchError("--sample is a number") }
        sample = number
      case "--only":
        only = try value("--only")
        guard ["programs", "maps", "packets", "translation", "all"].contains(only) else {
          throw BenchError("--only is programs, maps, packets, translation or all")
        }
      case "--help", "-h":
        print(usage, terminator: "")
        exit(0)
      case let word where word.hasPrefix("-"): throw BenchError("unknown option \(word)")
      case let word: names.append(word)
      }
      index += 1
    }
  }

  func wants(_ what: String) -> Bool { only == what || only == "all" }
}

func complain(_ text: String) { FileHandle.standardError.write(Data("skep-bench: \(text)\n".utf8)) }

func run() throws -> Int32 {
  let options = try Options(Array(CommandLine.arguments.dropFirst()))
  let linux = try Linux.running()
  let programs = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/Programs"
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent("skep-bench-\(getpid())")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  var rows: [(bench: String, engine: String, nanoseconds: Double)] = []
  var isWrong = false

  if options.wants("programs") {
    let benches = Bench.all(in: programs, only: options.names)
    guard !benches.isEmpty else { throw BenchError("there is no such benchmark in \(programs)") }
    let compiler = SourceCompiler(linux: linux)
    var results: [Measurement] = []
    for bench in benches {
      let object = RunnableObject(try compiler.compile(bench.source).object, linux: linux)
      var engines: [any BenchEngine] = [try NativeEngine(bench, compiler: "clang", folder: folder.path)]
      for (label, engine) in [
        ("kernel", RunEngine.kernel), ("jit", .user(.machineCode)), ("interpreter", .user(.interpreter)),
      ] {
        switch ProgramEngine.load(label, object, engine) {
        case .success(let engine): engines.append(engine)
        case .failure(let error): complain("\(bench.name): not measured: \(error)")
        }
      }
      let result = try Measurement(
        bench, engines, rounds: options.rounds, sampleNanoseconds: options.sample * 1e6)
      if Set(result.values.values).count > 1 {
        complain("\(bench.name): the engines do not return the same: \(result.values)")
        isWrong = true
      }
      if !options.isJSON { FileHandle.standardError.write(Data("\(bench.name)\u{1b}[K\r".utf8)) }
      results.append(result)
    }
    rows += results.flatMap { result in
      Measurement.engines.compactMap { engine in
        result.medians[engine].map { (result.bench.name, engine, $0) }
      }
    }
    if !options.isJSON { print(Table.programs(results), terminator: "") }
  }
  if options.wants("translation") {
    let points = try Suites.translation(linux)
    rows += points.map { ("translation_\($0.instructions)", "jit", $0.nanosecondsPerInstruction) }
    if !options.isJSON { print(Table.translation(points), terminator: "") }
  }
  if options.wants("maps") {
    let rates = try Suites.maps(linux, compiler: SourceCompiler(linux: linux), folder: folder.path)
    rows += rates.map { ("\($0.name)_\($0.entries)_threads_\($0.threads)", $0.engine, 1e9 / $0.perSecond) }
    if !options.isJSON { print(Table.maps(rates), terminator: "") }
  }
  if options.wants("packets") {
    let rate = try Suites.packets(linux, compiler: SourceCompiler(linux: linux), folder: folder.path)
    rows.append(("xdp_drop_10000", "jit", 1e9 / rate))
    if !options.isJSON { print("XDP drop by a hash of 10,000: \(Table.rate(rate)) packets/s on one core") }
  }
  if options.isJSON {
    let list = rows.map { row in
      JSONValue.object([
        .init("bench", .string(row.bench)), .init("engine", .string(row.engine)),
        .init("median_ns", .real((row.nanoseconds * 100).rounded() / 100)),
      ])
    }
    print(JSONValue.array(list).text())
  }
  return isWrong ? 1 : 0
}

do {
  exit(try run())
} catch {
  complain("\(error)")
  exit(2)
}
