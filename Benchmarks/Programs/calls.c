// 256 calls of a function that the compilers do not inline.
#include "bench.h"

NEVER_INLINE __u32 step(__u32 x, __u32 y)
{
	asm volatile("" : "+r"(x));
	return x * 31 + y;
}

BENCHMARK(calls)
{
	__u32 x = 1;

	for (__u32 i = 0; i < 256; i++)
		x = step(x, i);
	return x;
}
