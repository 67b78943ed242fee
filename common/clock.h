// SPDX-License-Identifier: Apache-2.0
#ifndef LS_COMMON_CLOCK_H
#define LS_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

// CLOCK_MONOTONIC, nanoseconds. Only shells call it; pure code takes time as an argument.
static inline uint64_t ls_now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

// Unix time, milliseconds.
static inline uint64_t ls_unix_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

#endif
