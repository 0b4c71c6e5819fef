import BPFLinux

/// What programs include as `linux/bpf.h`, made from Skep's tables of types, contexts and helpers.
enum UserInterfaceHeader {
  static var text: String {
    var text = "#ifndef _UAPI__LINUX_BPF_H__\n#define _UAPI__LINUX_BPF_H__\n\n#include <linux/types.h>\n\n"
    text += "#define __bpf_md_ptr(type, name) \\\n  union { \\\n    type name; \\\n    __u64 : 64; \\\n"
    text += "  } __attribute__((aligned(8)))\n\n"
    text += enumeration("bpf_map_type", prefix: "BPF_MAP_TYPE_") { MapType(rawValue: $0).name }
    text += "#define BPF_MAP_TYPE_CGROUP_STORAGE_DEPRECATED BPF_MAP_TYPE_CGROUP_STORAGE\n"
    text += "#define BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE_DEPRECATED BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE\n\n"
    text += enumeration("bpf_prog_type", prefix: "BPF_PROG_TYPE_") { ProgramType(rawValue: $0).name }
    text += enumeration("bpf_attach_type", prefix: "BPF_") { AttachType(rawValue: $0).name }
    text += "enum bpf_func_id {\n"
    for number in 0..<HelperID.end {
      guard let name = HelperID(rawValue: number).name else { continue }
      text += "  BPF_FUNC_\(name.dropFirst("bpf_".count)) = \(number),\n"
    }
    text += "};\n\n"
    for enumeration in UserInterfaceConstants.enumerations {
      text += enumeration.name.isEmpty ? "enum {\n" : "enum \(enumeration.name) {\n"
      for (name, value) in enumeration.enumerators { text += "  \(name) = \(literal(value)),\n" }
      text += "};\n"
    }
    text += "\nstruct bpf_sock;\nstruct bpf_flow_keys;\nstruct nf_hook_state;\nstruct sk_buff;\n\n"
    for layout in layouts { text += structure(layout) }
    return text + otherStructs + "\n#endif\n"
  }

  private static func literal(_ value: String) -> String {
    guard let number = Int64(value), number > Int64(Int32.max) else { return value }
    return value + "ULL"
  }

  private static func enumeration(_ name: String, prefix: String, _ nameOf: (UInt32) -> String) -> String {
    var text = "enum \(name) {\n"
    var number: UInt32 = 0
    while true {
      let member = nameOf(number)
      guard member != "?" else { break }
      text += "  \(prefix)\(member.uppercased()) = \(number),\n"
      number += 1
    }
    return text + "};\n"
  }

  // MARK: Structs that programs see

  private static let layouts: [ContextLayout] = [
    .skBuff, .xdpMetadata, .skMsgMetadata, .skReuseportMetadata, .socket, .socketAddress, .socketOperations,
    .socketLookup, .socketOption, .sysctl, .cgroupDevice, .flowKeys, .tcpSocket, .xdpSocket,
  ]

  /// Fields of 8 bytes that are pointers to the program.
  private static let pointers: [String: String] = [
    "data": "void *", "data_end": "void *", "skb_data": "void *", "skb_data_end": "void *", "optval": "void *",
    "optval_end": "void *", "flow_keys": "struct bpf_flow_keys *", "sk": "struct bpf_sock *",
    "migrating_sk": "struct bpf_sock *",
  ]

  private static func structure(_ layout: ContextLayout) -> String {
    var text = "struct \(layout.name) {\n"
    var fields = layout.fields.sorted { ($0.offset, $0.size) < ($1.offset, $1.size) }[...]
    var end: Int32 = 0
    while let first = fields.first {
      // Fields that overlap make a union.
      var reach = first.offset + first.size
      var group = [first]
      fields = fields.dropFirst()
      while let next = fields.first, next.offset < reach {
        group.append(next)
        reach = max(reach, next.offset + next.size)
        fields = fields.dropFirst()
      }
      text += padding(first.offset - end, "  ")
      if group.count == 1 {
        text += "  \(declaration(first))\n"
      } else {
        text += "  union {\n"
        for field in group {
          text += "    struct {\n" + padding(field.offset - first.offset, "      ")
          text += "      \(declaration(field))\n    };\n"
        }
        text += "  };\n"
      }
      end = reach
    }
    return text + padding(layout.size - end, "  ") + "};\n\n"
  }

  private static func padding(_ bytes: Int32, _ indent: String) -> String {
    String(repeating: indent + "__u8 : 8;\n", count: max(0, Int(bytes)))
  }

  private static func declaration(_ field: ContextLayout.Field) -> String {
    let name = "\(field.name)"
    if field.elementSize == 8, field.count == 1, let type = pointers[name] { return "__bpf_md_ptr(\(type), \(name));" }
    let type = "__u\(field.elementSize * 8)"
    return field.count == 1 ? "\(type) \(name);" : "\(type) \(name)[\(field.count)];"
  }

