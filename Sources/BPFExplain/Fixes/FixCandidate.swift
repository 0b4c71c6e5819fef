import BPFISA
import BPFLinux

/// A change that might make the verifier accept a program.
struct FixCandidate {
  struct Insertion {
    var slot: Int
    /// In the assembler's text; jumps stay inside of it.
    var text: String
    var way = ProgramEdit.Way.everyone
  }

  var title: String
  var insertions: [Insertion] = []
  /// A change of the program other than of its instructions.
  var change: (@Sendable (inout Program) -> Void)?
  /// Capabilities to load with.
  var capabilities: Capabilities = []
  /// The source to put in, and the instruction before whose line it goes.
  var source: String?
  var place: Int?

  /// The changed program; nil where the change cannot be made.
  func applied(to program: Program, kernelFunction: (String) -> Int32?) -> Program? {
    var program = program
    change?(&program)
    guard !insertions.isEmpty else { return program }
    var edit = ProgramEdit(insertions: [])
    for insertion in insertions {
      guard let code = Self.assemble(insertion.text, kernelFunction) else { return nil }
      edit.insertions.append(.init(slot: insertion.slot, code: code, way: insertion.way))
    }
    return edit.applied(to: program)
  }

  private static func assemble(_ text: String, _ kernelFunction: (String) -> Int32?) -> [Instruction]? {
    withoutActuallyEscaping(kernelFunction) { kernelFunction in
      let assembler = Assembler(callTarget: { name in
        if let helper = (0..<HelperID.end).first(where: { HelperID(rawValue: $0).name == name }) { return .helper(helper) }
        return kernelFunction(name).map { .kernelFunction(typeID: $0, module: 0) }
      })
      return try? assembler.assemble(text)
    }
  }
}
