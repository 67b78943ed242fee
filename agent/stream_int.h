// SPDX-License-Identifier: Apache-2.0
// Shared by stream.c and stream_dial.c.
#ifndef LS_AGENT_STREAM_INT_H
#define LS_AGENT_STREAM_INT_H

#include <stdint.h>

#include "common/error.h"

// What poll() saw on fd (more than 0), CANCELLED or UNAVAILABLE.
int ls_wait_fd(int fd, short events, int interrupt_fd, uint64_t deadline_ns, struct ls_error *err);

#endif
