import BTF
import GoldenCases

/// The types that random programs and their maps share, as text that golden cases have too.
struct FuzzTypes: Sendable {
  /// In this order.
  static let structs = [
    "bpf_spin_lock { u32 val; }",
    "bpf_res_spin_lock { u32 val; }",
    "bpf_timer { u64 opaque[2]; }",
    "bpf_wq { u64 opaque[2]; }",
    "bpf_list_head { u64 opaque[2]; }",
    "bpf_list_node { u64 opaque[3]; }",
    "bpf_rb_root { u64 opaque[2]; }",
    "bpf_rb_node { u64 opaque[4]; }",
    "bpf_refcount { u32 opaque[1]; }",
    "bpf_dynptr { u64 opaque[2]; }",
    "task_struct { }",
    "pair { u64 a; u64 b; }",
    "locked { u64 count; struct bpf_spin_lock lock; u32 state; u64 total; }",
    "timed { u64 data; struct bpf_timer timer; struct bpf_wq work; }",
    "leaf { u64 key; struct bpf_list_node link; u64 data; }",
    "node { u64 key; struct bpf_rb_node tree; struct bpf_refcount ref; u64 data; }",
    "graph { struct bpf_spin_lock lock; struct bpf_list_head head contains:leaf:link; "
      + "struct bpf_rb_root root contains:node:tree; }",
    "kept { u64 data; struct task_struct __kptr* task; struct task_struct __kptr_untrusted* seen; "
      + "struct leaf __kptr* own; }",
    "queued { u64 data; struct bpf_res_spin_lock lock; u32 state; }",
  ]

  private static let signatures: [(name: String, rest: String)] = [
    ("static", "static u64 (u64 a, u64 b, u64 c)"),
    ("global", "global int (int a, u64 b)"),
    ("memory", "global int (struct pair* a, u64 b)"),
    ("present", "global int (struct pair* a arg:nonnull, u64 b)"),
    ("context", "global int (ptr a arg:ctx, int b)"),
    ("trusted", "global int (struct task_struct* a arg:trusted arg:nullable, u64 b)"),
    ("step", "static int (int index, ptr data)"),
    ("element", "static int (ptr map, ptr key, ptr value, ptr data)"),
    ("timer", "static int (ptr map, ptr key, ptr value)"),
    ("drain", "static int (struct bpf_dynptr* record, ptr data)"),
    ("less", "static int (struct bpf_rb_node* a, struct bpf_rb_node* b)"),
  ]

  /// `main static int (ptr ctx)`: what the function of that name looks like.
  static func declaration(_ function: String) -> String {
    let kind = function.prefix(while: { $0.isLetter })
    return "\(function) " + (signatures.first { $0.name == kind }?.rest ?? "static int (ptr ctx)")
  }

  let btf: BTF
  let structs: [String: TypeID]
  let functions: [String: TypeID]
  let key: TypeID

  init?() {
    var names = ["main"]
    for signature in Self.signatures { names += (0..<6).map { "\(signature.name)\($0)" } }
    guard let declared = GoldenDeclarations(structs: Self.structs, functions: names.map(Self.declaration)) else {
      return nil
    }
    btf = declared.btf
    structs = declared.structs
    functions = declared.functions
    key = declared.key
  }
}
