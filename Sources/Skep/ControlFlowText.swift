import BPFISA
import BPFLinux

/// A program's control flow graph in the language of Graphviz.
public struct ControlFlowText: Sendable {
  private let listing: Listing

  public init(_ program: Program, linux: Linux) {
    listing = Listing(program, linux: linux)
  }

  /// One `digraph` with a cluster a function.
  public var text: String {
    let code = listing.program.instructions
    let blocks = basicBlocks(code)
    var text = "digraph \(quoted(listing.program.name)) {\n  node [shape=box, fontname=\"monospace\"];\n"
    let starts = functionStarts(code)
    for (number, start) in starts.enumerated() {
      let end = number + 1 < starts.count ? starts[number + 1] : code.count
      text += "  subgraph cluster_\(number) {\n    label=\(quoted(functionName(at: start)));\n"
      for block in blocks where block.lowerBound >= start && block.lowerBound < end {
        let lines = block.filter { !listing.lines[$0].isEmpty }.map { "\($0): \(listing.lines[$0])" }
        text += "    n\(block.lowerBound) [label=\"\(lines.map { escaped($0) + "\\l" }.joined())\"];\n"
      }
      text += "  }\n"
    }
    for block in blocks {
      guard let last = block.last(where: { !listing.lines[$0].isEmpty }) else { continue }
      for (target, label) in successors(last, code) where target >= 0 && target < code.count {
        text += "  n\(block.lowerBound) -> n\(target)\(label.isEmpty ? "" : " [label=\"\(label)\"]");\n"
      }
    }
    return text + "}\n"
  }

  private func functionName(at start: Int) -> String {
    let program = listing.program
    if let info = program.functionInfo.first(where: { Int($0.instructionOffset) == start }), let btf = program.btf {
      return btf.name(info.typeID)
    }
    return start == 0 ? program.name : "subprogram at \(start)"
  }

  private func functionStarts(_ code: [Instruction]) -> [Int] {
    var starts: Set<Int> = [0]
    for (index, instruction) in code.enumerated() where isFirstSlot(index) {
      if instruction.isSubprogramCall || instruction.isSubprogramAddress {
        let target = index + 1 + Int(instruction.immediate)
        if code.indices.contains(target) { starts.insert(target) }
      }
    }
    return code.isEmpty ? [] : starts.sorted()
  }

  private func isFirstSlot(_ index: Int) -> Bool { !listing.lines[index].isEmpty }

  private func isJump(_ instruction: Instruction) -> Bool {
    (instruction.instructionClass == Class.jmp || instruction.instructionClass == Class.jmp32)
      && instruction.operation != Jump.call
  }

  /// Where control may go after the instruction, and when.
  private func successors(_ index: Int, _ code: [Instruction]) -> [(Int, String)] {
    let instruction = code[index]
    let next = index + (instruction.isLoadImmediate64 ? 2 : 1)
    guard isJump(instruction) else { return [(next, "")] }
    switch instruction.operation {
    case Jump.exit: return []
    case Jump.ja:
      let isLong = instruction.instructionClass == Class.jmp32
      return [(index + 1 + (isLong ? Int(instruction.immediate) : Int(instruction.offset)), "")]
    default: return [(index + 1 + Int(instruction.offset), "yes"), (next, "no")]
    }
  }

  private func basicBlocks(_ code: [Instruction]) -> [Range<Int>] {
    guard !code.isEmpty else { return [] }
    var leaders = Set(functionStarts(code))
    for (index, instruction) in code.enumerated() where isFirstSlot(index) && isJump(instruction) {
      for (target, _) in successors(index, code) where code.indices.contains(target) { leaders.insert(target) }
      if index + 1 < code.count { leaders.insert(index + 1) }
    }
    let sorted = leaders.sorted()
    return sorted.indices.map { sorted[$0]..<($0 + 1 < sorted.count ? sorted[$0 + 1] : code.count) }
  }

  private func escaped(_ text: String) -> String {
    var out = ""
    for character in text {
      if character == "\"" || character == "\\" { out.append("\\") }
      out.append(character)
    }
    return out
  }

  private func quoted(_ text: String) -> String { "\"\(escaped(text))\"" }
}
