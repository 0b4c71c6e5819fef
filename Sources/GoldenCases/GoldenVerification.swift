import BPFLinux
import BPFVerifier
import BTF

extension GoldenCase {
  /// What Skep's own verifier says.
  public func verified(on linux: Linux = .golden) -> GoldenAnswer { judged(on: linux).answer }

  /// What Skep's own verifier says, and what kind of refusal that is.
  ///
  /// - Parameter types: those that the case was read with; the kernel has them only where the case needs them.
  public func judged(
    on linux: Linux = .golden, types: BTF? = nil
  ) -> (answer: GoldenAnswer, category: RefusalCategory?) {
    var linux = linux
    if let types, needsKernelTypes { linux.btf = types }
    linux.capabilities = capabilities
    if supposesUnprivileged { linux.takesUnprivileged = true }
    var program = program
    do throws(LoadError) {
      try ProgramRules.checkLoad(program, linux: linux)
    } catch {
      let answer = GoldenAnswer(
        version: linux.version.description, verdict: .unloadable, errno: error.errno.rawValue, instructions: 0,
        totalStates: 0, peakStates: 0, logs: Dictionary(uniqueKeysWithValues: levels.map { ($0, "") }))
      return (answer, nil)
    }
    program.expectedAttachType = ProgramRules.effectiveAttachType(program.type, program.expectedAttachType)
    var answer: GoldenAnswer?
    var category: RefusalCategory?
    for level in levels {
      let verdict = Verifier.verify(program, on: linux, options: VerifierOptions(logLevel: level | 4))
      var errno: Int32 = 0
      if case .failure(let rejection) = verdict.result {
        errno = rejection.errno.rawValue
        category = rejection.category
      }
      if answer == nil {
        answer = GoldenAnswer(
          version: linux.version.description, verdict: errno == 0 ? .accepted : .refused, errno: errno,
          instructions: verdict.statistics.instructions, totalStates: verdict.statistics.totalStates,
          peakStates: verdict.statistics.peakStates, logs: [:])
      }
      answer?.logs[level] = GoldenLog.masked(verdict.log)
    }
    let nothing = GoldenAnswer(
      version: linux.version.description, verdict: .accepted, errno: 0, instructions: 0, totalStates: 0,
      peakStates: 0, logs: [:])
    return (answer ?? nothing, category)
  }

  /// Where Skep says something else than Linux `version` did, a line each.
  public func differences(on linux: Linux, types: BTF?, from version: String) -> [String] {
    let (answer, found) = judged(on: linux, types: types)
    guard let known = self.answer(of: version) else { return ["no answer of Linux \(version) is held"] }
    var differences = answer.differences(from: known)
    if let category, found != category {
      differences.append("category \(found?.rawValue ?? "none"), expected \(category.rawValue)")
    }
    return differences
  }
}

extension Linux {
  /// `golden` with the types of the kernel that runs here; nil where there are none to be read, or those of another
  /// version.
  public static let goldenWithTypes: Linux? = {
    guard runningVersion == golden.version.description, let btf = try? BTF.map(path: "/sys/kernel/btf/vmlinux")
    else { return nil }
    var linux = golden
    linux.btf = btf
    return linux
  }()

  /// The kernel that golden cases are recorded from, as far as they depend on it: configured as distributions do,
  /// without its types.
  public static let golden = Linux(
    version: .v6_18, btf: nil,
    config: [
      "CONFIG_ARCH_HAS_NON_OVERLAPPING_ADDRESS_SPACE": "y", "CONFIG_BPF_EVENTS": "y", "CONFIG_BPF_JIT": "y",
      "CONFIG_BPF_LSM": "y", "CONFIG_BPF_SYSCALL": "y", "CONFIG_BPF_UNPRIV_DEFAULT_OFF": "y",
      "CONFIG_CGROUPS": "y", "CONFIG_CGROUP_BPF": "y", "CONFIG_CGROUP_NET_CLASSID": "y", "CONFIG_INET": "y",
      "CONFIG_IPV6_SEG6_BPF": "y", "CONFIG_NET": "y", "CONFIG_NETFILTER_BPF_LINK": "y", "CONFIG_NF_CONNTRACK": "y",
      "CONFIG_NF_CONNTRACK_MARK": "y", "CONFIG_PERF_EVENTS": "y", "CONFIG_PREEMPT_RCU": "y", "CONFIG_SMP": "y",
      "CONFIG_SOCK_CGROUP_DATA": "y", "CONFIG_SYN_COOKIES": "y", "CONFIG_UNWINDER_ORC": "y",
      "CONFIG_XDP_SOCKETS": "y", "CONFIG_XFRM": "y",
    ])
}
