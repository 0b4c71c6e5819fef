import BPFLinux

/// The few headers of Linux's user interface beside `linux/bpf.h` that network and tracing programs include.
enum PlatformHeaders {
  static var files: [(path: String, text: String)] {
    [
      ("linux/types.h", types), ("asm/types.h", "#include <linux/types.h>\n"),
      ("linux/stddef.h", guarded("_LINUX_STDDEF_H", "#include <stddef.h>\n")),
      ("linux/ptrace.h", registers), ("asm/ptrace.h", "#include <linux/ptrace.h>\n"),
      ("linux/bpf_perf_event.h", perfEvent), ("linux/if_ether.h", ethernet), ("linux/in.h", internet),
      ("linux/ip.h", internet4), ("linux/ipv6.h", internet6), ("linux/tcp.h", tcp), ("linux/udp.h", udp),
      ("linux/icmp.h", icmp), ("linux/pkt_cls.h", classifier),
    ]
  }

  private static func guarded(_ name: String, _ text: String) -> String {
    "#ifndef \(name)\n#define \(name)\n\n\(text)\n#endif\n"
  }

  private static let types = guarded(
    "_LINUX_TYPES_H",
    """
    typedef signed char __s8;
    typedef unsigned char __u8;
    typedef short __s16;
    typedef unsigned short __u16;
    typedef int __s32;
    typedef unsigned int __u32;
    typedef long long __s64;
    typedef unsigned long long __u64;

    typedef __u16 __le16;
    typedef __u16 __be16;
    typedef __u32 __le32;
    typedef __u32 __be32;
    typedef __u64 __le64;
    typedef __u64 __be64;
    typedef __u16 __sum16;
    typedef __u32 __wsum;

    #define __aligned_u64 __u64 __attribute__((aligned(8)))
    #define __aligned_be64 __be64 __attribute__((aligned(8)))
    #define __bitwise
    #define __bitwise__

    """)

  /// `struct pt_regs` as user space knows it: the same table that the verifier checks probes by.
  private static var registers: String {
    func fields(_ architecture: Linux.Architecture) -> String {
      var linux = Linux()
      linux.architecture = architecture
      return (ContextLayout.of(.kprobe, on: linux)?.fields ?? [])
        .map { $0.count == 1 ? "  __u64 \($0.name);\n" : "  __u64 \($0.name)[\($0.count)];\n" }.joined()
    }
    return guarded(
      "_LINUX_PTRACE_H",
      "#include <linux/types.h>\n\n#if defined(__TARGET_ARCH_arm64)\nstruct user_pt_regs {\n\(fields(.arm64))};\n"
        + "#else\nstruct pt_regs {\n\(fields(.x86_64))};\n#endif\n")
  }

  private static let perfEvent = guarded(
    "_UAPI__LINUX_BPF_PERF_EVENT_H__",
    """
    #include <linux/ptrace.h>

    #if defined(__TARGET_ARCH_arm64)
    typedef struct user_pt_regs bpf_user_pt_regs_t;
    #else
    typedef struct pt_regs bpf_user_pt_regs_t;
    #endif

    struct bpf_perf_event_data {
      bpf_user_pt_regs_t regs;
      __u64 sample_period;
      __u64 addr;
    };

    """)

  private static let ethernet = guarded(
    "_UAPI_LINUX_IF_ETHER_H",
    """
    #include <linux/types.h>

    #define ETH_ALEN 6
    #define ETH_HLEN 14
    #define ETH_DATA_LEN 1500
    #define ETH_FRAME_LEN 1514
    #define ETH_P_IP 0x0800
    #define ETH_P_ARP 0x0806
    #define ETH_P_8021Q 0x8100
    #define ETH_P_8021AD 0x88A8
    #define ETH_P_IPV6 0x86DD
    #define ETH_P_ALL 0x0003

    struct ethhdr {
      unsigned char h_dest[ETH_ALEN];
      unsigned char h_source[ETH_ALEN];
      __be16 h_proto;
    } __attribute__((packed));

    """)

