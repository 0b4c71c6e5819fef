// Copies 1 KiB of the packet, word by word, as far as the packet goes.
#include "bench.h"

MEMORY(buffer, 1024);

BENCHMARK(copy)
{
	__u8 *from = DATA(ctx);
	__u8 *end = DATA_END(ctx);
	__u8 *to = memory_of(&buffer);
	__u32 i;

	if (!to)
		return 0;
	for (i = 0; i < 1024; i += 8) {
		if (from + i + 8 > end)
			break;
		*(__u64 *)(to + i) = *(__u64 *)(from + i);
	}
	return i + to[1000];
}
