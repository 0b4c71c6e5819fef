/// What programs include as `bpf/bpf_core_read.h`: reads that follow the running kernel's layout of its structs.
enum CoreReadHeader {
  /// The most steps of `BPF_CORE_READ(pointer, a, b, c, …)`.
  private static let mostSteps = 9

  static var text: String {
    "#ifndef __BPF_CORE_READ_H__\n#define __BPF_CORE_READ_H__\n\n#include \"bpf_helpers.h\"\n\n"
      + ProgramHeaders.argumentMacros("__skep_core") + questions + bitfields + reads + chains + "\n#endif\n"
  }

  private static let questions = #"""

    /* What may be asked of the running kernel's types. */
    enum bpf_field_info_kind {
      BPF_FIELD_BYTE_OFFSET = 0,
      BPF_FIELD_BYTE_SIZE = 1,
      BPF_FIELD_EXISTS = 2,
      BPF_FIELD_SIGNED = 3,
      BPF_FIELD_LSHIFT_U64 = 4,
      BPF_FIELD_RSHIFT_U64 = 5,
    };
    enum bpf_type_id_kind {
      BPF_TYPE_ID_LOCAL = 0,
      BPF_TYPE_ID_TARGET = 1,
    };
    enum bpf_type_info_kind {
      BPF_TYPE_EXISTS = 0,
      BPF_TYPE_SIZE = 1,
      BPF_TYPE_MATCHES = 2,
    };
    enum bpf_enum_value_kind {
      BPF_ENUMVAL_EXISTS = 0,
      BPF_ENUMVAL_VALUE = 1,
    };

    /* A field is named by an expression (s->f) or by a type and a member. */
    #define __skep_field1(expression) (expression)
    #define __skep_field2(type, member) (((typeof(type) *)0)->member)
    #define ___bpf_field_ref(args...) __skep_core_pick(__skep_field, args)(args)

    #define bpf_core_field_exists(field...) \
      __builtin_preserve_field_info(___bpf_field_ref(field), BPF_FIELD_EXISTS)
    #define bpf_core_field_size(field...) \
      __builtin_preserve_field_info(___bpf_field_ref(field), BPF_FIELD_BYTE_SIZE)
    #define bpf_core_field_offset(field...) \
      __builtin_preserve_field_info(___bpf_field_ref(field), BPF_FIELD_BYTE_OFFSET)

    #define __skep_type(type) (*(typeof(type) *)0)
    #define bpf_core_type_id_local(type) __builtin_btf_type_id(__skep_type(type), BPF_TYPE_ID_LOCAL)
    #define bpf_core_type_id_kernel(type) __builtin_btf_type_id(__skep_type(type), BPF_TYPE_ID_TARGET)
    #define bpf_core_type_exists(type) __builtin_preserve_type_info(__skep_type(type), BPF_TYPE_EXISTS)
    #define bpf_core_type_matches(type) __builtin_preserve_type_info(__skep_type(type), BPF_TYPE_MATCHES)
    #define bpf_core_type_size(type) __builtin_preserve_type_info(__skep_type(type), BPF_TYPE_SIZE)
    #define bpf_core_enum_value_exists(type, value) \
      __builtin_preserve_enum_value(*(typeof(type) *)value, BPF_ENUMVAL_EXISTS)
    #define bpf_core_enum_value(type, value) \
      __builtin_preserve_enum_value(*(typeof(type) *)value, BPF_ENUMVAL_VALUE)

    #ifndef bpf_core_cast
    extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;
    #define bpf_core_cast(pointer, type) \
      ((typeof(type) *)bpf_rdonly_cast((pointer), bpf_core_type_id_kernel(type)))
    #endif

    """#

  private static let bitfields = #"""

    #define __CORE_RELO(source, field, info) __builtin_preserve_field_info((source)->field, BPF_FIELD_##info)
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define __skep_bitfield_place(value, size) ((void *)&(value))
    #else
    #define __skep_bitfield_place(value, size) ((void *)&(value) + (8 - (size)))
    #endif
    #define __skep_bitfield_value(source, field, value) \
      ({ \
        (value) <<= __CORE_RELO(source, field, LSHIFT_U64); \
        __CORE_RELO(source, field, SIGNED) \
          ? (unsigned long long)((long long)(value) >> __CORE_RELO(source, field, RSHIFT_U64)) \
          : (value) >> __CORE_RELO(source, field, RSHIFT_U64); \
      })

    /* A bit field of memory that only a helper may read. */
    #define BPF_CORE_READ_BITFIELD_PROBED(source, field) \
      ({ \
        unsigned long long ____bits = 0; \
        bpf_probe_read_kernel(__skep_bitfield_place(____bits, __CORE_RELO(source, field, BYTE_SIZE)), \
                              __CORE_RELO(source, field, BYTE_SIZE), \
                              (const void *)(source) + __CORE_RELO(source, field, BYTE_OFFSET)); \
        __skep_bitfield_value(source, field, ____bits); \
      })

