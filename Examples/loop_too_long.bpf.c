// This loop would end, but not before the verifier has looked at a million instructions, its limit.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int loop_too_long(struct xdp_md *ctx)
{
	volatile __u64 sum = 0;

#pragma clang loop unroll(disable)
	for (__u64 i = 0; i < 400000; i++)
		sum += i;
	return sum ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
