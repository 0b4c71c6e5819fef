/* Maps of several kinds, global data, subprograms of every kind. Built by build.sh. */
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __hidden __attribute__((visibility("hidden")))
#define __noinline __attribute__((noinline))

typedef unsigned int u32;
typedef unsigned long long u64;

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const loop)(u32 count, void *callback, void *context, u64 flags) = (void *)181;

struct {
	__uint(type, 1);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} hits SEC(".maps");

struct {
	__uint(type, 27);
} events SEC(".maps");

struct inner {
	__uint(type, 2);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
};

struct inner first SEC(".maps");

struct {
	__uint(type, 12);
	__uint(max_entries, 2);
	__type(key, u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [1] = &first } };

const volatile u32 limit = 7;
u64 total;
static volatile u32 quiet = 5;

static __noinline int leaf(u64 *value)
{
	return *value + limit;
}

__noinline int global_sum(u32 key)
{
	u64 *value = map_lookup(&hits, &key);

	return value ? leaf(value) + quiet : 0;
}

__hidden __noinline int hidden_sum(u32 key)
{
	return global_sum(key) + 1;
}

static int step(u32 index, void *context)
{
	total += index;
	return 0;
}

SEC("xdp.frags")
int count(void *ctx)
{
	return global_sum(1) + hidden_sum(2);
}

SEC("?tc/ingress")
int iterate(void *ctx)
{
	loop(3, step, 0, 0);
	return map_lookup(&outer, &(u32){ 0 }) != 0;
}

SEC("nonsense")
int unknown(void *ctx)
{
	return 0;
}

char _license[] SEC("license") = "GPL";
