// The Internet checksum (RFC 1071) of 1,500 bytes.
#include "bench.h"

BENCHMARK(checksum)
{
	__u8 *at = DATA(ctx);
	__u8 *end = DATA_END(ctx);
	__u64 sum = 0;

	for (__u32 i = 0; i < 750; i++) {
		if (at + 2 > end)
			break;
		sum += *(__u16 *)at;
		at += 2;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}
