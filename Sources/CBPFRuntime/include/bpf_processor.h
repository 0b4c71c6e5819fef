// What the processor can do.
#ifndef BPF_PROCESSOR_H
#define BPF_PROCESSOR_H

#include <stdint.h>

#if defined(__x86_64__)
// Bits of CPUID leaf 7: EBX.
static inline uint32_t skep_processor_features(void) {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  if (eax < 7) return 0;
  eax = 7;
  ecx = 0;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return ebx;
}
#else
static inline uint32_t skep_processor_features(void) { return 0; }
#endif

// Makes code that was just written visible to the processor's instruction fetch.
static inline void skep_clear_instruction_cache(void *from, void *to) {
  __builtin___clear_cache((char *)from, (char *)to);
}

#endif
