/// What programs include as `bpf/bpf_helpers.h` and `bpf/bpf_endian.h`.
///
/// Macro names are those that programs in the field use; the definitions are Skep's own.
enum ProgramHeaders {
  /// The most arguments that a variadic macro here takes.
  static let mostArguments = 12

  /// `__skep_count(args)` and `__skep_pick(prefix, args)`, which is `prefixN` for N arguments.
  static var argumentMacros: String { argumentMacros("__skep") }

  /// The same under names of their own: the preprocessor expands no macro inside itself.
  static func argumentMacros(_ stem: String) -> String {
    let names = (1...mostArguments).map { "__a\($0)" }.joined(separator: ", ")
    let counts = (0...mostArguments).reversed().map(String.init).joined(separator: ", ")
    return """
      #ifndef \(stem)_nth
      #define \(stem)_glue2(a, b) a##b
      #define \(stem)_glue(a, b) \(stem)_glue2(a, b)
      #define \(stem)_nth(__a0, \(names), n, ...) n
      #define \(stem)_count(...) \(stem)_nth(_, ##__VA_ARGS__, \(counts))
      #define \(stem)_pick(prefix, ...) \(stem)_glue(prefix, \(stem)_count(__VA_ARGS__))
      #endif

      """
  }

  static var helpers: String {
    "#ifndef __BPF_HELPERS__\n#define __BPF_HELPERS__\n\n#include \"bpf_helper_defs.h\"\n" + argumentMacros
      + argumentNames + attributes + mapMacros + compilerMacros + arrayFilling + printing + loops + "\n#endif\n"
  }

  /// Names that headers of others build on.
  private static let argumentNames = #"""
    #define ___bpf_concat(a, b) __skep_glue2(a, b)
    #define ___bpf_apply(function, number) __skep_glue(function, number)
    #define ___bpf_nth __skep_nth
    #define ___bpf_narg(...) __skep_count(__VA_ARGS__)

    """#

  private static let attributes = #"""

    /* Sections and linkage. */
    #if __GNUC__ && !__clang__
    #define SEC(name) __attribute__((section(name), used))
    #else
    #define SEC(name) \
      _Pragma("GCC diagnostic push") \
      _Pragma("GCC diagnostic ignored \"-Wignored-attributes\"") \
      __attribute__((section(name), used)) \
      _Pragma("GCC diagnostic pop")
    #endif

    #undef __always_inline
    #define __always_inline inline __attribute__((always_inline))
    #ifndef __noinline
    #define __noinline __attribute__((noinline))
    #endif
    #ifndef __weak
    #define __weak __attribute__((weak))
    #endif
    #define __hidden __attribute__((visibility("hidden")))

    /* What the loader fills in. */
    #define __kconfig __attribute__((section(".kconfig")))
    #define __ksym __attribute__((section(".ksyms")))
    #define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
    #define __kptr __attribute__((btf_type_tag("kptr")))
    #define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
    #define __uptr __attribute__((btf_type_tag("uptr")))

    /* What global functions promise about their arguments. */
    #define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
    #define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
    #define __arg_nullable __attribute__((btf_decl_tag("arg:nullable")))
    #define __arg_trusted __attribute__((btf_decl_tag("arg:trusted")))
    #define __arg_untrusted __attribute__((btf_decl_tag("arg:untrusted")))
    #define __arg_arena __attribute__((btf_decl_tag("arg:arena")))

