// What skeleton_client.c loads: counts packets in a global variable, by length in a hash map, and tells of each through
// a ring buffer.

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

const volatile int scale = 1;
int counter = 0;
__u64 bytes;

struct event {
  int number;
  int length;
};

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 8192);
} events SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 64);
  __type(key, int);
  __type(value, __u64);
} seen SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx) {
  struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
  if (!event) return XDP_ABORTED;
  int length = ctx->data_end - ctx->data;
  event->number = ++counter * scale;
  event->length = length;
  bytes += length;
  bpf_ringbuf_submit(event, 0);
  __u64 one = 1, *count = bpf_map_lookup_elem(&seen, &length);
  if (count)
    __sync_fetch_and_add(count, 1);
  else
    bpf_map_update_elem(&seen, &length, &one, 0);
  return XDP_PASS;
}

SEC("raw_tp/sys_enter")
int enter(void *ctx) { return 0; }

char _license[] SEC("license") = "GPL";
