// What the interpreter's steps are made of. Each step is a function that ends in a call of the next step's.
#ifndef BPF_INTERPRETER_H
#define BPF_INTERPRETER_H

#include "bpf_runtime.h"

struct skep_step;

// `registers` is the frame of the function that runs.
typedef uint64_t (*skep_step_handler)(const struct skep_step *_Nonnull step, uint64_t *_Nonnull registers,
                                      struct skep_run *_Nonnull run);

//  byte  0       8    9    10   11   12..15   16..23
//      +---------+----+----+----+----+--------+-----------+
//      | handler | a  | b  | c  |    | offset | immediate |
//      +---------+----+----+----+----+--------+-----------+
struct skep_step {
  skep_step_handler _Nullable handler;
  // Registers: `a` is most often the destination, `b` and `c` are sources.
  uint8_t a, b, c, reserved;
  // Of an address; of jumps the distance in bytes, from the step itself.
  int32_t offset;
  uint64_t immediate;
};

#endif
