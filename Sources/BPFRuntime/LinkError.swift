import BPFVerifier

/// Why a proved program cannot run in user space.
public enum LinkError: Error, Sendable, CustomStringConvertible {
  /// User space has no such helper.
  case helper(String, instruction: Int)
  /// User space has no such kernel function.
  case kernelFunction(String, instruction: Int)
  /// A variable of the kernel.
  case kernelSymbol(String, instruction: Int)
  /// A field of the context that only the kernel has.
  case contextField(String, instruction: Int)
  /// A member of `struct bpf_map`.
  case mapField(String, instruction: Int)
  /// The maps given are not as many as the program has.
  case maps(expected: Int, given: Int)
  /// A map that has no value to point to.
  case mapValue(String, instruction: Int)
  /// An instruction that no engine knows.
  case instruction(String, at: Int)
  /// The program was verified on another Linux.
  case proof(Rejection)

  public var description: String {
    switch self {
    case .helper(let name, let at): "instruction \(at): \(name)() is not supported in user space"
    case .kernelFunction(let name, let at):
      "instruction \(at): kernel function \(name)() is not supported in user space"
    case .kernelSymbol(let name, let at): "instruction \(at): kernel variable \(name) does not exist in user space"
    case .contextField(let name, let at): "instruction \(at): context field \(name) is not supported in user space"
    case .mapField(let name, let at): "instruction \(at): \(name) of struct bpf_map is not supported in user space"
    case .maps(let expected, let given): "the program has \(expected) maps, not \(given)"
    case .mapValue(let name, let at): "instruction \(at): map \(name) has no value at a fixed place"
    case .instruction(let name, let at): "instruction \(at): \(name) is not supported in user space"
    case .proof(let rejection): "the program is not accepted here: \(rejection.message)"
    }
  }
}
