// MurmurHash3 (32 bits) of 1 KiB.
#include "bench.h"

BENCHMARK(murmur3)
{
	__u8 *at = DATA(ctx);
	__u8 *end = DATA_END(ctx);
	__u32 h = 0x9747b28c;

	for (__u32 i = 0; i < 256; i++) {
		if (at + 4 > end)
			break;
		__u32 k = *(__u32 *)at;
		at += 4;
		k *= 0xcc9e2d51;
		k = k << 15 | k >> 17;
		k *= 0x1b873593;
		h ^= k;
		h = h << 13 | h >> 19;
		h = h * 5 + 0xe6546b64;
	}
	h ^= 1024;
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	h ^= h >> 16;
	return h;
}
