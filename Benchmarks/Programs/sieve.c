// The primes below 4,096.
#include "bench.h"

#define LIMIT 4096

MEMORY(flags, LIMIT);

BENCHMARK(sieve)
{
	__u8 *composite = memory_of(&flags);
	__u32 count = 0;

	if (!composite)
		return 0;
	for (__u32 i = 0; i < LIMIT; i += 8) {
		*(__u64 *)(composite + i) = 0;
		// Neither compiler makes a call of it.
		asm volatile("" ::: "memory");
	}
	for (__u32 i = 2; i < 64; i++) {
		if (composite[i])
			continue;
		for (__u32 j = i * i; j < LIMIT; j += i)
			composite[j] = 1;
	}
	for (__u32 i = 2; i < LIMIT; i++)
		if (!composite[i])
			count++;
	return count;
}
