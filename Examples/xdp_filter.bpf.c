// Drops packets from addresses in a table, and those that are longer than user space wants. User space fills the table
// and sets the limit before it loads the program.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct verdicts {
	__u64 passed;
	__u64 dropped;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10000);
	__type(key, __u32);
	__type(value, __u64);
} blocked SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct verdicts);
} counts SEC(".maps");

const volatile __u32 longest = 9000;
__u64 packets = 0;

SEC("xdp")
int xdp_filter(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct verdicts *count;
	__u32 zero = 0;
	__u64 *hits;

	packets++;
	count = bpf_map_lookup_elem(&counts, &zero);
	if (!count)
		return XDP_ABORTED;
	if ((void *)(ip + 1) > data_end || eth->h_proto != bpf_htons(ETH_P_IP))
		goto pass;
	if (bpf_ntohs(ip->tot_len) > longest)
		goto drop;
	hits = bpf_map_lookup_elem(&blocked, &ip->saddr);
	if (!hits)
		goto pass;
	(*hits)++;
drop:
	count->dropped++;
	return XDP_DROP;
pass:
	count->passed++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
