// One lookup in a hash of 10,000 entries, by an address in the packet.
#include "bench.h"

HASH_TABLE(table, 10000);

BENCHMARK(hash_lookup)
{
	__u8 *data = DATA(ctx);
	__u64 *value;
	__u32 key;

	if (data + 34 > (__u8 *)DATA_END(ctx))
		return 0;
	key = (*(__u32 *)(data + 26) & 0x1fff) + 7;
	value = HASH_LOOKUP(table, &key);
	return value ? (int)*value : -1;
}
