/// What is printed for people to read.
enum Table {
  static func programs(_ results: [Measurement]) -> String {
    var rows = [
      ["", "native", "kernel", "jit", "interpreter", "kernel/native", "jit/native", "interp./native", "jit/kernel"]
    ]
    for result in results {
      var row = [result.bench.name]
      for engine in Measurement.engines { row.append(result.medians[engine].map { "\(number($0)) ns" } ?? "-") }
      for engine in ["kernel", "jit", "interpreter"] { row.append(result.ratio(engine).map(number) ?? "-") }
      if let jit = result.medians["jit"], let kernel = result.medians["kernel"], kernel > 0 {
        row.append(number(jit / kernel))
      } else {
        row.append("-")
      }
      rows.append(row)
    }
    let reference = results.filter { $0.bench.isReference }
    if !reference.isEmpty { rows.append(means("geometric mean of the first \(reference.count)", reference)) }
    if results.count > 1 { rows.append(means("geometric mean of all", results)) }
    return aligned(rows)
  }

  private static func means(_ title: String, _ results: [Measurement]) -> [String] {
    func mean(_ ratios: [Double]) -> String { ratios.isEmpty ? "-" : number(ratios.geometricMean) }
    var row = [title, "", "", "", ""]
    for engine in ["kernel", "jit", "interpreter"] { row.append(mean(results.compactMap { $0.ratio(engine) })) }
    let beside = results.compactMap { result -> Double? in
      guard let jit = result.medians["jit"], let kernel = result.medians["kernel"], kernel > 0 else { return nil }
      return jit / kernel
    }
    row.append(mean(beside))
    return row
  }

  static func translation(_ points: [TranslationMeasurement.Point]) -> String {
    var text = "\ntranslation to machine code\n"
    for point in points {
      text += "  \(point.instructions) instructions: \(number(point.nanosecondsPerInstruction / 1000)) us each\n"
    }
    return text
  }

  static func maps(_ rates: [Suites.MapRate]) -> String {
    var rows = [["operation", "entries", "threads", "jit", "kernel"]]
    var seen: [String] = []
    for rate in rates {
      let key = "\(rate.name) \(rate.entries) \(rate.threads)"
      guard !seen.contains(key) else { continue }
      seen.append(key)
      func cell(_ engine: String) -> String {
        rates.first { $0.engine == engine && "\($0.name) \($0.entries) \($0.threads)" == key }
          .map { Self.rate($0.perSecond) } ?? "-"
      }
      rows.append([rate.name, "\(rate.entries)", "\(rate.threads)", cell("jit"), cell("kernel")])
    }
    return "\nmap operations a second\n" + aligned(rows)
  }

  static func rate(_ perSecond: Double) -> String {
    perSecond >= 1e6 ? "\(number(perSecond / 1e6)) M" : "\(number(perSecond / 1e3)) k"
  }

  /// Three digits or so.
  static func number(_ value: Double) -> String {
    let digits = value < 10 ? 100.0 : value < 100 ? 10 : 1
    let rounded = (value * digits).rounded() / digits
    return digits == 1 ? "\(Int(rounded))" : "\(rounded)"
  }

  private static func aligned(_ rows: [[String]]) -> String {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + space : space + cell
      }
      return cells.joined(separator: "  ") + "\n"
    }.joined()
  }
}
