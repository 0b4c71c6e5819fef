/* What only a kernel can fill in: externs, CO-RE, attach targets. Built by build.sh. */
#define SEC(name) __attribute__((section(name), used))
#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __weak __attribute__((weak))
#define __core __attribute__((preserve_access_index))

typedef unsigned int u32;
typedef unsigned long long u64;

struct task {
	int number;
	u64 start;
} __core;

struct task___old {
	u64 begin;
} __core;

extern u32 CONFIG_HZ __kconfig;
extern _Bool CONFIG_MISSING __kconfig __weak;
extern char CONFIG_NAME[8] __kconfig;
extern int LINUX_KERNEL_VERSION __kconfig;
extern const void address __ksym;
extern const int variable __ksym;
extern void present(struct task *task) __ksym;
extern void absent(void) __ksym __weak;

SEC("fentry/do_work")
int field(u64 *ctx)
{
	struct task *task = (void *)ctx[0];

	if (__builtin_preserve_field_info(((struct task___old *)task)->begin, 2))
		return 1;
	return task->start;
}

SEC("tp_btf/sched")
int symbols(u64 *ctx)
{
	if (CONFIG_HZ + CONFIG_NAME[0] + LINUX_KERNEL_VERSION == 3 || CONFIG_MISSING)
		return (long)&address + variable;
	if (ctx[0])
		present((void *)ctx[0]);
	else
		absent();
	return 0;
}

SEC("lsm.s/file_open")
int hook(u64 *ctx)
{
	return 0;
}

SEC("fexit")
int nowhere(u64 *ctx)
{
	return 0;
}

SEC("freplace/other")
int replacement(u64 *ctx)
{
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
