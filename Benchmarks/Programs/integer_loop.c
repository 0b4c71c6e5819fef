// Ten thousand steps of a generator of random numbers (xorshift).
#include "bench.h"

BENCHMARK(integer_loop)
{
	__u64 x = 88172645463325252ULL;
	__u64 sum = 0;

	for (__u32 i = 0; i < 10000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		sum += x >> (x & 15);
	}
	return (__u32)sum;
}
