import BPFLinux
import BPFRuntime
import CBPFRuntime

/// How a program is compiled.
public struct JITOptions: Sendable {
  /// Constants of the program do not appear as they are in the code, so that nobody can have code of their choice
  /// written by way of them.
  public var blindsConstants = false

  public init() {}
}

/// Compiles proved programs to machine code.
///
/// ## Allocation
/// Code is written to memory of its own, which is then made executable and no longer writable. It is given back when
/// the executable goes.
public enum JIT {
  /// - Throws: `JITError`, where the compiler cannot compile the program; the interpreter can.
  public static func compile(
    _ linked: LinkedProgram, options: JITOptions = JITOptions()
  ) throws(JITError) -> any Executable {
    #if arch(x86_64)
    var compiler = ProgramCompiler(CompilerInput(linked), X64Backend(features: .here, options: options))
    defer { compiler.release() }
    return try compiler.compile(keeping: linked)
    #elseif arch(arm64)
    var compiler = ProgramCompiler(CompilerInput(linked), ARM64Backend(options: options))
    defer { compiler.release() }
    return try compiler.compile(keeping: linked)
    #else
    throw .machine("this processor")
    #endif
  }

  /// The engine that runs compiled programs.
  public static func engine(_ options: JITOptions = JITOptions()) -> Engine {
    Engine(name: "jit") { try compile($0, options: options) }
  }
}

/// Machine code of a program, ready to run.
public final class CompiledProgram: Executable {
  public let entry: skep_entry
  public let invoke: skep_invoke
  /// Where the code begins, and how long it is: for disassemblers and profiles.
  public let codeStart: UInt
  public let codeSize: Int
  private let memory: CodeMemory
  /// Its maps are named in the code.
  private let linked: (any Sendable)?

  init(_ memory: CodeMemory, size: Int, entry: Int, invoke: Int, linked: (any Sendable)?) {
    self.memory = memory
    self.linked = linked
    codeStart = UInt(bitPattern: memory.base)
    codeSize = size
    self.entry = unsafeBitCast(memory.base + entry, to: skep_entry.self)
    self.invoke = unsafeBitCast(memory.base + invoke, to: skep_invoke.self)
  }
}
