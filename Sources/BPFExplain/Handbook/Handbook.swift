/// What there is to know of each kind of refusal: `skep explain CODE`.
public enum Handbook {
  public struct Page: Sendable, Hashable {
    /// A `RefusalCategory`'s raw value.
    public let code: String
    public let title: String
    public let cause: String
    /// Code that is refused, and the same as it is accepted; empty where there is nothing to show.
    public let bad: String
    public let good: String
  }

  public static func page(of code: String) -> Page? { pages.first { $0.code == code } }

  /// In the order of `RefusalCategory`.
  public static let pages: [Page] = [
    Page(
      code: "invalid-instruction", title: "Malformed instructions",
      cause: """
        An instruction has an opcode that Linux does not know, a register that does not exist, a shift
        that is as wide as the value, a division by the constant zero, or something in a field that must
        be empty. Compilers do not make such code; hand-written assembly and wrong -mcpu versions do.
        """,
      bad: """
        r1 /= 0
        """,
      good: """
        if r2 == 0 goto out
        r1 /= r2
        """),
    Page(
      code: "control-flow", title: "Jumps that lead nowhere",
      cause: """
        A jump leaves its function, a function runs on past its end, or an instruction can never be
        reached. Loops backwards are allowed since Linux 5.3, with CAP_BPF.
        """,
      bad: """
        r0 = 0
        goto +7
        """,
      good: """
        r0 = 0
        exit
        """),
    Page(
      code: "infinite-loop", title: "A loop without end",
      cause: """
        The verifier came around to the same place with the same state: nothing that decides about the
        loop's end has changed. It must see the counter change in every round.
        """,
      bad: """
        while (!done)
          done = *flag;
        """,
      good: """
        for (int i = 0; i < 100 && !done; i++)
          done = *flag;
        /* or, since 5.17: bpf_loop(); 6.4: bpf_for(); 6.9: can_loop */
        """),
    Page(
      code: "complexity", title: "Too much to verify",
      cause: """
        The verifier gives up after 1,000,000 instructions, or with 8,192 branches open. It walks every
        path: what matters is how many different states meet, not how long the program is. `skep check
        --log-level 4` prints the counts.
        """,
      bad: """
        for (int i = 0; i < 400000; i++)
          sum += table[i & 255];
        """,
      good: """
        bpf_loop(400000, add_one, &sum, 0); /* verified once */
        """),
    Page(
      code: "uninitialized-register", title: "A register without a value",
      cause: """
        A register is read that was never written on this path. A call leaves r1 to r5 empty; a function
        that returns nothing leaves r0 empty; `exit` reads r0.
        """,
      bad: """
        int ret;
        if (a)
          ret = 1;
        return ret;
        """,
      good: """
        int ret = 0;
        if (a)
          ret = 1;
        return ret;
        """),
    Page(
      code: "uninitialized-stack", title: "Stack memory without a value",
      cause: """
        A helper is given memory, or a load reads memory, of which some bytes were never written. The
        padding between the fields of a struct counts. With CAP_PERFMON plain loads may read it since
        6.3; helpers may not.
        """,
      bad: """
        struct key k;
        k.port = port;
        bpf_map_lookup_elem(&m, &k);
        """,
      good: """
        struct key k;
        __builtin_memset(&k, 0, sizeof(k));
        k.port = port;
        bpf_map_lookup_elem(&m, &k);
        """),
    Page(
      code: "stack-bounds", title: "Outside of the stack frame",
      cause: """
        A frame is the 512 bytes below r10. An access lies outside of it, reaches beyond its end, or its
        offset is not bounded.
        """,
      bad: """
        char buf[16];
        buf[i] = 0;
        """,
      good: """
        char buf[16];
        if (i < sizeof(buf))
          buf[i] = 0;
        """),
    Page(
      code: "stack-depth", title: "Too much stack",
      cause: """
        The functions that call each other share 512 bytes (256 with tail calls), and at most 8 may be
        nested.
        """,
      bad: """
        char name[400]; /* in two nested functions */
        """,
      good: """
        struct { char name[400]; } *b = bpf_map_lookup_elem(&per_cpu_scratch, &zero);
        """),
    Page(
      code: "packet-bounds", title: "Packet access without proof",
      cause: """
        A load or store of the packet is allowed where a comparison with data_end has proved, on this
        path and for this very pointer, that the bytes are there. Helpers that change the packet make
        all proofs void. A variable offset must be bounded (below 65,536).
        """,
      bad: """
        struct ethhdr *eth = data;
        if (eth->h_proto == bpf_htons(ETH_P_IP)) …
        """,
      good: """
        struct ethhdr *eth = data;
        if ((void *)(eth + 1) > data_end)
          return XDP_DROP;
        if (eth->h_proto == bpf_htons(ETH_P_IP)) …
        """),
    Page(
      code: "map-bounds", title: "Outside of a map's value",
      cause: """
        The offset into a map's value may be negative or reach beyond value_size. A bound must be known
        when the access is verified; signed indices need both bounds.
        """,
      bad: """
        struct stats *s = bpf_map_lookup_elem(&m, &k);
        if (s)
          s->slot[i]++;
        """,
      good: """
        struct stats *s = bpf_map_lookup_elem(&m, &k);
        if (s && i < 16)
          s->slot[i]++;
        """),
    Page(
      code: "memory-bounds", title: "Outside of known memory",
      cause: """
        An access to memory of a known size (a ring buffer's record, an argument of a global function, a
        socket's fields) is not proven to lie inside.
        """,
      bad: """
        __u64 *r = bpf_ringbuf_reserve(&rb, 8, 0);
        if (r)
          r[1] = 0;
        """,
      good: """
        __u64 *r = bpf_ringbuf_reserve(&rb, 16, 0);
        if (r)
          r[1] = 0;
        """),
    Page(
      code: "context-access", title: "A field that is not there",
      cause: """
        The context is reached field by field, with the width that the field has, and not every program
        type may read or write every field.
        """,
      bad: """
        __u32 tc = skb->tc_classid; /* in a socket filter */
        """,
      good: """
        __u32 mark = skb->mark;
        """),
    Page(
      code: "read-only", title: "Memory that may only be read",
      cause: """
        The frame pointer, frozen and read-only maps (.rodata), packets in some program types, keys in
        callbacks, kernel structures.
        """,
      bad: """
        const volatile int limit = 5;
        limit = 6;
        """,
      good: """
        int limit = 5;
        limit = 6;
        """),
    Page(
      code: "misaligned", title: "Not aligned to its size",
      cause: """
        On the stack, and everywhere with BPF_F_STRICT_ALIGNMENT, an access of n bytes lies at a
        multiple of n.
        """,
      bad: """
        *(__u64 *)(buf + 4) = 0;
        """,
      good: """
        __builtin_memset(buf + 4, 0, 8);
        """),
    Page(
      code: "null-dereference", title: "A pointer that may be NULL",
      cause: """
        Lookups, reservations and many kernel functions return NULL when there is nothing. The pointer
        must be compared with 0 before it is used, on every path, and before anything is added to it.
        """,
      bad: """
        long *v = bpf_map_lookup_elem(&m, &k);
        *v += 1;
        """,
      good: """
        long *v = bpf_map_lookup_elem(&m, &k);
        if (!v)
          return 0;
        *v += 1;
        """),
    Page(
      code: "pointer-arithmetic", title: "Arithmetic that pointers do not take",
      cause: """
        Only bounded numbers may be added to or subtracted from pointers, in 64 bits; the context, maps
        and sockets take none.
        """,
      bad: """
        value += len; /* len: any 64-bit number */
        """,
      good: """
        if (len < 64)
          value += len;
        """),
    Page(
      code: "pointer-leak", title: "A pointer's value leaves the kernel",
      cause: """
        Without CAP_PERFMON, addresses may not be stored where users read them, compared, or returned.
        """,
      bad: """
        *value = (long)ctx;
        """,
      good: """
        *value = ctx->len;
        """),
    Page(
      code: "type-mismatch", title: "A value of another kind",
      cause: """
        A number is used as a pointer, or a pointer of another kind is passed than the function takes.
        What is read from memory is a number to the verifier, whatever its type in C.
        """,
      bad: """
        struct task_struct *t = (void *)*slot;
        return t->pid;
        """,
      good: """
        struct task_struct *t = (void *)*slot;
        int pid;
        bpf_probe_read_kernel(&pid, sizeof(pid), &t->pid);
        """),
    Page(
      code: "invalid-argument", title: "An argument that does not fit",
      cause: """
        A helper or kernel function demands a constant, a flag, a type id or a string of a certain form.
        """,
      bad: """
        bpf_snprintf(buf, 8, "%z", 0, 0);
        """,
      good: """
        bpf_snprintf(buf, 8, "%d", &n, 8);
        """),
    Page(
      code: "unbounded-size", title: "A size without bounds",
      cause: """
        A helper that reads or writes memory must not be told to go beyond it: the size needs an upper
        bound, must not be negative, and often not zero.
        """,
      bad: """
        bpf_probe_read_kernel(buf, len, p);
        """,
      good: """
        if (len > sizeof(buf))
          return 0;
        bpf_probe_read_kernel(buf, len, p);
        """),
    Page(
      code: "helper-not-allowed", title: "A helper that this program may not call",
      cause: """
        Each program type has its list of helpers; some need a capability, an attach type, or a
        configuration of the kernel. `skep features` prints the lists.
        """,
      bad: """
        bpf_xdp_adjust_head(ctx, 4); /* in a tc program */
        """,
      good: """
        bpf_skb_change_head(skb, 4, 0);
        """),
    Page(
      code: "kfunc-not-allowed", title: "A kernel function that this program may not call",
      cause: """
        Kernel functions are registered for certain program types, and are no stable interface: they
        come and go with kernel versions.
        """,
      bad: """
        bpf_task_from_pid(1); /* in a socket filter */
        """,
      good: """
        SEC("tp_btf/sched_switch") …
        """),
    Page(
      code: "license-required", title: "Only for GPL programs",
      cause: """
        The function, or access to kernel structures, is for programs with a GPL compatible licence.
        """,
      bad: """
        char LICENSE[] SEC("license") = "Proprietary";
        """,
      good: """
        char LICENSE[] SEC("license") = "GPL";
        """),
    Page(
      code: "return-value", title: "A value that may not be returned",
      cause: """
        Many attachments take only certain values, on every path.
        """,
      bad: """
        return 7; /* cgroup_skb */
        """,
      good: """
        return 1;
        """),
    Page(
      code: "unreleased-reference", title: "A reference that is not given back",
      cause: """
        What was acquired (a socket, a ring buffer's record, an object, a lock's section) must be
        released or handed on before the program ends, tail-calls or throws, on every path.
        """,
      bad: """
        e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
        if (!e)
          return 0;
        if (skip)
          return 0;
        """,
      good: """
        if (skip) {
          bpf_ringbuf_discard(e, 0);
          return 0;
        }
        """),
    Page(
      code: "invalid-release", title: "Not a reference of the program's",
      cause: """
        Only the pointer that an acquiring call returned can be released, once, and without an offset.
        """,
      bad: """
        bpf_sk_release(skb->sk);
        """,
      good: """
        sk = bpf_sk_lookup_tcp(…);
        if (sk)
          bpf_sk_release(sk);
        """),
    Page(
      code: "lock", title: "Locks",
      cause: """
        A list or tree needs its lock held; a lock must be released, the same one, before the program
        ends or calls most functions.
        """,
      bad: """
        bpf_spin_lock(&v->lock);
        bpf_map_update_elem(…);
        """,
      good: """
        bpf_spin_lock(&v->lock);
        v->n++;
        bpf_spin_unlock(&v->lock);
        bpf_map_update_elem(…);
        """),
    Page(
      code: "rcu", title: "RCU sections",
      cause: """
        Some pointers are only valid between bpf_rcu_read_lock() and bpf_rcu_read_unlock(); the section
        must be closed on every path.
        """,
      bad: """
        p = task->real_parent; /* in a sleepable program */
        """,
      good: """
        bpf_rcu_read_lock();
        p = task->real_parent;
        …
        bpf_rcu_read_unlock();
        """),
    Page(
      code: "sleep", title: "Sleeping where it is not allowed",
      cause: """
        Helpers that may sleep need a sleepable program (`.s` in the section's name) and no lock, RCU or
        preemption-off section; sleepable programs attach to certain functions only.
        """,
      bad: """
        SEC("fentry/x") … bpf_copy_from_user(…);
        """,
      good: """
        SEC("fentry.s/x") … bpf_copy_from_user(…);
        """),
    Page(
      code: "irq", title: "Interrupt flags",
      cause: """
        bpf_local_irq_save() and _restore() pair like brackets, with the same variable.
        """,
      bad: """
        bpf_local_irq_save(&a);
        bpf_local_irq_save(&b);
        bpf_local_irq_restore(&a);
        """,
      good: """
        bpf_local_irq_restore(&b);
        bpf_local_irq_restore(&a);
        """),
    Page(
      code: "dynptr", title: "Dynamic pointers",
      cause: """
        A struct bpf_dynptr lives on the stack, is made by its functions, used through them, and, where
        it refers to a ring buffer, released.
        """,
      bad: """
        struct bpf_dynptr p;
        bpf_dynptr_read(buf, 4, &p, 0, 0);
        """,
      good: """
        bpf_dynptr_from_mem(v, 16, 0, &p);
        bpf_dynptr_read(buf, 4, &p, 0, 0);
        """),
    Page(
      code: "iterator", title: "Iterators",
      cause: """
        Begin with _new, step with _next, end with _destroy exactly once, even when _new fails.
        """,
      bad: """
        bpf_iter_num_new(&it, 0, 9);
        while ((p = bpf_iter_num_next(&it))) …
        """,
      good: """
        bpf_for(i, 0, 9) …
        """),
    Page(
      code: "kptr", title: "Kernel pointers in maps",
      cause: """
        A field tagged __kptr takes pointers of its own type only; referenced ones are exchanged with
        bpf_kptr_xchg().
        """,
      bad: """
        v->task = task;
        """,
      good: """
        old = bpf_kptr_xchg(&v->task, task);
        if (old)
          bpf_task_release(old);
        """),
    Page(
      code: "graph", title: "Lists and trees",
      cause: """
        A node belongs to the head or root that its `__contains` tag names, and is passed with its own
        address.
        """,
      bad: """
        bpf_list_push_front(&head, &obj->other);
        """,
      good: """
        bpf_list_push_front(&head, &obj->node);
        """),
    Page(
      code: "callback", title: "Callbacks",
      cause: """
        A callback is a static function of the program with the arguments that the helper's
        documentation names; it returns 0 or 1 where it is asked to go on or stop.
        """,
      bad: """
        bpf_loop(10, global_fn, 0, 0);
        """,
      good: """
        static int body(__u32 i, void *ctx) { return 0; }
        """),
    Page(
      code: "exceptions", title: "Exceptions",
      cause: """
        bpf_throw() ends the program at once: nothing may be held then, and callbacks of helpers may not
        throw.
        """,
      bad: """
        bpf_loop(10, body_that_throws, …);
        """,
      good: """
        if (bpf_loop(10, body, &c, 0) < 0)
          bpf_throw(1);
        """),
    Page(
      code: "tail-call", title: "Tail calls",
      cause: """
        They need a prog_array, no references or locks held, and at most 256 bytes of stack in the
        functions above.
        """,
      bad: """
        bpf_tail_call(ctx, &hash_map, 0);
        """,
      good: """
        bpf_tail_call(ctx, &prog_array, 0);
        """),
    Page(
      code: "btf", title: "Type information",
      cause: """
        Global functions, kernel symbols and typed maps are understood through BTF, which must be there
        and fit the code.
        """,
      bad: """
        int f(struct any *p) /* global */
        """,
      good: """
        int f(struct any *p __arg_nonnull)
        """),
    Page(
      code: "attach", title: "Where the program is to be attached",
      cause: """
        The function, trace point or member named in SEC() does not exist in this kernel, or takes no
        program of this kind.
        """,
      bad: """
        SEC("fentry/no_such_function")
        """,
      good: """
        SEC("fentry/tcp_connect")
        """),
    Page(
      code: "map-use", title: "Maps that do not fit",
      cause: """
        A helper does not work with this type of map, a program type may not use maps with such fields,
        or the number of maps (64) is exceeded.
        """,
      bad: """
        bpf_map_lookup_elem(&ringbuf, &k);
        """,
      good: """
        bpf_ringbuf_reserve(&ringbuf, 8, 0);
        """),
    Page(
      code: "atomics", title: "Atomic operations",
      cause: """
        They are 4 or 8 bytes wide (loads and stores with ordering also 1 and 2, since 6.15) and work on
        the stack, map values and memory of the program.
        """,
      bad: """
        __sync_fetch_and_add(&ctx->mark, 1);
        """,
      good: """
        __sync_fetch_and_add(&value->count, 1);
        """),
    Page(
      code: "speculation", title: "What the processor might do first",
      cause: """
        Without CAP_PERFMON every path that the processor could take by a wrong guess is checked too;
        indices must be bounded so that even then nothing leaks.
        """,
      bad: """
        value[i] /* i of two paths with different bounds */
        """,
      good: """
        i &= 7;
        value[i]
        """),
    Page(
      code: "privilege", title: "Capabilities",
      cause: """
        The feature is kept to those who have CAP_BPF, CAP_PERFMON or CAP_NET_ADMIN.
        """,
      bad: """
        bpf-to-bpf calls as an ordinary user
        """,
      good: """
        setcap cap_bpf,cap_perfmon+ep loader
        """),
    Page(
      code: "invariant", title: "A contradiction in the verifier",
      cause: """
        Linux found its own state inconsistent (`verifier bug`). The program may be right.
        """,
      bad: "",
      good: ""),
    Page(
      code: "unsupported", title: "Not modelled by skep",
      cause: """
        The program uses something of which skep does not know what Linux says. It is never accepted.
        """,
      bad: "",
      good: ""),
  ]
}

extension Handbook.Page {
  public var text: String {
    var text = "\(code): \(title)\n\n\(cause)\n"
    for (name, example) in [("Refused", bad), ("Accepted", good)] where !example.isEmpty {
      text += "\n\(name):\n\n"
      for line in example.split(separator: "\n", omittingEmptySubsequences: false) { text += "    \(line)\n" }
    }
    return text
  }
}
