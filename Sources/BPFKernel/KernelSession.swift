import BPFISA
import BPFLinux

/// The running kernel, asked about many programs that share their maps and types.
///
/// Making maps takes longer than verifying a small program; here they are made once. A session is for one thread.
public final class KernelSession {
  private let engine: KernelEngine
  private let loading = Loading()
  private let definitions: [MapDefinition]
  private var maps: [Descriptor] = []
  private var bound: [Int] = []

  /// - Parameter maps: those of every program that is asked about.
  public init(maps definitions: [MapDefinition]) throws(KernelEngineError) {
    engine = try KernelEngine()
    self.definitions = definitions
    for (index, map) in definitions.enumerated() {
      maps.append(try loading.create(map))
      // The first program that was accepted decides which others may use it.
      if map.type == .progArray || map.type == .devmap || map.type == .cpumap { bound.append(index) }
    }
  }

  /// The kernel's verdict of `program`, whose maps are the session's, with its log at `logLevel`.
  public func verify(
    _ program: Program, logLevel: UInt32, capabilities: Capabilities = .all
  ) throws(KernelEngineError) -> KernelVerdict {
    for index in bound where program.refersToMap(index) { maps[index] = try loading.create(definitions[index]) }
    return try loading.verify(program, level: logLevel, capabilities: capabilities, maps: maps)
  }
}

extension Program {
  fileprivate func refersToMap(_ index: Int) -> Bool {
    instructions.contains { $0.isLoadImmediate64 && $0.src != 0 && $0.immediate == Int32(truncatingIfNeeded: index) }
  }
}
