// Reads and writes of the memory of processes that may not be there: an error, and no fault.
#ifndef PROCESS_MEMORY_H
#define PROCESS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

// 1 where all of it was copied, 0 where not.
int skep_process_read(int32_t process, void *_Nonnull to, uint64_t from, size_t count);
int skep_process_write(int32_t process, uint64_t to, const void *_Nonnull from, size_t count);

#endif
