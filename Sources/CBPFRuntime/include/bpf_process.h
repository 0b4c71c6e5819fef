// Who runs, as the kernel sees it: what Swift's Glibc module leaves out.
#ifndef BPF_PROCESS_H
#define BPF_PROCESS_H

#include <stdint.h>

// The id of this thread, as the kernel knows it.
uint32_t skep_thread_id(void);
// The name of this thread, of 16 bytes with the 0 at its end.
void skep_thread_name(char *name);

#endif
