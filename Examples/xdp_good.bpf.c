// xdp_bad, mended: the packet's end is compared first.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_good(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	if (data + 1 > data_end)
		return XDP_PASS;
	char first = *(char *)data;
	return first ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
