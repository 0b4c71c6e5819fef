import BPFKernel
import BPFLinux
import BPFSyscall

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// `skep exec`: runs a command whose `bpf(2)` is Skep's.
enum ExecCommand: Command {
  static let name = "exec"
  static let summary = "Run a command whose bpf(2) is Skep's: bpftool and other loaders, unchanged, without root"
  static let operands = "-- COMMAND [ARGUMENT...]"
  static let options =
    [
      Option(name: "--unprivileged", value: nil, help: "no capability, and unprivileged BPF as it is configured"),
      Option(name: "--log", value: nil, help: "say what Skep does not do, and what programs print, on standard error"),
    ] + LinuxOptions.all
  static let examples = [
    (
      command: "skep exec -- bpftool prog load filter.bpf.o /sys/fs/bpf/filter",
      meaning: "what Linux would say of loading it"
    ),
    (
      command: "skep exec -- sh -c 'bpftool prog load filter.bpf.o /sys/fs/bpf/f && bpftool prog list'",
      meaning: "several commands that share programs, maps and pins"
    ),
    (command: "skep exec --caps bpf,net_admin -- ./loader", meaning: "a loader with fewer capabilities"),
  ]
  static let notes = """
    The command and what it starts share a fresh system: no maps, no programs, an empty /sys/fs/bpf of its own. It is
    gone when the command ends. Everything but BPF is this machine's own. Programs are verified as Linux verifies them,
    and run in Skep (bpftool prog run); attaching to what has events only in a kernel is refused with EOPNOTSUPP.

    Exit code: the command's; 128 and the signal's number where one ended it; 126 and 127 where it could not be started.
    """

  static func run(_ arguments: Arguments) throws(UsageError) -> Int32 {
    guard !arguments.operands.isEmpty else { throw UsageError(message: "no COMMAND given") }
    guard var linux = try LinuxOptions.linux(arguments) else { return 2 }
    if arguments.has("--unprivileged") {
      linux.capabilities = []
      linux.takesUnprivileged = nil
    }
    let logs = arguments.has("--log")
    let log: (@Sendable (String) -> Void)? = logs ? { @Sendable in Terminal.complain($0) } : nil
    let system = System(linux: linux, log: log)
    if logs { system.machine.followTrace { Terminal.error.write($0.description + "\n") } }
    do throws(Supervisor.StartError) {
      return try Supervisor(system, command: arguments.operands).wait()
    } catch {
      Terminal.complain("\(error)")
      return 126
    }
  }
}
