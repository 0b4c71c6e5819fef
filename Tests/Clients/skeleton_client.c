// A program of libbpf's kind: opens a skeleton, sets a constant and a variable, loads, attaches what can be attached,
// feeds the XDP program by test runs, and polls the ring buffer that it writes to.

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>

#include "skeleton.skel.h"

static int events, last;

static int take(void *context, void *data, size_t size) {
  (void)context;
  (void)size;
  events++;
  last = *(int *)data;
  return 0;
}

int main(void) {
  struct skeleton *it = skeleton__open();
  if (!it) return 1;
  it->rodata->scale = 10;
  it->bss->counter = 5;
  if (skeleton__load(it) != 0) return 2;
  struct bpf_link *link = bpf_program__attach(it->progs.enter);
  printf("attached %d\n", link != NULL);
  struct ring_buffer *ring = ring_buffer__new(bpf_map__fd(it->maps.events), take, NULL, NULL);
  if (!ring) return 3;
  char packet[100] = {0};
  for (int run = 0; run < 300; run++) {
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = 20 + run % 60);
    if (bpf_prog_test_run_opts(bpf_program__fd(it->progs.count), &options) != 0) return 4;
    if (run % 20 == 0 && ring_buffer__poll(ring, 1000) < 1) return 5;
  }
  ring_buffer__consume(ring);
  printf("%d events, last %d, counter %d, bytes %llu\n", events, last, it->bss->counter,
         (unsigned long long)it->bss->bytes);
  int length = 20;
  unsigned long long count = 0;
  bpf_map__lookup_elem(it->maps.seen, &length, sizeof length, &count, sizeof count, 0);
  printf("seen %llu\n", count);
  bpf_link__destroy(link);
  ring_buffer__free(ring);
  skeleton__destroy(it);
  return 0;
}
