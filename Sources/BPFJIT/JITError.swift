/// Why a program could not be compiled. The interpreter runs it then.
public enum JITError: Error, Sendable, CustomStringConvertible {
  /// The machine is not one that code is made for.
  case machine(String)
  /// The instruction in this slot does something that the compiler does not know.
  case unsupported(slot: Int, String)
  /// The system gave no memory for code, or did not let it become executable.
  case memory(errno: Int32)
  /// The code would be longer than a jump reaches.
  case tooLong

  public var description: String {
    switch self {
    case .machine(let name): "no compiler for \(name)"
    case .unsupported(let slot, let what): "instruction \(slot): \(what) is not compiled"
    case .memory(let errno): "no executable memory (errno \(errno))"
    case .tooLong: "the code is too long"
    }
  }
}
