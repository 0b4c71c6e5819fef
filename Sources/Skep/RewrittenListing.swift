import BPFISA
import BPFLinux
import BPFVerifier
import BTF

/// A verified program after rewriting, as `bpftool prog dump xlated` prints it.
///
/// What only a running kernel knows is printed by name: `&jiffies` in place of an address, a helper's number in place
/// of its distance. A map's id is its place among the maps that the program uses, from 1.
public struct RewrittenListing: Sendable {
  public let program: Program
  public let rewritten: RewrittenProgram

  public init(_ program: Program, _ rewritten: RewrittenProgram) {
    self.program = program
    self.rewritten = rewritten
  }

  public var text: String {
    var bytes: [UInt8] = []
    var functions = rewritten.functionInfo[...]
    var printedLines = 0
    let code = rewritten.instructions
    var index = 0
    while index < code.count {
      if let btf = program.btf, let function = functions.first, function.instructionOffset == UInt32(index) {
        bytes += Array((FunctionHeading(btf).text(function.typeID) + ":\n").utf8)
        functions = functions.dropFirst()
      }
      if let line = line(at: index, skipping: printedLines) {
        bytes += Array("; \(line)\n".utf8)
        printedLines += 1
      }
      let number = String(index)
      bytes += Array((String(repeating: " ", count: max(0, 4 - number.utf8.count)) + number + ": ").utf8)
      appendInstruction(index, to: &bytes)
      index += code[index].isLoadImmediate64 ? 2 : 1
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The source line of the last record that reaches the instruction, not counting as many as were printed.
  private func line(at index: Int, skipping printed: Int) -> Substring? {
    guard let btf = program.btf, printed < rewritten.lineInfo.count,
      rewritten.lineInfo[printed].instructionOffset <= UInt32(index)
    else { return nil }
    var record = printed
    while record + 1 < rewritten.lineInfo.count
      && rewritten.lineInfo[record + 1].instructionOffset <= UInt32(index)
    {
      record += 1
    }
    return btf.string(rewritten.lineInfo[record].lineOffset).drop { $0.isWhitespace }
  }

  private func appendInstruction(_ index: Int, to bytes: inout [UInt8]) {
    let code = rewritten.instructions
    let reference = rewritten.references[index]
    let insn = code[index]
    if case .address(let name) = reference, !insn.isLoadImmediate64 {
      bytes += Array("(\(hexadecimal(insn.opcode))) r\(insn.dst) = &\(name)\n".utf8)
      return
    }
    let disassembler = Disassembler(
      helperName: { _ in nil }, callName: { callName($0, reference) },
      immediateText: { first, second, _ in immediateText(first, second, reference) })
    disassembler.append(insn, next: index + 1 < code.count ? code[index + 1] : nil, to: &bytes)
  }

  private func hexadecimal(_ opcode: UInt8) -> String {
    let digits = String(opcode, radix: 16)
    return digits.utf8.count == 1 ? "0" + digits : digits
  }

  private func callName(_ call: Instruction, _ reference: RewrittenProgram.Reference?) -> String? {
    switch reference {
    case .helper(_, let function): return function
    case .function(let name): return name
    case .subprogram(let name): return (call.offset >= 0 ? "+" : "") + "\(call.offset)#\(name)"
    default:
      if call.isSubprogramCall { return (call.offset >= 0 ? "+" : "") + "\(call.offset)" }
      return call.src == 0 ? HelperID(rawValue: call.immediate).name : nil
    }
  }

  private func immediateText(
    _ first: Instruction, _ second: Instruction, _ reference: RewrittenProgram.Reference?
  ) -> String? {
    switch UInt8(truncatingIfNeeded: first.src) {
    case PseudoSource.mapFD: return "map[id:\(first.immediate)]"
    case PseudoSource.mapValue: return "map[id:\(first.immediate)][0]+\(second.immediate)"
    case PseudoSource.function: return "subprog[\(first.immediate >= 0 ? "+" : "")\(first.immediate)]"
    default:
      guard case .address(let name) = reference, !name.isEmpty else { return nil }
      return "&\(name)"
    }
  }
}

/// A function's prototype the way `bpftool` prints it before the function's instructions.
struct FunctionHeading {
  let btf: BTF

  init(_ btf: BTF) { self.btf = btf }

  func text(_ function: TypeID) -> String {
    var text = ""
    return append(function, to: &text) ? text : ""
  }

  /// False where there is no text for the type.
  private func append(_ id: TypeID, to text: inout String) -> Bool {
    guard id != 0 else {
      text += "void "
      return true
    }
    let type = btf.type(id)
    let name = btf.string(type.nameOffset)
    switch type.kind {
    case .int, .typedef, .float: text += name + " "
    case .structure: text += "struct \(name) "
    case .union: text += "union \(name) "
    case .enumeration, .enum64: text += "enum \(name) "
    case .forward: text += (type.kindFlag ? "union " : "struct ") + name + " "
    case .array:
      let array = btf.array(id)
      guard append(array.elementTypeID, to: &text) else { return false }
      text += "[\(array.count)]"
    case .pointer:
      guard append(type.target, to: &text) else { return false }
      text += "* "
    case .volatile, .const, .restrict:
      text += type.kind == .volatile ? "volatile " : type.kind == .const ? "const " : "restrict "
      return append(type.target, to: &text)
    case .functionPrototype: return appendPrototype(id, name: "", to: &text)
    case .function: return appendPrototype(type.target, name: name, to: &text)
    default: return false
    }
    return true
  }

  private func appendPrototype(_ id: TypeID, name: String, to text: inout String) -> Bool {
    guard append(btf.type(id).target, to: &text) else { return false }
    text += name + "("
    for (number, parameter) in btf.parameters(id).enumerated() {
      if number > 0 { text += ", " }
      guard parameter.typeID != 0 else {
        text += "..."
        continue
      }
      guard append(parameter.typeID, to: &text) else { return false }
      let name = btf.string(parameter.nameOffset)
      if name.isEmpty {
        if text.hasSuffix(" ") { text.removeLast() }
      } else {
        text += name
      }
    }
    text += ")"
    return true
  }
}
