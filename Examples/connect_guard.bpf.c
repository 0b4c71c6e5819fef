// A cgroup's firewall for outgoing IPv4 connections: only networks in the trie may be reached.
// Loaded once, attached to the cgroup of a service.
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

struct network {
	__u32 bits;
	__u32 address;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, __u64);
} allowed SEC(".maps");

const volatile __u32 loopback_always = 1;

SEC("cgroup/connect4")
int connect_guard(struct bpf_sock_addr *ctx)
{
	struct network target = { .bits = 32, .address = ctx->user_ip4 };
	__u64 *uses;

	if (loopback_always && (target.address & 0xff) == 127)
		return 1;
	uses = bpf_map_lookup_elem(&allowed, &target);
	if (!uses)
		return 0;
	__sync_fetch_and_add(uses, 1);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