    #define bpf_ksym_exists(symbol) \
      ({ \
        _Static_assert(!__builtin_constant_p(!!symbol), #symbol " should be marked as __weak"); \
        !!symbol; \
      })

    enum libbpf_pin_type {
      LIBBPF_PIN_NONE,
      LIBBPF_PIN_BY_NAME,
    };

    enum libbpf_tristate {
      TRI_NO = 0,
      TRI_YES = 1,
      TRI_MODULE = 2,
    };

    """#

  private static let mapMacros = #"""

    /* Members of map definitions in SEC(".maps"): numbers are array lengths, types are pointers. */
    #define __uint(name, value) int (*name)[value]
    #define __type(name, value) typeof(value) *name
    #define __array(name, value) typeof(value) *name[]
    #define __ulong(name, value) enum { __skep_glue(__unique_value, __COUNTER__) = value } name

    """#

  private static let compilerMacros = #"""

    #ifndef NULL
    #define NULL ((void *)0)
    #endif
    #ifndef KERNEL_VERSION
    #define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + ((patch) > 255 ? 255 : (patch)))
    #endif
    /* By an address, so that the offset is that of the running kernel. */
    #undef offsetof
    #define offsetof(type, member) ((unsigned long)&((type *)0)->member)
    #undef container_of
    #define container_of(pointer, type, member) \
      ({ \
        void *__member = (void *)(pointer); \
        (type *)(__member - offsetof(type, member)); \
      })
    #ifndef barrier
    #define barrier() asm volatile("" ::: "memory")
    #endif
    #ifndef barrier_var
    #define barrier_var(variable) asm volatile("" : "+r"(variable))
    #endif
    #ifndef __bpf_unreachable
    #define __bpf_unreachable() __builtin_trap()
    #endif

    /* A tail call by constant index, which the JIT turns into a direct jump. */
    #ifdef __bpf__
    static __always_inline void bpf_tail_call_static(void *ctx, const void *map, const __u32 slot)
    {
      if (!__builtin_constant_p(slot))
        __bpf_unreachable();
      asm volatile("r1 = %[ctx]\n\t"
                   "r2 = %[map]\n\t"
                   "r3 = %[slot]\n\t"
                   "call 12"
                   :
                   : [ctx] "r"(ctx), [map] "r"(map), [slot] "i"(slot)
                   : "r0", "r1", "r2", "r3", "r4", "r5");
    }
    #endif

    """#

  /// `___bpf_fill(array, values)`: one assignment an element.
  private static var arrayFilling: String {
    var text = "\n#define __skep_fill0(array)\n"
    for count in 1...mostArguments {
      let names = (0..<count).map { "v\($0)" }
      let stores = names.enumerated().map { "array[\($0.offset)] = (unsigned long long)(\($0.element));" }
      text += "#define __skep_fill\(count)(array, \(names.joined(separator: ", "))) \\\n  "
        + stores.joined(separator: " \\\n  ") + "\n"
    }
    return text + "#define ___bpf_fill(array, ...) __skep_pick(__skep_fill, __VA_ARGS__)(array, ##__VA_ARGS__)\n"
  }

  /// Formatted output. Up to three values go in registers, more in an array.
  private static var printing: String {
    let chooser = (0...mostArguments).reversed()
      .map { $0 <= 3 ? "__skep_print_registers" : "__skep_print_array" }.joined(separator: ", ")
    return #"""

      #ifdef BPF_NO_GLOBAL_DATA
      #define BPF_PRINTK_FMT_MOD
      #else
      #define BPF_PRINTK_FMT_MOD static const
      #endif

      #define __skep_packed(values, args...) \
        unsigned long long values[__skep_count(args)]; \
        _Pragma("GCC diagnostic push") \
        _Pragma("GCC diagnostic ignored \"-Wint-conversion\"") \
        ___bpf_fill(values, ##args); \
        _Pragma("GCC diagnostic pop")

      #define __skep_print_registers(fmt, ...) \
        ({ \
          BPF_PRINTK_FMT_MOD char ____fmt[] = fmt; \
          bpf_trace_printk(____fmt, sizeof(____fmt), ##__VA_ARGS__); \
        })
      #define __skep_print_array(fmt, args...) \
        ({ \
          static const char ____fmt[] = fmt; \
          __skep_packed(____values, ##args) \
          bpf_trace_vprintk(____fmt, sizeof(____fmt), ____values, sizeof(____values)); \
        })

      """#
      + "#define bpf_printk(fmt, args...) \\\n  __skep_nth(_, ##args, \(chooser))(fmt, ##args)\n"
      + #"""

        #define BPF_SEQ_PRINTF(seq, fmt, args...) \
          ({ \
            static const char ____fmt[] = fmt; \
            __skep_packed(____values, ##args) \
            bpf_seq_printf(seq, ____fmt, sizeof(____fmt), ____values, 8 * __skep_count(args)); \
          })
        #define BPF_SNPRINTF(out, out_size, fmt, args...) \
          ({ \
            static const char ____fmt[] = fmt; \
            __skep_packed(____values, ##args) \
            bpf_snprintf(out, out_size, ____fmt, ____values, 8 * __skep_count(args)); \
          })

        extern int bpf_stream_vprintk(int stream_id, const char *fmt__str, const void *args, __u32 len__sz,
                                      void *aux__prog) __weak __ksym;
        #define bpf_stream_printk(stream_id, fmt, args...) \
          ({ \
            static const char ____fmt[] = fmt; \
            __skep_packed(____values, ##args) \
            bpf_stream_vprintk(stream_id, ____fmt, ____values, 8 * __skep_count(args), (void *)0); \
          })

        """#
  }

  private static let loops = #"""

    /* Open-coded iterators. The iterator lives as long as the loop and is destroyed on every way out. */
    struct bpf_iter_num;
    extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
    extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
    extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

    #ifndef bpf_for_each
    #define bpf_for_each(type, element, args...) \
      for (struct bpf_iter_##type ___it __attribute__((aligned(8), cleanup(bpf_iter_##type##_destroy))), \
             *___start __attribute__((unused)) = \
               (bpf_iter_##type##_new(&___it, ##args), (void)bpf_iter_##type##_destroy, (void *)0); \
           ((element) = bpf_iter_##type##_next(&___it));)
    #endif
    #ifndef bpf_for
    #define bpf_for(index, first, end) \
      for (struct bpf_iter_num ___it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
             *___start __attribute__((unused)) = \
               (bpf_iter_num_new(&___it, (first), (end)), (void)bpf_iter_num_destroy, (void *)0); \
           ({ \
             int *___next = bpf_iter_num_next(&___it); \
             (___next && ((index) = *___next, (index) >= (first) && (index) < (end))); \
           });)
    #endif
    #ifndef bpf_repeat
    #define bpf_repeat(count) \
      for (struct bpf_iter_num ___it __attribute__((aligned(8), cleanup(bpf_iter_num_destroy))), \
             *___start __attribute__((unused)) = \
               (bpf_iter_num_new(&___it, 0, (count)), (void)bpf_iter_num_destroy, (void *)0); \
           bpf_iter_num_next(&___it);)
    #endif
    """#

  /// Every conversion in three forms: `bpf_htons`, and the two that it chooses from.
  static var endian: String {
    var text = endianBasics
    let conversions = [
      ("htons", "big", 16), ("ntohs", "big", 16), ("htonl", "big", 32), ("ntohl", "big", 32),
      ("cpu_to_be16", "big", 16), ("be16_to_cpu", "big", 16), ("cpu_to_be32", "big", 32), ("be32_to_cpu", "big", 32),
      ("cpu_to_be64", "big", 64), ("be64_to_cpu", "big", 64), ("cpu_to_le16", "little", 16),
      ("le16_to_cpu", "little", 16), ("cpu_to_le32", "little", 32), ("le32_to_cpu", "little", 32),
      ("cpu_to_le64", "little", 64), ("le64_to_cpu", "little", 64),
    ]
    for (name, order, bits) in conversions {
      text += "#define __bpf_\(name)(x) __skep_to_\(order)(__builtin_bswap\(bits), __u\(bits), x)\n"
      text += "#define __bpf_constant_\(name)(x) __skep_to_\(order)(___bpf_swab\(bits), __u\(bits), x)\n"
      text += "#define bpf_\(name)(x) \\\n"
      text += "  (__builtin_constant_p(x) ? __bpf_constant_\(name)(x) : __bpf_\(name)(x))\n"
    }
    return text + "\n#endif\n"
  }

  private static let endianBasics = #"""
    #ifndef __BPF_ENDIAN__
    #define __BPF_ENDIAN__

    /* Constant expressions, for initial values and case labels. */
    #define __skep_byte(x, from, to) ((((x) >> (8 * (from))) & 0xff) << (8 * (to)))
    #define ___bpf_swab16(x) ((__u16)(__skep_byte((__u16)(x), 0, 1) | __skep_byte((__u16)(x), 1, 0)))
    #define ___bpf_swab32(x) \
      ((__u32)(__skep_byte((__u32)(x), 0, 3) | __skep_byte((__u32)(x), 1, 2) | \
               __skep_byte((__u32)(x), 2, 1) | __skep_byte((__u32)(x), 3, 0)))
    #define ___bpf_swab64(x) \
      ((__u64)(((__u64)___bpf_swab32((__u64)(x) & 0xffffffff) << 32) | ___bpf_swab32((__u64)(x) >> 32)))

    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define __skep_to_big(swap, type, x) swap(x)
    #define __skep_to_little(swap, type, x) (x)
    #else
    #define __skep_to_big(swap, type, x) (x)
    #define __skep_to_little(swap, type, x) swap(x)
    #endif

    """#
}
