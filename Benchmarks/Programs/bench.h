// What a benchmark needs to be the same C for BPF and for the machine itself.
//
// One file is one benchmark, named as the file is:
//
//	#include "bench.h"
//
//	BENCHMARK(checksum)
//	{
//		__u8 *data = DATA(ctx);
//		if (data + 1500 > DATA_END(ctx))
//			return 0;
//		...
//		return sum;
//	}
//
// For BPF that is an XDP program on a packet of 1,500 bytes (or more, see PACKET_SIZE); natively a function on the same
// bytes, called through a pointer. HASH_TABLE makes a hash table of 32-bit keys 0, 1, 2, … and 64-bit values that are
// the key + 1: a map, or natively an open hash table. What the function returns must be the same everywhere.
#ifndef SKEP_BENCH_H
#define SKEP_BENCH_H

#define PACKET_SIZE 1500
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NEVER_INLINE static __attribute__((noinline))

#ifdef __bpf__

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define DATA(ctx) ((void *)(long)(ctx)->data)
#define DATA_END(ctx) ((void *)(long)(ctx)->data_end)
#define BENCHMARK(name)                                                                                                \
	char LICENSE[] SEC("license") = "GPL";                                                                             \
	SEC("xdp") int name(struct xdp_md *ctx)
#define HASH_TABLE(name, entries)                                                                                      \
	struct {                                                                                                           \
		__uint(type, BPF_MAP_TYPE_HASH);                                                                               \
		__uint(max_entries, entries);                                                                                  \
		__type(key, __u32);                                                                                            \
		__type(value, __u64);                                                                                          \
	} name SEC(".maps")
#define HASH_LOOKUP(name, key) ((__u64 *)bpf_map_lookup_elem(&(name), key))
#define MEMORY(name, size)                                                                                             \
	struct {                                                                                                           \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                                              \
		__uint(max_entries, 1);                                                                                        \
		__type(key, __u32);                                                                                            \
		__type(value, __u8[size]);                                                                                     \
	} name SEC(".maps")
// The memory, or null, which must be checked for.
ALWAYS_INLINE void *memory_of(void *map)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(map, &zero);
}

#else

#include <stddef.h>
#include <stdint.h>

typedef uint8_t __u8;
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef uint64_t __u64;
typedef int8_t __s8;
typedef int16_t __s16;
typedef int32_t __s32;
typedef int64_t __s64;
typedef uint16_t __be16;
typedef uint32_t __be32;

struct xdp_md {
	__u8 *data;
	__u8 *data_end;
};

#define DATA(ctx) ((void *)(ctx)->data)
#define DATA_END(ctx) ((void *)(ctx)->data_end)
// `bench_run` is what is called: it hands the packet on so many times.
#define BENCHMARK(name)                                                                                                \
	static __attribute__((noinline)) int name(struct xdp_md *ctx);                                                     \
	int (*volatile bench_function)(struct xdp_md *) = name;                                                            \
	int bench_run(__u8 *data, __u64 size, __u64 runs)                                                                  \
	{                                                                                                                  \
		int (*function)(struct xdp_md *) = bench_function;                                                             \
		struct xdp_md ctx = {data, data + size};                                                                       \
		int value = 0;                                                                                                 \
		for (__u64 run = 0; run < runs; run++)                                                                         \
			value = function(&ctx);                                                                                    \
		return value;                                                                                                  \
	}                                                                                                                  \
	static __attribute__((noinline)) int name(struct xdp_md *ctx)

struct bench_slot {
	__u32 key;
	__u32 used;
	__u64 value;
};

ALWAYS_INLINE __u32 bench_hash(__u32 key)
{
	key ^= key >> 16;
	key *= 0x85ebca6b;
	key ^= key >> 13;
	key *= 0xc2b2ae35;
	return key ^ key >> 16;
}

#define BENCH_SLOTS(entries) ((entries) < 1024 ? 2048 : (entries) < 8192 ? 16384 : 131072)
#define HASH_TABLE(name, entries)                                                                                      \
	static struct bench_slot name[BENCH_SLOTS(entries)];                                                               \
	__attribute__((constructor)) static void name##_fill(void)                                                         \
	{                                                                                                                  \
		for (__u32 key = 0; key < (entries); key++) {                                                                  \
			__u32 at = bench_hash(key) & (BENCH_SLOTS(entries) - 1);                                                   \
			while (name[at].used)                                                                                      \
				at = (at + 1) & (BENCH_SLOTS(entries) - 1);                                                            \
			name[at] = (struct bench_slot){key, 1, (__u64)key + 1};                                                    \
		}                                                                                                              \
	}                                                                                                                  \
	struct bench_slot
#define HASH_LOOKUP(name, key) bench_lookup(name, sizeof(name) / sizeof(name[0]), key)
NEVER_INLINE __attribute__((unused)) __u64 *bench_lookup(struct bench_slot *table, __u64 slots, const __u32 *key)
{
	__u64 at = bench_hash(*key) & (slots - 1);
	for (; table[at].used; at = (at + 1) & (slots - 1))
		if (table[at].key == *key)
			return &table[at].value;
	return NULL;
}
#define MEMORY(name, size) static __u8 name[size] __attribute__((aligned(16)))
ALWAYS_INLINE void *memory_of(void *memory) { return memory; }

#endif
#endif
