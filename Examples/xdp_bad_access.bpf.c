// A number is no pointer: storing through one is refused.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int xdp_bad_access(struct xdp_md *ctx)
{
	char *ptr = (char *)0xffff;

	*(volatile char *)ptr = 1;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
