// A hash map may not have the key, and this program does not ask whether it got a null pointer.
// With an array and a constant index Linux knows from 6.14 on that the element is there.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(long));
} packet_len_map SEC(".maps");

SEC("xdp")
int xdp_packet_len_unchecked(struct xdp_md *ctx)
{
	int key = 0;
	long *value = bpf_map_lookup_elem(&packet_len_map, &key);

	*value = ctx->data_end - ctx->data;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
