// Keeps the length of the last packet in an array map.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(int));
	__uint(value_size, sizeof(long));
} packet_len_map SEC(".maps");

SEC("xdp")
int xdp_packet_len(struct xdp_md *ctx)
{
	int key = 0;
	long *value;
	long len = ctx->data_end - ctx->data;

	value = bpf_map_lookup_elem(&packet_len_map, &key);
	if (value)
		*value = len;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
