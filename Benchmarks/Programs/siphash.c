// SipHash-2-4 of 1 KiB.
#include "bench.h"

#define ROTATE(x, b) ((x) << (b) | (x) >> (64 - (b)))
#define ROUND                                                                                                          \
	do {                                                                                                               \
		v0 += v1;                                                                                                      \
		v1 = ROTATE(v1, 13);                                                                                           \
		v1 ^= v0;                                                                                                      \
		v0 = ROTATE(v0, 32);                                                                                           \
		v2 += v3;                                                                                                      \
		v3 = ROTATE(v3, 16);                                                                                           \
		v3 ^= v2;                                                                                                      \
		v0 += v3;                                                                                                      \
		v3 = ROTATE(v3, 21);                                                                                           \
		v3 ^= v0;                                                                                                      \
		v2 += v1;                                                                                                      \
		v1 = ROTATE(v1, 17);                                                                                           \
		v1 ^= v2;                                                                                                      \
		v2 = ROTATE(v2, 32);                                                                                           \
	} while (0)

BENCHMARK(siphash)
{
	__u8 *at = DATA(ctx);
	__u8 *end = DATA_END(ctx);
	__u64 k0 = 0x0706050403020100ULL, k1 = 0x0f0e0d0c0b0a0908ULL;
	__u64 v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
	__u64 v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL;
	__u64 last = 1024ULL << 56;

	for (__u32 i = 0; i < 128; i++) {
		if (at + 8 > end)
			break;
		__u64 word = *(__u64 *)at;
		at += 8;
		v3 ^= word;
		ROUND;
		ROUND;
		v0 ^= word;
	}
	v3 ^= last;
	ROUND;
	ROUND;
	v0 ^= last;
	v2 ^= 0xff;
	ROUND;
	ROUND;
	ROUND;
	ROUND;
	return (__u32)(v0 ^ v1 ^ v2 ^ v3);
}