  /// Structs that helpers and maps take.
  private static let otherStructs = """
    struct bpf_insn {
      __u8 code;
      __u8 dst_reg : 4;
      __u8 src_reg : 4;
      __s16 off;
      __s32 imm;
    };

    struct bpf_nf_ctx {
      const struct nf_hook_state *state;
      struct sk_buff *skb;
    };

    struct bpf_raw_tracepoint_args {
      __u64 args[0];
    };

    struct bpf_lpm_trie_key {
      __u32 prefixlen;
      __u8 data[0];
    };

    struct bpf_lpm_trie_key_hdr {
      __u32 prefixlen;
    };

    struct bpf_lpm_trie_key_u8 {
      union {
        struct bpf_lpm_trie_key_hdr hdr;
        __u32 prefixlen;
      };
      __u8 data[];
    };

    struct bpf_cgroup_storage_key {
      __u64 cgroup_inode_id;
      __u32 attach_type;
    };

    struct bpf_stack_build_id {
      __s32 status;
      unsigned char build_id[20];
      union {
        __u64 offset;
        __u64 ip;
      };
    };

    struct bpf_tunnel_key {
      __u32 tunnel_id;
      union {
        __u32 remote_ipv4;
        __u32 remote_ipv6[4];
      };
      __u8 tunnel_tos;
      __u8 tunnel_ttl;
      union {
        __u16 tunnel_ext;
        __be16 tunnel_flags;
      };
      __u32 tunnel_label;
      union {
        __u32 local_ipv4;
        __u32 local_ipv6[4];
      };
    };

    struct bpf_xfrm_state {
      __u32 reqid;
      __u32 spi;
      __u16 family;
      __u16 ext;
      union {
        __u32 remote_ipv4;
        __u32 remote_ipv6[4];
      };
    };

    struct bpf_sock_tuple {
      union {
        struct {
          __be32 saddr;
          __be32 daddr;
          __be16 sport;
          __be16 dport;
        } ipv4;
        struct {
          __be32 saddr[4];
          __be32 daddr[4];
          __be16 sport;
          __be16 dport;
        } ipv6;
      };
    };

    struct bpf_devmap_val {
      __u32 ifindex;
      union {
        int fd;
        __u32 id;
      } bpf_prog;
    };

    struct bpf_cpumap_val {
      __u32 qsize;
      union {
        int fd;
        __u32 id;
      } bpf_prog;
    };

    struct bpf_perf_event_value {
      __u64 counter;
      __u64 enabled;
      __u64 running;
    };

    struct bpf_fib_lookup {
      __u8 family;
      __u8 l4_protocol;
      __be16 sport;
      __be16 dport;
      union {
        __u16 tot_len;
        __u16 mtu_result;
      } __attribute__((packed, aligned(2)));
      __u32 ifindex;
      union {
        __u8 tos;
        __be32 flowinfo;
        __u32 rt_metric;
      };
      union {
        __be32 ipv4_src;
        __u32 ipv6_src[4];
      };
      union {
        __be32 ipv4_dst;
        __u32 ipv6_dst[4];
      };
      union {
        struct {
          __be16 h_vlan_proto;
          __be16 h_vlan_TCI;
        };
        __u32 tbid;
      };
      union {
        struct {
          __u32 mark;
        };
        struct {
          __u8 smac[6];
          __u8 dmac[6];
        };
      };
    };

    struct bpf_redir_neigh {
      __u32 nh_family;
      union {
        __be32 ipv4_nh;
        __u32 ipv6_nh[4];
      };
    };

    struct bpf_pidns_info {
      __u32 pid;
      __u32 tgid;
    };

    struct btf_ptr {
      void *ptr;
      __u32 type_id;
      __u32 flags;
    };

    struct bpf_spin_lock {
      __u32 val;
    };

    struct bpf_timer {
      __u64 __opaque[2];
    } __attribute__((aligned(8)));

    struct bpf_task_work {
      __u64 __opaque;
    } __attribute__((aligned(8)));

    struct bpf_wq {
      __u64 __opaque[2];
    } __attribute__((aligned(8)));

    struct bpf_dynptr {
      __u64 __opaque[2];
    } __attribute__((aligned(8)));

    struct bpf_list_head {
      __u64 __opaque[2];
    } __attribute__((aligned(8)));

    struct bpf_list_node {
      __u64 __opaque[3];
    } __attribute__((aligned(8)));

    struct bpf_rb_root {
      __u64 __opaque[2];
    } __attribute__((aligned(8)));

    struct bpf_rb_node {
      __u64 __opaque[4];
    } __attribute__((aligned(8)));

    struct bpf_refcount {
      __u32 __opaque[1];
    } __attribute__((aligned(4)));

    struct bpf_iter_num {
      __u64 __opaque[1];
    } __attribute__((aligned(8)));

    """
}
