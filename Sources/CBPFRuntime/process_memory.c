#define _GNU_SOURCE
#include "process_memory.h"

#if defined(__linux__)
#include <sys/uio.h>

int skep_process_read(int32_t process, void *to, uint64_t from, size_t count) {
  struct iovec local = {to, count};
  struct iovec remote = {(void *)(uintptr_t)from, count};
  return process_vm_readv(process, &local, 1, &remote, 1, 0) == (ssize_t)count;
}

int skep_process_write(int32_t process, uint64_t to, const void *from, size_t count) {
  struct iovec local = {(void *)from, count};
  struct iovec remote = {(void *)(uintptr_t)to, count};
  return process_vm_writev(process, &local, 1, &remote, 1, 0) == (ssize_t)count;
}
#else
int skep_process_read(int32_t process, void *to, uint64_t from, size_t count) { return 0; }
int skep_process_write(int32_t process, uint64_t to, const void *from, size_t count) { return 0; }
#endif