  private static let internet = guarded(
    "_UAPI_LINUX_IN_H",
    """
    #include <linux/types.h>

    enum {
      IPPROTO_IP = 0,
      IPPROTO_ICMP = 1,
      IPPROTO_IPIP = 4,
      IPPROTO_TCP = 6,
      IPPROTO_UDP = 17,
      IPPROTO_IPV6 = 41,
      IPPROTO_GRE = 47,
      IPPROTO_ESP = 50,
      IPPROTO_ICMPV6 = 58,
      IPPROTO_SCTP = 132,
    };

    struct in_addr {
      __be32 s_addr;
    };

    """)

  private static let internet4 = guarded(
    "_UAPI_LINUX_IP_H",
    """
    #include <linux/types.h>

    struct iphdr {
      __u8 ihl : 4, version : 4;
      __u8 tos;
      __be16 tot_len;
      __be16 id;
      __be16 frag_off;
      __u8 ttl;
      __u8 protocol;
      __sum16 check;
      __be32 saddr;
      __be32 daddr;
    };

    """)

  private static let internet6 = guarded(
    "_UAPI_IPV6_H",
    """
    #include <linux/types.h>

    struct in6_addr {
      union {
        __u8 u6_addr8[16];
        __be16 u6_addr16[8];
        __be32 u6_addr32[4];
      } in6_u;
    #define s6_addr in6_u.u6_addr8
    #define s6_addr16 in6_u.u6_addr16
    #define s6_addr32 in6_u.u6_addr32
    };

    struct ipv6hdr {
      __u8 priority : 4, version : 4;
      __u8 flow_lbl[3];
      __be16 payload_len;
      __u8 nexthdr;
      __u8 hop_limit;
      struct in6_addr saddr;
      struct in6_addr daddr;
    };

    """)

  private static let tcp = guarded(
    "_UAPI_LINUX_TCP_H",
    """
    #include <linux/types.h>

    struct tcphdr {
      __be16 source;
      __be16 dest;
      __be32 seq;
      __be32 ack_seq;
      __u16 res1 : 4, doff : 4, fin : 1, syn : 1, rst : 1, psh : 1, ack : 1, urg : 1, ece : 1, cwr : 1;
      __be16 window;
      __sum16 check;
      __be16 urg_ptr;
    };

    """)

  private static let udp = guarded(
    "_UAPI_LINUX_UDP_H",
    """
    #include <linux/types.h>

    struct udphdr {
      __be16 source;
      __be16 dest;
      __be16 len;
      __sum16 check;
    };

    """)

  private static let icmp = guarded(
    "_UAPI_LINUX_ICMP_H",
    """
    #include <linux/types.h>

    #define ICMP_ECHOREPLY 0
    #define ICMP_DEST_UNREACH 3
    #define ICMP_ECHO 8

    struct icmphdr {
      __u8 type;
      __u8 code;
      __sum16 checksum;
      union {
        struct {
          __be16 id;
          __be16 sequence;
        } echo;
        __be32 gateway;
        struct {
          __be16 __unused;
          __be16 mtu;
        } frag;
        __u8 reserved[4];
      } un;
    };

    """)

  private static let classifier = guarded(
    "__LINUX_PKT_CLS_H",
    """
    #include <linux/types.h>

    #define TC_ACT_UNSPEC (-1)
    #define TC_ACT_OK 0
    #define TC_ACT_RECLASSIFY 1
    #define TC_ACT_SHOT 2
    #define TC_ACT_PIPE 3
    #define TC_ACT_STOLEN 4
    #define TC_ACT_QUEUED 5
    #define TC_ACT_REPEAT 6
    #define TC_ACT_REDIRECT 7
    #define TC_ACT_TRAP 8

    """)
}
