#include "bpf_runtime.h"
