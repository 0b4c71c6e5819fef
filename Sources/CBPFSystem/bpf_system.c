#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "bpf_system.h"

#if defined(__linux__)

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPABILITY_VERSION_3 0x20080522

struct capability_header {
  unsigned int version;
  int thread;
};

struct capability_words {
  unsigned int effective;
  unsigned int permitted;
  unsigned int inheritable;
};

long skep_bpf(int command, void *attributes, unsigned int size) {
  long result = syscall(SYS_bpf, command, attributes, size);
  return result < 0 ? -errno : result;
}

int skep_get_capabilities(unsigned long long *effective, unsigned long long *permitted,
                          unsigned long long *inheritable) {
  struct capability_header header = {CAPABILITY_VERSION_3, 0};
  struct capability_words words[2] = {0};
  if (syscall(SYS_capget, &header, words) != 0) return -errno;
  *effective = words[0].effective | (unsigned long long)words[1].effective << 32;
  *permitted = words[0].permitted | (unsigned long long)words[1].permitted << 32;
  *inheritable = words[0].inheritable | (unsigned long long)words[1].inheritable << 32;
  return 0;
}

int skep_set_capabilities(unsigned long long effective, unsigned long long permitted,
                          unsigned long long inheritable) {
  struct capability_header header = {CAPABILITY_VERSION_3, 0};
  struct capability_words words[2];
  for (int half = 0; half < 2; half++) {
    words[half].effective = (unsigned int)(effective >> (32 * half));
    words[half].permitted = (unsigned int)(permitted >> (32 * half));
    words[half].inheritable = (unsigned int)(inheritable >> (32 * half));
  }
  return syscall(SYS_capset, &header, words) != 0 ? -errno : 0;
}

int skep_stay_on_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) != 0 ? -errno : 0;
}

#else

/* ENOSYS: there is no bpf(2) here. */
#define NO_SYSTEM_CALL (-38)

long skep_bpf(int command, void *attributes, unsigned int size) { return NO_SYSTEM_CALL; }

int skep_get_capabilities(unsigned long long *effective, unsigned long long *permitted,
                          unsigned long long *inheritable) {
  return NO_SYSTEM_CALL;
}

int skep_set_capabilities(unsigned long long effective, unsigned long long permitted,
                          unsigned long long inheritable) {
  return NO_SYSTEM_CALL;
}

int skep_stay_on_cpu(int cpu) { return NO_SYSTEM_CALL; }

#endif
