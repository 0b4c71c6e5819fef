/// What programs include as `bpf/bpf_tracing.h`: registers at a probe, and functions with typed arguments.
enum TracingHeader {
  static var text: String {
    "#ifndef __BPF_TRACING_H__\n#define __BPF_TRACING_H__\n\n#include \"bpf_helpers.h\"\n\n"
      + ProgramHeaders.argumentMacros + registers + argumentLists + programMacros + "\n#endif\n"
  }

  // MARK: Registers

  /// Names of the registers that hold arguments and so on, as one kind of header spells them.
  private struct Registers {
    let arguments: [String]
    let systemCallArguments: [String]
    let returnAddress: String
    let framePointer: String
    let returnValue: String
    let stackPointer: String
    let instructionPointer: String
  }

  /// `struct pt_regs` of x86-64 in the kernel's own types.
  private static let x86Kernel = Registers(
    arguments: ["di", "si", "dx", "cx", "r8", "r9"], systemCallArguments: ["di", "si", "dx", "r10", "r8", "r9"],
    returnAddress: "sp", framePointer: "bp", returnValue: "ax", stackPointer: "sp", instructionPointer: "ip")
  /// The same in the headers for user space.
  private static let x86User = Registers(
    arguments: ["rdi", "rsi", "rdx", "rcx", "r8", "r9"],
    systemCallArguments: ["rdi", "rsi", "rdx", "r10", "r8", "r9"], returnAddress: "rsp", framePointer: "rbp",
    returnValue: "rax", stackPointer: "rsp", instructionPointer: "rip")
  private static let arm64 = Registers(
    arguments: (0..<8).map { "regs[\($0)]" },
    systemCallArguments: ["orig_x0"] + (1..<6).map { "regs[\($0)]" }, returnAddress: "regs[30]",
    framePointer: "regs[29]", returnValue: "regs[0]", stackPointer: "sp", instructionPointer: "pc")

  private static var registers: String {
    var text = "#if defined(__TARGET_ARCH_arm64)\n\nstruct pt_regs;\n"
    text += "struct pt_regs___arm64 {\n  unsigned long orig_x0;\n} __attribute__((preserve_access_index));\n"
    text += "#define __skep_registers(x) ((const struct user_pt_regs *)(x))\n"
    text += "#define __skep_call_registers(x) ((const struct pt_regs___arm64 *)(x))\n"
    text += accessors(arm64, firstSystemCallCast: "__skep_call_registers", hasReturnRegister: true)
    text += "#define PT_REGS_SYSCALL_REGS(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))\n"
    text += "#define SYSCALL_WRAPPER 1\n#define SYS_PREFIX \"__arm64_\"\n"
    text += "\n#else\n\nstruct pt_regs;\n#define __skep_registers(x) (x)\n"
    text += "#if defined(__KERNEL__) || defined(__VMLINUX_H__)\n"
    text += accessors(x86Kernel, firstSystemCallCast: "__skep_registers", hasReturnRegister: false)
    text += "#else\n" + accessors(x86User, firstSystemCallCast: "__skep_registers", hasReturnRegister: false)
    text += "#endif\n#define PT_REGS_SYSCALL_REGS(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))\n"
    text += "#define SYSCALL_WRAPPER 1\n#define SYS_PREFIX \"__x64_\"\n\n#endif\n\n"
    return text
  }

  private static func accessors(
    _ registers: Registers, firstSystemCallCast: String, hasReturnRegister: Bool
  ) -> String {
    var text = ""
    func define(_ name: String, _ field: String, cast: String = "__skep_registers") {
      text += "#define \(name)(x) (\(cast)(x)->\(field))\n"
      text += "#define \(name)_CORE(x) BPF_CORE_READ(\(cast)(x), \(field))\n"
    }
    for (index, field) in registers.arguments.enumerated() { define("PT_REGS_PARM\(index + 1)", field) }
    for (index, field) in registers.systemCallArguments.enumerated() {
      let cast = index == 0 ? firstSystemCallCast : "__skep_registers"
      text += "#define PT_REGS_PARM\(index + 1)_SYSCALL(x) (\(cast)(x)->\(field))\n"
      text += "#define PT_REGS_PARM\(index + 1)_CORE_SYSCALL(x) BPF_CORE_READ(\(cast)(x), \(field))\n"
    }
    define("PT_REGS_RET", registers.returnAddress)
    define("PT_REGS_FP", registers.framePointer)
    define("PT_REGS_RC", registers.returnValue)
    define("PT_REGS_SP", registers.stackPointer)
    define("PT_REGS_IP", registers.instructionPointer)
    if hasReturnRegister {
      text += "#define BPF_KPROBE_READ_RET_IP(ip, ctx) ({ (ip) = PT_REGS_RET(ctx); })\n"
      text += "#define BPF_KRETPROBE_READ_RET_IP BPF_KPROBE_READ_RET_IP\n"
    } else {
      text += "#define BPF_KPROBE_READ_RET_IP(ip, ctx) \\\n"
      text += "  ({ bpf_probe_read_kernel(&(ip), sizeof(ip), (void *)PT_REGS_RET(ctx)); })\n"
      text += "#define BPF_KRETPROBE_READ_RET_IP(ip, ctx) \\\n"
      text += "  ({ bpf_probe_read_kernel(&(ip), sizeof(ip), (void *)(PT_REGS_FP(ctx) + sizeof(ip))); })\n"
    }
    return text
  }

