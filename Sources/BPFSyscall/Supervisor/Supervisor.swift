import BPFLinux
import BPFMaps
import CBPFSupervisor

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Runs a command whose `bpf(2)` is a `System`'s.
///
/// The command's calls arrive by seccomp user notification: no tracing, no root, and every other system call is the
/// kernel's own. The command sees descriptors, files and mappings that are real; what stands behind them is here.
///
///     let supervisor = try Supervisor(system, command: ["bpftool", "prog", "list"])
///     let code = supervisor.wait()
public final class Supervisor: @unchecked Sendable {
  /// What kept a command from starting.
  public struct StartError: Error, Sendable, CustomStringConvertible {
    public let errno: Errno
    public let stage: String
    public var description: String { "\(stage): \(String(cString: strerror(errno.rawValue)))" }
  }

  /// How many calls are answered at once.
  private static let threads = 4
  /// Signals that go on to the command.
  private static let forwarded = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2]

  private let system: System
  private let files: FileTable
  private let listener: Int32
  private let process: pid_t
  private let bpfDevice: UInt64
  private let user: UInt32

  /// Starts the command. No other thread of this process may be at work yet.
  public init(_ system: System, command: [String]) throws(StartError) {
    self.system = system
    do throws(Errno) {
      files = try FileTable()
    } catch {
      throw StartError(errno: error, stage: "watching files")
    }
    // A lease that is asked for in the same moment as somebody opens the file is no news.
    signal(SIGIO, SIG_IGN)
    Self.blockSignals()
    let isRoot = geteuid() == 0
    var flags = UInt32(SKEP_CLIENT_OWN_BPF_FILES)
    if !isRoot { flags |= UInt32(SKEP_CLIENT_AS_ROOT) }
    var started = Self.start(command, flags)
    if started.result == -EPERM && isRoot {
      // A container's root may not mount, but in a user namespace of its own.
      flags |= UInt32(SKEP_CLIENT_AS_ROOT)
      started = Self.start(command, flags)
    }
    guard started.result == 0 else {
      throw StartError(errno: Errno(rawValue: -started.result), stage: started.stage)
    }
    listener = started.listener
    process = started.process
    user = 0
    var device: UInt64 = 0
    let folder = skep_client_open(process, -100, "/sys/fs/bpf", 1)
    if folder >= 0 {
      device = FileIdentity(descriptor: folder)?.device ?? 0
      close(folder)
    }
    bpfDevice = device
  }

  private static func start(
    _ command: [String], _ flags: UInt32
  ) -> (result: Int32, listener: Int32, process: pid_t, stage: String) {
    var arguments: [UnsafeMutablePointer<CChar>?] = command.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var listener: Int32 = -1
    var process: pid_t = 0
    var stage: UnsafePointer<CChar>?
    let result = skep_client_start(command.first ?? "", &arguments, environ, flags, nil, &listener, &process, &stage)
    return (result, listener, process, stage.map { String(cString: $0) } ?? "")
  }

  deinit { close(listener) }

  // MARK: Waiting

  private static var signals: sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for number in forwarded { sigaddset(&set, number) }
    return set
  }

  private static func blockSignals() {
    var set = signals
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Answers the command's calls until it ends; its exit code, as shells give it.
  public func wait() -> Int32 {
    for _ in 0..<Self.threads { Self.thread { self.serve() } }
    Self.thread { self.forwardSignals() }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { return 126 }
    }
    let signal = status & 0x7f
    return signal == 0 ? status >> 8 & 0xff : 128 + signal
  }

  private static func thread(_ body: @escaping @Sendable () -> Void) {
    final class Box {
      let body: @Sendable () -> Void
      init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    // The verifier goes deep.
    pthread_attr_setstacksize(&attributes, 16 << 20)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    let box = Unmanaged.passRetained(Box(body))
    let result = pthread_create(
      &thread, &attributes,
      { argument in
        guard let argument else { return nil }
        Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
        return nil
      }, box.toOpaque())
    if result != 0 { box.release() }
    pthread_attr_destroy(&attributes)
  }

  /// What a terminal sends goes to the command anyway; what somebody sends to this process is passed on.
  private func forwardSignals() {
    var set = Self.signals
    while true {
      var info = siginfo_t()
      let number = sigwaitinfo(&set, &info)
      if number > 0, info.si_code <= 0 { kill(process, number) }
    }
  }

  // MARK: Requests

  private func serve() {
    while true {
      var request = skep_request()
      let result = skep_request_receive(listener, &request)
      if result == 0 {
        answer(request)
        continue
      }
      guard result == -EINTR || result == -ENOENT else { return }
      // Where nobody is left who could ask, that is all that is ever said.
      var place = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      if poll(&place, 1, 0) >= 0, place.revents & Int16(POLLHUP) != 0 { return }
    }
  }

  private func answer(_ request: skep_request) {
    let client = RequestClient(request, listener: listener, files: files, bpfDevice: bpfDevice, user: user)
    switch request.number {
    case skep_number_bpf(): answerCall(request, client)
    case skep_number_statfs(), skep_number_fstatfs(): answerFileSystem(request, client)
    case skep_number_mount(): answerMount(request, client)
    case skep_number_epoll_ctl(): answerEpoll(request, client)
    case skep_number_ioctl(): answerControl(request, client)
    default: _ = skep_request_pass_on(listener, request.id)
    }
  }

  private func answerCall(_ request: skep_request, _ client: RequestClient) {
    files.settle()
    let answer = system.call(
      UInt32(truncatingIfNeeded: request.arguments.0), attributes: request.arguments.1,
      size: UInt32(truncatingIfNeeded: request.arguments.2), from: client)
    switch answer {
    case .value(let value): _ = skep_request_answer(listener, request.id, value, 0)
    case .failure(let errno): _ = skep_request_answer(listener, request.id, 0, errno.rawValue)
    case .descriptor(let object, let access):
      do throws(Errno) {
        let file = try files.open(object, access)
        let given = skep_request_answer_descriptor(listener, request.id, file, 1)
        close(file)
        if given < 0 && given != -ENOENT { throw Errno(rawValue: -given) }
      } catch {
        _ = skep_request_answer(listener, request.id, 0, error.rawValue)
      }
    }
  }

  private static let pathLimit = 4096

  /// `statfs` and `fstatfs`: what lies under `/sys/fs/bpf` is the BPF file system.
  private func answerFileSystem(_ request: skep_request, _ client: RequestClient) {
    if let file = bpfFile(request, client) {
      let result = skep_client_write_statfs(pid_t(bitPattern: request.pid), request.arguments.1, file)
      close(file)
      _ = skep_request_answer(listener, request.id, 0, -result)
    } else {
      _ = skep_request_pass_on(listener, request.id)
    }
  }

  /// The file that is asked about, where it is one of the BPF file system.
  private func bpfFile(_ request: skep_request, _ client: RequestClient) -> Int32? {
    guard bpfDevice != 0 else { return nil }
    if request.number == skep_number_fstatfs() {
      let number = Int32(truncatingIfNeeded: request.arguments.0)
      guard client.identity(number)?.device == bpfDevice else { return nil }
      return try? client.open(".", directory: number)
    }
    guard let path = try? client.text(request.arguments.0, limit: Self.pathLimit), client.isWaiting,
      let file = try? client.open(String(decoding: path, as: UTF8.self), directory: nil)
    else { return nil }
    guard FileIdentity(descriptor: file)?.device == bpfDevice else {
      close(file)
      return nil
    }
    return file
  }

  /// The BPF file system is there already.
  private func answerMount(_ request: skep_request, _ client: RequestClient) {
    let type = (try? client.text(request.arguments.2, limit: 64)) ?? []
    if type == Array("bpf".utf8), client.isWaiting {
      _ = skep_request_answer(listener, request.id, 0, 0)
    } else {
      _ = skep_request_pass_on(listener, request.id)
    }
  }

  /// Ring buffers can be waited for: in their place the client's epoll waits for an event that submitting signals.
  private func answerEpoll(_ request: skep_request, _ client: RequestClient) {
    guard let identity = client.identity(Int32(truncatingIfNeeded: request.arguments.2)),
      let (event, ring) = files.event(identity)
    else {
      _ = skep_request_pass_on(listener, request.id)
      return
    }
    let result = skep_client_epoll(
      pid_t(bitPattern: request.pid), Int32(truncatingIfNeeded: request.arguments.0),
      Int32(truncatingIfNeeded: request.arguments.1), event, request.arguments.3)
    if result == 0 && ring.hasRecords { skep_event_signal(event) }
    _ = skep_request_answer(listener, request.id, 0, -result)
  }

  private static let setProgram: UInt32 = 0x4004_2408

  /// Perf events are the kernel's; our programs cannot be put on them.
  private func answerControl(_ request: skep_request, _ client: RequestClient) {
    if UInt32(truncatingIfNeeded: request.arguments.1) == Self.setProgram,
      case .object = client.descriptor(Int32(truncatingIfNeeded: request.arguments.2))
    {
      system.log?("programs cannot be attached to perf events in user space")
      _ = skep_request_answer(listener, request.id, 0, Errno.EOPNOTSUPP.rawValue)
    } else {
      _ = skep_request_pass_on(listener, request.id)
    }
  }
}
