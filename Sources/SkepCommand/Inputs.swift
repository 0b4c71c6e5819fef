import BPFKernel
import BPFLinux
import BPFObject
import BTF
import Skep

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#endif

/// Options that say which Linux is meant, common to commands.
enum LinuxOptions {
  static let all = [
    Option(name: "--kernel", value: "VERSION", help: "the Linux that is asked about: 6.18 (default)"),
    Option(name: "--btf", value: "FILE", help: "the kernel's types, in place of /sys/kernel/btf/vmlinux"),
    Option(name: "--kconfig", value: "FILE", help: "the kernel's configuration, in place of the running one's"),
    Option(
      name: "--caps", value: "LIST",
      help: "who loads the programs: none, or some of bpf,perfmon,net_admin,sys_admin (default: all)"),
  ]

  /// Nil where something could not be read, which has been said then.
  static func linux(_ arguments: Arguments) throws(UsageError) -> Linux? {
    if let version = arguments.value("--kernel"), version != Linux.Version.v6_18.description {
      throw UsageError(message: "--kernel \(version): only 6.18 is known")
    }
    let capabilities = try capabilities(arguments.value("--caps"))
    var linux: Linux
    do {
      linux = try running(btfPath: arguments.value("--btf"), capabilities)
    } catch {
      Terminal.complain("\(error)")
      return nil
    }
    // Where unprivileged users may load nothing at all there is nothing to ask about.
    if !capabilities.allows(.bpf) { linux.takesUnprivileged = true }
    if let path = arguments.value("--kconfig") {
      guard let configuration = KernelConfiguration.read(path: path) else {
        Terminal.complain("\(path): cannot be read as a kernel configuration")
        return nil
      }
      linux.config = configuration
    }
    return linux
  }

  /// Types come bare or, as in a kernel built with debug information, in an ELF file.
  private static func running(btfPath: String?, _ capabilities: Capabilities) throws(BTFError) -> Linux {
    do {
      return try Linux.running(btfPath: btfPath, capabilities: capabilities)
    } catch {
      guard case .badMagic = error.rule, let btfPath else { throw error }
      var linux = try Linux.running(capabilities: capabilities)
      linux.btf = try TypeInformationFile.open(btfPath)
      return linux
    }
  }

  private static func capabilities(_ list: String?) throws(UsageError) -> Capabilities {
    guard let list, list != "all" else { return .all }
    guard list != "none" else { return [] }
    var result: Capabilities = []
    for word in list.split(separator: ",", omittingEmptySubsequences: false) {
      let name = word.lowercased()
      switch name.hasPrefix("cap_") ? String(name.dropFirst(4)) : name {
      case "bpf": result.insert(.bpf)
      case "perfmon": result.insert(.perfmon)
      case "net_admin": result.insert(.netAdmin)
      case "sys_admin": result.insert(.sysAdmin)
      default:
        throw UsageError(message: "--caps: '\(word)' is none of bpf, perfmon, net_admin, sys_admin, none, all")
      }
    }
    return result
  }
}

/// Objects from the files that a command was given.
struct Inputs {
  private(set) var objects: [ObjectFile] = []
  /// Something was not readable or did not compile; it has been said.
  private(set) var failed = false

  init(_ paths: [String], linux: Linux) {
    let compiler = SourceCompiler(linux: linux)
    compiler.colour = Terminal.error.hasColour
    for path in paths {
      if SourceCompiler.isSource(path) {
        compile(path, compiler)
      } else {
        open(path)
      }
    }
  }

  private mutating func compile(_ path: String, _ compiler: SourceCompiler) {
    do {
      let output = try compiler.compile(path)
      Terminal.error.write(output.messages)
      objects.append(output.object)
    } catch {
      if case .refused(_, let messages) = error { Terminal.error.write(messages) }
      Terminal.complain("\(error)")
      failed = true
    }
  }

  private mutating func open(_ path: String) {
    do {
      objects.append(try ObjectFile(path: path))
    } catch {
      if error.rule.hasPrefix("cannot be ") && error.errno < 4000 {
        Terminal.complain("\(path): \(String(cString: strerror(error.errno)))")
      } else {
        Terminal.complain("\(error)")
      }
      failed = true
    }
  }
}