  // MARK: Functions with typed arguments

  /// By number of arguments: the expressions that fetch them.
  private static var argumentLists: String {
    var text = ""
    func define(_ prefix: String, upTo limit: Int, _ expression: (Int) -> String) {
      for count in 0...limit {
        let list = (0..<count).map { ", (void *)\(expression($0))" }.joined()
        text += "#define \(prefix)\(count) ctx\(list)\n"
      }
    }
    define("__skep_context_", upTo: ProgramHeaders.mostArguments) { "ctx[\($0)]" }
    define("__skep_probe_", upTo: 8) { "PT_REGS_PARM\($0 + 1)(ctx)" }
    for count in 0...6 {
      let direct = (0..<count).map { ", (void *)PT_REGS_PARM\($0 + 1)_SYSCALL(regs)" }.joined()
      let copied = (0..<count).map { ", (void *)PT_REGS_PARM\($0 + 1)_CORE_SYSCALL(regs)" }.joined()
      text += "#define __skep_call_direct_\(count) ctx\(direct)\n#define __skep_call_copied_\(count) ctx\(copied)\n"
    }
    // Pairs of type and name: structs passed by value take one or two words each.
    text += "#define __skep_words(type) ((sizeof(type) + 7) / 8)\n"
    text += """
      #define __skep_typed(type, at) \\
        ({ \\
          union { \\
            unsigned long long words[__skep_words(type)]; \\
            type value; \\
          } ____argument; \\
          ____argument.words[0] = ctx[at]; \\
          if (__skep_words(type) > 1) \\
            ____argument.words[__skep_words(type) - 1] = ctx[(at) + __skep_words(type) - 1]; \\
          ____argument.value; \\
        })

      """
    for count in stride(from: 0, through: ProgramHeaders.mostArguments, by: 2) {
      let pairs = count / 2
      let names = (0..<pairs).flatMap { ["t\($0)", "n\($0)"] }.joined(separator: ", ")
      let declarations = (0..<pairs).map { ", t\($0) n\($0)" }.joined()
      let values = (0..<pairs).map { pair in
        let start = (0..<pair).map { "__skep_words(t\($0))" }.joined(separator: " + ")
        return ", __skep_typed(t\(pair), \(pair == 0 ? "0" : start))"
      }.joined(separator: " \\\n  ")
      text += "#define __skep_pairs_\(count)(\(names)) \(declarations)\n"
      text += "#define __skep_values_\(count)(\(names)) \(values)\n"
    }
    return text
  }

  private static let programMacros = #"""

    /* The function itself takes the context; its body, always inlined, takes the arguments. */
    #define __skep_function(name, context, list, args...) \
      name(context ctx); \
      static __always_inline typeof(name(0)) ____##name(context ctx, ##args); \
      typeof(name(0)) name(context ctx) \
      { \
        _Pragma("GCC diagnostic push") \
        _Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
        return ____##name(list); \
        _Pragma("GCC diagnostic pop") \
      } \
      static __always_inline typeof(name(0)) ____##name(context ctx, ##args)

    #define BPF_PROG(name, args...) \
      __skep_function(name, unsigned long long *, __skep_pick(__skep_context_, ##args), ##args)
    #define BPF_KPROBE(name, args...) \
      __skep_function(name, struct pt_regs *, __skep_pick(__skep_probe_, ##args), ##args)
    #define BPF_UPROBE(name, args...) BPF_KPROBE(name, ##args)

    #define __skep_result_0 ctx
    #define __skep_result_1 ctx, (void *)PT_REGS_RC(ctx)
    #define BPF_KRETPROBE(name, args...) \
      __skep_function(name, struct pt_regs *, __skep_pick(__skep_result_, ##args), ##args)
    #define BPF_URETPROBE(name, args...) BPF_KRETPROBE(name, ##args)

    #define BPF_PROG2(name, args...) \
      name(unsigned long long *ctx); \
      static __always_inline typeof(name(0)) ____##name( \
        unsigned long long *ctx __skep_pick(__skep_pairs_, ##args)(args)); \
      typeof(name(0)) name(unsigned long long *ctx) \
      { \
        return ____##name(ctx __skep_pick(__skep_values_, ##args)(args)); \
      } \
      static __always_inline typeof(name(0)) ____##name( \
        unsigned long long *ctx __skep_pick(__skep_pairs_, ##args)(args))

    /* System calls: where the architecture wraps them, the wrapper's one argument points to the real registers. */
    #define BPF_KSYSCALL(name, args...) \
      name(struct pt_regs *ctx); \
      extern _Bool LINUX_HAS_SYSCALL_WRAPPER __kconfig; \
      static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args); \
      typeof(name(0)) name(struct pt_regs *ctx) \
      { \
        struct pt_regs *regs = LINUX_HAS_SYSCALL_WRAPPER ? PT_REGS_SYSCALL_REGS(ctx) : ctx; \
        _Pragma("GCC diagnostic push") \
        _Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
        if (LINUX_HAS_SYSCALL_WRAPPER) \
          return ____##name(__skep_pick(__skep_call_copied_, ##args)); \
        else \
          return ____##name(__skep_pick(__skep_call_direct_, ##args)); \
        _Pragma("GCC diagnostic pop") \
      } \
      static __always_inline typeof(name(0)) ____##name(struct pt_regs *ctx, ##args)
    #define BPF_KPROBE_SYSCALL BPF_KSYSCALL
    """#
}
