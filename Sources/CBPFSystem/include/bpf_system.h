#ifndef SKEP_BPF_SYSTEM_H
#define SKEP_BPF_SYSTEM_H

/* The system calls that C libraries have no function for, and Swift no way to spell. */

/* bpf(2). A descriptor or 0; where it fails, the negative error number. */
long skep_bpf(int command, void *attributes, unsigned int size);

/* capget(2) and capset(2) of the calling thread: bits of the sets, 0 or the negative error number. */
int skep_get_capabilities(unsigned long long *effective, unsigned long long *permitted,
                          unsigned long long *inheritable);
int skep_set_capabilities(unsigned long long effective, unsigned long long permitted,
                          unsigned long long inheritable);

/* Keeps the calling thread on one CPU: 0 or the negative error number. */
int skep_stay_on_cpu(int cpu);

#endif
