// Nothing ends this loop, so Linux refuses it: a program must come to its exit.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int loop_endless(struct xdp_md *ctx)
{
	volatile int turns = 0;

	while (1)
		turns++;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
