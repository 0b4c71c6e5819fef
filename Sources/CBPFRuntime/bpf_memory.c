#include "bpf_memory.h"

#if defined(__linux__)

#include <sys/syscall.h>
#include <unistd.h>

#define CLOSE_ON_EXEC 1u

int skep_memory_file(void) { return (int)syscall(SYS_memfd_create, "bpf-map", CLOSE_ON_EXEC); }

#else

#include <stdlib.h>
#include <unistd.h>

int skep_memory_file(void) {
  char name[] = "/tmp/bpf-map.XXXXXX";
  int descriptor = mkstemp(name);
  if (descriptor >= 0) unlink(name);
  return descriptor;
}

#endif
