// A client of bpf(2) without any library: an XDP program counts in a mapped array and sends records to a ring buffer,
// which is waited for with epoll and read from its mapping.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ring_size = 4096, record_size = 104, runs = 200, start = 77 };

static int bpf(enum bpf_cmd command, union bpf_attr *attributes) {
  return (int)syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

static int create_map(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags) {
  union bpf_attr it;
  memset(&it, 0, sizeof it);
  it.map_type = type;
  it.key_size = key;
  it.value_size = value;
  it.max_entries = entries;
  it.map_flags = flags;
  return bpf(BPF_MAP_CREATE, &it);
}

static struct bpf_insn insn(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t immediate) {
  struct bpf_insn result = {.code = code, .dst_reg = to, .src_reg = from, .off = offset, .imm = immediate};
  return result;
}

// Counts element 1 of the array up, and sends a record that is full of the count.
static int load_program(int array, int ring) {
  struct bpf_insn code[64];
  int n = 0;
  code[n++] = insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, array);
  code[n++] = insn(0, 0, 0, 0, 0);
  code[n++] = insn(BPF_ST | BPF_MEM | BPF_W, 10, 0, -4, 1);
  code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
  code[n++] = insn(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4);
  code[n++] = insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem);
  code[n++] = insn(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 1, 0);
  code[n++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  code[n++] = insn(BPF_LDX | BPF_MEM | BPF_DW, 8, 0, 0, 0);
  code[n++] = insn(BPF_ALU64 | BPF_ADD | BPF_K, 8, 0, 0, 1);
  code[n++] = insn(BPF_STX | BPF_MEM | BPF_DW, 0, 8, 0, 0);
  for (int offset = -record_size; offset < 0; offset += 8)
    code[n++] = insn(BPF_STX | BPF_MEM | BPF_DW, 10, 8, (int16_t)offset, 0);
  code[n++] = insn(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_FD, 0, ring);
  code[n++] = insn(0, 0, 0, 0, 0);
  code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_X, 2, 10, 0, 0);
  code[n++] = insn(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -record_size);
  code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, record_size);
  code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 4, 0, 0, 0);
  code[n++] = insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_ringbuf_output);
  code[n++] = insn(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS);
  code[n++] = insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  union bpf_attr it;
  memset(&it, 0, sizeof it);
  it.prog_type = BPF_PROG_TYPE_XDP;
  it.insns = (uintptr_t)code;
  it.insn_cnt = (uint32_t)n;
  it.license = (uintptr_t) "GPL";
  return bpf(BPF_PROG_LOAD, &it);
}

static int run_program(int program) {
  char packet[64] = {0};
  union bpf_attr it;
  memset(&it, 0, sizeof it);
  it.test.prog_fd = (uint32_t)program;
  it.test.data_in = (uintptr_t)packet;
  it.test.data_size_in = sizeof packet;
  return bpf(BPF_PROG_TEST_RUN, &it) == 0 && it.test.retval == XDP_PASS ? 0 : -1;
}

static int look_up(int array, uint32_t key, uint64_t *value) {
  union bpf_attr it;
  memset(&it, 0, sizeof it);
  it.map_fd = (uint32_t)array;
  it.key = (uintptr_t)&key;
  it.value = (uintptr_t)value;
  return bpf(BPF_MAP_LOOKUP_ELEM, &it);
}

static int count_maps(void) {
  union bpf_attr it;
  memset(&it, 0, sizeof it);
  int count = 0;
  while (bpf(BPF_MAP_GET_NEXT_ID, &it) == 0) {
    it.start_id = it.next_id;
    it.next_id = 0;
    count++;
  }
  return count;
}

static int fail(const char *what) {
  printf("%s: %s\n", what, strerror(errno));
  return 1;
}

int main(void) {
  int ring = create_map(BPF_MAP_TYPE_RINGBUF, 0, 0, ring_size, 0);
  int array = create_map(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_MMAPABLE);
  if (ring < 0 || array < 0) return fail("maps");
  volatile uint64_t *values = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, array, 0);
  uint64_t *consumed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
  uint64_t *produced = mmap(NULL, 4096 + 2 * ring_size, PROT_READ, MAP_SHARED, ring, 4096);
  if (values == MAP_FAILED || consumed == MAP_FAILED || produced == MAP_FAILED) return fail("mmap");
  values[1] = start;
  int program = load_program(array, ring);
  if (program < 0) return fail("program");

  int epoll = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 42};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, ring, &event) != 0) return fail("epoll_ctl");
  int records = 0, wrong = 0;
  for (int run = 0; run < runs; run++) {
    if (run_program(program) != 0) return fail("run");
    struct epoll_event told;
    if (epoll_wait(epoll, &told, 1, 1000) != 1 || told.data.u32 != 42) return fail("epoll_wait");
    uint64_t position = *consumed, end = __atomic_load_n(produced, __ATOMIC_ACQUIRE);
    while (position < end) {
      // Records that reach past the end go on in the second copy of the data.
      char *header = (char *)produced + 4096 + (position & (ring_size - 1));
      uint32_t length = __atomic_load_n((uint32_t *)header, __ATOMIC_ACQUIRE);
      uint64_t words[record_size / 8];
      if (length != record_size) wrong++;
      memcpy(words, header + 8, sizeof words);
      for (unsigned word = 0; word < record_size / 8; word++)
        if (words[word] != (uint64_t)(start + 1 + run)) wrong++;
      records++;
      position += (length + 8 + 7) & ~7u;
    }
    __atomic_store_n(consumed, position, __ATOMIC_RELEASE);
  }
  printf("%d records, %d wrong, counter %d\n", records, wrong, (int)values[1]);
  fflush(stdout);

  int copy = dup(array);
  close(array);
  if (fork() == 0) {
    uint64_t value = 0;
    _exit(look_up(copy, 1, &value) == 0 && value == start + runs ? 0 : 1);
  }
  int status = -1;
  wait(&status);
  printf("child %d\n", status);
  // Closed and not mapped any more, the array goes with the program.
  close(copy);
  close(program);
  munmap((void *)values, 4096);
  printf("maps left %d\n", count_maps());
  return 0;
}
