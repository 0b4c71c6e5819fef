// Ten turns of a loop that the compiler may not unroll. Linux follows each turn and accepts.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int loop_bounded(struct xdp_md *ctx)
{
	volatile int sum = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < 10; i++)
		sum += i;
	return sum == 45 ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
