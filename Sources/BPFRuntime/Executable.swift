import CBPFRuntime

/// A program in the form that an engine runs.
public protocol Executable: AnyObject, Sendable {
  /// Enters the program. It sets `invoke` of the run, and puts back what it found there.
  var entry: skep_entry { get }
  /// Calls a function of the program by the value that a register holds for it.
  var invoke: skep_invoke { get }
  /// What `entry` finds in `skep_program.code`.
  var code: UnsafeRawPointer? { get }
}

extension Executable {
  public var code: UnsafeRawPointer? { nil }
}

/// A way to run programs.
public struct Engine: Sendable {
  public let name: String
  /// Makes a program's executable form; throws what keeps the engine from it.
  public let prepare: @Sendable (LinkedProgram) throws -> any Executable

  public init(name: String, prepare: @escaping @Sendable (LinkedProgram) throws -> any Executable) {
    self.name = name
    self.prepare = prepare
  }

  /// The interpreter: for any platform, and for programs that run once.
  public static let interpreter = Engine(name: "interpreter") { Interpreter($0) }
}
