#include "bench.h"

BENCHMARK(empty)
{
	return 2;
}