    /* A bit field of memory that the program may read itself. */
    #define BPF_CORE_READ_BITFIELD(source, field) \
      ({ \
        const void *____place = (const void *)(source) + __CORE_RELO(source, field, BYTE_OFFSET); \
        unsigned long long ____bits; \
        asm volatile("" : "=r"(____place) : "0"(____place)); \
        switch (__CORE_RELO(source, field, BYTE_SIZE)) { \
        case 1: \
          ____bits = *(const unsigned char *)____place; \
          break; \
        case 2: \
          ____bits = *(const unsigned short *)____place; \
          break; \
        case 4: \
          ____bits = *(const unsigned int *)____place; \
          break; \
        case 8: \
          ____bits = *(const unsigned long long *)____place; \
          break; \
        default: \
          ____bits = 0; \
        } \
        __skep_bitfield_value(source, field, ____bits); \
      })

    """#

  private static let reads = #"""

    #define __skep_tracked(pointer) ((const void *)__builtin_preserve_access_index(pointer))
    #define bpf_core_read(to, size, from) bpf_probe_read_kernel(to, size, __skep_tracked(from))
    #define bpf_core_read_user(to, size, from) bpf_probe_read_user(to, size, __skep_tracked(from))
    #define bpf_core_read_str(to, size, from) bpf_probe_read_kernel_str(to, size, __skep_tracked(from))
    #define bpf_core_read_user_str(to, size, from) bpf_probe_read_user_str(to, size, __skep_tracked(from))
    #define bpf_probe_read_kernel_plain(to, size, from) bpf_probe_read_kernel(to, size, (const void *)(from))
    #define bpf_probe_read_user_plain(to, size, from) bpf_probe_read_user(to, size, (const void *)(from))
    #define bpf_probe_read_kernel_str_plain(to, size, from) \
      bpf_probe_read_kernel_str(to, size, (const void *)(from))
    #define bpf_probe_read_user_str_plain(to, size, from) bpf_probe_read_user_str(to, size, (const void *)(from))

    """#

  /// `p->a->b->c` in as many reads as it has arrows.
  private static var chains: String {
    var text = ""
    for steps in 1...mostSteps {
      let names = (1...steps).map { "m\($0)" }
      text += "#define __skep_path\(steps)(s, \(names.joined(separator: ", "))) "
        + "typeof(((void)0, (s)->\(names.joined(separator: "->"))))\n"
      text += "#define __skep_chain\(steps)(step, last, to, size, s, \(names.joined(separator: ", "))) \\\n  ({ \\\n"
      if steps > 1 { text += "    const void *____at; \\\n" }
      for index in names.indices {
        let type = index == 0 ? "typeof(s)" : "typeof((s)->\(names[..<index].joined(separator: "->")))"
        let from = index == 0 ? "(s)" : "____at"
        let place = "&((\(type))(\(from)))->\(names[index])"
        text += index == names.count - 1
          ? "    last(to, size, \(place)); \\\n" : "    step(&____at, sizeof(____at), \(place)); \\\n"
      }
      text += "  })\n"
    }
    text += """
      #define __skep_into(step, last, to, source, path...) \\
        __skep_core_pick(__skep_chain, path)(step, last, to, sizeof(*(to)), source, path)
      #define __skep_value(step, source, path...) \\
        ({ \\
          __skep_core_pick(__skep_path, path)(source, path) ____result; \\
          __skep_core_pick(__skep_chain, path)(step, step, &____result, sizeof(____result), source, path); \\
          ____result; \\
        })

      """
    let families = [
      ("BPF_CORE_READ", "bpf_core_read", "bpf_core_read_str"),
      ("BPF_CORE_READ_USER", "bpf_core_read_user", "bpf_core_read_user_str"),
      ("BPF_PROBE_READ", "bpf_probe_read_kernel_plain", "bpf_probe_read_kernel_str_plain"),
      ("BPF_PROBE_READ_USER", "bpf_probe_read_user_plain", "bpf_probe_read_user_str_plain"),
    ]
    for (name, step, string) in families {
      let stem = name.hasSuffix("_USER") ? String(name.dropLast(5)) : name
      let suffix = name.hasSuffix("_USER") ? "_USER" : ""
      text += "#define \(name)(source, path...) __skep_value(\(step), source, path)\n"
      text += "#define \(stem)\(suffix)_INTO(to, source, path...) __skep_into(\(step), \(step), to, source, path)\n"
      text += "#define \(stem)\(suffix)_STR_INTO(to, source, path...) "
        + "__skep_into(\(step), \(string), to, source, path)\n"
    }
    return text
  }
}
