// Watches files being removed: a probe on the kernel's function, which copies the name out of the kernel's structs
// (CO-RE finds them at their place in the kernel that runs) and counts removals by process.
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} removals SEC(".maps");

static __always_inline void count(void)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 one = 1, *seen = bpf_map_lookup_elem(&removals, &pid);

	if (seen)
		__sync_fetch_and_add(seen, 1);
	else
		bpf_map_update_elem(&removals, &pid, &one, BPF_NOEXIST);
}

SEC("kprobe/vfs_unlink")
int BPF_KPROBE(unlink_probe, struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry)
{
	char name[32];

	if (bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(dentry, d_name.name)) > 0)
		bpf_printk("removing %s", name);
	count();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
