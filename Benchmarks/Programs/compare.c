// Compares 1 KiB of the packet with memory, byte by byte. They are equal from the second run on.
#include "bench.h"

MEMORY(buffer, 1024);

BENCHMARK(compare)
{
	__u8 *data = DATA(ctx);
	__u8 *other = memory_of(&buffer);
	__u32 i;

	if (!other || data + 1024 > (__u8 *)DATA_END(ctx))
		return 0;
	for (i = 0; i < 1024; i++)
		if (data[i] != other[i])
			break;
	for (; i < 1024; i++)
		other[i] = data[i];
	return other[1000];
}
