import BPFRuntime

/// Machine code of a program that is not run here: for other processors, or to be looked at.
///
/// It holds addresses of this process, those of maps and helpers, and has to begin at a page.
public struct MachineCode: Sendable {
  public let bytes: [UInt8]
  /// Where in it the program's `skep_entry` is.
  public let entry: Int
  /// Where helpers call functions of the program (`skep_invoke`).
  public let invoke: Int
}

extension JIT {
  /// Compiles for arm64, whatever processor this is.
  ///
  /// - Throws: `JITError`, where the compiler cannot compile the program.
  public static func compileARM64(
    _ linked: LinkedProgram, options: JITOptions = JITOptions()
  ) throws(JITError) -> MachineCode {
    try compileARM64(CompilerInput(linked), options: options)
  }

  static func compileARM64(
    _ input: CompilerInput, options: JITOptions = JITOptions(), functions: RuntimeAddresses = .here
  ) throws(JITError) -> MachineCode {
    var compiler = ProgramCompiler(input, ARM64Backend(options: options, functions: functions))
    defer { compiler.release() }
    let code = try compiler.translate()
    let layout = compiler.backend.layout
    let bytes = [UInt8](unsafeUninitializedCapacity: code.size) { buffer, count in
      guard let start = buffer.baseAddress else { return }
      layout.write(to: start)
      count = code.size
    }
    return MachineCode(bytes: bytes, entry: code.entry, invoke: code.invoke)
  }
}
