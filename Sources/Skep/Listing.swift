import BPFISA
import BPFLinux
import BTF

/// A program's instructions as text, with names for numbers and the source between them.
public struct Listing: Sendable {
  public let program: Program
  /// By slot: what the disassembler prints, without the newline; empty for second slots.
  public let lines: [String]

  public init(_ program: Program, linux: Linux) {
    self.program = program
    let disassembler = Disassembler(
      helperName: { HelperID(rawValue: $0).name },
      callName: { Listing.callName($0, program, linux) },
      immediateText: { Listing.immediateText($0, $1, $2, program, linux) })
    var lines: [String] = []
    var index = 0
    let code = program.instructions
    while index < code.count {
      let isWide = code[index].isLoadImmediate64 && index + 1 < code.count
      var text = disassembler.text(code[index], next: index + 1 < code.count ? code[index + 1] : nil)
      if text.hasSuffix("\n") { text.removeLast() }
      lines.append(text)
      if isWide { lines.append("") }
      index += isWide ? 2 : 1
    }
    self.lines = lines
  }

  /// The whole program: functions, source lines, instructions.
  public var text: String {
    var text = ""
    let sources = Dictionary(
      program.lineInfo.map { (Int($0.instructionOffset), $0) }, uniquingKeysWith: { first, _ in first })
    let functions = Dictionary(
      program.functionInfo.map { (Int($0.instructionOffset), $0.typeID) }, uniquingKeysWith: { first, _ in first })
    let width = String(lines.count).count
    for (index, line) in lines.enumerated() {
      if let function = functions[index] {
        if index > 0 { text += "\n" }
        text += heading(function) + ":\n"
      } else if index == 0 {
        text += program.name + ":\n"
      }
      if let record = sources[index], let source = sourceLine(record) { text += source + "\n" }
      guard !line.isEmpty else { continue }
      let number = String(index)
      text += String(repeating: " ", count: width - number.count + 2) + number + ": " + line + "\n"
    }
    return text
  }

  /// `; source text @ file.c:12`
  private func sourceLine(_ record: LineInfo) -> String? {
    guard let btf = program.btf else { return nil }
    let source = btf.string(record.lineOffset).drop { $0 == " " || $0 == "\t" }
    let file = btf.string(record.fileNameOffset).split(separator: "/").last ?? ""
    guard !source.isEmpty else { return nil }
    return "; \(source) @ \(file):\(record.line)"
  }

  private func heading(_ function: TypeID) -> String {
    guard let btf = program.btf else { return program.name }
    let name = btf.name(function)
    var dumper = BTFDumper(btf)
    do {
      try dumper.dumpDeclaration(btf.type(function).target, name: name)
      return dumper.text.isEmpty ? name : dumper.text
    } catch {
      return name
    }
  }

  private static func callName(_ call: Instruction, _ program: Program, _ linux: Linux) -> String? {
    if call.isKfuncCall {
      let btf = call.offset == 0 ? linux.btf : program.moduleBTFs[Int(call.offset)]
      return btf.map { $0.name(TypeID(bitPattern: call.immediate)) }
    }
    return nil
  }

  private static func immediateText(
    _ first: Instruction, _ second: Instruction, _ value: UInt64, _ program: Program, _ linux: Linux
  ) -> String? {
    func mapName(_ index: Int32) -> String {
      let index = Int(index)
      return program.maps.indices.contains(index) ? program.maps[index].name : "\(index)"
    }
    switch UInt8(truncatingIfNeeded: first.src) {
    case PseudoSource.mapFD: return "map[\(mapName(first.immediate))]"
    case PseudoSource.mapValue: return "map[\(mapName(first.immediate))][0]+\(second.immediate)"
    case PseudoSource.btfID: return linux.btf.map { "&\($0.name(TypeID(bitPattern: first.immediate)))" }
    case PseudoSource.function: return "subprog[\(first.immediate >= 0 ? "+" : "")\(first.immediate)]"
    default: return nil
    }
  }
}
