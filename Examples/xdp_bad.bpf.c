// Reads the first byte of a packet that may have none.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_bad(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	char first = *(char *)data;
	return first ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
