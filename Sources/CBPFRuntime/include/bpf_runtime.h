// What programs, helpers and machine code share of a run: plain memory at fixed places, and atomic access to it.
#ifndef BPF_RUNTIME_H
#define BPF_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#include "bpf_memory.h"

struct skep_run;
struct skep_map;
struct skep_program;

// A helper or kernel function: five arguments, and the run that calls it.
typedef uint64_t (*skep_function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, struct skep_run *);
// A program's entry.
typedef uint64_t (*skep_entry)(uint64_t context, struct skep_run *, const struct skep_program *);
// Calls a function of the program, by the value that a register holds for it.
typedef uint64_t (*skep_invoke)(struct skep_run *, uint64_t function, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

// A map: its address is what a program's register holds for it.
struct skep_map {
  uint32_t type;
  uint32_t key_size;
  uint32_t value_size;
  uint32_t max_entries;
  uint32_t flags;
  uint32_t id;
  // The Swift object, unretained: programs that use a map keep it.
  void *object;
  // Arrays: element 0, and the distance of elements. Per-CPU arrays: element 0 of CPU 0; a CPU's elements lie
  // `cpu_stride` apart. Arenas: where the memory begins.
  uint8_t *values;
  uint64_t stride;
  uint64_t cpu_stride;
  // What programs do with elements: a value's address or 0; 0 or a negative error number.
  uint64_t (*lookup)(struct skep_map *, const void *key, struct skep_run *);
  int64_t (*update)(struct skep_map *, const void *key, const void *value, uint64_t flags, struct skep_run *);
  int64_t (*remove)(struct skep_map *, const void *key, struct skep_run *);
  // prog_array: programs by index.
  const struct skep_program **programs;
  // Private to the map's type.
  void *storage[6];
};

// A program that can be entered: by a test run, a hook, or a tail call.
struct skep_program {
  skep_entry entry;
  // The Swift object (LoadedProgram), unretained.
  void *object;
  // What the engine's entry works on.
  const void *code;
};

// One worker: what Linux calls a CPU. One program runs on it at a time, with those that it calls.
struct skep_run {
  uint32_t cpu;
  // Tail calls so far; at most 33.
  uint32_t tail_calls;
  // The Swift object, unretained.
  void *worker;
  // The context block of the run.
  void *context;
  // The Swift object of the run context (packet, traced process), unretained.
  void *environment;
  // The program that runs.
  const struct skep_program *program;
  skep_invoke invoke;
  // Not 0 once the program threw, or was told to stop: loops, callbacks and iterators end at once.
  volatile uint32_t unwinding;
  // Set from outside to make a run end.
  volatile uint32_t stop_requested;
  uint64_t exception_value;
  // For machine code: where the program's entry left the stack.
  uint64_t saved_stack;
  // Epoch of the grace period that the run is in; 0 outside of runs.
  volatile uint64_t epoch;
  // The engines' own use. The interpreter's: where its next frame goes (0), where there is no
  // more room for frames (1), and where it is (2, 3). Machine code may use the others.
  uint64_t scratch[8];
};

// MARK: atomics

static inline uint64_t skep_load_acquire_64(const void *at) { return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE); }
static inline uint32_t skep_load_acquire_32(const void *at) { return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE); }
static inline uint64_t skep_load_relaxed_64(const void *at) { return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED); }
static inline uint32_t skep_load_relaxed_32(const void *at) { return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED); }
static inline void skep_store_release_64(void *at, uint64_t value) { __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELEASE); }
static inline void skep_store_release_32(void *at, uint32_t value) { __atomic_store_n((uint32_t *)at, value, __ATOMIC_RELEASE); }
static inline void skep_store_relaxed_64(void *at, uint64_t value) { __atomic_store_n((uint64_t *)at, value, __ATOMIC_RELAXED); }
static inline void skep_store_relaxed_32(void *at, uint32_t value) { __atomic_store_n((uint32_t *)at, value, __ATOMIC_RELAXED); }
static inline uint64_t skep_fetch_add_64(void *at, uint64_t value) { return __atomic_fetch_add((uint64_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint32_t skep_fetch_add_32(void *at, uint32_t value) { return __atomic_fetch_add((uint32_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint64_t skep_fetch_and_64(void *at, uint64_t value) { return __atomic_fetch_and((uint64_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint32_t skep_fetch_and_32(void *at, uint32_t value) { return __atomic_fetch_and((uint32_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint64_t skep_fetch_or_64(void *at, uint64_t value) { return __atomic_fetch_or((uint64_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint32_t skep_fetch_or_32(void *at, uint32_t value) { return __atomic_fetch_or((uint32_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint64_t skep_fetch_xor_64(void *at, uint64_t value) { return __atomic_fetch_xor((uint64_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint32_t skep_fetch_xor_32(void *at, uint32_t value) { return __atomic_fetch_xor((uint32_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint64_t skep_exchange_64(void *at, uint64_t value) { return __atomic_exchange_n((uint64_t *)at, value, __ATOMIC_SEQ_CST); }
static inline uint32_t skep_exchange_32(void *at, uint32_t value) { return __atomic_exchange_n((uint32_t *)at, value, __ATOMIC_SEQ_CST); }
// The old value; the exchange happened where that is `expected`.
static inline uint64_t skep_compare_exchange_64(void *at, uint64_t expected, uint64_t value) {
  __atomic_compare_exchange_n((uint64_t *)at, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return expected;
}
static inline uint32_t skep_compare_exchange_32(void *at, uint32_t expected, uint32_t value) {
  __atomic_compare_exchange_n((uint32_t *)at, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return expected;
}
static inline void skep_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void skep_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
