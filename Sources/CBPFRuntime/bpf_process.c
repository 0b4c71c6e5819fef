#define _GNU_SOURCE
#include "bpf_process.h"

#include <string.h>
#include <unistd.h>

#if defined(__linux__)

#include <sys/prctl.h>
#include <sys/syscall.h>

uint32_t skep_thread_id(void) { return (uint32_t)syscall(SYS_gettid); }

void skep_thread_name(char *name) {
  memset(name, 0, 16);
  prctl(PR_GET_NAME, name, 0, 0, 0);
}

#else

#include <pthread.h>

uint32_t skep_thread_id(void) { return (uint32_t)getpid(); }

void skep_thread_name(char *name) {
  memset(name, 0, 16);
#if defined(__APPLE__)
  pthread_getname_np(pthread_self(), name, 16);
#endif
}

#endif
