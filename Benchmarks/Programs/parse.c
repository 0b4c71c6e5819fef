// Parses Ethernet and IPv4 headers and ports, and hashes addresses, ports and the start of the payload (FNV-1a).
#include "bench.h"

struct ethernet {
	__u8 to[6];
	__u8 from[6];
	__u16 protocol;
};
struct ipv4 {
	__u8 version_length;
	__u8 service;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 checksum;
	__u32 source;
	__u32 destination;
};
struct ports {
	__u16 source;
	__u16 destination;
};

ALWAYS_INLINE __u64 mix(__u64 hash, __u32 value)
{
	for (int i = 0; i < 4; i++) {
		hash ^= value & 0xff;
		hash *= 0x100000001b3ULL;
		value >>= 8;
	}
	return hash;
}

BENCHMARK(parse)
{
	__u8 *at = DATA(ctx);
	__u8 *end = DATA_END(ctx);
	__u64 hash = 0xcbf29ce484222325ULL;
	struct ethernet *link = (struct ethernet *)at;

	if ((__u8 *)(link + 1) > end)
		return 1;
	at += sizeof(*link);
	if (link->protocol == __builtin_bswap16(0x86dd))
		return 1;
	struct ipv4 *network = (struct ipv4 *)at;
	if ((__u8 *)(network + 1) > end)
		return 1;
	__u32 length = (network->version_length & 15) * 4;
	if (length < sizeof(*network))
		length = sizeof(*network);
	at += length;
	struct ports *ports = (struct ports *)at;
	if ((__u8 *)(ports + 1) > end)
		return 1;
	hash = mix(hash, network->source);
	hash = mix(hash, network->destination);
	hash = mix(hash, (__u32)ports->source << 16 | ports->destination);
	at += sizeof(*ports);
	for (__u32 i = 0; i < 64; i++) {
		if (at + 1 > end)
			break;
		hash ^= *at;
		hash *= 0x100000001b3ULL;
		at++;
	}
	return (__u32)(hash ^ hash >> 32);
}
