// Memory behind a file descriptor: the one call of it that Swift cannot spell.
#ifndef BPF_MEMORY_H
#define BPF_MEMORY_H

#include <stddef.h>

// A file without a name, empty, closed on exec; -1 where it cannot be had.
int skep_memory_file(void);

#endif
