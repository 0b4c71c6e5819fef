import BPFLinux

/// Names of the kernel functions that helpers are, which differ by what the program's context is.
enum HelperFunctions {
  static func name(_ helper: HelperID, in program: Program, as type: ProgramType) -> String {
    special(helper, program, type) ?? helper.name ?? "helper"
  }

  private static func special(_ helper: HelperID, _ program: Program, _ type: ProgramType) -> String? {
    switch helper {
    case .getPrandomU32: return "bpf_user_rnd_u32"
    case .getSmpProcessorId: return "bpf_get_raw_cpu_id"
    case .taskStorageGet, .taskStorageDelete:
      guard let name = helper.name, guardsRecursion(program, type) else { return nil }
      return name + "_recur"
    default: break
    }
    switch type {
    case .schedCls, .schedAct:
      switch helper {
      case .perfEventOutput: return "bpf_skb_event_output"
      case .fibLookup: return "bpf_skb_fib_lookup"
      case .checkMtu: return "bpf_skb_check_mtu"
      case .skLookupTcp, .skLookupUdp, .skcLookupTcp: return prefixed(helper, "bpf_tc_")
      default: return nil
      }
    case .xdp:
      switch helper {
      case .perfEventOutput: return "bpf_xdp_event_output"
      case .redirect, .redirectMap, .fibLookup, .checkMtu, .skLookupTcp, .skLookupUdp, .skcLookupTcp:
        return prefixed(helper, "bpf_xdp_")
      default: return nil
      }
    case .socketFilter, .cgroupSkb, .lwtIn, .lwtOut, .lwtXmit, .lwtSeg6local:
      switch helper {
      case .perfEventOutput: return "bpf_skb_event_output"
      case .lwtPushEncap: return type == .lwtIn ? "bpf_lwt_in_push_encap" : "bpf_lwt_xmit_push_encap"
      default: return nil
      }
    case .skSkb:
      switch helper {
      case .perfEventOutput: return "bpf_skb_event_output"
      case .skbPullData, .skbChangeTail, .skbChangeHead, .skbAdjustRoom: return prefixed(helper, "sk_")
      default: return nil
      }
    case .skReuseport:
      switch helper {
      case .skSelectReuseport: return "sk_select_reuseport"
      case .skbLoadBytes: return "sk_reuseport_load_bytes"
      case .skbLoadBytesRelative: return "sk_reuseport_load_bytes_relative"
      case .getSocketCookie: return "bpf_get_socket_ptr_cookie"
      default: return nil
      }
    case .flowDissector:
      return helper == .skbLoadBytes ? "bpf_flow_dissector_load_bytes" : nil
    case .kprobe, .tracepoint, .perfEvent, .rawTracepoint, .rawTracepointWritable, .tracing, .lsm, .structOps:
      return tracing(helper, program, type)
    default:
      return socket(helper, type)
    }
  }

  /// Programs that run where sockets are made, bound and asked for options.
  private static func socket(_ helper: HelperID, _ type: ProgramType) -> String? {
    let suffix: String
    switch type {
    case .cgroupSock: suffix = "_sock"
    case .cgroupSockAddr: suffix = "_sock_addr"
    case .sockOps: suffix = "_sock_ops"
    case .skMsg: suffix = "_sk_msg"
    case .cgroupSockopt: suffix = "_sockopt"
    default: suffix = ""
    }
    switch helper {
    case .perfEventOutput: return "bpf_event_output_data"
    case .skAssign where type == .skLookup: return "bpf_sk_lookup_assign"
    case .getSocketCookie where type == .cgroupSock || type == .cgroupSockAddr || type == .sockOps,
      .getNetnsCookie where !suffix.isEmpty:
      return helper.name.map { $0 + suffix }
    case .setsockopt, .getsockopt:
      switch type {
      case .cgroupSockAddr, .sockOps: return prefixed(helper, "bpf" + suffix + "_")
      case .cgroupSockopt: return prefixed(helper, "bpf_sk_")
      default: return nil
      }
    case .skLookupTcp, .skLookupUdp, .skcLookupTcp:
      return type == .cgroupSockAddr ? prefixed(helper, "bpf_sock_addr_") : nil
    case .loadHdrOpt, .storeHdrOpt, .reserveHdrOpt:
      return prefixed(helper, "bpf_sock_ops_")
    default: return nil
    }
  }

  private static func tracing(_ helper: HelperID, _ program: Program, _ type: ProgramType) -> String? {
    let suffix: String
    switch type {
    case .tracepoint: suffix = "_tp"
    case .perfEvent: suffix = "_pe"
    case .rawTracepoint, .rawTracepointWritable, .tracing: suffix = "_raw_tp"
    default: suffix = ""
    }
    switch helper {
    case .perfEventOutput:
      return suffix.isEmpty ? nil : "bpf_perf_event_output" + (type == .perfEvent ? "_tp" : suffix)
    case .getStackid: return suffix.isEmpty ? nil : "bpf_get_stackid" + suffix
    case .getStack:
      if !suffix.isEmpty { return "bpf_get_stack" + suffix }
      return program.flags.contains(.sleepable) ? "bpf_get_stack_sleepable" : nil
    case .getTaskStack: return program.flags.contains(.sleepable) ? "bpf_get_task_stack_sleepable" : nil
    case .getAttachCookie:
      switch type {
      case .kprobe: return "bpf_get_attach_cookie" + probe(program, other: "_trace", multi: "_kprobe_multi")
      case .tracepoint: return "bpf_get_attach_cookie_trace"
      case .perfEvent: return "bpf_get_attach_cookie_pe"
      default: return "bpf_get_attach_cookie_tracing"
      }
    case .getFuncIp:
      return type == .kprobe ? "bpf_get_func_ip" + probe(program, other: "_kprobe", multi: "_kprobe_multi") : nil
    case .skbOutput: return "bpf_skb_event_output"
    case .xdpOutput: return "bpf_xdp_event_output"
    case .skStorageGet, .skStorageDelete:
      return type == .tracing ? helper.name.map { $0 + "_tracing" } : nil
    case .getSocketCookie: return "bpf_get_socket_ptr_cookie"
    case .setsockopt, .getsockopt: return prefixed(helper, "bpf_sk_")
    default: return nil
    }
  }

  private static func probe(_ program: Program, other: String, multi: String) -> String {
    switch program.expectedAttachType {
    case .traceKprobeMulti, .traceKprobeSession: multi
    case .traceUprobeMulti, .traceUprobeSession: "_uprobe_multi"
    default: other
    }
  }

  /// Linux keeps the program from running inside itself.
  private static func guardsRecursion(_ program: Program, _ type: ProgramType) -> Bool {
    switch type {
    case .tracing: program.expectedAttachType != .traceIter
    case .lsm, .structOps, .syscall: false
    default: true
    }
  }

  /// The helper's name with another start than `bpf_`.
  private static func prefixed(_ helper: HelperID, _ start: String) -> String? {
    helper.name.map { start + $0.dropFirst(4) }
  }
}
